# search: where known secrets stand: in a process's memory, in files, in its arguments and environment.
"""Needles are {label: bytes}. Each is looked for raw and in hex, in texts in base64 too; `labels` are what was found."""
import base64
import collections
import hashlib
import os
import pathlib

from cryptography.hazmat.primitives.asymmetric import ec
from enfilade_ref import wrap

PAGE = 4096
KEY_BYTES_LEAST = 24  # a random key of 32 bytes has fewer distinct ones once in a million
Region = collections.namedtuple("Region", "start locked undumped data")


def base64_middles(secret):
    """What every base64 text that holds the secret holds, whatever stands before it."""
    out = []
    for before in range(3):
        text = base64.b64encode(bytes(before) + secret)
        out.append(text[-(-before * 8 // 6):(before + len(secret)) * 8 // 6])
    return out


class Needles:
    def __init__(self, secrets, text=False):
        self.forms = []
        for label, secret in secrets.items():
            spelled = {secret, secret.hex().encode(), secret.hex().upper().encode()}
            if label.startswith("E "):
                spelled.add(secret[::-1])  # as OpenSSL holds numbers
            self.forms += [(label, form) for form in spelled | set(base64_middles(secret) if text else ())]

    def labels(self, data):
        return {label for label, form in self.forms if form in data}


# ---- memory

def touched(memory, start, end):
    """(address, bytes) of every run of pages that holds anything but zeros; what cannot be read is left out."""
    run, at = [], start
    while at < end:
        try:
            piece = os.pread(memory.fileno(), min(1 << 20, end - at), at)
        except OSError:
            piece = b""
        for offset in range(0, len(piece), PAGE):
            page = piece[offset:offset + PAGE]
            if page.count(0) < len(page):
                run.append(page)
            elif run:
                yield at + offset - sum(map(len, run)), b"".join(run)
                run = []
        if not piece and run:
            yield at - sum(map(len, run)), b"".join(run)
            run = []
        at += len(piece) or PAGE
    if run:
        yield end - sum(map(len, run)), b"".join(run)


def own(row):
    """Memory of the process itself: writable, or changed since it was mapped; the rest is files as they stand on disk."""
    return row["access"][0] == "r" and row["path"] not in ("[vvar]", "[vsyscall]") and (
        "w" in row["access"] or row["Anonymous"] > 0 or not row["path"].startswith("/"))


def mappings(pid):
    rows = []
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        word = line.split(None, 5)
        if word[0] == "VmFlags:":
            rows[-1]["flags"] = set(line.split()[1:])
        elif word[0] == "Anonymous:":
            rows[-1]["Anonymous"] = int(word[1])
        elif not word[0].endswith(":"):
            start, end = (int(x, 16) for x in word[0].split("-"))
            rows.append({"start": start, "end": end, "access": word[1], "path": word[5] if len(word) > 5 else ""})
    return rows


def memory(pid):
    """[Region] of one process; locked: never in swap, undumped: in no core."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        return [Region(at, "lo" in row["flags"], "dd" in row["flags"], data)
                for row in mappings(pid) if own(row) for at, data in touched(file, row["start"], row["end"])]


def memory_labels(pid, needles):
    return regions_labels(memory(pid), needles)


def regions_labels(regions, needles):
    return set().union(*(needles.labels(r.data) for r in regions))


def key_find(regions, eid):
    """The private key E whose eid is known, wherever its number stands in memory: (32 bytes big endian, its regions) or None."""
    seen = {}
    for region in regions:
        for at in range(0, len(region.data) - 31, 8):
            number = region.data[at:at + 32]
            if len(set(number)) >= KEY_BYTES_LEAST:
                seen.setdefault(number, []).append(region)
    for number, where in seen.items():
        for scalar in (number[::-1], number):
            if 0 < int.from_bytes(scalar, "big") < wrap.P256_ORDER and key_eid(scalar) == eid:
                return scalar, where
    return None


def key_eid(scalar):
    key = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
    point = key.public_key().public_numbers()
    return hashlib.sha256(SPKI_HEAD + point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")).digest()


SPKI_HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")


# ---- files, arguments, environments

def files_labels(folder, needles):
    """{(path below folder, label)}"""
    found = set()
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file() and not path.is_symlink():
            found |= {(str(path.relative_to(folder)), label) for label in needles.labels(path.read_bytes())}
    return found


def processes_labels(needles):
    """{(pid, "cmdline" or "environ", label)} of every process of this machine"""
    found = set()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        for what in ("cmdline", "environ"):
            try:
                found |= {(int(folder.name), what, label) for label in needles.labels((folder / what).read_bytes())}
            except OSError:
                pass  # it has ended
    return found
