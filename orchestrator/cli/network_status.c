/* network_status: enfilade network status: every node of this host, over its control socket. */
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/control.h"
#include "orchestrator/cli/json.h"
#include <inttypes.h>
#include <string.h>

static const char help[] = "enfilade network status: how the nodes of this host are\n"
                           "\n"
                           "  --config FILE    client.yaml; its list `nodes` names the control sockets\n"
                           "  --json           as JSON\n"
                           "\n"
                           "Exit code 4 when a node does not answer or has no token.\n";

static void print_row(const struct msg_status *s)
{
    printf("%-14.*s %-7.*s %-8.*s %9" PRIu64 "s %10" PRIu64 "  ", (int)s->node.len, (const char *)s->node.p,
           (int)s->role.len, (const char *)s->role.p, (int)s->token.len, (const char *)s->token.p, s->uptime_ms / 1000,
           s->tree_size);
    for (size_t i = 0; i < s->documents.count; i++) {
        const struct msg_document_version *d = &s->documents.at[i];
        if (d->name.len == 0)
            printf("%s%.*s %" PRIu64, i > 0 ? ", " : "", (int)d->type.len, (const char *)d->type.p, d->version);
    }
    putchar('\n');
}

static void put_status(struct json *j, const struct msg_status *s)
{
    json_open(j, NULL, '{');
    json_bytes(j, "node", s->node);
    json_bytes(j, "role", s->role);
    json_bytes(j, "version", s->version);
    json_bytes(j, "token", s->token);
    json_number(j, "uptime_ms", s->uptime_ms);
    json_number(j, "tree_size", s->tree_size);
    json_hex(j, "root_hash", s->root_hash);
    json_open(j, "documents", '[');
    for (size_t i = 0; i < s->documents.count; i++) {
        json_open(j, NULL, '{');
        json_bytes(j, "type", s->documents.at[i].type);
        json_bytes(j, "name", s->documents.at[i].name);
        json_number(j, "version", s->documents.at[i].version);
        json_hex(j, "hash", s->documents.at[i].hash);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_open(j, "counters", '{');
    for (size_t i = 0; i < s->counters.count; i++) {
        char name[NAME_MAX_LEN + 1];
        struct bytes n = s->counters.at[i].name;
        snprintf(name, sizeof(name), "%.*s", (int)(n.len < NAME_MAX_LEN ? n.len : NAME_MAX_LEN), (const char *)n.p);
        json_number(j, name, s->counters.at[i].value);
    }
    json_close(j, '}');
    json_close(j, '}');
}

static void put_failure(struct json *j, const char *node, const struct err *err)
{
    json_open(j, NULL, '{');
    json_text(j, "node", node);
    json_text(j, "error", err_name(err->code));
    json_text(j, "text", err->text);
    json_close(j, '}');
}

/* Returns the exit code. */
static int ask_node(const struct client_node *n, struct json *j)
{
    struct message question = {.type = MESSAGE_STATUS_GET}, *answer = NULL;
    struct err err = {0};
    int rc = n->control != NULL ? control_ask(n->control, &question, MESSAGE_STATUS, &answer, &err)
                                : err_set(&err, ERR_CONFIG, "no control socket is configured");
    if (rc != 0) {
        if (j != NULL)
            put_failure(j, n->node, &err);
        else
            printf("%-14s %s\n", n->node, err.text);
        return EXIT_UNAVAILABLE;
    }
    const struct msg_status *s = &answer->status;
    bool well = bytes_is(s->token, "ok") || bytes_is(s->role, "config");
    if (j != NULL)
        put_status(j, s);
    else
        print_row(s);
    message_free(answer);
    return well ? EXIT_DONE : EXIT_UNAVAILABLE;
}

int network_status(int argc, char **argv)
{
    const char *config = NULL;
    bool json = false;
    struct cli_list words = {.count = 0};
    const struct cli_option options[] = {{"config", &config, NULL, NULL}, {"json", NULL, &json, NULL}};
    int exit_code = cli_parse(argc, argv, options, 2, help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    struct err err = {0};
    struct client_config *c = NULL;
    if (config_load(cli_config(config), &c, &err) != 0)
        return cli_fail(&err, json);
    struct buf b;
    struct json j;
    buf_init(&b, 16u * 1024 * 1024);
    json_start(&j, &b);
    json_open(&j, NULL, '[');
    if (!json)
        printf("%-14s %-7s %-8s %10s %10s  %s\n", "node", "role", "token", "uptime", "entries", "documents");
    exit_code = EXIT_DONE;
    for (size_t i = 0; i < c->node_count; i++) {
        int rc = ask_node(&c->nodes[i], json ? &j : NULL);
        exit_code = rc != EXIT_DONE ? rc : exit_code;
    }
    json_close(&j, ']');
    buf_str(&b, "\n");
    config_free(c);
    if (!json)
        buf_done(&b);
    else if (cli_print(&b) != EXIT_DONE)
        exit_code = EXIT_INTERNAL;
    return exit_code;
}
