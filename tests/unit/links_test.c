/* links_test: every rule for links, each by a walk that is right but for one thing. */
#include "common/ledger/entry.h"
#include "common/ledger/links.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { NODES = 6, LINKS = 3, NOW = 1000000, SKEW = 1000 };
/* n1, n2, n3 in slots 1 to 3 of stage 1 (need 2); n4, n5 in slots 1 and 2 of stage 2 (need 1); n6 is elsewhere. */

struct keeper {
    char name[8], log_name[32];
    struct ed25519_key *secret;
    struct note_key key;
};
static struct keeper keepers[NODES];

static uint8_t sid[HASH_LEN] = {1}, eid[HASH_LEN] = {2}, chain[HASH_LEN] = {3}, policy[HASH_LEN] = {4},
               envelope[HASH_LEN] = {5}, other[HASH_LEN] = {99};
static uint8_t walk_id[WALK_ID_LEN], other_walk_id[WALK_ID_LEN];
static const struct bytes answer = {(const uint8_t *)"the answer", 10};

/* What a keeper writes for one visit, before it is sealed into bytes; a case spoils one of these. */
struct visit {
    struct keeper *keeper, *signer; /* signer: whose key and log sign the checkpoint */
    struct msg_link_body body;
    struct msg_entry entry;
    uint8_t prevhash[HASH_LEN], link_hash[HASH_LEN], response_hash[HASH_LEN];
    struct msg_factor factors[1];
    uint64_t entry_index, receipt_index, tree_size;
    bool keep_prevhash, keep_link_hash;
    const char *append; /* bytes behind the body, which entry and receipt then honestly cover */
    size_t append_len;
    struct buf body_bytes, entry_bytes, receipt_bytes;
};

struct walk {
    struct visit visit[LINKS];
    struct link_member members[2][3];
    struct link_stage stages[2];
    struct links_expect expect;
    struct msg_link links[8];
    size_t count;
};

static void keeper_init(struct keeper *k, unsigned number)
{
    struct secret *seed = NULL;
    uint8_t bytes[32] = {(uint8_t)number}, public[ED25519_PUBLIC_LEN];
    (void)snprintf(k->name, sizeof(k->name), "n%u", number % 10);
    (void)snprintf(k->log_name, sizeof(k->log_name), "example.test/%s/log", k->name);
    assert_int_equal(secret_copy(BYTES_OF(bytes), &seed), 0);
    assert_int_equal(ed25519_key_from_seed(seed, &k->secret), 0);
    secret_free(seed);
    ed25519_key_public(k->secret, public);
    assert_int_equal(note_key_make(k->log_name, public, &k->key), 0);
}

static int setup_all(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NODES; i++)
        keeper_init(&keepers[i], i + 1);
    context_walk_id(sid, walk_id);
    context_walk_id(other, other_walk_id);
    return 0;
}

static int teardown_all(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NODES; i++)
        ed25519_key_free(keepers[i].secret);
    return 0;
}

/* ---- the keeper's log: filler entries around the one of the visit */

struct small_log {
    uint8_t hash[6][64][HASH_LEN]; /* level, index: all nodes of a tree of up to 32 leaves, full or not present */
};

static void keep_node(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_LEN])
{
    memcpy(((struct small_log *)arg)->hash[level][index], hash, HASH_LEN);
}

static int read_node(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_LEN])
{
    memcpy(ret, ((struct small_log *)arg)->hash[level][index], HASH_LEN);
    return 0;
}

