/* walk: stages in order, attempts at their members, and the documents that change meanwhile. */
#include "orchestrator/walk.h"
#include "orchestrator/plan.h"
#include "orchestrator/report.h"
#include "orchestrator/words.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define VERSIONS_MAX 6
#define BEHIND_MAX 2 /* times that one member may name newer documents */

struct attempt { /* at one member of the stage under way */
    struct walk *walk;
    unsigned member; /* of the plan, from 0 */
    struct client *client;
    struct message begin;
    struct msg_document_version versions[VERSIONS_MAX];
    uint8_t version_hash[VERSIONS_MAX][HASH_LEN];
    uint64_t started_us;
    bool behind; /* waits for newer documents */
    unsigned behind_count;
    char why[256]; /* of the last failure */
};

struct walk {
    struct walk_inputs in;
    struct walk_session session;
    struct ec_key *e;
    uint8_t point[EC_POINT_LEN];
    struct document *roster; /* in force */
    struct report report;

    unsigned stage; /* from 1 */
    struct plan plan;
    struct attempt attempts[SLOT_MAX]; /* by the plan's members */
    struct harvested grants[STAGE_MAX][SLOT_MAX];
    size_t grant_count[STAGE_MAX]; /* in slot order once the stage is done */
    struct msg_link links[LINK_COUNT_MAX];
    uint8_t link_hashes[LINK_COUNT_MAX][HASH_LEN];
    size_t link_count; /* of the stages that are done */
    uint8_t prevhash[HASH_LEN];
    struct secret *secrets[STAGE_MAX];

    unsigned refreshes;
    bool refreshing, over;
    uv_timer_t deadline, wake;
    unsigned open_timers;
    int rc;
    struct err err;
};

static void step(struct walk *w);

static const struct chain_stage *stage_of(const struct walk *w)
{
    return &w->in.chain->chain.stages[w->stage - 1];
}

static const struct chain_member *member_of(const struct attempt *a)
{
    return &stage_of(a->walk)->members[a->member];
}

/* ---- reporting */

static void tell(struct attempt *a, int result, const char *detail, struct bytes denial_id, const struct harvested *g)
{
    struct walk *w = a->walk;
    struct enf_visit v = {.stage = stage_of(w)->name,
                          .node = member_of(a)->node,
                          .stage_number = w->stage,
                          .slot = member_of(a)->slot,
                          .result = result,
                          .detail = detail,
                          .milliseconds = (double)(uv_hrtime() / 1000 - a->started_us) / 1000.0};
    report_add(&w->report, &v, denial_id, g);
}

/* Why the stage could not be completed, member by member. */
static int fail_stage(struct walk *w, int code)
{
    char list[ERR_TEXT_MAX - 128] = "";
    size_t used = 0, got = w->grant_count[w->stage - 1];
    for (unsigned i = 0; i < w->plan.count && used < sizeof(list) - 1; i++) {
        const struct attempt *a = &w->attempts[i];
        const char *why = a->why[0] != '\0' ? a->why : "not asked";
        if (w->plan.members[i].state == PLAN_GOT)
            continue;
        int n = snprintf(list + used, sizeof(list) - used, "%s%s: %s", used > 0 ? "; " : "", member_of(a)->node, why);
        used += n > 0 ? (size_t)n : 0;
    }
    return err_set(&w->err, code, "stage %s: %zu of %u members gave their share: %s", stage_of(w)->name, got,
                   w->plan.need, list);
}

/* ---- ends */

static void attempt_stop(struct attempt *a)
{
    client_free(a->client);
    a->client = NULL;
    a->behind = false;
}

static void stop_all(struct walk *w, const char *why)
{
    for (unsigned i = 0; i < w->plan.count; i++) {
        if (w->plan.members[i].state != PLAN_RUNNING)
            continue;
        attempt_stop(&w->attempts[i]);
        tell(&w->attempts[i], ERR_CLOSED, why, BYTES_NONE, NULL);
        w->plan.members[i].state = PLAN_FAILED;
    }
}

static void finish(struct walk *w, int rc)
{
    if (w->over)
        return;
    stop_all(w, "the walk ended before it answered");
    if (w->refreshing)
        depot_cancel(w->in.depot);
    w->refreshing = false;
    w->over = true;
    w->rc = rc;
}

