/* seal: a secret into an envelope: shares for every member of every stage, sealed to the nodes' keys, signed by its
 * owner.
 *
 * No node need be online. What is sealed is checked against policy and roster first, so that an envelope that could
 * never be opened is not made. */
#ifndef ENFILADE_ORCHESTRATOR_SEAL_H
#define ENFILADE_ORCHESTRATOR_SEAL_H

#include "common/crypto/shamir.h"
#include "common/documents/chain.h"

#define SEAL_INLINE_MAX (256u * 1024u) /* bytes of a sealed payload inside the envelope */

struct seal_stage {
    name_text name;
    unsigned need;
    name_text nodes[SLOT_MAX]; /* slot 1, 2, … */
    size_t count;
};

struct seal_order {
    const char *operation;
    const struct document *policy, *roster;
    const struct document *status; /* NULL: revocations and halts are not looked at */
    uint8_t id[ENVELOPE_ID_LEN];
    uint64_t generation;
    uint64_t issued_ms, expires_ms; /* whole seconds */
    const struct seal_stage *stages;
    size_t stage_count;
    const struct ed25519_key *owner;
    /* The secret, piece by piece: fills room (64 KiB) as far as there is something; less than that is the last piece.
     */
    int (*read)(void *arg, struct secret *room, size_t *ret_len, struct err *err);
    /* The sealed payload, chunk by chunk; NULL: it goes into the envelope. */
    int (*write)(void *arg, struct bytes chunk, struct err *err);
    void *arg;
};

/* ret_note (initialised by the caller, NOTE_MAX) gets the signed envelope. Errors: ERR_POLICY (operation, owner, stages
 * or members are not what the policy admits), ERR_CHAIN, ERR_REVOKED, ERR_NOT_FOUND (no such node), ERR_TOO_LONG, what
 * read and write return. The envelope made is opened again under the policy before it is handed out. */
MUST_CHECK int seal(const struct seal_order *o, struct buf *ret_note, struct err *err);

#endif
