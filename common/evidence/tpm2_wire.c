/* tpm2_wire: cursors over TPM structures, the rules for keys, ECDSA verification. */
#include "common/evidence/tpm2_wire.h"
#include "common/base/mutant.h"
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <string.h>

#define ATTRIBUTES_DEFINED 0x000f0cf6u /* the others are reserved: zero */
#define TPM2B_MAX 66                   /* TPM2B_DATA and TPM2B_NAME: a TPMT_HA with SHA-512 */

/* PolicySecret(TPM_RH_ENDORSEMENT) with SHA-256. Source: TCG EK Credential Profile 2.1, B.6.2 (PolicyA). */
const uint8_t tpm2_ek_policy[HASH_LEN] = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc,
                                          0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52,
                                          0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa};

static int take_2b(struct cursor *c, size_t max, struct bytes *ret)
{
    uint16_t len;
    TRY(cursor_u16be(c, &len));
    return len > max ? ERR_FORMAT : cursor_take(c, len, ret);
}

static int short_or_long(struct err *err, const char *what)
{
    return err_set(err, ERR_FORMAT, "%s: truncated, or a field is longer than its limit", what);
}

static int end_of(const struct cursor *c, struct err *err, const char *what)
{
    return c->left.len == 0 ? 0 : err_set(err, ERR_FORMAT, "%s: %zu bytes after its end", what, c->left.len);
}

/* ---- TPMT_PUBLIC */

/* x or y as 32 bytes; TPMs may strip leading zeros. */
static int take_coordinate(struct cursor *c, uint8_t ret[32])
{
    struct bytes v;
    TRY(take_2b(c, 32, &v));
    if (v.len == 0)
        return ERR_FORMAT;
    memset(ret, 0, 32);
    memcpy(ret + 32 - v.len, v.p, v.len);
    return 0;
}

static int take_ecc_parms(struct cursor *c, struct tpm2_public *p, uint16_t *ret_curve, uint16_t *ret_kdf)
{
    TRY(cursor_u16be(c, &p->symmetric));
    if (p->symmetric != TPM_NULL) {
        TRY(cursor_u16be(c, &p->bits));
        TRY(cursor_u16be(c, &p->mode));
    }
    TRY(cursor_u16be(c, &p->scheme));
    if (p->scheme != TPM_NULL)
        TRY(cursor_u16be(c, &p->scheme_hash));
    TRY(cursor_u16be(c, ret_curve));
    return cursor_u16be(c, ret_kdf);
}

static int take_point(struct cursor *c, struct tpm2_public *p)
{
    p->point[0] = 0x04;
    TRY(take_coordinate(c, p->point + 1));
    return take_coordinate(c, p->point + 33);
}

int tpm2_public_parse(struct bytes tpmt_public, struct tpm2_public *ret, struct err *err)
{
    static const char what[] = "public area (TPMT_PUBLIC)";
    struct cursor c = {tpmt_public};
    struct tpm2_public p = {0};
    uint16_t type, name_alg, curve, kdf;
    if (cursor_u16be(&c, &type) != 0 || cursor_u16be(&c, &name_alg) != 0 || cursor_u32be(&c, &p.attributes) != 0 ||
        take_2b(&c, HASH_LEN, &p.policy) != 0)
        return short_or_long(err, what);
    if (type != TPM_ECC)
        return err_set(err, ERR_EVIDENCE, "%s: key type 0x%04x%s, only ECC P-256 is accepted", what, type,
                       type == TPM_RSA ? " (RSA)" : "");
    if (name_alg != TPM_SHA256)
        return err_set(err, ERR_EVIDENCE, "%s: nameAlg 0x%04x is not SHA-256", what, name_alg);
    if ((p.attributes & ~ATTRIBUTES_DEFINED) != 0)
        return err_set(err, ERR_FORMAT, "%s: reserved attributes are set (0x%08x)", what, p.attributes);
    if (p.policy.len != 0 && p.policy.len != HASH_LEN)
        return err_set(err, ERR_FORMAT, "%s: authPolicy of %zu bytes", what, p.policy.len);
    if (take_ecc_parms(&c, &p, &curve, &kdf) != 0)
        return short_or_long(err, what);
    if (curve != TPM_P256)
        return err_set(err, ERR_EVIDENCE, "%s: curve 0x%04x is not NIST P-256", what, curve);
    if (kdf != TPM_NULL)
        return err_set(err, ERR_EVIDENCE, "%s: a KDF (0x%04x) is set", what, kdf);
    if (take_point(&c, &p) != 0)
        return short_or_long(err, what);
    TRY(end_of(&c, err, what));
    if (ec_point_check(BYTES_OF(p.point)) != 0)
        return err_set(err, ERR_FORMAT, "%s: the point is not on the curve", what);
    *ret = p;
    return 0;
}

