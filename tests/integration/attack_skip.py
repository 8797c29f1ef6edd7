#!/usr/bin/python3
# attack_skip: a workload that begins at stage 2 with a link of its own making, against the real build and three broken ones.
"""The design's three locks, one taken away after the other: a receipt that must hold, chain tags, and mathematics.

    build                 what the intruder meets at stage 2
    as released           Deny: link
    LINKS   (no check)    an answer that does not open: it lacks the tag that only n1's token mints
    LOCKS   (no tags)     Deny: link
    LINKS and LOCKS       an answer that opens; the payload still does not, for stage 1's secret is missing"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import builds  # noqa: E402
import world as worlds  # noqa: E402
from attacker import Attacker, Missed, denied, must  # noqa: E402
from enfilade_ref import proto, shamir, walk, wrap  # noqa: E402
from enfilade_ref.client import now_ms  # noqa: E402
from enfilade_ref.refuse import Refused  # noqa: E402
from enfilade_ref.th import sha256  # noqa: E402

VAULT = ("n3", "n4")


def fabricated(s):
    """A link that parses: everything in it is right but that n1 never made it."""
    body = {"network": s.config.network, "sid": s.sid, "eid": s.eid, "chain_hash": s.chain.hash, "policy_hash": s.policy.hash,
            "envelope_hash": s.envelope.hash, "generation": s.envelope["generation"], "stage": 1, "slot": 1, "node": "n1",
            "prevhash": walk.prevhash([]), "factors": [{"name": name} for name in s.expected_factors(1)],
            "roster_version": s.roster["version"], "status_version": s.status["version"], "issued_ms": now_ms(),
            "not_after_ms": s.chain["not_after"]}
    packed = proto.pack("LinkBody", body)
    entry = {"type": 2, "index": 5, "time_ms": now_ms(), "walk_id": walk.walk_id(s.sid), "policy_hash": s.policy.hash,
             "link_hash": sha256(packed), "response_hash": bytes(31) + b"\x01"}
    return {"body": packed, "entry": proto.pack("Entry", entry), "receipt": b"c2sp.org/tlog-proof@v1\nindex 5\n\n"}


class Intruder:
    """A session whose first stage is a lie."""

    def __init__(self, attacker):
        self.attacker, self.s = attacker, attacker.session()
        self.link = fabricated(self.s)
        self.hash = sha256(self.link["body"])

    def release(self, node):
        """The whole visit of stage 2; evidence is bound to the prevhash that the lie gives."""
        return self.attacker.visit(self.s, node, begin=lambda begin: {**begin, "links": [self.link]},
                                   fields=lambda named: named.update(prev=walk.prevhash([self.hash])))

    def share(self, node, release, locks):
        """What the answer holds if these were the locks."""
        entry, (stage, slot) = self.s.nodes[node], self.attacker.place(node)
        ctx = walk.session_context(entry["profile"], node, wrap.point_spki_hash(entry["kem"]), stage, slot, self.s.sid,
                                   walk.prevhash([self.hash]), locks)
        kek = wrap.derive(entry["profile"], self.s.key, entry["kem"], ctx)
        member = next(m for m in self.s.envelope["stages"][1]["members"] if m["slot"] == slot)
        return walk.check_commitment(member["commitment"], self.s.envelope["id"], self.s.envelope["generation"], stage, slot,
                                     wrap.keyunwrap(kek, proto.unpack("Answer", release["answer"])["share"]))


def does_not_open(intruder, node, release):
    """Without the tag there is no lock; guesses that cost nothing do not help."""
    own = walk.lock(bytes(32), "n1", node)
    for locks in ([], [own], [bytes(32)], [walk.lock_plain("n1", node)]):
        try:
            intruder.share(node, release, locks)
        except Refused as error:
            must(error.code == "signature", f"the key wrap failed with {error}")
            continue
        raise Missed(f"{node}'s answer opens without n1's tag")


def as_released(attacker):
    for node in VAULT:
        denied("link", Intruder(attacker).release, node)


def without_links(attacker):
    intruder = Intruder(attacker)
    for node in VAULT:
        attacker.grant(node)
        does_not_open(intruder, node, intruder.release(node))


def without_locks(attacker):
    as_released(attacker)


def without_both(attacker):
    intruder, shares = Intruder(attacker), {}
    for node in VAULT:
        attacker.grant(node)
        shares[attacker.place(node)[1]] = intruder.share(node, intruder.release(node), [])
    secret, envelope = shamir.combine(shares), intruder.s.envelope
    for first in (bytes(32), secret):
        dek = walk.dek(envelope["id"], envelope["generation"], [first, secret, secret])
        must(walk.dek_commitment(dek) != envelope["commitment"], "the payload's key without stage 1")


CASES = (("mutant-links", without_links), ("mutant-locks", without_locks), ("mutant-links-locks", without_both))


def main():
    for name, _ in CASES:
        builds.folder(name)
    world = worlds.World("attack-skip")
    try:
        attacker = Attacker(world)
        attacker.run_one(as_released)
        print("as released: denied")
        attacker.run_one(lambda a: [a.honest(s, n) for s in [a.session()] for n in ("n1", "n3", "n4", "n6")])
        world.localnet("stop", *VAULT)
        for name, case in CASES:
            with builds.running(world, name, *VAULT):
                attacker.run_one(case)
                print(f"{name}: {case.__name__.replace('_', ' ')}: as the design says")
        return 0
    finally:
        world.close()


if __name__ == "__main__":
    sys.exit(main())
