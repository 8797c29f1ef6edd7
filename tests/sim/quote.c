/* quote: TPM quotes made in software. Source: TCG TPM 2.0 Library, Part 2: TPMS_ATTEST, TPMT_SIGNATURE, TPMT_PUBLIC. */
#include "tests/sim/quote.h"
#include "common/evidence/tpm2_wire.h"
#include "proto/message.h"
#include <assert.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <string.h>

#define PART_MAX 512

const uint8_t quote_pcr[HASH_LEN] = {0x5f, 1, 2, 3};

static void put_2b(struct buf *b, struct bytes data)
{
    buf_u16be(b, (uint16_t)data.len);
    buf_put(b, data);
}

void quote_key(struct cast_device *d)
{
    uint8_t point[EC_POINT_LEN];
    size_t len = 0;
    struct buf b;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert(key != NULL);
    int ok = EVP_PKEY_get_octet_string_param(key, "encoded-pub-key", point, sizeof(point), &len);
    assert(ok == 1 && len == EC_POINT_LEN);
    buf_init(&b, sizeof(d->ak_public));
    buf_u16be(&b, TPM_ECC);
    buf_u16be(&b, TPM_SHA256);
    buf_u32be(&b, TPM_AK_ATTRIBUTES);
    buf_u16be(&b, 0); /* authPolicy */
    buf_u16be(&b, TPM_NULL);
    buf_u16be(&b, TPM_ECDSA);
    buf_u16be(&b, TPM_SHA256);
    buf_u16be(&b, TPM_P256);
    buf_u16be(&b, TPM_NULL);
    put_2b(&b, BYTES(point + 1, 32));
    put_2b(&b, BYTES(point + 33, 32));
    assert(buf_ok(&b));
    memcpy(d->ak_public, b.p, b.len);
    d->ak_public_len = b.len;
    d->ak = key;
    buf_done(&b);
}

void quote_key_free(struct cast_device *d)
{
    EVP_PKEY_free(d->ak);
}

static void make_attest(const uint8_t bind[BIND_LEN], struct buf *b)
{
    static const uint8_t signer[TPM_NAME_LEN];
    static const uint8_t select[3] = {0, 1u << (QUOTE_PCR - 8), 0};
    uint8_t extra[HASH_LEN], digest[HASH_LEN];
    sha256(BYTES(bind, BIND_LEN), extra);
    sha256(BYTES_OF(quote_pcr), digest);
    buf_u32be(b, TPM_GENERATED);
    buf_u16be(b, TPM_ST_ATTEST_QUOTE);
    put_2b(b, BYTES_OF(signer));
    put_2b(b, BYTES_OF(extra));
    buf_u64be(b, 77); /* clock, resetCount, restartCount, safe, firmwareVersion */
    buf_u32be(b, 5);
    buf_u32be(b, 6);
    buf_u8(b, 1);
    buf_u64be(b, 7);
    buf_u32be(b, 1); /* one selection */
    buf_u16be(b, TPM_SHA256);
    buf_u8(b, sizeof(select));
    buf_put(b, BYTES_OF(select));
    put_2b(b, BYTES_OF(digest));
}

static void put_number(struct buf *b, const BIGNUM *n)
{
    uint8_t v[40];
    int len = BN_bn2bin(n, v);
    put_2b(b, BYTES(v, (size_t)len));
}

static void make_signature(const struct cast_device *d, struct bytes attest, struct buf *b)
{
    uint8_t der[80];
    size_t len = sizeof(der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok = EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, d->ak);
    assert(ok == 1);
    ok = EVP_DigestSign(ctx, der, &len, attest.p, attest.len);
    assert(ok == 1);
    EVP_MD_CTX_free(ctx);
    const uint8_t *at = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    assert(sig != NULL);
    buf_u16be(b, TPM_ECDSA);
    buf_u16be(b, TPM_SHA256);
    put_number(b, ECDSA_SIG_get0_r(sig));
    put_number(b, ECDSA_SIG_get0_s(sig));
    ECDSA_SIG_free(sig);
}

void quote_make(const struct cast_device *d, const uint8_t bind[BIND_LEN], struct buf *out)
{
    struct buf attest, signature;
    struct msg_tpm_pcr pcr = {QUOTE_PCR, BYTES_OF(quote_pcr)};
    struct err err = {.code = 0};
    buf_init(&attest, PART_MAX);
    buf_init(&signature, PART_MAX);
    make_attest(bind, &attest);
    make_signature(d, buf_view(&attest), &signature);
    struct message m = {.type = MESSAGE_TPM_EVIDENCE,
                        .tpm_evidence = {.attest = buf_view(&attest),
                                         .signature = buf_view(&signature),
                                         .ak = BYTES(d->ak_public, d->ak_public_len)}};
    m.tpm_evidence.pcrs.at = &pcr;
    m.tpm_evidence.pcrs.count = 1;
    int rc = message_pack(&m, out, &err);
    assert(rc == 0);
    buf_done(&attest);
    buf_done(&signature);
}
