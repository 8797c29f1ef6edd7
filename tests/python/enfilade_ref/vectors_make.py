# vectors_make: the deterministic generator of this side's vectors (tests/vectors/own/python-*.json).
"""Inputs come from a hash stream named after the group, so the same bytes are written each time; outputs are computed by the
functions of vectors.py; refused cases are valid ones with one thing changed, and each is shown to be refused here first."""
import json
import pathlib

from enfilade_ref import note as notes
from enfilade_ref import proto, th, tree, vectors, wrap
from enfilade_ref.refuse import Refused, need

NAMES = ("n1", "n2", "node-3.example", "a", "x" * 64, "hsm_4")
NETWORKS = ("example.test", "net", "a-b.c_d")


class Stream:
    """Bytes that look random and are the same each time."""

    def __init__(self, seed):
        self.seed, self.counter, self.rest = seed.encode("ascii"), 0, b""

    def take(self, length):
        while len(self.rest) < length:
            self.rest += th.sha256(self.seed + self.counter.to_bytes(8, "big"))
            self.counter += 1
        out, self.rest = self.rest[:length], self.rest[length:]
        return out

    def below(self, limit):
        return int.from_bytes(self.take(8), "big") % limit

    def pick(self, items):
        return items[self.below(len(items))]

    def scalar(self):
        return (int.from_bytes(self.take(40), "big") % (wrap.P256_ORDER - 1) + 1).to_bytes(32, "big")


def flip(data, bit):
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def field_value(field, s):
    """An input field of a construction, by its name."""
    if field in ("network",):
        return s.pick(NETWORKS)
    if field in ("node", "a", "b", "policy_name"):
        return s.pick(NAMES)
    if field == "profile":
        return 1 + s.below(3)
    if field == "stage":
        return 1 + s.below(15)
    if field == "slot":
        return 1 + s.below(16)
    if field in ("generation", "roster_version", "status_version", "issued_ms", "not_after_ms"):
        return s.pick((1, 2, 127, 128, 300, 1 << 31, 1 << 32, (1 << 53) - 1, s.below(1 << 53)))
    if field == "envelope_id":
        return s.take(16)
    if field in ("link_hashes", "locks"):
        return [s.take(32) for _ in range(s.pick((0, 1, 2, 3, 16)))]
    if field.endswith("scalar") or field.startswith("scalar"):
        return s.scalar()
    return s.take(32)


def generic(group, kind, s, count, prefix="case", fixed=None):
    """`count` cases of one kind with every input by name; `fixed` overrides some, per case."""
    out = []
    for i in range(count):
        case = {field: field_value(field, s) for field in kind.inputs}
        case.update(fixed(i, s) if fixed else {})
        out.append((f"{prefix}-{i + 1}", case, kind))
    return out


def group_th(s):
    kind = vectors.GROUPS["th"][0]
    lists = [[], [b""], [b"", b""], [s.take(1)], [s.take(32)] * 2, [s.take(65), s.take(8), b"name"], [b"ab", b"c"],
             [b"a", b"bc"], [s.take(300)], [bytes([i]) for i in range(255)], [s.take(70000)]]
    return [(f"fields-{i + 1}", {"label": s.pick(("sid", "a", "dek-salt")), "fields": fields}, kind)
            for i, fields in enumerate(lists)]


def group_shamir(s):
    make, refuse = vectors.GROUPS["shamir"]
    out = []
    for k, xs in ((1, [1]), (1, [7, 16]), (2, [1, 2]), (2, [3, 9, 16]), (3, [5, 1, 4]), (5, [2, 4, 6, 8, 10, 12, 14]),
                  (16, list(range(16, 0, -1))), (9, list(range(1, 17)))):
        coefficients = [s.take(32) for _ in range(k - 1)]
        combine = [[(start + i) % len(xs) for i in range(k)] for start in range(min(len(xs), 4))]
        out.append((f"{k}-of-{len(xs)}", {"secret": s.take(32), "k": k, "x": xs, "coefficients": coefficients,
                                          "combine": combine}, make))
    out.append(("zero-top-coefficient", {"secret": s.take(32), "k": 3, "x": [1, 2, 3], "coefficients":
                                         [s.take(32), bytes(32)], "combine": [[0, 1, 2], [2, 1, 0]]}, make))
    for name, k, xs in (("k-zero", 0, []), ("x-zero", 2, [0, 1]), ("x-seventeen", 2, [1, 17]), ("x-twice", 2, [3, 3]),
                        ("too-few", 3, [1, 2])):
        out.append((name, {"k": k, "x": xs, "y": [s.take(32) for _ in xs], "refused": "shares"}, refuse))
    return out


