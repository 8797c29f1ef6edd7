/* dial: one connection to one node of the roster, handed over only after the node proved to be the one that was
 * dialled.
 *
 * The node's addresses are tried in turn. After the handshake the issuer of the peer's leaf must be, byte for byte, the
 * identity certificate that the roster gives for this node: any other member of the same network is refused with
 * ERR_IDENTITY. */
#ifndef ENFILADE_ORCHESTRATOR_DIAL_H
#define ENFILADE_ORCHESTRATOR_DIAL_H

#include "common/documents/document.h"
#include "common/net/conn.h"

#define DIAL_HANDSHAKE_MS 2500 /* for the last address; the ones before it get DIAL_EARLY_MS */
#define DIAL_EARLY_MS 1000

#define DIAL_POOL_MAX 32 /* connections kept warm; the one parked longest ago goes first */

struct dial;

/* Connections that nobody uses now, for the next visit to the same node: a handshake saved on both sides. */
struct dial_pool;
MUST_CHECK int dial_pool_new(struct dial_pool **ret);
void dial_pool_free(struct dial_pool *p); /* closes them; NULL is fine */

struct dial_events {
    void (*on_ready)(void *arg, struct conn *c, const struct tls_peer *peer); /* peer is borrowed for the call */
    void (*on_message)(void *arg, struct message *m);                         /* m is the owner's */
    void (*on_close)(void *arg, const struct err *why); /* once, not after dial_close; then call dial_close */
    bool (*allowed)(void *arg, enum message_type type);
};

struct dial_target {
    const struct roster_node *node; /* copied */
    const char *address;            /* "" or NULL: those of the roster */
    const char *source;             /* numeric source address, "" for any */
    struct dial_pool *pool;         /* NULL: always a new connection */
};

/* events is borrowed and must live as long as the dial. ERR_FORMAT, ERR_UNAVAILABLE, ERR_NOMEM: nothing was started. */
MUST_CHECK int dial_start(uv_loop_t *loop, struct tls_context *tls, const struct dial_target *to,
                          const struct dial_events *events, void *arg, struct dial **ret, struct err *err);
struct conn *dial_conn(struct dial *d); /* NULL after on_close */
/* It came from the pool: the node may have closed it while nobody looked, so its loss says nothing about the node. */
bool dial_was_warm(const struct dial *d);
/* Like dial_close, but the connection goes back to the pool it was dialled with, if it is still good for another visit.
 */
void dial_park(struct dial *d);
/* No event comes after this; the connection ends by itself. NULL is fine. */
void dial_close(struct dial *d);

#endif
