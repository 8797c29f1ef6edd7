/* leaf: the identity key through libp11, and the leaf certificates it signs. */
#include "node/token/leaf.h"
#include "common/crypto/ec.h"
#include "common/net/identity.h"
#include "node/token/pkcs11.h"
#include <libp11.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define IDENTITY_LABEL "identity"

struct leaf_key {
    PKCS11_CTX *ctx;
    PKCS11_SLOT *slots;
    unsigned slot_count;
    EVP_PKEY *pkey;
};

void leaf_key_close(struct leaf_key *k)
{
    if (k == NULL)
        return;
    EVP_PKEY_free(k->pkey);
    if (k->slots != NULL)
        PKCS11_release_all_slots(k->ctx, k->slots, k->slot_count);
    if (k->ctx != NULL) {
        PKCS11_CTX_unload(k->ctx);
        PKCS11_CTX_free(k->ctx);
    }
    free(k);
}

void *leaf_key_pkey(struct leaf_key *k)
{
    return k->pkey;
}

static PKCS11_SLOT *find_slot(struct leaf_key *k, const char *label)
{
    for (unsigned i = 0; i < k->slot_count; i++)
        if (k->slots[i].token != NULL && k->slots[i].token->label != NULL &&
            strcmp(k->slots[i].token->label, label) == 0)
            return &k->slots[i];
    return NULL;
}

static int login(PKCS11_SLOT *slot, const struct tokend_config *c, struct err *err)
{
    struct secret *pin = NULL, *text = NULL;
    TRY(pkcs11_pin(c->pin_file, &pin, err));
    int rc = secret_new(secret_len(pin) + 1, &text); /* libp11 wants a NUL */
    if (rc == 0) {
        memcpy(secret_write(text), secret_borrow(pin).p, secret_len(pin));
        if (PKCS11_login(slot, 0, (const char *)secret_borrow(text).p) != 0) {
            int reason = ERR_GET_REASON(ERR_peek_last_error()); /* libp11 puts the token's own code there */
            if (reason == (int)CKR_PIN_INCORRECT || reason == (int)CKR_PIN_LOCKED)
                pkcs11_pin_refused();
            rc = err_set(err, ERR_TOKEN, "token %s: libp11 cannot log in", c->token);
        }
    } else {
        rc = err_set(err, rc, "pin_file: no memory");
    }
    secret_free(text);
    secret_free(pin);
    return rc;
}

static int find_key(struct leaf_key *k, PKCS11_SLOT *slot, struct err *err)
{
    PKCS11_KEY *keys = NULL;
    unsigned count = 0;
    if (PKCS11_enumerate_keys(slot->token, &keys, &count) != 0)
        return err_set(err, ERR_TOKEN, "libp11 cannot list the keys of token %s", slot->token->label);
    for (unsigned i = 0; i < count; i++)
        if (keys[i].label != NULL && strcmp(keys[i].label, IDENTITY_LABEL) == 0)
            k->pkey = PKCS11_get_private_key(&keys[i]);
    if (k->pkey == NULL)
        return err_set(err, ERR_KEYS, "token %s: libp11 finds no key \"%s\"", slot->token->label, IDENTITY_LABEL);
    return 0;
}

static int open_key(const struct tokend_config *c, struct leaf_key *k, struct err *err)
{
    TRY(pkcs11_environment(c, err));
    if ((k->ctx = PKCS11_CTX_new()) == NULL)
        return err_set(err, ERR_NOMEM, "libp11: no memory");
    if (PKCS11_CTX_load(k->ctx, c->module) != 0) {
        PKCS11_CTX_free(k->ctx); /* not loaded: must not be unloaded */
        k->ctx = NULL;
        return err_set(err, ERR_CONFIG, "module: libp11 cannot load %s", c->module);
    }
    if (PKCS11_enumerate_slots(k->ctx, &k->slots, &k->slot_count) != 0)
        return err_set(err, ERR_TOKEN, "libp11 cannot list the slots");
    PKCS11_SLOT *slot = find_slot(k, c->token);
    if (slot == NULL)
        return err_set(err, ERR_NOT_FOUND, "no token has the label \"%s\"", c->token);
    TRY(login(slot, c, err));
    return find_key(k, slot, err);
}

