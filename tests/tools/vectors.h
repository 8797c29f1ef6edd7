/* vectors: from the inputs of a test vector to the whole vector, as tests/vectors/own/README.md describes them.
 *
 * make_vectors gives inputs and writes what comes out; the unit test gives whole vectors and compares. One reading of
 * the format serves both. */
#ifndef ENFILADE_TESTS_TOOLS_VECTORS_H
#define ENFILADE_TESTS_TOOLS_VECTORS_H

#include <jansson.h>
#include <stddef.h>

extern const char *const vector_groups[];
extern const size_t vector_group_count;

/* The case with every field of the format: its inputs taken from `in`, its outputs computed. A case that has "refused"
 * is one that must fail; the result then has the name of the error that came, "ok" when none did. NULL when the group
 * is unknown or an input is missing or malformed: a line on stderr says which. The caller owns the result. */
json_t *vector_run(const char *group, const json_t *in);

#endif
