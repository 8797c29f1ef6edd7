/* yaml: what a reader would not see or a parser would guess is refused, with line and field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/yaml.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct leaf {
    char *name, *region;
    int colour;
};

struct top {
    char *version;
    struct leaf *nodes;
    unsigned nodes_count;
};

static const cyaml_strval_t colours[] = {{"red", 1}, {"blue", 2}};
static const cyaml_schema_field_t leaf_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct leaf, name, 1, 8),
    CYAML_FIELD_STRING_PTR("region", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct leaf, region, 1, 8),
    CYAML_FIELD_ENUM("colour", CYAML_FLAG_STRICT | CYAML_FLAG_OPTIONAL, struct leaf, colour, colours, 2),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t leaf_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct leaf, leaf_fields)};
static const cyaml_schema_field_t top_fields[] = {
    CYAML_FIELD_STRING_PTR("version", CYAML_FLAG_POINTER, struct top, version, 1, 64),
    CYAML_FIELD_SEQUENCE("nodes", CYAML_FLAG_POINTER, struct top, nodes, &leaf_schema, 0, 3),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t top_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct top, top_fields)};

static void loads_what_it_should(void **state)
{
    (void)state;
    const char *text =
        "# a comment\nversion: 1 # first\nnodes:\n  - name: a\n    region: \"b\"\n  - {name: 'c', colour: blue}\n";
    struct top *top = NULL;
    struct err err = {0};
    assert_int_equal(yaml_load(bytes_str(text), "t", &top_schema, (void **)&top, &err), 0);
    assert_string_equal(top->version, "1");
    assert_int_equal(top->nodes_count, 2);
    assert_string_equal(top->nodes[0].region, "b");
    assert_null(top->nodes[1].region);
    assert_int_equal(top->nodes[1].colour, 2);
    yaml_free(&top_schema, top);
}

static void refuses_with_line_and_field(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expect;
        int code;
    } rows[] = {
        {"", "t: line 1: the text is empty", ERR_FORMAT},
        {"# only a comment\n", "t: line 1: the text is empty", ERR_FORMAT},
        {"- a\n", "t: line 1: the text must be a list of", ERR_FORMAT},
        {"version: 1\nnodes: []\nkye: 1\n", "t: line 3: kye: unknown key", ERR_FORMAT},
        {"version: 1\nnodes:\n  - name: a\n    kye: 1\n", "t: line 4: nodes[0].kye: unknown key", ERR_FORMAT},
        {"version: 1\nnodes:\n  - name: a\n  - region: a\n", "t: line 4: nodes[1].name: missing", ERR_FORMAT},
        {"version: 1\n", "t: line 1: nodes: missing", ERR_FORMAT},
        {"version: 1\nnodes:\n  - name: a\n    name: b\n", "t: line 4: name: this key stands here twice", ERR_FORMAT},
        {"version: 1\nnodes: []\nversion: 2\n", "t: line 3: version: this key stands here twice", ERR_FORMAT},
        {"version: 1\nnodes:\n  - name: a\n  - name: aaaaaaaaa\n", "t: line 4: nodes[1].name: too long", ERR_FORMAT},
        {"version:\nnodes: []\n", "t: line 1: version: empty", ERR_FORMAT},
        {"version: 1\nnodes: [{name: a}, {name: b},\n {name: c}, {name: d}]\n", "t: line 2: nodes: too many",
         ERR_FORMAT},
        {"version: 1\nnodes: a\n", "t: line 2: nodes: must be a list", ERR_FORMAT},
        {"version: {}\nnodes: []\n", "t: line 1: version: must be one value", ERR_FORMAT},
        {"version: 1\nnodes:\n - 5\n", "t: line 3: nodes[0]: must be a mapping", ERR_FORMAT},
        {"version: 1\nnodes:\n - name: a\n   colour: Red\n", "t: line 4: nodes[0].colour: not one of", ERR_FORMAT},
        {"version: &a 1\nnodes: []\n", "t: line 1: anchors", ERR_FORMAT},
        {"version: &a 1\nnodes: *a\n", "t: line 1: anchors", ERR_FORMAT},
        {"nodes: &n []\nversion: 1\n", "t: line 1: anchors", ERR_FORMAT},
        {"nodes: [&n {name: a}]\nversion: 1\n", "t: line 1: anchors", ERR_FORMAT},
        {"version: !!str 1\nnodes: []\n", "t: line 1: tags", ERR_FORMAT},
        {"version: 1\nnodes: !!seq []\n", "t: line 2: tags", ERR_FORMAT},
        {"version: 1\nnodes: [!!map {name: a}]\n", "t: line 2: tags", ERR_FORMAT},
        {"---\nversion: 1\nnodes: []\n", "t: line 1: document markers", ERR_FORMAT},
        {"version: 1\nnodes: []\n...\n", "t: line 3: document markers", ERR_FORMAT},
        {"version: 1\nnodes: []\n---\nversion: 2\nnodes: []\n", "t: line 3: a second document", ERR_FORMAT},
        {"%YAML 1.1\n---\nversion: 1\nnodes: []\n", "t: line 1: document markers", ERR_FORMAT},
        {"version: 1 # c\xc2\x85nodes: []\n", "t: line 1: byte 0xc2 is not printable", ERR_FORMAT},
        {"version: 1\nnodes: [] # \xe2\x80\xa8x\n", "t: line 2: byte 0xe2", ERR_FORMAT},
        {"\xef\xbb\xbfversion: 1\nnodes: []\n", "t: line 1: byte 0xef", ERR_FORMAT},
        {"version: 1\r\nnodes: []\r\n", "t: line 1: byte 0x0d", ERR_FORMAT},
        {"version:\t1\nnodes: []\n", "t: line 1: byte 0x09", ERR_FORMAT},
        {"version: \"a\\0b\"\nnodes: []\n", "t: line 1: an escape", ERR_FORMAT},
        {"version: \"a\\nb\"\nnodes: []\n", "t: line 1: an escape", ERR_FORMAT},
        {"\"ver\\x00sion\": 1\nnodes: []\n", "t: line 1: an escape", ERR_FORMAT},
        {"version: |\n  a\nnodes: []\n", "t: line 1: block text", ERR_FORMAT},
        {"version: >\n  a\nnodes: []\n", "t: line 1: block text", ERR_FORMAT},
        {"version: 1\n? [a]\n: b\n", "t: line 2: a key must be a plain word", ERR_FORMAT},
        {"<<: {version: 1}\nnodes: []\n", "t: line 1: <<: unknown key", ERR_FORMAT},
        {"version: [\n", "t: line 2: not YAML", ERR_FORMAT},
        {"version: 1\nnodes: [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]\n", "t: line 2: nested deeper than 20",
         ERR_TOO_LONG},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        void *data = NULL;
        struct err err = {0};
        assert_int_equal(yaml_load(bytes_str(rows[i].text), "t", &top_schema, &data, &err), rows[i].code);
        assert_null(data);
        if (strncmp(err.text, rows[i].expect, strlen(rows[i].expect)) != 0)
            fail_msg("%s\n got:    %s\n wanted: %s", rows[i].text, err.text, rows[i].expect);
    }
}

/* libyaml alone takes seconds for this, and a billion keys would be compared pairwise. */
static void bounds_hold(void **state)
{
    (void)state;
    struct buf b;
    struct err err = {0};
    void *data = NULL;
    buf_init(&b, 1 << 20);
    buf_str(&b, "version: ");
    for (size_t i = 0; i < 200000; i++)
        buf_u8(&b, '[');
    assert_int_equal(yaml_load(buf_view(&b), "t", &top_schema, &data, &err), ERR_TOO_LONG);
    buf_done(&b);
    for (size_t i = 0; i <= YAML_KEYS_MAX; i++)
        buf_printf(&b, "k%zu: 1\n", i);
    assert_int_equal(yaml_load(buf_view(&b), "t", &top_schema, &data, &err), ERR_TOO_LONG);
    buf_done(&b);
    buf_str(&b, "nodes: [");
    for (size_t i = 0; i <= YAML_NODES_MAX; i++)
        buf_str(&b, "a,");
    buf_str(&b, "a]\n");
    assert_int_equal(yaml_load(buf_view(&b), "t", &top_schema, &data, &err), ERR_TOO_LONG);
    buf_done(&b);
}

