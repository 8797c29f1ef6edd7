/* network_files: configuration files of the programs of a test network, and the keys that nodes make themselves. */
#ifndef ENFILADE_ORCHESTRATOR_CLI_NETWORK_FILES_H
#define ENFILADE_ORCHESTRATOR_CLI_NETWORK_FILES_H

#include "orchestrator/cli/ceremony.h"
#include "orchestrator/cli/spec.h"

struct network_options {
    const char *module;  /* PKCS#11 */
    const char *run_dir; /* where tokend's sockets go; NULL: each node's folder */
    const char *tokend;  /* the program */
};

/* DIR/nodes/NAME: for an HSM node tokend.yaml, then keys by `enfilade-tokend init`; for a configuration server a
 * software identity. Fills *ret (its certificate is malloc'ed: the caller's). */
MUST_CHECK int network_node_keys(const struct ceremony *c, const struct spec_node *n, const struct network_options *o,
                                 struct roster_node *ret, struct err *err);
/* node.yaml, once the root is there. */
MUST_CHECK int network_node_config(const struct ceremony *c, const struct spec_node *n, const struct network_options *o,
                                   const uint8_t root_hash[HASH_LEN], struct err *err);

struct network_operation {
    const char *name;
    uint8_t envelope[ENVELOPE_ID_LEN];
};
/* DIR/client/client.yaml. device "": no device section. */
MUST_CHECK int network_client_config(const struct ceremony *c, const struct spec *s, const uint8_t root_hash[HASH_LEN],
                                     const struct network_operation *operations, size_t operation_count,
                                     const struct note_key *owner, const char *device, const char *tcti,
                                     struct err *err);

#endif
