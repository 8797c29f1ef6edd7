/* renew: the text of the next status and inventory documents, made from those in force. */
#ifndef ENFILADE_ORCHESTRATOR_CLI_RENEW_H
#define ENFILADE_ORCHESTRATOR_CLI_RENEW_H

#include "common/documents/shelf.h"

#define RENEW_CHANGES_MAX 64

/* What the next status says beyond the last one. Names are checked by document_write. */
struct renew_changes {
    const char *revoke_nodes[RENEW_CHANGES_MAX], *revoke_devices[RENEW_CHANGES_MAX];
    size_t revoke_node_count, revoke_device_count;
    bool halt_network;
    const char *halt_nodes[RENEW_CHANGES_MAX], *halt_policies[RENEW_CHANGES_MAX];
    size_t halt_node_count, halt_policy_count;
    bool lift_halts, lift_revocations; /* drop all; such a status needs the root threshold */
};

/* Names root, roster, inventory and the newest version of every policy that the shelf holds; version, revocations,
 * halts and withdrawals go on from the status in force, if any. ret_text is initialised here. */
MUST_CHECK int renew_status(const struct shelf *s, const struct renew_changes *changes, uint64_t now_ms,
                            uint64_t span_ms, struct buf *ret_text, struct err *err);
/* The inventory in force (NULL: none yet) with this device. A device that is there keeps its key; what it has no hash
 * of yet may be filled in; anything else would be taking an id over: ERR_DEVICE. */
MUST_CHECK int renew_inventory(const char *network, const struct document *inventory, const struct device *device,
                               uint64_t now_ms, uint64_t span_ms, struct buf *ret_text, struct err *err);

#endif
