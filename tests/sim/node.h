/* node: one simulated node: a disk, a clock and a token that last, and incarnations of the process that come and go.
 *
 * An incarnation (struct run) holds the product's own struct node: shelf, log, visits, sessions are the real objects.
 * This file is the counterpart of node/server.c: it starts, ticks and stops them. A crash cuts the incarnation off from
 * disk, token and links at once, wherever it is; what is left of it then ends by itself, unseen, to be freed. */
#ifndef ENFILADE_SIM_NODE_H
#define ENFILADE_SIM_NODE_H

#include "node/session.h"
#include "tests/sim/cast.h"
#include "tests/sim/disk.h"
#include "tests/sim/sim.h"
#include "tests/sim/token.h"

#define NODE_RESTART_MS 300u /* how long a crashed node stays away, in stories */

struct sim_node {
    struct sim *sim;
    unsigned index;
    char name[8];
    const struct cast_node *cast;
    struct disk *disk;
    int64_t clock_offset_ms;
    enum token_mode token_mode;
    bool partitioned; /* nothing gets through, in neither direction */
    bool stays_down;  /* does not come back by itself after a crash */
    struct run *run;  /* NULL: down */
    unsigned runs;    /* with those that are ending */
    unsigned crashes;
    bool broken_start; /* the last start found the disk damaged */
};

struct run {
    struct sim *sim;
    struct sim_node *of;
    bool dead, stopping, ready;
    struct node node;
    struct node_config config;
    struct session_host host;
    struct door *door;
    struct conn *conns; /* link.c's */
    struct log_append start_entry;
    struct sim_event *log_tick, *tick;
    unsigned ticks;
    bool grant_unsigned; /* a grant was committed and no signature asked for since */
    void (*stopped)(struct run *r);
};

struct sim_node *sim_node_new(struct sim *s, unsigned index);
void sim_node_free(struct sim_node *n); /* when it has stopped */
/* Takes some time; when it fails (documents, clock, disk) it is tried again every 5 s. */
void sim_node_start(struct sim_node *n);
void sim_node_stop(struct sim_node *n); /* in order, as SIGTERM does */
void sim_node_crash(struct sim_node *n, const char *when);
bool sim_node_serves(const struct sim_node *n);
/* The operator hands over a document (SIGHUP, or the configuration server). */
void sim_node_give(struct sim_node *n, struct bytes note);

/* Something strikes at this point? Then the incarnation is dead, its disk and links are gone, and the caller does as if
 * the call had failed. */
bool run_strikes(struct run *r, enum point p);

#endif
