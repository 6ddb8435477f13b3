"""What a file holds, as proofs see it: its bytes, or the bytes that were compressed into it.

Answers how long the content is, which digests of a checkpoint hold in it, and where its last line
begins. A compressed file is decompressed as a stream: memory stays bounded whatever it holds, and
nothing is decompressed at all unless its first bytes are those of a known file.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, cast

from kagent import model, proof

_BLOCK_BYTES = 1024**2
MAGIC_BYTES = 6  # of the longest in _FORMATS
_ZSTD_BYTES = 4096


class UnreadableError(Exception):
    """A compressed file cannot be read; the message says why."""


class Content(Protocol):
    """Bytes that may continue a checkpoint."""

    head: bytes  # the first FINGERPRINT_BYTES_MAX

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def evidence(self, checkpoint: model.Checkpoint) -> model.Evidence:
        """Return which digests of a checkpoint hold."""
        ...

    def last_line_end(self) -> int:
        """Return the offset after the last newline, 0 if there is none."""
        ...


class Plain:
    """The bytes of a file as they are."""

    def __init__(self, files: model.Files, handle: int) -> None:
        """Look at the head and the size."""
        self._files = files
        self._handle = handle
        self.head = files.read(handle, 0, model.FINGERPRINT_BYTES_MAX)
        self.size = 0

    def look(self) -> None:
        """Look how long it is; called after the checkpoints were read, so that growth shows."""
        self.size = self._files.size(self._handle)

    def evidence(self, checkpoint: model.Checkpoint) -> model.Evidence:
        """Return which digests of a checkpoint hold."""
        return proof.gather_evidence(self._files, self._handle, checkpoint)

    def last_line_end(self) -> int:
        """Return the offset after the last newline, 0 if there is none."""
        return proof.last_line_end(self._files, self._handle, self.size)


class Compressed:
    """The bytes that a compressed file stands for."""

    def __init__(self, files: model.Files, handle: int, magic: bytes) -> None:
        """Decompress the head.

        Raises:
            UnreadableError: it is damaged, cut short, or there is no decompressor for it.
        """
        self._files = files
        self._handle = handle
        self._magic = magic
        self._before: Mapping[int, bytes] = {}
        self._line_end = 0
        self.size = 0
        with readable(), self._open() as stream:
            self.head = stream.read(model.FINGERPRINT_BYTES_MAX)

    def _open(self) -> io.BufferedIOBase:
        return open_stream(self._files, self._handle, self._magic)

    def look(self, checkpoints: Iterable[model.Checkpoint]) -> None:
        """Decompress everything once, keeping what stands before the offsets that are proved.

        Raises:
            UnreadableError: it is damaged or cut short.
        """
        wanted = sorted({one.offset for row in checkpoints for one in proof.frontiers(row)})
        found: dict[int, bytes] = {}
        position, edge = 0, b""
        with readable(), self._open() as stream:
            while data := stream.read(_BLOCK_BYTES):
                start, data = position - len(edge), edge + data
                position = start + len(data)
                while wanted and wanted[0] <= position:
                    offset, size = proof.before(wanted[0])
                    found[wanted.pop(0)] = data[offset - start : offset - start + size]
                newline = data.rfind(b"\n")
                self._line_end = start + newline + 1 if newline >= 0 else self._line_end
                edge = data[-model.FRONTIER_BYTES_MAX :]
        self.size, self._before = position, found

    def evidence(self, checkpoint: model.Checkpoint) -> model.Evidence:
        """Return which digests of a checkpoint hold."""
        fingerprint = checkpoint.fingerprint
        head = self.head[: fingerprint.length]
        held = {
            one.offset
            for one in proof.frontiers(checkpoint)
            if one.offset in self._before and proof.digest(self._before[one.offset]) == one.digest
        }
        return model.Evidence(proof.digest(head) == fingerprint.digest, frozenset(held))

    def last_line_end(self) -> int:
        """Return the offset after the last newline, 0 if there is none."""
        return self._line_end


def compressed(files: model.Files, handle: int) -> Compressed | None:
    """Return what a file decompresses to; None if it is not compressed.

    Raises:
        UnreadableError: it is compressed, and damaged or without a decompressor.
    """
    magic = magic_of(files.read(handle, 0, MAGIC_BYTES))
    return Compressed(files, handle, magic) if magic else None


def magic_of(head: bytes) -> bytes | None:
    """Return by which first bytes a file is known to be compressed, None if it is not."""
    return next((magic for magic in _FORMATS if head.startswith(magic)), None)


def open_stream(files: model.Files, handle: int, magic: bytes) -> io.BufferedIOBase:
    """Return what a compressed file stands for, from its beginning."""
    return _FORMATS[magic](io.BufferedReader(_HandleReader(files, handle), _BLOCK_BYTES))


class _HandleReader(io.RawIOBase):
    """An open file of `model.Files` as a stream."""

    def __init__(self, files: model.Files, handle: int) -> None:
        self._files = files
        self._handle = handle
        self._offset = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._files.read(self._handle, self._offset, len(buffer))
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)


def _open_gzip(source: io.BufferedReader) -> io.BufferedIOBase:
    return gzip.GzipFile(fileobj=source, mode="rb")


def _open_zstd(source: io.BufferedReader) -> io.BufferedIOBase:
    """Open a stream of zstd frames: by Python from 3.14 on, else by the package zstandard."""
    with contextlib.suppress(ImportError):
        standard = importlib.import_module("compression.zstd")
        return cast("io.BufferedIOBase", standard.ZstdFile(source))
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        raise UnreadableError(
            "is compressed by zstd, which this Python cannot read; hint: pip install kagent[zstd]"
        ) from None
    # A window of 128 MiB is what `zstd -d` takes by itself; a larger one is an attack on memory.
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    return io.BufferedReader(_FrameReader(source, decompressor.decompressobj), _BLOCK_BYTES)


class _FrameReader(io.RawIOBase):
    """Zstd frames as a stream that says when it was cut short, as zstandard's own does not."""

    def __init__(self, source: io.BufferedReader, begin_frame: Callable[[], Any]) -> None:
        self._source = source
        self._begin_frame = begin_frame
        self._frame: Any = None
        self._rest = b""  # of the source, behind a frame
        self._data = b""  # decompressed, not read yet

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._data:
            # So few bytes at once, for a block of 4 bytes can stand for 128 KiB.
            data = self._rest or self._source.read(_ZSTD_BYTES)
            self._rest = b""
            if not data:
                if self._frame is not None:
                    raise EOFError
                return 0
            if self._frame is None:
                self._frame = self._begin_frame()
            self._data = self._frame.decompress(data)
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._data))
        buffer[:size] = self._data[:size]
        self._data = self._data[size:]
        return size


def _refusing(form: str) -> Callable[[io.BufferedReader], io.BufferedIOBase]:
    """Return what opens no archive of a form: known, so that it is never taken for lines."""

    def refuse(_: io.BufferedReader) -> io.BufferedIOBase:
        raise UnreadableError(
            f"is compressed by {form}, which kagent cannot read, only gzip or zstd"
        )

    return refuse


_FORMATS: Mapping[bytes, Callable[[io.BufferedReader], io.BufferedIOBase]] = {
    b"\x1f\x8b\x08": _open_gzip,
    b"\x28\xb5\x2f\xfd": _open_zstd,
    b"\xfd7zXZ\x00": _refusing("xz"),
    b"\x04\x22\x4d\x18": _refusing("lz4"),
    # A level, and the digits of pi that begin its first block.
    **{b"BZh%d1A" % level: _refusing("bzip2") for level in range(1, 10)},
}


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Translate what decompressors say of a file that is damaged or still being written."""
    try:
        yield
    except EOFError:
        raise UnreadableError("is compressed and not complete") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableError(f"is compressed and damaged: {error}") from None
    except Exception as error:
        if type(error).__name__ != "ZstdError":  # of whichever library there is
            raise
        raise UnreadableError(f"is compressed and damaged: {error}") from None
