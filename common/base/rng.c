/* rng: the system's randomness, OpenSSL's generator for private values. */
#include "common/base/rng.h"
#include <limits.h>
#include <openssl/rand.h>

static int fill(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    while (len > 0) {
        size_t part = len < INT_MAX ? len : INT_MAX;
        if (RAND_priv_bytes(out, (int)part) != 1)
            return ERR_INTERNAL;
        out += part;
        len -= part;
    }
    return 0;
}

struct rng rng_system(void)
{
    return (struct rng){.fill = fill, .arg = NULL};
}
