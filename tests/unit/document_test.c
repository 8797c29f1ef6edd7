/* document: what is signed well and written well opens; everything else is refused with source, line and field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/network.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct network net;

static int setup(void **state)
{
    (void)state;
    network_init(&net);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    network_done(&net);
    return 0;
}

static void fields_arrive(void **state)
{
    (void)state;
    assert_int_equal(net.root->root.role[ROLE_ROOT].threshold, 2);
    assert_int_equal(net.root->root.role[ROLE_ROOT].count, 3);
    assert_int_equal(net.root->root.device_ca_count, 1);
    assert_string_equal(net.roster->network, NETWORK_NAME);
    assert_int_equal(net.roster->roster.count, 6);
    const struct roster_node *n3 = roster_find(net.roster, bytes_str("n3"));
    assert_non_null(n3);
    assert_string_equal(n3->addresses[0], "127.0.0.13:7600");
    assert_string_equal(n3->mirror.name, "example.test/n3/mirror");
    assert_null(roster_find(net.roster, bytes_str("n7")));
    assert_ptr_equal(roster_find_identity(net.roster, BYTES(n3->identity.der, n3->identity.len)), n3);
    assert_null(roster_find_identity(net.roster, BYTES(n3->identity.der, n3->identity.len - 1)));
    uint8_t hash[HASH_LEN];
    memset(hash, 4, sizeof(hash));
    assert_string_equal(inventory_find_key(net.inventory, hash)->id, "web-2");
    assert_int_equal(inventory_find_key(net.inventory, hash)->chip_id_len, 0);
    memset(hash, 2, sizeof(hash)); /* an ak is no device key */
    assert_null(inventory_find_key(net.inventory, hash));
    assert_memory_equal(net.envelope->envelope.owner, net.vkey[KEY_OWNER].public, ED25519_PUBLIC_LEN);
    assert_string_equal(net.envelope->name, "abababababababababababababababab");
    assert_true(bytes_is(net.envelope->envelope.payload, "sealed payload"));
    assert_int_equal(net.chain->chain.stages[1].members[1].slot, 3);
    assert_int_equal(net.chain->expires_ms, NETWORK_NOW_MS + 600000);
    assert_int_equal(net.status->issued_ms, NETWORK_ISSUED_MS);
}

static void policies_arrive(void **state)
{
    (void)state;
    const struct policy *p = &net.policy->policy;
    assert_string_equal(net.policy->name, "db-policy");
    assert_int_equal(p->operation_count, 2);
    assert_int_equal(p->chain_lifetime_ms, 3600000);
    assert_true(p->owner_signed[0]);
    const struct factor *all = &p->stages[0].factors;
    assert_int_equal(all->kind, FACTOR_ALL);
    assert_int_equal(all->child_count, 3);
    assert_int_equal(all->children[0].kind, FACTOR_DEVICE);
    assert_string_equal(all->children[1].format, "tpm2");
    assert_int_equal(all->children[1].pcrs[1].index, 14);
    assert_int_equal(all->children[1].pcrs[1].count, 2);
    assert_int_equal(all->children[1].pcrs[1].values[1][31], 7);
    static const uint8_t ten_one[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 0};
    assert_memory_equal(all->children[2].cidrs[1].address, ten_one, 16);
    assert_int_equal(all->children[2].cidrs[1].prefix, 112);
    assert_int_equal(all->children[2].cidrs[2].prefix, 8);
    assert_int_equal(all->children[2].cidrs[2].address[0], 0xfd);
    const struct factor *least = &p->stages[1].factors;
    assert_int_equal(least->kind, FACTOR_AT_LEAST);
    assert_int_equal(least->at_least, 2);
    assert_int_equal(least->children[1].days, 1u | 1u << 4);
    assert_int_equal(least->children[1].to_minute, 1440);
    assert_int_equal(least->children[2].children[0].days, 0x7f);
    assert_int_equal(least->children[2].children[0].from_minute, 1320);
    assert_int_equal(least->children[2].children[0].to_minute, 390);
    assert_int_equal(p->stages[1].audit, AUDIT_CONFIRMED);
    assert_int_equal(p->stages[1].min_operators, 2);
    assert_int_equal(p->stages[0].min_operators, 0);
    assert_int_equal(p->stages[0].vendor_count, 2);
}

static void status_answers(void **state)
{
    (void)state;
    uint8_t hash[HASH_LEN];
    memset(hash, 0x77, sizeof(hash));
    assert_true(status_revokes(net.status, REVOKED_NODE, bytes_str("n9")));
    assert_false(status_revokes(net.status, REVOKED_DEVICE, bytes_str("n9")));
    assert_true(status_revokes(net.status, REVOKED_DEVICE, bytes_str("web-9")));
    assert_true(status_revokes(net.status, REVOKED_CHAIN, BYTES_OF(hash)));
    assert_false(status_revokes(net.status, REVOKED_NODE, BYTES_NONE));
    assert_true(status_halts(net.status, bytes_str("n8"), BYTES_NONE));
    assert_true(status_halts(net.status, bytes_str("n1"), bytes_str("old-policy")));
    assert_false(status_halts(net.status, bytes_str("n1"), bytes_str("db-policy")));
    assert_false(status_halts(net.status, BYTES_NONE, BYTES_NONE));
    net.status->status.halts[0] = (struct halt){.network = true};
    assert_true(status_halts(net.status, bytes_str("n1"), bytes_str("db-policy")));
    net.status->status.halts[0] = (struct halt){.node = "n8"};
}

