/* make_vectors: writes (or compares) the test vectors of our own constructions; the same bytes each time.
 *
 *   make_vectors DIR           writes DIR/<group>.json
 *   make_vectors --check DIR   exit 1 when a file there is not what would be written */
#include "common/crypto/hash.h"
#include "common/crypto/merkle.h"
#include "common/crypto/note.h"
#include "tests/tools/vectors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (8u * 1024u * 1024u)

/* ---- deterministic inputs */

static uint64_t counter; /* restarts with every group, so that a change in one leaves the others */

static void fill(uint8_t *out, size_t len)
{
    while (len > 0) {
        uint8_t block[HASH_LEN];
        struct th *t = th_begin("make-vectors");
        th_add_u64(t, counter++);
        th_finish(t, block);
        size_t part = len < HASH_LEN ? len : HASH_LEN;
        memcpy(out, block, part);
        out += part;
        len -= part;
    }
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

/* A placeholder for `len` bytes. The bytes come when the case is whole, in the order of its fields: C does not say in
 * which order the arguments of a call are computed. */
static json_t *some(size_t len)
{
    return json_sprintf("?%zu", len);
}

static json_t *resolved(json_t *value)
{
    uint8_t raw[1024];
    void *it = json_object_iter(value);
    for (; it != NULL; it = json_object_iter_next(value, it))
        json_object_iter_set_new(value, it, resolved(json_object_iter_value(it)));
    for (size_t i = 0; i < json_array_size(value); i++)
        json_array_set_new(value, i, resolved(json_array_get(value, i)));
    const char *text = json_string_value(value);
    if (text == NULL || text[0] != '?')
        return json_incref(value);
    size_t len = strtoul(text + 1, NULL, 10);
    if (len > sizeof(raw))
        abort();
    fill(raw, len);
    return hex(BYTES(raw, len));
}

static json_t *some_list(size_t count, size_t len)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, some(len));
    return list;
}

static json_t *numbers(size_t count, const int *v)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(v[i]));
    return list;
}

/* ---- cases: a file under construction */

struct file {
    const char *group;
    json_t *cases;
    bool bad;
};

/* Takes `in` over. The name comes first; computes the outputs; returns the whole case, borrowed. */
static const json_t *add(struct file *f, const char *name, json_t *in)
{
    json_t *named = json_pack("{s:s}", "name", name);
    json_decref(resolved(in));
    json_object_update(named, in);
    json_t *whole = vector_run(f->group, named);
    f->bad = f->bad || whole == NULL;
    if (json_object_get(in, "refused") != NULL &&
        strcmp(json_string_value(json_object_get(whole, "refused")), "ok") == 0) {
        (void)fprintf(stderr, "make_vectors: %s: %s: was not refused\n", f->group, name);
        f->bad = true;
    }
    json_array_append_new(f->cases, whole);
    json_decref(named);
    json_decref(in);
    return whole;
}

static json_t *with(json_t *in, const char *field, json_t *value)
{
    json_object_set_new(in, field, value);
    return in;
}

static json_t *refuse(json_t *in)
{
    return with(in, "refused", json_string(""));
}

static const char *text_of(const json_t *c, const char *field)
{
    return json_string_value(json_object_get(c, field));
}

/* The hex field of a case with one bit flipped. */
static json_t *flipped(const json_t *c, const char *field, size_t at)
{
    uint8_t raw[4096];
    const char *text = text_of(c, field);
    size_t len = strlen(text) / 2;
    if (len > sizeof(raw) || at >= len || hex_decode(bytes_str(text), raw, len) != 0)
        abort();
    raw[at] ^= 1;
    return hex(BYTES(raw, len));
}

static void make_th(struct file *f)
{
    add(f, "no fields", json_pack("{s:s, s:[]}", "label", "prev", "fields"));
    add(f, "one empty field", json_pack("{s:s, s:[s]}", "label", "prev", "fields", ""));
    add(f, "two empty fields", json_pack("{s:s, s:[s, s]}", "label", "prev", "fields", "", ""));
    add(f, "ab, c", json_pack("{s:s, s:[s, s]}", "label", "split", "fields", "6162", "63"));
    add(f, "a, bc", json_pack("{s:s, s:[s, s]}", "label", "split", "fields", "61", "6263"));
    add(f, "label ends where the field begins", json_pack("{s:s, s:[s]}", "label", "spl", "fields", "6974"));
    add(f, "a number", json_pack("{s:s, s:[s]}", "label", "number", "fields", "0000000000000007"));
    add(f, "long field", json_pack("{s:s, s:[o, o]}", "label", "long", "fields", some(1000), some(1000)));
    add(f, "255 fields", json_pack("{s:s, s:o}", "label", "many", "fields", some_list(255, 3)));
}

