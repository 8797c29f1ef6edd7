/* ec: P-256 key agreement and its points, in software.
 *
 * Private scalars live in BIGNUMs of the secure heap: OpenSSL allocates them there in key generation and in
 * EVP_PKEY_fromdata. */
#include "common/crypto/ec.h"
#include "common/crypto/hash.h"
#include <assert.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <pthread.h>
#include <string.h>

#define SCALAR_LEN 32

struct ec_key {
    EVP_PKEY *pkey;
    uint8_t point[EC_POINT_LEN];
};

static EC_GROUP *group; /* made once, only read afterwards */
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make_group(void)
{
    group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    assert(group != NULL);
}

static const EC_GROUP *curve(void)
{
    int once = pthread_once(&made, make_group);
    assert(once == 0);
    return group;
}

/* Cofactor 1: a point on the curve that is not infinity has the right order. */
int ec_point_check(struct bytes point)
{
    if (point.len != EC_POINT_LEN || point.p[0] != POINT_CONVERSION_UNCOMPRESSED)
        return ERR_FORMAT;
    EC_POINT *q = EC_POINT_new(curve());
    if (q == NULL)
        return ERR_NOMEM;
    bool good =
        EC_POINT_oct2point(curve(), q, point.p, point.len, NULL) == 1 && EC_POINT_is_at_infinity(curve(), q) == 0;
    EC_POINT_free(q);
    return good ? 0 : ERR_FORMAT;
}

/* priv may be NULL: a public key */
static int pkey_make(const BIGNUM *priv, const uint8_t point[EC_POINT_LEN], EVP_PKEY **ret_pkey)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    bool good = ctx != NULL && bld != NULL &&
                OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) &&
                OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, EC_POINT_LEN) &&
                (priv == NULL || OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, priv)) &&
                (params = OSSL_PARAM_BLD_to_param(bld)) != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
                EVP_PKEY_fromdata(ctx, &pkey, priv != NULL ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) == 1;
    OSSL_PARAM_free(params); /* wipes its secure part */
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    if (!good) {
        EVP_PKEY_free(pkey);
        return ERR_INTERNAL;
    }
    *ret_pkey = pkey;
    return 0;
}

static int wrap_key(EVP_PKEY *pkey, const uint8_t point[EC_POINT_LEN], struct ec_key **ret_key)
{
    struct ec_key *key = OPENSSL_zalloc(sizeof(*key));
    if (key == NULL)
        return ERR_NOMEM;
    key->pkey = pkey;
    memcpy(key->point, point, EC_POINT_LEN);
    *ret_key = key;
    return 0;
}

int ec_key_new(struct ec_key **ret_key)
{
    uint8_t point[EC_POINT_LEN];
    size_t len = 0;
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    int rc = ERR_INTERNAL;
    if (pkey != NULL &&
        EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point, sizeof(point), &len) == 1 &&
        len == EC_POINT_LEN && point[0] == POINT_CONVERSION_UNCOMPRESSED)
        rc = wrap_key(pkey, point, ret_key);
    if (rc != 0)
        EVP_PKEY_free(pkey);
    return rc;
}

static int scalar_point(const BIGNUM *scalar, uint8_t ret_point[EC_POINT_LEN])
{
    EC_POINT *q = EC_POINT_new(curve());
    BN_CTX *ctx = BN_CTX_secure_new();
    bool good =
        q != NULL && ctx != NULL && EC_POINT_mul(curve(), q, scalar, NULL, NULL, ctx) == 1 &&
        EC_POINT_point2oct(curve(), q, POINT_CONVERSION_UNCOMPRESSED, ret_point, EC_POINT_LEN, ctx) == EC_POINT_LEN;
    BN_CTX_free(ctx);
    EC_POINT_free(q);
    return good ? 0 : ERR_INTERNAL;
}

int ec_key_from_scalar(const struct secret *scalar, struct ec_key **ret_key)
{
    if (secret_len(scalar) != SCALAR_LEN)
        return ERR_FORMAT;
    BIGNUM *bn = BN_secure_new();
    if (bn == NULL)
        return ERR_NOMEM;
    BN_set_flags(bn, BN_FLG_CONSTTIME);
    uint8_t point[EC_POINT_LEN];
    EVP_PKEY *pkey = NULL;
    int rc = BN_bin2bn(secret_borrow(scalar).p, SCALAR_LEN, bn) != NULL ? 0 : ERR_NOMEM;
    if (rc == 0 && (BN_is_zero(bn) || BN_cmp(bn, EC_GROUP_get0_order(curve())) >= 0))
        rc = ERR_FORMAT;
    if (rc == 0)
        rc = scalar_point(bn, point);
    if (rc == 0)
        rc = pkey_make(bn, point, &pkey);
    if (rc == 0)
        rc = wrap_key(pkey, point, ret_key);
    if (rc != 0)
        EVP_PKEY_free(pkey);
    BN_clear_free(bn);
    return rc;
}

void ec_key_free(struct ec_key *key)
{
    if (key == NULL)
        return;
    EVP_PKEY_free(key->pkey);
    OPENSSL_free(key);
}

void ec_key_point(const struct ec_key *key, uint8_t ret_point[EC_POINT_LEN])
{
    memcpy(ret_point, key->point, EC_POINT_LEN);
}

/* The peer's point was checked, so OpenSSL's own, costlier check is left out. */
int ec_ecdh(const struct ec_key *key, struct bytes point, struct secret **ret_z)
{
    TRY(ec_point_check(point));
    EVP_PKEY *peer = NULL;
    TRY(pkey_make(NULL, point.p, &peer));
    struct secret *z = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);
    size_t len = SCALAR_LEN;
    int rc = ctx != NULL ? secret_new(SCALAR_LEN, &z) : ERR_NOMEM;
    if (rc == 0 && (EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_derive_set_peer_ex(ctx, peer, 0) != 1 ||
                    EVP_PKEY_derive(ctx, secret_write(z), &len) != 1 || len != SCALAR_LEN))
        rc = ERR_INTERNAL;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    if (rc != 0) {
        secret_free(z);
        return rc;
    }
    *ret_z = z;
    return 0;
}

/* SEQUENCE { SEQUENCE { OID id-ecPublicKey, OID prime256v1 }, BIT STRING (0 unused bits) }: RFC 5480. */
void ec_point_spki(const uint8_t point[EC_POINT_LEN], uint8_t ret_spki[EC_SPKI_LEN])
{
    static const uint8_t head[EC_SPKI_LEN - EC_POINT_LEN] = {
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
        0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    };
    memcpy(ret_spki, head, sizeof(head));
    memcpy(ret_spki + sizeof(head), point, EC_POINT_LEN);
}

void ec_point_spki_hash(const uint8_t point[EC_POINT_LEN], uint8_t ret_hash[32])
{
    uint8_t spki[EC_SPKI_LEN];
    ec_point_spki(point, spki);
    sha256(BYTES_OF(spki), ret_hash);
}
