/* payload_file: where an envelope's payload lies, and handing it out piece by piece under its key. */
#ifndef ENFILADE_ORCHESTRATOR_PAYLOAD_FILE_H
#define ENFILADE_ORCHESTRATOR_PAYLOAD_FILE_H

#include "common/crypto/payload.h"
#include "common/documents/document.h"
#include <stdio.h>

struct payload_source { /* inline bytes, or an open file */
    struct bytes text;
    FILE *file;
    uint64_t left;
};

/* "<envelope id>-<generation>.payload": the name under which detached payloads are looked for. */
#define PAYLOAD_NAME_MAX 80
void payload_file_name(const uint8_t id[ENVELOPE_ID_LEN], uint64_t generation, char ret_name[PAYLOAD_NAME_MAX]);

/* Finds it (folder may be NULL) and checks length and hash. ERR_NOT_FOUND, ERR_IO, ERR_PAYLOAD. */
MUST_CHECK int payload_find(const struct document *envelope, const char *folder, struct payload_source *ret,
                            struct err *err);
void payload_source_done(struct payload_source *s);
uint64_t payload_plain_len(uint64_t sealed_len);
/* Every piece that sink gets is authentic; that all came is known only from the return value 0. ERR_PAYLOAD, ERR_IO, or
 * what sink returned. */
MUST_CHECK int payload_deliver(const struct document *envelope, struct payload_source *s, const struct secret *key,
                               int (*sink)(void *arg, struct bytes piece), void *arg, struct err *err);

#endif
