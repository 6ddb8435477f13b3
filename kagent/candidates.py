"""Where the rest of lost files may be: generations by their names, and what links led to.

A name never proves anything: what stands here is yet to be opened and compared.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from kagent import generations, model, patterns, scanning

_BESIDE, _ITSELF = generations.Rotated("*"), generations.Rotated("{name}")


@dataclasses.dataclass(slots=True)
class Look:
    """What was seen by one look; one that is not clean could not look everywhere.

    Neighbours stand beside what a link leads to, and have the inode of a lost file: one may be
    what the link led to before.
    """

    generations: Mapping[str, Sequence[model.Sighting]]  # by tail_id, the oldest first
    neighbours: Sequence[model.Sighting]
    is_clean: bool


class Candidates:
    """Looks for what may be the rest of lost files; owned by their searcher."""

    def __init__(
        self,
        rotated: generations.Rotated,
        files: model.Files,
        clock: model.Clock,
        base_of: Callable[[str], str],
    ) -> None:
        """Look at nothing yet; `base_of` says how far links in a path are the operator's."""
        self._rotated = rotated
        self._files = files
        self._clock = clock
        self._base_of = base_of
        self._scanner = scanning.Scanner((), (), files, clock)

    def look(
        self,
        lost: Sequence[model.Checkpoint],
        sought: Collection[str],
        is_ours: Callable[[model.FileIdentity], bool],
    ) -> Look:
        """Look once; what is open or is read for its own path is none.

        Args:
            lost: The files whose generations are looked for.
            sought: tail_ids of those that are looked for themselves. What stands beside their
                targets may be very many files.
            is_ours: Whether a file is open, or has a path that the flow's patterns match.
        """
        owners: dict[str, set[str]] = collections.defaultdict(set)
        parsed, beside = {}, set()
        for one in lost:
            for pattern in self._patterns(one):
                parsed[pattern.text] = pattern
                owners[pattern.text].add(one.tail_id)
            for real in self._targets(one) if one.tail_id in sought else ():
                pattern = _BESIDE.pattern(real, real)
                parsed[pattern.text] = pattern
                beside.add(pattern.text)
        if set(parsed) != {pattern.text for pattern in self._scanner.patterns}:
            self._scanner = scanning.Scanner(parsed.values(), (), self._files, self._clock)
        scan = self._scanner.scan()
        candidates: dict[str, list[model.Sighting]] = collections.defaultdict(list)
        neighbours, inodes = [], {one.identity.inode for one in lost}
        seen = [
            one
            for one in scan.sightings
            if one.identity.inode in inodes or not owners.keys().isdisjoint(one.patterns)
        ]
        for sighting in sorted(seen, key=age):
            if is_ours(sighting.identity):
                continue
            for tail_id in {owner for text in sighting.patterns for owner in owners.get(text, ())}:
                candidates[tail_id].append(sighting)
            if sighting.identity.inode in inodes and not beside.isdisjoint(sighting.patterns):
                neighbours.append(sighting)
        return Look(candidates, neighbours, not scan.unknown)

    def forget(self) -> None:
        """Forget what was seen: nothing is looked for any more."""
        if self._scanner.patterns:
            self._scanner = scanning.Scanner((), (), self._files, self._clock)

    def _patterns(self, one: model.Checkpoint) -> Iterator[patterns.Pattern]:
        """Yield where generations of a file may be: beside it, and beside what a link leads to."""
        for path in one.paths:
            base = self._base_of(path)
            yield self._rotated.pattern(path, base)
            if (stem := generations.stem(path)) != path:  # it was rotated within the pattern
                yield self._rotated.pattern(stem, self._base_of(stem))
        for real in self._targets(one):
            yield self._rotated.pattern(real, real)
            if real == one.target:  # a link that led there may lead elsewhere now
                yield _ITSELF.pattern(real, real)

    def _targets(self, one: model.Checkpoint) -> Iterator[str]:
        """Yield what the operator's links lead to, and led to, at which a file was followed."""
        if one.target:
            yield one.target
        for path in one.paths:
            real = self._files.real_path(path) if path == self._base_of(path) else path
            if real not in {path, one.target}:
                yield real


def age(sighting: model.Sighting) -> tuple[int, str]:
    """Return by what generations are ordered: when they were written to."""
    return sighting.mtime_ns, sighting.path
