/* shelf: which documents are in force, and the rules by which a newer one takes an older one's place. */
#include "common/documents/shelf.h"
#include "common/base/mutant.h"
#include "common/documents/schema.h"
#include "common/documents/succession.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct row { /* documents of one type that stand beside one another */
    struct document **at;
    size_t count, max;
};

enum { IN_FORCE_ROSTER, IN_FORCE_INVENTORY, IN_FORCE_STATUS, IN_FORCE_COUNT };

struct shelf {
    name_text network;
    bool pinned;
    uint8_t root_hash[HASH_LEN];
    struct row roots, policies, envelopes, chains; /* roots: the last one is in force */
    struct document *in_force[IN_FORCE_COUNT];
    struct document *last_status; /* the newest ever accepted: what is sticky outlives a change of the status keys */
};

/* What one offer is about. */
struct offer {
    struct shelf *s;
    struct bytes note;
    const char *source;
    uint64_t now_ms;
    bool restore;
    struct document_claim claim;
    struct document *taken;  /* set on acceptance, borrowed from the shelf */
    struct document *known;  /* set when it is there already */
    struct document *opened; /* by `by`, elsewhere; or NULL */
    struct document_trust by;
    struct err *err;
};

/* ---- rows */

static bool row_new(struct row *r, size_t max)
{
    r->at = calloc(max, sizeof(*r->at));
    r->max = max;
    return r->at != NULL;
}

static void row_free(struct row *r)
{
    for (size_t i = 0; i < r->count; i++)
        document_unref(r->at[i]);
    free(r->at);
}

static void row_remove(struct row *r, size_t i)
{
    document_unref(r->at[i]);
    memmove(&r->at[i], &r->at[i + 1], (r->count - i - 1) * sizeof(*r->at));
    r->count--;
}

static struct row *row_of(const struct shelf *s, enum document_type type)
{
    struct shelf *m = (struct shelf *)s;
    return type == DOCUMENT_ROOT       ? &m->roots
           : type == DOCUMENT_POLICY   ? &m->policies
           : type == DOCUMENT_ENVELOPE ? &m->envelopes
           : type == DOCUMENT_CHAIN    ? &m->chains
                                       : NULL;
}

static int slot_of(enum document_type type)
{
    return type == DOCUMENT_ROSTER      ? IN_FORCE_ROSTER
           : type == DOCUMENT_INVENTORY ? IN_FORCE_INVENTORY
           : type == DOCUMENT_STATUS    ? IN_FORCE_STATUS
                                        : -1;
}

int shelf_new(const char *network, const uint8_t root_hash[HASH_LEN], struct shelf **ret)
{
    TRY(text_name(network, "network", NULL));
    struct shelf *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return ERR_NOMEM;
    memcpy(s->network, network, strlen(network) + 1);
    s->pinned = root_hash != NULL;
    if (s->pinned)
        memcpy(s->root_hash, root_hash, HASH_LEN);
    if (!row_new(&s->roots, SHELF_ROOTS_MAX) || !row_new(&s->policies, SHELF_POLICIES_MAX) ||
        !row_new(&s->envelopes, SHELF_ENVELOPES_MAX) || !row_new(&s->chains, SHELF_CHAINS_MAX)) {
        shelf_free(s);
        return ERR_NOMEM;
    }
    *ret = s;
    return 0;
}

void shelf_free(struct shelf *s)
{
    if (s == NULL)
        return;
    row_free(&s->roots);
    row_free(&s->policies);
    row_free(&s->envelopes);
    row_free(&s->chains);
    for (size_t i = 0; i < IN_FORCE_COUNT; i++)
        document_unref(s->in_force[i]);
    document_unref(s->last_status);
    free(s);
}

/* ---- finding */

static struct document *root_in_force(const struct shelf *s)
{
    return s->roots.count > 0 ? s->roots.at[s->roots.count - 1] : NULL;
}

/* Chains have no version: the one that lives longest. */
static uint64_t age(const struct document *d)
{
    return d->type == DOCUMENT_CHAIN ? d->expires_ms : d->version;
}

struct document *shelf_find(const struct shelf *s, enum document_type type, struct bytes name)
{
    int slot = slot_of(type);
    if (slot >= 0)
        return s->in_force[slot];
    if (type == DOCUMENT_ROOT)
        return root_in_force(s);
    const struct row *r = row_of(s, type);
    struct document *best = NULL;
    for (size_t i = 0; r != NULL && i < r->count; i++)
        if (bytes_is(name, r->at[i]->name) && (best == NULL || age(r->at[i]) > age(best)))
            best = r->at[i];
    return best;
}

