/* document: the signed documents of the network as parsed, immutable, reference-counted objects.
 *
 * A document is a signed note (common/crypto/note.h) whose text is YAML with the first line "enfilade: <type>/v1".
 * Verify first, parse after; note and text are kept as received and never re-serialised. dochash = SHA-256(text). The
 * schemas with an example of each stand in README.md of this folder. Pure: no clock, no files. */
#ifndef ENFILADE_DOCUMENTS_DOCUMENT_H
#define ENFILADE_DOCUMENTS_DOCUMENT_H

#include "common/base/yaml.h"
#include "common/crypto/note.h"
#include "common/walk/context.h"

#define DOCUMENT_MAX (1024u * 1024u) /* bytes of text */
#define CHAIN_MAX (64u * 1024u)

#define DOCUMENT_TABLE(X)                                                                                              \
    X(ROOT, root)                                                                                                      \
    X(ROSTER, roster)                                                                                                  \
    X(INVENTORY, inventory)                                                                                            \
    X(POLICY, policy) X(ENVELOPE, envelope) X(STATUS, status) X(APPROVAL, approval) X(CHAIN, chain)
enum document_type {
    DOCUMENT_NONE,
#define DOCUMENT_ENUM(upper, lower) DOCUMENT_##upper,
    DOCUMENT_TABLE(DOCUMENT_ENUM)
#undef DOCUMENT_ENUM
};
const char *document_type_name(enum document_type type);  /* "root" */
enum document_type document_type_from(struct bytes name); /* DOCUMENT_NONE when unknown */

typedef char name_text[NAME_MAX_LEN + 1];

/* ---- root: who may sign what */
enum role { ROLE_ROOT, ROLE_ROSTER, ROLE_INVENTORY, ROLE_POLICY, ROLE_STATUS, ROLE_COUNT };
struct role_keys {
    unsigned threshold;
    struct note_key *keys;
    size_t count;
};
struct certificate {
    uint8_t *der;
    size_t len;
};
struct root {
    uint64_t tag_profile;
    struct role_keys role[ROLE_COUNT];
    struct certificate *device_cas;
    size_t device_ca_count; /* at most 16 */
};

/* ---- roster: who the nodes are */
enum node_role { NODE_HSM = 1, NODE_MIRROR = 2, NODE_CONFIG = 4 }; /* bits */
struct roster_node {
    name_text name, region, operator_, vendor;
    unsigned roles;
    char (*addresses)[64];
    size_t address_count; /* "127.0.0.11:7600", "[::1]:7600"; 1..8 */
    uint64_t profile;     /* 0 for a node without a token */
    struct certificate identity;
    uint8_t kem[EC_POINT_LEN], seal[EC_POINT_LEN], peer[EC_POINT_LEN]; /* zero without the role hsm */
    struct note_key log, mirror;                                       /* names "<network>/<node>/log" and "/mirror" */
};
struct roster {
    struct roster_node *nodes;
    size_t count;
}; /* at most 1000, names and every key distinct */

/* ---- inventory: which devices exist; each hash is SHA-256, zero when the device has no such thing */
struct device {
    name_text id;
    uint8_t key_hash[HASH_LEN]; /* SPKI of the device certificate's key */
    uint8_t ak_hash[HASH_LEN];  /* TPMT_PUBLIC of the attestation key */
    uint8_t ek_hash[HASH_LEN];  /* TPMT_PUBLIC of the endorsement key, or its certificate (DER) */
    uint8_t chip_id[64];
    size_t chip_id_len;
};
struct inventory {
    struct device *devices;
    size_t count;
}; /* at most 4096; ids and every non-zero hash distinct */

