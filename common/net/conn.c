/* conn: a stream on a libuv loop that speaks frames, over TLS or plain.
 *
 *   CONNECTING --connected--> SHAKING --handshake done--> OPEN --conn_close, peer's end, TLS alert--> CLOSING
 *        |                       |                          |                                           |
 *        +-----------------------+---- error, deadline -----+------ flushed, lingered or out of time ---+--> CLOSED
 *
 * Plain connections skip SHAKING. CLOSED: all four handles are being closed; the last close callback tells the owner
 * and frees. Two timers: `guard` is conn's own (handshake, then a frame that began, then closing), `owner` is
 * conn_deadline's. `kick` is an idle handle that brings work back to the loop which must not happen inside a conn_ call
 * (ready, resuming).
 *
 * Data: socket -> tls -> plaintext -> frame reader -> owner. When the owner pauses in the middle of a chunk, the rest
 * waits in `held`, reading stops, and nothing else is buffered by us. */
#include "common/net/conn.h"
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <uv.h>

#define CHUNK 65536    /* bytes read at once */
#define HELD_MAX CHUNK /* plaintext of one chunk */
#define CLOSE_MS 5000  /* for flushing what is queued */
#define LINGER_MS 1000 /* for the peer's end after ours, so that no reset overtakes our last words */
#define KEEPALIVE_S 60
#define HANDLES 4

enum state { STATE_CONNECTING, STATE_SHAKING, STATE_OPEN, STATE_CLOSING, STATE_CLOSED };

struct conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    uv_timer_t guard, owner;
    uv_idle_t kick;
    uv_connect_t connect;
    uv_shutdown_t shutdown;
    enum state state;
    bool accepted, is_tcp;
    bool silent; /* the owner never got this conn: tell nothing */
    bool told_ready, paused, reading;
    unsigned handles;  /* not closed yet */
    unsigned frame_ms; /* how long a frame may take */
    size_t queued;     /* bytes that uv_write holds */
    struct tls_context *context;
    struct tls *tls; /* NULL: plain */
    struct frame_reader *reader;
    struct buf held;
    const struct conn_events *events;
    void *arg;
    struct err why;
    char deadline_what[64];
    uint8_t address[16];
    char address_text[64];
};

/* Filled and used up inside one read callback, so every loop thread needs only one of each. */
static _Thread_local uint8_t input[CHUNK];
static _Thread_local uint8_t plaintext[16384]; /* one TLS record */

static void on_guard(uv_timer_t *timer);

/* ---- the end */

static void conn_free(struct conn *c)
{
    tls_free(c->tls);
    tls_context_unref(c->context);
    frame_reader_free(c->reader);
    buf_done(&c->held);
    free(c);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    if (--c->handles > 0)
        return;
    if (!c->silent && c->events->on_close != NULL)
        c->events->on_close(c, c->arg, &c->why);
    conn_free(c);
}

static void close_now(struct conn *c)
{
    if (c->state == STATE_CLOSED)
        return;
    c->state = STATE_CLOSED;
    uv_close(&c->u.handle, on_handle_closed);
    uv_close((uv_handle_t *)&c->guard, on_handle_closed);
    uv_close((uv_handle_t *)&c->owner, on_handle_closed);
    uv_close((uv_handle_t *)&c->kick, on_handle_closed);
}

static void stop_reading(struct conn *c)
{
    if (c->reading)
        (void)uv_read_stop(&c->u.stream);
    c->reading = false;
}

static void on_discard(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    if (n < 0)
        close_now(stream->data);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init((char *)input, sizeof(input));
}

/* Everything is written and our end is sent. A socket that is closed with unread data answers with a reset, which can
 * destroy our last message on its way; so an accepted connection reads on for a moment. */
static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct conn *c = req->data;
    if (c->state != STATE_CLOSING)
        return;
    if (status != 0 || !c->accepted || !c->is_tcp || uv_read_start(&c->u.stream, on_alloc, on_discard) != 0) {
        close_now(c);
        return;
    }
    (void)uv_timer_start(&c->guard, on_guard, LINGER_MS, 0);
}

static int flush(struct conn *c, struct err *err);

static void close_flushed(struct conn *c)
{
    if (c->tls != NULL)
        tls_close(c->tls);
    c->shutdown.data = c;
    bool ok = flush(c, NULL) == 0 && uv_shutdown(&c->shutdown, &c->u.stream, on_shutdown) == 0;
    c->state = STATE_CLOSING;
    if (ok)
        (void)uv_timer_start(&c->guard, on_guard, CLOSE_MS, 0);
    else
        close_now(c);
}

