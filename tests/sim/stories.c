/* stories: walks in a small network, told line by line. */
#include "tests/sim/story.h"

#define BUDGET_MS 30000u

static void walk_to_end(struct sim *s, struct workload *w)
{
    workload_start(w);
    if (!sim_until(s, workload_opened(w), BUDGET_MS))
        story_fail(s, "the walk does not end");
}

/* ---- everything is well */

static void test_happy(void **state)
{
    static const char *const lines[] = {"n1 > begin stage 1 from w1",
                                        "n1 > challenge to w1",
                                        "n1 > attest from w1",
                                        "n1 > token wraps a share",
                                        "n1 > entry 6: grant",
                                        "n1 > token signs a tree of 7",
                                        "n1 > release, entry 6",
                                        "w1 > has stage 1",
                                        "n3 > begin stage 2 from w1",
                                        "n4 > begin stage 2 from w1",
                                        "n3 > challenge to w1",
                                        "n4 > challenge to w1",
                                        "n3 > attest from w1",
                                        "n4 > attest from w1",
                                        "n3 > token wraps a share",
                                        "n4 > token wraps a share",
                                        "n3 > entry 6: grant",
                                        "n4 > entry 6: grant",
                                        "n3 > token signs a tree of 7",
                                        "n4 > token signs a tree of 7",
                                        "n3 > release, entry 6",
                                        "n4 > release, entry 6",
                                        "w1 > has stage 2",
                                        "n6 > begin stage 3 from w1",
                                        "n6 > challenge to w1",
                                        "n6 > attest from w1",
                                        "n6 > token wraps a share",
                                        "n6 > entry 6: grant",
                                        "n6 > token signs a tree of 7",
                                        "n6 > release, entry 6",
                                        "w1 > has stage 3",
                                        "w1 > opens the secret",
                                        NULL};
    struct sim *s = story_world(SIM_NODES);
    size_t from = s->trace.len;
    uint64_t began_ms = s->now_ms;
    (void)state;
    walk_to_end(s, workload_new(s, (struct workload_settings){.device = 0}));
    story_is(s, from, lines);
    assert_true(s->now_ms - began_ms < 300); /* three stages of some 50 ms each */
    story_end(s);
}

/* ---- an answer is lost */

static void lose_answer(enum point p)
{
    static const char *const lines[] = {"n1 > begin stage 1 from w1",
                                        "n1 > entry 6: grant",
                                        "n1 > token signs a tree of 7",
                                        "n1 > begin stage 1 from w1",
                                        "n1 > challenge to w1",
                                        "n1 > attest from w1",
                                        "n1 > entry 7: reissue",
                                        "n1 > token signs a tree of 8",
                                        "w1 > has stage 1",
                                        "w1 > opens the secret",
                                        NULL};
    struct sim *s = story_world(SIM_NODES);
    size_t from = s->trace.len;
    STORY_ARM(s, 0, p, false);
    walk_to_end(s, workload_new(s, (struct workload_settings){.pinned = true}));
    story_tells(s, from, lines);
    assert_int_equal(oracle_counts(s->oracle).grants, 4);
    assert_int_equal(oracle_counts(s->oracle).reissues, 1);
    story_end(s);
}

static void test_answer_lost(void **state)
{
    (void)state;
    lose_answer(POINT_SEND); /* never sent */
    lose_answer(POINT_SENT); /* sent; the oracle compares the bytes of both */
}

/* Lost again and again: three times it comes back, then never. */
static void test_too_often(void **state)
{
    struct sim *s = story_world(1);
    (void)state;
    struct workload *w =
        workload_new(s, (struct workload_settings){.pinned = true, .stages = 1, .stubborn = true, .pause_ms = 100});
    workload_start(w);
    for (unsigned i = 0; i < 4; i++) {
        STORY_ARM(s, 0, POINT_SENT, false);
        while (s->fault.armed && s->now_ms < 60000)
            (void)sim_step(s);
    }
    sim_run(s, 10000);
    assert_false(*workload_opened(w));
    assert_int_equal(oracle_counts(s->oracle).grants, 1);
    assert_int_equal(oracle_counts(s->oracle).reissues, 3);
    assert_int_equal(oracle_last_denial(s->oracle), ERR_REISSUE);
    story_end(s);
}

/* ---- twins: one session, many connections at once */

