"""What nobody can read any more: counted once, and said with its offset.

Bytes of a file are lost when it was truncated or deleted before they were read, and nothing holds
them: no copy at all was found, or one that is shorter than the file had been seen to be. Such a
copy may still grow, and another may hold more: what it does not hold is lost when it stands still.
"""

from __future__ import annotations

from kagent import copies, logs, model, options, tail, tails


class Losses:
    """Counts what one flow cannot read any more; owned by its recovery."""

    def __init__(self, flow: str, tails_: tails.Tails) -> None:
        """Know of no loss yet."""
        self.abandoned_bytes = 0
        # By tail_id: archives that may hold the rest of lost files, and why they cannot be read.
        self.unreadable: dict[str, list[str]] = {}
        # By tail_id: tails that go on in what is shorter than a file of so many bytes.
        self._short: dict[str, tuple[tail.Tail, int]] = {}
        self._flow = flow
        self._tails = tails_

    def seen_of(self, row: model.Checkpoint) -> int:
        """Return how long a file was seen to be, before it was truncated or gone."""
        live = self._tails.all.get(row.tail_id)
        return row.size if live is None else live.position + live.lost_bytes

    def note_short(self, one: tail.Tail, seen_bytes: int) -> None:
        """Note that a tail goes on in the rest of a file that had so many bytes."""
        before = self._short.get(one.tail_id, (one, 0))[1]
        if one.size < max(seen_bytes, before):
            self._short[one.tail_id] = one, max(seen_bytes, before)

    def hand_on(self, first: tail.Tail, one: tail.Tail) -> None:
        """Note that another copy of the same file holds more than the first one."""
        if first.tail_id in self._short:
            self.note_short(one, self._short.pop(first.tail_id)[1])

    def count_short(self, now: float) -> None:
        """Abandon what is not in copies that do not grow any more."""
        for tail_id, (one, seen_bytes) in list(self._short.items()):
            is_still = one.state != "truncated" and now - one.grown >= copies.HOLD_S
            if is_still or tail_id not in self._tails.all:
                del self._short[tail_id]
                if one.size < seen_bytes:
                    self.abandon(one.paths, one.size, seen_bytes - one.size, tail_id)

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
