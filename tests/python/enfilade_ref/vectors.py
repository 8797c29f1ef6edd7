# vectors: checks the files of tests/vectors/own, of both makers, by computing every output again.
"""The format is described in tests/vectors/own/README.md. A group is a list of kinds of cases; a kind names its input fields,
its output fields and the function that computes the ones from the others; or, for refusals, a function that must raise."""
import collections
import json
import pathlib

from enfilade_ref import note as notes
from enfilade_ref import proto, shamir, th, tree, walk, wrap
from enfilade_ref.refuse import Refused, need

FORMAT = "enfilade-vectors-1"
TEXTS = {"label", "kind", "network", "node", "policy_name", "a", "b", "text", "vkey", "factors", "keys", "refused"}
# Texts only where they stand inside a signer; `note.name` is a case's own name elsewhere.
SIGNER_TEXTS = TEXTS | {"name"}

Kind = collections.namedtuple("Kind", "inputs outputs compute")  # outputs None: compute must raise Refused


def decode(field, value, texts):
    """JSON -> bytes, str, int, bool, lists and dicts of these."""
    if isinstance(value, list):
        return [decode(field, item, texts) for item in value]
    if isinstance(value, dict):
        return {key: decode(key, item, SIGNER_TEXTS) for key, item in value.items()}
    if isinstance(value, (bool, int)):
        return value
    need(isinstance(value, str), "format", f"{field}: type")
    if field in texts:
        return value
    raw = bytes.fromhex(value)
    need(raw.hex() == value, "format", f"{field}: not lower-case hex")
    return raw


def encode(value):
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value.hex() if isinstance(value, bytes) else value


# ---- the constructions, each: dict of inputs -> dict of outputs

def make_th(c):
    return {"th": th.th(c["label"], *c["fields"]), "th512": th.th512(c["label"], *c["fields"])}


def make_shamir(c):
    shares = shamir.split(c["secret"], c["k"], c["x"], c["coefficients"])
    for positions in c["combine"]:
        need(len(positions) == c["k"], "format", "combine: other than k positions")
        chosen = {c["x"][i]: shares[c["x"][i]] for i in positions}
        need(shamir.combine(chosen) == c["secret"], "shares", "combination is not the secret")
    return {"y": [shares[x] for x in c["x"]]}


def refuse_shamir(c):
    shamir.check_x(c["x"], c["k"])
    need(len(c["x"]) == len(c["y"]) == c["k"], "shares", "not exactly k shares")
    shamir.combine(dict(zip(c["x"], c["y"])))


def make_keywrap(c):
    wrapped = wrap.keywrap(c["kek"], c["plain"])
    need(wrap.keyunwrap(c["kek"], wrapped) == c["plain"], "internal", "unwrap is not the inverse")
    return {"wrapped": wrapped}


def make_derive(c):
    a, b = wrap.key_from_scalar(c["scalar_a"]), wrap.key_from_scalar(c["scalar_b"])
    point_a, point_b = wrap.key_point(a), wrap.key_point(b)
    key = wrap.derive(c["profile"], a, point_b, c["ctx"])
    need(key == wrap.derive(c["profile"], b, point_a, c["ctx"]), "internal", "the two sides differ")
    return {"point_a": point_a, "point_b": point_b, "spki_hash_a": wrap.point_spki_hash(point_a),
            "z": wrap.ecdh(a, point_b), "key": key}


def refuse_derive(c):
    wrap.derive(c["profile"], wrap.key_from_scalar(c["scalar_a"]), c["point_b"], c["ctx"])


SHARE = ("profile", "network", "owner", "policy_name", "envelope_id", "generation", "stage", "slot")
CONTEXTS = {
    "sid": (walk.sid, ("network", "eid", "client_key_hash", "client_nonce", "chain_hash")),
    "walk_id": (walk.walk_id, ("sid",)),
    "bind": (walk.bind, ("sid", "node", "kem_hash", "stage", "slot", "nonce", "exporter", "client_leaf_hash",
                         "server_key_hash", "prevhash")),
    "prevhash": (walk.prevhash, ("link_hashes",)),
    "share": (walk.share_context, SHARE),
    "commitment": (walk.commitment, ("envelope_id", "generation", "stage", "slot", "share", "salt")),
    "tag": (walk.tag_context, ("profile", "sid", "a", "b", "link_hash")),
    "lock": (walk.lock_plain, ("a", "node")),
    "session": (walk.session_context, ("profile", "node", "kem_hash", "stage", "slot", "sid", "prevhash", "locks")),
    "dek_salt": (walk.dek_salt, ("envelope_id", "generation")),
    "payload": (walk.payload_aad, ("owner", "envelope_id", "generation")),
}


