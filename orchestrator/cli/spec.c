/* spec: the file that describes a network to be made. */
#include "orchestrator/cli/spec.h"
#include "orchestrator/words.h"
#include <stdio.h>
#include <string.h>

#define SPEC_MAX (64u * 1024u)

struct raw_node {
    char *name, *role, *address, *listen, *region, *operator;
};
struct raw {
    char *enfilade, *network, *policy;
    char **owners, **devices;
    unsigned owners_count, devices_count;
    struct raw_node *nodes;
    unsigned nodes_count;
};

#define TEXT(key, type, flags) CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | (flags), struct type, key, 1, 1024)

static const cyaml_schema_value_t name_item = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, NAME_MAX_LEN)};
static const cyaml_schema_field_t node_fields[] = {TEXT(name, raw_node, 0),
                                                   TEXT(role, raw_node, 0),
                                                   TEXT(address, raw_node, 0),
                                                   TEXT(listen, raw_node, CYAML_FLAG_OPTIONAL),
                                                   TEXT(region, raw_node, 0),
                                                   TEXT(operator, raw_node, 0),
                                                   CYAML_FIELD_END};
static const cyaml_schema_value_t node_item = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_node, node_fields)};
static const cyaml_schema_field_t fields[] = {
    TEXT(enfilade, raw, 0),
    TEXT(network, raw, 0),
    TEXT(policy, raw, CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_SEQUENCE("owners", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, owners, &name_item, 1,
                         SPEC_NAMES_MAX),
    CYAML_FIELD_SEQUENCE("devices", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, devices, &name_item, 0,
                         SPEC_NAMES_MAX),
    CYAML_FIELD_SEQUENCE("nodes", CYAML_FLAG_POINTER, struct raw, nodes, &node_item, 1, SPEC_NODES_MAX),
    CYAML_FIELD_END};
static const cyaml_schema_value_t schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, fields)};

static int convert_names(char *const *from, unsigned count, const char *field, name_text *to, size_t *ret_count,
                         struct err *err)
{
    for (unsigned i = 0; i < count; i++) {
        TRY(text_name(from[i], field, err));
        words_copy(to[i], sizeof(to[i]), from[i]);
    }
    *ret_count = count;
    return 0;
}

static int convert_node(const struct raw_node *from, struct spec_node *to, struct err *err)
{
    TRY(text_name(from->name, "nodes: name", err));
    TRY(text_name(from->region, "nodes: region", err));
    TRY(text_name(from->operator, "nodes: operator", err));
    words_copy(to->name, sizeof(to->name), from->name);
    words_copy(to->region, sizeof(to->region), from->region);
    words_copy(to->operator_, sizeof(to->operator_), from->operator);
    words_copy(to->address, sizeof(to->address), from->address);
    words_copy(to->listen, sizeof(to->listen), from->listen != NULL ? from->listen : from->address);
    to->hsm = strcmp(from->role, "hsm") == 0;
    if (!to->hsm && strcmp(from->role, "config") != 0)
        return err_set(err, ERR_CONFIG, "nodes: role '%s' of %s is neither hsm nor config", from->role, from->name);
    return 0;
}

static int convert(const char *path, const struct raw *raw, struct spec *s, struct err *err)
{
    if (strcmp(raw->enfilade, "spec/v1") != 0)
        return err_set(err, ERR_CONFIG, "enfilade: must be spec/v1 here");
    TRY(text_name(raw->network, "network", err));
    words_copy(s->network, sizeof(s->network), raw->network);
    if (raw->policy != NULL) {
        const char *slash = raw->policy[0] == '/' ? NULL : strrchr(path, '/');
        int n = snprintf(s->policy, sizeof(s->policy), "%.*s%s", slash != NULL ? (int)(slash - path + 1) : 0, path,
                         raw->policy);
        if (n < 0 || (size_t)n >= sizeof(s->policy))
            return err_set(err, ERR_CONFIG, "policy: path too long");
    }
    if (raw->owners_count > 0)
        TRY(convert_names(raw->owners, raw->owners_count, "owners", s->owners, &s->owner_count, err));
    TRY(convert_names(raw->devices, raw->devices_count, "devices", s->devices, &s->device_count, err));
    for (unsigned i = 0; i < raw->nodes_count; i++) {
        TRY(convert_node(&raw->nodes[i], &s->nodes[i], err));
        s->node_count++;
    }
    return 0;
}

int spec_load(const char *path, struct spec *ret, struct err *err)
{
    struct buf text;
    void *raw = NULL;
    buf_init(&text, SPEC_MAX);
    memset(ret, 0, sizeof(*ret));
    words_copy(ret->owners[0], sizeof(ret->owners[0]), "owner");
    ret->owner_count = 1;
    int rc = file_read(path, SPEC_MAX, &text, err);
    if (rc == 0)
        rc = yaml_load(buf_view(&text), path, &schema, &raw, err);
    if (rc == 0) {
        rc = convert(path, raw, ret, err);
        if (rc != 0)
            err_wrap(err, rc, "%s", path);
        yaml_release(&schema, raw);
    }
    buf_done(&text);
    if (rc != 0 && err != NULL)
        err->code = ERR_CONFIG;
    return rc != 0 ? ERR_CONFIG : 0;
}

void spec_default(struct spec *ret)
{
    memset(ret, 0, sizeof(*ret));
    words_copy(ret->network, sizeof(ret->network), "example.test");
    words_copy(ret->owners[0], sizeof(ret->owners[0]), "owner");
    words_copy(ret->devices[0], sizeof(ret->devices[0]), "device-1");
    ret->owner_count = ret->device_count = 1;
    for (unsigned i = 0; i < 4; i++) {
        struct spec_node *n = &ret->nodes[ret->node_count++];
        n->hsm = i > 0;
        snprintf(n->name, sizeof(n->name), n->hsm ? "n%u" : "c%u", n->hsm ? i : 1);
        snprintf(n->address, sizeof(n->address), "127.0.0.1%u:7600", i);
        words_copy(n->listen, sizeof(n->listen), n->address);
        snprintf(n->region, sizeof(n->region), "r%u", i);
        snprintf(n->operator_, sizeof(n->operator_), "op%u", i);
    }
}
