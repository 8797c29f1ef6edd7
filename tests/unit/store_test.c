/* store_test: the folder, tables, transactions inside transactions, limits. */
#include "node/store.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

#define MAP (1u << 20)
#define K(text) BYTES(text, strlen(text))

static char folder[64], inside[80];
static struct store *s;
static struct err err;
static uint64_t free_bytes;

/* Stands before libc's own. */
int fstatvfs(int fd, struct statvfs *ret)
{
    (void)fd;
    *ret = (struct statvfs){.f_frsize = 1, .f_bavail = free_bytes};
    return 0;
}

static int setup(void **state)
{
    (void)state;
    free_bytes = STORE_FREE_MIN;
    strcpy(folder, "/tmp/enfilade-store-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(inside, sizeof(inside), "%s/store", folder);
    return store_open(inside, MAP, false, &s, &err);
}

static void empty(const char *path)
{
    char file[512];
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        (void)snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        (void)unlink(file);
    }
    if (d != NULL)
        closedir(d);
    (void)rmdir(path);
}

static int teardown(void **state)
{
    (void)state;
    store_close(s);
    empty(inside);
    return rmdir(folder);
}

static struct store_txn *begin(bool write)
{
    struct store_txn *t = NULL;
    if (store_begin(s, write, &t, &err) != 0)
        fail_msg("%s", err.text);
    return t;
}

static void put(struct store_txn *t, const char *key, const char *value)
{
    if (store_put(t, STORE_META, K(key), K(value), false, &err) != 0)
        fail_msg("%s", err.text);
}

static void expect(struct store_txn *t, const char *key, const char *value)
{
    struct bytes v = BYTES_NONE;
    int rc = store_get(t, STORE_META, K(key), &v);
    assert_int_equal(rc, value != NULL ? 0 : ERR_NOT_FOUND);
    if (value != NULL)
        assert_true(bytes_is(v, value));
}

static void test_commit_and_abort(void **state)
{
    (void)state;
    struct store_txn *t = begin(true);
    put(t, "a", "1");
    expect(t, "a", "1");
    store_abort(t);
    t = begin(true);
    expect(t, "a", NULL);
    put(t, "a", "2");
    put(t, "b", "3");
    assert_int_equal(store_delete(t, STORE_META, K("b")), 0);
    assert_int_equal(store_delete(t, STORE_META, K("b")), ERR_NOT_FOUND);
    assert_int_equal(store_commit(t, &err), 0);
    store_close(s);
    assert_int_equal(store_open(inside, MAP, true, &s, &err), 0);
    t = begin(false);
    expect(t, "a", "2");
    expect(t, "b", NULL);
    expect(t, "", NULL);
    store_abort(t);
    store_abort(NULL);
    assert_int_not_equal(store_begin(s, true, &t, &err), 0); /* read only */
    store_close(NULL);
}

static void test_only_new(void **state)
{
    (void)state;
    struct store_txn *t = begin(true);
    assert_int_equal(store_put(t, STORE_META, K("a"), K("1"), true, &err), 0);
    assert_int_equal(store_put(t, STORE_META, K("a"), K("2"), true, &err), ERR_INTEGRITY);
    assert_non_null(strstr(err.text, "table meta"));
    expect(t, "a", "1");
    assert_int_equal(store_put(t, STORE_GRANTS, K("a"), K("3"), true, &err), 0); /* tables are apart */
    put(t, "a", "4");
    assert_int_equal(store_commit(t, &err), 0);
}

struct seen {
    char keys[64];
    size_t most;
};

static bool on_pair(void *arg, struct bytes key, struct bytes value)
{
    struct seen *seen = arg;
    strncat(seen->keys, (const char *)key.p, key.len);
    assert_int_equal(value.len, 1);
    return strlen(seen->keys) < seen->most;
}

static void test_order(void **state)
{
    (void)state;
    struct store_txn *t = begin(true);
    struct bytes key, value;
    uint64_t count = 7;
    assert_int_equal(store_last(t, STORE_META, &key, &value), ERR_NOT_FOUND);
    assert_int_equal(store_count(t, STORE_META, &count), 0);
    assert_int_equal(count, 0);
    struct seen nothing = {.most = 9};
    assert_int_equal(store_scan(t, STORE_META, BYTES_NONE, on_pair, &nothing), 0);
    put(t, "c", "3");
    put(t, "a", "1");
    put(t, "d", "4");
    put(t, "b", "2");
    const struct {
        const char *from, *keys;
        size_t most;
    } cases[] = {{"", "abcd", 9}, {"b", "bcd", 9}, {"bb", "cd", 9}, {"e", "", 9}, {"", "ab", 2}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct seen seen = {.most = cases[i].most};
        assert_int_equal(store_scan(t, STORE_META, K(cases[i].from), on_pair, &seen), 0);
        assert_string_equal(seen.keys, cases[i].keys);
    }
    assert_int_equal(store_last(t, STORE_META, &key, &value), 0);
    assert_true(bytes_is(key, "d") && bytes_is(value, "4"));
    assert_int_equal(store_count(t, STORE_META, &count), 0);
    assert_int_equal(count, 4);
    store_abort(t);
}

