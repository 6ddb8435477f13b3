"""The way to a service: where it is, through which proxy, and how TLS is made.

Each of connecting, asking the proxy and the handshake may take `connect_s`; names are resolved by
the system, at each connection anew.
"""

from __future__ import annotations

import base64
import dataclasses
import socket
import ssl
import time

from kagent.destinations import http1

_HEAD_BYTES_MAX = 16 * 1024


class WireError(Exception):
    """There is no answer. The subclasses are called as botocore's errors: one table knows both."""


class EndpointConnectionError(WireError):
    """There is no connection."""


class ConnectTimeoutError(WireError):
    """There was no connection in time."""


class ProxyConnectionError(WireError):
    """The proxy cannot be reached, or does not let us through."""


class SSLError(WireError):
    """TLS does not come about: no request has gone out."""


class ReadTimeoutError(WireError):
    """No (complete) answer in time."""


class ConnectionClosedError(WireError):
    """The connection broke."""


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that is spoken to in plain text; within CONNECT it sees TLS only."""

    host: str
    port: int
    authorization: str = dataclasses.field(default="", repr=False)  # of the header


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """Where a service is; one that is found anew is another one."""

    url: str  # for people
    host: str  # a name or an address, an IPv6 one without brackets
    port: int
    context: ssl.SSLContext | None  # None: plain HTTP
    proxy: Proxy | None
    connect_s: float
    read_s: float

    @property
    def authority(self) -> str:
        """Host and port as CONNECT and a request line have them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The Host header: as `authority`, but the default port is left out."""
        is_default = self.port == (80 if self.context is None else 443)
        return self.authority.rpartition(":")[0] if is_default else self.authority

    @property
    def request_head(self) -> str:
        """The request line, and what a proxy that sees the request needs."""
        if self.proxy is None or self.context is not None:
            return "POST / HTTP/1.1\r\n"
        given = self.proxy.authorization
        more = f"proxy-authorization: {given}\r\n" if given else ""
        return f"POST http://{self.authority}/ HTTP/1.1\r\n{more}"


def connect(endpoint: Endpoint) -> socket.socket:
    """Return a connected socket, after CONNECT and the handshake if there are any.

    Raises:
        WireError: there is none; no request was sent.
    """
    proxy = endpoint.proxy
    host, port = (proxy.host, proxy.port) if proxy else (endpoint.host, endpoint.port)
    try:
        sock = socket.create_connection((host, port), endpoint.connect_s)
    except TimeoutError as error:
        raise ConnectTimeoutError(f"no connection in time to {host}:{port}") from error
    except (OSError, UnicodeError) as error:  # a name that no DNS can hold is a UnicodeError
        message = f"cannot connect to {host}:{port}: {error}"
        kind = ProxyConnectionError if proxy else EndpointConnectionError
        raise kind(message) from error
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if endpoint.context is None:
            return sock
        if proxy is not None:
            _tunnel(sock, endpoint, proxy)
        return _wrap(sock, endpoint, endpoint.context)
    except BaseException:
        sock.close()
        raise


def _tunnel(sock: socket.socket, endpoint: Endpoint, proxy: Proxy) -> None:
    """Ask the proxy for a way to the endpoint."""
    lines = [f"CONNECT {endpoint.authority} HTTP/1.1", f"host: {endpoint.authority}"]
    if proxy.authorization:
        lines.append(f"proxy-authorization: {proxy.authorization}")
    deadline = time.monotonic() + endpoint.connect_s
    head = b""
    try:
        sock.sendall("\r\n".join([*lines, "\r\n"]).encode("latin-1"))
        while not head.endswith(b"\r\n\r\n"):
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            # Byte by byte, once in minutes: what follows belongs to TLS.
            some = sock.recv(1)
            if not some or len(head) > _HEAD_BYTES_MAX:
                raise ProxyConnectionError(f"the proxy gave no answer: {proxy.host}:{proxy.port}")
            head += some
        status, _, _ = http1.parse_head(head[:-4].decode("latin-1"))
    except (OSError, http1.UnreadableAnswerError) as error:
        message = f"the proxy {proxy.host}:{proxy.port} gave no answer: {error}"
        raise ProxyConnectionError(message) from error
    if not 200 <= status < 300:
        said = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")[2]
        raise ProxyConnectionError(f"the proxy {proxy.host}:{proxy.port} refuses: {said}")


def _wrap(sock: socket.socket, endpoint: Endpoint, context: ssl.SSLContext) -> ssl.SSLSocket:
    sock.settimeout(endpoint.connect_s)
    try:
        return context.wrap_socket(sock, server_hostname=endpoint.host, suppress_ragged_eofs=False)
    except TimeoutError as error:
        raise ConnectTimeoutError(f"no TLS handshake in time: {endpoint.url}") from error
    except (ssl.SSLError, ssl.CertificateError, ValueError) as error:
        raise SSLError(f"no TLS with {endpoint.url}: {error}") from error
    except OSError as error:
        raise EndpointConnectionError(f"no TLS with {endpoint.url}: {error}") from error


def context_of(ca_file: str) -> ssl.SSLContext:
    """Return what verifies servers against these CA certificates, names included, from TLS 1.2 on.

    Raises:
        OSError: there are none (ssl.SSLError is one as well).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def basic(user: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
