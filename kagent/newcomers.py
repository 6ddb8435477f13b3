"""What new files are: nothing of one is read before it is known that it is no copy.

Asks `copies` what a file is of which nothing was read yet, at each scan and before its first byte,
and lets its source go on in it. A copy under way is held until its source stands still.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from kagent import (
    copies,
    kept,
    losses,
    lost,
    missing,
    model,
    opening,
    resting,
    succession,
    tail,
    tails,
    tracking,
)

ASK_AGAIN_S = 1.0  # what is held is asked again after so long


class Newcomers:
    """The files of one flow of which nothing was read yet; owned by its recovery."""

    def __init__(
        self,
        opener: opening.Opener,
        faults: opening.Faults,
        tails_: tails.Tails,
        rows: kept.Rows,
        resting_: resting.Resting,
        missing_: missing.Missing,
        copies_: copies.Copies,
        losses_: losses.Losses,
        succession_: succession.Succession,
        *,
        reads_compressed: bool,
    ) -> None:
        """Know of none yet."""
        self.is_pending = False  # what a file is takes more than one read to be found out
        self._growing: set[str] = set()  # tails of copies that may be being made
        # By tail_id: since when a file is held by sources that cannot be looked at.
        self._blind: dict[str, float] = {}
        self._opener = opener
        self._faults = faults
        self._tails = tails_
        self._rows = rows
        self._resting = resting_
        self._missing = missing_
        self._copies = copies_
        self._losses = losses_
        self._succession = succession_
        self._reads_compressed = reads_compressed

    def look(self, now: float) -> bool:
        """Let what was truncated go on in new files; return whether each could be looked at."""
        is_clean = not self._opener.is_awaited  # nothing is given up that an archive may hold
        self._growing &= self._tails.busy.keys()
        self._blind = {key: self._blind[key] for key in self._blind.keys() & self._tails.busy}
        if self._tails.truncated or self._missing.all:
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
                self._succession.go_on_in(one, decision, now)
        return is_clean

    def may_read(self, one: tail.Tail, now: float) -> bool:
        """Return whether a file of which nothing was read is no copy; decide if it is one."""
        self.is_pending = False
        if one.is_known:
            return True
        is_asked = one.asked == (one.size, self._tails.upheavals)
        if is_asked and now - one.held < ASK_AGAIN_S:
            return False
        answer = self._ask(one, now)
        if answer is None:
            self.is_pending = self._copies.is_pending
            return False
        decision = answer.decision
        if answer.is_blind:
            self._blind.setdefault(one.tail_id, now)
        else:
            self._blind.pop(one.tail_id, None)
        if isinstance(decision, tracking.Resume) and not self._may_grow(one, decision, now):
            self._succession.go_on_in(one, decision, now)
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
            self._losses.note_short(one, self._losses.seen_of(source.row), source.row)
            self._succession.note_went_on(lost.LostFile(source.facts(), source.known_end), one)
            self._succession.spend(tail_id)
        if one.is_packed and not (one.is_generation or self._reads_compressed):
            self.ignore_compressed(self._missing.seen_at.of([one.identity]) or one.sightings())
            self._tails.give_back(one)
            return False
        return True

    def _ask(self, one: tail.Tail, now: float) -> copies.Answer | None:
        if self._tails.guard(one, functools.partial(one.poll, now), now) is None:
            return None
        while True:
            try:
                answer = self._tails.guard(
                    one, lambda: self._copies.ask(one, self._rows, self._missing.where), now
                )
            except copies.SourceTruncatedError as error:
                self._tails.truncate(error.source, now)
                if error.source.state != "truncated":
                    return None  # it cannot be read now
            else:
                if answer is not None:
                    one.asked = (one.size, self._tails.upheavals)
                    held_bytes, one.held_bytes = one.held_bytes, self._length_of_source(answer)
                    one.is_changed |= held_bytes != one.held_bytes
                return answer

    def _length_of_source(self, answer: copies.Answer) -> int:
        """Return how long the longest file is that a new one may be a copy of; 0: of none."""
        decision = answer.decision
        if decision is None or answer.is_blind:
            return 0
        if isinstance(decision, tracking.Resume):
            return self._losses.seen_of(decision.checkpoint)
        rows, tails_ = self._rows, self._tails.all
        return max(
            tails_[one].seen_bytes if one in tails_ else rows[one].size for one in decision.sources
        )

    def _may_grow(self, one: tail.Tail, decision: tracking.Resume, now: float) -> bool:
        """Return whether a copy that is shorter than its source was may be one being made."""
        is_short = one.size < self._losses.seen_of(decision.checkpoint)
        may_grow = is_short and now - one.grown < copies.HOLD_S
        (self._growing.add if may_grow else self._growing.discard)(one.tail_id)
        return may_grow

    def _is_hold_over(self, one: tail.Tail, hold: tracking.Hold, now: float) -> bool:
        """Return whether what may be a copy under way stood still for too long.

        It may grow for ever while nobody can say what its source holds: that is waited for as
        long, and then it is in doubt a duplicate.
        """
        if one.tail_id in self._blind:
            return now - min(one.grown, self._blind[one.tail_id]) >= copies.HOLD_S
        sources = [
            self._tails.all[tail_id] for tail_id in hold.sources if tail_id in self._tails.all
        ]
        if any(source.state == "left" for source in sources):
            return False  # when such a source is retired, there is an answer
        return now - one.grown >= copies.HOLD_S

    def is_unwanted(self, sightings: Sequence[model.Sighting]) -> bool:
        """Return whether a new file is compressed, and certainly nobody's rest."""
        if self._reads_compressed or not self._opener.is_compressed(sightings[0]):
            return False
        unpacked = self._opener.unpacked(sightings[0])
        if unpacked is None:  # of no use as it is, or not to be read now: then it is asked again
            return self._opener.fault_of(sightings[0]) != ""
        paths = tuple(one.path for one in sightings)
        return not self._copies.may_continue(unpacked, paths, self._rows)

    def ignore_compressed(self, sightings: Sequence[model.Sighting]) -> None:
        """Leave a compressed file alone until it changes: it continues nothing or is of no use."""
        self._resting.ignore(sightings)
        if self._opener.fault_of(sightings[0]):
            return  # that was said
        self._faults.report(
            sightings[0].path,
            "is compressed, and continues no file that is known; hint: read_compressed: true, "
            "or leave it out with exclude",
        )