def group_keywrap(s):
    make, refuse = vectors.GROUPS["keywrap"]
    out = [(f"length-{n}", {"kek": s.take(32), "plain": s.take(n)}, make) for n in (16, 24, 32, 40, 64, 1024)]
    kek, plain = s.take(32), s.take(64)
    wrapped = wrap.keywrap(kek, plain)
    for bit in (0, 63, 64, 300, 575):
        out.append((f"flipped-bit-{bit}", {"kek": kek, "wrapped": flip(wrapped, bit), "refused": "signature"}, refuse))
    out.append(("other-kek", {"kek": flip(kek, 255), "wrapped": wrapped, "refused": "signature"}, refuse))
    for name, bad in (("cut-a-byte", wrapped[:-1]), ("empty", b""), ("sixteen-bytes", wrapped[:16])):
        out.append((name, {"kek": kek, "wrapped": bad, "refused": "format"}, refuse))
    return out


def group_derive(s):
    make, refuse = vectors.GROUPS["derive"]
    out = generic("derive", make, s, 9, fixed=lambda i, s: {"profile": 1 + i % 3})
    edge = (1).to_bytes(32, "big")
    out.append(("scalar-one", {"profile": 1, "scalar_a": edge, "scalar_b": s.scalar(), "ctx": s.take(32)}, make))
    out.append(("scalar-last", {"profile": 3, "scalar_a": (wrap.P256_ORDER - 1).to_bytes(32, "big"),
                                "scalar_b": s.scalar(), "ctx": bytes(32)}, make))
    scalar, point = s.scalar(), wrap.key_point(wrap.key_from_scalar(s.scalar()))
    compressed = bytes([2 + point[64] % 2]) + point[1:33]
    for name, bad in (("off-curve", flip(point, 400)), ("compressed", compressed), ("infinity", b"\x00"),
                      ("all-zero", b"\x04" + bytes(64)), ("short", point[:-1]), ("long", point + b"\x00"),
                      ("hybrid", bytes([6 + point[64] % 2]) + point[1:])):
        out.append((name, {"profile": 1, "scalar_a": scalar, "point_b": bad, "ctx": s.take(32), "refused": "format"},
                    refuse))
    for profile in (0, 4):
        out.append((f"profile-{profile}", {"profile": profile, "scalar_a": scalar, "point_b": point, "ctx": s.take(32),
                                           "refused": "version"}, refuse))
    return out


def group_context(s):
    out = []
    for name in vectors.CONTEXTS:
        kind = vectors.context_kind(name)
        out += generic("context", kind, s, 4, prefix=name, fixed=lambda i, s, name=name: {"kind": name})
    return out


def group_seal(s):
    return generic("seal", vectors.GROUPS["seal"][0], s, 6, fixed=lambda i, s: {"profile": 1 + i % 3})


def group_release(s):
    make, refuse = vectors.GROUPS["release"]
    out = generic("release", make, s, 6, fixed=lambda i, s: {"profile": 1 + i % 3})
    made = dict(out[0][1], **make.compute(out[0][1]))
    base = {field: made[field] for field in refuse.inputs}
    for field, value, code in (("kek", flip(base["kek"], 9), "signature"), ("wrapped", flip(base["wrapped"], 77), "signature"),
                               ("commitment", flip(base["commitment"], 0), "commitment"),
                               ("envelope_id", flip(base["envelope_id"], 0), "commitment"),
                               ("generation", base["generation"] ^ 1, "commitment"),
                               ("stage", base["stage"] % 15 + 1, "commitment"),
                               ("slot", base["slot"] % 16 + 1, "commitment"),
                               ("wrapped", base["wrapped"][:-8], "signature")):
        name = f"changed-{field}" if value != base["wrapped"][:-8] else "shortened-wrapped"
        out.append((name, dict(base, **{field: value, "refused": code}), refuse))
    return out


def group_tag(s):
    return generic("tag", vectors.GROUPS["tag"][0], s, 6, fixed=lambda i, s: {"profile": 1 + i % 3})


def group_dek(s):
    return generic("dek", vectors.GROUPS["dek"][0], s, 4,
                   fixed=lambda i, s: {"stage_secrets": [s.take(32) for _ in range((1, 2, 3, 15)[i])]})


