"""Amazon CloudWatch: PutMetricData, in the two protocols that boto3 versions speak.

boto3 1.44 sends JSON (`X-Amz-Target: GraniteServiceVersion20100801.PutMetricData`), older ones the
query protocol (a form with `Action=PutMetricData`), both gzip-compressed above 10 KiB. service.py
undoes the compression; `params_of_form` turns the form into what the JSON would have been.
"""

from __future__ import annotations

import collections
import math
import re
import threading
import urllib.parse
from typing import Any

from kagent.local import errors, intake, limits

_MEMBER = re.compile(r"member\.?")
_KEPT_MAX = 100_000  # data points; older ones are forgotten


class CloudWatch:
    """Owns the metrics that were put; any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: collections.deque[dict[str, Any]] = collections.deque(maxlen=_KEPT_MAX)
        self._calls = 0
        self._accepted = 0

    def put_metric_data(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Take the data points of one call, all or none."""
        namespace = params.get("Namespace")
        if not isinstance(namespace, str) or not namespace:
            raise _missing("Namespace")
        if len(namespace) > limits.METRIC_NAME_LENGTH_MAX or namespace.startswith(":"):
            raise _invalid("The value for parameter Namespace is invalid.")
        metrics = params.get("MetricData")
        if not isinstance(metrics, list) or not metrics:
            raise _missing("MetricData")
        if len(metrics) > limits.PUT_METRIC_DATA_METRICS_MAX:
            raise _invalid(
                "The collection MetricData must not have a size greater than "
                f"{limits.PUT_METRIC_DATA_METRICS_MAX}."
            )
        for index, metric in enumerate(metrics):
            _check_metric(metric, f"MetricData.member.{index + 1}")
        with self._lock:
            self._calls += 1
            self._accepted += len(metrics)
            self._kept.extend({"Namespace": namespace, **metric} for metric in metrics)
        return {}

    def metrics(self) -> list[dict[str, Any]]:
        """Return the data points that were put, oldest first, each with its Namespace."""
        with self._lock:
            return list(self._kept)

    def counts_json(self) -> dict[str, int]:
        """Return how many calls and data points were taken."""
        with self._lock:
            return {"calls": self._calls, "data_points": self._accepted}


def _check_metric(metric: Any, place: str) -> None:
    if not isinstance(metric, dict) or not metric.get("MetricName"):
        raise _missing(f"{place}.MetricName")
    if len(str(metric["MetricName"])) > limits.METRIC_NAME_LENGTH_MAX:
        raise _invalid(f"The value for parameter {place}.MetricName is too long.")
    if len(metric.get("Dimensions", ())) > limits.METRIC_DIMENSIONS_MAX:
        raise _invalid(f"The collection {place}.Dimensions must not have more than 30 members.")
    values = list(metric.get("Values", ()))
    if len(values) > limits.METRIC_VALUES_MAX:
        raise _invalid(f"The collection {place}.Values must not have more than 150 members.")
    if "Counts" in metric and len(metric["Counts"]) != len(values):
        raise _invalid(f"The parameters {place}.Values and {place}.Counts must be of one size.")
    values.extend(metric[key] for key in ("Value",) if key in metric)
    values.extend(metric.get("StatisticValues", {}).values())
    if not values:
        raise _missing(f"{place}.Value")
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise _invalid(f"The value {value!r} for parameter {place} is no number.") from None
        if math.isnan(number) or abs(number) > limits.METRIC_VALUE_MAX:
            raise _invalid(f"The value {value} for parameter {place}.Value is invalid.")


def _missing(name: str) -> errors.ServiceError:
    return errors.ServiceError(
        "MissingRequiredParameterException", f"The parameter {name} is required."
    )


def _invalid(message: str) -> errors.ServiceError:
    return errors.ServiceError("InvalidParameterValueException", message)


def params_of_form(body: bytes) -> intake.Json:
    """Return the parameters of a query-protocol request as JSON would have carried them.

    `MetricData.member.1.Value=1` becomes `{"MetricData": [{"Value": "1"}]}`; values stay text.
    """
    tree: dict[str, Any] = {}
    for name, value in urllib.parse.parse_qsl(body.decode("utf-8", "replace")):
        node = tree
        *parents, last = _MEMBER.sub("", name).split(".")
        for parent in parents:
            child = node.setdefault(parent, {})
            if not isinstance(child, dict):
                raise errors.ServiceError("MalformedQueryString", f"{name} is given twice")
            node = child
        node[last] = value
    return {name: _lists_of(value) for name, value in tree.items()}


def _lists_of(node: Any) -> Any:
    """Turn each mapping whose keys are numbers into a list, at any depth."""
    if not isinstance(node, dict):
        return node
    if all(key.isdecimal() for key in node):
        return [_lists_of(node[key]) for key in sorted(node, key=int)]
    return {key: _lists_of(value) for key, value in node.items()}
