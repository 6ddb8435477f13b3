"""Pack many lines into one record: pure, and the hot path.

Decides which lines share a record and what the record's bytes are; never sends, never settles. A
record is packed once: its bytes are kept until they are settled, and whatever goes again is the
same to the byte. The lines themselves are let go, as the record holds them; when the service will
not have it they are taken out of it again.

Law of packing. Lines share a record if they go to the same place (the same partition key; with
`kpl` the same shard). A record is full when the next line would make it longer than the target,
which fills the billing unit; it goes when it is full, or when its oldest line is old enough.

    newline   the lines, each ended by a newline; one that lacks it gets one
    kpl       the aggregated format of Amazon's producer library; a lone line goes as it is

Compression comes last, and for every record, a lone line's too.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import importlib.util
import io
import itertools
import random
import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import pydantic

from kagent import keys, kpl, model, options

Form = Literal["newline", "kpl"]
Compression = Literal["none", "gzip", "zstd"]

_LEVEL = (
    1  # of compression: a log shrinks to a seventh at once, and hardly more for five times the CPU
)
_GZIP_WBITS = 31  # a gzip header; it holds no time, so the same lines give the same bytes
_SHARE_AIMED_AT = 0.95  # of the target: lines do not all shrink alike
_PLACE_BYTES = 50  # where a packed line is in its file, in Python objects
_PACKED_BYTES = 50  # a packed record's own objects
_NEWLINE = b"\n"
_ANY_KEY = "0" * keys.RANDOM_BYTES  # a partition key of which only the length is known yet


class PackOptions(options.Options):
    """How many lines share a record; `pack: newline` is short for `{as: newline}`."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={
            options.EXPECTED_KEY: "one of 'none', 'newline', 'kpl', or a mapping with 'as'"
        }
    )

    form: Form = pydantic.Field(alias="as")
    """newline: lines one after the other, which readers split at newlines. kpl: the aggregated
    records of Amazon's producer library, which its consumer library takes apart."""

    max_bytes: Annotated[int, options.Size(1000, 10 * 1024**2)] | None = None
    """The size that a record is filled to; a longer line goes alone. 25KB for Kinesis, one PUT
    unit, and 1000KB for Firehose, which bills multiples of 5KB."""

    compression: Compression = "none"
    """Compress each record as a whole: gzip, or zstd, which needs `pip install 'kagent[zstd]'`."""


Setting = Annotated[PackOptions, options.Named("as", ("none", "newline", "kpl"), "none")] | None


@dataclasses.dataclass(frozen=True, slots=True)
class PackSettings:
    """PackOptions, resolved for a destination and a buffer."""

    form: Form
    target_bytes: int
    compression: Compression = "none"
    is_plain: bool = False  # lines are as they stand in the file, and have no newline inside
    open_bytes_max: int = 2**62  # of lines waiting; beyond it they go in records that are not full

    @property
    def takes_runs(self) -> bool:
        """Whether lines can be packed as they stand together, without being split."""
        return self.form == "newline" and self.is_plain and self.compression == "none"


def has_zstd() -> bool:
    """Return whether records can be compressed with zstd here."""
    return importlib.util.find_spec("zstandard") is not None


def line_bytes_max(settings: PackSettings, record_bytes_max: int) -> int:
    """Return the longest line that still fits a record when it is packed alone, in bytes."""
    if settings.compression != "none":
        # What does not compress grows: by 5 bytes in 16 KB (gzip) or 3 in 128 KB (zstd), and ends.
        record_bytes_max -= record_bytes_max // 1000 + 64
    return record_bytes_max - (settings.form == "newline")


@dataclasses.dataclass(slots=True)
class _Open:
    """A record that still has room."""

    read_time: float
    size: int  # of the record, before compression
    parts: list[model.Chunk] = dataclasses.field(default_factory=list)
    keys: set[str] = dataclasses.field(default_factory=set)  # partition keys, with `kpl`
    cost: int = 0  # of the lines in memory