static void lines_of_fields(void **state)
{
    (void)state;
    struct bytes text = bytes_str("a: 1\nb:\n  - x: 1\n  - x: 2\n    yy:\n      z: [1,\n        2]\nbb: 3\n");
    static const struct {
        const char *field;
        unsigned line;
    } rows[] = {
        {"a", 1},  {"b", 2},      {"b[0]", 3},   {"b[1].x", 4}, {"b[1].yy.z[1]", 7},
        {"bb", 8}, {"b[1].y", 4}, {"b[7].x", 2}, {"c", 1},      {"bc", 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(yaml_line(text, rows[i].field), rows[i].line);
    assert_int_equal(yaml_line(bytes_str("a: ["), "b"), 0);
}

static void errors_get_their_place(void **state)
{
    (void)state;
    struct bytes text = bytes_str("a: 1\nb:\n  - x: 1\n  - x: 2\n");
    static const struct {
        const char *words, *placed;
    } rows[] = {
        {"b[1].x: too large", "t: line 4: b[1].x: too large"},
        {"field a: not so", "t: line 1: a: not so"},
        {"b[1].y: missing", "t: line 4: b[1].y: missing"}, /* its parent's line */
        {"c: missing", "t: c: missing"},                   /* no such field: no line */
        {"a is wrong", "t: a is wrong"},
        {"", "t: "},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = {0};
        (void)err_set(&err, ERR_CONFIG, "%s", rows[i].words);
        assert_int_equal(yaml_place(text, "t", &err), ERR_CONFIG);
        assert_string_equal(err.text, rows[i].placed);
    }
}

static void claims_are_read_without_a_schema(void **state)
{
    (void)state;
    char a[8], b[4], c[4];
    const struct yaml_claim claims[] = {{"a", a, sizeof(a)}, {"b", b, sizeof(b)}, {"c", c, sizeof(c)}};
    struct err err = {0};
    assert_int_equal(yaml_claims(bytes_str("x: {a: 5, b: 6}\na: \"1\"\nd: [1]\nb: 2 # two\n"), claims, 3, &err), 0);
    assert_string_equal(a, "1");
    assert_string_equal(b, "2");
    assert_string_equal(c, "");
    assert_int_equal(yaml_claims(bytes_str("a: 1\nb: 2222\n"), claims, 3, &err), ERR_FORMAT);
    assert_string_equal(err.text, "line 2: b: too long");
}

static void numbers_have_one_spelling(void **state)
{
    (void)state;
    static const char *bad[] = {"",
                                "3a",
                                "010",
                                "0x10",
                                "+3",
                                "-3",
                                "1e3",
                                " 3",
                                "3 ",
                                "3.0",
                                "1_000",
                                "0b11",
                                "0o10",
                                "00",
                                "18446744073709551616",
                                "99999999999999999999",
                                "~",
                                "true",
                                "nan",
                                "\xd9\xa3"};
    uint64_t v = 77;
    struct err err = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (text_u64(bad[i], "f", 0, UINT64_MAX, &v, &err) != ERR_FORMAT)
            fail_msg("'%s' was taken as a number", bad[i]);
        assert_int_equal(v, 77);
    }
    assert_int_equal(text_u64("3a", "nodes[3].slot", 1, 16, &v, &err), ERR_FORMAT);
    assert_string_equal(err.text, "nodes[3].slot: '3a' is not a decimal number");
    assert_int_equal(text_u64("17", "slot", 1, 16, &v, &err), ERR_FORMAT);
    assert_string_equal(err.text, "slot: 17 is not between 1 and 16");
    assert_int_equal(text_u64("0", "slot", 1, 16, &v, &err), ERR_FORMAT);
    assert_int_equal(text_u64(NULL, "slot", 1, 16, &v, &err), ERR_FORMAT);
    assert_int_equal(text_u64("0", "f", 0, 5, &v, &err), 0);
    assert_int_equal(v, 0);
    assert_int_equal(text_u64("18446744073709551615", "f", 0, UINT64_MAX, &v, &err), 0);
    assert_true(v == UINT64_MAX);
}

static void other_scalars_have_one_spelling(void **state)
{
    (void)state;
    uint8_t raw[2];
    struct buf b;
    struct err err = {0};
    uint64_t ms = 0;
    assert_int_equal(text_hex("0aff", "f", raw, 2, &err), 0);
    assert_int_equal(raw[1], 0xff);
    assert_int_equal(text_hex("0aFF", "f", raw, 2, &err), ERR_FORMAT);
    assert_int_equal(text_hex("0aff00", "f", raw, 2, &err), ERR_FORMAT);
    assert_int_equal(text_hex("0a f", "f", raw, 2, &err), ERR_FORMAT);
    assert_int_equal(text_base64_exact("AQI=", "f", raw, 2, &err), 0);
    assert_int_equal(raw[1], 2);
    static const char *bad[] = {"AQI", "AQJ=", "AQI= ", "AQID", "AQ==", "", "A-I=", "AQ\nI="};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(text_base64_exact(bad[i], "f", raw, 2, &err), ERR_FORMAT);
    assert_int_equal(text_base64("AQID", "f", 3, &b, &err), 0);
    assert_int_equal(b.len, 3);
    buf_done(&b);
    assert_int_equal(text_base64("AQIDBA==", "f", 3, &b, &err), ERR_FORMAT);
    assert_string_equal(err.text, "f: more than 3 bytes");
    buf_done(&b);
    assert_int_equal(text_time("2026-11-24T19:00:00Z", "f", &ms, &err), 0);
    assert_int_equal(text_time("2026-11-24T19:00:00+00:00", "f", &ms, &err), ERR_FORMAT);
    static const char *names[] = {
        "",    "-a",  ".",  "..",  "A",
        "a/b", "a b", "_a", "a\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(text_name(names[i], "f", &err), ERR_FORMAT);
    assert_int_equal(text_name("example.test", "f", &err), 0);
    assert_int_equal(text_name("0-a_b.c", "f", &err), 0);
}

static void files_are_bounded_and_replaced_whole(void **state)
{
    (void)state;
    char folder[] = "/tmp/yaml_test.XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/f", folder);
    struct err err = {0};
    struct buf b;
    assert_int_equal(file_read(path, 10, &b, &err), ERR_NOT_FOUND);
    assert_int_equal(file_write(path, bytes_str("0123456789"), 0600, &err), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(file_read(path, 10, &b, &err), 0);
    assert_true(bytes_is(buf_view(&b), "0123456789"));
    buf_done(&b);
    assert_int_equal(file_read(path, 9, &b, &err), ERR_TOO_LONG);
    assert_int_equal(file_write(path, bytes_str("x"), 0644, &err), 0);
    assert_int_equal(file_read(path, 9, &b, &err), 0);
    assert_true(bytes_is(buf_view(&b), "x"));
    buf_done(&b);
    assert_int_equal(file_read(folder, 9, &b, &err), ERR_IO);
    assert_int_equal(file_write("/nonexistent/f", bytes_str("x"), 0644, &err), ERR_IO);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0); /* nothing temporary is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_what_it_should),
        cmocka_unit_test(refuses_with_line_and_field),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(lines_of_fields),
        cmocka_unit_test(errors_get_their_place),
        cmocka_unit_test(claims_are_read_without_a_schema),
        cmocka_unit_test(numbers_have_one_spelling),
        cmocka_unit_test(other_scalars_have_one_spelling),
        cmocka_unit_test(files_are_bounded_and_replaced_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