static json_t *shares(unsigned k, size_t m, const int *x, json_t *combine)
{
    return json_pack("{s:i, s:o, s:o, s:o, s:o}", "k", (int)k, "secret", some(32), "x", numbers(m, x), "coefficients",
                     some_list(k - 1, 32), "combine", combine);
}

static void make_shamir(struct file *f)
{
    static const int x1[] = {1}, x3[] = {1, 2, 3}, far[] = {16, 9, 4, 1, 13},
                     all[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    add(f, "1 of 1", shares(1, 1, x1, json_pack("[[i]]", 0)));
    add(f, "1 of 3", shares(1, 3, x3, json_pack("[[i], [i], [i]]", 0, 1, 2)));
    add(f, "2 of 3", shares(2, 3, x3, json_pack("[[i, i], [i, i], [i, i], [i, i]]", 0, 1, 0, 2, 1, 2, 2, 0)));
    add(f, "3 of 3", shares(3, 3, x3, json_pack("[[i, i, i], [i, i, i]]", 0, 1, 2, 2, 1, 0)));
    add(f, "3 of 5, scattered x",
        shares(3, 5, far, json_pack("[[i, i, i], [i, i, i], [i, i, i]]", 0, 1, 2, 4, 0, 3, 1, 2, 3)));
    add(f, "16 of 16",
        shares(16, 16, all,
               json_pack("[[i,i,i,i,i,i,i,i,i,i,i,i,i,i,i,i]]", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
    add(f, "9 of 16", shares(9, 16, all, json_pack("[[i,i,i,i,i,i,i,i,i]]", 15, 13, 11, 9, 7, 5, 3, 1, 0)));
    static const int zero[] = {0, 1}, twice[] = {3, 3}, beyond[] = {1, 17};
    add(f, "x is 0", refuse(json_pack("{s:i, s:o, s:o}", "k", 2, "x", numbers(2, zero), "y", some_list(2, 32))));
    add(f, "x twice", refuse(json_pack("{s:i, s:o, s:o}", "k", 2, "x", numbers(2, twice), "y", some_list(2, 32))));
    add(f, "x is 17", refuse(json_pack("{s:i, s:o, s:o}", "k", 2, "x", numbers(2, beyond), "y", some_list(2, 32))));
    add(f, "no shares", refuse(json_pack("{s:i, s:[], s:[]}", "k", 0, "x", "y")));
    add(f, "a short share",
        refuse(json_pack("{s:i, s:o, s:[o, o]}", "k", 2, "x", numbers(2, x3), "y", some(32), some(31))));
}

static void make_keywrap(struct file *f)
{
    add(f, "RFC 3394 4.6",
        json_pack("{s:s, s:s}", "kek", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "plain",
                  "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"));
    add(f, "16 bytes", json_pack("{s:o, s:o}", "kek", some(32), "plain", some(16)));
    add(f, "tag", json_pack("{s:o, s:o}", "kek", some(32), "plain", some(32)));
    const json_t *c = add(f, "share and salt", json_pack("{s:o, s:o}", "kek", some(32), "plain", some(64)));
    const char *kek = text_of(c, "kek");
    add(f, "first byte", refuse(json_pack("{s:s, s:o}", "kek", kek, "wrapped", flipped(c, "wrapped", 0))));
    add(f, "last byte", refuse(json_pack("{s:s, s:o}", "kek", kek, "wrapped", flipped(c, "wrapped", 71))));
    add(f, "another key",
        refuse(json_pack("{s:o, s:s}", "kek", flipped(c, "kek", 31), "wrapped", text_of(c, "wrapped"))));
    add(f, "not a multiple of 8", refuse(json_pack("{s:s, s:o}", "kek", kek, "wrapped", some(71))));
    add(f, "too short", refuse(json_pack("{s:s, s:o}", "kek", kek, "wrapped", some(16))));
    add(f, "empty", refuse(json_pack("{s:s, s:s}", "kek", kek, "wrapped", "")));
}

static void make_derive(struct file *f)
{
    const json_t *c = NULL;
    for (int profile = 1; profile <= 3; profile++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "profile %d", profile);
        c = add(f, name,
                json_pack("{s:i, s:o, s:o, s:o}", "profile", profile, "scalar_a", some(32), "scalar_b", some(32), "ctx",
                          some(32)));
    }
    const char *one = "0000000000000000000000000000000000000000000000000000000000000001";
    add(f, "scalar 1",
        json_pack("{s:i, s:s, s:o, s:o}", "profile", 1, "scalar_a", one, "scalar_b", some(32), "ctx", some(32)));
    char compressed[67] = "02", hybrid[131] = "06", infinity[3] = "00";
    const char *point = text_of(c, "point_b");
    memcpy(compressed + 2, point + 2, 64);
    memcpy(hybrid + 2, point + 2, 128);
    const struct {
        const char *name;
        json_t *point;
    } bad[] = {
        {"off the curve", flipped(c, "point_b", 64)},
        {"compressed", json_string(compressed)},
        {"hybrid", json_string(hybrid)},
        {"infinity", json_string(infinity)},
        {"empty", json_string("")},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        add(f, bad[i].name,
            refuse(json_pack("{s:i, s:s, s:o, s:o}", "profile", 1, "scalar_a", text_of(c, "scalar_a"), "point_b",
                             bad[i].point, "ctx", some(32))));
    add(f, "profile 0",
        refuse(json_pack("{s:i, s:s, s:s, s:o}", "profile", 0, "scalar_a", text_of(c, "scalar_a"), "point_b", point,
                         "ctx", some(32))));
    add(f, "profile 4",
        refuse(json_pack("{s:i, s:s, s:s, s:o}", "profile", 4, "scalar_a", text_of(c, "scalar_a"), "point_b", point,
                         "ctx", some(32))));
}

static json_t *share_fields(int profile, int generation, int stage, int slot)
{
    return json_pack("{s:i, s:s, s:o, s:s, s:o, s:i, s:i, s:i}", "profile", profile, "network", "example", "owner",
                     some(32), "policy_name", "vault", "envelope_id", some(16), "generation", generation, "stage",
                     stage, "slot", slot);
}

static json_t *session(int stage, int slot, size_t locks)
{
    return json_pack("{s:s, s:i, s:s, s:o, s:i, s:i, s:o, s:o, s:o}", "kind", "session", "profile", 1, "node", "n2",
                     "kem_hash", some(32), "stage", stage, "slot", slot, "sid", some(32), "prevhash", some(32), "locks",
                     some_list(locks, 32));
}

static void make_context(struct file *f)
{
    add(f, "sid",
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "kind", "sid", "network", "example", "eid", some(32),
                  "client_key_hash", some(32), "client_nonce", some(32), "chain_hash", some(32)));
    add(f, "walk id", json_pack("{s:s, s:o}", "kind", "walk_id", "sid", some(32)));
    add(f, "bind",
        json_pack("{s:s, s:o, s:s, s:o, s:i, s:i, s:o, s:o, s:o, s:o, s:o}", "kind", "bind", "sid", some(32), "node",
                  "n1", "kem_hash", some(32), "stage", 1, "slot", 1, "nonce", some(32), "exporter", some(32),
                  "client_leaf_hash", some(32), "server_key_hash", some(32), "prevhash", some(32)));
    add(f, "prevhash of stage 1", json_pack("{s:s, s:[]}", "kind", "prevhash", "link_hashes"));
    add(f, "prevhash of one link", json_pack("{s:s, s:o}", "kind", "prevhash", "link_hashes", some_list(1, 32)));
    add(f, "prevhash of five links", json_pack("{s:s, s:o}", "kind", "prevhash", "link_hashes", some_list(5, 32)));
    add(f, "prevhash of 240 links", json_pack("{s:s, s:o}", "kind", "prevhash", "link_hashes", some_list(240, 32)));
    add(f, "share", with(share_fields(1, 1, 1, 1), "kind", json_string("share")));
    add(f, "share, large numbers",
        with(with(share_fields(3, 1, 15, 16), "kind", json_string("share")), "generation",
             json_integer(1099511627777)));
    add(f, "commitment",
        json_pack("{s:s, s:o, s:i, s:i, s:i, s:o, s:o}", "kind", "commitment", "envelope_id", some(16), "generation", 2,
                  "stage", 1, "slot", 3, "share", some(32), "salt", some(32)));
    add(f, "tag",
        json_pack("{s:s, s:i, s:o, s:s, s:s, s:o}", "kind", "tag", "profile", 1, "sid", some(32), "a", "n1", "b", "n2",
                  "link_hash", some(32)));
    add(f, "lock", json_pack("{s:s, s:s, s:s}", "kind", "lock", "a", "n1", "node", "n2"));
    add(f, "session of stage 1", session(1, 1, 0));
    add(f, "session with one lock", session(2, 1, 1));
    add(f, "session with sixteen locks", session(15, 16, 16));
    add(f, "dek salt", json_pack("{s:s, s:o, s:i}", "kind", "dek_salt", "envelope_id", some(16), "generation", 1));
    add(f, "payload",
        json_pack("{s:s, s:o, s:o, s:i}", "kind", "payload", "owner", some(32), "envelope_id", some(16), "generation",
                  1));
}

static void make_seal(struct file *f)
{
    for (int profile = 1; profile <= 3; profile++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "profile %d", profile);
        json_t *in = share_fields(profile, profile, profile, 4 - profile);
        json_object_set_new(in, "seal_scalar", some(32));
        json_object_set_new(in, "r_scalar", some(32));
        json_object_set_new(in, "share", some(32));
        json_object_set_new(in, "salt", some(32));
        add(f, name, in);
    }
}

static json_t *opening(const json_t *c)
{
    return json_pack("{s:s, s:s, s:O, s:O, s:O, s:s, s:s}", "kek", text_of(c, "kek"), "envelope_id",
                     text_of(c, "envelope_id"), "generation", json_object_get(c, "generation"), "stage",
                     json_object_get(c, "stage"), "slot", json_object_get(c, "slot"), "wrapped", text_of(c, "wrapped"),
                     "commitment", text_of(c, "commitment"));
}

static void make_release(struct file *f)
{
    const json_t *c = NULL;
    for (int profile = 1; profile <= 3; profile++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "profile %d, stage %d", profile, profile);
        json_t *in = share_fields(profile, 1, profile, profile);
        json_object_set_new(in, "node", json_string("n2"));
        json_object_set_new(in, "sid", some(32));
        json_object_set_new(in, "prevhash", some(32));
        json_object_set_new(in, "locks", some_list((size_t)(profile - 1), 32));
        json_object_set_new(in, "kem_scalar", some(32));
        json_object_set_new(in, "e_scalar", some(32));
        json_object_set_new(in, "share", some(32));
        json_object_set_new(in, "salt", some(32));
        c = add(f, name, in);
    }
    add(f, "another key", refuse(with(opening(c), "kek", flipped(c, "kek", 0))));
    add(f, "altered", refuse(with(opening(c), "wrapped", flipped(c, "wrapped", 40))));
    add(f, "another commitment", refuse(with(opening(c), "commitment", flipped(c, "commitment", 0))));
    add(f, "another slot", refuse(with(opening(c), "slot", json_integer(1))));
    add(f, "another stage", refuse(with(opening(c), "stage", json_integer(1))));
    add(f, "another generation", refuse(with(opening(c), "generation", json_integer(2))));
    add(f, "another envelope", refuse(with(opening(c), "envelope_id", flipped(c, "envelope_id", 15))));
}

static void make_tag(struct file *f)
{
    for (int profile = 1; profile <= 3; profile++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "profile %d", profile);
        add(f, name,
            json_pack("{s:i, s:o, s:s, s:s, s:o, s:o, s:o, s:o}", "profile", profile, "sid", some(32), "a", "n1", "b",
                      "n2", "link_hash", some(32), "peer_a_scalar", some(32), "peer_b_scalar", some(32), "kek",
                      some(32)));
    }
}

