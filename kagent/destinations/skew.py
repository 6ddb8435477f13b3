"""How far this host's clock is from the service's, learned when the service says that it is wrong.

A signature is good for five minutes. Whoever signs with the service's time instead of the host's
goes on delivering on a host whose clock is wrong; the log says so each time it is learned, because
certificates and log times suffer as well. It is learned again when the clock is set right.
"""

from __future__ import annotations

import email.utils
import logging
import time
from collections.abc import Callable

_LOG = logging.getLogger(__name__)


class Skew:
    """The difference between two clocks; any thread may call it."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        """Start with a clock that is right."""
        self._wall = wall
        self.offset_s = 0.0  # to be added to this host's time

    def now(self) -> float:
        """Return the service's time, in seconds since the epoch."""
        return self._wall() + self.offset_s

    def learn(self, date: str) -> None:
        """Take in the Date of an answer that called this host's time wrong."""
        try:
            said = email.utils.parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError):
            return
        self.offset_s = said - self._wall()
        _LOG.warning(
            "clock is wrong offset_s=%.0f; requests are signed with the service's time;"
            " hint: start chronyd or systemd-timesyncd",
            self.offset_s,
        )
