/* story: what the stories share: a world that is up, its end, and what the trace must tell. */
#ifndef ENFILADE_SIM_STORY_H
#define ENFILADE_SIM_STORY_H

#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include "tests/sim/workload.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

/* The first `nodes` nodes serve; delays are fixed. */
struct sim *story_world(unsigned nodes);
void story_end(struct sim *s); /* judges at rest, demands that nothing was violated, stops and frees */
void story_fail(struct sim *s, const char *why);
/* The trace from byte `from` on, times left out, is exactly these lines. */
void story_is(struct sim *s, size_t from, const char *const *lines);
/* These lines come in this order, others between them. */
void story_tells(struct sim *s, size_t from, const char *const *lines);

int stories_walk(void); /* groups: 0 when all passed */
int stories_crash(void);
int stories_storage(void);
int stories_documents(void);
int stories_broken(void);

#define STORY_ARM(s, n, p, c) ((s)->fault = (struct sim_fault){.armed = true, .node = (n), .point = (p), .crash = (c)})

#endif