static void attempt_failed(struct attempt *a, const struct err *why, bool denied, struct bytes denial_id)
{
    struct walk *w = a->walk;
    attempt_stop(a);
    words_copy(a->why, sizeof(a->why), why->text);
    tell(a, why->code, why->text, denial_id, NULL);
    plan_failed(&w->plan, a->member, why->code, denied, uv_now(w->in.loop));
}

static void attempt_failed_with(struct attempt *a, int code, const char *text)
{
    struct err err = {0};
    err_set(&err, code, "%s", text);
    attempt_failed(a, &err, false, BYTES_NONE);
}

/* ---- Begin */

static void add_version(struct attempt *a, const struct document *d)
{
    size_t i = a->begin.begin.versions.count;
    assert(i < VERSIONS_MAX);
    if (d == NULL)
        return;
    memcpy(a->version_hash[i], d->hash, HASH_LEN);
    a->versions[i] = (struct msg_document_version){
        .type = bytes_str(document_type_name(d->type)), .version = d->version, .hash = BYTES_OF(a->version_hash[i])};
    if (d == a->walk->in.policy || d == a->walk->in.envelope) /* those we hold for the whole walk */
        a->versions[i].name = bytes_str(d->name);
    a->begin.begin.versions.count++;
}

static void make_begin(struct attempt *a)
{
    struct walk *w = a->walk;
    struct shelf *shelf = depot_shelf(w->in.depot);
    a->begin = (struct message){.type = MESSAGE_BEGIN};
    struct msg_begin *b = &a->begin.begin;
    b->network = bytes_str(w->in.network);
    b->node = bytes_str(member_of(a)->node);
    b->chain = w->in.chain->text;
    b->stage = w->stage;
    b->slot = member_of(a)->slot;
    b->session_key = BYTES_OF(w->point);
    b->client_nonce = BYTES_OF(w->session.client_nonce);
    b->links.at = w->links;
    b->links.count = w->link_count;
    b->versions.at = a->versions;
    add_version(a, shelf_find(shelf, DOCUMENT_ROOT, BYTES_NONE));
    add_version(a, w->roster);
    add_version(a, shelf_find(shelf, DOCUMENT_INVENTORY, BYTES_NONE));
    add_version(a, shelf_find(shelf, DOCUMENT_STATUS, BYTES_NONE));
    add_version(a, w->in.policy);
    add_version(a, w->in.envelope);
}

static const struct client_events client_events;

static int start_client(struct attempt *a, struct err *err)
{
    struct walk *w = a->walk;
    struct tls_context *tls;
    TRY(depot_tls(w->in.depot, &tls, err));
    const struct roster_node *node = roster_find(w->roster, bytes_str(member_of(a)->node));
    if (node == NULL)
        return err_set(err, ERR_NOT_FOUND, "it is not in the roster");
    make_begin(a);
    struct client_order order = {.loop = w->in.loop,
                                 .workers = w->in.workers,
                                 .attester = w->in.attester,
                                 .tls = tls,
                                 .node = node,
                                 .source = w->in.source,
                                 .pool = w->in.pool,
                                 .begin = &a->begin,
                                 .factors = &w->in.policy->policy.stages[w->stage - 1].factors,
                                 .sid = w->session.sid,
                                 .prevhash = w->prevhash};
    return client_start(&order, &client_events, a, &a->client, err);
}

static void attempt_start(struct attempt *a)
{
    struct err err = {0};
    int rc = start_client(a, &err);
    if (rc == 0)
        return;
    if (err.code == 0)
        err_set(&err, rc, "%s", err_advice_text(rc));
    attempt_failed(a, &err, false, BYTES_NONE);
}

/* ---- documents that change on the way */

