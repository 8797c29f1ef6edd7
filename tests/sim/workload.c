/* workload: walks, fails over, comes back, opens. */
#include "tests/sim/workload.h"
#include "common/crypto/payload.h"
#include "common/documents/chain.h"
#include "common/documents/write.h"
#include "tests/sim/attempt.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_MS 500u
#define LIFETIME_MS 1800000u

static const struct chain_stage *stage_of(const struct workload *w)
{
    return &w->chain->chain.stages[w->stage - 1];
}

/* ---- stages */

static void make_prevhash(struct workload *w)
{
    uint8_t hash[CAST_STAGES * SLOT_MAX][HASH_LEN];
    size_t count = 0;
    for (unsigned s = 0; s + 1 < w->stage; s++)
        for (size_t i = 0; i < w->got_count[s]; i++)
            memcpy(hash[count++], w->got[s][i].link_hash, HASH_LEN);
    context_prevhash((const uint8_t(*)[HASH_LEN])hash, count, w->prevhash);
}

static void stop_attempts(struct workload *w)
{
    for (size_t i = 0; i < SLOT_MAX; i++) {
        attempt_end(&w->attempt[i]);
        harvest_done(&w->attempt[i].grant);
        harvest_init(&w->attempt[i].grant);
        w->attempt[i].has_grant = false;
    }
}

static void on_begin_stage(void *arg)
{
    struct workload *w = arg;
    w->again = NULL;
    stop_attempts(w);
    make_prevhash(w);
    plan_init(&w->plan, stage_of(w)->need, (unsigned)stage_of(w)->count, w->sim->now_ms);
    workload_step(w);
}

/* The members' grants, in slot order, into the walk; then the stage's secret. */
static void keep_stage(struct workload *w)
{
    uint8_t x[SLOT_MAX];
    struct secret *y[SLOT_MAX];
    size_t s = w->stage - 1, count = 0;
    for (unsigned slot = 1; slot <= SLOT_MAX; slot++)
        for (size_t i = 0; i < SLOT_MAX; i++) {
            struct attempt *a = &w->attempt[i];
            if (!a->has_grant || a->grant.slot != slot || count == w->plan.need)
                continue;
            w->got[s][count] = a->grant;
            harvest_init(&a->grant);
            a->has_grant = false;
            x[count] = (uint8_t)slot;
            y[count] = w->got[s][count].share;
            count++;
        }
    w->got_count[s] = count;
    if (w->sim->sabotage == SABOTAGE_SWAPPED_SLOTS && count == 2) {
        struct secret *y0 = y[0];
        y[0] = y[1];
        y[1] = y0;
    }
    int rc = shamir_combine(x, y, (unsigned)count, &w->secret[s]);
    assert(rc == 0);
}

static void open_secret(struct workload *w)
{
    const struct envelope *e = &w->sim->cast->envelope->envelope;
    struct secret *dek = NULL, *key = NULL, *plain = NULL;
    uint8_t commitment[HASH_LEN], aad[HASH_LEN];
    int rc = share_dek(e->id, e->generation, w->secret, CAST_STAGES, &dek);
    if (rc == 0)
        rc = share_dek_commitment(dek, commitment);
    if (rc == 0 && memcmp(commitment, e->dek_commitment, HASH_LEN) != 0)
        rc = ERR_COMMITMENT;
    if (rc == 0)
        rc = share_payload_key(dek, &key);
    context_payload(e->owner, e->id, e->generation, aad);
    if (rc == 0)
        rc = payload_open(key, BYTES_OF(aad), e->payload, &plain);
    if (rc != 0 || !bytes_is(secret_borrow(plain), CAST_SECRET))
        sim_violate(w->sim, "secret", "%s opens something else: %s", w->device->id, err_name(rc));
    secret_free(dek);
    secret_free(key);
    secret_free(plain);
}

static void walk(void *arg);

static void content(struct workload *w)
{
    if (w->settings.stages == 0)
        open_secret(w);
    sim_trace(w->sim, w->device->id, w->settings.stages == 0 ? "opens the secret" : "is content");
    w->opened = true;
    w->opened_count++;
    w->walking = false;
    if (w->settings.endless)
        w->again = sim_after(w->sim, w->settings.pause_ms, walk, w);
}

