/* config: reads and checks the node's configuration file. */
#include "node/config.h"
#include "common/net/conn.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct raw_token {
    char *socket, *uid;
};

struct raw_limits {
    char *connections, *connections_per_address, *begins_per_minute, *denial_days, *workers, *leaf_hours;
};

struct raw {
    char *enfilade, *network, *name, *role, *state, *root, *root_hash, *documents, *identity, *identity_key;
    char **listen;
    unsigned listen_count;
    struct raw_token *token;
    struct raw_limits *limits;
};

#define TEXT(key, flags, field) CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | (flags), struct raw, field, 1, 1024)

static const cyaml_schema_value_t listen_item = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 64)};

static const cyaml_schema_field_t token_fields[] = {
    CYAML_FIELD_STRING_PTR("socket", CYAML_FLAG_POINTER, struct raw_token, socket, 1, 100),
    CYAML_FIELD_STRING_PTR("uid", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_token, uid, 1, 10),
    CYAML_FIELD_END,
};

#define LIMIT(name)                                                                                                    \
    CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_limits, name, 1, 10)
static const cyaml_schema_field_t limit_fields[] = {
    LIMIT(connections),       LIMIT(connections_per_address),
    LIMIT(begins_per_minute), LIMIT(denial_days),
    LIMIT(workers),           LIMIT(leaf_hours),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t fields[] = {
    TEXT("enfilade", 0, enfilade),
    TEXT("network", 0, network),
    TEXT("name", 0, name),
    TEXT("role", 0, role),
    TEXT("state", 0, state),
    CYAML_FIELD_SEQUENCE("listen", CYAML_FLAG_POINTER, struct raw, listen, &listen_item, 1, NODE_LISTEN_MAX),
    TEXT("root", 0, root),
    TEXT("root_hash", 0, root_hash),
    TEXT("documents", CYAML_FLAG_OPTIONAL, documents),
    TEXT("identity", 0, identity),
    TEXT("identity_key", CYAML_FLAG_OPTIONAL, identity_key),
    CYAML_FIELD_MAPPING_PTR("token", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, token, token_fields),
    CYAML_FIELD_MAPPING_PTR("limits", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, limits, limit_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, fields)};

/* Relative paths are relative to the folder of the file they stand in. */
static char *resolve(const char *file, const char *path)
{
    if (path == NULL)
        return NULL;
    if (path[0] == '/')
        return strdup(path);
    char real[PATH_MAX];
    if (realpath(file, real) == NULL)
        return NULL;
    char *slash = strrchr(real, '/');
    if (slash != NULL)
        *slash = '\0';
    struct buf b;
    buf_init(&b, PATH_MAX);
    buf_printf(&b, "%s/%s", real, path);
    char *text = buf_cstr(&b);
    char *copy = text != NULL ? strdup(text) : NULL;
    buf_done(&b);
    return copy;
}

static int read_limit(const char *text, const char *field, unsigned least, unsigned most, unsigned standard,
                      unsigned *ret, struct err *err)
{
    uint64_t v = standard;
    if (text != NULL)
        TRY(text_u64(text, field, least, most, &v, err));
    *ret = (unsigned)v;
    return 0;
}

static int read_limits(const struct raw_limits *raw, struct node_config *c, struct err *err)
{
    static const struct raw_limits none;
    const struct raw_limits *l = raw != NULL ? raw : &none;
    TRY(read_limit(l->connections, "limits.connections", 1, 100000, 1024, &c->connections, err));
    TRY(read_limit(l->connections_per_address, "limits.connections_per_address", 1, 100000, 64,
                   &c->connections_per_address, err));
    TRY(read_limit(l->begins_per_minute, "limits.begins_per_minute", 1, 1000000, 600, &c->begins_per_minute, err));
    TRY(read_limit(l->denial_days, "limits.denial_days", 1, 3650, 30, &c->denial_days, err));
    TRY(read_limit(l->workers, "limits.workers", 1, 64, 2, &c->workers, err));
    return read_limit(l->leaf_hours, "limits.leaf_hours", 1, 168, 24, &c->leaf_hours, err);
}

static int read_role(const struct raw *raw, struct node_config *c, struct err *err)
{
    if (strcmp(raw->role, "hsm") == 0) {
        c->hsm = true;
        if (raw->token == NULL)
            return err_set(err, ERR_CONFIG, "field token: role hsm needs it (socket of enfilade-tokend)");
        if (raw->identity_key != NULL)
            return err_set(err, ERR_CONFIG, "field identity_key: only role config has a software key; remove it");
        uint64_t uid = getuid();
        if (raw->token->uid != NULL)
            TRY(text_u64(raw->token->uid, "token.uid", 0, UINT32_MAX - 1, &uid, err));
        c->token_uid = (unsigned)uid;
        return 0;
    }
    if (strcmp(raw->role, "config") != 0)
        return err_set(err, ERR_CONFIG, "field role: '%s' is neither hsm nor config", raw->role);
    if (raw->token != NULL)
        return err_set(err, ERR_CONFIG, "field token: role config has no token; remove it");
    if (raw->identity_key == NULL)
        return err_set(err, ERR_CONFIG, "field identity_key: role config needs it (PEM of the identity's key)");
    return 0;
}

static int convert(const char *path, const struct raw *raw, struct node_config *c, struct err *err)
{
    if (strcmp(raw->enfilade, "node/v1") != 0)
        return err_set(err, ERR_CONFIG, "field enfilade: '%s' is not node/v1", raw->enfilade);
    TRY(text_name(raw->network, "network", err));
    TRY(text_name(raw->name, "name", err));
    (void)strcpy(c->network, raw->network);
    (void)strcpy(c->name, raw->name);
    TRY(text_hex(raw->root_hash, "root_hash", c->root_hash, HASH_LEN, err));
    TRY(read_role(raw, c, err));
    TRY(read_limits(raw->limits, c, err));
    c->state = resolve(path, raw->state);
    c->root = resolve(path, raw->root);
    c->documents = resolve(path, raw->documents);
    c->identity = resolve(path, raw->identity);
    c->identity_key = resolve(path, raw->identity_key);
    c->socket = raw->token != NULL ? resolve(path, raw->token->socket) : NULL;
    for (unsigned i = 0; i < raw->listen_count; i++) {
        struct sockaddr_storage to;
        if (conn_parse_address(raw->listen[i], &to) != 0)
            return err_set(err, ERR_CONFIG,
                           "field listen: '%s' is not a numeric address with a port, like 127.0.0.11:7600",
                           raw->listen[i]);
        c->listen[i] = strdup(raw->listen[i]);
        c->listen_count = i + 1;
    }
    if (c->state == NULL || c->root == NULL || c->identity == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    return 0;
}

int node_config_load(const char *path, struct node_config **ret, struct err *err)
{
    struct buf text;
    buf_init(&text, 64 * 1024);
    void *raw = NULL;
    struct node_config *c = calloc(1, sizeof(*c));
    int rc = c != NULL ? file_read(path, 64 * 1024, &text, err) : ERR_NOMEM;
    if (rc == 0)
        rc = yaml_load(buf_view(&text), path, &schema, &raw, err);
    if (rc == 0) {
        rc = convert(path, raw, c, err);
        if (rc != 0)
            (void)yaml_place(buf_view(&text), path, err);
    }
    if (rc == ERR_FORMAT || rc == ERR_TOO_LONG) /* whatever is wrong inside a configuration file is ERR_CONFIG */
        rc = ERR_CONFIG;
    yaml_free(&schema, raw);
    buf_done(&text);
    if (rc != 0) {
        node_config_free(c);
        if (err != NULL)
            err->code = rc;
        return rc;
    }
    *ret = c;
    return 0;
}

void node_config_place(const char *path, struct err *err)
{
    struct buf text;
    struct err ignored;
    if (strncmp(err->text, "field ", 6) != 0)
        return;
    if (file_read(path, 64 * 1024, &text, &ignored) == 0)
        (void)yaml_place(buf_view(&text), path, err);
    buf_done(&text);
}

void node_config_free(struct node_config *c)
{
    if (c == NULL)
        return;
    char *paths[] = {c->state, c->root, c->documents, c->identity, c->identity_key, c->socket};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        free(paths[i]);
    for (size_t i = 0; i < c->listen_count; i++)
        free(c->listen[i]);
    free(c);
}
