"""The daemon against services that no one here wrote: moto's Firehose and kinesalite's Kinesis.

Neither throttles nor fails; they are right about what is stored where, and in which order.
"""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import types
from collections.abc import Iterator
from typing import Any

import boto3
import consumers
import pytest
from daemon import CREDENTIALS, Daemon, wait_until
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from test_pack import lines_of

ACCOUNT = "123456789012"

_KINESALITE = """
const server = require('kinesalite')({createStreamMs: 1, updateStreamMs: 1, shardLimit: 50});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@contextlib.contextmanager
def running(root: pathlib.Path, endpoint_url: str) -> Iterator[Daemon]:
    """Hand out a daemon that is not started yet, and leave nothing running."""
    server: Any = types.SimpleNamespace(endpoint_url=endpoint_url, ca_file=None)
    daemon = Daemon(root, None, server)  # type: ignore[arg-type]
    try:
        yield daemon
    finally:
        if daemon.process is not None:
            daemon.process.kill()
            daemon.process.wait()


def client(service: str, endpoint_url: str) -> Any:
    return boto3.client(service, region_name="eu-west-1", endpoint_url=endpoint_url)


def numbered(first: int, last: int) -> bytes:
    return b"".join(b"line %06d of the file\n" % number for number in range(first, last))


# --- Firehose to S3 ---------------------------------------------------------------------------


@pytest.fixture
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.mark.parametrize("packing", ["none", "newline"])
def test_objects_behind_firehose_are_the_file(
    tmp_path: pathlib.Path, moto_url: str, packing: str
) -> None:
    """Byte for byte and in order, with one request at a time; packing changes nothing in S3."""
    bucket = f"logs-{packing}"
    client("s3", moto_url).create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    client("firehose", moto_url).create_delivery_stream(
        DeliveryStreamName=bucket,
        ExtendedS3DestinationConfiguration={
            "RoleARN": f"arn:aws:iam::{ACCOUNT}:role/x",
            "BucketARN": f"arn:aws:s3:::{bucket}",
        },
    )
    content = numbered(0, 20_000) + b"\xff\x00 no text \xc3\n" * 10
    with running(tmp_path, moto_url) as daemon:
        daemon.configure(
            daemon.flow(
                destination={"firehose": {"delivery_stream": bucket}},
                pack={"as": packing, "max_bytes": "20KB"} if packing != "none" else "none",
                max_in_flight=1,
            )
        )
        daemon.path("a.log").write_bytes(content)
        daemon.start()
        wait_until(
            lambda: (
                daemon.root.joinpath("state", "checkpoints.db").exists()
                and daemon.offsets().get("a.log") == len(content)
            ),
            f"the whole file; the log ends with:\n{daemon.log[-2000:]}",
        )
        assert 0 == daemon.stop()

    stored = s3_backends[ACCOUNT]["aws"].buckets[bucket].keys.values()
    assert content == b"".join(key.value for key in stored)


# --- Kinesis, by its hashes -------------------------------------------------------------------


@pytest.fixture
def kinesalite_url() -> Iterator[str]:
    node = consumers.need_node("kinesalite")
    with subprocess.Popen(
        [node, "-e", _KINESALITE], stdout=subprocess.PIPE, text=True, cwd=consumers.NODE
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def wait_for_stream(kinesis: Any) -> list[dict[str, Any]]:
    """Return the shards of the stream, when it is active."""
    wait_until(
        lambda: (
            kinesis.describe_stream(StreamName="web")["StreamDescription"]["StreamStatus"]
            == "ACTIVE"
        ),
        "an active stream",
    )
    shards: list[dict[str, Any]] = kinesis.describe_stream(StreamName="web")["StreamDescription"][
        "Shards"
    ]
    return shards


def read_shard(kinesis: Any, shard: str) -> list[dict[str, Any]]:
    iterator = kinesis.get_shard_iterator(
        StreamName="web", ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    found: list[dict[str, Any]] = []
    empty = 0
    while iterator and empty < 3:
        answer = kinesis.get_records(ShardIterator=iterator)
        found += answer["Records"]
        empty = 0 if answer["Records"] else empty + 1
        iterator = answer.get("NextShardIterator")
    return found


def range_of(shard: dict[str, Any]) -> tuple[int, int]:
    edges = shard["HashKeyRange"]
    return int(edges["StartingHashKey"]), int(edges["EndingHashKey"]) + 1


@pytest.mark.parametrize(
    ("packing", "partition_key"),
    [("none", "random"), ("newline", "record_hash"), ("kpl", "random"), ("kpl", "{path}")],
)
def test_records_are_where_their_hashes_belong_also_while_shards_are_split(
    tmp_path: pathlib.Path, kinesalite_url: str, packing: str, partition_key: str
) -> None:
    """Every line arrives, and Amazon's consumer library drops none of them for its hash."""
    kinesis = client("kinesis", kinesalite_url)
    kinesis.create_stream(StreamName="web", ShardCount=2)
    shards = wait_for_stream(kinesis)
    with running(tmp_path, kinesalite_url) as daemon:
        daemon.configure(
            daemon.flow(
                destination={"kinesis": {"stream": "web", "partition_key": partition_key}},
                pack=packing if packing == "none" else {"as": packing, "max_bytes": "2KB"},
                batch={"max_age": "20ms", "max_records": 50},
            )
        )
        files = [daemon.path(f"{number}.log") for number in range(6)]
        for number, path in enumerate(files):
            path.write_bytes(numbered(1000 * number, 1000 * number + 500))
        daemon.start()
        wait_until(lambda: any(read_shard(kinesis, one["ShardId"]) for one in shards), "records")
        for shard in shards:
            first, last = range_of(shard)
            kinesis.split_shard(
                StreamName="web",
                ShardToSplit=shard["ShardId"],
                NewStartingHashKey=str((first + last) // 2),
            )
            wait_for_stream(kinesis)
        for number, path in enumerate(files):
            with path.open("ab") as file:
                file.write(numbered(1000 * number + 500, 1000 * number + 1000))
        sizes = {path.name: path.stat().st_size for path in files}
        wait_until(lambda: daemon.offsets() == sizes, f"every file:\n{daemon.log[-2000:]}")
        assert 0 == daemon.stop()

    taken: list[bytes] = []
    after = wait_for_stream(kinesis)
    for shard in after:
        first, last = range_of(shard)
        for record in read_shard(kinesis, shard["ShardId"]):
            data: bytes = record["Data"]
            if data.startswith(consumers.MAGIC):
                (users,) = consumers.by_python([data])
                assert 1 == len({hash_key for _, hash_key, _ in users})
                taken += consumers.taken_by_client_library(data, first, last)
            else:
                assert first <= consumers.hash_of(record["PartitionKey"]) < last
                taken += lines_of(data, "newline")
    assert 6 == len(after)
    assert numbered(0, 6000).splitlines(keepends=True) == sorted(taken)
