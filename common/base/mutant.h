/* mutant: defences that one test build can be told to leave out, one at a time, to show that a test notices.
 *
 * Only under -DMUTANT=SWITCH: ENFILADE_MUTANT=NAME in the environment then names the one that is out (tests/ATTACKS.md
 * has the list). In every other build mutant() is the constant false, and neither names nor variable are in the
 * program. */
#ifndef ENFILADE_BASE_MUTANT_H
#define ENFILADE_BASE_MUTANT_H

#ifdef MUTANT_SWITCH
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool mutant(const char *name)
{
    const char *out = getenv("ENFILADE_MUTANT");
    return out != NULL && strcmp(out, name) == 0;
}
#else
#define mutant(name) false
#endif

#endif
