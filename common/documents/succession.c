/* succession: compares two versions of a document, list by list. */
#include "common/documents/succession.h"
#include <string.h>

/* ---- status */

static bool has_revocation(const struct status *s, const struct revocation *v)
{
    for (size_t i = 0; i < s->revocation_count; i++) {
        const struct revocation *o = &s->revocations[i];
        if (o->kind == v->kind && strcmp(o->id, v->id) == 0 && memcmp(o->hash, v->hash, HASH_LEN) == 0)
            return true;
    }
    return false;
}

static bool has_halt(const struct status *s, const struct halt *h)
{
    for (size_t i = 0; i < s->halt_count; i++) {
        const struct halt *o = &s->halts[i];
        if (o->network == h->network && strcmp(o->node, h->node) == 0 && strcmp(o->policy, h->policy) == 0)
            return true;
    }
    return false;
}

static bool has_withdrawal(const struct status *s, const struct withdrawal *w)
{
    for (size_t i = 0; i < s->withdrawal_count; i++) {
        const struct withdrawal *o = &s->withdrawals[i];
        if (memcmp(o->owner, w->owner, ED25519_PUBLIC_LEN) == 0 &&
            memcmp(o->envelope, w->envelope, ENVELOPE_ID_LEN) == 0)
            return o->least_generation >= w->least_generation;
    }
    return false;
}

#define ONLY_ROOT "only with the signatures of the root role's threshold"

int succession_status(const struct document *last, const struct document *next, struct err *err)
{
    static const char *const kinds[] = {"node", "device", "chain"};
    const struct status *a = &last->status, *b = &next->status;
    for (size_t i = 0; i < a->revocation_count; i++)
        if (!has_revocation(b, &a->revocations[i])) {
            char hash[2 * HASH_LEN + 1];
            const struct revocation *v = &a->revocations[i];
            hex_encode(BYTES_OF(v->hash), hash);
            return err_set(err, ERR_THRESHOLD, "drops the revocation of %s %s: " ONLY_ROOT, kinds[v->kind],
                           v->kind == REVOKED_CHAIN ? hash : v->id);
        }
    for (size_t i = 0; i < a->halt_count; i++)
        if (!has_halt(b, &a->halts[i])) {
            const struct halt *h = &a->halts[i];
            return err_set(err, ERR_THRESHOLD, "drops the halt of %s %s: " ONLY_ROOT,
                           h->network           ? "the"
                           : h->node[0] != '\0' ? "node"
                                                : "policy",
                           h->network           ? "network"
                           : h->node[0] != '\0' ? h->node
                                                : h->policy);
        }
    for (size_t i = 0; i < a->withdrawal_count; i++)
        if (!has_withdrawal(b, &a->withdrawals[i])) {
            char id[2 * ENVELOPE_ID_LEN + 1];
            hex_encode(BYTES_OF(a->withdrawals[i].envelope), id);
            return err_set(err, ERR_THRESHOLD, "takes back the withdrawal of envelope %s: " ONLY_ROOT, id);
        }
    return 0;
}

/* ---- inventory */

/* 0: one of them has none, 1: the same, -1: not the same */
static int compare_part(struct bytes a, struct bytes b)
{
    if (bytes_is_zero(a) || bytes_is_zero(b))
        return 0;
    return bytes_equal(a, b) ? 1 : -1;
}

static bool same_device(const struct device *a, const struct device *b)
{
    const int parts[] = {
        compare_part(BYTES_OF(a->ak_hash), BYTES_OF(b->ak_hash)),
        compare_part(BYTES_OF(a->ek_hash), BYTES_OF(b->ek_hash)),
        compare_part(BYTES(a->chip_id, a->chip_id_len), BYTES(b->chip_id, b->chip_id_len)),
    };
    int common = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i] < 0)
            return false;
        common += parts[i];
    }
    return common > 0 || memcmp(a->key_hash, b->key_hash, HASH_LEN) == 0;
}

int succession_inventory(const struct document *last, const struct document *next, struct err *err)
{
    for (size_t i = 0; i < last->inventory.count; i++)
        for (size_t k = 0; k < next->inventory.count; k++) {
            const struct device *a = &last->inventory.devices[i], *b = &next->inventory.devices[k];
            if (strcmp(a->id, b->id) == 0 && !same_device(a, b))
                return err_set(
                    err, ERR_EQUIVOCATION,
                    "device %s is another device than in version %llu; an id is never taken over, enrol it under a "
                    "new one",
                    a->id, (unsigned long long)last->version);
        }
    return 0;
}
