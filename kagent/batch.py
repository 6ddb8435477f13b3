"""Cut records into requests: pure, and the hot path.

The Batcher holds every record between its split and its settlement that is not in flight, decides
which go into the next request, and takes refused ones back with a due time. It never sends, never
settles, and knows no file but by its tail_id.

Law of the order of service: halves of a rejected batch first, as they are; then refused records
that are due, oldest due first; then fresh records, in the order they were read; suspects last, so
that they never keep from the service what it may accept. With `is_ordered` refused records go
first and alone, and everything else waits for them.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import heapq
import itertools
import random
from collections.abc import Iterable, Sequence
from typing import Annotated

import pydantic

from kagent import model, options

_KEY_BYTES = 8
_KEY_POOL = 8192  # keys prepared once; a batch takes a run of them at a random place


class BatchOptions(options.Options):
    """When a batch is sent, in API records; the destination's limits bound all of them."""

    max_age: Annotated[float, options.Duration(0.0, 900.0)] | None = None
    """How long a record may wait for others; 1 s for Kinesis and 10 s for Firehose."""

    max_records: int | None = pydantic.Field(default=None, ge=1, le=500)
    """Records of one request; 500 when left out."""

    max_bytes: Annotated[int, options.Size(1024, 10 * 1024**2)] | None = None
    """Bytes of one request, partition keys included; 5 MiB for Kinesis, 4 MiB for Firehose."""


@dataclasses.dataclass(frozen=True, slots=True)
class BatchSettings:
    """BatchOptions with the destination's defaults in place of what was left out."""

    max_age_s: float
    records_max: int
    bytes_max: int
    is_ordered: bool = False


@dataclasses.dataclass(order=True, slots=True)
class _Waiting:
    due: float
    order: int
    chunk: model.Chunk = dataclasses.field(compare=False)


@dataclasses.dataclass(order=True, slots=True)
class _Half:
    order: tuple[float, int]
    due: float = dataclasses.field(compare=False)
    batch: model.Batch = dataclasses.field(compare=False)


