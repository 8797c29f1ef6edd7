/* message: the one table of messages, each as a plain struct of borrowed views.
 *
 * `struct message` owns what its views point to. proto/ is the only folder that includes generated code: message_unpack
 * pre-scans (proto/prescan.h), unpacks with protobuf-c under a bounded allocator and fills the struct; message_pack is
 * its exact inverse, so pack(unpack(x)) == x for everything that is accepted. */
#ifndef ENFILADE_PROTO_MESSAGE_H
#define ENFILADE_PROTO_MESSAGE_H

#include "common/base/bytes.h"

struct msg_document_version {
    struct bytes type, name;
    uint64_t version;
    struct bytes hash;
};
struct msg_note {
    struct bytes text;
};
struct msg_link {
    struct bytes body, entry, receipt;
};
struct msg_factor {
    struct bytes name;
};
struct msg_evidence {
    struct bytes format, data;
};
struct msg_begin {
    struct bytes network, node, chain;
    uint64_t stage, slot;
    struct bytes session_key, client_nonce;
    struct {
        struct msg_link *at;
        size_t count;
    } links;
    struct {
        struct msg_document_version *at;
        size_t count;
    } versions;
};
struct msg_attest {
    struct {
        struct msg_evidence *at;
        size_t count;
    } evidence;
    struct {
        struct msg_note *at;
        size_t count;
    } approvals;
};
struct msg_document_want {
    struct bytes type, name, hash;
};
struct msg_get_documents {
    struct {
        struct msg_document_want *at;
        size_t count;
    } wants;
};
struct msg_documents {
    struct {
        struct msg_note *at;
        size_t count;
    } notes;
};
struct msg_challenge {
    struct bytes nonce;
    uint64_t ttl_ms;
    struct {
        struct msg_factor *at;
        size_t count;
    } factors;
    struct {
        struct msg_document_version *at;
        size_t count;
    } versions;
};
struct msg_need_documents {
    struct {
        struct msg_document_want *at;
        size_t count;
    } wants;
};
struct msg_busy {
    uint64_t retry_after_ms;
};
struct msg_release {
    struct msg_link link;
    struct bytes answer;
};
struct msg_deny {
    uint64_t code;
    struct bytes denial_id;
    uint64_t retry_after_ms;
};
struct msg_wrapped_tag {
    uint64_t slot;
    struct bytes tag;
};
struct msg_answer {
    struct bytes share;
    struct {
        struct msg_wrapped_tag *at;
        size_t count;
    } tags;
};
struct msg_link_body {
    struct bytes network, sid, eid, chain_hash, policy_hash, envelope_hash;
    uint64_t generation, stage, slot;
    struct bytes node, prevhash;
    struct {
        struct msg_factor *at;
        size_t count;
    } factors;
    uint64_t roster_version, status_version, issued_ms, not_after_ms;
};
enum entry_type {
    ENTRY_START = 1,
    ENTRY_GRANT,
    ENTRY_REISSUE,
    ENTRY_DENY,
    ENTRY_DOCUMENT,
    ENTRY_HALT,
    ENTRY_FRONTIER,
    ENTRY_EVIDENCE,
    ENTRY_PRUNE,
};
struct msg_entry {
    uint64_t type; /* enum entry_type */
    uint64_t index, time_ms;
    struct bytes walk_id;
    uint64_t code;
    struct bytes policy_hash, evidence, subject, secret, link_hash, response_hash;
    uint64_t count;
    struct bytes document_hash;
};
struct msg_grant_record {
    struct bytes prevhash;
    uint64_t entry_index, not_after_ms, reissues;
    struct bytes link_body, answer;
};
struct msg_tpm_pcr {
    uint64_t index;
    struct bytes value;
};
struct msg_tpm_evidence {
    struct bytes attest, signature, ak;
    struct {
        struct msg_tpm_pcr *at;
        size_t count;
    } pcrs;
};
struct msg_status_get {
    char unused;
};
struct msg_counter {
    struct bytes name;
    uint64_t value;
};
struct msg_status {
    struct bytes network, node, role, version;
    uint64_t uptime_ms;
    struct bytes token;
    uint64_t tree_size;
    struct bytes root_hash;
    struct {
        struct msg_document_version *at;
        size_t count;
    } documents;
    struct {
        struct msg_counter *at;
        size_t count;
    } counters;
};
struct msg_explain_get {
    struct bytes denial_id;
};
struct msg_factor_result {
    struct bytes name;
    uint64_t met;
    struct bytes expected, actual;
};
struct msg_explain {
    struct bytes denial_id;
    uint64_t time_ms, code;
    struct bytes device, address, text;
    uint64_t stage, slot, entry_index;
    struct {
        struct msg_factor_result *at;
        size_t count;
    } factors;
    struct bytes walk_id;
};
struct msg_entries_get {
    uint64_t from, count;
};
struct msg_entry_bytes {
    struct bytes entry;
};
struct msg_entries {
    uint64_t from;
    struct {
        struct msg_entry_bytes *at;
        size_t count;
    } entries;
    struct bytes checkpoint;
};
struct msg_token_peer {
    uint64_t slot;
    struct bytes node, point, link_hash;
};
struct msg_token_release {
    uint64_t id;
    struct bytes owner, policy_name, envelope_id;
    uint64_t generation, stage, slot;
    struct bytes point, sealed, session_key, client_key_hash, client_nonce, chain, prevhash, link_hash;
    struct {
        struct msg_token_peer *at;
        size_t count;
    } previous;
    struct {
        struct msg_token_peer *at;
        size_t count;
    } next;
    uint64_t tag_profile;
};
struct msg_token_answer {
    uint64_t id;
    struct bytes answer;
};
struct msg_token_sign {
    uint64_t id, size;
    struct bytes root;
};
struct msg_token_signature {
    uint64_t id;
    struct bytes signature;
};
struct msg_token_leaf {
    uint64_t id;
    struct bytes spki;
    uint64_t not_before_ms, not_after_ms;
    struct bytes address;
};
struct msg_token_certificate {
    uint64_t id;
    struct bytes certificate;
};
struct msg_token_public_get {
    uint64_t id;
};
struct msg_token_public {
    uint64_t id;
    struct bytes identity, kem, seal, peer, log, mirror;
    uint64_t profile;
};
struct msg_token_failure {
    uint64_t id, code;
    struct bytes text;
};
struct msg_token_died {
    uint64_t id;
};

