/* server: one node from start to stop on one loop.
 *
 *   store, documents ─▶ token's public keys ─▶ ledger ─▶ TLS leaf ─▶ listening ─▶ (SIGTERM) draining ─▶ stopped
 *
 * role config has neither token nor ledger and goes straight to the leaf. SIGHUP reads the documents folder again. */
#ifndef ENFILADE_NODE_SERVER_H
#define ENFILADE_NODE_SERVER_H

#include "node/config.h"

/* Runs until SIGTERM or SIGINT; logs by itself. 0, or the error that stopped it (its text in *err). */
MUST_CHECK int server_run(const struct node_config *config, struct err *err);

#endif
