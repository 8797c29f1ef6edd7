/* yaml: the event pre-scan with libcyaml behind it. */
#include "common/base/yaml.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* ---- the walk over libyaml's events; every check of the pre-scan happens here */

#define PATH_MAX_LEN 256

struct level {
    bool mapping, key_next;
    size_t index;     /* of the current entry of a sequence */
    size_t key_count; /* keys[key_count - 1] is the current one */
    size_t line;      /* of the current key or entry */
    char keys[YAML_KEYS_MAX][YAML_KEYS_MAX + 1];
};

struct walk {
    size_t depth, nodes;
    struct level level[YAML_DEPTH_MAX + 1]; /* level[1] is the top mapping */
};

/* Called for every value; scalar is NULL for mappings and sequences. True ends the walk. */
typedef bool (*walk_visit)(void *arg, const struct walk *w, const char *scalar);

static bool is_printable(uint8_t c)
{
    return c >= 0x20 && c <= 0x7e;
}

static int check_bytes(struct bytes text, struct err *err)
{
    size_t line = 1;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '\n')
            line++;
        else if (!is_printable(text.p[i]))
            return err_set(err, ERR_FORMAT,
                           "line %zu: byte 0x%02x is not printable ASCII; write plain text without tabs", line,
                           text.p[i]);
    }
    return 0;
}

/* "nodes[3].kem" for the value that the walk has just met */
static void walk_path(const struct walk *w, char ret[PATH_MAX_LEN])
{
    size_t n = 0;
    ret[0] = '\0';
    for (size_t d = 1; d <= w->depth && n < PATH_MAX_LEN; d++) {
        const struct level *l = &w->level[d];
        int more;
        if (!l->mapping)
            more = snprintf(ret + n, PATH_MAX_LEN - n, "[%zu]", l->index);
        else if (l->key_count > 0)
            more = snprintf(ret + n, PATH_MAX_LEN - n, "%s%s", d > 1 ? "." : "", l->keys[l->key_count - 1]);
        else
            break;
        n += more > 0 ? (size_t)more : 0;
    }
}

static int walk_key(struct level *l, const yaml_event_t *e, size_t line, struct err *err)
{
    if (e->type != YAML_SCALAR_EVENT || e->data.scalar.length == 0)
        return err_set(err, ERR_FORMAT, "line %zu: a key must be a plain word", line);
    if (e->data.scalar.length > YAML_KEYS_MAX || l->key_count == YAML_KEYS_MAX)
        return err_set(err, ERR_TOO_LONG, "line %zu: a key of more than %d bytes, or more than %d keys", line,
                       YAML_KEYS_MAX, YAML_KEYS_MAX);
    const char *key = (const char *)e->data.scalar.value;
    for (size_t i = 0; i < l->key_count; i++)
        if (strcmp(l->keys[i], key) == 0)
            return err_set(err, ERR_FORMAT, "line %zu: %s: this key stands here twice; keep one", line, key);
    memcpy(l->keys[l->key_count], key, e->data.scalar.length + 1);
    l->key_count++;
    l->line = line;
    l->key_next = false;
    return 0;
}

/* A value begins: where does it stand? */
static void walk_place(struct walk *w, size_t line)
{
    struct level *l = &w->level[w->depth];
    if (w->depth == 0)
        return;
    if (l->mapping)
        l->key_next = true;
    else {
        l->index++;
        l->line = line;
    }
}

static int walk_push(struct walk *w, bool mapping, size_t line, struct err *err)
{
    if (w->depth == YAML_DEPTH_MAX)
        return err_set(err, ERR_TOO_LONG, "line %zu: nested deeper than %d levels", line, YAML_DEPTH_MAX);
    struct level *l = &w->level[++w->depth];
    l->mapping = l->key_next = mapping;
    l->index = SIZE_MAX; /* the first entry makes it 0 */
    l->key_count = 0;
    l->line = line;
    return 0;
}

static int check_scalar(const yaml_event_t *e, size_t line, struct err *err)
{
    yaml_scalar_style_t style = e->data.scalar.style;
    if (style == YAML_LITERAL_SCALAR_STYLE || style == YAML_FOLDED_SCALAR_STYLE)
        return err_set(err, ERR_FORMAT, "line %zu: block text (| or >) is not used here; write the value on one line",
                       line);
    for (size_t i = 0; i < e->data.scalar.length; i++)
        if (!is_printable(e->data.scalar.value[i]))
            return err_set(err, ERR_FORMAT, "line %zu: an escape stands for a byte that is not printable ASCII", line);
    return 0;
}

