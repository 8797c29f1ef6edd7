/* log_test: groups, receipts, refusals, the token's absence, restarts. */
#include "common/ledger/entry.h"
#include "tests/lib/log_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

#define MAP (64u << 20)

static struct world w;

static int setup(void **state)
{
    (void)state;
    alarm(120); /* a test that waits for something that never comes */
    world_folder(&w);
    return world_open(&w, MAP);
}

static int teardown(void **state)
{
    (void)state;
    w.mode = TOKEN_SIGNS;
    world_close(&w);
    world_remove(&w);
    return 0;
}

/* count appends of numbers from `first`, at most `in_flight` at a time; all must succeed unless any is false. */
static struct visit_entry *append_many(uint64_t first, size_t count, size_t in_flight)
{
    struct visit_entry *v = calloc(count, sizeof(*v));
    size_t done = 0;
    for (size_t i = 0; i < count; i++) {
        world_entry(&w, &v[i], first + i, &done);
        assert_int_equal(node_log_append(w.log, &v[i].append), 0);
        if (i + 1 >= in_flight)
            world_until_count(&w, &done, i + 1 - in_flight);
    }
    world_until_count(&w, &done, count);
    return v;
}

static void free_many(struct visit_entry *v, size_t count)
{
    for (size_t i = 0; i < count; i++)
        world_entry_done(&v[i]);
    free(v);
}

static void expect_all(struct visit_entry *v, size_t count, uint64_t first_index)
{
    for (size_t i = 0; i < count; i++) {
        if (v[i].err.code != 0)
            fail_msg("append %zu: %s", i, v[i].err.text);
        assert_int_equal(v[i].index, first_index + i);
        assert_true(v[i].checkpoint_size > v[i].index);
    }
}

static void test_groups(void **state)
{
    (void)state;
    for (size_t in_flight = 1; in_flight <= 1000; in_flight *= 10) {
        unsigned syncs = world_syncs, signs = w.signed_;
        uint64_t size = 0, before = 0;
        uint8_t root[HASH_LEN];
        node_log_head(w.log, &before, root);
        struct visit_entry *v = append_many(0, 1000, in_flight);
        syncs = world_syncs - syncs;
        signs = w.signed_ - signs;
        expect_all(v, 1000, before);
        free_many(v, 1000);
        node_log_head(w.log, &size, root);
        assert_int_equal(size, before + 1000);
        print_message("1000 appends, %4zu in flight: %u syncs, %u signatures\n", in_flight, syncs, signs);
        if (in_flight >= 10) {
            assert_true(syncs < 1000);
            assert_true(signs < 1000);
        }
    }
}

static void test_restart(void **state)
{
    (void)state;
    uint64_t size = 0;
    uint8_t root[HASH_LEN], again[HASH_LEN];
    struct visit_entry *v = append_many(0, 37, 5);
    expect_all(v, 37, 0);
    node_log_head(w.log, &size, root);
    world_close(&w);
    assert_int_equal(world_open(&w, MAP), 0);
    assert_int_equal(w.asked, 0); /* its checkpoint was kept */
    node_log_head(w.log, &size, again);
    assert_int_equal(size, 37);
    assert_memory_equal(root, again, HASH_LEN);
    assert_int_equal(node_log_last_time(w.log), 1000);
    struct visit_entry *more = append_many(37, 5, 5);
    expect_all(more, 5, 37);
    free_many(more, 5);
    /* receipts of before still hold, and there are newer ones */
    for (size_t i = 0; i < 37; i++) {
        struct visit_entry r;
        size_t done = 0;
        world_entry(&w, &r, i, &done);
        assert_int_equal(node_log_receipt(w.log, &r.append, i), 0);
        world_until_count(&w, &done, 1);
        assert_int_equal(r.err.code, 0);
        assert_int_equal(r.checkpoint_size, 42);
        assert_true(bytes_equal(buf_view(&r.entry), buf_view(&v[i].entry)));
        world_entry_done(&r);
    }
    free_many(v, 37);
}

static uint64_t stored_entries(void)
{
    struct store_txn *t = NULL;
    struct err err;
    uint64_t count = 0;
    assert_int_equal(store_begin(w.store, false, &t, &err), 0);
    assert_int_equal(store_count(t, STORE_ENTRIES, &count), 0);
    store_abort(t);
    return count;
}

