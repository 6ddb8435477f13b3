"""The tails of one flow: which files are followed, which of them is read next, what is saved.

Owns every tail of its flow, and the checkpoints that no tail holds. It gives out blocks that were
read and split, in turn over all files that have bytes; it never sends, and never saves: it hands
rows over and learns later that they are durable.

A file is read only when the row with its tail_id is durable, so that whatever is sent under an id
can be continued under it. The life of a tail:

    followed   a scan sees it at a matching path
    left       no path in two scans: renamed away or unlinked; the writer may still write. Once
               no byte came for `rotate_wait` (10 s when unlinked) its last line is read,
               terminated or not; when that is settled and saved, the tail is retired
    truncated  its bytes are gone; it goes on in its copy when that is found. It lives until that
               was looked for long enough and what was read of it is settled

A file that is to be read from 0 waits until it is known to be no copy (`copies`); what was lost is
looked for among the generations (`lost`).

What costs time grows with what happens, not with what is there. A tail at the end of its file with
all of it settled and saved has nothing to do until its size or a sighting changes: it is not
*busy*, and nothing looks at it but one call that asks for the sizes of all such files. Whoever
does something to a tail makes it busy (`_wake`); `_rest` finds out when it is not any more.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from kagent import (
    copies,
    discovery,
    firstscan,
    generations,
    kept,
    lost,
    model,
    opening,
    options,
    resting,
    retired,
    scanning,
    sightings,
    split,
    tail,
    tracking,
)

UNLINKED_WAIT_S = 10.0
HOT_POLL_S = 0.25
POLL_S = 1.0
HOT_FOR_S = 10.0  # a file that grew within so long is looked at each HOT_POLL_S
DISK_FREE_MIN = 0.05
LOST_WAIT_S = 3600.0  # how long a file that is missing at start-up is looked for
SAY_AGAIN_S = 60.0
HANDLES_MAX = 1_000_000

_log = logging.getLogger("kagent.flow")
_T = TypeVar("_T")


@dataclasses.dataclass(slots=True)
class _Missing:
    """Since when, and in how many scans, the file of a checkpoint was not seen."""

    since: float
    wait_s: float  # until it is given up
    scans: int = 0


@dataclasses.dataclass(slots=True)
class Estate:
    """What one incarnation of a flow leaves to the next: nothing is closed, nothing forgotten.

    `handles` are open descriptors, by tail_id, each with the base its path was opened below;
    `undurable` are those of them whose rows were not known to be on disk.
    """

    rows: list[model.Checkpoint] = dataclasses.field(default_factory=list)
    scanned: set[str] = dataclasses.field(default_factory=set)
    handles: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
    undurable: set[str] = dataclasses.field(default_factory=set)


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
        handles_max: int = HANDLES_MAX,
    ) -> None:
        """Look at nothing yet; `open` takes over what is known."""
        self.tails: dict[str, tail.Tail] = {}
        self.directories: set[str] = set()  # to be watched
        self.abandoned_bytes = 0
        self.is_scanned = False  # a scan was done in this incarnation
        self._flow = flow
        self._rotate_wait_s = source.rotate_wait
        self._final_line_s = source.final_line
        self._quiet_s = source.multiline.timeout if source.multiline else None
        self._close_inactive_s = source.close_inactive
        self._reads_compressed = source.read_compressed
        self._is_unpacking = False  # a compressed file is on its way to where it is read
        self._unlinked_max = source.unlinked_max
        self._is_begun_at_end = source.start_at == "end"
        self._resting = resting.Resting(source.ignore_older)
        self._ttl_s = ttl_s
        self._files = files
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
        self._by_identity: dict[model.FileIdentity, tail.Tail] = {}  # but for truncated ones
        # Files of which the last scan did not say all: the next one looks at them again.
        self._undecided: dict[model.FileIdentity, None] = {}
        self._first_scans = firstscan.FirstScans(())
        self._rows = kept.Rows((), ttl_s, clock.monotonic())
        self._doubtful: dict[str, None] = {}  # rows whose files may be missing
        self._missing: dict[str, _Missing] = {}  # rows whose files no scan sees, by tail_id
        self._unproven: list[lost.LostFile] = []  # resumed at 0: they may be other files now
        self._truncated: dict[str, tail.Tail] = {}
        self._seen: Collection[model.FileIdentity] = ()  # every file that scans saw
        self._sightings = sightings.Sightings()
        rotated = generations.Rotated.of(source.rotated)
        self._copies = copies.Copies(files, rotated, self.tails, self._truncated)
        self._searcher = lost.Searcher(rotated, files, clock, opener)
        self._retired = retired.Retired(rotated, files, clock)
        self._inherited: dict[str, tuple[int, str]] = {}  # handles yet to prove their files
        self._undurable: set[str] = set()  # of them
        self._saved_in: dict[str, int] = {}  # by tail_id: the snapshot that made it durable
        # Rows of files that were never followed, as above; -1 if they were not handed over yet.
        self._parked: dict[str, int] = {}
        self._handles_max = handles_max
        self._open_files_max = min(handles_max, resting.OPEN_FILES_MAX)
        self._said_waiting = float("-inf")
        # Every tail that may have something to do, the one whose turn it is to be read first.
        self._busy: collections.OrderedDict[str, tail.Tail] = collections.OrderedDict()
        # All others, with their handles and sizes; None when one of them became busy or rests.
        self._idle: tuple[list[tail.Tail], list[int], list[int]] | None = None
        self._polled = self._polled_hot = float("-inf")

    def open(self, estate: Estate) -> None:
        """Take over the rows and, from an earlier incarnation, the open descriptors."""
        self._rows = kept.Rows(estate.rows, self._ttl_s, self._clock.monotonic())
        self._doubtful = dict.fromkeys(self._rows)
        for row in self._rows.values():
            if row.is_done and not row.was_unlinked and row.size == row.offset:
                self._retired.note(row, self._scanner.base_of(row.paths[0]))
        self._first_scans = firstscan.FirstScans(estate.scanned)
        self._inherited, self._undurable = dict(estate.handles), set(estate.undurable)

    @property
    def handles(self) -> dict[str, tuple[int, str]]:
        """Every open descriptor by tail_id, with the base its path was opened below."""
        held = {
            one.tail_id: (one.handle, one.base)
            for one in self.tails.values()
            if one.handle is not None and not one.is_packed
        }
        return self._inherited | held

    def close(self) -> Estate:
        """Give everything up to a successor, who opens or closes the handles."""
        estate = Estate(
            list(self._rows.values()), self._first_scans.marked, self.handles, self._undurable
        )
        now = self._clock.monotonic()
        for one in self.tails.values():
            # What it cannot prove now, the successor finds out, by the row before.
            with contextlib.suppress(OSError, tail.TruncatedError):
                one.checkpoint(now, is_last=True)
            estate.rows.append(one.row)
            if one.handle is not None and one.is_packed:
                one.close()  # its successor verifies it anew
            elif one.handle is not None and not one.is_durable:
                estate.undurable.add(one.tail_id)
        self._opener.drop_compressed()
        self.tails.clear()
        self._truncated.clear()
        self._idle = None
        self._by_identity.clear()
        self._busy.clear()
        return estate

    # --- what is there ------------------------------------------------------------------------

    def refresh(self, hinted: Iterable[str]) -> None:
        """Scan, and do what the scan means."""
        now = self._clock.monotonic()
        self._inherit(now)
        result = self._scanner.scan(hinted, self._undecided, self._by_identity.keys())
        self.directories = result.directories
        for fault in result.faults:
            self._faults.report(fault.path, fault.reason)
        subjects = dict.fromkeys([*self._undecided, *result.changed])
        first_scan_paths = self._first_scans.note(result.seen.of(subjects), result.failed)
        if subjects:
            self._decide(result, subjects, first_scan_paths, now)
        self._seen = result.seen.identities
        self._sightings = result.seen
        self._search(result, now)
        self._reopen(now)
        self._opener.close_unused()
        if self._rows.age(self._seen, now):
            self._faults.age()
        self.is_scanned = True

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
        self._undecided = {}
        known = {one: self._by_identity[one] for one in subjects if one in self._by_identity}
        inodes = {one.inode for one in subjects}
        rows = [row for row in self._rows.values() if row.identity.inode in inodes]
        sightings = self._resting.awake(
            subjects,
            result.seen.of(subjects),
            known,
            rows,
            first_scan_paths if self._is_begun_at_end else (),
            self._clock.time(),
            is_crowded=len(result.seen.identities) > self._open_files_max,
        )
        undecided = sightings
        sightings = self._with_room(sightings, rows, first_scan_paths)
        decisions = self._opener.reconcile(
            [
                tracking.TailFacts(one.tail_id, one.identity, one.paths, one.known_end)
                for one in known.values()
            ],
            rows,
            sightings,
            first_scan_paths,
        )
        for tail_id, seen in decisions.seen.items():
            self._note_seen(self.tails[tail_id], seen, now)
        for tail_id in decisions.unseen:
            if not any(map(result.may_hide, self.tails[tail_id].paths)):
                self._note_unseen(self.tails[tail_id], now)
        for tail_id in decisions.truncated:
            one = self.tails.get(tail_id)
            if one is not None and one.handle is not None:  # else its sighting said so already
                self._truncate(one, now)
        for row in decisions.lost:
            self._lose(row)
        for decision in decisions.opened:
            if isinstance(decision, tracking.Start) and self._is_unwanted(decision.sightings):
                self._ignore_compressed(decision.sightings)
            else:
                self._open(decision, now)
        self._note_undecided(undecided, decisions.unseen)
        self._doubtful |= dict.fromkeys(row.tail_id for row in rows if row.tail_id in self._rows)

    def _with_room(
        self,
        sightings: list[model.Sighting],
        rows: Sequence[model.Checkpoint],
        first_scan_paths: frozenset[str],
    ) -> list[model.Sighting]:
        """Return the sightings of files that are open or may be opened now; the others wait.

        What `start_at` is for does not: its start is found out now, and it need not stay open.
        """
        unknown = dict.fromkeys(
            one.identity for one in sightings if one.identity not in self._by_identity
        )
        excess = len(unknown) - self._room()
        if excess > 0:
            excess -= self._close_shipped(excess)
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

    def _room(self) -> int:
        return self._handles_max - len(self.tails) - len(self._inherited)

    def _say_waiting(self, count: int) -> None:
        """Say at most once a minute that files wait to be opened."""
        now = self._clock.monotonic()
        if count and now - self._said_waiting >= SAY_AGAIN_S:
            self._said_waiting = now
            _log.warning(
                "files wait flow=%s files=%d open=%d; no more may be open at once, those that "
                "are shipped are closed for others; hint: raise LimitNOFILE",
                self._flow,
                count,
                len(self.tails),
            )

    def _note_undecided(self, sightings: Iterable[model.Sighting], unseen: Iterable[str]) -> None:
        """Note which files the next scan has to look at again: those without a tail or a path."""
        for sighting in sightings:
            if sighting.identity not in self._by_identity:
                self._undecided[sighting.identity] = None
        for tail_id in unseen:
            if tail_id in self.tails and self.tails[tail_id].state == "followed":
                self._undecided[self.tails[tail_id].identity] = None

    def _ignore_compressed(self, sightings: Sequence[model.Sighting]) -> None:
        """Leave a compressed file alone until it changes: it continues nothing."""
        self._resting.ignore(sightings)
        self._faults.report(
            sightings[0].path,
            "is compressed, and continues no file that is known; hint: read_compressed: true, "
            "or leave it out with exclude",
        )

    def _is_unwanted(self, sightings: Sequence[model.Sighting]) -> bool:
        """Return whether a new file is compressed, and certainly nobody's rest."""
        if self._reads_compressed or not self._opener.is_compressed(sightings[0]):
            return False
        unpacked = self._opener.unpacked(sightings[0])
        if unpacked is None:
            return True
        paths = tuple(one.path for one in sightings)
        return not self._copies.may_continue(unpacked, paths, self._rows)

    def _open(self, decision: tracking.Start | tracking.Resume, now: float) -> tail.Tail | None:
        one = self._opener.open(decision, now)
        if one is None:
            # Unreadable, or not the file any more that was seen: the next scan says what it is.
            # `start_at` is over for it, since nothing proves that it is the file seen first.
            return None
        if isinstance(decision, tracking.Start) and self._may_be_parked(decision, one):
            self._park(one)
            return None
        if isinstance(decision, tracking.Resume):
            row = decision.checkpoint
            self._rows.take(row.tail_id)
            self._drop_inherited(row.tail_id)
            is_saved = self._parked.pop(row.tail_id, 0) == 0
            one.is_durable = is_saved and not decision.is_rolled_back
            if not (row.offset or row.ranges):
                self._unproven.append(lost.LostFile(row, one.base, is_open=True))
            if decision.is_rolled_back:
                self._rows.forget(row.tail_id)
                self._say(
                    logging.WARNING,
                    "file rolled back",
                    one,
                    f"offset={row.offset} resumed_at={one.position}; the log lost bytes that "
                    "were shipped, and what stands there now is shipped again",
                )
        self._add(one)
        how = "file opened" if isinstance(decision, tracking.Start) else "file resumed"
        self._say(logging.INFO, how, one, f"position={one.position} size={one.size}")
        return one

    def _may_be_parked(self, start: tracking.Start, one: tail.Tail) -> bool:
        """Return whether a file that was there before kagent need not be open already."""
        if not start.is_first_scan:
            return False
        is_crowded = len(self.tails) >= self._open_files_max
        return self._room() <= 0 or (is_crowded and one.unread_bytes == 0)

    def _park(self, one: tail.Tail) -> None:
        """Close a file at its start; it is opened when there is something to read, and room."""
        assert one.handle is not None
        one.close()
        self._rows.keep(one.row)
        self._parked[one.tail_id] = -1
        self._resting.close(one.tail_id)

    def _inherit(self, now: float) -> None:
        """Follow on through an earlier incarnation's descriptors, once their files are proved."""
        for tail_id, (handle, base) in list(self._inherited.items()):
            row = self._rows.get(tail_id)
            if row is None:
                self._drop_inherited(tail_id)  # it was never saved
                continue
            try:
                one = self._opener.inherit(row, handle, base, now)
            except OSError as error:
                self._faults.report(row.paths[0], f"cannot read: {error.strerror}")
                continue  # it keeps its descriptor and is tried again at the next scan
            del self._inherited[tail_id]
            if one.tail_id == tail_id:
                one.is_durable = tail_id not in self._undurable
                self._rows.take(tail_id)
                if not (row.offset or row.ranges):
                    self._unproven.append(lost.LostFile(row, one.base, is_open=True))
            else:
                self._lose(row)
            self._add(one)

    def _drop_inherited(self, tail_id: str) -> None:
        if tail_id in self._inherited:
            handle, _ = self._inherited.pop(tail_id)
            self._files.close(handle)

    def _add(self, one: tail.Tail) -> None:
        self.tails[one.tail_id] = one
        self._by_identity[one.identity] = one
        self._undecided[one.identity] = None  # it may have no path any more
        self._wake(one)

    def _note_seen(self, one: tail.Tail, seen: tuple[model.Sighting, ...], now: float) -> None:
        paths = tuple(sorted(sighting.path for sighting in seen))
        if paths != one.paths or one.scans_unseen or seen[0].mtime_ns != one.mtime_ns:
            self._wake(one)
        if paths != one.paths:
            was = options.printable(one.paths[0])
            one.former_paths, one.paths, one.base = one.paths, paths, seen[0].base
            one.is_changed = True
            self._say(logging.INFO, "file renamed", one, f"was={was}")
        one.scans_unseen = 0
        if one.state == "left":
            one.state, one.is_finished = "followed", False
        self._guard(one, functools.partial(one.note_sighting, seen[0]), now)

    def _note_unseen(self, one: tail.Tail, now: float) -> None:
        self._wake(one)
        one.scans_unseen += 1
        if one.state != "followed" or one.scans_unseen < 2 or one.handle is None:
            return
        status = self._guard(one, one.status, now)
        if status is None:
            return
        one.state, one.left = "left", now
        one.is_unlinked = status.links == 0
        one.is_changed = True
        how = "file unlinked" if one.is_unlinked else "file renamed away"
        self._say(logging.INFO, how, one, f"position={one.position} size={one.size}")

    def _truncate(self, old: tail.Tail, now: float) -> None:
        """Read a truncated file from 0 as a new tail; the old one lives until it is settled."""
        try:
            new = self._opener.restart(old, now)
        except OSError as error:
            self._faults.report(old.paths[0], f"cannot read: {error.strerror}")
            return
        new.state, new.left, new.is_unlinked = old.state, old.left, old.is_unlinked
        new.scans_unseen, new.is_known = old.scans_unseen, True
        old.state, old.handle, old.left = "truncated", None, now
        old.is_unlinked = old.is_changed = True  # its content is in this inode no more
        self._say(
            logging.INFO,
            "file truncated",
            old,
            f"position={old.position} size={new.size} bytes_not_read={old.lost_bytes}",
        )
        self._copies.upheavals += 1
        self._truncated[old.tail_id] = old
        self._wake(old)
        self._add(new)
        self._end_truncated(old)

    def _end_truncated(self, one: tail.Tail) -> None:
        """Forget a truncated tail of which nothing is under way or looked for any more."""
        if one.state == "truncated" and one.is_spent and one.ledger.is_settled:
            self._drop(one)
            self._rows.forget(one.tail_id)

    def _lose(self, row: model.Checkpoint) -> None:
        """Note that the file of a checkpoint holds other content now; its copy is looked for."""
        self._drop_inherited(row.tail_id)
        self._rows.keep(dataclasses.replace(row, was_unlinked=True))
        self._doubtful[row.tail_id] = None
        if not row.is_done:
            _log.warning(
                "file replaced flow=%s path=%s offset=%d size=%d; it was truncated or rewritten "
                "while kagent was down, a copy of it is looked for",
                self._flow,
                options.printable(row.paths[0]),
                row.offset,
                row.size,
            )

    # --- what was lost ------------------------------------------------------------------------

    def _search(self, scan: scanning.ScanResult, now: float) -> None:
        """Look for the rest of truncated and missing files, and give up what is not found."""
        self._note_missing(scan, now)
        is_clean = self._look_for_copies(now)
        files = [
            lost.LostFile(one.facts(), one.base, one.known_end)
            for one in self._truncated.values()
            if not one.is_spent
        ]
        files += [
            lost.LostFile(self._rows[tail_id], self._scanner.base_of(self._rows[tail_id].paths[0]))
            for tail_id, missing in self._missing.items()
            if missing.scans > 1 or not self._rows[tail_id].paths
        ]
        files += self._unproven
        files.sort(key=lambda one: one.checkpoint.mtime_ns)
        search = self._searcher.search(files, self._is_ours, self._rows.located)
        after = ""
        for finding in search.findings:
            one = self._take_in(finding, now)
            if one is None:
                self._searcher.retry()
                is_clean = False  # what was found is not given up
                is_clean = False
            else:
                one.after, after = "" if finding.is_its else after, one.tail_id
        if search.is_clean and is_clean:
            self._unproven.clear()
            self._give_up(now)

    def _note_missing(self, scan: scanning.ScanResult, now: float) -> None:
        """Note which checkpoints have no file: their files are renamed, copied or deleted."""
        missing = {}
        for tail_id in list(self._doubtful):
            row = self._rows.get(tail_id)
            if row is None or row.is_done or self._is_there(row):
                del self._doubtful[tail_id]
                continue
            if tail_id in self._inherited or any(map(scan.may_hide, row.paths)):
                continue
            wait_s = self._rotate_wait_s if self.is_scanned else LOST_WAIT_S
            known = self._missing.get(row.tail_id, _Missing(now, wait_s))
            known.scans += 1
            missing[row.tail_id] = known
        self._missing = missing

    def _take_in(self, finding: lost.Finding, now: float) -> tail.Tail | None:
        """Read on in what a search found; None if it is not as it was seen any more."""
        source, decision = finding.lost.checkpoint, finding.decision
        if source.tail_id in self.tails and isinstance(decision, tracking.Resume):
            start = tracking.Start(decision.sightings, is_first_scan=False)
            copy = self._opener.open(start, now)
            if copy is None:
                return None
            self._leave(copy, source.paths, finding.lost.base, now)
            return self._go_on_in(copy, decision, now)
        one = self._open(decision, now)
        if one is None:
            return None
        where = options.printable(decision.sightings[0].path)
        self._leave(one, source.paths, finding.lost.base, now)
        self._say(logging.INFO, "generation found", one, f"at={where} position={one.position}")
        if finding.is_its and isinstance(decision, tracking.Start):
            one.is_known = True
            self._spend(source.tail_id)
        elif isinstance(decision, tracking.Start):
            self._spend_likeliest(one)
        return one

    def _reopen(self, now: float) -> None:
        """Read on in retired files that grew: nobody told their writer."""
        for resume, base in self._retired.look(self._is_ours):
            if self._room() <= 0 or resume.checkpoint.tail_id not in self._rows:
                continue
            one = self._open(resume, now)
            if one is not None:
                self._leave(one, resume.checkpoint.paths, base, now)

    def _leave(self, one: tail.Tail, paths: tuple[str, ...], base: str, now: float) -> None:
        """Note that an open file is an older generation of one that was followed at `paths`."""
        one.state, one.left, one.scans_unseen = "left", now, 2
        one.paths, one.base = paths, base
        one.is_changed = True

    def _spend_likeliest(self, one: tail.Tail) -> None:
        """Take a generation for what a file held that was truncated before a byte was read."""
        for old in self._truncated.values():
            is_likely = old.position == 0 and old.lost_bytes == one.size
            if is_likely and not old.is_spent and old.paths == one.paths:
                self._spend(old.tail_id)
                return

    def _spend(self, tail_id: str) -> None:
        """Look for a lost file no more: its rest is read from elsewhere, or given up."""
        if tail_id in self.tails:
            one = self.tails[tail_id]
            one.is_spent = one.is_changed = True
            self._end_truncated(one)
        elif tail_id in self._rows:
            self._rows.keep(dataclasses.replace(self._rows[tail_id], is_done=True))
            self._missing.pop(tail_id, None)

    def _give_up(self, now: float) -> None:
        """Look no more for what was not found for so long, and say which bytes are lost."""
        for one in list(self._truncated.values()):
            if not one.is_spent and now - one.left >= self._rotate_wait_s:
                self._abandon(one.paths, one.position, one.lost_bytes)
                self._spend(one.tail_id)
        for tail_id, missing in list(self._missing.items()):
            row = self._rows.get(tail_id)  # none if it was found in this scan
            if row is not None and now - missing.since >= missing.wait_s:
                self._abandon(row.paths, row.offset, row.size - row.offset)
                self._spend(tail_id)

    def _abandon(self, paths: tuple[str, ...], offset: int, count: int) -> None:
        if count > 0:
            self.abandoned_bytes += count
            _log.error(
                "bytes lost flow=%s path=%s offset=%d bytes=%d; the file was truncated or deleted "
                "before they were read, and no copy of it was found",
                self._flow,
                options.printable(paths[0]),
                offset,
                count,
            )

    # --- is it a copy -------------------------------------------------------------------------

    def _look_for_copies(self, now: float) -> bool:
        """Let what was truncated go on in new files; return whether each could be looked at."""
        is_clean = True
        for one in list(self._busy.values()):
            if one.position or one.is_known or not one.size or one.handle is None:
                continue
            if one.asked != (one.size, self._copies.upheavals):
                answer = self._ask(one, now)
                is_clean = is_clean and answer is not None
                if answer is not None and isinstance(answer.decision, tracking.Resume):
                    self._go_on_in(one, answer.decision, now)
        return is_clean

    def _may_read(self, one: tail.Tail, now: float) -> bool:
        """Return whether a file of which nothing was read is no copy; decide if it is one."""
        if one.is_known:
            return True
        is_asked = one.asked == (one.size, self._copies.upheavals)
        if is_asked and now - one.held < POLL_S:
            return False
        answer = self._ask(one, now)
        if answer is None:
            self._is_unpacking = self._is_unpacking or self._copies.is_pending
            return False
        if isinstance(answer.decision, tracking.Resume):
            self._go_on_in(one, answer.decision, now)
            return False
        if isinstance(answer.decision, tracking.Hold) and not self._is_hold_over(
            one, answer.decision, now
        ):
            one.held = now
            return False
        one.is_known = True
        for tail_id in answer.alike:
            self._spend(tail_id)
        if one.is_packed and one.state == "followed" and not self._reads_compressed:
            self._ignore_compressed(self._sightings.of([one.identity]) or one.sightings())
            self._give_back(one)
            return False
        return True

    def _give_back(self, one: tail.Tail) -> None:
        """Close a file of which nothing was read; nobody needs its row."""
        one.close()
        self._drop(one)
        self._rows.forget(one.tail_id)

    def _ask(self, one: tail.Tail, now: float) -> copies.Answer | None:
        if self._guard(one, functools.partial(one.poll, now), now) is None:
            return None
        while True:
            try:
                answer = self._guard(
                    one, lambda: self._copies.ask(one, self._rows, self._is_there), now
                )
            except copies.SourceTruncatedError as error:
                self._truncate(error.source, now)
                if error.source.state != "truncated":
                    return None  # it cannot be read now
            else:
                if answer is not None:
                    one.asked = (one.size, self._copies.upheavals)
                return answer

    def _is_there(self, row: model.Checkpoint) -> bool:
        """Return whether the file of a checkpoint is where it was, and only not open."""
        return (
            row.identity in self._seen
            and not row.was_unlinked
            and row.identity not in self._by_identity
        )

    def _is_ours(self, identity: model.FileIdentity) -> bool:
        """Return whether a file is open, or has a path that the flow's patterns match."""
        is_seen = identity in self._seen and not self._resting.is_ignored(identity)
        return is_seen or identity in self._by_identity

    def _is_hold_over(self, one: tail.Tail, hold: tracking.Hold, now: float) -> bool:
        """Return whether what may be a copy under way stood still for too long."""
        sources = [self.tails[tail_id] for tail_id in hold.sources if tail_id in self.tails]
        if any(source.state == "left" for source in sources):
            return False  # when such a source is retired, there is an answer
        return now - one.grown >= copies.HOLD_S

    def _go_on_in(
        self, copy: tail.Tail, decision: tracking.Resume, now: float
    ) -> tail.Tail | None:
        """Let the source of a copy go on in it; None if the copy cannot be read now."""
        row = decision.checkpoint
        live = self.tails.get(row.tail_id)
        if live is not None and not decision.is_rolled_back:
            live.move_to(copy)
            one = live
            del self._truncated[one.tail_id]
        else:
            try:
                one = self._opener.go_on(copy, decision, now)
            except (OSError, tail.TruncatedError):
                return None
            one.is_durable = not decision.is_rolled_back
            one.is_known = True
            if not decision.is_rolled_back:
                self._rows.take(row.tail_id)
                self._missing.pop(row.tail_id, None)
        if copy.tail_id in self.tails:
            self._drop(copy)
        self._rows.forget(copy.tail_id)
        self._add(one)
        self._say(logging.INFO, "copy found", one, f"position={one.position} size={one.size}")
        return one

    # --- what is read -------------------------------------------------------------------------

    def poll(self) -> None:
        """Look at the sizes of open files that are due to be looked at, and retire the done."""
        now = self._clock.monotonic()
        self._is_unpacking = False
        if now - self._polled_hot < HOT_POLL_S:
            return
        self._polled_hot = now
        is_all = now - self._polled >= POLL_S
        if is_all:
            self._polled = now
        if is_all:
            self._wake_grown(now)
        for one in list(self._busy.values()):
            if one.handle is not None and (is_all or self._is_hot(one, now)):
                self._guard(one, functools.partial(one.poll, now), now)
            if is_all and (one.state == "left" or one.is_packed):
                self._retire(one, now)
        if is_all:
            self._bound_unlinked(now)
            self._rest(now)
        if is_all and len(self.tails) > self._open_files_max:
            self._close_inactive(now)

    def _wake(self, one: tail.Tail) -> None:
        """Note that a tail may have something to do."""
        if one.tail_id not in self._busy:
            self._busy[one.tail_id] = one
            self._idle = None

    def _drop(self, one: tail.Tail) -> None:
        """Follow a tail no more; the next scan says what its file is, if it sees one."""
        self._undecided[one.identity] = None
        del self.tails[one.tail_id]
        self._truncated.pop(one.tail_id, None)
        if self._by_identity.get(one.identity) is one:
            del self._by_identity[one.identity]
        self._busy.pop(one.tail_id, None)
        self._idle = None

    def _wake_grown(self, now: float) -> None:
        """Wake the tails whose files have another size than they had: 0.3 us a file."""
        if self._idle is None:
            idle = [one for one in self.tails.values() if one.tail_id not in self._busy]
            handles = [one.handle for one in idle if one.handle is not None]
            self._idle = idle, handles, [one.size for one in idle]
        idle, handles, known = self._idle
        try:
            sizes = self._files.sizes(handles)
        except OSError:  # of one of them: each is asked by itself, and its fault is its own
            for one in idle:
                self._guard(one, functools.partial(one.poll, now), now)
                self._wake(one)
            return
        if sizes != known:
            for one, size in zip(idle, sizes, strict=True):
                if size != one.size:
                    self._wake(one)

    def _rest(self, now: float) -> None:
        """Find out which tails have nothing to do any more."""
        for one in list(self._busy.values()):
            if (
                one.is_at_rest
                and not self._is_hot(one, now)
                and (one.unread_bytes == 0 or self._final_line_s is None)
                and one.tail_id not in self._saved_in
            ):
                del self._busy[one.tail_id]
                self._idle = None

    def _is_hot(self, one: tail.Tail, now: float) -> bool:
        """Return whether a file grew lately, and is likely to do so again."""
        return one.has_grown and now - one.grown < HOT_FOR_S

    def read(self, credit_bytes: int) -> split.Split | None:
        """Read and split a block of the next file that has one; None if none has.

        Args:
            credit_bytes: What the records may cost in memory.
        """
        now = self._clock.monotonic()
        self._is_unpacking = self._opener.is_verifying
        self._opener.verify_on()
        for _ in range(len(self._busy)):
            one = next(iter(self._busy.values()))
            self._busy.move_to_end(one.tail_id)
            is_final = self._is_ending(one, now) or self._is_overdue(one, now)
            is_quiet = self._is_quiet(one, now)
            if one.handle is None:
                continue
            if not one.is_durable or (one.is_exhausted and not (is_final or is_quiet)):
                continue
            if not (one.position or self._may_read(one, now)) or self._is_in_line(one):
                continue
            reading = functools.partial(
                one.read, credit_bytes, now, is_final=is_final, is_quiet=is_quiet
            )
            result = self._guard(one, reading, now)
            self._copies.note(one)
            if one.is_packed and result is None and not one.is_exhausted:
                self._is_unpacking = True  # it is on its way to its offset
            if is_final and one.unread_bytes == 0:
                one.is_finished = True
            if result is not None:
                return result
        return None

    def path_of(self, tail_id: str) -> str:
        """Return a path of a tail, for people."""
        return self.tails[tail_id].paths[0]

    def settle(self, chunk: model.Chunk) -> None:
        """Note that the fate of a chunk's bytes is final."""
        one = self.tails[chunk.tail_id]
        one.settle(chunk)
        self._end_truncated(one)

    def unsettled_bytes(self) -> int:
        """Return the bytes that were read and whose fate is open."""
        return sum(one.ledger.unsettled_bytes for one in self._busy.values())

    def next_due(self) -> float:
        """Return the monotonic time at which `poll` has something to look at."""
        now = self._clock.monotonic()
        is_hot = any(self._is_hot(one, now) for one in self._busy.values())
        due = self._polled_hot + HOT_POLL_S
        if self._is_unpacking:
            return now
        return due if is_hot else max(due, self._polled + POLL_S)

    def _is_in_line(self, one: tail.Tail) -> bool:
        """An older generation is to be read first."""
        older = self.tails.get(one.after)
        if older is None or older.handle is None or older.is_exhausted:
            one.after = ""
        return one.after != ""

    def _is_ending(self, one: tail.Tail, now: float) -> bool:
        """The last line is to be read, terminated or not; no byte came up to this moment."""
        if one.is_finished or not self._is_silent(one, now):
            return False
        size = self._guard(one, functools.partial(one.poll, now), now)
        return size is not None and self._is_silent(one, now)

    def _is_overdue(self, one: tail.Tail, now: float) -> bool:
        """The last line waited for its end as long as `final_line` says."""
        return one.unread_bytes > 0 and self._has_not_grown(one, self._final_line_s, now)

    def _is_quiet(self, one: tail.Tail, now: float) -> bool:
        """The last record waited for more lines as long as `multiline.timeout` says."""
        return one.is_growing and self._has_not_grown(one, self._quiet_s, now)

    def _has_not_grown(self, one: tail.Tail, wait_s: float | None, now: float) -> bool:
        """No byte came for so long, up to this moment; never if it is None."""
        if wait_s is None or one.handle is None or now - one.grown < wait_s:
            return False
        size = self._guard(one, functools.partial(one.poll, now), now)
        return size is not None and now - one.grown >= wait_s

    def _is_silent(self, one: tail.Tail, now: float) -> bool:
        """Nobody is expected to write to a file that was left."""
        if one.is_packed:
            return True
        wait_s = UNLINKED_WAIT_S if one.is_unlinked else self._rotate_wait_s
        return one.state == "left" and now - max(one.grown, one.left) >= wait_s

    def _retire(self, one: tail.Tail, now: float) -> None:
        """Close a file of which everything is shipped and saved; its row stays."""
        if one.handle is None:
            return
        status = self._guard(one, one.status, now)
        if status is None:
            return
        one.is_unlinked = status.links == 0
        is_done = one.is_finished and one.unread_bytes == 0 and one.ledger.is_settled
        if not (is_done and one.is_durable and not one.is_changed and self._is_silent(one, now)):
            return
        if one.tail_id in self._saved_in:
            return
        row = self._guard(one, functools.partial(one.checkpoint, now), now)
        if row is None:
            return
        one.close()
        self._drop(one)
        self._rows.keep(dataclasses.replace(row, is_done=True))
        if not (one.is_unlinked or one.is_packed) and one.size == row.offset:
            self._retired.note(self._rows[one.tail_id], one.base)
        self._copies.upheavals += 1
        self._say(logging.INFO, "file retired", one, f"offset={row.offset}")

    def _bound_unlinked(self, now: float) -> None:
        """Close deleted files that hold too much of the disk, the largest first."""
        held = [
            one
            for one in self._busy.values()
            if one.state == "left" and one.is_unlinked and one.handle is not None
        ]
        excess = sum(one.size for one in held) - self._unlinked_max
        for one in sorted(held, key=lambda one: -one.size):
            handle = one.handle
            assert handle is not None
            free = self._guard(one, functools.partial(self._files.free_share, handle), now)
            if excess <= 0 and (free is None or free >= DISK_FREE_MIN):
                return
            excess -= one.size
            self._let_go(one, now)

    def _let_go(self, one: tail.Tail, now: float) -> None:
        """Close a deleted file before its end; what was not read is looked for in its copies."""
        self._say(
            logging.ERROR,
            "file closed",
            one,
            f"offset={one.position} bytes_not_read={one.unread_bytes}; it was deleted, and such "
            "files hold more than unlinked_max, or less than 5 % of the disk are free",
        )
        one.let_go(now)
        self._by_identity.pop(one.identity, None)
        self._truncated[one.tail_id] = one
        self._copies.upheavals += 1

    def _close_inactive(self, now: float) -> None:
        """Close files that nobody has written to for long, when very many are open."""
        now_s = self._clock.time()
        inactive = [
            one
            for one in self.tails.values()
            if now - one.grown >= self._close_inactive_s
            or (not one.has_grown and now_s - one.mtime_ns / 1e9 >= self._close_inactive_s)
        ]
        self._close(inactive, len(self.tails) - self._open_files_max)

    def _close_shipped(self, count: int) -> int:
        """Close files for others that wait, the longest silent first; return how many."""
        return self._close(self.tails.values(), count)

    def _close(self, candidates: Iterable[tail.Tail], count: int) -> int:
        """Close up to so many files of which everything is shipped and saved."""
        now = self._clock.monotonic()
        closable = [
            one
            for one in candidates
            if one.is_at_rest and one.size == one.position and one.tail_id not in self._saved_in
        ]
        closed = 0
        for one in sorted(closable, key=lambda one: one.grown)[:count]:
            if one.handle is None or self._guard(one, functools.partial(one.poll, now), now) != (
                one.position
            ):
                continue
            row = self._guard(one, functools.partial(one.checkpoint, now), now)
            if row is not None:
                one.close()
                self._drop(one)
                self._rows.keep(row, is_changed=False)
                self._resting.close(one.tail_id)
                closed += 1
        return closed

    def _guard(self, one: tail.Tail, act: Callable[[], _T], now: float) -> _T | None:
        """Do something with a file; a fault of it is its own, a truncation begins a new tail."""
        try:
            return act()
        except tail.TruncatedError:
            self._truncate(one, now)
        except tail.CompressedError:
            self._give_back(one)  # the next scan opens it as what it is
        except OSError as error:
            self._faults.report(one.paths[0], f"cannot read: {error.strerror}")
        return None

    # --- what is saved ------------------------------------------------------------------------

    @property
    def is_waiting_to_be_read(self) -> bool:
        """A file waits for its row to be durable, and its row was not handed over yet."""
        return any(map(self._is_unknown, self._busy.values()))

    def snapshot(self, sequence: int, *, is_last: bool = False) -> model.FlowSnapshot | None:
        """Return the rows that changed since the last snapshot, None if none did.

        The last snapshot of a life holds every settled range, so that a successor sends nothing
        again that was accepted.
        """
        now = self._clock.monotonic()
        is_urgent = self.is_waiting_to_be_read
        rows = [self._rows[tail_id] for tail_id in sorted(self._rows.changed)]
        self._parked |= dict.fromkeys(self._parked.keys() & self._rows.changed, sequence)
        for one in list(self._busy.values()):
            proving = functools.partial(one.checkpoint, now, is_last=is_last)
            is_wanted = one.is_changed or (is_last and one.has_unsaved_ranges)
            row = self._guard(one, proving, now) if is_wanted else None
            one.is_changed = one.is_changed and row is None
            if row is not None or self._is_unknown(one):
                rows.append(row or one.row)
                self._saved_in[one.tail_id] = sequence
        # A mark without the rows of what its scan found would make them late files: both or none.
        scanned = sorted(self._first_scans.unsaved)
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
        self._first_scans.unsaved.clear()
        return snapshot

    def note_saved(self, sequence: int) -> None:
        """Note that every snapshot up to `sequence` is on disk."""
        for tail_id in [key for key, saved_in in self._saved_in.items() if saved_in <= sequence]:
            del self._saved_in[tail_id]
            if tail_id in self.tails:
                self.tails[tail_id].is_durable = True
        if self._parked:
            self._parked = {
                key: saved_in
                for key, saved_in in self._parked.items()
                if not 0 <= saved_in <= sequence
            }

    def _is_unknown(self, one: tail.Tail) -> bool:
        return not one.is_durable and one.tail_id not in self._saved_in

    def _say(self, level: int, what: str, one: tail.Tail, more: str) -> None:
        path = options.printable(one.paths[0])
        _log.log(level, "%s flow=%s path=%s %s", what, self._flow, path, more)