static void seal_receipt(struct visit *v)
{
    struct small_log log;
    struct merkle_range range;
    struct checkpoint c = {.size = v->tree_size};
    uint8_t proof[MERKLE_PROOF_MAX][HASH_LEN], leaf[HASH_LEN], filler[8] = {0};
    unsigned count = 0;
    struct buf text, note;
    struct err err;
    merkle_range_init(&range);
    for (uint64_t i = 0; i < v->tree_size; i++) {
        filler[0] = (uint8_t)i;
        merkle_leaf(i == v->receipt_index ? buf_view(&v->entry_bytes) : BYTES_OF(filler), leaf);
        merkle_range_append(&range, leaf, keep_node, &log);
    }
    merkle_range_root(&range, c.root);
    assert_int_equal(merkle_inclusion(v->receipt_index, v->tree_size, read_node, &log, proof, &count), 0);
    memcpy(c.origin, v->signer->log_name, strlen(v->signer->log_name) + 1);
    buf_init(&text, CHECKPOINT_MAX);
    buf_init(&note, CHECKPOINT_MAX);
    checkpoint_text(&c, &text);
    assert_int_equal(note_sign(buf_view(&text), v->signer->log_name, v->signer->secret, &note, &err), 0);
    receipt_make(v->receipt_index, (const uint8_t(*)[HASH_LEN])proof, count, buf_view(&note), &v->receipt_bytes);
    buf_done(&text);
    buf_done(&note);
}

static void seal(struct visit *v)
{
    struct err err = {.code = 0};
    buf_init(&v->body_bytes, LINK_BODY_MAX);
    buf_init(&v->entry_bytes, ENTRY_MAX);
    buf_init(&v->receipt_bytes, RECEIPT_MAX);
    if (link_make(&v->body, &v->body_bytes, &err) != 0)
        fail_msg("%s", err.text);
    buf_put(&v->body_bytes, BYTES(v->append, v->append_len));
    if (!v->keep_link_hash)
        sha256(buf_view(&v->body_bytes), v->link_hash);
    v->entry.index = v->entry_index;
    if (entry_make(&v->entry, &v->entry_bytes, &err) != 0)
        fail_msg("%s", err.text);
    seal_receipt(v);
}

/* ---- the walk */

static void visit_init(struct visit *v, struct keeper *k, uint64_t stage, uint64_t slot)
{
    *v = (struct visit){.keeper = k, .signer = k, .entry_index = 5, .receipt_index = 5, .tree_size = 13};
    v->factors[0].name = bytes_str("device");
    v->body = (struct msg_link_body){.network = bytes_str("example.test"),
                                     .sid = BYTES_OF(sid),
                                     .eid = BYTES_OF(eid),
                                     .chain_hash = BYTES_OF(chain),
                                     .policy_hash = BYTES_OF(policy),
                                     .envelope_hash = BYTES_OF(envelope),
                                     .generation = 7,
                                     .stage = stage,
                                     .slot = slot,
                                     .node = bytes_str(k->name),
                                     .prevhash = BYTES_OF(v->prevhash),
                                     .factors = {v->factors, 1},
                                     .roster_version = 10 + stage,
                                     .status_version = 20 - stage,
                                     .issued_ms = NOW - 100,
                                     .not_after_ms = NOW + 100};
    sha256(answer, v->response_hash);
    v->entry = (struct msg_entry){.type = ENTRY_GRANT,
                                  .time_ms = NOW - 100,
                                  .walk_id = BYTES_OF(walk_id),
                                  .policy_hash = BYTES_OF(policy),
                                  .evidence = BYTES_OF(other),
                                  .subject = BYTES_OF(other),
                                  .secret = BYTES_OF(other),
                                  .link_hash = BYTES_OF(v->link_hash),
                                  .response_hash = BYTES_OF(v->response_hash)};
}

static void walk_init(struct walk *w)
{
    *w = (struct walk){.count = LINKS};
    visit_init(&w->visit[0], &keepers[0], 1, 1);
    visit_init(&w->visit[1], &keepers[2], 1, 3);
    visit_init(&w->visit[2], &keepers[4], 2, 2);
    for (unsigned i = 0; i < 5; i++)
        w->members[i / 3][i % 3] = (struct link_member){i % 3 + 1, bytes_str(keepers[i].name), &keepers[i].key};
    w->stages[0] = (struct link_stage){2, w->members[0], 3};
    w->stages[1] = (struct link_stage){1, w->members[1], 2};
    w->expect = (struct links_expect){.network = bytes_str("example.test"),
                                      .generation = 7,
                                      .now_ms = NOW,
                                      .skew_ms = SKEW,
                                      .stages = w->stages,
                                      .stage_count = 2};
    memcpy(w->expect.sid, sid, HASH_LEN);
    memcpy(w->expect.eid, eid, HASH_LEN);
    memcpy(w->expect.chain_hash, chain, HASH_LEN);
    memcpy(w->expect.policy_hash, policy, HASH_LEN);
    memcpy(w->expect.envelope_hash, envelope, HASH_LEN);
}