static void stage_done(struct workload *w)
{
    keep_stage(w);
    stop_attempts(w);
    sim_trace(w->sim, w->device->id, "has stage %u", w->stage);
    if (w->stage == w->settings.stages || w->stage == CAST_STAGES) {
        content(w);
        return;
    }
    w->stage++;
    w->tries = 0;
    w->again = sim_after(w->sim, 0, on_begin_stage, w);
}

static void stage_failed(struct workload *w, int code)
{
    stop_attempts(w);
    w->last_code = code;
    sim_trace(w->sim, w->device->id, "stage %u fails: %s", w->stage, err_name(code));
    bool same = w->settings.stubborn || w->tries++ < w->settings.tries;
    w->again = sim_after(w->sim, w->settings.pause_ms, same ? on_begin_stage : walk, w);
}

static void on_wake(void *arg)
{
    struct workload *w = arg;
    w->wake = NULL;
    workload_step(w);
}

/* Called whenever something happened; w->again means that this stage is over. */
void workload_step(struct workload *w)
{
    sim_cancel(&w->wake);
    while (w->walking && w->again == NULL) {
        struct plan_action next = plan_next(&w->plan, w->sim->now_ms);
        if (next.verb == PLAN_START) {
            attempt_start(&w->attempt[next.member], next.member);
        } else if (next.verb == PLAN_STOP) {
            attempt_end(&w->attempt[next.member]);
        } else if (next.verb == PLAN_DONE) {
            stage_done(w);
        } else if (next.verb == PLAN_OVER) {
            stage_failed(w, next.code);
        } else {
            w->wake = sim_after(w->sim, next.wake_ms - w->sim->now_ms, on_wake, w);
            return;
        }
    }
}

/* ---- walks */

static void forget_walk(struct workload *w)
{
    stop_attempts(w);
    for (size_t s = 0; s < CAST_STAGES; s++) {
        for (size_t i = 0; i < w->got_count[s]; i++)
            harvest_done(&w->got[s][i]);
        w->got_count[s] = 0;
        secret_free(w->secret[s]);
        w->secret[s] = NULL;
    }
    if (w->e != NULL && --w->e->refs == 0) {
        ec_key_free(w->e->key);
        free(w->e);
    }
    w->e = NULL;
    document_unref(w->chain);
    w->chain = NULL;
}

/* Without alternates, so that whatever happens to a node happens to the walk. */
static void write_pinned(const struct workload *w, struct buf *ret_text)
{
    const struct cast *c = w->sim->cast;
    struct chain_member gate[] = {{1, "n1"}}, vault[] = {{1, "n3"}, {2, "n4"}}, last[] = {{1, "n6"}};
    struct chain_stage stages[] = {{"gate", 1, gate, 1}, {"vault", 2, vault, 2}, {"last", 1, last, 1}};
    struct document d = {.type = DOCUMENT_CHAIN, .network = CAST_NETWORK};
    struct err err = {.code = 0};
    d.expires_ms = (CAST_T0_MS + w->sim->now_ms + LIFETIME_MS) / 1000 * 1000;
    (void)snprintf(d.chain.operation, sizeof(d.chain.operation), CAST_OPERATION);
    memcpy(d.chain.policy_hash, c->policy->hash, HASH_LEN);
    memcpy(d.chain.envelope_hash, c->envelope->hash, HASH_LEN);
    d.chain.stages = stages;
    d.chain.stage_count = CAST_STAGES;
    int rc = document_write(&d, ret_text, &err);
    assert(rc == 0);
}

/* The order of the members changes from walk to walk, as observed health would make it. */
static int write_chain(struct workload *w, struct buf *ret_text)
{
    const struct cast *c = w->sim->cast;
    struct chain_world world = {c->policy, c->envelope, c->roster, w->sim->status[w->status]};
    struct chain_hint hint[SIM_NODES] = {{.latency_ms = 0}};
    struct err err = {.code = 0};
    for (size_t i = 0; i < SIM_NODES; i++) {
        memcpy(hint[i].node, c->node[i].name, sizeof(hint[i].node));
        hint[i].latency_ms = w->sim->random ? sim_random(w->sim, 100) : i;
    }
    int rc = chain_generate(&world, CAST_OPERATION, CAST_T0_MS + w->sim->now_ms, LIFETIME_MS, hint, SIM_NODES, ret_text,
                            &err);
    if (rc != 0) {
        w->last_code = rc;
        sim_trace(w->sim, w->device->id, "finds no chain: %.200s", err.text);
    }
    return rc;
}

