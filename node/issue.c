/* issue: from a visit that was judged to the bytes that leave: the grant that is there, or a new one.
 *
 *   LOOKING ──┬── ASKING ── WRITING ── Release      token; entry + grant + quota
 *             └── REISSUING ────────── Release      entry; the old answer, a new receipt */
#include "common/base/mutant.h"
#include "node/denial.h"
#include "node/visit_inside.h"
#include <stdio.h>
#include <string.h>

#define TOKEN_DEADLINE_MS 3000u

static struct bytes h(const uint8_t hash[HASH_LEN])
{
    return BYTES(hash, HASH_LEN);
}
/* ---- quota: looked at before the token works, taken with the grant */

static struct quota_facts quota_facts(const struct visit *v)
{
    return (struct quota_facts){.policy = v->policy,
                                .envelope = v->envelope,
                                .stage = v->begin->begin.stage,
                                .device = v->device,
                                .device_key = v->peer.key_hash};
}

/* For the operator: which of the verdict's quotas it was. They stand in the order of the policy. */
static void explain_quota(struct visit *v)
{
    const struct factor *top = &v->stage->factors, *at = v->quota_used.factor;
    size_t nth = 0;
    char end[CLOCK_TEXT_LEN + 1];
    if (v->err.code != ERR_QUOTA || at == NULL)
        return;
    for (size_t i = 0; i < top->child_count && &top->children[i] != at; i++)
        nth += top->children[i].kind == FACTOR_QUOTA;
    for (size_t i = 0; i < v->verdict->count; i++) {
        struct appraise_leaf *leaf = &v->verdict->leaf[i];
        if (strcmp(leaf->name, "quota") != 0 || nth-- > 0)
            continue;
        clock_text(v->quota_used.end_ms, end);
        leaf->met = false;
        leaf->code = ERR_QUOTA;
        (void)snprintf(leaf->actual, sizeof(leaf->actual), "used up until %s", end);
        return;
    }
}

/* ---- the grant: is there one? */

/* What is wrong with this node's own disk is no verdict on the workload: another member may do it. */
static void disown(struct err *err)
{
    if (err->code == ERR_INTEGRITY)
        err->code = ERR_STORAGE;
}

static void look_run(struct worker_job *job)
{
    struct visit *v = visit_of(job);
    struct store_txn *t = NULL;
    if (store_begin(v->node->store, false, &t, &v->err) != 0)
        return;
    struct quota_facts quota = quota_facts(v);
    int rc = grant_find(t, v->grant_key, &v->grant_owner, &v->grant, &v->err);
    v->grant_found = rc == 0;
    if (rc == ERR_NOT_FOUND) {
        v->err = (struct err){.code = 0};
        rc = quota_check(t, &quota, v->now_ms, &v->quota_used, &v->err);
    }
    store_abort(t);
    if (rc != 0 && v->err.code == 0)
        (void)err_set(&v->err, rc, "the table of grants cannot be read");
    disown(&v->err);
}

static void ask_release(struct visit *v);
static void reissue(struct visit *v);

static void look_done(struct worker_job *job, bool cancelled)
{
    struct visit *v = visit_of(job);
    if (cancelled)
        (void)err_set(&v->err, ERR_CLOSED, "the node is stopping");
    explain_quota(v);
    if (v->err.code == 0 && v->grant_found)
        (void)!grant_may_reissue(&v->grant, v->seen->prevhash, v->now_ms, NODE_SKEW_MS, &v->err);
    if (v->detached)
        visit_finish(v);
    else if (v->err.code != 0)
        visit_refuse(v);
    else if (v->grant_found)
        reissue(v);
    else
        ask_release(v);
}

void issue_start(struct visit *v)
{
    v->state = LOOKING;
    visit_submit(v, v->node->store_thread, look_run, look_done);
}

/* ---- the token's work */

