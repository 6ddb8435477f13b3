"""kagent.local checks signatures as AWS does: what a forged or stale request is answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_local_rig import OPTIONS, HandClock, Rig, refused, running

from kagent.local import errors, http1, sigv4


@pytest.fixture
def rig() -> Iterator[Rig]:
    with running() as rig:
        yield rig


def put_with(rig: Rig, **overrides: Any) -> Any:
    client = rig.client("kinesis", **overrides)
    return client.put_records(StreamName="web", Records=[{"Data": b"x", "PartitionKey": "k"}])


def test_the_right_credentials_pass(rig: Rig) -> None:
    """A request that botocore signed with the service's credentials is served."""
    assert 0 == put_with(rig)["FailedRecordCount"]


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        pytest.param(
            {"aws_secret_access_key": "wrong"}, "InvalidSignatureException", id="wrong secret"
        ),
        pytest.param(
            {"aws_access_key_id": "AKIAOTHER"}, "UnrecognizedClientException", id="unknown key"
        ),
        pytest.param(
            {"aws_session_token": "token"}, "UnrecognizedClientException", id="unknown token"
        ),
        pytest.param({"region_name": "us-east-1"}, "InvalidSignatureException", id="other region"),
    ],
)
def test_wrong_credentials_are_refused(rig: Rig, overrides: dict[str, Any], code: str) -> None:
    """Each way to be someone else has its own code, and nothing is stored."""
    with refused(code):
        put_with(rig, **overrides)

    assert [] == rig.service.records("web")
    assert {code: 1} == rig.service.counts()["calls_refused"]


@pytest.mark.parametrize(
    ("passed_s", "message"),
    [
        pytest.param(400, "Signature expired: ", id="clock behind"),
        pytest.param(-400, "Signature not yet current: ", id="clock ahead"),
    ],
)
def test_a_signature_holds_five_minutes(rig: Rig, passed_s: float, message: str) -> None:
    """A request signed more than five minutes ago, or from now, is refused."""
    rig.clock.advance(passed_s)

    with refused("InvalidSignatureException", message):
        put_with(rig)


def test_temporary_credentials_need_their_token() -> None:
    """With a session token in force, requests need exactly that token."""
    with running(session_token="token") as rig:
        assert 0 == put_with(rig, aws_session_token="token")["FailedRecordCount"]

        with refused("UnrecognizedClientException"):
            put_with(rig)


def test_unsigned_requests_are_refused(rig: Rig) -> None:
    """A request without Authorization misses its token; a malformed one is incomplete."""
    headers = {
        "X-Amz-Target": "Kinesis_20131202.PutRecords",
        "Content-Type": "application/x-amz-json-1.1",
    }
    malformed = headers | {"Authorization": "AWS4-HMAC-SHA256 Credential=x"}

    _, unsigned = rig.send("POST", b"{}", headers)
    _, incomplete = rig.send("POST", b"{}", malformed)

    assert "MissingAuthenticationTokenException" == unsigned["__type"]
    assert "IncompleteSignatureException" == incomplete["__type"]


def test_verification_can_be_switched_off() -> None:
    """With checks_signatures off any credentials pass."""
    with running(checks_signatures=False) as rig:
        assert 0 == put_with(rig, aws_access_key_id="anyone")["FailedRecordCount"]


def signed(body: bytes, token: str | None, clock: HandClock) -> http1.Request:
    """Return a request as botocore signs it, and as the server would have read it."""
    credentials = botocore.credentials.Credentials(OPTIONS.access_key, OPTIONS.secret_key, token)
    request = botocore.awsrequest.AWSRequest(
        "POST", "https://kinesis.eu-west-1.amazonaws.com/", headers={"X-A": " a  b "}, data=body
    )
    botocore.auth.SigV4Auth(credentials, "kinesis", OPTIONS.region).add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers["host"] = "kinesis.eu-west-1.amazonaws.com"
    return http1.Request("POST", "/", "", headers, keeps_alive=True, body_bytes=0, body=body)


@given(body=st.binary(max_size=200), token=st.none() | st.text("abc+/=", min_size=1))
def test_what_botocore_signs_verifies_until_a_byte_changes(body: bytes, token: str | None) -> None:
    """For any body and token botocore's signature holds, and fails for any other body."""
    clock = HandClock()
    options = dataclasses.replace(OPTIONS, session_token=token)
    verifier = sigv4.SignatureVerifier(options, clock)
    request = signed(body, token, clock)

    verifier.verify(request, "kinesis")

    request.body += b"!"
    with pytest.raises(errors.ServiceError, match="InvalidSignatureException"):
        verifier.verify(request, "kinesis")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        pytest.param("x-amz-date", "today", "IncompleteSignatureException", id="no date"),
        pytest.param(
            "x-amz-date", "20200101T000000Z", "InvalidSignatureException", id="other day"
        ),
    ],
)
def test_the_date_must_be_the_one_signed(name: str, value: str, code: str) -> None:
    """A date that is none, or not that of the credential's scope, is refused."""
    clock = HandClock()
    request = signed(b"", None, clock)
    request.headers[name] = value

    with pytest.raises(errors.ServiceError, match=code):
        sigv4.SignatureVerifier(OPTIONS, clock).verify(request, "kinesis")
