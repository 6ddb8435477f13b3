"""Kinesis Data Streams, the reading half: GetShardIterator and GetRecords.

An iterator is a text that says it all (when it was made, stream, shard, number of the next
record), so the service remembers nothing of its readers. Reads are not throttled.
"""

from __future__ import annotations

import base64
import bisect
import time
import typing
from collections.abc import Callable
from typing import Any

from kagent.local import errors, intake, limits, records, shards, streams

_ITERATOR_BYTES = 160  # of padding: real iterators have some 200 characters


class _Position(typing.NamedTuple):
    """Where an iterator stands."""

    stream: streams.Stream
    shard: shards.Shard
    number: int  # of the next record in the shard


class KinesisReader:
    """Answers the reading operations; any thread may call it."""

    def __init__(self, known: streams.Streams, wall: Callable[[], float] = time.time) -> None:
        self._streams = known
        self._wall = wall

    def get_shard_iterator(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Return an iterator at the wanted place of a shard."""
        stream = self._streams.of(params)
        shard = self._shard(stream, params.get("ShardId"))
        with stream.store.lock:
            number = self._start(params, stream, shard)
        return {"ShardIterator": self._iterator(_Position(stream, shard, number))}

    def get_records(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Return the next records of a shard: at most 10,000, and 10 MiB of data."""
        limit = params.get("Limit", limits.GET_RECORDS_RECORDS_MAX)
        if not isinstance(limit, int) or limit < 1:
            raise errors.validation_error(
                "limit", "Member must have value greater than or equal to 1"
            )
        if limit > limits.GET_RECORDS_RECORDS_MAX:
            raise errors.validation_error(
                "limit", "Member must have value less than or equal to 10000"
            )
        position = self._position(params.get("ShardIterator"))
        shard = position.shard
        with position.stream.store.lock:
            found = _locked_read(position, limit)
            next_number = found[-1].number + 1 if found else position.number
            is_read = not shard.is_open and next_number >= shard.accepted
            behind_ms = self._locked_behind_ms(position, next_number)
        answer: dict[str, Any] = {
            "Records": [_described(shard, record) for record in found],
            "MillisBehindLatest": behind_ms,
        }
        if is_read:
            answer["ChildShards"] = [
                _described_child(one) for one in position.stream.shards if shard in one.parents
            ]
        else:
            answer["NextShardIterator"] = self._iterator(position._replace(number=next_number))
        return answer

    def _shard(self, stream: streams.Stream, shard_id: object) -> shards.Shard:
        if shard_id is None:
            raise errors.validation_error("shardId", "Member must not be null")
        for shard in stream.shards:
            if shard.id == shard_id:
                return shard
        raise errors.ServiceError(
            "ResourceNotFoundException",
            f"Shard {shard_id} in stream {stream.name} under account {self._streams.account} "
            "does not exist",
        )

    def _start(self, params: intake.Json, stream: streams.Stream, shard: shards.Shard) -> int:
        """Return the number of the record at which an iterator of the wanted type starts."""
        kind = params.get("ShardIteratorType")
        sequence_number = params.get("StartingSequenceNumber")
        if kind in {"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"} and sequence_number is not None:
            number = shard.record_number(str(sequence_number))
            if number is None:
                raise errors.ServiceError(
                    "InvalidArgumentException",
                    f"StartingSequenceNumber {sequence_number} used in GetShardIterator on shard "
                    f"{shard.id} in stream {stream.name} under account {self._streams.account} "
                    "is invalid.",
                )
            return max(0, number if kind == "AT_SEQUENCE_NUMBER" else number + 1)
        if kind == "TRIM_HORIZON" and sequence_number is None:
            return 0
        if kind == "LATEST" and sequence_number is None:
            return shard.accepted
        if kind == "AT_TIMESTAMP" and isinstance(params.get("Timestamp"), (int, float)):
            return self._at_timestamp(stream, shard, params["Timestamp"])
        raise errors.ServiceError(
            "InvalidArgumentException",
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and "
            "StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber "
            f"or (3) AT_TIMESTAMP and Timestamp. Request specified {kind}.",
        )

    def _at_timestamp(
        self, stream: streams.Stream, shard: shards.Shard, timestamp_s: float
    ) -> int:
        if timestamp_s > self._wall():
            raise errors.ServiceError(
                "InvalidArgumentException",
                "The timestampInMillis parameter cannot be greater than the "
                "currentTimestampInMillis.",
            )

        def accepted_at_s(order: int) -> float:
            record = stream.store.locked_get(order)
            return record.acceptance.accepted_at_s if record else 0.0

        return bisect.bisect_left(shard.orders, timestamp_s, key=accepted_at_s)

    def _iterator(self, position: _Position) -> str:
        stream, shard, number = position
        text = f"{self._wall():.3f}/{stream.name}/{shard.number}/{number}/"
        return base64.b64encode(text.encode().ljust(_ITERATOR_BYTES, b"0")).decode()

    def _position(self, iterator: object) -> _Position:
        try:
            text = base64.b64decode(str(iterator), validate=True).decode()
            made_at, name, shard_number, number, _ = text.split("/")
            stream = self._streams.of({"StreamName": name})
            position = _Position(stream, stream.shards[int(shard_number)], int(number))
            age_s = self._wall() - float(made_at)
        except (ValueError, IndexError):
            raise errors.ServiceError(
                "InvalidArgumentException", "Invalid ShardIterator."
            ) from None
        if age_s > limits.SHARD_ITERATOR_AGE_MAX_S:
            raise errors.ServiceError(
                "ExpiredIteratorException",
                f"Iterator expired. The iterator was created {age_s:.0f} s ago, which exceeds the "
                "tolerated delay of 300000 milliseconds.",
            )
        return position

    def _locked_behind_ms(self, position: _Position, next_number: int) -> int:
        """Return the age of the first record that was not read, 0 when all were."""
        orders = position.shard.orders
        if next_number >= len(orders):
            return 0
        record = position.stream.store.locked_get(orders[next_number])
        if record is None:
            return 0
        return max(0, int((self._wall() - record.acceptance.accepted_at_s) * 1000))


def _locked_read(position: _Position, limit: int) -> list[records.StoredRecord]:
    """Return the kept records from a position on, within both limits, but at least one."""
    found: list[records.StoredRecord] = []
    left = limits.GET_RECORDS_BYTES_MAX
    store, orders = position.stream.store, position.shard.orders
    first = max(position.number, bisect.bisect_left(orders, store.locked_first()))
    for order in orders[first : first + limit]:
        record = store.locked_get(order)
        assert record is not None
        left -= len(record.data)
        if left < 0 and found:
            break
        found.append(record)
    return found


def _described_child(shard: shards.Shard) -> dict[str, Any]:
    return {
        "ShardId": shard.id,
        "ParentShards": [parent.id for parent in shard.parents],
        "HashKeyRange": {
            "StartingHashKey": str(shard.first_hash),
            "EndingHashKey": str(shard.last_hash),
        },
    }


def _described(shard: shards.Shard, record: records.StoredRecord) -> dict[str, Any]:
    return {
        "SequenceNumber": shard.sequence_number(record.number),
        "ApproximateArrivalTimestamp": round(record.acceptance.accepted_at_s, 3),
        "Data": base64.b64encode(record.data).decode(),
        "PartitionKey": record.partition_key,
    }
