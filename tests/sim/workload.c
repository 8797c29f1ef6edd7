/* workload: walks, fails over, comes back, opens. */
#include "tests/sim/workload.h"
#include "common/crypto/payload.h"
#include "common/documents/chain.h"
#include "common/documents/write.h"
#include "orchestrator/harvest.h"
#include "orchestrator/plan.h"
#include "tests/sim/link.h"
#include "tests/sim/quote.h"
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_MS 500u
#define DIALS_MAX 2u
#define ROUNDS_MAX 3u /* NeedDocuments that are answered */
#define SKEW_MS 120000u
#define QUOTE_MS 4u
#define PATIENCE_MS 10000u /* for one answer of a node */
#define LIFETIME_MS 1800000u

struct attempt { /* one conversation with one member */
    struct workload *w;
    struct conn *conn; /* NULL: none */
    unsigned member, dials, rounds;
    struct sim_event *quoting;
    uint8_t nonce[NONCE_LEN];
    struct harvested grant; /* what it gave */
    bool has_grant;
};

struct session_key { /* E, shared by twins */
    struct ec_key *key;
    unsigned refs;
};

struct workload {
    struct sim *sim;
    struct workload_settings settings;
    const struct cast_device *device;
    struct link_party party;
    unsigned status; /* version held */
    bool walking, opened;
    unsigned opened_count;
    int last_code;
    struct sim_event *wake, *again;

    struct document *chain;
    struct session_key *e;
    uint8_t point[EC_POINT_LEN], eid[HASH_LEN], sid[HASH_LEN], client_nonce[NONCE_LEN], prevhash[HASH_LEN];
    unsigned stage; /* from 1 */
    unsigned tries; /* of this stage with this session */
    struct plan plan;
    struct attempt attempt[SLOT_MAX];
    struct harvested got[CAST_STAGES][SLOT_MAX]; /* in slot order */
    size_t got_count[CAST_STAGES];
    struct secret *secret[CAST_STAGES];
};

static void step(struct workload *w);
static void dial(struct attempt *a);

static const struct chain_stage *stage_of(const struct workload *w)
{
    return &w->chain->chain.stages[w->stage - 1];
}

static const struct chain_member *member_of(const struct attempt *a)
{
    return &stage_of(a->w)->members[a->member];
}

/* ---- attempts */

static void attempt_end(struct attempt *a)
{
    struct conn *c = a->conn;
    a->conn = NULL;
    sim_cancel(&a->quoting);
    if (c != NULL)
        conn_close(c);
}

static void attempt_failed(struct attempt *a, int code, bool denied)
{
    struct workload *w = a->w;
    attempt_end(a);
    w->last_code = code;
    plan_failed(&w->plan, a->member, code, denied, w->sim->now_ms);
    step(w);
}

static void add_links(const struct workload *w, struct msg_begin *b, struct msg_link *at)
{
    b->links.at = at;
    for (unsigned s = 0; s + 1 < w->stage; s++)
        for (size_t i = 0; i < w->got_count[s]; i++)
            at[b->links.count++] = (struct msg_link){buf_view(&w->got[s][i].body), buf_view(&w->got[s][i].entry),
                                                     buf_view(&w->got[s][i].receipt)};
}

/* On a connection that was cut a moment ago nothing is sent; on_close follows. */
static void send_message(struct attempt *a, const struct message *m)
{
    struct err err = {.code = 0};
    int rc = conn_send(a->conn, m, &err);
    assert(rc == 0 || rc == ERR_CLOSED);
}

