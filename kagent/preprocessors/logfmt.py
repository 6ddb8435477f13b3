"""Reads `key=value` pairs, as Heroku and many Go programs write them. Pure.

A value may stand in quotes, with the escapes of JSON; a key without '=' is true. A line without
any pair is no logfmt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from kagent import model
from kagent.preprocessors import conversion, jsontext

# One key, the '=' behind it, a value in quotes, a bare value; or what fits nowhere.
_PAIR = re.compile(
    rb'[ \t]*+(?:([^\s="]++)(?:(=)(?:"((?:[^"\\\n]++|\\[^\n])*+)"|([^\s"][^\s]*+)?+))?+(?=\s|\Z)'
    rb"|([^ \t][^\n]*+))"
)
_ESCAPE = re.compile(rb"\\(u[0-9a-fA-F]{4}|[^\n])")
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f"}
_TRUE = b"true"


class LogfmtReader:
    """Makes an object of a line's pairs, in their order; of a key that comes twice, the last."""

    names: Sequence[str] = ()

    def __init__(self, types: Mapping[str, conversion.Type]) -> None:
        """Take the types of keys that may come."""
        self._types = {name.encode(): to for name, to in types.items() if to != "string"}

    def read(self, records: Sequence[bytes]) -> list[model.Outcome]:
        """Return an object for each record, or why there is none."""
        return [self._read_one(jsontext.line_of(record)) for record in records]

    def _read_one(self, line: bytes) -> model.Outcome:
        """Return the object of one line: 1 us a pair."""
        # Without blanks at the end, the pattern matches wherever it is tried: it is linear.
        found = _PAIR.findall(line.strip(b" \t"))
        is_plain = jsontext.is_string(line)
        members: dict[bytes, bytes] = {}
        has_pair = False
        for key, equals, quoted, bare, wrong in found:
            if wrong:
                return model.Unparsed(f"pair {len(members) + 1} is none")
            if not equals:
                members[key] = _TRUE
                continue
            has_pair = True
            if key in self._types:
                converted = self._convert(key, _unescaped(quoted) or bare)
                if converted is None:
                    return model.Unparsed(f"'{key.decode()}' is no {self._types[key]}")
                members[key] = converted
            elif is_plain and b'"' not in bare:
                members[key] = b'"%b"' % (quoted or bare)
            else:
                members[key] = jsontext.string(_unescaped(quoted) or bare)
        if not has_pair:
            return model.Unparsed("there is no pair")
        name_of = _quoted if is_plain else jsontext.string
        shown = [b"%b:%b" % (name_of(key), value) for key, value in members.items()]
        return b"{%b}\n" % b",".join(shown)

    def _convert(self, key: bytes, value: bytes) -> bytes | None:
        return conversion.convert(self._types[key], value) if value else b"null"


def _quoted(key: bytes) -> bytes:
    return b'"%b"' % key


def _unescaped(value: bytes) -> bytes:
    """Return what a value in quotes means."""
    return _ESCAPE.sub(_unescape, value) if b"\\" in value else value


def _unescape(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    if len(escape) > 1:
        return chr(int(escape[1:], 16)).encode("utf-8", "replace")
    return _ESCAPES.get(escape, escape)
