/* conn: messages over real sockets on one loop; bad, slow and greedy peers are closed, each for its own reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/net/conn.h"
#include "tests/lib/parties.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define PLENTY_MS 20000 /* a deadline that no passing test reaches */

/* One end of a connection and what happened to it. */
struct end {
    struct fixture *f;
    struct conn *conn;
    unsigned ready, messages, closed;
    enum message_type last_type;
    uint64_t last_number;
    size_t last_notes;
    struct err why;
    bool only_busy; /* allow nothing but BUSY */
    bool pause_on;  /* pause at a message, answer from the loop, then go on */
    bool answer;    /* answer BUSY with BUSY + 1 at once */
    bool close_on;  /* conn_close at a message */
    uv_idle_t later;
};

struct fixture {
    uv_loop_t loop;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } listener;
    struct sockaddr_in address;
    struct tls_context *server_tls, *client_tls; /* NULL: plain */
    unsigned server_handshake_ms, server_frame_ms;
    struct end server, client;
    struct net net;
    char path[64]; /* unix socket */
};

static void send_number(struct end *e, uint64_t n)
{
    struct message m = {.type = MESSAGE_BUSY, .busy = {.retry_after_ms = n}};
    struct err err = {0};
    if (conn_send(e->conn, &m, &err) != 0)
        fail_msg("%s", err.text);
}

static void on_ready(struct conn *c, void *arg)
{
    struct end *e = arg;
    assert_ptr_equal(c, e->conn);
    e->ready++;
}

static void on_later(uv_idle_t *idle)
{
    struct end *e = idle->data;
    uv_close((uv_handle_t *)idle, NULL);
    send_number(e, e->last_number + 1);
    conn_pause(e->conn, false);
}

static void on_message(struct conn *c, void *arg, struct message *m)
{
    struct end *e = arg;
    assert_int_equal(e->ready, 1);
    assert_int_equal(e->closed, 0);
    e->messages++;
    e->last_type = m->type;
    e->last_number = m->type == MESSAGE_BUSY ? m->busy.retry_after_ms : 0;
    e->last_notes = m->type == MESSAGE_DOCUMENTS ? m->documents.notes.count : 0;
    message_free(m);
    if (e->answer)
        send_number(e, e->last_number + 1);
    if (e->pause_on) {
        conn_pause(c, true);
        (void)uv_idle_init(&e->f->loop, &e->later);
        e->later.data = e;
        (void)uv_idle_start(&e->later, on_later);
    }
    if (e->close_on)
        conn_close(c);
}

static void on_close(struct conn *c, void *arg, const struct err *why)
{
    struct end *e = arg;
    assert_ptr_equal(c, e->conn);
    e->closed++;
    e->why = *why;
    e->conn = NULL;
}

static bool allowed(void *arg, enum message_type type)
{
    struct end *e = arg;
    return !e->only_busy || type == MESSAGE_BUSY;
}

static const struct conn_events events = {on_ready, on_message, on_close, allowed};

static void on_connection(uv_stream_t *listener, int status)
{
    struct fixture *f = listener->data;
    assert_int_equal(status, 0);
    assert_null(f->server.conn);
    assert_int_equal(
        conn_accept(&f->loop, listener, f->server_tls, f->server_handshake_ms, &events, &f->server, &f->server.conn),
        0);
    if (f->server_frame_ms > 0)
        conn_frame_deadline(f->server.conn, f->server_frame_ms);
}

static void start(struct fixture *f, bool tls)
{
    *f = (struct fixture){.server_handshake_ms = PLENTY_MS};
    f->server.f = f->client.f = f;
    f->net = make_net();
    if (tls) {
        f->server_tls = make_context(true, &f->net.node, &f->net.device_ca);
        f->client_tls = make_context(false, &f->net.device, &f->net.identity);
    }
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(uv_tcp_init(&f->loop, &f->listener.tcp), 0);
    f->listener.handle.data = f;
    struct sockaddr_in any;
    int len = sizeof(f->address);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &any), 0);
    assert_int_equal(uv_tcp_bind(&f->listener.tcp, (const struct sockaddr *)&any, 0), 0);
    assert_int_equal(uv_listen(&f->listener.stream, 16, on_connection), 0);
    assert_int_equal(uv_tcp_getsockname(&f->listener.tcp, (struct sockaddr *)&f->address, &len), 0);
}

