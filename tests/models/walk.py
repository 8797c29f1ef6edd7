#!/usr/bin/env python3
"""walk: what an attacker can work out from a walk, as Horn clauses for a first-order prover, in variants.

    walk.py --list             the variants: name, what they change, what must come out
    walk.py NAME               the model of one variant, in TPTP's cnf, on standard output

att(t) means: the attacker can make t. Each clause is a thing that a party does, for any number of sessions at once, or
that the attacker can compute. The last clause denies that he makes the secret. A prover that finds a contradiction has
found an attack; one that saturates the clauses without it has proved that there is none. The algebra is that of
common/walk/context.h: fields in order, TH as a free function, ECDH as dh(x, y) = dh(y, x) under derive. Every model is
the worst case: evidence is forged at will, so only device keys, links and locks are left.
"""
import sys

# Two stages (three with THREE): n1 | n2 | n3, one member each; m is a roster node that the chain does not list.
FLAGS = {
    "LINKS": "on",     # on: links_check; off: whatever parses is believed (MUTANT_LINKS)
    "LOCKS": "on",     # on: the tag of the stage before locks the answer; off (MUTANT_LOCKS)
    "ENTRY": "grant",  # grant: only a GRANT entry's link field counts; any: a hash anywhere in an entry of that log
    "SID": "on",       # off: the tag does not name the session
    "BODY": "on",      # off: the tag does not name the link
    "FROM": "chain",   # who locks: chain; links: whoever the link names, any roster node
    "COUNT": "chain",  # how many locks: chain; links: as many as there are links, so none without links
    "ONEKEY": "off",   # on: kem and peer are one key, so E may be a peer key
    "EKEYS": "off",    # on: E may be a key of the network (visit.c refuses it)
    "THREE": "off",    # on: a third stage
    "TAGS": "kek",     # kek: tags leave under the key that the locks made; open: under one that they did not
    "ASK": "order",    # order: the answer of a session that n1 never granted; reach: of one that it did
}
# Sealed shares: one node, envelopes of several owners.
SEALED = {
    "OWNER": "signer",  # in ctx_share: signer: the key whose signature held; field: a field says who; none: not there
    "POLICY": "on",     # ctx_share names the policy
    "ROLE": "kept",     # stolen: the attacker signs policies
    "CONSENT": "on",    # a policy that the envelope does not name by hash needs its owner's signature
    "ASK": "share",
}
# One connection: sound evidence, relayed. The attacker is the roster node m, and a client of n1.
BIND = {
    "NODE": "on",      # bind names the node and its kem key
    "EXPORTER": "on",  # bind holds the TLS exporter
    "SERVER": "on",    # bind holds the server leaf's key
    "NONCE": "on",     # bind holds the node's nonce
    "ASK": "other",    # other: n1 accepts it on a connection of the attacker's; reach: on the client's own
}
# What is hashed where: the models above hold these fields (profile, network, generation, slot and the like are constants
# in them). ./run compares the list with common/walk/context.h, so that a change there asks for a look here.
FORMULAS = [
    'TH("sid", network, eid, client key SPKI hash, client nonce, ch)',
    'TH512("bind", sid, node, SHA-256(kem SPKI), stage, slot, nonce, exporter, SHA-256(client leaf DER), '
    'SHA-256(server leaf SPKI), prevhash)',
    'TH("prev", SHA-256(link body) of each link, by stage, then slot)',
    'TH("share", profile, network, owner key, policy name, envelope id, generation, stage, slot)',
    'TH("tag", profile, sid, a, b, SHA-256(link body of a))',
    'TH("lock", a, node)',
    'TH("session", profile, node, SHA-256(kem SPKI), stage, slot, sid, prevhash, lock_1, …)',
]
VARIANTS = [  # name, family, changes, attack expected
    ("honest-run", FLAGS, {"ASK": "reach"}, True),
    ("as-built", FLAGS, {}, False),
    ("links-off", FLAGS, {"LINKS": "off"}, False),
    ("locks-off", FLAGS, {"LOCKS": "off"}, False),
    ("links-off-locks-off", FLAGS, {"LINKS": "off", "LOCKS": "off"}, True),
    ("entry-any", FLAGS, {"ENTRY": "any"}, False),
    ("entry-any-locks-off", FLAGS, {"ENTRY": "any", "LOCKS": "off"}, True),
    ("links-off-tag-without-sid", FLAGS, {"LINKS": "off", "SID": "off"}, True),
    ("links-off-tag-without-link", FLAGS, {"LINKS": "off", "BODY": "off"}, False),
    ("links-off-lock-of-whom-the-link-names", FLAGS, {"LINKS": "off", "FROM": "links"}, True),
    ("links-off-locks-counted-by-links", FLAGS, {"LINKS": "off", "COUNT": "links"}, True),
    ("links-off-e-may-be-a-key", FLAGS, {"LINKS": "off", "EKEYS": "on"}, False),
    ("links-off-e-may-be-a-key-one-key", FLAGS, {"LINKS": "off", "EKEYS": "on", "ONEKEY": "on"}, False),
    ("three-links-off", FLAGS, {"THREE": "on", "LINKS": "off"}, False),
    ("three-links-off-tags-open", FLAGS, {"THREE": "on", "LINKS": "off", "TAGS": "open"}, True),
    ("bind", BIND, {}, False),
    ("bind-reach", BIND, {"ASK": "reach"}, True),
    ("bind-node-only", BIND, {"EXPORTER": "off", "SERVER": "off"}, False),
    ("bind-exporter-only", BIND, {"NODE": "off", "SERVER": "off"}, False),
    ("bind-server-only", BIND, {"NODE": "off", "EXPORTER": "off"}, False),
    ("bind-none-of-them", BIND, {"NODE": "off", "EXPORTER": "off", "SERVER": "off"}, True),
    ("bind-without-nonce", BIND, {"NONCE": "off"}, False),
    ("bind-without-nonce-and-exporter", BIND, {"NONCE": "off", "EXPORTER": "off"}, True),
    ("sealed", SEALED, {}, False),
    ("sealed-reach", SEALED, {"ASK": "reach"}, True),
    ("sealed-owner-from-a-field", SEALED, {"OWNER": "field", "POLICY": "off"}, True),
    ("sealed-without-owner", SEALED, {"OWNER": "none"}, False),
    ("sealed-without-owner-and-policy", SEALED, {"OWNER": "none", "POLICY": "off"}, True),
    ("sealed-without-policy", SEALED, {"POLICY": "off"}, False),
    ("sealed-without-consent", SEALED, {"CONSENT": "off"}, False),
    ("sealed-policy-role-stolen", SEALED, {"ROLE": "stolen"}, False),
    ("sealed-policy-role-stolen-no-consent", SEALED, {"ROLE": "stolen", "CONSENT": "off"}, True),
]


