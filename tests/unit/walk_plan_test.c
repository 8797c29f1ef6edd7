/* walk_plan_test: which member of a stage is asked when, told as stories with the time in ms. */
#include "orchestrator/plan.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

#define T0 1000000u

static struct plan plan;
static char story[4096];

static void begin(unsigned need, unsigned count)
{
    story[0] = '\0';
    plan_init(&plan, need, count, T0);
}

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
{
    va_list args;
    size_t used = strlen(story);
    va_start(args, format);
    vsnprintf(story + used, sizeof(story) - used, format, args);
    va_end(args);
}

/* Everything that is to do at this time; members count from 1 in stories. */
static enum plan_verb at(uint64_t ms)
{
    for (;;) {
        struct plan_action a = plan_next(&plan, T0 + ms);
        switch (a.verb) {
        case PLAN_START:
            note("%d start %u\n", (int)ms, a.member + 1);
            break;
        case PLAN_STOP:
            note("%d stop %u\n", (int)ms, a.member + 1);
            break;
        case PLAN_DONE:
            note("%d done\n", (int)ms);
            return a.verb;
        case PLAN_OVER:
            note("%d over %s\n", (int)ms, err_name(a.code));
            return a.verb;
        case PLAN_WAIT:
            assert_true(a.wake_ms > T0 + ms);
            return a.verb;
        }
    }
}

/* Time passes with nothing but the plan's own wake-ups. */
static enum plan_verb until(uint64_t from, uint64_t to)
{
    uint64_t now = T0 + from;
    for (;;) {
        enum plan_verb v = at(now - T0);
        if (v != PLAN_WAIT)
            return v;
        uint64_t wake = plan_next(&plan, now).wake_ms;
        if (wake > T0 + to)
            return v;
        now = wake;
    }
}

static void got(uint64_t ms, unsigned member)
{
    plan_alive(&plan, member - 1, T0 + ms);
    plan_got(&plan, member - 1);
    at(ms);
}

static void failed(uint64_t ms, unsigned member, int code, bool denied)
{
    plan_failed(&plan, member - 1, code, denied, T0 + ms);
    at(ms);
}

static void test_first_members_at_once(void **state)
{
    (void)state;
    begin(2, 4);
    at(0);
    got(20, 2);
    got(30, 1);
    assert_string_equal(story, "0 start 1\n0 start 2\n30 done\n");
}

static void test_failure_starts_an_alternate(void **state)
{
    (void)state;
    begin(1, 3);
    at(0);
    failed(10, 1, ERR_COMMITMENT, false);
    got(40, 2);
    assert_string_equal(story, "0 start 1\n10 start 2\n40 done\n");
}

static void test_silence_starts_an_alternate(void **state)
{
    (void)state;
    begin(1, 2);
    assert_int_equal(until(0, 1600), PLAN_WAIT);
    got(1620, 1); /* the slow one still counts */
    assert_string_equal(story, "0 start 1\n1500 start 2\n1620 done\n");
}

static void test_signs_of_life_keep_alternates_away(void **state)
{
    (void)state;
    begin(1, 2);
    at(0);
    plan_alive(&plan, 0, T0 + 1400);
    assert_int_equal(until(1400, 2800), PLAN_WAIT);
    assert_string_equal(story, "0 start 1\n");
    assert_int_equal(until(2900, 3000), PLAN_WAIT);
    assert_string_equal(story, "0 start 1\n2900 start 2\n");
}

static void test_nobody_answers(void **state)
{
    (void)state;
    begin(2, 4);
    assert_int_equal(until(0, 10000), PLAN_OVER);
    assert_string_equal(story, "0 start 1\n0 start 2\n1500 start 3\n1500 start 4\n"
                               "4500 stop 1\n4500 stop 2\n4500 stop 3\n4500 stop 4\n4500 over unavailable\n");
}

static void test_unreachable_members_are_tried_again(void **state)
{
    (void)state;
    begin(1, 1);
    at(0);
    failed(1, 1, ERR_UNAVAILABLE, false);
    assert_int_equal(until(1, 401), PLAN_WAIT);
    failed(402, 1, ERR_UNAVAILABLE, false);
    assert_int_equal(until(402, 1202), PLAN_WAIT);
    failed(1203, 1, ERR_UNAVAILABLE, false);
    assert_string_equal(story, "0 start 1\n401 start 1\n1202 start 1\n1203 over unavailable\n");
}

static void test_a_final_denial_burns_no_quota_elsewhere(void **state)
{
    (void)state;
    begin(1, 3);
    at(0);
    failed(15, 1, ERR_EVIDENCE, true);
    assert_string_equal(story, "0 start 1\n15 over evidence\n");
}

static void test_those_already_asked_may_still_answer(void **state)
{
    (void)state;
    begin(1, 3);
    assert_int_equal(until(0, 1500), PLAN_WAIT);
    failed(1510, 1, ERR_DEVICE, true);
    got(1520, 2);
    assert_string_equal(story, "0 start 1\n1500 start 2\n1520 done\n");
}

static void test_a_passing_denial_is_tried_elsewhere(void **state)
{
    (void)state;
    begin(1, 2);
    at(0);
    failed(10, 1, ERR_QUOTA, true);
    failed(20, 2, ERR_QUOTA, true);
    assert_string_equal(story, "0 start 1\n10 start 2\n20 over quota\n");
}

static void test_a_wrong_answer_is_graver_than_silence(void **state)
{
    (void)state;
    begin(2, 2);
    at(0);
    failed(10, 1, ERR_COMMITMENT, false);
    assert_string_equal(story, "0 start 1\n0 start 2\n10 over commitment\n");
}

static void test_busy_members_are_waited_for(void **state)
{
    (void)state;
    begin(1, 1);
    at(0);
    for (uint64_t ms = 10; ms < 9000; ms += 1000) { /* far beyond the limit for silent ones */
        plan_busy(&plan, 0, 1000, T0 + ms);
        assert_int_equal(until(ms, ms + 1000), PLAN_WAIT);
    }
    got(9100, 1);
    assert_non_null(strstr(story, "9100 done\n"));
    assert_null(strstr(story, "over"));
}

static void test_busy_too_long_asks_somebody_else(void **state)
{
    (void)state;
    begin(1, 2);
    at(0);
    plan_busy(&plan, 0, 2000, T0 + 10);
    assert_int_equal(until(10, 1600), PLAN_WAIT);
    assert_string_equal(story, "0 start 1\n1510 start 2\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_members_at_once),
        cmocka_unit_test(test_failure_starts_an_alternate),
        cmocka_unit_test(test_silence_starts_an_alternate),
        cmocka_unit_test(test_signs_of_life_keep_alternates_away),
        cmocka_unit_test(test_nobody_answers),
        cmocka_unit_test(test_unreachable_members_are_tried_again),
        cmocka_unit_test(test_a_final_denial_burns_no_quota_elsewhere),
        cmocka_unit_test(test_those_already_asked_may_still_answer),
        cmocka_unit_test(test_a_passing_denial_is_tried_elsewhere),
        cmocka_unit_test(test_a_wrong_answer_is_graver_than_silence),
        cmocka_unit_test(test_busy_members_are_waited_for),
        cmocka_unit_test(test_busy_too_long_asks_somebody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