static int make_link(struct visit *v)
{
    const struct msg_begin *b = &v->begin->begin;
    struct msg_factor met[APPRAISE_LEAVES_MAX];
    struct msg_link_body body = {.network = bytes_str(v->node->config->network),
                                 .sid = h(v->sid),
                                 .eid = h(v->eid),
                                 .chain_hash = h(v->chain->hash),
                                 .policy_hash = h(v->policy->hash),
                                 .envelope_hash = h(v->envelope->hash),
                                 .generation = v->envelope->envelope.generation,
                                 .stage = b->stage,
                                 .slot = b->slot,
                                 .node = bytes_str(v->node->config->name),
                                 .prevhash = h(v->seen->prevhash),
                                 .roster_version = v->roster->version,
                                 .status_version = v->status->version,
                                 .issued_ms = v->now_ms,
                                 .not_after_ms = v->chain->expires_ms};
    size_t count = 0;
    for (size_t i = 0; i < v->verdict->count; i++)
        if (v->verdict->leaf[i].met)
            met[count++] = (struct msg_factor){bytes_str(v->verdict->leaf[i].name)};
    body.factors.at = met;
    body.factors.count = count;
    TRY(link_make(&body, &v->link_body, &v->err));
    sha256(buf_view(&v->link_body), v->link_hash);
    return 0;
}

/* Members of the neighbour stages, by slot, with their points. */
static int previous_peers(struct visit *v, struct msg_token_peer ret[SLOT_MAX], size_t *ret_count)
{
    *ret_count = 0;
    for (size_t i = 0; i < v->seen->count; i++) {
        const struct link_seen *s = &v->seen->at[i];
        if (s->stage + 1 != v->begin->begin.stage)
            continue;
        const struct roster_node *o = roster_find(v->roster, s->node);
        if (o == NULL || *ret_count >= SLOT_MAX)
            return err_set(&v->err, ERR_LINK, "a link of a node that the roster does not have");
        ret[(*ret_count)++] = (struct msg_token_peer){s->slot, bytes_str(o->name), BYTES_OF(o->peer), h(s->hash)};
    }
    return 0;
}

static int next_peers(struct visit *v, struct msg_token_peer ret[SLOT_MAX], size_t *ret_count)
{
    const struct chain *c = &v->chain->chain;
    *ret_count = 0;
    if (v->begin->begin.stage >= c->stage_count)
        return 0;
    const struct chain_stage *s = &c->stages[v->begin->begin.stage];
    for (unsigned slot = 1; slot <= SLOT_MAX; slot++)
        for (size_t i = 0; i < s->count; i++) {
            if (s->members[i].slot != slot)
                continue;
            const struct roster_node *o = roster_find(v->roster, bytes_str(s->members[i].node));
            if (o == NULL)
                return err_set(&v->err, ERR_CHAIN, "member %s is not in the roster", s->members[i].node);
            ret[(*ret_count)++] = (struct msg_token_peer){slot, bytes_str(o->name), BYTES_OF(o->peer), BYTES_NONE};
        }
    return 0;
}

static void write_grant(struct visit *v);

static void on_token(void *arg, const struct message *reply, const struct err *err)
{
    struct visit *v = arg;
    if (reply == NULL)
        v->err = *err;
    else if (reply->type != MESSAGE_TOKEN_ANSWER || reply->token_answer.answer.len == 0)
        (void)err_set(&v->err, ERR_TOKEN, "tokend gave another answer than was asked for");
    else {
        buf_put(&v->answer, reply->token_answer.answer);
        if (!buf_ok(&v->answer))
            (void)err_set(&v->err, ERR_TOKEN, "tokend's answer is too long");
    }
    if (v->detached)
        visit_finish(v); /* nothing is granted yet; the workload comes back and asks again */
    else if (v->err.code == ERR_BUSY)
        visit_busy(v);
    else if (v->err.code != 0)
        visit_refuse(v);
    else
        write_grant(v);
}

static int fill_release(struct visit *v, struct msg_token_release *r, struct msg_token_peer *previous,
                        struct msg_token_peer *next)
{
    const struct msg_begin *b = &v->begin->begin;
    *r = (struct msg_token_release){.owner = BYTES_OF(v->envelope->envelope.owner),
                                    .policy_name = bytes_str(v->policy->name),
                                    .envelope_id = BYTES_OF(v->envelope->envelope.id),
                                    .generation = v->envelope->envelope.generation,
                                    .stage = b->stage,
                                    .slot = b->slot,
                                    .point = BYTES_OF(v->member->point),
                                    .sealed = BYTES_OF(v->member->sealed),
                                    .session_key = b->session_key,
                                    .client_key_hash = h(v->peer.key_hash),
                                    .client_nonce = b->client_nonce,
                                    .chain = v->chain->text,
                                    .prevhash = h(v->seen->prevhash),
                                    .link_hash = h(v->link_hash),
                                    .tag_profile = v->root->root.tag_profile};
    r->previous.at = previous;
    r->next.at = next;
    TRY(previous_peers(v, previous, &r->previous.count));
    return next_peers(v, next, &r->next.count);
}

