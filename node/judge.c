/* judge: the checks of a Begin, in the order of the design, and those that are made again when documents have changed.
 */
#include "common/base/mutant.h"
#include "common/documents/chain.h"
#include "node/visit_inside.h"
#include <stdlib.h>
#include <string.h>

static struct bytes h(const uint8_t hash[HASH_LEN])
{
    return BYTES(hash, HASH_LEN);
}
/* ---- Begin: documents */

void judge_want(struct wants *w, enum document_type type, struct bytes name, struct bytes hash)
{
    if (w->count < sizeof(w->at) / sizeof(w->at[0]))
        w->at[w->count++] = (struct msg_document_want){bytes_str(document_type_name(type)), name, hash};
}

/* The network-wide documents of which the workload has a newer version than we. */
static void want_newer(struct visit *v, struct wants *w)
{
    static const enum document_type types[] = {DOCUMENT_ROOT, DOCUMENT_ROSTER, DOCUMENT_INVENTORY, DOCUMENT_STATUS};
    const struct msg_begin *b = &v->begin->begin;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const struct document *ours = shelf_find(v->node->shelf, types[i], BYTES_NONE);
        for (size_t j = 0; j < b->versions.count; j++)
            if (bytes_is(b->versions.at[j].type, document_type_name(types[i])) &&
                b->versions.at[j].version > (ours != NULL ? ours->version : 0))
                judge_want(w, types[i], BYTES_NONE, b->versions.at[j].hash);
    }
}

static struct document *hold(const struct node *n, enum document_type type)
{
    struct document *d = shelf_find(n->shelf, type, BYTES_NONE);
    return d != NULL ? document_ref(d) : NULL;
}

static int take_documents(struct visit *v, struct wants *w)
{
    struct node *n = v->node;
    want_newer(v, w);
    const struct chain *c = &v->chain->chain;
    struct document *policy = shelf_find_hash(n->shelf, DOCUMENT_POLICY, c->policy_hash);
    struct document *envelope = shelf_find_hash(n->shelf, DOCUMENT_ENVELOPE, c->envelope_hash);
    if (policy == NULL)
        judge_want(w, DOCUMENT_POLICY, BYTES_NONE, h(c->policy_hash));
    if (envelope == NULL)
        judge_want(w, DOCUMENT_ENVELOPE, BYTES_NONE, h(c->envelope_hash));
    if (w->count > 0)
        return 0;
    v->policy = document_ref(policy);
    v->envelope = document_ref(envelope);
    v->root = hold(n, DOCUMENT_ROOT);
    v->roster = hold(n, DOCUMENT_ROSTER);
    v->inventory = hold(n, DOCUMENT_INVENTORY);
    v->status = hold(n, DOCUMENT_STATUS);
    return mutant("FRESH") ? 0 : shelf_fresh(n->shelf, v->now_ms, &v->err);
}

/* The policy must be the one that the status names: neither an older nor a withdrawn one. */
static int check_policy_current(struct visit *v)
{
    const struct status *s = &v->status->status;
    for (size_t i = 0; i < s->document_count; i++)
        if (s->documents[i].type == DOCUMENT_POLICY && strcmp(s->documents[i].name, v->policy->name) == 0) {
            if (memcmp(s->documents[i].hash, v->policy->hash, HASH_LEN) == 0)
                return v->policy->expires_ms > v->now_ms
                           ? 0
                           : err_set(&v->err, ERR_EXPIRED, "policy %s has expired: issue a new version",
                                     v->policy->name);
            return err_set(&v->err, ERR_STALE, "policy %s of this chain is not the version that the status names",
                           v->policy->name);
        }
    return err_set(&v->err, ERR_POLICY, "policy %s is not named by the status: it is not in force", v->policy->name);
}

static int check_halts(struct visit *v)
{
    if (status_halts(v->status, bytes_str(v->node->config->name), bytes_str(v->policy->name)))
        return err_set(&v->err, ERR_HALTED, "halted by the status document, version %llu",
                       (unsigned long long)v->status->version);
    if (status_revokes(v->status, REVOKED_NODE, bytes_str(v->node->config->name)))
        return err_set(&v->err, ERR_REVOKED, "this node is revoked by the status document");
    if (status_revokes(v->status, REVOKED_CHAIN, h(v->chain->hash)))
        return err_set(&v->err, ERR_REVOKED, "this chain is revoked by the status document");
    if (v->envelope->expires_ms <= v->now_ms)
        return err_set(&v->err, ERR_EXPIRED, "the envelope has expired: seal the secret again");
    return 0;
}

/* Doors open to devices: a certificate under a device CA of the root in force, not under a node's identity. */
static int check_device_ca(struct visit *v)
{
    for (size_t i = 0; i < v->root->root.device_ca_count; i++) {
        uint8_t hash[HASH_LEN];
        sha256(BYTES(v->root->root.device_cas[i].der, v->root->root.device_cas[i].len), hash);
        if (memcmp(hash, v->peer.issuer_hash, HASH_LEN) == 0)
            return 0;
    }
    return err_set(&v->err, ERR_DEVICE, "the certificate was not issued by a device CA of the root document");
}

