/* hash: SHA-256 and TH, the one way in which this project hashes several fields together.
 *
 *   TH(label, f1…fn) = SHA-256(u8 len ‖ "enfilade/v1/" label ‖ u8 n ‖ for each f: u32be len ‖ f)
 *
 * len is the length of "enfilade/v1/" label. TH512 is the same with SHA-512. Nothing else concatenates. */
#ifndef ENFILADE_CRYPTO_HASH_H
#define ENFILADE_CRYPTO_HASH_H

#include "common/base/bytes.h"

#define HASH_LEN 32
#define HASH512_LEN 64

void sha256(struct bytes data, uint8_t ret[HASH_LEN]);
/* SHA-256(u8 prefix ‖ data): RFC 6962's domain separation, for merkle only */
void sha256_prefixed(uint8_t prefix, struct bytes data, uint8_t ret[HASH_LEN]);

/* th: collects fields, then hashes. At most 255 fields; each < 2^32 bytes. Label is a C literal. */
struct th; /* opaque, heap; th_finish frees */
struct th *th_begin(const char *label);
void th_add(struct th *t, struct bytes field);
void th_add_str(struct th *t, const char *text);
void th_add_u64(struct th *t, uint64_t v); /* u64be */
void th_finish(struct th *t, uint8_t ret[HASH_LEN]);
void th_finish512(struct th *t, uint8_t ret[HASH512_LEN]);

#endif
