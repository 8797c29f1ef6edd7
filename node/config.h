/* config: the configuration file of enfilade-node. */
#ifndef ENFILADE_NODE_CONFIG_H
#define ENFILADE_NODE_CONFIG_H

#include "common/base/bytes.h"
#include "common/base/yaml.h"
#include "common/crypto/hash.h"

#define NODE_LISTEN_MAX 8

struct node_config {
    char network[NAME_MAX_LEN + 1], name[NAME_MAX_LEN + 1];
    bool hsm;                                                          /* else role config */
    char *state, *root, *documents, *identity, *identity_key, *socket; /* absolute paths; NULL when absent */
    uint8_t root_hash[HASH_LEN];
    char *listen[NODE_LISTEN_MAX];
    size_t listen_count;
    unsigned token_uid;
    unsigned connections, connections_per_address, begins_per_minute, denial_days, workers;
    unsigned leaf_hours;
};

/* Errors name file, line, field and remedy (ERR_CONFIG, ERR_FORMAT, ERR_NOT_FOUND). */
MUST_CHECK int node_config_load(const char *path, struct node_config **ret, struct err *err);
void node_config_free(struct node_config *c);
/* An error of the start that begins with "field NAME:" gets file and line put before. */
void node_config_place(const char *path, struct err *err);

#endif
