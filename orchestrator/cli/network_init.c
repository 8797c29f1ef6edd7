/* network_init: enfilade network init: a whole test network, keys first, documents last. */
#include "common/base/clock.h"
#include "common/documents/write.h"
#include "common/net/identity.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/enroll.h"
#include "orchestrator/cli/network_files.h"
#include "orchestrator/cli/template.h"
#include "orchestrator/words.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ROOT_MS (365 * DAY_MS)
#define ROSTER_MS (30 * DAY_MS)
#define POLICY_MS (90 * DAY_MS)
#define CA_MS (10 * 365 * DAY_MS)
#define POLICY_FILE_MAX (256u * 1024u)

static const char help[] =
    "enfilade network init DIR: make the keys, documents and configuration of a whole network in DIR (new or empty)\n"
    "\n"
    "  --from SPEC.yaml   nodes, owners, devices and policy; else three HSM nodes and a configuration server on\n"
    "                     127.0.0.10 to 127.0.0.13. The format stands in orchestrator/cli/README.md\n"
    "  --set NAME=VALUE   what to put for @NAME@ in the policy (several times)\n"
    "  --tcti TCTI        the TPM of the first device: it is proved and enrolled, and becomes the client's attester\n"
    "  --module FILE      PKCS#11 module (default /usr/lib/softhsm/libsofthsm2.so)\n"
    "  --run-dir DIR      where tokend's sockets go (default: each node's folder; paths must stay below 100 bytes)\n"
    "  --tokend PROGRAM   enfilade-tokend (default: beside this program, else from PATH)\n"
    "\n"
    "DIR/keys holds every key of every role: this is for tests and first steps. See the runbook for real ceremonies.\n";

static const char default_policy[] = "enfilade: policy/v1\n"
                                     "network: @network@\n"
                                     "name: default\n"
                                     "version: 1\n"
                                     "issued: @issued@\n"
                                     "expires: @expires@\n"
                                     "operations: [unlock]\n"
                                     "owners: [\"@owner:owner@\"]\n"
                                     "chain_lifetime_s: 86400\n"
                                     "stages:\n"
                                     "  - name: gate\n"
                                     "    need: 1\n"
                                     "    audit: local\n"
                                     "    factors: {all: [{device: enrolled}, {network: {cidrs: [\"127.0.0.0/8\"]}}]}\n"
                                     "  - name: vault\n"
                                     "    need: 1\n"
                                     "    audit: local\n"
                                     "    factors: {device: enrolled}\n";

struct init {
    struct ceremony c;
    struct spec spec;
    struct network_options options;
    const struct cli_list *set;
    const char *tcti;
    uint64_t now_ms; /* whole seconds */
    struct note_key role[ROLE_COUNT][CEREMONY_ROOT_KEYS];
    struct note_key owners[SPEC_NAMES_MAX];
    struct roster_node nodes[SPEC_NODES_MAX];
    char addresses[SPEC_NODES_MAX][1][64];
    struct buf ca;
    uint8_t root_hash[HASH_LEN];
    struct device devices[SPEC_NAMES_MAX];
};

/* ---- keys */

static int make_role_keys(struct init *in, struct err *err)
{
    static const char *const root_names[CEREMONY_ROOT_KEYS] = {"root-a", "root-b", "root-c"};
    for (size_t i = 0; i < CEREMONY_ROOT_KEYS; i++)
        TRY(ceremony_key_new(&in->c, root_names[i], &in->role[ROLE_ROOT][i], err));
    for (int r = ROLE_ROSTER; r < ROLE_COUNT; r++)
        TRY(ceremony_key_new(&in->c, role_name((enum role)r), &in->role[r][0], err));
    for (size_t i = 0; i < in->spec.owner_count; i++) {
        char name[NAME_MAX_LEN + 8];
        snprintf(name, sizeof(name), "owner-%s", in->spec.owners[i]);
        TRY(ceremony_key_new(&in->c, name, &in->owners[i], err));
    }
    return 0;
}