static void written_texts_parse_to_the_same(void **state)
{
    (void)state;
    struct document *all[] = {net.root, net.roster, net.inventory, net.envelope, net.status, net.chain};
    const char *texts[] = {net.root_text,     net.roster_text, net.inventory_text,
                           net.envelope_text, net.status_text, net.chain_text};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        char *text = network_write(all[i]);
        assert_string_equal(text, texts[i]);
        assert_true(bytes_is(all[i]->text, texts[i]));
        free(text);
    }
    struct buf text;
    struct err err = {0};
    assert_int_equal(document_write(net.policy, &text, &err), ERR_USAGE);
    struct document none = {.type = DOCUMENT_APPROVAL};
    assert_int_equal(document_write(&none, &text, &err), ERR_VERSION);
    struct document bad = *net.chain;
    (void)snprintf(bad.network, sizeof(bad.network), "Example");
    assert_int_equal(document_write(&bad, &text, &err), ERR_FORMAT);
    assert_string_equal(
        err.text, "chain: line 2: network: 'Example' is not a name: 1 to 64 of a-z 0-9 . _ -, first a letter or digit");
}

/* ---- bad texts */

struct bad {
    char **text; /* a good one of net */
    const char *from, *to, *expect;
};

/* Prints and counts what differs, so that one run shows every row. */
static unsigned refuse(const struct bad *b)
{
    struct document *d = NULL;
    struct err err = {0};
    char *text = network_replace(*b->text, b->from, b->to);
    int rc = document_parse(bytes_str(text), "t", &d, &err);
    bool same = rc != 0 && rc == err.code && d == NULL && strncmp(err.text, b->expect, strlen(b->expect)) == 0;
    if (!same)
        print_error("'%s' for '%s'\n got:    %s\n wanted: %s\n", b->to, b->from, rc == 0 ? "(accepted)" : err.text,
                    b->expect);
    document_unref(d);
    free(text);
    return same ? 0 : 1;
}

static void refuse_all(const struct bad *rows, size_t count)
{
    unsigned differ = 0;
    for (size_t i = 0; i < count; i++)
        differ += refuse(&rows[i]);
    assert_int_equal(differ, 0);
}
#define REFUSE_ALL(rows_) refuse_all(rows_, sizeof(rows_) / sizeof((rows_)[0]))

static void heads_are_strict(void **state)
{
    (void)state;
    const struct bad rows[] = {
        {&net.roster_text, "enfilade: roster/v1\n", "network: x\n",
         "t: line 1: the first line must be \"enfilade: TYPE/v1\""},
        {&net.roster_text, "enfilade: roster/v1", "enfilade: roster/v2", "t: line 1: the first line must be"},
        {&net.roster_text, "enfilade: roster/v1", "enfilade: poster/v1", "t: line 1: enfilade: 'poster' is not a type"},
        {&net.roster_text, "enfilade: roster/v1", "enfilade: approval/v1", "t: line 1: approvals are not in use yet"},
        {&net.roster_text, "enfilade: roster/v1", "enfilade: root/v1", "t: line 6: nodes: unknown key"},
        {&net.roster_text, "enfilade: roster/v1", " enfilade: roster/v1", "t: line 1: the first line must be"},
        {&net.roster_text, "version: 1\n", "version: 1\nversion: 1\n",
         "t: line 4: version: this key stands here twice"},
        {&net.roster_text, "version: 1\n", "version: 1\nenfilade: roster/v1\n",
         "t: line 4: enfilade: this key stands here twice"},
        {&net.roster_text, "version: 1\n", "version: 1\nverzion: 1\n", "t: line 4: verzion: unknown key"},
        {&net.roster_text, "version: 1\n", "", "t: line 1: version: missing"},
        {&net.roster_text, "version: 1\n", "version: 0\n", "t: line 3: version: 0 is not between 1 and"},
        {&net.roster_text, "version: 1\n", "version: 3a\n", "t: line 3: version: '3a' is not a decimal number"},
        {&net.roster_text, "version: 1\n", "version: 010\n", "t: line 3: version: '010' is not a decimal number"},
        {&net.roster_text, "version: 1\n", "version: 0x10\n", "t: line 3: version: '0x10' is not a decimal number"},
        {&net.roster_text, "version: 1\n", "version: +3\n", "t: line 3: version: '+3' is not a decimal number"},
        {&net.roster_text, "version: 1\n", "version: 1e3\n", "t: line 3: version: '1e3' is not a decimal number"},
        {&net.roster_text, "version: 1\n", "version: -1\n", "t: line 3: version: '-1' is not a decimal number"},
        {&net.roster_text, "version: 1\n", "version: 18446744073709551616\n",
         "t: line 3: version: '18446744073709551616' is not"},
        {&net.roster_text, "version: 1\n", "version: &v 1\n", "t: line 3: anchors"},
        {&net.roster_text, "version: 1\n", "version: !!int 1\n", "t: line 3: tags"},
        {&net.roster_text, "version: 1\n", "version: 1 # c\xc2\x85nodes: []\n",
         "t: line 3: byte 0xc2 is not printable ASCII"},
        {&net.roster_text, "version: 1\n", "version: 1\n---\n", "t: line 4: a second document begins here"},
        {&net.roster_text, "version: 1\n", "version: 1\r\n", "t: line 3: byte 0x0d"},
        {&net.roster_text, "network: example.test\n", "network: Example\n",
         "t: line 2: network: 'Example' is not a name"},
        {&net.roster_text, "issued: 2026-11-18T11:06:40Z", "issued: 2026-11-18",
         "t: line 4: issued: '2026-11-18' is not a time"},
        {&net.roster_text, "issued: 2026-11-18T11:06:40Z", "issued: 2026-11-31T11:06:40Z",
         "t: line 4: issued: '2026-11-31T"},
        {&net.roster_text, "issued: 2026-11-18", "issued: 2026-12-18", "t: line 5: expires: not after issued"},
    };
    REFUSE_ALL(rows);
    struct document *d = NULL;
    struct err err = {0};
    assert_int_equal(document_parse(bytes_str("enfilade: chain/v1"), "t", &d, &err), ERR_FORMAT);
    assert_int_equal(document_parse(BYTES(net.chain_text, strlen(net.chain_text) - 1), "t", &d, &err), ERR_FORMAT);
    assert_string_equal(err.text, "t: the text must end with a newline");
    struct buf big;
    buf_init(&big, 2 * DOCUMENT_MAX);
    buf_str(&big, net.chain_text);
    while (big.len <= CHAIN_MAX)
        buf_str(&big, "# filling\n");
    assert_int_equal(document_parse(buf_view(&big), "t", &d, &err), ERR_TOO_LONG);
    buf_done(&big);
    assert_int_equal(document_parse(BYTES_NONE, "t", &d, &err), ERR_FORMAT);
}

static void roots_are_strict(void **state)
{
    (void)state;
    char a[200], b[200], both[600], twice[900];
    struct buf key;
    buf_init(&key, 300);
    note_key_text(&net.vkey[KEY_ROOT_A], &key);
    (void)snprintf(a, sizeof(a), "%s", buf_cstr(&key));
    buf_done(&key);
    note_key_text(&net.vkey[KEY_ROOT_B], &key);
    (void)snprintf(b, sizeof(b), "%s", buf_cstr(&key));
    buf_done(&key);
    /* one key under two names is one key */
    struct note_key other = net.vkey[KEY_ROOT_A];
    (void)snprintf(other.name, sizeof(other.name), "example.test/root/z");
    note_key_text(&other, &key);
    (void)snprintf(both, sizeof(both), "%s, %s", a, b);
    (void)snprintf(twice, sizeof(twice), "%s, %s", a, buf_cstr(&key));
    buf_done(&key);
    const struct bad rows[] = {
        {&net.root_text, "threshold: 2", "threshold: 0", "t: line 9: roles[0].threshold: 0 is not between 1 and 3"},
        {&net.root_text, "threshold: 2", "threshold: 4", "t: line 9: roles[0].threshold: 4 is not between 1 and 3"},
        {&net.root_text, both, twice, "t: line 10: roles[0].keys[1]: the same public key as keys[0]"},
        {&net.root_text, "role: roster", "role: root", "t: line 11: roles[1].role: root stands here twice"},
        {&net.root_text, "role: roster", "role: rooster", "t: line 11: roles[1].role: not one of the words"},
        {&net.root_text, "role: roster", "role: 1", "t: line 11: roles[1].role: not one of the words"},
        {&net.root_text, "tag_profile: 1", "tag_profile: 4", "t: line 6: tag_profile: 4 is not between 1 and 3"},
        {&net.root_text, "device_cas:\n  - ", "device_cas:\n  - AAAA\n  - ",
         "t: line 24: device_cas[0]: not one DER certificate"},
        {&net.root_text, "device_cas:\n  - ", "device_cas:\n  - A\n  - ", "t: line 24: device_cas[0]: not base64"},
        {&net.root_text, a, "example.test/root/a+00000000+AAAA",
         "t: line 10: roles[0].keys[0]: not a verification key"},
    };
    REFUSE_ALL(rows);
    char *cut = strdup(net.root_text);
    char *at = strstr(cut, "  - role: status");
    memcpy(at, "device_cas: []\n", sizeof("device_cas: []\n"));
    struct document *d = NULL;
    struct err err = {0};
    assert_int_equal(document_parse(bytes_str(cut), "t", &d, &err), ERR_FORMAT);
    assert_string_equal(err.text, "t: line 7: roles: too few entries");
    free(cut);
}

static void rosters_are_strict(void **state)
{
    (void)state;
    char kem1[100], kem2[100], mapped[110], compressed[120];
    struct buf b;
    buf_init(&b, 200);
    buf_base64(&b, BYTES_OF(net.roster->roster.nodes[0].kem));
    (void)snprintf(kem1, sizeof(kem1), "%s", buf_cstr(&b));
    buf_done(&b);
    buf_base64(&b, BYTES_OF(net.roster->roster.nodes[1].seal));
    (void)snprintf(kem2, sizeof(kem2), "%s", buf_cstr(&b));
    buf_done(&b);
    (void)snprintf(mapped, sizeof(mapped), "kem: %s", kem1);
    (void)snprintf(compressed, sizeof(compressed), "kem: %.*s", 44, kem1);
    char seal1[110];
    (void)snprintf(seal1, sizeof(seal1), "seal: %s", kem1); /* n2's seal := n1's kem */
    char seal2[110];
    (void)snprintf(seal2, sizeof(seal2), "seal: %s", kem2);
    const struct bad rows[] = {
        {&net.roster_text, "name: n2\n", "name: n1\n",
         "t: line 31: nodes[1].log: the key's name must be example.test/n1/log"},
        {&net.roster_text, seal2, seal1, "t: line 29: nodes[1].seal: the same as nodes[0].kem"},
        {&net.roster_text, mapped, compressed, "t: line 15: nodes[0].kem: holds 33 bytes, must be 65"},
        {&net.roster_text, mapped, "kem: BAAA", "t: line 15: nodes[0].kem: holds 3 bytes, must be 65"},
        {&net.roster_text, "127.0.0.11:7600", "127.0.0.11",
         "t: line 9: nodes[0].addresses: '127.0.0.11' is not host:port"},
        {&net.roster_text, "127.0.0.11:7600", "127.0.0.11:0", "t: line 9: nodes[0].addresses: '127.0.0.11:0' is not"},
        {&net.roster_text, "127.0.0.11:7600", "127.0.0.11:76000",
         "t: line 9: nodes[0].addresses: '127.0.0.11:76000' is not"},
        {&net.roster_text, "127.0.0.11:7600", "::1:7600", "t: line 9: nodes[0].addresses: '::1:7600' is not"},
        {&net.roster_text, "127.0.0.11:7600", "[zz]:7600", "t: line 9: nodes[0].addresses: '[zz]:7600' is not"},
        {&net.roster_text, "operator: op3", "operator: Op3", "t: line 37: nodes[2].operator: 'Op3' is not a name"},
        {&net.roster_text, "example.test/n1/log+", "example.test/n1/lag+",
         "t: line 18: nodes[0].log: not a verification key"},
        {&net.roster_text, "name: n1\n    roles: [hsm, mirror]", "name: n1\n    roles: [hsm, hsm]",
         "t: line 8: nodes[0].roles: a role stands here twice"},
        {&net.roster_text, "name: n1\n    roles: [hsm, mirror]", "name: n1\n    roles: [config]",
         "t: line 14: nodes[0].profile: only with the role hsm"},
        {&net.roster_text, "name: n1\n    roles: [hsm, mirror]", "name: n1\n    roles: [admin]",
         "t: line 8: nodes[0].roles[0]: not one of the words"},
        {&net.roster_text, "name: n1\n    roles: [hsm, mirror]", "name: n1\n    roles: []",
         "t: line 8: nodes[0].roles: too few entries"},
        {&net.roster_text, "name: n1\n", "name: n0\n",
         "t: line 18: nodes[0].log: the key's name must be example.test/n0/log"},
    };
    REFUSE_ALL(rows);
    memcpy(kem1 + 20, "AAAA", 4); /* off the curve */
    char off[110];
    (void)snprintf(off, sizeof(off), "kem: %s", kem1);
    const struct bad curve = {&net.roster_text, mapped, off,
                              "t: line 15: nodes[0].kem: not an uncompressed point on P-256"};
    assert_int_equal(refuse(&curve), 0);
    /* nodes without a token have names too */
    struct roster_node twins[2] = {net.roster->roster.nodes[0], net.roster->roster.nodes[1]};
    twins[0].roles = twins[1].roles = NODE_CONFIG;
    memcpy(twins[1].name, twins[0].name, sizeof(twins[1].name));
    struct document d = *net.roster;
    d.roster = (struct roster){twins, 2};
    struct err err = {0};
    assert_int_equal(document_write(&d, &b, &err), ERR_FORMAT);
    assert_string_equal(err.text, "roster: line 14: nodes[1].name: the same as nodes[0].name; every one must differ");
}

