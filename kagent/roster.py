"""The tails of one flow: which files are followed, and what a scan means for each of them.

Owns every tail of its flow, and the checkpoints that no tail holds; never sends, and never saves.
Each of its parts does one thing with them: `turns` reads, `saving` hands rows over, `endings`
closes, `room` says how many may be open, `recovery` finds out what became of files.

A file is read only when the row with its tail_id is durable, so that whatever is sent under an id
can be continued under it. The life of a tail:

    followed   a scan sees it at a matching path
    left       no path in two scans: renamed away or unlinked; the writer may still write. Once
               no byte came for `rotate_wait` (10 s when unlinked) its last line is read,
               terminated or not; when that is settled and saved, the tail is retired
    truncated  its bytes are gone; it goes on in its copy when that is found. It lives until that
               was looked for long enough and what was read of it is settled

What costs time grows with what happens, not with what is there: a tail that has nothing to do is
not *busy* (`tails`), and nothing looks at it but `idle`, which finds out which of all such grew.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping

from kagent import (
    discovery,
    endings,
    firstscan,
    generations,
    inheritance,
    kept,
    model,
    opening,
    proven,
    recovery,
    resting,
    retired,
    room,
    saving,
    scanning,
    tail,
    tails,
    tracking,
    turns,
)


class Roster:
    """All files of one flow; owned by the flow's thread."""

    def __init__(
        self,
        flow: str,
        source: discovery.SourceOptions,
        ttl_s: float,
        files: model.Files,
        clock: model.Clock,
        opener: opening.Opener,
        faults: opening.Faults,
        handles_max: int = room.HANDLES_MAX,
    ) -> None:
        """Look at nothing yet; `open` takes over what is known."""
        self.directories: set[str] = set()  # to be watched
        self._is_begun_at_end = source.start_at == "end"
        self._clock = clock
        self._opener = opener
        self._faults = faults
        self._scanner = scanning.Scanner(
            source.paths,
            source.exclude,
            files,
            clock,
            follows_links=source.follow_symlinks,
        )
        self._rows = kept.Rows((), ttl_s, clock.monotonic())
        self._tails = tails.Tails(flow, source.final_line, files, opener, faults, self._rows)
        self.saving = saving.Saving(flow, clock, self._tails, self._rows)
        self._resting = resting.Resting(source.ignore_older)
        rotated = generations.Rotated.of(source.rotated)
        self._retired = retired.Retired(rotated, files, clock, self._scanner.base_of)
        self._endings = endings.Endings(
            source, files, clock, self._tails, self._rows, self._resting, self._retired
        )
        self._inheritance = inheritance.Inheritance(opener, faults, files, self._rows)
        self._room = room.Room(
            flow, handles_max, clock, self._tails, self._inheritance, self._endings
        )
        self._recovery = recovery.Recovery(
            flow,
            source,
            files,
            clock,
            opener,
            faults,
            self._tails,
            self._rows,
            self._resting,
            self._retired,
            self._scanner.base_of,
            self._open,
        )
        self._missing = self._recovery.missing
        self._newcomers = self._recovery.newcomers
        self.turns = turns.Turns(
            clock, opener, self._tails, self._endings, self._room, self._recovery
        )

    @property
    def tails(self) -> dict[str, tail.Tail]:
        """Every tail, by tail_id."""
        return self._tails.all

    @property
    def abandoned_bytes(self) -> int:
        """Bytes that were given up: they are nowhere any more."""
        return self._recovery.losses.abandoned_bytes

    @property
    def is_scanned(self) -> bool:
        """A scan was done in this incarnation."""
        return self._missing.is_scanned

    def open(self, estate: inheritance.Estate) -> None:
        """Take over the rows and, from an earlier incarnation, the open descriptors."""
        for row in estate.rows:
            self._rows.keep(row, is_changed=False)
        self._missing.doubtful = dict.fromkeys(self._rows)
        for row in self._rows.values():
            if row.is_done and not row.was_unlinked and row.size == row.offset:
                self._retired.note(row)
        self.saving.first_scans = firstscan.FirstScans(estate.scanned)
        self._inheritance.take_over(estate)

    @property
    def handles(self) -> dict[str, tuple[int, str]]:
        """Every open descriptor by tail_id, with the base its path was opened below."""
        held = {
            one.tail_id: (one.handle, one.base)
            for one in self.tails.values()
            if one.handle is not None and not one.is_packed
        }
        return self._inheritance.handles | held

    def close(self) -> inheritance.Estate:
        """Give everything up to a successor, who opens or closes the handles."""
        estate = inheritance.Estate(
            list(self._rows.values()),
            self.saving.first_scans.marked,
            self.handles,
            self._inheritance.undurable,
        )
        now = self._clock.monotonic()
        for one in self.tails.values():
            # What it cannot prove now, the successor finds out, by the row before.
            with contextlib.suppress(OSError, proven.TruncatedError):
                one.checkpoint(now, is_last=True)
            estate.rows.append(one.row)
            if one.handle is not None and one.is_packed:
                one.close()  # its successor verifies it anew
            if not one.is_durable:
                estate.undurable.add(one.tail_id)
        self._opener.close()
        self._tails.clear()
        return estate

    def remains(self) -> inheritance.Estate:
        """Return the descriptors of files, if `close` failed; their rows are in the database."""
        self._tails.end_watches()
        self._opener.close()
        return inheritance.Estate(handles=self.handles)

    def refresh(self, hinted: Iterable[str]) -> None:
        """Scan, and do what the scan means."""
        now = self._clock.monotonic()
        self._inherit(now)
        result = self._scanner.scan(hinted, self._tails.undecided, self._tails.by_identity.keys())
        self.directories = result.directories
        for fault in result.faults:
            self._faults.report(fault.path, fault.reason)
        subjects = dict.fromkeys([*self._tails.undecided, *result.changed])
        first_scan_paths = self.saving.first_scans.note(result.seen.of(subjects), result.failed)
        if subjects:
            self._decide(result, subjects, first_scan_paths, now)
        self._missing.seen_at = result.seen
        self._recovery.search(result, self._inheritance.handles, now)
        self._recovery.reopen(self._room.left(), now)
        self._opener.close_unused()
        if self._rows.age(self._missing.seen, now):
            self._faults.age()
        self._missing.is_scanned = True

    def _decide(
        self,
        result: scanning.ScanResult,
        subjects: Mapping[model.FileIdentity, None],
        first_scan_paths: frozenset[str],
        now: float,
    ) -> None:
        """Do what a scan means for the files that changed or are not decided yet.

        All others are what they were, and nothing is asked about them.
        """
        self._tails.undecided = {}
        known = {
            one: self._tails.by_identity[one] for one in subjects if one in self._tails.by_identity
        }
        inodes = {one.inode for one in subjects}
        rows = [row for row in self._rows.values() if row.identity.inode in inodes]
        sightings = self._resting.awake(
            subjects,
            result.seen.of(subjects),
            known,
            rows,
            first_scan_paths if self._is_begun_at_end else (),
            self._clock.time(),
            is_crowded=len(result.seen.identities) > self._room.open_files_max,
        )
        undecided = sightings
        sightings = self._room.share(sightings, rows, first_scan_paths)
        # What was closed for others just now, or found truncated when that was tried, is the next
        # scan's business: its row is new.
        closed = {one for one, was in known.items() if self._tails.by_identity.get(one) is not was}
        sightings = [one for one in sightings if one.identity not in closed]
        decisions = self._opener.reconcile(
            [
                tracking.TailFacts(
                    one.tail_id,
                    one.identity,
                    one.paths,
                    0 if one.is_packed else one.known_end,  # a scan sees its size on the disk
                )
                for one in known.values()
                if one.identity not in closed
            ],
            rows,
            sightings,
            first_scan_paths,
        )
        for tail_id, seen in decisions.seen.items():
            self._tails.note_seen(self.tails[tail_id], seen, now)
        for tail_id in decisions.unseen:
            one = self.tails[tail_id]
            if not any(map(result.may_hide, one.paths)) and self._tails.note_unseen(one, now):
                self._recovery.note_left(one)
        for tail_id in decisions.truncated:
            cut = self.tails.get(tail_id)
            if cut is not None and cut.handle is not None:  # else its sighting said so already
                self._tails.truncate(cut, now)
        for row in decisions.lost:
            self._inheritance.drop(row.tail_id)
            self._missing.lose(row)
        for decision in decisions.opened:
            if isinstance(decision, tracking.Start) and self._newcomers.is_unwanted(
                decision.sightings
            ):
                self._newcomers.ignore_compressed(decision.sightings)
            else:
                self._open(decision, now)
        self._tails.note_undecided(undecided, decisions.unseen)
        self._missing.doubtful |= dict.fromkeys(
            row.tail_id for row in rows if row.tail_id in self._rows
        )

    def _open(self, decision: tracking.Start | tracking.Resume, now: float) -> tail.Tail | None:
        one = self._opener.open(decision, now)
        if one is None:
            # Unreadable, or not the file any more that was seen: the next scan says what it is.
            # `start_at` is over for it, since nothing proves that it is the file seen first.
            return None
        if isinstance(decision, tracking.Start) and self._room.may_be_parked(decision, one):
            one.close()
            self.saving.park(one.row)
            self._resting.close(one.tail_id)
            return None
        if isinstance(decision, tracking.Resume):
            row = decision.checkpoint
            self._rows.take(row.tail_id)
            self._inheritance.drop(row.tail_id)
            is_saved = (
                self.saving.unpark(row.tail_id) and row.tail_id not in self._inheritance.undurable
            )
            one.is_durable = is_saved and not decision.is_rolled_back
            self._recovery.doubt(row, one)
            if decision.is_rolled_back:
                self._rows.forget(row.tail_id)
                self._tails.say(
                    logging.WARNING,
                    "file rolled back",
                    one,
                    f"offset={row.offset} resumed_at={one.position}; the log lost bytes that "
                    "were shipped, and what stands there now is shipped again",
                )
        self._tails.add(one)
        self._recovery.note_read(one)  # a copy of it may be under way
        how = "file opened" if isinstance(decision, tracking.Start) else "file resumed"
        self._tails.say(logging.INFO, how, one, f"position={one.position} size={one.size}")
        return one

    def _inherit(self, now: float) -> None:
        """Follow on through an earlier incarnation's descriptors, once their files are proved."""
        for row, one in self._inheritance.proved(now):
            if one.tail_id == row.tail_id:
                one.is_durable = one.tail_id not in self._inheritance.undurable
                self._rows.take(one.tail_id)
                self._recovery.doubt(row, one)
            else:
                self._missing.lose(row)
            self._tails.add(one)
            self._recovery.note_read(one)

    def path_of(self, tail_id: str) -> str:
        """Return a path of a tail, for people."""
        return self.tails[tail_id].paths[0]