static void test_receipt_of_nothing(void **state)
{
    (void)state;
    struct visit_entry r;
    size_t done = 0;
    world_entry(&w, &r, 0, &done);
    assert_int_equal(node_log_receipt(w.log, &r.append, 0), 0);
    assert_int_equal(done, 0);
    world_until_count(&w, &done, 1);
    assert_int_equal(r.err.code, ERR_NOT_FOUND);
    world_entry_done(&r);
}

/* One group of appends and requests for receipts, of entries signed before, signed with it, and not there. */
static void test_receipts_beside_appends(void **state)
{
    (void)state;
    struct visit_entry v[5];
    size_t done = 0;
    free_many(append_many(0, 3, 1), 3);
    for (size_t i = 0; i < 5; i++)
        world_entry(&w, &v[i], 3 + i, &done);
    assert_int_equal(node_log_append(w.log, &v[0].append), 0); /* keeps the store busy while the others queue up */
    assert_int_equal(node_log_append(w.log, &v[1].append), 0);
    assert_int_equal(node_log_receipt(w.log, &v[2].append, 1), 0);
    assert_int_equal(node_log_receipt(w.log, &v[3].append, 3), 0);
    assert_int_equal(node_log_receipt(w.log, &v[4].append, 5), 0);
    world_until_count(&w, &done, 5);
    const uint64_t index[] = {3, 4, 1, 3};
    for (size_t i = 0; i < 4; i++) {
        if (v[i].err.code != 0)
            fail_msg("%zu: %s", i, v[i].err.text);
        assert_int_equal(v[i].index, index[i]);
    }
    assert_int_equal(v[4].err.code, ERR_NOT_FOUND);
    assert_int_equal(stored_entries(), 5);
    for (size_t i = 0; i < 5; i++)
        world_entry_done(&v[i]);
}

/* ---- with */

static int put_and_maybe_refuse(struct log_append *a, struct store_txn *t, uint64_t entry_index, uint64_t time_ms,
                                struct err *err)
{
    struct visit_entry *v = a->arg;
    uint8_t value[8] = {(uint8_t)entry_index, (uint8_t)time_ms};
    assert_int_equal(store_put(t, STORE_META, BYTES(v->hash, 8), BYTES_OF(value), true, err), 0);
    return v->hash[7] % 3 == 0 ? err_set(err, ERR_QUOTA, "no more of %u", v->hash[7]) : 0;
}

static void test_refusal_undoes_its_own(void **state)
{
    (void)state;
    struct visit_entry v[30];
    size_t done = 0;
    uint64_t next = 0;
    for (size_t i = 0; i < 30; i++) {
        world_entry(&w, &v[i], i, &done);
        v[i].append.with = put_and_maybe_refuse;
        assert_int_equal(node_log_append(w.log, &v[i].append), 0);
    }
    world_until_count(&w, &done, 30);
    world_close(&w);
    struct store *s = world_store(&w, true);
    struct store_txn *t = NULL;
    struct err err;
    assert_int_equal(store_begin(s, false, &t, &err), 0);
    for (size_t i = 0; i < 30; i++) {
        struct bytes value;
        int rc = store_get(t, STORE_META, BYTES(v[i].hash, 8), &value);
        if (i % 3 == 0) {
            assert_int_equal(v[i].err.code, ERR_QUOTA);
            assert_int_equal(rc, ERR_NOT_FOUND);
        } else {
            assert_int_equal(v[i].err.code, 0);
            assert_int_equal(v[i].index, next);
            assert_int_equal(rc, 0);
            assert_int_equal(value.p[0], next++);
        }
        world_entry_done(&v[i]);
    }
    uint64_t entries = 0;
    assert_int_equal(store_count(t, STORE_ENTRIES, &entries), 0);
    assert_int_equal(entries, 20);
    store_abort(t);
    store_close(s);
    assert_int_equal(world_open(&w, MAP), 0);
}

static void test_malformed_entry_fails_alone(void **state)
{
    (void)state;
    struct visit_entry v[3];
    size_t done = 0;
    for (size_t i = 0; i < 3; i++)
        world_entry(&w, &v[i], i, &done);
    v[1].append.entry.code = 5; /* not in a grant */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(node_log_append(w.log, &v[i].append), 0);
    world_until_count(&w, &done, 3);
    assert_int_equal(v[0].err.code, 0);
    assert_int_equal(v[1].err.code, ERR_FORMAT);
    assert_int_equal(v[2].err.code, 0);
    assert_int_equal(v[2].index, 1);
    for (size_t i = 0; i < 3; i++)
        world_entry_done(&v[i]);
}

/* ---- the token */

static void run_some(unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++)
        uv_run(&w.loop, UV_RUN_NOWAIT);
}

