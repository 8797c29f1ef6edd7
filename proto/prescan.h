/* prescan: refuses every encoding that message_pack would not have produced, before protobuf-c sees it.
 *
 * protobuf-c accepts duplicates, any order, overlong or truncated numbers, unknown fields and enum values; here a value
 * has one encoding: fields in ascending order, each at most once (but elements of a list), minimal varints of at most
 * 64 bits, no explicit defaults (zero, empty), no unknown fields or enum values, strings printable ASCII, and the
 * limits of proto/shape.c on lengths and counts. Nothing is allocated. */
#ifndef ENFILADE_PROTO_PRESCAN_H
#define ENFILADE_PROTO_PRESCAN_H

#include "proto/message.h"

/* ERR_FORMAT, ERR_TOO_LONG; the text names the field ("begin: links[3]: body: …"). */
MUST_CHECK int prescan(enum message_type type, struct bytes wire, struct err *err);

#endif
