"""What systemd is told of the daemon: sd_notify(3) over a datagram socket, without a library.

Only news goes out and nothing is ever waited for: without NOTIFY_SOCKET nothing happens, and an
error is none of the daemon's business. It would show as a start that systemd never sees finished.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

_SEND_TIMEOUT_S = 1.0  # systemd may be busy, but the main thread has signals to answer


class SystemdNotifier:
    """Speaks to the service manager that started this process, if one did; never raises."""

    def __init__(self, environment: Mapping[str, str], process_id: int, clock) -> None:
