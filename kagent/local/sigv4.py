"""Signature Version 4, the verifying side: is this request signed with the one known secret?

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, 2026-11
The signing key of a day, region and service is kept, so that a call costs one SHA-256 over its
body and a few microseconds.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import hmac
import re
import time
from collections.abc import Callable

from kagent.local import errors, http1, limits, options

_ALGORITHM = "AWS4-HMAC-SHA256"
_DATE = re.compile(r"\d{8}T\d{6}Z")
_SPACES = re.compile(r" +")
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """What someone signs with; `ends_at_s` is wall time, None for what never ends."""

    access_key: str
    secret_key: str
    session_token: str | None = None
    ends_at_s: float | None = None


class SignatureVerifier:
    """Owns the known credentials and the last signing keys; any thread may call it."""

    def __init__(
        self, service_options: options.ServiceOptions, wall: Callable[[], float] = time.time
    ) -> None:
        self._region = service_options.region
        self._wall = wall
        self._known: dict[str, Credentials] = {}  # by access key
        self._keys: dict[tuple[str, str, str], bytes] = {}  # a few, then cleared
        self.add(
            Credentials(
                service_options.access_key,
                service_options.secret_key,
                service_options.session_token,
            )
        )

    def add(self, given: Credentials) -> None:
        """Accept these credentials from now on; the same access key again replaces the old."""
        self._known[given.access_key] = given

    def end_all_sessions(self) -> None:
        """Call everything with a session token expired, early or not."""
        for one in list(self._known.values()):
            if one.session_token is not None:
                self.add(dataclasses.replace(one, ends_at_s=0.0))

    def verify(self, request: http1.Request, service: str) -> None:
        """Raise what AWS would answer unless the request carries a valid, fresh signature.

        Raises:
            ServiceError: No signature, an unknown key, a wrong scope, too old, or no match.
        """
        authorization = request.headers.get("authorization")
        if not authorization:
            raise errors.ServiceError(
                "MissingAuthenticationTokenException", "Missing Authentication Token"
            )
        parts = _parts_of(authorization)
        access_key, date, region, scope_service, _ = parts["Credential"].split("/")
        given = self._known.get(access_key)
        if given is None or request.headers.get("x-amz-security-token") != given.session_token:
            raise errors.ServiceError(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )
        if given.ends_at_s is not None and self._wall() >= given.ends_at_s:
            raise errors.ServiceError(
                "ExpiredTokenException", "The security token included in the request is expired"
            )
        timestamp = self._checked_timestamp(request, date)
        if region != self._region or scope_service != service:
            raise errors.ServiceError(
                "InvalidSignatureException",
                f"Credential should be scoped to correct service: '{service}' "
                f"and a valid region: '{self._region}'.",
            )
        scope = f"{date}/{region}/{service}/aws4_request"
        canonical = _canonical_request(request, parts["SignedHeaders"])
        text = f"{_ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
        expected = hmac.digest(
            self._signing_key(date, service, given), text.encode(), "sha256"
        ).hex()
        if not hmac.compare_digest(expected.encode(), parts["Signature"].encode()):
            raise errors.ServiceError("InvalidSignatureException", _MISMATCH)

    def _checked_timestamp(self, request: http1.Request, scope_date: str) -> str:
        """Return the request's time of signing, at most five minutes from now."""
        timestamp = request.headers.get("x-amz-date", "")
        if not _DATE.fullmatch(timestamp):
            raise errors.ServiceError(
                "IncompleteSignatureException",
                f"Date must be in ISO-8601 'basic format'. Got '{timestamp}'.",
            )
        if not timestamp.startswith(scope_date):
            raise errors.ServiceError(
                "InvalidSignatureException",
                f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
                f"from HTTP: '{scope_date}' != '{timestamp[:8]}'.",
            )
        signed_at_s = dt.datetime.fromisoformat(timestamp).timestamp()
        now_s = self._wall()
        if abs(now_s - signed_at_s) <= limits.SIGNATURE_AGE_MAX_S:
            return timestamp
        now = _written(now_s)
        if signed_at_s < now_s:
            edge = _written(now_s - limits.SIGNATURE_AGE_MAX_S)
            message = f"Signature expired: {timestamp} is now earlier than {edge} ({now} - 5 min.)"
        else:
            edge = _written(now_s + limits.SIGNATURE_AGE_MAX_S)
            message = (
                f"Signature not yet current: {timestamp} is still later than {edge} "
                f"({now} + 5 min.)"
            )
        raise errors.ServiceError("InvalidSignatureException", message)

    def _signing_key(self, date: str, service: str, given: Credentials) -> bytes:
        key = self._keys.get((date, service, given.secret_key))
        if key is None:
            key = f"AWS4{given.secret_key}".encode()
            for part in (date, self._region, service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            if len(self._keys) >= 16:
                self._keys.clear()
            self._keys[date, service, given.secret_key] = key
        return key


def _written(at_s: float) -> str:
    return dt.datetime.fromtimestamp(at_s, dt.UTC).strftime("%Y%m%dT%H%M%SZ")


def _parts_of(authorization: str) -> dict[str, str]:
    """Return Credential, SignedHeaders and Signature of an Authorization header."""
    algorithm, _, rest = authorization.partition(" ")
    pairs = (item.strip().partition("=") for item in rest.split(","))
    parts = {name: value for name, _, value in pairs}
    missing = {"Credential", "SignedHeaders", "Signature"} - parts.keys()
    if algorithm != _ALGORITHM or missing or parts["Credential"].count("/") != 4:
        raise errors.ServiceError(
            "IncompleteSignatureException",
            f"Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' "
            f"parameters. Authorization={authorization}",
        )
    return parts


def _canonical_request(request: http1.Request, signed_headers: str) -> bytes:
    """Return the bytes whose digest is signed; a signed header that is not there is empty."""
    names = signed_headers.split(";")
    values = (_SPACES.sub(" ", request.headers.get(name, "").strip()) for name in names)
    headers = "".join(f"{name}:{value}\n" for name, value in zip(names, values, strict=True))
    query = "&".join(sorted(request.query.split("&"))) if request.query else ""
    body_digest = hashlib.sha256(request.body).hexdigest()
    return (
        f"{request.method}\n{request.path}\n{query}\n{headers}\n{signed_headers}\n{body_digest}"
    ).encode()
