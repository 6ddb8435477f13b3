"""One file being followed: what it is called, how it is read, what is saved of it.

A Tail is where the parts of one file meet: the open file with its ledger and its proofs
(`proven`), what makes records of it (`reading`) and what was looked at behind its position
(`search`). It never decides which file it is (`tracking`) nor when it ends (`endings`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

from kagent import ledger, model, proven, reading, split, tracking, unpack


class Tail:
    """One file of one flow; owned by the flow's thread."""

    def __init__(
        self,
        tail_id: str,
        sightings: Sequence[model.Sighting],
        handle: int,
        start: int,
        rules: split.Rules,
        files: model.OpenFiles,
        now: float,
        settled: Sequence[model.SettledRange] = (),
    ) -> None:
        """Follow a file from `start` on, whose bytes before it are none of ours.

        Of a compressed file, whose content `files` is, sizes and offsets are the content's. What
        an earlier run settled above `start` is not read again.
        """
        self.tail_id = tail_id
        self.identity = sightings[0].identity
        self.paths = tuple(sorted(sighting.path for sighting in sightings))
        self.former_paths: tuple[str, ...] = ()  # before it was renamed, the latest first
        self.base = sightings[0].base
        self.target = ""  # where its path led to when it was opened, if that is a link
        self.start = start
        self.mtime_saved: int | None = None  # in rows, until it is known to be the file it was
        self.size_saved = 0  # in rows at least, until what it lacks of its source was looked for
        self.grown = now  # when a byte was last seen to come
        self.has_grown = False  # since it was opened
        self.state: Literal["followed", "left", "truncated"] = "followed"
        self.left = now  # when it had no matching path any more
        self.scans_unseen = 0
        self.is_unlinked = False
        self.is_durable = False  # its row is on disk: it may be read
        self.is_finished = False  # its last line went out, terminated or not
        self.is_changed = True  # something differs from the row that was handed to be saved
        self.is_spent = False  # of a truncated one: no copy of it is looked for any more
        self.is_known = start > 0  # it was asked whether the file is a copy; see `copies`
        self.is_generation = False  # it was found as one: it is read though it is compressed
        self.asked: tuple[int, int] | None = None  # of what size, after how many upheavals
        self.held = float("-inf")  # when the last answer was that it may be one
        self.held_bytes = 0  # so much of it is in files that it may be a copy of
        self.unlike: set[str] = set()  # tail_ids of files that were there and of which it is none
        self.after = ""  # the tail_id of an older generation, which is read first
        self._rules = rules
        is_grouped = rules.frame.is_grouped
        self.file = proven.File(
            files, handle, sightings[0], start, settled, now, is_grouped=is_grouped
        )
        self.ledger = self.file.ledger
        self._reading = reading.Reading(self.file, rules, tail_id)
        self._search = self._reading.search
        self.row = self._row(self.file.frontier, (), ())

    @classmethod
    def resumed(
        cls,
        resume: tracking.Resume,
        tail_id: str,
        handle: int,
        rules: split.Rules,
        files: model.OpenFiles,
        now: float,
    ) -> Tail:
        """Follow a file on from a checkpoint whose proofs hold."""
        row = resume.checkpoint
        is_split_alike = row.split_digest == rules.digest
        is_packed = isinstance(files, unpack.Unpacked)
        settled = resume.ranges if is_split_alike and not is_packed else ()
        tail = cls(tail_id, resume.sightings, handle, resume.offset, rules, files, now, settled)
        tail.start, tail.target = row.start, row.target
        tail.is_known = bool(resume.offset or row.ranges)
        if not resume.is_rolled_back:
            tail.row = row
            tail.file.resume(row, now)
            if row.size > row.offset:
                tail._reading.holes.note_over()
        return tail

    # --- what may be asked of it ----------------------------------------------------------------

    @property
    def handle(self) -> int | None:
        """The open file; None once it was let go."""
        return self.file.handle

    @property
    def size(self) -> int:
        """How long the file was when last looked at."""
        return self.file.size

    @property
    def position(self) -> int:
        """The first byte not yet split."""
        return self.ledger.issued

    @property
    def known_end(self) -> int:
        """How long the file was at least when this tail or an earlier life of it read it."""
        return self.ledger.known_end

    @property
    def reached(self) -> int:
        """Up to where the file was looked at, be it in search of the end of a long line."""
        return max(self.position, self._search.scanned)

    @property
    def unread_bytes(self) -> int:
        """Bytes that are known to be there, and not split."""
        return max(0, self.file.size - self.position)

    @property
    def seen_bytes(self) -> int:
        """How far there was data in the file, before it was found truncated."""
        return max(self.position, self._search.data_end(self.file.size_before))

    @property
    def lost_bytes(self) -> int:
        """What of that was not split, nor settled by an earlier life."""
        return ledger.bytes_outside(self.ledger.ranges(), self.position, self.seen_bytes)

    @property
    def header(self) -> list[bytes]:
        """The lines that `header_lines` skips, once they are known."""
        return self._reading.header

    @property
    def is_packed(self) -> bool:
        """The file is compressed: what is read is its content, which does not change."""
        return self.file.unpacked is not None

    def is_blank(self) -> bool:
        """Return whether nothing but NULs was seen of it: they say nothing of what it is."""
        return self.file.begins_with_nuls and self._reading.holes.find_end() >= self.file.size

    @property
    def is_growing(self) -> bool:
        """Whole lines wait for a record's end, which nothing but silence may bring."""
        return self._search.is_growing

    @property
    def is_exhausted(self) -> bool:
        """Every byte that is known to be there was looked at."""
        return self.file.size <= self.reached

    @property
    def is_at_rest(self) -> bool:
        """Nothing of it is to be read, settled or saved before something happens to the file."""
        return (
            self.state == "followed"
            and self.file.handle is not None
            and self.is_durable
            and not self.is_changed
            and not self.scans_unseen
            and self.is_exhausted
            and not self.is_growing
            and self.ledger.is_settled
            and not self.has_unsaved_ranges
            and not self.size_saved
        )

    @property
    def has_unsaved_ranges(self) -> bool:
        """There are more settled ranges above the offset than a row holds while running."""
        return len(self.ledger.ranges()) > proven.RANGES_MAX

    def sightings(self) -> tuple[model.Sighting, ...]:
        """Return what the file looks like now, at each of its paths."""
        return tuple(
            model.Sighting(path, self.base, self.identity, self.size, self.file.mtime_ns, ())
            for path in self.paths
        )

    # --- what happens to it ---------------------------------------------------------------------

    def poll(self, now: float) -> int:
        """Look how long the file is, and return it.

        Raises:
            TruncatedError: it is shorter than what was read of it, or begins otherwise.
            OSError: as the system says.
        """
        before = self.file.size
        size = self.file.poll()
        if size != before:
            self.grown = now
            self.is_finished, self.has_grown = False, True
        if size < self._search.looked_at:  # cut within a line that was searched, and not read
            self._search.forget()
        return size

    def verify(self) -> None:
        """Prove that the bytes before the position are the ones that were read there.

        Raises:
            TruncatedError: they are not.
            OSError: as the system says.
        """
        self.file.verify()

    def note_sighting(self, sighting: model.Sighting) -> None:
        """Take in what a scan saw: bytes may have changed in a file no longer than it was.

        Raises:
            TruncatedError: they are not the ones that were read there.
            OSError: as the system says.
        """
        if self.file.unpacked is not None and self.file.unpacked.packed_bytes != sighting.size:
            raise proven.TruncatedError
        if sighting.mtime_ns == self.file.mtime_ns or self.is_packed:
            return
        if sighting.size <= self.size:
            if sighting.size < self.size:
                self.file.size_before = self.size
            self.file.verify()
            self._search.verify()
        self.file.mtime_ns = sighting.mtime_ns

    def note_truncated(self, now: float) -> None:
        """Note that its content is in this file no more; what is under way still settles."""
        self.state, self.file.handle, self.left = "truncated", None, now
        self.is_unlinked = self.is_changed = True

    def let_go(self, now: float) -> None:
        """Close the file before its end; what is under way still settles."""
        self.close()
        self.file.size_before = self.size
        self.note_truncated(now)

    def close(self) -> None:
        """Give the descriptor back."""
        self.file.close()

    def move_to(self, copy: Tail) -> None:
        """Go on in a copy of the truncated file, at the old position with the old ledger."""
        assert self.handle is None
        assert copy.size >= self.known_end
        self.file.move_to(copy.file)
        self.identity, self.paths, self.base = copy.identity, copy.paths, copy.base
        self.state, self.left, self.scans_unseen = copy.state, copy.left, copy.scans_unseen
        self.is_unlinked, self.grown = copy.is_unlinked, copy.grown
        self.is_changed, self.is_finished, self.is_known = True, False, True
        self._search.forget()

    # --- what is read of it ---------------------------------------------------------------------

    def read(
        self, credit_bytes: int, now: float, *, is_final: bool = False, is_quiet: bool = False
    ) -> split.Split | None:
        """Read and split the next block; None if no record is complete.

        Args:
            credit_bytes: What the records may cost in memory, RECORD_OVERHEAD_BYTES each included.
            now: Monotonic time.
            is_final: Nothing will be written any more: the last line ends with the file.
            is_quiet: The last record ends with the last whole line.

        Raises:
            TruncatedError: the file's bytes are not the ones that were read before.
            OSError: as the system says.
        """
        result = self._reading.read(credit_bytes, now, is_final=is_final, is_quiet=is_quiet)
        if result is not None:
            self.is_changed = True
        return result

    def settle(self, chunks: Iterable[model.Chunk]) -> None:
        """Note that the fate of the bytes of chunks is final."""
        for chunk in chunks:
            self.ledger.settle(chunk.start, chunk.end)
        self.file.note_settled()
        self.is_changed = True

    # --- what is saved of it --------------------------------------------------------------------

    def checkpoint(self, now: float, *, is_last: bool = False) -> model.Checkpoint | None:
        """Return the row to save; None if nothing newer than `row`, the last one, is proved.

        A tail that was truncated is proved from memory, at the last chunk that is settled. The
        last row of a life has every settled range above the offset, others the lowest RANGES_MAX.

        Raises:
            TruncatedError: the file's bytes are not the ones that were read.
            OSError: as the system says.
        """
        if self.handle is None or self.state == "truncated" or self.is_packed:
            row = self._checkpoint_from_memory()
        else:
            row = self._checkpoint_from_file(now, None if is_last else proven.RANGES_MAX)
        self.row = row or self.row
        return row

    def _checkpoint_from_file(self, now: float, ranges_max: int | None) -> model.Checkpoint:
        low = self.ledger.low
        fingerprint = self.file.read_fingerprint(low)
        frontier = self.file.frontier_at(low)
        ranges = self.file.ranges(ranges_max)
        self.file.verify()
        older = self.file.note_row(fingerprint, frontier, now)
        return self._row(frontier, older, ranges)

    def _checkpoint_from_memory(self) -> model.Checkpoint | None:
        frontier = self.file.settled_frontier
        if frontier is None:
            if self.ledger.low != self.row.offset:
                return None
            if self.is_packed:
                return self._row(self.row.frontier, self.row.older, ())
            # Nothing more is settled, but its file is another one's from now on.
            row = dataclasses.replace(
                self.row, was_unlinked=self.is_unlinked, is_done=self.is_spent
            )
            return row if row != self.row else None
        self.file.fingerprint = self.file.head_below(frontier.offset)
        older = tuple(one for one in self.row.older if one.offset < frontier.offset)
        row = self._row(frontier, older, ())
        return dataclasses.replace(row, mtime_ns=self.file.mtime_proved)

    def _row(
        self,
        frontier: model.Frontier,
        older: tuple[model.Frontier, ...],
        ranges: tuple[model.SettledRange, ...],
    ) -> model.Checkpoint:
        is_copy = not self.is_known and self.size <= self.held_bytes  # what it has, others have
        return model.Checkpoint(
            self.tail_id,
            self.paths,
            self.identity,
            self.file.mtime_ns if self.mtime_saved is None else self.mtime_saved,
            self.is_unlinked,
            self.start,
            frontier.offset,
            self.file.fingerprint,
            frontier,
            older,
            ranges,
            self._rules.digest,
            0 if is_copy else max(self._search.data_end(self.size), self.size_saved),
            is_done=self.is_spent,
            target=self.target,
        )

    # --- what a copy of it must hold ------------------------------------------------------------

    def facts(self) -> model.Checkpoint:
        """Return what a copy of the file must hold, from memory: as if all that was read is saved.

        Its `older` frontiers are settled, so that one that holds a part of them is a copy, too.
        """
        file = self.file
        return dataclasses.replace(
            self.row,
            paths=tuple(dict.fromkeys(self.paths + self.former_paths)),
            target=self.target,
            was_unlinked=self.is_unlinked,
            mtime_ns=file.mtime_proved,
            offset=file.at,
            fingerprint=file.head_below(file.at),
            frontier=file.frontier,
            older=file.older,
            ranges=(),
        )

    def facts_below(self, size: int) -> model.Checkpoint:
        """Return what a copy under way must hold that has so many bytes; reads the file.

        It holds what the file does, up to the end of the shorter one: what was written behind the
        position tells a copy that others wrote on in.

        Raises:
            TruncatedError: the file's bytes are not the ones that were read.
            OSError: as the system says.
        """
        fingerprint, frontier = self.file.proofs_below(size)
        return dataclasses.replace(
            self.facts(),
            offset=frontier.offset,
            fingerprint=fingerprint,
            frontier=frontier,
            older=(),
        )
