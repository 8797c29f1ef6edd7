/* sweep: takes what is over out of the tables whose records have an end, a piece at a time. */
#ifndef ENFILADE_NODE_SWEEP_H
#define ENFILADE_NODE_SWEEP_H

#include "node/node.h"

/* About every second, on the loop: one piece, on the store thread; nothing while the last one is under way. Records are
 * judged by the time of the ledger's newest entry, which never decreases. */
void sweep_tick(struct node *n);

#endif
