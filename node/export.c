/* export: writes a stopped node's ledger as tiles. */
#include "node/export.h"
#include "common/ledger/tiles.h"
#include "node/ledger/tree.h"
#include <stdio.h>

#define READ_MAP_BYTES ((size_t)16 * 1024 * 1024 * 1024)

/* As stored, right or wrong: the verifier is the one to judge. */
static int read_node(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_LEN])
{
    return tree_node(arg, level, index, ret);
}

static int read_entry(void *arg, uint64_t index, struct bytes *ret_view)
{
    return tree_entry(arg, index, ret_view);
}

/* The newest checkpoint; entries behind it are not signed yet and stay out. */
static int newest(struct store_txn *t, struct bytes *ret_note, struct checkpoint *ret_checkpoint, struct err *err)
{
    struct bytes key, text;
    if (store_last(t, STORE_CHECKPOINTS, &key, ret_note) != 0)
        return err_set(err, ERR_NOT_FOUND, "this node has no signed checkpoint yet: nothing to export");
    TRY(note_text(*ret_note, &text, err));
    return checkpoint_parse(text, ret_checkpoint, err);
}

int export_run(const struct node_config *config, const char *folder, struct err *err)
{
    struct store *store = NULL;
    struct store_txn *t = NULL;
    struct buf path;
    buf_init(&path, 4096);
    buf_printf(&path, "%s/store", config->state);
    const char *text = buf_cstr(&path);
    int rc = text != NULL ? store_open(text, READ_MAP_BYTES, true, &store, err) : ERR_NOMEM;
    if (rc == 0)
        rc = store_begin(store, false, &t, err);
    if (rc == 0) {
        struct bytes note = BYTES_NONE;
        struct checkpoint c = {.size = 0};
        struct tiles_source source = {read_node, read_entry, t};
        rc = newest(t, &note, &c, err);
        if (rc == 0)
            rc = tiles_write(folder, &source, c.size, note, err);
        if (rc == 0)
            (void)printf("%s: %llu entries of %s\n", folder, (unsigned long long)c.size, c.origin);
    }
    store_abort(t);
    store_close(store);
    buf_done(&path);
    return rc;
}
