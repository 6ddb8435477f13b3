"""What became of a file while kagent was down, on a real file system: found, and read on."""

from __future__ import annotations

import errno
import gzip
import logging
import lzma
import os
import shutil
from pathlib import Path

import pytest
from lost_rig import Rig

from kagent import content, missing, model, system


def age(path: Path, seconds: float) -> None:
    """Make a file older than it is, as one is that nobody wrote to."""
    found = path.stat()
    os.utime(path, (found.st_atime, found.st_mtime - seconds))


@pytest.mark.parametrize("size", [5, 30], ids=["few bytes", "many bytes"])
@pytest.mark.parametrize(
    "name", ["a.log.1", "a.log-20261126", "a.log-20261126-1795651200", "a.log.old"]
)
def test_file_renamed_out_of_the_pattern_is_read_on(tmp_path: Path, name: str, size: int) -> None:
    """Its inode and its content say which it is, whatever date is in its name."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, size)
    rig.go_on()

    rig.kill()
    lines += rig.write("a.log", size, 60)
    os.rename(tmp_path / "a.log", tmp_path / name)
    lines += rig.write("a.log", 60, 70)
    rig.begin()
    rig.go_on()

    assert sorted(lines) == sorted(rig.accepted)


def test_generations_that_nobody_saw_are_read_oldest_first(tmp_path: Path) -> None:
    """Rotated three times while kagent was down: the rest, then what came and went meanwhile."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    rig.stop()
    lines += rig.write("a.log", 30, 40)
    os.rename(tmp_path / "a.log", tmp_path / "a.log.3")
    lines += rig.write("a.log.2", 40, 50)
    lines += rig.write("a.log.1", 50, 60)
    for number in (1, 2, 3):
        age(tmp_path / f"a.log.{number}", 60.0 * number)
    rig.begin()
    rig.go_on()
    lines += rig.write("a.log", 60, 70)
    rig.go_on()

    assert lines == rig.accepted


def test_generations_that_were_shipped_are_not_read_again(tmp_path: Path) -> None:
    """What kagent saw to its end before is known by its row, in this life and in the next."""
    rig = Rig(tmp_path, rotate_wait="10s")
    lines = rig.write("a.log", 0, 30)
    rig.go_on()
    os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
    lines += rig.write("a.log", 30, 50)
    rig.go_on(30.0)

    rig.stop()
    os.rename(tmp_path / "a.log.1", tmp_path / "a.log.2")
    os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
    age(tmp_path / "a.log.1", 60.0)
    lines += rig.write("a.log", 50, 60)
    rig.begin()
    rig.go_on(30.0)
    rig.stop()
    rig.begin()
    rig.go_on(30.0)

    assert sorted(lines) == sorted(rig.accepted)


@pytest.mark.parametrize("where", ["below", "elsewhere"])
def test_generation_in_a_directory_of_its_own_is_found(tmp_path: Path, where: str) -> None:
    """Logrotate's `olddir`: `rotated` names the directory."""
    logs, old = tmp_path / "logs", tmp_path / ("logs/old" if where == "below" else "old")
    logs.mkdir()
    old.mkdir()
    rotated = "old/{name}[-.]*" if where == "below" else f"{tmp_path}/old/{{name}}[-.]*"
    rig = Rig(logs, rotated=rotated)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    rig.stop()
    lines += rig.write("a.log", 30, 60)
    os.rename(logs / "a.log", old / "a.log.1")
    lines += rig.write("a.log", 60, 70)
    rig.begin()
    rig.go_on()

    assert sorted(lines) == sorted(rig.accepted)


def test_generation_is_copied_to_a_directory_of_its_own_while_kagent_runs(tmp_path: Path) -> None:
    """Copytruncate with olddir on another file system is a copy like any other."""
    (tmp_path / "old").mkdir()
    rig = Rig(tmp_path, rotated="old/{name}[-.]*")
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    lines += rig.write("a.log", 30, 60)
    shutil.copyfile(tmp_path / "a.log", tmp_path / "old" / "a.log.1")
    with open(tmp_path / "a.log", "ab") as file:
        file.truncate(0)
    rig.go_on()

    assert lines == rig.accepted


