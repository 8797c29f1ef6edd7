/* identity: certificates and software keys of one profile: P-256, SHA-256, the extensions of identity.h. */
#include "common/net/identity.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE_MAX 8192       /* bytes of a PEM key file */
#define CN_MAX 64               /* RFC 5280 ub-common-name */
#define BIT_DIGITAL_SIGNATURE 0 /* bit numbers of RFC 5280 §4.2.1.3 */
#define BIT_KEY_CERT_SIGN 5

static void x509_done(X509 **x)
{
    X509_free(*x);
}

static void pkey_done(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}

static void bio_done(BIO **b)
{
    BIO_free(*b);
}

static void fd_done(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

#define X509_OWNED __attribute__((cleanup(x509_done))) X509
#define PKEY_OWNED __attribute__((cleanup(pkey_done))) EVP_PKEY
#define BIO_OWNED __attribute__((cleanup(bio_done))) BIO
#define FD_OWNED __attribute__((cleanup(fd_done))) int

/* Leaves OpenSSL's error queue empty: what it says there is for us only. */
static int refuse(struct err *err, int code, const char *what)
{
    ERR_clear_error();
    return err_set(err, code, "%s", what);
}

static X509 *parse_cert(struct bytes der)
{
    const uint8_t *p = der.p;
    if (der.len == 0 || der.len > IDENTITY_CERT_MAX)
        return NULL;
    X509 *x = d2i_X509(NULL, &p, (long)der.len);
    if (x != NULL && p == der.p + der.len)
        return x;
    X509_free(x);
    ERR_clear_error();
    return NULL;
}

static bool is_p256(const EVP_PKEY *k)
{
    char group[32] = "";
    return EVP_PKEY_is_a(k, "EC") && EVP_PKEY_get_group_name(k, group, sizeof(group), NULL) == 1 &&
           (strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0);
}

/* ---- keys */

int identity_key_new(void **ret_pkey)
{
    EVP_PKEY *k = EVP_EC_gen("P-256");
    if (k == NULL) {
        ERR_clear_error();
        return ERR_INTERNAL;
    }
    *ret_pkey = k;
    return 0;
}

void identity_key_free(void *pkey)
{
    EVP_PKEY_free(pkey);
}

static int no_password(char *out, int size, int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static int check_key_file(int fd, const char *path, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CONFIG, "%s: not a regular file", path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_set(err, ERR_CONFIG, "%s: belongs to uid %u: chown it to uid %u", path, (unsigned)st.st_uid,
                       (unsigned)geteuid());
    if ((st.st_mode & 077) != 0)
        return err_set(err, ERR_CONFIG, "%s: mode %03o lets others at the key: chmod 600", path,
                       (unsigned)st.st_mode & 0777);
    if (st.st_size > KEY_FILE_MAX)
        return err_set(err, ERR_TOO_LONG, "%s: more than %d bytes", path, KEY_FILE_MAX);
    return 0;
}

int identity_key_load(const char *path, void **ret_pkey, struct err *err)
{
    FD_OWNED fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
    if (fd < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
    TRY(check_key_file(fd, path, err));
    uint8_t text[KEY_FILE_MAX];
    ssize_t n = read(fd, text, sizeof(text));
    BIO_OWNED *bio = n > 0 ? BIO_new_mem_buf(text, (int)n) : NULL;
    PKEY_OWNED *k = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    OPENSSL_cleanse(text, sizeof(text));
    ERR_clear_error();
    if (k == NULL)
        return err_set(err, ERR_FORMAT, "%s: not a private key in PEM without a password", path);
    if (!is_p256(k))
        return err_set(err, ERR_FORMAT, "%s: not a P-256 key", path);
    *ret_pkey = k;
    k = NULL;
    return 0;
}

static int write_all(int fd, const char *p, size_t len)
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

int identity_key_save(const void *pkey, const char *path, struct err *err)
{
    BIO_OWNED *bio = BIO_new(BIO_s_secmem());
    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1)
        return refuse(err, ERR_INTERNAL, "the key cannot be written as PEM");
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);
    FD_OWNED fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(err, ERR_IO, "%s: %s%s", path, strerror(errno),
                       errno == EEXIST ? ": a key is never overwritten; move the old one away first" : "");
    if (len <= 0 || write_all(fd, text, (size_t)len) != 0) {
        int saved = errno;
        (void)unlink(path);
        return err_set(err, ERR_IO, "%s: %s", path, strerror(saved));
    }
    return 0;
}

/* ---- DER in and out */

/* What an i2d function gave: its length and its bytes. */
static int put_der(struct buf *b, int len, const uint8_t *der)
{
    if (len <= 0) {
        ERR_clear_error();
        return ERR_INTERNAL;
    }
    buf_put(b, BYTES(der, (size_t)len));
    return buf_ok(b) ? 0 : ERR_TOO_LONG;
}

int identity_spki(const void *pkey, struct buf *ret_der)
{
    uint8_t *der = NULL;
    buf_init(ret_der, IDENTITY_CERT_MAX);
    int len = i2d_PUBKEY(pkey, &der);
    int rc = put_der(ret_der, len, der);
    OPENSSL_free(der);
    return rc;
}

void identity_spki_hash(const void *pkey, uint8_t ret[HASH_LEN])
{
    struct buf der;
    int rc = identity_spki(pkey, &der);
    assert(rc == 0); /* a key that exists has an SPKI */
    sha256(buf_view(&der), ret);
    buf_done(&der);
}

static int cert_to_der(X509 *x, struct buf *ret_der)
{
    uint8_t *der = NULL;
    int len = i2d_X509(x, &der);
    int rc = put_der(ret_der, len, der);
    OPENSSL_free(der);
    return rc;
}

/* ---- one extension each; true: done */

static bool add_basic(X509 *x, bool ca)
{
    BASIC_CONSTRAINTS *bc = BASIC_CONSTRAINTS_new();
    bool ok = bc != NULL;
    if (ok && ca) {
        bc->ca = 0xff;
        bc->pathlen = ASN1_INTEGER_new();
        ok = bc->pathlen != NULL && ASN1_INTEGER_set(bc->pathlen, 0) == 1;
    }
    ok = ok && X509_add1_ext_i2d(x, NID_basic_constraints, bc, 1, X509V3_ADD_APPEND) == 1;
    BASIC_CONSTRAINTS_free(bc);
    return ok;
}

static bool add_key_usage(X509 *x, int bit)
{
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    bool ok = bits != NULL && ASN1_BIT_STRING_set_bit(bits, bit, 1) == 1 &&
              X509_add1_ext_i2d(x, NID_key_usage, bits, 1, X509V3_ADD_APPEND) == 1;
    ASN1_BIT_STRING_free(bits);
    return ok;
}

/* RFC 5280 §4.2.1.2 (1): SHA-1 of the key's bits. A name to find keys by, not a protection. Leaves have one too:
 * without it OpenSSL takes a leaf that bears its issuer's name for a self-signed certificate. */
static bool add_subject_key_id(X509 *x)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    bool ok = id != NULL && X509_pubkey_digest(x, EVP_sha1(), digest, &len) == 1 &&
              ASN1_OCTET_STRING_set(id, digest, (int)len) == 1 &&
              X509_add1_ext_i2d(x, NID_subject_key_identifier, id, 0, X509V3_ADD_APPEND) == 1;
    ASN1_OCTET_STRING_free(id);
    return ok;
}

