/* pkcs11: load a module, find tokens, log in. */
#include "node/token/pkcs11.h"
#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOT_COUNT_MAX 256
#define PIN_LEN_MAX 255

#define RV(name)                                                                                                       \
    {                                                                                                                  \
        name, #name                                                                                                    \
    }
static const struct {
    CK_RV rv;
    const char *name;
} rv_names[] = {
    RV(CKR_HOST_MEMORY),
    RV(CKR_GENERAL_ERROR),
    RV(CKR_FUNCTION_FAILED),
    RV(CKR_ARGUMENTS_BAD),
    RV(CKR_ATTRIBUTE_READ_ONLY),
    RV(CKR_ATTRIBUTE_SENSITIVE),
    RV(CKR_ATTRIBUTE_TYPE_INVALID),
    RV(CKR_ATTRIBUTE_VALUE_INVALID),
    RV(CKR_DEVICE_ERROR),
    RV(CKR_DEVICE_MEMORY),
    RV(CKR_DEVICE_REMOVED),
    RV(CKR_KEY_HANDLE_INVALID),
    RV(CKR_KEY_SIZE_RANGE),
    RV(CKR_KEY_TYPE_INCONSISTENT),
    RV(CKR_KEY_FUNCTION_NOT_PERMITTED),
    RV(CKR_KEY_UNEXTRACTABLE),
    RV(CKR_MECHANISM_INVALID),
    RV(CKR_MECHANISM_PARAM_INVALID),
    RV(CKR_OBJECT_HANDLE_INVALID),
    RV(CKR_PIN_INCORRECT),
    RV(CKR_PIN_LOCKED),
    RV(CKR_SESSION_HANDLE_INVALID),
    RV(CKR_TEMPLATE_INCOMPLETE),
    RV(CKR_TEMPLATE_INCONSISTENT),
    RV(CKR_TOKEN_NOT_PRESENT),
    RV(CKR_USER_NOT_LOGGED_IN),
    RV(CKR_WRAPPED_KEY_INVALID),
    RV(CKR_WRAPPED_KEY_LEN_RANGE),
    RV(CKR_CRYPTOKI_NOT_INITIALIZED),
};

static const char *rv_name(CK_RV rv)
{
    for (size_t i = 0; i < sizeof(rv_names) / sizeof(rv_names[0]); i++)
        if (rv_names[i].rv == rv)
            return rv_names[i].name;
    return "CKR";
}

int pkcs11_ok(CK_RV rv, struct err *err, const char *format, ...)
{
    if (rv == CKR_OK)
        return 0;
    char what[200];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(what, sizeof(what), format, ap);
    va_end(ap);
    return err_set(err, ERR_TOKEN, "%s: %s (0x%lx)", what, rv_name(rv), rv);
}

int pkcs11_environment(const struct tokend_config *c, struct err *err)
{
    if (c->softhsm_conf[0] != '\0' && setenv("SOFTHSM2_CONF", c->softhsm_conf, 1) != 0)
        return err_set(err, ERR_NOMEM, "SOFTHSM2_CONF: %s", strerror(errno));
    return 0;
}

int pkcs11_load(const struct tokend_config *c, struct pkcs11 *ret, struct err *err)
{
    TRY(pkcs11_environment(c, err));
    struct pkcs11 p = {.library = dlopen(c->module, RTLD_NOW | RTLD_LOCAL)};
    if (p.library == NULL)
        return err_set(err, ERR_CONFIG, "module: %s", dlerror());
    CK_C_GetFunctionList get;
    void *symbol = dlsym(p.library, "C_GetFunctionList");
    memcpy(&get, &symbol, sizeof(get));
    if (symbol == NULL || get(&p.call) != CKR_OK) {
        (void)dlclose(p.library);
        return err_set(err, ERR_CONFIG, "module: %s is not a PKCS#11 module", c->module);
    }
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    int rc = pkcs11_ok(p.call->C_Initialize(&args), err, "module %s: C_Initialize", c->module);
    if (rc != 0) {
        (void)dlclose(p.library);
        return rc;
    }
    *ret = p;
    return 0;
}

void pkcs11_unload(struct pkcs11 *p)
{
    if (p->call != NULL)
        (void)p->call->C_Finalize(NULL);
    if (p->library != NULL)
        (void)dlclose(p->library);
    *p = (struct pkcs11){0};
}

static bool label_is(const CK_UTF8CHAR label[32], const char *want)
{
    char padded[32];
    memset(padded, ' ', sizeof(padded));
    memcpy(padded, want, strlen(want) <= 32 ? strlen(want) : 32);
    return memcmp(padded, label, 32) == 0;
}

int pkcs11_find(struct pkcs11 *p, const char *label, CK_SLOT_ID *ret_slot, struct err *err)
{
    CK_SLOT_ID slot[SLOT_COUNT_MAX];
    CK_ULONG count = 0;
    TRY(pkcs11_ok(p->call->C_GetSlotList(CK_TRUE, NULL, &count), err, "C_GetSlotList")); /* makes SoftHSM look again */
    count = SLOT_COUNT_MAX;
    TRY(pkcs11_ok(p->call->C_GetSlotList(CK_TRUE, slot, &count), err, "C_GetSlotList"));
    unsigned found = 0;
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (p->call->C_GetTokenInfo(slot[i], &info) != CKR_OK || (info.flags & CKF_TOKEN_INITIALIZED) == 0 ||
            !label_is(info.label, label))
            continue;
        *ret_slot = slot[i];
        found++;
    }
    if (found == 0)
        return err_set(err, ERR_NOT_FOUND, "no token has the label \"%s\"; enfilade-tokend init makes it", label);
    if (found > 1)
        return err_set(err, ERR_KEYS, "%u tokens have the label \"%s\"", found, label);
    return 0;
}

