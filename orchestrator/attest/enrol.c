/* enrol: makes and opens the credential that ties an attestation key to an endorsement key. */
#include "orchestrator/attest/enrol.h"
#include "common/crypto/ec.h"
#include "common/evidence/tpm2_wire.h"
#include "orchestrator/attest/tpm2.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

/* blob = TPM2B_ID_OBJECT ‖ TPM2B_ENCRYPTED_SECRET:
 *   u16 len ‖ (u16 32 ‖ HMAC ‖ AES-128-CFB(u16 32 ‖ secret))   u16 len ‖ (u16 32 ‖ x ‖ u16 32 ‖ y)   x, y: ephemeral
 * Source: TPM 2.0 Library Part 1 §24 (credential protection), §11.4.10 (KDFa, KDFe), annex C.6 (ECC secret sharing). */
#define SECRET_LEN 32
#define IDENTITY_LEN (2 + SECRET_LEN)
#define ID_OBJECT_LEN (2 + HASH_LEN + IDENTITY_LEN)
#define POINT_AREA_LEN (2 + 32 + 2 + 32)
#define SEED_LEN HASH_LEN
#define AES_KEY_LEN 16

int enrol_request(struct attester *tpm, struct buf *ret_ek_public, struct buf *ret_ak_public, struct err *err)
{
    return tpm2_attester_keys(tpm, ret_ek_public, ret_ak_public, err);
}

/* ---- MakeCredential in software */

/* KDFe: seed = SHA-256(u32be 1 ‖ Z ‖ "IDENTITY" NUL ‖ x of the ephemeral ‖ x of the EK). */
static int seed_of(const uint8_t ephemeral[EC_POINT_LEN], const struct ec_key *key, const struct tpm2_public *ek,
                   struct secret **ret_seed)
{
    static const char label[] = "IDENTITY"; /* its NUL is hashed */
    struct secret *z = NULL, *all = NULL, *seed = NULL;
    int rc = ec_ecdh(key, BYTES_OF(ek->point), &z);
    if (rc == 0)
        rc = secret_new(4 + 32 + sizeof(label) + 64, &all);
    if (rc == 0)
        rc = secret_new(SEED_LEN, &seed);
    if (rc == 0) {
        uint8_t *p = secret_write(all);
        p[3] = 1;
        memcpy(p + 4, secret_borrow(z).p, 32);
        memcpy(p + 36, label, sizeof(label));
        memcpy(p + 36 + sizeof(label), ephemeral + 1, 32);
        memcpy(p + 68 + sizeof(label), ek->point + 1, 32);
        sha256(secret_borrow(all), secret_write(seed));
        *ret_seed = seed;
    }
    secret_free(z);
    secret_free(all);
    return rc;
}

static int hmac(const struct secret *key, struct bytes data, uint8_t ret[HASH_LEN])
{
    struct bytes k = secret_borrow(key);
    unsigned len = 0;
    return HMAC(EVP_sha256(), k.p, (int)k.len, data.p, data.len, ret, &len) != NULL && len == HASH_LEN ? 0
                                                                                                       : ERR_INTERNAL;
}

/* KDFa, one block: HMAC(seed, u32be 1 ‖ label NUL ‖ context ‖ u32be bits), cut to the bits. */
static int kdfa(const struct secret *seed, const char *label, struct bytes context, size_t len, struct secret **ret_key)
{
    struct buf in;
    struct secret *block = NULL;
    buf_init(&in, 128);
    buf_u32be(&in, 1);
    buf_put(&in, BYTES(label, strlen(label) + 1));
    buf_put(&in, context);
    buf_u32be(&in, (uint32_t)(8 * len));
    int rc = buf_ok(&in) ? secret_new(HASH_LEN, &block) : ERR_NOMEM;
    if (rc == 0)
        rc = hmac(seed, buf_view(&in), secret_write(block));
    if (rc == 0)
        rc = secret_copy(BYTES(secret_borrow(block).p, len), ret_key);
    secret_free(block);
    buf_done(&in);
    return rc;
}

static int encrypt_identity(const struct secret *key, const struct secret *secret, uint8_t ret[IDENTITY_LEN])
{
    static const uint8_t iv[16] = {0}; /* as the specification says: the key is used once */
    struct secret *plain = NULL;
    int rc = secret_new(IDENTITY_LEN, &plain), n = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (rc == 0) {
        secret_write(plain)[1] = SECRET_LEN;
        memcpy(secret_write(plain) + 2, secret_borrow(secret).p, SECRET_LEN);
        bool ok = ctx != NULL && EVP_EncryptInit_ex(ctx, EVP_aes_128_cfb128(), NULL, secret_borrow(key).p, iv) == 1 &&
                  EVP_EncryptUpdate(ctx, ret, &n, secret_borrow(plain).p, IDENTITY_LEN) == 1 && n == IDENTITY_LEN;
        rc = ok ? 0 : ERR_INTERNAL;
    }
    EVP_CIPHER_CTX_free(ctx);
    secret_free(plain);
    return rc;
}

