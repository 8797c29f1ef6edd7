/* fetch: GetDocuments out, Documents back. */
#include "orchestrator/fetch.h"
#include <stdlib.h>
#include <string.h>

struct fetch {
    struct dial *dial;
    struct fetch_want wants[FETCH_WANTS_MAX];
    size_t count;
    fetch_done done;
    void *arg;
};

static void finish(struct fetch *f, const struct msg_documents *documents, const struct err *err)
{
    dial_close(f->dial);
    f->dial = NULL;
    f->done(f->arg, documents, err);
}

static void on_ready(void *arg, struct conn *c, const struct tls_peer *peer)
{
    struct fetch *f = arg;
    struct msg_document_want wants[FETCH_WANTS_MAX] = {0};
    (void)peer;
    for (size_t i = 0; i < f->count; i++) {
        wants[i].type = bytes_str(document_type_name(f->wants[i].type));
        wants[i].name = bytes_str(f->wants[i].name);
        if (f->wants[i].by_hash)
            wants[i].hash = BYTES_OF(f->wants[i].hash);
    }
    struct message m = {.type = MESSAGE_GET_DOCUMENTS, .get_documents = {.wants = {wants, f->count}}};
    struct err err = {0};
    if (conn_send(c, &m, &err) != 0) {
        finish(f, NULL, &err);
        return;
    }
    conn_deadline(c, FETCH_ANSWER_MS, "waiting for documents");
}

static void on_message(void *arg, struct message *m)
{
    struct fetch *f = arg;
    struct err err = {0};
    if (m->type == MESSAGE_DOCUMENTS) {
        finish(f, &m->documents, NULL);
    } else {
        int code = m->type == MESSAGE_DENY ? err_from_wire((unsigned)m->deny.code) : ERR_BUSY;
        err_set(&err, code, "the configuration server refused: %s", err_advice_text(code));
        finish(f, NULL, &err);
    }
    message_free(m);
}

static void on_close(void *arg, const struct err *why)
{
    struct err copy = *why; /* it belongs to the dial that finish() ends */
    finish(arg, NULL, &copy);
}

static bool allowed(void *arg, enum message_type type)
{
    (void)arg;
    return type == MESSAGE_DOCUMENTS || type == MESSAGE_DENY || type == MESSAGE_BUSY;
}

static const struct dial_events events = {
    .on_ready = on_ready, .on_message = on_message, .on_close = on_close, .allowed = allowed};

int fetch_start(uv_loop_t *loop, struct tls_context *tls, const struct dial_target *server,
                const struct fetch_want *wants, size_t count, fetch_done done, void *arg, struct fetch **ret,
                struct err *err)
{
    if (count == 0 || count > FETCH_WANTS_MAX)
        return err_set(err, ERR_TOO_LONG, "%zu documents wanted at once", count);
    struct fetch *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    memcpy(f->wants, wants, count * sizeof(*wants));
    f->count = count;
    f->done = done;
    f->arg = arg;
    int rc = dial_start(loop, tls, server, &events, f, &f->dial, err);
    if (rc != 0) {
        free(f);
        return rc;
    }
    *ret = f;
    return 0;
}

void fetch_free(struct fetch *f)
{
    if (f == NULL)
        return;
    dial_close(f->dial);
    free(f);
}
