/* link: virtual connections with delay, loss and partitions. */
#include "tests/sim/link.h"
#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define DIAL_MS 5000u /* without an answer */
#define HELD_MS 100u  /* how long a partitioned message waits before it is tried again */
#define LATE_MS 60u   /* SABOTAGE_LATE_SEND */

struct tls_context { /* of a node */
    uint8_t key_hash[HASH_LEN];
};

struct tls {
    const struct conn *conn;
};

struct parcel { /* a message on its way, or waiting to be taken */
    struct conn *to;
    struct parcel *next;
    enum message_type type;
    struct buf wire;
};

struct conn {
    struct sim *sim;
    struct sim_node *node; /* the one that is dialled, at both ends */
    struct run *run;       /* of the node's end; NULL at the workload's */
    const struct link_party *party;
    struct conn *peer; /* NULL: gone */
    const struct conn_events *events;
    void *arg;
    struct tls tls;
    uint8_t secret[32], server_key_hash[HASH_LEN];
    bool ready, paused, closed, gone;
    unsigned held; /* by messages that are late */
    struct err why;
    struct sim_event *deadline, *delivery, *start, *loss;
    const char *deadline_what;
    struct parcel *first, *last; /* arrived */
    struct parcel *flying;       /* towards this end */
    uint64_t last_arrival_ms;
    struct conn *next, *previous; /* of the run */
};

struct listener { /* what session_accept passes on as a uv_stream_t */
    struct run *run;
    struct conn *dialler;
};

static void deliver(void *arg);

/* ---- life */

static struct conn *conn_new(struct sim *s, struct sim_node *node, struct run *run, const struct link_party *party,
                             const struct conn_events *events, void *arg)
{
    struct conn *c = calloc(1, sizeof(*c));
    assert(c != NULL);
    c->sim = s;
    c->node = node;
    c->run = run;
    c->party = party;
    c->events = events;
    c->arg = arg;
    c->tls.conn = c;
    if (run != NULL) {
        c->next = run->conns;
        if (c->next != NULL)
            c->next->previous = c;
        run->conns = c;
    }
    return c;
}

static void unlink_it(struct conn *c)
{
    if (c->run == NULL)
        return;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        c->run->conns = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
}

static void parcel_free(struct parcel *p)
{
    buf_done(&p->wire);
    free(p);
}

static void drop_flying(struct conn *c)
{
    for (struct parcel *p = c->flying; p != NULL; p = p->next)
        p->to = NULL; /* freed on arrival */
    c->flying = NULL;
}

static void drop_arrived(struct conn *c)
{
    for (struct parcel *p = c->first; p != NULL;) {
        struct parcel *next = p->next;
        parcel_free(p);
        p = next;
    }
    c->first = c->last = NULL;
}

static void on_closed(void *arg)
{
    struct conn *c = arg;
    unlink_it(c);
    c->events->on_close(c, c->arg, &c->why);
    c->gone = true;
    if (c->held == 0)
        free(c);
}

static void close_end(struct conn *c, int code, const char *why, uint64_t after_ms)
{
    if (c->closed)
        return;
    c->closed = true;
    if (code != 0)
        (void)err_set(&c->why, code, "%s", why);
    sim_cancel(&c->deadline);
    sim_cancel(&c->delivery);
    sim_cancel(&c->start);
    sim_cancel(&c->loss);
    drop_flying(c);
    drop_arrived(c);
    if (c->peer != NULL)
        c->peer->peer = NULL;
    c->peer = NULL;
    (void)sim_after(c->sim, after_ms, on_closed, c);
}

/* The other end learns of it behind what is in flight. */
static void on_loss(void *arg)
{
    struct conn *c = arg;
    c->loss = NULL;
    if (c->node->partitioned || (c->first != NULL && !c->paused))
        c->loss = sim_after(c->sim, c->node->partitioned ? HELD_MS : 1, on_loss, c);
    else
        close_end(c, ERR_CLOSED, "the connection was closed", 0);
}

static void lose_end(struct conn *c)
{
    if (c == NULL || c->closed || c->loss != NULL)
        return;
    uint64_t ms = sim_delay(c->sim, DELAY_LINK);
    if (c->flying != NULL && c->sim->now_ms + ms < c->last_arrival_ms)
        ms = c->last_arrival_ms - c->sim->now_ms;
    c->loss = sim_after(c->sim, ms + 1, on_loss, c);
}

/* ---- events of one end */

static void on_deadline(void *arg)
{
    struct conn *c = arg;
    c->deadline = NULL;
    conn_abort(c, ERR_DEADLINE, c->deadline_what);
}

void conn_deadline(struct conn *c, unsigned ms, const char *what)
{
    sim_cancel(&c->deadline);
    c->deadline_what = what;
    if (ms > 0 && !c->closed)
        c->deadline = sim_after(c->sim, ms, on_deadline, c);
}

