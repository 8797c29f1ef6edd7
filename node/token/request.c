/* request: is this release request exactly what the chain allows? */
#include "node/token/request.h"
#include "common/documents/document.h"
#include <string.h>

static int take(struct bytes from, uint8_t *ret, size_t len, const char *field, struct err *err)
{
    if (from.len != len)
        return err_set(err, ERR_FORMAT, "%s has %zu bytes instead of %zu", field, from.len, len);
    memcpy(ret, from.p, len);
    return 0;
}

static int take_point(struct bytes from, uint8_t *ret, int code, const char *field, struct err *err)
{
    if (from.len != EC_POINT_LEN || ec_point_check(from) != 0)
        return err_set(err, code, "%s is not an uncompressed point on P-256", field);
    memcpy(ret, from.p, EC_POINT_LEN);
    return 0;
}

static const struct chain_member *member_at(const struct chain_stage *stage, uint64_t slot)
{
    for (size_t i = 0; i < stage->count; i++)
        if (stage->members[i].slot == slot)
            return &stage->members[i];
    return NULL;
}

/* Peers must be listed (slot, node) pairs of `stage`, in slot order, each once. */
static int check_peers(const struct msg_token_peer *at, size_t count, const struct chain_stage *stage,
                       const struct request_self *self, int code, struct neighbour *ret, struct err *err)
{
    uint64_t last = 0;
    for (size_t i = 0; i < count; i++) {
        const struct chain_member *member = member_at(stage, at[i].slot);
        if (at[i].slot <= last)
            return err_set(err, code, "stage %s: slots are not in ascending order", stage->name);
        if (member == NULL || !bytes_is(at[i].node, member->node))
            return err_set(err, code, "stage %s: the chain lists no such member in slot %llu", stage->name,
                           (unsigned long long)at[i].slot);
        if (bytes_equal(at[i].node, self->node))
            return err_set(err, code, "stage %s: this node is its own neighbour", stage->name);
        ret[i].node = at[i].node;
        ret[i].slot = last = at[i].slot;
        TRY(take_point(at[i].point, ret[i].point, code, "the peer key of a neighbour", err));
        if (memcmp(ret[i].point, self->peer, EC_POINT_LEN) == 0)
            return err_set(err, code, "stage %s: %s has this node's peer key", stage->name, member->node);
    }
    return 0;
}

/* Exactly `need` of the stage before, from the chain and never from the links; the tag that each of them minted for us.
 */
static int check_previous(const struct msg_token_release *m, const struct chain *chain, const struct request_self *self,
                          struct release *r, struct err *err)
{
    const struct chain_stage *stage = m->stage > 1 ? &chain->stages[m->stage - 2] : NULL;
    size_t need = stage != NULL ? stage->need : 0;
    if (m->previous.count != need || need > SLOT_MAX)
        return err_set(err, ERR_LINK, "%zu locks of the stage before instead of %zu", m->previous.count, need);
    if (stage == NULL)
        return 0;
    TRY(check_peers(m->previous.at, need, stage, self, ERR_LINK, r->previous, err));
    r->previous_count = need;
    for (size_t i = 0; i < need; i++) {
        uint8_t link_hash[HASH_LEN];
        TRY(take(m->previous.at[i].link_hash, link_hash, HASH_LEN, "the link hash of a member before", err));
        context_tag(m->tag_profile, r->session.sid, r->previous[i].node, self->node, link_hash, r->previous[i].ctx_tag);
    }
    return 0;
}

/* At stages 1 and 2 everything that prevhash covers is known here. */
static int check_prevhash(const struct msg_token_release *m, const struct release *r, struct err *err)
{
    if (m->stage > 2)
        return 0;
    uint8_t hash[SLOT_MAX][HASH_LEN], want[HASH_LEN];
    for (size_t i = 0; i < r->previous_count; i++)
        memcpy(hash[i], m->previous.at[i].link_hash.p, HASH_LEN);
    context_prevhash((const uint8_t(*)[HASH_LEN])hash, r->previous_count, want);
    if (memcmp(want, r->session.prevhash, HASH_LEN) != 0)
        return err_set(err, ERR_LINK, "prevhash does not belong to the links before");
    return 0;
}

/* Exactly the listed members of the stage after; the tag that we mint for each. */
static int check_next(const struct msg_token_release *m, const struct chain *chain, const struct request_self *self,
                      struct release *r, struct err *err)
{
    const struct chain_stage *stage = m->stage < chain->stage_count ? &chain->stages[m->stage] : NULL;
    size_t count = stage != NULL ? stage->count : 0;
    if (m->next.count != count || count > SLOT_MAX)
        return err_set(err, ERR_CHAIN, "%zu members of the stage after instead of %zu", m->next.count, count);
    if (stage == NULL)
        return 0;
    TRY(check_peers(m->next.at, count, stage, self, ERR_CHAIN, r->next, err));
    r->next_count = count;
    uint8_t link_hash[HASH_LEN];
    TRY(take(m->link_hash, link_hash, HASH_LEN, "link_hash", err));
    for (size_t i = 0; i < count; i++)
        context_tag(m->tag_profile, r->session.sid, self->node, r->next[i].node, link_hash, r->next[i].ctx_tag);
    return 0;
}

