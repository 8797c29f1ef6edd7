/* sim: virtual time, seeded randomness, the trace. */
#include "tests/sim/sim.h"
#include "tests/sim/cast.h"
#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include "tests/sim/workload.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_MAX (64u * 1024u * 1024u)
#define END_MS 60000u /* that long nodes may take to stop */

struct sim_event {
    uint64_t at_ms, order;
    void (*fn)(void *arg);
    void *arg;
    bool cancelled;
};

const char *point_words(enum point p)
{
    static const char *const words[] = {
#define SIM_POINT(name, text) [POINT_##name] = (text),
        SIM_POINTS(SIM_POINT)
#undef SIM_POINT
    };
    return words[p];
}

const char *sabotage_name(enum sabotage s)
{
    static const char *const name[] = {[SABOTAGE_NONE] = "none",
#define SIM_SABOTAGE(word, property) [SABOTAGE_##word] = #word,
                                       SIM_SABOTAGES(SIM_SABOTAGE)
#undef SIM_SABOTAGE
    };
    return name[s];
}

const char *sabotage_property(enum sabotage s)
{
    static const char *const name[] = {[SABOTAGE_NONE] = "",
#define SIM_SABOTAGE(word, property) [SABOTAGE_##word] = (property),
                                       SIM_SABOTAGES(SIM_SABOTAGE)
#undef SIM_SABOTAGE
    };
    return name[s];
}

/* ---- events: a binary heap by time, then by order */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void swap(struct sim *s, size_t a, size_t b)
{
    struct sim_event *e = s->heap[a];
    s->heap[a] = s->heap[b];
    s->heap[b] = e;
}

