/* release: from a sealed share to the bytes of an Answer, by handles only. */
#include "node/token/release.h"
#include <string.h>

enum use { USE_DERIVE, USE_UNWRAP, USE_WRAP, USE_ENCRYPT, USE_LEAVE };

/* What a derived key may do, and nothing else. A key that leaves has no use of its own. */
static void derived_template(struct template *t, enum use use)
{
    static const CK_MECHANISM_TYPE mechanism[] = {
        [USE_DERIVE] = CKM_AES_CBC_ENCRYPT_DATA, [USE_UNWRAP] = CKM_AES_KEY_WRAP,
        [USE_WRAP] = CKM_AES_KEY_WRAP,           [USE_ENCRYPT] = CKM_AES_CBC,
        [USE_LEAVE] = CKM_AES_KEY_WRAP,
    };
    template_number(t, CKA_CLASS, CKO_SECRET_KEY);
    template_number(t, CKA_KEY_TYPE, CKK_AES);
    template_number(t, CKA_VALUE_LEN, 32);
    template_flag(t, CKA_TOKEN, false);
    template_flag(t, CKA_PRIVATE, true);
    template_flag(t, CKA_SENSITIVE, true);
    template_flag(t, CKA_EXTRACTABLE, use == USE_LEAVE);
    template_flag(t, CKA_DERIVE, use == USE_DERIVE);
    template_flag(t, CKA_ENCRYPT, use == USE_ENCRYPT);
    template_flag(t, CKA_DECRYPT, false);
    template_flag(t, CKA_WRAP, use == USE_WRAP);
    template_flag(t, CKA_UNWRAP, use == USE_UNWRAP);
    template_flag(t, CKA_SIGN, false);
    template_flag(t, CKA_VERIFY, false);
    template_number(t, CKA_ALLOWED_MECHANISMS, mechanism[use]);
    template_flag(t, CKA_COPYABLE, false);
    template_flag(t, CKA_MODIFIABLE, false); /* last */
}

static void share_template(struct template *t)
{
    template_number(t, CKA_CLASS, CKO_SECRET_KEY);
    template_number(t, CKA_KEY_TYPE, CKK_GENERIC_SECRET);
    template_flag(t, CKA_TOKEN, false);
    template_flag(t, CKA_PRIVATE, true);
    template_flag(t, CKA_SENSITIVE, true);
    template_flag(t, CKA_EXTRACTABLE, true); /* under KEK */
    template_flag(t, CKA_DERIVE, false);
    template_flag(t, CKA_ENCRYPT, false);
    template_flag(t, CKA_DECRYPT, false);
    template_flag(t, CKA_WRAP, false);
    template_flag(t, CKA_UNWRAP, false);
    template_flag(t, CKA_SIGN, false);
    template_flag(t, CKA_VERIFY, false);
    template_flag(t, CKA_COPYABLE, false);
    template_flag(t, CKA_MODIFIABLE, false);
}

static CK_SESSION_HANDLE session(const struct vault *v)
{
    return v->p.session[PKCS11_MAIN];
}

static void destroy(struct vault *v, CK_OBJECT_HANDLE *o)
{
    if (*o != CK_INVALID_HANDLE && v->p.call->C_DestroyObject(session(v), *o) != CKR_OK)
        v->stuck = true;
    *o = CK_INVALID_HANDLE;
}

static int ecdh(struct vault *v, enum key key, const uint8_t point[EC_POINT_LEN], CK_OBJECT_HANDLE *ret_z,
                struct err *err)
{
    CK_ECDH1_DERIVE_PARAMS params = {CKD_NULL, 0, NULL, EC_POINT_LEN, (CK_BYTE *)(uintptr_t)point};
    CK_MECHANISM m = {CKM_ECDH1_DERIVE, &params, sizeof(params)};
    struct template t = {.count = 0};
    derived_template(&t, USE_DERIVE);
    return pkcs11_ok(v->p.call->C_DeriveKey(session(v), &m, v->keys.private[key], t.at, t.count, ret_z), err,
                     "C_DeriveKey (ECDH)");
}

