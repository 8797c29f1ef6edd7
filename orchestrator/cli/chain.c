/* chain: enfilade chain: show, generate and check attestation chain definitions. */
#include "common/documents/chain.h"
#include "common/base/clock.h"
#include "orchestrator/cli/cli.h"
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "enfilade chain show FILE             what a chain definition says\n"
    "enfilade chain check FILE            is it admissible under the documents in force? (exit 3: no)\n"
    "enfilade chain generate              one that the policy admits, on stdout\n"
    "  --operation NAME                   what for\n"
    "  --lifetime SPAN                    default 1h, at most what the policy allows\n"
    "  --avoid NODE                       rank this node last (several times)\n"
    "  --out FILE                         write it there\n"
    "\n"
    "  --config FILE                      client.yaml: its documents folder, state and configuration servers judge\n"
    "  --offline                          ask no configuration server\n"
    "  --documents FILE                   more documents, once each: policies, envelopes\n";

static int load_chain(const char *path, struct document **ret, struct err *err)
{
    struct buf text;
    buf_init(&text, CHAIN_MAX);
    int rc = file_read(path, CHAIN_MAX, &text, err);
    if (rc == 0)
        rc = document_parse(buf_view(&text), path, ret, err);
    buf_done(&text);
    if (rc == 0 && (*ret)->type != DOCUMENT_CHAIN) {
        document_unref(*ret);
        rc = err_set(err, ERR_FORMAT, "%s is not a chain", path);
    }
    return rc;
}

static void print_chain(const struct document *d)
{
    const struct chain *c = &d->chain;
    char hex[2 * HASH_LEN + 1], until[CLOCK_TEXT_LEN + 1];
    hex_encode(BYTES_OF(d->hash), hex);
    clock_text(d->expires_ms, until);
    printf("chain for %s in %s, until %s\nhash %s\n", c->operation, d->network, until, hex);
    for (size_t i = 0; i < c->stage_count; i++) {
        printf("stage %zu %s: %u of", i + 1, c->stages[i].name, c->stages[i].need);
        for (size_t j = 0; j < c->stages[i].count; j++)
            printf(" %s(slot %u)%s", c->stages[i].members[j].node, c->stages[i].members[j].slot,
                   j + 1 == c->stages[i].need && j + 1 < c->stages[i].count ? ", else" : "");
        putchar('\n');
    }
}

static int chain_show(int argc, char **argv)
{
    struct cli_list words = {.count = 0};
    struct err err = {0};
    struct document *d = NULL;
    int exit_code = cli_parse(argc, argv, NULL, 0, help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count != 1)
        return cli_usage("chain show: name one file");
    if (load_chain(words.at[0], &d, &err) != 0)
        return cli_fail(&err, false);
    print_chain(d);
    document_unref(d);
    return EXIT_DONE;
}

static struct chain_world world(const struct shelf *s, struct document *policy, struct document *envelope)
{
    return (struct chain_world){.policy = policy,
                                .envelope = envelope,
                                .roster = shelf_find(s, DOCUMENT_ROSTER, BYTES_NONE),
                                .status = shelf_find(s, DOCUMENT_STATUS, BYTES_NONE)};
}

static int chain_judge(int argc, char **argv)
{
    const char *config = NULL;
    struct cli_list words = {.count = 0}, files = {.count = 0};
    const struct cli_option options[] = {{"config", &config, NULL, NULL}, {"documents", NULL, NULL, &files}};
    int exit_code = cli_parse(argc, argv, options, 2, help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count != 1)
        return cli_usage("chain check: name one file");
    struct err err = {0};
    struct document *d = NULL;
    struct cli_shelf shelf = {0};
    int rc = load_chain(words.at[0], &d, &err);
    if (rc == 0)
        rc = cli_shelf_open(cli_config(config), &files, &shelf, &err);
    if (rc == 0) {
        struct chain_world w = world(shelf.shelf, shelf_find_hash(shelf.shelf, DOCUMENT_POLICY, d->chain.policy_hash),
                                     shelf_find_hash(shelf.shelf, DOCUMENT_ENVELOPE, d->chain.envelope_hash));
        rc = w.policy == NULL || w.envelope == NULL || w.roster == NULL || w.status == NULL
                 ? err_set(&err, ERR_DOCUMENTS, "policy, envelope, roster or status that judge this chain are not here")
                 : chain_check(&w, d, now_ms(), &err);
    }
    if (rc == 0)
        puts("admissible");
    document_unref(d);
    cli_shelf_close(&shelf);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, false);
}

