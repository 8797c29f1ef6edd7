/* config: tokend's configuration file. */
#include "node/token/config.h"
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_MAX (64u * 1024u)
#define SOCKET_PATH_MAX 100 /* sun_path holds 108 bytes, ".leaf" and a NUL included */

struct raw { /* as libcyaml fills it: every value a bounded string or NULL */
    char *enfilade, *network, *node, *module, *softhsm_conf, *pin_file, *identity, *token, *log_token, *profile,
        *socket;
    char *uid, *workers, *requests;
};

#define FIELD(name, flags)                                                                                             \
    CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_POINTER | (flags), struct raw, name, 1, TOKEND_PATH_MAX - 1)
static const cyaml_schema_field_t fields[] = {
    FIELD(enfilade, 0),
    FIELD(network, 0),
    FIELD(node, 0),
    FIELD(module, 0),
    FIELD(softhsm_conf, CYAML_FLAG_OPTIONAL),
    FIELD(pin_file, 0),
    FIELD(identity, 0),
    FIELD(token, 0),
    FIELD(log_token, 0),
    FIELD(profile, 0),
    FIELD(socket, 0),
    FIELD(uid, CYAML_FLAG_OPTIONAL),
    FIELD(workers, CYAML_FLAG_OPTIONAL),
    FIELD(requests, CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, fields)};

/* value relative to the folder of `config`, into ret[TOKEND_PATH_MAX]. */
static int resolve(const char *config, const char *value, const char *field, char *ret, struct err *err)
{
    const char *slash = strrchr(config, '/');
    int n;
    if (value[0] == '/' || slash == NULL)
        n = snprintf(ret, TOKEND_PATH_MAX, "%s", value);
    else
        n = snprintf(ret, TOKEND_PATH_MAX, "%.*s/%s", (int)(slash - config), config, value);
    if (n < 0 || n >= TOKEND_PATH_MAX)
        return err_set(err, ERR_CONFIG, "%s: the path is too long", field);
    return 0;
}

static int take_label(const char *value, const char *field, char *ret, struct err *err)
{
    TRY(text_name(value, field, err));
    if (strlen(value) > TOKEND_LABEL_MAX)
        return err_set(err, ERR_CONFIG, "%s: a token's label has at most %d characters", field, TOKEND_LABEL_MAX);
    memcpy(ret, value, strlen(value) + 1);
    return 0;
}

static int take_paths(const char *path, const struct raw *raw, struct tokend_config *c, struct err *err)
{
    TRY(resolve(path, raw->module, "module", c->module, err));
    if (raw->softhsm_conf != NULL)
        TRY(resolve(path, raw->softhsm_conf, "softhsm_conf", c->softhsm_conf, err));
    TRY(resolve(path, raw->pin_file, "pin_file", c->pin_file, err));
    TRY(resolve(path, raw->identity, "identity", c->identity, err));
    TRY(resolve(path, raw->socket, "socket", c->socket, err));
    char folder[TOKEND_PATH_MAX];
    (void)snprintf(folder, sizeof(folder), "%s", c->socket);
    if (access(dirname(folder), W_OK) != 0)
        return err_set(err, ERR_CONFIG, "socket: its folder is not there or cannot be written: make it");
    if (strlen(c->socket) > SOCKET_PATH_MAX)
        return err_set(err, ERR_CONFIG, "socket: the path is longer than %d bytes", SOCKET_PATH_MAX);
    return 0;
}

static int take(const char *path, const struct raw *raw, struct tokend_config *c, struct err *err)
{
    if (strcmp(raw->enfilade, "tokend/v1") != 0)
        return err_set(err, ERR_CONFIG, "enfilade: must be tokend/v1");
    TRY(text_name(raw->network, "network", err));
    TRY(text_name(raw->node, "node", err));
    memcpy(c->network, raw->network, strlen(raw->network) + 1);
    memcpy(c->node, raw->node, strlen(raw->node) + 1);
    TRY(take_paths(path, raw, c, err));
    TRY(take_label(raw->token, "token", c->token, err));
    TRY(take_label(raw->log_token, "log_token", c->log_token, err));
    if (strcmp(c->token, c->log_token) == 0)
        return err_set(err, ERR_CONFIG,
                       "log_token: must be another token than `token` (libp11 cannot list Ed25519 keys)");
    uint64_t uid = (uint64_t)geteuid(), workers = 2, requests = TOKEND_REQUESTS;
    TRY(text_u64(raw->profile, "profile", 1, 3, &c->profile, err));
    if (raw->uid != NULL)
        TRY(text_u64(raw->uid, "uid", 0, UINT32_MAX - 1, &uid, err));
    if (raw->workers != NULL)
        TRY(text_u64(raw->workers, "workers", 1, TOKEND_WORKERS_MAX, &workers, err));
    if (raw->requests != NULL)
        TRY(text_u64(raw->requests, "requests", 1, TOKEND_REQUESTS_MAX, &requests, err));
    c->uid = (uid_t)uid;
    c->workers = (unsigned)workers;
    c->requests = (unsigned)requests;
    return 0;
}

void tokend_config_place(const struct tokend_config *c, struct err *err)
{
    struct buf text;
    struct err ignored;
    if (file_read(c->path, CONFIG_MAX, &text, &ignored) == 0)
        (void)yaml_place(buf_view(&text), c->path, err);
    buf_done(&text);
}

int tokend_config_load(const char *path, struct tokend_config *ret, struct err *err)
{
    struct buf text;
    buf_init(&text, CONFIG_MAX);
    void *data = NULL;
    struct tokend_config c = {0};
    int rc = file_read(path, CONFIG_MAX, &text, err);
    if (rc == 0)
        rc = yaml_load(buf_view(&text), path, &schema, &data, err);
    if (rc == 0 && (rc = take(path, data, &c, err)) != 0)
        rc = yaml_place(buf_view(&text), path, err);
    if (rc == ERR_FORMAT || rc == ERR_TOO_LONG) /* whatever is wrong inside a configuration file is ERR_CONFIG */
        rc = ERR_CONFIG;
    if (rc != 0 && err != NULL)
        err->code = rc;
    (void)snprintf(c.path, sizeof(c.path), "%s", path);
    if (rc == 0)
        *ret = c;
    yaml_free(&schema, data);
    buf_done(&text);
    return rc;
}
