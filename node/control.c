/* control: status, explanations and ledger entries for the operator on this host. */
#include "node/control.h"
#include "common/base/log.h"
#include "common/net/conn.h"
#include "node/denial.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#define IDLE_MS 30000u
#define ENTRIES_MAX 1024u
#define PATH_BYTES 108u

struct client {
    struct control *control;
    struct conn *conn;
    bool closed; /* the connection is gone; a job is still under way */
    bool busy;
    struct worker_job job;
    uint8_t denial_id[DENIAL_ID_LEN];
    struct buf record;
    struct client *next, *previous;
};

struct control {
    struct node *node;
    uv_pipe_t listener;
    char path[PATH_BYTES];
    struct client *clients;
    bool listener_closed;
    void (*stopped)(void *arg); /* set: stopping */
    void *arg;
};

static void finish_stop(struct control *o)
{
    if (!o->listener_closed || o->clients != NULL)
        return;
    void (*stopped)(void *arg) = o->stopped;
    void *arg = o->arg;
    free(o);
    stopped(arg);
}

/* ---- answers */

static void reply(struct client *c, const struct message *m)
{
    struct err err = {.code = 0};
    c->busy = false;
    int rc = conn_send(c->conn, m, &err);
    if (rc != 0) {
        conn_abort(c->conn, rc, err.code != 0 ? err.text : "the answer could not be sent");
        return;
    }
    conn_pause(c->conn, false);
    conn_deadline(c->conn, IDLE_MS, "idle");
}

static void reply_error(struct client *c, int code)
{
    struct message m = {.type = MESSAGE_DENY, .deny = {.code = err_wire(code)}};
    reply(c, &m);
}

struct version_list {
    struct msg_document_version at[2048];
    size_t count;
};

static void add_version(void *arg, struct document *d)
{
    struct version_list *l = arg;
    if (l->count < sizeof(l->at) / sizeof(l->at[0]))
        l->at[l->count++] = (struct msg_document_version){bytes_str(document_type_name(d->type)), bytes_str(d->name),
                                                          d->version, BYTES_OF(d->hash)};
}

static void on_status(struct client *c, const struct message *in)
{
    (void)in;
    struct node *n = c->control->node;
    struct version_list *versions = calloc(1, sizeof(*versions));
    if (versions == NULL) {
        reply_error(c, ERR_NOMEM);
        return;
    }
    shelf_each(n->shelf, add_version, versions);
    struct msg_counter counters[] = {
#define NODE_COUNTER(name) {bytes_str(#name), n->counters.name},
        NODE_COUNTERS(NODE_COUNTER)
#undef NODE_COUNTER
    };
    uint8_t root[HASH_LEN] = {0};
    struct message m = {.type = MESSAGE_STATUS,
                        .status = {.network = bytes_str(n->config->network),
                                   .node = bytes_str(n->config->name),
                                   .role = bytes_str(n->config->hsm ? "hsm" : "config"),
                                   .version = bytes_str(ENFILADE_VERSION),
                                   .uptime_ms = n->clock.monotonic_ms(n->clock.arg) - n->started_ms,
                                   .token = bytes_str(n->token != NULL ? n->token->health(n->token) : "none")}};
    if (n->log != NULL) {
        node_log_head(n->log, &m.status.tree_size, root);
        m.status.root_hash = BYTES_OF(root);
    }
    m.status.documents.at = versions->at;
    m.status.documents.count = versions->count;
    m.status.counters.at = counters;
    m.status.counters.count = sizeof(counters) / sizeof(counters[0]);
    reply(c, &m);
    free(versions);
}

static void client_free(struct client *c)
{
    struct control *o = c->control;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        o->clients = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    buf_done(&c->record);
    free(c);
    finish_stop(o);
}

static void explain_run(struct worker_job *job)
{
    struct client *c = (struct client *)((char *)job - offsetof(struct client, job));
    struct store_txn *t = NULL;
    struct bytes record;
    if (store_begin(c->control->node->store, false, &t, NULL) != 0)
        return;
    if (denial_find(t, BYTES_OF(c->denial_id), &record) == 0)
        buf_put(&c->record, record);
    store_abort(t);
}

static void explain_done(struct worker_job *job, bool cancelled)
{
    struct client *c = (struct client *)((char *)job - offsetof(struct client, job));
    struct message *m = NULL;
    (void)cancelled;
    if (c->closed) {
        client_free(c);
        return;
    }
    if (c->record.len == 0 || message_unpack(MESSAGE_EXPLAIN, buf_view(&c->record), &m, NULL) != 0)
        reply_error(c, ERR_NOT_FOUND);
    else
        reply(c, m);
    message_free(m);
    buf_done(&c->record);
}

static void on_explain(struct client *c, const struct message *in)
{
    if (in->explain_get.denial_id.len != DENIAL_ID_LEN) {
        reply_error(c, ERR_FORMAT);
        return;
    }
    memcpy(c->denial_id, in->explain_get.denial_id.p, DENIAL_ID_LEN);
    c->job = (struct worker_job){.run = explain_run, .done = explain_done};
    if (worker_submit(c->control->node->store_thread, &c->job) != 0)
        reply_error(c, ERR_BUSY);
}

