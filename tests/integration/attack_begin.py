#!/usr/bin/python3
# attack_begin: Begins that must be denied: wrong place, keys, nonce, links and chains.
"""Stage 3 with two earlier stages is where links are attacked; stage 1, where nothing came before, everything else."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import world  # noqa: E402,F401  (sets the path of enfilade_ref)
from attacker import attack, denied, edited, flip, main, must, closed  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: E402
from enfilade_ref import documents, note, proto, strict, th, tree, wrap  # noqa: E402
import time  # noqa: E402


def setting(**values):
    return lambda begin: {**begin, **values}


# ---- who is asked

@attack("3", "NETWORK_NAME")
def other_network(a):
    denied("config", a.begin_only, a.session(), "n1", setting(network="other.example"))


@attack("3", "NODE_NAME")
def other_node(a):
    denied("identity", a.begin_only, a.session(), "n1", setting(node="n2"))
    denied("identity", a.begin_only, a.session(), "n1", lambda b: {k: v for k, v in b.items() if k != "node"})


@attack("-", "PLACE")
def place_not_mine(a):
    for stage, slot in ((1, 2), (2, 1), (3, 1), (1, 0), (0, 1), (0, 0), (1, 17), (4, 1), (15, 16), (16, 1), ((1 << 64) - 1, 1),
                        (1, (1 << 64) - 1), ((1 << 32) + 1, 1), (1, 257)):
        denied("stage", a.begin_only, a.session(), "n1", setting(stage=stage, slot=slot))


# ---- E and the client nonce

@attack("14", "POINT")
def session_key_is_no_point(a):
    s = a.session()
    good, numbers = s.point, s.key.public_key().public_numbers()
    compressed = s.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    bad = [b"", b"\x00", b"\x04", bytes(65), b"\x04" + bytes(64), good[:-1], good[:33], compressed, compressed + bytes(32),
           flip(good, 8 * 64), flip(good, 8 * 1), b"\x02" + good[1:], b"\x06" + good[1:], b"\x07" + good[1:],
           b"\x04" + b"\xff" * 64, b"\x04\x41" + good[:63]]
    if numbers.x + prime < 1 << 256:  # the same point with a coordinate that is not reduced
        bad.append(b"\x04" + (numbers.x + prime).to_bytes(32, "big") + good[33:])
    bad.append(b"\x04" + good[1:33] + (prime - numbers.y + prime & (1 << 256) - 1).to_bytes(32, "big"))
    for point in bad:
        denied("session-key", a.begin_only, s, "n1", setting(session_key=point))
    spki = s.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    closed(a.begin_only, s, "n1", setting(session_key=spki))  # longer than any point: the frame is malformed


@attack("14", "NETWORK_KEYS")
def session_key_is_a_nodes(a):
    s = a.session()
    for node in ("n1", "n3"):
        for kind in ("kem", "seal", "peer"):
            denied("session-key", a.begin_only, s, "n1", setting(session_key=s.nodes[node][kind]))


@attack("16")
def client_nonce(a):
    for nonce in (b"", b"\x01", bytes(31), b"\x01" * 31):
        denied("format", a.begin_only, a.session(), "n1", setting(client_nonce=nonce))
    closed(a.begin_only, a.session(), "n1", setting(client_nonce=b"\x01" * 33))
    # A chosen nonce is no attack: it gives the attacker's own session, whose evidence must be bound to it.
    a.begin_only(a.session(), "n1", setting(client_nonce=bytes(32)))


# ---- links

def based(a):
    """Two honest sessions up to stage 3, made once for all attacks on links."""
    if "links" not in a.made:
        one, two = a.walked("n1", "n3", "n4"), a.walked("n1", "n3", "n4")
        extra = a.walked("n2")
        extra_two = a.walked("n1", "n5")
        a.made["links"] = one, two, extra, extra_two
    one, two, extra, extra_two = a.made["links"]
    one.source = two.source = a.source
    return one, two, extra, extra_two


def links_of(s):
    return [v.link for v in s.ordered(3)]


def refuse_links(a, s, links, codes="link"):
    denied(codes, a.begin_only, s, "n6", setting(links=links))


@attack("17", "LINKS")
def links_missing(a):
    s, *_ = based(a)
    gate, vault_one, vault_two = links_of(s)
    for links in ([], [gate], [vault_one, vault_two], [gate, vault_one], [gate, vault_two], [vault_one]):
        refuse_links(a, s, links)
    denied("link", a.begin_only, a.session(), "n3", setting(links=[]))


@attack("20", "LINKS")
def links_doubled_or_reordered(a):
    s, *_ = based(a)
    gate, one, two = links_of(s)
    for links in ([gate, one, one], [gate, two, two], [gate, two, one], [one, two, gate], [one, gate, two], [gate, gate, one, two],
                  [gate, one, two, two], [gate, one, two, gate], [gate, gate, gate], [gate, one, gate]):
        refuse_links(a, s, links)
    refuse_links(a, s, [gate] + [one, two] * 100)


@attack("19", "LINKS")
def links_of_another_session(a):
    s, other, *_ = based(a)
    mine, theirs = links_of(s), links_of(other)
    for links in (theirs, [theirs[0], *mine[1:]], [mine[0], theirs[1], mine[2]], [*mine[:2], theirs[2]]):
        refuse_links(a, s, links)


@attack("21", "LINKS")
def two_alternates_of_a_stage_for_the_next(a):
    """Both members of stage 1 pass for stage 1; their links are offered as stage 2."""
    s = a.session()
    a.honest(s, "n1")
    first = s.visits[0]
    s.visits.clear()
    a.honest(s, "n2")
    second = s.visits[0]
    s.visits = [first]
    for links in ([first.link, second.link], [first.link, first.link, second.link], [first.link, second.link, second.link]):
        refuse_links(a, s, links)
    denied("link", a.begin_only, s, "n3", setting(links=[first.link, second.link]))


@attack("23", "LINKS")
def links_reencoded(a):
    """The same fields in other bytes, or bytes that our rules do not allow."""
    s, *_ = based(a)
    gate, one, two = links_of(s)
    body = gate["body"]
    network = body[:2 + body[1]]
    changed = [body + b"\x88\x01\x01", body + body[-2:], body + b"\x80\x01\x00", network + body, body[2 + body[1]:] + network,
               b"\x8a\x00" + body[1:], body[:1] + bytes([body[1] | 0x80, 0]) + body[2:], body + b"\x00", body[:-1], b"", body * 2]
    for data in changed:
        refuse_links(a, s, [{**gate, "body": data}, one, two])
        refuse_links(a, s, [{**gate, "entry": data}, one, two])
    for field in ("body", "entry", "receipt"):
        refuse_links(a, s, [{**gate, field: b""}, one, two])
        refuse_links(a, s, [{**gate, field: one[field]}, one, two], "link|signature|proof")


@attack("19 51", "LINKS")
def links_with_a_flipped_bit(a):
    s, *_ = based(a)
    links = links_of(s)
    for i, link in enumerate(links):
        a.move()
        s.source = a.source
        for field in ("body", "entry", "receipt"):
            bits = 8 * len(link[field])
            for bit in range(3 + i, bits, bits // 11):
                bad = [*links]
                bad[i] = {**link, field: flip(link[field], bit)}
                refuse_links(a, s, bad, "link|signature|proof|format")


def receipt_for(ledger, index, size=None):
    """A receipt of our own making, from the entries that everyone may read."""
    size = size or int(ledger.checkpoint.split(b"\n")[1])
    leaves = [tree.leaf_hash(entry) for entry in ledger.raw[:size]]
    return tree.receipt_make(index, tree.inclusion(index, leaves), ledger.checkpoint)


@attack("22 51", "LINKS")
def receipts_of_other_leaves(a):
    s, *_ = based(a)
    a.ledgers["n1"].read()
    ledger = a.ledgers["n1"]
    gate, one, two = links_of(s)
    index = proto.entry_read(gate["entry"])["index"]
    other = next(i for i, entry in enumerate(ledger.entries) if i != index)
    good = receipt_for(ledger, index)
    lines = good.split(b"\n")
    for receipt in (receipt_for(ledger, other), good.replace(b"index %d\n" % index, b"index %d\n" % other),
                    b"\n".join(lines[:2] + lines[3:]), b"\n".join(lines[:2] + [lines[2]] + lines[2:]), good + good,
                    receipt_for(a.ledgers["n2"], 1), good[:-40], b"\n".join(reversed(lines)), b"x" * 16384):
        refuse_links(a, s, [{**gate, "receipt": receipt}, one, two], "link|signature|proof")
    # Our own receipt for the right leaf is as good as the node's: proofs need no secret.
    a.begin_only(s, "n6", setting(links=[{**gate, "receipt": good}, one, two]))
    # Any other entry with an honest receipt does not count.
    for at in [other] + [i for i, entry in enumerate(ledger.entries) if entry["type"] == 4][:2]:
        refuse_links(a, s, [{**gate, "entry": ledger.raw[at], "receipt": receipt_for(ledger, at)}, one, two])


@attack("22", "LINKS")
def receipt_by_another_key(a):
    """A tree of our own, with the very grant in it, signed by a key of ours under the node's name."""
    s, *_ = based(a)
    gate, one, two = links_of(s)
    entry = proto.entry_read(gate["entry"])
    leaves = [tree.leaf_hash(gate["entry"])] * (entry["index"] + 1)
    signer = note.seed_key(bytes(range(32)), s.nodes["n1"]["log"].name)
    checkpoint = note.sign(tree.checkpoint_text(tree.Checkpoint(signer[1].name, len(leaves), tree.root(leaves))), signer)
    receipt = tree.receipt_make(entry["index"], tree.inclusion(entry["index"], leaves), checkpoint)
    refuse_links(a, s, [{**gate, "receipt": receipt}, one, two], "link|signature|proof")


