/* write: renders a document's text, then has the parser judge it. */
#include "common/documents/write.h"
#include "common/documents/schema.h"

int document_write(const struct document *d, struct buf *ret_text, struct err *err)
{
    const struct schema *schema = schema_find(d->type);
    buf_init(ret_text, d->type == DOCUMENT_CHAIN ? CHAIN_MAX : DOCUMENT_MAX);
    if (schema == NULL)
        return err_set(err, ERR_VERSION, "documents of type %s are not in use yet", document_type_name(d->type));
    if (schema->write == NULL)
        return err_set(err, ERR_USAGE, "a %s is written by hand", document_type_name(d->type));
    schema->write(d, ret_text);
    if (!buf_ok(ret_text)) {
        buf_done(ret_text);
        return err_set(err, ERR_TOO_LONG, "a %s of more than %zu bytes, or out of memory", document_type_name(d->type),
                       ret_text->max);
    }
    struct document *again = NULL;
    int rc = document_parse(buf_view(ret_text), document_type_name(d->type), &again, err);
    document_unref(again);
    if (rc != 0)
        buf_done(ret_text);
    return rc;
}