static const struct {
    uint32_t bit;
    const char *name;
    bool ak, ek; /* must be set in an AK, in an EK; clear: no rule for an AK, must be clear in an EK */
} attributes[] = {
    {TPM_FIXED_TPM, "fixedTPM", true, true},
    {TPM_FIXED_PARENT, "fixedParent", true, true},
    {TPM_SENSITIVE_ORIGIN, "sensitiveDataOrigin", true, true},
    {TPM_ADMIN_WITH_POLICY, "adminWithPolicy", false, true},
    {TPM_RESTRICTED, "restricted", true, true},
    {TPM_DECRYPT, "decrypt", false, true},
    {TPM_SIGN, "sign", true, false},
};

static int need_attributes(const struct tpm2_public *p, bool ek, struct err *err)
{
    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
        if ((ek ? attributes[i].ek : attributes[i].ak) && (p->attributes & attributes[i].bit) == 0 &&
            !mutant("ATTRIBUTES"))
            return err_set(err, ERR_EVIDENCE, "%s: attribute %s is not set (0x%08x)",
                           ek ? "endorsement key" : "attestation key", attributes[i].name, p->attributes);
    return 0;
}

int tpm2_public_check_ak(const struct tpm2_public *p, struct err *err)
{
    TRY(need_attributes(p, false, err));
    if ((p->attributes & TPM_DECRYPT) != 0)
        return err_set(err, ERR_EVIDENCE, "attestation key: it may decrypt (0x%08x)", p->attributes);
    if (p->symmetric != TPM_NULL)
        return err_set(err, ERR_EVIDENCE, "attestation key: a symmetric algorithm (0x%04x) is set", p->symmetric);
    if (p->scheme != TPM_ECDSA || p->scheme_hash != TPM_SHA256)
        return err_set(err, ERR_EVIDENCE, "attestation key: scheme 0x%04x with hash 0x%04x is not ECDSA with SHA-256",
                       p->scheme, p->scheme_hash);
    return 0;
}

int tpm2_public_check_ek(const struct tpm2_public *p, struct err *err)
{
    TRY(need_attributes(p, true, err));
    if (p->attributes != TPM_EK_ATTRIBUTES)
        return err_set(err, ERR_EVIDENCE, "endorsement key: attributes 0x%08x are not template L-2's 0x%08x",
                       p->attributes, TPM_EK_ATTRIBUTES);
    if (!bytes_equal(p->policy, BYTES_OF(tpm2_ek_policy)))
        return err_set(err, ERR_EVIDENCE, "endorsement key: its policy is not PolicySecret(endorsement)");
    if (p->symmetric != TPM_AES || p->bits != 128 || p->mode != TPM_CFB)
        return err_set(err, ERR_EVIDENCE, "endorsement key: its symmetric algorithm is not AES-128-CFB");
    if (p->scheme != TPM_NULL)
        return err_set(err, ERR_EVIDENCE, "endorsement key: a scheme (0x%04x) is set", p->scheme);
    return 0;
}

void tpm2_name(struct bytes tpmt_public, uint8_t ret_name[TPM_NAME_LEN])
{
    ret_name[0] = TPM_SHA256 >> 8;
    ret_name[1] = TPM_SHA256 & 0xff;
    sha256(tpmt_public, ret_name + 2);
}

/* ---- TPMT_SIGNATURE */

int tpm2_signature_parse(struct bytes tpmt_signature, struct tpm2_signature *ret, struct err *err)
{
    static const char what[] = "signature (TPMT_SIGNATURE)";
    struct cursor c = {tpmt_signature};
    struct tpm2_signature s;
    uint16_t alg, hash;
    if (cursor_u16be(&c, &alg) != 0 || cursor_u16be(&c, &hash) != 0)
        return short_or_long(err, what);
    if (alg != TPM_ECDSA)
        return err_set(err, ERR_EVIDENCE, "%s: algorithm 0x%04x%s is not ECDSA", what, alg,
                       alg == 0x0014   ? " (RSASSA)"
                       : alg == 0x0016 ? " (RSAPSS)"
                                       : "");
    if (hash != TPM_SHA256)
        return err_set(err, ERR_EVIDENCE, "%s: hash 0x%04x is not SHA-256", what, hash);
    if (take_2b(&c, 32, &s.r) != 0 || take_2b(&c, 32, &s.s) != 0)
        return short_or_long(err, what);
    TRY(end_of(&c, err, what));
    if (bytes_is_zero(s.r) || bytes_is_zero(s.s)) /* empty is zero too */
        return err_set(err, ERR_FORMAT, "%s: r or s is zero", what);
    *ret = s;
    return 0;
}

