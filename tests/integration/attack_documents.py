#!/usr/bin/python3
# attack_documents: documents that must not be believed, what revocation and halts stop, grants that are asked for again, lying envelopes.
"""Documents are offered by a stranger with a device certificate, as any workload may; who signs is what counts. The last attacks
change the network for good: they come in order, each with the versions that the one before left."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import world as worlds  # noqa: E402  (sets the path of enfilade_ref)
from attacker import attack, denied, edited, flip, main, must, versioned  # noqa: E402
from enfilade_ref import documents, envelope, note, strict, wire  # noqa: E402
from enfilade_ref.refuse import Refused  # noqa: E402
from enfilade_ref.th import sha256  # noqa: E402
import base64  # noqa: E402
import contextlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import select  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402


def knows(a, node, kind, hash_):
    """Does the node serve the document of this hash?"""
    with a.session().connect(node) as connection:
        connection.send("GetDocuments", {"wants": [{"type": kind, "hash": hash_}]})
        _, answer = connection.receive()
    return bool(answer["notes"])


def not_believed(a, node, *notes):
    """The node has in force afterwards what it had before, and does not know any of these."""
    before = a.offer(node)
    after = a.offer(node, *notes)
    must(before == after, f"{[kind for kind in before if before[kind] != after.get(kind)]} changed")
    for data in notes:
        with contextlib.suppress(Refused, UnicodeDecodeError):
            text = note.parse(data)[0]
            kind = text.split(b"\n", 1)[0].decode().removeprefix("enfilade: ").removesuffix("/v1")
            if text not in before.values() and kind in documents.SCHEMAS:
                must(not knows(a, node, kind, sha256(text)), f"a {kind} was taken")


def shelf_of(a):
    return a.client.shelf


def twice(data, name=None):
    """The first signature line once more, under another name if one is given."""
    text, tail = data.split(b"\n\n\xe2\x80\x94 ", 1)
    line = b"\xe2\x80\x94 " + tail.split(b"\n", 1)[0] + b"\n"
    if name is not None:
        line = b"\xe2\x80\x94 " + name.encode() + line[line.index(b" ", 4):]
    return data + line


# ---- who must have signed

@attack("25", "THRESHOLD")
def one_key_for_two(a):
    """A root needs two of three keys: one key twice, one key under another's name, one and a stranger, one and a broken line."""
    root, people = shelf_of(a).root, a.people
    text = versioned(root.text, 2)
    one = people.sign(text, "root-a")
    stranger = note.sign(text, note.seed_key(bytes(range(32)), f"{people.network}/root/b"))
    by_b = people.sign(text, "root-b")
    broken = by_b[:-10] + (b"A" if by_b[-10:-9] != b"A" else b"B") + by_b[-9:]
    tail = lambda data: data[len(text) + 1:]
    for bad in (one, twice(one), twice(one, f"{people.network}/root/b"), one + tail(stranger), tail(stranger) and text + b"\n" + tail(stranger) + tail(one),
                one + tail(broken), text + b"\n" + tail(broken) * 2, people.sign(text, "root-a", "policy"), people.sign(text, "roster", "status"),
                people.sign(edited(text, ("threshold: 2", "threshold: 1")), "root-a"),
                people.sign(edited(text, ("threshold: 2", "threshold: 0")), "root-a", "root-b"),
                people.sign(edited(text, ("threshold: 2", "threshold: 4")), "root-a", "root-b")):
        not_believed(a, "n1", bad)


@attack("25", "THRESHOLD")
def signed_by_the_wrong_role(a):
    shelf, people = shelf_of(a), a.people
    for kind, names in (("status", ("policy", "roster", "inventory", "root-a", "owner-dba")), ("inventory", ("status", "roster")),
                        ("roster", ("inventory", "status"))):
        document = shelf.get(kind)
        text = versioned(document.text, document["version"] + 1)
        for name in names:
            not_believed(a, "n1", people.sign(text, name))
        private, key = people.signer(kind)
        not_believed(a, "n1", note.sign(text, note.seed_key(bytes(32), key.name)), people.sign(text, kind)[:-20] + b"\n",
                     text + b"\n", text, flip(people.sign(text, kind), 8 * 60))
        del private


