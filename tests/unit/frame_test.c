/* frame: any cutting of a stream gives the same messages; what may not come costs no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/frame.h"
#include <stdlib.h>
#include <string.h>

static void put_number(struct buf *out, uint64_t n)
{
    struct message m = {.type = MESSAGE_BUSY, .busy = {.retry_after_ms = n}};
    assert_int_equal(frame_pack(&m, out, NULL), 0);
}

static void put_documents(struct buf *out, size_t len)
{
    uint8_t *text = calloc(1, len);
    assert_non_null(text);
    struct msg_note note = {.text = {text, len}};
    struct message m = {.type = MESSAGE_DOCUMENTS, .documents = {.notes = {.at = &note, .count = 1}}};
    assert_int_equal(frame_pack(&m, out, NULL), 0);
    free(text);
}

/* Feeds the stream in pieces of `piece` bytes; returns how many messages came, of which numbers 1, 2, 3… */
static unsigned feed_all(struct frame_reader *r, struct bytes stream, size_t piece)
{
    unsigned messages = 0;
    while (stream.len > 0) {
        struct bytes part = BYTES(stream.p, stream.len < piece ? stream.len : piece);
        stream = BYTES(stream.p + part.len, stream.len - part.len);
        while (part.len > 0) {
            struct message *m = NULL;
            assert_int_equal(frame_reader_feed(r, &part, &m, NULL), 0);
            if (m == NULL)
                continue;
            messages++;
            if (m->type == MESSAGE_BUSY)
                assert_int_equal(m->busy.retry_after_ms, messages);
            assert_true(frame_reader_idle(r));
            message_free(m);
        }
    }
    return messages;
}

static void any_cutting_gives_the_same_messages(void **state)
{
    (void)state;
    struct buf stream;
    buf_init(&stream, 1 << 20);
    put_number(&stream, 1);
    put_number(&stream, 2);
    struct message empty = {.type = MESSAGE_STATUS_GET};
    assert_int_equal(frame_pack(&empty, &stream, NULL), 0);
    put_number(&stream, 4);
    put_documents(&stream, 5000);
    put_number(&stream, 6);
    for (size_t piece = 1; piece < 300; piece++) {
        struct frame_reader *r = NULL;
        assert_int_equal(frame_reader_new(NULL, NULL, &r), 0);
        assert_true(frame_reader_idle(r));
        assert_int_equal(feed_all(r, buf_view(&stream), piece), 6);
        frame_reader_free(r);
    }
    buf_done(&stream);
}

static bool only_busy(void *arg, enum message_type type)
{
    unsigned *asked = arg;
    (*asked)++;
    return type == MESSAGE_BUSY;
}

static int feed_hex(struct frame_reader *r, const char *hex, struct message **ret_message, struct err *err)
{
    uint8_t data[64];
    size_t len = strlen(hex) / 2;
    assert_int_equal(hex_decode(bytes_str(hex), data, len), 0);
    struct bytes view = BYTES(data, len);
    return frame_reader_feed(r, &view, ret_message, err);
}

static void bad_frames_kill_the_stream(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        int rc;
    } rows[] = {
        {"0000000004", ERR_FORMAT},                                   /* no room for a type */
        {"0000000100", ERR_FORMAT},                                   /* type 0 */
        {"000000017f", ERR_FORMAT},                                   /* not in the table */
        {"0000000182", ERR_FORMAT},                                   /* an Entry is never framed */
        {"0000000120", ERR_ORDER},                                    /* StatusGet is not allowed now */
        {"0040000105", ERR_ORDER},                                    /* nor Documents, whatever its length */
        {"0000004204", ERR_TOO_LONG},                                 /* one more than a Busy may have */
        {"ffffffff04", ERR_TOO_LONG}, {"00000003040800", ERR_FORMAT}, /* the codec's rules hold */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct frame_reader *r = NULL;
        struct message *m = NULL;
        unsigned asked = 0;
        assert_int_equal(frame_reader_new(only_busy, &asked, &r), 0);
        assert_int_equal(feed_hex(r, rows[i].hex, &m, NULL), rows[i].rc);
        assert_null(m);
        assert_int_equal(feed_hex(r, "00000003040801", &m, NULL), rows[i].rc); /* dead for good */
        assert_null(m);
        frame_reader_free(r);
    }
}

