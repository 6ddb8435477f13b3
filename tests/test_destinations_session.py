"""Roles, profiles, credentials that end and clocks that are wrong, on both wires."""

from __future__ import annotations

import json
import logging
import pathlib
import stat
from collections.abc import Iterator

import pytest

from kagent import destinations, errors, local, model
from kagent.destinations import aws, kinesis, skew
from kagent.local import sigv4

ROLE = "arn:aws:iam::123456789012:role/shipper"
WIRES = pytest.mark.parametrize("wire", ["fast", "boto3"])


@pytest.fixture
def service() -> local.Service:
    return local.Service(local.ServiceOptions(streams={"web": local.StreamOptions()}))


@pytest.fixture
def server(service: local.Service) -> Iterator[local.Server]:
    with service.listen() as one:
        yield one


@pytest.fixture(autouse=True)
def environment(
    monkeypatch: pytest.MonkeyPatch, server: local.Server, tmp_path: pathlib.Path
) -> pytest.MonkeyPatch:
    """Keys of the local account, no files, STS here."""
    given = local.ServiceOptions()
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", given.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given.secret_key)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.endpoint_url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return monkeypatch


def make(server: local.Server, wire: str, **more: object) -> model.Destination:
    options = aws.AwsOptions(region="eu-west-1", endpoint_url=server.endpoint_url, **more)  # type: ignore[arg-type]
    return destinations.make(kinesis.KinesisOptions(stream="web", wire=wire), options, 2)  # type: ignore[arg-type]


def put(destination: model.Destination, data: bytes = b"x") -> model.Receipt:
    return destination.put(model.Batch([data], ["k"], [], len(data) + 1))


# --- roles ------------------------------------------------------------------------------------


@WIRES
def test_a_role_is_assumed_and_kept(
    service: local.Service, server: local.Server, wire: str
) -> None:
    """Once for many calls, with the external id that its owner wants to hear."""
    role = aws.AssumeRole(arn=ROLE, external_id="for-kagent")
    destination = make(server, wire, assume_role=role)

    receipts = [put(destination) for _ in range(3)]

    assert [None] * 3 == [receipt.setback for receipt in receipts]
    assert {f"{ROLE} for-kagent": 1} == dict(service.sts.assumed)


@WIRES
def test_a_role_is_assumed_again_when_its_credentials_end(
    service: local.Service, server: local.Server, wire: str
) -> None:
    """Whether their end was announced, or comes early: a call or two fail, then all is well."""
    destination = make(server, wire, assume_role=aws.AssumeRole(arn=ROLE))
    assert put(destination).setback is None

    service.verifier.end_all_sessions()
    expired = put(destination).setback

    assert isinstance(expired, errors.UnavailableError)
    assert "ExpiredTokenException" == expired.code
    assert "credentials expired" in expired.hint
    assert put(destination).setback is None
    assert 2 == service.sts.assumed[ROLE]


@WIRES
def test_a_role_that_is_about_to_end_is_assumed_before_it_does(
    service: local.Service, server: local.Server, wire: str
) -> None:
    """Credentials are renewed minutes ahead: no call ever meets the end."""
    service.sts.duration_s = 60.0
    destination = make(server, wire, assume_role=aws.AssumeRole(arn=ROLE))

    receipts = [put(destination) for _ in range(3)]

    assert [None] * 3 == [receipt.setback for receipt in receipts]
    assert service.sts.assumed[ROLE] >= 2


@WIRES
def test_a_role_that_may_not_be_assumed_is_denied_with_a_hint(
    server: local.Server, wire: str
) -> None:
    """It says which option, and that nothing was sent."""
    other = aws.AssumeRole(arn=ROLE.replace("1234", "9999"))

    receipt = put(make(server, wire, assume_role=other))

    assert isinstance(receipt.setback, errors.DeniedError)
    assert "aws.assume_role" in receipt.setback.hint
    assert not receipt.is_ambiguous


