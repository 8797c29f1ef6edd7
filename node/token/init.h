/* init: makes the PIN, two tokens, all keys and the identity certificate of a new node. Never over anything. */
#ifndef ENFILADE_NODE_TOKEN_INIT_H
#define ENFILADE_NODE_TOKEN_INIT_H

#include "node/token/config.h"

/* out: folder for identity.pem and public.yaml; identity.pem also goes to the configured place if that is another.
 * For modules with a free slot to initialise a token in, as SoftHSM's; softhsm_conf is written too when it is named and
 * missing. After a failure in the middle the text says what went wrong; remove the token folder and the PIN and start
 * again. ERR_USAGE: something is there already (the text says what to remove); ERR_CONFIG, ERR_IO, ERR_TOKEN, ERR_KEYS.
 */
MUST_CHECK int init_run(const struct tokend_config *c, const char *out, struct err *err);

#endif