static bool add_authority_key_id(X509 *x, X509 *issuer)
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(issuer);
    AUTHORITY_KEYID *aki = AUTHORITY_KEYID_new();
    bool ok = id != NULL && aki != NULL && (aki->keyid = ASN1_OCTET_STRING_dup(id)) != NULL &&
              X509_add1_ext_i2d(x, NID_authority_key_identifier, aki, 0, X509V3_ADD_APPEND) == 1;
    AUTHORITY_KEYID_free(aki);
    return ok;
}

static bool add_extended_usage(X509 *x, bool device)
{
    EXTENDED_KEY_USAGE *eku = EXTENDED_KEY_USAGE_new();
    bool ok = eku != NULL && (device || sk_ASN1_OBJECT_push(eku, OBJ_nid2obj(NID_server_auth)) > 0) &&
              sk_ASN1_OBJECT_push(eku, OBJ_nid2obj(NID_client_auth)) > 0 &&
              X509_add1_ext_i2d(x, NID_ext_key_usage, eku, 0, X509V3_ADD_APPEND) == 1;
    EXTENDED_KEY_USAGE_free(eku);
    return ok;
}

static bool push_name(GENERAL_NAMES *names, int type, const void *data, size_t len)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);
    bool ok = name != NULL && value != NULL && ASN1_STRING_set(value, data, (int)len) == 1;
    if (ok) {
        GENERAL_NAME_set0_value(name, type, value);
        value = NULL;
        ok = sk_GENERAL_NAME_push(names, name) > 0;
    }
    ASN1_STRING_free(value);
    if (!ok)
        GENERAL_NAME_free(name);
    return ok;
}

