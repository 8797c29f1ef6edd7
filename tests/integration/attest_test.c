/* attest: a real (software) TPM makes evidence that verifies, and answers exactly the credentials made for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/evidence/evidence.h"
#include "orchestrator/attest/enrol.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

/* Set by attest.sh: TCTI strings of two TPMs; a command that resets the first. */
static const char *tcti, *other_tcti, *reset_command;
static uint8_t bind_[64];

static int setup(void **state)
{
    (void)state;
    struct err err;
    tcti = getenv("ENFILADE_TCTI");
    other_tcti = getenv("ENFILADE_TCTI_OTHER");
    reset_command = getenv("ENFILADE_TCTI_RESET");
    for (size_t i = 0; i < sizeof(bind_); i++)
        bind_[i] = (uint8_t)(i * 7 + 1);
    return tcti != NULL && other_tcti != NULL && reset_command != NULL ? secret_setup(&err) : -1;
}

static struct attester *open_tpm(const char *device)
{
    struct err err;
    struct attester *a = NULL;
    if (attester_find("tpm2")->open(device, &a, &err) != 0)
        fail_msg("%s", err.text);
    return a;
}

static void close_tpm(struct attester *a)
{
    attester_find("tpm2")->close(a);
}

static void evidence(struct attester *a, struct buf *ret)
{
    struct err err;
    buf_init(ret, EVIDENCE_MAX);
    if (attester_find("tpm2")->evidence(a, bind_, ret, &err) != 0)
        fail_msg("%s", err.text);
}

static void claims_of(struct attester *a, struct claims *c)
{
    struct buf data;
    struct err err;
    evidence(a, &data);
    const struct evidence_format *f = evidence_find(bytes_str("tpm2"));
    if (f->verify(buf_view(&data), 0, c, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(evidence_check_bind(f, c, bind_), 0);
    buf_done(&data);
}

static void extend(const char *device, unsigned pcr)
{
    TSS2_TCTI_CONTEXT *t = NULL;
    ESYS_CONTEXT *e = NULL;
    TPML_DIGEST_VALUES v = {.count = 1, .digests = {{.hashAlg = TPM2_ALG_SHA256}}};
    memset(v.digests[0].digest.sha256, 0x11, 32);
    assert_int_equal(Tss2_TctiLdr_Initialize(device, &t), 0);
    assert_int_equal(Esys_Initialize(&e, t, NULL), 0);
    assert_int_equal(Esys_PCR_Extend(e, ESYS_TR_PCR0 + pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &v), 0);
    Esys_Finalize(&e);
    Tss2_TctiLdr_Finalize(&t);
}

static unsigned transient_count(const char *device)
{
    TSS2_TCTI_CONTEXT *t = NULL;
    ESYS_CONTEXT *e = NULL;
    TPMS_CAPABILITY_DATA *data = NULL;
    TPMI_YES_NO more;
    unsigned count = 0;
    /* TPM2_TRANSIENT_FIRST and its like shift a signed number too far */
    const UINT32 first[] = {(UINT32)TPM2_HT_TRANSIENT << 24, (UINT32)TPM2_HT_LOADED_SESSION << 24,
                            (UINT32)TPM2_HT_SAVED_SESSION << 24};
    assert_int_equal(Tss2_TctiLdr_Initialize(device, &t), 0);
    assert_int_equal(Esys_Initialize(&e, t, NULL), 0);
    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
        assert_int_equal(Esys_GetCapability(e, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES, first[i], 16,
                                            &more, &data),
                         0);
        count += data->data.handles.count;
        Esys_Free(data);
    }
    Esys_Finalize(&e);
    Tss2_TctiLdr_Finalize(&t);
    return count;
}

/* ---- evidence */

static void test_evidence(void **state)
{
    (void)state;
    struct attester *a = open_tpm(tcti);
    struct claims c, d, o;
    claims_of(a, &c);
    assert_int_equal(c.pcr_mask, 0xffffff);
    close_tpm(a);
    extend(tcti, 7);
    a = open_tpm(tcti);
    claims_of(a, &d);
    close_tpm(a);
    assert_memory_equal(d.key_hash, c.key_hash, HASH_LEN); /* the same key, made anew */
    for (unsigned i = 0; i < EVIDENCE_PCR_COUNT; i++)
        assert_int_equal(memcmp(c.pcr[i], d.pcr[i], HASH_LEN) != 0, i == 7);
    uint8_t joined[64], want[HASH_LEN];
    memcpy(joined, c.pcr[7], 32);
    memset(joined + 32, 0x11, 32);
    sha256(BYTES_OF(joined), want);
    assert_memory_equal(d.pcr[7], want, HASH_LEN);
    a = open_tpm(other_tcti);
    claims_of(a, &o);
    close_tpm(a);
    assert_memory_not_equal(o.key_hash, c.key_hash, HASH_LEN);
    uint8_t other_bind[64] = {1};
    assert_int_equal(evidence_check_bind(evidence_find(bytes_str("tpm2")), &d, other_bind), ERR_BIND);
}

/* The TPM is reset below an open attester: one reopen, the same key, and the reset shows. */
static void test_reset(void **state)
{
    (void)state;
    struct attester *a = open_tpm(tcti);
    struct claims c, d;
    claims_of(a, &c);
    assert_int_equal(system(reset_command), 0);
    claims_of(a, &d);
    assert_memory_equal(d.key_hash, c.key_hash, HASH_LEN);
    assert_true(d.reset_count > c.reset_count);
    close_tpm(a);
}

static void *many_quotes(void *arg)
{
    struct claims c;
    for (unsigned i = 0; i < 20; i++)
        claims_of(arg, &c);
    return NULL;
}

/* One attester, several threads. */
static void test_threads(void **state)
{
    (void)state;
    struct attester *a = open_tpm(tcti);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many_quotes, a), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    close_tpm(a);
}

