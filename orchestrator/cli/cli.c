/* cli: options, errors and files for all verbs. */
#include "orchestrator/cli/cli.h"
#include "common/base/clock.h"
#include "orchestrator/cli/json.h"
#include "orchestrator/words.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int cli_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("enfilade: ", stderr);
    vfprintf(stderr, format, args);
    fputs(" (--help tells more)\n", stderr);
    va_end(args);
    return EXIT_USAGE;
}

int cli_fail(const struct err *err, bool json)
{
    if (!json) {
        fprintf(stderr, "enfilade: %s\n", err->text);
        return (int)err_exit(err->code);
    }
    struct buf b;
    struct json j;
    buf_init(&b, 8192);
    json_start(&j, &b);
    json_open(&j, NULL, '{');
    json_text(&j, "error", err_name(err->code));
    json_text(&j, "text", err->text);
    json_number(&j, "exit_code", (uint64_t)err_exit(err->code));
    json_close(&j, '}');
    const char *text = buf_cstr(&b);
    fprintf(stderr, "%s\n", text != NULL ? text : "{}");
    buf_done(&b);
    return (int)err_exit(err->code);
}

int cli_print(struct buf *b)
{
    int rc = EXIT_DONE;
    if (!buf_ok(b) || (b->len > 0 && fwrite(b->p, 1, b->len, stdout) != b->len) || fflush(stdout) != 0) {
        fputs("enfilade: the output could not be written\n", stderr);
        rc = EXIT_INTERNAL;
    }
    buf_done(b);
    return rc;
}

int cli_dispatch(int argc, char **argv, const struct cli_sub *subs, size_t count, const char *help)
{
    if (argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "help") == 0) {
        fputs(help, argc == 0 ? stderr : stdout);
        return argc == 0 ? EXIT_USAGE : EXIT_DONE;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(argv[0], subs[i].name) == 0)
            return subs[i].run(argc - 1, argv + 1);
    }
    return cli_usage("unknown word '%s'", argv[0]);
}

static const struct cli_option *find_option(const struct cli_option *options, size_t count, const char *name,
                                            size_t name_len)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(options[i].name) == name_len && memcmp(options[i].name, name, name_len) == 0)
            return &options[i];
    }
    return NULL;
}

static bool list_add(struct cli_list *list, const char *value)
{
    if (list->count == CLI_LIST_MAX)
        return false;
    list->at[list->count++] = value;
    return true;
}

/* Takes one option; *i moves over its value. */
static int take_option(const struct cli_option *options, size_t count, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t name_len = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const struct cli_option *o = find_option(options, count, name, name_len);
    if (o == NULL)
        return cli_usage("unknown option '%s'", argv[*i]);
    if (o->flag != NULL) {
        *o->flag = true;
        return equals == NULL ? CLI_GO : cli_usage("--%s takes no value", o->name);
    }
    if (equals == NULL && *i + 1 == argc)
        return cli_usage("--%s needs a value", o->name);
    const char *value = equals != NULL ? equals + 1 : argv[++*i];
    if (o->value != NULL)
        *o->value = value;
    else if (!list_add(o->list, value))
        return cli_usage("--%s stands there too often", o->name);
    return CLI_GO;
}

int cli_parse(int argc, char **argv, const struct cli_option *options, size_t count, const char *help,
              struct cli_list *words)
{
    bool only_words = false;
    for (int i = 0; i < argc; i++) {
        int rc = CLI_GO;
        if (!only_words && strcmp(argv[i], "--") == 0)
            only_words = true;
        else if (!only_words && strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return EXIT_DONE;
        } else if (!only_words && strncmp(argv[i], "--", 2) == 0)
            rc = take_option(options, count, argc, argv, &i);
        else if (!list_add(words, argv[i]))
            rc = cli_usage("too many arguments");
        if (rc != CLI_GO)
            return rc;
    }
    return CLI_GO;
}

const char *cli_config(const char *given)
{
    const char *env = getenv("ENFILADE_CONFIG");
    return given != NULL ? given : env != NULL ? env : "/etc/enfilade/client.yaml";
}

