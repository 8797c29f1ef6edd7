/* config: client.yaml read, converted and checked. */
#include "orchestrator/config.h"
#include "common/net/conn.h"
#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the file as libcyaml sees it: strings only */

struct raw_operation {
    char *name, *envelope, *owner;
};
struct raw_server {
    char *node, *address;
};
struct raw_node {
    char *node, *control, *config;
};
struct raw_device {
    char *certificate, *key;
};
struct raw_attester {
    char *kind, *device;
};
struct raw {
    char *enfilade, *network, *root, *root_hash, *documents, *state, *payload, *source, *deadline_s;
    struct raw_operation *operations;
    unsigned operations_count;
    struct raw_server *config_servers;
    unsigned config_servers_count;
    struct raw_node *nodes;
    unsigned nodes_count;
    struct raw_device *device;
    struct raw_attester *attester;
};

#define NEEDED(key, type) CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER, struct type, key, 1, PATH_MAX)
#define OPTIONAL(key, type)                                                                                            \
    CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct type, key, 1, PATH_MAX)

static const cyaml_schema_field_t operation_fields[] = {NEEDED(name, raw_operation), NEEDED(envelope, raw_operation),
                                                        NEEDED(owner, raw_operation), CYAML_FIELD_END};
static const cyaml_schema_value_t operation_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_operation, operation_fields)};

static const cyaml_schema_field_t server_fields[] = {NEEDED(node, raw_server), OPTIONAL(address, raw_server),
                                                     CYAML_FIELD_END};
static const cyaml_schema_value_t server_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_server, server_fields)};

static const cyaml_schema_field_t node_fields[] = {NEEDED(node, raw_node), OPTIONAL(control, raw_node),
                                                   OPTIONAL(config, raw_node), CYAML_FIELD_END};
static const cyaml_schema_value_t node_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_node, node_fields)};

static const cyaml_schema_field_t device_fields[] = {NEEDED(certificate, raw_device), NEEDED(key, raw_device),
                                                     CYAML_FIELD_END};
static const cyaml_schema_field_t attester_fields[] = {NEEDED(kind, raw_attester), NEEDED(device, raw_attester),
                                                       CYAML_FIELD_END};

static const cyaml_schema_field_t fields[] = {
    NEEDED(enfilade, raw),
    NEEDED(network, raw),
    NEEDED(root, raw),
    NEEDED(root_hash, raw),
    OPTIONAL(documents, raw),
    OPTIONAL(state, raw),
    OPTIONAL(payload, raw),
    OPTIONAL(source, raw),
    OPTIONAL(deadline_s, raw),
    CYAML_FIELD_SEQUENCE("operations", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, operations,
                         &operation_schema, 0, CONFIG_OPERATIONS_MAX),
    CYAML_FIELD_SEQUENCE("config_servers", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, config_servers,
                         &server_schema, 0, CONFIG_SERVERS_MAX),
    CYAML_FIELD_SEQUENCE("nodes", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, nodes, &node_schema, 0,
                         CONFIG_NODES_MAX),
    CYAML_FIELD_MAPPING_PTR("device", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, device, device_fields),
    CYAML_FIELD_MAPPING_PTR("attester", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, attester,
                            attester_fields),
    CYAML_FIELD_END};
static const cyaml_schema_value_t schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, fields)};

/* ---- conversion */

/* NULL stays NULL; relative paths become relative to the folder of the file `base`. */
static int path_beside(const char *base, const char *path, char **ret)
{
    *ret = NULL;
    if (path == NULL)
        return 0;
    const char *slash = strrchr(base, '/');
    char joined[PATH_MAX];
    int folder_len = path[0] == '/' || slash == NULL ? 0 : (int)(slash - base + 1);
    int n = snprintf(joined, sizeof(joined), "%.*s%s", folder_len, base, path);
    if (n < 0 || (size_t)n >= sizeof(joined))
        return ERR_TOO_LONG;
    *ret = strdup(joined);
    return *ret != NULL ? 0 : ERR_NOMEM;
}

