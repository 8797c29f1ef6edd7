/* words: copying text for people into a bounded place; what does not fit is cut. */
#ifndef ENFILADE_ORCHESTRATOR_WORDS_H
#define ENFILADE_ORCHESTRATOR_WORDS_H

#include <string.h>

static inline void words_copy(char *to, size_t size, const char *from)
{
    size_t n = strnlen(from, size - 1);
    memcpy(to, from, n);
    to[n] = '\0';
}

#endif
