/* vectors: do both implementations agree, ours on the other's vectors and on its own of the day they were written? */
#include "tests/tools/vectors.h"
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FOLDER "tests/vectors/own/"

static const char *field(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

/* Other implementations need not refuse with our words. */
static void forget_words(json_t *c)
{
    if (json_object_get(c, "refused") != NULL && strcmp(field(c, "refused"), "ok") != 0)
        assert_int_equal(json_object_set_new(c, "refused", json_string("yes")), 0);
}

static bool is_refusal_of_ours(const json_t *c)
{
    static const char *const words[] = {"format",     "signature", "proof",   "payload", "shares",
                                        "commitment", "too-long",  "version", "ok"};
    if (json_object_get(c, "refused") == NULL)
        return true;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(field(c, "refused"), words[i]) == 0)
            return true;
    return false;
}

/* Is the case what we compute from its inputs, no field more and none less? */
static bool case_holds(const char *group, const json_t *c, bool ours)
{
    json_t *made = vector_run(group, c), *given = json_deep_copy(c);
    bool good = made != NULL && is_refusal_of_ours(made);
    if (good && !ours) {
        forget_words(made);
        forget_words(given);
    }
    good = good && json_equal(made, given);
    json_decref(made);
    json_decref(given);
    return good;
}

static void check_file(const char *path, const char *group, const char *maker)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        fail_msg("%s:%d: %s", path, error.line, error.text);
    assert_string_equal(field(root, "format"), "enfilade-vectors-1");
    assert_string_equal(field(root, "group"), group);
    assert_string_equal(field(root, "maker"), maker);
    const json_t *cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) > 0);
    size_t wrong = 0;
    for (size_t i = 0; i < json_array_size(cases); i++)
        if (!case_holds(group, json_array_get(cases, i), strcmp(maker, "c") == 0)) {
            print_error("%s: case \"%s\" is not what we compute\n", path, field(json_array_get(cases, i), "name"));
            wrong++;
        }
    json_decref(root);
    assert_int_equal(wrong, 0);
}

static void check_all(const char *prefix, const char *maker)
{
    char path[256];
    for (size_t i = 0; i < vector_group_count; i++) {
        (void)snprintf(path, sizeof(path), FOLDER "%s%s.json", prefix, vector_groups[i]);
        check_file(path, vector_groups[i], maker);
    }
}

static void test_own(void **state)
{
    (void)state;
    check_all("", "c");
}

static void test_python(void **state)
{
    (void)state;
    check_all("python-", "python");
}

/* A file of no group would be read by nobody. */
static void test_every_file_has_a_group(void **state)
{
    (void)state;
    glob_t found;
    assert_int_equal(glob(FOLDER "*.json", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char own[256], python[256];
        bool known = false;
        for (size_t j = 0; j < vector_group_count; j++) {
            (void)snprintf(own, sizeof(own), FOLDER "%s.json", vector_groups[j]);
            (void)snprintf(python, sizeof(python), FOLDER "python-%s.json", vector_groups[j]);
            known = known || strcmp(found.gl_pathv[i], own) == 0 || strcmp(found.gl_pathv[i], python) == 0;
        }
        if (!known)
            fail_msg("%s belongs to no group", found.gl_pathv[i]);
    }
    globfree(&found);
}

/* The comparison itself can fail: every text of every case is altered once, and the case must not hold any more. */
static void spoil(const char *group, json_t *c, const char *name)
{
    json_t *was = json_incref(json_object_get(c, name));
    const char *text = json_string_value(was);
    if (text != NULL && text[0] != '\0' && strcmp(name, "name") != 0 && strcmp(name, "kind") != 0) {
        char *other = strdup(text);
        assert_non_null(other);
        size_t last = strlen(other) - 1;
        other[last] = other[last] == '0' ? '1' : '0';
        assert_int_equal(json_object_set_new(c, name, json_string(other)), 0);
        if (case_holds(group, c, true))
            fail_msg("%s: %s: altered, and still held", group, name);
        free(other);
        assert_int_equal(json_object_set(c, name, was), 0);
    }
    json_decref(was);
}

static void test_alterations_show(void **state)
{
    (void)state;
    static const char *const groups[] = {"th", "keywrap", "derive", "context", "seal", "tag", "dek"};
    FILE *quiet = freopen("/dev/null", "w", stderr); /* refused inputs are explained there */
    assert_non_null(quiet);
    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
        char path[256];
        (void)snprintf(path, sizeof(path), FOLDER "%s.json", groups[g]);
        json_t *root = json_load_file(path, 0, NULL), *c = json_array_get(json_object_get(root, "cases"), 0);
        const char *name;
        json_t *value, *names = json_object();
        json_object_foreach(c, name, value) json_object_set_new(names, name, json_null());
        json_object_foreach(names, name, value) spoil(groups[g], c, name);
        assert_true(case_holds(groups[g], c, true));
        assert_int_equal(json_object_set_new(c, "nonsense", json_true()), 0);
        assert_false(case_holds(groups[g], c, true));
        json_decref(names);
        json_decref(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_python),
        cmocka_unit_test(test_every_file_has_a_group),
        cmocka_unit_test(test_alterations_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
