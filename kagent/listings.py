"""The listings of directories, kept as long as nothing says that they changed.

A directory is listed again when it was hinted, when its mtime changed, and every RELIST_S: the
hints of inotify cost latency when they are lost, never data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable

from kagent import model

RELIST_S = 10.0
# A change within the tick of the file system's clock (10 ms at most) that follows a listing does
# not move the mtime; a directory that young when it was listed is listed again.
YOUNG_S = 2.0

Entries = frozenset[model.DirectoryEntry]


@dataclasses.dataclass(slots=True)
class _Listing:
    entries: Entries
    mtime_ns: int
    listed: float
    was_young: bool


class Listings:
    """The last listing of each directory; owned by the scanner."""

    def __init__(self, files: model.Files, clock: model.Clock) -> None:
        """Have none."""
        self.fresh: set[str] = set()  # directories that may have changed, found by this scan
        self._files = files
        self._clock = clock
        self._listings: dict[str, _Listing] = {}

    def begin(self, hinted: Iterable[str]) -> None:
        """Begin a scan; what was hinted is listed in any case."""
        self.fresh.clear()
        for directory in hinted:
            self._listings.pop(directory, None)

    def entries(self, path: str, base: str) -> Entries:
        """Return a directory's entries; the same object as long as they are the same.

        Raises:
            OSError: as the system says; what was known of the directory is forgotten.
        """
        if path in self.fresh:
            return self._listings[path].entries
        try:
            return self._look(path, base)
        except OSError:
            self._listings.pop(path, None)
            raise

    def _look(self, path: str, base: str) -> Entries:
        now = self._clock.monotonic()
        mtime_ns = self._files.status(path, base if len(base) < len(path) else path).mtime_ns
        was = self._listings.get(path)
        is_same = was is not None and was.mtime_ns == mtime_ns and not was.was_young
        if was is not None and is_same and now - was.listed < RELIST_S:
            return was.entries
        was_young = self._clock.time() - mtime_ns / 1e9 < YOUNG_S
        entries = frozenset(self._files.list_directory(path, base))
        if was is not None and was.entries == entries:
            entries = was.entries
        self._listings[path] = _Listing(entries, mtime_ns, now, was_young)
        if not is_same:
            self.fresh.add(path)
        return entries

    def keep(self, directories: Collection[str]) -> list[str]:
        """Forget all others; return which they were."""
        gone = sorted(self._listings.keys() - directories)
        for directory in gone:
            del self._listings[directory]
        return gone
