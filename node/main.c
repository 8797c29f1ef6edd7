/* main: the command line of enfilade-node. */
#include "common/base/log.h"
#include "common/base/secret.h"
#include "node/export.h"
#include "node/server.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "enfilade-node: the keeper of one door of an Enfilade network\n"
    "\n"
    "  enfilade-node run --config FILE [--json]       serve until SIGTERM; SIGHUP reads the documents folder again\n"
    "  enfilade-node check --config FILE              read the configuration and say what is wrong with it\n"
    "  enfilade-node init --config TOKEND.yaml --out DIR\n"
    "                                                 make the PIN, the tokens and the keys of one HSM node "
    "(enfilade-tokend\n"
    "                                                 does it); DIR gets identity.pem and public.yaml for the roster\n"
    "  enfilade-node export --config FILE --out DIR   write a stopped node's ledger as C2SP tlog-tiles\n"
    "  enfilade-node --version | --help\n"
    "\n"
    "Exit codes: 0 done, 1 internal, 2 usage or configuration, 3 denied, 4 unavailable, 5 integrity.\n";

struct arguments {
    const char *verb, *config, *out;
    bool json;
};

static int finish(const struct err *err)
{
    if (err->code == 0)
        return EXIT_DONE;
    (void)fprintf(stderr, "enfilade-node: %s\n", err->text);
    return (int)err_exit(err->code);
}

static int do_run(const struct arguments *a, struct err *err)
{
    struct node_config *config = NULL;
    log_setup("enfilade-node", a->json, LOG_LEVEL_INFO);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(077);
    int rc = secret_setup(err);
    if (rc == 0)
        rc = node_config_load(a->config, &config, err);
    if (rc == 0 && (rc = server_run(config, err)) != 0)
        node_config_place(a->config, err);
    node_config_free(config);
    return rc;
}

static int do_check(const struct arguments *a, struct err *err)
{
    struct node_config *config = NULL;
    int rc = node_config_load(a->config, &config, err);
    if (rc == 0)
        (void)printf("%s: ok: %s/%s, role %s\n", a->config, config->network, config->name,
                     config->hsm ? "hsm" : "config");
    node_config_free(config);
    return rc;
}

/* Only enfilade-tokend loads the PKCS#11 module: it makes the keys. */
static int do_init(const struct arguments *a, struct err *err)
{
    char self[4096], path[4200];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL)
        *slash = '\0';
    (void)snprintf(path, sizeof(path), "%s/enfilade-tokend", self);
    (void)execl(path, "enfilade-tokend", "init", "--config", a->config, "--out", a->out, (char *)NULL);
    return err_set(err, ERR_NOT_FOUND, "%s cannot be run: %s", path, strerror(errno));
}

static int do_export(const struct arguments *a, struct err *err)
{
    struct node_config *config = NULL;
    int rc = node_config_load(a->config, &config, err);
    if (rc == 0)
        rc = export_run(config, a->out, err);
    node_config_free(config);
    return rc;
}

static const struct {
    const char *name;
    bool needs_out;
    int (*run)(const struct arguments *a, struct err *err);
} verbs[] = {
    {"run", false, do_run},
    {"check", false, do_check},
    {"init", true, do_init},
    {"export", true, do_export},
};

static int parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"out", required_argument, NULL, 'o'},
        {"json", no_argument, NULL, 'j'},         {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},      {NULL, 0, NULL, 0},
    };
    for (int o = getopt_long(argc, argv, "c:o:hv", options, NULL); o != -1;
         o = getopt_long(argc, argv, "c:o:hv", options, NULL)) {
        if (o == 'c')
            a->config = optarg;
        else if (o == 'o')
            a->out = optarg;
        else if (o == 'j')
            a->json = true;
        else if (o == 'h' || o == 'v')
            a->verb = o == 'h' ? "help" : "version";
        else
            return ERR_USAGE;
    }
    if (a->verb == NULL && optind + 1 == argc)
        a->verb = argv[optind];
    return a->verb != NULL ? 0 : ERR_USAGE;
}

int main(int argc, char **argv)
{
    struct arguments a = {.verb = NULL};
    struct err err = {.code = 0};
    if (parse(argc, argv, &a) != 0) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (strcmp(a.verb, "help") == 0 || strcmp(a.verb, "version") == 0) {
        (void)fputs(a.verb[0] == 'h' ? usage : "enfilade-node " ENFILADE_VERSION "\n", stdout);
        return EXIT_DONE;
    }
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, a.verb) != 0)
            continue;
        if (a.config == NULL || (verbs[i].needs_out && a.out == NULL)) {
            (void)fprintf(stderr, "enfilade-node: %s needs --config FILE%s\n", a.verb,
                          verbs[i].needs_out ? " and --out DIR" : "");
            return EXIT_USAGE;
        }
        if (verbs[i].run(&a, &err) != 0 && err.code == 0)
            (void)err_set(&err, ERR_INTERNAL, "%s failed", a.verb);
        return finish(&err);
    }
    (void)fprintf(stderr, "enfilade-node: no command '%s'; see --help\n", a.verb);
    return EXIT_USAGE;
}