@attack("24")
def one_type_as_another(a):
    """A text is what its first line says, and that line is signed: swapped types are broken signatures or broken schemas."""
    shelf, people = shelf_of(a), a.people
    status, inventory, policy = shelf.get("status"), shelf.get("inventory"), a.session().policy
    for text, signer in ((inventory.text, "status"), (policy.text, "status"), (shelf.root.text, "status"), (status.text, "policy")):
        body = text.split(b"\n", 1)[1]
        for kind in ("status", "inventory", "policy", "roster", "root", "chain", "approval", "envelope", "nonsense"):
            not_believed(a, "n1", people.sign(f"enfilade: {kind}/v1\n".encode() + versioned(body, 99), signer))
    not_believed(a, "n1", a.session().chain.text, b"", b"\n", b"x" * 1000, os.urandom(1000))


# ---- versions

@attack("26", "ROLLBACK")
def older_and_other_versions(a):
    """Signed by the right people, but older, the same version with other bytes, or with a version in between missing."""
    people, status = a.people, shelf_of(a).get("status")
    newer = versioned(status.text, status["version"] + 1)
    shelf_of(a).offer_all([people.sign(newer, "status")])
    for node in ("n1", "c1"):
        must(a.offer(node, people.sign(newer, "status"))["status"] == newer, "a newer status is not taken")
    for version in (1, status["version"]):
        not_believed(a, "n1", people.sign(versioned(status.text, version), "status"))
    not_believed(a, "n1", status.note, people.sign(newer.replace(b"halts: []", b"halts: [{node: n3}]"), "status"))
    # A root by keys of its own: it replaces the role's keys and has its threshold, but not that of the root before it.
    mine = [note.seed_key(bytes([i]) * 32, f"{people.network}/root/{letter}") for i, letter in enumerate("abc")]
    text = versioned(shelf_of(a).root.text, 2)
    for (_, theirs), (_, ours) in zip([people.signer(f"root-{letter}") for letter in "abc"], mine):
        text = edited(text, (note.vkey_text(theirs), note.vkey_text(ours)))
    not_believed(a, "n1", note.sign(text, *mine), note.sign(text, *mine, people.signer("root-a")))




@attack("26 61")
def documents_that_are_not_strict(a):
    """Signed by the right key, and still not ours: what a signer might not see, or a parser might read otherwise."""
    people, status = a.people, shelf_of(a).get("status")
    text = versioned(status.text, status["version"] + 1)
    for bad in (text.replace(b"halts: []", b"halts: [] # {network: halted}\nhalts: []"), text.replace(b"halts", b"&x halts"), b"%YAML 1.2\n---\n" + text,
                text + b"---\n" + text, text + b"extra: 1\n", text.replace(b"version: 1\n    hash", b"version: 01\n    hash", 1),
                text.replace(b"revocations: []", b"revocations: !!seq []"), text.replace(b"withdrawn: []\n", b""),
                text.replace(b"network: quickstart.example", b"network: other.example"), text.replace(b"revocations", b"revocations: *a #"),
                text.replace(b"halts: []", b"halts: [{node: n3, policy: x}]"), text.replace(b"halts: []", b"halts: " + b"[" * 40 + b"]" * 40),
                re.sub(rb"expires: \S+", b"expires: 1999-01-01T00:00:00Z", text), re.sub(rb"expires: \S+", b"expires: tomorrow", text)):
        not_believed(a, "n1", people.sign(bad, "status"))
    for bad in (text.replace(b"halts", "h\u0430lts".encode()), text.replace(b"\n", b"\r\n"), text.replace(b": ", b":\t"), text + b"\x00\n"):
        private, key = people.signer("status")
        raw = bad + b"\n" + note.DASH + key.name.encode() + b" " + base64.b64encode(note.key_id(key) + private.sign(bad)) + b"\n"
        not_believed(a, "n1", raw)


@attack("43")
def windows_that_say_nothing(a):
    """from = to, hours past the day, days twice: refused when the policy is read, so no clock has to decide what they mean."""
    policy = a.session().policy
    for window in ('{from: "10:00", to: "10:00"}', '{from: "00:00", to: "00:00"}', '{from: "24:00", to: "01:00"}', '{from: "10:60", to: "11:00"}',
                   '{from: "10:00", to: "24:01"}', '{from: "1:00", to: "2:00"}', '{days: [mon, mon], from: "10:00", to: "11:00"}',
                   '{days: [], from: "10:00", to: "11:00"}', '{from: "10:00:00", to: "11:00"}', '{from: "10:00 CET", to: "11:00"}'):
        text = versioned(edited(policy.text, ('{from: "00:00", to: "24:00"}', window)), 2)
        not_believed(a, "n1", a.people.sign(text, "policy", "owner-dba"))


