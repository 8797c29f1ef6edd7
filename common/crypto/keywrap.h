/* keywrap: AES-256 key wrap (RFC 3394, CKM_AES_KEY_WRAP), for 32 and 64 byte plaintexts. */
#ifndef ENFILADE_CRYPTO_KEYWRAP_H
#define ENFILADE_CRYPTO_KEYWRAP_H

#include "common/base/secret.h"

#define KEYWRAP_OVERHEAD 8

/* plain is a multiple of 8, 16..1024 bytes; ret_out gets plain.len + 8. */
MUST_CHECK int keywrap_wrap(const struct secret *kek, const struct secret *plain, uint8_t *ret_out);
/* ERR_FORMAT for bad lengths, ERR_SIGNATURE when the integrity check fails. */
MUST_CHECK int keywrap_unwrap(const struct secret *kek, struct bytes wrapped, struct secret **ret_plain);

#endif
