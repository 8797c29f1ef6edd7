/* succession: what a newer version of a document may not take back; private to this folder. Pure. */
#ifndef ENFILADE_DOCUMENTS_SUCCESSION_H
#define ENFILADE_DOCUMENTS_SUCCESSION_H

#include "common/documents/document.h"

/* Revocations and halts are sticky, and so is the least generation of an envelope. ERR_THRESHOLD: the text names what
 * `next` drops from `last`; only the root threshold may. */
MUST_CHECK int succession_status(const struct document *last, const struct document *next, struct err *err);

/* A device id is never taken over: what both versions list of its hardware (ak, ek, chip) is the same, and when they
 * have no such thing in common, the key is. ERR_EQUIVOCATION. */
MUST_CHECK int succession_inventory(const struct document *last, const struct document *next, struct err *err);

#endif