struct document *shelf_find_hash(const struct shelf *s, enum document_type type, const uint8_t hash[HASH_LEN])
{
    int slot = slot_of(type);
    if (slot >= 0) {
        struct document *d = s->in_force[slot];
        return d != NULL && memcmp(d->hash, hash, HASH_LEN) == 0 ? d : NULL;
    }
    const struct row *r = row_of(s, type);
    for (size_t i = 0; r != NULL && i < r->count; i++)
        if (memcmp(r->at[i]->hash, hash, HASH_LEN) == 0)
            return r->at[i];
    return NULL;
}

struct document *shelf_find_envelope(const struct shelf *s, const uint8_t owner[ED25519_PUBLIC_LEN],
                                     const uint8_t id[ENVELOPE_ID_LEN])
{
    struct document *best = NULL;
    for (size_t i = 0; i < s->envelopes.count; i++) {
        struct document *d = s->envelopes.at[i];
        if (memcmp(d->envelope.owner, owner, ED25519_PUBLIC_LEN) == 0 &&
            memcmp(d->envelope.id, id, ENVELOPE_ID_LEN) == 0 && (best == NULL || d->version > best->version))
            best = d;
    }
    return best;
}

static void each_row(const struct row *r, void (*visit)(void *arg, struct document *d), void *arg)
{
    for (size_t i = 0; i < r->count; i++)
        visit(arg, r->at[i]);
}

void shelf_each(const struct shelf *s, void (*visit)(void *arg, struct document *d), void *arg)
{
    each_row(&s->roots, visit, arg);
    for (size_t i = 0; i < IN_FORCE_STATUS; i++)
        if (s->in_force[i] != NULL)
            visit(arg, s->in_force[i]);
    each_row(&s->policies, visit, arg);
    each_row(&s->envelopes, visit, arg);
    if (s->in_force[IN_FORCE_STATUS] != NULL)
        visit(arg, s->in_force[IN_FORCE_STATUS]);
    each_row(&s->chains, visit, arg);
}

/* ---- time, room */

static int check_time(const struct offer *o, const struct document *d)
{
    if (o->restore)
        return 0;
    if (d->issued_ms > o->now_ms && d->issued_ms - o->now_ms > SHELF_SKEW_MS)
        return err_set(o->err, ERR_EXPIRED, "%s: issued in the future; check the clock of this host and of the issuer",
                       o->source);
    if (d->type != DOCUMENT_ROOT && d->expires_ms <= o->now_ms)
        return err_set(o->err, ERR_EXPIRED, "%s: has expired; issue a new one", o->source);
    return 0;
}

static bool status_names(const struct shelf *s, const struct document *policy)
{
    const struct document *status = s->in_force[IN_FORCE_STATUS];
    for (size_t i = 0; status != NULL && i < status->status.document_count; i++)
        if (status->status.documents[i].type == DOCUMENT_POLICY &&
            memcmp(status->status.documents[i].hash, policy->hash, HASH_LEN) == 0)
            return true;
    return false;
}

static bool envelope_names(const struct shelf *s, const struct document *policy)
{
    for (size_t i = 0; i < s->envelopes.count; i++)
        if (memcmp(s->envelopes.at[i]->envelope.policy_hash, policy->hash, HASH_LEN) == 0)
            return true;
    return false;
}

static bool is_withdrawn(const struct shelf *s, const struct document *d)
{
    const struct document *status = s->in_force[IN_FORCE_STATUS];
    for (size_t i = 0; status != NULL && i < status->status.withdrawal_count; i++) {
        const struct withdrawal *w = &status->status.withdrawals[i];
        if (memcmp(w->owner, d->envelope.owner, ED25519_PUBLIC_LEN) == 0 &&
            memcmp(w->envelope, d->envelope.id, ENVELOPE_ID_LEN) == 0 && d->version < w->least_generation)
            return true;
    }
    return false;
}

/* Nothing that is alive is ever pushed out by what comes later. */
static bool is_disposable(const struct offer *o, const struct document *d)
{
    if (!o->restore && d->expires_ms <= o->now_ms)
        return true;
    if (d->type == DOCUMENT_POLICY)
        return d != shelf_find(o->s, DOCUMENT_POLICY, bytes_str(d->name)) && !status_names(o->s, d) &&
               !envelope_names(o->s, d);
    return d->type == DOCUMENT_ENVELOPE && is_withdrawn(o->s, d);
}

