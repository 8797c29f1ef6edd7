/* oracle: sees everything that happens in a world, writes the trace and judges the properties.
 *
 *   entry      no Release leaves a node but with a GRANT entry that names its link and its answer, on the durable disk,
 *              in the log of that node, under a receipt that holds, beside the grant record with the same bytes
 *   identical  every Release of one (node, sid, stage, slot) has the same link body, entry and answer, byte for byte
 *   once       one GRANT entry per walk and node, however often it is asked
 *   together   a grant record and its GRANT entry are there together or not at all, whenever the disk is looked at
 *   quota      as many units were taken as there are GRANT entries (one counter for the whole policy, one long window)
 *   reissues   at most three REISSUE entries per walk and node
 *   order      indexes without gaps, times that never decrease, entries that never change
 *   durable    a tree is signed only when every entry in it is durable
 *   prefix     all trees ever signed by one log are prefixes of one another
 *   tree       a restart finds a sound tree (node.c says so)
 *   revoked    no Release leaves a node that has accepted a halt or a revocation of it, its policy, chain or device
 *   secret     whoever opens, opens what was sealed (workload.c says so)
 *   live       without faults an honest workload opens within a bound (the stories say so) */
#ifndef ENFILADE_SIM_ORACLE_H
#define ENFILADE_SIM_ORACLE_H

#include "proto/message.h"
#include "tests/sim/node.h"

struct oracle *oracle_new(struct sim *s);
void oracle_free(struct oracle *o);

void oracle_received(struct oracle *o, struct run *r, const char *from, const struct message *m);
void oracle_sent(struct oracle *o, struct run *r, const char *to, const struct message *m); /* at the hand-over */
void oracle_committed(struct oracle *o, struct sim_node *n);
void oracle_crashed(struct oracle *o, struct sim_node *n);
void oracle_signed(struct oracle *o, struct sim_node *n, uint64_t size, const uint8_t root[HASH_LEN]);
void oracle_judge(struct oracle *o, struct sim_node *n); /* everything that can be judged at rest */

/* What was seen so far. */
struct oracle_counts {
    unsigned grants, reissues, releases, denials, busy, crashes;
};
struct oracle_counts oracle_counts(const struct oracle *o);
unsigned oracle_node_grants(const struct oracle *o, unsigned node);
int oracle_last_denial(const struct oracle *o); /* ERR_*, 0 */

#endif
