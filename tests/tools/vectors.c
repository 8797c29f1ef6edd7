/* vectors: computes the outputs of test vectors from their inputs. */
#include "tests/tools/vectors.h"
#include "common/crypto/keywrap.h"
#include "common/crypto/merkle.h"
#include "common/crypto/note.h"
#include "common/crypto/payload.h"
#include "common/walk/link.h"
#include "common/walk/share.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELD_MAX 1024
#define SEALED_SHOWN 4096 /* payloads up to this length stand in the file */

/* One case at work. Everything that it allocates is held here and freed once. */
struct run {
    const json_t *in;
    json_t *out;
    bool bad;
    void *held[HELD_MAX];
    struct secret *secrets[HELD_MAX];
    struct ec_key *keys[4];
    size_t held_count, secret_count, key_count;
};

static void fail(struct run *r, const char *what, const char *name)
{
    if (!r->bad)
        (void)fprintf(stderr, "vectors: case %s: %s: %s\n", json_string_value(json_object_get(r->in, "name")), name,
                      what);
    r->bad = true;
}

static void check(struct run *r, int rc, const char *what)
{
    if (rc != 0)
        fail(r, err_name(rc), what);
}

static void *hold(struct run *r, size_t len)
{
    void *p = calloc(1, len + 1);
    if (p == NULL || r->held_count == HELD_MAX)
        abort();
    r->held[r->held_count++] = p;
    return p;
}

static struct secret *hold_secret(struct run *r, struct secret *s)
{
    if (r->secret_count == HELD_MAX)
        abort();
    r->secrets[r->secret_count++] = s;
    return s;
}

static void set(struct run *r, const char *name, json_t *value)
{
    if (json_object_set_new(r->out, name, value) != 0)
        abort();
}

static json_t *hex(struct bytes b)
{
    char *text = malloc(2 * b.len + 1);
    if (text == NULL)
        abort();
    hex_encode(b, text);
    json_t *value = json_string(text);
    free(text);
    return value;
}

static void put(struct run *r, const char *name, struct bytes b)
{
    set(r, name, hex(b));
}

#define PUT(r, name, array) put((r), (name), BYTES_OF(array))

/* ---- inputs: read, checked, copied to the result */

static struct bytes from_hex(struct run *r, const json_t *value, const char *name)
{
    const char *text = json_string_value(value);
    size_t len = text != NULL ? strlen(text) / 2 : 0;
    uint8_t *p = hold(r, len);
    if (text == NULL || hex_decode(bytes_str(text), p, len) != 0)
        fail(r, "not hex", name);
    return BYTES(p, len);
}

static struct bytes take(struct run *r, const char *name)
{
    struct bytes b = from_hex(r, json_object_get(r->in, name), name);
    put(r, name, b);
    return b;
}

static void take_into(struct run *r, const char *name, uint8_t *ret, size_t len)
{
    struct bytes b = take(r, name);
    if (b.len != len)
        fail(r, "wrong length", name);
    else
        memcpy(ret, b.p, len);
}

#define TAKE(r, name, array) take_into((r), (name), (array), sizeof(array))

static struct bytes take_text(struct run *r, const char *name)
{
    const char *text = json_string_value(json_object_get(r->in, name));
    if (text == NULL)
        fail(r, "not a text", name);
    else
        set(r, name, json_string(text));
    return bytes_str(text);
}

static uint64_t take_number(struct run *r, const char *name)
{
    const json_t *value = json_object_get(r->in, name);
    json_int_t v = json_integer_value(value);
    if (!json_is_integer(value) || v < 0 || v > (json_int_t)1 << 53)
        fail(r, "not a number", name);
    set(r, name, json_integer(v));
    return (uint64_t)v;
}

static struct secret *take_secret(struct run *r, const char *name)
{
    struct secret *s = NULL;
    check(r, secret_copy(take(r, name), &s), name);
    return hold_secret(r, s);
}

static const json_t *list(struct run *r, const char *name, size_t max)
{
    const json_t *value = json_object_get(r->in, name);
    if (!json_is_array(value) || json_array_size(value) > max)
        fail(r, "not a list, or too long", name);
    return value;
}

/* A list of hex strings, each of item_len bytes (0: any). Returns how many. */
static size_t take_list(struct run *r, const char *name, size_t max, size_t item_len, struct bytes *ret)
{
    const json_t *value = list(r, name, max);
    json_t *copy = json_array();
    size_t count = r->bad ? 0 : json_array_size(value);
    for (size_t i = 0; i < count; i++) {
        ret[i] = from_hex(r, json_array_get(value, i), name);
        if (item_len != 0 && ret[i].len != item_len)
            fail(r, "an item has the wrong length", name);
        json_array_append_new(copy, hex(ret[i]));
    }
    set(r, name, copy);
    return r->bad ? 0 : count;
}

