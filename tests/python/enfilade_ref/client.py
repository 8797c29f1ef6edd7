# client: walks a whole chain against running nodes, from client.yaml to the secret.
"""Written from the design (§6, §7) alone. Every step is a method of its own, so that a test can change one thing and leave the
rest as an honest workload does it: Session makes messages and judges answers, Walk is the honest order of them."""
import os
import pathlib
import time

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from enfilade_ref import chain as chains
from enfilade_ref import documents, note, proto, shamir, tpm_device, tree, walk, wire, wrap
from enfilade_ref import open as opening
from enfilade_ref.refuse import Refused, error_table, need
from enfilade_ref.th import sha256

GRANT = 2
SKEW_MS = 120000
BUSY_TRIES = 20
NETWORK_WIDE = ("root", "roster", "inventory", "status")


class Denied(Exception):
    """A node said no: code (a name of the error table) and denial id."""

    def __init__(self, node, message):
        names = {wire_code: name for name, (wire_code, _) in error_table().items()}
        self.node, self.code, self.denial_id = node, names.get(message["code"], "unknown"), message["denial_id"]
        super().__init__(f"{node} denies: {self.code} (denial {self.denial_id.hex() or 'without id'})")


class Config:
    """client.yaml: paths are relative to its folder."""

    def __init__(self, path):
        self.folder = pathlib.Path(path).resolve().parent
        self.fields = yaml.safe_load(pathlib.Path(path).read_text(encoding="utf-8"))
        need(isinstance(self.fields, dict) and self.fields.get("enfilade") == "client/v1", "config", f"{path}: no client/v1")
        for field in ("network", "root", "root_hash", "operations", "device", "attester"):
            need(field in self.fields, "config", f"{path}: without {field}")
        self.network, self.root_hash = self.fields["network"], bytes.fromhex(self.fields["root_hash"])
        self.tcti, self.source = self.fields["attester"]["device"], self.fields.get("source")
        self.servers = self.fields.get("config_servers", [])
        self.certificate = x509.load_pem_x509_certificate(self.path(self.fields["device"]["certificate"]).read_bytes())
        self.key = load_pem_private_key(self.path(self.fields["device"]["key"]).read_bytes(), None)
        self.operations = {item["name"]: (bytes.fromhex(item["envelope"]), note.vkey_read(item["owner"]))
                           for item in self.fields["operations"]}

    def path(self, text):
        return self.folder / text


class Shelf:
    """Verified documents: the newest version of each."""

    def __init__(self, root_note, root_hash, network):
        self.root = documents.verify_root(root_note, root_hash)
        need(self.root["network"] == network, "config", "root document of another network")
        self.newest, self.chains = {("root", None): self.root}, {}

    def offer_all(self, notes):
        order = ["root", "roster", "inventory", "policy", "status", "envelope", "chain"]
        claimed = []
        for data in notes:
            head = data[:64].split(b"\n", 1)[0].decode("ascii", "replace")
            kind = head.removeprefix("enfilade: ").removesuffix("/v1")
            if kind in order:
                claimed.append((order.index(kind), data, kind))
        for _, data, kind in sorted(claimed, key=lambda item: item[0]):
            self.offer(data, kind)

    def offer(self, data, kind):
        if kind == "root":
            if note.parse(data)[0] != self.root.text:
                self.root = documents.verify_root(data, previous=self.root)
                self.newest["root", None] = self.root
            return
        if kind == "chain":
            parsed = documents.parse(data)
            self.chains[parsed["operation"]] = parsed
            return
        document = documents.verify(data, self.root, [d for (k, _), d in self.newest.items() if k == "policy"])
        key = (kind, document["name"] if kind == "policy" else document["id"] if kind == "envelope" else None)
        rank = document["generation"] if kind == "envelope" else document["version"]
        old = self.newest.get(key)
        old_rank = -1 if old is None else old["generation"] if kind == "envelope" else old["version"]
        if rank > old_rank:
            self.newest[key] = document
        else:
            need(rank < old_rank or old.hash == document.hash, "equivocation", f"two {kind}s of version {rank}")

    def get(self, kind, name=None):
        found = self.newest.get((kind, name))
        need(found is not None, "documents", f"no {kind} {name.hex() if isinstance(name, bytes) else name or ''}")
        return found


