/* export: a stopped node's ledger as C2SP tlog-tiles, read-only. */
#ifndef ENFILADE_NODE_EXPORT_H
#define ENFILADE_NODE_EXPORT_H

#include "node/config.h"

MUST_CHECK int export_run(const struct node_config *config, const char *folder, struct err *err);

#endif
