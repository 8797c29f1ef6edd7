# tree: RFC 6962 trees, C2SP checkpoints and receipts, and the reader of an exported log (C2SP tlog-tiles).
"""Recursive definitions straight from RFC 6962 §2.1; nothing is cached but the levels of an exported log."""
import base64
import collections
import os
import re

from enfilade_ref import note as notes
from enfilade_ref import proto
from enfilade_ref.refuse import Refused, need
from enfilade_ref.th import sha256

PROOF_MAX = 63
RECEIPT_MAX = 16384
RECEIPT_HEADER = b"c2sp.org/tlog-proof@v1"
TILE_WIDTH = 256

Checkpoint = collections.namedtuple("Checkpoint", "origin size root")


def leaf_hash(entry):
    return sha256(b"\x00" + entry)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


def split_point(size):
    """The largest power of two below size (size > 1)."""
    return 1 << (size - 1).bit_length() - 1


def root(leaves):
    """Merkle tree hash of a list of leaf hashes."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = split_point(len(leaves))
    return node_hash(root(leaves[:k]), root(leaves[k:]))


def inclusion(index, leaves):
    """PATH(m, D[n]), nearest the leaf first."""
    if len(leaves) == 1:
        return []
    k = split_point(len(leaves))
    if index < k:
        return inclusion(index, leaves[:k]) + [root(leaves[k:])]
    return inclusion(index - k, leaves[k:]) + [root(leaves[:k])]


def consistency(old, leaves, whole=True):
    """PROOF(m, D[n]) for 0 < old <= n."""
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    k = split_point(len(leaves))
    if old <= k:
        return consistency(old, leaves[:k], whole) + [root(leaves[k:])]
    return consistency(old - k, leaves[k:], False) + [root(leaves[:k])]


def inclusion_root(leaf, index, size, proof):
    """The root that a proof leads to."""
    need(index < size, "proof", "index outside the tree")
    if size == 1:
        need(not proof, "proof", "too many hashes")
        return leaf
    need(proof, "proof", "too few hashes")
    k = split_point(size)
    if index < k:
        return node_hash(inclusion_root(leaf, index, k, proof[:-1]), proof[-1])
    return node_hash(proof[-1], inclusion_root(leaf, index - k, size - k, proof[:-1]))


def verify_inclusion(leaf, index, size, proof, expected):
    need(len(proof) <= PROOF_MAX, "proof", "too many hashes")
    need(inclusion_root(leaf, index, size, proof) == expected, "proof", "inclusion proof does not lead to the root")


def consistency_roots(old, size, proof, old_root, whole):
    """(root of the old tree, root of the new one) as the proof has them; old_root stands for the shared subtree."""
    if old == size:
        if whole:
            need(not proof, "proof", "too many hashes")
            return old_root, old_root
        need(len(proof) == 1, "proof", "wrong number of hashes")
        return proof[0], proof[0]
    need(proof, "proof", "too few hashes")
    k = split_point(size)
    if old <= k:
        before, after = consistency_roots(old, k, proof[:-1], old_root, whole)
        return before, node_hash(after, proof[-1])
    before, after = consistency_roots(old - k, size - k, proof[:-1], old_root, False)
    return node_hash(proof[-1], before), node_hash(proof[-1], after)


def verify_consistency(old, old_root, size, new_root, proof):
    need(old <= size and len(proof) <= PROOF_MAX, "proof", "sizes")
    if old == 0:
        need(not proof and old_root == sha256(b""), "proof", "from an empty tree")
        return
    before, after = consistency_roots(old, size, proof, old_root, True)
    need(before == old_root and after == new_root, "proof", "consistency proof does not lead to the roots")


def decimal(text, what):
    need(re.fullmatch(rb"0|[1-9][0-9]{0,18}", text) is not None, "format", f"{what}: not a decimal number")
    return int(text)


def checkpoint_text(checkpoint):
    return f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n".encode("ascii")


def checkpoint_read(text):
    lines = text.split(b"\n")
    need(len(lines) == 4 and lines[3] == b"", "format", "checkpoint: three lines")
    origin = lines[0].decode("ascii", "replace")
    notes.name_check(origin)
    value = notes.base64_read(lines[2], "checkpoint")
    need(len(value) == 32, "format", "checkpoint: root is 32 bytes")
    return Checkpoint(origin, decimal(lines[1], "checkpoint size"), value)


def checkpoint_open(note, key):
    """A checkpoint signed by its log's key, whose name is the origin."""
    text, signed = notes.verify(note, [key])
    need(signed == [key], "signature", "checkpoint is not signed by the log")
    checkpoint = checkpoint_read(text)
    need(checkpoint.origin == key.name, "format", "checkpoint of another log")
    return checkpoint


