/* note: C2SP signed notes with Ed25519 signatures (type 0x01).
 *
 *   text (ends with '\n'), an empty line, then one line per signer: "— name base64(keyid[4] ‖ sig)\n"
 *   keyid = SHA-256(name ‖ 0x0A ‖ type ‖ public)[:4]; vkey text = name "+" hex(keyid) "+" base64(type ‖ public)
 *
 * Other signature types (cosignatures, 0x04) have other key ids and are passed over as unknown keys. One bad signature
 * of a known key refuses the whole note; unknown signers are ignored; one key counts once. Text is printable ASCII and
 * '\n' (rule of ours: YAML takes some Unicode as line breaks). Names of ours are 1 to 200 printable ASCII characters
 * but space and '+'; others' may hold any UTF-8 but white space and '+'. Source: C2SP signed-note; x/mod sumdb/note. */
#ifndef ENFILADE_CRYPTO_NOTE_H
#define ENFILADE_CRYPTO_NOTE_H

#include "common/base/bytes.h"
#include "common/crypto/ec.h"

#define NOTE_MAX (1024u * 1024u + 16u * 1024u)
#define NOTE_TEXT_MAX (1024u * 1024u)
#define NOTE_SIGNATURES_MAX 100
#define NOTE_NAME_MAX 200
#define NOTE_TYPE_ED25519 0x01

struct note_key { /* a verification key */
    char name[NOTE_NAME_MAX + 1];
    uint8_t public[ED25519_PUBLIC_LEN];
};

MUST_CHECK int note_key_parse(const char *vkey, struct note_key *ret_key, struct err *err); /* ERR_FORMAT */
MUST_CHECK int note_key_make(const char *name, const uint8_t public[ED25519_PUBLIC_LEN], struct note_key *ret_key);
void note_key_text(const struct note_key *key, struct buf *out);
void note_key_id(const struct note_key *key, uint8_t ret_id[4]);

/* The text part, borrowed from `note`, without checking any signature. ERR_FORMAT, ERR_TOO_LONG. */
MUST_CHECK int note_text(struct bytes note, struct bytes *ret_text, struct err *err);

/* Verify against keys[0..count). ret_signed[i] says whether keys[i] signed; ret_text as above.
 * Succeeds also when nobody known signed: the caller counts with note_count. ERR_FORMAT, ERR_SIGNATURE (a known key's
 * signature is wrong). */
MUST_CHECK int note_verify(struct bytes note, const struct note_key *keys, size_t count, bool *ret_signed,
                           struct bytes *ret_text, struct err *err);
/* How many distinct public keys among those that signed. */
size_t note_count(const struct note_key *keys, const bool *signed_, size_t count);

/* Append to ret_note the text with the signature of `key` under `name` (makes a note), or the note with one line more.
 * A key that signed already changes nothing. ERR_FORMAT, ERR_SIGNATURE (the note has a wrong signature of this key),
 * ERR_TOO_LONG. */
MUST_CHECK int note_sign(struct bytes text_or_note, const char *name, const struct ed25519_key *key,
                         struct buf *ret_note, struct err *err);
/* The same with a signature over the text made elsewhere (a token); it is verified first: ERR_SIGNATURE. */
MUST_CHECK int note_add(struct bytes text_or_note, const struct note_key *key, const uint8_t sig[ED25519_SIGNATURE_LEN],
                        struct buf *ret_note, struct err *err);

#endif
