/* story_crash: a node dies at every step between verification and answer, comes back and is asked again. */
#include "tests/sim/story.h"

#define BUDGET_MS 30000u

/* Whoever crashes before the commit has granted nothing; whoever crashes after it has granted, and says so again. */
static void crash_at(unsigned node, enum point p)
{
    struct sim *s = story_world(SIM_NODES);
    struct workload *w = workload_new(s, (struct workload_settings){.pinned = true, .stubborn = true});
    bool granted = p >= POINT_COMMITTED;
    STORY_ARM(s, node, p, true);
    workload_start(w);
    while (s->fault.armed && s->now_ms < BUDGET_MS)
        (void)sim_step(s);
    assert_int_equal(s->node[node]->crashes, 1);
    assert_int_equal(oracle_node_grants(s->oracle, node), granted ? 1 : 0);
    assert_int_equal(disk_count(s->node[node]->disk, STORE_GRANTS), granted ? 1 : 0);
    if (!sim_until(s, workload_opened(w), BUDGET_MS))
        story_fail(s, "the walk does not end");
    assert_int_equal(oracle_node_grants(s->oracle, node), 1);
    assert_int_equal(oracle_counts(s->oracle).grants, 4);
    assert_int_equal(oracle_counts(s->oracle).reissues, granted ? 1 : 0);
    story_end(s);
}

static void test_every_point(void **state)
{
    static const unsigned nodes[] = {0, 2, 5}; /* one of each stage */
    (void)state;
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
        for (enum point p = 0; p < POINT_COUNT; p++)
            crash_at(nodes[i], p);
}

/* The one told line by line: committed, not signed. The new process signs first. */
static void test_unsigned(void **state)
{
    static const char *const lines[] = {"n1 > entry 6: grant",
                                        "n1 > crashes after the commit",
                                        "n1 > token signs a tree of 7",
                                        "n1 > ready, 7 entries",
                                        "n1 > entry 7: start",
                                        "n1 > begin stage 1 from w1",
                                        "n1 > challenge to w1",
                                        "n1 > attest from w1",
                                        "n1 > release, entry 6",
                                        "w1 > has stage 1",
                                        NULL};
    struct sim *s = story_world(1);
    size_t from = s->trace.len;
    (void)state;
    struct workload *w = workload_new(s, (struct workload_settings){.pinned = true, .stages = 1, .stubborn = true});
    STORY_ARM(s, 0, POINT_COMMITTED, true);
    workload_start(w);
    if (!sim_until(s, workload_opened(w), BUDGET_MS))
        story_fail(s, "the walk does not end");
    story_tells(s, from, lines);
    story_end(s);
}

/* Twice in a row: at p in the first life, at q in the second. */
static void test_twice(void **state)
{
    (void)state;
    for (enum point p = 0; p < POINT_COUNT; p++)
        for (enum point q = 0; q < POINT_COUNT; q++) {
            struct sim *s = story_world(1);
            struct workload *w =
                workload_new(s, (struct workload_settings){.pinned = true, .stages = 1, .stubborn = true});
            STORY_ARM(s, 0, p, true);
            workload_start(w);
            while (s->fault.armed && s->now_ms < BUDGET_MS)
                (void)sim_step(s);
            STORY_ARM(s, 0, q, true); /* not every point is passed by a reissue */
            if (!sim_until(s, workload_opened(w), BUDGET_MS))
                story_fail(s, "the walk does not end");
            assert_int_equal(oracle_counts(s->oracle).grants, 1);
            story_end(s);
        }
}

int stories_crash(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_point),
        cmocka_unit_test(test_unsigned),
        cmocka_unit_test(test_twice),
    };
    return cmocka_run_group_tests_name("crashes", tests, NULL, NULL);
}
