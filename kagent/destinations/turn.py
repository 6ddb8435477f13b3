"""Whose turn it is to compute: one sender of a flow at a time; the others wait for the network.

Python's own lock is let go, and mostly taken again at once, for each record that goes through
base64 and for each 16 KiB that go through TLS. When several senders compute, each of these times
one of them is woken for nothing: 42 switches for a request of 500 lines, a quarter of all CPU
time. There is little to gain from it, as all of that work but TLS and hashing needs Python's lock.

It protects no data: whoever computes out of turn costs CPU time, and nothing else.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Turn:
    """The turn of one destination's senders; a context manager that waits for it."""

    def __init__(self) -> None:
        """Begin with nobody's turn."""
        self._taken = threading.Lock()

    @property
    def is_taken(self) -> bool:
        """It is somebody's turn now."""
        return self._taken.locked()

    def __enter__(self) -> None:
        """Wait for the turn and take it."""
        self._taken.acquire()

    def __exit__(self, *_: object) -> None:
        """Give it to whoever waits."""
        self._taken.release()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Let others compute while the one whose turn it is waits for the network."""
        self._taken.release()
        try:
            yield
        finally:
            self._taken.acquire()
