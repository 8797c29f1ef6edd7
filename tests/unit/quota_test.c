/* quota_test: what counts as the same, windows, rubbish, bounds and sweeping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/quota.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MINUTE 60000u

static char folder[64];
static struct store *store;
static struct factor quota = {
    .kind = FACTOR_QUOTA, .quota_count = 2, .quota_window_ms = MINUTE, .quota_per = QUOTA_PER_DEVICE};
static struct policy_stage stages[2];
static struct document policy = {.name = "db"}, envelope;
static struct device device = {.id = "web-1"};
static const uint8_t key[HASH_LEN] = {1};
static struct quota_facts facts;

static int setup(void **state)
{
    (void)state;
    (void)strcpy(folder, "/tmp/enfilade-quota-XXXXXX");
    struct err err = {.code = 0};
    stages[0].factors = stages[1].factors = quota;
    policy.policy.stages = stages;
    policy.policy.stage_count = 2;
    facts = (struct quota_facts){&policy, &envelope, 1, &device, key};
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

static struct store_txn *open_txn; /* of the test under way: a failing one must not leave the writer's lock */

static struct store_txn *begin(void)
{
    struct err err = {.code = 0};
    assert_int_equal(store_begin(store, true, &open_txn, &err), 0);
    return open_txn;
}

static int end(void **state)
{
    (void)state;
    stages[0].factors = quota;
    store_abort(open_txn);
    open_txn = NULL;
    return 0;
}

static int take(struct store_txn *t, const struct quota_facts *f, uint64_t now_ms)
{
    struct quota_used used = {NULL, 0};
    struct err err = {.code = 0};
    int looked = quota_check(t, f, now_ms, &used, &err);
    int rc = quota_take(t, f, now_ms, &used, &err);
    assert_int_equal(looked, rc);
    if (rc == ERR_QUOTA)
        assert_int_equal(used.end_ms % MINUTE, 0);
    return rc;
}

static void a_window_ends(void **state)
{
    (void)state;
    struct store_txn *t = begin();
    assert_int_equal(take(t, &facts, MINUTE + 1), 0);
    assert_int_equal(take(t, &facts, 2 * MINUTE - 2), 0);
    assert_int_equal(take(t, &facts, 2 * MINUTE - 1), ERR_QUOTA);
    assert_int_equal(take(t, &facts, 2 * MINUTE), 0);
    assert_int_equal(take(t, &facts, 1), 0); /* a clock that was set back wins nothing */
    assert_int_equal(take(t, &facts, 1), ERR_QUOTA);
}

static void what_counts_as_the_same(void **state)
{
    (void)state;
    struct store_txn *t = begin();
    struct device other = {.id = "web-2"};
    const uint8_t other_key[HASH_LEN] = {2};
    struct document other_policy = policy, other_envelope = envelope;
    (void)strcpy(other_policy.name, "web");
    other_envelope.envelope.id[0] = 1;
    struct quota_facts f = facts;
    assert_int_equal(take(t, &f, 1), 0);
    f.device_key = other_key; /* the id counts, not the key */
    assert_int_equal(take(t, &f, 1), 0);
    assert_int_equal(take(t, &f, 1), ERR_QUOTA);
    f.envelope = &other_envelope; /* of another secret: per device all the same */
    assert_int_equal(take(t, &f, 1), ERR_QUOTA);
    f.device = &other;
    assert_int_equal(take(t, &f, 1), 0);
    f.device = NULL; /* not enrolled: the key counts */
    assert_int_equal(take(t, &f, 1), 0);
    f = facts;
    f.stage = 2;
    assert_int_equal(take(t, &f, 1), 0);
    f = facts;
    f.policy = &other_policy;
    assert_int_equal(take(t, &f, 1), 0);
    stages[0].factors.quota_per = QUOTA_PER_SECRET;
    f = facts;
    assert_int_equal(take(t, &f, 1), 0);
    f.device = &other;
    assert_int_equal(take(t, &f, 1), 0);
    assert_int_equal(take(t, &f, 1), ERR_QUOTA);
    f.envelope = &other_envelope;
    assert_int_equal(take(t, &f, 1), 0);
    stages[0].factors.quota_per = QUOTA_PER_POLICY;
    assert_int_equal(take(t, &f, 1), 0);
    assert_int_equal(take(t, &facts, 1), 0);
    assert_int_equal(take(t, &facts, 1), ERR_QUOTA);
    stages[0].factors.quota_count = 3; /* a new version of the policy goes on counting */
    assert_int_equal(take(t, &facts, 1), 0);
    assert_int_equal(take(t, &facts, 1), ERR_QUOTA);
}

static void rubbish_refuses(void **state)
{
    (void)state;
    struct store_txn *t = begin();
    struct quota_used used;
    struct err err = {.code = 0};
    uint8_t stored[HASH_LEN];
    assert_int_equal(quota_take(t, &facts, 1, &used, &err), 0);
    struct bytes k, v;
    assert_int_equal(store_last(t, STORE_QUOTAS, &k, &v), 0);
    memcpy(stored, k.p, HASH_LEN);
    assert_int_equal(store_put(t, STORE_QUOTAS, BYTES_OF(stored), bytes_str("rubbish"), false, &err), 0);
    assert_int_equal(quota_check(t, &facts, 1, &used, &err), ERR_INTEGRITY);
    assert_int_equal(quota_take(t, &facts, 1, &used, &err), ERR_INTEGRITY);
}

static void bounded_and_swept(void **state)
{
    (void)state;
    struct store_txn *t = begin();
    struct quota_used used;
    struct quota_cursor cursor = {.is_set = false};
    struct err err = {.code = 0};
    struct device d = device;
    struct quota_facts f = facts;
    unsigned deleted = 0, all = 0;
    uint64_t left = 0;
    f.device = &d;
    for (unsigned i = 0; i < QUOTA_MAX; i++) {
        (void)snprintf(d.id, sizeof(d.id), "d%u", i);
        assert_int_equal(quota_take(t, &f, i < 1000 ? MINUTE : 1, &used, &err), 0);
    }
    (void)strcpy(d.id, "late");
    assert_int_equal(quota_take(t, &f, 1, &used, &err), ERR_FULL);
    (void)strcpy(d.id, "d5");
    assert_int_equal(quota_take(t, &f, MINUTE, &used, &err), 0); /* those that are counted already go on */
    do {
        assert_int_equal(quota_sweep(t, MINUTE, &cursor, &deleted), 0);
        assert_in_range(deleted, 0, QUOTA_SWEEP_LOOK);
        all += deleted;
    } while (cursor.is_set);
    assert_int_equal(all, QUOTA_MAX - 1000);
    assert_int_equal(store_count(t, STORE_QUOTAS, &left), 0);
    assert_int_equal(left, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_window_ends, end),
        cmocka_unit_test_teardown(what_counts_as_the_same, end),
        cmocka_unit_test_teardown(rubbish_refuses, end),
        cmocka_unit_test_teardown(bounded_and_swept, end),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
