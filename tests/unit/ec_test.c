/* ec: points, agreement and Ed25519 against published examples; bad points, bad keys, bad key files refused. */
#include "common/crypto/ec.h"
#include "common/crypto/hash.h"
#include "tests/lib/hex.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct ec_key *key_hex(const char *scalar)
{
    struct secret *s = secret_hex(scalar);
    struct ec_key *key = NULL;
    assert_int_equal(ec_key_from_scalar(s, &key), 0);
    secret_free(s);
    return key;
}

/* RFC 5903 §8.1 */
#define I "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433"
#define GI                                                                                                             \
    "04dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180"                                               \
    "5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3"
#define R "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53"
#define GR                                                                                                             \
    "04d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63"                                               \
    "56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab"
#define GIR "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"

static void test_rfc5903(void **state)
{
    (void)state;
    struct ec_key *i = key_hex(I), *r = key_hex(R);
    uint8_t gi[EC_POINT_LEN], gr[EC_POINT_LEN], want[EC_POINT_LEN];
    struct secret *a = NULL, *b = NULL, *z = secret_hex(GIR);
    ec_key_point(i, gi);
    ec_key_point(r, gr);
    (void)unhex(GI, want, sizeof(want));
    assert_memory_equal(gi, want, sizeof(want));
    (void)unhex(GR, want, sizeof(want));
    assert_memory_equal(gr, want, sizeof(want));
    assert_int_equal(ec_ecdh(i, BYTES_OF(gr), &a), 0);
    assert_int_equal(ec_ecdh(r, BYTES_OF(gi), &b), 0);
    assert_true(secret_equal(a, z));
    assert_true(secret_equal(b, z));
    secret_free(a);
    secret_free(b);
    secret_free(z);
    ec_key_free(i);
    ec_key_free(r);
}

static void test_fresh_keys_agree(void **state)
{
    (void)state;
    struct ec_key *a = NULL, *b = NULL;
    uint8_t pa[EC_POINT_LEN], pb[EC_POINT_LEN];
    struct secret *za = NULL, *zb = NULL;
    assert_int_equal(ec_key_new(&a), 0);
    assert_int_equal(ec_key_new(&b), 0);
    ec_key_point(a, pa);
    ec_key_point(b, pb);
    assert_memory_not_equal(pa, pb, EC_POINT_LEN);
    assert_int_equal(ec_ecdh(a, BYTES_OF(pb), &za), 0);
    assert_int_equal(ec_ecdh(b, BYTES_OF(pa), &zb), 0);
    assert_true(secret_equal(za, zb));
    secret_free(za);
    secret_free(zb);
    ec_key_free(a);
    ec_key_free(b);
}

static void test_scalars_out_of_range(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", /* n */
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "01",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct secret *s = secret_hex(bad[i]);
        struct ec_key *key = NULL;
        assert_int_equal(ec_key_from_scalar(s, &key), ERR_FORMAT);
        assert_null(key);
        secret_free(s);
    }
    struct ec_key *last = key_hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550");
    ec_key_free(last);
}