int leaf_key_open(const struct tokend_config *c, struct leaf_key **ret, struct err *err)
{
    struct leaf_key *k = calloc(1, sizeof(*k));
    if (k == NULL)
        return err_set(err, ERR_NOMEM, "libp11: no memory");
    int rc = open_key(c, k, err);
    if (rc != 0)
        leaf_key_close(k);
    else
        *ret = k;
    return rc;
}

int leaf_identity(const struct tokend_config *c, struct buf *ret_der, struct err *err)
{
    struct buf pem;
    buf_init(&pem, 64 * 1024);
    int rc = file_read(c->identity, pem.max, &pem, err);
    if (rc == 0)
        rc = identity_cert_from_pem(buf_view(&pem), ret_der, err);
    buf_done(&pem);
    if (rc != 0) {
        rc = err_wrap(err, rc, "identity: %s", c->identity);
        if (err != NULL)
            err->code = ERR_CONFIG;
        return ERR_CONFIG;
    }
    return 0;
}

static int check(const struct msg_token_leaf *m, uint64_t now_ms, struct err *err)
{
    static const size_t prefix = EC_SPKI_LEN - EC_POINT_LEN;
    uint8_t spki[EC_SPKI_LEN];
    if (m->spki.len != EC_SPKI_LEN || ec_point_check(BYTES(m->spki.p + prefix, EC_POINT_LEN)) != 0)
        return err_set(err, ERR_FORMAT, "leaf: the key is not a P-256 SubjectPublicKeyInfo");
    ec_point_spki(m->spki.p + prefix, spki);
    if (!bytes_equal(m->spki, BYTES_OF(spki)))
        return err_set(err, ERR_FORMAT, "leaf: the key is not a P-256 SubjectPublicKeyInfo");
    uint64_t from = m->not_before_ms, to = m->not_after_ms;
    if (from > now_ms + LEAF_SKEW_MAX_MS || from + LEAF_SKEW_MAX_MS < now_ms)
        return err_set(err, ERR_EXPIRED, "leaf: not_before is not about now");
    if (to <= from || to - from > LEAF_LIFETIME_MAX_MS)
        return err_set(err, ERR_EXPIRED, "leaf: valid for longer than 7 days, or not at all");
    return 0;
}

static int sign(struct leaf_key *k, struct bytes issuer, X509 *leaf, struct buf *ret_der, struct err *err)
{
    if (X509_sign(leaf, k->pkey, EVP_sha256()) <= 0)
        return err_set(err, ERR_TOKEN, "leaf: the identity key does not sign");
    unsigned char *der = NULL;
    int len = i2d_X509(leaf, &der);
    if (len <= 0)
        return err_set(err, ERR_NOMEM, "leaf: no memory");
    struct bytes view = BYTES(der, (size_t)len);
    int rc = 0;
    if (identity_issued(issuer, view) != 0)
        rc = err_set(err, ERR_KEYS, "leaf: the identity certificate does not belong to the token's identity key");
    else
        buf_put(ret_der, view);
    OPENSSL_free(der);
    if (rc == 0 && !buf_ok(ret_der))
        rc = err_set(err, ERR_TOO_LONG, "leaf: the certificate is too long");
    return rc;
}

int leaf_issue(struct leaf_key *k, struct bytes issuer, const char *node, const struct msg_token_leaf *m,
               uint64_t now_ms, struct buf *ret_der, struct err *err)
{
    char address[256];
    void *leaf = NULL;
    TRY(check(m, now_ms, err));
    if (m->address.len >= sizeof(address))
        return err_set(err, ERR_FORMAT, "leaf: the address is too long");
    if (m->address.len > 0)
        memcpy(address, m->address.p, m->address.len);
    address[m->address.len] = '\0';
    TRY(identity_leaf_template(issuer, m->spki, node, m->address.len > 0 ? address : NULL, false, m->not_before_ms,
                               m->not_after_ms, &leaf, err));
    int rc = sign(k, issuer, leaf, ret_der, err);
    X509_free(leaf);
    return rc;
}
