/* vault: open a token for serving, and sign with it. */
#include "node/token/vault.h"
#include <string.h>
#include <unistd.h>

static int enter(const struct tokend_config *c, struct pkcs11 *p, struct err *err)
{
    int turn;
    struct secret *pin = NULL;
    TRY(pkcs11_turn(c, &turn, err));
    int rc = pkcs11_pin(c->pin_file, &pin, err);
    if (rc == 0)
        rc = pkcs11_load(c, p, err);
    if (rc == 0)
        rc = pkcs11_login(p, c, pin, false, err);
    secret_free(pin);
    (void)close(turn);
    return rc;
}

int vault_open(const struct tokend_config *c, struct vault *ret, struct err *err)
{
    if (c->profile != VAULT_PROFILE)
        return err_set(err, ERR_VERSION, "profile: %llu is not built in; this tokend has profile %d",
                       (unsigned long long)c->profile, VAULT_PROFILE);
    memset(ret, 0, sizeof(*ret));
    TRY(enter(c, &ret->p, err));
    return keys_load(&ret->p, &ret->keys, err);
}

int vault_sign(struct vault *v, enum key key, struct bytes data, uint8_t ret_sig[ED25519_SIGNATURE_LEN],
               struct err *err)
{
    CK_MECHANISM m = {CKM_EDDSA, NULL, 0};
    CK_SESSION_HANDLE s = v->p.session[PKCS11_LOG];
    uint8_t sig[ED25519_SIGNATURE_LEN];
    CK_ULONG len = sizeof(sig);
    TRY(pkcs11_ok(v->p.call->C_SignInit(s, &m, v->keys.private[key]), err, "C_SignInit"));
    TRY(pkcs11_ok(v->p.call->C_Sign(s, (CK_BYTE *)(uintptr_t)data.p, data.len, sig, &len), err, "C_Sign"));
    if (len != sizeof(sig))
        return err_set(err, ERR_TOKEN, "C_Sign made %lu bytes", len);
    memcpy(ret_sig, sig, sizeof(sig));
    return 0;
}

struct request_self vault_self(const struct vault *v, const struct tokend_config *c)
{
    return (struct request_self){
        .network = bytes_str(c->network),
        .node = bytes_str(c->node),
        .profile = c->profile,
        .kem = v->keys.public[KEY_KEM],
        .seal = v->keys.public[KEY_SEAL],
        .peer = v->keys.public[KEY_PEER],
    };
}
