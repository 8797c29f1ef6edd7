/* payload: the encrypted secret: AES-256-GCM in chunks of 64 KiB.
 *
 *   nonce = u64be chunk counter (from 0) ‖ u32be last flag (1 on the last chunk, else 0); AAD the same for all chunks.
 *   Every chunk but the last has 65536 bytes of plaintext; each is followed by its 16 byte tag. An empty payload is one
 *   empty last chunk; no other payload has an empty chunk, so that one plaintext has one form. A stream that ends
 * without the last chunk, or goes on after it, is refused. */
#ifndef ENFILADE_CRYPTO_PAYLOAD_H
#define ENFILADE_CRYPTO_PAYLOAD_H

#include "common/base/secret.h"

#define PAYLOAD_CHUNK 65536u
#define PAYLOAD_TAG 16u

struct payload; /* one direction of one payload */

/* key: 32 bytes; aad: at most 4096, copied. ERR_FORMAT, ERR_TOO_LONG, ERR_NOMEM. */
MUST_CHECK int payload_new(const struct secret *key, struct bytes aad, bool seal, struct payload **ret_p);
void payload_free(struct payload *p);
/* seal: in <= 65536 bytes (exactly that unless last), out = in.len + 16. open: in = chunk with tag, out = in.len - 16.
 * ERR_PAYLOAD when a tag fails or a chunk is out of place, and ever after. ret_out of a failed open holds zeros.
 * ret_out may not overlap in. A payload that was not opened to its last chunk is not complete: the caller knows whether
 * it gave it. */
MUST_CHECK int payload_chunk(struct payload *p, struct bytes in, bool last, uint8_t *ret_out);
size_t payload_sealed_len(size_t plain_len);
/* Whole payloads in memory, up to SECRET_MAX to open. ret_sealed has room for payload_sealed_len (else ERR_TOO_LONG).
 */
MUST_CHECK int payload_seal(const struct secret *key, struct bytes aad, struct bytes plain, struct buf *ret_sealed);
MUST_CHECK int payload_open(const struct secret *key, struct bytes aad, struct bytes sealed, struct secret **ret_plain);

#endif
