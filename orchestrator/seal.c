/* seal: stage secrets, shares, payload and signature of one envelope. */
#include "orchestrator/seal.h"
#include "common/crypto/payload.h"
#include "common/documents/write.h"
#include "common/walk/share.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sealing {
    const struct seal_order *o;
    struct document doc;
    struct envelope_stage *stages;
    const struct note_key *owner; /* of the policy */
    struct secret *secrets[STAGE_MAX];
    struct secret *dek, *key;
    struct buf payload; /* when it goes inside */
    EVP_MD_CTX *hash;
};

/* ---- checks that give better words than chain_check could */

static int find_owner(struct sealing *s, struct err *err)
{
    const struct policy *p = &s->o->policy->policy;
    uint8_t public[ED25519_PUBLIC_LEN];
    ed25519_key_public(s->o->owner, public);
    for (size_t i = 0; i < p->owner_count; i++) {
        if (memcmp(p->owners[i].public, public, sizeof(public)) == 0)
            s->owner = &p->owners[i];
    }
    return s->owner != NULL
               ? 0
               : err_set(err, ERR_POLICY, "policy %s does not name this owner key: its owners must be listed", p->name);
}

static int check_order(const struct seal_order *o, struct err *err)
{
    const struct policy *p = &o->policy->policy;
    bool listed = false;
    for (size_t i = 0; i < p->operation_count; i++)
        listed = listed || strcmp(p->operations[i], o->operation) == 0;
    if (!listed)
        return err_set(err, ERR_POLICY, "policy %s has no operation '%s'", p->name, o->operation);
    if (o->stage_count != p->stage_count)
        return err_set(err, ERR_POLICY, "policy %s has %zu stages, %zu were given", p->name, p->stage_count,
                       o->stage_count);
    for (size_t i = 0; i < o->stage_count; i++) {
        const struct seal_stage *g = &o->stages[i];
        if (strcmp(g->name, p->stages[i].name) != 0)
            return err_set(err, ERR_POLICY, "stage %zu of policy %s is '%s', not '%s'", i + 1, p->name,
                           p->stages[i].name, g->name);
        if (g->need < p->stages[i].need || g->need < 1 || g->need > g->count || g->count > SLOT_MAX)
            return err_set(err, ERR_POLICY, "stage %s: needs %u of %zu members; the policy wants at least %u", g->name,
                           g->need, g->count, p->stages[i].need);
    }
    return 0;
}

/* ---- shares */

static int seal_member(struct sealing *s, size_t stage, size_t i, const struct secret *share, struct err *err)
{
    const struct seal_order *o = s->o;
    const char *name = o->stages[stage].nodes[i];
    const struct roster_node *node = roster_find(o->roster, bytes_str(name));
    struct envelope_member *m = &s->stages[stage].members[i];
    struct sealed_share sealed;
    if (node == NULL || (node->roles & NODE_HSM) == 0)
        return err_set(err, ERR_NOT_FOUND, "stage %s: the roster has no HSM node '%s'", o->stages[stage].name, name);
    struct share_fields f = {.profile = node->profile,
                             .network = bytes_str(o->policy->network),
                             .policy_name = bytes_str(o->policy->policy.name),
                             .generation = o->generation,
                             .stage = stage + 1,
                             .slot = i + 1};
    memcpy(f.owner, s->owner->public, sizeof(f.owner));
    memcpy(f.envelope_id, o->id, sizeof(f.envelope_id));
    int rc = share_seal(&f, node->seal, share, &sealed);
    if (rc != 0)
        return err_set(err, rc, "stage %s: cannot seal to %s", o->stages[stage].name, name);
    m->slot = (unsigned)i + 1;
    memcpy(m->node, node->name, sizeof(m->node));
    m->profile = node->profile;
    memcpy(m->seal, node->seal, EC_POINT_LEN);
    memcpy(m->point, sealed.point, EC_POINT_LEN);
    memcpy(m->sealed, sealed.sealed, SEALED_LEN);
    memcpy(m->commitment, sealed.commitment, HASH_LEN);
    s->stages[stage].count++;
    return 0;
}

