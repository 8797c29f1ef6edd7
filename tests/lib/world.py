# world: a whole network of real processes for the integration tests: made, started, watched and ended.
"""One World per test file: `make-network` in a temporary folder on a loopback subnet of its own, the nodes run by `deploy/localnet`.

Environment: ENFILADE_BIN (folder of the programs), ENFILADE_FLIP (tests/tools' flip-entry), ENFILADE_KEEP=1 keeps the folder.
Nothing here sleeps and hopes: `until` polls a condition and fails loudly at its deadline."""
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/python"))

from enfilade_ref import documents, proto  # noqa: E402  (the path must be set first)

BIN = pathlib.Path(os.environ.get("ENFILADE_BIN", TOP / "build/gcc/bin"))
FLIP = os.environ.get("ENFILADE_FLIP", str(BIN.parent / "flip-entry"))
HSM = [f"n{i}" for i in range(1, 8)]
PORT = 7600
Result = collections.namedtuple("Result", "code out err seconds")


class Late(AssertionError):
    """A condition did not come true in time."""


def until(condition, seconds, what):
    """Polls until condition() is true; returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Late(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def execute(arguments, env=None, seconds=60, stdin=None, cwd=None):
    """Runs to the end; bytes on both outputs are decoded leniently."""
    begin = time.monotonic()
    done = subprocess.run([str(a) for a in arguments], input=stdin, capture_output=True, env=env, timeout=seconds, cwd=cwd,
                          check=False)
    return Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"),
                  time.monotonic() - begin)


# ---- subnets

def claim_subnet():
    """A loopback subnet that nobody else uses: (A.B.C, the claim). The claim is an abstract socket, gone with this process."""
    for i in range(240):
        number = 10 + (os.getpid() + i) % 240
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0enfilade-test-127.40.{number}")
            with socket.socket() as probe:
                probe.bind((f"127.40.{number}.11", PORT))
            return f"127.40.{number}", claim
        except OSError:
            claim.close()
    raise AssertionError("no loopback subnet is free")


# ---- processes

def is_alive(pid):
    """Runs: a process that has ended and is only not reaped yet does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    """Direct children, alive."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            pass
    return found


def maps(pid):
    """[(start, end, permissions, offset, path)]"""
    rows = []
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        field = line.split(None, 5)
        start, end = (int(x, 16) for x in field[0].split("-"))
        rows.append((start, end, field[1], int(field[2], 16), field[5] if len(field) > 5 else ""))
    return rows


SHADOW = 1 << 34  # no program of ours has so much memory of its own: only a sanitizer's shadow is that large


def mapped_bytes(start, end, offset, path):
    """How much of a mapping can be read: a file may be far smaller than what is mapped of it (LMDB)."""
    if not path.startswith("/"):
        return end - start if end - start < SHADOW else 0
    try:
        return max(0, min(end - start, -(-(os.stat(path).st_size - offset) // 4096) * 4096))
    except OSError:
        return end - start


def memory_find(pid, needles):
    """needles: {label: bytes}. -> the labels that stand anywhere in the process's readable memory. Needs root or the same uid."""
    found, overlap = set(), max(len(n) for n in needles.values())
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end, permissions, offset, path in maps(pid):
            if permissions[0] != "r" or path in ("[vvar]", "[vsyscall]"):
                continue
            found |= region_find(memory, start, start + mapped_bytes(start, end, offset, path), needles, overlap)
    return found


def region_find(memory, at, end, needles, overlap):
    found, tail = set(), b""
    while at < end:
        try:
            piece = os.pread(memory.fileno(), min(1 << 20, end - at), at)
        except OSError:  # a guard page, or a page beyond the file's end: go on behind it
            piece, at, tail = b"", at + 4096, b""
            continue
        if not piece:
            break
        if not piece.strip(b"\0"):  # never touched
            at, tail = at + len(piece), b""
            continue
        data = tail + piece
        found |= {label for label, needle in needles.items() if needle in data}
        at, tail = at + len(piece), data[-overlap:]
    return found


