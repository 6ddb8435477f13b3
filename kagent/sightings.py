"""What scans saw so far, and what changed since: pure, and no larger than what is there.

A scan looks at few files: at what is new, at what may have changed, at some of the rest in turn.
Here stands what was last seen of every file. Whoever wants to know what a scan means asks for the
identities that changed, of which every sighting is of this scan.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator

from kagent import model

SWEEP_S = 10.0  # each file is looked at once in so long
LOOKS_MIN = 200  # so many files are looked at in each scan in any case


class Sightings:
    """The last sighting of each path; owned by the scanner."""

    def __init__(self) -> None:
        """Know of nothing."""
        self.by_path: dict[str, model.Sighting] = {}
        self.changed: dict[model.FileIdentity, None] = {}  # since the scan began, in order
        self._paths: dict[model.FileIdentity, set[str]] = {}
        self._sweep: Iterator[str] = iter(())
        self._swept: float | None = None

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

    def due(self, now: float) -> list[str]:
        """Return the paths that are to be looked at again now, in turn."""
        elapsed = SWEEP_S if self._swept is None else now - self._swept
        self._swept = now
        count = max(LOOKS_MIN, math.ceil(len(self.by_path) * min(1.0, elapsed / SWEEP_S)))
        found = list(itertools.islice(self._sweep, count))
        if len(found) < count:
            self._sweep = iter(list(self.by_path))
            more = itertools.islice(self._sweep, count - len(found))
            found = list(dict.fromkeys([*found, *more]))
        return [path for path in found if path in self.by_path]

    def _part(self, was: model.Sighting) -> None:
        """Note that a file is not at a path any more."""
        paths = self._paths[was.identity]
        paths.discard(was.path)
        if not paths:
            del self._paths[was.identity]
        self.changed[was.identity] = None
