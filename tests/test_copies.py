"""Copytruncate on a real file system: its copy is found by content and finished."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import shutil
from pathlib import Path

import pytest
from lost_rig import Rig

from kagent import system


def copy_and_truncate(rig: Rig, name: str, copy: str) -> None:
    shutil.copyfile(rig.directory / name, rig.directory / copy)
    with open(rig.directory / name, "ab") as file:
        file.truncate(0)


@pytest.mark.parametrize("copy", ["a.log.1", "a-1.log"], ids=["outside", "inside the pattern"])
def test_rest_is_read_from_the_copy(tmp_path: Path, copy: str) -> None:
    """What was not read when a file was truncated comes from its copy; nothing comes twice."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    lines += rig.write("a.log", 30, 60)
    copy_and_truncate(rig, "a.log", copy)
    lines += rig.write("a.log", 60, 70)
    rig.go_on()

    assert sorted(lines) == sorted(rig.accepted)


@pytest.mark.parametrize("copy", ["a.log.1", "a-1.log"], ids=["outside", "inside the pattern"])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_rest_is_read_from_a_copy_that_was_made_while_kagent_was_down(
    tmp_path: Path, copy: str, end: str
) -> None:
    """The checkpoint is found again by the copy's content, and continued there."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    getattr(rig, end)()
    lines += rig.write("a.log", 30, 60)
    copy_and_truncate(rig, "a.log", copy)
    lines += rig.write("a.log", 60, 170)
    rig.begin()
    rig.go_on()

    assert sorted(lines) == sorted(rig.accepted)


def test_copy_under_way_is_held_until_its_source_is_truncated(tmp_path: Path) -> None:
    """A copy inside the pattern that grows over many scans is not read before it is complete."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 60)
    rig.go_on()
    lines += rig.write("a.log", 60, 65)
    whole = (tmp_path / "a.log").read_bytes()

    for size in (10, 1030, 3000, len(whole)):
        (tmp_path / "a-1.log").write_bytes(whole[:size])
        rig.go_on(3.0)
        assert len(rig.accepted) == 65
    with open(tmp_path / "a.log", "ab") as file:
        file.truncate(0)
    lines += rig.write("a.log", 65, 70)
    rig.go_on()

    assert sorted(lines) == sorted(rig.accepted)
    assert len(rig.flow.roster.tails) == 2


def test_copy_of_a_file_that_goes_on_is_a_file_of_its_own(tmp_path: Path) -> None:
    """`cp a.log b.log` within the pattern: b.log is shipped when nothing happened for a minute."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    shutil.copyfile(tmp_path / "a.log", tmp_path / "b.log")
    rig.go_on(50.0)
    early = list(rig.accepted)
    rig.go_on(20.0)

    assert lines == early
    assert sorted(2 * lines) == sorted(rig.accepted)


def test_copy_that_is_deleted_before_it_was_told_from_its_source_is_no_loss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its source has all of its bytes: the next life misses none of them."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()
    for _ in range(2):
        shutil.copyfile(tmp_path / "a.log", tmp_path / "copy")
        os.replace(tmp_path / "copy", tmp_path / "a.log")
        rig.go_on(3.0)
    rig.stop()

    rig.begin()
    rig.go_on(20.0)
    rig.clock.now += 3600.0
    rig.go_on(20.0)

    assert lines == rig.accepted
    assert rig.flow.counters.abandoned_bytes == 0
    assert {logging.INFO} >= {one.levelno for one in caplog.records}


def test_copy_is_known_by_where_its_source_was(tmp_path: Path) -> None:
    """A source that moved to another folder since: simulation, framed seed 24745."""
    (tmp_path / "x").mkdir()
    rig = Rig(tmp_path, paths=(f"{tmp_path}/*.log", f"{tmp_path}/x/*.log"))
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    copy_and_truncate(rig, "a.log", "a-1.log")
    os.rename(tmp_path / "a.log", tmp_path / "x" / "a.log")
    rig.go_on(70.0)

    assert lines == rig.accepted


def test_copy_that_others_write_on_in_is_a_file_of_its_own(tmp_path: Path) -> None:
    """It differs from what its source holds, read or not: it is not held, nor gone on in."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    with open(tmp_path / "a.log", "ab") as file:
        file.write(b"half a li")
    rig.go_on()

    shutil.copyfile(tmp_path / "a.log", tmp_path / "b.log")
    with open(tmp_path / "b.log", "r+b") as file:
        file.seek(-9, os.SEEK_END)
        file.truncate()
    lines += lines + rig.write("b.log", 30, 50)
    rig.go_on()
    early = list(rig.accepted)
    copy_and_truncate(rig, "a.log", "a.log.1")
    with open(tmp_path / "a.log.1", "ab") as file:
        file.write(b"ne\n")
    rig.go_on()

    assert sorted(early) == sorted(lines)
    assert sorted(rig.accepted) == sorted([*lines, b"half a line\n"])


