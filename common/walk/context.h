/* context: who hashes what. Every hash of the protocol that has more than one field is made here, at both ends.
 *
 * Fields follow TH's rules: integers u64be, names and ids their UTF-8 bytes, hashes and keys raw, points 65 bytes.
 * Stages and slots count from 1. Source: the design, §4 to §7; this header is its list of fields in order. */
#ifndef ENFILADE_WALK_CONTEXT_H
#define ENFILADE_WALK_CONTEXT_H

#include "common/crypto/ec.h"
#include "common/crypto/hash.h"

#define STAGE_MAX 15
#define SLOT_MAX 16
#define ENVELOPE_ID_LEN 16
#define WALK_ID_LEN 16
#define BIND_LEN 64
#define NONCE_LEN 32
#define SHARE_LEN 32
#define SALT_LEN 32
#define SEALED_LEN 72      /* AES-KW of share ‖ salt */
#define WRAPPED_TAG_LEN 40 /* AES-KW of a 32 byte tag */
#define EXPORTER_LABEL "EXPERIMENTAL-enfilade-v1"

/* eid = SHA-256(SPKI(E)): ec_point_spki_hash(E) */

/* TH("sid", network, eid, client key SPKI hash, client nonce, ch) */
struct sid_fields {
    struct bytes network;
    uint8_t eid[HASH_LEN];
    uint8_t client_key_hash[HASH_LEN]; /* SHA-256 of the SPKI of the client certificate's key */
    uint8_t client_nonce[NONCE_LEN];
    uint8_t chain_hash[HASH_LEN]; /* SHA-256 of the chain text */
};
void context_sid(const struct sid_fields *f, uint8_t ret[HASH_LEN]);

/* first 16 bytes of TH("walk", sid): names a walk in ledgers without naming its session */
void context_walk_id(const uint8_t sid[HASH_LEN], uint8_t ret[WALK_ID_LEN]);

/* TH512("bind", sid, node, SHA-256(kem SPKI), stage, slot, nonce, exporter, SHA-256(client leaf DER),
 *       SHA-256(server leaf SPKI), prevhash) */
struct bind_fields {
    uint8_t sid[HASH_LEN];
    struct bytes node;
    uint8_t kem_hash[HASH_LEN];
    uint64_t stage, slot;
    uint8_t nonce[NONCE_LEN];
    uint8_t exporter[32];
    uint8_t client_leaf_hash[HASH_LEN];
    uint8_t server_key_hash[HASH_LEN];
    uint8_t prevhash[HASH_LEN];
};
void context_bind(const struct bind_fields *f, uint8_t ret[BIND_LEN]);

/* TH("prev", SHA-256(link body) of each link, by stage, then slot); no fields at stage 1. The caller sorts. */
void context_prevhash(const uint8_t (*link_hash)[HASH_LEN], size_t count, uint8_t ret[HASH_LEN]);

/* TH("share", profile, network, owner key, policy name, envelope id, generation, stage, slot) */
struct share_fields {
    uint64_t profile;
    struct bytes network;
    uint8_t owner[ED25519_PUBLIC_LEN];
    struct bytes policy_name;
    uint8_t envelope_id[ENVELOPE_ID_LEN];
    uint64_t generation, stage, slot;
};
void context_share(const struct share_fields *f, uint8_t ret[HASH_LEN]);

/* TH("commitment", envelope id, generation, stage, slot, share, salt) */
void context_commitment(const uint8_t envelope_id[ENVELOPE_ID_LEN], uint64_t generation, uint64_t stage, uint64_t slot,
                        const uint8_t share[SHARE_LEN], const uint8_t salt[SALT_LEN], uint8_t ret[HASH_LEN]);

/* TH("tag", profile, sid, a, b, SHA-256(link body of a)); a, b are node names */
void context_tag(uint64_t profile, const uint8_t sid[HASH_LEN], struct bytes a, struct bytes b,
                 const uint8_t link_hash[HASH_LEN], uint8_t ret[HASH_LEN]);

/* TH("lock", a, node): the 32 bytes that tag_a encrypts (AES-256-CBC, IV 0, no padding) to make lock_a */
void context_lock(struct bytes a, struct bytes node, uint8_t ret[HASH_LEN]);

/* TH("session", profile, node, SHA-256(kem SPKI), stage, slot, sid, prevhash, lock_1, …) in slot order of the previous
 * stage; secret once there are locks */
struct session_fields {
    uint64_t profile;
    struct bytes node;
    uint8_t kem_hash[HASH_LEN];
    uint64_t stage, slot;
    uint8_t sid[HASH_LEN];
    uint8_t prevhash[HASH_LEN];
    size_t lock_count; /* <= SLOT_MAX */
    uint8_t lock[SLOT_MAX][32];
};
void context_session(const struct session_fields *f, uint8_t ret[HASH_LEN]);

/* TH("dek-salt", envelope id, generation) and TH("payload", owner key, envelope id, generation) */
void context_dek_salt(const uint8_t envelope_id[ENVELOPE_ID_LEN], uint64_t generation, uint8_t ret[HASH_LEN]);
void context_payload(const uint8_t owner[ED25519_PUBLIC_LEN], const uint8_t envelope_id[ENVELOPE_ID_LEN],
                     uint64_t generation, uint8_t ret[HASH_LEN]);

#endif
