# documents: the schemas of everything that people sign, and who must have signed it.
"""parse(text) checks a text by its schema; verify(note, …) checks signatures and thresholds first. Schemas: common/documents/
README.md. A Document keeps note, text and hash as received."""
import ipaddress
import re

from cryptography import x509

from enfilade_ref import note as notes
from enfilade_ref import strict, th, wrap
from enfilade_ref.refuse import Refused, need
from enfilade_ref.strict import base64_of, hex_of, mapping, name, number, one_of, sequence, text, time_ms, vkey

CHAIN_MAX = 64 * 1024
PAYLOAD_INLINE_MAX = 256 * 1024
ROLES = ("root", "roster", "inventory", "policy", "status")
HSM_FIELDS = ("profile", "kem", "seal", "peer", "log", "mirror")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FACTOR_DEPTH_MAX = 4
COUNT = number(1, 16)
HASH = hex_of(32)
POINT = base64_of(65)


def certificate(value, path):
    """Of a CA: it signs leaves (identities), or device certificates."""
    der = base64_of(most=16384)(value, path)
    try:
        basic = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, x509.ExtensionNotFound, x509.InvalidVersion) as error:
        raise Refused("format", f"{path}: no certificate, or not of a CA") from error
    need(basic.ca, "format", f"{path}: not of a CA")
    return der


def point(value, path):
    raw = POINT(value, path)
    try:
        wrap.point_load(raw)
    except Refused as error:
        raise error.within(path) from error
    return raw


# ---- root

def role_check(role, path):
    need(role["threshold"] <= notes.count(role["keys"]), "format", f"{path}: threshold above the number of keys")


ROLE = mapping({"role": one_of(*ROLES), "threshold": number(1, 100),
                "keys": sequence(vkey, 1, 100, unique=lambda key: key)}, check=role_check)


def root_check(root, path):
    need({role["role"] for role in root["roles"]} == set(ROLES), "format", "roles: not each of the five")


# ---- roster

def address(value, path):
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):([1-9][0-9]{0,4})", text(value, path))
    need(match and int(match[2]) <= 65535 and len(value) <= 63, "format", f"{path}: {value!r} is no address")
    return value


def node_check(node, path):
    has_token = "hsm" in node["roles"]
    for field in HSM_FIELDS:
        need((node[field] is not None) == has_token, "format", f"{path}.{field}: with role hsm, and only then")


NODE = mapping({"name": name, "roles": sequence(one_of("hsm", "mirror", "config"), 1, 3, unique=lambda role: role),
                "addresses": sequence(address, 1, 8), "region": name, "operator": name, "vendor": name,
                "identity": certificate},
               {"profile": number(1, 3), "kem": point, "seal": point, "peer": point, "log": vkey, "mirror": vkey},
               check=node_check)


def roster_check(roster, path):
    keys = []
    for i, node in enumerate(roster["nodes"]):
        for field in ("log", "mirror"):
            wanted = f"{roster['network']}/{node['name']}/{field}"
            need(node[field] is None or node[field].name == wanted, "format", f"nodes[{i}].{field}: not named {wanted}")
        keys += [node["identity"]] + [node[f] for f in ("kem", "seal", "peer") if node[f]]
        keys += [node[f].public for f in ("log", "mirror") if node[f]]
    need(len(set(keys)) == len(keys), "format", "nodes: one key twice")


# ---- inventory

DEVICE = mapping({"id": name, "key": HASH}, {"ak": HASH, "ek": HASH, "chip": hex_of(*range(1, 65))})


def inventory_check(inventory, path):
    for field in ("key", "ak", "ek"):
        values = [device[field] for device in inventory["devices"] if device[field]]
        need(len(set(values)) == len(values), "format", f"devices: one {field} twice")


# ---- policy

def cidr(value, path):
    try:
        return ipaddress.ip_network(text(value, path), strict=True)
    except ValueError as error:
        raise Refused("format", f"{path}: {value!r} is no network") from error


def clock_time(latest):
    def convert(value, path):
        match = re.fullmatch(r"([0-2][0-9]):([0-5][0-9])", text(value, path))
        need(match, "format", f"{path}: {value!r} is no time of day")
        minutes = int(match[1]) * 60 + int(match[2])
        need(minutes <= latest, "format", f"{path}: {value!r} is no time of day")
        return minutes
    return convert


