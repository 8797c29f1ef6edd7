/* chain: judges a chain by the signed documents, rule by rule. */
#include "common/documents/chain.h"
#include "common/base/mutant.h"
#include "common/documents/rules.h"
#include <assert.h>
#include <limits.h>
#include <string.h>

/* What the rules look at, gathered once; index i is the stage in policy, envelope and chain alike. */
struct judged {
    const struct chain_world *w;
    const struct document *document;
    const struct policy *policy;
    const struct envelope *envelope;
    const struct status *status;
    const struct chain *chain;
    uint64_t now_ms;
    struct err *err;
};

/* ---- the documents belong together and are in force */

static int check_network(const struct judged *j)
{
    const struct document *all[] = {j->w->policy, j->w->envelope, j->w->roster, j->w->status};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(all[i]->network, j->document->network) != 0)
            return err_set(j->err, ERR_CHAIN, "the chain belongs to network %s, the %s to %s", j->document->network,
                           document_type_name(all[i]->type), all[i]->network);
    return 0;
}

static int check_expiry(const struct judged *j)
{
    const struct document *all[] = {j->w->policy, j->w->envelope, j->w->roster, j->w->status};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i]->expires_ms <= j->now_ms)
            return err_set(j->err, ERR_EXPIRED, "the %s %s has expired; issue a new one",
                           document_type_name(all[i]->type), all[i]->name);
    if (j->document->expires_ms <= j->now_ms)
        return err_set(j->err, ERR_EXPIRED, "the chain's not_after has passed; make a new chain");
    if (j->document->expires_ms - j->now_ms > j->policy->chain_lifetime_ms)
        return err_set(j->err, ERR_CHAIN, "not_after lies further ahead than the policy's chain_lifetime_s, %llu",
                       (unsigned long long)j->policy->chain_lifetime_ms / 1000);
    return 0;
}

static int check_names(const struct judged *j)
{
    if (memcmp(j->chain->policy_hash, j->w->policy->hash, HASH_LEN) != 0)
        return err_set(j->err, ERR_CHAIN, "the chain names another policy");
    if (memcmp(j->chain->envelope_hash, j->w->envelope->hash, HASH_LEN) != 0)
        return err_set(j->err, ERR_CHAIN, "the chain names another envelope");
    return 0;
}

/* The status names the one version of a policy that is in force. */
static int check_policy_in_force(const struct judged *j)
{
    for (size_t i = 0; i < j->status->document_count; i++) {
        const struct status_entry *e = &j->status->documents[i];
        if (e->type != DOCUMENT_POLICY || strcmp(e->name, j->policy->name) != 0)
            continue;
        if (memcmp(e->hash, j->w->policy->hash, HASH_LEN) == 0 || mutant("CURRENT"))
            return 0;
        return err_set(j->err, ERR_POLICY, "policy %s: the status names version %llu, not this one of version %llu",
                       j->policy->name, (unsigned long long)e->version, (unsigned long long)j->w->policy->version);
    }
    return err_set(j->err, ERR_POLICY, "policy %s: the status does not name it, so it is not in force",
                   j->policy->name);
}

/* Neither policy makers nor owners open an envelope alone: its owner is the policy's, and has agreed to this very
 * version. */
static int check_policy_opens(const struct judged *j)
{
    const struct policy *p = j->policy;
    const struct envelope *e = j->envelope;
    if (strcmp(e->policy_name, p->name) != 0)
        return err_set(j->err, ERR_POLICY, "the envelope is for policy %s, not %s", e->policy_name, p->name);
    bool named = memcmp(e->policy_hash, j->w->policy->hash, HASH_LEN) == 0;
    for (size_t i = 0; i < p->owner_count; i++) {
        if (memcmp(p->owners[i].public, e->owner, ED25519_PUBLIC_LEN) != 0)
            continue;
        if (named || p->owner_signed[i])
            return 0;
        return err_set(
            j->err, ERR_POLICY,
            "the envelope names another version of policy %s and its owner did not sign this one; have the owner "
            "sign it, or seal again",
            p->name);
    }
    return err_set(j->err, ERR_POLICY, "the envelope's owner is not an owner in policy %s", p->name);
}

static int check_operation(const struct judged *j)
{
    const char *operation = j->chain->operation;
    if (strcmp(operation, j->envelope->operation) != 0)
        return err_set(j->err, ERR_CHAIN, "the envelope is for operation %s, not %s", j->envelope->operation,
                       operation);
    for (size_t i = 0; i < j->policy->operation_count; i++)
        if (strcmp(j->policy->operations[i], operation) == 0)
            return 0;
    return err_set(j->err, ERR_CHAIN, "policy %s does not list operation %s", j->policy->name, operation);
}

/* ---- nothing is revoked, withdrawn or halted */

