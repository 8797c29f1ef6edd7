/* tiles: writes and checks a folder of C2SP tlog-tiles. */
#include "common/ledger/tiles.h"
#include "common/ledger/entry.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEVEL_BITS 8u
#define TILE_LEVELS (64u / LEVEL_BITS)
#define TILE_LEN (TILE_HASHES * HASH_LEN)
#define BUNDLE_MAX (TILE_HASHES * (2u + ENTRY_MAX))
#define ENTRIES (-1)
#define CHECKPOINT "checkpoint"

void tiles_path(int level, uint64_t index, unsigned width, char ret[TILES_PATH_MAX])
{
    unsigned groups[7], count = 0;
    size_t n = level < 0 ? (size_t)snprintf(ret, TILES_PATH_MAX, "tile/entries")
                         : (size_t)snprintf(ret, TILES_PATH_MAX, "tile/%d", level);
    do {
        groups[count++] = (unsigned)(index % 1000);
        index /= 1000;
    } while (index > 0);
    while (count-- > 0)
        n += (size_t)snprintf(ret + n, TILES_PATH_MAX - n, count > 0 ? "/x%03u" : "/%03u", groups[count]);
    if (width < TILE_HASHES)
        (void)snprintf(ret + n, TILES_PATH_MAX - n, ".p/%u", width);
}

/* How many hashes tile `index` of a level has in a tree of this size. */
static unsigned width_of(uint64_t size, unsigned level, uint64_t index)
{
    uint64_t nodes = level < TILE_LEVELS ? size >> (LEVEL_BITS * level) : 0;
    uint64_t left = nodes - index * TILE_HASHES;
    return left < TILE_HASHES ? (unsigned)left : TILE_HASHES;
}

/* ---- files */

