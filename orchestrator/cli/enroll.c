/* enroll: TPM challenge on one machine, device keys and certificates. */
#include "orchestrator/cli/enroll.h"
#include "common/base/yaml.h"
#include "common/net/identity.h"
#include "orchestrator/depot.h"
#include <string.h>

#define PEM_MAX (64u * 1024u)
#define SLACK_MS (10ull * 60 * 1000) /* certificates are valid a little before now: clocks differ */

static int prove(struct attester *tpm, struct buf *ek, struct buf *ak, struct err *err)
{
    struct buf blob;
    struct secret *asked = NULL, *answered = NULL;
    buf_init(&blob, ENROLL_PUBLIC_MAX * 4);
    int rc = enrol_request(tpm, ek, ak, err);
    if (rc == 0)
        rc = enrol_challenge(buf_view(ek), buf_view(ak), &asked, &blob, err);
    if (rc == 0)
        rc = enrol_answer(tpm, buf_view(&blob), &answered, err);
    if (rc == 0 && !secret_equal(asked, answered))
        rc = err_set(err, ERR_EVIDENCE, "the TPM did not prove that it holds this attestation key");
    secret_free(asked);
    secret_free(answered);
    buf_done(&blob);
    return rc;
}

int enroll_tpm_local(const char *tcti, uint8_t ret_ak_hash[HASH_LEN], uint8_t ret_ek_hash[HASH_LEN], struct err *err)
{
    const struct attester_kind *kind = attester_find("tpm2");
    struct attester *tpm = NULL;
    struct buf ek, ak;
    if (kind == NULL)
        return err_set(err, ERR_CONFIG, "this build has no TPM attester");
    TRY(secret_setup(err));
    int rc = kind->open(tcti, &tpm, err);
    if (rc != 0)
        return err_wrap(err, rc, "%s", tcti);
    buf_init(&ek, ENROLL_PUBLIC_MAX);
    buf_init(&ak, ENROLL_PUBLIC_MAX);
    rc = prove(tpm, &ek, &ak, err);
    if (rc == 0) {
        sha256(buf_view(&ak), ret_ak_hash);
        sha256(buf_view(&ek), ret_ek_hash);
    }
    kind->close(tpm);
    buf_done(&ek);
    buf_done(&ak);
    return rc;
}

static int load_certificate(const char *path, struct buf *ret_der, struct err *err)
{
    struct buf pem;
    buf_init(&pem, PEM_MAX);
    buf_init(ret_der, PEM_MAX);
    int rc = file_read(path, PEM_MAX, &pem, err);
    if (rc == 0)
        rc = identity_cert_from_pem(buf_view(&pem), ret_der, err);
    buf_done(&pem);
    return rc != 0 ? err_wrap(err, rc, "%s", path) : 0;
}

static int save_certificate(struct bytes der, const char *path, struct err *err)
{
    struct buf pem;
    buf_init(&pem, PEM_MAX);
    int rc = identity_cert_to_pem(der, &pem);
    rc = rc != 0 ? err_set(err, rc, "the certificate cannot be written as PEM")
                 : file_write(path, buf_view(&pem), 0644, err);
    buf_done(&pem);
    return rc;
}

int enroll_certify(const char *ca_certificate, const char *ca_key, const char *id, struct bytes spki,
                   const char *out_certificate, struct err *err)
{
    struct buf ca, leaf;
    void *key = NULL;
    uint64_t now = now_ms();
    buf_init(&leaf, PEM_MAX);
    int rc = load_certificate(ca_certificate, &ca, err);
    if (rc == 0)
        rc = identity_key_load(ca_key, &key, err);
    if (rc == 0)
        rc = identity_leaf(key, buf_view(&ca), spki, id, NULL, true, now - SLACK_MS, now + ENROLL_CERTIFICATE_MS, &leaf,
                           err);
    if (rc == 0)
        rc = save_certificate(buf_view(&leaf), out_certificate, err);
    identity_key_free(key);
    buf_done(&ca);
    buf_done(&leaf);
    return rc;
}

int enroll_new_key(const char *ca_certificate, const char *ca_key, const char *id, const char *out_certificate,
                   const char *out_key, uint8_t ret_key_hash[HASH_LEN], struct err *err)
{
    void *key = NULL;
    struct buf spki;
    buf_init(&spki, 1024);
    int rc = identity_key_new(&key);
    if (rc == 0)
        rc = identity_spki(key, &spki);
    if (rc != 0)
        err_set(err, rc, "no device key could be made");
    if (rc == 0)
        rc = identity_key_save(key, out_key, err);
    if (rc == 0)
        rc = enroll_certify(ca_certificate, ca_key, id, buf_view(&spki), out_certificate, err);
    if (rc == 0)
        identity_spki_hash(key, ret_key_hash);
    identity_key_free(key);
    buf_done(&spki);
    return rc;
}

int enroll_key_hash(const char *certificate, uint8_t ret_key_hash[HASH_LEN], struct err *err)
{
    struct buf der;
    int rc = load_certificate(certificate, &der, err);
    if (rc == 0 && identity_cert_key_hash(buf_view(&der), ret_key_hash) != 0)
        rc = err_set(err, ERR_FORMAT, "%s: the certificate's key cannot be read", certificate);
    buf_done(&der);
    return rc;
}