/* The same judgement as before the walk, under the documents in force now. */
static int judge_world(struct walk *w, struct err *err)
{
    struct shelf *shelf = depot_shelf(w->in.depot);
    uint64_t now = now_ms();
    if (depot_envelope(w->in.depot).len > 0)
        (void)!depot_offer(w->in.depot, depot_envelope(w->in.depot), "envelope",
                           NULL); /* what is refused is not newer */
    TRY(shelf_fresh(shelf, now, err));
    document_unref(w->roster);
    w->roster = document_ref(shelf_find(shelf, DOCUMENT_ROSTER, BYTES_NONE)); /* there: shelf_fresh */
    const struct document *policy = shelf_find(shelf, DOCUMENT_POLICY, bytes_str(w->in.policy->name));
    const struct document *envelope = shelf_find(shelf, DOCUMENT_ENVELOPE, bytes_str(w->in.envelope->name));
    if (policy != NULL && policy->version > w->in.policy->version)
        return err_set(err, ERR_STALE, "policy %s was replaced while the chain was walked", policy->name);
    if (envelope != NULL && envelope->version > w->in.envelope->version)
        return err_set(err, ERR_STALE, "envelope %s was replaced while the chain was walked", envelope->name);
    struct chain_world world = {.policy = w->in.policy,
                                .envelope = w->in.envelope,
                                .roster = w->roster,
                                .status = shelf_find(shelf, DOCUMENT_STATUS, BYTES_NONE)};
    return chain_check(&world, w->in.chain, now, err);
}

static void on_refreshed(void *arg, const struct err *failed)
{
    struct walk *w = arg;
    w->refreshing = false;
    if (failed == NULL && judge_world(w, &w->err) != 0) {
        err_wrap(&w->err, w->err.code, "under the newer documents that a node named");
        finish(w, w->err.code);
        return;
    }
    for (unsigned i = 0; i < w->plan.count; i++) {
        struct attempt *a = &w->attempts[i];
        if (!a->behind)
            continue;
        a->behind = false;
        if (failed != NULL)
            attempt_failed_with(a, ERR_STALE, a->why);
        else
            attempt_start(a);
    }
    step(w);
}

/* From the configuration servers, else from the node that has them. */
static int start_refresh(struct walk *w, const char *node, struct err *err)
{
    struct fetch_want wants[VERSIONS_MAX] = {{.type = DOCUMENT_ROOT},      {.type = DOCUMENT_ROSTER},
                                             {.type = DOCUMENT_INVENTORY}, {.type = DOCUMENT_STATUS},
                                             {.type = DOCUMENT_POLICY},    {.type = DOCUMENT_ENVELOPE}};
    memcpy(wants[4].name, w->in.policy->name, sizeof(wants[4].name));
    memcpy(wants[5].name, w->in.envelope->name, sizeof(wants[5].name));
    w->refreshes++;
    w->refreshing = true;
    int rc = depot_fetch(w->in.depot, wants, VERSIONS_MAX, node, on_refreshed, w, err);
    if (rc != 0)
        w->refreshing = false;
    return rc;
}

static void on_behind(void *arg, const char *what)
{
    struct attempt *a = arg;
    struct walk *w = a->walk;
    struct err err = {0};
    attempt_stop(a);
    snprintf(a->why, sizeof(a->why), "it has %s, newer than any that we could fetch", what);
    if (++a->behind_count >= BEHIND_MAX) {
        attempt_failed_with(a, ERR_STALE, a->why);
        step(w);
        return;
    }
    a->behind = true;
    if (w->refreshing)
        return;
    if (w->refreshes == WALK_REFRESHES_MAX || start_refresh(w, member_of(a)->node, &err) != 0) {
        attempt_failed_with(a, ERR_STALE, a->why);
        step(w);
    }
}

static bool is_newer(void *arg, const struct msg_document_version *v)
{
    const struct walk *w = ((struct attempt *)arg)->walk;
    struct shelf *shelf = depot_shelf(w->in.depot);
    const struct document *ours = NULL;
    enum document_type type = document_type_from(v->type);
    switch (type) {
    case DOCUMENT_ROOT:
    case DOCUMENT_ROSTER:
    case DOCUMENT_INVENTORY:
    case DOCUMENT_STATUS:
        ours = shelf_find(shelf, type, BYTES_NONE);
        return v->version > (ours != NULL ? ours->version : 0);
    case DOCUMENT_POLICY:
        ours = w->in.policy;
        break;
    case DOCUMENT_ENVELOPE:
        ours = w->in.envelope;
        break;
    default:
        return false;
    }
    return bytes_is(v->name, ours->name) && v->version > ours->version;
}

