/* prescan: each rule refuses its violation, and the field is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/prescan.h"
#include <stdlib.h>
#include <string.h>

struct row {
    const char *rule;
    enum message_type type;
    const char *hex; /* the encoding */
    int rc;
    const char *words; /* in the error's text */
};

/* Tags: field << 3 | wire type; 0 varint, 1 fixed64, 2 length, 3 group, 5 fixed32. */
static const struct row rows[] = {
    {"good numbers", MESSAGE_DENY, "0801120201021805", 0, NULL},
    {"empty message", MESSAGE_STATUS_GET, "", 0, NULL},
    {"all fields absent", MESSAGE_DENY, "", 0, NULL},
    {"good list", MESSAGE_ANSWER, "0a01aa12020801", 0, NULL},
    {"an empty element", MESSAGE_ANSWER, "1200", 0, NULL},
    {"largest number", MESSAGE_BUSY, "08ffffffffffffffffff01", 0, NULL},
    {"duplicate field", MESSAGE_DENY, "08010802", ERR_FORMAT, "deny: code: twice"},
    {"duplicate embedded message", MESSAGE_RELEASE, "0a030a01aa0a03120100", ERR_FORMAT, "release: link: twice"},
    {"descending order", MESSAGE_DENY, "18010801", ERR_FORMAT, "deny: code: out of order"},
    {"list interrupted", MESSAGE_CHALLENGE, "1a030a016122001a030a0161", ERR_FORMAT, "factors: out of order"},
    {"overlong varint", MESSAGE_DENY, "088100", ERR_FORMAT, "code: bad varint"},
    {"overlong zero", MESSAGE_DENY, "088000", ERR_FORMAT, "code: bad varint"},
    {"overlong tag", MESSAGE_DENY, "880001", ERR_FORMAT, "bad tag"},
    {"overlong length", MESSAGE_DENY, "12810001", ERR_FORMAT, "denial_id: bad varint"},
    {"more than 64 bits", MESSAGE_BUSY, "08ffffffffffffffffff02", ERR_FORMAT, "retry_after_ms: bad varint"},
    {"eleven byte varint", MESSAGE_BUSY, "08ffffffffffffffffffff01", ERR_FORMAT, "retry_after_ms: bad varint"},
    {"explicit default number", MESSAGE_DENY, "0800", ERR_FORMAT, "code: a default value"},
    {"explicit default bytes", MESSAGE_DENY, "1200", ERR_FORMAT, "denial_id: a default value"},
    {"explicit default string", MESSAGE_BEGIN, "0a00", ERR_FORMAT, "network: a default value"},
    {"explicit default message", MESSAGE_RELEASE, "0a00", ERR_FORMAT, "link: a default value"},
    {"explicit default enum", MESSAGE_ENTRY, "0800", ERR_FORMAT, "type: a default value"},
    {"unknown field", MESSAGE_DENY, "2001", ERR_FORMAT, "unknown field 4"},
    {"unknown field in an empty message", MESSAGE_STATUS_GET, "0801", ERR_FORMAT, "unknown field 1"},
    {"field 0", MESSAGE_DENY, "0001", ERR_FORMAT, "unknown field 0"},
    {"huge field number", MESSAGE_DENY, "f8ffffffffffffffff0101", ERR_FORMAT, "unknown field"},
    {"unknown enum value", MESSAGE_ENTRY, "080a", ERR_FORMAT, "type: unknown value 10"},
    {"enum of 2^32+1", MESSAGE_ENTRY, "088180808010", ERR_FORMAT, "type: unknown value"},
    {"negative enum", MESSAGE_ENTRY, "08ffffffffffffffffff01", ERR_FORMAT, "type: unknown value"},
    {"bytes where a number belongs", MESSAGE_DENY, "0a0101", ERR_FORMAT, "code: wire type 2"},
    {"a number where bytes belong", MESSAGE_DENY, "1001", ERR_FORMAT, "denial_id: wire type 0"},
    {"fixed64", MESSAGE_DENY, "090100000000000000", ERR_FORMAT, "code: wire type 1"},
    {"fixed32", MESSAGE_DENY, "0d01000000", ERR_FORMAT, "code: wire type 5"},
    {"group", MESSAGE_DENY, "0b0c", ERR_FORMAT, "code: wire type 3"},
    {"truncated after the tag", MESSAGE_DENY, "08", ERR_FORMAT, "code: bad varint"},
    {"truncated varint", MESSAGE_DENY, "0880", ERR_FORMAT, "code: bad varint"},
    {"truncated bytes", MESSAGE_DENY, "1203aabb", ERR_FORMAT, "denial_id: truncated"},
    {"length of 2^64-1", MESSAGE_DENY, "12ffffffffffffffffff01", ERR_FORMAT, "denial_id: truncated"},
    {"element longer than its message", MESSAGE_ANSWER, "12041203aabb", ERR_FORMAT, "tags[0]: tag: truncated"},
    {"second element named", MESSAGE_ANSWER, "120208011202080012020801", ERR_FORMAT,
     "answer: tags[1]: slot: a default"},
    {"NUL in a string", MESSAGE_BEGIN, "0a03610062", ERR_FORMAT, "network: byte 0x00"},
    {"newline in a string", MESSAGE_BEGIN, "0a03610a62", ERR_FORMAT, "network: byte 0x0a"},
    {"DEL in a string", MESSAGE_BEGIN, "0a017f", ERR_FORMAT, "network: byte 0x7f"},
    {"UTF-8 in a string", MESSAGE_BEGIN, "0a02c3a9", ERR_FORMAT, "network: byte 0xc3"},
    {"text is held to it too", MESSAGE_TOKEN_FAILURE, "1a010a", ERR_FORMAT, "text: byte 0x0a"},
    {"unknown message", (enum message_type)0x1f, "", ERR_FORMAT, "unknown message type 0x1f"},
};

