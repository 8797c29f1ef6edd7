/* derive: the token's derive operation and the lock, in software. */
#include "common/walk/derive.h"
#include "common/crypto/kdf.h"
#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>

#define KEY_LEN 32

static EVP_CIPHER *cipher; /* fetched once */
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    assert(cipher != NULL);
}

/* AES-256-CBC of 32 bytes with IV 0 and no padding: what CKM_AES_CBC_ENCRYPT_DATA computes. */
static int encrypt(const struct secret *key, const uint8_t plain[KEY_LEN], uint8_t *ret_out)
{
    static const uint8_t iv[16];
    if (secret_len(key) != KEY_LEN)
        return ERR_FORMAT;
    int once = pthread_once(&fetched, fetch);
    assert(once == 0);
    int n = 0, tail = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool good = ctx != NULL && EVP_EncryptInit_ex2(ctx, cipher, secret_borrow(key).p, iv, NULL) == 1 &&
                EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 && EVP_EncryptUpdate(ctx, ret_out, &n, plain, KEY_LEN) == 1 &&
                n == KEY_LEN && EVP_EncryptFinal_ex(ctx, ret_out + n, &tail) == 1 && tail == 0;
    EVP_CIPHER_CTX_free(ctx);
    return good ? 0 : ERR_INTERNAL;
}

static int expand_cbc(const struct secret *z, const uint8_t ctx[HASH_LEN], struct secret **ret_key)
{
    struct secret *key = NULL;
    TRY(secret_new(KEY_LEN, &key));
    int rc = encrypt(z, ctx, secret_write(key));
    if (rc != 0) {
        secret_free(key);
        return rc;
    }
    *ret_key = key;
    return 0;
}

static int expand_x963(const struct secret *z, const uint8_t ctx[HASH_LEN], struct secret **ret_key)
{
    return kdf_x963(z, BYTES(ctx, HASH_LEN), KEY_LEN, ret_key);
}

static int expand_hkdf(const struct secret *z, const uint8_t ctx[HASH_LEN], struct secret **ret_key)
{
    return kdf_hkdf(BYTES_NONE, z, BYTES(ctx, HASH_LEN), KEY_LEN, ret_key);
}

int derive(uint64_t profile, const struct ec_key *key, struct bytes point, const uint8_t ctx[HASH_LEN],
           struct secret **ret_key)
{
    static int (*const expand[])(const struct secret *z, const uint8_t ctx[HASH_LEN],
                                 struct secret **ret_key) = {expand_cbc, expand_x963, expand_hkdf};
    if (profile < DERIVE_PROFILE_MIN || profile > DERIVE_PROFILE_MAX)
        return ERR_VERSION;
    struct secret *z = NULL;
    TRY(ec_ecdh(key, point, &z));
    int rc = expand[profile - DERIVE_PROFILE_MIN](z, ctx, ret_key);
    secret_free(z);
    return rc;
}

int derive_lock(const struct secret *tag, struct bytes a, struct bytes node, uint8_t ret_lock[32])
{
    uint8_t plain[HASH_LEN];
    context_lock(a, node, plain);
    return encrypt(tag, plain, ret_lock);
}
