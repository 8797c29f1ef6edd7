/* vault: the opened token of one worker: module, sessions, key copies, and the ECDH halves kept per neighbour.
 *
 * Single-threaded. Session objects are destroyed on every path; SoftHSM leaks a little for each all the same, which is
 * why a worker leaves after some thousand requests. */
#ifndef ENFILADE_NODE_TOKEN_VAULT_H
#define ENFILADE_NODE_TOKEN_VAULT_H

#include "common/crypto/hash.h"
#include "node/token/keys.h"
#include "node/token/request.h"

#define VAULT_PROFILE 1   /* the one profile of derive that is built: SoftHSM, nShield */
#define VAULT_PEER_MAX 64 /* neighbours whose ECDH half stays in the token; the least recently used one goes */

struct vault {
    struct pkcs11 p;
    struct keys keys;
    struct {
        uint8_t point[EC_POINT_LEN];
        CK_OBJECT_HANDLE z; /* 0: free */
        uint64_t used;
    } peer[VAULT_PEER_MAX];
    uint64_t tick;
    bool stuck; /* an object could not be destroyed: the process should end */
};

/* Loads the module, reads the PIN (wiped after the login), logs in, compares all keys, makes the copies. On an error
 * the process is to end. ERR_VERSION (profile), ERR_CONFIG, ERR_NOT_FOUND, ERR_KEYS, ERR_TOKEN. */
MUST_CHECK int vault_open(const struct tokend_config *c, struct vault *ret, struct err *err);

/* Ed25519 signature with `log` or `mirror`. ERR_TOKEN. */
MUST_CHECK int vault_sign(struct vault *v, enum key key, struct bytes data, uint8_t ret_sig[ED25519_SIGNATURE_LEN],
                          struct err *err);

/* What the canary and request_check need to know of ourselves; views into c and v. */
struct request_self vault_self(const struct vault *v, const struct tokend_config *c);

#endif