static int make_device_ca(struct init *in, struct err *err)
{
    char path[PATH_MAX], name[NAME_MAX_LEN + 16];
    struct buf pem;
    void *key = NULL;
    buf_init(&pem, 64 * 1024);
    snprintf(name, sizeof(name), "%.40s-device-ca", in->c.network);
    int rc = identity_key_new(&key);
    if (rc == 0)
        rc = ceremony_path(&in->c, path, err, "ca/device-ca.key");
    if (rc == 0)
        rc = identity_key_save(key, path, err);
    if (rc == 0)
        rc = identity_self_signed(key, name, in->now_ms - 600000, in->now_ms + CA_MS, &in->ca, err);
    if (rc == 0)
        rc = identity_cert_to_pem(buf_view(&in->ca), &pem);
    if (rc == 0)
        rc = ceremony_path(&in->c, path, err, "ca/device-ca.pem");
    if (rc == 0)
        rc = file_write(path, buf_view(&pem), 0644, err);
    identity_key_free(key);
    buf_done(&pem);
    return rc;
}

static int make_devices(struct init *in, struct err *err)
{
    char folder[NAME_MAX_LEN + 16], ca[PATH_MAX], ca_key[PATH_MAX], certificate[PATH_MAX], key[PATH_MAX];
    TRY(ceremony_path(&in->c, ca, err, "ca/device-ca.pem"));
    TRY(ceremony_path(&in->c, ca_key, err, "ca/device-ca.key"));
    for (size_t i = 0; i < in->spec.device_count; i++) {
        struct device *d = &in->devices[i];
        memcpy(d->id, in->spec.devices[i], sizeof(d->id));
        snprintf(folder, sizeof(folder), "devices/%s", d->id);
        TRY(ceremony_folder(&in->c, folder, err));
        TRY(ceremony_path(&in->c, certificate, err, "%s/device.pem", folder));
        TRY(ceremony_path(&in->c, key, err, "%s/device.key", folder));
        TRY(enroll_new_key(ca, ca_key, d->id, certificate, key, d->key_hash, err));
        if (i == 0 && in->tcti != NULL)
            TRY(enroll_tpm_local(in->tcti, d->ak_hash, d->ek_hash, err));
    }
    return 0;
}

static int make_nodes(struct init *in, struct err *err)
{
    for (size_t i = 0; i < in->spec.node_count; i++) {
        const struct spec_node *n = &in->spec.nodes[i];
        fprintf(stderr, "enfilade: making the keys of %s\n", n->name);
        memcpy(in->addresses[i][0], n->address, sizeof(n->address));
        in->nodes[i].addresses = in->addresses[i];
        in->nodes[i].address_count = 1;
        TRY(network_node_keys(&in->c, n, &in->options, &in->nodes[i], err));
    }
    return 0;
}

/* ---- documents */

static struct document new_document(const struct init *in, enum document_type type, uint64_t span_ms)
{
    struct document d = {.type = type, .version = 1, .issued_ms = in->now_ms, .expires_ms = in->now_ms + span_ms};
    memcpy(d.network, in->c.network, sizeof(d.network));
    return d;
}

/* Signs, takes into the shelf, publishes. */
static int issue(struct init *in, struct bytes text, const char *const *roles, size_t count, struct err *err)
{
    struct buf note;
    TRY(ceremony_sign(&in->c, text, roles, count, &note, err));
    int rc = ceremony_offer(&in->c, buf_view(&note), err);
    if (rc == 0)
        rc = ceremony_publish(&in->c, buf_view(&note), err);
    buf_done(&note);
    return rc;
}

static int issue_document(struct init *in, const struct document *d, const char *const *roles, size_t count,
                          struct err *err)
{
    struct buf text;
    TRY(document_write(d, &text, err));
    if (d->type == DOCUMENT_ROOT)
        sha256(buf_view(&text), in->root_hash);
    int rc = issue(in, buf_view(&text), roles, count, err);
    buf_done(&text);
    return rc;
}

static int issue_root(struct init *in, struct err *err)
{
    static const char *const roles[] = {"root-a", "root-b"};
    struct certificate ca = {in->ca.p, in->ca.len};
    struct document d = new_document(in, DOCUMENT_ROOT, ROOT_MS);
    d.root.tag_profile = 1;
    d.root.device_cas = &ca;
    d.root.device_ca_count = 1;
    for (int r = 0; r < ROLE_COUNT; r++)
        d.root.role[r] = (struct role_keys){.threshold = r == ROLE_ROOT ? CEREMONY_ROOT_THRESHOLD : 1,
                                            .keys = in->role[r],
                                            .count = r == ROLE_ROOT ? CEREMONY_ROOT_KEYS : 1};
    TRY(shelf_new(in->c.network, NULL, &in->c.shelf));
    return issue_document(in, &d, roles, CEREMONY_ROOT_THRESHOLD, err);
}

