/* config: client.yaml, what a workload or an auditor knows before it trusts anybody.
 *
 * Relative paths are relative to the file. Everything that trust rests on stands here (root hash, envelope ids, owner
 * keys), so the file belongs into the measured image. A schema with an example stands in README.md of this folder. */
#ifndef ENFILADE_ORCHESTRATOR_CONFIG_H
#define ENFILADE_ORCHESTRATOR_CONFIG_H

#include "common/documents/document.h"

#define CONFIG_FILE_MAX (64u * 1024u)
#define CONFIG_OPERATIONS_MAX 256
#define CONFIG_SERVERS_MAX 16
#define CONFIG_NODES_MAX 64
#define CONFIG_DEADLINE_S_DEFAULT 30
#define CONFIG_DEADLINE_S_MAX 3600

struct client_operation { /* the envelope that we expect for an operation, and whose it must be */
    name_text name;
    uint8_t envelope[ENVELOPE_ID_LEN];
    struct note_key owner;
};
struct client_server { /* a configuration server */
    name_text node;
    char address[64]; /* "": take the roster's */
};
struct client_node { /* a node on this host, for status and audit */
    name_text node;
    char *control, *config; /* control socket and node.yaml; NULL when not given */
};

struct client_config {
    name_text network;
    char *root; /* file of the first root */
    uint8_t root_hash[HASH_LEN];
    struct client_operation *operations;
    size_t operation_count;
    struct client_server *servers;
    size_t server_count;
    char *documents, *state, *payload;     /* folders; NULL when not given */
    char *device_certificate, *device_key; /* PEM files; NULL when not given: cannot dial */
    name_text attester_kind;               /* "": none */
    char *attester_device;
    char source[64]; /* numeric source address, "" for any */
    uint64_t deadline_ms;
    struct client_node *nodes;
    size_t node_count;
};

/* ERR_CONFIG: text names file, line or field and the remedy. */
MUST_CHECK int config_load(const char *path, struct client_config **ret, struct err *err);
void config_free(struct client_config *c);
const struct client_operation *config_operation(const struct client_config *c, const char *name); /* NULL */

#endif
