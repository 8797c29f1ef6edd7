/* seal_test: a secret is sealed, released by nodes in software, harvested and opened again; and each lie is caught. */
#include "common/crypto/keywrap.h"
#include "common/crypto/payload.h"
#include "common/ledger/entry.h"
#include "orchestrator/harvest.h"
#include "orchestrator/payload_file.h"
#include "orchestrator/seal.h"
#include "tests/lib/network.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

#define STAGES 2
#define FRAME_LEN 64

static struct network net;
static struct document *envelope, *chain;
static struct ec_key *session_key;
static uint8_t point[EC_POINT_LEN], sid[HASH_LEN], walk_id[WALK_ID_LEN];
static struct roster_node nodes[NETWORK_NODES]; /* as in the roster, with log keys whose private half we have */
static struct ed25519_key *log_keys[NETWORK_NODES];
static struct links_expect expect;

/* ---- sealing */

struct input {
    struct bytes left;
};

static int read_input(void *arg, struct secret *room, size_t *ret_len, struct err *err)
{
    struct input *in = arg;
    size_t n = in->left.len < secret_len(room) ? in->left.len : secret_len(room);
    (void)err;
    if (n > 0)
        memcpy(secret_write(room), in->left.p, n);
    in->left = BYTES(in->left.p + n, in->left.len - n);
    *ret_len = n;
    return 0;
}

static const struct seal_stage stages[STAGES] = {{"gate", 1, {"n1", "n2", "n3"}, 3},
                                                 {"vault", 2, {"n4", "n5", "n6"}, 3}};

static struct seal_order make_order(struct input *in)
{
    struct seal_order o = {.operation = "unlock-db",
                           .policy = net.policy,
                           .roster = net.roster,
                           .status = net.status,
                           .id = {1, 2, 3},
                           .generation = 4,
                           .issued_ms = NETWORK_NOW_MS,
                           .expires_ms = NETWORK_NOW_MS + 3600000,
                           .stages = stages,
                           .stage_count = STAGES,
                           .owner = net.key[KEY_OWNER],
                           .read = read_input,
                           .arg = in};
    return o;
}

static void seal_bytes(struct bytes secret)
{
    struct input in = {secret};
    struct seal_order o = make_order(&in);
    struct buf note, text;
    struct err err = {0};
    struct document_trust trust = {.policy = net.policy};
    struct chain_world w = {net.policy, NULL, net.roster, net.status};
    document_unref(envelope);
    document_unref(chain);
    envelope = chain = NULL;
    buf_init(&note, NOTE_MAX);
    buf_init(&text, CHAIN_MAX);
    if (seal(&o, &note, &err) != 0 || document_open(buf_view(&note), trust, "envelope", &envelope, &err) != 0)
        fail_msg("%s", err.text);
    w.envelope = envelope;
    if (chain_generate(&w, "unlock-db", NETWORK_NOW_MS, 600000, NULL, 0, &text, &err) != 0 ||
        document_parse(buf_view(&text), "chain", &chain, &err) != 0)
        fail_msg("%s", err.text);
    buf_done(&note);
    buf_done(&text);
}

/* ---- nodes in software */

static struct ec_key *node_key(uint8_t fill)
{
    uint8_t scalar[32];
    struct secret *s;
    struct ec_key *key;
    memset(scalar, fill, sizeof(scalar));
    assert_int_equal(secret_copy(BYTES_OF(scalar), &s), 0);
    assert_int_equal(ec_key_from_scalar(s, &key), 0);
    secret_free(s);
    return key;
}

static size_t node_index(const char *name)
{
    return (size_t)(name[1] - '1');
}

struct release {
    struct buf body, entry, receipt, answer;
};

static void release_done(struct release *r)
{
    buf_done(&r->body);
    buf_done(&r->entry);
    buf_done(&r->receipt);
    buf_done(&r->answer);
}

