# known: envelopes and sessions of the tests' own, so that a test knows every secret that nobody else may.
import os
import re
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from enfilade_ref import client, documents, envelope, note, open as opening, proto, shamir, th, walk, wrap

STAGES = (("gate", 1, ("n1", "n2")), ("vault", 2, ("n3", "n4", "n5")), ("final", 1, ("n6", "n7")))
DAY_MS = 86400000
WRAPPED_SHARE, WRAPPED_TAG = 72, 40  # bytes


def seal(w, name="own"):
    """Seals 32 random bytes for w's operation unlock-db; client configuration `name` opens it.
    -> ({label: secret}: shares, stage secrets, data key, payload key, "the secret itself"; the envelope)"""
    owner = note.vkey_read(re.search(r"owner: (\S+)", w.config().read_text())[1])
    private = load_pem_private_key((w.net / "keys/owner-dba.pem").read_bytes(), None)
    policy, nodes = w.document("policy-db-policy"), {n["name"]: n for n in w.document("roster")["nodes"]}
    stages = [{"name": stage, "need": need, "members": [
        {"slot": slot, "node": n, "profile": nodes[n]["profile"], "seal": nodes[n]["seal"]} for slot, n in enumerate(members, 1)]}
        for stage, need, members in STAGES]
    secrets, split, envelope_id, plain, rest = {}, shamir.split, os.urandom(16), os.urandom(32), list(STAGES)

    def watched(secret, need, slots, coefficients):
        stage, _, members = rest.pop(0)
        shares = split(secret, need, slots, coefficients)
        secrets[f"secret of {stage}"] = secret
        secrets.update({f"share of {members[slot - 1]}": share for slot, share in shares.items()})
        return shares
    with mock.patch.object(shamir, "split", watched):
        text, _ = envelope.make(os.urandom, policy["network"], (private, owner), policy, "unlock-db", envelope_id, 1, stages, plain,
                                policy["issued"], policy["issued"] + 30 * DAY_MS)
    dek = walk.dek(envelope_id, 1, [secrets[f"secret of {stage[0]}"] for stage in STAGES])
    secrets.update({"data key": dek, "payload key": walk.payload_key(dek), "the secret itself": plain})
    (w.net / f"client/documents/envelope-{envelope_id.hex()}.note").write_bytes(text)
    w.config(name).write_text(re.sub(r"envelope: [0-9a-f]{32}", f"envelope: {envelope_id.hex()}", w.config().read_text()))
    return secrets, documents.verify(text, w.document("root"), [policy])


def chain(w, avoid=(), config="own"):
    """A generated chain that begins with other members than those to avoid. -> its path"""
    path = w.tmp / f"{config}-without-{'-'.join(avoid)}.chain"
    made = w.enfilade("chain", "generate", "--offline", "--operation", "unlock-db", "--out", path,
                      *[word for node in avoid for word in ("--avoid", node)], config=config)
    if made.code != 0:
        raise AssertionError(made.err)
    return path


class Session(client.Session):
    """An honest session of the Python client that notes what it says inside TLS, and what a stranger can see of each connection."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.spoken, self.randoms = [], set()

    def connect(self, node, **changes):
        def tune(context):
            context.set_keylog_callback(lambda _, line: self.randoms.add(bytes.fromhex(line.split()[1].decode())))
        connection = super().connect(node, tune=tune, **changes)
        send, receive = connection.send_raw, connection.receive_some

        def send_raw(data):
            self.spoken.append(data)
            send(data)

        def receive_some(until):
            self.spoken.append(receive(until))
            return self.spoken[-1]
        connection.send_raw, connection.receive_some = send_raw, receive_some
        return connection


def python_walk(w, chain_path, config="own"):
    """-> (the plaintext, Session)"""
    c = client.Client(w.config(config))
    c.fetch("unlock-db")
    session = Session(c.config, c.shelf, "unlock-db", chain=documents.parse(chain_path.read_bytes()))
    session.check_documents()
    for number, stage in enumerate(session.chain["stages"], 1):
        c.walk_stage(session, number, stage, lambda line: None)
    return session.open(), session


def session_secrets(name, sealed, way, key, sid, visits):
    """What only the workload of one session and the tokens know: E, tags, locks, the keys of the answers and their ECDH halves."""
    tags, found = {}, {f"E of {name}": key.private_numbers().private_value.to_bytes(32, "big")}
    for visit in sorted(visits, key=lambda v: (v.stage, v.slot)):
        opening.unwrap_answer(sealed, way, key, sid, visit, visits, tags)
        node = visit.node["name"]
        found[f"KEK of {node}, {name}"] = opening.kek(key, sid, visit, visits, tags)
        found[f"ECDH with {node}, {name}"] = wrap.ecdh(key, visit.node["kem"])
        for before in opening.previous(visits, visit.stage):
            a = before.node["name"]
            found[f"lock {a} {node}, {name}"] = walk.lock(tags[a, node], a, node)
    found.update({f"tag {a} {b}, {name}": tag for (a, b), tag in tags.items()})
    return found


def answer_in_store(w, node, entry, following):
    """The answer that a node keeps for a retry, found by the hash in its ledger entry. following: members of the next stage."""
    length = 2 + WRAPPED_SHARE + following * (2 + 2 + 2 + WRAPPED_TAG)
    data, at = (w.state(node) / "store/data.mdb").read_bytes(), 0
    while (at := data.find(bytes([0x0A, WRAPPED_SHARE]), at)) >= 0:
        if th.sha256(data[at:at + length]) == entry["response_hash"]:
            return data[at:at + length]
        at += 1
    raise AssertionError(f"{node} keeps no answer of this grant")


def replay(w, report, sealed, scalar):
    """The visits of a walk of the C client, from its report and the nodes' stores. -> arguments of session_secrets after `name`"""
    key = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
    way = documents.parse(report["chain"].encode())
    nodes = {n["name"]: n for n in w.document("roster")["nodes"]}
    visits = []
    for v in report["walk"]["visits"]:
        if v["result"] == "ok":
            following = len(way["stages"][v["stage"]]["members"]) if v["stage"] < len(way["stages"]) else 0
            answer = answer_in_store(w, v["node"], proto.entry_read(bytes.fromhex(v["entry"])), following)
            visits.append(opening.Visit(v["stage"], v["slot"], nodes[v["node"]], bytes.fromhex(v["link_body"]), answer))
    return sealed, way, key, bytes.fromhex(report["walk"]["sid"]), visits
