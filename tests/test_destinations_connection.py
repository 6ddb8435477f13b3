"""One connection against a peer that says exactly what it is told to, byte for byte."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

import pytest
from daemon import wait_until

from kagent.destinations import connection, endpoint, http1, turn

REQUEST = [b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n", b"body"]
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
RESET = struct.pack("ii", 1, 0)

Say = Callable[[socket.socket], None]


def reads(request_bytes: int, answer: bytes, *, then_closes: bool = False) -> Say:
    """Return a peer that reads so much, answers, and stays or goes."""

    def say(sock: socket.socket) -> None:
        left = request_bytes
        while left:
            left -= len(sock.recv(left))
        sock.sendall(answer)
        if then_closes:
            sock.close()

    return say


class Peer:
    """Listens, and plays one part of the script for each request or connection."""

    def __init__(self, *script: Say) -> None:
        self._script = list(script)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.connections = 0
        port = self._listener.getsockname()[1]
        self.place = endpoint.Endpoint("http://peer", "127.0.0.1", port, None, None, 1.0, 0.5)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        for sock in self._sockets:
            sock.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while self._script:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._sockets.append(sock)
                while self._script and sock.fileno() >= 0 and self._is_asked(sock):
                    self._script.pop(0)(sock)

    @staticmethod
    def _is_asked(sock: socket.socket) -> bool:
        select.select([sock], [], [])
        return bool(sock.recv(1, socket.MSG_PEEK))


@contextlib.contextmanager
def connected(*script: Say) -> Iterator[connection.Connection]:
    mine = turn.Turn()
    with (
        Peer(*script) as peer,
        contextlib.closing(connection.Connection(peer.place, mine)) as link,
        mine,
    ):
        yield link


REQUEST_BYTES = sum(map(len, REQUEST))


@pytest.mark.parametrize(
    ("said", "status", "body", "keeps_alive"),
    [
        pytest.param(GOOD, 200, b"{}", True, id="plain"),
        pytest.param(
            b"HTTP/1.1 200\r\nCONTENT-length:2 \r\nConnection: Close\r\n\r\n{}",
            200,
            b"{}",
            False,
            id="said to close",
        ),
        pytest.param(
            b"HTTP/1.0 403 No\r\nContent-Length: 2\r\n\r\n{}", 403, b"{}", False, id="HTTP/1.0"
        ),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + GOOD,
            200,
            b"{}",
            True,
            id="interim answers",
        ),
        pytest.param(
            b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2;x=y\r\n{}\r\n1\r\n \r\n0\r\nTrailer: x\r\n\r\n",
            500,
            b"{} ",
            False,
            id="chunked",
        ),
        pytest.param(b"HTTP/1.1 204 None\r\n\r\n", 204, b"", True, id="no content"),
        pytest.param(
            b"HTTP/1.1 307 Elsewhere\r\nLocation: https://evil.example/\r\n"
            b"Content-Length: 0\r\n\r\n",
            307,
            b"",
            True,
            id="a redirect is not followed",
        ),
    ],
)
def test_an_answer_is_read_as_it_was_sent(
    said: bytes, status: int, body: bytes, keeps_alive: bool
) -> None:
    """Whatever HTTP/1.1 allows to AWS and to what stands in between."""
    with connected(reads(REQUEST_BYTES, said)) as link:
        answer = link.exchange(REQUEST)

        assert (status, body, True) == (answer.status, answer.body, answer.is_whole)
        assert keeps_alive == link.is_reusable()


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    """And is never taken for whole: it may have been cut."""
    said = b"HTTP/1.1 200 OK\r\n\r\n{}"
    with connected(reads(REQUEST_BYTES, said, then_closes=True)) as link:
        answer = link.exchange(REQUEST)

        assert (b"{}", False, False) == (answer.body, answer.is_whole, link.is_reusable())


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/2 200\r\n\r\n", id="another version"),
        pytest.param(b"HTTP/1.1 OK\r\n\r\n", id="no status"),
        pytest.param(b"HTTP/1.1 2000 OK\r\n\r\n", id="a status of four digits"),
        pytest.param(b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", id="no colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", id="folded"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}", id="a signed length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}", id="a list of lengths"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            id="two lengths",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", id="too long"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, id="an endless header"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 9, id="endless interim answers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", id="another encoding"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
            id="chunked and a length",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", id="a chunk of xyz"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n", id="a long chunk"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
            id="a chunk longer than it says",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 100_000,
            id="an endless line",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 200,
            id="endless trailers",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000_000, id="no length and no end"),
    ],
)
def test_nonsense_is_an_error(said: bytes) -> None:
    """What is no answer of HTTP/1.1 is never half an answer."""

    def say(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # we do not read to the end of it
            reads(REQUEST_BYTES, said)(sock)

    with connected(say) as link, pytest.raises(http1.UnreadableAnswerError):
        link.exchange(REQUEST)


@pytest.mark.parametrize("cut", range(0, len(GOOD), 7))
def test_a_cut_answer_is_a_closed_connection(cut: int) -> None:
    """Wherever it was cut."""
    with (
        connected(reads(REQUEST_BYTES, GOOD[:cut], then_closes=True)) as link,
        pytest.raises(endpoint.ConnectionClosedError),
    ):
        link.exchange(REQUEST)


def test_silence_is_a_time_out() -> None:
    """A peer that never answers is given up after `read_s`."""
    with (
        connected(reads(REQUEST_BYTES, b"")) as link,
        pytest.raises(endpoint.ReadTimeoutError, match=r"within 0\.5 s"),
    ):
        link.exchange(REQUEST)


def test_an_answer_that_drips_is_a_time_out() -> None:
    """A byte now and then does not keep a call alive: the whole answer has `read_s`."""
    over = threading.Event()

    def drip(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.05):
                sock.sendall(b"H")

    begun = time.monotonic()
    with connected(drip) as link:
        with pytest.raises((endpoint.ReadTimeoutError, http1.UnreadableAnswerError)):
            link.exchange(REQUEST)
        over.set()

    assert time.monotonic() - begun < 10


def test_a_peer_that_does_not_read_is_a_time_out() -> None:
    """A body that nobody takes is given up, too."""
    over = threading.Event()
    with connected(lambda _: over.wait(20)) as link:  # type: ignore[arg-type,return-value]
        with pytest.raises(endpoint.ReadTimeoutError):
            link.exchange([b"x" * 30_000_000])
        over.set()


@pytest.mark.parametrize(
    "size", [1, 30_000_000], ids=["for the answer", "until the body is taken"]
)
def test_others_may_compute_while_one_waits(size: int) -> None:
    """Who waits for the network lends his turn, and has it again when the wait is over."""
    mine, other_computed = turn.Turn(), threading.Event()
    request = [b"x" * size]

    def compute() -> None:
        with mine:
            other_computed.set()

    def say(sock: socket.socket) -> None:
        assert other_computed.wait(10)
        reads(size, GOOD)(sock)

    with Peer(say) as peer, contextlib.closing(connection.Connection(peer.place, mine)) as link:
        with mine:
            thread = threading.Thread(target=compute)
            thread.start()
            answer = link.exchange(request)
            is_mine = mine.is_taken
        thread.join(10)

    assert (200, True) == (answer.status, is_mine)
    assert not mine.is_taken


def test_an_early_answer_is_read() -> None:
    """A service that refuses before it has read the body, and goes, is heard all the same."""

    def refuse(sock: socket.socket) -> None:
        sock.recv(10)
        sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}")
        sock.close()  # with unread bytes: this resets the connection

    with connected(refuse) as link:
        answer = link.exchange([*REQUEST, b"x" * 30_000_000])

        assert (403, b"{}") == (answer.status, answer.body)
        assert not link.is_reusable()


def test_an_early_success_is_none() -> None:
    """Who says 200 to half a request has not understood it."""

    def accept(sock: socket.socket) -> None:
        sock.recv(10)
        sock.sendall(GOOD)
        sock.close()

    with connected(accept) as link, pytest.raises(endpoint.ConnectionClosedError):
        link.exchange([*REQUEST, b"x" * 30_000_000])


def test_a_reset_is_a_closed_connection() -> None:
    """Without an answer, whatever was sent."""

    def reset(sock: socket.socket) -> None:
        sock.recv(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()

    with connected(reset) as link, pytest.raises(endpoint.ConnectionClosedError):
        link.exchange([*REQUEST, b"x" * 1_000_000])


def test_a_connection_is_used_again() -> None:
    """Three requests, one connection."""
    say = reads(REQUEST_BYTES, GOOD)
    with connected(say, say, say) as link:
        for _ in range(3):
            assert link.is_reusable()
            assert b"{}" == link.exchange(REQUEST).body


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(lambda sock: sock.close(), id="closed meanwhile"),
        pytest.param(lambda sock: sock.sendall(GOOD), id="an answer nobody asked for"),
    ],
)
def test_a_readable_connection_is_not_used_again(after: Say) -> None:
    """What has ended, or speaks without being asked, is left alone."""

    def say(sock: socket.socket) -> None:
        reads(REQUEST_BYTES, GOOD)(sock)
        after(sock)

    with connected(say) as link:
        link.exchange(REQUEST)

        wait_until(lambda: not link.is_reusable(), "the end to be noticed", 10)


def test_bytes_behind_an_answer_end_the_connection() -> None:
    """A second answer in the same packet is not the answer to the next request."""
    with connected(reads(REQUEST_BYTES, GOOD + GOOD)) as link:
        link.exchange(REQUEST)

        assert not link.is_reusable()


@pytest.mark.parametrize(
    ("name", "allowed_s"), [("_used", connection.IDLE_S), ("_opened", connection.AGE_S)]
)
def test_an_old_connection_is_not_used_again(name: str, allowed_s: float) -> None:
    """Idle for 5 s, or 5 minutes old: load balancers and DNS may have moved on."""
    with connected(reads(REQUEST_BYTES, GOOD)) as link:
        link.exchange(REQUEST)
        assert link.is_reusable()

        setattr(link, name, getattr(link, name) - allowed_s)

        assert not link.is_reusable()
