/* log: the node's own log: append with group commit, one checkpoint signature per commit.
 *
 * All appends that arrive while the last group is being written share the next transaction, its fdatasync and its checkpoint
 * signature; there is no timer. Each append may bring a `with` function that writes in the same transaction (grant, quota) and
 * can refuse (then this append alone is undone and its done gets the error; others go on). Life of a group:
 *
 *   queue → [store thread: for each: with(), entry bytes, tree nodes] → commit → [token: sign(size, root)] → done for each
 *
 * done fires on the loop once the entry is durable and the checkpoint over it is signed. At start, entries that were committed
 * but not signed get their checkpoint first. Time never decreases from entry to entry. */
#ifndef ENFILADE_NODE_LEDGER_LOG_H
#define ENFILADE_NODE_LEDGER_LOG_H

#include "common/base/clock.h"
#include "common/base/worker.h"
#include "common/ledger/receipt.h"
#include "node/store.h"
#include "node/token/ask.h"

#define LOG_QUEUE_MAX 4096 /* waiting appends; then ERR_BUSY */

struct log_append {
    struct msg_entry entry;     /* index and time_ms are filled in by the log; views must live until done */
    /* On the store thread, inside the transaction, before the entry is written; entry_index is the one it will get. May change
     * nothing of the log. Non-zero refuses this append. NULL: nothing to do. */
    int (*with)(struct log_append *a, struct store_txn *t, uint64_t entry_index, uint64_t time_ms, struct err *err);
    /* err NULL: entry_bytes and receipt are set (valid during the call). */
    void (*done)(struct log_append *a, const struct err *err);
    struct bytes entry_bytes, receipt;
    uint64_t entry_index;
    void *arg;
    struct log_append *next;    /* the log's */
};

struct node_log;
struct node_log_settings {
    struct store *store;
    struct worker_pool *store_thread; /* one thread */
    struct token *token;
    struct clock clock;
    const char *network, *node;
    struct note_key key;        /* public log key, to check what the token signed */
};
/* Reads the tail, recomputes the root of what is stored (ERR_INTEGRITY names the index), signs what is unsigned. ready on the
 * loop, with err when the log cannot be used. */
MUST_CHECK int node_log_start(const struct node_log_settings *s, void (*ready)(void *arg, const struct err *err), void *arg,
                              struct node_log **ret, struct err *err);
MUST_CHECK int node_log_append(struct node_log *l, struct log_append *a); /* ERR_BUSY */
void node_log_head(const struct node_log *l, uint64_t *ret_size, uint8_t ret_root[HASH_LEN]); /* newest signed */
/* A receipt for an old entry under the newest signed checkpoint; done as for an append (entry_bytes, receipt). */
MUST_CHECK int node_log_receipt(struct node_log *l, struct log_append *a, uint64_t entry_index);
/* [from, from+count) as stored, capped at 1 MiB, with the newest checkpoint note; on the loop. */
MUST_CHECK int node_log_read(struct node_log *l, uint64_t from, uint64_t count,
                             void (*done)(void *arg, const struct message *entries, const struct err *err), void *arg);
void node_log_stop(struct node_log *l, void (*stopped)(void *arg), void *arg); /* drains */

#endif
