"""`kagent seek`: move a position by hand, the daemon being stopped.

Writes one checkpoint, with proofs that are computed from the file as it is now, so that the daemon
goes on from there as from one of its own. The tail keeps its id as long as the file proves that it
is the same: records that are sent again are the same bytes, so they carry the same ids.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
from collections.abc import Iterator

import click

from kagent import (
    adoption,
    checkpoint,
    config,
    framing,
    model,
    patterns,
    proof,
    scanning,
    system,
    tracking,
)
from kagent.cli import owner
from kagent.options import printable


class RefusedError(Exception):
    """The position cannot be moved there; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """The file: as a scan of the flow sees it, and open."""

    sightings: tuple[model.Sighting, ...]
    handle: int
    files: model.Files

    @property
    def size(self) -> int:
        """How long it was when it was seen."""
        return self.sightings[0].size


def run(config_option: str | None, name: str, path: str, wished: str) -> int:
    """Move the position of a flow in a file; return the exit code.

    Raises:
        click.UsageError: there is no such flow, or no such position.
        errors.AlreadyRunningError: the daemon runs.
        errors.ConfigError: the configuration is wrong.
        errors.CheckpointError: the database is damaged, or not kagent's.
    """
    if wished not in {"start", "end"} and not (wished.isascii() and wished.isdigit()):
        raise click.UsageError(
            f"'{printable(wished)}' is no position; expected 'start', 'end' or a number of bytes"
        )
    loaded = config.load(config.default_path(config_option, os.environ), os.environ)
    flow = next((one for one in loaded.flows if one.name == name), None)
    if flow is None:
        names = ", ".join(one.name for one in loaded.flows) or "none"
        raise click.UsageError(f"there is no flow '{printable(name)}'; the flows are: {names}")
    try:
        with _opened(flow, path) as target:
            head = target.files.read(target.handle, 0, framing.HEAD_BYTES)
            delimiter, unit = framing.delimiter_of(flow.source.records(), head)
            offset = offset_of(wished, target, delimiter, unit)
            with owner.acting_as_owner(loaded.state_dir):
                before = _move(loaded, name, offset, target)
            before_offset = max(0, offset - len(delimiter))
            ahead = target.files.read(target.handle, before_offset, len(delimiter))
            is_inside_line = offset and (ahead != delimiter or offset % unit)
    except (RefusedError, OSError) as error:
        click.echo(f"kagent: nothing was moved: {printable(str(error))}", err=True)
        return 1
    if is_inside_line:
        click.echo(
            f"kagent: {offset} is inside a line: the rest of that line will be a record",
            err=True,
        )
    click.echo(
        f"{name} {printable(target.sightings[0].path)}: moved from {before} to {offset},"
        f" of {target.size} bytes"
    )
    return 0


def offset_of(wished: str, target: Target, delimiter: bytes, unit: int) -> int:
    """Return the offset that is meant; `end` is after the last delimiter, as in `start_at`.

    Raises:
        RefusedError: the file is not so long.
    """
    if wished == "start":
        return 0
    if wished == "end":
        return proof.last_line_end(target.files, target.handle, target.size, delimiter, unit)
    if int(wished) > target.size:
        raise RefusedError(f"{target.sightings[0].path} has only {target.size} bytes")
    return int(wished)


def moved(
    rows: list[model.Checkpoint], offset: int, target: Target
) -> tuple[model.Checkpoint, tuple[str, ...], int | None]:
    """Return the checkpoint to save, the tail_ids to forget, and the offset before, if any.

    Bytes that are skipped were not shipped, so the start position moves with them: `[start,
    offset)` goes on to mean what is settled.
    """
    seen, files, handle = target.sightings, target.files, target.handle
    matches = [
        match
        for row in rows
        if _is_about(row, seen)
        and (match := tracking.match(seen, row, proof.gather_evidence(files, handle, row)))
    ]
    best = max(matches, key=lambda one: (not one.is_rolled_back, one.offset), default=None)
    tail_id, start = secrets.token_hex(16), offset
    older: tuple[model.Frontier, ...] = ()
    if best is not None and not best.is_rolled_back:
        row = best.checkpoint
        tail_id = row.tail_id
        start = row.start if row.start <= offset <= row.offset else offset
        older = tuple(one for one in (*row.older, row.frontier) if start <= one.offset < offset)
    head = files.read(handle, 0, min(offset, model.FINGERPRINT_BYTES_MAX))
    checkpoint_there = model.Checkpoint(
        tail_id=tail_id,
        paths=tuple(sorted(one.path for one in seen)),
        identity=seen[0].identity,
        mtime_ns=seen[0].mtime_ns,
        was_unlinked=False,
        start=start,
        offset=offset,
        fingerprint=model.Fingerprint(len(head), proof.digest(head)),
        frontier=proof.read_frontier(files, handle, offset),
        older=older,
        size=target.size,
    )
    # Another checkpoint that this file proves would win at the next start if it is further on.
    forgotten = {match.checkpoint.tail_id for match in matches} - {tail_id}
    before = None if best is None else best.offset
    return checkpoint_there, tuple(sorted(forgotten)), before


def _is_about(row: model.Checkpoint, seen: tuple[model.Sighting, ...]) -> bool:
    """Return whether a checkpoint is located at a file; its content is another question."""
    if row.was_unlinked or row.identity.inode != seen[0].identity.inode:
        return False
    return row.identity == seen[0].identity or any(one.path in row.paths for one in seen)


def _move(loaded: config.Config, name: str, offset: int, target: Target) -> str:
    """Save the position; return what it was before, for people."""
    store = checkpoint.CheckpointStore(loaded.state_dir)
    store.open()
    try:
        # As every start does: without it the next one would not take the row for the flow's.
        adoption.carry_out(adoption.plan(loaded, store), loaded, store)
        row, forgotten, before = moved(store.load(name)[0], offset, target)
        store.write([model.FlowSnapshot(name, 1, (row,), forgotten)])
    finally:
        store.close()
    return "no position" if before is None else str(before)


@contextlib.contextmanager
def _opened(flow: config.FlowConfig, path: str) -> Iterator[Target]:
    """Find the file as the daemon would, and open it."""
    files, source = system.OsFiles(), flow.source
    scan = scanning.Scanner(
        source.paths,
        source.exclude,
        files,
        system.SystemClock(),
        follows_links=source.follow_symlinks,
    ).scan()
    names = {os.path.abspath(path), os.path.realpath(path)}
    found = next((one for one in scan.sightings if one.path in names), None)
    if found is None:
        raise RefusedError(_why_unseen(flow, path, names, scan))
    handle = files.open(found.path, found.base)
    try:
        if files.handle_status(handle).identity != found.identity:
            raise RefusedError(f"{path} was replaced while it was opened")
        same = tuple(one for one in scan.sightings if one.identity == found.identity)
        yield Target(same, handle, files)
    finally:
        files.close(handle)


def _why_unseen(
    flow: config.FlowConfig, path: str, names: set[str], scan: scanning.ScanResult
) -> str:
    """Return why a scan of a flow does not see a path."""
    fault = next((one for one in scan.faults if one.path in names), None)
    if fault is not None:
        return f"{fault.path} {fault.reason}"
    if not os.path.exists(path):
        return f"{path} does not exist"
    parsed = [patterns.parse_pattern(one) for one in flow.source.exclude]
    if any(patterns.matches_any(name, parsed) for name in names):
        return f"{path} is excluded from the flow {flow.name}"
    return f"{path} matches no path of the flow {flow.name}: {', '.join(flow.source.paths)}"
