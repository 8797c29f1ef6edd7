/* grant_test: one grant per key, reissues with the same links only, sweeping, what is malformed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/grant.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SKEW 100u

static char folder[64];
static struct store *store;

static int setup(void **state)
{
    (void)state;
    (void)strcpy(folder, "/tmp/enfilade-grant-XXXXXX");
    struct err err = {.code = 0};
    return mkdtemp(folder) == NULL || store_open(folder, 64u << 20, false, &store, &err) != 0;
}

static int teardown(void **state)
{
    (void)state;
    char path[96];
    store_close(store);
    for (const char *const *f = (const char *const[]){"data.mdb", "lock.mdb", NULL}; *f != NULL; f++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, *f);
        (void)unlink(path);
    }
    return rmdir(folder);
}

static struct store_txn *begin(void)
{
    struct store_txn *t = NULL;
    struct err err = {.code = 0};
    assert_int_equal(store_begin(store, true, &t, &err), 0);
    return t;
}

static void key_of(uint8_t first, uint8_t ret[GRANT_KEY_LEN])
{
    uint8_t sid[HASH_LEN] = {first};
    grant_key(sid, 2, 3, ret);
}

static struct grant example(void)
{
    return (struct grant){.prevhash = {5},
                          .entry_index = 7,
                          .not_after_ms = 1000,
                          .link_body = bytes_str("body"),
                          .answer = bytes_str("answer")};
}

static void one_per_key(void **state)
{
    (void)state;
    uint8_t key[GRANT_KEY_LEN];
    struct grant g = example(), back;
    struct message *owner = NULL;
    struct err err = {.code = 0};
    key_of(1, key);
    struct store_txn *t = begin();
    assert_int_equal(grant_find(t, key, &owner, &back, &err), ERR_NOT_FOUND);
    assert_int_equal(grant_create(t, key, &g, &err), 0);
    assert_int_equal(grant_create(t, key, &g, &err), ERR_BUSY);
    assert_int_equal(store_commit(t, &err), 0);
    t = begin();
    assert_int_equal(grant_find(t, key, &owner, &back, &err), 0);
    assert_true(bytes_is(back.link_body, "body") && bytes_is(back.answer, "answer"));
    assert_int_equal(back.entry_index, 7);
    message_free(owner);
    key[HASH_LEN] = 1; /* another stage is another grant */
    assert_int_equal(grant_find(t, key, &owner, &back, &err), ERR_NOT_FOUND);
    store_abort(t);
}

static void an_aborted_grant_is_none(void **state)
{
    (void)state;
    uint8_t key[GRANT_KEY_LEN];
    struct grant g = example(), back;
    struct message *owner = NULL;
    struct err err = {.code = 0};
    key_of(2, key);
    struct store_txn *t = begin();
    assert_int_equal(grant_create(t, key, &g, &err), 0);
    store_abort(t);
    t = begin();
    assert_int_equal(grant_find(t, key, &owner, &back, &err), ERR_NOT_FOUND);
    store_abort(t);
}

static void reissues_are_counted(void **state)
{
    (void)state;
    uint8_t key[GRANT_KEY_LEN], other[HASH_LEN] = {6};
    struct grant g = example();
    struct err err = {.code = 0};
    key_of(3, key);
    struct store_txn *t = begin();
    assert_int_equal(grant_create(t, key, &g, &err), 0);
    assert_int_equal(grant_reissue(t, key, other, 500, SKEW, &err), ERR_REISSUE);       /* other links */
    assert_int_equal(grant_reissue(t, key, g.prevhash, 1101, SKEW, &err), ERR_REISSUE); /* over */
    for (unsigned i = 0; i < GRANT_REISSUES_MAX; i++)
        assert_int_equal(grant_reissue(t, key, g.prevhash, 1100, SKEW, &err), 0);
    assert_int_equal(grant_reissue(t, key, g.prevhash, 500, SKEW, &err), ERR_REISSUE); /* too often */
    assert_int_equal(store_commit(t, &err), 0);
}

