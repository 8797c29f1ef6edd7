/* clock: time as an interface, so that simulators and tests own it. */
#ifndef ENFILADE_BASE_CLOCK_H
#define ENFILADE_BASE_CLOCK_H

#include "common/base/err.h"
#include <stdint.h>

struct clock {
    uint64_t (*now_ms)(void *arg);       /* ms since the epoch, UTC */
    uint64_t (*monotonic_ms)(void *arg); /* for deadlines */
    void *arg;
};

struct clock clock_system(void);

/* RFC 3339 in UTC with whole seconds, the one spelling of times in documents: "2026-11-24T19:00:00Z". */
#define CLOCK_TEXT_LEN 20
/* Whole seconds, rounded down; times after 9999-12-31T23:59:59Z read as that one. */
void clock_text(uint64_t ms, char ret_text[CLOCK_TEXT_LEN + 1]);
/* ERR_FORMAT for any other spelling, impossible dates and years outside 1970..9999 */
MUST_CHECK int clock_parse(const char *text, uint64_t *ret_ms);

#endif