class Packer:
    """Fills records with the lines of one flow; owned by its Batcher."""

    def __init__(
        self,
        settings: PackSettings,
        record_bytes_max: int,
        key_bytes: int,
        chooser: random.Random,
        *,
        hash_key: str = "",
        is_keyed_by_bytes: bool = False,
    ) -> None:
        """Start with nothing open.

        Args:
            settings: The form and the size to aim at.
            record_bytes_max: The destination's limit of a record, without a partition key.
            key_bytes: The length of a partition key.
            chooser: Of keys where lines may go anywhere.
            hash_key: The explicit hash key of all records in decimal, or 'random'.
            is_keyed_by_bytes: A record's partition key is a digest of its bytes.
        """
        self._settings = settings
        self._record_bytes_max = record_bytes_max
        self._chooser = chooser
        self._hash_key = hash_key
        self._is_keyed_by_bytes = is_keyed_by_bytes
        self._shard_starts: list[int] = []  # of the open shards, ascending; empty: not known
        self.target_bytes = min(settings.target_bytes - key_bytes, record_bytes_max)
        self._ratios = collections.deque([1.0], 8)  # compressed to raw, of the last records
        self._compress = _compressor(settings.compression)
        self._open: dict[str, _Open] = {}  # by where it goes; the oldest first
        self.held_bytes = 0  # of lines in open records

    def note_shards(self, shards: Sequence[model.ShardRange]) -> None:
        """Take in which shards are open: with `kpl`, lines for the same one share records."""
        self._shard_starts = [one.start for one in shards]

    def add(self, chunk: model.Chunk) -> list[model.Packed]:
        """Take lines that were read; return the records that are full now."""
        if not chunk.keys:
            full = self._add_run(chunk) if chunk.is_run else self._add(chunk)
            while self.held_bytes > self._settings.open_bytes_max:
                full += self._close(next(iter(self._open)))
            return full
        full = []
        first = 0
        for key, run in itertools.groupby(chunk.keys):  # 2 us for each change of key
            last = first + len(list(run))
            part = chunk.slice(first, last)
            part.key, part.keys = key, []
            full += self._add(part)
            first = last
            while self.held_bytes > self._settings.open_bytes_max:
                full += self._close(next(iter(self._open)))
        return full

    def _add_run(self, chunk: model.Chunk) -> list[model.Packed]:
        """Take whole lines as they stand together, and cut them where records are full.

        0.3 CPU-s/GiB, where splitting the lines and joining them again takes 2.
        """
        full: list[model.Packed] = []
        place = self._place(chunk.key)
        (data,) = chunk.records
        first, count = 0, len(data)
        while first < count:
            one, closed = self._opened(place, chunk)
            full += closed
            room = self.target_bytes - one.size
            last = data.rfind(_NEWLINE, first, first + max(0, room)) + 1
            if last == 0 and not one.parts:
                last = data.find(_NEWLINE, first) + 1
            if last:
                self._append(one, _part_of_run(chunk, data, first, last))
                one.size += last - first
                first = last
            if first < count or one.size >= self.target_bytes:
                full += self._close(place)
        return full

    def _add(self, chunk: model.Chunk) -> list[model.Packed]:
        """Take lines of one partition key."""
        full: list[model.Packed] = []
        place = self._place(chunk.key)
        ends, base = self._packed_ends(chunk)
        first, count = 0, len(chunk)
        while first < count:
            one, closed = self._opened(place, chunk)
            full += closed
            last = bisect.bisect_right(ends, base + self._raw_target() - one.size, first)
            if last == first and not one.parts:
                last = first + 1
            if last > first:
                whole = (first, last) == (0, count)
                self._append(one, chunk if whole else chunk.slice(first, last))
                one.size += ends[last - 1] - base
                base, first = ends[last - 1], last
            if first < count or one.size >= self.target_bytes:
                full += self._close(place)
        return full

    def oldest(self) -> float | None:
        """Return when the oldest waiting line was read; None if none waits."""
        return next((one.read_time for one in self._open.values()), None)

    def close(self, max_age_s: float, now: float) -> list[model.Packed]:
        """Return the open records whose oldest line has waited so long."""
        places = itertools.takewhile(
            lambda place: self._open[place].read_time + max_age_s <= now, list(self._open)
        )
        return [packed for place in places for packed in self._close(place)]

    def halve(self, packed: model.Packed) -> list[model.Packed]:
        """Return the lines of a record of two or more as two records for the same place."""
        assert packed.lines > 1
        chunks = self.take_apart(packed)
        halves = _halves(chunks)
        return [record for half in halves for record in self._pack(half, like=packed)]

    def take_apart(self, packed: model.Packed) -> list[model.Chunk]:
        """Return a record's lines as chunks that are not packed."""
        if packed.is_run:
            return _split_run(packed)
        lines = self._lines(packed)
        assert len(lines) == packed.lines
        chunks, at = [], 0
        for chunk in packed.chunks:
            records = lines[at : at + len(chunk)]
            chunks.append(dataclasses.replace(chunk, records=records, attempts=packed.attempts))
            at += len(chunk)
        return chunks

    # --- which lines share a record -----------------------------------------------------------

    def _packed_ends(self, chunk: model.Chunk) -> tuple[Sequence[int], int]:
        """Return where each line ends in packed bytes, and what to count those from.

        Lines as they stand in the file end there as far apart as in a record: nothing is computed.
        """
        if self._settings.form == "kpl":
            return kpl.ends_of(chunk.records), 0
        if self._settings.is_plain and not chunk.dropped_bytes:
            return chunk.ends, chunk.start
        return list(itertools.accumulate(map(len, chunk.records))), 0

    def _place(self, key: str) -> str:
        """Return where lines of a partition key go: what goes to one place may share a record."""
        if self._settings.form == "newline" or not key:
            return key
        if self._hash_key:
            return " "  # wherever the hash key says
        return str(bisect.bisect_right(self._shard_starts, kpl.hash_of(key)))

    def _opened(self, place: str, chunk: model.Chunk) -> tuple[_Open, list[model.Packed]]:
        """Return the open record for a place, and what had to be closed for it."""
        closed: list[model.Packed] = []
        one = self._open.get(place)
        if one is not None and one.parts and one.parts[0].is_run != chunk.is_run:
            closed, one = self._close(place), None
        is_kpl = self._settings.form == "kpl"
        if one is not None and is_kpl and chunk.key not in one.keys:
            if len(one.keys) == kpl.KEYS_MAX:
                closed, one = self._close(place), None
            else:
                one.size += kpl.key_bytes(chunk.key)
                one.keys.add(chunk.key)
        if one is None:
            size = kpl.FIXED_BYTES_MAX + kpl.key_bytes(chunk.key or _ANY_KEY) if is_kpl else 0
            one = self._open[place] = _Open(chunk.read_time, size, keys={chunk.key})
        return one, closed

    def _raw_target(self) -> int:
        """Return how many bytes make a record of the target size when they are compressed."""
        if self._settings.compression == "none":
            return self.target_bytes
        return int(self.target_bytes * _SHARE_AIMED_AT / max(self._ratios))

    def _append(self, one: _Open, part: model.Chunk) -> None:
        cost = part.data_bytes() + model.RECORD_OVERHEAD_BYTES * len(part)
        one.parts.append(part)
        one.cost += cost
        self.held_bytes += cost

    # --- what a record's bytes are ------------------------------------------------------------

    def _close(self, place: str) -> list[model.Packed]:
        one = self._open.pop(place)
        self.held_bytes -= one.cost
        return self._pack(one.parts)

    def _pack(
        self, parts: list[model.Chunk], like: model.Packed | None = None
    ) -> list[model.Packed]:
        """Return lines as one record, or as several if it would be too long for the service.

        Args:
            parts: The lines.
            like: A record that they were in before, whose keys are kept.
        """
        packed = self._encode(parts, like)
        raw_bytes = len(packed.data)
        if self._compress is not None:
            packed.data = self._compress(packed.data)
            if 2 * raw_bytes >= self.target_bytes:  # small ones shrink less
                self._ratios.append(len(packed.data) / raw_bytes)
        if len(packed.data) > self._record_bytes_max and packed.lines > 1:
            return [one for half in _halves(parts) for one in self._pack(half, like)]
        least = len(packed.data) + _PACKED_BYTES
        cost = sum(part.data_bytes() for part in parts)
        cost += model.RECORD_OVERHEAD_BYTES * packed.lines
        packed.cost_bytes = max(least, min(cost, least + _PLACE_BYTES * packed.lines))
        packed.read_time = min(part.read_time for part in parts)
        packed.chunks = [part.without_records() for part in parts]
        return [packed]

    def _encode(self, parts: list[model.Chunk], like: model.Packed | None) -> model.Packed:
        lines = sum(map(len, parts))
        key = like.key if like else parts[0].key
        if parts[0].is_run:
            data = b"".join([record for part in parts for record in part.records])
            if self._is_keyed_by_bytes:
                key = keys.hash_key_of(data)
            lines = 1 if data.find(_NEWLINE) == len(data) - 1 else 2
            return model.Packed(data, parts, lines, 0, key, is_run=True)
        if self._settings.form == "newline":
            data, sizes = self._join(parts, lines)
            if self._is_keyed_by_bytes:
                key = keys.hash_key_of(data)
            return model.Packed(data, parts, lines, 0, key, sizes=sizes)
        if lines == 1:  # as the producer library does
            return model.Packed(parts[0].records[0], parts, 1, 0, parts[0].key or key)
        hash_key = like.hash_key if like else ""
        key = key or f"{self._chooser.getrandbits(4 * len(_ANY_KEY)):0{len(_ANY_KEY)}x}"
        if self._hash_key == keys.RANDOM:
            hash_key = hash_key or str(self._chooser.getrandbits(128))
        hash_key = hash_key or self._hash_key or str(kpl.hash_of(key))
        runs = [(part.key or key, part.records) for part in parts]
        return model.Packed(kpl.encode(runs, hash_key), parts, lines, 0, key, hash_key)

    def _join(self, parts: list[model.Chunk], lines: int) -> tuple[bytes, Sequence[int]]:
        """Return lines joined, and their sizes unless those are the same in the file."""
        if self._settings.is_plain and not any(part.dropped_bytes for part in parts):
            data = b"".join([b"".join(part.records) for part in parts])
            if data.count(_NEWLINE) == lines:
                return data, ()
        records = [record for part in parts for record in part.records]
        sizes = list(map(len, records))
        if sum(map(bytes.endswith, records, itertools.repeat(_NEWLINE))) < lines:
            # Lines without their newline, as `terminator: strip` makes them: 0.06 us each.
            records = [one if one.endswith(_NEWLINE) else one + _NEWLINE for one in records]
        return b"".join(records), sizes

    def _lines(self, packed: model.Packed) -> list[bytes]:
        """Return the lines of a record as they were before they were packed."""
        data = decompress(packed.data, self._settings.compression)
        if self._settings.form == "kpl":
            records = kpl.decode(data) if packed.lines > 1 else None
            return [data] if records is None else [one.data for one in records]
        sizes = packed.sizes or [
            end - start
            for chunk in packed.chunks
            for start, end in zip(chunk.starts, chunk.ends, strict=True)
        ]
        lines, at = [], 0
        for size in sizes:
            line = data[at : at + size]
            lines.append(line)
            at += size + (not line.endswith(_NEWLINE))
        assert at == len(data)
        return lines


