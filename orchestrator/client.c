/* client: the workload's side of one visit. */
#include "orchestrator/client.h"
#include "common/evidence/evidence.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define ANSWER_MS 10000 /* per message; the plan gives silent members up earlier when it must */

enum client_state { DIALING, BEGUN, QUOTING, ATTESTED, OVER };

struct client {
    struct client_order order;
    const struct client_events *events;
    void *arg;
    enum client_state state;
    struct dial *dial;
    unsigned dials, rounds;
    struct roster_node node; /* name, identity and addresses of the order's; owned copy */
    uint8_t kem_hash[HASH_LEN];
    struct tls_context *tls;
    uint8_t own_leaf_hash[HASH_LEN], server_key_hash[HASH_LEN];
    bool wants_evidence;
    struct worker_job job;
    bool job_running, orphan;
    uint8_t bind[BIND_LEN];
    struct buf evidence;
    struct err job_err;
};

/* ---- factors */

struct leaves {
    char name[CLIENT_LEAVES_MAX][NAME_MAX_LEN + 16];
    size_t count;
};

/* Leaf names in tree order, as a Challenge must list them. */
static int collect_leaves(const struct factor *f, struct leaves *ret, unsigned depth)
{
    if (depth > FACTOR_DEPTH_MAX + 1 || ret->count == CLIENT_LEAVES_MAX)
        return ERR_FULL;
    switch (f->kind) {
    case FACTOR_EVIDENCE:
        snprintf(ret->name[ret->count++], sizeof(ret->name[0]), "evidence:%s", f->format);
        return 0;
    case FACTOR_DEVICE:
        snprintf(ret->name[ret->count++], sizeof(ret->name[0]), "device");
        return 0;
    case FACTOR_NETWORK:
        snprintf(ret->name[ret->count++], sizeof(ret->name[0]), "network");
        return 0;
    case FACTOR_QUOTA:
        snprintf(ret->name[ret->count++], sizeof(ret->name[0]), "quota");
        return 0;
    case FACTOR_TIME:
        snprintf(ret->name[ret->count++], sizeof(ret->name[0]), "time");
        return 0;
    case FACTOR_ALL:
    case FACTOR_ANY:
    case FACTOR_AT_LEAST:
        break;
    }
    for (size_t i = 0; i < f->child_count; i++)
        TRY(collect_leaves(&f->children[i], ret, depth + 1));
    return 0;
}

/* The node must ask what the policy says, no more (it would learn too much) and no less. */
static int check_factors(const struct client *c, const struct msg_challenge *m, bool *ret_evidence, struct err *err)
{
    struct leaves leaves = {.count = 0};
    if (collect_leaves(c->order.factors, &leaves, 0) != 0)
        return err_set(err, ERR_FULL, "the policy's stage has too many factors");
    bool same = m->factors.count == leaves.count;
    for (size_t i = 0; same && i < leaves.count; i++)
        same = bytes_is(m->factors.at[i].name, leaves.name[i]);
    if (!same)
        return err_set(err, ERR_POLICY, "it asks for other factors than the policy: not answered");
    *ret_evidence = false;
    for (size_t i = 0; c->order.attester->kind != NULL && i < leaves.count; i++) {
        if (strncmp(leaves.name[i], "evidence:", 9) == 0 &&
            strcmp(leaves.name[i] + 9, c->order.attester->kind->name) == 0)
            *ret_evidence = true;
    }
    return 0;
}

/* ---- ends */

static void end(struct client *c)
{
    c->state = OVER;
    dial_close(c->dial);
    c->dial = NULL;
}

/* The node answered: the connection is good for the next visit. */
static void end_warm(struct client *c)
{
    c->state = OVER;
    dial_park(c->dial);
    c->dial = NULL;
}

static void fail(struct client *c, const struct err *why)
{
    end(c);
    c->events->on_failed(c->arg, why, false, BYTES_NONE);
}

static void fail_with(struct client *c, int code, const char *text)
{
    struct err err = {0};
    err_set(&err, code, "%s", text);
    fail(c, &err);
}

static void alive(struct client *c, uint64_t more_ms)
{
    c->events->on_alive(c->arg, uv_now(c->order.loop) + more_ms);
}

/* false: the client is over. */
static bool send_or_fail(struct client *c, const struct message *m, const char *waiting_for)
{
    struct err err = {0};
    struct conn *conn = dial_conn(c->dial);
    if (conn_send(conn, m, &err) != 0) {
        fail(c, &err);
        return false;
    }
    conn_deadline(conn, ANSWER_MS, waiting_for);
    return true;
}

/* ---- Begin */

static void send_begin(struct client *c)
{
    c->state = BEGUN;
    (void)send_or_fail(c, c->order.begin, "waiting for Challenge");
}

static void on_ready(void *arg, struct conn *conn, const struct tls_peer *peer)
{
    struct client *c = arg;
    (void)conn;
    memcpy(c->server_key_hash, peer->key_hash, HASH_LEN);
    alive(c, 0);
    send_begin(c);
}

