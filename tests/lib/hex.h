/* hex: bytes and secrets from hex literals, for tests. */
#ifndef ENFILADE_TESTS_LIB_HEX_H
#define ENFILADE_TESTS_LIB_HEX_H

#include "common/base/secret.h"
#include <string.h>

/* Ends the process for anything that is not lower-case hex or longer than max. */
static inline size_t unhex(const char *text, uint8_t *ret, size_t max)
{
    size_t len = strlen(text) / 2;
    if (len > max || hex_decode(bytes_str(text), ret, len) != 0)
        __builtin_trap();
    return len;
}

static inline struct secret *secret_hex(const char *text)
{
    struct secret *s = NULL;
    if (secret_new(strlen(text) / 2, &s) != 0)
        __builtin_trap();
    (void)unhex(text, secret_write(s), secret_len(s));
    return s;
}

#endif
