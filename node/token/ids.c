/* ids: the id field that every message between node and tokend has. */
#include "node/token/ids.h"
#include <stddef.h>

#define ID(name, field)                                                                                                \
    case MESSAGE_##name:                                                                                               \
        return &m->field.id

uint64_t *ids_of(struct message *m)
{
    switch ((unsigned)m->type) {
        ID(TOKEN_RELEASE, token_release);
        ID(TOKEN_ANSWER, token_answer);
        ID(TOKEN_SIGN, token_sign);
        ID(TOKEN_SIGNATURE, token_signature);
        ID(TOKEN_LEAF, token_leaf);
        ID(TOKEN_CERTIFICATE, token_certificate);
        ID(TOKEN_PUBLIC_GET, token_public_get);
        ID(TOKEN_PUBLIC, token_public);
        ID(TOKEN_FAILURE, token_failure);
        ID(TOKEN_DIED, token_died);
    default:
        return NULL;
    }
}
