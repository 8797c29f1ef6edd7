/* init: makes the PIN, two tokens, all keys and the identity certificate of a new node. */
#include "node/token/init.h"
#include "common/base/clock.h"
#include "common/net/identity.h"
#include "node/token/canary.h"
#include "node/token/leaf.h"
#include "node/token/pin.h"
#include "node/token/vault.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOT_COUNT_MAX 256
#define IDENTITY_YEARS_MS (10ull * 365 * 24 * 3600 * 1000)
#define IDENTITY_BACK_MS (5ull * 60 * 1000) /* clocks differ */

static int join(const char *folder, const char *name, char ret[TOKEND_PATH_MAX], struct err *err)
{
    int n = snprintf(ret, TOKEND_PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < TOKEND_PATH_MAX ? 0 : err_set(err, ERR_CONFIG, "%s/%s: the path is too long", folder, name);
}

static int refuse_existing(const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) == 0)
        return err_set(err, ERR_USAGE, "%s exists: init never writes over anything", path);
    return errno == ENOENT ? 0 : err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

static int make_folder(const char *path, struct err *err)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    return 0;
}

/* ---- tokens */

/* A softhsm2.conf that keeps its tokens beside itself, unless there is one. */
static int write_softhsm_conf(const struct tokend_config *c, struct err *err)
{
    char copy[TOKEND_PATH_MAX], real[PATH_MAX], tokens[PATH_MAX + 16];
    if (c->softhsm_conf[0] == '\0' || access(c->softhsm_conf, F_OK) == 0)
        return 0;
    (void)snprintf(copy, sizeof(copy), "%s", c->softhsm_conf);
    if (realpath(dirname(copy), real) == NULL)
        return err_set(err, ERR_IO, "softhsm_conf: %s: %s", c->softhsm_conf, strerror(errno));
    (void)snprintf(tokens, sizeof(tokens), "%s/tokens", real);
    TRY(make_folder(tokens, err));
    struct buf text;
    buf_init(&text, PATH_MAX + 200);
    buf_printf(&text,
               "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
               tokens);
    int rc = buf_ok(&text) ? file_write(c->softhsm_conf, buf_view(&text), 0600, err) : ERR_NOMEM;
    buf_done(&text);
    return rc;
}

static int free_slot(struct pkcs11 *p, CK_SLOT_ID *ret_slot, struct err *err)
{
    CK_SLOT_ID slot[SLOT_COUNT_MAX];
    CK_ULONG count = 0;
    TRY(pkcs11_ok(p->call->C_GetSlotList(CK_TRUE, NULL, &count), err, "C_GetSlotList"));
    count = SLOT_COUNT_MAX;
    TRY(pkcs11_ok(p->call->C_GetSlotList(CK_TRUE, slot, &count), err, "C_GetSlotList"));
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (p->call->C_GetTokenInfo(slot[i], &info) == CKR_OK && (info.flags & CKF_TOKEN_INITIALIZED) == 0) {
            *ret_slot = slot[i];
            return 0;
        }
    }
    return err_set(err, ERR_TOKEN, "no free slot to initialise a token in");
}

static int refuse_token(struct pkcs11 *p, const char *label, struct err *err)
{
    CK_SLOT_ID slot;
    struct err ignored = {0};
    int rc = pkcs11_find(p, label, &slot, &ignored);
    if (rc == ERR_NOT_FOUND)
        return 0;
    return err_set(err, ERR_USAGE, "a token with the label \"%s\" exists: init never writes over anything", label);
}

/* The security officer's PIN is forgotten: nobody can set another user PIN, a lost PIN means a new node. */
static int init_token(struct pkcs11 *p, const char *label, const struct secret *pin, struct err *err)
{
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE s;
    CK_UTF8CHAR padded[32];
    struct secret *so = NULL;
    memset(padded, ' ', sizeof(padded));
    memcpy(padded, label, strlen(label));
    TRY(free_slot(p, &slot, err));
    TRY(pin_random(&so, err));
    CK_UTF8CHAR *so_text = secret_write(so), *user = (CK_UTF8CHAR *)(uintptr_t)secret_borrow(pin).p;
    int rc =
        pkcs11_ok(p->call->C_InitToken(slot, so_text, secret_len(so), padded), err, "token %s: C_InitToken", label);
    if (rc == 0)
        rc = pkcs11_find(p, label, &slot, err); /* SoftHSM gives it another number */
    if (rc == 0)
        rc = pkcs11_ok(p->call->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &s), err,
                       "token %s: C_OpenSession", label);
    if (rc == 0) {
        rc = pkcs11_ok(p->call->C_Login(s, CKU_SO, so_text, secret_len(so)), err, "token %s: C_Login (SO)", label);
        if (rc == 0)
            rc = pkcs11_ok(p->call->C_InitPIN(s, user, secret_len(pin)), err, "token %s: C_InitPIN", label);
        (void)p->call->C_CloseSession(s);
    }
    secret_free(so);
    return rc;
}

