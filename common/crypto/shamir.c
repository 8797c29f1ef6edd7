/* shamir: sharing and combining over GF(2^8).
 *
 * Constant time by construction: no table is indexed and no branch is taken by a secret. Field multiplication is eight
 * rounds of masked additions; inversion is a fixed chain of multiplications (a^254). Branches and lengths depend only
 * on k, m and x, which are public. */
#include "common/crypto/shamir.h"
#include <string.h>

/* a·b modulo x^8 + x^4 + x^3 + x + 1 */
static uint8_t mul(uint8_t a, uint8_t b)
{
    unsigned product = 0, left = a;
    for (unsigned i = 0; i < 8; i++) {
        product ^= left & (0u - ((unsigned)b >> i & 1u));
        left = left << 1 ^ (0x11bu & (0u - (left >> 7 & 1u)));
    }
    return (uint8_t)product;
}

/* 1/a = a^254; 0 for 0, which callers exclude */
static uint8_t inverse(uint8_t a)
{
    uint8_t power = a, result = 1;
    for (unsigned i = 1; i < 8; i++) { /* 254 = 2 + 4 + … + 128 */
        power = mul(power, power);
        result = mul(result, power);
    }
    return result;
}

static int check_x(const uint8_t *x, unsigned count)
{
    unsigned seen = 0;
    if (count == 0 || count > SHAMIR_MAX)
        return ERR_SHARES;
    for (unsigned i = 0; i < count; i++) {
        if (x[i] == 0 || x[i] > SHAMIR_MAX || (seen >> x[i] & 1u) != 0)
            return ERR_SHARES;
        seen |= 1u << x[i];
    }
    return 0;
}

/* Horner: coefficient[0] is that of x^1, the constant term is the secret. */
static void evaluate(const uint8_t *secret, const uint8_t (*coefficient)[SHAMIR_LEN], unsigned count, uint8_t x,
                     uint8_t *ret_y)
{
    for (unsigned i = 0; i < SHAMIR_LEN; i++) {
        uint8_t y = 0;
        for (unsigned j = count; j > 0; j--)
            y = mul(y ^ coefficient[j - 1][i], x);
        ret_y[i] = y ^ secret[i];
    }
}

int shamir_split(const struct secret *secret, unsigned k, const uint8_t *x, unsigned m, struct rng rng,
                 struct secret **ret_y)
{
    if (k == 0 || k > m || secret_len(secret) != SHAMIR_LEN)
        return ERR_SHARES;
    TRY(check_x(x, m));
    struct secret *coefficients = NULL, *y[SHAMIR_MAX] = {NULL};
    int rc = secret_new((size_t)(k - 1) * SHAMIR_LEN, &coefficients);
    if (rc == 0 && k > 1)
        rc = rng.fill(rng.arg, secret_write(coefficients), secret_len(coefficients));
    for (unsigned i = 0; rc == 0 && i < m; i++)
        rc = secret_new(SHAMIR_LEN, &y[i]);
    for (unsigned i = 0; i < m; i++) {
        if (rc != 0) {
            secret_free(y[i]);
            continue;
        }
        evaluate(secret_borrow(secret).p, (const uint8_t(*)[SHAMIR_LEN])secret_borrow(coefficients).p, k - 1, x[i],
                 secret_write(y[i]));
        ret_y[i] = y[i];
    }
    secret_free(coefficients);
    return rc;
}

/* The Lagrange basis polynomial of share i at 0: product of x_j / (x_j - x_i), where minus is exclusive or. Public. */
static uint8_t weight(const uint8_t *x, unsigned k, unsigned i)
{
    uint8_t above = 1, below = 1;
    for (unsigned j = 0; j < k; j++) {
        if (j == i)
            continue;
        above = mul(above, x[j]);
        below = mul(below, x[j] ^ x[i]);
    }
    return mul(above, inverse(below));
}

int shamir_combine(const uint8_t *x, struct secret *const *y, unsigned k, struct secret **ret_secret)
{
    TRY(check_x(x, k));
    for (unsigned i = 0; i < k; i++)
        if (secret_len(y[i]) != SHAMIR_LEN)
            return ERR_SHARES;
    struct secret *secret = NULL;
    TRY(secret_new(SHAMIR_LEN, &secret));
    uint8_t *out = secret_write(secret);
    for (unsigned i = 0; i < k; i++) {
        uint8_t w = weight(x, k, i);
        for (unsigned b = 0; b < SHAMIR_LEN; b++)
            out[b] ^= mul(w, secret_borrow(y[i]).p[b]);
    }
    *ret_secret = secret;
    return 0;
}
