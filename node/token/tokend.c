/* tokend: the command line of enfilade-tokend, the only program that loads a PKCS#11 module. */
#include "common/base/log.h"
#include "node/token/init.h"
#include "node/token/master.h"
#include "node/token/pin.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "usage: enfilade-tokend init --config tokend.yaml [--out FOLDER]   make PIN, tokens, keys, identity\n"
    "       enfilade-tokend run --config tokend.yaml                    serve until SIGTERM\n"
    "       enfilade-tokend pin --config tokend.yaml                    change the PIN, also while it is served\n"
    "       enfilade-tokend --version\n"
    "Configuration: node/README.md. Exit codes: 0 done, 1 internal, 2 usage, configuration or keys,\n"
    "4 the token is not available.\n";

struct arguments {
    const char *verb, *config, *out;
};

static int take_arguments(int argc, char **argv, struct arguments *ret)
{
    ret->verb = argv[1];
    for (int i = 2; i < argc; i += 2) {
        const char **value = strcmp(argv[i], "--config") == 0 ? &ret->config
                             : strcmp(argv[i], "--out") == 0  ? &ret->out
                                                              : NULL;
        if (value == NULL || *value != NULL || i + 1 == argc)
            return ERR_USAGE;
        *value = argv[i + 1];
    }
    return ret->config != NULL ? 0 : ERR_USAGE;
}

static int fail(int rc, const struct err *err)
{
    log_error("%s (%s)", err->text, err_name(rc));
    return (int)err_exit(rc);
}

/* Ends the process: a module was loaded, whose own threads, locks and leaks are not to meet exit handlers. */
static _Noreturn void run_init(const struct tokend_config *c, const struct arguments *a)
{
    struct err err = {0};
    const char *out = a->out != NULL ? a->out : ".";
    int rc = init_run(c, out, &err);
    if (rc != 0)
        _exit(fail(rc, &err));
    (void)printf("made the keys of node %s; take %s/identity.pem and %s/public.yaml to the roster\n", c->node, out,
                 out);
    (void)fflush(stdout);
    _exit(EXIT_DONE);
}

static _Noreturn void run_pin(const struct tokend_config *c)
{
    struct err err = {0};
    int rc = pin_change(c, &err);
    if (rc != 0)
        _exit(fail(rc, &err));
    (void)printf("changed the PIN of node %s; it is in %s\n", c->node, c->pin_file);
    (void)fflush(stdout);
    _exit(EXIT_DONE);
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    struct err err = {0};
    static struct tokend_config c;
    log_setup("tokend", false, LOG_LEVEL_INFO);
    (void)umask(077); /* what init makes, and the sockets before their mode is set */
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return puts("enfilade-tokend " ENFILADE_VERSION) < 0 ? EXIT_INTERNAL : EXIT_DONE;
    if (argc < 2 || take_arguments(argc, argv, &a) != 0) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }
    int rc = tokend_config_load(a.config, &c, &err);
    if (rc != 0)
        return fail(rc, &err);
    if (strcmp(a.verb, "run") == 0 && a.out == NULL)
        return master_run(&c);
    if (strcmp(a.verb, "init") == 0)
        run_init(&c, &a);
    if (strcmp(a.verb, "pin") == 0 && a.out == NULL)
        run_pin(&c);
    (void)fputs(usage, stderr);
    return EXIT_USAGE;
}
