/* keys: the table of a node's keys, creation, read-back, session copies. */
#include "node/token/keys.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

enum usage { USAGE_SIGN, USAGE_DERIVE };

static const struct row {
    const char *label;
    enum pkcs11_token token;
    enum usage usage;
    CK_MECHANISM_TYPE mechanism;
    size_t public_len;
} rows[KEY_COUNT] = {
#define KEY_ROW(name, label, token, usage, mechanism, len) {label, PKCS11_##token, USAGE_##usage, mechanism, len},
    KEY_TABLE(KEY_ROW)
#undef KEY_ROW
};

static const uint8_t oid_p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}; /* secp256r1 */
static const uint8_t oid_ed25519[] = {0x06, 0x03, 0x2b, 0x65, 0x70};                            /* RFC 8410 */

/* SoftHSM answers with the other spelling of PKCS#11 3.0: PrintableString "edwards25519". */
static const uint8_t name_ed25519[] = {0x13, 0x0c, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5', '1', '9'};

/* What a flag must be, and whether it may stand in a template for generation (the others the token sets by itself). */
enum must { NO, YES, IF_SIGN, IF_DERIVE, IF_TOKEN };
struct flag {
    CK_ATTRIBUTE_TYPE type;
    const char *name;
    enum must must;
    bool written;
};
#define FLAG(name, must, written)                                                                                      \
    {                                                                                                                  \
        CKA_##name, #name, must, written                                                                               \
    }
static const struct flag private_flags[] = {
    FLAG(TOKEN, IF_TOKEN, true),
    FLAG(PRIVATE, YES, true),
    FLAG(SENSITIVE, YES, true),
    FLAG(EXTRACTABLE, NO, true),
    FLAG(DERIVE, IF_DERIVE, true),
    FLAG(SIGN, IF_SIGN, true),
    FLAG(SIGN_RECOVER, NO, true),
    FLAG(DECRYPT, NO, true),
    FLAG(UNWRAP, NO, true),
    FLAG(ALWAYS_SENSITIVE, YES, false),
    FLAG(NEVER_EXTRACTABLE, YES, false),
    FLAG(ALWAYS_AUTHENTICATE, NO, false),
    FLAG(WRAP_WITH_TRUSTED, NO, false),
    FLAG(MODIFIABLE, IF_TOKEN, true), /* last: SoftHSM refuses what follows MODIFIABLE=F */
};
static const struct flag public_flags[] = {
    FLAG(TOKEN, YES, true), FLAG(PRIVATE, NO, true), FLAG(VERIFY, IF_SIGN, true), FLAG(VERIFY_RECOVER, NO, true),
    FLAG(WRAP, NO, true),   FLAG(ENCRYPT, NO, true), FLAG(DERIVE, NO, true),      FLAG(MODIFIABLE, NO, true),
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool must_be(const struct flag *f, const struct row *row, bool copy)
{
    switch (f->must) {
    case NO:
        return false;
    case YES:
        return true;
    case IF_SIGN:
        return row->usage == USAGE_SIGN;
    case IF_DERIVE:
        return row->usage == USAGE_DERIVE;
    case IF_TOKEN:
        return !copy;
    }
    return false;
}

static bool is_ed25519(const struct row *row)
{
    return row->public_len == ED25519_PUBLIC_LEN;
}

static struct bytes row_oid(const struct row *row)
{
    return is_ed25519(row) ? BYTES_OF(oid_ed25519) : BYTES_OF(oid_p256);
}

struct bytes keys_public(const struct keys *k, enum key key)
{
    return BYTES(k->public[key], rows[key].public_len);
}

static void make_template(struct template *t, const struct row *row, uint8_t *id, bool private)
{
    const struct flag *flags = private ? private_flags : public_flags;
    size_t count = private ? COUNT(private_flags) : COUNT(public_flags);
    *id = (uint8_t)(row - rows + 1);
    template_bytes(t, CKA_LABEL, bytes_str(row->label));
    template_bytes(t, CKA_ID, BYTES(id, 1));
    if (!private)
        template_bytes(t, CKA_EC_PARAMS, row_oid(row));
    else
        template_number(t, CKA_ALLOWED_MECHANISMS, row->mechanism);
    for (size_t i = 0; i < count; i++)
        if (flags[i].written)
            template_flag(t, flags[i].type, must_be(&flags[i], row, false));
}

static int create_one(struct pkcs11 *p, const struct row *row, struct err *err)
{
    struct template public = {.count = 0}, private = {.count = 0};
    uint8_t id[2];
    make_template(&public, row, &id[0], false);
    make_template(&private, row, &id[1], true);
    CK_MECHANISM m = {is_ed25519(row) ? CKM_EC_EDWARDS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_OBJECT_HANDLE made[2];
    return pkcs11_ok(p->call->C_GenerateKeyPair(p->session[row->token], &m, public.at, public.count, private.at,
                                                private.count, &made[0], &made[1]),
                     err, "key %s: C_GenerateKeyPair", row->label);
}

int keys_create(struct pkcs11 *p, struct err *err)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        TRY(create_one(p, &rows[i], err));
    return 0;
}

/* All objects of the session's token that match; at most max. */
static int find(struct pkcs11 *p, CK_SESSION_HANDLE session, struct template *t, CK_OBJECT_HANDLE *ret, CK_ULONG max,
                CK_ULONG *ret_count, struct err *err)
{
    TRY(pkcs11_ok(p->call->C_FindObjectsInit(session, t->at, t->count), err, "C_FindObjectsInit"));
    CK_RV rv = p->call->C_FindObjects(session, ret, max, ret_count);
    CK_RV final = p->call->C_FindObjectsFinal(session);
    TRY(pkcs11_ok(rv, err, "C_FindObjects"));
    return pkcs11_ok(final, err, "C_FindObjectsFinal");
}

static int find_one(struct pkcs11 *p, const struct row *row, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *ret,
                    struct err *err)
{
    struct template t = {.count = 0};
    template_number(&t, CKA_CLASS, class);
    template_bytes(&t, CKA_LABEL, bytes_str(row->label));
    CK_OBJECT_HANDLE at[2];
    CK_ULONG count = 0;
    TRY(find(p, p->session[row->token], &t, at, 2, &count, err));
    if (count != 1)
        return err_set(err, ERR_KEYS, "key %s: the token holds %s %s key", row->label,
                       count == 0 ? "no" : "more than one", class == CKO_PRIVATE_KEY ? "private" : "public");
    *ret = at[0];
    return 0;
}

/* Reads one attribute into value[max]; a token that does not know it answers with *ret_len = 0. */
static int read_attribute(struct pkcs11 *p, CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type,
                          void *value, size_t max, size_t *ret_len, struct err *err)
{
    CK_ATTRIBUTE a = {type, value, max};
    CK_RV rv = p->call->C_GetAttributeValue(s, o, &a, 1);
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID) {
        *ret_len = 0;
        return 0;
    }
    if (rv == CKR_BUFFER_TOO_SMALL) {
        *ret_len = max + 1;
        return 0;
    }
    TRY(pkcs11_ok(rv, err, "C_GetAttributeValue"));
    *ret_len = a.ulValueLen;
    return 0;
}

static int compare_value(struct pkcs11 *p, const struct row *row, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type,
                         const char *name, struct bytes want, struct err *err)
{
    uint8_t value[64];
    size_t len = 0;
    assert(want.len <= sizeof(value));
    TRY(read_attribute(p, p->session[row->token], o, type, value, sizeof(value), &len, err));
    if (len == want.len && bytes_equal(BYTES(value, len), want))
        return 0;
    return err_set(err, ERR_KEYS, "key %s: attribute %s is not what it must be", row->label, name);
}

static int compare_flags(struct pkcs11 *p, const struct row *row, CK_OBJECT_HANDLE o, const struct flag *flags,
                         size_t count, bool copy, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        CK_BBOOL value[2] = {0, 0};
        size_t len = 0;
        bool want = must_be(&flags[i], row, copy);
        TRY(read_attribute(p, p->session[row->token], o, flags[i].type, value, sizeof(value), &len, err));
        if (len == 0 && !flags[i].written && !want)
            continue; /* an optional restriction that this token does not have */
        if (len != sizeof(CK_BBOOL) || (value[0] != CK_FALSE) != want)
            return err_set(err, ERR_KEYS, "key %s: attribute %s is %s and must be %s", row->label, flags[i].name,
                           len != sizeof(CK_BBOOL) ? "missing"
                           : want                  ? "FALSE"
                                                   : "TRUE",
                           want ? "TRUE" : "FALSE");
    }
    return 0;
}

