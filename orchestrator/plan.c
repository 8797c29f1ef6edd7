/* plan: the rules by which members of a stage are asked. */
#include "orchestrator/plan.h"
#include <assert.h>
#include <string.h>

void plan_init(struct plan *p, unsigned need, unsigned count, uint64_t now_ms)
{
    assert(need >= 1 && need <= count && count <= SLOT_MAX);
    memset(p, 0, sizeof(*p));
    p->need = need;
    p->count = count;
    p->started_ms = now_ms;
}

void plan_alive(struct plan *p, unsigned member, uint64_t quiet_until_ms)
{
    assert(member < p->count);
    p->members[member].since_ms = quiet_until_ms;
    p->members[member].connected = true;
}

void plan_got(struct plan *p, unsigned member)
{
    assert(member < p->count);
    p->members[member].state = PLAN_GOT;
}

/* Worth another try at the same member: it was away, not unwilling or wrong. */
static bool is_passing(int code, bool denied)
{
    return err_exit(code) == EXIT_UNAVAILABLE && !(denied && err_advice(code) == ADVICE_NEVER);
}

void plan_busy(struct plan *p, unsigned member, uint64_t retry_after_ms, uint64_t now_ms)
{
    assert(member < p->count);
    struct plan_member *m = &p->members[member];
    uint64_t wait_ms = retry_after_ms < PLAN_BUSY_MIN_MS   ? PLAN_BUSY_MIN_MS
                       : retry_after_ms > PLAN_BUSY_MAX_MS ? PLAN_BUSY_MAX_MS
                                                           : retry_after_ms;
    if (!m->busy)
        m->busy_from_ms = now_ms;
    m->busy = true;
    m->code = ERR_BUSY;
    m->denied = false;
    m->state = PLAN_WAITING;
    m->since_ms = now_ms + wait_ms;
    m->tries--; /* starting again is not another try */
}

void plan_failed(struct plan *p, unsigned member, int code, bool denied, uint64_t now_ms)
{
    assert(member < p->count);
    struct plan_member *m = &p->members[member];
    m->code = code;
    m->denied = denied;
    m->connected = false;
    m->busy = false;
    m->state = PLAN_FAILED;
    uint64_t again_ms = now_ms + (uint64_t)PLAN_RETRY_MS * m->tries;
    if (is_passing(code, denied) && m->tries < PLAN_TRIES_MAX && again_ms < p->started_ms + PLAN_LAST_RETRY_MS) {
        m->state = PLAN_WAITING;
        m->since_ms = again_ms;
    }
}

static unsigned count_in(const struct plan *p, enum plan_state state)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->count; i++)
        n += p->members[i].state == state;
    return n;
}

static bool is_late(const struct plan_member *m, uint64_t now_ms)
{
    return m->state == PLAN_RUNNING && now_ms >= m->since_ms + PLAN_HEDGE_MS;
}

/* Said to be busy a moment ago: as good as running, for the time that silence would be forgiven. */
static bool is_busy(const struct plan_member *m, uint64_t now_ms)
{
    return m->state == PLAN_WAITING && m->busy && now_ms < m->busy_from_ms + PLAN_HEDGE_MS;
}

/* The code of a refusal that holds everywhere, or 0. */
static int final_denial(const struct plan *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        const struct plan_member *m = &p->members[i];
        if (m->state == PLAN_FAILED && m->denied && err_advice(m->code) == ADVICE_NEVER)
            return m->code;
    }
    return 0;
}

/* What the failure of the whole stage is called: the gravest of its members' failures. */
static int stage_code(const struct plan *p)
{
    int code = final_denial(p);
    if (code != 0)
        return code;
    int worst = ERR_UNAVAILABLE, rank = 0;
    for (unsigned i = 0; i < p->count; i++) {
        const struct plan_member *m = &p->members[i];
        if (m->state != PLAN_FAILED && m->state != PLAN_WAITING)
            continue;
        enum exit_code e = err_exit(m->code);
        int r = e == EXIT_INTEGRITY ? 3 : e == EXIT_DENIED ? 2 : e == EXIT_UNAVAILABLE ? 0 : 1;
        if (r > rank) {
            worst = m->code;
            rank = r;
        }
    }
    return worst;
}

static bool is_given_up(const struct plan *p, const struct plan_member *m, uint64_t now_ms)
{
    uint64_t patience = m->connected ? PLAN_PATIENCE_MS : PLAN_HEDGE_MS;
    return m->state == PLAN_RUNNING && now_ms >= p->started_ms + PLAN_LIMIT_MS && now_ms >= m->since_ms + patience;
}

