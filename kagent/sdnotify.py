"""What the service manager is told: sd_notify(3) over a datagram socket, without a library.

Telling is all it does. Without NOTIFY_SOCKET nothing happens, and an error is swallowed: no line
is delivered later because systemd could not be told.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

from kagent import model

_SEND_TIMEOUT_S = 1.0  # systemd may be slow to read, and the main thread has signals to answer


class Notifier:
    """Speaks to the service manager that started this process, if one did. Never raises."""

    def __init__(self, environment: Mapping[str, str], clock: model.Clock) -> None:
        self._environment = environment
        self._clock = clock

    def ready(self, status: str) -> None:
        """Say that the start, or a reload, is complete."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, status: str) -> None:
        """Say in a line, for `systemctl status`, what the daemon does."""
        self._send(f"STATUS={_one_line(status)}")

    def reloading(self) -> None:
        """Say that a reload begins; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")

    def stopping(self, status: str) -> None:
        """Say that the daemon drains and will end."""
        self._send(f"STOPPING=1\nSTATUS={_one_line(status)}")

    def watchdog(self) -> None:
        """Say that the daemon is alive; without it systemd restarts the daemon."""
        self._send("WATCHDOG=1")

    def watchdog_interval_s(self) -> float | None:
        """Return how often `watchdog` is due: half of what systemd waits; None if it does not."""
        if self._environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return None  # meant for the process that started this one
        try:
            timeout_us = int(self._environment.get("WATCHDOG_USEC", "0"))
        except ValueError:
            return None
        return timeout_us / 2e6 if timeout_us > 0 else None

    def _send(self, message: str) -> None:
        address = os.fsencode(self._environment.get("NOTIFY_SOCKET", ""))
        if not address:
            return
        if address.startswith(b"@"):  # a name in the kernel instead of one in the file system
            address = b"\0" + address[1:]
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify,
        ):
            notify.settimeout(_SEND_TIMEOUT_S)
            notify.sendto(message.encode("utf-8", "replace"), address)


def _one_line(text: str) -> str:
    """Return the text without line ends, which would begin another assignment."""
    return " ".join(text.split())
