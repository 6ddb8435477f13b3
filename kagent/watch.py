"""Hints that a directory is worth a look now, by inotify through watchdog. Never a fact.

A hint saves waiting for the next scan, and nothing else hangs on it: inotify drops events when its
queue overflows and watchdog does not tell, there are none on network file systems, and the kernel
limits watches for each user. So whatever fails here costs latency, is logged once, and the scan
goes on as if this module did not exist.

Only creations, moves and deletions are asked of the kernel. Growth is not: 10,000 writes a second
would cost a quarter of a core in watchdog, and our own reads would report themselves. Of growth
`idle` is told, once a file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers.api import ObservedWatch
    from watchdog.observers.inotify import InotifyObserver

_LOG = logging.getLogger(__name__)
# watchdog runs a thread of 23 KiB for each directory (7.1, measured); more than these are polled.
_DIRECTORIES_MAX = 256
# What is wrong with one directory alone, and is found by its scan, too.
_ERRORS_OF_ONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP})


class Watch:
    """Calls `on_change` with a directory in which a name appeared, moved or vanished.

    One thread owns it and calls its methods. `on_change` is called by a thread of watchdog, once
    for each event: it must not block, raise, or call back, only remember the directory and wake
    someone.
    """

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._observer: InotifyObserver | None = None
        self._watched: dict[str, _Watched] = {}
        self._warned: set[str] = set()

    def open(self) -> None:
        """Begin; where there is no inotify, say so once and give no hints."""
        try:
            from watchdog.observers.inotify import InotifyObserver  # may be missing

            self._observer = InotifyObserver()
            self._observer.start()
        except (ImportError, OSError, RuntimeError) as error:
            self._observer = None
            self._warn(str(error))

    def close(self) -> None:
        """End; no hint comes after it."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None
            self._watched.clear()

    def set_directories(self, directories: set[str]) -> None:
        """Watch these directories and no others; call it at each scan.

        A directory that was deleted, or replaced by another of the same name, is found and
        watched anew here.
        """
        if self._observer is None:
            return
        self._remove_all_but(self._observer, directories)
        for directory in sorted(directories - self._watched.keys()):
            if len(self._watched) == _DIRECTORIES_MAX:
                self._warn(f"more than {_DIRECTORIES_MAX} directories")
                return
            try:
                self._add(self._observer, directory)
            except (OSError, RuntimeError) as error:
                if getattr(error, "errno", None) not in _ERRORS_OF_ONE:
                    self._warn(str(error))
                    return  # a limit is reached: the others would meet it, too

    def _remove_all_but(self, observer: InotifyObserver, directories: set[str]) -> None:
        alive = {emitter.watch for emitter in observer.emitters if emitter.is_alive()}
        for directory, watched in list(self._watched.items()):
            is_wanted = directory in directories and watched.watch in alive
            if not is_wanted or watched.identity != _identity_of(directory):
                del self._watched[directory]
                with contextlib.suppress(KeyError):  # one of two names of the same directory
                    observer.unschedule(watched.watch)

    def _add(self, observer: InotifyObserver, directory: str) -> None:
        # The identity is asked first: if the directory is replaced in between, the next call sees
        # it. inotify would watch a link instead of what it leads to, hence the real path.
        identity = _identity_of(directory)
        watch = observer.schedule(
            cast("FileSystemEventHandler", _Hint(directory, self._on_change)),
            os.path.realpath(directory),
            event_filter=_wanted_events(),
        )
        self._watched[directory] = _Watched(watch, identity)

    def _warn(self, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            _LOG.warning(
                "cannot watch all directories reason=%r; new files there are found by the scan,"
                " seconds later; hint: see /proc/sys/fs/inotify",
                reason,
            )


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Hint:
    """What watchdog wants of a handler: any event means that its directory is worth a look."""

    directory: str
    on_change: Callable[[str], None]

    def dispatch(self, _: FileSystemEvent) -> None:
        self.on_change(self.directory)


@dataclasses.dataclass(frozen=True, slots=True)
class _Watched:
    watch: ObservedWatch
    identity: tuple[int, int] | None


def _identity_of(directory: str) -> tuple[int, int] | None:
    try:
        found = os.stat(directory)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _wanted_events() -> list[type[FileSystemEvent]]:
    from watchdog import events

    return [
        events.FileCreatedEvent,
        events.FileMovedEvent,
        events.FileDeletedEvent,
        events.DirCreatedEvent,
        events.DirMovedEvent,
        events.DirDeletedEvent,
    ]
