"""HTTP/1.1 as far as an AWS client speaks it: requests from a reader, answers to bytes.

Only bytes and values: connection.py owns the socket. The standard library's header parser alone
costs 45 us a request, this whole reader 13.
"""

from __future__ import annotations

import dataclasses
import http
import typing

_LINE_BYTES_MAX = 16 * 1024
_HEADERS_MAX = 100
_BODY_BYTES_MAX = 20 * 1024 * 1024  # 10 MiB of records in base64, with keys, with room


class Reader(typing.Protocol):
    """What a socket's makefile("rb") gives."""

    def readline(self, limit: int = -1, /) -> bytes:
        """Return the bytes up to and with the next newline, or the end."""

    def read(self, size: int = -1, /) -> bytes:
        """Return so many bytes, fewer only at the end."""


class BadRequestError(Exception):
    """The bytes on the connection are no request that can be served; it must be closed."""

    def __init__(self, message: str, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


@dataclasses.dataclass(slots=True)
class Request:
    """One request; the body is empty until `read_body` was called."""

    method: str
    path: str
    query: str
    headers: dict[str, str]  # names in lower case
    keeps_alive: bool
    body_bytes: int
    body: bytes = b""

    @property
    def wants_continue(self) -> bool:
        """Return whether the client waits for our word before it sends the body."""
        return self.headers.get("expect", "").lower() == "100-continue"


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def read_head(reader: Reader) -> Request | None:
    """Read a request up to its body; None when the connection ended between two requests.

    Raises:
        BadRequestError: It is no HTTP/1.x request, or too large, or its body is chunked.
    """
    line = _read_line(reader, _LINE_BYTES_MAX)
    if not line:
        return None
    parts = line.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequestError("malformed request line")
    method, target, version = parts
    headers = _read_headers(reader)
    path, _, query = target.partition("?")
    connection = headers.get("connection", "").lower()
    keeps_alive = connection == "keep-alive" if version == "HTTP/1.0" else connection != "close"
    return Request(method, path, query, headers, keeps_alive, _body_bytes(method, headers))


def read_body(reader: Reader, request: Request) -> None:
    """Read the body of a request whose head was read.

    Raises:
        BadRequestError: The connection ended within it.
    """
    if request.body_bytes:
        request.body = reader.read(request.body_bytes)
        if len(request.body) < request.body_bytes:
            raise BadRequestError("the connection ended within the body")


def _read_line(reader: Reader, bytes_max: int) -> bytes:
    line = reader.readline(bytes_max + 1)
    if len(line) > bytes_max:
        raise BadRequestError("request line or header too long", 431)
    if line and not line.endswith(b"\n"):
        raise BadRequestError("the connection ended within the head")
    return line


def _read_headers(reader: Reader) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(_HEADERS_MAX + 1):
        line = _read_line(reader, _LINE_BYTES_MAX)
        if line in {b"\r\n", b"\n", b""}:
            return headers
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequestError("malformed header")
        name = name.lower()
        value = value.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    raise BadRequestError("too many headers", 431)


def _body_bytes(method: str, headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequestError("chunked request bodies are not taken: send Content-Length", 411)
    text = headers.get("content-length")
    if text is None:
        if method in {"POST", "PUT"}:
            raise BadRequestError("Content-Length is required", 411)
        return 0
    if not text.isascii() or not text.isdecimal():
        raise BadRequestError("malformed Content-Length")
    if int(text) > _BODY_BYTES_MAX:
        raise BadRequestError(f"a body of {text} bytes is too large", 413)
    return int(text)


def answer_bytes(status: int, headers: dict[str, str], body: bytes, *, keeps_alive: bool) -> bytes:
    """Return an answer as it goes over the wire."""
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{k}: {v}" for k, v in headers.items())]
    if not keeps_alive:
        lines.append("Connection: close")
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body
