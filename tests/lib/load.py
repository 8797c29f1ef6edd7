# load: an operation without evidence, and clients that walk it in a loop and come back for an answer until they have one.
"""Without a TPM in the way a walk costs little more than its grants. A door's answer that is lost is asked for again with the same
session (E, nonce, chain), as the design has it; sometimes a client loses one on purpose. Everything that was received, and how often
was asked, is written down for tests/lib/books.py. A client kills a process of the node that it has just sent an Attest to when
`aim` has asked for it: no random moment is as bad as these few milliseconds."""
import json
import os
import pickle
import random
import re
import signal
import time

import world as worlds
from enfilade_ref import documents, wire
from enfilade_ref.client import Client, Denied, Session, now_ms
from enfilade_ref.refuse import Refused
from enfilade_ref.strict import time_text
from enfilade_ref.th import sha256

OPERATION = "load"
PATIENCE_S = 60.0
CHAIN_S = 150  # a session's chain: longer than anybody is patient, so that grants go soon
COMES_BACK = {"token", "storage", "busy", "closed", "deadline"}  # denials that say: not now


def policy_text(network, owner, operation, factors):
    now = int(time.time()) * 1000
    stages = "".join(f"  - name: {name}\n    need: {need}\n    audit: local\n    factors:\n      all:\n"
                     + "".join(f"        - {factor}\n" for factor in factors)
                     for name, need in (("gate", 1), ("vault", 2), ("final", 1)))
    return (f"enfilade: policy/v1\nnetwork: {network}\nname: {operation}-policy\nversion: 1\nissued: {time_text(now)}\n"
            f"expires: {time_text(now + 86400000)}\noperations: [{operation}]\nowners: [\"{owner}\"]\nchain_lifetime_s: 172800\n"
            f"stages:\n{stages}")


def add_operation(world, factors, operation=OPERATION):
    """Signs a policy with these factors at every stage, seals a secret under it, writes client/OPERATION.yaml. Before the start."""
    net, keys, network = world.net, world.net / "keys", "quickstart.example"
    tool = ["env", f"PATH={world.env['PATH']}", "enfilade"]

    def run(*arguments, stdin=None):
        done = worlds.execute([*tool, *arguments], world.env, 60, stdin)
        assert done.code == 0, f"{arguments}: {done.err}"
        return done.out.strip()
    owner = run("document", "vkey", "--key", keys / "owner-dba.pem", "--name", f"{network}/owner/dba")
    text, signed = world.tmp / f"{operation}.yaml", world.tmp / f"{operation}.note"
    text.write_text(policy_text(network, owner, operation, factors))
    run("document", "sign", "--key", keys / "policy.pem", "--name", f"{network}/policy", text, signed)
    run("document", "sign", "--key", keys / "owner-dba.pem", "--name", f"{network}/owner/dba", signed, signed)
    for folder in ("config", "client/documents"):
        (net / folder / f"policy-{operation}-policy.note").write_bytes(signed.read_bytes())
    run("document", "status", "--network", net)
    old, new = re.search(r"envelope: ([0-9a-f]{32})", world.config().read_text())[1], os.urandom(16).hex()
    config = world.config(operation)
    config.write_text(world.config().read_text().replace("name: unlock-db\n", f"name: {operation}\n").replace(old, new))
    secret = world.tmp / f"{operation}.secret"
    secret.write_bytes(f"the secret of {operation}".encode())
    run("seal", "--config", config, "--operation", operation, "--policy", signed, "--id", new, "--stage", "gate:1:n1,n2", "--stage",
        "vault:2:n3,n4,n5", "--stage", "final:1:n6,n7", "--owner-key", keys / "owner-dba.pem", "--in", secret, "--out",
        net / f"config/envelope-{new}.note")
    (net / f"client/documents/envelope-{new}.note").write_bytes((net / f"config/envelope-{new}.note").read_bytes())
    run("chain", "generate", "--offline", "--config", config, "--operation", operation, "--lifetime", "24h", "--out",
        net / f"config/{operation}.chain")


