"""One client connection: requests in, answers out, and the faults that happen on the wire.

It knows nothing of AWS; the `Application` decides what is answered and how it shall go wrong.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import select
import socket
import ssl
import struct
import threading
import typing
from collections.abc import Callable

from kagent.local import http1

_DRIPS = 20  # pieces of an answer that is sent slowly
_LINGER_S = 1.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends a reset

Sending = typing.Literal["whole", "nothing", "partly", "slowly"]


def _ignore(_is_sent: bool, /) -> None:  # noqa: FBT001 -- a callback's only argument
    """Take the fate of an answer that nobody waits for."""


@dataclasses.dataclass(slots=True)
class Answer:
    """What to answer, how to send it, and whom to tell whether it went out in full.

    `settle(True)` is called just before the last bytes go out; `settle(False)` when they do not,
    also after a `settle(True)` that was too hopeful.
    """

    status: int
    body: bytes
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    sending: Sending = "whole"
    part: float = 0.0  # which share of its bytes is sent of an answer that is sent partly
    slow_s: float = 0.0  # how long a slow answer takes
    delay_s: float = 0.0  # before the first byte
    is_last: bool = False  # the connection is closed after it, and it does not say so
    settle: Callable[[bool], None] = _ignore


class Application(typing.Protocol):
    """What a connection serves."""

    def begin(self, request: http1.Request) -> Answer | typing.Literal["reset"] | None:
        """Decide after the head of a request; None: read the body, then `answer`."""

    def answer(self, request: http1.Request) -> Answer:
        """Answer a whole request."""


class Connection:
    """Owns one accepted socket; `serve` runs in its thread, `abort` may come from another."""

    def __init__(
        self, sock: socket.socket, application: Application, stopping: threading.Event
    ) -> None:
        self._socket = sock
        self._application = application
        self._stopping = stopping

    def serve(self) -> None:
        """Serve requests until either side closes; a peer that goes away is no error."""
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.do_handshake()
            with self._socket.makefile("rb") as reader:
                while not self._stopping.is_set() and self._serve_one(reader):
                    pass
        except OSError:  # reset, time-out, no TLS: ssl.SSLError is one too
            pass
        finally:
            self._socket.close()

    def abort(self) -> None:
        """Wake the serving thread, which then ends."""
        with contextlib.suppress(OSError):  # closed already
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # not SSLSocket's: no I/O here

    def _serve_one(self, reader: io.BufferedReader) -> bool:
        """Serve one request; return whether another may follow."""
        try:
            request = http1.read_head(reader)
            if request is None:
                return False
            early = self._application.begin(request)
            if early == "reset":
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return False
            if early is not None:
                request.keeps_alive = False
                return self._send(request, early)
            if request.wants_continue and request.body_bytes:
                self._socket.sendall(http1.CONTINUE)
            http1.read_body(reader, request)
        except http1.BadRequestError as error:
            self._refuse(reader, error)
            return False
        return self._send(request, self._application.answer(request))

    def _refuse(self, reader: io.BufferedReader, error: http1.BadRequestError) -> None:
        """Answer a request that cannot be served, and let the client read that before the end."""
        headers = {"Content-Type": "text/plain"}
        body = f"{error}\n".encode()
        self._socket.sendall(http1.answer_bytes(error.status, headers, body, keeps_alive=False))
        socket.socket.shutdown(self._socket, socket.SHUT_WR)
        self._socket.settimeout(_LINGER_S)
        while reader.read1(64 * 1024):
            pass

    def _send(self, request: http1.Request, answer: Answer) -> bool:
        """Send an answer as it wants to be sent; settle it; return whether the next may come."""
        data = http1.answer_bytes(
            answer.status, answer.headers, answer.body, keeps_alive=request.keeps_alive
        )
        try:
            self._wait(answer.delay_s)
            if answer.sending in {"partly", "nothing"}:
                answer.settle(False)
                self._socket.sendall(data[: int(answer.part * len(data))])
                return False
            if answer.sending == "slowly":
                data = self._drip(data, answer.slow_s)
            # Settled before its last bytes are sent: the client may act on them before we are
            # back from the system call. Who has closed its end is answered, but taken for gone.
            answer.settle(not self._peer_is_gone())
            self._socket.sendall(data)
        except OSError:
            answer.settle(False)
            raise
        return request.keeps_alive and not answer.is_last

    def _drip(self, data: bytes, slow_s: float) -> bytes:
        """Send all but the last piece of an answer, with pauses; return the last."""
        size = -(-len(data) // _DRIPS)
        while len(data) > size:
            self._socket.sendall(data[:size])
            data = data[size:]
            self._wait(slow_s / _DRIPS)
        return data

    def _wait(self, seconds: float) -> None:
        """Wait, unless the server closes meanwhile: then nobody gets an answer any more."""
        if seconds and self._stopping.wait(seconds):
            raise ConnectionAbortedError

    def _peer_is_gone(self) -> bool:
        """Return whether the client closed its end: it will not read what is sent now."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        return bool(poll.poll(0))
