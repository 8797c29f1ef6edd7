/* evidence: TPM quotes: a recorded one, each way to spoil it, and keys of our own to reach every rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/evidence/evidence.h"
#include "common/evidence/tpm2_wire.h"
#include "proto/message.h"
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORDED "tests/vectors/own/tpm/"
#define PART_MAX 1024

/* The parts of one piece of evidence, to be changed one at a time. */
struct parts {
    uint8_t attest[PART_MAX], sig[PART_MAX], ak[PART_MAX];
    size_t attest_len, sig_len, ak_len;
    struct msg_tpm_pcr pcr[40];
    uint8_t value[40][64];
    size_t pcr_count;
};

static uint8_t recorded_data[8192], recorded_bind[64];
static size_t recorded_len;

static size_t read_file(const char *path, uint8_t *ret, size_t max)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return 0;
    size_t n = fread(ret, 1, max, f);
    fclose(f);
    return n;
}

static int verify_data(struct bytes data, struct claims *c, struct err *err)
{
    const struct evidence_format *f = evidence_find(bytes_str("tpm2"));
    assert_non_null(f);
    return f->verify(data, 1, c, err);
}

static int verify(const struct parts *p, struct claims *c, struct err *err)
{
    struct message m = {.type = MESSAGE_TPM_EVIDENCE};
    struct buf out;
    buf_init(&out, 16384);
    m.tpm_evidence.attest = BYTES(p->attest, p->attest_len);
    m.tpm_evidence.signature = BYTES(p->sig, p->sig_len);
    m.tpm_evidence.ak = BYTES(p->ak, p->ak_len);
    m.tpm_evidence.pcrs.at = (struct msg_tpm_pcr *)(uintptr_t)p->pcr;
    m.tpm_evidence.pcrs.count = p->pcr_count;
    *err = (struct err){0};
    int rc = message_pack(&m, &out, err);
    assert_int_equal(rc, 0);
    rc = verify_data(buf_view(&out), c, err);
    buf_done(&out);
    return rc;
}

/* Refused, with these words and this code (0: any) in the text. */
static void refused(const struct parts *p, int code, const char *words)
{
    struct claims c;
    struct err err;
    memset(&c, 0xa5, sizeof(c));
    int rc = verify(p, &c, &err);
    if (rc == 0 || (code != 0 && rc != code) || strstr(err.text, words) == NULL)
        fail_msg("expected refusal %s \"%s\", got %s \"%s\"", err_name(code), words, err_name(rc), err.text);
    for (size_t i = 0; i < sizeof(c); i++)
        assert_int_equal(((uint8_t *)&c)[i], 0xa5); /* results are written on success only */
}

static void accepted(const struct parts *p, struct claims *c)
{
    struct err err;
    int rc = verify(p, c, &err);
    if (rc != 0)
        fail_msg("refused: %s", err.text);
}

static void set_pcr(struct parts *p, size_t at, uint64_t index, const uint8_t *value, size_t len)
{
    memcpy(p->value[at], value, len);
    p->pcr[at].index = index;
    p->pcr[at].value = BYTES(p->value[at], len);
}

static void copy(struct parts *to, const struct parts *from)
{
    *to = *from;
    for (size_t i = 0; i < to->pcr_count; i++)
        to->pcr[i].value.p = to->value[i];
}

static void recorded(struct parts *p)
{
    struct message *m;
    struct err err;
    memset(p, 0, sizeof(*p));
    assert_int_equal(message_unpack(MESSAGE_TPM_EVIDENCE, BYTES(recorded_data, recorded_len), &m, &err), 0);
    const struct msg_tpm_evidence *e = &m->tpm_evidence;
    memcpy(p->attest, e->attest.p, p->attest_len = e->attest.len);
    memcpy(p->sig, e->signature.p, p->sig_len = e->signature.len);
    memcpy(p->ak, e->ak.p, p->ak_len = e->ak.len);
    p->pcr_count = e->pcrs.count;
    for (size_t i = 0; i < p->pcr_count; i++)
        set_pcr(p, i, e->pcrs.at[i].index, e->pcrs.at[i].value.p, e->pcrs.at[i].value.len);
    message_free(m);
}

static int setup(void **state)
{
    (void)state;
    recorded_len = read_file(RECORDED "evidence.bin", recorded_data, sizeof(recorded_data));
    return recorded_len > 0 && read_file(RECORDED "bind.bin", recorded_bind, 64) == 64 ? 0 : -1;
}

/* ---- the recorded quote */

