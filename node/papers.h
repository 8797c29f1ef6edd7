/* papers: the documents in force at this node, on disk and on offer: loading, accepting, persisting, serving.
 *
 * A document that is accepted is in force at once, gets a DOCUMENT entry (role hsm) and is stored in the same
 * transaction, so that a restart never falls back to an older version. */
#ifndef ENFILADE_NODE_PAPERS_H
#define ENFILADE_NODE_PAPERS_H

#include "node/node.h"

/* The pinned root, then everything stored, then the folder of the configuration. Before the loop runs. ERR_CONFIG and
 * document errors name the file and what to do. */
MUST_CHECK int papers_load(struct node *n, struct err *err);
/* Offer notes in an order in which each finds what it needs; chains are plain text. Returns how many were new; the
 * first real error (an older version is none) is in *err, the others go on. */
unsigned papers_offer(struct node *n, const struct msg_note *notes, size_t count, const char *source, struct err *err);
/* The folder again (SIGHUP). */
unsigned papers_reload(struct node *n, struct err *err);
/* Writes entries and records of what was accepted since the last call; on the loop, once the log runs. */
void papers_flush(struct node *n);
/* Answers GetDocuments: those that we have, as many as fit into one frame. Views into documents, valid until the loop
 * goes on. */
#define PAPERS_REPLY_MAX 64
void papers_find(const struct node *n, const struct msg_document_want *wants, size_t count,
                 struct msg_note ret[PAPERS_REPLY_MAX], size_t *ret_count);
/* Called when root or roster changed: TLS anchors must be made anew. */
bool papers_take_trust_changed(struct node *n);

void papers_forget(struct node *n); /* lets go of what was not written: at the end */

#endif
