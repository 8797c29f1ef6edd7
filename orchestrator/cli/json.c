/* json: texts escaped, commas where they belong. */
#include "orchestrator/cli/json.h"
#include <inttypes.h>

static void quote(struct buf *out, struct bytes text)
{
    buf_u8(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.p[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_str(out, "\\n");
        else if (c < 0x20 || c >= 0x7f)
            buf_printf(out, "\\u%04x", c);
        else
            buf_u8(out, c);
    }
    buf_u8(out, '"');
}

static void begin(struct json *j, const char *key)
{
    if (!j->first)
        buf_u8(j->out, ',');
    j->first = false;
    if (key == NULL)
        return;
    quote(j->out, bytes_str(key));
    buf_u8(j->out, ':');
}

void json_start(struct json *j, struct buf *out)
{
    *j = (struct json){.out = out, .first = true};
}

void json_open(struct json *j, const char *key, char bracket)
{
    begin(j, key);
    buf_u8(j->out, (uint8_t)bracket);
    j->first = true;
}

void json_close(struct json *j, char bracket)
{
    buf_u8(j->out, (uint8_t)bracket);
    j->first = false;
}

void json_text(struct json *j, const char *key, const char *text)
{
    json_bytes(j, key, bytes_str(text));
}

void json_bytes(struct json *j, const char *key, struct bytes text)
{
    begin(j, key);
    quote(j->out, text);
}

void json_hex(struct json *j, const char *key, struct bytes data)
{
    begin(j, key);
    buf_u8(j->out, '"');
    buf_hex(j->out, data);
    buf_u8(j->out, '"');
}

void json_number(struct json *j, const char *key, uint64_t v)
{
    begin(j, key);
    buf_printf(j->out, "%" PRIu64, v);
}

void json_decimal(struct json *j, const char *key, double v)
{
    begin(j, key);
    buf_printf(j->out, "%.3f", v);
}

void json_flag(struct json *j, const char *key, bool v)
{
    begin(j, key);
    buf_str(j->out, v ? "true" : "false");
}
