# cli: the command line of enfilade-ref, one function per verb in a table.
import argparse
import pathlib
import sys

from enfilade_ref import chain as chains
from enfilade_ref import documents, note, strict, th, transcript, tree, vectors, vectors_make
from enfilade_ref.refuse import EXIT_CODES, Refused, error_table, need


def vectors_check(arguments):
    total = vectors.check_directory(arguments.directory, arguments.maker)
    print(f"{total} cases agree")


def vectors_make_(arguments):
    vectors_make.make_directory(arguments.directory)


def documents_verify(arguments):
    """Root first; then every document under it, policies before the envelopes that need them; a chain by its envelope."""
    root = documents.verify_root(pathlib.Path(arguments.root).read_bytes(), bytes.fromhex(arguments.root_hash))
    print(f"root version {root['version']}: {root.hash.hex()}, {note.count(root.signed)} signers")
    notes = [(path, pathlib.Path(path).read_bytes()) for path in arguments.files]
    found, chain_texts = [], []
    for path, data in sorted(notes, key=lambda item: item[1].startswith(b"enfilade: envelope/")):
        if data.startswith(b"enfilade: chain/"):
            chain_texts.append((path, documents.parse(data)))
            continue
        document = documents.verify(data, root, [d for d in found if d.type == "policy"])
        found.append(document)
        print(f"{path}: {document.type}: {document.hash.hex()}, {note.count(document.signed)} signers")
    for path, chain in chain_texts:
        now_ms = strict.time_ms(arguments.now, "--now") if arguments.now else chain["not_after"] - 1
        chains.check(world_of(found, chain), chain, now_ms)
        print(f"{path}: chain: {chain.hash.hex()}, admissible")


def world_of(found, chain):
    """The documents that judge this chain."""
    chosen = [[d for d in found if d.type == "policy" and d.hash == chain["policy"]],
              [d for d in found if d.type == "envelope" and d.hash == chain["envelope"]],
              [d for d in found if d.type == "roster"], [d for d in found if d.type == "status"]]
    need(all(chosen), "documents", "chain's policy, envelope, roster or status is missing")
    return chains.World(*(items[-1] for items in chosen))


def tiles_verify(arguments):
    export = tree.Export(arguments.directory, note.vkey_read(arguments.vkey))
    print(f"{export.checkpoint.origin}: {len(export.entries)} entries, {export.hashes} tile hashes, root recomputed")


def receipt_verify(arguments):
    receipt, entry = pathlib.Path(arguments.file).read_bytes(), pathlib.Path(arguments.entry).read_bytes()
    index, checkpoint = tree.receipt_verify(receipt, entry, note.vkey_read(arguments.vkey))
    print(f"{checkpoint.origin}: entry {index} of {checkpoint.size}")


def transcript_verify(arguments):
    for line in transcript.verify(arguments.file, arguments.secret):
        print(line)


def walk_(arguments):
    """Needs python3-openssl, which no other verb does."""
    from enfilade_ref import client, wire
    try:
        plain, session = client.Client(arguments.config).walk(arguments.operation, lambda line: print(line, file=sys.stderr))
    except client.Denied as error:
        raise Refused(error.code, str(error)) from error
    except wire.Closed as error:
        raise Refused("closed", str(error)) from error
    if arguments.out:
        pathlib.Path(arguments.out).write_bytes(plain)
    print(f"walk: {len(session.visits)} doors, {len(session.chain['stages'])} stages, every link and receipt verified; "
          f"secret of {len(plain)} bytes, SHA-256 {th.sha256(plain).hex()}")


VKEY = ("--vkey", {"required": True, "help": "the log's verification key"})
VERBS = (
    ("documents verify", documents_verify, (("files", {"nargs": "*"}), ("--root", {"required": True}),
                                            ("--root-hash", {"required": True}),
                                            ("--now", {"help": "time for chains (default: just before not_after)"}))),
    ("tiles verify", tiles_verify, (("directory", {}), VKEY)),
    ("receipt verify", receipt_verify, (("file", {}), ("--entry", {"required": True}), VKEY)),
    ("walk", walk_, (("operation", {}), ("--config", {"required": True}), ("--out", {"help": "write the secret to this file"}))),
    ("transcript verify", transcript_verify, (("file", {}), ("--secret", {}))),
    ("vectors check", vectors_check, (("directory", {}), ("--maker", {"choices": ("c", "python")}))),
    ("vectors make", vectors_make_, (("directory", {}),)),
)


def parser():
    top = argparse.ArgumentParser(prog="enfilade-ref", description="Checks Enfilade's formats independently.")
    nouns, groups = top.add_subparsers(required=True, metavar="NOUN"), {}
    for name, function, arguments in VERBS:
        noun, _, verb = name.partition(" ")
        if verb and noun not in groups:
            groups[noun] = nouns.add_parser(noun).add_subparsers(required=True, metavar="VERB")
        sub = groups[noun].add_parser(verb) if verb else nouns.add_parser(noun)
        for flag, settings in arguments:
            sub.add_argument(flag, **settings)
        sub.set_defaults(function=function)
    return top


def main(argv=None):
    arguments = parser().parse_args(argv)
    try:
        arguments.function(arguments)
        return 0
    except Refused as error:
        print(f"enfilade-ref: {error}", file=sys.stderr)
        return EXIT_CODES[error_table().get(error.code, (0, "integrity"))[1]]
    except OSError as error:
        print(f"enfilade-ref: {error}", file=sys.stderr)
        return EXIT_CODES["usage"]
