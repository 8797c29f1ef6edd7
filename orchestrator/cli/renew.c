/* renew: next versions of status and inventory. */
#include "orchestrator/cli/renew.h"
#include "common/documents/write.h"
#include "orchestrator/words.h"
#include <stdlib.h>
#include <string.h>

#define DEVICES_MAX 4096

struct filling {
    const struct shelf *shelf;
    struct status *status;
    bool full;
};

static void add_document(void *arg, struct document *d)
{
    struct filling *f = arg;
    bool named = d->type == DOCUMENT_POLICY;
    if (d->type != DOCUMENT_ROOT && d->type != DOCUMENT_ROSTER && d->type != DOCUMENT_INVENTORY && !named)
        return;
    if (shelf_find(f->shelf, d->type, named ? bytes_str(d->name) : BYTES_NONE) != d)
        return; /* an older version, kept for envelopes that name it */
    if (f->status->document_count == SHELF_POLICIES_MAX + 3) {
        f->full = true;
        return;
    }
    struct status_entry *e = &f->status->documents[f->status->document_count++];
    e->type = d->type;
    words_copy(e->name, sizeof(e->name), named ? d->name : "");
    e->version = d->version;
    memcpy(e->hash, d->hash, HASH_LEN);
}

static void revoke(struct status *s, enum revoked_kind kind, const char *id)
{
    struct revocation *r = &s->revocations[s->revocation_count];
    for (size_t i = 0; i < s->revocation_count; i++) {
        if (s->revocations[i].kind == kind && strcmp(s->revocations[i].id, id) == 0)
            return;
    }
    r->kind = kind;
    words_copy(r->id, sizeof(r->id), id);
    s->revocation_count++;
}

static void halt(struct status *s, struct halt h)
{
    for (size_t i = 0; i < s->halt_count; i++) {
        if (s->halts[i].network == h.network && strcmp(s->halts[i].node, h.node) == 0 &&
            strcmp(s->halts[i].policy, h.policy) == 0)
            return;
    }
    s->halts[s->halt_count++] = h;
}

static void apply(struct status *s, const struct renew_changes *c)
{
    for (size_t i = 0; i < c->revoke_node_count; i++)
        revoke(s, REVOKED_NODE, c->revoke_nodes[i]);
    for (size_t i = 0; i < c->revoke_device_count; i++)
        revoke(s, REVOKED_DEVICE, c->revoke_devices[i]);
    if (c->halt_network)
        halt(s, (struct halt){.network = true});
    for (size_t i = 0; i < c->halt_node_count; i++) {
        struct halt h = {.network = false};
        words_copy(h.node, sizeof(h.node), c->halt_nodes[i]);
        halt(s, h);
    }
    for (size_t i = 0; i < c->halt_policy_count; i++) {
        struct halt h = {.network = false};
        words_copy(h.policy, sizeof(h.policy), c->halt_policies[i]);
        halt(s, h);
    }
}

/* Room for what was and what is added. */
static int make_room(struct status *s, const struct status *old, const struct renew_changes *c)
{
    size_t revocations = old != NULL && !c->lift_revocations ? old->revocation_count : 0;
    size_t halts = old != NULL && !c->lift_halts ? old->halt_count : 0;
    s->documents = calloc(SHELF_POLICIES_MAX + 3, sizeof(*s->documents));
    s->revocations = calloc(revocations + 2 * RENEW_CHANGES_MAX, sizeof(*s->revocations));
    s->halts = calloc(halts + 2 * RENEW_CHANGES_MAX + 1, sizeof(*s->halts));
    if (s->documents == NULL || s->revocations == NULL || s->halts == NULL)
        return ERR_NOMEM;
    if (revocations > 0)
        memcpy(s->revocations, old->revocations, revocations * sizeof(*s->revocations));
    if (halts > 0)
        memcpy(s->halts, old->halts, halts * sizeof(*s->halts));
    s->revocation_count = revocations;
    s->halt_count = halts;
    if (old != NULL) {
        s->withdrawals = old->withdrawals; /* borrowed */
        s->withdrawal_count = old->withdrawal_count;
    }
    return 0;
}

int renew_status(const struct shelf *s, const struct renew_changes *changes, uint64_t now_ms, uint64_t span_ms,
                 struct buf *ret_text, struct err *err)
{
    const struct document *old = shelf_find(s, DOCUMENT_STATUS, BYTES_NONE);
    const struct document *root = shelf_find(s, DOCUMENT_ROOT, BYTES_NONE);
    struct document d = {.type = DOCUMENT_STATUS,
                         .version = old != NULL ? old->version + 1 : 1,
                         .issued_ms = now_ms / 1000 * 1000,
                         .expires_ms = (now_ms + span_ms) / 1000 * 1000};
    struct filling f = {.shelf = s, .status = &d.status};
    if (root == NULL)
        return err_set(err, ERR_DOCUMENTS, "there is no root document");
    memcpy(d.network, root->network, sizeof(d.network));
    int rc = make_room(&d.status, old != NULL ? &old->status : NULL, changes);
    if (rc != 0) {
        err_set(err, rc, "out of memory");
    } else {
        shelf_each(s, add_document, &f);
        apply(&d.status, changes);
        rc = f.full ? err_set(err, ERR_FULL, "too many policies") : document_write(&d, ret_text, err);
    }
    free(d.status.documents);
    free(d.status.revocations);
    free(d.status.halts);
    return rc;
}

/* ---- inventory */

static bool fill_hash(uint8_t to[HASH_LEN], const uint8_t from[HASH_LEN])
{
    bool same = memcmp(to, from, HASH_LEN) == 0 || bytes_is_zero(BYTES(from, HASH_LEN));
    bool empty = bytes_is_zero(BYTES(to, HASH_LEN));
    if (empty)
        memcpy(to, from, HASH_LEN);
    return same || empty;
}

static int put_device(struct inventory *v, const struct device *device, struct err *err)
{
    for (size_t i = 0; i < v->count; i++) {
        struct device *d = &v->devices[i];
        if (strcmp(d->id, device->id) != 0)
            continue;
        bool ok = memcmp(d->key_hash, device->key_hash, HASH_LEN) == 0 && fill_hash(d->ak_hash, device->ak_hash) &&
                  fill_hash(d->ek_hash, device->ek_hash);
        return ok ? 0
                  : err_set(err, ERR_DEVICE, "device %s is enrolled with other keys: an id is never taken over", d->id);
    }
    if (v->count == DEVICES_MAX)
        return err_set(err, ERR_FULL, "the inventory is full");
    v->devices[v->count++] = *device;
    return 0;
}

int renew_inventory(const char *network, const struct document *inventory, const struct device *device, uint64_t now_ms,
                    uint64_t span_ms, struct buf *ret_text, struct err *err)
{
    size_t count = inventory != NULL ? inventory->inventory.count : 0;
    struct document d = {.type = DOCUMENT_INVENTORY,
                         .version = inventory != NULL ? inventory->version + 1 : 1,
                         .issued_ms = now_ms / 1000 * 1000,
                         .expires_ms = (now_ms + span_ms) / 1000 * 1000};
    words_copy(d.network, sizeof(d.network), network);
    d.inventory.devices = calloc(count + 1, sizeof(*d.inventory.devices));
    if (d.inventory.devices == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (count > 0)
        memcpy(d.inventory.devices, inventory->inventory.devices, count * sizeof(*d.inventory.devices));
    d.inventory.count = count;
    int rc = device != NULL ? put_device(&d.inventory, device, err) : 0;
    if (rc == 0)
        rc = document_write(&d, ret_text, err);
    free(d.inventory.devices);
    return rc;
}
