/* tls: TLS 1.3, mutual, as bytes in and bytes out (memory BIOs); no sockets.
 *
 * No tickets, no 0-RTT, no renegotiation; X25519 or P-256; the peer sends one certificate, directly under an anchor.
 * A server trusts device CAs (workloads) and roster identities (nodes); a client trusts roster identities. Anchors are
 * self-signed; certificates are judged at the system's time. A peer is who its issuer is (tls_peer), never a name in
 * its leaf.
 *
 * A client's handshake ends before the server has judged the client's certificate: a refusal comes with the first
 * tls_read. Never take a client's tls_ready for acceptance. */
#ifndef ENFILADE_NET_TLS_H
#define ENFILADE_NET_TLS_H

#include "common/base/bytes.h"
#include "common/crypto/hash.h"

struct tls_context; /* immutable, reference-counted: shared by connections, replaced when roster or leaf changes */

struct tls_settings {
    bool server;
    struct bytes leaf_der;       /* own certificate */
    void *leaf_key;              /* EVP_PKEY *; a reference is taken */
    const struct bytes *anchors; /* DER certificates: identities and device CAs */
    size_t anchor_count;
};
MUST_CHECK int tls_context_new(const struct tls_settings *s, struct tls_context **ret, struct err *err);
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c);

struct tls; /* one connection */
MUST_CHECK int tls_new(struct tls_context *c, struct tls **ret);
void tls_free(struct tls *t);
/* Handshake, decrypt, encrypt: each consumes what it can and never blocks. Bytes for the peer collect in tls_outgoing.
 * ERR_TLS with the reason ("the node refused our certificate: …"), ERR_CLOSED on close_notify. */
MUST_CHECK int tls_feed(struct tls *t, struct bytes from_peer,
                        struct err *err); /* also the start of a client: empty input */
bool tls_ready(const struct tls *t);      /* handshake done */
MUST_CHECK int tls_read(struct tls *t, uint8_t *out, size_t out_len, size_t *ret_len,
                        struct err *err); /* 0: nothing now */
MUST_CHECK int tls_write(struct tls *t, struct bytes plain, struct err *err);
struct bytes
tls_outgoing(struct tls *t); /* pending ciphertext, borrowed until the next call; tls_sent(n) drops its first n bytes */
void tls_sent(struct tls *t, size_t n);
void tls_close(struct tls *t); /* queues close_notify */

/* After tls_ready: who is it, and what binds evidence to this very connection. */
MUST_CHECK int tls_exporter(struct tls *t, const uint8_t nonce[32],
                            uint8_t ret[32]); /* label EXPORTER_LABEL, context nonce */
struct tls_peer {
    uint8_t leaf_hash[HASH_LEN]; /* SHA-256 of the leaf (DER) */
    uint8_t key_hash[HASH_LEN];  /* SHA-256 of the leaf key's SPKI */
    struct bytes
        issuer_der; /* the anchor it chains to, borrowed from t: compare with roster identities or device CAs */
    uint64_t not_after_ms;
    char subject[65]; /* CN of the leaf, for logs only; "" if not a name */
};
MUST_CHECK int tls_peer(struct tls *t, struct tls_peer *ret,
                        struct err *err);                                  /* ERR_TLS if there is no verified peer */
void tls_own_key_hash(const struct tls_context *c, uint8_t ret[HASH_LEN]); /* SPKI of our own leaf */
void tls_own_leaf_hash(const struct tls_context *c, uint8_t ret[HASH_LEN]);

#endif
