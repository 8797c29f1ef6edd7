/* entry: which fields each type of entry must and must not have, in one table. */
#include "common/ledger/entry.h"
#include "common/walk/context.h"
#include <stddef.h>

struct field {
    const char *name;
    size_t offset; /* in struct msg_entry */
    size_t len;    /* exact bytes; 0: a number that counts as present when it is not 0 */
};

#define HASH_FIELD(f)                                                                                                  \
    {                                                                                                                  \
#f, offsetof(struct msg_entry, f), HASH_LEN                                                                    \
    }
#define NUMBER_FIELD(f)                                                                                                \
    {                                                                                                                  \
#f, offsetof(struct msg_entry, f), 0                                                                           \
    }
static const struct field fields[] = {
    {"walk_id", offsetof(struct msg_entry, walk_id), WALK_ID_LEN},
    NUMBER_FIELD(code),
    HASH_FIELD(policy_hash),
    HASH_FIELD(evidence),
    HASH_FIELD(subject),
    HASH_FIELD(secret),
    HASH_FIELD(link_hash),
    HASH_FIELD(response_hash),
    NUMBER_FIELD(count),
    HASH_FIELD(document_hash),
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

/* One letter per field, in the order above: R required, o optional, - forbidden. */
static const struct {
    const char *name;
    const char *rule;
} types[] = {
    /*                   walk code policy evidence subject secret link response count document */
    [ENTRY_START] = {"start", "----------"},       [ENTRY_GRANT] = {"grant", "R-RRRRRR--"},
    [ENTRY_REISSUE] = {"reissue", "R-RRRRRR--"},   [ENTRY_DENY] = {"deny", "oRoooo--o-"},
    [ENTRY_DOCUMENT] = {"document", "---------R"}, [ENTRY_HALT] = {"halt", "---------R"},
    [ENTRY_FRONTIER] = {"frontier", "---------R"}, [ENTRY_EVIDENCE] = {"evidence", "---------R"},
    [ENTRY_PRUNE] = {"prune", "--------RR"},
};
#define TYPE_COUNT (sizeof(types) / sizeof(types[0]))

const char *entry_type_name(uint64_t type)
{
    return type < TYPE_COUNT && types[type].name != NULL ? types[type].name : "unknown";
}

static int field_check(const struct msg_entry *e, size_t i, struct err *err)
{
    const struct field *f = &fields[i];
    const uint8_t *at = (const uint8_t *)e + f->offset;
    const struct bytes *view = (const void *)at;
    const uint64_t *number = (const void *)at;
    bool present = f->len > 0 ? view->len > 0 : *number != 0;
    char rule = types[e->type].rule[i];
    if (rule == '-' && present)
        return err_set(err, ERR_FORMAT, "entry of type %s: %s does not belong there", entry_type_name(e->type),
                       f->name);
    if (rule == 'R' && !present)
        return err_set(err, ERR_FORMAT, "entry of type %s: %s is missing", entry_type_name(e->type), f->name);
    if (present && f->len > 0 && view->len != f->len)
        return err_set(err, ERR_FORMAT, "entry of type %s: %s has %zu bytes instead of %zu", entry_type_name(e->type),
                       f->name, view->len, f->len);
    return 0;
}

static int entry_check(const struct msg_entry *e, struct err *err)
{
    if (e->type >= TYPE_COUNT || types[e->type].name == NULL)
        return err_set(err, ERR_FORMAT, "entry: unknown type %llu", (unsigned long long)e->type);
    if (e->time_ms == 0)
        return err_set(err, ERR_FORMAT, "entry of type %s: no time", entry_type_name(e->type));
    for (size_t i = 0; i < FIELD_COUNT; i++)
        TRY(field_check(e, i, err));
    return 0;
}

int entry_make(const struct msg_entry *e, struct buf *ret_bytes, struct err *err)
{
    TRY(entry_check(e, err));
    const struct message m = {.type = MESSAGE_ENTRY, .entry = *e};
    return message_pack(&m, ret_bytes, err);
}

int entry_parse(struct bytes bytes, struct message **ret, struct err *err)
{
    struct message *m = NULL;
    if (bytes.len > ENTRY_MAX)
        return err_set(err, ERR_FORMAT, "entry: %zu bytes, more than %d", bytes.len, ENTRY_MAX);
    int rc = message_unpack(MESSAGE_ENTRY, bytes, &m, err);
    if (rc == 0)
        rc = entry_check(&m->entry, err);
    if (rc != 0) {
        message_free(m);
        return rc;
    }
    *ret = m;
    return 0;
}
