/* shape: for every message the table that ties its plain struct to its protobuf descriptor; private to proto/.
 *
 * A shape lists the fields of a struct in the order of their field numbers, which are 1…n without gaps, so field number
 * f is fields[f - 1] here and in the descriptor. Limits per field stand here too, beside the type. */
#ifndef ENFILADE_PROTO_SHAPE_H
#define ENFILADE_PROTO_SHAPE_H

#include "proto/message.h"
#include <protobuf-c/protobuf-c.h>

#define SHAPE_DEPTH_MAX 4 /* messages inside messages, the outermost counts 1 */

enum shape_kind {
    SHAPE_BYTES,   /* struct bytes */
    SHAPE_STRING,  /* struct bytes, printable ASCII */
    SHAPE_TEXT,    /* the same; packing writes '?' for what is not printable and cuts at the limit: words for people */
    SHAPE_U64,     /* uint64_t */
    SHAPE_ENUM,    /* uint64_t, a value of the descriptor's enum */
    SHAPE_MESSAGE, /* embedded struct; absent and all empty are the same */
    SHAPE_LIST,    /* struct shape_list */
};

struct shape_list { /* the layout of every {at, count} in message.h */
    void *at;
    size_t count;
};

struct shape_field {
    const char *name;
    enum shape_kind kind;
    size_t offset;           /* in the plain struct */
    size_t max;              /* bytes of BYTES, STRING and TEXT, elements of LIST; else 0 */
    const struct shape *sub; /* MESSAGE and LIST */
};

struct shape {
    const ProtobufCMessageDescriptor *descriptor;
    size_t size; /* of the plain struct */
    const struct shape_field *fields;
    unsigned field_count;
};

const struct shape *shape_find(enum message_type type); /* NULL for unknown types */

/* Does every table match its descriptor: number of fields, field numbers, names, kinds, order and layout, depth?
 * Returns NULL, or the name of the first message that does not. For the unit test. */
const char *shape_check_all(void);

#endif
