# wrap: P-256, derive by profile, AES key wrap, HKDF and the payload's chunks.
"""Only primitives of python3-cryptography (OpenSSL) are used: ECDH, AES block modes, HMAC, GCM, Ed25519 elsewhere."""
import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enfilade_ref.refuse import Refused, need

POINT_LENGTH = 65
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CHUNK = 65536
TAG = 16
KW_IV = b"\xa6" * 8


def point_load(point):
    """65 bytes uncompressed, on the curve."""
    need(len(point) == POINT_LENGTH and point[0] == 4, "format", "a point is 65 bytes, uncompressed")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes(point))
    except ValueError as error:
        raise Refused("format", "point is not on the curve") from error


def key_from_scalar(scalar):
    """32 bytes big endian -> a P-256 private key."""
    need(len(scalar) == 32, "format", "a scalar is 32 bytes")
    need(0 < int.from_bytes(scalar, "big") < P256_ORDER, "format", "scalar outside 1..n-1")
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())


def key_point(key):
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def point_spki(point):
    return point_load(point).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def point_spki_hash(point):
    return hashlib.sha256(point_spki(point)).digest()


def ecdh(key, point):
    """The x coordinate, 32 bytes."""
    return key.exchange(ec.ECDH(), point_load(point))


def aes_cbc_zero_iv(key, data):
    need(len(data) % 16 == 0, "format", "not a multiple of the block")
    encryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def hkdf_extract(salt, ikm):
    return hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()


def hkdf_expand(prk, info, length):
    out, block = b"", b""
    for i in range(1, 1 + (length + 31) // 32):
        block = hmac.new(prk, block + info + bytes([i]), hashlib.sha256).digest()
        out += block
    return out[:length]


def x963_kdf(secret, shared_info, length):
    out, counter = b"", 1
    while len(out) < length:
        out += hashlib.sha256(secret + counter.to_bytes(4, "big") + shared_info).digest()
        counter += 1
    return out[:length]


DERIVE = {
    1: aes_cbc_zero_iv,
    2: lambda z, ctx: x963_kdf(z, ctx, 32),
    3: lambda z, ctx: hkdf_expand(hkdf_extract(b"", z), ctx, 32),
}


def derive(profile, key, point, ctx):
    """One token operation, in software: 32 bytes."""
    need(profile in DERIVE, "version", f"profile {profile}")
    need(len(ctx) == 32, "format", "a context is 32 bytes")
    return DERIVE[profile](ecdh(key, point), ctx)


def ecb(key, block, decrypt):
    cipher = Cipher(algorithms.AES(key), modes.ECB())
    worker = cipher.decryptor() if decrypt else cipher.encryptor()
    return worker.update(block) + worker.finalize()


def keywrap(kek, plain):
    """RFC 3394, written out from the RFC."""
    need(len(kek) == 32 and len(plain) % 8 == 0 and 16 <= len(plain) <= 1024, "format", "key wrap length")
    a, r = KW_IV, [plain[i:i + 8] for i in range(0, len(plain), 8)]
    for j in range(6):
        for i, block in enumerate(r):
            b = ecb(kek, a + block, False)
            a = (int.from_bytes(b[:8], "big") ^ (len(r) * j + i + 1)).to_bytes(8, "big")
            r[i] = b[8:]
    return a + b"".join(r)


def keyunwrap(kek, wrapped):
    need(len(kek) == 32 and len(wrapped) % 8 == 0 and 24 <= len(wrapped) <= 1032, "format", "key wrap length")
    a, r = wrapped[:8], [wrapped[i:i + 8] for i in range(8, len(wrapped), 8)]
    for j in reversed(range(6)):
        for i in reversed(range(len(r))):
            t = (int.from_bytes(a, "big") ^ (len(r) * j + i + 1)).to_bytes(8, "big")
            b = ecb(kek, t + r[i], True)
            a, r[i] = b[:8], b[8:]
    need(hmac.compare_digest(a, KW_IV), "signature", "key wrap integrity")
    return b"".join(r)


def chunk_nonce(counter, last):
    return counter.to_bytes(8, "big") + (1 if last else 0).to_bytes(4, "big")


def payload_seal(key, aad, plain):
    chunks = [plain[i:i + CHUNK] for i in range(0, len(plain), CHUNK)] or [b""]
    gcm = AESGCM(key)
    return b"".join(gcm.encrypt(chunk_nonce(i, i + 1 == len(chunks)), chunk, aad) for i, chunk in enumerate(chunks))


def payload_open(key, aad, sealed):
    pieces = [sealed[i:i + CHUNK + TAG] for i in range(0, len(sealed), CHUNK + TAG)]
    need(pieces and len(pieces[-1]) >= TAG, "payload", "ends without a last chunk")
    need(len(pieces) == 1 or len(pieces[-1]) > TAG, "payload", "an empty last chunk follows another")
    gcm, out = AESGCM(key), []
    try:
        for i, piece in enumerate(pieces):
            out.append(gcm.decrypt(chunk_nonce(i, i + 1 == len(pieces)), piece, aad))
    except InvalidTag as error:
        raise Refused("payload", f"chunk {len(out)} does not open") from error
    return b"".join(out)
