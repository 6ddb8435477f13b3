"""kagent.local as Kinesis: the limits, the routing and the throttling of PutRecords."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
from test_local_rig import Rig, refused, running

from kagent.local import Faults, StreamOptions, limits

MIB = 1024 * 1024


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A stream of four shards without throttling."""
    with running(streams={"web": StreamOptions(shards=4, is_throttled=False)}) as rig:
        yield rig


def record(data: bytes = b"x", key: str = "k", **more: str) -> dict[str, Any]:
    return {"Data": data, "PartitionKey": key, **more}


def test_answer_has_the_size_and_form_of_a_real_one(rig: Rig) -> None:
    """A sequence number has 56 digits, a shard id 20 characters, a request id 36."""
    answer = rig.put(b"one\n")

    (result,) = answer["Records"]
    assert {"SequenceNumber", "ShardId"} == result.keys()
    assert 56 == len(result["SequenceNumber"])
    assert "shardId-000000000000" == result["ShardId"][:-1] + "0"
    assert 36 == len(answer["ResponseMetadata"]["RequestId"])
    assert 0 == answer["FailedRecordCount"]


def test_records_go_where_the_md5_of_their_key_says(rig: Rig) -> None:
    """Each shard accepts exactly the partition keys whose MD5 lies in its hash range."""
    keys = [f"key-{number}" for number in range(200)]
    shards = rig.kinesis.list_shards(StreamName="web")["Shards"]

    answer = rig.kinesis.put_records(StreamName="web", Records=[record(key=key) for key in keys])

    for key, result in zip(keys, answer["Records"], strict=True):
        digest = int(hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(), 16)
        (owner,) = [
            shard["ShardId"]
            for shard in shards
            if int(shard["HashKeyRange"]["StartingHashKey"])
            <= digest
            <= int(shard["HashKeyRange"]["EndingHashKey"])
        ]
        assert owner == result["ShardId"]


def test_hash_ranges_cover_all_keys_without_gap_or_overlap(rig: Rig) -> None:
    """The ranges of a stream's shards are adjacent and reach from 0 to 2^128-1."""
    shards = rig.kinesis.list_shards(StreamName="web")["Shards"]

    ranges = [shard["HashKeyRange"] for shard in shards]

    assert "0" == ranges[0]["StartingHashKey"]
    assert str(2**128 - 1) == ranges[-1]["EndingHashKey"]
    for left, right in itertools.pairwise(ranges):
        assert int(left["EndingHashKey"]) + 1 == int(right["StartingHashKey"])


def test_explicit_hash_key_wins_over_the_partition_key(rig: Rig) -> None:
    """A record with ExplicitHashKey goes to the shard that owns it, whatever its partition key."""
    answer = rig.kinesis.put_records(
        StreamName="web",
        Records=[
            record(ExplicitHashKey="0"),
            record(ExplicitHashKey=str(2**128 - 1)),
        ],
    )

    assert [
        "shardId-000000000000",
        "shardId-000000000003",
    ] == [result["ShardId"] for result in answer["Records"]]


def test_sequence_numbers_strictly_increase_in_a_shard(rig: Rig) -> None:
    """Later records of a shard have greater sequence numbers, within a call and across calls."""
    numbers = [
        int(result["SequenceNumber"])
        for _ in range(3)
        for result in rig.put(*[b"x"] * 50)["Records"]
    ]

    assert numbers == sorted(set(numbers))


def test_a_stream_may_be_named_by_its_arn(rig: Rig) -> None:
    """StreamARN alone names a stream; that of another account names none."""
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/web"

    rig.kinesis.put_records(StreamARN=arn, Records=[record()])

    assert [b"x"] == rig.service.records("web")
    with refused("ResourceNotFoundException"):
        rig.kinesis.put_records(StreamARN=arn.replace("1234", "9999"), Records=[record()])


