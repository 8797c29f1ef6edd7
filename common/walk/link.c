/* link: link bodies to bytes and back, with the length of every field checked both ways. */
#include "common/walk/link.h"
#include "common/base/yaml.h"
#include <stddef.h>

/* Fields with a fixed length, and names. */
static const struct {
    const char *name;
    size_t at, len; /* len 0: a name */
} fields[] = {
#define FIELD(member, len_)                                                                                            \
    {                                                                                                                  \
#member, offsetof(struct msg_link_body, member), (len_)                                                        \
    }
    FIELD(network, 0),
    FIELD(sid, HASH_LEN),
    FIELD(eid, HASH_LEN),
    FIELD(chain_hash, HASH_LEN),
    FIELD(policy_hash, HASH_LEN),
    FIELD(envelope_hash, HASH_LEN),
    FIELD(node, 0),
    FIELD(prevhash, HASH_LEN),
#undef FIELD
};

static int check(const struct msg_link_body *body, struct err *err)
{
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        const struct bytes *value = (const struct bytes *)(const void *)((const uint8_t *)body + fields[i].at);
        bool good = fields[i].len == 0 ? name_ok(*value) : value->len == fields[i].len;
        if (!good)
            return err_set(err, ERR_FORMAT, "link body: %s: %s", fields[i].name,
                           fields[i].len == 0 ? "not a name" : "not 32 bytes");
    }
    if (body->stage < 1 || body->stage > STAGE_MAX)
        return err_set(err, ERR_FORMAT, "link body: stage: not 1 to %d", STAGE_MAX);
    if (body->slot < 1 || body->slot > SLOT_MAX)
        return err_set(err, ERR_FORMAT, "link body: slot: not 1 to %d", SLOT_MAX);
    for (size_t i = 0; i < body->factors.count; i++)
        if (body->factors.at[i].name.len == 0)
            return err_set(err, ERR_FORMAT, "link body: factors[%zu]: empty", i);
    return 0;
}

int link_parse(struct bytes body, struct message **ret, struct err *err)
{
    struct message *m = NULL;
    if (body.len > LINK_BODY_MAX)
        return err_set(err, ERR_TOO_LONG, "link body: longer than %d bytes", LINK_BODY_MAX);
    TRY(message_unpack(MESSAGE_LINK_BODY, body, &m, err));
    int rc = check(&m->link_body, err);
    if (rc != 0) {
        message_free(m);
        return rc;
    }
    *ret = m;
    return 0;
}

int link_make(const struct msg_link_body *body, struct buf *ret_bytes, struct err *err)
{
    TRY(check(body, err));
    struct message m = {.type = MESSAGE_LINK_BODY, .link_body = *body};
    return message_pack(&m, ret_bytes, err);
}
