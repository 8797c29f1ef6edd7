# note: C2SP signed notes with Ed25519 signatures, and their keys (vkeys).
"""note = text (ends with newline), an empty line, then lines "— name base64(keyid[4] ‖ signature)\n".
keyid = SHA-256(name ‖ 0x0A ‖ type ‖ public)[:4]; vkey = name "+" hex(keyid) "+" base64(type ‖ public)."""
import base64
import binascii
import collections
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from enfilade_ref.refuse import Refused, need

TYPE_ED25519 = 0x01
NAME_MAX = 200
SIGNATURES_MAX = 100
TEXT_MAX = 1024 * 1024
DASH = "\u2014 ".encode("utf-8")

Key = collections.namedtuple("Key", "name public")


def base64_read(text, what):
    """Padded standard base64 with one encoding per value."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8")
    try:
        data = base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("format", f"{what}: not base64") from error
    need(base64.b64encode(data) == raw, "format", f"{what}: not the one base64 encoding")
    return data


def name_check(name):
    """As C2SP has it: not empty, no white space of any alphabet, no plus; control characters never."""
    need(0 < len(name.encode("utf-8")) <= NAME_MAX, "format", "signer's name: length")
    need(all(ord(c) > 0x20 and not c.isspace() and c != "+" for c in name), "format", "signer's name: character")


def key_id(key):
    return hashlib.sha256(key.name.encode("utf-8") + b"\n" + bytes([TYPE_ED25519]) + key.public).digest()[:4]


def vkey_read(text):
    """vkey text -> Key. Only Ed25519."""
    parts = text.split("+", 2)
    need(len(parts) == 3, "format", "vkey: three parts")
    name_check(parts[0])
    raw = base64_read(parts[2], "vkey")
    need(len(raw) == 33 and raw[0] == TYPE_ED25519, "format", "vkey: not Ed25519")
    key = Key(parts[0], raw[1:])
    need(parts[1] == key_id(key).hex(), "format", "vkey: key id")
    return key


def vkey_text(key):
    body = base64.b64encode(bytes([TYPE_ED25519]) + key.public).decode("ascii")
    return f"{key.name}+{key_id(key).hex()}+{body}"


def text_check(text):
    """Rule of ours: printable ASCII and newlines, the last byte a newline."""
    need(0 < len(text) and text.endswith(b"\n"), "format", "text does not end with a newline")
    need(len(text) <= TEXT_MAX, "too-long", "text")
    need(all(c == 0x0A or 0x20 <= c <= 0x7E for c in text), "format", "text is not printable ASCII and newlines")


def parse(note):
    """bytes -> (text, [(name, key id, signature)])"""
    need(note.endswith(b"\n"), "format", "note does not end with a newline")
    at = note.rfind(b"\n\n")
    need(at >= 0, "format", "note without an empty line before the signatures")
    text, tail = note[:at + 1], note[at + 2:]
    text_check(text)
    lines = tail.split(b"\n")[:-1]
    need(1 <= len(lines) <= SIGNATURES_MAX, "format", "number of signatures")
    return text, [signature_line(line) for line in lines]


def signature_line(line):
    need(line.startswith(DASH), "format", "signature line without its dash")
    name, space, body = line[len(DASH):].partition(b" ")
    need(bool(space), "format", "signature line: two parts")
    try:
        name = name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("format", "signer's name") from error
    name_check(name)
    raw = base64_read(body, "signature")
    need(len(raw) >= 5, "format", "signature: length")
    return name, raw[:4], raw[4:]


def verify(note, keys):
    """-> (text, the keys of `keys` that signed). A wrong signature of a known key refuses the note."""
    text, signatures = parse(note)
    signed = []
    for name, identity, signature in signatures:
        for key in keys:
            if key.name != name or key_id(key) != identity:
                continue
            try:
                Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text)
            except InvalidSignature as error:
                raise Refused("signature", f"{name}: wrong signature") from error
            if key not in signed:
                signed.append(key)
    return text, signed


def count(signed):
    """Distinct public keys."""
    return len({key.public for key in signed})


def seed_key(seed, name):
    """-> (private, Key)"""
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return private, Key(name, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def seed_of(private):
    return private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def sign(text, *signers):
    """signers: (private, Key) pairs -> note"""
    text_check(text)
    lines = [DASH + key.name.encode("utf-8") + b" " + base64.b64encode(key_id(key) + private.sign(text)) + b"\n"
             for private, key in signers]
    return text + b"\n" + b"".join(lines)