@attack("22", "LINKS")
def entry_of_a_reissue(a):
    """A REISSUE entry names the same link, has an honest receipt, and still does not count."""
    s = a.walked("n1")
    body = s.visits[0].link["body"]
    saved, s.visits = s.visits, []
    again = a.visit(s, "n1")
    must(again["link"]["body"] == body, "a reissue with another link body")
    s.visits = saved
    a.ledgers["n1"].read()
    ledger = a.ledgers["n1"]
    a.allowed["n1"] = 0
    at = next(i for i, e in enumerate(ledger.entries) if e["type"] == 3 and e["link_hash"] == th.sha256(body))
    link = {"body": body, "entry": ledger.raw[at], "receipt": receipt_for(ledger, at)}
    denied("link", a.begin_only, s, "n3", setting(links=[link]))
    a.begin_only(s, "n3", setting(links=[again["link"]]))


@attack("45 60", "LINKS")
def links_under_another_chain(a):
    """The same E, nonce and device under a chain that differs in one second: another session, and links do not cross."""
    s, *_ = based(a)
    other = a.session(session_key=s.key, client_nonce=s.client_nonce, chain=later(s.chain))
    must(other.sid != s.sid, "the chain does not enter the session")
    denied("link", a.begin_only, other, "n6", setting(links=links_of(s)))
    denied("link", a.begin_only, s, "n6", setting(links=links_of(s), chain=other.chain.text))
    # Stage 1 under the other chain is simply another session: it is challenged and would be a grant of its own.
    a.begin_only(other, "n1")