def _part_of_run(chunk: model.Chunk, data: bytes, first: int, last: int) -> model.Chunk:
    """Return bytes `[first, last)` of a run of lines as a run of its own."""
    if (first, last) == (0, len(data)):
        return chunk
    start, end = chunk.start + first, chunk.start + last
    part = model.Chunk(chunk.tail_id, [data[first:last]], [start], [end], start, end)
    part.read_time, part.key, part.is_plain, part.is_run = chunk.read_time, chunk.key, True, True
    return part


def _split_run(packed: model.Packed) -> list[model.Chunk]:
    """Return the lines of a record that were never split, as chunks."""
    chunks, at = [], 0
    for run in packed.chunks:
        size = run.end - run.start
        lines = io.BytesIO(packed.data[at : at + size]).readlines()
        ends = list(itertools.accumulate(map(len, lines), initial=run.start))
        chunk = model.Chunk(run.tail_id, lines, ends[:-1], ends[1:], run.start, run.end)
        chunk.read_time, chunk.key, chunk.is_plain = run.read_time, run.key, True
        chunk.attempts = packed.attempts
        chunks.append(chunk)
        at += size
    return chunks


def _halves(parts: list[model.Chunk]) -> tuple[list[model.Chunk], list[model.Chunk]]:
    """Return lines as two lists of chunks, of the same number of lines."""
    middle = sum(map(len, parts)) // 2
    first: list[model.Chunk] = []
    second: list[model.Chunk] = []
    for part in parts:
        here = max(0, min(len(part), middle))
        if here:
            first.append(part.slice(0, here))
        if here < len(part):
            second.append(part.slice(here, len(part)))
        middle -= len(part)
    return first, second


def _compressor(compression: Compression) -> Callable[[bytes], bytes] | None:
    """Return what compresses a record, the same bytes to the same bytes; None for nothing."""
    if compression == "none":
        return None
    if compression == "gzip":
        return lambda data: zlib.compress(data, _LEVEL, _GZIP_WBITS)
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    return compressor.compress


def decompress(data: bytes, compression: Compression) -> bytes:
    """Return what was compressed."""
    if compression == "none":
        return data
    if compression == "gzip":
        return zlib.decompress(data, _GZIP_WBITS)
    import zstandard

    return zstandard.ZstdDecompressor().decompress(data)
