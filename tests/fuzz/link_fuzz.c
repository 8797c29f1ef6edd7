/* link_fuzz: links from strangers at a door: u16be length ‖ body, u16be length ‖ entry, the rest is the receipt. */
#include "common/ledger/links.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes take(struct cursor *c)
{
    uint16_t len = 0;
    struct bytes view = BYTES_NONE;
    if (cursor_u16be(c, &len) != 0 || cursor_take(c, len, &view) != 0)
        return BYTES_NONE;
    return view;
}

static void body(struct bytes input)
{
    struct message *m = NULL;
    struct err err;
    struct buf again;
    if (link_parse(input, &m, &err) != 0)
        return;
    buf_init(&again, LINK_BODY_MAX);
    if (link_make(&m->link_body, &again, &err) != 0 || !bytes_equal(buf_view(&again), input))
        abort();
    buf_done(&again);
    message_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct note_key key;
    static const uint8_t public[ED25519_PUBLIC_LEN] = {1};
    if (key.name[0] == '\0' && note_key_make("n/n1/log", public, &key) != 0)
        abort();
    const struct link_member members[2] = {{1, bytes_str("n1"), &key}, {2, bytes_str("n2"), NULL}};
    const struct link_stage stage = {1, members, 2};
    const struct links_expect x = {
        .network = bytes_str("n"), .now_ms = 5, .skew_ms = UINT64_MAX, .stages = &stage, .stage_count = 1};
    struct cursor c = {BYTES(data, size)};
    struct msg_link link = {.body = take(&c), .entry = take(&c)};
    struct links_seen seen;
    struct link_seen one;
    struct err err;
    uint8_t prevhash[HASH_LEN];
    link.receipt = c.left;
    body(link.body);
    if (links_check(&x, &link, 1, &seen, &err) == 0)
        abort(); /* nobody holds that key */
    context_prevhash(NULL, 0, prevhash);
    if (link_check(&x, &link, 1, &members[0], prevhash, bytes_str("answer"), &one, &err) == 0)
        abort();
    return 0;
}