static int seal_stage(struct sealing *s, size_t stage, struct err *err)
{
    const struct seal_stage *g = &s->o->stages[stage];
    uint8_t x[SLOT_MAX];
    struct secret *y[SLOT_MAX] = {NULL};
    memcpy(s->stages[stage].name, g->name, sizeof(g->name));
    s->stages[stage].need = g->need;
    s->stages[stage].members = calloc(g->count, sizeof(struct envelope_member));
    for (size_t i = 0; i < g->count; i++)
        x[i] = (uint8_t)(i + 1);
    int rc = s->stages[stage].members != NULL ? secret_random(SHARE_LEN, &s->secrets[stage]) : ERR_NOMEM;
    if (rc == 0)
        rc = shamir_split(s->secrets[stage], g->need, x, (unsigned)g->count, rng_system(), y);
    if (rc != 0)
        err_set(err, rc, "stage %s: cannot split its secret", g->name);
    for (size_t i = 0; rc == 0 && i < g->count; i++)
        rc = seal_member(s, stage, i, y[i], err);
    for (size_t i = 0; i < SLOT_MAX; i++)
        secret_free(y[i]);
    return rc;
}

static int make_keys(struct sealing *s, struct err *err)
{
    struct envelope *e = &s->doc.envelope;
    int rc = share_dek(e->id, e->generation, s->secrets, e->stage_count, &s->dek);
    if (rc == 0)
        rc = share_dek_commitment(s->dek, e->dek_commitment);
    if (rc == 0)
        rc = share_payload_key(s->dek, &s->key);
    return rc != 0 ? err_set(err, rc, "cannot derive the envelope's keys") : 0;
}

/* ---- payload */

static int put_chunk(struct sealing *s, struct bytes chunk, struct err *err)
{
    if (EVP_DigestUpdate(s->hash, chunk.p, chunk.len) != 1)
        return err_set(err, ERR_INTERNAL, "cannot hash the payload");
    s->doc.envelope.payload_len += chunk.len;
    if (s->o->write != NULL)
        return s->o->write(s->o->arg, chunk, err);
    buf_put(&s->payload, chunk);
    if (!buf_ok(&s->payload))
        return err_set(err, ERR_TOO_LONG, "the secret is too long for inside the envelope: detach it with --payload");
    return 0;
}

/* One piece is read ahead: whether a full one is the last is known only then. */
static int seal_pieces(struct sealing *s, struct payload *p, struct secret *room[2], struct err *err)
{
    uint8_t *chunk = malloc(PAYLOAD_CHUNK + PAYLOAD_TAG);
    size_t len[2] = {0, 0};
    unsigned now = 0;
    int rc = chunk != NULL ? s->o->read(s->o->arg, room[0], &len[0], err) : err_set(err, ERR_NOMEM, "out of memory");
    for (bool last = false; rc == 0 && !last; now ^= 1) {
        len[now ^ 1] = 0;
        if (len[now] == PAYLOAD_CHUNK)
            rc = s->o->read(s->o->arg, room[now ^ 1], &len[now ^ 1], err);
        last = len[now ^ 1] == 0;
        if (rc == 0)
            rc = payload_chunk(p, BYTES(secret_borrow(room[now]).p, len[now]), last, chunk);
        if (rc == 0)
            rc = put_chunk(s, BYTES(chunk, len[now] + PAYLOAD_TAG), err);
    }
    free(chunk);
    return rc;
}

static int seal_payload(struct sealing *s, struct err *err)
{
    uint8_t aad[HASH_LEN];
    unsigned hash_len = HASH_LEN;
    struct payload *p = NULL;
    struct secret *room[2] = {NULL, NULL};
    context_payload(s->owner->public, s->o->id, s->o->generation, aad);
    s->hash = EVP_MD_CTX_new();
    int rc = s->hash != NULL && EVP_DigestInit_ex(s->hash, EVP_sha256(), NULL) == 1 ? 0 : ERR_NOMEM;
    if (rc == 0)
        rc = payload_new(s->key, BYTES_OF(aad), true, &p);
    if (rc == 0)
        rc = secret_new(PAYLOAD_CHUNK, &room[0]);
    if (rc == 0)
        rc = secret_new(PAYLOAD_CHUNK, &room[1]);
    if (rc == 0)
        rc = seal_pieces(s, p, room, err);
    if (rc == 0 && EVP_DigestFinal_ex(s->hash, s->doc.envelope.payload_hash, &hash_len) != 1)
        rc = ERR_INTERNAL;
    s->doc.envelope.payload = buf_view(&s->payload);
    payload_free(p);
    secret_free(room[0]);
    secret_free(room[1]);
    if (rc != 0 && err != NULL && err->code == 0)
        err_set(err, rc, "the payload: %s", err_advice_text(rc));
    return rc;
}