static void make_dek(struct file *f)
{
    static const struct {
        const char *name;
        size_t stages;
    } kinds[] = {{"one stage", 1}, {"three stages", 3}, {"fifteen stages", 15}};
    for (size_t i = 0; i < 3; i++)
        add(f, kinds[i].name,
            json_pack("{s:o, s:i, s:o}", "envelope_id", some(16), "generation", (int)i + 1, "stage_secrets",
                      some_list(kinds[i].stages, 32)));
}

static json_t *sealed_payload(const json_t *c, json_t *sealed)
{
    return refuse(json_pack("{s:s, s:s, s:o}", "key", text_of(c, "key"), "aad", text_of(c, "aad"), "sealed", sealed));
}

static void make_payload(struct file *f)
{
    static const int lengths[] = {0, 1, 100, 65535, 65536, 65537, 131072, 150001};
    const json_t *c = NULL;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%d bytes", lengths[i]);
        const json_t *made = add(f, name,
                                 json_pack("{s:o, s:o, s:o, s:i}", "key", some(32), "aad", some(32), "pattern",
                                           some(61), "plain_len", lengths[i]));
        if (lengths[i] == 100)
            c = made;
    }
    char cut[256] = {0};
    const char *sealed = text_of(c, "sealed");
    memcpy(cut, sealed, strlen(sealed) - 2);
    add(f, "altered text", sealed_payload(c, flipped(c, "sealed", 0)));
    add(f, "altered tag", sealed_payload(c, flipped(c, "sealed", 115)));
    add(f, "cut by one byte", sealed_payload(c, json_string(cut)));
    add(f, "one byte more", sealed_payload(c, json_pack("s+", sealed, "00")));
    add(f, "twice", sealed_payload(c, json_pack("s+", sealed, sealed)));
    add(f, "nothing", sealed_payload(c, json_string("")));
    add(f, "fifteen bytes", sealed_payload(c, some(15)));
    add(f, "another key",
        refuse(json_pack("{s:o, s:s, s:s}", "key", flipped(c, "key", 0), "aad", text_of(c, "aad"), "sealed", sealed)));
    add(f, "another aad",
        refuse(json_pack("{s:s, s:o, s:s}", "key", text_of(c, "key"), "aad", flipped(c, "aad", 0), "sealed", sealed)));
}

