#!/usr/bin/python3
# leak_test: shares, stage secrets, keys, PIN, E, tags: sought wherever they could have gone while chains were walked.
"""The test seals an envelope of its own, walks it twice with the Python client (whose E and tags it knows), once with `enfilade run`
(whose E it finds in the client's memory in the middle of the walk, and its tags by replaying the walk) and once with the library
(whose E it knows when it sees it), all of it captured. Then it looks everywhere. Beside each search stands a canary that the same
search must find in the same place.

The PIN: tokend wipes it as soon as it has logged in, so that here it must be in no process at all; secrets_test sees it in tokend
while it logs in."""
import os
import pathlib
import resource
import secrets as randomness
import shutil
import signal
import socket
import struct
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "lib"))

import world  # noqa: E402  (the path must be set first)
import capture  # noqa: E402
import known  # noqa: E402
import search  # noqa: E402
from enfilade_ref import proto, walk, wrap  # noqa: E402

LIBRARY = os.environ["ENFILADE_LIBRARY"]
VAULT = ("n3", "n4", "n5")
SHOWS_ITSELF = ["sh", "-c", "echo started; read go; od -An -v -tx1 <&3"]
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
OTHERS = 65534  # a group that is not root's: /proc shows it as the owner of processes that could be dumped, root for others


