/* keys: the six keys of a node: their one table, creation, comparison with what the token holds, session copies.
 *
 * Every usage attribute is written when a key is made and read back at every start. Keys stay MODIFIABLE (SoftHSM
 * refuses to copy others) with a single ALLOWED_MECHANISMS, which cannot be changed, is inherited by copies and
 * enforced; the session copies that serve are not modifiable. */
#ifndef ENFILADE_NODE_TOKEN_KEYS_H
#define ENFILADE_NODE_TOKEN_KEYS_H

#include "common/crypto/ec.h"
#include "node/token/pkcs11.h"

/* X(name, label, token, usage, mechanism, public key length) */
#define KEY_TABLE(X)                                                                                                   \
    X(IDENTITY, "identity", MAIN, SIGN, CKM_ECDSA, EC_POINT_LEN)                                                       \
    X(KEM, "kem", MAIN, DERIVE, CKM_ECDH1_DERIVE, EC_POINT_LEN)                                                        \
    X(SEAL, "seal", MAIN, DERIVE, CKM_ECDH1_DERIVE, EC_POINT_LEN)                                                      \
    X(PEER, "peer", MAIN, DERIVE, CKM_ECDH1_DERIVE, EC_POINT_LEN)                                                      \
    X(LOG, "log", LOG, SIGN, CKM_EDDSA, ED25519_PUBLIC_LEN)                                                            \
    X(MIRROR, "mirror", LOG, SIGN, CKM_EDDSA, ED25519_PUBLIC_LEN)
enum key {
#define KEY_ENUM(name, label, token, usage, mechanism, len) KEY_##name,
    KEY_TABLE(KEY_ENUM)
#undef KEY_ENUM
        KEY_COUNT
};

struct keys {
    CK_OBJECT_HANDLE private[KEY_COUNT];     /* session copies */
    uint8_t public[KEY_COUNT][EC_POINT_LEN]; /* points; Ed25519 keys take the first 32 bytes */
};
struct bytes keys_public(const struct keys *k, enum key key);

/* Makes all keys in two empty tokens (sessions opened for writing). ERR_TOKEN. */
MUST_CHECK int keys_create(struct pkcs11 *p, struct err *err);
/* Compares every attribute of every key, refuses private or secret keys that are not in the table, reads the public
 * keys, makes the session copies and compares those too. ERR_KEYS names key and attribute; ERR_TOKEN. */
MUST_CHECK int keys_load(struct pkcs11 *p, struct keys *ret, struct err *err);

#endif
