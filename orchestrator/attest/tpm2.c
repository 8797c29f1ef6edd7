/* tpm2: quotes and credential activation through the TPM Software Stack (ESAPI). */
#include "orchestrator/attest/tpm2.h"
#include "common/evidence/tpm2_wire.h"
#include "proto/message.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#define DEVICE_MAX 256
#define PCR_TRIES 4 /* a PCR may be extended between reading and quoting */

struct attester {
    pthread_mutex_t lock;
    char device[DEVICE_MAX];
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
    ESYS_TR ek, ak; /* ESYS_TR_NONE: not loaded */
    struct buf ek_public, ak_public;
};

#define PUBLIC_MAX sizeof(TPMT_PUBLIC)

/* ---- errors of the stack */

static int tpm_error(TSS2_RC rc, const char *what, struct err *err)
{
    return err_set(err, ERR_IO, "TPM: %s: %s (0x%08x)", what, Tss2_RC_Decode(rc), rc);
}

/* ---- keys */

/* TCG template L-2 (EK Credential Profile 2.1, B.4.4): restricted decryption, P-256, AES-128-CFB. */
static void ek_template(TPM2B_PUBLIC *t)
{
    *t = (TPM2B_PUBLIC){.publicArea = {.type = TPM2_ALG_ECC,
                                       .nameAlg = TPM2_ALG_SHA256,
                                       .objectAttributes = TPM_EK_ATTRIBUTES,
                                       .authPolicy = {.size = HASH_LEN},
                                       .unique.ecc = {.x = {.size = 32}, .y = {.size = 32}}}};
    memcpy(t->publicArea.authPolicy.buffer, tpm2_ek_policy, HASH_LEN);
    TPMS_ECC_PARMS *ecc = &t->publicArea.parameters.eccDetail;
    ecc->symmetric.algorithm = TPM2_ALG_AES;
    ecc->symmetric.keyBits.aes = 128;
    ecc->symmetric.mode.aes = TPM2_ALG_CFB;
    ecc->scheme.scheme = TPM2_ALG_NULL;
    ecc->curveID = TPM2_ECC_NIST_P256;
    ecc->kdf.scheme = TPM2_ALG_NULL;
}

/* Restricted signing: the TPM signs with it only what the TPM itself made. */
static void ak_template(TPM2B_PUBLIC *t)
{
    *t = (TPM2B_PUBLIC){
        .publicArea = {.type = TPM2_ALG_ECC, .nameAlg = TPM2_ALG_SHA256, .objectAttributes = TPM_AK_ATTRIBUTES}};
    TPMS_ECC_PARMS *ecc = &t->publicArea.parameters.eccDetail;
    ecc->symmetric.algorithm = TPM2_ALG_NULL;
    ecc->scheme.scheme = TPM2_ALG_ECDSA;
    ecc->scheme.details.ecdsa.hashAlg = TPM2_ALG_SHA256;
    ecc->curveID = TPM2_ECC_NIST_P256;
    ecc->kdf.scheme = TPM2_ALG_NULL;
}

static int load_primary(struct attester *a, void (*template)(TPM2B_PUBLIC *), const char *what, ESYS_TR *ret_handle,
                        struct buf *ret_public, struct err *err)
{
    TPM2B_PUBLIC in, *out = NULL;
    template(&in);
    TPM2B_SENSITIVE_CREATE no_auth = {0};
    TPM2B_DATA no_data = {0};
    TPML_PCR_SELECTION no_pcrs = {0};
    TSS2_RC rc = Esys_CreatePrimary(a->esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                    &no_auth, &in, &no_data, &no_pcrs, ret_handle, &out, NULL, NULL, NULL);
    if (rc != TSS2_RC_SUCCESS) {
        *ret_handle = ESYS_TR_NONE;
        return tpm_error(rc, what, err);
    }
    uint8_t area[PUBLIC_MAX];
    size_t len = 0;
    rc = Tss2_MU_TPMT_PUBLIC_Marshal(&out->publicArea, area, sizeof(area), &len);
    Esys_Free(out);
    if (rc != TSS2_RC_SUCCESS)
        return tpm_error(rc, what, err);
    buf_done(ret_public);
    buf_init(ret_public, PUBLIC_MAX);
    buf_put(ret_public, BYTES(area, len));
    return buf_ok(ret_public) ? 0 : err_set(err, ERR_NOMEM, "TPM: no memory for a public area");
}

static int need_ak(struct attester *a, struct err *err)
{
    return a->ak != ESYS_TR_NONE
               ? 0
               : load_primary(a, ak_template, "making the attestation key", &a->ak, &a->ak_public, err);
}

