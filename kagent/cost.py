"""What AWS bills for a flow's lines, packed and not, by a sample of the lines that are there.

Goes through the flow's own rules and its own packer; reads a bounded part of a few files, and
ships nothing. What it says is true of such lines, when they come fast enough to fill records.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from kagent import batch, config, keys, model, rehearsal

FILES_MAX = 5
LINES_MAX = 5000  # of each file
BYTES_MAX = 2 * 1024**2  # of each file
MILLION = 1_000_000
_ALWAYS_S = 1e12  # when everything is old enough to be sent

# https://aws.amazon.com/kinesis/data-streams/pricing/ and https://aws.amazon.com/firehose/pricing/,
# 2026-11: a PUT payload unit is each started 25 KB of a record; on demand each record counts as
# the next 1 KB, with Firehose as the next 5 KB. KB is taken as 1,000 bytes: no less is billed.
PUT_UNIT_BYTES = 25_000
ON_DEMAND_BYTES = 1_000
FIREHOSE_BYTES = 5_000

READERS = {
    "newline": "readers split each record at newlines",
    "kpl": "readers use Amazon's consumer library (KCL), or aws-kinesis-agg in a Lambda function",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What a million lines come to."""

    records: float
    put_units: float  # of a provisioned Kinesis stream
    on_demand_bytes: float  # of a Kinesis stream on demand
    firehose_bytes: float


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a flow by its sample: a line a record, and as it is packed, or would be."""

    lines: int
    files: int
    line_bytes: float  # on average
    plain: Cost
    packed: Cost
    is_packed: bool  # else `packed` is what `pack: newline` would come to


def estimate(
    flow: config.FlowConfig,
    paths: Sequence[str],
    files: model.Files,
    clock: model.Clock,
    host: Callable[[], model.HostFacts] = model.HostFacts,
) -> Estimate | None:
    """Return what a flow's lines cost; None if there are none to go by.

    Args:
        flow: The flow.
        paths: Of its files; the first FILES_MAX with something in them are looked at.
        files: Where they are.
        clock: For the read time, and for patterns that take too long.
        host: Returns what is known of this machine.
    """
    chunks: list[model.Chunk] = []
    for path in paths:
        chunk = _sample(flow, path, files, clock, host)
        if chunk is not None:
            chunks.append(chunk)
        if len(chunks) == FILES_MAX:
            break
    if not chunks:
        return None
    records = [record for chunk in chunks for record in chunk.records]
    packed, share = _packed_sizes(flow.as_packed, flow.destination.limits, chunks)
    return Estimate(
        len(records),
        len(chunks),
        sum(map(len, records)) / len(records),
        cost_of(map(len, records), len(records)),
        cost_of(packed, len(records) * share),
        flow.batch.pack is not None,
    )


def cost_of(sizes: Iterable[int], lines: float) -> Cost:
    """Return what a million lines cost if so many of them are records of these sizes."""
    found = list(sizes)
    times = MILLION / lines

    def billed(unit_bytes: int) -> float:
        return times * sum(max(1, -(-size // unit_bytes)) for size in found)

    return Cost(
        times * len(found),
        billed(PUT_UNIT_BYTES),
        billed(ON_DEMAND_BYTES) * ON_DEMAND_BYTES,
        billed(FIREHOSE_BYTES) * FIREHOSE_BYTES,
    )


def _sample(
    flow: config.FlowConfig,
    path: str,
    files: model.Files,
    clock: model.Clock,
    host: Callable[[], model.HostFacts],
) -> model.Chunk | None:
    """Return records of a file as the flow would ship them; None if there are none."""
    try:
        handle = files.open(path, path)
    except OSError:
        return None
    with contextlib.closing(_Handle(files, handle)):
        one = rehearsal.Rehearsal(flow, files, handle, path, clock, host)
        # A file that changes meanwhile is sampled as far as it goes.
        with contextlib.suppress(rehearsal.ChangedError, OSError):
            chunk = model.Chunk(path, [], [], [], 0, 0)
            for piece in itertools.islice(_bounded(one), LINES_MAX):
                chunk.records.append(piece.data)
                chunk.starts.append(piece.start)
                chunk.ends.append(piece.end)
            if not chunk.records:
                return None
            chunk.end = chunk.ends[-1]
            chunk.dropped_bytes = chunk.end - (sum(chunk.ends) - sum(chunk.starts))
            settings = flow.as_packed
            assert settings.pack is not None
            is_one = settings.pack.form == "newline"
            keys.Keys(settings.partition_key, is_packed_as_one=is_one).assign(
                chunk, one.context(chunk)
            )
            return chunk
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class _Handle:
    files: model.Files
    handle: int

    def close(self) -> None:
        self.files.close(self.handle)


def _bounded(one: rehearsal.Rehearsal) -> Iterator[rehearsal.Rehearsed]:
    """Yield what is sent of the first BYTES_MAX."""
    for piece in one.records():
        if piece.start >= BYTES_MAX:
            return
        if piece.fate == "sent":
            yield piece


def _packed_sizes(
    settings: batch.BatchSettings, limits: model.BatchLimits, chunks: Sequence[model.Chunk]
) -> tuple[list[int], float]:
    """Return the sizes of packed records, and the share of the lines that they hold.

    Where any lines may share a record, one that the sample did not fill is left out, unless there
    is no other: more lines would have filled it.
    """
    assert settings.pack is not None
    plain = dataclasses.replace(settings.pack, is_plain=False)
    batcher = batch.Batcher(
        dataclasses.replace(settings, pack=plain, is_ordered=False), limits, random.Random(0)
    )
    batcher.note_shards([model.ShardRange("", 0, 2**128)])
    records: list[model.Packed] = []
    for _ in range(2):  # the first time it learns how much the lines shrink
        records.clear()
        for chunk in chunks:
            batcher.add(dataclasses.replace(chunk))
        while (found := batcher.take(_ALWAYS_S)) is not None:
            records += found.packed
    lines = sum(one.lines for one in records)
    if batcher.keys.is_random and len(records) > 1:
        records.pop()
    elif batcher.keys.is_random and len(records[0].data) < settings.pack.target_bytes:
        return [settings.pack.target_bytes], settings.pack.target_bytes / len(records[0].data)
    return [len(one.data) for one in records], sum(one.lines for one in records) / lines
