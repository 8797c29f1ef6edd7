/* kdf: published examples of HKDF and the X9.63 KDF. */
#include "common/crypto/hash.h"
#include "common/crypto/kdf.h"
#include "tests/lib/hex.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define IKM "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"

static void assert_secret(struct secret *got, const char *want)
{
    struct secret *w = secret_hex(want);
    assert_true(secret_equal(got, w));
    secret_free(w);
    secret_free(got);
}

static void test_rfc5869(void **state) /* A.1, A.3 */
{
    (void)state;
    struct secret *ikm = secret_hex(IKM), *got = NULL;
    uint8_t salt[13], info[10];
    (void)unhex("000102030405060708090a0b0c", salt, sizeof(salt));
    (void)unhex("f0f1f2f3f4f5f6f7f8f9", info, sizeof(info));
    assert_int_equal(kdf_hkdf(BYTES_OF(salt), ikm, BYTES_OF(info), 42, &got), 0);
    assert_secret(got, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    assert_int_equal(kdf_hkdf(BYTES_NONE, ikm, BYTES_NONE, 42, &got), 0);
    assert_secret(got, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
    secret_free(ikm);
    struct secret *prk = secret_hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    assert_int_equal(kdf_hkdf_expand(prk, BYTES_OF(info), 42, &got), 0);
    assert_secret(got, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    secret_free(prk);
}

/* NIST CAVP ansx963_2001, SHA-256, and the definition written out with shared info. */
static void test_x963(void **state)
{
    (void)state;
    struct secret *z = secret_hex("96c05619d56c328ab95fe84b18264b08725b85e33fd34f08"), *got = NULL;
    assert_int_equal(kdf_x963(z, BYTES_NONE, 16, &got), 0);
    assert_secret(got, "443024c3dae66b95e6f5670601558f71");
    struct buf raw;
    uint8_t want[2 * HASH_LEN];
    for (uint32_t i = 1; i <= 2; i++) {
        buf_init(&raw, 200);
        buf_put(&raw, secret_borrow(z));
        buf_u32be(&raw, i);
        buf_str(&raw, "shared info");
        sha256(buf_view(&raw), want + (i - 1) * HASH_LEN);
        buf_done(&raw);
    }
    assert_int_equal(kdf_x963(z, bytes_str("shared info"), 50, &got), 0);
    assert_int_equal(secret_len(got), 50);
    assert_memory_equal(secret_borrow(got).p, want, 50);
    secret_free(got);
    secret_free(z);
}

static void test_lengths(void **state)
{
    (void)state;
    struct secret *ikm = secret_hex(IKM), *got = NULL;
    assert_int_equal(kdf_hkdf(BYTES_NONE, ikm, BYTES_NONE, 0, &got), ERR_TOO_LONG);
    assert_int_equal(kdf_hkdf(BYTES_NONE, ikm, BYTES_NONE, KDF_OUT_MAX + 1, &got), ERR_TOO_LONG);
    assert_null(got);
    assert_int_equal(kdf_hkdf(BYTES_NONE, ikm, BYTES_NONE, KDF_OUT_MAX, &got), 0);
    secret_free(got);
    secret_free(ikm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc5869),
        cmocka_unit_test(test_x963),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
