"""Where the files of one flow are, by what the scans see of them.

A row's file is missing when no scan sees it: it is renamed, copied or deleted. Since when, and
whether its generations were looked at, decides what may be said of it. Decides nothing by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from kagent import (
    copies,
    kept,
    ledger,
    logs,
    model,
    options,
    resting,
    retired,
    scanning,
    sightings,
    tails,
)

SAID_MAX = 100  # files named at once
LOST_WAIT_S = 3600.0  # how long a file that is missing at start-up is looked for, by all lives


@dataclasses.dataclass(slots=True)
class Absence:
    """Since when, and in how many scans, the file of a checkpoint was not seen."""

    since: float
    wait_s: float  # until it is given up
    scans: int = 0
    is_sought: bool = False  # its generations were looked at, or for long enough
    is_said: bool = False


class Missing:
    """The files that rows name and no scan sees; owned by the flow's recovery."""

    def __init__(
        self,
        flow: str,
        rotate_wait_s: float,
        files: model.Files,
        tails_: tails.Tails,
        rows: kept.Rows,
        resting_: resting.Resting,
        retired_: retired.Retired,
    ) -> None:
        """Miss nothing yet."""
        self.is_scanned = False  # a scan was done: what is missing from now on was there
        self.doubtful: dict[str, None] = {}  # rows whose files may be missing
        self.all: dict[str, Absence] = {}  # rows whose files no scan sees, by tail_id
        self.seen_at = sightings.Sightings()  # what the last scan knew
        self._replaced: set[str] = set()  # rows of which that was said
        self._flow = flow
        self._rotate_wait_s = rotate_wait_s
        self._files = files
        self._tails = tails_
        self._rows = rows
        self._resting = resting_
        self._retired = retired_

    @property
    def seen(self) -> Collection[model.FileIdentity]:
        """Every file that scans saw, and that is still there."""
        return self.seen_at.identities

    def note(self, scan: scanning.ScanResult, inherited: Collection[str], now: float) -> None:
        """Note which checkpoints have no file: their files are renamed, copied or deleted."""
        missing = {}
        for tail_id in list(self.doubtful):
            row = self._rows.get(tail_id)
            if row is None or row.is_done or self.is_there(row):
                del self.doubtful[tail_id]
                continue
            if tail_id in inherited or any(map(scan.may_hide, row.paths)):
                continue
            known = self.all.get(row.tail_id)
            if known is None and self.is_scanned:
                known = Absence(now, self._rotate_wait_s, is_said=True)
            elif known is None:
                wait_s = max(copies.HOLD_S, LOST_WAIT_S - row.unseen_s)
                known = Absence(now, wait_s, is_said=row.tail_id in self._replaced)
            known.scans += 1
            missing[row.tail_id] = known
        self.all = missing
        self._replaced &= self.doubtful.keys()

    def lose(self, row: model.Checkpoint) -> None:
        """Note that the file of a checkpoint holds other content now; its copy is looked for."""
        self._rows.keep(dataclasses.replace(row, was_unlinked=True))
        self.doubtful[row.tail_id] = None
        self._replaced.add(row.tail_id)
        if not row.is_done:
            logs.of_flow(self._flow).warning(
                "file replaced flow=%s path=%s offset=%d size=%d; it was truncated or rewritten "
                "while kagent was down or had it closed, a copy of it is looked for",
                self._flow,
                options.printable(row.paths[0]),
                row.offset,
                row.size,
            )

    def note_search(self, now: float, *, is_clean: bool) -> None:
        """Note that generations were looked at: all of them, or as far as could be."""
        for one in self.all.values():
            is_looked_at = is_clean and one.scans > 1
            one.is_sought |= is_looked_at or now - one.since >= copies.HOLD_S / 2

    def say(self, named: Collection[str]) -> None:
        """Say, once in a life, which files this start misses: a search did not find their rest.

        Args:
            named: tail_ids of those whose rest was found, by all that anybody can tell.
        """
        unsaid = []
        for tail_id, one in self.all.items():
            if one.is_said or not one.is_sought or tail_id not in self._rows or tail_id in named:
                continue
            one.is_said = True
            row = self._rows[tail_id]
            settled = [(held.start, held.end) for held in row.ranges]
            if ledger.bytes_outside(settled, row.offset, row.size):
                unsaid.append((row, one.wait_s / 60))
        for row, minutes in unsaid[:SAID_MAX]:
            logs.of_flow(self._flow).warning(
                "file missing flow=%s path=%s offset=%d size=%d; it was renamed, deleted or "
                "truncated before this start, the rest of it is looked for under the names "
                "that rotated gives, for up to %.0f minutes",
                self._flow,
                options.printable(row.paths[0]),
                row.offset,
                row.size,
                minutes,
            )
        if len(unsaid) > SAID_MAX:
            logs.of_flow(self._flow).warning(
                "files missing flow=%s files=%d; those named before are some of them",
                self._flow,
                len(unsaid),
            )

    def is_there(self, row: model.Checkpoint) -> bool:
        """Return whether the file of a checkpoint is where it was, and only not open."""
        return (
            row.identity in self.seen
            and not row.was_unlinked
            and row.identity not in self._tails.by_identity
        )

    def where(self, row: model.Checkpoint) -> copies.Whereabouts:
        """Return what became of the file of a checkpoint.

        One that no scan sees may only have a name that the patterns do not match.
        """
        if self._retired.is_there(row.identity):
            return "ended"
        if self.is_there(row):
            return "ended" if self._is_unchanged(row) else "there"
        absence = self.all.get(row.tail_id)
        is_sought = self.is_scanned if absence is None else absence.is_sought
        return "gone" if row.is_done or row.was_unlinked or is_sought else "sought"

    def _is_unchanged(self, row: model.Checkpoint) -> bool:
        """Return whether the file of a checkpoint is still as long as that says.

        Of an archive, whose checkpoint says how long its content is, its time tells.
        """
        return any(
            (one.size == row.size or (row.is_done and one.mtime_ns == row.mtime_ns))
            and self._files.is_as_seen(one)
            for one in self.seen_at.of([row.identity])
        )

    def is_ours(self, identity: model.FileIdentity) -> bool:
        """Return whether a file is open, or is read as the flow's patterns match its path."""
        is_seen = identity in self.seen and not self._resting.is_left_out(identity)
        return is_seen or identity in self._tails.by_identity