static void on_entries_read(void *arg, const struct message *entries, const struct err *err)
{
    struct client *c = arg;
    if (c->closed)
        client_free(c);
    else if (err != NULL)
        reply_error(c, err->code);
    else
        reply(c, entries);
}

static void on_entries(struct client *c, const struct message *in)
{
    uint64_t count = in->entries_get.count < ENTRIES_MAX ? in->entries_get.count : ENTRIES_MAX;
    struct node_log *log = c->control->node->log;
    int rc = log != NULL ? node_log_read(log, in->entries_get.from, count, on_entries_read, c) : ERR_NOT_FOUND;
    if (rc != 0)
        reply_error(c, rc);
}

/* ---- connections */

static void on_message(struct conn *conn, void *arg, struct message *m)
{
    struct client *c = arg;
    static const struct {
        enum message_type type;
        void (*handle)(struct client *c, const struct message *m);
    } handlers[] = {
        {MESSAGE_STATUS_GET, on_status},
        {MESSAGE_EXPLAIN_GET, on_explain},
        {MESSAGE_ENTRIES_GET, on_entries},
    };
    conn_pause(conn, true);
    conn_deadline(conn, 0, "");
    c->busy = true;
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
        if (handlers[i].type == m->type) {
            handlers[i].handle(c, m);
            message_free(m);
            return;
        }
    c->busy = false;
    message_free(m);
    conn_abort(conn, ERR_ORDER, "not a request");
}

static bool allowed(void *arg, enum message_type type)
{
    (void)arg;
    return type == MESSAGE_STATUS_GET || type == MESSAGE_EXPLAIN_GET || type == MESSAGE_ENTRIES_GET;
}

static void on_ready(struct conn *conn, void *arg)
{
    (void)arg;
    unsigned uid;
    if (conn_peer_uid(conn, &uid) != 0 || (uid != 0 && uid != getuid()))
        conn_abort(conn, ERR_IDENTITY, "only root and the node's own user may use the control socket");
    else
        conn_deadline(conn, IDLE_MS, "idle");
}

static void on_close(struct conn *conn, void *arg, const struct err *why)
{
    struct client *c = arg;
    (void)conn;
    if (why->code != 0 && why->code != ERR_CLOSED)
        log_debug("control connection closed: %s", why->text);
    c->closed = true;
    if (!c->busy)
        client_free(c);
}

static const struct conn_events events = {on_ready, on_message, on_close, allowed};

static void on_connection(uv_stream_t *listener, int status)
{
    struct control *o = listener->data;
    struct client *c = status == 0 ? calloc(1, sizeof(*c)) : NULL;
    if (c == NULL)
        return;
    c->control = o;
    buf_init(&c->record, 65536);
    if (conn_accept(listener->loop, listener, NULL, IDLE_MS, &events, c, &c->conn) != 0) {
        free(c);
        return;
    }
    c->next = o->clients;
    if (c->next != NULL)
        c->next->previous = c;
    o->clients = c;
}

/* ---- start and stop */

/* A socket that a killed node left behind is removed; one that answers belongs to a running node. */
static int clear_path(const char *path, struct err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    if (lstat(path, &st) != 0)
        return 0;
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = fd >= 0 ? connect(fd, (struct sockaddr *)&a, sizeof(a)) : -1;
    if (fd >= 0)
        (void)close(fd);
    if (rc == 0)
        return err_set(err, ERR_CONFIG, "%s: another node runs on this state folder; stop it first", path);
    if (!S_ISSOCK(st.st_mode) || unlink(path) != 0)
        return err_set(err, ERR_CONFIG, "%s is in the way and cannot be removed: %s", path, strerror(errno));
    return 0;
}

int control_start(uv_loop_t *loop, struct node *n, struct control **ret, struct err *err)
{
    struct control *o = calloc(1, sizeof(*o));
    if (o == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    o->node = n;
    int len = snprintf(o->path, sizeof(o->path), "%s/control", n->config->state);
    int rc = len > 0 && (size_t)len < sizeof(o->path)
                 ? clear_path(o->path, err)
                 : err_set(err, ERR_CONFIG, "field state: %s is too long for a socket in it", n->config->state);
    if (rc != 0) {
        free(o);
        return rc;
    }
    (void)uv_pipe_init(loop, &o->listener, 0);
    o->listener.data = o;
    mode_t before = umask(0177);
    rc = uv_pipe_bind(&o->listener, o->path);
    (void)umask(before);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&o->listener, 16, on_connection);
    *ret = o; /* the handle is on the loop now: control_stop closes it also after a failure */
    return rc == 0 ? 0 : err_set(err, ERR_CONFIG, "%s: %s", o->path, uv_strerror(rc));
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct control *o = handle->data;
    o->listener_closed = true;
    finish_stop(o);
}

void control_stop(struct control *o, void (*stopped)(void *arg), void *arg)
{
    o->stopped = stopped;
    o->arg = arg;
    for (struct client *c = o->clients; c != NULL; c = c->next)
        if (!c->closed) /* else its conn is gone, and only a job is under way */
            conn_close(c->conn);
    (void)unlink(o->path);
    uv_close((uv_handle_t *)&o->listener, on_listener_closed);
}