class Clauses:
    def __init__(self, title):
        self.lines = ["%% %s" % title]
        self.count = 0

    def rule(self, why, needs, gives):
        """All of `needs` together give each of `gives`."""
        for g in gives:
            self.count += 1
            literals = ["~" + n for n in needs] + ([g] if g else [])
            self.lines.append("cnf(c%d, axiom, (%s)). %% %s" % (self.count, " | ".join(literals), why))

    def knows(self, why, *terms):
        for t in terms:
            self.rule(why, [], [att(t)])

    def makes(self, why, *shapes):
        """The attacker applies public functions: shape (name, arity)."""
        for name, arity in shapes:
            x = ["X%d" % i for i in range(arity)]
            self.rule(why, [att(v) for v in x], [att("%s(%s)" % (name, ",".join(x)))])

    def text(self):
        return "\n".join(self.lines) + "\n"


def att(term):
    return "att(%s)" % term


def attacker(c):
    c.rule("ECDH is symmetric", [], ["dh(X,Y) = dh(Y,X)"])
    c.makes("public functions", ("pk", 1), ("kdf", 2), ("kw", 2), ("h", 1), ("sign", 2), ("lock", 3))
    c.rule("ECDH with an own exponent", [att("X"), att("pk(Y)")], [att("dh(X,Y)")])
    c.rule("unwrap", [att("kw(M,K)"), att("K")], [att("M")])
    c.rule("signatures hide nothing", [att("sign(M,K)")], [att("M")])
    c.knows("own exponents and names", "own(X)", "none", "st1", "st2", "st3", "n1", "n2", "n3", "m", "grant", "deny")


