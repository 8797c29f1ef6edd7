/* vectors_walk: the groups of common/walk. */
#include "common/crypto/keywrap.h"
#include "common/walk/link.h"
#include "common/walk/share.h"
#include "tests/tools/vectors_run.h"
#include <string.h>

/* ---- derive */

/* derive from both ends; both must agree */
static struct secret *derive_both(struct run *r, uint64_t profile, const struct ec_key *a, const struct ec_key *b,
                                  const uint8_t ctx[HASH_LEN], const char *name)
{
    uint8_t point_a[EC_POINT_LEN], point_b[EC_POINT_LEN];
    struct secret *key = NULL, *other = NULL;
    ec_key_point(a, point_a);
    ec_key_point(b, point_b);
    vec_check(r, derive(profile, a, BYTES_OF(point_b), ctx, &key), name);
    vec_check(r, derive(profile, b, BYTES_OF(point_a), ctx, &other), name);
    if (!r->bad && !secret_equal(key, other))
        vec_fail(r, "the two ends differ", name);
    secret_free(other);
    if (key == NULL)
        return NULL;
    vec_put(r, name, secret_borrow(key));
    return vec_hold_secret(r, key);
}

static void derive_refused(struct run *r, uint64_t profile)
{
    uint8_t point[EC_POINT_LEN], ctx[HASH_LEN];
    struct ec_key *key = NULL;
    struct secret *scalar = vec_take_secret(r, "scalar_a"), *got = NULL;
    struct bytes peer = vec_take(r, "point_b");
    TAKE(r, "ctx", ctx);
    int rc = r->bad ? 0 : ec_key_from_scalar(scalar, &key);
    if (rc == 0 && !r->bad) {
        ec_key_point(key, point);
        rc = derive(profile, key, peer, ctx, &got);
    }
    ec_key_free(key);
    secret_free(got);
    vec_refused(r, rc);
}

void vec_run_derive(struct run *r)
{
    uint64_t profile = vec_take_number(r, "profile");
    if (vec_must_fail(r)) {
        derive_refused(r, profile);
        return;
    }
    uint8_t point_a[EC_POINT_LEN], point_b[EC_POINT_LEN], spki_hash[HASH_LEN], ctx[HASH_LEN];
    struct secret *z = NULL;
    struct ec_key *a = vec_take_key(r, "scalar_a", "point_a", point_a),
                  *b = vec_take_key(r, "scalar_b", "point_b", point_b);
    if (r->bad)
        return;
    ec_point_spki_hash(point_a, spki_hash);
    PUT(r, "spki_hash_a", spki_hash);
    vec_check(r, ec_ecdh(a, BYTES_OF(point_b), &z), "z");
    if (r->bad)
        return;
    vec_put(r, "z", secret_borrow(vec_hold_secret(r, z)));
    TAKE(r, "ctx", ctx);
    (void)derive_both(r, profile, a, b, ctx, "key");
}

/* ---- context */

static void context_of_sid(struct run *r)
{
    struct sid_fields f = {.network = vec_take_text(r, "network")};
    uint8_t out[HASH_LEN];
    TAKE(r, "eid", f.eid);
    TAKE(r, "client_key_hash", f.client_key_hash);
    TAKE(r, "client_nonce", f.client_nonce);
    TAKE(r, "chain_hash", f.chain_hash);
    context_sid(&f, out);
    PUT(r, "output", out);
}

static void context_of_walk_id(struct run *r)
{
    uint8_t sid[HASH_LEN], out[WALK_ID_LEN];
    TAKE(r, "sid", sid);
    context_walk_id(sid, out);
    PUT(r, "output", out);
}

static void context_of_bind(struct run *r)
{
    struct bind_fields f = {0};
    uint8_t out[BIND_LEN];
    TAKE(r, "sid", f.sid);
    f.node = vec_take_text(r, "node");
    TAKE(r, "kem_hash", f.kem_hash);
    f.stage = vec_take_number(r, "stage");
    f.slot = vec_take_number(r, "slot");
    TAKE(r, "nonce", f.nonce);
    TAKE(r, "exporter", f.exporter);
    TAKE(r, "client_leaf_hash", f.client_leaf_hash);
    TAKE(r, "server_key_hash", f.server_key_hash);
    TAKE(r, "prevhash", f.prevhash);
    context_bind(&f, out);
    PUT(r, "output", out);
}

static void context_of_prevhash(struct run *r)
{
    uint8_t links[LINK_COUNT_MAX][HASH_LEN], out[HASH_LEN];
    size_t count = vec_take_hashes(r, "link_hashes", LINK_COUNT_MAX, links);
    context_prevhash((const uint8_t(*)[HASH_LEN])links, count, out);
    PUT(r, "output", out);
}

