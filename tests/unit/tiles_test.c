/* tiles_test: export and check of logs of many sizes, and every kind of damage. */
#include "common/ledger/tiles.h"
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

enum { MOST = 66000 };

static uint8_t (*nodes[20])[HASH_LEN]; /* level, index */
static uint8_t roots_of_size[MOST + 1][HASH_LEN];
static struct ed25519_key *secret_key;
static struct note_key key;
static char folder[64];

static struct bytes fake_entry(uint64_t index)
{
    static char text[32];
    return BYTES(text, (size_t)snprintf(text, sizeof(text), "entry number %" PRIu64, index));
}

static void keep_node(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_LEN])
{
    (void)arg;
    memcpy(nodes[level][index], hash, HASH_LEN);
}

static int read_node(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_LEN])
{
    if (arg != NULL && ++*(unsigned *)arg == 300)
        return ERR_STORAGE;
    memcpy(ret, nodes[level][index], HASH_LEN);
    return 0;
}

static int read_entry(void *arg, uint64_t index, struct bytes *ret)
{
    (void)arg;
    *ret = fake_entry(index);
    return 0;
}

static int setup_all(void **state)
{
    (void)state;
    uint8_t public[ED25519_PUBLIC_LEN], leaf[HASH_LEN];
    struct merkle_range range;
    for (unsigned level = 0; level < 20; level++) {
        nodes[level] = calloc((MOST >> level) + 1u, HASH_LEN);
        if (nodes[level] == NULL)
            return -1;
    }
    merkle_range_init(&range);
    merkle_range_root(&range, roots_of_size[0]);
    for (uint64_t i = 0; i < MOST; i++) {
        merkle_leaf(fake_entry(i), leaf);
        merkle_range_append(&range, leaf, keep_node, NULL);
        merkle_range_root(&range, roots_of_size[i + 1]);
    }
    if (ed25519_key_new(&secret_key) != 0)
        return -1;
    ed25519_key_public(secret_key, public);
    return note_key_make("example.test/n1/log", public, &key);
}

static int teardown_all(void **state)
{
    (void)state;
    for (unsigned level = 0; level < 20; level++)
        free(nodes[level]);
    ed25519_key_free(secret_key);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/enfilade-tiles-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int export(uint64_t size, const uint8_t root[HASH_LEN], void *arg)
{
    struct checkpoint c = {.size = size};
    struct buf text, note;
    struct err err = {.code = 0};
    const struct tiles_source source = {read_node, read_entry, arg};
    strcpy(c.origin, key.name);
    memcpy(c.root, root, HASH_LEN);
    buf_init(&text, CHECKPOINT_MAX);
    buf_init(&note, CHECKPOINT_MAX);
    checkpoint_text(&c, &text);
    assert_int_equal(note_sign(buf_view(&text), key.name, secret_key, &note, &err), 0);
    int rc = tiles_write(folder, &source, size, buf_view(&note), &err);
    buf_done(&text);
    buf_done(&note);
    return rc;
}

static int count_entry(void *arg, uint64_t index, struct bytes entry, struct err *err)
{
    uint64_t *next = arg;
    if (index != *next || !bytes_equal(entry, fake_entry(index)))
        return err_set(err, ERR_INTERNAL, "not the entry");
    ++*next;
    return 0;
}

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        int level;
        uint64_t index;
        unsigned width;
        const char *path;
    } cases[] = {
        {0, 0, 256, "tile/0/000"},
        {-1, 7, 256, "tile/entries/007"},
        {1, 1234067, 256, "tile/1/x001/x234/067"},
        {-1, 1000, 3, "tile/entries/x001/000.p/3"},
        {7, UINT64_MAX, 255, "tile/7/x018/x446/x744/x073/x709/x551/615.p/255"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[TILES_PATH_MAX];
        tiles_path(cases[i].level, cases[i].index, cases[i].width, path);
        assert_string_equal(path, cases[i].path);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 2, 255, 256, 257, 511, 512, 1000, 65535, 65536, 65537, MOST};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct tiles_report report;
        struct err err = {.code = 0};
        uint64_t seen = 0;
        assert_int_equal(export(sizes[i], roots_of_size[sizes[i]], NULL), 0); /* over the one before */
        if (tiles_verify(folder, &key, count_entry, &seen, &report, &err) != 0)
            fail_msg("%" PRIu64 ": %s", sizes[i], err.text);
        assert_int_equal(seen, sizes[i]);
        assert_int_equal(report.checkpoint.size, sizes[i]);
        assert_false(report.is_difference);
    }
}

static void expect_file(const char *name, long len)
{
    char path[256];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (stat(path, &st) != 0 || st.st_size != len)
        fail_msg("%s", path);
}

static void test_layout(void **state)
{
    (void)state;
    assert_int_equal(export(65537, roots_of_size[65537], NULL), 0);
    expect_file("tile/0/000", 8192);
    expect_file("tile/0/255", 8192);
    expect_file("tile/0/256.p/1", 32);
    expect_file("tile/1/000", 8192);
    expect_file("tile/2/000.p/1", 32);
    expect_file("tile/entries/256.p/1", 2 + 18);
    expect_file("tile/entries/000", 10 * (2 + 14) + 90 * (2 + 15) + 156 * (2 + 16));
}