static int check_marks(const yaml_event_t *e, size_t line, struct err *err)
{
    bool anchor = false, tag = false;
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        anchor = true;
        break;
    case YAML_SCALAR_EVENT:
        anchor = e->data.scalar.anchor != NULL;
        tag = e->data.scalar.tag != NULL;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = e->data.sequence_start.anchor != NULL;
        tag = e->data.sequence_start.tag != NULL;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = e->data.mapping_start.anchor != NULL;
        tag = e->data.mapping_start.tag != NULL;
        break;
    default:
        break;
    }
    if (anchor)
        return err_set(err, ERR_FORMAT, "line %zu: anchors (&) and aliases (*) are refused; write the value out", line);
    if (tag)
        return err_set(err, ERR_FORMAT, "line %zu: tags (!) are refused; quote the value if it begins with '!'", line);
    return 0;
}

static int check_document(const yaml_event_t *e, size_t line, size_t *documents, struct err *err)
{
    bool implicit =
        e->type == YAML_DOCUMENT_START_EVENT ? e->data.document_start.implicit : e->data.document_end.implicit;
    if (e->type == YAML_DOCUMENT_START_EVENT && ++*documents > 1)
        return err_set(err, ERR_FORMAT, "line %zu: a second document begins here; one text holds one", line);
    if (!implicit)
        return err_set(err, ERR_FORMAT, "line %zu: document markers (---, ...) and directives (%%) are refused", line);
    return 0;
}

/* One event; *ret_value says that a value stands at the walk's place. */
static int walk_event(struct walk *w, const yaml_event_t *e, size_t *documents, bool *ret_value, struct err *err)
{
    size_t line = e->start_mark.line + 1;
    *ret_value = false;
    TRY(check_marks(e, line, err));
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return check_document(e, line, documents, err);
    case YAML_SCALAR_EVENT:
        TRY(check_scalar(e, line, err));
        break;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        w->depth--;
        return 0;
    default:
        return 0;
    }
    if (++w->nodes > YAML_NODES_MAX)
        return err_set(err, ERR_TOO_LONG, "line %zu: more than %d values", line, YAML_NODES_MAX);
    if (w->depth == 0 && e->type != YAML_MAPPING_START_EVENT)
        return err_set(err, ERR_FORMAT, "line %zu: the text must be a list of \"key: value\" lines", line);
    struct level *l = &w->level[w->depth];
    if (w->depth > 0 && l->mapping && l->key_next)
        return walk_key(l, e, line, err);
    walk_place(w, line);
    *ret_value = true;
    return 0;
}

static int walk_step(struct walk *w, yaml_parser_t *parser, size_t *documents, walk_visit visit, void *arg,
                     bool *ret_end, struct err *err)
{
    yaml_event_t e;
    if (!yaml_parser_parse(parser, &e))
        return err_set(err, ERR_FORMAT, "line %zu: not YAML: %s", parser->problem_mark.line + 1,
                       parser->problem != NULL ? parser->problem : "cannot be read");
    bool value;
    int rc = walk_event(w, &e, documents, &value, err);
    bool open = e.type == YAML_SEQUENCE_START_EVENT || e.type == YAML_MAPPING_START_EVENT;
    if (rc == 0 && value && visit != NULL && w->depth > 0)
        *ret_end = visit(arg, w, open ? NULL : (const char *)e.data.scalar.value);
    if (rc == 0 && value && open)
        rc = walk_push(w, e.type == YAML_MAPPING_START_EVENT, e.start_mark.line + 1, err);
    if (e.type == YAML_STREAM_END_EVENT)
        *ret_end = true;
    yaml_event_delete(&e);
    return rc;
}

static int walk_text(struct bytes text, walk_visit visit, void *arg, struct err *err)
{
    TRY(check_bytes(text, err));
    struct walk *w = malloc(sizeof(*w));
    yaml_parser_t parser;
    if (w == NULL || !yaml_parser_initialize(&parser)) {
        free(w);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    w->depth = w->nodes = 0;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, text.p != NULL ? text.p : (const uint8_t *)"", text.len);
    size_t documents = 0;
    bool end = false;
    int rc = 0;
    while (rc == 0 && !end)
        rc = walk_step(w, &parser, &documents, visit, arg, &end, err);
    if (rc == 0 && documents == 0)
        rc = err_set(err, ERR_FORMAT, "line 1: the text is empty");
    yaml_parser_delete(&parser);
    free(w);
    return rc;
}

