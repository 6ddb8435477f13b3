"""What EC2 says of this machine: the instance's data and tags, by its metadata service (IMDSv2).

A session token first, then the identity document, which has all of the data in one answer, then
the tags if somebody wants them. Nothing else is asked, version 1 never, no proxy is used, no
redirect followed, every answer is bounded and so is the whole time, so that a machine outside of
EC2 waits for a few seconds once. What is known stays known when it cannot be asked again.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html and
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html, 2026-11.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import socket
import urllib.parse
from collections.abc import Callable, Mapping

from kagent import logs, model, options

ENDPOINT = "http://169.254.169.254"
ENDPOINT_IPV6 = "http://[fd00:ec2::254]"
TOKEN_TTL_S = 300  # of 1 to 21,600: a token serves one round
CALL_S = 1.0  # for one answer; it comes from the same machine
ROUND_S = 6.0  # for all of them; a flow that wants them waits for 10 s
ATTEMPTS = 3  # for the token; a network that has just come up may lose the first
REFRESH_S = 3600.0
RETRY_S = 60.0  # doubled at each failure, up to REFRESH_S
ANSWER_BYTES_MAX = 64 * 1024
TAGS_MAX = 50  # of a resource; https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html

SAY_AGAIN_S = 60.0

_MEMBERS = {  # of the identity document, by our names
    "instance_id": "instanceId",
    "instance_type": "instanceType",
    "region": "region",
    "availability_zone": "availabilityZone",
    "account_id": "accountId",
    "ami_id": "imageId",
    "private_ip": "privateIp",
}
_TOKEN = "X-aws-ec2-metadata-token"  # noqa: S105  # the name of a header
_TAGS = "/latest/meta-data/tags/instance"


class UnknownError(Exception):
    """Something is not known; says why, with a hint."""


class InstanceFacts:
    """Knows the facts, and when to ask for them again; owned by the service thread.

    Only `current` may be called by others.
    """

    def __init__(self, clock: model.Clock, environ: Mapping[str, str]) -> None:
        """Ask for nothing before somebody wants something."""
        self._clock = clock
        self._environ = environ
        self._facts = model.HostFacts(is_awaited=True)
        self._wanted = (False, False)
        self._failures = 0
        self._due = float("-inf")

    def current(self) -> model.HostFacts:
        """Return what is known now; from any thread."""
        return dataclasses.replace(self._facts, name=socket.gethostname())

    def want(self, *, instance: bool, tags: bool) -> None:
        """Say what is wanted from now on."""
        if self._wanted != (instance, tags):
            if (instance, tags) > self._wanted:
                self._facts = dataclasses.replace(self._facts, is_awaited=True)
            self._wanted = (instance, tags)
            self._due = float("-inf")

    def next_due(self) -> float | None:
        """Return the monotonic time at which to ask again; None if nobody wants anything."""
        return self._due if any(self._wanted) else None

    def refresh(self) -> None:
        """Ask, if it is time; what is not answered leaves what was known."""
        if not any(self._wanted) or self._clock.monotonic() < self._due:
            return
        try:
            found = self._ask()
        except UnknownError as error:
            found = dataclasses.replace(self._facts, is_awaited=False)
            if not found.instance:
                found = dataclasses.replace(found, fault=str(error))
            wait_s = min(REFRESH_S, RETRY_S * 2.0**self._failures)
            self._failures = min(self._failures + 1, 10)
        else:
            wait_s, self._failures = REFRESH_S, 0
        self._facts = found
        self._due = self._clock.monotonic() + wait_s

    def _ask(self) -> model.HostFacts:
        session = _Session(self._environ, self._clock)
        instance = _identity(session.get("/latest/dynamic/instance-identity/document"))
        if not self._wanted[1]:
            return model.HostFacts(instance=instance)
        try:
            return model.HostFacts(instance=instance, tags=_tags(session))
        except UnknownError as error:
            return model.HostFacts(
                instance=instance, tags=self._facts.tags, fault=f"no tags: {error}"
            )


class Lack:
    """Counts a flow's records that go without what EC2 has not said, and says so."""

    def __init__(
        self, flow: str, clock: model.Clock, *, needs_instance: bool, needs_tags: bool
    ) -> None:
        """Say what the flow's records are to have."""
        self._flow = flow
        self._clock = clock
        self._needs_instance = needs_instance
        self._needs_tags = needs_tags
        self._unsaid, self._said = 0, float("-inf")

    def note(self, records: int, host: Callable[[], model.HostFacts]) -> int:
        """Return how many of so many records lack something; say it at once and each minute."""
        if not self._needs_instance:
            return 0
        known = host()
        is_unknown = known.is_awaited or bool(known.fault)
        if known.instance and not (self._needs_tags and is_unknown):
            return 0
        self._unsaid += records
        now = self._clock.monotonic()
        if now - self._said >= SAY_AGAIN_S:
            logs.of_flow(self._flow).warning(
                'instance data unknown flow=%s records=%d error="%s"; records go without it, '
                "it is asked for again",
                self._flow,
                self._unsaid,
                options.printable(known.fault or "no answer yet"),
            )
            self._unsaid, self._said = 0, now
        return records


