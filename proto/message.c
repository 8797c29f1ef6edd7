/* message: plain structs to protobuf and back, by walking the shapes; bounded memory on both ways. */
#include "proto/message.h"
#include "proto/prescan.h"
#include "proto/shape.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* arena: an allocator for protobuf-c and for our arrays that knows every block and has a maximum. */
struct block {
    struct block *prev, *next;
    size_t size;
    max_align_t data[];
};

struct arena {
    ProtobufCAllocator allocator; /* allocator_data points back here */
    struct block *first;
    size_t used, max;
};

static void *arena_alloc(void *arena, size_t size)
{
    struct arena *a = arena;
    if (size > a->max - a->used || a->max - a->used - size < sizeof(struct block))
        return NULL;
    struct block *b = calloc(1, sizeof(*b) + size);
    if (b == NULL)
        return NULL;
    b->size = size + sizeof(*b);
    a->used += b->size;
    b->next = a->first;
    if (b->next != NULL)
        b->next->prev = b;
    a->first = b;
    return b->data;
}

static void arena_free(void *arena, void *data)
{
    struct arena *a = arena;
    if (data == NULL)
        return;
    struct block *b = (struct block *)(void *)((uint8_t *)data - offsetof(struct block, data));
    a->used -= b->size;
    if (b->next != NULL)
        b->next->prev = b->prev;
    if (b->prev != NULL)
        b->prev->next = b->next;
    else
        a->first = b->next;
    free(b);
}

/* Counts are capped before anything is allocated (prescan, check_counts), so one and a half encodings and the structs
 * of the longest list are enough for everything that is well formed. */
static void arena_init(struct arena *a, enum message_type type)
{
    *a = (struct arena){.allocator = {.alloc = arena_alloc, .free = arena_free}};
    a->max = message_max(type) / 2 * 3 + (size_t)1024 * 1024;
}

static void arena_done(struct arena *a)
{
    while (a->first != NULL)
        arena_free(a, a->first->data);
}

size_t message_max(enum message_type type)
{
    switch (type) {
#define MAX(name, type_, field, max)                                                                                   \
    case MESSAGE_##name:                                                                                               \
        return max;
        MESSAGE_TABLE(MAX)
#undef MAX
    }
    return 0;
}

const char *message_name(enum message_type type)
{
    switch (type) {
#define NAME(name, type_, field, max)                                                                                  \
    case MESSAGE_##name:                                                                                               \
        return #field;
        MESSAGE_TABLE(NAME)
#undef NAME
    }
    return "unknown";
}

/* Every struct of the union begins where the union does. */
static void *body(struct message *m)
{
    return &m->begin;
}

static void *field_at(void *base, size_t offset)
{
    return (uint8_t *)base + offset;
}

static const void *field_of(const void *base, size_t offset)
{
    return (const uint8_t *)base + offset;
}

static struct bytes view(const void *p, size_t len)
{
    return len > 0 ? BYTES(p, len) : BYTES_NONE;
}

/* ---- protobuf-c object -> plain struct */

static int fill(const struct shape *s, const ProtobufCMessage *from, void *to, struct arena *a);

static int fill_list(const struct shape_field *f, const ProtobufCFieldDescriptor *p, const ProtobufCMessage *from,
                     struct shape_list *to, struct arena *a)
{
    size_t count = *(const size_t *)field_of(from, p->quantifier_offset);
    if (count == 0)
        return 0;
    ProtobufCMessage *const *at = *(ProtobufCMessage *const *const *)field_of(from, p->offset);
    to->at = arena_alloc(a, count * f->sub->size); /* count <= f->max, prescan saw to it */
    if (to->at == NULL)
        return ERR_NOMEM;
    to->count = count;
    for (size_t i = 0; i < count; i++)
        TRY(fill(f->sub, at[i], field_at(to->at, i * f->sub->size), a));
    return 0;
}

