/* shamir: any k shares give the secret back, fewer or wrong ones do not, bad sets are refused. */
#include "common/crypto/shamir.h"
#include "tests/lib/hex.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static uint64_t seed = 1;

static int seeded_fill(void *arg, uint8_t *out, size_t len) /* splitmix64 */
{
    uint64_t *state = arg;
    for (size_t i = 0; i < len; i++) {
        uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        out[i] = (uint8_t)(z >> 32);
    }
    return 0;
}

static int broken_fill(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    (void)out;
    (void)len;
    return ERR_INTERNAL;
}

static struct rng seeded(void)
{
    return (struct rng){seeded_fill, &seed};
}

static void random_x(uint8_t *x, unsigned m)
{
    uint8_t all[SHAMIR_MAX], r[SHAMIR_MAX];
    (void)seeded_fill(&seed, r, sizeof(r));
    for (unsigned i = 0; i < SHAMIR_MAX; i++)
        all[i] = (uint8_t)(i + 1);
    for (unsigned i = 0; i < m; i++) {
        unsigned j = i + r[i] % (SHAMIR_MAX - i);
        uint8_t swap = all[i];
        all[i] = all[j];
        all[j] = swap;
        x[i] = all[i];
    }
}

static void free_all(struct secret **y, unsigned m)
{
    for (unsigned i = 0; i < m; i++)
        secret_free(y[i]);
}

/* The shares whose bits are set; returns how many. */
static unsigned pick(unsigned mask, const uint8_t *x, struct secret *const *y, uint8_t *ret_x, struct secret **ret_y)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SHAMIR_MAX; i++)
        if ((mask >> i & 1) != 0) {
            ret_x[n] = x[i];
            ret_y[n++] = y[i];
        }
    return n;
}

/* All subsets of the shares: k or more give the secret, fewer give something else. */
static void check_subsets(const struct secret *secret, unsigned k, const uint8_t *x, struct secret *const *y,
                          unsigned m)
{
    for (unsigned mask = 1; mask < 1u << m; mask++) {
        uint8_t px[SHAMIR_MAX];
        struct secret *py[SHAMIR_MAX], *got = NULL;
        unsigned n = pick(mask, x, y, px, py);
        assert_int_equal(shamir_combine(px, py, n, &got), 0);
        if (secret_equal(got, secret) != (n >= k))
            fail_msg("k %u, m %u, shares %x", k, m, mask);
        secret_free(got);
    }
}

static void test_every_threshold(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++)
        for (unsigned m = 1; m <= 6; m++)
            for (unsigned k = 1; k <= m; k++) {
                uint8_t x[SHAMIR_MAX] = {0};
                struct secret *secret = NULL, *y[SHAMIR_MAX] = {NULL};
                assert_int_equal(secret_new(SHAMIR_LEN, &secret), 0);
                (void)seeded_fill(&seed, secret_write(secret), SHAMIR_LEN);
                random_x(x, m);
                assert_int_equal(shamir_split(secret, k, x, m, seeded(), y), 0);
                check_subsets(secret, k, x, y, m);
                free_all(y, m);
                secret_free(secret);
            }
}

static void test_all_sixteen(void **state)
{
    (void)state;
    uint8_t x[SHAMIR_MAX];
    struct secret *secret = NULL, *y[SHAMIR_MAX] = {NULL}, *got = NULL;
    random_x(x, SHAMIR_MAX);
    assert_int_equal(secret_random(SHAMIR_LEN, &secret), 0);
    for (unsigned k = 1; k <= SHAMIR_MAX; k++) {
        assert_int_equal(shamir_split(secret, k, x, SHAMIR_MAX, rng_system(), y), 0);
        assert_int_equal(shamir_combine(x + SHAMIR_MAX - k, y + SHAMIR_MAX - k, k, &got), 0);
        assert_true(secret_equal(got, secret));
        secret_free(got);
        free_all(y, SHAMIR_MAX);
    }
    secret_free(secret);
}