static void take_share_fields(struct run *r, struct share_fields *ret)
{
    ret->profile = vec_take_number(r, "profile");
    ret->network = vec_take_text(r, "network");
    TAKE(r, "owner", ret->owner);
    ret->policy_name = vec_take_text(r, "policy_name");
    TAKE(r, "envelope_id", ret->envelope_id);
    ret->generation = vec_take_number(r, "generation");
    ret->stage = vec_take_number(r, "stage");
    ret->slot = vec_take_number(r, "slot");
}

static void context_of_share(struct run *r)
{
    struct share_fields f = {0};
    uint8_t out[HASH_LEN];
    take_share_fields(r, &f);
    context_share(&f, out);
    PUT(r, "output", out);
}

static void context_of_commitment(struct run *r)
{
    uint8_t id[ENVELOPE_ID_LEN], share[SHARE_LEN], salt[SALT_LEN], out[HASH_LEN];
    TAKE(r, "envelope_id", id);
    uint64_t generation = vec_take_number(r, "generation"), stage = vec_take_number(r, "stage"),
             slot = vec_take_number(r, "slot");
    TAKE(r, "share", share);
    TAKE(r, "salt", salt);
    context_commitment(id, generation, stage, slot, share, salt, out);
    PUT(r, "output", out);
}

static void context_of_tag(struct run *r)
{
    uint8_t sid[HASH_LEN], link_hash[HASH_LEN], out[HASH_LEN];
    uint64_t profile = vec_take_number(r, "profile");
    TAKE(r, "sid", sid);
    struct bytes a = vec_take_text(r, "a"), b = vec_take_text(r, "b");
    TAKE(r, "link_hash", link_hash);
    context_tag(profile, sid, a, b, link_hash, out);
    PUT(r, "output", out);
}

static void context_of_lock(struct run *r)
{
    uint8_t out[HASH_LEN];
    struct bytes a = vec_take_text(r, "a"), node = vec_take_text(r, "node");
    context_lock(a, node, out);
    PUT(r, "output", out);
}

static void context_of_session(struct run *r)
{
    struct session_fields f = {.profile = vec_take_number(r, "profile")};
    uint8_t out[HASH_LEN];
    f.node = vec_take_text(r, "node");
    TAKE(r, "kem_hash", f.kem_hash);
    f.stage = vec_take_number(r, "stage");
    f.slot = vec_take_number(r, "slot");
    TAKE(r, "sid", f.sid);
    TAKE(r, "prevhash", f.prevhash);
    f.lock_count = vec_take_hashes(r, "locks", SLOT_MAX, f.lock);
    context_session(&f, out);
    PUT(r, "output", out);
}

static void context_of_dek_salt(struct run *r)
{
    uint8_t id[ENVELOPE_ID_LEN], out[HASH_LEN];
    TAKE(r, "envelope_id", id);
    context_dek_salt(id, vec_take_number(r, "generation"), out);
    PUT(r, "output", out);
}

static void context_of_payload(struct run *r)
{
    uint8_t owner[ED25519_PUBLIC_LEN], id[ENVELOPE_ID_LEN], out[HASH_LEN];
    TAKE(r, "owner", owner);
    TAKE(r, "envelope_id", id);
    context_payload(owner, id, vec_take_number(r, "generation"), out);
    PUT(r, "output", out);
}

