/* merkle: roots and proofs against RFC 6962's recursive definition; altered proofs refused. */
#include "common/crypto/merkle.h"
#include "tests/lib/hex.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define LEAVES 70

static struct {
    uint8_t leaf[LEAVES][HASH_LEN];
    uint8_t node[8][LEAVES][HASH_LEN];
    bool have[8][LEAVES];
    uint8_t root[LEAVES + 1][HASH_LEN];
} t;

/* MTH(D[lo:hi]) as RFC 6962 §2.1 says it */
static void mth(size_t lo, size_t hi, uint8_t ret[HASH_LEN])
{
    if (hi == lo) {
        sha256(BYTES_NONE, ret);
        return;
    }
    if (hi - lo == 1) {
        memcpy(ret, t.leaf[lo], HASH_LEN);
        return;
    }
    size_t k = 1;
    uint8_t left[HASH_LEN], right[HASH_LEN];
    while (2 * k < hi - lo)
        k *= 2;
    mth(lo, lo + k, left);
    mth(lo + k, hi, right);
    merkle_node(left, right, ret);
}

static void on_node(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_LEN])
{
    (void)arg;
    assert_false(t.have[level][index]);
    t.have[level][index] = true;
    memcpy(t.node[level][index], hash, HASH_LEN);
}

static int read_node(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_LEN])
{
    (void)arg;
    if (level >= 8 || index >= LEAVES || !t.have[level][index])
        return ERR_STORAGE; /* a node that is not full yet is never asked for */
    memcpy(ret, t.node[level][index], HASH_LEN);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    struct merkle_range r;
    merkle_range_init(&r);
    merkle_range_root(&r, t.root[0]);
    for (size_t i = 0; i < LEAVES; i++) {
        char entry[16];
        (void)snprintf(entry, sizeof(entry), "entry %zu", i);
        merkle_leaf(bytes_str(entry), t.leaf[i]);
        merkle_range_append(&r, t.leaf[i], on_node, NULL);
        merkle_range_root(&r, t.root[i + 1]);
        if (r.size != i + 1 || r.count != (unsigned)__builtin_popcountll(i + 1))
            return -1;
    }
    return 0;
}

static void test_known_roots(void **state) /* the leaves and roots of certificate transparency's reference tests */
{
    (void)state;
    static const char *const leaves[] = {
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    };
    static const char *const roots[] = {
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    };
    struct merkle_range r;
    uint8_t got[HASH_LEN], want[HASH_LEN];
    merkle_range_init(&r);
    merkle_range_root(&r, got);
    (void)unhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", want, HASH_LEN);
    assert_memory_equal(got, want, HASH_LEN);
    for (size_t i = 0; i < 8; i++) {
        uint8_t entry[16], leaf[HASH_LEN];
        merkle_leaf(BYTES(entry, unhex(leaves[i], entry, sizeof(entry))), leaf);
        merkle_range_append(&r, leaf, NULL, NULL);
        merkle_range_root(&r, got);
        (void)unhex(roots[i], want, HASH_LEN);
        assert_memory_equal(got, want, HASH_LEN);
    }
}

static void test_roots_and_nodes(void **state)
{
    (void)state;
    uint8_t want[HASH_LEN];
    for (size_t size = 0; size <= LEAVES; size++) {
        mth(0, size, want);
        assert_memory_equal(t.root[size], want, HASH_LEN);
    }
    for (unsigned level = 0; level < 8; level++)
        for (size_t i = 0; i < LEAVES; i++) {
            bool full = (i + 1) << level <= LEAVES;
            assert_int_equal(t.have[level][i], full);
            if (full) {
                mth(i << level, (i + 1) << level, want);
                assert_memory_equal(t.node[level][i], want, HASH_LEN);
            }
        }
}

#define VIEW(proof) ((const uint8_t(*)[HASH_LEN])(proof))

