"""kagent.local as CloudWatch: PutMetricData in both protocols, and what it refuses."""

from __future__ import annotations

import datetime as dt
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from test_local_rig import Rig, refused, running

FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


@pytest.fixture
def rig() -> Iterator[Rig]:
    with running() as rig:
        yield rig


def test_data_points_of_boto3_arrive(rig: Rig) -> None:
    """What boto3 puts is there to be read, with its namespace, dimensions and unit."""
    at = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)

    rig.cloudwatch.put_metric_data(
        Namespace="kagent",
        MetricData=[
            {
                "MetricName": "RecordsSent",
                "Dimensions": [{"Name": "Flow", "Value": "web"}],
                "Timestamp": at,
                "Value": 7.0,
                "Unit": "Count",
            }
        ],
    )

    (metric,) = rig.service.metrics()
    assert "kagent" == metric["Namespace"]
    assert "RecordsSent" == metric["MetricName"]
    assert [{"Name": "Flow", "Value": "web"}] == metric["Dimensions"]
    assert (7.0, "Count") == (metric["Value"], metric["Unit"])
    assert {"calls": 1, "data_points": 1} == rig.service.counts()["metrics"]
    assert (200, [metric]) == rig.admin("GET", "/_local/metrics")


def test_large_calls_come_compressed(rig: Rig) -> None:
    """boto3 compresses calls above 10 KiB; their data points arrive all the same."""
    metrics = [{"MetricName": "m" * 100, "Value": float(number)} for number in range(500)]

    rig.cloudwatch.put_metric_data(Namespace="kagent", MetricData=metrics)

    assert [metric["Value"] for metric in rig.service.metrics()] == list(range(500))


def test_the_query_protocol_is_understood() -> None:
    """A form, as older boto3 versions send it, gives the same data points; values stay text."""
    form = {
        "Action": "PutMetricData",
        "Version": "2010-08-01",
        "Namespace": "kagent",
        "MetricData.member.1.MetricName": "a",
        "MetricData.member.1.Value": "1.5",
        "MetricData.member.1.Dimensions.member.1.Name": "Flow",
        "MetricData.member.1.Dimensions.member.1.Value": "web",
        "MetricData.member.2.MetricName": "b",
        "MetricData.member.2.Value": "2",
    }
    with running(checks_signatures=False) as rig:
        status, answer = rig.send("POST", urllib.parse.urlencode(form).encode(), FORM)

        assert status == 200
        assert b"<PutMetricDataResponse " in answer
        first, second = rig.service.metrics()
        assert [{"Name": "Flow", "Value": "web"}] == first["Dimensions"]
        assert ("1.5", "b") == (first["Value"], second["MetricName"])


@pytest.mark.parametrize(
    ("form", "code"),
    [
        pytest.param(
            {"Action": "PutMetricData", "Namespace": "kagent"},
            b"<Code>MissingParameter</Code>",
            id="no data",
        ),
        pytest.param(
            {"Action": "PutMetricData", "Namespace": "x", "Namespace.y": "z"},
            b"<Code>MalformedQueryString</Code>",
            id="twice",
        ),
        pytest.param({"Action": "Nope"}, b"<Code>UnknownOperationException</Code>", id="unknown"),
    ],
)
def test_the_query_protocol_is_refused_in_xml(form: dict[str, str], code: bytes) -> None:
    """A refused form gets its error in XML."""
    with running(checks_signatures=False) as rig:
        status, answer = rig.send("POST", urllib.parse.urlencode(form).encode(), FORM)

        assert status == 400
        assert code in answer


@pytest.mark.parametrize(
    ("params", "code"),
    [
        pytest.param({}, "MissingRequiredParameterException", id="no namespace"),
        pytest.param({"Namespace": ":x"}, "InvalidParameterValueException", id="namespace"),
        pytest.param(
            {"Namespace": "x", "MetricData": [{}]}, "MissingRequiredParameterException", id="name"
        ),
        pytest.param(
            {"Namespace": "x", "MetricData": [{"MetricName": "m"}]},
            "MissingRequiredParameterException",
            id="no value",
        ),
        pytest.param(
            {"Namespace": "x", "MetricData": [{"MetricName": "m", "Value": "NaN"}]},
            "InvalidParameterValueException",
            id="not a number",
        ),
        pytest.param(
            {"Namespace": "x", "MetricData": [{"MetricName": "m", "Value": "much"}]},
            "InvalidParameterValueException",
            id="text",
        ),
        pytest.param(
            {"Namespace": "x", "MetricData": [{"MetricName": "m" * 256, "Value": 1}]},
            "InvalidParameterValueException",
            id="long name",
        ),
        pytest.param(
            {"Namespace": "x", "MetricData": [{"MetricName": "m", "Value": 1}] * 1001},
            "InvalidParameterValueException",
            id="1,001 metrics",
        ),
        pytest.param(
            {
                "Namespace": "x",
                "MetricData": [{"MetricName": "m", "Value": 1, "Dimensions": [{}] * 31}],
            },
            "InvalidParameterValueException",
            id="31 dimensions",
        ),
        pytest.param(
            {"Namespace": "x", "MetricData": [{"MetricName": "m", "Values": [1] * 151}]},
            "InvalidParameterValueException",
            id="151 values",
        ),
        pytest.param(
            {
                "Namespace": "x",
                "MetricData": [{"MetricName": "m", "Values": [1], "Counts": [1, 2]}],
            },
            "InvalidParameterValueException",
            id="counts without values",
        ),
    ],
)
def test_wrong_data_points_are_refused_together(
    rig: Rig, params: dict[str, Any], code: str
) -> None:
    """One wrong data point refuses the whole call, with CloudWatch's code."""
    status, answer = rig.post(
        "GraniteServiceVersion20100801.PutMetricData",
        params,
        **{"Content-Type": "application/x-amz-json-1.0"},
    )

    assert (400, code) == (status, answer["__type"])
    assert [] == rig.service.metrics()


def test_a_call_is_at_most_a_megabyte(rig: Rig) -> None:
    """A body of more than 1,000,000 bytes is refused."""
    metrics = [{"MetricName": "m" * 255, "Unit": "x" * 3000, "Value": 1}] * 400

    status, answer = rig.post(
        "GraniteServiceVersion20100801.PutMetricData",
        {"Namespace": "x", "MetricData": metrics},
        **{"Content-Type": "application/x-amz-json-1.0"},
    )

    assert (413, "RequestEntityTooLargeException") == (status, answer["__type"])


def test_boto3_sees_the_code_of_a_refusal(rig: Rig) -> None:
    """boto3 raises a ClientError with CloudWatch's code."""
    with refused("InvalidParameterValue"):
        rig.cloudwatch.put_metric_data(
            Namespace=":x", MetricData=[{"MetricName": "m", "Value": 1.0}]
        )
