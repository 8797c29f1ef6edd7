/* limits_test: connections and Begins per address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/limits.h"
#include <string.h>

static void v4(uint8_t out[16], uint8_t last)
{
    static const uint8_t base[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0};
    memcpy(out, base, 16);
    out[15] = last;
}

static void connections_are_counted(void **state)
{
    (void)state;
    struct limits *l = limits_new(3, 2, 60);
    uint8_t a[16], b[16];
    v4(a, 1);
    v4(b, 2);
    assert_true(limits_connect(l, a, 0));
    assert_true(limits_connect(l, a, 0));
    assert_false(limits_connect(l, a, 0)); /* per address */
    assert_true(limits_connect(l, b, 0));
    assert_false(limits_connect(l, b, 0)); /* in all */
    limits_disconnect(l, a);
    assert_true(limits_connect(l, b, 0));
    limits_free(l);
}

static void begins_are_counted(void **state)
{
    (void)state;
    struct limits *l = limits_new(10, 10, 60);
    uint8_t a[16], b[16];
    uint64_t retry;
    v4(a, 1);
    v4(b, 2);
    for (unsigned i = 0; i < 60; i++)
        assert_true(limits_begin(l, a, 1000, &retry));
    assert_false(limits_begin(l, a, 1000, &retry));
    assert_in_range(retry, 900, 1100);
    assert_true(limits_begin(l, b, 1000, &retry));
    assert_true(limits_begin(l, a, 1000 + retry, &retry));
    assert_false(limits_begin(l, a, 2002, &retry));
    limits_free(l);
}

static void documents_are_counted_apart(void **state)
{
    (void)state;
    struct limits *l = limits_new(10, 10, 60);
    uint8_t a[16];
    uint64_t retry;
    v4(a, 1);
    for (unsigned i = 0; i < 60; i++)
        assert_true(limits_documents(l, a, 1000));
    assert_false(limits_documents(l, a, 1000));
    assert_true(limits_begin(l, a, 1000, &retry));
    assert_true(limits_documents(l, a, 2001));
    assert_false(limits_documents(l, a, 2002));
    limits_free(l);
}

static void a_v6_network_is_one_address(void **state)
{
    (void)state;
    struct limits *l = limits_new(100, 1, 60);
    uint8_t a[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 1}, b[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 2},
            c[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 1};
    assert_true(limits_connect(l, a, 0));
    assert_false(limits_connect(l, b, 0));
    assert_true(limits_connect(l, c, 0));
    limits_free(l);
}

static void the_table_is_bounded(void **state)
{
    (void)state;
    struct limits *l = limits_new(100000, 10, 60);
    uint8_t a[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    for (unsigned i = 0; i < LIMITS_ADDRESSES_MAX; i++) {
        a[14] = (uint8_t)(i >> 8);
        a[15] = (uint8_t)i;
        assert_true(limits_connect(l, a, 0));
    }
    a[12] = 1;
    assert_false(limits_connect(l, a, 0)); /* every place is taken by a live connection */
    uint8_t gone[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    limits_disconnect(l, gone);
    assert_true(limits_connect(l, a, 0));
    limits_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_counted),     cmocka_unit_test(begins_are_counted),
        cmocka_unit_test(documents_are_counted_apart), cmocka_unit_test(a_v6_network_is_one_address),
        cmocka_unit_test(the_table_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