static void dial(struct fixture *f, const struct sockaddr *from)
{
    assert_int_equal(conn_dial(&f->loop, (const struct sockaddr *)&f->address, from, f->client_tls, PLENTY_MS, &events,
                               &f->client, &f->client.conn),
                     0);
}

/* Runs the loop until the condition holds; a test that never gets there ends by its deadline events or ctest's timeout.
 */
#define RUN_UNTIL(f, condition)                                                                                        \
    while (!(condition))                                                                                               \
    assert_true(uv_run(&(f)->loop, UV_RUN_ONCE) != 0 || (condition))

static void finish(struct fixture *f)
{
    if (f->client.conn != NULL)
        conn_close(f->client.conn);
    RUN_UNTIL(f, f->client.conn == NULL);
    if (f->server.conn != NULL)
        conn_close(f->server.conn);
    uv_close(&f->listener.handle, NULL);
    assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
    assert_true(f->server.closed <= 1 && f->client.closed <= 1);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    tls_context_unref(f->server_tls);
    tls_context_unref(f->client_tls);
    drop_net(&f->net);
}

static void both_ready(struct fixture *f)
{
    RUN_UNTIL(f, f->server.ready && f->client.ready);
}

/* ---- a peer without manners: a plain socket */

static int raw_connect(struct fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int small = 4096;
    assert_true(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    assert_int_equal(connect(fd, (const struct sockaddr *)&f->address, sizeof(f->address)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void raw_send(int fd, const char *hex)
{
    uint8_t data[256];
    size_t len = strlen(hex) / 2;
    assert_int_equal(hex_decode(bytes_str(hex), data, len), 0);
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

static void check_why(const struct end *e, int code, const char *words)
{
    assert_int_equal(e->closed, 1);
    if (e->why.code != code || strstr(e->why.text, words) == NULL)
        fail_msg("closed with %d \"%s\", not %d \"%s\"", e->why.code, e->why.text, code, words);
}

/* ---- the tests */

static void messages_go_both_ways(void **state)
{
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct fixture f;
        start(&f, tls);
        f.server.answer = true;
        dial(&f, NULL);
        both_ready(&f);
        for (uint64_t i = 1; i <= 20; i++)
            send_number(&f.client, i);
        RUN_UNTIL(&f, f.client.messages == 20);
        assert_int_equal(f.client.last_number, 21);
        if (tls) {
            uint8_t nonce[32] = {1}, a[32], b[32];
            assert_int_equal(tls_exporter(conn_tls(f.client.conn), nonce, a), 0);
            assert_int_equal(tls_exporter(conn_tls(f.server.conn), nonce, b), 0);
            assert_memory_equal(a, b, 32);
        }
        conn_close(f.client.conn);
        conn_close(f.client.conn);            /* idempotent */
        assert_int_equal(f.client.closed, 0); /* never from inside the call */
        RUN_UNTIL(&f, f.client.closed && f.server.closed);
        assert_int_equal(f.client.why.code, 0);
        check_why(&f.server, ERR_CLOSED, "closed the connection");
        finish(&f);
    }
}

static void a_large_message_arrives_before_the_close(void **state)
{
    (void)state;
    static const uint8_t text[900 * 1024];
    static struct msg_note notes[4] = {{.text = {text, sizeof(text)}},
                                       {.text = {text, sizeof(text)}},
                                       {.text = {text, sizeof(text)}},
                                       {.text = {text, sizeof(text)}}};
    for (int tls = 0; tls < 2; tls++) {
        struct fixture f;
        struct message m = {.type = MESSAGE_DOCUMENTS, .documents = {.notes = {.at = notes, .count = 4}}};
        start(&f, tls);
        dial(&f, NULL);
        both_ready(&f);
        assert_int_equal(conn_send(f.server.conn, &m, NULL), 0);
        conn_close(f.server.conn);
        RUN_UNTIL(&f, f.client.closed && f.server.closed);
        assert_int_equal(f.client.messages, 1);
        assert_int_equal(f.client.last_notes, 4);
        check_why(&f.client, ERR_CLOSED, "closed the connection");
        assert_int_equal(f.server.why.code, 0);
        finish(&f);
    }
}

static void the_address_is_the_peers(void **state)
{
    (void)state;
    struct fixture f;
    struct sockaddr_storage from;
    uint8_t v6[16];
    char text[64];
    static const uint8_t expected[16] = {[10] = 0xff, 0xff, 127, 0, 0, 7};
    start(&f, true);
    assert_int_equal(conn_parse_address("127.0.0.7:0", &from), 0);
    dial(&f, (const struct sockaddr *)&from);
    both_ready(&f);
    conn_address(f.server.conn, v6, text);
    assert_string_equal(text, "127.0.0.7");
    assert_memory_equal(v6, expected, 16);
    conn_address(f.client.conn, v6, text);
    assert_string_equal(text, "127.0.0.1");
    finish(&f);
}

static void a_refused_certificate_is_told_to_both(void **state)
{
    (void)state;
    struct fixture f;
    struct net other = make_net();
    start(&f, true);
    tls_context_unref(f.client_tls);
    f.client_tls = make_context(false, &other.device, &f.net.identity);
    dial(&f, NULL);
    RUN_UNTIL(&f, f.client.closed && f.server.closed);
    check_why(&f.server, ERR_TLS, "we refused the certificate of the client");
    check_why(&f.client, ERR_TLS, "the node refused our certificate");
    assert_int_equal(f.server.ready, 0);
    finish(&f);
    drop_net(&other);
}

/* The client's handshake is over before the node has judged it. Its megabytes must not turn the refusal into a reset.
 */
static void a_refusing_node_is_heard_by_a_client_that_talks_at_once(void **state)
{
    (void)state;
    static const uint8_t text[1000000];
    static struct msg_note notes[4] = {{.text = {text, sizeof(text)}},
                                       {.text = {text, sizeof(text)}},
                                       {.text = {text, sizeof(text)}},
                                       {.text = {text, 9}}};
    struct message m = {.type = MESSAGE_DOCUMENTS, .documents = {.notes = {.at = notes, .count = 4}}};
    struct fixture f;
    struct net other = make_net();
    start(&f, true);
    tls_context_unref(f.client_tls);
    f.client_tls = make_context(false, &other.device, &f.net.identity);
    dial(&f, NULL);
    RUN_UNTIL(&f, f.client.ready || f.client.closed);
    assert_int_equal(conn_send(f.client.conn, &m, NULL), 0);
    RUN_UNTIL(&f, f.client.closed && f.server.closed);
    check_why(&f.client, ERR_TLS, "the node refused our certificate");
    finish(&f);
    drop_net(&other);
}

static void bad_frames_close(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        int code;
        const char *words;
    } rows[] = {
        {"ffffffff04", ERR_TOO_LONG, "announced"},
        {"0000004204", ERR_TOO_LONG, "busy: 65 bytes announced"}, /* 65 and the type */
        {"00000000ff", ERR_FORMAT, "without a type"},
        {"00000001ff", ERR_FORMAT, "unknown frame type 0xff"},
        {"0000000180", ERR_FORMAT, "unknown frame type 0x80"},
        {"0000000101", ERR_ORDER, "begin may not come now"},
        {"00000003040800", ERR_FORMAT, "busy: retry_after_ms: a default value"},
        {"0000000304080100000003040800", ERR_FORMAT, "busy: retry_after_ms: a default value"}, /* after a good one */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        start(&f, false);
        f.server.only_busy = true;
        int fd = raw_connect(&f);
        raw_send(fd, rows[i].hex);
        RUN_UNTIL(&f, f.server.closed);
        check_why(&f.server, rows[i].code, rows[i].words);
        (void)close(fd);
        finish(&f);
    }
}

static void an_end_inside_a_message_says_so(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, false);
    int fd = raw_connect(&f);
    raw_send(fd, "0000000304");
    (void)close(fd);
    RUN_UNTIL(&f, f.server.closed);
    check_why(&f.server, ERR_CLOSED, "in the middle of a message");
    finish(&f);
}

static void a_slow_frame_meets_its_deadline(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, false);
    f.server_frame_ms = 30;
    int fd = raw_connect(&f);
    raw_send(fd, "0000000304080100"); /* a whole message, then one byte of the next */
    RUN_UNTIL(&f, f.server.closed);
    assert_int_equal(f.server.messages, 1);
    check_why(&f.server, ERR_DEADLINE, "did not end in time");
    (void)close(fd);
    finish(&f);
}

static void a_slow_handshake_meets_its_deadline(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, true);
    f.server_handshake_ms = 30;
    int fd = raw_connect(&f);
    raw_send(fd, "160301");
    RUN_UNTIL(&f, f.server.closed);
    check_why(&f.server, ERR_DEADLINE, "handshake");
    (void)close(fd);
    finish(&f);
}