static size_t take_hashes(struct run *r, const char *name, size_t max, uint8_t (*ret)[HASH_LEN])
{
    struct bytes items[HELD_MAX];
    size_t count = take_list(r, name, max < HELD_MAX ? max : HELD_MAX, HASH_LEN, items);
    for (size_t i = 0; i < count; i++)
        memcpy(ret[i], items[i].p, HASH_LEN);
    return count;
}

/* A private scalar, and its point under point_name. */
static struct ec_key *take_key(struct run *r, const char *name, const char *point_name, uint8_t ret_point[EC_POINT_LEN])
{
    struct ec_key *key = NULL;
    struct secret *scalar = take_secret(r, name);
    if (!r->bad)
        check(r, ec_key_from_scalar(scalar, &key), name);
    if (key == NULL)
        return NULL;
    r->keys[r->key_count++] = key;
    ec_key_point(key, ret_point);
    put(r, point_name, BYTES(ret_point, EC_POINT_LEN));
    return key;
}

static bool must_fail(const struct run *r)
{
    return json_object_get(r->in, "refused") != NULL;
}

static void refused(struct run *r, int rc)
{
    set(r, "refused", json_string(err_name(rc)));
}

/* ---- th */

static void run_th(struct run *r)
{
    uint8_t hash[HASH_LEN], hash512[HASH512_LEN];
    struct bytes fields[HELD_MAX - 1];
    struct bytes label = take_text(r, "label");
    size_t count = take_list(r, "fields", HELD_MAX - 1, 0, fields);
    if (r->bad)
        return;
    struct th *t = th_begin((const char *)label.p), *t512 = th_begin((const char *)label.p);
    for (size_t i = 0; i < count; i++) {
        th_add(t, fields[i]);
        th_add(t512, fields[i]);
    }
    th_finish(t, hash);
    th_finish512(t512, hash512);
    PUT(r, "th", hash);
    PUT(r, "th512", hash512);
}

/* ---- shamir */

struct replay {
    const struct bytes *items;
    size_t count, at;
};

/* An rng that gives the coefficients of the case: shamir asks for all of them at once. */
static int replay_fill(void *arg, uint8_t *out, size_t len)
{
    struct replay *p = arg;
    if (len != (p->count - p->at) * SHAMIR_LEN)
        return ERR_INTERNAL;
    for (; p->at < p->count; p->at++, out += SHAMIR_LEN)
        memcpy(out, p->items[p->at].p, SHAMIR_LEN);
    return 0;
}

static size_t take_x(struct run *r, uint8_t *ret_x)
{
    const json_t *value = list(r, "x", SHAMIR_MAX + 1);
    size_t count = r->bad ? 0 : json_array_size(value);
    for (size_t i = 0; i < count; i++)
        ret_x[i] = (uint8_t)json_integer_value(json_array_get(value, i));
    set(r, "x", json_deep_copy(value));
    return count;
}

/* The picks for which combining gives the secret; the others become null, so that they differ from the input. */
static void combine(struct run *r, const struct secret *secret, unsigned k, const uint8_t *x, struct secret *const *y,
                    size_t m)
{
    json_t *done = json_array();
    const json_t *picks = list(r, "combine", 1000);
    for (size_t i = 0; !r->bad && i < json_array_size(picks); i++) {
        const json_t *pick = json_array_get(picks, i);
        uint8_t px[SHAMIR_MAX];
        struct secret *py[SHAMIR_MAX], *got = NULL;
        bool good = json_array_size(pick) == k;
        for (unsigned j = 0; good && j < k; j++) {
            size_t at = (size_t)json_integer_value(json_array_get(pick, j));
            good = at < m;
            px[j] = good ? x[at] : 0;
            py[j] = good ? y[at] : NULL;
        }
        good = good && shamir_combine(px, py, k, &got) == 0 && secret_equal(got, secret);
        secret_free(got);
        json_array_append_new(done, good ? json_deep_copy(pick) : json_null());
    }
    set(r, "combine", done);
}

static void shamir_refused(struct run *r, unsigned k)
{
    uint8_t x[SHAMIR_MAX + 1];
    struct bytes raw[SHAMIR_MAX + 1];
    struct secret *y[SHAMIR_MAX + 1] = {NULL}, *got = NULL;
    size_t x_count = take_x(r, x), count = take_list(r, "y", SHAMIR_MAX + 1, 0, raw);
    for (size_t i = 0; i < count; i++) {
        check(r, secret_copy(raw[i], &y[i]), "y");
        (void)hold_secret(r, y[i]);
    }
    if (r->bad)
        return;
    if (x_count != count || k != count) { /* shamir_combine takes exactly k; its callers refuse any other number */
        refused(r, ERR_SHARES);
        return;
    }
    refused(r, shamir_combine(x, y, k, &got));
    secret_free(got);
}

