/* grant: one release per (sid, stage, slot), and its reissues. */
#include "node/grant.h"
#include "common/base/mutant.h"
#include "proto/message.h"
#include <string.h>

void grant_key(const uint8_t sid[HASH_LEN], uint64_t stage, uint64_t slot, uint8_t ret[GRANT_KEY_LEN])
{
    memcpy(ret, sid, HASH_LEN);
    ret[HASH_LEN] = (uint8_t)stage;
    ret[HASH_LEN + 1] = (uint8_t)slot;
}

static int unpack(struct bytes record, struct grant *ret, struct message **ret_owner, struct err *err)
{
    struct message *m = NULL;
    TRY(message_unpack(MESSAGE_GRANT_RECORD, record, &m, err));
    const struct msg_grant_record *r = &m->grant_record;
    if (r->prevhash.len != HASH_LEN) {
        message_free(m);
        return err_set(err, ERR_INTEGRITY, "a stored grant is malformed");
    }
    *ret = (struct grant){.entry_index = r->entry_index,
                          .not_after_ms = r->not_after_ms,
                          .reissues = r->reissues,
                          .link_body = r->link_body,
                          .answer = r->answer};
    memcpy(ret->prevhash, r->prevhash.p, HASH_LEN);
    *ret_owner = m;
    return 0;
}

static int write_record(struct store_txn *t, const uint8_t key[GRANT_KEY_LEN], const struct grant *g, bool only_new,
                        struct err *err)
{
    struct message m = {.type = MESSAGE_GRANT_RECORD,
                        .grant_record = {.prevhash = BYTES_OF(g->prevhash),
                                         .entry_index = g->entry_index,
                                         .not_after_ms = g->not_after_ms,
                                         .reissues = g->reissues,
                                         .link_body = g->link_body,
                                         .answer = g->answer}};
    struct buf record;
    buf_init(&record, GRANT_RECORD_MAX);
    int rc = message_pack(&m, &record, err);
    if (rc == 0)
        rc = store_put(t, STORE_GRANTS, BYTES(key, GRANT_KEY_LEN), buf_view(&record), only_new, err);
    buf_done(&record);
    return rc;
}

int grant_find(struct store_txn *t, const uint8_t key[GRANT_KEY_LEN], struct message **ret_owner, struct grant *ret,
               struct err *err)
{
    struct bytes record;
    TRY(store_get(t, STORE_GRANTS, BYTES(key, GRANT_KEY_LEN), &record));
    if (unpack(record, ret, ret_owner, err) != 0)
        return err_set(err, ERR_INTEGRITY, "a stored grant is malformed");
    return 0;
}

int grant_create(struct store_txn *t, const uint8_t key[GRANT_KEY_LEN], const struct grant *g, struct err *err)
{
    struct bytes old;
    int rc = store_get(t, STORE_GRANTS, BYTES(key, GRANT_KEY_LEN), &old);
    if (rc == 0 && !mutant("ONCE"))
        return err_set(err, ERR_BUSY, "this step was granted a moment ago");
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return err_set(err, rc, "the table of grants cannot be read");
    uint64_t count = 0;
    TRY(store_count(t, STORE_GRANTS, &count));
    if (count >= GRANT_MAX)
        return err_set(err, ERR_FULL, "%u grants are live; they go with their chains' not_after", GRANT_MAX);
    return write_record(t, key, g, !mutant("ONCE"), err);
}

static bool is_over(const struct grant *g, uint64_t now_ms, uint64_t skew_ms)
{
    return now_ms > skew_ms && now_ms - skew_ms > g->not_after_ms;
}

int grant_may_reissue(const struct grant *g, const uint8_t prevhash[HASH_LEN], uint64_t now_ms, uint64_t skew_ms,
                      struct err *err)
{
    if (!bytes_equal(BYTES(g->prevhash, HASH_LEN), BYTES(prevhash, HASH_LEN)) && !mutant("PREVHASH"))
        return err_set(err, ERR_REISSUE, "granted before with other links of the earlier stages");
    if (g->reissues >= GRANT_REISSUES_MAX && !mutant("REISSUES"))
        return err_set(err, ERR_REISSUE, "issued again %u times already", GRANT_REISSUES_MAX);
    if (is_over(g, now_ms, skew_ms))
        return err_set(err, ERR_REISSUE, "the chain's time is over");
    return 0;
}

int grant_reissue(struct store_txn *t, const uint8_t key[GRANT_KEY_LEN], const uint8_t prevhash[HASH_LEN],
                  uint64_t now_ms, uint64_t skew_ms, struct err *err)
{
    struct grant g = {.reissues = 0};
    struct message *owner = NULL;
    TRY(grant_find(t, key, &owner, &g, err));
    int rc = grant_may_reissue(&g, prevhash, now_ms, skew_ms, err);
    g.reissues++;
    if (rc == 0)
        rc = write_record(t, key, &g, false, err);
    message_free(owner);
    return rc;
}

struct sweep {
    uint64_t now_ms, skew_ms;
    unsigned looked, found;
    struct grant_cursor next;
    uint8_t key[GRANT_SWEEP_LOOK][GRANT_KEY_LEN];
};

static bool find_over(void *arg, struct bytes key, struct bytes value)
{
    struct sweep *s = arg;
    struct grant g = {.reissues = 0};
    struct message *owner = NULL;
    if (key.len != GRANT_KEY_LEN)
        return true;
    if (s->looked == GRANT_SWEEP_LOOK) {
        memcpy(s->next.key, key.p, GRANT_KEY_LEN);
        s->next.is_set = true;
        return false;
    }
    s->looked++;
    if (unpack(value, &g, &owner, NULL) == 0 && is_over(&g, s->now_ms, s->skew_ms))
        memcpy(s->key[s->found++], key.p, GRANT_KEY_LEN);
    message_free(owner);
    return true;
}

int grant_sweep(struct store_txn *t, uint64_t now_ms, uint64_t skew_ms, struct grant_cursor *cursor,
                unsigned *ret_deleted)
{
    struct sweep s = {.now_ms = now_ms, .skew_ms = skew_ms};
    TRY(store_scan(t, STORE_GRANTS, cursor->is_set ? BYTES_OF(cursor->key) : BYTES_NONE, find_over, &s));
    for (unsigned i = 0; i < s.found; i++)
        TRY(store_delete(t, STORE_GRANTS, BYTES(s.key[i], GRANT_KEY_LEN)));
    *cursor = s.next;
    *ret_deleted = s.found;
    return 0;
}
