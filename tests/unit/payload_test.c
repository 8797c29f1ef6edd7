/* payload: round trips of all interesting lengths; altered, moved, missing and added chunks refused. */
#include "common/crypto/payload.h"
#include "tests/lib/hex.h"
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define WHOLE (PAYLOAD_CHUNK + PAYLOAD_TAG)

static struct secret *key;
static uint8_t plain[3 * PAYLOAD_CHUNK + 10];
static const uint8_t aad[32] = {1, 2, 3};

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 31 + i / 256);
    return secret_random(32, &key);
}

static int teardown(void **state)
{
    (void)state;
    secret_free(key);
    return 0;
}

static struct buf seal(size_t len)
{
    struct buf b;
    buf_init(&b, payload_sealed_len(len));
    assert_int_equal(payload_seal(key, BYTES_OF(aad), BYTES(plain, len), &b), 0);
    assert_int_equal(b.len, payload_sealed_len(len));
    return b;
}

static int open_bytes(struct bytes sealed)
{
    struct secret *again = NULL;
    int rc = payload_open(key, BYTES_OF(aad), sealed, &again);
    secret_free(again);
    return rc;
}

static void test_round_trips(void **state)
{
    (void)state;
    static const size_t lengths[] = {0,     1,     15,     16,     17,     100,       65535,
                                     65536, 65537, 131071, 131072, 131073, 3 * 65536, 3 * 65536 + 10};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct buf b = seal(lengths[i]);
        struct secret *again = NULL;
        assert_int_equal(payload_open(key, BYTES_OF(aad), buf_view(&b), &again), 0);
        assert_true(bytes_equal(secret_borrow(again), BYTES(plain, lengths[i])));
        secret_free(again);
        buf_done(&b);
    }
}

/* One chunk by plain AES-256-GCM with the nonce written out. */
static void test_definition(void **state)
{
    (void)state;
    static const uint8_t nonce[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    uint8_t want[20 + PAYLOAD_TAG];
    int n = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, secret_borrow(key).p, nonce), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &n, aad, sizeof(aad)), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, want, &n, plain, 20), 1);
    assert_int_equal(EVP_EncryptFinal_ex(ctx, want + 20, &n), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, PAYLOAD_TAG, want + 20), 1);
    EVP_CIPHER_CTX_free(ctx);
    struct buf b = seal(20);
    assert_true(bytes_equal(buf_view(&b), BYTES_OF(want)));
    buf_done(&b);
}

static void test_altered(void **state)
{
    (void)state;
    struct buf b = seal(40);
    for (size_t bit = 0; bit < 8 * b.len; bit++) {
        b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(open_bytes(buf_view(&b)), ERR_PAYLOAD);
        b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(open_bytes(BYTES(b.p, len)), ERR_PAYLOAD);
    assert_int_equal(open_bytes(buf_view(&b)), 0);
    buf_done(&b);
}

static void test_key_and_aad(void **state)
{
    (void)state;
    struct buf b = seal(40);
    struct secret *again = NULL, *short_key = NULL;
    uint8_t other[32] = {1, 2, 4};
    assert_int_equal(payload_open(key, BYTES_OF(other), buf_view(&b), &again), ERR_PAYLOAD);
    assert_int_equal(payload_open(key, BYTES_NONE, buf_view(&b), &again), ERR_PAYLOAD);
    secret_write(key)[31] ^= 1;
    assert_int_equal(payload_open(key, BYTES_OF(aad), buf_view(&b), &again), ERR_PAYLOAD);
    secret_write(key)[31] ^= 1;
    assert_int_equal(secret_random(16, &short_key), 0);
    assert_int_equal(payload_open(short_key, BYTES_OF(aad), buf_view(&b), &again), ERR_FORMAT);
    assert_null(again);
    secret_free(short_key);
    buf_done(&b);
}

/* Chunks of a payload of three, the third being the short last one, in other orders and numbers. */
static void test_rearranged(void **state)
{
    (void)state;
    static const struct {
        unsigned count, chunk[4];
    } rows[] = {
        {2, {1, 2}},       {1, {1}},          {1, {3}},       {2, {1, 3}},    {2, {2, 3}},
        {3, {2, 1, 3}},    {3, {1, 3, 2}},    {3, {1, 1, 3}}, {3, {2, 2, 3}}, {4, {1, 2, 2, 3}},
        {4, {1, 2, 3, 3}}, {4, {1, 2, 3, 1}}, {2, {3, 3}},
    };
    struct buf b = seal(2 * PAYLOAD_CHUNK + 10);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf other;
        buf_init(&other, 4 * WHOLE);
        for (unsigned j = 0; j < rows[i].count; j++) {
            size_t at = (rows[i].chunk[j] - 1) * WHOLE;
            buf_put(&other, BYTES(b.p + at, rows[i].chunk[j] == 3 ? b.len - at : WHOLE));
        }
        assert_int_equal(open_bytes(buf_view(&other)), ERR_PAYLOAD);
        buf_done(&other);
    }
    assert_int_equal(open_bytes(buf_view(&b)), 0);
    buf_done(&b);
}

