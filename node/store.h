/* store: the node's LMDB: ledger entries and tiles, grants, documents, denials. Blocking; called on the store thread
 * only, but for store_open, and reads that say so.
 *
 * One writer. A write transaction is a struct store_txn handed to the functions of grant, log and the rest, so that one
 * commit (fdatasync before it returns) holds a whole group. After any storage error the transaction is dead and the
 * in-memory state must be read again. Refuses to write below STORE_FREE_MIN bytes of free disk. Every ERR_STORAGE names
 * the folder and, where there is one, the remedy. LMDB's limits: keys of 1 to 511 bytes; the map never grows by itself.
 *
 *   table         key                              value
 *   entries       u64be index                      entry bytes
 *   nodes         u8 level, u64be index            32 bytes, full subtrees only; level 0 = leaves
 *   checkpoints   u64be size                       signed note, the newest STORE_CHECKPOINTS_MAX
 *   the others    see the module that owns them */
#ifndef ENFILADE_NODE_STORE_H
#define ENFILADE_NODE_STORE_H

#include "common/base/bytes.h"

#define STORE_FREE_MIN (64u * 1024u * 1024u)
#define STORE_CHECKPOINTS_MAX 1024u

enum store_table {
    STORE_ENTRIES,
    STORE_NODES,
    STORE_CHECKPOINTS,
    STORE_GRANTS,
    STORE_DOCUMENTS,
    STORE_DENIALS,
    STORE_SALTS,
    STORE_QUOTAS,
    STORE_META,
    STORE_TABLE_COUNT
};

struct store;
struct store_txn;

/* The folder belongs to the caller's uid with mode 0700, or is made so; one process at a time opens it for writing.
 * ERR_STORAGE, ERR_NOMEM. */
MUST_CHECK int store_open(const char *folder, size_t map_bytes, bool read_only, struct store **ret, struct err *err);
void store_close(struct store *s);
/* LMDB has given up: the write of a meta page failed, and it does not know what the disk holds. Everything is
 * ERR_STORAGE until the process starts again. Any thread. */
bool store_is_stuck(const struct store *s);
MUST_CHECK int store_begin(struct store *s, bool write, struct store_txn **ret, struct err *err);
MUST_CHECK int store_commit(struct store_txn *t, struct err *err); /* frees t, also on failure */
void store_abort(struct store_txn *t);                             /* NULL is fine */
/* A transaction inside t that can be given up alone; until it ends, t is not touched. A storage error in it kills t
 * too. */
MUST_CHECK int store_begin_nested(struct store_txn *t, struct store_txn **ret, struct err *err);
bool store_is_dead(const struct store_txn *t); /* a storage error happened in it: only store_abort is left */
/* Views are valid until the transaction ends or writes. ERR_NOT_FOUND, ERR_STORAGE. */
MUST_CHECK int store_get(struct store_txn *t, enum store_table table, struct bytes key, struct bytes *ret_value);
MUST_CHECK int store_put(struct store_txn *t, enum store_table table, struct bytes key, struct bytes value,
                         bool only_new, struct err *err); /* only_new: ERR_INTEGRITY when the key exists */
MUST_CHECK int store_delete(struct store_txn *t, enum store_table table, struct bytes key);
/* In key order from `from` (inclusive; empty: from the first); visit returns false to stop and does not write. */
MUST_CHECK int store_scan(struct store_txn *t, enum store_table table, struct bytes from,
                          bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg);
MUST_CHECK int store_last(struct store_txn *t, enum store_table table, struct bytes *ret_key, struct bytes *ret_value);
MUST_CHECK int store_count(struct store_txn *t, enum store_table table, uint64_t *ret);

#endif
