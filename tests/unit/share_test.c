/* share: from sealing to the DEK with a token in software, and everything that must not open. */
#include "common/crypto/keywrap.h"
#include "common/walk/share.h"
#include "tests/lib/hex.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* One node's two keys, one session's E, one sealed share. */
static struct {
    struct ec_key *seal, *kem, *e;
    uint8_t seal_point[EC_POINT_LEN], kem_point[EC_POINT_LEN], e_point[EC_POINT_LEN];
    struct share_fields f;
    struct session_fields s;
    struct secret *share;
    struct sealed_share sealed;
} w;

static int setup(void **state)
{
    (void)state;
    w.f = (struct share_fields){.profile = 1,
                                .network = bytes_str("example"),
                                .policy_name = bytes_str("vault"),
                                .owner = {7},
                                .envelope_id = {9},
                                .generation = 1,
                                .stage = 2,
                                .slot = 3};
    w.s = (struct session_fields){
        .profile = 1, .node = bytes_str("n1"), .stage = 2, .slot = 3, .sid = {1}, .lock_count = 2};
    if (ec_key_new(&w.seal) != 0 || ec_key_new(&w.kem) != 0 || ec_key_new(&w.e) != 0 ||
        secret_random(SHARE_LEN, &w.share) != 0)
        return -1;
    ec_key_point(w.seal, w.seal_point);
    ec_key_point(w.kem, w.kem_point);
    ec_key_point(w.e, w.e_point);
    ec_point_spki_hash(w.kem_point, w.s.kem_hash);
    return share_seal(&w.f, w.seal_point, w.share, &w.sealed);
}

static int teardown(void **state)
{
    (void)state;
    ec_key_free(w.seal);
    ec_key_free(w.kem);
    ec_key_free(w.e);
    secret_free(w.share);
    return 0;
}

/* What the token does: derive K, unwrap, derive the KEK, wrap. 0 or the error of the unwrapping. */
static int token_release(const struct share_fields *f, const struct session_fields *s, uint8_t ret_wrapped[SEALED_LEN])
{
    uint8_t ctx[HASH_LEN];
    struct secret *k = NULL, *frame = NULL, *kek = NULL;
    context_share(f, ctx);
    assert_int_equal(derive(f->profile, w.seal, BYTES_OF(w.sealed.point), ctx, &k), 0);
    int rc = keywrap_unwrap(k, BYTES_OF(w.sealed.sealed), &frame);
    if (rc == 0) {
        context_session(s, ctx);
        assert_int_equal(derive(s->profile, w.kem, BYTES_OF(w.e_point), ctx, &kek), 0);
        rc = keywrap_wrap(kek, frame, ret_wrapped);
    }
    secret_free(k);
    secret_free(frame);
    secret_free(kek);
    return rc;
}

static int workload_open(const struct session_fields *s, const uint8_t wrapped[SEALED_LEN],
                         const struct share_fields *f)
{
    struct secret *kek = NULL, *share = NULL;
    assert_int_equal(share_kek(w.e, w.kem_point, s, &kek), 0);
    int rc = share_open(kek, BYTES(wrapped, SEALED_LEN), f, w.sealed.commitment, &share);
    if (rc == 0)
        assert_true(secret_equal(share, w.share));
    else
        assert_null(share);
    secret_free(kek);
    secret_free(share);
    return rc;
}

static void test_round_trip(void **state)
{
    (void)state;
    for (uint64_t profile = 1; profile <= 3; profile++) {
        uint8_t wrapped[SEALED_LEN];
        w.f.profile = w.s.profile = profile;
        assert_int_equal(share_seal(&w.f, w.seal_point, w.share, &w.sealed), 0);
        assert_int_equal(token_release(&w.f, &w.s, wrapped), 0);
        assert_int_equal(workload_open(&w.s, wrapped, &w.f), 0);
    }
    w.f.profile = w.s.profile = 1;
    assert_int_equal(share_seal(&w.f, w.seal_point, w.share, &w.sealed), 0);
}

static void test_sealing_is_fresh(void **state)
{
    (void)state;
    struct sealed_share again;
    assert_int_equal(share_seal(&w.f, w.seal_point, w.share, &again), 0);
    assert_memory_not_equal(again.point, w.sealed.point, EC_POINT_LEN);
    assert_memory_not_equal(again.sealed, w.sealed.sealed, SEALED_LEN);
    assert_memory_not_equal(again.commitment, w.sealed.commitment, HASH_LEN); /* the salt is fresh too */
}

