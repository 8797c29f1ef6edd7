/* run: enfilade run: a command that gets the secret on descriptor 3, and nowhere else. */
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/walk_report.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECRET_FD 3
#define EXIT_CANNOT_RUN 126
#define EXIT_NO_COMMAND 127
#define EXIT_SIGNAL 128

static const char help[] =
    "enfilade run OPERATION [options] -- COMMAND [ARGUMENT...]: run a command with the secret on its descriptor 3\n"
    "\n"
    "The secret goes through a pipe: it never stands in arguments, environment or on disk. The exit code is the "
    "command's\n"
    "(128 + n when signal n ended it), or that of the walk when there is no secret; then the command is not started.\n"
    "\n"
    "  --config FILE    client.yaml (default: $ENFILADE_CONFIG, else /etc/enfilade/client.yaml)\n"
    "  --chain FILE     use this chain definition\n"
    "  --report FILE    write the walk as JSON\n"
    "  --table          print the walk as a table on stderr\n"
    "  --json           errors as JSON on stderr\n";

/* In the child: the pipe's reading end becomes descriptor 3, nothing else of ours is left open. */
static void become(int reading, char **command)
{
    if (reading != SECRET_FD) {
        if (dup2(reading, SECRET_FD) != SECRET_FD)
            _exit(EXIT_CANNOT_RUN);
    } else if (fcntl(reading, F_SETFD, 0) != 0) {
        _exit(EXIT_CANNOT_RUN);
    }
    signal(SIGPIPE, SIG_DFL);
    execvp(command[0], command);
    int code = errno == ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_RUN;
    dprintf(STDERR_FILENO, "enfilade: cannot run %s: %s\n", command[0], strerror(errno));
    _exit(code);
}

static void feed(int fd, struct bytes secret)
{
    while (secret.len > 0) {
        ssize_t n = write(fd, secret.p, secret.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* the command does not want (all of) it */
        secret = BYTES(secret.p + n, secret.len - (size_t)n);
    }
}

static int await(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return EXIT_INTERNAL;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNAL + WTERMSIG(status);
}

/* Takes the secret: it is wiped as soon as the pipe has it. */
static int run_command(struct enf_secret *secret, char **command)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        enf_secret_free(secret);
        fprintf(stderr, "enfilade: no pipe: %s\n", strerror(errno));
        return EXIT_INTERNAL;
    }
    pid_t child = fork();
    if (child == 0)
        become(ends[0], command);
    close(ends[0]);
    if (child > 0)
        feed(ends[1], BYTES(enf_secret_data(secret), enf_secret_len(secret)));
    close(ends[1]);
    enf_secret_free(secret);
    if (child < 0) {
        fprintf(stderr, "enfilade: cannot start a process: %s\n", strerror(errno));
        return EXIT_INTERNAL;
    }
    return await(child);
}

/* Descriptors 0 to 3 must not be handed out to our own sockets. */
static void reserve_descriptors(void)
{
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd < SECRET_FD)
        fd = open("/dev/null", O_RDWR);
    if (fd > SECRET_FD)
        close(fd);
    else if (fd == SECRET_FD)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* The words before "--" are ours, those after it the command's. */
static int split(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            return i;
    }
    return argc;
}

int verb_run(int argc, char **argv)
{
    const char *config = NULL, *chain = NULL, *report_path = NULL;
    bool table = false, json = false;
    struct cli_list words = {.count = 0};
    const struct cli_option options[] = {{"config", &config, NULL, NULL},
                                         {"chain", &chain, NULL, NULL},
                                         {"report", &report_path, NULL, NULL},
                                         {"table", NULL, &table, NULL},
                                         {"json", NULL, &json, NULL}};
    int ours = split(argc, argv);
    int exit_code = cli_parse(ours, argv, options, sizeof(options) / sizeof(options[0]), help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count != 1 || ours + 1 >= argc)
        return cli_usage("run: one operation, then -- and the command");
    reserve_descriptors();
    signal(SIGPIPE, SIG_IGN);
    struct err err = {0}, report_err = {0};
    struct enf *e = NULL;
    struct enf_secret *secret = NULL;
    struct walk_report *report = calloc(1, sizeof(*report));
    int rc = report != NULL ? open_new(cli_config(config), &e, &err) : err_set(&err, ERR_NOMEM, "out of memory");
    if (rc == 0) {
        report->progress = !json;
        enf_observe(e, walk_report_visit, report);
        rc = enf_unseal(e, words.at[0], chain, &secret);
        err = e->err;
        if (table)
            walk_report_table(report);
        if (report_path != NULL && walk_report_write(report, e, words.at[0], &err, report_path, &report_err) != 0)
            fprintf(stderr, "enfilade: %s\n", report_err.text);
    }
    if (rc != 0)
        exit_code = report != NULL ? walk_report_fail(report, &err, json) : cli_fail(&err, json);
    open_free(e); /* closes the connections before the command starts */
    free(report);
    return rc == 0 ? run_command(secret, argv + ours + 1) : exit_code;
}
