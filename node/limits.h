/* limits: how much one address may ask of a node: connections at a time, Begins and document messages a minute. Pure:
 * time is passed in.
 *
 * IPv6 addresses count by /64. The table is bounded; when it is full of busy addresses, new ones are refused. */
#ifndef ENFILADE_NODE_LIMITS_H
#define ENFILADE_NODE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#define LIMITS_ADDRESSES_MAX 4096u

struct limits;
struct limits *limits_new(unsigned connections, unsigned per_address,
                          unsigned begins_per_minute); /* NULL: out of memory */
void limits_free(struct limits *l);
bool limits_connect(struct limits *l, const uint8_t address[16], uint64_t now_ms); /* false: refuse */
void limits_disconnect(struct limits *l, const uint8_t address[16]);
/* A token bucket of one minute's size. false: *ret_retry_ms says when the next token comes. */
bool limits_begin(struct limits *l, const uint8_t address[16], uint64_t now_ms, uint64_t *ret_retry_ms);
/* Likewise for documents, asked for or offered: a bucket of its own, of the same size. */
bool limits_documents(struct limits *l, const uint8_t address[16], uint64_t now_ms);

#endif
