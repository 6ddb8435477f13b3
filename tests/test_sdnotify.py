"""What arrives at the socket of a service manager, played by the test."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kagent import sdnotify, system


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket, and its address as systemd writes it into NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@kagent-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0"))
        listening.settimeout(10.0)
        yield listening, name


def notifier(**environment: str) -> sdnotify.Notifier:
    return sdnotify.Notifier(environment, system.SystemClock())


def test_news_arrives_as_systemd_reads_it(manager: tuple[socket.socket, str]) -> None:
    """Each piece of news is one datagram of assignments; a status is one line whatever it says."""
    listening, name = manager
    telling = notifier(NOTIFY_SOCKET=name)

    telling.ready("2 flows")
    telling.status("web: blocked\nREADY=1 \udcff")
    telling.watchdog()
    telling.stopping("draining")

    assert [listening.recv(999) for _ in range(4)] == [
        b"READY=1\nSTATUS=2 flows",
        b"STATUS=web: blocked READY=1 ?",
        b"WATCHDOG=1",
        b"STOPPING=1\nSTATUS=draining",
    ]


def test_reload_carries_the_time_that_it_began(manager: tuple[socket.socket, str]) -> None:
    """The manager orders a reload by CLOCK_MONOTONIC in microseconds."""
    listening, name = manager
    before = time.monotonic_ns() // 1000

    notifier(NOTIFY_SOCKET=name).reloading()

    reloading, moment = listening.recv(999).decode().split("\nMONOTONIC_USEC=")
    assert reloading == "RELOADING=1"
    assert before - 1 <= int(moment) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({}, id="not started by systemd"),
        pytest.param({"NOTIFY_SOCKET": "/nowhere/notify"}, id="nobody listens"),
        pytest.param({"NOTIFY_SOCKET": "/" + "x" * 200}, id="no address of a socket"),
        pytest.param({"NOTIFY_SOCKET": "vsock:2:1234"}, id="a kind of socket not known here"),
    ],
)
def test_nobody_to_tell_is_no_error(environment: dict[str, str]) -> None:
    """In a terminal, in a container, or with systemd gone the daemon runs all the same."""
    telling = notifier(**environment)

    telling.ready("2 flows")
    telling.watchdog()


def test_manager_that_does_not_read_does_not_hang_the_daemon(tmp_path: Path) -> None:
    """When the queue of the socket is full the news is given up after a second."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filling:
            filling.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    filling.sendto(b"x", str(tmp_path / "notify"))
            started = time.monotonic()

            notifier(NOTIFY_SOCKET=str(tmp_path / "notify")).watchdog()

    assert time.monotonic() - started < 5.0


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, None, id="no watchdog"),
        pytest.param({"WATCHDOG_USEC": "30000000"}, 15.0, id="half of the time-out"),
        pytest.param(
            {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0, id="for us"
        ),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None, id="for another"),
        pytest.param({"WATCHDOG_USEC": "0"}, None, id="switched off"),
        pytest.param({"WATCHDOG_USEC": "soon"}, None, id="no number"),
    ],
)
def test_watchdog_is_due_at_half_its_time_out(
    environment: dict[str, str], expected: float | None
) -> None:
    """sd_watchdog_enabled(3) recommends half, so that one late ping is no restart."""
    interval_s = notifier(**environment).watchdog_interval_s()

    assert interval_s == expected
