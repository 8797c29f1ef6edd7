/* client_config_test: client.yaml: what it may say, and that every mistake is named. */
#include "orchestrator/config.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

#define HEAD                                                                                                           \
    "enfilade: client/v1\nnetwork: example.test\nroot: root.note\n"                                                    \
    "root_hash: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"

static char folder[] = "/tmp/enfilade-config-XXXXXX";
static char path[64];

static int setup(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/client.yaml", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static int load(const char *text, struct client_config **ret, struct err *err)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return config_load(path, ret, err);
}

static void make_vkey(char ret[256])
{
    struct note_key key;
    struct buf b;
    uint8_t public[ED25519_PUBLIC_LEN];
    memset(public, 7, sizeof(public));
    assert_int_equal(note_key_make("example.test/owner/dba", public, &key), 0);
    buf_init(&b, 256);
    note_key_text(&key, &b);
    snprintf(ret, 256, "%s", buf_cstr(&b));
    buf_done(&b);
}

static void test_everything(void **state)
{
    (void)state;
    char vkey[256], text[2048], expected[128];
    struct client_config *c = NULL;
    struct err err = {0};
    make_vkey(vkey);
    snprintf(text, sizeof(text),
             HEAD "documents: docs\nstate: /var/state\npayload: p\nsource: 127.0.0.9\ndeadline_s: 7\n"
                  "operations:\n  - {name: unlock-db, envelope: 00112233445566778899aabbccddeeff, owner: \"%s\"}\n"
                  "config_servers:\n  - {node: c1, address: \"127.0.0.10:7600\"}\n  - {node: c2}\n"
                  "device: {certificate: d.pem, key: d.key}\nattester: {kind: tpm2, device: \"swtpm:path=/x\"}\n"
                  "nodes:\n  - {node: n1, control: n1/control}\n",
             vkey);
    if (load(text, &c, &err) != 0)
        fail_msg("%s", err.text);
    snprintf(expected, sizeof(expected), "%s/docs", folder);
    assert_string_equal(c->documents, expected);
    assert_string_equal(c->state, "/var/state");
    assert_int_equal(c->deadline_ms, 7000);
    assert_non_null(config_operation(c, "unlock-db"));
    assert_null(config_operation(c, "unlock"));
    assert_int_equal(config_operation(c, "unlock-db")->envelope[15], 0xff);
    assert_string_equal(config_operation(c, "unlock-db")->owner.name, "example.test/owner/dba");
    assert_int_equal(c->server_count, 2);
    assert_string_equal(c->servers[1].address, "");
    assert_string_equal(c->attester_device, "swtpm:path=/x");
    assert_null(c->nodes[0].config);
    config_free(c);
}

static void test_defaults(void **state)
{
    (void)state;
    struct client_config *c = NULL;
    struct err err = {0};
    assert_int_equal(load(HEAD, &c, &err), 0);
    assert_int_equal(c->deadline_ms, 30000);
    assert_null(c->device_key);
    assert_string_equal(c->source, "");
    config_free(c);
}

static void test_mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word;
    } wrong[] = {
        {"enfilade: client/v2\nnetwork: a\nroot: r\nroot_hash: 00\n", "client/v1"},
        {HEAD "colour: red\n", "colour"},
        {HEAD "deadline_s: 0\n", "deadline_s"},
        {HEAD "deadline_s: 1e3\n", "deadline_s"},
        {HEAD "source: localhost\n", "source"},
        {HEAD "device: {certificate: d.pem}\n", "key"},
        {HEAD "operations:\n  - {name: x, envelope: 00, owner: y}\n", "envelope"},
        {HEAD "operations:\n  - {name: x, envelope: 00112233445566778899aabbccddeeff, owner: y}\n", "owner"},
        {HEAD "operations:\n  - {name: X, envelope: 00112233445566778899aabbccddeeff, owner: y}\n", "name"},
        {HEAD "config_servers:\n  - {node: ../x}\n", "node"},
        {"network: a\n", "enfilade"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct client_config *c = NULL;
        struct err err = {0};
        assert_int_equal(load(wrong[i].text, &c, &err), ERR_CONFIG);
        assert_null(c);
        if (strstr(err.text, wrong[i].word) == NULL || strstr(err.text, "client.yaml") == NULL)
            fail_msg("'%s' does not name %s and the file", err.text, wrong[i].word);
    }
}

static void test_missing_file(void **state)
{
    (void)state;
    struct client_config *c = NULL;
    struct err err = {0};
    assert_int_equal(config_load("/nonexistent/client.yaml", &c, &err), ERR_CONFIG);
    assert_non_null(strstr(err.text, "/nonexistent/client.yaml"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_missing_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
