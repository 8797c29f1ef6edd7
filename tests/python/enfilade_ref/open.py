# open: the workload's last steps: from the nodes' answers and the session key E to the payload.
"""An answer is the bytes of an Answer message. Visits are judged in order of stage, then slot; `sessions` carries what the walk
fixed: sid, and per visit the node, its kem key and profile."""
import hmac

from enfilade_ref import proto, shamir, th, walk, wrap
from enfilade_ref.refuse import need


class Visit:
    """One answered visit: stage, slot, node (roster entry), link body bytes and the answer's bytes."""

    def __init__(self, stage, slot, node, body, answer):
        self.stage, self.slot, self.node, self.body, self.answer = stage, slot, node, body, answer

    @property
    def link_hash(self):
        return th.sha256(self.body)


def previous(visits, stage):
    return sorted((v for v in visits if v.stage == stage - 1), key=lambda v: v.slot)


def kek(session_key, sid, visit, visits, tags):
    """tags: {(a, b): tag} of the visits before."""
    earlier = sorted((v for v in visits if v.stage < visit.stage), key=lambda v: (v.stage, v.slot))
    prev = walk.prevhash([v.link_hash for v in earlier])
    locks = [walk.lock(tags[a.node["name"], visit.node["name"]], a.node["name"], visit.node["name"])
             for a in previous(visits, visit.stage)]
    ctx = walk.session_context(visit.node["profile"], visit.node["name"], wrap.point_spki_hash(visit.node["kem"]), visit.stage,
                               visit.slot, sid, prev, locks)
    return wrap.derive(visit.node["profile"], session_key, visit.node["kem"], ctx)


def unwrap_answer(envelope, chain, session_key, sid, visit, visits, tags):
    """-> share; adds the tags for the next stage's members to `tags`."""
    answer = proto.unpack("Answer", visit.answer)
    key = kek(session_key, sid, visit, visits, tags)
    following = chain["stages"][visit.stage]["members"] if visit.stage < len(chain["stages"]) else []
    slots = {member["slot"]: member["node"] for member in following}
    need([t["slot"] for t in answer["tags"]] == sorted(slots), "format", "answer: tags are not those of the next stage")
    for item in answer["tags"]:
        need(len(item["tag"]) == 40, "format", "answer: tag length")
        tags[visit.node["name"], slots[item["slot"]]] = wrap.keyunwrap(key, item["tag"])
    member = next(m for m in envelope["stages"][visit.stage - 1]["members"] if m["slot"] == visit.slot)
    return walk.check_commitment(member["commitment"], envelope["id"], envelope["generation"], visit.stage, visit.slot,
                                 wrap.keyunwrap(key, answer["share"]))


def open_payload(envelope, chain, session_key, sid, visits, payload=None):
    """The plaintext. payload: the sealed bytes when they are not in the envelope."""
    tags, secrets = {}, []
    for number, stage in enumerate(envelope["stages"], 1):
        here = sorted((v for v in visits if v.stage == number), key=lambda v: v.slot)
        need(len(here) == stage["need"], "shares", f"stage {number}: {len(here)} answers, not {stage['need']}")
        secrets.append(shamir.combine({v.slot: unwrap_answer(envelope, chain, session_key, sid, v, visits, tags)
                                       for v in here}))
    dek = walk.dek(envelope["id"], envelope["generation"], secrets)
    need(hmac.compare_digest(walk.dek_commitment(dek), envelope["commitment"]), "commitment", "key commitment")
    sealed = envelope["payload"] if payload is None else payload
    need(len(sealed) == envelope["payload_length"] and th.sha256(sealed) == envelope["payload_hash"], "payload",
         "not the envelope's payload")
    return wrap.payload_open(walk.payload_key(dek), walk.payload_aad(envelope.owner, envelope["id"], envelope["generation"]),
                             sealed)
