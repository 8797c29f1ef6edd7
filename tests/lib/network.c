/* network: makes keys, certificates and documents of a test network. */
#include "tests/lib/network.h"
#include <assert.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const key_names[KEY_COUNT] = {"root/a", "root/b", "root/c",    "roster",     "inventory",
                                                 "policy", "status", "owner/dba", "owner/other"};

static void make_key(struct network *n, enum network_key k)
{
    uint8_t seed[32], public[ED25519_PUBLIC_LEN];
    char name[64];
    struct secret *s;
    memset(seed, (int)k + 1, sizeof(seed));
    int rc = secret_copy(BYTES_OF(seed), &s);
    assert(rc == 0);
    rc = ed25519_key_from_seed(s, &n->key[k]);
    assert(rc == 0);
    secret_free(s);
    ed25519_key_public(n->key[k], public);
    (void)snprintf(name, sizeof(name), NETWORK_NAME "/%s", key_names[k]);
    rc = note_key_make(name, public, &n->vkey[k]);
    assert(rc == 0);
}

static void make_point(uint8_t fill, uint8_t ret[EC_POINT_LEN])
{
    uint8_t scalar[32];
    struct secret *s;
    struct ec_key *key;
    memset(scalar, fill, sizeof(scalar));
    int rc = secret_copy(BYTES_OF(scalar), &s);
    assert(rc == 0);
    rc = ec_key_from_scalar(s, &key);
    assert(rc == 0);
    ec_key_point(key, ret);
    ec_key_free(key);
    secret_free(s);
}

static struct certificate make_certificate(const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    assert(key != NULL && x != NULL);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, key);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    int len = X509_sign(x, key, EVP_sha256()) > 0 ? 0 : -1;
    assert(len == 0);
    struct certificate c = {.der = NULL};
    len = i2d_X509(x, &c.der);
    assert(len > 0);
    c.len = (size_t)len;
    X509_free(x);
    EVP_PKEY_free(key);
    return c;
}

static struct document frame(enum document_type type)
{
    struct document d = {.type = type,
                         .network = NETWORK_NAME,
                         .version = 1,
                         .issued_ms = NETWORK_ISSUED_MS,
                         .expires_ms = NETWORK_EXPIRES_MS};
    return d;
}