# ---- the walk

def sid(e, dev, nonce):
    return "sid(pk(%s),%s,%s,C)" % (e, dev, nonce)


def session(node, stage, s, prev, lock):
    return "session(%s,%s,%s,%s,%s)" % (node, stage, s, prev, lock)


def tag(f, za, zb, s, a, b, body):
    ctx = "tag(%s,%s,%s,%s)" % (s if f["SID"] == "on" else "none", a, b, "h(%s)" % body if f["BODY"] == "on" else "none")
    return "kdf(dh(%s,%s),%s)" % (za, zb, ctx)


def body_of(s, e, stage, node, prev):
    return "body(%s,pk(%s),%s,%s,%s)" % (s, e, stage, node, prev)


# Whose sessions there are: the attacker's, under devices that he stole, and honest workloads'. A session's client nonce
# says whether n1 ever grants to it: a(…) yes, b(…) never. Since anybody may choose either, every case is covered.
SESSIONS = [("E", dev, [att("pk(E)"), att("N"), att("C")]) for dev in ("dev1", "dev2")] + [("he(N)", "hdev", [att("C")])]


def stage1(c, f):
    for e, dev, needs in SESSIONS:
        s = sid(e, dev, "a(N)")
        body = body_of(s, e, "st1", "n1", "none")
        kek = "kdf(dh(kem1,%s),%s)" % (e, session("n1", "st1", s, "none", "none"))
        c.rule("n1 grants", needs, [att(t) for t in (
            body, "sign(entry(grant,h(%s)),log1)" % body, "kw(share1,%s)" % kek,
            "kw(%s,%s)" % (tag(f, "peer1", "peer2", s, "n1", "n2", body), kek))])
    c.rule("n1 logs refusals of whatever it was asked", [att("X")], [att("sign(entry(deny,X),log1)")])


def believed(f, s, e, stage, node, prev, log, free):
    """What the next door demands for one earlier stage: (premises, any of which does, the body that then counts)."""
    if f["LINKS"] == "off":
        return [att(free)], free
    body = body_of(s, e, stage, node, prev)
    types = ["grant", "deny"] if f["ENTRY"] == "any" else ["grant"]
    return [att("sign(entry(%s,h(%s)),%s)" % (t, body, log)) for t in types], body


def later_stage(c, f, number):
    stage = "st%d" % number
    for e, dev, needs in SESSIONS:
        for nonce in ("a(N)", "b(N)"):
            if dev == "hdev" and nonce == "b(N)":
                continue
            s = sid(e, dev, nonce)
            proofs, body = believed(f, s, e, "st1", "n1", "none", "log1", "B1")
            more, body2 = believed(f, s, e, "st2", "n2", "prev(h(%s))" % body, "log2", "B2")
            for proof in proofs:
                if number == 2:
                    grant(c, f, number, stage, s, e, needs + [proof], [body])
                else:
                    grant(c, f, number, stage, s, e, needs + [proof] + more[:1], [body, body2])


