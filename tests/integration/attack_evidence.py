#!/usr/bin/python3
# attack_evidence: evidence that must not count: of another session, connection, device, key or structure.
"""All at n1, where nothing came before. What is honest is a real quote of the software TPM; what no TPM signs comes from a forger
that is enrolled with an attestation key of its own making."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import world  # noqa: E402,F401  (sets the path of enfilade_ref)
from attacker import attack, closed, denied, flip, main, must  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from enfilade_ref import tpm_device  # noqa: E402
from enfilade_ref.th import sha256  # noqa: E402
from forger import Forger, signature  # noqa: E402
import os  # noqa: E402


def field(**values):
    return lambda named: named.update(values)


def as_evidence(*pieces, format_="tpm2"):
    return {"evidence": [{"format": format_, "data": data} for data in pieces], "approvals": []}


def quoted(a, extra, template=None, pcrs=None, change=None):
    """An honest TPM's evidence over `extra` as it is."""
    with tpm_device.Device(a.client.config.tcti) as device:
        handle, ak = device.create_primary(template or tpm_device.ak_template())
        try:
            attest, sig = device.quote(handle, extra, pcrs)
            values = device.pcr_read()
        finally:
            device.flush(handle)
    parts = {"attest": attest, "signature": sig, "ak": ak, "pcrs": values}
    if change is not None:
        parts.update(change(parts))
    return tpm_device.evidence_pack(**parts)


# ---- bound to something else

@attack("1 5", "BIND")
def attest_on_another_connection(a):
    """Evidence made for one connection, shown on another of the same device: the nonce is another, or only the exporter is."""
    s = a.session()
    with s.connect("n1") as first, s.connect("n1") as second:
        begin = s.begin("n1", 1, 1)
        one, two = s.ask_begin(first, begin), s.ask_begin(second, begin)
        message = a.attest(s, first, begin, one)
        denied("bind", s.ask_attest, second, "n1", message)
        three = s.ask_begin(second, begin)
        only_exporter = a.attest(s, second, begin, three, field(exporter=first.exporter(three["nonce"])))
        denied("bind", s.ask_attest, second, "n1", only_exporter)
        a.grant("n1")
        s.ask_attest(first, "n1", message)
    del two


@attack("2", "ORDER")
def attest_twice_on_one_connection(a):
    s = a.session()
    with s.connect("n1") as connection:
        begin = s.begin("n1", 1, 1)
        message = a.attest(s, connection, begin, s.ask_begin(connection, begin))
        a.grant("n1")
        s.ask_attest(connection, "n1", message)
        closed(s.ask_attest, connection, "n1", message)


@attack("1 2", "BIND")
def attest_for_an_earlier_challenge(a):
    """The same connection, a second challenge, the evidence of the first."""
    s = a.session()
    with s.connect("n1") as connection:
        begin = s.begin("n1", 1, 1)
        old = a.attest(s, connection, begin, s.ask_begin(connection, begin))
        denied("evidence", s.ask_attest, connection, "n1", {"evidence": [], "approvals": []})
        s.ask_begin(connection, begin)
        denied("bind", s.ask_attest, connection, "n1", old)


@attack("3", "BIND")
def evidence_for_another_node(a):
    """n1's challenge relayed through a malicious n2: evidence says n2, or n2's keys."""
    from enfilade_ref import wrap
    s = a.session()
    kem = wrap.point_spki_hash(s.nodes["n2"]["kem"])
    with s.connect("n2") as other:
        server, exporter = other.server_key_hash, other.exporter(bytes(range(32)))
    for change in (field(node="n2"), field(kem=kem), field(server=server), field(exporter=exporter),
                   field(node="n2", kem=kem, server=server)):
        denied("bind", a.visit, a.session(), "n1", fields=change)


@attack("15 16", "BIND")
def evidence_for_another_session(a):
    for change in (field(sid=a.session().sid), field(sid=bytes(32)), field(stage=2), field(slot=2), field(nonce=bytes(32)),
                   field(nonce=os.urandom(32)), field(prev=bytes(32)), field(prev=os.urandom(32)), field(leaf=os.urandom(32))):
        denied("bind", a.visit, a.session(), "n1", fields=change)


@attack("6", "BIND")
def other_client_certificate(a):
    """The same device key under a second certificate (same session, another leaf), then another enrolled device's."""
    s = a.session()
    second = a.certificate(s.device_key)
    denied("bind", a.visit, s, "n1", connect={"certificate": second})
    f = enrolled(a)
    denied("bind", a.visit, a.session(), "n1", connect={"certificate": f.certificate, "key": f.device_key})
    denied("bind", a.visit, f.session(), "n1", connect={"certificate": s.certificate, "key": s.device_key},
           attest=lambda m, b: as_evidence(quoted(a, sha256(b))))


