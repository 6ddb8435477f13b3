"""The open files that have nothing to be done: which of them have another size now?

Each is asked for its size once a second. Of 10,000 files that is most of what an idle daemon
costs; so where there are many, the kernel is asked to tell once when one is written to:

    polled     asked at each look
    watched    the kernel tells of it; it is asked in each sweep all the same

Nothing but time hangs on what the kernel tells. A file is asked once more after its watch began,
so that nothing falls between. Where a sweep finds what is not told within a second either, as on
a network file system, the device's files are polled from then on; so is what the kernel refuses
to watch. Where it lost events, or has no watch left, all watches are given back and begun anew:
in the second case half as many, since the limit is the user's, and others need some.
"""

from __future__ import annotations

import errno
import itertools
import math
from collections.abc import Iterable, Iterator

from kagent import logs, model, options, tail

FILES_MIN = 1000  # fewer are polled: a user has 128 inotify instances, and others need some
SWEEP_S = 10.0
HEARD_S = 1.0  # what is not told within so long is not told at all
_WATCHES_MAX = 2000  # that are begun at one look: 12 us each


class Idle:
    """The idle tails of one flow; owned by its tails."""

    def __init__(self, flow: str, files: model.Files) -> None:
        """Have none."""
        self._flow = flow
        self._files = files
        self._polled: dict[str, tail.Tail] = {}
        self._watched: dict[str, tail.Tail] = {}
        self._unwatched: dict[str, tail.Tail] = {}  # of the polled ones: what may be watched
        self._asked: _Asked | None = None  # the polled ones; None when they are others now
        self._asked_watched: _Asked | None = None
        self._growth: model.Growth | None = None
        self._tokens: dict[str, int] = {}  # by tail_id: what is watched, busy by now perhaps
        self._tails: dict[int, tail.Tail] = {}  # by token
        self._suspects: dict[str, tuple[tail.Tail, float]] = {}  # grown, untold since
        self._deaf: set[int] = set()  # devices of which nothing is told
        self._watches_max = math.inf
        self._is_full = False  # nothing more is to be watched before the next sweep
        self._swept = 0.0
        self._said: set[str] = set()

    def __iter__(self) -> Iterator[tail.Tail]:
        return itertools.chain(self._polled.values(), self._watched.values())

    def add(self, one: tail.Tail) -> None:
        """Take in a tail that has nothing to do."""
        self._polled[one.tail_id] = one
        self._asked = None
        if one.identity.device not in self._deaf:
            self._unwatched[one.tail_id] = one

    def remove(self, one: tail.Tail) -> None:
        """Give a tail up that may have something to do; its file is watched on."""
        if self._watched.pop(one.tail_id, None) is not None:
            self._asked_watched = None
        if self._polled.pop(one.tail_id, None) is not None:
            self._asked = None
            self._unwatched.pop(one.tail_id, None)

    def forget(self, one: tail.Tail) -> None:
        """Give a tail up for good."""
        self.remove(one)
        self._suspects.pop(one.tail_id, None)
        self._end_watch(one)

    def close(self) -> None:
        """Have none any more."""
        self._end_watches()
        self._polled.clear()
        self._unwatched.clear()
        self._asked = None

    def grown(self, now: float, *, is_all: bool = False) -> list[tail.Tail]:
        """Return the tails whose files have another size than they had.

        Args:
            now: Monotonic time.
            is_all: Ask the watched ones, too.

        Raises:
            OSError: one could not be asked.
        """
        is_sweep = is_all or now - self._swept >= SWEEP_S
        if is_sweep:
            self._swept, self._is_full = now, False
        begun = self._watch()
        self._hear(now)
        if self._asked is None:
            self._asked = _Asked(self._polled.values())
        found = self._asked.differing(self._files)
        if is_sweep:
            if self._asked_watched is None:
                self._asked_watched = _Asked(self._watched.values())
            untold = self._asked_watched.differing(self._files)
            self._suspects |= {one.tail_id: (one, now) for one in untold}
            found += untold
        for one in begun:
            if one.tail_id in self._tokens:  # else it was told already, or all are begun anew
                self.remove(one)
                self._watched[one.tail_id] = one
                self._asked_watched = None
        return found

    def _watch(self) -> list[tail.Tail]:
        """Let the kernel watch more files; return which. They are asked once more after that."""
        if self._is_full or (self._growth is None and len(self._unwatched) < FILES_MIN):
            return []
        begun: list[tail.Tail] = []
        for one in list(itertools.islice(self._unwatched.values(), _WATCHES_MAX)):
            if len(self._tokens) >= self._watches_max:
                break
            try:
                self._growth = self._growth or self._files.growth()
                self._note_watch(one, self._growth)
            except PermissionError:
                del self._unwatched[one.tail_id]
            except OSError as error:
                self._is_full = True
                self._say(one, str(error.strerror))
                if error.errno == errno.ENOSPC:
                    if self._tokens:  # else none is left by others: it is tried again
                        self._watches_max = max(1, len(self._tokens) // 2)
                    self._end_watches()
                break
            else:
                begun.append(one)
        return begun

    def _note_watch(self, one: tail.Tail, growth: model.Growth) -> None:
        assert one.handle is not None
        token = growth.watch(one.handle)
        if self._tokens.get(one.tail_id) != token:
            self._end_watch(one)
        self._tokens[one.tail_id], self._tails[token] = token, one

    def _hear(self, now: float) -> None:
        """Let what was told, and what the kernel does not tell of, be polled."""
        told = [] if self._growth is None else self._growth.told()
        if told is None:  # it does not know what was written to
            self._end_watches()
            return
        for token in told:
            one = self._tails.pop(token, None)
            if one is not None:
                del self._tokens[one.tail_id]
                self._suspects.pop(one.tail_id, None)
                self._poll(one)
        for one, since in list(self._suspects.values()):
            if now - since >= HEARD_S:
                self._give_device_up(one)
                return

    def _poll(self, one: tail.Tail) -> None:
        """Poll what was watched, if it is idle still."""
        if self._watched.pop(one.tail_id, None) is not None:
            self._asked_watched = None
            self.add(one)

    def _give_device_up(self, deaf: tail.Tail) -> None:
        device = deaf.identity.device
        self._deaf.add(device)
        self._say(deaf, "its growth was not told: a network file system?")
        self._end_watches()
        for one in self._polled.values():
            if one.identity.device == device:
                self._unwatched.pop(one.tail_id, None)

    def _end_watches(self) -> None:
        """Give every watch back: what was watched is polled until it is watched anew."""
        if self._growth is not None:
            self._growth.close()
            self._growth = None
        self._tokens.clear()
        self._tails.clear()
        self._suspects.clear()
        for one in list(self._watched.values()):
            self._poll(one)

    def _end_watch(self, one: tail.Tail) -> None:
        token = self._tokens.pop(one.tail_id, None)
        if token is not None and self._tails.get(token) is one:
            del self._tails[token]
            if self._growth is not None:
                self._growth.forget(token)

    def _say(self, one: tail.Tail, reason: str) -> None:
        """Say once for each reason that files are polled."""
        if reason not in self._said:
            self._said.add(reason)
            logs.of_flow(self._flow).info(
                "files polled flow=%s path=%s reason=%s; what is written is found all the same, "
                "at more cost",
                self._flow,
                options.printable(one.paths[0]),
                reason,
            )


class _Asked:
    """Tails that are asked for their size with one call."""

    def __init__(self, tails: Iterable[tail.Tail]) -> None:
        self._tails = list(tails)
        files_ = [one.file for one in self._tails]
        # What is idle is open: each has a handle.
        self._handles = [one.handle for one in files_ if one.handle is not None]
        self._known = [one.size for one in files_]

    def differing(self, files: model.Files) -> list[tail.Tail]:
        sizes = files.sizes(self._handles)
        if sizes == self._known:
            return []
        return [one for one, size in zip(self._tails, sizes, strict=True) if size != one.size]
