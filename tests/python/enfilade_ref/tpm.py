# tpm: verifies a TPM 2.0 quote: TPMS_ATTEST, TPMT_SIGNATURE, TPMT_PUBLIC and the PCR values that were quoted.
"""Big-endian structures of the TCG TPM 2.0 Library, part 2 (§10.12 attestation, §11.3 signatures, §12.2 public areas)."""
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from enfilade_ref import proto
from enfilade_ref.refuse import Refused, need
from enfilade_ref.th import sha256

MAGIC, QUOTE = 0xFF544347, 0x8018
HASHES = {0x000B: ("sha256", hashes.SHA256), 0x000C: ("sha384", hashes.SHA384), 0x000D: ("sha512", hashes.SHA512)}
RSASSA, RSAPSS, ECDSA, NULL = 0x0014, 0x0016, 0x0018, 0x0010
TYPE_RSA, TYPE_ECC = 0x0001, 0x0023
CURVES = {0x0003: (ec.SECP256R1, 32), 0x0004: (ec.SECP384R1, 48), 0x0005: (ec.SECP521R1, 66)}
NEEDED_ATTRIBUTES = {1: "fixedTPM", 4: "fixedParent", 5: "sensitiveDataOrigin", 16: "restricted", 18: "sign"}
DECRYPT = 17
RESERVED = 0xFFF0F309  # bits of TPMA_OBJECT without a meaning


class Reader:
    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def take(self, length):
        need(length <= len(self.data) - self.at, "evidence", f"{self.what}: truncated")
        self.at += length
        return self.data[self.at - length:self.at]

    def number(self, length):
        return int.from_bytes(self.take(length), "big")

    def sized(self, most):
        length = self.number(2)
        need(length <= most, "evidence", f"{self.what}: field of {length} bytes")
        return self.take(length)

    def end(self):
        need(self.at == len(self.data), "evidence", f"{self.what}: trailing bytes")


def attest_read(data):
    r = Reader(data, "TPMS_ATTEST")
    need(r.number(4) == MAGIC, "evidence", "not made inside a TPM")
    need(r.number(2) == QUOTE, "evidence", "not a quote")
    out = {"signer": r.sized(66), "extra_data": r.sized(64), "clock": r.number(8), "reset_count": r.number(4),
           "restart_count": r.number(4), "safe": r.number(1), "firmware": r.number(8)}
    need(out["safe"] in (0, 1), "evidence", "safe is neither 0 nor 1")
    count = r.number(4)
    need(1 <= count <= 16, "evidence", "number of PCR selections")
    out["selections"] = []
    for _ in range(count):
        bank, size = r.number(2), r.number(1)
        need(1 <= size <= 4, "evidence", "size of a PCR selection")
        bits = int.from_bytes(r.take(size), "little")
        out["selections"].append((bank, [i for i in range(8 * size) if bits >> i & 1]))
    out["digest"] = r.sized(64)
    r.end()
    return out


def public_read(data):
    """TPMT_PUBLIC of an attestation key -> (public key, scheme, hash)"""
    r = Reader(data, "TPMT_PUBLIC")
    kind, name_hash, attributes = r.number(2), r.number(2), r.number(4)
    need(name_hash in HASHES, "evidence", "name algorithm")
    for bit, name in NEEDED_ATTRIBUTES.items():
        need(attributes >> bit & 1, "evidence", f"attestation key without {name}")
    need(not attributes >> DECRYPT & 1, "evidence", "attestation key can decrypt")
    need(not attributes & RESERVED, "evidence", "attestation key with reserved attributes")
    r.sized(64)
    need(r.number(2) == NULL, "evidence", "attestation key with a symmetric scheme")
    scheme = r.number(2)
    scheme_hash = r.number(2) if scheme != NULL else None
    if kind == TYPE_RSA:
        bits, exponent, modulus = r.number(2), r.number(4), r.sized(512)
        key = rsa.RSAPublicNumbers(exponent or 65537, int.from_bytes(modulus, "big")).public_key()
        need(key.key_size == bits and bits >= 2048, "evidence", "RSA key size")
    else:
        need(kind == TYPE_ECC, "evidence", "key type")
        key = ecc_key(r)
    r.end()
    return key, scheme, scheme_hash


def ecc_key(r):
    curve = r.number(2)
    need(curve in CURVES and r.number(2) == NULL, "evidence", "curve or kdf")
    make, length = CURVES[curve]
    x, y = r.sized(length), r.sized(length)
    try:
        return ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), make()).public_key()
    except ValueError as error:
        raise Refused("evidence", "point is not on the curve") from error


def signature_check(key, scheme, scheme_hash, data, signature):
    """Returns the name of the signing hash."""
    r = Reader(signature, "TPMT_SIGNATURE")
    algorithm, hash_id = r.number(2), r.number(2)
    need(hash_id in HASHES, "evidence", "signature hash")
    need(scheme == NULL or (algorithm, hash_id) == (scheme, scheme_hash), "evidence", "signature scheme is not the key's")
    name, make = HASHES[hash_id]
    try:
        if algorithm == ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
            rs = [int.from_bytes(r.sized(66), "big") for _ in range(2)]
            key.verify(utils.encode_dss_signature(*rs), data, ec.ECDSA(make()))
        else:
            need(algorithm in (RSASSA, RSAPSS) and isinstance(key, rsa.RSAPublicKey), "evidence", "signature algorithm")
            pad = padding.PKCS1v15() if algorithm == RSASSA else padding.PSS(padding.MGF1(make()), padding.PSS.AUTO)
            key.verify(r.sized(512), data, pad, make())
    except InvalidSignature as error:
        raise Refused("evidence", "quote's signature is wrong") from error
    r.end()
    return name


def verify(evidence, bind=None):
    """evidence: bytes of TpmEvidence. -> claims; with bind (64 bytes), the quote must be bound to it."""
    message = proto.unpack("TpmEvidence", evidence)
    return verify_parts(message["attest"], message["signature"], message["ak"], message["pcrs"], bind)


def verify_parts(attest, signature, ak, pcrs, bind=None):
    key, scheme, scheme_hash = public_read(ak)
    signing_hash = signature_check(key, scheme, scheme_hash, attest, signature)
    quote = attest_read(attest)
    need(len(quote["selections"]) == 1 and quote["selections"][0][0] == 0x000B, "evidence", "not one SHA-256 bank")
    selected = quote["selections"][0][1]
    need(selected and max(selected) <= 23, "evidence", "selection of PCRs")
    indices = [pcr["index"] for pcr in pcrs]
    need(indices == selected and all(len(pcr["value"]) == 32 for pcr in pcrs), "evidence", "PCRs are not those selected")
    digest = hashlib.new(signing_hash, b"".join(pcr["value"] for pcr in pcrs)).digest()
    need(digest == quote["digest"], "evidence", "PCR values do not hash to the quoted digest")
    if bind is not None:
        need(quote["extra_data"] == sha256(bind), "bind", "quote is not bound to this session and connection")
    return {"key_hash": sha256(ak), "report_data": quote["extra_data"], "pcrs": {p["index"]: p["value"] for p in pcrs},
            "clock": quote["clock"], "firmware": quote["firmware"], "reset_count": quote["reset_count"],
            "restart_count": quote["restart_count"]}
