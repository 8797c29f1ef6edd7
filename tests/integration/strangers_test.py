#!/usr/bin/python3
# strangers_test: a verifier on Go's sumdb packages accepts what a real walk leaves behind, and refuses it with a bit flipped.
import os
import pathlib
import re
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import world  # noqa: E402  (the path must be set first)
from enfilade_ref import client, note, tree  # noqa: E402

MANY = 270  # entries: more than a tile of 256, so that there is a second level


class StrangersTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = world.World("strangers")
        try:
            cls.prepare()
        except BaseException:
            cls.w.close()
            raise

    @classmethod
    def prepare(cls):
        cls.verifier = cls.w.tmp / "verify"
        built = world.execute(["go", "build", "-o", cls.verifier, world.TOP / "tests/go/verify.go"],
                              {**cls.w.env, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode",
                               "GOCACHE": str(world.BIN.parent / "go-cache")}, 120)
        assert built.code == 0, f"deploy/packages' test line names what is needed: {built.err}"
        done, cls.report = cls.w.walk()
        assert done.code == 0, done.err
        cls.fill("n1")
        cls.visits = [v for v in cls.report["walk"]["visits"] if v["result"] == "ok"]
        path = cls.w.transcript(cls.report)
        cls.tiles = {node: pathlib.Path(f"{path}.tiles/{node}") for node in world.HSM}
        cls.keys = {n["name"]: note.vkey_text(n["log"]) for n in cls.w.document("roster")["nodes"] if n["log"]}
        for visit in cls.visits:
            folder = cls.w.tmp / visit["node"]
            folder.mkdir()
            (folder / "receipt").write_text(visit["receipt"])
            (folder / "entry").write_bytes(bytes.fromhex(visit["entry"]))

    @classmethod
    def fill(cls, node):
        """Grants at the first door until its log has more than one tile."""
        honest = client.Client(cls.w.config())
        honest.fetch("unlock-db")
        for _ in range(MANY):
            honest.session("unlock-db").visit(node, 1, 1)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def verify(self, *arguments):
        return world.execute([self.verifier, *arguments], self.w.env)

    def accepts(self, *arguments):
        done = self.verify(*arguments)
        self.assertEqual((done.code, done.err), (0, ""), arguments)
        return done

    def refuses(self, why, *arguments):
        done = self.verify(*arguments)
        self.assertEqual(done.code, 1, arguments)
        self.assertRegex(done.err, why)

    def refuses_flips(self, files, *arguments):
        """Every byte that is read, a bit of it flipped at a time; all but the last letters of signatures must count."""
        done = self.accepts("flips", *arguments)
        found = re.fullmatch(r"(\d+) flips refused in (\d+) files\n", done.out)
        self.assertEqual(int(found[2]), files)
        return int(found[1])

    def receipt(self, node):
        return "receipt", self.w.tmp / node / "receipt", self.w.tmp / node / "entry", self.keys[node]

    def signers(self, path):
        """Whose signatures a note carries, by the keys of the root document and of the client's configuration."""
        pin = self.w.document("root")
        known = [key for role in pin["roles"] for key in role["keys"]]
        known += [owner for _, owner in client.Config(self.w.config()).operations.values()]
        text = path.read_text().rpartition("\n\n")[2]
        names = re.findall(r"(?m)^\u2014 (\S+) ", text)
        return [note.vkey_text(key) for name in names for key in known if key.name == name]

    def test_1_documents(self):
        notes = sorted((self.w.net / "config").glob("*.note"))
        self.assertGreaterEqual(len(notes), 7)
        for path in notes:
            with self.subTest(path.name):
                signers = self.signers(path)
                self.assertTrue(signers)
                self.accepts("note", path, *signers)
                flips = self.refuses_flips(1, "note", path, *signers)
                self.assertGreaterEqual(flips, path.stat().st_size - len(signers))
                self.refuses("of .* signatures|no verifiable", "note", path, *signers, self.keys["n1"])

    def test_2_receipts(self):
        self.assertEqual(len(self.visits), 4)
        for visit in self.visits:
            with self.subTest(visit["node"]):
                self.accepts(*self.receipt(visit["node"]))
                self.refuses_flips(2, *self.receipt(visit["node"]))
                other = "n5" if visit["node"] != "n5" else "n7"
                self.refuses("no verifiable", *self.receipt(visit["node"])[:3], self.keys[other])

    def test_3_exported_logs(self):
        for node in world.HSM:
            with self.subTest(node):
                self.accepts("log", self.tiles[node], self.keys[node])
                if node != "n1":
                    self.refuses_flips(3, "log", self.tiles[node], self.keys[node])
        for visit in self.visits:
            node = visit["node"]
            self.accepts("log", self.tiles[node], self.keys[node], self.w.tmp / node / "receipt")

    def test_4_a_log_of_several_tiles(self):
        log = "log", self.tiles["n1"], self.keys["n1"]
        files = [p for p in sorted(self.tiles["n1"].rglob("*")) if p.is_file()]
        self.assertGreaterEqual(len(files), 6, "checkpoint, two bundles, two leaf tiles, one tile above")
        self.assertTrue((self.tiles["n1"] / "tile/1/000.p/1").exists())
        for path in files:
            good = path.read_bytes()
            for at in (0, len(good) // 2, len(good) - 6):
                bad = bytearray(good)
                bad[at] ^= 1
                path.write_bytes(bad)
                self.refuses("^verify: .", *log)
            path.write_bytes(good)
        self.accepts(*log)

    def test_5_a_receipt_of_another_history(self):
        """A log of two entries under a key of ours, and receipts of its owner for this and for another second entry."""
        private, key = note.seed_key(bytes(range(32)), "example.test/fork/log")
        folder, entries = self.w.tmp / "fork", [b"one", b"two", b"other"]
        leaves = [tree.leaf_hash(entry) for entry in entries]

        def signed(*hashes):
            return note.sign(tree.checkpoint_text(tree.Checkpoint(key.name, 2, tree.root(hashes))), (private, key))
        for path, data in (("checkpoint", signed(*leaves[:2])), ("tile/0/000.p/2", b"".join(leaves[:2])),
                           ("tile/entries/000.p/2", b"".join(len(e).to_bytes(2, "big") + e for e in entries[:2])),
                           ("receipt", tree.receipt_make(0, [leaves[1]], signed(*leaves[:2]))),
                           ("forked", tree.receipt_make(0, [leaves[2]], signed(leaves[0], leaves[2]))), ("entry", entries[0])):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        for receipt in ("receipt", "forked"):
            self.accepts("receipt", folder / receipt, folder / "entry", note.vkey_text(key))
        self.accepts("log", folder, note.vkey_text(key), folder / "receipt")
        self.refuses("not a head of this log", "log", folder, note.vkey_text(key), folder / "forked")


if __name__ == "__main__":
    unittest.main(verbosity=2)
