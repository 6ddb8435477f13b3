"""The real daemon as a child process, beside a local service in this one: for end-to-end tests."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import yaml

from kagent import local

DEADLINE_S = 60.0
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": local.ServiceOptions().access_key,
    "AWS_SECRET_ACCESS_KEY": local.ServiceOptions().secret_key,
}


def wait_until(
    fact: Callable[[], object],
    what: str,
    deadline_s: float = DEADLINE_S,
    more: Callable[[], str] = str,
) -> None:
    """Poll until something is true; fail with what it was about when it does not become so.

    More is asked for when it fails, and not before.
    """
    end = time.monotonic() + deadline_s
    while not fact():
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what}{more()}")
        time.sleep(0.02)


def _inherited() -> dict[str, str]:
    """Return what a child needs of this environment: nothing of AWS, for one."""
    wanted = ("PATH", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if name.startswith(wanted)}


@dataclasses.dataclass
class Daemon:
    """One directory with logs, state and configuration, and the daemon that runs on it."""

    root: pathlib.Path
    service: local.Service
    server: local.Server
    process: subprocess.Popen[bytes] | None = None
    prefix: Sequence[str] = ()  # of the command, such as setpriv's
    environ: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def config(self) -> pathlib.Path:
        return self.root / "kagent.yaml"

    @property
    def log(self) -> str:
        """Everything that the daemon logged so far."""
        return (
            (self.root / "daemon.log").read_text() if (self.root / "daemon.log").exists() else ""
        )

    @property
    def lines(self) -> list[bytes]:
        """Every line that the stream accepted."""
        return b"".join(self.service.records("web")).splitlines(keepends=True)

    def path(self, name: str) -> pathlib.Path:
        """Return a path among the logs, its directory made."""
        path = self.root / "log" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def configure(self, *flows: dict[str, object], **more: object) -> None:
        """Write the configuration: these flows, or one over log/*.log from the beginning."""
        aws = {"region": "eu-west-1", "endpoint_url": self.server.endpoint_url}
        if self.server.ca_file:
            aws["ca_bundle"] = str(self.server.ca_file)
        tree: dict[str, object] = {
            "state_dir": str(self.root / "state"),
            "aws": aws,
            "metrics": {"cloudwatch": {"level": "none"}},
            "flows": list(flows) or [self.flow()],
            **more,
        }
        self.config.write_text(yaml.safe_dump(tree))

    def flow(self, **more: object) -> dict[str, object]:
        """Return a flow over log/*.log into the stream, with some keys of its own."""
        return {
            "name": "web",
            "source": {"paths": [f"{self.root}/log/*.log"], "start_at": "beginning"},
            "destination": {"kinesis": {"stream": "web"}},
            "batch": {"max_age": "100ms"},
            **more,
        }

    def start(self) -> None:
        """Start `kagent run`; its log is added to daemon.log."""
        assert self.process is None
        with (self.root / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *(sys.executable, "-m", "kagent", "run", "-c", str(self.config))],
                stderr=log,
                env={**_inherited(), **CREDENTIALS, **self.environ},
            )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit code."""
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(number)
        return process.wait(DEADLINE_S)

    def wait_for_log(self, text: str) -> None:
        """Wait until the daemon logged a text."""
        wait_until(lambda: text in self.log, f"{text!r} in the log", more=self._end_of_log)

    def wait_for_lines(self, count: int) -> None:
        """Wait until the stream has so many different lines."""
        wait_until(
            lambda: self.service.counts()["streams"]["web"]["lines_distinct"] >= count,
            f"{count} lines",
            more=self._end_of_log,
        )

    def _end_of_log(self) -> str:
        return f"; the log ends with:\n{self.log[-2000:]}"

    def peak_memory_bytes(self) -> int:
        """Return the most memory that the daemon had resident."""
        assert self.process is not None
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    def offsets(self) -> dict[str, int]:
        """Return the saved offset of each file, by its name."""
        database = self.root / "state" / "checkpoints.db"
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as found:
            rows = found.execute(
                "SELECT inode, offset FROM checkpoint WHERE NOT was_unlinked"
            ).fetchall()
        names = {str(path.lstat().st_ino): path.name for path in self.root.glob("log/**/*")}
        return {names[inode]: offset for inode, offset in rows if inode in names}


@contextlib.contextmanager
def running(root: pathlib.Path, service: local.Service) -> Iterator[Daemon]:
    """Serve, hand out a daemon that is not started yet, and leave nothing running."""
    with service.listen() as server:
        daemon = Daemon(root, service, server)
        try:
            yield daemon
        finally:
            if daemon.process is not None:
                daemon.process.kill()
                daemon.process.wait()


@contextlib.contextmanager
def notify_socket(root: pathlib.Path) -> Iterator[socket.socket]:
    """Listen as systemd does for what the daemon says of itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(root / "notify"))
        listening.settimeout(DEADLINE_S)
        yield listening