static void wait_for_entries(uint64_t count)
{
    while (stored_entries() < count)
        uv_run(&w.loop, UV_RUN_NOWAIT);
    run_some(10);
}

static void token_is(enum token_mode mode, int code)
{
    struct visit_entry v[3], r;
    size_t done = 0, got = 0;
    uint64_t size = 0;
    uint8_t root[HASH_LEN];
    w.mode = mode;
    for (size_t i = 0; i < 3; i++) {
        world_entry(&w, &v[i], i, &done);
        assert_int_equal(node_log_append(w.log, &v[i].append), 0);
        wait_for_entries(i + 1); /* written though nothing gets signed */
    }
    for (unsigned ms = 0; ms <= LOG_SIGN_WAIT_MS; ms += LOG_RETRY_MS) {
        assert_int_equal(done, 0);
        world_tick(&w, LOG_RETRY_MS);
        run_some(20);
    }
    while (done < 3) { /* one may have been in the store's hands just then */
        world_tick(&w, LOG_RETRY_MS);
        run_some(20);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(v[i].err.code, code);
        assert_int_equal(v[i].index, i);
        world_entry_done(&v[i]);
    }
    node_log_head(w.log, &size, root);
    assert_int_equal(size, 0);
    /* it comes back while somebody asks for a receipt */
    world_entry(&w, &r, 0, &got);
    assert_int_equal(node_log_receipt(w.log, &r.append, 1), 0);
    run_some(20);
    assert_int_equal(got, 0);
    w.mode = TOKEN_SIGNS;
    while (got == 0) {
        world_tick(&w, LOG_RETRY_MS);
        run_some(20);
    }
    if (r.err.code != 0)
        fail_msg("%s", r.err.text);
    assert_int_equal(r.checkpoint_size, 3);
    world_entry_done(&r);
    struct visit_entry *more = append_many(3, 2, 2);
    expect_all(more, 2, 3);
    free_many(more, 2);
}

static void test_token_away(void **state)
{
    (void)state;
    struct visit_entry v;
    size_t done = 0;
    w.mode = TOKEN_AWAY;
    world_entry(&w, &v, 0, &done);
    assert_int_equal(node_log_append(w.log, &v.append), 0);
    while (w.asked < 10) { /* it goes on asking, also after everybody has been told */
        world_tick(&w, LOG_RETRY_MS);
        run_some(20);
    }
    while (done == 0) {
        world_tick(&w, LOG_RETRY_MS);
        run_some(20);
    }
    assert_int_equal(v.err.code, ERR_TOKEN);
    world_entry_done(&v);
}

static void test_token_comes_back(void **state)
{
    (void)state;
    token_is(TOKEN_AWAY, ERR_TOKEN);
}

static void test_token_hangs(void **state)
{
    (void)state;
    token_is(TOKEN_HANGS, ERR_TOKEN);
}

static void test_token_lies(void **state)
{
    (void)state;
    token_is(TOKEN_LIES, ERR_TOKEN);
}

static void test_token_away_at_start(void **state)
{
    (void)state;
    struct visit_entry v;
    size_t done = 0;
    w.mode = TOKEN_AWAY;
    world_entry(&w, &v, 0, &done);
    assert_int_equal(node_log_append(w.log, &v.append), 0);
    wait_for_entries(1);
    while (done == 0) {
        world_tick(&w, LOG_RETRY_MS);
        run_some(20);
    }
    world_entry_done(&v);
    world_close(&w);
    w.mode = TOKEN_SIGNS;
    assert_int_equal(world_open(&w, MAP), 0);
    assert_int_equal(w.signed_at_ready, 1); /* first the signature, then ready */
    uint64_t size = 0;
    uint8_t root[HASH_LEN];
    node_log_head(w.log, &size, root);
    assert_int_equal(size, 1);
}

static void test_queue_is_bounded(void **state)
{
    (void)state;
    static struct visit_entry v[LOG_QUEUE_MAX + 1];
    size_t done = 0;
    w.mode = TOKEN_HANGS;
    for (size_t i = 0; i < LOG_QUEUE_MAX; i++) {
        world_entry(&w, &v[i], i, &done);
        assert_int_equal(node_log_append(w.log, &v[i].append), 0);
    }
    world_entry(&w, &v[LOG_QUEUE_MAX], LOG_QUEUE_MAX, &done);
    assert_int_equal(node_log_append(w.log, &v[LOG_QUEUE_MAX].append), ERR_BUSY);
    w.mode = TOKEN_SIGNS;
    world_tick(&w, 1);
    while (done < LOG_QUEUE_MAX) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
        if (w.question.waiting)
            world_tick(&w, 0);
    }
    expect_all(v, LOG_QUEUE_MAX, 0);
    for (size_t i = 0; i <= LOG_QUEUE_MAX; i++)
        world_entry_done(&v[i]);
}

