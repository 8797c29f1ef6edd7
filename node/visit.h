/* visit: one workload's visit to this door: Begin, Challenge, Attest, and Release or Deny, as one state machine.
 *
 *                  NeedDocuments                               Busy
 *                       ▲                                       ▲
 *   visit_start ── JUDGING ── CHALLENGED ── visit_attest ── APPRAISING ── LOOKING ──┬── ASKING ── WRITING ── Release
 *                 chain_check    nonce        bind, evidence,   grant there?        │   token     entry + grant
 *                 links_check                 factors                               └── REISSUING ────────── Release
 *                                                                                       entry, old answer
 *   any refusal: REFUSING (entry and record) ── Deny
 *
 * Worker jobs get immutable documents that the visit holds. The connection may go away at any time: visit_detach, then
 * what is under way finishes by itself (a grant that is written stays written). Exactly one answer per call of
 * visit_start or visit_attest is sent, then io->finished or, after a Challenge, visit_attest is awaited. */
#ifndef ENFILADE_NODE_VISIT_H
#define ENFILADE_NODE_VISIT_H

#include "node/node.h"

struct visit;

struct visit_peer {                                  /* what TLS and TCP say about the other end */
    uint8_t leaf_hash[HASH_LEN], key_hash[HASH_LEN]; /* the device's certificate and its key */
    uint8_t issuer_hash[HASH_LEN];                   /* SHA-256 of the certificate it chains to */
    uint8_t own_key_hash[HASH_LEN];                  /* SPKI of the leaf we showed on this connection */
    uint64_t not_after_ms;
    uint8_t address[16];
    char address_text[64];
};

struct visit_io {
    void (*send)(void *arg, const struct message *m);
    int (*exporter)(void *arg, const uint8_t nonce[NONCE_LEN], uint8_t ret[32]);
    void (*finished)(void *arg); /* the visit is over and freed; not called after visit_detach */
};

/* Takes over `begin`. Nothing is sent before visit_judge, so that the caller can keep *ret first. ERR_NOMEM. */
MUST_CHECK int visit_start(struct node *n, const struct visit_peer *peer, const struct visit_io *io, void *arg,
                           struct message *begin, struct visit **ret);
void visit_judge(struct visit *v); /* may finish, and free, v before it returns */
bool visit_is_challenged(const struct visit *v);
void visit_attest(struct visit *v, struct message *attest); /* only when challenged; takes over `attest` */
void visit_detach(struct visit *v);                         /* the connection is gone */

#endif
