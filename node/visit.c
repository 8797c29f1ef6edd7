/* visit: the state machine of one workload's visit. */
#include "node/visit.h"
#include "common/base/mutant.h"
#include "node/denial.h"
#include "node/visit_inside.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_AFTER_MS 250u
#define REFUSED_RETRY_MS 1000u

static struct bytes h(const uint8_t hash[HASH_LEN])
{
    return BYTES(hash, HASH_LEN);
}
struct visit *visit_of(struct worker_job *job)
{
    return (struct visit *)((char *)job - offsetof(struct visit, job));
}
/* ---- life and answers */

static void link_in(struct visit *v)
{
    v->next = v->node->visits;
    if (v->next != NULL)
        v->next->previous = v;
    v->node->visits = v;
}

static void unlink_it(struct visit *v)
{
    if (v->previous != NULL)
        v->previous->next = v->next;
    else
        v->node->visits = v->next;
    if (v->next != NULL)
        v->next->previous = v->previous;
}

static void visit_free(struct visit *v)
{
    unlink_it(v);
    struct document *held[] = {v->chain, v->root, v->roster, v->inventory, v->status, v->policy, v->envelope};
    for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++)
        document_unref(held[i]);
    message_free(v->begin);
    message_free(v->attest);
    message_free(v->grant_owner);
    buf_done(&v->link_body);
    buf_done(&v->answer);
    free(v->seen);
    free(v->verdict);
    free(v);
}

void visit_finish(struct visit *v)
{
    const struct visit_io *io = v->detached ? NULL : v->io;
    void *arg = v->arg;
    visit_free(v);
    if (io != NULL)
        io->finished(arg);
}

void visit_answer(struct visit *v, const struct message *m)
{
    if (!v->detached)
        v->io->send(v->arg, m);
    visit_finish(v);
}

static uint64_t retry_after(const struct visit *v)
{
    if (v->err.code == ERR_QUOTA && v->quota_used.end_ms > v->now_ms)
        return v->quota_used.end_ms - v->now_ms;
    return err_advice(v->err.code) == ADVICE_HERE ? REFUSED_RETRY_MS : 0;
}

static void on_refused(void *arg, struct bytes denial_id)
{
    struct visit *v = arg;
    struct message m = {
        .type = MESSAGE_DENY,
        .deny = {.code = err_wire(v->err.code), .denial_id = denial_id, .retry_after_ms = retry_after(v)}};
    visit_answer(v, &m);
}

void visit_refuse(struct visit *v)
{
    assert(v->err.code != 0);
    v->state = REFUSING;
    struct denial_facts f = {.why = &v->err,
                             .address = v->peer.address,
                             .address_text = v->peer.address_text,
                             .device = v->device != NULL ? v->device->id : "",
                             .stage = v->begin->begin.stage,
                             .slot = v->begin->begin.slot,
                             .walk_id = v->has_sid ? v->walk_id : NULL,
                             .policy_hash = v->policy != NULL ? v->policy->hash : NULL,
                             .verdict = v->verdict};
    denial_write(v->node->denials, &f, on_refused, v);
}

/* Some checks give a code alone. */
void visit_refuse_with(struct visit *v, int code)
{
    if (v->err.code == 0)
        (void)err_set(&v->err, code, "%s", err_advice_text(code));
    visit_refuse(v);
}

void visit_busy(struct visit *v)
{
    v->node->counters.busy++;
    struct message m = {.type = MESSAGE_BUSY, .busy = {.retry_after_ms = RETRY_AFTER_MS}};
    visit_answer(v, &m);
}
void visit_submit(struct visit *v, struct worker_pool *pool, void (*run)(struct worker_job *job),
                  void (*done)(struct worker_job *job, bool cancelled))
{
    v->job = (struct worker_job){.run = run, .done = done};
    if (worker_submit(pool, &v->job) != 0)
        visit_busy(v);
}

/* ---- Begin: judged by judge.c */

static void need_documents(struct visit *v, const struct wants *w)
{
    struct message m = {.type = MESSAGE_NEED_DOCUMENTS};
    m.need_documents.wants.at = (struct msg_document_want *)w->at;
    m.need_documents.wants.count = w->count;
    visit_answer(v, &m);
}

static void judge_run(struct worker_job *job)
{
    struct visit *v = visit_of(job);
    if (judge_chain(v) == 0)
        (void)!judge_links(v);
}