static void send_begin(struct attempt *a)
{
    const struct workload *w = a->w;
    const struct cast *c = w->sim->cast;
    const struct document *docs[] = {c->root, c->roster, c->inventory, w->sim->status[w->status]};
    struct msg_document_version versions[4];
    struct msg_link links[CAST_STAGES * SLOT_MAX];
    struct message m = {.type = MESSAGE_BEGIN};
    for (size_t i = 0; i < 4; i++)
        versions[i] = (struct msg_document_version){.type = bytes_str(document_type_name(docs[i]->type)),
                                                    .version = docs[i]->version,
                                                    .hash = BYTES_OF(docs[i]->hash)};
    m.begin = (struct msg_begin){.network = bytes_str(CAST_NETWORK),
                                 .node = bytes_str(member_of(a)->node),
                                 .chain = w->chain->text,
                                 .stage = w->stage,
                                 .slot = member_of(a)->slot,
                                 .session_key = BYTES_OF(w->point),
                                 .client_nonce = BYTES_OF(w->client_nonce)};
    m.begin.versions.at = versions;
    m.begin.versions.count = 4;
    add_links(w, &m.begin, links);
    conn_deadline(a->conn, PATIENCE_MS, "no answer to Begin");
    send_message(a, &m);
}

static void send_documents(struct attempt *a)
{
    struct msg_note note = {a->w->sim->status[a->w->status]->note};
    struct message m = {.type = MESSAGE_DOCUMENTS};
    m.documents.notes.at = &note;
    m.documents.notes.count = 1;
    send_message(a, &m);
}

static void on_quoted(void *arg)
{
    struct attempt *a = arg;
    const struct workload *w = a->w;
    const struct roster_node *node = roster_find(w->sim->cast->roster, bytes_str(member_of(a)->node));
    struct bind_fields f = {.node = bytes_str(node->name), .stage = w->stage, .slot = member_of(a)->slot};
    uint8_t bind[BIND_LEN];
    struct buf data;
    a->quoting = NULL;
    memcpy(f.sid, w->sid, HASH_LEN);
    ec_point_spki_hash(node->kem, f.kem_hash);
    memcpy(f.nonce, a->nonce, NONCE_LEN);
    link_exporter(a->conn, a->nonce, f.exporter);
    memcpy(f.client_leaf_hash, w->party.leaf_hash, HASH_LEN);
    link_server_key_hash(a->conn, f.server_key_hash);
    memcpy(f.prevhash, w->prevhash, HASH_LEN);
    context_bind(&f, bind);
    buf_init(&data, 16384);
    quote_make(w->device, bind, &data);
    struct msg_evidence evidence = {bytes_str("tpm2"), buf_view(&data)};
    struct message m = {.type = MESSAGE_ATTEST};
    m.attest.evidence.at = &evidence;
    m.attest.evidence.count = 1;
    conn_deadline(a->conn, PATIENCE_MS, "no answer to Attest");
    send_message(a, &m);
    buf_done(&data);
}

static void expectations(const struct workload *w, struct links_expect *x)
{
    *x = (struct links_expect){.network = bytes_str(CAST_NETWORK),
                               .generation = w->sim->cast->envelope->envelope.generation,
                               .now_ms = CAST_T0_MS + w->sim->now_ms,
                               .skew_ms = SKEW_MS};
    memcpy(x->sid, w->sid, HASH_LEN);
    memcpy(x->eid, w->eid, HASH_LEN);
    memcpy(x->chain_hash, w->chain->hash, HASH_LEN);
    memcpy(x->policy_hash, w->sim->cast->policy->hash, HASH_LEN);
    memcpy(x->envelope_hash, w->sim->cast->envelope->hash, HASH_LEN);
}

static void on_release(struct attempt *a, const struct msg_release *m)
{
    struct workload *w = a->w;
    struct links_expect x;
    struct err err = {.code = 0};
    expectations(w, &x);
    struct harvest_order o = {.expect = &x,
                              .e = w->e->key,
                              .chain = w->chain,
                              .envelope = w->sim->cast->envelope,
                              .node = roster_find(w->sim->cast->roster, bytes_str(member_of(a)->node)),
                              .stage = w->stage,
                              .slot = member_of(a)->slot,
                              .prevhash = w->prevhash};
    if (w->stage > 1) {
        o.previous = w->got[w->stage - 2];
        o.previous_count = w->got_count[w->stage - 2];
    }
    harvest_done(&a->grant);
    harvest_init(&a->grant);
    int rc = harvest(&o, &m->link, m->answer, &a->grant, &err);
    if (rc != 0) {
        sim_trace(w->sim, w->device->id, "does not take the answer of %s: %.200s", member_of(a)->node, err.text);
        attempt_failed(a, rc, false);
        return;
    }
    a->has_grant = true;
    attempt_end(a);
    plan_got(&w->plan, a->member);
    step(w);
}