static int compare_common(struct pkcs11 *p, const struct row *row, CK_OBJECT_HANDLE o, CK_OBJECT_CLASS class,
                          struct err *err)
{
    CK_KEY_TYPE type = is_ed25519(row) ? CKK_EC_EDWARDS : CKK_EC;
    uint8_t id = (uint8_t)(row - rows + 1);
    TRY(compare_value(p, row, o, CKA_CLASS, "CLASS", BYTES(&class, sizeof(class)), err));
    TRY(compare_value(p, row, o, CKA_KEY_TYPE, "KEY_TYPE", BYTES(&type, sizeof(type)), err));
    if (compare_value(p, row, o, CKA_EC_PARAMS, "EC_PARAMS", row_oid(row), err) != 0 &&
        (!is_ed25519(row) || compare_value(p, row, o, CKA_EC_PARAMS, "EC_PARAMS", BYTES_OF(name_ed25519), err) != 0))
        return ERR_KEYS;
    return compare_value(p, row, o, CKA_ID, "ID", BYTES(&id, 1), err);
}

static int compare_private(struct pkcs11 *p, const struct row *row, CK_OBJECT_HANDLE o, bool copy, struct err *err)
{
    TRY(compare_common(p, row, o, CKO_PRIVATE_KEY, err));
    TRY(compare_value(p, row, o, CKA_ALLOWED_MECHANISMS, "ALLOWED_MECHANISMS",
                      BYTES(&row->mechanism, sizeof(row->mechanism)), err));
    return compare_flags(p, row, o, private_flags, COUNT(private_flags), copy, err);
}