def _identity(document: bytes) -> dict[str, str]:
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnknownError("the identity document is no JSON object")
    members = {name: found.get(member) for name, member in _MEMBERS.items()}
    return {name: one for name, one in members.items() if isinstance(one, str) and one}


def _tags(session: _Session) -> dict[str, str]:
    names = session.get(_TAGS).decode("utf-8", "replace").split("\n")
    tags = {}
    for name in [name for name in names if name][:TAGS_MAX]:
        value = session.get(f"{_TAGS}/{urllib.parse.quote(name, safe='')}")
        tags[name] = value.decode("utf-8", "replace")
    return tags


class _Session:
    """Calls that share a token and an end."""

    def __init__(self, environ: Mapping[str, str], clock: model.Clock) -> None:
        """Get the token.

        Raises:
            UnknownError: there is none.
        """
        if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise UnknownError("AWS_EC2_METADATA_DISABLED is true; hint: unset it")
        is_ipv6 = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower() == "ipv6"
        default = ENDPOINT_IPV6 if is_ipv6 else ENDPOINT
        self._endpoint = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or default
        self._clock = clock
        self._end = clock.monotonic() + ROUND_S
        ttl = {f"{_TOKEN}-ttl-seconds": str(TOKEN_TTL_S)}
        for attempt in range(ATTEMPTS):
            try:
                status, body = self._call("PUT", "/latest/api/token", ttl)
                break
            except UnknownError:
                if attempt == ATTEMPTS - 1:
                    raise
        if status != 200:
            raise UnknownError(
                f"the metadata service answers {status} to the request for a token; hint: is it "
                "enabled on this instance?"
            )
        self._token = {_TOKEN: body.decode("latin-1").strip()}

    def get(self, path: str) -> bytes:
        """Return what stands at a path.

        Raises:
            UnknownError: nothing, or nothing that can be read.
        """
        status, body = self._call("GET", path, self._token)
        if status == 404 and path == _TAGS:
            raise UnknownError("hint: allow tags in instance metadata (InstanceMetadataTags)")
        if status != 200:
            raise UnknownError(f"the metadata service answers {status} to {path}")
        return body

    def _call(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        left_s = self._end - self._clock.monotonic()
        if left_s <= 0:
            raise UnknownError("the metadata service is too slow")
        try:
            connection = _connection(self._endpoint, min(CALL_S, left_s))
            try:
                connection.request(method, path, headers={"Accept": "*/*", **headers})
                answer = connection.getresponse()
                body = self._body_of(answer)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            what = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise UnknownError(
                f"no metadata service at {self._endpoint} ({what}); hint: is this an EC2 "
                "instance? In a container, the instance's hop limit must be 2"
            ) from error
        if len(body) > ANSWER_BYTES_MAX:
            raise UnknownError(f"the metadata service answers with too much to {path}")
        return answer.status, body

    def _body_of(self, answer: http.client.HTTPResponse) -> bytes:
        """Return the body, as much of it as is too much at most, as long as there is time."""
        body = b""
        while len(body) <= ANSWER_BYTES_MAX:
            piece = answer.read1(ANSWER_BYTES_MAX + 1 - len(body))
            if not piece:
                break
            body += piece
            if self._clock.monotonic() > self._end:
                raise TimeoutError("the answer takes too long")
        return body


def _connection(endpoint: str, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection that is not open yet, and knows of no proxy."""
    parts = urllib.parse.urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("this is no address such as http://host:port")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=timeout_s)