def test_new_file_with_the_inode_of_the_old_one_is_read_from_its_start(tmp_path: Path) -> None:
    """Deleted and created again on the same inode: other content is another file."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    rig.stop()
    inode = (tmp_path / "a.log").stat().st_ino
    with open(tmp_path / "a.log", "ab") as file:
        file.truncate(0)
    lines += rig.write("a.log", 30, 90)
    rig.begin()
    rig.go_on()

    assert inode == (tmp_path / "a.log").stat().st_ino
    assert lines == rig.accepted


def test_what_is_not_found_is_said_after_an_hour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that was deleted before it was shipped: error, with the offset, and the sum."""
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 30)
    rig.go_on(answers=False)
    rig.stop()
    os.unlink(tmp_path / "a.log")
    rig.begin()

    rig.go_on(30.0)
    early = [one for one in caplog.records if one.levelno == logging.ERROR]
    rig.clock.now += 3600.0
    rig.go_on()

    assert early == []
    assert rig.flow.counters.abandoned_bytes == 3000
    assert "bytes lost flow=web" in caplog.text
    assert "offset=0 bytes=3000" in caplog.text


def test_missing_file_is_said_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, when a search did not find it, if something of it was not shipped."""
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 30)
    rig.write("b.log", 100, 130)
    rig.write("c.log", 200, 230)
    rig.go_on()
    for name in ("a.log", "c.log"):
        rig.write(name, 30, 40)
    rig.go_on(answers=False)
    rig.stop()
    os.unlink(tmp_path / "a.log")
    os.unlink(tmp_path / "b.log")
    os.rename(tmp_path / "c.log", tmp_path / "c.log.1")

    rig.begin()
    rig.go_on(1500.0)

    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(said) == 1
    assert f"file missing flow=web path={tmp_path}/a.log offset=3000 size=4000; it" in said[0]
    assert "for up to 60 minutes" in said[0]


def test_file_that_goes_missing_while_kagent_runs_is_not_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read to its end through its descriptor; nor is one that was said to be replaced."""
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 30)
    rig.write("b.log", 100, 130)
    rig.go_on()
    rig.write("b.log", 130, 140)
    rig.go_on(answers=False)
    rig.stop()
    (tmp_path / "b.log").write_bytes(b"another\n")
    rig.begin()
    rig.go_on()
    lines = rig.write("a.log", 30, 40)
    os.unlink(tmp_path / "a.log")

    rig.go_on(30.0)

    assert set(lines) <= set(rig.accepted)
    assert "file missing" not in caplog.text
    assert 1 == caplog.text.count("file replaced")


def test_restarts_do_not_put_off_what_is_said_of_a_missing_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The hour counts over several lives; each looks for a minute at least."""
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 30)
    rig.go_on(answers=False)
    rig.stop()
    os.unlink(tmp_path / "a.log")
    counts = []
    for _ in range(3):
        rig.begin()
        rig.go_on(50.0)
        rig.clock.now += 2000.0
        rig.go_on(5.0)
        counts.append(rig.flow.counters.abandoned_bytes)
        rig.stop()

    assert [0, 3000, 0] == counts
    assert 2 == caplog.text.count("file missing")


def test_all_that_a_file_had_at_the_stop_is_missed(tmp_path: Path) -> None:
    """Also what nobody had read, as nothing was accepted."""
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 90_000)
    rig.go_on(answers=False)
    rig.write("a.log", 90_000, 100_000)
    rig.go_on(answers=False)
    rig.stop()
    os.unlink(tmp_path / "a.log")

    rig.begin()
    rig.go_on(30.0)
    rig.clock.now += 3600.0
    rig.go_on()

    assert rig.flow.counters.abandoned_bytes == 10_000_000


@pytest.mark.parametrize("size", [5, 30], ids=["few bytes", "many bytes"])
def test_archive_that_nobody_can_read_is_named_and_does_not_hold_a_lost_file_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    """What is lost is said although it may be in an archive, and which archive that is."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, size)
    rig.go_on()
    rig.write("a.log", size, 60)
    rig.go_on(answers=False)
    rig.kill()
    (tmp_path / "a.log.1.xz").write_bytes(lzma.compress((tmp_path / "a.log").read_bytes()))
    os.unlink(tmp_path / "a.log")
    rig.begin()

    rig.go_on(30.0)
    early = [one for one in caplog.records if one.levelno == logging.ERROR]
    rig.clock.now += 3600.0
    rig.go_on()

    said = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert early == []
    assert lines == rig.accepted
    assert any("no copy of them was found that can be read" in one for one in said)
    (named,) = [one for one in said if "generation not read" in one]
    assert f"{tmp_path}/a.log.1.xz, which is compressed by xz, which kagent cannot read" in named


