"""The service thread in a running daemon: facts of streams, and what flows make of them."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import boto3
import pytest
from daemon import CREDENTIALS, Daemon, running, wait_until

from kagent import config, local, service
from kagent.destinations import control

MIB = 1024**2
LARGE = {"max_line": "4MiB"}


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[Daemon]:
    """A daemon, not started, and a stream of two shards that takes records of 10 MiB."""
    large = local.StreamOptions(shards=2, is_throttled=False, record_bytes_max=10 * MIB)
    with running(tmp_path, local.Service(local.ServiceOptions(streams={"web": large}))) as one:
        yield one


def flow(daemon: Daemon) -> dict[str, object]:
    return daemon.flow(
        source={"paths": [f"{daemon.root}/log/*.log"], "start_at": "beginning", **LARGE}
    )


def test_stream_of_large_records_gets_long_lines_whole(daemon: Daemon) -> None:
    """A flow whose lines may be longer waits for what the stream says before it reads."""
    daemon.configure(flow(daemon))
    long = b"x" * (3 * MIB) + b"\n"
    daemon.path("a.log").write_bytes(long)

    daemon.start()
    daemon.wait_for_lines(1)
    daemon.stop()

    assert [long] == daemon.service.records("web")
    assert "stream facts flow=web status=ACTIVE mode=provisioned open_shards=2" in daemon.log
    assert 1 == daemon.log.count("file opened flow=web")


def test_without_permission_the_documented_limits_hold(daemon: Daemon) -> None:
    """The daemon says what it was not told, with a hint, and ships."""
    daemon.service.set_faults(local.Faults(denied=("DescribeStreamSummary", "ListShards")))
    daemon.configure(flow(daemon))
    long = b"x" * (3 * MIB) + b"\n"
    daemon.path("a.log").write_bytes(long)

    daemon.start()
    wait_until(lambda: b"".join(daemon.service.records("web")) == long, "the parts")
    daemon.stop()

    assert 4 == len(daemon.service.records("web"))
    assert "allow kinesis:DescribeStreamSummary on the stream web" in daemon.log


def test_resharding_needs_nothing_from_the_operator(daemon: Daemon) -> None:
    """A stream is split and merged under a running daemon: every line arrives once."""
    daemon.configure(daemon.flow())
    daemon.path("a.log").write_bytes(b"")
    daemon.start()
    daemon.wait_for_log("ready flows=1")
    client = boto3.client(
        "kinesis",
        region_name="eu-west-1",
        endpoint_url=daemon.server.endpoint_url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )

    lines = []
    for step, count in enumerate((4, 8, 4, 2, 1)):
        more = [b"%d %d\n" % (step, number) for number in range(500)]
        with daemon.path("a.log").open("ab") as file:
            file.write(b"".join(more))
        lines += more
        client.update_shard_count(
            StreamName="web", TargetShardCount=count, ScalingType="UNIFORM_SCALING"
        )
        daemon.wait_for_lines(len(lines))
    daemon.stop()

    assert sorted(lines) == sorted(daemon.lines)


def test_questions_go_where_a_flow_delivers(tmp_path: pathlib.Path) -> None:
    """Each flow's stream is asked about in its region, with one client for all of a kind."""
    path = tmp_path / "kagent.yaml"
    path.write_text(
        """
aws: {region: eu-west-1}
flows:
  - {name: a, source: {paths: [/a]}, destination: {kinesis: {stream: web}}}
  - {name: b, source: {paths: [/b]}, destination: {kinesis: {stream: x, aws: {region: r-2}}}}
  - {name: c, source: {paths: [/c]}, destination: {kinesis: {stream: y}}}
  - {name: d, source: {paths: [/d], max_line: 2MiB}, destination: {firehose: {delivery_stream: z}}}
"""
    )
    clients = control.Clients()

    subjects = service.subjects_of(config.load(str(path), {}), clients)

    assert ["kinesis", "kinesis", "kinesis", "firehose"] == [s.kind for s in subjects.values()]
    assert ["web", "x", "y", "z"] == [one.name for one in subjects.values()]
    assert not any(one.is_wanted for one in subjects.values())
    assert subjects["a"].place == subjects["c"].place != subjects["b"].place
    assert 3 == len(clients._known)
