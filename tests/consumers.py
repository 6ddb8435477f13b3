"""Readers of packed records that no one here wrote, and a port of one that decides what is lost.

Two de-aggregators of AWS (PyPI and npm `aws-kinesis-agg`), and the rule by which Amazon's consumer
library drops user records: its `AggregatorUtil.deaggregate` computes the hash key of each (the
explicit one, else the MD5 of its partition key) and, when one lies outside of the range of the
shard that it reads, removes what it had taken from the aggregated record and goes on to the next.
https://github.com/awslabs/amazon-kinesis-client, AggregatorUtil.java, 2026-11.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import pathlib
import shutil
import subprocess
from collections.abc import Sequence

import pytest
from aws_kinesis_agg import deaggregator, messages_pb2

MAGIC = b"\xf3\x89\x9a\xc2"
NODE = pathlib.Path(__file__).parent / "node"

_SCRIPT = """
const {deaggregateSync} = require('aws-kinesis-agg');
const records = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const all = records.map(data => {
  let found = null;
  const record = {kinesisSchemaVersion: '1.0', partitionKey: 'outer', sequenceNumber: '1', data};
  deaggregateSync(record, true, (error, users) => { if (error) throw error; found = users; });
  return found.map(one => [one.partitionKey, one.explicitPartitionKey || '', one.data]);
});
process.stdout.write(JSON.stringify(all));
"""

UserRecord = tuple[str, str, bytes]  # partition key, explicit hash key, data


def by_python(records: Sequence[bytes]) -> list[list[UserRecord]]:
    """Return the user records of each record, as the library for Python finds them."""
    found = []
    for data in records:
        event = {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "sequenceNumber": "1",
                "partitionKey": "outer",
                "approximateArrivalTimestamp": 1.0,  # without it the library gives up silently
                "data": base64.b64encode(data),
            }
        }
        users = [one["kinesis"] for one in deaggregator.iter_deaggregate_records([event])]
        found.append(
            [
                (
                    one["partitionKey"],
                    one.get("explicitHashKey") or "",
                    base64.b64decode(one["data"]),
                )
                for one in users
            ]
        )
    return found


def joined_lines(record: bytes) -> bytes:
    """Return the data of a record's user records, joined; of a plain record, itself."""
    message = record[len(MAGIC) : -16]
    if not record.startswith(MAGIC) or hashlib.md5(message).digest() != record[-16:]:
        return record
    aggregated = messages_pb2.AggregatedRecord.FromString(message)
    return b"".join(one.data for one in aggregated.records)


def by_node(records: Sequence[bytes]) -> list[list[UserRecord]]:
    """Return the user records of each record, as the library for JavaScript finds them."""
    node = need_node("aws-kinesis-agg")
    done = subprocess.run(
        [node, "-e", _SCRIPT],
        input=json.dumps([base64.b64encode(one).decode() for one in records]).encode(),
        stdout=subprocess.PIPE,
        cwd=NODE,
        check=True,
        timeout=60,
    )
    return [
        [(key, hash_key, base64.b64decode(data)) for key, hash_key, data in users]
        for users in json.loads(done.stdout)
    ]


@functools.cache
def need_node(package: str) -> str:
    """Return the path of node; skip the test where it or a package is missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node: apt-get install nodejs")
    if not (NODE / "node_modules" / package).exists():
        pytest.skip(f"needs {package}: npm install --prefix tests/node --no-package-lock")
    return node


def hash_of(partition_key: str, hash_key: str = "") -> int:
    """Return the hash key that the service and its consumers give a record."""
    digest = hashlib.md5(partition_key.encode()).digest()
    return int(hash_key) if hash_key else int.from_bytes(digest, "big")


def taken_by_client_library(data: bytes, shard_start: int, shard_end: int) -> list[bytes]:
    """Return what a consumer of Amazon's library gets of a record that lies in a shard.

    Args:
        data: The record's bytes.
        shard_start: The first hash key of the shard.
        shard_end: The first hash key after the shard.
    """
    if not data.startswith(MAGIC):
        return [data]  # a record that is not aggregated is not held against the range
    taken = []
    for partition_key, hash_key, line in by_python([data])[0]:
        if not shard_start <= hash_of(partition_key, hash_key) < shard_end:
            return []
        taken.append(line)
    return taken