/* "10.0.0.1", "10.0.0.1:7600", "[::1]:7600", "::1", "host.example:7600" */
static bool push_address(GENERAL_NAMES *names, const char *address)
{
    char host[CN_MAX * 4 + 1];
    uint8_t ip[16];
    const char *end = strrchr(address, ':');
    const char *start = address;
    if (address[0] == '[') {
        start = address + 1;
        end = strchr(address, ']');
        if (end == NULL)
            return false;
    } else if (end != strchr(address, ':')) {
        end = NULL; /* an IPv6 address without a port */
    }
    size_t len = end != NULL ? (size_t)(end - start) : strlen(address);
    if (len == 0 || len >= sizeof(host))
        return false;
    memcpy(host, start, len);
    host[len] = '\0';
    if (inet_pton(AF_INET, host, ip) == 1)
        return push_name(names, GEN_IPADD, ip, 4);
    if (inet_pton(AF_INET6, host, ip) == 1)
        return push_name(names, GEN_IPADD, ip, 16);
    return push_name(names, GEN_DNS, host, len);
}

static bool add_alt_names(X509 *x, const char *common_name, const char *address)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    bool ok = names != NULL && push_name(names, GEN_DNS, common_name, strlen(common_name)) &&
              (address == NULL || push_address(names, address)) &&
              X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_APPEND) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

/* ---- certificates */

/* Version, random serial, validity. Seconds: an X.509 time has no parts of a second. */
static bool set_frame(X509 *x, uint64_t not_before_ms, uint64_t not_after_ms)
{
    uint8_t serial[16];
    if (RAND_bytes(serial, sizeof(serial)) != 1)
        return false;
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40); /* positive, always 16 bytes */
    BIGNUM *n = BN_bin2bn(serial, sizeof(serial), NULL);
    bool ok = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL &&
              X509_set_version(x, X509_VERSION_3) == 1 &&
              ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(not_before_ms / 1000)) != NULL &&
              ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(not_after_ms / 1000)) != NULL;
    BN_free(n);
    return ok;
}

static bool set_subject(X509 *x, const char *common_name)
{
    return X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName, MBSTRING_ASC,
                                      (const uint8_t *)common_name, -1, -1, 0) == 1;
}

static int check_words(const char *common_name, const char *address, uint64_t not_before_ms, uint64_t not_after_ms,
                       struct err *err)
{
    size_t len = strlen(common_name);
    if (len == 0 || len > CN_MAX)
        return err_set(err, ERR_FORMAT, "a certificate's name has 1 to %d characters", CN_MAX);
    for (const char *p = common_name; *p != '\0'; p++)
        if (*p < 0x21 || *p > 0x7e)
            return err_set(err, ERR_FORMAT, "a certificate's name is printable ASCII without spaces");
    for (const char *p = address; p != NULL && *p != '\0'; p++)
        if (*p < 0x21 || *p > 0x7e)
            return err_set(err, ERR_FORMAT, "%s: an address is printable ASCII without spaces", common_name);
    if (not_after_ms <= not_before_ms || not_after_ms / 1000 > INT64_C(253402300799))
        return err_set(err, ERR_FORMAT, "%s: a certificate ends after it begins, and before the year 10000",
                       common_name);
    return 0;
}

int identity_self_signed(void *pkey, const char *common_name, uint64_t not_before_ms, uint64_t not_after_ms,
                         struct buf *ret_der, struct err *err)
{
    buf_init(ret_der, IDENTITY_CERT_MAX);
    TRY(check_words(common_name, NULL, not_before_ms, not_after_ms, err));
    X509_OWNED *x = X509_new();
    if (x == NULL || !set_frame(x, not_before_ms, not_after_ms) || !set_subject(x, common_name) ||
        X509_set_issuer_name(x, X509_get_subject_name(x)) != 1 || X509_set_pubkey(x, pkey) != 1 ||
        !add_basic(x, true) || !add_key_usage(x, BIT_KEY_CERT_SIGN) || !add_subject_key_id(x) ||
        X509_sign(x, pkey, EVP_sha256()) <= 0 || cert_to_der(x, ret_der) != 0)
        return refuse(err, ERR_INTERNAL, "the identity certificate cannot be made");
    return 0;
}

static bool set_spki(X509 *x, struct bytes spki_der)
{
    const uint8_t *p = spki_der.p;
    PKEY_OWNED *k = spki_der.len > 0 ? d2i_PUBKEY(NULL, &p, (long)spki_der.len) : NULL;
    return k != NULL && p == spki_der.p + spki_der.len && is_p256(k) && X509_set_pubkey(x, k) == 1;
}

