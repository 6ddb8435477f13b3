"""Find the files that match a flow's patterns.

Decides what is there, never what it is: `tracking` says which file a sighting shows. Works on
patterns with `*`, `?`, `[..]`, `{a,b}` and `**` in any component. A wildcard matches no name that
begins with a dot unless the pattern writes the dot, and never leads through a link unless the
operator said so: what he did not write out is not trusted to point anywhere else.

What a listing shows to be as it was is not matched again, and of the files only these are looked
at:

    what is new in a listing, or has another inode there
    files that are not open, in a directory whose listing changed: an inode may be given again
    links, in each scan: what they lead to may change without any sign in their directory
    of the rest some in turn: each once in `sightings.SWEEP_S`, or in a minute if it is open
    every path of a file that was found to have changed, or that the caller asks about

With up to `sightings.LOOKS_MIN` files each scan looks at all of them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Collection, Iterable, Iterator

from kagent import listings, looking, model, patterns, sightings

LINKS_MAX = 100  # so many links to directories are named: a tree may be full of them


@dataclasses.dataclass(slots=True)
class ScanResult:
    """What is there, what of it changed, and what could not be looked at.

    `changed` are the files that gained, lost or changed a sighting since the last scan. `failed`
    are directories that exist and could not be listed, `unknown` they and the paths whose status
    could not be had: a file that is not seen there may be there all the same.
    """

    seen: sightings.Sightings
    changed: dict[model.FileIdentity, None] = dataclasses.field(default_factory=dict)
    faults: list[looking.Fault] = dataclasses.field(default_factory=list)
    directories: set[str] = dataclasses.field(default_factory=set)
    failed: dict[str, set[str]] = dataclasses.field(default_factory=dict)  # by pattern
    unknown: set[str] = dataclasses.field(default_factory=set)

    @property
    def sightings(self) -> list[model.Sighting]:
        """Everything that is there; the longer the more there is."""
        return list(self.seen.by_path.values())

    def may_hide(self, path: str) -> bool:
        """Return whether a path may be there although the scan did not see it."""
        return any(path == one or path.startswith(one + "/") for one in self.unknown)


@dataclasses.dataclass(slots=True)
class _Place:
    """What one component of an alternative matched in one directory, by name."""

    entries: listings.Entries = frozenset()
    steps: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    links: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    unfollowed: tuple[str, ...] = ()  # paths of links that would lead on to a directory
    looked: float = -math.inf  # when it was found out which ones do
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    scan: int = 0  # the last one that came by


class Scanner:
    """Scans for the files of one flow; owned by the flow's thread."""

    def __init__(
        self,
        paths: Iterable[str | patterns.Pattern],
        exclude: Iterable[str],
        files: model.Files,
        clock: model.Clock,
        *,
        follows_links: bool = False,
    ) -> None:
        """Parse the patterns; nothing is looked at before `scan`."""
        self.patterns = [
            patterns.parse_pattern(path) if isinstance(path, str) else path for path in paths
        ]
        self._exclude = [patterns.parse_pattern(path) for path in exclude]
        self._files = files
        self._clock = clock
        self._follows_links = follows_links
        self._alternatives = [
            (pattern.text, alternative)
            for pattern in self.patterns
            for alternative in pattern.alternatives
        ]
        self._listings = listings.Listings(files, clock)
        self._looker = looking.Looker(files, sightings.Sightings())
        self._places: dict[tuple[int, str, int], _Place] = {}
        self._scan = 0
        # Of one scan.
        self._result = ScanResult(self._looker.seen)
        self._open: Collection[model.FileIdentity] = ()

    def scan(
        self,
        hinted: Iterable[str] = (),
        asked: Iterable[model.FileIdentity] = (),
        opened: Collection[model.FileIdentity] = (),
    ) -> ScanResult:
        """Look at every pattern, listing only directories that may have changed.

        Args:
            hinted: Directories to list in any case.
            asked: Files of which every path is to be looked at.
            opened: Files that are held open: no other can have their inodes.
        """
        self._scan += 1
        self._open = opened
        self._listings.begin(hinted)
        self._looker.begin()
        result = self._result = ScanResult(self._looker.seen)
        for number, (text, _) in enumerate(self._alternatives):
            result.failed.setdefault(text, set())
            self._walk(number)
        self._forget_places()
        self._looker.look_around(self._clock.monotonic(), asked, opened)
        result.unknown |= self._looker.unknown
        result.changed = self._looker.seen.changed
        result.faults = [*self._looker.current_faults, *self._unfollowed()]
        return result

    def base_of(self, path: str) -> str:
        """Return the leading part of a path that the operator wrote out, as far as is known."""
        return max(
            (
                self._base(path, alternative.base)
                for pattern in self.patterns
                if pattern.regex.fullmatch(path)
                for alternative in pattern.alternatives
                if path == alternative.base or path.startswith(alternative.base.rstrip("/") + "/")
            ),
            key=len,
            default="/",
        )

    def _walk(self, number: int) -> None:
        """Follow one alternative's way through the directories."""
        alternative = self._alternatives[number][1]
        base, components = alternative.base, alternative.components
        if not components:
            self._result.directories.add(os.path.dirname(base))
            if self._claim(number, base, "literal"):
                self._looker.look(base)
            return
        pending = [(base, 0)]
        visited = set(map(self._key, pending))
        while pending:  # depth is bounded by the tree; followed links lead to no place twice
            directory, index = pending.pop()
            for step in self._descend(number, directory, index):
                key = self._key(step)
                if key not in visited:
                    visited.add(key)
                    pending.append(step)

    def _key(self, step: tuple[str, int]) -> object:
        """Return what must not come twice: with links followed, a directory by any name."""
        if not self._follows_links:
            return step
        try:
            return self._files.status(step[0], step[0]).identity, step[1]
        except OSError:
            return step

    def _descend(self, number: int, directory: str, index: int) -> Iterator[tuple[str, int]]:
        """Look at what one component matches in one directory; yield where to go on."""
        components = self._alternatives[number][1].components
        place = self._places.setdefault((number, directory, index), _Place())
        place.scan = self._scan
        entries = self._entries(number, directory)
        if entries is not None and entries is not place.entries:
            self._match(number, directory, index, place, entries)
        if entries is not None and directory in self._listings.fresh:
            for path in place.files.values():
                sighting = self._looker.seen.by_path.get(path)
                if sighting is None or sighting.identity not in self._open:
                    self._looker.look(path)
        if components[index] == "**" and index + 1 < len(components):
            yield directory, index + 1
        yield from list(place.steps.values())
        if self._follows_links:
            yield from [step for step in place.links.values() if self._is_directory(step[0])]
        elif place.links or place.unfollowed:
            self._look_at_links(place)

    def _match(
        self, number: int, directory: str, index: int, place: _Place, entries: listings.Entries
    ) -> None:
        """Take in what is not in a directory any more, and what is new there."""
        for entry in sorted(place.entries - entries):
            place.steps.pop(entry.name, None)
            if place.links.pop(entry.name, None) is not None:
                place.looked = -math.inf
            path = place.files.pop(entry.name, None)
            if path is not None:
                self._looker.unclaim(path, number)
        components = self._alternatives[number][1].components
        component, is_last = components[index], index + 1 == len(components)
        leads_on = component == "**" or not is_last
        for entry in sorted(entries - place.entries):
            if not patterns.matches_component(component, entry.name):
                continue
            path = os.path.join(directory, entry.name)
            step = path, index if component == "**" else index + 1
            if leads_on and entry.kind == "directory":
                place.steps[entry.name] = step
                continue
            if leads_on and entry.kind == "link":
                place.links[entry.name] = step
                place.looked = -math.inf
            if is_last and self._claim(number, path, entry.kind):
                place.files[entry.name] = path
        place.entries = entries

    def _claim(self, number: int, path: str, kind: str) -> bool:
        """Note that an alternative means a path; return whether the operator wants it."""
        if patterns.matches_any(path, self._exclude):
            return False
        text, alternative = self._alternatives[number]
        base = self._base(path, alternative.base)
        self._looker.claim(path, looking.Claim(number, text, base, kind))
        return True

    def _look_at_links(self, place: _Place) -> None:
        """Find out, now and then, which links would lead on to a directory."""
        now = self._clock.monotonic()
        if now - place.looked < listings.RELIST_S:
            return
        place.looked = now
        bases = [f"{alternative.base}/" for _, alternative in self._alternatives]
        found = (
            path
            for path, _ in place.links.values()
            if self._is_directory(path)
            and not patterns.matches_any(path, self._exclude)
            and not any(one.startswith(f"{path}/") for one in bases)  # written out elsewhere
        )
        place.unfollowed = tuple(itertools.islice(found, LINKS_MAX))

    def _unfollowed(self) -> list[looking.Fault]:
        """Return the links to directories that are not followed, and are named by nothing else."""
        found = (path for place in self._places.values() for path in place.unfollowed)
        paths = dict.fromkeys(itertools.islice(found, LINKS_MAX))
        return [
            looking.Fault(one, looking.LINK) for one in paths if one not in self._looker.faults
        ]

    def _is_directory(self, path: str) -> bool:
        """Return whether a link leads to a directory now."""
        try:
            return self._files.status(path, path).kind == "directory"
        except OSError:
            return False

    def _entries(self, number: int, directory: str) -> listings.Entries | None:
        """Return a directory's entries, None if it is there and cannot be listed."""
        text, alternative = self._alternatives[number]
        faults = self._looker.faults
        try:
            entries = self._listings.entries(directory, self._base(directory, alternative.base))
        except OSError as error:
            if error.errno in looking.ABSENT:
                faults.pop(directory, None)
                return frozenset()
            self._result.failed[text].add(directory)
            self._result.unknown.add(directory)
            faults[directory] = f"cannot list: {error.strerror}"
            return None
        faults.pop(directory, None)
        self._result.directories.add(directory)
        return entries

    def _base(self, path: str, base: str) -> str:
        """Return the part of a path in which links are followed."""
        return path if self._follows_links else base

    def _forget_places(self) -> None:
        """Give up what no way led to any more."""
        for key, place in list(self._places.items()):
            if place.scan != self._scan:
                del self._places[key]
                for path in place.files.values():
                    self._looker.unclaim(path, key[0])
        for directory in self._listings.keep({directory for _, directory, _ in self._places}):
            self._looker.faults.pop(directory, None)
