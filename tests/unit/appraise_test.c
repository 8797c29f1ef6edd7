/* appraise_test: facts against factors, each factor met and not met, and how the tree combines them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/appraise.h"
#include <string.h>

#define MONDAY_MS 1764547200000u /* 2025-12-01T00:00:00Z, a Monday */
#define MINUTE_MS 60000u

static const struct evidence_format tpm = {.name = "tpm2"};
static uint8_t good[1][HASH_LEN] = {{1, 2, 3}};
static struct pcr_reference pcr14 = {.index = 14, .values = good, .count = 1};
static struct cidr net10 = {.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10}, .prefix = 104};
static struct device device = {.id = "web-1", .ak_hash = {9}};
static const uint8_t key[HASH_LEN] = {7};

static struct factor evidence_factor(void)
{
    return (struct factor){.kind = FACTOR_EVIDENCE, .format = "tpm2", .pcrs = &pcr14, .pcr_count = 1};
}

static struct appraise_facts facts(const struct appraise_evidence *e, size_t count)
{
    struct appraise_facts f = {
        .device = &device, .device_key = key, .now_ms = MONDAY_MS, .evidence = e, .evidence_count = count};
    static const uint8_t a[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3};
    memcpy(f.address, a, 16);
    return f;
}

static struct appraise_evidence good_evidence(void)
{
    struct appraise_evidence e = {.format = &tpm, .claims = {.format = "tpm2", .key_hash = {9}, .pcr_mask = 1u << 14}};
    memcpy(e.claims.pcr[14], good[0], HASH_LEN);
    return e;
}

static int judge(const struct factor *f, const struct appraise_facts *x)
{
    struct appraise_verdict v;
    assert_int_equal(appraise(f, x, &v), 0);
    return v.code;
}

static void evidence_must_match(void **state)
{
    (void)state;
    struct factor f = evidence_factor();
    struct appraise_evidence e = good_evidence();
    struct appraise_facts x = facts(&e, 1);
    assert_int_equal(judge(&f, &x), 0);
    e.claims.pcr[14][31] ^= 1;
    assert_int_equal(judge(&f, &x), ERR_EVIDENCE);
    e = good_evidence();
    e.claims.pcr_mask = 0; /* not covered by the quote */
    assert_int_equal(judge(&f, &x), ERR_EVIDENCE);
    e = good_evidence();
    e.claims.key_hash[0] ^= 1; /* another machine's attestation key */
    assert_int_equal(judge(&f, &x), ERR_DEVICE);
    e = good_evidence();
    e.code = ERR_BIND;
    assert_int_equal(judge(&f, &x), ERR_BIND);
    x = facts(NULL, 0);
    assert_int_equal(judge(&f, &x), ERR_EVIDENCE);
    e = good_evidence();
    x = facts(&e, 1);
    struct device without = device;
    memset(without.ak_hash, 0, HASH_LEN);
    memset(e.claims.key_hash, 0, HASH_LEN);
    x.device = &without; /* a device without a TPM never matches a zero key */
    assert_int_equal(judge(&f, &x), ERR_DEVICE);
}

static void device_must_be_enrolled(void **state)
{
    (void)state;
    struct factor f = {.kind = FACTOR_DEVICE};
    struct appraise_facts x = facts(NULL, 0);
    assert_int_equal(judge(&f, &x), 0);
    x.device = NULL;
    assert_int_equal(judge(&f, &x), ERR_DEVICE);
}

static void network_must_contain(void **state)
{
    (void)state;
    struct factor f = {.kind = FACTOR_NETWORK, .cidrs = &net10, .cidr_count = 1};
    struct appraise_facts x = facts(NULL, 0);
    assert_int_equal(judge(&f, &x), 0);
    x.address[12] = 11;
    assert_int_equal(judge(&f, &x), ERR_NETWORK);
    struct cidr odd = net10; /* 10.128.0.0/9 */
    odd.address[13] = 128;
    odd.prefix = 105;
    f.cidrs = &odd;
    x = facts(NULL, 0);
    assert_int_equal(judge(&f, &x), ERR_NETWORK);
    x.address[13] = 129;
    assert_int_equal(judge(&f, &x), 0);
}

