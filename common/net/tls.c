/* tls: one SSL object between two memory BIOs, with our one set of parameters. */
#include "common/net/tls.h"
#include "common/base/mutant.h"
#include "common/net/identity.h"
#include "common/walk/context.h"
#include <assert.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANCHORS_MAX 4096
#define KEY_UPDATES_MAX 16  /* of the peer on one connection: ours live for a few requests and need none */
#define PEER_CHAIN_MAX 8192 /* bytes of certificates a peer may send: one is expected */

struct tls_context {
    SSL_CTX *ssl;
    bool server;
    atomic_uint references;
    uint8_t key_hash[HASH_LEN], leaf_hash[HASH_LEN];
};

struct tls {
    struct tls_context *context;
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    unsigned key_updates;
    uint8_t *issuer; /* DER, made by tls_peer */
    int issuer_len;
};

/* ---- words for OpenSSL's reasons */

struct reason {
    int code;
    const char *text; /* %s: "the client" or "the node" */
};

/* Alerts that the peer sent: it refused us. */
static const struct reason refusals[] = {
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "%s refused our certificate: its issuer is not known there (compare the roster's "
                                   "identity or the root's device CA)"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
     "%s refused our certificate: expired there (renew it, or set one of the clocks)"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "%s refused our certificate: revoked"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, "%s refused our certificate: not made for this end of a connection"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,
     "%s refused our certificate: bad certificate (is it still valid, not yet valid?)"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "%s refused our certificate"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, "%s refused us: it asks for a certificate and we have none"},
    {SSL_R_TLSV1_ALERT_ACCESS_DENIED, "%s refused our certificate: access denied"},
    {SSL_R_TLSV1_ALERT_DECRYPT_ERROR, "%s refused our certificate: its signature does not hold"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "%s refused us: it does not speak TLS 1.3"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "%s refused us: no common key exchange or signature"},
};

/* What we ourselves refuse. */
static const struct reason ours[] = {
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "we refused %s: it sent no certificate"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "we refused %s: it does not speak TLS 1.3"},
    {SSL_R_NO_SUITABLE_KEY_SHARE, "we refused %s: it offers neither X25519 nor P-256"},
    {SSL_R_NO_SHARED_GROUPS, "we refused %s: it offers neither X25519 nor P-256"},
    {SSL_R_EXCESSIVE_MESSAGE_SIZE, "we refused %s: it sent more certificates than one"},
    {SSL_R_WRONG_VERSION_NUMBER, "%s does not speak TLS"},
    {SSL_R_HTTP_REQUEST, "%s does not speak TLS but HTTP"},
    {SSL_R_BAD_SIGNATURE, "we refused %s: the signature of its handshake does not hold"},
};

static const char *find_reason(const struct reason *table, size_t count, int code)
{
    for (size_t i = 0; i < count; i++)
        if (table[i].code == code)
            return table[i].text;
    return NULL;
}

#define FIND(table, code) find_reason((table), sizeof(table) / sizeof((table)[0]), (code))

static const char *peer_word(const struct tls *t)
{
    return t->context->server ? "the client" : "the node";
}

static int say(struct err *err, const char *text, const char *peer)
{
    const char *mark = strstr(text, "%s");
    assert(mark != NULL);
    return err_set(err, ERR_TLS, "%.*s%s%s", (int)(mark - text), text, peer, mark + 2);
}

/* Takes the first error of OpenSSL's queue and empties it. */
static int explain(struct tls *t, struct err *err)
{
    unsigned long e = ERR_peek_error();
    int code = ERR_GET_REASON(e);
    const char *detail = ERR_reason_error_string(e);
    const char *text = FIND(refusals, code);
    text = text != NULL ? text : FIND(ours, code);
    int rc;
    if (text != NULL)
        rc = say(err, text, peer_word(t));
    else if (code == SSL_R_CERTIFICATE_VERIFY_FAILED)
        rc = err_set(err, ERR_TLS, "we refused the certificate of %s: %s", peer_word(t),
                     X509_verify_cert_error_string(SSL_get_verify_result(t->ssl)));
    else if (code > SSL_AD_REASON_OFFSET)
        rc = err_set(err, ERR_TLS, "%s ended the handshake or connection: %s", peer_word(t),
                     detail != NULL ? detail : "alert");
    else
        rc = err_set(err, ERR_TLS, "connection with %s: %s", peer_word(t), detail != NULL ? detail : "protocol error");
    ERR_clear_error();
    return rc;
}

