/* links: the rules by which the links of earlier doors count at the next one. */
#include "common/ledger/links.h"
#include "common/base/mutant.h"
#include "common/ledger/entry.h"
#include <inttypes.h>
#include <string.h>

#define RULE(err, ...) err_set(err, ERR_LINK, __VA_ARGS__)

/* Whatever does not parse in a link is a link that does not hold. */
static int as_link(int rc, struct err *err)
{
    if (rc != ERR_FORMAT && rc != ERR_TOO_LONG)
        return rc;
    if (err != NULL)
        err->code = ERR_LINK;
    return ERR_LINK;
}

static bool is_hash(struct bytes view, const uint8_t hash[HASH_LEN])
{
    return bytes_equal(view, BYTES(hash, HASH_LEN));
}

static int check_session(const struct links_expect *x, const struct msg_link_body *b, struct err *err)
{
    const struct {
        const char *name;
        struct bytes has;
        const uint8_t *expected;
    } fields[] = {
        {"session", b->sid, x->sid},
        {"session key", b->eid, x->eid},
        {"chain", b->chain_hash, x->chain_hash},
        {"policy", b->policy_hash, x->policy_hash},
        {"envelope", b->envelope_hash, x->envelope_hash},
    };
    if (!bytes_equal(b->network, x->network))
        return RULE(err, "another network");
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (!is_hash(fields[i].has, fields[i].expected))
            return RULE(err, "another %s", fields[i].name);
    if (b->generation != x->generation)
        return RULE(err, "generation %" PRIu64 " instead of %" PRIu64, b->generation, x->generation);
    return 0;
}

static int check_stage(const struct msg_link_body *b, uint64_t stage, struct err *err)
{
    return b->stage == stage ? 0 : RULE(err, "of stage %" PRIu64 " instead of %" PRIu64, b->stage, stage);
}

static int check_times(const struct links_expect *x, const struct msg_link_body *b, struct err *err)
{
    uint64_t latest = x->now_ms > UINT64_MAX - x->skew_ms ? UINT64_MAX : x->now_ms + x->skew_ms;
    uint64_t earliest = x->now_ms < x->skew_ms ? 0 : x->now_ms - x->skew_ms;
    if (b->issued_ms > latest)
        return RULE(err, "issued in the future");
    if (b->not_after_ms < earliest)
        return RULE(err, "its time is over");
    return 0;
}

static int check_entry(const struct links_expect *x, const struct msg_entry *e, const uint8_t body_hash[HASH_LEN],
                       const struct bytes *answer, struct err *err)
{
    uint8_t walk_id[WALK_ID_LEN], answer_hash[HASH_LEN];
    if (e->type != ENTRY_GRANT)
        return RULE(err, "its entry is of type %s; only a grant counts", entry_type_name(e->type));
    if (!is_hash(e->link_hash, body_hash))
        return RULE(err, "its entry is for another link body");
    context_walk_id(x->sid, walk_id);
    if (!bytes_equal(e->walk_id, BYTES_OF(walk_id)))
        return RULE(err, "its entry is of another walk");
    if (!is_hash(e->policy_hash, x->policy_hash))
        return RULE(err, "its entry is under another policy");
    if (answer == NULL)
        return 0;
    sha256(*answer, answer_hash);
    if (!is_hash(e->response_hash, answer_hash))
        return RULE(err, "its entry is for another answer");
    return 0;
}

static int check_receipt(const struct links_expect *x, const struct msg_link *link, const struct link_member *from,
                         uint64_t entry_index, struct err *err)
{
    struct checkpoint c;
    struct buf origin;
    uint64_t index = 0;
    if (from->log == NULL)
        return RULE(err, "its node is not in the roster, or revoked");
    TRY(as_link(receipt_verify(link->receipt, link->entry, from->log, &index, &c, err), err));
    if (index != entry_index)
        return RULE(err, "its entry says number %" PRIu64 ", its receipt %" PRIu64, entry_index, index);
    buf_init(&origin, NOTE_NAME_MAX);
    buf_put(&origin, x->network);
    buf_str(&origin, "/");
    buf_put(&origin, from->node);
    buf_str(&origin, "/log");
    bool same = buf_ok(&origin) && bytes_equal(buf_view(&origin), bytes_str(c.origin));
    buf_done(&origin);
    return same ? 0 : RULE(err, "its receipt is of %s, which is not its node's log", c.origin);
}

