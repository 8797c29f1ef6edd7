/* document: verifies a note's signatures, then parses its text; owns what it parsed. */
#include "common/documents/document.h"
#include "common/base/mutant.h"
#include "common/documents/schema.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- types */

static const char *const type_names[] = {[DOCUMENT_NONE] = "none",
#define TYPE_NAME(upper, lower) [DOCUMENT_##upper] = #lower,
                                         DOCUMENT_TABLE(TYPE_NAME)
#undef TYPE_NAME
};
#define TYPE_COUNT (sizeof(type_names) / sizeof(type_names[0]))

const char *document_type_name(enum document_type type)
{
    return (size_t)type < TYPE_COUNT ? type_names[type] : "unknown";
}

enum document_type document_type_from(struct bytes name)
{
    for (size_t i = DOCUMENT_NONE + 1; i < TYPE_COUNT; i++)
        if (bytes_is(name, type_names[i]))
            return (enum document_type)i;
    return DOCUMENT_NONE;
}

const struct schema *schema_find(enum document_type type)
{
    static const struct schema *const schemas[TYPE_COUNT] = {
        [DOCUMENT_ROOT] = &root_schema,           [DOCUMENT_ROSTER] = &roster_schema,
        [DOCUMENT_INVENTORY] = &inventory_schema, [DOCUMENT_POLICY] = &policy_schema,
        [DOCUMENT_ENVELOPE] = &envelope_schema,   [DOCUMENT_STATUS] = &status_schema,
        [DOCUMENT_CHAIN] = &chain_schema,
    };
    return (size_t)type < TYPE_COUNT ? schemas[type] : NULL;
}

/* The first line decides: "enfilade: TYPE/v1". */
static int find_type(struct bytes text, enum document_type *ret, struct err *err)
{
    static const char head[] = "enfilade: ", tail[] = "/v1";
    struct cursor c = {text};
    struct bytes line;
    size_t h = sizeof(head) - 1, t = sizeof(tail) - 1;
    if (cursor_line(&c, &line) != 0 || line.len <= h + t || memcmp(line.p, head, h) != 0 ||
        memcmp(line.p + line.len - t, tail, t) != 0)
        return err_set(err, ERR_FORMAT, "line 1: the first line must be \"enfilade: TYPE/v1\"");
    enum document_type type = document_type_from(BYTES(line.p + h, line.len - h - t));
    if (type == DOCUMENT_NONE)
        return err_set(err, ERR_FORMAT, "line 1: enfilade: '%.*s' is not a type of document",
                       (int)(line.len - h - t > 40 ? 40 : line.len - h - t), (const char *)line.p + h);
    if (type == DOCUMENT_APPROVAL)
        return err_set(err, ERR_VERSION, "line 1: approvals are not in use yet");
    *ret = type;
    return 0;
}

/* ---- one document's life */

static struct document *document_new(enum document_type type)
{
    struct document *d = calloc(1, sizeof(*d));
    if (d != NULL) {
        d->type = type;
        d->refs = 1;
    }
    return d;
}

struct document *document_ref(struct document *d)
{
    assert(d->refs > 0);
    d->refs++;
    return d;
}

void document_unref(struct document *d)
{
    if (d == NULL)
        return;
    assert(d->refs > 0);
    if (--d->refs > 0)
        return;
    document_free_memory(d);
    free(d);
}

/* ---- parsing */

static int check_text(struct bytes text, enum document_type type, struct err *err)
{
    size_t max = type == DOCUMENT_CHAIN ? CHAIN_MAX : DOCUMENT_MAX;
    if (text.len > max)
        return err_set(err, ERR_TOO_LONG, "a %s of more than %zu bytes", document_type_name(type), max);
    if (text.len == 0 || text.p[text.len - 1] != '\n')
        return err_set(err, ERR_FORMAT, "the text must end with a newline");
    return 0;
}

static int fill(struct document *d, const char *source, struct err *err)
{
    const struct schema *schema = schema_find(d->type);
    void *raw = NULL;
    TRY(yaml_load(d->text, source, schema->raw, &raw, err));
    struct reader r = {.text = d->text, .source = source, .err = err, .d = d};
    int rc = schema->read(&r, raw);
    yaml_release(schema->raw, raw);
    return rc;
}

