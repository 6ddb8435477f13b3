"""The journal: every accepted record that is still kept, in the order of acceptance.

What the storm test and the demo read: when was it taken, where did it go, and did the client get
to know of it.
"""

from __future__ import annotations

import typing

from kagent.local import firehose, records, streams


class JournalEntry(typing.NamedTuple):
    """One accepted record."""

    order: int  # from 0, in the order of acceptance in its stream
    data: bytes
    partition_key: str  # empty in Firehose, as is shard_id
    shard_id: str
    id: str  # SequenceNumber or RecordId
    accepted_at_s: float  # wall clock
    answer: records.AnswerState


def of_stream(stream: streams.Stream, start: int, limit: int | None) -> list[JournalEntry]:
    """Return at most `limit` entries of a stream, from the order `start` on."""
    return [
        _entry(
            order,
            record,
            stream.shards[record.shard].id,
            stream.shards[record.shard].sequence_number(record.number),
        )
        for order, record in stream.store.since(start, limit)
    ]


def of_delivery_stream(
    stream: firehose.DeliveryStream, start: int, limit: int | None
) -> list[JournalEntry]:
    """Return at most `limit` entries of a delivery stream, from the order `start` on."""
    return [
        _entry(order, record, "", stream.record_id(record.number))
        for order, record in stream.store.since(start, limit)
    ]


def _entry(
    order: int, record: records.StoredRecord, shard_id: str, record_id: str
) -> JournalEntry:
    return JournalEntry(
        order,
        record.data,
        record.partition_key,
        shard_id,
        record_id,
        record.acceptance.accepted_at_s,
        record.acceptance.answer,
    )
