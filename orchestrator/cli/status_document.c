/* status_document: enfilade document status: the next status document, signed. */
#include "common/documents/document.h"
#include "orchestrator/cli/ceremony.h"
#include "orchestrator/cli/cli.h"
#include <string.h>

int document_status(int argc, char **argv);

static const char help[] =
    "enfilade document status: the next status document: what is in force now, revocations, halts\n"
    "\n"
    "  --network DIR            of a network made by `network init`: signs and publishes it there\n"
    "or\n"
    "  --config FILE            client.yaml whose documents are in force\n"
    "  --key FILE --name NAME   the status key\n"
    "  --out FILE               the signed note\n"
    "\n"
    "  --expires SPAN           default 24h\n"
    "  --revoke-node NAME, --revoke-device ID, --halt-node NAME, --halt-policy NAME   each several times\n"
    "  --halt-network\n"
    "  --lift-halts, --lift-revocations    drop all of them; the root threshold must sign too\n"
    "\n"
    "Revocations and halts of the last status stay. Running nodes read it after SIGHUP, or from the next workload.\n";

static size_t copy_list(const char **to, const struct cli_list *from)
{
    for (size_t i = 0; i < from->count; i++)
        to[i] = from->at[i];
    return from->count;
}

static int sign_status(const char *config, const char *key_path, const char *name, const char *out,
                       const struct renew_changes *changes, uint64_t span_ms, struct err *err)
{
    struct cli_shelf shelf;
    struct buf text, note;
    struct ed25519_key *key = NULL;
    TRY(cli_shelf_open(cli_config(config), NULL, &shelf, err));
    int rc = renew_status(shelf.shelf, changes, now_ms(), span_ms, &text, err);
    cli_shelf_close(&shelf);
    if (rc != 0)
        return rc;
    buf_init(&note, NOTE_MAX);
    rc = ed25519_key_load(key_path, &key, err);
    if (rc == 0)
        rc = note_sign(buf_view(&text), name, key, &note, err);
    if (rc == 0)
        rc = file_write(out, buf_view(&note), 0644, err);
    ed25519_key_free(key);
    buf_done(&text);
    buf_done(&note);
    return rc;
}

int document_status(int argc, char **argv)
{
    const char *network = NULL, *config = NULL, *key = NULL, *name = NULL, *out = NULL, *expires = "24h";
    struct cli_list words = {.count = 0}, nodes = words, devices = words, halt_nodes = words, halt_policies = words;
    struct renew_changes c = {.halt_network = false};
    const struct cli_option options[] = {{"network", &network, NULL, NULL},
                                         {"config", &config, NULL, NULL},
                                         {"key", &key, NULL, NULL},
                                         {"name", &name, NULL, NULL},
                                         {"out", &out, NULL, NULL},
                                         {"expires", &expires, NULL, NULL},
                                         {"revoke-node", NULL, NULL, &nodes},
                                         {"revoke-device", NULL, NULL, &devices},
                                         {"halt-node", NULL, NULL, &halt_nodes},
                                         {"halt-policy", NULL, NULL, &halt_policies},
                                         {"halt-network", NULL, &c.halt_network, NULL},
                                         {"lift-halts", NULL, &c.lift_halts, NULL},
                                         {"lift-revocations", NULL, &c.lift_revocations, NULL}};
    int exit_code = cli_parse(argc, argv, options, sizeof(options) / sizeof(options[0]), help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count != 0 || (network == NULL && (key == NULL || name == NULL || out == NULL)))
        return cli_usage("document status: --network, or --key, --name and --out");
    c.revoke_node_count = copy_list(c.revoke_nodes, &nodes);
    c.revoke_device_count = copy_list(c.revoke_devices, &devices);
    c.halt_node_count = copy_list(c.halt_nodes, &halt_nodes);
    c.halt_policy_count = copy_list(c.halt_policies, &halt_policies);
    struct err err = {0};
    struct ceremony ceremony;
    uint64_t span_ms;
    int rc = cli_span(expires, "expires", &span_ms, &err);
    if (rc == 0 && network == NULL) {
        rc = sign_status(config, key, name, out, &c, span_ms, &err);
    } else if (rc == 0) {
        rc = ceremony_open(network, &ceremony, &err);
        if (rc == 0)
            rc = ceremony_status(&ceremony, &c, span_ms, &err);
        ceremony_close(&ceremony);
    }
    return rc == 0 ? EXIT_DONE : cli_fail(&err, false);
}
