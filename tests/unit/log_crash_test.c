/* log_crash_test: kill -9, failing disks and altered stores: no answer without an entry, no tree that does not hold. */
#include "common/ledger/entry.h"
#include "node/ledger/tree.h"
#include "tests/lib/log_world.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

#define MAP (64u << 20)

static struct world w;

static int setup(void **state)
{
    (void)state;
    world_syncs_to_fail = world_fail_at = 0;
    world_disk_full = false;
    world_folder(&w);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_remove(&w);
    return 0;
}

static struct err append_one(uint64_t number, uint64_t *ret_index)
{
    struct visit_entry v;
    size_t done = 0;
    world_entry(&w, &v, number, &done);
    assert_int_equal(node_log_append(w.log, &v.append), 0);
    world_until_count(&w, &done, 1);
    if (ret_index != NULL)
        *ret_index = v.index;
    struct err err = v.err;
    world_entry_done(&v);
    return err;
}

static void append_ok(uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct err err = append_one(first + i, NULL);
        if (err.code != 0)
            fail_msg("%s", err.text);
    }
}

static uint64_t head_size(void)
{
    uint64_t size = 0;
    uint8_t root[HASH_LEN];
    node_log_head(w.log, &size, root);
    return size;
}

/* ---- crashes */

static void child(int fd, bool killed_at_token, size_t in_flight)
{
    static struct visit_entry v[100000];
    size_t done = 0, told = 0;
    if (world_open(&w, MAP) != 0 || write(fd, "R", 1) != 1)
        _exit(9);
    if (killed_at_token)
        w.mode = TOKEN_KILLED;
    for (size_t i = 0;; i++) {
        world_entry(&w, &v[i], i, &done);
        if (i == 99999 || node_log_append(w.log, &v[i].append) != 0)
            _exit(9);
        while (i + 1 - done >= in_flight)
            uv_run(&w.loop, UV_RUN_ONCE);
        for (; told <= i && v[told].done; told++) {
            uint8_t head[16] = {0};
            tree_key(v[told].index, head);
            tree_key(v[told].entry.len, head + 8);
            head[8] = (uint8_t)(v[told].err.code == 0 ? 1 : 2);
            if (write(fd, head, 16) != 16 ||
                write(fd, v[told].entry.p, v[told].entry.len) != (ssize_t)v[told].entry.len)
                _exit(9);
        }
    }
}

static pid_t fork_child(int *ret_fd, bool killed_at_token, size_t in_flight)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        child(fds[1], killed_at_token, in_flight);
        _exit(9);
    }
    close(fds[1]);
    *ret_fd = fds[0];
    return pid;
}

static bool read_all(int fd, void *p, size_t len)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = read(fd, (uint8_t *)p + got, len - got);
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

/* Whatever the child was told about is in the store, byte for byte. */
static size_t check_told(int fd)
{
    uint8_t head[16], entry[ENTRY_MAX];
    size_t told = 0;
    struct store_txn *t = NULL;
    struct err err;
    assert_int_equal(store_begin(w.store, false, &t, &err), 0);
    while (read_all(fd, head, 16)) {
        struct bytes stored;
        size_t len = (size_t)head[14] << 8 | head[15];
        assert_int_equal(head[8], 1);
        if (!read_all(fd, entry, len))
            break;
        assert_int_equal(store_get(t, STORE_ENTRIES, BYTES(head, 8), &stored), 0);
        assert_true(bytes_equal(stored, BYTES(entry, len)));
        told++;
    }
    store_abort(t);
    close(fd);
    return told;
}

static void test_killed_between_commit_and_signature(void **state)
{
    (void)state;
    int fd = -1, status = 0;
    char ready = 0;
    pid_t pid = fork_child(&fd, true, 20);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(read_all(fd, &ready, 1));
    assert_int_equal(world_open(&w, MAP), 0);
    assert_int_equal(check_told(fd), 0); /* nobody was answered */
    assert_true(head_size() > 0);        /* though there were entries: they are signed before the log is ready */
    assert_int_equal(w.signed_at_ready, 1);
    uint64_t index = 0, before = head_size();
    assert_int_equal(append_one(7, &index).code, 0);
    assert_int_equal(index, before);
    world_close(&w);
}

