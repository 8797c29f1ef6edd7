/* ask: the node's side of tokend: requests over a SEQPACKET socket, answers on the loop.
 *
 * Requests are idempotent; what a dead worker left unanswered is sent again, and so is what was unanswered when the
 * connection was lost, until its deadline. When tokend is away, new requests are refused with ERR_TOKEN at once and ask
 * reconnects by itself (100 ms … 2 s, jitter). At most ASK_PENDING_MAX are in flight, then ERR_BUSY. When ask returns
 * 0, done fires exactly once, on the loop, never from inside the call; when it returns an error, done never fires. A
 * leaf request has a connection of its own and is not sent again. Behind `struct token` so that a simulator can stand
 * in. */
#ifndef ENFILADE_NODE_TOKEN_ASK_H
#define ENFILADE_NODE_TOKEN_ASK_H

#include "common/crypto/ec.h"
#include "proto/message.h"

#define ASK_PENDING_MAX 256
#define ASK_RESEND_MAX 10 /* then a request fails with ERR_TOKEN */

typedef struct uv_loop_s uv_loop_t;

/* reply: the message that answered (TOKEN_ANSWER, TOKEN_SIGNATURE, …), valid during the call, or NULL with err set
 * (ERR_TOKEN: away or failed; ERR_BUSY; ERR_DEADLINE; the code of a TOKEN_FAILURE). */
typedef void (*token_done)(void *arg, const struct message *reply, const struct err *err);

struct token { /* the table a node calls */
    /* m: TOKEN_RELEASE, TOKEN_SIGN, TOKEN_PUBLIC_GET or TOKEN_LEAF, id is filled in; copied before return. deadline per
     * request. */
    MUST_CHECK int (*ask)(struct token *t, struct message *m, unsigned deadline_ms, token_done done, void *arg);
    const char *(*health)(const struct token *t); /* "ok", "absent", … */
    void *self;
};

struct ask;
/* path: tokend's socket; leaf requests go to path + ".leaf". peer_uid: the uid tokend must run under. */
MUST_CHECK int ask_start(uv_loop_t *loop, const char *path, unsigned peer_uid, struct ask **ret, struct err *err);
struct token *ask_token(struct ask *a);
void ask_stop(struct ask *a, void (*stopped)(void *arg), void *arg); /* fails what is pending with ERR_CLOSED */

#endif
