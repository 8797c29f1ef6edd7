/* log_world: the log's surroundings for tests. */
#include "tests/lib/log_world.h"
#include "common/ledger/entry.h"
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Atomic unsigned world_syncs, world_syncs_to_fail, world_fail_at;
_Atomic bool world_disk_full;

/* These stand before libc's own for the whole process, LMDB included. */
static bool fails(void)
{
    if (world_fail_at == 0 || --world_fail_at > 0)
        return false;
    errno = EIO;
    return true;
}

ssize_t pwrite(int fd, const void *p, size_t len, off_t at)
{
    return fails() ? -1 : syscall(SYS_pwrite64, fd, p, len, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return fails() ? -1 : syscall(SYS_writev, fd, parts, count);
}

int fdatasync(int fd)
{
    if (fails())
        return -1;
    if (world_syncs_to_fail > 0) {
        world_syncs_to_fail--;
        errno = EIO;
        return -1;
    }
    int rc = (int)syscall(SYS_fdatasync, fd);
    world_syncs++;
    return rc;
}

int fstatvfs(int fd, struct statvfs *ret)
{
    (void)fd;
    *ret = (struct statvfs){.f_frsize = 4096, .f_bavail = world_disk_full ? 16 : 1u << 20};
    return 0;
}

/* ---- the token */

static void answer(struct world *w)
{
    struct checkpoint c = {.size = w->question.size};
    struct err err = {.code = 0};
    struct buf text;
    uint8_t sig[ED25519_SIGNATURE_LEN];
    if (!w->question.waiting || w->mode == TOKEN_HANGS)
        return;
    if (w->mode == TOKEN_KILLED)
        kill(getpid(), SIGKILL);
    w->question.waiting = false;
    if (w->mode == TOKEN_AWAY) {
        (void)err_set(&err, ERR_TOKEN, "the token is away");
        w->question.done(w->question.arg, NULL, &err);
        return;
    }
    memcpy(c.origin, w->key.name, sizeof(c.origin));
    memcpy(c.root, w->question.root, HASH_LEN);
    c.root[0] ^= w->mode == TOKEN_LIES;
    buf_init(&text, CHECKPOINT_MAX);
    checkpoint_text(&c, &text);
    assert(ed25519_sign(w->secret, buf_view(&text), sig) == 0);
    buf_done(&text);
    w->signed_++;
    const struct message m = {.type = MESSAGE_TOKEN_SIGNATURE, .token_signature = {.signature = BYTES_OF(sig)}};
    w->question.done(w->question.arg, &m, NULL);
}

static void on_timer(uv_timer_t *timer)
{
    answer(timer->data);
}

static int ask(struct token *t, struct message *m, unsigned deadline_ms, token_done done, void *arg)
{
    struct world *w = t->self;
    (void)deadline_ms;
    assert(m->type == MESSAGE_TOKEN_SIGN && m->token_sign.root.len == HASH_LEN && !w->question.waiting);
    w->asked++;
    w->question.done = done;
    w->question.arg = arg;
    w->question.size = m->token_sign.size;
    w->question.waiting = true;
    memcpy(w->question.root, m->token_sign.root.p, HASH_LEN);
    uv_timer_start(&w->timer, on_timer, 0, 0);
    return 0;
}

static const char *health(const struct token *t)
{
    (void)t;
    return "ok";
}

/* ---- the clock */

static uint64_t now_ms(void *arg)
{
    return ((struct world *)arg)->now_ms;
}

static uint64_t monotonic_ms(void *arg)
{
    return ((struct world *)arg)->monotonic_ms;
}

void world_tick(struct world *w, uint64_t ms)
{
    w->monotonic_ms += ms;
    w->now_ms += ms;
    node_log_tick(w->log);
    if (w->question.waiting)
        uv_timer_start(&w->timer, on_timer, 0, 0);
}

/* ---- open and close */

void world_folder(struct world *w)
{
    struct secret *seed = NULL;
    uint8_t public[ED25519_PUBLIC_LEN];
    *w = (struct world){.now_ms = 1000, .monotonic_ms = 1000};
    strcpy(w->folder, "/tmp/enfilade-log-XXXXXX");
    assert(mkdtemp(w->folder) != NULL);
    uint8_t bytes[32] = {7};
    assert(secret_copy(BYTES_OF(bytes), &seed) == 0 && ed25519_key_from_seed(seed, &w->secret) == 0);
    secret_free(seed);
    ed25519_key_public(w->secret, public);
    assert(note_key_make("example.test/n1/log", public, &w->key) == 0);
}

void world_remove(struct world *w)
{
    char path[512];
    DIR *d = opendir(w->folder);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        (void)snprintf(path, sizeof(path), "%s/%s", w->folder, e->d_name);
        (void)unlink(path);
    }
    if (d != NULL)
        closedir(d);
    (void)rmdir(w->folder);
    ed25519_key_free(w->secret);
}

