/* audit: enfilade audit: verify, show, explain and export the nodes' ledgers. */
#include "common/base/clock.h"
#include "common/ledger/entry.h"
#include "common/ledger/tiles.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/control.h"
#include "orchestrator/cli/json.h"
#include "orchestrator/cli/ledger_export.h"
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DENIAL_ID_LEN 16
#define JSON_MAX (64u * 1024u * 1024u)

static const char help[] =
    "enfilade audit verify [DIR...]       recompute every tile of exported ledgers and compare with their checkpoints; "
    "no DIR:\n"
    "                                     export every configured node first. Exit code 5 names node, index, old and "
    "new\n"
    "                                     hash\n"
    "enfilade audit show NODE [--from N] [--count N]      entries of a running node\n"
    "enfilade audit explain ID [--node NODE]              why a request was denied, as that node's operator may know\n"
    "enfilade audit export NODE DIR                       a ledger as C2SP tlog-tiles\n"
    "\n"
    "  --config FILE    client.yaml: its documents hold the log keys, its list `nodes` the sockets\n"
    "  --json           as JSON\n";

struct given {
    const char *config, *from, *count, *node;
    bool json;
    struct cli_list words;
};

static int parse(int argc, char **argv, struct given *g)
{
    const struct cli_option options[] = {{"config", &g->config, NULL, NULL},
                                         {"from", &g->from, NULL, NULL},
                                         {"count", &g->count, NULL, NULL},
                                         {"node", &g->node, NULL, NULL},
                                         {"json", NULL, &g->json, NULL}};
    return cli_parse(argc, argv, options, sizeof(options) / sizeof(options[0]), help, &g->words);
}

static const struct client_node *find_node(const struct client_config *c, const char *name)
{
    for (size_t i = 0; i < c->node_count; i++) {
        if (strcmp(c->nodes[i].node, name) == 0)
            return &c->nodes[i];
    }
    return NULL;
}

/* ---- verify */

struct verifying {
    const struct document *roster;
    struct json *json; /* NULL: plain */
    int exit_code;
};

/* Which node a folder's log is of: its checkpoint's origin, "<network>/<node>/log". */
static int log_owner(const char *folder, const struct document *roster, const struct roster_node **ret, struct err *err)
{
    char path[PATH_MAX];
    struct buf note;
    struct bytes text;
    struct checkpoint c;
    int n = snprintf(path, sizeof(path), "%s/checkpoint", folder);
    if (n < 0 || (size_t)n >= sizeof(path))
        return err_set(err, ERR_USAGE, "path too long");
    buf_init(&note, CHECKPOINT_MAX);
    int rc = file_read(path, CHECKPOINT_MAX, &note, err);
    if (rc == 0)
        rc = note_text(buf_view(&note), &text, err);
    if (rc == 0)
        rc = checkpoint_parse(text, &c, err);
    buf_done(&note);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < roster->roster.count; i++) {
        if (strcmp(roster->roster.nodes[i].log.name, c.origin) == 0) {
            *ret = &roster->roster.nodes[i];
            return 0;
        }
    }
    return err_set(err, ERR_NOT_FOUND, "%s: no node of the roster has the log %s", folder, c.origin);
}

static void tell_verdict(struct verifying *v, const char *node, const struct tiles_report *r, const struct err *err)
{
    char stored[2 * HASH_LEN + 1], recomputed[2 * HASH_LEN + 1];
    const struct tiles_difference *d = &r->difference;
    hex_encode(BYTES_OF(d->stored), stored);
    hex_encode(BYTES_OF(d->recomputed), recomputed);
    if (v->json != NULL) {
        json_open(v->json, NULL, '{');
        json_text(v->json, "node", node);
        json_text(v->json, "result", enf_error_name(err->code));
        json_number(v->json, "entries", r->checkpoint.size);
        json_hex(v->json, "root", BYTES_OF(r->checkpoint.root));
        if (err->code != 0)
            json_text(v->json, "text", err->text);
        if (r->is_difference) {
            json_number(v->json, "level", d->level);
            json_number(v->json, "index", d->index);
            json_text(v->json, "stored", stored);
            json_text(v->json, "recomputed", recomputed);
        }
        json_close(v->json, '}');
    } else if (err->code == 0) {
        printf("%s: ok, %" PRIu64 " entries\n", node, r->checkpoint.size);
    } else if (r->is_difference) {
        printf("%s: ALTERED: %s %" PRIu64 ": stored hash %s, recomputed %s\n", node,
               d->is_root      ? "root at size"
               : d->level == 0 ? "entry"
                               : "tree node",
               d->is_root ? r->checkpoint.size : d->index, stored, recomputed);
    } else {
        printf("%s: BROKEN: %s\n", node, err->text);
    }
}