class Batcher:
    """Records on their way to one destination; owned by the flow's thread."""

    def __init__(
        self, settings: BatchSettings, limits: model.BatchLimits, chooser: random.Random
    ) -> None:
        """Prepare partition keys, if the destination has them, from the given randomness."""
        assert settings.records_max <= limits.records_max
        assert settings.bytes_max <= limits.request_bytes_max
        self._settings = settings
        self._chooser = chooser
        self._keys = (
            [f"{chooser.getrandbits(_KEY_BYTES * 4):0{_KEY_BYTES}x}" for _ in range(_KEY_POOL)]
            if limits.has_partition_keys
            else []
        )
        self.key_bytes = _KEY_BYTES if self._keys else 0  # of each record's partition key
        self._fresh: collections.deque[model.Chunk] = collections.deque()
        self._fresh_from = 0  # records of the first fresh chunk that were already taken
        self._fresh_records = 0
        self._fresh_bytes = 0
        self._waiting: list[_Waiting] = []
        self._halves: list[_Half] = []
        self._suspects: list[_Half] = []
        self._order = itertools.count()
        self.held_bytes = 0  # everything not yet released, what is in flight included

    def add(self, chunk: model.Chunk) -> None:
        """Take records that were read; they are held until released."""
        self.hold(chunk)
        self._fresh.append(chunk)
        self._fresh_records += len(chunk)
        self._fresh_bytes += sum(map(len, chunk.records))

    def hold(self, chunk: model.Chunk) -> None:
        """Count records that take memory until they are released, without ever taking them."""
        assert chunk.records
        self.held_bytes += _cost(chunk)

    def put_back(self, chunks: Iterable[model.Chunk], due: float) -> None:
        """Take back records that were not accepted, to be tried again from `due` on."""
        for chunk in chunks:
            heapq.heappush(self._waiting, _Waiting(due, next(self._order), chunk))

    def put_back_whole(self, batch: model.Batch, due: float) -> None:
        """Take back a batch that must be sent again as it is."""
        assert batch.is_whole
        # The last one put back comes first: with `is_ordered` it is the one to go on with.
        order = (0.0 if self._settings.is_ordered else due, -next(self._order))
        heapq.heappush(self._halves, _Half(order, due, batch))

    def put_back_halves(self, batch: model.Batch, due: float) -> None:
        """Take back a rejected batch of two or more records as two, the first half to go first."""
        for half in reversed(halve(batch)):
            self.put_back_whole(half, due)

    def put_back_last(self, batch: model.Batch, due: float) -> None:
        """Take back a lone record that was rejected, to be tried when nothing else is due."""
        assert len(batch.records) == 1
        heapq.heappush(self._suspects, _Half((due, next(self._order)), due, batch))

    def release(self, chunk: model.Chunk) -> None:
        """Forget records whose fate is final: their memory is free."""
        self.held_bytes -= _cost(chunk)
        assert self.held_bytes >= 0

    def next_due(self) -> float | None:
        """Return the monotonic time at which `take` gives a batch, None if nothing is held."""
        if self._settings.is_ordered and self._waiting:
            return self._waiting[0].due
        if self._settings.is_ordered and self._halves:
            return self._halves[0].due
        heaps = (self._waiting, self._halves, self._suspects)
        dues = [heap[0].due for heap in heaps if heap]
        if self._fresh:
            ripe = self._fresh[0].read_time
            dues.append(ripe if self._is_full() else ripe + self._settings.max_age_s)
        return min(dues, default=None)

    def take(
        self, now: float, records_max: int | None = None, bytes_max: int | None = None
    ) -> model.Batch | None:
        """Return the next batch that is full, old enough or due; None if there is none yet.

        Args:
            now: Monotonic time.
            records_max: The most that a new request may hold now; None: as the settings say.
            bytes_max: The same for its bytes; a lone record may be larger.
        """
        records_max = min(records_max or self._settings.records_max, self._settings.records_max)
        bytes_max = min(bytes_max or self._settings.bytes_max, self._settings.bytes_max)
        if self._settings.is_ordered and self._waiting:
            if self._waiting[0].due > now:
                return None
            return self._cut(now, records_max, bytes_max, with_fresh=False)
        if self._halves and self._halves[0].due <= now:
            return heapq.heappop(self._halves).batch
        if self._settings.is_ordered and self._halves:
            return None
        if self._is_ripe(now):
            return self._cut(now, records_max, bytes_max)
        if self._suspects and self._suspects[0].due <= now:
            return heapq.heappop(self._suspects).batch
        return None

    def _is_ripe(self, now: float) -> bool:
        """Refused records are due, or fresh ones are many or old enough."""
        if self._waiting and self._waiting[0].due <= now:
            return True
        if not self._fresh:
            return False
        return self._is_full() or self._fresh[0].read_time + self._settings.max_age_s <= now

    def _is_full(self) -> bool:
        return (
            self._fresh_records >= self._settings.records_max
            or self._fresh_bytes + self.key_bytes * self._fresh_records >= self._settings.bytes_max
        )

    def _cut(
        self, now: float, records_max: int, bytes_max: int, *, with_fresh: bool = True
    ) -> model.Batch:
        """Fill one request from the records that are due, then from fresh ones."""
        chunks: list[model.Chunk] = []
        records_room, bytes_room = records_max, bytes_max
        while records_room:
            is_fresh = not (self._waiting and self._waiting[0].due <= now)
            if is_fresh and not (with_fresh and self._fresh):
                break
            chunk = self._fresh[0] if is_fresh else self._waiting[0].chunk
            first = self._fresh_from if is_fresh else 0
            count, size = self._fit(chunk, first, records_room, bytes_room, is_first=not chunks)
            if count == 0:
                break
            chunks.append(chunk.slice(first, first + count))
            if is_fresh:
                self._pass_fresh(count, size - self.key_bytes * count)
            else:
                self._pass_waiting(count)
            records_room, bytes_room = records_room - count, bytes_room - size
        records = list(itertools.chain.from_iterable(chunk.records for chunk in chunks))
        keys = self._choose_keys(len(records))
        return model.Batch(records, keys, chunks, bytes_max - bytes_room)

    def _pass_fresh(self, count: int, size: int) -> None:
        """Move on behind the fresh records that were taken."""
        self._fresh_from += count
        self._fresh_records -= count
        self._fresh_bytes -= size
        if self._fresh_from == len(self._fresh[0]):
            self._fresh.popleft()
            self._fresh_from = 0

    def _pass_waiting(self, count: int) -> None:
        """Leave what was not taken of the first waiting chunk where it was."""
        waiting = heapq.heappop(self._waiting)
        if count < len(waiting.chunk):
            waiting.chunk = waiting.chunk.slice(count, len(waiting.chunk))
            heapq.heappush(self._waiting, waiting)

    def _fit(
        self, chunk: model.Chunk, first: int, records_room: int, bytes_room: int, *, is_first: bool
    ) -> tuple[int, int]:
        """Return how many records from `first` on fit the room, and their bytes with keys.

        A lone record always fits: the splitter holds records below the destination's limit, and
        only `max_bytes`, an operator's wish, can be smaller.
        """

        def size_of(count: int) -> int:
            records = chunk.records[first : first + count]
            return sum(map(len, records)) + self.key_bytes * count

        count = min(records_room, len(chunk) - first)
        size = size_of(count)
        if size > bytes_room:
            count = bisect.bisect_right(range(1, count + 1), bytes_room, key=size_of)
            if count == 0 and is_first:
                count = 1
            size = size_of(count)
        return count, size

    def _choose_keys(self, count: int) -> list[str]:
        if not self._keys:
            return []
        at = self._chooser.randrange(len(self._keys) - count + 1)
        return self._keys[at : at + count]


