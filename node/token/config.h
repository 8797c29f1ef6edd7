/* config: tokend's configuration file, enfilade: tokend/v1. Its schema with an example stands in node/README.md.
 *
 * Relative paths are relative to the folder of the file. The PIN itself is never in it: only the name of its file. */
#ifndef ENFILADE_NODE_TOKEN_CONFIG_H
#define ENFILADE_NODE_TOKEN_CONFIG_H

#include "common/base/yaml.h"
#include <sys/types.h>

#define TOKEND_WORKERS_MAX 16
#define TOKEND_REQUESTS 4000 /* SoftHSM leaks about 2 KB of each release */
#define TOKEND_REQUESTS_MAX 1000000
#define TOKEND_LABEL_MAX 32 /* CK_TOKEN_INFO.label */
#define TOKEND_PATH_MAX 512

struct tokend_config {
    char path[TOKEND_PATH_MAX]; /* of the file itself */
    char network[NAME_MAX_LEN + 1], node[NAME_MAX_LEN + 1];
    char module[TOKEND_PATH_MAX];
    char softhsm_conf[TOKEND_PATH_MAX]; /* "" when not given */
    char pin_file[TOKEND_PATH_MAX];
    char identity[TOKEND_PATH_MAX]; /* identity certificate, PEM */
    char token[TOKEND_LABEL_MAX + 1], log_token[TOKEND_LABEL_MAX + 1];
    uint64_t profile;
    char socket[TOKEND_PATH_MAX]; /* its folder should be a tmpfs (softhsm.h); at most 100 bytes: leaf requests come to
                                     this name + ".leaf" */
    uid_t uid;                    /* the node's */
    unsigned workers;
    unsigned requests; /* that a worker answers before it leaves and another comes */
};

/* ERR_NOT_FOUND, ERR_IO, ERR_CONFIG; the text names file and field. */
MUST_CHECK int tokend_config_load(const char *path, struct tokend_config *ret, struct err *err);
/* An error of the start gets the file put before, and the line of the field that it begins with. */
void tokend_config_place(const struct tokend_config *c, struct err *err);

#endif
