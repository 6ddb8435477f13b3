"""When a file ends: its last line, and the moments at which it is closed.

    ending     it was left, and no byte came for `rotate_wait` (10 s when unlinked): the last line
               is read, terminated or not
    retired    it ended, and all of it is shipped and saved: closed, its row stays
    let go     deleted files hold more than `unlinked_max`, or the disk is full: the largest are
               closed before their end, which is said
    inactive   more files are open than there is room for: shipped ones are closed, and opened
               again when they change

Nothing here reads a line; what it decides about the last one, `Turns.read` does.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterable

from kagent import discovery, kept, model, resting, retired, tail, tails

UNLINKED_WAIT_S = 10.0
DISK_FREE_MIN = 0.05


class Endings:
    """Closes the files of one flow; owned by its roster."""

    def __init__(
        self,
        source: discovery.SourceOptions,
        files: model.Files,
        clock: model.Clock,
        tails_: tails.Tails,
        rows: kept.Rows,
        resting_: resting.Resting,
        retired_: retired.Retired,
    ) -> None:
        """Close nothing yet."""
        self._rotate_wait_s = source.rotate_wait
        self._final_line_s = source.final_line
        self._quiet_s = source.multiline.timeout if source.multiline else None
        self._close_inactive_s = source.close_inactive
        self._unlinked_max = source.unlinked_max
        self._files = files
        self._clock = clock
        self._tails = tails_
        self._rows = rows
        self._resting = resting_
        self._retired = retired_

    def is_ending(self, one: tail.Tail, now: float) -> bool:
        """The last line is to be read, terminated or not; no byte came up to this moment."""
        if one.is_finished or not self._is_silent(one, now):
            return False
        size = self._tails.guard(one, functools.partial(one.poll, now), now)
        return size is not None and self._is_silent(one, now)

    def is_overdue(self, one: tail.Tail, now: float) -> bool:
        """The last line waited for its end as long as `final_line` says."""
        return one.unread_bytes > 0 and self._has_not_grown(one, self._final_line_s, now)

    def is_quiet(self, one: tail.Tail, now: float) -> bool:
        """The last record waited for more lines as long as `multiline.timeout` says."""
        return one.is_growing and self._has_not_grown(one, self._quiet_s, now)

    def _has_not_grown(self, one: tail.Tail, wait_s: float | None, now: float) -> bool:
        """No byte came for so long, up to this moment; never if it is None."""
        if wait_s is None or one.handle is None or now - one.grown < wait_s:
            return False
        size = self._tails.guard(one, functools.partial(one.poll, now), now)
        return size is not None and now - one.grown >= wait_s

    def _is_silent(self, one: tail.Tail, now: float) -> bool:
        """Nobody is expected to write to a file that was left; what is closed has no end here."""
        if one.handle is None:
            return False
        if one.is_packed:
            return True
        wait_s = UNLINKED_WAIT_S if one.is_unlinked else self._rotate_wait_s
        return one.state == "left" and now - max(one.grown, one.left) >= wait_s

    def retire(self, one: tail.Tail, now: float) -> None:
        """Close a file of which everything is shipped and saved; its row stays."""
        if one.handle is None:
            return
        status = self._tails.guard(one, one.file.status, now)
        if status is None:
            return
        one.is_unlinked = status.links == 0
        is_done = one.is_finished and one.unread_bytes == 0 and one.ledger.is_settled
        if not (is_done and one.is_durable and not one.is_changed and self._is_silent(one, now)):
            return
        if one.tail_id in self._tails.saved_in:
            return
        one.size_saved = 0
        row = self._tails.guard(one, functools.partial(one.checkpoint, now), now)
        if row is None:
            return
        one.close()
        self._tails.drop(one)
        self._rows.keep(dataclasses.replace(row, is_done=True))
        if not (one.is_unlinked or one.is_packed) and one.size == row.offset:
            self._retired.note(self._rows[one.tail_id])
        self._tails.upheavals += 1
        self._tails.say(logging.INFO, "file retired", one, f"offset={row.offset}")

    def bound_unlinked(self, now: float) -> None:
        """Close deleted files that hold too much of the disk, the largest first."""
        held = [
            one
            for one in self._tails.busy.values()
            if one.state == "left" and one.is_unlinked and one.handle is not None
        ]
        excess = sum(one.size for one in held) - self._unlinked_max
        for one in sorted(held, key=lambda one: -one.size):
            handle = one.handle
            assert handle is not None
            free = self._tails.guard(one, functools.partial(self._files.free_share, handle), now)
            if excess <= 0 and (free is None or free >= DISK_FREE_MIN):
                return
            excess -= one.size
            self._let_go(one, now)

    def _let_go(self, one: tail.Tail, now: float) -> None:
        """Close a deleted file before its end; what was not read is looked for in its copies."""
        # All of it is said: what was written since, and what stands in the place of what was read.
        self._tails.guard(one, functools.partial(one.poll, now), now)
        if one.handle is not None and not one.is_packed:
            self._tails.guard(one, one.verify, now)
        if one.handle is None:
            return
        self._tails.say(
            logging.ERROR,
            "file closed",
            one,
            f"offset={one.position} bytes_not_read={one.unread_bytes}; it was deleted, and such "
            "files hold more than unlinked_max, or less than 5 % of the disk are free",
        )
        one.let_go(now)
        self._tails.by_identity.pop(one.identity, None)
        self._tails.truncated[one.tail_id] = one
        self._tails.upheavals += 1

    def close_inactive(self, now: float, files_max: int) -> None:
        """Close files that nobody has written to for long, when very many are open."""
        now_s = self._clock.time()
        inactive = [
            one
            for one in self._tails.all.values()
            if now - one.grown >= self._close_inactive_s
            or (not one.has_grown and now_s - one.file.mtime_ns / 1e9 >= self._close_inactive_s)
        ]
        self._close(inactive, len(self._tails.all) - files_max)

    def close_shipped(self, count: int) -> int:
        """Close files for others that wait, the longest silent first; return how many."""
        return self._close(self._tails.all.values(), count)

    def _close(self, candidates: Iterable[tail.Tail], count: int) -> int:
        """Close up to so many files of which everything is shipped and saved."""
        now = self._clock.monotonic()
        closable = [
            one
            for one in candidates
            if one.is_at_rest
            and one.size == one.position
            and one.tail_id not in self._tails.saved_in
        ]
        closed = 0
        for one in sorted(closable, key=lambda one: one.grown)[:count]:
            if one.handle is None:
                continue
            size = self._tails.guard(one, functools.partial(one.poll, now), now)
            if size != one.position:
                if size is not None:
                    self._tails.wake(one)  # it is not asked again for what is known by now
                continue
            row = self._tails.guard(one, functools.partial(one.checkpoint, now), now)
            if row is not None:
                one.close()
                self._tails.drop(one)
                self._rows.keep(row, is_changed=False)
                self._resting.close(one.tail_id)
                closed += 1
        return closed