/* A revoked device is refused also where the policy asks for no device at all. */
static int check_device_revoked(struct visit *v)
{
    v->device = inventory_find_key(v->inventory, v->peer.key_hash);
    if (v->device != NULL && status_revokes(v->status, REVOKED_DEVICE, bytes_str(v->device->id)))
        return err_set(&v->err, ERR_REVOKED, "device %s is revoked by the status document", v->device->id);
    return 0;
}

/* Current, unrevoked, not halted: by the documents that v holds. */
static int check_in_force(struct visit *v)
{
    if (!mutant("CURRENT"))
        TRY(check_policy_current(v));
    if (!mutant("HALTS"))
        TRY(check_halts(v));
    if (!mutant("DEVICE_CA"))
        TRY(check_device_ca(v));
    return check_device_revoked(v);
}

/* Puts the newest documents in the place of those that v holds. */
static void renew(struct visit *v)
{
    const struct {
        enum document_type type;
        struct document **place;
    } held[] = {{DOCUMENT_ROOT, &v->root},
                {DOCUMENT_ROSTER, &v->roster},
                {DOCUMENT_INVENTORY, &v->inventory},
                {DOCUMENT_STATUS, &v->status}};
    for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
        struct document *newest = shelf_find(v->node->shelf, held[i].type, BYTES_NONE);
        if (newest == *held[i].place || newest == NULL)
            continue;
        document_unref(*held[i].place);
        *held[i].place = document_ref(newest);
        v->changed = true;
    }
}

/* Documents may have changed since Begin. Before anything is granted, and once more where the bytes are handed over,
 * everything that can be revoked, halted or expire is judged by what is in force now; no worker job is under way. */
int judge_today(struct visit *v)
{
    struct node *n = v->node;
    bool was_enrolled = v->device != NULL;
    TRY(node_now(n, &v->now_ms, &v->err));
    if (!mutant("FRESH"))
        TRY(shelf_fresh(n->shelf, v->now_ms, &v->err));
    renew(v);
    TRY(check_in_force(v));
    if (was_enrolled && v->device == NULL)
        return err_set(&v->err, ERR_DEVICE, "the device is not enrolled any more");
    if (v->chain->expires_ms <= v->now_ms)
        return err_set(&v->err, ERR_EXPIRED, "the chain's not_after has passed");
    return 0;
}

/* Stage and slot must be mine in chain, policy and envelope alike. */
static int find_place(struct visit *v)
{
    const struct msg_begin *b = &v->begin->begin;
    const struct chain *c = &v->chain->chain;
    const struct envelope *e = &v->envelope->envelope;
    if (b->stage == 0 || b->stage > c->stage_count || b->stage > e->stage_count ||
        b->stage > v->policy->policy.stage_count)
        return err_set(&v->err, ERR_STAGE, "there is no stage %llu", (unsigned long long)b->stage);
    const struct chain_stage *cs = &c->stages[b->stage - 1];
    bool listed = false;
    for (size_t i = 0; i < cs->count; i++)
        listed = listed || (cs->members[i].slot == b->slot && strcmp(cs->members[i].node, v->node->config->name) == 0);
    const struct envelope_stage *es = &e->stages[b->stage - 1];
    for (size_t i = 0; i < es->count; i++)
        if (es->members[i].slot == b->slot && strcmp(es->members[i].node, v->node->config->name) == 0)
            v->member = &es->members[i];
    if (v->member == NULL && mutant("PLACE"))
        v->member = &es->members[0];
    else if (!listed || v->member == NULL)
        return err_set(&v->err, ERR_STAGE, "stage %llu slot %llu is not this node's", (unsigned long long)b->stage,
                       (unsigned long long)b->slot);
    if (memcmp(v->member->seal, v->node->keys.seal, EC_POINT_LEN) != 0 || v->member->profile != v->node->keys.profile)
        return err_set(&v->err, ERR_STAGE, "the envelope was sealed to another key of this node: seal it again");
    v->stage = &v->policy->policy.stages[b->stage - 1];
    return 0;
}

/* E: a valid point, and no key of the network: a node must never be asked to derive with another node. */
static int check_session_key(struct visit *v)
{
    const struct msg_begin *b = &v->begin->begin;
    if (b->session_key.len != EC_POINT_LEN || (ec_point_check(b->session_key) != 0 && !mutant("POINT")))
        return err_set(&v->err, ERR_SESSION_KEY, "E is not an uncompressed point on P-256");
    const struct roster *r = &v->roster->roster;
    for (size_t i = 0; i < r->count && !mutant("NETWORK_KEYS"); i++) {
        const struct roster_node *o = &r->nodes[i];
        if (memcmp(o->kem, b->session_key.p, EC_POINT_LEN) == 0 ||
            memcmp(o->seal, b->session_key.p, EC_POINT_LEN) == 0 ||
            memcmp(o->peer, b->session_key.p, EC_POINT_LEN) == 0)
            return err_set(&v->err, ERR_SESSION_KEY, "E is a key of node %s", o->name);
    }
    return 0;
}