def later(chain, seconds=-1):
    return rechained(chain, ("not_after: " + strict.time_text(chain["not_after"]),
                             "not_after: " + strict.time_text(chain["not_after"] + 1000 * seconds)))


def rechained(chain, *changes):
    return documents.parse(edited(chain.text, *changes))


# ---- chains

@attack("44", "CHAIN")
def chains_that_the_policy_does_not_admit(a):
    chain = a.session().chain
    gate, vault = "members: [{slot: 1, node: n1}, {slot: 2, node: n2}]", "{slot: 3, node: n5}"
    final = "  - name: final\n    need: 1\n    members: [{slot: 1, node: n6}, {slot: 2, node: n7}]\n"
    middle = "  - name: vault\n    need: 2\n    members: [{slot: 1, node: n3}, {slot: 2, node: n4}, {slot: 3, node: n5}]\n"
    altered = [
        ((gate, "members: [{slot: 1, node: n1}, {slot: 3, node: n7}]"),),         # a member the envelope does not have
        ((gate, "members: [{slot: 1, node: n1}, {slot: 2, node: n5}]"),),         # another node in a slot, and twice
        ((gate, "members: [{slot: 1, node: n1}, {slot: 2, node: stranger}]"),),
        (("need: 2", "need: 1"),),                                                # less than the envelope's
        (("need: 2", "need: 3"),),
        (("name: gate\n    need: 1", "name: gate\n    need: 2"),),
        ((final, ""),),                                                           # a stage dropped
        ((middle, ""),),
        ((middle, "@"), (final, middle), ("@", final)),                           # order swapped
        (("name: gate", "name: door"),),
        (("not_after: " + strict.time_text(chain["not_after"]), "not_after: 2036-01-01T00:00:00Z"),),
        (("{slot: 1, node: n3}, {slot: 2, node: n4}, " + vault, "{slot: 1, node: n3}, " + vault + ", {slot: 2, node: n6}"),),
        (("operation: unlock-db", "operation: unlock-db-night"),),
    ]
    for changes in altered:
        denied("chain", a.begin_only, a.session(chain=rechained(chain, *changes)), "n1")
    past = (("not_after: " + strict.time_text(chain["not_after"]), "not_after: " + strict.time_text(int(time.time() - 60) * 1000)),)
    denied("expired", a.begin_only, a.session(chain=rechained(chain, *past)), "n1")
    dropped = rechained(chain, ("  - name: gate\n    need: 1\n    " + gate + "\n", ""))
    denied("chain|stage", a.begin_only, a.session(chain=dropped), "n3", at=(1, 1))