static void run_shamir(struct run *r)
{
    unsigned k = (unsigned)take_number(r, "k");
    if (must_fail(r)) {
        shamir_refused(r, k);
        return;
    }
    uint8_t x[SHAMIR_MAX + 1];
    struct bytes coefficients[SHAMIR_MAX];
    struct secret *secret = take_secret(r, "secret"), *y[SHAMIR_MAX + 1] = {NULL};
    size_t m = take_x(r, x);
    struct replay replay = {coefficients, take_list(r, "coefficients", SHAMIR_MAX, SHAMIR_LEN, coefficients), 0};
    if (!r->bad)
        check(r, shamir_split(secret, k, x, (unsigned)m, (struct rng){replay_fill, &replay}, y), "split");
    if (r->bad)
        return;
    json_t *shares = json_array();
    for (size_t i = 0; i < m; i++)
        json_array_append_new(shares, hex(secret_borrow(hold_secret(r, y[i]))));
    set(r, "y", shares);
    combine(r, secret, k, x, y, m);
}

/* ---- keywrap */

static void put_wrapped(struct run *r, const char *name, const struct secret *kek, const struct secret *plain)
{
    uint8_t *out = hold(r, secret_len(plain) + KEYWRAP_OVERHEAD);
    struct secret *again = NULL;
    check(r, keywrap_wrap(kek, plain, out), name);
    struct bytes wrapped = BYTES(out, secret_len(plain) + KEYWRAP_OVERHEAD);
    if (!r->bad)
        check(r, keywrap_unwrap(kek, wrapped, &again), name);
    if (!r->bad && !secret_equal(again, plain))
        fail(r, "unwraps to something else", name);
    secret_free(again);
    put(r, name, wrapped);
}

static void run_keywrap(struct run *r)
{
    struct secret *kek = take_secret(r, "kek"), *plain = NULL;
    if (must_fail(r)) {
        refused(r, keywrap_unwrap(kek, take(r, "wrapped"), &plain));
        secret_free(plain);
        return;
    }
    plain = take_secret(r, "plain");
    if (!r->bad)
        put_wrapped(r, "wrapped", kek, plain);
}

/* ---- derive */

/* derive from both ends; both must agree */
static struct secret *derive_both(struct run *r, uint64_t profile, const struct ec_key *a, const struct ec_key *b,
                                  const uint8_t ctx[HASH_LEN], const char *name)
{
    uint8_t point_a[EC_POINT_LEN], point_b[EC_POINT_LEN];
    struct secret *key = NULL, *other = NULL;
    ec_key_point(a, point_a);
    ec_key_point(b, point_b);
    check(r, derive(profile, a, BYTES_OF(point_b), ctx, &key), name);
    check(r, derive(profile, b, BYTES_OF(point_a), ctx, &other), name);
    if (!r->bad && !secret_equal(key, other))
        fail(r, "the two ends differ", name);
    secret_free(other);
    if (key == NULL)
        return NULL;
    put(r, name, secret_borrow(key));
    return hold_secret(r, key);
}

static void derive_refused(struct run *r, uint64_t profile)
{
    uint8_t point[EC_POINT_LEN], ctx[HASH_LEN];
    struct ec_key *key = NULL;
    struct secret *scalar = take_secret(r, "scalar_a"), *got = NULL;
    struct bytes peer = take(r, "point_b");
    TAKE(r, "ctx", ctx);
    int rc = r->bad ? 0 : ec_key_from_scalar(scalar, &key);
    if (rc == 0 && !r->bad) {
        ec_key_point(key, point);
        rc = derive(profile, key, peer, ctx, &got);
    }
    ec_key_free(key);
    secret_free(got);
    refused(r, rc);
}

static void run_derive(struct run *r)
{
    uint64_t profile = take_number(r, "profile");
    if (must_fail(r)) {
        derive_refused(r, profile);
        return;
    }
    uint8_t point_a[EC_POINT_LEN], point_b[EC_POINT_LEN], spki_hash[HASH_LEN], ctx[HASH_LEN];
    struct secret *z = NULL;
    struct ec_key *a = take_key(r, "scalar_a", "point_a", point_a), *b = take_key(r, "scalar_b", "point_b", point_b);
    if (r->bad)
        return;
    ec_point_spki_hash(point_a, spki_hash);
    PUT(r, "spki_hash_a", spki_hash);
    check(r, ec_ecdh(a, BYTES_OF(point_b), &z), "z");
    if (r->bad)
        return;
    put(r, "z", secret_borrow(hold_secret(r, z)));
    TAKE(r, "ctx", ctx);
    (void)derive_both(r, profile, a, b, ctx, "key");
}

/* ---- context */

