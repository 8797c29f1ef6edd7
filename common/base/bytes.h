/* bytes: views, bounded buffers and cursors over untrusted input.
 *
 * Inputs are borrowed views that never outlive the callback that brought them. Output is built in a `struct buf`
 * with a fixed maximum. Parsing walks a `struct cursor`; nothing casts a buffer to a struct. */
#ifndef ENFILADE_BASE_BYTES_H
#define ENFILADE_BASE_BYTES_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    const uint8_t *p;
    size_t len;
};

#define BYTES(p_, len_) ((struct bytes){(const uint8_t *)(p_), (len_)})
#define BYTES_OF(array_) BYTES((array_), sizeof(array_)) /* arrays and plain structs of bytes only */
#define BYTES_NONE BYTES(NULL, 0)

struct bytes bytes_str(const char *text);         /* without the NUL; text may be NULL */
bool bytes_equal(struct bytes a, struct bytes b); /* public data; constant time for equal lengths all the same */
bool bytes_is(struct bytes a, const char *text);
bool bytes_is_zero(struct bytes a);
int bytes_compare(struct bytes a, struct bytes b); /* order of memcmp, then length */

/* buf: grows up to max, then every append fails. Failures are sticky: check buf_ok() once at the end.
 * Not for secrets (see secret.h). */
struct buf {
    uint8_t *p;
    size_t len, cap, max;
    bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b); /* frees; b may be used again only after buf_init */
bool buf_ok(const struct buf *b);
void buf_put(struct buf *b, struct bytes data);
void buf_str(struct buf *b, const char *text);
void buf_u8(struct buf *b, uint8_t v);
void buf_u16be(struct buf *b, uint16_t v);
void buf_u32be(struct buf *b, uint32_t v);
void buf_u64be(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_hex(struct buf *b, struct bytes data);    /* lower case */
void buf_base64(struct buf *b, struct bytes data); /* RFC 4648 §4, padded, no line breaks */
struct bytes buf_view(const struct buf *b);
char *buf_cstr(struct buf *b); /* appends a NUL that is not counted; NULL when failed; valid until the next append */

/* cursor: reads forward, refuses to pass the end. Every function returns 0 or ERR_FORMAT. */
struct cursor {
    struct bytes left;
};

MUST_CHECK int cursor_take(struct cursor *c, size_t len, struct bytes *ret_view);
MUST_CHECK int cursor_u8(struct cursor *c, uint8_t *ret_v);
MUST_CHECK int cursor_u16be(struct cursor *c, uint16_t *ret_v);
MUST_CHECK int cursor_u32be(struct cursor *c, uint32_t *ret_v);
MUST_CHECK int cursor_u64be(struct cursor *c, uint64_t *ret_v);
/* The bytes before the next '\n'; the newline is consumed. ERR_FORMAT when there is none. */
MUST_CHECK int cursor_line(struct cursor *c, struct bytes *ret_line);

/* Strict text forms. Exact length, one spelling per value: lower-case hex, canonical padded base64. ERR_FORMAT. */
MUST_CHECK int hex_decode(struct bytes text, uint8_t *ret_out, size_t out_len);
/* ret_out holds out_max bytes; ERR_FORMAT for anything not canonical, ERR_TOO_LONG when it does not fit. */
MUST_CHECK int base64_decode(struct bytes text, uint8_t *ret_out, size_t out_max, size_t *ret_len);
void hex_encode(struct bytes data, char *ret_text); /* writes 2*len+1 */

#endif