static void test_killed_anywhere(void **state)
{
    (void)state;
    const char *more = getenv("CRASHES");
    unsigned rounds = more != NULL ? (unsigned)atoi(more) : 25, unsigned_ = 0;
    size_t told = 0;
    srandom(1);
    for (unsigned i = 0; i < rounds; i++) {
        int fd = -1, status = 0;
        uint64_t before = 0;
        uint8_t root[HASH_LEN];
        char ready = 0;
        pid_t pid = fork_child(&fd, false, 1u + (unsigned)random() % 64u);
        bool starts = i % 8 == 7; /* some die while they start */
        if (!starts)
            assert_true(read_all(fd, &ready, 1));
        struct timespec pause = {0, random() % 20000000}; /* the moment of death, not a wait for something */
        nanosleep(&pause, NULL);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSIGNALED(status))
            fail_msg("round %u: the child ended with %d", i, WEXITSTATUS(status));
        if (world_open(&w, MAP) != 0)
            fail_msg("round %u: %s", i, w.ready_err.text);
        if (!starts || read_all(fd, &ready, 1))
            told += check_told(fd);
        else
            close(fd);
        unsigned_ += w.signed_at_ready;
        node_log_head(w.log, &before, root);
        uint64_t index = 0;
        assert_int_equal(append_one(1, &index).code, 0);
        assert_int_equal(index, before);
        world_close(&w);
    }
    print_message("%u kills, %zu answers checked, %u starts had something to sign\n", rounds, told, unsigned_);
    assert_true(told > 0);
}

/* ---- disks */

static void test_sync_fails(void **state)
{
    (void)state;
    uint64_t index = 0;
    assert_int_equal(world_open(&w, MAP), 0);
    append_ok(0, 5);
    for (unsigned i = 1; i <= 3; i++) {
        world_syncs_to_fail = i;
        struct err err = append_one(100 + i, NULL);
        assert_int_equal(err.code, ERR_STORAGE);
        world_syncs_to_fail = 0;
        assert_int_equal(append_one(200 + i, &index).code, 0);
        assert_int_equal(index + 1, head_size());
        assert_null(node_log_broken(w.log));
    }
    world_close(&w);
    assert_int_equal(world_open(&w, MAP), 0);
    assert_int_equal(head_size(), 8);
    world_close(&w);
}

/* Every write and sync of one group fails once, then once more after a restart. Whatever LMDB makes of it (it may shut
 * itself until a restart when its last page is in doubt), no tree comes out of it that does not hold. */
static void test_any_write_fails(void **state)
{
    (void)state;
    uint64_t index = 0, told = 3;
    bool all = false;
    assert_int_equal(world_open(&w, MAP), 0);
    append_ok(0, told);
    unsigned at = 1, stuck = 0;
    for (; !all; at++) {
        struct visit_entry v[40];
        size_t done = 0, failed = 0;
        world_fail_at = at;
        for (size_t i = 0; i < 40; i++) {
            world_entry(&w, &v[i], i, &done);
            assert_int_equal(node_log_append(w.log, &v[i].append), 0);
        }
        world_until_count(&w, &done, 40);
        all = world_fail_at > 0; /* there are not so many */
        world_fail_at = 0;
        for (size_t i = 0; i < 40; i++) {
            assert_true(v[i].err.code == 0 || v[i].err.code == ERR_STORAGE);
            failed += v[i].err.code != 0;
            told = v[i].err.code == 0 && v[i].index >= told ? v[i].index + 1 : told;
            world_entry_done(&v[i]);
        }
        assert_true(all ? failed == 0 : failed > 0);
        stuck += node_log_broken(w.log) != NULL;
        if (node_log_broken(w.log) != NULL)
            assert_non_null(strstr(node_log_broken(w.log)->text, "check the disk, restart"));
        world_close(&w);
        if (world_open(&w, MAP) != 0)
            fail_msg("write %u: %s", at, w.ready_err.text);
        assert_true(head_size() >= told); /* nothing that was answered is gone */
        told = head_size();
        assert_int_equal(append_one(9, &index).code, 0);
        assert_int_equal(index, told++);
    }
    print_message("%u places to fail\n", at - 2);
    assert_true(at > 4);
    assert_true(stuck == 1 || stuck == 2); /* the meta page of the group, and of the checkpoint after it */
    world_close(&w);
}

