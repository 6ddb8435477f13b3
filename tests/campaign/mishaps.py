"""What production does to log files, done to those of the real daemon.

Each mishap is a daemon of its own before a local service of its own, a writer of numbered lines,
and something that befalls the files while the daemon runs, is stopped, is killed or is throttled.
Then it must be quiet: every line that is no named exception of the README arrived, none came twice
unless the README says so, the saved offsets are the sizes of the files, the log holds neither a
traceback nor a flow that failed, and `kagent shipped` never said yes of a file of which a line had
not arrived.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import gzip
import logging.handlers
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterable

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import daemon as daemons

from kagent import local

DEADLINE_S = 60.0
QUIET_S = 1.5  # after the last line, for what should not come
BURST = 400  # lines of about 70 bytes
BAD_WORDS = ("Traceback", "flow failed", "internal error", "does not add up")


class Log:
    """A log file, written through one descriptor as a daemon does, or by name."""

    def __init__(self, stage: Stage, name: str | bytes = "app.log") -> None:
        self.stage = stage
        text = os.fsdecode(name)
        self.path = stage.root / "log" / text
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = -1
        self.flags = os.O_APPEND

    def reopen(self) -> None:
        """Open the file by its name, anew."""
        self.close()
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | self.flags, 0o644)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def write(self, count: int = BURST) -> list[bytes]:
        """Append new lines and return them."""
        if self._fd < 0:
            self.reopen()
        lines = self.stage.lines(count)
        data = b"".join(lines)
        while data:
            data = data[os.write(self._fd, data) :]
        return lines


@dataclasses.dataclass
class Stage:
    """A daemon, its service, what was written and what may be said of it at the end."""

    name: str
    root: pathlib.Path
    service: local.Service
    one: daemons.Daemon
    written: list[bytes] = dataclasses.field(default_factory=list)
    gone: set[bytes] = dataclasses.field(default_factory=set)  # named exceptions
    again: set[bytes] = dataclasses.field(default_factory=set)  # may come twice
    faults: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    recent: int = 0  # lines before this one were durable before a kill
    checks_offsets: bool = True
    lives: int = 0

    def lines(self, count: int) -> list[bytes]:
        """Return new lines."""
        first = len(self.written)
        new = [
            b"%07d %s %s\n" % (n, b"abcdefgh"[n % 5 :], b"x" * 52)
            for n in range(first, first + count)
        ]
        self.written += new
        return new

    def log(self, name: str | bytes = "app.log") -> Log:
        """Return a new log file of this stage."""
        return Log(self, name)

    def configure(self, paths: Iterable[str] = ("*.log",), **source: object) -> None:
        """Write a configuration with short times."""
        wanted = {
            "paths": [f"{self.root}/log/{path}" for path in paths],
            "start_at": "beginning",
            "rotate_wait": "5s",
            **source,
        }
        self.one.configure(self.one.flow(source=wanted), checkpoint={"interval": "200ms"})

    def start(self) -> None:
        """Start the daemon, and wait until it has scanned."""
        self.lives += 1
        self.one.start()
        daemons.wait_until(lambda: self.one.log.count(" ready ") >= self.lives, "ready")

    def arrived(self) -> collections.Counter[bytes]:
        """Return what the stream has, by line."""
        return collections.Counter(self.one.lines)

    def settle(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until every line that can arrive did."""
        wanted = set(self.written) - self.gone
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            found = self.service.counts()["streams"]["web"]["lines_distinct"]
            if found >= len(wanted) and wanted <= set(self.one.lines):
                break
            time.sleep(0.2)
        while time.monotonic() < end and self.wrong_offsets():
            time.sleep(0.1)
        self.recent = len(self.written)

    def wrong_offsets(self) -> list[str]:
        """Return what is saved of live files and is not their size."""
        offsets = self.one.offsets() if self.checks_offsets else {}
        return [
            f"{path.name}: offset {offsets.get(path.name)}, size {path.stat().st_size}"
            for path in self.root.glob("log/**/*.log")
            if self.checks_offsets and path.is_file() and not path.is_symlink()
            if offsets.get(path.name) != path.stat().st_size
        ]

    def down(self, how: str) -> None:
        """Stop the daemon well, or not at all well."""
        if how == "killed":
            self.again |= set(self.written[self.recent :])
            self.one.stop(signal.SIGKILL)
        elif how == "stopped" and self.one.stop():
            self.faults.append("exit code of a stop is not 0")

    def throttle(self, share: float) -> None:
        """Let the service refuse a share of the records."""
        self.service.set_faults(local.Faults(refuse_share=share))

    def shipped(self, path: pathlib.Path) -> int:
        """Ask of a file whether it is shipped; a wrong yes is a fault."""
        try:
            before = _content(path) if path.is_file() else b""  # a FIFO would block
        except (OSError, EOFError, zlib.error):
            before = b""  # no log
        run = subprocess.run(
            [sys.executable, "-m", "kagent", "shipped", "-c", str(self.one.config), str(path)],
            capture_output=True,
            check=False,
            env={**os.environ, **daemons.CREDENTIALS},
        )
        said = os.fsdecode(run.stdout + run.stderr)
        if b"Traceback" in run.stderr or run.returncode not in (0, 1):
            self.faults.append(f"shipped {path.name!r}: {run.returncode} {said}")
        if run.returncode == 0:
            arrived = self.arrived()
            missing = [
                line
                for line in before.splitlines(keepends=True)
                if line.strip(b"\0") not in arrived
            ]
            missing = [line for line in missing if line in set(self.written)]
            if missing:
                self.faults.append(f"shipped said yes with {len(missing)} missing: {said}")
        self.notes.append(f"shipped {path.name!r}: {run.returncode} {said.strip()[-150:]}")
        return run.returncode

    def must(self, fact: object, what: str) -> None:
        """Note what is not as it must be."""
        if not fact:
            self.faults.append(what)

    def judge(self, *, is_running: bool = True) -> None:
        """Wait, stop, and hold everything that was written against everything that came."""
        self.service.set_faults(local.Faults())
        self.settle()
        time.sleep(QUIET_S)
        if is_running and self.one.process is not None:
            if self.one.process.poll() is not None:
                self.faults.append(f"the daemon ended by itself: {self.one.process.returncode}")
                self.one.process = None
            else:
                self.down("stopped")
        counts, known = self.arrived(), set(self.written)
        lost = [line for line in self.written if line not in counts and line not in self.gone]
        twice = [line for line, count in counts.items() if count > 1 and line not in self.again]
        foreign = [line for line in counts if line not in known]
        if lost:
            self.faults.append(f"lost {len(lost)}: {lost[0][:7]!r}..{lost[-1][:7]!r}")
        if twice:
            self.faults.append(f"twice {len(twice)}: {twice[0][:7]!r}..{twice[-1][:7]!r}")
        if foreign:
            self.faults.append(f"foreign {len(foreign)}: {foreign[0][:80]!r}")
        log = (self.root / "daemon.log").read_bytes().decode(errors="surrogateescape")
        self.faults += [f"the log says {word!r}" for word in BAD_WORDS if word in log]
        self.faults += self.wrong_offsets()
        again = sum(counts[line] > 1 for line in self.again)
        gone = len([line for line in self.gone if line not in counts])
        self.notes.append(f"{len(self.written)} lines, explained: twice {again}, gone {gone}")


