"""Types of fields: a log's text as a JSON number or Boolean.

A value is written with the digits that it has: no number is rounded. An empty one is null. What is
not of its type is said, not guessed: the record is unparsed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Type = Literal["string", "int", "float", "bool"]

_BOOLS = {
    **dict.fromkeys((b"true", b"t", b"yes", b"y", b"on", b"1"), b"true"),
    **dict.fromkeys((b"false", b"f", b"no", b"n", b"off", b"0"), b"false"),
}
_INT = re.compile(rb"([+-]?+)0*+([0-9]++)?+")
_FLOAT = re.compile(rb"([+-]?+)0*+([0-9]*+)(?:\.([0-9]*+))?+([eE][+-]?+[0-9]++)?+")

# Values that are JSON as they stand; in a column, each ends with a newline.
_PLAIN_INT = rb"(?:0|-?+[1-9][0-9]*+)\n"
_PLAIN_FLOAT = rb"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+\n"
PLAIN: Mapping[str, re.Pattern[bytes]] = {
    "int": re.compile(rb"(?:%b)*+" % _PLAIN_INT),
    "float": re.compile(rb"(?:%b)*+" % _PLAIN_FLOAT),
    "bool": re.compile(rb"(?:true\n|false\n)*+"),
}


def convert(to: Type, value: bytes) -> bytes | None:
    """Return a value as JSON that is no string; None if it is not of that type.

    Args:
        to: Any type but 'string'.
        value: As it stands in the log, not empty.
    """
    if to == "bool":
        return _BOOLS.get(value.lower())
    if to == "int":
        return _int(value)
    return _float(value)


def _int(value: bytes) -> bytes | None:
    match = _INT.fullmatch(value)
    if match is None or not value[-1:].isdigit():
        return None
    digits = match[2] or b"0"
    return b"-" + digits if match[1] == b"-" and digits != b"0" else digits


def _float(value: bytes) -> bytes | None:
    match = _FLOAT.fullmatch(value)
    if match is None or not re.search(rb"[0-9]", value.lower().partition(b"e")[0]):
        return None
    sign = b"-" if match[1] == b"-" else b""
    fraction = b"." + match[3] if match[3] else b""
    return b"%b%b%b%b" % (sign, match[2] or b"0", fraction, match[4] or b"")
