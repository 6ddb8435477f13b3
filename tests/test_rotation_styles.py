"""Each way in which others rotate, played on a real file system: every line once, none lost.

`down` means that kagent was stopped before the rotation and started after it. logrotate itself, in
all its combinations, is in `tests/test_rotations.py`.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import logging.handlers
import os
import pathlib
import shutil
from collections.abc import Callable

import pytest
from real_files import Host

LINES = 40  # of 50 bytes: more than a fingerprint has


class Log:
    """A log file that is written by name, each time anew; or through one descriptor."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.count = 0

    def lines(self, count: int = LINES) -> list[bytes]:
        """Return new lines."""
        first, self.count = self.count, self.count + count
        return [b"%06d %s\n" % (number, b"x" * 42) for number in range(first, first + count)]

    def write(self, count: int = LINES) -> list[bytes]:
        """Append new lines and return them."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            lines = self.lines(count)
            file.writelines(lines)
        return lines


def play(
    host: Host, log: Log, rotate: Callable[[], None], *, is_down: bool, rotations: int = 2
) -> None:
    """Write, rotate and write on, a few times; assert that each line came once."""
    written = log.write()
    host.start()
    delivered = host.run()
    if is_down:
        host.stop()
    for _ in range(rotations):
        written += log.write()
        delivered += [] if is_down else host.run()
        rotate()
        written += log.write()
        delivered += [] if is_down else host.run()
    if is_down:
        host.start()
    delivered += host.run(120.0)
    written += log.write()
    delivered += host.run(120.0)
    host.stop()

    assert sorted(written) == sorted(delivered)


both = pytest.mark.parametrize("is_down", [False, True], ids=["running", "down"])


@both
def test_numbered_generations(tmp_path: pathlib.Path, is_down: bool) -> None:
    """Renamed to .1, .2 and so on, outside of the pattern: savelog, newsyslog, log4j 1."""
    log = Log(tmp_path / "log" / "app.log")

    def rotate() -> None:
        for number in (3, 2, 1):
            if os.path.exists(f"{log.path}.{number}"):
                os.rename(f"{log.path}.{number}", f"{log.path}.{number + 1}")
        os.rename(log.path, f"{log.path}.1")

    play(Host(tmp_path, paths=(str(log.path),)), log, rotate, is_down=is_down)


@both
def test_numbered_generations_within_the_pattern(tmp_path: pathlib.Path, is_down: bool) -> None:
    """The same when the pattern matches the generations, too."""
    log = Log(tmp_path / "log" / "app.log")

    def rotate() -> None:
        for number in (3, 2, 1):
            if os.path.exists(f"{log.path}.{number}"):
                os.rename(f"{log.path}.{number}", f"{log.path}.{number + 1}")
        os.rename(log.path, f"{log.path}.1")

    play(Host(tmp_path, paths=(f"{log.path}*",)), log, rotate, is_down=is_down)


@both
def test_rotating_file_handler_of_python(tmp_path: pathlib.Path, is_down: bool) -> None:
    """The real one; it keeps its descriptor until it rotates by itself."""
    log = Log(tmp_path / "log" / "app.log")
    log.path.parent.mkdir()
    handler = logging.handlers.RotatingFileHandler(log.path, maxBytes=10**9, backupCount=9)

    def write(count: int = LINES) -> list[bytes]:
        lines = log.lines(count)
        for line in lines:
            handler.emit(logging.makeLogRecord({"msg": line[:-1].decode()}))
        return lines

    log.write = write  # type: ignore[method-assign]
    host = Host(tmp_path, paths=(str(log.path),))
    with contextlib.closing(handler):
        play(host, log, handler.doRollover, is_down=is_down)


@both
def test_log4j_2_with_dates_and_gzip(tmp_path: pathlib.Path, is_down: bool) -> None:
    """RollingFile with filePattern app-%d-%i.log.gz: `rotated: "{stem}-*"` says where they are."""
    log = Log(tmp_path / "log" / "app.log")
    number = 0

    def rotate() -> None:
        nonlocal number
        number += 1
        name = log.path.with_name(f"app-2026-11-26-{number}.log")
        os.rename(log.path, name)
        with name.open("rb") as source, gzip.open(f"{name}.gz", "wb") as target:
            shutil.copyfileobj(source, target)
        name.unlink()

    host = Host(tmp_path, paths=(str(log.path),), rotated="{stem}-*")
    play(host, log, rotate, is_down=is_down)


@both
def test_json_file_of_docker(tmp_path: pathlib.Path, is_down: bool) -> None:
    """The daemon renames ID-json.log to .1 and goes on in a new one."""
    log = Log(tmp_path / "containers" / "c0ffee" / "c0ffee-json.log")

    def rotate() -> None:
        if os.path.exists(f"{log.path}.1"):
            os.rename(f"{log.path}.1", f"{log.path}.2")
        os.rename(log.path, f"{log.path}.1")

    host = Host(tmp_path, paths=(f"{tmp_path}/containers/*/*-json.log",))
    play(host, log, rotate, is_down=is_down)


@both
def test_pods_of_kubernetes(tmp_path: pathlib.Path, is_down: bool) -> None:
    """Its kubelet renames 0.log with the time, and compresses the ones before."""
    log = Log(tmp_path / "pods" / "shop_web_1c2e" / "nginx" / "0.log")
    number = 0

    def rotate() -> None:
        nonlocal number
        number += 1
        for older in log.path.parent.glob("0.log.2*"):
            if older.suffix != ".gz":
                with older.open("rb") as source, gzip.open(f"{older}.gz", "wb") as target:
                    shutil.copyfileobj(source, target)
                older.unlink()
        os.rename(log.path, f"{log.path}.20261126-01020{number}")

    host = Host(tmp_path, paths=(f"{tmp_path}/pods/*/*/*.log",))
    play(host, log, rotate, is_down=is_down)


@both
def test_svlogd_and_multilog(tmp_path: pathlib.Path, is_down: bool) -> None:
    """`current` becomes @4000...: `rotated: "@*"` says so."""
    log = Log(tmp_path / "service" / "web" / "current")
    number = 0

    def rotate() -> None:
        nonlocal number
        number += 1
        os.rename(log.path, log.path.with_name(f"@4000000065a1b2c3{number:08x}.s"))

    host = Host(tmp_path, paths=(f"{tmp_path}/service/*/current",), rotated="@*")
    play(host, log, rotate, is_down=is_down)


@both
def test_dated_names_of_cronolog(tmp_path: pathlib.Path, is_down: bool) -> None:
    """Each file has its name from the beginning; nothing is renamed."""
    log = Log(tmp_path / "log" / "access-2026112600.log")

    def rotate() -> None:
        hour = int(log.path.stem[-2:]) + 1
        log.path = log.path.with_name(f"access-20261126{hour:02}.log")

    host = Host(tmp_path, paths=(f"{tmp_path}/log/access-*.log",))
    play(host, log, rotate, is_down=is_down)


def test_emptied_by_the_shell(tmp_path: pathlib.Path) -> None:
    """`> file` destroys what is not read yet; what was, and all that comes after, is shipped."""
    log = Log(tmp_path / "log" / "app.log")

    def rotate() -> None:
        log.path.write_bytes(b"")

    play(Host(tmp_path, paths=(str(log.path),)), log, rotate, is_down=False)


def test_deleted_while_kagent_runs(tmp_path: pathlib.Path) -> None:
    """`rm`: what was written before is read through the open descriptor, and the new file."""
    log = Log(tmp_path / "log" / "app.log")

    def rotate() -> None:
        log.path.unlink()

    play(Host(tmp_path, paths=(str(log.path),)), log, rotate, is_down=False)


def test_deleted_or_emptied_while_kagent_is_down_loses_what_was_not_read(
    tmp_path: pathlib.Path,
) -> None:
    """Nobody has these bytes any more; exactly they are lost, and it is said."""
    log = Log(tmp_path / "log" / "app.log")
    host = Host(tmp_path, paths=(str(log.path),))
    written = log.write()
    host.start()
    delivered = host.run()
    host.stop()
    destroyed = log.write()
    log.path.unlink()
    written += log.write()
    host.start()
    delivered += host.run(60.0)

    assert sorted(written) == sorted(delivered)
    assert destroyed
