/* walk: the chain walked: stage by stage, its members asked as the plan says, until every stage's secret is there.
 *
 * A stage that is satisfied stays so: failover inside the next stage does not touch it. Shares, tags and stage secrets
 * are wiped as soon as they are used, and on every path out. One walk at a time on a loop; blocks in walk_run. */
#ifndef ENFILADE_ORCHESTRATOR_WALK_H
#define ENFILADE_ORCHESTRATOR_WALK_H

#include "orchestrator/client.h"
#include "orchestrator/depot.h"
#include "orchestrator/enfilade.h"
#include "orchestrator/harvest.h"

#define WALK_SKEW_MS 120000 /* how far our clock and a node's may differ: node/node.h */
#define WALK_REFRESHES_MAX 3

struct walk_inputs { /* borrowed until walk_free */
    struct depot *depot;
    uv_loop_t *loop;
    struct worker_pool *workers;
    const struct client_attester *attester;
    struct dial_pool *pool; /* NULL: no connection is kept */
    const char *network, *source;
    struct document *chain, *policy, *envelope; /* chain_check has passed; references are taken */
    uint64_t deadline_ms;                       /* for the whole walk */
    enf_observer observer;
    void *observer_arg;
};

/* What identifies the session: inputs of sid, all public. */
struct walk_session {
    uint8_t eid[HASH_LEN], client_key_hash[HASH_LEN], client_nonce[NONCE_LEN], chain_hash[HASH_LEN], sid[HASH_LEN];
};

struct walk;
MUST_CHECK int walk_new(const struct walk_inputs *in, struct walk **ret, struct err *err);
void walk_free(struct walk *w); /* the strings of visits go with it */

/* Walks. On success ret_secrets[0..stage_count) are the stage secrets, the caller's. Errors: the code of the stage that
 * could not be completed (plan.h), ERR_DEADLINE, or that of documents which changed on the way: ERR_STALE when chain,
 * policy or envelope are no longer the newest (a new walk may succeed), ERR_REVOKED, ERR_HALTED, … */
MUST_CHECK int walk_run(struct walk *w, struct secret **ret_secrets, struct err *err);
const struct walk_session *walk_session(const struct walk *w);

#endif
