"""What scans saw so far, and what changed since: pure, and no larger than what is there.

A scan looks at few files: at what is new, at what may have changed, at some of the rest in turn.
Here stands what was last seen of every file. Whoever wants to know what a scan means asks for the
identities that changed, of which every sighting is of this scan.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from kagent import model

SWEEP_S = 10.0  # each file is looked at once in so long
OPEN_SWEEPS = 6  # but one that is held open, whose size is known, once in so many times that
LOOKS_MIN = 200  # so few files are all looked at in each scan


class Sightings:
    """The last sighting of each path; owned by the scanner."""

    def __init__(self) -> None:
        """Know of nothing."""
        self.looks_min = LOOKS_MIN
        self.by_path: dict[str, model.Sighting] = {}
        self.changed: dict[model.FileIdentity, None] = {}  # since the scan began, in order
        self._paths: dict[model.FileIdentity, set[str]] = {}
        self._round: list[str] = []  # to be looked at within SWEEP_S
        self._at = 0  # how many of them were
        self._begun = float("-inf")
        self._rounds = 0

    def see(self, sighting: model.Sighting) -> None:
        """Take in what is at a path."""
        was = self.by_path.get(sighting.path)
        if was == sighting:
            return
        if was is not None and was.identity != sighting.identity:
            self._part(was)
        self.by_path[sighting.path] = sighting
        self._paths.setdefault(sighting.identity, set()).add(sighting.path)
        self.changed[sighting.identity] = None

    def miss(self, path: str) -> None:
        """Take in that nothing is at a path, or nothing that counts."""
        was = self.by_path.pop(path, None)
        if was is not None:
            self._part(was)

    def of(self, identities: Iterable[model.FileIdentity]) -> list[model.Sighting]:
        """Return the sightings of some files."""
        return [
            self.by_path[path]
            for identity in identities
            for path in sorted(self._paths.get(identity, ()))
        ]

    def paths_of(self, identity: model.FileIdentity) -> Collection[str]:
        """Return the paths at which a file was seen."""
        return tuple(self._paths.get(identity, ()))

    @property
    def identities(self) -> Collection[model.FileIdentity]:
        """Every file that is there."""
        return self._paths.keys()

    def due(self, now: float, opened: Collection[model.FileIdentity]) -> list[str]:
        """Return the paths that are to be looked at again now, in turn.

        Args:
            now: Monotonic time.
            opened: Files that are held open.
        """
        if len(self.by_path) <= self.looks_min:
            return list(self.by_path)
        if self._at >= len(self._round) and now - self._begun >= SWEEP_S:
            self._begun, self._at = now, 0
            self._rounds += 1
            is_all = self._rounds % OPEN_SWEEPS == 0
            self._round = list(self.by_path) if is_all else self._closed(opened)
        share = min(1.0, (now - self._begun) / SWEEP_S)
        start, self._at = self._at, math.ceil(len(self._round) * share)
        return [path for path in self._round[start : self._at] if path in self.by_path]

    def _closed(self, opened: Collection[model.FileIdentity]) -> list[str]:
        return [path for path, one in self.by_path.items() if one.identity not in opened]

    def _part(self, was: model.Sighting) -> None:
        """Note that a file is not at a path any more."""
        paths = self._paths[was.identity]
        paths.discard(was.path)
        if not paths:
            del self._paths[was.identity]
        self.changed[was.identity] = None
