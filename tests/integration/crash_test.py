#!/usr/bin/python3
# crash_test: kill -9 of random nodes and tokends under load: no answer without an entry, the same answer again, no second grant.
"""ENFILADE_KILLS (200, or 10,000 with ENFILADE_LONG=1) and ENFILADE_SEED choose the run; both are printed."""
import copy
import os
import pathlib
import random
import signal
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import world  # noqa: E402  (the path must be set first)
import books  # noqa: E402
import load  # noqa: E402

LONG = os.environ.get("ENFILADE_LONG") in ("1", "ON")
KILLS = int(os.environ.get("ENFILADE_KILLS", "10000" if LONG else "200"))
SEED = int(os.environ.get("ENFILADE_SEED") or int.from_bytes(os.urandom(4), "big"))
WORKERS = 4
PAUSE_S = 0.15
ROUND = 500  # kills between two looks at the books
KINDS = ("node", "tokend", "worker", "both", "aimed node", "aimed node", "aimed tokend", "aimed worker")
AIMED_MAX_S = 0.006  # an answer takes about half of that
COUNT = 100  # units of the quota at each first door
FACTORS = ["device: enrolled", "network: {cidrs: [\"127.0.0.0/8\"]}"]


class Killer(threading.Thread):
    """Kills one of its nodes after another and brings it back."""

    def __init__(self, w, nodes, kills, seed):
        super().__init__()
        self.w, self.nodes, self.kills, self.random = w, nodes, kills, random.Random(seed)
        self.done, self.error = {kind: 0 for kind in KINDS}, None

    def run(self):
        try:
            for _ in range(self.kills):
                self.one(self.random.choice(self.nodes), self.random.choice(KINDS))
        except Exception as error:  # noqa: BLE001  (told to the test, which fails)
            self.error = error

    def victims(self, node, kind):
        if kind == "worker":
            workers = world.children(self.w.pid(node, "tokend"))
            return [self.random.choice(workers)] if workers else []
        return [self.w.pid(node, program) for program in {"both": ("tokend", "node")}.get(kind, (kind,))]

    def wait_for_client(self, node, pid):
        """When none comes by (the node may have nothing to do now), the kill is one at random."""
        try:
            world.until(lambda: not world.is_alive(pid), 3, "a client comes by")
        except world.Late:
            load.aim_at_nobody(self.w, node)

    def one(self, node, kind):
        program = kind.rpartition(" ")[2]
        time.sleep(self.random.uniform(0, PAUSE_S))
        pids = world.until(lambda: self.victims(node, program), 10, f"{node} has a {program}")
        if kind != program:
            load.aim(self.w, node, pids[0], self.random.uniform(0, AIMED_MAX_S))
            self.wait_for_client(node, pids[0])
        for pid in filter(world.is_alive, pids):
            os.kill(pid, signal.SIGKILL)
        world.until(lambda: not any(map(world.is_alive, pids)), 10, f"{node}'s {program} ended")
        if program != "worker":
            self.w.localnet("start", node)
        self.done[kind] += 1


def grants_of(log):
    return sum(entry["type"] == books.GRANT for entry in log.entries)


QUOTA = f"quota: {{count: {COUNT}, window_s: {366 * 86400}, per: policy}}"


class CrashTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"seed {SEED}, {KILLS} kills: ENFILADE_SEED={SEED} ENFILADE_KILLS={KILLS}", flush=True)
        cls.w = world.World("crash", start=False)
        try:
            load.add_operation(cls.w, FACTORS)
            load.add_operation(cls.w, [*FACTORS, QUOTA], "counted")
            load.raise_limits(cls.w, begins_per_minute=1000000)
            cls.w.localnet("start")
        except BaseException:
            cls.w.close()
            raise
        cls.visits, cls.counts, cls.killed = [], {}, {}

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def kill_round(self, number, kills, nodes=world.HSM, kind=load.Worker):
        """Two killers, each with nodes of its own, so that nobody is brought back by the one and killed by the other."""
        killers = [Killer(self.w, nodes[i::2], kills // 2 + (kills % 2 if i == 0 else 0), f"{SEED}/{number}/{i}")
                   for i in range(2)]
        with load.Load(self.w, WORKERS, f"{SEED}/{number}", kind) as running:
            for killer in killers:
                killer.start()
            while any(killer.is_alive() for killer in killers):
                running.alive()
                time.sleep(0.2)
            if kind is load.Exhausting:
                world.until(lambda: not running.alive(), 60, "the clients have used up everything")
        for killer in killers:
            killer.join()
            if killer.error:
                raise killer.error
            for kind, count in killer.done.items():
                self.killed[kind] = self.killed.get(kind, 0) + count
        self.visits.extend(running.visits)
        for name, count in running.counts.items():
            if name != "refused":
                self.counts[name] = self.counts.get(name, 0) + count
        return running.counts

    def test_1_killed_under_load(self):
        left, number = KILLS, 0
        while left > 0:
            counts = self.kill_round(number, min(left, ROUND))
            left, number = left - ROUND, number + 1
            audit = self.w.enfilade("audit", "verify", seconds=300)
            self.assertEqual(audit.code, 0, audit.out + audit.err)
            print(f"round {number}: {load.counts_text(counts)}; killed {self.killed}", flush=True)
            logs = type(self).logs = books.read(self.w)
            self.assertEqual(books.judge(logs, self.visits), [])
        unanswered = books.unanswered(logs, self.visits)
        print(f"in the books: {books.totals(logs)}; committed but unanswered because of a kill: {unanswered}", flush=True)
        self.assertEqual(sum(self.killed.values()), KILLS)
        self.assertGreater(self.counts["walks"], KILLS / 4)
        self.assertGreater(self.counts["repeats"], 0)
        if KILLS >= 100:
            self.assertGreater(unanswered, 0)
        self.assertGreater(books.totals(logs).get("reissues", 0), self.counts["repeats"])

    def test_2_the_judge_objects(self):
        """The same notes and logs with one thing changed."""
        twice = next(i for i, seen in enumerate(self.visits) if len(seen["answers"]) == seen["attests"] == 2)
        node, walk_id = self.visits[twice]["node"], self.visits[twice]["walk_id"]

        def without(kind):
            entries = [e for e in self.logs[node].entries if (e["walk_id"], e["type"]) != (walk_id, kind)]
            return {**self.logs, node: books.Log(entries, self.logs[node].roots)}

        def again():
            grant = next(e for e in self.logs[node].entries if (e["walk_id"], e["type"]) == (walk_id, books.GRANT))
            return {**self.logs, node: books.Log([*self.logs[node].entries, grant], self.logs[node].roots)}

        def noted(change):
            visits = copy.deepcopy(self.visits[:twice + 1]) + self.visits[twice + 1:]
            change(visits[twice])
            return visits

        def other_answer(seen):
            link, entry, _ = seen["answers"][1]
            seen["answers"][1] = (link, entry, bytes(32))
        head = self.logs[node]
        forked = {**self.logs, node: books.Log(head.entries, [bytes(32)] * len(head.roots))}
        shorter = {**self.logs, node: books.Log(head.entries, head.roots[:2])}
        for words, logs, visits in (
                ("an answer without an entry", without(books.GRANT), self.visits),
                ("2 answers, 1 entries", without(books.REISSUE), self.visits),
                ("2 grants", again(), self.visits),
                ("another answer on retry", self.logs, noted(other_answer)),
                ("entries for 1 requests", self.logs, noted(lambda seen: seen.update(attests=1))),
                ("a walk that nobody made", self.logs, self.visits[:twice] + self.visits[twice + 1:]),
                ("is no head of the log", forked, self.visits), ("is no head of the log", shorter, self.visits)):
            with self.subTest(words):
                wrong = books.judge(logs, visits)
                self.assertTrue(any(words in text for text in wrong), wrong[:5])
        self.assertEqual(books.judge(self.logs, self.visits), [])

    def test_3_one_unit_of_quota_a_grant(self):
        """Clients that lose answers and come back, doors that are killed: exactly as many grants as the policy allows."""
        before = {node: grants_of(self.logs[node]) for node in ("n1", "n2")}
        counts = self.kill_round("quota", 20, ["n1", "n2"], load.Exhausting)
        logs = type(self).logs = books.read(self.w)
        self.assertEqual(books.judge(logs, self.visits), [])
        print(f"quota: {load.counts_text(counts)}", flush=True)
        self.assertEqual({node: grants_of(logs[node]) - before[node] for node in before}, {"n1": COUNT, "n2": COUNT})
        self.assertEqual(counts["refused"]["quota"], 2 * WORKERS)

    def test_4_a_node_that_forgets_is_noticed(self):
        """A store from before the load is put back: the log agrees with itself, but not with those who were answered."""
        store = self.w.state("n3") / "store"
        self.w.localnet("stop", "n3")
        world.shutil.copytree(store, self.w.tmp / "before")
        self.w.localnet("start", "n3")
        with load.Load(self.w, 1, f"{SEED}/forget") as running:
            size = self.w.status()["n3"]["tree_size"]
            world.until(lambda: self.w.status()["n3"]["tree_size"] > size + 3, 20, "n3 grants")
        self.assertEqual(books.judge(books.read(self.w), self.visits + running.visits), [])
        self.w.localnet("kill", "n3")
        world.shutil.rmtree(store)
        world.shutil.copytree(self.w.tmp / "before", store)
        self.w.localnet("start", "n3")
        self.assertEqual(self.w.enfilade("audit", "verify", seconds=300).code, 0)
        wrong = books.judge(books.read(self.w), self.visits + running.visits)
        for words in ("an answer without an entry", "is no head of the log"):
            self.assertTrue(any(words in text for text in wrong), wrong[:5])
        self.assertEqual({text.partition(":")[0] for text in wrong}, {"n3"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
