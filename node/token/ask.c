/* ask: the node's side of tokend. */
#include "node/token/ask.h"
#include "node/token/ids.h"
#include "proto/frame.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#define RECONNECT_MIN_MS 100
#define RECONNECT_MAX_MS 2000
#define LEAF_SUFFIX ".leaf"
#define PATH_LEN_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof(LEAF_SUFFIX))
#define READ_MAX (64u * 1024u) /* every answer is shorter; one read is one record */

struct link { /* one connection; outlives its place in struct ask until libuv has closed it */
    uv_pipe_t pipe;
    struct ask *ask;
    uint64_t leaf_id; /* 0: the main connection */
    bool proven;      /* a record arrived */
};

struct pending {
    uint64_t id, deadline_ms;
    enum message_type reply;
    struct buf record;
    unsigned resends;
    bool writing; /* a copy of record is in libuv's hands */
    struct link *leaf;
    token_done done;
    void *arg;
};

struct ask {
    struct token token;
    uv_loop_t *loop;
    uv_timer_t deadline, reconnect;
    char path[PATH_LEN_MAX + 1], leaf_path[PATH_LEN_MAX + sizeof(LEAF_SUFFIX)];
    unsigned peer_uid;
    struct link *link;
    unsigned handles, reconnect_ms;
    uint64_t counter;
    struct pending *pending[ASK_PENDING_MAX]; /* by id % ASK_PENDING_MAX */
    int last_code;                            /* of the newest answer */
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
    char buffer[READ_MAX];
};

struct write {
    uv_write_t request;
    struct ask *ask;
    uint64_t id;
    size_t len;
    char data[];
};

static void connect_main(struct ask *a);
static void set_deadline(struct ask *a);

static struct pending *find(struct ask *a, uint64_t id)
{
    struct pending *p = a->pending[id % ASK_PENDING_MAX];
    return p != NULL && p->id == id ? p : NULL;
}

static void pending_free(struct pending *p)
{
    if (p != NULL)
        buf_done(&p->record);
    free(p);
}

/* ---- the end */

static void finish(struct ask *a)
{
    struct err err = {0};
    (void)err_set(&err, ERR_CLOSED, "token: stopping");
    for (size_t i = 0; i < ASK_PENDING_MAX; i++) {
        struct pending *p = a->pending[i];
        a->pending[i] = NULL;
        if (p != NULL)
            p->done(p->arg, NULL, &err);
        pending_free(p);
    }
    void (*stopped)(void *arg) = a->stopped;
    void *arg = a->stopped_arg;
    free(a);
    if (stopped != NULL)
        stopped(arg);
}

static void on_handle_closed(struct ask *a)
{
    a->handles--;
    if (a->stopping && a->handles == 0)
        finish(a);
}

static void on_timer_closed(uv_handle_t *h)
{
    on_handle_closed(h->data);
}

static void on_link_closed(uv_handle_t *h)
{
    struct link *l = h->data;
    struct ask *a = l->ask;
    free(l);
    on_handle_closed(a);
}

static void link_close(struct link *l)
{
    if (l->ask->link == l)
        l->ask->link = NULL;
    if (!uv_is_closing((uv_handle_t *)&l->pipe))
        uv_close((uv_handle_t *)&l->pipe, on_link_closed);
}

static void complete(struct ask *a, struct pending *p, const struct message *reply, const struct err *err)
{
    a->pending[p->id % ASK_PENDING_MAX] = NULL;
    if (p->leaf != NULL)
        link_close(p->leaf);
    if (!a->stopping)
        set_deadline(a);
    a->last_code = reply != NULL ? 0 : err->code;
    p->done(p->arg, reply, err);
    pending_free(p);
}

/* ---- writing */

static void on_written(uv_write_t *request, int status)
{
    struct write *w = request->data;
    struct pending *p = find(w->ask, w->id);
    (void)status; /* a broken connection shows in the read callback */
    if (p != NULL)
        p->writing = false;
    free(w);
}

/* libuv gets a copy: the request may be over before the record is written. */
static void send_record(struct ask *a, struct link *l, struct pending *p)
{
    struct write *w = p->writing ? NULL : malloc(sizeof(*w) + p->record.len);
    if (w == NULL)
        return; /* being written already; or no memory: the deadline will tell */
    *w = (struct write){.ask = a, .id = p->id, .len = p->record.len};
    memcpy(w->data, p->record.p, p->record.len);
    w->request.data = w;
    uv_buf_t b = uv_buf_init(w->data, (unsigned)w->len);
    if (uv_write(&w->request, (uv_stream_t *)&l->pipe, &b, 1, on_written) == 0)
        p->writing = true;
    else
        free(w);
}

/* A request over which workers die again and again is given up, before it takes all others along. */
static void send_again(struct ask *a)
{
    struct err err = {0};
    (void)err_set(&err, ERR_TOKEN, "token: workers died %d times over this request", ASK_RESEND_MAX);
    for (size_t i = 0; i < ASK_PENDING_MAX && a->link != NULL; i++) {
        struct pending *p = a->pending[i];
        if (p == NULL || p->leaf != NULL)
            continue;
        if (p->resends++ < ASK_RESEND_MAX)
            send_record(a, a->link, p);
        else
            complete(a, p, NULL, &err);
    }
}

