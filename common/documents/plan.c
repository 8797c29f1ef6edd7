/* plan: the schema of the chain document, which nobody signs. */
#include "common/documents/schema.h"
#include <string.h>

struct raw_member {
    char *slot, *node;
};

struct raw_stage {
    char *name, *need;
    struct raw_member *members;
    unsigned members_count;
};

struct raw_chain {
    char *enfilade, *network, *operation, *policy, *envelope, *not_after;
    struct raw_stage *stages;
    unsigned stages_count;
};

static const cyaml_schema_field_t member_fields[] = {
    FIELD_TEXT("slot", struct raw_member, slot),
    FIELD_TEXT("node", struct raw_member, node),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t member_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_member, member_fields)};
static const cyaml_schema_field_t stage_fields[] = {
    FIELD_TEXT("name", struct raw_stage, name),
    FIELD_TEXT("need", struct raw_stage, need),
    CYAML_FIELD_SEQUENCE("members", CYAML_FLAG_POINTER, struct raw_stage, members, &member_value, 1, SLOT_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t stage_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_stage, stage_fields)};
static const cyaml_schema_field_t chain_fields[] = {
    FIELD_TEXT("enfilade", struct raw_chain, enfilade),
    FIELD_TEXT("network", struct raw_chain, network),
    FIELD_TEXT("operation", struct raw_chain, operation),
    FIELD_TEXT("policy", struct raw_chain, policy),
    FIELD_TEXT("envelope", struct raw_chain, envelope),
    FIELD_TEXT("not_after", struct raw_chain, not_after),
    CYAML_FIELD_SEQUENCE("stages", CYAML_FLAG_POINTER, struct raw_chain, stages, &stage_value, 1, STAGE_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t chain_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_chain, chain_fields)};

static int read_stage(struct reader *r, size_t i, const struct raw_stage *raw, struct chain_stage *s)
{
    reader_at(r, "stages[%zu]", i);
    TRY(read_name(r, "name", raw->name, s->name));
    TRY(read_unsigned(r, "need", raw->need, 1, SLOT_MAX, &s->need));
    TRY(read_array(r, raw->members_count, sizeof(*s->members), &s->members));
    s->count = raw->members_count;
    for (size_t j = 0; j < raw->members_count; j++) {
        reader_at(r, "stages[%zu].members[%zu]", i, j);
        TRY(read_unsigned(r, "slot", raw->members[j].slot, 1, SLOT_MAX, &s->members[j].slot));
        TRY(read_name(r, "node", raw->members[j].node, s->members[j].node));
    }
    return 0;
}

static int read_chain(struct reader *r, const void *raw_)
{
    const struct raw_chain *raw = raw_;
    struct chain *c = &r->d->chain;
    reader_at(r, "%s", "");
    TRY(read_name(r, "network", raw->network, r->d->network));
    TRY(read_name(r, "operation", raw->operation, c->operation));
    memcpy(r->d->name, c->operation, sizeof(r->d->name));
    TRY(read_hex(r, "policy", raw->policy, c->policy_hash, HASH_LEN));
    TRY(read_hex(r, "envelope", raw->envelope, c->envelope_hash, HASH_LEN));
    TRY(read_time(r, "not_after", raw->not_after, &r->d->expires_ms));
    TRY(read_array(r, raw->stages_count, sizeof(*c->stages), &c->stages));
    for (size_t i = 0; i < raw->stages_count; i++)
        TRY(read_stage(r, i, &raw->stages[i], &c->stages[i]));
    c->stage_count = raw->stages_count;
    return 0;
}

static void write_chain(const struct document *d, struct buf *out)
{
    const struct chain *c = &d->chain;
    write_head(d, false, out);
    buf_printf(out, "operation: %s\n", c->operation);
    write_hex(out, "policy: ", BYTES_OF(c->policy_hash));
    write_hex(out, "envelope: ", BYTES_OF(c->envelope_hash));
    write_time(out, "not_after: ", d->expires_ms);
    buf_str(out, "stages:\n");
    for (size_t i = 0; i < c->stage_count; i++) {
        buf_printf(out, "  - name: %s\n    need: %u\n    members: [", c->stages[i].name, c->stages[i].need);
        for (size_t j = 0; j < c->stages[i].count; j++)
            buf_printf(out, "%s{slot: %u, node: %s}", j > 0 ? ", " : "", c->stages[i].members[j].slot,
                       c->stages[i].members[j].node);
        buf_str(out, "]\n");
    }
}

const struct schema chain_schema = {&chain_value, read_chain, write_chain};
