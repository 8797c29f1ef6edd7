/* dial: addresses in turn, then the peer's identity. */
#include "orchestrator/dial.h"
#include "common/base/mutant.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

#define ADDRESSES_MAX 8

/* on_ready of a warm connection comes from the loop, like that of a new one. */
struct wake {
    uv_timer_t timer;
    struct dial *dial; /* NULL: nobody waits any more */
};

struct dial_pool {
    struct dial *first; /* parked most lately */
    size_t count;
};

struct dial {
    uv_loop_t *loop;
    struct tls_context *tls;
    const struct dial_events *events;
    void *arg;
    name_text name;
    uint8_t *identity;
    size_t identity_len;
    char addresses[ADDRESSES_MAX][64];
    size_t address_count, next;
    struct sockaddr_storage from;
    bool has_from, ready, orphan, warm;
    struct dial_pool *pool; /* where it may be parked, or is: then `parked` */
    bool parked;
    struct dial *next_parked;
    struct wake *wake;
    struct conn *conn;
    struct err why; /* of the last address */
};

static void pool_remove(struct dial *d)
{
    for (struct dial **at = &d->pool->first; *at != NULL; at = &(*at)->next_parked)
        if (*at == d) {
            *at = d->next_parked;
            d->pool->count--;
            break;
        }
    d->parked = false;
}

static void dial_free(struct dial *d)
{
    if (d->wake != NULL)
        d->wake->dial = NULL;
    tls_context_unref(d->tls);
    free(d->identity);
    free(d);
}

static int dial_next(struct dial *d, struct err *err);

static void on_ready(struct conn *c, void *arg)
{
    struct dial *d = arg;
    struct tls_peer peer;
    struct err err = {0};
    if (d->orphan)
        return;
    int rc = tls_peer(conn_tls(c), &peer, &err);
    if (rc == 0 && !bytes_equal(peer.issuer_der, BYTES(d->identity, d->identity_len)) && !mutant("SERVER_IDENTITY"))
        rc = err_set(&err, ERR_IDENTITY, "the peer at %s is not %s: its certificate was issued by another identity",
                     d->addresses[d->next - 1], d->name);
    if (rc != 0) {
        conn_abort(c, rc, err.text);
        return;
    }
    d->ready = true;
    d->events->on_ready(d->arg, c, &peer);
}

static void on_message(struct conn *c, void *arg, struct message *m)
{
    struct dial *d = arg;
    (void)c;
    if (d->orphan || d->parked || !d->ready)
        message_free(m);
    else
        d->events->on_message(d->arg, m);
}

static void on_close(struct conn *c, void *arg, const struct err *why)
{
    struct dial *d = arg;
    (void)c;
    d->conn = NULL;
    if (d->parked || d->orphan) {
        if (d->parked)
            pool_remove(d);
        dial_free(d);
        return;
    }
    d->why = *why;
    if (d->why.code == 0)
        err_set(&d->why, ERR_CLOSED, "the connection was closed");
    if (!d->ready && d->next < d->address_count) {
        struct err err = {0};
        if (dial_next(d, &err) == 0)
            return;
        d->why = err;
    }
    d->events->on_close(d->arg, &d->why);
}

static bool allowed(void *arg, enum message_type type)
{
    struct dial *d = arg;
    return d->ready && !d->orphan && !d->parked && d->events->allowed(d->arg, type);
}

static const struct conn_events conn_events = {
    .on_ready = on_ready, .on_message = on_message, .on_close = on_close, .allowed = allowed};

/* Starts on the next address that can be started on. */
static int dial_next(struct dial *d, struct err *err)
{
    int rc = err_set(err, ERR_UNAVAILABLE, "%s has no address", d->name);
    while (d->next < d->address_count) {
        const char *address = d->addresses[d->next++];
        struct sockaddr_storage to;
        rc = conn_parse_address(address, &to);
        if (rc == 0) {
            unsigned ms = d->next < d->address_count ? DIAL_EARLY_MS : DIAL_HANDSHAKE_MS;
            rc =
                conn_dial(d->loop, (const struct sockaddr *)&to, d->has_from ? (const struct sockaddr *)&d->from : NULL,
                          d->tls, ms, &conn_events, d, &d->conn);
        }
        if (rc == 0)
            return 0;
        err_set(err, rc, "cannot dial %s: %s", address, err_advice_text(rc));
    }
    return rc;
}

/* The source address, any port. */
static int parse_source(const char *source, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof(*ret));
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
    if (inet_pton(AF_INET, source, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        return 0;
    }
    if (inet_pton(AF_INET6, source, &v6->sin6_addr) != 1)
        return ERR_FORMAT;
    v6->sin6_family = AF_INET6;
    return 0;
}

