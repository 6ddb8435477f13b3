"""The demo's daemon: a real `kagent run` as a child, its configuration, what its database says.

The child sees none of the user's AWS settings, only credentials made up for this run. It dies with
the demo, whatever the demo dies of.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import types
from collections.abc import Mapping
from typing import Self

import kagent
from kagent.cli import demo_account

CONFIG_NAME = "kagent.yaml"
LOG_NAME = "daemon.log"
CA_NAME = "ca.pem"
_STOP_S = 10.0
_LOG_TAIL_LINES = 8
# Settings of the user's own, which must not reach the child: AWS's, proxies', systemd's.
_FOREIGN_PREFIXES = ("AWS_", "BOTO", "KAGENT_", "WATCHDOG_")
_FOREIGN_SUFFIXES = ("_PROXY", "_DIRECTORY")
_FOREIGN = {"NOTIFY_SOCKET", "JOURNAL_STREAM", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}
# Runs a command that the kernel kills when its parent has died of anything, SIGKILL included.
# `preexec_fn` could do it too, but is not safe in a process with threads.
_BOUND_TO_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1  # see prctl(2); it survives execv
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the demo is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

_CONFIGURATION = """\
# Written by `kagent demo`. Two flows, to a Kinesis and a Firehose that ran on this machine only.
state_dir: {state_dir}
drain_timeout: 5s

aws:
  region: {region}
  endpoint_url: {endpoint_url}  # with AWS itself, leave this and the next line out
  ca_bundle: {ca_bundle}

metrics:
  cloudwatch: {{interval: 10s}}

flows:
  - name: web
    source:
      # shop.log, and shop.log.1 after its rotation
      paths: [{web_paths}]
      start_at: beginning
    batch: {{max_age: 250ms}}
    destination: {{kinesis: {{stream: web-logs}}}}

  - name: audit
    source:
      # login.log; after its rotation that file has no name that matches, and is read to its end
      paths: [{audit_paths}]
      start_at: beginning
    batch: {{max_age: 500ms}}
    destination: {{firehose: {{delivery_stream: audit-logs}}}}
"""


class DaemonError(Exception):
    """The daemon did what it must not do."""


class Daemon:
    """Owns the child process and its log; leaves no process behind."""

    def __init__(self, directory: str, environ: Mapping[str, str]) -> None:
        """Start nothing yet.

        Args:
            directory: Where everything of the demo lies.
            environ: The child's whole environment.
        """
        self.directory = directory
        self.config_path = os.path.join(directory, CONFIG_NAME)
        self.log_path = os.path.join(directory, LOG_NAME)
        self._command = [sys.executable, "-m", "kagent", "run", "-c", self.config_path]
        self.environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, endpoint_url: str, ca_file: str, region: str) -> None:
        """Write its configuration, and put the CA's certificate beside it.

        Args:
            endpoint_url: Of the services.
            ca_file: The certificate that theirs is checked with.
            region: That they are in.
        """
        ca_bundle = os.path.join(self.directory, CA_NAME)
        shutil.copyfile(ca_file, ca_bundle)
        text = _CONFIGURATION.format(
            state_dir=_quoted(self.directory, "state"),
            region=region,
            endpoint_url=endpoint_url,
            ca_bundle=_quoted(ca_bundle),
            web_paths=_quoted(self.directory, "logs", "web", "*.log*"),
            audit_paths=_quoted(self.directory, "logs", "audit", "*.log"),
        )
        with open(self.config_path, "w") as file:
            file.write(text)

    def start(self) -> None:
        """Start it; it is not ready yet when this returns."""
        assert self._process is None
        bound = [sys.executable, "-I", "-S", "-c", _BOUND_TO_PARENT, str(os.getpid())]
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- nothing in it comes from outside
                bound + self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.environ),
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C is the demo's; it then ends the daemon
            )

    def check(self) -> None:
        """Raise DaemonError if it should run and does not."""
        if self._process is not None and self._process.poll() is not None:
            code, self._process = self._process.returncode, None
            raise DaemonError(f"the daemon ended by itself with exit code {code}")

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.check()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it with SIGTERM, as systemd does.

        Raises:
            DaemonError: it took too long, or its exit code was not 0.
        """
        self.check()
        assert self._process is not None
        self._process.terminate()
        try:
            code = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            raise DaemonError(
                f"the daemon did not end within {_STOP_S:.0f} s of SIGTERM"
            ) from None
        self._process = None
        if code != 0:
            raise DaemonError(f"the daemon ended with exit code {code} after SIGTERM, expected 0")

    def settled(self) -> dict[demo_account.FileKey, list[tuple[int, int]]]:
        """Return what its database says is settled; see `settled_in`. It must not run."""
        assert self._process is None
        database = os.path.join(self.directory, "state", "checkpoints.db")
        return settled_in(database, os.path.join(self.directory, "state-at-the-kill"))

    def end(self) -> None:
        """Leave no process behind, whatever it was doing."""
        with contextlib.suppress(DaemonError):
            self.kill()

    def log_tail(self) -> str:
        """Return the last lines of its log, which is small."""
        with contextlib.suppress(OSError), open(self.log_path, errors="replace") as log:
            return "".join(collections.deque(log, _LOG_TAIL_LINES))
        return ""

    def bugs(self) -> int:
        """Return how many tracebacks its log shows."""
        with contextlib.suppress(OSError), open(self.log_path, errors="replace") as log:
            return sum("Traceback (most recent call last)" in line for line in log)
        return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: types.TracebackType | None,
    ) -> None:
        self.end()


def _quoted(*parts: str) -> str:
    """Return a path as YAML: JSON is YAML, too."""
    return json.dumps(os.path.join(*parts))


def clean_environ(environ: Mapping[str, str], access_key: str, secret_key: str) -> dict[str, str]:
    """Return an environment for a child, without anyone's AWS settings but these credentials."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.upper().startswith(_FOREIGN_PREFIXES)
        and not name.upper().endswith(_FOREIGN_SUFFIXES)
        and name not in _FOREIGN
    }
    root = os.path.dirname(os.path.dirname(os.path.abspath(kagent.__file__)))
    if root == os.path.abspath(sys.path[0]):  # run from a checkout that may not be installed
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [root, kept.get("PYTHONPATH")]))
    return kept | {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "*",
    }


def settled_in(
    database_path: str, copy_dir: str
) -> dict[demo_account.FileKey, list[tuple[int, int]]]:
    """Return what a database says is settled, by file: byte ranges [start, end).

    Nobody may be writing to it. A copy is read: opening a database replays its log, and that is
    for the next daemon to do.
    """
    os.makedirs(copy_dir)
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(database_path + suffix, copy_dir)
    copy = os.path.join(copy_dir, os.path.basename(database_path))
    settled: dict[demo_account.FileKey, list[tuple[int, int]]] = collections.defaultdict(list)
    with contextlib.closing(sqlite3.connect(copy)) as database:
        columns = "flow, device, inode, start, offset, ranges"
        for flow, device, inode, start, offset, ranges in database.execute(
            f"SELECT {columns} FROM checkpoint"  # noqa: S608 -- a constant
        ):
            above = [(first, end) for first, end, _ in json.loads(ranges)]
            settled[flow, int(device), int(inode)] += [(start, offset), *above]
    return settled
