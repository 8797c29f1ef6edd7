#!/usr/bin/python3
# crosstest: the same questions to both implementations, and their verdicts compared.
"""usage: crosstest.py JUDGE [SEED [ROUNDS]]     JUDGE: the program built from judge.c

Documents, chains, receipts, entries, exported logs and evidence of the self-test's world: as they are, with each edit of the self-test's tables, and
with ROUNDS random edits each. Both sides must say the same, accepted or refused, but for what ALLOWED lists."""
import pathlib
import random
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True

import world
from enfilade_ref import chain as chains
from enfilade_ref import documents, note, proto, tpm, tree
from enfilade_ref.refuse import Refused
from selftest import CHAIN_EDITS, EDITS

# Known differences, each a function of (what, ours, theirs).
ALLOWED = (
    # C knows which fields each type of entry must have; the reference only reads.
    lambda what, ours, theirs: ours == "ok" and what.startswith("entry"),
    # Two X.509 libraries judge the inside of a certificate.
    lambda what, ours, theirs: "certificate" in ours + theirs,
    # libyaml refuses some colons in flow scalars that PyYAML takes.
    lambda what, ours, theirs: ours == "ok" and "not YAML" in theirs,
    # The reference looks for the envelope's policy by name; there the caller chooses it.
    lambda what, ours, theirs: ours.startswith("documents: envelope: policy") and theirs.startswith("ok"),
)
KINDS = ("root", "roster", "inventory", "policy", "envelope", "status")


