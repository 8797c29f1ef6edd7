/* leaf: the node's TLS certificate, its renewal, and the TLS contexts. */
#include "node/leaf.h"
#include "common/net/identity.h"
#include <stdlib.h>
#include <string.h>

#define BACKDATE_MS 300000u
#define HOUR_MS 3600000u
#define DEADLINE_MS 5000u
#define RETRY_MS 1000u
#define ANCHORS_MAX 1100u
#define CERTIFICATE_MAX 8192u

struct leaf {
    struct node *node;
    void (*changed)(void *arg, const struct err *err);
    void *arg;
    struct buf identity;    /* DER */
    void *identity_key;     /* role config */
    void *key, *next_key;   /* of the leaf in force; of the one being asked for */
    struct buf certificate; /* in force */
    uint64_t renew_ms, retry_ms;
    bool asking;
    struct tls_context *context;
};

static int load_identity(struct leaf *l, struct err *err)
{
    const struct node_config *c = l->node->config;
    struct buf pem;
    buf_init(&pem, 65536);
    int rc = file_read(c->identity, 65536, &pem, err);
    if (rc == 0)
        rc = identity_cert_from_pem(buf_view(&pem), &l->identity, err);
    buf_done(&pem);
    if (rc == 0 && c->identity_key != NULL)
        rc = identity_key_load(c->identity_key, &l->identity_key, err);
    if (rc != 0)
        return err_wrap(err, rc, "field identity: %s", c->identity);
    const struct document *roster = shelf_find(l->node->shelf, DOCUMENT_ROSTER, BYTES_NONE);
    const struct roster_node *me = roster != NULL ? roster_find(roster, bytes_str(c->name)) : NULL;
    if (me != NULL && !bytes_equal(BYTES(me->identity.der, me->identity.len), buf_view(&l->identity)))
        return err_set(err, ERR_CONFIG, "field identity: %s is not the certificate that the roster has for %s",
                       c->identity, c->name);
    return 0;
}

int leaf_new(struct node *n, void (*changed)(void *arg, const struct err *err), void *arg, struct leaf **ret,
             struct err *err)
{
    struct leaf *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    l->node = n;
    l->changed = changed;
    l->arg = arg;
    buf_init(&l->identity, CERTIFICATE_MAX);
    buf_init(&l->certificate, CERTIFICATE_MAX);
    int rc = load_identity(l, err);
    if (rc != 0) {
        leaf_free(l);
        return rc;
    }
    *ret = l;
    return 0;
}

void leaf_free(struct leaf *l)
{
    if (l == NULL)
        return;
    tls_context_unref(l->context);
    identity_key_free(l->key);
    identity_key_free(l->next_key);
    identity_key_free(l->identity_key);
    buf_done(&l->identity);
    buf_done(&l->certificate);
    free(l);
}

struct tls_context *leaf_context(const struct leaf *l)
{
    return l->context;
}

/* Every identity of the roster and every device CA of the root. */
static size_t collect_anchors(const struct node *n, struct bytes *anchors)
{
    size_t count = 0;
    const struct document *roster = shelf_find(n->shelf, DOCUMENT_ROSTER, BYTES_NONE);
    const struct document *root = shelf_find(n->shelf, DOCUMENT_ROOT, BYTES_NONE);
    for (size_t i = 0; roster != NULL && i < roster->roster.count && count < ANCHORS_MAX; i++)
        anchors[count++] = BYTES(roster->roster.nodes[i].identity.der, roster->roster.nodes[i].identity.len);
    for (size_t i = 0; root != NULL && i < root->root.device_ca_count && count < ANCHORS_MAX; i++)
        anchors[count++] = BYTES(root->root.device_cas[i].der, root->root.device_cas[i].len);
    return count;
}