def context_kind(kind):
    function, fields = CONTEXTS[kind]
    return Kind(("kind",) + fields, ("output",), lambda c: {"output": function(*(c[f] for f in fields))})


def make_seal(c):
    ctx = walk.share_context(*(c[f] for f in SHARE))
    node, r = wrap.key_from_scalar(c["seal_scalar"]), wrap.key_from_scalar(c["r_scalar"])
    seal_point = wrap.key_point(node)
    point, sealed = walk.seal_share(c["profile"], seal_point, c["r_scalar"], ctx, c["share"], c["salt"])
    key = wrap.derive(c["profile"], node, point, ctx)
    need(wrap.keyunwrap(key, sealed) == c["share"] + c["salt"], "internal", "the node cannot open it")
    return {"seal_point": seal_point, "point": wrap.key_point(r), "ctx": ctx, "key": key, "sealed": sealed,
            "commitment": make_commitment(c)}


def make_commitment(c):
    return walk.commitment(c["envelope_id"], c["generation"], c["stage"], c["slot"], c["share"], c["salt"])


def make_release(c):
    kem, e = wrap.key_from_scalar(c["kem_scalar"]), wrap.key_from_scalar(c["e_scalar"])
    kem_point, e_point = wrap.key_point(kem), wrap.key_point(e)
    kem_hash = wrap.point_spki_hash(kem_point)
    ctx = walk.session_context(c["profile"], c["node"], kem_hash, c["stage"], c["slot"], c["sid"], c["prevhash"],
                               c["locks"])
    kek = wrap.derive(c["profile"], e, kem_point, ctx)
    need(kek == wrap.derive(c["profile"], kem, e_point, ctx), "internal", "the two sides differ")
    return {"kem_point": kem_point, "kem_hash": kem_hash, "e_point": e_point, "ctx": ctx, "kek": kek,
            "wrapped": wrap.keywrap(kek, c["share"] + c["salt"]), "commitment": make_commitment(c)}


def refuse_release(c):
    plain = wrap.keyunwrap(c["kek"], c["wrapped"])
    walk.check_commitment(c["commitment"], c["envelope_id"], c["generation"], c["stage"], c["slot"], plain)


def make_tag(c):
    a, b = wrap.key_from_scalar(c["peer_a_scalar"]), wrap.key_from_scalar(c["peer_b_scalar"])
    ctx = walk.tag_context(c["profile"], c["sid"], c["a"], c["b"], c["link_hash"])
    tag = wrap.derive(c["profile"], a, wrap.key_point(b), ctx)
    need(tag == wrap.derive(c["profile"], b, wrap.key_point(a), ctx), "internal", "the two sides differ")
    return {"peer_a_point": wrap.key_point(a), "peer_b_point": wrap.key_point(b), "ctx": ctx, "tag": tag,
            "lock_plain": walk.lock_plain(c["a"], c["b"]), "lock": walk.lock(tag, c["a"], c["b"]),
            "wrapped": wrap.keywrap(c["kek"], tag)}


def make_dek(c):
    key = walk.dek(c["envelope_id"], c["generation"], c["stage_secrets"])
    return {"salt": walk.dek_salt(c["envelope_id"], c["generation"]), "dek": key,
            "commitment": walk.dek_commitment(key), "payload_key": walk.payload_key(key)}