static int fill_field(const struct shape_field *f, const ProtobufCFieldDescriptor *p, const ProtobufCMessage *from,
                      void *to, struct arena *a)
{
    const void *value = field_of(from, p->offset);
    switch (f->kind) {
    case SHAPE_BYTES: {
        const ProtobufCBinaryData *data = value;
        *(struct bytes *)to = view(data->data, data->len);
        return 0;
    }
    case SHAPE_STRING:
    case SHAPE_TEXT: {
        const char *text = *(const char *const *)value;
        *(struct bytes *)to = text == NULL ? BYTES_NONE : view(text, strlen(text));
        return 0;
    }
    case SHAPE_U64:
        *(uint64_t *)to = *(const uint64_t *)value;
        return 0;
    case SHAPE_ENUM:
        *(uint64_t *)to = (uint64_t) * (const int *)value;
        return 0;
    case SHAPE_MESSAGE: {
        const ProtobufCMessage *sub = *(const ProtobufCMessage *const *)value;
        return sub == NULL ? 0 : fill(f->sub, sub, to, a);
    }
    case SHAPE_LIST:
        return fill_list(f, p, from, to, a);
    }
    return ERR_INTERNAL;
}

static int fill(const struct shape *s, const ProtobufCMessage *from, void *to, struct arena *a)
{
    for (unsigned i = 0; i < s->field_count; i++)
        TRY(fill_field(&s->fields[i], &s->descriptor->fields[i], from, field_at(to, s->fields[i].offset), a));
    return 0;
}

int message_unpack(enum message_type type, struct bytes wire, struct message **ret, struct err *err)
{
    TRY(prescan(type, wire, err));
    const struct shape *s = shape_find(type);
    struct message *m = calloc(1, sizeof(*m));
    struct arena *a = calloc(1, sizeof(*a));
    if (m == NULL || a == NULL) {
        free(m);
        free(a);
        return err_set(err, ERR_NOMEM, "%s", message_name(type));
    }
    arena_init(a, type);
    a->allocator.allocator_data = a;
    m->type = type;
    m->owned = a;
    int rc = ERR_NOMEM; /* prescan accepted it: only memory can be missing */
    ProtobufCMessage *object = protobuf_c_message_unpack(s->descriptor, &a->allocator, wire.len, wire.p);
    if (object != NULL)
        rc = fill(s, object, body(m), a);
    if (rc != 0) {
        message_free(m);
        return err_set(err, rc, "%s: out of memory", message_name(type));
    }
    *ret = m;
    return 0;
}

void message_free(struct message *m)
{
    if (m == NULL)
        return;
    struct arena *a = m->owned;
    if (a != NULL)
        arena_done(a);
    free(a);
    free(m);
}

/* ---- plain struct -> protobuf-c object */

static int make(const struct shape *s, const void *from, struct arena *a, ProtobufCMessage **ret, struct err *err);

/* protobuf-c wants a NUL at the end, so a NUL inside would cut the string. */
static int make_string(const struct shape_field *f, struct bytes from, struct arena *a, char **ret, struct err *err)
{
    if (f->kind == SHAPE_TEXT && from.len > f->max)
        from.len = f->max;
    if (from.len > f->max)
        return err_set(err, ERR_TOO_LONG, "%s: %zu bytes, at most %zu", f->name, from.len, f->max);
    char *text = arena_alloc(a, from.len + 1);
    if (text == NULL)
        return err_set(err, ERR_NOMEM, "%s", f->name);
    for (size_t i = 0; i < from.len; i++) {
        bool printable = from.p[i] >= 0x20 && from.p[i] <= 0x7e;
        if (!printable && f->kind != SHAPE_TEXT)
            return err_set(err, ERR_FORMAT, "%s: byte 0x%02x is not printable ASCII", f->name, from.p[i]);
        text[i] = printable ? (char)from.p[i] : '?';
    }
    *ret = text;
    return 0;
}

static int make_list(const struct shape_field *f, const ProtobufCFieldDescriptor *p, const struct shape_list *from,
                     struct arena *a, ProtobufCMessage *to, struct err *err)
{
    if (from->count > f->max)
        return err_set(err, ERR_TOO_LONG, "%s: %zu elements, at most %zu", f->name, from->count, f->max);
    if (from->count == 0)
        return 0;
    ProtobufCMessage **at = arena_alloc(a, from->count * sizeof(*at));
    if (at == NULL)
        return err_set(err, ERR_NOMEM, "%s", f->name);
    for (size_t i = 0; i < from->count; i++) {
        int rc = make(f->sub, field_of(from->at, i * f->sub->size), a, &at[i], err);
        if (rc != 0)
            return err_wrap(err, rc, "%s[%zu]", f->name, i);
    }
    *(ProtobufCMessage ***)field_at(to, p->offset) = at;
    *(size_t *)field_at(to, p->quantifier_offset) = from->count;
    return 0;
}