static void put_link(struct release *r, size_t i, unsigned stage, unsigned slot, const uint8_t prevhash[HASH_LEN])
{
    struct msg_factor factors[2] = {{bytes_str("device")}, {bytes_str("network")}};
    struct msg_link_body b = {.network = expect.network,
                              .sid = BYTES_OF(expect.sid),
                              .eid = BYTES_OF(expect.eid),
                              .chain_hash = BYTES_OF(expect.chain_hash),
                              .policy_hash = BYTES_OF(expect.policy_hash),
                              .envelope_hash = BYTES_OF(expect.envelope_hash),
                              .generation = expect.generation,
                              .stage = stage,
                              .slot = slot,
                              .node = bytes_str(nodes[i].name),
                              .prevhash = BYTES(prevhash, HASH_LEN),
                              .factors = {factors, 2},
                              .roster_version = 1,
                              .status_version = 1,
                              .issued_ms = NETWORK_NOW_MS,
                              .not_after_ms = NETWORK_NOW_MS + 600000};
    struct err err = {0};
    buf_init(&r->body, LINK_BODY_MAX);
    if (link_make(&b, &r->body, &err) != 0)
        fail_msg("%s", err.text);
}

static void put_entry(struct release *r, size_t i)
{
    uint8_t link_hash[HASH_LEN], response_hash[HASH_LEN], filler[HASH_LEN] = {1};
    struct checkpoint c = {.size = 1};
    struct buf text, note;
    struct err err = {0};
    sha256(buf_view(&r->body), link_hash);
    sha256(buf_view(&r->answer), response_hash);
    struct msg_entry e = {.type = ENTRY_GRANT,
                          .time_ms = NETWORK_NOW_MS,
                          .walk_id = BYTES_OF(walk_id),
                          .policy_hash = BYTES_OF(expect.policy_hash),
                          .evidence = BYTES_OF(filler),
                          .subject = BYTES_OF(filler),
                          .secret = BYTES_OF(filler),
                          .link_hash = BYTES_OF(link_hash),
                          .response_hash = BYTES_OF(response_hash)};
    buf_init(&r->entry, ENTRY_MAX);
    buf_init(&r->receipt, RECEIPT_MAX);
    buf_init(&text, CHECKPOINT_MAX);
    buf_init(&note, CHECKPOINT_MAX);
    if (entry_make(&e, &r->entry, &err) != 0)
        fail_msg("%s", err.text);
    merkle_leaf(buf_view(&r->entry), c.root);
    snprintf(c.origin, sizeof(c.origin), "%s", nodes[i].log.name);
    checkpoint_text(&c, &text);
    assert_int_equal(note_sign(buf_view(&text), nodes[i].log.name, log_keys[i], &note, &err), 0);
    receipt_make(0, NULL, 0, buf_view(&note), &r->receipt);
    buf_done(&text);
    buf_done(&note);
}

/* derive(seal, R, ctx_share), then the frame */
static struct secret *unseal_frame(size_t i, unsigned stage, const struct envelope_member *m)
{
    struct share_fields f = {.profile = 1,
                             .network = bytes_str(NETWORK_NAME),
                             .policy_name = bytes_str("db-policy"),
                             .generation = envelope->envelope.generation,
                             .stage = stage,
                             .slot = m->slot};
    uint8_t ctx[HASH_LEN];
    struct ec_key *key = node_key((uint8_t)(0x20 + i));
    struct secret *kek = NULL, *frame = NULL;
    memcpy(f.owner, envelope->envelope.owner, sizeof(f.owner));
    memcpy(f.envelope_id, envelope->envelope.id, sizeof(f.envelope_id));
    context_share(&f, ctx);
    assert_int_equal(derive(1, key, BYTES_OF(m->point), ctx, &kek), 0);
    assert_int_equal(keywrap_unwrap(kek, BYTES_OF(m->sealed), &frame), 0);
    ec_key_free(key);
    secret_free(kek);
    return frame;
}

static struct secret *make_tag(size_t a, size_t b, bool from_a, const uint8_t link_hash[HASH_LEN])
{
    uint8_t ctx[HASH_LEN];
    struct secret *tag = NULL;
    struct ec_key *key = node_key((uint8_t)(0x30 + (from_a ? a : b)));
    context_tag(1, sid, bytes_str(nodes[a].name), bytes_str(nodes[b].name), link_hash, ctx);
    assert_int_equal(derive(1, key, BYTES_OF(nodes[from_a ? b : a].peer), ctx, &tag), 0);
    ec_key_free(key);
    return tag;
}