def test_copy_that_ended_before_the_truncation_is_not_read_again(tmp_path: Path) -> None:
    """Copytruncate's own race: what was read after the copy's end is in it no more."""
    rig = Rig(tmp_path)
    lines = []
    for at in range(0, 30, 5):
        lines += rig.write("a.log", at, at + 5)
        rig.go_on()

    shutil.copyfile(tmp_path / "a.log", tmp_path / "a.log.1")
    lines += rig.write("a.log", 30, 40)
    rig.go_on()
    with open(tmp_path / "a.log", "ab") as file:
        file.truncate(0)
    lines += rig.write("a.log", 40, 45)
    rig.go_on()

    assert sorted(set(rig.accepted)) == sorted(lines)
    assert len(rig.accepted) <= len(lines) + 10


def test_small_file_is_read_again_from_its_copy(tmp_path: Path) -> None:
    """Fewer than 1024 bytes are too few to know a copy by: all of it comes again."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 5)
    rig.go_on()

    more = rig.write("a.log", 5, 9)
    copy_and_truncate(rig, "a.log", "a.log.1")
    rig.go_on()

    assert sorted(2 * lines + more) == sorted(rig.accepted)


def test_rest_that_is_nowhere_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After `> file` the rest is looked for as long as rotate_wait, then said to be lost."""
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 30)
    rig.go_on()
    with open(tmp_path / "a.log", "ab") as file:
        file.write(b"half a line")
    rig.go_on()

    with open(tmp_path / "a.log", "ab") as file:
        file.truncate(0)
    rig.go_on(290.0)
    early = rig.flow.counters.abandoned_bytes
    rig.go_on(20.0)

    assert early == 0
    assert rig.flow.counters.abandoned_bytes == 11
    (said,) = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert "bytes lost flow=web" in said
    assert "offset=3000 bytes=11" in said
    assert len(rig.flow.roster.tails) == 1


def test_file_of_one_byte_value_is_no_proof(tmp_path: Path) -> None:
    """A file that is one byte repeated has no copy: another one like it is shipped as its own."""
    rig = Rig(tmp_path)
    (tmp_path / "a.log").write_bytes(b"\n" * 5000)
    rig.go_on()

    with open(tmp_path / "a.log", "ab") as file:
        file.truncate(0)
    (tmp_path / "b.log").write_bytes(b"\n" * 5000)
    rig.go_on()

    assert len(rig.accepted) == 10000


def spoil(rig: Rig, name: str, copy: str, junk: bytes) -> None:
    """Copy a file as it is, and write something else on in the copy."""
    shutil.copyfile(rig.directory / name, rig.directory / copy)
    with open(rig.directory / copy, "ab") as file:
        file.write(junk)


@pytest.mark.parametrize("size", [5, 30], ids=["few bytes", "many bytes"])
@pytest.mark.parametrize("spoilt", ["a.log.2", "a-2.log"], ids=["outside", "inside the pattern"])
@pytest.mark.parametrize("is_down", [False, True], ids=["running", "down"])
def test_copy_is_read_although_a_spoilt_one_was_found(
    tmp_path: Path, size: int, spoilt: str, *, is_down: bool
) -> None:
    """Which of two files is the copy nobody can say: each is read that holds something else."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, size)
    rig.go_on()

    if is_down:
        rig.kill()
    spoil(rig, "a.log", "hidden", b"junk\n")
    lines += rig.write("a.log", size, 60)
    copy_and_truncate(rig, "a.log", "a.log.1")
    os.rename(tmp_path / "hidden", tmp_path / spoilt)
    if is_down:
        rig.begin()
    rig.go_on(30.0)

    assert {*lines, b"junk\n"} == set(rig.accepted)
    assert lines[size:] == [line for line in rig.accepted if line in lines[size:]]


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "compressed"])
def test_second_copy_of_the_same_bytes_is_not_read(tmp_path: Path, *, is_packed: bool) -> None:
    """A backup beside the copy, or the archive that is just made of it, holds nothing new."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    lines += rig.write("a.log", 30, 60)
    copy_and_truncate(rig, "a.log", "a.log.1")
    data = (tmp_path / "a.log.1").read_bytes()
    second = tmp_path / ("a.log.1.gz" if is_packed else "a.log.bak")
    second.write_bytes(gzip.compress(data) if is_packed else data)
    os.utime(tmp_path / "a.log.1")
    rig.go_on(30.0)

    assert lines == rig.accepted