def _content(path: pathlib.Path) -> bytes:
    """Return what is in a file, decompressed."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-dcq"], input=data, check=True, capture_output=True).stdout
    return data


MISHAPS: dict[str, Callable[[Stage], None]] = {}


def mishap(*variants: object) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a mishap, once or once for each variant (a tuple is several arguments)."""

    def register(play: Callable[..., None]) -> Callable[..., None]:
        name = play.__name__
        for variant in variants or (None,):
            if variant is None:
                MISHAPS[name] = play
            else:
                args = variant if isinstance(variant, tuple) else (variant,)
                words = " ".join(map(str, args))
                MISHAPS[f"{name} {words}"] = lambda stage, args=args: play(stage, *args)  # type: ignore[misc]
        return play

    return register


HOW = ("running", "throttled", "stopped", "killed")
LOGROTATE = {
    "create compress": "create 0644\ncompress",
    "create delaycompress dateext olddir": "create 0644\ncompress\ndelaycompress\ndateext\n"
    "dateformat -%Y%m%d-NUMBER\nolddir old",
    "copytruncate": "copytruncate",
    "copytruncate compress dateext": "copytruncate\ncompress\ndateext\ndateformat -%Y%m%d-NUMBER",
    "copytruncate delaycompress olddir": "copytruncate\ncompress\ndelaycompress\nolddir old",
    "copy compress": "copy\ncompress",
    "create zstd": "create 0644\ncompress\ncompresscmd /usr/bin/zstd\n"
    "uncompresscmd /usr/bin/unzstd\ncompressext .zst\ncompressoptions -q --rm",
}


