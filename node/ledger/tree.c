/* tree: Merkle nodes in and out of the store. */
#include "node/ledger/tree.h"
#include "common/ledger/entry.h"
#include <inttypes.h>
#include <string.h>

#define NODE_KEY_LEN 9

void tree_key(uint64_t index, uint8_t ret[8])
{
    for (size_t i = 0; i < 8; i++)
        ret[i] = (uint8_t)(index >> (56 - 8 * i));
}

static uint64_t key_index(struct bytes key)
{
    struct cursor c = {key};
    uint64_t v = UINT64_MAX;
    if (cursor_u64be(&c, &v) != 0 || c.left.len != 0)
        return UINT64_MAX; /* never an index: refused by whoever compares */
    return v;
}

static void node_key(unsigned level, uint64_t index, uint8_t ret[NODE_KEY_LEN])
{
    ret[0] = (uint8_t)level;
    tree_key(index, ret + 1);
}

int tree_node(struct store_txn *txn, unsigned level, uint64_t index, uint8_t ret[HASH_LEN])
{
    uint8_t key[NODE_KEY_LEN];
    struct bytes value;
    node_key(level, index, key);
    int rc = store_get(txn, STORE_NODES, BYTES_OF(key), &value);
    if (rc != 0 || value.len != HASH_LEN)
        return rc == ERR_STORAGE ? rc : ERR_INTEGRITY;
    memcpy(ret, value.p, HASH_LEN);
    return 0;
}

int tree_entry(struct store_txn *txn, uint64_t index, struct bytes *ret_view)
{
    uint8_t key[8];
    tree_key(index, key);
    int rc = store_get(txn, STORE_ENTRIES, BYTES_OF(key), ret_view);
    return rc == ERR_NOT_FOUND ? ERR_INTEGRITY : rc;
}

static int read_node(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_LEN])
{
    return tree_node(arg, level, index, ret);
}

int tree_prove(struct store_txn *txn, uint64_t index, uint64_t size, uint8_t ret_proof[MERKLE_PROOF_MAX][HASH_LEN],
               unsigned *ret_count)
{
    return merkle_inclusion(index, size, read_node, txn, ret_proof, ret_count);
}

/* ---- writing */

struct put {
    struct store_txn *txn;
    struct err *err;
    int rc;
};

static void put_node(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_LEN])
{
    struct put *p = arg;
    uint8_t key[NODE_KEY_LEN];
    node_key(level, index, key);
    if (p->rc == 0)
        p->rc = store_put(p->txn, STORE_NODES, BYTES_OF(key), BYTES(hash, HASH_LEN), true, p->err);
}

int tree_write(struct tree *t, struct store_txn *txn, struct bytes entry, struct err *err)
{
    uint8_t key[8], leaf[HASH_LEN];
    struct put p = {txn, err, 0};
    tree_key(t->range.size, key);
    TRY(store_put(txn, STORE_ENTRIES, BYTES_OF(key), entry, true, err));
    merkle_leaf(entry, leaf);
    merkle_range_append(&t->range, leaf, put_node, &p);
    return p.rc;
}

static bool first_key(void *arg, struct bytes key, struct bytes value)
{
    (void)value;
    if (key.len == 8)
        memcpy(arg, key.p, 8);
    return false;
}

int tree_put_checkpoint(struct store_txn *txn, uint64_t size, struct bytes note, struct err *err)
{
    uint8_t key[8], oldest[8] = {0};
    uint64_t count = 0;
    tree_key(size, key);
    TRY(store_put(txn, STORE_CHECKPOINTS, BYTES_OF(key), note, false, err));
    int rc = store_count(txn, STORE_CHECKPOINTS, &count);
    for (; rc == 0 && count > STORE_CHECKPOINTS_MAX; count--) {
        rc = store_scan(txn, STORE_CHECKPOINTS, BYTES_NONE, first_key, oldest);
        if (rc == 0)
            rc = store_delete(txn, STORE_CHECKPOINTS, BYTES_OF(oldest));
    }
    return rc == 0 ? 0 : err_set(err, rc, "old checkpoints cannot be removed");
}

/* ---- reading back */

