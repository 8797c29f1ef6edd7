/* text: strict converters from strings to values. */
#include "common/base/clock.h"
#include "common/base/yaml.h"
#include <stdlib.h>
#include <string.h>

static int missing(const char *field, struct err *err)
{
    return err_set(err, ERR_FORMAT, "%s: missing; add this key", field);
}

static bool decimal(const char *text, uint64_t *ret)
{
    size_t len = strlen(text);
    if (len == 0 || len > 20 || (text[0] == '0' && len > 1))
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *ret = v;
    return true;
}

int text_u64(const char *text, const char *field, uint64_t min, uint64_t max, uint64_t *ret, struct err *err)
{
    uint64_t v;
    if (text == NULL)
        return missing(field, err);
    if (!decimal(text, &v))
        return err_set(err, ERR_FORMAT, "%s: '%.40s' is not a decimal number", field, text);
    if (v < min || v > max)
        return err_set(err, ERR_FORMAT, "%s: %s is not between %llu and %llu", field, text, (unsigned long long)min,
                       (unsigned long long)max);
    *ret = v;
    return 0;
}

int text_hex(const char *text, const char *field, uint8_t *ret, size_t len, struct err *err)
{
    if (text == NULL)
        return missing(field, err);
    if (hex_decode(bytes_str(text), ret, len) != 0)
        return err_set(err, ERR_FORMAT, "%s: must be %zu bytes as lower-case hex", field, len);
    return 0;
}

int text_base64(const char *text, const char *field, size_t max, struct buf *ret, struct err *err)
{
    buf_init(ret, max);
    if (text == NULL)
        return missing(field, err);
    size_t room = strlen(text) / 4 * 3 + 3, len = 0;
    uint8_t *raw = malloc(room);
    if (raw == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    int rc = base64_decode(bytes_str(text), raw, room, &len);
    if (rc == 0) {
        buf_put(ret, BYTES(raw, len));
        rc = buf_ok(ret) ? 0 : ERR_TOO_LONG;
    }
    free(raw);
    if (rc == 0)
        return 0;
    buf_done(ret);
    if (rc == ERR_TOO_LONG)
        return err_set(err, ERR_FORMAT, "%s: more than %zu bytes", field, max);
    return err_set(err, ERR_FORMAT, "%s: not base64 (padded, without spaces)", field);
}

int text_base64_exact(const char *text, const char *field, uint8_t *ret, size_t len, struct err *err)
{
    struct buf raw;
    TRY(text_base64(text, field, strlen(text != NULL ? text : "") + 4, &raw, err));
    int rc = 0;
    if (raw.len == len && len > 0)
        memcpy(ret, raw.p, len);
    else
        rc = err_set(err, ERR_FORMAT, "%s: holds %zu bytes, must be %zu", field, raw.len, len);
    buf_done(&raw);
    return rc;
}

int text_time(const char *text, const char *field, uint64_t *ret_ms, struct err *err)
{
    if (text == NULL)
        return missing(field, err);
    if (clock_parse(text, ret_ms) != 0)
        return err_set(err, ERR_FORMAT, "%s: '%.40s' is not a time like 2026-11-24T19:00:00Z", field, text);
    return 0;
}

bool name_ok(struct bytes name)
{
    if (name.len == 0 || name.len > NAME_MAX_LEN)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!word && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return false;
    }
    return true;
}

int text_name(const char *text, const char *field, struct err *err)
{
    if (text == NULL)
        return missing(field, err);
    if (!name_ok(bytes_str(text)))
        return err_set(err, ERR_FORMAT, "%s: '%.70s' is not a name: 1 to %d of a-z 0-9 . _ -, first a letter or digit",
                       field, text, NAME_MAX_LEN);
    return 0;
}
