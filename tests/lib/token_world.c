/* token_world: a tokend of its own in a temporary folder, and a walk's software around it. */
#include "tests/lib/token_world.h"
#include "common/base/yaml.h"
#include "common/crypto/hash.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NETWORK "example.test"
#define NODE "n2"
static const char *const gate_names[3] = {"n1", "n4", "n5"}, *const last_names[2] = {"n3", "n7"};

#define MUST(condition, ...)                                                                                           \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "token_world: " __VA_ARGS__);                                                        \
            (void)fprintf(stderr, "\n");                                                                               \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static void text(char *ret, size_t size, const char *folder, const char *name)
{
    MUST((size_t)snprintf(ret, size, "%s/%s", folder, name) < size, "path too long");
}

void token_world_new(struct token_world *w, const char *program, unsigned workers)
{
    memset(w, 0, sizeof(*w));
    w->program = program;
    const char *base = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    text(w->folder, sizeof(w->folder), base, "enfilade-tokend-XXXXXX");
    MUST(mkdtemp(w->folder) != NULL, "%s: %s", w->folder, strerror(errno));
    text(w->config, sizeof(w->config), w->folder, "tokend.yaml");
    text(w->socket, sizeof(w->socket), w->folder, "tokend.sock");
    text(w->out, sizeof(w->out), w->folder, "out");
    FILE *f = fopen(w->config, "w");
    MUST(f != NULL, "%s: %s", w->config, strerror(errno));
    (void)fprintf(f,
                  "enfilade: tokend/v1\nnetwork: " NETWORK "\nnode: " NODE "\nmodule: " WORLD_MODULE "\n"
                  "softhsm_conf: softhsm2.conf\npin_file: pin\nidentity: out/identity.pem\ntoken: enfilade\n"
                  "log_token: enfilade-log\nprofile: 1\nsocket: tokend.sock\nworkers: %u\n",
                  workers);
    MUST(fclose(f) == 0, "%s: %s", w->config, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

void token_world_free(struct token_world *w)
{
    if (w->pid != 0) {
        (void)kill(w->pid, SIGTERM);
        (void)waitpid(w->pid, NULL, 0);
    }
    (void)nftw(w->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    ec_key_free(w->e);
    for (int i = 0; i < 3; i++)
        ec_key_free(w->gate[i]);
    for (int i = 0; i < 2; i++)
        ec_key_free(w->last[i]);
    secret_free(w->share);
}

/* ---- processes */

/* seconds: then the process is killed, also when it should have refused to serve and did not; 0: never. */
static pid_t start(const struct token_world *w, const char *const *words, int target, unsigned seconds, int *ret_read)
{
    char *argv[8] = {(char *)(uintptr_t)w->program};
    for (size_t i = 0; words[i] != NULL; i++)
        argv[i + 1] = (char *)(uintptr_t)words[i];
    int p[2];
    MUST(pipe2(p, O_CLOEXEC) == 0, "pipe");
    pid_t pid = fork();
    MUST(pid >= 0, "fork");
    if (pid == 0) {
        (void)alarm(seconds); /* survives execv */
        if (dup2(p[1], target) == target)
            (void)execv(w->program, argv);
        _exit(127);
    }
    (void)close(p[1]);
    *ret_read = p[0];
    return pid;
}

int token_world_command(struct token_world *w, const char *const *words, char *ret_text, size_t size)
{
    int fd, status;
    size_t len = 0;
    ssize_t n;
    pid_t pid = start(w, words, STDERR_FILENO, 20, &fd);
    while (len + 1 < size && (n = read(fd, ret_text + len, size - 1 - len)) > 0)
        len += (size_t)n;
    ret_text[len] = '\0';
    (void)close(fd);
    MUST(waitpid(pid, &status, 0) == pid && WIFEXITED(status), "%s crashed or did not end: %s", w->program, ret_text);
    return WEXITSTATUS(status);
}

void token_world_start(struct token_world *w)
{
    char line[256];
    size_t len = 0;
    int fd;
    w->pid = start(w, (const char *const[]){"run", "--config", w->config, NULL}, STDOUT_FILENO, 0, &fd);
    while (len + 1 < sizeof(line) && read(fd, line + len, 1) == 1 && line[len] != '\n')
        len++;
    line[len] = '\0';
    (void)close(fd);
    MUST(strncmp(line, "ready: ", 7) == 0, "tokend is not ready: \"%s\"", line);
}

void token_world_stop(struct token_world *w)
{
    int status;
    MUST(kill(w->pid, SIGTERM) == 0 && waitpid(w->pid, &status, 0) == w->pid, "tokend is gone");
    w->pid = 0;
    MUST(WIFEXITED(status) && WEXITSTATUS(status) == 0, "tokend ended with status %d", status);
    MUST(access(w->socket, F_OK) != 0, "tokend left its socket");
}

size_t token_world_workers(const struct token_world *w, pid_t *ret, size_t max)
{
    char path[64], line[512];
    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)w->pid, (int)w->pid);
    FILE *f = fopen(path, "r");
    MUST(f != NULL, "%s: %s", path, strerror(errno));
    size_t n = fread(line, 1, sizeof(line) - 1, f), count = 0;
    line[n] = '\0';
    (void)fclose(f);
    for (char *word = strtok(line, " \n"); word != NULL && count < max; word = strtok(NULL, " \n"))
        ret[count++] = (pid_t)strtol(word, NULL, 10);
    return count;
}

/* ---- the walk */

static void read_point(const char *yaml, const char *name, uint8_t *ret, size_t len)
{
    char key[16];
    (void)snprintf(key, sizeof(key), "\n%s: ", name);
    const char *at = strstr(yaml, key);
    MUST(at != NULL, "public.yaml has no %s", name);
    at += strlen(key);
    size_t got;
    MUST(base64_decode(BYTES(at, strcspn(at, "\n")), ret, len, &got) == 0 && got == len, "public.yaml: %s", name);
}

static void read_public(struct token_world *w)
{
    char path[128];
    struct buf b;
    struct err err = {0};
    text(path, sizeof(path), w->out, "public.yaml");
    MUST(file_read(path, 4096, &b, &err) == 0, "%s", err.text);
    const char *yaml = buf_cstr(&b);
    read_point(yaml, "kem", w->kem, EC_POINT_LEN);
    read_point(yaml, "seal", w->seal, EC_POINT_LEN);
    read_point(yaml, "peer", w->peer, EC_POINT_LEN);
    read_point(yaml, "log", w->log, ED25519_PUBLIC_LEN);
    buf_done(&b);
}

static void write_chain(struct token_world *w)
{
    char zeros[65];
    memset(zeros, '0', 64);
    zeros[64] = '\0';
    int n = snprintf(
        w->chain, sizeof(w->chain),
        "enfilade: chain/v1\nnetwork: " NETWORK "\noperation: unlock-db\npolicy: %s\nenvelope: %s\n"
        "not_after: 2096-11-25T19:00:00Z\nstages:\n"
        "  - name: gate\n    need: 2\n    members: [{slot: 3, node: n5}, {slot: 1, node: n1}, {slot: 2, node: n4}]\n"
        "  - name: vault\n    need: 1\n    members: [{slot: 2, node: n6}, {slot: 1, node: n2}]\n"
        "  - name: last\n    need: 1\n    members: [{slot: 2, node: n7}, {slot: 1, node: n3}]\n",
        zeros, zeros);
    MUST(n > 0 && (size_t)n < sizeof(w->chain), "chain too long");
}

static void make_keys(struct token_world *w)
{
    MUST(ec_key_new(&w->e) == 0 && secret_random(SHARE_LEN, &w->share) == 0, "keys");
    ec_key_point(w->e, w->e_point);
    for (int i = 0; i < 3; i++) {
        MUST(ec_key_new(&w->gate[i]) == 0, "keys");
        ec_key_point(w->gate[i], w->gate_point[i]);
        sha256(BYTES_OF(w->gate_point[i]), w->gate_link[i]); /* any 32 bytes */
    }
    for (int i = 0; i < 2; i++) {
        MUST(ec_key_new(&w->last[i]) == 0, "keys");
        ec_key_point(w->last[i], w->last_point[i]);
    }
    sha256(bytes_str("own link"), w->own_link);
    sha256(bytes_str("client key"), w->client_key_hash);
    sha256(bytes_str("client nonce"), w->client_nonce);
    context_prevhash((const uint8_t(*)[HASH_LEN])w->gate_link, WORLD_NEED, w->prevhash);
}

void token_world_init(struct token_world *w)
{
    char said[1024];
    int code = token_world_command(w, (const char *const[]){"init", "--config", w->config, "--out", w->out, NULL}, said,
                                   sizeof(said));
    MUST(code == 0, "init ended with %d: %s", code, said);
    read_public(w);
    write_chain(w);
    make_keys(w);
    w->fields = (struct share_fields){.profile = 1,
                                      .network = bytes_str(NETWORK),
                                      .policy_name = bytes_str("db-policy"),
                                      .generation = 1,
                                      .stage = 2,
                                      .slot = 1};
    memset(w->fields.owner, 0x11, sizeof(w->fields.owner));
    memset(w->fields.envelope_id, 0x22, sizeof(w->fields.envelope_id));
    MUST(share_seal(&w->fields, w->seal, w->share, &w->sealed) == 0, "seal");
}

void token_world_request(struct token_world *w, struct world_request *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < WORLD_NEED; i++)
        ret->previous[i] = (struct msg_token_peer){i + 1, bytes_str(gate_names[i]), BYTES_OF(w->gate_point[i]),
                                                   BYTES_OF(w->gate_link[i])};
    for (size_t i = 0; i < 2; i++)
        ret->next[i] = (struct msg_token_peer){i + 1, bytes_str(last_names[i]), BYTES_OF(w->last_point[i]), BYTES_NONE};
    ret->m.type = MESSAGE_TOKEN_RELEASE;
    struct msg_token_release *r = &ret->m.token_release;
    *r = (struct msg_token_release){
        .owner = BYTES_OF(w->fields.owner),
        .policy_name = w->fields.policy_name,
        .envelope_id = BYTES_OF(w->fields.envelope_id),
        .generation = 1,
        .stage = 2,
        .slot = 1,
        .point = BYTES_OF(w->sealed.point),
        .sealed = BYTES_OF(w->sealed.sealed),
        .session_key = BYTES_OF(w->e_point),
        .client_key_hash = BYTES_OF(w->client_key_hash),
        .client_nonce = BYTES_OF(w->client_nonce),
        .chain = bytes_str(w->chain),
        .prevhash = BYTES_OF(w->prevhash),
        .link_hash = BYTES_OF(w->own_link),
        .tag_profile = 1,
    };
    r->previous.at = ret->previous;
    r->previous.count = WORLD_NEED;
    r->next.at = ret->next;
    r->next.count = 2;
}

