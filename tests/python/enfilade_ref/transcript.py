# transcript: verifies a quickstart transcript from its root document down to every entry in every ledger.
"""The format and the list of what is verified stand in TRANSCRIPT.md. Nothing is taken from the transcript's own words that can
be computed: hashes, session id, prevhashes, roots."""
import json
import pathlib

from enfilade_ref import chain as chains
from enfilade_ref import documents, proto, tree, walk
from enfilade_ref.refuse import EXIT_CODES, Refused, error_table, need
from enfilade_ref.strict import hex_of, mapping, name, sequence, text
from enfilade_ref.th import sha256

SIZE_MAX = 64 * 1024 * 1024
GRANT, DENY = 2, 4
HASH = hex_of(32)


def whole(least, most):
    def convert(value, path):
        need(type(value) is int and least <= value <= most, "format", f"{path}: no number in {least}..{most}")
        return value
    return convert


def milliseconds(value, path):
    need(type(value) in (int, float) and 0 <= value < 1e9, "format", f"{path}: no duration")
    return value


def error_name(value, path):
    need(text(value, path) == "ok" or value in error_table(), "format", f"{path}: {value!r} is no result")
    return value


def table(convert):
    """A mapping with free keys."""
    def run(value, path):
        need(isinstance(value, dict), "format", f"{path}: no object")
        return {key: convert(item, f"{path}.{key}") for key, item in value.items()}
    return run


def visit_check(visit, path):
    for field in ("link_body", "entry", "receipt"):
        need((visit[field] is not None) == (visit["result"] == "ok"), "format", f"{path}.{field}: with result ok, and only then")


BYTES = hex_of(*range(1, 4097))
VISIT = mapping({"stage": whole(1, 15), "slot": whole(1, 16), "node": name, "milliseconds": milliseconds, "result": error_name},
                {"link_body": BYTES, "entry": BYTES, "receipt": text}, check=visit_check)
SID_INPUTS = mapping({field: HASH for field in ("eid", "client_key_hash", "client_nonce", "chain_hash")})
WALK = mapping({"sid_inputs": SID_INPUTS, "sid": HASH, "visits": sequence(VISIT, 1, 1000)})
DENIAL = mapping({"what": text, "code": error_name, "denial_id": hex_of(*range(1, 65))})
SCHEMA = mapping({"version": whole(1, 1), "network": name, "root": text, "root_hash": HASH, "documents": sequence(text, 4, 5),
                  "chain": text, "operation": name, "walk": WALK, "tiles": table(text), "secret_sha256": HASH,
                  "denials": sequence(DENIAL, unique=lambda denial: denial["what"]), "exit_codes": table(whole(0, 255))})


def load(path):
    data = pathlib.Path(path).read_bytes()
    need(len(data) <= SIZE_MAX, "too-long", "transcript")

    def pairs(items):
        need(len({key for key, _ in items}) == len(items), "format", "one key twice")
        return dict(items)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=pairs)
    except ValueError as error:
        raise Refused("format", f"not JSON: {error}") from error
    return SCHEMA(value, "")


