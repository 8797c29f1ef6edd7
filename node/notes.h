/* notes: documents as they arrive, before anyone has judged them: from a message, a folder or the store.
 *
 * Pure but for notes_read_folder; on any thread, one at a time. Sorting peeks into each text, which takes milliseconds
 * for long ones. */
#ifndef ENFILADE_NODE_NOTES_H
#define ENFILADE_NODE_NOTES_H

#include "common/documents/document.h"

#define NOTES_MAX 4096u

struct note_item {
    struct bytes text; /* owned */
    char *source;      /* for errors, owned: a file or an address */
    struct document_claim claim;
    uint8_t hash[HASH_LEN]; /* of the text without signatures */
};

struct notes {
    struct note_item *at;
    size_t count, size;
};

/* Copies both. ERR_FULL (more than NOTES_MAX), ERR_NOMEM. */
MUST_CHECK int notes_add(struct notes *n, struct bytes text, const char *source);
/* Every *.note and *.chain. ERR_CONFIG, ERR_TOO_LONG, ERR_IO, ERR_FULL, ERR_NOMEM. */
MUST_CHECK int notes_read_folder(struct notes *n, const char *folder, struct err *err);
/* Puts them into an order in which each finds what judges it: by type, then by version. What is no document is dropped;
 * the first such error is in *err. */
void notes_sort(struct notes *n, struct err *err);
void notes_done(struct notes *n);

#endif
