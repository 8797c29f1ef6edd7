/* flip-entry: flips one bit of one stored ledger entry of a stopped node, to see that this is noticed.
 *
 *   flip-entry STATE_FOLDER INDEX      prints the entry's leaf hash before and after */
#include "common/crypto/merkle.h"
#include "common/ledger/entry.h"
#include "node/ledger/tree.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAP_BYTES ((size_t)1 << 34) /* at least what the node uses */

static void print_leaf(const char *when, uint64_t index, struct bytes entry)
{
    uint8_t leaf[HASH_LEN];
    char hex[2 * HASH_LEN + 1];
    merkle_leaf(entry, leaf);
    hex_encode(BYTES_OF(leaf), hex);
    printf("entry %" PRIu64 " %s %s\n", index, when, hex);
}

static int flip(struct store_txn *t, uint64_t index, struct err *err)
{
    uint8_t copy[ENTRY_MAX], key[8];
    struct bytes entry;
    int rc = tree_entry(t, index, &entry);
    if (rc != 0 || entry.len == 0 || entry.len > sizeof(copy))
        return err_set(err, ERR_NOT_FOUND, "there is no entry %" PRIu64, index);
    memcpy(copy, entry.p, entry.len);
    print_leaf("before", index, BYTES(copy, entry.len));
    copy[entry.len - 1] ^= 1;
    print_leaf("after", index, BYTES(copy, entry.len));
    tree_key(index, key);
    return store_put(t, STORE_ENTRIES, BYTES_OF(key), BYTES(copy, entry.len), false, err);
}

static int run(const char *state, uint64_t index, struct err *err)
{
    char folder[PATH_MAX];
    struct store *s = NULL;
    struct store_txn *t = NULL;
    if (snprintf(folder, sizeof(folder), "%s/store", state) >= (int)sizeof(folder))
        return err_set(err, ERR_USAGE, "the name is too long");
    TRY(store_open(folder, MAP_BYTES, false, &s, err));
    int rc = store_begin(s, true, &t, err);
    if (rc == 0)
        rc = flip(t, index, err);
    if (rc == 0)
        rc = store_commit(t, err);
    else
        store_abort(t);
    store_close(s);
    return rc;
}

int main(int argc, char **argv)
{
    struct err err = {.code = 0};
    char *end = NULL;
    errno = 0;
    unsigned long long index = argc == 3 ? strtoull(argv[2], &end, 10) : 0;
    if (argc != 3 || errno != 0 || end == argv[2] || *end != '\0') {
        fprintf(stderr, "usage: flip-entry STATE_FOLDER INDEX (of a stopped node)\n");
        return EXIT_USAGE;
    }
    int rc = run(argv[1], index, &err);
    if (rc != 0)
        fprintf(stderr, "flip-entry: %s\n", err.text);
    return (int)err_exit(rc);
}
