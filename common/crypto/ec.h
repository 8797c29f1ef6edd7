/* ec: P-256 points and keys, Ed25519 signatures, in software.
 *
 * Points are 65 bytes, uncompressed (0x04 ‖ X ‖ Y), validated before any use: on the curve, not infinity. */
#ifndef ENFILADE_CRYPTO_EC_H
#define ENFILADE_CRYPTO_EC_H

#include "common/base/secret.h"

#define EC_POINT_LEN 65
#define EC_SPKI_LEN 91 /* DER SubjectPublicKeyInfo of a P-256 key with an uncompressed point */
#define ED25519_PUBLIC_LEN 32
#define ED25519_SIGNATURE_LEN 64

struct ec_key; /* a P-256 key pair in memory: E, r; wiped by ec_key_free */

MUST_CHECK int ec_key_new(struct ec_key **ret_key);                                      /* fresh */
MUST_CHECK int ec_key_from_scalar(const struct secret *scalar, struct ec_key **ret_key); /* 32 bytes, for vectors */
void ec_key_free(struct ec_key *key);
void ec_key_point(const struct ec_key *key, uint8_t ret_point[EC_POINT_LEN]);
MUST_CHECK int ec_point_check(struct bytes point); /* ERR_FORMAT */
/* The x coordinate of key·point, 32 bytes. ERR_FORMAT for a bad point. */
MUST_CHECK int ec_ecdh(const struct ec_key *key, struct bytes point, struct secret **ret_z);
/* The fixed DER prefix and the point: no d2i, no i2d. */
void ec_point_spki(const uint8_t point[EC_POINT_LEN], uint8_t ret_spki[EC_SPKI_LEN]);
void ec_point_spki_hash(const uint8_t point[EC_POINT_LEN], uint8_t ret_hash[32]);

struct ed25519_key; /* a private key in memory (files of operators, tests) */
MUST_CHECK int ed25519_key_new(struct ed25519_key **ret_key);
/* PEM PKCS#8, unencrypted; the file's mode must not let others read. */
MUST_CHECK int ed25519_key_load(const char *path, struct ed25519_key **ret_key, struct err *err);
MUST_CHECK int ed25519_key_save(const struct ed25519_key *key, const char *path,
                                struct err *err); /* 0600, never over */
MUST_CHECK int ed25519_key_from_seed(const struct secret *seed, struct ed25519_key **ret_key);
void ed25519_key_free(struct ed25519_key *key);
void ed25519_key_public(const struct ed25519_key *key, uint8_t ret_public[ED25519_PUBLIC_LEN]);
MUST_CHECK int ed25519_sign(const struct ed25519_key *key, struct bytes data, uint8_t ret_sig[ED25519_SIGNATURE_LEN]);
MUST_CHECK int ed25519_verify(const uint8_t public[ED25519_PUBLIC_LEN], struct bytes data,
                              struct bytes sig); /* ERR_SIGNATURE */

#endif
