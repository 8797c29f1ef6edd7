/* device: enfilade device enroll: on one machine, or step by step with files between device and operator. */
#include "common/net/identity.h"
#include "orchestrator/cli/ceremony.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/enroll.h"
#include "orchestrator/cli/enroll_file.h"
#include "orchestrator/words.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "enfilade device enroll local --id ID --network DIR [--tcti TCTI]\n"
    "    everything at once, for a network made by `network init`: proves the TPM, makes key and certificate in\n"
    "    DIR/devices/ID (unless they are there), signs and publishes inventory and status\n"
    "enfilade device enroll local --id ID --out DIR --ca-cert FILE --ca-key FILE [--tcti TCTI] [--inventory OLD]\n"
    "    the same with separate files: DIR gets device.pem, device.key and inventory.yaml, a text to be signed\n"
    "\n"
    "Step by step (TCTI like swtpm:path=SOCKET or device:/dev/tpmrm0):\n"
    "  1 device    enfilade device enroll request --id ID --tcti TCTI --key FILE --out REQUEST\n"
    "              makes the device key in FILE (0600)\n"
    "  2 operator  enfilade device enroll challenge REQUEST --out CHALLENGE --secret FILE\n"
    "  3 device    enfilade device enroll answer CHALLENGE --tcti TCTI --out ANSWER\n"
    "  4 operator  enfilade device enroll accept REQUEST ANSWER --secret FILE --ca-cert FILE --ca-key FILE\n"
    "                --certificate OUT --inventory OLD|- --inventory-out TEXT\n"
    "              compares, certifies the device key, writes the next inventory's text; sign it with\n"
    "              `enfilade document sign`\n"
    "\n"
    "Exit code 3: the TPM does not hold that key, or the id is enrolled with other keys.\n";

struct given {
    const char *id, *network, *out, *ca_cert, *ca_key, *tcti, *inventory, *key, *secret, *certificate, *inventory_out;
    struct cli_list words;
};

static int parse(int argc, char **argv, struct given *g)
{
    const struct cli_option options[] = {{"id", &g->id, NULL, NULL},
                                         {"network", &g->network, NULL, NULL},
                                         {"out", &g->out, NULL, NULL},
                                         {"ca-cert", &g->ca_cert, NULL, NULL},
                                         {"ca-key", &g->ca_key, NULL, NULL},
                                         {"tcti", &g->tcti, NULL, NULL},
                                         {"inventory", &g->inventory, NULL, NULL},
                                         {"key", &g->key, NULL, NULL},
                                         {"secret", &g->secret, NULL, NULL},
                                         {"certificate", &g->certificate, NULL, NULL},
                                         {"inventory-out", &g->inventory_out, NULL, NULL}};
    return cli_parse(argc, argv, options, sizeof(options) / sizeof(options[0]), help, &g->words);
}

/* ---- local */

/* Key and certificate in `folder`, kept when they are there. */
static int device_identity(const char *folder, const char *ca_cert, const char *ca_key, const char *id,
                           uint8_t key_hash[HASH_LEN], struct err *err)
{
    char certificate[PATH_MAX], key[PATH_MAX];
    struct stat st;
    int a = snprintf(certificate, sizeof(certificate), "%s/device.pem", folder);
    int b = snprintf(key, sizeof(key), "%s/device.key", folder);
    if (a < 0 || b < 0 || (size_t)a >= sizeof(certificate) || (size_t)b >= sizeof(key))
        return err_set(err, ERR_USAGE, "path too long");
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return err_set(err, ERR_IO, "%s: %s", folder, strerror(errno));
    if (stat(certificate, &st) == 0)
        return enroll_key_hash(certificate, key_hash, err);
    return enroll_new_key(ca_cert, ca_key, id, certificate, key, key_hash, err);
}

static int prove_and_name(const struct given *g, struct device *d, struct err *err)
{
    TRY(text_name(g->id, "--id", err));
    words_copy(d->id, sizeof(d->id), g->id);
    return g->tcti != NULL ? enroll_tpm_local(g->tcti, d->ak_hash, d->ek_hash, err) : 0;
}

static int local_network(const struct given *g, struct err *err)
{
    struct ceremony c;
    struct device d = {.chip_id_len = 0};
    char folder[PATH_MAX], ca_cert[PATH_MAX], ca_key[PATH_MAX];
    TRY(ceremony_open(g->network, &c, err));
    int rc = ceremony_folder(&c, "devices", err);
    if (rc == 0)
        rc = prove_and_name(g, &d, err);
    if (rc == 0)
        rc = ceremony_path(&c, folder, err, "devices/%s", g->id);
    if (rc == 0)
        rc = ceremony_path(&c, ca_cert, err, "ca/device-ca.pem");
    if (rc == 0)
        rc = ceremony_path(&c, ca_key, err, "ca/device-ca.key");
    if (rc == 0)
        rc = device_identity(folder, ca_cert, ca_key, g->id, d.key_hash, err);
    if (rc == 0)
        rc = ceremony_inventory(&c, &d, err);
    ceremony_close(&c);
    return rc;
}