/* ---- lines of fields, claims */

struct find {
    const char *field;
    size_t best_len;
    size_t line;
};

static bool on_find(void *arg, const struct walk *w, const char *scalar)
{
    struct find *f = arg;
    (void)scalar;
    char path[PATH_MAX_LEN];
    walk_path(w, path);
    size_t n = strlen(path);
    if (n <= f->best_len || strncmp(path, f->field, n) != 0)
        return false;
    char next = f->field[n];
    if (next != '\0' && next != '.' && next != '[')
        return false;
    f->best_len = n;
    f->line = w->level[w->depth].line;
    return next == '\0';
}

unsigned yaml_line(struct bytes text, const char *field)
{
    struct find f = {.field = field, .line = 1};
    if (walk_text(text, on_find, &f, NULL) != 0)
        return 0;
    return (unsigned)f.line;
}

int yaml_place(struct bytes text, const char *source, struct err *err)
{
    static const char word[] = "field ";
    char field[PATH_MAX_LEN] = "", old[ERR_TEXT_MAX];
    (void)snprintf(old, sizeof(old), "%s", err->text);
    const char *from = strncmp(old, word, sizeof(word) - 1) == 0 ? old + sizeof(word) - 1 : old;
    size_t len = strcspn(from, ": ");
    if (from[len] == ':' && len < sizeof(field)) {
        memcpy(field, from, len);
        field[len] = '\0';
    }
    struct find f = {.field = field};
    if (field[0] == '\0' || walk_text(text, on_find, &f, NULL) != 0 || f.best_len == 0)
        return err_set(err, err->code, "%s: %s", source, from);
    return err_set(err, err->code, "%s: line %zu: %s", source, f.line, from);
}

struct claims {
    const struct yaml_claim *claims;
    size_t count, found;
    const char *too_long;
};

static bool on_claim(void *arg, const struct walk *w, const char *scalar)
{
    struct claims *c = arg;
    if (w->depth != 1 || scalar == NULL)
        return false;
    const struct level *l = &w->level[1];
    for (size_t i = 0; i < c->count; i++) {
        const struct yaml_claim *claim = &c->claims[i];
        if (strcmp(claim->key, l->keys[l->key_count - 1]) != 0)
            continue;
        c->found++;
        if (strlen(scalar) >= claim->size)
            c->too_long = claim->key;
        else
            memcpy(claim->ret, scalar, strlen(scalar) + 1);
    }
    return c->found == c->count || c->too_long != NULL;
}

int yaml_claims(struct bytes text, const struct yaml_claim *claims, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++)
        claims[i].ret[0] = '\0';
    struct claims c = {.claims = claims, .count = count};
    TRY(walk_text(text, on_claim, &c, err));
    if (c.too_long != NULL)
        return err_set(err, ERR_FORMAT, "line %u: %s: too long", yaml_line(text, c.too_long), c.too_long);
    return 0;
}

/* ---- libcyaml: its backtrace becomes a field */

#define TRACE_MAX (2 * YAML_DEPTH_MAX + 2)

struct step {
    bool entry;
    unsigned index;
    char key[YAML_KEYS_MAX + 1];
};

struct trace {
    char message[200];           /* the first error line */
    struct step step[TRACE_MAX]; /* innermost first */
    size_t count;
};

static void on_cyaml_log(cyaml_log_t level, void *ctx, const char *format, va_list args)
{
    struct trace *t = ctx;
    char line[256];
    (void)level;
    (void)vsnprintf(line, sizeof(line), format, args);
    line[strcspn(line, "\n")] = '\0';
    struct step s = {0};
    if (t->message[0] == '\0')
        (void)snprintf(t->message, sizeof(t->message), "%.199s", line);
    else if (t->count == TRACE_MAX)
        return;
    else if (sscanf(line, "  in mapping field '%64[^']'", s.key) == 1)
        t->step[t->count++] = s;
    else if (sscanf(line, "  in sequence entry '%u'", &s.index) == 1) {
        s.entry = true;
        t->step[t->count++] = s;
    } else if (strncmp(line, "  in mapping (", 14) == 0)
        t->step[t->count++] = s; /* a mapping before its first key */
}

