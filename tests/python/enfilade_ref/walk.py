# walk: who hashes what: every hash and key of the protocol that has more than one field.
"""The field lists are those of the design (§4 to §7). Names are str, integers int, hashes and points bytes."""
import hmac

from enfilade_ref import th as hashing
from enfilade_ref import wrap
from enfilade_ref.refuse import need

STAGE_MAX = 15
SLOT_MAX = 16


def eid(session_point):
    return wrap.point_spki_hash(session_point)


def sid(network, eid_hash, client_key_hash, client_nonce, chain_hash):
    return hashing.th("sid", network, eid_hash, client_key_hash, client_nonce, chain_hash)


def walk_id(sid_hash):
    return hashing.th("walk", sid_hash)[:16]


def bind(sid_hash, node, kem_hash, stage, slot, nonce, exporter, client_leaf_hash, server_key_hash, prev):
    return hashing.th512("bind", sid_hash, node, kem_hash, stage, slot, nonce, exporter, client_leaf_hash,
                         server_key_hash, prev)


def prevhash(link_hashes):
    """SHA-256 of each link body, by stage, then slot; none at stage 1."""
    return hashing.th("prev", *link_hashes)


def share_context(profile, network, owner, policy_name, envelope_id, generation, stage, slot):
    return hashing.th("share", profile, network, owner, policy_name, envelope_id, generation, stage, slot)


def commitment(envelope_id, generation, stage, slot, share, salt):
    return hashing.th("commitment", envelope_id, generation, stage, slot, share, salt)


def tag_context(profile, sid_hash, a, b, link_hash):
    return hashing.th("tag", profile, sid_hash, a, b, link_hash)


def lock_plain(a, node):
    return hashing.th("lock", a, node)


def lock(tag, a, node):
    return wrap.aes_cbc_zero_iv(tag, lock_plain(a, node))


def session_context(profile, node, kem_hash, stage, slot, sid_hash, prev, locks):
    """locks: in slot order of the previous stage."""
    return hashing.th("session", profile, node, kem_hash, stage, slot, sid_hash, prev, *locks)


def dek_salt(envelope_id, generation):
    return hashing.th("dek-salt", envelope_id, generation)


def payload_aad(owner, envelope_id, generation):
    return hashing.th("payload", owner, envelope_id, generation)


def dek(envelope_id, generation, stage_secrets):
    need(1 <= len(stage_secrets) <= STAGE_MAX and all(len(s) == 32 for s in stage_secrets), "shares", "stage secrets")
    prk = wrap.hkdf_extract(dek_salt(envelope_id, generation), b"".join(stage_secrets))
    return wrap.hkdf_expand(prk, b"enfilade/v1/dek", 32)


def dek_commitment(dek_key):
    return wrap.hkdf_expand(dek_key, b"enfilade/v1/commit", 32)


def payload_key(dek_key):
    return wrap.hkdf_expand(dek_key, b"enfilade/v1/payload", 32)


def seal_share(profile, seal_point, scalar, context, share, salt):
    """The sealer's side: (R, sealed) for one member."""
    r = wrap.key_from_scalar(scalar)
    return wrap.key_point(r), wrap.keywrap(wrap.derive(profile, r, seal_point, context), share + salt)


def check_commitment(expected, envelope_id, generation, stage, slot, share_and_salt):
    need(len(share_and_salt) == 64, "format", "share and salt are 64 bytes")
    made = commitment(envelope_id, generation, stage, slot, share_and_salt[:32], share_and_salt[32:])
    need(hmac.compare_digest(made, expected), "commitment", "the share does not match its commitment")
    return share_and_salt[:32]
