/* lines: the two strict text forms that checkpoints and receipts share; private to this folder. */
#ifndef ENFILADE_LEDGER_LINES_H
#define ENFILADE_LEDGER_LINES_H

#include "common/crypto/hash.h"

/* Decimal without sign or leading zeros, up to 2^64-1. ERR_FORMAT. */
MUST_CHECK int line_u64(struct bytes line, uint64_t *ret);
/* Base64 of exactly 32 bytes. ERR_FORMAT. */
MUST_CHECK int line_hash(struct bytes line, uint8_t ret[HASH_LEN]);

#endif