/* Outermost first; cyaml counts entries from 1. `own` is false when the innermost key only tells the mapping. */
static void trace_path(const struct trace *t, bool own, char ret[PATH_MAX_LEN])
{
    size_t n = 0;
    ret[0] = '\0';
    for (size_t i = t->count; i-- > 0;) {
        const struct step *s = &t->step[i];
        int more = 0;
        if (s->entry && s->index > 0)
            more = snprintf(ret + n, PATH_MAX_LEN - n, "[%u]", s->index - 1);
        else if (!s->entry && s->key[0] != '\0' && (own || i > 0))
            more = snprintf(ret + n, PATH_MAX_LEN - n, "%s%s", n > 0 ? "." : "", s->key);
        if (more < 0 || (size_t)more >= PATH_MAX_LEN - n)
            return;
        n += (size_t)more;
    }
}

static const struct {
    const char *cyaml, *ours;
    bool names_key; /* the message ends with the key, which belongs to the path */
    bool sequence;  /* about the whole sequence: the innermost entry does not belong to the path */
} trace_rows[] = {
    {"Load: Unexpected key: ", "unknown key; see the manual for the keys that may stand here", true, false},
    {"Load: Missing required mapping field: ", "missing; add this key", true, false},
    {"Load: Mapping field already seen: ", "this key stands here twice; keep one", true, false},
    {"Load: Insufficient entries ", "too few entries", false, true},
    {"Load: Excessive entries ", "too many entries", false, true},
    {"Load: STRING length < ", "empty, or shorter than it must be", false, false},
    {"Load: STRING length > ", "too long", false, false},
    {"Load: Invalid ENUM value: ", "not one of the words that may stand here", false, false},
    {"Load: Expecting MAPPING", "must be a mapping (key: value)", false, false},
    {"Load: Expecting SEQUENCE", "must be a list", false, false},
    {"Load: Expecting STRING", "must be one value", false, false},
    {"Load: Expecting ENUM", "must be one word", false, false},
};

static int cyaml_fail(struct trace *t, cyaml_err_t code, struct bytes text, const char *source, struct err *err)
{
    char path[PATH_MAX_LEN], field[2 * PATH_MAX_LEN];
    if (code == CYAML_ERR_OOM)
        return err_set(err, ERR_NOMEM, "%s: out of memory", source);
    for (size_t i = 0; i < sizeof(trace_rows) / sizeof(trace_rows[0]); i++) {
        size_t n = strlen(trace_rows[i].cyaml);
        if (strncmp(t->message, trace_rows[i].cyaml, n) != 0)
            continue;
        if (trace_rows[i].sequence && t->count > 0 && t->step[0].entry)
            t->step[0].index = 0;
        trace_path(t, !trace_rows[i].names_key, path);
        const char *key = trace_rows[i].names_key ? t->message + n : "";
        (void)snprintf(field, sizeof(field), "%s%s%s", path, path[0] != '\0' && key[0] != '\0' ? "." : "", key);
        return err_set(err, ERR_FORMAT, "%s: line %u: %s: %s", source, yaml_line(text, field), field,
                       trace_rows[i].ours);
    }
    trace_path(t, true, path);
    return err_set(err, ERR_FORMAT, "%s: line %u: %s: %s", source, yaml_line(text, path), path,
                   t->message[0] != '\0' ? t->message : cyaml_strerror(code));
}

static cyaml_config_t cyaml_setup(struct trace *t)
{
    return (cyaml_config_t){
        .log_fn = t != NULL ? on_cyaml_log : NULL,
        .log_ctx = t,
        .mem_fn = cyaml_mem,
        .log_level = CYAML_LOG_ERROR,
        .flags = CYAML_CFG_NO_ALIAS,
    };
}

int yaml_load(struct bytes text, const char *source, const cyaml_schema_value_t *schema, void **ret_data,
              struct err *err)
{
    struct err inner = {0};
    int rc = walk_text(text, NULL, NULL, &inner);
    if (rc != 0)
        return err_set(err, rc, "%s: %s", source, inner.text);
    struct trace t = {0};
    cyaml_config_t config = cyaml_setup(&t);
    cyaml_data_t *data = NULL;
    cyaml_err_t code = cyaml_load_data(text.p, text.len, &config, schema, &data, NULL);
    if (code != CYAML_OK)
        return cyaml_fail(&t, code, text, source, err);
    if (data == NULL)
        return err_set(err, ERR_FORMAT, "%s: line 1: the text is empty", source);
    *ret_data = data;
    return 0;
}

void yaml_release(const cyaml_schema_value_t *schema, void *data)
{
    cyaml_config_t config = cyaml_setup(NULL);
    if (data != NULL)
        (void)cyaml_free(&config, schema, data, 0);
}
