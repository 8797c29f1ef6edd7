/* request: is this release request exactly what the chain allows? Pure: no token, no files, no clock.
 *
 * Everything that decides which locks go into an answer comes from the chain text and tokend's own configuration:
 * network, node, the previous stage's members and `need`, the next stage's members. The request only fills in what
 * those are not: points and hashes. The result holds everything that the token then works on, with no pointer into the
 * request but names. */
#ifndef ENFILADE_NODE_TOKEN_REQUEST_H
#define ENFILADE_NODE_TOKEN_REQUEST_H

#include "common/walk/context.h"
#include "proto/message.h"

struct neighbour {
    struct bytes node;
    uint64_t slot;
    uint8_t point[EC_POINT_LEN];
    uint8_t ctx_tag[HASH_LEN];
};

struct release {
    uint8_t point[EC_POINT_LEN]; /* R */
    uint8_t sealed[SEALED_LEN];
    uint8_t session_key[EC_POINT_LEN]; /* E */
    uint8_t ctx_share[HASH_LEN];
    struct session_fields session; /* all but the locks */
    size_t previous_count, next_count;
    struct neighbour previous[SLOT_MAX], next[SLOT_MAX]; /* in slot order */
};

struct request_self { /* who this tokend is */
    struct bytes network, node;
    uint64_t profile;                 /* of derive with seal and kem; the only tag profile too */
    const uint8_t *kem, *seal, *peer; /* [65] own points */
};

/* Names in *ret point into m. Errors (text for the operator): ERR_VERSION (tag profile), ERR_FORMAT, ERR_TOO_LONG (the
 * chain text does not parse, a field has the wrong length), ERR_NETWORK (another network's chain), ERR_STAGE (this node
 * is not at that stage and slot), ERR_LINK (previous members: other number than `need`, unlisted, out of order, twice;
 * prevhash), ERR_CHAIN (next members are not exactly the chain's), ERR_SESSION_KEY (E off the curve or one of our own
 * keys). */
MUST_CHECK int request_check(const struct msg_token_release *m, const struct request_self *self, struct release *ret,
                             struct err *err);

#endif
