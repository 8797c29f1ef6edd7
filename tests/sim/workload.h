/* workload: an honest workload that walks the chain: real plan, real judgement of Releases, real opening of the secret.
 *
 * Members are asked as orchestrator/plan.c says, Releases are judged and opened by orchestrator/harvest.c; this file is
 * the counterpart of walk.c and client.c. A lost connection is dialled once more with the same session; a stage that
 * fails is tried again with the same session (stubborn) or with a new walk. */
#ifndef ENFILADE_SIM_WORKLOAD_H
#define ENFILADE_SIM_WORKLOAD_H

#include "tests/sim/sim.h"

struct workload;

struct workload_settings {
    unsigned device;                /* 0: w1 */
    bool pinned;                    /* the chain lists n1, n3 n4, n6 and no alternates */
    unsigned stages;                /* content after so many; 0: opens the secret */
    bool stubborn;                  /* comes back with the same session, for ever */
    unsigned tries;                 /* else: so many times, before it walks anew */
    uint64_t pause_ms;              /* between tries; 0: 500 */
    bool endless;                   /* walks again after success */
    const struct workload *twin_of; /* shares that workload's session; started after it */
};

struct workload *workload_new(struct sim *s, struct workload_settings settings); /* the world frees it */
void workload_start(struct workload *w);
void workload_stop(struct workload *w);
void workload_free(struct workload *w);

const bool *workload_opened(const struct workload *w); /* content at least once since the start */
unsigned workload_opened_count(const struct workload *w);
int workload_last_code(const struct workload *w); /* of the last stage or attempt that failed */
const uint8_t *workload_chain_hash(const struct workload *w);
void workload_learn(struct workload *w, unsigned status_version); /* it has that status and hands it on when asked */

#endif