/* ---- the workload's side */

static void session_of(const struct token_world *w, struct session_fields *f)
{
    struct sid_fields sid = {.network = bytes_str(NETWORK)};
    ec_point_spki_hash(w->e_point, sid.eid);
    memcpy(sid.client_key_hash, w->client_key_hash, HASH_LEN);
    memcpy(sid.client_nonce, w->client_nonce, NONCE_LEN);
    sha256(bytes_str(w->chain), sid.chain_hash);
    *f = (struct session_fields){.profile = 1, .node = bytes_str(NODE), .stage = 2, .slot = 1};
    context_sid(&sid, f->sid);
    ec_point_spki_hash(w->kem, f->kem_hash);
    memcpy(f->prevhash, w->prevhash, HASH_LEN);
}

/* What the members before gave to the workload: their tags, from their own side of the agreement. */
static int add_locks(const struct token_world *w, struct session_fields *f)
{
    for (size_t i = 0; i < WORLD_NEED; i++) {
        uint8_t ctx[HASH_LEN];
        struct secret *tag = NULL;
        struct bytes a = bytes_str(gate_names[i]);
        context_tag(1, f->sid, a, bytes_str(NODE), w->gate_link[i], ctx);
        TRY(derive(1, w->gate[i], BYTES_OF(w->peer), ctx, &tag));
        int rc = derive_lock(tag, a, bytes_str(NODE), f->lock[i]);
        secret_free(tag);
        TRY(rc);
    }
    f->lock_count = WORLD_NEED;
    return 0;
}

