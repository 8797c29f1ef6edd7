/* server: starts, runs and stops one node. */
#include "node/server.h"
#include "common/base/log.h"
#include "node/control.h"
#include "node/denial.h"
#include "node/intake.h"
#include "node/leaf.h"
#include "node/papers.h"
#include "node/session.h"
#include "node/sweep.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#define MAP_BYTES ((size_t)16 * 1024 * 1024 * 1024)
#define QUEUE_MAX 8192u
#define TICK_MS 1000u
#define TICKS_PER_MINUTE 60u
#define LOG_TICK_MS 100u
#define KEYS_DEADLINE_MS 5000u
#define DRAIN_MS 5000u

struct server {
    uv_loop_t loop;
    struct node node;
    struct session_host host;
    struct ask *ask;
    struct leaf *leaf;
    struct control *control;
    uv_tcp_t listener[NODE_LISTEN_MAX];
    size_t listener_count;
    uv_timer_t tick, drain, log_tick;
    uv_signal_t on_term, on_int, on_hup;
    unsigned ticks;
    uint64_t drain_from_ms;
    bool asking_keys, log_started, log_restarting, listening, stopping;
    struct err err;               /* why it stops; code 0: asked to */
    char last_wait[ERR_TEXT_MAX]; /* what it said last about waiting, so that it says it once */
    struct log_append start_entry;
};

static void begin_stop(struct server *s);

static void fail(struct server *s, const struct err *err)
{
    if (s->err.code == 0)
        s->err = *err;
    begin_stop(s);
}

static void say_once(struct server *s, const char *text)
{
    if (strcmp(s->last_wait, text) == 0)
        return;
    (void)snprintf(s->last_wait, sizeof(s->last_wait), "%s", text);
    log_warn("%s", text);
}

/* ---- listening */

static void on_connection(uv_stream_t *listener, int status)
{
    struct server *s = listener->data;
    if (status != 0)
        return;
    session_accept(&s->host, listener, leaf_context(s->leaf));
}

static int listen_on(struct server *s, const char *address, struct err *err)
{
    struct sockaddr_storage to;
    if (conn_parse_address(address, &to) != 0)
        return err_set(err, ERR_CONFIG, "field listen: '%s' is not a numeric address with a port", address);
    uv_tcp_t *l = &s->listener[s->listener_count++];
    (void)uv_tcp_init(&s->loop, l);
    l->data = s;
    int rc = uv_tcp_bind(l, (struct sockaddr *)&to, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)l, 512, on_connection);
    if (rc == UV_EADDRINUSE)
        return err_set(err, ERR_CONFIG, "field listen: %s is taken by another program; stop it or choose another port",
                       address);
    if (rc != 0)
        return err_set(err, ERR_CONFIG, "field listen: %s: %s", address, uv_strerror(rc));
    return 0;
}

static void start_listening(struct server *s)
{
    const struct node_config *c = s->node.config;
    struct err err = {.code = 0};
    for (size_t i = 0; i < c->listen_count && err.code == 0; i++)
        (void)!listen_on(s, c->listen[i], &err);
    if (err.code != 0) {
        fail(s, &err);
        return;
    }
    s->listening = true;
    log_info("ready: %s/%s serves on %s", c->network, c->name, c->listen[0]);
}

static void on_leaf_changed(void *arg, const struct err *err)
{
    struct server *s = arg;
    if (err != NULL)
        say_once(s, err->text);
    else if (!s->listening && !s->stopping)
        start_listening(s);
}

static void start_leaf(struct server *s)
{
    struct err err = {.code = 0};
    if (leaf_new(&s->node, on_leaf_changed, s, &s->leaf, &err) != 0) {
        fail(s, &err);
        return;
    }
    leaf_tick(s->leaf);
}

/* ---- ledger */

static void on_start_entry(struct log_append *a, const struct err *err)
{
    struct server *s = a->arg;
    if (err != NULL && err->code != ERR_TOKEN)
        fail(s, err);
}

static void on_log_gone(void *arg)
{
    struct server *s = arg;
    s->node.log = NULL;
    s->log_restarting = s->log_started = false; /* the next tick asks tokend and begins again */
}

static void on_log_ready(void *arg, const struct err *err)
{
    struct server *s = arg;
    if (s->stopping)
        return;
    if (err != NULL && err->code == ERR_TOKEN) { /* tokend went away meanwhile: that is no reason to give up */
        say_once(s, err->text);
        s->log_restarting = true;
        node_log_stop(s->node.log, on_log_gone, s);
        return;
    }
    if (err != NULL) {
        fail(s, err);
        return;
    }
    s->start_entry = (struct log_append){.entry = {.type = ENTRY_START}, .done = on_start_entry, .arg = s};
    int rc = node_log_append(s->node.log, &s->start_entry);
    if (rc != 0) {
        struct err mine = {.code = 0};
        (void)err_set(&mine, rc, "the ledger does not take this start: %s", err_advice_text(rc));
        fail(s, &mine);
        return;
    }
    papers_flush(&s->node);
    start_leaf(s);
}

