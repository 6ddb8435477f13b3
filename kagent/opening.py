"""Turn what `tracking` decided into open tails: opens files, reads the proofs it asks for.

Never decides which file is which. A file that cannot be opened or read is reported once, hinders
nothing, and is tried again at the next scan.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import random
from collections.abc import Sequence

from kagent import (
    content,
    discovery,
    framing,
    logs,
    model,
    options,
    proof,
    proven,
    split,
    tail,
    tracking,
    unpack,
)


class Faults:
    """Things at matching paths that are not read: each is said once, and again when it changes.

    What is not reported any more is forgotten after one or two calls of `age`.
    """

    def __init__(self, flow: str) -> None:
        """Start with nothing said."""
        self._flow = flow
        self._said: dict[str, str] = {}
        self._said_before: dict[str, str] = {}

    def report(self, path: str, reason: str) -> None:
        """Say what is wrong with a path, unless that was said."""
        said = self._said.get(path) or self._said_before.get(path)
        self._said[path] = reason
        if said != reason:
            logs.of_flow(self._flow).warning(
                "file skipped flow=%s path=%s reason=%s",
                self._flow,
                options.printable(path),
                options.printable(reason),
            )

    def clear(self, path: str) -> None:
        """Note that a path is fine now."""
        self._said.pop(path, None)
        self._said_before.pop(path, None)

    def age(self) -> None:
        """Forget what was not reported since the last call."""
        self._said_before, self._said = self._said, {}


class Opener:
    """Opens the files of one flow; a scan's probes and tails share the handles it opened."""

    def __init__(
        self,
        faults: Faults,
        source: discovery.SourceOptions,
        rules: split.Rules,
        files: model.Files,
        chooser: random.Random,
    ) -> None:
        """Hold no handle yet."""
        self._faults = faults
        self._source = source
        self._rules = rules
        self._files = files
        self._chooser = chooser
        self._handles: dict[model.FileIdentity, int] = {}
        self._unpacker = unpack.Unpacker(files)

    def reconcile(
        self,
        tails: Sequence[tracking.TailFacts],
        rows: Sequence[model.Checkpoint],
        sightings: Sequence[model.Sighting],
        first_scan_paths: frozenset[str],
    ) -> tracking.Reconciliation:
        """Ask tracking, answer its probes, and ask again until it has no more questions."""
        evidence: dict[tuple[model.FileIdentity, str], model.Evidence] = {}
        while True:
            decisions = tracking.reconcile(tails, rows, sightings, evidence, first_scan_paths)
            if not decisions.probes:
                return decisions
            unread: set[model.FileIdentity] = set()
            for probe in decisions.probes:
                found = self.gather(probe)
                if found is None:
                    unread.add(probe.sighting.identity)
                else:
                    evidence[probe.key] = found
            # What cannot be read stays undecided: it is left out until a scan can read it.
            sightings = [one for one in sightings if one.identity not in unread]

    def open(self, opening: tracking.Start | tracking.Resume, now: float) -> tail.Tail | None:
        """Return the tail for a file, None if the file is not as it was seen any more."""
        sighting = opening.sightings[0]
        handle = self._handle(sighting)
        if handle is None:
            return None
        is_compressed = self.is_compressed(sighting)
        if is_compressed is None:
            return None
        if is_compressed:
            return self._open_compressed(opening, now)
        try:
            if isinstance(opening, tracking.Start):
                offset = self._start_offset(opening, handle)
                one = tail.Tail(
                    self._new_id(),
                    opening.sightings,
                    handle,
                    offset,
                    self._rules,
                    self._files,
                    now,
                )
                if offset and self._last_line_end(handle, offset) != offset:
                    return None  # it was written anew while it was opened
            else:
                one = self._resume(opening, handle, now)
        except (OSError, proven.TruncatedError):
            return None
        self._faults.clear(sighting.path)
        del self._handles[sighting.identity]
        if sighting.path == sighting.base:  # it may be a link that the operator wants followed
            real = self._files.real_path(sighting.path)
            one.target = real if real != sighting.path else ""
            one.row = dataclasses.replace(one.row, target=one.target)
        return one

    # --- compressed files -----------------------------------------------------------------------

    @property
    def packed_handles(self) -> set[int]:
        """The handles of compressed files that are not verified yet."""
        return self._unpacker.handles

    @property
    def is_verifying(self) -> bool:
        """Compressed files are to be verified before they can be opened: see `verify_on`."""
        return self._unpacker.is_busy

    @property
    def is_awaited(self) -> bool:
        """What a compressed file holds is not known yet, and can be read so far."""
        return self._unpacker.is_awaited

    def verify_on(self) -> None:
        """Decompress a piece of a file that is to be opened."""
        self._unpacker.verify_on()

    def is_compressed(self, sighting: model.Sighting) -> bool | None:
        """Return whether a file is compressed; None if it cannot be read now.

        An archive whose first bytes cannot be read is not taken for a file of lines: nobody would
        look again at what it holds.
        """
        handle = self._handle(sighting)
        if handle is None:
            return None
        try:
            return content.magic_of(self._files.read(handle, 0, content.MAGIC_BYTES)) is not None
        except OSError as error:
            self._faults.report(sighting.path, f"cannot read: {error.strerror}")
            return None

    def fault_of(self, sighting: model.Sighting) -> str:
        """Return why a compressed file that was looked at is unreadable, empty if it is not."""
        return self._unpacker.find(sighting, None)[1]

    def unpacked(self, sighting: model.Sighting) -> unpack.Unpacked | None:
        """Return what a compressed file holds, verified or not; None if it cannot be read."""
        try:
            is_known = self._unpacker.knows(sighting)
            handle = None if is_known else self._files.open(sighting.path, sighting.base)
            if handle is not None and not self._is_same(handle, sighting):
                self._files.close(handle)
                return None
            one, fault = self._unpacker.find(sighting, handle)
        except OSError as error:
            self._faults.report(sighting.path, f"cannot read: {error.strerror}")
            return None
        fault = fault or self._unpacker.fault_of(sighting.identity)
        if fault:
            self._faults.report(sighting.path, fault)
        return one

    def _open_compressed(
        self, opening: tracking.Start | tracking.Resume, now: float
    ) -> tail.Tail | None:
        """Return the tail for a compressed file, None as long as it is not verified."""
        sighting = opening.sightings[0]
        one = self.unpacked(sighting)
        if one is None:
            return None
        if isinstance(opening, tracking.Resume):
            one.want(opening.checkpoint)
        if not one.is_verified:
            return None
        handle = self._unpacker.take(sighting.identity)
        sightings = tuple(
            dataclasses.replace(seen, size=one.size(handle)) for seen in opening.sightings
        )
        try:
            if isinstance(opening, tracking.Resume):
                resume = dataclasses.replace(opening, sightings=sightings)
                return self._resume(resume, handle, now, one)
            is_skipped = opening.is_first_scan and self._source.start_at == "end"
            start = one.size(handle) if is_skipped else 0
            return tail.Tail(self._new_id(), sightings, handle, start, self._rules, one, now)
        except (OSError, proven.TruncatedError):
            one.close(handle)
            return None

    def _resume(
        self,
        resume: tracking.Resume,
        handle: int,
        now: float,
        unpacked: unpack.Unpacked | None = None,
    ) -> tail.Tail:
        tail_id = resume.checkpoint.tail_id
        files = unpacked or self._files
        if resume.is_rolled_back:
            offset, row = resume.offset, resume.checkpoint
            if not (self._rules.frame.is_grouped and row.split_digest == self._rules.digest):
                # An older frontier may stand within a line: all of it goes again.
                offset = max(self._last_line_end(handle, offset, files), row.start)
            resume, tail_id = dataclasses.replace(resume, offset=offset), self._new_id()
        return tail.Tail.resumed(resume, tail_id, handle, self._rules, files, now)

    def go_on(self, copy: tail.Tail, resume: tracking.Resume, now: float) -> tail.Tail:
        """Return a tail that goes on from a checkpoint through the descriptor of a copy.

        Raises:
            OSError, TruncatedError: it cannot be read, or changed; the copy keeps its
                descriptor.
        """
        assert copy.handle is not None
        # Of an archive the search saw the size that it has on the disk.
        resume = dataclasses.replace(resume, sightings=copy.sightings())
        one = self._resume(resume, copy.handle, now, copy.file.unpacked)
        one.paths, one.base, one.state = copy.paths, copy.base, copy.state
        one.left, one.scans_unseen, one.is_unlinked = (
            copy.left,
            copy.scans_unseen,
            copy.is_unlinked,
        )
        one.is_changed = True
        return one

    def restart(self, old: tail.Tail, now: float) -> tail.Tail:
        """Return a tail at 0 over the descriptor of one whose file was truncated.

        Raises:
            OSError: as the system says; the descriptor stays the old tail's.
        """
        assert old.handle is not None
        if old.is_packed:
            raise OSError(errno.EIO, "a compressed file that changed while it was read")
        size = self._files.size(old.handle)
        sightings = [
            model.Sighting(path, old.base, old.identity, size, old.file.mtime_ns, ())
            for path in old.paths
        ]
        one = tail.Tail(self._new_id(), sightings, old.handle, 0, self._rules, self._files, now)
        one.target = old.target
        return one

    def inherit(self, row: model.Checkpoint, handle: int, base: str, now: float) -> tail.Tail:
        """Return the tail that goes on through an earlier incarnation's descriptor.

        A file that does not prove itself was truncated since: it begins at 0 as a new tail. One
        that does is as old as it was when a scan saw it last: its generations are known by that.

        Raises:
            OSError: as the system says; the descriptor stays the caller's.
        """
        status = self._files.handle_status(handle)
        seen = tuple(
            model.Sighting(path, base, status.identity, status.size, status.mtime_ns, ())
            for path in row.paths
        )
        match = tracking.match(seen, row, proof.gather_evidence(self._files, handle, row))
        if match is not None and not match.is_rolled_back:
            with contextlib.suppress(proven.TruncatedError):
                seen_last = tuple(dataclasses.replace(one, mtime_ns=row.mtime_ns) for one in seen)
                resume = dataclasses.replace(match, sightings=seen_last)
                one = tail.Tail.resumed(resume, row.tail_id, handle, self._rules, self._files, now)
                one.is_unlinked = status.links == 0
                return one
        one = tail.Tail(self._new_id(), seen, handle, 0, self._rules, self._files, now)
        one.target = row.target
        return one

    def close_unused(self) -> None:
        """Close what was opened for a probe and belongs to no tail after all."""
        for handle in self._handles.values():
            self._files.close(handle)
        self._handles.clear()
        self._unpacker.forget_unasked()

    def close(self) -> None:
        """Close everything that is not a tail's."""
        self.close_unused()
        self._unpacker.drop_all()

    def gather(self, probe: tracking.Probe) -> model.Evidence | None:
        """Return what a file that a scan saw says of a checkpoint, None if it cannot be read."""
        handle = self._handle(probe.sighting)
        if handle is None:
            return None
        is_compressed = self.is_compressed(probe.sighting)
        if is_compressed is None:
            return None
        if is_compressed:
            one = self.unpacked(probe.sighting)
            if one is None or not one.begins_with(probe.checkpoint.fingerprint):
                return model.Evidence(fingerprint_holds=False, frontiers_held=frozenset())
            one.want(probe.checkpoint)
            return one.evidence(probe.checkpoint) if one.is_verified else None
        try:
            return proof.gather_evidence(self._files, handle, probe.checkpoint)
        except OSError as error:
            self._faults.report(probe.sighting.path, f"cannot read: {error.strerror}")
            return None

    def _handle(self, sighting: model.Sighting) -> int | None:
        """Return an open handle of the file that a scan saw, None if that is not possible now."""
        if sighting.identity in self._handles:
            return self._handles[sighting.identity]
        try:
            handle = self._files.open(sighting.path, sighting.base)
        except FileNotFoundError:
            return None  # gone or renamed since: the next scan says where to
        except OSError as error:
            self._faults.report(sighting.path, f"cannot open: {error.strerror}")
            return None
        if not self._is_same(handle, sighting):
            self._files.close(handle)
            return None
        self._handles[sighting.identity] = handle
        return handle

    def _is_same(self, handle: int, sighting: model.Sighting) -> bool:
        """Return whether what was opened is what was seen; it may have been replaced since."""
        try:
            return self._files.handle_status(handle).identity == sighting.identity
        except OSError as error:
            self._faults.report(sighting.path, f"cannot look at it: {error.strerror}")
            return False

    def _start_offset(self, start: tracking.Start, handle: int) -> int:
        if start.is_first_scan and self._source.start_at == "end":
            return self._last_line_end(handle, start.sightings[0].size)
        return 0

    def _last_line_end(self, handle: int, size: int, files: model.OpenFiles | None = None) -> int:
        files = files or self._files
        head = files.read(handle, 0, framing.HEAD_BYTES)
        delimiter, unit = framing.delimiter_of(self._rules.frame, head)
        return proof.last_line_end(files, handle, size, delimiter, unit)

    def _new_id(self) -> str:
        return f"{self._chooser.getrandbits(128):032x}"