static int check_withdrawn(const struct judged *j)
{
    for (size_t i = 0; i < j->status->withdrawal_count; i++) {
        const struct withdrawal *w = &j->status->withdrawals[i];
        if (memcmp(w->owner, j->envelope->owner, ED25519_PUBLIC_LEN) == 0 &&
            memcmp(w->envelope, j->envelope->id, ENVELOPE_ID_LEN) == 0 && j->envelope->generation < w->least_generation)
            return err_set(j->err, ERR_REVOKED, "generation %llu of the envelope is withdrawn, the least one is %llu",
                           (unsigned long long)j->envelope->generation, (unsigned long long)w->least_generation);
    }
    return 0;
}

int rules_in_service(const struct document *status, const char *stage, const char *node, struct err *err)
{
    if (status_revokes(status, REVOKED_NODE, bytes_str(node)) && !mutant("REVOKED_NODE"))
        return err_set(err, ERR_REVOKED, "stage %s: node %s is revoked", stage, node);
    if (status_halts(status, bytes_str(node), BYTES_NONE) && !mutant("HALTS"))
        return err_set(err, ERR_HALTED, "stage %s: node %s is halted", stage, node);
    return 0;
}

static int check_revoked(const struct judged *j)
{
    if (status_revokes(j->w->status, REVOKED_CHAIN, BYTES_OF(j->document->hash)))
        return err_set(j->err, ERR_REVOKED, "the chain is revoked");
    TRY(check_withdrawn(j));
    if (status_halts(j->w->status, BYTES_NONE, bytes_str(j->policy->name)) && !mutant("HALTS"))
        return err_set(j->err, ERR_HALTED, "policy %s, or the whole network, is halted", j->policy->name);
    for (size_t s = 0; s < j->chain->stage_count; s++)
        for (size_t m = 0; m < j->chain->stages[s].count; m++)
            TRY(rules_in_service(j->w->status, j->chain->stages[s].name, j->chain->stages[s].members[m].node, j->err));
    return 0;
}

/* ---- one member */

static const struct envelope_member *find_member(const struct envelope_stage *s, const struct chain_member *m)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->members[i].slot == m->slot && strcmp(s->members[i].node, m->node) == 0)
            return &s->members[i];
    return NULL;
}

static bool allowed(name_text *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count == 0;
}

static int check_filters(const struct policy_stage *p, const struct roster_node *n, struct err *err)
{
    const struct {
        const char *word;
        name_text *names;
        size_t count;
        const char *has;
    } rows[] = {
        {"region", p->regions, p->region_count, n->region},
        {"operator", p->operators, p->operator_count, n->operator_},
        {"vendor", p->vendors, p->vendor_count, n->vendor},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!allowed(rows[i].names, rows[i].count, rows[i].has))
            return err_set(err, ERR_CHAIN, "stage %s: node %s: the policy does not allow %s %s", p->name, n->name,
                           rows[i].word, rows[i].has);
    return 0;
}

/* The envelope's member, as the roster knows it now. */
int rules_node(const struct policy_stage *p, const struct envelope_member *m, const struct document *roster,
               const struct roster_node **ret_node, struct err *err)
{
    const struct roster_node *n = roster_find(roster, bytes_str(m->node));
    if (n == NULL || (n->roles & NODE_HSM) == 0)
        return err_set(err, ERR_CHAIN, "stage %s: node %s is not in the roster with the role hsm", p->name, m->node);
    if (n->profile != m->profile || memcmp(n->seal, m->seal, EC_POINT_LEN) != 0)
        return err_set(
            err, ERR_CHAIN,
            "stage %s: node %s has another seal key or profile than when the envelope was sealed; seal again", p->name,
            n->name);
    TRY(check_filters(p, n, err));
    *ret_node = n;
    return 0;
}

/* ---- one stage */

/* The fewest distinct values that any `need` of the nodes have: the largest groups of equals come first. UINT_MAX when
 * there are fewer than `need` nodes: no such choice exists yet. */
static unsigned least_distinct(const char *const *values, size_t count, unsigned need)
{
    bool used[SLOT_MAX] = {false};
    unsigned covered = 0, groups = 0;
    while (covered < need) {
        size_t best = 0, best_count = 0;
        for (size_t i = 0; i < count; i++) {
            size_t same = 0;
            for (size_t k = 0; k < count; k++)
                same += !used[k] && strcmp(values[i], values[k]) == 0;
            if (!used[i] && same > best_count) {
                best = i;
                best_count = same;
            }
        }
        if (best_count == 0)
            return UINT_MAX;
        const char *value = values[best];
        for (size_t k = 0; k < count; k++)
            used[k] = used[k] || strcmp(value, values[k]) == 0;
        covered += (unsigned)best_count;
        groups++;
    }
    return groups;
}