struct lie { /* what is spoilt */
    bool share, no_tag, extra_tag, wrong_lock;
};

/* The node's answer, from its own keys: what tokend does. */
static void put_answer(struct release *r, size_t i, unsigned stage, unsigned slot, const uint8_t prevhash[HASH_LEN],
                       const struct harvested *previous, size_t previous_count, const struct lie *lie)
{
    struct session_fields f = {.profile = 1, .node = bytes_str(nodes[i].name), .stage = stage, .slot = slot};
    struct secret *frame = unseal_frame(i, stage, harvest_member(envelope, stage, slot)), *kek = NULL;
    struct ec_key *kem = node_key((uint8_t)(0x10 + i));
    uint8_t ctx[HASH_LEN], share[SEALED_LEN], tags[SLOT_MAX][WRAPPED_TAG_LEN], link_hash[HASH_LEN];
    struct msg_wrapped_tag list[SLOT_MAX];
    struct message m = {.type = MESSAGE_ANSWER, .answer = {.share = BYTES_OF(share), .tags = {list, 0}}};
    struct err err = {0};
    ec_point_spki_hash(nodes[i].kem, f.kem_hash);
    memcpy(f.sid, sid, HASH_LEN);
    memcpy(f.prevhash, prevhash, HASH_LEN);
    for (size_t p = 0; p < previous_count; p++) {
        struct secret *tag = make_tag(node_index(previous[p].node), i, false, previous[p].link_hash);
        assert_int_equal(derive_lock(tag, bytes_str(previous[p].node), f.node, f.lock[f.lock_count++]), 0);
        secret_free(tag);
    }
    if (lie->wrong_lock)
        f.lock[0][0] ^= 1;
    if (lie->share)
        secret_write(frame)[0] ^= 1;
    context_session(&f, ctx);
    assert_int_equal(derive(1, kem, BYTES_OF(point), ctx, &kek), 0);
    assert_int_equal(keywrap_wrap(kek, frame, share), 0);
    sha256(buf_view(&r->body), link_hash);
    const struct chain_stage *next = stage < STAGES ? &chain->chain.stages[stage] : NULL;
    for (unsigned s = 1; next != NULL && s <= SLOT_MAX; s++) {
        for (size_t j = 0; j < next->count; j++) {
            if (next->members[j].slot != s || (lie->no_tag && m.answer.tags.count > 0))
                continue;
            struct secret *tag = make_tag(i, node_index(next->members[j].node), true, link_hash);
            assert_int_equal(keywrap_wrap(kek, tag, tags[m.answer.tags.count]), 0);
            list[m.answer.tags.count] = (struct msg_wrapped_tag){s, BYTES_OF(tags[m.answer.tags.count])};
            m.answer.tags.count++;
            secret_free(tag);
        }
    }
    if (lie->extra_tag) {
        list[m.answer.tags.count] = (struct msg_wrapped_tag){SLOT_MAX, BYTES_OF(tags[0])};
        m.answer.tags.count++;
    }
    buf_init(&r->answer, 4096);
    if (message_pack(&m, &r->answer, &err) != 0)
        fail_msg("%s", err.text);
    secret_free(frame);
    secret_free(kek);
    ec_key_free(kem);
}

/* ---- the walk, one member */

static int visit(const char *name, unsigned stage, unsigned slot, const uint8_t prevhash[HASH_LEN],
                 const struct harvested *previous, size_t previous_count, const struct lie *lie, struct harvested *g)
{
    size_t i = node_index(name);
    struct release r;
    struct err err = {0};
    put_link(&r, i, stage, slot, prevhash);
    put_answer(&r, i, stage, slot, prevhash, previous, previous_count, lie);
    put_entry(&r, i);
    struct harvest_order o = {&expect, session_key, chain,    envelope, &nodes[i],
                              stage,   slot,        prevhash, previous, previous_count};
    struct msg_link link = {buf_view(&r.body), buf_view(&r.entry), buf_view(&r.receipt)};
    harvest_init(g);
    int rc = harvest(&o, &link, buf_view(&r.answer), g, &err);
    if (rc != 0)
        assert_true(err.text[0] != '\0');
    release_done(&r);
    return rc;
}