/* The one way to the end. why is kept from the first call. */
static void finish(struct conn *c, const struct err *why, bool flushed)
{
    if (c->state == STATE_CLOSED || (c->state == STATE_CLOSING && flushed))
        return;
    if (c->state != STATE_CLOSING) {
        c->why = *why;
        stop_reading(c);
        (void)uv_timer_stop(&c->guard);
        (void)uv_timer_stop(&c->owner);
        (void)uv_idle_stop(&c->kick);
    }
    if (flushed && c->state != STATE_CONNECTING)
        close_flushed(c);
    else
        close_now(c);
}

static void fail(struct conn *c, int code, const char *text)
{
    struct err why = {0};
    (void)err_set(&why, code, "%s", text);
    finish(c, &why, false);
}

static void on_guard(uv_timer_t *timer)
{
    struct conn *c = timer->data;
    switch (c->state) {
    case STATE_CONNECTING:
        fail(c, ERR_DEADLINE, "connecting took too long");
        break;
    case STATE_SHAKING:
        fail(c, ERR_DEADLINE, "the TLS handshake took too long");
        break;
    case STATE_OPEN:
        fail(c, ERR_DEADLINE, "a message that began did not end in time");
        break;
    case STATE_CLOSING:
    case STATE_CLOSED:
        close_now(c);
        break;
    }
}

static void on_owner_deadline(uv_timer_t *timer)
{
    struct conn *c = timer->data;
    fail(c, ERR_DEADLINE, c->deadline_what);
}

/* ---- out */

struct write {
    uv_write_t req;
    struct conn *conn;
    size_t len;
    uint8_t data[];
};

static void on_written(uv_write_t *req, int status)
{
    struct write *w = req->data;
    struct conn *c = w->conn;
    c->queued -= w->len;
    free(w);
    if (status != 0 && c->state != STATE_CLOSED)
        fail(c, ERR_CLOSED, uv_strerror(status));
}