@attack("8", "BIND")
def report_data_short_or_zero(a):
    """Real quotes over nothing, zeros, half of the digest, the bind itself, or something of the right length."""
    for change in (lambda b: b"", lambda b: bytes(32), lambda b: sha256(b)[:16], lambda b: sha256(b)[:31], lambda b: b[:32],
                   lambda b: b[32:], lambda b: sha256(sha256(b)), lambda b: bytes(1), lambda b: sha256(b[:32])):
        denied("bind", a.visit, a.session(), "n1", attest=lambda m, bind, c=change: as_evidence(quoted(a, c(bind))))


# ---- no evidence, or none that can be read

@attack("8 63")
def evidence_absent_or_garbage(a):
    denied("evidence", a.visit, a.session(), "n1", attest=lambda m, b: {})
    for data in (b"", b"\x00", b"\xff" * 100, os.urandom(2000), b"\x0a\x00", bytes(65536)):
        denied("evidence", a.visit, a.session(), "n1", attest=lambda m, b, d=data: as_evidence(d))
    for name in ("", "sev-snp", "tdx", "sgx", "nitro", "eat", "test", "TPM2", "tpm2 ", "tpm"):
        denied("evidence", a.visit, a.session(), "n1",
               attest=lambda m, b, n=name: as_evidence(m["evidence"][0]["data"], format_=n))


@attack("8 63")
def evidence_truncated_or_padded(a):
    def cut(length):
        return lambda m, b: as_evidence(m["evidence"][0]["data"][:length])
    for length in (1, 2, 50, 150, 200, 300, 400):
        denied("evidence", a.visit, a.session(), "n1", attest=cut(length))
    for tail in (b"\x00", b"\x22\x02\x0a\x00", b"\x28\x01"):
        denied("evidence", a.visit, a.session(), "n1", attest=lambda m, b, t=tail: as_evidence(m["evidence"][0]["data"] + t))
    for part in ("attest", "signature", "ak"):
        for change in (lambda d: d[:-1], lambda d: d + b"\x00", lambda d: b"", lambda d: d[1:]):
            def altered(m, bind, p=part, c=change):
                return as_evidence(quoted(a, sha256(bind), change=lambda parts: {p: c(parts[p])}))
            denied("evidence", a.visit, a.session(), "n1", attest=altered)


@attack("63")
def good_and_bad_pieces(a):
    """A piece that does not do never counts for one that comes before or after it, and many are as good as none."""
    other = a.session()
    def of_another(m, bind):
        return as_evidence(b"garbage", quoted(a, sha256(b"another bind")), b"garbage")
    denied("bind|evidence", a.visit, other, "n1", attest=of_another)
    denied("evidence", a.visit, a.session(), "n1", attest=lambda m, b: as_evidence(*[b"x"] * 8))
    closed(a.visit, a.session(), "n1", attest=lambda m, b: as_evidence(*[b"x"] * 9))


# ---- TPM: what it is a quote of

@attack("11 8", "PCR_DIGEST")
def pcr_values_altered(a):
    """The policy's value is claimed, the quote is over another; or the values are not those of the selection."""
    wanted = Forger(a).pcrs[14]
    def claim(change):
        def run(m, bind):
            return as_evidence(quoted(a, sha256(bind), change=lambda parts: {"pcrs": change(dict(parts["pcrs"]))}))
        return run
    for change in (lambda p: {**p, 13: wanted}, lambda p: {**p, 0: os.urandom(32)}, lambda p: {14: p[14]}, lambda p: {},
                   lambda p: {i: v for i, v in p.items() if i != 3}, lambda p: {**p, 14: p[14][:31]}):
        denied("evidence", a.visit, a.session(), "n1", attest=claim(change))
    for selected in (b"\x01\x00\x00", b"\x00\x00\x80"):  # PCR 14 is not among them
        def other(m, bind, bits=selected):
            index = bits.index(max(bits)) * 8 + max(bits).bit_length() - 1
            return as_evidence(quoted(a, sha256(bind), pcrs=tpm_device.selection(bits),
                                      change=lambda parts: {"pcrs": {index: parts["pcrs"][index]}}))
        denied("evidence", a.visit, a.session(), "n1", attest=other)


@attack("11", "QUOTE_SIGNATURE")
def signature_of_another_key(a):
    key = ec.generate_private_key(ec.SECP256R1())
    for sign in (lambda attest: signature(key, attest), lambda attest: signature(key, b"")):
        def altered(m, bind, s=sign):
            return as_evidence(quoted(a, sha256(bind), change=lambda parts: {"signature": s(parts["attest"])}))
        denied("evidence", a.visit, a.session(), "n1", attest=altered)
    for bit in (8 * 10, 8 * 60, 8 * 100):
        def flipped(m, bind, b=bit):
            return as_evidence(quoted(a, sha256(bind), change=lambda parts: {"attest": flip(parts["attest"], b)}))
        denied("evidence", a.visit, a.session(), "n1", attest=flipped)


