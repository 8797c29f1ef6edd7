/* cast: makes the simulated network's keys and documents. */
#include "tests/sim/cast.h"
#include "common/base/clock.h"
#include "common/documents/write.h"
#include "common/net/identity.h"
#include "orchestrator/seal.h"
#include "tests/sim/quote.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOUR_MS UINT64_C(3600000)
#define ISSUED_MS (CAST_T0_MS - 2 * HOUR_MS)
#define EXPIRES_MS (CAST_T0_MS + 24 * 30 * HOUR_MS)
#define STATUS_LIFE_MS (24 * HOUR_MS)

static struct cast cast;
static const char *const stage_names[CAST_STAGES] = {"gate", "vault", "last"};

/* ---- keys, from fixed seeds */

static struct secret *seed(uint8_t kind, uint8_t index)
{
    uint8_t bytes[32];
    struct secret *s = NULL;
    memset(bytes, kind, sizeof(bytes));
    bytes[31] = index;
    int rc = secret_copy(BYTES_OF(bytes), &s);
    assert(rc == 0);
    return s;
}

static struct ec_key *ec_key(uint8_t kind, uint8_t index, uint8_t ret_point[EC_POINT_LEN])
{
    struct secret *s = seed(kind, index);
    struct ec_key *key = NULL;
    int rc = ec_key_from_scalar(s, &key);
    assert(rc == 0);
    secret_free(s);
    ec_key_point(key, ret_point);
    return key;
}

static struct ed25519_key *ed_key(uint8_t kind, uint8_t index, const char *name, struct note_key *ret_key)
{
    struct secret *s = seed(kind, index);
    struct ed25519_key *key = NULL;
    uint8_t public[ED25519_PUBLIC_LEN];
    int rc = ed25519_key_from_seed(s, &key);
    assert(rc == 0);
    secret_free(s);
    ed25519_key_public(key, public);
    rc = note_key_make(name, public, ret_key);
    assert(rc == 0);
    return key;
}

static void make_keys(struct cast *c)
{
    static const char *const names[CAST_KEY_COUNT] = {"root", "roster", "inventory", "policy", "status", "owner"};
    char name[96];
    for (uint8_t k = 0; k < CAST_KEY_COUNT; k++) {
        (void)snprintf(name, sizeof(name), CAST_NETWORK "/%s", names[k]);
        c->key[k] = ed_key(1, k, name, &c->vkey[k]);
    }
    for (uint8_t i = 0; i < SIM_NODES; i++) {
        struct cast_node *n = &c->node[i];
        (void)snprintf(n->name, sizeof(n->name), "n%u", i + 1u);
        n->kem = ec_key(2, i, n->kem_point);
        n->seal = ec_key(3, i, n->seal_point);
        n->peer = ec_key(4, i, n->peer_point);
        (void)snprintf(name, sizeof(name), CAST_NETWORK "/%s/mirror", n->name);
        ed25519_key_free(ed_key(5, i, name, &n->mirror_key));
        (void)snprintf(name, sizeof(name), CAST_NETWORK "/%s/log", n->name);
        n->log = ed_key(6, i, name, &n->log_key);
    }
}

static void make_certificate(const char *name, struct buf *ret_der)
{
    void *key = NULL;
    int rc = identity_key_new(&key);
    assert(rc == 0);
    rc = identity_self_signed(key, name, ISSUED_MS, EXPIRES_MS, ret_der, NULL);
    assert(rc == 0);
    identity_key_free(key);
}

static void make_devices(struct cast *c)
{
    make_certificate("devices", &c->device_ca);
    for (uint8_t i = 0; i < SIM_WORKLOADS_MAX; i++) {
        struct cast_device *d = &c->device[i];
        (void)snprintf(d->id, sizeof(d->id), "w%u", i + 1u);
        memset(d->key_hash, 0x70 + i, HASH_LEN);
        memset(d->leaf_hash, 0x90 + i, HASH_LEN);
        quote_key(d);
    }
}

