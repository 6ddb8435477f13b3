"""Cut records into requests: pure, and the hot path.

The Batcher holds every record between its split and its settlement that is not in flight, decides
which go into the next request, and takes refused ones back with a due time. It never sends, never
settles, and knows no file but by its tail_id.

Law of the order of service: halves of a rejected batch first, as they are; then refused records
that are due, oldest due first; then fresh records, in the order they were read; suspects last, so
that they never keep from the service what it may accept. With `is_ordered` refused records go
first and alone, and everything else waits for them.

With packing, lines become records of many (`pack`) as soon as a record is full or old enough, and
the law holds for those.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, NamedTuple

import pydantic

from kagent import keys, model, options, pack

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
    pack: pack.PackSettings | None = None
    partition_key: keys.Setting = keys.RANDOM
    hash_key: str = ""  # explicit: 'random', or a number in decimal; empty for none

    @property
    def needs_shards(self) -> bool:
        """Whether lines can be packed only when the open shards are known."""
        is_kpl = self.pack is not None and self.pack.form == "kpl"
        return is_kpl and self.partition_key != keys.RANDOM and not self.hash_key


class _Waiting(NamedTuple):
    """Cargo in a heap; no two have the same order, so nothing behind it is ever compared."""

    due: float
    order: int
    cargo: model.Cargo


class _Half(NamedTuple):
    """A batch in a heap, as `_Waiting`."""

    order: tuple[float, int]
    due: float
    batch: model.Batch


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
        form = settings.pack.form if settings.pack is not None else "none"
        self.keys = keys.Keys(settings.partition_key, is_packed_as_one=form == "newline")
        self._pool = _random_keys(chooser) if limits.has_partition_keys else []
        # Of each record's partition key, and the longest line that a record can hold with it.
        self.key_bytes = self.keys.bytes_max if self._pool else 0
        self.line_bytes_max = limits.record_bytes_max - self.key_bytes
        # A record that is refused goes to the same shard again.
        self.has_fixed_keys = form == "kpl" or (
            bool(self._pool) and not self.keys.is_random and settings.hash_key != keys.RANDOM
        )
        self.lacks_shards = settings.needs_shards  # then nothing may be added yet
        self.run_bytes = 0  # not 0: lines need not be split, and records are filled to so many
        self._packer: pack.Packer | None = None
        if settings.pack is not None:
            self._packer = pack.Packer(
                settings.pack,
                self.line_bytes_max,
                self.key_bytes,
                chooser,
                hash_key=settings.hash_key,
                is_keyed_by_bytes=self.keys.is_of_record,
            )
            if settings.pack.takes_runs and (self.keys.is_random or self.keys.is_of_record):
                self.run_bytes = self._packer.target_bytes
            self.line_bytes_max = pack.line_bytes_max(settings.pack, self.line_bytes_max)
        self._fresh: collections.deque[model.Cargo] = collections.deque()
        self._fresh_from = 0  # records of the first fresh chunk that were already taken
        self._fresh_records = 0
        self._fresh_bytes = 0  # partition keys included
        self._waiting: list[_Waiting] = []
        self._halves: list[_Half] = []
        self._suspects: list[_Half] = []
        self._order = itertools.count()
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """The memory of everything not yet released, what is in flight included."""
        return self._held_bytes + (self._packer.held_bytes if self._packer else 0)

    def note_shards(self, shards: Sequence[model.ShardRange]) -> None:
        """Take in which shards are open; nothing that was packed changes."""
        if self._packer is not None and shards:
            self._packer.note_shards(shards)
            self.lacks_shards = False

    def add(self, chunk: model.Chunk) -> None:
        """Take records that were read; they are held until released."""
        if self._packer is not None:
            self._add_packed(self._packer.add(chunk))
            return
        self.hold(chunk)
        self._fresh.append(chunk)
        self._fresh_records += len(chunk)
        self._fresh_bytes += self._size_of(chunk, 0, len(chunk))

    def _add_packed(self, records: Iterable[model.Packed]) -> None:
        """Take lines that were added before and share a record now."""
        for packed in records:
            self._held_bytes += packed.cost_bytes
            self._fresh.append(packed)
            self._fresh_records += 1
            self._fresh_bytes += self._size_of(packed, 0, 1)

    def hold(self, chunk: model.Chunk) -> None:
        """Count records that take memory until they are released, without ever taking them."""
        assert chunk.records
        self._held_bytes += _cost(chunk)

    def put_back(self, cargo: Iterable[model.Cargo], due: float) -> None:
        """Take back records that were not accepted, to be tried again from `due` on."""
        for one in cargo:
            heapq.heappush(self._waiting, _Waiting(due, next(self._order), one))

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

    def unpack(self, batch: model.Batch) -> list[model.Batch]:
        """Return a lone record of two or more lines as two batches of one record each.

        The service rejected it, so it holds none of the lines: they may share records anew.
        """
        assert self._packer is not None
        (packed,) = batch.packed
        halves = self._packer.halve(packed)
        self._held_bytes += sum(half.cost_bytes for half in halves) - packed.cost_bytes
        return [self._batch_of([one], self._size_of(one, 0, 1), is_whole=True) for one in halves]

    def lone_line(self, batch: model.Batch) -> model.Chunk:
        """Return the one line of a lone record, as a chunk that is held and will not be sent."""
        if not batch.packed:
            (chunk,) = batch.chunks
            return chunk
        assert self._packer is not None
        (packed,) = batch.packed
        (chunk,) = self._packer.take_apart(packed)
        self._held_bytes += _cost(chunk) - packed.cost_bytes
        return chunk

    def settle(
        self, batch: model.Batch, refused: Sequence[int]
    ) -> tuple[list[model.Chunk], Sequence[model.Cargo]]:
        """Forget the accepted records of a batch; return their chunks, and what was refused.

        Args:
            batch: A batch that the service answered.
            refused: Indices of its refused records, ascending.
        """
        if batch.packed:
            costs = sum(packed.cost_bytes for packed in batch.packed)
            kept = sum(batch.packed[index].cost_bytes for index in refused)
            divided = divide(batch, refused)
        else:
            costs = sum(map(_cost, batch.chunks))
            settled, returned = _divide_chunks(batch.chunks, refused, model.Chunk.span)
            kept = sum(map(_cost, returned))
            divided = settled, returned
        self._held_bytes -= costs - kept
        assert self._held_bytes >= 0
        return divided

    def release(self, chunk: model.Chunk) -> None:
        """Forget records whose fate is final: their memory is free."""
        self._held_bytes -= _cost(chunk)
        assert self._held_bytes >= 0

    def next_due(self) -> float | None:
        """Return the monotonic time at which `take` gives a batch, None if nothing is held."""
        if self._settings.is_ordered and self._waiting:
            return self._waiting[0].due
        if self._settings.is_ordered and self._halves:
            return self._halves[0].due
        heaps = (self._waiting, self._halves, self._suspects)
        dues = [heap[0].due for heap in heaps if heap]
        oldest = self._oldest()
        if oldest is not None:
            dues.append(oldest if self._is_full() else oldest + self._settings.max_age_s)
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
        oldest = self._oldest()
        if oldest is None:
            return False
        return self._is_full() or oldest + self._settings.max_age_s <= now

    def _oldest(self) -> float | None:
        """Return when the oldest fresh line was read; None if there is none."""
        times = [self._fresh[0].read_time] if self._fresh else []
        opened = self._packer.oldest() if self._packer else None
        return min(times if opened is None else [*times, opened], default=None)

    def _is_full(self) -> bool:
        return (
            self._fresh_records >= self._settings.records_max
            or self._fresh_bytes >= self._settings.bytes_max
        )

    def _cut(
        self, now: float, records_max: int, bytes_max: int, *, with_fresh: bool = True
    ) -> model.Batch:
        """Fill one request from the records that are due, then from fresh ones."""
        if self._packer is not None and with_fresh:
            self._add_packed(self._packer.close(self._settings.max_age_s, now))
        cargo: list[model.Cargo] = []
        records_room, bytes_room = records_max, bytes_max
        while records_room:
            is_fresh = not (self._waiting and self._waiting[0].due <= now)
            if is_fresh and not (with_fresh and self._fresh):
                break
            one = self._fresh[0] if is_fresh else self._waiting[0].cargo
            first = self._fresh_from if is_fresh else 0
            count, size = self._fit(one, first, records_room, bytes_room, is_first=not cargo)
            if count == 0:
                break
            is_all = count == len(one) and not is_fresh
            if is_all or isinstance(one, model.Packed):
                cargo.append(one)
            else:
                cargo.append(one.slice(first, first + count))
            if is_fresh:
                self._pass_fresh(count, size)
            else:
                self._pass_waiting(count)
            records_room, bytes_room = records_room - count, bytes_room - size
        return self._batch_of(cargo, bytes_max - bytes_room)

    def _batch_of(
        self, cargo: list[model.Cargo], size: int, *, is_whole: bool = False
    ) -> model.Batch:
        packed = [one for one in cargo if isinstance(one, model.Packed)]
        chunks = [one for one in cargo if isinstance(one, model.Chunk)]
        records = list(itertools.chain.from_iterable(chunk.records for chunk in chunks))
        records += [one.data for one in packed]
        partition_keys = self._choose_keys(cargo, len(records))
        hash_keys = self._choose_hash_keys(packed, len(records))
        return model.Batch(records, partition_keys, chunks, size, is_whole, packed, hash_keys)

    def _pass_fresh(self, count: int, size: int) -> None:
        """Move on behind the fresh records that were taken."""
        self._fresh_from += count
        self._fresh_records -= count
        self._fresh_bytes -= size
        first = self._fresh[0]
        if isinstance(first, model.Packed) or self._fresh_from == len(first):
            self._fresh.popleft()
            self._fresh_from = 0

    def _pass_waiting(self, count: int) -> None:
        """Leave what was not taken of the first waiting chunk where it was."""
        waiting = heapq.heappop(self._waiting)
        if isinstance(waiting.cargo, model.Chunk) and count < len(waiting.cargo):
            rest = waiting.cargo.slice(count, len(waiting.cargo))
            heapq.heappush(self._waiting, waiting._replace(cargo=rest))

    def _fit(
        self, cargo: model.Cargo, first: int, records_room: int, bytes_room: int, *, is_first: bool
    ) -> tuple[int, int]:
        """Return how many records from `first` on fit the room, and their bytes with keys.

        A lone record always fits: the splitter holds records below the destination's limit, and
        only `max_bytes`, an operator's wish, can be smaller.
        """

        def size_of(count: int) -> int:
            return self._size_of(cargo, first, first + count)

        count = min(records_room, len(cargo) - first)
        size = size_of(count)
        if size > bytes_room:
            count = bisect.bisect_right(range(1, count + 1), bytes_room, key=size_of)
            if count == 0 and is_first:
                count = 1
            size = size_of(count)
        return count, size

    def _size_of(self, cargo: model.Cargo, first: int, last: int) -> int:
        """Return what the service counts of records `[first, last)`: data and partition keys."""
        if isinstance(cargo, model.Packed):
            size = len(cargo.data)
        else:
            size = cargo.data_bytes(first, last)
            if cargo.keys and self._pool:
                chosen = cargo.keys[first:last]
                return size + sum(len(key.encode()) or keys.RANDOM_BYTES for key in chosen)
        if not self._pool:
            return size
        return size + (len(cargo.key.encode()) or keys.RANDOM_BYTES) * (last - first)

    def _choose_keys(self, cargo: Sequence[model.Cargo], count: int) -> list[str]:
        """Return a partition key for each record; those that say none get a random one."""
        if not self._pool:
            return []
        at = self._chooser.randrange(len(self._pool) - count + 1)
        chosen = self._pool[at : at + count]
        if self.keys.is_random and self._packer is None:
            return chosen
        found: list[str] = []
        for one in cargo:
            many = one.keys if isinstance(one, model.Chunk) else ()
            found += many or [one.key] * len(one)
        return [key or other for key, other in zip(found, chosen, strict=True)]

    def _choose_hash_keys(self, packed: Sequence[model.Packed], count: int) -> list[str]:
        """Return an explicit hash key for each record, or none at all."""
        wanted = self._settings.hash_key
        if not self._pool or not (wanted or any(one.hash_key for one in packed)):
            return []
        if wanted == keys.RANDOM:
            chosen = [str(self._chooser.getrandbits(128)) for _ in range(count)]  # 0.3 us each
        else:
            chosen = [wanted] * count
        own = [one.hash_key for one in packed] or [""] * count
        return [key or other for key, other in zip(own, chosen, strict=True)]


def _cost(chunk: model.Chunk) -> int:
    return chunk.data_bytes() + model.RECORD_OVERHEAD_BYTES * len(chunk)


def divide(
    batch: model.Batch, refused: Sequence[int]
) -> tuple[list[model.Chunk], Sequence[model.Cargo]]:
    """Return a batch's accepted records as chunks, and what was refused; together all of it.

    Args:
        batch: A batch that the service answered.
        refused: Indices of its refused records, ascending.
    """
    if batch.packed:
        lost = set(refused)
        accepted = (one for index, one in enumerate(batch.packed) if index not in lost)
        return _runs(chunk for one in accepted for chunk in one.chunks), [
            batch.packed[index] for index in refused
        ]
    return _divide_chunks(batch.chunks, refused)


def halve(batch: model.Batch) -> tuple[model.Batch, model.Batch]:
    """Return the two halves of a batch of two or more records, to be sent as they are."""
    middle = len(batch.records) // 2
    first, second = _divide_chunks(batch.chunks, range(middle, len(batch.records)))
    halves = []
    for chunks, part in ((first, slice(middle)), (second, slice(middle, None))):
        records, keys = batch.records[part], batch.partition_keys[part]
        size = sum(map(len, records)) + sum(map(len, keys))
        packed, hash_keys = batch.packed[part], batch.hash_keys[part]
        halves.append(
            model.Batch(
                records, keys, chunks, size, is_whole=True, packed=packed, hash_keys=hash_keys
            )
        )
    return halves[0], halves[1]


def _runs(chunks: Iterable[model.Chunk]) -> list[model.Chunk]:
    """Return packed chunks as few: those of one file that follow each other are one.

    What a request settles is a run or two a file, however many records it had.
    """
    runs: list[model.Chunk] = []
    last: dict[str, model.Chunk] = {}
    for chunk in chunks:
        if chunk.whole is not None:
            runs.append(chunk)
            continue
        run = last.get(chunk.tail_id)
        if run is None or run.end != chunk.start:
            run = model.Chunk(chunk.tail_id, [], [], [], chunk.start, chunk.start)
            last[chunk.tail_id] = run
            runs.append(run)
        run.end = chunk.end
        run.dropped_bytes += chunk.dropped_bytes
    return runs


def _divide_chunks(
    chunks: Sequence[model.Chunk],
    refused: Sequence[int],
    accepted_part: Callable[[model.Chunk, int, int], model.Chunk] = model.Chunk.slice,
) -> tuple[list[model.Chunk], list[model.Chunk]]:
    """Return the accepted and the refused records as chunks that tile the given ones."""
    accepted: list[model.Chunk] = []
    returned: list[model.Chunk] = []
    base = 0
    for chunk in chunks:
        first = bisect.bisect_left(refused, base)
        last = bisect.bisect_left(refused, base + len(chunk))
        if first == last:
            accepted.append(chunk)
        else:
            indices = [index - base for index in refused[first:last]]
            _divide_chunk(chunk, indices, accepted, returned, accepted_part)
        base += len(chunk)
    return accepted, returned


def _random_keys(chooser: random.Random) -> list[str]:
    """Draw partition keys at once: a flow starts 5 ms sooner than with one draw for each."""
    width = keys.RANDOM_BYTES
    drawn = f"{chooser.getrandbits(4 * width * _KEY_POOL):0{width * _KEY_POOL}x}"
    # The last digits were drawn first: so these are the keys that single draws would give.
    return [drawn[at : at + width] for at in range(width * (_KEY_POOL - 1), -1, -width)]


def _divide_chunk(
    chunk: model.Chunk,
    refused: list[int],
    accepted: list[model.Chunk],
    returned: list[model.Chunk],
    accepted_part: Callable[[model.Chunk, int, int], model.Chunk],
) -> None:
    """Cut one chunk at its runs of refused records; only records that were refused cost a turn."""
    at = 0
    while refused:
        first = refused.pop(0)
        last = first + 1
        while refused and refused[0] == last:
            last = refused.pop(0) + 1
        if at < first:
            accepted.append(accepted_part(chunk, at, first))
        returned.append(chunk.slice(first, last))
        at = last
    if at < len(chunk):
        accepted.append(accepted_part(chunk, at, len(chunk)))