int cli_span(const char *text, const char *option, uint64_t *ret_ms, struct err *err)
{
    static const struct {
        char unit;
        uint64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    char number[24];
    size_t len = strlen(text);
    for (size_t i = 0; len > 1 && len < sizeof(number) && i < sizeof(units) / sizeof(units[0]); i++) {
        uint64_t n;
        memcpy(number, text, len - 1);
        number[len - 1] = '\0';
        if (text[len - 1] == units[i].unit && text_u64(number, option, 1, 10000000, &n, NULL) == 0) {
            *ret_ms = n * units[i].ms;
            return 0;
        }
    }
    return err_set(err, ERR_USAGE, "--%s: '%s' is not a span of time such as 30d, 12h, 90m or 20s", option, text);
}

const char *cli_program(const char *name, char path[CLI_PROGRAM_MAX])
{
    /* installed, then the build tree's folders */
    static const char *const places[] = {".", "../node", "../node/token", "../../node", "../../node/token"};
    char self[CLI_PROGRAM_MAX - 104];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash = n > 0 ? memrchr(self, '/', (size_t)n) : NULL;
    for (size_t i = 0; slash != NULL && i < sizeof(places) / sizeof(places[0]); i++) {
        char at[CLI_PROGRAM_MAX];
        snprintf(at, sizeof(at), "%.*s/%s/%.64s", (int)(slash - self), self, places[i], name);
        if (access(at, X_OK) == 0) {
            words_copy(path, CLI_PROGRAM_MAX, at);
            return path;
        }
    }
    return name;
}

int cli_run_program(char *const argv[], struct err *err)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        if (null >= 0 && dup2(null, STDOUT_FILENO) >= 0)
            execvp(argv[0], argv);
        dprintf(STDERR_FILENO, "enfilade: cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            child = -1;
    }
    if (child < 0)
        return err_set(err, ERR_INTERNAL, "cannot run %s: %s", argv[0], strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(err, ERR_INTERNAL, "%s %s failed with exit code %d", argv[0], argv[1],
                       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 0;
}

uint64_t cli_now_s_ms(void)
{
    return now_ms() / 1000 * 1000;
}

int cli_read_note(const char *path, struct buf *ret, struct err *err)
{
    buf_init(ret, NOTE_MAX);
    return file_read(path, NOTE_MAX, ret, err);
}

static int offer_file(struct cli_shelf *s, const char *path, struct err *err)
{
    struct buf note;
    enum shelf_outcome outcome;
    const struct document *doc;
    int rc = cli_read_note(path, &note, err);
    if (rc == 0 && s->shelf == NULL) {
        struct document_claim claim;
        rc = document_peek(buf_view(&note), &claim, err);
        if (rc == 0 && claim.type != DOCUMENT_ROOT)
            rc = err_set(err, ERR_USAGE, "%s is not a root document: the root comes first", path);
        if (rc == 0)
            rc = shelf_new(claim.network, NULL, &s->own);
        if (rc == 0)
            s->shelf = s->own;
    }
    if (rc == 0)
        rc = shelf_offer(s->shelf, buf_view(&note), path, now_ms(), &outcome, &doc, err);
    buf_done(&note);
    return rc != 0 ? err_wrap(err, rc, "%s", path) : 0;
}

int cli_shelf_open(const char *config, const struct cli_list *files, struct cli_shelf *ret, struct err *err)
{
    int rc = 0;
    *ret = (struct cli_shelf){0};
    if (config != NULL) {
        rc = config_load(config, &ret->config, err);
        if (rc == 0)
            rc = depot_open(ret->config, NULL, false, &ret->depot, err);
        if (rc == 0)
            ret->shelf = depot_shelf(ret->depot);
    }
    for (size_t i = 0; rc == 0 && files != NULL && i < files->count; i++)
        rc = offer_file(ret, files->at[i], err);
    if (rc == 0 && ret->shelf == NULL)
        rc = err_set(err, ERR_USAGE, "no documents: name a --config or the --documents, root first");
    if (rc != 0)
        cli_shelf_close(ret);
    return rc;
}

void cli_shelf_close(struct cli_shelf *s)
{
    depot_close(s->depot);
    config_free(s->config);
    shelf_free(s->own);
    *s = (struct cli_shelf){0};
}