def test_archive_that_becomes_readable_is_read(tmp_path: Path) -> None:
    """An archive that is being written cannot be read yet: it is looked at again."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()
    rig.kill()
    lines += rig.write("a.log", 30, 60)
    packed = gzip.compress((tmp_path / "a.log").read_bytes())
    (tmp_path / "a.log.1.gz").write_bytes(packed[:-9])
    os.unlink(tmp_path / "a.log")
    rig.begin()
    rig.go_on(30.0)

    (tmp_path / "a.log.1.gz").write_bytes(packed)
    rig.go_on(30.0)

    assert lines == rig.accepted


def test_planted_generations_are_not_opened(tmp_path: Path) -> None:
    """A link, a FIFO or a directory under a generation's name neither blocks nor leaks."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret\n" * 1000)
    logs = tmp_path / "logs"
    logs.mkdir()
    rig = Rig(logs)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    rig.stop()
    os.unlink(logs / "a.log")
    os.symlink(secret, logs / "a.log.1")
    os.mkfifo(logs / "a.log.2")
    os.mkdir(logs / "a.log.3")
    rig.begin()
    rig.go_on(30.0)

    assert lines == rig.accepted


class _UnreadableHeads(system.OsFiles):
    """Files of which the first bytes cannot be read so many times."""

    failures = 0

    def read(self, handle: int, offset: int, size: int) -> bytes:
        if self.failures and (offset, size) == (0, content.MAGIC_BYTES):
            self.failures -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(handle, offset, size)


@pytest.mark.parametrize("size", [5, 30], ids=["few bytes", "many bytes"])
def test_archive_that_cannot_be_read_for_a_moment_is_found(tmp_path: Path, size: int) -> None:
    """An archive is not taken for a file of lines because its first bytes could not be read."""
    files = _UnreadableHeads()
    rig = Rig(tmp_path, files)
    lines = rig.write("a.log", 0, size)
    rig.go_on()

    rig.kill()
    lines += rig.write("a.log", size, 60)
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress((tmp_path / "a.log").read_bytes()))
    os.unlink(tmp_path / "a.log")
    files.failures = 2
    rig.begin()
    rig.go_on(20.0)

    assert set(lines) == set(rig.accepted)


class _UnreadableLines(system.OsFiles):
    """Files of which no blocks can be read from an offset on, as long as they are broken."""

    is_broken = True
    broken_from = 0

    def read(self, handle: int, offset: int, size: int) -> bytes:
        if self.is_broken and size > 100_000 and offset >= self.broken_from:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(handle, offset, size)


