/* store: node/store.h in memory: copy-on-write tables, atomic commits, faults in any call. */
#include "tests/sim/disk.h"
#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 511u

struct row {
    unsigned refs;
    size_t key_len, value_len;
    uint8_t data[]; /* key, value */
};

struct table {
    unsigned refs;
    size_t count, size;
    struct row **at; /* by key */
};

struct image {
    struct table *table[STORE_TABLE_COUNT];
};

struct disk {
    struct sim_node *of;
    struct image durable, seen, kept;
    unsigned calls, fail_at;
    enum disk_fault fault;
    bool failed;
};

struct store {
    struct disk *disk; /* NULL: its process is dead */
    struct run *run;
};

struct store_txn {
    struct store *store;
    struct store_txn *parent;
    struct image image;
    bool write, dead;
    bool grants; /* a grant was made in it */
};

/* ---- rows, tables, images */

static struct bytes key_of(const struct row *r)
{
    return BYTES(r->data, r->key_len);
}

static struct bytes value_of(const struct row *r)
{
    return BYTES(r->data + r->key_len, r->value_len);
}

static struct row *row_new(struct bytes key, struct bytes value)
{
    struct row *r = malloc(sizeof(*r) + key.len + value.len);
    assert(r != NULL);
    *r = (struct row){.refs = 1, .key_len = key.len, .value_len = value.len};
    memcpy(r->data, key.p, key.len);
    if (value.len > 0)
        memcpy(r->data + key.len, value.p, value.len);
    return r;
}

static void row_unref(struct row *r)
{
    if (--r->refs == 0)
        free(r);
}

static struct table *table_new(size_t size)
{
    struct table *t = calloc(1, sizeof(*t));
    assert(t != NULL);
    t->refs = 1;
    t->size = size > 8 ? size : 8;
    t->at = calloc(t->size, sizeof(*t->at));
    assert(t->at != NULL);
    return t;
}

static void table_unref(struct table *t)
{
    if (--t->refs > 0)
        return;
    for (size_t i = 0; i < t->count; i++)
        row_unref(t->at[i]);
    free(t->at);
    free(t);
}

static void image_init(struct image *m)
{
    for (size_t i = 0; i < STORE_TABLE_COUNT; i++)
        m->table[i] = table_new(0);
}

static void image_done(struct image *m)
{
    for (size_t i = 0; i < STORE_TABLE_COUNT; i++)
        if (m->table[i] != NULL)
            table_unref(m->table[i]);
    *m = (struct image){.table = {NULL}};
}

static struct image image_ref(const struct image *m)
{
    for (size_t i = 0; i < STORE_TABLE_COUNT; i++)
        m->table[i]->refs++;
    return *m;
}

static void image_set(struct image *to, const struct image *from)
{
    struct image now = image_ref(from);
    image_done(to);
    *to = now;
}

