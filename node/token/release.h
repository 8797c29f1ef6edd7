/* release: the one composite operation: from a sealed share to the bytes of an Answer, by handles only.
 *
 *   Z    = ECDH(seal, R)       K   = CBC(Z, ctx_share)        share = unwrap(K, sealed)
 *   L_ab = ECDH(peer, P_b)     tag = CBC(L_ab, ctx_tag)       lock  = AES-CBC(tag, TH("lock", a, node))   members
 * before Z    = ECDH(kem, E)        KEK = CBC(Z, ctx_session)      answer = wrap(KEK, share), wrap(KEK, tag)…  members
 * after
 *
 * Keys have exactly one use each, and none can leave but the share and the tags, wrapped under KEK. Locks are secret:
 * they live in wiped memory and enter ctx_session only. Deterministic: the same release gives the same bytes. Source:
 * the design, §5 and §7; PKCS#11 2.40 §2.3, §2.8. */
#ifndef ENFILADE_NODE_TOKEN_RELEASE_H
#define ENFILADE_NODE_TOKEN_RELEASE_H

#include "node/token/vault.h"

/* r: from request_check. ret_answer gets the bytes of an Answer. ERR_TOKEN says which step the token refused: SoftHSM
 * answers a sealed share that does not open with CKR_GENERAL_ERROR, so the code says nothing about the token's health.
 */
MUST_CHECK int release_make(struct vault *v, const struct release *r, struct buf *ret_answer, struct err *err);

#endif
