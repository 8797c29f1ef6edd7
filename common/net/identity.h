/* identity: the certificates of the network, made and read: identities (CA, pathlen 0), leaves, device CAs and devices.
 *
 * Software keys only: a configuration server's identity, a workload's device key, leaf keys of every node. A token's
 * identity signs its leaf in node/token with the same profile of extensions (identity_leaf_template).
 *
 * Every `ret_der` and `ret_pem` is initialised here (buf_init is not needed before); buf_done is the caller's, also
 * after an error. Validity times are whole seconds. Names: 1..64 printable ASCII characters without spaces; the name
 * stands as CN and, in leaves, as a DNS SAN; address is "host", "host:port" or "[v6]:port" and becomes an IP or DNS
 * SAN. Source of the extensions: RFC 5280 §4.2.1. */
#ifndef ENFILADE_NET_IDENTITY_H
#define ENFILADE_NET_IDENTITY_H

#include "common/base/bytes.h"
#include "common/crypto/hash.h"

#define IDENTITY_CERT_MAX 4096 /* bytes of DER */

MUST_CHECK int identity_key_new(void **ret_pkey); /* EVP_PKEY *, P-256 */
void identity_key_free(void *pkey);
MUST_CHECK int identity_key_load(const char *path, void **ret_pkey,
                                 struct err *err); /* PEM, P-256; refuses a file others may read */
MUST_CHECK int identity_key_save(const void *pkey, const char *path, struct err *err); /* 0600, never over */
MUST_CHECK int identity_spki(const void *pkey, struct buf *ret_der);
void identity_spki_hash(const void *pkey, uint8_t ret[HASH_LEN]);

/* Self-signed CA with pathlen 0: a node identity or a device CA. */
MUST_CHECK int identity_self_signed(void *pkey, const char *common_name, uint64_t not_before_ms, uint64_t not_after_ms,
                                    struct buf *ret_der, struct err *err);
/* An unsigned leaf: CA:FALSE, digitalSignature, serverAuth+clientAuth (node) or clientAuth (device), SKI, AKI of
 * issuer, SAN. Returns X509 * to be signed by whoever holds the issuer's key. address may be NULL. */
MUST_CHECK int identity_leaf_template(struct bytes issuer_der, struct bytes spki_der, const char *common_name,
                                      const char *address, bool device, uint64_t not_before_ms, uint64_t not_after_ms,
                                      void **ret_x509, struct err *err);
MUST_CHECK int identity_leaf(void *issuer_key, struct bytes issuer_der, struct bytes spki_der, const char *common_name,
                             const char *address, bool device, uint64_t not_before_ms, uint64_t not_after_ms,
                             struct buf *ret_der, struct err *err);
/* Is `leaf` signed by `issuer`, a CA? Says nothing of dates or purpose. ERR_SIGNATURE, ERR_FORMAT. */
MUST_CHECK int identity_issued(struct bytes issuer_der, struct bytes leaf_der);
MUST_CHECK int identity_cert_key_hash(struct bytes cert_der, uint8_t ret_spki_hash[HASH_LEN]);
MUST_CHECK int identity_cert_from_pem(struct bytes pem, struct buf *ret_der, struct err *err);
MUST_CHECK int identity_cert_to_pem(struct bytes der, struct buf *ret_pem);

#endif
