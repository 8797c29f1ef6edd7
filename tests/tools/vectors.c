/* vectors: the table of groups, and what all of them need of a case. */
#include "tests/tools/vectors.h"
#include "tests/tools/vectors_run.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vec_fail(struct run *r, const char *what, const char *name)
{
    if (!r->bad)
        (void)fprintf(stderr, "vectors: case %s: %s: %s\n", json_string_value(json_object_get(r->in, "name")), name,
                      what);
    r->bad = true;
}

void vec_check(struct run *r, int rc, const char *what)
{
    if (rc != 0)
        vec_fail(r, err_name(rc), what);
}

void *vec_hold(struct run *r, size_t len)
{
    void *p = calloc(1, len + 1);
    if (p == NULL || r->held_count == HELD_MAX)
        abort();
    r->held[r->held_count++] = p;
    return p;
}

struct secret *vec_hold_secret(struct run *r, struct secret *s)
{
    if (r->secret_count == HELD_MAX)
        abort();
    r->secrets[r->secret_count++] = s;
    return s;
}

void vec_set(struct run *r, const char *name, json_t *value)
{
    if (json_object_set_new(r->out, name, value) != 0)
        abort();
}

json_t *vec_hex(struct bytes b)
{
    char *text = malloc(2 * b.len + 1);
    if (text == NULL)
        abort();
    hex_encode(b, text);
    json_t *value = json_string(text);
    free(text);
    return value;
}

void vec_put(struct run *r, const char *name, struct bytes b)
{
    vec_set(r, name, vec_hex(b));
}

/* ---- inputs: read, checked, copied to the result */

struct bytes vec_from_hex(struct run *r, const json_t *value, const char *name)
{
    const char *text = json_string_value(value);
    size_t len = text != NULL ? strlen(text) / 2 : 0;
    uint8_t *p = vec_hold(r, len);
    if (text == NULL || hex_decode(bytes_str(text), p, len) != 0)
        vec_fail(r, "not hex", name);
    return BYTES(p, len);
}

struct bytes vec_take(struct run *r, const char *name)
{
    struct bytes b = vec_from_hex(r, json_object_get(r->in, name), name);
    vec_put(r, name, b);
    return b;
}

void vec_take_into(struct run *r, const char *name, uint8_t *ret, size_t len)
{
    struct bytes b = vec_take(r, name);
    if (b.len != len)
        vec_fail(r, "wrong length", name);
    else
        memcpy(ret, b.p, len);
}

struct bytes vec_take_text(struct run *r, const char *name)
{
    const char *text = json_string_value(json_object_get(r->in, name));
    if (text == NULL)
        vec_fail(r, "not a text", name);
    else
        vec_set(r, name, json_string(text));
    return bytes_str(text);
}

uint64_t vec_take_number(struct run *r, const char *name)
{
    const json_t *value = json_object_get(r->in, name);
    json_int_t v = json_integer_value(value);
    if (!json_is_integer(value) || v < 0 || v > (json_int_t)1 << 53)
        vec_fail(r, "not a number", name);
    vec_set(r, name, json_integer(v));
    return (uint64_t)v;
}

struct secret *vec_take_secret(struct run *r, const char *name)
{
    struct secret *s = NULL;
    vec_check(r, secret_copy(vec_take(r, name), &s), name);
    return vec_hold_secret(r, s);
}

const json_t *vec_list(struct run *r, const char *name, size_t max)
{
    const json_t *value = json_object_get(r->in, name);
    if (!json_is_array(value) || json_array_size(value) > max)
        vec_fail(r, "not a list, or too long", name);
    return value;
}

/* A list of hex strings, each of item_len bytes (0: any). Returns how many. */
size_t vec_take_list(struct run *r, const char *name, size_t max, size_t item_len, struct bytes *ret)
{
    const json_t *value = vec_list(r, name, max);
    json_t *copy = json_array();
    size_t count = r->bad ? 0 : json_array_size(value);
    for (size_t i = 0; i < count; i++) {
        ret[i] = vec_from_hex(r, json_array_get(value, i), name);
        if (item_len != 0 && ret[i].len != item_len)
            vec_fail(r, "an item has the wrong length", name);
        json_array_append_new(copy, vec_hex(ret[i]));
    }
    vec_set(r, name, copy);
    return r->bad ? 0 : count;
}

size_t vec_take_hashes(struct run *r, const char *name, size_t max, uint8_t (*ret)[HASH_LEN])
{
    struct bytes items[HELD_MAX];
    size_t count = vec_take_list(r, name, max < HELD_MAX ? max : HELD_MAX, HASH_LEN, items);
    for (size_t i = 0; i < count; i++)
        memcpy(ret[i], items[i].p, HASH_LEN);
    return count;
}

/* A private scalar, and its point under point_name. */
struct ec_key *vec_take_key(struct run *r, const char *name, const char *point_name, uint8_t ret_point[EC_POINT_LEN])
{
    struct ec_key *key = NULL;
    struct secret *scalar = vec_take_secret(r, name);
    if (!r->bad)
        vec_check(r, ec_key_from_scalar(scalar, &key), name);
    if (key == NULL)
        return NULL;
    r->keys[r->key_count++] = key;
    ec_key_point(key, ret_point);
    vec_put(r, point_name, BYTES(ret_point, EC_POINT_LEN));
    return key;
}

bool vec_must_fail(const struct run *r)
{
    return json_object_get(r->in, "refused") != NULL;
}

void vec_refused(struct run *r, int rc)
{
    vec_set(r, "refused", json_string(err_name(rc)));
}

/* ---- the table */

#define GROUP_NAME(name) #name,
const char *const vector_groups[] = {VECTOR_GROUPS(GROUP_NAME)};
const size_t vector_group_count = sizeof(vector_groups) / sizeof(vector_groups[0]);

#define GROUP_RUN(name) vec_run_##name,
static void (*const runs[])(struct run *r) = {VECTOR_GROUPS(GROUP_RUN)};

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
        (void)vec_take_text(&r, "name");
        if (json_object_get(in, "comment") != NULL)
            (void)vec_take_text(&r, "comment");
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
