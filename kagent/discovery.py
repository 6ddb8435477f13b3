"""Find the files that match a flow's patterns.

Decides what is there, never what it is: `tracking` says which file a sighting shows. Works on
patterns with `*`, `?`, `[..]`, `{a,b}` and `**` in any component. A wildcard matches no name that
begins with a dot unless the pattern writes the dot, and never leads through a link: what the
operator did not write out is not trusted to point anywhere else.

A directory is listed again when it was hinted, when its mtime changed, and every RELIST_S: the
hints of inotify cost latency when they are lost, never data.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import pydantic

from kagent import frame, model, options, patterns

# A field called `multiline` would hide the module from its own annotation.
from kagent.multiline import Setting
from kagent.userpattern import PatternText

RELIST_S = 10.0
# A change within the tick of the file system's clock (10 ms at most) that follows a listing does
# not move the mtime; a directory that young when it was listed is listed again.
YOUNG_S = 2.0

_ABSENT = {errno.ENOENT, errno.ENOTDIR}


class SourceOptions(options.Options):
    """Which files a flow reads, from where, and how their bytes become lines."""

    paths: tuple[str, ...] = pydantic.Field(min_length=1)
    """Absolute patterns of files; `*`, `?`, `[..]`, `{a,b}` and `**` in any component."""

    exclude: tuple[str, ...] = ()
    """Patterns of files to leave out; one without a slash is held against the file's name."""

    start_at: Literal["end", "beginning"] = "end"
    """Where to begin in files that the first complete scan finds; later ones begin at 0."""

    capture: PatternText | None = None
    """A regular expression with named groups, such as `/(?P<app>[^/]+)/[^/]+$`, that is looked for
    in a file's path. What its groups match are values like {path}: fields and keys can name them.
    Where it does not match they are empty."""

    rotate_wait: Annotated[float, options.Duration(1.0, 86400.0)] = 300.0
    """How long a file that was renamed away is read on after its last byte."""

    decode: frame.Decode = "none"
    """Take the lines of a container apart first: cri (kubelet, containerd, CRI-O) or docker
    (json-file). What is shipped is their text. A line that is not in the format is shipped as it
    is, and counted."""

    multiline: Setting = None
    """Lines that belong together are one record. A preset: java, python, go, ruby, or csv, where
    a record goes on within quotes; or patterns of your own."""

    encoding: frame.Encoding = "bytes"
    """The encoding of the files. bytes are shipped as they stand; all else becomes UTF-8, and what
    is no text in the encoding becomes U+FFFD, and is counted. utf-16 goes by the byte order mark,
    without one it is utf-16le."""

    delimiter: str = pydantic.Field(default="\n", min_length=1, max_length=16)
    """What ends a line: in double quotes, with escapes such as "\\r\\n" or "\\0". Each character
    up to U+00FF is one byte; in UTF-16 it is a character."""

    terminator: Literal["keep", "strip"] = "keep"
    """Whether records keep the delimiter; strip drops a line with nothing else, and counts it."""

    header_lines: int = pydantic.Field(default=0, ge=0, le=1000)
    """The first lines of each file, which are no records; they are counted as dropped. Only lines
    within the first MiB."""

    final_line: Annotated[float | None, options.DurationOrNever(1.0, 30 * 86400.0)] = None
    """When a last line without its delimiter is shipped all the same: after so long without
    growth, or 'never' before the file is given up, which is the default. What is written to the
    line later is a record of its own."""

    ignore_older: Annotated[float, options.Duration(1.0, 3650 * 86400.0)] | None = None
    """Files to which nothing had happened for so long when they were first seen are left alone
    until they change; then they are read from their beginning. Files that `start_at` begins at
    their end are not concerned."""

    close_inactive: Annotated[float, options.Duration(1.0, 30 * 86400.0)] = 600.0
    """With more than 10,000 files open, those that are shipped to their end and have not grown for
    so long are closed; they are looked at by name, and opened again when they change."""

    max_line: Annotated[int, options.Size(1024, 10 * 1024**2)] = 1024**2
    """The longest line that stays one record; see `oversize` for longer ones."""

    def records(self) -> frame.Frame:
        """Return what the options say of records."""
        return frame.Frame(
            delimiter=self.delimiter,
            is_stripped=self.terminator == "strip",
            encoding=self.encoding,
            decode=self.decode,
            header_lines=self.header_lines,
            multiline=self.multiline.resolve() if self.multiline else None,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """Something at a matching path that is not read, and why."""

    path: str
    reason: str


@dataclasses.dataclass(slots=True)
class ScanResult:
    """What one scan saw, and what it could not look at.

    `failed` are directories that exist and could not be listed, `unknown` they and the paths whose
    status could not be had: a file that is not seen there may be there all the same.
    """

    sightings: list[model.Sighting] = dataclasses.field(default_factory=list)
    faults: list[Fault] = dataclasses.field(default_factory=list)
    directories: set[str] = dataclasses.field(default_factory=set)
    failed: dict[str, set[str]] = dataclasses.field(default_factory=dict)  # by pattern
    unknown: set[str] = dataclasses.field(default_factory=set)

    def may_hide(self, path: str) -> bool:
        """Return whether a path may be there although the scan did not see it."""
        return any(path == one or path.startswith(one + "/") for one in self.unknown)


@dataclasses.dataclass(slots=True)
class _Listing:
    entries: list[model.DirectoryEntry]
    mtime_ns: int
    listed: float
    was_young: bool


class Scanner:
    """Scans for the files of one flow; owned by the flow's thread."""

    def __init__(
        self,
        paths: Iterable[str],
        exclude: Iterable[str],
        files: model.Files,
        clock: model.Clock,
    ) -> None:
        """Parse the patterns; nothing is looked at before `scan`."""
        self.patterns = [patterns.parse_pattern(path) for path in paths]
        self._exclude = [patterns.parse_pattern(path) for path in exclude]
        self._files = files
        self._clock = clock
        self._listings: dict[str, _Listing] = {}

    def scan(self, hinted: Iterable[str] = ()) -> ScanResult:
        """Look at every pattern, listing only directories that may have changed.

        Args:
            hinted: Directories to list in any case.
        """
        for directory in hinted:
            self._listings.pop(directory, None)
        result = ScanResult()
        seen: dict[str, model.Sighting] = {}
        faults: dict[str, Fault] = {}
        for pattern in self.patterns:
            failed = result.failed.setdefault(pattern.text, set())
            for alternative in pattern.alternatives:
                walk = _Walk(self, pattern.text, alternative, result, failed, seen, faults)
                walk.run()
        self._listings = {
            path: listing for path, listing in self._listings.items() if path in result.directories
        }
        result.sightings = list(seen.values())
        # What one pattern's wildcard may not follow, another one may have written out.
        result.faults = [fault for path, fault in faults.items() if path not in seen]
        return result

    def is_excluded(self, path: str) -> bool:
        """Return whether the operator does not want a path."""
        return patterns.matches_any(path, self._exclude)

    def status(self, path: str, base: str) -> model.FileStatus:
        """Return what is at a path."""
        return self._files.status(path, base)

    def entries(self, path: str, base: str) -> list[model.DirectoryEntry]:
        """Return a directory's entries, from its last listing if it did not change since."""
        now = self._clock.monotonic()
        mtime_ns = self._files.status(path, base if len(base) < len(path) else path).mtime_ns
        listing = self._listings.get(path)
        if (
            listing is None
            or listing.mtime_ns != mtime_ns
            or listing.was_young
            or now - listing.listed >= RELIST_S
        ):
            was_young = self._clock.time() - mtime_ns / 1e9 < YOUNG_S
            entries = self._files.list_directory(path, base)
            listing = self._listings[path] = _Listing(entries, mtime_ns, now, was_young)
        return listing.entries


@dataclasses.dataclass(slots=True)
class _Walk:
    """One alternative's way through the directories."""

    scanner: Scanner
    pattern: str
    alternative: patterns.Alternative
    result: ScanResult
    failed: set[str]
    seen: dict[str, model.Sighting]
    faults: dict[str, Fault]

    def run(self) -> None:
        base, components = self.alternative.base, self.alternative.components
        if not components:
            self._look_at_file(base, "literal")
            self.result.directories.add(os.path.dirname(base))
            return
        pending = [(base, 0)]
        visited = set(pending)
        while pending:  # depth is bounded by the tree: links are not followed
            directory, index = pending.pop()
            for step in self._descend(directory, index):
                if step not in visited:
                    visited.add(step)
                    pending.append(step)

    def _descend(self, directory: str, index: int) -> Iterator[tuple[str, int]]:
        """Look at what one component matches in one directory; yield where to go on."""
        components = self.alternative.components
        component, is_last = components[index], index + 1 == len(components)
        if component == "**" and not is_last:
            yield directory, index + 1
        for entry in self._entries(directory):
            if not patterns.matches_component(component, entry.name):
                continue
            path = os.path.join(directory, entry.name)
            if entry.kind == "directory" and (component == "**" or not is_last):
                yield path, index if component == "**" else index + 1
            elif is_last:
                self._look_at_file(path, entry.kind)

    def _entries(self, directory: str) -> list[model.DirectoryEntry]:
        try:
            entries = self.scanner.entries(directory, self.alternative.base)
        except OSError as error:
            if error.errno not in _ABSENT:
                self.failed.add(directory)
                self.result.unknown.add(directory)
                reason = f"cannot list: {error.strerror}"
                self.faults[directory] = Fault(directory, reason)
            return []
        self.result.directories.add(directory)
        return entries

    def _look_at_file(self, path: str, kind: str) -> None:
        if self.scanner.is_excluded(path):
            return
        if kind in {"directory", "link", "other"}:
            self.faults[path] = Fault(path, _REASONS[kind])
            return
        base = self.alternative.base
        try:
            status = self.scanner.status(path, base)
        except OSError as error:
            if error.errno not in _ABSENT:
                self.result.unknown.add(path)
                self.faults[path] = Fault(path, f"cannot look at it: {error.strerror}")
            elif kind == "literal" and self._is_link(path):
                self.faults[path] = Fault(path, "is a link to nothing")
            return
        if status.kind != "file":
            self.faults[path] = Fault(path, _REASONS[status.kind])
            return
        known = self.seen.get(path)
        patterns = known.patterns if known else ()
        if self.pattern not in patterns:
            patterns = (*patterns, self.pattern)
        if known and len(known.base) > len(base):
            base = known.base
        self.seen[path] = model.Sighting(
            path, base, status.identity, status.size, status.mtime_ns, patterns
        )

    def _is_link(self, path: str) -> bool:
        try:
            return self.scanner.status(path, os.path.dirname(path)).kind == "link"
        except OSError:
            return False


_REASONS = {
    "directory": "is a directory",
    "link": "is a link, and links that a wildcard matched are not followed",
    "other": "is no regular file",
}
