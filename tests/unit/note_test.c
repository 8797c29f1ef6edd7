/* note: signing and verifying, a published note, and every altered bit refused or its signer gone. */
#include "common/crypto/note.h"
#include "tests/lib/hex.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define TEXT "enfilade: root/v1\nnetwork: example\n"

static struct ed25519_key *keys[3];
static struct note_key public[3];
static struct buf note; /* TEXT signed by alice and bob */

static int setup(void **state)
{
    (void)state;
    static const char *const names[] = {"alice", "bob", "carol"};
    for (size_t i = 0; i < 3; i++) {
        uint8_t raw[ED25519_PUBLIC_LEN];
        if (ed25519_key_new(&keys[i]) != 0)
            return -1;
        ed25519_key_public(keys[i], raw);
        if (note_key_make(names[i], raw, &public[i]) != 0)
            return -1;
    }
    struct buf one;
    buf_init(&one, 4096);
    buf_init(&note, 4096);
    int rc = note_sign(bytes_str(TEXT), "alice", keys[0], &one, NULL);
    if (rc == 0)
        rc = note_sign(buf_view(&one), "bob", keys[1], &note, NULL);
    buf_done(&one);
    return rc;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++)
        ed25519_key_free(keys[i]);
    buf_done(&note);
    return 0;
}

