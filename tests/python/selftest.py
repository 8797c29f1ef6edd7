#!/usr/bin/python3
# selftest: known answers from elsewhere, and every check of enfilade_ref shown failing for one changed thing.
import copy
import json
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

import world
from enfilade_ref import chain as chains
from enfilade_ref import documents, envelope, note, open as opening, proto, strict, th, tpm, transcript, tree
from enfilade_ref import vectors, vectors_make, wrap
from enfilade_ref.refuse import Refused, error_table
from enfilade_ref.vectors_make import flip


class Case(unittest.TestCase):
    def refused(self, codes, function, *arguments):
        with self.assertRaises(Refused) as caught:
            function(*arguments)
        self.assertIn(caught.exception.code, codes.split(), str(caught.exception))


class KnownAnswers(Case):
    """Values published by others, so that this implementation does not only agree with itself."""

    def test_keywrap_rfc3394(self):
        kek, data = bytes(range(32)), bytes.fromhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
        wrapped = bytes.fromhex("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21")
        self.assertEqual(wrap.keywrap(kek, data), wrapped)
        self.assertEqual(wrap.keyunwrap(kek, wrapped), data)

    def test_hkdf_rfc5869_without_salt(self):
        okm = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        self.assertEqual(wrap.hkdf_expand(wrap.hkdf_extract(b"", b"\x0b" * 22), b"", 42).hex(), okm)

    def test_merkle_certificate_transparency(self):
        entries = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                              "606162636465666768696a6b6c6d6e6f")]
        root = tree.root([tree.leaf_hash(entry) for entry in entries])
        self.assertEqual(root.hex(), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")

    def test_note_of_the_go_implementation(self):
        key = note.vkey_read("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
        text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
        line = ("\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n")
        self.assertEqual(note.verify(f"{text}\n{line}".encode(), [key]), (text.encode(), [key]))

    def test_inverse_in_the_aes_field(self):
        from enfilade_ref import shamir
        self.assertEqual(shamir.multiply(0x57, 0x83), 0xC1)
        self.assertEqual(shamir.inverse(0x53), 0xCA)

    def test_error_table(self):
        self.assertEqual(error_table()["evidence"], (34, "denied"))


class Vectors(Case):
    """Every output field of every group: one changed bit (or number) is noticed; so is a refusal that is none."""

    def test_every_group(self):
        changed = 0
        for group in vectors_make.MAKERS:
            data = vectors_make.make_group(group)
            for case in data["cases"]:
                vectors.check_case(group, case)
            case = next(c for c in data["cases"] if "refused" not in c)
            kind = vectors.case_kind(group, case)
            for field in kind.outputs:
                bad = copy.deepcopy(case)
                bad[field] = self.change(bad[field])
                self.refused("internal format", vectors.check_case, group, bad)
                changed += 1
            if group in ("payload", "keywrap", "shamir"):
                self.refused("internal", vectors.check_case, group, self.honest_refusal(group, case))
            self.refused("format", vectors.check_case, group, dict(case, mispelt=1))
        self.assertGreaterEqual(changed, 30)

    def change(self, value):
        if isinstance(value, list):
            return [self.change(value[0])] + value[1:]
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            return value ^ 1
        return flip(bytes.fromhex(value), 3).hex()

    def honest_refusal(self, group, case):
        """A case that claims that something good is refused."""
        fields = {"payload": ("key", "aad", "sealed"), "keywrap": ("kek", "wrapped")}.get(group)
        if fields:
            return {"name": "x", "refused": "payload", **{field: case[field] for field in fields}}
        return {"name": "x", "refused": "shares", "k": case["k"], "x": case["x"][:case["k"]], "y": case["y"][:case["k"]]}

    def test_made_files_are_the_committed_ones(self):
        own = pathlib.Path(__file__).resolve().parents[1] / "vectors/own"
        with tempfile.TemporaryDirectory() as folder:
            vectors_make.make_directory(folder, say=lambda line: None)
            for path in pathlib.Path(folder).iterdir():
                self.assertEqual(path.read_bytes(), (own / path.name).read_bytes(), path.name)


class Proto(Case):
    def test_round_trip(self):
        values = {"type": 4, "index": 1 << 40, "time_ms": 5, "walk_id": b"w" * 16, "code": 34, "policy_hash": b"",
                  "evidence": b"", "subject": b"", "secret": b"", "link_hash": b"", "response_hash": b"", "count": 2,
                  "document_hash": b"d" * 32}
        self.assertEqual(proto.entry_read(proto.pack("Entry", values)), values)

    def test_refusals(self):
        table = {"unknown field": b"\x78\x01", "twice": b"\x08\x02\x08\x02", "order": b"\x10\x01\x08\x02",
                 "default": b"\x08\x02\x10\x00", "not minimal": b"\x08\x82\x00", "enum": b"\x08\x0a",
                 "wire type": b"\x0a\x01\x02", "truncated": b"\x08\x02\x22\x10abc", "truncated number": b"\x08\x82",
                 "number of 65 bits": b"\x08\x02\x10" + b"\xff" * 9 + b"\x02", "empty bytes": b"\x08\x02\x22\x00",
                 "group": b"\x0b\x0c"}
        for name, data in table.items():
            with self.subTest(name):
                self.refused("format", proto.unpack, "Entry", data)
        self.refused("format", proto.unpack, "Factor", b"\x0a\x01\x07")
        self.refused("format", proto.unpack, "Factor", b"\x0a\x01\xff")
        self.refused("format", proto.pack, "Factor", {"nom": "x"})
        self.refused("format", proto.pack, "Counter", {"value": 1 << 64})
        self.refused("too-long", proto.entry_read, b"\x08\x02" * 1025)
        self.refused("too-long", proto.link_read, b"\x0a\x01a" * 1024)
        self.assertEqual(proto.unpack("Attest", b"\x0a\x00")["evidence"], [{"format": "", "data": b""}])


class Trees(Case):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.log = world.Log(note.seed_key(b"k" * 32, "example.test/n1/log"))
        for _ in range(600):
            self.log.append({"type": 1})
        self.log.export(self.folder)

    def open(self):
        return tree.Export(str(self.folder), self.log.signer[1])

    def test_every_file_counts(self):
        export = self.open()
        self.assertEqual((len(export.entries), export.hashes), (600, 602))
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            with self.subTest(str(path)):
                good = path.read_bytes()
                path.write_bytes(flip(good, 8 * (len(good) // 2)))
                self.refused("integrity format signature", self.open)
                path.write_bytes(good + b"\x00")
                self.refused("integrity format", self.open)
                path.unlink()
                self.refused("integrity", self.open)
                path.write_bytes(good)
        self.open()
        (self.folder / "tile/0/x001").mkdir()
        (self.folder / "tile/0/x001/000").write_bytes(b"")
        self.refused("integrity", self.open)

    def test_entries_count_and_time(self):
        for name, fields in (("index", {"index": 7, "time_ms": world.NOW + 999}), ("time", {"index": 600, "time_ms": 1}),
                             ("type", {"index": 600, "time_ms": world.NOW + 999, "type": 0})):
            with self.subTest(name):
                shutil.rmtree(self.folder / "tile")
                self.log.entries = self.log.entries[:600] + [proto.pack("Entry", {"type": 1, **fields})]
                self.log.export(self.folder)
                self.refused("integrity format", self.open)

    def test_root_of_the_checkpoint(self):
        """Rightly signed, but over another root or size."""
        for size, root in ((600, bytes(32)), (599, tree.root([tree.leaf_hash(e) for e in self.log.entries]))):
            text = tree.checkpoint_text(tree.Checkpoint(self.log.signer[1].name, size, root))
            (self.folder / "checkpoint").write_bytes(note.sign(text, self.log.signer))
            self.refused("integrity", self.open)

    def test_checkpoints(self):
        """Rightly signed, but not a checkpoint of this log."""
        key, value = self.log.signer[1], "A" * 43 + "="
        good = f"{key.name}\n7\n{value}\n"
        self.assertEqual(tree.checkpoint_open(note.sign(good.encode(), self.log.signer), key), (key.name, 7, bytes(32)))
        for bad in (good + "extension\n", f"{key.name}\n7\n", good.replace("n1", "n2"), good.replace("7", "07"),
                    good.replace("7", "-7"), f"{key.name}\n7\n{'A' * 42}==\n", f"{key.name}\n7\n{'A' * 44}\n"):
            self.refused("format", tree.checkpoint_open, note.sign(bad.encode(), self.log.signer), key)
        stranger = note.seed_key(b"o" * 32, key.name)
        self.refused("signature", tree.checkpoint_open, note.sign(good.encode(), stranger), key)

    def test_bundles(self):
        self.assertEqual(tree.bundle_split(b"\x00\x01a\x00\x00", 2, ""), [b"a", b""])
        for bad in (b"\x00\x01a", b"\x00\x01a\x00", b"\x00\x01a\x00\x01", b"\x00\x01a\x00\x00\x00"):
            self.refused("integrity", tree.bundle_split, bad, 2, "")

    def test_proof_lengths(self):
        leaf, other = bytes(32), b"o" * 32
        self.refused("proof", tree.verify_inclusion, leaf, 0, 1, [other], leaf)
        self.refused("proof", tree.verify_inclusion, leaf, 0, 2, [], leaf)
        self.refused("proof", tree.verify_inclusion, leaf, 1, 1, [], leaf)
        self.refused("proof", tree.verify_inclusion, leaf, 0, 1 << 62, [other] * 64, leaf)
        tree.verify_consistency(0, th.sha256(b""), 3, other, [])
        self.refused("proof", tree.verify_consistency, 0, th.sha256(b""), 3, other, [leaf])
        self.refused("proof", tree.verify_consistency, 0, leaf, 3, other, [])
        self.refused("proof", tree.verify_consistency, 2, leaf, 3, other, [])
        self.refused("proof", tree.verify_consistency, 4, leaf, 3, other, [])
        self.refused("proof", tree.verify_consistency, 3, leaf, 3, leaf, [other])

    def test_tile_paths(self):
        self.assertEqual(tree.tile_path(1234067, 256), "x001/x234/067")
        self.assertEqual(tree.tile_path(0, 8), "000.p/8")

    def test_receipt(self):
        entry, receipt, key = self.log.entries[77], self.log.receipt(77), self.log.signer[1]
        self.assertEqual(tree.receipt_verify(receipt, entry, key)[0], 77)
        for at in range(0, 8 * len(receipt), 41):
            self.refused("format signature proof", tree.receipt_verify, flip(receipt, at), entry, key)
        self.refused("proof", tree.receipt_verify, receipt, flip(entry, 0), key)
        self.refused("format", tree.receipt_verify, receipt.replace(b"\n\n", b"\nAAAA\n\n", 1), entry, key)
        self.refused("format", tree.receipt_verify, receipt.replace(b"\n\n", b"\n"), entry, key)
        self.refused("too-long", tree.receipt_verify, receipt + b"\n" * 16384, entry, key)
        other = note.seed_key(b"o" * 32, "example.test/n1/log")[1]
        self.refused("signature", tree.receipt_verify, receipt, entry, other)
        self.refused("signature", tree.receipt_verify, receipt, entry, note.Key("example.test/n2/log", key.public))


class Notes(Case):
    def test_every_bit(self):
        signer = note.seed_key(b"s" * 32, "example.test/root/a")
        signed = note.sign(b"a: 1\n", signer)
        for at in range(8 * len(signed)):
            try:
                self.assertEqual(note.verify(flip(signed, at), [signer[1]])[1], [], at)
            except Refused:
                pass

    def test_limits(self):
        signer = note.seed_key(b"s" * 32, "n")
        self.refused("too-long", note.sign, b"a" * (1 << 20) + b"\n", signer)
        good = note.sign(b"a\n", signer)
        line = good[3:]
        self.refused("format", note.verify, b"a\n\n" + line * 101, [])
        self.assertEqual(note.verify(b"a\n\n" + line * 100, [signer[1]])[1], [signer[1]])
        for name in ("", "m" * 201, "a b", "a\u00a0b", "a\x01", "a+b"):
            bad = b"a\n\n" + line.replace(b" n ", f" {name} ".encode())
            self.refused("format", note.verify, bad, [])
        for body in (b"", b" AAAA", b" AAAAAA==A", b" AAAAB=="):
            self.refused("format", note.verify, b"a\n\n\xe2\x80\x94 n" + body + b"\n", [])

    def test_vkeys(self):
        text = note.vkey_text(note.seed_key(b"s" * 32, "n")[1])
        for bad in (text[:-1], text.replace("+", "-"), "m" + text[1:], text.replace("+A", "+B"), text + "\n"):
            self.refused("format", note.vkey_read, bad)


# (document, text in it, replacement, refusals)
EDITS = (
    ("root", "tag_profile: 1", "tag_profile: 4", "format"), ("root", "threshold: 2", "threshold: 4", "format"),
    ("root", "threshold: 2", "threshold: 0", "format"), ("root", "role: status", "role: policy", "format"),
    ("root", "version: 1", "version: 01", "format"), ("root", "version: 1", "version: 1\nversion: 1", "format"),
    ("root", "device_cas: []", "device_cas: [AAAA]", "format"), ("root", "network:", "netwerk:", "format"),
    ("roster", "name: n2", "name: n1", "format"), ("roster", "profile: 1", "profile: 0", "format"),
    ("roster", "roles: [hsm, mirror]", "roles: [mirror]", "format"), ("roster", "n3/log+", "n4/log+", "format"),
    ("roster", "7600", "76000", "format"), ("roster", "region: r1", "region: R1", "format"),
    ("roster", "seal: B", "seal: C", "format"), ("roster", "expires: 2026-12", "expires: 2026-13", "format"),
    ("roster", "expires: 2026-12", "expires: 2025-12", "format"),
    ("inventory", "0a0a", "0A0a", "format"), ("inventory", "0a0a", "0a", "format"),
    ("inventory", "key:", "ak: &x 00\n    key:", "format"), ("inventory", "web-1", "!!str web-1", "format"),
    ("inventory", "devices:\n", "devices: # x\n---\n", "format"),
    ("policy", "need: 2", "need: 0x2", "format"), ("policy", "index: 14", "index: 24", "format"),
    ("policy", "device: enrolled", "device: any", "format"), ("policy", "127.0.0.0/8", "127.0.0.1/8", "format"),
    ("policy", "to: \"24:00\"", "to: \"24:01\"", "format"), ("policy", "from: \"08:00\"", "from: \"24:00\"", "format"),
    ("policy", "[mon, tue]", "[mon, mon]", "format"), ("policy", "count: 1, of", "count: 2, of", "format"),
    ("policy", "audit: local", "audit: none", "format"), ("policy", "format: tpm2", "format: TPM2", "format"),
    ("policy", "- device: enrolled", "- {all: [{all: [{all: [{device: enrolled}]}]}]}", "format"),
    ("policy", "to: \"24:00\"", "to: \"08:00\"", "format"), ("policy", "\"08:00\"", "\"8:00\"", "format"),
    ("policy", "[{index: 14", f"[{{index: 15, values: [{'5f' * 32}]}}, {{index: 14", "format"),
    ("policy", "- device: enrolled", "- {device: enrolled, any: [{device: enrolled}]}", "format"),
    ("policy", "- device: enrolled", "- {some: {count: 1, of: [{device: enrolled}]}}", "format"),
    ("policy", "- device: enrolled", "- [device]", "format"), ("status", "revocations: []", "revocations: [x]", "format"),
    ("status", "documents:\n", f"documents:\n  - {{type: policy, name: db-policy, version: 1, hash: {'00' * 32}}}\n", "format"),
    ("status", "network: example.test", "network: example.tess", "format"),
    ("inventory", "devices:\n", f"devices:\n  - id: web-2\n    key: {'0a' * 32}\n", "format"),
    ("envelope", "slot: 2", "slot: 1", "format"), ("envelope", "slot: 2", "slot: 17", "format"),
    ("envelope", "need: 2", "need: 4", "format"), ("envelope", "node: n2", "node: n1", "format"),
    ("envelope", "payload_length: 4", "payload_length: 5", "format"), ("envelope", "payload_hash: ", "payload_hash: 00", "format"),
    ("envelope", "policy: db-policy", "policy: other", "documents"),
    ("status", "type: roster", "type: root", "format"), ("status", "type: roster, ", "type: policy, name: p, ", "format"), ("status", "halts: []", "halts: [{network: yes}]", "format"),
    ("status", "halts: []", "halts: [{node: n1, policy: p}]", "format"),
    ("status", "revocations: []", "revocations: [{kind: chain, id: n1}]", "format"),
    ("status", "withdrawn: []", "withdrawn: []\nmore: 1", "format"), ("status", "withdrawn: []", "", "format"),
)


class Documents(Case):
    @classmethod
    def setUpClass(cls):
        cls.w = world.World()

    def signer(self, kind):
        return [self.w.owner] if kind == "envelope" else self.w.people[kind][:2]

    def verify(self, kind, data):
        if kind == "root":
            return documents.verify_root(data, th.sha256(note.parse(data)[0]))
        return documents.verify(data, self.w.root, [self.w.found["policy"]])

    def source(self, kind):
        return self.w.root_note if kind == "root" else self.w.notes[kind]

    def test_edits(self):
        for kind, old, new, codes in EDITS:
            with self.subTest(f"{kind}: {old!r} -> {new!r}"):
                text = note.parse(self.source(kind))[0].decode("ascii")
                self.assertIn(old, text)
                signed = note.sign(text.replace(old, new, 1).encode("ascii"), *self.signer(kind))
                self.refused(codes, self.verify, kind, signed)

    def test_edits_by_value(self):
        """Edits that need a value of this world: keys twice, names of keys, payload, a certificate of no CA."""
        n1, n2 = self.w.found["roster"]["nodes"][:2]
        renamed = note.vkey_text(note.Key("example.test/n9/log", n1["log"].public))
        leaf = world.certificate("n1", self.w.nodes["n1"].identity, ca=False)
        payload = self.w.found["envelope"]["payload"]
        for kind, old, new in (("roster", world.b64(n2["seal"]), world.b64(n1["seal"])),
                               ("roster", world.b64(n1["seal"]), world.b64(n1["kem"])),
                               ("roster", note.vkey_text(n1["log"]), renamed), ("roster", world.b64(n1["identity"]), world.b64(leaf)),
                               ("envelope", world.b64(payload), world.b64(flip(payload, 0)))):
            text = note.parse(self.source(kind))[0].decode("ascii")
            self.assertIn(old, text)
            self.refused("format", self.verify, kind, note.sign(text.replace(old, new, 1).encode("ascii"), *self.signer(kind)))

    def test_time_type_and_status(self):
        roster = self.w.found["roster"]
        roster.valid_at(roster["issued"])
        self.refused("expired", roster.valid_at, roster["issued"] - 1)
        self.refused("expired", roster.valid_at, roster["expires"])
        self.refused("format", documents.verify_root, self.w.notes["roster"], roster.hash)
        approval = note.sign(b"enfilade: approval/v1\n", self.w.owner)
        self.refused("format", documents.verify, approval, self.w.root)
        self.refused("too-long", documents.parse, self.w.chain.text + b"#" * 65536 + b"\n")
        text = note.parse(self.w.notes["status"])[0].replace(b"name: db-policy", b"name: other")
        status = documents.verify(note.sign(text, *self.w.people["status"]), self.w.root)
        self.refused("status", documents.check_status, status, [self.w.found["policy"]])

    def test_signatures(self):
        for kind in ("root", *self.w.notes):
            with self.subTest(kind):
                data = self.source(kind)
                self.verify(kind, data)
                text = note.parse(data)[0]
                self.refused("signature", self.verify, kind, data.replace(
                    b"2026-11-23", b"2026-11-22"))
                stranger = note.seed_key(b"x" * 32, self.signer(kind)[0][1].name)
                self.refused("threshold", self.verify, kind, note.sign(text, stranger))
        text = note.parse(self.w.root_note)[0]
        self.refused("threshold", self.verify, "root", note.sign(text, self.w.people["root"][0]))
        self.refused("signature", documents.verify_root, self.w.root_note, flip(self.w.root_hash, 0))
        twice = note.sign(text, self.w.people["root"][0], self.w.people["root"][0])
        self.refused("threshold", self.verify, "root", twice)

    def test_text(self):
        text = note.parse(self.w.notes["policy"])[0]
        for bad in (text[:-1], text.replace(b"\n", b"\r\n"), b"#\n" + text, text + b"\t\n", text + b"...\n",
                    "# \u2028x: 1\n".encode() + text, text.replace(b"policy/v1", b"policy/v2")):
            self.refused("format", documents.parse, bad)

    def test_root_follows(self):
        text = note.parse(self.w.root_note)[0].replace(b"version: 1", b"version: 2")
        second = note.sign(text, *self.w.people["root"][1:])
        documents.verify_root(second, previous=self.w.root)
        self.refused("stale", documents.verify_root, self.w.root_note, None, self.w.root)
        other = world.World("other")
        self.refused("threshold", documents.verify_root, second, None, other.root)

    def test_status(self):
        w = world.World()
        w.make_status("revocations: [{kind: node, id: n5}]\nhalts: []\nwithdrawn: []\n")
        with_revocation = w.found["status"]
        text = note.parse(self.w.notes["status"])[0].replace(b"version: 1", b"version: 2", 1)
        dropped = documents.verify(note.sign(text, *w.people["status"]), w.root)
        self.refused("threshold", documents.check_status_follows, dropped, with_revocation, w.root)
        by_root = documents.verify(note.sign(text, *w.people["status"], *w.people["root"][:2]), w.root)
        documents.check_status_follows(by_root, with_revocation, w.root)
        self.refused("stale", documents.check_status_follows, with_revocation, w.found["status"], w.root)
        documents.check_status(self.w.found["status"], [self.w.root, self.w.found["roster"]])
        other = world.World("other")
        self.refused("stale", documents.check_status, self.w.found["status"], [other.found["roster"]])


# (which text, old, new, refusals)
CHAIN_EDITS = (
    ("chain", "operation: unlock-db", "operation: other", "chain"), ("chain", "policy: ", "policy: 00", "chain format"),
    ("chain", "name: gate", "name: gaze", "chain"), ("chain", "need: 2", "need: 3", "chain"),
    ("chain", "need: 2", "need: 1", "chain"), ("chain", "{slot: 1, node: n1}", "{slot: 1, node: n3}", "chain"),
    ("chain", "{slot: 1, node: n1}, {slot: 2, node: n2}", "{slot: 2, node: n1}", "chain"),
    ("chain", "{slot: 2, node: n4}, {slot: 3, node: n5}", "{slot: 2, node: n4}, {slot: 2, node: n4}", "format"),
    ("chain", "not_after: 2026-11-25", "not_after: 2026-11-27", "chain"),
    ("chain", "not_after: 2026-11-25", "not_after: 2026-11-23", "expired"),
    ("chain", "network: example.test", "network: example.other", "chain"),
    ("status", "revocations: []", "revocations: [{kind: node, id: n4}]", "revoked"),
    ("status", "halts: []", "halts: [{network: halted}]", "halted"), ("status", "halts: []", "halts: [{node: n4}]", "halted"),
    ("status", "halts: []", "halts: [{policy: db-policy}]", "halted"),
    ("roster", "name: n4", "name: n44", "format chain"), ("roster", "profile: 1", "profile: 2", "chain"),
    ("policy", "need: 2", "need: 3", "chain"), ("policy", "operations: [unlock-db]", "operations: [lock-db]", "chain"),
    ("policy", "min_operators: 1", "min_operators: 2", "chain"), ("policy", "    audit", "    regions: [r1]\n    audit", "chain"),
    ("policy", "    audit", "    vendors: [other]\n    audit", "chain"), ("policy", "name: gate", "name: gaze", "chain"),
)


class Chains(Case):
    """One rule at a time; edited policies keep their hashes consistent by signing with the owner and renaming in the chain."""

    def world_with(self, which, old, new):
        w = world.World()
        text = (w.chain.text if which == "chain" else note.parse(w.notes[which])[0]).decode("ascii")
        self.assertIn(old, text)
        edited = text.replace(old, new, 1).encode("ascii")
        if which == "chain":
            w.chain = documents.parse(edited)
            return w
        signers = [w.people[which][0]] + ([w.owner] if which == "policy" else [])
        w.found[which] = documents.verify(note.sign(edited, *signers), w.root, [w.found["policy"]])
        if which == "policy":
            w.make_chain()
        return w

    def check(self, w):
        chains.check(chains.World(*(w.found[k] for k in ("policy", "envelope", "roster", "status"))), w.chain, world.NOW)

    def test_admissible(self):
        self.check(world.World())
        self.check(self.world_with("policy", "chain_lifetime_s: 86400", "chain_lifetime_s: 86401"))

    def test_rules(self):
        for which, old, new, codes in CHAIN_EDITS:
            with self.subTest(f"{which}: {old!r} -> {new!r}"):
                self.refused(codes, lambda: self.check(self.world_with(which, old, new)))

    def test_policy_must_open_the_envelope(self):
        w = self.world_with("policy", "chain_lifetime_s: 86400", "chain_lifetime_s: 86401")
        text = note.parse(w.found["policy"].note)[0]
        w.found["policy"] = documents.verify(note.sign(text, w.people["policy"][0]), w.root)
        self.refused("policy", self.check, w)

    def altered(self, *changes):
        """A world with parsed fields changed behind the schemas' back: (document, path…, value) each."""
        w = world.World()
        w.found["chain"] = w.chain
        for which, *path, last, value in changes:
            w.found[which] = copy.copy(w.found[which])
            w.found[which].fields = copy.deepcopy(w.found[which].fields)
            holder = w.found[which].fields
            for step in path:
                holder = holder[step]
            holder[last] = value
        w.chain = w.found["chain"]
        return w

    def test_rules_that_schemas_also_guard(self):
        w = world.World()
        seal = wrap.key_point(w.nodes["n1"].seal)
        vault = w.chain["stages"][1]["members"]
        first = ("stages", 1, "members", 0)
        for changes, codes in (
                ([("chain", "policy", bytes(32))], "chain"), ([("chain", "envelope", bytes(32))], "chain"),
                ([("envelope", "policy", "other")], "policy"), ([("policy", "owners", [])], "policy"),
                ([("roster", "nodes", 3, "roles", ["mirror"])], "chain"),
                ([("roster", "nodes", [])], "chain"),
                ([("chain", "stages", 1, "members", vault[:1])], "chain"),
                ([("chain", *first, "node", "n1"), ("envelope", *first, "node", "n1"), ("envelope", *first, "seal", seal)], "chain"),
                ([("roster", "nodes", 2, "seal", seal), ("envelope", *first, "seal", seal)], "chain")):
            with self.subTest(str(changes)[:60]):
                self.refused(codes, self.check, self.altered(*changes))

    def test_withdrawn_and_revoked_chain(self):
        for extra in ("revocations: []\nhalts: []\nwithdrawn: [{owner: %s, envelope: %s, least_generation: 2}]\n",
                      "revocations: [{kind: chain, hash: %s}]\nhalts: []\nwithdrawn: []\n"):
            w = world.World()
            filled = (w.owner[1].public.hex(), w.found["envelope"]["id"].hex()) if "owner" in extra else w.chain.hash.hex()
            w.make_status(extra % filled)
            self.refused("revoked", self.check, w)

    def test_least_distinct(self):
        self.assertEqual(chains.least_distinct(list("aab"), 2), 1)
        self.assertEqual(chains.least_distinct(list("abc"), 2), 2)
        self.assertEqual(chains.least_distinct(list("aabbc"), 5), 3)


class Opening(Case):
    def setUp(self):
        self.w = world.World()
        self.w.walk()

    def open(self, payload=None):
        w = self.w
        return opening.open_payload(w.found["envelope"], w.chain, w.session_key, w.sid, w.visits, payload)

    def test_opens(self):
        self.assertEqual(self.open(), world.SECRET)
        for members in (((1, "n1"), (2, "n3"), (2, "n4")), ((1, "n1"), (2, "n4"), (2, "n5"))):
            self.w.walk(members)
            self.assertEqual(self.open(), world.SECRET)

    def test_changed(self):
        for visit in self.w.visits:
            for at in range(3 * 8, 8 * len(visit.answer), 97):
                good = visit.answer
                visit.answer = flip(good, at)
                self.refused("signature format", self.open)
                visit.answer = good
            good = visit.body
            visit.body = flip(good, 8 * len(good) - 1)
            if visit.stage == 1:  # the last stage's links bind nothing that comes later
                self.refused("signature", self.open)
            visit.body = good
        self.refused("payload", self.open, flip(self.w.payload, 0))
        sid, self.w.sid = self.w.sid, flip(self.w.sid, 0)
        self.refused("signature", self.open)
        self.w.sid = sid
        self.w.visits.pop()
        self.refused("shares", self.open)

    def test_what_an_envelope_and_an_answer_promise(self):
        w, good = self.w, self.w.found["envelope"].fields
        for field, value, code in (("commitment", bytes(32), "commitment"), ("payload_length", 5, "payload"),
                                   ("payload_hash", bytes(32), "payload")):
            w.found["envelope"].fields = dict(good, **{field: value})
            self.refused(code, self.open)
        w.found["envelope"].fields = good
        visit = w.visits[0]
        answer = proto.unpack("Answer", visit.answer)
        tags = answer["tags"]
        for bad in (tags[:-1], tags[::-1], tags + [{"slot": 4, "tag": bytes(40)}], [dict(tags[0], tag=bytes(48))] + tags[1:]):
            visit.answer = proto.pack("Answer", dict(answer, tags=bad))
            self.refused("format", self.open)

    def test_other_owner_and_policy_yield_another_key(self):
        w, e = self.w, copy.copy(self.w.found["envelope"])
        e.signed = [note.seed_key(b"z" * 32, "z")[1]]
        self.refused("signature", envelope.share_at_node, e, 1, 1, w.nodes["n1"].seal)
        e = copy.copy(w.found["envelope"])
        e.fields = dict(e.fields, policy="other")
        self.refused("signature", envelope.share_at_node, e, 1, 1, w.nodes["n1"].seal)


class Tpm(Case):
    """A quote made here under a P-256 key with the public area of a restricted attestation key."""

    def setUp(self):
        self.key = wrap.key_from_scalar(th.sha256(b"ak"))
        self.bind = b"b" * 64
        self.attributes = 0x00050072

    def evidence(self, magic=tpm.MAGIC, kind=tpm.QUOTE, bank=0x000B, mask=b"\x00\x40\x00", values=None, tail=b"", scheme=0x000B,
                 safe=1, count=1):
        values = values if values is not None else [{"index": 14, "value": b"\x5f" * 32}]
        digest = th.sha256(b"".join(v["value"] for v in values))
        attest = (magic.to_bytes(4, "big") + kind.to_bytes(2, "big") + b"\x00\x02ab" + b"\x00\x20" + th.sha256(self.bind) +
                  bytes(16) + bytes([safe]) + bytes(8) + count.to_bytes(4, "big") + bank.to_bytes(2, "big") + b"\x03" + mask + b"\x00\x20" +
                  digest + tail)
        r, s = utils.decode_dss_signature(self.key.sign(attest, ec.ECDSA(hashes.SHA256())))
        sized = lambda n: b"\x00\x20" + n.to_bytes(32, "big")
        signature = b"\x00\x18" + scheme.to_bytes(2, "big") + sized(r) + sized(s)
        point = wrap.key_point(self.key)
        ak = (b"\x00\x23\x00\x0b" + self.attributes.to_bytes(4, "big") + b"\x00\x00\x00\x10\x00\x18\x00\x0b\x00\x03\x00\x10" +
              b"\x00\x20" + point[1:33] + b"\x00\x20" + point[33:])
        return {"attest": attest, "signature": signature, "ak": ak, "pcrs": values}

    def verify(self, parts, bind=None):
        return tpm.verify(proto.pack("TpmEvidence", parts), self.bind if bind is None else bind)

    def test_good(self):
        claims = self.verify(self.evidence())
        self.assertEqual(claims["pcrs"], {14: b"\x5f" * 32})
        self.assertEqual(claims["key_hash"], th.sha256(self.evidence()["ak"]))

    def test_flips(self):
        parts = self.evidence()
        for field in ("attest", "signature", "ak"):
            for at in range(0, 8 * len(parts[field]), 7):
                if field == "ak" and (4 <= at // 8 < 8):
                    continue  # attribute bits have a test of their own
                self.refused("evidence format", self.verify, dict(parts, **{field: flip(parts[field], at)}))

    def test_refusals(self):
        other = [{"index": 14, "value": b"\x60" * 32}]
        for name, parts in (("magic", self.evidence(magic=1)), ("certify", self.evidence(kind=0x8017)),
                            ("bank", self.evidence(bank=4)), ("no pcr", self.evidence(mask=bytes(3), values=[])),
                            ("trailing", self.evidence(tail=b"\x00")), ("safe", self.evidence(safe=2)), ("count", self.evidence(count=0)),
                            ("count", self.evidence(count=17)), ("selection", self.evidence(mask=b"")), ("hash", self.evidence(scheme=0x0004)),
                            ("pcr", dict(self.evidence(), pcrs=other)), ("pcr index", dict(self.evidence(), pcrs=[
                                {"index": 13, "value": b"\x5f" * 32}])), ("pcr absent", dict(self.evidence(), pcrs=[]))):
            with self.subTest(name):
                self.refused("evidence", self.verify, parts)
        self.refused("bind", self.verify, self.evidence(), flip(self.bind, 511))

    def test_attributes(self):
        for bit in (0, 1, 3, 4, 5, 8, 12, 16, 17, 18, 20, 31):
            self.attributes = 0x00050072 ^ 1 << bit
            self.refused("evidence", self.verify, self.evidence())


    def test_recorded_quote(self):
        """A quote of a software TPM, recorded by the project: PCR 7 and 14 were extended once with 32 bytes 0x11."""
        folder = pathlib.Path(__file__).resolve().parents[1] / "vectors/own/tpm"
        evidence, bind = (folder / "evidence.bin").read_bytes(), (folder / "bind.bin").read_bytes()
        pcrs = tpm.verify(evidence, bind)["pcrs"]
        extended = th.sha256(bytes(32) + b"\x11" * 32)
        self.assertEqual([pcrs[i] for i in (0, 7, 14)], [bytes(32), extended, extended])
        for at in range(0, 8 * len(evidence), 13):
            self.refused("evidence format bind", self.check_any, flip(evidence, at), bind)
        self.refused("bind", tpm.verify, evidence, flip(bind, 100))

    def check_any(self, evidence, bind):
        """Refused, or not the evidence of the enrolled key: a public area may change where the signature does not look."""
        if tpm.verify(evidence, bind)["key_hash"] != th.sha256(self.recorded_ak()):
            raise Refused("evidence", "another key")

    def recorded_ak(self):
        folder = pathlib.Path(__file__).resolve().parents[1] / "vectors/own/tpm"
        return proto.unpack("TpmEvidence", (folder / "evidence.bin").read_bytes())["ak"]


class Transcripts(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp())
        cls.w = world.World()
        cls.w.walk()
        cls.good = cls.w.transcript(cls.folder)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def verify(self, changed):
        path = self.folder / "changed.json"
        path.write_text(json.dumps(changed), encoding="utf-8")
        return transcript.verify(path, self.folder / "secret")

    def test_good(self):
        self.assertEqual(len(transcript.verify(self.folder / "transcript.json", self.folder / "secret")), 7)

    def test_every_hex_and_note(self):
        """One bit in each hex string, one byte in each note: nothing of the transcript may be changed unnoticed."""
        changed = 0
        for path, value in list(self.strings(self.good)):
            for bad in self.altered(path, value):
                t = copy.deepcopy(self.good)
                holder = t
                for step in path[:-1]:
                    holder = holder[step]
                holder[path[-1]] = bad
                with self.subTest(str(path)):
                    self.assertRaises(Refused, self.verify, t)
                changed += 1
        self.assertGreaterEqual(changed, 60)

    def strings(self, value, path=()):
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            if isinstance(item, str):
                yield path + (key,), item
            yield from self.strings(item, path + (key,))

    def altered(self, path, value):
        field = path[-1]
        if path[0] == "tiles":
            return ["tiles/none", self.good["tiles"]["n1" if field != "n1" else "n2"]]
        if path[0] == "denials":
            return {"what": ["other"], "code": ["device", "ok", "nonsense"]}.get(field, [value[1:]])
        if field in ("node", "operation", "network", "result"):
            # the refused visit may name any node: nobody signed it
            return [] if path[:3] == ("walk", "visits", 0) and field == "node" else ["n3" if value != "n3" else "n4"]
        if len(value) % 2 == 0 and all(c in "0123456789abcdef" for c in value):
            return [flip(bytes.fromhex(value), at).hex() for at in (0, 4 * len(value) - 1)]
        middle = len(value) // 3
        return [value[:middle] + ("x" if value[middle] != "x" else "y") + value[middle + 1:], value[:-2] + "\n"]

    def test_structure(self):
        visits = self.good["walk"]["visits"]
        changes = {
            "one link less": {"walk": dict(self.good["walk"], visits=visits[:-1])},
            "one link twice": {"walk": dict(self.good["walk"], visits=visits + visits[-1:])},
            "another slot": {"walk": dict(self.good["walk"], visits=[dict(v, slot=3) for v in visits])},
            "a document less": {"documents": self.good["documents"][1:]},
            "a document twice": {"documents": self.good["documents"] + self.good["documents"][:1]},
            "roster twice, no inventory": {"documents": [note for note in self.good["documents"]
                                                         if "inventory/v1" not in note] + self.good["documents"][:1]},
            "tiles of a stranger": {"tiles": dict(self.good["tiles"], n9="tiles/n1")}, "no tiles": {"tiles": {}}, "exit code": {"exit_codes": {"unseal": 0, "pcr changed": 5}},
            "exit code missing": {"exit_codes": {"unseal": 0}}, "version": {"version": 2}, "unknown": {"more": 1},
            "two denials, one entry": {"denials": self.good["denials"] + [dict(self.good["denials"][0], what="again")],
                                       "exit_codes": {"unseal": 0, "pcr changed": 3, "again": 3}},
        }
        for name, change in changes.items():
            with self.subTest(name):
                self.assertRaises(Refused, self.verify, dict(self.good, **change))
        for name, change in (("duration", {"milliseconds": -1}), ("stage", {"stage": 0}), ("link of a refusal", {"entry": "00"}),
                             ("float", {"slot": 1.0}), ("boolean", {"slot": True})):
            with self.subTest(name):
                t = copy.deepcopy(self.good)
                t["walk"]["visits"][0].update(change)
                self.refused("format", self.verify, t)
        twice = self.folder / "twice.json"
        twice.write_text(json.dumps(self.good).replace('{"version": 1', '{"version": 1, "version": 1', 1), encoding="utf-8")
        self.refused("format", transcript.verify, twice)

    def test_a_node_that_lies(self):
        """Body, entry, receipt and log agree with one another, but one field is not what it must be."""
        h = b"h" * 32
        bodies = [{field: h} for field in ("sid", "eid", "chain_hash", "policy_hash", "envelope_hash", "prevhash")]
        bodies += [{"network": "other"}, {"node": "n4"}, {"generation": 2}, {"stage": 1}, {"slot": 2}, {"roster_version": 2},
                   {"status_version": 2}, {"issued_ms": world.NOW - 2 * world.DAY}, {"issued_ms": world.NOW + world.DAY // 2},
                   {"not_after_ms": world.NOW + world.DAY}, {"issued_ms": world.NOW + 9 * world.DAY}]
        entries = [{field: h} for field in ("policy_hash", "link_hash")] + [
            {"walk_id": h[:16]}, {"response_hash": b""}, {"type": 3}, {"code": 34}]
        for lies in [(body, None) for body in bodies] + [(None, entry) for entry in entries]:
            with self.subTest(str(lies)), tempfile.TemporaryDirectory() as folder:
                w = world.World()
                w.walk(body_lie=lies[0], entry_lie=lies[1])
                w.transcript(folder)
                self.refused("link expired chain", transcript.verify, pathlib.Path(folder) / "transcript.json")

    def test_a_stranger_or_too_few(self):
        for members, unlisted in ((((1, "n2"), (2, "n3")), ()), (((1, "n1"), (1, "n2"), (2, "n3"), (2, "n5")), ()),
                                  (((1, "n1"), (1, "n2"), (2, "n3")), ()), (((1, "n2"), (2, "n3"), (2, "n4")), ("n4",))):
            with tempfile.TemporaryDirectory() as folder:
                w = world.World()
                w.make_chain(unlisted)
                w.walk(members)
                w.transcript(folder)
                self.refused("link", transcript.verify, pathlib.Path(folder) / "transcript.json")

    def test_another_history(self):
        """A log that was signed again without the granted entry does not pass."""
        log = self.w.nodes["n5"].log
        kept, node = log.entries, self.folder / "tiles/n5"
        granted = kept.index(self.w.entries["n5"])
        saved = self.folder / "saved"
        shutil.copytree(node, saved)
        for same in ([], [granted]):  # nothing as it was; then the granted entry in its place, others changed
            shutil.rmtree(node)
            log.entries = []
            for i, entry in enumerate(kept):
                log.append({"type": 5})
                log.entries[i] = entry if i in same else log.entries[i]
            log.export(node)
            self.refused("integrity", self.verify, self.good)
        log.entries = kept
        shutil.rmtree(node)
        shutil.move(saved, node)

    def test_secret(self):
        other = self.folder / "other"
        other.write_bytes(b"x")
        self.refused("integrity", transcript.verify, self.folder / "transcript.json", other)


if __name__ == "__main__":
    unittest.main()