/* The envelope that the configuration expects for the operation; any one for it without a configuration. */
struct search {
    const char *operation;
    const struct client_operation *expected; /* NULL: whichever is the newest */
    struct document *found;
};

static void on_document(void *arg, struct document *d)
{
    struct search *s = arg;
    bool expected = d->type == DOCUMENT_ENVELOPE &&
                    (s->expected == NULL || memcmp(d->envelope.id, s->expected->envelope, ENVELOPE_ID_LEN) == 0);
    if (expected && strcmp(d->envelope.operation, s->operation) == 0 &&
        (s->found == NULL || d->version > s->found->version))
        s->found = d;
}

static int generate(struct cli_shelf *s, const char *operation, uint64_t lifetime_ms, const struct cli_list *avoid,
                    struct buf *text, struct err *err)
{
    struct chain_hint hints[CLI_LIST_MAX] = {0};
    const struct client_operation *known = s->config != NULL ? config_operation(s->config, operation) : NULL;
    struct search search = {.operation = operation, .expected = known};
    for (size_t i = 0; i < avoid->count; i++) {
        TRY(text_name(avoid->at[i], "--avoid", err));
        snprintf(hints[i].node, sizeof(hints[i].node), "%s", avoid->at[i]);
        hints[i].down = true;
    }
    shelf_each(s->shelf, on_document, &search);
    if (search.found == NULL)
        return err_set(err, ERR_DOCUMENTS, "no envelope for operation '%s' is here", operation);
    const char *policy = search.found->envelope.policy_name;
    struct chain_world w = world(s->shelf, shelf_find(s->shelf, DOCUMENT_POLICY, bytes_str(policy)), search.found);
    if (w.policy == NULL || w.roster == NULL || w.status == NULL)
        return err_set(err, ERR_DOCUMENTS, "policy %s, roster or status are not here", policy);
    if (lifetime_ms > w.policy->policy.chain_lifetime_ms)
        lifetime_ms = w.policy->policy.chain_lifetime_ms;
    return chain_generate(&w, operation, now_ms(), lifetime_ms, hints, avoid->count, text, err);
}

/* With a client configuration and configuration servers: what an opener would get, its chain printed. */
static int generate_online(const char *config, const char *operation, struct buf *text, struct err *err)
{
    struct enf *e = NULL;
    struct open_papers p = {NULL, NULL, NULL};
    int rc = open_new(config, &e, err);
    if (rc == 0)
        rc = open_prepare(e, operation, NULL, &p, err);
    if (rc == 0)
        buf_put(text, p.chain->text);
    open_papers_done(&p);
    open_free(e);
    return rc;
}

static int chain_make(int argc, char **argv)
{
    const char *config = NULL, *operation = NULL, *lifetime = NULL, *out = NULL;
    bool offline = false;
    struct cli_list words = {.count = 0}, files = {.count = 0}, avoid = {.count = 0};
    const struct cli_option options[] = {{"config", &config, NULL, NULL},     {"operation", &operation, NULL, NULL},
                                         {"lifetime", &lifetime, NULL, NULL}, {"out", &out, NULL, NULL},
                                         {"documents", NULL, NULL, &files},   {"avoid", NULL, NULL, &avoid},
                                         {"offline", NULL, &offline, NULL}};
    int exit_code = cli_parse(argc, argv, options, sizeof(options) / sizeof(options[0]), help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count != 0 || operation == NULL)
        return cli_usage("chain generate: --operation is needed");
    struct err err = {0};
    struct cli_shelf shelf = {0};
    struct buf text;
    uint64_t lifetime_ms = 3600000;
    buf_init(&text, CHAIN_MAX);
    int rc = lifetime != NULL ? cli_span(lifetime, "lifetime", &lifetime_ms, &err) : 0;
    if (rc == 0 && !offline && files.count == 0 && lifetime == NULL && avoid.count == 0) {
        rc = generate_online(cli_config(config), operation, &text, &err);
    } else if (rc == 0) {
        rc = cli_shelf_open(cli_config(config), &files, &shelf, &err);
        if (rc == 0)
            rc = generate(&shelf, operation, lifetime_ms, &avoid, &text, &err);
    }
    cli_shelf_close(&shelf);
    if (rc == 0 && out != NULL)
        rc = file_write(out, buf_view(&text), 0644, &err);
    if (rc == 0 && out == NULL)
        return cli_print(&text);
    buf_done(&text);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, false);
}

int verb_chain(int argc, char **argv)
{
    static const struct cli_sub subs[] = {{"show", chain_show}, {"check", chain_judge}, {"generate", chain_make}};
    return cli_dispatch(argc, argv, subs, sizeof(subs) / sizeof(subs[0]), help);
}