/* ---- damage */

static void flip(const char *name, long at)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    fputc(c ^ 1, f);
    fclose(f);
}

static void damaged(int code, bool is_difference, unsigned level, uint64_t index, bool is_root, const char *words)
{
    struct tiles_report report;
    struct err err = {.code = 0};
    int rc = tiles_verify(folder, &key, NULL, NULL, &report, &err);
    if (rc != code || strstr(err.text, words) == NULL)
        fail_msg("%d: %s", rc, err.text);
    assert_int_equal(report.is_difference, is_difference);
    if (!is_difference)
        return;
    assert_int_equal(report.difference.level, level);
    assert_int_equal(report.difference.index, index);
    assert_int_equal(report.difference.is_root, is_root);
    assert_memory_not_equal(report.difference.stored, report.difference.recomputed, HASH_LEN);
    char hex[2 * HASH_LEN + 1];
    hex_encode(BYTES_OF(report.difference.stored), hex);
    assert_non_null(strstr(err.text, hex));
    hex_encode(BYTES_OF(report.difference.recomputed), hex);
    assert_non_null(strstr(err.text, hex));
}

static void test_flipped(void **state)
{
    (void)state;
    assert_int_equal(export(1000, roots_of_size[1000], NULL), 0);
    flip("tile/entries/000", 16 * 3 + 5); /* the text of entry 3 */
    damaged(ERR_INTEGRITY, true, 0, 3, false, "the leaf of entry 3 is");
    flip("tile/entries/000", 16 * 3 + 5);
    damaged(0, false, 0, 0, false, "");
    flip("tile/entries/003.p/232", 18 * 100 + 5);
    damaged(ERR_INTEGRITY, true, 0, 868, false, "the leaf of entry 868 is");
    flip("tile/entries/003.p/232", 18 * 100 + 5);
    flip("tile/0/001", 32 * 7);
    damaged(ERR_INTEGRITY, true, 0, 263, false, "the leaf of entry 263 is");
    flip("tile/0/001", 32 * 7);
    flip("tile/1/000.p/3", 32 * 2 + 31);
    damaged(ERR_INTEGRITY, true, 8, 2, false, "node 2 of level 8 is");
    flip("tile/1/000.p/3", 32 * 2 + 31);
    flip("tile/entries/002", 0); /* a length */
    damaged(ERR_INTEGRITY, true, 0, 512, false, "the leaf of entry 512 is");
    flip("tile/entries/002", 0);
    flip("checkpoint", 21);
    damaged(ERR_SIGNATURE, false, 0, 0, false, "");
    flip("checkpoint", 21);
    damaged(0, false, 0, 0, false, "");
}

static void test_whole_tree_forged(void **state)
{
    (void)state;
    assert_int_equal(export(700, roots_of_size[699], NULL), 0); /* tiles that agree with each other */
    damaged(ERR_INTEGRITY, true, 0, 700, true, "the root of 700 entries is");
}

static void change_length(const char *name, long len)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(truncate(path, len), 0);
}

static void test_missing(void **state)
{
    (void)state;
    static const char *const names[] = {"checkpoint",     "tile/0/000",       "tile/0/001.p/44",
                                        "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[256];
        assert_int_equal(export(300, roots_of_size[300], NULL), 0);
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        assert_int_equal(unlink(path), 0);
        damaged(ERR_INTEGRITY, false, 0, 0, false, "is missing");
    }
    assert_int_equal(export(300, roots_of_size[300], NULL), 0);
    change_length("tile/0/001.p/44", 43 * 32);
    damaged(ERR_INTEGRITY, false, 0, 0, false, "instead of");
    assert_int_equal(export(300, roots_of_size[300], NULL), 0);
    change_length("tile/0/000", 257 * 32);
    damaged(ERR_INTEGRITY, false, 0, 0, false, "is longer than");
    assert_int_equal(export(300, roots_of_size[300], NULL), 0);
    change_length("tile/entries/001.p/44", 500);
    damaged(ERR_INTEGRITY, false, 0, 0, false, "ends within entry 283");
    change_length("tile/entries/001.p/44", 0);
    damaged(ERR_INTEGRITY, false, 0, 0, false, "ends within entry 256");
    assert_int_equal(export(300, roots_of_size[300], NULL), 0);
    change_length("tile/entries/001.p/44", 2000);
    damaged(ERR_INTEGRITY, false, 0, 0, false, "more than its entries");
    assert_int_equal(export(300, roots_of_size[300], NULL), 0);
    damaged(0, false, 0, 0, false, "");
}

static void test_source_fails(void **state)
{
    (void)state;
    unsigned reads = 0;
    assert_int_equal(export(300, roots_of_size[300], &reads), ERR_STORAGE);
    damaged(ERR_INTEGRITY, false, 0, 0, false, "checkpoint is missing"); /* half an export does not look whole */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths), T(test_sizes),   T(test_layout),       T(test_flipped),
        T(test_whole_tree_forged),    T(test_missing), T(test_source_fails),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
