/* tiles: a log as a folder of files, in the layout of C2SP tlog-tiles, and the check that such a folder holds.
 *
 *   <folder>/checkpoint                    the signed note
 *   <folder>/tile/<L>/<N>[.p/<W>]          256 (or W) hashes of tree level 8·L, from index 256·N on, 32 bytes each
 *   <folder>/tile/entries/<N>[.p/<W>]      the 256 (or W) entries below tile N of level 0: u16be length ‖ bytes each
 *
 *   N in groups of three digits, all but the last with an x: 1234067 is x001/x234/067. Source: C2SP tlog-tiles.
 *
 * Blocking; for command lines and tests. Files are written whole or not at all; the checkpoint comes last, when the
 * disk has all others. */
#ifndef ENFILADE_LEDGER_TILES_H
#define ENFILADE_LEDGER_TILES_H

#include "common/ledger/checkpoint.h"

#define TILE_HASHES 256u
#define TILES_PATH_MAX 128 /* of a file inside the folder */

/* ret: e.g. "tile/0/x001/005" or "tile/entries/000.p/7"; level < 0 is "entries"; width 256 is a full tile. */
void tiles_path(int level, uint64_t index, unsigned width, char ret[TILES_PATH_MAX]);

struct tiles_source {
    merkle_read node;                                                           /* full nodes of the tree */
    MUST_CHECK int (*entry)(void *arg, uint64_t index, struct bytes *ret_view); /* valid until the next call */
    void *arg;
};
/* Makes the folder (0700) when it is not there; files of an older export of the same log are written over or left.
 * ERR_IO names the file; errors of the source. */
MUST_CHECK int tiles_write(const char *folder, const struct tiles_source *source, uint64_t size,
                           struct bytes checkpoint, struct err *err);

/* The first thing that does not hold. */
struct tiles_difference {
    unsigned level; /* of the tree; 0: the leaf of entry `index` */
    uint64_t index; /* at that level */
    bool is_root;   /* the checkpoint's root, not a node */
    uint8_t stored[HASH_LEN], recomputed[HASH_LEN];
};
/* Recomputes every leaf and node from the entries, compares with every tile and at last with the checkpoint, which must
 * be signed by log_key. visit, if not NULL, is told every entry after its leaf was compared; non-zero ends with that
 * error. ERR_INTEGRITY: a difference (*ret_difference is set, is_difference true), or a file that is missing or has not
 * the length it must have; ERR_SIGNATURE, ERR_FORMAT (checkpoint), ERR_IO. */
struct tiles_report {
    struct checkpoint checkpoint;
    bool is_difference;
    struct tiles_difference difference;
};
MUST_CHECK int tiles_verify(const char *folder, const struct note_key *log_key,
                            int (*visit)(void *arg, uint64_t index, struct bytes entry, struct err *err), void *arg,
                            struct tiles_report *ret, struct err *err);

#endif
