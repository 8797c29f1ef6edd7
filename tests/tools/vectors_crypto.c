/* vectors_crypto: the groups of common/crypto. */
#include "common/crypto/keywrap.h"
#include "common/crypto/merkle.h"
#include "common/crypto/note.h"
#include "common/crypto/payload.h"
#include "common/crypto/shamir.h"
#include "tests/tools/vectors_run.h"
#include <string.h>

#define SEALED_SHOWN 4096 /* payloads up to this length stand in the file */

/* ---- th */

void vec_run_th(struct run *r)
{
    uint8_t hash[HASH_LEN], hash512[HASH512_LEN];
    struct bytes fields[HELD_MAX - 1];
    struct bytes label = vec_take_text(r, "label");
    size_t count = vec_take_list(r, "fields", HELD_MAX - 1, 0, fields);
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
    const json_t *value = vec_list(r, "x", SHAMIR_MAX + 1);
    size_t count = r->bad ? 0 : json_array_size(value);
    for (size_t i = 0; i < count; i++)
        ret_x[i] = (uint8_t)json_integer_value(json_array_get(value, i));
    vec_set(r, "x", json_deep_copy(value));
    return count;
}

/* The picks for which combining gives the secret; the others become null, so that they differ from the input. */
static void combine(struct run *r, const struct secret *secret, unsigned k, const uint8_t *x, struct secret *const *y,
                    size_t m)
{
    json_t *done = json_array();
    const json_t *picks = vec_list(r, "combine", 1000);
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
    vec_set(r, "combine", done);
}

static void shamir_refused(struct run *r, unsigned k)
{
    uint8_t x[SHAMIR_MAX + 1];
    struct bytes raw[SHAMIR_MAX + 1];
    struct secret *y[SHAMIR_MAX + 1] = {NULL}, *got = NULL;
    size_t x_count = take_x(r, x), count = vec_take_list(r, "y", SHAMIR_MAX + 1, 0, raw);
    for (size_t i = 0; i < count; i++) {
        vec_check(r, secret_copy(raw[i], &y[i]), "y");
        (void)vec_hold_secret(r, y[i]);
    }
    if (r->bad)
        return;
    if (x_count != count || k != count) { /* shamir_combine takes exactly k; its callers refuse any other number */
        vec_refused(r, ERR_SHARES);
        return;
    }
    vec_refused(r, shamir_combine(x, y, k, &got));
    secret_free(got);
}

void vec_run_shamir(struct run *r)
{
    unsigned k = (unsigned)vec_take_number(r, "k");
    if (vec_must_fail(r)) {
        shamir_refused(r, k);
        return;
    }
    uint8_t x[SHAMIR_MAX + 1];
    struct bytes coefficients[SHAMIR_MAX];
    struct secret *secret = vec_take_secret(r, "secret"), *y[SHAMIR_MAX + 1] = {NULL};
    size_t m = take_x(r, x);
    struct replay replay = {coefficients, vec_take_list(r, "coefficients", SHAMIR_MAX, SHAMIR_LEN, coefficients), 0};
    if (!r->bad)
        vec_check(r, shamir_split(secret, k, x, (unsigned)m, (struct rng){replay_fill, &replay}, y), "split");
    if (r->bad)
        return;
    json_t *shares = json_array();
    for (size_t i = 0; i < m; i++)
        json_array_append_new(shares, vec_hex(secret_borrow(vec_hold_secret(r, y[i]))));
    vec_set(r, "y", shares);
    combine(r, secret, k, x, y, m);
}

/* ---- keywrap */

void vec_put_wrapped(struct run *r, const char *name, const struct secret *kek, const struct secret *plain)
{
    uint8_t *out = vec_hold(r, secret_len(plain) + KEYWRAP_OVERHEAD);
    struct secret *again = NULL;
    vec_check(r, keywrap_wrap(kek, plain, out), name);
    struct bytes wrapped = BYTES(out, secret_len(plain) + KEYWRAP_OVERHEAD);
    if (!r->bad)
        vec_check(r, keywrap_unwrap(kek, wrapped, &again), name);
    if (!r->bad && !secret_equal(again, plain))
        vec_fail(r, "unwraps to something else", name);
    secret_free(again);
    vec_put(r, name, wrapped);
}

