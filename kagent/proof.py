"""Proofs that a file is the one it was: digests of its head, and of the bytes before an offset.

Reads the few bytes that a proof needs and compares them; never decides what a mismatch means.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Collection

from kagent import model

LAST_LINE_BYTES_MAX = 16 * 1024**2  # how far back `start_at: end` looks for the last newline
_BLOCK_BYTES = 1024**2
_OLDER_AGES_S = (1.0, 10.0, 60.0)
_RECENT_MAX = 64


def digest(data: bytes) -> bytes:
    """Return 16 bytes that stand for data in a checkpoint."""
    return hashlib.blake2b(data, digest_size=16).digest()


def before(offset: int) -> tuple[int, int]:
    """Return offset and size of the bytes whose digest is the frontier at an offset."""
    size = min(model.FRONTIER_BYTES_MAX, offset)
    return offset - size, size


def read_frontier(files: model.OpenFiles, handle: int, offset: int) -> model.Frontier:
    """Return the frontier at an offset as the file has it now."""
    return model.Frontier(offset, digest(files.read(handle, *before(offset))))


def frontiers(checkpoint: model.Checkpoint) -> list[model.Frontier]:
    """Return every frontier that a checkpoint holds: at its offset, below, and of its ranges."""
    ranges = [model.Frontier(one.end, one.digest) for one in checkpoint.ranges]
    return [checkpoint.frontier, *checkpoint.older, *ranges]


def gather_evidence(
    files: model.OpenFiles, handle: int, checkpoint: model.Checkpoint
) -> model.Evidence:
    """Compare a file's bytes with every digest of a checkpoint."""
    head = files.read(handle, 0, checkpoint.fingerprint.length)
    held = {
        one.offset
        for one in frontiers(checkpoint)
        if read_frontier(files, handle, one.offset) == one
    }
    ends = [files.read(handle, *before(offset)) for offset in telling(held, checkpoint)]
    compared = b"".join([head, *ends])
    return model.Evidence(
        digest(head) == checkpoint.fingerprint.digest, frozenset(held), len(set(compared)) > 1
    )


def telling(held: Collection[int], checkpoint: model.Checkpoint) -> list[int]:
    """Return the offsets by which a file continues a checkpoint, of those that hold."""
    last = max((one for one in held if one <= checkpoint.offset), default=0)
    return [last, *(one.end for one in checkpoint.ranges if one.end in held)]


def last_line_end(
    files: model.OpenFiles, handle: int, size: int, delimiter: bytes = b"\n", unit: int = 1
) -> int:
    """Return the offset after a file's last delimiter, 0 if it has none.

    A delimiter begins at a multiple of `unit`. One that overlaps itself is not told apart.

    A last line longer than LAST_LINE_BYTES_MAX is not searched to its start: its end counts.
    """
    end = size
    while end > max(0, size - LAST_LINE_BYTES_MAX):
        start = max(0, end - _BLOCK_BYTES)
        data = files.read(handle, start, end - start)
        found = data.rfind(delimiter)
        while found >= 0 and (start + found) % unit:
            found = data.rfind(delimiter, 0, found + len(delimiter) - 1)
        if found >= 0:
            return start + found + len(delimiter)
        # Half a delimiter may stand at the block's beginning.
        end = start + len(delimiter) - 1 if start else 0
    return end if end == 0 else size


class History:
    """Older frontiers of a tail, by which a log that lost its last bytes is recognised.

    Keeps the ones of about 1, 10 and 60 s ago and one of about half the offset. That one may be
    anywhere: a line's beginning is found from there. The beginning of a record of several lines is
    not, so of those the ends are noted, one in each doubling.
    """

    def __init__(
        self, older: tuple[model.Frontier, ...], now: float, *, is_grouped: bool = False
    ) -> None:
        """Start with the frontiers of a checkpoint, as if they were from now.

        Args:
            older: They.
            now: The time, monotonic.
            is_grouped: A frontier must be the end of a record: `note_ends` tells them.
        """
        self._noted = [(now, one) for one in sorted(older, key=_offset)]
        self._is_grouped = is_grouped
        self._ends: list[int] = []

    def note_ends(self, ends: list[int]) -> None:
        """Note where records end, in their order; each is at most twice the one before it."""
        while self._is_grouped and ends and (not self._ends or ends[-1] > self._ends[-1]):
            last = self._ends[-1] if self._ends else 0
            after = bisect.bisect_right(ends, last)
            self._ends.append(ends[max(after, bisect.bisect_right(ends, 2 * last) - 1)])

    def note(
        self, frontier: model.Frontier, now: float, files: model.OpenFiles, handle: int
    ) -> tuple[model.Frontier, ...]:
        """Note a frontier that is saved now; return the older ones to save beside it."""
        half = frontier.offset // 2
        if half and not any(half // 2 <= one.offset <= half for _, one in self._noted):
            at = half
            if self._is_grouped:
                at = max((end for end in self._ends if end <= half), default=0)
            if at:
                oldest = now - _OLDER_AGES_S[-1]
                self._noted.insert(0, (oldest, read_frontier(files, handle, at)))
        self._noted = [item for item in self._noted if item[1].offset < frontier.offset]
        kept = {one for age in _OLDER_AGES_S for one in self._latest(now - age)}
        kept.update([one for _, one in self._noted if half // 2 <= one.offset <= half][-1:])
        recent = self._noted[-_RECENT_MAX:]
        self._noted = [item for item in self._noted if item[1] in kept or item in recent]
        self._noted.append((now, frontier))
        return tuple(sorted(kept, key=_offset))

    @property
    def noted(self) -> tuple[model.Frontier, ...]:
        """Every frontier that is remembered: all below it is settled."""
        return tuple(sorted({one for _, one in self._noted}, key=_offset))

    def _latest(self, until: float) -> list[model.Frontier]:
        """Return the last frontier noted up to a time, or the first one noted since."""
        earlier = [one for noted, one in self._noted if noted <= until]
        return earlier[-1:] or [one for _, one in self._noted[:1]]


def _offset(frontier: model.Frontier) -> int:
    return frontier.offset