static int write_bytes(struct conn *c, struct bytes data, struct err *err)
{
    struct write *w = malloc(sizeof(*w) + data.len);
    if (w == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    w->conn = c;
    w->len = data.len;
    w->req.data = w;
    memcpy(w->data, data.p, data.len);
    uv_buf_t buf =
        uv_buf_init((char *)w->data, (unsigned)data.len); /* at most CONN_QUEUE_MAX and a record's overhead */
    int rc = uv_write(&w->req, &c->u.stream, &buf, 1, on_written);
    if (rc != 0) {
        free(w);
        return err_set(err, ERR_CLOSED, "%s", uv_strerror(rc));
    }
    c->queued += data.len;
    return 0;
}

/* Hands TLS's outgoing bytes to the socket, in one write. */
static int flush(struct conn *c, struct err *err)
{
    if (c->tls == NULL)
        return 0;
    struct bytes out = tls_outgoing(c->tls);
    if (out.len == 0)
        return 0;
    if (out.len > 2 * CONN_QUEUE_MAX - c->queued)
        return err_set(err, ERR_FULL, "the peer makes us send and does not read");
    TRY(write_bytes(c, out, err));
    tls_sent(c->tls, out.len);
    return 0;
}

static int send_frame(struct conn *c, struct bytes frame, struct err *err)
{
    if (c->queued > CONN_QUEUE_MAX || frame.len > CONN_QUEUE_MAX - c->queued)
        return err_set(err, ERR_FULL, "%zu bytes wait to be written already", c->queued);
    if (c->tls == NULL)
        return write_bytes(c, frame, err);
    int rc = tls_write(c->tls, frame, err);
    if (rc == 0)
        rc = flush(c, err);
    if (rc != 0) /* half a message may be gone: this stream is dead */
        fail(c, rc, err != NULL ? err->text : "a message could not be written");
    return rc;
}

int conn_send(struct conn *c, const struct message *m, struct err *err)
{
    if (c->state != STATE_OPEN)
        return err_set(err, ERR_CLOSED, "the connection is not open");
    struct buf frame;
    buf_init(&frame, FRAME_HEADER + message_max(m->type));
    int rc = frame_pack(m, &frame, err);
    if (rc == 0)
        rc = send_frame(c, buf_view(&frame), err);
    buf_done(&frame);
    return rc;
}

/* ---- in */

/* The peer will send nothing more. What we have queued is still written: it may have closed only its half. */
static void peer_ended(struct conn *c)
{
    struct err why = {0};
    if (frame_reader_idle(c->reader))
        (void)err_set(&why, ERR_CLOSED, "the peer closed the connection");
    else
        (void)err_set(&why, ERR_CLOSED, "the peer closed the connection in the middle of a message");
    finish(c, &why, true);
}

/* Feeds the reader until the data is used up or the owner pauses. */
static void deliver(struct conn *c, struct bytes data)
{
    while (data.len > 0 && c->state == STATE_OPEN && !c->paused) {
        struct err err = {0};
        struct message *m = NULL;
        if (frame_reader_feed(c->reader, &data, &m, &err) != 0) {
            finish(c, &err, false);
            return;
        }
        if (m == NULL)
            continue;
        (void)uv_timer_stop(&c->guard);
        c->events->on_message(c, c->arg, m);
    }
    if (data.len > 0 && c->state == STATE_OPEN) {
        buf_put(&c->held, data);
        if (!buf_ok(&c->held))
            fail(c, ERR_NOMEM, "out of memory");
    }
}

static void deliver_held(struct conn *c)
{
    struct buf held = c->held;
    buf_init(&c->held, HELD_MAX);
    deliver(c, buf_view(&held));
    buf_done(&held);
}

static void read_tls(struct conn *c)
{
    while (c->state == STATE_OPEN && !c->paused) {
        struct err err = {0};
        size_t len = 0;
        int rc = tls_read(c->tls, plaintext, sizeof(plaintext), &len, &err);
        if (rc == ERR_CLOSED)
            peer_ended(c);
        else if (rc != 0)
            finish(c, &err, true); /* our alert goes out */
        if (rc != 0 || len == 0)
            break;
        deliver(c, BYTES(plaintext, len));
    }
    struct err err = {0};
    if (c->state == STATE_OPEN && flush(c, &err) != 0) /* TLS may have answered a key update */
        finish(c, &err, false);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

/* Reads while the owner wants to, and watches a frame that began. */
static void settle(struct conn *c)
{
    bool wanted = c->state == STATE_SHAKING || (c->state == STATE_OPEN && c->told_ready && !c->paused);
    if (!wanted)
        stop_reading(c);
    else if (!c->reading) {
        if (uv_read_start(&c->u.stream, on_alloc, on_read) != 0) {
            fail(c, ERR_IO, "cannot read from the socket");
            return;
        }
        c->reading = true;
    }
    if (c->state != STATE_OPEN)
        return;
    if (!wanted || frame_reader_idle(c->reader))
        (void)uv_timer_stop(&c->guard);
    else if (!uv_is_active((uv_handle_t *)&c->guard))
        (void)uv_timer_start(&c->guard, on_guard, c->frame_ms, 0);
}

static void tell_ready(struct conn *c)
{
    c->told_ready = true;
    (void)uv_timer_stop(&c->guard);
    if (c->events->on_ready != NULL)
        c->events->on_ready(c, c->arg);
}

/* Whatever can be done now without new bytes from the socket. */
static void step(struct conn *c)
{
    if (c->state == STATE_OPEN && !c->told_ready)
        tell_ready(c);
    if (c->state == STATE_OPEN && c->held.len > 0)
        deliver_held(c);
    if (c->state == STATE_OPEN && c->tls != NULL)
        read_tls(c);
    settle(c);
}

static void on_kick(uv_idle_t *idle)
{
    (void)uv_idle_stop(idle);
    step(idle->data);
}

static void take_ciphertext(struct conn *c, struct bytes data)
{
    struct err err = {0}, unsent = {0};
    int rc = tls_feed(c->tls, data, &err);
    if (rc == 0 && flush(c, &unsent) != 0) {
        finish(c, &unsent, false);
        return;
    }
    if (rc != 0) {
        finish(c, &err, true); /* our alert goes out */
        return;
    }
    if (c->state == STATE_SHAKING && tls_ready(c->tls))
        c->state = STATE_OPEN;
    step(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    if (n == 0)
        return; /* nothing after all */
    if (n == UV_EOF && c->state == STATE_OPEN) {
        peer_ended(c);
    } else if (n < 0) {
        fail(c, ERR_CLOSED,
             n == UV_EOF ? "the peer closed the connection during the TLS handshake" : uv_strerror((int)n));
    } else if (c->tls != NULL) {
        take_ciphertext(c, BYTES(buf->base, (size_t)n));
    } else {
        deliver(c, BYTES(buf->base, (size_t)n));
        settle(c);
    }
}

/* ---- the beginning */

static void watch(struct conn *c, void *handle)
{
    ((uv_handle_t *)handle)->data = c;
    c->handles++;
}

/* No handle exists when this fails. */
static int conn_new(uv_loop_t *loop, bool is_tcp, struct tls_context *tls, const struct conn_events *events, void *arg,
                    struct conn **ret)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return ERR_NOMEM;
    c->events = events;
    c->arg = arg;
    c->is_tcp = is_tcp;
    c->frame_ms = CONN_FRAME_MS;
    buf_init(&c->held, HELD_MAX);
    int rc = frame_reader_new(events->allowed, arg, &c->reader);
    if (rc == 0 && tls != NULL) {
        c->context = tls_context_ref(tls);
        rc = tls_new(tls, &c->tls);
    }
    if (rc == 0 && (is_tcp ? uv_tcp_init(loop, &c->u.tcp) : uv_pipe_init(loop, &c->u.pipe, 0)) != 0)
        rc = ERR_NOMEM;
    if (rc != 0) {
        conn_free(c);
        return rc;
    }
    (void)uv_timer_init(loop, &c->guard); /* these three cannot fail */
    (void)uv_timer_init(loop, &c->owner);
    (void)uv_idle_init(loop, &c->kick);
    watch(c, &c->u.handle);
    watch(c, &c->guard);
    watch(c, &c->owner);
    watch(c, &c->kick);
    assert(c->handles == HANDLES);
    *ret = c;
    return 0;
}

/* For the starters: the owner never hears of this conn. */
static int give_up(struct conn *c, int code)
{
    c->silent = true;
    close_now(c);
    return code;
}

static void set_address(struct conn *c, const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof(in));
        c->address[10] = c->address[11] = 0xff;
        memcpy(c->address + 12, &in.sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof(in6));
        memcpy(c->address, &in6.sin6_addr, 16);
    }
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    bool v4 = memcmp(c->address, mapped, sizeof(mapped)) == 0; /* also what a dual-stack listener gives */
    if (inet_ntop(v4 ? AF_INET : AF_INET6, c->address + (v4 ? 12 : 0), c->address_text, sizeof(c->address_text)) ==
        NULL)
        c->address_text[0] = '\0';
}