static void start_log(struct server *s)
{
    struct node *n = &s->node;
    const struct document *roster = shelf_find(n->shelf, DOCUMENT_ROSTER, BYTES_NONE);
    const struct roster_node *me = roster_find(roster, bytes_str(n->config->name));
    struct node_log_settings settings = {.store = n->store,
                                         .store_thread = n->store_thread,
                                         .token = n->token,
                                         .clock = n->clock,
                                         .network = n->config->network,
                                         .node = n->config->name,
                                         .key = me->log};
    struct err err = {.code = 0};
    if (node_log_start(&settings, on_log_ready, s, &n->log, &err) != 0)
        fail(s, &err);
}

/* ---- token */

/* At start, and again when the token is there: the roster may have changed meanwhile. */
static int check_me(const struct node *n, struct err *err)
{
    const struct document *roster = shelf_find(n->shelf, DOCUMENT_ROSTER, BYTES_NONE);
    if (roster == NULL)
        return err_set(err, ERR_CONFIG, "no roster: put the network's roster into the documents folder");
    const struct roster_node *me = roster_find(roster, bytes_str(n->config->name));
    unsigned role = n->config->hsm ? NODE_HSM : NODE_CONFIG;
    if (me == NULL || (me->roles & role) == 0)
        return err_set(err, ERR_CONFIG, "field name: the roster has no node %s with role %s", n->config->name,
                       n->config->hsm ? "hsm" : "config");
    return 0;
}

static bool same(struct bytes token, const uint8_t *roster, size_t len)
{
    return bytes_equal(token, BYTES(roster, len));
}

/* The token must be the one that the roster promises to everyone. */
static int check_keys(struct server *s, const struct msg_token_public *p, struct err *err)
{
    struct node *n = &s->node;
    const struct document *roster = shelf_find(n->shelf, DOCUMENT_ROSTER, BYTES_NONE);
    const struct roster_node *me = roster_find(roster, bytes_str(n->config->name));
    const char *wrong = !same(p->kem, me->kem, EC_POINT_LEN)                      ? "kem"
                        : !same(p->seal, me->seal, EC_POINT_LEN)                  ? "seal"
                        : !same(p->peer, me->peer, EC_POINT_LEN)                  ? "peer"
                        : !same(p->log, me->log.public, ED25519_PUBLIC_LEN)       ? "log"
                        : !same(p->mirror, me->mirror.public, ED25519_PUBLIC_LEN) ? "mirror"
                        : p->profile != me->profile                               ? "profile"
                                                                                  : NULL;
    if (wrong != NULL)
        return err_set(err, ERR_KEYS,
                       "the token's %s is not what the roster has for %s: another token, or an old roster", wrong,
                       n->config->name);
    memcpy(n->keys.kem, me->kem, EC_POINT_LEN);
    memcpy(n->keys.seal, me->seal, EC_POINT_LEN);
    memcpy(n->keys.peer, me->peer, EC_POINT_LEN);
    n->keys.profile = me->profile;
    ec_point_spki_hash(n->keys.kem, n->keys.kem_hash);
    return 0;
}

static void on_keys(void *arg, const struct message *reply, const struct err *err)
{
    struct server *s = arg;
    s->asking_keys = false;
    if (s->stopping)
        return;
    if (reply == NULL) {
        char text[ERR_TEXT_MAX];
        (void)snprintf(text, sizeof(text), "waiting for tokend at %s: %.300s", s->node.config->socket, err->text);
        say_once(s, text);
        return; /* the next tick asks again */
    }
    struct err mine = {.code = 0};
    if (check_me(&s->node, &mine) != 0 || check_keys(s, &reply->token_public, &mine) != 0) {
        fail(s, &mine);
        return;
    }
    s->log_started = true;
    start_log(s);
}

static void ask_keys(struct server *s)
{
    struct message m = {.type = MESSAGE_TOKEN_PUBLIC_GET};
    s->asking_keys = s->node.token->ask(s->node.token, &m, KEYS_DEADLINE_MS, on_keys, s) == 0;
}

/* ---- time */

/* Also what could not be written before, and what arrived from a connection that is gone. */
static void on_papers_changed(void *arg)
{
    struct server *s = arg;
    papers_flush(&s->node);
    if (papers_take_trust_changed(&s->node) && s->leaf != NULL)
        leaf_trust_changed(s->leaf);
}