static bool same_range(const struct merkle_range *a, const struct merkle_range *b)
{
    return a->size == b->size && a->count == b->count && memcmp(a->hash, b->hash, (size_t)a->count * HASH_LEN) == 0;
}

int tree_verify(struct tree *t, struct store_txn *txn, struct err *err)
{
    while (t->verified.size < t->range.size) {
        struct bytes entry;
        uint8_t leaf[HASH_LEN];
        uint64_t index = t->verified.size;
        int rc = tree_entry(txn, index, &entry);
        if (rc != 0)
            return err_set(err, rc, "entry %" PRIu64 " cannot be read back", index);
        merkle_leaf(entry, leaf);
        merkle_range_append(&t->verified, leaf, NULL, NULL);
    }
    if (!same_range(&t->verified, &t->range))
        return err_set(err, ERR_INTEGRITY,
                       "the tree of %" PRIu64 " entries is not what was computed when they were written",
                       t->range.size);
    return 0;
}

static int read_last_time(struct store_txn *txn, uint64_t size, uint64_t *ret_ms, struct err *err)
{
    struct bytes bytes;
    struct message *m = NULL;
    *ret_ms = 0;
    if (size == 0)
        return 0;
    int rc = tree_entry(txn, size - 1, &bytes);
    if (rc == 0 && (entry_parse(bytes, &m, err) != 0 || m->entry.index != size - 1))
        rc = ERR_INTEGRITY;
    if (rc == 0)
        *ret_ms = m->entry.time_ms;
    message_free(m);
    return rc == 0 ? 0 : err_set(err, rc, "entry %" PRIu64 " cannot be read", size - 1);
}

/* The compact range of the first `size` leaves, out of the stored nodes. */
static int read_range(struct store_txn *txn, uint64_t size, struct merkle_range *ret, struct err *err)
{
    uint64_t before = 0;
    merkle_range_init(ret);
    for (unsigned level = 64; level-- > 0;) {
        if ((size >> level & 1) == 0)
            continue;
        int rc = tree_node(txn, level, before >> level, ret->hash[ret->count]);
        if (rc != 0)
            return err_set(err, rc, "node %" PRIu64 " of level %u cannot be read", before >> level, level);
        ret->count++;
        before += UINT64_C(1) << level;
    }
    ret->size = size;
    return 0;
}

static int read_size(struct store_txn *txn, uint64_t *ret, struct err *err)
{
    struct bytes key, value;
    int rc = store_last(txn, STORE_ENTRIES, &key, &value);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return err_set(err, rc, "the entries cannot be read");
    *ret = rc == 0 ? key_index(key) + 1 : 0; /* a malformed key gives 0 */
    return 0;
}

int tree_reload(struct tree *t, struct err *err)
{
    struct store_txn *txn = NULL;
    struct merkle_range range;
    uint64_t size = 0, last_ms = 0;
    TRY(store_begin(t->store, false, &txn, err));
    int rc = read_size(txn, &size, err);
    if (rc == 0 && size < t->verified.size)
        rc = err_set(err, ERR_INTEGRITY, "the store holds %" PRIu64 " entries where %" PRIu64 " were committed", size,
                     t->verified.size);
    if (rc == 0)
        rc = read_range(txn, size, &range, err);
    if (rc == 0)
        rc = read_last_time(txn, size, &last_ms, err);
    if (rc == 0) {
        t->range = range;
        t->last_ms = last_ms;
        rc = tree_verify(t, txn, err);
    }
    store_abort(txn);
    return rc;
}

/* ---- everything, at start */

struct load {
    struct tree *tree;
    struct store_txn *txn;
    const struct note_key *key;
    struct err *err;
    int rc;
};