/* Every single-bit change leaves the curve or the form; so do other encodings, lengths and ranges. */
static void test_bad_points(void **state)
{
    (void)state;
    struct ec_key *key = key_hex(I);
    struct secret *z = NULL;
    uint8_t point[EC_POINT_LEN + 1] = {0};
    (void)unhex(GR, point, EC_POINT_LEN);
    for (unsigned bit = 0; bit < 8 * EC_POINT_LEN; bit++) {
        point[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(ec_point_check(BYTES(point, EC_POINT_LEN)), ERR_FORMAT);
        assert_int_equal(ec_ecdh(key, BYTES(point, EC_POINT_LEN), &z), ERR_FORMAT);
        point[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(ec_point_check(BYTES(point, EC_POINT_LEN)), 0);
    assert_int_equal(ec_point_check(BYTES(point, EC_POINT_LEN - 1)), ERR_FORMAT);
    assert_int_equal(ec_point_check(BYTES(point, EC_POINT_LEN + 1)), ERR_FORMAT);
    assert_int_equal(ec_point_check(BYTES_NONE), ERR_FORMAT);
    uint8_t odd[EC_POINT_LEN];
    memcpy(odd, point, sizeof(odd));
    odd[0] = 0x06 + (odd[EC_POINT_LEN - 1] & 1); /* hybrid form of the same point */
    assert_int_equal(ec_point_check(BYTES_OF(odd)), ERR_FORMAT);
    odd[0] = 0x02 + (odd[EC_POINT_LEN - 1] & 1);
    assert_int_equal(ec_point_check(BYTES(odd, 33)), ERR_FORMAT);
    memset(odd, 0, sizeof(odd));
    assert_int_equal(ec_point_check(BYTES_OF(odd)), ERR_FORMAT);
    assert_int_equal(ec_point_check(BYTES(odd, 1)), ERR_FORMAT);
    odd[0] = 0x04;
    assert_int_equal(ec_point_check(BYTES_OF(odd)), ERR_FORMAT); /* (0, 0) */
    memset(odd + 1, 0xff, 32);                                   /* x >= p */
    assert_int_equal(ec_point_check(BYTES_OF(odd)), ERR_FORMAT);
    assert_null(z);
    ec_key_free(key);
}

/* The fixed prefix against OpenSSL's encoder. */
static void test_spki(void **state)
{
    (void)state;
    uint8_t point[EC_POINT_LEN], spki[EC_SPKI_LEN], hash[HASH_LEN], want_hash[HASH_LEN], again[EC_POINT_LEN];
    (void)unhex(GI, point, sizeof(point));
    ec_point_spki(point, spki);
    const uint8_t *p = spki;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, sizeof(spki));
    assert_non_null(pkey);
    assert_ptr_equal(p, spki + sizeof(spki));
    uint8_t *der = NULL;
    assert_int_equal(i2d_PUBKEY(pkey, &der), EC_SPKI_LEN);
    assert_memory_equal(der, spki, EC_SPKI_LEN);
    size_t len = 0;
    assert_int_equal(EVP_PKEY_get_octet_string_param(pkey, "pub", again, sizeof(again), &len), 1);
    assert_memory_equal(again, point, sizeof(point));
    ec_point_spki_hash(point, hash);
    sha256(BYTES_OF(spki), want_hash);
    assert_memory_equal(hash, want_hash, HASH_LEN);
    OPENSSL_free(der);
    EVP_PKEY_free(pkey);
}

/* RFC 8032 §7.1, TEST 1 to 3 and SHA(abc) */
static const struct {
    const char *seed, *public, *message, *sig;
} rfc8032[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe246"
     "551"
     "41438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb"
     "00d2"
     "91612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc"
     "027b"
     "eceea1ec40a"},
    {"833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
     "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2"
     "a9ac"
     "94fa54ca49f",
     "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad"
     "9bef"
     "1177331a704"},
};

static void test_rfc8032(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rfc8032) / sizeof(rfc8032[0]); i++) {
        struct secret *seed = secret_hex(rfc8032[i].seed);
        struct ed25519_key *key = NULL;
        uint8_t public[32], want_public[32], sig[64], want_sig[64], message[64];
        size_t len = unhex(rfc8032[i].message, message, sizeof(message));
        (void)unhex(rfc8032[i].public, want_public, sizeof(want_public));
        (void)unhex(rfc8032[i].sig, want_sig, sizeof(want_sig));
        assert_int_equal(ed25519_key_from_seed(seed, &key), 0);
        ed25519_key_public(key, public);
        assert_memory_equal(public, want_public, 32);
        assert_int_equal(ed25519_sign(key, BYTES(message, len), sig), 0);
        assert_memory_equal(sig, want_sig, 64);
        assert_int_equal(ed25519_verify(public, BYTES(message, len), BYTES_OF(sig)), 0);
        for (unsigned bit = 0; bit < 8 * 64; bit++) {
            sig[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(ed25519_verify(public, BYTES(message, len), BYTES_OF(sig)), ERR_SIGNATURE);
            sig[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_int_equal(ed25519_verify(public, BYTES(message, len), BYTES(sig, 63)), ERR_SIGNATURE);
        assert_int_equal(ed25519_verify(public, bytes_str("another"), BYTES_OF(sig)), ERR_SIGNATURE);
        ed25519_key_free(key);
        secret_free(seed);
    }
}

/* Private keys take their memory from the secure heap, and give it back. */
static void test_secure_heap(void **state)
{
    (void)state;
    struct ec_key *fresh = NULL, *given = NULL;
    struct ed25519_key *ed = NULL;
    assert_int_not_equal(CRYPTO_secure_malloc_init(65536, 32), 0);
    struct secret *scalar = secret_hex(I);
    size_t used[4] = {CRYPTO_secure_used()};
    assert_int_equal(ec_key_new(&fresh), 0);
    used[1] = CRYPTO_secure_used();
    assert_int_equal(ec_key_from_scalar(scalar, &given), 0);
    used[2] = CRYPTO_secure_used();
    assert_int_equal(ed25519_key_new(&ed), 0);
    used[3] = CRYPTO_secure_used();
    for (size_t i = 1; i < 4; i++)
        assert_true(used[i] >= used[i - 1] + 32);
    ec_key_free(fresh);
    ec_key_free(given);
    ed25519_key_free(ed);
    assert_int_equal(CRYPTO_secure_used(), used[0]);
    secret_free(scalar);
    assert_int_equal(CRYPTO_secure_malloc_done(), 1);
}

/* ---- key files, in a folder of their own */

static char folder[] = "/tmp/enfilade-ec-test-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static const char *path_of(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void put_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_key_file(void **state)
{
    (void)state;
    struct ed25519_key *key = NULL, *again = NULL;
    struct err err = {0};
    struct stat st;
    uint8_t a[32], b[32];
    const char *path = path_of("key.pem");
    assert_int_equal(ed25519_key_new(&key), 0);
    assert_int_equal(ed25519_key_save(key, path, &err), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(ed25519_key_save(key, path, &err), ERR_IO); /* never over */
    assert_int_equal(ed25519_key_load(path, &again, &err), 0);
    ed25519_key_public(key, a);
    ed25519_key_public(again, b);
    assert_memory_equal(a, b, 32);
    ed25519_key_free(again);
    static const mode_t open_modes[] = {0640, 0604, 0620, 0602, 0644, 0610};
    again = NULL;
    for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
        assert_int_equal(chmod(path, open_modes[i]), 0);
        assert_int_equal(ed25519_key_load(path, &again, &err), ERR_CONFIG);
        assert_non_null(strstr(err.text, "chmod 600"));
    }
    assert_null(again);
    ed25519_key_free(key);
}

static void test_other_files(void **state)
{
    (void)state;
    struct ed25519_key *key = NULL;
    struct err err = {0};
    assert_int_equal(ed25519_key_load(path_of("none.pem"), &key, &err), ERR_IO);
    assert_int_equal(ed25519_key_load(folder, &key, &err), ERR_CONFIG);
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    assert_int_equal(ed25519_key_load(path_of("fifo"), &key, &err), ERR_CONFIG);
    static char large[5000];
    memset(large, 'x', sizeof(large) - 1);
    static const char *const texts[] = {
        "", "no key\n", "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI\n-----END PRIVATE KEY-----\n", large};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *path = path_of("other.pem");
        put_file(path, texts[i], 0600);
        assert_int_equal(ed25519_key_load(path, &key, &err), ERR_FORMAT);
    }
    assert_null(key);
}

static void write_pem(const char *path, EVP_PKEY *pkey, const EVP_CIPHER *cipher)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    static char pass[] = "secret";
    assert_int_equal(
        PEM_write_PKCS8PrivateKey(f, pkey, cipher, cipher != NULL ? pass : NULL, cipher != NULL ? 6 : 0, NULL, NULL),
        1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0600), 0);
    EVP_PKEY_free(pkey);
}

