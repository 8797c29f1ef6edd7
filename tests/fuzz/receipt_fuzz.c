/* receipt_fuzz: receipts, checkpoints and entries from strangers. */
#include "common/ledger/entry.h"
#include "common/ledger/receipt.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What parses writes the same bytes again. */
static void entry(struct bytes input)
{
    struct message *m = NULL;
    struct err err;
    struct buf again;
    if (entry_parse(input, &m, &err) != 0)
        return;
    buf_init(&again, ENTRY_MAX);
    if (entry_make(&m->entry, &again, &err) != 0 || !bytes_equal(buf_view(&again), input))
        abort();
    buf_done(&again);
    message_free(m);
}

static void checkpoint(struct bytes input)
{
    struct checkpoint c;
    struct err err;
    struct buf again;
    if (checkpoint_parse(input, &c, &err) != 0)
        return;
    buf_init(&again, CHECKPOINT_MAX);
    checkpoint_text(&c, &again);
    if (!bytes_equal(buf_view(&again), input))
        abort();
    buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct note_key key;
    static const uint8_t public[ED25519_PUBLIC_LEN] = {1};
    struct checkpoint c;
    struct err err;
    uint64_t index = 0;
    if (key.name[0] == '\0' && note_key_make("example.test/n1/log", public, &key) != 0)
        abort();
    struct bytes input = BYTES(data, size);
    (void)!receipt_verify(input, bytes_str("entry"), &key, &index, &c, &err);
    checkpoint(input);
    entry(input);
    return 0;
}
