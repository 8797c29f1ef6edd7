/* cast: the network that every simulated world plays with: keys, signed documents, a sealed secret, devices.
 *
 * Seven HSM nodes n1..n7 (keys from fixed seeds); stages gate (1 of n1 n2), vault (2 of n3 n4 n5), last (1 of n6 n7);
 * devices w1..w8, each with a software TPM. Made once per process; documents also lie in a temporary folder, where
 * papers_load finds them. The status in force at the start has version 1. */
#ifndef ENFILADE_SIM_CAST_H
#define ENFILADE_SIM_CAST_H

#include "common/documents/document.h"
#include "tests/sim/sim.h"

#define CAST_NETWORK "example.test"
#define CAST_POLICY "db-policy"
#define CAST_OPERATION "unlock-db"
#define CAST_PROFILE 1
#define CAST_T0_MS UINT64_C(1795000000000) /* when worlds begin */
#define CAST_STAGES 3
#define CAST_SECRET "the secret at the end of the suite"

struct cast_node {
    name_text name;
    struct ec_key *kem, *seal, *peer;
    uint8_t kem_point[EC_POINT_LEN], seal_point[EC_POINT_LEN], peer_point[EC_POINT_LEN];
    struct ed25519_key *log;
    struct note_key log_key, mirror_key;
};

struct cast_device {
    char id[8];
    uint8_t key_hash[HASH_LEN], leaf_hash[HASH_LEN];
    void *ak;               /* EVP_PKEY *, P-256 */
    uint8_t ak_public[256]; /* TPMT_PUBLIC */
    size_t ak_public_len;
};

enum cast_key { CAST_ROOT, CAST_ROSTER, CAST_INVENTORY, CAST_POLICY_KEY, CAST_STATUS, CAST_OWNER, CAST_KEY_COUNT };

struct cast {
    struct cast_node node[SIM_NODES];
    struct cast_device device[SIM_WORKLOADS_MAX];
    struct ed25519_key *key[CAST_KEY_COUNT];
    struct note_key vkey[CAST_KEY_COUNT];
    struct buf device_ca; /* DER */
    struct document *root, *roster, *inventory, *policy, *envelope, *status;
    char folder[64], root_file[96];
};

const struct cast *cast_get(void);
/* A newer status that revokes and halts as well. The caller's to unref. */
struct document *cast_status(const struct cast *c, uint64_t version, uint64_t issued_ms,
                             const struct revocation *revoked, size_t revoked_count, const struct halt *halts,
                             size_t halt_count);

#endif