static void on_tick(uv_timer_t *timer)
{
    struct server *s = timer->data;
    if (s->node.config->hsm && !s->log_started && !s->asking_keys)
        ask_keys(s);
    if (s->leaf != NULL)
        leaf_tick(s->leaf);
    on_papers_changed(s);
    if (s->node.log == NULL)
        return;
    const struct err *broken = node_log_broken(s->node.log);
    if (broken != NULL)
        say_once(s, broken->text);
    sweep_tick(&s->node);
    if (++s->ticks % TICKS_PER_MINUTE == 0)
        denials_tick(s->node.denials);
}

/* Until the log has stopped: draining needs it too. */
static void on_log_tick(uv_timer_t *timer)
{
    struct server *s = timer->data;
    if (s->node.log != NULL)
        node_log_tick(s->node.log);
}

static void on_reloaded(void *arg, unsigned accepted, const struct err *err)
{
    if (err != NULL)
        log_warn("reload: %s", err->text);
    log_info("reload: %u new documents", accepted);
    on_papers_changed(arg);
}

static void on_reload(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    (void)number;
    int rc = s->stopping ? 0 : intake_folder(&s->node, on_reloaded, s);
    if (rc != 0)
        log_warn("reload: %s", rc == ERR_NOT_FOUND ? "no folder of documents is configured" : err_advice_text(rc));
}

/* ---- stopping: listeners, sessions, control, ledger, token, threads, in this order */

static void close_rest(void *arg)
{
    struct server *s = arg;
    uv_close((uv_handle_t *)&s->tick, NULL);
    uv_close((uv_handle_t *)&s->drain, NULL);
    uv_close((uv_handle_t *)&s->log_tick, NULL);
    uv_close((uv_handle_t *)&s->on_term, NULL);
    uv_close((uv_handle_t *)&s->on_int, NULL);
    uv_close((uv_handle_t *)&s->on_hup, NULL);
}

static void stop_store_thread(void *arg)
{
    struct server *s = arg;
    worker_stop(s->node.store_thread, close_rest, s);
}

static void stop_workers(void *arg)
{
    struct server *s = arg;
    worker_stop(s->node.workers, stop_store_thread, s);
}

static void stop_ask(void *arg)
{
    struct server *s = arg;
    s->node.log = NULL; /* it freed itself */
    if (s->ask != NULL)
        ask_stop(s->ask, stop_workers, s);
    else
        stop_workers(s);
}

static void stop_log(void *arg)
{
    struct server *s = arg;
    if (s->node.log != NULL)
        node_log_stop(s->node.log, stop_ask, s);
    else
        stop_ask(s);
}

static void stop_control(struct server *s)
{
    if (s->control != NULL)
        control_stop(s->control, stop_log, s);
    else
        stop_log(s);
}

/* Sessions end by themselves; after DRAIN_MS the rest is cut off. */
static void on_drain(uv_timer_t *timer)
{
    struct server *s = timer->data;
    uint64_t waited = uv_now(&s->loop) - s->drain_from_ms;
    session_drain(&s->host, waited > DRAIN_MS);
    if (s->host.sessions != NULL || s->node.visits != NULL || s->node.papers.intakes != NULL)
        return;
    if ((s->node.papers.writing > 0 && waited < DRAIN_MS) || s->log_restarting)
        return;
    (void)uv_timer_stop(timer);
    stop_control(s);
}

static void begin_stop(struct server *s)
{
    if (s->stopping)
        return;
    s->stopping = true;
    s->node.draining = true;
    log_info("stopping: %s", s->err.code != 0 ? s->err.text : "asked to");
    papers_flush(&s->node);
    for (size_t i = 0; i < s->listener_count; i++)
        uv_close((uv_handle_t *)&s->listener[i], NULL);
    (void)uv_timer_stop(&s->tick);
    s->drain_from_ms = uv_now(&s->loop);
    (void)uv_timer_start(&s->drain, on_drain, 0, 10);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    begin_stop(handle->data);
}

/* ---- starting */

static int make_state(const char *state, struct err *err)
{
    struct stat st;
    if (mkdir(state, 0700) != 0 && errno != EEXIST)
        return err_set(err, ERR_CONFIG, "field state: %s cannot be made: %s", state, strerror(errno));
    if (stat(state, &st) != 0 || !S_ISDIR(st.st_mode) || (st.st_mode & 077) != 0)
        return err_set(err, ERR_CONFIG, "field state: %s must be a folder that only its owner may enter (chmod 700)",
                       state);
    return 0;
}

static int open_store(struct node *n, struct err *err)
{
    struct buf path;
    buf_init(&path, 4096);
    buf_printf(&path, "%s/store", n->config->state);
    char *text = buf_cstr(&path);
    int rc = text != NULL ? store_open(text, MAP_BYTES, false, &n->store, err) : ERR_NOMEM;
    buf_done(&path);
    return rc;
}

