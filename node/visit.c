/* visit: the state machine of one workload's visit. */
#include "node/visit.h"
#include "common/base/mutant.h"
#include "common/documents/chain.h"
#include "common/evidence/evidence.h"
#include "common/ledger/links.h"
#include "node/denial.h"
#include "node/grant.h"
#include "node/quota.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX 4096u
#define TOKEN_DEADLINE_MS 3000u
#define RETRY_AFTER_MS 250u
#define REFUSED_RETRY_MS 1000u

enum state { JUDGING, CHALLENGED, APPRAISING, LOOKING, ASKING, WRITING, REISSUING, REFUSING };

struct visit {
    struct node *node;
    const struct visit_io *io;
    void *arg; /* io's */
    bool detached, has_sid;
    bool changed; /* documents in force are others than those that chain and links were judged by */
    struct visit_peer peer;
    enum state state;
    struct err err; /* of the step under way */
    uint64_t now_ms, challenged_ms;

    struct message *begin, *attest;
    struct document *chain, *root, *roster, *inventory, *status, *policy, *envelope;
    const struct policy_stage *stage;     /* of policy */
    const struct envelope_member *member; /* of envelope: this node */
    const struct device *device;          /* of inventory, or NULL */
    uint8_t sid[HASH_LEN], eid[HASH_LEN], walk_id[WALK_ID_LEN];
    uint8_t nonce[NONCE_LEN], exporter[32];
    struct links_seen *seen;
    struct appraise_verdict *verdict;
    struct appraise_evidence evidence[APPRAISE_EVIDENCE_MAX];

    struct worker_job job;
    struct grant grant; /* found, or being made */
    struct message *grant_owner;
    uint8_t grant_key[GRANT_KEY_LEN];
    bool grant_found;
    struct quota_used quota_used; /* when the answer is ERR_QUOTA */
    struct buf link_body, answer;
    uint8_t link_hash[HASH_LEN], response_hash[HASH_LEN], commit[3][HASH_LEN], salt[SALT_LEN];
    struct log_append append;
    struct visit *next, *previous; /* node->visits */
};

static struct bytes h(const uint8_t hash[HASH_LEN])
{
    return BYTES(hash, HASH_LEN);
}

static struct visit *visit_of(struct worker_job *job)
{
    return (struct visit *)((char *)job - offsetof(struct visit, job));
}

/* ---- life and answers */

static void link_in(struct visit *v)
{
    v->next = v->node->visits;
    if (v->next != NULL)
        v->next->previous = v;
    v->node->visits = v;
}

static void unlink_it(struct visit *v)
{
    if (v->previous != NULL)
        v->previous->next = v->next;
    else
        v->node->visits = v->next;
    if (v->next != NULL)
        v->next->previous = v->previous;
}

static void visit_free(struct visit *v)
{
    unlink_it(v);
    struct document *held[] = {v->chain, v->root, v->roster, v->inventory, v->status, v->policy, v->envelope};
    for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++)
        document_unref(held[i]);
    message_free(v->begin);
    message_free(v->attest);
    message_free(v->grant_owner);
    buf_done(&v->link_body);
    buf_done(&v->answer);
    free(v->seen);
    free(v->verdict);
    free(v);
}

static void finish(struct visit *v)
{
    const struct visit_io *io = v->detached ? NULL : v->io;
    void *arg = v->arg;
    visit_free(v);
    if (io != NULL)
        io->finished(arg);
}

static void send_and_finish(struct visit *v, const struct message *m)
{
    if (!v->detached)
        v->io->send(v->arg, m);
    finish(v);
}

static uint64_t retry_after(const struct visit *v)
{
    if (v->err.code == ERR_QUOTA && v->quota_used.end_ms > v->now_ms)
        return v->quota_used.end_ms - v->now_ms;
    return err_advice(v->err.code) == ADVICE_HERE ? REFUSED_RETRY_MS : 0;
}

static void on_refused(void *arg, struct bytes denial_id)
{
    struct visit *v = arg;
    struct message m = {
        .type = MESSAGE_DENY,
        .deny = {.code = err_wire(v->err.code), .denial_id = denial_id, .retry_after_ms = retry_after(v)}};
    send_and_finish(v, &m);
}