static void on_challenge(struct attempt *a, const struct msg_challenge *m)
{
    struct workload *w = a->w;
    assert(m->nonce.len == NONCE_LEN);
    memcpy(a->nonce, m->nonce.p, NONCE_LEN);
    for (size_t i = 0; i < m->versions.count; i++)
        if (bytes_is(m->versions.at[i].type, "status") && m->versions.at[i].version > w->status)
            w->status = (unsigned)m->versions.at[i].version;
    plan_alive(&w->plan, a->member, w->sim->now_ms);
    a->quoting = sim_after(w->sim, QUOTE_MS, on_quoted, a);
}

/* ---- what a connection says */

static void on_ready(struct conn *c, void *arg)
{
    struct attempt *a = arg;
    if (a->conn != c)
        return;
    plan_alive(&a->w->plan, a->member, a->w->sim->now_ms);
    send_begin(a);
}

static void judge_message(struct attempt *a, const struct message *m)
{
    struct workload *w = a->w;
    switch (m->type) {
    case MESSAGE_CHALLENGE:
        on_challenge(a, &m->challenge);
        break;
    case MESSAGE_NEED_DOCUMENTS:
        if (a->rounds++ >= ROUNDS_MAX) {
            attempt_failed(a, ERR_DOCUMENTS, false);
            break;
        }
        send_documents(a);
        send_begin(a);
        break;
    case MESSAGE_BUSY:
        attempt_end(a);
        plan_busy(&w->plan, a->member, m->busy.retry_after_ms, w->sim->now_ms);
        step(w);
        break;
    case MESSAGE_RELEASE:
        on_release(a, &m->release);
        break;
    default:
        assert(m->type == MESSAGE_DENY);
        attempt_failed(a, err_from_wire((unsigned)m->deny.code), true);
    }
}

static void on_message(struct conn *c, void *arg, struct message *m)
{
    struct attempt *a = arg;
    if (a->conn == c)
        judge_message(a, m);
    message_free(m);
}

static void on_close(struct conn *c, void *arg, const struct err *why)
{
    struct attempt *a = arg;
    if (a->conn != c)
        return; /* we had turned away already */
    a->conn = NULL;
    sim_cancel(&a->quoting);
    if (a->dials < DIALS_MAX && why->code == ERR_CLOSED)
        dial(a);
    else
        attempt_failed(a, why->code != 0 ? why->code : ERR_CLOSED, false);
}

static const struct conn_events events = {on_ready, on_message, on_close, NULL};

static void dial(struct attempt *a)
{
    struct workload *w = a->w;
    const char *name = member_of(a)->node;
    a->dials++;
    a->conn = link_dial(&w->party, w->sim->node[name[1] - '1'], &events, a);
}

static void attempt_start(struct attempt *a, unsigned member)
{
    a->member = member;
    a->dials = a->rounds = 0;
    dial(a);
}

/* ---- stages */

static void make_prevhash(struct workload *w)
{
    uint8_t hash[CAST_STAGES * SLOT_MAX][HASH_LEN];
    size_t count = 0;
    for (unsigned s = 0; s + 1 < w->stage; s++)
        for (size_t i = 0; i < w->got_count[s]; i++)
            memcpy(hash[count++], w->got[s][i].link_hash, HASH_LEN);
    context_prevhash((const uint8_t(*)[HASH_LEN])hash, count, w->prevhash);
}

