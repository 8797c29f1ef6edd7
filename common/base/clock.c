/* clock: the system's clocks, and times as text. */
#include "common/base/clock.h"
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LAST_SECOND 253402300799u /* 9999-12-31T23:59:59Z */
#define DAY_SECONDS 86400u
#define ERA_DAYS 146097u /* days of 400 Gregorian years */

static uint64_t read_ms(clockid_t id)
{
    struct timespec t;
    int rc = clock_gettime(id, &t);
    assert(rc == 0 && t.tv_sec >= 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t now_ms(void *arg)
{
    (void)arg;
    return read_ms(CLOCK_REALTIME);
}

static uint64_t monotonic_ms(void *arg)
{
    (void)arg;
    return read_ms(CLOCK_MONOTONIC);
}

struct clock clock_system(void)
{
    return (struct clock){.now_ms = now_ms, .monotonic_ms = monotonic_ms, .arg = NULL};
}

static bool is_leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned month_days(unsigned year, unsigned month)
{
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year) ? 1u : 0u);
}

/* Days from 1970-01-01 to the first of January of `year`: whole years, and the leap days among them. */
static uint64_t year_start(unsigned year)
{
    uint64_t y = year - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 - (1969u * 365u + 1969u / 4u - 1969u / 100u + 1969u / 400u);
}

void clock_text(uint64_t ms, char ret_text[CLOCK_TEXT_LEN + 1])
{
    uint64_t s = ms / 1000 < LAST_SECOND ? ms / 1000 : LAST_SECOND;
    uint64_t day = s / DAY_SECONDS;
    unsigned rest = (unsigned)(s % DAY_SECONDS);
    unsigned year = 1970u + (unsigned)(day * 400 / ERA_DAYS);
    while (year_start(year) > day)
        year--;
    while (year_start(year + 1) <= day)
        year++;
    unsigned left = (unsigned)(day - year_start(year)), month = 1;
    for (; left >= month_days(year, month); month++)
        left -= month_days(year, month);
    char text[64]; /* the compiler does not know the ranges */
    (void)snprintf(text, sizeof(text), "%04u-%02u-%02uT%02u:%02u:%02uZ", year, month, left + 1, rest / 3600,
                   rest / 60 % 60, rest % 60);
    memcpy(ret_text, text, CLOCK_TEXT_LEN);
    ret_text[CLOCK_TEXT_LEN] = '\0';
}

/* Two or four digits; UINT32_MAX when one of them is none. */
static unsigned digits(const char *p, size_t len)
{
    unsigned v = 0;
    for (size_t i = 0; i < len; i++) {
        if (p[i] < '0' || p[i] > '9')
            return UINT32_MAX;
        v = v * 10 + (unsigned)(p[i] - '0');
    }
    return v;
}

int clock_parse(const char *text, uint64_t *ret_ms)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
    if (text == NULL || strlen(text) != CLOCK_TEXT_LEN)
        return ERR_FORMAT;
    for (size_t i = 0; i < CLOCK_TEXT_LEN; i++)
        if (shape[i] != 'd' && text[i] != shape[i])
            return ERR_FORMAT;
    unsigned year = digits(text, 4), month = digits(text + 5, 2), day = digits(text + 8, 2);
    unsigned hour = digits(text + 11, 2), minute = digits(text + 14, 2), second = digits(text + 17, 2);
    if (year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 || day > month_days(year, month) ||
        hour > 23 || minute > 59 || second > 59)
        return ERR_FORMAT;
    uint64_t days = year_start(year) + day - 1;
    for (unsigned m = 1; m < month; m++)
        days += month_days(year, m);
    *ret_ms = (days * DAY_SECONDS + hour * 3600u + minute * 60u + second) * 1000u;
    return 0;
}
