/* root: the schema of the document that says who may sign what. */
#include "common/documents/schema.h"
#include "common/walk/derive.h"
#include <string.h>

#define ROLE_KEYS_MAX 16
#define DEVICE_CAS_MAX 16

static const char *const role_names[ROLE_COUNT] = {"root", "roster", "inventory", "policy", "status"};

const char *role_name(enum role role)
{
    return (unsigned)role < ROLE_COUNT ? role_names[role] : "unknown";
}

struct raw_role {
    enum role role;
    char *threshold;
    char **keys;
    unsigned keys_count;
};

struct raw_root {
    struct head head;
    char *tag_profile;
    struct raw_role *roles;
    unsigned roles_count;
    char **device_cas;
    unsigned device_cas_count;
};

static const cyaml_strval_t role_words[] = {
    {"root", ROLE_ROOT},     {"roster", ROLE_ROSTER}, {"inventory", ROLE_INVENTORY},
    {"policy", ROLE_POLICY}, {"status", ROLE_STATUS},
};
static const cyaml_schema_field_t role_fields[] = {
    CYAML_FIELD_ENUM("role", CYAML_FLAG_STRICT, struct raw_role, role, role_words, ROLE_COUNT),
    FIELD_TEXT("threshold", struct raw_role, threshold),
    FIELD_TEXTS("keys", CYAML_FLAG_DEFAULT, struct raw_role, keys, 1, ROLE_KEYS_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t role_value = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_role, role_fields)};
static const cyaml_schema_field_t root_fields[] = {
    FIELDS_HEAD(struct raw_root),
    FIELD_TEXT("version", struct raw_root, head.version),
    FIELD_TEXT("tag_profile", struct raw_root, tag_profile),
    CYAML_FIELD_SEQUENCE("roles", CYAML_FLAG_POINTER, struct raw_root, roles, &role_value, ROLE_COUNT, ROLE_COUNT),
    FIELD_TEXTS("device_cas", CYAML_FLAG_DEFAULT, struct raw_root, device_cas, 0, DEVICE_CAS_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t root_value = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_root, root_fields)};

static int read_role(struct reader *r, const struct raw_role *raw)
{
    struct role_keys *keys = &r->d->root.role[raw->role];
    if (keys->count > 0)
        return read_fail(r, ERR_FORMAT, "role", "%s stands here twice; each role once", role_name(raw->role));
    TRY(read_vkeys(r, "keys", raw->keys, raw->keys_count, &keys->keys, &keys->count));
    /* the keys are distinct, so this bounds the threshold by what can sign */
    return read_unsigned(r, "threshold", raw->threshold, 1, (unsigned)keys->count, &keys->threshold);
}

static int read_root(struct reader *r, const void *raw_)
{
    const struct raw_root *raw = raw_;
    struct root *root = &r->d->root;
    TRY(read_head(r, &raw->head));
    TRY(read_u64(r, "tag_profile", raw->tag_profile, DERIVE_PROFILE_MIN, DERIVE_PROFILE_MAX, &root->tag_profile));
    for (size_t i = 0; i < raw->roles_count; i++) {
        reader_at(r, "roles[%zu]", i);
        TRY(read_role(r, &raw->roles[i]));
    }
    TRY(read_array(r, raw->device_cas_count, sizeof(*root->device_cas), &root->device_cas));
    for (size_t i = 0; i < raw->device_cas_count; i++) {
        reader_at(r, "device_cas[%zu]", i);
        TRY(read_certificate(r, NULL, raw->device_cas[i], &root->device_cas[i]));
    }
    root->device_ca_count = raw->device_cas_count;
    return 0;
}

static void write_root(const struct document *d, struct buf *out)
{
    write_head(d, true, out);
    write_time(out, "issued: ", d->issued_ms);
    write_time(out, "expires: ", d->expires_ms);
    buf_printf(out, "tag_profile: %llu\nroles:\n", (unsigned long long)d->root.tag_profile);
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        const struct role_keys *k = &d->root.role[i];
        buf_printf(out, "  - role: %s\n    threshold: %u\n    keys: ", role_names[i], k->threshold);
        write_vkeys(out, k->keys, k->count);
        buf_str(out, "\n");
    }
    buf_str(out, d->root.device_ca_count > 0 ? "device_cas:\n" : "device_cas: []\n");
    for (size_t i = 0; i < d->root.device_ca_count; i++)
        write_base64(out, "  - ", BYTES(d->root.device_cas[i].der, d->root.device_cas[i].len));
}

const struct schema root_schema = {&root_value, read_root, write_root};
