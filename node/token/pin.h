/* pin: makes the PIN of a new node, and changes it for one that may be serving. The PIN is hex of 32 random bytes, in
 * locked memory and in its file only. */
#ifndef ENFILADE_NODE_TOKEN_PIN_H
#define ENFILADE_NODE_TOKEN_PIN_H

#include "common/base/secret.h"
#include "node/token/config.h"

MUST_CHECK int pin_random(struct secret **ret, struct err *err); /* ERR_NOMEM, ERR_INTERNAL */
/* Whole or not at all, mode 0400, durable, and never over a file: ERR_USAGE. ERR_IO. */
MUST_CHECK int pin_write(const char *path, const struct secret *pin, struct err *err);

/* Gives both tokens a new PIN and then the file, whose name plus ".new" holds it until both have it. What was cut off
 * in the middle is finished by another call. A tokend that serves goes on: its workers are logged in, later ones read
 * the new file (one that comes in between is refused once and tried again when the file is there). With softhsm_conf
 * the tokens are changed in a private copy and put back file by file, since SoftHSM rewrites them in place (softhsm.h).
 * ERR_CONFIG (the file does not hold the PIN), ERR_IO, ERR_TOKEN, ERR_NOT_FOUND. */
MUST_CHECK int pin_change(const struct tokend_config *c, struct err *err);

#endif
