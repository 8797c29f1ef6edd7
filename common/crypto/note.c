/* note: C2SP signed notes, read strictly.
 *
 * The last empty line of a note ends the text: signature lines are never empty. Our texts are ASCII and signature lines
 * begin with a dash that is not, so that a text and a note cannot be taken for one another. */
#include "common/crypto/note.h"
#include "common/crypto/hash.h"
#include <assert.h>
#include <string.h>

#define DASH "\xe2\x80\x94 " /* U+2014 and a space */
#define DASH_LEN 4
#define KEY_ID_LEN 4
#define BLOB_MAX 12288 /* decoded bytes of one signature line, any algorithm */

/* One signature line, views into the note but for the decoded blob. */
struct line {
    struct bytes name;
    uint8_t blob[BLOB_MAX]; /* key id ‖ signature */
    size_t blob_len;
};

static bool is_text(struct bytes t)
{
    if (t.len == 0 || t.len > NOTE_TEXT_MAX || t.p[t.len - 1] != '\n')
        return false;
    for (size_t i = 0; i < t.len; i++)
        if (t.p[i] != '\n' && (t.p[i] < 0x20 || t.p[i] > 0x7e))
            return false;
    return true;
}

/* One UTF-8 character from the front of *s (RFC 3629: shortest form, no surrogates). */
static bool take_char(struct bytes *s, uint32_t *ret_c)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    uint8_t head = s->p[0];
    size_t more = head < 0x80 ? 0 : head >= 0xf0 ? 3 : head >= 0xe0 ? 2 : 1;
    if ((head >= 0x80 && head < 0xc2) || head > 0xf4 || s->len <= more)
        return false;
    uint32_t c = more == 0 ? head : head & (0x3fu >> more);
    for (size_t i = 1; i <= more; i++) {
        if ((s->p[i] & 0xc0) != 0x80)
            return false;
        c = c << 6 | (s->p[i] & 0x3fu);
    }
    *s = BYTES(s->p + more + 1, s->len - more - 1);
    *ret_c = c;
    return c >= least[more] && c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);
}

