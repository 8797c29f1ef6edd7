/* serve: what tokend's forked processes do: probe, serve a connection's requests, issue one leaf.
 *
 * Each runs in a fresh child of the master, before which nothing loaded a PKCS#11 module, and ends with _exit: leaving
 * through exit while a module's threads or locks live can crash. The values returned are for _exit. */
#ifndef ENFILADE_NODE_TOKEN_SERVE_H
#define ENFILADE_NODE_TOKEN_SERVE_H

#include "node/token/config.h"

#define SERVE_REQUEST_SECONDS 30 /* a request that hangs in the token ends its worker */
#define SERVE_EXIT_CLOSED 0      /* the node closed the connection */
#define SERVE_EXIT_RECYCLE 90    /* the configuration's number of requests is reached, nothing is unanswered */

/* Opens the vault, compares everything, runs the canary. Says what is wrong on stderr. exit_code of the error, or 0. */
int serve_probe(const struct tokend_config *c);
/* The same, then writes its pid_t to ready_fd and answers records of fd until the node closes it. */
int serve_requests(const struct tokend_config *c, int fd, int ready_fd);
/* Answers one TOKEN_LEAF on fd. */
int serve_leaf(const struct tokend_config *c, int fd);

#endif
