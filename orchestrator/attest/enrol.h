/* enrol: proof that an attestation key lives in the TPM of an endorsement key (credential activation).
 *
 *   device                         enrolment operator
 *   enrol_request  ── ek, ak ──▶   enrol_challenge (MakeCredential for ek and the AK's name, random secret)
 *   enrol_answer   ◀─ blob ─────
 *                  ── secret ──▶   equal: the tuple goes into the inventory
 */
#ifndef ENFILADE_ORCHESTRATOR_ENROL_H
#define ENFILADE_ORCHESTRATOR_ENROL_H

#include "common/crypto/hash.h"
#include "orchestrator/attest/attest.h"

/* TPMT_PUBLIC of EK (P-256, TCG template L-2) and AK (restricted, ECDSA P-256, endorsement hierarchy). */
MUST_CHECK int enrol_request(struct attester *tpm, struct buf *ret_ek_public, struct buf *ret_ak_public,
                             struct err *err);
/* Checks both public areas (ERR_EVIDENCE: attributes), makes the credential in software. secret 32 bytes. */
MUST_CHECK int enrol_challenge(struct bytes ek_public, struct bytes ak_public, struct secret **ret_secret,
                               struct buf *ret_blob, struct err *err);
MUST_CHECK int enrol_answer(struct attester *tpm, struct bytes blob, struct secret **ret_secret,
                            struct err *err); /* ERR_EVIDENCE */

#endif
