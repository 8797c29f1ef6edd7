/* envelope: the schema of the document that holds one sealed secret. */
#include "common/documents/schema.h"
#include "common/walk/derive.h"
#include <string.h>

#define PAYLOAD_LENGTH_MAX (1ull << 48)

struct raw_member {
    char *slot, *node, *profile, *seal, *point, *sealed, *commitment;
};

struct raw_stage {
    char *name, *need;
    struct raw_member *members;
    unsigned members_count;
};

struct raw_envelope {
    struct head head;
    char *id, *generation, *operation, *policy, *policy_hash, *commitment, *payload_hash, *payload_length, *payload;
    struct raw_stage *stages;
    unsigned stages_count;
};

static const cyaml_schema_field_t member_fields[] = {
    FIELD_TEXT("slot", struct raw_member, slot),
    FIELD_TEXT("node", struct raw_member, node),
    FIELD_TEXT("profile", struct raw_member, profile),
    FIELD_TEXT("seal", struct raw_member, seal),
    FIELD_TEXT("point", struct raw_member, point),
    FIELD_TEXT("sealed", struct raw_member, sealed),
    FIELD_TEXT("commitment", struct raw_member, commitment),
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
static const cyaml_schema_field_t envelope_fields[] = {
    FIELDS_HEAD(struct raw_envelope),
    FIELD_TEXT("id", struct raw_envelope, id),
    FIELD_TEXT("generation", struct raw_envelope, generation),
    FIELD_TEXT("operation", struct raw_envelope, operation),
    FIELD_TEXT("policy", struct raw_envelope, policy),
    FIELD_TEXT("policy_hash", struct raw_envelope, policy_hash),
    FIELD_TEXT("commitment", struct raw_envelope, commitment),
    FIELD_TEXT("payload_hash", struct raw_envelope, payload_hash),
    FIELD_TEXT("payload_length", struct raw_envelope, payload_length),
    CYAML_FIELD_STRING_PTR("payload", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_envelope, payload, 1,
                           BASE64_MAX(PAYLOAD_INLINE_MAX)),
    CYAML_FIELD_SEQUENCE("stages", CYAML_FLAG_POINTER, struct raw_envelope, stages, &stage_value, 1, STAGE_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t envelope_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_envelope, envelope_fields)};

static int read_member(struct reader *r, const struct raw_member *raw, const struct envelope_stage *s, size_t i)
{
    struct envelope_member *m = &s->members[i];
    TRY(read_unsigned(r, "slot", raw->slot, 1, SLOT_MAX, &m->slot));
    TRY(read_name(r, "node", raw->node, m->node));
    TRY(read_u64(r, "profile", raw->profile, DERIVE_PROFILE_MIN, DERIVE_PROFILE_MAX, &m->profile));
    TRY(read_point(r, "seal", raw->seal, m->seal));
    TRY(read_point(r, "point", raw->point, m->point));
    TRY(read_base64_exact(r, "sealed", raw->sealed, m->sealed, SEALED_LEN));
    TRY(read_hex(r, "commitment", raw->commitment, m->commitment, HASH_LEN));
    for (size_t j = 0; j < i; j++) {
        const struct envelope_member *o = &s->members[j];
        const char *key = o->slot == m->slot                              ? "slot"
                          : strcmp(o->node, m->node) == 0                 ? "node"
                          : memcmp(o->seal, m->seal, EC_POINT_LEN) == 0   ? "seal"
                          : memcmp(o->point, m->point, EC_POINT_LEN) == 0 ? "point"
                                                                          : NULL;
        if (key != NULL)
            return read_fail(r, ERR_FORMAT, key, "the same as members[%zu].%s; every member of a stage must differ", j,
                             key);
    }
    return 0;
}

static int read_stage(struct reader *r, size_t i, const struct raw_stage *raw, struct envelope_stage *s)
{
    reader_at(r, "stages[%zu]", i);
    TRY(read_name(r, "name", raw->name, s->name));
    for (size_t j = 0; j < i; j++)
        if (strcmp(r->d->envelope.stages[j].name, s->name) == 0)
            return read_fail(r, ERR_FORMAT, "name", "the same as stages[%zu].name", j);
    TRY(read_unsigned(r, "need", raw->need, 1, raw->members_count, &s->need));
    TRY(read_array(r, raw->members_count, sizeof(*s->members), &s->members));
    for (size_t j = 0; j < raw->members_count; j++) {
        reader_at(r, "stages[%zu].members[%zu]", i, j);
        TRY(read_member(r, &raw->members[j], s, j));
    }
    s->count = raw->members_count;
    return 0;
}

static int read_payload(struct reader *r, const struct raw_envelope *raw, struct envelope *e)
{
    TRY(read_hex(r, "commitment", raw->commitment, e->dek_commitment, HASH_LEN));
    TRY(read_hex(r, "payload_hash", raw->payload_hash, e->payload_hash, HASH_LEN));
    TRY(read_u64(r, "payload_length", raw->payload_length, 1, PAYLOAD_LENGTH_MAX, &e->payload_len));
    if (raw->payload == NULL)
        return 0;
    TRY(read_base64(r, "payload", raw->payload, PAYLOAD_INLINE_MAX, &e->payload));
    uint8_t hash[HASH_LEN];
    sha256(e->payload, hash);
    if (e->payload.len != e->payload_len)
        return read_fail(r, ERR_FORMAT, "payload", "holds %zu bytes, payload_length says %llu", e->payload.len,
                         (unsigned long long)e->payload_len);
    if (memcmp(hash, e->payload_hash, HASH_LEN) != 0)
        return read_fail(r, ERR_FORMAT, "payload", "does not hash to payload_hash");
    return 0;
}

static int read_envelope(struct reader *r, const void *raw_)
{
    const struct raw_envelope *raw = raw_;
    struct envelope *e = &r->d->envelope;
    TRY(read_head(r, &raw->head));
    TRY(read_hex(r, "id", raw->id, e->id, ENVELOPE_ID_LEN));
    hex_encode(BYTES_OF(e->id), r->d->name);
    TRY(read_u64(r, "generation", raw->generation, 1, VERSION_MAX, &e->generation));
    r->d->version = e->generation;
    TRY(read_name(r, "operation", raw->operation, e->operation));
    TRY(read_name(r, "policy", raw->policy, e->policy_name));
    TRY(read_hex(r, "policy_hash", raw->policy_hash, e->policy_hash, HASH_LEN));
    TRY(read_payload(r, raw, e));
    TRY(read_array(r, raw->stages_count, sizeof(*e->stages), &e->stages));
    for (size_t i = 0; i < raw->stages_count; i++)
        TRY(read_stage(r, i, &raw->stages[i], &e->stages[i]));
    e->stage_count = raw->stages_count;
    return 0;
}

static void write_member(const struct envelope_member *m, struct buf *out)
{
    buf_printf(out, "      - slot: %u\n        node: %s\n        profile: %llu\n", m->slot, m->node,
               (unsigned long long)m->profile);
    write_base64(out, "        seal: ", BYTES_OF(m->seal));
    write_base64(out, "        point: ", BYTES_OF(m->point));
    write_base64(out, "        sealed: ", BYTES_OF(m->sealed));
    write_hex(out, "        commitment: ", BYTES_OF(m->commitment));
}

static void write_envelope(const struct document *d, struct buf *out)
{
    const struct envelope *e = &d->envelope;
    write_head(d, false, out);
    write_hex(out, "id: ", BYTES_OF(e->id));
    buf_printf(out, "generation: %llu\noperation: %s\npolicy: %s\n", (unsigned long long)e->generation, e->operation,
               e->policy_name);
    write_hex(out, "policy_hash: ", BYTES_OF(e->policy_hash));
    write_time(out, "issued: ", d->issued_ms);
    write_time(out, "expires: ", d->expires_ms);
    write_hex(out, "commitment: ", BYTES_OF(e->dek_commitment));
    write_hex(out, "payload_hash: ", BYTES_OF(e->payload_hash));
    buf_printf(out, "payload_length: %llu\n", (unsigned long long)e->payload_len);
    if (e->payload.len > 0)
        write_base64(out, "payload: ", e->payload);
    buf_str(out, "stages:\n");
    for (size_t i = 0; i < e->stage_count; i++) {
        buf_printf(out, "  - name: %s\n    need: %u\n    members:\n", e->stages[i].name, e->stages[i].need);
        for (size_t j = 0; j < e->stages[i].count; j++)
            write_member(&e->stages[i].members[j], out);
    }
}

const struct schema envelope_schema = {&envelope_value, read_envelope, write_envelope};
