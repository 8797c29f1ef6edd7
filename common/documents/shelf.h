/* shelf: the documents in force at one program, and the rules by which a new one replaces an old one.
 *
 * Versions only grow; the first of two equal versions stays and the other is reported as equivocation; a root that
 * replaces a role's keys resets that role's floors; dropping a revocation or halt needs the root threshold. Several
 * generations of envelopes, policies named by hash and chains are kept beside one another. Bounded. Pure: time is
 * passed in, saving is the owner's business. One thread. Documents handed out stay valid while referenced
 * (document_ref). */
#ifndef ENFILADE_DOCUMENTS_SHELF_H
#define ENFILADE_DOCUMENTS_SHELF_H

#include "common/documents/document.h"

#define SHELF_ROOTS_MAX                                                                                                \
    64 /* all roots from the first one on: whoever holds an older one needs each that signed the next */
#define SHELF_POLICIES_MAX 256
#define SHELF_ENVELOPES_MAX 1024
#define SHELF_CHAINS_MAX 256

struct shelf;

/* root_hash pins the first root (NULL: the first offered root is taken, for `network init` only). */
MUST_CHECK int shelf_new(const char *network, const uint8_t root_hash[HASH_LEN], struct shelf **ret);
void shelf_free(struct shelf *s);

#define SHELF_SKEW_MS (5u * 60u * 1000u) /* how far ahead of our clock an issuer's may be */

enum shelf_outcome { SHELF_ACCEPTED, SHELF_KNOWN };
/* Errors: document_open's, ERR_EXPIRED (also not yet valid; a root may have expired, shelf_fresh tells), ERR_STALE
 * (also a withdrawn envelope), ERR_EQUIVOCATION (also a device id taken over), ERR_THRESHOLD (also a status that drops
 * a revocation, halt or withdrawal without the root threshold), ERR_DOCUMENTS (root or policy that it needs is
 * missing), ERR_FULL, ERR_CONFIG (another network). ret_document is borrowed. A policy that is on the shelf is accepted
 * again when more of its owners signed it. A policy older than the newest of its name is accepted when the status or an
 * envelope on the shelf names it. */
MUST_CHECK int shelf_offer(struct shelf *s, struct bytes note, const char *source, uint64_t now_ms,
                           enum shelf_outcome *ret_outcome, const struct document **ret_document, struct err *err);
/* The same for documents that this program had accepted before it stopped: not judged for time, so that an expired
 * document still sets the floor for the next. Offer them in the order of shelf_each. */
MUST_CHECK int shelf_restore(struct shelf *s, struct bytes note, const char *source, enum shelf_outcome *ret_outcome,
                             const struct document **ret_document, struct err *err);
/* Opening a document takes milliseconds: here it can be done elsewhere, between two calls on the shelf's thread. */
#define SHELF_POLICY_JUDGES_MAX 32
struct shelf_judges {
    struct document *root, *policy[SHELF_POLICY_JUDGES_MAX]; /* referenced; policies: those that the claim names */
    size_t policy_count;
};
/* Who would judge this note now? False: nobody needs to, a document with this hash is held, or a newer one. */
bool shelf_judges(const struct shelf *s, const struct document_claim *claim, const uint8_t hash[HASH_LEN],
                  struct shelf_judges *ret);
void shelf_judges_done(struct shelf_judges *j); /* on the shelf's thread */
/* On any thread; document_open's errors. ret_policy: whose owner signed it, or NULL. */
MUST_CHECK int shelf_judges_open(const struct shelf_judges *j, struct bytes note, const char *source,
                                 struct document **ret, const struct document **ret_policy, struct err *err);
/* shelf_offer for what shelf_judges_open opened; opened again if the judges changed meanwhile. d stays the caller's. */
MUST_CHECK int shelf_offer_opened(struct shelf *s, struct document *d, const struct shelf_judges *j,
                                  const struct document *policy, const char *source, uint64_t now_ms,
                                  enum shelf_outcome *ret_outcome, const struct document **ret_document,
                                  struct err *err);
/* Newest of that type and name in force, or NULL. Not judged for expiry. */
struct document *shelf_find(const struct shelf *s, enum document_type type, struct bytes name);
struct document *shelf_find_hash(const struct shelf *s, enum document_type type, const uint8_t hash[HASH_LEN]);
/* That owner's newest generation, or NULL: an id alone may be another owner's. */
struct document *shelf_find_envelope(const struct shelf *s, const uint8_t owner[ED25519_PUBLIC_LEN],
                                     const uint8_t id[ENVELOPE_ID_LEN]);
/* In the order in which another shelf can take them: roots (oldest first), roster, inventory, policies, envelopes,
 * status, chains. */
void shelf_each(const struct shelf *s, void (*visit)(void *arg, struct document *d), void *arg);

/* Is everything there and fresh: root, roster, inventory, status unexpired, and not older than the status says?
 * ERR_STATUS, ERR_EXPIRED, ERR_STALE, ERR_DOCUMENTS. */
MUST_CHECK int shelf_fresh(const struct shelf *s, uint64_t now_ms, struct err *err);

#endif
