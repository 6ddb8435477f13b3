"""Kinesis Data Streams, the describing half: DescribeStreamSummary and ListShards."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

from kagent.local import errors, intake, limits, shards, streams

_KIB = limits.KIB


class KinesisDescriber:
    """Answers what a client asks before it writes or reads; any thread may call it."""

    def __init__(
        self, known: streams.Streams, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._streams = known
        self._monotonic = monotonic

    def describe_stream_summary(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Return the facts of a stream that decide how it may be written to."""
        stream = self._streams.of(params)
        mode = "ON_DEMAND" if stream.is_on_demand else "PROVISIONED"
        is_updating = self._monotonic() < stream.updating_until_s
        encryption: dict[str, Any] = {"EncryptionType": "NONE"}
        if stream.kms_key:
            encryption = {"EncryptionType": "KMS", "KeyId": stream.kms_key}
        return {
            "StreamDescriptionSummary": {
                "StreamName": stream.name,
                "StreamARN": self._streams.arn(stream.name),
                "StreamStatus": "UPDATING" if is_updating else "ACTIVE",
                "StreamModeDetails": {"StreamMode": mode},
                "RetentionPeriodHours": 24,
                "StreamCreationTimestamp": round(stream.created_at_s, 3),
                "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
                **encryption,
                "OpenShardCount": len(stream.open_shards),
                "ConsumerCount": 0,
                "MaxRecordSizeInKiB": stream.record_bytes_max // _KIB,
            }
        }

    def list_shards(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Return a page of a stream's shards with their hash ranges."""
        count = params.get("MaxResults", limits.LIST_SHARDS_DEFAULT)
        if not isinstance(count, int) or not 1 <= count <= limits.LIST_SHARDS_MAX:
            raise errors.validation_error(
                "maxResults", f"Member must be from 1 to {limits.LIST_SHARDS_MAX}"
            )
        token = params.get("NextToken")
        if token is None:
            stream, start, kind = self._streams.of(params), 0, _filter_of(params)
        elif streams.name_in(params) or "ShardFilter" in params:
            raise errors.ServiceError(
                "InvalidArgumentException", "NextToken and StreamName cannot be provided together."
            )
        else:
            stream, start, kind = self._of_token(token)
        with stream.store.lock:
            listed = [one for one in stream.shards if one.is_open or kind != "AT_LATEST"]
        after = params.get("ExclusiveStartShardId")
        if after is not None:
            start = next((at + 1 for at, shard in enumerate(listed) if shard.id == after), 0)
        answer: dict[str, Any] = {
            "Shards": [_described(shard) for shard in listed[start : start + count]]
        }
        if start + count < len(listed):
            answer["NextToken"] = _token(stream.name, start + count, kind)
        return answer

    def _of_token(self, token: object) -> tuple[streams.Stream, int, str]:
        try:
            name, start, kind = base64.b64decode(str(token), validate=True).decode().split("/")
            return self._streams.of({"StreamName": name}), int(start), kind
        except ValueError:
            raise errors.ServiceError(
                "InvalidArgumentException", "NextToken is invalid."
            ) from None


def _filter_of(params: intake.Json) -> str:
    """Return the type of a ShardFilter that is known here; those that need a time are not."""
    kind = (params.get("ShardFilter") or {}).get("Type", "FROM_TRIM_HORIZON")
    if kind not in {"AT_LATEST", "FROM_TRIM_HORIZON"}:
        raise errors.ServiceError(
            "InvalidArgumentException", f"the local service knows no ShardFilter of type {kind}"
        )
    return str(kind)


def _token(name: str, start: int, kind: str) -> str:
    return base64.b64encode(f"{name}/{start}/{kind}".encode()).decode()


def _described(shard: shards.Shard) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": shard.starting_sequence_number()}
    if not shard.is_open:
        numbers["EndingSequenceNumber"] = shard.sequence_number(shard.accepted)
    described: dict[str, Any] = {
        "ShardId": shard.id,
        "HashKeyRange": {
            "StartingHashKey": str(shard.first_hash),
            "EndingHashKey": str(shard.last_hash),
        },
        "SequenceNumberRange": numbers,
    }
    names = ("ParentShardId", "AdjacentParentShardId")
    for name, parent in zip(names, shard.parents, strict=False):
        described[name] = parent.id
    return described
