# cli: the command line of enfilade-ref, one function per verb in a table.
import argparse
import sys

from enfilade_ref import vectors, vectors_make
from enfilade_ref.refuse import EXIT_CODES, Refused, error_table


def vectors_check(arguments):
    total = vectors.check_directory(arguments.directory, arguments.maker)
    print(f"{total} cases agree")


def vectors_make_(arguments):
    vectors_make.make_directory(arguments.directory)


VERBS = (
    ("vectors check", vectors_check, (("directory", {}), ("--maker", {"choices": ("c", "python")}))),
    ("vectors make", vectors_make_, (("directory", {}),)),
)


def parser():
    top = argparse.ArgumentParser(prog="enfilade-ref", description="Checks Enfilade's formats independently.")
    nouns, groups = top.add_subparsers(required=True, metavar="NOUN"), {}
    for name, function, arguments in VERBS:
        noun, verb = name.split()
        if noun not in groups:
            groups[noun] = nouns.add_parser(noun).add_subparsers(required=True, metavar="VERB")
        sub = groups[noun].add_parser(verb)
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