/* Takes ownership of d on success. */
static int row_add(struct offer *o, struct row *r, struct document *d)
{
    for (size_t i = 0; d->type != DOCUMENT_ROOT && r->count == r->max && i < r->count; i++)
        if (is_disposable(o, r->at[i])) {
            row_remove(r, i);
            break;
        }
    if (r->count == r->max)
        return err_set(o->err, ERR_FULL, "%s: %zu documents of type %s are held, no more fit", o->source, r->max,
                       document_type_name(d->type));
    r->at[r->count++] = d;
    o->taken = d;
    return 0;
}

/* ---- opening */

static int open_note(const struct offer *o, struct document_trust trust, struct document **ret)
{
    if (o->opened == NULL || o->by.root != trust.root || o->by.policy != trust.policy)
        return document_open(o->note, trust, o->source, ret, o->err);
    *ret = document_ref(o->opened);
    return 0;
}

/* ---- root */

/* Documents that the holders of a role under the new root did not sign leave, and their floors with them. */
static void judge_again(struct shelf *s, const struct document *root)
{
    static const enum role roles[IN_FORCE_COUNT] = {ROLE_ROSTER, ROLE_INVENTORY, ROLE_STATUS};
    for (size_t i = 0; i < IN_FORCE_COUNT; i++)
        if (s->in_force[i] != NULL && document_check_role(s->in_force[i]->note, &root->root, roles[i], NULL) != 0) {
            document_unref(s->in_force[i]);
            s->in_force[i] = NULL;
        }
    for (size_t i = s->policies.count; i-- > 0;)
        if (document_check_role(s->policies.at[i]->note, &root->root, ROLE_POLICY, NULL) != 0)
            row_remove(&s->policies, i);
}

static int stale(const struct offer *o, uint64_t held)
{
    return err_set(o->err, ERR_STALE, "%s: version %llu is older than version %llu, which is in force", o->source,
                   (unsigned long long)o->claim.version, (unsigned long long)held);
}

static int equivocation(const struct offer *o, const struct document *held)
{
    char hash[2 * HASH_LEN + 1];
    hex_encode(BYTES_OF(held->hash), hash);
    return err_set(o->err, ERR_EQUIVOCATION,
                   "%s: another %s of version %llu is held already (hash %s); the first one stays", o->source,
                   document_type_name(held->type), (unsigned long long)held->version, hash);
}

/* The root before the one that a root of this version claims to follow. */
static const struct document *root_before(const struct shelf *s, uint64_t version)
{
    size_t i = s->roots.count;
    while (i > 1 && s->roots.at[i - 1]->version >= version)
        i--;
    return i > 0 ? s->roots.at[i - 1] : NULL;
}

static int check_pin(const struct offer *o)
{
    struct bytes text;
    uint8_t hash[HASH_LEN];
    TRY(note_text(o->note, &text, o->err));
    sha256(text, hash);
    if (o->s->pinned && memcmp(hash, o->s->root_hash, HASH_LEN) != 0)
        return err_set(o->err, ERR_DOCUMENTS,
                       "%s: the first root must be the one that root_hash pins; offer that one first", o->source);
    return 0;
}

static int offer_root(struct offer *o)
{
    const struct document *held = root_in_force(o->s);
    struct document *d = NULL;
    if (held == NULL)
        TRY(check_pin(o));
    else if (o->claim.version < held->version)
        return stale(o, held->version);
    struct document_trust trust = {.root = root_before(o->s, o->claim.version)};
    TRY(open_note(o, trust, &d));
    int rc = held != NULL && d->version == held->version ? equivocation(o, held) : check_time(o, d);
    if (rc == 0)
        rc = row_add(o, &o->s->roots, d);
    if (rc != 0)
        document_unref(d);
    else
        judge_again(o->s, d);
    return rc;
}

/* ---- roster, inventory, status: one is in force */

/* What the newer version may not take back. */
static int check_succession(const struct offer *o, const struct document *held, const struct document *d)
{
    struct err why = {0};
    int rc = 0;
    if (d->type == DOCUMENT_INVENTORY && held != NULL)
        rc = succession_inventory(held, d, &why);
    if (d->type == DOCUMENT_STATUS && o->s->last_status != NULL)
        rc = succession_status(o->s->last_status, d, &why);
    if (rc == ERR_THRESHOLD && document_check_role(o->note, &root_in_force(o->s)->root, ROLE_ROOT, NULL) == 0)
        return 0;
    return rc != 0 ? err_set(o->err, rc, "%s: %s", o->source, why.text) : 0;
}