static void context_of_sid(struct run *r)
{
    struct sid_fields f = {.network = take_text(r, "network")};
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
    f.node = take_text(r, "node");
    TAKE(r, "kem_hash", f.kem_hash);
    f.stage = take_number(r, "stage");
    f.slot = take_number(r, "slot");
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
    size_t count = take_hashes(r, "link_hashes", LINK_COUNT_MAX, links);
    context_prevhash((const uint8_t(*)[HASH_LEN])links, count, out);
    PUT(r, "output", out);
}

static void take_share_fields(struct run *r, struct share_fields *ret)
{
    ret->profile = take_number(r, "profile");
    ret->network = take_text(r, "network");
    TAKE(r, "owner", ret->owner);
    ret->policy_name = take_text(r, "policy_name");
    TAKE(r, "envelope_id", ret->envelope_id);
    ret->generation = take_number(r, "generation");
    ret->stage = take_number(r, "stage");
    ret->slot = take_number(r, "slot");
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
    uint64_t generation = take_number(r, "generation"), stage = take_number(r, "stage"), slot = take_number(r, "slot");
    TAKE(r, "share", share);
    TAKE(r, "salt", salt);
    context_commitment(id, generation, stage, slot, share, salt, out);
    PUT(r, "output", out);
}

static void context_of_tag(struct run *r)
{
    uint8_t sid[HASH_LEN], link_hash[HASH_LEN], out[HASH_LEN];
    uint64_t profile = take_number(r, "profile");
    TAKE(r, "sid", sid);
    struct bytes a = take_text(r, "a"), b = take_text(r, "b");
    TAKE(r, "link_hash", link_hash);
    context_tag(profile, sid, a, b, link_hash, out);
    PUT(r, "output", out);
}

static void context_of_lock(struct run *r)
{
    uint8_t out[HASH_LEN];
    struct bytes a = take_text(r, "a"), node = take_text(r, "node");
    context_lock(a, node, out);
    PUT(r, "output", out);
}

static void context_of_session(struct run *r)
{
    struct session_fields f = {.profile = take_number(r, "profile")};
    uint8_t out[HASH_LEN];
    f.node = take_text(r, "node");
    TAKE(r, "kem_hash", f.kem_hash);
    f.stage = take_number(r, "stage");
    f.slot = take_number(r, "slot");
    TAKE(r, "sid", f.sid);
    TAKE(r, "prevhash", f.prevhash);
    f.lock_count = take_hashes(r, "locks", SLOT_MAX, f.lock);
    context_session(&f, out);
    PUT(r, "output", out);
}

static void context_of_dek_salt(struct run *r)
{
    uint8_t id[ENVELOPE_ID_LEN], out[HASH_LEN];
    TAKE(r, "envelope_id", id);
    context_dek_salt(id, take_number(r, "generation"), out);
    PUT(r, "output", out);
}

static void context_of_payload(struct run *r)
{
    uint8_t owner[ED25519_PUBLIC_LEN], id[ENVELOPE_ID_LEN], out[HASH_LEN];
    TAKE(r, "owner", owner);
    TAKE(r, "envelope_id", id);
    context_payload(owner, id, take_number(r, "generation"), out);
    PUT(r, "output", out);
}

static void run_context(struct run *r)
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
    struct bytes kind = take_text(r, "kind");
    for (size_t i = 0; !r->bad && i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (bytes_is(kind, kinds[i].kind)) {
            kinds[i].run(r);
            return;
        }
    fail(r, "unknown", "kind");
}

/* ---- seal, release, tag, dek */

static struct secret *take_frame(struct run *r, uint8_t ret_salt[SALT_LEN], struct secret **ret_share)
{
    struct secret *frame = NULL;
    *ret_share = take_secret(r, "share");
    take_into(r, "salt", ret_salt, SALT_LEN);
    if (r->bad || secret_len(*ret_share) != SHARE_LEN || secret_new(SHARE_LEN + SALT_LEN, &frame) != 0) {
        fail(r, "wrong length", "share");
        return NULL;
    }
    memcpy(secret_write(frame), secret_borrow(*ret_share).p, SHARE_LEN);
    memcpy(secret_write(frame) + SHARE_LEN, ret_salt, SALT_LEN);
    return hold_secret(r, frame);
}