def receipt_make(index, proof, checkpoint_note):
    lines = [RECEIPT_HEADER, b"index %d" % index] + [base64.b64encode(h) for h in proof]
    return b"\n".join(lines) + b"\n\n" + checkpoint_note


def receipt_verify(receipt, entry, key):
    """-> (index, checkpoint)"""
    need(len(receipt) <= RECEIPT_MAX, "too-long", "receipt")
    head, gap, note = receipt.partition(b"\n\n")
    need(bool(gap), "format", "receipt without checkpoint")
    lines = head.split(b"\n")
    need(len(lines) >= 2 and lines[0] == RECEIPT_HEADER, "format", "receipt: first line")
    need(lines[1].startswith(b"index "), "format", "receipt: index line")
    index = decimal(lines[1][len(b"index "):], "receipt index")
    proof = [notes.base64_read(line, "receipt hash") for line in lines[2:]]
    need(len(proof) <= PROOF_MAX and all(len(h) == 32 for h in proof), "format", "receipt: hash length")
    checkpoint = checkpoint_open(note, key)
    verify_inclusion(leaf_hash(entry), index, checkpoint.size, proof, checkpoint.root)
    return index, checkpoint


def tile_path(number, width):
    """"x001/x234/067", and ".p/W" for a partial tile."""
    parts = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        parts.insert(0, f"x{number % 1000:03d}")
    return "/".join(parts) + ("" if width == TILE_WIDTH else f".p/{width}")


def tiles_of(count):
    """(number, width) of each tile that `count` hashes fill."""
    full = count // TILE_WIDTH
    tiles = [(n, TILE_WIDTH) for n in range(full)]
    return tiles + ([(full, count % TILE_WIDTH)] if count % TILE_WIDTH else [])


def bundle_split(data, width, where):
    """u16be length ‖ entry, `width` times."""
    entries, at = [], 0
    for _ in range(width):
        need(at + 2 <= len(data), "integrity", f"{where}: truncated")
        length = int.from_bytes(data[at:at + 2], "big")
        need(at + 2 + length <= len(data), "integrity", f"{where}: truncated")
        entries.append(data[at + 2:at + 2 + length])
        at += 2 + length
    need(at == len(data), "integrity", f"{where}: bytes after the last entry")
    return entries


class Export:
    """An exported log: every entry read, every hash recomputed and compared with every tile, the root with the checkpoint."""

    def __init__(self, directory, key):
        self.directory, self.seen, self.hashes = directory, set(), 0
        self.checkpoint = checkpoint_open(self.read("checkpoint"), key)
        self.entries = []
        for number, width in tiles_of(self.checkpoint.size):
            path = "tile/entries/" + tile_path(number, width)
            self.entries += bundle_split(self.read(path), width, path)
        self.leaves = [leaf_hash(entry) for entry in self.entries]
        self.check_tiles()
        need(root(self.leaves) == self.checkpoint.root, "integrity", "recomputed root is not the checkpoint's")
        self.check_leftovers()
        self.check_entries()

    def read(self, path):
        self.seen.add(path)
        try:
            with open(os.path.join(self.directory, path), "rb") as file:
                return file.read()
        except OSError as error:
            raise Refused("integrity", f"{path}: {error.strerror}") from error

    def check_tiles(self):
        level, hashes = 0, self.leaves
        while hashes:
            for number, width in tiles_of(len(hashes)):
                path = f"tile/{level}/" + tile_path(number, width)
                expected = hashes[number * TILE_WIDTH:number * TILE_WIDTH + width]
                need(self.read(path) == b"".join(expected), "integrity", f"{path}: differs from the entries")
                self.hashes += width
            hashes = [root(hashes[i:i + TILE_WIDTH])
                      for i in range(0, len(hashes) - TILE_WIDTH + 1, TILE_WIDTH)]
            level += 1

    def check_leftovers(self):
        """Nothing else may lie in tile/, or an auditor would read what the checkpoint does not cover."""
        for folder, _, names in os.walk(os.path.join(self.directory, "tile")):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), self.directory)
                need(path in self.seen, "integrity", f"{path}: not a tile of this tree")

    def check_entries(self):
        """Entries are well formed, count up and never go back in time."""
        self.parsed, time_ms = [], 0
        for index, data in enumerate(self.entries):
            try:
                entry = proto.entry_read(data)
            except Refused as error:
                raise error.within(f"entry {index}") from error
            need(entry["index"] == index, "integrity", f"entry {index}: says it is {entry['index']}")
            need(entry["time_ms"] >= time_ms, "integrity", f"entry {index}: time goes back")
            time_ms = entry["time_ms"]
            self.parsed.append(entry)

    def root_at(self, size):
        need(size <= len(self.leaves), "proof", "receipt is newer than the exported log")
        return root(self.leaves[:size])