/* A document that is refused at the start is a mistake in a file, as the rest of the configuration is. */
static int load_papers(struct node *n, struct err *err)
{
    int rc = papers_load(n, err);
    enum exit_code exit = err_exit(rc);
    if (rc != ERR_INTEGRITY && (exit == EXIT_DENIED || exit == EXIT_INTEGRITY))
        err->code = rc = ERR_CONFIG;
    return rc;
}

/* What only shows when the token is there or the first client comes must not wait until then. */
static int check_files(const struct node_config *c, struct err *err)
{
    struct buf identity;
    struct sockaddr_storage to;
    for (size_t i = 0; i < c->listen_count; i++)
        if (conn_parse_address(c->listen[i], &to) != 0)
            return err_set(err, ERR_CONFIG,
                           "field listen: '%s' is not a numeric address with a port (\"127.0.0.1:7600\")",
                           c->listen[i]);
    int rc = file_read(c->identity, 64 * 1024, &identity, err);
    buf_done(&identity);
    if (rc != 0) {
        (void)err_wrap(err, rc, "field identity");
        err->code = ERR_CONFIG;
    }
    return rc == 0 ? 0 : ERR_CONFIG;
}

static int prepare(struct server *s, struct err *err)
{
    struct node *n = &s->node;
    const struct node_config *c = n->config;
    TRY(check_files(c, err));
    TRY(make_state(c->state, err));
    TRY(open_store(n, err));
    if (shelf_new(c->network, c->root_hash, &n->shelf) != 0 || denials_new(n, &n->denials) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    TRY(load_papers(n, err));
    TRY(check_me(n, err));
    s->host = (struct session_host){.node = n, .loop = &s->loop, .papers_changed = on_papers_changed, .arg = s};
    s->host.limits = limits_new(c->connections, c->connections_per_address, c->begins_per_minute);
    return s->host.limits != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

static void start_handles(struct server *s)
{
    (void)uv_timer_init(&s->loop, &s->tick);
    (void)uv_timer_init(&s->loop, &s->drain);
    (void)uv_timer_init(&s->loop, &s->log_tick);
    (void)uv_signal_init(&s->loop, &s->on_term);
    (void)uv_signal_init(&s->loop, &s->on_int);
    (void)uv_signal_init(&s->loop, &s->on_hup);
    s->tick.data = s->log_tick.data = s->drain.data = s->on_term.data = s->on_int.data = s->on_hup.data = s;
    (void)uv_signal_start(&s->on_term, on_signal, SIGTERM);
    (void)uv_signal_start(&s->on_int, on_signal, SIGINT);
    (void)uv_signal_start(&s->on_hup, on_reload, SIGHUP);
    (void)uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    (void)uv_timer_start(&s->log_tick, on_log_tick, LOG_TICK_MS, LOG_TICK_MS);
}

static int start_threads(struct server *s, struct err *err)
{
    struct node *n = &s->node;
    if (worker_start(&s->loop, n->config->workers, QUEUE_MAX, &n->workers) != 0 ||
        worker_start(&s->loop, 1, QUEUE_MAX, &n->store_thread) != 0)
        return err_set(err, ERR_INTERNAL, "threads cannot be started");
    return 0;
}

static void start_service(struct server *s)
{
    struct node *n = &s->node;
    struct err err = {.code = 0};
    int rc = control_start(&s->loop, n, &s->control, &err);
    if (rc == 0 && n->config->hsm) {
        rc = ask_start(&s->loop, n->config->socket, n->config->token_uid, &s->ask, &err);
        if (rc == 0) {
            n->token = ask_token(s->ask);
            ask_keys(s);
        }
    } else if (rc == 0) {
        papers_flush(n);
        start_leaf(s);
    }
    if (rc != 0)
        fail(s, &err);
}

static void clean_up(struct server *s)
{
    leaf_free(s->leaf);
    denials_free(s->node.denials);
    limits_free(s->host.limits);
    papers_forget(&s->node);
    shelf_free(s->node.shelf);
    store_close(s->node.store);
}

int server_run(const struct node_config *config, struct err *err)
{
    struct server *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    s->node = (struct node){.config = config, .clock = clock_system(), .rng = rng_system()};
    s->node.started_ms = s->node.clock.monotonic_ms(s->node.clock.arg);
    int rc = uv_loop_init(&s->loop) == 0 ? prepare(s, err) : err_set(err, ERR_INTERNAL, "no event loop");
    if (rc == 0)
        rc = start_threads(s, err);
    if (rc == 0) {
        start_handles(s);
        start_service(s);
        (void)uv_run(&s->loop, UV_RUN_DEFAULT);
        rc = s->err.code;
        if (rc != 0)
            *err = s->err;
    }
    clean_up(s);
    (void)uv_loop_close(&s->loop);
    free(s);
    return rc;
}