static void ask_release(struct visit *v)
{
    struct msg_token_peer previous[SLOT_MAX], next[SLOT_MAX];
    struct message m = {.type = MESSAGE_TOKEN_RELEASE};
    v->state = ASKING;
    int rc = make_link(v);
    if (rc == 0)
        rc = fill_release(v, &m.token_release, previous, next);
    if (rc == 0)
        rc = v->node->token->ask(v->node->token, &m, TOKEN_DEADLINE_MS, on_token, v);
    if (rc == ERR_BUSY)
        visit_busy(v);
    else if (rc != 0) {
        if (v->err.code == 0)
            (void)err_set(&v->err, rc, "the token cannot be asked: %s", v->node->token->health(v->node->token));
        visit_refuse(v);
    }
}

/* ---- the entry, the grant and the release */

static void release(struct visit *v, struct bytes body, struct bytes entry, struct bytes receipt, struct bytes answer)
{
    if (v->detached) {
        visit_finish(v);
        return;
    }
    if (judge_today(v) != 0 || (v->changed && judge_chain(v) != 0)) {
        visit_refuse(v);
        return;
    }
    struct message m = {.type = MESSAGE_RELEASE, .release = {.link = {body, entry, receipt}, .answer = answer}};
    v->node->counters.releases++;
    visit_answer(v, &m);
}

/* Who is shown the salt can check what the entry commits to. */
static int put_salt(const struct visit *v, struct store_txn *t, uint64_t entry_index, struct err *err)
{
    uint8_t key[8];
    for (size_t i = 0; i < 8; i++)
        key[i] = (uint8_t)(entry_index >> (56 - 8 * i));
    return store_put(t, STORE_SALTS, BYTES_OF(key), BYTES_OF(v->salt), true, err);
}

static int write_with(struct log_append *a, struct store_txn *t, uint64_t entry_index, uint64_t time_ms,
                      struct err *err)
{
    struct visit *v = a->arg;
    struct quota_facts quota = quota_facts(v);
    /* A grant whose time is over may have been swept: only while it runs can "none yet" be believed. */
    if (time_ms >= v->grant.not_after_ms)
        return err_set(err, ERR_EXPIRED, "the chain's not_after has passed");
    v->grant.entry_index = entry_index;
    TRY(grant_create(t, v->grant_key, &v->grant, err));
    TRY(quota_take(t, &quota, time_ms, &v->quota_used, err));
    return put_salt(v, t, entry_index, err);
}

static void on_written(struct log_append *a, const struct err *err)
{
    struct visit *v = a->arg;
    if (err == NULL) {
        release(v, buf_view(&v->link_body), a->entry_bytes, a->receipt, buf_view(&v->answer));
        return;
    }
    v->err = *err;
    disown(&v->err);
    explain_quota(v);
    if (v->detached)
        visit_finish(v);
    else if (err->code == ERR_BUSY)
        visit_busy(v);
    else
        visit_refuse(v);
}

/* Salted commitments: the ledger proves to who is shown the salt what was judged, and tells others nothing. */
static int make_commitments(struct visit *v)
{
    struct node *n = v->node;
    if (n->rng.fill(n->rng.arg, v->salt, sizeof(v->salt)) != 0)
        return err_set(&v->err, ERR_INTERNAL, "no randomness");
    struct th *t = th_begin("commit-evidence");
    th_add(t, BYTES_OF(v->salt));
    for (size_t i = 0; i < v->attest->attest.evidence.count; i++)
        th_add(t, v->attest->attest.evidence.at[i].data);
    th_finish(t, v->commit[0]);
    t = th_begin("commit-subject");
    th_add(t, BYTES_OF(v->salt));
    th_add_str(t, v->device != NULL ? v->device->id : "");
    th_add(t, h(v->peer.key_hash));
    th_finish(t, v->commit[1]);
    t = th_begin("commit-secret");
    th_add(t, BYTES_OF(v->salt));
    th_add(t, BYTES_OF(v->envelope->envelope.owner));
    th_add(t, BYTES_OF(v->envelope->envelope.id));
    th_finish(t, v->commit[2]);
    return 0;
}

