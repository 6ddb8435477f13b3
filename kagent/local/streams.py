"""The Kinesis streams of a service: their shards, their stores, and how a request names one."""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from typing import Any

from kagent.local import errors, options, rate, records, shards

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_ARN = re.compile(r"arn:aws[^:]*:kinesis:[^:]*:\d{12}:stream/(\S+)")


class Stream:
    """One stream: what it accepted, and the shards that say what goes where."""

    def __init__(
        self, name: str, stream_options: options.StreamOptions, now_s: float, created_at_s: float
    ) -> None:
        self.name = name
        self.options = stream_options
        self.created_at_s = created_at_s  # wall clock
        self.store = records.Store(stream_options)
        self.shards = [
            shards.Shard(number, hash_range, int(created_at_s), self._throughput(now_s))
            for number, hash_range in enumerate(shards.even_ranges(stream_options.shards))
        ]
        self._starts = [shard.first_hash for shard in self.shards]

    def _throughput(self, now_s: float) -> rate.Throughput:
        return rate.Throughput(
            self.options.shard_records_per_s,
            self.options.shard_bytes_per_s,
            self.options.shard_burst_bytes,
            now_s,
        )

    def shard_at(self, hash_key: int) -> shards.Shard:
        """Return the shard whose range holds a hash key."""
        return self.shards[bisect.bisect_right(self._starts, hash_key) - 1]

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
