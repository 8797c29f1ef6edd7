/* write: a document's text, rendered from the struct that parsing it would give.
 *
 * For signers (seal, network init, device enroll, status): fill a struct document, write it, sign the text as a note.
 * Fill in: type, network, version (not envelope: generation counts; not chain), issued_ms and expires_ms (whole
 * seconds; chain: expires_ms is not_after, issued_ms is ignored) and the member of the union. Ignored: name, hash,
 * note, text, refs, memory and, in an envelope, owner. Everything else is borrowed and unchanged.
 *
 * document_parse(document_write(x)) == x: the text is parsed before it is returned, so what a parser would refuse is
 * refused here with the parser's words. Pure. */
#ifndef ENFILADE_DOCUMENTS_WRITE_H
#define ENFILADE_DOCUMENTS_WRITE_H

#include "common/documents/document.h"

/* root, roster, inventory, envelope, status, chain. ret_text is initialised here (max DOCUMENT_MAX, chain CHAIN_MAX)
 * and the caller's to buf_done. Errors: ERR_FORMAT (a field is not as README.md says), ERR_TOO_LONG, ERR_USAGE
 * (policies are written by hand), ERR_VERSION (approvals are not in use yet), ERR_NOMEM. */
MUST_CHECK int document_write(const struct document *d, struct buf *ret_text, struct err *err);

#endif
