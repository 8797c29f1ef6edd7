/* plan: which members of one stage to ask, and when: events in, actions out; pure, time is passed in.
 *
 * The first `need` members are asked at once. An alternate starts as soon as a member fails, or is silent for
 * PLAN_HEDGE_MS; after twice that time all the rest start. A refusal that would be the same everywhere (advice "never")
 * stops further starts, so that no quota is burnt at the alternates; members already asked may still answer. A member
 * that could not be reached is tried again a little later, when nobody else is left. From PLAN_LIMIT_MS on whoever is
 * silent is given up, so a stage that lacks members ends within five seconds.
 *
 *         start            alive*           got
 *   IDLE ------> RUNNING ---------> RUNNING -----> GOT
 *                  | ^                 |
 *           failed | | start    failed |   stop (given up)
 *                  v |                 v
 *                WAITING -----------> FAILED
 */
#ifndef ENFILADE_ORCHESTRATOR_PLAN_H
#define ENFILADE_ORCHESTRATOR_PLAN_H

#include "common/base/err.h"
#include "common/walk/context.h"

#define PLAN_HEDGE_MS 1500    /* silence after which somebody else is asked too */
#define PLAN_PATIENCE_MS 3000 /* silence of a connected member after which it may be given up */
#define PLAN_LIMIT_MS 4500    /* age of a stage from which on silent members are given up */
#define PLAN_LAST_RETRY_MS (PLAN_LIMIT_MS - PLAN_HEDGE_MS) /* nobody is tried again after that age of the stage */
#define PLAN_RETRY_MS 400 /* pause before the same member is tried again, times the number of tries */
#define PLAN_TRIES_MAX 3
#define PLAN_BUSY_MIN_MS 50 /* bounds on how long a busy node makes us wait */
#define PLAN_BUSY_MAX_MS 3000

enum plan_state { PLAN_IDLE, PLAN_RUNNING, PLAN_WAITING, PLAN_GOT, PLAN_FAILED };

struct plan_member {
    enum plan_state state;
    uint64_t since_ms; /* RUNNING: last sign of life; WAITING: when it may start again */
    unsigned tries;
    bool connected;
    bool busy;             /* WAITING because the node asked for it ... */
    uint64_t busy_from_ms; /* ... first at that time */
    int code;              /* why it failed last */
    bool denied;           /* that was the node's own refusal */
};

struct plan {
    unsigned need, count;
    uint64_t started_ms;
    struct plan_member members[SLOT_MAX]; /* in order of preference */
};

enum plan_verb {
    PLAN_START, /* ask `member` */
    PLAN_STOP,  /* give `member` up; the plan knows already */
    PLAN_WAIT,  /* nothing to do before wake_ms or the next event */
    PLAN_DONE,  /* `need` members gave their share */
    PLAN_OVER,  /* the stage cannot be completed; `code` says why */
};
struct plan_action {
    enum plan_verb verb;
    unsigned member;
    uint64_t wake_ms;
    int code;
};

/* need 1..count, count 1..SLOT_MAX (asserted). */
void plan_init(struct plan *p, unsigned need, unsigned count, uint64_t now_ms);
/* The member showed life: `quiet_until_ms` is when silence begins to count (now, or later when it asked us to wait). */
void plan_alive(struct plan *p, unsigned member, uint64_t quiet_until_ms);
void plan_got(struct plan *p, unsigned member);
/* The node asks us to come again; that counts as a sign of life, not as a try. Bounded by the walk's deadline only. */
void plan_busy(struct plan *p, unsigned member, uint64_t retry_after_ms, uint64_t now_ms);
void plan_failed(struct plan *p, unsigned member, int code, bool denied, uint64_t now_ms);
/* The next thing to do. Call again until it says WAIT, DONE or OVER; START and STOP are already noted in the plan. */
struct plan_action plan_next(struct plan *p, uint64_t now_ms);

#endif
