/* derive: derive(key, point, ctx) in software, the counterpart of the token's operation, for each HSM profile.
 *
 *   1  ECDH (raw x) → AES-256-CBC(key x, IV 0, ctx), 32 bytes: CKD_NULL, CKM_AES_CBC_ENCRYPT_DATA (SoftHSM, nShield)
 *   2  ECDH → X9.63 KDF with SHA-256, shared info = ctx: CKD_SHA256_KDF
 *   3  ECDH → HKDF-SHA256(no salt, info = ctx): CKM_HKDF_DERIVE
 */
#ifndef ENFILADE_WALK_DERIVE_H
#define ENFILADE_WALK_DERIVE_H

#include "common/crypto/ec.h"
#include "common/walk/context.h"

#define DERIVE_PROFILE_MIN 1
#define DERIVE_PROFILE_MAX 3

/* ret_key: 32 bytes. ERR_VERSION for an unknown profile, ERR_FORMAT for a bad point. */
MUST_CHECK int derive(uint64_t profile, const struct ec_key *key, struct bytes point, const uint8_t ctx[HASH_LEN],
                      struct secret **ret_key);
/* lock = AES-256-CBC(tag, IV 0, context_lock(a, node)) */
MUST_CHECK int derive_lock(const struct secret *tag, struct bytes a, struct bytes node, uint8_t ret_lock[32]);

#endif
