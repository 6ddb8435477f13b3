"""What nobody can read any more: counted once, and said with its offset.

Bytes of a file are lost when it was truncated or deleted before they were read, and nothing holds
them: no copy at all was found, or one that is shorter than the file had been seen to be. Such a
copy may still grow, and another may hold more: what it does not hold is lost when it stands still.
"""

from __future__ import annotations

import dataclasses

from kagent import copies, ledger, logs, model, options, tail, tails


@dataclasses.dataclass(slots=True)
class _Short:
    """A tail that goes on in what is shorter than its file was seen to be; and that file's row."""

    tail: tail.Tail
    seen_bytes: int
    row: model.Checkpoint


class Losses:
    """Counts what one flow cannot read any more; owned by its recovery."""

    def __init__(self, flow: str, tails_: tails.Tails) -> None:
        """Know of no loss yet."""
        self.abandoned_bytes = 0
        # By tail_id: archives that may hold the rest of lost files, and why they cannot be read.
        self.unreadable: dict[str, list[str]] = {}
        self._short: dict[str, _Short] = {}  # by tail_id
        self._flow = flow
        self._tails = tails_

    def seen_of(self, row: model.Checkpoint) -> int:
        """Return how long a file was seen to be, before it was truncated or gone."""
        live = self._tails.all.get(row.tail_id)
        return row.size if live is None else live.seen_bytes

    def note_short(self, one: tail.Tail, seen_bytes: int, row: model.Checkpoint) -> None:
        """Note that a tail goes on in the rest of a file that had so many bytes."""
        known = self._short.get(one.tail_id)
        if known is not None and known.seen_bytes >= seen_bytes:
            seen_bytes, row = known.seen_bytes, known.row
        if one.size < seen_bytes:
            self._short[one.tail_id] = _Short(one, seen_bytes, row)
            one.size_saved, one.is_changed = seen_bytes, True  # the next life looks, too
            self._tails.wake(one)

    def hand_on(self, first_id: str, one: tail.Tail) -> None:
        """Note that one more copy of a file may hold more than the first one."""
        first = self._short.get(first_id)
        if first is not None and one.size > first.tail.size:
            self._end(first_id)
            self.note_short(one, first.seen_bytes, first.row)

    def count_short(self, now: float) -> None:
        """Abandon what is not in copies that do not grow any more."""
        for tail_id, short in list(self._short.items()):
            one = short.tail
            is_still = one.state != "truncated" and now - one.grown >= copies.HOLD_S
            if is_still or tail_id not in self._tails.all:
                self._end(tail_id)
                held = one.seen_bytes if one.state == "truncated" else one.size
                # Of what was shipped nothing is lost, even if the file itself has lost it.
                start = max(held, short.row.offset)
                count = _unsettled_bytes(short.row, start, short.seen_bytes)
                self.abandon(one.paths, start, count, short.row.tail_id)

    def _end(self, tail_id: str) -> None:
        """Let a tail be as long and as old as its file is, also for the next life."""
        one = self._short.pop(tail_id).tail
        one.size_saved, one.mtime_saved, one.is_changed = 0, None, True
        if tail_id in self._tails.all:
            self._tails.wake(one)

    def abandon_row(self, row: model.Checkpoint) -> None:
        """Abandon what no life settled of a file that is gone."""
        count = _unsettled_bytes(row, row.offset, row.size)
        self.abandon(row.paths, row.offset, count, row.tail_id)

    def abandon(self, paths: tuple[str, ...], offset: int, count: int, tail_id: str) -> None:
        """Say what is lost, and of which archives that nobody here can read that may not be so."""
        path, archives = options.printable(paths[0]), self.unreadable.get(tail_id, [])
        if count > 0:
            self.abandoned_bytes += count
            logs.of_flow(self._flow).error(
                "bytes lost flow=%s path=%s offset=%d bytes=%d; the file was truncated or deleted "
                "before they were read, and no copy of them was found%s",
                self._flow,
                path,
                offset,
                count,
                " that can be read" if archives else "",
            )
        for archive in archives:
            logs.of_flow(self._flow).error(
                "generation not read flow=%s path=%s offset=%d; what followed may be in %s",
                self._flow,
                path,
                offset,
                archive,
            )


def say_closed(flow: str, row: model.Checkpoint, size: int, *, is_over: bool) -> None:
    """Say how much of a deleted file that is closed now was not shipped, if anything.

    The next start looks for that in its copies and archives, unless the flow `is_over`.
    """
    count = _unsettled_bytes(row, row.offset, size)
    path = options.printable(row.paths[0])
    if count and is_over:
        logs.of_flow(flow).error(
            "bytes lost flow=%s path=%s offset=%d bytes=%d; the file was deleted, and the flow is "
            "not configured any more",
            flow,
            path,
            row.offset,
            count,
        )
    elif count:
        logs.of_flow(flow).warning(
            "file closed flow=%s path=%s offset=%d size=%d bytes_not_shipped=%d; it was deleted, "
            "the next start looks for the rest in archives and copies of it",
            flow,
            path,
            row.offset,
            size,
            count,
        )


def _unsettled_bytes(row: model.Checkpoint, start: int, end: int) -> int:
    return ledger.bytes_outside([(one.start, one.end) for one in row.ranges], start, end)