static int offer_in_force(struct offer *o)
{
    struct document **place = &o->s->in_force[slot_of(o->claim.type)];
    const struct document *held = *place;
    struct document *d = NULL;
    struct document_trust trust = {.root = root_in_force(o->s)};
    if (trust.root == NULL)
        return err_set(o->err, ERR_DOCUMENTS, "%s: the root document is missing; offer it first", o->source);
    if (held != NULL && o->claim.version < held->version && !mutant("ROLLBACK"))
        return stale(o, held->version);
    TRY(open_note(o, trust, &d));
    int rc = held != NULL && d->version == held->version ? equivocation(o, held) : check_time(o, d);
    if (rc == 0)
        rc = check_succession(o, held, d);
    if (rc != 0) {
        document_unref(d);
        return rc;
    }
    document_unref(*place);
    *place = o->taken = d;
    if (d->type == DOCUMENT_STATUS) {
        document_unref(o->s->last_status);
        o->s->last_status = document_ref(d);
    }
    return 0;
}

/* ---- policies, envelopes, chains: several beside one another */

/* The same text again, with the signatures of more owners: it opens more. */
static bool more_owners(const struct document *held, const struct document *d)
{
    bool more = false;
    for (size_t i = 0; i < d->policy.owner_count; i++) {
        if (held->policy.owner_signed[i] && !d->policy.owner_signed[i])
            return false;
        more = more || (d->policy.owner_signed[i] && !held->policy.owner_signed[i]);
    }
    return more;
}

static struct document *same_version(const struct row *r, const struct document *d)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->at[i]->name, d->name) == 0 && r->at[i]->version == d->version)
            return r->at[i];
    return NULL;
}

static int place_policy(struct offer *o, struct document *d)
{
    struct row *r = &o->s->policies;
    struct document *same = same_version(r, d);
    const struct document *newest = shelf_find(o->s, DOCUMENT_POLICY, bytes_str(d->name));
    if (same != NULL && memcmp(same->hash, d->hash, HASH_LEN) != 0)
        return equivocation(o, same);
    TRY(check_time(o, d));
    if (same == NULL) {
        if (newest != NULL && d->version < newest->version && !status_names(o->s, d) && !envelope_names(o->s, d))
            return stale(o, newest->version);
        return row_add(o, r, d);
    }
    if (!more_owners(same, d)) {
        o->known = same;
        return 0;
    }
    for (size_t i = 0; i < r->count; i++)
        if (r->at[i] == same)
            row_remove(r, i);
    return row_add(o, r, d);
}

static int offer_policy(struct offer *o)
{
    struct document *d = NULL;
    struct document_trust trust = {.root = root_in_force(o->s)};
    if (trust.root == NULL)
        return err_set(o->err, ERR_DOCUMENTS, "%s: the root document is missing; offer it first", o->source);
    TRY(open_note(o, trust, &d));
    int rc = place_policy(o, d);
    if (o->taken != d)
        document_unref(d);
    return rc;
}

static bool holds(const struct row *r, const struct document *d)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->at[i] == d)
            return true;
    return false;
}

/* Any held policy of that name may vouch for the owner; whether it opens the envelope is chain_check's business. */
static int open_envelope(const struct offer *o, struct document **ret)
{
    int rc = err_set(o->err, ERR_DOCUMENTS, "%s: policy %s is missing; offer it first", o->source, o->claim.policy);
    for (size_t i = o->s->policies.count; i-- > 0;) {
        if (strcmp(o->s->policies.at[i]->name, o->claim.policy) != 0)
            continue;
        struct document_trust trust = {.policy = o->s->policies.at[i]};
        if (o->opened != NULL && o->by.policy != trust.policy && holds(&o->s->policies, o->by.policy))
            continue; /* its turn comes */
        rc = open_note(o, trust, ret);
        if (rc == 0)
            return 0;
    }
    return rc;
}

static int place_envelope(struct offer *o, struct document *d)
{
    const struct row *r = &o->s->envelopes;
    for (size_t i = 0; i < r->count; i++)
        if (memcmp(r->at[i]->envelope.owner, d->envelope.owner, ED25519_PUBLIC_LEN) == 0 &&
            memcmp(r->at[i]->envelope.id, d->envelope.id, ENVELOPE_ID_LEN) == 0 && r->at[i]->version == d->version)
            return equivocation(o, r->at[i]);
    TRY(check_time(o, d));
    if (is_withdrawn(o->s, d))
        return err_set(o->err, ERR_STALE, "%s: generation %llu is withdrawn by the status", o->source,
                       (unsigned long long)d->version);
    return row_add(o, &o->s->envelopes, d);
}