# ---- envelopes that lie

def sealed(a, change=None, generation=1, plain=b"another secret\n"):
    """A new envelope by the right owner, with its text changed before it is signed. -> (note, id, path of a client.yaml, of a chain)"""
    s = a.session()
    id_ = os.urandom(16)
    stages = [{"name": st["name"], "need": st["need"],
               "members": [{"slot": m["slot"], "node": m["node"], "profile": m["profile"], "seal": m["seal"]} for m in st["members"]]}
              for st in s.envelope["stages"]]
    moment = int(time.time()) * 1000
    made, _ = envelope.make(os.urandom, a.people.network, a.people.signer("owner-dba"), s.policy, "unlock-db", id_, generation, stages,
                            plain, moment - 1000, moment + 86400000)
    text = note.parse(made)[0]
    if change is not None:
        text = change(text)
    made = a.people.sign(text, "owner-dba")
    folder = a.world.net / "client"
    (folder / "documents" / f"envelope-{id_.hex()}.note").write_bytes(made)
    yaml = folder / f"{id_.hex()}.yaml"
    yaml.write_bytes(edited(a.world.config().read_bytes(), (s.envelope["id"].hex(), id_.hex())))
    chain = folder / f"{id_.hex()}.chain"
    chain.write_bytes(edited(s.chain.text, (s.envelope.hash.hex(), sha256(text).hex())))
    return made, id_, yaml, chain


def opened(a, yaml, chain):
    """`enfilade open` with it, once: the documents folder is as before afterwards. -> (Result, report)"""
    report = a.world.tmp / "open.json"
    report.unlink(missing_ok=True)
    done = worlds.execute([worlds.BIN / "enfilade", "open", "unlock-db", "--config", yaml, "--chain", chain, "--report", report], a.world.env)
    yaml.with_name("documents").joinpath(f"envelope-{yaml.stem}.note").unlink()
    return done, json.loads(report.read_text()) if report.exists() else {}


def member_field(text, node, field):
    """The value of a field of a node's member, as it stands in the text."""
    found = re.search(rb"node: %s\n(?:.*\n)*?        %s: (\S+)\n" % (node.encode(), field.encode()), text)
    must(found, f"{node} has no {field}")
    return found[1]


def exchanged(one, two, *fields):
    """Two members' values in each other's place."""
    def change(text):
        for field in fields:
            a, b = member_field(text, one, field), member_field(text, two, field)
            text = text.replace(a, b"@@").replace(b, a).replace(b"@@", b)
        return text
    return change


def damaged(node, field):
    def change(text):
        old = member_field(text, node, field)
        raw = bytearray(base64.b64decode(old)) if field != "commitment" else bytearray.fromhex(old.decode())
        raw[40 % len(raw)] ^= 1
        new = base64.b64encode(bytes(raw)) if field != "commitment" else bytes(raw).hex().encode()
        return text.replace(old, new, 1)
    return change


def results(report):
    return {visit["node"]: visit["result"] for visit in report.get("visits", report.get("walk", {}).get("visits", []))}


def honest_open(a, nodes=("n1", "n3", "n4", "n6")):
    for node in nodes:
        a.grant(node)


@attack("36", "COMMITMENT")
def share_that_is_not_the_sealed_one(a):
    """n3 gives what was sealed for it, and that is not what the owner committed to: named, and n5 takes its place."""
    _, _, yaml, chain = sealed(a, damaged("n3", "commitment"))
    honest_open(a, ("n1", "n3", "n4", "n5", "n6"))
    done, report = opened(a, yaml, chain)
    must(done.code == 0 and done.out == "another secret\n", f"exit {done.code}: {done.err}")
    must(results(report).get("n3") == "commitment" and results(report).get("n5") == "ok", f"{results(report)}")