static int issue_roster(struct init *in, struct err *err)
{
    static const char *const roles[] = {"roster"};
    struct document d = new_document(in, DOCUMENT_ROSTER, ROSTER_MS);
    d.roster.nodes = in->nodes;
    d.roster.count = in->spec.node_count;
    return issue_document(in, &d, roles, 1, err);
}

static int issue_inventory(struct init *in, struct err *err)
{
    static const char *const roles[] = {"inventory"};
    struct document d = new_document(in, DOCUMENT_INVENTORY, ROSTER_MS);
    d.inventory.devices = in->devices;
    d.inventory.count = in->spec.device_count;
    return issue_document(in, &d, roles, 1, err);
}

/* Texts that values of the policy's template point into. */
struct values {
    char issued[CLOCK_TEXT_LEN + 1], expires[CLOCK_TEXT_LEN + 1];
    char owner_name[SPEC_NAMES_MAX][NAME_MAX_LEN + 8];
    struct buf owner[SPEC_NAMES_MAX];
    char set[CLI_LIST_MAX][1024];
    struct template_values list;
};

static int fill_values(struct init *in, struct values *v, struct err *err)
{
    clock_text(in->now_ms, v->issued);
    clock_text(in->now_ms + POLICY_MS, v->expires);
    TRY(template_add(&v->list, "network", in->c.network, err));
    TRY(template_add(&v->list, "issued", v->issued, err));
    TRY(template_add(&v->list, "expires", v->expires, err));
    for (size_t i = 0; i < in->spec.owner_count; i++) {
        snprintf(v->owner_name[i], sizeof(v->owner_name[i]), "owner:%s", in->spec.owners[i]);
        buf_init(&v->owner[i], 1024);
        note_key_text(&in->owners[i], &v->owner[i]);
        const char *text = buf_cstr(&v->owner[i]);
        if (text == NULL)
            return err_set(err, ERR_NOMEM, "out of memory");
        TRY(template_add(&v->list, v->owner_name[i], text, err));
    }
    for (size_t i = 0; i < in->set->count; i++) {
        words_copy(v->set[i], sizeof(v->set[i]), in->set->at[i]);
        char *equals = strchr(v->set[i], '=');
        if (equals == NULL)
            return err_set(err, ERR_USAGE, "--set: '%s' is not NAME=VALUE", in->set->at[i]);
        *equals = '\0';
        TRY(template_add(&v->list, v->set[i], equals + 1, err));
    }
    return 0;
}

static int fill_policy(struct init *in, struct buf *ret_text, struct err *err)
{
    struct buf file;
    struct values *v = calloc(1, sizeof(*v));
    buf_init(&file, POLICY_FILE_MAX);
    int rc = v != NULL ? fill_values(in, v, err) : err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0 && in->spec.policy[0] != '\0')
        rc = file_read(in->spec.policy, POLICY_FILE_MAX, &file, err);
    else if (rc == 0)
        buf_str(&file, default_policy);
    if (rc == 0)
        rc = template_fill(buf_view(&file), &v->list, ret_text, err);
    for (size_t i = 0; v != NULL && i < in->spec.owner_count; i++)
        buf_done(&v->owner[i]);
    free(v);
    buf_done(&file);
    return rc != 0 ? err_wrap(err, rc, "policy") : 0;
}

/* Signed by the policy role and by all owners: we hold their keys. */
static int issue_policy(struct init *in, struct document **ret, struct err *err)
{
    struct buf text;
    const char *roles[SPEC_NAMES_MAX + 1] = {"policy"};
    char names[SPEC_NAMES_MAX][NAME_MAX_LEN + 8];
    for (size_t i = 0; i < in->spec.owner_count; i++) {
        snprintf(names[i], sizeof(names[i]), "owner-%s", in->spec.owners[i]);
        roles[i + 1] = names[i];
    }
    buf_init(&text, DOCUMENT_MAX);
    int rc = fill_policy(in, &text, err);
    if (rc == 0)
        rc = document_parse(buf_view(&text), in->spec.policy[0] != '\0' ? in->spec.policy : "policy", ret, err);
    if (rc == 0)
        rc = issue(in, buf_view(&text), roles, in->spec.owner_count + 1, err);
    buf_done(&text);
    return rc;
}

