/* json: JSON output, by Jansson. */
#include "orchestrator/cli/json.h"
#include <assert.h>
#include <jansson.h>
#include <stdlib.h>

void json_start(struct json *j, struct buf *out)
{
    *j = (struct json){.out = out};
}

/* Takes over `value`; NULL (no memory, not UTF-8) fails the output. */
static void add(struct json *j, const char *key, json_t *value)
{
    json_t *in = j->depth > 0 ? j->open[j->depth - 1] : NULL;
    assert(in == NULL || json_is_object(in) == (key != NULL));
    int rc = value == NULL ? -1 : 0;
    if (rc == 0 && in != NULL)
        rc = key != NULL ? json_object_set_new(in, key, value) : json_array_append_new(in, value);
    if (rc != 0)
        j->out->failed = true;
}

void json_open(struct json *j, const char *key, char bracket)
{
    assert(j->depth < JSON_DEPTH_MAX);
    json_t *value = bracket == '{' ? json_object() : json_array();
    add(j, key, value);
    j->open[j->depth++] = value;
}

static int write_out(const char *text, size_t len, void *arg)
{
    struct buf *out = arg;
    buf_put(out, BYTES(text, len));
    return buf_ok(out) ? 0 : -1;
}

void json_close(struct json *j, char bracket)
{
    (void)bracket;
    assert(j->depth > 0);
    json_t *value = j->open[--j->depth];
    if (j->depth > 0)
        return;
    if (json_dump_callback(value, write_out, j->out, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0)
        j->out->failed = true;
    json_decref(value);
}

void json_text(struct json *j, const char *key, const char *text)
{
    add(j, key, json_string(text));
}

void json_bytes(struct json *j, const char *key, struct bytes text)
{
    add(j, key, json_stringn(text.len > 0 ? (const char *)text.p : "", text.len));
}

void json_hex(struct json *j, const char *key, struct bytes data)
{
    struct buf hex;
    buf_init(&hex, 2 * data.len);
    buf_hex(&hex, data);
    json_bytes(j, key, buf_ok(&hex) ? buf_view(&hex) : BYTES("\xff", 1)); /* not UTF-8: fails the output */
    buf_done(&hex);
}

void json_number(struct json *j, const char *key, uint64_t v)
{
    add(j, key, v <= INT64_MAX ? json_integer((json_int_t)v) : NULL);
}

void json_decimal(struct json *j, const char *key, double v)
{
    add(j, key, json_real(v));
}

void json_flag(struct json *j, const char *key, bool v)
{
    add(j, key, json_boolean(v));
}
