/* enroll: what enrolling a device consists of: its TPM proved, its key certified, its tuple in an inventory. */
#ifndef ENFILADE_ORCHESTRATOR_CLI_ENROLL_H
#define ENFILADE_ORCHESTRATOR_CLI_ENROLL_H

#include "common/documents/document.h"
#include "orchestrator/attest/enrol.h"

#define ENROLL_PUBLIC_MAX 1024u
#define ENROLL_CERTIFICATE_MS (365ull * 24 * 3600 * 1000)

/* Challenge and answer on this very machine: ak and ek hashes of a TPM that proved to hold both. ERR_EVIDENCE. */
MUST_CHECK int enroll_tpm_local(const char *tcti, uint8_t ret_ak_hash[HASH_LEN], uint8_t ret_ek_hash[HASH_LEN],
                                struct err *err);
/* A certificate for this public key, from the device CA, into a PEM file. */
MUST_CHECK int enroll_certify(const char *ca_certificate, const char *ca_key, const char *id, struct bytes spki,
                              const char *out_certificate, struct err *err);
/* A new key in a file (0600, never over) and its certificate. */
MUST_CHECK int enroll_new_key(const char *ca_certificate, const char *ca_key, const char *id,
                              const char *out_certificate, const char *out_key, uint8_t ret_key_hash[HASH_LEN],
                              struct err *err);
/* SHA-256 of the SPKI of the key in a certificate file. */
MUST_CHECK int enroll_key_hash(const char *certificate, uint8_t ret_key_hash[HASH_LEN], struct err *err);

#endif