/* ---- reading */

static void on_reply(struct ask *a, struct message *m)
{
    struct pending *p = find(a, *ids_of(m));
    struct err err = {0};
    if (p == NULL) /* answered twice, or too late */
        return;
    if (m->type == p->reply) {
        complete(a, p, m, &err);
        return;
    }
    if (m->type == MESSAGE_TOKEN_FAILURE)
        (void)err_set(&err, err_from_wire((unsigned)(m->token_failure.code & 0xffff)), "token: %.*s",
                      (int)m->token_failure.text.len, (const char *)m->token_failure.text.p);
    else
        (void)err_set(&err, ERR_TOKEN, "token: %s is no answer to this request", message_name(m->type));
    complete(a, p, NULL, &err);
}

static void retry_later(struct ask *a);

static void on_link_lost(struct link *l, const char *why)
{
    struct ask *a = l->ask;
    struct err err = {0};
    struct pending *p = l->leaf_id != 0 ? find(a, l->leaf_id) : NULL;
    bool was_main = a->link == l;
    link_close(l);
    if (p != NULL && p->leaf == l) {
        (void)err_set(&err, ERR_TOKEN, "token: %s", why);
        complete(a, p, NULL, &err);
    }
    if (was_main && !a->stopping)
        retry_later(a);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct link *l = h->data;
    (void)suggested;
    *ret = uv_buf_init(l->ask->buffer, READ_MAX);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct link *l = stream->data;
    struct ask *a = l->ask;
    struct message *m = NULL;
    if (n == 0)
        return;
    if (n < 0) {
        on_link_lost(l, "tokend closed the connection");
        return;
    }
    if (record_unpack(BYTES(b->base, (size_t)n), &m, NULL) != 0) {
        on_link_lost(l, "tokend sent a malformed record");
        return;
    }
    if (!l->proven && l->leaf_id == 0)
        a->reconnect_ms = 0;
    l->proven = true;
    if (m->type == MESSAGE_TOKEN_DIED)
        send_again(a);
    else
        on_reply(a, m);
    message_free(m);
}

/* ---- connecting */

static int connect_socket(const char *path, unsigned peer_uid, struct err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct ucred who;
    socklen_t len = sizeof(who);
    memcpy(at.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, ERR_TOKEN, "token: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&at, sizeof(at)) != 0)
        (void)err_set(err, ERR_TOKEN, "token: %s: %s; does enfilade-tokend run?", path, strerror(errno));
    else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0 || who.uid != peer_uid)
        (void)err_set(err, ERR_TOKEN, "token: %s belongs to uid %u instead of %u", path, (unsigned)who.uid, peer_uid);
    else
        return fd;
    (void)close(fd);
    return ERR_TOKEN;
}

static int link_open(struct ask *a, const char *path, uint64_t leaf_id, struct link **ret, struct err *err)
{
    int fd = connect_socket(path, a->peer_uid, err);
    if (fd < 0)
        return ERR_TOKEN;
    struct link *l = calloc(1, sizeof(*l));
    if (l == NULL || uv_pipe_init(a->loop, &l->pipe, 0) != 0) {
        (void)close(fd);
        free(l);
        return err_set(err, ERR_NOMEM, "token: no memory");
    }
    l->ask = a;
    l->leaf_id = leaf_id;
    l->pipe.data = l;
    a->handles++;
    bool opened = uv_pipe_open(&l->pipe, fd) == 0;
    if (!opened)
        (void)close(fd);
    if (!opened || uv_read_start((uv_stream_t *)&l->pipe, on_alloc, on_read) != 0) {
        link_close(l);
        return err_set(err, ERR_TOKEN, "token: libuv cannot read from %s", path);
    }
    *ret = l;
    return 0;
}

static void on_reconnect(uv_timer_t *t)
{
    connect_main(t->data);
}

/* Doubling pause, a random half of it: many nodes on one host do not come back in step. */
static void retry_later(struct ask *a)
{
    uint32_t r = 0;
    (void)uv_random(NULL, NULL, &r, sizeof(r), 0, NULL);
    a->reconnect_ms = a->reconnect_ms == 0 ? RECONNECT_MIN_MS : 2 * a->reconnect_ms;
    if (a->reconnect_ms > RECONNECT_MAX_MS)
        a->reconnect_ms = RECONNECT_MAX_MS;
    (void)uv_timer_start(&a->reconnect, on_reconnect, a->reconnect_ms / 2 + r % (a->reconnect_ms / 2 + 1), 0);
}

static void connect_main(struct ask *a)
{
    struct err err = {0};
    if (a->stopping || a->link != NULL)
        return;
    if (link_open(a, a->path, 0, &a->link, &err) != 0)
        retry_later(a);
    else
        send_again(a);
}

/* ---- deadlines */

