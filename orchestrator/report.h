/* report: what happened at each member, as the public interface shows it; told to the observer in order. */
#ifndef ENFILADE_ORCHESTRATOR_REPORT_H
#define ENFILADE_ORCHESTRATOR_REPORT_H

#include "common/base/bytes.h"
#include "orchestrator/enfilade.h"
#include "orchestrator/harvest.h"

struct report_entry;
struct report {
    struct report_entry *first, *last;
    enf_observer observer;
    void *arg;
};

void report_init(struct report *r, enf_observer observer, void *arg);
void report_done(struct report *r);
/* v's strings are copied, but for the link, which points into g (kept by the owner until report_done; NULL when
 * v->result != 0). denial_id: raw bytes. Best effort: without memory the observer is told all the same. */
void report_add(struct report *r, const struct enf_visit *v, struct bytes denial_id, const struct harvested *g);

#endif