class Holder:
    """tests/lib/holder.py as a process."""

    def __init__(self, *arguments, env=None):
        self.process = subprocess.Popen(["/usr/bin/python3", "-B", str(TESTS / "lib/holder.py"), *map(str, arguments)], env=env,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def __call__(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class LeakTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = world.World("leak", start=False)
        cls.addClassCleanup(cls.w.close)
        cls.cores = cls.w.tmp / "cores"
        cls.cores.mkdir()
        cls.addClassCleanup(os.chdir, os.getcwd())
        os.chdir(cls.cores)  # where the processes that are started from here leave their cores, which nothing but they forbid
        cls.addClassCleanup(resource.setrlimit, resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE))
        resource.setrlimit(resource.RLIMIT_CORE, UNLIMITED)
        cls.addClassCleanup(os.setresgid, *os.getresgid())
        os.setresgid(OTHERS, OTHERS, -1)
        cls.capture = capture.Capture(cls.w.subnet)
        cls.canary = {f"canary {what}": randomness.token_bytes(32) for what in (
            "environment", "argument", "log", "state", "packet", "split packet", "core", "memory")}
        cls.w.localnet("start", env={"ENFILADE_TEST_CANARY": cls.canary["canary environment"].hex()})
        cls.secrets, cls.sealed = known.seal(cls.w)
        cls.pins = {f"PIN of {n}": (cls.w.net / "nodes" / n / "pin").read_bytes() for n in world.HSM}
        cls.secrets.update({f"{label}, raw": bytes.fromhex(pin.decode()) for label, pin in cls.pins.items()})
        cls.walk_ids, cls.sessions = {}, []
        for name, avoid in (("the first Python walk", ()), ("the second Python walk", ("n1", "n4", "n6"))):
            plain, session = known.python_walk(cls.w, known.chain(cls.w, avoid))
            assert plain == cls.secrets["the secret itself"]
            cls.sessions.append(session)
            cls.secrets.update(known.session_secrets(name, cls.sealed, session.chain, session.key, session.sid, session.visits))
            cls.remember(session.sid, [v.node["name"] for v in session.visits])

    @classmethod
    def remember(cls, sid, nodes):
        cls.walk_ids[walk.walk_id(sid)] = set(nodes)

    def needles(self, *canaries, text=False):
        planted = {f"canary {c}": self.canary[f"canary {c}"] for c in canaries}
        return search.Needles({**self.secrets, **self.pins, **planted}, text)

    def client_argv(self, *options):
        return [str(world.BIN / "enfilade"), "run", "unlock-db", "--config", str(self.w.config("own")), "--table",
                *map(str, options), "--", *SHOWS_ITSELF]

    def start_in_the_vault(self, *options):
        """A C client in the middle of its walk: the gate's share is there, the vault's nodes are silent."""
        frozen = [self.w.pid(node) for node in VAULT]
        targets = {self.w.address(node) for node in VAULT}
        self.w.freeze(frozen)
        self.addCleanup(self.w.thaw, frozen)
        before = self.capture.sent_to(targets)
        client = subprocess.Popen(self.client_argv(*options), env=self.w.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        self.addCleanup(self.end, client)
        world.until(lambda: self.capture.sent_to(targets) > before, 10, "the client speaks to the second stage")
        return client

    @staticmethod
    def end(client):
        if client.poll() is None:
            client.kill()
        client.communicate()

    # ---- the C client

    def test_1_a_client_holds_secrets_only_where_they_are_locked_and_only_as_long_as_it_must(self):
        report_path = self.w.tmp / "own.json"
        client = self.start_in_the_vault("--report", report_path)
        midway = search.memory(client.pid)
        self.w.thaw([self.w.pid(node) for node in VAULT])
        self.assertEqual(client.stdout.readline(), b"started\n", "the command runs")
        # the command's turn: the client has fed the pipe and waits
        world.until(lambda: not self.client_labels(client.pid), 5, "the client forgets the secret")
        waiting = search.memory(client.pid)
        everyone = self.everyone()
        out, err = client.communicate(b"go\n", 20)
        self.assertEqual((client.returncode, bytes.fromhex(out.decode())), (0, self.secrets["the secret itself"]), err)
        (self.w.tmp / "own.stderr").write_bytes(err)

        report = world.json.loads(report_path.read_text())
        eid = bytes.fromhex(report["walk"]["sid_inputs"]["eid"])
        found = search.key_find(midway, eid)
        self.assertIsNotNone(found, "E is in the memory of a client in the middle of its walk")
        self.assertTrue(all(r.locked and r.undumped for r in found[1]), "E stands where neither swap nor core reach")
        self.assertIsNone(search.key_find(waiting, eid), "E is gone when the command runs")
        # with E the test can open what this client opened
        own = known.session_secrets("the C walk", *known.replay(self.w, report, self.sealed, found[0]))
        self.secrets.update(own)
        self.remember(bytes.fromhex(report["walk"]["sid"]), [v["node"] for v in report["walk"]["visits"] if v["result"] == "ok"])
        gate = report["walk"]["visits"][0]["node"]
        alive = {"secret of gate", "E of the C walk", *(label for label in own if label.startswith(f"tag {gate} "))}
        # need = 1 makes each share of the gate its secret
        same = {label for label, secret in self.secrets.items() if secret == self.secrets["secret of gate"]}
        locked, loose = self.labels_by_place(midway)
        self.assertLessEqual(alive - {"E of the C walk"}, locked, "the search finds what a client in mid-walk must have")
        self.assertEqual(locked - same - alive, set(), "of what it needs no more, nothing")
        self.assertEqual(loose, set(), "nothing outside of locked, undumped memory")
        self.assertEqual(search.regions_labels(waiting, self.needles()), set(), "a client whose command runs")
        self.judge_everyone(*everyone)

    def client_labels(self, pid):
        return search.memory_labels(pid, self.needles())

    def labels_by_place(self, regions):
        """What stands in locked and undumped memory, and what elsewhere"""
        needles = self.needles()
        safe = [r for r in regions if r.locked and r.undumped]
        return search.regions_labels(safe, needles), search.regions_labels([r for r in regions if r not in safe], needles)

    # ---- arguments and environments of every process, while a client's command runs

    def everyone(self):
        argument = self.canary["canary argument"].hex()
        dummy = subprocess.Popen(["/usr/bin/python3", "-c", "import sys; print(flush=True); sys.stdin.read()", argument],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            dummy.stdout.readline()
            return dummy.pid, search.processes_labels(self.needles("argument", "environment", text=True)), set(self.w.processes())
        finally:
            dummy.stdin.close()
            dummy.wait(10)
            dummy.stdout.close()

    def judge_everyone(self, dummy, found, network):
        expected = {(dummy, "cmdline", "canary argument")} | {(pid, "environ", "canary environment") for pid in network}
        self.assertGreaterEqual(len(network), 8 + 7 + 7)
        self.assertEqual(found, expected, "in arguments and environments")

    # ---- the library

    def test_2_a_workload_with_the_library_is_clean_when_it_has_freed_its_secret(self):
        with Holder(LIBRARY, self.w.config("own"), env=self.w.env) as holder:
            self.assertEqual(holder("plant " + self.canary["canary memory"].hex()), "planted")
            link = holder("unseal unlock-db")
            self.assertRegex(link, r"\A[0-9a-f]+\Z")
            eid = proto.link_read(bytes.fromhex(link))["eid"]
            held, freed, closed = (self.look(holder, step, eid) for step in (None, "free", "close"))
        canary = {"canary memory"}
        self.assertEqual(held, ({"the secret itself"}, canary), "the secret, locked and undumped; the rest is wiped")
        self.assertEqual(freed, (set(), canary))
        self.assertEqual(closed, (set(), canary))

    def look(self, holder, step, eid):
        if step:
            holder(step)
        regions = search.memory(holder.pid)
        self.assertIsNone(search.key_find(regions, eid), "E is gone after the walk")
        needles = self.needles("memory")
        safe = [r for r in regions if r.locked and r.undumped]
        return search.regions_labels(safe, needles), search.regions_labels([r for r in regions if r not in safe], needles)

    def test_3_the_search_for_e_finds_a_key(self):
        scalar = randomness.token_bytes(31)
        for number in (b"\0" + scalar, (b"\0" + scalar)[::-1]):
            with Holder() as holder:
                holder("plant " + number.hex())
                eid = walk.eid(wrap.key_point(wrap.key_from_scalar(b"\0" + scalar)))
                self.assertEqual(search.key_find(search.memory(holder.pid), eid)[0], b"\0" + scalar)

    # ---- nodes and tokends

    def test_4_no_node_and_no_tokend_holds_a_secret_after_the_walks(self):
        nonce = randomness.token_bytes(32)
        session, needles = self.sessions[0], self.needles("environment")
        public = search.Needles({node["name"]: node["kem"] for node in session.roster["nodes"] if node["kem"]})
        for pid, name in sorted(self.w.processes().items(), key=lambda item: item[1]):
            with self.subTest(name):
                regions, (node, kind) = search.memory(pid), name.split(".")
                self.assertEqual(search.regions_labels(regions, needles), {"canary environment"})
                if kind != "tokend":  # the master needs no key; the others hold the node's public ones
                    self.assertEqual(search.regions_labels(regions, public) & {node}, {node} - {"c1"})
        # and in a node's heap, where a request lies: its client nonce, as long as the connection lives
        session.client_nonce, node = nonce, session.visits[0]
        with session.connect(node.node["name"]) as connection:
            begin = {**session.begin(node.node["name"], node.stage, node.slot), "links": []}
            session.ask_begin(connection, begin)
            planted = search.Needles({"nonce": nonce})
            self.assertEqual(search.memory_labels(self.w.pid(node.node["name"]), planted), {"nonce"})

    # ---- cores

    def test_5_no_process_leaves_a_core(self):
        self.core_pattern()
        node = "n7"
        client = self.start_in_the_vault()
        victims = {"client": client.pid, "worker": self.w.token_pids(node)[1], "master": self.w.pid(node, "tokend"),
                   "node": self.w.pid(node)}
        for name, pid in victims.items():
            with self.subTest(name):
                self.assertEqual(self.locks(pid), {"cwd": str(self.cores), "limit": (0, 0), "owner": 0})
                self.unlimit(pid)
                os.kill(pid, signal.SIGABRT)
                world.until(lambda p=pid: not world.is_alive(p), 10, f"{name} ends")
                self.assertEqual(list(self.cores.iterdir()), [])
        self.assertEqual(client.wait(10), -signal.SIGABRT)
        with Holder() as holder:
            holder("plant " + self.canary["canary core"].hex())
            self.assertEqual(self.locks(holder.pid), {"cwd": str(self.cores), "limit": UNLIMITED, "owner": OTHERS})
            os.kill(holder.pid, signal.SIGABRT)
        cores = list(self.cores.iterdir())
        self.assertEqual(len(cores), 1, "a process without our locks leaves one here")
        self.assertEqual(search.files_labels(self.cores, self.needles("core")), {(cores[0].name, "canary core")})
        cores[0].unlink()

    @staticmethod
    def locks(pid):
        return {"cwd": os.readlink(f"/proc/{pid}/cwd"), "limit": resource.prlimit(pid, resource.RLIMIT_CORE),
                "owner": os.stat(f"/proc/{pid}/environ").st_gid}

    @staticmethod
    def unlimit(pid):
        """Undoes one of the two locks, where root may (CAP_SYS_RESOURCE)."""
        try:
            resource.prlimit(pid, resource.RLIMIT_CORE, UNLIMITED)
        except PermissionError:
            pass

    def core_pattern(self):
        """Cores go into the working folder of who dies, if need be by changing the machine's setting until the test ends."""
        setting = pathlib.Path("/proc/sys/kernel/core_pattern")
        before = setting.read_text()
        if before.startswith(("|", "/")):
            setting.write_text("core")
            self.addCleanup(setting.write_text, before)

    # ---- disks

    def test_6_no_log_no_state_and_no_export_holds_a_secret(self):
        denied = self.w.walk(config="stranger")[0]
        (self.w.tmp / "denied.stderr").write_text(denied.err)
        for denial in world.denial_ids(denied.err)[:2]:
            self.w.explain(denial)
            (self.w.tmp / f"{denial}.explained").write_text(self.w.enfilade("audit", "explain", denial, "--json").out)
        (self.w.tmp / "export").mkdir()
        for node in world.HSM:
            done = self.w.enfilade("audit", "export", node, self.w.tmp / "export" / node)
            self.assertEqual(done.code, 0, done.err)
            (self.w.tmp / f"{node}.shown").write_text(self.w.enfilade("audit", "show", node, "--json").out)
        with open(self.w.net / "run/n1.node.log", "a", encoding="utf-8") as log:
            log.write(f"planted {self.canary['canary log'].hex()} here\n")
        copy = self.w.tmp / "copy"
        shutil.copytree(self.w.state("n1") / "store", copy)
        with open(copy / "data.mdb", "r+b") as data:
            data.seek(4096 * 3 - 7)  # across two pages
            data.write(self.canary["canary state"])
        found = search.files_labels(self.w.dir, self.needles("log", "state", text=True))
        files = {(f"net/nodes/{n}/pin", label) for n in world.HSM for label in (f"PIN of {n}", f"PIN of {n}, raw")}
        self.assertEqual(found, files | {("net/run/n1.node.log", "canary log"), ("tmp/copy/data.mdb", "canary state")})

    def test_7_every_store_and_export_that_was_searched_has_the_walks(self):
        for walk_id, nodes in self.walk_ids.items():
            needle = search.Needles({"walk": walk_id})
            for node in nodes:
                with self.subTest(node):
                    self.assertIn(("store/data.mdb", "walk"), search.files_labels(self.w.state(node), needle))
                    self.assertNotEqual(search.files_labels(self.w.tmp / "export" / node, needle), set())

    # ---- the network

    def test_8_no_packet_holds_a_secret(self):
        self.send(self.canary["canary packet"])
        self.send(self.canary["canary split packet"][:13], self.canary["canary split packet"][13:])
        self.capture.stop()
        streams, holes = self.capture.streams()
        self.assertEqual((self.capture.dropped, holes), (0, []), "nothing is missing")
        for node in (*world.HSM, "c1"):
            asked = sum(len(data) for way, data in streams.items() if way[2:4] == (self.w.address(node), world.PORT))
            answered = sum(len(data) for way, data in streams.items() if way[:2] == (self.w.address(node), world.PORT))
            self.assertGreater(min(asked, answered), 1000, f"the connections of {node}")
        needles = self.needles("packet", "split packet", text=True)
        self.assertEqual(needles.labels(b"\0".join(self.capture.packets)), {"canary packet"})
        self.assertEqual(needles.labels(b"\0".join(streams.values())), {"canary packet", "canary split packet"})
        # each connection of the Python walks is in it: its first message begins with a number that the client knows
        hello = b"\0".join(streams.values())
        for session in self.sessions:
            self.assertGreaterEqual(len(session.randoms), 4)
            self.assertEqual([r for r in session.randoms if r not in hello], [])

    def send(self, *pieces):
        with socket.create_connection((self.w.address("n1"), world.PORT), 5) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.sendall(struct.pack("!I", 1 << 10))  # a beginning that leaves the node waiting for more
            for piece in pieces:
                line.sendall(piece)

    def test_9_even_inside_tls_nothing_is_open(self):
        for session in self.sessions:
            spoken = b"\0".join(session.spoken)
            self.assertEqual(self.needles(text=True).labels(spoken), set())
            self.assertIn(session.point, spoken, "the search sees what is said")


if __name__ == "__main__":
    unittest.main(verbosity=2)