def group_payload(s):
    with_bytes, without, refuse = vectors.GROUPS["payload"]
    out = []
    for length in (0, 1, 15, 16, 17, 4080, 4081, 65535, 65536, 65537, 131072, 131073, 200000):
        kind = with_bytes if length + 16 <= 4096 else without
        out.append((f"length-{length}", {"key": s.take(32), "aad": s.take(32), "pattern": s.take(31),
                                         "plain_len": length}, kind))
    key, aad, plain = s.take(32), s.take(32), s.take(100)
    sealed = wrap.payload_seal(key, aad, plain)
    not_last = wrap.AESGCM(key).encrypt(wrap.chunk_nonce(0, False), plain, aad)
    second = wrap.AESGCM(key).encrypt(wrap.chunk_nonce(1, True), plain, aad)
    for name, k, a, data in (("flipped-tag", key, aad, flip(sealed, 900)), ("flipped-text", key, aad, flip(sealed, 5)),
                             ("other-key", flip(key, 3), aad, sealed), ("other-aad", key, flip(aad, 3), sealed),
                             ("no-last-chunk", key, aad, not_last), ("second-alone", key, aad, second),
                             ("cut", key, aad, sealed[:-1]), ("empty", key, aad, b""), ("tag-cut", key, aad, sealed[:15]),
                             ("longer", key, aad, sealed + b"\x00")):
        out.append((name, {"key": k, "aad": a, "sealed": data, "refused": "payload"}, refuse))
    return out