#define H(digit_)                                                                                                      \
    digit_ digit_ digit_ digit_ digit_ digit_ digit_ digit_ digit_ digit_ digit_ digit_ digit_ digit_ digit_ digit_
#define H64(digit_) H(digit_) H(digit_)

static void inventories_are_strict(void **state)
{
    (void)state;
    const struct bad rows[] = {
        {&net.inventory_text, "id: web-2", "id: web-1", "t: line 12: devices[1].id: the same as devices[0].id"},
        {&net.inventory_text, "key: " H64("04"), "key: " H64("02"),
         "t: line 13: devices[1].key: the same as devices[0].ak"},
        {&net.inventory_text, "key: " H64("04"), "key: " H64("00"), "t: line 13: devices[1].key: must not be zero"},
        {&net.inventory_text, "key: " H64("04"), "key: " H64("AA"), "t: line 13: devices[1].key: must be 32 bytes"},
        {&net.inventory_text, "chip: 0708", "chip: 070", "t: line 11: devices[0].chip: must be 1 bytes"},
        {&net.inventory_text, "chip: 0708", "chip: " H64("07") H64("07") "07",
         "t: line 11: devices[0].chip: must be 1 to 64 bytes"},
        {&net.inventory_text, "chip: 0708", "chip: \"\"", "t: line 11: devices[0].chip: empty"},
    };
    REFUSE_ALL(rows);
}

#define DEVICE "        - device: enrolled\n        - evidence:\n"
#define EVIDENCE "        - evidence:\n"
#define QUOTA(count, window, per) "        - quota: {count: " count ", window_s: " window ", per: " per "}\n"

