/* payload: AES-256-GCM in counted chunks, the last one marked.
 *
 * The counter and the mark are in the nonce, so a chunk that is moved, dropped or appended fails its tag. The first
 * failure ends the payload: nothing more comes out of it. */
#include "common/crypto/payload.h"
#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

#define KEY_LEN 32
#define NONCE_LEN 12
#define AAD_MAX 4096
#define PLAIN_MAX (SIZE_MAX / 2)

struct payload {
    EVP_CIPHER_CTX *ctx; /* holds the key; wiped by its free */
    uint64_t counter;
    bool seal, over;
    size_t aad_len;
    uint8_t aad[];
};

static EVP_CIPHER *cipher; /* fetched once */
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    assert(cipher != NULL);
}

int payload_new(const struct secret *key, struct bytes aad, bool seal, struct payload **ret_p)
{
    if (secret_len(key) != KEY_LEN)
        return ERR_FORMAT;
    if (aad.len > AAD_MAX)
        return ERR_TOO_LONG;
    int once = pthread_once(&fetched, fetch);
    assert(once == 0);
    struct payload *p = OPENSSL_zalloc(sizeof(*p) + aad.len);
    if (p == NULL)
        return ERR_NOMEM;
    p->seal = seal;
    p->aad_len = aad.len;
    for (size_t i = 0; i < aad.len; i++)
        p->aad[i] = aad.p[i];
    p->ctx = EVP_CIPHER_CTX_new();
    if (p->ctx == NULL || EVP_CipherInit_ex2(p->ctx, cipher, secret_borrow(key).p, NULL, seal, NULL) != 1) {
        payload_free(p);
        return ERR_INTERNAL;
    }
    *ret_p = p;
    return 0;
}

void payload_free(struct payload *p)
{
    if (p == NULL)
        return;
    EVP_CIPHER_CTX_free(p->ctx);
    OPENSSL_free(p);
}

static void make_nonce(uint64_t counter, bool last, uint8_t ret[NONCE_LEN])
{
    for (unsigned i = 0; i < 8; i++)
        ret[i] = (uint8_t)(counter >> (8 * (7 - i)));
    for (unsigned i = 8; i < NONCE_LEN; i++)
        ret[i] = 0;
    ret[NONCE_LEN - 1] = last;
}

static bool crypt(struct payload *p, struct bytes text, uint8_t *ret_out)
{
    int n = 0;
    if (p->aad_len > 0 && EVP_CipherUpdate(p->ctx, NULL, &n, p->aad, (int)p->aad_len) != 1)
        return false;
    return text.len == 0 ||
           (EVP_CipherUpdate(p->ctx, ret_out, &n, text.p, (int)text.len) == 1 && (size_t)n == text.len);
}

static bool seal_chunk(struct payload *p, struct bytes plain, uint8_t *ret_out)
{
    int n = 0;
    return crypt(p, plain, ret_out) && EVP_CipherFinal_ex(p->ctx, ret_out + plain.len, &n) == 1 && n == 0 &&
           EVP_CIPHER_CTX_ctrl(p->ctx, EVP_CTRL_AEAD_GET_TAG, PAYLOAD_TAG, ret_out + plain.len) == 1;
}

/* Plaintext that fails its tag is wiped before it can be used. */
static bool open_chunk(struct payload *p, struct bytes sealed, uint8_t *ret_out)
{
    int n = 0;
    uint8_t tag[PAYLOAD_TAG], none;
    struct bytes text = BYTES(sealed.p, sealed.len - PAYLOAD_TAG);
    for (size_t i = 0; i < PAYLOAD_TAG; i++)
        tag[i] = sealed.p[text.len + i];
    bool good = EVP_CIPHER_CTX_ctrl(p->ctx, EVP_CTRL_AEAD_SET_TAG, PAYLOAD_TAG, tag) == 1 && crypt(p, text, ret_out) &&
                EVP_CipherFinal_ex(p->ctx, &none, &n) == 1 && n == 0;
    if (!good && text.len > 0)
        wipe(ret_out, text.len);
    return good;
}

