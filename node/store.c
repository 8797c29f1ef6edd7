/* store: LMDB behind the tables of the node. */
#include "node/store.h"
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB (1024u * 1024u)
#define KEY_MAX 511u /* LMDB's own */

static const char *const names[STORE_TABLE_COUNT] = {
    [STORE_ENTRIES] = "entries", [STORE_NODES] = "nodes",         [STORE_CHECKPOINTS] = "checkpoints",
    [STORE_GRANTS] = "grants",   [STORE_DOCUMENTS] = "documents", [STORE_DENIALS] = "denials",
    [STORE_SALTS] = "salts",     [STORE_QUOTAS] = "quotas",       [STORE_META] = "meta",
};

struct store {
    MDB_env *env;
    MDB_dbi table[STORE_TABLE_COUNT];
    int folder; /* open and locked for the one writer, else -1 */
    size_t map_bytes;
    atomic_bool stuck;
    char path[];
};

struct store_txn {
    struct store *store;
    struct store_txn *parent;
    MDB_txn *txn;
    bool write, dead; /* dead: something failed in it; it can only be given up */
};

static int storage_error(struct store *s, int mdb_rc, const char *what, struct err *err)
{
    if (mdb_rc == MDB_MAP_FULL)
        return err_set(err, ERR_STORAGE, "%s: %s: the map of %zu MiB is full; restart with a larger map", s->path, what,
                       s->map_bytes / MIB);
    if (mdb_rc == ENOSPC || mdb_rc == EDQUOT)
        return err_set(err, ERR_STORAGE, "%s: %s: the disk is full; make room and restart", s->path, what);
    if (mdb_rc == MDB_PANIC) {
        atomic_store(&s->stuck, true);
        return err_set(err, ERR_STORAGE, "%s: %s: a write failed half way, LMDB takes no more; check the disk, restart",
                       s->path, what);
    }
    return err_set(err, ERR_STORAGE, "%s: %s: %s", s->path, what, mdb_strerror(mdb_rc));
}

/* The folder is the node's alone. It is made when it is to be written and is not there. */
static int open_folder(const char *path, bool read_only, int *ret_fd, struct err *err)
{
    struct stat st;
    if (!read_only && mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_set(err, ERR_STORAGE, "%s: cannot be made: %s", path, strerror(errno));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_STORAGE, "%s: %s", path, strerror(errno));
    int rc = 0;
    if (fstat(fd, &st) != 0)
        rc = err_set(err, ERR_STORAGE, "%s: %s", path, strerror(errno));
    else if (st.st_uid != geteuid())
        rc =
            err_set(err, ERR_STORAGE, "%s: belongs to uid %u: run as its owner or chown it", path, (unsigned)st.st_uid);
    else if ((st.st_mode & 0077) != 0)
        rc = err_set(err, ERR_STORAGE, "%s: mode %04o lets others in: chmod 0700 it", path,
                     (unsigned)st.st_mode & 07777u);
    else if (!read_only && flock(fd, LOCK_EX | LOCK_NB) != 0)
        rc = err_set(err, ERR_STORAGE, "%s: another process writes there: stop it first", path);
    if (rc != 0)
        close(fd);
    else
        *ret_fd = fd;
    return rc;
}

static int open_env(struct store *s, bool read_only, struct err *err)
{
    int rc = mdb_env_create(&s->env);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, STORE_TABLE_COUNT);
    if (rc == 0)
        rc = mdb_env_set_mapsize(s->env, s->map_bytes);
    /* No MDB_NOSYNC, MDB_NOMETASYNC, MDB_WRITEMAP: a commit returns when the disk has it. */
    if (rc == 0)
        rc = mdb_env_open(s->env, s->path, MDB_NOTLS | (read_only ? MDB_RDONLY : 0u), 0600);
    int dead = 0;
    if (rc == 0 && !read_only)
        rc = mdb_reader_check(s->env, &dead); /* slots of readers that were killed */
    if (rc != 0)
        return storage_error(s, rc, "cannot be opened", err);
    return 0;
}