static void on_deadline(uv_timer_t *t)
{
    struct ask *a = t->data;
    struct err err = {0};
    uint64_t now = uv_now(a->loop);
    (void)err_set(&err, ERR_DEADLINE, "token: no answer in time");
    for (size_t i = 0; i < ASK_PENDING_MAX && !a->stopping; i++)
        if (a->pending[i] != NULL && a->pending[i]->deadline_ms <= now)
            complete(a, a->pending[i], NULL, &err);
    if (!a->stopping)
        set_deadline(a);
}

static void set_deadline(struct ask *a)
{
    uint64_t next = UINT64_MAX, now = uv_now(a->loop);
    for (size_t i = 0; i < ASK_PENDING_MAX; i++)
        if (a->pending[i] != NULL && a->pending[i]->deadline_ms < next)
            next = a->pending[i]->deadline_ms;
    if (next == UINT64_MAX)
        (void)uv_timer_stop(&a->deadline);
    else
        (void)uv_timer_start(&a->deadline, on_deadline, next > now ? next - now : 0, 0);
}

/* ---- the table */

static enum message_type reply_to(enum message_type request)
{
    switch ((unsigned)request) {
    case MESSAGE_TOKEN_RELEASE:
        return MESSAGE_TOKEN_ANSWER;
    case MESSAGE_TOKEN_SIGN:
        return MESSAGE_TOKEN_SIGNATURE;
    case MESSAGE_TOKEN_LEAF:
        return MESSAGE_TOKEN_CERTIFICATE;
    case MESSAGE_TOKEN_PUBLIC_GET:
        return MESSAGE_TOKEN_PUBLIC;
    default:
        assert(false && "a request that tokend knows");
        return request;
    }
}

static bool next_id(struct ask *a, uint64_t *ret_id)
{
    for (size_t i = 0; i < ASK_PENDING_MAX; i++) {
        uint64_t id = ++a->counter; /* starts at 1; 0 is nobody's */
        if (a->pending[id % ASK_PENDING_MAX] == NULL) {
            *ret_id = id;
            return true;
        }
    }
    return false;
}

static int submit(struct ask *a, struct pending *p)
{
    if (p->reply == MESSAGE_TOKEN_CERTIFICATE)
        TRY(link_open(a, a->leaf_path, p->id, &p->leaf, NULL));
    a->pending[p->id % ASK_PENDING_MAX] = p;
    send_record(a, p->leaf != NULL ? p->leaf : a->link, p);
    set_deadline(a);
    return 0;
}

static int on_ask(struct token *t, struct message *m, unsigned deadline_ms, token_done done, void *arg)
{
    struct ask *a = t->self;
    uint64_t id = 0;
    enum message_type reply = reply_to(m->type);
    if (a->stopping)
        return ERR_CLOSED;
    if (a->link == NULL && reply != MESSAGE_TOKEN_CERTIFICATE)
        return ERR_TOKEN;
    if (!next_id(a, &id))
        return ERR_BUSY;
    struct pending *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return ERR_NOMEM;
    uv_update_time(a->loop);
    *p = (struct pending){
        .id = id, .deadline_ms = uv_now(a->loop) + deadline_ms, .reply = reply, .done = done, .arg = arg};
    *ids_of(m) = id;
    buf_init(&p->record, RECORD_MAX);
    int rc = record_pack(m, &p->record, NULL);
    if (rc == 0)
        rc = submit(a, p);
    if (rc != 0)
        pending_free(p);
    return rc;
}

static const char *on_health(const struct token *t)
{
    const struct ask *a = t->self;
    if (a->link == NULL)
        return "absent";
    return a->last_code == ERR_TOKEN || a->last_code == ERR_DEADLINE ? err_name(a->last_code) : "ok";
}

struct token *ask_token(struct ask *a)
{
    return &a->token;
}

int ask_start(uv_loop_t *loop, const char *path, unsigned peer_uid, struct ask **ret, struct err *err)
{
    struct ask *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return err_set(err, ERR_NOMEM, "token: no memory");
    if (strlen(path) > PATH_LEN_MAX) {
        free(a);
        return err_set(err, ERR_CONFIG, "token: the socket's path is too long");
    }
    a->token = (struct token){on_ask, on_health, a};
    a->loop = loop;
    a->peer_uid = peer_uid;
    memcpy(a->path, path, strlen(path) + 1);
    (void)snprintf(a->leaf_path, sizeof(a->leaf_path), "%s" LEAF_SUFFIX, path);
    (void)uv_timer_init(loop, &a->deadline);
    (void)uv_timer_init(loop, &a->reconnect);
    a->deadline.data = a->reconnect.data = a;
    a->handles = 2;
    connect_main(a);
    *ret = a;
    return 0;
}

void ask_stop(struct ask *a, void (*stopped)(void *arg), void *arg)
{
    assert(!a->stopping);
    a->stopping = true;
    a->stopped = stopped;
    a->stopped_arg = arg;
    for (size_t i = 0; i < ASK_PENDING_MAX; i++)
        if (a->pending[i] != NULL && a->pending[i]->leaf != NULL)
            link_close(a->pending[i]->leaf);
    if (a->link != NULL)
        link_close(a->link);
    uv_close((uv_handle_t *)&a->deadline, on_timer_closed);
    uv_close((uv_handle_t *)&a->reconnect, on_timer_closed);
}