/* The signed note of Go's golang.org/x/mod/sumdb/note documentation. */
static void test_published(void **state)
{
    (void)state;
    static const char vkey[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    static const char text[] = "If you think cryptography is the answer to your problem,\n"
                               "then you don't know what your problem is.\n";
    static const char signature[] =
        "\n\xe2\x80\x94 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
        "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    struct note_key key;
    struct buf all, again;
    bool signed_ = false;
    struct bytes got;
    struct err err = {0};
    assert_int_equal(note_key_parse(vkey, &key, &err), 0);
    buf_init(&again, 200);
    note_key_text(&key, &again);
    assert_string_equal(buf_cstr(&again), vkey);
    buf_init(&all, 1000);
    buf_str(&all, text);
    buf_str(&all, signature);
    assert_int_equal(note_verify(buf_view(&all), &key, 1, &signed_, &got, &err), 0);
    assert_true(signed_);
    assert_true(bytes_is(got, text));
    buf_done(&all);
    buf_done(&again);
}

static void test_two_signers(void **state)
{
    (void)state;
    bool signed_[3];
    struct bytes text;
    struct err err = {0};
    assert_int_equal(note_verify(buf_view(&note), public, 3, signed_, &text, &err), 0);
    assert_true(signed_[0] && signed_[1] && !signed_[2]);
    assert_int_equal(note_count(public, signed_, 3), 2);
    assert_true(bytes_is(text, TEXT));
    assert_ptr_equal(text.p, note.p);
    assert_int_equal(note_text(buf_view(&note), &text, &err), 0);
    assert_true(bytes_is(text, TEXT));
}

/* Whatever bit is altered, never do both still count; with the text altered nobody does. */
static void test_altered(void **state)
{
    (void)state;
    bool signed_[3];
    struct bytes text;
    size_t ignored = 0;
    for (size_t bit = 0; bit < 8 * note.len; bit++) {
        note.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int rc = note_verify(buf_view(&note), public, 3, signed_, &text, NULL);
        size_t count = note_count(public, signed_, 3);
        if (rc == 0 ? count > 1 || bit / 8 < sizeof(TEXT) - 1 : rc != ERR_FORMAT && rc != ERR_SIGNATURE)
            fail_msg("bit %zu: %d, %zu signers", bit, rc, count);
        if (rc != 0)
            assert_int_equal(count, 0);
        ignored += rc == 0;
        note.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_in_range(ignored, 64, 300); /* names and key ids: that signer is a stranger then */
}

static void test_cut_and_doubled(void **state)
{
    (void)state;
    bool signed_[3];
    struct bytes text;
    for (size_t len = 0; len < note.len; len++) {
        int rc = note_verify(BYTES(note.p, len), public, 3, signed_, &text, NULL);
        assert_true(rc != 0 || note_count(public, signed_, 3) == 1); /* the first line alone is a note */
    }
    struct buf twice;
    buf_init(&twice, 8192);
    buf_put(&twice, buf_view(&note));
    buf_put(&twice, buf_view(&note));
    assert_int_equal(note_verify(buf_view(&twice), public, 3, signed_, &text, NULL), ERR_FORMAT);
    buf_done(&twice);
}

/* One key under two names, or listed twice, is one signer. */
static void test_distinct(void **state)
{
    (void)state;
    struct note_key list[4] = {public[0], public[0], public[1], public[2]};
    struct buf two;
    bool signed_[4];
    struct bytes text;
    (void)snprintf(list[2].name, sizeof(list[2].name), "alias");
    memcpy(list[2].public, public[0].public, ED25519_PUBLIC_LEN);
    buf_init(&two, 4096);
    assert_int_equal(note_sign(buf_view(&note), "alias", keys[0], &two, NULL), 0);
    assert_int_equal(note_verify(buf_view(&two), list, 4, signed_, &text, NULL), 0);
    assert_true(signed_[0] && signed_[1] && signed_[2] && !signed_[3]);
    assert_int_equal(note_count(list, signed_, 4), 1);
    buf_done(&two);
}

/* The right name with another key, and the right key under another name, are strangers. */
static void test_name_and_key_belong_together(void **state)
{
    (void)state;
    struct note_key other = public[2], renamed = public[0];
    bool signed_[1];
    struct bytes text;
    (void)snprintf(other.name, sizeof(other.name), "alice");
    (void)snprintf(renamed.name, sizeof(renamed.name), "mallory");
    assert_int_equal(note_verify(buf_view(&note), &other, 1, signed_, &text, NULL), 0);
    assert_false(signed_[0]);
    assert_int_equal(note_verify(buf_view(&note), &renamed, 1, signed_, &text, NULL), 0);
    assert_false(signed_[0]);
}

static void test_signing_again_changes_nothing(void **state)
{
    (void)state;
    struct buf again;
    buf_init(&again, 4096);
    assert_int_equal(note_sign(buf_view(&note), "alice", keys[0], &again, NULL), 0);
    assert_true(bytes_equal(buf_view(&again), buf_view(&note)));
    buf_done(&again);
}

static void test_made_elsewhere(void **state)
{
    (void)state;
    uint8_t sig[ED25519_SIGNATURE_LEN];
    struct buf out, want;
    struct err err = {0};
    buf_init(&out, 4096);
    buf_init(&want, 4096);
    assert_int_equal(ed25519_sign(keys[2], bytes_str(TEXT), sig), 0);
    assert_int_equal(note_add(buf_view(&note), &public[2], sig, &out, &err), 0);
    assert_int_equal(note_sign(buf_view(&note), "carol", keys[2], &want, &err), 0);
    assert_true(bytes_equal(buf_view(&out), buf_view(&want)));
    sig[5] ^= 1;
    assert_int_equal(note_add(buf_view(&note), &public[2], sig, &out, &err), ERR_SIGNATURE);
    assert_int_equal(out.len, want.len);
    buf_done(&out);
    buf_done(&want);
}

static void test_unfit_for_signing(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "no newline",
                                        "tab\t\n",
                                        "cr\r\n",
                                        "caf\xc3\xa9\n",
                                        "\xe2\x80\x94 x AAAAAAA=\n",
                                        "a\x7f\n",
                                        "x\n\n\xe2\x80\x94 broken\n"};
    static const char *const names[] = {"", "a b", "a+b", "a\nb", "caf\xc3\xa9", "a\x7f"};
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(note_sign(bytes_str(texts[i]), "alice", keys[0], &out, NULL), ERR_FORMAT);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(note_sign(bytes_str(TEXT), names[i], keys[0], &out, NULL), ERR_FORMAT);
    char name[NOTE_NAME_MAX + 2];
    memset(name, 'a', sizeof(name));
    name[NOTE_NAME_MAX + 1] = '\0';
    assert_int_equal(note_sign(bytes_str(TEXT), name, keys[0], &out, NULL), ERR_FORMAT);
    assert_int_equal(out.len, 0);
    name[NOTE_NAME_MAX] = '\0';
    assert_int_equal(note_sign(bytes_str(TEXT), name, keys[0], &out, NULL), 0);
    buf_done(&out);
    struct buf small;
    buf_init(&small, 60);
    assert_int_equal(note_sign(bytes_str(TEXT), "alice", keys[0], &small, NULL), ERR_TOO_LONG);
    buf_done(&small);
}

/* A note with a wrong signature of the signer itself is not signed over. */
static void test_broken_note_is_not_signed(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    note.p[0] ^= 1;
    assert_int_equal(note_sign(buf_view(&note), "alice", keys[0], &out, NULL), ERR_SIGNATURE);
    note.p[0] ^= 1;
    assert_int_equal(out.len, 0);
    buf_done(&out);
}

static void test_limits(void **state)
{
    (void)state;
    struct buf b, out;
    struct bytes text;
    buf_init(&b, NOTE_MAX + 100);
    buf_init(&out, NOTE_MAX + 100);
    buf_str(&b, "x\n\n");
    for (int i = 0; i < NOTE_SIGNATURES_MAX; i++)
        buf_printf(&b, "\xe2\x80\x94 stranger%d AAAAAAA=\n", i);
    assert_int_equal(note_text(buf_view(&b), &text, NULL), 0);
    assert_int_equal(note_sign(buf_view(&b), "alice", keys[0], &out, NULL), ERR_FORMAT); /* would be the 101st */
    assert_int_equal(out.len, 0);
    buf_str(&b, "\xe2\x80\x94 more AAAAAAA=\n");
    assert_int_equal(note_text(buf_view(&b), &text, NULL), ERR_FORMAT);
    buf_done(&b);
    for (size_t i = 0; i < NOTE_TEXT_MAX - 1; i++)
        buf_u8(&b, 'x');
    buf_str(&b, "\n");
    assert_int_equal(note_sign(buf_view(&b), "alice", keys[0], &out, NULL), 0);
    assert_int_equal(note_text(buf_view(&out), &text, NULL), 0);
    assert_int_equal(text.len, NOTE_TEXT_MAX);
    b.p[b.len - 1] = 'x';
    buf_str(&b, "\n\n\xe2\x80\x94 x AAAAAAA=\n");
    assert_int_equal(note_text(buf_view(&b), &text, NULL), ERR_TOO_LONG);
    buf_done(&b);
    buf_done(&out);
}

static void test_vkeys(void **state)
{
    (void)state;
    struct buf b;
    struct note_key key;
    buf_init(&b, 400);
    note_key_text(&public[0], &b);
    char *text = buf_cstr(&b);
    assert_int_equal(note_key_parse(text, &key, NULL), 0);
    assert_memory_equal(&key, &public[0], sizeof(key));
    for (size_t bit = 0; bit < 8 * b.len; bit++) {
        text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
        assert_int_equal(note_key_parse(text, &key, NULL), ERR_FORMAT);
        text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
    }
    for (size_t len = 0; len < b.len; len++) {
        char kept = text[len];
        text[len] = '\0';
        assert_int_equal(note_key_parse(text, &key, NULL), ERR_FORMAT);
        text[len] = kept;
    }
    buf_str(&b, "=");
    assert_int_equal(note_key_parse(buf_cstr(&b), &key, NULL), ERR_FORMAT);
    /* a cosigner's key: type 4 */
    assert_int_equal(note_key_parse("x+00000000+BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &key, NULL), ERR_FORMAT);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_two_signers),
        cmocka_unit_test(test_altered),
        cmocka_unit_test(test_cut_and_doubled),
        cmocka_unit_test(test_distinct),
        cmocka_unit_test(test_name_and_key_belong_together),
        cmocka_unit_test(test_signing_again_changes_nothing),
        cmocka_unit_test(test_made_elsewhere),
        cmocka_unit_test(test_unfit_for_signing),
        cmocka_unit_test(test_broken_note_is_not_signed),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_vkeys),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