@mishap(*((words, how) for words in LOGROTATE for how in HOW))
def logrotate(stage: Stage, words: str, how: str) -> None:
    """Three rotations by the real one, quickly one after the other while nobody looks."""
    olddir = "olddir" in words
    stage.configure(**({"rotated": "old/{name}[-.]*"} if olddir else {}))
    log = stage.log()
    (stage.root / "log" / "old").mkdir()
    log.write()
    stage.start()
    stage.settle()
    log.write()
    if how == "throttled":
        stage.throttle(0.9)
    elif how != "running":
        stage.down(how)
    for number in range(3):
        log.write()
        config = stage.root / "logrotate.conf"
        body = LOGROTATE[words].replace("NUMBER", str(number))
        config.write_text(f"{log.path} {{\nrotate 50\nmissingok\n{body}\n}}\n")
        config.chmod(0o644)
        subprocess.run(
            ["logrotate", "-f", "-s", str(stage.root / "logrotate.state"), str(config)],
            check=True,
            capture_output=True,
        )
        if "create" in words:
            log.reopen()
        log.write(50)
        if how == "running":
            stage.settle()
        elif how == "throttled":
            time.sleep(2)  # a file that is renamed away before a scan is a named exception
    if how in ("stopped", "killed"):
        stage.start()
    asked = [path for path in (stage.root / "log").glob("**/app.log*") if path.is_file()]
    for path in asked[:2]:
        stage.shipped(path)
    stage.service.set_faults(local.Faults())
    stage.settle()
    time.sleep(1)
    for path in asked:
        if "copy" in words.split():
            continue  # the copy of a file that goes on is known by content only
        code = stage.shipped(path)
        stage.must(code == 0, f"shipped {path.name} says {code} at the end")
    stage.judge()