/* A payload of whole chunks, cut at a chunk's end, or with an empty chunk sealed behind it. */
static void test_whole_chunks(void **state)
{
    (void)state;
    struct buf b = seal(2 * PAYLOAD_CHUNK);
    assert_int_equal(open_bytes(buf_view(&b)), 0);
    assert_int_equal(open_bytes(BYTES(b.p, WHOLE)), ERR_PAYLOAD);
    uint8_t out[PAYLOAD_TAG];
    struct payload *p = NULL;
    static uint8_t chunk[WHOLE];
    assert_int_equal(payload_new(key, BYTES_OF(aad), true, &p), 0);
    assert_int_equal(payload_chunk(p, BYTES(plain, PAYLOAD_CHUNK), false, chunk), 0);
    assert_int_equal(payload_chunk(p, BYTES_NONE, true, out), ERR_PAYLOAD);
    payload_free(p);
    buf_done(&b);
}

static void test_stream(void **state)
{
    (void)state;
    struct buf b = seal(sizeof(plain));
    struct payload *p = NULL;
    static uint8_t out[WHOLE];
    assert_int_equal(payload_new(key, BYTES_OF(aad), false, &p), 0);
    for (size_t at = 0, chunk = 0; at < b.len; at += WHOLE, chunk++) {
        size_t len = b.len - at < WHOLE ? b.len - at : WHOLE;
        assert_int_equal(payload_chunk(p, BYTES(b.p + at, len), at + len == b.len, out), 0);
        assert_memory_equal(out, plain + chunk * PAYLOAD_CHUNK, len - PAYLOAD_TAG);
    }
    assert_int_equal(payload_chunk(p, BYTES(b.p, WHOLE), false, out), ERR_PAYLOAD); /* over */
    payload_free(p);

    assert_int_equal(payload_new(key, BYTES_OF(aad), false, &p), 0);
    b.p[0] ^= 1;
    memset(out, 0xee, sizeof(out));
    assert_int_equal(payload_chunk(p, BYTES(b.p, WHOLE), false, out), ERR_PAYLOAD);
    assert_true(bytes_is_zero(BYTES(out, PAYLOAD_CHUNK))); /* nothing unverified is left */
    b.p[0] ^= 1;
    assert_int_equal(payload_chunk(p, BYTES(b.p + WHOLE, WHOLE), false, out), ERR_PAYLOAD); /* ever after */
    payload_free(p);
    buf_done(&b);
}

static void test_out_of_place(void **state)
{
    (void)state;
    static uint8_t out[WHOLE + 1];
    static const struct {
        bool seal, last;
        size_t len;
    } bad[] = {
        {true, false, 0},
        {true, false, PAYLOAD_CHUNK - 1},
        {true, false, PAYLOAD_CHUNK + 1},
        {true, true, PAYLOAD_CHUNK + 1},
        {false, true, 0},
        {false, true, PAYLOAD_TAG - 1},
        {false, false, PAYLOAD_TAG},
        {false, false, WHOLE - 1},
        {false, true, WHOLE + 1},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct payload *p = NULL;
        assert_int_equal(payload_new(key, BYTES_OF(aad), bad[i].seal, &p), 0);
        assert_int_equal(payload_chunk(p, BYTES(plain, bad[i].len), bad[i].last, out), ERR_PAYLOAD);
        payload_free(p);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct buf small;
    struct payload *p = NULL;
    static const uint8_t long_aad[5000];
    buf_init(&small, 30);
    assert_int_equal(payload_seal(key, BYTES_OF(aad), BYTES(plain, 20), &small), ERR_TOO_LONG);
    buf_done(&small);
    assert_int_equal(payload_new(key, BYTES_OF(long_aad), true, &p), ERR_TOO_LONG);
    uint8_t *large = calloc(5, WHOLE);
    assert_non_null(large);
    assert_int_equal(open_bytes(BYTES(large, 5 * WHOLE)), ERR_TOO_LONG); /* above SECRET_MAX: streams only */
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_definition),   cmocka_unit_test(test_altered),
        cmocka_unit_test(test_key_and_aad), cmocka_unit_test(test_rearranged),   cmocka_unit_test(test_whole_chunks),
        cmocka_unit_test(test_stream),      cmocka_unit_test(test_out_of_place), cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
