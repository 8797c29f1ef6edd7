/* fetch: one question to one configuration server: give me these documents.
 *
 * Nothing in the answer is believed here: documents certify themselves (shelf_offer), chains are judged by chain_check.
 */
#ifndef ENFILADE_ORCHESTRATOR_FETCH_H
#define ENFILADE_ORCHESTRATOR_FETCH_H

#include "orchestrator/dial.h"

#define FETCH_WANTS_MAX 16
#define FETCH_ANSWER_MS 3000

struct fetch;

struct fetch_want { /* newest of type and name, or the one with this hash */
    enum document_type type;
    char name[NAME_MAX_LEN + 1];
    bool by_hash;
    uint8_t hash[HASH_LEN];
};

/* documents: a DOCUMENTS message, valid during the call; NULL when err says why not. Once, from the loop. */
typedef void (*fetch_done)(void *arg, const struct msg_documents *documents, const struct err *err);

MUST_CHECK int fetch_start(uv_loop_t *loop, struct tls_context *tls, const struct dial_target *server,
                           const struct fetch_want *wants, size_t count, fetch_done done, void *arg, struct fetch **ret,
                           struct err *err);
void fetch_free(struct fetch *f); /* cancels; NULL is fine; also needed after done */

#endif