def test_longer_copy_is_read_on_behind_the_shorter_one(tmp_path: Path) -> None:
    """An incomplete copy and a complete one: what both hold comes once."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    lines += rig.write("a.log", 30, 40)
    shutil.copyfile(tmp_path / "a.log", tmp_path / "a.log.2")
    lines += rig.write("a.log", 40, 60)
    copy_and_truncate(rig, "a.log", "a.log.1")
    now = os.stat(tmp_path / "a.log.1").st_mtime
    os.utime(tmp_path / "a.log.2", (now + 10, now + 10))
    rig.go_on(30.0)

    assert set(lines) == set(rig.accepted)
    assert len(rig.accepted) <= len(lines) + 10


def test_copy_that_is_being_made_is_not_taken_for_one_that_ended(tmp_path: Path) -> None:
    """It is shorter than its source was, which has another copy: simulation, seed 205103."""
    rig = Rig(tmp_path)
    lines = []
    for at in range(0, 30, 5):
        lines += rig.write("a.log", at, at + 5)
        rig.go_on()

    whole = (tmp_path / "a.log").read_bytes()
    (tmp_path / "a-1.log").write_bytes(whole[:1500])
    copy_and_truncate(rig, "a.log", "a-2.log")
    lines += rig.write("a.log", 30, 31)
    rig.go_on(30.0)
    copy_and_truncate(rig, "a-2.log", "a-1.log")
    rig.go_on(70.0)

    assert lines == rig.accepted


def test_archive_of_a_copy_that_ended_early_is_not_read_again(tmp_path: Path) -> None:
    """A copier that gave up, then gzip on what it left: simulation, seed 208807."""
    rig = Rig(tmp_path)
    lines = []
    for at in range(0, 30, 5):
        lines += rig.write("a.log", at, at + 5)
        rig.go_on()
    part = (tmp_path / "a.log").read_bytes()[:1800]

    with open(tmp_path / "a.log", "ab") as file:
        file.truncate(0)
    (tmp_path / "a.log.1").write_bytes(part)
    rig.go_on(8.0)
    once = rig.accepted.copy()
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress(part))
    os.unlink(tmp_path / "a.log.1")
    rig.go_on(30.0)

    assert set(lines) == set(once)
    assert once == rig.accepted


def test_file_is_not_gone_before_its_other_names_were_looked_at(tmp_path: Path) -> None:
    """Renamed while kagent was down, and a copy that others write on in: seed 207697."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    rig.kill()
    lines += rig.write("a.log", 30, 60)
    shutil.copyfile(tmp_path / "a.log", tmp_path / "b.log")
    copied = lines + rig.write("b.log", 100, 110)
    lines += rig.write("a.log", 60, 70)
    os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
    rig.begin()
    rig.go_on(70.0)

    assert sorted(lines + copied) == sorted(rig.accepted)


