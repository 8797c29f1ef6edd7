/* harvest: a Release judged and opened. */
#include "orchestrator/harvest.h"
#include <stdio.h>
#include <string.h>

#define WRAPPED_SHARE_LEN SEALED_LEN

void harvest_init(struct harvested *g)
{
    memset(g, 0, sizeof(*g));
    buf_init(&g->body, LINK_BODY_MAX);
    buf_init(&g->entry, 2048);
    buf_init(&g->receipt, RECEIPT_MAX);
}

void harvest_forget(struct harvested *g)
{
    secret_free(g->share);
    g->share = NULL;
    for (unsigned i = 0; i <= SLOT_MAX; i++) {
        secret_free(g->tag[i]);
        g->tag[i] = NULL;
    }
}

void harvest_done(struct harvested *g)
{
    harvest_forget(g);
    buf_done(&g->body);
    buf_done(&g->entry);
    buf_done(&g->receipt);
}

const struct envelope_member *harvest_member(const struct document *envelope, unsigned stage, unsigned slot)
{
    if (stage == 0 || stage > envelope->envelope.stage_count)
        return NULL;
    const struct envelope_stage *s = &envelope->envelope.stages[stage - 1];
    for (size_t i = 0; i < s->count; i++) {
        if (s->members[i].slot == slot)
            return &s->members[i];
    }
    return NULL;
}

/* ---- the key of the answer */

static int make_kek(const struct harvest_order *o, const uint8_t sid[HASH_LEN], struct secret **ret_kek,
                    struct err *err)
{
    struct session_fields f = {
        .profile = o->node->profile, .node = bytes_str(o->node->name), .stage = o->stage, .slot = o->slot};
    ec_point_spki_hash(o->node->kem, f.kem_hash);
    memcpy(f.sid, sid, HASH_LEN);
    memcpy(f.prevhash, o->prevhash, HASH_LEN);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < o->previous_count; i++) {
        const struct harvested *a = &o->previous[i];
        if (a->tag[o->slot] == NULL)
            rc = err_set(err, ERR_INTERNAL, "no tag from %s for slot %u", a->node, o->slot);
        else
            rc = derive_lock(a->tag[o->slot], bytes_str(a->node), f.node, f.lock[f.lock_count++]);
    }
    if (rc == 0)
        rc = share_kek(o->e, o->node->kem, &f, ret_kek);
    wipe(&f, sizeof(f));
    return rc;
}

/* ---- what is in it */

static int open_share(const struct harvest_order *o, const struct secret *kek, const struct msg_answer *a,
                      struct harvested *g, struct err *err)
{
    const struct envelope *e = &o->envelope->envelope;
    const struct envelope_member *m = harvest_member(o->envelope, o->stage, o->slot);
    if (m == NULL)
        return err_set(err, ERR_CHAIN, "the envelope has no slot %u in stage %u", o->slot, o->stage);
    if (a->share.len != WRAPPED_SHARE_LEN)
        return err_set(err, ERR_FORMAT, "its wrapped share has %zu bytes, not %d", a->share.len, WRAPPED_SHARE_LEN);
    struct share_fields f = {.profile = m->profile,
                             .network = bytes_str(o->envelope->network),
                             .policy_name = bytes_str(e->policy_name),
                             .generation = e->generation,
                             .stage = o->stage,
                             .slot = o->slot};
    memcpy(f.owner, e->owner, sizeof(f.owner));
    memcpy(f.envelope_id, e->id, sizeof(f.envelope_id));
    int rc = share_open(kek, a->share, &f, m->commitment, &g->share);
    if (rc == ERR_COMMITMENT)
        return err_set(err, rc, "its share is not the one that was sealed for it");
    return rc != 0 ? err_set(err, rc, "its wrapped share does not open under this session's key") : 0;
}

static int open_tags(const struct harvest_order *o, const struct secret *kek, const struct msg_answer *a,
                     struct harvested *g, struct err *err)
{
    const struct chain *c = &o->chain->chain;
    const struct chain_stage *next = o->stage < c->stage_count ? &c->stages[o->stage] : NULL;
    size_t expected = next != NULL ? next->count : 0;
    if (a->tags.count != expected)
        return err_set(err, ERR_FORMAT, "%zu chain tags, not %zu", a->tags.count, expected);
    for (size_t i = 0; i < expected; i++) {
        unsigned slot = next->members[i].slot;
        const struct msg_wrapped_tag *t = NULL;
        for (size_t j = 0; j < a->tags.count; j++) {
            if (a->tags.at[j].slot == slot)
                t = &a->tags.at[j];
        }
        if (slot < 1 || slot > SLOT_MAX || t == NULL || t->tag.len != WRAPPED_TAG_LEN || g->tag[slot] != NULL)
            return err_set(err, ERR_FORMAT, "no good chain tag for slot %u of the next stage", slot);
        int rc = share_open_tag(kek, t->tag, &g->tag[slot]);
        if (rc != 0)
            return err_set(err, rc, "the chain tag for slot %u does not open under this session's key", slot);
    }
    return 0;
}

static int open_answer(const struct harvest_order *o, struct bytes answer, struct harvested *g, struct err *err)
{
    struct message *m = NULL;
    struct secret *kek = NULL;
    TRY(message_unpack(MESSAGE_ANSWER, answer, &m, err));
    int rc = make_kek(o, o->expect->sid, &kek, err);
    if (rc == 0)
        rc = open_share(o, kek, &m->answer, g, err);
    if (rc == 0)
        rc = open_tags(o, kek, &m->answer, g, err);
    secret_free(kek);
    message_free(m);
    return rc;
}

/* ---- the link */

static int list_factors(struct bytes body, struct harvested *g, struct err *err)
{
    struct message *m = NULL;
    TRY(link_parse(body, &m, err));
    size_t used = 0;
    for (size_t i = 0; i < m->link_body.factors.count; i++) {
        struct bytes name = m->link_body.factors.at[i].name;
        int n = snprintf(g->factors + used, sizeof(g->factors) - used, "%s%.*s", i > 0 ? "," : "", (int)name.len,
                         (const char *)name.p);
        if (n < 0 || (size_t)n >= sizeof(g->factors) - used)
            break; /* for people only */
        used += (size_t)n;
    }
    message_free(m);
    return 0;
}

static int keep_link(const struct msg_link *link, struct harvested *g, struct err *err)
{
    buf_put(&g->body, link->body);
    buf_put(&g->entry, link->entry);
    buf_put(&g->receipt, link->receipt);
    if (!buf_ok(&g->body) || !buf_ok(&g->entry) || !buf_ok(&g->receipt))
        return err_set(err, ERR_TOO_LONG, "its link is longer than the limit");
    return list_factors(link->body, g, err);
}

int harvest(const struct harvest_order *o, const struct msg_link *link, struct bytes answer, struct harvested *g,
            struct err *err)
{
    struct link_member from = {.slot = o->slot, .node = bytes_str(o->node->name), .log = &o->node->log};
    struct link_seen seen;
    int rc = link_check(o->expect, link, o->stage, &from, o->prevhash, answer, &seen, err);
    if (rc == 0)
        rc = keep_link(link, g, err);
    if (rc == 0)
        rc = open_answer(o, answer, g, err);
    if (rc != 0) {
        if (err != NULL && err->code != rc)
            err_set(err, rc, "%s", err_advice_text(rc));
        return rc;
    }
    g->slot = o->slot;
    snprintf(g->node, sizeof(g->node), "%s", o->node->name);
    memcpy(g->link_hash, seen.hash, HASH_LEN);
    g->entry_index = seen.entry_index;
    return 0;
}
