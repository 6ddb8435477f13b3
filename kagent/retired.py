"""Files that were let go and still have a name: growth brings them back.

A writer that nobody told to open the new file goes on writing to the old one, for ever perhaps.
When that was silent for `rotate_wait` it was closed. It still has a name that `rotated` gives, so
it costs a look at each scan, and is opened at its checkpoint when it grew. One that has no such
name any more, or holds other content, is forgotten: its row stays, the file is nobody's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

from kagent import generations, model, scanning, sightings, tracking


@dataclasses.dataclass(slots=True)
class _Retired:
    row: model.Checkpoint
    seen: model.Sighting | None = None  # where it was last; None if that is to be found out


class Retired:
    """The closed generations of one flow; owned by its roster."""

    def __init__(
        self,
        rotated: generations.Rotated,
        files: model.Files,
        clock: model.Clock,
        base_of: Callable[[str], str],
    ) -> None:
        """Know of none; `base_of` says how far links in a path are the operator's."""
        self._base_of = base_of
        self._rotated = rotated
        self._files = files
        self._clock = clock
        self._files_of: dict[model.FileIdentity, _Retired] = {}
        self._next: list[model.FileIdentity] = []  # to be looked at, in turn

    def note(self, row: model.Checkpoint) -> None:
        """Take in a file that was closed, and what is saved of it."""
        self._files_of[row.identity] = _Retired(row)

    def forget(self, identity: model.FileIdentity) -> None:
        """Look at a file no more."""
        self._files_of.pop(identity, None)

    def is_there(self, identity: model.FileIdentity) -> bool:
        """Return whether a closed file still has a name, as it was last looked at or by now."""
        one = self._files_of.get(identity)
        if one is None:
            return False
        if one.seen is None or not self._files.is_as_seen(one.seen):
            one.seen = self._find([identity]).get(identity)
        return one.seen is not None

    def look(self, is_ours: Callable[[model.FileIdentity], bool]) -> list[tracking.Resume]:
        """Return how files that grew are to be opened.

        Args:
            is_ours: Whether a file is open or has a path that the flow's patterns match.
        """
        if not self._next:
            self._next = list(self._files_of)
        due, self._next = self._next[: sightings.LOOKS_MIN], self._next[sightings.LOOKS_MIN :]
        found = []
        lost = []
        for identity in due:
            one = self._files_of.get(identity)
            if one is None or is_ours(identity):
                self.forget(identity)
            elif one.seen is None or not self._files.is_as_seen(one.seen):
                lost.append(identity)
        where = self._find(lost) if lost else {}
        for identity in lost:
            one, seen = self._files_of[identity], where.get(identity)
            if seen is None or seen.size < one.row.offset:
                self.forget(identity)
                continue
            one.seen = seen
            if seen.size > one.row.offset:
                found.append(
                    tracking.Resume((seen,), one.row, one.row.offset, (), is_rolled_back=False)
                )
        return found

    def _find(
        self, identities: Collection[model.FileIdentity]
    ) -> dict[model.FileIdentity, model.Sighting]:
        """Return where files are now, as far as `rotated` gives a name to them."""
        wanted = {}
        for identity in identities:
            one = self._files_of[identity]
            for path in one.row.paths:
                pattern = self._rotated.pattern(path, self._base_of(path))
                wanted[pattern.text] = pattern
        scan = scanning.Scanner(wanted.values(), (), self._files, self._clock).scan()
        return {seen.identity: seen for seen in scan.sightings if seen.identity in set(identities)}
