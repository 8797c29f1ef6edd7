/* checkpoint: the three lines of a C2SP tlog-checkpoint. */
#include "common/ledger/checkpoint.h"
#include "common/ledger/lines.h"
#include <inttypes.h>
#include <string.h>

void checkpoint_text(const struct checkpoint *c, struct buf *ret_text)
{
    buf_printf(ret_text, "%s\n%" PRIu64 "\n", c->origin, c->size);
    buf_base64(ret_text, BYTES_OF(c->root));
    buf_str(ret_text, "\n");
}

/* No spaces, no '+', printable: the name of a note key. */
static bool is_origin(struct bytes line)
{
    if (line.len == 0 || line.len > NOTE_NAME_MAX)
        return false;
    for (size_t i = 0; i < line.len; i++)
        if (line.p[i] <= 0x20 || line.p[i] > 0x7e || line.p[i] == '+')
            return false;
    return true;
}

int checkpoint_parse(struct bytes text, struct checkpoint *ret, struct err *err)
{
    struct cursor c = {text};
    struct bytes origin, size, root;
    if (text.len > CHECKPOINT_MAX || cursor_line(&c, &origin) != 0 || cursor_line(&c, &size) != 0 ||
        cursor_line(&c, &root) != 0)
        return err_set(err, ERR_FORMAT, "checkpoint: it has not three lines");
    if (c.left.len != 0)
        return err_set(err, ERR_FORMAT, "checkpoint: extension lines are not accepted");
    struct checkpoint out = {.size = 0};
    if (!is_origin(origin))
        return err_set(err, ERR_FORMAT, "checkpoint: line 1 is no origin");
    memcpy(out.origin, origin.p, origin.len);
    if (line_u64(size, &out.size) != 0)
        return err_set(err, ERR_FORMAT, "checkpoint: line 2 is no size");
    if (line_hash(root, out.root) != 0)
        return err_set(err, ERR_FORMAT, "checkpoint: line 3 is no root");
    *ret = out;
    return 0;
}

int checkpoint_open(struct bytes note, const struct note_key *log_key, struct checkpoint *ret, struct err *err)
{
    struct bytes text;
    struct checkpoint out;
    bool has_signed = false;
    if (note.len > CHECKPOINT_MAX)
        return err_set(err, ERR_FORMAT, "checkpoint: %zu bytes, more than %d", note.len, CHECKPOINT_MAX);
    int rc = note_verify(note, log_key, 1, &has_signed, &text, err);
    if (rc != 0)
        return err_wrap(err, rc, "checkpoint");
    if (!has_signed)
        return err_set(err, ERR_SIGNATURE, "checkpoint: not signed by %s", log_key->name);
    TRY(checkpoint_parse(text, &out, err));
    if (strcmp(out.origin, log_key->name) != 0)
        return err_set(err, ERR_SIGNATURE, "checkpoint: of %s, but signed by %s", out.origin, log_key->name);
    *ret = out;
    return 0;
}
