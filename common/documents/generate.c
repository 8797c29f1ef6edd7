/* generate: chooses among the admissible chains, by observed health.
 *
 * A bounded depth-first search finds, stage by stage and in order of rank, the first `need` members that can stand
 * together in one chain; then every other member that still fits is appended as an alternate. Both use chain_check's
 * own rules, and chain_check judges the result. */
#include "common/documents/chain.h"
#include "common/documents/rules.h"
#include "common/documents/write.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 200000u
#define SLACK_MAX_MS 60000u /* a checker's clock may read a little less than ours */

struct candidate {
    const struct roster_node *node;
    unsigned slot;
    bool down, picked;
    uint64_t latency_ms;
};

struct choice { /* of one stage */
    const struct policy_stage *policy;
    const struct envelope_stage *envelope;
    struct candidate candidates[SLOT_MAX]; /* best first */
    size_t count, picked_count;
    const struct roster_node *picked[SLOT_MAX]; /* in order of preference */
    unsigned picked_slot[SLOT_MAX];
};

struct search {
    struct choice stages[STAGE_MAX];
    size_t stage_count, deepest;
    unsigned steps;
};

/* ---- candidates */

static int by_rank(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->down != y->down)
        return x->down ? 1 : -1;
    if (x->latency_ms != y->latency_ms)
        return x->latency_ms < y->latency_ms ? -1 : 1;
    return x->slot < y->slot ? -1 : 1;
}

static void take_hint(struct candidate *c, const struct chain_hint *hints, size_t hint_count)
{
    for (size_t i = 0; i < hint_count; i++)
        if (strcmp(hints[i].node, c->node->name) == 0) {
            c->down = hints[i].down;
            c->latency_ms = hints[i].latency_ms;
        }
}

static int gather(const struct chain_world *w, size_t s, const struct chain_hint *hints, size_t hint_count,
                  struct choice *ret, struct err *err)
{
    const struct policy_stage *p = &w->policy->policy.stages[s];
    const struct envelope_stage *e = &w->envelope->envelope.stages[s];
    struct err why = {0};
    *ret = (struct choice){.policy = p, .envelope = e};
    for (size_t m = 0; m < e->count; m++) {
        const struct envelope_member *sealed = &e->members[m];
        struct candidate c = {.slot = sealed->slot};
        if (rules_node(p, sealed, w->roster, &c.node, &why) != 0 ||
            rules_in_service(w->status, p->name, sealed->node, &why) != 0)
            continue;
        take_hint(&c, hints, hint_count);
        ret->candidates[ret->count++] = c;
    }
    qsort(ret->candidates, ret->count, sizeof(ret->candidates[0]), by_rank);
    if (ret->count < e->need)
        return err_set(err, ERR_UNAVAILABLE,
                       "stage %s: %zu of its members may be used, it needs %u; the last one refused: %s", p->name,
                       ret->count, e->need, why.text);
    return 0;
}

/* ---- the search */

/* May this candidate join what is picked so far, in all stages? */
static bool fits(const struct search *s, const struct choice *c, const struct candidate *candidate)
{
    for (size_t i = 0; i < s->stage_count; i++)
        for (size_t k = 0; k < s->stages[i].picked_count; k++) {
            const struct roster_node *n = s->stages[i].picked[k];
            if (strcmp(n->name, candidate->node->name) == 0 ||
                memcmp(n->seal, candidate->node->seal, EC_POINT_LEN) == 0)
                return false;
        }
    const struct roster_node *nodes[SLOT_MAX];
    memcpy(nodes, c->picked, sizeof(nodes));
    nodes[c->picked_count] = candidate->node;
    return rules_diverse(c->policy, nodes, c->picked_count + 1, c->envelope->need, NULL) == 0;
}

static void pick(struct choice *c, struct candidate *candidate)
{
    candidate->picked = true;
    c->picked[c->picked_count] = candidate->node;
    c->picked_slot[c->picked_count++] = candidate->slot;
}

static void drop(struct choice *c, struct candidate *candidate)
{
    candidate->picked = false;
    c->picked_count--;
}

