"""Make records of bytes that are more than lines: decoded, transcoded, joined. Pure.

    bytes -> lines (`transcode`) -> what a container says (`decode`) -> records (`multiline`)

What `split` does for plain lines is done here for all else, with the same law of oversize lines
and one more:

Law of long records. A record is joined of whole lines as long as they are at most `lines_max` and
their bytes in the file at most `bytes_max`; the line that does not fit begins the next record. A
line longer than `max_line` never fits: it is cut by the law of oversize lines, and each part is
a line from then on. The parts of a container's line are joined by the same measure.

Every record is one range of the file, so a line of a container's other stream ends the record
before it; so does a line that is not in the format.

All of it depends on nothing but the bytes from a record's end on. Whoever begins there, after a
restart, at a gap, or in a smaller block, finds the same records. Only `is_quiet` is from outside:
the file did not grow for so long that what is there is a whole record.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Sequence

from kagent import decode, frame, model, multiline, split, transcode

HEADER_BYTES_MAX = 1024**2  # lines beyond belong to no header
HEAD_BYTES = 2  # a byte order mark


@dataclasses.dataclass(slots=True)
class _Rows:
    """Whole lines (or parts of oversize ones) in columns, as far as they are in a block."""

    texts: list[bytes]
    sizes: list[int]  # in the file
    streams: Sequence[bytes] = ()  # empty unless decoded
    replaced: Sequence[int] = ()  # empty where none is
    rest_bytes: int = 0  # that the next line has at least
    is_ended: bool = False  # the record of the last line ends with it, whatever comes


@dataclasses.dataclass(slots=True)
class _Growing:
    """A record of which all that is there was looked at, and goes on."""

    start: int
    looked_at: int  # the first line not looked at
    lines: int
    stream: bytes


def delimiter_of(one: frame.Frame, head: bytes) -> tuple[bytes, int]:
    """Return the bytes that end a line, and that they begin at a multiple of so many.

    Args:
        one: How lines are written.
        head: The file's first HEAD_BYTES, or fewer.
    """
    encoding = _encoding(one, head)
    return encoding.delimiter, 1 if one.encoding in {"bytes", "latin-1"} else 2


def _encoding(one: frame.Frame, head: bytes) -> transcode.Encoding:
    return transcode.encoding_of(one, is_big_endian=head[:HEAD_BYTES] == b"\xfe\xff")


class Framer:
    """Splits the blocks of one tail; what it remembers saves work, and changes no record."""

    def __init__(self, tail_id: str, rules: split.Rules) -> None:
        """Prepare the stages of a frame; `begin` must be called before the first block."""
        self._tail_id = tail_id
        self._rules = rules
        self._frame = rules.frame
        self._encoding = transcode.encoding_of(rules.frame)
        self._grouping = multiline.grouping_of(rules.frame.multiline, rules.monotonic)
        many = rules.frame.multiline
        self.line_max = self._encoding.source_bytes(rules.record_bytes_max)
        self._bytes_max = min(self.line_max, many.bytes_max) if many else self.line_max
        self._lines_max = many.lines_max if many else multiline.LINES_MAX
        self._seen_end, self._seen_bytes = -1, b""  # of the last block: where, and its last ones
        self._growing: _Growing | None = None
        self._next = -1  # where the next block begins, if nothing intervenes
        self._expired = 0  # that were told
        # A block of so many bytes decides at least one record; one byte becomes so many at most.
        self.block_bytes_min = self.line_max + 2
        if rules.frame.decode != "none":
            # Whether a part goes on is known at the end of the next line only.
            self.block_bytes_min += self._bytes_max
        self.growth = 1 if rules.frame.encoding == "bytes" else 2

    def begin(self, head: bytes) -> None:
        """Take a file's first HEAD_BYTES, or fewer if nothing will follow: the byte order."""
        self._encoding = _encoding(self._frame, head)

    def find_line_end(self, data: bytes, at: int, offset: int) -> int:
        """Return the index after the first delimiter that ends behind `at`, -1 if there is none.

        Args:
            data: Bytes of the file.
            at: Bytes of it that hold no whole delimiter.
            offset: Where data begins in the file.
        """
        width = len(self._encoding.delimiter)
        found = self._encoding.find(data, max(0, at - width + 1), offset)
        return found + width if found >= 0 else -1

    def header(self, head: bytes) -> tuple[list[bytes], int]:
        """Return a file's header lines, as far as they are whole, and where they end.

        Args:
            head: The file's first bytes, at most HEADER_BYTES_MAX.
        """
        lines = self._encoding.lines(head, 0)
        count = self._frame.header_lines
        return lines.texts[:count], sum(lines.sizes[:count])

    # --- records ------------------------------------------------------------------------------

    def split_block(
        self,
        block: model.Block,
        records_max: int,
        *,
        is_closed: bool = False,
        is_quiet: bool = False,
    ) -> split.Split:
        """Split a block, which starts where a record starts, into records.

        Args:
            block: n >= 1 bytes; they hold a whole record if n > record_bytes_max.
            records_max: Stop after so many records.
            is_closed: Nothing will follow the block: its last record ends where the block ends.
            is_quiet: Its last record ends with its last whole line.

        Returns:
            As `split.split_block`. `is_looked_through` says that more records can only come of
            more bytes.
        """
        if block.start != self._next or not self._is_as_seen(block):
            self._grouping.note_taken(None)
            self._seen_end = -1
        self._growing = None
        few = _bounded(block.data, self._encoding.delimiter)
        is_whole = len(few) == len(block.data)
        result = self._split_data(
            model.Block(block.start, few),
            records_max,
            is_closed=is_closed and is_whole,
            is_quiet=is_quiet and is_whole,
        )
        if not is_whole and result.chunk.end == block.start and not result.is_long:
            # Rare: bytes that look like delimiters and are none, or parts of one line.
            result = self._split_data(block, records_max, is_closed=is_closed, is_quiet=is_quiet)
            few = block.data
        else:
            result.is_looked_through &= is_whole
        result.expired = self._grouping.expired - self._expired
        self._expired = self._grouping.expired
        self._next = result.chunk.end
        if block.start + len(few) > self._seen_end:
            self._seen_end = block.start + len(few)
            self._seen_bytes = few[-model.FRONTIER_BYTES_MAX :]
        return result

    def _is_as_seen(self, block: model.Block) -> bool:
        """Return whether what is known of the lines of a block is known of these."""
        at = self._seen_end - block.start
        before = self._seen_bytes[-at:] if at > 0 else b""
        return at <= 0 or block.data[max(0, at - len(before)) : at] == before

    def _split_data(
        self, block: model.Block, records_max: int, *, is_closed: bool, is_quiet: bool
    ) -> split.Split:
        start, data = block.start, block.data
        if not is_closed:
            result = self._split_fast(start, data, records_max, is_quiet=is_quiet)
            if result is not None:
                return result
        rows, is_long = self._rows(data, start, is_closed=is_closed)
        rows.is_ended |= is_long or is_closed or is_quiet
        result = self._split_rows(rows, start, records_max)
        result.is_long = is_long and result.chunk.end - start == sum(rows.sizes)
        return result

    def _split_fast(
        self, start: int, data: bytes, records_max: int, *, is_quiet: bool
    ) -> split.Split | None:
        """Split bytes as they stand by a preset, None where a record may be too long."""
        grouping = self._grouping
        if not (self._frame.is_bytewise and isinstance(grouping, multiline.PresetGrouping)):
            return None
        end = data.rfind(b"\n") + 1
        if not end or len(data) - end > self.line_max:
            return None
        text = data[:end]
        records = grouping.records(text)
        longest = max(map(len, records))
        lines = text.count(b"\n")
        if longest > self._bytes_max or lines - len(records) >= self._lines_max:
            return None
        last = records[-1]
        is_decided = is_quiet or grouping.is_complete(last)
        is_decided |= last.count(b"\n") >= self._lines_max
        if not is_decided and len(last) + len(data) - end <= self._bytes_max:
            self._growing = _Growing(start + end - len(last), start + end, last.count(b"\n"), b"")
            records.pop()
        is_whole = len(records) <= records_max
        del records[records_max:]
        chunk = split.tile(records, start, self._tail_id)
        if not is_whole:
            self._growing = None
        return split.Split(self._finished(chunk), is_looked_through=is_whole)

    def _split_rows(self, rows: _Rows, start: int, records_max: int) -> split.Split:
        """Group lines to records, and make a chunk of those that are decided."""
        counts, is_all = self._counts(rows)
        is_whole = len(counts) <= records_max
        del counts[records_max:]
        ends = list(itertools.accumulate(counts))
        taken = ends[-1] if ends else 0
        if is_all and is_whole and taken < len(rows.texts):
            self._growing = _Growing(
                start + sum(rows.sizes[:taken]),
                start + sum(rows.sizes),
                len(rows.texts) - taken,
                rows.streams[-1] if rows.streams else b"",
            )
        if taken == len(counts):
            records = rows.texts[:taken]
        else:
            firsts = [0, *ends[:-1]]
            records = [
                b"".join(rows.texts[first:end]) for first, end in zip(firsts, ends, strict=True)
            ]
        offsets = list(itertools.accumulate(rows.sizes[:taken], initial=start))
        bounds = [start, *(offsets[end] for end in ends)]
        chunk = model.Chunk(self._tail_id, records, bounds[:-1], bounds[1:], start, bounds[-1])
        self._note_taken(records)
        return split.Split(
            self._finished(chunk),
            is_looked_through=is_all and is_whole,
            undecoded=list(rows.streams[:taken]).count(decode.RAW) if rows.streams else 0,
            replaced=sum(rows.replaced[:taken]),
        )

    def _note_taken(self, records: list[bytes]) -> None:
        """Tell the grouping which lines went out; a record that ends within a line spoils it."""
        if all(record.endswith(b"\n") for record in records):
            self._grouping.note_taken(sum(record.count(b"\n") for record in records))
        else:
            self._grouping.note_taken(None)

    def _finished(self, chunk: model.Chunk) -> model.Chunk:
        """Take off terminators, where they are not wanted; what is empty then is dropped."""
        records = chunk.records
        if self._frame.is_stripped:
            terminator = self._encoding.terminator
            records = [record.removesuffix(terminator) for record in records]
        if all(records):
            chunk.records = records
            return chunk
        kept = [index for index, record in enumerate(records) if record]
        chunk.records = [records[index] for index in kept]
        chunk.starts = [chunk.starts[index] for index in kept]
        chunk.ends = [chunk.ends[index] for index in kept]
        chunk.dropped_bytes = chunk.end - chunk.start - (sum(chunk.ends) - sum(chunk.starts))
        return chunk

    # --- lines --------------------------------------------------------------------------------

    def _rows(self, data: bytes, start: int, *, is_closed: bool) -> tuple[_Rows, bool]:
        """Return the lines of a block, and whether one follows that is too long to be cut yet."""
        lines = self._encoding.lines(data, start)
        whole = sum(lines.sizes)
        is_long, has_parts = False, False
        if lines.sizes and max(lines.sizes) > self.line_max:
            lines, is_long = self._cut_long(lines, data, start)
            whole, has_parts = sum(lines.sizes), True
        rest = data[whole:]
        if not is_long and len(rest) > self.line_max:
            if self._rules.oversize == "split":
                self._cut_parts(lines, rest, start + whole, is_closed=is_closed)
                has_parts = True
            else:
                is_long = True
        elif not is_long and is_closed and rest:
            lines.add(*_swap(*self._encoding.text(rest, start + whole), len(rest)))
            has_parts = True
        if self._frame.decode == "none":
            rest_bytes = len(data) - sum(lines.sizes)
            return _Rows(lines.texts, lines.sizes, (), lines.replaced, rest_bytes), is_long
        rest_bytes = len(data) - sum(lines.sizes)
        if is_closed or is_long:
            rest_bytes = self._bytes_max  # no part of a line goes on in it
        return self._decoded(lines, rest_bytes, has_parts=has_parts), is_long

    def _cut_long(
        self, lines: transcode.Lines, data: bytes, start: int
    ) -> tuple[transcode.Lines, bool]:
        """Cut oversize lines to parts; by another policy, keep what stands before the first."""
        if self._rules.oversize != "split":
            fitting = itertools.takewhile(lambda size: size <= self.line_max, lines.sizes)
            lines.keep(len(list(fitting)))
            return lines, True
        result = transcode.Lines([], [])
        at = 0
        for index, size in enumerate(lines.sizes):  # rare: about 0.5 us a line
            if size <= self.line_max:
                replaced = lines.replaced[index] if lines.replaced else 0
                result.add(lines.texts[index], size, replaced)
            else:
                self._cut_parts(result, data[at : at + size], start + at, is_closed=True)
            at += size
        return result, False

    def _cut_parts(
        self, lines: transcode.Lines, data: bytes, start: int, *, is_closed: bool
    ) -> None:
        """Append the parts of an oversize line; the last one only if nothing follows data."""
        at = 0
        while len(data) - at > self.line_max:
            size = self._encoding.cut(data[at : at + self.line_max + 2], self.line_max, start + at)
            part = data[at : at + size]
            lines.add(*_swap(*self._encoding.text(part, start + at), size))
            at += size
        if is_closed:
            lines.add(*_swap(*self._encoding.text(data[at:], start + at), len(data) - at))

    def _decoded(self, lines: transcode.Lines, rest_bytes: int, *, has_parts: bool) -> _Rows:
        """Return what a container's lines say, parts of one line joined.

        What is left of a line that is not whole at the end is left out.
        """
        kind = self._frame.decode
        if has_parts:
            pairs = [
                decode.decode_rest(kind, text)
                if not text.endswith(b"\n")
                else _first(decode.decode(kind, [text]))
                for text in lines.texts
            ]
            texts = [text for text, _ in pairs]
            streams: Sequence[bytes] = [stream for _, stream in pairs]
        else:
            decoded = decode.decode(kind, lines.texts)
            texts, streams = decoded.texts, decoded.streams
        if b"".join(texts).count(b"\n") == len(texts):
            return _Rows(texts, lines.sizes, streams, (), rest_bytes)
        return self._joined(texts, lines.sizes, streams, rest_bytes)

    def _joined(
        self,
        texts: Sequence[bytes],
        sizes: Sequence[int],
        streams: Sequence[bytes],
        rest_bytes: int,
    ) -> _Rows:
        """Join the parts of lines: about 0.5 us a part, only in blocks that hold one."""
        rows = _Rows([], [], [])
        joined: list[bytes] = []
        size, stream = 0, b""
        known: list[bytes] = []

        def end_line() -> None:
            nonlocal size
            if joined:
                rows.texts.append(b"".join(joined))
                rows.sizes.append(size)
                known.append(stream)
            joined.clear()
            size = 0

        for text, part_size, part_stream in zip(texts, sizes, streams, strict=True):
            if part_stream != stream or size + part_size > self._bytes_max:
                end_line()
            joined.append(text)
            size, stream = size + part_size, part_stream
            if text.endswith(b"\n") or stream == decode.RAW:
                end_line()
        if size + rest_bytes > self._bytes_max:
            end_line()
        rows.rest_bytes = size or rest_bytes
        rows.streams = known
        return rows

    # --- records of several lines -------------------------------------------------------------

    def _counts(self, rows: _Rows) -> tuple[list[int], bool]:
        """Return how many lines each decided record has, and whether all lines were looked at."""
        if not rows.texts:
            return [], True
        if self._frame.multiline is None:
            return [1] * len(rows.texts), True
        counts: list[int] = []
        skipped = first = 0
        for last in _run_ends(rows.streams, len(rows.texts)):
            texts, sizes = _ended(rows.texts[first:last]), rows.sizes[first:last]
            text = b"".join(texts)
            text_ends = list(itertools.accumulate(map(len, texts)))
            lengths = self._grouping.lengths(text, skipped)
            looked_at = sum(lengths)
            if looked_at < len(text):
                # No time for more: what was looked at counts, the rest comes again.
                del texts[bisect.bisect_right(text_ends, looked_at) :]
                del text_ends[len(texts) :], sizes[len(texts) :]
                text = text[: text_ends[-1]] if texts else b""
            found = self._limited(lengths, text, text_ends, sizes)
            is_all = first + len(texts) == len(rows.texts)
            is_last = last == len(rows.texts) or first + len(texts) < last
            if is_last and found:
                is_ended = rows.is_ended and is_all
                if not is_ended and not self._is_decided(
                    found[-1], text, text_ends, sizes, (rows.rest_bytes if is_all else 0)
                ):
                    found.pop()
            counts += found
            if is_last:
                return counts, is_all
            skipped += text.count(b"\n")
            first = last
        return counts, True

    def _is_decided(
        self, count: int, text: bytes, text_ends: list[int], sizes: list[int], rest_bytes: int
    ) -> bool:
        """Return whether the last record that is there ends with its last line for certain."""
        if count >= self._lines_max or sum(sizes[-count:]) + rest_bytes > self._bytes_max:
            return True
        start = text_ends[-count - 1] if count < len(text_ends) else 0
        return self._grouping.is_complete(text[start:])

    def _limited(
        self, lengths: list[int], text: bytes, text_ends: list[int], sizes: list[int]
    ) -> list[int]:
        """Return how many lines each record has, by the law of long records."""
        if len(lengths) == len(text_ends):
            return [1] * len(lengths)
        source_ends = list(itertools.accumulate(sizes))
        indices = [0] + [
            bisect.bisect_left(text_ends, end) + 1 for end in itertools.accumulate(lengths)
        ]
        counts = [end - start for start, end in itertools.pairwise(indices)]
        bounds = [0, *source_ends]
        longest = max(bounds[end] - bounds[start] for start, end in itertools.pairwise(indices))
        if longest <= self._bytes_max and max(counts) <= self._lines_max:
            return counts
        counts.clear()
        at = 0
        while at < len(text_ends):
            fits = bisect.bisect_right(source_ends, bounds[at] + self._bytes_max)
            stop = max(at + 1, min(at + self._lines_max, fits))
            begin = text_ends[at - 1] if at else 0
            end = self._grouping.first(text, begin, text_ends[stop - 1])
            after = bisect.bisect_left(text_ends, end) + 1
            counts.append(after - at)
            at = after
        return counts

    # --- a record that grows ------------------------------------------------------------------

    @property
    def growing_from(self) -> int | None:
        """Where a record begins that may go on, None if there is none."""
        return self._growing.start if self._growing else None

    @property
    def looked_at(self) -> int:
        """The first byte of a growing record's lines that was not looked at."""
        assert self._growing is not None
        return self._growing.looked_at

    def forget(self) -> None:
        """Note that bytes which were looked at may have changed."""
        self._growing, self._next = None, -1

    def look_on(self, data: bytes, *, is_more: bool) -> bool:
        """Look at what follows `looked_at`; return whether the record may be decided now.

        Args:
            data: Bytes from there on.
            is_more: The file has more of them.
        """
        growing = self._growing
        assert growing is not None
        if growing.looked_at + len(data) - growing.start > self._bytes_max:
            return True
        rows, is_long = self._rows(data, growing.looked_at, is_closed=False)
        if is_long or not rows.texts:
            return is_long or is_more
        if any(stream != growing.stream for stream in rows.streams):
            return True
        before = growing.lines
        growing.lines += len(rows.texts)
        if growing.lines >= self._lines_max:
            return True
        if not self._grouping.surely_goes_on(b"".join(_ended(rows.texts)), before):
            return True
        growing.looked_at += sum(rows.sizes)
        return False

    # --- lines that are too long --------------------------------------------------------------

    def cut_line(self, head: bytes, start: int, end: int) -> split.Split:
        """Decide an oversize line whose end is known; see `split.cut_line`."""
        limit = self.line_max
        if self._rules.oversize == "dead_letter":
            size = min(limit, end - start)
            if size < end - start:
                size = self._encoding.cut(head, size, start)
            text, replaced = self._encoding.text(head[:size], start)
            chunk = model.Chunk(
                self._tail_id, [text], [start], [start + size], start, start + size
            )
            return split.Split(chunk, is_dead=True, replaced=replaced)
        chunk = model.Chunk(self._tail_id, [], [], [], start, end)
        replaced = 0
        if self._rules.oversize == "truncate":
            size = self._encoding.cut(head, limit - len(self._encoding.delimiter), start)
            if self._rules.frame.encoding == "bytes":
                size = split.text_end(head, size)
            text, replaced = self._encoding.text(head[:size], start)
            terminator = b"" if self._frame.is_stripped else self._encoding.terminator
            chunk.records.append(text + terminator)
            chunk.starts.append(start)
            chunk.ends.append(start + size)
        chunk.dropped_bytes = end - start - (sum(chunk.ends) - sum(chunk.starts))
        return split.Split(chunk, replaced=replaced)


