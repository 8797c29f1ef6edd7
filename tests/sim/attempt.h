/* attempt: one conversation of a workload with one member of a stage, and the state that it shares with the walk.
 *
 * Private to workload.c and attempt.c. An attempt ends by telling the plan, then calling workload_step. */
#ifndef ENFILADE_SIM_ATTEMPT_H
#define ENFILADE_SIM_ATTEMPT_H

#include "orchestrator/harvest.h"
#include "orchestrator/plan.h"
#include "tests/sim/link.h"
#include "tests/sim/workload.h"

struct attempt { /* one conversation with one member */
    struct workload *w;
    struct conn *conn; /* NULL: none */
    unsigned member, dials, rounds;
    struct sim_event *quoting;
    uint8_t nonce[NONCE_LEN];
    struct harvested grant; /* what it gave */
    bool has_grant;
};

struct session_key { /* E, shared by twins */
    struct ec_key *key;
    unsigned refs;
};

struct workload {
    struct sim *sim;
    struct workload_settings settings;
    const struct cast_device *device;
    struct link_party party;
    unsigned status; /* version held */
    bool walking, opened;
    unsigned opened_count;
    int last_code;
    struct sim_event *wake, *again;

    struct document *chain;
    struct session_key *e;
    uint8_t point[EC_POINT_LEN], eid[HASH_LEN], sid[HASH_LEN], client_nonce[NONCE_LEN], prevhash[HASH_LEN];
    unsigned stage; /* from 1 */
    unsigned tries; /* of this stage with this session */
    struct plan plan;
    struct attempt attempt[SLOT_MAX];
    struct harvested got[CAST_STAGES][SLOT_MAX]; /* in slot order */
    size_t got_count[CAST_STAGES];
    struct secret *secret[CAST_STAGES];
};

void attempt_start(struct attempt *a, unsigned member);
void attempt_end(struct attempt *a); /* hangs up; nothing more is heard of it */
void workload_step(struct workload *w);

#endif