/* EC_POINT is a DER OCTET STRING: 04 len ‖ point. */
static int read_public(struct pkcs11 *p, const struct row *row, uint8_t *ret, struct err *err)
{
    CK_OBJECT_HANDLE o;
    uint8_t value[EC_POINT_LEN + 2];
    size_t len = 0;
    TRY(find_one(p, row, CKO_PUBLIC_KEY, &o, err));
    TRY(compare_common(p, row, o, CKO_PUBLIC_KEY, err));
    TRY(compare_flags(p, row, o, public_flags, COUNT(public_flags), false, err));
    TRY(read_attribute(p, p->session[row->token], o, CKA_EC_POINT, value, sizeof(value), &len, err));
    if (len != row->public_len + 2 || value[0] != 0x04 || value[1] != row->public_len ||
        (!is_ed25519(row) && ec_point_check(BYTES(value + 2, EC_POINT_LEN)) != 0))
        return err_set(err, ERR_KEYS, "key %s: attribute EC_POINT is not a public key", row->label);
    memcpy(ret, value + 2, row->public_len);
    return 0;
}

/* {TOKEN=F, MODIFIABLE=F} and nothing else: that is all SoftHSM takes, in this order. */
static int copy_one(struct pkcs11 *p, const struct row *row, CK_OBJECT_HANDLE from, CK_OBJECT_HANDLE *ret,
                    struct err *err)
{
    struct template t = {.count = 0};
    template_flag(&t, CKA_TOKEN, false);
    template_flag(&t, CKA_MODIFIABLE, false);
    TRY(pkcs11_ok(p->call->C_CopyObject(p->session[row->token], from, t.at, t.count, ret), err, "key %s: C_CopyObject",
                  row->label));
    return compare_private(p, row, *ret, true, err);
}

/* Nothing that can use or be used as a key may stand beside ours. */
static int refuse_strangers(struct pkcs11 *p, enum pkcs11_token token, CK_OBJECT_CLASS class, struct err *err)
{
    struct template t = {.count = 0};
    template_number(&t, CKA_CLASS, class);
    CK_OBJECT_HANDLE at[KEY_COUNT + 1];
    CK_ULONG count = 0;
    TRY(find(p, p->session[token], &t, at, KEY_COUNT + 1, &count, err));
    for (CK_ULONG i = 0; i < count; i++) {
        char label[65];
        size_t len = 0;
        TRY(read_attribute(p, p->session[token], at[i], CKA_LABEL, label, sizeof(label) - 1, &len, err));
        label[len < sizeof(label) ? len : 0] = '\0';
        bool ours = false;
        for (size_t k = 0; k < KEY_COUNT && class == CKO_PRIVATE_KEY; k++)
            ours |= rows[k].token == token && strcmp(rows[k].label, label) == 0;
        if (!ours)
            return err_set(err, ERR_KEYS, "the %s token holds a %s key that is not ours (label \"%.64s\")",
                           token == PKCS11_MAIN ? "main" : "log", class == CKO_PRIVATE_KEY ? "private" : "secret",
                           label);
    }
    return 0;
}

int keys_load(struct pkcs11 *p, struct keys *ret, struct err *err)
{
    struct keys k;
    memset(&k, 0, sizeof(k));
    for (int token = 0; token < PKCS11_TOKEN_COUNT; token++) {
        TRY(refuse_strangers(p, (enum pkcs11_token)token, CKO_PRIVATE_KEY, err));
        TRY(refuse_strangers(p, (enum pkcs11_token)token, CKO_SECRET_KEY, err));
    }
    CK_OBJECT_HANDLE original[KEY_COUNT];
    for (size_t i = 0; i < KEY_COUNT; i++) { /* all comparisons before the first copy exists */
        TRY(find_one(p, &rows[i], CKO_PRIVATE_KEY, &original[i], err));
        TRY(compare_private(p, &rows[i], original[i], false, err));
        TRY(read_public(p, &rows[i], k.public[i], err));
    }
    for (size_t i = 0; i < KEY_COUNT; i++)
        TRY(copy_one(p, &rows[i], original[i], &k.private[i], err));
    *ret = k;
    return 0;
}