static void test_other_keys(void **state)
{
    (void)state;
    struct ed25519_key *key = NULL;
    struct err err = {0};
    write_pem(path_of("p256.pem"), EVP_EC_gen("P-256"), NULL);
    assert_int_equal(ed25519_key_load(path_of("p256.pem"), &key, &err), ERR_FORMAT);
    write_pem(path_of("x25519.pem"), EVP_PKEY_Q_keygen(NULL, NULL, "X25519"), NULL);
    assert_int_equal(ed25519_key_load(path_of("x25519.pem"), &key, &err), ERR_FORMAT);
    write_pem(path_of("locked.pem"), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), EVP_aes_256_cbc());
    assert_int_equal(ed25519_key_load(path_of("locked.pem"), &key, &err), ERR_FORMAT); /* and does not ask */
    assert_null(key);
    write_pem(path_of("good.pem"), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL);
    assert_int_equal(ed25519_key_load(path_of("good.pem"), &key, &err), 0);
    ed25519_key_free(key);
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"key.pem",    "fifo",       "other.pem", "p256.pem",
                                        "x25519.pem", "locked.pem", "good.pem"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)unlink(path_of(names[i]));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc5903),
        cmocka_unit_test(test_fresh_keys_agree),
        cmocka_unit_test(test_scalars_out_of_range),
        cmocka_unit_test(test_bad_points),
        cmocka_unit_test(test_spki),
        cmocka_unit_test(test_rfc8032),
        cmocka_unit_test(test_secure_heap),
        cmocka_unit_test(test_key_file),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_other_keys),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
