/* roster: the schema of the document that says who the nodes are. */
#include "common/documents/schema.h"
#include "common/walk/derive.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX 1000
#define ADDRESSES_MAX 8
#define ADDRESS_LEN 64
#define KEYS_PER_NODE 7 /* name, identity, kem, seal, peer, log, mirror */

struct raw_node {
    char *name, *region, *operator_, *vendor, *identity, *profile, *kem, *seal, *peer, *log, *mirror;
    enum node_role *roles;
    unsigned roles_count;
    char **addresses;
    unsigned addresses_count;
};

struct raw_roster {
    struct head head;
    struct raw_node *nodes;
    unsigned nodes_count;
};

static const cyaml_strval_t role_words[] = {{"hsm", NODE_HSM}, {"mirror", NODE_MIRROR}, {"config", NODE_CONFIG}};
static const cyaml_schema_value_t role_value = {CYAML_VALUE_ENUM(CYAML_FLAG_STRICT, enum node_role, role_words, 3)};
static const cyaml_schema_field_t node_fields[] = {
    FIELD_TEXT("name", struct raw_node, name),
    CYAML_FIELD_SEQUENCE("roles", CYAML_FLAG_POINTER, struct raw_node, roles, &role_value, 1, 3),
    FIELD_TEXTS("addresses", CYAML_FLAG_DEFAULT, struct raw_node, addresses, 1, ADDRESSES_MAX),
    FIELD_TEXT("region", struct raw_node, region),
    FIELD_TEXT("operator", struct raw_node, operator_),
    FIELD_TEXT("vendor", struct raw_node, vendor),
    CYAML_FIELD_STRING_PTR("identity", CYAML_FLAG_POINTER, struct raw_node, identity, 1, BASE64_MAX(CERTIFICATE_MAX)),
    FIELD_TEXT_OPTIONAL("profile", struct raw_node, profile),
    FIELD_TEXT_OPTIONAL("kem", struct raw_node, kem),
    FIELD_TEXT_OPTIONAL("seal", struct raw_node, seal),
    FIELD_TEXT_OPTIONAL("peer", struct raw_node, peer),
    FIELD_TEXT_OPTIONAL("log", struct raw_node, log),
    FIELD_TEXT_OPTIONAL("mirror", struct raw_node, mirror),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t node_value = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_node, node_fields)};
static const cyaml_schema_field_t roster_fields[] = {
    FIELDS_HEAD(struct raw_roster),
    FIELD_TEXT("version", struct raw_roster, head.version),
    CYAML_FIELD_SEQUENCE("nodes", CYAML_FLAG_POINTER, struct raw_roster, nodes, &node_value, 0, NODES_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t roster_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_roster, roster_fields)};

/* "host:port" or "[v6]:port": host of letters, digits, '.', '-' */
static bool address_ok(const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    char host[ADDRESS_LEN];
    if (colon == NULL || strlen(text) >= ADDRESS_LEN || text_u64(colon + 1, "port", 1, 65535, &port, NULL) != 0)
        return false;
    size_t len = (size_t)(colon - text);
    memcpy(host, text, len);
    host[len] = '\0';
    if (host[0] == '[' && len > 2 && host[len - 1] == ']') {
        struct in6_addr six;
        host[len - 1] = '\0';
        return inet_pton(AF_INET6, host + 1, &six) == 1;
    }
    static const char fits[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    return len > 0 && strspn(host, fits) == len && host[0] != '-' && host[0] != '.';
}

static int read_addresses(struct reader *r, const struct raw_node *raw, struct roster_node *node)
{
    TRY(read_array(r, raw->addresses_count, sizeof(*node->addresses), &node->addresses));
    for (size_t i = 0; i < raw->addresses_count; i++) {
        if (!address_ok(raw->addresses[i]))
            return read_fail(r, ERR_FORMAT, "addresses", "'%.70s' is not host:port or [v6]:port", raw->addresses[i]);
        memcpy(node->addresses[i], raw->addresses[i], strlen(raw->addresses[i]) + 1);
    }
    node->address_count = raw->addresses_count;
    return 0;
}

/* The key of a node's log or mirror carries the node's name, so that no checkpoint speaks for another. */
static int read_log_key(struct reader *r, const char *key, const char *text, struct roster_node *node,
                        struct note_key *ret)
{
    char name[3 * NAME_MAX_LEN];
    TRY(read_vkey(r, key, text, ret));
    (void)snprintf(name, sizeof(name), "%s/%s/%s", r->d->network, node->name, key);
    if (strcmp(ret->name, name) != 0)
        return read_fail(r, ERR_FORMAT, key, "the key's name must be %s", name);
    return 0;
}

static int read_token_keys(struct reader *r, const struct raw_node *raw, struct roster_node *node)
{
    const struct {
        const char *key, *text;
    } all[] = {{"profile", raw->profile}, {"kem", raw->kem}, {"seal", raw->seal},
               {"peer", raw->peer},       {"log", raw->log}, {"mirror", raw->mirror}};
    bool hsm = (node->roles & NODE_HSM) != 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (!hsm && all[i].text != NULL)
            return read_fail(r, ERR_FORMAT, all[i].key, "only with the role hsm; remove it");
        if (hsm && all[i].text == NULL)
            return read_fail(r, ERR_FORMAT, all[i].key, "missing; the role hsm needs it");
    }
    if (!hsm)
        return 0;
    TRY(read_u64(r, "profile", raw->profile, DERIVE_PROFILE_MIN, DERIVE_PROFILE_MAX, &node->profile));
    TRY(read_point(r, "kem", raw->kem, node->kem));
    TRY(read_point(r, "seal", raw->seal, node->seal));
    TRY(read_point(r, "peer", raw->peer, node->peer));
    TRY(read_log_key(r, "log", raw->log, node, &node->log));
    return read_log_key(r, "mirror", raw->mirror, node, &node->mirror);
}