void vec_run_keywrap(struct run *r)
{
    struct secret *kek = vec_take_secret(r, "kek"), *plain = NULL;
    if (vec_must_fail(r)) {
        vec_refused(r, keywrap_unwrap(kek, vec_take(r, "wrapped"), &plain));
        secret_free(plain);
        return;
    }
    plain = vec_take_secret(r, "plain");
    if (!r->bad)
        vec_put_wrapped(r, "wrapped", kek, plain);
}

/* ---- payload */

static void payload_refused(struct run *r, const struct secret *key, struct bytes aad)
{
    struct secret *plain = NULL;
    struct bytes sealed = vec_take(r, "sealed");
    if (r->bad)
        return;
    vec_refused(r, payload_open(key, aad, sealed, &plain));
    secret_free(plain);
}

void vec_run_payload(struct run *r)
{
    struct secret *key = vec_take_secret(r, "key"), *again = NULL;
    struct bytes aad = vec_take(r, "aad");
    if (vec_must_fail(r)) {
        payload_refused(r, key, aad);
        return;
    }
    struct bytes pattern = vec_take(r, "pattern");
    size_t len = (size_t)vec_take_number(r, "plain_len");
    if (r->bad || pattern.len == 0 || len > SECRET_MAX) {
        vec_fail(r, "empty pattern or too long", "pattern");
        return;
    }
    uint8_t *plain = vec_hold(r, len), hash[HASH_LEN];
    for (size_t i = 0; i < len; i++)
        plain[i] = pattern.p[i % pattern.len];
    struct buf sealed;
    buf_init(&sealed, payload_sealed_len(len));
    vec_check(r, payload_seal(key, aad, BYTES(plain, len), &sealed), "seal");
    vec_check(r, r->bad ? 0 : payload_open(key, aad, buf_view(&sealed), &again), "open");
    if (!r->bad && (!bytes_equal(secret_borrow(again), BYTES(plain, len)) || sealed.len != payload_sealed_len(len)))
        vec_fail(r, "opens to something else", "sealed");
    secret_free(again);
    sha256(buf_view(&sealed), hash);
    vec_set(r, "sealed_len", json_integer((json_int_t)sealed.len));
    PUT(r, "sealed_sha256", hash);
    if (sealed.len <= SEALED_SHOWN)
        vec_put(r, "sealed", buf_view(&sealed));
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
        json_array_append_new(all, vec_hex(BYTES(hash[i], HASH_LEN)));
    return all;
}