static void stop_attempts(struct workload *w)
{
    for (size_t i = 0; i < SLOT_MAX; i++) {
        attempt_end(&w->attempt[i]);
        harvest_done(&w->attempt[i].grant);
        harvest_init(&w->attempt[i].grant);
        w->attempt[i].has_grant = false;
    }
}

static void on_begin_stage(void *arg)
{
    struct workload *w = arg;
    w->again = NULL;
    stop_attempts(w);
    make_prevhash(w);
    plan_init(&w->plan, stage_of(w)->need, (unsigned)stage_of(w)->count, w->sim->now_ms);
    step(w);
}

/* The members' grants, in slot order, into the walk; then the stage's secret. */
static void keep_stage(struct workload *w)
{
    uint8_t x[SLOT_MAX];
    struct secret *y[SLOT_MAX];
    size_t s = w->stage - 1, count = 0;
    for (unsigned slot = 1; slot <= SLOT_MAX; slot++)
        for (size_t i = 0; i < SLOT_MAX; i++) {
            struct attempt *a = &w->attempt[i];
            if (!a->has_grant || a->grant.slot != slot || count == w->plan.need)
                continue;
            w->got[s][count] = a->grant;
            harvest_init(&a->grant);
            a->has_grant = false;
            x[count] = (uint8_t)slot;
            y[count] = w->got[s][count].share;
            count++;
        }
    w->got_count[s] = count;
    if (w->sim->sabotage == SABOTAGE_SWAPPED_SLOTS && count == 2) {
        struct secret *y0 = y[0];
        y[0] = y[1];
        y[1] = y0;
    }
    int rc = shamir_combine(x, y, (unsigned)count, &w->secret[s]);
    assert(rc == 0);
}

static void open_secret(struct workload *w)
{
    const struct envelope *e = &w->sim->cast->envelope->envelope;
    struct secret *dek = NULL, *key = NULL, *plain = NULL;
    uint8_t commitment[HASH_LEN], aad[HASH_LEN];
    int rc = share_dek(e->id, e->generation, w->secret, CAST_STAGES, &dek);
    if (rc == 0)
        rc = share_dek_commitment(dek, commitment);
    if (rc == 0 && memcmp(commitment, e->dek_commitment, HASH_LEN) != 0)
        rc = ERR_COMMITMENT;
    if (rc == 0)
        rc = share_payload_key(dek, &key);
    context_payload(e->owner, e->id, e->generation, aad);
    if (rc == 0)
        rc = payload_open(key, BYTES_OF(aad), e->payload, &plain);
    if (rc != 0 || !bytes_is(secret_borrow(plain), CAST_SECRET))
        sim_violate(w->sim, "secret", "%s opens something else: %s", w->device->id, err_name(rc));
    secret_free(dek);
    secret_free(key);
    secret_free(plain);
}

static void walk(void *arg);

static void content(struct workload *w)
{
    if (w->settings.stages == 0)
        open_secret(w);
    sim_trace(w->sim, w->device->id, w->settings.stages == 0 ? "opens the secret" : "is content");
    w->opened = true;
    w->opened_count++;
    w->walking = false;
    if (w->settings.endless)
        w->again = sim_after(w->sim, w->settings.pause_ms, walk, w);
}

static void stage_done(struct workload *w)
{
    keep_stage(w);
    stop_attempts(w);
    sim_trace(w->sim, w->device->id, "has stage %u", w->stage);
    if (w->stage == w->settings.stages || w->stage == CAST_STAGES) {
        content(w);
        return;
    }
    w->stage++;
    w->tries = 0;
    w->again = sim_after(w->sim, 0, on_begin_stage, w);
}

static void stage_failed(struct workload *w, int code)
{
    stop_attempts(w);
    w->last_code = code;
    sim_trace(w->sim, w->device->id, "stage %u fails: %s", w->stage, err_name(code));
    bool same = w->settings.stubborn || w->tries++ < w->settings.tries;
    w->again = sim_after(w->sim, w->settings.pause_ms, same ? on_begin_stage : walk, w);
}

