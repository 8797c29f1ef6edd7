/* schema: what the files of the document types share: the reader, its strict field converters, owned memory.
 *
 * Private to this folder. Each type has one file with its libcyaml schema (structure: mappings, sequences, bounded
 * strings, strict enums), a read function (raw strings to the struct, every rule of README.md), and a write function. A
 * read function places itself with reader_at; every read_* call then names "SOURCE: line N: PLACE.KEY: what is wrong".
 */
#ifndef ENFILADE_DOCUMENTS_SCHEMA_H
#define ENFILADE_DOCUMENTS_SCHEMA_H

#include "common/documents/document.h"

#define SCALAR_MAX 512u       /* bytes of an ordinary value */
#define CERTIFICATE_MAX 8192u /* bytes of DER */
#define BASE64_MAX(len) (((len) + 2u) / 3u * 4u)
#define PAYLOAD_INLINE_MAX (256u * 1024u)
#define VERSION_MAX UINT64_MAX

struct reader {
    struct bytes text;
    const char *source;
    struct err *err;
    struct document *d; /* what is being filled */
    char at[128];       /* "nodes[3]", or "" at the top */
    char field[256];
};

/* Memory that the document owns: zeroed, freed with it. NULL when out of memory; count and size come from a parsed
 * text. */
void *document_alloc(struct document *d, size_t count, size_t size);
void document_free_memory(struct document *d);
/* The same; 0 entries give NULL. ERR_NOMEM. */
MUST_CHECK int read_array(struct reader *r, size_t count, size_t size, void *ret_pointer);

void reader_at(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Fails with code at PLACE.KEY (key NULL: at the place itself). */
MUST_CHECK int read_fail(struct reader *r, int code, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

MUST_CHECK int read_u64(struct reader *r, const char *key, const char *text, uint64_t min, uint64_t max, uint64_t *ret);
MUST_CHECK int read_unsigned(struct reader *r, const char *key, const char *text, unsigned min, unsigned max,
                             unsigned *ret);
MUST_CHECK int read_hex(struct reader *r, const char *key, const char *text, uint8_t *ret, size_t len);
MUST_CHECK int read_time(struct reader *r, const char *key, const char *text, uint64_t *ret_ms);
MUST_CHECK int read_name(struct reader *r, const char *key, const char *text, name_text ret);
MUST_CHECK int read_names(struct reader *r, const char *key, char *const *texts, size_t count, name_text **ret_names,
                          size_t *ret_count); /* each once */
MUST_CHECK int read_base64(struct reader *r, const char *key, const char *text, size_t max, struct bytes *ret);
MUST_CHECK int read_base64_exact(struct reader *r, const char *key, const char *text, uint8_t *ret, size_t len);
MUST_CHECK int read_point(struct reader *r, const char *key, const char *text, uint8_t ret[EC_POINT_LEN]);
MUST_CHECK int read_vkey(struct reader *r, const char *key, const char *text, struct note_key *ret);
MUST_CHECK int read_vkeys(struct reader *r, const char *key, char *const *texts, size_t count,
                          struct note_key **ret_keys, size_t *ret_count); /* each public key once */
/* One whole DER certificate of a CA. */
MUST_CHECK int read_certificate(struct reader *r, const char *key, const char *text, struct certificate *ret);

/* One of many values that must all differ, whatever list and key they stand under. */
struct distinct {
    struct bytes value;
    const char *list, *key;
    size_t index;
};
/* Sorts values. ERR_FORMAT at the later of two equal ones; the text names the other. */
MUST_CHECK int read_distinct(struct reader *r, struct distinct *values, size_t count);

/* The lines that every signed document has. */
struct head {
    char *enfilade, *network, *version, *issued, *expires;
};
#define FIELD_TEXT(key_, struct_, member_)                                                                             \
    CYAML_FIELD_STRING_PTR(key_, CYAML_FLAG_POINTER, struct_, member_, 1, SCALAR_MAX)
#define FIELD_TEXT_OPTIONAL(key_, struct_, member_)                                                                    \
    CYAML_FIELD_STRING_PTR(key_, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct_, member_, 1, SCALAR_MAX)
#define FIELD_TEXTS(key_, flags_, struct_, member_, min_, max_)                                                        \
    CYAML_FIELD_SEQUENCE(key_, CYAML_FLAG_POINTER | (flags_), struct_, member_, &text_schema, min_, max_)
#define FIELDS_HEAD(struct_)                                                                                           \
    FIELD_TEXT("enfilade", struct_, head.enfilade), FIELD_TEXT("network", struct_, head.network),                      \
        FIELD_TEXT("issued", struct_, head.issued), FIELD_TEXT("expires", struct_, head.expires)
extern const cyaml_schema_value_t text_schema; /* an entry of a list of strings */
/* Fills network, issued, expires and, unless head->version is NULL, version. */
MUST_CHECK int read_head(struct reader *r, const struct head *head);

struct schema {
    const cyaml_schema_value_t *raw;
    int (*read)(struct reader *r, const void *raw);
    void (*write)(const struct document *d, struct buf *out); /* NULL: written by hand */
};
extern const struct schema root_schema, roster_schema, inventory_schema, policy_schema, envelope_schema, status_schema,
    chain_schema;
const struct schema *schema_find(enum document_type type); /* NULL: not in use */

/* Did enough distinct holders of this role sign? ERR_SIGNATURE, ERR_THRESHOLD, ERR_FORMAT. */
MUST_CHECK int document_check_role(struct bytes note, const struct root *root, enum role role, struct err *err);

/* For write functions. */
void write_head(const struct document *d, bool version, struct buf *out);
void write_time(struct buf *out, const char *key, uint64_t ms);
void write_hex(struct buf *out, const char *key, struct bytes data); /* key is text up to the value: "  ak: " */
void write_base64(struct buf *out, const char *key, struct bytes data);
void write_vkeys(struct buf *out, const struct note_key *keys, size_t count); /* "[a, b]" */

#endif