static void spoil_inclusion(uint64_t index, uint64_t size, uint8_t (*proof)[HASH_LEN], unsigned count)
{
    const uint8_t *leaf = t.leaf[index], *root = t.root[size];
    for (unsigned i = 0; i < count; i++) {
        proof[i][i % HASH_LEN] ^= 0x10;
        assert_int_equal(merkle_verify_inclusion(leaf, index, size, VIEW(proof), count, root), ERR_PROOF);
        proof[i][i % HASH_LEN] ^= 0x10;
    }
    for (uint64_t other = 0; other < size + 2; other++)
        if (other != index)
            assert_int_equal(merkle_verify_inclusion(leaf, other, size, VIEW(proof), count, root), ERR_PROOF);
    assert_int_equal(merkle_verify_inclusion(t.leaf[(index + 1) % LEAVES], index, size, VIEW(proof), count, root),
                     ERR_PROOF);
    assert_int_equal(merkle_verify_inclusion(leaf, index, size, VIEW(proof), count + 1, root), ERR_PROOF);
    if (count > 0)
        assert_int_equal(merkle_verify_inclusion(leaf, index, size, VIEW(proof), count - 1, root), ERR_PROOF);
    assert_int_equal(merkle_verify_inclusion(leaf, index, size, VIEW(proof), count, t.root[size - 1]), ERR_PROOF);
}

static void test_inclusion(void **state)
{
    (void)state;
    uint8_t proof[MERKLE_PROOF_MAX][HASH_LEN];
    unsigned count = 0;
    for (uint64_t size = 1; size <= LEAVES; size++)
        for (uint64_t index = 0; index < size; index++) {
            memset(proof, 0, sizeof(proof));
            assert_int_equal(merkle_inclusion(index, size, read_node, NULL, proof, &count), 0);
            assert_int_equal(merkle_verify_inclusion(t.leaf[index], index, size, VIEW(proof), count, t.root[size]), 0);
            spoil_inclusion(index, size, proof, count);
        }
}

static void spoil_consistency(uint64_t old_size, uint64_t size, uint8_t (*proof)[HASH_LEN], unsigned count)
{
    const uint8_t *old_root = t.root[old_size], *root = t.root[size];
    for (unsigned i = 0; i < count; i++) {
        proof[i][i % HASH_LEN] ^= 0x10;
        assert_int_equal(merkle_verify_consistency(old_size, old_root, size, root, VIEW(proof), count), ERR_PROOF);
        proof[i][i % HASH_LEN] ^= 0x10;
    }
    for (uint64_t other = 0; other <= LEAVES; other++)
        if (other != old_size) {
            assert_int_equal(merkle_verify_consistency(old_size, t.root[other], size, root, VIEW(proof), count),
                             ERR_PROOF);
            assert_int_equal(merkle_verify_consistency(other, t.root[other], size, root, VIEW(proof), count),
                             other == size && count == 0 ? 0
                             : other == 0 && count == 0  ? 0
                                                         : ERR_PROOF);
        }
    assert_int_equal(merkle_verify_consistency(old_size, old_root, size, root, VIEW(proof), count + 1), ERR_PROOF);
    if (count > 0)
        assert_int_equal(merkle_verify_consistency(old_size, old_root, size, root, VIEW(proof), count - 1), ERR_PROOF);
}

static void test_consistency(void **state)
{
    (void)state;
    uint8_t proof[MERKLE_PROOF_MAX][HASH_LEN];
    unsigned count = 0;
    for (uint64_t size = 0; size <= LEAVES; size++)
        for (uint64_t old_size = 0; old_size <= size; old_size++) {
            memset(proof, 0, sizeof(proof));
            assert_int_equal(merkle_consistency(old_size, size, read_node, NULL, proof, &count), 0);
            assert_int_equal(
                merkle_verify_consistency(old_size, t.root[old_size], size, t.root[size], VIEW(proof), count), 0);
            if (old_size == 0 || old_size == size)
                assert_int_equal(count, 0);
            spoil_consistency(old_size, size, proof, count);
        }
}

