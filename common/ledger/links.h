/* links: do the links that a walk has collected hold? Run by every node on what the workload shows, and by the workload
 * on each link it gets.
 *
 * For each earlier stage exactly `need` distinct listed members, of this very session; body, entry and receipt agree;
 * every link's prevhash is recomputed from the links before it. Pure. */
#ifndef ENFILADE_LEDGER_LINKS_H
#define ENFILADE_LEDGER_LINKS_H

#include "common/ledger/receipt.h"
#include "common/walk/link.h"

struct link_member {
    unsigned slot;
    struct bytes node;
    const struct note_key *log;
}; /* log NULL: not (or no longer) in the roster */
struct link_stage {
    unsigned need;
    const struct link_member *members;
    size_t count;
};
struct links_expect {
    struct bytes network;
    uint8_t sid[HASH_LEN], eid[HASH_LEN], chain_hash[HASH_LEN], policy_hash[HASH_LEN], envelope_hash[HASH_LEN];
    uint64_t generation;
    uint64_t now_ms, skew_ms;        /* issued not in the future, not_after not past */
    const struct link_stage *stages; /* the stages before the one that asks, in order */
    size_t stage_count;
};
/* One link with its views, after the checks. */
struct link_seen {
    uint64_t stage, slot;
    struct bytes node;      /* the member's, borrowed from the expectations */
    uint8_t hash[HASH_LEN]; /* SHA-256(body) */
    uint64_t entry_index;
};
struct links_seen {
    struct link_seen at[LINK_COUNT_MAX];
    size_t count;                            /* by stage, then slot */
    uint8_t prevhash[HASH_LEN];              /* over all of them */
    uint64_t roster_version, status_version; /* highest named by any link: fetch newer ones first */
};
/* links in order of stage, then slot; no node counts twice. ERR_LINK with the rule that failed or for whatever does not
 * parse, ERR_PROOF and ERR_SIGNATURE from receipts. Under MUTANT_LINKS=1 (tests) the function accepts whatever parses.
 */
MUST_CHECK int links_check(const struct links_expect *x, const struct msg_link *links, size_t count,
                           struct links_seen *ret, struct err *err);
/* One link from one given member (the workload's check on a Release), prevhash known. */
MUST_CHECK int link_check(const struct links_expect *x, const struct msg_link *link, uint64_t stage,
                          const struct link_member *from, const uint8_t prevhash[HASH_LEN], struct bytes answer,
                          struct link_seen *ret, struct err *err);

#endif
