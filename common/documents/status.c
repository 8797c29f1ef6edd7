/* status: the schema of the document that says what is in force now. */
#include "common/documents/schema.h"
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 512
#define REVOCATIONS_MAX 4096
#define HALTS_MAX 1024
#define WITHDRAWN_MAX 4096

struct raw_entry {
    enum document_type type;
    char *name, *version, *hash;
};
struct raw_revocation {
    enum revoked_kind kind;
    char *id, *hash;
};
struct raw_halt {
    char *network, *node, *policy;
};
struct raw_withdrawal {
    char *owner, *envelope, *least_generation;
};
struct raw_status {
    struct head head;
    struct raw_entry *documents;
    struct raw_revocation *revocations;
    struct raw_halt *halts;
    struct raw_withdrawal *withdrawn;
    unsigned documents_count, revocations_count, halts_count, withdrawn_count;
};

static const cyaml_strval_t type_words[] = {{"root", DOCUMENT_ROOT},
                                            {"roster", DOCUMENT_ROSTER},
                                            {"inventory", DOCUMENT_INVENTORY},
                                            {"policy", DOCUMENT_POLICY}};
static const cyaml_strval_t kind_words[] = {
    {"node", REVOKED_NODE}, {"device", REVOKED_DEVICE}, {"chain", REVOKED_CHAIN}};

static const cyaml_schema_field_t entry_fields[] = {
    CYAML_FIELD_ENUM("type", CYAML_FLAG_STRICT, struct raw_entry, type, type_words, 4),
    FIELD_TEXT_OPTIONAL("name", struct raw_entry, name),
    FIELD_TEXT("version", struct raw_entry, version),
    FIELD_TEXT("hash", struct raw_entry, hash),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t revocation_fields[] = {
    CYAML_FIELD_ENUM("kind", CYAML_FLAG_STRICT, struct raw_revocation, kind, kind_words, 3),
    FIELD_TEXT_OPTIONAL("id", struct raw_revocation, id),
    FIELD_TEXT_OPTIONAL("hash", struct raw_revocation, hash),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t halt_fields[] = {
    FIELD_TEXT_OPTIONAL("network", struct raw_halt, network),
    FIELD_TEXT_OPTIONAL("node", struct raw_halt, node),
    FIELD_TEXT_OPTIONAL("policy", struct raw_halt, policy),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t withdrawal_fields[] = {
    FIELD_TEXT("owner", struct raw_withdrawal, owner),
    FIELD_TEXT("envelope", struct raw_withdrawal, envelope),
    FIELD_TEXT("least_generation", struct raw_withdrawal, least_generation),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t entry_value = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_entry,
                                                                     entry_fields)},
                                  revocation_value = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_revocation,
                                                                          revocation_fields)},
                                  halt_value = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_halt, halt_fields)},
                                  withdrawal_value = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_withdrawal,
                                                                          withdrawal_fields)};
static const cyaml_schema_field_t status_fields[] = {
    FIELDS_HEAD(struct raw_status),
    FIELD_TEXT("version", struct raw_status, head.version),
    CYAML_FIELD_SEQUENCE("documents", CYAML_FLAG_POINTER, struct raw_status, documents, &entry_value, 3, ENTRIES_MAX),
    CYAML_FIELD_SEQUENCE("revocations", CYAML_FLAG_POINTER, struct raw_status, revocations, &revocation_value, 0,
                         REVOCATIONS_MAX),
    CYAML_FIELD_SEQUENCE("halts", CYAML_FLAG_POINTER, struct raw_status, halts, &halt_value, 0, HALTS_MAX),
    CYAML_FIELD_SEQUENCE("withdrawn", CYAML_FLAG_POINTER, struct raw_status, withdrawn, &withdrawal_value, 0,
                         WITHDRAWN_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t status_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_status, status_fields)};

/* ---- reading; every list is a set */

static int read_entry(struct reader *r, const struct raw_entry *raw, struct status_entry *e)
{
    e->type = raw->type;
    if (raw->type == DOCUMENT_POLICY)
        TRY(read_name(r, "name", raw->name, e->name));
    else if (raw->name != NULL)
        return read_fail(r, ERR_FORMAT, "name", "only with type policy; remove it");
    TRY(read_u64(r, "version", raw->version, 1, VERSION_MAX, &e->version));
    return read_hex(r, "hash", raw->hash, e->hash, HASH_LEN);
}