static void on_need_documents(struct client *c, const struct msg_need_documents *m)
{
    struct msg_note notes[FACTOR_CHILDREN_MAX];
    struct message out = {.type = MESSAGE_DOCUMENTS, .documents = {.notes = {notes, 0}}};
    if (c->rounds++ == CLIENT_DOCUMENT_ROUNDS) {
        fail_with(c, ERR_DOCUMENTS, "it keeps asking for documents");
        return;
    }
    for (size_t i = 0; i < m->wants.count && out.documents.notes.count < FACTOR_CHILDREN_MAX; i++) {
        struct bytes note = c->events->find(c->arg, &m->wants.at[i]);
        if (note.len > 0)
            notes[out.documents.notes.count++].text = note;
    }
    if (out.documents.notes.count == 0) {
        fail_with(c, ERR_DOCUMENTS, "it lacks documents that we do not have either");
        return;
    }
    if (send_or_fail(c, &out, "waiting for Challenge"))
        send_begin(c);
}

/* ---- Challenge and evidence */

static struct client *client_of(struct worker_job *job)
{
    return (struct client *)((char *)job - offsetof(struct client, job));
}

static void evidence_run(struct worker_job *job)
{
    struct client *c = client_of(job);
    const struct client_attester *a = c->order.attester;
    int rc = a->kind->evidence(a->attester, c->bind, &c->evidence, &c->job_err);
    if (rc != 0 && c->job_err.code == 0)
        err_set(&c->job_err, rc, "%s", err_advice_text(rc));
}

static void send_attest(struct client *c)
{
    struct message m = {.type = MESSAGE_ATTEST};
    struct msg_evidence one = {.data = buf_view(&c->evidence)};
    if (c->evidence.len > 0) {
        one.format = bytes_str(c->order.attester->kind->name);
        m.attest.evidence.at = &one;
        m.attest.evidence.count = 1;
    }
    c->state = ATTESTED;
    (void)send_or_fail(c, &m, "waiting for Release");
}

static void client_release(struct client *c)
{
    tls_context_unref(c->tls);
    buf_done(&c->evidence);
    free(c->node.identity.der);
    free(c->node.addresses);
    wipe(c->bind, sizeof(c->bind));
    free(c);
}

static void evidence_done(struct worker_job *job, bool cancelled)
{
    struct client *c = client_of(job);
    c->job_running = false;
    if (c->orphan) {
        client_release(c);
        return;
    }
    if (c->state != QUOTING)
        return; /* the connection went meanwhile, and that was reported */
    if (cancelled)
        err_set(&c->job_err, ERR_CLOSED, "cancelled");
    if (c->job_err.code != 0) {
        err_wrap(&c->job_err, c->job_err.code, "own evidence");
        fail(c, &c->job_err);
        return;
    }
    alive(c, 0);
    send_attest(c);
}

static int make_bind(struct client *c, const struct msg_challenge *m, struct err *err)
{
    const struct msg_begin *b = &c->order.begin->begin;
    struct bind_fields f = {.node = b->node, .stage = b->stage, .slot = b->slot};
    if (m->nonce.len != NONCE_LEN || bytes_is_zero(m->nonce))
        return err_set(err, ERR_FORMAT, "its nonce is not 32 random bytes");
    memcpy(f.nonce, m->nonce.p, NONCE_LEN);
    TRY(tls_exporter(conn_tls(dial_conn(c->dial)), f.nonce, f.exporter));
    memcpy(f.sid, c->order.sid, HASH_LEN);
    memcpy(f.kem_hash, c->kem_hash, HASH_LEN);
    memcpy(f.client_leaf_hash, c->own_leaf_hash, HASH_LEN);
    memcpy(f.server_key_hash, c->server_key_hash, HASH_LEN);
    memcpy(f.prevhash, c->order.prevhash, HASH_LEN);
    context_bind(&f, c->bind);
    wipe(&f, sizeof(f));
    return 0;
}

static void on_challenge(struct client *c, const struct msg_challenge *m)
{
    struct err err = {0};
    for (size_t i = 0; i < m->versions.count; i++) {
        const struct msg_document_version *v = &m->versions.at[i];
        if (c->events->is_newer(c->arg, v)) {
            char what[NAME_MAX_LEN * 2 + 32];
            snprintf(what, sizeof(what), "%.*s version %llu", (int)(v->type.len < 16 ? v->type.len : 16),
                     (const char *)v->type.p, (unsigned long long)v->version);
            end(c);
            c->events->on_behind(c->arg, what);
            return;
        }
    }
    int rc = check_factors(c, m, &c->wants_evidence, &err);
    if (rc == 0)
        rc = make_bind(c, m, &err);
    if (rc != 0) {
        if (err.code == 0)
            err_set(&err, rc, "%s", err_advice_text(rc));
        fail(c, &err);
        return;
    }
    if (!c->wants_evidence) {
        send_attest(c);
        return;
    }
    if (c->job_running) {
        fail_with(c, ERR_BUSY, "evidence for the lost connection is still being made");
        return;
    }
    c->state = QUOTING;
    conn_deadline(dial_conn(c->dial), CLIENT_EVIDENCE_MS, "making evidence");
    alive(c, CLIENT_EVIDENCE_MS);
    buf_done(&c->evidence);
    buf_init(&c->evidence, EVIDENCE_MAX);
    c->job = (struct worker_job){.run = evidence_run, .done = evidence_done};
    if (worker_submit(c->order.workers, &c->job) != 0)
        fail_with(c, ERR_FULL, "too much evidence is being made at once");
    else
        c->job_running = true;
}