def test_file_that_was_found_and_truncated_is_looked_for_again(tmp_path: Path) -> None:
    """What was found once, and lost again before a byte was read, is in its archive."""
    files = _UnreadableLines()
    rig = Rig(tmp_path, files)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()
    rig.kill()
    os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
    rig.begin()
    while not any(one.state == "left" for one in rig.flow.roster.tails.values()):
        rig.go_on(0.3)

    status = os.stat(tmp_path / "a.log.1")
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress((tmp_path / "a.log.1").read_bytes()))
    os.utime(tmp_path / "a.log.1.gz", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.truncate(tmp_path / "a.log.1", 0)
    files.is_broken = False
    rig.go_on(20.0)

    assert lines == rig.accepted


def test_hole_does_not_prove_that_a_file_is_the_one_it_was(tmp_path: Path) -> None:
    """Truncated while kagent was down, under a stale writer, twice: the copy holds its lines."""
    files = _UnreadableLines()
    files.broken_from = 1
    rig = Rig(tmp_path, files)
    with open(tmp_path / "a.log", "wb") as file:
        file.truncate(3000)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()
    (row,) = rig.store.load("web")[0]
    rig.kill()
    shutil.copyfile(tmp_path / "a.log", tmp_path / "a.log.1")
    os.truncate(tmp_path / "a.log", 0)
    os.truncate(tmp_path / "a.log", 6000)
    lines += rig.write("a.log", 30, 40)

    files.is_broken = False
    rig.begin()
    rig.go_on(20.0)

    assert row.offset == 3000
    assert sorted(lines) == sorted(rig.accepted)


def test_generation_that_is_too_old_to_be_read_for_itself_is_found(tmp_path: Path) -> None:
    """`ignore_older` leaves out what nobody knows, and this is the rest of a known file."""
    rig = Rig(tmp_path, paths=(f"{tmp_path}/a.log*",), ignore_older="1h")
    rig.clock.has_file_time = True
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    rig.stop()
    lines += rig.write("a.log", 30, 40)
    shutil.copy(tmp_path / "a.log", tmp_path / "a.log.1")
    age(tmp_path / "a.log.1", 7200.0)
    os.truncate(tmp_path / "a.log", 0)
    lines += rig.write("a.log", 40, 50)
    rig.write("a.log.unknown", 50, 60)
    age(tmp_path / "a.log.unknown", 86400.0)
    rig.begin()
    rig.go_on()

    assert sorted(lines) == sorted(rig.accepted)


@pytest.mark.parametrize("size", [5, 30], ids=["few bytes", "many bytes"])
@pytest.mark.parametrize("is_restored", [False, True], ids=["late writer", "equal times"])
def test_generations_are_read_whatever_their_times_say(
    tmp_path: Path, size: int, *, is_restored: bool
) -> None:
    """A worker that nobody told goes on in the oldest one; or a backup made all equally old."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, size)
    rig.go_on()

    rig.stop()
    lines += rig.write("a.log", size, 40)
    os.rename(tmp_path / "a.log", tmp_path / "a.log.3")
    for number in (2, 1):
        lines += rig.write(f"a.log.{number}", 100 * number, 100 * number + 10)
    if is_restored:
        for number in (1, 2, 3):
            os.utime(tmp_path / f"a.log.{number}", (2e9, 2e9))
    else:
        lines += rig.write("a.log.3", 300, 310)
    rig.write("a.log", 400, 410)
    rig.begin()
    rig.go_on(20.0)

    assert set(lines) < set(rig.accepted)
    assert len(set(rig.accepted)) == len(lines) + 10


@pytest.mark.parametrize("size", [1, 30], ids=["few bytes", "many bytes"])
def test_generation_that_came_and_went_between_two_scans_is_read(
    tmp_path: Path, size: int
) -> None:
    """Two rotations in a moment, while kagent runs: nobody saw the file between them."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, size)
    rig.go_on()

    lines += rig.write("a.log", 30, 40)
    for number in (1, 2):
        if number == 2:
            os.rename(tmp_path / "a.log.1", tmp_path / "a.log.2")
        os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
        lines += rig.write("a.log", 100 * number, 100 * number + 10)
    rig.go_on(20.0)

    assert sorted(lines) == sorted(rig.accepted)


def test_archive_of_a_file_that_was_read_to_a_later_end_is_not_read_again(tmp_path: Path) -> None:
    """Its writer went on in the file; the search for others goes on, as one cannot be opened."""

    class Locked(system.OsFiles):
        def open(self, path: str, base: str) -> int:
            if path.endswith(".9"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return super().open(path, base)

    rig = Rig(tmp_path, Locked())
    (tmp_path / "a.log.9").write_bytes(b"nobody may read this\n")
    lines = rig.write("a.log", 0, 60_000)
    rig.go_on(answers=False)  # as much as the buffer holds
    (one,) = rig.flow.roster.tails.values()
    position = one.position

    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress((tmp_path / "a.log").read_bytes(), 1))
    lines += rig.write("a.log", 60_000, 60_010)
    os.unlink(tmp_path / "a.log")
    rig.go_on(answers=False)
    rig.go_on(60.0)

    assert 1024 <= position < 6_000_000
    assert lines == rig.accepted


def test_very_many_missing_files_are_not_all_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory that was emptied while kagent was down: some of them, and how many."""
    rig = Rig(tmp_path)
    for number in range(missing.SAID_MAX + 5):
        rig.write(f"{number}.log", 0, 1)
        rig.write(f"{number}.log", 1, 2)
    rig.go_on(answers=False)
    rig.stop()
    for path in tmp_path.glob("*.log"):
        path.unlink()
    rig.begin()
    rig.go_on(20.0)

    said = [one for one in caplog.messages if one.startswith("file missing")]
    assert len(said) == missing.SAID_MAX
    assert f"files missing flow=web files={missing.SAID_MAX + 5};" in caplog.text


def test_generation_that_was_renamed_while_its_directory_was_listed_is_read(
    tmp_path: Path,
) -> None:
    """A rotation under way at the start: the search that finds the others does not see it."""

    class Racing(system.OsFiles):
        hidden = ""

        def list_directory(self, path: str, base: str) -> list[model.DirectoryEntry]:
            found = super().list_directory(path, base)
            return [one for one in found if one.name != self.hidden]

    files = Racing()
    rig = Rig(tmp_path, files)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    rig.stop()
    lines += rig.write("a.log", 30, 40)
    os.rename(tmp_path / "a.log", tmp_path / "a.log.3")
    for number in (2, 1):
        lines += rig.write(f"a.log.{number}", 100 * number, 100 * number + 10)
    files.hidden = "a.log.2"
    rig.begin()
    while len(rig.accepted) < 40:
        rig.go_on(0.3)
    files.hidden = ""
    os.rename(tmp_path / "a.log.2", tmp_path / "a.log.4")
    rig.go_on(20.0)

    assert sorted(lines) == sorted(rig.accepted)


def test_generation_and_a_longer_copy_of_it_are_read_once_each(tmp_path: Path) -> None:
    """The copy continues the file as well: simulation, framed seed 100415."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    rig.kill()
    os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
    shutil.copy(tmp_path / "a.log.1", tmp_path / "a.log.2")
    lines += rig.write("a.log.2", 30, 40)
    rig.begin()
    rig.go_on(20.0)

    assert sorted(lines) == sorted(rig.accepted)


@pytest.mark.parametrize("rotated", ["auto", "{name}-*"])
def test_another_log_beside_is_no_generation_by_its_name_alone(
    tmp_path: Path, rotated: str
) -> None:
    """`app.log-debug` is beside `app.log`; who rotates by such names says so."""
    rig = Rig(tmp_path, paths=(f"{tmp_path}/a.log",), rotated=rotated)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    rig.stop()
    os.rename(tmp_path / "a.log", tmp_path / "a.log-20261126")
    other = rig.write("a.log-debug", 30, 40)
    lines += rig.write("a.log", 40, 50)
    rig.begin()
    rig.go_on(20.0)

    assert sorted(rig.accepted) == sorted(lines + (other if rotated != "auto" else []))


def test_generation_that_gets_its_name_late_is_read(tmp_path: Path) -> None:
    """It was written before it was missed; what is written under such a name since is no rest."""
    rig = Rig(tmp_path)
    rig.clock.has_file_time = True
    lines = rig.write("a.log", 0, 5)
    rig.go_on(answers=False)

    rig.kill()
    shutil.copy2(tmp_path / "a.log", tmp_path / "on its way")
    os.rename(tmp_path / "a.log", tmp_path / "elsewhere")  # its inode is not given again
    rig.begin()
    rig.go_on(30.0)
    missed = rig.accepted.copy()
    os.rename(tmp_path / "on its way", tmp_path / "a.log.1")
    rig.write("a.log.lock", 5, 6)
    rig.go_on(30.0)

    assert [] == missed
    assert lines == rig.accepted


def test_inode_and_a_header_do_not_prove_that_a_file_is_the_one_it_was(tmp_path: Path) -> None:
    """Only the header was shipped; another file has it too, and got the inode of the old one."""
    rig = Rig(tmp_path)
    header = rig.write("a.log", 0, 2)
    rig.go_on()

    rig.kill()
    lines = rig.write("a.log", 2, 20)
    shutil.copy2(tmp_path / "a.log", tmp_path / "a.log.1")
    with (tmp_path / "a.log").open("r+b") as file:  # what rm and create come to
        file.truncate(200)
    os.rename(tmp_path / "a.log", tmp_path / "b.log")
    lines += rig.write("b.log", 20, 50)
    rig.begin()
    rig.go_on(30.0)

    assert sorted(2 * header + lines) == sorted(rig.accepted)


def test_copy_with_the_inode_of_the_old_file_does_not_hide_its_archive(tmp_path: Path) -> None:
    """It holds all that was shipped, too; what it does not hold is read from the archive."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 20)
    rig.go_on()

    rig.kill()
    lines += rig.write("a.log", 20, 40)
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress((tmp_path / "a.log").read_bytes()))
    with (tmp_path / "a.log").open("r+b") as file:  # what rm and cp come to
        file.truncate(2000)
    os.rename(tmp_path / "a.log", tmp_path / "b.log")
    lines += rig.write("b.log", 40, 50)
    rig.begin()
    rig.go_on(30.0)

    assert sorted(lines) == sorted(rig.accepted)


@pytest.mark.parametrize("is_restarted", [False, True], ids=["", "and again"])
def test_file_that_begins_like_the_old_one_on_its_inode_does_not_hide_its_archive(
    tmp_path: Path, *, is_restarted: bool
) -> None:
    """A long header: kagent goes on behind it, and it is shorter than it was: seed 720928."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 20)
    rig.go_on()

    rig.kill()
    lines += rig.write("a.log", 20, 60)
    archive = gzip.compress((tmp_path / "a.log").read_bytes())
    rig.begin()
    rig.flow.step()  # sees how long it is
    rig.flow.step()
    rig.kill()
    (tmp_path / "a.log.1.gz").write_bytes(archive)
    os.truncate(tmp_path / "a.log", 3000)  # what rm and create come to
    lines += rig.write("a.log", 60, 70)
    rig.begin()
    if is_restarted:
        rig.flow.step()
        rig.restart_flow()
    rig.go_on(100.0)

    assert set(lines) == set(rig.accepted)


def test_archive_that_went_on_in_another_one_is_taken_in_once(tmp_path: Path) -> None:
    """One file compressed twice, beside one that cannot be opened once: seed 100765."""
    files = _UnreadableHeads()
    rig = Rig(tmp_path, files, rotate_wait="10s")
    rig.clock.has_file_time = True
    rig.write("a.log", 0, 30)
    rig.go_on()

    rig.kill()
    os.rename(tmp_path / "a.log", tmp_path / "elsewhere")  # its inode is not given again
    lines = rig.write("other", 100, 140)
    data = (tmp_path / "other").read_bytes()
    (tmp_path / "a.log.2.gz").write_bytes(gzip.compress(data[:3000]))
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress(data))
    rig.begin()
    rig.go_on(30.0)
    late = rig.write("other", 200, 205)
    (tmp_path / "a.log.3.gz").write_bytes(gzip.compress(b"".join(late)))
    os.utime(tmp_path / "a.log.3.gz", ns=(0, os.stat(tmp_path / "a.log.1.gz").st_mtime_ns))
    files.failures = 1
    rig.go_on(90.0)

    assert lines + late == rig.accepted[30:]