static int read_node(struct reader *r, const struct raw_node *raw, struct roster_node *node)
{
    TRY(read_name(r, "name", raw->name, node->name));
    for (size_t i = 0; i < raw->roles_count; i++) {
        if ((node->roles & raw->roles[i]) != 0)
            return read_fail(r, ERR_FORMAT, "roles", "a role stands here twice; keep one");
        node->roles |= raw->roles[i];
    }
    TRY(read_addresses(r, raw, node));
    TRY(read_name(r, "region", raw->region, node->region));
    TRY(read_name(r, "operator", raw->operator_, node->operator_));
    TRY(read_name(r, "vendor", raw->vendor, node->vendor));
    TRY(read_certificate(r, "identity", raw->identity, &node->identity));
    return read_token_keys(r, raw, node);
}

static int check_distinct(struct reader *r, const struct roster *roster)
{
    struct distinct *all = calloc(roster->count * KEYS_PER_NODE + 1, sizeof(*all));
    if (all == NULL)
        return err_set(r->err, ERR_NOMEM, "%s: out of memory", r->source);
    size_t n = 0;
    for (size_t i = 0; i < roster->count; i++) {
        const struct roster_node *node = &roster->nodes[i];
        all[n++] = (struct distinct){bytes_str(node->name), "nodes", "name", i};
        all[n++] = (struct distinct){BYTES(node->identity.der, node->identity.len), "nodes", "identity", i};
        if ((node->roles & NODE_HSM) == 0)
            continue;
        all[n++] = (struct distinct){BYTES_OF(node->kem), "nodes", "kem", i};
        all[n++] = (struct distinct){BYTES_OF(node->seal), "nodes", "seal", i};
        all[n++] = (struct distinct){BYTES_OF(node->peer), "nodes", "peer", i};
        all[n++] = (struct distinct){BYTES_OF(node->log.public), "nodes", "log", i};
        all[n++] = (struct distinct){BYTES_OF(node->mirror.public), "nodes", "mirror", i};
    }
    int rc = read_distinct(r, all, n);
    free(all);
    return rc;
}

static int read_roster(struct reader *r, const void *raw_)
{
    const struct raw_roster *raw = raw_;
    struct roster *roster = &r->d->roster;
    TRY(read_head(r, &raw->head));
    TRY(read_array(r, raw->nodes_count, sizeof(*roster->nodes), &roster->nodes));
    for (size_t i = 0; i < raw->nodes_count; i++) {
        reader_at(r, "nodes[%zu]", i);
        TRY(read_node(r, &raw->nodes[i], &roster->nodes[i]));
    }
    roster->count = raw->nodes_count;
    return check_distinct(r, roster);
}

static void write_node(const struct roster_node *n, struct buf *out)
{
    buf_printf(out, "  - name: %s\n    roles: [", n->name);
    const char *comma = "";
    for (size_t i = 0; i < 3; i++)
        if ((n->roles & (unsigned)role_words[i].val) != 0) {
            buf_printf(out, "%s%s", comma, role_words[i].str);
            comma = ", ";
        }
    buf_str(out, "]\n    addresses: [");
    for (size_t i = 0; i < n->address_count; i++)
        buf_printf(out, "%s\"%s\"", i > 0 ? ", " : "", n->addresses[i]);
    buf_printf(out, "]\n    region: %s\n    operator: %s\n    vendor: %s\n", n->region, n->operator_, n->vendor);
    write_base64(out, "    identity: ", BYTES(n->identity.der, n->identity.len));
    if ((n->roles & NODE_HSM) == 0)
        return;
    buf_printf(out, "    profile: %llu\n", (unsigned long long)n->profile);
    write_base64(out, "    kem: ", BYTES_OF(n->kem));
    write_base64(out, "    seal: ", BYTES_OF(n->seal));
    write_base64(out, "    peer: ", BYTES_OF(n->peer));
    buf_str(out, "    log: ");
    note_key_text(&n->log, out);
    buf_str(out, "\n    mirror: ");
    note_key_text(&n->mirror, out);
    buf_str(out, "\n");
}

static void write_roster(const struct document *d, struct buf *out)
{
    write_head(d, true, out);
    write_time(out, "issued: ", d->issued_ms);
    write_time(out, "expires: ", d->expires_ms);
    buf_str(out, d->roster.count > 0 ? "nodes:\n" : "nodes: []\n");
    for (size_t i = 0; i < d->roster.count; i++)
        write_node(&d->roster.nodes[i], out);
}

const struct schema roster_schema = {&roster_value, read_roster, write_roster};

const struct roster_node *roster_find(const struct document *roster, struct bytes name)
{
    for (size_t i = 0; i < roster->roster.count; i++)
        if (bytes_is(name, roster->roster.nodes[i].name))
            return &roster->roster.nodes[i];
    return NULL;
}

const struct roster_node *roster_find_identity(const struct document *roster, struct bytes der)
{
    for (size_t i = 0; i < roster->roster.count; i++) {
        const struct certificate *c = &roster->roster.nodes[i].identity;
        if (bytes_equal(der, BYTES(c->der, c->len)))
            return &roster->roster.nodes[i];
    }
    return NULL;
}
