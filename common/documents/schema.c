/* schema: field converters and owned memory for the readers of all document types. */
#include "common/documents/schema.h"
#include "common/base/clock.h"
#include <limits.h>
#include <openssl/x509v3.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const cyaml_schema_value_t text_schema = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 16384)};

/* ---- memory */

struct document_block {
    struct document_block *next;
    alignas(max_align_t) uint8_t data[];
};

void *document_alloc(struct document *d, size_t count, size_t size)
{
    if (size != 0 && count > (SIZE_MAX - sizeof(struct document_block)) / size)
        return NULL;
    struct document_block *b = calloc(1, sizeof(*b) + count * size);
    if (b == NULL)
        return NULL;
    b->next = d->memory;
    d->memory = b;
    return b->data;
}

void document_free_memory(struct document *d)
{
    while (d->memory != NULL) {
        struct document_block *next = d->memory->next;
        free(d->memory);
        d->memory = next;
    }
}

int read_array(struct reader *r, size_t count, size_t size, void *ret_pointer)
{
    void *p = NULL;
    if (count > 0) {
        p = document_alloc(r->d, count, size);
        if (p == NULL)
            return err_set(r->err, ERR_NOMEM, "%s: out of memory", r->source);
    }
    memcpy(ret_pointer, &p, sizeof(p));
    return 0;
}

/* ---- places and failures */

void reader_at(struct reader *r, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(r->at, sizeof(r->at), format, ap);
    va_end(ap);
}

static const char *field(struct reader *r, const char *key)
{
    if (key == NULL)
        (void)snprintf(r->field, sizeof(r->field), "%s", r->at);
    else
        (void)snprintf(r->field, sizeof(r->field), "%s%s%s", r->at, r->at[0] != '\0' ? "." : "", key);
    return r->field;
}

/* A converter has set "FIELD: what" for r->field; put source and line before it. */
static int located(struct reader *r, int rc)
{
    if (rc == 0 || r->err == NULL)
        return rc;
    return err_wrap(r->err, rc, "%s: line %u", r->source, yaml_line(r->text, r->field));
}

int read_fail(struct reader *r, int code, const char *key, const char *format, ...)
{
    char what[256];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(what, sizeof(what), format, ap);
    va_end(ap);
    (void)err_set(r->err, code, "%s: %s", field(r, key), what);
    return located(r, code);
}

/* ---- scalars */

int read_u64(struct reader *r, const char *key, const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    return located(r, text_u64(text, field(r, key), min, max, ret, r->err));
}

int read_unsigned(struct reader *r, const char *key, const char *text, unsigned min, unsigned max, unsigned *ret)
{
    uint64_t v;
    TRY(read_u64(r, key, text, min, max, &v));
    *ret = (unsigned)v;
    return 0;
}

int read_hex(struct reader *r, const char *key, const char *text, uint8_t *ret, size_t len)
{
    return located(r, text_hex(text, field(r, key), ret, len, r->err));
}

int read_time(struct reader *r, const char *key, const char *text, uint64_t *ret_ms)
{
    return located(r, text_time(text, field(r, key), ret_ms, r->err));
}