static void run_seal(struct run *r)
{
    struct share_fields f = {0};
    struct sealed_share sealed;
    uint8_t seal_point[EC_POINT_LEN], r_point[EC_POINT_LEN], salt[SALT_LEN], ctx[HASH_LEN];
    struct secret *share = NULL, *opened = NULL;
    take_share_fields(r, &f);
    struct ec_key *seal = take_key(r, "seal_scalar", "seal_point", seal_point);
    struct ec_key *fresh = take_key(r, "r_scalar", "point", r_point);
    (void)take_frame(r, salt, &share);
    if (r->bad)
        return;
    context_share(&f, ctx);
    PUT(r, "ctx", ctx);
    struct secret *key = derive_both(r, f.profile, seal, fresh, ctx, "key");
    check(r, share_seal_with(&f, seal_point, share, salt, fresh, &sealed), "seal");
    if (r->bad)
        return;
    check(r, share_open(key, BYTES_OF(sealed.sealed), &f, sealed.commitment, &opened), "open");
    if (!r->bad && !secret_equal(opened, share))
        fail(r, "opens to something else", "sealed");
    secret_free(opened);
    PUT(r, "sealed", sealed.sealed);
    PUT(r, "commitment", sealed.commitment);
}

static void release_refused(struct run *r)
{
    struct share_fields f = {0};
    uint8_t commitment[HASH_LEN];
    struct secret *kek = take_secret(r, "kek"), *share = NULL;
    TAKE(r, "envelope_id", f.envelope_id);
    f.generation = take_number(r, "generation");
    f.stage = take_number(r, "stage");
    f.slot = take_number(r, "slot");
    struct bytes wrapped = take(r, "wrapped");
    TAKE(r, "commitment", commitment);
    if (r->bad)
        return;
    refused(r, share_open(kek, wrapped, &f, commitment, &share));
    secret_free(share);
}

static void run_release(struct run *r)
{
    if (must_fail(r)) {
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
    s.node = take_text(r, "node");
    TAKE(r, "sid", s.sid);
    TAKE(r, "prevhash", s.prevhash);
    s.lock_count = take_hashes(r, "locks", SLOT_MAX, s.lock);
    struct ec_key *kem = take_key(r, "kem_scalar", "kem_point", kem_point);
    ec_point_spki_hash(kem_point, s.kem_hash);
    PUT(r, "kem_hash", s.kem_hash);
    struct ec_key *e = take_key(r, "e_scalar", "e_point", e_point);
    if (r->bad)
        return;
    context_session(&s, ctx);
    PUT(r, "ctx", ctx);
    struct secret *node_kek = derive_both(r, f.profile, kem, e, ctx, "kek");
    check(r, share_kek(e, kem_point, &s, &kek), "kek");
    if (!r->bad && !secret_equal(hold_secret(r, kek), node_kek))
        fail(r, "share_kek differs", "kek");
    struct secret *frame = take_frame(r, salt, &share), *opened = NULL;
    if (r->bad)
        return;
    put_wrapped(r, "wrapped", kek, frame);
    context_commitment(f.envelope_id, f.generation, f.stage, f.slot, secret_borrow(share).p, salt, commitment);
    PUT(r, "commitment", commitment);
    check(r, share_open(kek, from_hex(r, json_object_get(r->out, "wrapped"), "wrapped"), &f, commitment, &opened),
          "open");
    secret_free(opened);
}

static void run_tag(struct run *r)
{
    uint8_t sid[HASH_LEN], link_hash[HASH_LEN], ctx[HASH_LEN], plain[HASH_LEN], lock[32], pa[EC_POINT_LEN],
        pb[EC_POINT_LEN];
    uint64_t profile = take_number(r, "profile");
    TAKE(r, "sid", sid);
    struct bytes a = take_text(r, "a"), b = take_text(r, "b");
    TAKE(r, "link_hash", link_hash);
    struct ec_key *peer_a = take_key(r, "peer_a_scalar", "peer_a_point", pa);
    struct ec_key *peer_b = take_key(r, "peer_b_scalar", "peer_b_point", pb);
    if (r->bad)
        return;
    context_tag(profile, sid, a, b, link_hash, ctx);
    PUT(r, "ctx", ctx);
    struct secret *tag = derive_both(r, profile, peer_a, peer_b, ctx, "tag"), *opened = NULL;
    context_lock(a, b, plain);
    PUT(r, "lock_plain", plain);
    check(r, derive_lock(tag, a, b, lock), "lock");
    PUT(r, "lock", lock);
    struct secret *kek = take_secret(r, "kek");
    if (r->bad)
        return;
    put_wrapped(r, "wrapped", kek, tag);
    check(r, share_open_tag(kek, from_hex(r, json_object_get(r->out, "wrapped"), "wrapped"), &opened), "open");
    secret_free(opened);
}

static void run_dek(struct run *r)
{
    uint8_t id[ENVELOPE_ID_LEN], salt[HASH_LEN], commitment[HASH_LEN];
    struct bytes raw[STAGE_MAX];
    struct secret *stages[STAGE_MAX] = {NULL}, *dek = NULL, *key = NULL;
    TAKE(r, "envelope_id", id);
    uint64_t generation = take_number(r, "generation");
    size_t count = take_list(r, "stage_secrets", STAGE_MAX, 32, raw);
    for (size_t i = 0; i < count; i++) {
        check(r, secret_copy(raw[i], &stages[i]), "stage_secrets");
        (void)hold_secret(r, stages[i]);
    }
    context_dek_salt(id, generation, salt);
    PUT(r, "salt", salt);
    check(r, share_dek(id, generation, stages, count, &dek), "dek");
    if (r->bad)
        return;
    put(r, "dek", secret_borrow(hold_secret(r, dek)));
    check(r, share_dek_commitment(dek, commitment), "commitment");
    PUT(r, "commitment", commitment);
    check(r, share_payload_key(dek, &key), "payload_key");
    if (!r->bad)
        put(r, "payload_key", secret_borrow(hold_secret(r, key)));
}

/* ---- payload */

static void payload_refused(struct run *r, const struct secret *key, struct bytes aad)
{
    struct secret *plain = NULL;
    struct bytes sealed = take(r, "sealed");
    if (r->bad)
        return;
    refused(r, payload_open(key, aad, sealed, &plain));
    secret_free(plain);
}

static void run_payload(struct run *r)
{
    struct secret *key = take_secret(r, "key"), *again = NULL;
    struct bytes aad = take(r, "aad");
    if (must_fail(r)) {
        payload_refused(r, key, aad);
        return;
    }
    struct bytes pattern = take(r, "pattern");
    size_t len = (size_t)take_number(r, "plain_len");
    if (r->bad || pattern.len == 0 || len > SECRET_MAX) {
        fail(r, "empty pattern or too long", "pattern");
        return;
    }
    uint8_t *plain = hold(r, len), hash[HASH_LEN];
    for (size_t i = 0; i < len; i++)
        plain[i] = pattern.p[i % pattern.len];
    struct buf sealed;
    buf_init(&sealed, payload_sealed_len(len));
    check(r, payload_seal(key, aad, BYTES(plain, len), &sealed), "seal");
    check(r, r->bad ? 0 : payload_open(key, aad, buf_view(&sealed), &again), "open");
    if (!r->bad && (!bytes_equal(secret_borrow(again), BYTES(plain, len)) || sealed.len != payload_sealed_len(len)))
        fail(r, "opens to something else", "sealed");
    secret_free(again);
    sha256(buf_view(&sealed), hash);
    set(r, "sealed_len", json_integer((json_int_t)sealed.len));
    PUT(r, "sealed_sha256", hash);
    if (sealed.len <= SEALED_SHOWN)
        put(r, "sealed", buf_view(&sealed));
    buf_done(&sealed);
}

/* ---- merkle */

#define LEAVES_MAX 64

struct tree {
    uint8_t node[8][LEAVES_MAX][HASH_LEN]; /* [level][index] of full nodes */
    uint8_t root[LEAVES_MAX + 1][HASH_LEN];
};

static void on_node(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_LEN])
{
    memcpy(((struct tree *)arg)->node[level][index], hash, HASH_LEN);
}