static int io_error(const char *path, struct err *err)
{
    return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

static int join(const char *folder, const char *name, char ret[PATH_MAX], struct err *err)
{
    int n = snprintf(ret, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX - 8 ? 0 : err_set(err, ERR_IO, "%s: the name is too long", folder);
}

/* All folders above the file. */
static int make_folders(char *path, size_t from, struct err *err)
{
    for (char *slash = strchr(path + from, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : io_error(path, err);
        *slash = '/';
        TRY(rc);
    }
    return 0;
}

static int write_whole(int fd, struct bytes data)
{
    while (data.len > 0) {
        ssize_t n = write(fd, data.p, data.len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            data = BYTES(data.p + n, data.len - (size_t)n);
    }
    return 0;
}

/* Everything of the folder onto the disk: one wait instead of one per file. */
static int sync_folder(const char *folder, struct err *err)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return io_error(folder, err);
    int rc = syncfs(fd) == 0 ? 0 : io_error(folder, err);
    close(fd);
    return rc;
}

/* Under its name there is the old file or the whole new one. */
static int put_file(const char *folder, const char *name, struct bytes data, struct err *err)
{
    char path[PATH_MAX], fresh[PATH_MAX + 8];
    TRY(join(folder, name, path, err));
    TRY(make_folders(path, strlen(folder) + 1, err));
    (void)snprintf(fresh, sizeof(fresh), "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return io_error(fresh, err);
    int rc = write_whole(fd, data) == 0 ? 0 : io_error(fresh, err);
    if (close(fd) != 0 && rc == 0)
        rc = io_error(fresh, err);
    if (rc == 0 && rename(fresh, path) != 0)
        rc = io_error(path, err);
    if (rc != 0)
        (void)unlink(fresh);
    return rc;
}

/* A missing file is a folder that does not hold; a longer one than max likewise. */
static int get_file(const char *folder, const char *name, size_t max, struct buf *ret, struct err *err)
{
    char path[PATH_MAX];
    uint8_t piece[4096];
    TRY(join(folder, name, path, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? err_set(err, ERR_INTEGRITY, "%s is missing", path)
                                                   : io_error(path, err);
    ssize_t n = 0;
    buf_init(ret, max);
    while ((n = read(fd, piece, sizeof(piece))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        buf_put(ret, BYTES(piece, (size_t)n));
    }
    int rc = n < 0 ? io_error(path, err) : 0;
    close(fd);
    if (rc == 0 && !buf_ok(ret))
        rc = err_set(err, ERR_INTEGRITY, "%s is longer than %zu bytes", path, max);
    if (rc != 0)
        buf_done(ret);
    return rc;
}

/* ---- writing */

static int write_tile(const char *folder, const struct tiles_source *source, unsigned level, uint64_t index,
                      unsigned width, struct err *err)
{
    uint8_t hash[TILE_HASHES][HASH_LEN];
    char name[TILES_PATH_MAX];
    tiles_path((int)level, index, width, name);
    for (unsigned i = 0; i < width; i++) {
        int rc = source->node(source->arg, level * LEVEL_BITS, index * TILE_HASHES + i, hash[i]);
        if (rc != 0)
            return err_set(err, rc, "node %" PRIu64 " of level %u cannot be read", index * TILE_HASHES + i,
                           level * LEVEL_BITS);
    }
    return put_file(folder, name, BYTES(hash, (size_t)width * HASH_LEN), err);
}

static int write_bundle(const char *folder, const struct tiles_source *source, uint64_t index, unsigned width,
                        struct err *err)
{
    struct buf data;
    char name[TILES_PATH_MAX];
    int rc = 0;
    tiles_path(ENTRIES, index, width, name);
    buf_init(&data, BUNDLE_MAX);
    for (unsigned i = 0; i < width && rc == 0; i++) {
        struct bytes entry;
        rc = source->entry(source->arg, index * TILE_HASHES + i, &entry);
        if (rc == 0 && entry.len > ENTRY_MAX)
            rc = ERR_TOO_LONG;
        if (rc != 0) {
            (void)err_set(err, rc, "entry %" PRIu64 " cannot be read", index * TILE_HASHES + i);
            break;
        }
        buf_u16be(&data, (uint16_t)entry.len);
        buf_put(&data, entry);
    }
    if (rc == 0)
        rc = buf_ok(&data) ? put_file(folder, name, buf_view(&data), err) : err_set(err, ERR_NOMEM, "%s", name);
    buf_done(&data);
    return rc;
}

int tiles_write(const char *folder, const struct tiles_source *source, uint64_t size, struct bytes checkpoint,
                struct err *err)
{
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return io_error(folder, err);
    for (uint64_t i = 0; i * TILE_HASHES < size; i++)
        TRY(write_bundle(folder, source, i, width_of(size, 0, i), err));
    for (unsigned level = 0; level < TILE_LEVELS && size >> (LEVEL_BITS * level) > 0; level++)
        for (uint64_t i = 0; width_of(size, level, i) > 0; i++) {
            unsigned width = width_of(size, level, i);
            TRY(write_tile(folder, source, level, i, width, err));
            if (width < TILE_HASHES)
                break;
        }
    TRY(sync_folder(folder, err));
    TRY(put_file(folder, CHECKPOINT, checkpoint, err));
    return sync_folder(folder, err);
}

/* ---- checking */

struct check {
    const char *folder;
    uint64_t size;
    struct tiles_report *report;
    struct err *err;
    int rc;
    struct {
        struct buf hashes; /* the tile that the walk is in */
        bool is_open;
        uint64_t index;
    } tile[TILE_LEVELS];
};

static int open_tile(struct check *c, unsigned level, uint64_t index)
{
    char name[TILES_PATH_MAX];
    unsigned width = width_of(c->size, level, index);
    if (c->tile[level].is_open && c->tile[level].index == index)
        return 0;
    if (c->tile[level].is_open)
        buf_done(&c->tile[level].hashes);
    c->tile[level].is_open = false;
    tiles_path((int)level, index, width, name);
    TRY(get_file(c->folder, name, TILE_LEN, &c->tile[level].hashes, c->err));
    c->tile[level].is_open = true;
    c->tile[level].index = index;
    if (c->tile[level].hashes.len != (size_t)width * HASH_LEN)
        return err_set(c->err, ERR_INTEGRITY, "%s/%s has %zu bytes instead of %zu", c->folder, name,
                       c->tile[level].hashes.len, (size_t)width * HASH_LEN);
    return 0;
}

static int differs(struct check *c, const struct tiles_difference *d)
{
    char stored[2 * HASH_LEN + 1], recomputed[2 * HASH_LEN + 1], what[64];
    hex_encode(BYTES_OF(d->stored), stored);
    hex_encode(BYTES_OF(d->recomputed), recomputed);
    if (d->is_root)
        (void)snprintf(what, sizeof(what), "the root of %" PRIu64 " entries", d->index);
    else if (d->level == 0)
        (void)snprintf(what, sizeof(what), "the leaf of entry %" PRIu64, d->index);
    else
        (void)snprintf(what, sizeof(what), "node %" PRIu64 " of level %u", d->index, d->level);
    c->report->is_difference = true;
    c->report->difference = *d;
    return err_set(c->err, ERR_INTEGRITY, "%s: %s is %s, recomputed from the entries %s", c->folder, what, stored,
                   recomputed);
}

static void compare_node(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_LEN])
{
    struct check *c = arg;
    if (c->rc != 0 || level % LEVEL_BITS != 0)
        return;
    c->rc = open_tile(c, level / LEVEL_BITS, index / TILE_HASHES);
    if (c->rc != 0)
        return;
    const uint8_t *stored = c->tile[level / LEVEL_BITS].hashes.p + (index % TILE_HASHES) * HASH_LEN;
    if (memcmp(stored, hash, HASH_LEN) == 0)
        return;
    struct tiles_difference d = {.level = level, .index = index};
    memcpy(d.stored, stored, HASH_LEN);
    memcpy(d.recomputed, hash, HASH_LEN);
    c->rc = differs(c, &d);
}

static int check_bundle(struct check *c, uint64_t index, struct merkle_range *range,
                        int (*visit)(void *arg, uint64_t index, struct bytes entry, struct err *err), void *arg)
{
    unsigned width = width_of(c->size, 0, index);
    char name[TILES_PATH_MAX];
    struct buf data;
    tiles_path(ENTRIES, index, width, name);
    TRY(get_file(c->folder, name, BUNDLE_MAX, &data, c->err));
    struct cursor cursor = {buf_view(&data)};
    for (unsigned i = 0; i < width && c->rc == 0; i++) {
        uint16_t len = 0;
        uint8_t leaf[HASH_LEN];
        struct bytes entry;
        if (cursor_u16be(&cursor, &len) != 0 || cursor_take(&cursor, len, &entry) != 0) {
            c->rc = err_set(c->err, ERR_INTEGRITY, "%s/%s ends within entry %" PRIu64, c->folder, name, range->size);
            break;
        }
        merkle_leaf(entry, leaf);
        merkle_range_append(range, leaf, compare_node, c);
        if (c->rc == 0 && visit != NULL)
            c->rc = visit(arg, range->size - 1, entry, c->err);
    }
    if (c->rc == 0 && cursor.left.len != 0)
        c->rc = err_set(c->err, ERR_INTEGRITY, "%s/%s holds more than its entries", c->folder, name);
    buf_done(&data);
    return c->rc;
}

static int check_root(struct check *c, const struct merkle_range *range)
{
    struct tiles_difference d = {.index = range->size, .is_root = true};
    merkle_range_root(range, d.recomputed);
    memcpy(d.stored, c->report->checkpoint.root, HASH_LEN);
    return memcmp(d.stored, d.recomputed, HASH_LEN) == 0 ? 0 : differs(c, &d);
}

int tiles_verify(const char *folder, const struct note_key *log_key,
                 int (*visit)(void *arg, uint64_t index, struct bytes entry, struct err *err), void *arg,
                 struct tiles_report *ret, struct err *err)
{
    struct check c = {.folder = folder, .report = ret, .err = err};
    struct merkle_range range;
    struct buf note;
    *ret = (struct tiles_report){.is_difference = false};
    TRY(get_file(folder, CHECKPOINT, CHECKPOINT_MAX, &note, err));
    int rc = checkpoint_open(buf_view(&note), log_key, &ret->checkpoint, err);
    buf_done(&note);
    TRY(rc);
    c.size = ret->checkpoint.size;
    merkle_range_init(&range);
    for (uint64_t i = 0; rc == 0 && i <= (c.size - 1) / TILE_HASHES && c.size > 0; i++)
        rc = check_bundle(&c, i, &range, visit, arg);
    if (rc == 0)
        rc = check_root(&c, &range);
    for (unsigned level = 0; level < TILE_LEVELS; level++)
        if (c.tile[level].is_open)
            buf_done(&c.tile[level].hashes);
    return rc;
}