struct sim_event *sim_after(struct sim *s, uint64_t ms, void (*fn)(void *arg), void *arg)
{
    struct sim_event *e = calloc(1, sizeof(*e));
    if (s->heap_count == s->heap_size) {
        s->heap_size = s->heap_size == 0 ? 256 : s->heap_size * 2;
        s->heap = realloc(s->heap, s->heap_size * sizeof(struct sim_event *));
    }
    assert(e != NULL && s->heap != NULL);
    *e = (struct sim_event){.at_ms = s->now_ms + ms, .order = s->heap_order++, .fn = fn, .arg = arg};
    size_t i = s->heap_count++;
    for (s->heap[i] = e; i > 0 && before(s->heap[i], s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(s, i, (i - 1) / 2);
    return e;
}

void sim_cancel(struct sim_event **e)
{
    if (*e != NULL)
        (*e)->cancelled = true; /* it is freed when its time comes */
    *e = NULL;
}

static struct sim_event *take(struct sim *s)
{
    struct sim_event *e = s->heap[0];
    s->heap[0] = s->heap[--s->heap_count];
    for (size_t i = 0;;) {
        size_t least = i, left = 2 * i + 1;
        for (size_t child = left; child <= left + 1 && child < s->heap_count; child++)
            if (before(s->heap[child], s->heap[least]))
                least = child;
        if (least == i)
            return e;
        swap(s, i, least);
        i = least;
    }
}

bool sim_step(struct sim *s)
{
    if (s->heap_count == 0)
        return false;
    struct sim_event *e = take(s);
    if (!e->cancelled) {
        s->now_ms = e->at_ms;
        e->fn(e->arg);
    }
    free(e);
    return true;
}

bool sim_until(struct sim *s, const bool *flag, uint64_t ms)
{
    uint64_t end = s->now_ms + ms;
    while (!*flag && s->heap_count > 0 && s->heap[0]->at_ms <= end)
        (void)sim_step(s);
    if (!*flag && s->now_ms < end)
        s->now_ms = end;
    return *flag;
}

void sim_run(struct sim *s, uint64_t ms)
{
    const bool never = false;
    (void)sim_until(s, &never, ms);
}

/* ---- randomness: splitmix64 */

static uint64_t next(struct sim *s)
{
    uint64_t z = s->random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t sim_random(struct sim *s, uint64_t below)
{
    return below > 0 ? next(s) % below : 0;
}

bool sim_chance(struct sim *s, unsigned of_10000)
{
    return of_10000 > 0 && sim_random(s, 10000) < of_10000;
}

uint64_t sim_delay(struct sim *s, enum sim_delay kind)
{
    static const struct {
        uint64_t fixed, most;
    } table[DELAY_COUNT] = {[DELAY_LINK] = {5, 40},
                            [DELAY_JOB] = {1, 6},
                            [DELAY_DISK] = {2, 12},
                            [DELAY_TOKEN] = {3, 20},
                            [DELAY_START] = {50, 400}};
    if (!s->random)
        return table[kind].fixed;
    uint64_t most = table[kind].most * (kind == DELAY_LINK ? s->delay_factor : 1);
    return 1 + sim_random(s, sim_chance(s, 300) ? most * 10 : most);
}

static int fill(void *arg, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)next(arg);
    return 0;
}

struct rng sim_rng(struct sim *s)
{
    return (struct rng){fill, s};
}

/* ---- what people read */

static void add_line(struct sim *s, const char *who, char mark, const char *format, va_list args)
{
    char text[512];
    size_t from = s->trace.len;
    (void)vsnprintf(text, sizeof(text), format, args);
    buf_printf(&s->trace, "[%6llu] %s %c %s\n", (unsigned long long)s->now_ms, who, mark, text);
    if (s->echo && buf_ok(&s->trace))
        (void)fwrite(s->trace.p + from, 1, s->trace.len - from, stdout);
}

void sim_trace(struct sim *s, const char *who, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_line(s, who, '>', format, args);
    va_end(args);
}

void sim_violate(struct sim *s, const char *property, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (s->violations++ == 0) {
        (void)snprintf(s->violated, sizeof(s->violated), "%s", property);
        (void)vsnprintf(s->why, sizeof(s->why), format, args);
    }
    va_end(args);
    va_start(args, format);
    add_line(s, property, '!', format, args);
    va_end(args);
}

/* ---- life */

struct sim *sim_new(uint64_t seed, bool random)
{
    struct sim *s = calloc(1, sizeof(*s));
    assert(s != NULL);
    s->seed = seed;
    s->random_state = seed * 2 + 1;
    s->random = random;
    s->delay_factor = 1;
    s->cast = cast_get();
    buf_init(&s->trace, TRACE_MAX);
    s->status[1] = s->cast->status;
    s->status_count = 1;
    s->oracle = oracle_new(s);
    for (unsigned i = 0; i < SIM_NODES; i++)
        s->node[i] = sim_node_new(s, i);
    return s;
}

static bool all_down(const struct sim *s)
{
    bool down = true;
    for (unsigned i = 0; i < SIM_NODES; i++)
        down = down && s->node[i]->runs == 0;
    return down;
}

void sim_free(struct sim *s)
{
    s->crash_chance = s->cut_chance = 0;
    s->fault.armed = false;
    for (unsigned i = 0; i < s->workload_count; i++)
        workload_stop(s->workload[i]);
    for (unsigned i = 0; i < SIM_NODES; i++)
        sim_node_stop(s->node[i]);
    for (uint64_t end = s->now_ms + END_MS; s->now_ms < end && sim_step(s);)
        ;
    assert(all_down(s));
    while (s->heap_count > 0)
        free(take(s));
    free(s->heap);
    for (unsigned i = 0; i < SIM_NODES; i++)
        sim_node_free(s->node[i]);
    for (unsigned i = 0; i < s->workload_count; i++)
        workload_free(s->workload[i]);
    for (unsigned i = 2; i <= s->status_count; i++)
        document_unref(s->status[i]);
    oracle_free(s->oracle);
    buf_done(&s->trace);
    free(s);
}
