/* control: a loop of its own per question. */
#include "orchestrator/cli/control.h"
#include "common/net/conn.h"
#include <stdlib.h>
#include <uv.h>

struct asking {
    const struct message *question;
    enum message_type expected;
    struct message *answer;
    struct err err;
    bool closed;
};

static void on_ready(struct conn *c, void *arg)
{
    struct asking *a = arg;
    if (conn_send(c, a->question, &a->err) != 0)
        conn_abort(c, a->err.code, a->err.text);
    else
        conn_deadline(c, CONTROL_MS, "waiting for the node's answer");
}

static void on_message(struct conn *c, void *arg, struct message *m)
{
    struct asking *a = arg;
    if (m->type == a->expected && a->answer == NULL) {
        a->answer = m;
        conn_close(c);
        return;
    }
    if (m->type == MESSAGE_DENY) {
        int code = m->deny.code <= UINT32_MAX ? err_from_wire((unsigned)m->deny.code) : ERR_INTERNAL;
        err_set(&a->err, code, "%s", err_advice_text(code));
    }
    message_free(m);
    conn_close(c);
}

static void on_close(struct conn *c, void *arg, const struct err *why)
{
    struct asking *a = arg;
    (void)c;
    a->closed = true;
    if (a->answer == NULL && a->err.code == 0)
        err_set(&a->err, why->code != 0 ? why->code : ERR_CLOSED, "%s",
                why->text[0] != '\0' ? why->text : "the node closed the connection");
}

static bool allowed(void *arg, enum message_type type)
{
    const struct asking *a = arg;
    return type == a->expected || type == MESSAGE_DENY;
}

static const struct conn_events events = {on_ready, on_message, on_close, allowed};

int control_ask(const char *socket_path, const struct message *question, enum message_type expected,
                struct message **ret_answer, struct err *err)
{
    struct asking a = {.question = question, .expected = expected};
    struct conn *conn;
    uv_loop_t loop;
    if (uv_loop_init(&loop) != 0)
        return err_set(err, ERR_NOMEM, "no event loop");
    int rc = conn_dial_unix(&loop, socket_path, &events, &a, &conn);
    if (rc != 0)
        err_set(&a.err, rc, "%s", err_advice_text(rc));
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    if (a.answer != NULL) {
        *ret_answer = a.answer;
        return 0;
    }
    return err_set(err, a.err.code, "%s: %s", socket_path, a.err.text);
}