def raise_limits(world, **limits):
    """A test's load comes from few addresses. Before the start."""
    for file in world.net.glob("nodes/*/node.yaml"):
        lines = "".join(f"  {name}: {value}\n" for name, value in limits.items())
        file.write_text(file.read_text() + "limits:\n" + lines)


def aim(world, node, pid, delay_s):
    """The next client that asks this node for an answer kills the process, so long after it has asked."""
    (world.tmp / "aim").mkdir(exist_ok=True)
    draft = world.tmp / "aim" / f"{node}.draft"
    draft.write_text(f"{pid} {delay_s}")
    draft.rename(world.tmp / "aim" / node)


def aim_at_nobody(world, node):
    (world.tmp / "aim" / node).unlink(missing_ok=True)


class Again(Exception):
    """Not answered: the client comes back."""


class GivenUp(Exception):
    """A session that the node will not answer any more (too many answers were lost)."""


class LoadSession(Session):
    def attest(self, bind):
        return {"evidence": [], "approvals": []}

    def answer(self, connection, node):
        name, answer = connection.receive()
        if name == "Busy":
            raise Again("busy")
        return self.wanted(node, name, answer, "Release")


class Worker:
    """One client, in a process of its own: walks until `stop` is there, then writes what it saw to `out`."""

    operation = OPERATION

    def __init__(self, world, number, seed, out, lose=0.05, repeat=0.1):
        self.random, self.done = random.Random(f"{seed}/{number}"), False
        self.source = f"{world.subnet}.{100 + number}"
        self.stop, self.aims, self.out, self.lose, self.repeat = world.tmp / "stop", world.tmp / "aim", out, lose, repeat
        self.client = Client(world.config(self.operation))
        self.client.fetch(self.operation)
        self.secret = (world.tmp / f"{self.operation}.secret").read_bytes()
        self.visits, self.counts = [], {"walks": 0, "attests": 0, "retries": 0, "lost": 0, "repeats": 0, "given_up": 0, "refused": {}}

    def new_session(self):
        chain = self.client.shelf.chains[self.operation]
        until = time_text((now_ms() // 1000 + CHAIN_S) * 1000)
        text = re.sub(rb"\nnot_after: \S+\n", b"\nnot_after: %s\n" % until.encode(), chain.text)
        session = LoadSession(self.client.config, self.client.shelf, self.operation, chain=documents.parse(text))
        session.source = self.source
        return session

    def run(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while not self.done and not self.stop.exists():
            try:
                self.walk()
            except GivenUp:
                self.counts["given_up"] += 1
        with open(self.out, "wb") as file:
            pickle.dump((self.visits, self.counts), file)

    def walk(self):
        session = self.new_session()
        for number, stage in enumerate(session.chain["stages"], 1):
            members = self.random.sample(stage["members"], stage["need"])
            for member in members:
                self.door(session, member["node"], number, member["slot"])
        assert session.open() == self.secret, "another secret"
        self.counts["walks"] += 1

    def door(self, session, node, stage, slot):
        """Until the node has answered, and sometimes once more."""
        from enfilade_ref import walk
        seen = {"node": node, "walk_id": walk.walk_id(session.sid), "attests": 0, "lost": 0, "answers": [], "receipts": []}
        self.visits.append(seen)
        wanted = 2 if self.random.random() < self.repeat else 1
        until = time.monotonic() + PATIENCE_S
        while len(seen["answers"]) < wanted:
            try:
                release = self.ask(session, node, stage, slot, seen)
            except (Again, wire.Closed, OSError):
                self.counts["retries"] += 1
            except Denied as error:
                self.counts["refused"][error.code] = self.counts["refused"].get(error.code, 0) + 1
                if error.code == "reissue":
                    raise GivenUp from error
                if error.code not in COMES_BACK:
                    raise
            else:
                self.note(session, node, stage, slot, seen, release)
                continue
            assert time.monotonic() < until, f"{node} did not answer within {PATIENCE_S} s"
            time.sleep(self.random.uniform(0.01, 0.1))

    def ask(self, session, node, stage, slot, seen):
        try:
            with session.connect(node) as connection:
                begin = session.begin(node, stage, slot)
                challenge = session.ask_begin(connection, begin)
                attest = session.attest(session.bind(connection, begin, challenge["nonce"]))
                seen["attests"] += 1
                self.counts["attests"] += 1
                connection.send("Attest", attest)
                self.shoot(node)
                if self.random.random() < self.lose:
                    seen["lost"] += 1
                    self.counts["lost"] += 1
                    raise Again("lost on purpose")
                return session.answer(connection, node)
        except Refused as error:
            if error.code in ("deadline", "busy"):
                raise Again(str(error)) from error
            raise

    def shoot(self, node):
        try:
            os.rename(self.aims / node, self.aims / f"{node}.taken")
        except FileNotFoundError:
            return
        pid, delay_s = (self.aims / f"{node}.taken").read_text().split()
        time.sleep(float(delay_s))
        if worlds.is_alive(int(pid)):
            os.kill(int(pid), signal.SIGKILL)

    def note(self, session, node, stage, slot, seen, release):
        link = release["link"]
        if seen["answers"]:
            self.counts["repeats"] += 1
            session.check_link(node, stage, slot, link, release["answer"])
        else:
            session.share(session.take(node, stage, slot, release))
        seen["answers"].append((sha256(link["body"]), sha256(link["entry"]), sha256(release["answer"])))
        seen["receipts"].append(link["receipt"])


class FirstDoors(Worker):
    """One that knocks at the first doors only."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.open = list(self.client.shelf.chains[self.operation]["stages"][0]["members"])

    def walk(self):
        self.knock(self.random.choice(self.open))

    def knock(self, member):
        self.door(self.new_session(), member["node"], 1, member["slot"])


class Exhausting(FirstDoors):
    """… until each of them says that the quota is used up."""

    operation = "counted"

    def knock(self, member):
        try:
            super().knock(member)
        except Denied as error:
            if error.code != "quota":
                raise
            self.open.remove(member)
            self.done = not self.open


class Load:
    """Several workers. with Load(world, 3, seed) as load: …; then load.visits and load.counts."""

    def __init__(self, world, workers, seed, kind=Worker, **how):
        self.world, self.workers, self.seed, self.kind, self.how, self.pids = world, workers, seed, kind, how, {}
        self.visits, self.counts = [], {}

    def __enter__(self):
        (self.world.tmp / "stop").unlink(missing_ok=True)
        for number in range(self.workers):
            out = self.world.tmp / f"load-{number}"
            out.unlink(missing_ok=True)
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    self.kind(self.world, number, self.seed, out, **self.how).run()
                    status = 0
                except BaseException as error:  # noqa: BLE001  (told to the parent, who fails)
                    (self.world.tmp / f"load-{number}.error").write_text(f"{type(error).__name__}: {error}")
                finally:
                    os._exit(status)
            self.pids[pid] = out
        return self

    def alive(self):
        """Is a worker still at it? Raises when one has failed."""
        for pid in list(self.pids):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self.collect(self.pids.pop(pid), status)
        return bool(self.pids)

    def collect(self, out, status):
        error = out.with_name(out.name + ".error")
        assert status == 0, f"a client failed: {error.read_text() if error.exists() else status}"
        with open(out, "rb") as file:
            visits, counts = pickle.load(file)
        self.visits += visits
        for name, count in counts.items():
            if isinstance(count, dict):
                mine = self.counts.setdefault(name, {})
                for key, value in count.items():
                    mine[key] = mine.get(key, 0) + value
            else:
                self.counts[name] = self.counts.get(name, 0) + count

    def __exit__(self, *_):
        (self.world.tmp / "stop").touch()
        failed = None
        for pid, out in self.pids.items():
            _, status = os.waitpid(pid, 0)
            try:
                self.collect(out, status)
            except AssertionError as error:
                failed = failed or error
        self.pids = {}
        if failed:
            raise failed


def counts_text(counts):
    return json.dumps(counts, sort_keys=True)
