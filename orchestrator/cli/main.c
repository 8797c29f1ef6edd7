/* main: the command line of enfilade: a table of verbs. */
#include "orchestrator/cli/cli.h"
#include <string.h>

static const struct {
    const char *name;
    cli_verb run;
    const char *summary;
} verbs[] = {
    {"open", verb_open, "walk an operation's chain, write its secret to stdout"},
    {"run", verb_run, "run a command with the secret on descriptor 3"},
    {"seal", verb_seal, "seal a secret to the nodes of its stages: makes an envelope"},
    {"chain", verb_chain, "show | generate: attestation chain definitions"},
    {"document", verb_document, "show | sign | verify | write: signed documents"},
    {"device", verb_device, "enroll: prove a TPM, certify a device, add it to the inventory"},
    {"network", verb_network, "init | status: a network of nodes"},
    {"audit", verb_audit, "verify | show | explain | export: the ledgers"},
};

static void print_help(FILE *out)
{
    fputs("enfilade VERB ...: secrets released by a chain of attesting HSM nodes\n\n", out);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
    fputs("\n`enfilade VERB --help` tells more. --version prints the version.\n"
          "Exit codes: 0 done, 1 internal, 2 usage or configuration, 3 denied, 4 unavailable, 5 integrity.\n",
          out);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("enfilade " ENFILADE_VERSION);
        return EXIT_DONE;
    }
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, argv[1]) == 0)
            return verbs[i].run(argc - 2, argv + 2);
    }
    return cli_usage("unknown verb '%s'", argv[1]);
}