/* After an SSL call that did not succeed: 0 means that it waits for bytes. */
static int outcome(struct tls *t, int ssl_rc, struct err *err)
{
    switch (SSL_get_error(t->ssl, ssl_rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        ERR_clear_error();
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        ERR_clear_error();
        return err_set(err, ERR_CLOSED, "%s closed the connection", peer_word(t));
    default:
        return explain(t, err);
    }
}

/* ---- context */

/* Tests only: whoever comes is believed. */
static int any_certificate(int ok, X509_STORE_CTX *store)
{
    (void)ok;
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static bool set_parameters(SSL_CTX *c, bool server)
{
    SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER | (mutant("NO_CERT") ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT),
                       mutant("ANY_CERT") ? any_certificate : NULL);
    SSL_CTX_set_verify_depth(c, 1);
    SSL_CTX_set_max_cert_list(c, PEER_CHAIN_MAX);
    return SSL_CTX_set_min_proto_version(c, mutant("TLS12") ? TLS1_2_VERSION : TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) == 1 && SSL_CTX_set1_groups_list(c, "X25519:P-256") == 1 &&
           SSL_CTX_set_num_tickets(c, 0) == 1 && SSL_CTX_set_max_early_data(c, 0) == 1 &&
           SSL_CTX_set_recv_max_early_data(c, 0) == 1 &&
           X509_VERIFY_PARAM_set_purpose(SSL_CTX_get0_param(c),
                                         server ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER) == 1;
}

static X509 *parse_cert(struct bytes der)
{
    const uint8_t *p = der.p;
    if (der.len == 0 || der.len > IDENTITY_CERT_MAX)
        return NULL;
    X509 *x = d2i_X509(NULL, &p, (long)der.len);
    if (x != NULL && p == der.p + der.len)
        return x;
    X509_free(x);
    return NULL;
}

static int use_leaf(struct tls_context *c, const struct tls_settings *s, struct err *err)
{
    X509 *leaf = parse_cert(s->leaf_der);
    bool ok = leaf != NULL && s->leaf_key != NULL && SSL_CTX_use_certificate(c->ssl, leaf) == 1 &&
              SSL_CTX_use_PrivateKey(c->ssl, s->leaf_key) == 1 && SSL_CTX_check_private_key(c->ssl) == 1;
    X509_free(leaf);
    ERR_clear_error();
    if (!ok)
        return err_set(err, ERR_TLS, "our own certificate and key do not fit each other");
    sha256(s->leaf_der, c->leaf_hash);
    identity_spki_hash(s->leaf_key, c->key_hash);
    return 0;
}

static int add_anchors(struct tls_context *c, const struct tls_settings *s, struct err *err)
{
    if (s->anchor_count > ANCHORS_MAX)
        return err_set(err, ERR_TOO_LONG, "%zu trusted certificates, at most %d", s->anchor_count, ANCHORS_MAX);
    X509_STORE *store = SSL_CTX_get_cert_store(c->ssl);
    for (size_t i = 0; i < s->anchor_count; i++) {
        X509 *x = parse_cert(s->anchors[i]);
        bool ok = x != NULL && X509_STORE_add_cert(store, x) == 1;
        X509_free(x);
        ERR_clear_error();
        if (!ok)
            return err_set(err, ERR_TLS, "trusted certificate %zu is not a DER certificate", i);
    }
    return 0;
}

int tls_context_new(const struct tls_settings *s, struct tls_context **ret, struct err *err)
{
    struct tls_context *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return err_set(err, ERR_NOMEM, "TLS context");
    atomic_init(&c->references, 1);
    c->server = s->server;
    c->ssl = SSL_CTX_new(s->server ? TLS_server_method() : TLS_client_method());
    int rc = 0;
    if (c->ssl == NULL || !set_parameters(c->ssl, s->server))
        rc = err_set(err, ERR_TLS, "OpenSSL refuses our TLS parameters");
    ERR_clear_error();
    if (rc == 0)
        rc = use_leaf(c, s, err);
    if (rc == 0)
        rc = add_anchors(c, s, err);
    if (rc != 0) {
        tls_context_unref(c);
        return rc;
    }
    *ret = c;
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    atomic_fetch_add(&c->references, 1);
    return c;
}

void tls_context_unref(struct tls_context *c)
{
    if (c == NULL || atomic_fetch_sub(&c->references, 1) != 1)
        return;
    SSL_CTX_free(c->ssl);
    free(c);
}

void tls_own_key_hash(const struct tls_context *c, uint8_t ret[HASH_LEN])
{
    memcpy(ret, c->key_hash, HASH_LEN);
}

void tls_own_leaf_hash(const struct tls_context *c, uint8_t ret[HASH_LEN])
{
    memcpy(ret, c->leaf_hash, HASH_LEN);
}

/* ---- one connection */

static BIO *new_bio(void)
{
    BIO *b = BIO_new(BIO_s_mem());
    if (b != NULL)
        (void)BIO_set_mem_eof_return(b, -1); /* empty means "later", not "end" */
    return b;
}

/* Each key update costs its receiver a derivation, and an answer if the sender likes: a peer that floods us is cut off.
 */
static void on_tls_message(int written, int version, int type, const void *data, size_t len, SSL *ssl, void *arg)
{
    struct tls *t = arg;
    (void)version;
    (void)ssl;
    if (written == 0 && type == SSL3_RT_HANDSHAKE && len > 0 && *(const uint8_t *)data == SSL3_MT_KEY_UPDATE)
        t->key_updates++;
    if (t->key_updates > KEY_UPDATES_MAX && !mutant("KEY_UPDATES"))
        (void)BIO_reset(t->in); /* else SSL_read would first work through all of the flood that arrived at once */
}

int tls_new(struct tls_context *c, struct tls **ret)
{
    struct tls *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return ERR_NOMEM;
    t->context = tls_context_ref(c);
    t->ssl = SSL_new(c->ssl);
    t->in = new_bio();
    t->out = new_bio();
    if (t->ssl == NULL || t->in == NULL || t->out == NULL) {
        BIO_free(t->in);
        BIO_free(t->out);
        tls_free(t);
        ERR_clear_error();
        return ERR_NOMEM;
    }
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_msg_callback(t->ssl, on_tls_message);
    SSL_set_msg_callback_arg(t->ssl, t);
    if (c->server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    *ret = t;
    return 0;
}

void tls_free(struct tls *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl); /* and both BIOs */
    OPENSSL_free(t->issuer);
    tls_context_unref(t->context);
    free(t);
}

int tls_feed(struct tls *t, struct bytes from_peer, struct err *err)
{
    if (from_peer.len > INT32_MAX)
        return err_set(err, ERR_TOO_LONG, "too much at once");
    ERR_clear_error();
    if (from_peer.len > 0 && BIO_write(t->in, from_peer.p, (int)from_peer.len) != (int)from_peer.len) {
        ERR_clear_error();
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    if (SSL_is_init_finished(t->ssl))
        return 0;
    int rc = SSL_do_handshake(t->ssl);
    return rc == 1 ? 0 : outcome(t, rc, err);
}

bool tls_ready(const struct tls *t)
{
    return SSL_is_init_finished(t->ssl) == 1;
}

int tls_read(struct tls *t, uint8_t *out, size_t out_len, size_t *ret_len, struct err *err)
{
    *ret_len = 0;
    if (!tls_ready(t))
        return 0;
    ERR_clear_error();
    int rc = SSL_read_ex(t->ssl, out, out_len, ret_len);
    if (t->key_updates > KEY_UPDATES_MAX && !mutant("KEY_UPDATES")) {
        *ret_len = 0;
        ERR_clear_error();
        return err_set(err, ERR_TLS, "we refused %s: it changes its keys too often", peer_word(t));
    }
    return rc == 1 ? 0 : outcome(t, rc, err);
}

/* The outgoing BIO takes everything, so a write never waits. */
int tls_write(struct tls *t, struct bytes plain, struct err *err)
{
    if (!tls_ready(t))
        return err_set(err, ERR_TLS, "the handshake is not finished");
    ERR_clear_error();
    while (plain.len > 0) {
        size_t n = 0;
        int rc = SSL_write_ex(t->ssl, plain.p, plain.len, &n);
        if (rc != 1) {
            rc = outcome(t, rc, err);
            return rc != 0 ? rc : err_set(err, ERR_TLS, "the connection with %s does not take data", peer_word(t));
        }
        plain = BYTES(plain.p + n, plain.len - n);
    }
    return 0;
}

struct bytes tls_outgoing(struct tls *t)
{
    char *p = NULL;
    long len = BIO_get_mem_data(t->out, &p);
    return len > 0 ? BYTES(p, (size_t)len) : BYTES_NONE;
}

void tls_sent(struct tls *t, size_t n)
{
    char drop[4096];
    if (n == tls_outgoing(t).len) {
        (void)BIO_reset(t->out);
        return;
    }
    while (n > 0) {
        int got = BIO_read(t->out, drop, n < sizeof(drop) ? (int)n : (int)sizeof(drop));
        assert(got > 0); /* n is at most what tls_outgoing showed */
        n -= (size_t)got;
    }
}

void tls_close(struct tls *t)
{
    ERR_clear_error();
    if (tls_ready(t))
        (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}

/* ---- who is it */

int tls_exporter(struct tls *t, const uint8_t nonce[32], uint8_t ret[32])
{
    static const char label[] = EXPORTER_LABEL;
    ERR_clear_error();
    if (tls_ready(t) && SSL_export_keying_material(t->ssl, ret, 32, label, sizeof(label) - 1, nonce, 32, 1) == 1)
        return 0;
    ERR_clear_error();
    return ERR_TLS;
}

static bool time_ms(const ASN1_TIME *time, uint64_t *ret)
{
    struct tm tm = {0};
    if (ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    time_t s = timegm(&tm);
    *ret = s > 0 ? (uint64_t)s * 1000 : 0;
    return true;
}

/* For logs: one CN of printable ASCII, else nothing. */
static void copy_subject(X509 *leaf, char ret[65])
{
    const X509_NAME *name = X509_get_subject_name(leaf);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    const ASN1_STRING *cn = at >= 0 ? X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)) : NULL;
    int len = cn != NULL ? ASN1_STRING_length(cn) : 0;
    ret[0] = '\0';
    if (len <= 0 || len > 64)
        return;
    const uint8_t *p = ASN1_STRING_get0_data(cn);
    for (int i = 0; i < len; i++)
        if (p[i] < 0x20 || p[i] > 0x7e)
            return;
    memcpy(ret, p, (size_t)len);
    ret[len] = '\0';
}

/* Fills everything that comes from the verified chain {leaf, anchor}. */
static bool read_chain(struct tls *t, struct tls_peer *p)
{
    const STACK_OF(X509) *chain = SSL_get0_verified_chain(t->ssl);
    if (mutant("NO_CERT") && chain == NULL)
        return true;
    if (SSL_get_verify_result(t->ssl) != X509_V_OK || chain == NULL || (sk_X509_num(chain) != 2 && !mutant("ANY_CERT")))
        return false;
    X509 *leaf = sk_X509_value(chain, 0);
    unsigned len = 0;
    const EVP_PKEY *key = X509_get0_pubkey(leaf);
    if (key == NULL || X509_digest(leaf, EVP_sha256(), p->leaf_hash, &len) != 1 || len != HASH_LEN ||
        !time_ms(X509_get0_notAfter(leaf), &p->not_after_ms))
        return false;
    if (t->issuer == NULL)
        t->issuer_len = i2d_X509(sk_X509_value(chain, sk_X509_num(chain) - 1), &t->issuer);
    if (t->issuer == NULL || t->issuer_len <= 0)
        return false;
    identity_spki_hash(key, p->key_hash);
    p->issuer_der = BYTES(t->issuer, (size_t)t->issuer_len);
    copy_subject(leaf, p->subject);
    return true;
}

int tls_peer(struct tls *t, struct tls_peer *ret, struct err *err)
{
    struct tls_peer p = {0};
    if (!tls_ready(t) || !read_chain(t, &p)) {
        ERR_clear_error();
        return err_set(err, ERR_TLS, "%s is not verified", peer_word(t));
    }
    *ret = p;
    return 0;
}