/* The old inventory, unverified: who signs the next one answers for it. NULL for "-" or none. */
static int old_inventory(const char *path, struct document **ret, struct err *err)
{
    struct buf note;
    struct bytes text;
    *ret = NULL;
    if (path == NULL || strcmp(path, "-") == 0)
        return 0;
    int rc = cli_read_note(path, &note, err);
    if (rc == 0)
        rc = note_text(buf_view(&note), &text, err);
    if (rc == 0)
        rc = document_parse(text, path, ret, err);
    buf_done(&note);
    if (rc == 0 && (*ret)->type != DOCUMENT_INVENTORY) {
        document_unref(*ret);
        *ret = NULL;
        rc = err_set(err, ERR_USAGE, "%s is not an inventory", path);
    }
    return rc;
}

/* The network's name is the old inventory's; without one, the CA certificate does not tell it. */
static int write_inventory(const char *old_path, const char *network, const struct device *d, const char *out,
                           struct err *err)
{
    struct document *old = NULL;
    struct buf text;
    TRY(old_inventory(old_path, &old, err));
    if (old == NULL && network == NULL)
        return err_set(err, ERR_USAGE, "the first inventory needs --network NAME");
    int rc = renew_inventory(old != NULL ? old->network : network, old, d, now_ms(), 30 * DAY_MS, &text, err);
    document_unref(old);
    if (rc != 0)
        return rc;
    rc = file_write(out, buf_view(&text), 0644, err);
    buf_done(&text);
    return rc;
}

static int local_files(const struct given *g, struct err *err)
{
    struct device d = {.chip_id_len = 0};
    char out[PATH_MAX];
    int n = snprintf(out, sizeof(out), "%s/inventory.yaml", g->out);
    if (n < 0 || (size_t)n >= sizeof(out))
        return err_set(err, ERR_USAGE, "path too long");
    TRY(prove_and_name(g, &d, err));
    TRY(device_identity(g->out, g->ca_cert, g->ca_key, g->id, d.key_hash, err));
    return write_inventory(g->inventory, g->network, &d, out, err);
}

static int enroll_local(int argc, char **argv)
{
    struct given g = {0};
    struct err err = {0};
    int exit_code = parse(argc, argv, &g);
    if (exit_code != CLI_GO)
        return exit_code;
    bool files = g.out != NULL && g.ca_cert != NULL && g.ca_key != NULL;
    if (g.words.count != 0 || g.id == NULL || (g.network == NULL && !files))
        return cli_usage("device enroll local: --id, and --network or --out, --ca-cert, --ca-key");
    int rc = files ? local_files(&g, &err) : local_network(&g, &err);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, false);
}

/* ---- step by step */

static int make_request(const struct given *g, struct err *err)
{
    const struct attester_kind *kind = attester_find("tpm2");
    struct enroll_file f;
    struct attester *tpm = NULL;
    void *key = NULL;
    enroll_file_init(&f);
    words_copy(f.id, sizeof(f.id), g->id);
    int rc = text_name(g->id, "--id", err);
    if (rc == 0)
        rc = kind != NULL ? kind->open(g->tcti, &tpm, err) : err_set(err, ERR_CONFIG, "no TPM attester in this build");
    if (rc == 0)
        rc = enrol_request(tpm, &f.ek, &f.ak, err);
    if (rc == 0)
        rc = identity_key_new(&key);
    if (rc == 0)
        rc = identity_spki(key, &f.spki);
    if (rc == 0)
        rc = identity_key_save(key, g->key, err);
    if (rc == 0)
        rc = enroll_file_write(&f, "request", g->out, 0644, err);
    if (rc != 0 && err->code == 0)
        err_set(err, rc, "%s", err_advice_text(rc));
    if (tpm != NULL)
        kind->close(tpm);
    identity_key_free(key);
    enroll_file_done(&f);
    return rc;
}

static int enroll_request(int argc, char **argv)
{
    struct given g = {0};
    struct err err = {0};
    int exit_code = parse(argc, argv, &g);
    if (exit_code != CLI_GO)
        return exit_code;
    if (g.words.count != 0 || g.id == NULL || g.tcti == NULL || g.key == NULL || g.out == NULL)
        return cli_usage("device enroll request: --id, --tcti, --key and --out");
    int rc = secret_setup(&err);
    if (rc == 0)
        rc = make_request(&g, &err);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, false);
}

static int make_challenge(const struct given *g, struct err *err)
{
    struct enroll_file request, out, kept;
    struct secret *secret = NULL;
    enroll_file_init(&request);
    enroll_file_init(&out);
    enroll_file_init(&kept);
    int rc = enroll_file_read(g->words.at[0], "request", &request, err);
    if (rc == 0)
        rc = enrol_challenge(buf_view(&request.ek), buf_view(&request.ak), &secret, &out.blob, err);
    if (rc == 0) {
        words_copy(out.id, sizeof(out.id), request.id);
        words_copy(kept.id, sizeof(kept.id), request.id);
        buf_put(&kept.secret, secret_borrow(secret)); /* proves possession once, protects nothing else */
        rc = enroll_file_write(&out, "challenge", g->out, 0644, err);
    }
    if (rc == 0)
        rc = enroll_file_write(&kept, "secret", g->secret, 0600, err);
    secret_free(secret);
    enroll_file_done(&request);
    enroll_file_done(&out);
    enroll_file_done(&kept);
    return rc;
}

