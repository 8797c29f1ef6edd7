/* payload_file: detached and inline payloads, read in chunks. */
#include "orchestrator/payload_file.h"
#include "common/crypto/hash.h"
#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define SEALED_CHUNK (PAYLOAD_CHUNK + PAYLOAD_TAG)

void payload_file_name(const uint8_t id[ENVELOPE_ID_LEN], uint64_t generation, char ret_name[PAYLOAD_NAME_MAX])
{
    char hex[2 * ENVELOPE_ID_LEN + 1];
    hex_encode(BYTES(id, ENVELOPE_ID_LEN), hex);
    snprintf(ret_name, PAYLOAD_NAME_MAX, "%s-%llu.payload", hex, (unsigned long long)generation);
}

uint64_t payload_plain_len(uint64_t sealed_len)
{
    uint64_t chunks = (sealed_len + SEALED_CHUNK - 1) / SEALED_CHUNK;
    return sealed_len < chunks * PAYLOAD_TAG ? 0 : sealed_len - chunks * PAYLOAD_TAG;
}

static int read_piece(struct payload_source *s, uint8_t *room, size_t want, struct bytes *ret, struct err *err)
{
    if (s->file == NULL) {
        *ret = BYTES(s->text.p, want);
        s->text = BYTES(s->text.p + want, s->text.len - want);
    } else {
        if (fread(room, 1, want, s->file) != want)
            return err_set(err, ferror(s->file) ? ERR_IO : ERR_PAYLOAD, "the payload file ends early");
        *ret = BYTES(room, want);
    }
    s->left -= want;
    return 0;
}

static int hash_file(FILE *file, uint64_t len, uint8_t ret[HASH_LEN])
{
    uint8_t room[8192];
    unsigned out = HASH_LEN;
    uint64_t seen = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    for (size_t n; ok && seen <= len && (n = fread(room, 1, sizeof(room), file)) > 0;) {
        ok = EVP_DigestUpdate(ctx, room, n) == 1;
        seen += n;
    }
    ok = ok && !ferror(file) && EVP_DigestFinal_ex(ctx, ret, &out) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok)
        return ERR_IO;
    return seen == len ? 0 : ERR_PAYLOAD;
}

static int find_file(const struct document *envelope, const char *folder, struct payload_source *ret,
                     uint8_t ret_hash[HASH_LEN], struct err *err)
{
    const struct envelope *v = &envelope->envelope;
    char name[PAYLOAD_NAME_MAX], path[PATH_MAX];
    payload_file_name(v->id, v->generation, name);
    if (folder == NULL)
        return err_set(err, ERR_NOT_FOUND, "the payload is detached: name the folder that holds %s as 'payload:'",
                       name);
    int n = snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= sizeof(path))
        return err_set(err, ERR_TOO_LONG, "payload: path too long");
    ret->file = fopen(path, "rbe");
    if (ret->file == NULL)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
    int rc = hash_file(ret->file, v->payload_len, ret_hash);
    if (rc != 0)
        return err_set(err, rc, "%s: %s", path, rc == ERR_IO ? "cannot be read" : "not as long as the envelope says");
    rewind(ret->file);
    return 0;
}

int payload_find(const struct document *envelope, const char *folder, struct payload_source *ret, struct err *err)
{
    const struct envelope *v = &envelope->envelope;
    uint8_t hash[HASH_LEN];
    *ret = (struct payload_source){.left = v->payload_len};
    if (v->payload.len > 0) {
        if (v->payload.len != v->payload_len)
            return err_set(err, ERR_PAYLOAD, "the envelope's payload is not as long as it says");
        ret->text = v->payload;
        sha256(v->payload, hash);
    } else {
        TRY(find_file(envelope, folder, ret, hash, err));
    }
    if (!bytes_equal(BYTES_OF(hash), BYTES_OF(v->payload_hash)))
        return err_set(err, ERR_PAYLOAD, "the payload is not the one that the envelope names");
    return 0;
}

void payload_source_done(struct payload_source *s)
{
    if (s->file != NULL)
        fclose(s->file);
    s->file = NULL;
}

static int deliver_chunks(struct payload *p, struct payload_source *s, struct secret *plain, struct secret *room,
                          int (*sink)(void *arg, struct bytes piece), void *arg, struct err *err)
{
    do {
        size_t len = s->left < SEALED_CHUNK ? (size_t)s->left : SEALED_CHUNK;
        struct bytes sealed;
        if (len < PAYLOAD_TAG)
            return err_set(err, ERR_PAYLOAD, "the payload ends inside a chunk");
        TRY(read_piece(s, secret_write(room), len, &sealed, err));
        int rc = payload_chunk(p, sealed, s->left == 0, secret_write(plain));
        if (rc != 0)
            return err_set(err, rc, "the payload does not open");
        rc = sink(arg, BYTES(secret_borrow(plain).p, len - PAYLOAD_TAG));
        if (rc != 0)
            return rc;
    } while (s->left > 0);
    return 0;
}

int payload_deliver(const struct document *envelope, struct payload_source *s, const struct secret *key,
                    int (*sink)(void *arg, struct bytes piece), void *arg, struct err *err)
{
    const struct envelope *v = &envelope->envelope;
    uint8_t aad[HASH_LEN];
    struct payload *p = NULL;
    struct secret *plain = NULL, *room = NULL;
    context_payload(v->owner, v->id, v->generation, aad);
    int rc = payload_new(key, BYTES_OF(aad), false, &p);
    if (rc == 0)
        rc = secret_new(PAYLOAD_CHUNK, &plain);
    if (rc == 0)
        rc = secret_new(SEALED_CHUNK, &room);
    if (rc == 0)
        rc = deliver_chunks(p, s, plain, room, sink, arg, err);
    else
        err_set(err, rc, "%s", err_advice_text(rc));
    payload_free(p);
    secret_free(plain);
    secret_free(room);
    return rc;
}
