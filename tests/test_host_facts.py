"""Facts about an EC2 instance: asked for by IMDSv2, bounded, and kept when nobody answers."""

from __future__ import annotations

import json
import pathlib
import socket
import threading
import time
from typing import Any

import pytest
from daemon import running
from fakes import FakeClock

from kagent import host_facts, local
from kagent.local import imds

INSTANCE = {
    "instance_id": "i-0123456789abcdef0",
    "instance_type": "m7g.large",
    "region": "eu-west-1",
    "availability_zone": "eu-west-1a",
    "account_id": "123456789012",
    "ami_id": "ami-0123456789abcdef0",
    "private_ip": "10.0.12.34",
}


def facts_of(service: imds.Imds, clock: FakeClock, **environ: str) -> host_facts.InstanceFacts:
    found = host_facts.InstanceFacts(
        clock, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": service.endpoint, **environ}
    )
    found.want(instance=True, tags=True)
    return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_data_and_tags_are_asked_for_with_a_token(clock: FakeClock) -> None:
    """The identity document at once, each tag by its name."""
    with imds.Imds(tags={"Name": "shop é", "a:b+c=@1": ""}) as service:
        facts = facts_of(service, clock)
        assert facts.current().is_awaited

        facts.refresh()

    found = facts.current()
    assert INSTANCE == found.instance
    assert {"Name": "shop é", "a:b+c=@1": ""} == found.tags
    assert ("", False, socket.gethostname()) == (found.fault, found.is_awaited, found.name)
    assert ("PUT", "/latest/api/token") == service.calls[0]
    assert 5 == len(service.calls)


def test_tags_that_nobody_wants_are_not_asked_for(clock: FakeClock) -> None:
    """Nor is anything where nothing is wanted."""
    with imds.Imds(tags={"a": "b"}) as service:
        facts = facts_of(service, clock)
        facts.want(instance=False, tags=False)
        facts.refresh()
        assert (None, []) == (facts.next_due(), service.calls)

        facts.want(instance=True, tags=False)
        facts.refresh()
        assert {} == facts.current().tags
        assert 2 == len(service.calls)

        facts.want(instance=True, tags=True)
        assert facts.current().is_awaited
        facts.refresh()
        assert {"a": "b"} == facts.current().tags


def test_tags_that_are_not_allowed_are_a_fault_and_the_data_is_known(clock: FakeClock) -> None:
    """The service answers 404."""
    with imds.Imds() as service:
        facts = facts_of(service, clock)
        facts.refresh()

    assert INSTANCE == facts.current().instance
    assert "InstanceMetadataTags" in facts.current().fault


def test_facts_are_asked_for_again_each_hour_and_kept_when_that_fails(clock: FakeClock) -> None:
    """And then sooner, with growing pauses."""
    with imds.Imds(tags={"a": "1"}) as service:
        facts = facts_of(service, clock)
        facts.refresh()
        service.tags = {"a": "2"}
        facts.refresh()
        assert {"a": "1"} == facts.current().tags
        assert clock.monotonic() + 3600 == facts.next_due()
        clock.now += 3600
        facts.refresh()
        assert {"a": "2"} == facts.current().tags

    waits = []
    for _ in range(8):
        clock.now = facts.next_due() or 0.0
        facts.refresh()
        waits.append(round((facts.next_due() or 0) - clock.monotonic()))
    assert [60, 120, 240, 480, 960, 1920, 3600, 3600] == waits
    assert ({"a": "2"}, "") == (facts.current().tags, facts.current().fault)


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([(403, b"")], "answers 403 to the request for a token"),
        ([(404, b"")], "answers 404 to the request for a token"),
        ([None] * 3, "no metadata service at http://127.0.0.1"),
        ([(200, b"token")], "answers 401 to /latest/dynamic"),
        ([(200, b"to\r\nken: x")], "no metadata service"),
        ([(200, b"x" * 70_000)] * 3, "too much"),
    ],
)
def test_a_service_that_does_not_work_is_a_fault_with_a_hint(
    clock: FakeClock, faults: list[Any], expected: str
) -> None:
    """And the flow goes without."""
    with imds.Imds() as service:
        service.faults = faults
        facts = facts_of(service, clock)
        facts.refresh()

    assert expected in facts.current().fault
    assert not facts.current().is_awaited
    assert {} == facts.current().instance


def test_a_lost_answer_is_asked_for_again(clock: FakeClock) -> None:
    """A network that has just come up may lose the first."""
    with imds.Imds() as service:
        service.faults = [None, None]
        facts = facts_of(service, clock)
        facts.refresh()

    assert INSTANCE == facts.current().instance


@pytest.mark.parametrize(
    "identity", [{"instanceId": 7, "region": None, "privateIp": ""}, {}, {"region": ["x"]}]
)
def test_members_that_are_no_texts_are_not_known(
    clock: FakeClock, identity: dict[str, Any]
) -> None:
    """Whatever the document says instead."""
    with imds.Imds(identity) as service:
        facts = facts_of(service, clock)
        facts.refresh()

    assert {} == facts.current().instance