static void test_nested(void **state)
{
    (void)state;
    struct store_txn *t = begin(true), *inner = NULL;
    put(t, "a", "1");
    assert_int_equal(store_begin_nested(t, &inner, &err), 0);
    put(inner, "a", "2");
    put(inner, "b", "2");
    store_abort(inner);
    expect(t, "a", "1");
    expect(t, "b", NULL);
    assert_int_equal(store_begin_nested(t, &inner, &err), 0);
    expect(inner, "a", "1");
    put(inner, "c", "3");
    assert_int_equal(store_commit(inner, &err), 0);
    assert_false(store_is_dead(t));
    assert_int_equal(store_commit(t, &err), 0);
    t = begin(false);
    expect(t, "a", "1");
    expect(t, "b", NULL);
    expect(t, "c", "3");
    assert_int_not_equal(store_begin_nested(t, &inner, &err), 0);
    store_abort(t);
}

static int fill(struct store_txn *t)
{
    static uint8_t big[4096];
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < 1000; i++) {
        uint8_t key[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        rc = store_put(t, STORE_SALTS, BYTES_OF(key), BYTES_OF(big), true, &err);
    }
    return rc;
}

static void test_map_full_ends_the_transaction(void **state)
{
    (void)state;
    struct bytes value;
    uint64_t count;
    struct store_txn *t = begin(true), *inner = NULL;
    put(t, "a", "1");
    assert_int_equal(store_commit(t, &err), 0);
    t = begin(true);
    put(t, "b", "2");
    assert_int_equal(store_begin_nested(t, &inner, &err), 0);
    assert_int_equal(fill(inner), ERR_STORAGE);
    assert_non_null(strstr(err.text, "map of 1 MiB is full"));
    assert_true(store_is_dead(inner));
    store_abort(inner);
    assert_true(store_is_dead(t));
    assert_int_equal(store_get(t, STORE_META, K("a"), &value), ERR_STORAGE);
    assert_int_equal(store_put(t, STORE_META, K("c"), K("3"), false, &err), ERR_STORAGE);
    assert_int_equal(store_delete(t, STORE_META, K("a")), ERR_STORAGE);
    assert_int_equal(store_count(t, STORE_META, &count), ERR_STORAGE);
    assert_int_equal(store_begin_nested(t, &inner, &err), ERR_STORAGE);
    assert_int_equal(store_commit(t, &err), ERR_STORAGE);
    t = begin(true);
    expect(t, "a", "1");
    expect(t, "b", NULL);
    put(t, "b", "3");
    assert_int_equal(store_commit(t, &err), 0);
}

static void test_free_space(void **state)
{
    (void)state;
    struct store_txn *t = NULL;
    free_bytes = STORE_FREE_MIN - 1;
    assert_int_equal(store_begin(s, true, &t, &err), ERR_STORAGE);
    assert_non_null(strstr(err.text, "make room"));
    t = begin(false); /* reading goes on */
    store_abort(t);
}

static void test_folder(void **state)
{
    (void)state;
    struct store *second = NULL;
    struct stat st;
    assert_int_equal(stat(inside, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(store_open(inside, MAP, false, &second, &err), ERR_STORAGE);
    assert_non_null(strstr(err.text, "another process writes there"));
    store_close(s);
    const mode_t open_to_others[] = {0710, 0701, 0750, 0755, 0777};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(chmod(inside, open_to_others[i]), 0);
        assert_int_equal(store_open(inside, MAP, false, &s, &err), ERR_STORAGE);
        assert_non_null(strstr(err.text, "chmod 0700"));
        assert_int_equal(store_open(inside, MAP, true, &s, &err), ERR_STORAGE);
    }
    assert_int_equal(chmod(inside, 0700), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(inside, 12345, 12345), 0);
        assert_int_equal(store_open(inside, MAP, false, &s, &err), ERR_STORAGE);
        assert_non_null(strstr(err.text, "belongs to uid 12345"));
        assert_int_equal(chown(inside, 0, 0), 0);
    }
    assert_int_equal(store_open("/nonexistent/store", MAP, false, &s, &err), ERR_STORAGE);
    assert_int_equal(store_open("/nonexistent", MAP, true, &s, &err), ERR_STORAGE);
    assert_int_equal(store_open(inside, MAP, false, &s, &err), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_commit_and_abort), T(test_only_new),   T(test_order),
        T(test_nested),           T(test_free_space), T(test_map_full_ends_the_transaction),
        T(test_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