static void on_ready(void *arg, const struct err *err)
{
    struct world *w = arg;
    assert(!w->is_ready);
    w->is_ready = true;
    w->signed_at_ready = w->signed_;
    w->ready_err = err != NULL ? *err : (struct err){.code = 0};
}

void world_until(struct world *w, const bool *flag)
{
    alarm(120);
    while (!*flag)
        uv_run(&w->loop, UV_RUN_ONCE);
}

void world_until_count(struct world *w, const size_t *counter, size_t value)
{
    alarm(120);
    while (*counter < value)
        uv_run(&w->loop, UV_RUN_ONCE);
}

int world_open(struct world *w, size_t map_bytes)
{
    struct err err = {.code = 0};
    w->is_ready = w->is_stopped = false;
    w->question.waiting = false;
    w->asked = w->signed_ = 0;
    w->token = (struct token){.ask = ask, .health = health, .self = w};
    int rc = store_open(w->folder, map_bytes, false, &w->store, &err);
    if (rc != 0) {
        w->ready_err = err;
        return rc;
    }
    assert(uv_loop_init(&w->loop) == 0 && uv_timer_init(&w->loop, &w->timer) == 0);
    w->timer.data = w;
    assert(worker_start(&w->loop, 1, 64, &w->pool) == 0);
    struct node_log_settings s = {.store = w->store,
                                  .store_thread = w->pool,
                                  .token = &w->token,
                                  .clock = {now_ms, monotonic_ms, w},
                                  .network = "example.test",
                                  .node = "n1",
                                  .key = w->key};
    assert(node_log_start(&s, on_ready, w, &w->log, &err) == 0);
    world_until(w, &w->is_ready);
    return w->ready_err.code;
}

static void on_stopped(void *arg)
{
    *(bool *)arg = true;
}

void world_close(struct world *w)
{
    bool pool_stopped = false;
    node_log_stop(w->log, on_stopped, &w->is_stopped);
    assert(!w->is_stopped);
    world_until(w, &w->is_stopped);
    w->log = NULL;
    worker_stop(w->pool, on_stopped, &pool_stopped);
    world_until(w, &pool_stopped);
    uv_close((uv_handle_t *)&w->timer, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert(uv_loop_close(&w->loop) == 0);
    store_close(w->store);
}

struct store *world_store(const struct world *w, bool read_only)
{
    struct store *s = NULL;
    struct err err;
    assert(store_open(w->folder, 64u << 20, read_only, &s, &err) == 0);
    return s;
}

/* ---- appends that check what they get */

static void check(struct visit_entry *v)
{
    struct checkpoint c = {.size = 0};
    struct message *m = NULL;
    uint64_t index = 0;
    int rc = receipt_verify(v->append.receipt, v->append.entry_bytes, &v->world->key, &index, &c, &v->err);
    if (rc == 0)
        rc = entry_parse(v->append.entry_bytes, &m, &v->err);
    if (rc == 0 && (index != v->append.entry_index || m->entry.index != index || m->entry.time_ms < 1000))
        (void)err_set(&v->err, ERR_INTEGRITY, "entry and receipt differ");
    message_free(m);
    v->checkpoint_size = c.size;
}

static void on_done(struct log_append *a, const struct err *err)
{
    struct visit_entry *v = a->arg;
    assert(!v->done);
    v->done = true;
    v->index = a->entry_index;
    v->err = (struct err){.code = 0};
    if (err != NULL) {
        assert(err->code != 0 && err->text[0] != '\0');
        v->err = *err;
    } else {
        check(v);
        assert(world_syncs > v->syncs_before || a->with == NULL);
        buf_put(&v->entry, a->entry_bytes);
        buf_put(&v->receipt, a->receipt);
    }
    if (v->done_count != NULL)
        ++*v->done_count;
}

void world_entry(struct world *w, struct visit_entry *v, uint64_t number, size_t *done_count)
{
    *v = (struct visit_entry){.world = w, .done_count = done_count, .syncs_before = world_syncs};
    for (size_t i = 0; i < 8; i++)
        v->hash[i] = (uint8_t)(number >> (56 - 8 * i));
    v->hash[31] = 1;
    memcpy(v->link_hash, v->hash, HASH_LEN);
    struct bytes h = BYTES_OF(v->hash);
    v->append.entry = (struct msg_entry){.type = ENTRY_GRANT,
                                         .walk_id = BYTES(v->hash, 16),
                                         .policy_hash = h,
                                         .evidence = h,
                                         .subject = h,
                                         .secret = h,
                                         .link_hash = BYTES_OF(v->link_hash),
                                         .response_hash = h};
    v->append.done = on_done;
    v->append.arg = v;
    buf_init(&v->entry, ENTRY_MAX);
    buf_init(&v->receipt, RECEIPT_MAX);
}

void world_entry_done(struct visit_entry *v)
{
    buf_done(&v->entry);
    buf_done(&v->receipt);
}
