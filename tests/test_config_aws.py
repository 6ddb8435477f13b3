"""`aws` of a destination and of metrics: key by key over the common one."""

from __future__ import annotations

import pathlib

import pytest

from kagent import config, errors
from kagent.destinations import aws


def load(root: pathlib.Path, text: str) -> config.Config:
    path = root / "kagent.yaml"
    path.write_text(text)
    return config.load(str(path), {})


def reached(root: pathlib.Path, own: str, common: str = "{region: eu-west-1, read_timeout: 9s}"):  # type: ignore[no-untyped-def]
    loaded = load(
        root,
        f"aws: {common}\n"
        "flows:\n"
        "  - name: a\n"
        "    source: {paths: [/a]}\n"
        f"    destination: {{kinesis: {{stream: web{own}}}}}\n",
    )
    return loaded.flows[0].destination.aws


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param("", {"region": "eu-west-1", "read_timeout": "9s"}, id="nothing"),
        pytest.param(
            ", aws: {region: us-east-1}",
            {"region": "us-east-1", "read_timeout": "9s"},
            id="one key",
        ),
        pytest.param(", aws: {read_timeout: null}", {"region": "eu-west-1"}, id="null resets one"),
        pytest.param(", aws: null", {}, id="null resets all"),
        pytest.param(
            ", aws: {}", {"region": "eu-west-1", "read_timeout": "9s"}, id="an empty mapping"
        ),
    ],
)
def test_own_keys_win_one_by_one(tmp_path: pathlib.Path, own: str, expected: object) -> None:
    """What a destination does not say it has from the top."""
    assert aws.AwsOptions.model_validate(expected) == reached(tmp_path, own)


def test_defaults_and_metrics_have_their_own(tmp_path: pathlib.Path) -> None:
    """`defaults.destination.kinesis.aws` and `metrics.cloudwatch.aws` are merged as well."""
    loaded = load(
        tmp_path,
        """
aws: {region: eu-west-1, connect_timeout: 1s}
metrics: {cloudwatch: {aws: {region: us-west-2}}}
defaults: {destination: {kinesis: {stream: web, aws: {connect_timeout: 2s}}}}
flows:
  - {name: a, source: {paths: [/a]}}
""",
    )

    assert ("eu-west-1", 2.0) == (
        loaded.flows[0].destination.aws.region,
        loaded.flows[0].destination.aws.connect_timeout,
    )
    assert ("us-west-2", 1.0) == (
        loaded.metrics.cloudwatch.aws.region,
        loaded.metrics.cloudwatch.aws.connect_timeout,
    )


def test_metrics_that_say_nothing_have_the_common_one(tmp_path: pathlib.Path) -> None:
    """With or without a mapping to stand in."""
    for metrics in ("", "metrics: {cloudwatch: {level: none}}\n", "metrics: null\n"):
        loaded = load(tmp_path, f"aws: {{region: eu-west-1}}\n{metrics}flows: []\n")

        assert "eu-west-1" == loaded.metrics.cloudwatch.aws.region


def test_one_name_in_two_regions_is_two_destinations(tmp_path: pathlib.Path) -> None:
    """What they are told apart by, in the database too."""
    flow = "{{name: {0}, source: {{paths: [/{0}]}}, destination: {{kinesis: {{stream: web{1}}}}}}}"
    loaded = load(
        tmp_path,
        "aws: {region: eu-west-1}\nflows:\n"
        f"  - {flow.format('a', '')}\n"
        f"  - {flow.format('b', ', aws: {region: us-east-1}')}\n",
    )

    assert ["kinesis web (eu-west-1)", "kinesis web (us-east-1)"] == [
        one.destination.identity for one in loaded.flows
    ]


def test_what_is_wrong_is_said_where_it_stands(tmp_path: pathlib.Path) -> None:
    """Once, though every flow has it."""
    with pytest.raises(errors.ConfigError) as caught:
        load(
            tmp_path,
            "aws: {read_timeout: 5}\n"
            "flows:\n"
            "  - {name: a, source: {paths: [/a]}, destination: {kinesis: {stream: web}}}\n"
            "  - name: b\n"
            "    source: {paths: [/a]}\n"
            "    destination: {kinesis: {stream: web, aws: {regoin: x}}}\n",
        )

    assert ["aws.read_timeout", "flows[1].destination.kinesis.aws.regoin"] == [
        one.key for one in caught.value.problems
    ]
