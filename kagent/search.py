"""Look behind a tail's position for the end of what is not whole: a long line, a growing record.

What was searched is remembered, so that a line that grows to 10 MiB is not read again and again,
and so are the bytes just before: they tell whether what was searched is still there. Nothing of it
is ever issued from here; a line whose end was found is cut, and `reading` issues what comes of it.
"""

from __future__ import annotations

import dataclasses

from kagent import framing, model, proven, split

BLOCKS_MAX = 8  # searched in one turn for the end of an oversize line
_SHORT_REST_BYTES = 65536  # an incomplete line of so few bytes is simply read again


@dataclasses.dataclass(slots=True)
class LineEnd:
    """The end of an oversize line, found by searching; `last_bytes` are those before it."""

    offset: int
    last_bytes: bytes


class Search:
    """What was looked at of one file behind its position; owned by its tail.

    No line ends between the position and `scanned`. `line_end` is where the oversize line ends
    that begins at the position, once that is known. `nuls_from` is where the NULs began that the
    file ended in when that was searched last, None if it ended in something else.
    """

    def __init__(
        self, file: proven.File, framer: framing.Framer | None, rules: split.Rules, tail_id: str
    ) -> None:
        """Look at what follows the position of a file; the framer is None for plain lines."""
        self._file = file
        self._framer = framer
        self._rules = rules
        self._tail_id = tail_id
        self.scanned = file.at
        self._last_bytes = b""  # the bytes just before there, if they were searched
        self.line_end: LineEnd | None = None
        self.nuls_from: int | None = None

    @property
    def is_growing(self) -> bool:
        """Whole lines wait for a record's end, which nothing but silence may bring."""
        return self._framer is not None and self._framer.growing_from == self._file.ledger.issued

    @property
    def looked_at(self) -> int:
        """Up to where anything is remembered of the bytes behind the position."""
        if self._framer is not None and self.is_growing:
            return max(self.scanned, self._framer.looked_at)
        return self.scanned

    def is_worth_it(self, start: int) -> bool:
        """Return whether to look for a newline first: the line is long and nothing of it final."""
        searched = self.scanned - start
        has_parts = self._rules.oversize == "split" and searched > self._rules.record_bytes_max
        return self.line_end is None and searched > _SHORT_REST_BYTES and not has_parts

    def data_end(self, size: int) -> int:
        """Return up to where there was data when the file had a size: NULs at its end are none."""
        if self.nuls_from is None or self.scanned < size:
            return size
        return min(size, max(self.nuls_from, self._file.at))

    # --- what was searched ----------------------------------------------------------------------

    def forget(self) -> None:
        """Begin anew at the position: what was searched may have changed."""
        self.scanned, self._last_bytes, self.line_end = self._file.at, b"", None
        self.nuls_from = None
        if self._framer is not None:
            self._framer.forget()

    def verify(self) -> None:
        """Forget what was searched if it is not there any more.

        Raises:
            OSError: as the system says.
        """
        at = self.scanned - len(self._last_bytes)
        is_there = self._file.look(at, len(self._last_bytes)) == self._last_bytes
        if not is_there or self.nuls_from is not None:
            self.forget()

    def compare(self, block: model.Block) -> None:
        """Forget what was searched if it is not in a block that was read at the position."""
        at = self.scanned - block.start
        if 0 < at <= len(block.data):
            before = self._last_bytes[-at:]
            if block.data[at - len(before) : at] != before:
                self.forget()

    def note(self, at: int, data: bytes) -> None:
        """Note that no newline is in data, which was read at an offset, nor before it."""
        if at + len(data) > self.scanned:
            self.scanned = at + len(data)
            self._last_bytes = data[-model.FRONTIER_BYTES_MAX :]

    def note_seen(self, end: int) -> None:
        """Note that nothing can be made of the bytes up to an offset, however they go on."""
        self.scanned = max(self.scanned, end)

    def note_nuls(self, size: int) -> None:
        """Note that a file of a size was looked through if nothing but NULs is left of it."""
        if self.nuls_from is not None:
            self.scanned = max(self.scanned, size)
            self._last_bytes = bytes(min(self.scanned, model.FRONTIER_BYTES_MAX))

    def note_issued(self) -> None:
        """Note that the position moved on."""
        if self.scanned < self._file.at:
            self.scanned, self._last_bytes = self._file.at, b""

    # --- to search on ---------------------------------------------------------------------------

    def look_on(self) -> bool:
        """Look behind what was searched before; return whether a record may be decided now.

        Raises:
            OSError: as the system says.
        """
        framer, is_growing = self._framer, self.is_growing
        read = self._read_on()
        if read is None:
            return False
        at, data = read
        if framer is not None and is_growing:
            behind = data[framer.looked_at - at :]
            if framer.look_on(behind, is_more=len(data) == proven.BLOCK_BYTES):
                return True
        elif self._line_end_in(data, self.scanned - at, at) >= 0:
            return True
        self.note(at, data)
        return False

    def find_line_end(self, block: model.Block, closed_end: int | None) -> bool:
        """Look where a line longer than the limit ends; return whether that is known.

        Args:
            block: Its first bytes.
            closed_end: Where it ends at the latest, if that is known.

        Raises:
            OSError: as the system says.
        """
        at, data, searched_to = block.start, block.data, block.start
        for _ in range(BLOCKS_MAX):
            if closed_end is not None:
                data = data[: closed_end - at]
            found = self._line_end_in(data, searched_to - at, at)
            if found >= 0 or at + len(data) == closed_end:
                end = found if found >= 0 else len(data)
                before = self._file.last_bytes if at == block.start else b""
                last_bytes = before + data[max(0, end - model.FRONTIER_BYTES_MAX) : end]
                last_bytes = last_bytes[-model.FRONTIER_BYTES_MAX :]
                self.line_end = LineEnd(at + end, last_bytes)
                return True
            self.note(at, data)
            read = self._read_on()
            if read is None:
                return False
            (at, data), searched_to = read, self.scanned
            if at + len(data) <= searched_to and searched_to != closed_end:
                return False
        return False

    def _read_on(self) -> tuple[int, bytes] | None:
        """Read behind what was searched, proving the bytes before; None if they changed."""
        at = self.scanned - len(self._last_bytes)
        if self._framer is not None and self.is_growing:
            at = min(at, self._framer.looked_at)
        data = self._file.look(at, proven.BLOCK_BYTES)
        if data[: self.scanned - at].endswith(self._last_bytes):
            return at, data
        self.forget()
        return None

    def _line_end_in(self, data: bytes, at: int, offset: int) -> int:
        """Return the index behind the first delimiter that ends behind `at`, -1 if none does."""
        if self._framer is not None:
            return self._framer.find_line_end(data, at, offset)
        return data.find(b"\n", max(0, at)) + 1 or -1

    # --- the line whose end was found -----------------------------------------------------------

    def cut_line(self, block: model.Block) -> split.Split | None:
        """Decide an oversize line whose end is known, or the next part of it.

        None, and all is forgotten, if the line is not there any more as it was searched.

        Args:
            block: Its first bytes.

        Raises:
            OSError: as the system says.
        """
        assert self.line_end is not None
        end, framer = self.line_end, self._framer
        at = end.offset - len(end.last_bytes)
        if self._file.look(at, len(end.last_bytes)) != end.last_bytes:
            self.forget()  # the line was rewritten behind what was read of it
            return None
        line_max = framer.line_max if framer else self._rules.record_bytes_max
        if block.start + len(block.data) < min(block.start + line_max, end.offset):
            self.forget()  # the file was cut within the line
            return None
        if framer is not None and not self._rules.frame.is_plain:
            return framer.cut_line(block.data, block.start, end.offset)
        return split.cut_line(block.data, block.start, end.offset, self._tail_id, self._rules)
