# attacker: what every attack needs: honest sessions to change one thing in, verdicts that leave no grant, keys of the network's people.
"""An attack is a function of an Attacker, registered with @attack(rows); run() gives each a source address of its own, so that no
attack is refused for the one before it, and checks after each that no ledger has a GRANT that the attack did not claim."""
import datetime
import fnmatch
import os
import re
import subprocess
import sys
import time
import traceback

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


import world as worlds
from enfilade_ref import documents, note, proto, strict, tpm_device, wire
from enfilade_ref.client import Client, Denied, Session
from enfilade_ref.refuse import Refused, error_table
from enfilade_ref.th import sha256

GRANT, DENY = 2, 4
ATTACKS = []
# Bytes of resident memory that no attack may cost a node; a sanitizer keeps what was freed, so there it says nothing.
GROWTH_MAX = 1 << 40 if os.environ.get("ENFILADE_SANITIZE") else 16 << 20


def attack(rows, mutant=None):
    """rows: of the table in tests/ATTACKS.md. mutant: the defence without which this attack must succeed."""
    def register(function):
        ATTACKS.append((function.__name__, rows, mutant, function))
        return function
    return register


class Missed(AssertionError):
    """The network did not answer as it must."""


def must(condition, text):
    if not condition:
        raise Missed(text)


def denied(codes, call, *arguments, **named):
    """The call must end in a Deny with one of these codes (one name, or several separated by |)."""
    try:
        got = call(*arguments, **named)
    except Denied as error:
        must(error.code in codes.split("|"), f"denied with {error.code}, not {codes}")
        must(len(error.denial_id) == 16, "a denial without id")
        return error
    except (wire.Closed, Refused) as error:
        raise Missed(f"not denied ({codes}) but: {error}") from error
    raise Missed(f"not denied ({codes}): {str(got)[:200]}")


def closed(call, *arguments, **named):
    """The call must end in a closed connection: no answer, no denial."""
    try:
        got = call(*arguments, **named)
    except ConnectionRefusedError as error:
        raise Missed("nobody listens") from error
    except (wire.Closed, ConnectionError) as error:
        return str(error)
    except Denied as error:
        raise Missed(f"not closed but denied: {error}") from error
    except Refused as error:
        raise Missed(f"not closed: {error}") from error
    raise Missed(f"not closed: {str(got)[:200]}")


def flip(data, bit):
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


class Ledger:
    """A node's entries, read over its control socket as the operator would."""

    def __init__(self, world, node):
        self.path, self.node, self.entries, self.raw, self.checkpoint = world.state(node) / "control", node, [], [], b""

    def read(self):
        """-> the entries that are new since the last call"""
        before = len(self.entries)
        with wire.Control(self.path) as control:
            while True:
                got = control.ask("EntriesGet", {"from": len(self.raw), "count": 1024}, "Entries")
                self.checkpoint = got["checkpoint"] or self.checkpoint
                if not got["entries"]:
                    break
                self.raw += [item["entry"] for item in got["entries"]]
        self.entries += [proto.entry_read(data) for data in self.raw[before:]]
        return self.entries[before:]


class People:
    """The keys of those who sign documents."""

    def __init__(self, world):
        self.keys, self.network = world.net / "keys", "quickstart.example"

    def signer(self, name):
        """"policy", "root-a", "owner-dba" … -> (private, Key)"""
        private = load_pem_private_key((self.keys / f"{name}.pem").read_bytes(), None)
        return note.seed_key(note.seed_of(private), f"{self.network}/{name.replace('-', '/', 1)}")

    def sign(self, text, *names):
        return note.sign(text, *(self.signer(name) for name in names))


def edited(text, *changes):
    """text with each (old, new) replaced exactly where it stands; old must be there."""
    for old, new in changes:
        old, new = (x.encode() if isinstance(x, str) else x for x in (old, new))
        must(old in text, f"{old!r} is not in the text")
        text = text.replace(old, new)
    return text


def versioned(text, version):
    """A newer version of a document, issued now."""
    text = re.sub(rb"\nversion: \d+\n", b"\nversion: %d\n" % version, text)
    return re.sub(rb"\nissued: \S+\n", b"\nissued: %s\n" % strict.time_text(int(time.time()) * 1000 - 1000).encode(), text)