static void the_owners_deadline_closes_with_its_words(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, true);
    dial(&f, NULL);
    both_ready(&f);
    conn_deadline(f.server.conn, 1, "first");
    conn_deadline(f.server.conn, 0, NULL);
    conn_deadline(f.server.conn, 20, "waiting for Attest");
    RUN_UNTIL(&f, f.server.closed);
    check_why(&f.server, ERR_DEADLINE, "waiting for Attest");
    finish(&f);
}

static void a_half_closed_peer_gets_its_answer(void **state)
{
    (void)state;
    struct fixture f;
    char answer[16];
    start(&f, false);
    f.server.pause_on = true;
    int fd = raw_connect(&f);
    raw_send(fd, "00000003040805");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    RUN_UNTIL(&f, f.server.closed);
    assert_int_equal(f.server.messages, 1);
    check_why(&f.server, ERR_CLOSED, "closed the connection");
    assert_int_equal(recv(fd, answer, sizeof(answer), 0), 7);
    assert_memory_equal(answer, "\0\0\0\3\4\10\6", 7);
    assert_int_equal(recv(fd, answer, sizeof(answer), 0), 0);
    (void)close(fd);
    finish(&f);
}

static void paused_messages_come_one_by_one_and_in_order(void **state)
{
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct fixture f;
        start(&f, tls);
        f.server.pause_on = true;
        dial(&f, NULL);
        both_ready(&f);
        for (uint64_t i = 1; i <= 50; i++)
            send_number(&f.client, i);
        RUN_UNTIL(&f, f.client.messages == 50);
        assert_int_equal(f.server.messages, 50);
        assert_int_equal(f.client.last_number, 51);
        finish(&f);
    }
}

