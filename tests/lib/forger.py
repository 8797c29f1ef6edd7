# forger: a device whose attestation key is software of ours, enrolled by the network's own people, so that it can sign anything.
"""What a real TPM never signs (another magic, another structure, a digest over other PCRs) must be refused for itself and not
for a signature that is wrong: so this device's signatures are right, and what it says is chosen by the attack."""
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attacker import edited, versioned
from enfilade_ref import documents, tpm_device, wrap
from enfilade_ref.th import sha256
from enfilade_ref.tpm_device import sized, u16, u32

MAGIC, QUOTE = 0xFF544347, 0x8018
ID = "forger"


def public_area(key, attributes=tpm_device.AK_ATTRIBUTES):
    point = wrap.key_point(key)
    template = tpm_device.ak_template(attributes)
    return template[:-4] + sized(point[1:33]) + sized(point[33:])


def signature(key, data):
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return u16(tpm_device.ECDSA) + u16(tpm_device.SHA256) + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))


class Forger:
    """enrol() makes the network know it; evidence() says what it is told to say."""

    def __init__(self, attacker, attributes=tpm_device.AK_ATTRIBUTES):
        self.attacker = attacker
        self.device_key, self.ak_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.certificate = attacker.certificate(self.device_key, name=ID)
        self.ak = public_area(self.ak_key, attributes)
        policy = attacker.client.session("unlock-db").policy
        self.pcrs = {14: pcr_of(policy.text)}

    def enrol(self, *nodes):
        """The next inventory and a status that names it, given to these nodes and to our own client."""
        shelf = self.attacker.client.shelf
        inventory, status = shelf.get("inventory"), shelf.get("status")
        spki = self.device_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        line = f"  - id: {ID}-{inventory['version']}\n    key: {sha256(spki).hex()}\n    ak: {sha256(self.ak).hex()}\n"
        text = versioned(inventory.text, inventory["version"] + 1) + line.encode()
        named = versioned(edited(status.text, (inventory.hash.hex(), sha256(text).hex()),
                                 (f"type: inventory\n    version: {inventory['version']}\n",
                                  f"type: inventory\n    version: {inventory['version'] + 1}\n")), status["version"] + 1)
        notes = [self.attacker.people.sign(text, "inventory"), self.attacker.people.sign(named, "status")]
        shelf.offer_all(notes)
        for node in nodes:
            held = self.attacker.offer(node, *notes)
            assert held["inventory"] == text and held["status"] == named, f"{node} did not take the documents"

    def session(self):
        s = self.attacker.session()
        s.certificate, s.device_key = self.certificate, self.device_key
        return s

    def attest(self, bind, magic=MAGIC, kind=QUOTE, extra=None, bank=tpm_device.SHA256, selected=None, digest=None, count=1, tail=b"",
               safe=1):
        """TPMS_ATTEST"""
        indices = sorted(self.pcrs) if selected is None else selected
        bits = sum(1 << i for i in indices).to_bytes(3, "little")
        values = b"".join(self.pcrs.get(i, bytes(32)) for i in indices)
        return (u32(magic) + u16(kind) + sized(b"\x00\x0b" + sha256(self.ak)) + sized(sha256(bind) if extra is None else extra)
                + (1000).to_bytes(8, "big") + u32(1) + u32(0) + bytes([safe]) + bytes(8)
                + u32(count) + (u16(bank) + bytes([3]) + bits) * count + sized(sha256(values) if digest is None else digest) + tail)

    def evidence(self, bind, pcrs=None, signing=None, sign=None, ak=None, **changes):
        attest = self.attest(bind, **changes)
        made = signature(signing or self.ak_key, attest) if sign is None else sign(attest)
        return tpm_device.evidence_pack(attest, made, ak or self.ak, self.pcrs if pcrs is None else pcrs)


def pcr_of(policy_text):
    return documents.parse(policy_text)["stages"][0]["factors"]["all"][2]["evidence"]["pcrs"][0]["values"][0]