static int find_peer(struct conn *c)
{
    if (!c->is_tcp) {
        (void)snprintf(c->address_text, sizeof(c->address_text), "unix");
        return 0;
    }
    struct sockaddr_storage peer;
    int len = sizeof(peer);
    if (uv_tcp_getpeername(&c->u.tcp, (struct sockaddr *)&peer, &len) != 0)
        return ERR_CLOSED;
    memset(c->address, 0, sizeof(c->address));
    set_address(c, (const struct sockaddr *)&peer);
    (void)uv_tcp_nodelay(&c->u.tcp, 1);
    (void)uv_tcp_keepalive(&c->u.tcp, 1, KEEPALIVE_S);
    return 0;
}

/* The socket is connected: shake hands, or be ready in the next round of the loop. */
static int connected(struct conn *c)
{
    TRY(find_peer(c));
    if (c->tls == NULL) {
        c->state = STATE_OPEN;
        (void)uv_idle_start(&c->kick, on_kick);
        return 0;
    }
    c->state = STATE_SHAKING;
    struct err err = {0};
    if (!c->accepted) {
        TRY(tls_feed(c->tls, BYTES_NONE, &err));
        TRY(flush(c, &err));
    }
    settle(c);
    return 0;
}

int conn_accept(uv_loop_t *loop, uv_stream_t *listener, struct tls_context *tls, unsigned handshake_ms,
                const struct conn_events *events, void *arg, struct conn **ret)
{
    struct conn *c = NULL;
    TRY(conn_new(loop, listener->type == UV_TCP, tls, events, arg, &c));
    c->accepted = true;
    if (uv_accept(listener, &c->u.stream) != 0)
        return give_up(c, ERR_IO);
    (void)uv_timer_start(&c->guard, on_guard, handshake_ms, 0);
    int rc = connected(c);
    if (rc != 0)
        return give_up(c, rc);
    *ret = c;
    return 0;
}

static void on_connect(uv_connect_t *req, int status)
{
    struct conn *c = req->data;
    if (c->state != STATE_CONNECTING)
        return; /* closed meanwhile */
    if (status != 0 || connected(c) != 0) {
        struct err why = {0};
        (void)err_set(&why, ERR_CLOSED, "cannot connect to %s: %s", c->address_text,
                      status != 0 ? uv_strerror(status) : "the connection did not hold");
        finish(c, &why, false);
        return;
    }
}

