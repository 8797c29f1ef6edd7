/* log_line: one bounded, harmless line whatever the text. */
#include "common/base/log.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define AT UINT64_C(1795546800123)

static void test_text(void **state)
{
    (void)state;
    char line[LOG_LINE_MAX];
    log_setup("node", false, LOG_LEVEL_INFO);
    size_t len = log_format(LOG_LEVEL_INFO, AT, "started", line);
    assert_string_equal(line, "2026-11-24T19:00:00.123Z info  node: started\n");
    assert_int_equal(len, strlen(line));
    (void)log_format(LOG_LEVEL_ERROR, AT, "a\nb\tc\x7f\xc3\xa9 \"q\" \\", line);
    assert_string_equal(line, "2026-11-24T19:00:00.123Z error node: a\\x0ab\\x09c\\x7f\\xc3\\xa9 \"q\" \\\n");
}

static void test_json(void **state)
{
    (void)state;
    char line[LOG_LINE_MAX];
    log_setup("node", true, LOG_LEVEL_INFO);
    (void)log_format(LOG_LEVEL_WARN, AT, "a\nb \"q\" \\ \xff", line);
    assert_string_equal(line, "{\"time\":\"2026-11-24T19:00:00.123Z\",\"level\":\"warn\",\"program\":\"node\","
                              "\"text\":\"a\\u000ab \\\"q\\\" \\\\ \\\\xff\"}\n");
}

/* Every length around the limit, with the characters that grow most. */
static void test_bounded(void **state)
{
    (void)state;
    static char text[2 * LOG_LINE_MAX + 1];
    char line[LOG_LINE_MAX];
    for (int json = 0; json < 2; json++) {
        log_setup("node", json == 1, LOG_LEVEL_INFO);
        for (size_t len = 0; len <= 2 * LOG_LINE_MAX; len += len > 50 && len < 300 ? 8 : 1) {
            memset(text, '\x01', len);
            text[len] = '\0';
            size_t n = log_format(LOG_LEVEL_INFO, AT, text, line);
            assert_true(n < LOG_LINE_MAX);
            assert_int_equal(n, strlen(line));
            assert_int_equal(line[n - 1], '\n');
            assert_ptr_equal(strchr(line, '\n'), line + n - 1);
        }
        assert_non_null(strstr(line, json == 1 ? "...\"}\n" : "...\n"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