static void sweeping_takes_what_is_over(void **state)
{
    (void)state;
    uint8_t key[GRANT_KEY_LEN];
    struct grant g = example(), back;
    struct message *owner = NULL;
    struct err err = {.code = 0};
    unsigned deleted = 0;
    struct grant_cursor cursor = {.is_set = false};
    struct store_txn *t = begin();
    for (uint8_t i = 0; i < 100; i++) {
        g.not_after_ms = i < 70 ? 5000 : 9000;
        key_of((uint8_t)(100 + i), key);
        assert_int_equal(grant_create(t, key, &g, &err), 0);
    }
    assert_int_equal(grant_sweep(t, 5100, SKEW, &cursor, &deleted), 0);
    assert_int_equal(deleted, 2); /* what the tests before left; 5000 + SKEW is not over yet */
    assert_false(cursor.is_set);
    assert_int_equal(grant_sweep(t, 5101, SKEW, &cursor, &deleted), 0);
    assert_int_equal(deleted, 70);
    key_of(199, key);
    assert_int_equal(grant_find(t, key, &owner, &back, &err), 0);
    message_free(owner);
    store_abort(t);
}

/* A full table is swept piece by piece, and rubbish in it does not end the sweep. */
static void sweeping_goes_on_where_it_stopped(void **state)
{
    (void)state;
    uint8_t key[GRANT_KEY_LEN] = {0}, sid[HASH_LEN] = {0};
    struct grant g = example();
    struct err err = {.code = 0};
    unsigned deleted = 0, all = 0, steps = 0;
    struct grant_cursor cursor = {.is_set = false};
    uint64_t left = 0;
    struct store_txn *t = begin();
    assert_int_equal(store_put(t, STORE_GRANTS, BYTES_OF(key), bytes_str("rubbish"), false, &err), 0);
    for (unsigned i = 0; i < 3 * GRANT_SWEEP_LOOK; i++) {
        sid[0] = 1;
        sid[1] = (uint8_t)(i >> 8);
        sid[2] = (uint8_t)i;
        grant_key(sid, 1, 1, key);
        g.not_after_ms = i % 2 == 0 ? 100 : 9000;
        assert_int_equal(grant_create(t, key, &g, &err), 0);
    }
    do {
        assert_int_equal(grant_sweep(t, 5000, SKEW, &cursor, &deleted), 0);
        all += deleted;
        steps++;
    } while (cursor.is_set);
    assert_int_equal(steps, 4);
    assert_in_range(all, 3 * GRANT_SWEEP_LOOK / 2, 3 * GRANT_SWEEP_LOOK / 2 + 10);
    assert_int_equal(store_count(t, STORE_GRANTS, &left), 0);
    assert_true(left > 3 * GRANT_SWEEP_LOOK / 2);
    store_abort(t);
}

static void rubbish_is_no_grant(void **state)
{
    (void)state;
    uint8_t key[GRANT_KEY_LEN];
    struct grant back;
    struct message *owner = NULL;
    struct err err = {.code = 0};
    unsigned deleted = 0;
    struct grant_cursor cursor = {.is_set = false};
    key_of(9, key);
    struct store_txn *t = begin();
    assert_int_equal(store_put(t, STORE_GRANTS, BYTES_OF(key), bytes_str("rubbish"), true, &err), 0);
    assert_int_equal(grant_find(t, key, &owner, &back, &err), ERR_INTEGRITY);
    assert_int_equal(grant_sweep(t, 5000, SKEW, &cursor, &deleted), 0); /* stays, and is in nobody's way */
    assert_int_equal(grant_find(t, key, &owner, &back, &err), ERR_INTEGRITY);
    store_abort(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_per_key),          cmocka_unit_test(an_aborted_grant_is_none),
        cmocka_unit_test(reissues_are_counted), cmocka_unit_test(sweeping_takes_what_is_over),
        cmocka_unit_test(rubbish_is_no_grant),  cmocka_unit_test(sweeping_goes_on_where_it_stopped),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