def grant(c, f, number, stage, s, e, needs, bodies):
    node, kem, peer, before = "n%d" % number, "kem%d" % number, "peer%d" % number, number - 1
    prev = "prev(h(%s))" % bodies[0] if len(bodies) == 1 else "prev2(h(%s),h(%s))" % tuple(bodies)
    mine = tag(f, "peer%d" % before, peer, s, "n%d" % before, node, bodies[-1])
    locks = [("lock(%s,n%d,%s)" % (mine, before, node), prev)]
    if f["LOCKS"] == "off":
        locks = [("none", prev)]
    if f["FROM"] == "links":
        locks.append(("lock(%s,m,%s)" % (tag(f, "peerm", peer, s, "m", node, bodies[-1]), node), prev))
    if f["COUNT"] == "links":
        locks.append(("none", "none"))
    for lock, p in locks:
        kek = "kdf(dh(%s,%s),%s)" % (kem, e, session(node, stage, s, p, lock))
        gives = ["kw(share%d,%s)" % (number, kek), "kw(z%d(%s),%s)" % (number, s, kek)]
        if f["THREE"] == "on" and number == 2:
            body = body_of(s, e, "st2", "n2", p)
            under = kek if f["TAGS"] == "kek" else "kdf(dh(kem2,%s),%s)" % (e, session("n2", "st2", s, p, "none"))
            gives += [body, "sign(entry(grant,h(%s)),log2)" % body,
                      "kw(%s,%s)" % (tag(f, "peer2", "peer3", s, "n2", "n3", body), under)]
        c.rule("%s grants" % node, needs, [att(t) for t in gives])


def walk(f):
    c = Clauses("walk " + " ".join("%s=%s" % i for i in f.items()))
    attacker(c)
    c.makes("public hashes", ("sid", 4), ("session", 5), ("tag", 4), ("prev", 1), ("prev2", 2), ("body", 5), ("entry", 2),
            ("a", 1), ("b", 1))
    peers = {"kem1": "peer1", "kem2": "peer2", "kem3": "peer3"} if f["ONEKEY"] == "on" else {}
    for k, p in peers.items():
        c.rule("one key for both", [], ["%s = %s" % (k, p)])
    c.knows("names of devices; two are stolen", "dev1", "dev2", "hdev")
    c.knows("the roster node m is the attacker's", "kemm", "peerm", "logm")
    c.knows("a session has a number", "zero")
    for n in "123":
        if f["EKEYS"] == "on":
            c.knows("the roster", "pk(kem%s)" % n, "pk(peer%s)" % n, "pk(seal%s)" % n)
        else:  # public all the same; only E may not be one of them, so they are no pk(…) that a rule could take
            c.rule("the roster: points for ECDH", [att("X")], [att("dh(X,%s%s)" % (k, n)) for k in ("kem", "peer", "seal")])
    c.knows("honest session keys", "pk(he(N))")
    stage1(c, f)
    later_stage(c, f, 2)
    last = 2
    if f["THREE"] == "on":
        later_stage(c, f, 3)
        last = 3
    nonce = "a(N)" if f["ASK"] == "reach" else "b(N)"
    c.rule("asked", [att("z%d(%s)" % (last, sid("E", "D", nonce)))], [""])
    return c.text()


# ---- sealed shares

def ctx_share(f, owner, policy, envelope):
    return "ctxshare(%s,%s,%s)" % ("none" if f["OWNER"] == "none" else owner, policy if f["POLICY"] == "on" else "none",
                                   envelope)


