#!/usr/bin/python3
# attack_mutants: every defence that tests/ATTACKS.md names is left out once, and its attacks must then succeed.
"""One network run by the build `mutant-switch`; n1, n3 and n6 are started anew for each mutant. An attack that is still answered
as it must be, although its defence is gone, proves nothing: that fails here. Also: no released program knows of mutants."""
import os
import pathlib
import re
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import builds  # noqa: E402
import world as worlds  # noqa: E402
from attacker import ATTACKS, Attacker, Missed  # noqa: E402
import attack_begin  # noqa: E402,F401  (registers its attacks)
import attack_documents  # noqa: E402,F401
import attack_evidence  # noqa: E402,F401
import attack_input  # noqa: E402,F401

# These leave documents behind that a node should not have: they come last, the worst at the very end.
LAST = ("FRESH", "HALTS", "REVOKED_NODE", "ROLLBACK", "THRESHOLD")
NODES = ("n1", "n3", "n6")
PROGRAMS = ("enfilade", "enfilade-node", "enfilade-tokend")
MARKS = (b"ENFILADE_MUTANT", b"NETWORK_KEYS", b"SERVER_IDENTITY", b"QUOTE_SIGNATURE")


def programs_are_clean(released):
    """The names of mutants stand in the mutant build, and in no program that is released."""
    for program in PROGRAMS:
        data = (released / program).read_bytes()
        found = [mark for mark in MARKS if mark in data]
        if found:
            raise AssertionError(f"{released / program} knows of {found}")
    if MARKS[0] not in (builds.folder("mutant-switch") / "enfilade-node").read_bytes():
        raise AssertionError("the mutant build has no switch")


def table_is_whole():
    """tests/ATTACKS.md names every attack and every mutant."""
    text = (worlds.TOP / "tests/ATTACKS.md").read_text(encoding="utf-8")
    missing = [word for name, _, mutant, _ in ATTACKS for word in (name, mutant)
               if word and word != "honest_afterwards" and not re.search(rf"\b{word}\b", text)]
    if missing:
        raise AssertionError(f"tests/ATTACKS.md does not name {sorted(set(missing))}")


def restart(attacker, world, mutant):
    pids = [world.pid(node) for node in NODES]
    for node, pid in zip(NODES, pids):
        if attacker.alive(node):
            os.kill(pid, signal.SIGKILL)
    worlds.until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), 10, "the nodes are gone")
    world.localnet("start", *NODES, env={"ENFILADE_MUTANT": mutant} if mutant else None)


def seen_failing(attacker, mutant, function):
    """-> what the attack met without its defence, or None when it was answered as if nothing were missing."""
    try:
        attacker.world.env["ENFILADE_MUTANT"] = mutant  # for the client's own defences, too
        attacker.run_one(function)
    except Missed as missed:
        return str(missed)
    return None


def main():
    table_is_whole()
    programs_are_clean(worlds.BIN)
    worlds.BIN = builds.folder("mutant-switch")
    world, failed = worlds.World("attack-mutants"), 0
    try:
        attacker = Attacker(world)
        mutants = sorted({mutant for _, _, mutant, _ in ATTACKS if mutant}, key=lambda m: (LAST.index(m) + 1 if m in LAST else 0, m))
        for mutant in [m for m in mutants if not sys.argv[1:] or m in sys.argv[1:]]:
            restart(attacker, world, mutant)
            for name, rows, _, function in [a for a in ATTACKS if a[2] == mutant]:
                if not all(attacker.alive(node) for node in NODES):  # the attack before ended one
                    restart(attacker, world, mutant)
                started = time.monotonic()
                met = seen_failing(attacker, mutant, function)
                failed += met is None
                print(f"{mutant:16} {name:40} rows {rows:8} {time.monotonic() - started:5.2f} s  "
                      f"{'NOT NOTICED' if met is None else 'noticed: ' + met[:90]}", flush=True)
        print(f"{failed} mutants were not noticed" if failed else "every mutant was noticed")
        return 1 if failed else 0
    finally:
        world.close()


if __name__ == "__main__":
    sys.exit(main())
