#!/usr/bin/python3
# durable_test: what a node answers is on the disk before the answer leaves, as seen by strace on the running node.
import os
import pathlib
import re
import signal
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import world  # noqa: E402  (the path must be set first)

NOSYNC = os.environ.get("ENFILADE_NOSYNC")
CALLS = "fdatasync,fsync,msync,sync_file_range,pwrite64,pwritev,pwritev2,write,writev,sendmsg,sendto,read,readv,recvmsg,recvfrom"
WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendmsg", "sendto"}
READS = {"read", "readv", "recvmsg", "recvfrom"}
CLOSE_NOTIFY = 24  # bytes of a TLS 1.3 alert record
LINE = re.compile(r"(?P<pid>\d+) +[\d:.]+ (?P<rest>.*)")
CALL = re.compile(r"(?P<call>\w+)\((?P<fd>\d+)<(?P<target>.*?)>(?=[,) ])")


class Event:
    """One system call: when it began and ended (line numbers), on what, with which result."""

    def __init__(self, call, fd, target, begin):
        self.call, self.fd, self.target, self.begin, self.end, self.result = call, fd, target, begin, None, None


def read_trace(lines):
    """strace -f -yy lines, calls of several threads interleaved -> events, in order of their beginning"""
    events, pending = [], {}
    for number, line in enumerate(lines):
        found = LINE.match(line)
        if not found:
            continue
        pid, rest = found["pid"], found["rest"]
        if rest.startswith("<... "):
            event = pending.pop(pid, None)
        else:
            call = CALL.match(rest)
            event = Event(call["call"], int(call["fd"]), call["target"], number) if call else None
            if event:
                events.append(event)
        if event is None:
            continue
        result = re.search(r"\) += (-?\d+)", rest)
        if result:
            event.end, event.result = number, int(result[1])
        else:
            pending[pid] = event
    return events


def why_not_durable(events, address, syncing):
    """None, or what is wrong with the last answer that left through a connection to this address.

    syncing: descriptors that sync by themselves (O_DSYNC). Between the last request that was read and the answer, LMDB must
    write pages, sync them, and only then write its meta page through such a descriptor; all of it returned before the answer."""
    client = [e for e in events if e.target.startswith(f"TCP:[{address}:{world.PORT}->") and e.end is not None]
    answers = [e for e in client if e.call in WRITES and e.result > CLOSE_NOTIFY]
    if not answers:
        return "no answer was traced"
    answer = answers[-1]
    asked = [e for e in client if e.call in READS and e.result > 0 and e.end < answer.begin and e.target == answer.target]
    if not asked:
        return "no request was traced"
    store = [e for e in events if e.target.endswith("/data.mdb") and e.begin > asked[-1].end and e.begin < answer.begin]
    pages = [e for e in store if e.call in WRITES and e.fd not in syncing]
    if not pages:
        return "nothing was written between request and answer"
    syncs = [e for e in store if e.call in ("fdatasync", "fsync", "msync") and e.result == 0 and e.end < answer.begin]
    for page in pages:
        if page.end is None or not any(page.end < sync.begin for sync in syncs):
            return f"line {page.begin + 1}: a write that no sync covers before the answer leaves"
    metas = [e for e in store if e.call in WRITES and e.fd in syncing and e.end is not None and e.end < answer.begin]
    if not any(meta.begin > sync.end for meta in metas for sync in syncs):
        return "the meta page was not written, by itself synced, after the pages and before the answer"
    return None


def syncing_descriptors(pid):
    """Descriptors of data.mdb that were opened with O_DSYNC."""
    found = set()
    for info in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        flags = int(re.search(r"flags:\s*(\d+)", info.read_text())[1], 8)
        if flags & os.O_DSYNC and os.readlink(f"/proc/{pid}/fd/{info.name}").endswith("/data.mdb"):
            found.add(int(info.name))
    return found


class DurableTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = world.World("durable")
        cls.w.walk()  # documents and the first checkpoint are written: what follows is the walk's own

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def trace(self, node, act):
        """Straces a node while act() runs; the node must be quiet before. -> (lines, its syncing descriptors)"""
        pid, out = self.w.pid(node), self.w.tmp / "trace"
        syncing = syncing_descriptors(pid)
        tracer = subprocess.Popen(["strace", "-f", "-yy", "-tt", "-s", "0", "-p", str(pid), "-o", str(out), "-e", f"trace={CALLS}"],
                                  stderr=subprocess.PIPE, text=True)
        try:
            self.assertRegex(tracer.stderr.readline(), "attached")
            act()
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=20)
        return out.read_text().splitlines(), syncing

    def walk(self):
        self.assertEqual(self.w.walk(command=self.w.show_db())[0].code, 0)

    def refused(self):
        self.assertEqual(self.w.walk(config="stranger")[0].code, 3)

    def judge(self, lines, node, syncing):
        return why_not_durable(read_trace(lines), self.w.address(node), syncing)

    def test_1_every_stage_syncs_before_it_answers(self):
        for node in ("n1", "n3", "n6"):
            with self.subTest(node):
                lines, syncing = self.trace(node, self.walk)
                self.assertTrue(syncing)
                self.assertIsNone(self.judge(lines, node, syncing))

    def test_2_a_denial_is_on_the_disk_before_it_is_told(self):
        lines, syncing = self.trace("n1", self.refused)
        self.assertIsNone(self.judge(lines, "n1", syncing))

    def test_3_the_judge_notices(self):  # the same trace with one thing changed
        self.w.localnet("stop", "n1")
        lines, syncing = self.trace("n2", self.walk)
        self.w.localnet("start", "n1")
        self.assertIsNone(self.judge(lines, "n2", syncing))
        events = read_trace(lines)
        answer = [e for e in events if e.target.startswith("TCP:") and e.call in WRITES and e.result > CLOSE_NOTIFY][-1].begin
        sync = max(e.begin for e in events if e.call == "fdatasync" and e.begin < answer)
        meta = max(e.begin for e in events if e.fd in syncing and e.call == "pwrite64" and e.begin < answer)
        early = lines[:sync] + [lines[answer]] + lines[sync:answer] + lines[answer + 1:]
        unfinished = [re.sub(r"\) += 0$", " <unfinished ...>", lines[sync])]
        resumed = [re.sub(r"fdatasync.*", "<... fdatasync resumed>) = 0", lines[sync])]
        for what, changed in (
                ("the answer leaves before the sync", early),
                ("no sync", lines[:sync] + lines[sync + 1:]),
                ("a sync that fails", lines[:sync] + [lines[sync].replace("= 0", "= -1 EIO")] + lines[sync + 1:]),
                ("a sync that returns after the answer left",
                 lines[:sync] + unfinished + lines[sync + 1:answer + 1] + resumed + lines[answer + 1:]),
                ("no meta page", lines[:meta] + lines[meta + 1:]),
                ("the meta page before the sync", lines[:sync] + [lines[meta]] + lines[sync:meta] + lines[meta + 1:])):
            self.assertIsNotNone(self.judge(changed, "n2", syncing), what)
        interleaved = lines[:sync] + unfinished + resumed + lines[sync + 1:]
        self.assertIsNone(self.judge(interleaved, "n2", syncing), "a sync that strace tells in two lines is one")
        self.assertIsNotNone(self.judge(lines, "n2", set()), "the meta page's descriptor does not sync by itself")

    def test_4_a_node_that_does_not_sync_is_noticed(self):
        self.assertTrue(NOSYNC, "ENFILADE_NOSYNC names the library that turns syncs off")
        self.w.localnet("stop", "n1")
        self.w.localnet("start", "n1", env={"LD_PRELOAD": NOSYNC})
        lines, syncing = self.trace("n1", self.walk)
        self.assertEqual(syncing, set())
        self.assertRegex(self.judge(lines, "n1", syncing), "a write that no sync covers")
        self.w.localnet("stop", "n1")
        self.w.localnet("start", "n1")


if __name__ == "__main__":
    unittest.main(verbosity=2)