int payload_chunk(struct payload *p, struct bytes in, bool last, uint8_t *ret_out)
{
    size_t overhead = p->seal ? 0 : PAYLOAD_TAG;
    bool in_place = !p->over && in.len >= overhead && in.len - overhead <= PAYLOAD_CHUNK &&
                    (last || in.len - overhead == PAYLOAD_CHUNK) && !(last && p->counter > 0 && in.len == overhead);
    if (!in_place) {
        p->over = true;
        return ERR_PAYLOAD;
    }
    uint8_t nonce[NONCE_LEN];
    make_nonce(p->counter, last, nonce);
    bool good = EVP_CipherInit_ex2(p->ctx, NULL, NULL, nonce, p->seal, NULL) == 1 &&
                (p->seal ? seal_chunk(p, in, ret_out) : open_chunk(p, in, ret_out));
    p->over = last || !good;
    p->counter++;
    return good ? 0 : ERR_PAYLOAD;
}

size_t payload_sealed_len(size_t plain_len)
{
    assert(plain_len <= PLAIN_MAX);
    size_t chunks = plain_len == 0 ? 1 : (plain_len - 1) / PAYLOAD_CHUNK + 1;
    return plain_len + chunks * PAYLOAD_TAG;
}

int payload_seal(const struct secret *key, struct bytes aad, struct bytes plain, struct buf *ret_sealed)
{
    struct payload *p = NULL;
    uint8_t *chunk = OPENSSL_malloc(PAYLOAD_CHUNK + PAYLOAD_TAG);
    int rc = chunk != NULL ? payload_new(key, aad, true, &p) : ERR_NOMEM;
    size_t at = 0;
    for (bool last = false; rc == 0 && !last;) {
        size_t len = plain.len - at < PAYLOAD_CHUNK ? plain.len - at : PAYLOAD_CHUNK;
        last = at + len == plain.len;
        rc = payload_chunk(p, BYTES(len > 0 ? plain.p + at : NULL, len), last, chunk);
        if (rc == 0)
            buf_put(ret_sealed, BYTES(chunk, len + PAYLOAD_TAG));
        at += len;
    }
    payload_free(p);
    OPENSSL_free(chunk);
    return rc == 0 && !buf_ok(ret_sealed) ? ERR_TOO_LONG : rc;
}

/* The length of the plaintext, if a payload can be `sealed_len` long at all. */
static int plain_len_of(size_t sealed_len, size_t *ret_len)
{
    const size_t whole = PAYLOAD_CHUNK + PAYLOAD_TAG;
    size_t full = sealed_len / whole, rest = sealed_len % whole;
    if (rest != 0 && rest < PAYLOAD_TAG)
        return ERR_PAYLOAD;
    if (sealed_len == 0 || (rest == PAYLOAD_TAG && full > 0))
        return ERR_PAYLOAD; /* only an empty payload has an empty chunk */
    *ret_len = full * PAYLOAD_CHUNK + (rest != 0 ? rest - PAYLOAD_TAG : 0);
    return 0;
}

int payload_open(const struct secret *key, struct bytes aad, struct bytes sealed, struct secret **ret_plain)
{
    size_t plain_len = 0;
    TRY(plain_len_of(sealed.len, &plain_len));
    struct secret *plain = NULL;
    struct payload *p = NULL;
    TRY(secret_new(plain_len, &plain));
    int rc = payload_new(key, aad, false, &p);
    struct cursor c = {sealed};
    for (size_t at = 0; rc == 0 && c.left.len > 0; at += PAYLOAD_CHUNK) {
        struct bytes chunk;
        size_t whole = PAYLOAD_CHUNK + PAYLOAD_TAG;
        rc = cursor_take(&c, c.left.len < whole ? c.left.len : whole, &chunk);
        if (rc == 0)
            rc = payload_chunk(p, chunk, c.left.len == 0, secret_write(plain) + at);
    }
    payload_free(p);
    if (rc != 0) {
        secret_free(plain);
        return rc;
    }
    *ret_plain = plain;
    return 0;
}
