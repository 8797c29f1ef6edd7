/* quote: a TPM in software: an attestation key, one PCR, quotes over a bind as common/evidence verifies them. */
#ifndef ENFILADE_SIM_QUOTE_H
#define ENFILADE_SIM_QUOTE_H

#include "tests/sim/cast.h"

#define QUOTE_PCR 14

extern const uint8_t quote_pcr[HASH_LEN]; /* its value */

void quote_key(struct cast_device *d); /* makes ak and ak_public */
void quote_key_free(struct cast_device *d);
/* TpmEvidence bytes. */
void quote_make(const struct cast_device *d, const uint8_t bind[BIND_LEN], struct buf *out);

#endif
