/* secret: memory for keys, shares, tags and secrets: locked, excluded from dumps, wiped on free.
 *
 * Backed by OpenSSL's secure heap (mlock, MADV_DONTDUMP, guard pages). There is no print; equality is constant time;
 * secret_borrow() is the one door to the bytes, so that a review can grep for it. */
#ifndef ENFILADE_BASE_SECRET_H
#define ENFILADE_BASE_SECRET_H

#include "common/base/bytes.h"

#define SECRET_MAX (256u * 1024u) /* bytes of one secret */

struct secret; /* opaque: owns its bytes */

/* Once per process before any key exists: makes the heap (4 MiB), forbids core dumps and ptrace
 * (PR_SET_DUMPABLE 0, RLIMIT_CORE 0). ERR_INTERNAL when the memory cannot be locked: says which limit to raise. */
MUST_CHECK int secret_setup(struct err *err);

MUST_CHECK int secret_new(size_t len, struct secret **ret_secret);         /* zeroed; ERR_NOMEM, ERR_TOO_LONG */
MUST_CHECK int secret_copy(struct bytes from, struct secret **ret_secret); /* the caller wipes `from` */
MUST_CHECK int secret_random(size_t len, struct secret **ret_secret);      /* RAND_priv_bytes */
void secret_free(struct secret *s);                                        /* wipes; NULL is fine */
size_t secret_len(const struct secret *s);
struct bytes secret_borrow(const struct secret *s); /* a view; must not outlive s */
uint8_t *secret_write(struct secret *s);            /* the same door, for filling it */
bool secret_equal(const struct secret *a, const struct secret *b);
void wipe(void *p, size_t len); /* for stack copies */

#endif
