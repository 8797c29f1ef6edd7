# refuse: the one exception of this package, and the error table that names its codes.
"""Every check that fails raises Refused(code, text); code is a name of the project's error table, lower case with dashes.

The table itself is read from common/base/err.h, which is its only home."""
import functools
import pathlib
import re

SOURCE_ROOT = pathlib.Path(__file__).resolve().parents[3]


class Refused(Exception):
    """code: "format", "signature", …; text: which rule failed, in words."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text

    def within(self, context):
        return Refused(self.code, f"{context}: {self.text}")


def need(condition, code, text):
    """Refuse unless condition holds."""
    if not condition:
        raise Refused(code, text)


@functools.lru_cache(maxsize=None)
def error_table():
    """{name: (wire code, exit code name)} from the X-macro table."""
    header = (SOURCE_ROOT / "common/base/err.h").read_text(encoding="utf-8")
    rows = re.findall(r"X\((\w+), (\d+), (?:NEVER|HERE|ELSEWHERE), (\w+),", header)
    need(len(rows) >= 40, "internal", "error table of err.h cannot be read")
    return {name.lower().replace("_", "-"): (int(wire), exit_name.lower()) for name, wire, exit_name in rows}


EXIT_CODES = {"done": 0, "internal": 1, "usage": 2, "denied": 3, "unavailable": 4, "integrity": 5}