/* An embedded message is left out when nothing stands in it. */
static int make_message(const struct shape_field *f, const void *from, struct arena *a, ProtobufCMessage **to,
                        struct err *err)
{
    ProtobufCMessage *sub = NULL;
    int rc = make(f->sub, from, a, &sub, err);
    if (rc != 0)
        return err_wrap(err, rc, "%s", f->name);
    *to = protobuf_c_message_get_packed_size(sub) > 0 ? sub : NULL;
    return 0;
}

static int make_field(const struct shape_field *f, const ProtobufCFieldDescriptor *p, const void *from, struct arena *a,
                      ProtobufCMessage *to, struct err *err)
{
    void *value = field_at(to, p->offset);
    switch (f->kind) {
    case SHAPE_BYTES: {
        const struct bytes *b = from;
        assert(b->len == 0 || b->p != NULL);
        *(ProtobufCBinaryData *)value = (ProtobufCBinaryData){b->len, (uint8_t *)(uintptr_t)b->p}; /* only read */
        return 0;
    }
    case SHAPE_STRING:
    case SHAPE_TEXT:
        return make_string(f, *(const struct bytes *)from, a, value, err);
    case SHAPE_U64:
        *(uint64_t *)value = *(const uint64_t *)from;
        return 0;
    case SHAPE_ENUM: {
        uint64_t v = *(const uint64_t *)from;
        if (v > INT32_MAX)
            return err_set(err, ERR_FORMAT, "%s: unknown value %llu", f->name, (unsigned long long)v);
        *(int *)value = (int)v;
        return 0;
    }
    case SHAPE_MESSAGE:
        return make_message(f, from, a, value, err);
    case SHAPE_LIST:
        return make_list(f, p, from, a, to, err);
    }
    return err_set(err, ERR_INTERNAL, "%s: unknown kind", f->name);
}

static int make(const struct shape *s, const void *from, struct arena *a, ProtobufCMessage **ret, struct err *err)
{
    ProtobufCMessage *to = arena_alloc(a, s->descriptor->sizeof_message);
    if (to == NULL)
        return err_set(err, ERR_NOMEM, "%s", s->descriptor->short_name);
    s->descriptor->message_init(to);
    for (unsigned i = 0; i < s->field_count; i++)
        TRY(make_field(&s->fields[i], &s->descriptor->fields[i], field_of(from, s->fields[i].offset), a, to, err));
    *ret = to;
    return 0;
}

static int encode(const struct message *m, struct arena *a, struct bytes *ret_wire, struct err *err)
{
    const struct shape *s = shape_find(m->type);
    if (s == NULL)
        return err_set(err, ERR_FORMAT, "unknown message type 0x%02x", (unsigned)m->type);
    ProtobufCMessage *object = NULL;
    TRY(make(s, &m->begin, a, &object, err));
    size_t len = protobuf_c_message_get_packed_size(object);
    if (len > message_max(m->type))
        return err_set(err, ERR_TOO_LONG, "%zu bytes, at most %zu", len, message_max(m->type));
    uint8_t *wire = arena_alloc(a, len);
    if (wire == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    size_t written = protobuf_c_message_pack(object, wire);
    assert(written == len);
    *ret_wire = BYTES(wire, len);
    return 0;
}

/* What we send passes the same prescan that the peer will apply. */
static int append(enum message_type type, struct bytes wire, struct buf *out, struct err *err)
{
    TRY(prescan(type, wire, err));
    if (!buf_ok(out) || wire.len > out->max - out->len)
        return err_set(err, ERR_TOO_LONG, "%s: %zu bytes do not fit into the buffer", message_name(type), wire.len);
    buf_put(out, wire);
    return buf_ok(out) ? 0 : err_set(err, ERR_NOMEM, "%s: out of memory", message_name(type));
}

int message_pack(const struct message *m, struct buf *out, struct err *err)
{
    struct arena a;
    struct bytes wire;
    arena_init(&a, m->type);
    a.allocator.allocator_data = &a;
    int rc = encode(m, &a, &wire, err);
    if (rc != 0)
        rc = err_wrap(err, rc, "%s", message_name(m->type));
    else
        rc = append(m->type, wire, out, err);
    arena_done(&a);
    return rc;
}
