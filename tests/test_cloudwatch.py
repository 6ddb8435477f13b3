from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
import pytest

from kagent import local, metrics
from kagent.destinations import aws
from kagent.exporters import cloudwatch

WEB = "KinesisStream:web"
AUDIT = "DeliveryStream:audit"
FIVE = metrics.Five(
    bytes_sent=2048,
    record_send_attempts=12,
    records_sent=10,
    record_send_errors=2,
    service_errors=1,
    calls=4,
)


class StillClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        raise AssertionError("an exporter does not wait")


class FakeCloudWatch:
    """A client that keeps what it is given, and fails as often as it is told."""

    def __init__(self) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self.failures: list[Exception] = []
        self.connections = 0

    def connect(self) -> FakeCloudWatch:
        self.connections += 1
        return self

    def put_metric_data(self, *, Namespace: str, MetricData: list[dict[str, Any]]) -> None:  # noqa: N803 -- AWS names them
        assert Namespace == "kagent"
        if self.failures:
            raise self.failures.pop(0)
        self.requests.append(MetricData)

    def sum(self, name: str, label: str) -> float:
        return sum(
            datum["StatisticValues"]["Sum"] if "StatisticValues" in datum else datum["Value"]
            for data in self.requests
            for datum in data
            if datum["MetricName"] == name and datum["Dimensions"][0]["Value"] == label
        )


@pytest.fixture
def service() -> FakeCloudWatch:
    return FakeCloudWatch()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def exporter(service: FakeCloudWatch, clock: StillClock) -> cloudwatch.CloudWatchExporter:
    named = cloudwatch.CloudWatchOptions()
    return cloudwatch.CloudWatchExporter(named, service.connect, clock)


def denied() -> Exception:
    error = {"Error": {"Code": "AccessDenied", "Message": "not authorized"}}
    return botocore.exceptions.ClientError(error, "PutMetricData")


def test_each_destination_has_the_five_counters(
    exporter: cloudwatch.CloudWatchExporter, service: FakeCloudWatch
) -> None:
    """Names and units are the Java agent's, one dimension says which destination."""
    exporter.publish({WEB: FIVE})

    dimensions = [{"Name": "Destination", "Value": WEB}]
    assert service.requests == [
        [
            {"MetricName": "BytesSent", "Unit": "Bytes", "Value": 2048, "Dimensions": dimensions},
            {
                "MetricName": "RecordSendAttempts",
                "Unit": "Count",
                "Value": 12,
                "Dimensions": dimensions,
            },
            {"MetricName": "RecordsSent", "Unit": "Count", "Value": 10, "Dimensions": dimensions},
            {
                "MetricName": "RecordSendErrors",
                "Unit": "Count",
                "Value": 2,
                "Dimensions": dimensions,
            },
            {
                "MetricName": "ServiceErrors",
                "Unit": "Count",
                "Dimensions": dimensions,
                "StatisticValues": {"SampleCount": 4, "Sum": 1, "Minimum": 0, "Maximum": 1},
            },
        ]
    ]


@pytest.mark.parametrize(
    ("service_errors", "calls", "minimum", "maximum"),
    [
        pytest.param(0, 3, 0, 0, id="no call failed"),
        pytest.param(2, 3, 0, 1, id="some failed"),
        pytest.param(3, 3, 1, 1, id="all failed"),
    ],
)
def test_the_average_of_service_errors_is_the_share_of_failed_calls(
    service_errors: int, calls: int, minimum: int, maximum: int
) -> None:
    """The set describes one 0 or 1 for each call, as the Java agent puts them."""
    datum = cloudwatch.metric_data(WEB, metrics.Five(service_errors=service_errors, calls=calls))[
        -1
    ]

    assert datum["StatisticValues"] == {
        "SampleCount": calls,
        "Sum": service_errors,
        "Minimum": minimum,
        "Maximum": maximum,
    }


