/* vectors_run: one test vector at work: reading its inputs, writing its outputs, holding its memory.
 *
 * Shared by the files that compute the groups (vectors_crypto.c, vectors_walk.c). Every take_ function reads a field of
 * the case, checks it and copies it to the result; a wrong one sets run.bad and says so once on stderr. */
#ifndef ENFILADE_TESTS_TOOLS_VECTORS_RUN_H
#define ENFILADE_TESTS_TOOLS_VECTORS_RUN_H

#include "common/crypto/ec.h"
#include "common/crypto/hash.h"
#include <jansson.h>

#define HELD_MAX 1024

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

void vec_fail(struct run *r, const char *what, const char *name);
/* Fails the case when rc is an error. */
void vec_check(struct run *r, int rc, const char *what);
/* Zeroed memory, and secrets, that live as long as the case. Never NULL. */
void *vec_hold(struct run *r, size_t len);
struct secret *vec_hold_secret(struct run *r, struct secret *s);
void vec_set(struct run *r, const char *name, json_t *value);
json_t *vec_hex(struct bytes b);
void vec_put(struct run *r, const char *name, struct bytes b);

/* ---- inputs: read, checked, copied to the result */

/* vec_from_hex and vec_list only read: the caller writes what it made of it. */
struct bytes vec_from_hex(struct run *r, const json_t *value, const char *name);
struct bytes vec_take(struct run *r, const char *name);
void vec_take_into(struct run *r, const char *name, uint8_t *ret, size_t len);
struct bytes vec_take_text(struct run *r, const char *name);
uint64_t vec_take_number(struct run *r, const char *name);
struct secret *vec_take_secret(struct run *r, const char *name);
const json_t *vec_list(struct run *r, const char *name, size_t max);
/* A list of hex strings, each of item_len bytes (0: any). Returns how many. */
size_t vec_take_list(struct run *r, const char *name, size_t max, size_t item_len, struct bytes *ret);
size_t vec_take_hashes(struct run *r, const char *name, size_t max, uint8_t (*ret)[HASH_LEN]);
/* A private scalar, and its point under point_name. */
struct ec_key *vec_take_key(struct run *r, const char *name, const char *point_name, uint8_t ret_point[EC_POINT_LEN]);
/* Has the case "refused"? Then vec_refused writes the name of what came. */
bool vec_must_fail(const struct run *r);
void vec_refused(struct run *r, int rc);
/* AES-KW of plain under name; unwraps to plain again. */
void vec_put_wrapped(struct run *r, const char *name, const struct secret *kek, const struct secret *plain);

#define PUT(r, name, array) vec_put((r), (name), BYTES_OF(array))
#define TAKE(r, name, array) vec_take_into((r), (name), (array), sizeof(array))

/* The groups: from inputs to outputs. */
#define VECTOR_GROUPS(X)                                                                                               \
    X(th)                                                                                                              \
    X(shamir) X(keywrap) X(derive) X(context) X(seal) X(release) X(tag) X(dek) X(payload) X(merkle) X(note) X(link)
#define VECTOR_DECLARE(name) void vec_run_##name(struct run *r);
VECTOR_GROUPS(VECTOR_DECLARE)
#undef VECTOR_DECLARE

#endif