class _Closed(system.OsFiles):
    """Files of which some cannot be opened for a while."""

    suffix = "nothing"

    def open(self, path: str, base: str) -> int:
        if path.endswith(self.suffix):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return super().open(path, base)


def test_short_copy_waits_for_a_longer_one_that_cannot_be_read_now(tmp_path: Path) -> None:
    """An older copy of the same lines, and an archive that cannot be opened: seed 402205."""
    files = _Closed()
    rig = Rig(tmp_path, files)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    shutil.copyfile(tmp_path / "a.log", tmp_path / "a.log.old")
    lines += rig.write("a.log", 30, 60)
    rig.go_on(answers=False)
    rig.stop()
    (tmp_path / "a.log.gz").write_bytes(gzip.compress((tmp_path / "a.log").read_bytes()))
    os.rename(tmp_path / "a.log", tmp_path / "elsewhere")  # its inode is not given again
    files.suffix = ".gz"
    rig.begin()
    rig.go_on(3.0)
    rig.restart_flow()
    files.suffix = "nothing"
    rig.go_on(30.0)

    assert lines == rig.accepted


def test_short_file_whose_rest_is_in_a_copy_is_no_loss_to_the_next_life(tmp_path: Path) -> None:
    """The copy was read to its end: the file itself is as long as it is, and can rest."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    lines += rig.write("a.log", 30, 60)
    rig.go_on(answers=False)
    rig.stop()
    shutil.copyfile(tmp_path / "a.log", tmp_path / "a.log.1")
    os.truncate(tmp_path / "a.log", 3500)
    rig.begin()
    rig.go_on(100.0)
    busy = [one.file.size for one in rig.flow.roster._tails.busy.values()]
    rig.stop()
    rig.begin()
    rig.go_on(100.0)

    assert set(lines) == set(rig.accepted)
    assert [6000] == busy
    assert rig.flow.counters.abandoned_bytes == 0