static void test_time_never_decreases(void **state)
{
    (void)state;
    const uint64_t now[] = {5000, 3000, 7000}, expected[] = {5000, 5000, 7000};
    for (size_t i = 0; i < 3; i++) {
        struct message *m = NULL;
        struct err err;
        w.now_ms = now[i];
        struct visit_entry *v = append_many(i, 1, 1);
        assert_int_equal(entry_parse(buf_view(&v->entry), &m, &err), 0);
        assert_int_equal(m->entry.time_ms, expected[i]);
        assert_int_equal(node_log_last_time(w.log), expected[i]);
        message_free(m);
        free_many(v, 1);
    }
}

/* ---- reading */

struct reading {
    struct visit_entry *v;
    uint64_t from;
    size_t count;
    bool done;
};

static void on_read(void *arg, const struct message *m, const struct err *err)
{
    struct reading *r = arg;
    struct checkpoint c;
    struct err e;
    assert_null(err);
    assert_int_equal(m->type, MESSAGE_ENTRIES);
    assert_int_equal(m->entries.from, r->from);
    assert_int_equal(m->entries.entries.count, r->count);
    for (size_t i = 0; i < r->count; i++)
        assert_true(bytes_equal(m->entries.entries.at[i].entry, buf_view(&r->v[r->from + i].entry)));
    assert_int_equal(checkpoint_open(m->entries.checkpoint, &w.key, &c, &e), 0);
    assert_int_equal(c.size, 5000);
    r->done = true;
}

static void test_read(void **state)
{
    (void)state;
    const struct {
        uint64_t from, count;
        size_t expected;
    } cases[] = {{0, 1, 1}, {0, 0, 0}, {4990, 100, 10}, {5000, 1, 0}, {UINT64_MAX, UINT64_MAX, 0}, {17, 300, 300}};
    struct visit_entry *v = append_many(0, 5000, 1000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reading r = {.v = v, .from = cases[i].from, .count = cases[i].expected};
        assert_int_equal(node_log_read(w.log, cases[i].from, cases[i].count, on_read, &r), 0);
        assert_false(r.done);
        world_until(&w, &r.done);
    }
    size_t bytes = 0, fit = 0;
    for (; fit < LOG_READ_COUNT_MAX && bytes + v[fit].entry.len <= LOG_READ_MAX; fit++)
        bytes += v[fit].entry.len;
    assert_true(fit < 5000);
    struct reading all = {.v = v, .count = fit};
    assert_int_equal(node_log_read(w.log, 0, 5000, on_read, &all), 0);
    world_until(&w, &all.done);
    free_many(v, 5000);
}

static void test_wrong_key_name(void **state)
{
    (void)state;
    struct node_log *l = NULL;
    struct err err = {.code = 0};
    struct node_log_settings s = {.store = w.store, .store_thread = w.pool, .network = "example.test", .node = "n2"};
    s.key = w.key;
    assert_int_equal(node_log_start(&s, NULL, NULL, &l, &err), ERR_KEYS);
    assert_non_null(strstr(err.text, "example.test/n2/log"));
}

static void test_stop_drains(void **state)
{
    (void)state;
    struct visit_entry v[50];
    size_t done = 0;
    for (size_t i = 0; i < 50; i++) {
        world_entry(&w, &v[i], i, &done);
        assert_int_equal(node_log_append(w.log, &v[i].append), 0);
    }
    world_close(&w);
    assert_int_equal(done, 50);
    expect_all(v, 50, 0);
    for (size_t i = 0; i < 50; i++)
        world_entry_done(&v[i]);
    assert_int_equal(world_open(&w, MAP), 0);
    assert_int_equal(w.asked, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_groups),
        T(test_restart),
        T(test_receipt_of_nothing),
        T(test_receipts_beside_appends),
        T(test_refusal_undoes_its_own),
        T(test_malformed_entry_fails_alone),
        T(test_token_away),
        T(test_token_comes_back),
        T(test_token_hangs),
        T(test_token_lies),
        T(test_token_away_at_start),
        T(test_queue_is_bounded),
        T(test_time_never_decreases),
        T(test_read),
        T(test_wrong_key_name),
        T(test_stop_drains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