@attack("54 36")
def sealed_share_flipped_or_swapped(a):
    """The token cannot unwrap it: that member refuses with `token`, and nothing but that member is lost."""
    old = a.session().envelope
    other = next(m for m in old["stages"][1]["members"] if m["node"] == "n3")
    def from_another_envelope(text):
        for field in ("point", "sealed"):
            text = text.replace(member_field(text, "n3", field), base64.b64encode(other[field]), 1)
        return text
    for change in (damaged("n3", "sealed"), from_another_envelope):
        _, _, yaml, chain = sealed(a, change)
        honest_open(a, ("n1", "n4", "n5", "n6"))
        done, report = opened(a, yaml, chain)
        must(done.code == 0, f"exit {done.code}: {done.err}")
        must(results(report).get("n3") == "token", f"{results(report)}")
    for fields in (("sealed",), ("point",), ("point", "sealed"), ("point", "sealed", "commitment")):
        _, _, yaml, chain = sealed(a, exchanged("n3", "n4", *fields))
        honest_open(a, ("n1", "n5"))
        done, report = opened(a, yaml, chain)
        must(done.code != 0 and done.out == "", f"exit {done.code}: {done.err}")
        must(results(report).get("n3") == results(report).get("n4") == "token", f"{results(report)}")


@attack("39 38", "DEK_COMMITMENT")
def key_that_is_not_committed_to(a):
    def change(text):
        old = re.search(rb"\ncommitment: (\S+)\n", text)[1]
        return text.replace(old, sha256(old).hex().encode(), 1)
    _, _, yaml, chain = sealed(a, change)
    honest_open(a)
    done, _ = opened(a, yaml, chain)
    must(done.code == 5 and done.out == "" and "do not make the envelope's key" in done.err, f"exit {done.code}: {done.err}")


@attack("38")
def payload_of_another_envelope(a):
    """The owner's hash is over another payload: it is authentic, and does not open under this key; cut short neither."""
    old = a.session().envelope
    def foreign(text, payload=None):
        payload = old["payload"] if payload is None else payload
        text = re.sub(rb"payload_hash: \S+", b"payload_hash: " + sha256(payload).hex().encode(), text)
        text = re.sub(rb"payload_length: \d+", b"payload_length: %d" % len(payload), text)
        return re.sub(rb"payload: \S+", b"payload: " + base64.b64encode(payload), text)
    def cut(text):
        payload = base64.b64decode(re.search(rb"payload: (\S+)", text)[1])
        return foreign(text, payload[:-1] + bytes([payload[-1] ^ 1]))
    for change in (foreign, cut):
        _, _, yaml, chain = sealed(a, change)
        honest_open(a)
        done, _ = opened(a, yaml, chain)
        must(done.code == 5 and done.out == "", f"exit {done.code}: {done.err}")


@attack("55")
def points_that_are_none(a):
    """R off the curve, compressed or short: no such envelope exists for anybody, so no token ever sees the point."""
    def point(make):
        def change(text):
            old = member_field(text, "n1", "point")
            return text.replace(old, base64.b64encode(make(base64.b64decode(old))), 1)
        return change
    for make in (lambda p: p[:-1] + bytes([p[-1] ^ 1]), lambda p: b"\x02" + p[1:33], lambda p: p[:64], lambda p: b"\x04" + bytes(64), lambda p: bytes(65)):
        made, _, yaml, chain = sealed(a, point(make))
        not_believed(a, "n1", made)
        done, _ = opened(a, yaml, chain)
        must(done.code != 0 and done.out == "", f"exit {done.code}")


@attack("37")
def slots_that_cannot_be(a):
    """x = 0, x twice, more than sixteen, fewer members than needed: such an envelope is none."""
    for old, new in (("- slot: 3\n        node: n5", "- slot: 0\n        node: n5"), ("- slot: 3\n        node: n5", "- slot: 2\n        node: n5"),
                     ("- slot: 3\n        node: n5", "- slot: 17\n        node: n5"), ("need: 2", "need: 4"), ("need: 2", "need: 0")):
        made, _, yaml, chain = sealed(a, lambda text, o=old, n=new: edited(text, (o, n)))
        not_believed(a, "n1", made)
        done, _ = opened(a, yaml, chain)
        must(done.code != 0 and done.out == "", f"exit {done.code}")