static int make_tokens(const struct tokend_config *c, struct pkcs11 *p, struct err *err)
{
    TRY(refuse_token(p, c->token, err));
    TRY(refuse_token(p, c->log_token, err));
    struct secret *pin = NULL;
    TRY(pin_random(&pin, err));
    int rc = pin_write(c->pin_file, pin, err);
    if (rc == 0)
        rc = init_token(p, c->token, pin, err);
    if (rc == 0)
        rc = init_token(p, c->log_token, pin, err);
    if (rc == 0)
        rc = pkcs11_login(p, c, pin, true, err);
    secret_free(pin);
    return rc == 0 ? keys_create(p, err) : rc;
}

/* ---- what the ceremony takes away */

static int write_public(const struct tokend_config *c, const struct keys *k, const char *path, struct err *err)
{
    static const struct {
        const char *name;
        enum key key;
    } rows[] = {{"kem", KEY_KEM}, {"seal", KEY_SEAL}, {"peer", KEY_PEER}, {"log", KEY_LOG}, {"mirror", KEY_MIRROR}};
    struct buf text;
    buf_init(&text, 4096);
    buf_printf(&text, "name: %s\nprofile: %llu\n", c->node, (unsigned long long)c->profile);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_printf(&text, "%s: ", rows[i].name);
        buf_base64(&text, keys_public(k, rows[i].key));
        buf_str(&text, "\n");
    }
    int rc = buf_ok(&text) ? file_write(path, buf_view(&text), 0644, err) : err_set(err, ERR_NOMEM, "no memory");
    buf_done(&text);
    return rc;
}

static int write_identity(const struct tokend_config *c, const char *out, struct bytes der, struct err *err)
{
    struct buf pem;
    struct stat st;
    buf_init(&pem, 16 * 1024);
    int rc = identity_cert_to_pem(der, &pem);
    if (rc == 0)
        rc = file_write(out, buf_view(&pem), 0644, err);
    if (rc == 0 && stat(c->identity, &st) != 0) /* another place than the one just written */
        rc = file_write(c->identity, buf_view(&pem), 0644, err);
    buf_done(&pem);
    return rc;
}

static int certify(const struct tokend_config *c, const char *out, struct err *err)
{
    struct leaf_key *key = NULL;
    struct buf der;
    struct clock clock = clock_system();
    uint64_t now = clock.now_ms(clock.arg);
    TRY(leaf_key_open(c, &key, err));
    buf_init(&der, 8 * 1024);
    int rc =
        identity_self_signed(leaf_key_pkey(key), c->node, now - IDENTITY_BACK_MS, now + IDENTITY_YEARS_MS, &der, err);
    leaf_key_close(key);
    if (rc == 0)
        rc = write_identity(c, out, buf_view(&der), err);
    buf_done(&der);
    return rc;
}

/* The raw half: tokens, keys, read-back and canary in one go, then the module is finalised for libp11. */
static int make_keys(const struct tokend_config *c, const char *public, struct err *err)
{
    struct vault v;
    memset(&v, 0, sizeof(v));
    TRY(pkcs11_load(c, &v.p, err));
    int rc = make_tokens(c, &v.p, err);
    if (rc == 0)
        rc = keys_load(&v.p, &v.keys, err);
    if (rc == 0)
        rc = canary_run(&v, err);
    if (rc == 0)
        rc = write_public(c, &v.keys, public, err);
    pkcs11_unload(&v.p);
    return rc;
}

int init_run(const struct tokend_config *c, const char *out, struct err *err)
{
    char identity[TOKEND_PATH_MAX], public[TOKEND_PATH_MAX];
    if (c->profile != VAULT_PROFILE)
        return err_set(err, ERR_VERSION, "profile: this tokend makes keys of profile %d only", VAULT_PROFILE);
    TRY(join(out, "identity.pem", identity, err));
    TRY(join(out, "public.yaml", public, err));
    TRY(make_folder(out, err));
    TRY(refuse_existing(c->pin_file, err));
    TRY(refuse_existing(identity, err));
    TRY(refuse_existing(public, err));
    TRY(refuse_existing(c->identity, err));
    TRY(secret_setup(err));
    TRY(write_softhsm_conf(c, err));
    int rc = make_keys(c, public, err);
    if (rc == 0)
        rc = certify(c, identity, err);
    sync(); /* SoftHSM does not */
    return rc;
}
