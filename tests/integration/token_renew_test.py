#!/usr/bin/python3
# token_renew_test: tokend's workers leave, crash, meet another PIN and a token that is away: what does a workload notice?
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import world  # noqa: E402  (the path must be set first)
import books  # noqa: E402
import load  # noqa: E402

FACTORS = ["device: enrolled"]
REQUESTS = 25  # a worker answers before it leaves; 4000 is what the configuration has by default
WORKERS = 2
AWAY = ("token", "deadline")  # no tokend; a tokend whose workers cannot log in
HONEST = {"lose": 0, "repeat": 0}


class TokenRenewTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w, cls.visits = world.World("renew", start=False), []
        try:
            load.add_operation(cls.w, FACTORS)
            load.raise_limits(cls.w, begins_per_minute=1000000)
            for file in cls.w.net.glob("nodes/*/tokend.yaml"):
                file.write_text(file.read_text() + f"requests: {REQUESTS}\n")
            cls.w.localnet("start")
        except BaseException:
            cls.w.close()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def setUp(self):
        self.nodes = {node: self.w.pid(node) for node in world.HSM}
        self.line = world.Line(self.w, "n1")
        self.text = self.line.ask_status_document()
        self.closings = self.w.log("n1").count("closed")

    def tearDown(self):
        self.assertEqual({node: self.w.pid(node) for node in world.HSM}, self.nodes, "no node was started again")
        self.assertTrue(all(self.w.running(node) for node in world.HSM))
        self.assertEqual(self.line.ask_status_document(), self.text, "the same connection as before")
        self.line.close()

    def load(self, name, kind=load.FirstDoors, clients=3):
        return load.Load(self.w, clients, name, kind, **HONEST)

    def nothing_noticed(self, running):
        self.visits.extend(running.visits)
        self.assertEqual((running.counts["retries"], running.counts["refused"]), (0, {}), load.counts_text(running.counts))
        self.assertEqual([len(seen["answers"]) for seen in running.visits if len(seen["answers"]) != 1], [])

    def workers(self, node):
        return set(world.children(self.w.pid(node, "tokend")))

    def tokend_log(self, node, since=0):
        return self.w.log(node, "tokend")[since:]

    def answers(self, node="n1", slot=1):
        """Is a first door open? -> "ok", or the code of the denial"""
        worker = load.Worker(self.w, 9, "answers", self.w.tmp / "unused", lose=0, repeat=0)
        session = worker.new_session()
        try:
            session.visit(node, 1, slot)
            return "ok"
        except load.Denied as error:
            return error.code

    # ---- workers leave and crash

    def test_1_workers_leave_under_load(self):
        seen = {"n1": set(), "n3": set()}
        with self.load("leave", load.Worker, 4) as running:
            def enough():
                running.alive()
                for node, pids in seen.items():
                    pids.update(self.workers(node))
                return all(len(pids) >= 8 for pids in seen.values())
            world.until(enough, 60, "many workers have come and gone")
        print(f"workers seen {({node: len(pids) for node, pids in seen.items()})}; {load.counts_text(running.counts)}", flush=True)
        self.nothing_noticed(running)

    def test_2_workers_crash_under_load(self):
        """Each is killed just after a client has asked for an answer, when one of the two holds a request."""
        chance = random.Random(7)
        with self.load("crash") as running:
            for _ in range(32):
                running.alive()
                node = chance.choice(("n1", "n2"))
                pid = chance.choice(world.until(lambda n=node: sorted(self.workers(n)), 10, "a worker"))
                load.aim(self.w, node, pid, chance.uniform(0, 0.003))
                world.until(lambda p=pid: not world.is_alive(p), 10, "a client came by")
                world.until(lambda n=node: len(self.workers(n)) == WORKERS, 10, "another worker")
        died = sum(len(re.findall(r"worker \d+ died \(signal 9\)", self.tokend_log(node))) for node in ("n1", "n2"))
        print(f"crashed {died}; {load.counts_text(running.counts)}", flush=True)
        self.assertGreaterEqual(died, 20)
        self.nothing_noticed(running)

    # ---- another PIN

    def pin(self, node):
        return self.w.net / "nodes" / node / "pin"

    def change_pin(self, node):
        """As node/token/README.md tells the operator to. -> the PIN before"""
        old = self.pin(node).read_text()
        done = world.execute([world.BIN / "enfilade-tokend", "pin", "--config", self.w.net / "nodes" / node / "tokend.yaml"], self.w.env)
        self.assertEqual(done.code, 0, done.err)
        new = self.pin(node).read_text()
        self.assertRegex(new, "^[0-9a-f]{64}$")
        self.assertNotEqual(new, old)
        self.assertEqual([path.name for path in self.pin(node).parent.glob("pin*")], ["pin"])
        return old

    def put_pin(self, node, text):
        draft = self.pin(node).with_name("draft")
        draft.write_text(text)
        draft.chmod(0o400)
        draft.rename(self.pin(node))

    def kill_workers(self, node):
        for pid in self.workers(node):
            os.kill(pid, signal.SIGKILL)

    def test_3_pin_changed_under_load(self):
        before, seen = self.workers("n1"), set()
        with self.load("pin") as running:
            self.change_pin("n1")

            def renewed():
                running.alive()
                seen.update(self.workers("n1") - before)
                return len(seen) >= 6
            world.until(renewed, 60, "workers with the new PIN have come and gone")
        self.nothing_noticed(running)

    def test_4_pin_changed_and_its_file_not(self):
        since, old = len(self.tokend_log("n1")), self.change_pin("n1")
        new = self.pin("n1").read_text()
        self.put_pin("n1", old)
        self.kill_workers("n1")
        self.assertIn(self.answers(), AWAY)
        world.until(lambda: len(re.findall("not tried again", self.tokend_log("n1", since))) >= 3, 20, "tokend says what it waits for")
        tried = len(re.findall("does not hold the PIN", self.tokend_log("n1", since)))
        self.assertTrue(1 <= tried <= WORKERS, f"the wrong PIN was tried {tried} times: real tokens lock themselves")
        self.assertEqual(self.answers("n2", 2), "ok")
        # a tokend that is started with it says so and ends; the node goes on
        self.w.localnet("token-stop", "n1")
        with self.assertRaisesRegex(AssertionError, r"pin_file: \S+ does not hold the PIN of token enfilade"):
            self.w.localnet("token-start", "n1")
        self.assertEqual(self.answers(), "token")
        self.put_pin("n1", new)
        self.w.localnet("token-start", "n1")
        world.until(lambda: self.answers() == "ok", 20, "n1 opens again")
        # while tokend runs, the right file alone is enough
        self.put_pin("n1", old)
        self.kill_workers("n1")
        self.assertIn(self.answers(), AWAY)
        self.put_pin("n1", new)
        world.until(lambda: self.answers() == "ok", 20, "n1 opens again")

    def test_4_a_change_of_pin_that_was_cut_off(self):
        """Between the tokens and the file, and before the tokens: the same command finishes it."""
        old = self.change_pin("n1")
        new = self.pin("n1")
        new.rename(new.with_name("pin.new"))
        self.put_pin("n1", old)
        self.change_pin("n1")
        (new.with_name("pin.new")).write_text("c" * 64)
        new.with_name("pin.new").chmod(0o400)
        self.change_pin("n1")
        self.assertEqual(self.pin("n1").read_text(), "c" * 64)
        self.kill_workers("n1")
        world.until(lambda: self.answers() == "ok", 20, "n1 opens with it")

    # ---- the token is away

    def test_5_token_away_and_back(self):
        home = self.w.net / "nodes/n1"
        since = len(self.tokend_log("n1"))
        tokend = self.w.pid("n1", "tokend")
        shutil.move(home / "tokens", home / "tokens.away")
        try:
            self.kill_workers("n1")
            self.assertIn(self.answers(), AWAY)
            self.assertEqual(self.answers("n2", 2), "ok")
            self.assertIn("tokens", self.tokend_log("n1", since))
            self.assertEqual(self.line.ask_status_document(), self.text)
        finally:
            shutil.move(home / "tokens.away", home / "tokens")
        world.until(lambda: self.answers() == "ok", 20, "n1 opens again")
        self.assertEqual(self.w.pid("n1", "tokend"), tokend)

    def test_6_the_books_agree(self):
        self.assertEqual(self.w.enfilade("audit", "verify").code, 0)
        wrong = books.judge(books.read(self.w), self.visits)
        self.assertEqual([text for text in wrong if "nobody made" not in text], [])  # answers() keeps no notes


if __name__ == "__main__":
    unittest.main(verbosity=2)