static int open_tables(struct store *s, bool read_only, struct err *err)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(s->env, NULL, read_only ? MDB_RDONLY : 0u, &txn);
    for (size_t i = 0; i < STORE_TABLE_COUNT && rc == 0; i++) {
        rc = mdb_dbi_open(txn, names[i], read_only ? 0u : MDB_CREATE, &s->table[i]);
        if (rc != 0) {
            mdb_txn_abort(txn);
            return storage_error(s, rc, names[i], err);
        }
    }
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    return rc == 0 ? 0 : storage_error(s, rc, "its tables cannot be opened", err);
}

int store_open(const char *folder, size_t map_bytes, bool read_only, struct store **ret, struct err *err)
{
    size_t len = strlen(folder) + 1;
    struct store *s = calloc(1, sizeof(*s) + len);
    if (s == NULL)
        return err_set(err, ERR_NOMEM, "no memory for the store");
    memcpy(s->path, folder, len);
    s->folder = -1;
    s->map_bytes = map_bytes;
    int rc = open_folder(folder, read_only, &s->folder, err);
    if (rc == 0)
        rc = open_env(s, read_only, err);
    if (rc == 0)
        rc = open_tables(s, read_only, err);
    if (rc != 0) {
        store_close(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    if (s->env != NULL)
        mdb_env_close(s->env);
    if (s->folder >= 0)
        close(s->folder); /* and its lock goes */
    free(s);
}

bool store_is_stuck(const struct store *s)
{
    return atomic_load(&s->stuck);
}

static int check_space(const struct store *s, struct err *err)
{
    struct statvfs fs;
    if (fstatvfs(s->folder, &fs) != 0)
        return err_set(err, ERR_STORAGE, "%s: %s", s->path, strerror(errno));
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (left < STORE_FREE_MIN)
        return err_set(err, ERR_STORAGE, "%s: only %u MiB of disk are free, fewer than %u: make room", s->path,
                       (unsigned)(left / MIB), STORE_FREE_MIN / MIB);
    return 0;
}

static int begin(struct store *s, struct store_txn *parent, bool write, struct store_txn **ret, struct err *err)
{
    struct store_txn *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return err_set(err, ERR_NOMEM, "no memory for a transaction");
    *t = (struct store_txn){.store = s, .parent = parent, .write = write};
    int rc = mdb_txn_begin(s->env, parent != NULL ? parent->txn : NULL, write ? 0u : MDB_RDONLY, &t->txn);
    if (rc != 0) {
        free(t);
        return storage_error(s, rc, "no transaction", err);
    }
    *ret = t;
    return 0;
}

int store_begin(struct store *s, bool write, struct store_txn **ret, struct err *err)
{
    if (write)
        TRY(check_space(s, err));
    return begin(s, NULL, write, ret, err);
}

int store_begin_nested(struct store_txn *t, struct store_txn **ret, struct err *err)
{
    if (t->dead || !t->write)
        return err_set(err, ERR_STORAGE, "%s: the transaction cannot go on", t->store->path);
    int rc = begin(t->store, t, true, ret, err);
    t->dead = rc != 0;
    return rc;
}

int store_commit(struct store_txn *t, struct err *err)
{
    if (t->dead) {
        int rc = err_set(err, ERR_STORAGE, "%s: a write of this transaction failed", t->store->path);
        store_abort(t);
        return rc;
    }
    int rc = mdb_txn_commit(t->txn);
    struct store *s = t->store;
    if (rc != 0 && t->parent != NULL)
        t->parent->dead = true;
    free(t);
    return rc == 0 ? 0 : storage_error(s, rc, "commit", err);
}

void store_abort(struct store_txn *t)
{
    if (t == NULL)
        return;
    mdb_txn_abort(t->txn);
    if (t->dead && t->parent != NULL)
        t->parent->dead = true;
    free(t);
}

bool store_is_dead(const struct store_txn *t)
{
    return t->dead;
}

static MDB_val to_val(struct bytes b)
{
    return (MDB_val){.mv_size = b.len, .mv_data = (void *)(uintptr_t)b.p};
}

static struct bytes to_bytes(MDB_val v)
{
    return BYTES(v.mv_data, v.mv_size);
}

/* ERR_NOT_FOUND is an answer; everything else ends the transaction. */
static int outcome(struct store_txn *t, int mdb_rc)
{
    if (mdb_rc == 0)
        return 0;
    if (mdb_rc == MDB_NOTFOUND)
        return ERR_NOT_FOUND;
    t->dead = true;
    return ERR_STORAGE;
}

int store_get(struct store_txn *t, enum store_table table, struct bytes key, struct bytes *ret_value)
{
    MDB_val k = to_val(key), v;
    if (t->dead)
        return ERR_STORAGE;
    if (key.len == 0 || key.len > KEY_MAX)
        return ERR_NOT_FOUND; /* no such key can have been put */
    TRY(outcome(t, mdb_get(t->txn, t->store->table[table], &k, &v)));
    *ret_value = to_bytes(v);
    return 0;
}

int store_put(struct store_txn *t, enum store_table table, struct bytes key, struct bytes value, bool only_new,
              struct err *err)
{
    MDB_val k = to_val(key), v = to_val(value);
    if (t->dead)
        return err_set(err, ERR_STORAGE, "%s: an earlier write of this transaction failed", t->store->path);
    int rc = mdb_put(t->txn, t->store->table[table], &k, &v, only_new ? MDB_NOOVERWRITE : 0u);
    if (rc == MDB_KEYEXIST)
        return err_set(err, ERR_INTEGRITY, "%s: table %s has this key already", t->store->path, names[table]);
    if (rc != 0) {
        t->dead = true;
        return storage_error(t->store, rc, names[table], err);
    }
    return 0;
}

int store_delete(struct store_txn *t, enum store_table table, struct bytes key)
{
    MDB_val k = to_val(key);
    if (t->dead)
        return ERR_STORAGE;
    return outcome(t, mdb_del(t->txn, t->store->table[table], &k, NULL));
}

int store_scan(struct store_txn *t, enum store_table table, struct bytes from,
               bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg)
{
    MDB_cursor *cursor = NULL;
    MDB_val k = to_val(from), v;
    if (t->dead)
        return ERR_STORAGE;
    TRY(outcome(t, mdb_cursor_open(t->txn, t->store->table[table], &cursor)));
    int rc = mdb_cursor_get(cursor, &k, &v, from.len > 0 ? MDB_SET_RANGE : MDB_FIRST);
    while (rc == 0 && visit(arg, to_bytes(k), to_bytes(v)))
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    mdb_cursor_close(cursor);
    rc = outcome(t, rc);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

int store_last(struct store_txn *t, enum store_table table, struct bytes *ret_key, struct bytes *ret_value)
{
    MDB_cursor *cursor = NULL;
    MDB_val k, v;
    if (t->dead)
        return ERR_STORAGE;
    TRY(outcome(t, mdb_cursor_open(t->txn, t->store->table[table], &cursor)));
    int rc = mdb_cursor_get(cursor, &k, &v, MDB_LAST);
    mdb_cursor_close(cursor);
    TRY(outcome(t, rc));
    *ret_key = to_bytes(k);
    *ret_value = to_bytes(v);
    return 0;
}

int store_count(struct store_txn *t, enum store_table table, uint64_t *ret)
{
    MDB_stat st;
    if (t->dead)
        return ERR_STORAGE;
    TRY(outcome(t, mdb_stat(t->txn, t->store->table[table], &st)));
    *ret = st.ms_entries;
    return 0;
}
