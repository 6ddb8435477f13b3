"""The services that kagent delivers to. A new one is one module and one line in the table.

Importing this package imports neither boto3 nor botocore: the configuration needs the options and
their limits only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kagent import model
from kagent.destinations import aws, firehose, kinesis

DestinationOptions = kinesis.KinesisOptions | firehose.FirehoseOptions


_Make = Callable[[Any, aws.AwsOptions, int], model.Destination]
_TABLE: Mapping[type[DestinationOptions], _Make] = {
    kinesis.KinesisOptions: kinesis.KinesisDestination,
    firehose.FirehoseOptions: firehose.FirehoseDestination,
}


def make(
    destination: DestinationOptions, aws_options: aws.AwsOptions, max_in_flight: int
) -> model.Destination:
    """Return the destination of one flow; nothing is opened before its first `put`."""
    return _TABLE[type(destination)](destination, aws_options, max_in_flight)