/* Every proof there is in trees of up to `count` leaves. */
static json_t *tree(json_t *entries)
{
    int count = (int)json_array_size(entries);
    json_t *inclusion = json_array(), *consistency = json_array();
    for (int size = 1; size <= count; size++)
        for (int at = 0; at <= size; at++) {
            if (at < size)
                json_array_append_new(inclusion, json_pack("{s:i, s:i}", "index", at, "size", size));
            json_array_append_new(consistency, json_pack("{s:i, s:i}", "old_size", at, "size", size));
        }
    return json_pack("{s:o, s:o, s:o}", "entries", entries, "inclusion", inclusion, "consistency", consistency);
}

static const json_t *find_proof(const json_t *c, const char *list, const char *first, int at, int size)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(c, list), i, item)
    {
        if (json_integer_value(json_object_get(item, first)) == at &&
            json_integer_value(json_object_get(item, "size")) == size)
            return json_object_get(item, "proof");
    }
    abort();
}

static json_t *inclusion_of(const json_t *c, int at, int size)
{
    return json_pack("{s:O, s:i, s:i, s:o, s:O}", "leaf", json_array_get(json_object_get(c, "leaves"), (size_t)at),
                     "index", at, "size", size, "proof", json_deep_copy(find_proof(c, "inclusion", "index", at, size)),
                     "root", json_array_get(json_object_get(c, "roots"), (size_t)size));
}

