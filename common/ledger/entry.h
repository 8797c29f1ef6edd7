/* entry: one line of a node's book, as canonical protobuf bytes, hashed as written.
 *
 * Which fields a type must and must not have is one table in entry.c. Never shares, keys, plaintext identities,
 * addresses. */
#ifndef ENFILADE_LEDGER_ENTRY_H
#define ENFILADE_LEDGER_ENTRY_H

#include "common/crypto/hash.h"
#include "proto/message.h"

#define ENTRY_MAX 2048

MUST_CHECK int entry_make(const struct msg_entry *e, struct buf *ret_bytes, struct err *err);
/* *ret owns the views of ret->entry; message_free. ERR_FORMAT. */
MUST_CHECK int entry_parse(struct bytes bytes, struct message **ret, struct err *err);
const char *entry_type_name(uint64_t type);

#endif
