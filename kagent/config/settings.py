"""A configuration that was found right, with every default in its place: what the daemon runs on.

The options of a part (`source`, `aws`, ...) stay the models that are declared beside that part.
What depends on other keys, such as a buffer's share of the memory, is a plain value here.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from kagent import (
    batch,
    checkpoint,
    deadletter,
    destinations,
    discovery,
    logs,
    model,
    pace,
    pack,
    preprocessors,
    split,
)
from kagent.batch import BatchSettings  # a field called `batch` hides the module
from kagent.config import schema, stages
from kagent.destinations import aws, firehose, kinesis
from kagent.preprocessors import chain

_MIB = 1024**2
_BLOCK_BYTES = _MIB  # the most that a flow reads at once
_BUFFER_BYTES = 16 * _MIB


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of destination allows, and how a flow batches for it unless told otherwise."""

    limits: model.BatchLimits
    batch: batch.BatchSettings
    pack_bytes: int  # what a record of many lines is filled to


KINDS: Mapping[str, Kind] = {  # by key of `destination`
    # A PUT payload unit is each started 25 KB of a record; on demand it is each started 1 KB,
    # of which this is a multiple: https://aws.amazon.com/kinesis/data-streams/pricing/, 2026-11.
    "kinesis": Kind(kinesis.LIMITS, batch.BatchSettings(1.0, 500, 5 * _MIB), 25_000),
    # A record is billed as a multiple of 5 KB: https://aws.amazon.com/firehose/pricing/, 2026-11.
    # The larger the record, the less is left of the last 5 KB; 1,000 KiB is the most there is.
    "firehose": Kind(firehose.LIMITS, batch.BatchSettings(10.0, 500, 4 * _MIB), 1_000_000),
}


@dataclasses.dataclass(frozen=True, slots=True)
class FlowConfig:
    """One flow."""

    name: str
    renamed_from: str | None
    source: discovery.SourceOptions
    destination: destinations.DestinationOptions
    batch: batch.BatchSettings
    oversize: split.OversizePolicy
    max_in_flight: int
    max_buffer: int  # bytes
    preprocess: tuple[preprocessors.Stage, ...] = ()
    on_no_match: chain.OnNoMatch = "wrap"
    rate_limit: pace.RateLimit = pace.UNLIMITED

    @property
    def as_packed(self) -> BatchSettings:
        """How it batches, or would with `pack: newline`."""
        packed = self.batch.pack
        if packed is None:
            kind = KINDS[self.destination.service]
            packed = pack.PackSettings("newline", kind.pack_bytes, is_plain=False)
        return dataclasses.replace(self.batch, pack=packed)

    @property
    def needs_facts(self) -> bool:
        """Whether its first read waits for what the service says of the stream, for a while."""
        limits = self.destination.limits
        is_long = min(self.source.max_line, limits.record_bytes_possible) > limits.record_bytes_max
        return is_long or self.batch.needs_shards


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration; `file` is where it was read."""

    file: str
    state_dir: str
    max_memory: int  # bytes
    drain_timeout: float  # seconds
    checkpoint: checkpoint.CheckpointOptions
    dead_letter: deadletter.DeadLetterOptions
    forget: tuple[str, ...]
    log: logs.LogOptions
    aws: aws.AwsOptions
    metrics: schema.Metrics
    flows: tuple[FlowConfig, ...]

    @property
    def dead_letter_dir(self) -> str:
        """Where dead letters go."""
        return self.dead_letter.dir or os.path.join(self.state_dir, "dead-letter")

    @property
    def buffers_bytes(self) -> int:
        """The most that all flows together hold in memory."""
        return sum(flow.max_buffer for flow in self.flows)


def resolve(file: str, root: schema.Root) -> Config:
    """Return a configuration in which every problem was looked for and none was found."""
    return Config(
        file=file,
        state_dir=root.state_dir,
        max_memory=root.max_memory,
        drain_timeout=root.drain_timeout,
        checkpoint=root.checkpoint,
        dead_letter=root.dead_letter,
        forget=root.forget,
        log=root.log,
        aws=root.aws,
        metrics=root.metrics,
        flows=tuple(_resolve_flow(flow, root) for flow in root.flows),
    )


def default_buffer(max_memory: int, flows: int, least: int) -> int:
    """Return the max_buffer of a flow that does not set it: a share, but never too little."""
    return max(least, min(_BUFFER_BYTES, max_memory // flows))


def least_buffer(max_line: int, limits: model.BatchLimits | None) -> int:
    """Return the least max_buffer with which a flow never stands still, in bytes.

    While its longest record waits for the rest of a batch, another one and the block that it is
    in must find room.
    """
    longest = max_line
    if limits:
        longest = min(max_line, max(limits.record_bytes_max, limits.record_bytes_possible))
    return 2 * (longest + _BLOCK_BYTES)


def _resolve_flow(flow: schema.Flow, root: schema.Root) -> FlowConfig:
    key, destination = next(item for item in flow.destination if item[1] is not None)
    kind = KINDS[key]
    wished, default = flow.batch, kind.batch
    least = least_buffer(flow.source.max_line, kind.limits)
    max_buffer = flow.max_buffer or default_buffer(root.max_memory, len(root.flows), least)
    return FlowConfig(
        name=flow.name,
        renamed_from=flow.renamed_from,
        source=flow.source,
        destination=destination,
        batch=batch.BatchSettings(
            max_age_s=default.max_age_s if wished.max_age is None else wished.max_age,
            records_max=wished.max_records or default.records_max,
            bytes_max=wished.max_bytes or default.bytes_max,
            is_ordered=flow.max_in_flight == 1,
            pack=_resolve_pack(flow, kind, max_buffer),
            **_resolve_keys(destination),
        ),
        oversize=flow.oversize,
        max_in_flight=flow.max_in_flight,
        max_buffer=max_buffer,
        preprocess=tuple(map(stages.resolve, flow.preprocess)),
        on_no_match=flow.on_no_match,
        rate_limit=flow.rate_limit,
    )


def _resolve_keys(destination: destinations.DestinationOptions) -> dict[str, Any]:
    """Return how records get their partition keys, if the destination has any."""
    if not isinstance(destination, kinesis.KinesisOptions):
        return {}
    return {
        "partition_key": destination.partition_key,
        "hash_key": destination.explicit_hash_key or "",
    }


def _resolve_pack(flow: schema.Flow, kind: Kind, max_buffer: int) -> pack.PackSettings | None:
    if flow.pack is None:
        return None
    return pack.PackSettings(
        form=flow.pack.form,
        target_bytes=flow.pack.max_bytes or kind.pack_bytes,
        compression=flow.pack.compression,
        is_plain=flow.source.records().is_plain and not flow.preprocess,
        open_bytes_max=max_buffer // 2,
    )
