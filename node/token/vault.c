/* vault: open a token for serving, and sign with it. */
#include "node/token/vault.h"
#include "node/token/softhsm.h"
#include <string.h>
#include <unistd.h>

static int enter(const struct tokend_config *c, struct vault *v, struct err *err)
{
    struct secret *pin = NULL;
    TRY(pkcs11_pin(c->pin_file, &pin, err));
    int rc = pkcs11_load(c, &v->p, err);
    if (rc == 0)
        rc = pkcs11_login(&v->p, c, pin, false, err);
    secret_free(pin);
    return rc == 0 ? keys_load(&v->p, &v->keys, err) : rc;
}

int vault_open(const struct tokend_config *c, struct vault *ret, struct err *err)
{
    if (c->profile != VAULT_PROFILE)
        return err_set(err, ERR_CONFIG, "profile: %llu is not built in; this tokend has profile %d",
                       (unsigned long long)c->profile, VAULT_PROFILE);
    memset(ret, 0, sizeof(*ret));
    struct tokend_config mine;
    TRY(softhsm_copy(c, &mine, err));
    int rc = enter(&mine, ret, err);
    softhsm_drop(c, getpid()); /* from here on there are session objects only */
    return rc;
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
