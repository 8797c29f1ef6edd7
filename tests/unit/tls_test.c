/* tls: two ends in memory shake hands or say in words which side refused what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/parties.h"
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct tls *make_end(bool server, const struct party *leaf, const struct party *anchor)
{
    struct tls_context *c = make_context(server, leaf, anchor);
    struct tls *t = NULL;
    assert_int_equal(tls_new(c, &t), 0);
    tls_context_unref(c); /* t holds its own */
    return t;
}

struct pair {
    struct tls *client, *server;
    struct err client_err, server_err; /* code 0: none */
};

static void move(struct tls *from, struct tls *to, struct err *to_err)
{
    struct bytes out = tls_outgoing(from);
    size_t n = out.len;
    if (to_err->code == 0)
        (void)!tls_feed(to, out, to_err);
    tls_sent(from, n);
}

/* Moves bytes until nothing moves, then reads once at both ends: that is where a refused client hears of it. */
static void shake(struct pair *p)
{
    uint8_t byte;
    size_t n;
    p->client_err = p->server_err = (struct err){0};
    assert_int_equal(tls_feed(p->client, BYTES_NONE, &p->client_err), 0);
    while (tls_outgoing(p->client).len > 0 || tls_outgoing(p->server).len > 0) {
        move(p->client, p->server, &p->server_err);
        move(p->server, p->client, &p->client_err);
    }
    if (p->client_err.code == 0)
        (void)!tls_read(p->client, &byte, 1, &n, &p->client_err);
    if (p->server_err.code == 0)
        (void)!tls_read(p->server, &byte, 1, &n, &p->server_err);
}

static struct pair make_pair(const struct party *server_leaf, const struct party *server_trusts,
                             const struct party *client_leaf, const struct party *client_trusts)
{
    struct pair p = {.client = make_end(false, client_leaf, client_trusts),
                     .server = make_end(true, server_leaf, server_trusts)};
    shake(&p);
    return p;
}

static void drop_pair(struct pair *p)
{
    tls_free(p->client);
    tls_free(p->server);
}

