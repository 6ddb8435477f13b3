"""What became of files: the copies, generations and archives in which their rest is.

The life of a file goes on elsewhere when it was truncated, or when no scan sees it any more. Asks
`copies` what a new file is before a byte of it is read, and `lost` where the rest of a file is, at
each scan; lets tails and rows go on in what was found, and gives up, with an error that names the
offset, what was looked for long enough.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Collection, Sequence

from kagent import (
    copies,
    discovery,
    generations,
    kept,
    losses,
    lost,
    model,
    opening,
    options,
    proven,
    resting,
    retired,
    scanning,
    sightings,
    tail,
    tails,
    tracking,
)

LOST_WAIT_S = 3600.0  # how long a file that is missing at start-up is looked for
ASK_AGAIN_S = 1.0  # what is held is asked again after so long

_Open = Callable[[tracking.Start | tracking.Resume, float], tail.Tail | None]


@dataclasses.dataclass(slots=True)
class _Missing:
    """Since when, and in how many scans, the file of a checkpoint was not seen."""

    since: float
    wait_s: float  # until it is given up
    scans: int = 0
    is_sought: bool = False  # its generations were looked at, or for long enough


class Recovery:
    """Finds the rest of one flow's files; owned by its roster."""

    def __init__(
        self,
        flow: str,
        source: discovery.SourceOptions,
        files: model.Files,
        clock: model.Clock,
        opener: opening.Opener,
        faults: opening.Faults,
        tails_: tails.Tails,
        rows: kept.Rows,
        resting_: resting.Resting,
        retired_: retired.Retired,
        base_of: Callable[[str], str],
        open_: _Open,
    ) -> None:
        """Look for nothing yet."""
        self.losses = losses.Losses(flow, tails_)
        self.is_scanned = False  # a scan was done: what is missing from now on was there
        self.goes_on = False  # something that takes several reads is not at its end yet
        self.doubtful: dict[str, None] = {}  # rows whose files may be missing
        self.missing: dict[str, _Missing] = {}  # rows whose files no scan sees, by tail_id
        self._unproven: list[lost.LostFile] = []  # resumed at 0: they may be other files now
        self._went_on: list[lost.LostFile] = []  # in a copy: another one may be the right one
        self._growing: set[str] = set()  # tails of copies that may be being made
        self._parts: dict[str, str] = {}  # by tail_id: the tail of a copy that ended before it did
        self.seen: Collection[model.FileIdentity] = ()  # every file that scans saw
        self.seen_at = sightings.Sightings()
        rotated = generations.Rotated.of(source.rotated)
        self._flow = flow
        self._rotate_wait_s = source.rotate_wait
        self._reads_compressed = source.read_compressed
        self._opener = opener
        self._faults = faults
        self._tails = tails_
        self._rows = rows
        self._resting = resting_
        self._retired = retired_
        self._base_of = base_of
        self._open = open_
        self._copies = copies.Copies(files, rotated, tails_.all, tails_.truncated)
        self._searcher = lost.Searcher(rotated, files, clock, opener, base_of)

    def search(self, scan: scanning.ScanResult, inherited: Collection[str], now: float) -> None:
        """Look for the rest of truncated and missing files, and give up what is not found."""
        self._note_missing(scan, inherited, now)
        is_clean = self._look_for_copies(now)
        files = [
            lost.LostFile(one.facts(), one.known_end)
            for one in self._tails.truncated.values()
            if not one.is_spent
        ]
        files += [
            lost.LostFile(self._rows[tail_id])
            for tail_id, missing in self.missing.items()
            if missing.scans > 1 or not self._rows[tail_id].paths
        ]
        files += self._unproven + self._went_on
        files.sort(key=lambda one: one.checkpoint.mtime_ns)
        search = self._searcher.search(files, self._is_ours, self._rows.located)
        for missing in self.missing.values():
            is_looked_at = search.is_clean and missing.scans > 1
            missing.is_sought |= is_looked_at or now - missing.since >= copies.HOLD_S / 2
        after = ""
        self.losses.unreadable.clear()
        lost_ids = {one.checkpoint.tail_id for one in files}
        self._parts = {one: part for one, part in self._parts.items() if one in lost_ids}
        self._growing &= self._tails.busy.keys()
        for finding in search.findings:
            if finding.is_other or (_is_part(finding) and self._part_of(finding)):
                is_clean = self._take_in_other(finding, now) and is_clean
                continue
            if not search.is_clean and self._may_wait(finding, now):
                continue
            one = self._take_in(finding, now)
            if one is not None and _is_part(finding):
                self._parts[finding.lost.checkpoint.tail_id] = one.tail_id
            if one is None:
                self._searcher.retry(finding)
                # What was found is not given up, but for an archive that nobody here can read.
                is_clean = self._is_unreadable(finding) and is_clean
            else:
                one.after, after = "" if finding.is_its else after, one.tail_id
        if search.is_clean and is_clean:
            for lost_file in self._unproven:
                if lost_file.checkpoint.tail_id in self._tails.all:
                    self._tails.all[lost_file.checkpoint.tail_id].mtime_saved = None
            self._unproven.clear()
            self._went_on.clear()
            self._give_up(now)
            self.losses.count_short(now)

    def _note_missing(
        self, scan: scanning.ScanResult, inherited: Collection[str], now: float
    ) -> None:
        """Note which checkpoints have no file: their files are renamed, copied or deleted."""
        missing = {}
        for tail_id in list(self.doubtful):
            row = self._rows.get(tail_id)
            if row is None or row.is_done or self._is_there(row):
                del self.doubtful[tail_id]
                continue
            if tail_id in inherited or any(map(scan.may_hide, row.paths)):
                continue
            wait_s = self._rotate_wait_s if self.is_scanned else LOST_WAIT_S
            known = self.missing.get(row.tail_id, _Missing(now, wait_s))
            known.scans += 1
            missing[row.tail_id] = known
        self.missing = missing

    def _may_wait(self, finding: lost.Finding, now: float) -> bool:
        """Return whether a longer copy may be where nobody could look now."""
        row = finding.lost.checkpoint
        if not finding.is_its or not 0 < finding.size < self.losses.seen_of(row):
            return False
        missing, live = self.missing.get(row.tail_id), self._tails.all.get(row.tail_id)
        if missing is not None:
            return now - missing.since < missing.wait_s
        return live is not None and now - live.left < self._rotate_wait_s

    def _take_in(self, finding: lost.Finding, now: float) -> tail.Tail | None:
        """Read on in what a search found; None if it is not as it was seen any more."""
        source, decision = finding.lost.checkpoint, finding.decision
        if source.tail_id in self._tails.all and isinstance(decision, tracking.Resume):
            start = tracking.Start(decision.sightings, is_first_scan=False)
            copy = self._opener.open(start, now)
            if copy is None:
                return None
            self._leave(copy, source.paths, now)
            found = self._go_on_in(copy, decision, now)
            if found is None:
                copy.close()
            return found
        seen_bytes = self.losses.seen_of(source)
        one = self._open(decision, now)
        if one is None:
            return None
        where = options.printable(decision.sightings[0].path)
        self._leave(one, source.paths, now)
        self._tails.say(
            logging.INFO, "generation found", one, f"at={where} position={one.position}"
        )
        if not finding.is_its:
            self._spend_likeliest(one)
            return one
        if not _is_part(finding):
            self.losses.note_short(one, seen_bytes, source)
        if isinstance(decision, tracking.Start):
            one.is_known = True
            self._spend(source.tail_id)
        self._note_went_on(finding.lost, one)
        return one

    def _is_unreadable(self, finding: lost.Finding) -> bool:
        """Return whether what was found is an archive of no use as it is, and note it."""
        sighting = finding.decision.sightings[0]
        fault = self._opener.fault_of(sighting)
        if fault:
            known = self.losses.unreadable.setdefault(finding.lost.checkpoint.tail_id, [])
            known.append(f"{options.printable(sighting.path)}, which {fault}")
        return fault != ""

    def _note_went_on(self, source: lost.LostFile, one: tail.Tail) -> None:
        """Note that the rest of a file is read as a tail; others may hold it as well.

        A copy that was given up, and that somebody wrote on in, continues the file as well as the
        right one does. So each is read that holds something else: in doubt a duplicate.
        """
        self._went_on.append(dataclasses.replace(source, went_on_in=one.tail_id))

    def _take_in_other(self, finding: lost.Finding, now: float) -> bool:
        """Read on in one more file that continues a lost one; return whether all is read of it."""
        seen, first_id = finding.decision.sightings, self._part_of(finding)
        if not first_id:
            return False  # the first one could not be opened
        first = self._tails.all.get(first_id)
        rest = self._rest_of(finding, first_id, now)
        if rest is None:
            return False
        if isinstance(rest, tracking.Resume) and rest.offset >= finding.size:
            return True
        copy = self._opener.open(tracking.Start(seen, is_first_scan=False), now)
        if copy is None:
            return False
        self._leave(copy, finding.lost.checkpoint.paths, now)
        copy.is_known = True
        one: tail.Tail | None = copy
        if isinstance(rest, tracking.Start):
            self._tails.add(copy)
            self._tails.say(logging.INFO, "copy found", copy, f"position=0 size={copy.size}")
        else:
            # Its row may say no more than that what is settled is settled.
            offset = min(rest.offset, rest.offset if first is None else first.ledger.low)
            resume = dataclasses.replace(rest, offset=offset, ranges=(), is_rolled_back=True)
            one = self._go_on_in(copy, resume, now)
        if one is None:
            copy.close()
            return False
        self.losses.hand_on(first_id, one)
        return True

    def _part_of(self, finding: lost.Finding) -> str:
        """Return the tail that reads what was found first of a lost file; empty if none does."""
        tail_id = finding.lost.checkpoint.tail_id
        went_on = [one.went_on_in for one in self._went_on if one.checkpoint.tail_id == tail_id]
        return went_on[-1] if went_on else self._parts.get(tail_id, "")

    def _rest_of(
        self, finding: lost.Finding, first_id: str, now: float
    ) -> tracking.Start | tracking.Resume | None:
        """Return from where on a file holds what the first one does not; None: ask again."""
        first, row = self._tails.all.get(first_id), self._rows.get(first_id)
        seen, size = finding.decision.sightings, finding.size
        if first is not None and first.handle is not None:
            row = self._tails.guard(first, functools.partial(first.facts_below, size), now)
            if row is None:
                return None
        if row is None:
            return finding.decision
        found = self._opener.gather(tracking.Probe(seen[0], row))
        if found is None:
            return None
        if found.fingerprint_holds and row.offset in found.frontiers_held:
            return tracking.Resume(seen, row, row.offset, (), is_rolled_back=True)
        return finding.decision

    def reopen(self, room: int, now: float) -> None:
        """Read on in retired files that grew: nobody told their writer."""
        for resume in self._retired.look(self._is_ours):
            if room <= 0 or resume.checkpoint.tail_id not in self._rows:
                continue
            one = self._open(resume, now)
            if one is not None:
                room -= 1
                self._leave(one, resume.checkpoint.paths, now)

    def _leave(self, one: tail.Tail, paths: tuple[str, ...], now: float) -> None:
        """Note that an open file is an older generation of one that was followed at `paths`."""
        one.state, one.left, one.scans_unseen = "left", now, 2
        one.paths, one.base = paths, self._base_of(paths[0])
        one.is_changed = True

    def _spend_likeliest(self, one: tail.Tail) -> None:
        """Take a generation for what a file held that was truncated before a byte was read."""
        for old in self._tails.truncated.values():
            is_likely = old.position == 0 and old.seen_bytes == one.size
            if is_likely and not old.is_spent and old.paths == one.paths:
                self._spend(old.tail_id)
                return

    def _spend(self, tail_id: str) -> None:
        """Look for a lost file no more: its rest is read from elsewhere, or given up."""
        if tail_id in self._tails.all:
            one = self._tails.all[tail_id]
            one.is_spent = one.is_changed = True
            self._tails.end_truncated(one)
        elif tail_id in self._rows:
            self._rows.keep(dataclasses.replace(self._rows[tail_id], is_done=True))
            self.missing.pop(tail_id, None)

    def _give_up(self, now: float) -> None:
        """Look no more for what was not found for so long, and say which bytes are lost."""
        for one in list(self._tails.truncated.values()):
            if not one.is_spent and now - one.left >= self._rotate_wait_s:
                self.losses.abandon(one.paths, one.position, one.lost_bytes, one.tail_id)
                self._spend(one.tail_id)
        for tail_id, missing in list(self.missing.items()):
            row = self._rows.get(tail_id)  # none if it was found in this scan
            if row is not None and now - missing.since >= missing.wait_s:
                self.losses.abandon_row(row)
                self._spend(tail_id)

    def _look_for_copies(self, now: float) -> bool:
        """Let what was truncated go on in new files; return whether each could be looked at."""
        is_clean = not self._opener.is_awaited  # nothing is given up that an archive may hold
        if self._tails.truncated or self.missing:
            # Nothing is given up by sizes that were seen before.
            self._tails.wake_grown(now, is_all=True)
        found: list[tuple[tail.Tail, tracking.Resume]] = []
        for one in list(self._tails.busy.values()):
            if one.position or one.is_known or one.handle is None:
                continue
            if not (one.size or self._tails.guard(one, functools.partial(one.poll, now), now)):
                continue
            if one.asked != (one.size, self._tails.upheavals):
                answer = self._ask(one, now)
                is_clean = is_clean and answer is not None
                decision = None if answer is None else answer.decision
                if isinstance(decision, tracking.Resume) and not self._may_grow(
                    one, decision, now
                ):
                    found.append((one, decision))
            # The search leaves an archive out while it is open.
            is_clean = is_clean and not (one.is_packed or one.tail_id in self._growing)
        # The longest first: a shorter one may be a copy of that, just being made.
        sources: set[str] = set()
        for one, decision in sorted(found, key=lambda item: -item[0].size):
            if decision.checkpoint.tail_id not in sources:
                sources.add(decision.checkpoint.tail_id)
                self._go_on_in(one, decision, now)
        return is_clean

    def may_read(self, one: tail.Tail, now: float) -> bool:
        """Return whether a file of which nothing was read is no copy; decide if it is one."""
        if one.is_known:
            return True
        is_asked = one.asked == (one.size, self._tails.upheavals)
        if is_asked and now - one.held < ASK_AGAIN_S:
            return False
        answer = self._ask(one, now)
        if answer is None:
            self.goes_on = self.goes_on or self._copies.is_pending
            return False
        decision = answer.decision
        if isinstance(decision, tracking.Resume) and not self._may_grow(one, decision, now):
            self._go_on_in(one, decision, now)
            return False
        if isinstance(decision, tracking.Resume) or (
            isinstance(decision, tracking.Hold) and not self._is_hold_over(one, decision, now)
        ):
            one.held = now
            return False
        if self._tails.guard(one, one.is_blank, now):
            return True  # to wait for what is behind them; it is asked again then
        one.is_known = True
        for tail_id in answer.alike:
            source = self._tails.all[tail_id]
            self.losses.note_short(one, self.losses.seen_of(source.row), source.row)
            self._note_went_on(lost.LostFile(source.facts(), source.known_end), one)
            self._spend(tail_id)
        if one.is_packed and one.state == "followed" and not self._reads_compressed:
            self.ignore_compressed(self.seen_at.of([one.identity]) or one.sightings())
            self._tails.give_back(one)
            return False
        return True

    def _ask(self, one: tail.Tail, now: float) -> copies.Answer | None:
        if self._tails.guard(one, functools.partial(one.poll, now), now) is None:
            return None
        while True:
            try:
                answer = self._tails.guard(
                    one, lambda: self._copies.ask(one, self._rows, self._where), now
                )
            except copies.SourceTruncatedError as error:
                self._tails.truncate(error.source, now)
                if error.source.state != "truncated":
                    return None  # it cannot be read now
            else:
                if answer is not None:
                    one.asked = (one.size, self._tails.upheavals)
                return answer

    def _may_grow(self, one: tail.Tail, decision: tracking.Resume, now: float) -> bool:
        """Return whether a copy that is shorter than its source was may be one being made."""
        is_short = one.size < self.losses.seen_of(decision.checkpoint)
        may_grow = is_short and now - one.grown < copies.HOLD_S
        (self._growing.add if may_grow else self._growing.discard)(one.tail_id)
        return may_grow

    def _is_hold_over(self, one: tail.Tail, hold: tracking.Hold, now: float) -> bool:
        """Return whether what may be a copy under way stood still for too long."""
        sources = [
            self._tails.all[tail_id] for tail_id in hold.sources if tail_id in self._tails.all
        ]
        if any(source.state == "left" for source in sources):
            return False  # when such a source is retired, there is an answer
        return now - one.grown >= copies.HOLD_S

    def _go_on_in(
        self, copy: tail.Tail, decision: tracking.Resume, now: float
    ) -> tail.Tail | None:
        """Let the source of a copy go on in it; None if the copy cannot be read now."""
        row = decision.checkpoint
        live = self._tails.all.get(row.tail_id)
        source, seen_bytes = lost.LostFile(row), self.losses.seen_of(row)
        if live is not None and not decision.is_rolled_back:
            source = dataclasses.replace(source, known_end=live.known_end)
            live.move_to(copy)
            one = live
            del self._tails.truncated[one.tail_id]
        else:
            try:
                one = self._opener.go_on(copy, decision, now)
            except (OSError, proven.TruncatedError):
                return None
            one.is_durable = not decision.is_rolled_back
            one.is_known = True
            if not decision.is_rolled_back:
                self._rows.take(row.tail_id)
                self.missing.pop(row.tail_id, None)
        if copy.tail_id in self._tails.all:
            self._tails.drop(copy)
        self._rows.forget(copy.tail_id)
        self._tails.add(one)
        self._copies.note(one)
        if not decision.is_rolled_back:
            self._note_went_on(source, one)
            self.losses.note_short(one, seen_bytes, row)
        self._tails.say(
            logging.INFO, "copy found", one, f"position={one.position} size={one.size}"
        )
        return one

    def _is_there(self, row: model.Checkpoint) -> bool:
        """Return whether the file of a checkpoint is where it was, and only not open."""
        return (
            row.identity in self.seen
            and not row.was_unlinked
            and row.identity not in self._tails.by_identity
        )

    def _where(self, row: model.Checkpoint) -> copies.Whereabouts:
        """Return what became of the file of a checkpoint.

        One that no scan sees may only have a name that the patterns do not match.
        """
        if self._retired.is_there(row.identity):
            return "ended"
        if self._is_there(row):
            return "there"
        missing = self.missing.get(row.tail_id)
        is_sought = self.is_scanned if missing is None else missing.is_sought
        return "gone" if row.is_done or row.was_unlinked or is_sought else "sought"

    def _is_ours(self, identity: model.FileIdentity) -> bool:
        """Return whether a file is open, or is read as the flow's patterns match its path."""
        is_seen = identity in self.seen and not self._resting.is_left_out(identity)
        return is_seen or identity in self._tails.by_identity

    def ignore_compressed(self, sightings: Sequence[model.Sighting]) -> None:
        """Leave a compressed file alone until it changes: it continues nothing."""
        self._resting.ignore(sightings)
        self._faults.report(
            sightings[0].path,
            "is compressed, and continues no file that is known; hint: read_compressed: true, "
            "or leave it out with exclude",
        )

    def is_unwanted(self, sightings: Sequence[model.Sighting]) -> bool:
        """Return whether a new file is compressed, and certainly nobody's rest."""
        if self._reads_compressed or not self._opener.is_compressed(sightings[0]):
            return False
        unpacked = self._opener.unpacked(sightings[0])
        if unpacked is None:
            return True
        paths = tuple(one.path for one in sightings)
        return not self._copies.may_continue(unpacked, paths, self._rows)

    def doubt(self, row: model.Checkpoint, one: tail.Tail) -> None:
        """Note that a file goes on which may be another one than it was.

        Inodes are given again, and files begin alike. One that has another name, or is shorter,
        may be another file, even if it holds all that was shipped: others are looked for that
        continue the old one, too, or of less than a whole fingerprint its younger generations.
        It stays as old as it was until they were: the next life looks if this one ends before.
        """
        is_renamed = not set(one.paths) & set(row.paths)
        is_short = row.offset < model.FINGERPRINT_BYTES_MAX
        if one.file.is_unproven or (is_short and (is_renamed or one.size < row.size)):
            one.mtime_saved = row.mtime_ns if one.tail_id == row.tail_id else None
            self._unproven.append(lost.LostFile(row, is_open=True))
            return
        if is_renamed:
            self._note_went_on(lost.LostFile(row), one)
        self.losses.note_short(one, row.size, row)

    def note_read(self, one: tail.Tail) -> None:
        """Take in a tail of which something was read."""
        self._copies.note(one)


def _is_part(finding: lost.Finding) -> bool:
    """Return whether what was found ends before its source did."""
    decision = finding.decision
    return finding.is_its and isinstance(decision, tracking.Resume) and decision.is_rolled_back
