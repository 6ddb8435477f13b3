"""A strict instance metadata service, version 2: for tests of what asks one.

Tokens live for their time to live, on the service's own clock; without one every answer is 401. An
instance that allows no tags answers 404 where they would be. Faults on request.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html, 2026-11
"""

from __future__ import annotations

import http.server
import json
import secrets
import threading
import time
import typing
import urllib.parse
from collections.abc import Callable, Mapping
from types import TracebackType

IDENTITY = {
    "accountId": "123456789012",
    "architecture": "x86_64",
    "availabilityZone": "eu-west-1a",
    "imageId": "ami-0123456789abcdef0",
    "instanceId": "i-0123456789abcdef0",
    "instanceType": "m7g.large",
    "pendingTime": "2026-11-26T00:00:00Z",
    "privateIp": "10.0.12.34",
    "region": "eu-west-1",
    "version": "2017-09-30",
}
TTL_S_MAX = 21600
_TAGS = "/latest/meta-data/tags/instance"


class Imds:
    """The service of one instance, on a port of this machine; a context manager."""

    def __init__(
        self,
        identity: Mapping[str, typing.Any] | None = None,
        tags: Mapping[str, str] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Say who the instance is; without tags it does not allow them."""
        self.identity: Mapping[str, typing.Any] = IDENTITY if identity is None else identity
        self.tags = tags
        self.calls: list[tuple[str, str]] = []
        self.faults: list[tuple[int, bytes] | None] = []  # answers instead of ours; None: none
        self.forwarded = 0  # calls that came through a proxy: the real one refuses them
        self._now = now
        self._tokens: dict[str, float] = {}
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def endpoint(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> typing.Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return status and body of one call."""
        self.calls.append((method, path))
        if "X-Forwarded-For" in headers:
            self.forwarded += 1
            return 403, b""
        if path == "/latest/api/token":
            return self._issue(method, headers.get("X-aws-ec2-metadata-token-ttl-seconds", ""))
        token = headers.get("X-aws-ec2-metadata-token", "")
        if self._tokens.get(token, float("-inf")) <= self._now():
            return 401, b""
        if method != "GET":
            return 405, b""
        if path == "/latest/dynamic/instance-identity/document":
            return 200, json.dumps(self.identity, indent=2).encode()
        if self.tags is not None and path.rstrip("/") == _TAGS:
            return 200, "\n".join(self.tags).encode()
        name = urllib.parse.unquote(path.removeprefix(f"{_TAGS}/"))
        if self.tags is not None and name in self.tags:
            return 200, self.tags[name].encode()
        return 404, b""

    def _issue(self, method: str, ttl: str) -> tuple[int, bytes]:
        if method != "PUT":
            return 405, b""
        if not ttl.isdecimal() or not 1 <= int(ttl) <= TTL_S_MAX:
            return 400, b""
        token = secrets.token_urlsafe(40) + "=="
        self._tokens[token] = self._now() + int(ttl)
        return 200, token.encode()


def _handler(service: Imds) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the name that the library calls
            self._do()

        def do_PUT(self) -> None:
            self._do()

        def _do(self) -> None:
            status, body = service.answer(self.command, self.path, self.headers)  # type: ignore[arg-type]  # as good as a mapping
            fault = service.faults.pop(0) if service.faults else (status, body)
            if fault is None:
                self.close_connection = True
                return
            status, body = fault
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: typing.Any) -> None:  # noqa: A002 -- its name there
            pass

    return Handler