@attack("44 24")
def chains_that_are_none(a):
    s = a.session()
    text = s.chain.text
    for bad in (b"", b"enfilade: chain/v1\n", text[:-1], text[:200], text + text, text + b"stages: []\n", b"\n" + text, text + b"\x00\n",
                text.replace(b"need: 2", b"need: 02"), text.replace(b"need: 2", b"need: -2"), text.replace(b"need: 2", b"need: 17"),
                text.replace(b"slot: 2", b"slot: 0"), text.replace(b"slot: 2", b"slot: 1"), text.replace(b"gate", b"&a gate"),
                text.replace(b"name: gate", b"name: gate\n    name: gate"), text.replace(b"stages:", b"more: 1\nstages:"),
                text.replace(b"name: gate", b"name: !!str gate"), text.replace(b"not_after", b"not_befor"), b"---\n" + text,
                text.replace(b"gate", "g\u0430te".encode()), text.replace(b"\n", b"\r\n"), b"[" * 5000 + b"\n",
                b"enfilade: chain/v1\n" + b"a: [" * 200 + b"\n"):
        denied("format|too-long|chain", a.begin_only, s, "n1", setting(chain=bad))
    for other in [d.note for d in s.shelf.newest.values()][:6] + [s.policy.text, s.envelope.text]:
        denied("format|too-long|chain", a.begin_only, s, "n1", setting(chain=other[:65536]))
    denied("chain", a.begin_only, s, "n1", setting(chain=edited(text, ("network: quickstart.example", "network: other.example"))))
    closed(a.begin_only, s, "n1", setting(chain=text + b"#" * 65536 + b"\n"))


@attack("44 26")
def chains_under_documents_that_nobody_has(a):
    """A chain of an unknown policy or envelope: the node asks for it, and a workload that has none goes no further."""
    s = a.session()
    for changes in ((s.policy.hash.hex(), "00" * 32), (s.envelope.hash.hex(), "11" * 32)):
        other = a.session(chain=rechained(s.chain, changes))
        with other.connect("n1") as connection:
            connection.send("Begin", other.begin("n1", 1, 1))
            name, answer = connection.receive()
            must(name == "NeedDocuments" and len(answer["wants"]) == 1, f"{name} instead of NeedDocuments")


@attack("26", "CURRENT")
def chain_under_a_policy_not_in_force(a):
    """A policy that was never named by a status, however well signed, opens nothing."""
    s = a.session()
    text = edited(s.policy.text, ("chain_lifetime_s: 172800", "chain_lifetime_s: 172801"), ("\nversion: 1\n", "\nversion: 2\n"))
    a.offer("n1", a.people.sign(text, "policy", "owner-dba"))
    other = a.session(chain=rechained(s.chain, (s.policy.hash.hex(), th.sha256(text).hex())))
    denied("stale|policy", a.begin_only, other, "n1")


if __name__ == "__main__":
    sys.exit(main("attack-begin"))
