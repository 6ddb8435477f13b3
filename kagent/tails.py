"""The open files of one flow, and those that were truncated: one tail for each of them.

Law: of each file that is open there is one tail, found by tail_id and by identity. Whoever does
something to a tail wakes it: a tail that is not *busy* is at the end of its file, with all of it
settled and saved, and has nothing to do until its size or a sighting changes. Whatever is done
with a file goes through `guard`: a fault of it is its own, a truncation begins a new tail.
"""

from __future__ import annotations

import collections
import functools
import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from kagent import idle, kept, logs, model, opening, options, proven, tail

FORMER_PATHS_MAX = 8  # a copy or an archive may have been made under each
HOT_FOR_S = 10.0  # a file that grew within so long is looked at more often

_T = TypeVar("_T")


class Tails:
    """Every tail of one flow; owned by its roster."""

    def __init__(
        self,
        flow: str,
        final_line_s: float | None,
        files: model.Files,
        opener: opening.Opener,
        faults: opening.Faults,
        rows: kept.Rows,
    ) -> None:
        """Have none."""
        self.all: dict[str, tail.Tail] = {}
        self.by_identity: dict[model.FileIdentity, tail.Tail] = {}  # but for truncated ones
        self.truncated: dict[str, tail.Tail] = {}
        # Every tail that may have something to do, the one whose turn it is to be read first.
        self.busy: collections.OrderedDict[str, tail.Tail] = collections.OrderedDict()
        # Files of which the last scan did not say all: the next one looks at them again.
        self.undecided: dict[model.FileIdentity, None] = {}
        self.saved_in: dict[str, int] = {}  # by tail_id: the snapshot that made it durable
        self.upheavals = 0  # files that were truncated or let go: what is a copy may differ since
        self._flow = flow
        self._final_line_s = final_line_s
        self._files = files
        self._opener = opener
        self._faults = faults
        self._rows = rows
        self._idle = idle.Idle(flow, files)  # all that are not busy

    def clear(self) -> None:
        """Have none any more."""
        self.all.clear()
        self.truncated.clear()
        self.by_identity.clear()
        self.busy.clear()
        self._idle.close()

    def end_watches(self) -> None:
        """Let the kernel tell of no file any more."""
        self._idle.close()

    def add(self, one: tail.Tail) -> None:
        """Take in a tail of a file that is open."""
        self.all[one.tail_id] = one
        self.by_identity[one.identity] = one
        self.undecided[one.identity] = None  # it may have no path any more
        self.wake(one)

    def drop(self, one: tail.Tail) -> None:
        """Follow a tail no more; the next scan says what its file is, if it sees one."""
        self.undecided[one.identity] = None
        del self.all[one.tail_id]
        self.truncated.pop(one.tail_id, None)
        if self.by_identity.get(one.identity) is one:
            del self.by_identity[one.identity]
        self.busy.pop(one.tail_id, None)
        self._idle.forget(one)

    def wake(self, one: tail.Tail) -> None:
        """Note that a tail may have something to do."""
        if one.tail_id not in self.busy:
            self.busy[one.tail_id] = one
            self._idle.remove(one)

    def wake_grown(self, now: float, *, is_all: bool = False) -> None:
        """Wake the tails whose files have another size than they had; see `Idle.grown`."""
        try:
            grown = self._idle.grown(now, is_all=is_all)
        except OSError:  # of one of them: each is asked by itself, and its fault is its own
            grown = [one for one in list(self._idle) if self._has_grown(one, now)]
        for one in grown:
            if one.tail_id in self.all:
                self.wake(one)

    def _has_grown(self, one: tail.Tail, now: float) -> bool:
        """Ask one file for its size; return whether it has another one, or a fault."""
        before = one.size
        return self.guard(one, functools.partial(one.poll, now), now) != before

    def note_seen(self, one: tail.Tail, seen: tuple[model.Sighting, ...], now: float) -> None:
        """Take in where a scan saw the file of a tail."""
        paths = tuple(sorted(sighting.path for sighting in seen))
        if paths != one.paths or one.scans_unseen or seen[0].mtime_ns != one.file.mtime_ns:
            self.wake(one)
        if paths != one.paths:
            was = options.printable(one.paths[0])
            former = dict.fromkeys(one.paths + one.former_paths)
            one.former_paths = tuple(former)[:FORMER_PATHS_MAX]
            one.paths, one.base = paths, seen[0].base
            one.is_changed = True
            self.say(logging.INFO, "file renamed", one, f"was={was}")
        one.scans_unseen = 0
        if one.state == "left":
            one.state, one.is_finished = "followed", False
        self.guard(one, functools.partial(one.note_sighting, seen[0]), now)

    def note_unseen(self, one: tail.Tail, now: float) -> bool:
        """Take in that a scan saw it nowhere; return whether it was left by that, the second."""
        self.wake(one)
        one.scans_unseen += 1
        if one.state != "followed" or one.scans_unseen < 2 or one.handle is None:
            return False
        status = self.guard(one, one.file.status, now)
        if status is None:
            return False
        one.state, one.left = "left", now
        one.is_unlinked = status.links == 0
        one.is_changed = True
        how = "file unlinked" if one.is_unlinked else "file renamed away"
        self.say(logging.INFO, how, one, f"position={one.position} size={one.size}")
        return True

    def note_undecided(self, sightings: Iterable[model.Sighting], unseen: Iterable[str]) -> None:
        """Note which files the next scan has to look at again: those without a tail or a path."""
        for sighting in sightings:
            if sighting.identity not in self.by_identity:
                self.undecided[sighting.identity] = None
        for tail_id in unseen:
            if tail_id in self.all and self.all[tail_id].state == "followed":
                self.undecided[self.all[tail_id].identity] = None

    def rest(self, now: float) -> None:
        """Find out which tails have nothing to do any more."""
        for one in list(self.busy.values()):
            if (
                one.is_at_rest
                and not self.is_hot(one, now)
                and (one.unread_bytes == 0 or self._final_line_s is None)
                and one.tail_id not in self.saved_in
            ):
                del self.busy[one.tail_id]
                self._idle.add(one)

    def is_hot(self, one: tail.Tail, now: float) -> bool:
        """Return whether a file grew lately, and is likely to do so again."""
        return one.has_grown and now - one.grown < HOT_FOR_S

    def guard(self, one: tail.Tail, act: Callable[[], _T], now: float) -> _T | None:
        """Do something with a file; a fault of it is its own, a truncation begins a new tail."""
        try:
            return act()
        except proven.TruncatedError:
            self.truncate(one, now)
        except proven.CompressedError:
            self.give_back(one)  # the next scan opens it as what it is
        except OSError as error:
            self._faults.report(one.paths[0], f"cannot read: {error.strerror}")
        return None

    def truncate(self, old: tail.Tail, now: float) -> None:
        """Read a truncated file from 0 as a new tail; the old one lives until it is settled."""
        try:
            new = self._opener.restart(old, now)
        except OSError as error:
            self._faults.report(old.paths[0], f"cannot read: {error.strerror}")
            return
        new.state, new.left, new.is_unlinked = old.state, old.left, old.is_unlinked
        new.scans_unseen, new.is_known = old.scans_unseen, True
        old.note_truncated(now)
        self.say(
            logging.INFO,
            "file truncated",
            old,
            f"position={old.position} size={new.size} bytes_not_read={old.lost_bytes}",
        )
        self.upheavals += 1
        self.truncated[old.tail_id] = old
        self.wake(old)
        self.add(new)
        self.end_truncated(old)

    def end_truncated(self, one: tail.Tail) -> None:
        """Forget a truncated tail of which nothing is under way or looked for any more."""
        if one.state == "truncated" and one.is_spent and one.ledger.is_settled:
            self.drop(one)
            self._rows.forget(one.tail_id)

    def give_back(self, one: tail.Tail) -> None:
        """Close a file of which nothing was read; nobody needs its row."""
        one.close()
        self.drop(one)
        self._rows.forget(one.tail_id)

    def say(self, level: int, what: str, one: tail.Tail, more: str) -> None:
        """Log what happened to a file."""
        path = options.printable(one.paths[0])
        logs.of_flow(self._flow).log(level, "%s flow=%s path=%s %s", what, self._flow, path, more)
