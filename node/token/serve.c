/* serve: what tokend's forked processes do. */
#include "node/token/serve.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/ledger/checkpoint.h"
#include "common/net/identity.h"
#include "node/token/canary.h"
#include "node/token/ids.h"
#include "node/token/leaf.h"
#include "node/token/release.h"
#include "node/token/softhsm.h"
#include "proto/frame.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY_MAX (16u * 1024u)
#define IDENTITY_MAX (8u * 1024u)

struct server {
    const struct tokend_config *config;
    int fd;
    struct vault vault;
    struct buf identity; /* DER */
    struct buf scratch;  /* what a reply's views point to */
    uint8_t sig[ED25519_SIGNATURE_LEN];
    uint8_t record[RECORD_MAX + 1];
};

/* The certificate file and the token must name the same key. */
static int check_identity(struct server *s, struct err *err)
{
    uint8_t want[HASH_LEN], got[HASH_LEN];
    TRY(leaf_identity(s->config, &s->identity, err));
    ec_point_spki_hash(s->vault.keys.public[KEY_IDENTITY], want);
    if (identity_cert_key_hash(buf_view(&s->identity), got) != 0 || memcmp(want, got, HASH_LEN) != 0)
        return err_set(err, ERR_KEYS, "identity: %s does not belong to key identity of token %s", s->config->identity,
                       s->config->token);
    return 0;
}

static int server_open(struct server *s, struct err *err)
{
    TRY(secret_setup(err));
    TRY(vault_open(s->config, &s->vault, err));
    TRY(check_identity(s, err));
    return canary_run(&s->vault, err);
}

static struct server *server_new(const struct tokend_config *c, int fd)
{
    struct server *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->config = c;
    s->fd = fd;
    buf_init(&s->identity, IDENTITY_MAX);
    buf_init(&s->scratch, REPLY_MAX);
    return s;
}

static int complain(int rc, const struct err *err)
{
    log_error("token: %s (%s)", err->text, err_name(rc));
    return (int)err_exit(rc);
}

/* ---- requests: each fills *reply but its id; views may point into s->scratch */

static int on_release(struct server *s, const struct message *m, struct message *reply, struct err *err)
{
    struct request_self self = vault_self(&s->vault, s->config);
    struct release r;
    TRY(request_check(&m->token_release, &self, &r, err));
    TRY(release_make(&s->vault, &r, &s->scratch, err));
    reply->type = MESSAGE_TOKEN_ANSWER;
    reply->token_answer.answer = buf_view(&s->scratch);
    return 0;
}

/* The text is made here: the log key signs checkpoints of this node's own log and nothing else. */
static int on_sign(struct server *s, const struct message *m, struct message *reply, struct err *err)
{
    struct checkpoint c = {.size = m->token_sign.size};
    if (m->token_sign.root.len != HASH_LEN)
        return err_set(err, ERR_FORMAT, "sign: the root has %zu bytes", m->token_sign.root.len);
    memcpy(c.root, m->token_sign.root.p, HASH_LEN);
    (void)snprintf(c.origin, sizeof(c.origin), "%s/%s/log", s->config->network, s->config->node);
    checkpoint_text(&c, &s->scratch);
    if (!buf_ok(&s->scratch))
        return err_set(err, ERR_NOMEM, "sign: no memory");
    TRY(vault_sign(&s->vault, KEY_LOG, buf_view(&s->scratch), s->sig, err));
    reply->type = MESSAGE_TOKEN_SIGNATURE;
    reply->token_signature.signature = BYTES_OF(s->sig);
    return 0;
}

static int on_public(struct server *s, const struct message *m, struct message *reply, struct err *err)
{
    (void)m;
    (void)err;
    const struct keys *k = &s->vault.keys;
    reply->type = MESSAGE_TOKEN_PUBLIC;
    reply->token_public = (struct msg_token_public){
        .identity = buf_view(&s->identity),
        .kem = keys_public(k, KEY_KEM),
        .seal = keys_public(k, KEY_SEAL),
        .peer = keys_public(k, KEY_PEER),
        .log = keys_public(k, KEY_LOG),
        .mirror = keys_public(k, KEY_MIRROR),
        .profile = s->config->profile,
    };
    return 0;
}

static const struct {
    enum message_type type;
    int (*handle)(struct server *s, const struct message *m, struct message *reply, struct err *err);
} handlers[] = {
    {MESSAGE_TOKEN_RELEASE, on_release},
    {MESSAGE_TOKEN_SIGN, on_sign},
    {MESSAGE_TOKEN_PUBLIC_GET, on_public},
};

static int handle(struct server *s, const struct message *m, struct message *reply, struct err *err)
{
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
        if (handlers[i].type == m->type)
            return handlers[i].handle(s, m, reply, err);
    return err_set(err, ERR_ORDER, "%s is not served here", message_name(m->type));
}

/* ---- records */

static int send_message(int fd, const struct message *m, struct err *err)
{
    struct buf out;
    buf_init(&out, REPLY_MAX);
    int rc = record_pack(m, &out, err);
    if (rc == 0 && send(fd, out.p, out.len, MSG_NOSIGNAL) != (ssize_t)out.len)
        rc = err_set(err, ERR_CLOSED, "the node is gone: %s", strerror(errno));
    buf_done(&out);
    return rc;
}

static int send_failure(int fd, uint64_t id, int code, const struct err *why, struct err *err)
{
    struct message m = {.type = MESSAGE_TOKEN_FAILURE};
    char text[ERR_TEXT_MAX];
    (void)snprintf(text, sizeof(text), "%s", why->text);
    for (char *c = text; *c != '\0'; c++) /* strings on the wire are printable ASCII */
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    m.token_failure = (struct msg_token_failure){id, err_wire(code), bytes_str(text)};
    return send_message(fd, &m, err);
}

