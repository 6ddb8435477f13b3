"""kagent.local read back: iterators, GetRecords, ListShards, journals, and what is forgotten."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from test_local_rig import Rig, refused, running

from kagent.local import StreamOptions

SHARD = "shardId-000000000000"
OPEN = StreamOptions(is_throttled=False)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A stream of one shard without throttling."""
    with running(streams={"web": OPEN}) as rig:
        yield rig


def iterator(rig: Rig, kind: str, **more: object) -> str:
    answer = rig.kinesis.get_shard_iterator(
        StreamName="web", ShardId=SHARD, ShardIteratorType=kind, **more
    )
    return str(answer["ShardIterator"])


def read(rig: Rig, kind: str, **more: object) -> list[bytes]:
    answer = rig.kinesis.get_records(ShardIterator=iterator(rig, kind, **more))
    return [record["Data"] for record in answer["Records"]]


def test_trim_horizon_reads_everything_with_keys_and_times(rig: Rig) -> None:
    """From TRIM_HORIZON every record comes back in order, with its key and its arrival time."""
    put = rig.put(b"1", b"2", key="key")

    answer = rig.kinesis.get_records(ShardIterator=iterator(rig, "TRIM_HORIZON"))

    assert [b"1", b"2"] == [record["Data"] for record in answer["Records"]]
    assert "key" == answer["Records"][0]["PartitionKey"]
    assert answer["Records"][0]["SequenceNumber"] == put["Records"][0]["SequenceNumber"]
    arrived_at_s = answer["Records"][0]["ApproximateArrivalTimestamp"].timestamp()
    assert arrived_at_s == pytest.approx(rig.clock(), abs=0.001)
    assert 0 == answer["MillisBehindLatest"]


def test_latest_reads_only_what_comes_later(rig: Rig) -> None:
    """A LATEST iterator sees the records put after it was made, and no earlier one."""
    rig.put(b"before")
    latest = iterator(rig, "LATEST")

    rig.put(b"after")

    answer = rig.kinesis.get_records(ShardIterator=latest)
    assert [b"after"] == [record["Data"] for record in answer["Records"]]


def test_sequence_number_iterators_start_at_or_after_a_record(rig: Rig) -> None:
    """AT_SEQUENCE_NUMBER begins with the record named, AFTER_SEQUENCE_NUMBER with the next."""
    second = rig.put(b"1", b"2", b"3")["Records"][1]["SequenceNumber"]

    at = read(rig, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=second)
    after = read(rig, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=second)

    assert [b"2", b"3"] == at
    assert [b"3"] == after


def test_a_shard_s_own_starting_sequence_number_reads_everything(rig: Rig) -> None:
    """The StartingSequenceNumber that ListShards gives lies before the first record."""
    rig.put(b"1")
    (shard,) = rig.kinesis.list_shards(StreamName="web")["Shards"]
    start = shard["SequenceNumberRange"]["StartingSequenceNumber"]

    everything = read(rig, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=start)

    assert [b"1"] == everything


def test_at_timestamp_starts_at_the_first_record_of_that_time(rig: Rig) -> None:
    """AT_TIMESTAMP reads the records that arrived then or later, and refuses the future."""
    rig.put(b"early")
    rig.clock.advance(10)
    rig.put(b"late")
    between = dt.datetime.fromtimestamp(rig.clock() - 5, dt.UTC)
    future = dt.datetime.fromtimestamp(rig.clock() + 5, dt.UTC)

    late = read(rig, "AT_TIMESTAMP", Timestamp=between)

    assert [b"late"] == late
    with refused("InvalidArgumentException"):
        iterator(rig, "AT_TIMESTAMP", Timestamp=future)


def test_get_records_returns_pages(rig: Rig) -> None:
    """NextShardIterator continues where Limit cut, and MillisBehindLatest tells what is left."""
    rig.put(b"1", b"2", b"3")
    rig.clock.advance(2)

    first = rig.kinesis.get_records(ShardIterator=iterator(rig, "TRIM_HORIZON"), Limit=2)
    second = rig.kinesis.get_records(ShardIterator=first["NextShardIterator"])

    assert [b"1", b"2"] == [record["Data"] for record in first["Records"]]
    assert first["MillisBehindLatest"] == pytest.approx(2000, abs=1)
    assert [b"3"] == [record["Data"] for record in second["Records"]]
    assert 0 == second["MillisBehindLatest"]


def test_get_records_returns_at_most_10_mib(rig: Rig) -> None:
    """Eleven records just below 1 MiB come back as ten, then one."""
    megabyte = b"x" * (1024 * 1024 - 8)
    for _ in range(11):
        rig.put(megabyte)

    first = rig.kinesis.get_records(ShardIterator=iterator(rig, "TRIM_HORIZON"))
    second = rig.kinesis.get_records(ShardIterator=first["NextShardIterator"])

    assert (10, 1) == (len(first["Records"]), len(second["Records"]))


