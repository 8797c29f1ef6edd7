/* attempt: dials a member, proves what is asked, judges the answer. */
#include "tests/sim/attempt.h"
#include "tests/sim/quote.h"
#include <assert.h>
#include <string.h>

#define DIALS_MAX 2u
#define ROUNDS_MAX 3u /* NeedDocuments that are answered */
#define SKEW_MS 120000u
#define QUOTE_MS 4u
#define PATIENCE_MS 10000u /* for one answer of a node */

static void dial(struct attempt *a);

static const struct chain_member *member_of(const struct attempt *a)
{
    return &a->w->chain->chain.stages[a->w->stage - 1].members[a->member];
}

void attempt_end(struct attempt *a)
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
    workload_step(w);
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
    workload_step(w);
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
        workload_step(w);
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

void attempt_start(struct attempt *a, unsigned member)
{
    a->member = member;
    a->dials = a->rounds = 0;
    dial(a);
}
