/* shape: the tables of all messages and the check that they agree with the schema. */
#include "proto/shape.h"
#include "proto/enfilade.pb-c.h"
#include <stddef.h>
#include <string.h>

/* Largest sizes in bytes. Who uses a field checks its exact length; these only bound what a stranger can send. */
#define HASH_MAX 32
#define NONCE_MAX 32
#define WORD_MAX 64 /* names, types, roles */
#define FACTOR_MAX 80
#define POINT_MAX 65 /* uncompressed P-256 */
#define ID_MAX 32    /* envelope, walk and denial ids */
#define KEY_MAX 128  /* a public key: raw, point or SPKI */
#define SEALED_MAX 72
#define TAG_MAX 40
#define SIGNATURE_MAX 64
#define CERTIFICATE_MAX 4096
#define BODY_MAX 2048  /* a link body */
#define ENTRY_MAX 2048 /* a ledger entry */
#define RECEIPT_MAX 16384
#define CHECKPOINT_MAX 8192
#define EVIDENCE_MAX (64 * 1024)
#define CHAIN_MAX (64 * 1024)
#define NOTE_MAX (1024 * 1024 + 16 * 1024)
#define TPM_MAX 4096 /* a TPMS_ATTEST, TPMT_SIGNATURE or TPMT_PUBLIC */
#define ANSWER_MAX 4096
#define DETAIL_MAX 256 /* addresses, expected and actual values */
#define TEXT_MAX 1024  /* sentences */

#define FIELD(s, m, kind, max, sub)                                                                                    \
    {                                                                                                                  \
#m, SHAPE_##kind, offsetof(struct msg_##s, m), (max), (sub)                                                    \
    }
#define B(s, m, max) FIELD(s, m, BYTES, max, NULL)
#define S(s, m, max) FIELD(s, m, STRING, max, NULL)
#define T(s, m) FIELD(s, m, TEXT, TEXT_MAX, NULL)
#define U(s, m) FIELD(s, m, U64, 0, NULL)
#define E(s, m) FIELD(s, m, ENUM, 0, NULL)
#define M(s, m, sub) FIELD(s, m, MESSAGE, 0, &shape_##sub)
#define L(s, m, sub, max) FIELD(s, m, LIST, max, &shape_##sub)

