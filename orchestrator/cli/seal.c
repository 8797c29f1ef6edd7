/* seal: enfilade seal: a secret into a signed envelope. */
#include "orchestrator/seal.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/payload_file.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "enfilade seal: seal a secret to the nodes of its stages; no node need be online\n"
    "\n"
    "  --operation NAME          the operation that opens it\n"
    "  --policy FILE             the signed policy\n"
    "  --stage NAME:NEED:N1,N2…  once per stage, in the policy's order: NEED of these nodes must agree\n"
    "  --owner-key FILE          Ed25519 key (PEM) of an owner that the policy names\n"
    "  --in FILE|-               the secret\n"
    "  --out FILE                the envelope (a signed note); printed on stdout when absent\n"
    "  --payload FILE|DIR        detach the payload: needed above 256 KiB. In a folder it gets the name that clients "
    "look\n"
    "                            for, ID-GENERATION.payload\n"
    "  --id HEX                  the envelope's id, 16 bytes (default: what client.yaml expects for the operation, "
    "else\n"
    "                            a new one)\n"
    "  --generation N            default 1; a new payload under the same id needs a higher one\n"
    "  --expires SPAN            default 365d\n"
    "  --config FILE             client.yaml, for root, roster and status; or instead of it\n"
    "  --documents FILE          once per document: root first, then roster, status\n"
    "  --json                    errors as JSON\n"
    "\n"
    "Prints the id on stderr. Exit codes: 0 done, 2 usage, 3 the policy does not admit it.\n";

struct work { /* files of one sealing */
    int in;
    FILE *payload;
};