static void take_one(struct conn *c)
{
    struct parcel *p = c->first;
    struct message *m = NULL;
    struct err err = {.code = 0};
    c->first = p->next;
    if (c->first == NULL)
        c->last = NULL;
    if (c->events->allowed != NULL && !c->events->allowed(c->arg, p->type))
        conn_abort(c, ERR_ORDER, "a frame out of order");
    else if (message_unpack(p->type, buf_view(&p->wire), &m, &err) != 0)
        conn_abort(c, err.code, err.text);
    parcel_free(p);
    if (m != NULL && c->run != NULL)
        oracle_received(c->sim->oracle, c->run, c->party->name, m);
    if (m != NULL)
        c->events->on_message(c, c->arg, m);
}

/* At most one message a time: its handler may pause or close. */
static void schedule(struct conn *c)
{
    if (c->delivery == NULL && c->first != NULL && !c->paused && !c->closed && c->ready)
        c->delivery = sim_after(c->sim, 0, deliver, c);
}

static void deliver(void *arg)
{
    struct conn *c = arg;
    c->delivery = NULL;
    if (c->first != NULL && !c->paused)
        take_one(c);
    schedule(c); /* a conn lives on until on_closed, which is an event of its own */
}

void conn_pause(struct conn *c, bool paused)
{
    c->paused = paused;
    schedule(c);
}

/* ---- messages */

static void on_arrival(void *arg)
{
    struct parcel *p = arg;
    struct conn *c = p->to;
    if (c == NULL) {
        parcel_free(p);
        return;
    }
    if (c->node->partitioned) {
        (void)sim_after(c->sim, HELD_MS, on_arrival, p);
        return;
    }
    struct parcel **at = &c->flying;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    p->next = NULL;
    if (c->last != NULL)
        c->last->next = p;
    else
        c->first = p;
    c->last = p;
    schedule(c);
}

static void fly(struct conn *from, struct parcel *p)
{
    struct conn *to = from->peer;
    uint64_t at_ms = from->sim->now_ms + sim_delay(from->sim, DELAY_LINK);
    if (at_ms < to->last_arrival_ms)
        at_ms = to->last_arrival_ms;
    to->last_arrival_ms = at_ms;
    p->to = to;
    p->next = to->flying;
    to->flying = p;
    (void)sim_after(from->sim, at_ms - from->sim->now_ms, on_arrival, p);
}

static void cut(struct conn *c)
{
    struct conn *peer = c->peer;
    close_end(c, ERR_CLOSED, "the connection was lost", 1);
    if (peer != NULL) {
        drop_flying(peer);
        lose_end(peer);
    }
}

/* Is the connection, or the node, struck at this message? */
static bool struck(struct conn *c, const struct message *m, enum point p)
{
    struct sim_fault *f = &c->sim->fault;
    if (c->run == NULL || m->type != MESSAGE_RELEASE)
        return false;
    if (f->armed && !f->crash && f->node == c->node->index && f->point == p && f->pass-- == 0) {
        f->armed = false;
        sim_trace(c->sim, c->node->name, "connection with %s is cut %s", c->party->name, point_words(p));
        cut(c);
        return true;
    }
    return run_strikes(c->run, p);
}

static int dispatch(struct conn *c, const struct message *m, struct err *err)
{
    if (c->run != NULL && !c->run->dead)
        oracle_sent(c->sim->oracle, c->run, c->party->name, m);
    if (c->closed || c->peer == NULL)
        return 0; /* it goes nowhere */
    struct parcel *p = calloc(1, sizeof(*p));
    assert(p != NULL);
    p->type = m->type;
    buf_init(&p->wire, message_max(m->type));
    int rc = message_pack(m, &p->wire, err);
    if (rc != 0) {
        parcel_free(p);
        return rc;
    }
    fly(c, p);
    if (!struck(c, m, POINT_SENT) && sim_chance(c->sim, c->sim->cut_chance))
        cut(c);
    return 0;
}

struct late { /* SABOTAGE_LATE_SEND: a message that lies about inside the node */
    struct conn *conn;
    struct message *m;
};

static void on_late(void *arg)
{
    struct late *l = arg;
    struct err err = {.code = 0};
    struct conn *c = l->conn;
    if (!c->closed)
        (void)!dispatch(c, l->m, &err);
    if (--c->held == 0 && c->gone)
        free(c);
    message_free(l->m);
    free(l);
}

static int send_late(struct conn *c, const struct message *m, struct err *err)
{
    struct late *l = calloc(1, sizeof(*l));
    struct buf wire;
    assert(l != NULL);
    buf_init(&wire, message_max(m->type));
    l->conn = c;
    c->held++;
    int rc = message_pack(m, &wire, err);
    if (rc == 0)
        rc = message_unpack(m->type, buf_view(&wire), &l->m, err);
    buf_done(&wire);
    assert(rc == 0);
    (void)sim_after(c->sim, LATE_MS, on_late, l);
    return 0;
}

int conn_send(struct conn *c, const struct message *m, struct err *err)
{
    if (c->closed)
        return err_set(err, ERR_CLOSED, "the connection is closed");
    if (struck(c, m, POINT_SEND))
        return 0;
    bool release = c->run != NULL && m->type == MESSAGE_RELEASE;
    if (release && c->sim->sabotage == SABOTAGE_LATE_SEND)
        return send_late(c, m, err);
    if (release && c->sim->sabotage == SABOTAGE_LOST_ENTRY)
        disk_roll_back(c->node->disk);
    return dispatch(c, m, err);
}

