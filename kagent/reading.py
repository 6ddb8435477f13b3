"""Make records of a file from its position on: which block comes next, and what becomes of it.

What a block says depends on what stands around it: on the header and the hole that a file begins
with, on a range behind it that an earlier run settled, on the end of a line that was searched, and
on whether the file goes on. Where a record ends is decided by `split` and `framing`, and whether
the file is still the same by `proven`; here each byte gets its turn, and is issued once.
"""

from __future__ import annotations

from kagent import framing, holes, model, proven, search, split

READ_BYTES = 256 * 1024  # of lines that may well be short: what is worked on stays in the cache


def credit_min(rules: split.Rules) -> int:
    """Return the credit with which `Reading.read` can make a record, and stays within it."""
    return 2 * (rules.record_bytes_max + 1) + 4 * model.RECORD_OVERHEAD_BYTES


class Reading:
    """What reads one file and splits it; owned by its tail.

    `header` are the lines that `header_lines` skips, once they are known.
    """

    def __init__(self, file: proven.File, rules: split.Rules, tail_id: str) -> None:
        """Begin at the position of a file."""
        self._file = file
        self._rules = rules
        self._tail_id = tail_id
        is_framed = rules.frame.digest != ""
        self._framer = framing.Framer(tail_id, rules) if is_framed else None
        self.search = search.Search(file, self._framer, rules, tail_id)
        self.holes = holes.Holes(file, rules.frame)
        self.header: list[bytes] = []
        self._header_end: int | None = None

    def read(
        self, credit_bytes: int, now: float, *, is_final: bool, is_quiet: bool
    ) -> split.Split | None:
        """Read and split the next block; see `Tail.read`."""
        file = self._file
        if file.begins_with_nuls:
            return self._skip_hole(now, is_final=is_final)
        if not self._is_prepared(is_final=is_final):
            return None
        start, region_end = file.ledger.gap()
        if start != file.at:
            self._jump(start)
        if self._header_end is not None and start < self._header_end:
            return self._skip_header(
                start, min(self._header_end, region_end or self._header_end), now
            )
        size, lines_max = self._room(start, credit_bytes)
        is_open = region_end is None and not (is_final or is_quiet)
        if is_open and self.search.is_worth_it(start) and not self.search.look_on():
            return None
        block = file.read(size)
        self.search.compare(block)
        if region_end is not None:
            file.prove_range(file.ledger.settled_from(region_end))
            block.data = block.data[: region_end - start]
        return self._decide(
            block, region_end, lines_max, now, is_final=is_final, is_quiet=is_quiet
        )

    def _is_prepared(self, *, is_final: bool) -> bool:
        """Return whether the next block can be read now, and what it depends on is known."""
        if not self._file.prepare():
            return False
        is_begun = self._framer is None or self._header_end is not None
        return is_begun or self._begin(is_final=is_final)

    def _jump(self, start: int) -> None:
        """Go on behind a range that an earlier run settled, if the file still proves it."""
        is_proved = self._file.jump(start)
        self.search.forget()
        if not is_proved:
            raise proven.TruncatedError

    # --- what it begins with --------------------------------------------------------------------

    def _begin(self, *, is_final: bool) -> bool:
        """Look at the file's head; return whether it says all that later lines depend on."""
        assert self._framer is not None
        wanted = self._rules.frame.header_lines
        head = self._file.look(0, framing.HEADER_BYTES_MAX if wanted else framing.HEAD_BYTES)
        self._file.verify()  # another file's header would be dropped of this one
        self._framer.begin(head)
        self.header, end = self._framer.header(head)
        is_there = len(self.header) == wanted or len(head) == framing.HEADER_BYTES_MAX
        # Only a byte order mark says that of UTF-16.
        bytes_min = framing.HEAD_BYTES if self._rules.frame.encoding == "utf-16" else 0
        if not is_final and not (is_there and len(head) >= bytes_min):
            self.search.note_seen(len(head))
            return False
        self._header_end = end if is_there else len(head)
        return True

    def _skip_header(self, start: int, end: int, now: float) -> split.Split | None:
        """Drop header lines by rule: all at once, since only all of them say where they end."""
        block = self._file.read(end - start)
        if len(block.data) < end - start:
            raise proven.TruncatedError  # they were there when the head was looked at
        return self._drop(start, block.data, now)

    def _skip_hole(self, now: float, *, is_final: bool) -> split.Split | None:
        """Drop the NULs that a file begins with: its writer did not notice a truncation."""
        file = self._file
        file.look_again()
        end = self.holes.find_end()
        if end == 0 or (end >= file.size and not is_final):
            self.search.note_seen(end)
            self.search.nuls_from = 0 if end else None
            if end == 0:
                file.take_nuls_for_data()
            return None
        if self._framer is not None:  # a file that was truncated has no header
            self._framer.begin(file.look(end, framing.HEAD_BYTES))
            self._header_end = 0
        file.note_head(0, bytes(min(end, model.FINGERPRINT_BYTES_MAX)))
        file.hole_end = end
        chunk = model.Chunk(self._tail_id, [], [], [], 0, end, end, now)
        file.pass_over(chunk, bytes(min(end, model.FRONTIER_BYTES_MAX)))
        self.search.note_issued()
        return split.Split(chunk)

    # --- a block --------------------------------------------------------------------------------

    def _room(self, start: int, credit_bytes: int) -> tuple[int, int]:
        """Return how many bytes to read, and how many records a credit allows of them."""
        framer, least, growth = self._framer, self._rules.record_bytes_max + 1, 1
        if framer is not None:
            least, growth = framer.block_bytes_min, framer.growth
        size = max(least, min(proven.BLOCK_BYTES, credit_bytes // (8 * growth)))
        is_short = self.search.scanned - start < READ_BYTES  # no line is known to be longer
        if framer is None and self.search.line_end is None and is_short:
            size = min(size, READ_BYTES)
        # Beside one record a line there is one for each further part of an oversize line.
        parts_max = size // (least - 1) + 1
        records = (credit_bytes - growth * size) // model.RECORD_OVERHEAD_BYTES - parts_max
        return size, min(split.LINES_MAX, max(1, records))

    def _decide(
        self,
        block: model.Block,
        region_end: int | None,
        lines_max: int,
        now: float,
        *,
        is_final: bool,
        is_quiet: bool,
    ) -> split.Split | None:
        """Split a block that was read at the position, as far as its bytes say what they are."""
        start, end, size = block.start, block.start + len(block.data), self._file.size
        nuls = self.holes.lengthen(block)
        if nuls:
            return self._drop(start, block.data[:nuls], now)
        is_end = region_end is None and self.holes.is_begun_in(block)
        self.search.nuls_from = None
        if is_end:
            if is_final and not block.data.strip(b"\0"):
                return self._drop(start, block.data, now)
            block.data = block.data.rstrip(b"\0")
            self.search.nuls_from = start + len(block.data)
            end = size if is_final else self.search.nuls_from
        if not block.data:
            self.search.note_nuls(size)
            return None
        if self.search.line_end is not None:
            return self._cut_line(block, now)
        # What was written since it was polled ends nothing: the file is not silent.
        is_closed = end == region_end or (is_final and end == size)
        result = self._split(
            block, lines_max, is_closed=is_closed, is_quiet=is_quiet and end == size
        )
        chunk = result.chunk
        if result.is_long and chunk.end == start:
            closed_end = size if is_final else None
            if self.search.find_line_end(block, closed_end if region_end is None else region_end):
                return self._cut_line(block, now)
            return None
        if not result.is_long and self._is_looked_through(result, block):
            self.search.note(start, block.data)
            self.search.note_nuls(size)
        return self._issue(result, block.data, now) if chunk.end > start else None

    def _split(
        self, block: model.Block, lines_max: int, *, is_closed: bool, is_quiet: bool
    ) -> split.Split:
        if self._framer is not None and not self._rules.frame.is_plain:
            return self._framer.split_block(
                block, lines_max, is_closed=is_closed, is_quiet=is_quiet
            )
        return split.split_block(
            block, self._tail_id, self._rules, lines_max=lines_max, is_closed=is_closed
        )

    def _is_looked_through(self, result: split.Split, block: model.Block) -> bool:
        """Return whether what is left of a block gives no record before more bytes come."""
        if self._framer is not None and not self._rules.frame.is_plain:
            return result.is_looked_through
        return block.data.find(b"\n", result.chunk.end - block.start) < 0

    # --- what is made of it ---------------------------------------------------------------------

    def _issue(self, result: split.Split, data: bytes, now: float) -> split.Split:
        """Account for a chunk that was cut from the front of data."""
        result.chunk.read_time = now
        self._file.take(result.chunk, data)
        self.search.note_issued()
        return result

    def _drop(self, start: int, data: bytes, now: float) -> split.Split:
        """Drop bytes by rule."""
        end = start + len(data)
        chunk = model.Chunk(self._tail_id, [], [], [], start, end, end - start)
        return self._issue(split.Split(chunk), data, now)

    def _cut_line(self, block: model.Block, now: float) -> split.Split | None:
        """Issue an oversize line whose end is known, or the next part of it."""
        end, result = self.search.line_end, self.search.cut_line(block)
        if result is None:
            return None
        assert end is not None
        chunk = result.chunk
        if chunk.end < end.offset:
            return self._issue(result, block.data, now)
        chunk.read_time = now
        head = block.data[: end.offset - block.start]
        head_bytes = min(end.offset, model.FINGERPRINT_BYTES_MAX) - block.start
        if len(head) < head_bytes:  # the block ends within the line
            head = self._file.look(block.start, head_bytes)
        self._file.note_head(block.start, head)
        self._file.pass_over(chunk, end.last_bytes)
        self.search.note_issued()
        self.search.line_end = None
        return result
