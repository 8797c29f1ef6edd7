/* evidence: bytes and trust anchors in, verified claims or a named error out; one file per format behind one table.
 *
 * Pure: no clock, no network, no files. Verified means: signatures and structure hold. Whether the claims are good
 * enough is the policy's business (node/appraise). */
#ifndef ENFILADE_EVIDENCE_EVIDENCE_H
#define ENFILADE_EVIDENCE_EVIDENCE_H

#include "common/crypto/hash.h"

#define EVIDENCE_MAX (64u * 1024u)
#define EVIDENCE_PCR_COUNT 24

struct claims {
    const char *format;         /* the table's name, static */
    uint8_t key_hash[HASH_LEN]; /* the attesting key: SHA-256 of TPMT_PUBLIC; compared with the inventory's ak */
    uint8_t report_data[64];    /* what the evidence is bound to */
    size_t report_data_len;     /* TPM: 32 = SHA-256(bind) */
    uint32_t pcr_mask;          /* TPM: which of the SHA-256 bank the quote covers … */
    uint8_t pcr[EVIDENCE_PCR_COUNT][HASH_LEN]; /* … and their values: they hash to the quoted digest */
    uint64_t clock, firmware;                  /* TPM clockInfo and firmwareVersion */
    uint32_t reset_count, restart_count;
};

struct evidence_format {
    const char *name; /* "tpm2" */
    MUST_CHECK int (*verify)(struct bytes data, uint64_t now_ms, struct claims *ret, struct err *err);
    void (*expected_report_data)(const uint8_t bind[64], uint8_t ret[64], size_t *ret_len);
};
const struct evidence_format *evidence_find(struct bytes name); /* NULL when unknown */
/* Constant time over the whole field; ERR_BIND, also for absent, short or zero report data. */
MUST_CHECK int evidence_check_bind(const struct evidence_format *f, const struct claims *c, const uint8_t bind[64]);

#endif
