/* node: what one running node is made of, shared by its server, sessions and control socket.
 *
 * Everything here belongs to the loop's thread. Worker jobs get pointers to immutable documents that their session
 * holds. */
#ifndef ENFILADE_NODE_NODE_H
#define ENFILADE_NODE_NODE_H

#include "common/base/clock.h"
#include "common/base/rng.h"
#include "common/base/worker.h"
#include "common/documents/shelf.h"
#include "node/config.h"
#include "node/grant.h"
#include "node/ledger/log.h"
#include "node/quota.h"
#include "node/store.h"
#include "node/token/ask.h"

#define NODE_SKEW_MS 120000u /* how far two honest clocks may differ */
#define NODE_CHALLENGE_TTL_MS 30000u

/* X(name): counters shown by `enfilade network status` */
#define NODE_COUNTERS(X)                                                                                               \
    X(connections) X(refused) X(begins) X(challenges) X(releases) X(reissues) X(denials) X(busy) X(documents)
struct node_counters {
#define NODE_COUNTER(name) uint64_t name;
    NODE_COUNTERS(NODE_COUNTER)
#undef NODE_COUNTER
};

/* Own public keys, as the token gave them at start. */
struct node_keys {
    uint8_t kem[EC_POINT_LEN], seal[EC_POINT_LEN], peer[EC_POINT_LEN];
    uint8_t kem_hash[HASH_LEN];
    uint64_t profile;
};

struct visit;
struct denials;

struct intake;

#define NODE_UNWRITTEN_MAX 2048u                    /* more than a shelf holds */
struct node_papers {                                /* papers.c's and intake.c's */
    struct document *unwritten[NODE_UNWRITTEN_MAX]; /* accepted, not yet on the disk nor on its way there */
    size_t unwritten_count, writing;                /* writing: on its way */
    bool trust_changed;
    struct intake *intakes; /* the first one works, the others wait */
};

struct node_sweep { /* sweep.c's */
    struct worker_job job;
    bool is_running;
    uint64_t now_ms;
    struct grant_cursor grants; /* these two are the job's while it is running */
    struct quota_cursor quotas;
};

struct node {
    const struct node_config *config;
    struct clock clock;
    struct rng rng;
    struct shelf *shelf;
    struct store *store;
    struct worker_pool *workers;      /* appraisal */
    struct worker_pool *store_thread; /* one thread */
    struct token *token;              /* role hsm; else NULL */
    struct node_log *log;             /* role hsm; else NULL */
    struct node_keys keys;
    struct denials *denials;
    struct node_papers papers;
    struct node_sweep sweep;
    struct visit *visits; /* all that are under way, linked by visit.c: twins are found here */
    uint64_t started_ms;
    struct node_counters counters;
    bool draining;
};

/* Now, never below the newest status and the last entry. ERR_CLOCK when the system clock is behind them by more than
 * the skew, or the status is issued in this clock's future by more than the skew. */
MUST_CHECK int node_now(const struct node *n, uint64_t *ret_ms, struct err *err);

#endif
