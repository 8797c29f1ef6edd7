/* softhsm: a private copy of SoftHSM's token folder for one process, so that nobody ever writes into the real one.
 *
 * SoftHSM 2.6.1 rewrites token.object at every C_Login: truncated to nothing first, then written, without fsync, after
 * its lock was given up. A process that initialises in that moment finds no token, and a crash or power cut in that
 * moment loses the token with all its keys. So every process that logs in works on a copy (as unreadable without the
 * PIN as the real one), made beside the socket, which is meant to be a tmpfs, and dropped as soon as its keys are
 * session objects. */
#ifndef ENFILADE_NODE_TOKEN_SOFTHSM_H
#define ENFILADE_NODE_TOKEN_SOFTHSM_H

#include "node/token/config.h"

#define SOFTHSM_FILES_MAX 4096
#define SOFTHSM_FILE_MAX (1024u * 1024u) /* bytes of one file */

/* *ret = *c with softhsm_conf naming the copy of this process. Without softhsm_conf (another module) just *c.
 * ERR_CONFIG (the file has no directories.tokendir), ERR_IO, ERR_FULL. */
MUST_CHECK int softhsm_copy(const struct tokend_config *c, struct tokend_config *ret, struct err *err);
/* Puts what C_SetPIN changed in the copy (each token's token.object) in the place of the original, each file whole and
 * synced before the next. ERR_IO, ERR_CONFIG. */
MUST_CHECK int softhsm_put_back(const struct tokend_config *c, const struct tokend_config *copy, struct err *err);
/* Removes the copy of that process, if there is one. */
void softhsm_drop(const struct tokend_config *c, pid_t pid);
/* Removes what crashed processes left; nobody else may be running. */
void softhsm_drop_all(const struct tokend_config *c);

#endif