/* ---- policy: what must hold at which stage */
enum factor_kind {
    FACTOR_ALL,
    FACTOR_ANY,
    FACTOR_AT_LEAST,
    FACTOR_EVIDENCE,
    FACTOR_DEVICE,
    FACTOR_NETWORK,
    FACTOR_TIME,
    FACTOR_QUOTA /* alone, or directly under the top FACTOR_ALL: never a matter of which branch was taken */
};
enum quota_per { QUOTA_PER_DEVICE, QUOTA_PER_SECRET, QUOTA_PER_POLICY };
#define FACTOR_DEPTH_MAX 4
#define QUOTA_COUNT_MAX 1000000u
#define QUOTA_WINDOW_MAX_S (366u * 86400u)
#define FACTOR_CHILDREN_MAX 16
struct pcr_reference {
    unsigned index;
    uint8_t (*values)[HASH_LEN];
    size_t count;
}; /* any of 1..16 values */
struct cidr {
    uint8_t address[16];
    unsigned prefix;
}; /* IPv4 as ::ffff:0:0/96 */
struct factor {
    enum factor_kind kind;
    unsigned at_least; /* FACTOR_AT_LEAST */
    struct factor *children;
    size_t child_count;
    name_text format; /* FACTOR_EVIDENCE: a name of common/evidence's table */
    struct pcr_reference *pcrs;
    size_t pcr_count; /* 1..24, ascending index */
    struct cidr *cidrs;
    size_t cidr_count;                     /* FACTOR_NETWORK: 1..64 */
    unsigned days;                         /* FACTOR_TIME: bit 0 = Monday … bit 6 = Sunday */
    unsigned from_minute, to_minute;       /* UTC, [from, to), 0..1440; from < to, or from > to over midnight */
    uint64_t quota_count, quota_window_ms; /* FACTOR_QUOTA: 1..QUOTA_COUNT_MAX grants in 1 s..QUOTA_WINDOW_MAX_S */
    enum quota_per quota_per;
};
enum audit_level { AUDIT_LOCAL, AUDIT_CONFIRMED };
struct policy_stage {
    name_text name;
    unsigned need;                            /* the least `need` an envelope may have here */
    name_text *regions, *operators, *vendors; /* allowed ones; none = any */
    size_t region_count, operator_count, vendor_count;
    unsigned min_regions, min_operators,
        min_vendors; /* distinct ones among any `need` members that a chain lists; 0 = none */
    enum audit_level audit;
    struct factor factors;
};
struct policy {
    name_text name;
    name_text *operations;
    size_t operation_count;
    struct note_key *owners;
    size_t owner_count;
    bool *owner_signed;         /* owners whose envelopes it may open; who signed it */
    uint64_t chain_lifetime_ms; /* a chain's not_after lies at most that far ahead */
    struct policy_stage *stages;
    size_t stage_count; /* in order */
};

/* ---- envelope: one sealed secret */
struct envelope_member {
    unsigned slot; /* Shamir x, 1..16 */
    name_text node;
    uint64_t profile;
    uint8_t seal[EC_POINT_LEN]; /* the node's seal key when it was sealed */
    uint8_t point[EC_POINT_LEN], sealed[SEALED_LEN], commitment[HASH_LEN];
};
struct envelope_stage {
    name_text name;
    unsigned need;
    struct envelope_member *members;
    size_t count;
};
struct envelope {
    uint8_t id[ENVELOPE_ID_LEN];
    uint64_t generation;
    name_text operation, policy_name;
    uint8_t policy_hash[HASH_LEN];
    uint8_t owner[ED25519_PUBLIC_LEN]; /* the key whose signature verified */
    uint8_t dek_commitment[HASH_LEN];
    uint8_t payload_hash[HASH_LEN];
    uint64_t payload_len; /* of the sealed payload */
    struct bytes payload; /* inline when small, else empty */
    struct envelope_stage *stages;
    size_t stage_count;
};