static json_t *consistency_of(const json_t *c, int at, int size)
{
    return json_pack("{s:i, s:O, s:i, s:o, s:O}", "old_size", at, "old_root",
                     json_array_get(json_object_get(c, "roots"), (size_t)at), "size", size, "proof",
                     json_deep_copy(find_proof(c, "consistency", "old_size", at, size)), "root",
                     json_array_get(json_object_get(c, "roots"), (size_t)size));
}

static json_t *longer_proof(json_t *in)
{
    json_array_append_new(json_object_get(in, "proof"), some(32));
    return in;
}

static json_t *shorter_proof(json_t *in)
{
    json_array_remove(json_object_get(in, "proof"), json_array_size(json_object_get(in, "proof")) - 1);
    return in;
}

static void make_merkle(struct file *f)
{
    /* the leaves of the examples of certificate transparency's reference implementations */
    const json_t *c = add(f, "eight entries",
                          tree(json_pack("[s,s,s,s,s,s,s,s]", "", "00", "10", "2021", "3031", "40414243",
                                         "5051525354555657", "606162636465666768696a6b6c6d6e6f")));
    json_t *many = json_array();
    for (size_t i = 0; i < 21; i++)
        json_array_append_new(many, some(1 + i % 7));
    add(f, "twenty-one entries", tree(many));
    add(f, "inclusion: longer", refuse(longer_proof(inclusion_of(c, 5, 8))));
    add(f, "inclusion: shorter", refuse(shorter_proof(inclusion_of(c, 5, 8))));
    add(f, "inclusion: another index", refuse(with(inclusion_of(c, 5, 8), "index", json_integer(4))));
    add(f, "inclusion: index beyond", refuse(with(inclusion_of(c, 5, 8), "index", json_integer(13))));
    add(f, "inclusion: another size", refuse(with(inclusion_of(c, 6, 7), "size", json_integer(8))));
    add(f, "inclusion: empty tree",
        refuse(with(with(inclusion_of(c, 0, 1), "size", json_integer(0)), "root",
                    json_incref(json_array_get(json_object_get(c, "roots"), 0)))));
    add(f, "consistency: longer", refuse(longer_proof(consistency_of(c, 3, 7))));
    add(f, "consistency: shorter", refuse(shorter_proof(consistency_of(c, 3, 7))));
    add(f, "consistency: backwards",
        refuse(with(with(consistency_of(c, 3, 7), "old_size", json_integer(7)), "size", json_integer(3))));
    add(f, "consistency: equal sizes, other roots", refuse(with(consistency_of(c, 7, 7), "old_root", some(32))));
    add(f, "consistency: from nothing, wrong old root", refuse(with(consistency_of(c, 0, 7), "old_root", some(32))));
    add(f, "consistency: from nothing, with a proof", refuse(longer_proof(consistency_of(c, 0, 7))));
    add(f, "consistency: another old size", refuse(with(consistency_of(c, 3, 7), "old_size", json_integer(2))));
}

