#!/usr/bin/python3
# walk_test: the job, its refusals and its failures, as a newcomer and an operator see them, with the real processes.
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import world  # noqa: E402  (the path must be set first)
from enfilade_ref import th, transcript, tree  # noqa: E402

ROWS = "1|Ada|0-\n2|Grace|A+\n3|Edsger|B+\n"
NEED = {"gate": 1, "vault": 2, "final": 1}
MEMBERS = {"gate": ["n1", "n2"], "vault": ["n3", "n4", "n5"], "final": ["n6", "n7"]}


class WalkTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = world.World("walk")

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def opens(self, **how):
        """A walk that must open the database. -> (Result, report)"""
        done, report = self.w.walk(command=self.w.show_db(), **how)
        self.assertEqual((done.code, done.out), (0, ROWS), done.err)
        return done, report

    def granted(self, report):
        return {v["node"] for v in report["walk"]["visits"] if v["result"] == "ok"}

    # ---- the job

    def test_01_job_prints_rows_and_a_table(self):
        done, report = self.opens(options=["--table"])
        rows = [line.split() for line in done.err.splitlines()[1:]]
        self.assertEqual(len(rows), 4, done.err)
        for stage, slot, node, factors, ms, entry in rows:
            self.assertEqual(MEMBERS[stage][int(slot) - 1], node)
            self.assertTrue({"device", "evidence:tpm2"} <= set(factors.split(",")), factors)
            self.assertGreater(float(ms), 0)
            shown = json.loads(self.w.enfilade("audit", "show", node, "--from", entry, "--count", "1", "--json").out)
            self.assertEqual((shown[0]["type"], shown[0]["index"]), ("grant", int(entry)))
        self.assertEqual({stage: sum(r[0] == stage for r in rows) for stage in NEED}, NEED)
        self.assertEqual(report["result"], "ok")

    def judge(self, path, secret):
        return world.execute([world.TOP / "tests/check_quickstart", path, "--secret", "/dev/stdin"], self.w.env, stdin=secret)

    def test_02_another_implementation_judges_it(self):
        done, report = self.w.walk()
        secret = done.out.encode()
        path = self.w.transcript(report)
        judged = self.judge(path, secret)
        self.assertEqual(judged.code, 0, judged.err)
        self.assertRegex(judged.out, r"links: 4 bodies")
        self.assertRegex(judged.out, r"secret: hash equal")
        # and it can say no: to another secret, a changed link, receipt, sid, and a log that lacks a bit
        self.assertEqual(self.judge(path, b"x" + secret[1:]).code, 1)
        good = json.loads(path.read_text())
        first = next(v for v in good["walk"]["visits"] if v["result"] == "ok")
        for change in ("link_body", "entry", "receipt"):
            text, at = first[change], len(first[change]) // 2
            first[change] = text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:]
            path.write_text(json.dumps(good))
            self.assertEqual(self.judge(path, secret).code, 1, f"{change} was changed")
            first[change] = text
        path.write_text(json.dumps(good))
        self.assertEqual(self.judge(path, secret).code, 0, "restored")
        tile = next((path.parent / good["tiles"]["n4"]).glob("tile/entries/000.p/*"))
        data = bytearray(tile.read_bytes())
        data[-1] ^= 1
        tile.write_bytes(data)
        self.assertEqual(self.judge(path, secret).code, 1, "a bit of n4's log was flipped")

    # ---- refusals

    def check_refusal(self, code, stage, factor, expected, actual, config="client", operation="unlock-db"):
        done, report = self.w.walk(operation, config)
        self.assertEqual((done.code, done.out), (3, ""), done.err)
        self.assertEqual(report["result"], code)
        failures = [f for f in report["failures"] if f["code"] == code]
        self.assertEqual({f["stage"] for f in failures}, {stage})
        self.assertEqual(sorted(world.denial_ids(done.err)), sorted(f["denial_id"] for f in failures), done.err)
        failure = failures[0]
        told = self.w.explain(failure["denial_id"])
        self.assertEqual((told["node"], told["code"]), (failure["node"], code))
        unmet = [f for f in told["factors"] if not f["met"]]
        self.assertEqual(unmet[0]["name"], factor)
        self.assertRegex(unmet[0]["expected"], expected)
        self.assertRegex(unmet[0]["actual"], actual)
        text = self.w.enfilade("audit", "explain", failure["denial_id"]).out
        self.assertRegex(text, f"factor {factor}: NOT MET; expected .*, got ")
        entry = json.loads(self.w.enfilade("audit", "show", told["node"], "--from", str(told["entry_index"]), "--count", "1",
                                           "--json").out)[0]
        self.assertEqual((entry["type"], entry["code"]), ("deny", code))
        plain = self.w.enfilade("run", operation, "--json", "--", "cat", config=config)
        self.assertEqual((plain.code, json.loads(plain.err)["error"]), (3, code))

    def test_03_refused_changed_pcr(self):
        self.w.measure("ab" * 32)
        try:
            self.check_refusal("evidence", "gate", "evidence:tpm2", r"PCR 14 .*[0-9a-f]{8}", r"[0-9a-f]{8}")
        finally:
            self.w.reboot_tpm()
        self.opens()

    def test_03_refused_unenrolled_device(self):
        self.check_refusal("device", "gate", "device", "a device of the inventory", "key [0-9a-f]{64}", config="stranger")

    def test_03_refused_address_outside_cidr(self):
        self.check_refusal("network", "gate", "network", re.escape(f"{self.w.subnet}.0/24"), r"127\.99\.99\.99",
                           config="elsewhere")

    def test_03_refused_closed_time_window(self):
        self.check_refusal("time", "vault", "time", r"\d\d:00 to \d\d:00 UTC", r"[a-z]{3} \d\d:\d\d UTC", config="night",
                           operation="unlock-db-night")

    def test_03_explain_of_an_unknown_denial(self):
        done = self.w.enfilade("audit", "explain", "00" * 16)
        self.assertEqual(done.code, 2, done.err)
        self.assertIn("no node of this host knows that denial", done.err)

    # ---- nodes fail

    def test_04_nodes_killed(self):
        try:
            self.w.localnet("kill", "n1", "n3")
            _, report = self.opens()
            self.assertEqual(self.granted(report), {"n2", "n4", "n5", "n6"})
            self.w.localnet("kill", "n4")
            done, report = self.w.walk()
            self.assertEqual((done.code, done.out), (4, ""), done.err)
            self.assertLess(done.seconds, 5)
            last = done.err.splitlines()[-1]
            self.assertIn("stage vault: 1 of 2 members", last)
            self.assertRegex(last, r"n3: .*n4: ")
            self.assertEqual({f["node"] for f in report["failures"] if f["stage"] == "vault"}, {"n3", "n4"})
        finally:
            self.w.localnet("start")
        _, report = self.opens()
        self.assertEqual(self.granted(report), {"n1", "n3", "n4", "n6"})

    def test_04_node_that_is_silent(self):
        self.w.localnet("kill", "n3")
        silent = self.w.pid("n4")
        self.w.freeze([silent])
        try:
            done, report = self.w.walk()
            self.assertEqual((done.code, done.out), (4, ""), done.err)
            self.assertLess(done.seconds, 5.5)
            self.assertIn("stage vault: 1 of 2 members", done.err.splitlines()[-1])
            self.assertEqual({f["node"] for f in report["failures"] if f["stage"] == "vault"}, {"n3", "n4"})
        finally:
            self.w.thaw([silent])
            self.w.localnet("start", "n3")
        self.opens()

    # ---- ledgers

    def test_05_an_altered_ledger_is_named(self):
        clean = self.w.enfilade("audit", "verify")
        self.assertEqual(clean.code, 0, clean.out + clean.err)
        for node in world.HSM:
            self.assertRegex(clean.out, rf"(?m)^{node}: ok, \d+ entries$")
        self.w.localnet("stop", "n5")
        flip = [world.FLIP, self.w.state("n5"), "2"]
        flipped = world.execute(flip)
        self.assertEqual(flipped.code, 0, flipped.err)
        before, after = (re.search(rf"entry 2 {when} ([0-9a-f]{{64}})", flipped.out)[1] for when in ("before", "after"))
        try:
            found = self.w.enfilade("audit", "verify")
            self.assertEqual(found.code, 5, found.out + found.err)
            self.assertIn(f"n5: ALTERED: entry 2: stored hash {before}, recomputed {after}", found.out)
            self.assertEqual(len(re.findall(r"(?m)^n\d: ok", found.out)), 6)
            row = [r for r in json.loads(self.w.enfilade("audit", "verify", "--json").out) if r["node"] == "n5"][0]
            self.assertEqual((row["index"], row["stored"], row["recomputed"]), (2, before, after))
            self.w.localnet("token-start", "n5")
            started = world.execute([world.BIN / "enfilade-node", "run", "--config", self.w.net / "nodes/n5/node.yaml"],
                                    self.w.env, 15)
            self.assertEqual(started.code, 5, started.err)
            self.assertRegex(started.err, r"entry 2\b")
        finally:
            world.execute(flip)  # the same bit once more
            self.w.localnet("start", "n5")
        self.assertEqual(self.w.enfilade("audit", "verify").code, 0)

    # ---- the token goes and comes

    def test_06_token_away(self):
        lines = {node: world.Line(self.w, node) for node in ("n1", "n6")}
        status = {node: line.ask_status_document() for node, line in lines.items()}
        heard = {node: len(self.w.log(node)) for node in lines}
        self.w.localnet("token-stop")
        try:
            done, report = self.w.walk()
            self.assertEqual((done.code, done.out), (4, ""), done.err)
            self.assertEqual(report["result"], "unavailable")
            self.assertEqual({(f["node"], f["code"]) for f in report["failures"]}, {("n1", "token"), ("n2", "token")})
            self.assertEqual(self.w.enfilade("network", "status").code, 4)
            for node, line in lines.items():
                self.assertEqual(line.ask_status_document(), status[node])
        finally:
            self.w.localnet("token-start")
        world.until(lambda: self.w.walk(command=self.w.show_db())[0].code == 0, 10, "the walk opens again")
        for node, line in lines.items():
            self.assertEqual(line.ask_status_document(), status[node], "the same connection as before")
            self.assertNotIn("closed", self.w.log(node)[heard[node]:].replace("the node closed", ""))
            line.close()
        world.until(lambda: self.w.enfilade("network", "status").code == 0, 10, "every node has its token again")
        self.assertEqual(self.w.enfilade("audit", "verify").code, 0)

    # ---- stopping and starting

    def test_07_sigterm_drains(self):
        workers = world.children(self.w.pid("n6", "tokend"))
        node = self.w.pid("n6")
        challenges = self.w.status()["n6"]["counters"]["challenges"]
        self.w.localnet("stop", "n7")
        self.w.freeze(workers)
        walk = subprocess.Popen([world.BIN / "enfilade", "run", "unlock-db", "--config", self.w.config(), "--",
                                 *self.w.show_db()], env=self.w.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            world.until(lambda: self.w.status()["n6"]["counters"]["challenges"] > challenges, 10, "n6 challenged the walk")
            os.kill(node, signal.SIGTERM)
            world.until(lambda: self.refuses_connections("n6"), 5, "n6 takes no new connections")
            self.assertIsNone(walk.poll(), "the walk is still under way")
            self.assertTrue(self.w.running("n6"), "n6 waits for it")
        finally:
            self.w.thaw(workers)
        out, err = walk.communicate(timeout=20)
        self.assertEqual((walk.returncode, out), (0, ROWS), err)
        world.until(lambda: not self.w.running("n6"), 10, "n6 ended")
        self.assertIn("stopping: asked to", self.w.log("n6"))
        self.w.localnet("start", "n6", "n7")
        self.opens()

    def refuses_connections(self, node):
        try:
            socket.create_connection((self.w.address(node), world.PORT), 1).close()
            return False
        except OSError:
            return True

    def exported(self, node, folder):
        """The node's log, exported and recomputed by the other implementation."""
        target = self.w.tmp / folder / node
        target.parent.mkdir(exist_ok=True)
        done = self.w.enfilade("audit", "export", node, target)
        self.assertEqual(done.code, 0, done.err)
        roster = self.w.document("roster")
        return tree.Export(str(target), next(n["log"] for n in roster["nodes"] if n["name"] == node))

    def test_08_restart_loses_nothing(self):
        _, report = self.opens()
        head = {node: (row["tree_size"], row["root_hash"]) for node, row in self.w.status().items() if node != "c1"}
        self.w.localnet("stop")
        try:
            for node in world.HSM:
                stopped = self.exported(node, "stopped")
                self.assertEqual((stopped.checkpoint.size, stopped.checkpoint.root.hex()), head[node])
        finally:
            self.w.localnet("start")
        self.opens()
        for node in world.HSM:
            later = self.exported(node, "later")
            self.assertGreater(later.checkpoint.size, head[node][0])
            self.assertEqual(later.root_at(head[node][0]).hex(), head[node][1], f"{node}: the old log is a prefix of the new")
        path = self.w.transcript(report)  # the walk from before, its receipts against the logs of now
        judged = transcript.verify(path)
        self.assertTrue(any("granted entries found in place" in line for line in judged), judged)
        # and the comparison can fail: a receipt of another history
        self.assertNotEqual(later.root_at(head[node][0] - 1).hex(), head[node][1])

    # ---- exit codes

    def test_09_exit_codes(self):
        w, denied = self.w, ["run", "unlock-db"]
        table = (
            ("the command's own", 7, "", w.enfilade(*denied, "--", "sh", "-c", "exit 7")),
            ("killed by a signal", 128 + 9, "", w.enfilade(*denied, "--", "sh", "-c", "kill -9 $$")),
            ("not executable", 126, "cannot run", w.enfilade(*denied, "--", w.config())),
            ("no such command", 127, "cannot run", w.enfilade(*denied, "--", "/no/such/command")),
            ("no such configuration", 2, "no such file", w.enfilade(*denied, "--config", "/no/such", "--", "cat", config=None)),
            ("no command", 2, "--help", w.enfilade(*denied)),
            ("no such option", 2, "unknown option", w.enfilade(*denied, "--bogus", "--", "cat")),
            ("no such verb", 2, "", w.enfilade("bogus", config=None)),
            ("nothing", 2, "", w.enfilade(config=None)),
            ("no such operation", 2, "lock-db", w.enfilade("run", "lock-db", "--", "cat")),
            ("no such chain file", 2, "no such file", w.enfilade(*denied, "--chain", "/no/such", "--", "cat")),
            ("help", 0, "", w.enfilade("--help", config=None)),
            ("version", 0, "", w.enfilade("--version", config=None)),
            ("help of a verb", 0, "", w.enfilade("run", "--help", config=None)),
        )
        for what, code, words, done in table:
            with self.subTest(what):
                self.assertEqual(done.code, code, done.err)
                self.assertIn(words, done.err)
                self.assertLessEqual(len(done.err.splitlines()), 60 if code == 2 else 4)

    # ---- where the secret is, and where it is not

    def test_10_secret_in_no_arguments_environment_or_file(self):
        secret, _ = self.w.walk()
        key = secret.out.strip().encode()
        self.assertEqual(th.sha256(secret.out.encode()).hex(), (self.w.dir / "secret.sha256").read_text().strip())
        needles = {"hex": key, "raw": bytes.fromhex(key.decode())}
        hold, mark = self.w.tmp / "hold", self.w.tmp / "mark"
        os.mkfifo(hold)
        script = 'IFS= read -r key <&3; : >"$1"; read -r go <"$2"; printf %s "${#key}"'
        walk = subprocess.Popen([world.BIN / "enfilade", "run", "unlock-db", "--config", self.w.config(), "--", "bash", "-c", script,
                                 "held", mark, hold], env=self.w.env, stdout=subprocess.PIPE, text=True)
        canary = subprocess.Popen(["sleep", "100"], env={"CANARY": "in-the-environment"})
        try:
            world.until(mark.exists, 10, "the command has the secret")
            self.assertEqual(self.seen_in_processes({"argument": b"sleep\x00100", "environment": b"in-the-environment"}),
                             {"argument", "environment"}, "the search finds what is there")
            self.assertEqual(self.seen_in_processes(needles), set())
            holder = world.children(walk.pid)[0]
            self.assertIn("hex", world.memory_find(holder, needles), "the command itself holds it")
            self.assertEqual(world.memory_find(walk.pid, needles), set(), "enfilade has wiped it by now")
        finally:
            canary.kill()
            canary.wait()
            hold.write_text("go\n")
        self.assertEqual(walk.communicate(timeout=10)[0], "64")
        self.assertEqual(world.files_find(self.w.dir, needles), [])
        planted = self.w.tmp / "planted"
        planted.write_bytes(b"x" + needles["raw"] + key)
        self.assertEqual(sorted(world.files_find(self.w.dir, needles)), [(str(planted), "hex"), (str(planted), "raw")])
        planted.unlink()

    def seen_in_processes(self, needles):
        found = set()
        for file in [*pathlib.Path("/proc").glob("[0-9]*/cmdline"), *pathlib.Path("/proc").glob("[0-9]*/environ")]:
            try:
                data = file.read_bytes()
            except OSError:
                continue  # it ended, or is not ours to read
            found |= {label for label, needle in needles.items() if needle in data}
        return found


if __name__ == "__main__":
    unittest.main(verbosity=2)