static int issue_documents(struct init *in, struct document **ret_policy, struct err *err)
{
    static const struct renew_changes none;
    TRY(issue_root(in, err));
    TRY(issue_roster(in, err));
    TRY(issue_inventory(in, err));
    TRY(issue_policy(in, ret_policy, err));
    return ceremony_status(&in->c, &none, DAY_MS, err);
}

/* ---- configuration files */

static int write_client(struct init *in, const struct document *policy, struct err *err)
{
    struct network_operation operations[16] = {0};
    struct rng rng = rng_system();
    size_t count = policy->policy.operation_count < 16 ? policy->policy.operation_count : 16;
    for (size_t i = 0; i < count; i++) {
        operations[i].name = policy->policy.operations[i];
        TRY(rng.fill(rng.arg, operations[i].envelope, ENVELOPE_ID_LEN));
    }
    const struct note_key *owner = &in->owners[0];
    return network_client_config(&in->c, &in->spec, in->root_hash, operations, count, owner,
                                 in->spec.device_count > 0 ? in->spec.devices[0] : "", in->tcti, err);
}

static bool is_empty(const char *folder)
{
    DIR *dir = opendir(folder);
    size_t count = 0;
    while (dir != NULL && readdir(dir) != NULL)
        count++; /* "." and ".." */
    if (dir != NULL)
        closedir(dir);
    return dir != NULL && count <= 2;
}

static int make_folders(struct init *in, struct err *err)
{
    static const char *const folders[] = {
        "keys", "ca", "config", "nodes", "devices", "client", "client/documents", "client/payload", "client/state"};
    if (mkdir(in->c.folder, 0700) != 0 && errno != EEXIST)
        return err_set(err, ERR_IO, "cannot make %s: %s", in->c.folder, strerror(errno));
    if (!is_empty(in->c.folder))
        return err_set(err, ERR_USAGE, "%s is not empty: init never writes over anything", in->c.folder);
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        TRY(ceremony_folder(&in->c, folders[i], err));
    return 0;
}

static int make_all(struct init *in, struct err *err)
{
    struct document *policy = NULL;
    TRY(make_folders(in, err));
    TRY(make_role_keys(in, err));
    TRY(make_device_ca(in, err));
    TRY(make_devices(in, err));
    TRY(make_nodes(in, err));
    int rc = issue_documents(in, &policy, err);
    for (size_t i = 0; rc == 0 && i < in->spec.node_count; i++)
        rc = network_node_config(&in->c, &in->spec.nodes[i], &in->options, in->root_hash, err);
    if (rc == 0)
        rc = write_client(in, policy, err);
    document_unref(policy);
    return rc;
}

int network_init(int argc, char **argv)
{
    const char *from = NULL, *tcti = NULL, *module = "/usr/lib/softhsm/libsofthsm2.so", *run_dir = NULL, *tokend = NULL;
    struct cli_list words = {.count = 0}, set = {.count = 0};
    const struct cli_option options[] = {{"from", &from, NULL, NULL},     {"tcti", &tcti, NULL, NULL},
                                         {"module", &module, NULL, NULL}, {"run-dir", &run_dir, NULL, NULL},
                                         {"tokend", &tokend, NULL, NULL}, {"set", NULL, NULL, &set}};
    int exit_code = cli_parse(argc, argv, options, sizeof(options) / sizeof(options[0]), help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count != 1)
        return cli_usage("network init: name one folder");
    char tokend_path[CLI_PROGRAM_MAX];
    struct err err = {0};
    struct init *in = calloc(1, sizeof(*in));
    if (in == NULL)
        return EXIT_INTERNAL;
    in->c.folder = words.at[0];
    in->options = (struct network_options){module, run_dir,
                                           tokend != NULL ? tokend : cli_program("enfilade-tokend", tokend_path)};
    in->set = &set;
    in->tcti = tcti;
    in->now_ms = cli_now_s_ms();
    buf_init(&in->ca, 64 * 1024);
    int rc = 0;
    if (from != NULL)
        rc = spec_load(from, &in->spec, &err);
    else
        spec_default(&in->spec);
    words_copy(in->c.network, sizeof(in->c.network), in->spec.network);
    if (rc == 0)
        rc = make_all(in, &err);
    if (rc != 0 && err.code == 0)
        err_set(&err, rc, "%s", err_advice_text(rc));
    for (size_t i = 0; i < in->spec.node_count; i++)
        free(in->nodes[i].identity.der);
    buf_done(&in->ca);
    ceremony_close(&in->c);
    free(in);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, false);
}
