/* share: sealed shares, session keys and the DEK, in software. */
#include "common/walk/share.h"
#include "common/base/mutant.h"
#include "common/crypto/kdf.h"
#include "common/crypto/keywrap.h"
#include <string.h>

#define FRAME_LEN (SHARE_LEN + SALT_LEN)
#define TAG_LEN 32
#define STAGE_SECRET_LEN 32

static void commit(const struct share_fields *f, const struct secret *frame, uint8_t ret[HASH_LEN])
{
    const uint8_t *share = secret_borrow(frame).p;
    context_commitment(f->envelope_id, f->generation, f->stage, f->slot, share, share + SHARE_LEN, ret);
}

/* frame = share ‖ salt, 64 bytes */
static int seal_frame(const struct share_fields *f, const uint8_t seal_point[EC_POINT_LEN], const struct secret *frame,
                      const struct ec_key *r, struct sealed_share *ret)
{
    uint8_t ctx[HASH_LEN];
    struct secret *key = NULL;
    context_share(f, ctx);
    TRY(derive(f->profile, r, BYTES(seal_point, EC_POINT_LEN), ctx, &key));
    int rc = keywrap_wrap(key, frame, ret->sealed);
    secret_free(key);
    if (rc != 0)
        return rc;
    ec_key_point(r, ret->point);
    commit(f, frame, ret->commitment);
    return 0;
}

static int make_frame(const struct secret *share, struct secret **ret_frame)
{
    if (secret_len(share) != SHARE_LEN)
        return ERR_SHARES;
    TRY(secret_new(FRAME_LEN, ret_frame));
    memcpy(secret_write(*ret_frame), secret_borrow(share).p, SHARE_LEN);
    return 0;
}

int share_seal(const struct share_fields *f, const uint8_t seal_point[EC_POINT_LEN], const struct secret *share,
               struct sealed_share *ret)
{
    struct secret *frame = NULL;
    struct ec_key *r = NULL;
    struct rng rng = rng_system();
    TRY(make_frame(share, &frame));
    int rc = rng.fill(rng.arg, secret_write(frame) + SHARE_LEN, SALT_LEN);
    if (rc == 0)
        rc = ec_key_new(&r);
    if (rc == 0)
        rc = seal_frame(f, seal_point, frame, r, ret);
    ec_key_free(r);
    secret_free(frame);
    return rc;
}

int share_seal_with(const struct share_fields *f, const uint8_t seal_point[EC_POINT_LEN], const struct secret *share,
                    const uint8_t salt[SALT_LEN], const struct ec_key *r, struct sealed_share *ret)
{
    struct secret *frame = NULL;
    TRY(make_frame(share, &frame));
    memcpy(secret_write(frame) + SHARE_LEN, salt, SALT_LEN);
    int rc = seal_frame(f, seal_point, frame, r, ret);
    secret_free(frame);
    return rc;
}

int share_kek(const struct ec_key *e, const uint8_t kem_point[EC_POINT_LEN], const struct session_fields *f,
              struct secret **ret_kek)
{
    uint8_t ctx[HASH_LEN];
    context_session(f, ctx);
    int rc = derive(f->profile, e, BYTES(kem_point, EC_POINT_LEN), ctx, ret_kek);
    wipe(ctx, sizeof(ctx)); /* made from the locks */
    return rc;
}

int share_open(const struct secret *kek, struct bytes wrapped, const struct share_fields *f,
               const uint8_t commitment[HASH_LEN], struct secret **ret_share)
{
    if (wrapped.len != SEALED_LEN)
        return ERR_FORMAT;
    struct secret *frame = NULL;
    TRY(keywrap_unwrap(kek, wrapped, &frame));
    uint8_t made[HASH_LEN];
    commit(f, frame, made);
    int rc = ERR_COMMITMENT;
    if (bytes_equal(BYTES_OF(made), BYTES(commitment, HASH_LEN)) || mutant("COMMITMENT"))
        rc = secret_copy(BYTES(secret_borrow(frame).p, SHARE_LEN), ret_share);
    secret_free(frame);
    return rc;
}

int share_open_tag(const struct secret *kek, struct bytes wrapped, struct secret **ret_tag)
{
    if (wrapped.len != WRAPPED_TAG_LEN)
        return ERR_FORMAT;
    return keywrap_unwrap(kek, wrapped, ret_tag);
}

int share_dek(const uint8_t envelope_id[ENVELOPE_ID_LEN], uint64_t generation, struct secret *const *stage_secret,
              size_t stage_count, struct secret **ret_dek)
{
    if (stage_count == 0 || stage_count > STAGE_MAX)
        return ERR_SHARES;
    for (size_t i = 0; i < stage_count; i++)
        if (secret_len(stage_secret[i]) != STAGE_SECRET_LEN)
            return ERR_SHARES;
    uint8_t salt[HASH_LEN];
    context_dek_salt(envelope_id, generation, salt);
    struct secret *ikm = NULL;
    TRY(secret_new(stage_count * STAGE_SECRET_LEN, &ikm));
    for (size_t i = 0; i < stage_count; i++)
        memcpy(secret_write(ikm) + i * STAGE_SECRET_LEN, secret_borrow(stage_secret[i]).p, STAGE_SECRET_LEN);
    int rc = kdf_hkdf(BYTES_OF(salt), ikm, bytes_str("enfilade/v1/dek"), 32, ret_dek);
    secret_free(ikm);
    return rc;
}

int share_dek_commitment(const struct secret *dek, uint8_t ret[HASH_LEN])
{
    struct secret *out = NULL;
    TRY(kdf_hkdf_expand(dek, bytes_str("enfilade/v1/commit"), HASH_LEN, &out));
    memcpy(ret, secret_borrow(out).p, HASH_LEN);
    secret_free(out);
    return 0;
}

int share_payload_key(const struct secret *dek, struct secret **ret_key)
{
    return kdf_hkdf_expand(dek, bytes_str("enfilade/v1/payload"), 32, ret_key);
}
