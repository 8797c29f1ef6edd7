/* tpm2: the attester for TPM 2.0, and what enrolment needs of the same TPM.
 *
 * Both keys are primary keys of the endorsement hierarchy, made from fixed templates: the TPM derives the same keys
 * each time, so nothing is stored. They are loaded once per open attester and flushed by close. One mutex: calls may
 * come from several threads and are served one after another.
 *
 * Errors of all: ERR_IO (the TPM or the way to it failed, text has the TPM's words; one reopen was tried),
 * ERR_EVIDENCE (the TPM answered, but not acceptably), ERR_NOMEM. */
#ifndef ENFILADE_ATTEST_TPM2_H
#define ENFILADE_ATTEST_TPM2_H

#include "orchestrator/attest/attest.h"

extern const struct attester_kind tpm2_attester;

/* TPMT_PUBLIC of both keys, appended. */
MUST_CHECK int tpm2_attester_keys(struct attester *a, struct buf *ret_ek_public, struct buf *ret_ak_public,
                                  struct err *err);
/* TPM2_ActivateCredential. id_object: TPMS_ID_OBJECT (TPM2B integrity ‖ encrypted identity), secret: TPMS_ECC_POINT.
 * ERR_EVIDENCE: this TPM does not open it (another EK, another AK name, or altered). */
MUST_CHECK int tpm2_attester_activate(struct attester *a, struct bytes id_object, struct bytes secret,
                                      struct secret **ret_secret, struct err *err);

#endif