static int at(const struct factor *f, unsigned day, unsigned minute)
{
    struct appraise_facts x = facts(NULL, 0);
    x.now_ms = MONDAY_MS + ((uint64_t)day * 1440 + minute) * MINUTE_MS;
    return judge(f, &x);
}

static void time_must_be_inside(void **state)
{
    (void)state;
    struct factor day = {.kind = FACTOR_TIME, .days = 0x1f, .from_minute = 480, .to_minute = 1080};
    assert_int_equal(at(&day, 0, 479), ERR_TIME);
    assert_int_equal(at(&day, 0, 480), 0);
    assert_int_equal(at(&day, 4, 1079), 0);
    assert_int_equal(at(&day, 4, 1080), ERR_TIME);
    assert_int_equal(at(&day, 5, 600), ERR_TIME); /* Saturday */
    struct factor night = {.kind = FACTOR_TIME, .days = 1, .from_minute = 1320, .to_minute = 120};
    assert_int_equal(at(&night, 0, 1320), 0);
    assert_int_equal(at(&night, 1, 119), 0); /* Monday's night ends on Tuesday */
    assert_int_equal(at(&night, 1, 120), ERR_TIME);
    assert_int_equal(at(&night, 1, 1320), ERR_TIME);
    assert_int_equal(at(&night, 0, 60), ERR_TIME); /* Sunday's night */
    struct factor never = {.kind = FACTOR_TIME, .days = 0, .from_minute = 0, .to_minute = 1440};
    assert_int_equal(at(&never, 0, 0), ERR_TIME);
}

static void trees_combine(void **state)
{
    (void)state;
    struct factor leaf[3] = {
        {.kind = FACTOR_DEVICE}, {.kind = FACTOR_NETWORK, .cidrs = &net10, .cidr_count = 1}, evidence_factor()};
    struct factor all = {.kind = FACTOR_ALL, .children = leaf, .child_count = 3};
    struct appraise_facts x = facts(NULL, 0);
    struct appraise_verdict v;
    assert_int_equal(appraise(&all, &x, &v), 0);
    assert_int_equal(v.code, ERR_EVIDENCE);
    assert_int_equal(v.count, 3);
    assert_true(v.leaf[0].met && v.leaf[1].met && !v.leaf[2].met);
    assert_string_equal(v.leaf[2].name, "evidence:tpm2");
    struct factor any = {.kind = FACTOR_ANY, .children = leaf, .child_count = 3};
    assert_int_equal(judge(&any, &x), 0);
    struct factor two = {.kind = FACTOR_AT_LEAST, .at_least = 2, .children = leaf, .child_count = 3};
    assert_int_equal(judge(&two, &x), 0);
    two.at_least = 3;
    assert_int_equal(judge(&two, &x), ERR_EVIDENCE);
    x.device = NULL;
    x.address[12] = 11;
    assert_int_equal(judge(&any, &x), ERR_DEVICE); /* the first that fails names the refusal */
}

static void empty_trees_are_never_met(void **state)
{
    (void)state;
    struct appraise_facts x = facts(NULL, 0);
    enum factor_kind kinds[] = {FACTOR_ALL, FACTOR_ANY, FACTOR_AT_LEAST};
    for (size_t i = 0; i < 3; i++) {
        struct factor f = {.kind = kinds[i]};
        assert_int_equal(judge(&f, &x), ERR_POLICY);
    }
    struct factor unknown = {.kind = (enum factor_kind)99};
    struct appraise_verdict v;
    assert_int_equal(appraise(&unknown, &x, &v), ERR_POLICY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evidence_must_match),  cmocka_unit_test(device_must_be_enrolled),
        cmocka_unit_test(network_must_contain), cmocka_unit_test(time_must_be_inside),
        cmocka_unit_test(trees_combine),        cmocka_unit_test(empty_trees_are_never_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
