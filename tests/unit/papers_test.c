/* papers_test: documents that arrive, are written, and are there after a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/intake.h"
#include "node/notes.h"
#include "node/papers.h"
#include "tests/lib/visit_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHAINS 250
#define POLICIES 20

static struct visit_world world;
static char folder[64], root_file[80];
static struct network *net;

static struct told {
    size_t count;
    unsigned accepted;
    int code;
    char text[ERR_TEXT_MAX];
} told;

static void on_told(void *arg, unsigned accepted, const struct err *err)
{
    struct told *t = arg;
    t->count++;
    t->accepted = accepted;
    t->code = err != NULL ? err->code : 0;
    (void)snprintf(t->text, sizeof(t->text), "%s", err != NULL ? err->text : "");
}

/* ---- files */

static void write_file(const char *name, const char *text)
{
    char path[200];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void write_signed(const char *name, const char *text, unsigned keys)
{
    char *note = network_sign(net, text, keys);
    write_file(name, note);
    free(note);
}

static int open_world(void **state)
{
    (void)state;
    visit_world_prepare(&world, NULL);
    net = &world.net;
    (void)strcpy(folder, "/tmp/enfilade-papers-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(root_file, sizeof(root_file), "%s/first-root", folder);
    write_signed("first-root", net->root_text, KEYS_ROOT);
    world.config.root = root_file;
    memcpy(world.config.root_hash, net->root->hash, HASH_LEN);
    told = (struct told){.count = 0};
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    char command[128];
    papers_forget(&world.node);
    visit_world_close(&world);
    (void)snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

/* A new shelf, filled as at a start. */
static int load(struct err *err)
{
    shelf_free(world.node.shelf);
    assert_int_equal(shelf_new(NETWORK_NAME, net->root->hash, &world.node.shelf), 0);
    *err = (struct err){.code = 0};
    return papers_load(&world.node, err);
}

static void flush_all(void)
{
    papers_flush(&world.node);
    while (world.node.papers.writing > 0)
        uv_run(&world.log.loop, UV_RUN_ONCE);
}

static uint64_t status_version(void)
{
    const struct document *d = shelf_find(world.node.shelf, DOCUMENT_STATUS, BYTES_NONE);
    return d != NULL ? d->version : 0;
}

static char *next_status(void)
{
    return network_replace(world.status_text, "\nversion: 1\n", "\nversion: 2\n");
}

static void offer_note(const char *note, struct told *to, struct intake **ret)
{
    struct msg_note m = {bytes_str(note)};
    assert_int_equal(intake_offer(&world.node, &m, 1, "peer", on_told, to, ret), 0);
    assert_int_equal(to->count, 0); /* never from inside */
}

static void offer(const char *text, unsigned keys)
{
    struct intake *i = NULL;
    char *note = network_sign(net, text, keys);
    told = (struct told){.count = 0};
    offer_note(note, &told, &i);
    free(note); /* it was copied */
    world_until_count(&world.log, &told.count, 1);
}

/* ---- what is accepted stays */

static void what_could_not_be_written_is_written_later(void **state)
{
    (void)state;
    struct err err;
    char *status = next_status();
    visit_world_start(&world);
    assert_int_equal(load(&err), 0);
    offer(net->roster_text, KEY_BIT(KEY_ROSTER));
    offer(net->inventory_text, KEY_BIT(KEY_INVENTORY));
    offer(world.policy_text, KEY_BIT(KEY_POLICY));
    flush_all();
    offer(status, KEY_BIT(KEY_STATUS));
    assert_int_equal(told.accepted, 1);
    assert_int_equal(status_version(), 2);
    world_syncs_to_fail = 1;
    flush_all();
    assert_int_equal(world_syncs_to_fail, 0);
    assert_int_equal(world.node.papers.unwritten_count, 1);
    flush_all();
    assert_int_equal(world.node.papers.unwritten_count, 0);
    assert_int_equal(load(&err), 0); /* as after a restart, from the disk alone */
    assert_int_equal(status_version(), 2);
    free(status);
}

static void nothing_is_written_without_its_entry(void **state)
{
    (void)state;
    struct store_txn *t = NULL;
    struct err err;
    uint64_t count = 0;
    visit_world_start(&world);
    assert_int_equal(load(&err), 0);
    offer(net->roster_text, KEY_BIT(KEY_ROSTER));
    struct node_log *log = world.node.log;
    world.node.log = NULL; /* as before the token is there */
    papers_flush(&world.node);
    assert_int_equal(world.node.papers.writing, 0);
    assert_int_equal(world.node.papers.unwritten_count, 1);
    world.node.log = log;
    flush_all();
    assert_int_equal(store_begin(world.log.store, false, &t, &err), 0);
    assert_int_equal(store_count(t, STORE_ENTRIES, &count), 0);
    assert_int_equal(count, 1);
    store_abort(t);
}

static void a_replaced_document_is_not_written_over_its_successor(void **state)
{
    (void)state;
    struct err err;
    visit_world_start(&world);
    assert_int_equal(load(&err), 0);
    offer(net->roster_text, KEY_BIT(KEY_ROSTER));
    visit_world_block(&world);
    papers_flush(&world.node); /* version 1 is on its way, and will fail */
    char *two = network_replace(net->roster_text, "\nversion: 1\n", "\nversion: 2\n");
    offer(two, KEY_BIT(KEY_ROSTER));
    world_syncs_to_fail = 1;
    visit_world_unblock(&world);
    while (world.node.papers.writing > 0)
        uv_run(&world.log.loop, UV_RUN_ONCE);
    assert_int_equal(world.node.papers.unwritten_count, 2); /* version 2, then version 1 */
    flush_all();
    assert_int_equal(load(&err), 0);
    assert_int_equal(shelf_find(world.node.shelf, DOCUMENT_ROSTER, BYTES_NONE)->version, 2);
    free(two);
}

static void a_full_folder_is_kept(void **state)
{
    (void)state;
    struct err err;
    char to[64], name[64];
    write_signed("roster.note", net->roster_text, KEY_BIT(KEY_ROSTER));
    for (unsigned i = 0; i < CHAINS; i++) {
        (void)snprintf(to, sizeof(to), "not_after: 2026-11-18T12:1%u:%02uZ", i / 60, i % 60);
        (void)snprintf(name, sizeof(name), "%u.chain", i);
        char *text = network_replace(world.chain_text, "not_after: 2026-11-18T12:16:40Z", to);
        write_file(name, text);
        free(text);
    }
    for (unsigned i = 0; i < POLICIES; i++) {
        (void)snprintf(to, sizeof(to), "name: policy-%u\n", i);
        (void)snprintf(name, sizeof(name), "policy-%u.note", i);
        char *text = network_replace(world.policy_text, "name: db-policy\n", to);
        write_signed(name, text, KEY_BIT(KEY_POLICY));
        free(text);
    }
    world.config.documents = folder;
    visit_world_start(&world);
    assert_int_equal(load(&err), 0);
    flush_all();
    world.config.documents = NULL;
    uint64_t before = world.node.counters.documents;
    assert_int_equal(load(&err), 0);
    assert_int_equal(world.node.counters.documents - before, 1 + 1 + CHAINS + POLICIES);
    world.log.now_ms += 3600000; /* chains are over: they leave the disk */
    for (unsigned i = 0; i < 2; i++) {
        before = world.node.counters.documents;
        assert_int_equal(load(&err), 0);
        assert_int_equal(world.node.counters.documents - before, 1 + 1 + POLICIES);
    }
    struct store_txn *t = NULL;
    uint64_t count = 0;
    assert_int_equal(store_begin(world.log.store, false, &t, &err), 0);
    assert_int_equal(store_count(t, STORE_DOCUMENTS, &count), 0);
    assert_int_equal(count, 1 + POLICIES);
    store_abort(t);
}

/* ---- a folder with mistakes and old things */

static void age_is_no_mistake(void **state)
{
    (void)state;
    struct err err;
    write_signed("roster.note", net->roster_text, KEY_BIT(KEY_ROSTER));
    write_signed("status.note", world.status_text, KEY_BIT(KEY_STATUS));
    write_file("old.chain", world.chain_text);
    world.config.documents = folder;
    visit_world_start(&world);
    world.log.now_ms = NETWORK_EXPIRES_MS;
    assert_int_equal(load(&err), 0);
    assert_int_equal(status_version(), 0);
}

static void a_mistake_names_its_file(void **state)
{
    (void)state;
    struct err err;
    write_signed("roster.note", net->roster_text, KEY_BIT(KEY_STATUS));
    world.config.documents = folder;
    visit_world_start(&world);
    assert_int_equal(load(&err), ERR_THRESHOLD);
    assert_non_null(strstr(err.text, "/roster.note: "));
    char *text = network_replace(net->roster_text, "issued: ", "isued: ");
    write_signed("roster.note", text, KEY_BIT(KEY_ROSTER));
    free(text);
    assert_int_not_equal(load(&err), 0);
    assert_non_null(strstr(err.text, "/roster.note: line "));
    write_file("roster.note", "no document\n");
    assert_int_not_equal(load(&err), 0);
    assert_non_null(strstr(err.text, "/roster.note: line 1"));
}

/* ---- while the node runs */

static void a_folder_in_any_order(void **state)
{
    (void)state;
    struct err err;
    char *two = network_replace(net->root_text, "\nversion: 1\n", "\nversion: 2\n");
    write_signed("a.note", world.envelope_text, KEY_BIT(KEY_OWNER));
    write_signed("b.note", world.policy_text, KEY_BIT(KEY_POLICY) | KEY_BIT(KEY_OWNER));
    write_signed("c.note", world.status_text, KEY_BIT(KEY_STATUS));
    write_signed("d.note", net->roster_text, KEY_BIT(KEY_ROSTER));
    write_signed("e.note", two, KEYS_ROOT);
    write_file("f.note", "no document\n"); /* the others do not mind */
    free(two);
    visit_world_start(&world);
    assert_int_equal(load(&err), 0);
    assert_int_equal(intake_folder(&world.node, on_told, &told), ERR_NOT_FOUND);
    world.config.documents = folder;
    assert_int_equal(intake_folder(&world.node, on_told, &told), 0);
    assert_int_equal(told.count, 0);
    world_until_count(&world.log, &told.count, 1);
    assert_int_equal(told.accepted, 5);
    assert_non_null(strstr(told.text, "/f.note: line 1"));
    assert_true(papers_take_trust_changed(&world.node));
    assert_int_equal(shelf_find(world.node.shelf, DOCUMENT_ROOT, BYTES_NONE)->version, 2);
}

static void a_message_in_any_order(void **state)
{
    (void)state;
    struct err err;
    struct intake *i = NULL;
    char *two = network_replace(net->root_text, "\nversion: 1\n", "\nversion: 2\n");
    char *three = network_replace(net->root_text, "\nversion: 1\n", "\nversion: 3\n");
    char *notes[] = {network_sign(net, world.envelope_text, KEY_BIT(KEY_OWNER)),
                     network_sign(net, world.policy_text, KEY_BIT(KEY_POLICY) | KEY_BIT(KEY_OWNER)),
                     network_sign(net, three, KEYS_ROOT), network_sign(net, two, KEYS_ROOT)};
    struct msg_note m[4];
    for (size_t k = 0; k < 4; k++)
        m[k].text = bytes_str(notes[k]);
    visit_world_start(&world);
    assert_int_equal(load(&err), 0);
    assert_int_equal(intake_offer(&world.node, m, 4, "peer", on_told, &told, &i), 0);
    world_until_count(&world.log, &told.count, 1);
    assert_int_equal(told.code, 0);
    assert_int_equal(told.accepted, 4);
    for (size_t k = 0; k < 4; k++)
        free(notes[k]);
    free(two);
    free(three);
}

static void one_intake_after_the_other(void **state)
{
    (void)state;
    struct err err;
    struct told first = {.count = 0}, second = {.count = 0}, third = {.count = 0};
    struct intake *i = NULL;
    char *roster = network_sign(net, net->roster_text, KEY_BIT(KEY_ROSTER));
    char *policy = network_sign(net, world.policy_text, KEY_BIT(KEY_POLICY));
    visit_world_start(&world);
    assert_int_equal(load(&err), 0);
    offer_note(roster, &first, &i);
    offer_note(policy, &second, &i);
    intake_detach(i); /* its connection is gone */
    offer_note(roster, &third, &i);
    world_until_count(&world.log, &third.count, 1);
    assert_int_equal(first.accepted, 1);
    assert_int_equal(second.count, 0);
    assert_int_equal(third.accepted, 0); /* known */
    assert_int_equal(third.code, 0);
    assert_non_null(shelf_find(world.node.shelf, DOCUMENT_POLICY, bytes_str("db-policy")));
    assert_null(world.node.papers.intakes);
    free(roster);
    free(policy);
}

static void refusals_are_told(void **state)
{
    (void)state;
    struct err err;
    visit_world_start(&world);
    assert_int_equal(load(&err), 0);
    offer(net->roster_text, KEY_BIT(KEY_STATUS));
    assert_int_equal(told.code, ERR_THRESHOLD);
    char *two = network_replace(net->roster_text, "\nversion: 1\n", "\nversion: 2\n");
    offer(two, KEY_BIT(KEY_ROSTER));
    assert_int_equal(told.accepted, 1);
    offer(net->roster_text, KEY_BIT(KEY_ROSTER)); /* older: no error */
    assert_int_equal(told.accepted, 0);
    assert_int_equal(told.code, 0);
    free(two);
}

#define STORY(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(what_could_not_be_written_is_written_later),
        STORY(nothing_is_written_without_its_entry),
        STORY(a_replaced_document_is_not_written_over_its_successor),
        STORY(a_full_folder_is_kept),
        STORY(age_is_no_mistake),
        STORY(a_mistake_names_its_file),
        STORY(a_folder_in_any_order),
        STORY(a_message_in_any_order),
        STORY(one_intake_after_the_other),
        STORY(refusals_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
