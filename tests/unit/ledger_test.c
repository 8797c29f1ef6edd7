/* ledger_test: entries by type, checkpoints, receipts: what is accepted and what is not. */
#include "common/ledger/entry.h"
#include "common/ledger/receipt.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

/* ---- entries */

static const uint8_t hash[HASH_LEN] = {1, 2, 3}, walk[16] = {4};

/* All fields that a letter of `has` names: w c p e u s l r n d, in the order of the struct. */
static struct msg_entry entry_with(uint64_t type, const char *has)
{
    struct bytes h = BYTES_OF(hash);
    struct msg_entry e = {.type = type, .time_ms = 1, .index = 9};
    for (; *has != '\0'; has++) {
        struct bytes *view = *has == 'p'   ? &e.policy_hash
                             : *has == 'e' ? &e.evidence
                             : *has == 'u' ? &e.subject
                             : *has == 's' ? &e.secret
                             : *has == 'l' ? &e.link_hash
                             : *has == 'r' ? &e.response_hash
                             : *has == 'd' ? &e.document_hash
                                           : NULL;
        if (view != NULL)
            *view = h;
        else if (*has == 'w')
            e.walk_id = BYTES_OF(walk);
        else if (*has == 'c')
            e.code = 29;
        else if (*has == 'n')
            e.count = 3;
    }
    return e;
}

static int make_and_parse(const struct msg_entry *e, struct err *err)
{
    struct buf bytes, again;
    struct message *m = NULL;
    buf_init(&bytes, ENTRY_MAX);
    buf_init(&again, ENTRY_MAX);
    int rc = entry_make(e, &bytes, err);
    if (rc == 0) {
        assert_int_equal(entry_parse(buf_view(&bytes), &m, err), 0);
        assert_int_equal(m->entry.type, e->type);
        assert_int_equal(m->entry.index, e->index);
        assert_true(bytes_equal(m->entry.document_hash, e->document_hash));
        assert_int_equal(message_pack(m, &again, err), 0);
        assert_true(bytes_equal(buf_view(&bytes), buf_view(&again)));
        message_free(m);
    }
    buf_done(&bytes);
    buf_done(&again);
    return rc;
}

static void test_entry_types(void **state)
{
    (void)state;
    static const struct {
        uint64_t type;
        const char *required, *optional;
    } rows[] = {
        {ENTRY_START, "", ""},       {ENTRY_GRANT, "wpeuslr", ""}, {ENTRY_REISSUE, "wpeuslr", ""},
        {ENTRY_DENY, "c", "wpeusn"}, {ENTRY_DOCUMENT, "d", ""},    {ENTRY_HALT, "d", ""},
        {ENTRY_FRONTIER, "d", ""},   {ENTRY_EVIDENCE, "d", ""},    {ENTRY_PRUNE, "nd", ""},
    };
    const char all[] = "wcpeuslrnd";
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = {.code = 0};
        struct msg_entry e = entry_with(rows[i].type, rows[i].required);
        if (make_and_parse(&e, &err) != 0)
            fail_msg("%s: %s", entry_type_name(rows[i].type), err.text);
        for (size_t k = 0; all[k] != '\0'; k++) {
            char has[16] = {0};
            const char *at = strchr(rows[i].required, all[k]);
            if (at != NULL) { /* without it */
                size_t n = (size_t)(at - rows[i].required);
                memcpy(has, rows[i].required, n);
                strcpy(has + n, at + 1);
            } else /* with it too */
                (void)snprintf(has, sizeof(has), "%s%c", rows[i].required, all[k]);
            e = entry_with(rows[i].type, has);
            bool fine = at == NULL && strchr(rows[i].optional, all[k]) != NULL;
            int rc = make_and_parse(&e, &err);
            if (rc != (fine ? 0 : ERR_FORMAT))
                fail_msg("%s with %s: %d", entry_type_name(rows[i].type), has, rc);
        }
    }
}