@WIRES
def test_without_credentials_no_role_is_assumed(
    server: local.Server, environment: pytest.MonkeyPatch, wire: str
) -> None:
    """Something must say who asks."""
    environment.delenv("AWS_ACCESS_KEY_ID")

    receipt = put(make(server, wire, assume_role=aws.AssumeRole(arn=ROLE)))

    assert isinstance(receipt.setback, errors.DeniedError)
    assert "give this host credentials" in receipt.setback.hint


# --- files ------------------------------------------------------------------------------------


@WIRES
def test_a_destination_has_a_profile_of_its_own(
    server: local.Server, environment: pytest.MonkeyPatch, tmp_path: pathlib.Path, wire: str
) -> None:
    """It wins over the keys in the environment; one that is not there is denied."""
    given = local.ServiceOptions()
    environment.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    (tmp_path / "credentials").write_text(
        f"[shipper]\naws_access_key_id={given.access_key}\n"
        f"aws_secret_access_key={given.secret_key}\n"
    )

    assert put(make(server, wire, profile="shipper")).setback is None
    denied = put(make(server, wire, profile="nobody")).setback
    assert isinstance(denied, errors.DeniedError)
    assert "profile" in denied.hint


@WIRES
def test_a_process_that_gives_credentials_is_asked_again(
    service: local.Service,
    server: local.Server,
    environment: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    wire: str,
) -> None:
    """A session token that the service calls expired is replaced by what the process says now."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    said, script = tmp_path / "said", tmp_path / "script"
    script.write_text(f"#!/bin/sh\ncat {said}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "config").write_text(f"[default]\ncredential_process={script}\n")

    def give(access_key: str) -> None:
        given = sigv4.Credentials(access_key, "secret", "token-" + access_key)
        service.verifier.add(given)
        answer = {
            "Version": 1,
            "AccessKeyId": access_key,
            "SecretAccessKey": given.secret_key,
            "SessionToken": given.session_token,
            "Expiration": "2099-01-01T00:00:00Z",
        }
        said.write_text(json.dumps(answer))

    give("ASIAFIRST")
    destination = make(server, wire)
    assert put(destination).setback is None
    service.verifier.end_all_sessions()
    give("ASIASECOND")

    assert isinstance(put(destination).setback, errors.UnavailableError)
    assert put(destination).setback is None


# --- clocks -----------------------------------------------------------------------------------


@WIRES
@pytest.mark.parametrize("ahead_s", [3600.0, -86400.0])
def test_a_wrong_clock_is_corrected_by_the_services(
    service: local.Service,
    server: local.Server,
    caplog: pytest.LogCaptureFixture,
    wire: str,
    ahead_s: float,
) -> None:
    """One call is refused, the next has the service's time; and again when it is set right."""
    destination = make(server, wire)
    service.set_faults(local.Faults(clock_skew=ahead_s))

    with caplog.at_level(logging.WARNING):
        refused, accepted = put(destination), put(destination)

    assert isinstance(refused.setback, errors.UnavailableError)
    assert "clock" in refused.setback.hint
    assert not refused.is_ambiguous
    assert accepted.setback is None
    assert "clock is wrong offset_s=" in caplog.text
    service.set_faults(local.Faults())
    assert put(destination).setback is not None
    assert put(destination).setback is None


@WIRES
def test_a_wrong_clock_does_not_keep_a_role_from_being_assumed(
    service: local.Service, server: local.Server, wire: str
) -> None:
    """STS is asked with the service's time, too."""
    service.set_faults(local.Faults(clock_skew=3600.0))
    destination = make(server, wire, assume_role=aws.AssumeRole(arn=ROLE))

    receipts = [put(destination) for _ in range(3)]

    assert receipts[-1].setback is None


def test_a_date_that_is_none_teaches_nothing() -> None:
    """Whatever a proxy says."""
    clock = skew.Skew(lambda: 1000.0)

    for date in ("", "yesterday", "Thu, 99 Nov 2026 00:00:00 GMT"):
        clock.learn(date)

    assert 1000.0 == clock.now()
    clock.learn("Thu, 01 Jan 1970 01:00:00 GMT")
    assert 3600.0 == clock.now()