static void test_errors(void **state)
{
    (void)state;
    const struct attester_kind *k = attester_find("tpm2");
    struct attester *a = NULL;
    struct err err;
    assert_null(attester_find("snp"));
    assert_null(attester_find(NULL));
    assert_int_equal(k->open("", &a, &err), ERR_CONFIG);
    assert_int_equal(k->open(NULL, &a, &err), ERR_CONFIG);
    assert_int_equal(k->open("swtpm:path=/nonexistent/tpm", &a, &err), ERR_IO);
    assert_non_null(strstr(err.text, "/nonexistent/tpm"));
    assert_int_equal(k->open("nosuchtcti:x", &a, &err), ERR_IO);
    assert_null(a);
    k->close(NULL);
}

/* ---- enrolment */

struct enrolment {
    struct buf ek, ak, blob;
    struct secret *secret;
};

static void request(struct attester *a, struct enrolment *e)
{
    struct err err;
    memset(e, 0, sizeof(*e));
    buf_init(&e->ek, 512);
    buf_init(&e->ak, 512);
    buf_init(&e->blob, 512);
    if (enrol_request(a, &e->ek, &e->ak, &err) != 0)
        fail_msg("%s", err.text);
}

static void done(struct enrolment *e)
{
    buf_done(&e->ek);
    buf_done(&e->ak);
    buf_done(&e->blob);
    secret_free(e->secret);
}

static int answer(struct attester *a, struct bytes blob, const struct secret *want, struct err *err)
{
    struct secret *got = NULL;
    int rc = enrol_answer(a, blob, &got, err);
    if (rc == 0)
        assert_true(secret_equal(got, want));
    else
        assert_null(got);
    secret_free(got);
    return rc;
}

static void test_enrol(void **state)
{
    (void)state;
    struct attester *a = open_tpm(tcti);
    struct enrolment e;
    struct err err;
    request(a, &e);
    for (unsigned i = 0; i < 20; i++) { /* more often than a TPM has slots for objects or sessions */
        secret_free(e.secret);
        e.secret = NULL;
        e.blob.len = 0;
        assert_int_equal(enrol_challenge(buf_view(&e.ek), buf_view(&e.ak), &e.secret, &e.blob, &err), 0);
        assert_int_equal(secret_len(e.secret), 32);
        if (answer(a, buf_view(&e.blob), e.secret, &err) != 0)
            fail_msg("%s", err.text);
    }
    struct claims c;
    uint8_t hash[HASH_LEN];
    claims_of(a, &c); /* the enrolled AK is the key of the evidence */
    sha256(buf_view(&e.ak), hash);
    assert_memory_equal(hash, c.key_hash, HASH_LEN);
    done(&e);
    close_tpm(a);
    assert_int_equal(transient_count(tcti), 0);
}

