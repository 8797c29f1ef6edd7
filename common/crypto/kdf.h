/* kdf: HKDF (RFC 5869) and the X9.63 KDF, with SHA-256, from secrets to secrets. */
#ifndef ENFILADE_CRYPTO_KDF_H
#define ENFILADE_CRYPTO_KDF_H

#include "common/base/secret.h"

#define KDF_OUT_MAX 8160 /* bytes: HKDF's limit with SHA-256 */

/* Extract and expand. An empty salt is HKDF's "not provided". ERR_TOO_LONG, ERR_NOMEM, ERR_INTERNAL; so the others. */
MUST_CHECK int kdf_hkdf(struct bytes salt, const struct secret *ikm, struct bytes info, size_t len,
                        struct secret **ret_key);
/* Expand only: prk is a uniform key already. */
MUST_CHECK int kdf_hkdf_expand(const struct secret *prk, struct bytes info, size_t len, struct secret **ret_key);
/* SHA-256(z ‖ u32be counter from 1 ‖ shared info) …: ANSI X9.63, SEC 1 §3.6.1, CKD_SHA256_KDF */
MUST_CHECK int kdf_x963(const struct secret *z, struct bytes shared_info, size_t len, struct secret **ret_key);

#endif