static void verify_folder(struct verifying *v, const char *folder)
{
    const struct roster_node *node = NULL;
    struct tiles_report *r = calloc(1, sizeof(*r));
    struct err err = {0};
    if (r == NULL) {
        v->exit_code = EXIT_INTERNAL;
        return;
    }
    int rc = log_owner(folder, v->roster, &node, &err);
    if (rc == 0)
        rc = tiles_verify(folder, &node->log, NULL, NULL, r, &err);
    if (rc != 0 && err.code == 0)
        err_set(&err, rc, "%s", err_advice_text(rc));
    tell_verdict(v, node != NULL ? node->name : folder, r, &err);
    if (rc != 0)
        v->exit_code = rc == ERR_IO || rc == ERR_NOT_FOUND ? (int)err_exit(rc) : EXIT_INTEGRITY;
    free(r);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void verify_node(struct verifying *v, const struct client_node *n)
{
    const char *tmp = getenv("TMPDIR");
    char folder[PATH_MAX];
    struct err err = {0};
    snprintf(folder, sizeof(folder), "%.4000s/enfilade-audit-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(folder) == NULL) {
        fprintf(stderr, "enfilade: no folder for the export of %s\n", n->node);
        v->exit_code = EXIT_INTERNAL;
        return;
    }
    if (ledger_export(n, folder, &err) == 0) {
        verify_folder(v, folder);
    } else {
        struct tiles_report none = {.is_difference = false};
        tell_verdict(v, n->node, &none, &err);
        v->exit_code = (int)err_exit(err.code);
    }
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int verify_all(const struct given *g, struct cli_shelf *shelf, struct json *json, struct err *err)
{
    struct verifying v = {.roster = shelf_find(shelf->shelf, DOCUMENT_ROSTER, BYTES_NONE), .json = json};
    if (v.roster == NULL)
        return err_set(err, ERR_DOCUMENTS, "no roster among the documents: it holds the log keys");
    for (size_t i = 0; i < g->words.count; i++)
        verify_folder(&v, g->words.at[i]);
    for (size_t i = 0; g->words.count == 0 && i < shelf->config->node_count; i++) {
        const struct roster_node *r = roster_find(v.roster, bytes_str(shelf->config->nodes[i].node));
        if (r != NULL && (r->roles & NODE_HSM) == 0)
            continue; /* no ledger */
        verify_node(&v, &shelf->config->nodes[i]);
    }
    err->code = v.exit_code; /* not an error code: the caller knows */
    return 0;
}

static int audit_verify(int argc, char **argv)
{
    struct given g = {0};
    struct err err = {0};
    struct cli_shelf shelf;
    struct buf b;
    struct json j;
    int exit_code = parse(argc, argv, &g);
    if (exit_code != CLI_GO)
        return exit_code;
    if (cli_shelf_open(cli_config(g.config), NULL, &shelf, &err) != 0)
        return cli_fail(&err, g.json);
    buf_init(&b, JSON_MAX);
    json_start(&j, &b);
    json_open(&j, NULL, '[');
    int rc = verify_all(&g, &shelf, g.json ? &j : NULL, &err);
    exit_code = err.code;
    json_close(&j, ']');
    buf_str(&b, "\n");
    cli_shelf_close(&shelf);
    if (rc == 0 && g.json) {
        int printed = cli_print(&b);
        return printed != EXIT_DONE ? printed : exit_code;
    }
    buf_done(&b);
    return rc == 0 ? exit_code : cli_fail(&err, g.json);
}

/* ---- show */

static void put_entry(struct json *j, const struct msg_entry *e)
{
    json_open(j, NULL, '{');
    json_number(j, "index", e->index);
    json_text(j, "type", entry_type_name(e->type));
    json_number(j, "time_ms", e->time_ms);
    json_text(j, "code", e->code != 0 ? err_name(err_from_wire((unsigned)e->code)) : "ok");
    json_hex(j, "walk", e->walk_id);
    json_hex(j, "policy_hash", e->policy_hash);
    json_hex(j, "link_hash", e->link_hash);
    json_hex(j, "response_hash", e->response_hash);
    json_hex(j, "document_hash", e->document_hash);
    json_number(j, "count", e->count);
    json_close(j, '}');
}

static void print_entry(const struct msg_entry *e)
{
    char time[CLOCK_TEXT_LEN + 1], walk[2 * WALK_ID_LEN + 1] = "-";
    clock_text(e->time_ms, time);
    if (e->walk_id.len == WALK_ID_LEN)
        hex_encode(e->walk_id, walk);
    printf("%8" PRIu64 "  %s  %-8s  %-12s  %s\n", e->index, time, entry_type_name(e->type),
           e->code != 0 ? err_name(err_from_wire((unsigned)e->code)) : "-", walk);
}

static int show_entries(const struct message *m, struct json *j, struct err *err)
{
    for (size_t i = 0; i < m->entries.entries.count; i++) {
        struct message *e = NULL;
        TRY(entry_parse(m->entries.entries.at[i].entry, &e, err));
        if (j != NULL)
            put_entry(j, &e->entry);
        else
            print_entry(&e->entry);
        message_free(e);
    }
    return 0;
}

static int ask_entries(const struct given *g, const struct client_config *c, struct json *j, struct err *err)
{
    const struct client_node *n = find_node(c, g->words.at[0]);
    struct message question = {.type = MESSAGE_ENTRIES_GET}, *answer = NULL;
    question.entries_get.count = 20;
    if (n == NULL || n->control == NULL)
        return err_set(err, ERR_NOT_FOUND, "no control socket of '%s' is configured", g->words.at[0]);
    if (g->from != NULL)
        TRY(text_u64(g->from, "--from", 0, UINT64_MAX, &question.entries_get.from, err));
    if (g->count != NULL)
        TRY(text_u64(g->count, "--count", 1, 10000, &question.entries_get.count, err));
    TRY(control_ask(n->control, &question, MESSAGE_ENTRIES, &answer, err));
    int rc = show_entries(answer, j, err);
    message_free(answer);
    return rc;
}

static int audit_show(int argc, char **argv)
{
    struct given g = {0};
    struct err err = {0};
    struct client_config *c = NULL;
    struct buf b;
    struct json j;
    int exit_code = parse(argc, argv, &g);
    if (exit_code != CLI_GO)
        return exit_code;
    if (g.words.count != 1)
        return cli_usage("audit show: name one node");
    buf_init(&b, JSON_MAX);
    json_start(&j, &b);
    json_open(&j, NULL, '[');
    int rc = config_load(cli_config(g.config), &c, &err);
    if (rc == 0)
        rc = ask_entries(&g, c, g.json ? &j : NULL, &err);
    json_close(&j, ']');
    buf_str(&b, "\n");
    config_free(c);
    if (rc == 0 && g.json)
        return cli_print(&b);
    buf_done(&b);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, g.json);
}

/* ---- explain */

static void print_explain(const char *node, const struct msg_explain *x)
{
    char time[CLOCK_TEXT_LEN + 1];
    clock_text(x->time_ms, time);
    printf("%s denied at %s, entry %" PRIu64 ": %s\n  %.*s\n  device %.*s, from %.*s, stage %" PRIu64 " slot %" PRIu64
           "\n",
           node, time, x->entry_index, err_name(err_from_wire((unsigned)x->code)), (int)x->text.len,
           (const char *)x->text.p, (int)x->device.len, (const char *)x->device.p, (int)x->address.len,
           (const char *)x->address.p, x->stage, x->slot);
    for (size_t i = 0; i < x->factors.count; i++) {
        const struct msg_factor_result *f = &x->factors.at[i];
        printf("  factor %.*s: %s; expected %.*s, got %.*s\n", (int)f->name.len, (const char *)f->name.p,
               f->met != 0 ? "met" : "NOT MET", (int)f->expected.len, (const char *)f->expected.p, (int)f->actual.len,
               (const char *)f->actual.p);
    }
}

static void put_explain(struct json *j, const char *node, const struct msg_explain *x)
{
    json_open(j, NULL, '{');
    json_text(j, "node", node);
    json_hex(j, "denial_id", x->denial_id);
    json_number(j, "time_ms", x->time_ms);
    json_text(j, "code", err_name(err_from_wire((unsigned)x->code)));
    json_bytes(j, "text", x->text);
    json_bytes(j, "device", x->device);
    json_bytes(j, "address", x->address);
    json_number(j, "stage", x->stage);
    json_number(j, "slot", x->slot);
    json_number(j, "entry_index", x->entry_index);
    json_open(j, "factors", '[');
    for (size_t i = 0; i < x->factors.count; i++) {
        json_open(j, NULL, '{');
        json_bytes(j, "name", x->factors.at[i].name);
        json_flag(j, "met", x->factors.at[i].met != 0);
        json_bytes(j, "expected", x->factors.at[i].expected);
        json_bytes(j, "actual", x->factors.at[i].actual);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_close(j, '}');
}

static int explain(const struct given *g, const struct client_config *c, struct json *j, struct err *err)
{
    uint8_t id[DENIAL_ID_LEN];
    bool found = false, asked = false;
    TRY(text_hex(g->words.at[0], "ID", id, sizeof(id), err));
    for (size_t i = 0; i < c->node_count; i++) {
        const struct client_node *n = &c->nodes[i];
        struct message question = {.type = MESSAGE_EXPLAIN_GET, .explain_get = {.denial_id = BYTES_OF(id)}};
        struct message *answer = NULL;
        if (n->control == NULL || (g->node != NULL && strcmp(g->node, n->node) != 0))
            continue;
        int rc = control_ask(n->control, &question, MESSAGE_EXPLAIN, &answer, err);
        asked = asked || rc == 0 || rc == ERR_NOT_FOUND;
        if (rc != 0)
            continue;
        found = true;
        if (j != NULL)
            put_explain(j, n->node, &answer->explain);
        else
            print_explain(n->node, &answer->explain);
        message_free(answer);
    }
    if (found)
        return 0;
    return err_set(err, asked ? ERR_NOT_FOUND : ERR_UNAVAILABLE, "%s",
                   asked ? "no node of this host knows that denial (any more)" : "no node of this host answers");
}

static int audit_explain(int argc, char **argv)
{
    struct given g = {0};
    struct err err = {0};
    struct client_config *c = NULL;
    struct buf b;
    struct json j;
    int exit_code = parse(argc, argv, &g);
    if (exit_code != CLI_GO)
        return exit_code;
    if (g.words.count != 1)
        return cli_usage("audit explain: give one denial id");
    buf_init(&b, JSON_MAX);
    json_start(&j, &b);
    json_open(&j, NULL, '[');
    int rc = config_load(cli_config(g.config), &c, &err);
    if (rc == 0)
        rc = explain(&g, c, g.json ? &j : NULL, &err);
    json_close(&j, ']');
    buf_str(&b, "\n");
    config_free(c);
    if (rc == 0 && g.json)
        return cli_print(&b);
    buf_done(&b);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, g.json);
}

/* ---- export */

static int audit_export(int argc, char **argv)
{
    struct given g = {0};
    struct err err = {0};
    struct client_config *c = NULL;
    int exit_code = parse(argc, argv, &g);
    if (exit_code != CLI_GO)
        return exit_code;
    if (g.words.count != 2)
        return cli_usage("audit export: name a node and a folder");
    int rc = config_load(cli_config(g.config), &c, &err);
    if (rc == 0) {
        const struct client_node *n = find_node(c, g.words.at[0]);
        rc = n != NULL ? ledger_export(n, g.words.at[1], &err)
                       : err_set(&err, ERR_NOT_FOUND, "no node '%s' is configured", g.words.at[0]);
    }
    config_free(c);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, g.json);
}

int verb_audit(int argc, char **argv)
{
    static const struct cli_sub subs[] = {
        {"verify", audit_verify}, {"show", audit_show}, {"explain", audit_explain}, {"export", audit_export}};
    return cli_dispatch(argc, argv, subs, sizeof(subs) / sizeof(subs[0]), help);
}