/* One altered bit in one share, or one x exchanged for another: another secret. */
static void test_wrong_shares(void **state)
{
    (void)state;
    uint8_t x[SHAMIR_MAX] = {1, 2, 3};
    struct secret *secret = NULL, *y[SHAMIR_MAX] = {NULL}, *got = NULL;
    assert_int_equal(secret_random(SHAMIR_LEN, &secret), 0);
    assert_int_equal(shamir_split(secret, 3, x, 3, rng_system(), y), 0);
    for (unsigned share = 0; share < 3; share++)
        for (unsigned bit = 0; bit < 8 * SHAMIR_LEN; bit++) {
            secret_write(y[share])[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(shamir_combine(x, y, 3, &got), 0);
            assert_false(secret_equal(got, secret));
            secret_free(got);
            secret_write(y[share])[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    x[2] = 4;
    assert_int_equal(shamir_combine(x, y, 3, &got), 0);
    assert_false(secret_equal(got, secret));
    secret_free(got);
    free_all(y, 3);
    secret_free(secret);
}

/* One byte, k = 2: over all coefficients, every value of one share is as likely with every secret. */
static int constant_fill(void *arg, uint8_t *out, size_t len)
{
    memset(out, *(const int *)arg, len);
    return 0;
}

static void test_one_share_says_nothing(void **state)
{
    (void)state;
    static const uint8_t x[] = {5, 9};
    for (int value = 0; value < 256; value += 51) {
        bool seen[256] = {false};
        struct secret *secret = NULL, *y[2] = {NULL};
        assert_int_equal(secret_new(SHAMIR_LEN, &secret), 0);
        memset(secret_write(secret), value, SHAMIR_LEN);
        for (int coefficient = 0; coefficient < 256; coefficient++) {
            assert_int_equal(shamir_split(secret, 2, x, 2, (struct rng){constant_fill, &coefficient}, y), 0);
            uint8_t first = secret_borrow(y[0]).p[0];
            assert_false(seen[first]);
            seen[first] = true;
            free_all(y, 2);
        }
        secret_free(secret);
    }
}

static void test_refused(void **state)
{
    (void)state;
    uint8_t x[SHAMIR_MAX + 1] = {1, 2, 3};
    struct secret *secret = NULL, *other = NULL, *y[SHAMIR_MAX + 1] = {NULL}, *got = NULL;
    assert_int_equal(secret_random(SHAMIR_LEN, &secret), 0);
    assert_int_equal(secret_random(SHAMIR_LEN - 1, &other), 0);
    assert_int_equal(shamir_split(secret, 0, x, 3, rng_system(), y), ERR_SHARES);
    assert_int_equal(shamir_split(secret, 4, x, 3, rng_system(), y), ERR_SHARES);
    assert_int_equal(shamir_split(secret, 0, x, 0, rng_system(), y), ERR_SHARES);
    assert_int_equal(shamir_split(other, 2, x, 3, rng_system(), y), ERR_SHARES);
    assert_int_equal(shamir_split(secret, 2, x, 3, (struct rng){broken_fill, NULL}, y), ERR_INTERNAL);
    for (unsigned i = 0; i <= SHAMIR_MAX; i++)
        x[i] = (uint8_t)(i + 1);
    assert_int_equal(shamir_split(secret, 2, x, SHAMIR_MAX + 1, rng_system(), y), ERR_SHARES);
    static const uint8_t bad[][3] = {{0, 1, 2}, {1, 2, 0}, {1, 2, 17}, {255, 1, 2}, {1, 1, 2}, {1, 2, 1}, {3, 2, 2}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(shamir_split(secret, 2, bad[i], 3, rng_system(), y), ERR_SHARES);
        struct secret *three[3] = {secret, secret, secret};
        assert_int_equal(shamir_combine(bad[i], three, 3, &got), ERR_SHARES);
    }
    for (size_t i = 0; i <= SHAMIR_MAX; i++)
        assert_null(y[i]);
    struct secret *mixed[2] = {secret, other};
    assert_int_equal(shamir_combine(x, mixed, 2, &got), ERR_SHARES);
    assert_int_equal(shamir_combine(x, mixed, 0, &got), ERR_SHARES);
    assert_int_equal(shamir_combine(x, y, SHAMIR_MAX + 1, &got), ERR_SHARES);
    assert_null(got);
    secret_free(secret);
    secret_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_threshold), cmocka_unit_test(test_all_sixteen),
        cmocka_unit_test(test_wrong_shares),    cmocka_unit_test(test_one_share_says_nothing),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