/* The place of key, or where it would stand. */
static bool find(const struct table *t, struct bytes key, size_t *ret_at)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(key_of(t->at[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_at = low;
    return low < t->count && bytes_compare(key_of(t->at[low]), key) == 0;
}

/* This transaction's own copy, to be changed. */
static struct table *own(struct image *m, enum store_table table)
{
    struct table *old = m->table[table];
    if (old->refs == 1 && old->count < old->size)
        return old;
    struct table *t = table_new(old->count * 2);
    t->count = old->count;
    for (size_t i = 0; i < old->count; i++) {
        t->at[i] = old->at[i];
        t->at[i]->refs++;
    }
    table_unref(old);
    m->table[table] = t;
    return t;
}

static void image_put(struct image *m, enum store_table table, struct bytes key, struct bytes value)
{
    struct row *r = row_new(key, value); /* first: value may be a view into what is replaced */
    struct table *t = own(m, table);
    size_t at;
    if (find(t, key, &at)) {
        row_unref(t->at[at]);
    } else {
        memmove(&t->at[at + 1], &t->at[at], (t->count - at) * sizeof(*t->at));
        t->count++;
    }
    t->at[at] = r;
}

/* ---- the disk */

struct disk *disk_new(struct sim_node *of)
{
    struct disk *d = calloc(1, sizeof(*d));
    assert(d != NULL);
    d->of = of;
    image_init(&d->durable);
    d->seen = image_ref(&d->durable);
    return d;
}

void disk_free(struct disk *d)
{
    image_done(&d->durable);
    image_done(&d->seen);
    image_done(&d->kept);
    free(d);
}

struct store *disk_open(struct disk *d, struct run *run)
{
    struct store *s = calloc(1, sizeof(*s));
    assert(s != NULL);
    *s = (struct store){d, run};
    return s;
}

void disk_detach(struct store *s)
{
    s->disk = NULL;
}

void disk_crash(struct disk *d)
{
    enum sabotage sabotage = d->of->sim->sabotage;
    struct table *entries = d->durable.table[STORE_ENTRIES];
    if (sabotage == SABOTAGE_ROLLBACK)
        image_set(&d->durable, &d->kept);
    if (sabotage == SABOTAGE_ALTERED_ENTRY && entries->count > 0)
        entries->at[0]->data[entries->at[0]->key_len + entries->at[0]->value_len - 1] ^= 1;
    image_set(&d->seen, &d->durable);
}

void disk_fail(struct disk *d, unsigned nth, enum disk_fault fault)
{
    d->calls = 0;
    d->fail_at = nth;
    d->fault = fault;
    d->failed = false;
}

bool disk_has_failed(const struct disk *d)
{
    return d->failed;
}

void disk_keep(struct disk *d)
{
    image_set(&d->kept, &d->durable);
}

void disk_roll_back(struct disk *d)
{
    image_set(&d->durable, &d->kept);
    image_set(&d->seen, &d->kept);
}

uint64_t disk_count(const struct disk *d, enum store_table table)
{
    return d->durable.table[table]->count;
}

bool disk_find(const struct disk *d, enum store_table table, struct bytes key, struct bytes *ret_value)
{
    size_t at;
    if (!find(d->durable.table[table], key, &at))
        return false;
    *ret_value = value_of(d->durable.table[table]->at[at]);
    return true;
}

void disk_each(const struct disk *d, enum store_table table, void (*visit)(void *arg, struct bytes key, struct bytes v),
               void *arg)
{
    const struct table *t = d->durable.table[table];
    for (size_t i = 0; i < t->count; i++)
        visit(arg, key_of(t->at[i]), value_of(t->at[i]));
}

/* ---- faults: in every call of store.h */

static const char *words(enum disk_fault f)
{
    static const char *const text[] = {[DISK_SOUND] = "",
#define DISK_FAULT(name, what) [DISK_##name] = (what),
                                       DISK_FAULTS(DISK_FAULT)
#undef DISK_FAULT
    };
    return text[f];
}

static enum disk_fault strikes(struct store *s)
{
    struct disk *d = s->disk;
    if (d == NULL)
        return DISK_EIO;
    d->calls++;
    if (d->fail_at == 0 || d->calls != d->fail_at)
        return DISK_SOUND;
    d->fail_at = 0;
    d->failed = true;
    sim_trace(d->of->sim, d->of->name, "storage: call %u fails: %s", d->calls, words(d->fault));
    return d->fault;
}

static int failed(enum disk_fault f, struct err *err)
{
    return err_set(err, ERR_STORAGE, "disk: %s", words(f));
}

/* ---- store.h */

void store_close(struct store *s)
{
    free(s);
}

static struct store_txn *begin(struct store *s, struct store_txn *parent, bool write)
{
    struct store_txn *t = calloc(1, sizeof(*t));
    assert(t != NULL);
    *t = (struct store_txn){.store = s, .parent = parent, .write = write};
    t->image = image_ref(parent != NULL ? &parent->image : &s->disk->seen);
    return t;
}

static void end(struct store_txn *t)
{
    image_done(&t->image);
    free(t);
}

int store_begin(struct store *s, bool write, struct store_txn **ret, struct err *err)
{
    enum disk_fault f = strikes(s);
    if (f != DISK_SOUND)
        return failed(f, err);
    *ret = begin(s, NULL, write);
    return 0;
}

int store_begin_nested(struct store_txn *t, struct store_txn **ret, struct err *err)
{
    enum disk_fault f = strikes(t->store);
    if (t->dead || !t->write || f != DISK_SOUND) {
        t->dead = true;
        return failed(f, err);
    }
    *ret = begin(t->store, t, true);
    return 0;
}

/* What a crash in the middle of a commit would leave on a disk without atomic commits. */
static void tear(struct disk *d, const struct image *image)
{
    struct image torn = image_ref(&d->durable);
    table_unref(torn.table[STORE_ENTRIES]);
    torn.table[STORE_ENTRIES] = image->table[STORE_ENTRIES];
    torn.table[STORE_ENTRIES]->refs++;
    image_set(&d->durable, &torn);
    image_set(&d->seen, &torn);
    image_done(&torn);
}

static void apply(struct disk *d, const struct image *image)
{
    image_set(&d->seen, image);
    if (d->of->sim->sabotage != SABOTAGE_NO_SYNC)
        image_set(&d->durable, image);
    oracle_committed(d->of->sim->oracle, d->of);
}

static int commit_disk(struct store_txn *t, struct err *err)
{
    struct run *run = t->store->run;
    struct disk *d = t->store->disk;
    enum disk_fault f = strikes(t->store);
    bool torn = t->grants && run->sim->sabotage == SABOTAGE_TORN_COMMIT;
    if (f != DISK_SOUND && f != DISK_SYNC)
        return failed(f, err);
    if (t->grants && run_strikes(run, POINT_WRITTEN)) {
        if (torn)
            tear(d, &t->image);
        return failed(DISK_EIO, err);
    }
    apply(d, &t->image);
    if (t->grants) {
        run->grant_unsigned = true;
        if (run_strikes(run, POINT_COMMITTED))
            return failed(DISK_EIO, err);
    }
    return f == DISK_SYNC ? failed(f, err) : 0;
}

static int commit_parent(struct store_txn *t, struct err *err)
{
    enum disk_fault f = strikes(t->store);
    if (f != DISK_SOUND) {
        t->parent->dead = true;
        return failed(f, err);
    }
    image_set(&t->parent->image, &t->image);
    t->parent->grants = t->parent->grants || t->grants;
    return 0;
}

int store_commit(struct store_txn *t, struct err *err)
{
    int rc = 0;
    if (t->dead || t->store->disk == NULL) {
        if (t->parent != NULL)
            t->parent->dead = true;
        rc = failed(DISK_EIO, err);
    } else if (t->parent != NULL)
        rc = commit_parent(t, err);
    else
        rc = commit_disk(t, err);
    end(t);
    return rc;
}

void store_abort(struct store_txn *t)
{
    if (t == NULL)
        return;
    if (t->dead && t->parent != NULL)
        t->parent->dead = true;
    end(t);
}

bool store_is_dead(const struct store_txn *t)
{
    return t->dead;
}

bool store_is_stuck(const struct store *s)
{
    (void)s; /* what fails here, fails once */
    return false;
}

static int touch(struct store_txn *t, struct err *err)
{
    enum disk_fault f = strikes(t->store);
    if (!t->dead && f == DISK_SOUND)
        return 0;
    t->dead = true;
    return failed(f, err);
}

/* A grant as it was stored, or as a bad disk gives it back. */
static struct bytes read_grant(struct store_txn *t, size_t at)
{
    struct table *rows = own(&t->image, STORE_GRANTS);
    struct bytes v = value_of(rows->at[at]);
    struct row *other = row_new(key_of(rows->at[at]), v);
    other->data[other->key_len + other->value_len - 1] ^= 1; /* the last field is the answer */
    row_unref(rows->at[at]);
    rows->at[at] = other;
    return value_of(other);
}

int store_get(struct store_txn *t, enum store_table table, struct bytes key, struct bytes *ret_value)
{
    struct run *run = t->store->run;
    size_t at;
    TRY(touch(t, NULL));
    if (table == STORE_GRANTS && !t->write && run_strikes(run, POINT_VERIFIED)) {
        t->dead = true;
        return ERR_STORAGE;
    }
    if (key.len == 0 || key.len > KEY_MAX || !find(t->image.table[table], key, &at))
        return ERR_NOT_FOUND;
    if (table == STORE_GRANTS && run->sim->sabotage == SABOTAGE_FORGETFUL_GRANTS)
        return ERR_NOT_FOUND;
    *ret_value = table == STORE_GRANTS && run->sim->sabotage == SABOTAGE_ALTERED_ANSWER
                     ? read_grant(t, at)
                     : value_of(t->image.table[table]->at[at]);
    return 0;
}

int store_put(struct store_txn *t, enum store_table table, struct bytes key, struct bytes value, bool only_new,
              struct err *err)
{
    enum sabotage sabotage = t->store->run->sim->sabotage;
    size_t at;
    TRY(touch(t, err));
    assert(t->write && key.len > 0 && key.len <= KEY_MAX);
    bool forgetful = table == STORE_GRANTS && sabotage == SABOTAGE_FORGETFUL_GRANTS;
    if (only_new && !forgetful && find(t->image.table[table], key, &at))
        return err_set(err, ERR_INTEGRITY, "disk: the table has this key already");
    if (table == STORE_GRANTS && !only_new && sabotage == SABOTAGE_FORGETFUL_COUNT)
        return 0;
    if (table == STORE_QUOTAS && sabotage == SABOTAGE_FORGETFUL_QUOTA && find(t->image.table[table], key, &at))
        return 0;
    t->grants = t->grants || (table == STORE_GRANTS && only_new);
    image_put(&t->image, table, key, value);
    if (t->grants && table == STORE_GRANTS && sabotage == SABOTAGE_SPLIT_COMMIT)
        image_put(&t->store->disk->durable, table, key, value);
    return 0;
}

int store_delete(struct store_txn *t, enum store_table table, struct bytes key)
{
    size_t at;
    TRY(touch(t, NULL));
    assert(t->write);
    if (!find(t->image.table[table], key, &at))
        return ERR_NOT_FOUND;
    struct table *rows = own(&t->image, table);
    row_unref(rows->at[at]);
    memmove(&rows->at[at], &rows->at[at + 1], (rows->count - at - 1) * sizeof(*rows->at));
    rows->count--;
    return 0;
}

int store_scan(struct store_txn *t, enum store_table table, struct bytes from,
               bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg)
{
    size_t at = 0;
    TRY(touch(t, NULL));
    const struct table *rows = t->image.table[table];
    if (from.len > 0)
        (void)find(rows, from, &at);
    while (at < rows->count && visit(arg, key_of(rows->at[at]), value_of(rows->at[at])))
        at++;
    return 0;
}

int store_last(struct store_txn *t, enum store_table table, struct bytes *ret_key, struct bytes *ret_value)
{
    TRY(touch(t, NULL));
    const struct table *rows = t->image.table[table];
    if (rows->count == 0)
        return ERR_NOT_FOUND;
    *ret_key = key_of(rows->at[rows->count - 1]);
    *ret_value = value_of(rows->at[rows->count - 1]);
    return 0;
}

int store_count(struct store_txn *t, enum store_table table, uint64_t *ret)
{
    TRY(touch(t, NULL));
    *ret = t->image.table[table]->count;
    return 0;
}