/* ---- answers */

static void on_deny(struct client *c, const struct msg_deny *m)
{
    struct err err = {0};
    int code = m->code <= UINT32_MAX ? err_from_wire((unsigned)m->code) : ERR_INTERNAL;
    bool no_attester = code == ERR_EVIDENCE && c->evidence.len == 0;
    err_set(&err, code, "refused: %s%s", err_advice_text(code),
            no_attester ? " (we sent none: no attester of that format is configured)" : "");
    end_warm(c);
    c->events->on_failed(c->arg, &err, true, m->denial_id);
}

static void on_message(void *arg, struct message *m)
{
    struct client *c = arg;
    alive(c, 0);
    switch (m->type) {
    case MESSAGE_CHALLENGE:
        on_challenge(c, &m->challenge);
        break;
    case MESSAGE_NEED_DOCUMENTS:
        on_need_documents(c, &m->need_documents);
        break;
    case MESSAGE_BUSY:
        end(c);
        c->events->on_busy(c->arg, m->busy.retry_after_ms);
        break;
    case MESSAGE_DENY:
        on_deny(c, &m->deny);
        break;
    case MESSAGE_RELEASE:
        end_warm(c);
        c->events->on_release(c->arg, &m->release);
        break;
    default:
        fail_with(c, ERR_ORDER, "a message out of order");
    }
    message_free(m);
}

static bool allowed(void *arg, enum message_type type)
{
    const struct client *c = arg;
    switch (type) {
    case MESSAGE_CHALLENGE:
    case MESSAGE_NEED_DOCUMENTS:
        return c->state == BEGUN;
    case MESSAGE_RELEASE:
        return c->state == ATTESTED;
    case MESSAGE_BUSY:
    case MESSAGE_DENY:
        return c->state == BEGUN || c->state == QUOTING || c->state == ATTESTED;
    default:
        return false;
    }
}

static const struct dial_events dial_events;

static int dial_node(struct client *c, struct err *err)
{
    struct dial_target to = {.node = &c->node, .source = c->order.source, .pool = c->order.pool};
    c->state = DIALING;
    int rc = dial_start(c->order.loop, c->tls, &to, &dial_events, c, &c->dial, err);
    if (rc == 0 && !dial_was_warm(c->dial))
        c->dials++;
    return rc;
}

/* A connection lost after Attest may have cost us an answer that the node wrote down: it gives the same one again. One
 * that had been kept warm may have been closed long ago: that is no answer at all. */
static void on_close(void *arg, const struct err *why)
{
    struct client *c = arg;
    struct err copy = *why;
    bool again =
        (c->state == ATTESTED || dial_was_warm(c->dial)) && why->code != ERR_IDENTITY && c->dials < CLIENT_DIALS_MAX;
    dial_close(c->dial);
    c->dial = NULL;
    if (again && dial_node(c, &copy) == 0)
        return;
    fail(c, &copy);
}

static const struct dial_events dial_events = {
    .on_ready = on_ready, .on_message = on_message, .on_close = on_close, .allowed = allowed};

static int copy_node(struct client *c, const struct roster_node *from)
{
    memcpy(c->node.name, from->name, sizeof(c->node.name));
    c->node.identity.der = malloc(from->identity.len);
    c->node.addresses = calloc(from->address_count, sizeof(*from->addresses));
    if (c->node.identity.der == NULL || c->node.addresses == NULL)
        return ERR_NOMEM;
    memcpy(c->node.identity.der, from->identity.der, from->identity.len);
    c->node.identity.len = from->identity.len;
    memcpy(c->node.addresses, from->addresses, from->address_count * sizeof(*from->addresses));
    c->node.address_count = from->address_count;
    ec_point_spki_hash(from->kem, c->kem_hash);
    return 0;
}

int client_start(const struct client_order *order, const struct client_events *events, void *arg, struct client **ret,
                 struct err *err)
{
    struct client *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    c->order = *order;
    c->order.node = NULL;
    c->events = events;
    c->arg = arg;
    c->tls = tls_context_ref(order->tls);
    tls_own_leaf_hash(c->tls, c->own_leaf_hash);
    buf_init(&c->evidence, EVIDENCE_MAX);
    int rc = copy_node(c, order->node);
    if (rc != 0)
        err_set(err, rc, "out of memory");
    else
        rc = dial_node(c, err);
    if (rc != 0) {
        client_release(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    end(c);
    if (c->job_running)
        c->orphan = true;
    else
        client_release(c);
}
