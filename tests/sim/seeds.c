/* seeds: many random worlds; a seed that fails is printed and can be replayed.
 *
 *   sim_seeds [--count N] [--first N]    N seeds from the first one on (20 from 1)
 *   sim_seeds --seed N [--trace]         one of them, with all that happens */
#include "common/base/log.h"
#include "tests/sim/scenario.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct order {
    uint64_t first, count;
    bool trace;
};

static bool parse(int argc, char **argv, struct order *o)
{
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--trace") == 0)
            o->trace = true;
        else if (strcmp(argv[i], "--count") == 0 && more)
            o->count = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--first") == 0 && more)
            o->first = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && more)
            o->first = strtoull(argv[++i], NULL, 10), o->count = 1;
        else
            return false;
    }
    return true;
}

static void say(uint64_t seed, const struct scenario_result *r)
{
    (void)printf("seed %llu: %u opened, %u grants, %u reissues, %u denials, %u busy, %u crashes; well after %llu ms\n",
                 (unsigned long long)seed, r->opened, r->counts.grants, r->counts.reissues, r->counts.denials,
                 r->counts.busy, r->counts.crashes, (unsigned long long)r->recovery_ms);
    if (r->violations > 0)
        (void)printf("seed %llu FAILS: %s: %s\n    replay: sim_seeds --seed %llu --trace\n", (unsigned long long)seed,
                     r->violated, r->why, (unsigned long long)seed);
    (void)fflush(stdout);
}

/* A simulation that does not repeat itself cannot be replayed. */
static bool repeats(uint64_t seed, const struct scenario_result *first)
{
    struct scenario_result again = scenario_run(seed, SABOTAGE_NONE, false);
    if (memcmp(again.trace_hash, first->trace_hash, HASH_LEN) == 0)
        return true;
    (void)printf("seed %llu FAILS: it goes another way the second time\n", (unsigned long long)seed);
    return false;
}

/* Seeds in which nothing happened would show nothing. */
static bool enough(const struct oracle_counts *all, unsigned opened)
{
    bool ok =
        all->grants > 0 && all->reissues > 0 && all->denials > 0 && all->busy > 0 && all->crashes > 0 && opened > 0;
    if (!ok)
        (void)printf("FAILS: something that must happen in some seed never did\n");
    return ok;
}

int main(int argc, char **argv)
{
    struct order o = {.first = 1, .count = 20};
    struct oracle_counts all = {.grants = 0};
    unsigned failed = 0, opened = 0;
    if (!parse(argc, argv, &o)) {
        (void)fprintf(stderr, "usage: sim_seeds [--count N] [--first N] | --seed N [--trace]\n");
        return 2;
    }
    log_setup("sim", false, LOG_LEVEL_ERROR);
    for (uint64_t i = 0; i < o.count; i++) {
        struct scenario_result r = scenario_run(o.first + i, SABOTAGE_NONE, o.trace);
        say(o.first + i, &r);
        failed += r.violations > 0;
        opened += r.opened;
        all.grants += r.counts.grants;
        all.reissues += r.counts.reissues;
        all.denials += r.counts.denials;
        all.busy += r.counts.busy;
        all.crashes += r.counts.crashes;
        if (i == 0 && o.count > 1)
            failed += !repeats(o.first, &r);
    }
    if (o.count >= 20)
        failed += !enough(&all, opened);
    return failed > 0;
}