static void new_session(void)
{
    struct sid_fields f = {.network = bytes_str(NETWORK_NAME)};
    ec_key_free(session_key);
    assert_int_equal(ec_key_new(&session_key), 0);
    ec_key_point(session_key, point);
    ec_point_spki_hash(point, f.eid);
    memcpy(f.chain_hash, chain->hash, HASH_LEN);
    context_sid(&f, sid);
    context_walk_id(sid, walk_id);
    expect = (struct links_expect){.network = bytes_str(NETWORK_NAME),
                                   .generation = envelope->envelope.generation,
                                   .now_ms = NETWORK_NOW_MS,
                                   .skew_ms = 1000};
    memcpy(expect.sid, sid, HASH_LEN);
    memcpy(expect.eid, f.eid, HASH_LEN);
    memcpy(expect.chain_hash, chain->hash, HASH_LEN);
    memcpy(expect.policy_hash, net.policy->hash, HASH_LEN);
    memcpy(expect.envelope_hash, envelope->hash, HASH_LEN);
}

static struct secret *combine(struct harvested *g, size_t count)
{
    uint8_t x[SLOT_MAX];
    struct secret *y[SLOT_MAX], *secret = NULL;
    for (size_t i = 0; i < count; i++) {
        x[i] = (uint8_t)g[i].slot;
        y[i] = g[i].share;
    }
    assert_int_equal(shamir_combine(x, y, (unsigned)count, &secret), 0);
    return secret;
}

static const struct lie honest;

struct collected {
    uint8_t bytes[200000];
    size_t len;
};

static int collect(void *arg, struct bytes piece)
{
    struct collected *c = arg;
    assert_true(piece.len <= sizeof(c->bytes) - c->len);
    if (piece.len > 0)
        memcpy(c->bytes + c->len, piece.p, piece.len);
    c->len += piece.len;
    return 0;
}

/* gate by n2 alone, vault by n4 and n6: not the slots that Shamir would be asked for first */
static void walk_and_open(struct collected *out)
{
    uint8_t prevhash[HASH_LEN];
    struct harvested gate[1], vault[2];
    struct secret *secrets[STAGES], *dek = NULL, *key = NULL;
    struct payload_source source;
    struct err err = {0};
    new_session();
    context_prevhash(NULL, 0, prevhash);
    assert_int_equal(visit("n2", 1, 2, prevhash, NULL, 0, &honest, &gate[0]), 0);
    assert_string_equal(gate[0].factors, "device,network");
    context_prevhash((const uint8_t(*)[HASH_LEN])gate[0].link_hash, 1, prevhash);
    assert_int_equal(visit("n4", 2, 1, prevhash, gate, 1, &honest, &vault[0]), 0);
    assert_int_equal(visit("n6", 2, 3, prevhash, gate, 1, &honest, &vault[1]), 0);
    secrets[0] = combine(gate, 1);
    secrets[1] = combine(vault, 2);
    assert_int_equal(share_dek(envelope->envelope.id, envelope->envelope.generation, secrets, STAGES, &dek), 0);
    assert_int_equal(share_payload_key(dek, &key), 0);
    assert_int_equal(payload_find(envelope, NULL, &source, &err), 0);
    assert_int_equal(payload_deliver(envelope, &source, key, collect, out, &err), 0);
    payload_source_done(&source);
    for (size_t i = 0; i < STAGES; i++)
        secret_free(secrets[i]);
    secret_free(dek);
    secret_free(key);
    harvest_done(&gate[0]);
    harvest_done(&vault[0]);
    harvest_done(&vault[1]);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 65535, 65536, 65537, 131072};
    uint8_t *secret = malloc(131072);
    struct collected *out = calloc(1, sizeof(*out));
    assert_non_null(secret);
    assert_non_null(out);
    for (size_t i = 0; i < 131072; i++)
        secret[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        seal_bytes(BYTES(secret, lengths[i]));
        out->len = 0;
        walk_and_open(out);
        assert_int_equal(out->len, lengths[i]);
        assert_memory_equal(out->bytes, secret, lengths[i]);
        assert_int_equal(payload_plain_len(envelope->envelope.payload_len), lengths[i]);
    }
    free(secret);
    free(out);
}

