/* session: one connection of a workload or node: which message may come when, document exchange, and its visits. */
#ifndef ENFILADE_NODE_SESSION_H
#define ENFILADE_NODE_SESSION_H

#include "common/net/conn.h"
#include "node/limits.h"
#include "node/node.h"

struct session;
/* Takes over a pending connection of `listener`. Refuses above the limits (the connection is closed). changed is called
 * when documents that were offered here were accepted. */
struct session_host {
    struct node *node;
    struct limits *limits;
    uv_loop_t *loop;
    void (*papers_changed)(void *arg);
    void *arg;
    struct session *sessions; /* all open ones, session.c's list */
};
void session_accept(struct session_host *host, uv_stream_t *listener, struct tls_context *tls);
/* Idle connections close at once, others when their visit is over, or, with `cut`, now. */
void session_drain(struct session_host *host, bool cut);

#endif
