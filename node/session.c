/* session: one connection: message order, document exchange, visits. */
#include "node/session.h"
#include "common/base/log.h"
#include "common/base/mutant.h"
#include "node/intake.h"
#include "node/papers.h"
#include "node/visit.h"
#include <stdlib.h>
#include <string.h>

#define HANDSHAKE_MS 5000u
#define IDLE_MS 60000u
#define BEGIN_MS 10000u

struct session {
    struct session_host *host;
    struct conn *conn;
    struct visit *visit;   /* under way, or NULL */
    struct intake *intake; /* of documents that the peer sent, or NULL */
    struct visit_peer peer;
    bool counted, ready, closing;
    struct session *next, *previous;
};

/* ---- list */

static void session_free(struct session *s)
{
    if (s->counted)
        limits_disconnect(s->host->limits, s->peer.address);
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        s->host->sessions = s->next;
    if (s->next != NULL)
        s->next->previous = s->previous;
    free(s);
}

static void send_message(struct session *s, const struct message *m)
{
    struct err err = {.code = 0};
    int rc = conn_send(s->conn, m, &err);
    if (rc != 0)
        conn_abort(s->conn, rc, err.code != 0 ? err.text : "the answer could not be sent");
}

/* Between requests: what comes next must come within the idle time. */
static void become_idle(struct session *s)
{
    s->visit = NULL;
    if (s->host->node->draining) {
        s->closing = true;
        conn_close(s->conn);
        return;
    }
    conn_pause(s->conn, false);
    conn_deadline(s->conn, IDLE_MS, "idle");
}

/* ---- the visit's side */

static void on_visit_send(void *arg, const struct message *m)
{
    struct session *s = arg;
    if (m->type == MESSAGE_CHALLENGE) {
        conn_pause(s->conn, false);
        conn_deadline(s->conn, NODE_CHALLENGE_TTL_MS, "waiting for Attest");
    }
    send_message(s, m);
}

static int on_visit_exporter(void *arg, const uint8_t nonce[NONCE_LEN], uint8_t ret[32])
{
    struct session *s = arg;
    return tls_exporter(conn_tls(s->conn), nonce, ret);
}

static void on_visit_finished(void *arg)
{
    become_idle(arg);
}

static const struct visit_io visit_io = {on_visit_send, on_visit_exporter, on_visit_finished};

/* ---- messages */

static bool allowed(void *arg, enum message_type type)
{
    const struct session *s = arg;
    if (!s->ready || mutant("ORDER"))
        return s->ready;
    if (s->intake != NULL)
        return false;
    if (s->visit != NULL)
        return type == MESSAGE_ATTEST && visit_is_challenged(s->visit);
    return type == MESSAGE_BEGIN || type == MESSAGE_DOCUMENTS || type == MESSAGE_GET_DOCUMENTS;
}

static void on_begin(struct session *s, struct message *m)
{
    struct node *n = s->host->node;
    struct message busy = {.type = MESSAGE_BUSY};
    uint64_t now_ms = n->clock.monotonic_ms(n->clock.arg);
    bool within = limits_begin(s->host->limits, s->peer.address, now_ms, &busy.busy.retry_after_ms);
    if (within && n->log != NULL && !n->draining) {
        conn_pause(s->conn, true);
        conn_deadline(s->conn, 0, "");
        if (visit_start(n, &s->peer, &visit_io, s, m, &s->visit) == 0) {
            visit_judge(s->visit);
            return;
        }
        conn_abort(s->conn, ERR_NOMEM, "out of memory");
        return;
    }
    message_free(m);
    if (n->log == NULL) { /* a configuration server has no door */
        struct message deny = {.type = MESSAGE_DENY, .deny = {.code = err_wire(ERR_STAGE)}};
        send_message(s, &deny);
        return;
    }
    n->counters.busy++;
    send_message(s, &busy);
}

static void on_attest(struct session *s, struct message *m)
{
    conn_pause(s->conn, true);
    conn_deadline(s->conn, 0, "");
    visit_attest(s->visit, m);
}

static void on_taken_in(void *arg, unsigned accepted, const struct err *err)
{
    struct session *s = arg;
    s->intake = NULL;
    if (err != NULL)
        log_warn("%s offered a document that is not accepted: %s", s->peer.address_text, err->text);
    if (accepted > 0)
        s->host->papers_changed(s->host->arg);
    conn_pause(s->conn, false);
    conn_deadline(s->conn, BEGIN_MS, "waiting for Begin");
}

