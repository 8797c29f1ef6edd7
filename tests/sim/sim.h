/* sim: one world in virtual time: events in order, seeded randomness, faults at named points, a trace, violations.
 *
 * Single-threaded. Nothing here sleeps or reads a clock: time jumps from event to event. With the same seed and the
 * same story everything happens in the same order, so a failing seed replays. */
#ifndef ENFILADE_SIM_SIM_H
#define ENFILADE_SIM_SIM_H

#include "common/base/bytes.h"
#include "common/base/rng.h"

#define SIM_NODES 7
#define SIM_WORKLOADS_MAX 8
#define SIM_STATUS_MAX 8

struct sim;
struct sim_event;
struct sim_node;
struct run;
struct workload;
struct oracle;
struct cast;
struct document;

/* Where a node can be struck while it answers. The first is behind verification, the last behind the answer. */
#define SIM_POINTS(X)                                                                                                  \
    X(VERIFIED, "after verification")                                                                                  \
    X(TOKEN_ASKED, "before the token")                                                                                 \
    X(TOKEN_MADE, "after the token")                                                                                   \
    X(WRITTEN, "after the transaction, before its commit")                                                             \
    X(COMMITTED, "after the commit")                                                                                   \
    X(SIGN_ASKED, "before the signature")                                                                              \
    X(SIGNED, "after the signature")                                                                                   \
    X(SEND, "before the send")                                                                                         \
    X(SENT, "after the send")
enum point {
#define SIM_POINT(name, words) POINT_##name,
    SIM_POINTS(SIM_POINT)
#undef SIM_POINT
        POINT_COUNT
};
const char *point_words(enum point p);

/* How long things take: fixed in stories, up to the maximum in seeds. */
enum sim_delay { DELAY_LINK, DELAY_JOB, DELAY_DISK, DELAY_TOKEN, DELAY_START, DELAY_COUNT };

/* The fakes broken on purpose, one at a time, to show that a property notices. X(name, the property that must fail) */
#define SIM_SABOTAGES(X)                                                                                               \
    X(NO_SYNC, "durable")          /* commits live in memory only */                                                   \
    X(LOST_ENTRY, "entry")         /* the disk forgets a commit while its answer leaves */                             \
    X(ALTERED_ANSWER, "identical") /* a stored grant comes back with another byte in its answer */                     \
    X(FORGETFUL_GRANTS, "once")    /* the table of grants finds nothing and takes everything */                        \
    X(FORGETFUL_COUNT, "reissues") /* changes of a grant are lost */                                                   \
    X(FORGETFUL_QUOTA, "quota")    /* counters that are there do not change */                                         \
    X(SPLIT_COMMIT, "together")    /* grants are committed without their entry */                                      \
    X(ALTERED_ENTRY, "order")      /* a crash changes an old entry */                                                  \
    X(TORN_COMMIT, "tree")         /* a crash leaves half of a transaction */                                          \
    X(ROLLBACK, "prefix")          /* a crash brings back the disk of an earlier time */                               \
    X(LATE_SEND, "revoked")        /* an answer lies about inside the node after the last check */                     \
    X(SWAPPED_SLOTS, "secret")     /* the workload takes shares for one another */                                     \
    X(NEVER_HEAL, "live")          /* faults do not end */
enum sabotage {
    SABOTAGE_NONE,
#define SIM_SABOTAGE(name, property) SABOTAGE_##name,
    SIM_SABOTAGES(SIM_SABOTAGE)
#undef SIM_SABOTAGE
        SABOTAGE_COUNT
};
const char *sabotage_name(enum sabotage s);
const char *sabotage_property(enum sabotage s);

struct sim_fault {
    bool armed;
    unsigned node; /* index */
    enum point point;
    unsigned pass; /* so many times the point is passed unharmed */
    bool crash;    /* else: the connection is cut (POINT_SEND: with the answer unsent; POINT_SENT: in flight) */
};

struct sim {
    uint64_t seed, now_ms; /* since the world's beginning */
    bool random;           /* delays and faults by chance */
    enum sabotage sabotage;
    const struct cast *cast;
    struct sim_node *node[SIM_NODES];
    struct workload *workload[SIM_WORKLOADS_MAX];
    unsigned workload_count;
    struct document *status[SIM_STATUS_MAX]; /* by version, from 1; [0] stays empty */
    unsigned status_count;
    struct oracle *oracle;
    struct sim_fault fault;
    unsigned crash_chance, cut_chance; /* of 10,000, per point and per message */
    unsigned delay_factor;             /* of random link delays */

    struct sim_event **heap;
    size_t heap_count, heap_size;
    uint64_t heap_order, random_state;
    struct buf trace;
    bool echo; /* the trace goes to stdout as well */
    unsigned violations;
    char violated[32], why[256]; /* the first one */
};

struct sim *sim_new(uint64_t seed, bool random);
void sim_free(struct sim *s); /* stops all nodes first, by running on */

/* fn(arg) once, `ms` from now; among equals in the order of the calls. */
struct sim_event *sim_after(struct sim *s, uint64_t ms, void (*fn)(void *arg), void *arg);
void sim_cancel(struct sim_event **e); /* NULL is fine; not for one that has fired */
bool sim_step(struct sim *s);          /* false: nothing left to happen */
void sim_run(struct sim *s, uint64_t ms);
/* Until *flag, at most `ms`; true when it came. */
bool sim_until(struct sim *s, const bool *flag, uint64_t ms);

uint64_t sim_random(struct sim *s, uint64_t below); /* 0..below-1 */
bool sim_chance(struct sim *s, unsigned of_10000);
uint64_t sim_delay(struct sim *s, enum sim_delay kind);
struct rng sim_rng(struct sim *s);

/* One line: "[  350] n1 > begin stage 1 from w1". */
void sim_trace(struct sim *s, const char *who, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A property does not hold. The run goes on; the caller looks at s->violations. */
void sim_violate(struct sim *s, const char *property, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
