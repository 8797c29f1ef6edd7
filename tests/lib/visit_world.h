/* visit_world: one node's door in one process, with a real store and log, for tests of visits.
 *
 * Node n1 of tests/lib/network.h, stage "gate", slot 1. Time is the test's. The token is software that answers when it
 * is told to. What guests are answered is a trace of lines, "[  350] n1 > w1 challenge device network", which tests
 * compare. */
#ifndef ENFILADE_TESTS_VISIT_WORLD_H
#define ENFILADE_TESTS_VISIT_WORLD_H

#include "node/denial.h"
#include "node/grant.h"
#include "node/node.h"
#include "node/visit.h"
#include "tests/lib/log_world.h"
#include "tests/lib/network.h"

#define QUESTIONS_MAX 8

struct visit_world {
    struct world log; /* loop, store, store thread, the log and its signer */
    struct network net;
    struct document *policy, *envelope, *status, *chain; /* of this door; in place of the network's */
    char *policy_text, *envelope_text, *status_text, *chain_text;
    struct node_config config;
    struct node node;
    struct worker_pool *workers;
    struct token token;
    uv_idle_t idle;
    bool token_away, token_holds; /* releases: refused at once; not answered before visit_world_answer */
    unsigned releases_asked;
    struct {
        token_done done;
        void *arg;
    } question[QUESTIONS_MAX];
    size_t question_count;
    struct {
        struct worker_job job;
        uv_sem_t sem;
        bool done;
    } block;
    uint64_t opened_ms;
    char trace[8192];
};

struct guest {
    struct visit_world *w;
    const char *name;
    struct visit *visit; /* NULL: none, or finished */
    struct visit_peer peer;
    uint8_t nonce[NONCE_LEN], session_key[EC_POINT_LEN];
    uint64_t stage, slot; /* 1 and 1 */
    size_t answers;
    enum message_type last; /* of the last answer */
    int code;               /* of the last Deny */
    uint64_t retry_after_ms;
    uint8_t denial_id[16];
    size_t denial_id_len;
    struct buf body, entry, receipt, answer; /* of the last Release */
};

/* factors: the text of the stage's factor tree, indented by six, or NULL for device and network. */
void visit_world_open(struct visit_world *w, const char *factors);
void visit_world_prepare(struct visit_world *w, const char *factors); /* documents and folder, without threads */
void visit_world_start(struct visit_world *w);                        /* the rest of visit_world_open */
void visit_world_close(struct visit_world *w);
/* Ends log, threads and store and starts them again on the same disk: a crash as seen from the disk. */
void visit_world_restart(struct visit_world *w);
/* A new version of the status, with these lines instead of the sections' first lines ("revocations:"). */
void visit_world_status(struct visit_world *w, const char *section, const char *lines);
void visit_world_offer(struct visit_world *w, const char *text, unsigned keys);
void visit_world_asked(struct visit_world *w);  /* runs the loop until the token is asked for a release that it holds */
void visit_world_answer(struct visit_world *w); /* the token answers what it held back */
void visit_world_empty(struct visit_world *w);  /* runs the loop until no visit is under way */
/* Blocks the store thread (and with it the log) until visit_world_unblock. */
void visit_world_block(struct visit_world *w);
void visit_world_unblock(struct visit_world *w);

void guest_init(struct guest *g, struct visit_world *w, const char *name);
void guest_done(struct guest *g);
void guest_begin(struct guest *g);  /* a new connection, the same session; returns at once */
void guest_attest(struct guest *g); /* the visit must be challenged; returns at once */
void guest_leave(struct guest *g);  /* the connection is lost */
void guest_await(struct guest *g, size_t answers);
/* Begin, Challenge, Attest, and the last answer's type. */
enum message_type guest_walk(struct guest *g);

/* Is the trace, from the last trace_is on, exactly this? Prints both when not. */
bool trace_is(struct visit_world *w, const char *lines);

#endif