static void on_documents(struct session *s, struct message *m)
{
    conn_pause(s->conn, true);
    conn_deadline(s->conn, 0, "");
    int rc = intake_offer(s->host->node, m->documents.notes.at, m->documents.notes.count, s->peer.address_text,
                          on_taken_in, s, &s->intake);
    message_free(m);
    if (rc != 0)
        conn_abort(s->conn, rc, "the documents cannot be looked at now");
}

static void on_get_documents(struct session *s, struct message *m)
{
    struct msg_note notes[PAPERS_REPLY_MAX];
    struct message reply = {.type = MESSAGE_DOCUMENTS};
    reply.documents.notes.at = notes;
    papers_find(s->host->node, m->get_documents.wants.at, m->get_documents.wants.count, notes,
                &reply.documents.notes.count);
    send_message(s, &reply);
    message_free(m);
    conn_deadline(s->conn, IDLE_MS, "idle");
}

static bool may_exchange(struct session *s)
{
    struct node *n = s->host->node;
    return limits_documents(s->host->limits, s->peer.address, n->clock.monotonic_ms(n->clock.arg));
}

static void on_message(struct conn *c, void *arg, struct message *m)
{
    struct session *s = arg;
    static const struct {
        enum message_type type;
        bool (*within_limits)(struct session *s); /* NULL: it looks itself */
        void (*handle)(struct session *s, struct message *m);
    } handlers[] = {
        {MESSAGE_BEGIN, NULL, on_begin},
        {MESSAGE_ATTEST, NULL, on_attest},
        {MESSAGE_DOCUMENTS, may_exchange, on_documents},
        {MESSAGE_GET_DOCUMENTS, may_exchange, on_get_documents},
    };
    size_t i = 0, count = sizeof(handlers) / sizeof(handlers[0]);
    while (i < count && handlers[i].type != m->type)
        i++;
    bool expected = i < count && allowed(s, m->type);
    if (expected && (handlers[i].within_limits == NULL || handlers[i].within_limits(s))) {
        handlers[i].handle(s, m);
        return;
    }
    message_free(m);
    conn_abort(c, expected ? ERR_RATE : ERR_ORDER, expected ? "documents too often" : "a message out of order");
}

/* ---- connection */

static void on_ready(struct conn *c, void *arg)
{
    struct session *s = arg;
    struct tls_peer peer;
    struct err err = {.code = 0};
    if (tls_peer(conn_tls(c), &peer, &err) != 0) {
        conn_abort(c, ERR_TLS, err.text);
        return;
    }
    memcpy(s->peer.leaf_hash, peer.leaf_hash, HASH_LEN);
    memcpy(s->peer.key_hash, peer.key_hash, HASH_LEN);
    sha256(peer.issuer_der, s->peer.issuer_hash);
    s->peer.not_after_ms = peer.not_after_ms;
    s->ready = true;
    conn_deadline(c, BEGIN_MS, "waiting for the first request");
}

/* Nobody hears any more which were accepted. */
static void detach_intake(struct session *s)
{
    intake_detach(s->intake);
    s->intake = NULL;
}

static void on_close(struct conn *c, void *arg, const struct err *why)
{
    (void)c;
    struct session *s = arg;
    if (why->code != 0 && why->code != ERR_CLOSED)
        log_info("connection from %s closed: %s", s->peer.address_text, why->text);
    if (s->visit != NULL)
        visit_detach(s->visit);
    if (s->intake != NULL)
        detach_intake(s);
    session_free(s);
}

static const struct conn_events events = {on_ready, on_message, on_close, allowed};

void session_accept(struct session_host *host, uv_stream_t *listener, struct tls_context *tls)
{
    struct node *n = host->node;
    struct session *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return;
    s->host = host;
    tls_own_key_hash(tls, s->peer.own_key_hash);
    if (conn_accept(host->loop, listener, tls, HANDSHAKE_MS, &events, s, &s->conn) != 0) {
        free(s);
        return;
    }
    s->next = host->sessions;
    if (s->next != NULL)
        s->next->previous = s;
    host->sessions = s;
    n->counters.connections++;
    conn_address(s->conn, s->peer.address, s->peer.address_text);
    s->counted = limits_connect(host->limits, s->peer.address, n->clock.monotonic_ms(n->clock.arg));
    if (!s->counted) {
        n->counters.refused++;
        conn_abort(s->conn, ERR_RATE, "too many connections");
    }
}

void session_drain(struct session_host *host, bool cut)
{
    for (struct session *s = host->sessions; s != NULL; s = s->next) {
        bool first = !s->closing && (s->visit == NULL || cut);
        s->closing = s->closing || first;
        if (first && cut)
            conn_abort(s->conn, ERR_CLOSED, "the node is stopping");
        else if (first)
            conn_close(s->conn);
    }
}
