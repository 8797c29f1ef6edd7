#!/usr/bin/python3
# config_test: every mistake in a configuration or a document stops the start with exit 2 and says where it is and what to do.
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import world  # noqa: E402  (the path must be set first)
from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: E402
from enfilade_ref import note  # noqa: E402

# (what is wrong, pattern in the file, what stands there instead, where the message must point: a field or None, its words)
# The line that must be named is the line of the change; a field that is only missing has none of its own.
NODE = (
    ("bad version", "node/v1", "node/v2", "enfilade", "is not node/v1"),
    ("unknown key", "^state:", "colour: blue\nstate:", "colour", "unknown key; see the manual"),
    ("duplicate key", "^(name: n1)", r"name: n1\n\1", "name", "stands here twice; keep one"),
    ("a word for a list", "^listen: .*", 'listen: "127.0.0.1:7600"', "listen", "must be a list"),
    ("a list for a word", "^state: .*", "state: [a]", "state", "must be one value"),
    ("missing key", "^state: .*\n", "", None, "state: missing; add this key"),
    ("short hash", "root_hash: ..", "root_hash: ", "root_hash", "must be 32 bytes as lower-case hex"),
    ("wrong hash", "root_hash: ....", "root_hash: 0000", None, "root.note: the first root must be the one that root_hash pins"),
    ("missing root", "^root: .*", "root: nothing.note", None, "nothing.note: no such file; check the path"),
    ("missing folder", "^documents: .*", "documents: nothing", "documents", "cannot be read: No such file"),
    ("missing identity", "^identity: .*", "identity: nothing.pem", "identity", "no such file; check the path"),
    ("a name for an address", "^listen: .*", 'listen: ["localhost:7600"]', "listen", "is not a numeric address with a port"),
    ("impossible port", "^listen: .*", 'listen: ["127.0.0.1:99999"]', "listen", "is not a numeric address with a port"),
    ("not in the roster", "^name: n1", "name: n9", "name", "the roster has no node n9 with role hsm"),
    ("no name", "^name: n1", "name: N1", "name", "is not a name: 1 to 64 of a-z"),
    ("unknown role", "^role: hsm", "role: boss", "role", "is neither hsm nor config"),
    ("a token for role config", "^role: hsm", "role: config", None, "token: role config has no token; remove it"),
    ("no token", "^token:\n  socket: .*\n", "", None, "token: role hsm needs it"),
    ("a key for role hsm", "^token:", "identity_key: a.key\ntoken:", "identity_key", "remove it"),
    ("limit of zero", r"\Z", "limits:\n  connections: 0\n", "limits.connections", "0 is not between 1 and"),
    ("limit in words", r"\Z", "limits:\n  connections: many\n", "limits.connections", "'many' is not a decimal number"),
    ("anchor", "^name: n1", "name: &a n1", None, "anchors .* are refused; write the value out"),
    ("second document", r"\Z", "---\nx: y\n", None, "a second document begins here"),
    ("tab", "^name: n1", "name:\tn1", None, "write plain text without tabs"),
)
TOKEND = (
    ("bad version", "tokend/v1", "tokend/v2", "enfilade", "must be tokend/v1"),
    ("unknown key", "^node:", "colour: blue\nnode:", "colour", "unknown key; see the manual"),
    ("duplicate key", "^(node: n1)", r"node: n1\n\1", "node", "stands here twice; keep one"),
    ("missing key", "^node: .*\n", "", None, "node: missing; add this key"),
    ("missing module", "^module: .*", "module: /nothing.so", "module", "/nothing.so: cannot open"),
    ("not a module", "^module: .*", "module: /usr/lib/x86_64-linux-gnu/libuv.so.1", "module", "is not a PKCS#11 module"),
    ("missing PIN", "^pin_file: pin", "pin_file: nothing", "pin_file", "enfilade-tokend init makes it"),
    ("PIN that others may read", "^pin_file: pin", "pin_file: open-pin", "pin_file", "with mode 0400"),
    ("another PIN", "^pin_file: pin", "pin_file: other-pin", "pin_file", "does not hold the PIN of token enfilade"),
    ("another label", "^token: enfilade", "token: other", None, 'no token has the label "other"; enfilade-tokend init makes it'),
    ("one token for both", "^log_token: .*", "log_token: enfilade", "log_token", "must be another token"),
    ("unknown profile", "^profile: 1", "profile: 7", "profile", "7 is not between 1 and 3"),
    ("profile of another build", "^profile: 1", "profile: 3", "profile", "this tokend has profile 1"),
    ("long socket path", "^socket: .*", "socket: " + "a" * 120, "socket", "longer than 100 bytes"),
    ("socket in no folder", "^socket: .*", "socket: nowhere/x.sock", "socket", "make it"),
    ("no workers", "^workers: 2", "workers: 0", "workers", "0 is not between 1 and 16"),
    ("missing softhsm2.conf", "^softhsm_conf: .*", "softhsm_conf: nothing", "softhsm_conf", "no such file; check the path"),
    ("another identity", "^identity: .*", "identity: ../n2/identity.pem", "identity", "does not belong to key identity of token"),
    ("missing identity", "^identity: .*", "identity: nothing.pem", "identity", "no such file; check the path"),
)
CLIENT = (
    ("bad version", "client/v1", "client/v2", "enfilade", "must be client/v1"),
    ("unknown key", "^root:", "colour: blue\nroot:", "colour", "unknown key; see the manual"),
    ("duplicate key", "^(documents: .*)", r"documents: here\n\1", "documents", "stands here twice; keep one"),
    ("short hash", "root_hash: ..", "root_hash: ", "root_hash", "must be 32 bytes as lower-case hex"),
    ("wrong hash", "root_hash: ....", "root_hash: 0000", None, "root.note: the first root must be the one that root_hash pins"),
    ("missing root", "^root: .*", "root: nothing.note", None, "nothing.note: no such file; check the path"),
    ("missing folder", "^documents: .*", "documents: nothing", None, "nothing: No such file"),
    ("another network", "^network: quick", "network: slow", None, "belongs to network quickstart.example"),
    ("short id", "envelope: ..", "envelope: ", None, "operations: envelope: must be 16 bytes"),
    ("no key", "owner: .*", "owner: bob", None, "owner of 'unlock-db': not a verification key: want name"),
    ("missing certificate", "certificate: .*", "certificate: nothing.pem", None, "nothing.pem: no such file; check the path"),
    ("missing key", "key: .*device.key", "key: nothing.key", None, "nothing.key: No such file"),
    ("unknown attester", "kind: tpm2", "kind: magic", None, "attester: kind: no 'magic' in this build"),
    ("no address", r"\Z", "source: here\n", "source", "is not a numeric IP address"),
    ("no time at all", r"\Z", "deadline_s: 0\n", "deadline_s", "0 is not between 1 and"),
    ("a name for an address", 'address: ".*"', 'address: "nowhere"', None, "'nowhere' is not a numeric address with a port"),
    ("one operation twice", "^config_servers:", f"  - name: unlock-db\n    envelope: {'0' * 32}\n    owner: x\nconfig_servers:", None,
     "'unlock-db' stands there twice"),
)
NET = "quickstart.example"
POLICY, STATUS, ROSTER = (("policy", f"{NET}/policy"), ("status", f"{NET}/status"), ("roster", f"{NET}/roster"))
# (what is wrong, document, pattern, instead, signer or None: not signed again, line named, words)
DOCUMENTS = (
    ("altered after signing", "roster", "west", "East", None, False, "the signature of quickstart.example/roster is wrong"),
    ("not signed", "roster", r"\n\n.*\Z", "\n", None, False, "no empty line between text and signatures"),
    ("signed by another role", "roster", "west", "east", POLICY, False, "0 of the 1 signatures that role roster needs; have more"),
    ("of another network", "roster", f"network: {NET}", "network: other", ROSTER, False, f"belongs to network other, this is {NET}"),
    ("unknown key", "policy-db-policy", "^operations:", "colour: blue\noperations:", POLICY, True, "colour: unknown key; see"),
    ("duplicate key", "policy-db-policy", "^(    need: 2)", r"    need: 2\n\1", POLICY, True, "need: this key stands here twice; keep one"),
    ("a word for a number", "policy-db-policy", "need: 2", "need: two", POLICY, True, r"stages\[1\]\.need: 'two' is not a decimal"),
    ("an impossible PCR", "policy-db-policy", "index: 14", "index: 99", POLICY, True, r"pcrs\[0\]\.index: 99 is not between 0 and 23"),
    ("no time", "status", "^expires: .*", "expires: tomorrow", STATUS, True, "expires: 'tomorrow' is not a time like"),
    ("no document", "inventory", r"\A.*\Z", "hello\n", None, True, "the first line must be"),
    ("too long", "inventory", r"\A.*\Z", "a" * (2 << 20), None, False, "longer than"),
)
# Age is no mistake: the start says it and goes on, and releases stop until a successor comes.
AGED = (
    ("expired", "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z", "has expired; issue a new one"),
    ("from the future", "2099-01-01T00:00:00Z", "2099-01-02T00:00:00Z", "issued in the future; check the clock"),
)


class ConfigTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = world.World("config", start=False)
        cls.n1 = cls.w.net / "nodes/n1"
        for name, mode in (("open-pin", 0o644), ("other-pin", 0o400)):
            (cls.n1 / name).write_text("1" * 64)
            (cls.n1 / name).chmod(mode)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def refused(self, command, words, file=None, line=None):
        """A start that must fail: exit 2 within seconds, one line that names the file (and line) and has these words."""
        done = world.execute(command, self.w.env, 20)
        self.assertEqual(done.code, 2, done.err)
        self.assertEqual(len(done.err.splitlines()), 1, done.err)
        self.assertRegex(done.err, words)
        if file is not None:
            self.assertIn(f"{file}: line {line}: " if line else str(file), done.err)
        return done

    def changed(self, text, pattern, instead):
        """-> the text with one change, and the line of the change"""
        found = re.search(pattern, text, re.MULTILINE | re.DOTALL if r"\A" in pattern or r".*\Z" in pattern else re.MULTILINE)
        self.assertTrue(found, pattern)
        return text[:found.start()] + found.expand(instead) + text[found.end():], text[:found.start()].count("\n") + 1

    def check_table(self, table, original, command):
        """command(file) -> the words of the start; the file stands beside the original."""
        text, file = original.read_text(), original.with_name("case.yaml")
        for what, pattern, instead, field, words in table:
            with self.subTest(what):
                case, line = self.changed(text, pattern, instead)
                file.write_text(case)
                if field is None:
                    self.refused(command(file), words)
                    continue
                named = next(i for i, row in enumerate(case.splitlines(), 1) if i >= line and
                             row.split(":")[0].strip() == field.split(".")[-1])
                if what == "duplicate key":
                    named += 1  # the second of them
                self.refused(command(file), f"{re.escape(field)}: .*{words}", file, named)

    def node(self, file):
        return [world.BIN / "enfilade-node", "run", "--config", file]

    def test_1_node_yaml(self):
        self.check_table(NODE, self.n1 / "node.yaml", self.node)

    def test_1_node_without_a_file(self):
        self.refused(self.node("/no/such.yaml"), "no such file; check the path", "/no/such.yaml")
        check = world.execute([world.BIN / "enfilade-node", "check", "--config", self.n1 / "node.yaml"], self.w.env)
        self.assertEqual(check.code, 0, check.err)

    def test_2_tokend_yaml(self):
        self.check_table(TOKEND, self.n1 / "tokend.yaml", lambda file: [world.BIN / "enfilade-tokend", "run", "--config", file])

    def test_3_client_yaml(self):
        self.check_table(CLIENT, self.w.config(), lambda file: [world.BIN / "enfilade", "run", "unlock-db", "--config", file, "--",
                                                                "true"])

    def sign(self, text, signer):
        file, name = signer
        private = load_pem_private_key((self.w.net / f"keys/{file}.pem").read_bytes(), None)
        return note.sign(text, note.seed_key(note.seed_of(private), name))

    def fresh_folder(self):
        """A node.yaml with an empty state and its own copy of the documents in the folder "case"."""
        for folder in ("case", "case-state"):
            shutil.rmtree(self.n1 / folder, ignore_errors=True)
        shutil.copytree(self.n1 / "documents", self.n1 / "case")
        file = self.n1 / "case.yaml"
        file.write_text((self.n1 / "node.yaml").read_text().replace("documents: documents", "documents: case")
                        .replace("state: ", "state: case-"))
        return file

    def test_4_documents(self):
        for what, name, pattern, instead, signer, has_line, words in DOCUMENTS:
            with self.subTest(what):
                file = self.fresh_folder()
                target = self.n1 / f"case/{name}.note"
                whole = target.read_bytes()
                text = (note.parse(whole)[0] if signer else whole).decode()
                case, line = self.changed(text, pattern, instead)
                if what == "duplicate key":
                    line += 1
                target.write_bytes(self.sign(case.encode(), signer) if signer else case.encode())
                self.refused(self.node(file), words, target, line if has_line else None)

    def test_4_no_roster(self):
        file = self.fresh_folder()
        (self.n1 / "case/roster.note").unlink()
        self.refused(self.node(file), "no roster: put the network's roster into the documents folder")

    def test_4_aged_documents_are_named(self):
        for what, issued, expires, words in AGED:
            with self.subTest(what):
                file, target = self.fresh_folder(), self.n1 / "case/status.note"
                text = note.parse(target.read_bytes())[0].decode()
                text, _ = self.changed(text, "^issued: .*\nexpires: .*", f"issued: {issued}\nexpires: {expires}")
                target.write_bytes(self.sign(text.encode(), STATUS))
                node = subprocess.Popen([str(word) for word in self.node(file)], env=self.w.env, stderr=subprocess.PIPE, text=True)
                try:
                    self.assertRegex(node.stderr.readline(), f"{re.escape(str(target))}: {words}")
                finally:
                    node.terminate()
                    node.communicate(timeout=20)

    def test_5_state_that_others_may_enter(self):
        (self.n1 / "state").mkdir(exist_ok=True)
        (self.n1 / "state").chmod(0o755)
        try:
            self.refused(self.node(self.n1 / "node.yaml"), "state: .*only its owner may enter .chmod 700.", self.n1 / "node.yaml", 6)
        finally:
            (self.n1 / "state").chmod(0o700)

    # with tokens that run

    def start_tokens(self, *nodes):
        self.w.localnet("token-start", *nodes)
        self.addCleanup(self.w.localnet, "token-stop", *nodes)

    def refused_after_start(self, command, words):
        done = world.execute(command, self.w.env, 20)
        self.assertEqual(done.code, 2, done.err)
        last = done.err.splitlines()[-1]
        self.assertRegex(last, words)

    def test_6_port_taken(self):
        self.start_tokens("n1")
        with socket.create_server((self.w.address("n1"), world.PORT)):
            self.refused_after_start(self.node(self.n1 / "node.yaml"), rf"node\.yaml: line 7: listen: {self.w.address('n1')}:7600 is taken "
                                     "by another program; stop it or choose another port")

    def test_6_other_token_than_the_rosters(self):
        self.start_tokens("n2")
        file = self.n1 / "case.yaml"
        file.write_text((self.n1 / "node.yaml").read_text().replace("socket: tokend.sock", "socket: ../n2/tokend.sock"))
        self.refused_after_start(self.node(file), "token's kem is not what the roster has for n1: another token, or an old roster")

    def test_7_a_good_configuration_starts(self):
        self.w.localnet("start", "n1")
        self.w.localnet("stop", "n1")
        self.assertEqual(os.listdir(self.w.tmp), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
