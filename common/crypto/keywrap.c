/* keywrap: AES-256 key wrap (RFC 3394) over OpenSSL. */
#include "common/crypto/keywrap.h"
#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>

#define KEK_LEN 32
#define PLAIN_MIN 16
#define PLAIN_MAX 1024

static EVP_CIPHER *cipher; /* fetched once */
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    cipher = EVP_CIPHER_fetch(NULL, "AES-256-WRAP", NULL);
    assert(cipher != NULL);
}

static bool is_plain_len(size_t len)
{
    return len % 8 == 0 && len >= PLAIN_MIN && len <= PLAIN_MAX;
}

/* ret_out has the exact length of the result; 0 or `refusal` */
static int crypt(const struct secret *kek, bool wrap, struct bytes in, uint8_t *ret_out, size_t out_len, int refusal)
{
    if (secret_len(kek) != KEK_LEN)
        return ERR_FORMAT;
    int once = pthread_once(&fetched, fetch);
    assert(once == 0);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL)
        return ERR_NOMEM;
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    int rc = ERR_INTERNAL, n = 0, tail = 0;
    if (EVP_CipherInit_ex2(ctx, cipher, secret_borrow(kek).p, NULL, wrap, NULL) == 1)
        rc = EVP_CipherUpdate(ctx, ret_out, &n, in.p, (int)in.len) == 1 && n > 0 && (size_t)n == out_len &&
                     EVP_CipherFinal_ex(ctx, ret_out + n, &tail) == 1 && tail == 0
                 ? 0
                 : refusal;
    EVP_CIPHER_CTX_free(ctx);
    return rc;
}

int keywrap_wrap(const struct secret *kek, const struct secret *plain, uint8_t *ret_out)
{
    struct bytes in = secret_borrow(plain);
    if (!is_plain_len(in.len))
        return ERR_FORMAT;
    return crypt(kek, true, in, ret_out, in.len + KEYWRAP_OVERHEAD, ERR_INTERNAL);
}

int keywrap_unwrap(const struct secret *kek, struct bytes wrapped, struct secret **ret_plain)
{
    if (wrapped.len < KEYWRAP_OVERHEAD || !is_plain_len(wrapped.len - KEYWRAP_OVERHEAD))
        return ERR_FORMAT;
    struct secret *plain = NULL;
    TRY(secret_new(wrapped.len - KEYWRAP_OVERHEAD, &plain));
    int rc = crypt(kek, false, wrapped, secret_write(plain), secret_len(plain), ERR_SIGNATURE);
    if (rc != 0) {
        secret_free(plain);
        return rc;
    }
    *ret_plain = plain;
    return 0;
}
