"""What became of every byte of a tail: pure, one list of ranges above a low watermark.

Law: a byte is issued once, settled once, and the low watermark is the first byte that is not
settled. Only what is below it, and the settled ranges above it, may be saved: whoever resumes
there skips nothing that was not delivered, dropped by a rule or put among the dead letters.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable


class Ledger:
    """Spans of one tail, from issue to settlement; owned by the tail's flow."""

    def __init__(self, low: int, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """Start at a watermark, with the ranges above it that an earlier run settled."""
        self.low = low
        self.issued = low
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            assert (self._ends[-1] if self._ends else low) < start < end
            self._starts.append(start)
            self._ends.append(end)

    @property
    def is_settled(self) -> bool:
        """Everything that was issued is settled."""
        return self.low >= self.issued

    @property
    def known_end(self) -> int:
        """The end of all that was ever issued, by this run or an earlier one."""
        return max(self.issued, self._ends[-1] if self._ends else 0)

    @property
    def unsettled_bytes(self) -> int:
        """Bytes issued and not settled."""
        last = bisect.bisect_left(self._starts, self.issued)
        return self.issued - self.low - (sum(self._ends[:last]) - sum(self._starts[:last]))

    def ranges(self, count_max: int | None = None) -> list[tuple[int, int]]:
        """Return the lowest settled ranges above the watermark, ascending."""
        return list(zip(self._starts[:count_max], self._ends[:count_max], strict=True))

    def gap(self) -> tuple[int, int | None]:
        """Return the next bytes to issue: where they start, and end if a settled range follows.

        Skips ranges that an earlier run settled: they are not read again.
        """
        index = bisect.bisect_left(self._starts, self.issued)
        if index < len(self._starts) and self._starts[index] == self.issued:
            self.issued = self._ends[index]
            index += 1
        return self.issued, self._starts[index] if index < len(self._starts) else None

    def settled_from(self, start: int) -> int:
        """Return where the settled range that starts there ends."""
        return self._ends[self._starts.index(start)]

    def issue(self, start: int, end: int) -> None:
        """Note that a span was read and will be settled."""
        at, limit = self.gap()
        assert at == start < end <= (end if limit is None else limit), (start, end, at, limit)
        self.issued = end

    def settle(self, start: int, end: int) -> None:
        """Note that the fate of an issued span is final."""
        assert self.low <= start < end <= self.issued, (self.low, start, end, self.issued)
        index = bisect.bisect_left(self._starts, start)
        assert index == len(self._starts) or end <= self._starts[index], "settled twice"
        assert index == 0 or self._ends[index - 1] <= start, "settled twice"
        if index and self._ends[index - 1] == start:
            index -= 1
            start = self._starts.pop(index)
            del self._ends[index]
        if index < len(self._starts) and self._starts[index] == end:
            end = self._ends.pop(index)
            del self._starts[index]
        # What an earlier run settled right above is not issued again.
        self.issued = max(self.issued, end)
        if start == self.low:
            self.low = end
        else:
            self._starts.insert(index, start)
            self._ends.insert(index, end)


def bytes_outside(ranges: Iterable[tuple[int, int]], start: int, end: int) -> int:
    """Return how many bytes of `[start, end)` are in none of the ranges, which do not overlap."""
    inside = sum(max(0, min(after, end) - max(first, start)) for first, after in ranges)
    return max(0, end - start - inside)
