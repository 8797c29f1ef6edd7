/* stories: what happens in a small network, told line by line, and what must hold in each story. */
#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include "tests/sim/workload.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static struct sim *world(unsigned nodes)
{
    struct sim *s = sim_new(1, false);
    for (unsigned i = 0; i < nodes; i++)
        sim_node_start(s->node[i]);
    sim_run(s, 300);
    for (unsigned i = 0; i < nodes; i++)
        assert_true(sim_node_serves(s->node[i]));
    return s;
}

static void end(struct sim *s)
{
    for (unsigned i = 0; i < SIM_NODES; i++)
        oracle_judge(s->oracle, s->node[i]);
    if (s->violations > 0)
        fail_msg("%s: %s\n%.*s", s->violated, s->why, (int)s->trace.len, (const char *)s->trace.p);
    sim_free(s);
}

static void test_happy(void **state)
{
    (void)state;
    struct sim *s = world(SIM_NODES);
    s->echo = true;
    struct workload *w = workload_new(s, (struct workload_settings){.device = 0});
    workload_start(w);
    assert_true(sim_until(s, workload_opened(w), 5000));
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_happy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
