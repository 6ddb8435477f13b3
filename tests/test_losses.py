"""`losses`: what nobody can read any more is counted once, and nothing else; on real files."""

from __future__ import annotations

import gzip
import logging
import os
from pathlib import Path

import pytest
from lost_rig import Rig

from kagent import unpack


def write_in_turns(rig: Rig, rest: bytes) -> None:
    """Ship 30 lines, so that there are older frontiers, before the beginning of one more."""
    for at in range(0, 30, 5):
        rig.write("a.log", at, at + 5)
        if at == 25:
            append(rig.directory / "a.log", rest)
        rig.go_on()


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was said of lost bytes."""
    messages = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    return [one.partition("offset=")[2].partition(";")[0] for one in messages]


@pytest.mark.parametrize("name", ["a.log", "a.log.1"], ids=["in its place", "renamed"])
@pytest.mark.parametrize("rest", [b"", b"half a line"], ids=["all shipped", "some not read"])
def test_what_was_shipped_is_not_lost_when_a_log_is_rolled_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, rest: bytes
) -> None:
    """A power cut: only what was not read of the bytes that the log lost is lost."""
    rig = Rig(tmp_path)
    write_in_turns(rig, rest)

    rig.stop()
    os.truncate(tmp_path / "a.log", 2000)
    os.rename(tmp_path / "a.log", tmp_path / name)
    rig.begin()
    rig.go_on(200.0)

    assert rig.flow.counters.abandoned_bytes == len(rest)
    assert said(caplog) == [f"3000 bytes={len(rest)}"] * bool(rest)


def test_what_was_settled_behind_a_gap_is_not_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that was deleted while kagent was down, and of which a later part was accepted."""
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 30)
    rig.go_on(1.0, answers=False)
    rig.write("a.log", 30, 60)
    rig.go_on(1.0, answers=False)
    rig.pending.pop(0)
    rig.go_on()
    rig.kill()
    os.unlink(tmp_path / "a.log")
    rig.begin()
    rig.go_on()
    rig.clock.now += 3600.0
    rig.go_on()

    assert rig.flow.counters.abandoned_bytes == 3000
    assert said(caplog) == ["0 bytes=3000"]


@pytest.mark.parametrize("is_retired", [False, True], ids=["being read", "retired"])
def test_what_another_copy_holds_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_retired: bool
) -> None:
    """An archive, smaller than the first copy as it is packed, and verified long after that."""
    monkeypatch.setattr(unpack, "PIECE_BYTES", 1)
    rig = Rig(tmp_path, rotate_wait="1s")
    lines = rig.write("a.log", 0, 30)
    append(tmp_path / "a.log", b"half a line")
    rig.go_on()

    whole = (tmp_path / "a.log").read_bytes() + b"\n"
    late = [b"%0999d\n" % number for number in range(20_000 * is_retired)]
    (tmp_path / "a.log.1").write_bytes(whole[:3005])
    (tmp_path / "a.log.2.gz").write_bytes(gzip.compress(whole + b"".join(late), 1))
    os.utime(tmp_path / "a.log.2.gz", (2**31 - 10, 2**31 - 10))
    os.utime(tmp_path / "a.log.1", (2**31, 2**31))
    os.truncate(tmp_path / "a.log", 0)
    rig.go_on(100.0)

    assert {*lines, b"half a line\n", *late} <= set(rig.accepted)
    assert rig.flow.counters.abandoned_bytes == 0


def test_copy_that_was_overwritten_lacks_what_it_lacked_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What its source had is counted to where the copy ended, what the copy had to its end."""
    rig = Rig(tmp_path, rotate_wait="70s")
    write_in_turns(rig, b"half a line")

    part = (tmp_path / "a.log").read_bytes()[:3005]
    os.truncate(tmp_path / "a.log", 0)
    (tmp_path / "a.log.1").write_bytes(part)
    rig.go_on(5.0)
    (tmp_path / "a.log.1").write_bytes(b"another line\n" * 400)
    rig.go_on(200.0)

    assert said(caplog) == ["3000 bytes=5", "3005 bytes=6"]
    assert rig.flow.counters.abandoned_bytes == 11


@pytest.mark.parametrize("is_down", [False, True], ids=["running", "down"])
@pytest.mark.parametrize("size", [0, 3000], ids=["emptied", "trimmed"])
def test_space_that_nobody_wrote_to_is_not_lost(
    tmp_path: Path, size: int, *, is_down: bool
) -> None:
    """A writer that allocates space before it writes gives back what it did not need."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    os.truncate(tmp_path / "a.log", 1024**2)
    rig.go_on()

    if is_down:
        rig.stop()
    os.truncate(tmp_path / "a.log", size)
    if is_down:
        rig.begin()
    rig.go_on(400.0)
    rig.clock.now += 3600.0
    rig.go_on()

    assert rig.accepted == lines
    assert rig.flow.counters.abandoned_bytes == 0


def test_half_a_line_before_space_that_nobody_wrote_to_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its bytes alone are counted."""
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 30)
    append(tmp_path / "a.log", b"half a line")
    os.truncate(tmp_path / "a.log", 1024**2)
    rig.go_on()

    os.truncate(tmp_path / "a.log", 0)
    rig.go_on(400.0)

    assert said(caplog) == ["3000 bytes=11"]
