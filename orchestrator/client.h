/* client: one conversation with one node, from Begin to Release: one state machine.
 *
 *   DIALING --ready--> BEGUN --Challenge--> QUOTING --evidence--> ATTESTED --Release--> over
 *              ^        | ^  \                                      |  \
 *              |        | |   Deny, Busy --> over                   |   Deny --> over
 *              |        +-+ NeedDocuments: send them, Begin again   |
 *              +----------------- connection lost: once more -------+
 *
 * It checks who the node is, that it asks for exactly the factors of the policy, and that it knows no newer documents
 * than we do; what the Release holds is judged by harvest.h. Evidence is made on the worker pool, off the loop. */
#ifndef ENFILADE_ORCHESTRATOR_CLIENT_H
#define ENFILADE_ORCHESTRATOR_CLIENT_H

#include "common/base/worker.h"
#include "orchestrator/attest/attest.h"
#include "orchestrator/dial.h"

#define CLIENT_DOCUMENT_ROUNDS 3 /* NeedDocuments that are answered */
#define CLIENT_DIALS_MAX 2       /* new connections for one visit: the second asks for an answer that was lost */
#define CLIENT_LEAVES_MAX 64     /* factors of one stage */
#define CLIENT_EVIDENCE_MS 10000 /* the longest that making evidence may take */

struct client;

struct client_attester { /* how this workload makes evidence; kind NULL: it cannot */
    const struct attester_kind *kind;
    struct attester *attester;
};

/* Borrowed until client_free, but for node (copied as far as it is needed). */
struct client_order {
    uv_loop_t *loop;
    struct worker_pool *workers; /* one thread: attesters are not shared between threads */
    const struct client_attester *attester;
    struct tls_context *tls; /* a reference is taken */
    const struct roster_node *node;
    const char *source;
    struct dial_pool *pool;        /* connections kept warm between visits; NULL: none */
    const struct message *begin;   /* MESSAGE_BEGIN, complete */
    const struct factor *factors;  /* of the policy's stage */
    const uint8_t *sid, *prevhash; /* [32] each */
};

/* From the loop, never from inside client_start. After on_release, on_failed, on_busy and on_behind the client is over:
 * free it. */
struct client_events {
    void (*on_alive)(void *arg, uint64_t quiet_until_ms); /* monotonic: uv_now of the loop */
    void (*on_release)(void *arg, const struct msg_release *release);
    void (*on_busy)(void *arg, uint64_t retry_after_ms);
    void (*on_behind)(void *arg, const char *what); /* the node has a newer document than we: fetch, then start again */
    void (*on_failed)(void *arg, const struct err *why, bool denied, struct bytes denial_id);
    /* The note that a node wants, borrowed, or empty; and whether v is newer than what we hold. */
    struct bytes (*find)(void *arg, const struct msg_document_want *want);
    bool (*is_newer)(void *arg, const struct msg_document_version *v);
};

MUST_CHECK int client_start(const struct client_order *order, const struct client_events *events, void *arg,
                            struct client **ret, struct err *err);
void client_free(struct client *c); /* ends the conversation; NULL is fine */

#endif