int pkcs11_login(struct pkcs11 *p, const struct tokend_config *c, const struct secret *pin, bool write, struct err *err)
{
    const char *label[PKCS11_TOKEN_COUNT] = {c->token, c->log_token};
    struct bytes text = secret_borrow(pin);
    for (int i = 0; i < PKCS11_TOKEN_COUNT; i++) {
        CK_SLOT_ID slot;
        TRY(pkcs11_find(p, label[i], &slot, err));
        CK_FLAGS flags = CKF_SERIAL_SESSION | (write ? CKF_RW_SESSION : 0);
        TRY(pkcs11_ok(p->call->C_OpenSession(slot, flags, NULL, NULL, &p->session[i]), err, "token %s: C_OpenSession",
                      label[i]));
        CK_RV rv = p->call->C_Login(p->session[i], CKU_USER, (CK_UTF8CHAR *)(uintptr_t)text.p, text.len);
        if (rv == CKR_PIN_INCORRECT || rv == CKR_PIN_LOCKED)
            pkcs11_pin_refused();
        if (rv == CKR_PIN_INCORRECT)
            return err_set(err, ERR_CONFIG, "pin_file: %s does not hold the PIN of token %s", c->pin_file, label[i]);
        if (rv != CKR_USER_ALREADY_LOGGED_IN)
            TRY(pkcs11_ok(rv, err, "token %s: C_Login", label[i]));
    }
    return 0;
}

/* ---- the PIN's file */

struct pin_file {
    dev_t device;
    ino_t inode;
    struct timespec changed;
};
static struct pin_file read_last, not_shared;
static struct pin_file *refused = &not_shared; /* in memory that tokend's processes share */

int pkcs11_pin_share(struct err *err)
{
    void *p = mmap(NULL, sizeof(*refused), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return err_set(err, ERR_NOMEM, "shared memory: %s", strerror(errno));
    refused = p;
    return 0;
}

void pkcs11_pin_refused(void)
{
    *refused = read_last;
}

static bool was_refused(const struct stat *st)
{
    return refused->inode == st->st_ino && refused->device == st->st_dev &&
           refused->changed.tv_sec == st->st_ctim.tv_sec && refused->changed.tv_nsec == st->st_ctim.tv_nsec;
}

/* One read into locked memory; the file's text never passes through another buffer. */
static int read_pin(int fd, const char *path, struct secret **ret_pin, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_CONFIG, "pin_file: %s is not a plain file", path);
    if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return err_set(err, ERR_CONFIG, "pin_file: %s must belong to uid %u with mode 0400", path, (unsigned)geteuid());
    if (was_refused(&st))
        return err_set(err, ERR_CONFIG,
                       "pin_file: the token refused the PIN of %s; it is not tried again before the file changes",
                       path);
    read_last = (struct pin_file){st.st_dev, st.st_ino, st.st_ctim};
    if (st.st_size < 1 || st.st_size > PIN_LEN_MAX)
        return err_set(err, ERR_CONFIG, "pin_file: %s must hold 1 to %d bytes", path, PIN_LEN_MAX);
    struct secret *pin = NULL;
    int rc = secret_new((size_t)st.st_size, &pin);
    if (rc != 0)
        return err_set(err, rc, "pin_file: %s: no memory", path);
    if (read(fd, secret_write(pin), (size_t)st.st_size) != (ssize_t)st.st_size) {
        secret_free(pin);
        return err_set(err, ERR_CONFIG, "pin_file: %s cannot be read", path);
    }
    *ret_pin = pin;
    return 0;
}

int pkcs11_pin(const char *path, struct secret **ret_pin, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_set(err, ERR_CONFIG, "pin_file: %s: %s; enfilade-tokend init makes it", path, strerror(errno));
    int rc = read_pin(fd, path, ret_pin, err);
    (void)close(fd);
    return rc;
}

static void put(struct template *t, CK_ATTRIBUTE_TYPE type, const void *value, size_t len)
{
    assert(t->count < TEMPLATE_MAX);
    t->at[t->count++] = (CK_ATTRIBUTE){type, (void *)(uintptr_t)value, len};
}

void template_flag(struct template *t, CK_ATTRIBUTE_TYPE type, bool value)
{
    static const CK_BBOOL no = CK_FALSE, yes = CK_TRUE;
    put(t, type, value ? &yes : &no, sizeof(CK_BBOOL));
}

void template_number(struct template *t, CK_ATTRIBUTE_TYPE type, CK_ULONG value)
{
    assert(t->count < TEMPLATE_MAX);
    t->number[t->count] = value;
    put(t, type, &t->number[t->count], sizeof(CK_ULONG));
}

void template_bytes(struct template *t, CK_ATTRIBUTE_TYPE type, struct bytes value)
{
    put(t, type, value.p, value.len);
}
