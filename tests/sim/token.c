/* token: what tokend does, in software and in virtual time. */
#include "tests/sim/token.h"
#include "common/crypto/keywrap.h"
#include "common/ledger/checkpoint.h"
#include "common/walk/derive.h"
#include "node/token/request.h"
#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MAX (64u * 1024u)
#define PENDING_MAX 256u

struct request {
    struct door *door;
    struct request *next;
    struct message *m, *reply;
    struct err err;
    struct sim_event *work, *deadline;
    token_done done;
    void *arg;
};

struct door {
    struct token token;
    struct run *run;
    struct request *pending;
    unsigned count;
    bool closed;
};

/* ---- the work */

static int unwrap_share(const struct cast_node *n, const struct release *r, struct secret **ret)
{
    struct secret *k = NULL;
    TRY(derive(CAST_PROFILE, n->seal, BYTES_OF(r->point), r->ctx_share, &k));
    int rc = keywrap_unwrap(k, BYTES_OF(r->sealed), ret);
    secret_free(k);
    return rc;
}

static int make_kek(const struct cast_node *n, const struct release *r, struct secret **ret)
{
    struct session_fields f = r->session;
    uint8_t ctx[HASH_LEN];
    for (size_t i = 0; i < r->previous_count; i++) {
        struct secret *tag = NULL;
        TRY(derive(CAST_PROFILE, n->peer, BYTES_OF(r->previous[i].point), r->previous[i].ctx_tag, &tag));
        int rc = derive_lock(tag, r->previous[i].node, f.node, f.lock[i]);
        secret_free(tag);
        TRY(rc);
    }
    f.lock_count = r->previous_count;
    context_session(&f, ctx);
    return derive(CAST_PROFILE, n->kem, BYTES_OF(r->session_key), ctx, ret);
}

static int wrap_tag(const struct cast_node *n, const struct neighbour *b, const struct secret *kek, uint8_t *ret)
{
    struct secret *tag = NULL;
    TRY(derive(CAST_PROFILE, n->peer, BYTES_OF(b->point), b->ctx_tag, &tag));
    int rc = keywrap_wrap(kek, tag, ret);
    secret_free(tag);
    return rc;
}

static int make_answer(const struct cast_node *n, const struct release *r, const struct secret *kek, struct buf *out,
                       struct err *err)
{
    uint8_t wrapped[SEALED_LEN], tag[SLOT_MAX][WRAPPED_TAG_LEN];
    struct msg_wrapped_tag at[SLOT_MAX];
    struct secret *share = NULL;
    TRY(unwrap_share(n, r, &share));
    int rc = keywrap_wrap(kek, share, wrapped);
    secret_free(share);
    for (size_t i = 0; rc == 0 && i < r->next_count; i++) {
        rc = wrap_tag(n, &r->next[i], kek, tag[i]);
        at[i] = (struct msg_wrapped_tag){r->next[i].slot, BYTES_OF(tag[i])};
    }
    struct message m = {.type = MESSAGE_ANSWER, .answer = {.share = BYTES_OF(wrapped)}};
    m.answer.tags.at = at;
    m.answer.tags.count = r->next_count;
    return rc == 0 ? message_pack(&m, out, err) : rc;
}

static int release_share(const struct cast_node *n, const struct msg_token_release *m, struct buf *out, struct err *err)
{
    const struct request_self self = {.network = bytes_str(CAST_NETWORK),
                                      .node = bytes_str(n->name),
                                      .profile = CAST_PROFILE,
                                      .kem = n->kem_point,
                                      .seal = n->seal_point,
                                      .peer = n->peer_point};
    struct release r;
    struct secret *kek = NULL;
    TRY(request_check(m, &self, &r, err));
    int rc = make_kek(n, &r, &kek);
    if (rc == 0)
        rc = make_answer(n, &r, kek, out, err);
    secret_free(kek);
    return rc == 0 || err->code != 0 ? rc : err_set(err, ERR_TOKEN, "the token refused: %s", err_name(rc));
}

static int sign_checkpoint(const struct cast_node *n, const struct msg_token_sign *m, uint8_t *ret)
{
    struct checkpoint c = {.size = m->size};
    struct buf text;
    assert(m->root.len == HASH_LEN);
    memcpy(c.origin, n->log_key.name, sizeof(c.origin));
    memcpy(c.root, m->root.p, HASH_LEN);
    buf_init(&text, CHECKPOINT_MAX);
    checkpoint_text(&c, &text);
    int rc = buf_ok(&text) ? ed25519_sign(n->log, buf_view(&text), ret) : ERR_NOMEM;
    buf_done(&text);
    return rc;
}

/* A message of its own, as if it had come over a socket. */
static struct message *copy(const struct message *m)
{
    struct buf wire;
    struct message *c = NULL;
    struct err err = {.code = 0};
    buf_init(&wire, 256 * 1024);
    int rc = message_pack(m, &wire, &err);
    if (rc == 0)
        rc = message_unpack(m->type, buf_view(&wire), &c, &err);
    assert(rc == 0);
    buf_done(&wire);
    return c;
}