int conn_dial(uv_loop_t *loop, const struct sockaddr *to, const struct sockaddr *from, struct tls_context *tls,
              unsigned handshake_ms, const struct conn_events *events, void *arg, struct conn **ret)
{
    struct conn *c = NULL;
    TRY(conn_new(loop, true, tls, events, arg, &c));
    set_address(c, to);
    c->connect.data = c;
    if ((from != NULL && uv_tcp_bind(&c->u.tcp, from, 0) != 0) ||
        uv_tcp_connect(&c->connect, &c->u.tcp, to, on_connect) != 0)
        return give_up(c, ERR_IO);
    (void)uv_timer_start(&c->guard, on_guard, handshake_ms, 0);
    *ret = c;
    return 0;
}

int conn_dial_unix(uv_loop_t *loop, const char *path, const struct conn_events *events, void *arg, struct conn **ret)
{
    struct conn *c = NULL;
    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return ERR_TOO_LONG;
    TRY(conn_new(loop, false, NULL, events, arg, &c));
    (void)snprintf(c->address_text, sizeof(c->address_text), "%s", path);
    c->connect.data = c;
    uv_pipe_connect(&c->connect, &c->u.pipe, path, on_connect); /* errors come to on_connect */
    (void)uv_timer_start(&c->guard, on_guard, CLOSE_MS, 0);
    *ret = c;
    return 0;
}

/* ---- the owner's wishes */

void conn_pause(struct conn *c, bool paused)
{
    if (c->paused == paused || c->state > STATE_OPEN)
        return;
    c->paused = paused;
    if (c->state != STATE_OPEN)
        return;
    if (paused)
        settle(c);
    else
        (void)uv_idle_start(&c->kick, on_kick);
}

void conn_deadline(struct conn *c, unsigned ms, const char *what)
{
    if (c->state > STATE_OPEN)
        return;
    if (ms == 0) {
        (void)uv_timer_stop(&c->owner);
        return;
    }
    (void)snprintf(c->deadline_what, sizeof(c->deadline_what), "%s", what);
    (void)uv_timer_start(&c->owner, on_owner_deadline, ms, 0);
}

void conn_frame_deadline(struct conn *c, unsigned ms)
{
    c->frame_ms = ms;
}

void conn_close(struct conn *c)
{
    struct err none = {0};
    if (c->state < STATE_CLOSING)
        finish(c, &none, c->state == STATE_OPEN);
}

void conn_abort(struct conn *c, int code, const char *why)
{
    fail(c, code, why);
}

struct tls *conn_tls(struct conn *c)
{
    return c->tls;
}

void conn_address(const struct conn *c, uint8_t ret_v6[16], char ret_text[64])
{
    memcpy(ret_v6, c->address, sizeof(c->address));
    memcpy(ret_text, c->address_text, sizeof(c->address_text));
}

int conn_peer_uid(struct conn *c, unsigned *ret_uid)
{
    uv_os_fd_t fd;
    struct ucred cred;
    socklen_t len = sizeof(cred);
    if (c->is_tcp || uv_fileno(&c->u.handle, &fd) != 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
        return ERR_IO;
    *ret_uid = cred.uid;
    return 0;
}

/* ---- addresses */

static int parse_port(const char *text, uint16_t *ret)
{
    unsigned long port = 0;
    size_t len = strlen(text);
    if (len == 0 || len > 5 || (text[0] == '0' && len > 1))
        return ERR_FORMAT;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9')
            return ERR_FORMAT;
        port = port * 10 + (unsigned long)(*p - '0');
    }
    if (port > 65535)
        return ERR_FORMAT;
    *ret = (uint16_t)port;
    return 0;
}

int conn_parse_address(const char *text, struct sockaddr_storage *ret)
{
    bool v6 = text[0] == '[';
    const char *start = v6 ? text + 1 : text;
    const char *end = strchr(start, v6 ? ']' : ':');
    char host[INET6_ADDRSTRLEN];
    uint16_t port;
    if (end == NULL || (v6 && end[1] != ':') || (size_t)(end - start) >= sizeof(host))
        return ERR_FORMAT;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    TRY(parse_port(end + (v6 ? 2 : 1), &port));
    struct sockaddr_storage out = {0};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(v6 ? AF_INET6 : AF_INET, host, v6 ? (void *)&in6.sin6_addr : (void *)&in.sin_addr) != 1)
        return ERR_FORMAT;
    if (v6)
        memcpy(&out, &in6, sizeof(in6));
    else
        memcpy(&out, &in, sizeof(in));
    *ret = out;
    return 0;
}
