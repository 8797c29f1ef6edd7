/* scenario: what one seed does to the network. */
#include "tests/sim/scenario.h"
#include "tests/sim/workload.h"
#include <stdio.h>
#include <string.h>

#define WALKERS 3
#define HOUR_MS 3600000
#define SKEW_MS 120000 /* what honest clocks may differ by */
#define SETTLE_MS 8000u
#define AGAIN_MS 15000u /* a supervisor's pause and a start */

struct scenario {
    struct sim *sim;
    struct workload *walker[WALKERS], *twin; /* the twin comes to the first door with the first walker's sessions */
    bool ahead[SIM_NODES]; /* this node's clock may run an hour ahead: at most one in each stage, or time must pass */
    bool over;
};

static struct sim_node *any(struct scenario *c)
{
    return c->sim->node[sim_random(c->sim, SIM_NODES)];
}

/* ---- faults that last */

static void on_heal_link(void *arg)
{
    ((struct sim_node *)arg)->partitioned = false;
}

static void on_heal_token(void *arg)
{
    ((struct sim_node *)arg)->token_mode = TOKEN_SOUND;
}

static void on_restart(void *arg)
{
    sim_node_start(arg);
}

static uint64_t some_time(struct sim *s)
{
    return 200 + sim_random(s, 8000);
}

/* ---- what may happen */

static void crash(struct scenario *c)
{
    sim_node_crash(any(c), "by itself");
}

static void stop_and_start(struct scenario *c)
{
    struct sim_node *n = any(c);
    sim_node_stop(n);
    (void)sim_after(c->sim, some_time(c->sim), on_restart, n);
}

static void partition(struct scenario *c)
{
    struct sim_node *n = any(c);
    sim_trace(c->sim, n->name, "is cut off");
    n->partitioned = true;
    (void)sim_after(c->sim, some_time(c->sim), on_heal_link, n);
}

static void lose_token(struct scenario *c)
{
    struct sim_node *n = any(c);
    n->token_mode = (enum token_mode)(1 + sim_random(c->sim, TOKEN_NO_SIGN));
    sim_trace(c->sim, n->name, "token is ill (%d)", (int)n->token_mode);
    (void)sim_after(c->sim, some_time(c->sim), on_heal_token, n);
}

static void fail_disk(struct scenario *c)
{
    static const enum disk_fault faults[] = {DISK_EIO, DISK_ENOSPC, DISK_SYNC};
    disk_fail(any(c)->disk, 1 + (unsigned)sim_random(c->sim, 60), faults[sim_random(c->sim, 3)]);
}

static void set_clock(struct scenario *c)
{
    struct sim_node *n = any(c);
    int64_t most = sim_chance(c->sim, 5000) || c->ahead[n->index] ? HOUR_MS : SKEW_MS / 2;
    int64_t offset = (int64_t)sim_random(c->sim, (uint64_t)most);
    bool ahead = most < HOUR_MS || c->ahead[n->index];
    n->clock_offset_ms = ahead && sim_chance(c->sim, 5000) ? offset : -offset;
    sim_trace(c->sim, n->name, "clock is %lld s off", (long long)n->clock_offset_ms / 1000);
}

static void change_weather(struct scenario *c)
{
    struct sim *s = c->sim;
    s->delay_factor = 1 + (unsigned)sim_random(s, 12);
    s->cut_chance = (unsigned)sim_random(s, 600);
    s->crash_chance = (unsigned)sim_random(s, 150);
}

/* The last walker's device is revoked; some nodes hear of it at once, the others from workloads. */
static void revoke(struct scenario *c)
{
    struct sim *s = c->sim;
    const struct revocation r = {.kind = REVOKED_DEVICE, .id = "w3"};
    if (s->status_count + 1 >= SIM_STATUS_MAX)
        return;
    unsigned version = s->status_count + 1;
    s->status[version] = cast_status(s->cast, version, CAST_T0_MS + s->now_ms, &r, 1, NULL, 0);
    s->status_count = version;
    for (unsigned i = 0; i < SIM_NODES; i++)
        if (sim_chance(s, 4000))
            sim_node_give(s->node[i], s->status[version]->note);
    workload_learn(c->walker[sim_random(s, WALKERS)], version);
}

static const struct {
    void (*happen)(struct scenario *c);
    unsigned weight;
} happenings[] = {{crash, 4},     {stop_and_start, 1}, {partition, 3},      {lose_token, 3},
                  {fail_disk, 4}, {set_clock, 2},      {change_weather, 3}, {revoke, 1}};
#define HAPPENINGS (sizeof(happenings) / sizeof(happenings[0]))