static void on_wake(void *arg)
{
    struct workload *w = arg;
    w->wake = NULL;
    step(w);
}

/* Called whenever something happened; w->again means that this stage is over. */
static void step(struct workload *w)
{
    sim_cancel(&w->wake);
    while (w->walking && w->again == NULL) {
        struct plan_action next = plan_next(&w->plan, w->sim->now_ms);
        if (next.verb == PLAN_START) {
            attempt_start(&w->attempt[next.member], next.member);
        } else if (next.verb == PLAN_STOP) {
            attempt_end(&w->attempt[next.member]);
        } else if (next.verb == PLAN_DONE) {
            stage_done(w);
        } else if (next.verb == PLAN_OVER) {
            stage_failed(w, next.code);
        } else {
            w->wake = sim_after(w->sim, next.wake_ms - w->sim->now_ms, on_wake, w);
            return;
        }
    }
}

/* ---- walks */

static void forget_walk(struct workload *w)
{
    stop_attempts(w);
    for (size_t s = 0; s < CAST_STAGES; s++) {
        for (size_t i = 0; i < w->got_count[s]; i++)
            harvest_done(&w->got[s][i]);
        w->got_count[s] = 0;
        secret_free(w->secret[s]);
        w->secret[s] = NULL;
    }
    if (w->e != NULL && --w->e->refs == 0) {
        ec_key_free(w->e->key);
        free(w->e);
    }
    w->e = NULL;
    document_unref(w->chain);
    w->chain = NULL;
}

/* Without alternates, so that whatever happens to a node happens to the walk. */
static void write_pinned(const struct workload *w, struct buf *ret_text)
{
    const struct cast *c = w->sim->cast;
    struct chain_member gate[] = {{1, "n1"}}, vault[] = {{1, "n3"}, {2, "n4"}}, last[] = {{1, "n6"}};
    struct chain_stage stages[] = {{"gate", 1, gate, 1}, {"vault", 2, vault, 2}, {"last", 1, last, 1}};
    struct document d = {.type = DOCUMENT_CHAIN, .network = CAST_NETWORK};
    struct err err = {.code = 0};
    d.expires_ms = (CAST_T0_MS + w->sim->now_ms + LIFETIME_MS) / 1000 * 1000;
    (void)snprintf(d.chain.operation, sizeof(d.chain.operation), CAST_OPERATION);
    memcpy(d.chain.policy_hash, c->policy->hash, HASH_LEN);
    memcpy(d.chain.envelope_hash, c->envelope->hash, HASH_LEN);
    d.chain.stages = stages;
    d.chain.stage_count = CAST_STAGES;
    int rc = document_write(&d, ret_text, &err);
    assert(rc == 0);
}

/* The order of the members changes from walk to walk, as observed health would make it. */
static int write_chain(struct workload *w, struct buf *ret_text)
{
    const struct cast *c = w->sim->cast;
    struct chain_world world = {c->policy, c->envelope, c->roster, w->sim->status[w->status]};
    struct chain_hint hint[SIM_NODES] = {{.latency_ms = 0}};
    struct err err = {.code = 0};
    for (size_t i = 0; i < SIM_NODES; i++) {
        memcpy(hint[i].node, c->node[i].name, sizeof(hint[i].node));
        hint[i].latency_ms = w->sim->random ? sim_random(w->sim, 100) : i;
    }
    int rc = chain_generate(&world, CAST_OPERATION, CAST_T0_MS + w->sim->now_ms, LIFETIME_MS, hint, SIM_NODES, ret_text,
                            &err);
    if (rc != 0) {
        w->last_code = rc;
        sim_trace(w->sim, w->device->id, "finds no chain: %.200s", err.text);
    }
    return rc;
}

