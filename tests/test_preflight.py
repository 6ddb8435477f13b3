"""`kagent test-config --aws`: what AWS says beforehand, and the hints that a flow would give."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from kagent import cli, config, local, preflight

REGION = "us-east-1"  # where IAM is signed for
ROLE = "arn:aws:iam::123456789012:role/shipper"


@pytest.fixture
def service() -> local.Service:
    return local.Service(
        local.ServiceOptions(
            streams={"web": local.StreamOptions(shards=3)},
            delivery_streams={
                "audit": local.DeliveryStreamOptions(),
                "fed": local.DeliveryStreamOptions(takes_direct_put=False),
            },
            region=REGION,
        )
    )


@pytest.fixture
def server(service: local.Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[local.Server]:
    given = local.ServiceOptions()
    with service.listen() as one:
        for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_REGION"):
            monkeypatch.delenv(name, raising=False)
        for name in ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_IAM"):
            monkeypatch.setenv(name, one.endpoint_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", given.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given.secret_key)
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield one


def write(
    root: pathlib.Path, server: local.Server, destination: str, *, aws: str = "", more: str = ""
) -> pathlib.Path:
    path = root / "kagent.yaml"
    path.write_text(
        f"state_dir: {root}\n"
        f'aws: {{region: {REGION}, endpoint_url: "{server.endpoint_url}"{aws}}}\n'
        "flows:\n"
        f"  - name: web\n    source: {{paths: [{root}/*.log]}}\n"
        f"    destination: {destination}\n{more}"
    )
    return path


def found(
    root: pathlib.Path, server: local.Server, destination: str, **more: str
) -> dict[str, preflight.Check]:
    path = write(root, server, destination, **more)
    return {one.subject: one for one in preflight.checks(config.load(str(path), {}))}


KINESIS = "{kinesis: {stream: web}}"


def test_all_is_well(tmp_path: pathlib.Path, server: local.Server) -> None:
    """Who calls, what the stream is, and that it may be written to; nothing was written."""
    said = found(tmp_path, server, KINESIS)

    assert ["ok"] * 3 == [one.state for one in said.values()]
    assert "calls as arn:aws:iam::123456789012:user/kagent" == said["identity"].text
    assert (
        "stream web is ACTIVE, provisioned, 3 open shards, records up to 1,024 KiB, kept 24 h"
        == said["destination"].text
    )
    assert "may call kinesis:PutRecords" == said["permission"].text


def test_nothing_is_written(
    tmp_path: pathlib.Path, server: local.Server, service: local.Service
) -> None:
    """Not even to find out whether it could be."""
    found(tmp_path, server, KINESIS)
    found(tmp_path, server, "{firehose: {delivery_stream: audit}}")

    calls = service.counts()["calls"]
    assert not {"PutRecords", "PutRecordBatch", "PutMetricData"} & set(calls)


@pytest.mark.parametrize(
    ("destination", "subject", "hint"),
    [
        pytest.param(
            "{kinesis: {stream: nope}}",
            "destination",
            "create the stream nope or correct destination.kinesis.stream and aws.region",
            id="no such stream",
        ),
        pytest.param(
            "{firehose: {delivery_stream: fed}}",
            "destination",
            "make one with Direct PUT",
            id="fed by a stream",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_hint_of_a_flow(
    tmp_path: pathlib.Path, server: local.Server, destination: str, subject: str, hint: str
) -> None:
    """Before the daemon would."""
    said = found(tmp_path, server, destination)

    assert "failed" == said[subject].state
    assert hint in said[subject].hint


def test_without_the_permission_to_write_it_fails(
    tmp_path: pathlib.Path, server: local.Server, service: local.Service
) -> None:
    """As IAM's own simulation says."""
    service.set_faults(local.Faults(denied=("PutRecords",)))

    said = found(tmp_path, server, KINESIS)["permission"]

    assert ("failed", "may not call kinesis:PutRecords: implicitDeny") == (said.state, said.text)
    assert f"allow kinesis:PutRecords on arn:aws:kinesis:{REGION}:123456789012:stream/web" in (
        said.hint
    )


