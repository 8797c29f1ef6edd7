/* harvest: is this Release good, and what is in it? The workload's checks before it uses an answer, then share and
 * tags.
 *
 * Link, entry and receipt are judged as the next node would (common/ledger/links.h), the last stage's too, since nobody
 * does it after us. Then the share must match its commitment, and there must be one tag for every listed member of the
 * next stage. Pure: no I/O, time is passed in. */
#ifndef ENFILADE_ORCHESTRATOR_HARVEST_H
#define ENFILADE_ORCHESTRATOR_HARVEST_H

#include "common/documents/document.h"
#include "common/ledger/links.h"
#include "common/walk/share.h"

/* What one member gave. */
struct harvested {
    unsigned slot;
    name_text node;
    struct buf body, entry, receipt; /* the link */
    uint8_t link_hash[HASH_LEN];
    uint64_t entry_index;
    char factors[512]; /* met, comma separated */
    struct secret *share;
    struct secret
        *tag[SLOT_MAX + 1]; /* for the next stage's member in this slot; NULL for others and in the last stage */
};
void harvest_init(struct harvested *g);
void harvest_forget(struct harvested *g); /* wipes share and tags, keeps the link */
void harvest_done(struct harvested *g);

struct harvest_order {
    const struct links_expect *expect; /* stages may be empty: what binds all links of this session */
    const struct ec_key *e;
    const struct document *chain, *envelope; /* checked: chain_check */
    const struct roster_node *node;
    unsigned stage, slot;             /* from 1 */
    const uint8_t *prevhash;          /* [32] */
    const struct harvested *previous; /* of the stage before, in slot order */
    size_t previous_count;
};

/* On success *g (harvest_init'ed) is filled. Errors: those of link_check; ERR_FORMAT, ERR_SIGNATURE (does not unwrap),
 * ERR_COMMITMENT. After an error *g must still be harvest_done'd. */
MUST_CHECK int harvest(const struct harvest_order *o, const struct msg_link *link, struct bytes answer,
                       struct harvested *g, struct err *err);

/* The envelope's member in this slot of this stage (from 1), or NULL. */
const struct envelope_member *harvest_member(const struct document *envelope, unsigned stage, unsigned slot);

#endif
