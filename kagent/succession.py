"""How a file goes on in another one: a copy of it, an older generation, an archive.

What was read of a file is not read again in what continues it: the tail moves to the copy, or a
new one begins at the row's offset. Several files may continue one; each is read on in that holds
something else. Decides nothing by itself: `recovery` and `newcomers` say what continues what.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Collection

from kagent import (
    copies,
    generations,
    kept,
    losses,
    lost,
    missing,
    opening,
    options,
    proven,
    tail,
    tails,
    tracking,
)

SEEN_WITHIN_S = 60.0  # a checkpoint's file was last looked at so shortly before it was saved

Open = Callable[[tracking.Start | tracking.Resume, float], tail.Tail | None]


class Succession:
    """Lets one flow's files go on in others; owned by its recovery."""

    def __init__(
        self,
        opener: opening.Opener,
        tails_: tails.Tails,
        rows: kept.Rows,
        missing_: missing.Missing,
        copies_: copies.Copies,
        losses_: losses.Losses,
        base_of: Callable[[str], str],
        open_: Open,
    ) -> None:
        """Have let none go on yet; `open_` opens a file and takes its tail in."""
        # Found in new files: what was rotated after them may be compressed, and is read as well.
        self.followed: list[lost.LostFile] = []
        self.went_on: list[lost.LostFile] = []  # in a copy: another one may be the right one
        self.named: set[str] = set()  # checkpoints that seem to be those of generations found
        self._unnamed: list[tail.Tail] = []  # generations that no checkpoint is known to be of
        self._parts: dict[str, str] = {}  # by tail_id: the tail of a copy that ended before it did
        self._opener = opener
        self._tails = tails_
        self._rows = rows
        self._missing = missing_
        self._copies = copies_
        self._losses = losses_
        self._base_of = base_of
        self._open = open_

    def forget_parts(self, lost_ids: Collection[str]) -> None:
        """Forget in which copies files go on that are not looked for any more."""
        self._parts = {one: part for one, part in self._parts.items() if one in lost_ids}

    def forget_read(self) -> None:
        """Look no more for the rest of files that were only renamed away, and are read by now."""
        self.went_on = [
            one for one in self.went_on if not one.is_read or one.went_on_in in self._tails.all
        ]

    def take_in(self, finding: lost.Finding, now: float) -> tail.Tail | None:
        """Read on in what a search found; None if it is not as it was seen any more."""
        one = self._begin(finding, now)
        if one is not None and is_part(finding):
            self._parts[finding.lost.checkpoint.tail_id] = one.tail_id
        return one

    def _begin(self, finding: lost.Finding, now: float) -> tail.Tail | None:
        source, decision = finding.lost.checkpoint, finding.decision
        if source.tail_id in self._tails.all and isinstance(decision, tracking.Resume):
            start = tracking.Start(decision.sightings, is_first_scan=False)
            copy = self._opener.open(start, now)
            if copy is None:
                return None
            self.leave(copy, source.paths, now)
            found = self.go_on_in(copy, decision, now)
            if found is None:
                copy.close()
            return found
        seen_bytes = self._losses.seen_of(source)
        one = self._open(decision, now)
        if one is None:
            return None
        where = options.printable(decision.sightings[0].path)
        self.leave(one, source.paths, now)
        self._tails.say(
            logging.INFO, "generation found", one, f"at={where} position={one.position}"
        )
        if not finding.is_its:
            self._unnamed.append(one)
            return one
        if not is_part(finding):
            self._losses.note_short(one, seen_bytes, source)
        if isinstance(decision, tracking.Start):
            one.is_known = True
            self.spend(source.tail_id)
        self.note_went_on(finding.lost, one)
        self.followed.append(lost.LostFile(source, is_open=True))
        return one

    def take_in_other(self, finding: lost.Finding, now: float) -> bool:
        """Read on in one more file that continues a lost one; return whether all is read of it."""
        seen, first_id = finding.decision.sightings, self.part_of(finding)
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
        self.leave(copy, finding.lost.checkpoint.paths, now)
        copy.is_known = True
        one: tail.Tail | None = copy
        if isinstance(rest, tracking.Start):
            self._tails.add(copy)
            self._tails.say(logging.INFO, "copy found", copy, f"position=0 size={copy.size}")
        else:
            # Its row may say no more than that what is settled is settled.
            offset = min(rest.offset, rest.offset if first is None else first.ledger.low)
            resume = dataclasses.replace(rest, offset=offset, ranges=(), is_rolled_back=True)
            one = self.go_on_in(copy, resume, now)
        if one is None:
            copy.close()
            return False
        self._losses.hand_on(first_id, one)
        return True

    def go_on_in(self, copy: tail.Tail, decision: tracking.Resume, now: float) -> tail.Tail | None:
        """Let the source of a copy go on in it; None if the copy cannot be read now."""
        row = decision.checkpoint
        live = self._tails.all.get(row.tail_id)
        source, seen_bytes = lost.LostFile(row), self._losses.seen_of(row)
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
                self._missing.all.pop(row.tail_id, None)
                self.followed.append(lost.LostFile(row, is_open=True))
        if copy.tail_id in self._tails.all:
            self._tails.drop(copy)
        self._rows.forget(copy.tail_id)
        self._tails.add(one)
        self._copies.note(one)
        if not decision.is_rolled_back:
            self.note_went_on(source, one)
            self._losses.note_short(one, seen_bytes, row)
        self._tails.say(
            logging.INFO, "copy found", one, f"position={one.position} size={one.size}"
        )
        return one

    def note_went_on(self, source: lost.LostFile, one: tail.Tail) -> None:
        """Note that the rest of a file is read as a tail; others may hold it as well.

        A copy that was given up, and that somebody wrote on in, continues the file as well as the
        right one does. So each is read that holds something else: in doubt a duplicate.
        """
        noted = dataclasses.replace(source, went_on_in=one.tail_id)
        if noted not in self.went_on:
            self.went_on.append(noted)

    def leave(self, one: tail.Tail, paths: tuple[str, ...], now: float) -> None:
        """Note that an open file is an older generation of one that was followed at `paths`."""
        one.state, one.left, one.scans_unseen, one.is_generation = "left", now, 2, True
        one.paths, one.base = paths, self._base_of(paths[0])
        one.is_changed = True

    def spend(self, tail_id: str) -> None:
        """Look for a lost file no more: its rest is read from elsewhere, or given up."""
        if tail_id in self._tails.all:
            one = self._tails.all[tail_id]
            one.is_spent = one.is_changed = True
            self._tails.end_truncated(one)
        elif tail_id in self._rows:
            self._rows.keep(dataclasses.replace(self._rows[tail_id], is_done=True))
            self._missing.all.pop(tail_id, None)

    def name_untouched(self) -> None:
        """Guess whose the generations are of which no checkpoint says it, once all are found.

        Those of which nothing was ever shipped: only length and time tell which is which. A guess
        is no reason to look no more, only to say no more of it in the end.
        """
        self.named &= self._missing.all.keys()
        rows = [self._rows[tail_id] for tail_id in self._missing.all if tail_id in self._rows]
        rows = [one for one in rows if one.offset == one.start == 0 and not one.ranges]
        for one in self._unnamed:
            if self._spend_truncated(one):
                continue
            stems = set(map(generations.stem, one.paths))
            ages = {
                abs(one.file.mtime_ns - row.mtime_ns): row
                for row in rows
                if row.size == one.size and not stems.isdisjoint(map(generations.stem, row.paths))
            }
            if min(ages, default=math.inf) <= SEEN_WITHIN_S * 1e9:
                row = ages[min(ages)]
                rows.remove(row)
                self.named.add(row.tail_id)
        self._unnamed.clear()

    def _spend_truncated(self, one: tail.Tail) -> bool:
        """Take a generation for what a file held that was truncated before a byte was read."""
        for old in self._tails.truncated.values():
            is_likely = old.position == 0 and old.seen_bytes == one.size
            if is_likely and not old.is_spent and old.paths == one.paths:
                self.spend(old.tail_id)
                return True
        return False

    def part_of(self, finding: lost.Finding) -> str:
        """Return the tail that reads what was found first of a lost file; empty if none does."""
        tail_id = finding.lost.checkpoint.tail_id
        went_on = [one.went_on_in for one in self.went_on if one.checkpoint.tail_id == tail_id]
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


def is_part(finding: lost.Finding) -> bool:
    """Return whether what was found ends before its source did."""
    decision = finding.decision
    return finding.is_its and isinstance(decision, tracking.Resume) and decision.is_rolled_back