static void check_words(const struct err *err, const char *words)
{
    assert_int_equal(err->code, ERR_TLS);
    if (strstr(err->text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err->text, words);
}

static void both_ends_know_each_other(void **state)
{
    (void)state;
    struct net n = make_net();
    struct pair p = make_pair(&n.node, &n.device_ca, &n.device, &n.identity);
    if (p.client_err.code != 0)
        fail_msg("%s", p.client_err.text);
    assert_int_equal(p.server_err.code, 0);
    assert_true(tls_ready(p.client) && tls_ready(p.server));
    struct tls_peer node, device;
    uint8_t hash[HASH_LEN];
    assert_int_equal(tls_peer(p.client, &node, NULL), 0);
    assert_int_equal(tls_peer(p.server, &device, NULL), 0);
    assert_true(bytes_equal(node.issuer_der, buf_view(&n.identity.cert)));
    assert_true(bytes_equal(device.issuer_der, buf_view(&n.device_ca.cert)));
    assert_string_equal(node.subject, "n1");
    assert_string_equal(device.subject, "w1");
    identity_spki_hash(n.device.key, hash);
    assert_memory_equal(device.key_hash, hash, HASH_LEN);
    sha256(buf_view(&n.device.cert), hash);
    assert_memory_equal(device.leaf_hash, hash, HASH_LEN);
    assert_true(device.not_after_ms > now_ms() && device.not_after_ms <= now_ms() + HOUR);
    drop_pair(&p);
    drop_net(&n);
}

static void own_hashes_are_what_the_peer_sees(void **state)
{
    (void)state;
    struct net n = make_net();
    struct bytes anchor = buf_view(&n.device_ca.cert);
    struct tls_settings s = {.server = true,
                             .leaf_der = buf_view(&n.node.cert),
                             .leaf_key = n.node.key,
                             .anchors = &anchor,
                             .anchor_count = 1};
    struct tls_context *c = NULL;
    assert_int_equal(tls_context_new(&s, &c, NULL), 0);
    struct pair p = make_pair(&n.node, &n.device_ca, &n.device, &n.identity);
    struct tls_peer node;
    uint8_t key[HASH_LEN], leaf[HASH_LEN];
    assert_int_equal(tls_peer(p.client, &node, NULL), 0);
    tls_own_key_hash(c, key);
    tls_own_leaf_hash(c, leaf);
    assert_memory_equal(node.key_hash, key, HASH_LEN);
    assert_memory_equal(node.leaf_hash, leaf, HASH_LEN);
    tls_context_unref(c);
    drop_pair(&p);
    drop_net(&n);
}

static void exporters_are_equal_and_depend_on_nonce_and_connection(void **state)
{
    (void)state;
    struct net n = make_net();
    struct pair p = make_pair(&n.node, &n.device_ca, &n.device, &n.identity);
    struct pair q = make_pair(&n.node, &n.device_ca, &n.device, &n.identity);
    uint8_t nonce[32] = {1}, other[32] = {2}, a[32], b[32], c[32], d[32];
    assert_int_equal(tls_exporter(p.client, nonce, a), 0);
    assert_int_equal(tls_exporter(p.server, nonce, b), 0);
    assert_memory_equal(a, b, 32);
    assert_int_equal(tls_exporter(p.server, other, c), 0);
    assert_memory_not_equal(a, c, 32);
    assert_int_equal(tls_exporter(q.server, nonce, d), 0);
    assert_memory_not_equal(a, d, 32);
    drop_pair(&p);
    drop_pair(&q);
    drop_net(&n);
}

static void data_goes_both_ways_and_ends_with_a_notice(void **state)
{
    (void)state;
    struct net n = make_net();
    struct pair p = make_pair(&n.node, &n.device_ca, &n.device, &n.identity);
    static uint8_t big[100000], got[100000];
    size_t have = 0, len = 1;
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (uint8_t)(i * 7);
    assert_int_equal(tls_write(p.client, BYTES_OF(big), NULL), 0);
    while (tls_outgoing(p.client).len > 0) { /* in small pieces: tls_sent drops the front only */
        struct bytes out = tls_outgoing(p.client);
        size_t piece = out.len < 777 ? out.len : 777;
        assert_int_equal(tls_feed(p.server, BYTES(out.p, piece), NULL), 0);
        tls_sent(p.client, piece);
    }
    while (len > 0) {
        assert_int_equal(
            tls_read(p.server, got + have, sizeof(got) - have > 5000 ? 5000 : sizeof(got) - have, &len, NULL), 0);
        have += len;
        if (have == sizeof(got))
            break;
    }
    assert_int_equal(have, sizeof(big));
    assert_memory_equal(big, got, sizeof(big));
    tls_close(p.server);
    move(p.server, p.client, &p.client_err);
    struct err err = {0};
    assert_int_equal(tls_read(p.client, got, 1, &len, &err), ERR_CLOSED);
    drop_pair(&p);
    drop_net(&n);
}

static void an_unknown_identity_of_the_same_name_is_refused(void **state)
{
    (void)state;
    struct net n = make_net(), evil = make_net(); /* all names equal */
    struct pair p = make_pair(&evil.node, &n.device_ca, &n.device, &n.identity);
    check_words(&p.client_err, "we refused the certificate of the node");
    check_words(&p.server_err, "the client refused our certificate");
    assert_false(tls_ready(p.client));
    struct tls_peer peer;
    assert_int_equal(tls_peer(p.client, &peer, NULL), ERR_TLS);
    drop_pair(&p);
    p = make_pair(&n.node, &n.device_ca, &evil.device, &n.identity);
    check_words(&p.server_err, "we refused the certificate of the client");
    check_words(&p.client_err, "the node refused our certificate");
    assert_int_equal(tls_peer(p.server, &peer, NULL), ERR_TLS);
    drop_pair(&p);
    drop_net(&n);
    drop_net(&evil);
}

static void expired_leaves_are_refused(void **state)
{
    (void)state;
    struct net n = make_net();
    struct party old = make_leaf_until(&n.device_ca, "w1", true, now_ms() - 60000);
    struct pair p = make_pair(&n.node, &n.device_ca, &old, &n.identity);
    check_words(&p.server_err, "expired");
    check_words(&p.client_err, "expired");
    drop_pair(&p);
    struct party old_node = make_leaf_until(&n.identity, "n1", false, now_ms() - 60000);
    p = make_pair(&old_node, &n.device_ca, &n.device, &n.identity);
    check_words(&p.client_err, "we refused the certificate of the node: certificate has expired");
    drop_pair(&p);
    drop(&old);
    drop(&old_node);
    drop_net(&n);
}

static void a_device_cannot_play_a_node(void **state)
{
    (void)state;
    struct net n = make_net();
    struct party fake = make_leaf(&n.identity, "n1", true); /* clientAuth only */
    struct pair p = make_pair(&fake, &n.device_ca, &n.device, &n.identity);
    check_words(&p.client_err, "we refused the certificate of the node");
    drop_pair(&p);
    drop(&fake);
    drop_net(&n);
}

static void an_identity_certificate_is_no_leaf(void **state)
{
    (void)state;
    struct net n = make_net();
    struct pair p = make_pair(&n.identity, &n.device_ca, &n.device, &n.identity);
    check_words(&p.client_err, "we refused the certificate of the node");
    drop_pair(&p);
    drop_net(&n);
}

/* Plain OpenSSL at the client's end, without our settings. */
static SSL *foreign_client(SSL_CTX *ctx, BIO **ret_in, BIO **ret_out)
{
    SSL *ssl = SSL_new(ctx);
    *ret_in = BIO_new(BIO_s_mem());
    *ret_out = BIO_new(BIO_s_mem());
    assert_non_null(ssl);
    (void)BIO_set_mem_eof_return(*ret_in, -1);
    SSL_set_bio(ssl, *ret_in, *ret_out);
    SSL_set_connect_state(ssl);
    return ssl;
}

static struct err shake_foreign(SSL *ssl, BIO *in, BIO *out, struct tls *server)
{
    struct err err = {0};
    for (int round = 0; round < 10 && err.code == 0; round++) {
        char *p = NULL;
        (void)SSL_do_handshake(ssl);
        long len = BIO_get_mem_data(out, &p);
        if (len > 0)
            (void)!tls_feed(server, BYTES(p, (size_t)len), &err);
        (void)BIO_reset(out);
        struct bytes answer = tls_outgoing(server);
        if (answer.len > 0)
            (void)BIO_write(in, answer.p, (int)answer.len);
        tls_sent(server, answer.len);
    }
    return err;
}

static void foreign_clients_are_refused(void **state)
{
    (void)state;
    static const struct {
        int max_version;
        const char *words;
    } rows[] = {
        {TLS1_3_VERSION, "we refused the client: it sent no certificate"},
        {TLS1_2_VERSION, "we refused the client: it does not speak TLS 1.3"},
    };
    struct net n = make_net();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls *server = make_end(true, &n.node, &n.device_ca);
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        BIO *in, *out;
        assert_int_equal(SSL_CTX_set_max_proto_version(ctx, rows[i].max_version), 1);
        SSL *ssl = foreign_client(ctx, &in, &out);
        struct err err = shake_foreign(ssl, in, out, server);
        check_words(&err, rows[i].words);
        assert_false(tls_ready(server));
        SSL_free(ssl);
        SSL_CTX_free(ctx);
        tls_free(server);
    }
    drop_net(&n);
}

