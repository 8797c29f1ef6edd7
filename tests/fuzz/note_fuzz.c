/* note_fuzz: signed notes from strangers, judged with one known key; what is accepted is text, an empty line,
 * signatures. */
#include "common/crypto/note.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A vkey line reads back as it was written. */
static void vkey(struct bytes input)
{
    struct note_key key, again;
    struct err err = {.code = 0};
    struct buf text, back;
    buf_init(&text, 1024);
    buf_init(&back, 1024);
    buf_put(&text, input);
    const char *line = buf_cstr(&text);
    if (line != NULL && note_key_parse(line, &key, &err) == 0) {
        note_key_text(&key, &back);
        if (note_key_parse(buf_cstr(&back), &again, &err) != 0 || !bytes_is(buf_view(&back), line))
            abort();
    }
    buf_done(&text);
    buf_done(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t public[ED25519_PUBLIC_LEN] = {7};
    struct note_key key;
    struct bytes text = BYTES_NONE, alone = BYTES_NONE;
    struct err err = {.code = 0};
    bool is_signed = false;
    if (note_key_make("example.test/key", public, &key) != 0)
        abort();
    vkey(BYTES(data, size));
    bool has_text = note_text(BYTES(data, size), &alone, &err) == 0;
    if (note_verify(BYTES(data, size), &key, 1, &is_signed, &text, &err) != 0)
        return 0;
    /* Nobody holds that key; and what is verified is the text that everybody reads. */
    if (is_signed || !has_text || text.p != data || !bytes_equal(text, alone) || text.p[text.len - 1] != '\n')
        abort();
    return 0;
}