def test_iterators_expire_after_five_minutes() -> None:
    """An iterator older than 300 seconds is refused with ExpiredIteratorException."""
    with running(streams={"web": OPEN}, checks_signatures=False) as rig:
        old = iterator(rig, "TRIM_HORIZON")

        rig.clock.advance(301)

        with refused("ExpiredIteratorException"):
            rig.kinesis.get_records(ShardIterator=old)


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        pytest.param(
            "GetRecords",
            {"ShardIterator": "bm9uc2Vuc2U="},
            "InvalidArgumentException",
            id="iterator",
        ),
        pytest.param(
            "GetRecords", {"ShardIterator": "?"}, "InvalidArgumentException", id="base64"
        ),
        pytest.param(
            "GetRecords",
            {"ShardIterator": "x", "Limit": 10_001},
            "ValidationException",
            id="limit",
        ),
        pytest.param(
            "GetRecords", {"ShardIterator": "x", "Limit": 0}, "ValidationException", id="limit 0"
        ),
        pytest.param(
            "GetShardIterator", {"StreamName": "web"}, "ValidationException", id="no shard"
        ),
        pytest.param(
            "GetShardIterator",
            {"StreamName": "web", "ShardId": "shardId-7"},
            "ResourceNotFoundException",
            id="unknown shard",
        ),
        pytest.param(
            "GetShardIterator",
            {"StreamName": "web", "ShardId": SHARD, "ShardIteratorType": "AT_SEQUENCE_NUMBER"},
            "InvalidArgumentException",
            id="no sequence number",
        ),
        pytest.param(
            "GetShardIterator",
            {
                "StreamName": "web",
                "ShardId": SHARD,
                "ShardIteratorType": "AT_SEQUENCE_NUMBER",
                "StartingSequenceNumber": "123",
            },
            "InvalidArgumentException",
            id="foreign sequence number",
        ),
        pytest.param(
            "ListShards",
            {"MaxResults": 0, "StreamName": "web"},
            "ValidationException",
            id="page 0",
        ),
        pytest.param("ListShards", {"NextToken": "eA=="}, "InvalidArgumentException", id="token"),
        pytest.param(
            "ListShards",
            {"NextToken": "eA==", "StreamName": "web"},
            "InvalidArgumentException",
            id="token and name",
        ),
        pytest.param("DescribeStreamSummary", {}, "InvalidArgumentException", id="no stream"),
        pytest.param(
            "DescribeStreamSummary", {"StreamName": "a b"}, "ValidationException", id="bad name"
        ),
    ],
)
def test_wrong_reads_are_refused(
    rig: Rig, operation: str, arguments: dict[str, object], code: str
) -> None:
    """A read that asks for what is not there is refused with the code AWS documents."""
    status, answer = rig.post(f"Kinesis_20131202.{operation}", arguments)

    assert (400, code) == (status, answer["__type"])


def test_list_shards_gives_pages() -> None:
    """MaxResults and NextToken walk over all shards; ExclusiveStartShardId begins after one."""
    with running(streams={"web": StreamOptions(shards=5)}) as rig:
        first = rig.kinesis.list_shards(StreamName="web", MaxResults=3)
        second = rig.kinesis.list_shards(NextToken=first["NextToken"], MaxResults=3)
        after = rig.kinesis.list_shards(
            StreamName="web", ExclusiveStartShardId="shardId-000000000003"
        )

        assert [3, 2, 1] == [len(page["Shards"]) for page in (first, second, after)]
        assert "NextToken" not in second


def test_summary_tells_what_a_producer_must_know() -> None:
    """DescribeStreamSummary says how many shards are open and how large a record may be."""
    large = StreamOptions(shards=3, record_bytes_max=5 * 1024 * 1024, is_on_demand=True)
    with running(streams={"web": large}) as rig:
        answer = rig.kinesis.describe_stream_summary(StreamName="web")

        summary = answer["StreamDescriptionSummary"]
        assert 3 == summary["OpenShardCount"]
        assert 5 * 1024 == summary["MaxRecordSizeInKiB"]
        assert {"StreamMode": "ON_DEMAND"} == summary["StreamModeDetails"]
        assert "ACTIVE" == summary["StreamStatus"]


def test_the_oldest_records_are_forgotten_beyond_the_bound() -> None:
    """Memory stays within keep_bytes_max: old records go, orders and counts stay true."""
    small = StreamOptions(is_throttled=False, keep_bytes_max=100_000)
    with running(streams={"web": small}) as rig:
        for start in range(0, 1000, 100):
            rig.put(*[b"%04d" % number for number in range(start, start + 100)])

        journal = rig.service.journal("web")
        assert 0 < len(journal) <= 100_000 / 250
        assert 999 == journal[-1].order
        assert [int(entry.data) for entry in journal] == [entry.order for entry in journal]
        assert read(rig, "TRIM_HORIZON") == [entry.data for entry in journal]
        assert 1000 == rig.service.counts()["streams"]["web"]["records_accepted"]


def test_records_need_not_be_kept() -> None:
    """With keep_records off nothing can be read back, and everything is still counted."""
    with running(streams={"web": StreamOptions(keep_records=False)}) as rig:
        rig.put(b"1\n", b"2\n", b"2\n")

        assert [] == read(rig, "TRIM_HORIZON")
        assert [] == rig.service.records("web")
        counts = rig.service.counts()["streams"]["web"]
        assert (3, 2) == (counts["records_accepted"], counts["lines_distinct"])
        assert {SHARD: 3} == counts["records_by_shard"]


def test_the_journal_tells_order_place_and_answer(rig: Rig) -> None:
    """Each accepted record stands in the journal with the id that its answer gave."""
    put = rig.put(b"1", b"2", key="key")

    entries = rig.service.journal("web", start=1)

    (entry,) = entries
    assert (1, b"2", "key") == (entry.order, entry.data, entry.partition_key)
    assert entry.id == put["Records"][1]["SequenceNumber"]
    assert (SHARD, "good") == (entry.shard_id, entry.answer)
