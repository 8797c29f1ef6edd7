/* tpm2_wire: the three TPM structures of a quote, read strictly and judged by their own rules.
 *
 * Big endian, walked with a cursor, nothing may follow. Only what we accept anywhere has a place in these structs: ECC
 * NIST P-256, SHA-256, ECDSA; every other algorithm is a named refusal. Both ends use it: nodes on evidence, operators
 * on enrolment requests.
 *
 * Errors of all: ERR_FORMAT (malformed, truncated, trailing bytes), ERR_EVIDENCE (well formed, not acceptable; the text
 * says why), ERR_SIGNATURE. Views in the results borrow from the input.
 * Source: TCG TPM 2.0 Library, Part 2: TPMS_ATTEST §10.12, TPMT_SIGNATURE §11.3, TPMT_PUBLIC §12.2; Part 1 §16 (names).
 */
#ifndef ENFILADE_EVIDENCE_TPM2_WIRE_H
#define ENFILADE_EVIDENCE_TPM2_WIRE_H

#include "common/crypto/ec.h"
#include "common/crypto/hash.h"

#define TPM_GENERATED 0xff544347u /* "\xffTCG": the TPM itself made this structure */
#define TPM_ST_ATTEST_QUOTE 0x8018
#define TPM_RSA 0x0001
#define TPM_AES 0x0006
#define TPM_SHA256 0x000b
#define TPM_NULL 0x0010
#define TPM_ECDSA 0x0018
#define TPM_ECC 0x0023
#define TPM_CFB 0x0043
#define TPM_P256 0x0003
#define TPM_PCR_COUNT 24
#define TPM_NAME_LEN (2 + HASH_LEN)

/* objectAttributes (Part 2 §8.3) */
#define TPM_FIXED_TPM (1u << 1)
#define TPM_FIXED_PARENT (1u << 4)
#define TPM_SENSITIVE_ORIGIN (1u << 5)
#define TPM_USER_WITH_AUTH (1u << 6)
#define TPM_ADMIN_WITH_POLICY (1u << 7)
#define TPM_NO_DA (1u << 10)
#define TPM_RESTRICTED (1u << 16)
#define TPM_DECRYPT (1u << 17)
#define TPM_SIGN (1u << 18)

/* An EK as TCG template L-2 makes it, and an AK as ours: attributes, and the EK's policy (PolicySecret(endorsement)).
 */
#define TPM_EK_ATTRIBUTES                                                                                              \
    (TPM_FIXED_TPM | TPM_FIXED_PARENT | TPM_SENSITIVE_ORIGIN | TPM_ADMIN_WITH_POLICY | TPM_RESTRICTED | TPM_DECRYPT)
#define TPM_AK_ATTRIBUTES                                                                                              \
    (TPM_FIXED_TPM | TPM_FIXED_PARENT | TPM_SENSITIVE_ORIGIN | TPM_USER_WITH_AUTH | TPM_NO_DA | TPM_RESTRICTED |       \
     TPM_SIGN)
extern const uint8_t tpm2_ek_policy[HASH_LEN];

struct tpm2_public { /* an ECC P-256 TPMT_PUBLIC with nameAlg SHA-256 */
    uint32_t attributes;
    struct bytes policy;            /* authPolicy: 0 or 32 bytes */
    uint16_t symmetric, bits, mode; /* bits and mode 0 when symmetric is TPM_NULL */
    uint16_t scheme, scheme_hash;   /* hash 0 when scheme is TPM_NULL */
    uint8_t point[EC_POINT_LEN];    /* checked: on the curve */
};
MUST_CHECK int tpm2_public_parse(struct bytes tpmt_public, struct tpm2_public *ret, struct err *err);
/* Restricted signing key that cannot leave its TPM: fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign; not
 * decrypt; no symmetric; scheme ECDSA with SHA-256. ERR_EVIDENCE names the first thing that differs. */
MUST_CHECK int tpm2_public_check_ak(const struct tpm2_public *p, struct err *err);
/* Exactly TCG template L-2 (P-256, AES-128-CFB, policy A). ERR_EVIDENCE. */
MUST_CHECK int tpm2_public_check_ek(const struct tpm2_public *p, struct err *err);
void tpm2_name(struct bytes tpmt_public, uint8_t ret_name[TPM_NAME_LEN]); /* u16 SHA-256 ‖ SHA-256(tpmt_public) */

struct tpm2_signature {
    struct bytes r, s; /* 1..32 bytes; TPMs may strip leading zeros */
};
MUST_CHECK int tpm2_signature_parse(struct bytes tpmt_signature, struct tpm2_signature *ret, struct err *err);

struct tpm2_attest {         /* a TPMS_ATTEST of type quote over one selection of the SHA-256 bank */
    struct bytes signer;     /* qualifiedSigner, informative, 0..66 bytes */
    struct bytes extra_data; /* qualifyingData, 0..66 bytes: the caller demands its length */
    uint64_t clock, firmware;
    uint32_t reset_count, restart_count;
    bool safe;
    uint32_t pcr_mask; /* bit i: PCR i; never 0 */
    uint8_t pcr_digest[HASH_LEN];
};
/* data is the signed range: without the length of a TPM2B_ATTEST. */
MUST_CHECK int tpm2_attest_parse(struct bytes data, struct tpm2_attest *ret, struct err *err);

/* ECDSA over SHA-256(attest); does not look at the attributes of the key. ERR_SIGNATURE. */
MUST_CHECK int tpm2_signature_verify(const struct tpm2_public *key, struct bytes attest,
                                     const struct tpm2_signature *sig, struct err *err);

#endif
