"""The real logrotate over a real file, a writer that reopens it or does not, and a flow.

A case says how logrotate rotates, what the writer does about it, and what kagent is doing
meanwhile. `run` plays it and accounts for every line that was written:

    lost         nobody may lose it
    destroyed    written to a file that was compressed or deleted already, while kagent was down
                 or after it had let the file go: 10 s of silence after it has no name any more
    duplicated   delivered twice

Nothing is written between copytruncate's copy and its truncate here: that race is nobody's but
logrotate's, and is measured apart (`tests/campaign/rotations.py`).
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Literal

from real_files import Host

ROTATIONS = 3
BURST = 120  # lines; more than the buffer has room for
LATE = 15  # lines that a late writer still writes to the old file


@dataclasses.dataclass(frozen=True)
class Case:
    """One way to rotate, to write and to be."""

    method: Literal["create", "copytruncate", "copy"]
    compress: Literal["no", "compress", "delaycompress"]
    dateext: bool
    olddir: bool
    writer: Literal["at once", "late", "never"]  # reopens
    kagent: Literal["running", "throttled", "down"]

    def __str__(self) -> str:
        words = [self.method, self.compress if self.compress != "no" else "plain"]
        words += ["dateext"] * self.dateext + ["olddir"] * self.olddir
        return f"{' '.join(words)}, writer {self.writer}, kagent {self.kagent}"


def all_cases() -> Iterator[Case]:
    """Yield the full cross product; a writer that is truncated or copied has nothing to reopen."""
    for method, compress, dateext, olddir, kagent in itertools.product(
        ("create", "copytruncate", "copy"),
        ("no", "compress", "delaycompress"),
        (False, True),
        (False, True),
        ("running", "throttled", "down"),
    ):
        for writer in ("at once", "late", "never") if method == "create" else ("never",):
            yield Case(method, compress, dateext, olddir, writer, kagent)  # type: ignore[arg-type]


@dataclasses.dataclass
class Outcome:
    """What became of the lines of a case."""

    written: int
    lost: list[bytes]
    destroyed: list[bytes]
    duplicated: list[bytes]
    foreign: list[bytes]  # delivered and never written
    abandoned_bytes: int  # that kagent said are lost

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.duplicated or self.foreign)


class Writer:
    """Writes numbered lines through one descriptor, as a daemon does."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.written: list[bytes] = []
        self.destroyed: list[bytes] = []
        self._fd = -1
        self.reopen()

    def reopen(self) -> None:
        """Open the log by its name, as after a SIGHUP."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, count: int, *, is_unseen: bool = False) -> None:
        """Append lines; with kagent down, note those that nobody can ever read."""
        first = len(self.written)
        lines = [b"%06d %s\n" % (number, b"x" * 50) for number in range(first, first + count)]
        os.write(self._fd, b"".join(lines))
        self.written += lines
        if is_unseen and os.fstat(self._fd).st_nlink == 0:
            self.destroyed += lines

    def close(self) -> None:
        os.close(self._fd)


class Logrotate:
    """Debian's logrotate with a state and a configuration of its own."""

    def __init__(self, root: pathlib.Path, log: pathlib.Path, case: Case) -> None:
        self._root, self._log, self._case = root, log, case
        self._count = 0

    def rotate(self) -> None:
        """Rotate once, whatever the size and the time."""
        case = self._case
        lines = [
            "rotate 50",
            "missingok",
            "create 0644" if case.method == "create" else case.method,
            *(["compress"] if case.compress != "no" else []),
            *(["delaycompress"] if case.compress == "delaycompress" else []),
            # Rotations of one second need different names.
            *([f"dateext\n dateformat -%Y%m%d-{self._count}"] if case.dateext else []),
            *(["olddir old"] if case.olddir else []),
        ]
        self._count += 1
        config = self._root / "logrotate.conf"
        body = "\n ".join(lines)
        config.write_text(f"{self._log} {{\n {body}\n}}\n")
        config.chmod(0o644)
        subprocess.run(
            ["logrotate", "--force", "--state", str(self._root / "logrotate.state"), str(config)],
            check=True,
            capture_output=True,
        )


def sample() -> list[Case]:
    """Return as few cases as hold every pair of values of two options.

    A greedy choice: the case with the most pairs that no chosen one has comes next.
    """

    def pairs(case: Case) -> set[object]:
        return set(itertools.combinations(sorted(dataclasses.asdict(case).items()), 2))

    left = list(all_cases())
    missing = set().union(*map(pairs, left))
    chosen = []
    while missing:
        best = max(left, key=lambda case: len(pairs(case) & missing))
        left.remove(best)
        missing -= pairs(best)
        chosen.append(best)
    return chosen


def run(case: Case, root: pathlib.Path) -> Outcome:
    """Play a case in a directory, and account for every line."""
    logs = root / "log"
    logs.mkdir(mode=0o755)
    if case.olddir:
        (logs / "old").mkdir(mode=0o755)
    log = logs / "app.log"
    writer, rotator = Writer(log), Logrotate(root, log, case)
    host = Host(
        root,
        paths=(str(log),),
        rotate_wait="30s",
        max_line="1KiB",
        max_buffer_bytes=16 * 1024,
        **({"rotated": "old/{name}[-.]*"} if case.olddir else {}),
    )
    host.start()
    writer.write(BURST)
    delivered = host.run()
    if case.kagent == "down":
        host.stop()
    host.is_throttled = case.kagent == "throttled"
    is_down = case.kagent == "down"
    for _ in range(ROTATIONS):
        writer.write(BURST, is_unseen=is_down)
        delivered += _let_run(host, is_down)
        rotator.rotate()
        if case.writer == "late":
            writer.write(LATE, is_unseen=is_down)
            delivered += _let_run(host, is_down)
        if case.writer != "never":
            writer.reopen()
        writer.write(LATE, is_unseen=is_down)
        delivered += _let_run(host, is_down)
    host.is_throttled = False
    if is_down:
        host.start()
    delivered += host.run(240.0)
    writer.write(LATE, is_unseen=True)
    delivered += host.run(60.0)
    abandoned_bytes = host.flow.roster.abandoned_bytes
    host.stop()
    writer.close()
    return _account(writer, delivered, abandoned_bytes)


def _let_run(host: Host, is_down: bool) -> list[bytes]:
    return [] if is_down else host.run(3.0)


def _account(writer: Writer, delivered: list[bytes], abandoned_bytes: int) -> Outcome:
    counts = collections.Counter(delivered)
    written, destroyed = set(writer.written), set(writer.destroyed)
    return Outcome(
        len(written),
        [line for line in writer.written if line not in counts and line not in destroyed],
        [line for line in writer.destroyed if line not in counts],
        [line for line, count in counts.items() if count > 1],
        [line for line in counts if line not in written],
        abandoned_bytes,
    )