@mishap(*HOW)
def emptied_by_the_shell(stage: Stage, how: str) -> None:
    """`> file`, several times."""
    stage.configure()
    log = stage.log()
    log.write()
    stage.start()
    for _ in range(3):
        stage.settle()
        if how == "throttled":
            stage.throttle(1.0)
        elif how != "running":
            stage.down(how)
        if how != "running":
            stage.gone |= set(log.write())
        stage.shipped(log.path)
        os.truncate(log.path, 0)
        log.write(BURST // 2)
        stage.shipped(log.path)
        stage.service.set_faults(local.Faults())
        if how in ("stopped", "killed"):
            stage.start()
    stage.judge()


@mishap(*HOW)
def removed_while_open(stage: Stage, how: str) -> None:
    """`rm` while the writer goes on, and a new file at once."""
    stage.configure()
    log = stage.log()
    log.write()
    stage.start()
    for _ in range(3):
        stage.settle()
        if how == "throttled":
            stage.throttle(1.0)
        elif how != "running":
            stage.down(how)
        is_down = how in ("stopped", "killed")
        lines = log.write()
        log.path.unlink()
        lines += log.write()
        time.sleep(0.3)
        lines += log.write()
        if is_down:
            stage.gone |= set(lines)
        log.reopen()
        log.write()
        stage.shipped(log.path)
        stage.service.set_faults(local.Faults())
        if is_down:
            stage.start()
    stage.judge()


@mishap("stopped", "killed")
def renamed_out_of_reach(stage: Stage, how: str) -> None:
    """Moved to a name that nothing means: said, and found once it comes back to one."""
    stage.configure()
    log = stage.log()
    log.write()
    stage.start()
    stage.settle()
    stage.down(how)
    log.write()
    log.path.rename(stage.root / "elsewhere")
    log.reopen()
    log.write()
    stage.start()
    time.sleep(3)
    (stage.root / "elsewhere").rename(stage.root / "log" / "app.log.1")
    stage.judge()


@mishap("stopped", "killed")
def renamed_many_times(stage: Stage, how: str) -> None:
    """Ten generations while it is down, names moving up."""
    stage.configure()
    log = stage.log()
    log.write()
    stage.start()
    stage.settle()
    stage.down(how)
    for _ in range(10):
        log.write()
        for number in range(10, 0, -1):
            old = log.path.with_name(f"app.log.{number}")
            if old.exists():
                old.rename(log.path.with_name(f"app.log.{number + 1}"))
        log.path.rename(log.path.with_name("app.log.1"))
        log.reopen()
    log.write()
    stage.start()
    stage.judge()


@mishap(*((how, size) for how in ("running", "stopped", "killed") for size in (100, 400, 900)))
def recreated_on_the_same_inode(stage: Stage, how: str, size: int) -> None:
    """Deleted and created with the same inode: smaller, as large, larger."""
    stage.configure()
    log = stage.log()
    log.write()
    stage.start()
    stage.settle()
    if how != "running":
        stage.down(how)
    inode = log.path.stat().st_ino
    log.close()
    log.path.unlink()
    if how == "running":
        # Its inode is free as soon as the daemon lets go of it.
        time.sleep(12)
    spare = []
    for number in range(100):
        log.reopen()
        if log.path.stat().st_ino == inode:
            break
        spare.append(log.path.rename(log.path.with_name(f"spare{number}")))
    log.reopen()
    stage.notes.append("same inode" if log.path.stat().st_ino == inode else "other inode")
    log.write(size)
    if how != "running":
        stage.start()
    stage.judge()


@mishap(*((name, how) for name in ("app.log.1", "app-1.log") for how in HOW))
def slow_copytruncate_of_a_big_file(stage: Stage, name: str, how: str) -> None:
    """The copy is made slowly, in the pattern or out of it."""
    stage.configure()
    log = stage.log()
    log.write(40_000)
    stage.start()
    if how != "throttled":
        stage.settle()
    log.write(10_000)
    if how == "throttled":
        stage.throttle(0.5)
    if how in ("stopped", "killed"):
        stage.down(how)
    with log.path.open("rb") as source, log.path.with_name(name).open("wb") as copy:
        number = 0
        while block := source.read(150_000):
            copy.write(block)
            copy.flush()
            time.sleep(0.1)
            number += 1
            if number == 10 and how == "killed":
                stage.start()
            if number == 15 and how == "killed":
                stage.again |= set(stage.written[stage.recent :])
                stage.one.stop(signal.SIGKILL)
    os.truncate(log.path, 0)
    log.write()
    if how in ("stopped", "killed"):
        stage.start()
    stage.shipped(log.path)
    stage.shipped(log.path.with_name(name))
    stage.service.set_faults(local.Faults())
    stage.settle()
    time.sleep(1)
    code = stage.shipped(log.path.with_name(name))
    stage.must(code == 0, f"shipped of the copy says {code}")
    stage.judge()


@mishap(*((tool, how) for tool in ("gzip", "zstd", "xz") for how in ("stopped", "killed")))
def compressed_generations(stage: Stage, tool: str, how: str) -> None:
    """Several generations, all compressed, within the pattern's directory, while it is down."""
    stage.configure()
    log = stage.log()
    log.write()
    stage.start()
    stage.settle()
    stage.down(how)
    for number in range(4):
        lines = log.write()
        if tool == "xz":
            stage.gone |= set(lines)  # not promised
        target = log.path.with_name(f"app.log-2026112{number}")
        log.path.rename(target)
        extra = ["--rm"] if tool == "zstd" else []
        subprocess.run([tool, "-q", *extra, str(target)], check=True)
        log.reopen()
        time.sleep(0.02)
    log.write()
    stage.start()
    stage.judge()


@mishap(*((kind, how) for kind in ("size", "time") for how in ("running", "throttled", "killed")))
def handlers_of_python(stage: Stage, kind: str, how: str) -> None:
    """Rotating and TimedRotating file handlers, as fast as they can."""
    stage.configure()
    path = stage.root / "log" / "app.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = (
        logging.handlers.RotatingFileHandler(path, maxBytes=40_000, backupCount=500)
        if kind == "size"
        else logging.handlers.TimedRotatingFileHandler(path, when="S", backupCount=500)
    )
    stage.start()
    if how == "throttled":
        stage.throttle(0.7)
    end = time.monotonic() + 8
    kill = time.monotonic() + 2.5
    while time.monotonic() < end:
        for line in stage.lines(20):
            handler.emit(logging.LogRecord("", 0, "", 0, line.decode().strip(), (), None))
        time.sleep(0.005)
        if how == "killed" and time.monotonic() > kill:
            stage.down("killed")
            if kind == "size":
                for line in stage.lines(600):
                    handler.emit(logging.LogRecord("", 0, "", 0, line.decode().strip(), (), None))
            stage.start()
            kill += 2.5
    handler.close()
    stage.settle()
    stage.shipped(path)
    stage.judge()