static EVP_PKEY *public_key(const uint8_t point[EC_POINT_LEN])
{
    char group[] = "prime256v1";
    uint8_t copy[EC_POINT_LEN];
    memcpy(copy, point, sizeof(copy));
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
                           OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy, sizeof(copy)),
                           OSSL_PARAM_construct_end()};
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* r ‖ s as DER; the length, 0 when out of memory. Freed with OPENSSL_free. */
static size_t signature_der(const struct tpm2_signature *sig, uint8_t **ret_der)
{
    size_t len = 0;
    ECDSA_SIG *both = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(sig->r.p, (int)sig->r.len, NULL), *s = BN_bin2bn(sig->s.p, (int)sig->s.len, NULL);
    if (both != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(both, r, s) == 1) {
        r = s = NULL; /* both owns them */
        *ret_der = NULL;
        int n = i2d_ECDSA_SIG(both, ret_der);
        len = n > 0 ? (size_t)n : 0;
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(both);
    return len;
}

int tpm2_signature_verify(const struct tpm2_public *key, struct bytes attest, const struct tpm2_signature *sig,
                          struct err *err)
{
    int rc = ERR_NOMEM;
    uint8_t *der = NULL;
    size_t der_len = signature_der(sig, &der);
    EVP_PKEY *pkey = public_key(key->point);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (der_len == 0 || pkey == NULL || ctx == NULL || EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, pkey) != 1)
        goto out;
    rc =
        EVP_DigestVerify(ctx, der, der_len, attest.p, attest.len) == 1 || mutant("QUOTE_SIGNATURE") ? 0 : ERR_SIGNATURE;
out:
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    OPENSSL_free(der);
    if (rc != 0)
        return err_set(err, rc, "quote: %s",
                       rc == ERR_NOMEM ? "no memory to verify it" : "the signature does not verify");
    return 0;
}

/* ---- TPMS_ATTEST */

/* TPML_PCR_SELECTION: exactly one, of the SHA-256 bank, at least one PCR, none above 23. */
static int take_selection(struct cursor *c, uint32_t *ret_mask, struct err *err)
{
    static const char what[] = "quote: PCR selection";
    uint32_t count, mask = 0;
    uint16_t bank;
    uint8_t len;
    struct bytes bits;
    if (cursor_u32be(c, &count) != 0)
        return short_or_long(err, what);
    if (count != 1)
        return err_set(err, ERR_EVIDENCE, "%s: %u banks, must be one", what, count);
    if (cursor_u16be(c, &bank) != 0 || cursor_u8(c, &len) != 0)
        return short_or_long(err, what);
    if (bank != TPM_SHA256)
        return err_set(err, ERR_EVIDENCE, "%s: bank 0x%04x is not SHA-256", what, bank);
    if (len < 1 || len > 4 || cursor_take(c, len, &bits) != 0)
        return short_or_long(err, what);
    for (size_t i = 0; i < bits.len; i++)
        mask |= (uint32_t)bits.p[i] << (8 * i);
    if (mask == 0)
        return err_set(err, ERR_EVIDENCE, "%s: no PCR is selected", what);
    if (mask >> TPM_PCR_COUNT != 0)
        return err_set(err, ERR_EVIDENCE, "%s: a PCR above 23 is selected", what);
    *ret_mask = mask;
    return 0;
}

static int take_clock_info(struct cursor *c, struct tpm2_attest *a)
{
    uint8_t safe;
    TRY(cursor_u64be(c, &a->clock));
    TRY(cursor_u32be(c, &a->reset_count));
    TRY(cursor_u32be(c, &a->restart_count));
    TRY(cursor_u8(c, &safe));
    a->safe = safe == 1;
    return safe > 1 ? ERR_FORMAT : cursor_u64be(c, &a->firmware);
}

int tpm2_attest_parse(struct bytes data, struct tpm2_attest *ret, struct err *err)
{
    static const char what[] = "quote (TPMS_ATTEST)";
    struct cursor c = {data};
    struct tpm2_attest a = {0};
    struct bytes digest;
    uint32_t magic;
    uint16_t type;
    if (cursor_u32be(&c, &magic) != 0 || cursor_u16be(&c, &type) != 0)
        return short_or_long(err, what);
    if (magic != TPM_GENERATED && !mutant("MAGIC"))
        return err_set(err, ERR_EVIDENCE, "%s: magic 0x%08x, not made by a TPM", what, magic);
    if (type != TPM_ST_ATTEST_QUOTE && !mutant("QUOTE_TYPE"))
        return err_set(err, ERR_EVIDENCE, "%s: type 0x%04x is not a quote", what, type);
    if (take_2b(&c, TPM2B_MAX, &a.signer) != 0 || take_2b(&c, TPM2B_MAX, &a.extra_data) != 0)
        return short_or_long(err, what);
    if (take_clock_info(&c, &a) != 0)
        return err_set(err, ERR_FORMAT, "%s: clock info truncated, or its flag is neither 0 nor 1", what);
    TRY(take_selection(&c, &a.pcr_mask, err));
    if (take_2b(&c, HASH_LEN, &digest) != 0 || digest.len != HASH_LEN)
        return err_set(err, ERR_FORMAT, "%s: the PCR digest is not 32 bytes", what);
    TRY(end_of(&c, err, what));
    memcpy(a.pcr_digest, digest.p, HASH_LEN);
    *ret = a;
    return 0;
}
