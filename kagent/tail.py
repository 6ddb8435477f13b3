"""One file being followed: reads it, proves that it is still the same, says what to save.

A Tail owns a descriptor, the ledger of its bytes and the proofs of its content. It never decides
which file it is (`tracking`) nor when it ends (`roster`).

Every read proves what it reads: one `pread` starts at most FRONTIER_BYTES_MAX bytes before the
position, and those bytes must equal the ones that were read there before. So a file that was
truncated and has outgrown its old size is noticed before a byte of it is taken for a continuation.
The bytes of the proof always come from the same `pread` as the records: a second read could see a
file that was truncated in between.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

from kagent import content, framing, ledger, model, proof, split, tracking, unpack

BLOCK_BYTES = 1024**2
READ_BYTES = 256 * 1024  # of lines that may well be short: what is worked on stays in the cache
RANGES_MAX = 256  # settled ranges saved above the offset
HOLE_BLOCKS_MAX = 64  # blocks of NULs that are looked through in one go
SEARCH_BLOCKS_MAX = 8  # blocks searched in one turn for the end of an oversize line
_HOLE_BYTES_SEEN = 65536  # how far a hole is looked through for what stands behind it
_SHORT_REST_BYTES = 65536  # an incomplete line of so few bytes is simply read again


def credit_min(rules: split.Rules) -> int:
    """Return the credit with which `Tail.read` can make one record, and stays within it."""
    return 2 * (rules.record_bytes_max + 1) + 4 * model.RECORD_OVERHEAD_BYTES


class CompressedError(Exception):
    """What is to be read are no lines: the file turned out to be compressed."""


class TruncatedError(Exception):
    """The file does not hold the bytes any more that were read from it."""


@dataclasses.dataclass(slots=True)
class _LineEnd:
    """The end of an oversize line, found by searching; `frontier` are the bytes before it."""

    offset: int
    frontier: bytes


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
    ) -> None:
        """Follow a file from `start` on, whose bytes before it are none of ours.

        Of a compressed file, whose content `files` is, sizes and offsets are the content's.
        """
        self.tail_id = tail_id
        self.identity = sightings[0].identity
        self.paths = tuple(sorted(sighting.path for sighting in sightings))
        self.former_paths: tuple[str, ...] = ()  # before it was last renamed
        self.base = sightings[0].base
        self.handle: int | None = handle
        self.start = start
        self.ledger = ledger.Ledger(start)
        self.size = sightings[0].size
        self._size_before = self.size  # before it last changed
        self.mtime_ns = self._mtime_proved = sightings[0].mtime_ns
        self.mtime_saved: int | None = None  # instead, while it is not known to be the file it was
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
        self.asked: tuple[int, int] | None = None  # of what size, after how many upheavals
        self.held = float("-inf")  # when the last answer was that it may be one
        self.unlike: set[str] = set()  # tail_ids of files that were there and of which it is none
        self.after = ""  # the tail_id of an older generation, which is read first
        self._rules = rules
        self._files = files
        self._unpacked = files if isinstance(files, unpack.Unpacked) else None
        self._fingerprint = model.Fingerprint(0, proof.digest(b""))
        self._history = proof.History((), now, is_grouped=rules.frame.is_grouped)
        self._range_digests: dict[int, bytes] = {}
        self._head = files.read(handle, 0, min(start, model.FINGERPRINT_BYTES_MAX))
        self._frontier = files.read(handle, *proof.before(start))
        self._frontier_at = start
        # What was seen of a file of which nothing is read yet: its content has no other proof.
        self._peek = self._look_at_head() if start == 0 else b""
        self._unsettled: collections.deque[tuple[int, bytes]] = collections.deque()
        self._scanned = start  # no newline between the position and here
        self._searched = b""  # the bytes just before there, if they were searched
        self._line_end: _LineEnd | None = None
        self.header: list[bytes] = []  # the lines that `header_lines` skips, once they are known
        self._header_end: int | None = None
        # Where the NULs end that it begins with, if any were dropped.
        is_hole = start > 0 and not self._head.strip(b"\0") and not self._frontier.strip(b"\0")
        self._hole_end = start if is_hole else -1
        self._is_hole_over = False  # something else than NULs was seen there
        self._ends_in_nuls = False  # the bytes that were searched last are NULs to the file's end
        is_framed = rules.frame.digest != ""
        self._framer = framing.Framer(tail_id, rules) if is_framed else None
        self.row = self._row(model.Frontier(start, proof.digest(self._frontier)), (), ())

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
        tail = cls(tail_id, resume.sightings, handle, resume.offset, rules, files, now)
        tail.start = row.start
        if row.split_digest == rules.digest and not tail.is_packed:
            ranges = [(one.start, one.end) for one in resume.ranges]
            tail.ledger = ledger.Ledger(resume.offset, ranges)
            tail._range_digests = {one.end: one.digest for one in resume.ranges}
        tail.is_known = bool(resume.offset or row.ranges)
        if not resume.is_rolled_back:
            tail._fingerprint = row.fingerprint
            is_grouped = rules.frame.is_grouped
            tail._history = proof.History(row.older, now, is_grouped=is_grouped)
            tail.row = row
            if proof.digest(tail._frontier) != row.frontier.digest:
                raise TruncatedError
        return tail

    @property
    def position(self) -> int:
        """The first byte not yet split."""
        return self.ledger.issued

    @property
    def is_unproven(self) -> bool:
        """Nothing but NULs was read of it: any file that a stale writer goes on in begins so."""
        return self.position in (0, self._hole_end) and not self.ledger.ranges()

    @property
    def is_packed(self) -> bool:
        """The file is compressed: what is read is its content, which does not change."""
        return self._unpacked is not None

    @property
    def unpacked(self) -> unpack.Unpacked | None:
        """The content of a compressed file."""
        return self._unpacked

    def status(self) -> model.FileStatus:
        """Return the status of the file."""
        assert self.handle is not None
        return self._files.handle_status(self.handle)

    def close(self) -> None:
        """Give the descriptor back."""
        assert self.handle is not None
        self._files.close(self.handle)

    def let_go(self, now: float) -> None:
        """Close the file before its end; what is under way still settles."""
        self.close()
        self._size_before = self.size
        self.state, self.handle, self.left = "truncated", None, now
        self.is_unlinked = self.is_changed = True

    def read_head(self, size: int) -> bytes:
        """Return the file's first bytes as they are now."""
        assert self.handle is not None
        return self._files.read(self.handle, 0, size)

    def evidence(self, checkpoint: model.Checkpoint) -> model.Evidence | None:
        """Return what the file says of a checkpoint; None if it must be asked again for that.

        Raises:
            OSError: as the system says.
        """
        assert self.handle is not None
        if self._unpacked is None:
            return proof.gather_evidence(self._files, self.handle, checkpoint)
        self._unpacked.want(checkpoint)
        return self._unpacked.evidence(checkpoint) if self._unpacked.verify_on() else None

    @property
    def head(self) -> bytes:
        """The file's first bytes, as far as they were read, at most FINGERPRINT_BYTES_MAX."""
        return self._head

    @property
    def known_end(self) -> int:
        """How long the file was at least when this tail or an earlier life of it read it."""
        return self.ledger.known_end

    @property
    def is_exhausted(self) -> bool:
        """Every byte that is known to be there was looked at."""
        return self.size <= self.reached

    @property
    def reached(self) -> int:
        """Up to where the file was looked at, be it in search of the end of a long line."""
        return max(self.position, self._scanned)

    @property
    def has_unsaved_ranges(self) -> bool:
        """There are more settled ranges above the offset than a row holds while running."""
        return len(self.ledger.ranges()) > RANGES_MAX

    @property
    def unread_bytes(self) -> int:
        """Bytes that are known to be there, and not split."""
        return max(0, self.size - self.position)

    @property
    def is_growing(self) -> bool:
        """Whole lines wait for a record's end, which nothing but silence may bring."""
        return self._framer is not None and self._framer.growing_from == self.position

    @property
    def is_at_rest(self) -> bool:
        """Nothing of it is to be read, settled or saved before something happens to the file."""
        return (
            self.state == "followed"
            and self.handle is not None
            and self.is_durable
            and not self.is_changed
            and not self.scans_unseen
            and self.is_exhausted
            and not self.is_growing
            and self.ledger.is_settled
            and not self.has_unsaved_ranges
        )

    @property
    def lost_bytes(self) -> int:
        """Bytes that were not split when the file was found truncated, by what was seen of it."""
        return max(0, self._size_before - self.position)

    def sightings(self) -> tuple[model.Sighting, ...]:
        """Return what the file looks like now, at each of its paths."""
        return tuple(
            model.Sighting(path, self.base, self.identity, self.size, self.mtime_ns, ())
            for path in self.paths
        )

    def facts(self) -> model.Checkpoint:
        """Return what a copy of the file must hold, from memory: as if all that was read is saved.

        Its `older` frontiers are settled, so that one that holds a part of them is a copy, too.
        """
        return dataclasses.replace(
            self.row,
            paths=tuple(dict.fromkeys(self.paths + self.former_paths)),
            was_unlinked=self.is_unlinked,
            mtime_ns=self._mtime_proved,
            offset=self._frontier_at,
            fingerprint=self._head_below(self._frontier_at),
            frontier=model.Frontier(self._frontier_at, proof.digest(self._frontier)),
            older=tuple(one for one in self._history.noted if one.offset <= self.ledger.low),
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
        assert self.handle is not None
        # Of an archive no more than was read: what is behind is yet to be decompressed.
        own = self._frontier_at if self.is_packed else self._files.size(self.handle)
        end = min(size, own)
        head = self._files.read(self.handle, 0, min(end, model.FINGERPRINT_BYTES_MAX))
        frontier = proof.read_frontier(self._files, self.handle, end)
        self.verify()
        fingerprint = model.Fingerprint(len(head), proof.digest(head))
        return dataclasses.replace(
            self.facts(), offset=end, fingerprint=fingerprint, frontier=frontier, older=()
        )

    def move_to(self, copy: Tail) -> None:
        """Go on in a copy of the truncated file, at the old position with the old ledger."""
        assert self.handle is None
        assert copy.size >= self.known_end
        self.handle, self.identity = copy.handle, copy.identity
        self._files, self._unpacked = copy._files, copy._unpacked
        self.paths, self.base = copy.paths, copy.base
        self.state, self.left, self.scans_unseen = copy.state, copy.left, copy.scans_unseen
        self.is_unlinked, self.mtime_ns = copy.is_unlinked, copy.mtime_ns
        self.size = self._size_before = copy.size
        self.grown = copy.grown
        self.is_changed, self.is_finished, self.is_known = True, False, True
        self._forget_search()

    def poll(self, now: float) -> int:
        """Look how long the file is, and return it.

        Raises:
            TruncatedError: it is shorter than what was read of it.
            OSError: as the system says.
        """
        assert self.handle is not None
        size = self._files.size(self.handle)
        if size < self.known_end:
            self._size_before = self.size
            raise TruncatedError
        if size != self.size:
            if self._frontier_at == 0:
                self._look_again()
            self._size_before, self.size, self.grown = self.size, size, now
            self.is_finished, self.has_grown = False, True
        if size < self._scanned:  # cut within a line that was searched, and none of it read
            self._forget_search()
        return size

    def verify(self) -> None:
        """Prove that the bytes before the position are the ones that were read there.

        Raises:
            TruncatedError: they are not.
        """
        assert self.handle is not None
        if self._frontier_at == 0:
            self._look_again()
        held = self._files.read(self.handle, *proof.before(self._frontier_at))
        if held != self._frontier:
            raise TruncatedError
        self._prove_head()
        if self.known_end > self.position:
            self._prove_range(self.known_end)
        if not self.is_unproven:  # else any time that it had since may be its generation's
            self._mtime_proved = self.mtime_ns

    def _prove_head(self) -> None:
        """Prove the first bytes as well where the ones before the position are NULs: any hole's.

        Raises:
            TruncatedError: they are not the ones that were read there.
        """
        assert self.handle is not None
        if self._frontier and not self._frontier.strip(b"\0"):
            head = self._head[: model.FRONTIER_BYTES_MAX]
            if self._files.read(self.handle, 0, len(head)) != head:
                raise TruncatedError

    def _look_again(self) -> None:
        """Prove that a file of which nothing was read still begins as it did."""
        seen = self._look_at_head()
        if not seen.startswith(self._peek):
            self._size_before = self.size
            raise TruncatedError
        self._peek = seen

    def _look_at_head(self) -> bytes:
        """Return the first bytes of the file; NULs say nothing, so those behind them as well."""
        assert self.handle is not None
        seen = self._files.read(self.handle, 0, model.FRONTIER_BYTES_MAX)
        if seen.startswith(b"\0") and not seen.strip(b"\0"):
            seen = self._files.read(self.handle, 0, _HOLE_BYTES_SEEN)
            seen = seen[: len(seen) - len(seen.lstrip(b"\0")) + model.FRONTIER_BYTES_MAX]
        return seen

    def note_sighting(self, sighting: model.Sighting) -> None:
        """Take in what a scan saw: bytes may have changed in a file no longer than it was.

        Raises:
            TruncatedError: they are not the ones that were read there.
            OSError: as the system says.
        """
        if sighting.mtime_ns == self.mtime_ns or self.is_packed:
            return
        if sighting.size <= self.size:
            assert self.handle is not None
            if sighting.size < self.size:
                self._size_before = self.size
            self.verify()
            at = self._scanned - len(self._searched)
            searched = self._files.read(self.handle, at, len(self._searched))
            if searched != self._searched or self._ends_in_nuls:
                self._forget_search()
        self.mtime_ns = sighting.mtime_ns

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
        assert self.handle is not None
        if self._frontier_at == 0 and self._peek.startswith(b"\0"):
            return self._skip_hole(now, is_final=is_final)
        if not self._is_prepared(is_final):
            return None
        start, region_end = self.ledger.gap()
        if start != self._frontier_at:
            self._jump(start)
        if self._header_end is not None and start < self._header_end:
            return self._skip_header(start, min(self._header_end, region_end or self.size), now)
        size, lines_max = self._room(start, credit_bytes)
        is_open = region_end is None and not (is_final or is_quiet) and self._line_end is None
        if is_open and self._is_worth_a_search(start) and not self._search():
            return None
        block = self._read_block(start, size)
        if region_end is not None:
            self._prove_range(self.ledger.settled_from(region_end))
            block.data = block.data[: region_end - start]
        return self._decide(
            block, region_end, lines_max, now, is_final=is_final, is_quiet=is_quiet
        )

    def _decide(
        self,
        block: model.Block,
        region_end: int | None,
        lines_max: int,
        now: float,
        *,
        is_final: bool,
        is_quiet: bool,
    ) -> split.Split | None:
        """Split a block that was read at the position, as far as its bytes say what they are."""
        start, end = block.start, block.start + len(block.data)
        if start == self._hole_end and self._has_no_nuls:
            nuls = len(block.data) - len(block.data.lstrip(b"\0"))
            is_behind = nuls < len(block.data) or not self._ends_in(start + nuls)
            if nuls and is_behind:  # truncated again, written on behind
                if self._is_hole_over:
                    raise TruncatedError
                self._hole_end += nuls
                self._is_hole_over = nuls < len(block.data)
                return self._drop_rest(start, block.data[:nuls], now)
        self._ends_in_nuls = (
            region_end is None and block.data.endswith(b"\0") and self._ends_in(end)
        )
        if self._ends_in_nuls:
            if is_final and not block.data.strip(b"\0"):
                return self._drop_rest(start, block.data, now)
            block.data = block.data.rstrip(b"\0")
            end = self.size if is_final else start + len(block.data)
        if not block.data:
            self._note_nuls()
            return None
        # What was written since it was polled ends nothing: the file is not silent.
        is_closed = end == region_end or (is_final and end == self.size)
        if self._line_end is not None:
            return self._cut_line(block, now)
        result = self._split(
            block, lines_max, is_closed=is_closed, is_quiet=is_quiet and end == self.size
        )
        chunk = result.chunk
        if result.is_long and chunk.end == start:
            closed_end = self.size if is_final else None
            return self._find_line_end(
                block, closed_end if region_end is None else region_end, now
            )
        if not result.is_long and self._is_looked_through(result, block):
            self._note_searched(start, block.data)
            self._note_nuls()
        return self._issue(result, block.data, now) if chunk.end > start else None

    def _ends_in(self, offset: int) -> bool:
        """Return whether nothing but NULs that no line has stands from an offset to the end."""
        assert self.handle is not None
        if not self._has_no_nuls:
            return False
        for at in range(
            offset, min(self.size, offset + HOLE_BLOCKS_MAX * BLOCK_BYTES), BLOCK_BYTES
        ):
            if self._files.read(self.handle, at, BLOCK_BYTES).strip(b"\0"):
                return False
        return True

    def _note_nuls(self) -> None:
        """Note that a file was looked through if nothing but NULs is left of it."""
        if self._ends_in_nuls:
            self._scanned = max(self._scanned, self.size)
            self._searched = bytes(min(self._scanned, model.FRONTIER_BYTES_MAX))

    def _drop_rest(self, start: int, data: bytes, now: float) -> split.Split:
        """Drop what is left of a file, by rule."""
        end = start + len(data)
        chunk = model.Chunk(self.tail_id, [], [], [], start, end, end - start)
        return self._issue(split.Split(chunk), data, now)

    @property
    def _has_no_nuls(self) -> bool:
        """NULs are in no line: they stand where nothing was written."""
        frame = self._rules.frame
        return frame.encoding in {"bytes", "latin-1"} and "\0" not in frame.delimiter

    def _skip_hole(self, now: float, *, is_final: bool) -> split.Split | None:
        """Drop the NULs that a file begins with: its writer did not notice a truncation."""
        assert self.handle is not None
        self._look_again()
        end = min(self._files.data_start(self.handle, 0), self.size)
        for _ in range(HOLE_BLOCKS_MAX if self._has_no_nuls else 0):
            data = self._files.read(self.handle, end, BLOCK_BYTES)
            end += len(data) - len(data.lstrip(b"\0"))
            self._is_hole_over = bool(data.strip(b"\0"))
            if self._is_hole_over or not data:
                break
        if end == 0 or (end >= self.size and not is_final):
            self._scanned = max(self._scanned, end)
            self._ends_in_nuls = end > 0
            if end == 0:
                self._peek = b""  # NULs that mean something
            return None
        if self._framer is not None:  # a file that was truncated has no header
            self._framer.begin(self._files.read(self.handle, end, framing.HEAD_BYTES))
            self._header_end = 0
        self._note_head(0, bytes(min(end, model.FINGERPRINT_BYTES_MAX)))
        self._hole_end = end
        chunk = model.Chunk(self.tail_id, [], [], [], 0, end, end, now)
        self._note_issued(chunk, bytes(min(end, model.FRONTIER_BYTES_MAX)))
        return split.Split(chunk)

    def _is_prepared(self, is_final: bool) -> bool:  # noqa: FBT001 -- passed on from read
        """Return whether the next block can be read now, and what it depends on is known."""
        at = max(0, self._frontier_at - model.FRONTIER_BYTES_MAX)
        if self._unpacked is not None and not self._unpacked.prepare(at):
            return False
        return self._framer is None or self._header_end is not None or self._begin(is_final)

    def settle(self, chunks: Iterable[model.Chunk]) -> None:
        """Note that the fate of the bytes of chunks is final."""
        for chunk in chunks:
            self.ledger.settle(chunk.start, chunk.end)
        while len(self._unsettled) > 1 and self._unsettled[1][0] <= self.ledger.low:
            self._unsettled.popleft()
        self.is_changed = True

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
            row = self._checkpoint_from_file(now, None if is_last else RANGES_MAX)
        self.row = row or self.row
        return row

    def _checkpoint_from_file(self, now: float, ranges_max: int | None) -> model.Checkpoint:
        assert self.handle is not None
        low = self.ledger.low
        head_bytes = min(low, model.FINGERPRINT_BYTES_MAX)
        fingerprint = self._fingerprint
        if head_bytes > fingerprint.length:
            head = self._files.read(self.handle, 0, head_bytes)
            if proof.digest(head[: fingerprint.length]) != fingerprint.digest:
                raise TruncatedError
            fingerprint = model.Fingerprint(head_bytes, proof.digest(head))
        frontier = proof.read_frontier(self._files, self.handle, low)
        ranges = tuple(
            model.SettledRange(start, end, self._range_digest(end))
            for start, end in self.ledger.ranges(ranges_max)
        )
        self.verify()
        self._fingerprint = fingerprint
        older = self._history.note(frontier, now, self._files, self.handle)
        return self._row(frontier, older, ranges)

    def _checkpoint_from_memory(self) -> model.Checkpoint | None:
        if not self._unsettled or self._unsettled[0][0] > self.ledger.low:
            if self.ledger.low != self.row.offset:
                return None
            if self.is_packed:
                return self._row(self.row.frontier, self.row.older, ())
            # Nothing more is settled, but its file is another one's from now on.
            row = dataclasses.replace(
                self.row, was_unlinked=self.is_unlinked, is_done=self.is_spent
            )
            return row if row != self.row else None
        offset, last_bytes = self._unsettled[0]
        self._fingerprint = self._head_below(offset)
        older = tuple(one for one in self.row.older if one.offset < offset)
        row = self._row(model.Frontier(offset, proof.digest(last_bytes)), older, ())
        return dataclasses.replace(row, mtime_ns=self._mtime_proved)

    def _row(
        self,
        frontier: model.Frontier,
        older: tuple[model.Frontier, ...],
        ranges: tuple[model.SettledRange, ...],
    ) -> model.Checkpoint:
        return model.Checkpoint(
            self.tail_id,
            self.paths,
            self.identity,
            self.mtime_ns if self.mtime_saved is None else self.mtime_saved,
            self.is_unlinked,
            self.start,
            frontier.offset,
            self._fingerprint,
            frontier,
            older,
            ranges,
            self._rules.digest,
            self.size,
            is_done=self.is_spent,
        )

    def _range_digest(self, end: int) -> bytes:
        assert self.handle is not None
        if end not in self._range_digests:
            if len(self._range_digests) > 4 * RANGES_MAX:
                held = {known for _, known in self.ledger.ranges()}
                self._range_digests = {
                    known: digest for known, digest in self._range_digests.items() if known in held
                }
            self._range_digests[end] = proof.read_frontier(self._files, self.handle, end).digest
        return self._range_digests[end]

    def _jump(self, start: int) -> None:
        """Go on behind a range that an earlier run settled, if the file still proves it."""
        assert self.handle is not None
        self._frontier = self._files.read(self.handle, *proof.before(start))
        self._frontier_at = start
        self._forget_search()
        if self._range_digests.get(start) != proof.digest(self._frontier):
            raise TruncatedError

    def _prove_range(self, end: int) -> None:
        """Prove the settled range behind a gap: only its start makes the gap's last line whole."""
        assert self.handle is not None
        if proof.read_frontier(self._files, self.handle, end).digest != self._range_digests[end]:
            raise TruncatedError

    def _read_block(self, start: int, size: int) -> model.Block:
        """Read bytes from the position on, proving the ones before it in the same call."""
        assert self.handle is not None
        assert start == self._frontier_at
        proof = len(self._frontier)
        data = self._files.read(self.handle, start - proof, proof + size)
        if data[:proof] != self._frontier or (
            start == 0 and not data.startswith(self._peek[:size])
        ):
            raise TruncatedError
        self._prove_head()
        if start == 0 and self._unpacked is None and content.magic_of(data):
            raise CompressedError
        self._mtime_proved = self.mtime_ns
        return model.Block(start, data[proof:])

    def _room(self, start: int, credit_bytes: int) -> tuple[int, int]:
        """Return how many bytes to read, and how many records a credit allows of them."""
        framer, least, growth = self._framer, self._rules.record_bytes_max + 1, 1
        if framer is not None:
            least, growth = framer.block_bytes_min, framer.growth
        size = max(least, min(BLOCK_BYTES, credit_bytes // (8 * growth)))
        is_short = self._scanned - start < READ_BYTES  # no line is known to be longer
        if framer is None and self._line_end is None and is_short:
            size = min(size, READ_BYTES)
        # Beside one record a line there is one for each further part of an oversize line.
        parts_max = size // (least - 1) + 1
        records = (credit_bytes - growth * size) // model.RECORD_OVERHEAD_BYTES - parts_max
        return size, min(split.LINES_MAX, max(1, records))

    def _split(
        self, block: model.Block, lines_max: int, *, is_closed: bool, is_quiet: bool
    ) -> split.Split:
        if self._framer is not None and not self._rules.frame.is_plain:
            return self._framer.split_block(
                block, lines_max, is_closed=is_closed, is_quiet=is_quiet
            )
        return split.split_block(
            block, self.tail_id, self._rules, lines_max=lines_max, is_closed=is_closed
        )

    def _is_looked_through(self, result: split.Split, block: model.Block) -> bool:
        """Return whether what is left of a block gives no record before more bytes come."""
        if self._framer is not None and not self._rules.frame.is_plain:
            return result.is_looked_through
        return block.data.find(b"\n", result.chunk.end - block.start) < 0

    def _line_end_in(self, data: bytes, at: int, offset: int) -> int:
        """Return the index behind the first delimiter that ends behind `at`, -1 if none does."""
        if self._framer is not None:
            return self._framer.find_line_end(data, at, offset)
        return data.find(b"\n", max(0, at)) + 1 or -1

    def _begin(self, is_final: bool) -> bool:  # noqa: FBT001 -- passed on from read
        """Look at the file's head; return whether it says all that later lines depend on."""
        assert self.handle is not None
        assert self._framer is not None
        wanted = self._rules.frame.header_lines
        head = self._files.read(
            self.handle, 0, framing.HEADER_BYTES_MAX if wanted else framing.HEAD_BYTES
        )
        self.verify()  # another file's header would be dropped of this one
        self._framer.begin(head)
        self.header, end = self._framer.header(head)
        is_there = len(self.header) == wanted or len(head) == framing.HEADER_BYTES_MAX
        # Only a byte order mark says that of UTF-16.
        bytes_min = framing.HEAD_BYTES if self._rules.frame.encoding == "utf-16" else 0
        if not is_final and not (is_there and len(head) >= bytes_min):
            self._scanned = max(self._scanned, len(head))
            return False
        self._header_end = end if is_there else len(head)
        return True

    def _skip_header(self, start: int, end: int, now: float) -> split.Split | None:
        """Drop header lines by rule."""
        block = self._read_block(start, end - start)
        return self._drop_rest(start, block.data, now) if block.data else None

    def _issue(self, result: split.Split, data: bytes, now: float) -> split.Split:
        """Account for a chunk that was cut from the front of data."""
        chunk = result.chunk
        chunk.read_time = now
        used = chunk.end - chunk.start
        self._note_head(chunk.start, data[:used])
        last = data[max(0, used - model.FRONTIER_BYTES_MAX) : used]
        if used < model.FRONTIER_BYTES_MAX:
            last = (self._frontier + last)[-model.FRONTIER_BYTES_MAX :]
        self._note_issued(chunk, last)
        return result

    def _note_head(self, start: int, data: bytes) -> None:
        missing = model.FINGERPRINT_BYTES_MAX - len(self._head)
        if missing > 0 and start == len(self._head):
            self._head += data[:missing]

    def _head_below(self, offset: int) -> model.Fingerprint:
        """Return the fingerprint of what was read, as far as it is remembered."""
        head = self._head[:offset]
        if len(head) > self._fingerprint.length or self._fingerprint.length > offset:
            return model.Fingerprint(len(head), proof.digest(head))
        return self._fingerprint

    def _note_issued(self, chunk: model.Chunk, last_bytes: bytes) -> None:
        self.ledger.issue(chunk.start, chunk.end)
        self._history.note_ends(chunk.ends)
        self._frontier, self._frontier_at = last_bytes, chunk.end
        if self._scanned < chunk.end:
            self._scanned, self._searched = chunk.end, b""
        self._unsettled.append((chunk.end, last_bytes))
        self.is_changed = True

    def _is_worth_a_search(self, start: int) -> bool:
        """Return whether to look for a newline first: the line is long and nothing of it final."""
        searched = self._scanned - start
        has_parts = self._rules.oversize == "split" and searched > self._rules.record_bytes_max
        return searched > _SHORT_REST_BYTES and not has_parts

    def _forget_search(self) -> None:
        self._scanned, self._searched, self._line_end = self._frontier_at, b"", None
        self._ends_in_nuls = False
        if self._framer is not None:
            self._framer.forget()

    def _note_searched(self, at: int, data: bytes) -> None:
        """Note that no newline is in data, which was read at an offset, nor before it."""
        if at + len(data) > self._scanned:
            self._scanned = at + len(data)
            self._searched = data[-model.FRONTIER_BYTES_MAX :]

    def _read_on(self) -> tuple[int, bytes] | None:
        """Read behind what was searched, proving the bytes before; None if they changed."""
        assert self.handle is not None
        at = self._scanned - len(self._searched)
        if self._framer is not None and self.is_growing:
            at = min(at, self._framer.looked_at)
        data = self._files.read(self.handle, at, BLOCK_BYTES)
        if data[: self._scanned - at].endswith(self._searched):
            return at, data
        self._forget_search()
        return None

    def _search(self) -> bool:
        """Look behind what was searched before; return whether a record may be decided now."""
        framer, is_growing = self._framer, self.is_growing
        read = self._read_on()
        if read is None:
            return False
        at, data = read
        if framer is not None and is_growing:
            behind = data[framer.looked_at - at :]
            if framer.look_on(behind, is_more=len(data) == BLOCK_BYTES):
                return True
        elif self._line_end_in(data, self._scanned - at, at) >= 0:
            return True
        self._note_searched(at, data)
        return False

    def _find_line_end(
        self, block: model.Block, closed_end: int | None, now: float
    ) -> split.Split | None:
        """Find where a line longer than the limit ends, and decide it once that is known."""
        at, data, searched_to = block.start, block.data, block.start
        for _ in range(SEARCH_BLOCKS_MAX):
            if closed_end is not None:
                data = data[: closed_end - at]
            found = self._line_end_in(data, searched_to - at, at)
            if found >= 0 or at + len(data) == closed_end:
                end = found if found >= 0 else len(data)
                before = self._frontier if at == block.start else b""
                last_bytes = before + data[max(0, end - model.FRONTIER_BYTES_MAX) : end]
                last_bytes = last_bytes[-model.FRONTIER_BYTES_MAX :]
                self._line_end = _LineEnd(at + end, last_bytes)
                return self._cut_line(block, now)
            self._note_searched(at, data)
            read = self._read_on()
            if read is None:
                return None
            (at, data), searched_to = read, self._scanned
            if at + len(data) <= searched_to and searched_to != closed_end:
                return None
        return None

    def _cut_line(self, block: model.Block, now: float) -> split.Split | None:
        """Decide an oversize line whose end is known, or the next part of it."""
        assert self._line_end is not None
        assert self.handle is not None
        end = self._line_end
        at = end.offset - len(end.frontier)
        if self._files.read(self.handle, at, len(end.frontier)) != end.frontier:
            self._forget_search()  # the line was rewritten behind what was read of it
            return None
        line_max = self._framer.line_max if self._framer else self._rules.record_bytes_max
        if block.start + len(block.data) < min(block.start + line_max, end.offset):
            self._forget_search()  # the file was cut within the line
            return None
        if self._framer is not None and not self._rules.frame.is_plain:
            result = self._framer.cut_line(block.data, block.start, end.offset)
        else:
            result = split.cut_line(block.data, block.start, end.offset, self.tail_id, self._rules)
        if result.chunk.end < end.offset:
            return self._issue(result, block.data, now)
        result.chunk.read_time = now
        head = block.data[: end.offset - block.start]
        head_bytes = min(end.offset, model.FINGERPRINT_BYTES_MAX) - block.start
        if len(head) < head_bytes:  # the block ends within the line
            head = self._files.read(self.handle, block.start, head_bytes)
        self._note_head(block.start, head)
        self._note_issued(result.chunk, end.frontier)
        self._line_end = None
        return result