static int offer_envelope(struct offer *o)
{
    struct document *d = NULL;
    TRY(open_envelope(o, &d));
    int rc = place_envelope(o, d);
    if (rc != 0)
        document_unref(d);
    return rc;
}

/* Nobody signed it: it is only kept for those who ask; whoever uses it runs chain_check. */
static int offer_chain(struct offer *o)
{
    struct document *d = NULL;
    struct document_trust none = {NULL, NULL};
    TRY(open_note(o, none, &d));
    int rc = check_time(o, d);
    if (rc == 0)
        rc = row_add(o, &o->s->chains, d);
    if (rc != 0)
        document_unref(d);
    return rc;
}

/* ---- offering */

/* The document of this text, if it is there. A policy's note may differ by its owners' signatures. */
static struct document *find_known(const struct offer *o)
{
    struct bytes text = o->note;
    uint8_t hash[HASH_LEN];
    if (o->claim.type != DOCUMENT_CHAIN && note_text(o->note, &text, NULL) != 0)
        return NULL;
    sha256(text, hash);
    struct document *d = shelf_find_hash(o->s, o->claim.type, hash);
    if (d != NULL && d->type == DOCUMENT_POLICY && !bytes_equal(d->note, o->note))
        return NULL;
    return d;
}

static int place(struct offer *o)
{
    static int (*const offers[])(struct offer * o) = {
        [DOCUMENT_ROOT] = offer_root,       [DOCUMENT_ROSTER] = offer_in_force, [DOCUMENT_INVENTORY] = offer_in_force,
        [DOCUMENT_STATUS] = offer_in_force, [DOCUMENT_POLICY] = offer_policy,   [DOCUMENT_ENVELOPE] = offer_envelope,
        [DOCUMENT_CHAIN] = offer_chain,
    };
    if (strcmp(o->claim.network, o->s->network) != 0)
        return err_set(o->err, ERR_CONFIG, "%s: belongs to network %s, this is %s", o->source, o->claim.network,
                       o->s->network);
    o->known = find_known(o);
    if (o->known != NULL)
        return 0;
    assert((size_t)o->claim.type < sizeof(offers) / sizeof(offers[0]) && offers[o->claim.type] != NULL);
    return offers[o->claim.type](o);
}

static int take(struct offer *o)
{
    struct err why = {0};
    int rc = document_peek(o->note, &o->claim, &why);
    return rc == 0 ? place(o) : err_set(o->err, rc, "%s: %s", o->source, why.text);
}

static void outcome(const struct offer *o, enum shelf_outcome *ret_outcome, const struct document **ret_document)
{
    *ret_outcome = o->taken != NULL ? SHELF_ACCEPTED : SHELF_KNOWN;
    *ret_document = o->taken != NULL ? o->taken : o->known;
}

int shelf_offer(struct shelf *s, struct bytes note, const char *source, uint64_t now_ms,
                enum shelf_outcome *ret_outcome, const struct document **ret_document, struct err *err)
{
    struct offer o = {.s = s, .note = note, .source = source, .now_ms = now_ms, .err = err};
    TRY(take(&o));
    outcome(&o, ret_outcome, ret_document);
    return 0;
}

int shelf_restore(struct shelf *s, struct bytes note, const char *source, enum shelf_outcome *ret_outcome,
                  const struct document **ret_document, struct err *err)
{
    struct offer o = {.s = s, .note = note, .source = source, .restore = true, .err = err};
    TRY(take(&o));
    outcome(&o, ret_outcome, ret_document);
    return 0;
}

/* ---- opening elsewhere */

static bool is_outrun(const struct shelf *s, const struct document_claim *claim)
{
    bool single = slot_of(claim->type) >= 0 || claim->type == DOCUMENT_ROOT;
    const struct document *held = single ? shelf_find(s, claim->type, BYTES_NONE) : NULL;
    return held != NULL && claim->version < held->version && !mutant("ROLLBACK");
}