@mishap(*HOW)
def stale_writer_after_truncation(stage: Stage, how: str) -> None:
    """A writer without O_APPEND goes on where it was: a hole of NULs before its lines."""
    stage.configure()
    log = stage.log()
    log.flags = 0
    log.write()
    stage.start()
    for _ in range(2):
        stage.settle()
        if how == "throttled":
            stage.throttle(1.0)
        elif how != "running":
            stage.down(how)
        os.truncate(log.path, 0)
        time.sleep(0.5)
        log.write(50)
        stage.service.set_faults(local.Faults())
        if how in ("stopped", "killed"):
            stage.start()
    stage.judge()


@mishap()
def things_that_are_no_logs(stage: Stage) -> None:
    """FIFOs, links, directories, sockets, archives, a loop of links: all named *.log."""
    stage.checks_offsets = False
    stage.configure(paths=["*.log", "sub*/*.log"])
    logs = stage.root / "log"
    log = stage.log()
    log.write()
    os.mkfifo(logs / "fifo.log")
    (logs / "dir.log").mkdir()
    (stage.root / "secret").write_text("not to be shipped\n" * 100)
    (logs / "link.log").symlink_to(stage.root / "secret")
    (logs / "loop.log").symlink_to("loop.log")
    (logs / "dangling.log").symlink_to("nowhere")
    os.link(log.path, logs / "hard.log")
    (logs / "archive.log").write_bytes(gzip.compress(b"no log\n" * 1000))
    (logs / "magic.log").write_bytes(b"\x1f\x8b\x08 this is no archive\n" * 100)
    (logs / "stub.log").write_bytes(b"\x1f\x8b")
    (logs / "empty.log").touch()
    (logs / "plain.log").write_bytes(b"".join(stage.lines(1)))
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(
            os.path.relpath(logs / "socket.log")
            if len(str(logs)) > 80
            else str(logs / "socket.log")
        )
        real = stage.root / "real"
        real.mkdir()
        (real / "x.log").write_text("behind a directory link\n")
        (logs / "sub").symlink_to(real)
        stage.start()
        stage.settle()
        for path in sorted(logs.glob("*.log")):
            code = stage.shipped(path)
            if path.name in ("archive.log", "magic.log", "fifo.log", "dir.log", "link.log"):
                stage.must(code == 1, f"shipped {path.name} says {code}")
        log.write()
        stage.settle()
        time.sleep(2)
    log_text = stage.one.log
    for name in ("fifo.log", "dir.log", "link.log", "archive.log", "socket.log"):
        said = len(re.findall(rf"/{name}", log_text))
        stage.must(said == 1, f"{name} is said {said} times")
    stage.judge()


@mishap(*HOW)
def names_without_any_encoding(stage: Stage, how: str) -> None:
    """A newline, an escape sequence and invalid UTF-8 in names, rotated as well."""
    stage.configure()
    logs = [
        stage.log(name)
        for name in (
            b"new\nline.log",
            b"\xff\xfe.log",
            b"\x1b[31mred.log",
            b"sp ace'\"$x.log",
            b"-rf.log",
            b"[a].log",
            b"*.log",
            b"{a,b}.log",
        )
    ]
    for log in logs:
        log.write(60)
    stage.start()
    stage.settle()
    if how == "throttled":
        stage.throttle(0.8)
    elif how != "running":
        stage.down(how)
    for log in logs:
        log.write(60)
        log.path.rename(os.fsdecode(os.fsencode(log.path) + b".1"))
        log.reopen()
        log.write(30)
    if how in ("stopped", "killed"):
        stage.start()
    stage.service.set_faults(local.Faults())
    stage.settle()
    time.sleep(1)
    for log in logs[:4]:
        stage.must(stage.shipped(log.path) == 0, f"{log.path.name!r} is not shipped")
        path = pathlib.Path(os.fsdecode(os.fsencode(log.path) + b".1"))
        stage.must(stage.shipped(path) == 0, f"{path.name!r} is not shipped")
    stage.must(
        "\x1b" not in (stage.root / "daemon.log").read_text(errors="replace"), "escapes in the log"
    )
    stage.judge()