static void the_largest_frame_passes_and_one_more_does_not(void **state)
{
    (void)state;
    struct frame_reader *r = NULL;
    struct message *m = NULL;
    assert_int_equal(frame_reader_new(NULL, NULL, &r), 0);
    assert_int_equal(feed_hex(r, "0040000105", &m, NULL), 0); /* 4 MiB and the type */
    assert_false(frame_reader_idle(r));
    frame_reader_free(r); /* in the middle */
    assert_int_equal(frame_reader_new(NULL, NULL, &r), 0);
    assert_int_equal(feed_hex(r, "0040000205", &m, NULL), ERR_TOO_LONG);
    frame_reader_free(r);
}

static void packing_keeps_the_buffer_whole(void **state)
{
    (void)state;
    struct message busy = {.type = MESSAGE_BUSY, .busy = {.retry_after_ms = 1}};
    struct message entry = {.type = MESSAGE_ENTRY, .entry = {.type = ENTRY_GRANT}};
    struct message bad = {.type = MESSAGE_BEGIN, .begin = {.network = bytes_str("\n")}};
    struct buf out;
    for (size_t room = 0; room < 7; room++) {
        buf_init(&out, 2 + room);
        buf_str(&out, "ab");
        assert_int_equal(frame_pack(&busy, &out, NULL), ERR_TOO_LONG);
        assert_true(buf_ok(&out) && bytes_is(buf_view(&out), "ab"));
        buf_done(&out);
    }
    buf_init(&out, 100);
    assert_int_equal(frame_pack(&entry, &out, NULL), ERR_FORMAT);
    assert_int_equal(frame_pack(&bad, &out, NULL), ERR_FORMAT);
    assert_true(buf_ok(&out) && out.len == 0);
    assert_int_equal(frame_pack(&busy, &out, NULL), 0);
    assert_int_equal(out.len, 7);
    assert_memory_equal(out.p, "\0\0\0\3\4\10\1", 7);
    buf_done(&out);
}

static void records_carry_tokens_messages_only(void **state)
{
    (void)state;
    struct message sign = {.type = MESSAGE_TOKEN_SIGN, .token_sign = {.id = 7, .size = 3}};
    struct message busy = {.type = MESSAGE_BUSY, .busy = {.retry_after_ms = 1}};
    struct message *got = NULL;
    struct buf out;
    buf_init(&out, RECORD_MAX);
    assert_int_equal(record_pack(&sign, &out, NULL), 0);
    assert_int_equal(out.len, 5);
    assert_memory_equal(out.p, "\x42\x08\x07\x10\x03", 5);
    assert_int_equal(record_unpack(buf_view(&out), &got, NULL), 0);
    assert_int_equal(got->type, MESSAGE_TOKEN_SIGN);
    assert_int_equal(got->token_sign.id, 7);
    message_free(got);
    assert_int_equal(record_pack(&busy, &out, NULL), ERR_FORMAT);
    assert_int_equal(out.len, 5);
    assert_int_equal(record_unpack(BYTES_NONE, &got, NULL), ERR_FORMAT);
    assert_int_equal(record_unpack(bytes_str("\x04\x08\x01"), &got, NULL), ERR_FORMAT); /* a Busy */
    assert_int_equal(record_unpack(bytes_str("\x82\x08\x01"), &got, NULL), ERR_FORMAT); /* an Entry */
    assert_int_equal(record_unpack(bytes_str("\x7f"), &got, NULL), ERR_FORMAT);
    assert_int_equal(record_unpack(bytes_str("\x42\x08\x07\x08\x07"), &got, NULL), ERR_FORMAT);
    uint8_t *big = calloc(1, RECORD_MAX + 1);
    assert_non_null(big);
    big[0] = MESSAGE_TOKEN_RELEASE;
    assert_int_equal(record_unpack(BYTES(big, RECORD_MAX + 1), &got, NULL), ERR_TOO_LONG);
    free(big);
    buf_done(&out);
}

/* The largest of tokend's messages must fit into a record. */
static void every_record_fits(void **state)
{
    (void)state;
    for (unsigned type = 0x40; type < 0x80; type++)
        assert_true(message_max((enum message_type)type) < RECORD_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cutting_gives_the_same_messages),
        cmocka_unit_test(bad_frames_kill_the_stream),
        cmocka_unit_test(the_largest_frame_passes_and_one_more_does_not),
        cmocka_unit_test(packing_keeps_the_buffer_whole),
        cmocka_unit_test(records_carry_tokens_messages_only),
        cmocka_unit_test(every_record_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
