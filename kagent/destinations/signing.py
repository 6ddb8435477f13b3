"""Signature Version 4 for the one kind of request that the wire makes: pure.

A POST of JSON to "/" without a query, by the same rules as botocore's signer, byte for byte
(tests/test_destinations_signing.py holds them against each other). What does not change is kept:
the key of the day, which is four of the five HMACs, and for a second everything but the hashes.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, 2026-11
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import time
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """Credentials as they are at one moment."""

    access: str
    secret: str = dataclasses.field(repr=False)
    token: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class _Moment:
    """What the requests of one second have in common; texts that wait for a hash at their end."""

    at: int
    key: Key
    headers: list[tuple[str, str]]
    canonical: str
    to_sign: str
    authorization: str
    day_key: bytes


class Signer:
    """Writes the headers of signed requests to one operation; any thread may call it."""

    def __init__(self, region: str, service: str, host: str, target: str) -> None:
        """Prepare what all requests have in common.

        Args:
            region: The region that the signature is for.
            service: The service's name in signatures, such as 'kinesis'.
            host: The Host header: lower case, with the port unless it is the default one.
            target: The operation, such as 'Kinesis_20131202.PutRecords'.
        """
        self._region = region
        self._service = service
        self._host = host
        self._target = target
        self._day_key: tuple[str, str, bytes] = ("", "", b"")  # day, secret, key
        self._moment: _Moment | None = None

    def headers(self, key: Key, body: Sequence[bytes], at: float) -> list[tuple[str, str]]:
        """Return the headers of a request, in the order of their names, the last the signature.

        Args:
            key: Whose request it is.
            body: Its parts.
            at: Seconds since the epoch.
        """
        moment = self._moment
        if moment is None or (moment.at, moment.key) != (int(at), key):
            moment = self._moment = self._moment_of(key, int(at))
        digest = hashlib.sha256()
        for part in body:
            digest.update(part)
        canonical = moment.canonical + digest.hexdigest()
        to_sign = moment.to_sign + hashlib.sha256(canonical.encode()).hexdigest()
        signature = _hmac(moment.day_key, to_sign).hex()
        return [*moment.headers, ("authorization", moment.authorization + signature)]

    def _moment_of(self, key: Key, at: int) -> _Moment:
        """Return everything of a request that does not depend on its body."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
        headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("host", self._host),
            ("x-amz-date", stamp),
            ("x-amz-target", self._target),
        ]
        if key.token is not None:
            headers.insert(3, ("x-amz-security-token", key.token))
        names = ";".join(name for name, _ in headers)
        lines = [f"{name}:{' '.join(value.split())}" for name, value in headers]
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        return _Moment(
            at,
            key,
            headers,
            "\n".join(["POST\n/\n", *lines, f"\n{names}", ""]),
            f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n",
            f"AWS4-HMAC-SHA256 Credential={key.access}/{scope}, SignedHeaders={names}, Signature=",
            self._key_of(stamp[:8], key.secret),
        )

    def _key_of(self, day: str, secret: str) -> bytes:
        """Return the key of a day; one is kept, and replaced as a whole."""
        kept_day, kept_secret, key = self._day_key
        if (kept_day, kept_secret) != (day, secret):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = _hmac(key, part)
            self._day_key = (day, secret, key)
        return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
