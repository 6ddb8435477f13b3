"""Amazon Data Firehose: PutRecordBatch, one call a batch."""

from __future__ import annotations

import functools
from typing import ClassVar, Literal

import pydantic

from kagent import model, options
from kagent.destinations import answers, aws, encoding, verdicts
from kagent.destinations.aws import AwsOptions  # a field called `aws` would hide the module

# https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html, 2026-11:
# up to 500 records, 1,000 KiB a record before base64 (the API model says 1024000), 4 MiB for the
# entire request; "these limits cannot be changed".
LIMITS = model.BatchLimits(
    records_max=500,
    request_bytes_max=4 * 1024 * 1024,
    record_bytes_max=1_024_000,
    has_partition_keys=False,
)


class FirehoseOptions(options.Options):
    """An Amazon Data Firehose delivery stream."""

    delivery_stream: str = pydantic.Field(
        min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$"
    )
    """The name of the delivery stream; its source must be Direct PUT."""

    wire: Literal["fast", "boto3"] = "fast"
    """What makes the calls that carry records: kagent's own code, for a tenth of boto3's CPU time,
    or boto3's client."""

    aws: AwsOptions = AwsOptions()
    """How it is reached, key by key over `aws` at the top; null resets a key to its default."""

    limits: ClassVar[model.BatchLimits] = LIMITS
    service: ClassVar[Literal["firehose"]] = "firehose"
    noun: ClassVar[str] = "delivery stream"
    name_option: ClassVar[str] = "destination.firehose.delivery_stream"

    @property
    def name(self) -> str:
        """What AWS calls the destination."""
        return self.delivery_stream

    @property
    def description(self) -> str:
        """The destination as an operator reads it."""
        return f"firehose {self.delivery_stream}"

    @property
    def identity(self) -> str:
        """What tells it from others: the same name in another region is another one."""
        where = ", ".join(filter(None, (self.aws.region, self.aws.endpoint_url)))
        return f"{self.description} ({where})" if where else self.description

    @property
    def metric_label(self) -> str:
        """The value of the `Destination` dimension, spelled as the Java agent does."""
        return f"DeliveryStream:{self.delivery_stream}"


class FirehoseDestination:
    """A delivery stream; `put` may be called by `max_in_flight` threads at the same time."""

    limits = LIMITS

    def __init__(self, firehose: FirehoseOptions, aws_options: aws.AwsOptions, max_in_flight: int):
        """Open nothing before the first `put`."""
        from kagent.destinations import wire  # TLS: a command that only reads options needs none

        self._name = firehose.delivery_stream
        self._call = verdicts.Call(
            operation="PutRecordBatch",
            method="put_record_batch",
            action="firehose:PutRecordBatch",
            target=f"delivery stream {firehose.delivery_stream}",
            option="destination.firehose.delivery_stream",
        )
        self._client = aws.Shared(
            functools.partial(aws.connect, "firehose", aws_options, max_in_flight)
        )
        self._wire = wire.Wire(
            wire.FIREHOSE, encoding.firehose(self._name), self._call, aws_options
        )
        self._deliver = self._wire.put if firehose.wire == "fast" else self._put_by_boto3

    def put(self, batch: model.Batch) -> model.Receipt:
        """Make one PutRecordBatch call and say what it did."""
        try:
            judged = self._deliver(batch)
            return model.Receipt(batch, judged.refused, judged.shards)
        except verdicts.CallError as failed:
            return failed.receipt(batch)

    def _put_by_boto3(self, batch: model.Batch) -> answers.Judged:
        records = [{"Data": data} for data in batch.records]
        parameters = {"DeliveryStreamName": self._name, "Records": records}
        answer = answers.ask(self._client, self._call, parameters)
        return answers.judged(answer, len(records), answers.PUT_RECORD_BATCH)
