/* merkle: RFC 6962 SHA-256 trees: leaf = SHA-256(0x00 ‖ entry), node = SHA-256(0x01 ‖ left ‖ right).
 *
 * Pure. Verification of inclusion and consistency proofs, and the compact range that an appender carries. */
#ifndef ENFILADE_CRYPTO_MERKLE_H
#define ENFILADE_CRYPTO_MERKLE_H

#include "common/crypto/hash.h"

#define MERKLE_PROOF_MAX 63 /* hashes */

void merkle_leaf(struct bytes entry, uint8_t ret[HASH_LEN]);
void merkle_node(const uint8_t left[HASH_LEN], const uint8_t right[HASH_LEN], uint8_t ret[HASH_LEN]);

/* A compact range [0, size): the roots of its full subtrees, largest first. */
struct merkle_range {
    uint64_t size;
    unsigned count; /* = popcount(size) */
    uint8_t hash[64][HASH_LEN];
};
void merkle_range_init(struct merkle_range *r);
/* visit, if not NULL, is told every full node that this leaf completes: level 0 = the leaf itself. */
void merkle_range_append(struct merkle_range *r, const uint8_t leaf[HASH_LEN],
                         void (*visit)(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_LEN]),
                         void *arg);
void merkle_range_root(const struct merkle_range *r, uint8_t ret[HASH_LEN]); /* SHA-256("") when empty */

/* Reads stored full nodes; 0 or an error. */
typedef int (*merkle_read)(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_LEN]);
/* Proofs are arrays of hashes, nearest the leaf first. ERR_PROOF for index >= size, old > size and sizes
 * above 2^62. An old size of 0 and equal sizes have an empty proof. */
MUST_CHECK int merkle_inclusion(uint64_t index, uint64_t size, merkle_read read, void *arg,
                                uint8_t ret_proof[MERKLE_PROOF_MAX][HASH_LEN], unsigned *ret_count);
MUST_CHECK int merkle_consistency(uint64_t old_size, uint64_t size, merkle_read read, void *arg,
                                  uint8_t ret_proof[MERKLE_PROOF_MAX][HASH_LEN], unsigned *ret_count);
/* ERR_PROOF when it does not hold. Against an old size of 0, old_root must be the root of the empty tree. */
MUST_CHECK int merkle_verify_inclusion(const uint8_t leaf[HASH_LEN], uint64_t index, uint64_t size,
                                       const uint8_t (*proof)[HASH_LEN], unsigned count, const uint8_t root[HASH_LEN]);
MUST_CHECK int merkle_verify_consistency(uint64_t old_size, const uint8_t old_root[HASH_LEN], uint64_t size,
                                         const uint8_t root[HASH_LEN], const uint8_t (*proof)[HASH_LEN],
                                         unsigned count);

#endif