/* TPMS_ID_OBJECT for a key of this name. */
static int id_object(const struct secret *seed, const uint8_t name[TPM_NAME_LEN], const struct secret *secret,
                     uint8_t ret[ID_OBJECT_LEN])
{
    struct secret *storage = NULL, *integrity = NULL;
    uint8_t signed_[IDENTITY_LEN + TPM_NAME_LEN], *identity = ret + 2 + HASH_LEN;
    ret[0] = 0;
    ret[1] = HASH_LEN;
    int rc = kdfa(seed, "STORAGE", BYTES(name, TPM_NAME_LEN), AES_KEY_LEN, &storage);
    if (rc == 0)
        rc = encrypt_identity(storage, secret, identity);
    if (rc == 0)
        rc = kdfa(seed, "INTEGRITY", BYTES_NONE, HASH_LEN, &integrity);
    if (rc == 0) {
        memcpy(signed_, identity, IDENTITY_LEN);
        memcpy(signed_ + IDENTITY_LEN, name, TPM_NAME_LEN);
        rc = hmac(integrity, BYTES_OF(signed_), ret + 2);
    }
    secret_free(storage);
    secret_free(integrity);
    return rc;
}

static int make_credential(const struct tpm2_public *ek, struct bytes ak_public, const struct secret *secret,
                           struct buf *ret_blob)
{
    uint8_t name[TPM_NAME_LEN], point[EC_POINT_LEN], object[ID_OBJECT_LEN];
    struct ec_key *key = NULL;
    struct secret *seed = NULL;
    tpm2_name(ak_public, name);
    int rc = ec_key_new(&key);
    if (rc == 0) {
        ec_key_point(key, point);
        rc = seed_of(point, key, ek, &seed);
    }
    if (rc == 0)
        rc = id_object(seed, name, secret, object);
    if (rc == 0) {
        buf_u16be(ret_blob, ID_OBJECT_LEN);
        buf_put(ret_blob, BYTES_OF(object));
        buf_u16be(ret_blob, POINT_AREA_LEN);
        buf_u16be(ret_blob, 32);
        buf_put(ret_blob, BYTES(point + 1, 32));
        buf_u16be(ret_blob, 32);
        buf_put(ret_blob, BYTES(point + 33, 32));
        rc = buf_ok(ret_blob) ? 0 : ERR_TOO_LONG;
    }
    secret_free(seed);
    ec_key_free(key);
    return rc;
}

int enrol_challenge(struct bytes ek_public, struct bytes ak_public, struct secret **ret_secret, struct buf *ret_blob,
                    struct err *err)
{
    struct tpm2_public ek, ak;
    int rc = tpm2_public_parse(ek_public, &ek, err);
    if (rc == 0)
        rc = tpm2_public_check_ek(&ek, err);
    if (rc != 0)
        return err_wrap(err, rc, "endorsement key");
    rc = tpm2_public_parse(ak_public, &ak, err);
    if (rc == 0)
        rc = tpm2_public_check_ak(&ak, err);
    if (rc != 0)
        return err_wrap(err, rc, "attestation key");
    struct secret *secret = NULL;
    rc = secret_random(SECRET_LEN, &secret);
    if (rc == 0)
        rc = make_credential(&ek, ak_public, secret, ret_blob);
    if (rc != 0) {
        secret_free(secret);
        return err_set(err, rc, "making the credential failed");
    }
    *ret_secret = secret;
    return 0;
}

/* ---- ActivateCredential in the TPM */

static int take_2b(struct cursor *c, struct bytes *ret)
{
    uint16_t len;
    TRY(cursor_u16be(c, &len));
    return cursor_take(c, len, ret);
}

int enrol_answer(struct attester *tpm, struct bytes blob, struct secret **ret_secret, struct err *err)
{
    struct cursor c = {blob};
    struct bytes object, point;
    if (take_2b(&c, &object) != 0 || take_2b(&c, &point) != 0 || c.left.len != 0)
        return err_set(err, ERR_FORMAT, "credential: truncated, or bytes after its end");
    return tpm2_attester_activate(tpm, object, point, ret_secret, err);
}