def test_an_idle_period_is_put_as_zeros() -> None:
    """A set without samples is not allowed; the absence of data would look like a dead agent."""
    data = cloudwatch.metric_data(WEB, metrics.Five())

    assert [datum["Value"] for datum in data] == [0, 0, 0, 0, 0]


def test_what_could_not_be_put_is_added_to_the_next_period(
    exporter: cloudwatch.CloudWatchExporter, service: FakeCloudWatch
) -> None:
    """Sums over time are right after a failure, also for a flow that has gone since."""
    service.failures = [denied(), botocore.exceptions.NoCredentialsError()]

    exporter.publish({WEB: FIVE, AUDIT: FIVE})
    exporter.publish({WEB: FIVE, AUDIT: FIVE})
    exporter.publish({WEB: FIVE})
    exporter.publish({WEB: FIVE})

    assert (service.sum("BytesSent", WEB), service.sum("BytesSent", AUDIT)) == (4 * 2048, 2 * 2048)
    assert (service.sum("ServiceErrors", WEB), len(service.requests)) == (4, 2)


def test_a_client_is_kept_until_it_fails(
    exporter: cloudwatch.CloudWatchExporter, service: FakeCloudWatch
) -> None:
    """After a failure the next period starts with a new client, and so with new credentials."""
    exporter.publish({WEB: FIVE})
    exporter.publish({WEB: FIVE})
    kept = service.connections
    service.failures = [denied()]
    exporter.publish({WEB: FIVE})
    exporter.publish({WEB: FIVE})

    assert (kept, service.connections) == (1, 2)


def test_requests_stay_within_the_limit_of_the_api(
    exporter: cloudwatch.CloudWatchExporter, service: FakeCloudWatch
) -> None:
    """At most 1000 metrics a request; a failure in between repeats nothing that was put."""
    labels = [f"KinesisStream:{number}" for number in range(450)]
    exporter.publish(dict.fromkeys(labels, FIVE))
    sizes = [len(data) for data in service.requests]

    service.requests.clear()
    exporter.publish(dict.fromkeys(labels[:1], FIVE))
    service.failures = [denied()]
    exporter.publish(dict.fromkeys(labels, FIVE))
    exporter.publish({})

    assert sizes == [1000, 1000, 250]
    assert service.sum("RecordsSent", labels[0]) == 20
    assert service.sum("RecordsSent", labels[-1]) == 10


def test_a_lasting_failure_is_logged_on_change_and_once_a_minute(
    exporter: cloudwatch.CloudWatchExporter,
    service: FakeCloudWatch,
    clock: StillClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says what is wrong and what helps, without repeating it each period."""
    service.failures = [denied() for _ in range(4)]
    service.failures.append(botocore.exceptions.NoCredentialsError())

    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            exporter.publish({WEB: FIVE})
            clock.now += 20.0
        exporter.publish({WEB: FIVE})
        exporter.publish({WEB: FIVE})

    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert "error=AccessDenied" in said[0]
    assert "allow cloudwatch:PutMetricData" in said[0]
    assert "error=AccessDenied" in said[1]
    assert "error=NoCredentialsError" in said[2]


@pytest.fixture
def endpoint_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[local.Service, str]]:
    given = local.ServiceOptions()
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", given.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given.secret_key)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    service = local.Service(given)
    with service.listen() as server:
        yield service, server.endpoint_url


def test_the_strict_service_understands_a_full_request(
    endpoint_url: tuple[local.Service, str], clock: StillClock
) -> None:
    """What botocore makes of the counters, in whatever protocol it speaks, arrives as sums."""
    service, url = endpoint_url
    reached = aws.AwsOptions(region="eu-west-1", endpoint_url=url)
    exporter = cloudwatch.CloudWatchExporter(
        cloudwatch.CloudWatchOptions(), lambda: aws.connect("cloudwatch", reached, 1), clock
    )
    labels = [f"KinesisStream:{number:0128d}" for number in range(200)]

    exporter.publish(dict.fromkeys(labels, FIVE))

    assert len(service.metrics()) == 1000
    assert {metric["Namespace"] for metric in service.metrics()} == {"kagent"}