static int new_session(struct workload *w)
{
    struct buf text;
    struct err err = {.code = 0};
    struct rng rng = sim_rng(w->sim);
    if (w->settings.pinned)
        write_pinned(w, &text);
    else if (write_chain(w, &text) != 0)
        return w->last_code;
    int rc = document_parse(buf_view(&text), "chain", &w->chain, &err);
    assert(rc == 0);
    buf_done(&text);
    w->e = calloc(1, sizeof(*w->e));
    assert(w->e != NULL);
    w->e->refs = 1;
    rc = ec_key_new(&w->e->key);
    assert(rc == 0);
    (void)rng.fill(rng.arg, w->client_nonce, NONCE_LEN);
    return 0;
}

static int share_session(struct workload *w)
{
    const struct workload *of = w->settings.twin_of;
    if (of->e == NULL)
        return ERR_UNAVAILABLE;
    w->chain = document_ref(of->chain);
    w->e = of->e;
    w->e->refs++;
    memcpy(w->client_nonce, of->client_nonce, NONCE_LEN);
    return 0;
}

static void walk(void *arg)
{
    struct workload *w = arg;
    struct sid_fields f = {.network = bytes_str(CAST_NETWORK)};
    w->again = NULL;
    forget_walk(w);
    w->walking = true;
    if ((w->settings.twin_of != NULL ? share_session(w) : new_session(w)) != 0) {
        w->again = sim_after(w->sim, w->settings.pause_ms, walk, w);
        return;
    }
    ec_key_point(w->e->key, w->point);
    ec_point_spki_hash(w->point, w->eid);
    memcpy(f.eid, w->eid, HASH_LEN);
    memcpy(f.client_key_hash, w->party.key_hash, HASH_LEN);
    memcpy(f.client_nonce, w->client_nonce, NONCE_LEN);
    memcpy(f.chain_hash, w->chain->hash, HASH_LEN);
    context_sid(&f, w->sid);
    w->stage = 1;
    w->tries = 0;
    on_begin_stage(w);
}

/* ---- life */

struct workload *workload_new(struct sim *s, struct workload_settings settings)
{
    struct workload *w = calloc(1, sizeof(*w));
    assert(w != NULL && s->workload_count < SIM_WORKLOADS_MAX);
    w->sim = s;
    w->settings = settings;
    if (w->settings.pause_ms == 0)
        w->settings.pause_ms = PAUSE_MS;
    w->device = &s->cast->device[settings.device];
    w->status = 1;
    w->party = (struct link_party){.sim = s, .name = w->device->id, .issuer_der = buf_view(&s->cast->device_ca)};
    memcpy(w->party.leaf_hash, w->device->leaf_hash, HASH_LEN);
    memcpy(w->party.key_hash, w->device->key_hash, HASH_LEN);
    static const uint8_t address[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 0, [14] = 1};
    memcpy(w->party.address, address, sizeof(address));
    w->party.address[15] = (uint8_t)(settings.device + 1);
    for (size_t i = 0; i < SLOT_MAX; i++) {
        w->attempt[i].w = w;
        harvest_init(&w->attempt[i].grant);
    }
    s->workload[s->workload_count++] = w;
    return w;
}

void workload_start(struct workload *w)
{
    w->opened = false;
    walk(w);
}

void workload_stop(struct workload *w)
{
    w->walking = false;
    sim_cancel(&w->wake);
    sim_cancel(&w->again);
    stop_attempts(w);
}

void workload_free(struct workload *w)
{
    forget_walk(w);
    for (size_t i = 0; i < SLOT_MAX; i++)
        harvest_done(&w->attempt[i].grant);
    free(w);
}

const bool *workload_opened(const struct workload *w)
{
    return &w->opened;
}

unsigned workload_opened_count(const struct workload *w)
{
    return w->opened_count;
}

int workload_last_code(const struct workload *w)
{
    return w->last_code;
}

const uint8_t *workload_chain_hash(const struct workload *w)
{
    return w->chain->hash;
}

void workload_learn(struct workload *w, unsigned status_version)
{
    w->status = status_version;
}
