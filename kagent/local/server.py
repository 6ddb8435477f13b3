"""The listening socket, its threads, and their end.

A thread for each connection: regular clients keep a few dozen of them open. `close` ends every
thread and socket, whatever they wait for, and returns when they have. The threads are daemons
only so that a forgotten `close` does not keep a process alive.
"""

from __future__ import annotations

import socket
import threading
import types
from typing import Self

from kagent.local import certificate, connection

_ACCEPT_BACKLOG = 512


class Server:
    """Owns the listening socket and the connections. Open it once, close it once."""

    def __init__(
        self,
        application: connection.Application,
        host: str,
        port: int,
        *,
        identity: certificate.Identity | None,
        idle_timeout_s: float,
        connections_max: int,
    ) -> None:
        self._application = application
        self._host = host
        self._port = port
        self._context = identity.context if identity else None
        self.ca_file = identity.ca_file if identity else None  # what a client has to trust
        self._idle_timeout_s = idle_timeout_s
        self._connections_max = connections_max
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, connection.Connection] = {}
        self.connections_accepted = 0

    def open(self) -> None:
        """Listen, and serve until `close`; the port is known when this returns."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = socket.create_server(
            (self._host, self._port), family=family, backlog=_ACCEPT_BACKLOG
        )
        self._port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(
            target=self._accept, name="kagent-local-accept", daemon=True
        )
        self._acceptor.start()

    def close(self) -> None:
        """End every connection and thread; closing twice does no harm."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            open_now = dict(self._connections)
        for open_connection in open_now.values():
            open_connection.abort()
        for thread in open_now:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: types.TracebackType | None,
    ) -> None:
        self.close()

    @property
    def endpoint_url(self) -> str:
        """Return what a client's endpoint_url shall be."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._context else 'http'}://{host}:{self._port}"

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except ConnectionError:
                continue  # the client gave up before we came to it
            except OSError:
                return  # closed
            with self._lock:
                self.connections_accepted += 1
                is_full = len(self._connections) >= self._connections_max
            if is_full:
                sock.close()
            else:
                self._start(sock)

    def _start(self, sock: socket.socket) -> None:
        """Serve one connection in a thread of its own."""
        sock.settimeout(self._idle_timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        served = connection.Connection(sock, self._application, self._stopping)
        thread = threading.Thread(
            target=self._serve, args=(served,), name="kagent-local", daemon=True
        )
        with self._lock:
            self._connections[thread] = served
        thread.start()

    def _serve(self, served: connection.Connection) -> None:
        try:
            served.serve()
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]