static int dial_fill(struct dial *d, const struct dial_target *to, struct err *err)
{
    snprintf(d->name, sizeof(d->name), "%s", to->node->name);
    d->identity = malloc(to->node->identity.len);
    if (d->identity == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    memcpy(d->identity, to->node->identity.der, to->node->identity.len);
    d->identity_len = to->node->identity.len;
    if (to->address != NULL && to->address[0] != '\0') {
        snprintf(d->addresses[d->address_count++], sizeof(d->addresses[0]), "%s", to->address);
    } else {
        for (size_t i = 0; i < to->node->address_count && i < ADDRESSES_MAX; i++)
            snprintf(d->addresses[d->address_count++], sizeof(d->addresses[0]), "%s", to->node->addresses[i]);
    }
    d->has_from = to->source != NULL && to->source[0] != '\0';
    if (d->has_from && parse_source(to->source, &d->from) != 0)
        return err_set(err, ERR_FORMAT, "source address '%s' is not a numeric address", to->source);
    return 0;
}

/* ---- warm connections */

static void on_wake_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_wake(uv_timer_t *timer)
{
    struct wake *w = timer->data;
    struct dial *d = w->dial;
    uv_close((uv_handle_t *)timer, on_wake_closed);
    if (d == NULL)
        return;
    d->wake = NULL;
    if (d->conn != NULL && !d->orphan)
        on_ready(d->conn, d);
}

static bool same_target(const struct dial *a, const struct dial *b)
{
    return a->tls == b->tls && strcmp(a->name, b->name) == 0 && a->identity_len == b->identity_len &&
           memcmp(a->identity, b->identity, a->identity_len) == 0 && a->has_from == b->has_from &&
           memcmp(&a->from, &b->from, sizeof(a->from)) == 0 && a->address_count == b->address_count &&
           memcmp(a->addresses, b->addresses, sizeof(a->addresses)) == 0;
}

/* A parked connection to the same node, under the same certificate and anchors; it takes over events and arg of `d`. */
static struct dial *take_warm(const struct dial *d)
{
    struct wake *w = calloc(1, sizeof(*w));
    struct dial *p = w != NULL && d->pool != NULL ? d->pool->first : NULL;
    while (p != NULL && !same_target(p, d))
        p = p->next_parked;
    if (p == NULL) {
        free(w);
        return NULL;
    }
    pool_remove(p);
    p->events = d->events;
    p->arg = d->arg;
    p->warm = true;
    p->wake = w;
    w->dial = p;
    (void)uv_timer_init(d->loop, &w->timer);
    w->timer.data = w;
    (void)uv_timer_start(&w->timer, on_wake, 0, 0);
    return p;
}

int dial_pool_new(struct dial_pool **ret)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret != NULL ? 0 : ERR_NOMEM;
}

void dial_pool_free(struct dial_pool *p)
{
    while (p != NULL && p->first != NULL) {
        struct dial *d = p->first;
        pool_remove(d);
        dial_close(d);
    }
    free(p);
}

bool dial_was_warm(const struct dial *d)
{
    return d->warm;
}

void dial_park(struct dial *d)
{
    if (d == NULL || d->pool == NULL || d->conn == NULL || !d->ready || d->orphan || d->wake != NULL) {
        dial_close(d);
        return;
    }
    struct dial_pool *p = d->pool;
    conn_deadline(d->conn, 0, "");
    d->parked = true;
    d->next_parked = p->first;
    p->first = d;
    if (++p->count > DIAL_POOL_MAX) {
        struct dial *oldest = p->first;
        while (oldest->next_parked != NULL)
            oldest = oldest->next_parked;
        pool_remove(oldest);
        dial_close(oldest);
    }
}

/* ---- */

int dial_start(uv_loop_t *loop, struct tls_context *tls, const struct dial_target *to, const struct dial_events *events,
               void *arg, struct dial **ret, struct err *err)
{
    struct dial *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    d->loop = loop;
    d->tls = tls_context_ref(tls);
    d->events = events;
    d->arg = arg;
    d->pool = to->pool;
    int rc = dial_fill(d, to, err);
    struct dial *warm = rc == 0 ? take_warm(d) : NULL;
    if (rc == 0 && warm == NULL)
        rc = dial_next(d, err);
    if (rc != 0 || warm != NULL)
        dial_free(d);
    if (rc == 0)
        *ret = warm != NULL ? warm : d;
    return rc;
}

struct conn *dial_conn(struct dial *d)
{
    return d->conn;
}

void dial_close(struct dial *d)
{
    if (d == NULL)
        return;
    if (d->conn == NULL) {
        dial_free(d);
        return;
    }
    d->orphan = true;
    if (d->ready)
        conn_close(d->conn);
    else
        conn_abort(d->conn, ERR_CLOSED, "no longer needed");
}