/* RFC 6962 §2.1.3: the proofs of the tree of seven leaves, by the names of its figure. */
static void test_rfc_examples(void **state)
{
    (void)state;
    uint8_t proof[MERKLE_PROOF_MAX][HASH_LEN], a[HASH_LEN], i[HASH_LEN], k[HASH_LEN], l[HASH_LEN], g[HASH_LEN];
    unsigned count = 0;
    mth(0, 1, a);
    mth(0, 2, g);
    mth(4, 6, i);
    mth(0, 4, k);
    mth(4, 7, l);
    /* audit path of d0: b, h, l */
    assert_int_equal(merkle_inclusion(0, 7, read_node, NULL, proof, &count), 0);
    assert_int_equal(count, 3);
    assert_memory_equal(proof[0], t.leaf[1], HASH_LEN);
    assert_memory_equal(proof[2], l, HASH_LEN);
    /* of d6: i, k */
    assert_int_equal(merkle_inclusion(6, 7, read_node, NULL, proof, &count), 0);
    assert_int_equal(count, 2);
    assert_memory_equal(proof[0], i, HASH_LEN);
    assert_memory_equal(proof[1], k, HASH_LEN);
    /* consistency of the tree of 3: c, d, g, l */
    assert_int_equal(merkle_consistency(3, 7, read_node, NULL, proof, &count), 0);
    assert_int_equal(count, 4);
    assert_memory_equal(proof[0], t.leaf[2], HASH_LEN);
    assert_memory_equal(proof[1], t.leaf[3], HASH_LEN);
    assert_memory_equal(proof[2], g, HASH_LEN);
    assert_memory_equal(proof[3], l, HASH_LEN);
    /* of 4: l */
    assert_int_equal(merkle_consistency(4, 7, read_node, NULL, proof, &count), 0);
    assert_int_equal(count, 1);
    assert_memory_equal(proof[0], l, HASH_LEN);
    /* of 6: i, j, k */
    assert_int_equal(merkle_consistency(6, 7, read_node, NULL, proof, &count), 0);
    assert_int_equal(count, 3);
    assert_memory_equal(proof[0], i, HASH_LEN);
    assert_memory_equal(proof[1], t.leaf[6], HASH_LEN);
    assert_memory_equal(proof[2], k, HASH_LEN);
}

static int any_node(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_LEN])
{
    (void)arg;
    memset(ret, (int)(level + index), HASH_LEN);
    return 0;
}

static void test_limits(void **state)
{
    (void)state;
    uint8_t proof[MERKLE_PROOF_MAX][HASH_LEN], long_proof[MERKLE_PROOF_MAX + 1][HASH_LEN] = {{0}};
    unsigned count = 0;
    const uint64_t most = UINT64_C(1) << 62;
    assert_int_equal(merkle_inclusion(5, 5, read_node, NULL, proof, &count), ERR_PROOF);
    assert_int_equal(merkle_inclusion(0, 0, read_node, NULL, proof, &count), ERR_PROOF);
    assert_int_equal(merkle_consistency(6, 5, read_node, NULL, proof, &count), ERR_PROOF);
    assert_int_equal(merkle_inclusion(0, most + 1, any_node, NULL, proof, &count), ERR_PROOF);
    assert_int_equal(merkle_consistency(1, most + 1, any_node, NULL, proof, &count), ERR_PROOF);
    assert_int_equal(merkle_inclusion(most - 1, most, any_node, NULL, proof, &count), 0);
    assert_int_equal(count, 62);
    assert_int_equal(merkle_consistency(most - 1, most, any_node, NULL, proof, &count), 0);
    assert_int_equal(count, 63);
    assert_int_equal(merkle_verify_inclusion(t.leaf[0], 0, 0, VIEW(proof), 0, t.root[0]), ERR_PROOF);
    assert_int_equal(merkle_verify_consistency(1, t.root[1], 0, t.root[0], VIEW(proof), 0), ERR_PROOF);
    assert_int_equal(merkle_verify_inclusion(t.leaf[0], 0, UINT64_MAX, VIEW(long_proof), 64, t.root[1]), ERR_PROOF);
    assert_int_equal(merkle_verify_consistency(1, t.root[1], UINT64_MAX, t.root[2], VIEW(long_proof), 64), ERR_PROOF);
    /* a failing store */
    assert_int_equal(merkle_inclusion(0, LEAVES + 1, read_node, NULL, proof, &count), ERR_STORAGE);
    assert_int_equal(merkle_consistency(3, LEAVES + 1, read_node, NULL, proof, &count), ERR_STORAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_roots), cmocka_unit_test(test_roots_and_nodes), cmocka_unit_test(test_inclusion),
        cmocka_unit_test(test_consistency), cmocka_unit_test(test_rfc_examples),    cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