/* Depth is at most the number of members in all stages: 240. */
static bool descend(struct search *s, size_t stage, size_t next)
{
    if (stage == s->stage_count)
        return true;
    struct choice *c = &s->stages[stage];
    if (c->picked_count == c->envelope->need)
        return descend(s, stage + 1, 0);
    if (stage > s->deepest)
        s->deepest = stage;
    for (size_t i = next; i < c->count && ++s->steps <= STEPS_MAX; i++) {
        if (!fits(s, c, &c->candidates[i]))
            continue;
        pick(c, &c->candidates[i]);
        if (descend(s, stage, i + 1))
            return true;
        drop(c, &c->candidates[i]);
    }
    return false;
}

static void add_alternates(struct search *s)
{
    for (size_t i = 0; i < s->stage_count; i++)
        for (size_t k = 0; k < s->stages[i].count; k++) {
            struct candidate *c = &s->stages[i].candidates[k];
            if (!c->picked && fits(s, &s->stages[i], c))
                pick(&s->stages[i], c);
        }
}

static int choose(const struct chain_world *w, const struct chain_hint *hints, size_t hint_count, struct search *s,
                  struct err *err)
{
    const struct policy *p = &w->policy->policy;
    const struct envelope *e = &w->envelope->envelope;
    if (p->stage_count != e->stage_count || p->stage_count > STAGE_MAX)
        return err_set(err, ERR_CHAIN, "the envelope has %zu stages, the policy %zu", e->stage_count, p->stage_count);
    s->stage_count = p->stage_count;
    for (size_t i = 0; i < s->stage_count; i++)
        TRY(gather(w, i, hints, hint_count, &s->stages[i], err));
    if (!descend(s, 0, 0))
        return err_set(err, ERR_UNAVAILABLE, "stage %s: no %u of its members can stand together as the policy wants",
                       s->stages[s->deepest].policy->name, s->stages[s->deepest].envelope->need);
    add_alternates(s);
    return 0;
}

/* ---- the text */

static int render(const struct chain_world *w, const struct search *s, const char *operation, uint64_t not_after_ms,
                  struct buf *ret_text, struct err *err)
{
    struct document d = {.type = DOCUMENT_CHAIN, .expires_ms = not_after_ms};
    struct chain_stage stages[STAGE_MAX];
    struct chain_member members[STAGE_MAX][SLOT_MAX];
    memcpy(d.network, w->policy->network, sizeof(d.network));
    memcpy(d.chain.operation, operation, strlen(operation) + 1);
    memcpy(d.chain.policy_hash, w->policy->hash, HASH_LEN);
    memcpy(d.chain.envelope_hash, w->envelope->hash, HASH_LEN);
    for (size_t i = 0; i < s->stage_count; i++) {
        const struct choice *c = &s->stages[i];
        memcpy(stages[i].name, c->policy->name, sizeof(stages[i].name));
        stages[i].need = c->envelope->need;
        stages[i].members = members[i];
        stages[i].count = c->picked_count;
        for (size_t k = 0; k < c->picked_count; k++) {
            members[i][k].slot = c->picked_slot[k];
            memcpy(members[i][k].node, c->picked[k]->name, sizeof(members[i][k].node));
        }
    }
    d.chain.stages = stages;
    d.chain.stage_count = s->stage_count;
    return document_write(&d, ret_text, err);
}

static uint64_t lifetime(const struct policy *p, uint64_t wanted_ms)
{
    uint64_t slack = p->chain_lifetime_ms / 10 < SLACK_MAX_MS ? p->chain_lifetime_ms / 10 : SLACK_MAX_MS;
    uint64_t most = p->chain_lifetime_ms - slack;
    return wanted_ms == 0 || wanted_ms > most ? most : wanted_ms;
}

static int judge(const struct chain_world *w, struct bytes text, uint64_t now_ms, struct err *err)
{
    struct document *chain = NULL;
    TRY(document_parse(text, "generated chain", &chain, err));
    int rc = chain_check(w, chain, now_ms, err);
    document_unref(chain);
    return rc;
}

int chain_generate(const struct chain_world *w, const char *operation, uint64_t now_ms, uint64_t lifetime_ms,
                   const struct chain_hint *hints, size_t hint_count, struct buf *ret_text, struct err *err)
{
    buf_init(ret_text, CHAIN_MAX);
    TRY(text_name(operation, "operation", err));
    struct search *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    int rc = choose(w, hints, hint_count, s, err);
    if (rc == 0)
        rc = render(w, s, operation, now_ms + lifetime(&w->policy->policy, lifetime_ms), ret_text, err);
    if (rc == 0 && (rc = judge(w, buf_view(ret_text), now_ms, err)) != 0)
        buf_done(ret_text);
    free(s);
    return rc;
}
