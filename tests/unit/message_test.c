/* message: every table fits the schema, every random message survives pack and unpack, and limits hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/shape.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const enum message_type types[] = {
#define TYPE(name, type, field, max) MESSAGE_##name,
    MESSAGE_TABLE(TYPE)
#undef TYPE
};
#define TYPE_COUNT (sizeof(types) / sizeof(types[0]))

/* xorshift64*: reproducible; the seed is printed when a check fails */
static uint64_t seed;

static uint64_t next(void)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * 0x2545f4914f6cdd1dULL;
}

static uint64_t below(uint64_t n)
{
    return next() % n;
}

/* What a random message points to: freed as a whole. */
static void *held[20000];
static size_t held_count;

static void *hold(size_t size)
{
    assert_true(held_count < sizeof(held) / sizeof(held[0]));
    return held[held_count++] = calloc(1, size > 0 ? size : 1);
}

static void drop_all(void)
{
    while (held_count > 0)
        free(held[--held_count]);
}

static struct bytes random_bytes(size_t max, bool printable)
{
    size_t len = below(4) == 0 ? 0 : 1 + below(max < 100 ? max : 100);
    if (len == 0)
        return BYTES_NONE;
    uint8_t *p = hold(len);
    for (size_t i = 0; i < len; i++)
        p[i] = printable ? (uint8_t)(0x20 + below(0x5f)) : (uint8_t)next();
    return BYTES(p, len);
}

static uint64_t random_number(void)
{
    return below(4) == 0 ? 0 : next() >> below(64);
}

static void randomise(const struct shape *s, void *to)
{
    for (unsigned i = 0; i < s->field_count; i++) {
        const struct shape_field *f = &s->fields[i];
        void *field = (uint8_t *)to + f->offset;
        struct shape_list *list = field;
        switch (f->kind) {
        case SHAPE_BYTES:
        case SHAPE_STRING:
        case SHAPE_TEXT:
            *(struct bytes *)field = random_bytes(f->max, f->kind != SHAPE_BYTES);
            break;
        case SHAPE_U64:
            *(uint64_t *)field = random_number();
            break;
        case SHAPE_ENUM:
            *(uint64_t *)field = below(ENTRY_PRUNE + 1);
            break;
        case SHAPE_MESSAGE:
            randomise(f->sub, field);
            break;
        case SHAPE_LIST:
            list->count = below(5);
            list->at = list->count > 0 ? hold(list->count * f->sub->size) : NULL;
            for (size_t k = 0; k < list->count; k++)
                randomise(f->sub, (uint8_t *)list->at + k * f->sub->size);
            break;
        }
    }
}

static bool same(const struct shape *s, const void *a, const void *b)
{
    for (unsigned i = 0; i < s->field_count; i++) {
        const struct shape_field *f = &s->fields[i];
        const void *x = (const uint8_t *)a + f->offset, *y = (const uint8_t *)b + f->offset;
        const struct shape_list *lx = x, *ly = y;
        bool ok = true;
        switch (f->kind) {
        case SHAPE_BYTES:
        case SHAPE_STRING:
        case SHAPE_TEXT:
            ok = bytes_equal(*(const struct bytes *)x, *(const struct bytes *)y);
            break;
        case SHAPE_U64:
        case SHAPE_ENUM:
            ok = *(const uint64_t *)x == *(const uint64_t *)y;
            break;
        case SHAPE_MESSAGE:
            ok = same(f->sub, x, y);
            break;
        case SHAPE_LIST:
            ok = lx->count == ly->count;
            for (size_t k = 0; ok && k < lx->count; k++)
                ok = same(f->sub, (uint8_t *)lx->at + k * f->sub->size, (uint8_t *)ly->at + k * f->sub->size);
            break;
        }
        if (!ok) {
            print_error("%s.%s differs\n", s->descriptor->short_name, f->name);
            return false;
        }
    }
    return true;
}