/* ---- status: what is in force now */
struct status_entry {
    enum document_type type;
    name_text name;
    uint64_t version;
    uint8_t hash[HASH_LEN];
};
enum revoked_kind { REVOKED_NODE, REVOKED_DEVICE, REVOKED_CHAIN };
struct revocation {
    enum revoked_kind kind;
    name_text id;
    uint8_t hash[HASH_LEN];
}; /* id for node, device; hash for chain */
struct halt {
    bool network;
    name_text node, policy;
}; /* exactly one is set */
struct withdrawal {
    uint8_t owner[ED25519_PUBLIC_LEN];
    uint8_t envelope[ENVELOPE_ID_LEN];
    uint64_t least_generation;
};
struct status {
    struct status_entry *documents;
    size_t document_count;
    struct revocation *revocations;
    size_t revocation_count;
    struct halt *halts;
    size_t halt_count;
    struct withdrawal *withdrawals;
    size_t withdrawal_count;
};

/* ---- approval: one session's approval by one person (the key is one of a policy's approvers; factor to come) */
struct approval {
    uint8_t sid[HASH_LEN];
};

/* ---- chain: an attestation chain definition; nobody signs it */
struct chain_member {
    unsigned slot;
    name_text node;
};
struct chain_stage {
    name_text name;
    unsigned need;
    struct chain_member *members;
    size_t count;
}; /* in order of preference */
struct chain {
    name_text operation;
    uint8_t policy_hash[HASH_LEN], envelope_hash[HASH_LEN];
    struct chain_stage *stages;
    size_t stage_count;
};

struct document {
    enum document_type type;
    name_text network;
    char name[NAME_MAX_LEN + 1];    /* policy: its name; envelope: id in hex; chain: operation; else "" */
    uint64_t version;               /* envelope: generation; chain: 0 */
    uint8_t hash[HASH_LEN];         /* SHA-256 of the text */
    uint64_t issued_ms, expires_ms; /* chain: issued_ms is 0, expires_ms is not_after */
    struct bytes note, text;        /* as received, owned */
    union {
        struct root root;
        struct roster roster;
        struct inventory inventory;
        struct policy policy;
        struct envelope envelope;
        struct status status;
        struct approval approval;
        struct chain chain;
    };
    size_t refs;                   /* document_ref, document_unref; one thread at a time */
    struct document_block *memory; /* owned: everything that the fields above point to */
};

/* The keys that judge a document. */
struct document_trust {
    const struct document *root;   /* for a root: the one before it, or NULL when this root is pinned by its hash */
    const struct document *policy; /* for an envelope: the policy whose owners may have signed it */
};

/* Verify signatures and thresholds, then parse and check every field. Does not judge time or versions: see shelf.h.
 * `note` is copied. source names it in errors: "SOURCE: line N: nodes[3].kem: what is wrong". Errors: ERR_FORMAT,
 * ERR_TOO_LONG, ERR_SIGNATURE (also: no trust given, an envelope of another policy or not signed by exactly one owner),
 * ERR_THRESHOLD, ERR_CONFIG (of another network than the document that judges it), ERR_VERSION (approvals are not in
 * use yet). */
MUST_CHECK int document_open(struct bytes note, struct document_trust trust, const char *source, struct document **ret,
                             struct err *err);
/* Type, name, version, network and policy name as the text claims them, before any verification: to choose the trust.
 */
struct document_claim {
    enum document_type type;
    name_text network;
    char name[NAME_MAX_LEN + 1];
    name_text policy;
    uint64_t version;
};
MUST_CHECK int document_peek(struct bytes note, struct document_claim *ret, struct err *err);
/* Parse a text without any verification (a signer's check before it signs; document show). */
MUST_CHECK int document_parse(struct bytes text, const char *source, struct document **ret, struct err *err);
struct document *document_ref(struct document *d);
void document_unref(struct document *d); /* NULL is fine */

const struct roster_node *roster_find(const struct document *roster, struct bytes name); /* NULL */
const struct roster_node *roster_find_identity(const struct document *roster,
                                               struct bytes der); /* by whole certificate */
const struct device *inventory_find_key(const struct document *inventory, const uint8_t key_hash[HASH_LEN]);
bool status_revokes(const struct document *status, enum revoked_kind kind, struct bytes id_or_hash);
bool status_halts(const struct document *status, struct bytes node, struct bytes policy);
const char *role_name(enum role role);

#endif