static void test_entry_refusals(void **state)
{
    (void)state;
    struct err err;
    struct message *m = NULL;
    struct msg_entry e = entry_with(0, "");
    assert_int_equal(make_and_parse(&e, &err), ERR_FORMAT);
    e = entry_with(10, "");
    assert_int_equal(make_and_parse(&e, &err), ERR_FORMAT);
    e = entry_with(UINT64_MAX, "");
    assert_int_equal(make_and_parse(&e, &err), ERR_FORMAT);
    e = entry_with(ENTRY_START, "");
    e.time_ms = 0;
    assert_int_equal(make_and_parse(&e, &err), ERR_FORMAT);
    for (size_t len = 1; len < 40; len += 30) {
        uint8_t bytes[40] = {1};
        e = entry_with(ENTRY_DOCUMENT, "d");
        e.document_hash = BYTES(bytes, len);
        assert_int_equal(make_and_parse(&e, &err), ERR_FORMAT);
        e = entry_with(ENTRY_DENY, "cw");
        e.walk_id = BYTES(bytes, len + 1);
        assert_int_equal(make_and_parse(&e, &err), ERR_FORMAT);
    }
    uint8_t big[ENTRY_MAX + 1] = {0};
    assert_int_equal(entry_parse(BYTES_OF(big), &m, &err), ERR_FORMAT);
    assert_int_equal(entry_parse(BYTES_NONE, &m, &err), ERR_FORMAT);
    assert_string_equal(entry_type_name(ENTRY_GRANT), "grant");
    assert_string_equal(entry_type_name(77), "unknown");
}

/* ---- checkpoints */

static struct ed25519_key *secret_key;
static struct note_key key;

static int setup_all(void **state)
{
    (void)state;
    uint8_t public[ED25519_PUBLIC_LEN];
    if (ed25519_key_new(&secret_key) != 0)
        return -1;
    ed25519_key_public(secret_key, public);
    return note_key_make("example.test/n1/log", public, &key);
}

static int teardown_all(void **state)
{
    (void)state;
    ed25519_key_free(secret_key);
    return 0;
}

#define ROOT "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="

static void test_checkpoint_text(void **state)
{
    (void)state;
    static const char good[] = "example.test/n1/log\n18446744073709551615\n" ROOT "\n";
    static const char *const bad[] = {
        "",
        "example.test/n1/log\n",
        "example.test/n1/log\n7\n",
        "example.test/n1/log\n7\n" ROOT,
        "example.test/n1/log\n7\n" ROOT "\nextension\n",
        "example.test/n1/log\n7\n" ROOT "\n\n",
        "\n7\n" ROOT "\n",
        "a b\n7\n" ROOT "\n",
        "a+b\n7\n" ROOT "\n",
        "example.test/n1/log\n07\n" ROOT "\n",
        "example.test/n1/log\n+7\n" ROOT "\n",
        "example.test/n1/log\n-7\n" ROOT "\n",
        "example.test/n1/log\n\n" ROOT "\n",
        "example.test/n1/log\n7 \n" ROOT "\n",
        "example.test/n1/log\n1:\n" ROOT "\n",
        "example.test/n1/log\n1/\n" ROOT "\n",
        "example.test/n1/log\n18446744073709551616\n" ROOT "\n",
        "example.test/n1/log\n7\nAAAA\n",
        "example.test/n1/log\n7\n" ROOT "=\n",
        "example.test/n1/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n", /* bits behind the end */
        "example.test/n1/log\r\n7\r\n" ROOT "\r\n",
    };
    struct checkpoint c;
    struct err err;
    struct buf text;
    assert_int_equal(checkpoint_parse(bytes_str(good), &c, &err), 0);
    assert_string_equal(c.origin, "example.test/n1/log");
    assert_true(c.size == UINT64_MAX);
    buf_init(&text, CHECKPOINT_MAX);
    checkpoint_text(&c, &text);
    assert_true(bytes_is(buf_view(&text), good));
    buf_done(&text);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (checkpoint_parse(bytes_str(bad[i]), &c, &err) != ERR_FORMAT)
            fail_msg("accepted: %s", bad[i]);
    char longer[NOTE_NAME_MAX + 100];
    memset(longer, 'a', NOTE_NAME_MAX + 1);
    strcpy(longer + NOTE_NAME_MAX + 1, "\n7\n" ROOT "\n");
    assert_int_equal(checkpoint_parse(bytes_str(longer), &c, &err), ERR_FORMAT);
}

static void sign(const char *text, const char *name, struct buf *ret)
{
    struct err err;
    buf_init(ret, CHECKPOINT_MAX);
    assert_int_equal(note_sign(bytes_str(text), name, secret_key, ret, &err), 0);
}