@attack("54 36")
def envelope_by_a_stranger(a):
    """Signed by nobody the policy names as an owner, or by two: no node and no client takes it."""
    made, _, yaml, chain = sealed(a)
    text = note.parse(made)[0]
    for other in (note.sign(text, note.seed_key(bytes(32), f"{a.people.network}/owner/dba")), a.people.sign(text, "policy"),
                  note.sign(text, note.seed_key(bytes(32), "stranger.example/owner"))):
        not_believed(a, "n1", other)
        yaml.with_name("documents").joinpath(f"envelope-{yaml.stem}.note").write_bytes(other)
        done, _ = opened(a, yaml, chain)
        must(done.code != 0 and done.out == "", f"exit {done.code}")


# ---- who answers

class Forwarder:
    """Carries TCP from one address to another, as a man in the middle at a node's address would."""

    def __init__(self, listen, to):
        self.to, self.listener = to, socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(listen)
        self.listener.listen(16)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client, socket.create_connection(self.to, 5)), daemon=True).start()

    @staticmethod
    def carry(one, two):
        other = {one: two, two: one}
        with one, two:
            while True:
                for ready in select.select([one, two], [], [], 30)[0]:
                    try:
                        data = ready.recv(65536)
                        if not data:
                            return
                        other[ready].sendall(data)
                    except OSError:
                        return

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@attack("4 5", "SERVER_IDENTITY")
def another_roster_node_at_its_address(a):
    """n1's address leads to n2, whose certificate is as good as any of the roster's: the client sees that it is not n1."""
    world = a.world
    world.localnet("stop", "n1")
    forwarder = Forwarder((world.address("n1"), worlds.PORT), (world.address("n2"), worlds.PORT))
    try:
        for node in ("n2", "n3", "n4", "n6"):
            a.grant(node)
        report = world.tmp / "open.json"
        done = world.enfilade("open", "unlock-db", "--report", report)
        text = report.read_text()
        must(done.code == 0, f"exit {done.code}: {done.err}")
        must("issued by another identity" in text, f"{text[:1500]}")
        try:
            a.begin_only(a.session(), "n1")
            must(False, "the reference took n2 for n1")
        except wire.Closed:
            pass
    finally:
        forwarder.close()
        world.localnet("start", "n1")


# ---- a token that fails

@attack("53")
def token_gone_or_hanging(a):
    """No token, no release: an honest code, no software in its place, and all is well when it is back."""
    world = a.world
    world.localnet("token-stop", "n1")
    denied("token", a.visit, a.session(), "n1")
    world.localnet("token-start", "n1")
    worlds.until(lambda: world.token_is_well("n1"), 10, "n1's token is back")
    pids = world.token_pids("n1")
    world.freeze(pids)
    try:
        started = time.monotonic()
        denied("token|deadline", a.visit, a.session(), "n1")
        must(time.monotonic() - started < 8, "a token that hangs is waited for too long")
        a.answers("n1")
    finally:
        world.thaw(pids)
    worlds.until(lambda: world.token_is_well("n1"), 10, "n1's token answers again")
    a.honest(a.session(), "n1")


# ---- the same grant again

@attack("33 65", "REISSUES")
def fourth_reissue(a):
    """Three times the same bytes; then no more. A grant for the same E under another nonce is another session's."""
    s = a.session()
    first = a.honest(s, "n1")
    s.visits = []
    for _ in range(3):
        again = a.visit(s, "n1")
        must(again["link"]["body"] == first.link["body"] and again["link"]["entry"] == first.link["entry"], "another link")
        must(again["answer"] == first.answer, "another answer")
    denied("reissue", a.visit, s, "n1")
    denied("reissue", a.visit, s, "n1")


@attack("33", "PREVHASH")
def reissue_after_other_links(a):
    """The same session came to n3 through n1; now it comes through n2: the grant is not its own."""
    s = a.session()
    gate = a.honest(s, "n1")
    a.honest(s, "n3")
    s.visits = []
    a.honest(s, "n2")
    denied("reissue", a.visit, s, "n3")
    s.visits = [gate]
    a.visit(s, "n3")