def _cost(chunk: model.Chunk) -> int:
    return sum(map(len, chunk.records)) + model.RECORD_OVERHEAD_BYTES * len(chunk)


def divide(
    batch: model.Batch, refused: Sequence[int]
) -> tuple[list[model.Chunk], list[model.Chunk]]:
    """Return a batch's accepted and refused records as chunks that tile the batch's chunks.

    Args:
        batch: A batch that the service answered.
        refused: Indices of its refused records, ascending.
    """
    accepted: list[model.Chunk] = []
    returned: list[model.Chunk] = []
    base = 0
    for chunk in batch.chunks:
        first = bisect.bisect_left(refused, base)
        last = bisect.bisect_left(refused, base + len(chunk))
        if first == last:
            accepted.append(chunk)
        else:
            indices = [index - base for index in refused[first:last]]
            _divide_chunk(chunk, indices, accepted, returned)
        base += len(chunk)
    return accepted, returned


def halve(batch: model.Batch) -> tuple[model.Batch, model.Batch]:
    """Return the two halves of a batch of two or more records, to be sent as they are."""
    middle = len(batch.records) // 2
    first, second = divide(batch, range(middle, len(batch.records)))
    halves = []
    for chunks, part in ((first, slice(middle)), (second, slice(middle, None))):
        records, keys = batch.records[part], batch.partition_keys[part]
        size = sum(map(len, records)) + sum(map(len, keys))
        halves.append(model.Batch(records, keys, chunks, size, is_whole=True))
    return halves[0], halves[1]


def _divide_chunk(
    chunk: model.Chunk,
    refused: list[int],
    accepted: list[model.Chunk],
    returned: list[model.Chunk],
) -> None:
    """Cut one chunk at its runs of refused records; only records that were refused cost a turn."""
    at = 0
    while refused:
        first = refused.pop(0)
        last = first + 1
        while refused and refused[0] == last:
            last = refused.pop(0) + 1
        if at < first:
            accepted.append(chunk.slice(at, first))
        returned.append(chunk.slice(first, last))
        at = last
    if at < len(chunk):
        accepted.append(chunk.slice(at, len(chunk)))
