/* json: a small writer: objects, arrays, texts, numbers, into a buffer. */
#ifndef ENFILADE_ORCHESTRATOR_CLI_JSON_H
#define ENFILADE_ORCHESTRATOR_CLI_JSON_H

#include "common/base/bytes.h"

struct json {
    struct buf *out;
    bool first; /* in the open object or array */
};
void json_start(struct json *j, struct buf *out);
/* key is NULL inside arrays and at the top. */
void json_open(struct json *j, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json *j, char bracket);                 /* '}' or ']' */
void json_text(struct json *j, const char *key, const char *text);
void json_bytes(struct json *j, const char *key, struct bytes text); /* ASCII and controls; other bytes become \u00xx */
void json_hex(struct json *j, const char *key, struct bytes data);
void json_number(struct json *j, const char *key, uint64_t v);
void json_decimal(struct json *j, const char *key, double v); /* three places */
void json_flag(struct json *j, const char *key, bool v);

#endif