static int new_session(struct workload *w)
{
    struct buf text;
    struct err err = {.code = 0};
    struct rng rng = sim_rng(w->sim);
    if (w->settings.pinned)
        write_pinned(w, &text);
    else if (write_chain(w, &text) != 0)
        return w->last_code;
    int rc = document_parse(buf_view(&text), "chain", &w->chain, &err);
    assert(rc == 0);
    buf_done(&text);
    w->e = calloc(1, sizeof(*w->e));
    assert(w->e != NULL);
    w->e->refs = 1;
    rc = ec_key_new(&w->e->key);
    assert(rc == 0);
    (void)rng.fill(rng.arg, w->client_nonce, NONCE_LEN);
    return 0;
}

static int share_session(struct workload *w)
{
    const struct workload *of = w->settings.twin_of;
    if (of->e == NULL)
        return ERR_UNAVAILABLE;
    w->chain = document_ref(of->chain);
    w->e = of->e;
    w->e->refs++;
    memcpy(w->client_nonce, of->client_nonce, NONCE_LEN);
    return 0;
}

static void walk(void *arg)
{
    struct workload *w = arg;
    struct sid_fields f = {.network = bytes_str(CAST_NETWORK)};
    w->again = NULL;
    forget_walk(w);
    w->walking = true;
    if ((w->settings.twin_of != NULL ? share_session(w) : new_session(w)) != 0) {
        w->again = sim_after(w->sim, w->settings.pause_ms, walk, w);
        return;
    }
    ec_key_point(w->e->key, w->point);
    ec_point_spki_hash(w->point, w->eid);
    memcpy(f.eid, w->eid, HASH_LEN);
    memcpy(f.client_key_hash, w->party.key_hash, HASH_LEN);
    memcpy(f.client_nonce, w->client_nonce, NONCE_LEN);
    memcpy(f.chain_hash, w->chain->hash, HASH_LEN);
    context_sid(&f, w->sid);
    w->stage = 1;
    w->tries = 0;
    on_begin_stage(w);
}

/* ---- life */

struct workload *workload_new(struct sim *s, struct workload_settings settings)
{
    struct workload *w = calloc(1, sizeof(*w));
    assert(w != NULL && s->workload_count < SIM_WORKLOADS_MAX);
    w->sim = s;
    w->settings = settings;
    if (w->settings.pause_ms == 0)
        w->settings.pause_ms = PAUSE_MS;
    w->device = &s->cast->device[settings.device];
    w->status = 1;
    w->party = (struct link_party){.sim = s, .name = w->device->id, .issuer_der = buf_view(&s->cast->device_ca)};
    memcpy(w->party.leaf_hash, w->device->leaf_hash, HASH_LEN);
    memcpy(w->party.key_hash, w->device->key_hash, HASH_LEN);
    static const uint8_t address[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 0, [14] = 1};
    memcpy(w->party.address, address, sizeof(address));
    w->party.address[15] = (uint8_t)(settings.device + 1);
    for (size_t i = 0; i < SLOT_MAX; i++) {
        w->attempt[i].w = w;
        harvest_init(&w->attempt[i].grant);
    }
    s->workload[s->workload_count++] = w;
    return w;
}

void workload_start(struct workload *w)
{
    w->opened = false;
    walk(w);
}

void workload_stop(struct workload *w)
{
    w->walking = false;
    sim_cancel(&w->wake);
    sim_cancel(&w->again);
    stop_attempts(w);
}

void workload_free(struct workload *w)
{
    forget_walk(w);
    for (size_t i = 0; i < SLOT_MAX; i++)
        harvest_done(&w->attempt[i].grant);
    free(w);
}

const bool *workload_opened(const struct workload *w)
{
    return &w->opened;
}

unsigned workload_opened_count(const struct workload *w)
{
    return w->opened_count;
}

int workload_last_code(const struct workload *w)
{
    return w->last_code;
}

const uint8_t *workload_chain_hash(const struct workload *w)
{
    return w->chain->hash;
}

void workload_learn(struct workload *w, unsigned status_version)
{
    w->status = status_version;
}
