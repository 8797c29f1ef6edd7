/* node: incarnations of a node, from start to stop or crash. */
#include "tests/sim/node.h"
#include "node/denial.h"
#include "node/grant.h"
#include "node/intake.h"
#include "node/papers.h"
#include "node/sweep.h"
#include "tests/sim/link.h"
#include "tests/sim/oracle.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX 8192u
#define LOG_TICK_MS 100u
#define TICK_MS 1000u
#define TICKS_PER_MINUTE 60u
#define START_AGAIN_MS 5000u
#define DRAIN_POLL_MS 10u

static void give_up(struct run *r);

/* ---- time and chance */

static uint64_t read_clock(void *arg)
{
    const struct sim_node *n = arg;
    return (uint64_t)((int64_t)(CAST_T0_MS + n->sim->now_ms) + n->clock_offset_ms);
}

static uint64_t read_monotonic(void *arg)
{
    const struct sim_node *n = arg;
    return 1000000 + n->sim->now_ms;
}

static struct clock clock_of(struct sim_node *n)
{
    return (struct clock){read_clock, read_monotonic, n};
}

/* ---- the incarnation as node/server.c has it */

static void fill_config(struct run *r)
{
    struct node_config *c = &r->config;
    *c = (struct node_config){.hsm = true,
                              .root = (char *)(uintptr_t)r->sim->cast->root_file,
                              .documents = (char *)(uintptr_t)r->sim->cast->folder,
                              .connections = 1000,
                              .connections_per_address = 100,
                              .begins_per_minute = 6000,
                              .denial_days = 1,
                              .workers = 2};
    (void)snprintf(c->network, sizeof(c->network), "%s", CAST_NETWORK);
    (void)snprintf(c->name, sizeof(c->name), "%s", r->of->name);
    memcpy(c->root_hash, r->sim->cast->root->hash, HASH_LEN);
}

static void on_papers_changed(void *arg)
{
    struct run *r = arg;
    papers_flush(&r->node);
    (void)papers_take_trust_changed(&r->node);
}

static struct run *run_new(struct sim_node *n)
{
    struct run *r = calloc(1, sizeof(*r));
    assert(r != NULL);
    r->sim = n->sim;
    r->of = n;
    n->runs++;
    fill_config(r);
    struct node *p = &r->node;
    p->config = &r->config;
    p->clock = clock_of(n);
    p->rng = sim_rng(n->sim);
    p->started_ms = p->clock.monotonic_ms(p->clock.arg);
    p->store = disk_open(n->disk, r);
    r->door = door_new(r);
    p->token = door_token(r->door);
    memcpy(p->keys.kem, n->cast->kem_point, EC_POINT_LEN);
    memcpy(p->keys.seal, n->cast->seal_point, EC_POINT_LEN);
    memcpy(p->keys.peer, n->cast->peer_point, EC_POINT_LEN);
    p->keys.profile = CAST_PROFILE;
    ec_point_spki_hash(p->keys.kem, p->keys.kem_hash);
    uv_loop_t *loop = (uv_loop_t *)r;
    int rc = worker_start(loop, r->config.workers, QUEUE_MAX, &p->workers);
    rc |= worker_start(loop, 1, QUEUE_MAX, &p->store_thread);
    rc |= shelf_new(CAST_NETWORK, r->config.root_hash, &p->shelf);
    rc |= denials_new(p, &p->denials);
    assert(rc == 0);
    r->host = (struct session_host){.node = p, .loop = loop, .papers_changed = on_papers_changed, .arg = r};
    r->host.limits = limits_new(r->config.connections, r->config.connections_per_address, r->config.begins_per_minute);
    assert(r->host.limits != NULL);
    return r;
}

static void run_free(struct run *r)
{
    struct node *p = &r->node;
    denials_free(p->denials);
    limits_free(r->host.limits);
    papers_forget(p);
    shelf_free(p->shelf);
    store_close(p->store);
    door_free(r->door);
    r->of->runs--;
    free(r);
}

/* ---- time goes on */

static void on_log_tick(void *arg)
{
    struct run *r = arg;
    if (r->node.log != NULL)
        node_log_tick(r->node.log);
    r->log_tick = sim_after(r->sim, LOG_TICK_MS, on_log_tick, r);
}

static void on_tick(void *arg)
{
    struct run *r = arg;
    struct node *n = &r->node;
    r->tick = sim_after(r->sim, TICK_MS, on_tick, r);
    on_papers_changed(r);
    sweep_tick(n);
    if (++r->ticks % TICKS_PER_MINUTE == 0)
        denials_tick(n->denials);
}

/* ---- starting */

static void on_start_entry(struct log_append *a, const struct err *err)
{
    struct run *r = a->arg;
    if (err != NULL && err->code != ERR_TOKEN)
        give_up(r);
}

static void on_log_ready(void *arg, const struct err *err)
{
    struct run *r = arg;
    struct node *n = &r->node;
    if (r->stopping)
        return;
    if (err != NULL) {
        r->of->broken_start = err->code == ERR_INTEGRITY;
        if (!r->dead)
            sim_trace(r->sim, r->of->name, "cannot start: %.200s", err->text);
        if (!r->dead && r->of->broken_start)
            sim_violate(r->sim, "tree", "%s: %.200s", r->of->name, err->text);
        give_up(r);
        return;
    }
    r->start_entry = (struct log_append){.entry = {.type = ENTRY_START}, .done = on_start_entry, .arg = r};
    if (node_log_append(n->log, &r->start_entry) != 0) {
        give_up(r);
        return;
    }
    papers_flush(n);
    r->ready = true;
    r->tick = sim_after(r->sim, TICK_MS, on_tick, r);
    if (!r->dead)
        sim_trace(r->sim, r->of->name, "ready, %llu entries",
                  (unsigned long long)disk_count(r->of->disk, STORE_ENTRIES));
}

