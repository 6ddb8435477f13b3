"""One keep-alive HTTP/1.1 connection: sends one request and reads one answer at a time.

The socket never blocks: what has to wait for the network waits in `_wait`, where other senders may
compute (turn).

Law of time: between two bytes that go out `read_s` may pass, and the whole body has `read_s` and a
second for every 32 KiB; then the whole answer has `read_s`. So every exchange ends.

Law of reuse: a connection is used again only if the last answer came whole and did not say
'close', it has been idle for less than IDLE_S, nothing has arrived meanwhile (the end, or bytes
that nobody asked for), and it is younger than AGE_S, so that DNS and load balancers are followed.
"""

from __future__ import annotations

import select
import ssl
import time
from collections.abc import Mapping, Sequence

from kagent.destinations import endpoint as endpoints
from kagent.destinations import http1
from kagent.destinations import turn as turns

IDLE_S = 5.0
AGE_S = 300.0
_HEAD_BYTES_MAX = 64 * 1024
_INTERIM_MAX = 8  # answers of status 1xx
_TRAILERS_MAX = 100
_RECEIVE_BYTES = 64 * 1024
_SEND_BYTES_PER_S_MIN = 32 * 1024
_WOULD_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """Owns one socket; one thread at a time may use it. Close it when `exchange` has failed."""

    def __init__(self, endpoint: endpoints.Endpoint, turn: turns.Turn) -> None:
        """Connect, through the proxy and with TLS as the endpoint says.

        Args:
            endpoint: Where to.
            turn: Of those who call `exchange`, and not of whoever connects.

        Raises:
            endpoints.WireError: there is no connection; nothing was sent.
        """
        self.endpoint = endpoint
        self._turn = turn
        self._received = bytearray()
        self.keeps_alive = True
        self._socket = endpoints.connect(endpoint)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._opened = self._used = time.monotonic()

    def close(self) -> None:
        """Give the socket back."""
        self.keeps_alive = False
        self._socket.close()

    def is_reusable(self) -> bool:
        """Whether another request may go this way; see the law of reuse."""
        now = time.monotonic()
        return (
            self.keeps_alive
            and not self._received
            and now - self._used < IDLE_S
            and now - self._opened < AGE_S
            and not self._has_news()
        )

    def _has_news(self) -> bool:
        """Whether something arrived that nobody asked for, or the end."""
        self._poll.modify(self._socket, select.POLLIN)
        return bool(self._poll.poll(0))

    def exchange(self, parts: Sequence[bytes]) -> http1.Answer:
        """Send a request and return its answer; it is the caller's turn but while this waits.

        Raises:
            WireError, UnreadableAnswerError: there was none; the request may have arrived.
        """
        try:
            try:
                self._send(parts)
            except OSError as error:
                return self._early_answer(error)
            deadline = time.monotonic() + self.endpoint.read_s
            self._wait(select.POLLIN, deadline)  # a read would only find that nothing is there
            answer = self._read_answer(deadline)
        except TimeoutError as error:
            message = f"no complete answer within {self.endpoint.read_s:g} s: {self.endpoint.url}"
            raise endpoints.ReadTimeoutError(message) from error
        except (OSError, EOFError) as error:
            raise endpoints.ConnectionClosedError(_closed(error, self.endpoint)) from error
        self._used = time.monotonic()
        return answer

    def _send(self, parts: Sequence[bytes]) -> None:
        """Send everything, or raise OSError."""
        total = sum(map(len, parts))
        read_s = self.endpoint.read_s
        deadline = time.monotonic() + read_s + total / _SEND_BYTES_PER_S_MIN
        for part in parts:
            view = memoryview(part)
            while view:  # TLS takes 16 KiB at a time
                if time.monotonic() >= deadline:
                    raise TimeoutError
                try:
                    view = view[self._socket.send(view) :]
                except _WOULD_WAIT as busy:
                    self._wait(
                        _event(busy, select.POLLOUT), min(deadline, time.monotonic() + read_s)
                    )

    def _early_answer(self, error: OSError) -> http1.Answer:
        """Return the answer to a request that could not be sent whole, or raise its error.

        A service that refuses a request may answer and close before it has read the body.
        """
        self.keeps_alive = False
        wait_s = min(1.0, self.endpoint.read_s)
        try:
            answer = self._read_answer(time.monotonic() + wait_s)
        except (OSError, EOFError, http1.UnreadableAnswerError):
            raise error from None
        if answer.status < 300:
            raise error  # to what? It has not got the request
        return answer

    def _read_answer(self, deadline: float) -> http1.Answer:
        for _ in range(_INTERIM_MAX):
            status, headers, keeps_alive = self._read_head(deadline)
            if not 100 <= status < 200:
                break
        else:
            raise http1.UnreadableAnswerError("too many interim answers")
        answer = http1.Answer(status, headers, b"", is_whole=True)
        if status in {204, 304}:
            self.keeps_alive &= keeps_alive
        elif "transfer-encoding" in headers:
            self.keeps_alive = False  # AWS never does it to these calls; some proxy may
            answer.body = self._read_chunks(headers, deadline)
        elif "content-length" in headers:
            self.keeps_alive &= keeps_alive
            answer.body = self._read_exactly(http1.length_of(headers["content-length"]), deadline)
        else:
            self.keeps_alive = False
            answer.is_whole = False
            answer.body = self._read_to_end(deadline)
        return answer

    def _read_head(self, deadline: float) -> tuple[int, dict[str, str], bool]:
        """Return status, headers and whether the connection stays open."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > _HEAD_BYTES_MAX:
                raise http1.UnreadableAnswerError("the head of the answer is too long")
            self._receive(deadline)
        head = bytes(self._received[:end]).decode("latin-1")
        del self._received[: end + 4]
        return http1.parse_head(head)

    def _read_exactly(self, size: int, deadline: float) -> bytes:
        """Return the next bytes of the body."""
        pieces = [bytes(self._received[:size])]
        del self._received[:size]
        left = size - len(pieces[0])
        while left:
            pieces.append(self._receive_some(min(left, _RECEIVE_BYTES), deadline))
            left -= len(pieces[-1])
        return b"".join(pieces)

    def _read_to_end(self, deadline: float) -> bytes:
        while len(self._received) <= http1.ANSWER_BYTES_MAX:
            try:
                self._receive(deadline)
            except EOFError:
                return bytes(self._received)
        raise http1.UnreadableAnswerError("the answer is too long")

    def _read_chunks(self, headers: Mapping[str, str], deadline: float) -> bytes:
        if headers["transfer-encoding"].lower() != "chunked" or "content-length" in headers:
            raise http1.UnreadableAnswerError("the answer's length is not clear")
        body = bytearray()
        while size := http1.chunk_size(self._read_line(deadline)):
            if len(body) + size > http1.ANSWER_BYTES_MAX:
                raise http1.UnreadableAnswerError("the answer is too long")
            body += self._read_exactly(size, deadline)
            if self._read_line(deadline):
                raise http1.UnreadableAnswerError("a chunk is longer than it says")
        for _ in range(_TRAILERS_MAX):
            if not self._read_line(deadline):
                return bytes(body)
        raise http1.UnreadableAnswerError("too many trailers")

    def _read_line(self, deadline: float) -> bytes:
        while (end := self._received.find(b"\r\n")) < 0:
            if len(self._received) > _HEAD_BYTES_MAX:
                raise http1.UnreadableAnswerError("a line of the answer is too long")
            self._receive(deadline)
        line = bytes(self._received[:end])
        del self._received[: end + 2]
        return line

    def _receive(self, deadline: float) -> None:
        self._received += self._receive_some(_RECEIVE_BYTES, deadline)

    def _receive_some(self, size: int, deadline: float) -> bytes:
        """Return some bytes; raise EOFError at the end, TimeoutError at the deadline."""
        while time.monotonic() < deadline:
            try:
                some = self._socket.recv(size)
            except _WOULD_WAIT as busy:
                self._wait(_event(busy, select.POLLIN), deadline)
                continue
            if not some:
                raise EOFError
            return some
        raise TimeoutError

    def _wait(self, event: int, until: float) -> None:
        """Wait until the socket is ready, or may be; raise TimeoutError when it is not in time."""
        left_s = max(0.0, until - time.monotonic())
        with self._turn.lent():
            self._poll.modify(self._socket, event)
            if not self._poll.poll(left_s * 1000):
                raise TimeoutError


def _event(busy: OSError, wanted: int) -> int:
    """Return what a call waits for; TLS may have to read in order to write."""
    if isinstance(busy, ssl.SSLWantReadError):
        return select.POLLIN
    return select.POLLOUT if isinstance(busy, ssl.SSLWantWriteError) else wanted


def _closed(error: Exception, endpoint: endpoints.Endpoint) -> str:
    why = f": {error}" if str(error) else ""
    return f"the connection was closed before a complete answer: {endpoint.url}{why}"