static int compare_tag(const struct token_world *w, const struct session_fields *f, const struct secret *kek, size_t i,
                       const struct msg_wrapped_tag *wrapped, struct err *err)
{
    uint8_t ctx[HASH_LEN];
    struct secret *got = NULL, *want = NULL;
    context_tag(1, f->sid, bytes_str(NODE), bytes_str(last_names[i]), w->own_link, ctx);
    int rc = wrapped->slot == i + 1 ? share_open_tag(kek, wrapped->tag, &got) : ERR_ORDER;
    if (rc == 0)
        rc = derive(1, w->last[i], BYTES_OF(w->peer), ctx, &want);
    if (rc == 0 && !secret_equal(got, want))
        rc = ERR_INTEGRITY;
    secret_free(got);
    secret_free(want);
    return rc == 0 ? 0 : err_set(err, rc, "tag %zu", i);
}

static int compare(const struct token_world *w, const struct session_fields *f, const struct secret *kek,
                   const struct msg_answer *a, struct err *err)
{
    struct secret *share = NULL;
    int rc = share_open(kek, a->share, &w->fields, w->sealed.commitment, &share);
    if (rc == 0 && !secret_equal(share, w->share))
        rc = ERR_INTEGRITY;
    secret_free(share);
    if (rc != 0)
        return err_set(err, rc, "share");
    if (a->tags.count != 2)
        return err_set(err, ERR_FORMAT, "%zu tags", a->tags.count);
    for (size_t i = 0; i < 2; i++)
        TRY(compare_tag(w, f, kek, i, &a->tags.at[i], err));
    return 0;
}

int token_world_open(const struct token_world *w, struct bytes answer, struct err *err)
{
    struct session_fields f;
    struct message *m = NULL;
    struct secret *kek = NULL;
    TRY(message_unpack(MESSAGE_ANSWER, answer, &m, err));
    session_of(w, &f);
    int rc = add_locks(w, &f);
    if (rc == 0)
        rc = share_kek(w->e, w->kem, &f, &kek);
    if (rc != 0)
        (void)err_set(err, rc, "session key");
    else
        rc = compare(w, &f, kek, &m->answer, err);
    secret_free(kek);
    message_free(m);
    return rc;
}
