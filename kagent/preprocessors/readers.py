"""Readers of the formats in `formats`: lines in, JSON objects out. Pure.

A reader takes a block of plain lines at once where its format has a fast pattern, and everything
else line by line; both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from kagent import model
from kagent.preprocessors import conversion, flat, formats, jsontext


class Reader(Protocol):
    """Makes JSON objects of records."""

    @property
    def names(self) -> Sequence[str]:
        """The fields that every object has, or may have, as far as they are known."""
        ...

    def read(self, records: Sequence[bytes]) -> list[model.Outcome]:
        """Return an object for each record, or why there is none."""
        ...


_LIKELY_BLOCKS = 32  # after so many, the pattern that is likeliest in general is tried first again


class _Fast:
    """A fast pattern of a format, compiled, with the indices of its fields."""

    def __init__(self, of: formats.Format, fast: formats.Fast) -> None:
        self.pattern = fast.framed
        self.quotes = fast.quotes
        self.indices = [of.names.index(name) for name in fast.names]
        self.markers = {fast.names.index(name): value for name, value in fast.markers.items()}


class FormatReader:
    """Reads a format."""

    def __init__(
        self,
        of: formats.Format,
        fields: Sequence[str] | None,
        types: Mapping[str, conversion.Type],
        *,
        is_dash_null: bool | None = None,
    ) -> None:
        """Prepare the patterns.

        Args:
            of: What lines look like.
            fields: Other names for the fields that a line always has.
            types: By the names that the fields get.
            is_dash_null: Whether '-' means null; None for what the format says.
        """
        self._format = of
        renamed = dict(zip(of.names, fields or (), strict=False))
        self.names = [renamed.get(name, name) for name in of.names]
        null = of.null if is_dash_null is None else b"-" if is_dash_null else None
        self._writer = flat.Writer(
            self.names,
            types,
            null=null,
            optional=frozenset(renamed.get(name, name) for name in of.optional),
        )
        self._exact = of.exact
        self._order = [of.exact.groupindex[name] for name in of.names]
        # Fast patterns know which fields may be '-' as far as the format says that it is null.
        self._fast = [_Fast(of, one) for one in (of.fast if null == of.null else ())]
        self._likely = self._blocks = 0

    def read(self, records: Sequence[bytes]) -> list[model.Outcome]:
        """Return an object for each record, or why there is none."""
        return jsontext.by_blocks(records, self._read_block, self._read_one)

    def _read_block(self, records: Sequence[bytes]) -> list[bytes] | None:
        if not self._fast:
            return None
        text = jsontext.framed(records)
        fast, rows = self._find(text, len(records))
        if not rows or not jsontext.is_plain(text, len(rows), len(rows) * fast.quotes):
            escaped = jsontext.escaped(text, len(records))
            if escaped is None:
                return None
            if escaped != text:
                fast, rows = self._find(escaped, len(records))
            if not rows or b'"' in b"".join(map(b"".join, rows)):
                return None
        return self._writer.write_block(rows, fast.indices, fast.markers)

    def _find(self, text: bytes, records: int) -> tuple[_Fast, list[tuple[bytes, ...]]]:
        """Return the pattern that matches all records, and their values; none if none does."""
        self._blocks += 1
        first = self._likely if self._blocks % _LIKELY_BLOCKS else 0
        for at in (first, *(one for one in range(len(self._fast)) if one != first)):
            rows = self._fast[at].pattern.findall(text)
            if len(rows) == records:
                self._likely = at
                return self._fast[at], rows
        return self._fast[0], []

    def _read_one(self, record: bytes) -> model.Outcome:
        line = jsontext.line_of(record)
        match = self._exact.fullmatch(line)
        if match is None:
            return model.Unparsed(self._format.failed_part(line))
        return self._writer.write(match.group(*self._order))