int read_name(struct reader *r, const char *key, const char *text, name_text ret)
{
    TRY(located(r, text_name(text, field(r, key), r->err)));
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

int read_names(struct reader *r, const char *key, char *const *texts, size_t count, name_text **ret_names,
               size_t *ret_count)
{
    name_text *names;
    TRY(read_array(r, count, sizeof(*names), &names));
    for (size_t i = 0; i < count; i++) {
        char entry[64];
        (void)snprintf(entry, sizeof(entry), "%s[%zu]", key, i);
        TRY(read_name(r, entry, texts[i], names[i]));
        for (size_t j = 0; j < i; j++)
            if (strcmp(names[j], names[i]) == 0)
                return read_fail(r, ERR_FORMAT, entry, "%s stands here twice; keep one", names[i]);
    }
    *ret_names = names;
    *ret_count = count;
    return 0;
}

int read_base64(struct reader *r, const char *key, const char *text, size_t max, struct bytes *ret)
{
    struct buf raw;
    TRY(located(r, text_base64(text, field(r, key), max, &raw, r->err)));
    uint8_t *copy;
    int rc = read_array(r, raw.len, 1, &copy);
    if (rc == 0 && raw.len > 0)
        memcpy(copy, raw.p, raw.len);
    if (rc == 0)
        *ret = BYTES(copy, raw.len);
    buf_done(&raw);
    return rc;
}

int read_base64_exact(struct reader *r, const char *key, const char *text, uint8_t *ret, size_t len)
{
    return located(r, text_base64_exact(text, field(r, key), ret, len, r->err));
}

int read_point(struct reader *r, const char *key, const char *text, uint8_t ret[EC_POINT_LEN])
{
    TRY(read_base64_exact(r, key, text, ret, EC_POINT_LEN));
    if (ec_point_check(BYTES(ret, EC_POINT_LEN)) != 0)
        return read_fail(r, ERR_FORMAT, key, "not an uncompressed point on P-256");
    return 0;
}

int read_vkey(struct reader *r, const char *key, const char *text, struct note_key *ret)
{
    struct err inner = {0};
    if (text == NULL)
        return read_fail(r, ERR_FORMAT, key, "missing; add this key");
    if (note_key_parse(text, ret, &inner) != 0)
        return read_fail(r, ERR_FORMAT, key, "not a verification key (name+hexid+base64): %.150s", inner.text);
    return 0;
}

int read_vkeys(struct reader *r, const char *key, char *const *texts, size_t count, struct note_key **ret_keys,
               size_t *ret_count)
{
    struct note_key *keys;
    TRY(read_array(r, count, sizeof(*keys), &keys));
    for (size_t i = 0; i < count; i++) {
        char entry[64];
        (void)snprintf(entry, sizeof(entry), "%s[%zu]", key, i);
        TRY(read_vkey(r, entry, texts[i], &keys[i]));
        for (size_t j = 0; j < i; j++)
            if (memcmp(keys[j].public, keys[i].public, ED25519_PUBLIC_LEN) == 0)
                return read_fail(r, ERR_FORMAT, entry, "the same public key as %s[%zu]; keep one", key, j);
    }
    *ret_keys = keys;
    *ret_count = count;
    return 0;
}

int read_certificate(struct reader *r, const char *key, const char *text, struct certificate *ret)
{
    struct bytes der;
    TRY(read_base64(r, key, text, CERTIFICATE_MAX, &der));
    const unsigned char *p = der.p;
    X509 *x = der.len > 0 ? d2i_X509(NULL, &p, (long)der.len) : NULL;
    bool whole = x != NULL && p == der.p + der.len;
    bool ca = x != NULL && X509_check_ca(x) == 1;
    X509_free(x);
    if (!whole)
        return read_fail(r, ERR_FORMAT, key, "not one DER certificate");
    if (!ca)
        return read_fail(r, ERR_FORMAT, key, "not the certificate of a CA (basicConstraints CA:TRUE)");
    *ret = (struct certificate){(uint8_t *)der.p, der.len};
    return 0;
}

/* ---- values that must differ */

static int by_value(const void *a, const void *b)
{
    const struct distinct *x = a, *y = b;
    int order = bytes_compare(x->value, y->value);
    if (order != 0)
        return order;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return strcmp(x->key, y->key);
}

int read_distinct(struct reader *r, struct distinct *values, size_t count)
{
    if (count > 1)
        qsort(values, count, sizeof(*values), by_value);
    for (size_t i = 1; i < count; i++) {
        const struct distinct *a = &values[i - 1], *b = &values[i];
        if (bytes_compare(a->value, b->value) != 0)
            continue;
        reader_at(r, "%s[%zu]", b->list, b->index);
        return read_fail(r, ERR_FORMAT, b->key, "the same as %s[%zu].%s; every one must differ", a->list, a->index,
                         a->key);
    }
    return 0;
}

/* ---- the head */

int read_head(struct reader *r, const struct head *head)
{
    struct document *d = r->d;
    reader_at(r, "%s", "");
    TRY(read_name(r, "network", head->network, d->network));
    if (head->version != NULL)
        TRY(read_u64(r, "version", head->version, 1, VERSION_MAX, &d->version));
    TRY(read_time(r, "issued", head->issued, &d->issued_ms));
    TRY(read_time(r, "expires", head->expires, &d->expires_ms));
    if (d->expires_ms <= d->issued_ms)
        return read_fail(r, ERR_FORMAT, "expires", "not after issued");
    return 0;
}

/* ---- writing */

void write_time(struct buf *out, const char *key, uint64_t ms)
{
    char text[CLOCK_TEXT_LEN + 1];
    clock_text(ms, text);
    buf_printf(out, "%s%s\n", key, text);
}

void write_hex(struct buf *out, const char *key, struct bytes data)
{
    buf_str(out, key);
    buf_hex(out, data);
    buf_str(out, "\n");
}

void write_base64(struct buf *out, const char *key, struct bytes data)
{
    buf_str(out, key);
    buf_base64(out, data);
    buf_str(out, "\n");
}

void write_vkeys(struct buf *out, const struct note_key *keys, size_t count)
{
    buf_str(out, "[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_str(out, ", ");
        note_key_text(&keys[i], out);
    }
    buf_str(out, "]");
}

void write_head(const struct document *d, bool version, struct buf *out)
{
    buf_printf(out, "enfilade: %s/v1\nnetwork: %s\n", document_type_name(d->type), d->network);
    if (version)
        buf_printf(out, "version: %llu\n", (unsigned long long)d->version);
}
