"""The Kinesis streams of a service: their shards, their stores, and how a request names one."""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from typing import Any

from kagent.local import errors, limits, options, rate, records, shards

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_ARN = re.compile(r"arn:aws[^:]*:kinesis:[^:]*:\d{12}:stream/(\S+)")


class Stream:
    """One stream: what it accepted, and the shards that say what goes where.

    `shards` are all there ever were, by number; what changes them wants the store's lock held.
    """

    def __init__(
        self, name: str, stream_options: options.StreamOptions, now_s: float, created_at_s: float
    ) -> None:
        self.name = name
        self.options = stream_options
        self.created_at_s = created_at_s  # wall clock
        self.store = records.Store(stream_options)
        self.record_bytes_max = stream_options.record_bytes_max
        self.is_on_demand = stream_options.is_on_demand
        self.kms_key = ""
        self.updating_until_s = 0.0  # monotonic: when the last change of it is over
        self.shards: list[shards.Shard] = []
        self.open_shards: list[shards.Shard] = []
        for hash_range in shards.even_ranges(stream_options.shards):
            self.locked_add_shard(hash_range, now_s, created_at_s)

    def locked_add_shard(
        self,
        hash_range: tuple[int, int],
        now_s: float,
        created_at_s: float,
        parents: tuple[shards.Shard, ...] = (),
    ) -> None:
        """Open a shard, and close those that it replaces; the caller keeps the ranges whole."""
        for parent in parents:
            parent.is_open = False
        self.shards.append(
            shards.Shard(
                len(self.shards),
                hash_range,
                int(created_at_s),
                self._throughput(len(self.shards), now_s),
                parents,
            )
        )
        opened = [shard for shard in self.shards if shard.is_open]
        self.open_shards = sorted(opened, key=lambda shard: shard.first_hash)
        self._starts = [shard.first_hash for shard in self.open_shards]

    def _throughput(self, number: int, now_s: float) -> rate.Throughput:
        burst = self.options.shard_bytes_per_s
        if self.record_bytes_max > limits.RECORD_BYTES_DEFAULT:
            burst = max(burst, limits.SHARD_LARGE_BURST_BYTES)
        share = self.options.shard_shares.get(number, 1.0)
        return rate.Throughput(
            share * self.options.shard_records_per_s,
            share * self.options.shard_bytes_per_s,
            burst,
            now_s,
        )

    def locked_allow_records_of(self, record_bytes_max: int, now_s: float) -> None:
        """Change the largest record; the shards' buckets begin anew with it."""
        self.record_bytes_max = record_bytes_max
        for shard in self.shards:
            shard.throughput = self._throughput(shard.number, now_s)

    def shard_at(self, hash_key: int) -> shards.Shard:
        """Return the open shard whose range holds a hash key."""
        return self.open_shards[bisect.bisect_right(self._starts, hash_key) - 1]

    def counts_json(self) -> dict[str, Any]:
        """Return the counts of the stream, and how many records each shard accepted."""
        counted = self.store.counts_json()
        counted["records_by_shard"] = {shard.id: shard.accepted for shard in self.shards}
        return counted

    def locked_places(
        self, keys: list[str], targets: list[shards.Shard]
    ) -> list[tuple[str, int, int]]:
        """Give each record its number in its shard; see records.Store.locked_accept."""
        order = self.store.counts.records_accepted
        places = []
        for key, shard in zip(keys, targets, strict=True):  # 0.3 us a record
            places.append((key, shard.number, shard.accepted))
            shard.accepted += 1
            if self.options.keep_records:
                shard.orders.append(order)
            order += 1
        return places


class Streams:
    """All streams of one account in one region, found by name or ARN."""

    def __init__(
        self, service_options: options.ServiceOptions, now_s: float, created_at_s: float
    ) -> None:
        self.account = service_options.account
        self.region = service_options.region
        self.by_name: Mapping[str, Stream] = {
            name: Stream(name, stream_options, now_s, created_at_s)
            for name, stream_options in service_options.streams.items()
        }

    def arn(self, name: str) -> str:
        """Return a stream's ARN."""
        return f"arn:aws:kinesis:{self.region}:{self.account}:stream/{name}"

    def of(self, params: dict[str, Any]) -> Stream:
        """Return the stream that a request's StreamName or StreamARN names.

        Raises:
            ServiceError: No name, two different ones, no such stream.
        """
        name = name_in(params)
        if not name:
            raise errors.ServiceError(
                "InvalidArgumentException", "Either StreamName or StreamARN must be given."
            )
        if not _NAME.fullmatch(name):
            raise errors.validation_error(
                "streamName", "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
            )
        arn = params.get("StreamARN")
        if arn is not None and arn != self.arn(name):
            raise self.not_found(name)
        stream = self.by_name.get(name)
        if stream is None:
            raise self.not_found(name)
        return stream

    def not_found(self, name: str) -> errors.ServiceError:
        """Return the error of a stream that is not there."""
        return errors.ServiceError(
            "ResourceNotFoundException", f"Stream {name} under account {self.account} not found."
        )


def name_in(params: dict[str, Any]) -> str:
    """Return the stream name that a request carries, by itself or in an ARN; "" without one."""
    name = params.get("StreamName")
    if isinstance(name, str):
        return name
    found = _ARN.fullmatch(str(params.get("StreamARN")))
    return found[1] if found else ""