static void policies_are_strict(void **state)
{
    (void)state;
    char **p = &net.policy_text;
    const struct bad rows[] = {
        {p, "name: db-policy", "name: db/policy", "t: line 3: name: 'db/policy' is not a name"},
        {p, "[unlock-db, rotate-db]", "[unlock-db, unlock-db]",
         "t: line 7: operations[1]: unlock-db stands here twice"},
        {p, "[unlock-db, rotate-db]", "[]", "t: line 7: operations: too few entries"},
        {p, "chain_lifetime_s: 3600", "chain_lifetime_s: 99999999",
         "t: line 9: chain_lifetime_s: 99999999 is not between"},
        {p, "name: vault\n    need: 2", "name: gate\n    need: 2",
         "t: line 24: stages[1].name: the same as stages[0].name"},
        {p, "name: vault\n    need: 2", "name: vault\n    need: 0",
         "t: line 25: stages[1].need: 0 is not between 1 and 16"},
        {p, "name: vault\n    need: 2", "name: vault\n    need: 17", "t: line 25: stages[1].need: 17 is not between"},
        {p, "[r1, r2, r3]", "[]", "t: line 26: stages[1].regions: too few entries"},
        {p, "min_regions: 2", "min_regions: 0", "t: line 28: stages[1].min_regions: 0 is not between"},
        {p, "audit: local", "audit: Local", "t: line 14: stages[0].audit: not one of the words"},
        {p, "    audit: local\n", "", "t: line 11: stages[0].audit: missing"},
        {p, "- network: {cidrs:", "- network: {days: [mon], cidrs:",
         "t: line 23: stages[0].factors.all[2].network.days: unknown key"},
        {p, "10.1.0.0/16", "10.1.0.1/16",
         "t: line 23: stages[0].factors.all[2].network.cidrs[1]: '10.1.0.1/16' is not a network"},
        {p, "10.1.0.0/16", "10.1.0.0/33", "t: line 23: stages[0].factors.all[2].network.cidrs[1]: '10.1.0.0/33'"},
        {p, "10.1.0.0/16", "10.1.0.0", "t: line 23: stages[0].factors.all[2].network.cidrs[1]: '10.1.0.0'"},
        {p, "10.1.0.0/16", "010.1.0.0/16", "t: line 23: stages[0].factors.all[2].network.cidrs[1]: '010.1.0.0/16'"},
        {p, "10.1.0.0/16", "::ffff:10.1.0.0/112", "t: line 23: stages[0].factors.all[2].network.cidrs[1]: '::ffff"},
        {p, "fd00::/8", "fd00:0::/8", "t: line 23: stages[0].factors.all[2].network.cidrs[2]: 'fd00:0::/8'"},
        {p, "index: 14", "index: 24",
         "t: line 22: stages[0].factors.all[1].evidence.pcrs[1].index: 24 is not between 0 and 23"},
        {p, "index: 14", "index: 7", "t: line 20: stages[0].factors.all[1].evidence.pcrs: indexes must ascend"},
        {p, "format: tpm2", "format: TPM2",
         "t: line 19: stages[0].factors.all[1].evidence.format: 'TPM2' is not a name"},
        {p, "count: 2\n", "count: 4\n", "t: line 34: stages[1].factors.at_least.count: 4 is not between 1 and 3"},
        {p, "count: 2\n", "count: 0\n", "t: line 34: stages[1].factors.at_least.count: 0 is not between 1 and 3"},
        {p, "[mon, fri]", "[mon, mon]",
         "t: line 37: stages[1].factors.at_least.of[1].time.days: a day stands here twice"},
        {p, "[mon, fri]", "[mon, Fri]", "t: line 37: stages[1].factors.at_least.of[1].time.days[1]: not one of"},
        {p, "from: \"08:00\"", "from: \"8:00\"", "t: line 37: stages[1].factors.at_least.of[1].time.from: must be"},
        {p, "from: \"08:00\"", "from: \"24:00\"", "t: line 37: stages[1].factors.at_least.of[1].time.from: must be"},
        {p, "to: \"24:00\"", "to: \"24:01\"", "t: line 37: stages[1].factors.at_least.of[1].time.to: must be"},
        {p, "to: \"24:00\"", "to: \"12:60\"", "t: line 37: stages[1].factors.at_least.of[1].time.to: must be"},
        {p, "to: \"24:00\"", "to: \"08:00\"", "t: line 37: stages[1].factors.at_least.of[1].time.to: the same as from"},
        {p, "              - device: enrolled\n", "              - device: known\n",
         "t: line 40: stages[1].factors.at_least.of[2].any[1].device: must be the word enrolled"},
        {p, "              - device: enrolled\n",
         "              - {device: enrolled, time: {from: \"01:00\", to: \"02:00\"}}\n",
         "t: line 40: stages[1].factors.at_least.of[2].any[1]: holds 2 factors, must be exactly one"},
        {p, "              - device: enrolled\n", "              - {}\n",
         "t: line 40: stages[1].factors.at_least.of[2].any[1]: holds 0 factors, must be exactly one"},
        {p, "              - device: enrolled\n", "              - any: []\n",
         "t: line 40: stages[1].factors.at_least.of[2].any[1].any: too few entries"},
        {p, "              - device: enrolled\n", "              - any: [{all: [{device: enrolled}]}]\n",
         "t: line 40: stages[1].factors.at_least.of[2].any[1].any[0].all[0]: factors nested deeper than 4"},
        {p, DEVICE, QUOTA("0", "60", "device") EVIDENCE,
         "t: line 17: stages[0].factors.all[0].quota.count: 0 is not between 1"},
        {p, DEVICE, QUOTA("5", "0", "device") EVIDENCE,
         "t: line 17: stages[0].factors.all[0].quota.window_s: 0 is not between"},
        {p, DEVICE, QUOTA("5", "31622401", "device") EVIDENCE,
         "t: line 17: stages[0].factors.all[0].quota.window_s: 31622401"},
        {p, DEVICE, QUOTA("5", "60", "person") EVIDENCE, "t: line 17: stages[0].factors.all[0].quota.per: not one of"},
        {p, DEVICE, QUOTA("5", "60", "secret") QUOTA("6", "60", "secret") EVIDENCE,
         "t: line 15: stages[0].factors: two quotas with the same window_s and per"},
        {p, DEVICE, "        - any: [{quota: {count: 5, window_s: 60, per: device}}]\n" EVIDENCE,
         "t: line 15: stages[0].factors: a quota stands alone or directly under"},
        {p, "              - device: enrolled\n", "              - quota: {count: 5, window_s: 60, per: device}\n",
         "t: line 32: stages[1].factors: a quota stands alone or directly under"},
        {p, "          - time: {days",
         "          - quota: {count: 5, window_s: 60, per: device}\n          - time: {days",
         "t: line 32: stages[1].factors: a quota stands alone or directly under"},
    };
    /* depth 4 itself is fine */
    char *text = network_replace(net.policy_text, "              - device: enrolled\n",
                                 "              - any: [{device: enrolled}]\n");
    struct document *d = NULL;
    struct err err = {0};
    assert_int_equal(document_parse(bytes_str(text), "t", &d, &err), 0);
    document_unref(d);
    free(text);
    REFUSE_ALL(rows);
}

/* Every way in which four factors can nest fits under the depth that yaml.h allows. */
static void deepest_policy_fits(void **state)
{
    (void)state;
    char *text = network_replace(
        net.policy_text, "              - device: enrolled\n",
        "              - at_least: {count: 1, of: [{evidence: {format: tpm2, pcrs: [{index: 1, values: [" H64(
            "01") "]}]}}]}\n");
    char *deep = network_replace(text, "- any:\n", "- at_least:\n             count: 1\n             of:\n");
    struct document *d = NULL;
    struct err err = {0};
    if (document_parse(bytes_str(deep), "t", &d, &err) != 0)
        fail_msg("%s", err.text);
    document_unref(d);
    free(text);
    free(deep);
}

