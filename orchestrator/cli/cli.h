/* cli: what all verbs of the program share: options, errors, files for output. */
#ifndef ENFILADE_ORCHESTRATOR_CLI_H
#define ENFILADE_ORCHESTRATOR_CLI_H

#include "common/base/bytes.h"
#include "orchestrator/open.h"
#include <stdio.h>

#define CLI_LIST_MAX 64

/* Each verb gets the arguments after its own name and returns an exit code. One file per verb. */
typedef int (*cli_verb)(int argc, char **argv);
int verb_open(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_seal(int argc, char **argv);
int verb_chain(int argc, char **argv);
int verb_document(int argc, char **argv);
int verb_device(int argc, char **argv);
int verb_network(int argc, char **argv);
int verb_audit(int argc, char **argv);
int network_init(int argc, char **argv); /* subverbs that have files of their own */
int network_status(int argc, char **argv);

struct cli_sub {
    const char *name;
    cli_verb run;
};
/* Finds argv[0] among the subverbs and runs it; --help or none prints help. */
int cli_dispatch(int argc, char **argv, const struct cli_sub *subs, size_t count, const char *help);

struct cli_list {
    const char *at[CLI_LIST_MAX];
    size_t count;
};
/* "--name VALUE" or "--name=VALUE" (value), "--name" (flag), "--name VALUE" several times (list). Exactly one pointer
 * is set. */
struct cli_option {
    const char *name; /* without the dashes */
    const char **value;
    bool *flag;
    struct cli_list *list;
};
#define CLI_GO (-1)
/* Options anywhere before "--"; the rest goes to words in order. Returns CLI_GO, or the exit code to leave with (help
 * was printed, or an error that names the option and the remedy). */
int cli_parse(int argc, char **argv, const struct cli_option *options, size_t count, const char *help,
              struct cli_list *words);

/* --config, else $ENFILADE_CONFIG, else /etc/enfilade/client.yaml */
const char *cli_config(const char *given);
/* Prints "enfilade: text" (or with json an object) on stderr; returns the exit code of the error. */
int cli_fail(const struct err *err, bool json);
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints b to stdout, or its failure. Returns the exit code. */
int cli_print(struct buf *b);
/* "30d", "12h", "90m", "20s": a span in ms. ERR_USAGE. */
MUST_CHECK int cli_span(const char *text, const char *option, uint64_t *ret_ms, struct err *err);
/* A program of this project: beside this one (or in its build folder), else its bare name for PATH. */
#define CLI_PROGRAM_MAX 4200
const char *cli_program(const char *name, char path[CLI_PROGRAM_MAX]);
/* Runs it to its end; what it prints on stdout is dropped. 0 only when it exits with 0; else ERR_INTERNAL with its exit
 * code in text. */
MUST_CHECK int cli_run_program(char *const argv[], struct err *err);
/* Seconds, not milliseconds, stand in documents. */
uint64_t cli_now_s_ms(void);
/* Reads a whole note. */
MUST_CHECK int cli_read_note(const char *path, struct buf *ret, struct err *err);

/* The documents that judge: from client.yaml, or a shelf of given files (root first) when config is NULL. */
struct cli_shelf {
    struct client_config *config;
    struct depot *depot;
    struct shelf *shelf, *own;
};
MUST_CHECK int cli_shelf_open(const char *config, const struct cli_list *files, struct cli_shelf *ret, struct err *err);
void cli_shelf_close(struct cli_shelf *s);

#endif
