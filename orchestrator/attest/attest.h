/* attest: the workload's side of evidence: one file per attester behind one table. */
#ifndef ENFILADE_ORCHESTRATOR_ATTEST_H
#define ENFILADE_ORCHESTRATOR_ATTEST_H

#include "common/base/secret.h"

struct attester; /* opened once per process */
struct attester_kind {
    const char *name; /* "tpm2": also the evidence format it makes */
    MUST_CHECK int (*open)(const char *device /* TCTI "swtpm:path=…", "device:/dev/tpmrm0" */, struct attester **ret,
                           struct err *err);
    /* Evidence bound to bind[64]; blocking, milliseconds; called off the loop. */
    MUST_CHECK int (*evidence)(struct attester *a, const uint8_t bind[64], struct buf *ret_data, struct err *err);
    void (*close)(struct attester *a);
};
const struct attester_kind *attester_find(const char *name);

#endif
