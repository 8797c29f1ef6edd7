#!/usr/bin/python3
# secrets_test: who holds what: PIN and PKCS#11 module in tokend alone, shares and keys in no node's memory, state or log.
import base64
import os
import pathlib
import re
import signal
import subprocess
import sys
import unittest
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import world  # noqa: E402  (the path must be set first)
from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: E402
from enfilade_ref import documents, envelope, note, shamir, walk  # noqa: E402

STAGES = (("gate", 1, ("n1", "n2")), ("vault", 2, ("n3", "n4", "n5")), ("final", 1, ("n6", "n7")))
DAY_MS = 86400000


class SecretsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = world.World("secrets")

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def named(self, kind):
        """{pid: name} of one kind: node, tokend (masters) or worker"""
        found = {pid: name for pid, name in self.w.processes().items() if name.endswith("." + kind)}
        self.assertGreaterEqual(len(found), 8 if kind == "node" else 7)
        return found

    # ---- the module

    def test_1_only_the_workers_of_tokend_map_the_module(self):
        self.w.walk()
        holders = {name for pid, name in self.w.processes().items()
                   if any("softhsm" in row[4] or "p11" in row[4] for row in world.maps(pid))}
        module = {name for pid, name in self.w.processes().items() if any("libsofthsm2" in row[4] for row in world.maps(pid))}
        self.assertEqual(module, {f"{node}.worker" for node in world.HSM})
        self.assertEqual({name.split(".")[1] for name in holders}, {"tokend", "worker"}, "no node has even libp11")

    # ---- the PIN

    def test_2_the_pin_is_in_tokend_and_in_no_node(self):
        node = "n7"
        file = self.w.net / "nodes" / node / "pin"
        text = file.read_bytes()
        self.assertRegex(text, rb"\A[0-9a-f]{64}\Z")
        needles = {"text": text, "raw": bytes.fromhex(text.decode())}
        self.w.localnet("token-stop", node)
        # tokend wipes the PIN as soon as it has logged in: each read of the file is made to return late, so that it can be seen
        tracer = subprocess.Popen(["strace", "-f", "-o", str(self.w.tmp / "pin-trace"), "-P", str(file), "-e", "trace=read", "-e",
                                   "inject=read:delay_exit=1500000", str(world.BIN / "enfilade-tokend"), "run", "--config",
                                   str(self.w.net / "nodes" / node / "tokend.yaml")], env=self.w.env, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        try:
            master = world.until(lambda: world.children(tracer.pid), 10, "tokend runs")[0]
            holders = world.until(lambda: [pid for pid in world.children(master) if self.holds(pid, needles)], 15,
                                  "a worker of tokend holds the PIN")
            self.assertEqual(world.memory_find(holders[0], needles), {"text"})
            for pid, name in self.named("node").items():
                self.assertEqual(world.memory_find(pid, needles), set(), name)
            self.assertEqual(world.memory_find(master, needles), set(), "the master never reads it")
        finally:
            for pid in world.children(tracer.pid):
                os.kill(pid, signal.SIGTERM)
            tracer.wait(20)
        self.w.localnet("token-start", node)
        world.until(lambda: self.w.token_is_well(node), 10, "the token is back")
        self.assertEqual(self.w.walk()[0].code, 0)
        for pid, name in {**self.named("node"), **self.named("worker"), **self.named("tokend")}.items():
            self.assertEqual(world.memory_find(pid, needles), set(), f"{name}: wiped after the login")

    def holds(self, pid, needles):
        try:
            return world.memory_find(pid, needles)
        except OSError:
            return False  # it ended meanwhile

    # ---- shares and keys

    def seal(self):
        """An envelope of the test's own, so that the test knows what no node may. -> (id, {label: secret}, its document)"""
        owner_line = re.search(r"owner: (\S+)", self.w.config().read_text())[1]
        key = note.vkey_read(owner_line)
        private = load_pem_private_key((self.w.net / "keys/owner-dba.pem").read_bytes(), None)
        policy, roster = self.w.document("policy-db-policy"), self.w.document("roster")
        nodes = {n["name"]: n for n in roster["nodes"]}
        stages = [{"name": name, "need": need, "members": [
            {"slot": slot, "node": n, "profile": nodes[n]["profile"], "seal": nodes[n]["seal"]} for slot, n in enumerate(members, 1)]}
            for name, need, members in STAGES]
        secrets, split, envelope_id, plain = {}, shamir.split, os.urandom(16), os.urandom(32)

        def watched(secret, need, slots, coefficients):
            stage = STAGES[len([label for label in secrets if label.startswith("secret")])]
            shares = split(secret, need, slots, coefficients)
            secrets[f"secret of {stage[0]}"] = secret
            secrets.update({f"share of {stage[2][slot - 1]}": share for slot, share in shares.items()})
            return shares
        with mock.patch.object(shamir, "split", watched):
            text, _ = envelope.make(os.urandom, policy["network"], (private, key), policy, "unlock-db", envelope_id, 1, stages,
                                    plain, policy["issued"], policy["issued"] + 30 * DAY_MS)
        dek = walk.dek(envelope_id, 1, [secrets[f"secret of {stage[0]}"] for stage in STAGES])
        secrets.update({"data key": dek, "payload key": walk.payload_key(dek), "the secret itself": plain})
        (self.w.net / f"client/documents/envelope-{envelope_id.hex()}.note").write_bytes(text)
        config = self.w.config().read_text()
        self.w.config("own").write_text(re.sub(r"envelope: [0-9a-f]{32}", f"envelope: {envelope_id.hex()}", config))
        return secrets, documents.verify(text, self.w.document("root"), [policy])

    def open(self, plain, avoid):
        chain = self.w.tmp / "own.chain"
        made = self.w.enfilade("chain", "generate", "--offline", "--operation", "unlock-db", "--out", chain,
                               *[word for node in avoid for word in ("--avoid", node)], config="own")
        self.assertEqual(made.code, 0, made.err)
        done, report = self.w.walk(config="own", options=["--chain", chain], command=["sh", "-c", "od -An -v -tx1 <&3"])
        self.assertEqual((done.code, bytes.fromhex(done.out)), (0, plain), done.err)
        return {visit["node"] for visit in report["walk"]["visits"] if visit["result"] == "ok"}

    def test_3_shares_and_keys_in_no_node(self):
        secrets, sealed = self.seal()
        visited = self.open(secrets["the secret itself"], ()) | self.open(secrets["the secret itself"], ("n1", "n4", "n6"))
        self.assertEqual(visited, set(world.HSM))
        self.assertEqual(len(secrets), 3 + 7 + 3)
        needles = {spelling: data for label, secret in secrets.items() for spelling, data in world.spellings(label, secret).items()}
        blobs = {f"sealed share of {m['node']}": m["sealed"] for stage in sealed["stages"] for m in stage["members"]}
        for pid, name in self.named("node").items():
            with self.subTest(name):
                found = world.memory_find(pid, {**needles, **blobs})
                self.assertEqual(found, set() if name.startswith("c1.") else set(blobs), "sealed shares, and nothing that they hold")
        for pid, name in self.named("tokend").items():
            self.assertEqual(world.memory_find(pid, needles), set(), name)
        # disks: state folders, logs, the client's own folders too
        self.assertEqual(world.files_find(self.w.dir, needles), [])
        written = {label: base64.b64encode(blob) for label, blob in blobs.items()}
        for node in world.HSM:
            found = {label for _, label in world.files_find(self.w.state(node), written)}
            self.assertEqual(found, set(blobs), "the search finds the sealed shares in every store")

    def test_4_the_search_finds_what_is_there(self):
        canary = os.urandom(32)
        script = "import sys; key = bytes.fromhex(sys.stdin.readline().strip()); print('holding', flush=True); sys.stdin.readline()"
        holder = subprocess.Popen(["/usr/bin/python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            holder.stdin.write(canary.hex() + "\n")
            holder.stdin.flush()
            self.assertEqual(holder.stdout.readline(), "holding\n")
            other = os.urandom(32)
            self.assertEqual(world.memory_find(holder.pid, {"canary": canary, "other": other}), {"canary"})
        finally:
            holder.stdin.close()
            holder.wait(10)
            holder.stdout.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
