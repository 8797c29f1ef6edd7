/* dial: addresses in turn, then the peer's identity. */
#include "orchestrator/dial.h"
#include "common/base/mutant.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ADDRESSES_MAX 8

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
    bool has_from, ready, orphan;
    struct conn *conn;
    struct err why; /* of the last address */
};

static void dial_free(struct dial *d)
{
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
    if (d->orphan || !d->ready)
        message_free(m);
    else
        d->events->on_message(d->arg, m);
}

static void on_close(struct conn *c, void *arg, const struct err *why)
{
    struct dial *d = arg;
    (void)c;
    d->conn = NULL;
    if (d->orphan) {
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
    return d->ready && !d->orphan && d->events->allowed(d->arg, type);
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
    int rc = dial_fill(d, to, err);
    if (rc == 0)
        rc = dial_next(d, err);
    if (rc != 0) {
        dial_free(d);
        return rc;
    }
    *ret = d;
    return 0;
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
