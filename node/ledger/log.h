/* log: the node's own log: append with group commit, one checkpoint signature per commit.
 *
 * All appends that arrive while the last group is being written share the next transaction, its fdatasync and its
 * checkpoint signature; there is no timer. Each append may bring a `with` function that writes in the same transaction
 * (grant, quota) and can refuse (then this append alone is undone and its done gets the error; others go on). Life of a
 * group:
 *
 *   queue → [store thread: for each: with(), entry, tree nodes] → commit → [token: sign(size, root)] → done for each
 *
 * done fires on the loop once the entry is durable and the checkpoint over it is signed, never from inside
 * node_log_append. At start, entries that were committed but not signed get their checkpoint first. Time never
 * decreases from entry to entry.
 *
 * While a group is at the token, the next one is already written. When the token does not sign, entries are still
 * written; the signature is asked for again every LOG_RETRY_MS, over all that is there by then. An append that waits
 * longer than LOG_SIGN_WAIT_MS for its signature is done with ERR_TOKEN: its entry (and what `with` wrote) is durable
 * and will be signed; nothing may leave the node for it but through node_log_receipt. Every other error of an append
 * means that neither the entry nor what `with` wrote is there, but ERR_STORAGE and ERR_CLOSED, after which it may be:
 * look again.
 *
 * What is signed was read back from the store and recomputed. After a storage error the state is read from the disk
 * again. When that finds something else than was written, the log is broken: everything is refused until a restart.
 *
 * The owner calls node_log_tick about every LOG_RETRY_MS from before node_log_start until `stopped`; without it nothing
 * is retried. The log writes no START entry by itself. */
#ifndef ENFILADE_NODE_LEDGER_LOG_H
#define ENFILADE_NODE_LEDGER_LOG_H

#include "common/base/clock.h"
#include "common/base/worker.h"
#include "common/ledger/receipt.h"
#include "node/store.h"
#include "node/token/ask.h"

#define LOG_QUEUE_MAX 4096 /* waiting appends; then ERR_BUSY */
#define LOG_RETRY_MS 200u
#define LOG_SIGN_WAIT_MS 3000u
#define LOG_READ_MAX (1024u * 1024u) /* bytes of entries in one node_log_read */
#define LOG_READ_COUNT_MAX 4096u

struct log_append {
    struct msg_entry entry; /* index and time_ms are filled in by the log; views must live until done */
    /* On the store thread, inside the transaction, before the entry is written; entry_index is the one it will get. May
     * change nothing of the log. Non-zero refuses this append. NULL: nothing to do. */
    int (*with)(struct log_append *a, struct store_txn *t, uint64_t entry_index, uint64_t time_ms, struct err *err);
    /* err NULL: entry_bytes and receipt are set (valid during the call). */
    void (*done)(struct log_append *a, const struct err *err);
    struct bytes entry_bytes, receipt;
    uint64_t entry_index;
    void *arg;
};

struct node_log;
struct node_log_settings {
    struct store *store;
    struct worker_pool *store_thread; /* one thread */
    struct token *token;
    struct clock clock;
    const char *network, *node;
    struct note_key key; /* public log key, to check what the token signed */
};
/* Recomputes every stored leaf and node (ERR_INTEGRITY names the index), signs what is unsigned (ERR_TOKEN when that
 * takes longer than LOG_SIGN_WAIT_MS). ready on the loop, with err when the log cannot be used; node_log_stop frees it
 * then too. The names, the key and the store are copied or borrowed until `stopped`. */
MUST_CHECK int node_log_start(const struct node_log_settings *s, void (*ready)(void *arg, const struct err *err),
                              void *arg, struct node_log **ret, struct err *err);
/* ERR_BUSY: full, not ready yet, or stopping; ERR_INTEGRITY: broken; ERR_NOMEM. Then done is not called. */
MUST_CHECK int node_log_append(struct node_log *l, struct log_append *a);
void node_log_tick(struct node_log *l); /* retries, deadlines, and the newest checkpoint onto the disk */
/* NULL, or why the log takes no entries. */
const struct err *node_log_broken(const struct node_log *l);
void node_log_head(const struct node_log *l, uint64_t *ret_size, uint8_t ret_root[HASH_LEN]); /* newest signed */
uint64_t node_log_last_time(const struct node_log *l); /* ms of the last entry, 0 when there is none */
/* A receipt for an old entry under the newest signed checkpoint; done as for an append (entry_bytes, receipt). An entry
 * that is not signed yet waits for its signature like an append. done with ERR_NOT_FOUND: no such entry. Same errors.
 */
MUST_CHECK int node_log_receipt(struct node_log *l, struct log_append *a, uint64_t entry_index);
/* [from, from+count) as stored, signed or not, capped at LOG_READ_MAX and LOG_READ_COUNT_MAX, with the newest
 * checkpoint note (empty: nothing is signed yet); on the loop. ERR_BUSY, ERR_NOMEM. */
MUST_CHECK int node_log_read(struct node_log *l, uint64_t from, uint64_t count,
                             void (*done)(void *arg, const struct message *entries, const struct err *err), void *arg);
/* Drains (at most LOG_SIGN_WAIT_MS beyond the store's and the token's own time) and frees. */
void node_log_stop(struct node_log *l, void (*stopped)(void *arg), void *arg);

#endif
