/* Fuzz target: whatever the codec accepts is the one encoding of what it says. First byte: which message. */
#include "proto/message.h"
#include "proto/prescan.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const enum message_type types[] = {
#define TYPE(name, type, field, max) MESSAGE_##name,
    MESSAGE_TABLE(TYPE)
#undef TYPE
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum message_type type = types[data[0] % (sizeof(types) / sizeof(types[0]))];
    struct bytes wire = BYTES(data + 1, size - 1);
    struct err err = {0};
    struct message *m = NULL;
    int scanned = prescan(type, wire, &err);
    int rc = message_unpack(type, wire, &m, &err);
    assert(rc == scanned); /* what the pre-scan accepts, protobuf-c accepts, and it fits the memory bound */
    if (rc != 0)
        return 0;
    struct buf again;
    buf_init(&again, message_max(type));
    rc = message_pack(m, &again, &err);
    assert(rc == 0);
    assert(bytes_equal(buf_view(&again), wire));
    buf_done(&again);
    message_free(m);
    return 0;
}