static void walk_seal(struct walk *w)
{
    uint8_t hash[LINKS][HASH_LEN];
    for (size_t i = 0; i < LINKS; i++) {
        struct visit *v = &w->visit[i];
        if (!v->keep_prevhash)
            context_prevhash((const uint8_t(*)[HASH_LEN])hash, i < 2 ? 0 : 2, v->prevhash);
        seal(v);
        sha256(buf_view(&v->body_bytes), hash[i]);
        w->links[i] =
            (struct msg_link){buf_view(&v->body_bytes), buf_view(&v->entry_bytes), buf_view(&v->receipt_bytes)};
    }
}

static void walk_done(struct walk *w)
{
    for (size_t i = 0; i < LINKS; i++) {
        buf_done(&w->visit[i].body_bytes);
        buf_done(&w->visit[i].entry_bytes);
        buf_done(&w->visit[i].receipt_bytes);
    }
}

static void test_good(void **state)
{
    (void)state;
    struct walk w;
    struct links_seen seen;
    struct err err = {.code = 0};
    uint8_t hash[LINKS][HASH_LEN], prevhash[HASH_LEN];
    walk_init(&w);
    walk_seal(&w);
    if (links_check(&w.expect, w.links, w.count, &seen, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.roster_version, 12);
    assert_int_equal(seen.status_version, 19);
    for (size_t i = 0; i < LINKS; i++) {
        sha256(w.links[i].body, hash[i]);
        assert_memory_equal(seen.at[i].hash, hash[i], HASH_LEN);
        assert_true(bytes_is(seen.at[i].node, w.visit[i].keeper->name));
        assert_int_equal(seen.at[i].stage, i < 2 ? 1 : 2);
        assert_int_equal(seen.at[i].slot, w.visit[i].body.slot);
        assert_int_equal(seen.at[i].entry_index, 5);
    }
    context_prevhash((const uint8_t(*)[HASH_LEN])hash, 3, prevhash);
    assert_memory_equal(seen.prevhash, prevhash, HASH_LEN);
    /* at the first door there is nothing to show */
    w.expect.stage_count = 0;
    assert_int_equal(links_check(&w.expect, NULL, 0, &seen, &err), 0);
    context_prevhash(NULL, 0, prevhash);
    assert_memory_equal(seen.prevhash, prevhash, HASH_LEN);
    walk_done(&w);
}

/* ---- one thing wrong: before sealing (by the keeper) or after it (by whoever carries the links) */

#define V(n) w->visit[n]
#define BODY(name, field)                                                                                              \
    static void name(struct walk *w)                                                                                   \
    {                                                                                                                  \
        V(1).body.field = BYTES_OF(other);                                                                             \
    }
BODY(other_session, sid)
BODY(other_session_key, eid)
BODY(other_chain, chain_hash)
BODY(other_policy, policy_hash)
BODY(other_envelope, envelope_hash)

static void other_network(struct walk *w)
{
    V(1).body.network = bytes_str("example.other");
}
static void other_generation(struct walk *w)
{
    V(1).body.generation = 6;
}
static void other_stage_named(struct walk *w)
{
    V(2).body.stage = 1;
}
static void unlisted_slot(struct walk *w)
{
    V(1).body.slot = 4;
}
static void other_slot_of_the_stage(struct walk *w)
{
    V(1).body.slot = 2; /* n3 says that it is n2 */
}
static void node_from_elsewhere(struct walk *w)
{
    V(2).body.node = bytes_str(keepers[5].name);
    V(2).signer = &keepers[5];
}
static void earlier_alternate_for_later_stage(struct walk *w)
{
    V(2).body.node = bytes_str(keepers[1].name); /* n2, which stage 1 left over */
    V(2).signer = &keepers[1];
}
static void issued_in_the_future(struct walk *w)
{
    V(1).body.issued_ms = NOW + SKEW + 1;
}
static void over(struct walk *w)
{
    V(1).body.not_after_ms = NOW - SKEW - 1;
}
static void other_prevhash(struct walk *w)
{
    memcpy(V(2).prevhash, other, HASH_LEN);
    V(2).keep_prevhash = true;
}
static void prevhash_at_stage_one(struct walk *w)
{
    memcpy(V(0).prevhash, other, HASH_LEN);
    V(0).keep_prevhash = true;
}
static void only_a_reissue(struct walk *w)
{
    V(1).entry.type = ENTRY_REISSUE;
}
static void only_a_document(struct walk *w)
{
    V(1).entry = (struct msg_entry){.type = ENTRY_DOCUMENT, .time_ms = NOW, .document_hash = BYTES_OF(V(1).link_hash)};
}
static void entry_of_other_body(struct walk *w)
{
    memcpy(V(1).link_hash, other, HASH_LEN);
    V(1).keep_link_hash = true;
}
static void entry_of_other_walk(struct walk *w)
{
    V(1).entry.walk_id = BYTES_OF(other_walk_id);
}
static void entry_under_other_policy(struct walk *w)
{
    V(1).entry.policy_hash = BYTES_OF(other);
}
static void other_index_in_the_entry(struct walk *w)
{
    V(1).entry_index = 4;
}
static void in_the_log_of_another_member(struct walk *w)
{
    V(1).signer = &keepers[1];
}
static void revoked(struct walk *w)
{
    w->members[0][2].log = NULL;
}
static struct keeper rotated;
static void signed_by_a_rotated_key(struct walk *w)
{
    V(1).signer = &rotated;
}
static void key_of_another_log_in_the_roster(struct walk *w)
{
    w->members[0][2].log = &keepers[1].key;
    V(1).signer = &keepers[1];
}
static void node_twice_in_the_chain(struct walk *w)
{
    w->members[0][2] = w->members[0][0];
    w->members[0][2].slot = 3;
    V(1).body.node = bytes_str(keepers[0].name);
    V(1).signer = &keepers[0];
}
static void unknown_field(struct walk *w)
{
    V(1).append = "\x98\x06\x01"; /* field 99 */
    V(1).append_len = 3;
}
static void duplicate_field(struct walk *w)
{
    V(1).append = "\x80\x01\xe4\x84\x3d"; /* not_after_ms once more */
    V(1).append_len = 5;
}

static void no_links(struct walk *w)
{
    w->count = 0;
}
static void one_link_short(struct walk *w)
{
    w->count = 2;
}
static void first_stage_short(struct walk *w)
{
    w->links[1] = w->links[2];
    w->count = 2;
}
static void first_stage_skipped(struct walk *w)
{
    w->links[0] = w->links[2];
    w->count = 1;
}
static void one_link_more(struct walk *w)
{
    w->links[w->count++] = w->links[2];
}
static void the_same_twice(struct walk *w)
{
    w->links[1] = w->links[0];
}
static void out_of_order(struct walk *w)
{
    struct msg_link first = w->links[0];
    w->links[0] = w->links[1];
    w->links[1] = first;
}
static void need_is_more(struct walk *w)
{
    w->stages[0].need = 3;
}
static void need_is_nothing(struct walk *w)
{
    w->stages[1].need = 0;
    w->count = 2;
}
static void receipt_of_another_entry(struct walk *w)
{
    w->links[1].receipt = w->links[0].receipt;
    w->members[0][2].log = &keepers[0].key;
}
static void entry_swapped(struct walk *w)
{
    w->links[1].entry = w->links[0].entry;
}
static void body_flipped(struct walk *w)
{
    uint8_t *p = memmem(V(1).body_bytes.p, V(1).body_bytes.len, "device", 6);
    assert_non_null(p);
    *p = 'x'; /* a factor that was not met */
}
static void body_cut(struct walk *w)
{
    w->links[1].body.len--;
}
static void entry_cut(struct walk *w)
{
    w->links[1].entry.len--;
}
static void receipt_cut(struct walk *w)
{
    w->links[1].receipt.len = 30;
}
/* Writes over a piece of the receipt of the same length. */
static void overwrite(struct visit *v, const char *at, const char *with)
{
    uint8_t *p = memmem(v->receipt_bytes.p, v->receipt_bytes.len, at, strlen(at));
    assert_non_null(p);
    memcpy(p, with, strlen(with));
}
static void wrong_index_in_the_receipt(struct walk *w)
{
    overwrite(&V(1), "index 5", "index 4");
}
static void wrong_size_in_the_receipt(struct walk *w)
{
    overwrite(&V(1), "log\n13\n", "log\n12\n");
}
static void wrong_proof(struct walk *w)
{
    uint8_t *p = &V(1).receipt_bytes.p[40];
    *p = *p == 'A' ? 'B' : 'A';
}

static const struct {
    const char *name;
    void (*before)(struct walk *w), (*after)(struct walk *w);
    int code;
    const char *words;
} cases[] = {
#define B(f, code, words)                                                                                              \
    {                                                                                                                  \
#f, f, NULL, code, words                                                                                       \
    }
#define A(f, code, words)                                                                                              \
    {                                                                                                                  \
#f, NULL, f, code, words                                                                                       \
    }
    B(other_network, ERR_LINK, "another network"),
    B(other_session, ERR_LINK, "another session"),
    B(other_session_key, ERR_LINK, "another session key"),
    B(other_chain, ERR_LINK, "another chain"),
    B(other_policy, ERR_LINK, "another policy"),
    B(other_envelope, ERR_LINK, "another envelope"),
    B(other_generation, ERR_LINK, "generation 6 instead of 7"),
    B(other_stage_named, ERR_LINK, "of stage 1 instead of 2"),
    B(unlisted_slot, ERR_LINK, "slot 4 is not in the chain"),
    B(other_slot_of_the_stage, ERR_LINK, "of another node than the chain lists"),
    B(node_from_elsewhere, ERR_LINK, "of another node than the chain lists"),
    B(earlier_alternate_for_later_stage, ERR_LINK, "of another node than the chain lists"),
    B(issued_in_the_future, ERR_LINK, "issued in the future"),
    B(over, ERR_LINK, "its time is over"),
    B(other_prevhash, ERR_LINK, "made after other links"),
    B(prevhash_at_stage_one, ERR_LINK, "made after other links"),
    B(only_a_reissue, ERR_LINK, "only a grant counts"),
    B(only_a_document, ERR_LINK, "only a grant counts"),
    B(entry_of_other_body, ERR_LINK, "for another link body"),
    B(entry_of_other_walk, ERR_LINK, "of another walk"),
    B(entry_under_other_policy, ERR_LINK, "under another policy"),
    B(other_index_in_the_entry, ERR_LINK, "says number 4, its receipt 5"),
    B(in_the_log_of_another_member, ERR_SIGNATURE, "not signed by example.test/n3/log"),
    B(revoked, ERR_LINK, "not in the roster"),
    B(signed_by_a_rotated_key, ERR_SIGNATURE, "not signed by example.test/n3/log"),
    B(key_of_another_log_in_the_roster, ERR_LINK, "not its node's log"),
    B(node_twice_in_the_chain, ERR_LINK, "node n1 counts once"),
    B(unknown_field, ERR_LINK, "link 2"),
    B(duplicate_field, ERR_LINK, "link 2"),
    A(no_links, ERR_LINK, "stage 1: 0 links of the 2 needed"),
    A(one_link_short, ERR_LINK, "stage 2: 0 links of the 1 needed"),
    A(first_stage_short, ERR_LINK, "of stage 2 instead of 1"),
    A(first_stage_skipped, ERR_LINK, "stage 1: 1 links of the 2 needed"),
    A(one_link_more, ERR_LINK, "4 links where 3 are needed"),
    A(the_same_twice, ERR_LINK, "there twice, or out of order"),
    A(out_of_order, ERR_LINK, "there twice, or out of order"),
    A(need_is_more, ERR_LINK, "of stage 2 instead of 1"),
    A(need_is_nothing, ERR_LINK, "stage 2"),
    A(receipt_of_another_entry, ERR_PROOF, "is not number 5"),
    A(entry_swapped, ERR_LINK, "for another link body"),
    A(body_flipped, ERR_LINK, "for another link body"),
    A(body_cut, ERR_LINK, "link 2"),
    A(entry_cut, ERR_LINK, "link 2"),
    A(receipt_cut, ERR_LINK, "receipt"),
    A(wrong_index_in_the_receipt, ERR_PROOF, "is not number 4"),
    A(wrong_size_in_the_receipt, ERR_SIGNATURE, ""),
    A(wrong_proof, ERR_PROOF, "is not number 5"),
};

static void test_refusals(void **state)
{
    (void)state;
    keeper_init(&rotated, 13);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct walk w;
        struct links_seen seen;
        struct err err = {.code = 0};
        walk_init(&w);
        if (cases[i].before != NULL)
            cases[i].before(&w);
        walk_seal(&w);
        if (cases[i].after != NULL)
            cases[i].after(&w);
        int rc = links_check(&w.expect, w.links, w.count, &seen, &err);
        if (rc != cases[i].code || err.code != rc || strstr(err.text, cases[i].words) == NULL)
            fail_msg("%s: %d, %s", cases[i].name, rc, err.text);
        walk_done(&w);
    }
    ed25519_key_free(rotated.secret);
}