bool shelf_judges(const struct shelf *s, const struct document_claim *claim, const uint8_t hash[HASH_LEN],
                  struct shelf_judges *ret)
{
    *ret = (struct shelf_judges){.policy_count = 0};
    const struct document *held = shelf_find_hash(s, claim->type, hash);
    if ((held != NULL && claim->type != DOCUMENT_POLICY) || is_outrun(s, claim))
        return false; /* a policy may come again, signed by more owners */
    const struct document *root = claim->type == DOCUMENT_ROOT ? root_before(s, claim->version) : root_in_force(s);
    if (root != NULL && claim->type != DOCUMENT_ENVELOPE && claim->type != DOCUMENT_CHAIN)
        ret->root = document_ref((struct document *)(uintptr_t)root);
    for (size_t i = s->policies.count; claim->type == DOCUMENT_ENVELOPE && i-- > 0;)
        if (strcmp(s->policies.at[i]->name, claim->policy) == 0 && ret->policy_count < SHELF_POLICY_JUDGES_MAX)
            ret->policy[ret->policy_count++] = document_ref(s->policies.at[i]);
    return true;
}

void shelf_judges_done(struct shelf_judges *j)
{
    document_unref(j->root);
    for (size_t i = 0; i < j->policy_count; i++)
        document_unref(j->policy[i]);
    *j = (struct shelf_judges){.policy_count = 0};
}

int shelf_judges_open(const struct shelf_judges *j, struct bytes note, const char *source, struct document **ret,
                      const struct document **ret_policy, struct err *err)
{
    struct document_trust trust = {.root = j->root};
    *ret_policy = NULL;
    int rc = j->policy_count == 0 ? document_open(note, trust, source, ret, err) : ERR_SIGNATURE;
    for (size_t i = 0; i < j->policy_count && rc != 0; i++) {
        trust.policy = j->policy[i];
        rc = document_open(note, trust, source, ret, err);
        *ret_policy = trust.policy;
    }
    return rc;
}

int shelf_offer_opened(struct shelf *s, struct document *d, const struct shelf_judges *j, const struct document *policy,
                       const char *source, uint64_t now_ms, enum shelf_outcome *ret_outcome,
                       const struct document **ret_document, struct err *err)
{
    struct offer o = {.s = s, .note = d->note, .source = source, .now_ms = now_ms, .err = err};
    o.opened = d;
    o.by = (struct document_trust){.root = j->root, .policy = policy};
    o.claim = (struct document_claim){.type = d->type, .version = d->version};
    memcpy(o.claim.network, d->network, sizeof(o.claim.network));
    memcpy(o.claim.name, d->name, sizeof(o.claim.name));
    if (d->type == DOCUMENT_ENVELOPE)
        memcpy(o.claim.policy, d->envelope.policy_name, sizeof(o.claim.policy));
    TRY(place(&o));
    outcome(&o, ret_outcome, ret_document);
    return 0;
}

/* ---- freshness */

static int check_fresh(const struct document *status, const struct document *d, enum document_type type,
                       uint64_t now_ms, struct err *err)
{
    const char *name = document_type_name(type);
    if (d == NULL)
        return err_set(err, ERR_DOCUMENTS, "the %s document is missing here", name);
    if (d->expires_ms <= now_ms)
        return err_set(err, ERR_EXPIRED, "the %s document, version %llu, has expired; issue a new one", name,
                       (unsigned long long)d->version);
    for (size_t i = 0; i < status->status.document_count; i++) {
        const struct status_entry *e = &status->status.documents[i];
        if (e->type != type)
            continue;
        if (d->version < e->version)
            return err_set(err, ERR_STALE, "the %s document held is version %llu, the status names version %llu", name,
                           (unsigned long long)d->version, (unsigned long long)e->version);
        if (d->version == e->version && memcmp(d->hash, e->hash, HASH_LEN) != 0)
            return err_set(err, ERR_STALE, "the %s document held is another version %llu than the status names", name,
                           (unsigned long long)d->version);
        return 0;
    }
    return err_set(err, ERR_STATUS, "the status does not name the %s document", name);
}

int shelf_fresh(const struct shelf *s, uint64_t now_ms, struct err *err)
{
    const struct document *status = s->in_force[IN_FORCE_STATUS];
    if (status == NULL)
        return err_set(err, ERR_STATUS, "the status document is missing here");
    if (status->expires_ms <= now_ms)
        return err_set(err, ERR_STATUS, "the status document, version %llu, has expired; issue a new one",
                       (unsigned long long)status->version);
    TRY(check_fresh(status, root_in_force(s), DOCUMENT_ROOT, now_ms, err));
    TRY(check_fresh(status, s->in_force[IN_FORCE_ROSTER], DOCUMENT_ROSTER, now_ms, err));
    return check_fresh(status, s->in_force[IN_FORCE_INVENTORY], DOCUMENT_INVENTORY, now_ms, err);
}