/* One of root, roster and inventory each, and one version of a policy. */
static int check_entries(struct reader *r, const struct status *s)
{
    static const enum document_type once[] = {DOCUMENT_ROOT, DOCUMENT_ROSTER, DOCUMENT_INVENTORY};
    for (size_t t = 0; t < sizeof(once) / sizeof(once[0]); t++) {
        size_t count = 0;
        for (size_t i = 0; i < s->document_count; i++)
            count += s->documents[i].type == once[t];
        reader_at(r, "documents");
        if (count != 1)
            return read_fail(r, ERR_FORMAT, NULL, "holds %zu entries of type %s, must be one", count,
                             document_type_name(once[t]));
    }
    for (size_t i = 0; i < s->document_count; i++)
        for (size_t j = 0; j < i; j++)
            if (s->documents[i].type == DOCUMENT_POLICY && s->documents[j].type == DOCUMENT_POLICY &&
                strcmp(s->documents[i].name, s->documents[j].name) == 0) {
                reader_at(r, "documents[%zu]", i);
                return read_fail(r, ERR_FORMAT, "name",
                                 "the same policy as documents[%zu]; one version of it is in force", j);
            }
    return 0;
}

static int read_entries(struct reader *r, const struct raw_status *raw, struct status *s)
{
    TRY(read_array(r, raw->documents_count, sizeof(*s->documents), &s->documents));
    for (size_t i = 0; i < raw->documents_count; i++) {
        reader_at(r, "documents[%zu]", i);
        TRY(read_entry(r, &raw->documents[i], &s->documents[i]));
    }
    s->document_count = raw->documents_count;
    return check_entries(r, s);
}

static int read_revocation(struct reader *r, const struct raw_revocation *raw, struct revocation *v)
{
    v->kind = raw->kind;
    if (raw->kind == REVOKED_CHAIN) {
        if (raw->id != NULL)
            return read_fail(r, ERR_FORMAT, "id", "a chain is revoked by its hash; remove id");
        return read_hex(r, "hash", raw->hash, v->hash, HASH_LEN);
    }
    if (raw->hash != NULL)
        return read_fail(r, ERR_FORMAT, "hash", "a node or device is revoked by its id; remove hash");
    return read_name(r, "id", raw->id, v->id);
}

static int read_revocations(struct reader *r, const struct raw_status *raw, struct status *s)
{
    TRY(read_array(r, raw->revocations_count, sizeof(*s->revocations), &s->revocations));
    for (size_t i = 0; i < raw->revocations_count; i++) {
        reader_at(r, "revocations[%zu]", i);
        TRY(read_revocation(r, &raw->revocations[i], &s->revocations[i]));
    }
    s->revocation_count = raw->revocations_count;
    return 0;
}

static int read_halt(struct reader *r, const struct raw_halt *raw, struct halt *h)
{
    int count = (raw->network != NULL) + (raw->node != NULL) + (raw->policy != NULL);
    if (count != 1)
        return read_fail(r, ERR_FORMAT, NULL, "must hold exactly one of network, node, policy");
    if (raw->node != NULL)
        return read_name(r, "node", raw->node, h->node);
    if (raw->policy != NULL)
        return read_name(r, "policy", raw->policy, h->policy);
    if (strcmp(raw->network, "halted") != 0)
        return read_fail(r, ERR_FORMAT, "network", "must be the word halted");
    h->network = true;
    return 0;
}

static int read_halts(struct reader *r, const struct raw_status *raw, struct status *s)
{
    TRY(read_array(r, raw->halts_count, sizeof(*s->halts), &s->halts));
    for (size_t i = 0; i < raw->halts_count; i++) {
        reader_at(r, "halts[%zu]", i);
        TRY(read_halt(r, &raw->halts[i], &s->halts[i]));
    }
    s->halt_count = raw->halts_count;
    return 0;
}

_Static_assert(offsetof(struct withdrawal, owner) == 0 && offsetof(struct withdrawal, envelope) == ED25519_PUBLIC_LEN,
               "owner and envelope id stand side by side");

static int check_withdrawn(struct reader *r, const struct status *s)
{
    struct distinct *all = calloc(s->withdrawal_count + 1, sizeof(*all));
    if (all == NULL)
        return err_set(r->err, ERR_NOMEM, "%s: out of memory", r->source);
    for (size_t i = 0; i < s->withdrawal_count; i++) /* owner and envelope id, the struct's first bytes */
        all[i] = (struct distinct){BYTES(&s->withdrawals[i], ED25519_PUBLIC_LEN + ENVELOPE_ID_LEN), "withdrawn",
                                   "envelope", i};
    int rc = read_distinct(r, all, s->withdrawal_count);
    free(all);
    return rc;
}