static int make_reply(struct request *q)
{
    struct sim_node *n = q->door->run->of;
    if (q->m->type == MESSAGE_TOKEN_RELEASE) {
        struct buf answer;
        buf_init(&answer, REPLY_MAX);
        int rc = release_share(n->cast, &q->m->token_release, &answer, &q->err);
        struct message m = {.type = MESSAGE_TOKEN_ANSWER, .token_answer = {.answer = buf_view(&answer)}};
        if (rc == 0)
            q->reply = copy(&m);
        buf_done(&answer);
        return rc;
    }
    assert(q->m->type == MESSAGE_TOKEN_SIGN);
    uint8_t sig[ED25519_SIGNATURE_LEN];
    TRY(sign_checkpoint(n->cast, &q->m->token_sign, sig));
    struct message m = {.type = MESSAGE_TOKEN_SIGNATURE, .token_signature = {.signature = BYTES_OF(sig)}};
    q->reply = copy(&m);
    oracle_signed(n->sim->oracle, n, q->m->token_sign.size, q->m->token_sign.root.p);
    return 0;
}

/* ---- requests */

static void unlink_it(struct request *q)
{
    struct request **at = &q->door->pending;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    q->door->count--;
}

static void answer(struct request *q)
{
    struct request r = *q;
    unlink_it(q);
    sim_cancel(&q->work);
    sim_cancel(&q->deadline);
    free(q);
    r.done(r.arg, r.reply, r.reply != NULL ? NULL : &r.err);
    message_free(r.reply);
    message_free(r.m);
}

static void on_deadline(void *arg)
{
    struct request *q = arg;
    q->deadline = NULL;
    message_free(q->reply);
    q->reply = NULL;
    (void)err_set(&q->err, ERR_DEADLINE, "the token does not answer");
    answer(q);
}

static bool refuses(enum token_mode mode, enum message_type type)
{
    return mode == TOKEN_FAILS || mode == TOKEN_AWAY || (mode == TOKEN_NO_SIGN && type == MESSAGE_TOKEN_SIGN);
}

static void say(struct request *q)
{
    struct run *r = q->door->run;
    if (r->dead)
        return;
    if (q->m->type == MESSAGE_TOKEN_RELEASE)
        sim_trace(r->sim, r->of->name, q->reply != NULL ? "token wraps a share" : "token refuses");
    else
        sim_trace(r->sim, r->of->name, q->reply != NULL ? "token signs a tree of %llu" : "token does not sign %llu",
                  (unsigned long long)q->m->token_sign.size);
}

static void on_back(void *arg)
{
    struct request *q = arg;
    q->work = NULL;
    answer(q);
}

static void on_work(void *arg)
{
    struct request *q = arg;
    struct run *r = q->door->run;
    enum token_mode mode = r->of->token_mode;
    q->work = NULL;
    if (mode == TOKEN_HANGS)
        return; /* until the deadline */
    if (r->dead || q->door->closed || refuses(mode, q->m->type))
        (void)err_set(&q->err, ERR_TOKEN, "the token is away");
    else if (make_reply(q) != 0 && q->err.code == 0)
        (void)err_set(&q->err, ERR_TOKEN, "the token failed");
    say(q);
    bool release = q->m->type == MESSAGE_TOKEN_RELEASE, grant = r->grant_unsigned;
    if (!release)
        r->grant_unsigned = false;
    if (q->reply != NULL && (release || grant))
        (void)run_strikes(r, release ? POINT_TOKEN_MADE : POINT_SIGNED);
    q->work = sim_after(r->sim, 1, on_back, q);
}

static int ask(struct token *t, struct message *m, unsigned deadline_ms, token_done done, void *arg)
{
    struct door *d = t->self;
    struct run *r = d->run;
    bool release = m->type == MESSAGE_TOKEN_RELEASE;
    if (release || r->grant_unsigned)
        (void)run_strikes(r, release ? POINT_TOKEN_ASKED : POINT_SIGN_ASKED);
    if (r->dead || d->closed || r->of->token_mode == TOKEN_AWAY)
        return ERR_TOKEN;
    if (d->count >= PENDING_MAX)
        return ERR_BUSY;
    struct request *q = calloc(1, sizeof(*q));
    assert(q != NULL);
    *q = (struct request){.door = d, .next = d->pending, .m = copy(m), .done = done, .arg = arg};
    d->pending = q;
    d->count++;
    q->work = sim_after(r->sim, sim_delay(r->sim, DELAY_TOKEN), on_work, q);
    q->deadline = sim_after(r->sim, deadline_ms, on_deadline, q);
    return 0;
}

static const char *health(const struct token *t)
{
    const struct door *d = t->self;
    return d->run->of->token_mode == TOKEN_SOUND ? "ok" : "absent";
}

struct door *door_new(struct run *run)
{
    struct door *d = calloc(1, sizeof(*d));
    assert(d != NULL);
    *d = (struct door){.token = {ask, health, NULL}, .run = run};
    d->token.self = d;
    return d;
}

struct token *door_token(struct door *d)
{
    return &d->token;
}

void door_close(struct door *d)
{
    d->closed = true;
}

void door_free(struct door *d)
{
    assert(d->pending == NULL);
    free(d);
}
