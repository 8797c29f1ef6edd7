/* quota: counters of grants. */
#include "node/quota.h"
#include "common/base/mutant.h"
#include "common/crypto/hash.h"
#include <inttypes.h>
#include <string.h>

#define RECORD_LEN 16u

struct counter {
    uint64_t end_ms, count;
};

static void add_subject(struct th *t, enum quota_per per, const struct quota_facts *f)
{
    const struct envelope *e = &f->envelope->envelope;
    if (per == QUOTA_PER_DEVICE && f->device != NULL)
        th_add_str(t, f->device->id);
    else if (per == QUOTA_PER_DEVICE)
        th_add(t, BYTES(f->device_key, HASH_LEN));
    else if (per == QUOTA_PER_SECRET) {
        th_add(t, BYTES_OF(e->owner));
        th_add(t, BYTES_OF(e->id));
    }
}

static void make_key(const struct factor *q, const struct quota_facts *f, uint8_t ret[HASH_LEN])
{
    struct th *t = th_begin("quota");
    th_add_str(t, f->policy->name);
    th_add_u64(t, f->stage);
    th_add_u64(t, q->quota_per);
    th_add_u64(t, q->quota_window_ms);
    add_subject(t, q->quota_per, f);
    th_finish(t, ret);
}

static int decode(struct bytes record, struct counter *ret)
{
    struct cursor c = {record};
    if (record.len != RECORD_LEN || cursor_u64be(&c, &ret->end_ms) != 0 || cursor_u64be(&c, &ret->count) != 0)
        return ERR_INTEGRITY;
    return 0;
}

/* The counter of the window that now_ms is in. One that the clock has left behind, being set back, goes on. */
static int find(struct store_txn *t, const uint8_t key[HASH_LEN], const struct factor *q, uint64_t now_ms,
                struct counter *ret, bool *ret_is_new, struct err *err)
{
    struct bytes record;
    int rc = store_get(t, STORE_QUOTAS, BYTES(key, HASH_LEN), &record);
    *ret_is_new = rc == ERR_NOT_FOUND;
    if (rc == 0)
        rc = decode(record, ret);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return err_set(err, rc, "the table of quotas cannot be read");
    if (rc == ERR_NOT_FOUND || now_ms >= ret->end_ms)
        *ret = (struct counter){.end_ms = (now_ms / q->quota_window_ms + 1) * q->quota_window_ms};
    return 0;
}

static int put(struct store_txn *t, const uint8_t key[HASH_LEN], const struct counter *c, struct err *err)
{
    struct buf record;
    buf_init(&record, RECORD_LEN);
    buf_u64be(&record, c->end_ms);
    buf_u64be(&record, c->count);
    int rc = buf_ok(&record) ? store_put(t, STORE_QUOTAS, BYTES(key, HASH_LEN), buf_view(&record), false, err)
                             : err_set(err, ERR_NOMEM, "out of memory");
    buf_done(&record);
    return rc;
}

static int check_room(struct store_txn *t, struct err *err)
{
    uint64_t count = 0;
    int rc = store_count(t, STORE_QUOTAS, &count);
    if (rc == 0 && count >= QUOTA_MAX)
        rc = ERR_FULL;
    return rc == 0 ? 0 : err_set(err, rc, "%u quotas are counted; they go with their windows", QUOTA_MAX);
}

static int one(struct store_txn *t, const struct quota_facts *f, const struct factor *q, uint64_t now_ms, bool take,
               struct quota_used *ret_used, struct err *err)
{
    uint8_t key[HASH_LEN];
    struct counter c;
    bool is_new = false;
    make_key(q, f, key);
    TRY(find(t, key, q, now_ms, &c, &is_new, err));
    if (c.count >= q->quota_count && !(take && mutant("QUOTA_RACE"))) {
        *ret_used = (struct quota_used){q, c.end_ms};
        return err_set(err, ERR_QUOTA, "%" PRIu64 " grants in this window already", c.count);
    }
    if (is_new)
        TRY(check_room(t, err));
    c.count++;
    return take ? put(t, key, &c, err) : 0;
}

/* Quotas stand alone, or directly under the top `all`: the policy's parser sees to it. */
static int each(struct store_txn *t, const struct quota_facts *f, uint64_t now_ms, bool take,
                struct quota_used *ret_used, struct err *err)
{
    const struct factor *top = &f->policy->policy.stages[f->stage - 1].factors;
    if (top->kind == FACTOR_QUOTA)
        return one(t, f, top, now_ms, take, ret_used, err);
    for (size_t i = 0; i < top->child_count; i++)
        if (top->children[i].kind == FACTOR_QUOTA)
            TRY(one(t, f, &top->children[i], now_ms, take, ret_used, err));
    return 0;
}

int quota_check(struct store_txn *t, const struct quota_facts *f, uint64_t now_ms, struct quota_used *ret_used,
                struct err *err)
{
    return each(t, f, now_ms, false, ret_used, err);
}

int quota_take(struct store_txn *t, const struct quota_facts *f, uint64_t now_ms, struct quota_used *ret_used,
               struct err *err)
{
    return each(t, f, now_ms, true, ret_used, err);
}

/* ---- sweeping */

struct sweep {
    uint64_t now_ms;
    unsigned looked, found;
    struct quota_cursor next;
    uint8_t key[QUOTA_SWEEP_LOOK][HASH_LEN];
};

static bool find_over(void *arg, struct bytes key, struct bytes value)
{
    struct sweep *s = arg;
    struct counter c;
    if (key.len != HASH_LEN)
        return true;
    if (s->looked == QUOTA_SWEEP_LOOK) {
        memcpy(s->next.key, key.p, HASH_LEN);
        s->next.is_set = true;
        return false;
    }
    s->looked++;
    if (decode(value, &c) == 0 && s->now_ms >= c.end_ms)
        memcpy(s->key[s->found++], key.p, HASH_LEN);
    return true;
}

int quota_sweep(struct store_txn *t, uint64_t now_ms, struct quota_cursor *cursor, unsigned *ret_deleted)
{
    struct sweep s = {.now_ms = now_ms};
    TRY(store_scan(t, STORE_QUOTAS, cursor->is_set ? BYTES_OF(cursor->key) : BYTES_NONE, find_over, &s));
    for (unsigned i = 0; i < s.found; i++)
        TRY(store_delete(t, STORE_QUOTAS, BYTES(s.key[i], HASH_LEN)));
    *cursor = s.next;
    *ret_deleted = s.found;
    return 0;
}