static void test_within_the_skew(void **state)
{
    (void)state;
    struct walk w;
    struct links_seen seen;
    struct err err = {.code = 0};
    walk_init(&w);
    w.visit[0].body.issued_ms = NOW + SKEW;
    w.visit[1].body.not_after_ms = NOW - SKEW;
    walk_seal(&w);
    assert_int_equal(links_check(&w.expect, w.links, w.count, &seen, &err), 0);
    w.expect.now_ms = 1; /* no wrap below zero */
    w.expect.skew_ms = UINT64_MAX;
    assert_int_equal(links_check(&w.expect, w.links, w.count, &seen, &err), 0);
    walk_done(&w);
}

static void test_too_many(void **state)
{
    (void)state;
    static struct msg_link many[LINK_COUNT_MAX + 1];
    struct walk w;
    struct links_seen seen;
    struct err err = {.code = 0};
    walk_init(&w);
    assert_int_equal(links_check(&w.expect, many, LINK_COUNT_MAX + 1, &seen, &err), ERR_LINK);
    assert_string_equal(err.text, "too many links");
    w.expect.stage_count = STAGE_MAX + 1;
    err.text[0] = '\0';
    assert_int_equal(links_check(&w.expect, many, 0, &seen, &err), ERR_LINK);
    assert_string_equal(err.text, "too many links");
}