@attack("34", "ONCE")
def fifty_at_once(a):
    """One session, fifty connections, fifty good Attests: one grant, at most three reissues, and Busy or a denial for the rest."""
    s = a.session()
    begin = s.begin("n1", 1, 1)
    connections = [s.connect("n1") for _ in range(50)]
    attests = [a.attest(s, c, begin, s.ask_begin(c, begin)) for c in connections]
    frames = [wire.frame("Attest", attest) for attest in attests]
    for connection, data in zip(connections, frames):
        connection.send_raw(data)
    seen = {}
    for connection in connections:
        name, answer = connection.receive()
        seen.setdefault(name, []).append(answer)
        connection.close()
    a.grant("n1")
    must(1 <= len(seen["Release"]) <= 4, f"{len(seen['Release'])} releases")
    must(len({r["answer"] for r in seen["Release"]}) == len({r["link"]["body"] for r in seen["Release"]}) == 1, "different releases")
    must(set(seen) <= {"Release", "Busy", "Deny"}, f"{set(seen)}")


# ---- revoked, halted, expired: these change the status for good

def status_with(a, *changes, signers=("status",), nodes=("n1", "n3"), expires_s=None):
    """The next status, given to our client and these nodes. -> its text"""
    status = shelf_of(a).get("status")
    text = versioned(edited(status.text, *changes), status["version"] + 1)
    if expires_s is not None:
        text = re.sub(rb"expires: \S+", b"expires: " + strict.time_text((int(time.time()) + expires_s) * 1000).encode(), text)
    data = a.people.sign(text, *signers)
    shelf_of(a).offer_all([data])
    for node in (*nodes, "c1"):
        must(a.offer(node, data)["status"] == text, f"{node} did not take the status")
    return text


BACK = ("status", "root-a", "root-b")


@attack("22 33", "REVOKED_NODE")
def revoked_nodes_links(a):
    """n2 is revoked after it granted: its link no longer counts at n3, and its alternate's does."""
    chain = a.session().chain
    without = documents.parse(edited(chain.text, (", {slot: 2, node: n2}", "")))
    s = a.session()
    a.honest(s, "n2")
    status_with(a, ("revocations: []", "revocations: [{kind: node, id: n2}]"))
    try:
        denied("link|revoked", a.begin_only, s, "n3")
        denied("revoked", a.begin_only, a.session(), "n1")  # the chain lists n2
        other = a.session(chain=without)
        other.visits = [*s.visits]
        denied("link", a.begin_only, other, "n3")
        a.begin_only(other, "n1")  # without n2 it is as good as before
    finally:
        status_with(a, ("revocations: [{kind: node, id: n2}]", "revocations: []"), signers=BACK)
    a.begin_only(s, "n3")


@attack("33", "HALTS")
def halted_and_revoked(a):
    """Halts and revocations stop what was granted before as well; lifting one needs the root's threshold."""
    s = a.session()
    a.honest(s, "n1")
    visits, s.visits = s.visits, []
    for old, new, codes in (("halts: []", "halts: [{network: halted}]", "halted"), ("halts: []", "halts: [{node: n1}]", "halted"),
                            ("halts: []", "halts: [{policy: db-policy}]", "halted"),
                            ("revocations: []", "revocations: [{kind: device, id: web-1}]", "device|revoked"),
                            ("revocations: []", f"revocations: [{{kind: chain, hash: {s.chain.hash.hex()}}}]", "revoked"),
                            ("withdrawn: []", "withdrawn: [{owner: %s, envelope: %s, least_generation: 2}]" % (
                                s.envelope.owner.hex(), s.envelope["id"].hex()), "revoked|stale|expired|documents|chain")):
        held = status_with(a, (old, new), nodes=("n1",))
        try:
            denied(codes, a.visit, s, "n1")
            back = versioned(edited(held, (new, old)), shelf_of(a).get("status")["version"] + 1)
            for signers in (("status",), ("status", "root-a"), ("root-a", "root-b")):
                not_believed(a, "n1", a.people.sign(back, *signers))
        finally:
            status_with(a, (new, old), signers=BACK, nodes=("n1",))
    s.visits = visits


@attack("33 66", "HALTS")
def halted_after_the_challenge(a):
    """The halt arrives between Challenge and Attest: nothing is released, and nothing is written as granted."""
    s = a.session()
    with s.connect("n1") as connection:
        begin = s.begin("n1", 1, 1)
        message = a.attest(s, connection, begin, s.ask_begin(connection, begin))
        status_with(a, ("halts: []", "halts: [{node: n1}]"), nodes=("n1",))
        try:
            denied("halted", s.ask_attest, connection, "n1", message)
        finally:
            status_with(a, ("halts: [{node: n1}]", "halts: []"), signers=BACK, nodes=("n1",))


