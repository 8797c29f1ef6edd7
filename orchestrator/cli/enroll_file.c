/* enroll_file: reading and writing enrolment's files by one table of fields. */
#include "orchestrator/cli/enroll_file.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define FIELD_MAX 4096u
#define FILE_MAX (32u * 1024u)

struct raw {
    char *enfilade, *id, *ek, *ak, *spki, *blob, *secret;
};

#define TEXT(key, flags) CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | (flags), struct raw, key, 1, FIELD_MAX * 2)
static const cyaml_schema_field_t raw_fields[] = {TEXT(enfilade, 0),
                                                  TEXT(id, 0),
                                                  TEXT(ek, CYAML_FLAG_OPTIONAL),
                                                  TEXT(ak, CYAML_FLAG_OPTIONAL),
                                                  TEXT(spki, CYAML_FLAG_OPTIONAL),
                                                  TEXT(blob, CYAML_FLAG_OPTIONAL),
                                                  TEXT(secret, CYAML_FLAG_OPTIONAL),
                                                  CYAML_FIELD_END};
static const cyaml_schema_value_t schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, raw_fields)};

/* Which kinds of file hold which field. */
static const struct {
    const char *name, *kinds;
    size_t raw, field;
} fields[] = {
    {"ek", "request", offsetof(struct raw, ek), offsetof(struct enroll_file, ek)},
    {"ak", "request", offsetof(struct raw, ak), offsetof(struct enroll_file, ak)},
    {"spki", "request", offsetof(struct raw, spki), offsetof(struct enroll_file, spki)},
    {"blob", "challenge", offsetof(struct raw, blob), offsetof(struct enroll_file, blob)},
    {"secret", "answer secret", offsetof(struct raw, secret), offsetof(struct enroll_file, secret)},
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

static struct buf *field_of(struct enroll_file *f, size_t i)
{
    return (struct buf *)(void *)((char *)f + fields[i].field);
}

void enroll_file_init(struct enroll_file *f)
{
    memset(f, 0, sizeof(*f));
    for (size_t i = 0; i < FIELD_COUNT; i++)
        buf_init(field_of(f, i), FIELD_MAX);
}

void enroll_file_done(struct enroll_file *f)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        buf_done(field_of(f, i));
}

static int convert(const struct raw *raw, const char *kind, struct enroll_file *ret, struct err *err)
{
    char expected[64];
    snprintf(expected, sizeof(expected), "enroll-%s/v1", kind);
    if (strcmp(raw->enfilade, expected) != 0)
        return err_set(err, ERR_FORMAT, "enfilade: '%s' is not %s", raw->enfilade, expected);
    TRY(text_name(raw->id, "id", err));
    snprintf(ret->id, sizeof(ret->id), "%s", raw->id);
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const char *text = *(char *const *)(const void *)((const char *)raw + fields[i].raw);
        bool wanted = strstr(fields[i].kinds, kind) != NULL;
        if (wanted != (text != NULL))
            return err_set(err, ERR_FORMAT, "%s: %s", fields[i].name, wanted ? "is missing" : "does not belong here");
        if (wanted)
            TRY(text_base64(text, fields[i].name, FIELD_MAX, field_of(ret, i), err));
    }
    return 0;
}

int enroll_file_read(const char *path, const char *kind, struct enroll_file *ret, struct err *err)
{
    struct buf text;
    void *raw = NULL;
    buf_init(&text, FILE_MAX);
    int rc = file_read(path, FILE_MAX, &text, err);
    if (rc == 0)
        rc = yaml_load(buf_view(&text), path, &schema, &raw, err);
    if (rc == 0) {
        rc = convert(raw, kind, ret, err);
        if (rc != 0)
            err_wrap(err, rc, "%s", path);
        yaml_release(&schema, raw);
    }
    buf_done(&text);
    return rc;
}

int enroll_file_write(const struct enroll_file *f, const char *kind, const char *path, unsigned mode, struct err *err)
{
    struct buf text;
    buf_init(&text, FILE_MAX);
    buf_printf(&text, "enfilade: enroll-%s/v1\nid: %s\n", kind, f->id);
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (strstr(fields[i].kinds, kind) == NULL)
            continue;
        const struct buf *value = (const struct buf *)(const void *)((const char *)f + fields[i].field);
        buf_printf(&text, "%s: ", fields[i].name);
        buf_base64(&text, buf_view(value));
        buf_str(&text, "\n");
    }
    int rc = buf_ok(&text) ? file_write(path, buf_view(&text), mode, err) : err_set(err, ERR_TOO_LONG, "too long");
    buf_done(&text);
    return rc;
}