static struct bytes find_note(void *arg, const struct msg_document_want *want)
{
    const struct walk *w = ((struct attempt *)arg)->walk;
    struct shelf *shelf = depot_shelf(w->in.depot);
    enum document_type type = document_type_from(want->type);
    if (type == DOCUMENT_NONE)
        return BYTES_NONE;
    if (type == DOCUMENT_CHAIN)
        return w->in.chain->text;
    const struct document *d = NULL;
    if (want->hash.len == HASH_LEN)
        d = shelf_find_hash(shelf, type, want->hash.p);
    else if (want->hash.len == 0)
        d = shelf_find(shelf, type, want->name);
    return d != NULL ? d->note : BYTES_NONE;
}

/* ---- what clients report */

static void on_alive(void *arg, uint64_t quiet_until_ms)
{
    struct attempt *a = arg;
    plan_alive(&a->walk->plan, a->member, quiet_until_ms);
}

static void on_failed(void *arg, const struct err *why, bool denied, struct bytes denial_id)
{
    struct attempt *a = arg;
    struct walk *w = a->walk;
    struct err copy = *why; /* it may live in the client that is about to go */
    attempt_failed(a, &copy, denied, denial_id);
    step(w);
}

static void on_busy(void *arg, uint64_t retry_after_ms)
{
    struct attempt *a = arg;
    struct walk *w = a->walk;
    attempt_stop(a);
    snprintf(a->why, sizeof(a->why), "busy");
    plan_busy(&w->plan, a->member, retry_after_ms, uv_now(w->in.loop));
    step(w);
}

static void expect_link(const struct walk *w, struct links_expect *ret)
{
    *ret = (struct links_expect){.network = bytes_str(w->in.network),
                                 .generation = w->in.envelope->envelope.generation,
                                 .now_ms = now_ms(),
                                 .skew_ms = WALK_SKEW_MS};
    memcpy(ret->sid, w->session.sid, HASH_LEN);
    memcpy(ret->eid, w->session.eid, HASH_LEN);
    memcpy(ret->chain_hash, w->session.chain_hash, HASH_LEN);
    memcpy(ret->policy_hash, w->in.policy->hash, HASH_LEN);
    memcpy(ret->envelope_hash, w->in.envelope->hash, HASH_LEN);
}

static void on_release(void *arg, const struct msg_release *release)
{
    struct attempt *a = arg;
    struct walk *w = a->walk;
    struct links_expect expect;
    struct err err = {0};
    expect_link(w, &expect);
    const struct roster_node *node = roster_find(w->roster, bytes_str(member_of(a)->node));
    struct harvest_order order = {.expect = &expect,
                                  .e = w->e,
                                  .chain = w->in.chain,
                                  .envelope = w->in.envelope,
                                  .node = node,
                                  .stage = w->stage,
                                  .slot = member_of(a)->slot,
                                  .prevhash = w->prevhash,
                                  .previous = w->stage > 1 ? w->grants[w->stage - 2] : NULL,
                                  .previous_count = w->stage > 1 ? w->grant_count[w->stage - 2] : 0};
    struct harvested *g = &w->grants[w->stage - 1][w->grant_count[w->stage - 1]];
    harvest_init(g);
    int rc = node != NULL ? harvest(&order, &release->link, release->answer, g, &err)
                          : err_set(&err, ERR_NOT_FOUND, "it is no longer in the roster");
    if (rc != 0) {
        harvest_done(g);
        attempt_failed(a, &err, false, BYTES_NONE);
    } else {
        attempt_stop(a);
        w->grant_count[w->stage - 1]++;
        plan_got(&w->plan, a->member);
        tell(a, 0, g->factors, BYTES_NONE, g);
    }
    step(w);
}

static const struct client_events client_events = {.on_alive = on_alive,
                                                   .on_release = on_release,
                                                   .on_busy = on_busy,
                                                   .on_behind = on_behind,
                                                   .on_failed = on_failed,
                                                   .find = find_note,
                                                   .is_newer = is_newer};

