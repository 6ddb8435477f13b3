"""Is a file shipped? Decided from durable checkpoints and from what the file holds.

Which flows are asked: a flow whose patterns match the file's path, or the path of which it is a
rotated generation by its name; a flow with a checkpoint that the file proves; and a flow whose
patterns match a path under which another flow knew the file. All of them must have settled every
byte from their start position on.

Which checkpoint answers for a flow, the first that there is:

    its own     it has the file's identity (never one whose link count was seen 0), or its inode
                and path, and its fingerprint and frontier hold
    a copy's    at least 1024 bytes of it were settled, they are not one value repeated, and its
                fingerprint and frontier hold in the file or in what the file decompresses to. A
                file that the flow follows, or that is a rotated generation of one, must also have
                its name from there: two files with equal contents are two files, and each is
                shipped

A name or an inode alone proves nothing: a file that holds other content is not known. In doubt the
answer is no.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from kagent import content, generations, model, patterns, proof, tracking

COPY_BYTES_MIN = model.FINGERPRINT_BYTES_MAX  # fewer settled bytes are too few to know a copy by


class Reader(Protocol):
    """Where durable checkpoints are: checkpoint.CheckpointReader, or a test's list."""

    def find(
        self, flow: str, inode: int, fingerprints: Sequence[model.Fingerprint]
    ) -> list[model.Checkpoint]:
        """Return the checkpoints of a flow with that inode, or with one of the fingerprints."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """What a flow reads; `saved_as` is its name in the database, an older one after a renaming."""

    flow: str
    saved_as: str
    paths: tuple[patterns.Pattern, ...]
    exclude: tuple[patterns.Pattern, ...]

    def follows(self, path: str) -> bool:
        """Return whether a file at this path is one of the flow's."""
        return patterns.matches_any(path, self.paths) and not patterns.matches_any(
            path, self.exclude
        )

    def once_followed(self, path: str) -> bool:
        """Return whether a file at this path is the flow's, or by its name was."""
        return self.follows(path) or any(map(self.follows, generations.older_names(path)))


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What one flow has of a file.

    `shipped`: every byte in `[checkpoint.start, size)` is settled. `missing`: all but the ranges
    in `missing` are; the last `unfinished_bytes` of them are a line without its end. `unknown`: no
    checkpoint of the flow is proved by the file. `is_compressed`: offsets and sizes are those of
    the decompressed content.
    """

    flow: str
    state: Literal["shipped", "missing", "unknown"]
    size: int
    checkpoint: model.Checkpoint | None = None
    missing: tuple[tuple[int, int], ...] = ()
    unfinished_bytes: int = 0
    is_compressed: bool = False
    was_replaced: bool = False  # unknown: a checkpoint was saved for it, of other content


@dataclasses.dataclass(slots=True)
class Verdict:
    """What all flows have of a file; `fault` is why there is no saying."""

    answers: list[Answer] = dataclasses.field(default_factory=list)
    fault: str = ""

    @property
    def is_shipped(self) -> bool:
        """At least one flow was asked, and none has anything missing."""
        states = {answer.state for answer in self.answers}
        return not self.fault and states == {"shipped"}


def ask(path: str, scopes: Sequence[Scope], reader: Reader, files: model.Files) -> Verdict:
    """Find out whether a file is shipped.

    Args:
        path: Absolute; a link in it is followed.
        scopes: All flows that there are.
        reader: Their durable checkpoints.
        files: The file system.

    Raises:
        OSError: the file or the checkpoints cannot be read.
        errors.CheckpointError: the database is damaged.
    """
    handle = files.open(path, path)
    try:
        seen = files.handle_status(handle)
        paths = tuple(dict.fromkeys([path, os.path.realpath(path)]))
        verdict = _File(paths, handle, seen, files).judge(scopes, reader)
        if verdict.is_shipped and _differs(files.handle_status(handle), seen):
            verdict.fault = "is being written: it changed while it was looked at"
        if verdict.is_shipped and files.status(path, path).identity != seen.identity:
            verdict.fault = "was replaced while it was looked at"
        return verdict
    finally:
        files.close(handle)


def _differs(now: model.FileStatus, before: model.FileStatus) -> bool:
    return (now.size, now.mtime_ns) != (before.size, before.mtime_ns)


@dataclasses.dataclass(slots=True)
class _File:
    """One open file that is asked about."""

    paths: tuple[str, ...]
    handle: int
    seen: model.FileStatus
    files: model.Files

    def judge(self, scopes: Sequence[Scope], reader: Reader) -> Verdict:
        plain = content.Plain(self.files, self.handle)
        verdict = Verdict()
        packed = None
        try:
            packed = content.compressed(self.files, self.handle)
        except content.UnreadableError as error:
            verdict.fault = str(error)
        heads = [one.head for one in (plain, packed) if one is not None]
        fingerprints = [
            model.Fingerprint(len(head), proof.digest(head))
            for head in heads
            if len(head) == COPY_BYTES_MIN
        ]
        found = {
            scope.flow: reader.find(scope.saved_as, self.seen.identity.inode, fingerprints)
            for scope in scopes
        }
        plain.look()
        of_packed = [row for rows in found.values() for row in rows if _has_head(packed, row)]
        if packed is not None and of_packed:
            try:
                packed.look(of_packed)
            except content.UnreadableError as error:
                verdict.fault, packed = str(error), None
        else:
            packed = None
        verdict.answers = list(self._answers(scopes, found, plain, packed))
        if verdict.answers and all(one.state == "shipped" for one in verdict.answers):
            verdict.fault = ""  # it was shipped as the bytes that it holds
        return verdict

    def _answers(
        self,
        scopes: Sequence[Scope],
        found: dict[str, list[model.Checkpoint]],
        plain: content.Plain,
        packed: content.Compressed | None,
    ) -> Iterable[Answer]:
        answers = {
            scope.flow: self._answer(scope, found[scope.flow], plain, packed) for scope in scopes
        }
        proved = [one.checkpoint for one in answers.values() if one.checkpoint is not None]
        known_as = {*self.paths, *itertools.chain(*(row.paths for row in proved))}
        for scope in scopes:
            answer = answers[scope.flow]
            if answer.checkpoint is not None or any(map(scope.once_followed, known_as)):
                yield answer

    def _answer(
        self,
        scope: Scope,
        rows: Sequence[model.Checkpoint],
        plain: content.Plain,
        packed: content.Compressed | None,
    ) -> Answer:
        """Return what one flow has, by the checkpoint that says most for sure."""
        own = self._own(rows, plain)
        if packed is not None and (own is None or own.offset == 0):
            of_packed = self._own(rows, packed) or self._copied(scope, rows, packed)
            if of_packed is not None and of_packed.offset > 0:
                return _account(scope.flow, of_packed, packed, is_compressed=True)
        match = own or self._copied(scope, rows, plain)
        if match is not None:
            return _account(scope.flow, match, plain, is_compressed=False)
        was_replaced = any(map(self._is_located, rows))
        return Answer(scope.flow, "unknown", plain.size, was_replaced=was_replaced)

    def _is_located(self, row: model.Checkpoint) -> bool:
        """Return whether a checkpoint is about this file, as far as its inode and path tell."""
        if row.was_unlinked or row.identity.inode != self.seen.identity.inode:
            return False
        return row.identity == self.seen.identity or not set(self.paths).isdisjoint(row.paths)

    def _own(
        self, rows: Sequence[model.Checkpoint], one: content.Content
    ) -> tracking.Resume | None:
        located = [row for row in rows if self._is_located(row)]
        matches = [tracking.match(self._sightings(one), row, one.evidence(row)) for row in located]
        return max(
            (match for match in matches if match is not None),
            key=lambda match: (not match.is_rolled_back, match.offset),
            default=None,
        )

    def _copied(
        self, scope: Scope, rows: Sequence[model.Checkpoint], one: content.Content
    ) -> tracking.Resume | None:
        if len(set(one.head)) < 2:
            return None
        is_named = any(map(scope.once_followed, self.paths))
        stems = set(map(generations.stem, self.paths))
        sources = [
            row
            for row in rows
            if row.offset >= COPY_BYTES_MIN == row.fingerprint.length
            and not (is_named and stems.isdisjoint(map(generations.stem, row.paths)))
        ]
        matches = [tracking.match(self._sightings(one), row, one.evidence(row)) for row in sources]
        return max(
            (match for match in matches if match is not None and not match.is_rolled_back),
            key=lambda match: match.offset,
            default=None,
        )

    def _sightings(self, one: content.Content) -> tuple[model.Sighting, ...]:
        return tuple(
            model.Sighting(path, path, self.seen.identity, one.size, self.seen.mtime_ns, ())
            for path in self.paths
        )


def _has_head(one: content.Content | None, row: model.Checkpoint) -> bool:
    """Return whether a content begins as a checkpoint says."""
    fingerprint = row.fingerprint
    if one is None or row.offset == 0:
        return False
    return proof.digest(one.head[: fingerprint.length]) == fingerprint.digest


def _account(
    flow: str, match: tracking.Resume, one: content.Content, *, is_compressed: bool
) -> Answer:
    """Return what is missing above a checkpoint that was proved."""
    missing: list[tuple[int, int]] = []
    position = match.offset
    for start, end in [*((held.start, held.end) for held in match.ranges), (one.size, one.size)]:
        if position < start:
            missing.append((position, start))
        position = max(position, end)
    unfinished_bytes = 0
    if missing and missing[-1][1] == one.size:
        unfinished_bytes = one.size - max(one.last_line_end(), missing[-1][0])
    state: Literal["shipped", "missing"] = "missing" if missing else "shipped"
    return Answer(
        flow,
        state,
        one.size,
        match.checkpoint,
        tuple(missing),
        unfinished_bytes,
        is_compressed,
    )