/* ---- the workload's check of one link with the answer that came with it */

static void test_one_link(void **state)
{
    (void)state;
    struct walk w;
    struct link_seen seen;
    struct err err = {.code = 0};
    walk_init(&w);
    walk_seal(&w);
    const struct link_member *from = &w.members[1][1];
    assert_int_equal(link_check(&w.expect, &w.links[2], 2, from, w.visit[2].prevhash, answer, &seen, &err), 0);
    assert_int_equal(seen.slot, 2);
    assert_true(bytes_is(seen.node, "n5"));
    const struct bytes wrong = bytes_str("the Answer");
    assert_int_equal(link_check(&w.expect, &w.links[2], 2, from, w.visit[2].prevhash, wrong, &seen, &err), ERR_LINK);
    assert_non_null(strstr(err.text, "for another answer"));
    assert_non_null(strstr(err.text, "node n5"));
    assert_int_equal(link_check(&w.expect, &w.links[2], 2, from, other, answer, &seen, &err), ERR_LINK);
    assert_int_equal(link_check(&w.expect, &w.links[2], 1, from, w.visit[2].prevhash, answer, &seen, &err), ERR_LINK);
    w.members[1][1].slot = 3;
    assert_int_equal(link_check(&w.expect, &w.links[2], 2, from, w.visit[2].prevhash, answer, &seen, &err), ERR_LINK);
    assert_non_null(strstr(err.text, "of slot 2 instead of 3"));
    from = &w.members[1][0];
    assert_int_equal(link_check(&w.expect, &w.links[2], 2, from, w.visit[2].prevhash, answer, &seen, &err), ERR_LINK);
    walk_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),     cmocka_unit_test(test_refusals), cmocka_unit_test(test_within_the_skew),
        cmocka_unit_test(test_too_many), cmocka_unit_test(test_one_link),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
