/* hash: SHA-256, and TH against its definition written out. */
#include "common/crypto/hash.h"
#include "tests/lib/hex.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void assert_hex(const uint8_t *p, size_t len, const char *want)
{
    char text[2 * 64 + 1];
    hex_encode(BYTES(p, len), text);
    assert_string_equal(text, want);
}

static void test_sha256(void **state) /* FIPS 180-4 examples */
{
    (void)state;
    uint8_t hash[HASH_LEN];
    sha256(BYTES_NONE, hash);
    assert_hex(hash, HASH_LEN, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256(bytes_str("abc"), hash);
    assert_hex(hash, HASH_LEN, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_prefixed('a', bytes_str("bc"), hash);
    assert_hex(hash, HASH_LEN, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* TH("label", "field", 7) */
static void test_definition(void **state)
{
    (void)state;
    static const char raw[] = "\x11"
                              "enfilade/v1/label"
                              "\x02"
                              "\0\0\0\x05"
                              "field"
                              "\0\0\0\x08"
                              "\0\0\0\0\0\0\0\x07";
    uint8_t want[HASH_LEN], got[HASH_LEN], want512[HASH512_LEN], got512[HASH512_LEN];
    sha256(BYTES(raw, sizeof(raw) - 1), want);
    assert_int_equal(EVP_Digest(raw, sizeof(raw) - 1, want512, NULL, EVP_sha512(), NULL), 1);
    struct th *t = th_begin("label"), *t512 = th_begin("label");
    th_add_str(t, "field");
    th_add_u64(t, 7);
    th_add(t512, bytes_str("field"));
    th_add_u64(t512, 7);
    th_finish(t, got);
    th_finish512(t512, got512);
    assert_memory_equal(got, want, HASH_LEN);
    assert_memory_equal(got512, want512, HASH512_LEN);
}

static void hash_two(const char *label, const char *a, const char *b, uint8_t ret[HASH_LEN])
{
    struct th *t = th_begin(label);
    th_add_str(t, a);
    if (b != NULL)
        th_add_str(t, b);
    th_finish(t, ret);
}

/* What runs together without lengths and counts must differ. */
static void test_no_ambiguity(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"x", "ab", "c"}, {"x", "a", "bc"}, {"x", "abc", NULL}, {"x", "abc", ""}, {"x", "", "abc"}, {"xa", "bc", NULL},
    };
    enum { COUNT = sizeof(rows) / sizeof(rows[0]) };
    uint8_t hash[COUNT][HASH_LEN];
    for (size_t i = 0; i < COUNT; i++) {
        hash_two(rows[i][0], rows[i][1], rows[i][2], hash[i]);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(hash[i], hash[j], HASH_LEN);
    }
}

/* Fields of all sizes around the first block, against the definition. */
static void test_long_fields(void **state)
{
    (void)state;
    static uint8_t data[5000];
    memset(data, 0x5a, sizeof(data));
    for (size_t len = 900; len < 2200; len++) {
        struct buf raw;
        uint8_t want[HASH_LEN], got[HASH_LEN];
        struct th *t = th_begin("long");
        buf_init(&raw, 20000);
        buf_u8(&raw, 16);
        buf_str(&raw, "enfilade/v1/long");
        buf_u8(&raw, 2);
        for (int i = 0; i < 2; i++) {
            th_add(t, BYTES(data, len));
            buf_u32be(&raw, (uint32_t)len);
            buf_put(&raw, BYTES(data, len));
        }
        sha256(buf_view(&raw), want);
        th_finish(t, got);
        buf_done(&raw);
        assert_memory_equal(got, want, HASH_LEN);
    }
}

/* TH goes on when the secure heap is full, and gives back what it took from it. */
static void test_full_heap(void **state)
{
    (void)state;
    void *held[4096];
    size_t count = 0;
    uint8_t a[HASH_LEN], b[HASH_LEN];
    assert_int_not_equal(CRYPTO_secure_malloc_init(65536, 32), 0);
    size_t used = CRYPTO_secure_used();
    struct th *t = th_begin("x");
    assert_true(CRYPTO_secure_used() > used);
    th_add_str(t, "y");
    th_finish(t, a);
    assert_int_equal(CRYPTO_secure_used(), used);
    while (count < 4096 && (held[count] = OPENSSL_secure_malloc(32)) != NULL)
        count++;
    hash_two("x", "y", NULL, b);
    assert_memory_equal(a, b, HASH_LEN);
    while (count > 0)
        OPENSSL_secure_free(held[--count]);
    assert_int_equal(CRYPTO_secure_malloc_done(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),      cmocka_unit_test(test_definition), cmocka_unit_test(test_no_ambiguity),
        cmocka_unit_test(test_long_fields), cmocka_unit_test(test_full_heap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