/* DEFINE(struct name, fields in order of their numbers…) */
#define DEFINE(s, ...)                                                                                                 \
    static const struct shape_field fields_##s[] = {__VA_ARGS__};                                                      \
    static const struct shape shape_##s = {&enfilade__##s##__descriptor, sizeof(struct msg_##s), fields_##s,           \
                                           sizeof(fields_##s) / sizeof(fields_##s[0])};

/* clang-format off */
DEFINE(document_version, S(document_version, type, WORD_MAX), S(document_version, name, WORD_MAX),
       U(document_version, version), B(document_version, hash, HASH_MAX))
DEFINE(note, B(note, text, NOTE_MAX))
DEFINE(link, B(link, body, BODY_MAX), B(link, entry, ENTRY_MAX), B(link, receipt, RECEIPT_MAX))
DEFINE(factor, S(factor, name, FACTOR_MAX))
DEFINE(evidence, S(evidence, format, WORD_MAX), B(evidence, data, EVIDENCE_MAX))
DEFINE(begin, S(begin, network, WORD_MAX), S(begin, node, WORD_MAX), B(begin, chain, CHAIN_MAX), U(begin, stage),
       U(begin, slot), B(begin, session_key, POINT_MAX), B(begin, client_nonce, NONCE_MAX), L(begin, links, link, 240),
       L(begin, versions, document_version, 64))
DEFINE(attest, L(attest, evidence, evidence, 8), L(attest, approvals, note, 32))
DEFINE(document_want, S(document_want, type, WORD_MAX), S(document_want, name, WORD_MAX), B(document_want, hash, HASH_MAX))
DEFINE(get_documents, L(get_documents, wants, document_want, 64))
DEFINE(documents, L(documents, notes, note, 2048))
DEFINE(challenge, B(challenge, nonce, NONCE_MAX), U(challenge, ttl_ms), L(challenge, factors, factor, 64),
       L(challenge, versions, document_version, 64))
DEFINE(need_documents, L(need_documents, wants, document_want, 64))
DEFINE(busy, U(busy, retry_after_ms))
DEFINE(release, M(release, link, link), B(release, answer, ANSWER_MAX))
DEFINE(deny, U(deny, code), B(deny, denial_id, ID_MAX), U(deny, retry_after_ms))
DEFINE(wrapped_tag, U(wrapped_tag, slot), B(wrapped_tag, tag, TAG_MAX))
DEFINE(answer, B(answer, share, SEALED_MAX), L(answer, tags, wrapped_tag, 16))
DEFINE(link_body, S(link_body, network, WORD_MAX), B(link_body, sid, HASH_MAX), B(link_body, eid, HASH_MAX),
       B(link_body, chain_hash, HASH_MAX), B(link_body, policy_hash, HASH_MAX), B(link_body, envelope_hash, HASH_MAX),
       U(link_body, generation), U(link_body, stage), U(link_body, slot), S(link_body, node, WORD_MAX),
       B(link_body, prevhash, HASH_MAX), L(link_body, factors, factor, 64), U(link_body, roster_version),
       U(link_body, status_version), U(link_body, issued_ms), U(link_body, not_after_ms))
DEFINE(entry, E(entry, type), U(entry, index), U(entry, time_ms), B(entry, walk_id, ID_MAX), U(entry, code),
       B(entry, policy_hash, HASH_MAX), B(entry, evidence, HASH_MAX), B(entry, subject, HASH_MAX),
       B(entry, secret, HASH_MAX), B(entry, link_hash, HASH_MAX), B(entry, response_hash, HASH_MAX), U(entry, count),
       B(entry, document_hash, HASH_MAX))
DEFINE(tpm_pcr, U(tpm_pcr, index), B(tpm_pcr, value, HASH_MAX))
DEFINE(tpm_evidence, B(tpm_evidence, attest, TPM_MAX), B(tpm_evidence, signature, TPM_MAX), B(tpm_evidence, ak, TPM_MAX),
       L(tpm_evidence, pcrs, tpm_pcr, 24))
static const struct shape shape_status_get = {&enfilade__status_get__descriptor, sizeof(struct msg_status_get), NULL, 0};
DEFINE(counter, S(counter, name, WORD_MAX), U(counter, value))
DEFINE(status, S(status, network, WORD_MAX), S(status, node, WORD_MAX), S(status, role, WORD_MAX),
       S(status, version, WORD_MAX), U(status, uptime_ms), S(status, token, WORD_MAX), U(status, tree_size),
       B(status, root_hash, HASH_MAX), L(status, documents, document_version, 2048), L(status, counters, counter, 256))
DEFINE(explain_get, B(explain_get, denial_id, ID_MAX))
DEFINE(factor_result, S(factor_result, name, FACTOR_MAX), U(factor_result, met), S(factor_result, expected, DETAIL_MAX),
       S(factor_result, actual, DETAIL_MAX))
DEFINE(explain, B(explain, denial_id, ID_MAX), U(explain, time_ms), U(explain, code), S(explain, device, DETAIL_MAX),
       S(explain, address, DETAIL_MAX), T(explain, text), U(explain, stage), U(explain, slot), U(explain, entry_index),
       L(explain, factors, factor_result, 64), B(explain, walk_id, ID_MAX))
DEFINE(entries_get, U(entries_get, from), U(entries_get, count))
DEFINE(entry_bytes, B(entry_bytes, entry, ENTRY_MAX))
DEFINE(entries, U(entries, from), L(entries, entries, entry_bytes, 4096), B(entries, checkpoint, CHECKPOINT_MAX))
DEFINE(token_peer, U(token_peer, slot), S(token_peer, node, WORD_MAX), B(token_peer, point, POINT_MAX),
       B(token_peer, link_hash, HASH_MAX))
DEFINE(token_release, U(token_release, id), B(token_release, owner, KEY_MAX), S(token_release, policy_name, WORD_MAX),
       B(token_release, envelope_id, ID_MAX), U(token_release, generation), U(token_release, stage), U(token_release, slot),
       B(token_release, point, POINT_MAX), B(token_release, sealed, SEALED_MAX), B(token_release, session_key, POINT_MAX),
       B(token_release, client_key_hash, HASH_MAX), B(token_release, client_nonce, NONCE_MAX),
       B(token_release, chain, CHAIN_MAX), B(token_release, prevhash, HASH_MAX), B(token_release, link_hash, HASH_MAX),
       L(token_release, previous, token_peer, 16), L(token_release, next, token_peer, 16), U(token_release, tag_profile))
DEFINE(grant_record, B(grant_record, prevhash, HASH_MAX), U(grant_record, entry_index), U(grant_record, not_after_ms),
       U(grant_record, reissues), B(grant_record, link_body, BODY_MAX), B(grant_record, answer, ANSWER_MAX))
DEFINE(token_answer, U(token_answer, id), B(token_answer, answer, ANSWER_MAX))
DEFINE(token_sign, U(token_sign, id), U(token_sign, size), B(token_sign, root, HASH_MAX))
DEFINE(token_signature, U(token_signature, id), B(token_signature, signature, SIGNATURE_MAX))
DEFINE(token_leaf, U(token_leaf, id), B(token_leaf, spki, KEY_MAX), U(token_leaf, not_before_ms), U(token_leaf, not_after_ms),
       S(token_leaf, address, DETAIL_MAX))
DEFINE(token_certificate, U(token_certificate, id), B(token_certificate, certificate, CERTIFICATE_MAX))
DEFINE(token_public_get, U(token_public_get, id))
DEFINE(token_public, U(token_public, id), B(token_public, identity, CERTIFICATE_MAX), B(token_public, kem, KEY_MAX),
       B(token_public, seal, KEY_MAX), B(token_public, peer, KEY_MAX), B(token_public, log, KEY_MAX),
       B(token_public, mirror, KEY_MAX), U(token_public, profile))
DEFINE(token_failure, U(token_failure, id), U(token_failure, code), T(token_failure, text))
DEFINE(token_died, U(token_died, id))
/* clang-format on */

static const struct {
    enum message_type type;
    const struct shape *shape;
} table[] = {
#define ROW(name, type, field, max) {MESSAGE_##name, &shape_##field},
    MESSAGE_TABLE(ROW)
#undef ROW
};
#define TABLE_COUNT (sizeof(table) / sizeof(table[0]))

const struct shape *shape_find(enum message_type type)
{
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if (table[i].type == type)
            return table[i].shape;
    return NULL;
}

static const struct {
    ProtobufCType type;
    ProtobufCLabel label;
    size_t size; /* in the plain struct; 0: that of sub */
} kinds[] = {
    [SHAPE_BYTES] = {PROTOBUF_C_TYPE_BYTES, PROTOBUF_C_LABEL_NONE, sizeof(struct bytes)},
    [SHAPE_STRING] = {PROTOBUF_C_TYPE_STRING, PROTOBUF_C_LABEL_NONE, sizeof(struct bytes)},
    [SHAPE_TEXT] = {PROTOBUF_C_TYPE_STRING, PROTOBUF_C_LABEL_NONE, sizeof(struct bytes)},
    [SHAPE_U64] = {PROTOBUF_C_TYPE_UINT64, PROTOBUF_C_LABEL_NONE, sizeof(uint64_t)},
    [SHAPE_ENUM] = {PROTOBUF_C_TYPE_ENUM, PROTOBUF_C_LABEL_NONE, sizeof(uint64_t)},
    [SHAPE_MESSAGE] = {PROTOBUF_C_TYPE_MESSAGE, PROTOBUF_C_LABEL_NONE, 0},
    [SHAPE_LIST] = {PROTOBUF_C_TYPE_MESSAGE, PROTOBUF_C_LABEL_REPEATED, sizeof(struct shape_list)},
};

static bool limit_fits(const struct shape_field *f)
{
    bool counted = f->kind != SHAPE_U64 && f->kind != SHAPE_ENUM && f->kind != SHAPE_MESSAGE;
    return counted == (f->max > 0);
}

static bool shape_fits(const struct shape *s, unsigned depth)
{
    const ProtobufCMessageDescriptor *d = s->descriptor;
    if (depth > SHAPE_DEPTH_MAX || d->n_fields != s->field_count)
        return false;
    size_t end = 0;
    for (unsigned i = 0; i < s->field_count; i++) {
        const struct shape_field *f = &s->fields[i];
        const ProtobufCFieldDescriptor *p = &d->fields[i];
        bool nested = f->kind == SHAPE_MESSAGE || f->kind == SHAPE_LIST;
        if (p->id != i + 1 || strcmp(p->name, f->name) != 0 || p->type != kinds[f->kind].type ||
            p->label != kinds[f->kind].label || f->offset < end || nested != (f->sub != NULL) || !limit_fits(f))
            return false;
        end = f->offset + (f->kind == SHAPE_MESSAGE ? f->sub->size : kinds[f->kind].size);
        if (nested && (f->sub->descriptor != p->descriptor || !shape_fits(f->sub, depth + 1)))
            return false;
    }
    return end <= s->size;
}

const char *shape_check_all(void)
{
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if (!shape_fits(table[i].shape, 1))
            return table[i].shape->descriptor->short_name;
    return NULL;
}