static void test_disk_full(void **state)
{
    (void)state;
    uint64_t index = 0;
    assert_int_equal(world_open(&w, MAP), 0);
    append_ok(0, 3);
    world_disk_full = true;
    struct err err = append_one(3, NULL);
    assert_int_equal(err.code, ERR_STORAGE);
    assert_non_null(strstr(err.text, "make room"));
    world_disk_full = false;
    assert_int_equal(append_one(4, &index).code, 0);
    assert_int_equal(index, 3);
    world_close(&w);
}

static void test_map_full(void **state)
{
    (void)state;
    uint64_t index = 0, written = 0;
    struct err err = {.code = 0};
    assert_int_equal(world_open(&w, 256u << 10), 0);
    while (err.code == 0 && written < 10000) {
        err = append_one(written, &index);
        written += err.code == 0;
    }
    assert_int_equal(err.code, ERR_STORAGE);
    assert_non_null(strstr(err.text, "larger map"));
    assert_int_equal(head_size(), written);
    assert_int_equal(append_one(0, NULL).code, ERR_STORAGE); /* still, and still sound */
    assert_null(node_log_broken(w.log));
    world_close(&w);
    assert_int_equal(world_open(&w, MAP), 0);
    assert_int_equal(head_size(), written);
    assert_int_equal(append_one(1, &index).code, 0);
    assert_int_equal(index, written);
    world_close(&w);
}

/* ---- altered stores */

enum { ENTRIES = 21 };

static void filled(void)
{
    assert_int_equal(world_open(&w, MAP), 0);
    append_ok(0, ENTRIES);
    world_close(&w);
}

static void edit(enum store_table table, struct bytes key, bool delete, int flip_at, const void *whole, size_t len)
{
    struct store *s = world_store(&w, false);
    struct store_txn *t = NULL;
    struct bytes value;
    struct err err;
    uint8_t copy[CHECKPOINT_MAX];
    assert_int_equal(store_begin(s, true, &t, &err), 0);
    if (delete)
        assert_int_equal(store_delete(t, table, key), 0);
    else {
        if (whole == NULL) {
            assert_int_equal(store_get(t, table, key, &value), 0);
            memcpy(copy, value.p, value.len);
            len = value.len;
            copy[flip_at >= 0 ? (size_t)flip_at : len - 1] ^= 1;
        } else
            memcpy(copy, whole, len);
        assert_int_equal(store_put(t, table, key, BYTES(copy, len), false, &err), 0);
    }
    assert_int_equal(store_commit(t, &err), 0);
    store_close(s);
}

