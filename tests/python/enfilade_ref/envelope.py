# envelope: makes a sealed envelope, and opens its shares with the nodes' seal keys (for tests of the maker).
"""Randomness comes from a `take(length)` function, so that a test can be deterministic."""
import base64

from enfilade_ref import note as notes
from enfilade_ref import shamir, strict, th, walk, wrap


def text_of(fields, payload, stages):
    """The YAML text, in the README's order."""
    lines = ["enfilade: envelope/v1"] + [f"{key}: {value}" for key, value in fields]
    if payload is not None:
        lines.append(f"payload: {base64.b64encode(payload).decode()}")
    lines.append("stages:")
    for stage in stages:
        lines += [f"  - name: {stage['name']}", f"    need: {stage['need']}", "    members:"]
        for m in stage["members"]:
            lines += [f"      - slot: {m['slot']}", f"        node: {m['node']}", f"        profile: {m['profile']}"]
            lines += [f"        {key}: {base64.b64encode(m[key]).decode()}" for key in ("seal", "point", "sealed")]
            lines.append(f"        commitment: {m['commitment'].hex()}")
    return ("\n".join(lines) + "\n").encode("ascii")


def seal_stage(take, stage, number, identity, network):
    """identity: (owner, policy name, envelope id, generation). -> (secret, members)"""
    owner, policy_name, envelope_id, generation = identity
    secret, members = take(32), stage["members"]
    shares = shamir.split(secret, stage["need"], [m["slot"] for m in members], [take(32) for _ in range(stage["need"] - 1)])
    sealed = []
    for m in members:
        ctx = walk.share_context(m["profile"], network, owner, policy_name, envelope_id, generation, number, m["slot"])
        salt, share = take(32), shares[m["slot"]]
        scalar = (int.from_bytes(take(40), "big") % (wrap.P256_ORDER - 1) + 1).to_bytes(32, "big")
        r, blob = walk.seal_share(m["profile"], m["seal"], scalar, ctx, share, salt)
        sealed.append(dict(m, point=r, sealed=blob, commitment=walk.commitment(envelope_id, generation, number, m["slot"],
                                                                               share, salt)))
    return secret, sealed


def make(take, network, signer, policy, operation, envelope_id, generation, stages, plain, issued_ms, expires_ms, inline=True):
    """signer: (private, Key) of the owner; policy: a Document; stages: [{name, need, members: [{slot, node, profile, seal}]}].
    -> (note, sealed payload)"""
    identity = (signer[1].public, policy["name"], envelope_id, generation)
    made = [seal_stage(take, stage, i + 1, identity, network) for i, stage in enumerate(stages)]
    dek = walk.dek(envelope_id, generation, [secret for secret, _ in made])
    payload = wrap.payload_seal(walk.payload_key(dek), walk.payload_aad(signer[1].public, envelope_id, generation), plain)
    fields = (("network", network), ("id", envelope_id.hex()), ("generation", generation), ("operation", operation),
              ("policy", policy["name"]), ("policy_hash", policy.hash.hex()), ("issued", strict.time_text(issued_ms)),
              ("expires", strict.time_text(expires_ms)), ("commitment", walk.dek_commitment(dek).hex()),
              ("payload_hash", th.sha256(payload).hex()), ("payload_length", len(payload)))
    sealed_stages = [dict(stage, members=members) for stage, (_, members) in zip(stages, made)]
    return notes.sign(text_of(fields, payload if inline else None, sealed_stages), signer), payload


def share_at_node(envelope, stage, slot, seal_key):
    """What a node's token does first: unwrap share ‖ salt (64 bytes)."""
    member = next(m for m in envelope["stages"][stage - 1]["members"] if m["slot"] == slot)
    ctx = walk.share_context(member["profile"], envelope["network"], envelope.owner, envelope["policy"], envelope["id"],
                             envelope["generation"], stage, slot)
    return wrap.keyunwrap(wrap.derive(member["profile"], seal_key, member["point"], ctx), member["sealed"])
