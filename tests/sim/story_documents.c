/* story_documents: a revocation or a halt arrives at every moment of a visit. */
#include "tests/sim/story.h"

#define VISIT_MS 60u

enum what { HALT_NETWORK, HALT_NODE, HALT_POLICY, REVOKE_NODE, REVOKE_DEVICE, REVOKE_CHAIN, WHAT_COUNT };

static struct document *forbid(struct sim *s, const struct workload *w, enum what what)
{
    struct revocation r = {.kind = what == REVOKE_NODE     ? REVOKED_NODE
                                   : what == REVOKE_DEVICE ? REVOKED_DEVICE
                                                           : REVOKED_CHAIN};
    struct halt h = {.network = what == HALT_NETWORK};
    bool halts = what <= HALT_POLICY;
    if (what == REVOKE_CHAIN)
        memcpy(r.hash, workload_chain_hash(w), HASH_LEN);
    else
        (void)snprintf(r.id, sizeof(r.id), "%s", what == REVOKE_NODE ? "n1" : "w1");
    if (what == HALT_NODE)
        (void)snprintf(h.node, sizeof(h.node), "n1");
    if (what == HALT_POLICY)
        (void)snprintf(h.policy, sizeof(h.policy), CAST_POLICY);
    return cast_status(s->cast, 2, CAST_T0_MS + s->now_ms, &r, halts ? 0 : 1, &h, halts ? 1 : 0);
}

/* The oracle sees that nothing is released after the acceptance. True: it was released before. */
static bool forbid_at(enum what what, uint64_t ms)
{
    struct sim *s = story_world(1);
    struct workload *w = workload_new(s, (struct workload_settings){.pinned = true, .stages = 1, .stubborn = true});
    workload_start(w);
    sim_run(s, ms);
    s->status[2] = forbid(s, w, what);
    s->status_count = 2;
    sim_node_give(s->node[0], s->status[2]->note);
    sim_run(s, 3000);
    bool released = oracle_counts(s->oracle).releases > 0;
    const struct document *held = shelf_find(s->node[0]->run->node.shelf, DOCUMENT_STATUS, BYTES_NONE);
    assert_int_equal(held->version, 2);
    if (!released)
        assert_true(oracle_counts(s->oracle).denials > 0);
    story_end(s);
    return released;
}

static void test_every_moment(void **state)
{
    (void)state;
    for (enum what what = 0; what < WHAT_COUNT; what++) {
        unsigned released = 0, refused = 0;
        for (uint64_t ms = 0; ms <= VISIT_MS; ms++)
            *(forbid_at(what, ms) ? &released : &refused) += 1;
        assert_true(released > 0 && refused > 0); /* both sides of the moment were met */
    }
}

/* What a node forbids stays forbidden after a crash at any step, since the document is on the disk with its entry. */
static void test_after_crash(void **state)
{
    struct sim *s = story_world(1);
    (void)state;
    struct workload *w = workload_new(s, (struct workload_settings){.pinned = true, .stages = 1, .stubborn = true});
    workload_start(w);
    s->status[2] = forbid(s, w, REVOKE_DEVICE);
    s->status_count = 2;
    sim_node_give(s->node[0], s->status[2]->note);
    sim_run(s, 200);
    sim_node_crash(s->node[0], "after it has accepted");
    sim_run(s, 5000);
    assert_true(sim_node_serves(s->node[0]));
    assert_false(*workload_opened(w));
    assert_int_equal(oracle_last_denial(s->oracle), ERR_REVOKED);
    assert_int_equal(oracle_counts(s->oracle).releases, 0);
    story_end(s);
}

/* A workload that knows more than the node hands it over, and is judged by it. */
static void test_handed_over(void **state)
{
    static const char *const lines[] = {"n1 > begin stage 1 from w1", "n1 > need_documents to w1",
                                        "n1 > documents from w1",     "n1 > begin stage 1 from w1",
                                        "n1 > deny w1: halted",       NULL};
    struct sim *s = story_world(1);
    size_t from = s->trace.len;
    (void)state;
    struct workload *w = workload_new(s, (struct workload_settings){.pinned = true, .stages = 1, .stubborn = true});
    s->status[2] = forbid(s, w, HALT_POLICY);
    s->status_count = 2;
    workload_learn(w, 2);
    workload_start(w);
    sim_run(s, 1000);
    story_tells(s, from, lines);
    assert_int_equal(oracle_counts(s->oracle).releases, 0);
    story_end(s);
}

int stories_documents(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_moment),
        cmocka_unit_test(test_after_crash),
        cmocka_unit_test(test_handed_over),
    };
    return cmocka_run_group_tests_name("documents", tests, NULL, NULL);
}