static void fill_entry(struct visit *v, uint64_t type, const uint8_t link_hash[HASH_LEN],
                       const uint8_t response[HASH_LEN])
{
    v->append = (struct log_append){.arg = v,
                                    .entry = {.type = type,
                                              .walk_id = BYTES_OF(v->walk_id),
                                              .policy_hash = h(v->policy->hash),
                                              .evidence = h(v->commit[0]),
                                              .subject = h(v->commit[1]),
                                              .secret = h(v->commit[2]),
                                              .link_hash = h(link_hash),
                                              .response_hash = h(response)}};
}

static void append_or_refuse(struct visit *v)
{
    int rc = node_log_append(v->node->log, &v->append);
    if (rc == ERR_BUSY)
        visit_busy(v);
    else if (rc != 0) {
        const struct err *broken = node_log_broken(v->node->log);
        (void)err_set(&v->err, rc, "the ledger takes no entries now%s%.400s", broken != NULL ? ": " : "",
                      broken != NULL ? broken->text : "");
        disown(&v->err);
        visit_refuse(v);
    }
}

static void write_grant(struct visit *v)
{
    v->state = WRITING;
    if (make_commitments(v) != 0) {
        visit_refuse(v);
        return;
    }
    sha256(buf_view(&v->answer), v->response_hash);
    v->grant = (struct grant){
        .not_after_ms = v->chain->expires_ms, .link_body = buf_view(&v->link_body), .answer = buf_view(&v->answer)};
    memcpy(v->grant.prevhash, v->seen->prevhash, HASH_LEN);
    fill_entry(v, ENTRY_GRANT, v->link_hash, v->response_hash);
    v->append.with = write_with;
    v->append.done = on_written;
    append_or_refuse(v);
}

/* ---- a grant that is there already: the same bytes once more, under a new entry and today's receipt */

static int reissue_with(struct log_append *a, struct store_txn *t, uint64_t entry_index, uint64_t time_ms,
                        struct err *err)
{
    struct visit *v = a->arg;
    (void)time_ms;
    TRY(grant_reissue(t, v->grant_key, v->seen->prevhash, v->now_ms, NODE_SKEW_MS, err));
    return put_salt(v, t, entry_index, err);
}

static void on_receipt(struct log_append *a, const struct err *err)
{
    struct visit *v = a->arg;
    if (err == NULL) {
        v->node->counters.reissues++;
        release(v, v->grant.link_body, a->entry_bytes, a->receipt, v->grant.answer);
        return;
    }
    v->err = *err;
    disown(&v->err);
    if (v->detached)
        visit_finish(v);
    else
        visit_refuse(v);
}

static void on_reissued(struct log_append *a, const struct err *err)
{
    struct visit *v = a->arg;
    if (err != NULL)
        v->err = *err;
    disown(&v->err);
    if (v->detached) {
        visit_finish(v);
        return;
    }
    if (v->err.code == 0) {
        v->append = (struct log_append){.arg = v, .done = on_receipt};
        int rc = node_log_receipt(v->node->log, &v->append, v->grant.entry_index);
        if (rc == 0)
            return;
        if (rc == ERR_BUSY) {
            visit_busy(v);
            return;
        }
        (void)err_set(&v->err, rc, "no receipt for entry %llu", (unsigned long long)v->grant.entry_index);
    }
    visit_refuse(v);
}

static void reissue(struct visit *v)
{
    v->state = REISSUING;
    /* A reissue counts: it is not spent when its entry could not be signed. */
    if (strcmp(v->node->token->health(v->node->token), "absent") == 0)
        (void)err_set(&v->err, ERR_TOKEN, "the token is absent");
    if (v->err.code != 0 || make_commitments(v) != 0) {
        visit_refuse(v);
        return;
    }
    sha256(v->grant.link_body, v->link_hash);
    sha256(v->grant.answer, v->response_hash);
    fill_entry(v, ENTRY_REISSUE, v->link_hash, v->response_hash);
    v->append.with = reissue_with;
    v->append.done = on_reissued;
    append_or_refuse(v);
}
