/* network_files: node.yaml, tokend.yaml, client.yaml, and running enfilade-tokend init. */
#include "orchestrator/cli/network_files.h"
#include "common/net/identity.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/depot.h"
#include "orchestrator/words.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (256u * 1024u)
#define IDENTITY_MS (10 * 365 * DAY_MS)

static int write_text(const struct ceremony *c, struct buf *text, unsigned mode, struct err *err, const char *node,
                      const char *name)
{
    char path[PATH_MAX];
    int rc = ceremony_path(c, path, err, "%s%s/%s", node[0] != '\0' ? "nodes/" : "", node[0] != '\0' ? node : "client",
                           name);
    if (rc == 0)
        rc = buf_ok(text) ? file_write(path, buf_view(text), mode, err)
                          : err_set(err, ERR_TOO_LONG, "%s: too long", path);
    buf_done(text);
    return rc;
}

/* ---- HSM nodes */

static void put_socket(struct buf *b, const struct spec_node *n, const struct network_options *o)
{
    if (o->run_dir != NULL)
        buf_printf(b, "socket: %s/%s-tokend.sock\n", o->run_dir, n->name);
    else
        buf_str(b, "socket: tokend.sock\n");
}

static int write_tokend(const struct ceremony *c, const struct spec_node *n, const struct network_options *o,
                        struct err *err)
{
    struct buf b;
    buf_init(&b, FILE_MAX);
    buf_printf(&b,
               "# Configuration of enfilade-tokend of %s; node/README.md explains every line.\n"
               "enfilade: tokend/v1\nnetwork: %s\nnode: %s\nmodule: %s\nsofthsm_conf: softhsm2.conf\n"
               "pin_file: pin\nidentity: identity.pem\ntoken: enfilade\nlog_token: enfilade-log\nprofile: 1\n",
               n->name, c->network, n->name, o->module);
    put_socket(&b, n, o);
    buf_str(&b, "workers: 2\n");
    return write_text(c, &b, 0644, err, n->name, "tokend.yaml");
}

static int run_tokend_init(const char *program, const char *config, const char *out, struct err *err)
{
    char *argv[] = {
        strdup(program), strdup("init"), strdup("--config"), strdup(config), strdup("--out"), strdup(out), NULL};
    int rc = 0;
    for (size_t i = 0; i < 6; i++)
        rc = argv[i] == NULL ? err_set(err, ERR_NOMEM, "out of memory") : rc;
    if (rc == 0)
        rc = cli_run_program(argv, err);
    for (size_t i = 0; i < 6; i++)
        free(argv[i]);
    return rc;
}

struct raw_public {
    char *name, *profile, *kem, *seal, *peer, *log, *mirror;
};
#define PUBLIC(key) CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER, struct raw_public, key, 1, 256)
static const cyaml_schema_field_t public_fields[] = {PUBLIC(name), PUBLIC(profile), PUBLIC(kem),    PUBLIC(seal),
                                                     PUBLIC(peer), PUBLIC(log),     PUBLIC(mirror), CYAML_FIELD_END};
static const cyaml_schema_value_t public_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_public, public_fields)};

static int convert_public(const struct ceremony *c, const struct raw_public *raw, struct roster_node *ret,
                          struct err *err)
{
    uint8_t log[ED25519_PUBLIC_LEN], mirror[ED25519_PUBLIC_LEN];
    char name[NOTE_NAME_MAX + 1];
    TRY(text_u64(raw->profile, "profile", DERIVE_PROFILE_MIN, DERIVE_PROFILE_MAX, &ret->profile, err));
    TRY(text_base64_exact(raw->kem, "kem", ret->kem, sizeof(ret->kem), err));
    TRY(text_base64_exact(raw->seal, "seal", ret->seal, sizeof(ret->seal), err));
    TRY(text_base64_exact(raw->peer, "peer", ret->peer, sizeof(ret->peer), err));
    TRY(text_base64_exact(raw->log, "log", log, sizeof(log), err));
    TRY(text_base64_exact(raw->mirror, "mirror", mirror, sizeof(mirror), err));
    snprintf(name, sizeof(name), "%s/%s/log", c->network, ret->name);
    TRY(note_key_make(name, log, &ret->log));
    snprintf(name, sizeof(name), "%s/%s/mirror", c->network, ret->name);
    return note_key_make(name, mirror, &ret->mirror);
}