/* ---- notes */

static json_t *signers(size_t count, const char *const *names)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:o}", "name", names[i], "seed", some(32)));
    return list;
}

static struct bytes note_of(const json_t *c, uint8_t *raw, size_t max)
{
    const char *text = text_of(c, "note");
    size_t len = strlen(text) / 2;
    if (len > max || hex_decode(bytes_str(text), raw, len) != 0)
        abort();
    return BYTES(raw, len);
}

/* Takes the vkeys of the signers of c as the keys to verify with. */
static json_t *verify(const json_t *c, struct bytes note)
{
    json_t *keys = json_array();
    size_t i;
    json_t *signer;
    json_array_foreach(json_object_get(c, "signers"), i, signer)
    {
        json_array_append(keys, json_object_get(signer, "vkey"));
    }
    return json_pack("{s:o, s:o}", "note", hex(note), "keys", keys);
}

/* head ‖ note ‖ tail */
static json_t *around(const json_t *c, const char *head, struct bytes note, const char *tail)
{
    struct buf b;
    buf_init(&b, FILE_MAX);
    buf_str(&b, head);
    buf_put(&b, note);
    buf_str(&b, tail);
    json_t *in = verify(c, buf_view(&b));
    buf_done(&b);
    return in;
}

static json_t *many_lines(const json_t *c, struct bytes note, unsigned more)
{
    struct buf b;
    buf_init(&b, FILE_MAX);
    buf_put(&b, note);
    for (unsigned i = 0; i < more; i++)
        buf_str(&b, "\xe2\x80\x94 x AAAAAAA=\n");
    json_t *in = verify(c, buf_view(&b));
    buf_done(&b);
    return in;
}

static void make_accepted_notes(struct file *f, const json_t *c, struct bytes note)
{
    const char *last = "\xe2\x80\x94 ";
    size_t line = note.len - 1;
    while (memcmp(note.p + line, last, 4) != 0)
        line--;
    add(f, "verify", verify(c, note));
    add(f, "verify: nobody known", json_pack("{s:o, s:[]}", "note", hex(note), "keys"));
    add(f, "verify: an unknown signer", around(c, "", note, "\xe2\x80\x94 stranger AAAAAAA=\n"));
    add(f, "verify: an unknown signer with letters of another alphabet",
        around(c, "", note, "\xe2\x80\x94 \xce\xbe\xe4\xb8\xad AAAAAAA=\n"));
    add(f, "verify: 100 lines", many_lines(c, note, 98));
    char again[512] = {0};
    memcpy(again, note.p + line, note.len - line);
    add(f, "verify: one line twice", around(c, "", note, again));
    json_t *in = verify(c, note);
    json_array_append(json_object_get(in, "keys"), json_array_get(json_object_get(in, "keys"), 0));
    add(f, "verify: a key listed twice counts once", in);
}