/* ---- closing */

void conn_close(struct conn *c)
{
    struct conn *peer = c->peer;
    close_end(c, 0, "", 0);
    lose_end(peer); /* behind what is in flight: those parcels belong to the peer */
}

void conn_abort(struct conn *c, int code, const char *why)
{
    struct conn *peer = c->peer;
    close_end(c, code, why, 0);
    lose_end(peer);
}

void link_cut_all(struct run *r)
{
    for (struct conn *c = r->conns, *next; c != NULL; c = next) {
        next = c->next;
        if (!c->closed)
            cut(c);
    }
}

/* ---- opening */

static void on_start(void *arg)
{
    struct conn *c = arg;
    c->start = NULL;
    if (c->node->partitioned) {
        c->start = sim_after(c->sim, HELD_MS, on_start, c);
        return;
    }
    c->ready = true;
    if (c->run == NULL)
        sim_cancel(&c->deadline);
    c->events->on_ready(c, c->arg);
    schedule(c);
}

int conn_accept(uv_loop_t *loop, uv_stream_t *listener, struct tls_context *tls, unsigned handshake_ms,
                const struct conn_events *events, void *arg, struct conn **ret)
{
    struct listener *l = (struct listener *)listener;
    struct conn *d = l->dialler;
    (void)loop;
    struct conn *c = conn_new(l->run->sim, l->run->of, l->run, d->party, events, arg);
    memcpy(c->secret, d->secret, sizeof(c->secret));
    memcpy(c->server_key_hash, tls->key_hash, HASH_LEN);
    memcpy(d->server_key_hash, tls->key_hash, HASH_LEN);
    c->peer = d;
    d->peer = c;
    uint64_t ms = sim_delay(c->sim, DELAY_LINK);
    conn_deadline(c, handshake_ms, "handshake");
    c->start = sim_after(c->sim, ms, on_start, c);
    d->start = sim_after(c->sim, ms + sim_delay(c->sim, DELAY_LINK), on_start, d);
    *ret = c;
    return 0;
}

static void on_dialled(void *arg)
{
    struct conn *c = arg;
    struct sim_node *n = c->node;
    c->start = NULL;
    if (n->partitioned) {
        c->start = sim_after(c->sim, HELD_MS, on_dialled, c);
        return;
    }
    if (!sim_node_serves(n)) {
        close_end(c, ERR_CLOSED, "connection refused", 0);
        return;
    }
    struct listener l = {n->run, c};
    struct tls_context tls;
    struct th *t = th_begin("sim-leaf");
    th_add_str(t, n->name);
    th_add_u64(t, n->run->node.started_ms);
    th_finish(t, tls.key_hash);
    session_accept(&n->run->host, (uv_stream_t *)&l, &tls);
}

struct conn *link_dial(const struct link_party *party, struct sim_node *to, const struct conn_events *events, void *arg)
{
    struct conn *c = conn_new(party->sim, to, NULL, party, events, arg);
    struct rng rng = sim_rng(party->sim);
    (void)rng.fill(rng.arg, c->secret, sizeof(c->secret));
    conn_deadline(c, DIAL_MS, "no answer");
    c->start = sim_after(c->sim, sim_delay(c->sim, DELAY_LINK), on_dialled, c);
    return c;
}

/* ---- TLS */

struct tls *conn_tls(struct conn *c)
{
    return &c->tls;
}

void conn_address(const struct conn *c, uint8_t ret_v6[16], char ret_text[64])
{
    memcpy(ret_v6, c->party->address, 16);
    (void)inet_ntop(AF_INET, c->party->address + 12, ret_text, 64);
}

int tls_exporter(struct tls *t, const uint8_t nonce[32], uint8_t ret[32])
{
    link_exporter(t->conn, nonce, ret);
    return 0;
}

int tls_peer(struct tls *t, struct tls_peer *ret, struct err *err)
{
    const struct link_party *p = t->conn->party;
    (void)err;
    *ret = (struct tls_peer){.issuer_der = p->issuer_der, .not_after_ms = UINT64_MAX};
    memcpy(ret->leaf_hash, p->leaf_hash, HASH_LEN);
    memcpy(ret->key_hash, p->key_hash, HASH_LEN);
    return 0;
}

void tls_own_key_hash(const struct tls_context *c, uint8_t ret[HASH_LEN])
{
    memcpy(ret, c->key_hash, HASH_LEN);
}

void link_exporter(const struct conn *c, const uint8_t nonce[32], uint8_t ret[32])
{
    struct th *t = th_begin("sim-exporter");
    th_add(t, BYTES_OF(c->secret));
    th_add(t, BYTES(nonce, 32));
    th_finish(t, ret);
}

void link_server_key_hash(const struct conn *c, uint8_t ret[HASH_LEN])
{
    memcpy(ret, c->server_key_hash, HASH_LEN);
}