static void envelopes_are_strict(void **state)
{
    (void)state;
    char **e = &net.envelope_text;
    const struct bad rows[] = {
        {e, "id: abab", "id: ABAB", "t: line 3: id: must be 16 bytes"},
        {e, "generation: 1", "generation: 0", "t: line 4: generation: 0 is not between"},
        {e, "payload_length: 14", "payload_length: 15", "t: line 13: payload: holds 14 bytes, payload_length says 15"},
        {e, "payload_hash: ", "payload_hash: 00", "t: line 11: payload_hash: must be 32 bytes"},
        {e, "payload: c2Vh", "payload: c2Vi", "t: line 13: payload: does not hash to payload_hash"},
        {e, "name: gate\n    need: 1", "name: gate\n    need: 0",
         "t: line 16: stages[0].need: 0 is not between 1 and 3"},
        {e, "name: gate\n    need: 1", "name: gate\n    need: 4",
         "t: line 16: stages[0].need: 4 is not between 1 and 3"},
        {e, "name: gate\n    need: 1", "name: vault\n    need: 1",
         "t: line 39: stages[1].name: the same as stages[0].name"},
        {e, "slot: 2\n        node: n2", "slot: 1\n        node: n2",
         "t: line 25: stages[0].members[1].slot: the same as members[0].slot"},
        {e, "slot: 2\n        node: n2", "slot: 2\n        node: n1",
         "t: line 26: stages[0].members[1].node: the same as members[0].node"},
        {e, "slot: 2\n        node: n2", "slot: 0\n        node: n2",
         "t: line 25: stages[0].members[1].slot: 0 is not between 1 and 16"},
        {e, "slot: 2\n        node: n2", "slot: 17\n        node: n2",
         "t: line 25: stages[0].members[1].slot: 17 is not between"},
        {e, "node: n2\n        profile: 1", "node: n2\n        profile: 9",
         "t: line 27: stages[0].members[1].profile: 9 is not"},
        {e, "sealed: AQEB", "sealed: AQEBAQEB", "t: line 23: stages[0].members[0].sealed: holds 75 bytes, must be 72"},
        {e, "commitment: " H64("01"), "commitment: " H64("01") "01",
         "t: line 24: stages[0].members[0].commitment: must be 32"},
    };
    REFUSE_ALL(rows);
}

static void statuses_are_strict(void **state)
{
    (void)state;
    char **s = &net.status_text;
    const struct bad rows[] = {
        {s, "type: inventory\n", "type: roster\n", "t: line 6: documents: holds 2 entries of type roster, must be one"},
        {s, "type: inventory\n", "type: chain\n", "t: line 13: documents[2].type: not one of the words"},
        {s, "type: inventory\n", "type: inventory\n    name: x\n",
         "t: line 14: documents[2].name: only with type policy"},
        {s, "    name: db-policy\n", "", "t: line 16: documents[3].name: missing"},
        {s, "id: n9", "hash: " H64("01"), "t: line 22: revocations[0].hash: a node or device is revoked by its id"},
        {s, "id: n9", "id: N9", "t: line 22: revocations[0].id: 'N9' is not a name"},
        {s, "kind: chain", "kind: chain\n    id: x", "t: line 26: revocations[2].id: a chain is revoked by its hash"},
        {s, "kind: chain", "kind: policy", "t: line 25: revocations[2].kind: not one of the words"},
        {s, "- node: n8", "- {node: n8, network: halted}", "t: line 28: halts[0]: must hold exactly one of"},
        {s, "- node: n8", "- {}", "t: line 28: halts[0]: must hold exactly one of"},
        {s, "- node: n8", "- network: yes", "t: line 28: halts[0].network: must be the word halted"},
        {s, "least_generation: 2", "least_generation: 0", "t: line 33: withdrawn[0].least_generation: 0 is not"},
        {s, "least_generation: 2",
         "least_generation: 2\n  - {owner: " H64("00") ", envelope: " H("00") ", least_generation: 3}",
         "t: line 34: withdrawn[1].envelope: the same as withdrawn[0].envelope"},
    };
    REFUSE_ALL(rows);
    char *twice =
        network_replace(net.status_text, "revocations:\n",
                        "  - {type: policy, name: db-policy, version: 2, hash: " H64("01") "}\nrevocations:\n");
    struct document *d = NULL;
    struct err err = {0};
    assert_int_equal(document_parse(bytes_str(twice), "t", &d, &err), ERR_FORMAT);
    assert_string_equal(
        err.text, "t: line 20: documents[4].name: the same policy as documents[3]; one version of it is in force");
    free(twice);
}

static void chains_are_strict(void **state)
{
    (void)state;
    char **c = &net.chain_text;
    const struct bad rows[] = {
        {c, "not_after: ", "not_before: ", "t: line 6: not_before: unknown key"},
        {c, "{slot: 2, node: n2}", "{slot: 17, node: n2}", "t: line 10: stages[0].members[0].slot: 17 is not"},
        {c, "{slot: 2, node: n2}", "{slot: 2, node: N2}", "t: line 10: stages[0].members[0].node: 'N2' is not"},
        {c, "{slot: 2, node: n2}", "{slot: 2}", "t: line 10: stages[0].members[0].node: missing"},
        {c, "{slot: 2, node: n2}", "{slot: 2, node: n2, x: 1}", "t: line 10: stages[0].members[0].x: unknown key"},
        {c, "operation: unlock-db\n", "operation: unlock-db\nversion: 1\n", "t: line 4: version: unknown key"},
    };
    REFUSE_ALL(rows);
}

/* ---- signatures */

static int open_with(const char *text, unsigned keys, struct document_trust trust, struct document **ret)
{
    struct err err = {0};
    char *note = network_sign(&net, text, keys);
    int rc = document_open(bytes_str(note), trust, "t", ret, &err);
    free(note);
    return rc;
}

