"""Amazon Data Firehose: PutRecordBatch, one call a batch."""

from __future__ import annotations

import functools
from typing import ClassVar

import pydantic

from kagent import model, options
from kagent.destinations import answers, aws, verdicts

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

    limits: ClassVar[model.BatchLimits] = LIMITS

    @property
    def description(self) -> str:
        """The destination as an operator reads it."""
        return f"firehose {self.delivery_stream}"

    @property
    def metric_label(self) -> str:
        """The value of the `Destination` dimension, spelled as the Java agent does."""
        return f"DeliveryStream:{self.delivery_stream}"


class FirehoseDestination:
    """A delivery stream; `put` may be called by `max_in_flight` threads at the same time."""

    limits = LIMITS

    def __init__(self, firehose: FirehoseOptions, aws_options: aws.AwsOptions, max_in_flight: int):
        self._delivery_stream = firehose.delivery_stream
        self._client = aws.Shared(
            functools.partial(aws.connect, "firehose", aws_options, max_in_flight)
        )
        self._call = verdicts.Call(
            operation="PutRecordBatch",
            method="put_record_batch",
            action="firehose:PutRecordBatch",
            target=f"delivery stream {firehose.delivery_stream}",
            option="destination.firehose.delivery_stream",
        )

    def put(self, batch: model.Batch) -> model.Receipt:
        """Make one PutRecordBatch call and say what it did."""
        records = [{"Data": data} for data in batch.records]
        try:
            answer = answers.ask(
                self._client,
                self._call,
                {"DeliveryStreamName": self._delivery_stream, "Records": records},
            )
            refused = answers.refusals(
                answer.get("RequestResponses"),
                accepted_by="RecordId",
                sent=len(records),
                refused_count=answer.get("FailedPutCount"),
            )
        except verdicts.CallError as failed:
            return failed.receipt(batch)
        return model.Receipt(batch, refused=refused)
