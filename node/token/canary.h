/* canary: does this token still do what the mathematics says? One release against our own software, and one signature.
 *
 * A software walker E, software neighbours before and after, and a share sealed to our own seal key: the answer must
 * open with common/walk alone and hold the share and the very tags. So seal, kem, peer, log and mirror are shown to be
 * the halves of the public keys that the token names, and the profile is shown to be the one that both ends mean. */
#ifndef ENFILADE_NODE_TOKEN_CANARY_H
#define ENFILADE_NODE_TOKEN_CANARY_H

#include "node/token/vault.h"

/* ERR_KEYS when the token answers otherwise than software does, ERR_TOKEN when it does not answer. */
MUST_CHECK int canary_run(struct vault *v, struct err *err);

#endif