static int need_ek(struct attester *a, struct err *err)
{
    return a->ek != ESYS_TR_NONE
               ? 0
               : load_primary(a, ek_template, "making the endorsement key", &a->ek, &a->ek_public, err);
}

static void flush(struct attester *a, ESYS_TR *handle)
{
    if (*handle != ESYS_TR_NONE && a->esys != NULL)
        (void)Esys_FlushContext(a->esys, *handle);
    *handle = ESYS_TR_NONE;
}

/* ---- connection */

static void disconnect(struct attester *a)
{
    flush(a, &a->ek);
    flush(a, &a->ak);
    if (a->esys != NULL)
        Esys_Finalize(&a->esys);
    if (a->tcti != NULL)
        Tss2_TctiLdr_Finalize(&a->tcti);
    a->esys = NULL;
    a->tcti = NULL;
}

static int connect_tpm(struct attester *a, struct err *err)
{
    if (a->esys != NULL)
        return 0;
    TSS2_RC rc = Tss2_TctiLdr_Initialize(a->device, &a->tcti);
    if (rc != TSS2_RC_SUCCESS) {
        a->tcti = NULL;
        return err_set(err, ERR_IO, "TPM: cannot open \"%s\": %s", a->device, Tss2_RC_Decode(rc));
    }
    rc = Esys_Initialize(&a->esys, a->tcti, NULL);
    if (rc != TSS2_RC_SUCCESS) {
        a->esys = NULL;
        disconnect(a);
        return tpm_error(rc, "opening a context", err);
    }
    return 0;
}

/* Runs one operation under the lock; after a failure of the TPM once more over a new connection with new keys. */
static int with_tpm(struct attester *a, int (*operation)(struct attester *a, void *arg, struct err *err), void *arg,
                    struct err *err)
{
    int rc = ERR_INTERNAL;
    pthread_mutex_lock(&a->lock);
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        rc = connect_tpm(a, err);
        if (rc == 0)
            rc = operation(a, arg, err);
        if (rc != ERR_IO)
            break;
        disconnect(a);
    }
    pthread_mutex_unlock(&a->lock);
    return rc;
}

static int op_ak(struct attester *a, void *arg, struct err *err)
{
    (void)arg;
    return need_ak(a, err);
}