def group_merkle(s):
    make, inclusion, consistency = vectors.GROUPS["merkle"]
    entries = [s.take(n % 7) for n in range(33)]
    leaves = [tree.leaf_hash(entry) for entry in entries]
    sizes = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33)
    paths = [{"index": i, "size": n, "proof": tree.inclusion(i, leaves[:n])}
             for n in sizes for i in sorted({0, n // 2, n - 1})]
    steps = [{"old_size": m, "size": n, "proof": tree.consistency(m, leaves[:n]) if m else []}
             for n in sizes for m in sorted({0, 1, n // 2, n - 1, n})]
    out = [("thirty-three", {"entries": entries, "inclusion": paths, "consistency": steps}, make),
           ("none", {"entries": [], "inclusion": [], "consistency": []}, make)]
    proof, root = tree.inclusion(11, leaves[:21]), tree.root(leaves[:21])
    good = {"leaf": leaves[11], "index": 11, "size": 21, "proof": proof, "root": root, "refused": "proof"}
    for name, change in (("leaf", {"leaf": leaves[12]}), ("index", {"index": 10}), ("size", {"size": 9}),
                         ("index-outside", {"index": 21}), ("hash", {"proof": [flip(proof[0], 0)] + proof[1:]}),
                         ("too-few", {"proof": proof[:-1]}), ("too-many", {"proof": proof + [proof[-1]]}),
                         ("order", {"proof": proof[::-1]}), ("root", {"root": flip(root, 255)}),
                         ("empty-tree", {"index": 0, "size": 0, "proof": []})):
        out.append((f"inclusion-{name}", dict(good, **change), inclusion))
    return out + merkle_consistency(leaves, consistency)


def merkle_consistency(leaves, kind):
    proof = tree.consistency(6, leaves[:21])
    good = {"old_size": 6, "old_root": tree.root(leaves[:6]), "size": 21, "root": tree.root(leaves[:21]), "proof": proof,
            "refused": "proof"}
    changes = (("old-root", {"old_root": flip(good["old_root"], 1)}), ("root", {"root": flip(good["root"], 1)}),
               ("old-size", {"old_size": 5}), ("shrinking", {"old_size": 22}), ("too-few", {"proof": proof[:-1]}),
               ("too-many", {"proof": proof + proof[:1]}), ("hash", {"proof": [flip(proof[0], 7)] + proof[1:]}),
               ("equal-sizes-other-root", {"old_size": 21, "proof": []}),
               ("equal-sizes-with-proof", {"old_size": 21, "old_root": good["root"]}))
    return [(f"consistency-{name}", dict(good, **change), kind) for name, change in changes]


def group_note(s):
    make, verify, refuse = vectors.GROUPS["note"]
    pairs = [notes.seed_key(s.take(32), name) for name in ("example.test/root/a", "example.test/root/b", "n1/log")]
    twin = (pairs[0][0], notes.Key("example.test/other-name", pairs[0][1].public))
    signers = [{"name": key.name, "seed": notes.seed_of(private), "public": key.public, "key_id": notes.key_id(key),
                "vkey": notes.vkey_text(key)} for private, key in pairs]
    vkeys = [notes.vkey_text(key) for _, key in pairs] + [notes.vkey_text(twin[1])]
    out = []
    texts = ("one line\n", "a: 1\n\nb: 2\n\n- not - a signature\n", "ends with two newlines\n\n", "\n", " !~\n")
    for i, text in enumerate(texts):
        out.append((f"sign-{i + 1}", {"text": text, "signers": signers[:1 + i % 3]}, make))
    text = texts[1].encode("ascii")
    for name, chosen in (("one", pairs[:1]), ("two", pairs[:2]), ("twin-counts-once", [pairs[0], twin]),
                         ("twice-counts-once", [pairs[0], pairs[0]]), ("unknown-only", [pairs[2]])):
        keys = vkeys[:2] if name == "unknown-only" else vkeys
        out.append((f"verify-{name}", {"note": notes.sign(text, *chosen), "keys": keys}, verify))
    return out + note_refusals(notes.sign(text, *pairs[:2]), vkeys, refuse)


def note_refusals(note, vkeys, kind):
    line = note.rindex(b"\xe2")
    changes = (("text-changed", b"A" + note[1:], "signature"), ("signature-changed", swap_byte(note, -20), "signature"),
               ("no-last-newline", note[:-1], "format"), ("no-signatures", note[:note.index(b"\xe2")], "format"),
               ("bytes-after", note + b"x\n", "format"), ("cr", note.replace(b": 1\n", b": 1\r\n"), "format"),
               ("tab", b"\t" + note[1:], "format"), ("utf-8", "é".encode() + note[1:], "format"), ("empty", b"", "format"),
               ("dash-is-ascii", note[:line] + b"-" + note[line + 3:], "format"),
               ("padding-missing", note[:-2] + b"\n" if note.endswith(b"=\n") else note[:-3] + b"\n", "format"),
               ("nul", b"\x00" + note[1:], "format"))
    return [(f"refused-{name}", {"note": bad, "keys": vkeys, "refused": code}, kind) for name, bad, code in changes]


def swap_byte(data, at):
    """Another character of the base64 alphabet there."""
    at %= len(data)
    return data[:at] + (b"B" if data[at:at + 1] == b"A" else b"A") + data[at + 1:]


def group_link(s):
    make, refuse = vectors.GROUPS["link"]
    factors = ([], ["device"], ["evidence", "device", "network", "time"], ["all"] * 16)
    out = generic("link", make, s, 4, fixed=lambda i, s: {"factors": factors[i]})
    out.append(("defaults-left-out", dict(out[0][1], status_version=0, roster_version=0), make))
    base = dict(out[1][1])
    body = make.compute(base)["body"]
    fields = dict(base, factors=[{"name": name} for name in base["factors"]])
    changes = {"empty": b"", "cut": body[:-1], "unknown-field": body + b"\x88\x01\x01", "twice": body + body[-2:],
               "explicit-default": proto.pack("LinkBody", dict(fields, not_after_ms=0)) + b"\x80\x01\x00",
               "not-minimal": proto.pack("LinkBody", dict(fields, not_after_ms=0)) + b"\x80\x01\x81\x00",
               "out-of-order": body[2 + body[1]:] + body[:2 + body[1]],
               "stage-16": proto.pack("LinkBody", dict(fields, stage=16)),
               "slot-17": proto.pack("LinkBody", dict(fields, slot=17)),
               "stage-absent": proto.pack("LinkBody", dict(fields, stage=0)),
               "hash-of-31": proto.pack("LinkBody", dict(fields, sid=base["sid"][:-1])),
               "hash-absent": proto.pack("LinkBody", dict(fields, policy_hash=b"")),
               "upper-case-node": proto.pack("LinkBody", dict(fields, node="N1")),
               "node-absent": proto.pack("LinkBody", dict(fields, node="")),
               "long-name": proto.pack("LinkBody", dict(fields, network="n" * 65))}
    return out + [(name, {"body": bad, "refused": "format"}, refuse) for name, bad in changes.items()]


MAKERS = {"th": group_th, "shamir": group_shamir, "keywrap": group_keywrap, "derive": group_derive,
          "context": group_context, "seal": group_seal, "release": group_release, "tag": group_tag, "dek": group_dek,
          "payload": group_payload, "merkle": group_merkle, "note": group_note, "link": group_link}


def finish(name, inputs, kind):
    """Inputs and computed outputs as JSON; a refused case is shown to be refused."""
    if kind.outputs is not None:
        made = kind.compute(inputs)
        return {"name": name, **vectors.encode({**inputs, **{field: made[field] for field in kind.outputs}})}
    try:
        kind.compute(inputs)
    except Refused as error:
        need(error.code == inputs["refused"], "internal", f"{name}: refused with {error}, not {inputs['refused']}")
        return {"name": name, **vectors.encode(inputs)}
    raise Refused("internal", f"{name}: accepted")


def make_group(group):
    cases = [finish(*case) for case in MAKERS[group](Stream(f"enfilade vectors python {group}"))]
    return {"format": vectors.FORMAT, "group": group, "maker": "python", "cases": cases}


def make_directory(directory, say=print):
    for group in MAKERS:
        data = make_group(group)
        path = pathlib.Path(directory) / f"python-{group}.json"
        path.write_text(json.dumps(data, indent=1, ensure_ascii=True) + "\n", encoding="ascii")
        say(f"{path.name}: {len(data['cases'])} cases")