def _bounded(data: bytes, delimiter: bytes) -> bytes:
    """Return as much of data as holds no more than split.LINES_MAX delimiters."""
    if data.count(delimiter) <= split.LINES_MAX:
        return data
    size = bisect.bisect_right(
        range(len(data)), split.LINES_MAX, key=lambda size: data.count(delimiter, 0, size)
    )
    return data[: size // 2 * 2]


def _ended(texts: list[bytes]) -> list[bytes]:
    """Return lines as patterns see them: what has no newline, a part, is judged as if it had."""
    if b"".join(texts).count(b"\n") == len(texts):
        return texts
    return [text if text.endswith(b"\n") else text + b"\n" for text in texts]  # rare


def _run_ends(streams: Sequence[bytes], count: int) -> list[int]:
    """Return where each run of lines of one stream ends; lines that are raw stand alone."""
    if not streams:
        return [count]
    return [
        index
        for index, (one, other) in enumerate(itertools.pairwise(streams), start=1)
        if one != other or one == decode.RAW
    ] + [count]


def _swap(text: bytes, replaced: int, size: int) -> tuple[bytes, int, int]:
    return text, size, replaced


def _first(decoded: decode.Decoded) -> tuple[bytes, bytes]:
    return decoded.texts[0], decoded.streams[0]
