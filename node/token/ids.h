/* ids: the id field that every message between node and tokend has. */
#ifndef ENFILADE_NODE_TOKEN_IDS_H
#define ENFILADE_NODE_TOKEN_IDS_H

#include "proto/message.h"

/* A pointer into m, or NULL for messages that do not travel between node and tokend. */
uint64_t *ids_of(struct message *m);

#endif
