/* clock: times as text, both ways, and what is no time. */
#include "common/base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *text;
    uint64_t s;
} known[] = {
    {"1970-01-01T00:00:00Z", 0},          {"1970-12-31T23:59:59Z", 31535999},
    {"1972-02-29T00:00:00Z", 68169600},   {"1999-12-31T23:59:59Z", 946684799},
    {"2000-02-29T12:34:56Z", 951827696},  {"2000-03-01T00:00:00Z", 951868800},
    {"2026-11-24T19:00:00Z", 1795546800}, {"2038-01-19T03:14:08Z", 2147483648},
    {"2100-03-01T00:00:00Z", 4107542400}, {"9999-12-31T23:59:59Z", 253402300799},
};

static void test_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        char text[CLOCK_TEXT_LEN + 1];
        uint64_t ms = 0;
        clock_text(known[i].s * 1000 + 999, text);
        assert_string_equal(text, known[i].text);
        assert_int_equal(clock_parse(known[i].text, &ms), 0);
        assert_int_equal(ms, known[i].s * 1000);
    }
}

static void test_every_day_round_trips(void **state)
{
    (void)state;
    for (uint64_t day = 0; day < 2932897; day++) { /* to the end of 9999 */
        char text[CLOCK_TEXT_LEN + 1];
        uint64_t ms = 0, given = (day * 86400 + day % 86400) * 1000;
        clock_text(given, text);
        if (clock_parse(text, &ms) != 0 || ms != given)
            fail_msg("%s", text);
    }
}

static void test_late_times_are_capped(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_LEN + 1];
    clock_text(UINT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59Z");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2026-11-24",
        "2026-11-24T19:00:00",
        "2026-11-24T19:00:00z",
        "2026-11-24t19:00:00Z",
        "2026-11-24 19:00:00Z",
        "2026-11-24T19:00:00+00:00",
        "2026-11-24T19:00:00.0Z",
        "2026-11-24T19:00:00ZZ",
        " 026-11-24T19:00:00Z",
        "+026-11-24T19:00:00Z",
        "2026-1 -24T19:00:00Z",
        "2026-00-24T19:00:00Z",
        "2026-13-24T19:00:00Z",
        "2026-11-00T19:00:00Z",
        "2026-11-31T19:00:00Z",
        "2026-02-29T19:00:00Z",
        "2100-02-29T19:00:00Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T19:60:00Z",
        "2026-11-24T19:00:60Z", /* leap seconds have no ms of their own */
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
    };
    uint64_t ms = 77;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (clock_parse(bad[i], &ms) != ERR_FORMAT)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(clock_parse(NULL, &ms), ERR_FORMAT);
    assert_int_equal(ms, 77);
}

static void test_system(void **state)
{
    (void)state;
    struct clock c = clock_system();
    uint64_t before = c.monotonic_ms(c.arg);
    assert_true(c.now_ms(c.arg) > UINT64_C(1700000000000));
    assert_true(c.monotonic_ms(c.arg) >= before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_every_day_round_trips),
        cmocka_unit_test(test_late_times_are_capped),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
