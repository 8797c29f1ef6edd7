/* leaf: the node's own TLS certificate and the contexts made from it.
 *
 * The key is made in memory and never written; the identity (in the token, or in software for role config) signs a
 * certificate of leaf_hours; at half of that time a new one is made. Contexts are made anew when root or roster change.
 */
#ifndef ENFILADE_NODE_LEAF_H
#define ENFILADE_NODE_LEAF_H

#include "common/net/tls.h"
#include "node/node.h"

struct leaf;
/* changed fires on the loop whenever leaf_context gives another context; err is set when none could be made this time
 * (the old one stays; leaf_tick tries again). */
MUST_CHECK int leaf_new(struct node *n, void (*changed)(void *arg, const struct err *err), void *arg, struct leaf **ret,
                        struct err *err);
void leaf_tick(struct leaf *l);                         /* once a second: renews when it is time */
void leaf_trust_changed(struct leaf *l);                /* new anchors */
struct tls_context *leaf_context(const struct leaf *l); /* NULL before the first */
void leaf_free(struct leaf *l); /* only when no request to the token is under way (after ask_stop) */

#endif