static void refuse(struct visit *v)
{
    assert(v->err.code != 0);
    v->state = REFUSING;
    struct denial_facts f = {.why = &v->err,
                             .address = v->peer.address,
                             .address_text = v->peer.address_text,
                             .device = v->device != NULL ? v->device->id : "",
                             .stage = v->begin->begin.stage,
                             .slot = v->begin->begin.slot,
                             .walk_id = v->has_sid ? v->walk_id : NULL,
                             .policy_hash = v->policy != NULL ? v->policy->hash : NULL,
                             .verdict = v->verdict};
    denial_write(v->node->denials, &f, on_refused, v);
}

/* Some checks give a code alone. */
static void refuse_with(struct visit *v, int code)
{
    if (v->err.code == 0)
        (void)err_set(&v->err, code, "%s", err_advice_text(code));
    refuse(v);
}

static void busy(struct visit *v)
{
    v->node->counters.busy++;
    struct message m = {.type = MESSAGE_BUSY, .busy = {.retry_after_ms = RETRY_AFTER_MS}};
    send_and_finish(v, &m);
}

/* ---- Begin: documents */

struct wants {
    struct msg_document_want at[8];
    size_t count;
};

static void want(struct wants *w, enum document_type type, struct bytes name, struct bytes hash)
{
    if (w->count < sizeof(w->at) / sizeof(w->at[0]))
        w->at[w->count++] = (struct msg_document_want){bytes_str(document_type_name(type)), name, hash};
}