static int read_public(const struct ceremony *c, struct roster_node *ret, struct err *err)
{
    char path[PATH_MAX];
    struct buf text;
    void *raw = NULL;
    TRY(ceremony_path(c, path, err, "nodes/%s/public.yaml", ret->name));
    buf_init(&text, FILE_MAX);
    int rc = file_read(path, FILE_MAX, &text, err);
    if (rc == 0)
        rc = yaml_load(buf_view(&text), path, &public_schema, &raw, err);
    if (rc == 0) {
        rc = convert_public(c, raw, ret, err);
        yaml_release(&public_schema, raw);
    }
    buf_done(&text);
    return rc != 0 ? err_wrap(err, rc, "%s", path) : 0;
}

static int make_hsm_keys(const struct ceremony *c, const struct spec_node *n, const struct network_options *o,
                         struct roster_node *ret, struct err *err)
{
    char config[PATH_MAX], out[PATH_MAX];
    TRY(write_tokend(c, n, o, err));
    TRY(ceremony_path(c, config, err, "nodes/%s/tokend.yaml", n->name));
    TRY(ceremony_path(c, out, err, "nodes/%s", n->name));
    TRY(run_tokend_init(o->tokend, config, out, err));
    ret->roles = NODE_HSM | NODE_MIRROR;
    words_copy(ret->vendor, sizeof(ret->vendor), "softhsm");
    return read_public(c, ret, err);
}

/* ---- configuration servers */

static int make_software_identity(const struct ceremony *c, const struct spec_node *n, struct roster_node *ret,
                                  struct err *err)
{
    char path[PATH_MAX];
    struct buf der, pem;
    void *key = NULL;
    uint64_t now = now_ms();
    buf_init(&der, FILE_MAX);
    buf_init(&pem, FILE_MAX);
    int rc = identity_key_new(&key);
    if (rc == 0)
        rc = ceremony_path(c, path, err, "nodes/%s/identity.key", n->name);
    if (rc == 0)
        rc = identity_key_save(key, path, err);
    if (rc == 0)
        rc = identity_self_signed(key, n->name, now - 600000, now + IDENTITY_MS, &der, err);
    if (rc == 0)
        rc = identity_cert_to_pem(buf_view(&der), &pem);
    if (rc == 0)
        rc = ceremony_path(c, path, err, "nodes/%s/identity.pem", n->name);
    if (rc == 0)
        rc = file_write(path, buf_view(&pem), 0644, err);
    identity_key_free(key);
    buf_done(&der);
    buf_done(&pem);
    ret->roles = NODE_CONFIG;
    words_copy(ret->vendor, sizeof(ret->vendor), "software");
    return rc;
}

static int read_identity(const struct ceremony *c, struct roster_node *ret, struct err *err)
{
    char path[PATH_MAX];
    struct buf pem, der;
    TRY(ceremony_path(c, path, err, "nodes/%s/identity.pem", ret->name));
    buf_init(&pem, FILE_MAX);
    buf_init(&der, IDENTITY_CERT_MAX);
    int rc = file_read(path, FILE_MAX, &pem, err);
    if (rc == 0)
        rc = identity_cert_from_pem(buf_view(&pem), &der, err);
    if (rc == 0) {
        ret->identity.der = malloc(der.len);
        ret->identity.len = der.len;
        if (ret->identity.der == NULL)
            rc = err_set(err, ERR_NOMEM, "out of memory");
        else
            memcpy(ret->identity.der, der.p, der.len);
    }
    buf_done(&pem);
    buf_done(&der);
    return rc;
}