static int check_proof(const struct links_expect *x, const struct msg_link *link, const struct link_member *from,
                       const uint8_t body_hash[HASH_LEN], const struct bytes *answer, uint64_t *ret_index,
                       struct err *err)
{
    struct message *m = NULL;
    TRY(as_link(entry_parse(link->entry, &m, err), err));
    uint64_t index = m->entry.index;
    int rc = check_entry(x, &m->entry, body_hash, answer, err);
    message_free(m);
    TRY(rc);
    TRY(check_receipt(x, link, from, index, err));
    *ret_index = index;
    return 0;
}

/* One link against everything that its place in the walk fixes; body is its parsed body. */
static int check_one(const struct links_expect *x, const struct msg_link *link, const struct msg_link_body *body,
                     uint64_t stage, const struct link_member *from, const uint8_t prevhash[HASH_LEN],
                     const struct bytes *answer, struct link_seen *ret, struct err *err)
{
    struct link_seen seen = {.stage = stage, .slot = from->slot, .node = from->node};
    if (body->slot != from->slot)
        return RULE(err, "of slot %" PRIu64 " instead of %u", body->slot, from->slot);
    if (!bytes_equal(body->node, from->node))
        return RULE(err, "of another node than the chain lists in this slot");
    TRY(check_session(x, body, err));
    TRY(check_times(x, body, err));
    if (!is_hash(body->prevhash, prevhash))
        return RULE(err, "made after other links than these");
    sha256(link->body, seen.hash);
    TRY(check_proof(x, link, from, seen.hash, answer, &seen.entry_index, err));
    *ret = seen;
    return 0;
}

int link_check(const struct links_expect *x, const struct msg_link *link, uint64_t stage,
               const struct link_member *from, const uint8_t prevhash[HASH_LEN], struct bytes answer,
               struct link_seen *ret, struct err *err)
{
    struct message *m = NULL;
    int rc = as_link(link_parse(link->body, &m, err), err);
    if (rc == 0)
        rc = check_stage(&m->link_body, stage, err);
    if (rc == 0)
        rc = check_one(x, link, &m->link_body, stage, from, prevhash, &answer, ret, err);
    message_free(m);
    return rc == 0 ? 0
                   : err_wrap(err, rc, "link of stage %" PRIu64 ", node %.*s", stage, (int)from->node.len,
                              (const char *)from->node.p);
}

static void note_versions(const struct msg_link_body *b, struct links_seen *s)
{
    if (b->roster_version > s->roster_version)
        s->roster_version = b->roster_version;
    if (b->status_version > s->status_version)
        s->status_version = b->status_version;
}

static void prevhash_of(const struct links_seen *s, size_t count, uint8_t ret[HASH_LEN])
{
    uint8_t hash[LINK_COUNT_MAX][HASH_LEN];
    for (size_t i = 0; i < count; i++)
        memcpy(hash[i], s->at[i].hash, HASH_LEN);
    context_prevhash((const uint8_t(*)[HASH_LEN])hash, count, ret);
}

#if defined(MUTANT_LINKS) || defined(MUTANT_SWITCH)
/* Tests only: everything that parses is believed, in the order in which it came. */
static int take(const struct links_expect *x, const struct msg_link *link, struct links_seen *s, struct err *err)
{
    struct message *m = NULL;
    struct link_seen *seen = &s->at[s->count];
    TRY(as_link(link_parse(link->body, &m, err), err));
    *seen = (struct link_seen){.stage = m->link_body.stage, .slot = m->link_body.slot};
    for (size_t i = 0; seen->stage >= 1 && seen->stage <= x->stage_count && i < x->stages[seen->stage - 1].count; i++)
        if (x->stages[seen->stage - 1].members[i].slot == seen->slot)
            seen->node = x->stages[seen->stage - 1].members[i].node;
    sha256(link->body, seen->hash);
    note_versions(&m->link_body, s);
    message_free(m);
    s->count++;
    return 0;
}

