/* receipt: writes and checks C2SP tlog-proofs. */
#include "common/ledger/receipt.h"
#include "common/ledger/lines.h"
#include <inttypes.h>
#include <string.h>

#define HEADER "c2sp.org/tlog-proof@v1"
#define INDEX "index "

void receipt_make(uint64_t index, const uint8_t (*proof)[HASH_LEN], unsigned count, struct bytes checkpoint,
                  struct buf *ret)
{
    buf_printf(ret, HEADER "\n" INDEX "%" PRIu64 "\n", index);
    for (unsigned i = 0; i < count; i++) {
        buf_base64(ret, BYTES(proof[i], HASH_LEN));
        buf_str(ret, "\n");
    }
    buf_str(ret, "\n");
    buf_put(ret, checkpoint);
}

struct parsed {
    uint64_t index;
    unsigned count;
    uint8_t proof[MERKLE_PROOF_MAX][HASH_LEN];
    struct bytes checkpoint;
};

static int parse_index(struct bytes line, uint64_t *ret)
{
    const size_t len = strlen(INDEX);
    if (line.len <= len || memcmp(line.p, INDEX, len) != 0)
        return ERR_FORMAT;
    return line_u64(BYTES(line.p + len, line.len - len), ret);
}

static int parse(struct bytes receipt, struct parsed *ret, struct err *err)
{
    struct cursor c = {receipt};
    struct bytes line;
    if (receipt.len > RECEIPT_MAX)
        return err_set(err, ERR_FORMAT, "receipt: %zu bytes, more than %d", receipt.len, RECEIPT_MAX);
    if (cursor_line(&c, &line) != 0 || !bytes_is(line, HEADER))
        return err_set(err, ERR_FORMAT, "receipt: the first line is not " HEADER);
    if (cursor_line(&c, &line) != 0 || parse_index(line, &ret->index) != 0)
        return err_set(err, ERR_FORMAT, "receipt: the second line is no index");
    for (ret->count = 0;; ret->count++) {
        if (cursor_line(&c, &line) != 0)
            return err_set(err, ERR_FORMAT, "receipt: it ends within the proof");
        if (line.len == 0)
            break;
        if (ret->count == MERKLE_PROOF_MAX || line_hash(line, ret->proof[ret->count]) != 0)
            return err_set(err, ERR_FORMAT, "receipt: line %u of the proof is no hash, or one too many",
                           ret->count + 1);
    }
    ret->checkpoint = c.left;
    return 0;
}

int receipt_verify(struct bytes receipt, struct bytes entry, const struct note_key *log_key, uint64_t *ret_index,
                   struct checkpoint *ret_checkpoint, struct err *err)
{
    struct parsed p;
    struct checkpoint c;
    uint8_t leaf[HASH_LEN];
    TRY(parse(receipt, &p, err));
    TRY(checkpoint_open(p.checkpoint, log_key, &c, err));
    merkle_leaf(entry, leaf);
    if (merkle_verify_inclusion(leaf, p.index, c.size, (const uint8_t(*)[HASH_LEN])p.proof, p.count, c.root) != 0)
        return err_set(err, ERR_PROOF, "receipt: the entry is not number %" PRIu64 " of %" PRIu64 " in %s", p.index,
                       c.size, c.origin);
    *ret_index = p.index;
    *ret_checkpoint = c;
    return 0;
}
