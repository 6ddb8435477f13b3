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
    truncated  its bytes are gone; it lives until what was read of it is settled

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
    discovery,
    firstscan,
    model,
    opening,
    options,
    resting,
    scanning,
    split,
    tail,
    tracking,
)

UNLINKED_WAIT_S = 10.0
HOT_POLL_S = 0.25
POLL_S = 1.0
HOT_FOR_S = 10.0  # a file that grew within so long is looked at each HOT_POLL_S
AGE_ROWS_S = 600.0
SAY_AGAIN_S = 60.0
HANDLES_MAX = 1_000_000

_log = logging.getLogger("kagent.flow")
_T = TypeVar("_T")


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
        self._rows: dict[str, model.Checkpoint] = {}
        self._inherited: dict[str, tuple[int, str]] = {}  # handles yet to prove their files
        self._undurable: set[str] = set()  # of them
        self._changed_rows: set[str] = set()
        self._forgotten: set[str] = set()
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
        self._aged = clock.monotonic()

    def open(self, estate: Estate) -> None:
        """Take over the rows and, from an earlier incarnation, the open descriptors."""
        self._rows = {row.tail_id: row for row in estate.rows}
        self._first_scans = firstscan.FirstScans(estate.scanned)
        self._inherited, self._undurable = dict(estate.handles), set(estate.undurable)

    @property
    def handles(self) -> dict[str, tuple[int, str]]:
        """Every open descriptor by tail_id, with the base its path was opened below."""
        held = {
            one.tail_id: (one.handle, one.base)
            for one in self.tails.values()
            if one.handle is not None
        }
        return self._inherited | held

    def close(self) -> Estate:
        """Give everything up to a successor, who opens or closes the handles."""
        estate = Estate(
            list(self._rows.values()), self._first_scans.marked, self.handles, self._undurable
        )
        now = self._clock.monotonic()
        for one in self.tails.values():
            if one.state == "truncated":
                self._abandon(one)
            if one.handle is not None:
                # What it cannot prove now, the successor finds out, by the row before.
                with contextlib.suppress(OSError, tail.TruncatedError):
                    one.checkpoint(now, is_last=True)
                estate.rows.append(one.row)
                if not one.is_durable:
                    estate.undurable.add(one.tail_id)
        self.tails.clear()
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
        self._note_rows(result.seen.identities, now)
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
            self._open(decision, now)
        self._opener.close_unused()
        self._note_undecided(undecided, decisions.unseen)

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

    def _open(self, decision: tracking.Start | tracking.Resume, now: float) -> None:
        one = self._opener.open(decision, now)
        if one is None:
            # Unreadable, or not the file any more that was seen: the next scan says what it is.
            # `start_at` is over for it, since nothing proves that it is the file seen first.
            return
        if isinstance(decision, tracking.Start) and self._may_be_parked(decision, one):
            self._park(one)
            return
        if isinstance(decision, tracking.Resume):
            row = self._rows.pop(decision.checkpoint.tail_id)
            self._drop_inherited(row.tail_id)
            is_saved = self._parked.pop(row.tail_id, 0) == 0
            one.is_durable = is_saved and not decision.is_rolled_back
            if decision.is_rolled_back:
                self._forgotten.add(row.tail_id)
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

    def _may_be_parked(self, start: tracking.Start, one: tail.Tail) -> bool:
        """Return whether a file that was there before kagent need not be open already."""
        if not start.is_first_scan:
            return False
        is_crowded = len(self.tails) >= self._open_files_max
        return self._room() <= 0 or (is_crowded and one.unread_bytes == 0)

    def _park(self, one: tail.Tail) -> None:
        """Close a file at its start; it is opened when there is something to read, and room."""
        assert one.handle is not None
        self._files.close(one.handle)
        self._rows[one.tail_id] = one.row
        self._changed_rows.add(one.tail_id)
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
                del self._rows[tail_id]
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
            one.paths, one.base = paths, seen[0].base
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
        status = self._guard(one, functools.partial(self._files.handle_status, one.handle), now)
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
        missed = old.lost_bytes
        self.abandoned_bytes += missed
        new.state, new.left, new.is_unlinked = old.state, old.left, old.is_unlinked
        old.state, old.handle = "truncated", None
        self._say(
            logging.ERROR if missed else logging.INFO,
            "file truncated",
            old,
            f"position={old.position} size={new.size} bytes_not_read={missed}",
        )
        self._add(new)
        self._end_truncated(old)

    def _abandon(self, one: tail.Tail) -> None:
        """Say what of a truncated file was read, is not delivered, and can be read nowhere."""
        lost = one.ledger.unsettled_bytes
        if lost:
            self._say(
                logging.ERROR, "bytes lost", one, f"bytes={lost}; it was truncated meanwhile"
            )

    def _end_truncated(self, one: tail.Tail) -> None:
        """Forget a truncated tail of which nothing is under way any more."""
        if one.state == "truncated" and one.ledger.is_settled:
            self._drop(one)
            self._forgotten.add(one.tail_id)

    def _lose(self, row: model.Checkpoint) -> None:
        """Give up a checkpoint whose file holds other content now."""
        del self._rows[row.tail_id]
        self._drop_inherited(row.tail_id)
        self._forgotten.add(row.tail_id)
        _log.warning(
            "file replaced flow=%s path=%s offset=%d; it was truncated or rewritten while "
            "kagent was down, bytes after the offset are lost if there were any",
            self._flow,
            options.printable(row.paths[0]),
            row.offset,
        )

    def _note_rows(self, seen: Collection[model.FileIdentity], now: float) -> None:
        """Age the rows of files that no scan sees, and forget them after `checkpoint.ttl`."""
        if not self.is_scanned:
            for row in self._rows.values():
                if row.identity not in seen and row.size > row.offset:
                    _log.error(
                        "file missing flow=%s path=%s offset=%d size=%d; the bytes between %s",
                        self._flow,
                        options.printable(row.paths[0]),
                        row.offset,
                        row.size,
                        "are lost: it was deleted before they were shipped"
                        if row.was_unlinked
                        else "are shipped if it comes back at a matching path",
                    )
        if now - self._aged < AGE_ROWS_S:
            return
        elapsed, self._aged = now - self._aged, now
        self._faults.age()
        for row in list(self._rows.values()):
            unseen_s = 0.0 if row.identity in seen else row.unseen_s + elapsed
            if unseen_s > self._ttl_s:
                del self._rows[row.tail_id]
                self._changed_rows.discard(row.tail_id)
                self._forgotten.add(row.tail_id)
            elif unseen_s != row.unseen_s:
                self._rows[row.tail_id] = dataclasses.replace(row, unseen_s=unseen_s)
                self._changed_rows.add(row.tail_id)

    # --- what is read -------------------------------------------------------------------------

    def poll(self) -> None:
        """Look at the sizes of open files that are due to be looked at, and retire the done."""
        now = self._clock.monotonic()
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
            if is_all and one.state == "left":
                self._retire(one, now)
        if is_all:
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
        for _ in range(len(self._busy)):
            one = next(iter(self._busy.values()))
            self._busy.move_to_end(one.tail_id)
            is_final = self._is_ending(one, now) or self._is_overdue(one, now)
            is_quiet = self._is_quiet(one, now)
            if one.handle is None:
                continue
            if not one.is_durable or (one.is_exhausted and not (is_final or is_quiet)):
                continue
            reading = functools.partial(
                one.read, credit_bytes, now, is_final=is_final, is_quiet=is_quiet
            )
            result = self._guard(one, reading, now)
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
        return due if is_hot else max(due, self._polled + POLL_S)

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
        wait_s = UNLINKED_WAIT_S if one.is_unlinked else self._rotate_wait_s
        return one.state == "left" and now - max(one.grown, one.left) >= wait_s

    def _retire(self, one: tail.Tail, now: float) -> None:
        """Close a file of which everything is shipped and saved; its row stays."""
        if one.handle is None:
            return
        status = self._guard(one, functools.partial(self._files.handle_status, one.handle), now)
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
        self._files.close(one.handle)
        self._drop(one)
        self._rows[one.tail_id] = row
        self._say(logging.INFO, "file retired", one, f"offset={row.offset}")

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
                self._files.close(one.handle)
                self._drop(one)
                self._rows[one.tail_id] = row
                self._resting.close(one.tail_id)
                closed += 1
        return closed

    def _guard(self, one: tail.Tail, act: Callable[[], _T], now: float) -> _T | None:
        """Do something with a file; a fault of it is its own, a truncation begins a new tail."""
        try:
            return act()
        except tail.TruncatedError:
            self._truncate(one, now)
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
        rows = [self._rows[tail_id] for tail_id in sorted(self._changed_rows)]
        self._parked |= dict.fromkeys(self._parked.keys() & self._changed_rows, sequence)
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
        if not (rows or scanned or self._forgotten):
            return None
        snapshot = model.FlowSnapshot(
            self._flow,
            sequence,
            tuple(rows),
            tuple(sorted(self._forgotten)),
            tuple(scanned),
            is_urgent,
        )
        self._changed_rows.clear()
        self._forgotten.clear()
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