static void thresholds_count_distinct_holders(void **state)
{
    (void)state;
    static const struct {
        unsigned keys;
        int rc;
    } rows[] = {
        {KEYS_ROOT, 0},
        {KEY_BIT(KEY_ROOT_A) | KEY_BIT(KEY_ROOT_C), 0},
        {KEYS_ROOT | KEY_BIT(KEY_ROOT_C), 0},
        {KEYS_ROOT | KEY_BIT(KEY_OTHER), 0}, /* unknown signers are ignored */
        {KEY_BIT(KEY_ROOT_A), ERR_THRESHOLD},
        {KEY_BIT(KEY_ROOT_A) | KEY_BIT(KEY_OTHER) | KEY_BIT(KEY_STATUS), ERR_THRESHOLD},
        {KEY_BIT(KEY_OTHER), ERR_THRESHOLD},
    };
    struct document_trust none = {NULL, NULL};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct document *d = NULL;
        assert_int_equal(open_with(net.root_text, rows[i].keys, none, &d), rows[i].rc);
        document_unref(d);
    }
    /* one holder signing twice is one signature */
    char *once = network_sign(&net, net.root_text, KEY_BIT(KEY_ROOT_A));
    char *line = strstr(once, "\n\n") + 2, twice[8192];
    (void)snprintf(twice, sizeof(twice), "%s%s", once, line);
    struct document *d = NULL;
    struct err err = {0};
    int rc = document_open(bytes_str(twice), none, "t", &d, &err);
    assert_true(rc == ERR_THRESHOLD || rc == ERR_FORMAT);
    assert_null(d);
    free(once);
}

static void a_new_root_needs_the_old_ones_holders(void **state)
{
    (void)state;
    struct document next = *net.root, *d = NULL;
    next.version = 2;
    next.root.role[ROLE_ROOT] = (struct role_keys){1, &net.vkey[KEY_OTHER], 1};
    char *text = network_write(&next);
    struct document_trust old = {.root = net.root};
    assert_int_equal(open_with(text, KEY_BIT(KEY_OTHER), old, &d), ERR_THRESHOLD);
    assert_int_equal(open_with(text, KEYS_ROOT, old, &d), ERR_THRESHOLD);
    assert_int_equal(open_with(text, KEY_BIT(KEY_ROOT_A) | KEY_BIT(KEY_OTHER), old, &d), ERR_THRESHOLD);
    assert_null(d);
    assert_int_equal(open_with(text, KEYS_ROOT | KEY_BIT(KEY_OTHER), old, &d), 0);
    document_unref(d);
    free(text);
}

static void roles_sign_what_is_theirs(void **state)
{
    (void)state;
    const struct {
        const char *text;
        enum network_key key;
    } rows[] = {{net.roster_text, KEY_ROSTER},
                {net.inventory_text, KEY_INVENTORY},
                {net.policy_text, KEY_POLICY},
                {net.status_text, KEY_STATUS}};
    struct document_trust trust = {.root = net.root}, none = {NULL, NULL};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t k = 0; k < KEY_COUNT; k++) {
            struct document *d = NULL;
            int rc = open_with(rows[i].text, KEY_BIT(k), trust, &d);
            assert_int_equal(rc, k == rows[i].key ? 0 : ERR_THRESHOLD);
            document_unref(d);
            d = NULL;
            assert_int_equal(open_with(rows[i].text, KEY_BIT(k), none, &d), ERR_SIGNATURE);
            assert_null(d);
        }
}

static void owners_are_who_signed(void **state)
{
    (void)state;
    struct document *d = NULL;
    struct document_trust trust = {.policy = net.policy}, root = {.root = net.root};
    assert_int_equal(open_with(net.envelope_text, KEY_BIT(KEY_OTHER), trust, &d), ERR_SIGNATURE);
    assert_int_equal(open_with(net.envelope_text, KEY_BIT(KEY_POLICY), trust, &d), ERR_SIGNATURE);
    assert_int_equal(open_with(net.envelope_text, KEY_BIT(KEY_OWNER), root, &d), ERR_SIGNATURE);
    assert_null(d);
    /* a policy that its owner did not sign says so */
    assert_int_equal(open_with(net.policy_text, KEY_BIT(KEY_POLICY), root, &d), 0);
    assert_false(d->policy.owner_signed[0]);
    document_unref(d);
    d = NULL;
    /* two owners of one policy cannot both sign one envelope */
    struct buf key, other;
    buf_init(&key, 300);
    buf_init(&other, 600);
    note_key_text(&net.vkey[KEY_OWNER], &key);
    buf_printf(&other, "%s, ", buf_cstr(&key));
    note_key_text(&net.vkey[KEY_OTHER], &other);
    char *text = network_replace(net.policy_text, buf_cstr(&key), buf_cstr(&other));
    struct document *both = NULL;
    assert_int_equal(open_with(text, KEY_BIT(KEY_POLICY), root, &both), 0);
    trust.policy = both;
    assert_int_equal(open_with(net.envelope_text, KEY_BIT(KEY_OWNER) | KEY_BIT(KEY_OTHER), trust, &d), ERR_SIGNATURE);
    assert_int_equal(open_with(net.envelope_text, KEY_BIT(KEY_OTHER), trust, &d), 0);
    assert_memory_equal(d->envelope.owner, net.vkey[KEY_OTHER].public, ED25519_PUBLIC_LEN);
    document_unref(d);
    document_unref(both);
    free(text);
    buf_done(&key);
    buf_done(&other);
    /* a policy vouches for the envelopes that name it, and for no others */
    d = NULL;
    text = network_replace(net.envelope_text, "policy: db-policy\n", "policy: web-policy\n");
    trust.policy = net.policy;
    assert_int_equal(open_with(text, KEY_BIT(KEY_OWNER), trust, &d), ERR_SIGNATURE);
    assert_null(d);
    free(text);
}