/* pack(unpack(wire)) == wire */
static void check_inverse(enum message_type type, struct bytes wire, const struct message *from)
{
    struct err err = {0};
    struct message *m = NULL;
    if (message_unpack(type, wire, &m, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(m->type, type);
    if (from != NULL)
        assert_true(same(shape_find(type), &from->begin, &m->begin));
    struct buf again;
    buf_init(&again, message_max(type));
    assert_int_equal(message_pack(m, &again, &err), 0);
    assert_true(bytes_equal(buf_view(&again), wire));
    buf_done(&again);
    message_free(m);
}

static void the_tables_fit_the_schema(void **state)
{
    (void)state;
    const char *wrong = shape_check_all();
    if (wrong != NULL)
        fail_msg("the table of %s does not fit proto/enfilade.proto", wrong);
}

static void random_messages_survive(void **state)
{
    (void)state;
    for (unsigned round = 1; round <= 200; round++)
        for (size_t i = 0; i < TYPE_COUNT; i++) {
            seed = (uint64_t)round << 8 | i;
            struct message m = {.type = types[i]};
            randomise(shape_find(types[i]), &m.begin);
            struct buf wire;
            struct err err = {0};
            buf_init(&wire, message_max(types[i]));
            int rc = message_pack(&m, &wire, &err);
            if (rc == 0)
                check_inverse(types[i], buf_view(&wire), &m);
            else if (rc != ERR_TOO_LONG) /* some random messages are longer than their type may be */
                fail_msg("round %u, %s: %s", round, message_name(types[i]), err.text);
            buf_done(&wire);
            drop_all();
        }
}

/* Flip a byte of a good encoding: either it is refused or it is the one encoding of what it says. */
static void altered_encodings_are_refused_or_canonical(void **state)
{
    (void)state;
    unsigned accepted = 0, refused = 0;
    for (unsigned round = 1; round <= 2000; round++) {
        seed = (uint64_t)round << 32 | 7;
        enum message_type type = types[below(TYPE_COUNT)];
        struct message m = {.type = type};
        randomise(shape_find(type), &m.begin);
        struct buf wire;
        buf_init(&wire, message_max(type));
        if (message_pack(&m, &wire, NULL) == 0 && wire.len > 0) {
            wire.p[below(wire.len)] = (uint8_t)next();
            if (below(4) == 0)
                wire.len = below(wire.len + 1);
            struct message *got = NULL;
            if (message_unpack(type, buf_view(&wire), &got, NULL) == 0) {
                message_free(got);
                check_inverse(type, buf_view(&wire), NULL);
                accepted++;
            } else {
                refused++;
            }
        }
        buf_done(&wire);
        drop_all();
    }
    assert_true(accepted > 50 && refused > 50);
}

static int pack(const struct message *m, struct err *err)
{
    struct buf out;
    buf_init(&out, message_max(m->type));
    *err = (struct err){0};
    int rc = message_pack(m, &out, err);
    assert_true((rc == 0) == (out.len > 0)); /* all or nothing */
    buf_done(&out);
    return rc;
}

static void packing_keeps_the_limits(void **state)
{
    (void)state;
    struct err err;
    static const uint8_t zeros[256 * 1024];
    static struct msg_link links[241];
    struct message m = {.type = MESSAGE_BEGIN, .begin = {.network = bytes_str("lab\ttest")}};
    assert_int_equal(pack(&m, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "begin: network: byte 0x09"));
    m.begin.network = BYTES("a\0b", 3);
    assert_int_equal(pack(&m, &err), ERR_FORMAT);
    m.begin.network = bytes_str("lab");
    m.begin.chain = BYTES(zeros, 64 * 1024 + 1);
    assert_int_equal(pack(&m, &err), ERR_TOO_LONG);
    m.begin.chain = BYTES(zeros, 64 * 1024);
    assert_int_equal(pack(&m, &err), 0);
    m.begin.links.at = links;
    m.begin.links.count = 240;
    assert_int_equal(pack(&m, &err), 0);
    m.begin.links.count = 241;
    assert_int_equal(pack(&m, &err), ERR_TOO_LONG);
    m.begin.links.count = 1;
    links[0].body = BYTES(zeros, 2049);
    assert_int_equal(pack(&m, &err), ERR_TOO_LONG);
    assert_string_equal(err.text, "begin: links[0]: body: 2049 bytes, at most 2048");
    links[0].body = BYTES_NONE;
    struct message e = {.type = MESSAGE_ENTRY, .entry = {.type = ENTRY_PRUNE + 1}};
    assert_int_equal(pack(&e, &err), ERR_FORMAT);
    e.entry.type = (uint64_t)1 << 32 | ENTRY_GRANT;
    assert_int_equal(pack(&e, &err), ERR_FORMAT);
    struct message none = {.type = (enum message_type)0x7f};
    assert_int_equal(message_max(none.type), 0);
    assert_int_equal(pack(&none, &err), ERR_FORMAT);
}

static void a_buffer_that_is_too_small_stays_as_it_was(void **state)
{
    (void)state;
    struct message m = {.type = MESSAGE_BUSY, .busy = {.retry_after_ms = 5}};
    struct buf out;
    buf_init(&out, 3);
    buf_str(&out, "ab");
    assert_int_equal(message_pack(&m, &out, NULL), ERR_TOO_LONG);
    assert_true(buf_ok(&out) && bytes_is(buf_view(&out), "ab"));
    buf_done(&out);
}

static void words_for_people_are_made_to_fit(void **state)
{
    (void)state;
    char text[1500];
    memset(text, 'x', sizeof(text));
    memcpy(text, "a\nb\0c\xc3", 6);
    struct message m = {.type = MESSAGE_TOKEN_FAILURE, .token_failure = {.id = 1, .text = BYTES(text, sizeof(text))}};
    struct buf out;
    buf_init(&out, message_max(m.type));
    assert_int_equal(message_pack(&m, &out, NULL), 0);
    struct message *got = NULL;
    assert_int_equal(message_unpack(m.type, buf_view(&out), &got, NULL), 0);
    assert_int_equal(got->token_failure.text.len, 1024);
    assert_memory_equal(got->token_failure.text.p, "a?b?c?x", 7);
    message_free(got);
    buf_done(&out);
}

/* The longest lists of the smallest elements: many structs from few bytes must still fit the allocator's bound. */
static void the_longest_lists_fit_the_memory_bound(void **state)
{
    (void)state;
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        const struct shape *s = shape_find(types[i]);
        struct message m = {.type = types[i]};
        for (unsigned k = 0; k < s->field_count; k++)
            if (s->fields[k].kind == SHAPE_LIST) {
                struct shape_list *list = (struct shape_list *)(void *)((uint8_t *)&m.begin + s->fields[k].offset);
                list->count = s->fields[k].max;
                list->at = hold(list->count * s->fields[k].sub->size);
            }
        struct buf wire;
        buf_init(&wire, message_max(types[i]));
        struct err err = {0};
        if (message_pack(&m, &wire, &err) != 0)
            fail_msg("%s", err.text);
        check_inverse(types[i], buf_view(&wire), &m);
        buf_done(&wire);
        drop_all();
    }
}

static void the_largest_messages_fit_the_memory_bound(void **state)
{
    (void)state;
    static const uint8_t zeros[2048];
    struct message m = {.type = MESSAGE_ENTRIES};
    m.entries.entries.count = 2040;
    m.entries.entries.at = hold(m.entries.entries.count * sizeof(struct msg_entry_bytes));
    for (size_t i = 0; i < m.entries.entries.count; i++)
        m.entries.entries.at[i].entry = BYTES(zeros, sizeof(zeros));
    struct buf wire;
    buf_init(&wire, message_max(m.type));
    assert_int_equal(message_pack(&m, &wire, NULL), 0);
    assert_true(wire.len > 4 * 1000 * 1000);
    check_inverse(m.type, buf_view(&wire), &m);
    buf_done(&wire);
    drop_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tables_fit_the_schema),
        cmocka_unit_test(random_messages_survive),
        cmocka_unit_test(altered_encodings_are_refused_or_canonical),
        cmocka_unit_test(packing_keeps_the_limits),
        cmocka_unit_test(a_buffer_that_is_too_small_stays_as_it_was),
        cmocka_unit_test(words_for_people_are_made_to_fit),
        cmocka_unit_test(the_longest_lists_fit_the_memory_bound),
        cmocka_unit_test(the_largest_messages_fit_the_memory_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