def window_check(window, path):
    need(window["from"] != window["to"], "format", f"{path}: empty window")


def pcrs_check(evidence, path):
    indices = [pcr["index"] for pcr in evidence["pcrs"]]
    need(indices == sorted(set(indices)), "format", f"{path}.pcrs: not in ascending order")


PCR = mapping({"index": number(0, 23), "values": sequence(HASH, 1, 16)})
EVIDENCE = mapping({"format": name, "pcrs": sequence(PCR, 1, 24)}, check=pcrs_check)
NETWORK = mapping({"cidrs": sequence(cidr, 1, 64)})
TIME = mapping({"from": clock_time(1439), "to": clock_time(1440)},
               {"days": sequence(one_of(*DAYS), 1, 7, unique=lambda day: day)}, check=window_check)
QUOTA = mapping({"count": number(1, 1000000), "window_s": number(1, 366 * 86400), "per": one_of("device", "secret", "policy")})
LEAVES = {"evidence": EVIDENCE, "device": one_of("enrolled"), "network": NETWORK, "time": TIME, "quota": QUOTA}


def factor_at(depth):
    """The converter of a factor at that depth: exactly one key."""
    def convert(value, path):
        need(depth <= FACTOR_DEPTH_MAX, "format", f"{path}: nested too deeply")
        need(isinstance(value, dict) and len(value) == 1, "format", f"{path}: not exactly one factor")
        kind, body = next(iter(value.items()))
        path = f"{path}.{kind}"
        if kind in LEAVES:
            return {kind: LEAVES[kind](body, path)}
        children = sequence(factor_at(depth + 1), 1, 16)
        if kind in ("all", "any"):
            return {kind: children(body, path)}
        need(kind == "at_least", "format", f"{path}: unknown factor")
        out = mapping({"count": COUNT, "of": children})(body, path)
        need(out["count"] <= len(out["of"]), "format", f"{path}: more than there are")
        return {kind: out}
    return convert


def has_quota(factor):
    kind, body = next(iter(factor.items()))
    children = body if kind in ("all", "any") else body["of"] if kind == "at_least" else ()
    return kind == "quota" or any(has_quota(child) for child in children)


def quotas_check(stage, path):
    """Alone, or directly under the topmost all, each window and kind once."""
    kind, body = next(iter(stage["factors"].items()))
    if kind == "quota":
        return
    direct = [child["quota"] for child in body if "quota" in child] if kind == "all" else []
    rest = [child for child in body if "quota" not in child] if kind == "all" else [stage["factors"]]
    need(not any(has_quota(factor) for factor in rest), "format", f"{path}.factors: a quota within other factors")
    marks = [(quota["window_s"], quota["per"]) for quota in direct]
    need(len(set(marks)) == len(marks), "format", f"{path}.factors: one quota twice")


ALLOWED = sequence(name, 1, 64, unique=lambda item: item)
POLICY_STAGE = mapping({"name": name, "need": COUNT, "audit": one_of("local", "confirmed"), "factors": factor_at(1)},
                       {"regions": ALLOWED, "operators": ALLOWED, "vendors": ALLOWED, "min_regions": COUNT,
                        "min_operators": COUNT, "min_vendors": COUNT}, check=quotas_check)

# ---- envelope

MEMBER = mapping({"slot": COUNT, "node": name, "profile": number(1, 3), "seal": point, "point": point,
                  "sealed": base64_of(72), "commitment": HASH})


def stage_check(stage, path):
    members = stage["members"]
    need(stage["need"] <= len(members), "format", f"{path}: need above the number of members")
    for field in ("slot", "node"):
        need(len({m[field] for m in members}) == len(members), "format", f"{path}: one {field} twice")


ENVELOPE_STAGE = mapping({"name": name, "need": COUNT, "members": sequence(MEMBER, 1, 16)}, check=stage_check)
CHAIN_STAGE = mapping({"name": name, "need": COUNT, "members": sequence(mapping({"slot": COUNT, "node": name}), 1, 16)},
                      check=stage_check)


def envelope_check(envelope, path):
    payload = envelope["payload"]
    if payload is not None:
        need(len(payload) == envelope["payload_length"], "format", "payload: length")
        need(th.sha256(payload) == envelope["payload_hash"], "format", "payload: hash")