/* While the owner pauses nothing is read: the kernel's buffers fill and the sender stops. */
static void a_paused_owner_is_not_flooded(void **state)
{
    (void)state;
    static const uint8_t good[7] = {0, 0, 0, 3, 4, 8, 5};
    static uint8_t flood[7 * 1000];
    for (size_t i = 0; i < sizeof(flood); i++)
        flood[i] = good[i % 7];
    struct fixture f;
    start(&f, false);
    int fd = raw_connect(&f);
    RUN_UNTIL(&f, f.server.ready);
    conn_pause(f.server.conn, true);
    size_t sent = 0;
    for (unsigned quiet = 0; quiet < 1000 && sent < (size_t)64 << 20;) {
        ssize_t n = send(fd, flood, sizeof(flood), MSG_NOSIGNAL);
        quiet = n < 0 ? quiet + 1 : 0;
        sent += n > 0 ? (size_t)n : 0;
        (void)uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    assert_true(sent < (size_t)32 << 20);
    assert_int_equal(f.server.messages, 0);
    conn_pause(f.server.conn, false);
    RUN_UNTIL(&f, f.server.messages >= 1000);
    (void)close(fd);
    finish(&f);
}

static void a_peer_that_does_not_read_fills_a_bounded_queue(void **state)
{
    (void)state;
    static const uint8_t text[1000000];
    static struct msg_note note = {.text = {text, sizeof(text)}};
    struct message m = {.type = MESSAGE_DOCUMENTS, .documents = {.notes = {.at = &note, .count = 1}}};
    struct fixture f;
    start(&f, false);
    int fd = raw_connect(&f);
    RUN_UNTIL(&f, f.server.ready);
    int rc = 0;
    size_t count = 0;
    struct err err = {0};
    while (rc == 0 && count < 1000) {
        rc = conn_send(f.server.conn, &m, &err);
        count += rc == 0;
    }
    assert_int_equal(rc, ERR_FULL);
    assert_true(count >= 8 && count < 30); /* the queue and the kernel's buffers */
    assert_int_equal(f.server.closed, 0);
    conn_abort(f.server.conn, ERR_FULL, "peer does not read");
    RUN_UNTIL(&f, f.server.closed);
    check_why(&f.server, ERR_FULL, "peer does not read");
    (void)close(fd);
    finish(&f);
}

static void an_unreachable_peer_is_an_event(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, true);
    struct sockaddr_in nobody = f.address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* bound, not listening: refused */
    socklen_t len = sizeof(nobody);
    nobody.sin_port = 0;
    assert_int_equal(bind(fd, (const struct sockaddr *)&nobody, sizeof(nobody)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&nobody, &len), 0);
    f.address = nobody;
    dial(&f, NULL);
    RUN_UNTIL(&f, f.client.closed);
    check_why(&f.client, ERR_CLOSED, "cannot connect to 127.0.0.1: connection refused");
    (void)close(fd);
    finish(&f);
}

