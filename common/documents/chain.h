/* chain: is this chain admissible, and which one shall we take?
 *
 * chain_check is the one pure function that every node and every workload runs on a chain; chain_generate chooses among
 * the admissible ones. */
#ifndef ENFILADE_DOCUMENTS_CHAIN_H
#define ENFILADE_DOCUMENTS_CHAIN_H

#include "common/documents/document.h"

struct chain_world {
    const struct document *policy, *envelope, *roster, *status;
};

/* All documents of one network and unexpired; the status names this version of the policy; the policy may open the
 * envelope (its owner is the policy's, and the envelope names the policy by hash or its owner signed the policy); both
 * list the operation, stage names and order are equal in all three, members are the envelope's (slot and node), `need`
 * equals the envelope's and is not below the policy's, at least `need` members, member filters, diversity, no node and
 * no seal key in more than one slot, roster seal key and profile equal the envelope's, nobody revoked, generation not
 * withdrawn, no halt, not_after in (now, now + chain_lifetime]. Errors: ERR_CHAIN, ERR_POLICY, ERR_REVOKED, ERR_HALTED,
 * ERR_EXPIRED; text says which rule. */
MUST_CHECK int chain_check(const struct chain_world *w, const struct document *chain, uint64_t now_ms, struct err *err);

struct chain_hint {
    name_text node;
    bool down;
    uint64_t latency_ms;
}; /* observed health, only used for ranking */
/* Deterministic. Result passes chain_check (run on it, its errors) or an error says which stage has too few members
 * (ERR_UNAVAILABLE). Members that are up come first, then those of least latency, then by slot. lifetime_ms 0, or more
 * than the policy allows: as long as it allows, less a minute (a tenth of short ones) for clocks that read less than
 * ours. ret_text is initialised here. */
MUST_CHECK int chain_generate(const struct chain_world *w, const char *operation, uint64_t now_ms, uint64_t lifetime_ms,
                              const struct chain_hint *hints, size_t hint_count, struct buf *ret_text, struct err *err);

#endif
