/* denial: every refusal gets an id, an entry in the ledger and, on this node only, a record that explains it.
 *
 * The workload learns a coarse code and the id. Expected and actual per factor stay in STORE_DENIALS for denial_days.
 * Above DENIALS_PER_SOURCE a minute the refusals of one address are counted together: one entry with a count, no
 * record, no id. Records are bounded too: the oldest goes when there are DENIALS_MAX. An id begins with the time (48
 * bits of ms), so that the oldest come first in the table. */
#ifndef ENFILADE_NODE_DENIAL_H
#define ENFILADE_NODE_DENIAL_H

#include "node/appraise.h"
#include "node/node.h"

#define DENIAL_ID_LEN 16
#define DENIALS_PER_SOURCE 60u /* a minute */
#define DENIAL_SOURCES_MAX 1024u
#define DENIALS_MAX 100000u /* records */

struct denial_facts {
    const struct err *why;                  /* code and words */
    const uint8_t *address;                 /* [16] */
    const char *address_text, *device;      /* device: its id, or "" */
    uint64_t stage, slot;                   /* 0: not known yet */
    const uint8_t *walk_id;                 /* [WALK_ID_LEN] or NULL */
    const uint8_t *policy_hash;             /* [HASH_LEN] or NULL */
    const struct appraise_verdict *verdict; /* or NULL */
};

struct denials;
MUST_CHECK int denials_new(struct node *n, struct denials **ret);
void denials_free(struct denials *d);
/* Called on the loop about once a minute: writes the counted ones, deletes old records. */
void denials_tick(struct denials *d);
/* Writes entry and record; done once they are durable, or at once (id_len 0) when they are only counted. When log or
 * token is the very thing that failed the refusal does not wait for them. facts are copied. */
typedef void (*denial_done)(void *arg, struct bytes denial_id);
void denial_write(struct denials *d, const struct denial_facts *f, denial_done done, void *arg);
/* Reads a record back, on the store thread's transaction. ERR_NOT_FOUND. */
MUST_CHECK int denial_find(struct store_txn *t, struct bytes denial_id, struct bytes *ret_explain);

#endif
