/* pin: a new PIN, for a new node or in the place of the old one. */
#include "node/token/pin.h"
#include "node/token/pkcs11.h"
#include "node/token/softhsm.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PIN_BYTES 32
#define PIN_PATH_MAX (TOKEND_PATH_MAX + 8)

int pin_random(struct secret **ret, struct err *err)
{
    struct secret *raw = NULL, *hex = NULL;
    int rc = secret_random(PIN_BYTES, &raw);
    if (rc == 0)
        rc = secret_new(2 * PIN_BYTES + 1, &hex);
    if (rc == 0) {
        hex_encode(secret_borrow(raw), (char *)secret_write(hex));
        rc = secret_copy(BYTES(secret_borrow(hex).p, 2 * PIN_BYTES), ret); /* without the NUL */
    }
    secret_free(raw);
    secret_free(hex);
    return rc == 0 ? 0 : err_set(err, rc, "pin: no randomness or memory");
}

static int write_all(int fd, struct bytes data)
{
    bool ok = write(fd, data.p, data.len) == (ssize_t)data.len && fsync(fd) == 0;
    return close(fd) == 0 && ok ? 0 : -1;
}

static int sync_folder_of(const char *path, struct err *err)
{
    char copy[PIN_PATH_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", path);
    int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = folder < 0 || fsync(folder) != 0 ? err_set(err, ERR_IO, "pin_file: %s: %s", path, strerror(errno)) : 0;
    if (folder >= 0)
        (void)close(folder);
    return rc;
}

/* link() refuses an existing name. */
int pin_write(const char *path, const struct secret *pin, struct err *err)
{
    char temp[PIN_PATH_MAX + 8];
    (void)snprintf(temp, sizeof(temp), "%s.part", path);
    (void)unlink(temp); /* of one that was cut off */
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
    if (fd < 0)
        return err_set(err, ERR_IO, "pin_file: %s: %s", temp, strerror(errno));
    int rc = 0;
    if (write_all(fd, secret_borrow(pin)) != 0 || link(temp, path) != 0)
        rc = err_set(err, errno == EEXIST ? ERR_USAGE : ERR_IO, "pin_file: %s: %s", path, strerror(errno));
    (void)unlink(temp);
    return rc == 0 ? sync_folder_of(path, err) : rc;
}

/* ---- change */

struct change {
    const struct tokend_config *config;
    struct secret *old, *new;
    char new_path[PIN_PATH_MAX];
    bool resumed; /* the new PIN is that of a change that was cut off */
};

static int take_pins(struct change *x, struct err *err)
{
    TRY(pkcs11_pin(x->config->pin_file, &x->old, err));
    (void)snprintf(x->new_path, sizeof(x->new_path), "%s.new", x->config->pin_file);
    x->resumed = access(x->new_path, F_OK) == 0;
    if (x->resumed)
        return pkcs11_pin(x->new_path, &x->new, err);
    TRY(pin_random(&x->new, err));
    return pin_write(x->new_path, x->new, err);
}

static CK_RV login(struct pkcs11 *p, CK_SESSION_HANDLE s, const struct secret *pin)
{
    struct bytes text = secret_borrow(pin);
    return p->call->C_Login(s, CKU_USER, (CK_UTF8CHAR *)(uintptr_t)text.p, text.len);
}

static int change_one(struct change *x, struct pkcs11 *p, const char *label, struct err *err)
{
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE s;
    struct bytes old = secret_borrow(x->old), new = secret_borrow(x->new);
    TRY(pkcs11_find(p, label, &slot, err));
    TRY(pkcs11_ok(p->call->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &s), err,
                  "token %s: C_OpenSession", label));
    CK_RV rv = login(p, s, x->old);
    if (rv == CKR_PIN_INCORRECT && x->resumed && login(p, s, x->new) == CKR_OK)
        return 0; /* it has the new one already */
    if (rv == CKR_PIN_INCORRECT)
        return err_set(err, ERR_CONFIG, "pin_file: %s does not hold the PIN of token %s", x->config->pin_file, label);
    TRY(pkcs11_ok(rv, err, "token %s: C_Login", label));
    rv = p->call->C_SetPIN(s, (CK_UTF8CHAR *)(uintptr_t)old.p, old.len, (CK_UTF8CHAR *)(uintptr_t) new.p, new.len);
    return pkcs11_ok(rv, err, "token %s: C_SetPIN", label);
}

static int change_tokens(struct change *x, struct err *err)
{
    struct tokend_config mine;
    struct pkcs11 p = {.library = NULL};
    TRY(softhsm_copy(x->config, &mine, err));
    int rc = pkcs11_load(&mine, &p, err);
    if (rc == 0)
        rc = change_one(x, &p, mine.token, err);
    if (rc == 0)
        rc = change_one(x, &p, mine.log_token, err);
    pkcs11_unload(&p);
    if (rc == 0)
        rc = softhsm_put_back(x->config, &mine, err);
    softhsm_drop(x->config, getpid());
    return rc;
}

int pin_change(const struct tokend_config *c, struct err *err)
{
    struct change x = {.config = c};
    TRY(secret_setup(err));
    int rc = take_pins(&x, err);
    if (rc == 0)
        rc = change_tokens(&x, err);
    if (rc == 0 && rename(x.new_path, c->pin_file) != 0)
        rc = err_set(err, ERR_IO, "pin_file: %s: %s", c->pin_file, strerror(errno));
    if (rc == 0)
        rc = sync_folder_of(c->pin_file, err);
    secret_free(x.old);
    secret_free(x.new);
    return rc;
}
