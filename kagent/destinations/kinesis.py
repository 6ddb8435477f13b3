"""Amazon Kinesis Data Streams: PutRecords, one call a batch."""

from __future__ import annotations

import functools
from typing import Annotated, ClassVar, Literal

import pydantic

from kagent import keys, model, options
from kagent.destinations import answers, aws, encoding, verdicts
from kagent.destinations.aws import AwsOptions  # a field called `aws` would hide the module

# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html, 2026-11:
# up to 500 records, 10 MiB for the entire request, partition keys included. A record may hold
# 1 MiB unless the stream's MaxRecordSizeInKiB was raised, its partition key included:
# https://docs.aws.amazon.com/kinesis/latest/dev/service-sizes-and-limits.html, 2026-11.
LIMITS = model.BatchLimits(
    records_max=500,
    request_bytes_max=10 * 1024 * 1024,
    record_bytes_max=1024 * 1024,
    has_partition_keys=True,
    record_bytes_possible=10 * 1024 * 1024,
)


class KinesisOptions(options.Options):
    """An Amazon Kinesis data stream."""

    stream: str = pydantic.Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_.-]+$")
    """The name of the stream."""

    aws: AwsOptions = AwsOptions()
    """How it is reached, key by key over `aws` at the top; null resets a key to its default."""

    partition_key: Annotated[keys.Setting, keys.WRITTEN] = keys.RANDOM
    """Which records go to the same shard. random spreads them evenly, with another key for each
    attempt; record_hash goes by the record's bytes; `"{path}"`, or any text with values in braces
    (path, host, id, and what `source.capture` captures), goes by those; a mapping goes by a field
    of records that are JSON."""

    explicit_hash_key: keys.HashKey | None = None
    """Decides the shard in place of the partition key, which readers still see: random for an even
    spread, or a number from 0 to 2^128 - 1 in quotes."""

    wire: Literal["fast", "boto3"] = "fast"
    """What makes the calls that carry records: kagent's own code, for a tenth of boto3's CPU time,
    or boto3's client."""

    limits: ClassVar[model.BatchLimits] = LIMITS
    service: ClassVar[Literal["kinesis"]] = "kinesis"
    noun: ClassVar[str] = "stream"
    name_option: ClassVar[str] = "destination.kinesis.stream"

    @property
    def name(self) -> str:
        """What AWS calls the destination."""
        return self.stream

    @property
    def description(self) -> str:
        """The destination as an operator reads it."""
        return f"kinesis {self.stream}"

    @property
    def identity(self) -> str:
        """What tells it from others: the same name in another region is another one."""
        where = ", ".join(filter(None, (self.aws.region, self.aws.endpoint_url)))
        return f"{self.description} ({where})" if where else self.description

    @property
    def metric_label(self) -> str:
        """The value of the `Destination` dimension, spelled as the Java agent does."""
        return f"KinesisStream:{self.stream}"


class KinesisDestination:
    """A data stream; `put` may be called by `max_in_flight` threads at the same time."""

    limits = LIMITS

    def __init__(self, kinesis: KinesisOptions, aws_options: aws.AwsOptions, max_in_flight: int):
        """Open nothing before the first `put`."""
        from kagent.destinations import wire  # TLS: a command that only reads options needs none

        self._name = kinesis.stream
        self._call = verdicts.Call(
            operation="PutRecords",
            method="put_records",
            action="kinesis:PutRecords",
            target=f"stream {kinesis.stream}",
            option="destination.kinesis.stream",
        )
        self._client = aws.Shared(
            functools.partial(aws.connect, "kinesis", aws_options, max_in_flight)
        )
        self._wire = wire.Wire(wire.KINESIS, encoding.kinesis(self._name), self._call, aws_options)
        self._deliver = self._wire.put if kinesis.wire == "fast" else self._put_by_boto3

    def put(self, batch: model.Batch) -> model.Receipt:
        """Make one PutRecords call and say what it did."""
        try:
            judged = self._deliver(batch)
            return model.Receipt(batch, judged.refused, judged.shards)
        except verdicts.CallError as failed:
            return failed.receipt(batch)

    def _put_by_boto3(self, batch: model.Batch) -> answers.Judged:
        records = [
            {"Data": data, "PartitionKey": key}
            for data, key in zip(batch.records, batch.partition_keys, strict=True)
        ]
        for record, hash_key in zip(records, batch.hash_keys, strict=False):
            if hash_key:
                record["ExplicitHashKey"] = hash_key
        parameters = {"StreamName": self._name, "Records": records}
        answer = answers.ask(self._client, self._call, parameters)
        return answers.judged(answer, len(records), answers.PUT_RECORDS)