# ---- status

def by_kind(field, kinds):
    """A mapping whose other fields depend on the value of one."""
    def convert(value, path):
        need(isinstance(value, dict), "format", f"{path}: not a mapping")
        kind = one_of(*kinds)(value.get(field, ""), f"{path}.{field}")
        return mapping({field: text, **kinds[kind]})(value, path)
    return convert


IN_FORCE = {"version": number(1), "hash": HASH}
STATUS_DOCUMENT = by_kind("type", {**{kind: IN_FORCE for kind in ("root", "roster", "inventory")},
                                   "policy": {"name": name, **IN_FORCE}})
REVOCATION = by_kind("kind", {"node": {"id": name}, "device": {"id": name}, "chain": {"hash": HASH}})


def halt(value, path):
    fields = {"network": one_of("halted"), "node": name, "policy": name}
    need(isinstance(value, dict) and len(value) == 1, "format", f"{path}: exactly one of network, node, policy")
    return mapping({}, fields)(value, path)


WITHDRAWAL = mapping({"owner": HASH, "envelope": hex_of(16), "least_generation": number(1)})


def status_check(status, path):
    marks = [(entry["type"], entry.get("name")) for entry in status["documents"]]
    need(len(set(marks)) == len(marks), "format", "documents: one of them twice")
    need({kind for kind, _ in marks} >= {"root", "roster", "inventory"}, "format", "documents: one is missing")


STAGES = {"unique": lambda stage: stage["name"]}
SCHEMAS = {
    "root": ({"version": number(1), "tag_profile": number(1, 3), "roles": sequence(ROLE, 5, 5),
              "device_cas": sequence(certificate, 0, 16)}, {}, root_check),
    "roster": ({"version": number(1), "nodes": sequence(NODE, 0, 1000, unique=lambda node: node["name"])}, {}, roster_check),
    "inventory": ({"version": number(1), "devices": sequence(DEVICE, 0, 4096, unique=lambda device: device["id"])}, {},
                  inventory_check),
    "policy": ({"name": name, "version": number(1), "operations": sequence(name, 1, 64, unique=lambda item: item),
                "owners": sequence(vkey, 1, 64, unique=lambda key: key.public), "chain_lifetime_s": number(1, 1 << 40),
                "stages": sequence(POLICY_STAGE, 1, 15, **STAGES)}, {}, None),
    "envelope": ({"id": hex_of(16), "generation": number(1), "operation": name, "policy": name, "policy_hash": HASH,
                  "commitment": HASH, "payload_hash": HASH, "payload_length": number(16),
                  "stages": sequence(ENVELOPE_STAGE, 1, 15, **STAGES)}, {"payload": base64_of(most=PAYLOAD_INLINE_MAX)},
                 envelope_check),
    "status": ({"version": number(1), "documents": sequence(STATUS_DOCUMENT), "revocations": sequence(REVOCATION, most=65536),
                "halts": sequence(halt), "withdrawn": sequence(WITHDRAWAL, most=65536)}, {}, status_check),
    "approval": ({"sid": HASH}, {}, None),
    "chain": ({"operation": name, "policy": HASH, "envelope": HASH, "not_after": time_ms,
               "stages": sequence(CHAIN_STAGE, 1, 15, **STAGES)}, {}, None),
}


class Document:
    """type, text, hash, note (None for a chain), the fields by name, and `signed`: the keys whose signatures verified."""

    def __init__(self, kind, text_bytes, fields):
        self.type, self.text, self.hash, self.fields = kind, text_bytes, th.sha256(text_bytes), fields
        self.note, self.signed = None, []

    def __getitem__(self, field):
        return self.fields[field]

    @property
    def owner(self):
        """Of a verified envelope: the raw public key that signed it."""
        return self.signed[0].public

    def valid_at(self, now_ms):
        need(self["issued"] <= now_ms < self["expires"], "expired", f"{self.type}: not valid at {strict.time_text(now_ms)}")