static int read_piece(void *arg, struct secret *room, size_t *ret_len, struct err *err)
{
    const struct work *w = arg;
    size_t len = 0;
    while (len < secret_len(room)) {
        ssize_t n = read(w->in, secret_write(room) + len, secret_len(room) - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_IO, "the secret cannot be read: %s", strerror(errno));
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret_len = len;
    return 0;
}

static int write_chunk(void *arg, struct bytes chunk, struct err *err)
{
    const struct work *w = arg;
    if (fwrite(chunk.p, 1, chunk.len, w->payload) != chunk.len)
        return err_set(err, ERR_IO, "the payload cannot be written: %s", strerror(errno));
    return 0;
}

/* NAME:NEED:N1,N2 */
static int parse_stage(const char *text, struct seal_stage *ret, struct err *err)
{
    char copy[NAME_MAX_LEN * (SLOT_MAX + 2)];
    uint64_t need;
    if (strlen(text) >= sizeof(copy))
        return err_set(err, ERR_USAGE, "--stage: too long");
    memcpy(copy, text, strlen(text) + 1);
    char *save = NULL, *name = strtok_r(copy, ":", &save), *count = strtok_r(NULL, ":", &save),
         *nodes = strtok_r(NULL, ":", &save);
    if (name == NULL || count == NULL || nodes == NULL || strtok_r(NULL, ":", &save) != NULL)
        return err_set(err, ERR_USAGE, "--stage: '%s' is not NAME:NEED:NODE,NODE…", text);
    TRY(text_name(name, "--stage", err));
    TRY(text_u64(count, "--stage", 1, SLOT_MAX, &need, err));
    memcpy(ret->name, name, strlen(name) + 1);
    ret->need = (unsigned)need;
    for (char *n = strtok_r(nodes, ",", &save); n != NULL; n = strtok_r(NULL, ",", &save)) {
        if (ret->count == SLOT_MAX)
            return err_set(err, ERR_USAGE, "--stage %s: more than %d members", name, SLOT_MAX);
        TRY(text_name(n, "--stage", err));
        memcpy(ret->nodes[ret->count++], n, strlen(n) + 1);
    }
    return 0;
}

struct given {
    const char *operation, *policy, *owner_key, *in, *out, *payload, *id, *generation, *expires, *config;
    struct cli_list stages, documents;
    bool json;
};

static int fill_order(const struct given *g, struct cli_shelf *shelf, struct seal_stage *stages, struct seal_order *o,
                      struct err *err)
{
    uint64_t span_ms;
    struct rng rng = rng_system();
    if (g->stages.count > STAGE_MAX)
        return err_set(err, ERR_USAGE, "more than %d stages", STAGE_MAX);
    for (size_t i = 0; i < g->stages.count; i++)
        TRY(parse_stage(g->stages.at[i], &stages[i], err));
    o->operation = g->operation;
    o->stages = stages;
    o->stage_count = g->stages.count;
    o->generation = 1;
    if (g->generation != NULL)
        TRY(text_u64(g->generation, "--generation", 1, UINT64_MAX, &o->generation, err));
    const struct client_operation *known = shelf->config != NULL ? config_operation(shelf->config, g->operation) : NULL;
    if (g->id != NULL)
        TRY(text_hex(g->id, "--id", o->id, sizeof(o->id), err));
    else if (known != NULL)
        memcpy(o->id, known->envelope, sizeof(o->id));
    else
        TRY(rng.fill(rng.arg, o->id, sizeof(o->id)));
    TRY(cli_span(g->expires != NULL ? g->expires : "365d", "expires", &span_ms, err));
    o->issued_ms = cli_now_s_ms();
    o->expires_ms = o->issued_ms + span_ms;
    o->roster = shelf_find(shelf->shelf, DOCUMENT_ROSTER, BYTES_NONE);
    o->status = shelf_find(shelf->shelf, DOCUMENT_STATUS, BYTES_NONE);
    return o->roster != NULL ? 0 : err_set(err, ERR_DOCUMENTS, "no roster among the documents");
}

static int offer_policy(const char *path, struct cli_shelf *shelf, const struct document **ret, struct err *err)
{
    struct buf note;
    enum shelf_outcome outcome;
    int rc = cli_read_note(path, &note, err);
    if (rc == 0)
        rc = shelf_offer(shelf->shelf, buf_view(&note), path, now_ms(), &outcome, ret, err);
    buf_done(&note);
    if (rc == 0 && (*ret)->type != DOCUMENT_POLICY)
        rc = err_set(err, ERR_USAGE, "%s is not a policy", path);
    return rc != 0 ? err_wrap(err, rc, "--policy") : 0;
}

static int open_files(const struct given *g, const struct seal_order *o, struct work *w, struct err *err)
{
    struct stat st;
    char path[PATH_MAX], name[PAYLOAD_NAME_MAX];
    w->in = strcmp(g->in, "-") == 0 ? STDIN_FILENO : open(g->in, O_RDONLY | O_CLOEXEC);
    if (w->in < 0)
        return err_set(err, ERR_NOT_FOUND, "--in %s: %s", g->in, strerror(errno));
    if (g->payload == NULL)
        return 0;
    payload_file_name(o->id, o->generation, name);
    bool folder = stat(g->payload, &st) == 0 && S_ISDIR(st.st_mode);
    int n = snprintf(path, sizeof(path), "%s%s%s", g->payload, folder ? "/" : "", folder ? name : "");
    if (n < 0 || (size_t)n >= sizeof(path))
        return err_set(err, ERR_USAGE, "--payload: path too long");
    w->payload = fopen(path, "wxe");
    return w->payload != NULL ? 0 : err_set(err, ERR_IO, "--payload %s: %s", path, strerror(errno));
}

static int close_files(struct work *w, struct err *err)
{
    if (w->in > STDIN_FILENO)
        close(w->in);
    if (w->payload == NULL)
        return 0;
    bool ok = fflush(w->payload) == 0 && fsync(fileno(w->payload)) == 0;
    ok = fclose(w->payload) == 0 && ok;
    return ok ? 0 : err_set(err, ERR_IO, "the payload cannot be written: %s", strerror(errno));
}

static int seal_given(const struct given *g, struct cli_shelf *shelf, struct buf *note, struct err *err)
{
    struct seal_stage *stages = calloc(STAGE_MAX, sizeof(*stages));
    struct ed25519_key *owner = NULL;
    struct work w = {.in = -1};
    struct seal_order o = {.read = read_piece, .arg = &w};
    int rc = stages != NULL ? ed25519_key_load(g->owner_key, &owner, err) : err_set(err, ERR_NOMEM, "out of memory");
    o.owner = owner;
    if (rc == 0)
        rc = fill_order(g, shelf, stages, &o, err);
    if (rc == 0)
        rc = offer_policy(g->policy, shelf, &o.policy, err);
    if (rc == 0)
        rc = open_files(g, &o, &w, err);
    o.write = w.payload != NULL ? write_chunk : NULL;
    if (rc == 0)
        rc = seal(&o, note, err);
    struct err close_err = {0};
    int close_rc = close_files(&w, &close_err);
    if (rc == 0 && close_rc != 0) {
        rc = close_rc;
        *err = close_err;
    }
    if (rc == 0) {
        char hex[2 * ENVELOPE_ID_LEN + 1];
        hex_encode(BYTES_OF(o.id), hex);
        fprintf(stderr, "enfilade: sealed envelope %s, generation %llu\n", hex, (unsigned long long)o.generation);
    }
    ed25519_key_free(owner);
    free(stages);
    return rc;
}

int verb_seal(int argc, char **argv)
{
    struct given g = {0};
    struct cli_list words = {.count = 0};
    const struct cli_option options[] = {{"operation", &g.operation, NULL, NULL},
                                         {"policy", &g.policy, NULL, NULL},
                                         {"stage", NULL, NULL, &g.stages},
                                         {"owner-key", &g.owner_key, NULL, NULL},
                                         {"in", &g.in, NULL, NULL},
                                         {"out", &g.out, NULL, NULL},
                                         {"payload", &g.payload, NULL, NULL},
                                         {"id", &g.id, NULL, NULL},
                                         {"generation", &g.generation, NULL, NULL},
                                         {"expires", &g.expires, NULL, NULL},
                                         {"config", &g.config, NULL, NULL},
                                         {"documents", NULL, NULL, &g.documents},
                                         {"json", NULL, &g.json, NULL}};
    int exit_code = cli_parse(argc, argv, options, sizeof(options) / sizeof(options[0]), help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count > 0 || g.operation == NULL || g.policy == NULL || g.owner_key == NULL || g.in == NULL ||
        g.stages.count == 0)
        return cli_usage("seal: --operation, --policy, --stage, --owner-key and --in are needed");
    struct err err = {0};
    struct buf note;
    struct cli_shelf shelf = {0};
    buf_init(&note, NOTE_MAX);
    const char *config = g.config == NULL && g.documents.count > 0 ? NULL : cli_config(g.config);
    int rc = secret_setup(&err);
    if (rc == 0)
        rc = cli_shelf_open(config, &g.documents, &shelf, &err);
    if (rc == 0)
        rc = seal_given(&g, &shelf, &note, &err);
    if (rc == 0 && g.out != NULL)
        rc = file_write(g.out, buf_view(&note), 0644, &err);
    cli_shelf_close(&shelf);
    if (rc == 0 && g.out == NULL)
        return cli_print(&note);
    buf_done(&note);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, g.json);
}
