"""The counters of Amazon's Java agent, put to Amazon CloudWatch once an interval.

A period that could not be put is added to the next one, so sums over time stay right; what is kept
is a handful of numbers for each destination. When an answer is lost, a period may count twice.
Metrics never stop delivery: every failure ends here, in a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import pydantic

from kagent import metrics, model, options

_LOG = logging.getLogger(__name__)

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html, 2026-11:
# at most 1000 metrics and 1 MB a request. A metric is less than 500 bytes of it: the only long
# part is the destination's name, at most 128 characters.
_DESTINATIONS_MAX = 1000 // 5
_REPEAT_WARNING_S = 60.0
_NO_WARNING = ("", 0.0)


class CloudWatchOptions(options.Options):
    """The counters that are put to Amazon CloudWatch."""

    level: Literal["none", "summary"] = "summary"
    """none: nothing is put. summary: the five counters of the Java agent for each destination."""

    namespace: str = pydantic.Field(default="kagent", min_length=1, max_length=255)
    """The CloudWatch namespace; AWSKinesisAgent keeps the Java agent's dashboards and alarms."""

    interval: Annotated[float, options.Duration(10.0, 3600.0)] = 60.0
    """How often the counters are put."""


class CloudWatchExporter:
    """Puts counters; called by one thread, which may wait for AWS.

    `connect` returns a new CloudWatch client of botocore, or raises. It is called before the first
    request and after every failure, so that new credentials are found.
    """

    def __init__(
        self, cloudwatch: CloudWatchOptions, connect: Callable[[], Any], clock: model.Clock
    ) -> None:
        self._namespace = cloudwatch.namespace
        self._connect = connect
        self._clock = clock
        self._client: Any = None
        self._kept: dict[str, metrics.Five] = {}
        self._warned = _NO_WARNING  # the last warning and when it was given

    def publish(self, deltas: Mapping[str, metrics.Five]) -> None:
        """Put what each destination did since the last call, and what could not be put then.

        Args:
            deltas: By the value of the `Destination` dimension, such as 'KinesisStream:web-logs'.
        """
        for label, five in deltas.items():
            self._kept[label] = self._kept.get(label, metrics.Five()) + five
        labels = list(self._kept)
        for first in range(0, len(labels), _DESTINATIONS_MAX):
            if not self._put(labels[first : first + _DESTINATIONS_MAX]):
                break

    def _put(self, labels: Sequence[str]) -> bool:
        """Put the counters of some destinations in one request; return whether it succeeded."""
        data = [datum for label in labels for datum in metric_data(label, self._kept[label])]
        try:
            if self._client is None:
                self._client = self._connect()
            self._client.put_metric_data(Namespace=self._namespace, MetricData=data)
        except Exception as error:  # noqa: BLE001 -- whatever it is, delivery goes on
            self._client = None
            self._warn(error)
            return False
        for label in labels:
            del self._kept[label]
        self._warned = _NO_WARNING
        return True

    def _warn(self, error: Exception) -> None:
        """Log a failure when it is of another kind than the last, or a minute has passed."""
        answer = getattr(error, "response", {})  # of botocore's ClientError
        kind = answer.get("Error", {}).get("Code", type(error).__name__)
        now = self._clock.monotonic()
        last_kind, last_time = self._warned
        if kind != last_kind or now - last_time >= _REPEAT_WARNING_S:
            self._warned = (kind, now)
            _LOG.warning(
                "metrics not put namespace=%s error=%s: %s; they are added to the next period;"
                " hint: allow cloudwatch:PutMetricData, or set metrics.cloudwatch.level: none",
                self._namespace,
                kind,
                error,
            )


def metric_data(label: str, five: metrics.Five) -> list[dict[str, Any]]:
    """Return the counters of one destination as PutMetricData wants them.

    ServiceErrors is a set of one 0 or 1 for each call, so that its average is the share of calls
    that failed, as the Java agent has it.
    """
    dimensions = [{"Name": "Destination", "Value": label}]
    data: list[dict[str, Any]] = [
        {"MetricName": name, "Unit": unit, "Value": value, "Dimensions": dimensions}
        for name, unit, value in (
            ("BytesSent", "Bytes", five.bytes_sent),
            ("RecordSendAttempts", "Count", five.record_send_attempts),
            ("RecordsSent", "Count", five.records_sent),
            ("RecordSendErrors", "Count", five.record_send_errors),
        )
    ]
    failures: dict[str, Any] = {"Value": 0}
    if five.calls:
        failures = {
            "StatisticValues": {
                "SampleCount": five.calls,
                "Sum": five.service_errors,
                "Minimum": int(five.service_errors == five.calls),
                "Maximum": int(five.service_errors > 0),
            }
        }
    data.append(
        {"MetricName": "ServiceErrors", "Unit": "Count", "Dimensions": dimensions} | failures
    )
    return data
