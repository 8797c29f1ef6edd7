/* shelf: the documents in force at one program, and the rules by which a new one replaces an old one.
 *
 * Versions only grow; the first of two equal versions stays and the other is reported as equivocation; a root that replaces
 * a role's keys resets that role's floors; dropping a revocation or halt needs the root threshold. Several generations of
 * envelopes, policies named by hash and chains are kept beside one another. Bounded. Pure: time is passed in, saving is the
 * owner's business. One thread. Documents handed out stay valid while referenced (document_ref). */
#ifndef ENFILADE_DOCUMENTS_SHELF_H
#define ENFILADE_DOCUMENTS_SHELF_H

#include "common/documents/document.h"

#define SHELF_POLICIES_MAX 256
#define SHELF_ENVELOPES_MAX 1024
#define SHELF_CHAINS_MAX 256

struct shelf;

/* root_hash pins the first root (NULL: the first offered root is taken, for `network init` only). */
MUST_CHECK int shelf_new(const char *network, const uint8_t root_hash[HASH_LEN], struct shelf **ret);
void shelf_free(struct shelf *s);

enum shelf_outcome { SHELF_ACCEPTED, SHELF_KNOWN };
/* Errors: document_open's, ERR_EXPIRED (also not yet valid), ERR_STALE, ERR_EQUIVOCATION, ERR_DOCUMENTS (root or policy that
 * it needs is missing), ERR_FULL, ERR_CONFIG (another network). ret_document is borrowed. */
MUST_CHECK int shelf_offer(struct shelf *s, struct bytes note, const char *source, uint64_t now_ms,
                           enum shelf_outcome *ret_outcome, const struct document **ret_document, struct err *err);
/* Newest of that type and name in force, or NULL. Not judged for expiry. */
struct document *shelf_find(const struct shelf *s, enum document_type type, struct bytes name);
struct document *shelf_find_hash(const struct shelf *s, enum document_type type, const uint8_t hash[HASH_LEN]);
void shelf_each(const struct shelf *s, void (*visit)(void *arg, struct document *d), void *arg);

/* Is everything there and fresh: root, roster, inventory, status unexpired, and not older than the status says?
 * ERR_STATUS, ERR_EXPIRED, ERR_STALE, ERR_DOCUMENTS. */
MUST_CHECK int shelf_fresh(const struct shelf *s, uint64_t now_ms, struct err *err);

#endif
