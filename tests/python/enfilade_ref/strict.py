# strict: YAML of which a signer sees everything, and converters that accept one spelling per value.
"""load(text) gives dicts, lists and str only. A converter is a function (value, path) -> value that raises Refused; mapping()
and sequence() build bigger ones, so that a schema is a table."""
import datetime
import re

import yaml

from enfilade_ref import note as notes
from enfilade_ref.proto import name_ok
from enfilade_ref.refuse import Refused, need

DEPTH_MAX = 12
NODES_MAX = 200000


class Builder:
    """Events of one document -> plain values."""

    def __init__(self, text):
        self.events, self.nodes = iter(yaml.parse(text, Loader=yaml.SafeLoader)), 0

    def next(self, kind=None):
        event = next(self.events, None)
        need(kind is None or isinstance(event, kind), "format", "not exactly one implicit YAML document")
        return event

    def document(self):
        self.next(yaml.StreamStartEvent)
        start = self.next(yaml.DocumentStartEvent)
        need(not start.explicit and not start.version and not start.tags, "format", "document marker or directive")
        value = self.value(self.next(), 1)
        end = self.next(yaml.DocumentEndEvent)
        need(not end.explicit, "format", "document marker")
        self.next(yaml.StreamEndEvent)
        return value

    def value(self, event, depth):
        self.nodes += 1
        line = event.start_mark.line + 1
        need(depth <= DEPTH_MAX and self.nodes <= NODES_MAX, "format", f"line {line}: too deep or too much")
        need(not isinstance(event, yaml.AliasEvent) and event.anchor is None, "format", f"line {line}: anchor")
        need(event.tag is None, "format", f"line {line}: tag")
        if isinstance(event, yaml.ScalarEvent):
            return event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return self.items(depth)
        return self.pairs(depth)

    def items(self, depth):
        out = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            out.append(self.value(event, depth + 1))
        return out

    def pairs(self, depth):
        out = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            key = self.value(event, depth + 1)
            line = event.start_mark.line + 1
            need(isinstance(key, str) and key not in out, "format", f"line {line}: key {key!r} twice, or no scalar")
            out[key] = self.value(self.next(), depth + 1)
        return out


def load(text):
    """bytes that passed notes.text_check -> plain values"""
    try:
        return Builder(text.decode("ascii")).document()
    except yaml.YAMLError as error:
        raise Refused("format", f"YAML: {error}") from error
    except RecursionError as error:
        raise Refused("format", "too deep") from error


# ---- converters

def text(value, path):
    need(isinstance(value, str), "format", f"{path}: not a scalar")
    return value


def one_of(*words):
    def convert(value, path):
        need(text(value, path) in words, "format", f"{path}: {value!r}")
        return value
    return convert


def number(least=0, most=(1 << 64) - 1):
    def convert(value, path):
        need(re.fullmatch(r"0|[1-9][0-9]{0,19}", text(value, path)), "format", f"{path}: {value!r} is no number")
        need(least <= int(value) <= most, "format", f"{path}: outside {least}..{most}")
        return int(value)
    return convert


def name(value, path):
    need(name_ok(text(value, path)), "format", f"{path}: {value!r} is no name")
    return value


def hex_of(*lengths):
    """lower-case hex of one of these lengths in bytes"""
    def convert(value, path):
        need(re.fullmatch(r"(?:[0-9a-f]{2})+", text(value, path)), "format", f"{path}: no hex")
        need(len(value) // 2 in lengths, "format", f"{path}: {len(value) // 2} bytes")
        return bytes.fromhex(value)
    return convert


def base64_of(length=None, most=None):
    def convert(value, path):
        data = notes.base64_read(text(value, path), path)
        need(len(data) == length if length is not None else 0 < len(data) <= most, "format", f"{path}: {len(data)} bytes")
        return data
    return convert


def time_ms(value, path):
    need(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text(value, path), re.ASCII), "format", f"{path}: {value!r} is no time")
    try:
        moment = datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError as error:
        raise Refused("format", f"{path}: {value!r} is no time") from error
    need(moment.year >= 1970, "format", f"{path}: before 1970")
    return int(moment.timestamp()) * 1000


def time_text(ms):
    return datetime.datetime.fromtimestamp(ms // 1000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def vkey(value, path):
    try:
        return notes.vkey_read(text(value, path))
    except Refused as error:
        raise error.within(path) from error


def sequence(convert, least=0, most=1000, unique=None):
    """unique: a function of an item whose results must differ"""
    def run(value, path):
        need(isinstance(value, list), "format", f"{path}: not a list")
        need(least <= len(value) <= most, "format", f"{path}: {len(value)} items, not {least}..{most}")
        out = [convert(item, f"{path}[{i}]") for i, item in enumerate(value)]
        if unique is not None:
            marks = [unique(item) for item in out]
            need(len(set(marks)) == len(marks), "format", f"{path}: two items are the same")
        return out
    return run


def mapping(required, optional=None, check=None):
    """check(value, path) judges the finished mapping; absent optional fields are None."""
    optional = optional or {}

    def run(value, path):
        need(isinstance(value, dict), "format", f"{path}: not a mapping")
        unknown = set(value) - set(required) - set(optional)
        need(not unknown, "format", f"{path}: unknown key {sorted(unknown)}")
        missing = set(required) - set(value)
        need(not missing, "format", f"{path}: without {sorted(missing)}")
        out = {key: None for key in optional}
        for key, item in value.items():
            out[key] = (required.get(key) or optional[key])(item, f"{path}.{key}" if path else key)
        if check is not None:
            check(out, path)
        return out
    return run
