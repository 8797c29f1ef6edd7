/* link: the body of a link, as bytes: what one door says about one visit, for the doors after it.
 *
 * The body is a canonical protobuf message (proto/enfilade.proto, LinkBody). It carries no signature: it counts when a
 * ledger entry of type GRANT names its hash and a receipt proves that entry (common/ledger/links.h). */
#ifndef ENFILADE_WALK_LINK_H
#define ENFILADE_WALK_LINK_H

#include "common/walk/context.h"
#include "proto/message.h"

#define LINK_BODY_MAX 2048
#define LINK_COUNT_MAX (STAGE_MAX * SLOT_MAX)

/* Parse and check lengths of every field (hashes 32 bytes, names well formed, stage 1..15, slot 1..16). Views point
 * into *ret, which owns them; free with message_free. ERR_FORMAT, ERR_TOO_LONG. */
MUST_CHECK int link_parse(struct bytes body, struct message **ret, struct err *err);
MUST_CHECK int link_make(const struct msg_link_body *body, struct buf *ret_bytes, struct err *err);

#endif