static int start_log(struct run *r, struct err *err)
{
    struct node *n = &r->node;
    TRY(papers_load(n, err));
    struct node_log_settings settings = {.store = n->store,
                                         .store_thread = n->store_thread,
                                         .token = n->token,
                                         .clock = n->clock,
                                         .network = r->config.network,
                                         .node = r->config.name,
                                         .key = r->of->cast->log_key};
    return node_log_start(&settings, on_log_ready, r, &n->log, err);
}

static void on_start(void *arg)
{
    struct sim_node *n = arg;
    struct err err = {.code = 0};
    if (n->run != NULL || n->stays_down)
        return;
    struct run *r = n->run = run_new(n);
    r->log_tick = sim_after(n->sim, LOG_TICK_MS, on_log_tick, r);
    if (start_log(r, &err) != 0) {
        sim_trace(n->sim, n->name, "cannot start: %.200s", err.text);
        give_up(r);
    }
}

void sim_node_start(struct sim_node *n)
{
    n->stays_down = false;
    (void)sim_after(n->sim, sim_delay(n->sim, DELAY_START), on_start, n);
}

/* ---- stopping: sessions, ledger, token, threads, in the order of node/server.c */

static void threads_stopped(void *arg)
{
    run_free(arg);
}

static void stop_store_thread(void *arg)
{
    struct run *r = arg;
    worker_stop(r->node.store_thread, threads_stopped, r);
}

static void on_log_stopped(void *arg)
{
    struct run *r = arg;
    r->node.log = NULL; /* it freed itself */
    sim_cancel(&r->log_tick);
    door_close(r->door);
    worker_stop(r->node.workers, stop_store_thread, r);
}

static void on_drain(void *arg)
{
    struct run *r = arg;
    session_drain(&r->host, r->dead);
    bool writes = r->node.papers.writing > 0 && !r->dead;
    if (r->host.sessions != NULL || r->node.visits != NULL || r->node.papers.intakes != NULL || writes)
        (void)sim_after(r->sim, DRAIN_POLL_MS, on_drain, r);
    else if (r->node.log != NULL)
        node_log_stop(r->node.log, on_log_stopped, r);
    else
        on_log_stopped(r);
}

static void stop(struct run *r)
{
    r->stopping = true;
    r->node.draining = true;
    papers_flush(&r->node);
    sim_cancel(&r->tick);
    if (r->of->run == r)
        r->of->run = NULL;
    (void)sim_after(r->sim, 0, on_drain, r);
}

void sim_node_stop(struct sim_node *n)
{
    n->stays_down = true;
    if (n->run == NULL)
        return;
    sim_trace(n->sim, n->name, "stops");
    stop(n->run);
}

/* Ends an incarnation and lets its supervisor try again. */
static void give_up(struct run *r)
{
    if (r->stopping)
        return;
    stop(r);
    if (!r->dead && !r->of->stays_down)
        (void)sim_after(r->sim, START_AGAIN_MS, on_start, r->of);
}

/* ---- crashing */

void sim_node_crash(struct sim_node *n, const char *when)
{
    struct run *r = n->run;
    if (r == NULL)
        return;
    sim_trace(n->sim, n->name, "crashes %s", when);
    r->dead = true;
    n->crashes++;
    disk_detach(r->node.store);
    disk_crash(n->disk);
    oracle_crashed(n->sim->oracle, n);
    link_cut_all(r);
    stop(r);
    if (!n->stays_down)
        (void)sim_after(n->sim, n->sim->random ? 20 + sim_random(n->sim, 3000) : NODE_RESTART_MS, on_start, n);
}

bool run_strikes(struct run *r, enum point p)
{
    struct sim *s = r->sim;
    struct sim_fault *f = &s->fault;
    if (r->dead || r->of->run != r)
        return r->dead;
    if (f->armed && f->crash && f->node == r->of->index && f->point == p && f->pass-- == 0) {
        f->armed = false;
        sim_node_crash(r->of, point_words(p));
        return true;
    }
    if (sim_chance(s, s->crash_chance)) {
        sim_node_crash(r->of, point_words(p));
        return true;
    }
    return false;
}

/* ---- life */

struct sim_node *sim_node_new(struct sim *s, unsigned index)
{
    struct sim_node *n = calloc(1, sizeof(*n));
    assert(n != NULL);
    n->sim = s;
    n->index = index;
    n->cast = &s->cast->node[index];
    n->stays_down = true;
    (void)snprintf(n->name, sizeof(n->name), "%.7s", n->cast->name);
    n->disk = disk_new(n);
    return n;
}

void sim_node_free(struct sim_node *n)
{
    assert(n->runs == 0);
    disk_free(n->disk);
    free(n);
}

bool sim_node_serves(const struct sim_node *n)
{
    return n->run != NULL && n->run->ready;
}

static void on_taken_in(void *arg, unsigned accepted, const struct err *err)
{
    struct run *r = arg;
    if (r->dead)
        return;
    sim_trace(r->sim, r->of->name, accepted > 0 ? "accepts a document" : "takes no document: %.100s",
              err != NULL ? err->text : "known");
    on_papers_changed(r);
}

void sim_node_give(struct sim_node *n, struct bytes note)
{
    const struct msg_note one = {note};
    struct intake *i = NULL;
    if (sim_node_serves(n) && intake_offer(&n->run->node, &one, 1, "operator", on_taken_in, n->run, &i) != 0)
        sim_trace(n->sim, n->name, "takes no document now");
}
