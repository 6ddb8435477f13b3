"""Reads lines that are JSON objects already: sees that they are, each in one line. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from kagent import model
from kagent.preprocessors import conversion, jsontext


class JsonReader:
    """Leaves objects as they are, but for white space between their parts and for types."""

    names: Sequence[str] = ()

    def __init__(self, types: Mapping[str, conversion.Type]) -> None:
        """Take the types of members that may come as strings."""
        self._types = types

    def read(self, records: Sequence[bytes]) -> list[model.Outcome]:
        """Return each object in one line, or why there is none: 1 us for 200 bytes."""
        return [self._read_one(record) for record in records]

    def _read_one(self, record: bytes) -> model.Outcome:
        text = jsontext.readable(record)
        found = jsontext.loads_object(text)
        if found is None:
            return model.Unparsed("no JSON object")
        # What a parser would write is compact; the newline at once is faster than alone.
        line = orjson.dumps(found) + b"\n"
        # Many writers put a blank behind each colon and comma; if that was all, it is seen here.
        if line != text and line != text.replace(b'": ', b'":').replace(b", ", b","):
            line = jsontext.compact(text) + b"\n"
        return self._converted(line, found) if self._types else line

    def _converted(self, line: bytes, found: Mapping[str, Any]) -> model.Outcome:
        fields = []
        for name, to in self._types.items():
            value = found.get(name)
            if to == "string" or not isinstance(value, str):
                continue
            converted = conversion.convert(to, value.encode()) if value else b"null"
            if converted is None:
                return model.Unparsed(f"'{name}' is no {to}")
            fields.append((name, converted))
        return jsontext.put(line, fields) if fields else line
