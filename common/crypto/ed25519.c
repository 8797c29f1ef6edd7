/* ed25519: signatures by keys in memory, and their PEM files. */
#include "common/crypto/ec.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEED_LEN 32
#define PEM_FILE_MAX 4096

struct ed25519_key {
    EVP_PKEY *pkey;
    uint8_t public[ED25519_PUBLIC_LEN];
};

/* Takes pkey over, also when it fails. */
static int adopt(EVP_PKEY *pkey, struct ed25519_key **ret_key)
{
    struct ed25519_key *key = OPENSSL_zalloc(sizeof(*key));
    size_t len = ED25519_PUBLIC_LEN;
    if (key == NULL || EVP_PKEY_get_raw_public_key(pkey, key->public, &len) != 1 || len != ED25519_PUBLIC_LEN) {
        EVP_PKEY_free(pkey);
        OPENSSL_free(key);
        return ERR_INTERNAL;
    }
    key->pkey = pkey;
    *ret_key = key;
    return 0;
}

int ed25519_key_new(struct ed25519_key **ret_key)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return pkey != NULL ? adopt(pkey, ret_key) : ERR_INTERNAL;
}

int ed25519_key_from_seed(const struct secret *seed, struct ed25519_key **ret_key)
{
    if (secret_len(seed) != SEED_LEN)
        return ERR_FORMAT;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, secret_borrow(seed).p, SEED_LEN);
    return pkey != NULL ? adopt(pkey, ret_key) : ERR_INTERNAL;
}

void ed25519_key_free(struct ed25519_key *key)
{
    if (key == NULL)
        return;
    EVP_PKEY_free(key->pkey);
    OPENSSL_free(key);
}

void ed25519_key_public(const struct ed25519_key *key, uint8_t ret_public[ED25519_PUBLIC_LEN])
{
    memcpy(ret_public, key->public, ED25519_PUBLIC_LEN);
}

/* Whole file into a secret. The descriptor is closed by the caller. */
static int read_private(int fd, const char *path, struct secret **ret_text, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        return err_set(err, ERR_CONFIG,
                       "%s: a private key must be a plain file that only its owner can read (chmod 600)", path);
    if (st.st_size <= 0 || st.st_size > PEM_FILE_MAX)
        return err_set(err, ERR_FORMAT, "%s: not the size of a private key (1 to %d bytes)", path, PEM_FILE_MAX);
    struct secret *text = NULL;
    TRY(secret_new((size_t)st.st_size, &text));
    ssize_t n = pread(fd, secret_write(text), secret_len(text), 0);
    if (n != st.st_size) {
        secret_free(text);
        return err_set(err, ERR_IO, "%s: %s", path, n < 0 ? strerror(errno) : "changed while it was read");
    }
    *ret_text = text;
    return 0;
}

/* An encrypted file asks for a passphrase: never prompt, refuse. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

int ed25519_key_load(const char *path, struct ed25519_key **ret_key, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* does not hang on a FIFO */
    if (fd < 0)
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    struct secret *text = NULL;
    int rc = read_private(fd, path, &text, err);
    (void)close(fd);
    if (rc != 0)
        return rc;
    BIO *bio = BIO_new_mem_buf(secret_borrow(text).p, (int)secret_len(text));
    EVP_PKEY *pkey = bio != NULL ? PEM_read_bio_PrivateKey_ex(bio, NULL, no_passphrase, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    secret_free(text);
    if (pkey == NULL || EVP_PKEY_is_a(pkey, "ED25519") != 1) {
        EVP_PKEY_free(pkey);
        return err_set(err, ERR_FORMAT, "%s: not an unencrypted Ed25519 private key (PEM, PKCS#8)", path);
    }
    rc = adopt(pkey, ret_key);
    return rc == 0 ? 0 : err_set(err, rc, "%s: the key cannot be used", path);
}

static int write_whole(int fd, const uint8_t *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        p += n;
        len -= (size_t)n;
    }
    return fsync(fd) == 0 ? 0 : ERR_IO;
}

int ed25519_key_save(const struct ed25519_key *key, const char *path, struct err *err)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text = NULL;
    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(bio);
        return err_set(err, ERR_INTERNAL, "%s: the key cannot be encoded", path);
    }
    long len = BIO_get_mem_data(bio, &text);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rc = fd >= 0 ? 0 : err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (rc == 0 && write_whole(fd, (const uint8_t *)text, (size_t)len) != 0) {
        rc = err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
        (void)unlink(path); /* ours: O_EXCL made it */
    }
    if (fd >= 0)
        (void)close(fd);
    BIO_free(bio); /* secure memory is wiped when it is freed */
    return rc;
}

int ed25519_sign(const struct ed25519_key *key, struct bytes data, uint8_t ret_sig[ED25519_SIGNATURE_LEN])
{
    size_t len = ED25519_SIGNATURE_LEN;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx != NULL && EVP_DigestSignInit_ex(ctx, NULL, NULL, NULL, NULL, key->pkey, NULL) == 1 &&
                EVP_DigestSign(ctx, ret_sig, &len, data.p, data.len) == 1 && len == ED25519_SIGNATURE_LEN;
    EVP_MD_CTX_free(ctx);
    return good ? 0 : ERR_INTERNAL;
}

int ed25519_verify(const uint8_t public[ED25519_PUBLIC_LEN], struct bytes data, struct bytes sig)
{
    if (sig.len != ED25519_SIGNATURE_LEN)
        return ERR_SIGNATURE;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, public, ED25519_PUBLIC_LEN);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = pkey != NULL && ctx != NULL && EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, pkey, NULL) == 1 &&
                EVP_DigestVerify(ctx, sig.p, sig.len, data.p, data.len) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return good ? 0 : ERR_SIGNATURE;
}
