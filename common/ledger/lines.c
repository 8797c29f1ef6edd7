/* lines: strict decimal numbers and base64 hashes. */
#include "common/ledger/lines.h"

int line_u64(struct bytes line, uint64_t *ret)
{
    uint64_t v = 0;
    if (line.len == 0 || line.len > 20 || (line.len > 1 && line.p[0] == '0'))
        return ERR_FORMAT;
    for (size_t i = 0; i < line.len; i++) {
        if (line.p[i] < '0' || line.p[i] > '9')
            return ERR_FORMAT;
        uint64_t digit = (uint64_t)(line.p[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return ERR_FORMAT;
        v = v * 10 + digit;
    }
    *ret = v;
    return 0;
}

int line_hash(struct bytes line, uint8_t ret[HASH_LEN])
{
    size_t len = 0;
    if (base64_decode(line, ret, HASH_LEN, &len) != 0 || len != HASH_LEN)
        return ERR_FORMAT;
    return 0;
}
