/* network: a small network's signed documents, made in memory for tests.
 *
 * Six nodes n1..n6 (regions r1 r2 r3 r1 r2 r3, operators op1..op6, vendor softhsm), two stages: "gate" needs 1 of n1 n2
 * n3, "vault" needs 2 of n4 n5 n6. Root role: 2 of 3; every other role: 1 of 1. All keys are derived from fixed seeds.
 */
#ifndef ENFILADE_TESTS_NETWORK_H
#define ENFILADE_TESTS_NETWORK_H

#include "common/documents/write.h"

#define NETWORK_NODES 6
#define NETWORK_NAME "example.test"
#define NETWORK_ISSUED_MS 1795000000000ull
#define NETWORK_EXPIRES_MS (NETWORK_ISSUED_MS + 86400000ull)
#define NETWORK_NOW_MS (NETWORK_ISSUED_MS + 3600000ull)

enum network_key {
    KEY_ROOT_A,
    KEY_ROOT_B,
    KEY_ROOT_C,
    KEY_ROSTER,
    KEY_INVENTORY,
    KEY_POLICY,
    KEY_STATUS,
    KEY_OWNER,
    KEY_OTHER,
    KEY_COUNT
};
#define KEY_BIT(key) (1u << (key))
#define KEYS_ROOT (KEY_BIT(KEY_ROOT_A) | KEY_BIT(KEY_ROOT_B))

struct network {
    struct ed25519_key *key[KEY_COUNT];
    struct note_key vkey[KEY_COUNT];
    /* texts, NUL after the last byte; owned */
    char *root_text, *roster_text, *inventory_text, *policy_text, *envelope_text, *status_text, *chain_text;
    /* the same, opened (signed as they should be); owned */
    struct document *root, *roster, *inventory, *policy, *envelope, *status, *chain;
};

void network_init(struct network *n); /* asserts on any failure */
void network_done(struct network *n);

/* The note of a text, signed by the keys of the bit set; free() it. */
char *network_sign(const struct network *n, const char *text, unsigned keys);
/* A copy of text with the one place where `from` stands replaced by `to` (asserts that it stands there); free() it. */
char *network_replace(const char *text, const char *from, const char *to);
/* The text of a document; free() it. */
char *network_write(const struct document *d);

#endif
