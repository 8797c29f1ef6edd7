/* frame: messages on a stream and in records. */
#include "proto/frame.h"
#include "common/base/mutant.h"
#include <stdlib.h>
#include <string.h>

#define FRAMED_END 0x80   /* types from here on are never sent */
#define RECORD_FIRST 0x40 /* types of tokend, up to FRAMED_END */

struct frame_reader {
    frame_allowed allowed;
    void *arg;
    uint8_t header[FRAME_HEADER];
    size_t header_len; /* how much of the header is here; FRAME_HEADER: the body comes now */
    enum message_type type;
    size_t body_len; /* as announced */
    struct buf body; /* grows with what arrived, not with what was announced */
    int dead;        /* the error that ended this stream */
};

static bool is_framed(unsigned type)
{
    return type < FRAMED_END && message_max((enum message_type)type) > 0;
}

static bool is_record(unsigned type)
{
    return type >= RECORD_FIRST && is_framed(type);
}

/* Appends room for a header, then the encoding; takes both back on an error. */
static int pack_behind(const struct message *m, size_t header_len, struct buf *out, struct err *err)
{
    static const uint8_t zero[FRAME_HEADER];
    size_t start = out->len;
    if (!buf_ok(out) || header_len > out->max - out->len)
        return err_set(err, ERR_TOO_LONG, "%s: does not fit into the buffer", message_name(m->type));
    buf_put(out, BYTES(zero, header_len));
    if (!buf_ok(out))
        return err_set(err, ERR_NOMEM, "%s: out of memory", message_name(m->type));
    int rc = message_pack(m, out, err);
    if (rc != 0) {
        out->len = start;
        return rc;
    }
    out->p[start + header_len - 1] = (uint8_t)m->type;
    return 0;
}

int frame_pack(const struct message *m, struct buf *out, struct err *err)
{
    if (!is_framed(m->type))
        return err_set(err, ERR_FORMAT, "type 0x%02x is never framed", (unsigned)m->type);
    size_t start = out->len;
    TRY(pack_behind(m, FRAME_HEADER, out, err));
    size_t length = out->len - start - 4; /* at most message_max + 1, far below 2^32 */
    for (size_t i = 0; i < 4; i++)
        out->p[start + i] = (uint8_t)(length >> (24 - 8 * i));
    return 0;
}

int frame_reader_new(frame_allowed allowed, void *arg, struct frame_reader **ret_reader)
{
    struct frame_reader *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return ERR_NOMEM;
    r->allowed = allowed;
    r->arg = arg;
    buf_init(&r->body, 0);
    *ret_reader = r;
    return 0;
}

void frame_reader_free(struct frame_reader *r)
{
    if (r == NULL)
        return;
    buf_done(&r->body);
    free(r);
}

bool frame_reader_idle(const struct frame_reader *r)
{
    return r->header_len == 0;
}

static struct bytes take(struct bytes *data, size_t most)
{
    struct bytes taken = BYTES(data->p, data->len < most ? data->len : most);
    if (taken.len > 0)
        *data = BYTES(data->p + taken.len, data->len - taken.len);
    return taken;
}

/* The header is complete: may this come, and is it short enough? */
static int begin_body(struct frame_reader *r, struct err *err)
{
    struct cursor c = {BYTES(r->header, FRAME_HEADER)};
    uint32_t length;
    uint8_t type;
    if (cursor_u32be(&c, &length) != 0 || cursor_u8(&c, &type) != 0 || length == 0)
        return err_set(err, ERR_FORMAT, "frame without a type");
    if (!is_framed(type))
        return err_set(err, ERR_FORMAT, "unknown frame type 0x%02x", type);
    r->type = (enum message_type)type;
    if (r->allowed != NULL && !r->allowed(r->arg, r->type))
        return err_set(err, ERR_ORDER, "%s may not come now", message_name(r->type));
    r->body_len = length - 1;
    if (r->body_len > message_max(r->type) && !mutant("FRAME_CAP"))
        return err_set(err, ERR_TOO_LONG, "%s: %zu bytes announced, at most %zu", message_name(r->type), r->body_len,
                       message_max(r->type));
    buf_init(&r->body, r->body_len);
    return 0;
}

static int end_body(struct frame_reader *r, struct message **ret_message, struct err *err)
{
    int rc = message_unpack(r->type, buf_view(&r->body), ret_message, err);
    buf_done(&r->body);
    r->header_len = 0;
    return rc;
}

static int feed(struct frame_reader *r, struct bytes *data, struct message **ret_message, struct err *err)
{
    if (r->header_len < FRAME_HEADER) {
        struct bytes part = take(data, FRAME_HEADER - r->header_len);
        if (part.len > 0)
            memcpy(r->header + r->header_len, part.p, part.len);
        r->header_len += part.len;
        if (r->header_len < FRAME_HEADER)
            return 0;
        TRY(begin_body(r, err));
    }
    buf_put(&r->body, take(data, r->body_len - r->body.len));
    if (!buf_ok(&r->body))
        return err_set(err, ERR_NOMEM, "%s: out of memory", message_name(r->type));
    return r->body.len == r->body_len ? end_body(r, ret_message, err) : 0;
}

int frame_reader_feed(struct frame_reader *r, struct bytes *data, struct message **ret_message, struct err *err)
{
    *ret_message = NULL;
    if (r->dead != 0)
        return err_set(err, r->dead, "the stream ended with an error before");
    r->dead = feed(r, data, ret_message, err);
    if (r->dead != 0)
        buf_done(&r->body);
    return r->dead;
}

int record_pack(const struct message *m, struct buf *out, struct err *err)
{
    if (!is_record(m->type))
        return err_set(err, ERR_FORMAT, "%s is not a record", message_name(m->type));
    return pack_behind(m, 1, out, err);
}

int record_unpack(struct bytes record, struct message **ret, struct err *err)
{
    if (record.len > RECORD_MAX)
        return err_set(err, ERR_TOO_LONG, "record of %zu bytes, at most %u", record.len, RECORD_MAX);
    if (record.len == 0 || !is_record(record.p[0]))
        return err_set(err, ERR_FORMAT, "record of an unknown type");
    return message_unpack((enum message_type)record.p[0], BYTES(record.p + 1, record.len - 1), ret, err);
}
