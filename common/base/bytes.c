/* bytes: views, bounded buffers, cursors, hex and base64. */
#include "common/base/bytes.h"
#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bytes bytes_str(const char *text)
{
    return BYTES(text, text != NULL ? strlen(text) : 0);
}

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.p, b.p, a.len) == 0);
}

bool bytes_is(struct bytes a, const char *text)
{
    return bytes_equal(a, bytes_str(text));
}

bool bytes_is_zero(struct bytes a)
{
    uint8_t any = 0;
    for (size_t i = 0; i < a.len; i++)
        any |= a.p[i];
    return any == 0;
}

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;
    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.max = b->max};
}

bool buf_ok(const struct buf *b)
{
    return !b->failed;
}

/* Room for `more` bytes beyond len, one spare byte for buf_cstr's NUL included. */
static bool reserve(struct buf *b, size_t more)
{
    if (b->failed || more > b->max || b->len > b->max - more) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + more + 1;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap = cap > (b->max + 1) / 2 ? b->max + 1 : cap * 2;
    uint8_t *p = realloc(b->p, cap);
    if (p == NULL) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

void buf_put(struct buf *b, struct bytes data)
{
    if (data.len == 0 || !reserve(b, data.len))
        return;
    memcpy(b->p + b->len, data.p, data.len);
    b->len += data.len;
}

void buf_str(struct buf *b, const char *text)
{
    buf_put(b, bytes_str(text));
}

static void put_be(struct buf *b, uint64_t v, size_t len)
{
    uint8_t out[8];
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(v >> (8 * (len - 1 - i)));
    buf_put(b, BYTES(out, len));
}

void buf_u8(struct buf *b, uint8_t v)
{
    put_be(b, v, 1);
}

void buf_u16be(struct buf *b, uint16_t v)
{
    put_be(b, v, 2);
}

void buf_u32be(struct buf *b, uint32_t v)
{
    put_be(b, v, 4);
}

void buf_u64be(struct buf *b, uint64_t v)
{
    put_be(b, v, 8);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    if (n < 0)
        b->failed = true;
    else if (reserve(b, (size_t)n)) {
        (void)vsnprintf((char *)b->p + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
    va_end(ap);
}

void buf_hex(struct buf *b, struct bytes data)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < data.len; i++) {
        buf_u8(b, (uint8_t)digits[data.p[i] >> 4]);
        buf_u8(b, (uint8_t)digits[data.p[i] & 15]);
    }
}

void buf_base64(struct buf *b, struct bytes data)
{
    size_t out_len = (data.len + 2) / 3 * 4;
    if (data.len == 0 || !reserve(b, out_len))
        return;
    (void)EVP_EncodeBlock(b->p + b->len, data.p, (int)data.len);
    b->len += out_len;
}

struct bytes buf_view(const struct buf *b)
{
    return BYTES(b->p, b->len);
}

char *buf_cstr(struct buf *b)
{
    if (!reserve(b, 0))
        return NULL;
    b->p[b->len] = '\0';
    return (char *)b->p;
}

int cursor_take(struct cursor *c, size_t len, struct bytes *ret_view)
{
    if (len > c->left.len)
        return ERR_FORMAT;
    *ret_view = BYTES(c->left.p, len);
    c->left = BYTES(c->left.p + len, c->left.len - len);
    return 0;
}

static int take_be(struct cursor *c, size_t len, uint64_t *ret_v)
{
    struct bytes view;
    TRY(cursor_take(c, len, &view));
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++)
        v = v << 8 | view.p[i];
    *ret_v = v;
    return 0;
}

int cursor_u8(struct cursor *c, uint8_t *ret_v)
{
    uint64_t v;
    TRY(take_be(c, 1, &v));
    *ret_v = (uint8_t)v;
    return 0;
}

int cursor_u16be(struct cursor *c, uint16_t *ret_v)
{
    uint64_t v;
    TRY(take_be(c, 2, &v));
    *ret_v = (uint16_t)v;
    return 0;
}

int cursor_u32be(struct cursor *c, uint32_t *ret_v)
{
    uint64_t v;
    TRY(take_be(c, 4, &v));
    *ret_v = (uint32_t)v;
    return 0;
}

int cursor_u64be(struct cursor *c, uint64_t *ret_v)
{
    return take_be(c, 8, ret_v);
}

int cursor_line(struct cursor *c, struct bytes *ret_line)
{
    const uint8_t *end = c->left.len > 0 ? memchr(c->left.p, '\n', c->left.len) : NULL;
    if (end == NULL)
        return ERR_FORMAT;
    size_t len = (size_t)(end - c->left.p);
    *ret_line = BYTES(c->left.p, len);
    c->left = BYTES(end + 1, c->left.len - len - 1);
    return 0;
}

static int nibble(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int hex_decode(struct bytes text, uint8_t *ret_out, size_t out_len)
{
    if (text.len != 2 * out_len)
        return ERR_FORMAT;
    for (size_t i = 0; i < text.len; i++)
        if (nibble(text.p[i]) < 0)
            return ERR_FORMAT;
    for (size_t i = 0; i < out_len; i++)
        ret_out[i] = (uint8_t)(nibble(text.p[2 * i]) << 4 | nibble(text.p[2 * i + 1]));
    return 0;
}

void hex_encode(struct bytes data, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < data.len; i++) {
        ret_text[2 * i] = digits[data.p[i] >> 4];
        ret_text[2 * i + 1] = digits[data.p[i] & 15];
    }
    ret_text[2 * data.len] = '\0';
}

/* Decode, then encode again and compare: only the canonical spelling passes, and EVP_DecodeBlock, which skips
 * white space, is kept honest. */
int base64_decode(struct bytes text, uint8_t *ret_out, size_t out_max, size_t *ret_len)
{
    if (text.len % 4 != 0 || text.len > (size_t)1 << 24)
        return ERR_FORMAT;
    if (text.len == 0) {
        *ret_len = 0;
        return 0;
    }
    size_t pad = (text.p[text.len - 1] == '=') + (size_t)(text.p[text.len - 2] == '=');
    size_t len = text.len / 4 * 3 - pad;
    if (len > out_max)
        return ERR_TOO_LONG;
    uint8_t *raw = malloc(text.len / 4 * 3 + 1);
    uint8_t *again = malloc(text.len + 1);
    int rc = ERR_NOMEM;
    if (raw != NULL && again != NULL) {
        rc = ERR_FORMAT;
        if (EVP_DecodeBlock(raw, text.p, (int)text.len) >= 0 &&
            EVP_EncodeBlock(again, raw, (int)len) == (int)text.len && memcmp(again, text.p, text.len) == 0) {
            memcpy(ret_out, raw, len);
            *ret_len = len;
            rc = 0;
        }
    }
    free(raw);
    free(again);
    return rc;
}
