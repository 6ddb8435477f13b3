"""Split a block of bytes into records: pure, and the hot path.

Decides where a record starts and ends. Never reads, never waits: what is incomplete stays with the
caller, who reads it again. One list operation a block; a loop over lines runs only in the rare
block that holds a line longer than the limit.

Law of oversize lines: a line of more than `record_bytes_max` bytes, delimiter included, is
    split         cut at multiples of record_bytes_max from its start, each part a record
    truncate      its first record_bytes_max - 1 bytes, less what is left there of a character in
                  UTF-8, and a newline; the rest is dropped
    drop          dropped
    dead_letter   cut as by split, each part a dead letter
Under `split` a part is final as soon as more than record_bytes_max bytes of the line are there, so
its ends do not depend on when the file was read. Under the others nothing is decided before the
line's end was seen.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Callable
from typing import Literal

from kagent import frame, model

LINES_MAX = 65536  # a chunk's lines: bounds the Python objects that one block can become

_NEWLINE = b"\n"[0]
_PIECE_BYTES = 65536  # of lines taken at once, so at most as many lines

_PLAIN = frame.Frame()

OversizePolicy = Literal["auto", "split", "truncate", "drop", "dead_letter"]


@dataclasses.dataclass(slots=True)
class Rules:
    """All that decides splitting; its digest is saved with a checkpoint."""

    record_bytes_max: int
    oversize: OversizePolicy = "auto"
    frame: frame.Frame = _PLAIN  # anything but lines as they stand is `framing`'s
    monotonic: Callable[[], float] = lambda: 0.0  # bounds the time for patterns; splits nothing
    # Not 0: whole lines may stay together, they are packed as they stand, in records that are
    # filled to so many bytes.
    run_bytes: int = 0

    def __post_init__(self) -> None:
        """Resolve `auto`: raw lines are split."""
        assert self.record_bytes_max >= 2
        if self.oversize == "auto":
            self.oversize = "split"

    @property
    def digest(self) -> str:
        """A text that differs whenever the same bytes might be split otherwise."""
        more = self.frame.digest
        return f"1:{self.record_bytes_max}:{self.oversize}" + (f":{more}" if more else "")


@dataclasses.dataclass(slots=True)
class Split:
    """A chunk, the records of it that go to the dead letters, and what is left.

    `is_long`: the bytes after `chunk.end` start a line that is already longer than the limit and
    whose end must be found before its fate is decided (see `cut_line`). `is_looked_through` (of
    framed records only): what is left gives no record before more bytes come. The rest counts
    lines of the chunk that were not in the format of `decode`, sequences of it that were no text
    in `encoding`, and lines for which a pattern took too long.
    """

    chunk: model.Chunk
    is_dead: bool = False
    is_long: bool = False
    is_looked_through: bool = False
    undecoded: int = 0
    replaced: int = 0
    expired: int = 0


def split_block(
    block: model.Block,
    tail_id: str,
    rules: Rules,
    *,
    lines_max: int = LINES_MAX,
    is_closed: bool = False,
) -> Split:
    """Split a block, which starts at a line's (or part's) start, into records.

    Args:
        block: n >= 1 bytes read at file offset block.start.
        tail_id: The tail they belong to.
        rules: Limit and policy.
        lines_max: Stop after at most so many lines (but at least one).
        is_closed: Nothing will follow the block: its last line ends where the block ends.

    Returns:
        k >= 0 records that tile [chunk.start, chunk.end) but for dropped bytes. Bytes after
        chunk.end are not decided yet.
    """
    # Each two records that a run is packed in are longer than one that is filled; no line of it is
    # too long.
    if (
        len(block.data) <= rules.record_bytes_max
        and 2 * len(block.data) < (lines_max - 1) * rules.run_bytes
    ):
        end = len(block.data) if is_closed else block.data.rfind(b"\n") + 1
        if end == 0 or block.data[end - 1] == _NEWLINE:
            return Split(_run(block.data[:end], block.start, tail_id))
    lines, is_all = _read_lines(block.data, max(1, lines_max))
    is_closed = is_closed and is_all
    rest = b"" if is_closed or lines[-1].endswith(b"\n") else lines.pop()
    limit = rules.record_bytes_max
    if len(block.data) > limit and lines and max(map(len, lines)) > limit:
        return _split_up_to_oversize(lines, block.start, tail_id, rules)
    chunk = tile(lines, block.start, tail_id)
    chunk.is_plain = True
    if len(rest) > rules.record_bytes_max:
        if rules.oversize != "split":
            return Split(chunk, is_long=True)
        whole = (len(rest) - 1) // rules.record_bytes_max * rules.record_bytes_max
        _append_parts(chunk, rest[:whole], rules.record_bytes_max)
    return Split(chunk)


def cut_line(head: bytes, start: int, end: int, tail_id: str, rules: Rules) -> Split:
    """Decide a line longer than the limit whose end is known, under any policy but `split`.

    Args:
        head: The line's bytes from `start` on, at least record_bytes_max + 1 of them.
        start: The line's first byte in the file.
        end: The byte after its delimiter (or the end of a closed file).
        tail_id: The tail it belongs to.
        rules: Limit and policy.

    Returns:
        A chunk that starts at `start`. It ends at `end`, but for dead letters, which are made of
        one part at a time so that a line of any length stays within the memory bound.
    """
    limit = rules.record_bytes_max
    assert len(head) > limit or end - start <= limit, "the head must hold one part and more"
    if rules.oversize == "dead_letter":
        part = head[: min(limit, end - start)]
        return Split(tile([part], start, tail_id), is_dead=True)
    chunk = model.Chunk(tail_id, [], [], [], start, end)
    if rules.oversize == "truncate":
        kept = text_end(head, limit - 1)
        chunk.records.append(head[:kept] + b"\n")
        chunk.starts.append(start)
        chunk.ends.append(start + kept)
    chunk.dropped_bytes = end - start - (sum(chunk.ends) - sum(chunk.starts))
    return Split(chunk)


def text_end(data: bytes, size: int) -> int:
    """Return where to cut text in UTF-8, at most at `size`, so that no character is cut in two.

    Bytes that are no UTF-8 are cut at `size`.
    """
    if size >= len(data) or not 0x80 <= data[size] < 0xC0:
        return size
    for start in range(size - 1, max(size - 4, -1), -1):
        if data[start] >= 0xC0:
            width = 4 if data[start] >= 0xF0 else 3 if data[start] >= 0xE0 else 2
            return start if start + width > size else size
        if data[start] < 0x80:
            break
    return size


def tile(records: list[bytes], start: int, tail_id: str) -> model.Chunk:
    """Return records that follow each other in the file, the first at `start`."""
    ends = list(itertools.accumulate(map(len, records), initial=start))
    starts = ends[:-1]
    return model.Chunk(tail_id, records, starts, ends[1:], start, ends[-1])


def _split_up_to_oversize(lines: list[bytes], start: int, tail_id: str, rules: Rules) -> Split:
    """Split lines of which at least one is too long, as far as one chunk can say it."""
    limit = rules.record_bytes_max
    if rules.oversize == "split":
        chunk = tile([], start, tail_id)
        for line in lines:  # rare: only in a block with an oversize line, about 0.2 us a line
            _append_parts(chunk, line, limit)
        return Split(chunk)
    short = list(itertools.takewhile(lambda line: len(line) <= limit, lines))
    if short:
        return Split(tile(short, start, tail_id))
    return Split(tile([], start, tail_id), is_long=True)


def _run(data: bytes, start: int, tail_id: str) -> model.Chunk:
    """Return whole lines as one record, which is cut between them later; none as no record."""
    chunk = tile([data] if data else [], start, tail_id)
    chunk.is_plain = chunk.is_run = True
    return chunk


def _read_lines(data: bytes, lines_max: int) -> tuple[list[bytes], bool]:
    """Return at most lines_max lines from the front of data, and whether these are all.

    Taken in pieces: a block of one-byte lines is not to become a million objects first.
    """
    stream = io.BytesIO(data)
    lines: list[bytes] = []
    while len(lines) < lines_max and (more := stream.readlines(min(lines_max, _PIECE_BYTES))):
        lines += more
    if len(lines) > lines_max:
        del lines[lines_max:]
        return lines, False
    return lines, stream.tell() == len(data)


def _append_parts(chunk: model.Chunk, data: bytes, limit: int) -> None:
    """Append data to the chunk, cut at multiples of limit."""
    for at in range(0, len(data), limit):
        part = data[at : at + limit]
        chunk.records.append(part)
        chunk.starts.append(chunk.end)
        chunk.end += len(part)
        chunk.ends.append(chunk.end)
