/* template: a text with @name@ places filled in. */
#ifndef ENFILADE_ORCHESTRATOR_CLI_TEMPLATE_H
#define ENFILADE_ORCHESTRATOR_CLI_TEMPLATE_H

#include "common/base/bytes.h"

#define TEMPLATE_VALUES_MAX 128

struct template_values {
    struct {
        const char *name, *value; /* borrowed */
    } at[TEMPLATE_VALUES_MAX];
    size_t count;
};
MUST_CHECK int template_add(struct template_values *v, const char *name, const char *value,
                            struct err *err); /* ERR_FULL */
/* Appends text to out with every @name@ replaced; "@@" is one @. ERR_CONFIG for a name without value. */
MUST_CHECK int template_fill(struct bytes text, const struct template_values *v, struct buf *out, struct err *err);

#endif