def sealed(f):
    """The victim's share under the victim's policy, which opens for honest workloads only; and everybody else's."""
    c = Clauses("sealed " + " ".join("%s=%s" % i for i in f.items()))
    attacker(c)
    c.makes("public hashes", ("ctxshare", 3), ("owner", 1))
    c.knows("names and public points", "envelope0", "polv", "pola", "pk(seal)", "pk(kem)", "pk(r)", "pk(workload)",
            "owner(victimkey)", "ctxsession", "thief")
    share = "kw(share,kdf(dh(r,seal),%s))" % ctx_share(f, "owner(victimkey)", "polv", "envelope0")
    c.knows("the victim's sealed share", share)
    # envelope(what its field says, who signed, policy, id, point); policy(name, what it asks); consent(owner, name, asks)
    c.rule("the victim's envelope", [], ["envelope(owner(victimkey),owner(victimkey),polv,envelope0,r)"])
    c.rule("anybody's envelope, about anything", [att(v) for v in ("K", "F", "P", "I", "pk(R)")], ["envelope(F,owner(K),P,I,R)"])
    c.rule("the victim's policy; one that asks nothing", [], ["policy(polv,strict)", "policy(pola,open)", "consent(owner(victimkey),polv,strict)"])
    c.rule("an owner consents to what he likes", [att("K")], ["consent(owner(K),P,A)"])
    if f["ROLE"] == "stolen":
        c.rule("policies by the thief", [], ["policy(P,A)"])
    owner = "F" if f["OWNER"] == "field" else "O"
    sealed_share = "kw(M,kdf(dh(seal,R),%s))" % ctx_share(f, owner, "P", "I")
    for asks, e, more in (("open", "E", [att("pk(E)")]), ("strict", "workload", [])):
        needs = ["envelope(F,O,P,I,R)", "policy(P,%s)" % asks, att(sealed_share)]
        if f["CONSENT"] == "on":
            needs.append("consent(O,P,%s)" % asks)
        c.rule("the node releases under a policy that is %s" % asks, needs + more,
               [att("kw(M,kdf(dh(kem,%s),ctxsession))" % e)])
    if f["ASK"] == "reach":
        c.knows("a thief who sealed for himself",
                "kw(mine,kdf(dh(own(none),seal),%s))" % ctx_share(f, "owner(thief)", "pola", "envelope0"))
        c.rule("asked", [att("mine")], [""])
    else:
        c.rule("asked", [att("share")], [""])
    return c.text()


# ---- one connection: is evidence good for another connection than it was made for?

def bind(f, session_id, node, nonce, client, server):
    """Evidence that carries bind; exporter = what both ends of one TLS handshake with this server share."""
    on = lambda flag, value: value if f[flag] == "on" else "none"
    return "sign(bind(%s,%s,%s,%s,%s),tee)" % (session_id, on("NODE", node), on("NONCE", nonce),
                                               on("EXPORTER", "exporter(%s,%s,%s)" % (client, server, node)),
                                               on("SERVER", "leaf(%s)" % node))


def connection(f):
    """Client runs are numbered N, n1's connections K. Whoever talks to m is in the attacker's hands, TLS and all."""
    c = Clauses("bind " + " ".join("%s=%s" % i for i in f.items()))
    attacker(c)
    c.makes("public hashes", ("exporter", 3), ("leaf", 1))
    s = "sid(pk(he(N)),hdev,cn(N))"
    c.rule("a client that is led to m tells it everything", [att("V"), att("Y")],
           [att(bind(f, s, "m", "V", "random(N)", "Y")), att("random(N)")])
    c.rule("n1's side of the attacker's connections and of others", [],
           [att("nonce(ka(K))"), att("server(ka(K))"), att("nonce(kh(K))"), att("server(kh(K))")])
    c.rule("a client that is led to n1: its random is for n1 alone, its evidence may leak", [],
           [att(bind(f, s, "n1", "nonce(kh(K))", "ton1(N)", "server(kh(K))"))])
    if f["ASK"] == "reach":
        asked = [att(bind(f, s, "n1", "nonce(kh(K))", "ton1(N)", "server(kh(K))"))]
    else:
        asked = [att("X"), att(bind(f, s, "n1", "nonce(ka(K))", "X", "server(ka(K))"))]
    c.rule("asked: n1 accepts it on connection %s" % ("kh" if f["ASK"] == "reach" else "ka"), asked, [""])
    return c.text()


def make(name):
    for n, family, changes, _ in VARIANTS:
        if n == name:
            f = dict(family, **changes)
            return {id(FLAGS): walk, id(BIND): connection, id(SEALED): sealed}[id(family)](f)
    sys.exit("walk.py: no variant %s; --list names them" % name)


def main():
    if sys.argv[1:] == ["--list"]:
        for name, family, changes, attack in VARIANTS:
            print("%-38s %-8s %s" % (name, "attack" if attack else "secret", " ".join("%s=%s" % i for i in changes.items())))
    elif len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        sys.stdout.write(make(sys.argv[1]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
