/* identity: keys on disk, the extensions of certificates, who issued whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/net/identity.h"
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FROM UINT64_C(1700000000000)
#define TO (FROM + UINT64_C(86400000))

struct party {
    void *key;
    struct buf cert;
};

static struct party make_ca(const char *name)
{
    struct party p;
    struct err err = {0};
    assert_int_equal(identity_key_new(&p.key), 0);
    if (identity_self_signed(p.key, name, FROM, TO, &p.cert, &err) != 0)
        fail_msg("%s", err.text);
    return p;
}

static struct party make_leaf(const struct party *ca, const char *name, const char *address, bool device)
{
    struct party p;
    struct buf spki;
    struct err err = {0};
    assert_int_equal(identity_key_new(&p.key), 0);
    assert_int_equal(identity_spki(p.key, &spki), 0);
    assert_int_equal(spki.len, 91);
    if (identity_leaf(ca->key, buf_view(&ca->cert), buf_view(&spki), name, address, device, FROM, TO, &p.cert, &err) !=
        0)
        fail_msg("%s", err.text);
    buf_done(&spki);
    return p;
}

static void drop(struct party *p)
{
    identity_key_free(p->key);
    buf_done(&p->cert);
}

static X509 *parse(const struct buf *der)
{
    const uint8_t *p = der->p;
    X509 *x = d2i_X509(NULL, &p, (long)der->len);
    assert_non_null(x);
    return x;
}

static bool is_critical(const X509 *x, int nid)
{
    int at = X509_get_ext_by_NID(x, nid, -1);
    assert_true(at >= 0);
    return X509_EXTENSION_get_critical(X509_get_ext(x, at)) == 1;
}

static void an_identity_has_its_extensions(void **state)
{
    (void)state;
    struct party ca = make_ca("node-a");
    X509 *x = parse(&ca.cert);
    assert_int_equal(X509_get_version(x), X509_VERSION_3);
    assert_int_equal(X509_check_ca(x), 1);
    assert_int_equal(X509_get_pathlen(x), 0);
    assert_int_equal(X509_get_key_usage(x), KU_KEY_CERT_SIGN);
    assert_true(is_critical(x, NID_basic_constraints) && is_critical(x, NID_key_usage));
    assert_non_null(X509_get0_subject_key_id(x));
    assert_int_equal(X509_get_ext_count(x), 3);
    assert_int_equal(ASN1_TIME_cmp_time_t(X509_get0_notBefore(x), FROM / 1000), 0);
    assert_int_equal(ASN1_TIME_cmp_time_t(X509_get0_notAfter(x), TO / 1000), 0);
    assert_int_equal(X509_get_signature_nid(x), NID_ecdsa_with_SHA256);
    X509_free(x);
    drop(&ca);
}

static void leaves_have_their_extensions(void **state)
{
    (void)state;
    struct party ca = make_ca("node-a");
    X509 *issuer = parse(&ca.cert);
    for (int device = 0; device < 2; device++) {
        struct party leaf = make_leaf(&ca, "node-a", "127.0.0.11:7600", device);
        X509 *x = parse(&leaf.cert);
        assert_int_equal(X509_check_ca(x), 0);
        assert_int_equal(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
        assert_int_equal(X509_get_extended_key_usage(x), device ? XKU_SSL_CLIENT : XKU_SSL_CLIENT | XKU_SSL_SERVER);
        assert_true(is_critical(x, NID_basic_constraints) && is_critical(x, NID_key_usage));
        assert_int_equal(ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(x), X509_get0_subject_key_id(issuer)), 0);
        assert_int_equal(X509_get_ext_count(x), 6);
        assert_int_equal(X509_check_host(x, "node-a", 0, 0, NULL), 1);
        assert_int_equal(X509_check_ip_asc(x, "127.0.0.11", 0), 1);
        assert_int_equal(X509_check_ip_asc(x, "127.0.0.12", 0), 0);
        X509_free(x);
        drop(&leaf);
    }
    X509_free(issuer);
    drop(&ca);
}

static void addresses_become_names(void **state)
{
    (void)state;
    static const struct {
        const char *address, *ip, *host;
    } rows[] = {
        {"10.1.2.3", "10.1.2.3", NULL},          {"[fd00::7]:7600", "fd00::7", NULL}, {"fd00::7", "fd00::7", NULL},
        {"n1.example:7600", NULL, "n1.example"}, {"n1.example", NULL, "n1.example"},
    };
    struct party ca = make_ca("node-a");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct party leaf = make_leaf(&ca, "node-a", rows[i].address, false);
        X509 *x = parse(&leaf.cert);
        if (rows[i].ip != NULL)
            assert_int_equal(X509_check_ip_asc(x, rows[i].ip, 0), 1);
        if (rows[i].host != NULL)
            assert_int_equal(X509_check_host(x, rows[i].host, 0, 0, NULL), 1);
        X509_free(x);
        drop(&leaf);
    }
    drop(&ca);
}

static void issued_is_a_signature_not_a_name(void **state)
{
    (void)state;
    struct party a = make_ca("same"), b = make_ca("same");
    struct party leaf = make_leaf(&a, "leaf", NULL, false);
    assert_int_equal(identity_issued(buf_view(&a.cert), buf_view(&leaf.cert)), 0);
    assert_int_equal(identity_issued(buf_view(&b.cert), buf_view(&leaf.cert)), ERR_SIGNATURE);
    assert_int_equal(identity_issued(buf_view(&leaf.cert), buf_view(&leaf.cert)), ERR_SIGNATURE);
    leaf.cert.p[leaf.cert.len - 1] ^= 1;
    assert_int_equal(identity_issued(buf_view(&a.cert), buf_view(&leaf.cert)), ERR_SIGNATURE);
    buf_u8(&a.cert, 0); /* something behind the certificate */
    assert_int_equal(identity_issued(buf_view(&a.cert), buf_view(&leaf.cert)), ERR_FORMAT);
    drop(&leaf);
    drop(&a);
    drop(&b);
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    struct party ca = make_ca("node-a"), other = make_ca("node-b");
    struct buf out, spki;
    char long_name[66];
    memset(long_name, 'n', 65);
    long_name[65] = '\0';
    assert_int_equal(identity_self_signed(ca.key, "", FROM, TO, &out, NULL), ERR_FORMAT);
    assert_int_equal(identity_self_signed(ca.key, long_name, FROM, TO, &out, NULL), ERR_FORMAT);
    assert_int_equal(identity_self_signed(ca.key, "a b", FROM, TO, &out, NULL), ERR_FORMAT);
    assert_int_equal(identity_self_signed(ca.key, "a", TO, FROM, &out, NULL), ERR_FORMAT);
    assert_int_equal(identity_spki(other.key, &spki), 0);
    struct bytes s = buf_view(&spki);
    assert_int_equal(identity_leaf(other.key, buf_view(&ca.cert), s, "a", NULL, false, FROM, TO, &out, NULL), ERR_KEYS);
    assert_int_equal(identity_leaf(ca.key, buf_view(&ca.cert), BYTES(s.p, 90), "a", NULL, false, FROM, TO, &out, NULL),
                     ERR_FORMAT);
    assert_int_equal(identity_leaf(ca.key, BYTES_NONE, s, "a", NULL, false, FROM, TO, &out, NULL), ERR_FORMAT);
    buf_done(&spki);
    drop(&ca);
    drop(&other);
}

