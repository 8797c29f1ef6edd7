#!/usr/bin/python3
# storage_test: every write and sync of a real node's store fails in turn: no grant leaves, no invalid tree, clean after a restart.
import mmap
import os
import pathlib
import struct
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import world  # noqa: E402  (the path must be set first)
import books  # noqa: E402
import load  # noqa: E402
from enfilade_ref import wire  # noqa: E402
from enfilade_ref.walk import walk_id  # noqa: E402

FAILIO = os.environ.get("ENFILADE_FAILIO_LIBRARY")
HOW = {"EIO": 1, "ENOSPC": 2, "short write": 3, "failed sync": 4, "meta page": 5}
EVER = 1 << 31
FACTORS = ["device: enrolled"]
NODE = "n1"


class Order:
    """The page that tests/integration/failio.c reads: how, skip, count, and what it counted."""

    def __init__(self, path):
        path.write_bytes(bytes(4096))
        with open(path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 4096)

    def set(self, how=0, skip=0, count=0):
        self.page[0:4] = struct.pack("<I", 0)
        self.page[4:24] = struct.pack("<5I", skip, count, 0, 0, 0)
        self.page[0:4] = struct.pack("<I", how)

    @property
    def counted(self):
        """writes, syncs, failed"""
        return struct.unpack("<3I", self.page[12:24])


class StorageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        assert FAILIO, "ENFILADE_FAILIO_LIBRARY names the library that fails storage calls"
        cls.w, cls.visits = world.World("storage", start=False), []
        try:
            load.add_operation(cls.w, FACTORS)
            load.raise_limits(cls.w, begins_per_minute=1000000)
            cls.order = Order(cls.w.tmp / "order")
            cls.failing = {"LD_PRELOAD": FAILIO, "ENFILADE_FAILIO": str(cls.w.tmp / "order"),
                           "ENFILADE_FAILIO_STORE": str(cls.w.state(NODE) / "store/data.mdb")}
            cls.w.localnet("start", "c1", "n2", "n3", "n4", "n5", "n6", "n7")
            cls.w.localnet("token-start", NODE)
            cls.start()
            cls.client = load.Worker(cls.w, 0, "storage", cls.w.tmp / "unused", lose=0, repeat=0)
            cls.attempt(cls.session())
        except BaseException:
            cls.w.close()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    @classmethod
    def start(cls):
        cls.w.localnet("start", NODE, env=cls.failing)

    @classmethod
    def session(cls):
        """-> (session, what is noted of it)"""
        session = cls.client.new_session()
        seen = {"node": NODE, "walk_id": walk_id(session.sid), "attests": 0, "lost": 0, "answers": [], "receipts": []}
        cls.visits.append(seen)
        return session, seen

    @classmethod
    def attempt(cls, pair):
        """Knocks once. -> "answer", the code of a denial, or "closed" """
        session, seen = pair
        session.visits.clear()
        try:
            release = cls.client.ask(session, NODE, 1, 1, seen)
        except load.Denied as error:
            return error.code
        except (load.Again, wire.Closed, OSError):
            return "closed"
        cls.client.note(session, NODE, 1, 1, seen, release)
        return "answer"

    def calls_of_a_grant(self):
        """(writes, syncs) from the request to the answer and a little on (the checkpoint is written down after the answer)."""
        self.order.set()
        for _ in range(3):
            self.assertEqual(self.attempt(self.session()), "answer")
        world.until(self.settled, 5, "the checkpoint is written")
        writes, syncs, _ = self.order.counted
        return -(-writes // 3), -(-syncs // 3)

    def settled(self):
        """Nothing was written for longer than the node's tick, by which it writes down the last checkpoint."""
        before = self.order.counted
        world.time.sleep(0.3)
        return self.order.counted == before

    def restart(self):
        self.order.set()
        self.w.localnet("kill", NODE)
        self.w.localnet("token-start", NODE)
        self.start()

    def heal(self):
        self.order.set()

    def check_log(self):
        done = self.w.enfilade("audit", "verify")
        self.assertEqual(done.code, 0, done.out + done.err)

    def story(self, how, skip, count, again):
        """One session while calls fail, healed by `again`. -> what the client was told while they failed, and how it ended"""
        world.until(self.settled, 5, "what was written before is over: it must not take the failure upon itself")
        pair, since = self.session(), len(self.w.log(NODE))
        self.order.set(HOW[how], skip, count)
        told = self.attempt(pair)
        if told != "answer":
            self.assertIn(told, ("storage", "closed"))
            self.assertGreater(self.order.counted[2], 0, f"{told} although nothing failed")
            self.assertEqual(pair[1]["answers"], [])
        again()
        told += self.come_back(pair if told != "answer" else self.session(), since)
        self.assertEqual(self.attempt(self.session()), "answer", "and others are")
        self.check_log()
        return told

    def come_back(self, pair, since):
        """A session that was refused, or another one, is answered, if need be after a restart that the node's log asks for."""
        if self.attempt(pair) == "answer":
            return ""
        if self.attempt(pair) == "answer":
            return ", 2nd"
        world.until(lambda: "check the disk, restart" in self.w.log(NODE)[since:], 5, "the log says what is to be done")
        self.restart()
        self.assertEqual(self.attempt(pair), "answer")
        return ", restart"

    def every_call(self, count, again, step=1):
        writes, syncs = self.calls_of_a_grant()
        told = {how: [] for how in HOW}
        for how in HOW:
            calls = syncs if how in ("failed sync", "meta page") else writes
            self.assertGreater(calls, 0)
            for skip in range(0, calls, step):
                with self.subTest(how=how, call=skip):
                    told[how].append(self.story(how, skip, count, again))
        print(f"{writes} writes and {syncs} syncs a grant: {told}", flush=True)
        for how in HOW:
            self.assertIn("storage", told[how][0], f"the first failing call of a grant must refuse it: {how}")
        return told

    def test_1_one_call_fails_and_the_node_goes_on(self):
        told = self.every_call(1, self.heal)
        self.assertEqual(told["meta page"][0], "storage, restart", "LMDB does not know what the disk holds")

    def test_2_one_call_fails_and_the_node_is_killed(self):
        self.every_call(1, self.restart, 2)

    def test_3_all_calls_fail_from_one_on(self):
        self.every_call(EVER, self.restart, 3)

    def test_4_a_node_cannot_start_on_a_failing_store(self):
        self.w.localnet("kill", NODE)
        for how in ("EIO", "failed sync"):
            self.order.set(HOW[how], 0, EVER)
            with self.subTest(how):
                pair = self.session()
                self.w.localnet("token-start", NODE)
                try:
                    self.start()
                except AssertionError as error:
                    self.assertIn("did not start", str(error))
                else:  # nothing had to be written at the start
                    self.assertNotEqual(self.attempt(pair), "answer")
                self.restart()
                self.assertEqual(self.attempt(pair), "answer")
                self.w.localnet("kill", NODE)
        self.restart()

    def test_5_the_books_agree(self):
        self.check_log()
        self.assertEqual(books.judge(books.read(self.w), self.visits), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