int rules_diverse(const struct policy_stage *p, const struct roster_node *const *nodes, size_t count, unsigned need,
                  struct err *err)
{
    const char *regions[SLOT_MAX], *operators[SLOT_MAX], *vendors[SLOT_MAX];
    for (size_t i = 0; i < count; i++) {
        regions[i] = nodes[i]->region;
        operators[i] = nodes[i]->operator_;
        vendors[i] = nodes[i]->vendor;
    }
    const struct {
        const char *words;
        const char *const *values;
        unsigned least;
    } rows[] = {{"regions", regions, p->min_regions},
                {"operators", operators, p->min_operators},
                {"vendors", vendors, p->min_vendors}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned found = least_distinct(rows[i].values, count, need);
        if (found < rows[i].least)
            return err_set(err, ERR_CHAIN,
                           "stage %s: some %u of the listed members have %u distinct %s, the policy wants %u", p->name,
                           need, found, rows[i].words, rows[i].least);
    }
    return 0;
}

static int check_need(const struct policy_stage *p, const struct envelope_stage *e, const struct chain_stage *c,
                      struct err *err)
{
    if (c->need != e->need)
        return err_set(err, ERR_CHAIN, "stage %s: need is %u, the envelope's is %u", p->name, c->need, e->need);
    if (c->need < p->need)
        return err_set(err, ERR_CHAIN, "stage %s: need is %u, the policy wants at least %u", p->name, c->need, p->need);
    if (c->count < c->need)
        return err_set(err, ERR_CHAIN, "stage %s: lists %zu members and needs %u", p->name, c->count, c->need);
    if (c->count > SLOT_MAX)
        return err_set(err, ERR_CHAIN, "stage %s: lists more than %d members", p->name, SLOT_MAX);
    return 0;
}

/* Fills ret_nodes[0..c->count). */
static int check_stage(const struct judged *j, size_t s, const struct roster_node **ret_nodes)
{
    const struct policy_stage *p = &j->policy->stages[s];
    const struct envelope_stage *e = &j->envelope->stages[s];
    const struct chain_stage *c = &j->chain->stages[s];
    if (strcmp(p->name, c->name) != 0 || strcmp(e->name, c->name) != 0)
        return err_set(j->err, ERR_CHAIN, "stage %zu is %s in the chain, %s in the envelope, %s in the policy", s + 1,
                       c->name, e->name, p->name);
    TRY(check_need(p, e, c, j->err));
    for (size_t m = 0; m < c->count; m++) {
        const struct envelope_member *sealed = find_member(e, &c->members[m]);
        if (sealed == NULL)
            return err_set(j->err, ERR_CHAIN, "stage %s: node %s with slot %u is not a member in the envelope", c->name,
                           c->members[m].node, c->members[m].slot);
        TRY(rules_node(p, sealed, j->w->roster, &ret_nodes[m], j->err));
    }
    return rules_diverse(p, ret_nodes, c->count, c->need, j->err);
}

/* No node and no seal key stands twice in the whole chain. */
static int check_once(const struct roster_node *const *nodes, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++) {
            if (strcmp(nodes[i]->name, nodes[k]->name) == 0)
                return err_set(err, ERR_CHAIN, "node %s is listed twice", nodes[i]->name);
            if (memcmp(nodes[i]->seal, nodes[k]->seal, EC_POINT_LEN) == 0)
                return err_set(err, ERR_CHAIN, "nodes %s and %s have one seal key", nodes[k]->name, nodes[i]->name);
        }
    return 0;
}

static int check_stages(const struct judged *j)
{
    const struct roster_node *nodes[STAGE_MAX * SLOT_MAX];
    size_t count = 0;
    if (j->chain->stage_count != j->policy->stage_count || j->chain->stage_count != j->envelope->stage_count ||
        j->chain->stage_count > STAGE_MAX)
        return err_set(j->err, ERR_CHAIN, "the chain has %zu stages, the envelope %zu, the policy %zu",
                       j->chain->stage_count, j->envelope->stage_count, j->policy->stage_count);
    for (size_t s = 0; s < j->chain->stage_count; s++) {
        TRY(check_stage(j, s, nodes + count));
        count += j->chain->stages[s].count;
    }
    return check_once(nodes, count, j->err);
}

int chain_check(const struct chain_world *w, const struct document *chain, uint64_t now_ms, struct err *err)
{
    static int (*const rules[])(const struct judged *j) = {
        check_network,   check_names,  check_policy_in_force, check_policy_opens,
        check_operation, check_expiry, check_stages,          check_revoked,
    };
    assert(w->policy->type == DOCUMENT_POLICY && w->envelope->type == DOCUMENT_ENVELOPE);
    assert(w->roster->type == DOCUMENT_ROSTER && w->status->type == DOCUMENT_STATUS && chain->type == DOCUMENT_CHAIN);
    const struct judged j = {
        .w = w,
        .document = chain,
        .policy = &w->policy->policy,
        .envelope = &w->envelope->envelope,
        .status = &w->status->status,
        .chain = &chain->chain,
        .now_ms = now_ms,
        .err = err,
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        TRY(rules[i](&j));
    return 0;
}
