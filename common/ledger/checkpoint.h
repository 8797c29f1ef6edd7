/* checkpoint: C2SP tlog-checkpoint: a signed note of three lines: origin, size, base64 root. No extension lines.
 *
 * origin = "<network>/<node>/log", which is also the name of the signing key. */
#ifndef ENFILADE_LEDGER_CHECKPOINT_H
#define ENFILADE_LEDGER_CHECKPOINT_H

#include "common/crypto/merkle.h"
#include "common/crypto/note.h"

#define CHECKPOINT_MAX 8192 /* with up to 16 cosignatures */

struct checkpoint {
    char origin[NOTE_NAME_MAX + 1];
    uint64_t size;
    uint8_t root[HASH_LEN];
};
void checkpoint_text(const struct checkpoint *c, struct buf *ret_text);
MUST_CHECK int checkpoint_parse(struct bytes text, struct checkpoint *ret, struct err *err);
/* note signed by log_key, origin == log_key->name. ERR_FORMAT, ERR_SIGNATURE. */
MUST_CHECK int checkpoint_open(struct bytes note, const struct note_key *log_key, struct checkpoint *ret,
                               struct err *err);

#endif
