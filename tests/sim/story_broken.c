/* story_broken: every property fails when the world is broken in the way that it is there to notice. */
#include "tests/sim/scenario.h"
#include "tests/sim/story.h"

#define BUDGET_MS 5000u

static struct workload *visitor(struct sim *s)
{
    return workload_new(s, (struct workload_settings){.pinned = true, .stages = 1, .stubborn = true, .pause_ms = 100});
}

static void visit(struct sim *s)
{
    struct workload *w = visitor(s);
    workload_start(w);
    sim_run(s, BUDGET_MS);
}

static void visit_twice(struct sim *s)
{
    visit(s);
    visit(s);
}

static void lose_answers(struct sim *s)
{
    struct workload *w = visitor(s);
    workload_start(w);
    for (unsigned i = 0; i < 5; i++) {
        STORY_ARM(s, 0, POINT_SENT, false);
        while (s->fault.armed && s->now_ms < BUDGET_MS)
            (void)sim_step(s);
    }
    sim_run(s, 1000);
}

static void crash_in_commit(struct sim *s)
{
    STORY_ARM(s, 0, POINT_WRITTEN, true);
    visit(s);
}

static void crash_after_visit(struct sim *s)
{
    disk_keep(s->node[0]->disk);
    visit(s);
    sim_node_crash(s->node[0], "and comes back");
    sim_run(s, 2000);
}

static void crash_and_judge(struct sim *s)
{
    s->node[0]->stays_down = true;
    sim_node_crash(s->node[0], "for good");
    oracle_judge(s->oracle, s->node[0]);
}

static void forget_commit(struct sim *s)
{
    disk_keep(s->node[0]->disk);
    visit(s);
}

static void revoke_midway(struct sim *s)
{
    const struct revocation r = {.kind = REVOKED_DEVICE, .id = "w1"};
    workload_start(visitor(s));
    while (oracle_counts(s->oracle).grants == 0)
        (void)sim_step(s);
    sim_run(s, 10);
    s->status[2] = cast_status(s->cast, 2, CAST_T0_MS + s->now_ms, &r, 1, NULL, 0);
    s->status_count = 2;
    sim_node_give(s->node[0], s->status[2]->note);
    sim_run(s, 1000);
}

static void walk_all(struct sim *s)
{
    for (unsigned i = 1; i < SIM_NODES; i++)
        sim_node_start(s->node[i]);
    sim_run(s, 300);
    workload_start(workload_new(s, (struct workload_settings){.device = 0}));
    sim_run(s, BUDGET_MS);
}

static const struct {
    enum sabotage sabotage;
    void (*story)(struct sim *s);
} table[] = {
    {SABOTAGE_NO_SYNC, visit},
    {SABOTAGE_LOST_ENTRY, forget_commit},
    {SABOTAGE_ALTERED_ANSWER, lose_answers},
    {SABOTAGE_FORGETFUL_GRANTS, lose_answers},
    {SABOTAGE_FORGETFUL_COUNT, lose_answers},
    {SABOTAGE_FORGETFUL_QUOTA, visit_twice},
    {SABOTAGE_SPLIT_COMMIT, crash_in_commit},
    {SABOTAGE_ALTERED_ENTRY, crash_and_judge},
    {SABOTAGE_TORN_COMMIT, crash_in_commit},
    {SABOTAGE_ROLLBACK, crash_after_visit},
    {SABOTAGE_LATE_SEND, revoke_midway},
    {SABOTAGE_SWAPPED_SLOTS, walk_all},
};
#define TABLE_COUNT (sizeof(table) / sizeof(table[0]))

static void run(size_t i, enum sabotage sabotage, const char *property)
{
    struct sim *s = story_world(1);
    s->sabotage = sabotage;
    table[i].story(s);
    if (strcmp(s->violated, property) != 0) {
        (void)fprintf(stderr, "%s under %s: '%s' instead of '%s'\n", sabotage_name(table[i].sabotage),
                      sabotage_name(sabotage), s->violated, property);
        story_fail(s, s->why);
    }
    sim_free(s);
}

/* With the sabotage its property fails, and first; without it the same story violates nothing. */
static void test_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        run(i, table[i].sabotage, sabotage_property(table[i].sabotage));
        run(i, SABOTAGE_NONE, "");
    }
}

static void test_live(void **state)
{
    (void)state;
    struct scenario_result r = scenario_run(1, SABOTAGE_NEVER_HEAL, false);
    assert_string_equal(r.violated, sabotage_property(SABOTAGE_NEVER_HEAL));
}

static void test_complete(void **state)
{
    (void)state;
    assert_int_equal(TABLE_COUNT + 2, SABOTAGE_COUNT); /* NONE and NEVER_HEAL */
}

int stories_broken(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each),
        cmocka_unit_test(test_live),
        cmocka_unit_test(test_complete),
    };
    return cmocka_run_group_tests_name("broken worlds", tests, NULL, NULL);
}
