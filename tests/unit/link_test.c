/* link: bodies there and back; every field's length checked; no two readings of altered bytes. */
#include "common/walk/link.h"
#include "tests/lib/hex.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const uint8_t hash[5][HASH_LEN] = {{1}, {2}, {3}, {4}, {5}};
static struct msg_factor factors[65];

static struct msg_link_body good_body(void)
{
    struct msg_link_body b = {.network = bytes_str("example"),
                              .sid = BYTES_OF(hash[0]),
                              .eid = BYTES_OF(hash[1]),
                              .chain_hash = BYTES_OF(hash[2]),
                              .policy_hash = BYTES_OF(hash[3]),
                              .envelope_hash = BYTES_OF(hash[4]),
                              .generation = 1,
                              .stage = 1,
                              .slot = 2,
                              .node = bytes_str("n1"),
                              .prevhash = BYTES_OF(hash[0]),
                              .roster_version = 3,
                              .status_version = 4,
                              .issued_ms = 1795546800123,
                              .not_after_ms = 1795547400000};
    for (size_t i = 0; i < 65; i++)
        factors[i].name = bytes_str("evidence:tpm2");
    b.factors.at = factors;
    b.factors.count = 2;
    return b;
}

static int make(const struct msg_link_body *b, struct buf *out, struct err *err)
{
    buf_init(out, LINK_BODY_MAX);
    return link_make(b, out, err);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct msg_link_body b = good_body();
    struct buf bytes, again;
    struct message *m = NULL;
    struct err err = {0};
    assert_int_equal(make(&b, &bytes, &err), 0);
    assert_int_equal(link_parse(buf_view(&bytes), &m, &err), 0);
    assert_true(bytes_is(m->link_body.node, "n1"));
    assert_true(bytes_equal(m->link_body.envelope_hash, BYTES_OF(hash[4])));
    assert_int_equal(m->link_body.factors.count, 2);
    assert_int_equal(m->link_body.not_after_ms, b.not_after_ms);
    assert_int_equal(make(&m->link_body, &again, &err), 0);
    assert_true(bytes_equal(buf_view(&again), buf_view(&bytes)));
    message_free(m);
    buf_done(&bytes);
    buf_done(&again);
}

static void must_not_make(const struct msg_link_body *b, const char *word)
{
    struct buf bytes;
    struct err err = {0};
    assert_int_equal(make(b, &bytes, &err), ERR_FORMAT);
    if (strstr(err.text, word) == NULL)
        fail_msg("\"%s\" does not name %s", err.text, word);
    assert_int_equal(bytes.len, 0);
    buf_done(&bytes);
}

static void test_lengths(void **state)
{
    (void)state;
    static const uint8_t long_hash[HASH_LEN + 1] = {1};
    static const struct {
        const char *name;
        size_t at;
    } hashes[] = {
        {"sid", offsetof(struct msg_link_body, sid)},
        {"eid", offsetof(struct msg_link_body, eid)},
        {"chain_hash", offsetof(struct msg_link_body, chain_hash)},
        {"policy_hash", offsetof(struct msg_link_body, policy_hash)},
        {"envelope_hash", offsetof(struct msg_link_body, envelope_hash)},
        {"prevhash", offsetof(struct msg_link_body, prevhash)},
    };
    static const size_t lengths[] = {0, 1, 31, 33};
    for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++)
        for (size_t j = 0; j < 4; j++) {
            struct msg_link_body b = good_body();
            struct bytes view = BYTES(long_hash, lengths[j]);
            memcpy((uint8_t *)&b + hashes[i].at, &view, sizeof(view));
            must_not_make(&b, hashes[i].name);
        }
}

static void test_names_and_numbers(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "N1", "n 1", "n/1", "-n", "n\n", "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct msg_link_body b = good_body(), c = good_body();
        b.node = bytes_str(bad[i]);
        c.network = bytes_str(bad[i]);
        must_not_make(&b, "node");
        must_not_make(&c, "network");
    }
    static const uint64_t stages[] = {0, 16, UINT64_MAX}, slots[] = {0, 17, UINT64_MAX};
    for (size_t i = 0; i < 3; i++) {
        struct msg_link_body b = good_body(), c = good_body();
        b.stage = stages[i];
        c.slot = slots[i];
        must_not_make(&b, "stage");
        must_not_make(&c, "slot");
    }
    struct msg_link_body b = good_body();
    factors[1].name = BYTES_NONE;
    must_not_make(&b, "factors[1]");
}

/* The same checks when reading: a body that packs and is not a link. */
static void test_parse_checks_too(void **state)
{
    (void)state;
    struct message m = {.type = MESSAGE_LINK_BODY, .link_body = good_body()}, *got = NULL;
    struct buf b;
    buf_init(&b, LINK_BODY_MAX);
    m.link_body.stage = 16;
    assert_int_equal(message_pack(&m, &b, NULL), 0);
    assert_int_equal(link_parse(buf_view(&b), &got, NULL), ERR_FORMAT);
    b.len = 0;
    m.link_body = good_body();
    m.link_body.sid = BYTES(hash[0], 31);
    assert_int_equal(message_pack(&m, &b, NULL), 0);
    assert_int_equal(link_parse(buf_view(&b), &got, NULL), ERR_FORMAT);
    assert_null(got);
    buf_done(&b);
}

static void refused_or_canonical(struct bytes bytes)
{
    struct buf again;
    struct message *m = NULL;
    if (link_parse(bytes, &m, NULL) != 0)
        return;
    assert_int_equal(make(&m->link_body, &again, NULL), 0);
    assert_true(bytes_equal(buf_view(&again), bytes));
    buf_done(&again);
    message_free(m);
}

/* Altered or cut bytes are refused, or are the only encoding of what is read from them. */
static void test_altered(void **state)
{
    (void)state;
    struct msg_link_body body = good_body();
    struct buf b;
    struct message *m = NULL;
    assert_int_equal(make(&body, &b, NULL), 0);
    for (size_t bit = 0; bit < 8 * b.len; bit++) {
        b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refused_or_canonical(buf_view(&b));
        b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < b.len; len++)
        refused_or_canonical(BYTES(b.p, len));
    assert_int_equal(link_parse(BYTES(b.p, 200), &m, NULL), ERR_FORMAT); /* inside prevhash */
    assert_null(m);
    buf_done(&b);
}

static void test_too_long(void **state)
{
    (void)state;
    static const uint8_t large[LINK_BODY_MAX + 1];
    struct message *m = NULL;
    struct err err = {0};
    assert_int_equal(link_parse(BYTES_OF(large), &m, &err), ERR_TOO_LONG);
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_names_and_numbers), cmocka_unit_test(test_parse_checks_too),
        cmocka_unit_test(test_altered),           cmocka_unit_test(test_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