def now_ms():
    return int(time.time() * 1000)


class Session:
    """One walk's secrets and what was granted so far. Anything here may be overwritten by a test before it is used."""

    def __init__(self, config, shelf, operation, chain=None, session_key=None, client_nonce=None):
        self.config, self.shelf, self.operation = config, shelf, operation
        envelope_id, owner = config.operations[operation]
        self.envelope = shelf.get("envelope", envelope_id)
        need(self.envelope.owner == owner.public, "identity", "envelope of another owner")
        self.policy = shelf.get("policy", self.envelope["policy"])
        self.roster, self.status = shelf.get("roster"), shelf.get("status")
        self.nodes = {node["name"]: node for node in self.roster["nodes"]}
        self.chain = chain or shelf.chains.get(operation)
        need(self.chain is not None, "chain", "the configuration server has no chain for this operation")
        self.key = session_key or ec.generate_private_key(ec.SECP256R1())
        self.point = wrap.key_point(self.key)
        self.client_nonce = client_nonce or os.urandom(32)
        self.certificate, self.device_key, self.source = config.certificate, config.key, config.source
        self.visits, self.records, self.tags, self.secrets = [], [], {}, []

    def check_documents(self):
        """What an honest workload checks before it asks anybody."""
        moment = now_ms()
        inventory = self.shelf.get("inventory")
        for document in (self.shelf.root, self.roster, self.status, self.policy, self.envelope, inventory):
            document.valid_at(moment)
        documents.check_status(self.status, [self.shelf.root, self.roster, inventory, self.policy])
        need(self.envelope["operation"] == self.operation, "policy", "envelope of another operation")
        chains.check(chains.World(self.policy, self.envelope, self.roster, self.status), self.chain, moment)

    @property
    def client_key_hash(self):
        return wire.spki_hash(self.certificate)

    @property
    def eid(self):
        return walk.eid(self.point)

    @property
    def sid(self):
        return walk.sid(self.config.network, self.eid, self.client_key_hash, self.client_nonce, self.chain.hash)

    def ordered(self, stage):
        """Visits of the stages before, by stage, then slot."""
        return sorted((v for v in self.visits if v.stage < stage), key=lambda v: (v.stage, v.slot))

    def prevhash(self, stage):
        return walk.prevhash([v.link_hash for v in self.ordered(stage)])

    def connect(self, node, **changes):
        """TLS to a node of the roster, by name."""
        entry = self.nodes[node]
        arguments = {"certificate": self.certificate, "key": self.device_key, "source": self.source, **changes}
        return wire.Connection(entry["addresses"][0], entry["identity"], **arguments)

    def versions(self):
        kept = [(kind, "", self.shelf.get(kind)) for kind in NETWORK_WIDE]
        return [{"type": kind, "name": name, "version": d["version"], "hash": d.hash} for kind, name, d in kept]

    def begin(self, node, stage, slot):
        return {"network": self.config.network, "node": node, "chain": self.chain.text, "stage": stage, "slot": slot,
                "session_key": self.point, "client_nonce": self.client_nonce,
                "links": [v.link for v in self.ordered(stage)], "versions": self.versions()}

    def expected_factors(self, stage):
        names = []

        def collect(factor):
            kind, body = next(iter(factor.items()))
            if kind in ("all", "any"):
                for child in body:
                    collect(child)
            elif kind == "at_least":
                for child in body["of"]:
                    collect(child)
            else:
                names.append(f"evidence:{body['format']}" if kind == "evidence" else kind)
        collect(self.policy["stages"][stage - 1]["factors"])
        return names

    def check_challenge(self, stage, challenge):
        asked = [factor["name"] for factor in challenge["factors"]]
        need(asked == self.expected_factors(stage), "policy", f"the node asks for {asked}, not for what the policy says")
        need(len(challenge["nonce"]) == 32 and any(challenge["nonce"]), "format", "nonce")
        ours = {(v["type"], v["name"]): v["version"] for v in self.versions()}
        for version in challenge["versions"]:
            need(version["version"] <= ours.get((version["type"], version["name"]), version["version"]), "stale",
                 f"the node has a newer {version['type']}")

    def bind(self, connection, begin, nonce):
        node = self.nodes[begin["node"]]
        return walk.bind(self.sid, begin["node"], wrap.point_spki_hash(node["kem"]), begin["stage"], begin["slot"], nonce,
                         connection.exporter(nonce), sha256(self.certificate.public_bytes(Encoding.DER)),
                         connection.server_key_hash, self.prevhash(begin["stage"]))

    def attest(self, bind):
        data = tpm_device.evidence(self.config.tcti, bind)
        return {"evidence": [{"format": "tpm2", "data": data}], "approvals": []}

    def ask_begin(self, connection, begin, node=None):
        """-> Challenge. Busy is waited out, documents that the node lacks are given once."""
        given, node = False, node or begin["node"]
        for _ in range(BUSY_TRIES):
            connection.send("Begin", begin)
            name, answer = connection.receive()
            if name == "Busy":
                time.sleep(answer["retry_after_ms"] / 1000)
                continue
            if name == "NeedDocuments" and not given:
                given = True
                connection.send("Documents", {"notes": self.find(answer["wants"])})
                continue
            return self.wanted(node, name, answer, "Challenge")
        raise Refused("busy", f"{node} stays busy")

    def find(self, wants):
        out = []
        for want in wants:
            for (kind, _), document in self.shelf.newest.items():
                if kind == want["type"] and (not want["hash"] or want["hash"] == document.hash):
                    out.append({"text": document.note})
        return out

    @staticmethod
    def wanted(node, name, answer, expected):
        if name == "Deny":
            raise Denied(node, answer)
        need(name == expected, "order", f"{node} sent {name}, not {expected}")
        return answer

    def ask_attest(self, connection, node, attest):
        connection.send("Attest", attest)
        return self.wanted(node, *connection.receive(), "Release")

    def visit(self, node, stage, slot):
        """One door, honestly; the grant is kept."""
        with self.connect(node) as connection:
            begin = self.begin(node, stage, slot)
            challenge = self.ask_begin(connection, begin)
            self.check_challenge(stage, challenge)
            release = self.ask_attest(connection, node, self.attest(self.bind(connection, begin, challenge["nonce"])))
        return self.take(node, stage, slot, release)

    def take(self, node, stage, slot, release):
        """Checks link, entry and receipt, and keeps the visit."""
        link = release["link"]
        record = self.check_link(node, stage, slot, link, release["answer"])
        visit = opening.Visit(stage, slot, self.nodes[node], link["body"], release["answer"])
        visit.link = link
        self.visits.append(visit)
        self.records.append(record)
        return visit

    def check_link(self, node, stage, slot, link, answer):
        body, entry = proto.link_read(link["body"]), proto.entry_read(link["entry"])
        moment = now_ms()
        expected = {"network": self.config.network, "sid": self.sid, "eid": self.eid, "chain_hash": self.chain.hash,
                    "policy_hash": self.policy.hash, "envelope_hash": self.envelope.hash,
                    "generation": self.envelope["generation"], "stage": stage, "slot": slot, "node": node,
                    "prevhash": self.prevhash(stage)}
        for field, value in expected.items():
            need(body[field] == value, "link", f"{node}: {field} differs")
        need(body["issued_ms"] <= moment + SKEW_MS and body["not_after_ms"] >= moment - SKEW_MS, "link", f"{node}: times")
        need(entry["type"] == GRANT and entry["link_hash"] == sha256(link["body"]), "link", f"{node}: entry is not of this link")
        need(entry["walk_id"] == walk.walk_id(self.sid) and entry["policy_hash"] == self.policy.hash, "link",
             f"{node}: entry of another walk")
        need(entry["response_hash"] == sha256(answer), "link", f"{node}: entry of another answer")
        index, checkpoint = tree.receipt_verify(link["receipt"], link["entry"], self.nodes[node]["log"])
        need(index == entry["index"], "link", f"{node}: the receipt is for another index")
        return {"node": node, "stage": stage, "slot": slot, "index": index, "size": checkpoint.size,
                "factors": [factor["name"] for factor in body["factors"]]}

    def share(self, visit):
        """The share of a visit whose locks we hold; its tags are kept. Refused("signature") if it does not open."""
        return opening.unwrap_answer(self.envelope, self.chain, self.key, self.sid, visit, self.visits, self.tags)

    def combine(self, stage):
        here = [v for v in self.visits if v.stage == stage]
        need(len(here) == self.chain["stages"][stage - 1]["need"], "shares", f"stage {stage}: {len(here)} answers")
        return shamir.combine({v.slot: self.share(v) for v in here})

    def open(self):
        return opening.open_payload(self.envelope, self.chain, self.key, self.sid, self.visits, self.payload())

    def payload(self):
        if self.envelope["payload"] is not None:
            return None
        name = f"{self.envelope['id'].hex()}-{self.envelope['generation']}.payload"
        return (self.config.path(self.config.fields["payload"]) / name).read_bytes()