int identity_leaf_template(struct bytes issuer_der, struct bytes spki_der, const char *common_name, const char *address,
                           bool device, uint64_t not_before_ms, uint64_t not_after_ms, void **ret_x509, struct err *err)
{
    TRY(check_words(common_name, address, not_before_ms, not_after_ms, err));
    X509_OWNED *issuer = parse_cert(issuer_der);
    X509_OWNED *x = X509_new();
    if (issuer == NULL)
        return refuse(err, ERR_FORMAT, "the issuer's certificate is not a DER certificate");
    if (x == NULL || !set_spki(x, spki_der))
        return refuse(err, ERR_FORMAT, "the leaf's key is not a P-256 SubjectPublicKeyInfo");
    if (!set_frame(x, not_before_ms, not_after_ms) || !set_subject(x, common_name) ||
        X509_set_issuer_name(x, X509_get_subject_name(issuer)) != 1 || !add_basic(x, false) ||
        !add_key_usage(x, BIT_DIGITAL_SIGNATURE) || !add_extended_usage(x, device) || !add_subject_key_id(x) ||
        !add_authority_key_id(x, issuer) || !add_alt_names(x, common_name, address))
        return refuse(err, ERR_INTERNAL, "the leaf cannot be made (has the issuer a subject key id?)");
    *ret_x509 = x;
    x = NULL;
    return 0;
}

int identity_leaf(void *issuer_key, struct bytes issuer_der, struct bytes spki_der, const char *common_name,
                  const char *address, bool device, uint64_t not_before_ms, uint64_t not_after_ms, struct buf *ret_der,
                  struct err *err)
{
    void *template = NULL;
    buf_init(ret_der, IDENTITY_CERT_MAX);
    TRY(identity_leaf_template(issuer_der, spki_der, common_name, address, device, not_before_ms, not_after_ms,
                               &template, err));
    X509_OWNED *x = template;
    X509_OWNED *issuer = parse_cert(issuer_der);
    if (issuer == NULL || X509_check_private_key(issuer, issuer_key) != 1)
        return refuse(err, ERR_KEYS, "the issuer's key does not belong to its certificate");
    if (X509_sign(x, issuer_key, EVP_sha256()) <= 0 || cert_to_der(x, ret_der) != 0)
        return refuse(err, ERR_INTERNAL, "the leaf cannot be signed");
    return 0;
}

int identity_issued(struct bytes issuer_der, struct bytes leaf_der)
{
    X509_OWNED *issuer = parse_cert(issuer_der);
    X509_OWNED *leaf = parse_cert(leaf_der);
    if (issuer == NULL || leaf == NULL)
        return ERR_FORMAT;
    bool ok = X509_check_ca(issuer) == 1 && X509_check_issued(issuer, leaf) == X509_V_OK &&
              X509_verify(leaf, X509_get0_pubkey(issuer)) == 1;
    ERR_clear_error();
    return ok ? 0 : ERR_SIGNATURE;
}

int identity_cert_key_hash(struct bytes cert_der, uint8_t ret_spki_hash[HASH_LEN])
{
    X509_OWNED *x = parse_cert(cert_der);
    const EVP_PKEY *k = x != NULL ? X509_get0_pubkey(x) : NULL;
    if (k == NULL) {
        ERR_clear_error();
        return ERR_FORMAT;
    }
    identity_spki_hash(k, ret_spki_hash);
    return 0;
}

int identity_cert_from_pem(struct bytes pem, struct buf *ret_der, struct err *err)
{
    buf_init(ret_der, IDENTITY_CERT_MAX);
    if (pem.len == 0 || pem.len > 4 * IDENTITY_CERT_MAX)
        return err_set(err, ERR_FORMAT, "not one certificate in PEM");
    BIO_OWNED *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    X509_OWNED *x = bio != NULL ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
    X509_OWNED *second = x != NULL ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
    ERR_clear_error();
    if (x == NULL || second != NULL)
        return err_set(err, ERR_FORMAT, "not one certificate in PEM");
    return cert_to_der(x, ret_der) == 0
               ? 0
               : err_set(err, ERR_TOO_LONG, "a certificate of more than %d bytes", IDENTITY_CERT_MAX);
}

int identity_cert_to_pem(struct bytes der, struct buf *ret_pem)
{
    buf_init(ret_pem, 4 * IDENTITY_CERT_MAX);
    X509_OWNED *x = parse_cert(der);
    BIO_OWNED *bio = BIO_new(BIO_s_mem());
    if (x == NULL || bio == NULL || PEM_write_bio_X509(bio, x) != 1) {
        ERR_clear_error();
        return ERR_FORMAT;
    }
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);
    return put_der(ret_pem, (int)len, (const uint8_t *)text);
}