static void make_refused_notes(struct file *f, const json_t *c, struct bytes note)
{
    static const struct {
        const char *name, *head, *tail;
    } rows[] = {
        {"refused: text altered", "x", ""},
        {"refused: a tab in the text", "a\tb\n", ""},
        {"refused: a carriage return", "a\r\n", ""},
        {"refused: U+0085 in the text", "need: 3 # \xc2\x85members: x\n", ""},
        {"refused: U+2028 in the text", "\xe2\x80\xa8\n", ""},
        {"refused: a byte order mark", "\xef\xbb\xbf", ""},
        {"refused: delete", "\x7f\n", ""},
        {"refused: an empty line at the end", "", "\n"},
        {"refused: text at the end", "", "more\n"},
        {"refused: last newline missing", "", "\xe2\x80\x94 x AAAAAAA="},
        {"refused: a hyphen for the dash", "", "- x AAAAAAA=\n"},
        {"refused: no name", "", "\xe2\x80\x94  AAAAAAA=\n"},
        {"refused: no signature", "", "\xe2\x80\x94 x\n"},
        {"refused: empty signature", "", "\xe2\x80\x94 x \n"},
        {"refused: plus in a name", "", "\xe2\x80\x94 x+y AAAAAAA=\n"},
        {"refused: no-break space in a name", "", "\xe2\x80\x94 x\xc2\xa0y AAAAAAA=\n"},
        {"refused: invalid UTF-8 in a name", "", "\xe2\x80\x94 \xc0\xaf AAAAAAA=\n"},
        {"refused: surrogate in a name", "", "\xe2\x80\x94 \xed\xa0\x80 AAAAAAA=\n"},
        {"refused: base64 without padding", "", "\xe2\x80\x94 x AAAAAAA\n"},
        {"refused: base64 with stray bits", "", "\xe2\x80\x94 x AAAAAAB=\n"},
        {"refused: base64 with a space", "", "\xe2\x80\x94 x AAAA AAA=\n"},
        {"refused: only a key id", "", "\xe2\x80\x94 x AAAAAA==\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        add(f, rows[i].name, refuse(around(c, rows[i].head, note, rows[i].tail)));
    add(f, "refused: 101 lines", refuse(many_lines(c, note, 99)));
    const char *text = text_of(c, "text");
    add(f, "refused: text without signatures", refuse(verify(c, bytes_str(text))));
    add(f, "refused: text with an empty line and no signatures", refuse(around(c, text, BYTES_NONE, "\n")));
    add(f, "refused: empty text", refuse(around(c, "", BYTES(note.p + strlen(text), note.len - strlen(text)), "")));
    add(f, "refused: nothing", refuse(verify(c, BYTES_NONE)));
    /* the last character before "=\n" still carries signature bits */
    add(f, "refused: a known key's signature altered",
        refuse(with(verify(c, note), "note", flipped(c, "note", note.len - 10))));
}

static void make_note(struct file *f)
{
    static const char *const one[] = {"example/root"}, *const two[] = {"example/n1/log", "example/n2/mirror"};
    uint8_t raw[8192];
    add(f, "one signer",
        json_pack("{s:s, s:o}", "text", "enfilade: root/v1\nnetwork: example\n", "signers", signers(1, one)));
    add(f, "text of one newline", json_pack("{s:s, s:o}", "text", "\n", "signers", signers(1, one)));
    add(f, "text with empty lines", json_pack("{s:s, s:o}", "text", "a\n\n\nb\n\n", "signers", signers(1, one)));
    const json_t *c =
        add(f, "two signers", json_pack("{s:s, s:o}", "text", "example/n1/log\n3\nAAAA\n", "signers", signers(2, two)));
    struct bytes note = note_of(c, raw, sizeof(raw));
    make_accepted_notes(f, c, note);
    make_refused_notes(f, c, note);

    static const char *const names[] = {"alice", "bob"};
    json_t *same = signers(2, names);
    for (size_t i = 0; i < 2; i++)
        json_object_set_new(json_array_get(same, i), "seed",
                            json_string("0101010101010101010101010101010101010101010101010101010101010101"));
    c = add(f, "one key under two names", json_pack("{s:s, s:o}", "text", "x: y\n", "signers", same));
    note = note_of(c, raw, sizeof(raw));
    add(f, "verify: one key under two names counts once", verify(c, note));
}

/* ---- link bodies */

static json_t *link_body(int stage, int slot, json_t *factors)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:i, s:o, s:i, s:i, s:I, s:I}", "network",
                     "example", "node", "n1", "sid", some(32), "eid", some(32), "chain_hash", some(32), "policy_hash",
                     some(32), "envelope_hash", some(32), "prevhash", some(32), "generation", 1, "stage", stage, "slot",
                     slot, "factors", factors, "roster_version", 7, "status_version", 300, "issued_ms",
                     (json_int_t)1795550400123, "not_after_ms", (json_int_t)1795551000000);
}

