/* papers: the documents in force at this node: loading at start, persisting, serving. (While it runs: intake.h.)
 *
 * A document that is accepted is in force at once, gets a DOCUMENT entry (role hsm) and is stored in the same
 * transaction, so that a restart never falls back to an older version. */
#ifndef ENFILADE_NODE_PAPERS_H
#define ENFILADE_NODE_PAPERS_H

#include "node/node.h"

/* The pinned root, then everything stored, then the folder of the configuration. Before the loop runs. ERR_CONFIG and
 * document errors name the file and what to do. */
MUST_CHECK int papers_load(struct node *n, struct err *err);
/* Puts a document that was opened in a worker on the shelf. How many were new: 0 or 1; an error, where it is the first,
 * is in *err (an older version is none). */
unsigned papers_shelve(struct node *n, struct document *d, const struct shelf_judges *judges,
                       const struct document *policy, const char *source, struct err *err);
/* Writes entries and records of what was accepted and is not on the disk yet; what fails is tried again with the next
 * call. On the loop, about every second and after each acceptance. Role hsm: nothing happens before the log runs. */
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
