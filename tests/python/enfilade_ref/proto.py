# proto: a strict reader and writer for the messages of enfilade.proto, with one encoding per value.
"""The message table is read from proto/enfilade.proto itself. Messages are dicts: uint64 and enums are ints, string str,
bytes bytes, a singular message a dict, a repeated message a list of dicts. Absent fields have their default.

Refused: fields out of ascending order or twice, varints that are not minimal, explicit defaults, unknown fields and enum
values, other wire types, strings that are not printable ASCII, truncation."""
import functools
import re

from enfilade_ref.refuse import SOURCE_ROOT, need

DEPTH_MAX = 8
SCALAR_DEFAULTS = {"uint64": 0, "bytes": b"", "string": ""}


@functools.lru_cache(maxsize=None)
def schema():
    """({message: {number: (name, type, repeated)}}, {enum: set of values})"""
    text = (SOURCE_ROOT / "proto/enfilade.proto").read_text(encoding="utf-8")
    text = re.sub(r"//[^\n]*", "", text)
    enums = {name: {int(v) for v in re.findall(r"=\s*(\d+)\s*;", body)}
             for name, body in re.findall(r"enum\s+(\w+)\s*\{([^}]*)\}", text)}
    messages = {}
    for name, body in re.findall(r"message\s+(\w+)\s*\{([^}]*)\}", text):
        fields = re.findall(r"(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)\s*;", body)
        messages[name] = {int(number): (field, kind, bool(repeated)) for repeated, kind, field, number in fields}
    known = set(messages) | set(enums) | set(SCALAR_DEFAULTS)
    for fields in messages.values():
        need(all(kind in known for _, kind, _ in fields.values()), "internal", "type in enfilade.proto is unknown")
        need(all(kind in messages for _, kind, rep in fields.values() if rep), "internal", "repeated scalar")
    return messages, enums


def default(kind, repeated):
    if repeated:
        return []
    if kind in SCALAR_DEFAULTS:
        return SCALAR_DEFAULTS[kind]
    return 0 if kind in schema()[1] else None


def varint_pack(value):
    need(0 <= value < 1 << 64, "format", "number outside 64 bits")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_read(data, at):
    value, shift = 0, 0
    while True:
        need(at < len(data), "format", "truncated number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        need(shift < 70, "format", "number too long")
    need(value < 1 << 64, "format", "number outside 64 bits")
    need(byte != 0 or shift == 7, "format", "number is not minimal")
    return value, at


def text_check(raw, where):
    need(all(0x20 <= c <= 0x7E for c in raw), "format", f"{where}: not printable ASCII")
    return raw.decode("ascii")


def pack(message, values):
    """The one encoding of a dict."""
    fields = schema()[0][message]
    by_name = {name: number for number, (name, _, _) in fields.items()}
    need(set(values) <= set(by_name), "format", f"{message}: unknown field in {sorted(values)}")
    out = b""
    for number in sorted(fields):
        name, kind, repeated = fields[number]
        value = values.get(name, default(kind, repeated))
        for item in value if repeated else [] if value == default(kind, False) else [value]:
            out += pack_field(number, kind, item, f"{message}.{name}")
    return out


def pack_field(number, kind, value, where):
    if kind == "uint64" or kind in schema()[1]:
        need(kind == "uint64" or value in schema()[1][kind], "format", f"{where}: unknown value")
        return varint_pack(number << 3) + varint_pack(value)
    if kind == "string":
        raw = value.encode("utf-8")
        text_check(raw, where)
    elif kind == "bytes":
        raw = bytes(value)
    else:
        raw = pack(kind, value)
    return varint_pack(number << 3 | 2) + varint_pack(len(raw)) + raw


def unpack(message, data, depth=0):
    """A dict with every field, or Refused."""
    need(depth <= DEPTH_MAX, "format", "nested too deeply")
    fields = schema()[0][message]
    values = {name: default(kind, repeated) for name, kind, repeated in fields.values()}
    at, last = 0, 0
    while at < len(data):
        key, at = varint_read(data, at)
        number, wire = key >> 3, key & 7
        need(number in fields, "format", f"{message}: unknown field {number}")
        name, kind, repeated = fields[number]
        where = f"{message}.{name}"
        need(number > last or (number == last and repeated), "format", f"{where}: out of order or twice")
        last = number
        value, at = unpack_field(kind, wire, data, at, where, depth)
        if repeated:
            values[name].append(value)
        else:
            need(value != default(kind, False), "format", f"{where}: explicit default")
            values[name] = value
    return values


def unpack_field(kind, wire, data, at, where, depth):
    if kind == "uint64" or kind in schema()[1]:
        need(wire == 0, "format", f"{where}: wire type {wire}")
        value, at = varint_read(data, at)
        need(kind == "uint64" or value in schema()[1][kind], "format", f"{where}: unknown value {value}")
        return value, at
    need(wire == 2, "format", f"{where}: wire type {wire}")
    length, at = varint_read(data, at)
    need(length <= len(data) - at, "format", f"{where}: truncated")
    raw, at = data[at:at + length], at + length
    if kind == "string":
        return text_check(raw, where), at
    return (bytes(raw) if kind == "bytes" else unpack(kind, raw, depth + 1)), at


def lengths_check(message, values, lengths):
    """lengths: {field: allowed lengths in bytes}"""
    for field, allowed in lengths.items():
        need(len(values[field]) in allowed, "format", f"{message}.{field}: {len(values[field])} bytes")


ENTRY_TYPES = {1: "START", 2: "GRANT", 3: "REISSUE", 4: "DENY", 5: "DOCUMENT", 6: "HALT", 7: "FRONTIER", 8: "EVIDENCE",
               9: "PRUNE"}
ENTRY_MAX = 2048
LINK_BODY_MAX = 2048


def entry_read(data):
    """A ledger entry."""
    need(len(data) <= ENTRY_MAX, "too-long", "entry")
    entry = unpack("Entry", data)
    need(entry["type"] in ENTRY_TYPES, "format", "entry without a type")
    lengths_check("Entry", entry, {"walk_id": (0, 16), **{field: (0, 32) for field in (
        "policy_hash", "evidence", "subject", "secret", "link_hash", "response_hash", "document_hash")}})
    return entry


def link_read(data):
    """A link body."""
    need(len(data) <= LINK_BODY_MAX, "too-long", "link body")
    body = unpack("LinkBody", data)
    lengths_check("LinkBody", body, {field: (32,) for field in (
        "sid", "eid", "chain_hash", "policy_hash", "envelope_hash", "prevhash")})
    for field in ("network", "node"):
        need(name_ok(body[field]), "format", f"LinkBody.{field}: not a name")
    need(1 <= body["stage"] <= 15 and 1 <= body["slot"] <= 16, "format", "LinkBody: stage or slot")
    return body


def name_ok(text):
    return re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", text) is not None
