/* shamir: k of m over GF(2^8), bytewise, polynomial 0x11b, constant time (no tables).
 *
 * Does no I/O. x is 1..16 and comes from the signed envelope, never from an answer. Source: Shamir 1979. */
#ifndef ENFILADE_CRYPTO_SHAMIR_H
#define ENFILADE_CRYPTO_SHAMIR_H

#include "common/base/rng.h"
#include "common/base/secret.h"

#define SHAMIR_LEN 32
#define SHAMIR_MAX 16

struct shamir_share {
    uint8_t x;
    uint8_t y[SHAMIR_LEN];
};

/* coefficients from rng (the top one is not forced non-zero); ret_y[i] belongs to x[i]. ERR_SHARES: k = 0, k > m,
 * m > 16, x = 0, x > 16 or twice. */
MUST_CHECK int shamir_split(const struct secret *secret, unsigned k, const uint8_t *x, unsigned m, struct rng rng,
                            struct secret **ret_y);
/* exactly k shares with the given x. ERR_SHARES as above. */
MUST_CHECK int shamir_combine(const uint8_t *x, struct secret *const *y, unsigned k, struct secret **ret_secret);

#endif