@contextlib.contextmanager
def other_policy(a, *changes):
    """While the block lasts, another version of the policy is in force at n1. -> a function that makes sessions under it"""
    s, people = a.session(), a.people
    text = versioned(edited(s.policy.text, *changes), s.policy["version"] + 1)
    data = people.sign(text, "policy", "owner-dba")
    for node in ("n1", "c1"):
        a.offer(node, data)
    shelf_of(a).offer_all([data])
    line = "name: db-policy\n    version: %d\n"
    try:
        status_with(a, (s.policy.hash.hex(), sha256(text).hex()), (line % s.policy["version"], line % (s.policy["version"] + 1)))
        chain = documents.parse(edited(s.chain.text, (s.policy.hash.hex(), sha256(text).hex())))
        yield lambda: a.session(chain=chain)
    finally:
        renewed(a, s, text)


@attack("50", "QUORUM")
def confirmed_without_witnesses(a):
    """A policy that asks for confirmed entries opens nothing in a network without mirrors: no release on a promise."""
    with other_policy(a, ("audit: local", "audit: confirmed")) as session:
        denied("quorum", a.visit, session(), "n1")


def raced(a, sessions):
    """All Attests at once. -> the names of what came, and denials' codes"""
    lines = []
    for s in sessions:
        connection, begin = s.connect("n1"), s.begin("n1", 1, 1)
        lines.append((connection, wire.frame("Attest", a.attest(s, connection, begin, s.ask_begin(connection, begin)))))
    for connection, data in lines:
        connection.send_raw(data)
    out = []
    for connection, _ in lines:
        name, answer = connection.receive()
        out.append(f"Deny {answer['code']}" if name == "Deny" else name)
        connection.close()
    return out


@attack("35", "QUOTA_RACE")
def quota_by_parallel_sessions(a):
    """A quota of three, twelve sessions at once, twice: three grants in all. A reissue costs nothing; another version starts no new count."""
    for count in (3, 2):
        quota = "all:\n        - quota: {count: %d, window_s: 86400, per: secret}\n        - device: enrolled\n        - network" % count
        with other_policy(a, ("all:\n        - device: enrolled\n        - network", quota)) as session:
            sessions = [session() for _ in range(12)]
            came = raced(a, sessions)
            granted = [s for s, what in zip(sessions, came) if what == "Release"]
            expected = 3 if count == 3 else 0
            a.grant("n1", len(granted) if len(granted) <= expected else 0)
            must(len(granted) <= expected and set(came) <= {"Release", "Busy", "Deny 39"}, f"{came}")
            while len(granted) < expected:  # whoever was told to come again
                s = session()
                a.visit(s, "n1")
                a.grant("n1")
                granted.append(s)
            for s in granted:
                a.visit(s, "n1")
            denied("quota", a.visit, session(), "n1")


def renewed(a, s, last):
    """The first policy once more under a newer version, with a chain that names it."""
    version = documents.parse(last)["version"]
    text = versioned(s.policy.text, version + 1)
    data = a.people.sign(text, "policy", "owner-dba")
    for node in (*worlds.HSM, "c1"):
        a.offer(node, data)
    shelf_of(a).offer_all([data])
    line = "name: db-policy\n    version: %d\n"
    status_with(a, (sha256(last).hex(), sha256(text).hex()), (line % version, line % (version + 1)), nodes=worlds.HSM)
    shelf_of(a).chains["unlock-db"] = documents.parse(edited(s.chain.text, (s.policy.hash.hex(), sha256(text).hex())))


@attack("27", "FRESH")
def status_that_expired(a):
    """A network whose status ran out releases nothing, and does again with a new one."""
    s = a.session()
    status_with(a, expires_s=2, nodes=("n1",))
    try:
        a.begin_only(s, "n1")
        time.sleep(2.2)
        denied("status", a.begin_only, s, "n1")
    finally:
        status_with(a, expires_s=86400)
    a.begin_only(s, "n1")


@attack("-")
def honest_afterwards(a):
    s = a.session()
    for node in ("n1", "n3", "n4", "n6"):
        a.honest(s, node)
    must(len(s.open()) == 65, "the secret")


if __name__ == "__main__":
    sys.exit(main("attack-documents"))
