"""Where records are in a file's bytes, by the README and the reference; knows nothing of kagent.

    line      ends with the delimiter; one that is longer than the limit is cut as `oversize` says
    unit      a line, or the parts of a container's line; what a part of an oversize line is too
    record    a unit and those after it that go on, as long as they fit `max_lines` and the limit

A record depends on nothing but the bytes from its beginning on, and on where the file was taken to
have ended: after a silence. So the records that may come of a file are all those that `possible`
reaches from its first byte, from where `start_at` began, and from each such end.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterable

_CRI = re.compile(
    rb"\d{4}-\d\d-\d\dT[\d:.]+Z (stdout|stderr) (?:F(?::\S*)? (.*)|P(?::\S*)? (.+))\n"
)
_JAVA = re.compile(rb"[ \t]|Caused by: ")
START, CONTINUATION, END = r"\d+:", r"[ \t]", r".*;"
_START, _CONTINUATION, _END = (re.compile(one.encode()) for one in (START, CONTINUATION, END))
GROUPS = ("java", "csv", "start", "continuation", "end")
INDENTED = ("python", "go", "ruby")  # presets, of which only indented lines are written
_TEXT_OF = {"bytes": "latin-1", "latin-1": "latin-1", "utf-16le": "utf-16-le"}


@dataclasses.dataclass
class Unit:
    """What is judged as one line."""

    start: int
    end: int
    text: bytes
    stream: bytes = b""
    is_alone: bool = False  # whatever stands beside it


@dataclasses.dataclass
class Step:
    """A record, if there is one, and where the next begins."""

    end: int | None
    after: int


@dataclasses.dataclass
class Records:
    """How the bytes of a world's files become records."""

    limit: int = 64  # of bytes in the file
    policy: str = "split"
    delimiter: str = "\n"
    encoding: str = "bytes"
    is_cri: bool = False
    is_docker: bool = False
    is_stripped: bool = False
    header_lines: int = 0
    group: str = ""
    lines_max: int = 5000
    timeout_s: float = 5.0
    final_line_s: float | None = None

    def __post_init__(self) -> None:
        """Resolve what depends on the encoding."""
        self.is_wide = self.encoding == "utf-16le"
        self.end = self.delimiter.encode(_TEXT_OF[self.encoding])  # in the file
        self.terminator = self.delimiter.encode()  # in a record
        if self.is_wide:  # two bytes become at most three, a half unit at either end three
            self.limit = max(4, (self.limit - 6) // 3 * 2)
        elif self.encoding == "latin-1":
            self.limit //= 2

    @property
    def is_decoded(self) -> bool:
        return self.is_cri or self.is_docker

    def encode(self, text: str) -> bytes:
        return text.encode(_TEXT_OF[self.encoding])

    # --- lines ----------------------------------------------------------------------------------

    def line_end(self, data: bytes | bytearray, at: int) -> int | None:
        found = data.find(self.end, at)
        while self.is_wide and found >= 0 and found % 2:
            found = data.find(self.end, found + 1)
        return found + len(self.end) if found >= 0 else None

    def header_end(self, data: bytes | bytearray) -> int:
        """Return where the header ends, as far as it is there."""
        at = 0
        for _ in range(self.header_lines):
            end = self.line_end(data, at)
            if end is None:
                return len(data)
            at = end
        return at

    def _cut(self, data: bytes, at: int, size: int) -> int:
        """Return where an oversize line is cut: characters and delimiters stay whole."""
        unit = 2 if self.is_wide else 1
        end = at + size
        end -= end % unit
        begun = range(len(self.end) - unit, 0, -unit)
        return end - next((one for one in begun if data.endswith(self.end[:one], at, end)), 0)

    def text(self, data: bytes | bytearray, start: int, end: int) -> bytes:
        """Return the record that a range of the file becomes."""
        if self.is_decoded:
            texts = []
            while start < end:
                line = min(self.line_end(data, start) or end, end)
                texts.append(_said(bytes(data[start:line]), is_docker=self.is_docker)[0])
                start = line
            text = b"".join(texts)
        else:
            text = self._transcoded(bytes(data[start:end]), start)
        return text.removesuffix(self.terminator) if self.is_stripped else text

    def truncated(self, data: bytes | bytearray, start: int, end: int) -> bytes:
        """Return what is left of an oversize line: the bytes as they stand, and a delimiter."""
        return self.raw(data, start, end) + (b"" if self.is_stripped else self.terminator)

    def raw(self, data: bytes | bytearray, start: int, end: int) -> bytes:
        """Return a part of an oversize line as it is put aside."""
        return self._transcoded(bytes(data[start:end]), start)

    def _transcoded(self, data: bytes, start: int) -> bytes:
        if self.encoding == "bytes":
            return data
        if not self.is_wide:
            return data.decode("latin-1").encode()
        first = start % 2  # the other half of a unit that went before
        last = (len(data) - first) % 2
        text = data[first : len(data) - last].decode("utf-16-le", "replace")
        return ("\ufffd" * first + text + "\ufffd" * last).encode()

    def is_last_part(self, data: bytes | bytearray, start: int, end: int) -> bool:
        """Return whether a container's line does not go on in the next."""
        return _said(bytes(data[start:end]), is_docker=self.is_docker)[0].endswith(b"\n")

    # --- units ----------------------------------------------------------------------------------

    def _unit(self, data: bytes, at: int, *, is_closed: bool) -> Unit | None:
        """Return the unit that begins at `at`; None if its end is not there."""
        piece = self._piece(data, at, is_closed=is_closed)
        if piece is None or not self.is_decoded or piece.is_alone:
            return piece
        while not piece.text.endswith(b"\n"):
            more = self._piece(data, piece.end, is_closed=is_closed)
            if more is None:
                is_full = len(data) - at > self.limit
                return piece if is_closed or is_full else None
            if more.stream != piece.stream or more.is_alone or more.end - at > self.limit:
                return piece
            piece = Unit(at, more.end, piece.text + more.text, piece.stream)
        return piece

    def _piece(self, data: bytes, at: int, *, is_closed: bool) -> Unit | None:
        """Return a line, or as much of an oversize one as stands for itself."""
        end = self.line_end(data, at)
        if end is None and (is_closed and at < len(data)):
            end = len(data)
        if (end or len(data)) - at > self.limit:
            if self.policy in {"split", "dead_letter"}:
                return Unit(at, self._cut(data, at, self.limit), b"", is_alone=True)
            return None if end is None else Unit(at, end, b"", is_alone=True)
        if end is None:
            return None
        if not self.is_decoded:
            return Unit(at, end, self._transcoded(data[at:end], at), b"stdout")
        text, stream = _said(data[at:end], is_docker=self.is_docker)
        return Unit(at, end, text, stream, is_alone=not stream)

    def _goes_on(self, before: bytes, line: bytes) -> bool:
        """Return whether a line belongs to the record before it."""
        if self.group == "csv":
            return _is_quote_open(before)
        if self.group == "end":
            last = before.removesuffix(b"\n").rpartition(b"\n")[2]
            return not _END.match(last)
        if self.group == "start":
            return not _START.match(line)
        return bool((_JAVA if self.group == "java" else _CONTINUATION).match(line))

    # --- records --------------------------------------------------------------------------------

    def step(self, data: bytes, start: int, *, is_closed: bool) -> Step | None:
        """Return what begins at `start`; None if its end is not known yet."""
        first = self._unit(data, start, is_closed=is_closed)
        if first is None:
            return None
        if first.end - start > self.limit:  # an oversize line that is not cut to parts
            kept = self._cut(data, start, self.limit - len(self.end))
            return Step(kept if self.policy == "truncate" else None, first.end)
        if not self.group or first.is_alone:
            return Step(first.end, first.end)
        text, end, lines = first.text, first.end, 1
        while lines < self.lines_max:
            if self.group in {"csv", "end"} and not self._goes_on(text, b""):
                break  # whatever follows
            one = self._unit(data, end, is_closed=is_closed)
            if one is None:
                if is_closed or len(data) - start > self.limit:
                    break
                return None
            is_fitting = one.end - start <= self.limit and not one.is_alone
            if not is_fitting or one.stream != first.stream or not self._goes_on(text, one.text):
                break
            text, end, lines = text + one.text, one.end, lines + 1
        return Step(end, end)

    def possible(
        self, data: bytes, starts: Iterable[int], cuts: Iterable[int]
    ) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
        """Return the records that may come of data, and the ranges that may be dropped by rule."""
        records, dropped = set(), set()
        ends = sorted(cuts)
        todo, seen = list(starts), set(starts)
        while todo:
            start = todo.pop()
            natural = self.step(data, start, is_closed=False)
            # A line that is too long for a record may have fitted when it was shorter.
            last = max(natural.after, start + self.limit) if natural else len(data)
            earlier = [cut for cut in ends if start < cut <= last]
            steps = [self.step(data[:cut], start, is_closed=True) for cut in earlier]
            for one in (natural, *steps):
                if one is None:
                    continue
                if one.end is not None:
                    records.add((start, one.end))
                if (one.end or start) < one.after:
                    dropped.add((one.end or start, one.after))
                if not self.text(data, start, one.after):  # services take no empty record
                    dropped.add((start, one.after))
                afters = {one.after}
                line_end = self.line_end(data, start) or len(data)
                if self.policy == "dead_letter" and line_end - start > self.limit:
                    # The last part of the line is one, too.
                    records.add((one.after, line_end))
                    afters.add(line_end)
                todo += afters - seen
                seen |= afters
        return records, dropped


def _is_quote_open(text: bytes) -> bool:
    """Return whether a CSV record goes on in a quoted field."""
    is_open, at, before = False, 0, b","
    while at < len(text):
        one = text[at : at + 1]
        if is_open and text[at : at + 2] == b'""':
            at += 1
        elif is_open:
            is_open = one != b'"'
        elif one == b'"':
            is_open = before in b",;\t|\n"
        before = one
        at += 1
    return is_open


@functools.lru_cache(4096)  # the same lines are looked at again after each silence
def _said(line: bytes, *, is_docker: bool) -> tuple[bytes, bytes]:
    """Return what a container's line says, and its stream; a raw line has none."""
    is_whole = line.endswith(b"\n")
    if is_docker:
        try:
            entry = json.loads(line)
            text, stream = entry["log"].encode(), entry["stream"].encode()
        except (ValueError, KeyError, TypeError, AttributeError):
            return line, b""
        is_line = text and stream and b"\n" not in text[:-1]
        return (text, stream) if is_line else (line, b"")
    found = _CRI.fullmatch(line if is_whole else line + b"\n")
    if found is None:
        return line, b""
    if found[3] is not None:
        return found[3], found[1]
    return found[2] + b"\n" * is_whole, found[1]