class Client:
    """Documents from the client's folders and a configuration server, then walks."""

    def __init__(self, path):
        self.config = Config(path)
        root = self.config.path(self.config.fields["root"]).read_bytes()
        self.shelf = Shelf(root, self.config.root_hash, self.config.network)
        for field in ("state", "documents"):
            folder = self.config.path(self.config.fields[field]) if field in self.config.fields else None
            if folder is not None and folder.is_dir():
                self.shelf.offer_all([p.read_bytes() for p in sorted(folder.iterdir()) if p.suffix in (".note", ".chain")])

    def fetch(self, operation):
        """The newest documents of the first configuration server that answers."""
        envelope_id, _ = self.config.operations[operation]
        policies = [name for kind, name in self.shelf.newest if kind == "policy"]
        wants = ([{"type": kind} for kind in NETWORK_WIDE] + [{"type": "policy", "name": name} for name in policies]
                 + [{"type": "envelope", "name": envelope_id.hex()}, {"type": "chain", "name": operation}])
        nodes = {node["name"]: node for node in self.shelf.get("roster")["nodes"]}
        problems = []
        for server in self.config.servers:
            node = nodes.get(server["node"])
            try:
                need(node is not None, "identity", f"{server['node']} is not in the roster")
                with wire.Connection(server.get("address") or node["addresses"][0], node["identity"], self.config.certificate,
                                     self.config.key, self.config.source) as connection:
                    connection.send("GetDocuments", {"wants": wants})
                    answer = Session.wanted(server["node"], *connection.receive(), "Documents")
                self.shelf.offer_all([item["text"] for item in answer["notes"]])
                return
            except (Refused, wire.Closed, OSError) as error:
                problems.append(f"{server['node']}: {error}")
        raise Refused("unavailable", "no configuration server: " + "; ".join(problems))

    def session(self, operation, **arguments):
        need(operation in self.config.operations, "config", f"client.yaml has no operation {operation}")
        return Session(self.config, self.shelf, operation, **arguments)

    def walk(self, operation, say=lambda line: None):
        """-> (plaintext, session). Members in the chain's order; who fails is passed over."""
        self.fetch(operation)
        session = self.session(operation)
        session.check_documents()
        for number, stage in enumerate(session.chain["stages"], 1):
            self.walk_stage(session, number, stage, say)
        return session.open(), session

    @staticmethod
    def walk_stage(session, number, stage, say):
        problems, got = [], 0
        for member in stage["members"]:
            if got == stage["need"]:
                break
            try:
                visit = session.visit(member["node"], number, member["slot"])
                session.share(visit)
                got += 1
                record = session.records[-1]
                say(f"stage {number} {stage['name']}: {member['node']} entry {record['index']} of {record['size']}; "
                    f"{' '.join(record['factors'])}")
            except (Refused, Denied, wire.Closed, OSError) as error:
                if session.visits and session.visits[-1].slot == member["slot"] and session.visits[-1].stage == number:
                    session.visits.pop()
                problems.append(f"{member['node']}: {error}")
                say(f"stage {number} {stage['name']}: {problems[-1]}")
                if isinstance(error, Denied) and len(stage["members"]) - len(problems) < stage["need"]:
                    raise
        need(got == stage["need"], "unavailable", f"stage {stage['name']}: {got} of {stage['need']}: {'; '.join(problems)}")