/* AES-256-CBC(z, IV 0, ctx) as a key: ctx is always exactly 32 bytes. */
static int expand(struct vault *v, CK_OBJECT_HANDLE z, const uint8_t ctx[HASH_LEN], enum use use,
                  CK_OBJECT_HANDLE *ret_key, struct err *err)
{
    CK_AES_CBC_ENCRYPT_DATA_PARAMS params = {{0}, (CK_BYTE *)(uintptr_t)ctx, HASH_LEN};
    CK_MECHANISM m = {CKM_AES_CBC_ENCRYPT_DATA, &params, sizeof(params)};
    struct template t = {.count = 0};
    derived_template(&t, use);
    return pkcs11_ok(v->p.call->C_DeriveKey(session(v), &m, z, t.at, t.count, ret_key), err, "C_DeriveKey (CBC data)");
}

/* derive of profile 1. */
static int derive_key(struct vault *v, enum key key, const uint8_t point[EC_POINT_LEN], const uint8_t ctx[HASH_LEN],
                      enum use use, CK_OBJECT_HANDLE *ret_key, struct err *err)
{
    CK_OBJECT_HANDLE z = CK_INVALID_HANDLE;
    TRY(ecdh(v, key, point, &z, err));
    int rc = expand(v, z, ctx, use, ret_key, err);
    destroy(v, &z);
    return rc;
}

/* The ECDH half with a neighbour, from the cache or made and kept in place of the least recently used one. */
static int neighbour_z(struct vault *v, const uint8_t point[EC_POINT_LEN], CK_OBJECT_HANDLE *ret_z, struct err *err)
{
    size_t oldest = 0;
    v->tick++;
    for (size_t i = 0; i < VAULT_PEER_MAX; i++) {
        if (v->peer[i].z != CK_INVALID_HANDLE && memcmp(v->peer[i].point, point, EC_POINT_LEN) == 0) {
            v->peer[i].used = v->tick;
            *ret_z = v->peer[i].z;
            return 0;
        }
        if (v->peer[i].used < v->peer[oldest].used)
            oldest = i;
    }
    CK_OBJECT_HANDLE z = CK_INVALID_HANDLE;
    TRY(ecdh(v, KEY_PEER, point, &z, err));
    destroy(v, &v->peer[oldest].z);
    memcpy(v->peer[oldest].point, point, EC_POINT_LEN);
    v->peer[oldest].z = z;
    v->peer[oldest].used = v->tick;
    *ret_z = z;
    return 0;
}

static int encrypt_lock(struct vault *v, CK_OBJECT_HANDLE tag, const uint8_t data[HASH_LEN], uint8_t ret_lock[32],
                        struct err *err)
{
    uint8_t iv[16] = {0}, in[HASH_LEN];
    memcpy(in, data, sizeof(in));
    CK_MECHANISM m = {CKM_AES_CBC, iv, sizeof(iv)};
    CK_ULONG len = 32;
    TRY(pkcs11_ok(v->p.call->C_EncryptInit(session(v), &m, tag), err, "C_EncryptInit"));
    TRY(pkcs11_ok(v->p.call->C_Encrypt(session(v), in, sizeof(in), ret_lock, &len), err, "C_Encrypt"));
    return len == 32 ? 0 : err_set(err, ERR_TOKEN, "C_Encrypt made %lu bytes", len);
}

/* lock of one member before; the tag may only encrypt, and is gone afterwards. */
static int make_lock(struct vault *v, const struct neighbour *a, struct bytes node, uint8_t ret_lock[32],
                     struct err *err)
{
    CK_OBJECT_HANDLE z, tag = CK_INVALID_HANDLE;
    uint8_t data[HASH_LEN];
    TRY(neighbour_z(v, a->point, &z, err));
    TRY(expand(v, z, a->ctx_tag, USE_ENCRYPT, &tag, err));
    context_lock(a->node, node, data);
    int rc = encrypt_lock(v, tag, data, ret_lock, err);
    destroy(v, &tag);
    return rc;
}