static int convert_operations(const struct raw *raw, struct client_config *c, struct err *err)
{
    if (raw->operations_count == 0)
        return 0;
    c->operations = calloc(raw->operations_count, sizeof(*c->operations));
    if (c->operations == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (unsigned i = 0; i < raw->operations_count; i++) {
        const struct raw_operation *from = &raw->operations[i];
        struct client_operation *to = &c->operations[i];
        TRY(text_name(from->name, "operations: name", err));
        if (config_operation(c, from->name) != NULL)
            return err_set(err, ERR_CONFIG, "operations: '%s' stands there twice", from->name);
        snprintf(to->name, sizeof(to->name), "%s", from->name);
        TRY(text_hex(from->envelope, "operations: envelope", to->envelope, sizeof(to->envelope), err));
        int rc = note_key_parse(from->owner, &to->owner, err);
        if (rc != 0)
            return err_wrap(err, rc, "operations: owner of '%s'", from->name);
        c->operation_count++;
    }
    return 0;
}

static int convert_servers(const struct raw *raw, struct client_config *c, struct err *err)
{
    if (raw->config_servers_count == 0)
        return 0;
    c->servers = calloc(raw->config_servers_count, sizeof(*c->servers));
    if (c->servers == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (unsigned i = 0; i < raw->config_servers_count; i++) {
        const struct raw_server *from = &raw->config_servers[i];
        struct client_server *to = &c->servers[i];
        TRY(text_name(from->node, "config_servers: node", err));
        snprintf(to->node, sizeof(to->node), "%s", from->node);
        if (from->address != NULL && strlen(from->address) >= sizeof(to->address))
            return err_set(err, ERR_CONFIG, "config_servers: address of '%s' is too long", to->node);
        struct sockaddr_storage checked;
        if (from->address != NULL && conn_parse_address(from->address, &checked) != 0)
            return err_set(err, ERR_CONFIG,
                           "config_servers: address of '%s': '%s' is not a numeric address with a port", to->node,
                           from->address);
        snprintf(to->address, sizeof(to->address), "%s", from->address != NULL ? from->address : "");
        c->server_count++;
    }
    return 0;
}

static int convert_nodes(const char *path, const struct raw *raw, struct client_config *c, struct err *err)
{
    if (raw->nodes_count == 0)
        return 0;
    c->nodes = calloc(raw->nodes_count, sizeof(*c->nodes));
    if (c->nodes == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (unsigned i = 0; i < raw->nodes_count; i++) {
        struct client_node *to = &c->nodes[c->node_count++];
        TRY(text_name(raw->nodes[i].node, "nodes: node", err));
        snprintf(to->node, sizeof(to->node), "%s", raw->nodes[i].node);
        TRY(path_beside(path, raw->nodes[i].control, &to->control));
        TRY(path_beside(path, raw->nodes[i].config, &to->config));
    }
    return 0;
}

static int convert_source(const char *source, struct client_config *c, struct err *err)
{
    uint8_t address[16];
    if (source == NULL)
        return 0;
    if (inet_pton(AF_INET, source, address) != 1 && inet_pton(AF_INET6, source, address) != 1)
        return err_set(err, ERR_CONFIG, "source: '%s' is not a numeric IP address", source);
    snprintf(c->source, sizeof(c->source), "%s", source);
    return 0;
}

static int convert(const char *path, const struct raw *raw, struct client_config *c, struct err *err)
{
    if (strcmp(raw->enfilade, "client/v1") != 0)
        return err_set(err, ERR_CONFIG, "enfilade: must be client/v1 here, not '%s'", raw->enfilade);
    TRY(text_name(raw->network, "network", err));
    snprintf(c->network, sizeof(c->network), "%s", raw->network);
    TRY(text_hex(raw->root_hash, "root_hash", c->root_hash, sizeof(c->root_hash), err));
    TRY(path_beside(path, raw->root, &c->root));
    TRY(path_beside(path, raw->documents, &c->documents));
    TRY(path_beside(path, raw->state, &c->state));
    TRY(path_beside(path, raw->payload, &c->payload));
    uint64_t seconds = CONFIG_DEADLINE_S_DEFAULT;
    if (raw->deadline_s != NULL)
        TRY(text_u64(raw->deadline_s, "deadline_s", 1, CONFIG_DEADLINE_S_MAX, &seconds, err));
    c->deadline_ms = seconds * 1000;
    TRY(convert_source(raw->source, c, err));
    if (raw->device != NULL) {
        TRY(path_beside(path, raw->device->certificate, &c->device_certificate));
        TRY(path_beside(path, raw->device->key, &c->device_key));
    }
    if (raw->attester != NULL) {
        TRY(text_name(raw->attester->kind, "attester: kind", err));
        snprintf(c->attester_kind, sizeof(c->attester_kind), "%s", raw->attester->kind);
        c->attester_device = strdup(raw->attester->device);
        if (c->attester_device == NULL)
            return err_set(err, ERR_NOMEM, "out of memory");
    }
    TRY(convert_operations(raw, c, err));
    TRY(convert_servers(raw, c, err));
    return convert_nodes(path, raw, c, err);
}

int config_load(const char *path, struct client_config **ret, struct err *err)
{
    struct buf text;
    void *raw = NULL;
    buf_init(&text, CONFIG_FILE_MAX);
    struct client_config *c = calloc(1, sizeof(*c));
    int rc = c != NULL ? file_read(path, CONFIG_FILE_MAX, &text, err) : err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0)
        rc = yaml_load(buf_view(&text), path, &schema, &raw, err);
    if (rc == 0) {
        rc = convert(path, raw, c, err);
        if (rc != 0 && err != NULL && err->code != rc)
            rc = err_set(err, rc, "%s", err_advice_text(rc));
        if (rc != 0 && err != NULL)
            (void)yaml_place(buf_view(&text), path, err);
    }
    if (raw != NULL)
        yaml_free(&schema, raw);
    buf_done(&text);
    if (rc == 0) {
        *ret = c;
        return 0;
    }
    config_free(c);
    if (err != NULL)
        err->code = ERR_CONFIG; /* whatever the reason: the file is what must be mended */
    return ERR_CONFIG;
}

void config_free(struct client_config *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->node_count; i++) {
        free(c->nodes[i].control);
        free(c->nodes[i].config);
    }
    free(c->operations);
    free(c->servers);
    free(c->nodes);
    free(c->root);
    free(c->documents);
    free(c->state);
    free(c->payload);
    free(c->device_certificate);
    free(c->device_key);
    free(c->attester_device);
    free(c);
}

const struct client_operation *config_operation(const struct client_config *c, const char *name)
{
    for (size_t i = 0; i < c->operation_count; i++) {
        if (strcmp(c->operations[i].name, name) == 0)
            return &c->operations[i];
    }
    return NULL;
}
