/* open: enfilade open: walk the chain of an operation, write the secret to a descriptor. */
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/walk_report.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "enfilade open OPERATION: walk the operation's chain of HSM nodes and write the secret to stdout\n"
    "\n"
    "  --config FILE    client.yaml (default: $ENFILADE_CONFIG, else /etc/enfilade/client.yaml)\n"
    "  --chain FILE     use this chain definition; else the configuration server's, else one that the policy admits\n"
    "  --out-fd N       write the secret to descriptor N instead of stdout\n"
    "  --report FILE    write the walk as JSON: session, visits with link, entry and receipt, failures\n"
    "  --table          print the walk as a table on stderr\n"
    "  --json           errors as JSON on stderr\n"
    "\n"
    "Exit codes: 0 done, 1 internal, 2 usage or configuration, 3 denied, 4 unavailable, 5 integrity.\n";

static int write_piece(void *arg, struct bytes piece)
{
    const int *fd = arg;
    while (piece.len > 0) {
        ssize_t n = write(*fd, piece.p, piece.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        piece = BYTES(piece.p + n, piece.len - (size_t)n);
    }
    return 0;
}

int verb_open(int argc, char **argv)
{
    const char *config = NULL, *chain = NULL, *out = NULL, *report_path = NULL;
    bool table = false, json = false;
    struct cli_list words = {.count = 0};
    const struct cli_option options[] = {{"config", &config, NULL, NULL}, {"chain", &chain, NULL, NULL},
                                         {"out-fd", &out, NULL, NULL},    {"report", &report_path, NULL, NULL},
                                         {"table", NULL, &table, NULL},   {"json", NULL, &json, NULL}};
    int exit_code = cli_parse(argc, argv, options, sizeof(options) / sizeof(options[0]), help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count != 1)
        return cli_usage("open: name exactly one operation");
    struct err err = {0};
    uint64_t number = STDOUT_FILENO;
    if (out != NULL && text_u64(out, "--out-fd", 1, 1023, &number, &err) != 0)
        return cli_usage("%s", err.text);
    int fd = (int)number;
    struct enf *e = NULL;
    struct walk_report *report = calloc(1, sizeof(*report));
    int rc = report != NULL ? open_new(cli_config(config), &e, &err) : err_set(&err, ERR_NOMEM, "out of memory");
    if (rc == 0) {
        report->progress = !json;
        enf_observe(e, walk_report_visit, report);
        rc = open_unseal(e, words.at[0], chain, NULL, write_piece, &fd, &err);
        if (table)
            walk_report_table(report);
        struct err report_err = {0};
        if (report_path != NULL && walk_report_write(report, e, words.at[0], &err, report_path, &report_err) != 0 &&
            rc == 0) {
            rc = report_err.code;
            err = report_err;
        }
    }
    exit_code = EXIT_DONE;
    if (rc != 0)
        exit_code = report != NULL ? walk_report_fail(report, &err, json) : cli_fail(&err, json);
    open_free(e);
    free(report);
    return exit_code;
}