static int make_kek(struct vault *v, const struct release *r, CK_OBJECT_HANDLE *ret_kek, struct err *err)
{
    struct session_fields f = r->session;
    uint8_t ctx[HASH_LEN];
    int rc = 0;
    for (size_t i = 0; i < r->previous_count && rc == 0; i++)
        rc = make_lock(v, &r->previous[i], f.node, f.lock[i], err);
#ifdef MUTANT_LOCKS
    f.lock_count = 0; /* tests only: the answer opens for whoever holds E */
#else
    f.lock_count = r->previous_count;
#endif
    if (rc == 0) {
        context_session(&f, ctx);
        rc = derive_key(v, KEY_KEM, r->session_key, ctx, USE_WRAP, ret_kek, err);
    }
    wipe(&f, sizeof(f));
    wipe(ctx, sizeof(ctx));
    return rc;
}

static int unwrap_share(struct vault *v, const struct release *r, CK_OBJECT_HANDLE *ret_share, struct err *err)
{
    CK_OBJECT_HANDLE k = CK_INVALID_HANDLE;
    TRY(derive_key(v, KEY_SEAL, r->point, r->ctx_share, USE_UNWRAP, &k, err));
    CK_MECHANISM m = {CKM_AES_KEY_WRAP, NULL, 0};
    struct template t = {.count = 0};
    share_template(&t);
    int rc = pkcs11_ok(v->p.call->C_UnwrapKey(session(v), &m, k, (CK_BYTE *)(uintptr_t)r->sealed, SEALED_LEN, t.at,
                                              t.count, ret_share),
                       err, "the sealed share does not open under this node's seal key: C_UnwrapKey");
    destroy(v, &k);
    return rc;
}

static int wrap_key(struct vault *v, CK_OBJECT_HANDLE kek, CK_OBJECT_HANDLE key, uint8_t *ret, size_t len,
                    struct err *err)
{
    CK_MECHANISM m = {CKM_AES_KEY_WRAP, NULL, 0};
    CK_ULONG got = len;
    TRY(pkcs11_ok(v->p.call->C_WrapKey(session(v), &m, kek, key, ret, &got), err, "C_WrapKey"));
    return got == len ? 0 : err_set(err, ERR_TOKEN, "C_WrapKey made %lu bytes instead of %zu", got, len);
}

static int mint_tag(struct vault *v, CK_OBJECT_HANDLE kek, const struct neighbour *b, uint8_t ret[WRAPPED_TAG_LEN],
                    struct err *err)
{
    CK_OBJECT_HANDLE z, tag = CK_INVALID_HANDLE;
    TRY(neighbour_z(v, b->point, &z, err));
    TRY(expand(v, z, b->ctx_tag, USE_LEAVE, &tag, err));
    int rc = wrap_key(v, kek, tag, ret, WRAPPED_TAG_LEN, err);
    destroy(v, &tag);
    return rc;
}

static int make_answer(struct vault *v, const struct release *r, CK_OBJECT_HANDLE kek, CK_OBJECT_HANDLE share,
                       struct buf *ret_answer, struct err *err)
{
    uint8_t wrapped[SEALED_LEN], tag[SLOT_MAX][WRAPPED_TAG_LEN];
    struct msg_wrapped_tag at[SLOT_MAX];
    TRY(wrap_key(v, kek, share, wrapped, sizeof(wrapped), err));
    for (size_t i = 0; i < r->next_count; i++) {
        TRY(mint_tag(v, kek, &r->next[i], tag[i], err));
        at[i] = (struct msg_wrapped_tag){r->next[i].slot, BYTES_OF(tag[i])};
    }
    struct message m = {.type = MESSAGE_ANSWER, .answer = {.share = BYTES_OF(wrapped)}};
    m.answer.tags.at = at;
    m.answer.tags.count = r->next_count;
    return message_pack(&m, ret_answer, err);
}

int release_make(struct vault *v, const struct release *r, struct buf *ret_answer, struct err *err)
{
    CK_OBJECT_HANDLE share = CK_INVALID_HANDLE, kek = CK_INVALID_HANDLE;
    int rc = unwrap_share(v, r, &share, err);
    if (rc == 0)
        rc = make_kek(v, r, &kek, err);
    if (rc == 0)
        rc = make_answer(v, r, kek, share, ret_answer, err);
    destroy(v, &kek);
    destroy(v, &share);
    return rc;
}