static void test_enrol_altered(void **state)
{
    (void)state;
    struct attester *a = open_tpm(tcti);
    struct enrolment e;
    struct err err;
    request(a, &e);
    assert_int_equal(enrol_challenge(buf_view(&e.ek), buf_view(&e.ak), &e.secret, &e.blob, &err), 0);
    for (size_t i = 0; i < e.blob.len; i++) {
        e.blob.p[i] ^= 0x40;
        int rc = answer(a, buf_view(&e.blob), e.secret, &err);
        if (rc != ERR_EVIDENCE && rc != ERR_FORMAT)
            fail_msg("byte %zu altered: %s: %s", i, err_name(rc), err.text);
        e.blob.p[i] ^= 0x40;
    }
    for (size_t n = 0; n < e.blob.len; n++)
        assert_int_equal(answer(a, BYTES(e.blob.p, n), e.secret, &err), ERR_FORMAT);
    buf_u8(&e.blob, 0);
    assert_int_equal(answer(a, buf_view(&e.blob), e.secret, &err), ERR_FORMAT);
    e.blob.len--;
    assert_int_equal(answer(a, buf_view(&e.blob), e.secret, &err), 0);
    done(&e);
    close_tpm(a);
    assert_int_equal(transient_count(tcti), 0);
}

/* An EK of one TPM with an AK of another: whichever opens the blob, neither can answer it. */
static void test_enrol_mixed(void **state)
{
    (void)state;
    struct attester *a = open_tpm(tcti), *b = open_tpm(other_tcti);
    struct enrolment x, y, mixed;
    struct err err;
    request(a, &x);
    request(b, &y);
    request(a, &mixed);
    assert_int_equal(enrol_challenge(buf_view(&x.ek), buf_view(&y.ak), &mixed.secret, &mixed.blob, &err), 0);
    assert_int_equal(answer(a, buf_view(&mixed.blob), mixed.secret, &err), ERR_EVIDENCE);
    assert_int_equal(answer(b, buf_view(&mixed.blob), mixed.secret, &err), ERR_EVIDENCE);
    /* A key that is not what it should be gets no credential at all. */
    struct secret *s = NULL;
    mixed.blob.len = 0;
    assert_int_equal(enrol_challenge(buf_view(&x.ak), buf_view(&x.ak), &s, &mixed.blob, &err), ERR_EVIDENCE);
    assert_int_equal(enrol_challenge(buf_view(&x.ek), buf_view(&x.ek), &s, &mixed.blob, &err), ERR_EVIDENCE);
    x.ak.p[5] &= (uint8_t)~1u; /* not restricted */
    assert_int_equal(enrol_challenge(buf_view(&x.ek), buf_view(&x.ak), &s, &mixed.blob, &err), ERR_EVIDENCE);
    assert_int_equal(enrol_challenge(BYTES_NONE, buf_view(&x.ak), &s, &mixed.blob, &err), ERR_FORMAT);
    assert_null(s);
    assert_int_equal(mixed.blob.len, 0);
    done(&x);
    done(&y);
    done(&mixed);
    close_tpm(a);
    close_tpm(b);
}

/* ---- recording, for tests/vectors/own/tpm */

static void save(const char *folder, const char *name, struct bytes data)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data.p, 1, data.len, f), data.len);
    assert_int_equal(fclose(f), 0);
}

static void record(void **state)
{
    (void)state;
    const char *folder = getenv("ENFILADE_RECORD");
    struct enrolment e;
    struct buf data;
    extend(tcti, 7);
    extend(tcti, 14);
    struct attester *a = open_tpm(tcti);
    request(a, &e);
    evidence(a, &data);
    save(folder, "ek.bin", buf_view(&e.ek));
    save(folder, "evidence.bin", buf_view(&data));
    save(folder, "bind.bin", BYTES_OF(bind_));
    buf_done(&data);
    done(&e);
    close_tpm(a);
}

int main(void)
{
    const struct CMUnitTest recording[] = {cmocka_unit_test(record)};
    if (getenv("ENFILADE_RECORD") != NULL)
        return cmocka_run_group_tests(recording, setup, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evidence),    cmocka_unit_test(test_reset), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_errors),      cmocka_unit_test(test_enrol), cmocka_unit_test(test_enrol_altered),
        cmocka_unit_test(test_enrol_mixed),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
