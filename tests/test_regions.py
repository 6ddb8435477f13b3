"""One stream name in two regions, through the daemon: two streams, two sets of positions."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
from daemon import Daemon, running, wait_until

from kagent import local

LINES = [b"line %d\n" % number for number in range(300)]
REGIONS = ("eu-west-1", "us-east-1")


@pytest.fixture
def other() -> local.Service:
    """The other region, over TLS with a certificate of its own."""
    streams = {"web": local.StreamOptions(is_throttled=False)}
    return local.Service(local.ServiceOptions(streams=streams, region=REGIONS[1], tls=True))


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[Daemon]:
    """A daemon, not started, with one region beside it."""
    streams = {"web": local.StreamOptions(is_throttled=False)}
    with running(tmp_path, local.Service(local.ServiceOptions(streams=streams))) as one:
        yield one


def flows(daemon: Daemon, there: local.Server, names: tuple[str, str]) -> list[dict[str, object]]:
    """Return a flow for each region; the first has what stands at the top."""
    away = {
        "region": REGIONS[1],
        "endpoint_url": there.endpoint_url,
        "ca_bundle": str(there.ca_file),
    }
    return [
        daemon.flow(name=names[0]),
        daemon.flow(name=names[1], destination={"kinesis": {"stream": "web", "aws": away}}),
    ]


def test_each_region_gets_every_line_once_also_under_new_names(
    daemon: Daemon, other: local.Service
) -> None:
    """Renamed flows take over the positions of their own region, not of the other."""
    with other.listen() as there:
        daemon.configure(*flows(daemon, there, ("here", "there")))
        daemon.path("a.log").write_bytes(b"".join(LINES[:200]))
        daemon.start()
        wait_until(lambda: len(other.records("web")) == 200, "the other region")
        daemon.wait_for_lines(200)
        assert daemon.stop() == 0

        other.set_faults(local.Faults(fail_share=1.0, fail_status=503))
        daemon.start()  # only the first goes on: their positions differ from now on
        with daemon.path("a.log").open("ab") as file:
            file.write(b"".join(LINES[200:]))
        daemon.wait_for_lines(300)
        assert daemon.stop() == 0

        other.set_faults(local.Faults())
        daemon.configure(*flows(daemon, there, ("first", "second")))
        daemon.start()
        wait_until(lambda: len(other.records("web")) == 300, "the other region again")
        assert daemon.stop() == 0

    for service in (daemon.service, other):
        assert sorted(LINES) == sorted(service.records("web"))
    assert "flow renamed flow=first was=here" in daemon.log
    assert "flow renamed flow=second was=there" in daemon.log
