/* story_storage: every call of the store fails once, in a visit and at a start. */
#include "tests/sim/story.h"

#define BUDGET_MS 20000u
#define CALLS_MAX 400u

static const enum disk_fault faults[] = {DISK_EIO, DISK_ENOSPC, DISK_SYNC};
#define FAULT_COUNT (sizeof(faults) / sizeof(faults[0]))

/* again: in the visit that asks for the same answer once more. False: the visit was over before that call. */
static bool fail_in_visit(unsigned nth, enum disk_fault fault, bool again)
{
    struct sim *s = story_world(1);
    struct sim_node *n = s->node[0];
    struct workload *w = workload_new(s, (struct workload_settings){.pinned = true, .stages = 1, .stubborn = true});
    s->fault = (struct sim_fault){.armed = again, .node = 0, .point = POINT_SENT};
    workload_start(w);
    while (s->fault.armed)
        (void)sim_step(s);
    disk_fail(n->disk, nth, fault);
    if (!sim_until(s, workload_opened(w), BUDGET_MS))
        story_fail(s, "the disk is well again and nothing happens");
    bool failed = disk_has_failed(n->disk);
    assert_int_equal(oracle_counts(s->oracle).grants, 1);
    disk_fail(n->disk, 0, DISK_SOUND);
    sim_node_crash(n, "so that it must start again");
    sim_run(s, 2000);
    if (!sim_node_serves(n))
        story_fail(s, "it does not start again");
    story_end(s);
    return failed;
}

static void fail_each(bool again)
{
    for (size_t f = 0; f < FAULT_COUNT; f++) {
        unsigned nth = 1;
        while (nth < CALLS_MAX && fail_in_visit(nth, faults[f], again))
            nth++;
        assert_in_range(nth, 15, CALLS_MAX - 1); /* so many calls a visit makes at least */
    }
}

static void test_visit(void **state)
{
    (void)state;
    fail_each(false);
}

static void test_reissue(void **state)
{
    (void)state;
    fail_each(true);
}

/* A node with a grant in its book starts again on a disk that fails once, until it succeeds. */
static bool fail_in_start(unsigned nth, enum disk_fault fault)
{
    struct sim *s = story_world(1);
    struct sim_node *n = s->node[0];
    struct workload *w = workload_new(s, (struct workload_settings){.pinned = true, .stages = 1, .stubborn = true});
    workload_start(w);
    if (!sim_until(s, workload_opened(w), BUDGET_MS))
        story_fail(s, "the walk does not end");
    sim_node_crash(n, "so that it must start again");
    disk_fail(n->disk, nth, fault);
    sim_run(s, 8000);
    bool failed = disk_has_failed(n->disk);
    if (!sim_node_serves(n))
        story_fail(s, "it does not start again");
    story_end(s);
    return failed;
}

static void test_start(void **state)
{
    (void)state;
    for (size_t f = 0; f < FAULT_COUNT; f++) {
        unsigned nth = 1;
        while (nth < CALLS_MAX && fail_in_start(nth, faults[f]))
            nth++;
        assert_in_range(nth, 15, CALLS_MAX);
    }
}

int stories_storage(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_visit),
        cmocka_unit_test(test_reissue),
        cmocka_unit_test(test_start),
    };
    return cmocka_run_group_tests_name("storage", tests, NULL, NULL);
}
