# books: what the exported logs say against what clients received: an entry for every answer, one grant a door, the same bytes again.
"""Pure but for read(): judge() takes parsed logs and the clients' notes (tests/lib/load.py), so that a test can hand it
notes and logs with one thing changed and see it object."""
import collections
import shutil

import world as worlds
from enfilade_ref import tree

GRANT, REISSUE = 2, 3
REISSUES_MAX = 3

Log = collections.namedtuple("Log", "entries roots")  # parsed entries in order; the root at every size


def roots(leaves):
    """The root of every tree of 0 … len(leaves) leaves, in one pass over perfect subtrees."""
    out, peaks = [tree.root([])], []
    for leaf in leaves:
        peaks.append((1, leaf))
        while len(peaks) > 1 and peaks[-1][0] == peaks[-2][0]:
            (size, right), (_, left) = peaks.pop(), peaks.pop()
            peaks.append((size * 2, tree.node_hash(left, right)))
        value = peaks[-1][1]
        for _, left in reversed(peaks[:-1]):
            value = tree.node_hash(left, value)
        out.append(value)
    return out


def log_of(export):
    """An enfilade_ref.tree.Export -> Log"""
    return Log(export.parsed, roots(export.leaves))


def read(world):
    """Exports every node's log and recomputes it. -> {node: Log}"""
    keys, logs = {n["name"]: n["log"] for n in world.document("roster")["nodes"]}, {}
    for node in worlds.HSM:
        folder = world.tmp / f"export-{node}"
        done = world.enfilade("audit", "export", node, folder)
        assert done.code == 0, done.err
        logs[node] = log_of(tree.Export(str(folder), keys[node]))
        shutil.rmtree(folder)
    return logs


def by_walk(log, kind):
    found = collections.defaultdict(list)
    for entry in log.entries:
        if entry["type"] == kind:
            found[entry["walk_id"]].append(entry)
    return found


def judge_door(seen, grants, reissues):
    """One door of one session. -> what is wrong with it"""
    wrong = []
    answers = seen["answers"]
    if len(grants) > 1:
        wrong.append(f"{len(grants)} grants")
    if answers and not grants:
        wrong.append("an answer without an entry")
    if len({(link, response) for link, _, response in answers}) > 1:
        wrong.append("another answer on retry")
    for entry in grants + reissues:
        if any((entry["link_hash"], entry["response_hash"]) != (link, response) for link, _, response in answers):
            wrong.append(f"entry {entry['index']} is of another answer")
        if (entry["link_hash"], entry["response_hash"]) != (grants[0]["link_hash"], grants[0]["response_hash"]) if grants else True:
            wrong.append(f"entry {entry['index']} differs from the grant")
    if len(answers) > len(grants) + len(reissues):
        wrong.append(f"{len(answers)} answers, {len(grants) + len(reissues)} entries")
    if len(grants) + len(reissues) > seen["attests"]:
        wrong.append(f"{len(grants) + len(reissues)} entries for {seen['attests']} requests")
    if len(reissues) > REISSUES_MAX:
        wrong.append(f"{len(reissues)} reissues")
    return wrong


def judge_receipts(node, log, receipts):
    """receipts: (size, root) of every checkpoint that a client received."""
    return [f"{node}: a receipt's checkpoint of size {size} is no head of the log" for size, value in sorted(receipts)
            if size >= len(log.roots) or log.roots[size] != value]


def judge(logs, visits):
    """-> list of what is wrong, empty when every book agrees with every client"""
    wrong, used = [], collections.defaultdict(set)
    grants = {node: by_walk(log, GRANT) for node, log in logs.items()}
    reissues = {node: by_walk(log, REISSUE) for node, log in logs.items()}
    for seen in visits:
        node, walk_id = seen["node"], seen["walk_id"]
        used[node].add(walk_id)
        wrong += [f"{node}: walk {walk_id.hex()}: {text}"
                  for text in judge_door(seen, grants[node].get(walk_id, []), reissues[node].get(walk_id, []))]
    for node, log in logs.items():
        strangers = (set(grants[node]) | set(reissues[node])) - used[node]
        wrong += [f"{node}: walk {walk_id.hex()}: entries of a walk that nobody made" for walk_id in sorted(strangers)]
        wrong += judge_receipts(node, log, {seen_checkpoint(text) for seen in visits if seen["node"] == node
                                            for text in seen["receipts"]})
    return wrong


def seen_checkpoint(receipt):
    """(size, root) of a receipt, whose signature the client has checked."""
    text = receipt.partition(b"\n\n")[2].rpartition(b"\n\n")[0] + b"\n"
    checkpoint = tree.checkpoint_read(text)
    return checkpoint.size, checkpoint.root


def unanswered(logs, visits):
    """How many entries were committed whose answer reached nobody, without a client having lost it."""
    count = 0
    for node, log in logs.items():
        entries = collections.Counter(e["walk_id"] for e in log.entries if e["type"] in (GRANT, REISSUE))
        count += sum(max(0, entries[seen["walk_id"]] - len(seen["answers"]) - seen["lost"]) for seen in visits if seen["node"] == node)
    return count


def totals(logs):
    counts = collections.Counter()
    for log in logs.values():
        counts.update({GRANT: "grants", REISSUE: "reissues"}.get(entry["type"], "others") for entry in log.entries)
    return dict(counts)