static void need_documents(struct visit *v, const struct wants *w)
{
    struct message m = {.type = MESSAGE_NEED_DOCUMENTS};
    m.need_documents.wants.at = (struct msg_document_want *)w->at;
    m.need_documents.wants.count = w->count;
    send_and_finish(v, &m);
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
                want(w, types[i], BYTES_NONE, b->versions.at[j].hash);
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
        want(w, DOCUMENT_POLICY, BYTES_NONE, h(c->policy_hash));
    if (envelope == NULL)
        want(w, DOCUMENT_ENVELOPE, BYTES_NONE, h(c->envelope_hash));
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
    if (v->device != NULL && status_revokes(v->status, REVOKED_DEVICE, bytes_str(v->device->id)) &&
        !mutant("REVOKED_DEVICE"))
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
static int check_today(struct visit *v)
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

/* ---- Begin: chain and links, in a worker */

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

static int judge_chain(struct visit *v)
{
    struct chain_world w = {.policy = v->policy, .envelope = v->envelope, .roster = v->roster, .status = v->status};
    return mutant("CHAIN") ? 0 : chain_check(&w, v->chain, v->now_ms, &v->err);
}

static int judge_links(struct visit *v)
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

static void judge_run(struct worker_job *job)
{
    struct visit *v = visit_of(job);
    if (judge_chain(v) == 0)
        (void)!judge_links(v);
}

static void challenge(struct visit *v)
{
    struct node *n = v->node;
    struct msg_factor factors[APPRAISE_LEAVES_MAX];
    char names[APPRAISE_LEAVES_MAX][80];
    struct message m = {.type = MESSAGE_CHALLENGE, .challenge = {.ttl_ms = NODE_CHALLENGE_TTL_MS}};
    size_t count = 0;
    if (n->rng.fill(n->rng.arg, v->nonce, NONCE_LEN) != 0 || v->detached ||
        v->io->exporter(v->arg, v->nonce, v->exporter) != 0 ||
        appraise_names(&v->stage->factors, names, APPRAISE_LEAVES_MAX, &count) != 0) {
        (void)err_set(&v->err, ERR_INTERNAL, "no challenge could be made");
        refuse(v);
        return;
    }
    for (size_t i = 0; i < count; i++)
        factors[i] = (struct msg_factor){bytes_str(names[i])};
    struct document *docs[] = {v->root, v->roster, v->inventory, v->status, v->policy, v->envelope};
    struct msg_document_version versions[6];
    for (size_t i = 0; i < 6; i++)
        versions[i] = (struct msg_document_version){bytes_str(document_type_name(docs[i]->type)),
                                                    bytes_str(docs[i]->name), docs[i]->version, h(docs[i]->hash)};
    m.challenge.nonce = BYTES_OF(v->nonce);
    m.challenge.factors.at = factors;
    m.challenge.factors.count = count;
    m.challenge.versions.at = versions;
    m.challenge.versions.count = 6;
    v->state = CHALLENGED;
    v->challenged_ms = n->clock.monotonic_ms(n->clock.arg);
    n->counters.challenges++;
    v->io->send(v->arg, &m);
}

static void judge_done(struct worker_job *job, bool cancelled)
{
    struct visit *v = visit_of(job);
    if (cancelled)
        (void)err_set(&v->err, ERR_CLOSED, "the node is stopping");
    if (v->detached) {
        finish(v);
        return;
    }
    if (v->err.code != 0) {
        refuse(v);
        return;
    }
    struct wants w = {.count = 0}; /* links made under newer documents than ours: fetch those first */
    if (v->seen->roster_version > v->roster->version)
        want(&w, DOCUMENT_ROSTER, BYTES_NONE, BYTES_NONE);
    if (v->seen->status_version > v->status->version)
        want(&w, DOCUMENT_STATUS, BYTES_NONE, BYTES_NONE);
    if (w.count > 0)
        need_documents(v, &w);
    else
        challenge(v);
}

/* ---- Begin, in the design's order; the chain is parsed in a worker, since a hostile one takes milliseconds */

static int judge_begin(struct visit *v)
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

/* 0 with *w filled means: documents are needed first. */
static int judge_documents(struct visit *v, struct wants *w)
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

int visit_start(struct node *n, const struct visit_peer *peer, const struct visit_io *io, void *arg,
                struct message *begin, struct visit **ret)
{
    struct visit *v = calloc(1, sizeof(*v));
    struct links_seen *seen = calloc(1, sizeof(*seen));
    if (v == NULL || seen == NULL) {
        free(v);
        free(seen);
        message_free(begin);
        return ERR_NOMEM;
    }
    *v = (struct visit){.node = n, .io = io, .arg = arg, .peer = *peer, .state = JUDGING, .begin = begin, .seen = seen};
    buf_init(&v->link_body, LINK_BODY_MAX);
    buf_init(&v->answer, ANSWER_MAX);
    link_in(v);
    n->counters.begins++;
    *ret = v;
    return 0;
}

static void submit(struct visit *v, struct worker_pool *pool, void (*run)(struct worker_job *job),
                   void (*done)(struct worker_job *job, bool cancelled))
{
    v->job = (struct worker_job){.run = run, .done = done};
    if (worker_submit(pool, &v->job) != 0)
        busy(v);
}

static void parse_run(struct worker_job *job)
{
    struct visit *v = visit_of(job);
    (void)!document_parse(v->begin->begin.chain, "chain", &v->chain, &v->err);
}

static void parse_done(struct worker_job *job, bool cancelled)
{
    struct visit *v = visit_of(job);
    struct wants w = {.count = 0};
    if (cancelled)
        (void)err_set(&v->err, ERR_CLOSED, "the node is stopping");
    if (v->detached) {
        finish(v);
        return;
    }
    int rc = v->err.code == 0 ? judge_documents(v, &w) : v->err.code;
    if (rc != 0)
        refuse_with(v, rc);
    else if (w.count > 0)
        need_documents(v, &w);
    else
        submit(v, v->node->workers, judge_run, judge_done);
}

void visit_judge(struct visit *v)
{
    int rc = judge_begin(v);
    if (rc != 0)
        refuse_with(v, rc);
    else
        submit(v, v->node->workers, parse_run, parse_done);
}

bool visit_is_challenged(const struct visit *v)
{
    return v->state == CHALLENGED;
}

void visit_detach(struct visit *v)
{
    v->detached = true;
    if (v->state == CHALLENGED)
        finish(v);
}

/* ---- Attest: bind, evidence, factors, in a worker */

static void make_bind(const struct visit *v, uint8_t ret[BIND_LEN])
{
    struct bind_fields f = {
        .node = bytes_str(v->node->config->name), .stage = v->begin->begin.stage, .slot = v->begin->begin.slot};
    memcpy(f.sid, v->sid, HASH_LEN);
    memcpy(f.kem_hash, v->node->keys.kem_hash, HASH_LEN);
    memcpy(f.nonce, v->nonce, NONCE_LEN);
    memcpy(f.exporter, v->exporter, sizeof(f.exporter));
    memcpy(f.client_leaf_hash, v->peer.leaf_hash, HASH_LEN);
    memcpy(f.server_key_hash, v->peer.own_key_hash, HASH_LEN);
    memcpy(f.prevhash, v->seen->prevhash, HASH_LEN);
    context_bind(&f, ret);
}

static void verify_one(const struct visit *v, const struct msg_evidence *in, const uint8_t bind[BIND_LEN],
                       struct appraise_evidence *out)
{
    struct err err = {.code = 0};
    out->format = evidence_find(in->format);
    if (out->format == NULL)
        out->code = ERR_EVIDENCE;
    else if (in->data.len > EVIDENCE_MAX)
        out->code = err_set(&err, ERR_TOO_LONG, "more than %u bytes", EVIDENCE_MAX);
    else
        out->code = out->format->verify(in->data, v->now_ms, &out->claims, &err);
    if (out->code != 0 && out->code != ERR_BIND) {
        out->code = ERR_EVIDENCE; /* whatever was wrong with it: to the workload it is evidence that does not do */
        (void)snprintf(out->why, sizeof(out->why), "%.255s", err.code != 0 ? err.text : "malformed");
        return;
    }
    if (!mutant("BIND") && evidence_check_bind(out->format, &out->claims, bind) != 0) {
        out->code = ERR_BIND;
        (void)snprintf(out->why, sizeof(out->why), "made for another session, node, connection or challenge");
    }
}

static void appraise_run(struct worker_job *job)
{
    struct visit *v = visit_of(job);
    const struct msg_attest *a = &v->attest->attest;
    uint8_t bind[BIND_LEN];
    make_bind(v, bind);
    size_t count = a->evidence.count;
    if (v->changed && (judge_chain(v) != 0 || judge_links(v) != 0))
        return;
    v->changed = false;
    if (count > APPRAISE_EVIDENCE_MAX) {
        (void)err_set(&v->err, ERR_EVIDENCE, "more than %d pieces of evidence", APPRAISE_EVIDENCE_MAX);
        return;
    }
    for (size_t i = 0; i < count; i++)
        verify_one(v, &a->evidence.at[i], bind, &v->evidence[i]);
    struct appraise_facts f = {.device = v->device,
                               .device_key = v->peer.key_hash,
                               .now_ms = v->now_ms,
                               .evidence = v->evidence,
                               .evidence_count = count};
    memcpy(f.address, v->peer.address, sizeof(f.address));
    if (appraise(&v->stage->factors, &f, v->verdict) != 0)
        (void)err_set(&v->err, ERR_POLICY, "the policy's factors cannot be judged");
    else if (v->verdict->code != 0)
        (void)err_set(&v->err, v->verdict->code, "stage %s: %s", v->stage->name, err_advice_text(v->verdict->code));
}

static void look_up(struct visit *v);

static bool has_twin(const struct visit *v)
{
    for (const struct visit *o = v->node->visits; o != NULL && !mutant("ONCE"); o = o->next)
        if (o != v && o->state > APPRAISING && o->state < REFUSING &&
            memcmp(o->grant_key, v->grant_key, GRANT_KEY_LEN) == 0)
            return true;
    return false;
}

static void appraise_done(struct worker_job *job, bool cancelled)
{
    struct visit *v = visit_of(job);
    if (cancelled)
        (void)err_set(&v->err, ERR_CLOSED, "the node is stopping");
    if (v->detached)
        finish(v);
    else if (v->err.code != 0)
        refuse(v);
    else if (has_twin(v))
        busy(v);
    else
        look_up(v);
}

void visit_attest(struct visit *v, struct message *attest)
{
    assert(v->state == CHALLENGED);
    struct node *n = v->node;
    v->state = APPRAISING;
    v->attest = attest;
    v->verdict = calloc(1, sizeof(*v->verdict));
    if (v->verdict == NULL)
        (void)err_set(&v->err, ERR_NOMEM, "out of memory");
    else if (n->clock.monotonic_ms(n->clock.arg) - v->challenged_ms > NODE_CHALLENGE_TTL_MS)
        (void)err_set(&v->err, ERR_NONCE, "the challenge's time is over");
    else if (check_today(v) == 0 && v->stage->audit == AUDIT_CONFIRMED && !mutant("QUORUM"))
        (void)err_set(&v->err, ERR_QUORUM, "the policy asks for confirmed entries and this network has no mirrors");
    if (v->err.code != 0)
        refuse(v);
    else
        submit(v, n->workers, appraise_run, appraise_done);
}

/* ---- the grant: is there one? */

/* ---- quota: looked at before the token works, taken with the grant */

static struct quota_facts quota_facts(const struct visit *v)
{
    return (struct quota_facts){.policy = v->policy,
                                .envelope = v->envelope,
                                .stage = v->begin->begin.stage,
                                .device = v->device,
                                .device_key = v->peer.key_hash};
}

/* For the operator: which of the verdict's quotas it was. They stand in the order of the policy. */
static void explain_quota(struct visit *v)
{
    const struct factor *top = &v->stage->factors, *at = v->quota_used.factor;
    size_t nth = 0;
    char end[CLOCK_TEXT_LEN + 1];
    if (v->err.code != ERR_QUOTA || at == NULL)
        return;
    for (size_t i = 0; i < top->child_count && &top->children[i] != at; i++)
        nth += top->children[i].kind == FACTOR_QUOTA;
    for (size_t i = 0; i < v->verdict->count; i++) {
        struct appraise_leaf *leaf = &v->verdict->leaf[i];
        if (strcmp(leaf->name, "quota") != 0 || nth-- > 0)
            continue;
        clock_text(v->quota_used.end_ms, end);
        leaf->met = false;
        leaf->code = ERR_QUOTA;
        (void)snprintf(leaf->actual, sizeof(leaf->actual), "used up until %s", end);
        return;
    }
}

/* What is wrong with this node's own disk is no verdict on the workload: another member may do it. */
static void disown(struct err *err)
{
    if (err->code == ERR_INTEGRITY)
        err->code = ERR_STORAGE;
}

static void look_run(struct worker_job *job)
{
    struct visit *v = visit_of(job);
    struct store_txn *t = NULL;
    if (store_begin(v->node->store, false, &t, &v->err) != 0)
        return;
    struct quota_facts quota = quota_facts(v);
    int rc = grant_find(t, v->grant_key, &v->grant_owner, &v->grant, &v->err);
    v->grant_found = rc == 0;
    if (rc == ERR_NOT_FOUND) {
        v->err = (struct err){.code = 0};
        rc = quota_check(t, &quota, v->now_ms, &v->quota_used, &v->err);
    }
    store_abort(t);
    if (rc != 0 && v->err.code == 0)
        (void)err_set(&v->err, rc, "the table of grants cannot be read");
    disown(&v->err);
}

static void ask_release(struct visit *v);
static void reissue(struct visit *v);

static void look_done(struct worker_job *job, bool cancelled)
{
    struct visit *v = visit_of(job);
    if (cancelled)
        (void)err_set(&v->err, ERR_CLOSED, "the node is stopping");
    explain_quota(v);
    if (v->err.code == 0 && v->grant_found)
        (void)!grant_may_reissue(&v->grant, v->seen->prevhash, v->now_ms, NODE_SKEW_MS, &v->err);
    if (v->detached)
        finish(v);
    else if (v->err.code != 0)
        refuse(v);
    else if (v->grant_found)
        reissue(v);
    else
        ask_release(v);
}

static void look_up(struct visit *v)
{
    v->state = LOOKING;
    submit(v, v->node->store_thread, look_run, look_done);
}

/* ---- the token's work */

static int make_link(struct visit *v)
{
    const struct msg_begin *b = &v->begin->begin;
    struct msg_factor met[APPRAISE_LEAVES_MAX];
    struct msg_link_body body = {.network = bytes_str(v->node->config->network),
                                 .sid = h(v->sid),
                                 .eid = h(v->eid),
                                 .chain_hash = h(v->chain->hash),
                                 .policy_hash = h(v->policy->hash),
                                 .envelope_hash = h(v->envelope->hash),
                                 .generation = v->envelope->envelope.generation,
                                 .stage = b->stage,
                                 .slot = b->slot,
                                 .node = bytes_str(v->node->config->name),
                                 .prevhash = h(v->seen->prevhash),
                                 .roster_version = v->roster->version,
                                 .status_version = v->status->version,
                                 .issued_ms = v->now_ms,
                                 .not_after_ms = v->chain->expires_ms};
    size_t count = 0;
    for (size_t i = 0; i < v->verdict->count; i++)
        if (v->verdict->leaf[i].met)
            met[count++] = (struct msg_factor){bytes_str(v->verdict->leaf[i].name)};
    body.factors.at = met;
    body.factors.count = count;
    TRY(link_make(&body, &v->link_body, &v->err));
    sha256(buf_view(&v->link_body), v->link_hash);
    return 0;
}

/* Members of the neighbour stages, by slot, with their points. */
static int previous_peers(struct visit *v, struct msg_token_peer ret[SLOT_MAX], size_t *ret_count)
{
    *ret_count = 0;
    for (size_t i = 0; i < v->seen->count; i++) {
        const struct link_seen *s = &v->seen->at[i];
        if (s->stage + 1 != v->begin->begin.stage)
            continue;
        const struct roster_node *o = roster_find(v->roster, s->node);
        if (o == NULL || *ret_count >= SLOT_MAX)
            return err_set(&v->err, ERR_LINK, "a link of a node that the roster does not have");
        ret[(*ret_count)++] = (struct msg_token_peer){s->slot, bytes_str(o->name), BYTES_OF(o->peer), h(s->hash)};
    }
    return 0;
}

static int next_peers(struct visit *v, struct msg_token_peer ret[SLOT_MAX], size_t *ret_count)
{
    const struct chain *c = &v->chain->chain;
    *ret_count = 0;
    if (v->begin->begin.stage >= c->stage_count)
        return 0;
    const struct chain_stage *s = &c->stages[v->begin->begin.stage];
    for (unsigned slot = 1; slot <= SLOT_MAX; slot++)
        for (size_t i = 0; i < s->count; i++) {
            if (s->members[i].slot != slot)
                continue;
            const struct roster_node *o = roster_find(v->roster, bytes_str(s->members[i].node));
            if (o == NULL)
                return err_set(&v->err, ERR_CHAIN, "member %s is not in the roster", s->members[i].node);
            ret[(*ret_count)++] = (struct msg_token_peer){slot, bytes_str(o->name), BYTES_OF(o->peer), BYTES_NONE};
        }
    return 0;
}

static void write_grant(struct visit *v);

static void on_token(void *arg, const struct message *reply, const struct err *err)
{
    struct visit *v = arg;
    if (reply == NULL)
        v->err = *err;
    else if (reply->type != MESSAGE_TOKEN_ANSWER || reply->token_answer.answer.len == 0)
        (void)err_set(&v->err, ERR_TOKEN, "tokend gave another answer than was asked for");
    else {
        buf_put(&v->answer, reply->token_answer.answer);
        if (!buf_ok(&v->answer))
            (void)err_set(&v->err, ERR_TOKEN, "tokend's answer is too long");
    }
    if (v->detached)
        finish(v); /* nothing is granted yet; the workload comes back and asks again */
    else if (v->err.code != 0)
        refuse(v);
    else
        write_grant(v);
}

static int fill_release(struct visit *v, struct msg_token_release *r, struct msg_token_peer *previous,
                        struct msg_token_peer *next)
{
    const struct msg_begin *b = &v->begin->begin;
    *r = (struct msg_token_release){.owner = BYTES_OF(v->envelope->envelope.owner),
                                    .policy_name = bytes_str(v->policy->name),
                                    .envelope_id = BYTES_OF(v->envelope->envelope.id),
                                    .generation = v->envelope->envelope.generation,
                                    .stage = b->stage,
                                    .slot = b->slot,
                                    .point = BYTES_OF(v->member->point),
                                    .sealed = BYTES_OF(v->member->sealed),
                                    .session_key = b->session_key,
                                    .client_key_hash = h(v->peer.key_hash),
                                    .client_nonce = b->client_nonce,
                                    .chain = v->chain->text,
                                    .prevhash = h(v->seen->prevhash),
                                    .link_hash = h(v->link_hash),
                                    .tag_profile = v->root->root.tag_profile};
    r->previous.at = previous;
    r->next.at = next;
    TRY(previous_peers(v, previous, &r->previous.count));
    return next_peers(v, next, &r->next.count);
}

static void ask_release(struct visit *v)
{
    struct msg_token_peer previous[SLOT_MAX], next[SLOT_MAX];
    struct message m = {.type = MESSAGE_TOKEN_RELEASE};
    v->state = ASKING;
    int rc = make_link(v);
    if (rc == 0)
        rc = fill_release(v, &m.token_release, previous, next);
    if (rc == 0)
        rc = v->node->token->ask(v->node->token, &m, TOKEN_DEADLINE_MS, on_token, v);
    if (rc == ERR_BUSY)
        busy(v);
    else if (rc != 0) {
        if (v->err.code == 0)
            (void)err_set(&v->err, rc, "the token cannot be asked: %s", v->node->token->health(v->node->token));
        refuse(v);
    }
}

/* ---- the entry, the grant and the release */

static void release(struct visit *v, struct bytes body, struct bytes entry, struct bytes receipt, struct bytes answer)
{
    if (v->detached) {
        finish(v);
        return;
    }
    if (check_today(v) != 0 || (v->changed && judge_chain(v) != 0)) {
        refuse(v);
        return;
    }
    struct message m = {.type = MESSAGE_RELEASE, .release = {.link = {body, entry, receipt}, .answer = answer}};
    v->node->counters.releases++;
    send_and_finish(v, &m);
}

/* Who is shown the salt can check what the entry commits to. */
static int put_salt(const struct visit *v, struct store_txn *t, uint64_t entry_index, struct err *err)
{
    uint8_t key[8];
    for (size_t i = 0; i < 8; i++)
        key[i] = (uint8_t)(entry_index >> (56 - 8 * i));
    return store_put(t, STORE_SALTS, BYTES_OF(key), BYTES_OF(v->salt), true, err);
}

static int write_with(struct log_append *a, struct store_txn *t, uint64_t entry_index, uint64_t time_ms,
                      struct err *err)
{
    struct visit *v = a->arg;
    struct quota_facts quota = quota_facts(v);
    v->grant.entry_index = entry_index;
    TRY(grant_create(t, v->grant_key, &v->grant, err));
    TRY(quota_take(t, &quota, time_ms, &v->quota_used, err));
    return put_salt(v, t, entry_index, err);
}

static void on_written(struct log_append *a, const struct err *err)
{
    struct visit *v = a->arg;
    if (err == NULL) {
        release(v, buf_view(&v->link_body), a->entry_bytes, a->receipt, buf_view(&v->answer));
        return;
    }
    v->err = *err;
    disown(&v->err);
    explain_quota(v);
    if (v->detached)
        finish(v);
    else if (err->code == ERR_BUSY)
        busy(v);
    else
        refuse(v);
}

/* Salted commitments: the ledger proves to who is shown the salt what was judged, and tells others nothing. */
static int make_commitments(struct visit *v)
{
    struct node *n = v->node;
    if (n->rng.fill(n->rng.arg, v->salt, sizeof(v->salt)) != 0)
        return err_set(&v->err, ERR_INTERNAL, "no randomness");
    struct th *t = th_begin("commit-evidence");
    th_add(t, BYTES_OF(v->salt));
    for (size_t i = 0; i < v->attest->attest.evidence.count; i++)
        th_add(t, v->attest->attest.evidence.at[i].data);
    th_finish(t, v->commit[0]);
    t = th_begin("commit-subject");
    th_add(t, BYTES_OF(v->salt));
    th_add_str(t, v->device != NULL ? v->device->id : "");
    th_add(t, h(v->peer.key_hash));
    th_finish(t, v->commit[1]);
    t = th_begin("commit-secret");
    th_add(t, BYTES_OF(v->salt));
    th_add(t, BYTES_OF(v->envelope->envelope.owner));
    th_add(t, BYTES_OF(v->envelope->envelope.id));
    th_finish(t, v->commit[2]);
    return 0;
}

static void fill_entry(struct visit *v, uint64_t type, const uint8_t link_hash[HASH_LEN],
                       const uint8_t response[HASH_LEN])
{
    v->append = (struct log_append){.arg = v,
                                    .entry = {.type = type,
                                              .walk_id = BYTES_OF(v->walk_id),
                                              .policy_hash = h(v->policy->hash),
                                              .evidence = h(v->commit[0]),
                                              .subject = h(v->commit[1]),
                                              .secret = h(v->commit[2]),
                                              .link_hash = h(link_hash),
                                              .response_hash = h(response)}};
}

static void append_or_refuse(struct visit *v)
{
    int rc = node_log_append(v->node->log, &v->append);
    if (rc == ERR_BUSY)
        busy(v);
    else if (rc != 0) {
        const struct err *broken = node_log_broken(v->node->log);
        (void)err_set(&v->err, rc, "the ledger takes no entries now%s%.400s", broken != NULL ? ": " : "",
                      broken != NULL ? broken->text : "");
        disown(&v->err);
        refuse(v);
    }
}

static void write_grant(struct visit *v)
{
    v->state = WRITING;
    if (make_commitments(v) != 0) {
        refuse(v);
        return;
    }
    sha256(buf_view(&v->answer), v->response_hash);
    v->grant = (struct grant){
        .not_after_ms = v->chain->expires_ms, .link_body = buf_view(&v->link_body), .answer = buf_view(&v->answer)};
    memcpy(v->grant.prevhash, v->seen->prevhash, HASH_LEN);
    fill_entry(v, ENTRY_GRANT, v->link_hash, v->response_hash);
    v->append.with = write_with;
    v->append.done = on_written;
    append_or_refuse(v);
}

/* ---- a grant that is there already: the same bytes once more, under a new entry and today's receipt */

static int reissue_with(struct log_append *a, struct store_txn *t, uint64_t entry_index, uint64_t time_ms,
                        struct err *err)
{
    struct visit *v = a->arg;
    (void)time_ms;
    TRY(grant_reissue(t, v->grant_key, v->seen->prevhash, v->now_ms, NODE_SKEW_MS, err));
    return put_salt(v, t, entry_index, err);
}

static void on_receipt(struct log_append *a, const struct err *err)
{
    struct visit *v = a->arg;
    if (err == NULL) {
        v->node->counters.reissues++;
        release(v, v->grant.link_body, a->entry_bytes, a->receipt, v->grant.answer);
        return;
    }
    v->err = *err;
    disown(&v->err);
    if (v->detached)
        finish(v);
    else
        refuse(v);
}

static void on_reissued(struct log_append *a, const struct err *err)
{
    struct visit *v = a->arg;
    if (err != NULL)
        v->err = *err;
    disown(&v->err);
    if (v->detached) {
        finish(v);
        return;
    }
    if (v->err.code == 0) {
        v->append = (struct log_append){.arg = v, .done = on_receipt};
        int rc = node_log_receipt(v->node->log, &v->append, v->grant.entry_index);
        if (rc == 0)
            return;
        (void)err_set(&v->err, rc, "no receipt for entry %llu", (unsigned long long)v->grant.entry_index);
    }
    refuse(v);
}

static void reissue(struct visit *v)
{
    v->state = REISSUING;
    if (make_commitments(v) != 0) {
        refuse(v);
        return;
    }
    sha256(v->grant.link_body, v->link_hash);
    sha256(v->grant.answer, v->response_hash);
    fill_entry(v, ENTRY_REISSUE, v->link_hash, v->response_hash);
    v->append.with = reissue_with;
    v->append.done = on_reissued;
    append_or_refuse(v);
}