static void each_rule_refuses_its_violation(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *r = &rows[i];
        size_t len = strlen(r->hex) / 2;
        uint8_t *wire = malloc(len > 0 ? len : 1); /* exact, so that ASan sees any step past the end */
        assert_non_null(wire);
        assert_int_equal(hex_decode(bytes_str(r->hex), wire, len), 0);
        struct err err = {0};
        int rc = prescan(r->type, BYTES(wire, len), &err);
        if (rc != r->rc || (r->words != NULL && strstr(err.text, r->words) == NULL))
            fail_msg("%s: %s", r->rule, rc == 0 ? "accepted" : err.text);
        free(wire);
    }
}

/* count empty elements of field `number` in a message of that type */
static int scan_elements(enum message_type type, unsigned number, size_t count)
{
    struct buf wire;
    buf_init(&wire, 1 << 20);
    for (size_t i = 0; i < count; i++) {
        buf_u8(&wire, (uint8_t)(number << 3 | 2));
        buf_u8(&wire, 0);
    }
    int rc = prescan(type, buf_view(&wire), NULL);
    buf_done(&wire);
    return rc;
}

static void counts_are_capped(void **state)
{
    (void)state;
    static const struct {
        enum message_type type;
        unsigned number;
        size_t max;
    } caps[] = {
        {MESSAGE_BEGIN, 8, 240},      {MESSAGE_BEGIN, 9, 64},          {MESSAGE_ATTEST, 1, 8},
        {MESSAGE_ATTEST, 2, 32},      {MESSAGE_CHALLENGE, 3, 64},      {MESSAGE_CHALLENGE, 4, 64},
        {MESSAGE_ANSWER, 2, 16},      {MESSAGE_NEED_DOCUMENTS, 1, 64}, {MESSAGE_GET_DOCUMENTS, 1, 64},
        {MESSAGE_DOCUMENTS, 1, 2048}, {MESSAGE_LINK_BODY, 12, 64},     {MESSAGE_TPM_EVIDENCE, 4, 24},
        {MESSAGE_STATUS, 9, 2048},    {MESSAGE_STATUS, 10, 256},       {MESSAGE_EXPLAIN, 10, 64},
        {MESSAGE_ENTRIES, 2, 4096},
    };
    for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
        assert_int_equal(scan_elements(caps[i].type, caps[i].number, caps[i].max), 0);
        assert_int_equal(scan_elements(caps[i].type, caps[i].number, caps[i].max + 1), ERR_TOO_LONG);
    }
}

static int scan_bytes(enum message_type type, unsigned number, size_t len)
{
    uint8_t filled[4096];
    memset(filled, 'x', sizeof(filled));
    struct buf wire;
    buf_init(&wire, 1 << 16);
    buf_u8(&wire, (uint8_t)(number << 3 | 2));
    if (len >= 128) {
        buf_u8(&wire, (uint8_t)(len & 0x7f) | 0x80);
        buf_u8(&wire, (uint8_t)(len >> 7));
    } else {
        buf_u8(&wire, (uint8_t)len);
    }
    buf_put(&wire, BYTES(filled, len));
    int rc = prescan(type, buf_view(&wire), NULL);
    buf_done(&wire);
    return rc;
}

static void lengths_are_capped(void **state)
{
    (void)state;
    static const struct {
        enum message_type type;
        unsigned number;
        size_t max;
    } caps[] = {
        {MESSAGE_BEGIN, 1, 64},     {MESSAGE_BEGIN, 6, 65},           {MESSAGE_BEGIN, 7, 32},
        {MESSAGE_ANSWER, 1, 72},    {MESSAGE_LINK_BODY, 2, 32},       {MESSAGE_TOKEN_SIGNATURE, 2, 64},
        {MESSAGE_EXPLAIN, 6, 1024}, {MESSAGE_TOKEN_FAILURE, 3, 1024},
    };
    for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
        assert_int_equal(scan_bytes(caps[i].type, caps[i].number, caps[i].max), 0);
        assert_int_equal(scan_bytes(caps[i].type, caps[i].number, caps[i].max + 1), ERR_TOO_LONG);
    }
}

static void the_whole_is_capped(void **state)
{
    (void)state;
    static const uint8_t zeros[65];
    struct err err = {0};
    assert_int_equal(prescan(MESSAGE_BUSY, BYTES_OF(zeros), &err), ERR_TOO_LONG);
    assert_string_equal(err.text, "busy: 65 bytes, at most 64");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_refuses_its_violation),
        cmocka_unit_test(counts_are_capped),
        cmocka_unit_test(lengths_are_capped),
        cmocka_unit_test(the_whole_is_capped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
