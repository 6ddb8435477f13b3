"""Whose turn it is to be read: all files of one flow that have bytes, one block at a time.

A file that grew lately is asked for its size each 0.25 s, any other each second. What it may not
be read for yet: its row is not durable, it may be a copy (`newcomers`), an older generation comes
first.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterable

from kagent import endings, model, opening, recovery, room, split, tail, tails

HOT_POLL_S = 0.25
POLL_S = 1.0


class Turns:
    """Reads the files of one flow in turn; owned by its roster."""

    def __init__(
        self,
        clock: model.Clock,
        opener: opening.Opener,
        tails_: tails.Tails,
        endings_: endings.Endings,
        room_: room.Room,
        recovery_: recovery.Recovery,
    ) -> None:
        """Have read nothing yet."""
        self.goes_on = False  # what takes several reads is not at its end yet
        self._polled = self._polled_hot = float("-inf")
        self._clock = clock
        self._opener = opener
        self._tails = tails_
        self._endings = endings_
        self._room = room_
        self._recovery = recovery_
        self._newcomers = recovery_.newcomers

    def poll(self) -> None:
        """Look at the sizes of open files that are due to be looked at, and retire the done."""
        now = self._clock.monotonic()
        self.goes_on = False
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
        if is_all and len(self._tails.all) > self._room.open_files_max:
            self._endings.close_inactive(now, self._room.open_files_max)

    def read(self, credit_bytes: int) -> split.Split | None:
        """Read and split a block of the next file that has one; None if none has.

        Args:
            credit_bytes: What the records may cost in memory.
        """
        now = self._clock.monotonic()
        self.goes_on = self._opener.is_verifying
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
                self.goes_on = self.goes_on or self._newcomers.is_pending
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
                self.goes_on = True
            if is_final and one.unread_bytes == 0:
                one.is_finished = True
            if result is not None:
                return result
        return None

    def settle(self, chunks: Iterable[model.Chunk]) -> None:
        """Note that the fate of the bytes of chunks is final."""
        for tail_id, its in itertools.groupby(chunks, key=operator.attrgetter("tail_id")):
            one = self._tails.all[tail_id]
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
        if self.goes_on:
            return now
        return due if is_hot else max(due, self._polled + POLL_S)

    def _is_in_line(self, one: tail.Tail) -> bool:
        """An older generation is to be read first."""
        older = self._tails.all.get(one.after)
        if older is None or older.handle is None or older.is_exhausted:
            one.after = ""
        return one.after != ""


def _told(read: Callable[[], split.Split | None]) -> tuple[split.Split | None]:
    """Return what a read returns, so that nothing read is told from a fault."""
    return (read(),)
