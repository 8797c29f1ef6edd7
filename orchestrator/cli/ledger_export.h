/* ledger_export: a node's ledger as a folder of tiles: from its store by enfilade-node, or from the running node. */
#ifndef ENFILADE_ORCHESTRATOR_CLI_LEDGER_EXPORT_H
#define ENFILADE_ORCHESTRATOR_CLI_LEDGER_EXPORT_H

#include "orchestrator/config.h"

#define LEDGER_ENTRIES_MAX (4u * 1024u * 1024u) /* of one export from a running node */

/* `enfilade-node export` reads tiles as they are stored, so that a check can say which one was altered: it is tried
 * first where node.yaml is known. Else, or when that fails, the entries are fetched over the control socket and the
 * tiles made from them. ERR_UNAVAILABLE: neither way works. */
MUST_CHECK int ledger_export(const struct client_node *node, const char *folder, struct err *err);

#endif
