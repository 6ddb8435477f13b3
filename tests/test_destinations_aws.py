"""How a client finds its region and credentials, and finds them again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import pydantic
import pytest

from kagent import errors, local, model
from kagent.destinations import aws, kinesis

ACCOUNT = local.ServiceOptions(streams={"web": local.StreamOptions()})


@pytest.fixture
def credentials_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment in which credentials come from one file only, which is not there yet."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    path = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    return path


def write(path: Path, access_key: str, secret_key: str) -> None:
    path.write_text(
        f"[default]\naws_access_key_id={access_key}\naws_secret_access_key={secret_key}\n"
    )


@pytest.fixture(scope="module")
def endpoint_url() -> Iterator[str]:
    with local.Service(ACCOUNT).listen() as server:
        yield server.endpoint_url


def destination(endpoint_url: str, region: str | None = "eu-west-1") -> model.Destination:
    reached = aws.AwsOptions(region=region, endpoint_url=endpoint_url)
    return kinesis.KinesisDestination(kinesis.KinesisOptions(stream="web"), reached, 4)


def batch() -> model.Batch:
    return model.Batch([b"line"], ["k"], [], 5)


def test_without_credentials_a_flow_is_denied_until_there_are_some(
    credentials_file: Path, endpoint_url: str
) -> None:
    """A client that could not be built is built again; nobody has to restart the daemon."""
    stream = destination(endpoint_url)

    denied = stream.put(batch())
    write(credentials_file, ACCOUNT.access_key, ACCOUNT.secret_key)
    delivered = stream.put(batch())

    assert type(denied.setback) is errors.DeniedError
    assert (denied.setback.code, denied.is_ambiguous) == ("NoCredentialsError", False)
    assert "instance role" in denied.setback.hint
    assert delivered.setback is None


@pytest.mark.parametrize(
    ("access_key", "secret_key"),
    [
        pytest.param("AKIANOBODY", ACCOUNT.secret_key, id="unknown key"),
        pytest.param(ACCOUNT.access_key, "guess", id="wrong secret"),
    ],
)
def test_corrected_credentials_are_found(
    credentials_file: Path, endpoint_url: str, access_key: str, secret_key: str
) -> None:
    """Botocore reads the credentials file once; after a refusal kagent reads it again."""
    write(credentials_file, access_key, secret_key)
    stream = destination(endpoint_url)

    denied = stream.put(batch())
    write(credentials_file, ACCOUNT.access_key, ACCOUNT.secret_key)
    delivered = stream.put(batch())

    assert type(denied.setback) is errors.DeniedError
    assert "access key" in denied.setback.hint
    assert delivered.setback is None


def test_without_a_region_a_flow_is_denied(credentials_file: Path, endpoint_url: str) -> None:
    """The hint names the key to set; even an endpoint URL needs a region, for the signature."""
    write(credentials_file, ACCOUNT.access_key, ACCOUNT.secret_key)

    receipt = destination(endpoint_url, region=None).put(batch())

    assert (type(receipt.setback), receipt.is_ambiguous) == (errors.DeniedError, False)
    assert "aws.region" in receipt.setback.hint


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_may_come_from_the_environment(
    credentials_file: Path, endpoint_url: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Botocore's variable is known, and the one of all other SDKs, which botocore ignores."""
    write(credentials_file, ACCOUNT.access_key, ACCOUNT.secret_key)
    monkeypatch.setenv(variable, "eu-west-1")

    receipt = destination(endpoint_url, region=None).put(batch())

    assert receipt.setback is None


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        pytest.param("AWS_PROFILE", "nobody", "aws.profile or AWS_PROFILE", id="profile missing"),
        pytest.param("AWS_ACCESS_KEY_ID", "AKIA", "secret key", id="half a pair"),
    ],
)
def test_a_broken_environment_is_denied_with_a_hint(
    credentials_file: Path,
    endpoint_url: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    hint: str,
) -> None:
    """What botocore finds wrong before it sends anything is the operator's to correct."""
    monkeypatch.setenv(name, value)

    receipt = destination(endpoint_url).put(batch())

    assert (type(receipt.setback), receipt.is_ambiguous) == (errors.DeniedError, False)
    assert hint in receipt.setback.hint


def test_an_impossible_endpoint_is_denied_with_a_hint(credentials_file: Path) -> None:
    """What the configuration's pattern lets through, botocore refuses as a ValueError."""
    write(credentials_file, ACCOUNT.access_key, ACCOUNT.secret_key)

    receipt = destination("http://under_score..example").put(batch())

    assert (type(receipt.setback), receipt.is_ambiguous) == (errors.DeniedError, False)
    assert "aws.endpoint_url" in receipt.setback.hint


@pytest.mark.parametrize("url", ["kinesis.eu-west-1.amazonaws.com", "ftp://x", "http://", "x y"])
def test_an_endpoint_without_a_scheme_never_starts(url: str) -> None:
    """The configuration refuses it, with a position, before anything is sent."""
    with pytest.raises(pydantic.ValidationError, match="endpoint_url"):
        aws.AwsOptions(endpoint_url=url)


def test_all_threads_share_one_client(credentials_file: Path, endpoint_url: str) -> None:
    """Threads that ask at the same moment get the same client, built once."""
    write(credentials_file, ACCOUNT.access_key, ACCOUNT.secret_key)
    reached = aws.AwsOptions(region="eu-west-1", endpoint_url=endpoint_url)
    client = aws.Shared(lambda: aws.connect("kinesis", reached, 8))
    barrier = threading.Barrier(8)

    def ask(_: int) -> int:
        barrier.wait(10)
        return id(client.get())

    with futures.ThreadPoolExecutor(8) as pool:
        found = set(pool.map(ask, range(8)))
    client.forget()

    assert len(found) == 1
    assert id(client.get()) not in found


def test_all_threads_see_one_failure(credentials_file: Path, endpoint_url: str) -> None:
    """Threads that wait for a client that cannot be built are told so, and none hangs."""
    stream = destination(endpoint_url)

    with futures.ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda _: stream.put(batch()), range(8)))

    assert {type(receipt.setback) for receipt in receipts} == {errors.DeniedError}
