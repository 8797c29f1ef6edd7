/* walk_report: the visits of one walk, for people as a table and for programs as JSON. */
#ifndef ENFILADE_ORCHESTRATOR_CLI_WALK_REPORT_H
#define ENFILADE_ORCHESTRATOR_CLI_WALK_REPORT_H

#include "orchestrator/open.h"

#define WALK_VISITS_MAX 1024

struct walk_report {
    struct enf_visit visits[WALK_VISITS_MAX]; /* strings belong to the `struct enf` */
    size_t count;
    bool progress; /* say on stderr what is slow or fails */
};

/* enf_observer; arg is the report. */
void walk_report_visit(void *arg, const struct enf_visit *v);
/* The error line, or with json one object {error, text, exit_code, failures} on stderr; returns the exit code. Before
 * open_free. */
int walk_report_fail(const struct walk_report *r, const struct err *err, bool json);
void walk_report_table(const struct walk_report *r); /* on stderr */
/* Writes the JSON object described in cli/README.md ("walk report"). */
MUST_CHECK int walk_report_write(const struct walk_report *r, const struct enf *e, const char *operation,
                                 const struct err *result, const char *path, struct err *err);

#endif
