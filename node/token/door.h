/* door: the unix sockets that tokend listens on, and who may come through them. */
#ifndef ENFILADE_NODE_TOKEN_DOOR_H
#define ENFILADE_NODE_TOKEN_DOOR_H

#include "common/base/err.h"
#include <sys/types.h>

/* A listening, non-blocking SEQPACKET socket at path. Its folder must belong to us or root and be writable by nobody
 * else; a dead socket is replaced, a living one refused. Mode 0600 when `node` is our own uid, else 0660 with the
 * folder's group. ERR_CONFIG (folder), ERR_USAGE (another tokend runs), ERR_IO. */
MUST_CHECK int door_open(const char *path, uid_t node, int *ret_fd, struct err *err);

/* Accepts one connection of that uid. ERR_BUSY: nobody there; ERR_IDENTITY: closed, it was another uid; ERR_IO. */
MUST_CHECK int door_accept(int fd, uid_t node, int *ret_fd, struct err *err);

#endif
