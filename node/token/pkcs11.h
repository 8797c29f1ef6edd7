/* pkcs11: one module in one single-threaded process: load, find tokens, log in, and calls with words for their errors.
 *
 * Only processes that were forked for it load a module (tokend's workers and init). SoftHSM's habits that shape this
 * file: always CKF_OS_LOCKING_OK; sessions stay open for ever (closing the last one logs out); leave with _exit, never
 * exit, once a call may be running. Source: PKCS#11 2.40; SoftHSM 2.6.1. */
#ifndef ENFILADE_NODE_TOKEN_PKCS11_H
#define ENFILADE_NODE_TOKEN_PKCS11_H

#include "common/base/secret.h"
#include "node/token/config.h"
#include <p11-kit/pkcs11.h>

enum pkcs11_token { PKCS11_MAIN, PKCS11_LOG, PKCS11_TOKEN_COUNT };

struct pkcs11 {
    void *library; /* of dlopen */
    CK_FUNCTION_LIST *call;
    CK_SESSION_HANDLE session[PKCS11_TOKEN_COUNT]; /* 0: not open */
};

/* 0, or ERR_TOKEN with the text "<what>: CKR_NAME (0x…)". */
MUST_CHECK int pkcs11_ok(CK_RV rv, struct err *err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Sets SOFTHSM2_CONF if configured; libp11 needs it too. ERR_NOMEM. */
MUST_CHECK int pkcs11_environment(const struct tokend_config *c, struct err *err);
/* Sets the environment, loads and initialises the module. ERR_TOKEN, ERR_CONFIG. */
MUST_CHECK int pkcs11_load(const struct tokend_config *c, struct pkcs11 *ret, struct err *err);
void pkcs11_unload(struct pkcs11 *p); /* C_Finalize; only while no call is running */

/* The slot of the initialised token with this label. ERR_NOT_FOUND; ERR_KEYS when two tokens have it. */
MUST_CHECK int pkcs11_find(struct pkcs11 *p, const char *label, CK_SLOT_ID *ret_slot, struct err *err);
/* Opens a session on each token and logs in. ERR_TOKEN, ERR_NOT_FOUND, ERR_CONFIG (wrong PIN). */
MUST_CHECK int pkcs11_login(struct pkcs11 *p, const struct tokend_config *c, const struct secret *pin, bool write,
                            struct err *err);

/* Makes this process and the children that it forks later share what they know of refused PINs: a PIN that the token
 * refused is not tried again, by none of them, before its file is another one, since tokens lock themselves after some
 * wrong tries. ERR_NOMEM. */
MUST_CHECK int pkcs11_pin_share(struct err *err);
/* The token refused the PIN that pkcs11_pin read last in this process. */
void pkcs11_pin_refused(void);
/* Reads the PIN from its file, which must be a plain file of our own that nobody else may read. ERR_CONFIG, also when
 * this very file's PIN was refused. */
MUST_CHECK int pkcs11_pin(const char *path, struct secret **ret_pin, struct err *err);

/* template: the attributes of one object, with room for their values. Do not copy it: it points into itself. */
#define TEMPLATE_MAX 24
struct template
{
    CK_ATTRIBUTE at[TEMPLATE_MAX];
    CK_ULONG count;
    CK_ULONG number[TEMPLATE_MAX];
};
void template_flag(struct template *t, CK_ATTRIBUTE_TYPE type, bool value);
void template_number(struct template *t, CK_ATTRIBUTE_TYPE type, CK_ULONG value);    /* classes, types, one mechanism */
void template_bytes(struct template *t, CK_ATTRIBUTE_TYPE type, struct bytes value); /* borrowed */

#endif