static int check_place(const struct msg_token_release *m, const struct document *chain, const struct request_self *self,
                       struct err *err)
{
    if (!bytes_is(self->network, chain->network))
        return err_set(err, ERR_NETWORK, "the chain is of network %s", chain->network);
    if (m->stage < 1 || m->stage > chain->chain.stage_count || m->stage > STAGE_MAX)
        return err_set(err, ERR_STAGE, "the chain has no stage %llu", (unsigned long long)m->stage);
    const struct chain_member *member = member_at(&chain->chain.stages[m->stage - 1], m->slot);
    if (member == NULL || !bytes_is(self->node, member->node))
        return err_set(err, ERR_STAGE, "slot %llu of stage %llu is not this node's", (unsigned long long)m->slot,
                       (unsigned long long)m->stage);
    return 0;
}

static int take_session_key(const struct msg_token_release *m, const struct request_self *self, struct release *r,
                            struct err *err)
{
    TRY(take_point(m->session_key, r->session_key, ERR_SESSION_KEY, "the session key", err));
    if (memcmp(r->session_key, self->kem, EC_POINT_LEN) == 0 || memcmp(r->session_key, self->seal, EC_POINT_LEN) == 0 ||
        memcmp(r->session_key, self->peer, EC_POINT_LEN) == 0)
        return err_set(err, ERR_SESSION_KEY, "the session key is one of this node's keys");
    return 0;
}

static int take_share(const struct msg_token_release *m, const struct request_self *self, struct release *r,
                      struct err *err)
{
    struct share_fields share = {
        .profile = self->profile,
        .network = self->network,
        .policy_name = m->policy_name,
        .generation = m->generation,
        .stage = m->stage,
        .slot = m->slot,
    };
    TRY(take(m->owner, share.owner, ED25519_PUBLIC_LEN, "owner", err));
    TRY(take(m->envelope_id, share.envelope_id, ENVELOPE_ID_LEN, "envelope_id", err));
    if (!name_ok(m->policy_name))
        return err_set(err, ERR_FORMAT, "policy_name is not a name");
    TRY(take_point(m->point, r->point, ERR_FORMAT, "the point of the sealed share", err));
    TRY(take(m->sealed, r->sealed, SEALED_LEN, "sealed", err));
    context_share(&share, r->ctx_share);
    return 0;
}

static int take_session(const struct msg_token_release *m, const struct request_self *self, struct release *r,
                        struct err *err)
{
    struct sid_fields sid = {.network = self->network};
    ec_point_spki_hash(r->session_key, sid.eid);
    TRY(take(m->client_key_hash, sid.client_key_hash, HASH_LEN, "client_key_hash", err));
    TRY(take(m->client_nonce, sid.client_nonce, NONCE_LEN, "client_nonce", err));
    sha256(m->chain, sid.chain_hash);
    r->session =
        (struct session_fields){.profile = self->profile, .node = self->node, .stage = m->stage, .slot = m->slot};
    context_sid(&sid, r->session.sid);
    ec_point_spki_hash(self->kem, r->session.kem_hash);
    return take(m->prevhash, r->session.prevhash, HASH_LEN, "prevhash", err);
}

static int check(const struct msg_token_release *m, const struct document *chain, const struct request_self *self,
                 struct release *r, struct err *err)
{
    TRY(check_place(m, chain, self, err));
    TRY(take_session_key(m, self, r, err));
    TRY(take_share(m, self, r, err));
    TRY(take_session(m, self, r, err));
    TRY(check_previous(m, &chain->chain, self, r, err));
    TRY(check_prevhash(m, r, err));
    return check_next(m, &chain->chain, self, r, err);
}

int request_check(const struct msg_token_release *m, const struct request_self *self, struct release *ret,
                  struct err *err)
{
    if (m->tag_profile != self->profile)
        return err_set(err, ERR_VERSION, "tag profile %llu is not this token's", (unsigned long long)m->tag_profile);
    if (m->chain.len > CHAIN_MAX)
        return err_set(err, ERR_TOO_LONG, "the chain is longer than %u bytes", CHAIN_MAX);
    struct document *chain = NULL;
    TRY(document_parse(m->chain, "chain", &chain, err));
    int rc = chain->type == DOCUMENT_CHAIN ? 0 : err_set(err, ERR_FORMAT, "the chain is another document");
    struct release r;
    memset(&r, 0, sizeof(r));
    if (rc == 0)
        rc = check(m, chain, self, &r, err);
    document_unref(chain);
    if (rc == 0)
        *ret = r;
    return rc;
}