/* Unicode's White_Space */
static bool is_space(uint32_t c)
{
    return c <= 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* A name that C2SP allows: others' names may hold any letters. */
static bool is_any_name(struct bytes name)
{
    bool good = name.len > 0;
    while (good && name.len > 0) {
        uint32_t c = 0;
        good = take_char(&name, &c) && c != '+' && !is_space(c);
    }
    return good;
}

/* A name of ours. */
static bool is_our_name(struct bytes name)
{
    if (name.len == 0 || name.len > NOTE_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.p[i] <= 0x20 || name.p[i] > 0x7e || name.p[i] == '+')
            return false;
    return true;
}

static void key_id(struct bytes name, const uint8_t public[ED25519_PUBLIC_LEN], uint8_t ret_id[KEY_ID_LEN])
{
    uint8_t all[NOTE_NAME_MAX + 2 + ED25519_PUBLIC_LEN], hash[HASH_LEN];
    assert(name.len <= NOTE_NAME_MAX);
    memcpy(all, name.p, name.len);
    all[name.len] = '\n';
    all[name.len + 1] = NOTE_TYPE_ED25519;
    memcpy(all + name.len + 2, public, ED25519_PUBLIC_LEN);
    sha256(BYTES(all, name.len + 2 + ED25519_PUBLIC_LEN), hash);
    memcpy(ret_id, hash, KEY_ID_LEN);
}

void note_key_id(const struct note_key *key, uint8_t ret_id[4])
{
    key_id(bytes_str(key->name), key->public, ret_id);
}

int note_key_make(const char *name, const uint8_t public[ED25519_PUBLIC_LEN], struct note_key *ret_key)
{
    struct bytes view = bytes_str(name);
    if (!is_our_name(view))
        return ERR_FORMAT;
    struct note_key key = {0};
    memcpy(key.name, view.p, view.len);
    memcpy(key.public, public, ED25519_PUBLIC_LEN);
    *ret_key = key;
    return 0;
}

int note_key_parse(const char *vkey, struct note_key *ret_key, struct err *err)
{
    const char *plus = strchr(vkey, '+'), *second = plus != NULL ? strchr(plus + 1, '+') : NULL;
    uint8_t id[KEY_ID_LEN], want[KEY_ID_LEN], typed[1 + ED25519_PUBLIC_LEN];
    size_t typed_len = 0;
    struct note_key key;
    char name[NOTE_NAME_MAX + 1] = {0};
    if (second == NULL || (size_t)(plus - vkey) > NOTE_NAME_MAX)
        return err_set(err, ERR_FORMAT, "not a verification key: want name+hash+key");
    memcpy(name, vkey, (size_t)(plus - vkey));
    if (hex_decode(BYTES(plus + 1, (size_t)(second - plus - 1)), id, sizeof(id)) != 0)
        return err_set(err, ERR_FORMAT, "verification key: the hash is not 8 lower-case hex digits");
    if (base64_decode(bytes_str(second + 1), typed, sizeof(typed), &typed_len) != 0 || typed_len != sizeof(typed) ||
        typed[0] != NOTE_TYPE_ED25519)
        return err_set(err, ERR_FORMAT, "verification key: not base64 of type 1 and 32 bytes");
    if (note_key_make(name, typed + 1, &key) != 0)
        return err_set(err, ERR_FORMAT, "verification key: the name is empty or has characters that names cannot have");
    note_key_id(&key, want);
    if (memcmp(id, want, sizeof(id)) != 0)
        return err_set(err, ERR_FORMAT, "verification key %s: the hash does not belong to this name and key", key.name);
    *ret_key = key;
    return 0;
}

void note_key_text(const struct note_key *key, struct buf *out)
{
    uint8_t id[KEY_ID_LEN], typed[1 + ED25519_PUBLIC_LEN] = {NOTE_TYPE_ED25519};
    note_key_id(key, id);
    memcpy(typed + 1, key->public, ED25519_PUBLIC_LEN);
    buf_str(out, key->name);
    buf_u8(out, '+');
    buf_hex(out, BYTES_OF(id));
    buf_u8(out, '+');
    buf_base64(out, BYTES_OF(typed));
}

/* "— name base64", the newline already gone */
static int parse_line(struct bytes raw, struct line *ret_line, struct err *err)
{
    if (raw.len < DASH_LEN || memcmp(raw.p, DASH, DASH_LEN) != 0)
        return err_set(err, ERR_FORMAT, "signed note: a signature line does not begin with a dash");
    struct bytes rest = BYTES(raw.p + DASH_LEN, raw.len - DASH_LEN);
    const uint8_t *space = rest.len > 0 ? memchr(rest.p, ' ', rest.len) : NULL;
    if (space == NULL)
        return err_set(err, ERR_FORMAT, "signed note: a signature line has no signature");
    ret_line->name = BYTES(rest.p, (size_t)(space - rest.p));
    if (!is_any_name(ret_line->name))
        return err_set(err, ERR_FORMAT, "signed note: the name in a signature line is not a name");
    struct bytes base64 = BYTES(space + 1, rest.len - ret_line->name.len - 1);
    int rc = base64_decode(base64, ret_line->blob, BLOB_MAX, &ret_line->blob_len);
    if (rc != 0 || ret_line->blob_len <= KEY_ID_LEN)
        return err_set(err, ERR_FORMAT, "signed note: a signature is not base64, or has no proper length");
    return 0;
}

/* Text and signature part, both checked for their form as far as that goes without the lines. */
static int split(struct bytes note, struct bytes *ret_text, struct bytes *ret_lines, struct err *err)
{
    if (note.len > NOTE_MAX)
        return err_set(err, ERR_TOO_LONG, "signed note: longer than %u bytes", NOTE_MAX);
    size_t at = note.len;
    while (at >= 2 && !(note.p[at - 2] == '\n' && note.p[at - 1] == '\n'))
        at--;
    if (at < 2)
        return err_set(err, ERR_FORMAT, "signed note: no empty line between text and signatures");
    struct bytes text = BYTES(note.p, at - 1), lines = BYTES(note.p + at, note.len - at);
    if (text.len > NOTE_TEXT_MAX)
        return err_set(err, ERR_TOO_LONG, "signed note: text longer than %u bytes", NOTE_TEXT_MAX);
    if (!is_text(text))
        return err_set(err, ERR_FORMAT, "signed note: the text is empty or not printable ASCII");
    if (lines.len == 0 || lines.p[lines.len - 1] != '\n')
        return err_set(err, ERR_FORMAT, "signed note: no signatures, or the last newline is missing");
    *ret_text = text;
    *ret_lines = lines;
    return 0;
}

/* What a walk over the signature lines checks and collects. keys may be empty. */
struct check {
    struct bytes text;
    const struct note_key *keys;
    bool *signed_;
    size_t key_count;
};

/* Keys that share name and id (one key listed twice, or a grinder's) are all tried; when there is one, one must fit. */
static int check_line(const struct line *line, struct check *c, struct err *err)
{
    bool known = false, good = false;
    for (size_t i = 0; i < c->key_count; i++) {
        uint8_t id[KEY_ID_LEN];
        if (!bytes_is(line->name, c->keys[i].name))
            continue;
        note_key_id(&c->keys[i], id);
        if (memcmp(id, line->blob, KEY_ID_LEN) != 0)
            continue;
        known = true;
        if (ed25519_verify(c->keys[i].public, c->text, BYTES(line->blob + KEY_ID_LEN, line->blob_len - KEY_ID_LEN)) ==
            0)
            good = c->signed_[i] = true;
    }
    if (known && !good)
        return err_set(err, ERR_SIGNATURE, "signed note: the signature of %.*s is wrong", (int)line->name.len,
                       (const char *)line->name.p);
    return 0;
}

static int walk_lines(struct bytes lines, struct check *c, struct err *err)
{
    struct cursor cursor = {lines};
    struct line line;
    size_t count = 0;
    while (cursor.left.len > 0) {
        struct bytes raw;
        if (++count > NOTE_SIGNATURES_MAX)
            return err_set(err, ERR_FORMAT, "signed note: more than %d signatures", NOTE_SIGNATURES_MAX);
        TRY(cursor_line(&cursor, &raw));
        TRY(parse_line(raw, &line, err));
        TRY(check_line(&line, c, err));
    }
    return 0;
}

int note_text(struct bytes note, struct bytes *ret_text, struct err *err)
{
    return note_verify(note, NULL, 0, NULL, ret_text, err);
}

int note_verify(struct bytes note, const struct note_key *keys, size_t count, bool *ret_signed, struct bytes *ret_text,
                struct err *err)
{
    struct check c = {.keys = keys, .signed_ = ret_signed, .key_count = count};
    struct bytes lines;
    for (size_t i = 0; i < count; i++)
        ret_signed[i] = false;
    TRY(split(note, &c.text, &lines, err));
    int rc = walk_lines(lines, &c, err);
    if (rc != 0) {
        for (size_t i = 0; i < count; i++) /* a refused note has no signers */
            ret_signed[i] = false;
        return rc;
    }
    *ret_text = c.text;
    return 0;
}

size_t note_count(const struct note_key *keys, const bool *signed_, size_t count)
{
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++) {
        bool first = signed_[i];
        for (size_t j = 0; first && j < i; j++)
            first = !(signed_[j] && memcmp(keys[i].public, keys[j].public, ED25519_PUBLIC_LEN) == 0);
        distinct += first;
    }
    return distinct;
}

