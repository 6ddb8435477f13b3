"""What of one flow's files is saved: which rows go into a snapshot, and what is durable by then.

Nothing is read of a file before the row with its tail_id is durable. A file that was never opened
for long is *parked*: it has a row of its start and no tail, until there is something to read.
"""

from __future__ import annotations

import functools

from kagent import firstscan, kept, model, tail, tails


class Saving:
    """Hands over what changed, and learns later that it is on disk; owned by the flow's roster."""

    def __init__(
        self, flow: str, clock: model.Clock, tails_: tails.Tails, rows: kept.Rows
    ) -> None:
        """Have saved nothing yet."""
        self.first_scans = firstscan.FirstScans(())
        # Rows of files that were never followed, by tail_id: the snapshot that made each durable,
        # -1 if it was not handed over yet.
        self._parked: dict[str, int] = {}
        self._flow = flow
        self._clock = clock
        self._tails = tails_
        self._rows = rows

    def park(self, row: model.Checkpoint) -> None:
        """Save the row of a file that is not followed yet."""
        self._rows.keep(row)
        self._parked[row.tail_id] = -1

    def unpark(self, tail_id: str) -> bool:
        """Follow a file that may have been parked; return whether its row is durable."""
        return self._parked.pop(tail_id, 0) == 0

    @property
    def is_waiting_to_be_read(self) -> bool:
        """A file waits for its row to be durable, and its row was not handed over yet."""
        return any(map(self._is_unknown, self._tails.busy.values()))

    def snapshot(
        self, sequence: int, *, is_first: bool = False, is_last: bool = False
    ) -> model.FlowSnapshot | None:
        """Return the rows that changed since the last snapshot, None if none did.

        Nothing is read before the first one of a life is durable, so it is as urgent as a file
        that waits.
        The last snapshot of a life holds every settled range, so that a successor sends nothing
        again that was accepted.
        """
        now = self._clock.monotonic()
        is_urgent = is_first or self.is_waiting_to_be_read
        rows = [self._rows[tail_id] for tail_id in sorted(self._rows.changed)]
        self._parked |= dict.fromkeys(self._parked.keys() & self._rows.changed, sequence)
        for one in list(self._tails.busy.values()):
            proving = functools.partial(one.checkpoint, now, is_last=is_last)
            is_newer = one.has_unsaved_ranges or one.size > one.row.size
            is_wanted = one.is_changed or (is_last and is_newer)
            row = self._tails.guard(one, proving, now) if is_wanted else None
            one.is_changed = one.is_changed and row is None
            if row is not None or self._is_unknown(one):
                rows.append(row or one.row)
                self._tails.saved_in[one.tail_id] = sequence
        # A mark without the rows of what its scan found would make them late files: both or none.
        scanned = sorted(self.first_scans.unsaved)
        if not (rows or scanned or self._rows.forgotten):
            return None
        snapshot = model.FlowSnapshot(
            self._flow,
            sequence,
            tuple(rows),
            tuple(sorted(self._rows.forgotten)),
            tuple(scanned),
            is_urgent,
        )
        self._rows.changed.clear()
        self._rows.forgotten.clear()
        self.first_scans.unsaved.clear()
        return snapshot

    def note_saved(self, sequence: int) -> None:
        """Note that every snapshot up to `sequence` is on disk."""
        for tail_id in [
            key for key, saved_in in self._tails.saved_in.items() if saved_in <= sequence
        ]:
            del self._tails.saved_in[tail_id]
            if tail_id in self._tails.all:
                self._tails.all[tail_id].is_durable = True
        if self._parked:
            self._parked = {
                key: saved_in
                for key, saved_in in self._parked.items()
                if not 0 <= saved_in <= sequence
            }

    def _is_unknown(self, one: tail.Tail) -> bool:
        return not one.is_durable and one.tail_id not in self._tails.saved_in