static void test_recorded(void **state)
{
    (void)state;
    struct parts p;
    struct claims c;
    uint8_t hash[HASH_LEN];
    recorded(&p);
    accepted(&p, &c);
    assert_string_equal(c.format, "tpm2");
    sha256(BYTES(p.ak, p.ak_len), hash);
    assert_memory_equal(c.key_hash, hash, HASH_LEN);
    sha256(BYTES(recorded_bind, 64), hash);
    assert_int_equal(c.report_data_len, HASH_LEN);
    assert_memory_equal(c.report_data, hash, HASH_LEN);
    assert_int_equal(c.pcr_mask, 0xffffff);
    for (size_t i = 0; i < 24; i++)
        assert_memory_equal(c.pcr[i], p.value[i], HASH_LEN);
    assert_false(bytes_is_zero(BYTES_OF(c.pcr[7]))); /* was extended before recording */
    assert_true(c.clock > 0 && c.firmware > 0);
    assert_int_equal(evidence_check_bind(evidence_find(bytes_str("tpm2")), &c, recorded_bind), 0);
}

static void test_bind(void **state)
{
    (void)state;
    const struct evidence_format *f = evidence_find(bytes_str("tpm2"));
    struct parts p;
    struct claims c, d;
    uint8_t bind[64];
    recorded(&p);
    accepted(&p, &c);
    for (size_t i = 0; i < sizeof(bind) * 8; i++) {
        memcpy(bind, recorded_bind, sizeof(bind));
        bind[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(evidence_check_bind(f, &c, bind), ERR_BIND);
    }
    for (size_t i = 0; i < sizeof(c.report_data) * 8; i++) { /* bytes behind the length do not count */
        d = c;
        d.report_data[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(evidence_check_bind(f, &d, recorded_bind), i < 8 * HASH_LEN ? ERR_BIND : 0);
    }
    for (size_t len = 0; len < 70; len++) {
        d = c;
        d.report_data_len = len;
        assert_int_equal(evidence_check_bind(f, &d, recorded_bind), len == HASH_LEN ? 0 : ERR_BIND);
    }
    d = c;
    memset(d.report_data, 0, sizeof(d.report_data));
    assert_int_equal(evidence_check_bind(f, &d, recorded_bind), ERR_BIND);
    assert_null(evidence_find(bytes_str("tpm")));
    assert_null(evidence_find(bytes_str("tpm22")));
    assert_null(evidence_find(BYTES_NONE));
}

/* A format of which expected report data is zero: zero evidence is refused even then. */
static void expect_zero(const uint8_t bind[64], uint8_t ret[64], size_t *ret_len)
{
    (void)bind;
    memset(ret, 0, 64);
    *ret_len = 64;
}

static void test_bind_zero(void **state)
{
    (void)state;
    const struct evidence_format f = {"zero", NULL, expect_zero};
    struct claims c = {.report_data_len = 64};
    assert_int_equal(evidence_check_bind(&f, &c, recorded_bind), ERR_BIND);
}

static void flip(uint8_t *bytes, size_t bit)
{
    bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

static void test_bit_flips(void **state)
{
    (void)state;
    struct parts p, q;
    struct claims c, d;
    struct err err;
    unsigned other_keys = 0;
    recorded(&p);
    accepted(&p, &c);
    copy(&q, &p);
    for (size_t i = 0; i < 8 * p.attest_len; i++, flip(q.attest, i - 1))
        flip(q.attest, i), refused(&q, 0, "tpm2: ");
    for (size_t i = 0; i < 8 * p.sig_len; i++, flip(q.sig, i - 1))
        flip(q.sig, i), refused(&q, 0, "tpm2: ");
    for (size_t i = 0; i < 8 * HASH_LEN * p.pcr_count; i++, flip(q.value[(i - 1) / 256], (i - 1) % 256))
        flip(q.value[i / 256], i % 256), refused(&q, ERR_EVIDENCE, "do not hash");
    for (size_t i = 0; i < 8 * p.ak_len; i++, flip(q.ak, i - 1)) {
        flip(q.ak, i);
        if (verify(&q, &d, &err) == 0) { /* an attribute without a rule: it is another key for the inventory */
            assert_memory_not_equal(d.key_hash, c.key_hash, HASH_LEN);
            other_keys++;
        }
    }
    assert_int_equal(other_keys, 6); /* stClear userWithAuth adminWithPolicy noDA encryptedDuplication x509sign */
    accepted(&q, &d);                /* everything was put back */
}

static void test_lengths(void **state)
{
    (void)state;
    struct parts p, q;
    struct claims c;
    struct err err;
    recorded(&p);
    for (size_t n = 0; n < recorded_len; n++)
        assert_int_not_equal(verify_data(BYTES(recorded_data, n), &c, &err), 0);
    copy(&q, &p);
    for (q.attest_len = 0; q.attest_len < p.attest_len; q.attest_len++)
        refused(&q, 0, "quote");
    q.attest_len = p.attest_len + 1;
    refused(&q, ERR_FORMAT, "quote (TPMS_ATTEST): 1 bytes after its end");
    copy(&q, &p);
    for (q.sig_len = 0; q.sig_len < p.sig_len; q.sig_len++)
        refused(&q, ERR_FORMAT, "signature (TPMT_SIGNATURE)");
    q.sig_len = p.sig_len + 1;
    refused(&q, ERR_FORMAT, "signature (TPMT_SIGNATURE): 1 bytes after its end");
    copy(&q, &p);
    for (q.ak_len = 0; q.ak_len < p.ak_len; q.ak_len++)
        refused(&q, ERR_FORMAT, "public area");
    q.ak_len = p.ak_len + 1;
    refused(&q, ERR_FORMAT, "public area (TPMT_PUBLIC): 1 bytes after its end");
    uint8_t longer[sizeof(recorded_data) + 1];
    memcpy(longer, recorded_data, recorded_len);
    longer[recorded_len] = 0;
    assert_int_equal(verify_data(BYTES(longer, recorded_len + 1), &c, &err), ERR_FORMAT);
    uint8_t *large = calloc(1, 20000);
    assert_non_null(large);
    assert_int_equal(verify_data(BYTES(large, 20000), &c, &err), ERR_TOO_LONG);
    free(large);
}

static void test_pcr_lists(void **state)
{
    (void)state;
    struct parts p, q;
    recorded(&p);
    copy(&q, &p);
    q.pcr_count = 23;
    refused(&q, ERR_EVIDENCE, "the next must be that of PCR 23");
    q.pcr_count = 0;
    refused(&q, ERR_EVIDENCE, "the next must be that of PCR 0");
    copy(&q, &p);
    q.pcr[3].index = 4;
    q.pcr[4].index = 3;
    refused(&q, ERR_EVIDENCE, "the next must be that of PCR 3");
    copy(&q, &p);
    q.pcr[23].index = 22;
    refused(&q, ERR_EVIDENCE, "the next must be that of PCR 23");
    copy(&q, &p);
    q.pcr[0].index = 1ull << 32; /* PCR 0 in 32 bits */
    refused(&q, ERR_EVIDENCE, "the next must be that of PCR 0");
    copy(&q, &p);
    q.pcr[9].value.len = 31;
    refused(&q, ERR_FORMAT, "PCR 9 has 31 bytes"); /* more than 32 do not pass the codec */
}

/* ---- quotes of a key of our own, so that the signature holds and only the rule in question is broken */

struct maker { /* what goes into the quote; starts as a good one */
    EVP_PKEY *key;
    uint32_t magic, selections, attributes;
    uint16_t type, bank, ak_type, name_alg, symmetric, scheme, scheme_hash, curve, kdf, sig_alg, sig_hash;
    uint8_t safe, select_len, select[5];
    size_t signer_len, extra_len, digest_len, policy_len;
    bool zero_extra;
    uint8_t point[65];
};

static void maker_init(struct maker *k)
{
    size_t len;
    EVP_PKEY *key = k->key != NULL ? k->key : EVP_EC_gen("P-256");
    assert_non_null(key);
    *k = (struct maker){.key = key,
                        .magic = 0xff544347,
                        .selections = 1,
                        .attributes = TPM_AK_ATTRIBUTES,
                        .type = 0x8018,
                        .bank = 0x000b,
                        .ak_type = 0x0023,
                        .name_alg = 0x000b,
                        .symmetric = 0x0010,
                        .scheme = 0x0018,
                        .scheme_hash = 0x000b,
                        .curve = 3,
                        .kdf = 0x10,
                        .sig_alg = 0x18,
                        .sig_hash = 0x0b,
                        .safe = 1,
                        .select_len = 3,
                        .select = {0x81, 0, 0x80}, /* 0, 7, 23 */
                        .signer_len = 34,
                        .extra_len = 32,
                        .digest_len = 32};
    assert_int_equal(EVP_PKEY_get_octet_string_param(key, "encoded-pub-key", k->point, 65, &len), 1);
    assert_int_equal(len, 65);
}

static size_t put(uint8_t *to, struct buf *b)
{
    assert_true(buf_ok(b) && b->len <= PART_MAX);
    memcpy(to, b->p, b->len);
    size_t len = b->len;
    buf_done(b);
    return len;
}

static void make_ak(const struct maker *k, struct parts *p)
{
    static const uint8_t zero[64];
    struct buf b;
    buf_init(&b, PART_MAX);
    buf_u16be(&b, k->ak_type);
    buf_u16be(&b, k->name_alg);
    buf_u32be(&b, k->attributes);
    buf_u16be(&b, (uint16_t)k->policy_len);
    buf_put(&b, BYTES(zero, k->policy_len));
    buf_u16be(&b, k->symmetric);
    if (k->symmetric != 0x10)
        buf_u32be(&b, 128u << 16 | 0x43);
    buf_u16be(&b, k->scheme);
    if (k->scheme != 0x10)
        buf_u16be(&b, k->scheme_hash);
    buf_u16be(&b, k->curve);
    buf_u16be(&b, k->kdf);
    buf_u16be(&b, 32);
    buf_put(&b, BYTES(k->point + 1, 32));
    buf_u16be(&b, 32);
    buf_put(&b, BYTES(k->point + 33, 32));
    p->ak_len = put(p->ak, &b);
}

static void make_attest(const struct maker *k, struct parts *p)
{
    static const uint8_t zero[80];
    uint8_t extra[80], all[24 * 32], digest[32];
    memset(extra, k->zero_extra ? 0 : 0x5a, sizeof(extra));
    p->pcr_count = 0;
    for (unsigned i = 0; i < 24; i++) {
        if ((k->select[i / 8] >> i % 8 & 1) == 0)
            continue;
        memset(all + 32 * p->pcr_count, (int)i + 1, 32);
        set_pcr(p, p->pcr_count, i, all + 32 * p->pcr_count, 32);
        p->pcr_count++;
    }
    sha256(BYTES(all, 32 * p->pcr_count), digest);
    struct buf b;
    buf_init(&b, PART_MAX);
    buf_u32be(&b, k->magic);
    buf_u16be(&b, k->type);
    buf_u16be(&b, (uint16_t)k->signer_len);
    buf_put(&b, BYTES(zero, k->signer_len));
    buf_u16be(&b, (uint16_t)k->extra_len);
    buf_put(&b, BYTES(extra, k->extra_len));
    buf_u64be(&b, 77);
    buf_u32be(&b, 5);
    buf_u32be(&b, 6);
    buf_u8(&b, k->safe);
    buf_u64be(&b, 0x1122334455667788);
    buf_u32be(&b, k->selections);
    for (uint32_t i = 0; i < k->selections; i++) {
        buf_u16be(&b, k->bank);
        buf_u8(&b, k->select_len);
        buf_put(&b, BYTES(k->select, k->select_len));
    }
    buf_u16be(&b, (uint16_t)k->digest_len);
    buf_put(&b, BYTES(digest, k->digest_len));
    p->attest_len = put(p->attest, &b);
}

static void put_2b(struct buf *b, const BIGNUM *n)
{
    uint8_t v[40];
    int len = BN_bn2bin(n, v);
    buf_u16be(b, (uint16_t)len);
    buf_put(b, BYTES(v, (size_t)len));
}

/* r and s as they are, leading zeros stripped. */
static void make_signature(const struct maker *k, struct parts *p)
{
    uint8_t der[80];
    size_t len = sizeof(der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->key), 1);
    assert_int_equal(EVP_DigestSign(ctx, der, &len, p->attest, p->attest_len), 1);
    EVP_MD_CTX_free(ctx);
    const uint8_t *at = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    assert_non_null(sig);
    struct buf b;
    buf_init(&b, PART_MAX);
    buf_u16be(&b, k->sig_alg);
    buf_u16be(&b, k->sig_hash);
    put_2b(&b, ECDSA_SIG_get0_r(sig));
    put_2b(&b, ECDSA_SIG_get0_s(sig));
    p->sig_len = put(p->sig, &b);
    ECDSA_SIG_free(sig);
}

static void make(const struct maker *k, struct parts *p)
{
    memset(p, 0, sizeof(*p));
    make_ak(k, p);
    make_attest(k, p);
    make_signature(k, p);
}

static void test_own_key(void **state)
{
    (void)state;
    struct maker k = {0};
    struct parts p;
    struct claims c;
    maker_init(&k);
    make(&k, &p);
    accepted(&p, &c);
    assert_int_equal(c.pcr_mask, 0x800081);
    assert_int_equal(c.pcr[23][0], 24);
    assert_int_equal(c.pcr[7][31], 8);
    assert_true(bytes_is_zero(BYTES_OF(c.pcr[1])));
    assert_int_equal(c.clock, 77);
    assert_int_equal(c.reset_count, 5);
    assert_int_equal(c.restart_count, 6);
    assert_int_equal(c.firmware, 0x1122334455667788);
    set_pcr(&p, p.pcr_count++, 23, p.value[2], 32);
    refused(&p, ERR_EVIDENCE, "1 more than the quote selects");
    make(&k, &p);
    set_pcr(&p, 1, 6, p.value[1], 32); /* a PCR that is not selected */
    refused(&p, ERR_EVIDENCE, "the next must be that of PCR 7");
    bool stripped = false;
    for (unsigned i = 0; i < 4000 && !stripped; i++) { /* one in 128 has a short r or s */
        make(&k, &p);
        accepted(&p, &c);
        stripped = p.sig_len < 72;
    }
    assert_true(stripped);
    EVP_PKEY_free(k.key);
}

struct rule {
    void (*change)(struct maker *k);
    int code;
    const char *words;
};

#define CHANGE(name, ...)                                                                                              \
    static void name(struct maker *k)                                                                                  \
    {                                                                                                                  \
        __VA_ARGS__;                                                                                                   \
    }
CHANGE(c_magic, k->magic = 0xff544348)
CHANGE(c_certify, k->type = 0x8017)
CHANGE(c_time, k->type = 0x8019)
CHANGE(c_signer, k->signer_len = 67)
CHANGE(c_extra_none, k->extra_len = 0)
CHANGE(c_extra_short, k->extra_len = 31)
CHANGE(c_extra_long, k->extra_len = 33)
CHANGE(c_extra_64, k->extra_len = 64)
CHANGE(c_extra_67, k->extra_len = 67)
CHANGE(c_safe, k->safe = 2)
CHANGE(c_no_selection, k->selections = 0)
CHANGE(c_two_selections, k->selections = 2)
CHANGE(c_many_selections, k->selections = 17)
CHANGE(c_sha1_bank, k->bank = 0x0004)
CHANGE(c_sha384_bank, k->bank = 0x000c)
CHANGE(c_no_pcr, memset(k->select, 0, 3))
CHANGE(c_pcr_24, k->select_len = 4; k->select[3] = 1)
CHANGE(c_select_none, k->select_len = 0)
CHANGE(c_select_5, k->select_len = 5)
CHANGE(c_digest_20, k->digest_len = 20)
CHANGE(c_digest_none, k->digest_len = 0)
CHANGE(c_rsa, k->ak_type = 0x0001)
CHANGE(c_name_alg, k->name_alg = 0x000c)
CHANGE(c_policy, k->policy_len = 20)
CHANGE(c_reserved, k->attributes |= 1u << 31)
CHANGE(c_fixed_tpm, k->attributes &= ~TPM_FIXED_TPM)
CHANGE(c_fixed_parent, k->attributes &= ~TPM_FIXED_PARENT)
CHANGE(c_origin, k->attributes &= ~TPM_SENSITIVE_ORIGIN)
CHANGE(c_restricted, k->attributes &= ~TPM_RESTRICTED)
CHANGE(c_sign, k->attributes &= ~TPM_SIGN)
CHANGE(c_decrypt, k->attributes |= TPM_DECRYPT)
CHANGE(c_symmetric, k->symmetric = 0x0006)
CHANGE(c_scheme_none, k->scheme = 0x0010)
CHANGE(c_scheme_schnorr, k->scheme = 0x001c)
CHANGE(c_scheme_sha1, k->scheme_hash = 0x0004)
CHANGE(c_curve, k->curve = 0x0004)
CHANGE(c_kdf, k->kdf = 0x0020)
CHANGE(c_off_curve, k->point[64] ^= 1)
CHANGE(c_sig_rsassa, k->sig_alg = 0x0014)
CHANGE(c_sig_rsapss, k->sig_alg = 0x0016)
CHANGE(c_sig_sha1, k->sig_hash = 0x0004)
CHANGE(c_sig_sha384, k->sig_hash = 0x000c)

static const struct rule rules[] = {
    {c_magic, ERR_EVIDENCE, "magic 0xff544348, not made by a TPM"},
    {c_certify, ERR_EVIDENCE, "type 0x8017 is not a quote"},
    {c_time, ERR_EVIDENCE, "type 0x8019 is not a quote"},
    {c_signer, ERR_FORMAT, "longer than its limit"},
    {c_extra_none, ERR_BIND, "extraData has 0 bytes"},
    {c_extra_short, ERR_BIND, "extraData has 31 bytes"},
    {c_extra_long, ERR_BIND, "extraData has 33 bytes"},
    {c_extra_64, ERR_BIND, "extraData has 64 bytes"},
    {c_extra_67, ERR_FORMAT, "longer than its limit"},
    {c_safe, ERR_FORMAT, "neither 0 nor 1"},
    {c_no_selection, ERR_EVIDENCE, "0 banks"},
    {c_two_selections, ERR_EVIDENCE, "2 banks"},
    {c_many_selections, ERR_EVIDENCE, "17 banks"},
    {c_sha1_bank, ERR_EVIDENCE, "bank 0x0004 is not SHA-256"},
    {c_sha384_bank, ERR_EVIDENCE, "bank 0x000c is not SHA-256"},
    {c_no_pcr, ERR_EVIDENCE, "no PCR is selected"},
    {c_pcr_24, ERR_EVIDENCE, "a PCR above 23"},
    {c_select_none, ERR_FORMAT, "PCR selection"},
    {c_select_5, ERR_FORMAT, "PCR selection"},
    {c_digest_20, ERR_FORMAT, "PCR digest is not 32 bytes"},
    {c_digest_none, ERR_FORMAT, "PCR digest is not 32 bytes"},
    {c_rsa, ERR_EVIDENCE, "key type 0x0001 (RSA)"},
    {c_name_alg, ERR_EVIDENCE, "nameAlg 0x000c"},
    {c_policy, ERR_FORMAT, "authPolicy of 20 bytes"},
    {c_reserved, ERR_FORMAT, "reserved attributes"},
    {c_fixed_tpm, ERR_EVIDENCE, "attribute fixedTPM is not set"},
    {c_fixed_parent, ERR_EVIDENCE, "attribute fixedParent is not set"},
    {c_origin, ERR_EVIDENCE, "attribute sensitiveDataOrigin is not set"},
    {c_restricted, ERR_EVIDENCE, "attribute restricted is not set"},
    {c_sign, ERR_EVIDENCE, "attribute sign is not set"},
    {c_decrypt, ERR_EVIDENCE, "it may decrypt"},
    {c_symmetric, ERR_EVIDENCE, "a symmetric algorithm (0x0006)"},
    {c_scheme_none, ERR_EVIDENCE, "scheme 0x0010"},
    {c_scheme_schnorr, ERR_EVIDENCE, "scheme 0x001c"},
    {c_scheme_sha1, ERR_EVIDENCE, "hash 0x0004 is not ECDSA with SHA-256"},
    {c_curve, ERR_EVIDENCE, "curve 0x0004 is not NIST P-256"},
    {c_kdf, ERR_EVIDENCE, "a KDF (0x0020)"},
    {c_off_curve, ERR_FORMAT, "not on the curve"},
    {c_sig_rsassa, ERR_EVIDENCE, "algorithm 0x0014 (RSASSA) is not ECDSA"},
    {c_sig_rsapss, ERR_EVIDENCE, "algorithm 0x0016 (RSAPSS) is not ECDSA"},
    {c_sig_sha1, ERR_EVIDENCE, "hash 0x0004 is not SHA-256"},
    {c_sig_sha384, ERR_EVIDENCE, "hash 0x000c is not SHA-256"},
};

static void test_rules(void **state)
{
    (void)state;
    struct maker k = {0};
    struct parts p;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        maker_init(&k);
        rules[i].change(&k);
        make(&k, &p);
        refused(&p, rules[i].code, rules[i].words);
    }
    EVP_PKEY_free(k.key);
}

static void test_signatures(void **state)
{
    (void)state;
    struct maker k = {0}, other = {0};
    struct parts p, q;
    maker_init(&k);
    maker_init(&other);
    make(&k, &p);
    make(&other, &q);
    memcpy(q.ak, p.ak, p.ak_len);
    refused(&q, ERR_SIGNATURE, "does not verify"); /* signed by another key */
    static const uint8_t zero_r[] = {0, 0x18, 0, 0x0b, 0, 1, 0, 0, 1, 1}, empty[] = {0, 0x18, 0, 0x0b, 0, 0, 0, 0};
    memcpy(p.sig, zero_r, p.sig_len = sizeof(zero_r));
    refused(&p, ERR_FORMAT, "r or s is zero");
    memcpy(p.sig, empty, p.sig_len = sizeof(empty));
    refused(&p, ERR_FORMAT, "r or s is zero");
    make(&k, &p);
    while (p.sig[5] != 32)
        make(&k, &p);
    memmove(p.sig + 7, p.sig + 6, p.sig_len++ - 6); /* r with a needless leading zero: longer than the curve */
    p.sig[5] = 33, p.sig[6] = 0;
    refused(&p, ERR_FORMAT, "longer than its limit");
    make(&k, &p);
    struct maker zero = k;
    zero.zero_extra = true;
    make(&zero, &p);
    struct claims c;
    accepted(&p, &c); /* well formed; the check of the binding refuses it */
    assert_int_equal(evidence_check_bind(evidence_find(bytes_str("tpm2")), &c, recorded_bind), ERR_BIND);
    EVP_PKEY_free(k.key);
    EVP_PKEY_free(other.key);
}

/* ---- endorsement keys */

static void test_endorsement_key(void **state)
{
    (void)state;
    uint8_t data[512];
    struct tpm2_public ek;
    struct err err;
    size_t len = read_file(RECORDED "ek.bin", data, sizeof(data));
    assert_int_equal(tpm2_public_parse(BYTES(data, len), &ek, &err), 0);
    assert_int_equal(tpm2_public_check_ek(&ek, &err), 0);
    assert_int_equal(tpm2_public_check_ak(&ek, &err), ERR_EVIDENCE);
    struct tpm2_public bad;
    for (unsigned i = 0; i < 32; i++) {
        bad = ek;
        bad.attributes ^= 1u << i;
        assert_int_equal(tpm2_public_check_ek(&bad, &err), ERR_EVIDENCE);
    }
    bad = ek, bad.policy.len = 0;
    assert_int_equal(tpm2_public_check_ek(&bad, &err), ERR_EVIDENCE);
    bad = ek, bad.mode = 0x0042;
    assert_int_equal(tpm2_public_check_ek(&bad, &err), ERR_EVIDENCE);
    bad = ek, bad.bits = 256;
    assert_int_equal(tpm2_public_check_ek(&bad, &err), ERR_EVIDENCE);
    bad = ek, bad.symmetric = TPM_NULL;
    assert_int_equal(tpm2_public_check_ek(&bad, &err), ERR_EVIDENCE);
    bad = ek, bad.scheme = TPM_ECDSA;
    assert_int_equal(tpm2_public_check_ek(&bad, &err), ERR_EVIDENCE);
    for (size_t i = 0; i < len; i++) /* 8 of the flips are in the x or y of a point: not on the curve */
        for (unsigned bit = 0; bit < 8; bit++) {
            data[i] ^= (uint8_t)(1 << bit);
            int rc = tpm2_public_parse(BYTES(data, len), &bad, &err);
            assert_int_not_equal(rc == 0 ? tpm2_public_check_ek(&bad, &err) : rc, 0);
            data[i] ^= (uint8_t)(1 << bit);
        }
}

/* ---- published samples, where they are (environment variable ENFILADE_VECTORS) */

struct sample {
    const char *name, *ak, *words; /* ak: file of a TPM2B_PUBLIC or TPMT_PUBLIC; words: of the refusal, NULL = accept */
    bool attest_ok;                /* the quote alone is what our parser accepts: its fields are compared */
};

static const struct sample samples[] = {
    {"swtpm_ecdsa_p256", "ak_tpm2b_public.bin", NULL, true},
    {"neg_swtpm_no_pcr", "ak_tpm2b_public.bin", "no PCR is selected", false},
    {"neg_swtpm_certify_not_quote", "ak_tpm2b_public.bin", "type 0x8017 is not a quote", false},
    {"swtpm_rsassa", "ak_tpm2b_public.bin", "(RSA), only ECC P-256", true},
    {"swtpm_rsapss", "ak_tpm2b_public.bin", "(RSA), only ECC P-256", true},
    {"keylime_files", "ak_tpm2b_public.bin", "(RSA), only ECC P-256", true},
    {"gce_cos_85_nonce9009", "ak_tpmt_public.bin", "(RSA), only ECC P-256", true},
    {"keylime_unit", NULL, NULL, true},
    {"cmc_rsa_akcert", NULL, NULL, true},
};
#define SAMPLE_COUNT (sizeof(samples) / sizeof(samples[0]))

/* The text after "key": in a JSON file, spaces and quotes skipped. */
static const char *json_at(const char *json, const char *key)
{
    char quoted[80];
    (void)snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    const char *at = strstr(json, quoted);
    assert_non_null(at);
    at += strlen(quoted);
    return at + strspn(at, " \"");
}

static void json_is_hex(const char *json, const char *key, struct bytes is)
{
    char hex[256];
    assert_true(is.len < 128);
    hex_encode(is, hex);
    if (strncmp(json_at(json, key), hex, strlen(hex)) != 0)
        fail_msg("%s is %s", key, hex);
}

static size_t sample_file(const struct sample *s, const char *file, uint8_t *ret, size_t max)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/tpm/%s/%s", getenv("ENFILADE_VECTORS"), s->name, file);
    size_t len = read_file(path, ret, max - 1);
    ret[len] = 0;
    if (len == 0)
        fail_msg("cannot read %s", path);
    return len;
}

