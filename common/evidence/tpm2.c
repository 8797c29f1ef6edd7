/* tpm2: from a TpmEvidence message to claims: key, signature, report data, PCR values, in this order. */
#include "common/evidence/tpm2.h"
#include "common/base/mutant.h"
#include "common/evidence/tpm2_wire.h"
#include "proto/message.h"
#include <string.h>

_Static_assert(TPM_PCR_COUNT == EVIDENCE_PCR_COUNT, "one place for each PCR");

void tpm2_expected_report_data(const uint8_t bind[64], uint8_t ret[64], size_t *ret_len)
{
    memset(ret, 0, 64);
    sha256(BYTES(bind, 64), ret);
    *ret_len = HASH_LEN;
}

/* The values that came along are those of the selection, each once, ascending, and hash to the quoted digest. */
static int check_pcrs(const struct msg_tpm_evidence *m, const struct tpm2_attest *a, struct claims *c, struct err *err)
{
    uint8_t all[EVIDENCE_PCR_COUNT * HASH_LEN], digest[HASH_LEN];
    size_t given = 0;
    for (unsigned i = 0; i < EVIDENCE_PCR_COUNT; i++) {
        if ((a->pcr_mask >> i & 1) == 0)
            continue;
        if (given == m->pcrs.count || m->pcrs.at[given].index != i)
            return err_set(err, ERR_EVIDENCE, "PCR values: the next must be that of PCR %u, which the quote selects",
                           i);
        struct bytes value = m->pcrs.at[given].value;
        if (value.len != HASH_LEN)
            return err_set(err, ERR_FORMAT, "PCR values: PCR %u has %zu bytes, not 32", i, value.len);
        memcpy(all + given * HASH_LEN, value.p, HASH_LEN);
        memcpy(c->pcr[i], value.p, HASH_LEN);
        given++;
    }
    if (given != m->pcrs.count)
        return err_set(err, ERR_EVIDENCE, "PCR values: %zu more than the quote selects", m->pcrs.count - given);
    sha256(BYTES(all, given * HASH_LEN), digest);
    if (!bytes_equal(BYTES_OF(digest), BYTES_OF(a->pcr_digest)) && !mutant("PCR_DIGEST"))
        return err_set(err, ERR_EVIDENCE, "PCR values: they do not hash to the quoted digest");
    c->pcr_mask = a->pcr_mask;
    return 0;
}

static int check(const struct msg_tpm_evidence *m, struct claims *ret, struct err *err)
{
    struct tpm2_public ak;
    struct tpm2_signature sig;
    struct tpm2_attest a;
    struct claims c = {.format = "tpm2", .report_data_len = HASH_LEN};
    TRY(tpm2_public_parse(m->ak, &ak, err));
    TRY(tpm2_public_check_ak(&ak, err));
    TRY(tpm2_attest_parse(m->attest, &a, err));
    TRY(tpm2_signature_parse(m->signature, &sig, err));
    TRY(tpm2_signature_verify(&ak, m->attest, &sig, err));
    if (a.extra_data.len != HASH_LEN)
        return err_set(err, ERR_BIND, "quote: extraData has %zu bytes, must be 32", a.extra_data.len);
    TRY(check_pcrs(m, &a, &c, err));
    memcpy(c.report_data, a.extra_data.p, HASH_LEN);
    sha256(m->ak, c.key_hash);
    c.clock = a.clock;
    c.firmware = a.firmware;
    c.reset_count = a.reset_count;
    c.restart_count = a.restart_count;
    *ret = c;
    return 0;
}

int tpm2_verify(struct bytes data, uint64_t now_ms, struct claims *ret, struct err *err)
{
    (void)now_ms;
    struct message *m = NULL;
    int rc = message_unpack(MESSAGE_TPM_EVIDENCE, data, &m, err);
    if (rc == 0)
        rc = check(&m->tpm_evidence, ret, err);
    message_free(m);
    return rc == 0 ? 0 : err_wrap(err, rc, "tpm2");
}
