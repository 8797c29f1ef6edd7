# tpm_device: the few TPM 2.0 commands that an attester needs, written by hand onto a swtpm socket.
"""TCG TPM 2.0 Library, part 3: TPM2_CreatePrimary §24.1, TPM2_Quote §18.4, TPM2_PCR_Read §22.4, TPM2_FlushContext §28.4.
One connection per call: swtpm serves one client at a time."""
import re
import socket

from enfilade_ref import proto
from enfilade_ref.refuse import need
from enfilade_ref.th import sha256

NO_SESSIONS, SESSIONS = 0x8001, 0x8002
CREATE_PRIMARY, QUOTE, PCR_READ, FLUSH, PCR_EXTEND, PCR_RESET = 0x131, 0x158, 0x17E, 0x165, 0x182, 0x13D
ENDORSEMENT, PASSWORD = 0x4000000B, 0x40000009
RETRY = 0x922  # TPM_RC_RETRY: it was writing its memory, ask again
SHA256, NULL, ECDSA, ECC, P256 = 0x000B, 0x0010, 0x0018, 0x0023, 0x0003
# fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign
AK_ATTRIBUTES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 16 | 1 << 18
ALL_PCRS = b"\xff\xff\xff"


def u16(value):
    return value.to_bytes(2, "big")


def u32(value):
    return value.to_bytes(4, "big")


def sized(data):
    return u16(len(data)) + data


def ak_template(attributes=AK_ATTRIBUTES):
    """A restricted ECDSA P-256 key: the same template gives the same key in the same TPM."""
    return (u16(ECC) + u16(SHA256) + u32(attributes) + sized(b"") + u16(NULL) + u16(ECDSA) + u16(SHA256) + u16(P256) + u16(NULL)
            + sized(b"") + sized(b""))


def selection(bits=ALL_PCRS, bank=SHA256):
    return u32(1) + u16(bank) + bytes([len(bits)]) + bits


class Device:
    """tcti: "swtpm:path=SOCKET"."""

    def __init__(self, tcti):
        match = re.fullmatch(r"swtpm:path=(.+)", tcti)
        need(match, "usage", f"{tcti!r}: this client speaks to swtpm:path=… only")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(match[1])

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self, length):
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            need(part, "closed", "the TPM ended the connection")
            data += part
        return data

    def command(self, code, handles, parameters, authorised):
        """-> the bytes after the response header"""
        body = handles
        if authorised:
            session = u32(PASSWORD) + sized(b"") + b"\x00" + sized(b"")
            body += u32(len(session)) + session
        body += parameters
        for _ in range(10):
            self.socket.sendall(u16(SESSIONS if authorised else NO_SESSIONS) + u32(10 + len(body)) + u32(code) + body)
            header = self.read(10)
            answer = self.read(int.from_bytes(header[2:6], "big") - 10)
            result = int.from_bytes(header[6:10], "big")
            if result != RETRY:
                break
        need(result == 0, "io", f"TPM command 0x{code:x}: response 0x{result:x}")
        return answer

    def create_primary(self, template):
        """-> (handle, TPMT_PUBLIC)"""
        parameters = sized(sized(b"") + sized(b"")) + sized(template) + sized(b"") + u32(0)
        answer = self.command(CREATE_PRIMARY, u32(ENDORSEMENT), parameters, True)
        length = int.from_bytes(answer[8:10], "big")
        return int.from_bytes(answer[:4], "big"), answer[10:10 + length]

    def flush(self, handle):
        self.command(FLUSH, b"", u32(handle), False)

    def quote(self, handle, data, pcrs=None):
        """-> (TPMS_ATTEST, TPMT_SIGNATURE)"""
        answer = self.command(QUOTE, u32(handle), sized(data) + u16(NULL) + (selection() if pcrs is None else pcrs), True)
        parameters = answer[4:4 + int.from_bytes(answer[:4], "big")]
        length = int.from_bytes(parameters[:2], "big")
        return parameters[2:2 + length], parameters[2 + length:]

    def pcr_read(self):
        """{index: value} of PCR 0…23; the TPM gives at most eight a call."""
        out = {}
        while len(out) < 24:
            bits = sum(1 << i for i in range(24) if i not in out).to_bytes(3, "little")
            answer = self.command(PCR_READ, b"", selection(bits), False)
            got = int.from_bytes(answer[11:14], "little")
            at, indices = 18, [i for i in range(24) if got >> i & 1]
            need(indices, "evidence", "the TPM has no SHA-256 bank")
            for index in indices:
                length = int.from_bytes(answer[at:at + 2], "big")
                out[index] = answer[at + 2:at + 2 + length]
                at += 2 + length
        return out

    def pcr_extend(self, index, digest):
        self.command(PCR_EXTEND, u32(index), u32(1) + u16(SHA256) + digest, True)


def evidence_pack(attest, signature, ak, pcrs):
    return proto.pack("TpmEvidence", {"attest": attest, "signature": signature, "ak": ak,
                                      "pcrs": [{"index": i, "value": v} for i, v in sorted(pcrs.items())]})


def evidence(tcti, bind, template=None):
    """Bytes of TpmEvidence over SHA-256(bind)."""
    with Device(tcti) as device:
        handle, ak = device.create_primary(template or ak_template())
        try:
            attest, signature = device.quote(handle, sha256(bind))
            return evidence_pack(attest, signature, ak, device.pcr_read())
        finally:
            device.flush(handle)