static void compare_fields(const char *json, struct bytes attest)
{
    struct tpm2_attest a;
    struct err err;
    uint8_t mask[3];
    assert_int_equal(tpm2_attest_parse(attest, &a, &err), 0);
    for (unsigned i = 0; i < 3; i++)
        mask[i] = (uint8_t)(a.pcr_mask >> 8 * i);
    json_is_hex(json, "qualified_signer", a.signer);
    json_is_hex(json, "extra_data", a.extra_data);
    json_is_hex(json, "mask", BYTES_OF(mask));
    json_is_hex(json, "pcr_digest", BYTES_OF(a.pcr_digest));
    assert_true(strtoull(json_at(json, "clock"), NULL, 10) == a.clock);
    assert_true(strtoull(json_at(json, "reset_count"), NULL, 10) == a.reset_count);
    assert_true(strtoull(json_at(json, "restart_count"), NULL, 10) == a.restart_count);
    assert_true(strtoull(json_at(json, "firmware_version"), NULL, 16) == a.firmware);
    assert_int_equal(strtoul(json_at(json, "safe"), NULL, 10), a.safe);
}

/* The selected values out of expected.json, as an attester would send them. */
static void sample_pcrs(const char *json, struct parts *p)
{
    struct tpm2_attest a;
    struct err err;
    char key[16];
    if (tpm2_attest_parse(BYTES(p->attest, p->attest_len), &a, &err) != 0 || strstr(json, "\"pcrs\": {") == NULL)
        return;
    const char *bank = strstr(strstr(json, "\"pcrs\": {"), "\"sha256\": {");
    assert_non_null(bank);
    for (unsigned i = 0; i < 24; i++) {
        if ((a.pcr_mask >> i & 1) == 0)
            continue;
        uint8_t value[HASH_LEN];
        (void)snprintf(key, sizeof(key), "%u", i);
        assert_int_equal(hex_decode(BYTES(json_at(bank, key), 64), value, HASH_LEN), 0);
        set_pcr(p, p->pcr_count++, i, value, HASH_LEN);
    }
}

