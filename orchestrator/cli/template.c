/* template: @name@ replaced by values. */
#include "orchestrator/cli/template.h"
#include <string.h>

int template_add(struct template_values *v, const char *name, const char *value, struct err *err)
{
    if (v->count == TEMPLATE_VALUES_MAX)
        return err_set(err, ERR_FULL, "too many values for the template");
    v->at[v->count].name = name;
    v->at[v->count].value = value;
    v->count++;
    return 0;
}

static const char *find(const struct template_values *v, struct bytes name)
{
    for (size_t i = 0; i < v->count; i++) {
        if (bytes_is(name, v->at[i].name))
            return v->at[i].value;
    }
    return NULL;
}

int template_fill(struct bytes text, const struct template_values *v, struct buf *out, struct err *err)
{
    size_t i = 0;
    while (i < text.len) {
        const uint8_t *at = memchr(text.p + i, '@', text.len - i);
        size_t plain = at != NULL ? (size_t)(at - text.p) - i : text.len - i;
        buf_put(out, BYTES(text.p + i, plain));
        i += plain;
        if (at == NULL)
            break;
        const uint8_t *end = memchr(at + 1, '@', text.len - i - 1);
        if (end == NULL)
            return err_set(err, ERR_CONFIG, "a lone @: write @@ for the character");
        struct bytes name = BYTES(at + 1, (size_t)(end - at - 1));
        const char *value = name.len == 0 ? "@" : find(v, name);
        if (value == NULL)
            return err_set(err, ERR_CONFIG, "nothing is known to put for @%.*s@: give it with --set", (int)name.len,
                           (const char *)name.p);
        buf_str(out, value);
        i += name.len + 2;
    }
    return buf_ok(out) ? 0 : err_set(err, ERR_TOO_LONG, "the filled template is too long");
}
