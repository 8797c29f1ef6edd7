/* kdf: key derivation over OpenSSL's EVP_KDF. */
#include "common/crypto/kdf.h"
#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>

static EVP_KDF *hkdf, *x963; /* fetched once */
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    x963 = EVP_KDF_fetch(NULL, "X963KDF", NULL);
    assert(hkdf != NULL && x963 != NULL);
}

static OSSL_PARAM octets(const char *name, struct bytes b)
{
    return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)b.p, b.len);
}

/* mode: HKDF's, or NULL. Empty salt and info are left out, which means the same. */
static int run(EVP_KDF **kdf, const char *mode, struct bytes salt, const struct secret *key, struct bytes info,
               size_t len, struct secret **ret_key)
{
    if (len == 0 || len > KDF_OUT_MAX)
        return ERR_TOO_LONG;
    int once = pthread_once(&fetched, fetch);
    assert(once == 0);
    OSSL_PARAM params[6], *p = params;
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0);
    *p++ = octets(OSSL_KDF_PARAM_KEY, secret_borrow(key));
    if (mode != NULL)
        *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_MODE, (char *)(uintptr_t)mode, 0);
    if (salt.len > 0)
        *p++ = octets(OSSL_KDF_PARAM_SALT, salt);
    if (info.len > 0)
        *p++ = octets(OSSL_KDF_PARAM_INFO, info);
    *p = OSSL_PARAM_construct_end();

    struct secret *out = NULL;
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(*kdf);
    int rc = ctx != NULL ? secret_new(len, &out) : ERR_NOMEM;
    if (rc == 0 && EVP_KDF_derive(ctx, secret_write(out), len, params) != 1)
        rc = ERR_INTERNAL;
    EVP_KDF_CTX_free(ctx);
    if (rc != 0) {
        secret_free(out);
        return rc;
    }
    *ret_key = out;
    return 0;
}

int kdf_hkdf(struct bytes salt, const struct secret *ikm, struct bytes info, size_t len, struct secret **ret_key)
{
    return run(&hkdf, "EXTRACT_AND_EXPAND", salt, ikm, info, len, ret_key);
}

int kdf_hkdf_expand(const struct secret *prk, struct bytes info, size_t len, struct secret **ret_key)
{
    return run(&hkdf, "EXPAND_ONLY", BYTES_NONE, prk, info, len, ret_key);
}

int kdf_x963(const struct secret *z, struct bytes shared_info, size_t len, struct secret **ret_key)
{
    return run(&x963, NULL, BYTES_NONE, z, shared_info, len, ret_key);
}
