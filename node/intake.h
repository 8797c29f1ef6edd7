/* intake: documents that arrive while the node runs, from peers and from the folder.
 *
 * Opening a long document takes tens of milliseconds, so nothing of that happens on the loop: a worker reads and sorts,
 * then each document is opened in a worker and put on the shelf on the loop. One intake works at a time, the others
 * wait; whoever offers is asked to wait too (one intake per connection), which bounds them. */
#ifndef ENFILADE_NODE_INTAKE_H
#define ENFILADE_NODE_INTAKE_H

#include "node/node.h"

struct intake;

/* accepted: how many were new. err: the first that was not accepted (an older version is no error), or NULL. */
typedef void (*intake_done)(void *arg, unsigned accepted, const struct err *err);

/* Notes of a message, copied. done fires once, on the loop, never from inside. ERR_FULL, ERR_BUSY, ERR_NOMEM. */
MUST_CHECK int intake_offer(struct node *n, const struct msg_note *notes, size_t count, const char *source,
                            intake_done done, void *arg, struct intake **ret);
/* The configuration's folder of documents. ERR_NOT_FOUND: none is configured. ERR_BUSY, ERR_NOMEM. */
MUST_CHECK int intake_folder(struct node *n, intake_done done, void *arg);
/* done will not be called; the documents are judged all the same. */
void intake_detach(struct intake *i);

#endif