# ---- enrolment

@attack("7", "TUPLE")
def another_attestation_key(a):
    """A good quote, rightly bound, of the same TPM by a key that is not enrolled; and of another device's TPM."""
    other = tpm_device.ak_template(tpm_device.AK_ATTRIBUTES & ~(1 << 10))
    denied("device", a.visit, a.session(), "n1", attest=lambda m, b: as_evidence(tpm_device.evidence(a.client.config.tcti, b, other)))
    mine = Forger(a)
    denied("device", a.visit, a.session(), "n1", attest=lambda m, b: as_evidence(mine.evidence(b)))


@attack("7", "TUPLE")
def device_with_anothers_evidence(a):
    """The forger is enrolled with its own key and shows the honest TPM's quote; and the other way round."""
    f = enrolled(a)
    def honest_tpm(m, bind):
        return as_evidence(tpm_device.evidence(a.client.config.tcti, bind))
    denied("device", a.visit, f.session(), "n1", attest=honest_tpm)
    denied("device", a.visit, a.session(), "n1", attest=lambda m, b: as_evidence(f.evidence(b)))


@attack("7 48")
def device_not_enrolled(a):
    s = a.session()
    s.device_key = ec.generate_private_key(ec.SECP256R1())
    s.certificate = a.certificate(s.device_key, name="web-1")  # another device's name changes nothing
    denied("device", a.visit, s, "n1")


def enrolled(a):
    if "forger" not in a.made:
        a.made["forger"] = Forger(a)
        a.made["forger"].enrol("n1")
    return a.made["forger"]


def forged(a, codes, **changes):
    f = enrolled(a)
    denied(codes, a.visit, f.session(), "n1", attest=lambda m, b: as_evidence(f.evidence(b, **changes)))


@attack("11", "MAGIC")
def quote_not_made_by_a_tpm(a):
    """The forger's evidence counts when it says what a TPM says, so each refusal below is for what it says."""
    f = enrolled(a)
    a.grant("n1")
    a.visit(f.session(), "n1", attest=lambda m, b: as_evidence(f.evidence(b)))
    for magic in (0, 0xFF544348, 0x474354FF):
        forged(a, "evidence", magic=magic)


@attack("11", "QUOTE_TYPE")
def structure_that_is_no_quote(a):
    for kind in (0x8017, 0x8019, 0x801A, 0x8014, 0):
        forged(a, "evidence", kind=kind)


@attack("11")
def selection_of_another_bank(a):
    for changes in ({"bank": 0x0004}, {"bank": 0x000C}, {"count": 0}, {"count": 2}, {"selected": []}, {"tail": b"\x00"}, {"safe": 2},
                    {"digest": b""}, {"digest": bytes(20)}, {"selected": [13], "pcrs": {14: Forger(a).pcrs[14]}}):
        forged(a, "evidence", **changes)


@attack("11", "ATTRIBUTES")
def key_that_signs_anything(a):
    """An attestation key that is enrolled but not restricted could have signed a quote that no TPM made."""
    for missing in (16, 18, 1, 4, 5):
        f = Forger(a, tpm_device.AK_ATTRIBUTES & ~(1 << missing))
        f.enrol("n1")
        denied("evidence", a.visit, f.session(), "n1", attest=lambda m, b, g=f: as_evidence(g.evidence(b)))
    f = Forger(a, tpm_device.AK_ATTRIBUTES | 1 << 17)
    f.enrol("n1")
    denied("evidence", a.visit, f.session(), "n1", attest=lambda m, b: as_evidence(f.evidence(b)))


@attack("12 9 10 13")
def formats_that_this_build_has_not(a):
    """Until SNP, TDX, SGX, Nitro and EAT are built in, evidence in them is evidence that does not do, whatever it holds."""
    for name in ("snp", "sev-snp", "tdx", "sgx", "nitro", "eat", "ear", "cca", "psa", "azure"):
        denied("evidence", a.visit, a.session(), "n1", attest=lambda m, b, n=name: as_evidence(os.urandom(1184), format_=n))


@attack("42")
def address_outside(a):
    s = a.session()
    s.source = "127.99.99.99"
    denied("network", a.visit, s, "n1")


@attack("-")
def honest_afterwards(a):
    """After all of it the network does what it did before."""
    s = a.session()
    for node in ("n1", "n3", "n4", "n6"):
        a.honest(s, node)
    must(len(s.open()) == 65, "the secret")


if __name__ == "__main__":
    sys.exit(main("attack-evidence"))
