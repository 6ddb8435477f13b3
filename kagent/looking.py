"""Look at the paths that patterns mean: what is there, and what there is wrong.

Knows for each path which alternatives of which patterns mean it, and hence how far links in it
are the operator's. `scanning` says what is meant and when to look; what is seen goes into
`sightings`.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Collection, Iterable

from kagent import model, sightings

LINK = "is a link, and links that a wildcard matched are not followed"
ABSENT = {errno.ENOENT, errno.ENOTDIR}


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """Something at a matching path that is not read, and why."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """That an alternative of a pattern means a path; links are followed in its `base`."""

    alternative: int
    pattern: str
    base: str
    kind: str  # the entry's, or 'literal'


class Looker:
    """Everything that is meant, and what is wrong with it; owned by the scanner."""

    def __init__(self, files: model.Files, seen: sightings.Sightings) -> None:
        """Know of nothing that is meant."""
        self.seen = seen
        self.faults: dict[str, str] = {}  # by path, a directory's too
        self.unknown: set[str] = set()  # paths that this scan could not look at
        self._files = files
        self._claims: dict[str, list[Claim]] = {}
        self._meant: dict[str, tuple[str, tuple[str, ...]]] = {}  # base and patterns of a path
        self._links: dict[str, None] = {}  # looked at in each scan
        self._looked_at: set[str] = set()  # by this scan

    def begin(self) -> None:
        """Begin a scan."""
        self.unknown.clear()
        self._looked_at.clear()
        self.seen.changed = {}

    def claim(self, path: str, claim: Claim) -> None:
        """Note that an alternative means a path, and look at it."""
        claims = self._claims.setdefault(path, [])
        if claim not in claims:
            claims.append(claim)
            claims.sort(key=lambda one: one.alternative)
            self._note_meant(path)

    def unclaim(self, path: str, alternative: int) -> None:
        """Note that an alternative does not mean a path any more: it is not there."""
        left = [one for one in self._claims[path] if one.alternative != alternative]
        if left:
            self._claims[path] = left
            self._note_meant(path)
            return
        del self._claims[path]
        self._meant.pop(path, None)
        self._links.pop(path, None)
        self.faults.pop(path, None)
        self.seen.miss(path)

    def look_around(
        self,
        now: float,
        asked: Iterable[model.FileIdentity],
        opened: Collection[model.FileIdentity],
    ) -> None:
        """Look at what may have changed without any sign, and at some of the rest."""
        troubled = [path for path in self.faults if path in self._claims]
        for path in [*self._links, *troubled, *self.seen.due(now, opened)]:
            self.look(path)
        pending = dict.fromkeys([*asked, *self.seen.changed])
        done: set[model.FileIdentity] = set()
        while pending:
            for identity in pending:
                for path in self.seen.paths_of(identity):
                    self.look(path)
            done.update(pending)
            pending = dict.fromkeys(one for one in self.seen.changed if one not in done)

    def look(self, path: str) -> None:
        """Look at a path, once in a scan."""
        if path in self._looked_at or path not in self._claims:
            return
        self._looked_at.add(path)
        if path not in self._meant:
            self._miss(path, _REASONS[self._claims[path][0].kind])
            return
        base, texts = self._meant[path]
        was = self.seen.by_path.get(path)
        is_meant = was is not None and was.base == base and was.patterns == texts
        if was is None or not is_meant or not self._files.is_as_seen(was):
            self._look_closely(path, base, texts)

    @property
    def current_faults(self) -> list[Fault]:
        """What is wrong now; what one wildcard may not follow, another pattern may have."""
        return [
            Fault(path, reason)
            for path, reason in self.faults.items()
            if path not in self.seen.by_path
        ]

    def _note_meant(self, path: str) -> None:
        """Note by which patterns a path is meant, and look at it."""
        good = [
            one
            for one in self._claims[path]
            if one.kind in {"file", "literal"} or one.base == path
        ]
        self._meant.pop(path, None)
        self._links.pop(path, None)
        if good:
            base = max((one.base for one in good), key=len)
            self._meant[path] = base, tuple(dict.fromkeys(one.pattern for one in good))
            if any(one.kind == "link" for one in good):
                self._links[path] = None
        self._looked_at.discard(path)
        self.look(path)

    def _look_closely(self, path: str, base: str, texts: tuple[str, ...]) -> None:
        try:
            status = self._files.status(path, base)
        except OSError as error:
            if error.errno not in ABSENT:
                self.unknown.add(path)
                # What was seen there may not be handed out as if it were of this scan.
                self._miss(path, f"cannot look at it: {error.strerror}")
            elif path == base and self._is_link(path):
                self._miss(path, "is a link to nothing")
            else:
                self._miss(path, None)
            return
        if status.kind != "file":
            self._miss(path, _REASONS[status.kind])
            return
        self.faults.pop(path, None)
        self.seen.see(
            model.Sighting(path, base, status.identity, status.size, status.mtime_ns, texts)
        )

    def _miss(self, path: str, reason: str | None) -> None:
        """Note that no file is at a path, and why."""
        if reason is None:
            self.faults.pop(path, None)
        else:
            self.faults[path] = reason
        self.seen.miss(path)

    def _is_link(self, path: str) -> bool:
        try:
            return self._files.status(path, os.path.dirname(path)).kind == "link"
        except OSError:
            return False


_REASONS = {
    "directory": "is a directory",
    "link": LINK,
    "other": "is no regular file",
}
