/* context: the lists of fields, in the order in which they are hashed. */
#include "common/walk/context.h"
#include <assert.h>
#include <string.h>

#define ADD(t, array) th_add((t), BYTES_OF(array)) /* array members of structs */

static void add(struct th *t, const uint8_t *p, size_t len)
{
    th_add(t, BYTES(p, len));
}

void context_sid(const struct sid_fields *f, uint8_t ret[HASH_LEN])
{
    struct th *t = th_begin("sid");
    th_add(t, f->network);
    ADD(t, f->eid);
    ADD(t, f->client_key_hash);
    ADD(t, f->client_nonce);
    ADD(t, f->chain_hash);
    th_finish(t, ret);
}

void context_walk_id(const uint8_t sid[HASH_LEN], uint8_t ret[WALK_ID_LEN])
{
    uint8_t hash[HASH_LEN];
    struct th *t = th_begin("walk");
    add(t, sid, HASH_LEN);
    th_finish(t, hash);
    memcpy(ret, hash, WALK_ID_LEN);
}

void context_bind(const struct bind_fields *f, uint8_t ret[BIND_LEN])
{
    struct th *t = th_begin("bind");
    ADD(t, f->sid);
    th_add(t, f->node);
    ADD(t, f->kem_hash);
    th_add_u64(t, f->stage);
    th_add_u64(t, f->slot);
    ADD(t, f->nonce);
    ADD(t, f->exporter);
    ADD(t, f->client_leaf_hash);
    ADD(t, f->server_key_hash);
    ADD(t, f->prevhash);
    th_finish512(t, ret);
}

void context_prevhash(const uint8_t (*link_hash)[HASH_LEN], size_t count, uint8_t ret[HASH_LEN])
{
    struct th *t = th_begin("prev");
    for (size_t i = 0; i < count; i++)
        add(t, link_hash[i], HASH_LEN);
    th_finish(t, ret);
}

void context_share(const struct share_fields *f, uint8_t ret[HASH_LEN])
{
    struct th *t = th_begin("share");
    th_add_u64(t, f->profile);
    th_add(t, f->network);
    ADD(t, f->owner);
    th_add(t, f->policy_name);
    ADD(t, f->envelope_id);
    th_add_u64(t, f->generation);
    th_add_u64(t, f->stage);
    th_add_u64(t, f->slot);
    th_finish(t, ret);
}

void context_commitment(const uint8_t envelope_id[ENVELOPE_ID_LEN], uint64_t generation, uint64_t stage, uint64_t slot,
                        const uint8_t share[SHARE_LEN], const uint8_t salt[SALT_LEN], uint8_t ret[HASH_LEN])
{
    struct th *t = th_begin("commitment");
    add(t, envelope_id, ENVELOPE_ID_LEN);
    th_add_u64(t, generation);
    th_add_u64(t, stage);
    th_add_u64(t, slot);
    add(t, share, SHARE_LEN);
    add(t, salt, SALT_LEN);
    th_finish(t, ret);
}

void context_tag(uint64_t profile, const uint8_t sid[HASH_LEN], struct bytes a, struct bytes b,
                 const uint8_t link_hash[HASH_LEN], uint8_t ret[HASH_LEN])
{
    struct th *t = th_begin("tag");
    th_add_u64(t, profile);
    add(t, sid, HASH_LEN);
    th_add(t, a);
    th_add(t, b);
    add(t, link_hash, HASH_LEN);
    th_finish(t, ret);
}

void context_lock(struct bytes a, struct bytes node, uint8_t ret[HASH_LEN])
{
    struct th *t = th_begin("lock");
    th_add(t, a);
    th_add(t, node);
    th_finish(t, ret);
}

void context_session(const struct session_fields *f, uint8_t ret[HASH_LEN])
{
    assert(f->lock_count <= SLOT_MAX);
    struct th *t = th_begin("session");
    th_add_u64(t, f->profile);
    th_add(t, f->node);
    ADD(t, f->kem_hash);
    th_add_u64(t, f->stage);
    th_add_u64(t, f->slot);
    ADD(t, f->sid);
    ADD(t, f->prevhash);
    for (size_t i = 0; i < f->lock_count; i++)
        ADD(t, f->lock[i]);
    th_finish(t, ret);
}

void context_dek_salt(const uint8_t envelope_id[ENVELOPE_ID_LEN], uint64_t generation, uint8_t ret[HASH_LEN])
{
    struct th *t = th_begin("dek-salt");
    add(t, envelope_id, ENVELOPE_ID_LEN);
    th_add_u64(t, generation);
    th_finish(t, ret);
}

void context_payload(const uint8_t owner[ED25519_PUBLIC_LEN], const uint8_t envelope_id[ENVELOPE_ID_LEN],
                     uint64_t generation, uint8_t ret[HASH_LEN])
{
    struct th *t = th_begin("payload");
    add(t, owner, ED25519_PUBLIC_LEN);
    add(t, envelope_id, ENVELOPE_ID_LEN);
    th_add_u64(t, generation);
    th_finish(t, ret);
}
