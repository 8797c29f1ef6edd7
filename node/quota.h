/* quota: how many grants a policy allows in a window of time, per device, secret or policy.
 *
 * Counters live in STORE_QUOTAS under TH("quota", policy name, stage, per, window in ms, subject), as
 * u64be end of the window ‖ u64be grants. Windows are fixed: they begin at multiples of their length since the epoch. A
 * unit is taken in the transaction of the grant's entry; a reissue takes none. Each member of a stage counts by itself.
 * No clock: time is passed in. */
#ifndef ENFILADE_NODE_QUOTA_H
#define ENFILADE_NODE_QUOTA_H

#include "common/documents/document.h"
#include "node/store.h"

#define QUOTA_MAX 65536u /* counters; then ERR_FULL: a live one is never evicted */
#define QUOTA_SWEEP_LOOK 512u

struct quota_facts {
    const struct document *policy, *envelope;
    uint64_t stage;              /* from 1 */
    const struct device *device; /* or NULL: then the key counts */
    const uint8_t *device_key;   /* [HASH_LEN] */
};

struct quota_used { /* why it was refused, for words */
    const struct factor *factor;
    uint64_t end_ms; /* of the window */
};

/* Is there a unit left of each quota of the stage? ERR_QUOTA, with *ret_used; ERR_FULL, ERR_INTEGRITY, ERR_STORAGE. */
MUST_CHECK int quota_check(struct store_txn *t, const struct quota_facts *f, uint64_t now_ms,
                           struct quota_used *ret_used, struct err *err);
/* Checks and takes one of each. */
MUST_CHECK int quota_take(struct store_txn *t, const struct quota_facts *f, uint64_t now_ms,
                          struct quota_used *ret_used, struct err *err);

struct quota_cursor { /* where the sweep goes on; zero: at the first */
    uint8_t key[HASH_LEN];
    bool is_set;
};
/* Looks at the next QUOTA_SWEEP_LOOK counters and deletes those whose window is over. */
MUST_CHECK int quota_sweep(struct store_txn *t, uint64_t now_ms, struct quota_cursor *cursor, unsigned *ret_deleted);

#endif
