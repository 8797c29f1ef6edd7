/* hash: SHA-256, and TH over several fields.
 *
 * A hash that cannot be computed (no memory, no provider) has no safe value to go on with, so it ends the process. */
#include "common/crypto/hash.h"
#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#define PREFIX "enfilade/v1/"
#define FIELDS_MAX 255
#define INLINE_CAP                                                                                                     \
    1024 /* holds every context of the protocol that has secret fields, so those stay in the secure heap */

static EVP_MD *md256, *md512; /* fetched once; live as long as the process */
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    md256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    md512 = EVP_MD_fetch(NULL, "SHA512", NULL);
    assert(md256 != NULL && md512 != NULL);
}

static void digest(EVP_MD **md, struct bytes data, uint8_t *ret)
{
    int once = pthread_once(&fetched, fetch);
    assert(once == 0);
    int rc = EVP_Digest(data.p, data.len, ret, NULL, *md, NULL);
    assert(rc == 1);
}

void sha256(struct bytes data, uint8_t ret[HASH_LEN])
{
    digest(&md256, data, ret);
}

void sha256_prefixed(uint8_t prefix, struct bytes data, uint8_t ret[HASH_LEN])
{
    int once = pthread_once(&fetched, fetch);
    assert(once == 0);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert(ctx != NULL);
    bool good = EVP_DigestInit_ex2(ctx, md256, NULL) == 1 && EVP_DigestUpdate(ctx, &prefix, 1) == 1 &&
                EVP_DigestUpdate(ctx, data.p, data.len) == 1 && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;
    assert(good);
    EVP_MD_CTX_free(ctx);
}

/* The bytes to hash, from the label on: the count of fields is written at `count_at` when it is known. */
struct th {
    size_t len, cap, count_at;
    unsigned count;
    uint8_t *p;
};

/* The first block comes from the secure heap; only fields that are large, and so public, make it move out. */
static void reserve(struct th *t, size_t more)
{
    assert(more <= SIZE_MAX / 4 && t->len <= SIZE_MAX / 4);
    if (t->len + more <= t->cap)
        return;
    size_t cap = 2 * (t->len + more);
    uint8_t *p = OPENSSL_malloc(cap);
    assert(p != NULL);
    memcpy(p, t->p, t->len);
    OPENSSL_secure_clear_free(t->p, t->cap);
    t->p = p;
    t->cap = cap;
}

static void put(struct th *t, const void *p, size_t len)
{
    reserve(t, len);
    if (len > 0)
        memcpy(t->p + t->len, p, len);
    t->len += len;
}

struct th *th_begin(const char *label)
{
    size_t label_len = strlen(PREFIX) + strlen(label);
    assert(label_len <= 255);
    struct th *t = OPENSSL_zalloc(sizeof(*t));
    assert(t != NULL);
    t->p = OPENSSL_secure_malloc(INLINE_CAP);
    if (t->p == NULL) /* the secure heap is full: wiped all the same */
        t->p = OPENSSL_malloc(INLINE_CAP);
    assert(t->p != NULL);
    t->cap = INLINE_CAP;
    uint8_t head = (uint8_t)label_len, none = 0;
    put(t, &head, 1);
    put(t, PREFIX, strlen(PREFIX));
    put(t, label, strlen(label));
    t->count_at = t->len;
    put(t, &none, 1);
    return t;
}

void th_add(struct th *t, struct bytes field)
{
    assert(t->count < FIELDS_MAX && field.len <= UINT32_MAX);
    uint8_t len[4] = {(uint8_t)(field.len >> 24), (uint8_t)(field.len >> 16), (uint8_t)(field.len >> 8),
                      (uint8_t)field.len};
    put(t, len, sizeof(len));
    put(t, field.p, field.len);
    t->count++;
}

void th_add_str(struct th *t, const char *text)
{
    th_add(t, bytes_str(text));
}

void th_add_u64(struct th *t, uint64_t v)
{
    uint8_t out[8];
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(v >> (8 * (7 - i)));
    th_add(t, BYTES_OF(out));
}

static void finish(struct th *t, EVP_MD **md, uint8_t *ret)
{
    t->p[t->count_at] = (uint8_t)t->count;
    digest(md, BYTES(t->p, t->len), ret);
    OPENSSL_secure_clear_free(t->p, t->cap);
    OPENSSL_free(t);
}

void th_finish(struct th *t, uint8_t ret[HASH_LEN])
{
    finish(t, &md256, ret);
}

void th_finish512(struct th *t, uint8_t ret[HASH512_LEN])
{
    finish(t, &md512, ret);
}