/* What a signature covers, and whether this key has signed already. */
static int before_adding(struct bytes text_or_note, const struct note_key *key, struct bytes *ret_text,
                         bool *ret_is_note, bool *ret_signed, struct err *err)
{
    *ret_signed = false;
    *ret_is_note = !is_text(text_or_note);
    *ret_text = text_or_note;
    if (!*ret_is_note)
        return 0;
    int rc = note_verify(text_or_note, key, 1, ret_signed, ret_text, err);
    return rc == 0 ? 0
                   : err_wrap(err, rc,
                              "to be signed: neither printable ASCII text that ends with a newline nor a sound note");
}

int note_add(struct bytes text_or_note, const struct note_key *key, const uint8_t sig[ED25519_SIGNATURE_LEN],
             struct buf *ret_note, struct err *err)
{
    struct bytes text, ignored;
    bool is_note, has_signed;
    TRY(before_adding(text_or_note, key, &text, &is_note, &has_signed, err));
    if (ed25519_verify(key->public, text, BYTES(sig, ED25519_SIGNATURE_LEN)) != 0)
        return err_set(err, ERR_SIGNATURE, "the signature made for %s does not verify", key->name);
    uint8_t blob[KEY_ID_LEN + ED25519_SIGNATURE_LEN];
    note_key_id(key, blob);
    memcpy(blob + KEY_ID_LEN, sig, ED25519_SIGNATURE_LEN);
    size_t start = ret_note->len;
    buf_put(ret_note, text_or_note);
    if (!has_signed) {
        buf_str(ret_note, is_note ? DASH : "\n" DASH);
        buf_str(ret_note, key->name);
        buf_u8(ret_note, ' ');
        buf_base64(ret_note, BYTES_OF(blob));
        buf_u8(ret_note, '\n');
    }
    if (!buf_ok(ret_note))
        return err_set(err, ERR_TOO_LONG, "signed note: no room for the signature of %s", key->name);
    int rc = note_text(BYTES(ret_note->p + start, ret_note->len - start), &ignored, err); /* the limits hold still */
    if (rc != 0)
        ret_note->len = start;
    return rc;
}

int note_sign(struct bytes text_or_note, const char *name, const struct ed25519_key *key, struct buf *ret_note,
              struct err *err)
{
    uint8_t public[ED25519_PUBLIC_LEN], sig[ED25519_SIGNATURE_LEN];
    struct note_key note_key;
    struct bytes text;
    bool is_note, has_signed;
    ed25519_key_public(key, public);
    int rc = note_key_make(name, public, &note_key);
    if (rc != 0)
        return err_set(err, rc, "a signer's name is 1 to %d printable characters without spaces and '+'",
                       NOTE_NAME_MAX);
    TRY(before_adding(text_or_note, &note_key, &text, &is_note, &has_signed, err));
    rc = ed25519_sign(key, text, sig);
    if (rc != 0)
        return err_set(err, rc, "signing as %s failed", name);
    return note_add(text_or_note, &note_key, sig, ret_note, err);
}