static void altered_notes_are_refused(void **state)
{
    (void)state;
    struct document *d = NULL;
    struct err err = {0};
    struct document_trust trust = {.root = net.root};
    char *note = network_sign(&net, net.status_text, KEY_BIT(KEY_STATUS));
    char *bad = network_replace(note, "least_generation: 2", "least_generation: 3");
    assert_int_equal(document_open(bytes_str(bad), trust, "t", &d, &err), ERR_SIGNATURE);
    free(bad);
    bad = network_replace(note, "enfilade: status/v1\nnetwork: example.test",
                          "enfilade: status/v1\nnetwork: example.tesd");
    assert_int_equal(document_open(bytes_str(bad), trust, "t", &d, &err), ERR_SIGNATURE);
    free(bad);
    assert_int_equal(document_open(bytes_str(net.status_text), trust, "t", &d, &err),
                     ERR_FORMAT); /* no signature lines */
    /* keys of this network on a document of another */
    char *text = network_replace(net.status_text, "network: example.test", "network: other.test");
    assert_int_equal(open_with(text, KEY_BIT(KEY_STATUS), trust, &d), ERR_CONFIG);
    /* a chain takes no signatures */
    char *chain = network_sign(&net, net.chain_text, KEY_BIT(KEY_STATUS));
    assert_int_equal(document_open(bytes_str(chain), trust, "t", &d, &err), ERR_FORMAT);
    assert_null(d);
    free(chain);
    free(text);
    free(note);
}

static void notes_are_kept_as_received(void **state)
{
    (void)state;
    char *note = network_sign(&net, net.status_text, KEY_BIT(KEY_STATUS) | KEY_BIT(KEY_OTHER));
    struct document_trust trust = {.root = net.root};
    struct document *d = NULL;
    struct err err = {0};
    uint8_t hash[HASH_LEN];
    assert_int_equal(document_open(bytes_str(note), trust, "t", &d, &err), 0);
    assert_true(bytes_is(d->note, note));
    assert_true(bytes_is(d->text, net.status_text));
    sha256(bytes_str(net.status_text), hash);
    assert_memory_equal(d->hash, hash, HASH_LEN);
    struct document *again = document_ref(d);
    document_unref(d);
    assert_true(bytes_is(again->note, note));
    document_unref(again);
    document_unref(NULL);
    free(note);
}

static void peeks_tell_what_is_claimed(void **state)
{
    (void)state;
    const struct {
        const char *text;
        enum document_type type;
        const char *name, *policy;
    } rows[] = {
        {net.root_text, DOCUMENT_ROOT, "", ""},
        {net.roster_text, DOCUMENT_ROSTER, "", ""},
        {net.inventory_text, DOCUMENT_INVENTORY, "", ""},
        {net.policy_text, DOCUMENT_POLICY, "db-policy", ""},
        {net.envelope_text, DOCUMENT_ENVELOPE, "abababababababababababababababab", "db-policy"},
        {net.status_text, DOCUMENT_STATUS, "", ""},
        {net.chain_text, DOCUMENT_CHAIN, "unlock-db", ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct document_claim c;
        struct err err = {0};
        bool chain = rows[i].type == DOCUMENT_CHAIN;
        char *note = network_sign(&net, rows[i].text, chain ? 0 : KEY_BIT(KEY_OTHER));
        assert_int_equal(document_peek(bytes_str(note), &c, &err), 0);
        assert_int_equal(c.type, rows[i].type);
        assert_string_equal(c.network, NETWORK_NAME);
        assert_string_equal(c.name, rows[i].name);
        assert_string_equal(c.policy, rows[i].policy);
        assert_int_equal(c.version, chain ? 0 : 1);
        free(note);
    }
    struct document_claim c;
    struct err err = {0};
    assert_int_equal(document_peek(BYTES_NONE, &c, &err), ERR_FORMAT);
    assert_int_equal(document_peek(bytes_str("enfilade: chain/v1\n"), &c, &err), ERR_FORMAT);
    assert_int_equal(document_peek(bytes_str("enfilade: approval/v1\nnetwork: a\n"), &c, &err), ERR_VERSION);
    assert_int_equal(document_peek(bytes_str(net.root_text), &c, &err), ERR_FORMAT);
}

static void types_have_names(void **state)
{
    (void)state;
    for (enum document_type t = DOCUMENT_ROOT; t <= DOCUMENT_CHAIN; t++)
        assert_int_equal(document_type_from(bytes_str(document_type_name(t))), t);
    assert_int_equal(document_type_from(bytes_str("none")), DOCUMENT_NONE);
    assert_int_equal(document_type_from(BYTES_NONE), DOCUMENT_NONE);
    assert_string_equal(role_name(ROLE_STATUS), "status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_arrive),
        cmocka_unit_test(policies_arrive),
        cmocka_unit_test(status_answers),
        cmocka_unit_test(written_texts_parse_to_the_same),
        cmocka_unit_test(heads_are_strict),
        cmocka_unit_test(roots_are_strict),
        cmocka_unit_test(rosters_are_strict),
        cmocka_unit_test(inventories_are_strict),
        cmocka_unit_test(policies_are_strict),
        cmocka_unit_test(deepest_policy_fits),
        cmocka_unit_test(envelopes_are_strict),
        cmocka_unit_test(statuses_are_strict),
        cmocka_unit_test(chains_are_strict),
        cmocka_unit_test(thresholds_count_distinct_holders),
        cmocka_unit_test(a_new_root_needs_the_old_ones_holders),
        cmocka_unit_test(roles_sign_what_is_theirs),
        cmocka_unit_test(owners_are_who_signed),
        cmocka_unit_test(altered_notes_are_refused),
        cmocka_unit_test(notes_are_kept_as_received),
        cmocka_unit_test(peeks_tell_what_is_claimed),
        cmocka_unit_test(types_have_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
