"""Kinesis Data Streams, the describing half: DescribeStreamSummary and ListShards."""

from __future__ import annotations

import base64
from typing import Any

from kagent.local import errors, intake, limits, shards, streams

_KIB = limits.KIB


class KinesisDescriber:
    """Answers what a client asks before it writes or reads; any thread may call it."""

    def __init__(self, known: streams.Streams) -> None:
        self._streams = known

    def describe_stream_summary(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Return the facts of a stream that decide how it may be written to."""
        stream = self._streams.of(params)
        mode = "ON_DEMAND" if stream.options.is_on_demand else "PROVISIONED"
        return {
            "StreamDescriptionSummary": {
                "StreamName": stream.name,
                "StreamARN": self._streams.arn(stream.name),
                "StreamStatus": "ACTIVE",
                "StreamModeDetails": {"StreamMode": mode},
                "RetentionPeriodHours": 24,
                "StreamCreationTimestamp": round(stream.created_at_s, 3),
                "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
                "EncryptionType": "NONE",
                "OpenShardCount": len(stream.shards),
                "ConsumerCount": 0,
                "MaxRecordSizeInKiB": stream.options.record_bytes_max // _KIB,
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
            stream, start = self._streams.of(params), 0
        elif streams.name_in(params):
            raise errors.ServiceError(
                "InvalidArgumentException", "NextToken and StreamName cannot be provided together."
            )
        else:
            stream, start = self._of_token(token)
        after = params.get("ExclusiveStartShardId")
        if after is not None:
            start = next((shard.number + 1 for shard in stream.shards if shard.id == after), 0)
        answer: dict[str, Any] = {
            "Shards": [_described(shard) for shard in stream.shards[start : start + count]]
        }
        if start + count < len(stream.shards):
            answer["NextToken"] = _token(stream.name, start + count)
        return answer

    def _of_token(self, token: object) -> tuple[streams.Stream, int]:
        try:
            name, start = base64.b64decode(str(token), validate=True).decode().split("/")
            return self._streams.of({"StreamName": name}), int(start)
        except ValueError:
            raise errors.ServiceError(
                "InvalidArgumentException", "NextToken is invalid."
            ) from None


def _token(name: str, start: int) -> str:
    return base64.b64encode(f"{name}/{start}".encode()).decode()


def _described(shard: shards.Shard) -> dict[str, Any]:
    return {
        "ShardId": shard.id,
        "HashKeyRange": {
            "StartingHashKey": str(shard.first_hash),
            "EndingHashKey": str(shard.last_hash),
        },
        "SequenceNumberRange": {"StartingSequenceNumber": shard.starting_sequence_number()},
    }