static void challenge(struct visit *v)
{
    struct node *n = v->node;
    struct msg_factor factors[APPRAISE_LEAVES_MAX];
    char names[APPRAISE_LEAVES_MAX][80];
    struct message m = {.type = MESSAGE_CHALLENGE, .challenge = {.ttl_ms = NODE_CHALLENGE_TTL_MS}};
    size_t count = 0;
    if (n->rng.fill(n->rng.arg, v->nonce, NONCE_LEN) != 0 || v->detached ||
        v->io->exporter(v->arg, v->nonce, v->exporter) != 0 ||
        appraise_names(&v->stage->factors, names, APPRAISE_LEAVES_MAX, &count) != 0) {
        (void)err_set(&v->err, ERR_INTERNAL, "no challenge could be made");
        visit_refuse(v);
        return;
    }
    for (size_t i = 0; i < count; i++)
        factors[i] = (struct msg_factor){bytes_str(names[i])};
    struct document *docs[] = {v->root, v->roster, v->inventory, v->status, v->policy, v->envelope};
    struct msg_document_version versions[6];
    for (size_t i = 0; i < 6; i++)
        versions[i] = (struct msg_document_version){bytes_str(document_type_name(docs[i]->type)),
                                                    bytes_str(docs[i]->name), docs[i]->version, h(docs[i]->hash)};
    m.challenge.nonce = BYTES_OF(v->nonce);
    m.challenge.factors.at = factors;
    m.challenge.factors.count = count;
    m.challenge.versions.at = versions;
    m.challenge.versions.count = 6;
    v->state = CHALLENGED;
    v->challenged_ms = n->clock.monotonic_ms(n->clock.arg);
    n->counters.challenges++;
    v->io->send(v->arg, &m);
}

static void judge_done(struct worker_job *job, bool cancelled)
{
    struct visit *v = visit_of(job);
    if (cancelled)
        (void)err_set(&v->err, ERR_CLOSED, "the node is stopping");
    if (v->detached) {
        visit_finish(v);
        return;
    }
    if (v->err.code != 0) {
        visit_refuse(v);
        return;
    }
    struct wants w = {.count = 0}; /* links made under newer documents than ours: fetch those first */
    if (v->seen->roster_version > v->roster->version)
        judge_want(&w, DOCUMENT_ROSTER, BYTES_NONE, BYTES_NONE);
    if (v->seen->status_version > v->status->version)
        judge_want(&w, DOCUMENT_STATUS, BYTES_NONE, BYTES_NONE);
    if (w.count > 0)
        need_documents(v, &w);
    else
        challenge(v);
}
int visit_start(struct node *n, const struct visit_peer *peer, const struct visit_io *io, void *arg,
                struct message *begin, struct visit **ret)
{
    struct visit *v = calloc(1, sizeof(*v));
    struct links_seen *seen = calloc(1, sizeof(*seen));
    if (v == NULL || seen == NULL) {
        free(v);
        free(seen);
        message_free(begin);
        return ERR_NOMEM;
    }
    *v = (struct visit){.node = n, .io = io, .arg = arg, .peer = *peer, .state = JUDGING, .begin = begin, .seen = seen};
    buf_init(&v->link_body, LINK_BODY_MAX);
    buf_init(&v->answer, VISIT_ANSWER_MAX);
    link_in(v);
    n->counters.begins++;
    *ret = v;
    return 0;
}

static void parse_run(struct worker_job *job)
{
    struct visit *v = visit_of(job);
    (void)!document_parse(v->begin->begin.chain, "chain", &v->chain, &v->err);
}

static void parse_done(struct worker_job *job, bool cancelled)
{
    struct visit *v = visit_of(job);
    struct wants w = {.count = 0};
    if (cancelled)
        (void)err_set(&v->err, ERR_CLOSED, "the node is stopping");
    if (v->detached) {
        visit_finish(v);
        return;
    }
    int rc = v->err.code == 0 ? judge_documents(v, &w) : v->err.code;
    if (rc != 0)
        visit_refuse_with(v, rc);
    else if (w.count > 0)
        need_documents(v, &w);
    else
        visit_submit(v, v->node->workers, judge_run, judge_done);
}

void visit_judge(struct visit *v)
{
    int rc = judge_begin(v);
    if (rc != 0)
        visit_refuse_with(v, rc);
    else
        visit_submit(v, v->node->workers, parse_run, parse_done);
}

bool visit_is_challenged(const struct visit *v)
{
    return v->state == CHALLENGED;
}

void visit_detach(struct visit *v)
{
    v->detached = true;
    if (v->state == CHALLENGED)
        visit_finish(v);
}
/* ---- Attest: bind, evidence, factors, in a worker */

