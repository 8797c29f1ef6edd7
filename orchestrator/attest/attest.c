/* attest: the table of attesters. */
#include "orchestrator/attest/attest.h"
#include "orchestrator/attest/tpm2.h"
#include <string.h>

static const struct attester_kind *const kinds[] = {&tpm2_attester};

const struct attester_kind *attester_find(const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (name != NULL && strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}