static bool make_context(struct leaf *l)
{
    struct err err = {.code = 0};
    struct tls_context *fresh = NULL;
    struct bytes *anchors = calloc(ANCHORS_MAX, sizeof(*anchors));
    if (anchors == NULL)
        (void)err_set(&err, ERR_NOMEM, "out of memory");
    else {
        struct tls_settings s = {.server = true,
                                 .leaf_der = buf_view(&l->certificate),
                                 .leaf_key = l->key,
                                 .anchors = anchors,
                                 .anchor_count = collect_anchors(l->node, anchors)};
        (void)!tls_context_new(&s, &fresh, &err);
    }
    free(anchors);
    if (err.code == 0) {
        tls_context_unref(l->context);
        l->context = fresh;
    }
    l->changed(l->arg, err.code != 0 ? &err : NULL);
    return err.code == 0;
}

static void take(struct leaf *l, struct bytes der, uint64_t now_ms)
{
    buf_done(&l->certificate);
    buf_put(&l->certificate, der);
    identity_key_free(l->key);
    l->key = l->next_key;
    l->next_key = NULL;
    if (make_context(l))
        l->renew_ms = now_ms + (uint64_t)l->node->config->leaf_hours * HOUR_MS / 2;
    else
        l->retry_ms = now_ms + RETRY_MS;
}

static void failed(struct leaf *l, const struct err *err)
{
    identity_key_free(l->next_key);
    l->next_key = NULL;
    l->retry_ms = l->node->clock.now_ms(l->node->clock.arg) + RETRY_MS;
    l->changed(l->arg, err);
}

static void on_leaf(void *arg, const struct message *reply, const struct err *err)
{
    struct leaf *l = arg;
    l->asking = false;
    if (reply == NULL)
        failed(l, err);
    else
        take(l, reply->token_certificate.certificate, l->node->clock.now_ms(l->node->clock.arg));
}

/* "127.0.0.11:7600" → "127.0.0.11", "[::1]:7600" → "::1" */
static void host_of(const char *listen, char ret[64])
{
    const char *from = listen[0] == '[' ? listen + 1 : listen;
    const char *to = listen[0] == '[' ? strchr(from, ']') : strrchr(from, ':');
    size_t len = to != NULL ? (size_t)(to - from) : strlen(from);
    len = len < 63 ? len : 63;
    memcpy(ret, from, len);
    ret[len] = '\0';
}

static int ask_for_leaf(struct leaf *l, struct bytes spki, const char *host, uint64_t from_ms, uint64_t to_ms,
                        struct err *err)
{
    struct node *n = l->node;
    if (n->config->hsm) {
        struct message m = {
            .type = MESSAGE_TOKEN_LEAF,
            .token_leaf = {.spki = spki, .not_before_ms = from_ms, .not_after_ms = to_ms, .address = bytes_str(host)}};
        int rc = n->token->ask(n->token, &m, DEADLINE_MS, on_leaf, l);
        l->asking = rc == 0;
        return rc == 0 ? 0 : err_set(err, rc, "the token cannot be asked for a TLS certificate");
    }
    struct buf der;
    buf_init(&der, CERTIFICATE_MAX);
    int rc = identity_leaf(l->identity_key, buf_view(&l->identity), spki, n->config->name, host, false, from_ms, to_ms,
                           &der, err);
    if (rc == 0)
        take(l, buf_view(&der), from_ms + BACKDATE_MS);
    buf_done(&der);
    return rc;
}

void leaf_tick(struct leaf *l)
{
    struct node *n = l->node;
    uint64_t now_ms = n->clock.now_ms(n->clock.arg);
    if (l->asking || now_ms < l->renew_ms || now_ms < l->retry_ms)
        return;
    struct err err = {.code = 0};
    struct buf spki;
    char host[64];
    buf_init(&spki, 256);
    host_of(n->config->listen[0], host);
    int rc = identity_key_new(&l->next_key);
    if (rc == 0)
        rc = identity_spki(l->next_key, &spki);
    if (rc == 0)
        rc = ask_for_leaf(l, buf_view(&spki), host, now_ms - BACKDATE_MS,
                          now_ms + (uint64_t)n->config->leaf_hours * HOUR_MS, &err);
    buf_done(&spki);
    if (rc != 0) {
        if (err.code == 0)
            (void)err_set(&err, rc, "no TLS certificate could be made");
        failed(l, &err);
    }
}

void leaf_trust_changed(struct leaf *l)
{
    if (l->key != NULL && !make_context(l))
        l->renew_ms = 0; /* with a new certificate, at the next tick */
}
