/* frame: u32be length ‖ u8 type ‖ protobuf; length counts type and protobuf. Capped per type before allocation.
 *
 * A record is the same without the length, for sockets that keep records apart (node and tokend, SEQPACKET). */
#ifndef ENFILADE_PROTO_FRAME_H
#define ENFILADE_PROTO_FRAME_H

#include "proto/message.h"

#define FRAME_HEADER 5

/* Appends one frame. ERR_FORMAT also for types that are never framed (from 0x80 on); ERR_TOO_LONG, ERR_NOMEM. On an
 * error nothing was appended. */
MUST_CHECK int frame_pack(const struct message *m, struct buf *out, struct err *err);

/* A reader that is fed arbitrary pieces. `allowed` says which types may come now (NULL: all framed types): the cap of a
 * type that is not allowed is zero, so a stranger cannot make us allocate for it. */
struct frame_reader; /* opaque */
typedef bool (*frame_allowed)(void *arg, enum message_type type);
MUST_CHECK int frame_reader_new(frame_allowed allowed, void *arg, struct frame_reader **ret_reader);
void frame_reader_free(struct frame_reader *r);
/* Consumes some of *data (moves it forward). *ret_message is set when a frame is complete, else NULL: call again while
 * data is left. ERR_FORMAT, ERR_TOO_LONG, ERR_ORDER (type not allowed now), ERR_NOMEM; after an error the stream is
 * dead. */
MUST_CHECK int frame_reader_feed(struct frame_reader *r, struct bytes *data, struct message **ret_message,
                                 struct err *err);
bool frame_reader_idle(const struct frame_reader *r); /* between frames */

/* One record = u8 type ‖ protobuf of a TOKEN_* message, at most RECORD_MAX bytes: a receive buffer of that size never
 * cuts one. Never empty, so a record of zero bytes is an end of file.
 *
 * record_pack appends to out. ERR_FORMAT (also for other types), ERR_TOO_LONG, ERR_NOMEM; on an error nothing was
 * appended. record_unpack: ERR_FORMAT, ERR_TOO_LONG, ERR_NOMEM; free *ret with message_free. */
#define RECORD_MAX (1u + 128u * 1024u)
MUST_CHECK int record_pack(const struct message *m, struct buf *out, struct err *err);
MUST_CHECK int record_unpack(struct bytes record, struct message **ret, struct err *err);

#endif