class Attacker:
    def __init__(self, world):
        self.world, self.people = world, People(world)
        self.client = Client(world.config())
        self.client.fetch("unlock-db")
        self.sources, self.source = iter(range(20, 250)), None
        self.ledgers = {node: Ledger(world, node) for node in worlds.HSM}
        self.allowed = {}
        self.made = {}
        self.sync()

    def move(self):
        """Another source address: refusals and Begins are counted per address."""
        self.source = f"{self.world.subnet}.{next(self.sources)}"

    # ---- sessions

    def session(self, **arguments):
        s = self.client.session("unlock-db", **arguments)
        s.source = self.source
        return s

    def walked(self, *nodes, **arguments):
        """An honest session that passed these doors ("n1", "n3", …) in order."""
        s = self.session(**arguments)
        for node in nodes:
            self.honest(s, node)
        return s

    def place(self, node):
        for number, stage in enumerate(self.client.shelf.chains["unlock-db"]["stages"], 1):
            for member in stage["members"]:
                if member["node"] == node:
                    return number, member["slot"]
        raise AssertionError(f"{node} is in no stage")

    def honest(self, s, node):
        self.grant(node)
        stage, slot = self.place(node)
        visit = s.visit(node, stage, slot)
        s.share(visit)
        return visit

    def grant(self, node, count=1):
        """Claims a GRANT that will be made honestly."""
        self.allowed[node] = self.allowed.get(node, 0) + count

    def visit(self, s, node, begin=None, fields=None, attest=None, connect=None, at=None):
        """A visit with one thing changed: begin(dict), fields(dict of what bind hashes), attest(dict, bind) may return another.
        -> Release"""
        stage, slot = at or self.place(node)
        with s.connect(node, **(connect or {})) as connection:
            message = s.begin(node, stage, slot)
            if begin is not None:
                message = begin(message)
            challenge = s.ask_begin(connection, message, node)
            return s.ask_attest(connection, node, self.attest(s, connection, message, challenge, fields, attest))

    def attest(self, s, connection, begin, challenge, fields=None, change=None):
        from enfilade_ref import walk, wrap
        named = {"sid": s.sid, "node": begin["node"], "kem": wrap.point_spki_hash(s.nodes[begin["node"]]["kem"]),
                 "stage": begin["stage"], "slot": begin["slot"], "nonce": challenge["nonce"],
                 "exporter": connection.exporter(challenge["nonce"]),
                 "leaf": sha256(s.certificate.public_bytes(Encoding.DER)), "server": connection.server_key_hash,
                 "prev": s.prevhash(begin["stage"])}
        if fields is not None:
            fields(named)
        bind = walk.bind(*named.values())
        message = s.attest(bind)
        changed = None if change is None else change(message, bind)
        return message if changed is None else changed

    def begin_only(self, s, node, begin=None, at=None, connect=None):
        """-> Challenge, or Denied"""
        stage, slot = at or self.place(node)
        with s.connect(node, **(connect or {})) as connection:
            message = s.begin(node, stage, slot)
            if begin is not None:
                message = begin(message)
            return s.ask_begin(connection, message, node)

    def raw(self, s, node, *frames, wait_s=8.0):
        """Sends bytes as they are and waits for what comes."""
        with s.connect(node) as connection:
            for data in frames:
                connection.send_raw(data)
            return connection.receive(wait_s)

    @staticmethod
    def documents_on(connection):
        """A harmless request on a connection that is there."""
        connection.send("GetDocuments", {"wants": [{"type": "status"}]})
        return connection.receive()

    # ---- certificates

    def device_ca(self):
        folder = self.world.net / "ca"
        return (x509.load_pem_x509_certificate((folder / "device-ca.pem").read_bytes()),
                load_pem_private_key((folder / "device-ca.key").read_bytes(), None))

    def certificate(self, key, issuer=None, name="web-1", usage=ExtendedKeyUsageOID.CLIENT_AUTH, start_s=-3600, end_s=86400, ca=False):
        """A leaf for `key` (a private key) under (certificate, key) of an issuer; the network's device CA by default."""
        certificate, signing = issuer or self.device_ca()
        now = datetime.datetime.utcnow()
        builder = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
                   .issuer_name(certificate.subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now + datetime.timedelta(seconds=start_s))
                   .not_valid_after(now + datetime.timedelta(seconds=end_s))
                   .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(certificate.public_key()), critical=False)
                   .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
                   .add_extension(x509.KeyUsage(True, False, False, False, False, ca, ca, False, False), critical=True))
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(signing, hashes.SHA256())

    # ---- what the network shows

    def sync(self):
        for ledger in self.ledgers.values():
            if (self.world.state(ledger.node) / "control").exists() and self.alive(ledger.node):
                ledger.read()

    def offer(self, node, *notes):
        """Gives signed notes to a node and asks what it has in force afterwards. -> {type: text} of network-wide documents"""
        s = self.session()
        with s.connect(node) as connection:
            connection.send("Documents", {"notes": [{"text": data} for data in notes]})
            connection.send("GetDocuments", {"wants": [{"type": kind} for kind in ("root", "roster", "inventory", "status")]})
            _, answer = connection.receive()
        return {documents.parse(note.parse(item["text"])[0]).type: note.parse(item["text"])[0] for item in answer["notes"]}

    def alive(self, node):
        """It runs: neither gone nor a process that has ended and was not waited for."""
        try:
            stat = worlds.pathlib.Path(f"/proc/{self.world.pid(node)}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] not in "ZX"

    def resident(self, node):
        text = (worlds.pathlib.Path("/proc") / str(self.world.pid(node)) / "status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024

    def answers(self, node, within_s=1.0):
        """An honest Begin is still answered, and soon."""
        started = time.monotonic()
        self.begin_only(self.session(), node)
        took = time.monotonic() - started
        must(took < within_s * (10 if os.environ.get("ENFILADE_SANITIZE") else 1), f"{node} needs {took:.2f} s for a Begin")

    # ---- the run

    def check_grants(self):
        for node, ledger in self.ledgers.items():
            if not self.alive(node):
                continue
            new = [entry for entry in ledger.read() if entry["type"] == GRANT]
            must(len(new) == self.allowed.get(node, 0), f"{node}: {len(new)} grants, {self.allowed.get(node, 0)} were honest")
        self.allowed = {}

    def run_one(self, function):
        self.move()
        self.allowed = {}
        self.sync()
        before = {node: (self.world.pid(node), self.resident(node)) for node in worlds.HSM if self.alive(node)}
        function(self)
        for node, (pid, resident) in before.items():
            must(self.alive(node), f"{node} has ended")
            if self.world.pid(node) == pid:
                grown = self.resident(node) - resident
                must(grown < GROWTH_MAX, f"{node} grew by {grown >> 20} MiB")
        self.check_grants()


def chosen(patterns):
    return [a for a in ATTACKS if not patterns or any(fnmatch.fnmatch(a[0], p) for p in patterns)]


def run(world, patterns=()):
    """Runs the attacks of this process on one network. -> number of those that were not answered as they must be"""
    attacker, failed = Attacker(world), 0
    for name, rows, _, function in chosen(patterns):
        started = time.monotonic()
        try:
            attacker.run_one(function)
            verdict = "ok"
        except Exception as error:  # noqa: BLE001  (whatever an attack ends in is its verdict)
            failed += 1
            verdict = f"FAILED: {type(error).__name__}: {error}"
            if os.environ.get("ENFILADE_TRACE"):
                traceback.print_exc()
        print(f"{name:40} rows {rows:14} {time.monotonic() - started:6.2f} s  {verdict}", flush=True)
    print(f"{len(chosen(patterns)) - failed} of {len(chosen(patterns))} attacks answered as they must be")
    return failed


def main(name):
    """`attack_X.py [PATTERN…]`: a network, the attacks whose names match, exit 1 if one was not answered as it must be."""
    world = worlds.World(name)
    try:
        return 1 if run(world, sys.argv[1:]) else 0
    finally:
        world.close()
