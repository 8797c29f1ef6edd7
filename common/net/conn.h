/* conn: one TCP (or unix socket) connection on a libuv loop: TLS (optional), frames in, frames out.
 *
 * The owner gets whole messages. Bounded: one frame is assembled at a time, reading pauses while the owner is busy
 * (conn_pause), the outgoing queue has a maximum. Deadlines: handshake, and idle or per message as the owner sets them.
 * on_close fires exactly once, on the loop, never from inside a conn_ call; after it the conn is freed by conn itself.
 */
#ifndef ENFILADE_NET_CONN_H
#define ENFILADE_NET_CONN_H

#include "common/net/tls.h"
#include "proto/frame.h"

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_stream_s uv_stream_t;
struct sockaddr;
struct sockaddr_storage;
struct conn;

struct conn_events {
    void (*on_ready)(struct conn *c, void *arg); /* handshake done (plain: at once, from the loop) */
    void (*on_message)(struct conn *c, void *arg, struct message *m);   /* owner frees m with message_free */
    void (*on_close)(struct conn *c, void *arg, const struct err *why); /* why->code 0: closed by us after conn_close */
    bool (*allowed)(void *arg, enum message_type type);                 /* which frames may come now; NULL: all */
};
/* `events` is borrowed and must outlive the conn; on_message must be there. */
#define CONN_FRAME_MS                                                                                                  \
    10000 /* a frame that began must end within this, while reading is not paused; else ERR_DEADLINE */
#define CONN_QUEUE_MAX (8u * 1024u * 1024u) /* bytes waiting to be written */

/* tls NULL: plain (control socket). Takes over one pending connection of `listener`. The starters: ERR_NOMEM, ERR_IO,
 * ERR_CLOSED (gone already), ERR_TOO_LONG (path); then no event ever comes. handshake_ms covers connecting too. A
 * dialled address that does not answer comes as on_close with ERR_CLOSED or ERR_DEADLINE. The peer's end (also of its
 * half only) comes as on_close with ERR_CLOSED after what we had queued was written: pause while an answer is being
 * made. */
MUST_CHECK int conn_accept(uv_loop_t *loop, uv_stream_t *listener, struct tls_context *tls, unsigned handshake_ms,
                           const struct conn_events *events, void *arg, struct conn **ret);
MUST_CHECK int conn_dial(uv_loop_t *loop, const struct sockaddr *to, const struct sockaddr *from /* may be NULL */,
                         struct tls_context *tls, unsigned handshake_ms, const struct conn_events *events, void *arg,
                         struct conn **ret);
MUST_CHECK int conn_dial_unix(uv_loop_t *loop, const char *path, const struct conn_events *events, void *arg,
                              struct conn **ret);
MUST_CHECK int conn_send(struct conn *c, const struct message *m,
                         struct err *err); /* one write per call; ERR_FULL, ERR_TOO_LONG, ERR_CLOSED */
void conn_pause(struct conn *c, bool paused);
void conn_deadline(struct conn *c, unsigned ms,
                   const char *what);                  /* 0: none. Passing closes with ERR_DEADLINE "<what>" */
void conn_frame_deadline(struct conn *c, unsigned ms); /* another CONN_FRAME_MS for frames that begin later */
void conn_close(struct conn *c); /* flushes what is queued (bounded time), then closes; idempotent */
void conn_abort(struct conn *c, int code, const char *why); /* closes at once; on_close gets code and text */
struct tls *conn_tls(struct conn *c);
void conn_address(const struct conn *c, uint8_t ret_v6[16],
                  char ret_text[64]);                            /* IPv4 as ::ffff:a.b.c.d; the text without port */
MUST_CHECK int conn_peer_uid(struct conn *c, unsigned *ret_uid); /* unix sockets; else ERR_IO */
/* "127.0.0.11:7600" or "[::1]:7600": numeric only. ERR_FORMAT. */
MUST_CHECK int conn_parse_address(const char *text, struct sockaddr_storage *ret);

#endif
