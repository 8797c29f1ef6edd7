/* leaf: the identity key as an EVP_PKEY through libp11, and the certificates it signs.
 *
 * Only in a process of its own that ends afterwards: libp11 closes other people's sessions, finalises the module and
 * keeps a copy of the PIN. */
#ifndef ENFILADE_NODE_TOKEN_LEAF_H
#define ENFILADE_NODE_TOKEN_LEAF_H

#include "node/token/config.h"
#include "proto/message.h"

#define LEAF_LIFETIME_MAX_MS (7ull * 24 * 3600 * 1000)
#define LEAF_SKEW_MAX_MS (3600ull * 1000) /* not_before may differ from now by that much */

struct leaf_key; /* libp11's context and the key */
/* Loads the module, logs in with the PIN from its file, finds `identity`. ERR_TOKEN, ERR_KEYS, ERR_CONFIG. */
MUST_CHECK int leaf_key_open(const struct tokend_config *c, struct leaf_key **ret, struct err *err);
void leaf_key_close(struct leaf_key *k);
void *leaf_key_pkey(struct leaf_key *k); /* EVP_PKEY *, owned by k */

/* The identity certificate (DER) of the configured file. ERR_CONFIG. */
MUST_CHECK int leaf_identity(const struct tokend_config *c, struct buf *ret_der, struct err *err);

/* A leaf for a P-256 key, signed and verified against `issuer` before it is handed out. ERR_FORMAT (key, address),
 * ERR_EXPIRED (not_before far from now, or valid for longer than LEAF_LIFETIME_MAX_MS), ERR_KEYS (the token's key is
 * not the issuer's), ERR_TOKEN. */
MUST_CHECK int leaf_issue(struct leaf_key *k, struct bytes issuer, const char *node, const struct msg_token_leaf *m,
                          uint64_t now_ms, struct buf *ret_der, struct err *err);

#endif
