"""What kagent.local answers, moto answers too, wherever moto is right: the same cases for both.

moto was written by others; a mistake of ours about the API would have to be theirs as well.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from test_local_rig import refused, running, session

from kagent.local import DeliveryStreamOptions, StreamOptions

SHARDS = 3


@pytest.fixture(scope="module", params=["local", "moto"])
def clients(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Clients of a service with the stream `web`, 3 shards, and the delivery stream `audit`."""
    with contextlib.ExitStack() as stack:
        yield {"local": local_clients, "moto": moto_clients}[request.param](stack)


def local_clients(stack: contextlib.ExitStack) -> dict[str, Any]:
    rig = stack.enter_context(
        running(
            streams={"web": StreamOptions(shards=SHARDS, is_throttled=False)},
            delivery_streams={"audit": DeliveryStreamOptions(is_throttled=False)},
        )
    )
    return {name: rig.client(name) for name in ("kinesis", "firehose", "cloudwatch")}


def moto_clients(stack: contextlib.ExitStack) -> dict[str, Any]:
    from moto.server import ThreadedMotoServer  # takes half a second

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    stack.callback(server.stop)
    host, port = server.get_host_and_port()
    arguments = {
        "endpoint_url": f"http://{host}:{port}",
        "region_name": "eu-west-1",
        "aws_access_key_id": "a",
        "aws_secret_access_key": "b",
    }
    clients = {
        name: stack.enter_context(contextlib.closing(session().client(name, **arguments)))
        for name in ("kinesis", "firehose", "cloudwatch", "s3")
    }
    clients["kinesis"].create_stream(StreamName="web", ShardCount=SHARDS)
    place = {"LocationConstraint": "eu-west-1"}
    clients["s3"].create_bucket(Bucket="audit", CreateBucketConfiguration=place)
    bucket = {"RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": "arn:aws:s3:::audit"}
    clients["firehose"].create_delivery_stream(
        DeliveryStreamName="audit", ExtendedS3DestinationConfiguration=bucket
    )
    return clients


def records(*datas: bytes, key: str = "k") -> list[dict[str, Any]]:
    return [{"Data": data, "PartitionKey": key} for data in datas]


def shards(clients: dict[str, Any]) -> list[dict[str, Any]]:
    return list(clients["kinesis"].list_shards(StreamName="web")["Shards"])


def test_hash_ranges_divide_the_keys(clients: dict[str, Any]) -> None:
    """Three shards own 2^128 keys in adjacent ranges from 0 on."""
    ranges = [shard["HashKeyRange"] for shard in shards(clients)]

    assert SHARDS == len(ranges)
    starts = [int(each["StartingHashKey"]) for each in ranges]
    ends = [int(each["EndingHashKey"]) for each in ranges]
    assert (0, 2**128 - 1) == (starts[0], ends[-1])
    assert starts[1:] == [end + 1 for end in ends[:-1]]


def test_md5_decides_the_shard(clients: dict[str, Any]) -> None:
    """A record goes to the shard that owns its partition key's MD5."""
    keys = [f"key-{number}" for number in range(50)]
    entries = [{"Data": b"x", "PartitionKey": key} for key in keys]

    answer = clients["kinesis"].put_records(StreamName="web", Records=entries)

    owners = {shard["ShardId"]: shard["HashKeyRange"] for shard in shards(clients)}
    for key, result in zip(keys, answer["Records"], strict=True):
        owned = owners[result["ShardId"]]
        digest = int(hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(), 16)
        assert int(owned["StartingHashKey"]) <= digest <= int(owned["EndingHashKey"])


def test_an_explicit_hash_key_decides_before_the_partition_key(clients: dict[str, Any]) -> None:
    """ExplicitHashKey 0 belongs to the first shard."""
    entry = {"Data": b"x", "PartitionKey": "key-1", "ExplicitHashKey": "0"}

    answer = clients["kinesis"].put_records(StreamName="web", Records=[entry])

    assert "shardId-000000000000" == answer["Records"][0]["ShardId"]


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        pytest.param(records(*[b"x"] * 501), "ValidationException", id="501 records"),
        pytest.param(records(b"x" * (1024 * 1024 + 1)), "ValidationException", id="above 1 MiB"),
        pytest.param(records(b"x" * 1024 * 1024), "ValidationException", id="1 MiB and a key"),
        pytest.param(
            records(*[b"x" * 1024 * 1023] * 11), "InvalidArgumentException", id="above 10 MiB"
        ),
    ],
)
def test_requests_beyond_the_limits_are_refused(
    clients: dict[str, Any], entries: list[dict[str, Any]], code: str
) -> None:
    """Too many records, too large ones, or too much of them: the same code from both."""
    with refused(code):
        clients["kinesis"].put_records(StreamName="web", Records=entries)