static struct plan_action start(struct plan *p, unsigned i, uint64_t now_ms)
{
    struct plan_member *m = &p->members[i];
    m->state = PLAN_RUNNING;
    m->since_ms = now_ms;
    m->connected = false;
    m->tries++;
    return (struct plan_action){.verb = PLAN_START, .member = i};
}

/* The member to start now, or -1. */
static int choose(const struct plan *p, uint64_t now_ms)
{
    unsigned on_time = 0, late = 0;
    for (unsigned i = 0; i < p->count; i++) {
        bool l = is_late(&p->members[i], now_ms);
        late += l;
        on_time += (p->members[i].state == PLAN_RUNNING && !l) || is_busy(&p->members[i], now_ms);
    }
    bool lacking = count_in(p, PLAN_GOT) + on_time < p->need;
    bool all = late > 0 && now_ms >= p->started_ms + 2 * PLAN_HEDGE_MS;
    for (unsigned i = 0; (lacking || all) && i < p->count; i++) {
        if (p->members[i].state == PLAN_IDLE)
            return (int)i;
    }
    for (unsigned i = 0; i < p->count; i++) {
        const struct plan_member *m = &p->members[i];
        if (m->state == PLAN_WAITING && now_ms >= m->since_ms && (lacking || m->busy))
            return (int)i;
    }
    return -1;
}

static void sooner(uint64_t *wake_ms, uint64_t at_ms, uint64_t now_ms)
{
    if (at_ms > now_ms && at_ms < *wake_ms)
        *wake_ms = at_ms;
}

static uint64_t next_wake(const struct plan *p, uint64_t now_ms)
{
    uint64_t wake_ms = now_ms + PLAN_HEDGE_MS;
    sooner(&wake_ms, p->started_ms + 2 * PLAN_HEDGE_MS, now_ms);
    sooner(&wake_ms, p->started_ms + PLAN_LAST_RETRY_MS, now_ms);
    sooner(&wake_ms, p->started_ms + PLAN_LIMIT_MS, now_ms);
    for (unsigned i = 0; i < p->count; i++) {
        const struct plan_member *m = &p->members[i];
        if (m->state == PLAN_WAITING) {
            sooner(&wake_ms, m->since_ms, now_ms);
            sooner(&wake_ms, m->busy_from_ms + PLAN_HEDGE_MS, now_ms);
        }
        if (m->state == PLAN_RUNNING) {
            sooner(&wake_ms, m->since_ms + PLAN_HEDGE_MS, now_ms);
            sooner(&wake_ms, m->since_ms + PLAN_PATIENCE_MS, now_ms);
        }
    }
    return wake_ms;
}

/* Members that wait for another try after the limit, or after a final refusal, have failed; busy ones only after the
 * latter. */
static void end_waiting(struct plan *p, bool refused, bool late)
{
    for (unsigned i = 0; i < p->count; i++) {
        const struct plan_member *m = &p->members[i];
        if (m->state == PLAN_WAITING && (refused || (late && !m->busy)))
            p->members[i].state = PLAN_FAILED;
    }
}

struct plan_action plan_next(struct plan *p, uint64_t now_ms)
{
    if (count_in(p, PLAN_GOT) >= p->need)
        return (struct plan_action){.verb = PLAN_DONE};
    for (unsigned i = 0; i < p->count; i++) {
        if (is_given_up(p, &p->members[i], now_ms)) {
            p->members[i].state = PLAN_FAILED;
            p->members[i].code = ERR_DEADLINE;
            p->members[i].denied = false;
            return (struct plan_action){.verb = PLAN_STOP, .member = i, .code = ERR_DEADLINE};
        }
    }
    bool refused = final_denial(p) != 0;
    end_waiting(p, refused, now_ms >= p->started_ms + PLAN_LAST_RETRY_MS);
    if (!refused) {
        int i = choose(p, now_ms);
        if (i >= 0)
            return start(p, (unsigned)i, now_ms);
    }
    unsigned hope = count_in(p, PLAN_GOT) + count_in(p, PLAN_RUNNING);
    if (!refused)
        hope += count_in(p, PLAN_IDLE) + count_in(p, PLAN_WAITING);
    if (hope < p->need)
        return (struct plan_action){.verb = PLAN_OVER, .code = stage_code(p)};
    return (struct plan_action){.verb = PLAN_WAIT, .wake_ms = next_wake(p, now_ms)};
}
