# world: a whole small network in memory (people, documents, nodes with logs, one walk) for the self-test.
"""Everything is made by enfilade_ref, the nodes' side in software: what the reader accepts is made by the writer here, and the
self-test changes one thing at a time. Keys come from a stream, times are fixed."""
import base64
import datetime
import json
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from enfilade_ref import documents, envelope, note, open as opening, proto, strict, th, tree, walk, wrap
from enfilade_ref.vectors_make import Stream

NET = "example.test"
NOW = strict.time_ms("2026-11-24T19:00:00Z", "now")
DAY = 86400000
SECRET = b"the secret of the database\n"
STAGES = (("gate", 1, ("n1", "n2")), ("vault", 2, ("n3", "n4", "n5")))


def b64(data):
    return base64.b64encode(data).decode("ascii")


def certificate(name, key, ca=True):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 11, 1)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(
        7).not_valid_before(start).not_valid_after(start + datetime.timedelta(days=3650)).add_extension(
            x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.DER)


class Log:
    """A node's own log: entries and signed checkpoints."""

    def __init__(self, signer):
        self.signer, self.entries = signer, []

    def append(self, fields):
        entry = proto.pack("Entry", dict(fields, index=len(self.entries), time_ms=NOW + len(self.entries)))
        self.entries.append(entry)
        return entry

    def checkpoint(self):
        root = tree.root([tree.leaf_hash(entry) for entry in self.entries])
        return note.sign(tree.checkpoint_text(tree.Checkpoint(self.signer[1].name, len(self.entries), root)), self.signer)

    def receipt(self, index):
        leaves = [tree.leaf_hash(entry) for entry in self.entries]
        return tree.receipt_make(index, tree.inclusion(index, leaves), self.checkpoint())

    def export(self, directory):
        files = {"checkpoint": self.checkpoint()}
        for number, width in tree.tiles_of(len(self.entries)):
            chosen = self.entries[number * 256:number * 256 + width]
            files["tile/entries/" + tree.tile_path(number, width)] = b"".join(
                len(entry).to_bytes(2, "big") + entry for entry in chosen)
        level, nodes = 0, [tree.leaf_hash(entry) for entry in self.entries]
        while nodes:
            for number, width in tree.tiles_of(len(nodes)):
                files[f"tile/{level}/" + tree.tile_path(number, width)] = b"".join(nodes[number * 256:][:width])
            nodes = [tree.root(nodes[i * 256:][:256]) for i in range(len(nodes) // 256)]
            level += 1
        for path, data in files.items():
            target = pathlib.Path(directory) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


class Node:
    def __init__(self, s, name, filler):
        self.name = name
        self.identity, self.kem, self.seal, self.peer = (wrap.key_from_scalar(s.scalar()) for _ in range(4))
        self.log = Log(note.seed_key(s.take(32), f"{NET}/{name}/log"))
        self.mirror = note.seed_key(s.take(32), f"{NET}/{name}/mirror")[1]
        for _ in range(filler):
            self.log.append({"type": 1})

    def roster_text(self, i):
        points = "".join(f"    {field}: {b64(wrap.key_point(getattr(self, field)))}\n" for field in ("kem", "seal", "peer"))
        return (f"  - name: {self.name}\n    roles: [hsm, mirror]\n    addresses: [\"127.0.0.{10 + i}:7600\"]\n"
                f"    region: r{i % 2 + 1}\n    operator: op{i % 3 + 1}\n    vendor: softhsm\n"
                f"    identity: {b64(certificate(self.name, self.identity))}\n    profile: 1\n{points}"
                f"    log: {note.vkey_text(self.log.signer[1])}\n    mirror: {note.vkey_text(self.mirror)}\n")


def head(kind, days, version=1, before=""):
    return (f"enfilade: {kind}/v1\nnetwork: {NET}\n{before}version: {version}\nissued: {strict.time_text(NOW - DAY)}\n"
            f"expires: {strict.time_text(NOW + days * DAY)}\n")


POLICY_STAGE = """  - name: {name}
    need: {need}
    min_operators: 1
    audit: local
    factors:
      all:
        - device: enrolled
        - evidence: {{format: tpm2, pcrs: [{{index: 14, values: [{pcr}]}}]}}
        - network: {{cidrs: ["127.0.0.0/8", "fd00::/8"]}}
        - at_least: {{count: 1, of: [{{time: {{days: [mon, tue], from: "08:00", to: "24:00"}}}}]}}
"""


class World:
    def __init__(self, seed="world"):
        s = self.stream = Stream(seed)
        self.people = {role: [note.seed_key(s.take(32), f"{NET}/{role}/{who}") for who in "abc"[:3 if role == "root" else 1]]
                       for role in documents.ROLES}
        self.owner = note.seed_key(s.take(32), f"{NET}/owner/dba")
        self.nodes = {f"n{i}": Node(s, f"n{i}", 300 if i == 4 else i) for i in range(1, 6)}
        self.session_key = wrap.key_from_scalar(s.scalar())
        self.make_documents()
        self.make_chain()

    def sign(self, role, text):
        return note.sign(text.encode("ascii"), *self.people[role][:2])

    def make_documents(self):
        roles = "".join(f"  - role: {role}\n    threshold: {min(2, len(keys))}\n    keys: ["
                        f"{', '.join(note.vkey_text(key) for _, key in keys)}]\n" for role, keys in self.people.items())
        self.root_note = self.sign("root", head("root", 365) + f"tag_profile: 1\nroles:\n{roles}device_cas: []\n")
        self.root_hash = th.sha256(note.parse(self.root_note)[0])
        self.notes = {"roster": self.sign("roster", head("roster", 30) + "nodes:\n" + "".join(
            node.roster_text(i) for i, node in enumerate(self.nodes.values())))}
        self.notes["inventory"] = self.sign("inventory", head("inventory", 30) + f"devices:\n  - id: web-1\n    key: {'0a' * 32}\n")
        stages = "".join(POLICY_STAGE.format(name=name, need=need, pcr="5f" * 32) for name, need, _ in STAGES)
        self.notes["policy"] = self.sign("policy", head("policy", 90, before="name: db-policy\n") + "operations: [unlock-db]\n"
                                         f"owners: [{note.vkey_text(self.owner[1])}]\nchain_lifetime_s: 86400\nstages:\n{stages}")
        self.root = documents.verify_root(self.root_note, self.root_hash)
        policy = documents.verify(self.notes["policy"], self.root)
        wanted = [{"name": name, "need": need, "members": [
            {"slot": slot, "node": node, "profile": 1, "seal": wrap.key_point(self.nodes[node].seal)}
            for slot, node in enumerate(members, 1)]} for name, need, members in STAGES]
        self.notes["envelope"], self.payload = envelope.make(
            self.stream.take, NET, self.owner, policy, "unlock-db", self.stream.take(16), 1, wanted, SECRET, NOW - DAY, NOW + 99 * DAY)
        self.make_status()

    def make_status(self, extra="revocations: []\nhalts: []\nwithdrawn: []\n"):
        lines = ["documents:"]
        for kind, data in (("root", self.root_note), *self.notes.items()):
            if kind in ("root", "roster", "inventory", "policy"):
                named = "name: db-policy, " if kind == "policy" else ""
                lines.append(f"  - {{type: {kind}, {named}version: 1, hash: {th.sha256(note.parse(data)[0]).hex()}}}")
        self.notes["status"] = self.sign("status", head("status", 1) + "\n".join(lines) + "\n" + extra)
        self.found = {}
        for kind in ("roster", "status", "inventory", "policy", "envelope"):
            self.found[kind] = documents.verify(self.notes[kind], self.root, [self.found["policy"]] if kind == "envelope" else [])

    def make_chain(self, unlisted=()):
        stages = "".join(f"  - name: {name}\n    need: {need}\n    members: [" + ", ".join(
            f"{{slot: {slot}, node: {node}}}" for slot, node in enumerate(members, 1) if node not in unlisted) + "]\n" for name, need, members in STAGES)
        text = (f"enfilade: chain/v1\nnetwork: {NET}\noperation: unlock-db\npolicy: {self.found['policy'].hash.hex()}\n"
                f"envelope: {self.found['envelope'].hash.hex()}\nnot_after: {strict.time_text(NOW + DAY // 2)}\nstages:\n{stages}")
        self.chain = documents.parse(text.encode("ascii"))

    def walk(self, members=((1, "n2"), (2, "n3"), (2, "n5")), body_lie=None, entry_lie=None):
        """Visit these; the answers and links stand in self.visits. A lie changes fields of the last node's body or entry."""
        self.lies = ({}, {})
        e = wrap.key_point(self.session_key)
        self.sid_inputs = {"eid": walk.eid(e), "client_key_hash": self.stream.take(32), "client_nonce": self.stream.take(32),
                           "chain_hash": self.chain.hash}
        self.sid = walk.sid(NET, *self.sid_inputs.values())
        self.visits, self.entries = [], {}
        for stage, name in members:
            slot = STAGES[stage - 1][2].index(name) + 1
            if name == members[-1][1]:
                self.lies = (body_lie or {}, entry_lie or {})
            self.visits.append(self.release(stage, slot, self.nodes[name], e))

    def release(self, stage, slot, node, e):
        earlier = [v for v in self.visits if v.stage < stage]
        prev = walk.prevhash([v.link_hash for v in earlier])
        body = proto.pack("LinkBody", {
            "network": NET, "sid": self.sid, "eid": self.sid_inputs["eid"], "chain_hash": self.chain.hash, "policy_hash":
            self.found["policy"].hash, "envelope_hash": self.found["envelope"].hash, "generation": 1, "stage": stage, "slot": slot,
            "node": node.name, "prevhash": prev, "factors": [{"name": "device"}, {"name": "evidence"}], "roster_version": 1,
            "status_version": 1, "issued_ms": NOW + stage, "not_after_ms": NOW + DAY // 2, **self.lies[0]})
        locks = []
        for before in (v for v in earlier if v.stage == stage - 1):
            a = before.node["name"]
            tag = wrap.derive(1, node.peer, wrap.key_point(self.nodes[a].peer),
                              walk.tag_context(1, self.sid, a, node.name, before.link_hash))
            locks.append(walk.lock(tag, a, node.name))
        ctx = walk.session_context(1, node.name, wrap.point_spki_hash(wrap.key_point(node.kem)), stage, slot, self.sid, prev, locks)
        kek = wrap.derive(1, node.kem, e, ctx)
        share = envelope.share_at_node(self.found["envelope"], stage, slot, node.seal)
        answer = proto.pack("Answer", {"share": wrap.keywrap(kek, share), "tags": self.tags(stage, node, body, kek)})
        commitments = {field: self.stream.take(32) for field in ("evidence", "subject", "secret")}
        entry = node.log.append({"type": 2, "walk_id": walk.walk_id(self.sid), "policy_hash": self.found["policy"].hash, **commitments,
                                 "link_hash": th.sha256(body), "response_hash": th.sha256(answer), **self.lies[1]})
        self.entries[node.name] = entry
        roster = next(n for n in self.found["roster"]["nodes"] if n["name"] == node.name)
        return opening.Visit(stage, slot, roster, body, answer)

    def tags(self, stage, node, body, kek):
        following = STAGES[stage][2] if stage < len(STAGES) else ()
        out = []
        for slot, b in enumerate(following, 1):
            tag = wrap.derive(1, node.peer, wrap.key_point(self.nodes[b].peer),
                              walk.tag_context(1, self.sid, node.name, b, th.sha256(body)))
            out.append({"slot": slot, "tag": wrap.keywrap(kek, tag)})
        return out

    def transcript(self, folder):
        """Write transcript.json, the exported logs and the secret into a folder; returns the transcript as a dict."""
        self.nodes["n1"].log.append({"type": 4, "code": 34})
        visits = [{"stage": 1, "slot": 1, "node": "n1", "milliseconds": 3.5, "result": "evidence"}]
        for v in self.visits:
            log, entry = self.nodes[v.node["name"]].log, self.entries[v.node["name"]]
            visits.append({"stage": v.stage, "slot": v.slot, "node": v.node["name"], "milliseconds": 12, "result": "ok",
                           "link_body": v.body.hex(), "entry": entry.hex(),
                           "receipt": log.receipt(log.entries.index(entry)).decode("utf-8")})
        for name, node in self.nodes.items():
            node.log.append({"type": 1})
            node.log.export(pathlib.Path(folder) / "tiles" / name)
        out = {"version": 1, "network": NET, "root": self.root_note.decode("utf-8"), "root_hash": self.root_hash.hex(),
               "documents": [data.decode("utf-8") for data in self.notes.values()], "chain": self.chain.text.decode("ascii"),
               "operation": "unlock-db", "walk": {"sid_inputs": {k: v.hex() for k, v in self.sid_inputs.items()},
                                                  "sid": self.sid.hex(), "visits": visits},
               "tiles": {name: f"tiles/{name}" for name in self.nodes}, "secret_sha256": th.sha256(SECRET).hex(),
               "denials": [{"what": "pcr changed", "code": "evidence", "denial_id": "ab" * 16}],
               "exit_codes": {"unseal": 0, "pcr changed": 3}}
        (pathlib.Path(folder) / "secret").write_bytes(SECRET)
        (pathlib.Path(folder) / "transcript.json").write_text(json.dumps(out), encoding="utf-8")
        return out