def files_find(folder, needles):
    """[(path, label)] for every file below folder that holds a needle."""
    found = []
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            if os.path.isfile(path) and not os.path.islink(path):
                data = pathlib.Path(path).read_bytes()
                found += [(path, label) for label, needle in needles.items() if needle in data]
    return found


def spellings(label, secret):
    """A secret as it could stand somewhere: raw and in hex of both cases."""
    return {f"{label} raw": secret, f"{label} hex": secret.hex().encode(), f"{label} HEX": secret.hex().upper().encode()}


# ---- a connection that stays

class Line:
    """A TLS connection of the enrolled device to a node, kept open; asks for documents to see that it is alive."""

    def __init__(self, world, node):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        device = world.net / "devices/web-1"
        context.load_cert_chain(device / "device.pem", device / "device.key")
        self.socket = context.wrap_socket(socket.create_connection((world.address(node), PORT), 5))
        self.socket.settimeout(5)

    def read(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the node closed the connection")
            data += piece
        return data

    def ask_status_document(self):
        """-> the text of the status document that the node has in force"""
        body = proto.pack("GetDocuments", {"wants": [{"type": "status"}]})
        self.socket.sendall((len(body) + 1).to_bytes(4, "big") + b"\x09" + body)
        length = int.from_bytes(self.read(4), "big")
        answer = self.read(length)
        assert answer[0] == 0x05, f"an answer of type {answer[0]:#x}"
        return proto.unpack("Documents", answer[1:])["notes"][0]["text"]

    def close(self):
        self.socket.close()


# ---- the network

class World:
    def __init__(self, name, start=True):
        self.subnet, self.claim = claim_subnet()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"enf-{name}-"))
        self.net, self.tmp = self.dir / "net", self.dir / "tmp"
        self.tmp.mkdir()
        self.env = {"PATH": f"{BIN}:{os.environ['PATH']}", "ENFILADE_BIN": str(BIN), "HOME": str(self.tmp), "LC_ALL": "C.UTF-8",
                    "TMPDIR": str(self.tmp)}
        for variable in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if variable in os.environ:
                self.env[variable] = os.environ[variable]
        try:
            self.tool("deploy/examples/make-network", "--subnet", self.subnet, self.dir)
            if start:
                self.localnet("start")
        except BaseException:
            self.close()
            raise

    def close(self):
        if (self.net / "nodes").is_dir():
            self.localnet("kill")
        if (self.dir / "tpm").is_dir():
            self.tool("deploy/examples/tpm", "stop", self.dir / "tpm")
        self.claim.close()
        if os.environ.get("ENFILADE_KEEP"):
            print(f"kept: {self.dir}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- commands

    def tool(self, script, *arguments, env=None):
        """A script of the tree that must succeed. -> its standard output"""
        done = execute([TOP / script, *arguments], {**self.env, **(env or {})}, 120)
        if done.code != 0:
            raise AssertionError(f"{script} {' '.join(map(str, arguments))}: exit {done.code}\n{done.out}{done.err}")
        return done.out

    def localnet(self, command, *nodes, env=None):
        return self.tool("deploy/localnet", command, self.net, *nodes, env=env)

    def config(self, name="client"):
        return self.net / "client" / f"{name}.yaml"

    def enfilade(self, *arguments, config="client", seconds=60, stdin=None):
        """`enfilade …` with --config of one of the client configurations put in; config None: none."""
        given = ["--config", self.config(config)] if config else []
        at = arguments.index("--") if "--" in arguments else len(arguments)
        return execute([BIN / "enfilade", *arguments[:at], *given, *arguments[at:]], self.env, seconds, stdin)

    def walk(self, operation="unlock-db", config="client", command=None, options=()):
        """One walk with a report. -> (Result, report as a dict); the command by default writes the secret to stdout."""
        report = self.tmp / "report.json"
        report.unlink(missing_ok=True)
        done = self.enfilade("run", operation, "--report", report, *options, "--", *(command or ["sh", "-c", "cat <&3"]),
                             config=config)
        return done, json.loads(report.read_text()) if report.exists() else None

    def show_db(self):
        return [TOP / "deploy/examples/unlock-db/show-db", self.dir / "db/patients.db"]

    def status(self):
        """{node: what `network status --json` says}"""
        return {row["node"]: row for row in json.loads(self.enfilade("network", "status", "--json").out)}

    def document(self, name):
        """A document of the configuration server's folder, verified by the other implementation ("roster", "policy-db-policy")."""
        pin = bytes.fromhex(re.search(r"root_hash: ([0-9a-f]{64})", self.config().read_text())[1])
        root = documents.verify_root((self.net / "config/root.note").read_bytes(), pinned_hash=pin)
        return root if name == "root" else documents.verify((self.net / f"config/{name}.note").read_bytes(), root)

    def explain(self, denial_id):
        return json.loads(self.enfilade("audit", "explain", denial_id, "--json").out)[0]

    def measure(self, digest):
        self.tool("deploy/examples/tpm", "measure", self.dir / "tpm", 14, digest)

    def reboot_tpm(self):
        """PCRs are zero again, then the workload is measured as it must be."""
        self.tool("deploy/examples/tpm", "stop", self.dir / "tpm")
        self.tool("deploy/examples/tpm", "start", self.dir / "tpm")
        self.measure(execute(["sha256sum", self.show_db()[0]]).out.split()[0])

    def transcript(self, report, denials=(), codes=("unseal=0",)):
        """Exports every log and writes deploy/examples/transcript's JSON. -> its path"""
        path = self.dir / "transcript.json"
        (self.dir / "report.json").write_text(json.dumps(report))

        def written():
            """A checkpoint reaches the disk a little after its receipt: until it has, the export lacks the newest entries."""
            self.tool("deploy/examples/transcript", self.dir, path, "\n".join(denials), "\n".join(codes))
            return all(exported_size(f"{path}.tiles/{v['node']}") >= receipt_size(v["receipt"])
                       for v in report["walk"]["visits"] if v["result"] == "ok")
        until(written, 10, "the exported logs cover the walk")
        return path

    # ---- nodes

    def address(self, node):
        return f"{self.subnet}.{18 if node == 'c1' else 10 + int(node[1:])}"

    def state(self, node):
        return self.net / "nodes" / node / "state"

    def log(self, node, program="node"):
        return (self.net / "run" / f"{node}.{program}.log").read_text()

    def pid(self, node, program="node"):
        return int((self.net / "run" / f"{node}.{program}.pid").read_text())

    def token_pids(self, node):
        """tokend's master and its workers."""
        master = self.pid(node, "tokend")
        return [master, *children(master)]

    def running(self, node, program="node"):
        try:
            return is_alive(self.pid(node, program))
        except OSError:
            return False

    def processes(self):
        """{pid: "n1.node", "n1.tokend" (master) or "n1.worker"} of everything that runs"""
        found = {}
        for file in (self.net / "run").glob("*.pid"):
            name, pid = file.stem, int(file.read_text())
            if os.path.exists(f"/proc/{pid}"):
                found[pid] = name
                if name.endswith(".tokend"):
                    found.update({child: name.replace(".tokend", ".worker") for child in children(pid)})
        return found

    def token_is_well(self, node):
        row = self.status().get(node, {})
        return row.get("token") == "ok"

    def signal_all(self, pids, number):
        for pid in pids:
            os.kill(pid, number)

    def freeze(self, pids):
        self.signal_all(pids, signal.SIGSTOP)

    def thaw(self, pids):
        self.signal_all(pids, signal.SIGCONT)


def exported_size(folder):
    return int((pathlib.Path(folder) / "checkpoint").read_text().splitlines()[1])


def receipt_size(receipt):
    return int(receipt.partition("\n\n")[2].splitlines()[1])


def denial_ids(text):
    return re.findall(r"denial ([0-9a-f]{32})", text)
