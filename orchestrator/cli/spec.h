/* spec: what network a test network shall be: the file that `network init --from` reads.
 *
 *   enfilade: spec/v1
 *   network: example.test
 *   policy: policy.yaml           # optional: a policy text in which @network@, @issued@, @expires@, @owner:NAME@ and
 *                                 # @NAME@ of --set NAME=VALUE are replaced; relative to this file
 *   owners: [dba]                 # default: [owner]
 *   devices: [web-1]              # optional; the first one's key is the client's
 *   nodes:
 *     - {name: n1, role: hsm, address: "127.0.0.11:7600", region: r1, operator: op1}
 *     - {name: c1, role: config, address: "127.0.0.10:7600", region: r1, operator: op1}
 */
#ifndef ENFILADE_ORCHESTRATOR_CLI_SPEC_H
#define ENFILADE_ORCHESTRATOR_CLI_SPEC_H

#include "common/documents/document.h"
#include <limits.h>

#define SPEC_NODES_MAX 64
#define SPEC_NAMES_MAX 16

struct spec_node {
    name_text name, region, operator_;
    char address[64];
    char listen[64]; /* default: address */
    bool hsm;
};
struct spec {
    name_text network;
    char policy[PATH_MAX]; /* "": the built-in one */
    struct spec_node nodes[SPEC_NODES_MAX];
    size_t node_count;
    name_text owners[SPEC_NAMES_MAX], devices[SPEC_NAMES_MAX];
    size_t owner_count, device_count;
};
MUST_CHECK int spec_load(const char *path, struct spec *ret, struct err *err);
void spec_default(struct spec *ret); /* three HSM nodes and a configuration server on 127.0.0.0/8 */

#endif