/* ---- documents */

static struct document frame(enum document_type type)
{
    return (struct document){
        .type = type, .network = CAST_NETWORK, .version = 1, .issued_ms = ISSUED_MS, .expires_ms = EXPIRES_MS};
}

static struct document *open_text(const struct cast *c, struct bytes text, const enum cast_key *keys, size_t count)
{
    struct document_trust trust = {.root = c->root, .policy = c->policy};
    struct document *d = NULL;
    struct err err = {.code = 0};
    struct buf note, more;
    buf_init(&note, NOTE_MAX);
    buf_put(&note, text);
    for (size_t i = 0; i < count; i++) {
        buf_init(&more, NOTE_MAX);
        int rc = note_sign(buf_view(&note), c->vkey[keys[i]].name, c->key[keys[i]], &more, &err);
        assert(rc == 0);
        buf_done(&note);
        note = more;
    }
    if (document_open(buf_view(&note), trust, "cast", &d, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        abort();
    }
    buf_done(&note);
    return d;
}

static struct document *sign(const struct cast *c, const struct document *d, enum cast_key key)
{
    struct buf text;
    struct err err = {.code = 0};
    if (document_write(d, &text, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        abort();
    }
    struct document *opened = open_text(c, buf_view(&text), &key, 1);
    buf_done(&text);
    return opened;
}

static void make_root(struct cast *c)
{
    struct document d = frame(DOCUMENT_ROOT);
    struct certificate ca = {c->device_ca.p, c->device_ca.len};
    d.root.tag_profile = CAST_PROFILE;
    d.root.device_cas = &ca;
    d.root.device_ca_count = 1;
    for (size_t r = 0; r < ROLE_COUNT; r++)
        d.root.role[r] = (struct role_keys){1, &c->vkey[CAST_ROOT + r], 1};
    c->root = sign(c, &d, CAST_ROOT);
}

static void make_roster(struct cast *c)
{
    struct document d = frame(DOCUMENT_ROSTER);
    struct roster_node nodes[SIM_NODES] = {{.roles = 0}};
    char address[SIM_NODES][64];
    struct buf identity[SIM_NODES];
    for (size_t i = 0; i < SIM_NODES; i++) {
        struct roster_node *v = &nodes[i];
        const struct cast_node *n = &c->node[i];
        (void)snprintf(v->name, sizeof(v->name), "%s", n->name);
        (void)snprintf(v->region, sizeof(v->region), "r%zu", i % 3 + 1);
        (void)snprintf(v->operator_, sizeof(v->operator_), "op%zu", i + 1);
        (void)snprintf(v->vendor, sizeof(v->vendor), "softhsm");
        (void)snprintf(address[i], sizeof(address[i]), "10.0.0.%zu:7600", i + 11);
        v->roles = NODE_HSM;
        v->addresses = &address[i];
        v->address_count = 1;
        v->profile = CAST_PROFILE;
        make_certificate(n->name, &identity[i]);
        v->identity = (struct certificate){identity[i].p, identity[i].len};
        memcpy(v->kem, n->kem_point, EC_POINT_LEN);
        memcpy(v->seal, n->seal_point, EC_POINT_LEN);
        memcpy(v->peer, n->peer_point, EC_POINT_LEN);
        v->log = n->log_key;
        v->mirror = n->mirror_key;
    }
    d.roster = (struct roster){nodes, SIM_NODES};
    c->roster = sign(c, &d, CAST_ROSTER);
    for (size_t i = 0; i < SIM_NODES; i++)
        buf_done(&identity[i]);
}

static void make_inventory(struct cast *c)
{
    struct document d = frame(DOCUMENT_INVENTORY);
    struct device devices[SIM_WORKLOADS_MAX] = {{.chip_id_len = 0}};
    for (size_t i = 0; i < SIM_WORKLOADS_MAX; i++) {
        (void)snprintf(devices[i].id, sizeof(devices[i].id), "%s", c->device[i].id);
        memcpy(devices[i].key_hash, c->device[i].key_hash, HASH_LEN);
        sha256(BYTES(c->device[i].ak_public, c->device[i].ak_public_len), devices[i].ak_hash);
    }
    d.inventory = (struct inventory){devices, SIM_WORKLOADS_MAX};
    c->inventory = sign(c, &d, CAST_INVENTORY);
}

static void make_policy(struct cast *c)
{
    static const enum cast_key keys[] = {CAST_POLICY_KEY, CAST_OWNER};
    static const unsigned need[CAST_STAGES] = {1, 2, 1};
    struct buf b, owner;
    char issued[CLOCK_TEXT_LEN + 1], expires[CLOCK_TEXT_LEN + 1];
    clock_text(ISSUED_MS, issued);
    clock_text(EXPIRES_MS, expires);
    buf_init(&b, DOCUMENT_MAX);
    buf_init(&owner, 512);
    note_key_text(&c->vkey[CAST_OWNER], &owner);
    buf_printf(&b,
               "enfilade: policy/v1\nnetwork: " CAST_NETWORK "\nname: " CAST_POLICY "\nversion: 1\nissued: %s\n"
               "expires: %s\noperations: [" CAST_OPERATION "]\nowners: [%s]\nchain_lifetime_s: 3600\nstages:\n",
               issued, expires, buf_cstr(&owner));
    for (size_t i = 0; i < CAST_STAGES; i++) {
        buf_printf(
            &b,
            "  - name: %s\n    need: %u\n    audit: local\n    factors:\n      all:\n        - device: enrolled\n"
            "        - evidence: {format: tpm2, pcrs: [{index: %d, values: [",
            stage_names[i], need[i], QUOTE_PCR);
        buf_hex(&b, BYTES_OF(quote_pcr));
        buf_str(&b, "]}]}\n        - network: {cidrs: [\"10.0.0.0/8\"]}\n"
                    "        - quota: {count: 1000000, window_s: 86400, per: policy}\n");
    }
    c->policy = open_text(c, buf_view(&b), keys, 2);
    buf_done(&b);
    buf_done(&owner);
}

static int read_secret(void *arg, struct secret *room, size_t *ret_len, struct err *err)
{
    bool *done = arg;
    (void)err;
    *ret_len = *done ? 0 : strlen(CAST_SECRET);
    memcpy(secret_write(room), CAST_SECRET, *ret_len);
    *done = true;
    return 0;
}

static void make_envelope(struct cast *c)
{
    static const struct seal_stage stages[CAST_STAGES] = {
        {"gate", 1, {"n1", "n2"}, 2}, {"vault", 2, {"n3", "n4", "n5"}, 3}, {"last", 1, {"n6", "n7"}, 2}};
    bool done = false;
    struct document_trust trust = {.policy = c->policy};
    struct err err = {.code = 0};
    struct buf note;
    struct seal_order o = {.operation = CAST_OPERATION,
                           .policy = c->policy,
                           .roster = c->roster,
                           .id = {1, 2, 3},
                           .generation = 1,
                           .issued_ms = ISSUED_MS,
                           .expires_ms = EXPIRES_MS,
                           .stages = stages,
                           .stage_count = CAST_STAGES,
                           .owner = c->key[CAST_OWNER],
                           .read = read_secret,
                           .arg = &done};
    buf_init(&note, NOTE_MAX);
    if (seal(&o, &note, &err) != 0 || document_open(buf_view(&note), trust, "cast", &c->envelope, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        abort();
    }
    buf_done(&note);
}

struct document *cast_status(const struct cast *c, uint64_t version, uint64_t issued_ms,
                             const struct revocation *revoked, size_t revoked_count, const struct halt *halts,
                             size_t halt_count)
{
    struct document d = frame(DOCUMENT_STATUS);
    const struct document *in_force[] = {c->root, c->roster, c->inventory, c->policy};
    struct status_entry entries[4] = {{.version = 0}};
    for (size_t i = 0; i < 4; i++) {
        entries[i].type = in_force[i]->type;
        memcpy(entries[i].name, in_force[i]->name, sizeof(entries[i].name));
        entries[i].version = in_force[i]->version;
        memcpy(entries[i].hash, in_force[i]->hash, HASH_LEN);
    }
    d.version = version;
    d.issued_ms = issued_ms / 1000 * 1000;
    d.expires_ms = d.issued_ms + STATUS_LIFE_MS;
    d.status = (struct status){.documents = entries,
                               .document_count = 4,
                               .revocations = (struct revocation *)(uintptr_t)revoked,
                               .revocation_count = revoked_count,
                               .halts = (struct halt *)(uintptr_t)halts,
                               .halt_count = halt_count};
    return sign(c, &d, CAST_STATUS);
}

/* ---- as files */

static void save(const struct document *d, const char *path)
{
    FILE *f = fopen(path, "w");
    assert(f != NULL);
    size_t n = fwrite(d->note.p, 1, d->note.len, f);
    assert(n == d->note.len);
    int rc = fclose(f);
    assert(rc == 0);
}

static const char *const file_names[] = {"root", "roster", "inventory", "policy", "envelope", "status"};
#define FILE_COUNT (sizeof(file_names) / sizeof(file_names[0]))

static void path_of(const struct cast *c, size_t i, char ret[96])
{
    (void)snprintf(ret, 96, "%s/%s.note", c->folder, file_names[i]);
}

static void remove_files(void)
{
    char path[96];
    for (size_t i = 0; i < FILE_COUNT; i++) {
        path_of(&cast, i, path);
        (void)unlink(path);
    }
    (void)rmdir(cast.folder);
}

static void save_all(struct cast *c)
{
    const struct document *all[FILE_COUNT] = {c->root, c->roster, c->inventory, c->policy, c->envelope, c->status};
    char path[96];
    const char *base = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    (void)snprintf(c->folder, sizeof(c->folder), "%.32s/enfilade-sim-XXXXXX", base);
    char *made = mkdtemp(c->folder);
    assert(made != NULL);
    (void)atexit(remove_files);
    for (size_t i = 0; i < FILE_COUNT; i++) {
        path_of(c, i, path);
        save(all[i], path);
    }
    path_of(c, 0, c->root_file);
}

static void forget(void)
{
    struct document *all[] = {cast.root, cast.roster, cast.inventory, cast.policy, cast.envelope, cast.status};
    for (size_t i = 0; i < FILE_COUNT; i++)
        document_unref(all[i]);
    for (size_t k = 0; k < CAST_KEY_COUNT; k++)
        ed25519_key_free(cast.key[k]);
    for (size_t i = 0; i < SIM_NODES; i++) {
        ec_key_free(cast.node[i].kem);
        ec_key_free(cast.node[i].seal);
        ec_key_free(cast.node[i].peer);
        ed25519_key_free(cast.node[i].log);
    }
    for (size_t i = 0; i < SIM_WORKLOADS_MAX; i++)
        quote_key_free(&cast.device[i]);
    buf_done(&cast.device_ca);
}

const struct cast *cast_get(void)
{
    if (cast.root != NULL)
        return &cast;
    struct err err = {.code = 0};
    if (secret_setup(&err) != 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        abort();
    }
    make_keys(&cast);
    make_devices(&cast);
    make_root(&cast);
    make_roster(&cast);
    make_inventory(&cast);
    make_policy(&cast);
    make_envelope(&cast);
    cast.status = cast_status(&cast, 1, ISSUED_MS, NULL, 0, NULL, 0);
    (void)atexit(forget);
    save_all(&cast);
    return &cast;
}