@pytest.mark.parametrize(
    ("records", "code"),
    [
        pytest.param([record()] * 501, "ValidationException", id="501 records"),
        pytest.param([record(b"x" * MIB)], "ValidationException", id="data and key above 1 MiB"),
        pytest.param([record(key="k" * 257)], "ValidationException", id="key of 257 characters"),
        pytest.param(
            [record(b"x" * (MIB - 10))] * 11, "InvalidArgumentException", id="11 MiB in all"
        ),
        pytest.param(
            [record(ExplicitHashKey="007")], "ValidationException", id="hash key with zeros"
        ),
        pytest.param(
            [record(ExplicitHashKey=str(2**128))],
            "InvalidArgumentException",
            id="hash key too large",
        ),
    ],
)
def test_put_records_refuses_what_aws_refuses(
    rig: Rig, records: list[dict[str, Any]], code: str
) -> None:
    """A request beyond a limit is refused as a whole and nothing of it is stored."""
    with refused(code):
        rig.kinesis.put_records(StreamName="web", Records=records)

    counts = rig.service.counts()["streams"]["web"]
    assert 0 == counts["records_accepted"]
    assert {code: 1} == counts["calls_refused"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param({"Records": []}, "ValidationException", id="no records"),
        pytest.param({}, "ValidationException", id="no member Records"),
        pytest.param({"Records": {"Data": ""}}, "SerializationException", id="no list"),
        pytest.param({"Records": [{"Data": "eA=="}]}, "ValidationException", id="no key"),
        pytest.param(
            {"Records": [{"Data": "eA==", "PartitionKey": ""}]},
            "ValidationException",
            id="empty key",
        ),
        pytest.param(
            {"Records": [{"Data": "eA==", "PartitionKey": 1}]},
            "SerializationException",
            id="key no text",
        ),
        pytest.param(
            {"Records": [{"Data": "e?==", "PartitionKey": "k"}]},
            "SerializationException",
            id="no base64",
        ),
        pytest.param({"Records": [{"PartitionKey": "k"}]}, "ValidationException", id="no data"),
    ],
)
def test_put_records_refuses_what_no_sdk_would_send(
    rig: Rig, body: dict[str, Any], code: str
) -> None:
    """A malformed body is refused with the code that names what is wrong with it."""
    status, answer = rig.post("Kinesis_20131202.PutRecords", {"StreamName": "web", **body})

    assert (400, code) == (status, answer["__type"])


@pytest.mark.parametrize(
    "size", [limits.RECORD_BYTES_DEFAULT, limits.RECORD_BYTES_MAX], ids=["1 MiB", "10 MiB"]
)
def test_the_largest_record_is_accepted(size: int) -> None:
    """A record of exactly the stream's maximum, partition key included, passes a rested shard."""
    options = StreamOptions(record_bytes_max=size)
    with running(streams={"web": options}) as rig:
        answer = rig.put(b"x" * (size - 1))

        assert 0 == answer["FailedRecordCount"]


def test_an_unknown_stream_is_not_found(rig: Rig) -> None:
    """A stream that is not there is named in the error, with the account."""
    with refused("ResourceNotFoundException", "Stream nope under account 123456789012 not found."):
        rig.put(b"x", stream="nope")


def test_a_full_shard_refuses_records_one_by_one() -> None:
    """Of 1,100 records at once for one shard 1,000 pass; the others name shard and account."""
    with running() as rig:
        answers = [rig.put(*[b"x"] * 500), rig.put(*[b"x"] * 500), rig.put(*[b"x"] * 100)]

        assert [0, 0, 100] == [answer["FailedRecordCount"] for answer in answers]
        (shard,) = {result["ShardId"] for result in answers[0]["Records"]}
        assert {
            "ErrorCode": "ProvisionedThroughputExceededException",
            "ErrorMessage": f"Rate exceeded for shard {shard} in stream web "
            "under account 123456789012.",
        } == answers[2]["Records"][0]
        counts = rig.service.counts()["streams"]["web"]
        assert 1000 == counts["records_accepted"]
        assert {"ProvisionedThroughputExceededException": 100} == counts["records_refused"]


def test_a_shard_refills_with_time() -> None:
    """Half a second after it was emptied a shard takes 500 records more, and no other shard's."""
    with running() as rig:
        rig.put(*[b"x"] * 500)
        rig.put(*[b"x"] * 500)

        rig.clock.advance(0.5)
        answers = [rig.put(*[b"x"] * 500), rig.put(b"x")]

        assert [0, 1] == [answer["FailedRecordCount"] for answer in answers]


def test_a_shard_takes_one_mib_a_second() -> None:
    """Bytes are throttled as well as records, and other shards are not affected."""
    with running() as rig:
        records = [record(b"x" * 500_000, ExplicitHashKey="0")] * 3
        records.append(record(b"x" * 500_000, ExplicitHashKey=str(2**128 - 1)))

        answer = rig.kinesis.put_records(StreamName="web", Records=records)

        assert [
            False,
            False,
            True,
            False,
        ] == ["ErrorCode" in result for result in answer["Records"]]


def test_refused_records_keep_their_place_in_the_answer() -> None:
    """The answer has one entry for each record in the request's order, accepted or not."""
    choice = random.Random(7)
    with running() as rig:
        rig.service.set_faults(Faults(refuse_share=0.3))
        lines = [b"%d" % choice.getrandbits(60) for _ in range(400)]

        answer = rig.put(*lines)

        accepted = [
            line
            for line, result in zip(lines, answer["Records"], strict=True)
            if "SequenceNumber" in result
        ]
        assert accepted == rig.service.records("web")
        assert 400 - len(accepted) == answer["FailedRecordCount"]
        assert {"refuse": 400 - len(accepted)} == rig.service.counts()["faults"]