static void refused(const char *words)
{
    assert_int_equal(world_open(&w, MAP), ERR_INTEGRITY);
    if (strstr(w.ready_err.text, words) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", words, w.ready_err.text);
    struct visit_entry v;
    world_entry(&w, &v, 0, NULL);
    assert_int_not_equal(node_log_append(w.log, &v.append), 0);
    world_entry_done(&v);
    assert_int_equal(w.asked, 0);
    world_close(&w);
}

static void test_entry_flipped(void **state)
{
    (void)state;
    uint8_t key[8];
    filled();
    tree_key(13, key);
    edit(STORE_ENTRIES, BYTES_OF(key), false, -1, NULL, 0);
    refused("entry 13 was altered: leaf hash stored ");
}

static void test_entry_removed(void **state)
{
    (void)state;
    uint8_t key[8];
    filled();
    tree_key(4, key);
    edit(STORE_ENTRIES, BYTES_OF(key), true, 0, NULL, 0);
    refused("entry 4 is missing");
}

static void test_last_entry_removed(void **state)
{
    (void)state;
    uint8_t key[8];
    filled();
    tree_key(ENTRIES - 1, key);
    edit(STORE_ENTRIES, BYTES_OF(key), true, 0, NULL, 0);
    refused("holds 20 entries, but a checkpoint of 21 was signed");
}

static void test_node_flipped(void **state)
{
    (void)state;
    uint8_t key[9] = {2, 0, 0, 0, 0, 0, 0, 0, 3};
    filled();
    edit(STORE_NODES, BYTES_OF(key), false, 5, NULL, 0);
    refused("node 3 of level 2 was altered");
}

static void test_node_removed(void **state)
{
    (void)state;
    uint8_t key[9] = {1, 0, 0, 0, 0, 0, 0, 0, 2};
    filled();
    edit(STORE_NODES, BYTES_OF(key), true, 0, NULL, 0);
    refused("node 2 of level 1 is missing");
}

struct forge {
    struct merkle_range range;
    struct store_txn *txn;
};

static void forge_node(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_LEN])
{
    struct forge *f = arg;
    uint8_t key[9] = {(uint8_t)level};
    struct err err;
    tree_key(index, key + 1);
    assert_int_equal(store_put(f->txn, STORE_NODES, BYTES_OF(key), BYTES(hash, HASH_LEN), false, &err), 0);
}

static bool forge_entry(void *arg, struct bytes key, struct bytes value)
{
    struct forge *f = arg;
    uint8_t leaf[HASH_LEN];
    (void)key;
    merkle_leaf(value, leaf);
    merkle_range_append(&f->range, leaf, forge_node, f);
    return true;
}

/* Who alters an entry and every hash above it still cannot sign. */
static void test_whole_tree_forged(void **state)
{
    (void)state;
    uint8_t key[8];
    struct forge f;
    struct err err;
    filled();
    tree_key(0, key);
    edit(STORE_ENTRIES, BYTES_OF(key), false, -1, NULL, 0);
    struct store *s = world_store(&w, false);
    assert_int_equal(store_begin(s, true, &f.txn, &err), 0);
    merkle_range_init(&f.range);
    struct store_txn *reader = f.txn;
    for (uint64_t i = 0; i < ENTRIES; i++) {
        struct bytes value;
        tree_key(i, key);
        assert_int_equal(store_get(reader, STORE_ENTRIES, BYTES_OF(key), &value), 0);
        forge_entry(&f, BYTES_OF(key), value);
    }
    assert_int_equal(store_commit(f.txn, &err), 0);
    store_close(s);
    refused("are not those that were signed");
}

static void test_checkpoint_forged(void **state)
{
    (void)state;
    uint8_t key[8];
    filled();
    tree_key(ENTRIES, key);
    edit(STORE_CHECKPOINTS, BYTES_OF(key), false, 30, NULL, 0);
    refused("the stored checkpoint of size 21 does not hold");
}

/* What changes between commit and signature is not signed. */
static bool alter_by_removal;

static int alter_the_first(struct log_append *a, struct store_txn *t, uint64_t entry_index, uint64_t time_ms,
                           struct err *err)
{
    struct bytes value;
    uint8_t key[8], copy[ENTRY_MAX];
    (void)a;
    (void)time_ms;
    tree_key(entry_index - 1, key);
    if (alter_by_removal)
        return store_delete(t, STORE_ENTRIES, BYTES_OF(key));
    assert_int_equal(store_get(t, STORE_ENTRIES, BYTES_OF(key), &value), 0);
    memcpy(copy, value.p, value.len);
    copy[value.len - 1] ^= 1;
    return store_put(t, STORE_ENTRIES, BYTES_OF(key), BYTES(copy, value.len), false, err);
}