/* ---- the document */

static int fill(struct sealing *s, struct err *err)
{
    const struct seal_order *o = s->o;
    struct envelope *e = &s->doc.envelope;
    s->doc.type = DOCUMENT_ENVELOPE;
    memcpy(s->doc.network, o->policy->network, sizeof(s->doc.network));
    s->doc.issued_ms = o->issued_ms;
    s->doc.expires_ms = o->expires_ms;
    memcpy(e->id, o->id, sizeof(e->id));
    e->generation = o->generation;
    if (strlen(o->operation) > NAME_MAX_LEN)
        return err_set(err, ERR_FORMAT, "operation: name too long");
    snprintf(e->operation, sizeof(e->operation), "%s", o->operation);
    memcpy(e->policy_name, o->policy->policy.name, sizeof(e->policy_name));
    memcpy(e->policy_hash, o->policy->hash, HASH_LEN);
    s->stages = calloc(o->stage_count, sizeof(*s->stages));
    if (s->stages == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    e->stages = s->stages;
    e->stage_count = o->stage_count;
    for (size_t i = 0; i < o->stage_count; i++)
        TRY(seal_stage(s, i, err));
    return 0;
}

/* Is there a chain that the policy admits for what was just sealed? */
static int check_openable(const struct seal_order *o, const struct document *envelope, struct err *err)
{
    struct chain_world w = {.policy = o->policy, .envelope = envelope, .roster = o->roster, .status = o->status};
    struct buf text;
    if (o->status == NULL)
        return 0;
    buf_init(&text, CHAIN_MAX);
    int rc = chain_generate(&w, o->operation, o->issued_ms, o->policy->policy.chain_lifetime_ms, NULL, 0, &text, err);
    buf_done(&text);
    return rc != 0 ? err_wrap(err, rc, "no chain would open this envelope") : 0;
}

static int sign(struct sealing *s, struct buf *ret_note, struct err *err)
{
    struct buf text;
    struct document *made = NULL;
    struct document_trust trust = {.policy = s->o->policy};
    TRY(document_write(&s->doc, &text, err));
    int rc = note_sign(buf_view(&text), s->owner->name, s->o->owner, ret_note, err);
    buf_done(&text);
    if (rc == 0)
        rc = document_open(buf_view(ret_note), trust, "envelope", &made, err);
    if (rc == 0)
        rc = check_openable(s->o, made, err);
    document_unref(made);
    return rc;
}

static void sealing_done(struct sealing *s)
{
    for (size_t i = 0; i < STAGE_MAX; i++)
        secret_free(s->secrets[i]);
    for (size_t i = 0; s->stages != NULL && i < s->o->stage_count; i++)
        free(s->stages[i].members);
    free(s->stages);
    secret_free(s->dek);
    secret_free(s->key);
    buf_done(&s->payload);
    EVP_MD_CTX_free(s->hash);
}

int seal(const struct seal_order *o, struct buf *ret_note, struct err *err)
{
    struct sealing s = {.o = o};
    if (o->stage_count > STAGE_MAX)
        return err_set(err, ERR_TOO_LONG, "more than %d stages", STAGE_MAX);
    TRY(check_order(o, err));
    buf_init(&s.payload, SEAL_INLINE_MAX);
    int rc = find_owner(&s, err);
    if (rc == 0)
        rc = fill(&s, err);
    if (rc == 0)
        rc = make_keys(&s, err);
    if (rc == 0)
        rc = seal_payload(&s, err);
    if (rc == 0)
        rc = sign(&s, ret_note, err);
    sealing_done(&s);
    return rc;
}
