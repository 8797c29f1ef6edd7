/* yaml: strict YAML for configuration and documents.
 *
 * libcyaml gives structure (mappings, sequences, bounded strings, strict enums); a libyaml event pre-scan refuses what
 * a reader would not see or a parser would guess (depth, anchors, tags, duplicate keys, second documents, directives);
 * scalars are strings until one of the strict converters below has read them. Errors name source, line and field. */
#ifndef ENFILADE_BASE_YAML_H
#define ENFILADE_BASE_YAML_H

#include "common/base/bytes.h"
#include <cyaml/cyaml.h>

#define YAML_DEPTH_MAX 20 /* a policy with factors four deep needs 17 */
#define YAML_NODES_MAX 200000
#define YAML_KEYS_MAX 64 /* keys of one mapping, and bytes of one key */

/* text must be printable ASCII and '\n'; so must every scalar be once its quotes and escapes are undone, and it has no
 * '\n'. schema is a mapping schema with CYAML_FLAG_POINTER; every scalar in it is a string or a strict enum.
 * *ret_data is freed with yaml_free and the same schema. Errors: ERR_FORMAT, ERR_TOO_LONG (depth, nodes, keys); the
 * text reads "SOURCE: line N: FIELD: what is wrong", fields are spelled "nodes[3].kem" and count from 0. */
MUST_CHECK int yaml_load(struct bytes text, const char *source, const cyaml_schema_value_t *schema, void **ret_data,
                         struct err *err);
void yaml_release(const cyaml_schema_value_t *schema, void *data);
#define yaml_free yaml_release /* libyaml exports a symbol yaml_free, which ours must not replace */

/* The line (from 1) where a field stands, or its nearest parent; 0 when the text does not parse. For error texts. */
unsigned yaml_line(struct bytes text, const char *field);

/* Places a converter's error "FIELD: what is wrong", or "field FIELD: …": it becomes "SOURCE: line N: FIELD: …", where
 * N is the line of the field or of its nearest parent. Returns err->code. */
int yaml_place(struct bytes text, const char *source, struct err *err);

/* Scalars of the top mapping as the text claims them, read without a schema: to learn what a text is before it is
 * verified. Absent keys leave "" in ret. ERR_FORMAT also when a value does not fit into size (NUL included). */
struct yaml_claim {
    const char *key;
    char *ret;
    size_t size;
};
MUST_CHECK int yaml_claims(struct bytes text, const struct yaml_claim *claims, size_t count, struct err *err);

/* ret_buf is initialised here, and may be given to buf_done after a failure too.
 * Reads a whole file of at most max bytes. ERR_NOT_FOUND, ERR_IO, ERR_TOO_LONG; text names the file and the remedy. */
MUST_CHECK int file_read(const char *path, size_t max, struct buf *ret_buf, struct err *err);
/* Atomic: temporary file, fsync, rename, fsync of the folder. */
MUST_CHECK int file_write(const char *path, struct bytes data, unsigned mode, struct err *err);

/* Strict converters: one spelling per value. `field` names the value in errors ("nodes[3].kem: …"); text may be NULL
 * (a key that is absent). ERR_FORMAT. A ret buf is initialised here. */
MUST_CHECK int text_u64(const char *text, const char *field, uint64_t min, uint64_t max, uint64_t *ret,
                        struct err *err);
MUST_CHECK int text_hex(const char *text, const char *field, uint8_t *ret, size_t len, struct err *err);
MUST_CHECK int text_base64(const char *text, const char *field, size_t max, struct buf *ret, struct err *err);
MUST_CHECK int text_base64_exact(const char *text, const char *field, uint8_t *ret, size_t len, struct err *err);
MUST_CHECK int text_time(const char *text, const char *field, uint64_t *ret_ms, struct err *err);
/* names and ids: 1..64 of [a-z0-9._-], first a letter or digit (no '/', no upper case) */
#define NAME_MAX_LEN 64
MUST_CHECK int text_name(const char *text, const char *field, struct err *err);
bool name_ok(struct bytes name);

#endif