static void sending_before_ready_or_after_the_end_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct message m = {.type = MESSAGE_BUSY, .busy = {.retry_after_ms = 1}};
    start(&f, true);
    dial(&f, NULL);
    assert_int_equal(conn_send(f.client.conn, &m, NULL), ERR_CLOSED);
    both_ready(&f);
    conn_close(f.client.conn);
    assert_int_equal(conn_send(f.client.conn, &m, NULL), ERR_CLOSED);
    finish(&f);
}

/* A client that still sends while the node closes must not be reset: it would lose the answer that is on its way. */
static void a_closing_node_reads_on_for_a_moment(void **state)
{
    (void)state;
    struct fixture f;
    char answer[16];
    ssize_t n = -1;
    start(&f, false);
    f.server.answer = f.server.close_on = true;
    int fd = raw_connect(&f);
    raw_send(fd, "00000003040805");
    RUN_UNTIL(&f, f.server.messages == 1);
    raw_send(fd, "00000003040806"); /* nobody wants this one */
    for (size_t got = 0; n != 0; got += n > 0 ? (size_t)n : 0) {
        (void)uv_run(&f.loop, UV_RUN_NOWAIT);
        n = recv(fd, answer, sizeof(answer), 0);
        assert_true(n > 0 || (n == 0 && got == 7) || (n < 0 && errno == EAGAIN));
    }
    for (unsigned i = 0; i < 3; i++) { /* a reset would answer the first and fail the next */
        raw_send(fd, "00000003040807");
        (void)uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(f.server.closed, 0);
    (void)close(fd);
    RUN_UNTIL(&f, f.server.closed);
    assert_int_equal(f.server.messages, 1);
    assert_int_equal(f.server.why.code, 0);
    finish(&f);
}

static void the_first_reason_counts(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, true);
    dial(&f, NULL);
    both_ready(&f);
    conn_close(f.server.conn);
    conn_abort(f.server.conn, ERR_INTERNAL, "later");
    conn_abort(f.client.conn, ERR_ORDER, "first");
    conn_abort(f.client.conn, ERR_INTERNAL, "later");
    conn_close(f.client.conn);
    RUN_UNTIL(&f, f.client.closed && f.server.closed);
    assert_int_equal(f.server.why.code, 0);
    check_why(&f.client, ERR_ORDER, "first");
    finish(&f);
}

static void closing_from_a_callback_ends_the_rest(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, false);
    f.server.close_on = true;
    int fd = raw_connect(&f);
    raw_send(fd, "0000000304080500000003040806"); /* two messages in one read */
    RUN_UNTIL(&f, f.server.messages > 0);
    (void)close(fd);
    RUN_UNTIL(&f, f.server.closed);
    assert_int_equal(f.server.messages, 1);
    assert_int_equal(f.server.why.code, 0);
    finish(&f);
}