static void compare_node(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_LEN])
{
    struct load *l = arg;
    uint8_t stored[HASH_LEN];
    char was[2 * HASH_LEN + 1], is[2 * HASH_LEN + 1];
    if (l->rc != 0)
        return;
    l->rc = tree_node(l->txn, level, index, stored);
    if (l->rc != 0) {
        (void)err_set(l->err, l->rc, "%s %" PRIu64 " of level %u is missing", level == 0 ? "leaf" : "node", index,
                      level);
        return;
    }
    if (memcmp(stored, hash, HASH_LEN) == 0)
        return;
    hex_encode(BYTES_OF(stored), was);
    hex_encode(BYTES(hash, HASH_LEN), is);
    if (level == 0)
        l->rc = err_set(l->err, ERR_INTEGRITY, "entry %" PRIu64 " was altered: leaf hash stored %s, recomputed %s",
                        index, was, is);
    else
        l->rc =
            err_set(l->err, ERR_INTEGRITY, "node %" PRIu64 " of level %u was altered: hash stored %s, recomputed %s",
                    index, level, was, is);
}

/* Was what is stored what was signed at this size? */
static void compare_checkpoint(struct load *l)
{
    uint8_t key[8], root[HASH_LEN];
    struct bytes note;
    struct checkpoint c;
    uint64_t size = l->tree->range.size;
    tree_key(size, key);
    int rc = store_get(l->txn, STORE_CHECKPOINTS, BYTES_OF(key), &note);
    if (rc == ERR_NOT_FOUND)
        return;
    if (rc == 0 && (checkpoint_open(note, l->key, &c, l->err) != 0 || c.size != size)) {
        (void)err_wrap(l->err, l->err->code, "the stored checkpoint of size %" PRIu64 " does not hold under key %s",
                       size, l->key->name);
        l->rc = l->err->code = ERR_INTEGRITY;
        return;
    }
    merkle_range_root(&l->tree->range, root);
    if (rc != 0)
        l->rc = err_set(l->err, rc, "the checkpoint of size %" PRIu64 " cannot be read", size);
    else if (memcmp(root, c.root, HASH_LEN) != 0)
        l->rc = err_set(l->err, ERR_INTEGRITY, "the first %" PRIu64 " entries are not those that were signed", size);
}

static bool load_entry(void *arg, struct bytes key, struct bytes value)
{
    struct load *l = arg;
    uint8_t leaf[HASH_LEN];
    uint64_t index = l->tree->range.size;
    if (key_index(key) != index) {
        l->rc = err_set(l->err, ERR_INTEGRITY, "entry %" PRIu64 " is missing", index);
        return false;
    }
    merkle_leaf(value, leaf);
    merkle_range_append(&l->tree->range, leaf, compare_node, l);
    if (l->rc == 0)
        compare_checkpoint(l);
    return l->rc == 0;
}

static int read_head(struct load *l, struct checkpoint *ret_head, struct buf *ret_note)
{
    struct bytes key, note;
    *ret_head = (struct checkpoint){.size = 0};
    int rc = store_last(l->txn, STORE_CHECKPOINTS, &key, &note);
    if (rc == ERR_NOT_FOUND)
        return 0;
    if (rc != 0)
        return err_set(l->err, rc, "the checkpoints cannot be read");
    if (key_index(key) > l->tree->range.size)
        return err_set(l->err, ERR_INTEGRITY,
                       "the store holds %" PRIu64 " entries, but a checkpoint of %" PRIu64 " was signed",
                       l->tree->range.size, key_index(key));
    TRY(checkpoint_open(note, l->key, ret_head, l->err));
    buf_put(ret_note, note);
    return buf_ok(ret_note) ? 0 : err_set(l->err, ERR_NOMEM, "no memory for the checkpoint");
}

int tree_load(struct tree *t, struct store *store, const struct note_key *key, struct checkpoint *ret_head,
              struct buf *ret_note, struct err *err)
{
    *t = (struct tree){.store = store};
    struct load l = {.tree = t, .key = key, .err = err};
    merkle_range_init(&t->range);
    TRY(store_begin(store, false, &l.txn, err));
    int rc = store_scan(l.txn, STORE_ENTRIES, BYTES_NONE, load_entry, &l);
    if (rc != 0)
        rc = err_set(err, rc, "the entries cannot be read");
    else
        rc = l.rc;
    if (rc == 0)
        rc = read_head(&l, ret_head, ret_note);
    if (rc == 0)
        rc = read_last_time(l.txn, t->range.size, &t->last_ms, err);
    t->verified = t->range;
    store_abort(l.txn);
    return rc;
}
