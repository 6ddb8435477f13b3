"""Which files `start_at` is for: those that the first complete scan of a pattern finds. Pure.

Everything that comes later begins at 0: it was written while kagent was watching. A pattern is
marked, durably, once each of its directories could be listed. One that could not be keeps the
mark back, and `start_at` is for what is found in it the first time it can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kagent import model


class FirstScans:
    """The marks of one flow's patterns; owned by the flow's thread."""

    def __init__(self, marked: Iterable[str]) -> None:
        """Start with the patterns whose first complete scan is on disk."""
        self.marked = set(marked)
        self.unsaved: set[str] = set()  # marked, and not yet handed over to be saved
        self._failed: dict[str, set[str]] = {}  # by pattern: directories never listed yet

    def note(
        self, sightings: Iterable[model.Sighting], failed: Mapping[str, set[str]]
    ) -> frozenset[str]:
        """Take in a scan; return the paths that its patterns saw for the first time.

        Args:
            sightings: What the scan saw, as far as it is new.
            failed: For each pattern the directories that it could not list.
        """
        paths = {
            sighting.path
            for sighting in sightings
            if all(self._is_first(pattern, sighting, failed) for pattern in sighting.patterns)
        }
        for pattern, missing in failed.items():
            if pattern in self.marked:
                continue
            never_listed = missing & self._failed.get(pattern, missing)
            if never_listed:
                self._failed[pattern] = never_listed
            else:
                self._failed.pop(pattern, None)
                self.marked.add(pattern)
                self.unsaved.add(pattern)
        return frozenset(paths)

    def _is_first(
        self, pattern: str, sighting: model.Sighting, failed: Mapping[str, set[str]]
    ) -> bool:
        if pattern in self.marked:
            return False
        if pattern not in self._failed:
            return True
        listed_now = self._failed[pattern] - failed.get(pattern, set())
        return any(
            sighting.path.startswith(directory.rstrip("/") + "/") for directory in listed_now
        )
