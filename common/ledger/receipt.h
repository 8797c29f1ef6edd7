/* receipt: C2SP tlog-proof: this entry is in that log.
 *
 *   c2sp.org/tlog-proof@v1\n  index N\n  one base64 hash per line\n  \n  checkpoint note
 */
#ifndef ENFILADE_LEDGER_RECEIPT_H
#define ENFILADE_LEDGER_RECEIPT_H

#include "common/ledger/checkpoint.h"

#define RECEIPT_MAX 16384

void receipt_make(uint64_t index, const uint8_t (*proof)[HASH_LEN], unsigned count, struct bytes checkpoint,
                  struct buf *ret);
/* entry: its bytes; the proof must hold for merkle_leaf(entry). ERR_FORMAT, ERR_SIGNATURE, ERR_PROOF. */
MUST_CHECK int receipt_verify(struct bytes receipt, struct bytes entry, const struct note_key *log_key,
                              uint64_t *ret_index, struct checkpoint *ret_checkpoint, struct err *err);

#endif