class Verification:
    """One transcript; each step adds a line to `done`."""

    def __init__(self, path):
        self.folder, self.t, self.done = pathlib.Path(path).parent, load(path), []

    def run(self, secret=None):
        for step in (self.check_documents, self.check_chain, self.check_session, self.check_links, self.check_ledgers,
                     self.check_denials):
            try:
                self.done.append(step())
            except Refused as error:
                raise error.within(step.__name__.removeprefix("check_")) from error
        self.done.append(self.check_secret(secret))
        return self.done

    def check_documents(self):
        self.root = documents.verify_root(self.t["root"].encode("utf-8"), pinned_hash=self.t["root_hash"])
        need(self.root["network"] == self.t["network"], "format", "root of another network")
        found = {}
        wanted = [note.encode("utf-8") for note in self.t["documents"]]
        for note in sorted(wanted, key=lambda note: note.startswith(b"enfilade: envelope/")):
            document = documents.verify(note, self.root, [found["policy"]] if "policy" in found else [])
            need(document.type not in found, "format", f"{document.type} twice")
            found[document.type] = document
        need(set(found) >= {"roster", "status", "policy", "envelope"}, "documents", "one of the four is missing")
        self.found = found
        documents.check_status(found["status"], [self.root] + [d for kind, d in found.items()
                                                               if kind not in ("status", "envelope")])
        signatures = sum(len(document.signed) for document in [self.root, *found.values()])
        return f"documents: root {self.root.hash.hex()[:16]}… and {len(found)} more, {signatures} signatures, thresholds met"

    def check_chain(self):
        self.chain = documents.parse(self.t["chain"].encode("utf-8"))
        need(self.chain.type == "chain", "format", "not a chain")
        need(self.chain["operation"] == self.t["operation"], "chain", "chain of another operation")
        self.granted = sorted((v for v in self.t["walk"]["visits"] if v["result"] == "ok"),
                              key=lambda v: (v["stage"], v["slot"]))
        need(self.granted, "link", "no visit was granted")
        self.bodies = [proto.link_read(v["link_body"]) for v in self.granted]
        times = [body["issued_ms"] for body in self.bodies]
        for document in [self.root, *self.found.values()]:
            for now_ms in times:
                document.valid_at(now_ms)
        self.world = chains.World(*(self.found[kind] for kind in ("policy", "envelope", "roster", "status")))
        for now_ms in times:
            chains.check(self.world, self.chain, now_ms)
        listed = sum(len(stage["members"]) for stage in self.chain["stages"])
        return f"chain: {len(self.chain['stages'])} stages, {listed} listed members, admissible at {len(times)} times"

    def check_session(self):
        given = self.t["walk"]["sid_inputs"]
        need(given["chain_hash"] == self.chain.hash, "link", "session of another chain")
        made = walk.sid(self.t["network"], given["eid"], given["client_key_hash"], given["client_nonce"], given["chain_hash"])
        need(made == self.t["walk"]["sid"], "link", "sid is not what its inputs give")
        self.sid = made
        return f"session: sid {made.hex()[:16]}… recomputed"

    def check_links(self):
        for number, stage in enumerate(self.chain["stages"], 1):
            here = [v for v in self.granted if v["stage"] == number]
            need(len({v["slot"] for v in here}) == len(here) == stage["need"], "link",
                 f"stage {stage['name']}: {len(here)} visits granted, not {stage['need']} distinct ones")
            listed = {(m["slot"], m["node"]) for m in stage["members"]}
            need({(v["slot"], v["node"]) for v in here} <= listed, "link", f"stage {stage['name']}: a stranger granted")
        need(len(self.granted) == sum(s["need"] for s in self.chain["stages"]), "link", "a stage too many")
        self.receipts = []
        for visit, body in zip(self.granted, self.bodies):
            try:
                self.receipts.append(self.check_link(visit, body))
            except Refused as error:
                raise error.within(f"stage {visit['stage']}: {visit['node']}") from error
        factors = sum(len(body["factors"]) for body in self.bodies)
        return (f"links: {len(self.granted)} bodies, prevhashes recomputed, {factors} factors met; "
                f"{len(self.receipts)} receipts verified under the roster's log keys")

    def check_link(self, visit, body):
        earlier = [sha256(v["link_body"]) for v in self.granted if v["stage"] < visit["stage"]]
        expected = {"network": self.t["network"], "sid": self.sid, "eid": self.t["walk"]["sid_inputs"]["eid"],
                    "chain_hash": self.chain.hash, "policy_hash": self.found["policy"].hash,
                    "envelope_hash": self.found["envelope"].hash, "generation": self.found["envelope"]["generation"],
                    "stage": visit["stage"], "slot": visit["slot"], "node": visit["node"], "prevhash": walk.prevhash(earlier),
                    "roster_version": self.found["roster"]["version"], "status_version": self.found["status"]["version"]}
        for field, value in expected.items():
            need(body[field] == value, "link", f"{field} differs")
        need(body["issued_ms"] < body["not_after_ms"] <= self.chain["not_after"], "link", "issued or not_after")
        entry = proto.entry_read(visit["entry"])
        need(entry["type"] == GRANT and entry["code"] == 0, "link", "entry is not a grant")
        need(entry["link_hash"] == sha256(visit["link_body"]), "link", "entry names another link")
        need(entry["walk_id"] == walk.walk_id(self.sid), "link", "entry of another walk")
        need(entry["policy_hash"] == self.found["policy"].hash, "link", "entry names another policy")
        need(len(entry["response_hash"]) == 32, "link", "entry without the answer's hash")
        log = self.world.nodes[visit["node"]]["log"]
        index, checkpoint = tree.receipt_verify(visit["receipt"].encode("utf-8"), visit["entry"], log)
        need(entry["index"] == index, "proof", "entry says another index than its receipt")
        return index, checkpoint

    def check_ledgers(self):
        self.exports = {}
        for node, path in self.t["tiles"].items():
            need(node in self.world.nodes and self.world.nodes[node]["log"], "format", f"{node}: no log in the roster")
            try:
                self.exports[node] = tree.Export(str(self.folder / path), self.world.nodes[node]["log"])
            except Refused as error:
                raise error.within(node) from error
        for visit, (index, checkpoint) in zip(self.granted, self.receipts):
            export = self.exports.get(visit["node"])
            need(export is not None, "not-found", f"{visit['node']}: log was not exported")
            need(index < len(export.entries) and export.entries[index] == visit["entry"], "integrity",
                 f"{visit['node']}: entry {index} of the log is another")
            need(export.root_at(checkpoint.size) == checkpoint.root, "integrity", f"{visit['node']}: receipt of another history")
        entries = sum(len(e.entries) for e in self.exports.values())
        hashes = sum(e.hashes for e in self.exports.values())
        return (f"ledgers: {len(self.exports)} logs, {entries} entries, {hashes} tile hashes and every root recomputed; "
                f"{len(self.granted)} granted entries found in place")

    def check_denials(self):
        table_ = error_table()
        logged = {}
        for export in self.exports.values():
            for entry in export.parsed:
                if entry["type"] == DENY:
                    logged[entry["code"]] = logged.get(entry["code"], 0) + max(1, entry["count"])
        codes = [denial["code"] for denial in self.t["denials"]]
        for code in set(codes):
            need(code != "ok", "format", "a denial with result ok")
            need(logged.get(table_[code][0], 0) >= codes.count(code), "integrity",
                 f"{codes.count(code)} denials {code!r}, {logged.get(table_[code][0], 0)} in the ledgers")
        expected = {denial["what"]: EXIT_CODES[table_[denial["code"]][1]] for denial in self.t["denials"]}
        need(self.t["exit_codes"] == {"unseal": 0, **expected}, "format", f"exit codes are not {{'unseal': 0, **{expected}}}")
        return f"denials: {len(codes)} found in the ledgers, {len(expected) + 1} exit codes as the error table has them"

    def check_secret(self, path):
        if path is None:
            return "secret: not checked (no --secret given)"
        need(sha256(pathlib.Path(path).read_bytes()) == self.t["secret_sha256"], "integrity", "secret: another hash")
        return "secret: hash equal"


def verify(path, secret=None):
    """-> lines that say what was verified, with counts; Refused otherwise."""
    return Verification(path).run(secret)
