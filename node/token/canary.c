/* canary: one release and two signatures against our own software. */
#include "node/token/canary.h"
#include "common/walk/share.h"
#include "node/token/release.h"
#include <string.h>

struct canary {
    struct ec_key *e, *before, *after; /* the walker and its two other doors */
    struct secret *share;
    struct share_fields fields;
    struct sealed_share sealed;
    struct release release;
};

static void canary_done(struct canary *c)
{
    ec_key_free(c->e);
    ec_key_free(c->before);
    ec_key_free(c->after);
    secret_free(c->share);
}

static void neighbour_init(struct neighbour *n, const struct ec_key *key, const char *name, const uint8_t sid[HASH_LEN],
                           bool is_before)
{
    struct bytes self = bytes_str("canary"), other = bytes_str(name);
    uint8_t link_hash[HASH_LEN];
    sha256(other, link_hash);
    n->node = other;
    n->slot = 1;
    ec_key_point(key, n->point);
    context_tag(VAULT_PROFILE, sid, is_before ? other : self, is_before ? self : other, link_hash, n->ctx_tag);
}

static int canary_init(struct canary *c, const struct vault *v)
{
    TRY(ec_key_new(&c->e));
    TRY(ec_key_new(&c->before));
    TRY(ec_key_new(&c->after));
    TRY(secret_random(SHARE_LEN, &c->share));
    c->fields = (struct share_fields){.profile = VAULT_PROFILE,
                                      .network = bytes_str("canary"),
                                      .policy_name = bytes_str("canary"),
                                      .generation = 1,
                                      .stage = 2,
                                      .slot = 1};
    TRY(share_seal(&c->fields, v->keys.public[KEY_SEAL], c -> share, &c -> sealed));
    struct release *r = &c->release;
    memcpy(r->point, c->sealed.point, sizeof(r->point));
    memcpy(r->sealed, c->sealed.sealed, sizeof(r->sealed));
    ec_key_point(c->e, r->session_key);
    context_share(&c->fields, r->ctx_share);
    r->session = (struct session_fields){.profile = VAULT_PROFILE, .node = bytes_str("canary"), .stage = 2, .slot = 1};
    ec_point_spki_hash(r->session_key, r->session.sid);
    ec_point_spki_hash(v->keys.public[KEY_KEM], r -> session.kem_hash);
    r->previous_count = r->next_count = 1;
    neighbour_init(&r->previous[0], c->before, "canary-before", r->session.sid, true);
    neighbour_init(&r->next[0], c->after, "canary-after", r->session.sid, false);
    return 0;
}

/* The workload's side: the tag of the member before, its lock, KEK. */
static int software_kek(const struct canary *c, const struct vault *v, struct secret **ret_kek)
{
    struct session_fields f = c->release.session;
    struct secret *tag = NULL;
    struct bytes peer = BYTES(v->keys.public[KEY_PEER], EC_POINT_LEN);
    TRY(derive(VAULT_PROFILE, c->before, peer, c->release.previous[0].ctx_tag, &tag));
#ifndef MUTANT_LOCKS /* tests only: else this very check refuses the start */
    f.lock_count = 1;
#endif
    int rc = derive_lock(tag, c->release.previous[0].node, f.node, f.lock[0]);
    if (rc == 0)
        rc = share_kek(c->e, v->keys.public[KEY_KEM], &f, ret_kek);
    secret_free(tag);
    wipe(&f, sizeof(f));
    return rc;
}

static int compare_share(const struct canary *c, const struct secret *kek, struct bytes wrapped, struct err *err)
{
    struct secret *share = NULL;
    int rc = share_open(kek, wrapped, &c->fields, c->sealed.commitment, &share);
    if (rc != 0 || !secret_equal(share, c->share))
        rc = err_set(err, ERR_KEYS, "canary: the released share is not the sealed one (kem, seal, peer or profile)");
    secret_free(share);
    return rc;
}

static int compare_tag(const struct canary *c, const struct vault *v, const struct secret *kek, struct bytes wrapped,
                       struct err *err)
{
    struct secret *tag = NULL, *want = NULL;
    struct bytes peer = BYTES(v->keys.public[KEY_PEER], EC_POINT_LEN);
    int rc = share_open_tag(kek, wrapped, &tag);
    if (rc == 0)
        rc = derive(VAULT_PROFILE, c->after, peer, c->release.next[0].ctx_tag, &want);
    if (rc != 0 || !secret_equal(tag, want))
        rc = err_set(err, ERR_KEYS, "canary: the minted tag is not the one that the next door derives (peer)");
    secret_free(tag);
    secret_free(want);
    return rc;
}

static int compare(const struct canary *c, const struct vault *v, struct bytes answer, struct err *err)
{
    struct message *m = NULL;
    struct secret *kek = NULL;
    TRY(message_unpack(MESSAGE_ANSWER, answer, &m, err));
    int rc = software_kek(c, v, &kek);
    if (rc != 0)
        rc = err_set(err, rc, "canary: no session key in software");
    else if (m->answer.tags.count != 1)
        rc = err_set(err, ERR_KEYS, "canary: %zu tags instead of one", m->answer.tags.count);
    if (rc == 0)
        rc = compare_share(c, kek, m->answer.share, err);
    if (rc == 0)
        rc = compare_tag(c, v, kek, m->answer.tags.at[0].tag, err);
    secret_free(kek);
    message_free(m);
    return rc;
}

static int check_release(struct vault *v, struct err *err)
{
    struct canary c;
    memset(&c, 0, sizeof(c));
    struct buf answer;
    buf_init(&answer, message_max(MESSAGE_ANSWER));
    int rc = canary_init(&c, v);
    if (rc != 0)
        rc = err_set(err, rc, "canary: cannot be made");
    else if ((rc = release_make(v, &c.release, &answer, err)) != 0)
        rc = err_wrap(err, rc, "canary");
    else
        rc = compare(&c, v, buf_view(&answer), err);
    canary_done(&c);
    buf_done(&answer);
    return rc;
}

static int check_signature(struct vault *v, enum key key, const char *label, struct err *err)
{
    uint8_t sig[ED25519_SIGNATURE_LEN];
    struct bytes text = bytes_str("canary");
    TRY(vault_sign(v, key, text, sig, err));
    if (ed25519_verify(v->keys.public[key], text, BYTES_OF(sig)) != 0)
        return err_set(err, ERR_KEYS, "canary: key %s: the private key does not belong to the public one", label);
    return 0;
}

int canary_run(struct vault *v, struct err *err)
{
    TRY(check_release(v, err));
    TRY(check_signature(v, KEY_LOG, "log", err));
    return check_signature(v, KEY_MIRROR, "mirror", err);
}