static void test_checkpoint_open(void **state)
{
    (void)state;
    struct checkpoint c;
    struct err err;
    struct buf note;
    struct note_key stranger = key;
    sign("example.test/n1/log\n7\n" ROOT "\n", key.name, &note);
    assert_int_equal(checkpoint_open(buf_view(&note), &key, &c, &err), 0);
    assert_int_equal(c.size, 7);
    stranger.public[0] ^= 1;
    assert_int_equal(checkpoint_open(buf_view(&note), &stranger, &c, &err), ERR_SIGNATURE);
    note.p[20] = '8';
    assert_int_equal(checkpoint_open(buf_view(&note), &key, &c, &err), ERR_SIGNATURE);
    buf_done(&note);
    sign("example.test/n2/log\n7\n" ROOT "\n", key.name, &note); /* our key under another log's origin */
    assert_int_equal(checkpoint_open(buf_view(&note), &key, &c, &err), ERR_SIGNATURE);
    buf_done(&note);
    sign("example.test/n1/log\n7\n" ROOT "\n", "example.test/n1/other", &note);
    assert_int_equal(checkpoint_open(buf_view(&note), &key, &c, &err), ERR_SIGNATURE);
    buf_done(&note);
    static char big[CHECKPOINT_MAX + 1];
    memset(big, 'a', sizeof(big));
    assert_int_equal(checkpoint_open(BYTES_OF(big), &key, &c, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "more than"));
    assert_int_equal(checkpoint_open(bytes_str("no note\n"), &key, &c, &err), ERR_FORMAT);
}

/* ---- receipts */

static void test_receipt(void **state)
{
    (void)state;
    struct bytes entries[3] = {bytes_str("a"), bytes_str("bb"), bytes_str("ccc")};
    uint8_t leaf[3][HASH_LEN], pair[HASH_LEN], proof[2][HASH_LEN];
    struct checkpoint c = {.size = 3}, seen;
    struct buf text, note, receipt;
    struct err err;
    uint64_t index = 0;
    for (size_t i = 0; i < 3; i++)
        merkle_leaf(entries[i], leaf[i]);
    merkle_node(leaf[0], leaf[1], pair);
    merkle_node(pair, leaf[2], c.root);
    strcpy(c.origin, key.name);
    buf_init(&text, CHECKPOINT_MAX);
    checkpoint_text(&c, &text);
    sign(buf_cstr(&text), key.name, &note);
    memcpy(proof[0], leaf[0], HASH_LEN);
    memcpy(proof[1], leaf[2], HASH_LEN);
    buf_init(&receipt, RECEIPT_MAX);
    receipt_make(1, (const uint8_t(*)[HASH_LEN])proof, 2, buf_view(&note), &receipt);
    assert_memory_equal(receipt.p, "c2sp.org/tlog-proof@v1\nindex 1\n", 31);
    assert_int_equal(receipt_verify(buf_view(&receipt), entries[1], &key, &index, &seen, &err), 0);
    assert_int_equal(index, 1);
    assert_int_equal(seen.size, 3);
    assert_int_equal(receipt_verify(buf_view(&receipt), entries[0], &key, &index, &seen, &err), ERR_PROOF);
    /* no byte of it can change, none can be missing */
    for (size_t i = 0; i < receipt.len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            receipt.p[i] ^= (uint8_t)(1u << bit);
            assert_int_not_equal(receipt_verify(buf_view(&receipt), entries[1], &key, &index, &seen, &err), 0);
            receipt.p[i] ^= (uint8_t)(1u << bit);
        }
        assert_int_not_equal(receipt_verify(BYTES(receipt.p, i), entries[1], &key, &index, &seen, &err), 0);
    }
    buf_done(&receipt);
    /* a proof of any other length */
    for (unsigned count = 0; count <= MERKLE_PROOF_MAX + 1; count++) {
        static uint8_t many[MERKLE_PROOF_MAX + 1][HASH_LEN];
        memcpy(many, proof, sizeof(proof));
        buf_init(&receipt, RECEIPT_MAX);
        receipt_make(1, (const uint8_t(*)[HASH_LEN])many, count, buf_view(&note), &receipt);
        int rc = receipt_verify(buf_view(&receipt), entries[1], &key, &index, &seen, &err);
        assert_int_equal(rc, count == 2 ? 0 : count > MERKLE_PROOF_MAX ? ERR_FORMAT : ERR_PROOF);
        buf_done(&receipt);
    }
    static uint8_t big[RECEIPT_MAX + 1];
    assert_int_equal(receipt_verify(BYTES_OF(big), entries[1], &key, &index, &seen, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "more than"));
    buf_done(&text);
    buf_done(&note);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entry_types),     cmocka_unit_test(test_entry_refusals),
        cmocka_unit_test(test_checkpoint_text), cmocka_unit_test(test_checkpoint_open),
        cmocka_unit_test(test_receipt),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