@pytest.mark.parametrize("document", [b"", b"[1]", b"{", b"\xff", b"[" * 30_000])
def test_a_document_that_is_none_is_a_fault(clock: FakeClock, document: bytes) -> None:
    """What stands in the way answers in other ways."""
    with imds.Imds() as service:
        facts = facts_of(service, clock)
        token = service.answer("PUT", "/latest/api/token", {
            "X-aws-ec2-metadata-token-ttl-seconds": "300"
        })  # fmt: skip
        service.faults = [token, (200, document)]
        facts.refresh()

    assert "no JSON object" in facts.current().fault


def test_it_can_be_disabled_as_for_every_aws_tool(clock: FakeClock) -> None:
    """Then nothing is called."""
    with imds.Imds() as service:
        facts = facts_of(service, clock, AWS_EC2_METADATA_DISABLED="True")
        facts.refresh()

    assert [] == service.calls
    assert "AWS_EC2_METADATA_DISABLED" in facts.current().fault


def test_no_proxy_is_used(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with imds.Imds() as service:
        facts = facts_of(service, clock, HTTP_PROXY="http://127.0.0.1:9")
        facts.refresh()

    assert INSTANCE == facts.current().instance


@pytest.mark.parametrize(
    "endpoint", ["169.254.169.254", "ftp://x", "http://", "http://[", "http://x:y"]
)
def test_an_endpoint_that_is_none_is_a_fault(clock: FakeClock, endpoint: str) -> None:
    """Not an exception."""
    facts = host_facts.InstanceFacts(clock, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint})
    facts.want(instance=True, tags=False)

    facts.refresh()

    assert facts.current().fault


def test_a_machine_outside_of_ec2_waits_a_few_seconds_once() -> None:
    """Where packets to the address are swallowed: a port that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environ = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"
        }
        facts = host_facts.InstanceFacts(RealClock(), environ)  # type: ignore[arg-type]
        facts.want(instance=True, tags=True)
        before = time.monotonic()

        facts.refresh()

        assert time.monotonic() - before < 10
    assert "hop limit" in facts.current().fault


def test_the_daemon_ships_what_the_metadata_service_says(tmp_path: pathlib.Path) -> None:
    """From the first line on."""
    service = local.Service(
        local.ServiceOptions(streams={"web": local.StreamOptions(is_throttled=False)})
    )
    with imds.Imds(tags={"env": "prod"}) as instance, running(tmp_path, service) as daemon:
        options = {"ec2": ["instance_id"], "tags": ["*"], "fields": {"zone": "{region}"}}
        daemon.configure(daemon.flow(preprocess=[{"add_metadata": options}]))
        daemon.path("a.log").write_bytes(b"one\n")
        daemon.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = instance.endpoint
        daemon.start()

        daemon.wait_for_lines(1)

        assert 0 == daemon.stop()
    expected = {
        "message": "one",
        "zone": "eu-west-1",
        "instance_id": "i-0123456789abcdef0",
        "tags": {"env": "prod"},
    }
    assert [expected] == [json.loads(line) for line in daemon.lines]


class RealClock:
    def monotonic(self) -> float:
        return time.monotonic()


def test_ipv6_is_used_where_it_is_wanted(clock: FakeClock) -> None:
    """The address is EC2's own."""
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}
    facts = host_facts.InstanceFacts(Hasty(), environ)  # type: ignore[arg-type]
    facts.want(instance=True, tags=False)

    facts.refresh()

    assert "too slow" in facts.current().fault or "fd00:ec2::254" in facts.current().fault


class Hasty:
    """A clock by which every call comes too late."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 100
        return self.now


def test_the_local_service_refuses_what_the_real_one_does() -> None:
    """Calls without a token, with an old one, through a proxy; wrong methods and times."""
    now = [0.0]
    service = imds.Imds(tags={}, now=lambda: now[0])
    ttl = "X-aws-ec2-metadata-token-ttl-seconds"
    try:
        assert 401 == service.answer("GET", "/latest/meta-data/", {})[0]
        for wrong in ("", "0", "21601", "x"):
            assert 400 == service.answer("PUT", "/latest/api/token", {ttl: wrong})[0]
        assert 405 == service.answer("GET", "/latest/api/token", {ttl: "1"})[0]
        status, token = service.answer("PUT", "/latest/api/token", {ttl: "1"})
        headers = {"X-aws-ec2-metadata-token": token.decode()}
        assert 200 == status
        assert 404 == service.answer("GET", "/latest/meta-data/none", headers)[0]
        assert 405 == service.answer("POST", "/latest/meta-data/", headers)[0]
        assert 403 == service.answer("GET", "/", {**headers, "X-Forwarded-For": "x"})[0]
        now[0] = 1.0
        assert 401 == service.answer("GET", "/latest/meta-data/none", headers)[0]
    finally:
        service._server.server_close()
    assert isinstance(service._thread, threading.Thread)
