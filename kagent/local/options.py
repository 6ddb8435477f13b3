"""What a local service is made of, decided before it starts.

Plain values; what may change while it runs (faults) is in faults.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping

from kagent.local import limits

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What is remembered of the records that a stream or delivery stream accepted."""

    keep_records: bool = True  # False: counted, then forgotten; for GiBs of benchmark
    keep_bytes_max: int = 256 * limits.MIB  # of memory; beyond it the oldest are forgotten
    count_lines: bool = True  # False: no set of line identities, which costs ~100 bytes a line
    line_pattern: str = ""  # regex; its first group, or match, is a line's identity; "": the line
    unpack: Callable[[bytes], bytes] | None = None  # of a packed record its lines; never raises


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions(StoreOptions):
    """One Kinesis stream."""

    shards: int = 1
    record_bytes_max: int = limits.RECORD_BYTES_DEFAULT  # of data and partition key
    is_throttled: bool = True
    shard_records_per_s: float = limits.SHARD_RECORDS_PER_S
    shard_bytes_per_s: float = limits.SHARD_BYTES_PER_S
    shard_shares: Mapping[int, float] = dataclasses.field(default_factory=dict)
    """By number: what share of the usual rates a shard has; others write to it as well."""
    is_on_demand: bool = False  # what DescribeStreamSummary says, nothing else
    updating_s: float = 0.0  # how long a stream is UPDATING after its shards were changed

    def __post_init__(self) -> None:
        """Refuse what no stream can be."""
        if self.shards < 1:
            raise ValueError(f"shards: found {self.shards}, expected at least 1")
        if not limits.RECORD_BYTES_DEFAULT <= self.record_bytes_max <= limits.RECORD_BYTES_MAX:
            raise ValueError(f"record_bytes_max: found {self.record_bytes_max}, not 1..10 MiB")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStreamOptions(StoreOptions):
    """One Firehose delivery stream; a rate of None is the region's default."""

    is_throttled: bool = True
    records_per_s: float | None = None
    requests_per_s: float | None = None
    bytes_per_s: float | None = None
    takes_direct_put: bool = True  # False: its source is a Kinesis stream, puts are refused


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """One account in one region, and the one set of credentials that it accepts."""

    streams: Mapping[str, StreamOptions] = dataclasses.field(default_factory=dict)
    delivery_streams: Mapping[str, DeliveryStreamOptions] = dataclasses.field(default_factory=dict)
    region: str = "eu-west-1"
    account: str = "123456789012"
    access_key: str = "AKIAIOSFODNN7EXAMPLE"
    secret_key: str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 -- AWS's own example
    session_token: str | None = None
    checks_signatures: bool = True
    tls: bool = False
    idle_timeout_s: float = 60.0  # a connection without a request is closed after that long
    connections_max: int = 512  # further ones are closed as soon as they are accepted
    seed: int = 0  # of every random choice: faults, request ids

    def __post_init__(self) -> None:
        """Refuse names that AWS would not allow."""
        for name in (*self.streams, *self.delivery_streams):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a stream: letters, digits, _ . -")