char *network_write(const struct document *d)
{
    struct buf text;
    struct err err = {0};
    if (document_write(d, &text, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        abort();
    }
    char *copy = strdup(buf_cstr(&text));
    assert(copy != NULL);
    buf_done(&text);
    return copy;
}

char *network_sign(const struct network *n, const char *text, unsigned keys)
{
    char *note = strdup(text);
    for (size_t k = 0; k < KEY_COUNT; k++) {
        if ((keys & KEY_BIT(k)) == 0)
            continue;
        struct buf signed_;
        struct err err = {0};
        buf_init(&signed_, NOTE_MAX);
        int rc = note_sign(bytes_str(note), n->vkey[k].name, n->key[k], &signed_, &err);
        assert(rc == 0);
        free(note);
        note = strdup(buf_cstr(&signed_));
        buf_done(&signed_);
    }
    return note;
}

char *network_replace(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    if (at == NULL || strstr(at + 1, from) != NULL) {
        (void)fprintf(stderr, "'%s' does not stand once in:\n%s", from, text);
        abort();
    }
    size_t len = strlen(text) - strlen(from) + strlen(to) + 1;
    char *copy = malloc(len);
    assert(copy != NULL);
    (void)snprintf(copy, len, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return copy;
}

static struct document *open_text(const struct network *n, const char *text, unsigned keys)
{
    struct document_trust trust = {.root = n->root, .policy = n->policy};
    struct document *d = NULL;
    struct err err = {0};
    char *note = network_sign(n, text, keys);
    if (document_open(bytes_str(note), trust, "test", &d, &err) != 0) {
        (void)fprintf(stderr, "%s\n%s", err.text, text);
        abort();
    }
    free(note);
    return d;
}

static void make_root(struct network *n)
{
    struct document d = frame(DOCUMENT_ROOT);
    struct certificate ca = make_certificate("device-ca");
    d.root.tag_profile = 1;
    d.root.device_cas = &ca;
    d.root.device_ca_count = 1;
    d.root.role[ROLE_ROOT] = (struct role_keys){2, &n->vkey[KEY_ROOT_A], 3};
    for (size_t r = ROLE_ROSTER; r < ROLE_COUNT; r++)
        d.root.role[r] = (struct role_keys){1, &n->vkey[KEY_ROSTER + r - ROLE_ROSTER], 1};
    n->root_text = network_write(&d);
    OPENSSL_free(ca.der);
    n->root = open_text(n, n->root_text, KEYS_ROOT);
}

static void make_roster(struct network *n)
{
    struct document d = frame(DOCUMENT_ROSTER);
    struct roster_node nodes[NETWORK_NODES] = {{.roles = 0}};
    char addresses[NETWORK_NODES][64];
    for (size_t i = 0; i < NETWORK_NODES; i++) {
        struct roster_node *v = &nodes[i];
        char log[120];
        uint8_t public[ED25519_PUBLIC_LEN];
        (void)snprintf(v->name, sizeof(v->name), "n%zu", i + 1);
        (void)snprintf(v->region, sizeof(v->region), "r%zu", i % 3 + 1);
        (void)snprintf(v->operator_, sizeof(v->operator_), "op%zu", i + 1);
        (void)snprintf(v->vendor, sizeof(v->vendor), "softhsm");
        (void)snprintf(addresses[i], sizeof(addresses[i]), "127.0.0.1%zu:7600", i + 1);
        v->roles = NODE_HSM | NODE_MIRROR;
        v->addresses = &addresses[i];
        v->address_count = 1;
        v->profile = 1;
        v->identity = make_certificate(v->name);
        make_point((uint8_t)(0x10 + i), v->kem);
        make_point((uint8_t)(0x20 + i), v->seal);
        make_point((uint8_t)(0x30 + i), v->peer);
        (void)snprintf(log, sizeof(log), NETWORK_NAME "/%.64s/log", v->name);
        memset(public, (int)(0x40 + i), sizeof(public));
        int rc = note_key_make(log, public, &v->log);
        (void)snprintf(log, sizeof(log), NETWORK_NAME "/%.64s/mirror", v->name);
        memset(public, (int)(0x50 + i), sizeof(public));
        rc |= note_key_make(log, public, &v->mirror);
        assert(rc == 0);
    }
    d.roster = (struct roster){nodes, NETWORK_NODES};
    n->roster_text = network_write(&d);
    for (size_t i = 0; i < NETWORK_NODES; i++)
        OPENSSL_free(nodes[i].identity.der);
    n->roster = open_text(n, n->roster_text, KEY_BIT(KEY_ROSTER));
}

static void make_inventory(struct network *n)
{
    struct document d = frame(DOCUMENT_INVENTORY);
    struct device devices[2] = {{.id = "web-1", .chip_id = {7, 8}, .chip_id_len = 2}, {.id = "web-2"}};
    memset(devices[0].key_hash, 1, HASH_LEN);
    memset(devices[0].ak_hash, 2, HASH_LEN);
    memset(devices[0].ek_hash, 3, HASH_LEN);
    memset(devices[1].key_hash, 4, HASH_LEN);
    d.inventory = (struct inventory){devices, 2};
    n->inventory_text = network_write(&d);
    n->inventory = open_text(n, n->inventory_text, KEY_BIT(KEY_INVENTORY));
}

static void make_policy(struct network *n)
{
    struct buf b, owner;
    buf_init(&b, DOCUMENT_MAX);
    buf_init(&owner, 512);
    note_key_text(&n->vkey[KEY_OWNER], &owner);
    buf_printf(&b,
               "enfilade: policy/v1\n"
               "network: " NETWORK_NAME " # whose\n"
               "name: db-policy\n"
               "version: 1\n"
               "issued: 2026-11-18T11:06:40Z\n"
               "expires: 2026-11-19T11:06:40Z\n"
               "operations: [unlock-db, rotate-db]\n"
               "owners: [%s]\n"
               "chain_lifetime_s: 3600\n"
               "stages:\n"
               "  - name: gate\n"
               "    need: 1\n"
               "    vendors: [softhsm, other]\n"
               "    audit: local\n"
               "    factors:\n"
               "      all:\n"
               "        - device: enrolled\n"
               "        - evidence:\n"
               "            format: tpm2\n"
               "            pcrs:\n"
               "              - {index: 7, values: [%064d]}\n"
               "              - {index: 14, values: [%064d, %064d]}\n"
               "        - network: {cidrs: [\"127.0.0.0/8\", \"10.1.0.0/16\", \"fd00::/8\"]}\n"
               "  - name: vault\n"
               "    need: 2\n"
               "    regions: [r1, r2, r3]\n"
               "    operators: [op4, op5, op6]\n"
               "    min_regions: 2\n"
               "    min_operators: 2\n"
               "    min_vendors: 1\n"
               "    audit: confirmed\n"
               "    factors:\n"
               "      at_least:\n"
               "        count: 2\n"
               "        of:\n"
               "          - device: enrolled\n"
               "          - time: {days: [mon, fri], from: \"08:00\", to: \"24:00\"}\n"
               "          - any:\n"
               "              - time: {from: \"22:00\", to: \"06:30\"}\n"
               "              - device: enrolled\n",
               buf_cstr(&owner), 5, 6, 7);
    n->policy_text = strdup(buf_cstr(&b));
    buf_done(&b);
    buf_done(&owner);
    n->policy = open_text(n, n->policy_text, KEY_BIT(KEY_POLICY) | KEY_BIT(KEY_OWNER));
}

static void make_envelope(struct network *n)
{
    struct document d = frame(DOCUMENT_ENVELOPE);
    struct envelope *e = &d.envelope;
    struct envelope_member members[NETWORK_NODES] = {{.slot = 0}};
    struct envelope_stage stages[2] = {{"gate", 1, members, 3}, {"vault", 2, members + 3, 3}};
    for (size_t i = 0; i < NETWORK_NODES; i++) {
        const struct roster_node *v = &n->roster->roster.nodes[i];
        members[i].slot = (unsigned)(i % 3 + 1);
        memcpy(members[i].node, v->name, sizeof(v->name));
        memcpy(members[i].seal, v->seal, EC_POINT_LEN);
        members[i].profile = v->profile;
        make_point((uint8_t)(0x60 + i), members[i].point);
        memset(members[i].sealed, (int)i + 1, SEALED_LEN);
        memset(members[i].commitment, (int)i + 1, HASH_LEN);
    }
    memset(e->id, 0xab, sizeof(e->id));
    e->generation = 1;
    (void)snprintf(e->operation, sizeof(e->operation), "unlock-db");
    (void)snprintf(e->policy_name, sizeof(e->policy_name), "db-policy");
    memcpy(e->policy_hash, n->policy->hash, HASH_LEN);
    memset(e->dek_commitment, 9, HASH_LEN);
    e->payload = bytes_str("sealed payload");
    e->payload_len = e->payload.len;
    sha256(e->payload, e->payload_hash);
    e->stages = stages;
    e->stage_count = 2;
    n->envelope_text = network_write(&d);
    n->envelope = open_text(n, n->envelope_text, KEY_BIT(KEY_OWNER));
}

static void make_status(struct network *n)
{
    struct document d = frame(DOCUMENT_STATUS);
    const struct document *in_force[] = {n->root, n->roster, n->inventory, n->policy};
    struct status_entry entries[4] = {{.version = 0}};
    for (size_t i = 0; i < 4; i++) {
        entries[i].type = in_force[i]->type;
        memcpy(entries[i].name, in_force[i]->name, sizeof(entries[i].name));
        entries[i].version = in_force[i]->version;
        memcpy(entries[i].hash, in_force[i]->hash, HASH_LEN);
    }
    struct revocation revocations[3] = {
        {.kind = REVOKED_NODE, .id = "n9"}, {.kind = REVOKED_DEVICE, .id = "web-9"}, {.kind = REVOKED_CHAIN}};
    memset(revocations[2].hash, 0x77, HASH_LEN);
    struct halt halts[2] = {{.node = "n8"}, {.policy = "old-policy"}};
    struct withdrawal withdrawals[1] = {{.least_generation = 2}};
    d.status = (struct status){entries, 4, revocations, 3, halts, 2, withdrawals, 1};
    n->status_text = network_write(&d);
    n->status = open_text(n, n->status_text, KEY_BIT(KEY_STATUS));
}

static void make_chain(struct network *n)
{
    struct document d = frame(DOCUMENT_CHAIN);
    struct chain_member gate[2] = {{2, "n2"}, {1, "n1"}}, vault[3] = {{1, "n4"}, {3, "n6"}, {2, "n5"}};
    struct chain_stage stages[2] = {{"gate", 1, gate, 2}, {"vault", 2, vault, 3}};
    (void)snprintf(d.chain.operation, sizeof(d.chain.operation), "unlock-db");
    memcpy(d.chain.policy_hash, n->policy->hash, HASH_LEN);
    memcpy(d.chain.envelope_hash, n->envelope->hash, HASH_LEN);
    d.chain.stages = stages;
    d.chain.stage_count = 2;
    d.expires_ms = NETWORK_NOW_MS + 600000;
    n->chain_text = network_write(&d);
    n->chain = open_text(n, n->chain_text, 0);
}

void network_init(struct network *n)
{
    memset(n, 0, sizeof(*n));
    static bool once;
    struct err err = {0};
    int rc = once ? 0 : secret_setup(&err);
    assert(rc == 0);
    once = true;
    for (size_t k = 0; k < KEY_COUNT; k++)
        make_key(n, (enum network_key)k);
    make_root(n);
    make_roster(n);
    make_inventory(n);
    make_policy(n);
    make_envelope(n);
    make_status(n);
    make_chain(n);
}

void network_done(struct network *n)
{
    struct document *documents[] = {n->root, n->roster, n->inventory, n->policy, n->envelope, n->status, n->chain};
    char *texts[] = {n->root_text,     n->roster_text, n->inventory_text, n->policy_text,
                     n->envelope_text, n->status_text, n->chain_text};
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        document_unref(documents[i]);
        free(texts[i]);
    }
    for (size_t k = 0; k < KEY_COUNT; k++)
        ed25519_key_free(n->key[k]);
}
