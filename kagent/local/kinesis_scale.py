"""Kinesis Data Streams, what changes a stream: its shards, its largest record, its encryption.

Changes take effect at once; the stream says UPDATING for `updating_s` afterwards, as AWS does
while it works, and takes no other change meanwhile. Writing goes on all the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kagent.local import errors, intake, limits, shards, streams

_KIB = limits.KIB


class KinesisScaler:
    """Answers SplitShard, MergeShards, UpdateShardCount and the like; any thread may call it."""

    def __init__(
        self,
        known: streams.Streams,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._streams = known
        self._monotonic = monotonic
        self._wall = wall

    def split_shard(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Replace a shard by two."""
        stream = self._changeable(params)
        with stream.store.lock:
            shard = self._locked_open(stream, params.get("ShardToSplit"))
            text = str(params.get("NewStartingHashKey"))
            start = int(text) if text.isdecimal() else -1
            if not shard.first_hash < start <= shard.last_hash:
                raise errors.ServiceError(
                    "InvalidArgumentException",
                    f"NewStartingHashKey {text} used in SplitShard() on shard {shard.id} in "
                    f"stream {stream.name} is not both greater than one plus the shard's "
                    "StartingHashKey and less than the shard's EndingHashKey.",
                )
            self._locked_open_ones(
                stream,
                [(shard.first_hash, start - 1), (start, shard.last_hash)],
                (shard,),
            )
        return {}

    def merge_shards(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Replace two adjacent shards by one."""
        stream = self._changeable(params)
        with stream.store.lock:
            names = (params.get("ShardToMerge"), params.get("AdjacentShardToMerge"))
            one, other = (self._locked_open(stream, name) for name in names)
            first, last = sorted((one, other), key=lambda shard: shard.first_hash)
            if first.last_hash + 1 != last.first_hash:
                raise errors.ServiceError(
                    "InvalidArgumentException",
                    f"Shards {one.id} and {other.id} in stream {stream.name} are not an adjacent "
                    "pair of shards eligible for merging",
                )
            ranges = [(first.first_hash, last.last_hash)]
            self._locked_open_ones(stream, ranges, (one, other))
        return {}

    def update_shard_count(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Replace all shards by so many even ones."""
        if params.get("ScalingType") != "UNIFORM_SCALING":
            raise errors.validation_error(
                "scalingType", "Member must satisfy enum value set: [UNIFORM_SCALING]"
            )
        target = params.get("TargetShardCount")
        if not isinstance(target, int) or target < 1:
            raise errors.validation_error(
                "targetShardCount", "Member must have value greater than or equal to 1"
            )
        stream = self._changeable(params)
        with stream.store.lock:
            was = list(stream.open_shards)
            # https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateShardCount.html,
            # 2026-11: not more than double, and not below half.
            if not len(was) <= 2 * target <= 4 * len(was):
                raise errors.ServiceError(
                    "LimitExceededException",
                    f"UpdateShardCount cannot scale from {len(was)} to {target} at once.",
                )
            for hash_range in shards.even_ranges(target):
                parents = tuple(
                    one
                    for one in was
                    if one.first_hash <= hash_range[1] and hash_range[0] <= one.last_hash
                )
                self._locked_open_ones(stream, [hash_range], parents)
        return {
            "StreamName": stream.name,
            "CurrentShardCount": len(was),
            "TargetShardCount": target,
            "StreamARN": self._streams.arn(stream.name),
        }

    def update_max_record_size(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Allow records of another size."""
        size_kib = params.get("MaxRecordSizeInKiB")
        least, most = limits.RECORD_BYTES_DEFAULT // _KIB, limits.RECORD_BYTES_MAX // _KIB
        if not isinstance(size_kib, int) or not least <= size_kib <= most:
            raise errors.validation_error(
                "maxRecordSizeInKiB", f"Member must have a value from {least} to {most}"
            )
        stream = self._changeable(params)
        with stream.store.lock:
            stream.locked_allow_records_of(size_kib * _KIB, self._monotonic())
        return {}

    def update_stream_mode(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Change how capacity is paid for."""
        mode = (params.get("StreamModeDetails") or {}).get("StreamMode")
        if mode not in {"PROVISIONED", "ON_DEMAND"}:
            raise errors.validation_error(
                "streamModeDetails.streamMode",
                "Member must satisfy enum value set: [PROVISIONED, ON_DEMAND]",
            )
        self._changeable(params).is_on_demand = mode == "ON_DEMAND"
        return {}

    def start_stream_encryption(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Encrypt what comes from now on, as far as an answer tells."""
        if params.get("EncryptionType") != "KMS" or not params.get("KeyId"):
            raise errors.ServiceError("InvalidArgumentException", "EncryptionType KMS and a KeyId")
        self._changeable(params).kms_key = str(params["KeyId"])
        return {}

    def stop_stream_encryption(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Encrypt no more."""
        self._changeable(params).kms_key = ""
        return {}

    def _changeable(self, params: intake.Json) -> streams.Stream:
        stream = self._streams.of(params)
        now_s = self._monotonic()
        if now_s < stream.updating_until_s:
            raise errors.ServiceError(
                "ResourceInUseException",
                f"Stream {stream.name} under account {self._streams.account} not ACTIVE, instead "
                "in state UPDATING",
            )
        stream.updating_until_s = now_s + stream.options.updating_s
        return stream

    def _locked_open(self, stream: streams.Stream, shard_id: object) -> shards.Shard:
        for shard in stream.open_shards:
            if shard.id == shard_id:
                return shard
        raise errors.ServiceError(
            "ResourceNotFoundException",
            f"Could not find shard {shard_id} in stream {stream.name} under account "
            f"{self._streams.account}.",
        )

    def _locked_open_ones(
        self,
        stream: streams.Stream,
        hash_ranges: list[tuple[int, int]],
        parents: tuple[shards.Shard, ...],
    ) -> None:
        for hash_range in hash_ranges:
            stream.locked_add_shard(hash_range, self._monotonic(), self._wall(), parents)