static int make_sid(struct visit *v)
{
    const struct msg_begin *b = &v->begin->begin;
    if (b->client_nonce.len != NONCE_LEN)
        return err_set(&v->err, ERR_FORMAT, "the client nonce has %zu bytes, not %d", b->client_nonce.len, NONCE_LEN);
    struct sid_fields f = {.network = bytes_str(v->node->config->network)};
    ec_point_spki_hash(b->session_key.p, v->eid);
    memcpy(f.eid, v->eid, HASH_LEN);
    memcpy(f.client_key_hash, v->peer.key_hash, HASH_LEN);
    memcpy(f.client_nonce, b->client_nonce.p, NONCE_LEN);
    memcpy(f.chain_hash, v->chain->hash, HASH_LEN);
    context_sid(&f, v->sid);
    context_walk_id(v->sid, v->walk_id);
    grant_key(v->sid, b->stage, b->slot, v->grant_key);
    v->has_sid = true;
    return 0;
}
/* ---- chain and links */

struct stage_views { /* links_expect's arrays, sized by the chain */
    struct link_stage stage[STAGE_MAX];
    struct link_member member[STAGE_MAX * SLOT_MAX];
};

static void expect_links(struct visit *v, struct stage_views *s, struct links_expect *x)
{
    const struct chain *c = &v->chain->chain;
    size_t used = 0;
    for (size_t i = 0; i + 1 < v->begin->begin.stage; i++) {
        s->stage[i] = (struct link_stage){.need = c->stages[i].need, .members = &s->member[used]};
        for (size_t j = 0; j < c->stages[i].count && used < STAGE_MAX * SLOT_MAX; j++, used++) {
            const struct roster_node *o = roster_find(v->roster, bytes_str(c->stages[i].members[j].node));
            bool revoked = !mutant("REVOKED_NODE") &&
                           status_revokes(v->status, REVOKED_NODE, bytes_str(c->stages[i].members[j].node));
            s->member[used] = (struct link_member){.slot = c->stages[i].members[j].slot,
                                                   .node = bytes_str(c->stages[i].members[j].node),
                                                   .log = o != NULL && !revoked ? &o->log : NULL};
            s->stage[i].count++;
        }
    }
    *x = (struct links_expect){.network = bytes_str(v->node->config->network),
                               .generation = v->envelope->envelope.generation,
                               .now_ms = v->now_ms,
                               .skew_ms = NODE_SKEW_MS,
                               .stages = s->stage,
                               .stage_count = v->begin->begin.stage - 1};
    memcpy(x->sid, v->sid, HASH_LEN);
    memcpy(x->eid, v->eid, HASH_LEN);
    memcpy(x->chain_hash, v->chain->hash, HASH_LEN);
    memcpy(x->policy_hash, v->policy->hash, HASH_LEN);
    memcpy(x->envelope_hash, v->envelope->hash, HASH_LEN);
}

int judge_chain(struct visit *v)
{
    struct chain_world w = {.policy = v->policy, .envelope = v->envelope, .roster = v->roster, .status = v->status};
    return mutant("CHAIN") ? 0 : chain_check(&w, v->chain, v->now_ms, &v->err);
}

int judge_links(struct visit *v)
{
    struct stage_views *views = calloc(1, sizeof(*views));
    if (views == NULL)
        return err_set(&v->err, ERR_NOMEM, "out of memory");
    struct links_expect x;
    expect_links(v, views, &x);
    int rc = links_check(&x, v->begin->begin.links.at, v->begin->begin.links.count, v->seen, &v->err);
    if (rc != 0 && v->err.code == 0)
        (void)err_set(&v->err, ERR_LINK, "the links do not hold");
    free(views);
    return rc;
}
/* ---- Begin; between these two the chain is parsed in a worker, since a hostile one takes milliseconds */

int judge_begin(struct visit *v)
{
    const struct msg_begin *b = &v->begin->begin;
    struct node *n = v->node;
    TRY(node_now(n, &v->now_ms, &v->err));
    if (!bytes_is(b->network, n->config->network) && !mutant("NETWORK_NAME"))
        return err_set(&v->err, ERR_CONFIG, "the request is for another network");
    if (!bytes_is(b->node, n->config->name) && !mutant("NODE_NAME"))
        return err_set(&v->err, ERR_IDENTITY, "the request is for another node");
    if (v->peer.not_after_ms <= v->now_ms)
        return err_set(&v->err, ERR_TLS, "the device's certificate has expired");
    return 0;
}

int judge_documents(struct visit *v, struct wants *w)
{
    struct node *n = v->node;
    if (v->chain->type != DOCUMENT_CHAIN || strcmp(v->chain->network, n->config->network) != 0)
        return err_set(&v->err, ERR_CHAIN, "the chain is not a chain of this network");
    TRY(take_documents(v, w));
    if (w->count > 0)
        return 0;
    TRY(check_in_force(v));
    TRY(find_place(v));
    TRY(check_session_key(v));
    return make_sid(v);
}