/* A foreign client with a good certificate: how many certificates does the node send, is there a ticket? */
static void the_node_sends_one_certificate_and_no_ticket(void **state)
{
    (void)state;
    struct net n = make_net();
    struct bytes anchors[] = {buf_view(&n.device_ca.cert),
                              buf_view(&n.identity.cert)}; /* its own issuer too, as in a roster */
    struct tls_settings settings = {.server = true,
                                    .leaf_der = buf_view(&n.node.cert),
                                    .leaf_key = n.node.key,
                                    .anchors = anchors,
                                    .anchor_count = 2};
    struct tls_context *context = NULL;
    struct tls *server = NULL;
    assert_int_equal(tls_context_new(&settings, &context, NULL), 0);
    assert_int_equal(tls_new(context, &server), 0);
    tls_context_unref(context);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    const uint8_t *der = n.device.cert.p;
    X509 *leaf = d2i_X509(NULL, &der, (long)n.device.cert.len);
    BIO *in, *out;
    assert_int_equal(SSL_CTX_use_certificate(ctx, leaf), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, n.device.key), 1);
    SSL *ssl = foreign_client(ctx, &in, &out);
    struct err err = shake_foreign(ssl, in, out, server);
    assert_int_equal(err.code, 0);
    assert_true(tls_ready(server));
    assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(ssl)), 1);
    char byte;
    assert_int_equal(SSL_read(ssl, &byte, 1), -1);
    assert_false(SSL_SESSION_is_resumable(SSL_get_session(ssl)));
    X509_free(leaf);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    tls_free(server);
    drop_net(&n);
}

