/* Fuzz target: a stream of frames in two different cuttings gives the same messages and the same end. First byte: piece
 * size. */
#include "proto/frame.h"
#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    int rc;
    unsigned count;
    bool idle;
    struct buf again; /* the messages packed as frames */
};

static void take(struct frame_reader *r, struct bytes *part, struct result *ret)
{
    struct message *m = NULL;
    struct err err = {0};
    ret->rc = frame_reader_feed(r, part, &m, &err);
    if (m == NULL)
        return;
    assert(ret->rc == 0);
    ret->count++;
    int rc = frame_pack(m, &ret->again, &err);
    assert(rc == 0);
    message_free(m);
}

static struct result run(struct bytes stream, size_t piece)
{
    struct result ret = {0};
    struct frame_reader *r = NULL;
    buf_init(&ret.again, stream.len);
    int rc = frame_reader_new(NULL, NULL, &r);
    assert(rc == 0);
    while (stream.len > 0 && ret.rc == 0) {
        struct bytes part = BYTES(stream.p, stream.len < piece ? stream.len : piece);
        stream = BYTES(stream.p + part.len, stream.len - part.len);
        while (part.len > 0 && ret.rc == 0)
            take(r, &part, &ret);
    }
    ret.idle = frame_reader_idle(r);
    frame_reader_free(r);
    return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes stream = BYTES(data + 1, size - 1);
    struct result whole = run(stream, stream.len), cut = run(stream, (size_t)data[0] + 1);
    assert(whole.rc == cut.rc && whole.count == cut.count);
    assert(bytes_equal(buf_view(&whole.again), buf_view(&cut.again)));
    assert(whole.again.len <= stream.len &&
           (whole.again.len == 0 || bytes_equal(buf_view(&whole.again), BYTES(stream.p, whole.again.len))));
    assert(whole.rc != 0 || whole.idle == (whole.again.len == stream.len));
    buf_done(&whole.again);
    buf_done(&cut.again);
    return 0;
}