@pytest.mark.parametrize(
    ("size", "copy"),
    [(5, "a.log.1"), (30, "a.log.1"), (30, "a-1.log")],
    ids=["few bytes", "many bytes", "inside the pattern"],
)
@pytest.mark.parametrize("kagent", ["running", "down", "restarted"])
def test_what_the_copy_does_not_hold_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int, copy: str, kagent: str
) -> None:
    """Copytruncate's own race: it was seen, and the rotator destroyed it; it is counted."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, size)
    with open(tmp_path / "a.log", "ab") as file:
        file.write(b"half a line")
    rig.go_on()

    if kagent == "down":
        rig.stop()
    copy_and_truncate(rig, "a.log", copy)
    os.truncate(tmp_path / copy, 100 * size + 4)
    if kagent == "restarted":  # while the copy may still grow
        rig.go_on(20.0)
        rig.stop()
    if kagent != "running":
        rig.begin()
    rig.go_on(200.0)

    assert lines == [line for line in rig.accepted if line in lines][-size:]
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert [f"offset={100 * size + 4} bytes=7" in one for one in said] == [True]
    assert rig.flow.counters.abandoned_bytes == 7


def test_copy_of_which_only_a_hole_is_there_is_not_taken_for_a_file_of_its_own(
    tmp_path: Path,
) -> None:
    """NULs do not say of what it is a copy, until something is behind them: seed 311089."""
    rig = Rig(tmp_path)
    (tmp_path / "a.log").touch()
    os.truncate(tmp_path / "a.log", 2000)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    (tmp_path / "a-1.log").write_bytes(bytes(1500))
    rig.go_on()
    lines += rig.write("a.log", 30, 40)
    copy_and_truncate(rig, "a.log", "a-1.log")
    rig.go_on()

    assert lines == rig.accepted


def test_file_that_begins_like_a_retired_one_is_a_file_of_its_own(tmp_path: Path) -> None:
    """The retired one is still there, and comes back under a matching name: seed 406960."""
    rig = Rig(tmp_path, rotate_wait="10s")
    lines = rig.write("a.log", 0, 30)
    rig.go_on()
    os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
    rig.go_on(30.0)

    shutil.copyfile(tmp_path / "a.log.1", tmp_path / "b.log")
    own = lines + rig.write("b.log", 50, 60)
    rig.go_on(70.0)
    os.rename(tmp_path / "a.log.1", tmp_path / "a.log")
    rig.go_on(30.0)

    assert sorted(lines + own) == sorted(rig.accepted)


@pytest.mark.parametrize("source", ["followed", "retired", "closed"])
def test_file_that_is_longer_than_what_it_begins_like_is_not_held(
    tmp_path: Path, source: str
) -> None:
    """A copy has no more than its source; this one never stands still: framed 61675, 82487."""
    rig = Rig(tmp_path, rotate_wait="10s", close_inactive="10s")
    lines = rig.write("a.log", 0, 30)
    rig.go_on()
    if source == "retired":
        os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
    if source == "closed":
        rig.flow.roster._room.open_files_max = 0
    if source != "followed":
        rig.go_on(30.0)
        assert rig.flow.roster.tails == {}

    shutil.copyfile(tmp_path / ("a.log.1" if source == "retired" else "a.log"), tmp_path / "b.log")
    lines *= 2
    for number in range(50, 60):
        lines += rig.write("b.log", number, number + 1)
        rig.go_on(1.0)
    rig.go_on(2.0)

    assert lines == rig.accepted


@pytest.mark.parametrize("is_down", [False, True], ids=["running", "down"])
def test_file_that_takes_the_place_of_another_is_gone_on_in(
    tmp_path: Path, *, is_down: bool
) -> None:
    """By rsync or an editor: it holds what the old one did, and more; and it grows."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    if is_down:
        rig.stop()
    shutil.copyfile(tmp_path / "a.log", tmp_path / ".a.log.x")
    lines += rig.write(".a.log.x", 30, 40)
    os.replace(tmp_path / ".a.log.x", tmp_path / "a.log")
    if is_down:
        rig.begin()
    rig.go_on(1.0)
    lines += rig.write("a.log", 40, 50)
    rig.go_on(20.0)

    assert lines == rig.accepted


def test_copy_of_a_file_that_was_shortened_since_is_held(tmp_path: Path) -> None:
    """It is longer than its source is, and no longer than that was: simulation, seed 705775."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    lines += rig.write("a.log", 30, 40)
    rig.clock.now += 1.1
    rig.flow.roster.turns.poll()  # sees its size, and reads nothing
    shutil.copyfile(tmp_path / "a.log", tmp_path / "a-1.log")
    os.truncate(tmp_path / "a.log", 3500)
    rig.go_on()
    os.unlink(tmp_path / "a.log")
    rig.go_on(80.0)

    assert sorted(lines) == sorted(rig.accepted)


def test_file_is_not_held_for_ever_by_a_source_that_cannot_be_read(tmp_path: Path) -> None:
    """A bad disk: what begins like a file there waits a minute, although it never stands still."""

    class Bad(system.OsFiles):
        handle = -1

        def read(self, handle: int, offset: int, size: int) -> bytes:
            if handle == self.handle:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(handle, offset, size)

    files = Bad()
    rig = Rig(tmp_path, files)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()
    (one,) = rig.flow.roster.tails.values()
    assert one.handle is not None

    files.handle = one.handle
    shutil.copyfile(tmp_path / "a.log", tmp_path / "b.log")
    lines *= 2
    for number in range(30, 100):
        lines += rig.write("b.log", number, number + 1)
        rig.go_on(1.0)

    assert lines == rig.accepted


def test_copy_under_way_at_the_start_is_held(tmp_path: Path) -> None:
    """Nothing was read of its source in this life yet: `make campaign`, a slow copytruncate."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 60)
    rig.go_on()
    rig.kill()
    lines += rig.write("a.log", 60, 80)
    (tmp_path / "a-1.log").write_bytes((tmp_path / "a.log").read_bytes()[:3000])
    rig.begin()
    rig.go_on()
    early = rig.accepted.copy()
    copy_and_truncate(rig, "a.log", "a-1.log")
    rig.go_on()

    assert lines == early == rig.accepted