static void on_happening(void *arg)
{
    struct scenario *c = arg;
    unsigned all = 0;
    if (c->over)
        return;
    for (size_t i = 0; i < HAPPENINGS; i++)
        all += happenings[i].weight;
    unsigned pick = (unsigned)sim_random(c->sim, all);
    for (size_t i = 0; i < HAPPENINGS; i++) {
        if (pick < happenings[i].weight) {
            happenings[i].happen(c);
            break;
        }
        pick -= happenings[i].weight;
    }
    (void)sim_after(c->sim, 100 + sim_random(c->sim, 2500), on_happening, c);
}

/* ---- from beginning to end */

static void begin(struct scenario *c)
{
    struct sim *s = c->sim;
    for (unsigned i = 0; i < SIM_NODES; i++)
        sim_node_start(s->node[i]);
    sim_run(s, 1000);
    c->ahead[sim_random(s, 2)] = true;
    c->ahead[2 + sim_random(s, 3)] = true;
    c->ahead[5 + sim_random(s, 2)] = true;
    for (unsigned i = 0; i < WALKERS; i++) {
        c->walker[i] =
            workload_new(s, (struct workload_settings){.device = i, .tries = i * 2, .pause_ms = 200, .endless = true});
        workload_start(c->walker[i]);
    }
    c->twin = workload_new(s, (struct workload_settings){
                                  .device = 0, .stages = 1, .pause_ms = 300, .endless = true, .twin_of = c->walker[0]});
    workload_start(c->twin);
    (void)sim_after(s, 0, on_happening, c);
}

static void heal(struct scenario *c)
{
    struct sim *s = c->sim;
    c->over = true;
    if (s->sabotage == SABOTAGE_NEVER_HEAL)
        for (unsigned i = 0; i < SIM_NODES; i++)
            s->node[i]->stays_down = true, sim_node_crash(s->node[i], "for good");
    if (s->sabotage == SABOTAGE_NEVER_HEAL)
        return;
    sim_trace(s, "all", "is well from here on");
    s->crash_chance = s->cut_chance = 0;
    s->delay_factor = 1;
    for (unsigned i = 0; i < SIM_NODES; i++) {
        struct sim_node *n = s->node[i];
        n->partitioned = false;
        n->token_mode = TOKEN_SOUND;
        n->clock_offset_ms = 0;
        disk_fail(n->disk, 0, DISK_SOUND);
        if (n->run == NULL)
            sim_node_start(n);
    }
}

/* A node in no fault's way serves again; a workload in nobody's way opens. */
static void recover(struct scenario *c, struct scenario_result *r)
{
    struct sim *s = c->sim;
    uint64_t from_ms = s->now_ms;
    struct workload *w = workload_new(s, (struct workload_settings){.device = WALKERS, .tries = 2});
    workload_start(w);
    if (!sim_until(s, workload_opened(w), SCENARIO_BOUND_MS))
        sim_violate(s, "live", "%u s without faults, and w%d has not opened: %s", SCENARIO_BOUND_MS / 1000, WALKERS + 1,
                    err_name(workload_last_code(w)));
    r->recovery_ms = s->now_ms - from_ms;
    for (unsigned i = 0; i < WALKERS; i++) {
        r->opened += workload_opened_count(c->walker[i]);
        workload_stop(c->walker[i]);
    }
    workload_stop(c->twin);
    sim_run(s, SETTLE_MS);
}

/* Every node once more, from what its disk holds. */
static void restart_all(struct scenario *c)
{
    struct sim *s = c->sim;
    for (unsigned i = 0; i < SIM_NODES; i++)
        sim_node_stop(s->node[i]);
    sim_run(s, AGAIN_MS);
    for (unsigned i = 0; i < SIM_NODES; i++)
        sim_node_start(s->node[i]);
    sim_run(s, AGAIN_MS);
    for (unsigned i = 0; i < SIM_NODES; i++) {
        if (!sim_node_serves(s->node[i]))
            sim_violate(s, "live", "%s does not start again", s->node[i]->name);
        oracle_judge(s->oracle, s->node[i]);
    }
}

struct scenario_result scenario_run(uint64_t seed, enum sabotage sabotage, bool trace)
{
    struct scenario c = {.sim = sim_new(seed, true)};
    struct scenario_result r = {.opened = 0};
    struct sim *s = c.sim;
    s->sabotage = sabotage;
    s->echo = trace;
    begin(&c);
    sim_run(s, SCENARIO_FAULTS_MS);
    heal(&c);
    recover(&c, &r);
    if (sabotage == SABOTAGE_NONE)
        restart_all(&c);
    r.counts = oracle_counts(s->oracle);
    r.violations = s->violations;
    memcpy(r.violated, s->violated, sizeof(r.violated));
    memcpy(r.why, s->why, sizeof(r.why));
    sha256(buf_view(&s->trace), r.trace_hash);
    sim_free(s);
    return r;
}
