/* master: tokend's parent process: two doors, and children that do the work. It never loads a PKCS#11 module.
 *
 *   accept (main) ──> connection ──> `workers` children that inherit it and all recv on it; the kernel hands records
 * out accept (leaf) ──> one child that issues one leaf a child died ──> TOKEN_DIED to the node, which sends again what
 * is unanswered ──> a new child
 *
 * A child that served and died is replaced at once, one that did not get ready after a growing pause. The parent's
 * death kills all children (PR_SET_PDEATHSIG), so that the node sees the end of the connection. */
#ifndef ENFILADE_NODE_TOKEN_MASTER_H
#define ENFILADE_NODE_TOKEN_MASTER_H

#include "node/token/config.h"

#define MASTER_CONNECTIONS_MAX 2 /* the node's, and the next one's while the old one goes away */
#define MASTER_LEAVES_MAX 4      /* at a time; further callers wait in the backlog */

/* Probes the keys in a child, opens the doors, says "ready" on stdout, serves until SIGTERM or SIGINT. Returns an exit
 * code. */
int master_run(const struct tokend_config *c);

#endif
