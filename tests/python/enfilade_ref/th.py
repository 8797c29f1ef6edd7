# th: TH and TH512, the one way in which several fields are hashed together.
"""TH(label, f1…fn) = SHA-256(u8 len ‖ "enfilade/v1/" label ‖ u8 n ‖ for each f: u32be len ‖ f); TH512 with SHA-512.

A field is bytes, a str (its UTF-8 bytes) or an int (u64be)."""
import hashlib

PREFIX = b"enfilade/v1/"


def field_bytes(field):
    if isinstance(field, bool):
        raise TypeError("a boolean is no field")
    if isinstance(field, int):
        return field.to_bytes(8, "big")
    if isinstance(field, str):
        return field.encode("utf-8")
    return bytes(field)


def encode(label, *fields):
    """The bytes that are hashed."""
    name = PREFIX + label.encode("ascii")
    if len(name) > 255 or len(fields) > 255:
        raise ValueError("label or number of fields too long")
    out = bytes([len(name)]) + name + bytes([len(fields)])
    for field in fields:
        raw = field_bytes(field)
        out += len(raw).to_bytes(4, "big") + raw
    return out


def th(label, *fields):
    return hashlib.sha256(encode(label, *fields)).digest()


def th512(label, *fields):
    return hashlib.sha512(encode(label, *fields)).digest()


def sha256(data):
    return hashlib.sha256(data).digest()
