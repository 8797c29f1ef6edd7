/* merkle: RFC 6962 trees.
 *
 * Making a proof walks down from the root over half-open leaf ranges [lo, hi); the hash of a range is folded from the
 * full subtrees that are stored. Checking a proof walks up with two shrinking indices (RFC 9162 §2.1.3.2, §2.1.4.2). */
#include "common/crypto/merkle.h"
#include <assert.h>
#include <string.h>

#define LEAVES_MAX (UINT64_C(1) << (MERKLE_PROOF_MAX - 1)) /* larger trees could have longer proofs */

void merkle_leaf(struct bytes entry, uint8_t ret[HASH_LEN])
{
    sha256_prefixed(0x00, entry, ret);
}

void merkle_node(const uint8_t left[HASH_LEN], const uint8_t right[HASH_LEN], uint8_t ret[HASH_LEN])
{
    uint8_t both[2 * HASH_LEN];
    memcpy(both, left, HASH_LEN);
    memcpy(both + HASH_LEN, right, HASH_LEN);
    sha256_prefixed(0x01, BYTES_OF(both), ret);
}

void merkle_range_init(struct merkle_range *r)
{
    memset(r, 0, sizeof(*r));
}

/* Like adding one to a binary number: every carry joins the two smallest subtrees. */
void merkle_range_append(struct merkle_range *r, const uint8_t leaf[HASH_LEN],
                         void (*visit)(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_LEN]),
                         void *arg)
{
    assert(r->size < LEAVES_MAX);
    memcpy(r->hash[r->count], leaf, HASH_LEN);
    r->count++;
    uint64_t index = r->size++;
    for (unsigned level = 0;; level++, index >>= 1) {
        uint8_t *last = r->hash[r->count - 1];
        if (visit != NULL)
            visit(arg, level, index, last);
        if ((index & 1) == 0)
            return;
        uint8_t joined[HASH_LEN];
        merkle_node(r->hash[r->count - 2], last, joined);
        r->count--;
        memcpy(r->hash[r->count - 1], joined, HASH_LEN);
    }
}

void merkle_range_root(const struct merkle_range *r, uint8_t ret[HASH_LEN])
{
    if (r->count == 0) {
        sha256(BYTES_NONE, ret);
        return;
    }
    uint8_t root[HASH_LEN];
    memcpy(root, r->hash[r->count - 1], HASH_LEN);
    for (unsigned i = r->count - 1; i > 0; i--)
        merkle_node(r->hash[i - 1], root, root);
    memcpy(ret, root, HASH_LEN);
}

/* The largest power of two below n, n >= 2: where RFC 6962 splits a tree of n leaves. */
static uint64_t split(uint64_t n)
{
    return UINT64_C(1) << (63 - __builtin_clzll(n - 1));
}

/* The hash of the leaves [lo, hi), where lo is a multiple of the smallest power of two >= hi - lo, as in every walk
 * from the root. */
static int range_hash(uint64_t lo, uint64_t hi, merkle_read read, void *arg, uint8_t ret[HASH_LEN])
{
    struct merkle_range r;
    merkle_range_init(&r);
    while (lo < hi) {
        unsigned level = 63u - (unsigned)__builtin_clzll(hi - lo);
        TRY(read(arg, level, lo >> level, r.hash[r.count]));
        r.count++;
        lo += UINT64_C(1) << level;
    }
    merkle_range_root(&r, ret);
    return 0;
}

/* A proof is collected from the root down and wanted from the leaf up. */
static void reverse(uint8_t (*proof)[HASH_LEN], unsigned count)
{
    for (unsigned i = 0; i < count / 2; i++) {
        uint8_t swap[HASH_LEN];
        memcpy(swap, proof[i], HASH_LEN);
        memcpy(proof[i], proof[count - 1 - i], HASH_LEN);
        memcpy(proof[count - 1 - i], swap, HASH_LEN);
    }
}

int merkle_inclusion(uint64_t index, uint64_t size, merkle_read read, void *arg,
                     uint8_t ret_proof[MERKLE_PROOF_MAX][HASH_LEN], unsigned *ret_count)
{
    if (index >= size || size > LEAVES_MAX)
        return ERR_PROOF;
    uint64_t lo = 0, hi = size;
    unsigned count = 0;
    while (hi - lo > 1) {
        uint64_t mid = lo + split(hi - lo);
        if (index < mid) {
            TRY(range_hash(mid, hi, read, arg, ret_proof[count]));
            hi = mid;
        } else {
            TRY(range_hash(lo, mid, read, arg, ret_proof[count]));
            lo = mid;
        }
        count++;
    }
    reverse(ret_proof, count);
    *ret_count = count;
    return 0;
}