@pytest.mark.parametrize("operation", ["put_records", "describe_stream_summary", "list_shards"])
def test_an_unknown_stream_is_not_found(clients: dict[str, Any], operation: str) -> None:
    """Every operation names the stream that is not there, and its account."""
    arguments: dict[str, Any] = {"Records": records(b"x")} if operation == "put_records" else {}

    with refused("ResourceNotFoundException", "Stream nope under account 123456789012 not found."):
        getattr(clients["kinesis"], operation)(StreamName="nope", **arguments)


def test_records_come_back_in_order_at_every_kind_of_iterator(clients: dict[str, Any]) -> None:
    """What one shard took is read back in order, from, at and after a sequence number."""
    kinesis = clients["kinesis"]
    answer = kinesis.put_records(StreamName="web", Records=records(b"1", b"2", b"3", key="order"))
    numbers = [result["SequenceNumber"] for result in answer["Records"]]
    shard_id = answer["Records"][0]["ShardId"]

    def read(kind: str, **more: str) -> list[bytes]:
        iterator = kinesis.get_shard_iterator(
            StreamName="web", ShardId=shard_id, ShardIteratorType=kind, **more
        )["ShardIterator"]
        found = kinesis.get_records(ShardIterator=iterator)["Records"]
        return [record["Data"] for record in found if record["PartitionKey"] == "order"]

    assert sorted(numbers, key=int) == numbers
    assert [b"1", b"2", b"3"] == read("TRIM_HORIZON")
    assert [b"2", b"3"] == read("AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1])
    assert [b"3"] == read("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1])
    assert [] == read("LATEST")


def test_get_records_pages_by_limit(clients: dict[str, Any]) -> None:
    """NextShardIterator goes on where Limit stopped, and reads nothing at the end."""
    kinesis = clients["kinesis"]
    kind = {"ShardIteratorType": "LATEST", "ShardId": "shardId-000000000002"}
    latest = kinesis.get_shard_iterator(StreamName="web", **kind)["ShardIterator"]
    last_key = {"ExplicitHashKey": str(2**128 - 2**100)}  # moto has no shard for 2^128-1
    kinesis.put_records(
        StreamName="web", Records=[entry | last_key for entry in records(b"1", b"2", b"3")]
    )

    pages = []
    for _ in range(3):
        page = kinesis.get_records(ShardIterator=latest, Limit=2)
        pages.append([record["Data"] for record in page["Records"]])
        latest = page["NextShardIterator"]

    assert [[b"1", b"2"], [b"3"], []] == pages


def test_the_summary_counts_open_shards(clients: dict[str, Any]) -> None:
    """DescribeStreamSummary names the stream, its state and its shards."""
    answer = clients["kinesis"].describe_stream_summary(StreamName="web")

    summary = answer["StreamDescriptionSummary"]
    assert ("ACTIVE", SHARDS) == (summary["StreamStatus"], summary["OpenShardCount"])
    assert "arn:aws:kinesis:eu-west-1:123456789012:stream/web" == summary["StreamARN"]
    assert 24 == summary["RetentionPeriodHours"]


def test_firehose_answers_each_record(clients: dict[str, Any]) -> None:
    """PutRecordBatch gives one RecordId for each record, all different."""
    answer = clients["firehose"].put_record_batch(
        DeliveryStreamName="audit", Records=[{"Data": b"%d" % number} for number in range(10)]
    )

    ids = {result["RecordId"] for result in answer["RequestResponses"]}
    assert (0, 10) == (answer["FailedPutCount"], len(ids))


def test_an_unknown_delivery_stream_is_not_found(clients: dict[str, Any]) -> None:
    """The error names the delivery stream and its account."""
    with refused("ResourceNotFoundException", "Firehose nope under account 123456789012"):
        clients["firehose"].put_record_batch(DeliveryStreamName="nope", Records=[{"Data": b"x"}])


def test_a_delivery_stream_describes_itself(clients: dict[str, Any]) -> None:
    """DescribeDeliveryStream names it, its state and its source."""
    answer = clients["firehose"].describe_delivery_stream(DeliveryStreamName="audit")

    described = answer["DeliveryStreamDescription"]
    assert (
        "ACTIVE",
        "DirectPut",
    ) == (described["DeliveryStreamStatus"], described["DeliveryStreamType"])
    arn = "arn:aws:firehose:eu-west-1:123456789012:deliverystream/audit"
    assert arn == described["DeliveryStreamARN"].replace(":/", ":")


def test_metrics_are_taken(clients: dict[str, Any]) -> None:
    """PutMetricData of plain values and of values with counts is answered 200."""
    answer = clients["cloudwatch"].put_metric_data(
        Namespace="kagent",
        MetricData=[
            {"MetricName": "a", "Value": 1.0},
            {"MetricName": "b", "Values": [1.0, 2.0], "Counts": [3.0, 4.0]},
        ],
    )

    assert 200 == answer["ResponseMetadata"]["HTTPStatusCode"]
