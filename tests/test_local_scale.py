"""kagent.local as its operator sees it: shards, the largest record, encryption, permissions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_local_rig import Rig, refused, running

from kagent.local import Faults, StreamOptions, limits

MIDDLE = str(2**127)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A stream of one shard without throttling."""
    with running(streams={"web": StreamOptions(is_throttled=False)}) as rig:
        yield rig


def shards(rig: Rig, kind: str = "AT_LATEST") -> list[dict[str, Any]]:
    found = rig.kinesis.list_shards(StreamName="web", ShardFilter={"Type": kind})
    return list(found["Shards"])


def split(rig: Rig) -> None:
    rig.kinesis.split_shard(
        StreamName="web", ShardToSplit="shardId-000000000000", NewStartingHashKey=MIDDLE
    )


def put_at(rig: Rig, *hash_keys: int) -> list[str]:
    records = [
        {"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": str(key)} for key in hash_keys
    ]
    answer = rig.kinesis.put_records(StreamName="web", Records=records)
    return [one["ShardId"] for one in answer["Records"]]


def test_split_shard_is_replaced_by_two(rig: Rig) -> None:
    """The parent takes no more records, its children all of them, and it says where they are."""
    rig.put(b"before")
    split(rig)

    assert ["shardId-000000000001", "shardId-000000000002"] == put_at(rig, 0, 2**128 - 1)
    assert [one["ShardId"][-1] for one in shards(rig)] == ["1", "2"]
    parent, child, _ = shards(rig, "FROM_TRIM_HORIZON")
    assert "EndingSequenceNumber" in parent["SequenceNumberRange"]
    assert parent["ShardId"] == child["ParentShardId"]
    assert (
        2
        == rig.kinesis.describe_stream_summary(StreamName="web")["StreamDescriptionSummary"][
            "OpenShardCount"
        ]
    )


def test_closed_shard_is_read_to_its_end(rig: Rig) -> None:
    """Then there is no next iterator, but the names of its children."""
    rig.put(b"before")
    split(rig)
    start = rig.kinesis.get_shard_iterator(
        StreamName="web", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )

    answer = rig.kinesis.get_records(ShardIterator=start["ShardIterator"])

    assert [b"before"] == [one["Data"] for one in answer["Records"]]
    assert "NextShardIterator" not in answer
    assert 2 == len(answer["ChildShards"])


def test_merged_shards_are_replaced_by_one(rig: Rig) -> None:
    """Adjacent ones only."""
    split(rig)
    rig.kinesis.split_shard(
        StreamName="web", ShardToSplit="shardId-000000000002", NewStartingHashKey=str(3 * 2**126)
    )

    with refused("InvalidArgumentException", "adjacent"):
        rig.kinesis.merge_shards(
            StreamName="web",
            ShardToMerge="shardId-000000000001",
            AdjacentShardToMerge="shardId-000000000004",
        )
    rig.kinesis.merge_shards(
        StreamName="web",
        ShardToMerge="shardId-000000000003",
        AdjacentShardToMerge="shardId-000000000001",
    )

    assert {"shardId-000000000004", "shardId-000000000005"} == {
        one["ShardId"] for one in shards(rig)
    }
    assert ["shardId-000000000005"] == put_at(rig, 1)


def test_shard_count_is_at_most_doubled_or_halved(rig: Rig) -> None:
    """As UpdateShardCount allows in one call; the new shards are even."""
    with refused("LimitExceededException"):
        rig.kinesis.update_shard_count(
            StreamName="web", TargetShardCount=3, ScalingType="UNIFORM_SCALING"
        )
    answer = rig.kinesis.update_shard_count(
        StreamName="web", TargetShardCount=2, ScalingType="UNIFORM_SCALING"
    )

    assert (1, 2) == (answer["CurrentShardCount"], answer["TargetShardCount"])
    assert [MIDDLE] == [one["HashKeyRange"]["StartingHashKey"] for one in shards(rig)][1:]


def test_stream_that_is_updating_takes_records_and_no_other_change() -> None:
    """As AWS does for some thirty seconds."""
    with running(streams={"web": StreamOptions(updating_s=30.0)}) as rig:
        split(rig)

        with refused("ResourceInUseException"):
            split(rig)

        assert put_at(rig, 1)
        described = rig.kinesis.describe_stream_summary(StreamName="web")
        assert "UPDATING" == described["StreamDescriptionSummary"]["StreamStatus"]


def test_largest_record_can_be_raised_and_is_enforced(rig: Rig) -> None:
    """From 1 MiB to 10 MiB."""
    large = b"x" * (2 * limits.MIB)
    with refused("ValidationException"):
        rig.put(large)
    arn = rig.kinesis.describe_stream_summary(StreamName="web")["StreamDescriptionSummary"][
        "StreamARN"
    ]

    rig.kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=10240)
    rig.put(large)

    described = rig.kinesis.describe_stream_summary(StreamName="web")
    assert 10240 == described["StreamDescriptionSummary"]["MaxRecordSizeInKiB"]
    with refused("ValidationException"):
        rig.kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=10241)


def test_mode_and_encryption_are_described_as_they_were_set(rig: Rig) -> None:
    """An encrypted stream says so in every answer."""
    arn = rig.kinesis.describe_stream_summary(StreamName="web")["StreamDescriptionSummary"][
        "StreamARN"
    ]
    rig.kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    rig.kinesis.start_stream_encryption(
        StreamName="web", EncryptionType="KMS", KeyId="alias/aws/kinesis"
    )

    answer = rig.put(b"x")

    found = rig.kinesis.describe_stream_summary(StreamName="web")["StreamDescriptionSummary"]
    assert ("ON_DEMAND", "KMS") == (
        found["StreamModeDetails"]["StreamMode"],
        found["EncryptionType"],
    )
    assert "KMS" == answer["EncryptionType"]
    rig.kinesis.stop_stream_encryption(
        StreamName="web", EncryptionType="KMS", KeyId="alias/aws/kinesis"
    )
    assert "EncryptionType" not in rig.put(b"x")


def test_denied_operations_are_refused_as_aws_does(rig: Rig) -> None:
    """Only those that are named; the message has the action, the identity and the resource."""
    rig.service.set_faults(Faults(denied=("ListShards",)))

    message = "is not authorized to perform: kinesis:ListShards on resource: arn:aws:"
    with refused("AccessDeniedException", message):
        rig.kinesis.list_shards(StreamName="web")

    assert rig.put(b"x")


def test_one_shard_can_be_slower_than_the_others() -> None:
    """It has a share of the usual rates, and refuses what is beyond it."""
    slow = StreamOptions(shards=2, shard_shares={0: 0.01})
    with running(streams={"web": slow}) as rig:
        keys = [0] * 20 + [2**128 - 1] * 20
        records = [
            {"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": str(key)} for key in keys
        ]

        answer = rig.kinesis.put_records(StreamName="web", Records=records)

        assert 10 == answer["FailedRecordCount"]