static int read_withdrawn(struct reader *r, const struct raw_status *raw, struct status *s)
{
    TRY(read_array(r, raw->withdrawn_count, sizeof(*s->withdrawals), &s->withdrawals));
    for (size_t i = 0; i < raw->withdrawn_count; i++) {
        const struct raw_withdrawal *w = &raw->withdrawn[i];
        struct withdrawal *ret = &s->withdrawals[i];
        reader_at(r, "withdrawn[%zu]", i);
        TRY(read_hex(r, "owner", w->owner, ret->owner, ED25519_PUBLIC_LEN));
        TRY(read_hex(r, "envelope", w->envelope, ret->envelope, ENVELOPE_ID_LEN));
        TRY(read_u64(r, "least_generation", w->least_generation, 1, VERSION_MAX, &ret->least_generation));
    }
    s->withdrawal_count = raw->withdrawn_count;
    return check_withdrawn(r, s);
}

static int read_status(struct reader *r, const void *raw_)
{
    const struct raw_status *raw = raw_;
    struct status *s = &r->d->status;
    TRY(read_head(r, &raw->head));
    TRY(read_entries(r, raw, s));
    TRY(read_revocations(r, raw, s));
    TRY(read_halts(r, raw, s));
    return read_withdrawn(r, raw, s);
}

/* ---- writing */

static const char *word(const cyaml_strval_t *words, size_t count, unsigned value)
{
    for (size_t i = 0; i < count; i++)
        if ((unsigned)words[i].val == value)
            return words[i].str;
    return "unknown"; /* refused by the parser behind document_write */
}

static void write_lists(const struct status *s, struct buf *out)
{
    buf_str(out, s->revocation_count > 0 ? "revocations:\n" : "revocations: []\n");
    for (size_t i = 0; i < s->revocation_count; i++) {
        const struct revocation *v = &s->revocations[i];
        buf_printf(out, "  - kind: %s\n", word(kind_words, 3, v->kind));
        if (v->kind == REVOKED_CHAIN)
            write_hex(out, "    hash: ", BYTES_OF(v->hash));
        else
            buf_printf(out, "    id: %s\n", v->id);
    }
    buf_str(out, s->halt_count > 0 ? "halts:\n" : "halts: []\n");
    for (size_t i = 0; i < s->halt_count; i++) {
        const struct halt *h = &s->halts[i];
        if (h->network)
            buf_str(out, "  - network: halted\n");
        else
            buf_printf(out, "  - %s: %s\n", h->node[0] != '\0' ? "node" : "policy",
                       h->node[0] != '\0' ? h->node : h->policy);
    }
    buf_str(out, s->withdrawal_count > 0 ? "withdrawn:\n" : "withdrawn: []\n");
    for (size_t i = 0; i < s->withdrawal_count; i++) {
        write_hex(out, "  - owner: ", BYTES_OF(s->withdrawals[i].owner));
        write_hex(out, "    envelope: ", BYTES_OF(s->withdrawals[i].envelope));
        buf_printf(out, "    least_generation: %llu\n", (unsigned long long)s->withdrawals[i].least_generation);
    }
}

static void write_status(const struct document *d, struct buf *out)
{
    write_head(d, true, out);
    write_time(out, "issued: ", d->issued_ms);
    write_time(out, "expires: ", d->expires_ms);
    buf_str(out, "documents:\n");
    for (size_t i = 0; i < d->status.document_count; i++) {
        const struct status_entry *e = &d->status.documents[i];
        buf_printf(out, "  - type: %s\n", word(type_words, 4, e->type));
        if (e->type == DOCUMENT_POLICY)
            buf_printf(out, "    name: %s\n", e->name);
        buf_printf(out, "    version: %llu\n", (unsigned long long)e->version);
        write_hex(out, "    hash: ", BYTES_OF(e->hash));
    }
    write_lists(&d->status, out);
}

const struct schema status_schema = {&status_value, read_status, write_status};

bool status_revokes(const struct document *status, enum revoked_kind kind, struct bytes id_or_hash)
{
    for (size_t i = 0; i < status->status.revocation_count; i++) {
        const struct revocation *v = &status->status.revocations[i];
        if (v->kind == kind &&
            (kind == REVOKED_CHAIN ? bytes_equal(id_or_hash, BYTES_OF(v->hash)) : bytes_is(id_or_hash, v->id)))
            return true;
    }
    return false;
}

bool status_halts(const struct document *status, struct bytes node, struct bytes policy)
{
    for (size_t i = 0; i < status->status.halt_count; i++) {
        const struct halt *h = &status->status.halts[i];
        if (h->network || (h->node[0] != '\0' && bytes_is(node, h->node)) ||
            (h->policy[0] != '\0' && bytes_is(policy, h->policy)))
            return true;
    }
    return false;
}