/* ---- stages */

static int compare_grants(const void *a, const void *b)
{
    const struct harvested *x = a, *y = b;
    return (x->slot > y->slot) - (x->slot < y->slot);
}

static void stage_begin(struct walk *w)
{
    const struct chain_stage *s = stage_of(w);
    uv_update_time(w->in.loop);
    plan_init(&w->plan, s->need, (unsigned)s->count, uv_now(w->in.loop));
    for (unsigned i = 0; i < s->count; i++)
        w->attempts[i] = (struct attempt){.walk = w, .member = i};
    context_prevhash((const uint8_t(*)[HASH_LEN])w->link_hashes, w->link_count, w->prevhash);
}

/* Links of the stage that is done go to all later ones. */
static void stage_links(struct walk *w)
{
    for (size_t i = 0; i < w->grant_count[w->stage - 1]; i++) {
        const struct harvested *g = &w->grants[w->stage - 1][i];
        w->links[w->link_count] = (struct msg_link){buf_view(&g->body), buf_view(&g->entry), buf_view(&g->receipt)};
        memcpy(w->link_hashes[w->link_count], g->link_hash, HASH_LEN);
        w->link_count++;
    }
}

/* `need` shares into the stage's secret; then nobody needs the shares, nor the tags that led here. */
static int stage_end(struct walk *w)
{
    struct harvested *g = w->grants[w->stage - 1];
    size_t count = w->grant_count[w->stage - 1];
    uint8_t x[SLOT_MAX];
    struct secret *y[SLOT_MAX];
    assert(count == w->plan.need);
    qsort(g, count, sizeof(*g), compare_grants);
    for (size_t i = 0; i < count; i++) {
        x[i] = (uint8_t)g[i].slot;
        y[i] = g[i].share;
    }
    int rc = shamir_combine(x, y, (unsigned)count, &w->secrets[w->stage - 1]);
    if (rc != 0)
        return err_set(&w->err, rc, "stage %s: the shares do not combine", stage_of(w)->name);
    for (size_t i = 0; i < count; i++) {
        secret_free(g[i].share);
        g[i].share = NULL;
    }
    for (size_t i = 0; w->stage > 1 && i < w->grant_count[w->stage - 2]; i++)
        harvest_forget(&w->grants[w->stage - 2][i]);
    stage_links(w);
    return 0;
}

static void stage_done(struct walk *w)
{
    stop_all(w, "no longer needed");
    int rc = stage_end(w);
    if (rc != 0 || w->stage == w->in.chain->chain.stage_count) {
        finish(w, rc);
        return;
    }
    w->stage++;
    stage_begin(w);
}

static void on_wake(uv_timer_t *t)
{
    step(t->data);
}

static void do_start(struct walk *w, unsigned member)
{
    struct attempt *a = &w->attempts[member];
    a->started_us = uv_hrtime() / 1000;
    attempt_start(a);
}

static void do_stop(struct walk *w, unsigned member, int code)
{
    struct attempt *a = &w->attempts[member];
    attempt_stop(a);
    snprintf(a->why, sizeof(a->why), "no answer in time");
    tell(a, code, a->why, BYTES_NONE, NULL);
}

static void step(struct walk *w)
{
    while (!w->over) {
        uint64_t now = uv_now(w->in.loop);
        struct plan_action act = plan_next(&w->plan, now);
        switch (act.verb) {
        case PLAN_START:
            do_start(w, act.member);
            break;
        case PLAN_STOP:
            do_stop(w, act.member, act.code);
            break;
        case PLAN_WAIT:
            uv_timer_start(&w->wake, on_wake, act.wake_ms - now, 0);
            return;
        case PLAN_DONE:
            stage_done(w);
            break;
        case PLAN_OVER:
            finish(w, fail_stage(w, act.code));
            break;
        }
    }
}

static void on_deadline(uv_timer_t *t)
{
    struct walk *w = t->data;
    char stage[NAME_MAX_LEN + 1];
    snprintf(stage, sizeof(stage), "%s", stage_of(w)->name);
    err_set(&w->err, ERR_DEADLINE, "stage %s was not done within %llu s", stage,
            (unsigned long long)(w->in.deadline_ms / 1000));
    finish(w, ERR_DEADLINE);
}