/* One record; *ret_message NULL when the node closed. Records that do not parse are answered with id 0 and passed over.
 */
static int receive(struct server *s, struct message **ret_message, struct err *err)
{
    for (;;) {
        struct err why = {0};
        ssize_t n = recv(s->fd, s->record, sizeof(s->record), MSG_TRUNC);
        if (n < 0 && errno == EINTR)
            continue;
        *ret_message = NULL;
        if (n <= 0)
            return 0;
        int rc = (size_t)n > RECORD_MAX ? err_set(&why, ERR_TOO_LONG, "a record of %zd bytes", n)
                                        : record_unpack(BYTES(s->record, (size_t)n), ret_message, &why);
        if (rc == 0)
            return 0;
        TRY(send_failure(s->fd, 0, rc, &why, err));
    }
}

static int answer(struct server *s, struct message *m, struct err *err)
{
    struct message reply = {.type = MESSAGE_TOKEN_FAILURE};
    struct err why = {0};
    uint64_t id = *ids_of(m);
    s->scratch.len = 0;
    int rc = handle(s, m, &reply, &why);
    if (rc != 0) {
        TRY(send_failure(s->fd, id, rc, &why, err));
        if (rc == ERR_TOKEN) /* the request's fault or the token's? */
            TRY(canary_run(&s->vault, err));
    } else {
        *ids_of(&reply) = id;
        TRY(send_message(s->fd, &reply, err));
    }
    return s->vault.stuck ? err_set(err, ERR_TOKEN, "a session object could not be destroyed") : 0;
}

static int serve(struct server *s, struct err *err, int *ret_exit)
{
    for (unsigned n = 0; n < s->config->requests; n++) {
        struct message *m = NULL;
        TRY(receive(s, &m, err));
        *ret_exit = SERVE_EXIT_CLOSED;
        if (m == NULL)
            return 0;
        (void)alarm(SERVE_REQUEST_SECONDS);
        int rc = answer(s, m, err);
        (void)alarm(0);
        message_free(m);
        TRY(rc);
    }
    *ret_exit = SERVE_EXIT_RECYCLE;
    return 0;
}

int serve_probe(const struct tokend_config *c)
{
    struct err err = {0};
    struct server *s = server_new(c, -1);
    if (s == NULL)
        return EXIT_INTERNAL;
    int rc = server_open(s, &err);
    if (rc != 0)
        tokend_config_place(c, &err);
    return rc == 0 ? EXIT_DONE : complain(rc, &err);
}

static int say_ready(int ready_fd, struct err *err)
{
    pid_t self = getpid();
    if (write(ready_fd, &self, sizeof(self)) != (ssize_t)sizeof(self))
        return err_set(err, ERR_IO, "the master is gone: %s", strerror(errno));
    return 0;
}

int serve_requests(const struct tokend_config *c, int fd, int ready_fd)
{
    struct err err = {0};
    int code = EXIT_INTERNAL;
    struct server *s = server_new(c, fd);
    if (s == NULL)
        return EXIT_INTERNAL;
    (void)alarm(SERVE_REQUEST_SECONDS);
    int rc = server_open(s, &err);
    (void)alarm(0);
    if (rc == 0)
        rc = say_ready(ready_fd, &err);
    if (rc == 0)
        rc = serve(s, &err, &code);
    if (rc == ERR_CLOSED)
        return SERVE_EXIT_CLOSED;
    return rc == 0 ? code : complain(rc, &err);
}

/* ---- one leaf */

static int issue(struct server *s, const struct tokend_config *mine, const struct msg_token_leaf *m, struct err *err)
{
    struct leaf_key *key = NULL;
    struct clock clock = clock_system();
    TRY(leaf_key_open(mine, &key, err));
    int rc = leaf_issue(key, buf_view(&s->identity), s->config->node, m, clock.now_ms(clock.arg), &s->scratch, err);
    leaf_key_close(key);
    return rc;
}

static int leaf(struct server *s, const struct message *m, struct message *reply, struct err *err)
{
    struct tokend_config mine;
    if (m->type != MESSAGE_TOKEN_LEAF)
        return err_set(err, ERR_ORDER, "%s is not served here", message_name(m->type));
    TRY(secret_setup(err));
    TRY(leaf_identity(s->config, &s->identity, err));
    TRY(softhsm_copy(s->config, &mine, err));
    int rc = issue(s, &mine, &m->token_leaf, err);
    softhsm_drop(s->config, getpid());
    reply->type = MESSAGE_TOKEN_CERTIFICATE;
    reply->token_certificate = (struct msg_token_certificate){m->token_leaf.id, buf_view(&s->scratch)};
    return rc;
}

int serve_leaf(const struct tokend_config *c, int fd)
{
    struct err err = {0}, why = {0};
    struct message *m = NULL, reply = {.type = MESSAGE_TOKEN_FAILURE};
    struct server *s = server_new(c, fd);
    if (s == NULL)
        return EXIT_INTERNAL;
    (void)alarm(SERVE_REQUEST_SECONDS);
    int rc = receive(s, &m, &err);
    if (rc != 0 || m == NULL)
        return SERVE_EXIT_CLOSED;
    rc = leaf(s, m, &reply, &why);
    rc = rc == 0 ? send_message(fd, &reply, &err) : send_failure(fd, *ids_of(m), rc, &why, &err);
    return rc == 0 || rc == ERR_CLOSED ? SERVE_EXIT_CLOSED : complain(rc, &err);
}
