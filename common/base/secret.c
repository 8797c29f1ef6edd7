/* secret: locked, undumpable, wiped memory. */
#include "common/base/secret.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define HEAP_BYTES (4u * 1024u * 1024u) /* power of two, as CRYPTO_secure_malloc_init wants it */
#define HEAP_MIN 32u

struct secret {
    size_t len;
    uint8_t bytes[];
};

int secret_setup(struct err *err)
{
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return err_set(err, ERR_INTERNAL, "cannot forbid core dumps: %s", strerror(errno));
    if (CRYPTO_secure_malloc_initialized())
        return 0;
    if (CRYPTO_secure_malloc_init(HEAP_BYTES, HEAP_MIN) != 1)
        return err_set(err, ERR_INTERNAL,
                       "cannot lock %u bytes of memory for secrets: raise the limit of locked memory "
                       "(LimitMEMLOCK= in systemd, ulimit -l) to at least 8 MiB",
                       HEAP_BYTES);
    return 0;
}

int secret_new(size_t len, struct secret **ret_secret)
{
    if (len > SECRET_MAX)
        return ERR_TOO_LONG;
    struct secret *s = OPENSSL_secure_zalloc(sizeof(*s) + len);
    if (s == NULL)
        return ERR_NOMEM;
    s->len = len;
    *ret_secret = s;
    return 0;
}

int secret_copy(struct bytes from, struct secret **ret_secret)
{
    TRY(secret_new(from.len, ret_secret));
    if (from.len > 0)
        memcpy((*ret_secret)->bytes, from.p, from.len);
    return 0;
}

int secret_random(size_t len, struct secret **ret_secret)
{
    struct secret *s = NULL;
    TRY(secret_new(len, &s));
    if (RAND_priv_bytes(s->bytes, (int)len) != 1) {
        secret_free(s);
        return ERR_INTERNAL;
    }
    *ret_secret = s;
    return 0;
}

void secret_free(struct secret *s)
{
    if (s != NULL)
        OPENSSL_secure_clear_free(s, sizeof(*s) + s->len);
}

size_t secret_len(const struct secret *s)
{
    return s->len;
}

struct bytes secret_borrow(const struct secret *s)
{
    return BYTES(s->bytes, s->len);
}

uint8_t *secret_write(struct secret *s)
{
    return s->bytes;
}

bool secret_equal(const struct secret *a, const struct secret *b)
{
    return a->len == b->len && CRYPTO_memcmp(a->bytes, b->bytes, a->len) == 0;
}

void wipe(void *p, size_t len)
{
    OPENSSL_cleanse(p, len);
}