/* X(enum name, frame type, struct and field name, largest encoding in bytes). Frame types are never reused; those from
 * 0x80 on are never framed: they are hashed or carried as bytes. */
#define MESSAGE_TABLE(X)                                                                                               \
    X(BEGIN, 0x01, begin, 1024 * 1024)                                                                                 \
    X(CHALLENGE, 0x02, challenge, 16 * 1024)                                                                           \
    X(NEED_DOCUMENTS, 0x03, need_documents, 16 * 1024)                                                                 \
    X(BUSY, 0x04, busy, 64)                                                                                            \
    X(DOCUMENTS, 0x05, documents, 4 * 1024 * 1024)                                                                     \
    X(ATTEST, 0x06, attest, 256 * 1024)                                                                                \
    X(RELEASE, 0x07, release, 64 * 1024)                                                                               \
    X(DENY, 0x08, deny, 256)                                                                                           \
    X(GET_DOCUMENTS, 0x09, get_documents, 16 * 1024)                                                                   \
    X(STATUS_GET, 0x20, status_get, 16)                                                                                \
    X(STATUS, 0x21, status, 256 * 1024)                                                                                \
    X(EXPLAIN_GET, 0x22, explain_get, 256)                                                                             \
    X(EXPLAIN, 0x23, explain, 64 * 1024)                                                                               \
    X(ENTRIES_GET, 0x24, entries_get, 64)                                                                              \
    X(ENTRIES, 0x25, entries, 4 * 1024 * 1024)                                                                         \
    X(TOKEN_RELEASE, 0x40, token_release, 128 * 1024)                                                                  \
    X(TOKEN_ANSWER, 0x41, token_answer, 8 * 1024)                                                                      \
    X(TOKEN_SIGN, 0x42, token_sign, 256)                                                                               \
    X(TOKEN_SIGNATURE, 0x43, token_signature, 256)                                                                     \
    X(TOKEN_LEAF, 0x44, token_leaf, 1024)                                                                              \
    X(TOKEN_CERTIFICATE, 0x45, token_certificate, 8 * 1024)                                                            \
    X(TOKEN_PUBLIC_GET, 0x46, token_public_get, 64)                                                                    \
    X(TOKEN_PUBLIC, 0x47, token_public, 8 * 1024)                                                                      \
    X(TOKEN_FAILURE, 0x48, token_failure, 2 * 1024)                                                                    \
    X(TOKEN_DIED, 0x49, token_died, 64)                                                                                \
    X(ANSWER, 0x80, answer, 4 * 1024)                                                                                  \
    X(LINK_BODY, 0x81, link_body, 2048)                                                                                \
    X(ENTRY, 0x82, entry, 2048)                                                                                        \
    X(TPM_EVIDENCE, 0x83, tpm_evidence, 16 * 1024)                                                                     \
    X(GRANT_RECORD, 0x84, grant_record, 8 * 1024)

enum message_type {
#define MESSAGE_ENUM(name, type, field, max) MESSAGE_##name = (type),
    MESSAGE_TABLE(MESSAGE_ENUM)
#undef MESSAGE_ENUM
};

struct message {
    enum message_type type;
    union {
#define MESSAGE_FIELD(name, type, field, max) struct msg_##field field;
        MESSAGE_TABLE(MESSAGE_FIELD)
#undef MESSAGE_FIELD
    };
    void *owned; /* the codec's */
};

/* ERR_FORMAT (text names the field), ERR_TOO_LONG, ERR_NOMEM. wire may be freed afterwards. */
MUST_CHECK int message_unpack(enum message_type type, struct bytes wire, struct message **ret, struct err *err);
void message_free(struct message *m);
/* Appends the encoding of *m (m->type and its field; m->owned is not looked at). Held to the same rules and limits as
 * what is unpacked (proto/shape.c); but explain.text and token_failure.text, words for people, are cut at 1024 bytes
 * and made printable. ERR_TOO_LONG (also: does not fit into out), ERR_FORMAT, ERR_NOMEM; then nothing was appended.
 * *err must be zeroed before. */
MUST_CHECK int message_pack(const struct message *m, struct buf *out, struct err *err);
size_t message_max(enum message_type type);       /* 0 for unknown types */
const char *message_name(enum message_type type); /* "begin" */

#endif