static void pem_and_hashes_agree(void **state)
{
    (void)state;
    struct party ca = make_ca("node-a");
    struct buf pem, der, twice;
    uint8_t from_key[HASH_LEN], from_cert[HASH_LEN];
    assert_int_equal(identity_cert_to_pem(buf_view(&ca.cert), &pem), 0);
    assert_int_equal(identity_cert_from_pem(buf_view(&pem), &der, NULL), 0);
    assert_true(bytes_equal(buf_view(&der), buf_view(&ca.cert)));
    buf_init(&twice, 20000);
    buf_put(&twice, buf_view(&pem));
    buf_put(&twice, buf_view(&pem));
    buf_done(&der);
    assert_int_equal(identity_cert_from_pem(buf_view(&twice), &der, NULL), ERR_FORMAT);
    assert_int_equal(identity_cert_from_pem(bytes_str("rubbish"), &der, NULL), ERR_FORMAT);
    identity_spki_hash(ca.key, from_key);
    assert_int_equal(identity_cert_key_hash(buf_view(&ca.cert), from_cert), 0);
    assert_memory_equal(from_key, from_cert, HASH_LEN);
    buf_done(&twice);
    buf_done(&pem);
    drop(&ca);
}

static void keys_are_kept_from_others(void **state)
{
    (void)state;
    char folder[] = "/tmp/identity-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/key.pem", folder);
    void *key = NULL, *back = NULL;
    struct err err = {0};
    uint8_t a[HASH_LEN], b[HASH_LEN];
    assert_int_equal(identity_key_load(path, &back, &err), ERR_NOT_FOUND);
    assert_int_equal(identity_key_new(&key), 0);
    assert_int_equal(identity_key_save(key, path, &err), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(identity_key_save(key, path, &err), ERR_IO); /* never over */
    assert_int_equal(identity_key_load(path, &back, &err), 0);
    identity_spki_hash(key, a);
    identity_spki_hash(back, b);
    assert_memory_equal(a, b, HASH_LEN);
    identity_key_free(back);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(identity_key_load(path, &back, &err), ERR_CONFIG);
    assert_non_null(strstr(err.text, "chmod 600"));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 40), 0);
    assert_int_equal(identity_key_load(path, &back, &err), ERR_FORMAT);
    assert_int_equal(identity_key_load(folder, &back, &err), ERR_CONFIG); /* a folder is no file */
    identity_key_free(key);
    (void)unlink(path);
    (void)rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_identity_has_its_extensions), cmocka_unit_test(leaves_have_their_extensions),
        cmocka_unit_test(addresses_become_names),         cmocka_unit_test(issued_is_a_signature_not_a_name),
        cmocka_unit_test(bad_input_is_refused),           cmocka_unit_test(pem_and_hashes_agree),
        cmocka_unit_test(keys_are_kept_from_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