static void altered_before_signing(void)
{
    struct visit_entry v[3];
    size_t done = 0;
    assert_int_equal(world_open(&w, MAP), 0);
    append_ok(0, 2);
    unsigned asked = w.asked;
    /* One group: the first opens it, while it is written the two others queue up. */
    for (size_t i = 0; i < 3; i++) {
        world_entry(&w, &v[i], i, &done);
        v[i].append.with = i == 2 ? alter_the_first : NULL;
        assert_int_equal(node_log_append(w.log, &v[i].append), 0);
    }
    world_until_count(&w, &done, 3);
    assert_int_equal(v[0].err.code, 0);
    assert_int_equal(w.asked, asked + 1); /* for the first alone */
    assert_int_equal(v[1].err.code, ERR_INTEGRITY);
    assert_int_equal(v[2].err.code, ERR_INTEGRITY);
    assert_non_null(node_log_broken(w.log));
    struct visit_entry more;
    world_entry(&w, &more, 9, &done);
    assert_int_equal(node_log_append(w.log, &more.append), ERR_INTEGRITY);
    for (size_t i = 0; i < 3; i++)
        world_entry_done(&v[i]);
    world_entry_done(&more);
    world_close(&w);
}

static void test_altered_before_signing(void **state)
{
    (void)state;
    alter_by_removal = false;
    altered_before_signing();
}

static void test_removed_before_signing(void **state)
{
    (void)state;
    alter_by_removal = true;
    altered_before_signing();
}

/* After a failed write the disk is asked what it holds: less than was committed is the end. */
static void lost_before_reload(enum store_table table, struct bytes key, const char *words)
{
    struct store_txn *t = NULL;
    struct err err = {.code = 0};
    assert_int_equal(world_open(&w, MAP), 0);
    append_ok(0, 5);
    assert_int_equal(store_begin(w.store, true, &t, &err), 0);
    assert_int_equal(store_delete(t, table, key), 0);
    assert_int_equal(store_commit(t, &err), 0);
    world_syncs_to_fail = 1;
    assert_int_equal(append_one(5, NULL).code, ERR_STORAGE);
    unsigned asked = w.asked;
    err = append_one(6, NULL);
    assert_int_equal(err.code, ERR_INTEGRITY);
    if (strstr(err.text, words) == NULL)
        fail_msg("%s", err.text);
    assert_int_equal(w.asked, asked);
    assert_non_null(node_log_broken(w.log));
    world_close(&w);
}

static void test_entry_lost_before_reload(void **state)
{
    (void)state;
    uint8_t key[8];
    tree_key(4, key);
    lost_before_reload(STORE_ENTRIES, BYTES_OF(key), "holds 4 entries where 5 were committed");
}

static void test_node_lost_before_reload(void **state)
{
    (void)state;
    uint8_t key[9] = {2};
    lost_before_reload(STORE_NODES, BYTES_OF(key), "node 0 of level 2 cannot be read");
}

static void test_checkpoints_are_bounded(void **state)
{
    (void)state;
    struct store_txn *t = NULL;
    struct err err;
    uint64_t count = 0;
    struct bytes value;
    uint8_t key[8];
    assert_int_equal(world_open(&w, MAP), 0);
    append_ok(0, STORE_CHECKPOINTS_MAX + 30);
    world_close(&w);
    struct store *s = world_store(&w, true);
    assert_int_equal(store_begin(s, false, &t, &err), 0);
    assert_int_equal(store_count(t, STORE_CHECKPOINTS, &count), 0);
    assert_int_equal(count, STORE_CHECKPOINTS_MAX);
    tree_key(STORE_CHECKPOINTS_MAX + 30, key);
    assert_int_equal(store_get(t, STORE_CHECKPOINTS, BYTES_OF(key), &value), 0);
    tree_key(1, key);
    assert_int_equal(store_get(t, STORE_CHECKPOINTS, BYTES_OF(key), &value), ERR_NOT_FOUND);
    store_abort(t);
    store_close(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_killed_between_commit_and_signature),
        T(test_killed_anywhere),
        T(test_sync_fails),
        T(test_any_write_fails),
        T(test_disk_full),
        T(test_map_full),
        T(test_entry_flipped),
        T(test_entry_removed),
        T(test_last_entry_removed),
        T(test_node_flipped),
        T(test_node_removed),
        T(test_whole_tree_forged),
        T(test_checkpoint_forged),
        T(test_altered_before_signing),
        T(test_removed_before_signing),
        T(test_entry_lost_before_reload),
        T(test_node_lost_before_reload),
        T(test_checkpoints_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
