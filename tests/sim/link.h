/* link: connections between workloads and nodes: common/net/conn.h and what a session asks of tls.h, in virtual time.
 *
 * Both ends are a struct conn. Messages are packed, travel in order, and are unpacked at the other end. A connection
 * can be cut at any message, with what is in flight; a partitioned node lets nothing through until it heals. The
 * exporter is a secret of the connection, the peer's certificate what the dialling party says it is. */
#ifndef ENFILADE_SIM_LINK_H
#define ENFILADE_SIM_LINK_H

#include "common/net/conn.h"
#include "tests/sim/cast.h"

struct link_party { /* who dials: what TLS would prove about it */
    struct sim *sim;
    const char *name;
    uint8_t leaf_hash[HASH_LEN], key_hash[HASH_LEN];
    struct bytes issuer_der;
    uint8_t address[16];
};

/* on_ready or on_close follow. The party is borrowed while the connection lasts. */
struct conn *link_dial(const struct link_party *party, struct sim_node *to, const struct conn_events *events,
                       void *arg);
/* What both ends know of one connection: for the workload's evidence. */
void link_exporter(const struct conn *c, const uint8_t nonce[32], uint8_t ret[32]);
void link_server_key_hash(const struct conn *c, uint8_t ret[HASH_LEN]);
void link_cut_all(struct run *r); /* every connection of an incarnation, with what is in flight */

#endif