/* A document from the text within note; note is copied, source names it in errors. */
static int parse(struct bytes note, struct bytes text, const char *source, struct document **ret, struct err *err)
{
    enum document_type type;
    int rc = find_type(text, &type, err);
    if (rc == 0)
        rc = check_text(text, type, err);
    if (rc != 0)
        return err_wrap(err, rc, "%s", source);
    struct document *d = document_new(type);
    uint8_t *copy = d != NULL ? document_alloc(d, note.len, 1) : NULL;
    if (copy == NULL)
        rc = err_set(err, ERR_NOMEM, "%s: out of memory", source);
    else {
        memcpy(copy, note.p, note.len);
        d->note = BYTES(copy, note.len);
        d->text = BYTES(copy + (text.p - note.p), text.len);
        sha256(d->text, d->hash);
        rc = fill(d, source, err);
    }
    if (rc == 0)
        *ret = d;
    else
        document_unref(d);
    return rc;
}

int document_parse(struct bytes text, const char *source, struct document **ret, struct err *err)
{
    return parse(text, text, source, ret, err);
}

/* ---- signatures */

/* How many distinct keys of this set signed; ret_signed may be NULL. */
static int count_signers(struct bytes note, const struct note_key *keys, size_t count, bool *ret_signed,
                         size_t *ret_count, struct err *err)
{
    bool *mine = calloc(count + 1, sizeof(*mine));
    struct bytes text;
    if (mine == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    int rc = note_verify(note, keys, count, mine, &text, err);
    if (rc == 0) {
        *ret_count = note_count(keys, mine, count);
        if (ret_signed != NULL)
            memcpy(ret_signed, mine, count * sizeof(*mine));
    }
    free(mine);
    return rc;
}

int document_check_role(struct bytes note, const struct root *root, enum role role, struct err *err)
{
    const struct role_keys *k = &root->role[role];
    size_t count = 0;
    TRY(count_signers(note, k->keys, k->count, NULL, &count, err));
    if ((k->threshold == 0 || count < k->threshold) && !mutant("THRESHOLD"))
        return err_set(err, ERR_THRESHOLD, "%zu of the %u signatures that role %s needs; have more of its holders sign",
                       count, k->threshold, role_name(role));
    return 0;
}

static int check_policy(struct document *d, struct document_trust trust, struct err *err)
{
    (void)trust;
    size_t count = 0;
    return count_signers(d->note, d->policy.owners, d->policy.owner_count, d->policy.owner_signed, &count, err);
}

static int check_root(struct document *d, struct document_trust trust, struct err *err)
{
    (void)trust;
    return document_check_role(d->note, &d->root, ROLE_ROOT, err);
}

/* Exactly one owner: who it is goes into every derivation, so two would make it a matter of order. */
static int check_envelope(struct document *d, struct document_trust trust, struct err *err)
{
    const struct policy *p = &trust.policy->policy;
    if (strcmp(d->envelope.policy_name, trust.policy->name) != 0)
        return err_set(err, ERR_SIGNATURE, "names policy %s, so policy %s does not judge it", d->envelope.policy_name,
                       trust.policy->name);
    bool *signed_ = calloc(p->owner_count + 1, sizeof(*signed_));
    size_t count = 0;
    if (signed_ == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    int rc = count_signers(d->note, p->owners, p->owner_count, signed_, &count, err);
    if (rc == 0 && count != 1)
        rc = err_set(err, ERR_SIGNATURE, "signed by %zu owners that policy %s lists, must be exactly one", count,
                     p->name);
    for (size_t i = 0; rc == 0 && i < p->owner_count; i++)
        if (signed_[i])
            memcpy(d->envelope.owner, p->owners[i].public, ED25519_PUBLIC_LEN);
    free(signed_);
    return rc;
}

/* Who must have signed a document before its text is parsed, and what is checked with the parsed one. */
static const struct rule {
    bool needs_root, needs_policy;
    enum role role; /* ROLE_COUNT: none */
    int (*after)(struct document *d, struct document_trust trust, struct err *err);
} rules[TYPE_COUNT] = {
    [DOCUMENT_ROOT] = {.role = ROLE_ROOT, .after = check_root},
    [DOCUMENT_ROSTER] = {.role = ROLE_ROSTER, .needs_root = true},
    [DOCUMENT_INVENTORY] = {.role = ROLE_INVENTORY, .needs_root = true},
    [DOCUMENT_POLICY] = {.role = ROLE_POLICY, .needs_root = true, .after = check_policy},
    [DOCUMENT_ENVELOPE] = {.role = ROLE_COUNT, .needs_policy = true, .after = check_envelope},
    [DOCUMENT_STATUS] = {.role = ROLE_STATUS, .needs_root = true},
};

static int check_before(struct bytes note, enum document_type type, struct document_trust trust, struct err *err)
{
    const struct rule *rule = &rules[type];
    if (rule->needs_root && trust.root == NULL)
        return err_set(err, ERR_SIGNATURE, "there is no root document to judge a %s by", document_type_name(type));
    if (rule->needs_policy && (trust.policy == NULL || trust.policy->type != DOCUMENT_POLICY))
        return err_set(err, ERR_SIGNATURE, "there is no policy document to judge an envelope by");
    if (rule->role != ROLE_COUNT && trust.root != NULL)
        return document_check_role(note, &trust.root->root, rule->role, err);
    return 0;
}

/* All documents that judge one another belong to one network. */
static int check_network(const struct document *d, struct document_trust trust, struct err *err)
{
    const struct document *by = trust.root != NULL ? trust.root : trust.policy;
    if (by != NULL && strcmp(d->network, by->network) != 0)
        return err_set(err, ERR_CONFIG, "network: belongs to network %s, not to %s", d->network, by->network);
    return 0;
}

static int open_signed(struct bytes note, enum document_type type, struct document_trust trust, const char *source,
                       struct document **ret, struct err *err)
{
    struct bytes text;
    struct document *d = NULL;
    int rc = note_text(note, &text, err);
    if (rc == 0)
        rc = check_text(text, type, err);
    if (rc == 0)
        rc = check_before(note, type, trust, err);
    if (rc != 0)
        return err_wrap(err, rc, "%s", source);
    TRY(parse(note, text, source, &d, err));
    rc = check_network(d, trust, err);
    if (rc == 0 && rules[type].after != NULL)
        rc = rules[type].after(d, trust, err);
    if (rc == 0)
        *ret = d;
    else {
        document_unref(d);
        return err_wrap(err, rc, "%s", source);
    }
    return 0;
}

int document_open(struct bytes note, struct document_trust trust, const char *source, struct document **ret,
                  struct err *err)
{
    enum document_type type;
    struct err inner = {0};
    int rc = note.len > NOTE_MAX ? err_set(&inner, ERR_TOO_LONG, "a note of more than %u bytes", NOTE_MAX)
                                 : find_type(note, &type, &inner);
    if (rc != 0)
        return err_set(err, rc, "%s: %s", source, inner.text);
    if (type == DOCUMENT_CHAIN)
        return parse(note, note, source, ret, err);
    return open_signed(note, type, trust, source, ret, err);
}

/* ---- what a text claims to be */

static int claim_number(const char *text, uint64_t *ret, struct err *err)
{
    return text_u64(text, "version", 1, UINT64_MAX, ret, err);
}

int document_peek(struct bytes note, struct document_claim *ret, struct err *err)
{
    struct document_claim c = {.type = DOCUMENT_NONE};
    struct bytes text = note;
    char version[24], id[NAME_MAX_LEN + 1];
    if (note.len > NOTE_MAX)
        return err_set(err, ERR_TOO_LONG, "a note of more than %u bytes", NOTE_MAX);
    TRY(find_type(note, &c.type, err));
    if (c.type != DOCUMENT_CHAIN)
        TRY(note_text(note, &text, err));
    TRY(check_text(text, c.type, err));
    const char *name_key = c.type == DOCUMENT_POLICY     ? "name"
                           : c.type == DOCUMENT_ENVELOPE ? "id"
                           : c.type == DOCUMENT_CHAIN    ? "operation"
                                                         : NULL;
    const char *version_key = c.type == DOCUMENT_CHAIN ? NULL : c.type == DOCUMENT_ENVELOPE ? "generation" : "version";
    struct yaml_claim claims[4] = {{"network", c.network, sizeof(c.network)}};
    size_t n = 1;
    version[0] = id[0] = '\0';
    if (name_key != NULL)
        claims[n++] = (struct yaml_claim){name_key, id, sizeof(id)};
    if (version_key != NULL)
        claims[n++] = (struct yaml_claim){version_key, version, sizeof(version)};
    if (c.type == DOCUMENT_ENVELOPE)
        claims[n++] = (struct yaml_claim){"policy", c.policy, sizeof(c.policy)};
    TRY(yaml_claims(text, claims, n, err));
    TRY(text_name(c.network, "network", err));
    if (name_key != NULL)
        TRY(text_name(id, name_key, err));
    if (c.type == DOCUMENT_ENVELOPE)
        TRY(text_name(c.policy, "policy", err));
    if (version_key != NULL)
        TRY(claim_number(version, &c.version, err));
    memcpy(c.name, id, sizeof(c.name));
    *ret = c;
    return 0;
}