static int enroll_challenge(int argc, char **argv)
{
    struct given g = {0};
    struct err err = {0};
    int exit_code = parse(argc, argv, &g);
    if (exit_code != CLI_GO)
        return exit_code;
    if (g.words.count != 1 || g.out == NULL || g.secret == NULL)
        return cli_usage("device enroll challenge: REQUEST, --out and --secret");
    int rc = secret_setup(&err);
    if (rc == 0)
        rc = make_challenge(&g, &err);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, false);
}

static int make_answer(const struct given *g, struct err *err)
{
    const struct attester_kind *kind = attester_find("tpm2");
    struct enroll_file challenge, out;
    struct attester *tpm = NULL;
    struct secret *secret = NULL;
    enroll_file_init(&challenge);
    enroll_file_init(&out);
    int rc = enroll_file_read(g->words.at[0], "challenge", &challenge, err);
    if (rc == 0)
        rc = kind != NULL ? kind->open(g->tcti, &tpm, err) : err_set(err, ERR_CONFIG, "no TPM attester in this build");
    if (rc == 0)
        rc = enrol_answer(tpm, buf_view(&challenge.blob), &secret, err);
    if (rc == 0) {
        words_copy(out.id, sizeof(out.id), challenge.id);
        buf_put(&out.secret, secret_borrow(secret));
        rc = enroll_file_write(&out, "answer", g->out, 0600, err);
    }
    if (tpm != NULL)
        kind->close(tpm);
    secret_free(secret);
    enroll_file_done(&challenge);
    enroll_file_done(&out);
    return rc;
}

static int enroll_answer(int argc, char **argv)
{
    struct given g = {0};
    struct err err = {0};
    int exit_code = parse(argc, argv, &g);
    if (exit_code != CLI_GO)
        return exit_code;
    if (g.words.count != 1 || g.tcti == NULL || g.out == NULL)
        return cli_usage("device enroll answer: CHALLENGE, --tcti and --out");
    int rc = secret_setup(&err);
    if (rc == 0)
        rc = make_answer(&g, &err);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, false);
}

static int accept_files(const struct given *g, const struct enroll_file *request, const struct enroll_file *answer,
                        const struct enroll_file *kept, struct err *err)
{
    struct device d = {.chip_id_len = 0};
    bool same = strcmp(request->id, answer->id) == 0 && strcmp(request->id, kept->id) == 0 && kept->secret.len == 32 &&
                bytes_equal(buf_view(&answer->secret), buf_view(&kept->secret));
    if (!same)
        return err_set(err, ERR_EVIDENCE, "the answer does not prove that this TPM holds the keys of the request");
    memcpy(d.id, request->id, sizeof(d.id));
    sha256(buf_view(&request->spki), d.key_hash);
    sha256(buf_view(&request->ak), d.ak_hash);
    sha256(buf_view(&request->ek), d.ek_hash);
    TRY(write_inventory(g->inventory, g->network, &d, g->inventory_out, err));
    return enroll_certify(g->ca_cert, g->ca_key, d.id, buf_view(&request->spki), g->certificate, err);
}

static int enroll_accept(int argc, char **argv)
{
    struct given g = {0};
    struct err err = {0};
    struct enroll_file request, answer, kept;
    int exit_code = parse(argc, argv, &g);
    if (exit_code != CLI_GO)
        return exit_code;
    if (g.words.count != 2 || g.secret == NULL || g.ca_cert == NULL || g.ca_key == NULL || g.certificate == NULL ||
        g.inventory_out == NULL)
        return cli_usage("device enroll accept: REQUEST ANSWER, --secret, --ca-cert, --ca-key, --certificate and "
                         "--inventory-out");
    enroll_file_init(&request);
    enroll_file_init(&answer);
    enroll_file_init(&kept);
    int rc = enroll_file_read(g.words.at[0], "request", &request, &err);
    if (rc == 0)
        rc = enroll_file_read(g.words.at[1], "answer", &answer, &err);
    if (rc == 0)
        rc = enroll_file_read(g.secret, "secret", &kept, &err);
    if (rc == 0)
        rc = accept_files(&g, &request, &answer, &kept, &err);
    enroll_file_done(&request);
    enroll_file_done(&answer);
    enroll_file_done(&kept);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, false);
}

static int enroll(int argc, char **argv)
{
    static const struct cli_sub subs[] = {{"local", enroll_local},
                                          {"request", enroll_request},
                                          {"challenge", enroll_challenge},
                                          {"answer", enroll_answer},
                                          {"accept", enroll_accept}};
    return cli_dispatch(argc, argv, subs, sizeof(subs) / sizeof(subs[0]), help);
}

int verb_device(int argc, char **argv)
{
    static const struct cli_sub subs[] = {{"enroll", enroll}};
    return cli_dispatch(argc, argv, subs, 1, help);
}