static void test_lies_are_caught(void **state)
{
    (void)state;
    uint8_t prevhash[HASH_LEN], other[HASH_LEN] = {5};
    struct harvested gate, g;
    seal_bytes(bytes_str("secret"));
    new_session();
    context_prevhash(NULL, 0, prevhash);
    assert_int_equal(visit("n1", 1, 1, prevhash, NULL, 0, &(struct lie){.share = true}, &g), ERR_COMMITMENT);
    assert_null(g.share);
    harvest_done(&g);
    assert_int_equal(visit("n1", 1, 1, prevhash, NULL, 0, &(struct lie){.no_tag = true}, &g), ERR_FORMAT);
    harvest_done(&g);
    assert_int_equal(visit("n1", 1, 1, prevhash, NULL, 0, &(struct lie){.extra_tag = true}, &g), ERR_FORMAT);
    harvest_done(&g);
    assert_int_equal(visit("n1", 1, 1, prevhash, NULL, 0, &honest, &gate), 0);
    context_prevhash((const uint8_t(*)[HASH_LEN])gate.link_hash, 1, prevhash);
    assert_int_equal(visit("n5", 2, 2, prevhash, &gate, 1, &(struct lie){.wrong_lock = true}, &g), ERR_SIGNATURE);
    harvest_done(&g);
    /* a node that writes its log under another key */
    struct ed25519_key *right = log_keys[4];
    log_keys[4] = net.key[KEY_OTHER];
    assert_int_not_equal(visit("n5", 2, 2, prevhash, &gate, 1, &honest, &g), 0);
    log_keys[4] = right;
    harvest_done(&g);
    /* a link of another session */
    memcpy(expect.sid, other, HASH_LEN);
    assert_int_not_equal(visit("n5", 2, 2, prevhash, &gate, 1, &honest, &g), 0);
    harvest_done(&g);
    harvest_done(&gate);
}

static void refuse(struct seal_order *o, int code, const char *word)
{
    struct buf note;
    struct err err = {0};
    buf_init(&note, NOTE_MAX);
    assert_int_equal(seal(o, &note, &err), code);
    if (strstr(err.text, word) == NULL)
        fail_msg("'%s' does not say %s", err.text, word);
    buf_done(&note);
}

static void test_what_the_policy_does_not_admit_is_not_sealed(void **state)
{
    (void)state;
    struct input in = {bytes_str("secret")};
    struct seal_stage changed[STAGES];
    struct seal_order o = make_order(&in);
    o.operation = "drop-db";
    refuse(&o, ERR_POLICY, "drop-db");
    o = make_order(&in);
    o.owner = net.key[KEY_OTHER];
    refuse(&o, ERR_POLICY, "owner");
    o = make_order(&in);
    o.stage_count = 1;
    refuse(&o, ERR_POLICY, "2 stages");
    o = make_order(&in);
    memcpy(changed, stages, sizeof(changed));
    o.stages = changed;
    changed[1].need = 1;
    refuse(&o, ERR_POLICY, "vault");
    memcpy(changed, stages, sizeof(changed));
    snprintf(changed[0].nodes[0], sizeof(changed[0].nodes[0]), "n7");
    refuse(&o, ERR_NOT_FOUND, "n7");
    memcpy(changed, stages, sizeof(changed));
    snprintf(changed[0].name, sizeof(changed[0].name), "door");
    refuse(&o, ERR_POLICY, "door");
}

static int setup(void **state)
{
    (void)state;
    network_init(&net);
    for (size_t i = 0; i < NETWORK_NODES; i++) {
        uint8_t public[ED25519_PUBLIC_LEN];
        char name[64];
        nodes[i] = net.roster->roster.nodes[i];
        assert_int_equal(ed25519_key_new(&log_keys[i]), 0);
        ed25519_key_public(log_keys[i], public);
        snprintf(name, sizeof(name), NETWORK_NAME "/n%zu/log", i + 1);
        assert_int_equal(note_key_make(name, public, &nodes[i].log), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    document_unref(envelope);
    document_unref(chain);
    ec_key_free(session_key);
    for (size_t i = 0; i < NETWORK_NODES; i++)
        ed25519_key_free(log_keys[i]);
    network_done(&net);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_lies_are_caught),
        cmocka_unit_test(test_what_the_policy_does_not_admit_is_not_sealed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
