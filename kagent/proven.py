"""One open file and what was seen and read of it: each read proves that it is still the same.

A File owns a handle, the ledger of its bytes and the proofs of its content. It never decides what
the bytes mean (`reading`), nor what becomes of a file that is not the same any more (`tails`).

Every read proves what it reads: one `pread` starts at most FRONTIER_BYTES_MAX bytes before the
position, and those bytes must equal the ones that were read there before. So a file that was
truncated and has outgrown its old size is noticed before a byte of it is taken for a continuation.
The bytes of the proof always come from the same `pread` as the records: a second read could see a
file that was truncated in between.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

from kagent import content, ledger, model, proof, unpack

BLOCK_BYTES = 1024**2
RANGES_MAX = 256  # settled ranges whose proofs are saved
_HOLE_BYTES_SEEN = 65536  # how far a hole is looked through for what stands behind it


class CompressedError(Exception):
    """What is to be read are no lines: the file turned out to be compressed."""


class TruncatedError(Exception):
    """The file does not hold the bytes any more that were read from it."""


class File:
    """One file, read up to `at`; owned by its tail. What looks at it raises OSError.

    `last_bytes` are the at most FRONTIER_BYTES_MAX bytes before `at`, and `head` the file's first
    ones, as far as they were read, at most FINGERPRINT_BYTES_MAX. `fingerprint` is the last row's.
    `hole_end` is where the NULs end that it begins with, -1 if none were dropped.
    """

    def __init__(
        self,
        files: model.OpenFiles,
        handle: int,
        seen: model.Sighting,
        start: int,
        settled: Sequence[model.SettledRange],
        now: float,
        *,
        is_grouped: bool,
    ) -> None:
        """Take a file of which the bytes before `start` are none of ours, or were shipped.

        Args:
            files: Where the handle is from. Of a compressed file, its content: sizes and offsets
                are then the content's.
            handle: The open file.
            seen: What it looks like.
            start: Where to begin.
            settled: What an earlier run settled above it.
            now: Monotonic time.
            is_grouped: A record may be several lines.
        """
        self.handle: int | None = handle
        self._files = files
        self.unpacked = files if isinstance(files, unpack.Unpacked) else None
        self.ledger = ledger.Ledger(start, [(one.start, one.end) for one in settled])
        self.size = self.size_before = seen.size  # and before it last changed
        self.mtime_ns = self.mtime_proved = seen.mtime_ns  # as last seen, and when it was proved
        self.fingerprint = model.Fingerprint(0, proof.digest(b""))
        self._is_grouped = is_grouped
        self._history = proof.History((), now, is_grouped=is_grouped)
        self._range_digests = {one.end: one.digest for one in settled}
        self.at = start
        self.head = self.look(0, min(start, model.FINGERPRINT_BYTES_MAX))
        self.last_bytes = self.look(*proof.before(start))
        # What was seen of a file of which nothing is read yet: its content has no other proof.
        self._peek = self._look_at_head() if start == 0 else b""
        self._unsettled: collections.deque[tuple[int, bytes]] = collections.deque()
        is_hole = start > 0 and not self.head.strip(b"\0") and not self.last_bytes.strip(b"\0")
        self.hole_end = start if is_hole else -1

    def resume(self, row: model.Checkpoint, now: float) -> None:
        """Take over the proofs of a row, which are at `at`.

        Raises:
            TruncatedError: the file's bytes are not the ones that were read.
        """
        self.fingerprint = row.fingerprint
        self._history = proof.History(row.older, now, is_grouped=self._is_grouped)
        if self.frontier.digest != row.frontier.digest:
            raise TruncatedError

    def move_to(self, copy: File) -> None:
        """Go on in a copy of the file, which holds what was read."""
        self.handle, self._files, self.unpacked = copy.handle, copy._files, copy.unpacked
        self.size = self.size_before = copy.size
        self.mtime_ns = copy.mtime_ns

    @property
    def frontier(self) -> model.Frontier:
        """The proof of what was read, from memory."""
        return model.Frontier(self.at, proof.digest(self.last_bytes))

    @property
    def is_unproven(self) -> bool:
        """Nothing but NULs was read of it: any file that a stale writer goes on in begins so."""
        return self.ledger.issued in (0, self.hole_end) and not self.ledger.ranges()

    # --- to ask it ------------------------------------------------------------------------------

    def status(self) -> model.FileStatus:
        """Return the status of the file."""
        assert self.handle is not None
        return self._files.handle_status(self.handle)

    def close(self) -> None:
        """Give the descriptor back."""
        assert self.handle is not None
        self._files.close(self.handle)

    def look(self, offset: int, size: int) -> bytes:
        """Return bytes as they are now, of which nothing is proved."""
        assert self.handle is not None
        return self._files.read(self.handle, offset, size)

    def data_start(self) -> int:
        """Return where its data begins: a hole before holds nothing."""
        assert self.handle is not None
        return self._files.data_start(self.handle, 0)

    def poll(self) -> int:
        """Look how long the file is, and return it.

        Raises:
            TruncatedError: it is shorter than what was read of it, or begins otherwise.
        """
        assert self.handle is not None
        size = self._files.size(self.handle)
        if size < self.ledger.known_end:
            self.size_before = self.size
            raise TruncatedError
        if size != self.size:
            if self.at == 0:
                self.look_again()
            self.size_before, self.size = self.size, size
        return size

    # --- to prove it ----------------------------------------------------------------------------

    def verify(self) -> None:
        """Prove that the bytes before the position are the ones that were read there.

        Raises:
            TruncatedError: they are not.
        """
        if self.at == 0:
            self.look_again()
        if self.look(*proof.before(self.at)) != self.last_bytes:
            raise TruncatedError
        self._prove_head()
        known_end = self.ledger.known_end
        if known_end > self.ledger.issued:
            self.prove_range(known_end)
        if not self.is_unproven:  # else any time that it had since may be its generation's
            self.mtime_proved = self.mtime_ns

    def _prove_head(self) -> None:
        """Prove the first bytes as well where the ones before the position are NULs: any hole's.

        Raises:
            TruncatedError: they are not the ones that were read there.
        """
        if self.last_bytes and not self.last_bytes.strip(b"\0"):
            head = self.head[: model.FRONTIER_BYTES_MAX]
            if self.look(0, len(head)) != head:
                raise TruncatedError

    def look_again(self) -> None:
        """Prove that a file of which nothing was read still begins as it did.

        Raises:
            TruncatedError: it does not.
        """
        seen = self._look_at_head()
        if not seen.startswith(self._peek):
            self.size_before = self.size
            raise TruncatedError
        self._peek = seen

    def _look_at_head(self) -> bytes:
        """Return the first bytes of the file; NULs say nothing, so those behind them as well."""
        seen = self.look(0, model.FRONTIER_BYTES_MAX)
        if seen.startswith(b"\0") and not seen.strip(b"\0"):
            seen = self.look(0, _HOLE_BYTES_SEEN)
            seen = seen[: len(seen) - len(seen.lstrip(b"\0")) + model.FRONTIER_BYTES_MAX]
        return seen

    def prove_range(self, end: int) -> None:
        """Prove the settled range behind a gap: only its start makes the gap's last line whole.

        Raises:
            TruncatedError: it is not there any more.
        """
        if self.frontier_at(end).digest != self._range_digests[end]:
            raise TruncatedError

    def evidence(self, checkpoint: model.Checkpoint) -> model.Evidence | None:
        """Return what the file says of a checkpoint; None if it must be asked again for that."""
        assert self.handle is not None
        if self.unpacked is None:
            return proof.gather_evidence(self._files, self.handle, checkpoint)
        self.unpacked.want(checkpoint)
        return self.unpacked.evidence(checkpoint) if self.unpacked.verify_on() else None

    # --- to read it -----------------------------------------------------------------------------

    @property
    def begins_with_nuls(self) -> bool:
        """Nothing was read of it, and what was seen begins with NULs."""
        return self.at == 0 and self._peek.startswith(b"\0")

    def take_nuls_for_data(self) -> None:
        """Note that the NULs which the file begins with are no hole."""
        self._peek = b""

    def prepare(self) -> bool:
        """Return whether the next block can be read now; of an archive not always."""
        at = max(0, self.at - model.FRONTIER_BYTES_MAX)
        return self.unpacked is None or self.unpacked.prepare(at)

    def jump(self, start: int) -> bool:
        """Go on behind a range that an earlier run settled; return whether the file proves it."""
        self.last_bytes = self.look(*proof.before(start))
        self.at = start
        return self._range_digests.get(start) == proof.digest(self.last_bytes)

    def read(self, size: int) -> model.Block:
        """Read bytes from the position on, proving the ones before it in the same call.

        Raises:
            TruncatedError: they are not the ones that were read there.
            CompressedError: the file is compressed.
        """
        assert self.handle is not None
        start, before = self.at, len(self.last_bytes)
        data = self._files.read(self.handle, start - before, before + size)
        if data[:before] != self.last_bytes or (
            start == 0 and not data.startswith(self._peek[:size])
        ):
            raise TruncatedError
        self._prove_head()
        if start == 0 and self.unpacked is None and content.magic_of(data):
            raise CompressedError
        self.mtime_proved = self.mtime_ns
        return model.Block(start, data[before:])

    def take(self, chunk: model.Chunk, data: bytes) -> None:
        """Account for a chunk that was cut from the front of data, which was read at `at`."""
        used = chunk.end - chunk.start
        self.note_head(chunk.start, data[:used])
        last = data[max(0, used - model.FRONTIER_BYTES_MAX) : used]
        if used < model.FRONTIER_BYTES_MAX:
            last = (self.last_bytes + last)[-model.FRONTIER_BYTES_MAX :]
        self.pass_over(chunk, last)

    def pass_over(self, chunk: model.Chunk, last_bytes: bytes) -> None:
        """Account for a chunk of which no more than the last bytes are at hand."""
        self.ledger.issue(chunk.start, chunk.end)
        self._history.note_ends(chunk.ends)
        self.last_bytes, self.at = last_bytes, chunk.end
        self._unsettled.append((chunk.end, last_bytes))

    def note_head(self, start: int, data: bytes) -> None:
        """Remember bytes that were read at an offset, as far as they belong to the head."""
        missing = model.FINGERPRINT_BYTES_MAX - len(self.head)
        if missing > 0 and start == len(self.head):
            self.head += data[:missing]

    def note_settled(self) -> None:
        """Forget what was remembered for a row below the ledger's watermark."""
        while len(self._unsettled) > 1 and self._unsettled[1][0] <= self.ledger.low:
            self._unsettled.popleft()

    # --- what a row says of it ------------------------------------------------------------------

    @property
    def settled_frontier(self) -> model.Frontier | None:
        """The proof at the last chunk's end that is settled, from memory; None if none is."""
        if not self._unsettled or self._unsettled[0][0] > self.ledger.low:
            return None
        offset, last_bytes = self._unsettled[0]
        return model.Frontier(offset, proof.digest(last_bytes))

    def head_below(self, offset: int) -> model.Fingerprint:
        """Return the fingerprint of what was read, as far as it is remembered."""
        head = self.head[:offset]
        if len(head) > self.fingerprint.length or self.fingerprint.length > offset:
            return model.Fingerprint(len(head), proof.digest(head))
        return self.fingerprint

    @property
    def older(self) -> tuple[model.Frontier, ...]:
        """Every frontier that is remembered and settled."""
        return tuple(one for one in self._history.noted if one.offset <= self.ledger.low)

    def frontier_at(self, offset: int) -> model.Frontier:
        """Return the frontier at an offset as the file has it now."""
        assert self.handle is not None
        return proof.read_frontier(self._files, self.handle, offset)

    def read_fingerprint(self, offset: int) -> model.Fingerprint:
        """Return the fingerprint to save with an offset.

        Raises:
            TruncatedError: the file begins otherwise than it did.
        """
        length, known = min(offset, model.FINGERPRINT_BYTES_MAX), self.fingerprint
        if length <= known.length:
            return known
        head = self.look(0, length)
        if proof.digest(head[: known.length]) != known.digest:
            raise TruncatedError
        return model.Fingerprint(length, proof.digest(head))

    def ranges(self, count_max: int | None) -> tuple[model.SettledRange, ...]:
        """Return the lowest settled ranges above the watermark, with their proofs."""
        return tuple(
            model.SettledRange(start, end, self._range_digest(end))
            for start, end in self.ledger.ranges(count_max)
        )

    def _range_digest(self, end: int) -> bytes:
        if end not in self._range_digests:
            if len(self._range_digests) > 4 * RANGES_MAX:
                held = {known for _, known in self.ledger.ranges()}
                self._range_digests = {
                    known: digest for known, digest in self._range_digests.items() if known in held
                }
            self._range_digests[end] = self.frontier_at(end).digest
        return self._range_digests[end]

    def note_row(
        self, fingerprint: model.Fingerprint, frontier: model.Frontier, now: float
    ) -> tuple[model.Frontier, ...]:
        """Note the proofs of a row that is saved now; return the older ones to save beside it."""
        assert self.handle is not None
        self.fingerprint = fingerprint
        return self._history.note(frontier, now, self._files, self.handle)

    def proofs_below(self, size: int) -> tuple[model.Fingerprint, model.Frontier]:
        """Return the proofs at so many bytes, or at its end, as the file has them now.

        Raises:
            TruncatedError: the file's bytes are not the ones that were read.
        """
        assert self.handle is not None
        # Of an archive no more than was read: what is behind is yet to be decompressed.
        own = self._files.size(self.handle) if self.unpacked is None else self.at
        end = min(size, own)
        head = self.look(0, min(end, model.FINGERPRINT_BYTES_MAX))
        frontier = self.frontier_at(end)
        self.verify()
        return model.Fingerprint(len(head), proof.digest(head)), frontier