static void unix_sockets_know_the_peers_uid(void **state)
{
    (void)state;
    struct fixture f;
    unsigned uid = 12345;
    start(&f, false);
    uv_close(&f.listener.handle, NULL);
    (void)uv_run(&f.loop, UV_RUN_NOWAIT);
    (void)snprintf(f.path, sizeof(f.path), "/tmp/conn-test-%d", (int)getpid());
    (void)unlink(f.path);
    assert_int_equal(uv_pipe_init(&f.loop, &f.listener.pipe, 0), 0);
    f.listener.handle.data = &f;
    assert_int_equal(uv_pipe_bind(&f.listener.pipe, f.path), 0);
    assert_int_equal(uv_listen(&f.listener.stream, 4, on_connection), 0);
    f.server.answer = true;
    assert_int_equal(conn_dial_unix(&f.loop, f.path, &events, &f.client, &f.client.conn), 0);
    both_ready(&f);
    assert_int_equal(conn_peer_uid(f.server.conn, &uid), 0);
    assert_int_equal(uid, getuid());
    send_number(&f.client, 7);
    RUN_UNTIL(&f, f.client.messages == 1);
    finish(&f);
    (void)unlink(f.path);
}

static void addresses_are_numeric_and_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      ":80",
                                      "127.0.0.1:65536",
                                      "1.2.3:4",
                                      "127.0.0.1:080",
                                      "127.0.0.1:80 ",
                                      "[::1]",
                                      "[::1:80",
                                      "[::1]80",
                                      "::1:80",
                                      "localhost:7600",
                                      "[1.2.3.4]:1",
                                      "127.0.0.1:-1",
                                      "127.0.0.1:+1",
                                      "[fe80::1%lo]:1"};
    struct sockaddr_storage out;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (conn_parse_address(bad[i], &out) != ERR_FORMAT)
            fail_msg("\"%s\" was accepted", bad[i]);
    assert_int_equal(conn_parse_address("127.0.0.11:7600", &out), 0);
    memcpy(&in, &out, sizeof(in));
    assert_int_equal(in.sin_family, AF_INET);
    assert_int_equal(ntohs(in.sin_port), 7600);
    assert_int_equal(ntohl(in.sin_addr.s_addr), 0x7f00000b);
    assert_int_equal(conn_parse_address("[::1]:65535", &out), 0);
    memcpy(&in6, &out, sizeof(in6));
    assert_int_equal(in6.sin6_family, AF_INET6);
    assert_int_equal(ntohs(in6.sin6_port), 65535);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_go_both_ways),
        cmocka_unit_test(a_large_message_arrives_before_the_close),
        cmocka_unit_test(the_address_is_the_peers),
        cmocka_unit_test(a_refused_certificate_is_told_to_both),
        cmocka_unit_test(a_refusing_node_is_heard_by_a_client_that_talks_at_once),
        cmocka_unit_test(bad_frames_close),
        cmocka_unit_test(an_end_inside_a_message_says_so),
        cmocka_unit_test(a_slow_frame_meets_its_deadline),
        cmocka_unit_test(a_slow_handshake_meets_its_deadline),
        cmocka_unit_test(the_owners_deadline_closes_with_its_words),
        cmocka_unit_test(a_half_closed_peer_gets_its_answer),
        cmocka_unit_test(paused_messages_come_one_by_one_and_in_order),
        cmocka_unit_test(a_paused_owner_is_not_flooded),
        cmocka_unit_test(a_peer_that_does_not_read_fills_a_bounded_queue),
        cmocka_unit_test(an_unreachable_peer_is_an_event),
        cmocka_unit_test(sending_before_ready_or_after_the_end_is_refused),
        cmocka_unit_test(a_closing_node_reads_on_for_a_moment),
        cmocka_unit_test(the_first_reason_counts),
        cmocka_unit_test(closing_from_a_callback_ends_the_rest),
        cmocka_unit_test(unix_sockets_know_the_peers_uid),
        cmocka_unit_test(addresses_are_numeric_and_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
