"""How many files of one flow are open at once, and which of them wait for others to be closed.

Up to OPEN_FILES_MAX nothing is closed that is still needed; what may be open at all is bounded by
LimitNOFILE. Beyond that a file is open while there is something to be read in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from kagent import endings, inheritance, logs, model, resting, tail, tails, tracking

SAY_AGAIN_S = 60.0
HANDLES_MAX = 1_000_000


class Room:
    """Says which files may be opened; owned by the flow's roster."""

    def __init__(
        self,
        flow: str,
        handles_max: int,
        clock: model.Clock,
        tails_: tails.Tails,
        inheritance_: inheritance.Inheritance,
        endings_: endings.Endings,
    ) -> None:
        """Have room for so many."""
        self.handles_max = handles_max
        self.open_files_max = min(handles_max, resting.OPEN_FILES_MAX)
        self._said_waiting = float("-inf")
        self._flow = flow
        self._clock = clock
        self._tails = tails_
        self._inheritance = inheritance_
        self._endings = endings_

    def left(self) -> int:
        """Return how many more files may be opened."""
        return self.handles_max - len(self._tails.all) - len(self._inheritance.handles)

    def share(
        self,
        sightings: list[model.Sighting],
        rows: Sequence[model.Checkpoint],
        first_scan_paths: frozenset[str],
    ) -> list[model.Sighting]:
        """Return the sightings of files that are open or may be opened now; the others wait.

        What `start_at` is for does not: its start is found out now, and it need not stay open.
        """
        unknown = dict.fromkeys(
            one.identity for one in sightings if one.identity not in self._tails.by_identity
        )
        excess = len(unknown) - self.left()
        if excess > 0:
            excess -= self._endings.close_shipped(excess)
        if excess <= 0:
            return sightings
        known_inodes = {row.identity.inode for row in rows}
        may_wait = {
            one.identity: None
            for one in sightings
            if one.identity in unknown
            and (one.path not in first_scan_paths or one.identity.inode in known_inodes)
        }
        waiting = set(list(may_wait)[-excess:])
        self._say_waiting(len(waiting))
        return [one for one in sightings if one.identity not in waiting]

    def may_be_parked(self, start: tracking.Start, one: tail.Tail) -> bool:
        """Return whether a file that was there before kagent need not be open already."""
        if not start.is_first_scan:
            return False
        is_crowded = len(self._tails.all) >= self.open_files_max
        return self.left() <= 0 or (is_crowded and one.unread_bytes == 0)

    def _say_waiting(self, count: int) -> None:
        """Say at most once a minute that files wait to be opened."""
        now = self._clock.monotonic()
        if count and now - self._said_waiting >= SAY_AGAIN_S:
            self._said_waiting = now
            logs.of_flow(self._flow).warning(
                "files wait flow=%s files=%d open=%d; no more may be open at once, those that "
                "are shipped are closed for others; hint: raise LimitNOFILE",
                self._flow,
                count,
                len(self._tails.all),
            )