@mishap("running", "killed")
def a_thousand_files_and_few_descriptors(stage: Stage, how: str) -> None:
    """More files than may be open, all growing now and then."""
    stage.configure()
    logs = [stage.log(f"{number:04d}.log") for number in range(1000)]
    for log in logs:
        log.write(5)
        log.close()
    stage.one.prefix = ("/bin/bash", "-c", 'ulimit -n 256; exec "$@"', "-")
    stage.start()
    stage.settle(120)
    for turn in range(2):
        for log in logs[turn::2]:
            log.write(3)
            log.close()
        if how == "killed":
            stage.down("killed")
            for log in logs[::20]:
                log.write(2)
                log.path.rename(f"{log.path}.1")
                log.reopen()
                log.write(2)
                log.close()
            stage.start()
        stage.settle(120)
    stage.judge()


@mishap("running", "throttled", "stopped", "killed")
def switched_links(stage: Stage, how: str) -> None:
    """As kubelet does: a link that leads to the next file."""
    stage.configure(paths=["containers/*.log"], follow_symlinks=True)
    pods = stage.root / "log" / "pods"
    link = stage.root / "log" / "containers" / "c.log"
    link.parent.mkdir(parents=True)
    log = stage.log("pods/0.log")
    log.write()
    link.symlink_to(pods / "0.log")
    stage.start()
    stage.settle()
    for number in (1, 2):
        if how == "throttled":
            stage.throttle(1.0)
        elif how != "running":
            stage.down(how)
        lines = log.write()
        if how in ("stopped", "killed"):
            stage.gone |= set(lines)  # under a name that nothing means, in a directory of its own
        log.close()
        log = stage.log(f"pods/{number}.log")
        log.write()
        other = link.with_name("new")
        other.symlink_to(log.path)
        other.rename(link)
        stage.shipped(link)
        if how in ("stopped", "killed"):
            stage.start()
        stage.service.set_faults(local.Faults())
        stage.settle(20)
    stage.judge()


@mishap("end", "start", "OFFSET")
def sought(stage: Stage, where: str) -> None:
    """`kagent seek` moves a position, and only with the daemon stopped."""
    stage.configure()
    log = stage.log()
    first = log.write()
    stage.start()
    stage.settle()

    def seek(*words: str) -> int:
        run = subprocess.run(
            [sys.executable, "-m", "kagent", "seek", "-c", str(stage.one.config), *words],
            capture_output=True,
            check=False,
            env={**os.environ, **daemons.CREDENTIALS},
        )
        stage.notes.append(
            f"seek: {run.returncode} {os.fsdecode(run.stdout + run.stderr).strip()[-200:]}"
        )
        stage.must(b"Traceback" not in run.stderr, "seek: traceback")
        return run.returncode

    stage.must(seek("web", str(log.path), "end") == 1, "seek while it runs")
    stage.down("stopped")
    more = log.write()
    stage.must(seek("none", str(log.path), "end") == 2, "seek of an unknown flow")
    stage.must(seek("web", str(log.path) + "x", "end") == 1, "seek of an unknown file")
    stage.must(seek("web", str(log.path), "999999999") == 1, "seek beyond the end")
    offset = str(len(b"".join(first[:100])))
    stage.must(seek("web", str(log.path), where.replace("OFFSET", offset)) == 0, "seek")
    if where == "end":
        stage.gone |= set(more)
    else:
        stage.again |= set(first if where == "start" else first[100:])
    stage.start()
    log.write()
    stage.settle()
    counts = stage.arrived()
    if where == "end":
        stage.must(not any(line in counts for line in more), "what was skipped came")
    else:
        stage.must(all(counts[line] == 2 for line in stage.again), "not all came again")
        stage.shipped(log.path)
    stage.judge()


