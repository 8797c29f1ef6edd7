/* keywrap: RFC 3394's example, and every altered bit refused. */
#include "common/crypto/keywrap.h"
#include "tests/lib/hex.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_rfc3394(void **state) /* §4.6 */
{
    (void)state;
    struct secret *kek = secret_hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    struct secret *plain = secret_hex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"),
                  *again = NULL;
    uint8_t want[40], got[40];
    (void)unhex("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21", want, sizeof(want));
    assert_int_equal(keywrap_wrap(kek, plain, got), 0);
    assert_memory_equal(got, want, sizeof(want));
    assert_int_equal(keywrap_unwrap(kek, BYTES_OF(want), &again), 0);
    assert_true(secret_equal(again, plain));
    secret_free(again);
    secret_free(plain);
    secret_free(kek);
}

static void test_altered(void **state)
{
    (void)state;
    struct secret *kek = NULL, *plain = NULL, *again = NULL;
    uint8_t wrapped[72];
    assert_int_equal(secret_random(32, &kek), 0);
    assert_int_equal(secret_random(64, &plain), 0);
    assert_int_equal(keywrap_wrap(kek, plain, wrapped), 0);
    for (unsigned bit = 0; bit < 8 * sizeof(wrapped); bit++) {
        wrapped[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(keywrap_unwrap(kek, BYTES_OF(wrapped), &again), ERR_SIGNATURE);
        wrapped[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (unsigned bit = 0; bit < 8 * 32; bit++) {
        secret_write(kek)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(keywrap_unwrap(kek, BYTES_OF(wrapped), &again), ERR_SIGNATURE);
        secret_write(kek)[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_null(again);
    assert_int_equal(keywrap_unwrap(kek, BYTES_OF(wrapped), &again), 0);
    assert_true(secret_equal(again, plain));
    secret_free(again);
    secret_free(plain);
    secret_free(kek);
}

static void test_lengths(void **state)
{
    (void)state;
    struct secret *kek = NULL, *again = NULL;
    static uint8_t out[2048];
    assert_int_equal(secret_random(32, &kek), 0);
    for (size_t len = 0; len <= 1100; len++) {
        struct secret *plain = NULL;
        bool good = len % 8 == 0 && len >= 16 && len <= 1024;
        assert_int_equal(secret_random(len, &plain), 0);
        assert_int_equal(keywrap_wrap(kek, plain, out), good ? 0 : ERR_FORMAT);
        if (!good && (len < 24 || len % 8 != 0 || len > 1032))
            assert_int_equal(keywrap_unwrap(kek, BYTES(out, len), &again), ERR_FORMAT);
        if (good) {
            assert_int_equal(keywrap_unwrap(kek, BYTES(out, len + 8), &again), 0);
            assert_true(secret_equal(again, plain));
            secret_free(again);
            again = NULL;
        }
        secret_free(plain);
    }
    secret_free(kek);
}

static void test_short_kek(void **state)
{
    (void)state;
    struct secret *kek = NULL, *plain = NULL, *again = NULL;
    uint8_t out[40] = {0};
    assert_int_equal(secret_random(16, &kek), 0);
    assert_int_equal(secret_random(32, &plain), 0);
    assert_int_equal(keywrap_wrap(kek, plain, out), ERR_FORMAT);
    assert_int_equal(keywrap_unwrap(kek, BYTES_OF(out), &again), ERR_FORMAT);
    secret_free(kek);
    secret_free(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc3394),
        cmocka_unit_test(test_altered),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_short_kek),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