/* ---- life */

static int make_session(struct walk *w, struct err *err)
{
    struct tls_context *tls;
    struct rng rng = rng_system();
    struct sid_fields f = {.network = bytes_str(w->in.network)};
    TRY(depot_tls(w->in.depot, &tls, err));
    int rc = ec_key_new(&w->e);
    if (rc == 0)
        rc = rng.fill(rng.arg, w->session.client_nonce, NONCE_LEN);
    if (rc != 0)
        return err_set(err, rc, "cannot make a session key");
    ec_key_point(w->e, w->point);
    ec_point_spki_hash(w->point, w->session.eid);
    tls_own_key_hash(tls, w->session.client_key_hash);
    memcpy(w->session.chain_hash, w->in.chain->hash, HASH_LEN);
    memcpy(f.eid, w->session.eid, HASH_LEN);
    memcpy(f.client_key_hash, w->session.client_key_hash, HASH_LEN);
    memcpy(f.client_nonce, w->session.client_nonce, NONCE_LEN);
    memcpy(f.chain_hash, w->session.chain_hash, HASH_LEN);
    context_sid(&f, w->session.sid);
    return 0;
}

int walk_new(const struct walk_inputs *in, struct walk **ret, struct err *err)
{
    struct document *roster = shelf_find(depot_shelf(in->depot), DOCUMENT_ROSTER, BYTES_NONE);
    if (roster == NULL)
        return err_set(err, ERR_DOCUMENTS, "there is no roster");
    struct walk *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    w->in = *in;
    document_ref(in->chain);
    document_ref(in->policy);
    document_ref(in->envelope);
    w->roster = document_ref(roster);
    report_init(&w->report, in->observer, in->observer_arg);
    int rc = make_session(w, err);
    if (rc != 0) {
        walk_free(w);
        return rc;
    }
    *ret = w;
    return 0;
}

static void forget(struct walk *w)
{
    ec_key_free(w->e);
    w->e = NULL;
    for (size_t s = 0; s < STAGE_MAX; s++) {
        for (size_t i = 0; i < w->grant_count[s]; i++)
            harvest_forget(&w->grants[s][i]);
        secret_free(w->secrets[s]);
        w->secrets[s] = NULL;
    }
}

void walk_free(struct walk *w)
{
    if (w == NULL)
        return;
    forget(w);
    for (size_t s = 0; s < STAGE_MAX; s++)
        for (size_t i = 0; i < w->grant_count[s]; i++)
            harvest_done(&w->grants[s][i]);
    report_done(&w->report);
    document_unref(w->in.chain);
    document_unref(w->in.policy);
    document_unref(w->in.envelope);
    document_unref(w->roster);
    free(w);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct walk *w = h->data;
    w->open_timers--;
}

static void close_timers(struct walk *w)
{
    uv_close((uv_handle_t *)&w->deadline, on_timer_closed);
    uv_close((uv_handle_t *)&w->wake, on_timer_closed);
    while (w->open_timers > 0)
        uv_run(w->in.loop, UV_RUN_NOWAIT);
}

int walk_run(struct walk *w, struct secret **ret_secrets, struct err *err)
{
    uv_timer_init(w->in.loop, &w->deadline);
    uv_timer_init(w->in.loop, &w->wake);
    w->deadline.data = w->wake.data = w;
    w->open_timers = 2;
    w->stage = 1;
    uv_update_time(w->in.loop);
    uv_timer_start(&w->deadline, on_deadline, w->in.deadline_ms, 0);
    stage_begin(w);
    step(w);
    while (!w->over)
        uv_run(w->in.loop, UV_RUN_ONCE);
    close_timers(w);
    if (w->rc == 0) {
        for (size_t s = 0; s < w->in.chain->chain.stage_count; s++) {
            ret_secrets[s] = w->secrets[s];
            w->secrets[s] = NULL;
        }
    } else if (err != NULL) {
        *err = w->err;
    }
    forget(w);
    return w->rc;
}

const struct walk_session *walk_session(const struct walk *w)
{
    return &w->session;
}