def make_payload(c):
    need(len(c["pattern"]) >= 1, "format", "empty pattern")
    plain = (c["pattern"] * (c["plain_len"] // len(c["pattern"]) + 1))[:c["plain_len"]]
    sealed = wrap.payload_seal(c["key"], c["aad"], plain)
    need(wrap.payload_open(c["key"], c["aad"], sealed) == plain, "internal", "open is not the inverse")
    short = {"sealed": sealed} if len(sealed) <= 4096 else {}
    return {"sealed_len": len(sealed), "sealed_sha256": th.sha256(sealed), **short}


def make_merkle(c):
    leaves = [tree.leaf_hash(entry) for entry in c["entries"]]
    roots = [tree.root(leaves[:n]) for n in range(len(leaves) + 1)]
    for p in c["inclusion"]:
        need(p["proof"] == tree.inclusion(p["index"], leaves[:p["size"]]), "proof", f"inclusion {p['index']}/{p['size']}")
        tree.verify_inclusion(leaves[p["index"]], p["index"], p["size"], p["proof"], roots[p["size"]])
    for p in c["consistency"]:
        made = tree.consistency(p["old_size"], leaves[:p["size"]]) if p["old_size"] else []
        need(p["proof"] == made, "proof", f"consistency {p['old_size']}/{p['size']}")
        tree.verify_consistency(p["old_size"], roots[p["old_size"]], p["size"], roots[p["size"]], p["proof"])
    return {"leaves": leaves, "roots": roots}


def refuse_inclusion(c):
    tree.verify_inclusion(c["leaf"], c["index"], c["size"], c["proof"], c["root"])


def refuse_consistency(c):
    tree.verify_consistency(c["old_size"], c["old_root"], c["size"], c["root"], c["proof"])


def make_note_signing(c):
    signers = [notes.seed_key(signer["seed"], signer["name"]) for signer in c["signers"]]
    made = [{"name": key.name, "seed": signer["seed"], "public": key.public, "key_id": notes.key_id(key),
             "vkey": notes.vkey_text(key)} for signer, (_, key) in zip(c["signers"], signers)]
    need(made == c["signers"], "format", "signers: public, key_id or vkey")
    return {"note": notes.sign(c["text"].encode("ascii"), *signers)}


def note_verify(c):
    keys = [notes.vkey_read(text) for text in c["keys"]]
    text, signed = notes.verify(c["note"], keys)
    return {"signed": [key in signed for key in keys], "count": notes.count(signed), "text": text.decode("ascii")}


LINK_FIELDS = ("network", "node", "sid", "eid", "chain_hash", "policy_hash", "envelope_hash", "prevhash", "generation",
               "stage", "slot", "factors", "roster_version", "status_version", "issued_ms", "not_after_ms")


def make_link(c):
    values = {field: c[field] for field in LINK_FIELDS}
    values["factors"] = [{"name": name} for name in c["factors"]]
    body = proto.pack("LinkBody", values)
    need(proto.link_read(body) == values, "internal", "reading is not the inverse")
    return {"body": body, "hash": th.sha256(body)}


RELEASE_REFUSED = ("kek", "envelope_id", "generation", "stage", "slot", "wrapped", "commitment")
GROUPS = {
    "th": [Kind(("label", "fields"), ("th", "th512"), make_th)],
    "shamir": [Kind(("secret", "k", "x", "coefficients", "combine"), ("y",), make_shamir),
               Kind(("k", "x", "y"), None, refuse_shamir)],
    "keywrap": [Kind(("kek", "plain"), ("wrapped",), make_keywrap),
                Kind(("kek", "wrapped"), None, lambda c: wrap.keyunwrap(c["kek"], c["wrapped"]))],
    "derive": [Kind(("profile", "scalar_a", "scalar_b", "ctx"), ("point_a", "point_b", "spki_hash_a", "z", "key"),
                    make_derive),
               Kind(("profile", "scalar_a", "point_b", "ctx"), None, refuse_derive)],
    "context": [context_kind(kind) for kind in CONTEXTS],
    "seal": [Kind(SHARE + ("seal_scalar", "r_scalar", "share", "salt"),
                  ("seal_point", "point", "ctx", "key", "sealed", "commitment"), make_seal)],
    "release": [Kind(SHARE + ("node", "sid", "prevhash", "locks", "kem_scalar", "e_scalar", "share", "salt"),
                     ("kem_point", "kem_hash", "e_point", "ctx", "kek", "wrapped", "commitment"), make_release),
                Kind(RELEASE_REFUSED, None, refuse_release)],
    "tag": [Kind(("profile", "sid", "a", "b", "link_hash", "peer_a_scalar", "peer_b_scalar", "kek"),
                 ("peer_a_point", "peer_b_point", "ctx", "tag", "lock_plain", "lock", "wrapped"), make_tag)],
    "dek": [Kind(("envelope_id", "generation", "stage_secrets"), ("salt", "dek", "commitment", "payload_key"), make_dek)],
    "payload": [Kind(("key", "aad", "pattern", "plain_len"), ("sealed_len", "sealed_sha256", "sealed"), make_payload),
                Kind(("key", "aad", "pattern", "plain_len"), ("sealed_len", "sealed_sha256"), make_payload),
                Kind(("key", "aad", "sealed"), None, lambda c: wrap.payload_open(c["key"], c["aad"], c["sealed"]))],
    "merkle": [Kind(("entries", "inclusion", "consistency"), ("leaves", "roots"), make_merkle),
               Kind(("leaf", "index", "size", "proof", "root"), None, refuse_inclusion),
               Kind(("old_size", "old_root", "size", "proof", "root"), None, refuse_consistency)],
    "note": [Kind(("text", "signers"), ("note",), make_note_signing),
             Kind(("note", "keys"), ("signed", "count", "text"), note_verify),
             Kind(("note", "keys"), None, note_verify)],
    "link": [Kind(LINK_FIELDS, ("body", "hash"), make_link), Kind(("body",), None, lambda c: proto.link_read(c["body"]))],
}


# ---- the checker

def case_kind(group, case):
    """The kind that has exactly this case's fields."""
    if group == "context":
        need(case.get("kind") in CONTEXTS, "format", f"kind {case.get('kind')!r}")
        kinds = [context_kind(case["kind"])]
    else:
        kinds = GROUPS[group]
    fields = set(case) - {"name", "comment"}
    for kind in kinds:
        if fields == set(kind.inputs) | set(kind.outputs if kind.outputs is not None else ("refused",)):
            return kind
    raise Refused("format", f"no kind of case has the fields {sorted(fields)}")


def check_case(group, case):
    """"computed" or "refused"; raises Refused when the vector and this implementation differ."""
    kind = case_kind(group, case)
    values = {field: decode(field, value, TEXTS) for field, value in case.items() if field not in ("name", "comment")}
    if kind.outputs is None:
        try:
            kind.compute(values)
        except Refused:
            return "refused"
        raise Refused("internal", f"accepted what must be refused ({case['refused']})")
    made = kind.compute(values)
    for field in kind.outputs:
        need(field in made and made[field] == values[field], "internal",
             f"{field}: computed {encode(made.get(field))}, the file says {case[field]}")
    return "computed"


def check_file(path):
    """-> Counter of what was checked."""
    data = json.loads(pathlib.Path(path).read_text(encoding="ascii"))
    need(set(data) == {"format", "group", "maker", "cases"} and data["format"] == FORMAT, "format", f"{path}: head")
    need(data["group"] in GROUPS, "format", f"{path}: group {data['group']!r}")
    prefix = {"c": "", "python": "python-"}.get(data["maker"])
    need(prefix is not None and pathlib.Path(path).name == f"{prefix}{data['group']}.json", "format", f"{path}: name")
    need(data["cases"], "format", f"{path}: no cases")
    names = [case.get("name") for case in data["cases"]]
    need(all(names) and len(set(names)) == len(names), "format", f"{path}: names of cases")
    done = collections.Counter()
    for case in data["cases"]:
        try:
            done[check_case(data["group"], case)] += 1
        except (Refused, ValueError, TypeError, KeyError) as error:
            raise Refused("integrity", f"{path}: {case['name']}: {error}") from error
    return done


def check_directory(directory, maker=None, say=print):
    """Check every file of one maker or both; returns the number of cases."""
    total = 0
    for path in sorted(pathlib.Path(directory).glob("*.json")):
        if maker is not None and path.name.startswith("python-") != (maker == "python"):
            continue
        done = check_file(path)
        total += sum(done.values())
        say(f"{path.name}: {done['computed']} computed, {done['refused']} refused")
    need(total > 0, "not-found", f"{directory}: no vectors")
    return total
