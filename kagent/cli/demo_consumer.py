"""The demo's consumer: reads a stream from its beginning, as any application on Kinesis does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from kagent import local
from kagent.destinations import aws


def read_stream(
    stream: str, server: local.Server, region: str, environ: Mapping[str, str]
) -> list[bytes]:
    """Return the data of every record of a stream, shard by shard.

    Args:
        stream: Its name; nobody writes to it any more.
        server: Where it is.
        region: That it is in.
        environ: Where the credentials are.
    """
    options = aws.AwsOptions.model_validate(
        {
            "region": region,
            "endpoint_url": server.endpoint_url,
            "ca_bundle": server.ca_file,
            "read_timeout": "5s",
        }
    )
    with _environment(environ):
        client = aws.connect("kinesis", options, 1)
        shards = client.list_shards(StreamName=stream)["Shards"]
        return [data for shard in shards for data in _read_shard(client, stream, shard["ShardId"])]


def _read_shard(client: Any, stream: str, shard_id: str) -> Iterator[bytes]:
    """Yield the data of every record of a shard; an empty answer at its tip is the end."""
    iterator = client.get_shard_iterator(
        StreamName=stream, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    while True:
        answer = client.get_records(ShardIterator=iterator)
        yield from (record["Data"] for record in answer["Records"])
        if not answer["Records"] and answer["MillisBehindLatest"] == 0:
            return
        iterator = answer["NextShardIterator"]


@contextlib.contextmanager
def _environment(environ: Mapping[str, str]) -> Iterator[None]:
    """Have another environment for a while, as botocore looks at nothing else."""
    own = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environ)
        yield
    finally:
        os.environ.clear()
        os.environ.update(own)