@mishap()
def asked_all_the_time(stage: Stage) -> None:
    """`kagent shipped` of a growing and rotated file, under faults and kills."""
    stage.configure()
    log = stage.log()
    stage.start()
    stage.service.set_faults(local.Faults(refuse_share=0.3, lose_share=0.1, latency_s=0.05))
    for turn in range(6):
        log.write(2000)
        stage.again |= set(stage.written)  # lost answers
        stage.shipped(log.path)
        if turn % 2:
            log.path.rename(log.path.with_name(f"app.log.{turn}"))
            log.reopen()
            stage.shipped(log.path.with_name(f"app.log.{turn}"))
        if turn % 3 == 2:
            stage.down("killed")
            stage.shipped(log.path)
            stage.start()
    stage.service.set_faults(local.Faults())
    stage.settle()
    end = time.monotonic() + DEADLINE_S
    for path in (stage.root / "log").iterdir():
        while (code := stage.shipped(path)) and time.monotonic() < end:
            time.sleep(0.2)  # its offset is saved once a second
        stage.must(code == 0, f"{path.name} is not shipped at the end")
    stage.judge()


@mishap("running", "killed")
def half_a_line_and_a_rotation(stage: Stage, how: str) -> None:
    """A line that is written in two halves, a rename between them."""
    stage.configure()
    log = stage.log()
    log.write()
    stage.start()
    stage.settle()
    for number in range(3):
        (line,) = stage.lines(1)
        with log.path.open("ab", buffering=0) as file:
            file.write(line[:20])
            time.sleep(0.7)
            stage.must(stage.shipped(log.path) == 1, "half a line counts as shipped")
            if how == "killed":
                stage.down("killed")
            log.path.rename(log.path.with_name(f"app.log.{number}"))
            log.reopen()
            log.write(10)
            if how == "killed":
                stage.start()
            time.sleep(0.7)
            file.write(line[20:])
        log.write(10)
        stage.settle()
    stage.judge()


@mishap("running", "stopped", "killed")
def moved_to_a_directory_and_back(stage: Stage, how: str) -> None:
    """The whole directory of logs is renamed, and comes back."""
    stage.configure(paths=["d/*.log"])
    log = stage.log("d/app.log")
    log.write()
    stage.start()
    stage.settle()
    if how != "running":
        stage.down(how)
    log.path.parent.rename(stage.root / "log" / "e")
    log.write()
    if how != "running":
        stage.start()
    time.sleep(2)
    (stage.root / "log" / "e").rename(log.path.parent)
    log.write()
    stage.judge()


@mishap("running", "stopped", "killed")
def edited_in_place(stage: Stage, how: str) -> None:
    """`sed -i` of all but the last lines: another inode, nearly the same content."""
    stage.configure()
    log = stage.log()
    log.write()
    stage.start()
    stage.settle()
    if how != "running":
        stage.down(how)
    lines = log.path.read_bytes().splitlines(keepends=True)
    other = log.path.with_name("sedXXXX")
    other.write_bytes(b"".join(lines[10:]))
    other.rename(log.path)
    stage.again |= set(stage.written)  # it is another file now
    log.reopen()
    log.write(20)
    if how != "running":
        stage.start()
    stage.judge()


def play(name: str, keeps: bool) -> tuple[str, list[str], list[str]]:
    """Play one mishap; return its name, what was wrong and what there is to say."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="kagent-mishap-"))
    service = local.Service(
        local.ServiceOptions(streams={"web": local.StreamOptions(shards=8, is_throttled=False)})
    )
    with daemons.running(root, service) as one:
        stage = Stage(name, root, service, one)
        try:
            MISHAPS[name](stage)
        except Exception:  # noqa: BLE001 -- whatever it is, the others go on
            stage.faults += traceback.format_exc().splitlines()
    if stage.faults and keeps:
        stage.notes.append(f"kept: {root}")
    else:
        shutil.rmtree(root, ignore_errors=True)
    return name, stage.faults, stage.notes


def main() -> int:
    """Play everything, a few at a time; exit 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="play those whose names match this")
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="keep the directories of bad ones")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    names = [name for name in MISHAPS if re.search(options.only, name)]
    bad = 0
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        played = [pool.submit(play, name, options.keep) for name in names]
        for one in concurrent.futures.as_completed(played):
            name, faults, notes = one.result()
            bad += bool(faults)
            print(f"{'BAD' if faults else 'ok '} {name}", flush=True)
            for text in (*faults, *notes) if faults or options.verbose else ():
                print(f"      {text}", flush=True)
    print(f"mishaps: {len(names)} played, {bad} bad: {'FAILED' if bad else 'passed'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