def parse(text_bytes):
    """A text, without any verification."""
    notes.text_check(text_bytes)
    first = re.match(rb"enfilade: ([a-z]+)/v1\n", text_bytes)
    kind = first[1].decode("ascii") if first else None
    need(kind in SCHEMAS, "format", "first line is not `enfilade: <type>/v1`")
    need(kind != "chain" or len(text_bytes) <= CHAIN_MAX, "too-long", "chain")
    required, optional, check = SCHEMAS[kind]
    common = {"enfilade": one_of(f"{kind}/v1"), "network": name}
    if kind != "chain":
        common.update(issued=time_ms, expires=time_ms)
    fields = mapping({**common, **required}, optional, check)(strict.load(text_bytes), "")
    need(kind == "chain" or fields["issued"] < fields["expires"], "format", "expires before it is issued")
    return Document(kind, text_bytes, fields)


def role_keys(root, role):
    found = next(item for item in root["roles"] if item["role"] == role)
    return found["keys"], found["threshold"]


def threshold(note, root, role, what):
    """Refuse unless enough distinct keys of that role signed; returns those that did."""
    keys, least = role_keys(root, role)
    _, signed = notes.verify(note, keys)
    need(notes.count(signed) >= least, "threshold", f"{what}: {notes.count(signed)} of {least} signers of role {role}")
    return signed


def verify_root(note, pinned_hash=None, previous=None):
    """A root pinned by its hash, or following another. Its keys stand in its own text, so it is parsed first."""
    text_bytes, _ = notes.parse(note)
    need(pinned_hash is not None or previous is not None, "internal", "a root needs a pin or a predecessor")
    need(pinned_hash is None or th.sha256(text_bytes) == pinned_hash, "signature", "root: not the pinned one")
    document = parse(text_bytes)
    need(document.type == "root", "format", "not a root")
    document.note, document.signed = note, threshold(note, document, "root", "root")
    if previous is not None:
        threshold(note, previous, "root", "root, by the keys before it")
        need(document["version"] > previous["version"] and document["network"] == previous["network"], "stale",
             "root: does not follow the one before it")
    return document


def verify(note, root, policies=()):
    """Any signed document but a root. policies: verified ones, for envelopes."""
    text_bytes, _ = notes.parse(note)
    first = re.match(rb"enfilade: ([a-z]+)/v1\n", text_bytes)
    kind = first[1].decode("ascii") if first else None
    if kind in ROLES and kind != "root":
        signed = threshold(note, root, kind, kind)
    else:
        need(kind == "envelope", "format", f"{kind}: no document that can be verified here")
        signed = []
    document = parse(text_bytes)
    need(document["network"] == root["network"], "format", f"{kind}: of another network")
    document.note, document.signed = note, signed
    if kind == "policy":
        document.signed = signed + notes.verify(note, document["owners"])[1]
    if kind == "envelope":
        document.signed = [envelope_owner(note, document, policies)]
    return document


def envelope_owner(note, envelope, policies):
    """The one owner, named by the envelope's policy, whose signature verifies."""
    named = [policy for policy in policies if policy["name"] == envelope["policy"]]
    need(named, "documents", f"envelope: policy {envelope['policy']} is missing")
    owners = {key for policy in named for key in policy["owners"]}
    _, signed = notes.verify(note, sorted(owners))
    need(notes.count(signed) == 1, "threshold", f"envelope: signed by {notes.count(signed)} owners")
    return signed[0]


def owner_signed(policy, owner):
    return any(key.public == owner for key in policy.signed) and any(key.public == owner for key in policy["owners"])


def check_status(status, documents):
    """The documents are the very versions that the status names."""
    for document in documents:
        key = (document.type, document["name"] if document.type == "policy" else None)
        found = [item for item in status["documents"] if (item["type"], item.get("name")) == key]
        need(len(found) == 1, "status", f"status does not name the {document.type}")
        need(found[0]["version"] == document["version"] and found[0]["hash"] == document.hash, "stale",
             f"{document.type}: not the version in force")


def check_status_follows(status, previous, root):
    """A newer status that drops a revocation or halt needs the root's threshold."""
    need(status["version"] > previous["version"], "stale", "status: version does not grow")
    frozen = lambda items: {tuple(sorted((k, v) for k, v in item.items() if v is not None)) for item in items}
    dropped = (frozen(previous["revocations"]) - frozen(status["revocations"])) | (
        frozen(previous["halts"]) - frozen(status["halts"]))
    if dropped:
        threshold(status.note, root, "root", "status that drops a revocation or halt")
