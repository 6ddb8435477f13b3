"""Which of the files that a scan saw need not be open: pure.

    too old     `ignore_older`: at its first sight nothing had happened to it for so long. It is
                left out until it changes, and then read like any other new file.
    ignored     it is compressed and continues nothing. It is left out until it changes.
    at rest     `close_inactive`: everything in it is shipped and saved, nothing happened to it
                since. Its row stays; as soon as size, time or name differ from the row, it goes
                back to `tracking`, which resumes it at its offset once its bytes prove it.

Neither ever leaves out a byte that nobody decided to leave out: what has a checkpoint is never
too old, and a file at rest is compared with what was saved of it at every scan.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable

from kagent import model

OPEN_FILES_MAX = 10_000  # below it, no file that is still needed is closed


class Resting:
    """Files of one flow that are seen and not open."""

    def __init__(self, ignore_older_s: float | None) -> None:
        """Know of none yet."""
        self._ignore_older_s = ignore_older_s
        self._too_old: dict[model.FileIdentity, set[tuple[int, int]]] = {}
        self._young: set[model.FileIdentity] = set()  # seen before, and not open yet
        self._ignored: dict[model.FileIdentity, set[tuple[int, int]]] = {}
        self._at_rest: set[str] = set()  # tail_ids

    def close(self, tail_id: str) -> None:
        """Note that a file was closed, whose row says how it was."""
        self._at_rest.add(tail_id)

    def ignore(self, sightings: Iterable[model.Sighting]) -> None:
        """Leave a file out until it changes."""
        group = list(sightings)
        self._ignored[group[0].identity] = _looks(group)

    def is_left_out(self, identity: model.FileIdentity) -> bool:
        """Return whether nobody reads a file until it changes, unless it is a lost one's rest."""
        return identity in self._ignored or identity in self._too_old

    def awake(
        self,
        subjects: Iterable[model.FileIdentity],
        sightings: Iterable[model.Sighting],
        known: Collection[model.FileIdentity],
        rows: Iterable[model.Checkpoint],
        begun_at_end: Collection[str],
        now_s: float,
        *,
        is_crowded: bool,
    ) -> list[model.Sighting]:
        """Return the sightings of those files that are open or need to be.

        Args:
            subjects: Files that changed, or are not decided.
            sightings: What one scan saw of them.
            known: Identities of open files.
            rows: Checkpoints that may be theirs, of files that are not open.
            begun_at_end: Paths of files that `start_at` begins at their end: nothing old comes
                of them.
            now_s: Wall-clock time, as file times are.
            is_crowded: There are more than OPEN_FILES_MAX files.
        """
        groups: dict[model.FileIdentity, list[model.Sighting]] = collections.defaultdict(list)
        for sighting in sightings:
            groups[sighting.identity].append(sighting)
        by_inode: dict[int, list[model.Checkpoint]] = collections.defaultdict(list)
        for row in rows:
            by_inode[row.identity.inode].append(row)
        awake: list[model.Sighting] = []
        too_old, young = {}, set()
        for identity, group in groups.items():
            if identity in self._ignored and self._ignored[identity] != _looks(group):
                del self._ignored[identity]
            if identity in self._ignored:
                continue
            if identity not in known:
                found = by_inode.get(identity.inode, [])
                resting = [
                    row for row in found if self._is_at_rest(group, row, is_crowded=is_crowded)
                ]
                if resting:
                    self._at_rest.add(resting[0].tail_id)
                    continue
                if not found and self._is_too_old(group, begun_at_end, now_s):
                    too_old[identity] = _looks(group)
                    continue
                young.add(identity)  # however long it takes until it can be opened
            awake += group
        for identity in subjects:
            self._too_old.pop(identity, None)
        self._too_old |= too_old
        self._young = young
        return awake

    def _is_at_rest(
        self, group: list[model.Sighting], row: model.Checkpoint, *, is_crowded: bool
    ) -> bool:
        is_as_saved = (
            row.identity == group[0].identity
            and row.size == row.offset == group[0].size
            and (row.mtime_ns == group[0].mtime_ns or not row.size)  # an empty one has no past
            and row.paths == tuple(sorted(one.path for one in group))
            and not row.ranges
        )
        if row.is_done and row.size != group[0].size:  # a compressed one, by its content's size
            return row.identity == group[0].identity and row.mtime_ns == group[0].mtime_ns
        if not is_as_saved:
            self._at_rest.discard(row.tail_id)
        return is_as_saved and (is_crowded or row.tail_id in self._at_rest)

    def _is_too_old(
        self, group: list[model.Sighting], begun_at_end: Collection[str], now_s: float
    ) -> bool:
        if self._ignore_older_s is None or group[0].path in begun_at_end:
            return False
        if group[0].identity in self._young:
            return False
        known = self._too_old.get(group[0].identity)
        if known is not None:
            return known == _looks(group)
        return now_s - group[0].mtime_ns / 1e9 > self._ignore_older_s


def _looks(group: list[model.Sighting]) -> set[tuple[int, int]]:
    return {(one.size, one.mtime_ns) for one in group}
