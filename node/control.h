/* control: the operator's unix socket: status, explanations of denials, entries of the ledger.
 *
 * Peer uid: root, or the uid the node runs under. */
#ifndef ENFILADE_NODE_CONTROL_H
#define ENFILADE_NODE_CONTROL_H

#include "node/node.h"

typedef struct uv_loop_s uv_loop_t;

struct control;
/* Listens on <state>/control, mode 0600. ERR_CONFIG when the path is in use or too long. */
MUST_CHECK int control_start(uv_loop_t *loop, struct node *n, struct control **ret, struct err *err);
void control_stop(struct control *c, void (*stopped)(void *arg), void *arg);

#endif