/* A point copied into another envelope, policy, owner, generation, stage or slot yields another key. */
static void test_every_share_field_counts(void **state)
{
    (void)state;
    struct share_fields f[8];
    uint8_t wrapped[SEALED_LEN];
    for (size_t i = 0; i < 8; i++)
        f[i] = w.f;
    f[0].network = bytes_str("examplf");
    f[1].owner[31] ^= 1;
    f[2].policy_name = bytes_str("vaulu");
    f[3].envelope_id[15] ^= 1;
    f[4].generation++;
    f[5].stage++;
    f[6].slot++;
    f[7].profile = 2;
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(token_release(&f[i], &w.s, wrapped), ERR_SIGNATURE);
    assert_int_equal(token_release(&w.f, &w.s, wrapped), 0);
}

static void test_every_session_field_counts(void **state)
{
    (void)state;
    struct session_fields s[12];
    uint8_t wrapped[SEALED_LEN];
    assert_int_equal(token_release(&w.f, &w.s, wrapped), 0);
    for (size_t i = 0; i < 12; i++)
        s[i] = w.s;
    s[0].profile = 3;
    s[1].node = bytes_str("n2");
    s[2].kem_hash[0] ^= 1;
    s[3].stage++;
    s[4].slot++;
    s[5].sid[31] ^= 1;
    s[6].prevhash[0] ^= 1;
    s[7].lock[0][0] ^= 1;
    s[8].lock[1][31] ^= 1;
    s[9].lock_count = 1;
    s[10].lock_count = 3;
    s[11].lock[1][0] = 1;
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(workload_open(&s[i], wrapped, &w.f), ERR_SIGNATURE);
    assert_int_equal(workload_open(&w.s, wrapped, &w.f), 0);
}

static void test_lock_order_counts(void **state)
{
    (void)state;
    struct session_fields a = w.s, b = w.s;
    uint8_t wrapped[SEALED_LEN];
    memset(a.lock[0], 1, 32);
    memset(a.lock[1], 2, 32);
    memset(b.lock[0], 2, 32);
    memset(b.lock[1], 1, 32);
    assert_int_equal(token_release(&w.f, &a, wrapped), 0);
    assert_int_equal(workload_open(&a, wrapped, &w.f), 0);
    assert_int_equal(workload_open(&b, wrapped, &w.f), ERR_SIGNATURE);
}

/* A share that unwraps and is not the committed one names its node. */
static void test_commitment(void **state)
{
    (void)state;
    struct secret *kek = NULL, *frame = NULL, *share = NULL;
    uint8_t wrapped[SEALED_LEN];
    assert_int_equal(share_kek(w.e, w.kem_point, &w.s, &kek), 0);
    assert_int_equal(secret_random(SHARE_LEN + SALT_LEN, &frame), 0);
    assert_int_equal(keywrap_wrap(kek, frame, wrapped), 0);
    assert_int_equal(share_open(kek, BYTES_OF(wrapped), &w.f, w.sealed.commitment, &share), ERR_COMMITMENT);
    assert_int_equal(share_open(kek, BYTES(wrapped, SEALED_LEN - 8), &w.f, w.sealed.commitment, &share), ERR_FORMAT);
    assert_int_equal(share_open(kek, BYTES_NONE, &w.f, w.sealed.commitment, &share), ERR_FORMAT);
    assert_null(share);
    secret_free(kek);
    secret_free(frame);
}

static void test_bad_input(void **state)
{
    (void)state;
    struct sealed_share out;
    struct secret *short_share = NULL, *kek = NULL;
    uint8_t off[EC_POINT_LEN];
    memcpy(off, w.seal_point, sizeof(off));
    off[EC_POINT_LEN - 1] ^= 1;
    assert_int_equal(secret_random(SHARE_LEN - 1, &short_share), 0);
    assert_int_equal(share_seal(&w.f, w.seal_point, short_share, &out), ERR_SHARES);
    assert_int_equal(share_seal(&w.f, off, w.share, &out), ERR_FORMAT);
    assert_int_equal(share_kek(w.e, off, &w.s, &kek), ERR_FORMAT);
    struct share_fields f = w.f;
    f.profile = 4;
    assert_int_equal(share_seal(&f, w.seal_point, w.share, &out), ERR_VERSION);
    f.profile = 0;
    assert_int_equal(share_seal(&f, w.seal_point, w.share, &out), ERR_VERSION);
    assert_null(kek);
    secret_free(short_share);
}