static int believe(const struct links_expect *x, const struct msg_link *links, size_t count, struct links_seen *ret,
                   struct err *err)
{
    *ret = (struct links_seen){.count = 0};
    if (count > LINK_COUNT_MAX)
        return RULE(err, "too many links");
    for (size_t i = 0; i < count; i++)
        TRY(take(x, &links[i], ret, err));
    prevhash_of(ret, count, ret->prevhash);
    return 0;
}
#endif

static const struct link_member *find_member(const struct link_stage *stage, uint64_t slot)
{
    for (size_t i = 0; i < stage->count; i++)
        if (stage->members[i].slot == slot)
            return &stage->members[i];
    return NULL;
}

/* Distinct members: slots strictly ascend inside a stage, and no node counts twice anywhere in the walk. */
static int check_distinct(const struct links_seen *s, uint64_t stage, const struct link_member *from, struct err *err)
{
    if (s->count > 0 && s->at[s->count - 1].stage == stage && s->at[s->count - 1].slot >= from->slot)
        return RULE(err, "slot %u is there twice, or out of order", from->slot);
    for (size_t i = 0; i < s->count; i++)
        if (bytes_equal(s->at[i].node, from->node))
            return RULE(err, "node %.*s counts once", (int)from->node.len, (const char *)from->node.p);
    return 0;
}

static int check_next(const struct links_expect *x, const struct msg_link *link, uint64_t stage,
                      const uint8_t prevhash[HASH_LEN], struct links_seen *s, struct err *err)
{
    struct message *m = NULL;
    TRY(as_link(link_parse(link->body, &m, err), err));
    const struct link_member *from = find_member(&x->stages[stage - 1], m->link_body.slot);
    int rc = check_stage(&m->link_body, stage, err);
    if (rc == 0 && from == NULL)
        rc = RULE(err, "slot %" PRIu64 " is not in the chain", m->link_body.slot);
    if (rc == 0)
        rc = check_distinct(s, stage, from, err);
    if (rc == 0)
        rc = check_one(x, link, &m->link_body, stage, from, prevhash, NULL, &s->at[s->count], err);
    if (rc == 0) {
        note_versions(&m->link_body, s);
        s->count++;
    }
    message_free(m);
    return rc;
}

int links_check(const struct links_expect *x, const struct msg_link *links, size_t count, struct links_seen *ret,
                struct err *err)
{
    struct links_seen s = {.count = 0};
#ifdef MUTANT_LINKS
    return believe(x, links, count, ret, err);
#endif
#ifdef MUTANT_SWITCH
    if (mutant("LINKS"))
        return believe(x, links, count, ret, err);
#endif
    if (count > LINK_COUNT_MAX || x->stage_count > STAGE_MAX)
        return RULE(err, "too many links");
    for (size_t i = 0; i < x->stage_count; i++) {
        uint8_t prevhash[HASH_LEN];
        unsigned need = x->stages[i].need;
        if (need == 0 || need > count - s.count)
            return RULE(err, "stage %zu: %zu links of the %u needed", i + 1, count - s.count, need);
        prevhash_of(&s, s.count, prevhash);
        for (unsigned k = 0; k < need; k++) {
            int rc = check_next(x, &links[s.count], i + 1, prevhash, &s, err);
            if (rc != 0)
                return err_wrap(err, rc, "link %zu (stage %zu)", s.count + 1, i + 1);
        }
    }
    if (s.count != count)
        return RULE(err, "%zu links where %zu are needed", count, s.count);
    prevhash_of(&s, s.count, s.prevhash);
    *ret = s;
    return 0;
}