class Questions:
    def __init__(self, folder, seed, rounds):
        self.folder, self.random, self.rounds = pathlib.Path(folder), random.Random(seed), rounds
        self.asked, self.files = [], 0
        self.w = world.World()
        self.w.walk()
        self.root, self.policy = self.file(self.w.root_note), self.file(self.w.notes["policy"])

    def file(self, data):
        self.files += 1
        path = self.folder / str(self.files)
        path.write_bytes(data)
        return str(path)

    def ask(self, what, words, function, *arguments):
        """Record a question with this side's verdict."""
        try:
            function(*arguments)
            verdict = "ok"
        except Refused as error:
            verdict = str(error)
        self.asked.append((what, " ".join(words), verdict))

    def signers(self, kind):
        return [self.w.owner] if kind == "envelope" else self.w.people[kind][:2]

    def ask_document(self, what, kind, data):
        root = "-" if kind == "root" else self.root
        policy = self.policy if kind == "envelope" else "-"
        self.ask(what, ("document", root, policy, self.file(data)), self.verify, kind, data)

    def verify(self, kind, data):
        if kind == "root":
            documents.verify_root(data, documents.th.sha256(note.parse(data)[0]))
        else:
            documents.verify(data, self.w.root, [self.w.found["policy"]])

    def edit(self, data):
        """One random edit: a byte changed, removed, doubled or put in, a line doubled or dropped, a piece moved."""
        at, r = self.random.randrange(len(data)), self.random
        line = data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", at) + 1 or len(data)
        put = bytes([r.choice(b"0123456789abcdefAZ[]{}:,-#&*!|>'\"%@ \n\t\\~./+=")])
        return r.choice((data[:at] + put + data[at + 1:], data[:at] + data[at + 1:], data[:at] + data[at:at + 1] + data[at:],
                         data[:at] + put + data[at:], data[:end] + data[line:end] + data[end:], data[:line] + data[end:],
                         data[:line] + b" " + data[line:], data[:at] + bytes([data[at] ^ 1 << r.randrange(8)]) + data[at + 1:]))

    def all_documents(self):
        for kind in KINDS:
            data = self.w.root_note if kind == "root" else self.w.notes[kind]
            self.ask_document(f"{kind} as it is", kind, data)
            text = note.parse(data)[0]
            for old, new in [(old, new) for which, old, new, _ in EDITS if which == kind]:
                edited = text.decode("ascii").replace(old, new, 1).encode("ascii")
                self.ask_document(f"{kind}: {old!r} -> {new!r}", kind, note.sign(edited, *self.signers(kind)))
            for i in range(self.rounds):
                self.ask_document(f"{kind} note, edit {i}", kind, self.edit(data))
                edited = self.edit(text)
                try:
                    signed = note.sign(edited, *self.signers(kind))
                except Refused:
                    continue
                self.ask_document(f"{kind} text, edit {i}", kind, signed)

    def all_chains(self):
        for which, old, new, _ in (("chain", "", "", ""), ("policy", "need: 1", "need: 1 # again", ""), *CHAIN_EDITS):
            w = world.World()
            source = w.chain.text if which == "chain" else note.parse(w.notes[which])[0]
            edited = source.decode("ascii").replace(old, new, 1).encode("ascii")
            if which == "chain":
                self.ask_chain(f"chain: {old!r} -> {new!r}", w.found, edited)
                continue
            w.notes[which] = note.sign(edited, w.people[which][0], *([w.owner] if which == "policy" else []))
            try:
                self.replace_document(w, which)
            except Refused:
                continue
            self.ask_chain(f"chain: {which}: {old!r} -> {new!r}", w.found, w.chain.text)
        for i in range(self.rounds):
            self.ask_chain(f"chain, edit {i}", self.w.found, self.edit(self.w.chain.text))

    def replace_document(self, w, which):
        """Let the status name the edited document (but a status itself), and the chain the edited policy."""
        if which == "status":
            w.found[which] = documents.verify(w.notes[which], w.root)
        else:
            w.make_status()
        w.make_chain()

    def ask_chain(self, what, found, chain):
        files = [self.file(found[kind].note) for kind in ("policy", "envelope", "roster", "status")]
        self.ask(what, ("chain", self.root, *files, self.file(chain), str(world.NOW)), self.check_chain, found, chain)

    def check_chain(self, found, chain):
        w = chains.World(*(found[kind] for kind in ("policy", "envelope", "roster", "status")))
        document = documents.parse(chain)
        if document.type != "chain":
            raise Refused("format", "not a chain")
        chains.check(w, document, world.NOW)

    def all_receipts(self):
        for name, entry in self.w.entries.items():
            log = self.w.nodes[name].log
            receipt, key = log.receipt(log.entries.index(entry)), log.signer[1]
            self.ask_receipt(f"receipt of {name}", receipt, entry, key)
            for i in range(self.rounds):
                self.ask_receipt(f"receipt of {name}, edit {i}", self.edit(receipt), entry, key)
                edited = self.edit(entry)
                self.ask(f"entry of {name}, edit {i}", ("entry", self.file(edited)), proto.entry_read, edited)
            self.ask(f"entry of {name}", ("entry", self.file(entry)), proto.entry_read, entry)

    def ask_receipt(self, what, receipt, entry, key):
        self.ask(what, ("receipt", note.vkey_text(key), self.file(entry), self.file(receipt)), tree.receipt_verify, receipt, entry,
                 key)

    def all_tiles(self):
        """An exported log of two levels; then each of its files changed, shortened and taken away."""
        log, base = self.w.nodes["n4"].log, self.folder / "tiles"
        log.export(base)
        names = sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())
        for what, name in [("as it is", None)] + [(what, name) for name in names for what in ("edited", "shorter", "absent")]:
            copied = self.folder / f"tiles{len(self.asked)}"
            log.export(copied)
            if name is not None:
                self.spoil(what, copied / name)
            key = log.signer[1]
            self.ask(f"tiles: {name} {what}", ("tiles", str(copied), note.vkey_text(key)), tree.Export, str(copied), key)

    def spoil(self, what, path):
        data = path.read_bytes()
        path.unlink()
        if what != "absent":
            path.write_bytes(data[:-1] if what == "shorter" else self.edit(data))

    def all_evidence(self):
        folder = pathlib.Path(__file__).resolve().parents[1] / "vectors/own/tpm"
        good, bind = (folder / "evidence.bin").read_bytes(), (folder / "bind.bin").read_bytes()
        for i in range(self.rounds):
            edited = self.edit(good) if i else good
            self.ask(f"evidence, edit {i}", ("evidence", self.file(edited), str(folder / "bind.bin")), tpm.verify, edited, bind)


def compare(asked, answers):
    """The questions on which the two differ."""
    out = []
    for (what, words, ours), theirs in zip(asked, answers):
        same = (ours == "ok") == theirs.startswith("ok")
        if not same and not any(reason(what, ours, theirs) for reason in ALLOWED):
            out.append(f"{what}: here {ours}; there {theirs}; {words}")
    return out


def main():
    judge, seed, rounds = sys.argv[1], int((sys.argv + [None, "1"])[2] or 1) if len(sys.argv) > 2 else 1, 60
    if len(sys.argv) > 3:
        rounds = int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        q = Questions(folder, seed, rounds)
        for step in (q.all_documents, q.all_chains, q.all_receipts, q.all_tiles, q.all_evidence):
            step()
        done = subprocess.run([judge], input="".join(words + "\n" for _, words, _ in q.asked), encoding="utf-8", errors="backslashreplace",
                              capture_output=True, check=True)
        answers = done.stdout.splitlines()
        if len(answers) != len(q.asked):
            sys.exit(f"{len(answers)} answers to {len(q.asked)} questions")
        differ = compare(q.asked, answers)
        print("\n".join(differ))
        accepted = sum(ours == "ok" for _, _, ours in q.asked)
        print(f"seed {seed}: {len(q.asked)} questions, {accepted} accepted here, {len(differ)} verdicts differ")
        return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