static void make_bind(const struct visit *v, uint8_t ret[BIND_LEN])
{
    struct bind_fields f = {
        .node = bytes_str(v->node->config->name), .stage = v->begin->begin.stage, .slot = v->begin->begin.slot};
    memcpy(f.sid, v->sid, HASH_LEN);
    memcpy(f.kem_hash, v->node->keys.kem_hash, HASH_LEN);
    memcpy(f.nonce, v->nonce, NONCE_LEN);
    memcpy(f.exporter, v->exporter, sizeof(f.exporter));
    memcpy(f.client_leaf_hash, v->peer.leaf_hash, HASH_LEN);
    memcpy(f.server_key_hash, v->peer.own_key_hash, HASH_LEN);
    memcpy(f.prevhash, v->seen->prevhash, HASH_LEN);
    context_bind(&f, ret);
}

static void verify_one(const struct visit *v, const struct msg_evidence *in, const uint8_t bind[BIND_LEN],
                       struct appraise_evidence *out)
{
    struct err err = {.code = 0};
    out->format = evidence_find(in->format);
    if (out->format == NULL)
        out->code = ERR_EVIDENCE;
    else if (in->data.len > EVIDENCE_MAX)
        out->code = err_set(&err, ERR_TOO_LONG, "more than %u bytes", EVIDENCE_MAX);
    else
        out->code = out->format->verify(in->data, v->now_ms, &out->claims, &err);
    if (out->code != 0 && out->code != ERR_BIND) {
        out->code = ERR_EVIDENCE; /* whatever was wrong with it: to the workload it is evidence that does not do */
        (void)snprintf(out->why, sizeof(out->why), "%.255s", err.code != 0 ? err.text : "malformed");
        return;
    }
    if (!mutant("BIND") && evidence_check_bind(out->format, &out->claims, bind) != 0) {
        out->code = ERR_BIND;
        (void)snprintf(out->why, sizeof(out->why), "made for another session, node, connection or challenge");
    }
}

static void appraise_run(struct worker_job *job)
{
    struct visit *v = visit_of(job);
    const struct msg_attest *a = &v->attest->attest;
    uint8_t bind[BIND_LEN];
    make_bind(v, bind);
    size_t count = a->evidence.count;
    if (v->changed && (judge_chain(v) != 0 || judge_links(v) != 0))
        return;
    v->changed = false;
    if (count > APPRAISE_EVIDENCE_MAX) {
        (void)err_set(&v->err, ERR_EVIDENCE, "more than %d pieces of evidence", APPRAISE_EVIDENCE_MAX);
        return;
    }
    for (size_t i = 0; i < count; i++)
        verify_one(v, &a->evidence.at[i], bind, &v->evidence[i]);
    struct appraise_facts f = {.device = v->device,
                               .device_key = v->peer.key_hash,
                               .now_ms = v->now_ms,
                               .evidence = v->evidence,
                               .evidence_count = count};
    memcpy(f.address, v->peer.address, sizeof(f.address));
    if (appraise(&v->stage->factors, &f, v->verdict) != 0)
        (void)err_set(&v->err, ERR_POLICY, "the policy's factors cannot be judged");
    else if (v->verdict->code != 0)
        (void)err_set(&v->err, v->verdict->code, "stage %s: %s", v->stage->name, err_advice_text(v->verdict->code));
}

static bool has_twin(const struct visit *v)
{
    for (const struct visit *o = v->node->visits; o != NULL && !mutant("ONCE"); o = o->next)
        if (o != v && o->state > APPRAISING && o->state < REFUSING &&
            memcmp(o->grant_key, v->grant_key, GRANT_KEY_LEN) == 0)
            return true;
    return false;
}

static void appraise_done(struct worker_job *job, bool cancelled)
{
    struct visit *v = visit_of(job);
    if (cancelled)
        (void)err_set(&v->err, ERR_CLOSED, "the node is stopping");
    if (v->detached)
        visit_finish(v);
    else if (v->err.code != 0)
        visit_refuse(v);
    else if (has_twin(v))
        visit_busy(v);
    else
        issue_start(v);
}

void visit_attest(struct visit *v, struct message *attest)
{
    assert(v->state == CHALLENGED);
    struct node *n = v->node;
    v->state = APPRAISING;
    v->attest = attest;
    v->verdict = calloc(1, sizeof(*v->verdict));
    if (v->verdict == NULL)
        (void)err_set(&v->err, ERR_NOMEM, "out of memory");
    else if (n->clock.monotonic_ms(n->clock.arg) - v->challenged_ms > NODE_CHALLENGE_TTL_MS)
        (void)err_set(&v->err, ERR_NONCE, "the challenge's time is over");
    else if (judge_today(v) == 0 && v->stage->audit == AUDIT_CONFIRMED && !mutant("QUORUM"))
        (void)err_set(&v->err, ERR_QUORUM, "the policy asks for confirmed entries and this network has no mirrors");
    if (v->err.code != 0)
        visit_refuse(v);
    else
        visit_submit(v, n->workers, appraise_run, appraise_done);
}