static void tpm2_close(struct attester *a)
{
    if (a == NULL)
        return;
    disconnect(a);
    buf_done(&a->ek_public);
    buf_done(&a->ak_public);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static int tpm2_open(const char *device, struct attester **ret, struct err *err)
{
    if (device == NULL || device[0] == '\0' || strlen(device) >= DEVICE_MAX)
        return err_set(err, ERR_CONFIG, "TPM: the device must be a TCTI string like \"device:/dev/tpmrm0\"");
    struct attester *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return err_set(err, ERR_NOMEM, "TPM: no memory");
    memcpy(a->device, device, strlen(device) + 1);
    pthread_mutex_init(&a->lock, NULL);
    a->ek = a->ak = ESYS_TR_NONE;
    buf_init(&a->ek_public, PUBLIC_MAX);
    buf_init(&a->ak_public, PUBLIC_MAX);
    int rc = with_tpm(a, op_ak, NULL, err);
    if (rc != 0) {
        tpm2_close(a);
        return rc;
    }
    *ret = a;
    return 0;
}

/* ---- evidence */

struct quote {
    const uint8_t *bind;
    TPMS_PCR_SELECTION all; /* PCR 0..23 of the SHA-256 bank */
    uint8_t pcr[TPM_PCR_COUNT][HASH_LEN];
    uint8_t attest[sizeof(TPMS_ATTEST)];
    size_t attest_len;
    uint8_t signature[sizeof(TPMT_SIGNATURE)];
    size_t signature_len;
    struct buf *ret_data;
};

/* Stores what one TPM2_PCR_Read returned and clears it in the selection; ERR_EVIDENCE when that was nothing. */
static int store_pcrs(const TPML_PCR_SELECTION *sel, const TPML_DIGEST *values, struct quote *q,
                      TPMS_PCR_SELECTION *left, struct err *err)
{
    unsigned n = 0;
    for (unsigned i = 0; sel->count == 1 && i < TPM_PCR_COUNT; i++) {
        if (i / 8 >= sel->pcrSelections[0].sizeofSelect || (sel->pcrSelections[0].pcrSelect[i / 8] >> (i % 8) & 1) == 0)
            continue;
        if (n == values->count || values->digests[n].size != HASH_LEN)
            break;
        memcpy(q->pcr[i], values->digests[n].buffer, HASH_LEN);
        left->pcrSelect[i / 8] = (BYTE)(left->pcrSelect[i / 8] & ~(1u << (i % 8)));
        n++;
    }
    return n > 0 ? 0 : err_set(err, ERR_EVIDENCE, "TPM: it has no SHA-256 PCR bank, or not all of PCR 0 to 23 in it");
}

/* The TPM returns at most 8 values a call. */
static int read_pcrs(struct attester *a, struct quote *q, struct err *err)
{
    TPMS_PCR_SELECTION left = q->all;
    while (left.pcrSelect[0] != 0 || left.pcrSelect[1] != 0 || left.pcrSelect[2] != 0) {
        TPML_PCR_SELECTION in = {.count = 1, .pcrSelections = {left}}, *out = NULL;
        TPML_DIGEST *values = NULL;
        UINT32 counter;
        TSS2_RC rc = Esys_PCR_Read(a->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &in, &counter, &out, &values);
        if (rc != TSS2_RC_SUCCESS)
            return tpm_error(rc, "reading PCRs", err);
        int stored = store_pcrs(out, values, q, &left, err);
        Esys_Free(out);
        Esys_Free(values);
        TRY(stored);
    }
    return 0;
}

static int take_quote(struct attester *a, struct quote *q, struct err *err)
{
    TPM2B_DATA data = {.size = HASH_LEN};
    sha256(BYTES(q->bind, 64), data.buffer);
    TPMT_SIG_SCHEME scheme = {.scheme = TPM2_ALG_NULL}; /* the key's own */
    TPML_PCR_SELECTION sel = {.count = 1, .pcrSelections = {q->all}};
    TPM2B_ATTEST *attest = NULL;
    TPMT_SIGNATURE *signature = NULL;
    TSS2_RC rc = Esys_Quote(a->esys, a->ak, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &data, &scheme, &sel, &attest,
                            &signature);
    if (rc != TSS2_RC_SUCCESS)
        return tpm_error(rc, "quoting", err);
    q->attest_len = attest->size <= sizeof(q->attest) ? attest->size : 0;
    memcpy(q->attest, attest->attestationData, q->attest_len);
    q->signature_len = 0;
    rc = Tss2_MU_TPMT_SIGNATURE_Marshal(signature, q->signature, sizeof(q->signature), &q->signature_len);
    Esys_Free(attest);
    Esys_Free(signature);
    return rc == TSS2_RC_SUCCESS ? 0 : tpm_error(rc, "marshalling the signature", err);
}

static int pack(struct attester *a, struct quote *q, struct err *err)
{
    struct msg_tpm_pcr pcrs[TPM_PCR_COUNT];
    for (unsigned i = 0; i < TPM_PCR_COUNT; i++)
        pcrs[i] = (struct msg_tpm_pcr){i, BYTES(q->pcr[i], HASH_LEN)};
    struct message m = {.type = MESSAGE_TPM_EVIDENCE};
    m.tpm_evidence.attest = BYTES(q->attest, q->attest_len);
    m.tpm_evidence.signature = BYTES(q->signature, q->signature_len);
    m.tpm_evidence.ak = buf_view(&a->ak_public);
    m.tpm_evidence.pcrs.at = pcrs;
    m.tpm_evidence.pcrs.count = TPM_PCR_COUNT;
    return message_pack(&m, q->ret_data, err);
}

/* Values and quote belong together when the values hash to the quoted digest. */
static int op_evidence(struct attester *a, void *arg, struct err *err)
{
    struct quote *q = arg;
    TRY(need_ak(a, err));
    for (unsigned i = 0; i < PCR_TRIES; i++) {
        struct tpm2_attest attest;
        uint8_t digest[HASH_LEN];
        TRY(read_pcrs(a, q, err));
        TRY(take_quote(a, q, err));
        int rc = tpm2_attest_parse(BYTES(q->attest, q->attest_len), &attest, err);
        if (rc != 0)
            return err_wrap(err, rc, "TPM: its own quote");
        sha256(BYTES(q->pcr, sizeof(q->pcr)), digest);
        if (bytes_equal(BYTES_OF(digest), BYTES_OF(attest.pcr_digest)))
            return pack(a, q, err);
    }
    return err_set(err, ERR_EVIDENCE, "TPM: PCRs changed during each of %d quotes", PCR_TRIES);
}

static int tpm2_evidence(struct attester *a, const uint8_t bind[64], struct buf *ret_data, struct err *err)
{
    struct quote q = {.bind = bind,
                      .all = {.hash = TPM2_ALG_SHA256, .sizeofSelect = 3, .pcrSelect = {0xff, 0xff, 0xff}},
                      .ret_data = ret_data};
    return with_tpm(a, op_evidence, &q, err);
}

const struct attester_kind tpm2_attester = {"tpm2", tpm2_open, tpm2_evidence, tpm2_close};

/* ---- enrolment */

struct keys {
    struct buf *ek, *ak;
};

static int op_keys(struct attester *a, void *arg, struct err *err)
{
    struct keys *k = arg;
    TRY(need_ek(a, err));
    TRY(need_ak(a, err));
    buf_put(k->ek, buf_view(&a->ek_public));
    buf_put(k->ak, buf_view(&a->ak_public));
    return buf_ok(k->ek) && buf_ok(k->ak) ? 0 : err_set(err, ERR_NOMEM, "TPM: no memory for the public areas");
}

int tpm2_attester_keys(struct attester *a, struct buf *ret_ek_public, struct buf *ret_ak_public, struct err *err)
{
    struct keys k = {ret_ek_public, ret_ak_public};
    return with_tpm(a, op_keys, &k, err);
}

struct activation {
    TPM2B_ID_OBJECT id_object;
    TPM2B_ENCRYPTED_SECRET secret;
    struct secret **ret_secret;
};

/* A session that fulfils the EK's policy: PolicySecret(endorsement), whose password is empty. */
static int policy_session(struct attester *a, ESYS_TR *ret_session, struct err *err)
{
    TPMT_SYM_DEF symmetric = {.algorithm = TPM2_ALG_NULL};
    TSS2_RC rc = Esys_StartAuthSession(a->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                       NULL, TPM2_SE_POLICY, &symmetric, TPM2_ALG_SHA256, ret_session);
    if (rc != TSS2_RC_SUCCESS) {
        *ret_session = ESYS_TR_NONE;
        return tpm_error(rc, "starting a session", err);
    }
    /* Without this the TPM ends the session by itself, but only when its use succeeds. */
    rc = Esys_TRSess_SetAttributes(a->esys, *ret_session, TPMA_SESSION_CONTINUESESSION, 0xff);
    if (rc == TSS2_RC_SUCCESS)
        rc = Esys_PolicySecret(a->esys, ESYS_TR_RH_ENDORSEMENT, *ret_session, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                               ESYS_TR_NONE, NULL, NULL, NULL, 0, NULL, NULL);
    if (rc != TSS2_RC_SUCCESS) {
        flush(a, ret_session);
        return tpm_error(rc, "policy of the endorsement key", err);
    }
    return 0;
}

/* A response code of the TPM itself about a handle, session or parameter: it judged the credential. */
static bool is_refusal(TSS2_RC rc)
{
    return (rc & TSS2_RC_LAYER_MASK) == TSS2_TPM_RC_LAYER && (rc & TPM2_RC_FMT1) != 0;
}

static int op_activate(struct attester *a, void *arg, struct err *err)
{
    struct activation *v = arg;
    ESYS_TR session = ESYS_TR_NONE;
    TPM2B_DIGEST *opened = NULL;
    TRY(need_ek(a, err));
    TRY(need_ak(a, err));
    TRY(policy_session(a, &session, err));
    TSS2_RC rc = Esys_ActivateCredential(a->esys, a->ak, a->ek, ESYS_TR_PASSWORD, session, ESYS_TR_NONE, &v->id_object,
                                         &v->secret, &opened);
    flush(a, &session);
    if (rc != TSS2_RC_SUCCESS && is_refusal(rc))
        return err_set(err, ERR_EVIDENCE, "TPM: the credential is not for these keys, or was altered: %s (0x%08x)",
                       Tss2_RC_Decode(rc), rc);
    if (rc != TSS2_RC_SUCCESS)
        return tpm_error(rc, "activating the credential", err);
    int copied = secret_copy(BYTES(opened->buffer, opened->size), v->ret_secret);
    wipe(opened, sizeof(*opened));
    Esys_Free(opened);
    return copied == 0 ? 0 : err_set(err, copied, "TPM: no locked memory for the secret");
}

int tpm2_attester_activate(struct attester *a, struct bytes id_object, struct bytes secret, struct secret **ret_secret,
                           struct err *err)
{
    struct activation v = {.ret_secret = ret_secret};
    if (id_object.len > sizeof(v.id_object.credential) || secret.len > sizeof(v.secret.secret))
        return err_set(err, ERR_TOO_LONG, "credential: longer than a TPM takes");
    v.id_object.size = (UINT16)id_object.len;
    memcpy(v.id_object.credential, id_object.p, id_object.len);
    v.secret.size = (UINT16)secret.len;
    memcpy(v.secret.secret, secret.p, secret.len);
    return with_tpm(a, op_activate, &v, err);
}