static uint64_t number_in(struct run *r, const json_t *item, const char *name)
{
    const json_t *value = json_object_get(item, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        vec_fail(r, "not a number", name);
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
        vec_fail(r, "more than there are", "size");
        return json_null();
    }
    if (inclusion) {
        vec_check(r, merkle_inclusion(at, size, read_node, t, proof, &count), "inclusion");
        vec_check(r, r->bad ? 0 : merkle_verify_inclusion(t->node[0][at], at, size, view, count, t->root[size]),
                  "inclusion");
    } else {
        vec_check(r, merkle_consistency(at, size, read_node, t, proof, &count), "consistency");
        vec_check(r, r->bad ? 0 : merkle_verify_consistency(at, t->root[at], size, t->root[size], view, count),
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
    const json_t *items = vec_list(r, name, 100000);
    json_t *made = json_array();
    for (size_t i = 0; !r->bad && i < json_array_size(items); i++)
        json_array_append_new(made, prove(r, t, leaves, json_array_get(items, i), first));
    vec_set(r, name, made);
}

static void merkle_refused(struct run *r)
{
    uint8_t proof[MERKLE_PROOF_MAX + 2][HASH_LEN], root[HASH_LEN], start[HASH_LEN];
    const uint8_t(*view)[HASH_LEN] = (const uint8_t(*)[HASH_LEN])proof;
    bool inclusion = json_object_get(r->in, "leaf") != NULL;
    TAKE(r, inclusion ? "leaf" : "old_root", start);
    uint64_t at = vec_take_number(r, inclusion ? "index" : "old_size"), size = vec_take_number(r, "size");
    unsigned count = (unsigned)vec_take_hashes(r, "proof", MERKLE_PROOF_MAX + 2, proof);
    TAKE(r, "root", root);
    vec_refused(r, inclusion ? merkle_verify_inclusion(start, at, size, view, count, root)
                             : merkle_verify_consistency(at, start, size, root, view, count));
}

void vec_run_merkle(struct run *r)
{
    if (vec_must_fail(r)) {
        merkle_refused(r);
        return;
    }
    struct bytes entries[LEAVES_MAX];
    struct merkle_range range;
    struct tree *t = vec_hold(r, sizeof(*t));
    size_t count = vec_take_list(r, "entries", LEAVES_MAX, 0, entries);
    merkle_range_init(&range);
    merkle_range_root(&range, t->root[0]);
    for (size_t i = 0; i < count; i++) {
        uint8_t leaf[HASH_LEN];
        merkle_leaf(entries[i], leaf);
        merkle_range_append(&range, leaf, on_node, t);
        merkle_range_root(&range, t->root[i + 1]);
    }
    vec_set(r, "leaves", hashes((const uint8_t(*)[HASH_LEN])t->node[0], count));
    vec_set(r, "roots", hashes((const uint8_t(*)[HASH_LEN])t->root, count + 1));
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
    struct bytes raw = vec_from_hex(r, json_object_get(signer, "seed"), "seed");
    struct err err = {0};
    json_t *made = json_object();
    buf_init(&vkey, 1024);
    buf_init(&next, NOTE_MAX);
    vec_check(r, secret_copy(raw, &seed), "seed");
    vec_check(r, r->bad ? 0 : ed25519_key_from_seed(seed, &key), "seed");
    if (!r->bad) {
        ed25519_key_public(key, public);
        vec_check(r, note_key_make(name, public, &note_key), "name");
        vec_check(r, note_sign(buf_view(note), name, key, &next, &err), err.text);
    }
    if (!r->bad) {
        note_key_id(&note_key, id);
        note_key_text(&note_key, &vkey);
        json_object_set_new(made, "name", json_string(name));
        json_object_set_new(made, "seed", vec_hex(raw));
        json_object_set_new(made, "public", vec_hex(BYTES_OF(public)));
        json_object_set_new(made, "key_id", vec_hex(BYTES_OF(id)));
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
    buf_put(&note, vec_take_text(r, "text"));
    const json_t *signers = vec_list(r, "signers", NOTE_SIGNATURES_MAX);
    json_t *made = json_array();
    for (size_t i = 0; !r->bad && i < json_array_size(signers); i++)
        json_array_append_new(made, sign_as(r, json_array_get(signers, i), &note));
    vec_set(r, "signers", made);
    vec_put(r, "note", buf_view(&note));
    buf_done(&note);
}

static void verify_note(struct run *r)
{
    struct note_key keys[16];
    bool signed_[16];
    struct bytes note = vec_take(r, "note"), text = BYTES_NONE;
    const json_t *names = vec_list(r, "keys", 16);
    size_t count = r->bad ? 0 : json_array_size(names);
    for (size_t i = 0; i < count; i++) {
        const char *vkey = json_string_value(json_array_get(names, i));
        vec_check(r, note_key_parse(vkey != NULL ? vkey : "", &keys[i], NULL), "keys");
    }
    if (r->bad)
        return;
    vec_set(r, "keys", json_deep_copy(names));
    int rc = note_verify(note, keys, count, signed_, &text, NULL);
    if (vec_must_fail(r) || rc != 0) {
        vec_refused(r, rc);
        return;
    }
    json_t *who = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(who, json_boolean(signed_[i]));
    vec_set(r, "signed", who);
    vec_set(r, "count", json_integer((json_int_t)note_count(keys, signed_, count)));
    vec_set(r, "text", json_stringn((const char *)text.p, text.len));
}

void vec_run_note(struct run *r)
{
    if (json_object_get(r->in, "signers") != NULL)
        sign_note(r);
    else
        verify_note(r);
}