static void make_link(struct file *f)
{
    const json_t *c = add(f, "two factors", link_body(1, 2, json_pack("[s, s]", "evidence:tpm2", "device")));
    add(f, "no factors", link_body(15, 16, json_array()));
    add(f, "defaults left out",
        with(with(link_body(2, 1, json_pack("[s]", "quota")), "roster_version", json_integer(0)), "not_after_ms",
             json_integer(0)));
    const char *body = text_of(c, "body");
    size_t len = strlen(body);
    char cut[4096] = {0};
    memcpy(cut, body, len - 2);
    add(f, "refused: cut", refuse(json_pack("{s:s}", "body", cut)));
    add(f, "refused: a field after the last", refuse(json_pack("{s:o}", "body", json_pack("s+", body, "880101"))));
    add(f, "refused: last field twice", refuse(json_pack("{s:o}", "body", json_pack("s+", body, body + len - 14))));
    add(f, "refused: network twice", refuse(json_pack("{s:o}", "body", json_pack("s+", "0a076578616d706c65", body))));
    add(f, "refused: network left out", refuse(json_pack("{s:s}", "body", body + 18)));
    add(f, "refused: empty", refuse(json_pack("{s:s}", "body", "")));
}

/* ---- files */

#define GROUP(name)                                                                                                    \
    {                                                                                                                  \
#name, make_##name                                                                                             \
    }
static const struct {
    const char *group;
    void (*make)(struct file *f);
} makers[] = {
    GROUP(th),  GROUP(shamir), GROUP(keywrap), GROUP(derive), GROUP(context), GROUP(seal), GROUP(release),
    GROUP(tag), GROUP(dek),    GROUP(payload), GROUP(merkle), GROUP(note),    GROUP(link),
};

static int is_same(const char *path, const char *text)
{
    FILE *in = fopen(path, "rb");
    size_t len = strlen(text);
    char *there = malloc(len + 1);
    size_t n = in != NULL && there != NULL ? fread(there, 1, len + 1, in) : 0;
    int same = in != NULL && n == len && memcmp(there, text, len) == 0;
    if (in != NULL)
        (void)fclose(in);
    free(there);
    if (!same)
        (void)fprintf(stderr, "make_vectors: %s is not what would be written\n", path);
    return same;
}

static int write_text(const char *path, const char *text)
{
    FILE *out = fopen(path, "wb");
    int good = out != NULL && fputs(text, out) >= 0;
    if (out != NULL)
        good = fclose(out) == 0 && good;
    if (!good)
        perror(path);
    return good;
}

static int make_file(size_t i, const char *dir, bool only_check)
{
    struct file f = {.group = makers[i].group, .cases = json_array()};
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/%s.json", dir, f.group);
    counter = (uint64_t)i << 32;
    makers[i].make(&f);
    json_t *root = json_pack("{s:s, s:s, s:s, s:o}", "format", "enfilade-vectors-1", "group", f.group, "maker", "c",
                             "cases", f.cases);
    char *text = json_dumps(root, JSON_INDENT(1));
    char *line = text != NULL ? realloc(text, strlen(text) + 2) : NULL;
    int good = !f.bad && line != NULL;
    if (good) {
        memcpy(line + strlen(line), "\n", 2);
        good = only_check ? is_same(path, line) : write_text(path, line);
    }
    free(line);
    json_decref(root);
    return good;
}

int main(int argc, char **argv)
{
    bool only_check = argc == 3 && strcmp(argv[1], "--check") == 0;
    int good = 1;
    if (argc != 2 && !only_check) {
        (void)fprintf(stderr, "usage: make_vectors [--check] DIR\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++)
        good = make_file(i, argv[argc - 1], only_check) && good;
    return good ? 0 : 1;
}