static int read_node(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_LEN])
{
    if (level >= 8 || index >= LEAVES_MAX)
        return ERR_INTERNAL;
    memcpy(ret, ((struct tree *)arg)->node[level][index], HASH_LEN);
    return 0;
}

static json_t *hashes(const uint8_t (*hash)[HASH_LEN], size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(all, hex(BYTES(hash[i], HASH_LEN)));
    return all;
}

static uint64_t number_in(struct run *r, const json_t *item, const char *name)
{
    const json_t *value = json_object_get(item, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        fail(r, "not a number", name);
    return (uint64_t)json_integer_value(value);
}

/* Makes and verifies one proof; `first` names its first field: index or old_size. */
static json_t *prove(struct run *r, struct tree *t, size_t leaves, const json_t *item, const char *first)
{
    bool inclusion = strcmp(first, "index") == 0;
    uint64_t at = number_in(r, item, first), size = number_in(r, item, "size");
    uint8_t proof[MERKLE_PROOF_MAX][HASH_LEN];
    const uint8_t(*view)[HASH_LEN] = (const uint8_t(*)[HASH_LEN])proof;
    unsigned count = 0;
    if (r->bad || size > leaves) {
        fail(r, "more than there are", "size");
        return json_null();
    }
    if (inclusion) {
        check(r, merkle_inclusion(at, size, read_node, t, proof, &count), "inclusion");
        check(r, r->bad ? 0 : merkle_verify_inclusion(t->node[0][at], at, size, view, count, t->root[size]),
              "inclusion");
    } else {
        check(r, merkle_consistency(at, size, read_node, t, proof, &count), "consistency");
        check(r, r->bad ? 0 : merkle_verify_consistency(at, t->root[at], size, t->root[size], view, count),
              "consistency");
    }
    json_t *made = json_object();
    json_object_set_new(made, first, json_integer((json_int_t)at));
    json_object_set_new(made, "size", json_integer((json_int_t)size));
    json_object_set_new(made, "proof", hashes(view, count));
    return made;
}

static void prove_all(struct run *r, struct tree *t, size_t leaves, const char *name, const char *first)
{
    const json_t *items = list(r, name, 100000);
    json_t *made = json_array();
    for (size_t i = 0; !r->bad && i < json_array_size(items); i++)
        json_array_append_new(made, prove(r, t, leaves, json_array_get(items, i), first));
    set(r, name, made);
}

static void merkle_refused(struct run *r)
{
    uint8_t proof[MERKLE_PROOF_MAX + 2][HASH_LEN], root[HASH_LEN], start[HASH_LEN];
    const uint8_t(*view)[HASH_LEN] = (const uint8_t(*)[HASH_LEN])proof;
    bool inclusion = json_object_get(r->in, "leaf") != NULL;
    TAKE(r, inclusion ? "leaf" : "old_root", start);
    uint64_t at = take_number(r, inclusion ? "index" : "old_size"), size = take_number(r, "size");
    unsigned count = (unsigned)take_hashes(r, "proof", MERKLE_PROOF_MAX + 2, proof);
    TAKE(r, "root", root);
    refused(r, inclusion ? merkle_verify_inclusion(start, at, size, view, count, root)
                         : merkle_verify_consistency(at, start, size, root, view, count));
}

static void run_merkle(struct run *r)
{
    if (must_fail(r)) {
        merkle_refused(r);
        return;
    }
    struct bytes entries[LEAVES_MAX];
    struct merkle_range range;
    struct tree *t = hold(r, sizeof(*t));
    size_t count = take_list(r, "entries", LEAVES_MAX, 0, entries);
    merkle_range_init(&range);
    merkle_range_root(&range, t->root[0]);
    for (size_t i = 0; i < count; i++) {
        uint8_t leaf[HASH_LEN];
        merkle_leaf(entries[i], leaf);
        merkle_range_append(&range, leaf, on_node, t);
        merkle_range_root(&range, t->root[i + 1]);
    }
    set(r, "leaves", hashes((const uint8_t(*)[HASH_LEN])t->node[0], count));
    set(r, "roots", hashes((const uint8_t(*)[HASH_LEN])t->root, count + 1));
    prove_all(r, t, count, "inclusion", "index");
    prove_all(r, t, count, "consistency", "old_size");
}

/* ---- note */

static json_t *sign_as(struct run *r, const json_t *signer, struct buf *note)
{
    struct ed25519_key *key = NULL;
    struct secret *seed = NULL;
    struct note_key note_key;
    struct buf vkey, next;
    uint8_t public[ED25519_PUBLIC_LEN], id[4];
    const char *name = json_string_value(json_object_get(signer, "name"));
    struct bytes raw = from_hex(r, json_object_get(signer, "seed"), "seed");
    struct err err = {0};
    json_t *made = json_object();
    buf_init(&vkey, 1024);
    buf_init(&next, NOTE_MAX);
    check(r, secret_copy(raw, &seed), "seed");
    check(r, r->bad ? 0 : ed25519_key_from_seed(seed, &key), "seed");
    if (!r->bad) {
        ed25519_key_public(key, public);
        check(r, note_key_make(name, public, &note_key), "name");
        check(r, note_sign(buf_view(note), name, key, &next, &err), err.text);
    }
    if (!r->bad) {
        note_key_id(&note_key, id);
        note_key_text(&note_key, &vkey);
        json_object_set_new(made, "name", json_string(name));
        json_object_set_new(made, "seed", hex(raw));
        json_object_set_new(made, "public", hex(BYTES_OF(public)));
        json_object_set_new(made, "key_id", hex(BYTES_OF(id)));
        json_object_set_new(made, "vkey", json_string(buf_cstr(&vkey)));
        buf_done(note);
        *note = next;
    } else {
        buf_done(&next);
    }
    buf_done(&vkey);
    ed25519_key_free(key);
    secret_free(seed);
    return made;
}

static void sign_note(struct run *r)
{
    struct buf note;
    buf_init(&note, NOTE_MAX);
    buf_put(&note, take_text(r, "text"));
    const json_t *signers = list(r, "signers", NOTE_SIGNATURES_MAX);
    json_t *made = json_array();
    for (size_t i = 0; !r->bad && i < json_array_size(signers); i++)
        json_array_append_new(made, sign_as(r, json_array_get(signers, i), &note));
    set(r, "signers", made);
    put(r, "note", buf_view(&note));
    buf_done(&note);
}

static void verify_note(struct run *r)
{
    struct note_key keys[16];
    bool signed_[16];
    struct bytes note = take(r, "note"), text = BYTES_NONE;
    const json_t *names = list(r, "keys", 16);
    size_t count = r->bad ? 0 : json_array_size(names);
    for (size_t i = 0; i < count; i++) {
        const char *vkey = json_string_value(json_array_get(names, i));
        check(r, note_key_parse(vkey != NULL ? vkey : "", &keys[i], NULL), "keys");
    }
    if (r->bad)
        return;
    set(r, "keys", json_deep_copy(names));
    int rc = note_verify(note, keys, count, signed_, &text, NULL);
    if (must_fail(r) || rc != 0) {
        refused(r, rc);
        return;
    }
    json_t *who = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(who, json_boolean(signed_[i]));
    set(r, "signed", who);
    set(r, "count", json_integer((json_int_t)note_count(keys, signed_, count)));
    set(r, "text", json_stringn((const char *)text.p, text.len));
}

static void run_note(struct run *r)
{
    if (json_object_get(r->in, "signers") != NULL)
        sign_note(r);
    else
        verify_note(r);
}

/* ---- link */

static void link_refused(struct run *r)
{
    struct message *m = NULL;
    struct bytes body = take(r, "body");
    if (r->bad)
        return;
    refused(r, link_parse(body, &m, NULL));
    message_free(m);
}

static void take_factors(struct run *r, struct msg_link_body *body)
{
    static struct msg_factor factors[64];
    const json_t *names = list(r, "factors", 64);
    body->factors.at = factors;
    body->factors.count = r->bad ? 0 : json_array_size(names);
    for (size_t i = 0; i < body->factors.count; i++)
        factors[i].name = bytes_str(json_string_value(json_array_get(names, i)));
    set(r, "factors", json_deep_copy(names));
}

static void run_link(struct run *r)
{
    if (must_fail(r)) {
        link_refused(r);
        return;
    }
    struct msg_link_body body = {.network = take_text(r, "network"), .node = take_text(r, "node")};
    uint8_t hash[HASH_LEN];
    struct err err = {0};
    body.sid = take(r, "sid");
    body.eid = take(r, "eid");
    body.chain_hash = take(r, "chain_hash");
    body.policy_hash = take(r, "policy_hash");
    body.envelope_hash = take(r, "envelope_hash");
    body.prevhash = take(r, "prevhash");
    body.generation = take_number(r, "generation");
    body.stage = take_number(r, "stage");
    body.slot = take_number(r, "slot");
    take_factors(r, &body);
    body.roster_version = take_number(r, "roster_version");
    body.status_version = take_number(r, "status_version");
    body.issued_ms = take_number(r, "issued_ms");
    body.not_after_ms = take_number(r, "not_after_ms");
    struct buf made, again;
    struct message *m = NULL;
    buf_init(&made, LINK_BODY_MAX);
    buf_init(&again, LINK_BODY_MAX);
    check(r, r->bad ? 0 : link_make(&body, &made, &err), err.text);
    check(r, r->bad ? 0 : link_parse(buf_view(&made), &m, &err), err.text);
    check(r, r->bad ? 0 : link_make(&m->link_body, &again, &err), err.text);
    if (!r->bad && !bytes_equal(buf_view(&made), buf_view(&again)))
        fail(r, "reads back as something else", "body");
    sha256(buf_view(&made), hash);
    put(r, "body", buf_view(&made));
    PUT(r, "hash", hash);
    message_free(m);
    buf_done(&made);
    buf_done(&again);
}

/* ---- the table */

#define GROUPS(X)                                                                                                      \
    X(th)                                                                                                              \
    X(shamir) X(keywrap) X(derive) X(context) X(seal) X(release) X(tag) X(dek) X(payload) X(merkle) X(note) X(link)

#define GROUP_NAME(name) #name,
const char *const vector_groups[] = {GROUPS(GROUP_NAME)};
const size_t vector_group_count = sizeof(vector_groups) / sizeof(vector_groups[0]);

#define GROUP_RUN(name) run_##name,
static void (*const runs[])(struct run *r) = {GROUPS(GROUP_RUN)};

static void done(struct run *r)
{
    for (size_t i = 0; i < r->held_count; i++)
        free(r->held[i]);
    for (size_t i = 0; i < r->secret_count; i++)
        secret_free(r->secrets[i]);
    for (size_t i = 0; i < r->key_count; i++)
        ec_key_free(r->keys[i]);
}

json_t *vector_run(const char *group, const json_t *in)
{
    for (size_t i = 0; i < vector_group_count; i++) {
        if (strcmp(vector_groups[i], group) != 0)
            continue;
        struct run r = {.in = in, .out = json_object()};
        (void)take_text(&r, "name");
        if (json_object_get(in, "comment") != NULL)
            (void)take_text(&r, "comment");
        if (!r.bad)
            runs[i](&r);
        done(&r);
        if (!r.bad)
            return r.out;
        json_decref(r.out);
        return NULL;
    }
    (void)fprintf(stderr, "vectors: no group %s\n", group);
    return NULL;
}
