"""Signatures held against botocore's signer: the same bytes for whatever is signed."""

from __future__ import annotations

import datetime as dt
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagent.destinations import signing

printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80)
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
moments = st.integers(315532800, 4102444800)


def by_botocore(
    monkeypatch: pytest.MonkeyPatch,
    key: signing.Key,
    at: int,
    region: str,
    service: str,
    host: str,
    target: str,
    body: bytes,
) -> dict[str, str]:
    """Return the headers that botocore's signer gives a request."""
    request: Any = botocore.awsrequest.AWSRequest("POST", f"https://{host}/", data=body)
    request.headers["Content-Type"] = "application/x-amz-json-1.1"
    request.headers["X-Amz-Target"] = target
    credentials = botocore.credentials.Credentials(key.access, key.secret, key.token)
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda *_: dt.datetime.fromtimestamp(at, dt.UTC)
    )
    botocore.auth.SigV4Auth(credentials, service, region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@given(
    key=st.builds(signing.Key, printable, printable, st.none() | printable),
    at=moments,
    region=names,
    service=names,
    host=st.builds("{}.{}".format, names, names),
    port=st.sampled_from(["", ":8443"]),
    target=printable,
    body=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
)
def test_a_signature_is_botocores(
    key: signing.Key,
    at: int,
    region: str,
    service: str,
    host: str,
    port: str,
    target: str,
    body: list[bytes],
) -> None:
    """Every signed header, the names, the scope and the signature are equal, byte for byte."""
    signer = signing.Signer(region, service, host + port, target)

    headers = dict(signer.headers(key, body, at))

    with pytest.MonkeyPatch.context() as patch:
        expected = by_botocore(
            patch, key, at, region, service, host + port, target, b"".join(body)
        )
    assert headers.pop("host") == host + port
    assert expected == headers


def test_the_kept_key_is_of_one_day_and_one_secret() -> None:
    """A new day, and renewed credentials, sign as a signer that has kept nothing."""
    keys = [signing.Key("A", "one"), signing.Key("A", "two", "token"), signing.Key("A", "one")]
    days = [0.0, 86399.0, 86400.0]
    signer = signing.Signer("eu-west-1", "kinesis", "host", "target")

    for key in keys:
        for at in days:
            fresh = signing.Signer("eu-west-1", "kinesis", "host", "target")
            assert fresh.headers(key, [b"x"], at) == signer.headers(key, [b"x"], at)


def test_a_secret_is_not_shown() -> None:
    """What lands in a log by accident is the access key's name at most."""
    assert repr(signing.Key("AKIA", "secret", "token")) == "Key(access='AKIA')"
