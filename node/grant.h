/* grant: the durable fact that this node released once for one (sid, stage, slot), and the rules for doing it again.
 *
 * Records live in STORE_GRANTS under sid ‖ u8 stage ‖ u8 slot. A grant is written in the transaction of its ledger
 * entry, never changed but for its count of reissues, and kept until the chain's not_after plus the skew. No clock:
 * time is passed in. */
#ifndef ENFILADE_NODE_GRANT_H
#define ENFILADE_NODE_GRANT_H

#include "common/walk/context.h"
#include "node/store.h"
#include "proto/message.h"

#define GRANT_KEY_LEN (HASH_LEN + 2)
#define GRANT_MAX 65536u /* live grants; then ERR_FULL: a live one is never evicted */
#define GRANT_REISSUES_MAX 3u
#define GRANT_RECORD_MAX 8192u /* bytes */

struct grant {
    uint8_t prevhash[HASH_LEN];
    uint64_t entry_index;  /* of the GRANT entry */
    uint64_t not_after_ms; /* the chain's */
    uint64_t reissues;
    struct bytes link_body, answer; /* views */
};

void grant_key(const uint8_t sid[HASH_LEN], uint64_t stage, uint64_t slot, uint8_t ret[GRANT_KEY_LEN]);
/* The views of *ret belong to *ret_owner (message_free). ERR_NOT_FOUND, ERR_INTEGRITY (does not parse), ERR_STORAGE. */
MUST_CHECK int grant_find(struct store_txn *t, const uint8_t key[GRANT_KEY_LEN], struct message **ret_owner,
                          struct grant *ret, struct err *err);
/* ERR_BUSY when there is one already (a twin was faster), ERR_FULL. */
MUST_CHECK int grant_create(struct store_txn *t, const uint8_t key[GRANT_KEY_LEN], const struct grant *g,
                            struct err *err);
/* May this grant be issued once more? ERR_REISSUE: another prevhash, too often, or over. Pure. */
MUST_CHECK int grant_may_reissue(const struct grant *g, const uint8_t prevhash[HASH_LEN], uint64_t now_ms,
                                 uint64_t skew_ms, struct err *err);
/* Checks again and counts, in the transaction of the REISSUE entry. */
MUST_CHECK int grant_reissue(struct store_txn *t, const uint8_t key[GRANT_KEY_LEN], const uint8_t prevhash[HASH_LEN],
                             uint64_t now_ms, uint64_t skew_ms, struct err *err);
#define GRANT_SWEEP_LOOK 512u
struct grant_cursor { /* where the sweep goes on; zero: at the first */
    uint8_t key[GRANT_KEY_LEN];
    bool is_set;
};
/* Looks at the next GRANT_SWEEP_LOOK grants and deletes those whose time is over; at the end the cursor is zero again.
 * Malformed ones stay, and stand in nobody's way: grant_find names them. */
MUST_CHECK int grant_sweep(struct store_txn *t, uint64_t now_ms, uint64_t skew_ms, struct grant_cursor *cursor,
                           unsigned *ret_deleted);

#endif
