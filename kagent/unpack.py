"""A compressed file read like a file: verified first, then from any offset on, in blocks.

`Unpacked` decompresses a whole file once, a bounded piece at a time, before anything of it is
used: only a stream that is complete and sound is read. Meanwhile it keeps what stands before the
offsets that somebody wants proved. Then it is `model.OpenFiles` for the one handle that it owns:
size and offsets are those of the decompressed bytes. Reading goes forward; going back begins anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
from collections.abc import Iterable

from kagent import content, model, proof

BYTES_MAX = 1024**4  # more than that is no log
PIECE_BYTES = 4 * 1024**2  # decompressed in one go: about 20 ms
_BLOCK_BYTES = 1024**2


class Unpacked:
    """The content of one compressed file, and its handle; owned by whoever opened it."""

    def __init__(self, files: model.Files, handle: int, magic: bytes) -> None:
        """Decompress the head.

        Raises:
            UnreadableError: it is damaged, cut short, or there is no decompressor for it.
            OSError: as the system says.
        """
        self._files = files
        self._handle = handle
        self._magic = magic
        self._wanted: set[int] = set()
        self._before: dict[int, bytes] = {}  # what stands before offsets, as far as it was kept
        self._stream: io.BufferedIOBase | None = None
        self._data = b""  # decompressed last, and the bytes before that a proof needs
        self._end = 0  # the offset behind it
        self._size: int | None = None
        self.packed_bytes = 0  # how long the file was when it was verified
        with content.readable():
            self.head = self._open().read(model.FINGERPRINT_BYTES_MAX)

    @property
    def is_verified(self) -> bool:
        """The whole stream is complete and sound, and what is wanted of it is known."""
        return self._size is not None and self._wanted <= self._before.keys()

    # --- to prove it ----------------------------------------------------------------------------

    def begins_with(self, fingerprint: model.Fingerprint) -> bool:
        """Return whether the content begins as a checkpoint says."""
        head = self.head[: fingerprint.length]
        return proof.digest(head) == fingerprint.digest

    def want(self, checkpoint: model.Checkpoint) -> None:
        """Keep what a checkpoint's proofs need when the stream is decompressed next."""
        wanted = {one.offset for one in proof.frontiers(checkpoint)}
        if not wanted <= self._before.keys() | self._wanted:
            self._wanted |= wanted
            self._rewind()

    def verify_on(self) -> bool:
        """Decompress the next piece; return whether all is verified.

        Raises:
            UnreadableError: it is damaged or cut short, or too large.
            OSError: as the system says.
        """
        if self.is_verified:
            return True
        end = self._end + PIECE_BYTES
        while self._end < end:
            if not self._decompress():
                self._size = self._end
                self.packed_bytes = self._files.size(self._handle)
                self._before |= dict.fromkeys(self._wanted - self._before.keys(), b"")
                self._rewind()
                return True
            for offset in [one for one in self._wanted if self._end - len(self._data) < one]:
                start, size = proof.before(offset)
                at = start - (self._end - len(self._data))
                if offset <= self._end and at >= 0:
                    self._before[offset] = self._data[at : at + size]
            if self._end > BYTES_MAX:
                raise content.UnreadableError("is compressed and has no end")
        return False

    def evidence(self, checkpoint: model.Checkpoint) -> model.Evidence:
        """Return which digests of a checkpoint hold; all of it must be verified."""
        assert self._size is not None
        held = {
            one.offset
            for one in proof.frontiers(checkpoint)
            if one.offset <= self._size and proof.digest(self._before[one.offset]) == one.digest
        }
        ends = [self._before.get(offset, b"") for offset in proof.telling(held, checkpoint)]
        compared = b"".join([self.head[: checkpoint.fingerprint.length], *ends])
        return model.Evidence(
            self.begins_with(checkpoint.fingerprint),
            frozenset(held),
            len(set(compared)) > 1,
            self._size,
        )

    # --- to read it: model.OpenFiles ------------------------------------------------------------

    def prepare(self, offset: int) -> bool:
        """Go on to an offset, a bounded piece at a time; return whether it can be read there."""
        if offset < self._end - len(self._data):
            self._rewind()
        end = self._end + PIECE_BYTES
        while self._end <= offset < self.size(self._handle):
            if self._end >= end or not self._forward():
                return False
        return True

    def size(self, handle: int) -> int:
        """Return how many bytes the file stands for."""
        assert handle == self._handle
        assert self._size is not None
        return self._size

    def data_start(self, handle: int, offset: int) -> int:
        """Return where data begins: an archive has no holes."""
        assert handle == self._handle
        return offset

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset`, fewer only at the end."""
        assert handle == self._handle
        if offset + size <= len(self.head):
            return self.head[offset : offset + size]
        known = self._before.get(offset + size)
        if known is not None and len(known) == size:
            return known
        if offset < self._end - len(self._data):
            self._rewind()
        found: list[bytes] = []
        while size > 0:
            at = offset - (self._end - len(self._data))
            if at < len(self._data):
                piece = self._data[at : at + size]
                found.append(piece)
                offset, size = offset + len(piece), size - len(piece)
            elif not self._forward():
                break
        return b"".join(found)

    def handle_status(self, handle: int) -> model.FileStatus:
        """Return the status of the file, its size decompressed."""
        return dataclasses.replace(self._files.handle_status(handle), size=self.size(handle))

    def close(self, handle: int) -> None:
        """Give the handle back."""
        self._stream = None
        self._files.close(handle)

    # --- how ------------------------------------------------------------------------------------

    def _open(self) -> io.BufferedIOBase:
        return content.open_stream(self._files, self._handle, self._magic)

    def _rewind(self) -> None:
        self._stream, self._data, self._end = None, b"", 0

    def _forward(self) -> bool:
        """Decompress the next block of a file that was sound; it can be no more."""
        try:
            return self._decompress()
        except content.UnreadableError as error:
            raise OSError(errno.EIO, str(error)) from None

    def _decompress(self) -> bool:
        """Decompress the next block; return False at the end of the stream."""
        with content.readable():
            if self._stream is None:
                self._stream = self._open()
            block = self._stream.read(_BLOCK_BYTES)
        self._data = self._data[-model.FRONTIER_BYTES_MAX :] + block
        self._end += len(block)
        return bool(block)


class Unpacker:
    """The compressed files that one flow looks at: opened once, verified a piece at a time."""

    def __init__(self, files: model.Files) -> None:
        """Hold no file yet."""
        self._files = files
        self._held: dict[model.FileIdentity, tuple[tuple[int, int], Unpacked | None, str]] = {}
        self._handles: dict[model.FileIdentity, int] = {}
        self._asked: set[model.FileIdentity] = set()
        self._faults: dict[model.FileIdentity, str] = {}  # of what is tried again and again

    @property
    def handles(self) -> set[int]:
        """Every handle that is held."""
        return set(self._handles.values())

    @property
    def is_busy(self) -> bool:
        """Something is left to be verified."""
        return any(one is not None and not one.is_verified for _, one, _ in self._held.values())

    @property
    def is_awaited(self) -> bool:
        """Something is left to be verified, and nothing hindered that so far."""
        return any(
            one is not None and not one.is_verified and identity not in self._faults
            for identity, (_, one, _) in self._held.items()
        )

    def fault_of(self, identity: model.FileIdentity) -> str:
        """Return why a file could not be verified when that was tried last; empty if it could."""
        return self._faults.get(identity, "")

    def find(self, sighting: model.Sighting, handle: int | None) -> tuple[Unpacked | None, str]:
        """Return what a compressed file holds, or why it cannot be read.

        Args:
            sighting: The file as a scan saw it.
            handle: A descriptor of its own for it, which is taken over; None looks only at what
                is known.
        """
        look = (sighting.size, sighting.mtime_ns)
        self._asked.add(sighting.identity)
        known = self._held.get(sighting.identity)
        if known is not None and known[0] == look:
            if handle is not None:
                self._files.close(handle)
            return known[1], known[2]
        if handle is None:
            return None, ""
        self.drop(sighting.identity)
        one, fault = None, ""
        try:
            magic = content.magic_of(self._files.read(handle, 0, content.MAGIC_BYTES))
            assert magic is not None
            one = Unpacked(self._files, handle, magic)
        except content.UnreadableError as error:
            fault = str(error)
        self._held[sighting.identity] = look, one, fault
        if one is None:
            self._files.close(handle)
        else:
            self._handles[sighting.identity] = handle
        return one, fault

    def knows(self, sighting: model.Sighting) -> bool:
        """Return whether a file is compressed and was looked at as it is."""
        known = self._held.get(sighting.identity)
        return known is not None and known[0] == (sighting.size, sighting.mtime_ns)

    def take(self, identity: model.FileIdentity) -> int:
        """Give a verified file up to a tail, which closes its handle."""
        del self._held[identity]
        return self._handles.pop(identity)

    def drop(self, identity: model.FileIdentity) -> None:
        """Look at a file no more."""
        self._held.pop(identity, None)
        handle = self._handles.pop(identity, None)
        if handle is not None:
            with contextlib.suppress(OSError):
                self._files.close(handle)

    def verify_on(self) -> None:
        """Verify one more piece of the first file that needs it."""
        for identity, (look, one, _) in self._held.items():
            if one is None or one.is_verified:
                continue
            try:
                if one.verify_on():
                    self._faults.pop(identity, None)
            except content.UnreadableError as error:
                self.drop(identity)
                self._held[identity] = look, None, str(error)
            except OSError as error:
                self.drop(identity)  # it is opened again when it is asked for again
                self._faults[identity] = f"cannot read: {error.strerror}"
            return

    def forget_unasked(self) -> None:
        """Give up what nobody asked for since the last call."""
        self.drop_all(set(self._held) - self._asked)
        self._faults = {one: why for one, why in self._faults.items() if one in self._asked}
        self._asked.clear()

    def drop_all(self, identities: Iterable[model.FileIdentity] | None = None) -> None:
        """Look at some files, or at all, no more."""
        for identity in list(self._held if identities is None else identities):
            self.drop(identity)