/* The old tree's right edge is followed down until a subtree ends exactly at old_size. */
int merkle_consistency(uint64_t old_size, uint64_t size, merkle_read read, void *arg,
                       uint8_t ret_proof[MERKLE_PROOF_MAX][HASH_LEN], unsigned *ret_count)
{
    if (old_size > size || size > LEAVES_MAX)
        return ERR_PROOF;
    uint64_t lo = 0, hi = size;
    unsigned count = 0;
    if (old_size == 0)
        hi = 0; /* every tree extends the empty one */
    while (hi != old_size) {
        uint64_t mid = lo + split(hi - lo);
        if (old_size <= mid) {
            TRY(range_hash(mid, hi, read, arg, ret_proof[count]));
            hi = mid;
        } else {
            TRY(range_hash(lo, mid, read, arg, ret_proof[count]));
            lo = mid;
        }
        count++;
    }
    if (lo > 0) { /* else that subtree is the old tree itself, whose root the checker has */
        assert(count < MERKLE_PROOF_MAX);
        TRY(range_hash(lo, hi, read, arg, ret_proof[count]));
        count++;
    }
    reverse(ret_proof, count);
    *ret_count = count;
    return 0;
}

int merkle_verify_inclusion(const uint8_t leaf[HASH_LEN], uint64_t index, uint64_t size,
                            const uint8_t (*proof)[HASH_LEN], unsigned count, const uint8_t root[HASH_LEN])
{
    if (index >= size || count > MERKLE_PROOF_MAX)
        return ERR_PROOF;
    uint64_t node = index, last = size - 1;
    uint8_t hash[HASH_LEN];
    memcpy(hash, leaf, HASH_LEN);
    for (unsigned i = 0; i < count; i++) {
        if (last == 0)
            return ERR_PROOF;
        if ((node & 1) == 1 || node == last) {
            merkle_node(proof[i], hash, hash);
            while ((node & 1) == 0 && node != 0) { /* levels where the last node has no sibling */
                node >>= 1;
                last >>= 1;
            }
        } else {
            merkle_node(hash, proof[i], hash);
        }
        node >>= 1;
        last >>= 1;
    }
    return last == 0 && memcmp(hash, root, HASH_LEN) == 0 ? 0 : ERR_PROOF;
}

/* The general case of consistency: 0 < old_size < size. Two hashes climb together, the old tree's and the new one's. */
static int climb(uint64_t old_size, const uint8_t old_root[HASH_LEN], uint64_t size, const uint8_t root[HASH_LEN],
                 const uint8_t (*proof)[HASH_LEN], unsigned count)
{
    uint64_t node = old_size - 1, last = size - 1;
    while ((node & 1) == 1) {
        node >>= 1;
        last >>= 1;
    }
    unsigned i = 0;
    const uint8_t *start = old_root; /* a whole subtree of the new tree: the proof leaves it out */
    if (node != 0) {
        if (count == 0)
            return ERR_PROOF;
        start = proof[i++];
    }
    uint8_t old_hash[HASH_LEN], hash[HASH_LEN];
    memcpy(old_hash, start, HASH_LEN);
    memcpy(hash, start, HASH_LEN);
    for (; i < count; i++) {
        if (last == 0)
            return ERR_PROOF;
        if ((node & 1) == 1 || node == last) {
            merkle_node(proof[i], old_hash, old_hash);
            merkle_node(proof[i], hash, hash);
            while ((node & 1) == 0 && node != 0) {
                node >>= 1;
                last >>= 1;
            }
        } else {
            merkle_node(hash, proof[i], hash);
        }
        node >>= 1;
        last >>= 1;
    }
    bool good = last == 0 && memcmp(old_hash, old_root, HASH_LEN) == 0 && memcmp(hash, root, HASH_LEN) == 0;
    return good ? 0 : ERR_PROOF;
}

int merkle_verify_consistency(uint64_t old_size, const uint8_t old_root[HASH_LEN], uint64_t size,
                              const uint8_t root[HASH_LEN], const uint8_t (*proof)[HASH_LEN], unsigned count)
{
    if (old_size > size || count > MERKLE_PROOF_MAX)
        return ERR_PROOF;
    if (old_size == 0) {
        uint8_t empty[HASH_LEN];
        sha256(BYTES_NONE, empty);
        bool good =
            count == 0 && memcmp(old_root, empty, HASH_LEN) == 0 && (size > 0 || memcmp(root, empty, HASH_LEN) == 0);
        return good ? 0 : ERR_PROOF;
    }
    if (old_size == size)
        return count == 0 && memcmp(old_root, root, HASH_LEN) == 0 ? 0 : ERR_PROOF;
    return climb(old_size, old_root, size, root, proof, count);
}
