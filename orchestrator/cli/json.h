/* json: values one after the other into objects and arrays; Jansson makes the text when the outermost closes. */
#ifndef ENFILADE_ORCHESTRATOR_CLI_JSON_H
#define ENFILADE_ORCHESTRATOR_CLI_JSON_H

#include "common/base/bytes.h"

#define JSON_DEPTH_MAX 8

struct json {
    struct buf *out;            /* fails when memory ends or a text is not UTF-8 */
    void *open[JSON_DEPTH_MAX]; /* json_t of the open objects and arrays, the outermost owned */
    unsigned depth;
};
void json_start(struct json *j, struct buf *out);
/* key is NULL inside arrays and at the top. Every json_open has its json_close. */
void json_open(struct json *j, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json *j, char bracket);                 /* '}' or ']' */
void json_text(struct json *j, const char *key, const char *text);
void json_bytes(struct json *j, const char *key, struct bytes text); /* UTF-8 */
void json_hex(struct json *j, const char *key, struct bytes data);
void json_number(struct json *j, const char *key, uint64_t v); /* <= INT64_MAX, else it fails */
void json_decimal(struct json *j, const char *key, double v);
void json_flag(struct json *j, const char *key, bool v);

#endif