static void check_sample(const struct sample *s)
{
    static uint8_t json[16384];
    struct parts p;
    struct claims c;
    memset(&p, 0, sizeof(p));
    (void)sample_file(s, "expected.json", json, sizeof(json));
    p.attest_len = sample_file(s, "quote.bin", p.attest, PART_MAX);
    p.sig_len = sample_file(s, "sig.bin", p.sig, PART_MAX);
    if (s->attest_ok)
        compare_fields((char *)json, BYTES(p.attest, p.attest_len));
    if (s->ak == NULL)
        return;
    uint8_t ak[PART_MAX];
    size_t skip = strcmp(s->ak, "ak_tpm2b_public.bin") == 0 ? 2 : 0;
    p.ak_len = sample_file(s, s->ak, ak, sizeof(ak)) - skip;
    memcpy(p.ak, ak + skip, p.ak_len);
    uint8_t name[TPM_NAME_LEN];
    tpm2_name(BYTES(p.ak, p.ak_len), name);
    json_is_hex((char *)json, "name", BYTES_OF(name));
    sample_pcrs((char *)json, &p);
    if (s->words != NULL) {
        refused(&p, ERR_EVIDENCE, s->words);
        return;
    }
    accepted(&p, &c);
    json_is_hex((char *)json, "extra_data", BYTES(c.report_data, c.report_data_len));
}

static void test_samples(void **state)
{
    (void)state;
    if (getenv("ENFILADE_VECTORS") == NULL) {
        print_message("ENFILADE_VECTORS is not set: %zu published samples skipped\n", SAMPLE_COUNT);
        return;
    }
    for (size_t i = 0; i < SAMPLE_COUNT; i++)
        check_sample(&samples[i]);
    print_message("%zu published samples agree\n", SAMPLE_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded),        cmocka_unit_test(test_bind),    cmocka_unit_test(test_bind_zero),
        cmocka_unit_test(test_bit_flips),       cmocka_unit_test(test_lengths), cmocka_unit_test(test_pcr_lists),
        cmocka_unit_test(test_own_key),         cmocka_unit_test(test_rules),   cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_endorsement_key), cmocka_unit_test(test_samples),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