static void rubbish_is_an_error_not_a_crash(void **state)
{
    (void)state;
    struct net n = make_net();
    struct tls *server = make_end(true, &n.node, &n.device_ca);
    struct err err = {0};
    uint8_t out[32];
    size_t len;
    assert_int_equal(tls_feed(server, bytes_str("GET / HTTP/1.1\r\n\r\n"), &err), ERR_TLS);
    assert_non_null(strstr(err.text, "HTTP"));
    assert_int_equal(tls_read(server, out, sizeof(out), &len, &err), 0); /* nothing before the handshake */
    assert_int_equal(len, 0);
    assert_int_equal(tls_write(server, bytes_str("x"), &err), ERR_TLS);
    assert_int_equal(tls_exporter(server, out, out), ERR_TLS);
    tls_free(server);
    drop_net(&n);
}

static void a_key_that_does_not_fit_is_refused_at_start(void **state)
{
    (void)state;
    struct net n = make_net();
    struct tls_settings s = {.server = true, .leaf_der = buf_view(&n.node.cert), .leaf_key = n.device.key};
    struct tls_context *c = NULL;
    assert_int_equal(tls_context_new(&s, &c, NULL), ERR_TLS);
    struct bytes rubbish = bytes_str("rubbish");
    s.leaf_key = n.node.key;
    s.anchors = &rubbish;
    s.anchor_count = 1;
    assert_int_equal(tls_context_new(&s, &c, NULL), ERR_TLS);
    drop_net(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_know_each_other),
        cmocka_unit_test(own_hashes_are_what_the_peer_sees),
        cmocka_unit_test(exporters_are_equal_and_depend_on_nonce_and_connection),
        cmocka_unit_test(data_goes_both_ways_and_ends_with_a_notice),
        cmocka_unit_test(an_unknown_identity_of_the_same_name_is_refused),
        cmocka_unit_test(expired_leaves_are_refused),
        cmocka_unit_test(a_device_cannot_play_a_node),
        cmocka_unit_test(an_identity_certificate_is_no_leaf),
        cmocka_unit_test(foreign_clients_are_refused),
        cmocka_unit_test(the_node_sends_one_certificate_and_no_ticket),
        cmocka_unit_test(rubbish_is_an_error_not_a_crash),
        cmocka_unit_test(a_key_that_does_not_fit_is_refused_at_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