static void test_twins(void **state)
{
    struct sim *s = story_world(1);
    struct workload *w[SIM_WORKLOADS_MAX];
    unsigned opened = 0;
    (void)state;
    for (unsigned i = 0; i < SIM_WORKLOADS_MAX; i++) {
        w[i] = workload_new(s, (struct workload_settings){
                                   .pinned = true, .stages = 1, .stubborn = true, .twin_of = i > 0 ? w[0] : NULL});
        workload_start(w[i]);
    }
    sim_run(s, BUDGET_MS);
    for (unsigned i = 0; i < SIM_WORKLOADS_MAX; i++)
        opened += *workload_opened(w[i]);
    assert_int_equal(oracle_counts(s->oracle).grants, 1);
    assert_true(oracle_counts(s->oracle).busy > 0);
    assert_int_equal(opened, 1 + 3); /* the grant and its reissues */
    assert_int_equal(oracle_counts(s->oracle).reissues, 3);
    story_end(s);
}

/* ---- a member is away */

static void test_partition(void **state)
{
    static const char *const lines[] = {"n2 > begin stage 1 from w1", "n2 > release, entry 6", "w1 > has stage 1",
                                        "w1 > opens the secret", NULL};
    struct sim *s = story_world(SIM_NODES);
    size_t from = s->trace.len;
    (void)state;
    s->node[0]->partitioned = true;
    walk_to_end(s, workload_new(s, (struct workload_settings){.device = 0}));
    story_tells(s, from, lines);
    assert_int_equal(oracle_node_grants(s->oracle, 0), 0);
    s->node[0]->partitioned = false;
    story_end(s);
}

/* Cut off after its challenge: what it had granted by then is asked for elsewhere, and nothing is lost. */
static void test_partition_midway(void **state)
{
    (void)state;
    for (uint64_t ms = 0; ms < 60; ms += 3) {
        struct sim *s = story_world(SIM_NODES);
        struct workload *w = workload_new(s, (struct workload_settings){.device = 0});
        workload_start(w);
        sim_run(s, ms);
        s->node[0]->partitioned = true;
        if (!sim_until(s, workload_opened(w), BUDGET_MS))
            story_fail(s, "the walk does not end");
        s->node[0]->partitioned = false;
        sim_run(s, 1000);
        story_end(s);
    }
}

/* ---- the token */

static void test_token(void **state)
{
    static const enum token_mode modes[] = {TOKEN_AWAY, TOKEN_FAILS, TOKEN_HANGS, TOKEN_NO_SIGN};
    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct sim *s = story_world(1);
        struct workload *w = workload_new(s, (struct workload_settings){.pinned = true, .stages = 1, .stubborn = true});
        s->node[0]->token_mode = modes[i];
        workload_start(w);
        sim_run(s, 8000);
        assert_false(*workload_opened(w));
        assert_int_equal(oracle_counts(s->oracle).releases, 0);
        assert_int_equal(oracle_counts(s->oracle).grants, modes[i] == TOKEN_NO_SIGN ? 1 : 0);
        assert_true(oracle_counts(s->oracle).denials > 0);
        s->node[0]->token_mode = TOKEN_SOUND;
        if (!sim_until(s, workload_opened(w), 8000))
            story_fail(s, "the token is back and nothing happens");
        assert_int_equal(oracle_counts(s->oracle).grants, 1);
        story_end(s);
    }
}

/* ---- the clock */

/* A node that was an hour ahead is never believed to be earlier than its own last entry. */
static void test_clock(void **state)
{
    struct sim *s = sim_new(1, false);
    (void)state;
    s->node[0]->clock_offset_ms = 3600000;
    sim_node_start(s->node[0]);
    sim_run(s, 500);
    struct workload *w = workload_new(s, (struct workload_settings){.pinned = true, .stages = 1, .pause_ms = 60000});
    s->node[0]->clock_offset_ms = 0;
    workload_start(w);
    sim_run(s, 3400000);
    assert_false(*workload_opened(w));
    assert_int_equal(oracle_last_denial(s->oracle), ERR_CLOCK);
    if (!sim_until(s, workload_opened(w), 300000))
        story_fail(s, "an hour has passed");
    story_end(s);
}

int stories_walk(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_happy), cmocka_unit_test(test_answer_lost), cmocka_unit_test(test_too_often),
        cmocka_unit_test(test_twins), cmocka_unit_test(test_partition),   cmocka_unit_test(test_partition_midway),
        cmocka_unit_test(test_token), cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests_name("walks", tests, NULL, NULL);
}
