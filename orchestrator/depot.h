/* depot: the documents of this client: from its folder, its state and the configuration servers.
 *
 * Everything signed goes through one shelf (common/documents/shelf.h), which decides what is in force. What the shelf
 * accepts is written to the state folder, so versions never go back over restarts either. Chains are nobody's word:
 * they are only kept as text for chain_check. One thread; fetching runs on the caller's loop. */
#ifndef ENFILADE_ORCHESTRATOR_DEPOT_H
#define ENFILADE_ORCHESTRATOR_DEPOT_H

#include "common/documents/chain.h"
#include "common/documents/shelf.h"
#include "orchestrator/config.h"
#include "orchestrator/fetch.h"

#define DEPOT_FILES_MAX 4096

struct depot;

/* Reads root file, state and documents folder. device false: for tools that dial nobody (no device key needed).
 * Errors: ERR_CONFIG, ERR_NOT_FOUND, ERR_IO and those of the root document. */
MUST_CHECK int depot_open(const struct client_config *config, uv_loop_t *loop, bool device, struct depot **ret,
                          struct err *err);
void depot_close(struct depot *d);
/* Offers every document in a folder to a shelf, in the right order, expired ones too (as they were when they were
 * valid), chains not. For operators' tools that make the next version. */
MUST_CHECK int depot_load(struct shelf *shelf, const char *folder, struct err *err);
struct shelf *depot_shelf(struct depot *d);
/* The context that trusts exactly the identities of the roster in force; borrowed until the next call. ERR_DOCUMENTS.
 */
MUST_CHECK int depot_tls(struct depot *d, struct tls_context **ret, struct err *err);
/* Offer one signed note; SHELF_KNOWN, also for one older than ours, is success. */
MUST_CHECK int depot_offer(struct depot *d, struct bytes note, const char *source, struct err *err);

/* Ask the configuration servers in turn until one answers, at last the node `also` (NULL: nobody), since any node may
 * serve what certifies itself; what it sends is offered to the shelf. done fires once, from the loop or from inside the
 * call (err NULL: one answered). ERR_BUSY while another fetch runs; ERR_UNAVAILABLE when no server is configured. */
typedef void (*depot_done)(void *arg, const struct err *err);
MUST_CHECK int depot_fetch(struct depot *d, const struct fetch_want *wants, size_t count, const char *also,
                           depot_done done, void *arg, struct err *err);
void depot_cancel(struct depot *d); /* the running fetch, if any: done does not fire */
/* The same, run to its end here. */
MUST_CHECK int depot_fetch_now(struct depot *d, const struct fetch_want *wants, size_t count, const char *also,
                               struct err *err);

/* The last fetched chain text, or a chain of this operation from the documents folder; empty when there is none. */
struct bytes depot_chain(const struct depot *d, const char *operation);
/* The last fetched envelope note (not verified: it waits for its policy), else empty. */
struct bytes depot_envelope(const struct depot *d);

/* The last document that a server sent and the shelf refused (code 0: none since the last fetch began). */
const struct err *depot_refusal(const struct depot *d);

uint64_t now_ms(void); /* UTC, ms since the epoch */

#endif