int network_node_keys(const struct ceremony *c, const struct spec_node *n, const struct network_options *o,
                      struct roster_node *ret, struct err *err)
{
    char folder[NAME_MAX_LEN + 32];
    static const char *const parts[] = {"", "/documents"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(folder, sizeof(folder), "nodes/%s%s", n->name, parts[i]);
        TRY(ceremony_folder(c, folder, err));
    }
    memcpy(ret->name, n->name, sizeof(ret->name));
    memcpy(ret->region, n->region, sizeof(ret->region));
    memcpy(ret->operator_, n->operator_, sizeof(ret->operator_));
    int rc = n->hsm ? make_hsm_keys(c, n, o, ret, err) : make_software_identity(c, n, ret, err);
    if (rc == 0)
        rc = read_identity(c, ret, err);
    if (rc != 0 && err != NULL && err->code == 0)
        err_set(err, rc, "%s", err_advice_text(rc));
    return rc != 0 ? err_wrap(err, rc, "node %s", n->name) : 0;
}

int network_node_config(const struct ceremony *c, const struct spec_node *n, const struct network_options *o,
                        const uint8_t root_hash[HASH_LEN], struct err *err)
{
    struct buf b;
    buf_init(&b, FILE_MAX);
    buf_printf(&b,
               "# Configuration of enfilade-node %s; node/README.md explains every line.\n"
               "enfilade: node/v1\nnetwork: %s\nname: %s\nrole: %s\nstate: state\nlisten: [\"%s\"]\n"
               "root: documents/root.note\nroot_hash: ",
               n->name, c->network, n->name, n->hsm ? "hsm" : "config", n->listen);
    buf_hex(&b, BYTES(root_hash, HASH_LEN));
    buf_printf(&b, "\ndocuments: %s\nidentity: identity.pem\n", n->hsm ? "documents" : "../../config");
    if (n->hsm) {
        buf_str(&b, "token:\n  ");
        put_socket(&b, n, o);
    } else {
        buf_str(&b, "identity_key: identity.key\n");
    }
    return write_text(c, &b, 0644, err, n->name, "node.yaml");
}

/* ---- the client */

static void put_operations(struct buf *b, const struct network_operation *operations, size_t count,
                           const struct note_key *owner)
{
    if (count == 0)
        return;
    buf_str(b, "operations:                # the envelope that we expect for each, and whose it must be\n");
    for (size_t i = 0; i < count; i++) {
        buf_printf(b, "  - name: %s\n    envelope: ", operations[i].name);
        buf_hex(b, BYTES_OF(operations[i].envelope));
        buf_str(b, "\n    owner: ");
        note_key_text(owner, b);
        buf_str(b, "\n");
    }
}

static void put_nodes(struct buf *b, const struct spec *s)
{
    size_t servers = 0;
    for (size_t i = 0; i < s->node_count; i++) {
        if (s->nodes[i].hsm)
            continue;
        if (servers++ == 0)
            buf_str(b, "config_servers:\n");
        buf_printf(b, "  - {node: %s, address: \"%s\"}\n", s->nodes[i].name, s->nodes[i].address);
    }
    buf_str(b, "nodes:                     # on this host: for status and audit\n");
    for (size_t i = 0; i < s->node_count; i++)
        buf_printf(b, "  - {node: %s, control: ../nodes/%s/state/control, config: ../nodes/%s/node.yaml}\n",
                   s->nodes[i].name, s->nodes[i].name, s->nodes[i].name);
}

int network_client_config(const struct ceremony *c, const struct spec *s, const uint8_t root_hash[HASH_LEN],
                          const struct network_operation *operations, size_t operation_count,
                          const struct note_key *owner, const char *device, const char *tcti, struct err *err)
{
    struct buf b;
    buf_init(&b, FILE_MAX);
    buf_printf(&b,
               "# What this workload knows before it trusts anybody; orchestrator/README.md explains every line.\n"
               "enfilade: client/v1\nnetwork: %s\nroot: documents/root.note\nroot_hash: ",
               c->network);
    buf_hex(&b, BYTES(root_hash, HASH_LEN));
    buf_str(&b, "\ndocuments: documents\nstate: state\npayload: payload\n");
    put_operations(&b, operations, operation_count, owner);
    put_nodes(&b, s);
    if (device[0] != '\0')
        buf_printf(&b, "device:\n  certificate: ../devices/%s/device.pem\n  key: ../devices/%s/device.key\n", device,
                   device);
    if (tcti != NULL)
        buf_printf(&b, "attester:\n  kind: tpm2\n  device: \"%s\"\n", tcti);
    return write_text(c, &b, 0644, err, "", "client.yaml");
}