def test_what_may_not_be_asked_is_not_known_and_no_failure(
    tmp_path: pathlib.Path, server: local.Server, service: local.Service
) -> None:
    """The permission to write is all that kagent needs."""
    others = ("DescribeStreamSummary", "ListShards", "SimulatePrincipalPolicy")
    service.set_faults(local.Faults(denied=others))

    said = found(tmp_path, server, KINESIS)

    assert {"identity": "ok"} | dict.fromkeys(
        ("destination", "shards", "permission"), "unknown"
    ) == {name: one.state for name, one in said.items()}
    assert preflight.is_good(list(said.values()))


def test_shards_that_packing_needs_must_be_known(
    tmp_path: pathlib.Path, server: local.Server, service: local.Service
) -> None:
    """The flow would be blocked: better said before."""
    service.set_faults(local.Faults(denied=("ListShards",)))
    keyed = "{kinesis: {stream: web, partition_key: record_hash}}"

    said = found(tmp_path, server, keyed, more="    pack: kpl\n")

    assert ("ok", "failed") == (said["destination"].state, said["shards"].state)
    assert "kinesis:ListShards" in said["shards"].hint


def test_each_missing_permission_is_named(
    tmp_path: pathlib.Path, server: local.Server, service: local.Service
) -> None:
    """Whoever allowed only DescribeStreamSummary would find the flow blocked all the same."""
    service.set_faults(local.Faults(denied=("DescribeStreamSummary", "ListShards")))
    keyed = "{kinesis: {stream: web, partition_key: record_hash}}"

    said = found(tmp_path, server, keyed, more="    pack: kpl\n")

    assert "kinesis:DescribeStreamSummary" in said["destination"].hint
    assert "kinesis:ListShards" in said["shards"].hint


def test_a_region_that_is_not_the_endpoint_s_fails(
    tmp_path: pathlib.Path, server: local.Server
) -> None:
    """Only a missing permission to ask may be passed over: here no record would be taken."""
    elsewhere = f'{{region: us-east-2, endpoint_url: "{server.endpoint_url}"}}'
    wrong = f"{{kinesis: {{stream: web, aws: {elsewhere}}}}}"

    said = found(tmp_path, server, wrong)["destination"]

    assert "failed" == said.state
    assert "correct aws.region" in said.hint


def test_a_role_is_who_calls(tmp_path: pathlib.Path, server: local.Server) -> None:
    """Each destination is asked about as its own role."""
    said = found(tmp_path, server, KINESIS, aws=f', assume_role: {{arn: "{ROLE}"}}')

    assert "ok" == said["identity"].state
    assert "ok" == said["permission"].state


def test_without_credentials_it_says_so(
    tmp_path: pathlib.Path, server: local.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thing that an operator forgets."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")

    said = found(tmp_path, server, KINESIS)

    assert "failed" == said["identity"].state
    assert "give this host credentials" in said["identity"].hint
    assert not preflight.is_good(list(said.values()))


def test_command_shows_it_and_answers_by_its_exit_code(
    tmp_path: pathlib.Path, server: local.Server, service: local.Service
) -> None:
    """0 when nothing failed, 1 otherwise; in JSON, too."""
    path = write(tmp_path, server, KINESIS)

    good = CliRunner().invoke(cli.main, ["test-config", "-c", str(path), "--aws"])
    service.set_faults(local.Faults(denied=("PutRecords",)))
    bad = CliRunner().invoke(cli.main, ["test-config", "-c", str(path), "--aws", "--json"])

    assert 0 == good.exit_code
    assert "  web   ok      stream web is ACTIVE" in good.stdout
    assert 1 == bad.exit_code
    assert "failed" == json.loads(bad.stdout)["aws"][-1]["state"]
