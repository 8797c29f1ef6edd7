/* rng: randomness as an interface; the system's is OpenSSL's. */
#ifndef ENFILADE_BASE_RNG_H
#define ENFILADE_BASE_RNG_H

#include "common/base/err.h"
#include <stddef.h>
#include <stdint.h>

struct rng {
    int (*fill)(void *arg, uint8_t *out, size_t len); /* 0 or ERR_INTERNAL */
    void *arg;
};

struct rng rng_system(void);

#endif