/* Both ends mint one tag; the tag opens the lock and nothing else does. */
static void test_tags(void **state)
{
    (void)state;
    struct ec_key *a = NULL, *b = NULL;
    uint8_t pa[EC_POINT_LEN], pb[EC_POINT_LEN], ctx[HASH_LEN], link[HASH_LEN] = {4}, lock_a[32], lock_b[32],
                                                               wrapped[40];
    struct secret *tag_a = NULL, *tag_b = NULL, *kek = NULL, *got = NULL;
    assert_int_equal(ec_key_new(&a), 0);
    assert_int_equal(ec_key_new(&b), 0);
    ec_key_point(a, pa);
    ec_key_point(b, pb);
    context_tag(1, w.s.sid, bytes_str("n1"), bytes_str("n2"), link, ctx);
    assert_int_equal(derive(1, a, BYTES_OF(pb), ctx, &tag_a), 0);
    assert_int_equal(derive(1, b, BYTES_OF(pa), ctx, &tag_b), 0);
    assert_true(secret_equal(tag_a, tag_b));
    assert_int_equal(derive_lock(tag_a, bytes_str("n1"), bytes_str("n2"), lock_a), 0);
    assert_int_equal(derive_lock(tag_b, bytes_str("n1"), bytes_str("n2"), lock_b), 0);
    assert_memory_equal(lock_a, lock_b, 32);
    assert_int_equal(derive_lock(tag_b, bytes_str("n2"), bytes_str("n1"), lock_b), 0);
    assert_memory_not_equal(lock_a, lock_b, 32);
    assert_int_equal(secret_random(32, &kek), 0);
    assert_int_equal(keywrap_wrap(kek, tag_a, wrapped), 0);
    assert_int_equal(share_open_tag(kek, BYTES_OF(wrapped), &got), 0);
    assert_true(secret_equal(got, tag_a));
    struct secret *none = NULL;
    assert_int_equal(share_open_tag(kek, BYTES(wrapped, 32), &none), ERR_FORMAT);
    wrapped[39] ^= 1;
    assert_int_equal(share_open_tag(kek, BYTES_OF(wrapped), &none), ERR_SIGNATURE);
    struct secret *short_tag = NULL;
    assert_int_equal(secret_random(16, &short_tag), 0);
    assert_int_equal(derive_lock(short_tag, bytes_str("n1"), bytes_str("n2"), lock_b), ERR_FORMAT);
    assert_null(none);
    secret_free(short_tag);
    secret_free(tag_a);
    secret_free(tag_b);
    secret_free(kek);
    secret_free(got);
    ec_key_free(a);
    ec_key_free(b);
}

static struct secret *dek_of(struct secret *const *stages, size_t count, const uint8_t *id, uint64_t generation)
{
    struct secret *dek = NULL;
    assert_int_equal(share_dek(id, generation, stages, count, &dek), 0);
    return dek;
}

/* Every stage, their order, the envelope and the generation make the DEK. */
static void test_dek(void **state)
{
    (void)state;
    uint8_t id[ENVELOPE_ID_LEN] = {1}, other_id[ENVELOPE_ID_LEN] = {2}, commitment[HASH_LEN];
    struct secret *s[3] = {NULL}, *key = NULL, *short_one = NULL, *none = NULL;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(secret_random(32, &s[i]), 0);
    struct secret *swapped[3] = {s[1], s[0], s[2]}, *changed[3] = {s[0], s[1], s[1]};
    struct secret *deks[6] = {dek_of(s, 3, id, 1),       dek_of(s, 2, id, 1),       dek_of(swapped, 3, id, 1),
                              dek_of(changed, 3, id, 1), dek_of(s, 3, other_id, 1), dek_of(s, 3, id, 2)};
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < i; j++)
            assert_false(secret_equal(deks[i], deks[j]));
    assert_int_equal(share_dek_commitment(deks[0], commitment), 0);
    assert_int_equal(share_payload_key(deks[0], &key), 0);
    assert_memory_not_equal(commitment, secret_borrow(key).p, HASH_LEN);
    assert_false(secret_equal(key, deks[0]));
    assert_int_equal(share_dek(id, 1, s, 0, &none), ERR_SHARES);
    struct secret *many[STAGE_MAX + 1];
    for (size_t i = 0; i <= STAGE_MAX; i++)
        many[i] = s[0];
    assert_int_equal(share_dek(id, 1, many, STAGE_MAX + 1, &none), ERR_SHARES);
    assert_int_equal(secret_random(31, &short_one), 0);
    many[1] = short_one;
    assert_int_equal(share_dek(id, 1, many, 2, &none), ERR_SHARES);
    assert_null(none);
    secret_free(short_one);
    secret_free(key);
    for (size_t i = 0; i < 6; i++)
        secret_free(deks[i]);
    for (size_t i = 0; i < 3; i++)
        secret_free(s[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_sealing_is_fresh),
        cmocka_unit_test(test_every_share_field_counts),
        cmocka_unit_test(test_every_session_field_counts),
        cmocka_unit_test(test_lock_order_counts),
        cmocka_unit_test(test_commitment),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_dek),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
