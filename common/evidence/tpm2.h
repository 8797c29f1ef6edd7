/* tpm2: evidence format "tpm2": a TPM 2.0 quote with the values of the PCRs that it covers.
 *
 * data is the protobuf message TpmEvidence: TPMS_ATTEST, TPMT_SIGNATURE, TPMT_PUBLIC of the attestation key (AK) and
 * the PCR values. Verified means: this very AK, which its attributes tie to a TPM, signed this quote, and the values
 * hash to the quoted digest. That the AK is a real TPM's is what the inventory says: compare claims.key_hash. */
#ifndef ENFILADE_EVIDENCE_TPM2_H
#define ENFILADE_EVIDENCE_TPM2_H

#include "common/evidence/evidence.h"

/* ERR_FORMAT, ERR_TOO_LONG, ERR_EVIDENCE, ERR_SIGNATURE, ERR_BIND (extraData is not 32 bytes), ERR_NOMEM. now_ms is not
 * used: a quote carries no wall-clock time; its freshness is the nonce in its report data. */
MUST_CHECK int tpm2_verify(struct bytes data, uint64_t now_ms, struct claims *ret, struct err *err);
/* SHA-256(bind), 32 bytes: qualifyingData of a TPM with SHA-512 disabled may not be longer. */
void tpm2_expected_report_data(const uint8_t bind[64], uint8_t ret[64], size_t *ret_len);

#endif