void vec_run_context(struct run *r)
{
    static const struct {
        const char *kind;
        void (*run)(struct run *r);
    } kinds[] = {
#define KIND(name) {#name, context_of_##name}
        KIND(sid), KIND(walk_id), KIND(bind),    KIND(prevhash), KIND(share),   KIND(commitment),
        KIND(tag), KIND(lock),    KIND(session), KIND(dek_salt), KIND(payload),
#undef KIND
    };
    struct bytes kind = vec_take_text(r, "kind");
    for (size_t i = 0; !r->bad && i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (bytes_is(kind, kinds[i].kind)) {
            kinds[i].run(r);
            return;
        }
    vec_fail(r, "unknown", "kind");
}

/* ---- seal, release, tag, dek */

static struct secret *take_frame(struct run *r, uint8_t ret_salt[SALT_LEN], struct secret **ret_share)
{
    struct secret *frame = NULL;
    *ret_share = vec_take_secret(r, "share");
    vec_take_into(r, "salt", ret_salt, SALT_LEN);
    if (r->bad || secret_len(*ret_share) != SHARE_LEN || secret_new(SHARE_LEN + SALT_LEN, &frame) != 0) {
        vec_fail(r, "wrong length", "share");
        return NULL;
    }
    memcpy(secret_write(frame), secret_borrow(*ret_share).p, SHARE_LEN);
    memcpy(secret_write(frame) + SHARE_LEN, ret_salt, SALT_LEN);
    return vec_hold_secret(r, frame);
}

void vec_run_seal(struct run *r)
{
    struct share_fields f = {0};
    struct sealed_share sealed;
    uint8_t seal_point[EC_POINT_LEN], r_point[EC_POINT_LEN], salt[SALT_LEN], ctx[HASH_LEN];
    struct secret *share = NULL, *opened = NULL;
    take_share_fields(r, &f);
    struct ec_key *seal = vec_take_key(r, "seal_scalar", "seal_point", seal_point);
    struct ec_key *fresh = vec_take_key(r, "r_scalar", "point", r_point);
    (void)take_frame(r, salt, &share);
    if (r->bad)
        return;
    context_share(&f, ctx);
    PUT(r, "ctx", ctx);
    struct secret *key = derive_both(r, f.profile, seal, fresh, ctx, "key");
    vec_check(r, share_seal_with(&f, seal_point, share, salt, fresh, &sealed), "seal");
    if (r->bad)
        return;
    vec_check(r, share_open(key, BYTES_OF(sealed.sealed), &f, sealed.commitment, &opened), "open");
    if (!r->bad && !secret_equal(opened, share))
        vec_fail(r, "opens to something else", "sealed");
    secret_free(opened);
    PUT(r, "sealed", sealed.sealed);
    PUT(r, "commitment", sealed.commitment);
}

static void release_refused(struct run *r)
{
    struct share_fields f = {0};
    uint8_t commitment[HASH_LEN];
    struct secret *kek = vec_take_secret(r, "kek"), *share = NULL;
    TAKE(r, "envelope_id", f.envelope_id);
    f.generation = vec_take_number(r, "generation");
    f.stage = vec_take_number(r, "stage");
    f.slot = vec_take_number(r, "slot");
    struct bytes wrapped = vec_take(r, "wrapped");
    TAKE(r, "commitment", commitment);
    if (r->bad)
        return;
    vec_refused(r, share_open(kek, wrapped, &f, commitment, &share));
    secret_free(share);
}

void vec_run_release(struct run *r)
{
    if (vec_must_fail(r)) {
        release_refused(r);
        return;
    }
    struct share_fields f = {0};
    struct session_fields s = {0};
    uint8_t kem_point[EC_POINT_LEN], e_point[EC_POINT_LEN], ctx[HASH_LEN], salt[SALT_LEN], commitment[HASH_LEN];
    struct secret *share = NULL, *kek = NULL;
    take_share_fields(r, &f);
    s.profile = f.profile;
    s.stage = f.stage;
    s.slot = f.slot;
    s.node = vec_take_text(r, "node");
    TAKE(r, "sid", s.sid);
    TAKE(r, "prevhash", s.prevhash);
    s.lock_count = vec_take_hashes(r, "locks", SLOT_MAX, s.lock);
    struct ec_key *kem = vec_take_key(r, "kem_scalar", "kem_point", kem_point);
    ec_point_spki_hash(kem_point, s.kem_hash);
    PUT(r, "kem_hash", s.kem_hash);
    struct ec_key *e = vec_take_key(r, "e_scalar", "e_point", e_point);
    if (r->bad)
        return;
    context_session(&s, ctx);
    PUT(r, "ctx", ctx);
    struct secret *node_kek = derive_both(r, f.profile, kem, e, ctx, "kek");
    vec_check(r, share_kek(e, kem_point, &s, &kek), "kek");
    if (!r->bad && !secret_equal(vec_hold_secret(r, kek), node_kek))
        vec_fail(r, "share_kek differs", "kek");
    struct secret *frame = take_frame(r, salt, &share), *opened = NULL;
    if (r->bad)
        return;
    vec_put_wrapped(r, "wrapped", kek, frame);
    context_commitment(f.envelope_id, f.generation, f.stage, f.slot, secret_borrow(share).p, salt, commitment);
    PUT(r, "commitment", commitment);
    vec_check(r,
              share_open(kek, vec_from_hex(r, json_object_get(r->out, "wrapped"), "wrapped"), &f, commitment, &opened),
              "open");
    secret_free(opened);
}

void vec_run_tag(struct run *r)
{
    uint8_t sid[HASH_LEN], link_hash[HASH_LEN], ctx[HASH_LEN], plain[HASH_LEN], lock[32], pa[EC_POINT_LEN],
        pb[EC_POINT_LEN];
    uint64_t profile = vec_take_number(r, "profile");
    TAKE(r, "sid", sid);
    struct bytes a = vec_take_text(r, "a"), b = vec_take_text(r, "b");
    TAKE(r, "link_hash", link_hash);
    struct ec_key *peer_a = vec_take_key(r, "peer_a_scalar", "peer_a_point", pa);
    struct ec_key *peer_b = vec_take_key(r, "peer_b_scalar", "peer_b_point", pb);
    if (r->bad)
        return;
    context_tag(profile, sid, a, b, link_hash, ctx);
    PUT(r, "ctx", ctx);
    struct secret *tag = derive_both(r, profile, peer_a, peer_b, ctx, "tag"), *opened = NULL;
    context_lock(a, b, plain);
    PUT(r, "lock_plain", plain);
    vec_check(r, derive_lock(tag, a, b, lock), "lock");
    PUT(r, "lock", lock);
    struct secret *kek = vec_take_secret(r, "kek");
    if (r->bad)
        return;
    vec_put_wrapped(r, "wrapped", kek, tag);
    vec_check(r, share_open_tag(kek, vec_from_hex(r, json_object_get(r->out, "wrapped"), "wrapped"), &opened), "open");
    secret_free(opened);
}

void vec_run_dek(struct run *r)
{
    uint8_t id[ENVELOPE_ID_LEN], salt[HASH_LEN], commitment[HASH_LEN];
    struct bytes raw[STAGE_MAX];
    struct secret *stages[STAGE_MAX] = {NULL}, *dek = NULL, *key = NULL;
    TAKE(r, "envelope_id", id);
    uint64_t generation = vec_take_number(r, "generation");
    size_t count = vec_take_list(r, "stage_secrets", STAGE_MAX, 32, raw);
    for (size_t i = 0; i < count; i++) {
        vec_check(r, secret_copy(raw[i], &stages[i]), "stage_secrets");
        (void)vec_hold_secret(r, stages[i]);
    }
    context_dek_salt(id, generation, salt);
    PUT(r, "salt", salt);
    vec_check(r, share_dek(id, generation, stages, count, &dek), "dek");
    if (r->bad)
        return;
    vec_put(r, "dek", secret_borrow(vec_hold_secret(r, dek)));
    vec_check(r, share_dek_commitment(dek, commitment), "commitment");
    PUT(r, "commitment", commitment);
    vec_check(r, share_payload_key(dek, &key), "payload_key");
    if (!r->bad)
        vec_put(r, "payload_key", secret_borrow(vec_hold_secret(r, key)));
}

/* ---- link */

static void link_refused(struct run *r)
{
    struct message *m = NULL;
    struct bytes body = vec_take(r, "body");
    if (r->bad)
        return;
    vec_refused(r, link_parse(body, &m, NULL));
    message_free(m);
}

static void take_factors(struct run *r, struct msg_link_body *body)
{
    static struct msg_factor factors[64];
    const json_t *names = vec_list(r, "factors", 64);
    body->factors.at = factors;
    body->factors.count = r->bad ? 0 : json_array_size(names);
    for (size_t i = 0; i < body->factors.count; i++)
        factors[i].name = bytes_str(json_string_value(json_array_get(names, i)));
    vec_set(r, "factors", json_deep_copy(names));
}

void vec_run_link(struct run *r)
{
    if (vec_must_fail(r)) {
        link_refused(r);
        return;
    }
    struct msg_link_body body = {.network = vec_take_text(r, "network"), .node = vec_take_text(r, "node")};
    uint8_t hash[HASH_LEN];
    struct err err = {0};
    body.sid = vec_take(r, "sid");
    body.eid = vec_take(r, "eid");
    body.chain_hash = vec_take(r, "chain_hash");
    body.policy_hash = vec_take(r, "policy_hash");
    body.envelope_hash = vec_take(r, "envelope_hash");
    body.prevhash = vec_take(r, "prevhash");
    body.generation = vec_take_number(r, "generation");
    body.stage = vec_take_number(r, "stage");
    body.slot = vec_take_number(r, "slot");
    take_factors(r, &body);
    body.roster_version = vec_take_number(r, "roster_version");
    body.status_version = vec_take_number(r, "status_version");
    body.issued_ms = vec_take_number(r, "issued_ms");
    body.not_after_ms = vec_take_number(r, "not_after_ms");
    struct buf made, again;
    struct message *m = NULL;
    buf_init(&made, LINK_BODY_MAX);
    buf_init(&again, LINK_BODY_MAX);
    vec_check(r, r->bad ? 0 : link_make(&body, &made, &err), err.text);
    vec_check(r, r->bad ? 0 : link_parse(buf_view(&made), &m, &err), err.text);
    vec_check(r, r->bad ? 0 : link_make(&m->link_body, &again, &err), err.text);
    if (!r->bad && !bytes_equal(buf_view(&made), buf_view(&again)))
        vec_fail(r, "reads back as something else", "body");
    sha256(buf_view(&made), hash);
    vec_put(r, "body", buf_view(&made));
    PUT(r, "hash", hash);
    message_free(m);
    buf_done(&made);
    buf_done(&again);
}
