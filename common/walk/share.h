/* share: sealing a share to a node, wrapping it for a session, opening it, and the DEK above all stages.
 *
 * The sealer's, the workload's and (for tests and simulators) the token's side, all in software. */
#ifndef ENFILADE_WALK_SHARE_H
#define ENFILADE_WALK_SHARE_H

#include "common/crypto/shamir.h"
#include "common/walk/derive.h"

/* A sealed share as it stands in the envelope. */
struct sealed_share {
    uint8_t point[EC_POINT_LEN]; /* R */
    uint8_t sealed[SEALED_LEN];  /* AES-KW(derive(r, seal, ctx_share), share ‖ salt) */
    uint8_t commitment[HASH_LEN];
};
/* salt and r are fresh. */
MUST_CHECK int share_seal(const struct share_fields *f, const uint8_t seal_point[EC_POINT_LEN],
                          const struct secret *share, struct sealed_share *ret);
/* The same with a given salt and r: for vectors only, since r must never serve twice. */
MUST_CHECK int share_seal_with(const struct share_fields *f, const uint8_t seal_point[EC_POINT_LEN],
                               const struct secret *share, const uint8_t salt[SALT_LEN], const struct ec_key *r,
                               struct sealed_share *ret);

/* The answer of a node as the workload gets it. Wire form: proto TokenAnswer's share and tags (message.h msg_answer).
 */
/* KEK = derive(e, kem, ctx_session). */
MUST_CHECK int share_kek(const struct ec_key *e, const uint8_t kem_point[EC_POINT_LEN], const struct session_fields *f,
                         struct secret **ret_kek);
/* Unwraps, checks the commitment. ERR_SIGNATURE, ERR_COMMITMENT. */
MUST_CHECK int share_open(const struct secret *kek, struct bytes wrapped /* [72] */, const struct share_fields *f,
                          const uint8_t commitment[HASH_LEN], struct secret **ret_share /* 32 bytes */);
MUST_CHECK int share_open_tag(const struct secret *kek, struct bytes wrapped /* [40] */, struct secret **ret_tag);

/* DEK = HKDF-SHA256(salt = TH("dek-salt", id, generation), ikm = S_1 ‖ … ‖ S_N, info = "enfilade/v1/dek"), 32 bytes */
MUST_CHECK int share_dek(const uint8_t envelope_id[ENVELOPE_ID_LEN], uint64_t generation,
                         struct secret *const *stage_secret, size_t stage_count, struct secret **ret_dek);
/* HKDF-Expand-SHA256(DEK, "enfilade/v1/commit", 32) and HKDF-Expand-SHA256(DEK, "enfilade/v1/payload", 32) */
MUST_CHECK int share_dek_commitment(const struct secret *dek, uint8_t ret[HASH_LEN]);
MUST_CHECK int share_payload_key(const struct secret *dek, struct secret **ret_key);

#endif
