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
*busy*, and nothing looks at it but `idle`, which finds out which of all such files grew. Whoever
does something to a tail wakes it (`Tails.wake`); `Tails.rest` finds out when it is not busy any
more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence

from kagent import (
    discovery,
    endings,
    firstscan,
    generations,
    kept,
    logs,
    model,
    opening,
    options,
    proven,
    recovery,
    resting,
    retired,
    scanning,
    split,
    tail,
    tails,
    tracking,
)

HOT_POLL_S = 0.25
POLL_S = 1.0
SAY_AGAIN_S = 60.0
HANDLES_MAX = 1_000_000
FORMER_PATHS_MAX = 8  # a copy or an archive may have been made under each


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
        self.directories: set[str] = set()  # to be watched
        self._flow = flow
        self._is_begun_at_end = source.start_at == "end"
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
        self._first_scans = firstscan.FirstScans(())
        self._inherited: dict[str, tuple[int, str]] = {}  # handles yet to prove their files
        self._undurable: set[str] = set()  # of them
        # Rows of files that were never followed, by tail_id: the snapshot that made each durable,
        # -1 if it was not handed over yet.
        self._parked: dict[str, int] = {}
        self._handles_max = handles_max
        self._open_files_max = min(handles_max, resting.OPEN_FILES_MAX)
        self._said_waiting = float("-inf")
        self._polled = self._polled_hot = float("-inf")
        self._rows = kept.Rows((), ttl_s, clock.monotonic())
        self._tails = tails.Tails(flow, source.final_line, files, opener, faults, self._rows)
        self._resting = resting.Resting(source.ignore_older)
        rotated = generations.Rotated.of(source.rotated)
        self._retired = retired.Retired(rotated, files, clock, self._scanner.base_of)
        self._endings = endings.Endings(
            source, files, clock, self._tails, self._rows, self._resting, self._retired
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
        self._goes_on = False  # what takes several reads is not at its end yet

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

    def open(self, estate: Estate) -> None:
        """Take over the rows and, from an earlier incarnation, the open descriptors."""
        for row in estate.rows:
            self._rows.keep(row, is_changed=False)
        self._missing.doubtful = dict.fromkeys(self._rows)
        for row in self._rows.values():
            if row.is_done and not row.was_unlinked and row.size == row.offset:
                self._retired.note(row)
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

    def remains(self) -> Estate:
        """Return the descriptors of files, if `close` failed; their rows are in the database."""
        self._tails.end_watches()
        self._opener.close()
        return Estate(handles=self.handles)

    # --- what is there ------------------------------------------------------------------------

    def refresh(self, hinted: Iterable[str]) -> None:
        """Scan, and do what the scan means."""
        now = self._clock.monotonic()
        self._inherit(now)
        result = self._scanner.scan(hinted, self._tails.undecided, self._tails.by_identity.keys())
        self.directories = result.directories
        for fault in result.faults:
            self._faults.report(fault.path, fault.reason)
        subjects = dict.fromkeys([*self._tails.undecided, *result.changed])
        first_scan_paths = self._first_scans.note(result.seen.of(subjects), result.failed)
        if subjects:
            self._decide(result, subjects, first_scan_paths, now)
        self._missing.seen, self._missing.seen_at = result.seen.identities, result.seen
        self._recovery.search(result, self._inherited, now)
        self._recovery.reopen(self._room(), now)
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
            is_crowded=len(result.seen.identities) > self._open_files_max,
        )
        undecided = sightings
        sightings = self._with_room(sightings, rows, first_scan_paths)
        # What was closed for others just now is the next scan's business: its row is new.
        closed = {one for one in known if one not in self._tails.by_identity}
        sightings = [one for one in sightings if one.identity not in closed]
        decisions = self._opener.reconcile(
            [
                tracking.TailFacts(one.tail_id, one.identity, one.paths, one.known_end)
                for one in known.values()
                if one.identity not in closed
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
                self._tails.truncate(one, now)
        for row in decisions.lost:
            self._lose(row)
        for decision in decisions.opened:
            if isinstance(decision, tracking.Start) and self._newcomers.is_unwanted(
                decision.sightings
            ):
                self._newcomers.ignore_compressed(decision.sightings)
            else:
                self._open(decision, now)
        self._note_undecided(undecided, decisions.unseen)
        self._missing.doubtful |= dict.fromkeys(
            row.tail_id for row in rows if row.tail_id in self._rows
        )

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
            one.identity for one in sightings if one.identity not in self._tails.by_identity
        )
        excess = len(unknown) - self._room()
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

    def _room(self) -> int:
        return self._handles_max - len(self.tails) - len(self._inherited)

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
                len(self.tails),
            )

    def _note_undecided(self, sightings: Iterable[model.Sighting], unseen: Iterable[str]) -> None:
        """Note which files the next scan has to look at again: those without a tail or a path."""
        for sighting in sightings:
            if sighting.identity not in self._tails.by_identity:
                self._tails.undecided[sighting.identity] = None
        for tail_id in unseen:
            if tail_id in self.tails and self.tails[tail_id].state == "followed":
                self._tails.undecided[self.tails[tail_id].identity] = None

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
            is_saved = self._parked.pop(row.tail_id, 0) == 0 and row.tail_id not in self._undurable
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
                self._recovery.doubt(row, one)
            else:
                self._lose(row)
            self._tails.add(one)
            self._recovery.note_read(one)

    def _drop_inherited(self, tail_id: str) -> None:
        if tail_id in self._inherited:
            handle, _ = self._inherited.pop(tail_id)
            self._files.close(handle)

    def _note_seen(self, one: tail.Tail, seen: tuple[model.Sighting, ...], now: float) -> None:
        paths = tuple(sorted(sighting.path for sighting in seen))
        if paths != one.paths or one.scans_unseen or seen[0].mtime_ns != one.file.mtime_ns:
            self._tails.wake(one)
        if paths != one.paths:
            was = options.printable(one.paths[0])
            former = dict.fromkeys(one.paths + one.former_paths)
            one.former_paths = tuple(former)[:FORMER_PATHS_MAX]
            one.paths, one.base = paths, seen[0].base
            one.is_changed = True
            self._tails.say(logging.INFO, "file renamed", one, f"was={was}")
        one.scans_unseen = 0
        if one.state == "left":
            one.state, one.is_finished = "followed", False
        self._tails.guard(one, functools.partial(one.note_sighting, seen[0]), now)

    def _note_unseen(self, one: tail.Tail, now: float) -> None:
        self._tails.wake(one)
        one.scans_unseen += 1
        if one.state != "followed" or one.scans_unseen < 2 or one.handle is None:
            return
        status = self._tails.guard(one, one.file.status, now)
        if status is None:
            return
        one.state, one.left = "left", now
        one.is_unlinked = status.links == 0
        one.is_changed = True
        how = "file unlinked" if one.is_unlinked else "file renamed away"
        self._tails.say(logging.INFO, how, one, f"position={one.position} size={one.size}")

    def _lose(self, row: model.Checkpoint) -> None:
        """Note that the file of a checkpoint holds other content now; its copy is looked for."""
        self._drop_inherited(row.tail_id)
        self._rows.keep(dataclasses.replace(row, was_unlinked=True))
        self._missing.doubtful[row.tail_id] = None
        if not row.is_done:
            logs.of_flow(self._flow).warning(
                "file replaced flow=%s path=%s offset=%d size=%d; it was truncated or rewritten "
                "while kagent was down, a copy of it is looked for",
                self._flow,
                options.printable(row.paths[0]),
                row.offset,
                row.size,
            )

    # --- what is read -------------------------------------------------------------------------

    def poll(self) -> None:
        """Look at the sizes of open files that are due to be looked at, and retire the done."""
        now = self._clock.monotonic()
        self._goes_on = False
        if now - self._polled_hot < HOT_POLL_S:
            return
        self._polled_hot = now
        is_all = now - self._polled >= POLL_S
        if is_all:
            self._polled = now
        if is_all:
            self._tails.wake_grown(now)
        for one in list(self._tails.busy.values()):
            if one.handle is not None and (is_all or self._tails.is_hot(one, now)):
                self._tails.guard(one, functools.partial(one.poll, now), now)
            if is_all and (one.state == "left" or one.is_packed):
                self._endings.retire(one, now)
        if is_all:
            self._endings.bound_unlinked(now)
            self._tails.rest(now)
        if is_all and len(self.tails) > self._open_files_max:
            self._endings.close_inactive(now, self._open_files_max)

    def read(self, credit_bytes: int) -> split.Split | None:
        """Read and split a block of the next file that has one; None if none has.

        Args:
            credit_bytes: What the records may cost in memory.
        """
        now = self._clock.monotonic()
        self._goes_on = self._opener.is_verifying
        self._opener.verify_on()
        for _ in range(len(self._tails.busy)):
            one = next(iter(self._tails.busy.values()))
            self._tails.busy.move_to_end(one.tail_id)
            is_final = self._endings.is_ending(one, now) or self._endings.is_overdue(one, now)
            # Not asked for what is final: each answer holds for the size that it was given at.
            is_quiet = not is_final and self._endings.is_quiet(one, now)
            if one.handle is None:
                continue
            if not one.is_durable or (one.is_exhausted and not (is_final or is_quiet)):
                continue
            if not (one.position or self._newcomers.may_read(one, now)):
                self._goes_on = self._goes_on or self._newcomers.is_pending
                continue
            if self._is_in_line(one):
                continue
            reading = functools.partial(
                one.read, credit_bytes, now, is_final=is_final, is_quiet=is_quiet
            )
            reached = one.reached
            read = self._tails.guard(one, functools.partial(_told, reading), now)
            result = read[0] if read is not None else None  # None: it has a fault
            self._recovery.note_read(one)
            # An archive on the way to its offset, or a search for the end of a long line.
            is_on_its_way = read is not None and (one.is_packed or one.reached > reached)
            if result is None and is_on_its_way and not one.is_exhausted:
                self._goes_on = True
            if is_final and one.unread_bytes == 0:
                one.is_finished = True
            if result is not None:
                return result
        return None

    def path_of(self, tail_id: str) -> str:
        """Return a path of a tail, for people."""
        return self.tails[tail_id].paths[0]

    def settle(self, chunks: Iterable[model.Chunk]) -> None:
        """Note that the fate of the bytes of chunks is final."""
        for tail_id, its in itertools.groupby(chunks, key=operator.attrgetter("tail_id")):
            one = self.tails[tail_id]
            one.settle(its)
            self._tails.end_truncated(one)

    def unsettled_bytes(self) -> int:
        """Return the bytes that were read and whose fate is open."""
        return sum(one.ledger.unsettled_bytes for one in self._tails.busy.values())

    def next_due(self) -> float:
        """Return the monotonic time at which `poll` has something to look at."""
        now = self._clock.monotonic()
        is_hot = any(self._tails.is_hot(one, now) for one in self._tails.busy.values())
        due = self._polled_hot + HOT_POLL_S
        if self._goes_on:
            return now
        return due if is_hot else max(due, self._polled + POLL_S)

    def _is_in_line(self, one: tail.Tail) -> bool:
        """An older generation is to be read first."""
        older = self.tails.get(one.after)
        if older is None or older.handle is None or older.is_exhausted:
            one.after = ""
        return one.after != ""

    # --- what is saved ------------------------------------------------------------------------

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
            is_wanted = one.is_changed or (is_last and one.has_unsaved_ranges)
            row = self._tails.guard(one, proving, now) if is_wanted else None
            one.is_changed = one.is_changed and row is None
            if row is not None or self._is_unknown(one):
                rows.append(row or one.row)
                self._tails.saved_in[one.tail_id] = sequence
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
        for tail_id in [
            key for key, saved_in in self._tails.saved_in.items() if saved_in <= sequence
        ]:
            del self._tails.saved_in[tail_id]
            if tail_id in self.tails:
                self.tails[tail_id].is_durable = True
        if self._parked:
            self._parked = {
                key: saved_in
                for key, saved_in in self._parked.items()
                if not 0 <= saved_in <= sequence
            }

    def _is_unknown(self, one: tail.Tail) -> bool:
        return not one.is_durable and one.tail_id not in self._tails.saved_in


def _told(read: Callable[[], split.Split | None]) -> tuple[split.Split | None]:
    """Return what a read returns, so that nothing read is told from a fault."""
    return (read(),)
