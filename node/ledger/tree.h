/* tree: the log's Merkle tree as the store holds it: load, append, recompute, prove. Store thread only.
 *
 * `range` is what the last commit holds, `verified` what has been recomputed from entries read back out of the store; a
 * root is signed only when both say the same. */
#ifndef ENFILADE_NODE_LEDGER_TREE_H
#define ENFILADE_NODE_LEDGER_TREE_H

#include "common/crypto/merkle.h"
#include "common/ledger/checkpoint.h"
#include "node/store.h"

struct tree {
    struct store *store;
    struct merkle_range range, verified;
    uint64_t last_ms; /* time of the last entry, 0 without one */
};

void tree_key(uint64_t index, uint8_t ret[8]); /* of STORE_ENTRIES and STORE_CHECKPOINTS */

/* Recomputes everything that is stored, from the leaves up: every node and the root of every checkpoint that is kept.
 * ret_head and ret_note: the newest checkpoint, size 0 and empty when there is none. ERR_INTEGRITY names the index,
 * ERR_STORAGE, ERR_NOMEM. */
MUST_CHECK int tree_load(struct tree *t, struct store *store, const struct note_key *key, struct checkpoint *ret_head,
                         struct buf *ret_note, struct err *err);
/* After a storage error: what does the disk hold now? ERR_INTEGRITY when it holds less than was verified. */
MUST_CHECK int tree_reload(struct tree *t, struct err *err);
/* Entry number range.size and the nodes that it completes. On failure the caller puts the old range back. */
MUST_CHECK int tree_write(struct tree *t, struct store_txn *txn, struct bytes entry, struct err *err);
/* Reads back what was committed since, and compares. ERR_INTEGRITY, ERR_STORAGE. */
MUST_CHECK int tree_verify(struct tree *t, struct store_txn *txn, struct err *err);
/* ERR_PROOF (not in a tree of that size), ERR_STORAGE, ERR_INTEGRITY. */
MUST_CHECK int tree_prove(struct store_txn *txn, uint64_t index, uint64_t size,
                          uint8_t ret_proof[MERKLE_PROOF_MAX][HASH_LEN], unsigned *ret_count);
MUST_CHECK int tree_entry(struct store_txn *txn, uint64_t index, struct bytes *ret_view);
MUST_CHECK int tree_node(struct store_txn *txn, unsigned level, uint64_t index, uint8_t ret[HASH_LEN]);
/* Keeps the newest STORE_CHECKPOINTS_MAX. */
MUST_CHECK int tree_put_checkpoint(struct store_txn *txn, uint64_t size, struct bytes note, struct err *err);

#endif
