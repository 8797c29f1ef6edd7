/* prescan: one walk over the wire bytes along the shape of the message. */
#include "proto/prescan.h"
#include "common/base/mutant.h"
#include "proto/shape.h"

#define WIRE_VARINT 0
#define WIRE_LENGTH 2

/* One varint in its shortest form, at most 64 bits. */
static int take_varint(struct cursor *c, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte;
        TRY(cursor_u8(c, &byte));
        if (shift == 63 && byte > 1)
            return ERR_FORMAT; /* more than 64 bits */
        v |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            if (byte == 0 && shift > 0)
                return ERR_FORMAT; /* not the shortest form */
            *ret = v;
            return 0;
        }
    }
    return ERR_FORMAT;
}

static int check_number(const ProtobufCFieldDescriptor *p, uint64_t v, struct err *err)
{
    if (v == 0)
        return err_set(err, ERR_FORMAT, "%s: a default value is written out", p->name);
    if (p->type != PROTOBUF_C_TYPE_ENUM)
        return 0;
    const ProtobufCEnumDescriptor *e = p->descriptor;
    if (v > INT32_MAX || protobuf_c_enum_descriptor_get_value(e, (int)v) == NULL)
        return err_set(err, ERR_FORMAT, "%s: unknown value %llu", p->name, (unsigned long long)v);
    return 0;
}

static int check_bytes(const struct shape_field *f, struct bytes v, struct err *err)
{
    if (v.len > f->max)
        return err_set(err, ERR_TOO_LONG, "%s: %zu bytes, at most %zu", f->name, v.len, f->max);
    if (f->kind == SHAPE_BYTES)
        return 0;
    for (size_t i = 0; i < v.len; i++)
        if ((v.p[i] < 0x20 || v.p[i] > 0x7e) && !mutant("PRINTABLE"))
            return err_set(err, ERR_FORMAT, "%s: byte 0x%02x is not printable ASCII", f->name, v.p[i]);
    return 0;
}

static int scan(const struct shape *s, struct bytes wire, unsigned depth, struct err *err);

static int scan_element(const struct shape_field *f, struct bytes v, size_t index, unsigned depth, struct err *err)
{
    if (index >= f->max)
        return err_set(err, ERR_TOO_LONG, "%s: more than %zu elements", f->name, f->max);
    int rc = scan(f->sub, v, depth + 1, err);
    return rc == 0 ? 0 : err_wrap(err, rc, "%s[%zu]", f->name, index);
}

/* A length-delimited value; index counts the elements of a list. */
static int scan_view(const struct shape_field *f, struct bytes v, size_t index, unsigned depth, struct err *err)
{
    if (f->kind == SHAPE_LIST)
        return scan_element(f, v, index, depth, err);
    if (v.len == 0)
        return err_set(err, ERR_FORMAT, "%s: a default value is written out", f->name);
    if (f->kind != SHAPE_MESSAGE)
        return check_bytes(f, v, err);
    int rc = scan(f->sub, v, depth + 1, err);
    return rc == 0 ? 0 : err_wrap(err, rc, "%s", f->name);
}

static int scan_value(const struct shape *s, uint64_t number, unsigned wire_type, struct cursor *c, size_t index,
                      unsigned depth, struct err *err)
{
    const struct shape_field *f = &s->fields[number - 1];
    bool is_number = f->kind == SHAPE_U64 || f->kind == SHAPE_ENUM;
    if (wire_type != (is_number ? WIRE_VARINT : WIRE_LENGTH))
        return err_set(err, ERR_FORMAT, "%s: wire type %u does not fit", f->name, wire_type);
    uint64_t v;
    if (take_varint(c, &v) != 0)
        return err_set(err, ERR_FORMAT, "%s: bad varint", f->name);
    if (is_number)
        return check_number(&s->descriptor->fields[number - 1], v, err);
    struct bytes view;
    if (v > c->left.len || cursor_take(c, (size_t)v, &view) != 0)
        return err_set(err, ERR_FORMAT, "%s: truncated", f->name);
    return scan_view(f, view, index, depth, err);
}

static int scan(const struct shape *s, struct bytes wire, unsigned depth, struct err *err)
{
    if (depth > SHAPE_DEPTH_MAX)
        return err_set(err, ERR_FORMAT, "nested deeper than %d", SHAPE_DEPTH_MAX);
    struct cursor c = {wire};
    uint64_t last = 0;
    size_t index = 0;
    while (c.left.len > 0) {
        uint64_t tag;
        if (take_varint(&c, &tag) != 0)
            return err_set(err, ERR_FORMAT, "bad tag after field %llu", (unsigned long long)last);
        uint64_t number = tag >> 3;
        if (number == 0 || number > s->field_count)
            return err_set(err, ERR_FORMAT, "unknown field %llu", (unsigned long long)number);
        bool again = number == last && s->fields[number - 1].kind == SHAPE_LIST;
        if ((number < last || (number == last && !again)) && !mutant("PRESCAN"))
            return err_set(err, ERR_FORMAT, "%s: %s", s->fields[number - 1].name,
                           number == last ? "twice" : "out of order");
        index = again ? index + 1 : 0;
        TRY(scan_value(s, number, (unsigned)(tag & 7), &c, index, depth, err));
        last = number;
    }
    return 0;
}

int prescan(enum message_type type, struct bytes wire, struct err *err)
{
    const struct shape *s = shape_find(type);
    if (s == NULL)
        return err_set(err, ERR_FORMAT, "unknown message type 0x%02x", (unsigned)type);
    if (wire.len > message_max(type))
        return err_set(err, ERR_TOO_LONG, "%s: %zu bytes, at most %zu", message_name(type), wire.len,
                       message_max(type));
    int rc = scan(s, wire, 1, err);
    return rc == 0 ? 0 : err_wrap(err, rc, "%s", message_name(type));
}
