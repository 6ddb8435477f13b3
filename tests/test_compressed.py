"""Compressed generations on a real file system: the rest of a file is read from what gzip made."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import logging
import lzma
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lost_rig import Rig

from kagent import content, system, unpack


def compress(path: Path, form: str = "gz") -> Path:
    """Do what `gzip FILE` or `zstd --rm FILE` does; times are kept."""
    packed = path.with_name(f"{path.name}.{form}")
    data, found = path.read_bytes(), path.stat()
    if form == "gz":
        packed.write_bytes(gzip.compress(data))
    else:
        packed.write_bytes(pytest.importorskip("zstandard").compress(data))
    os.utime(packed, ns=(found.st_atime_ns, found.st_mtime_ns))
    path.unlink()
    return packed


@pytest.mark.parametrize("how", ["create", "copytruncate"])
@pytest.mark.parametrize("is_down", [True, False], ids=["down", "blocked"])
def test_archives_that_the_pattern_matches_are_read_as_generations(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str, *, is_down: bool
) -> None:
    """`a.log*`: nobody has read those that were made since; one from before is left out."""
    old = gzip.compress(b"what was there before kagent\n" * 100)
    (tmp_path / "a.log.9.gz").write_bytes(old)
    os.utime(tmp_path / "a.log.9.gz", (1e9, 1e9))
    rig = Rig(tmp_path, paths=(f"{tmp_path}/a.log*",))
    rig.clock.has_file_time = True
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    if is_down:
        rig.stop()
    for turn in (1, 2, 3):
        lines += rig.write("a.log", 100 * turn, 100 * turn + 40)
        for number in (3, 2, 1):
            with contextlib.suppress(FileNotFoundError):
                os.rename(tmp_path / f"a.log.{number}.gz", tmp_path / f"a.log.{number + 1}.gz")
        if how == "create":
            os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
        else:
            shutil.copy2(tmp_path / "a.log", tmp_path / "a.log.1")
            os.truncate(tmp_path / "a.log", 0)
        if not is_down:
            rig.go_on(answers=False)
        compress(tmp_path / "a.log.1")
        lines += rig.write("a.log", 100 * turn + 50, 100 * turn + 60)
        if not is_down:
            rig.go_on(answers=False)
    if not is_down:
        rig.stop()
    rig.begin()
    rig.go_on(4000.0)

    assert sorted(lines) == sorted(rig.accepted)
    assert rig.flow.counters.abandoned_bytes == 0
    assert "a.log.9.gz reason=is compressed" in caplog.text


def test_archive_of_a_file_of_which_nothing_was_shipped_is_no_loss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing proves that it is the file's, but its length and its time; one for each file."""
    rig = Rig(tmp_path)
    lines = []
    for first in (0, 50):
        lines += rig.write("a.log", first, first + 50)
        rig.go_on(answers=False)
        os.rename(tmp_path / "a.log", tmp_path / f"a.log.{first}")
        rig.go_on(answers=False)
    rig.stop()
    for first in (0, 50):
        compress(tmp_path / f"a.log.{first}")
    rig.begin()
    rig.go_on(30.0)
    rig.clock.now += 3600.0
    rig.go_on(30.0)

    assert sorted(lines) == sorted(rig.accepted)
    assert rig.flow.counters.abandoned_bytes == 0
    assert {logging.INFO} >= {one.levelno for one in caplog.records}


def test_younger_archive_does_not_hide_that_a_file_is_lost(tmp_path: Path) -> None:
    """Files may all be of one length; this one was written to long after the other one."""
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 50)
    rig.go_on(answers=False)
    rig.stop()
    (tmp_path / "a.log").unlink()
    lines = rig.write("a.log.1", 50, 100)
    found = (tmp_path / "a.log.1").stat()
    os.utime(tmp_path / "a.log.1", ns=(found.st_atime_ns, found.st_mtime_ns + 100 * 10**9))
    compress(tmp_path / "a.log.1")
    rig.begin()
    rig.go_on(30.0)
    rig.clock.now += 3600.0
    rig.go_on(30.0)

    assert lines == rig.accepted
    assert rig.flow.counters.abandoned_bytes == 5000


def test_archive_of_a_name_that_the_file_had_long_ago_is_found(tmp_path: Path) -> None:
    """It had two names, and lost the one, and was renamed, and truncated: seed 705513."""

    class Slow(system.OsFiles):
        is_broken = False

        def read(self, handle: int, offset: int, size: int) -> bytes:
            if self.is_broken and size > content.MAGIC_BYTES:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(handle, offset, size)

    files = Slow()
    rig = Rig(tmp_path, files)
    lines = rig.write("a.log", 0, 30)
    os.link(tmp_path / "a.log", tmp_path / "b.log")
    rig.go_on()

    files.is_broken = True
    lines += rig.write("a.log", 30, 40)
    compress(tmp_path / "b.log")
    rig.go_on()
    os.rename(tmp_path / "a.log", tmp_path / "c.log")
    rig.go_on()
    os.truncate(tmp_path / "c.log", 0)
    lines += rig.write("c.log", 40, 50)
    files.is_broken = False
    rig.go_on(20.0)

    assert sorted(lines) == sorted(rig.accepted)


@pytest.mark.parametrize("form", ["gz", "zst"])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_file_that_was_rotated_and_compressed_is_read_on(
    tmp_path: Path, form: str, end: str
) -> None:
    """The checkpoint is known by the decompressed bytes, and continued at its offset."""
    rig = Rig(tmp_path, rotate_wait="5s")
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    getattr(rig, end)()
    lines += rig.write("a.log", 30, 60)
    os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
    compress(tmp_path / "a.log.1", form)
    lines += rig.write("a.log", 60, 70)
    rig.begin()
    rig.go_on(20.0)

    assert sorted(lines) == sorted(rig.accepted)
    assert len(rig.flow.roster.tails) == 1
    rig.stop()
    rig.begin()
    rig.go_on(20.0)
    assert len(lines) == len(rig.accepted)


def test_generations_that_nobody_saw_are_read_from_archives(tmp_path: Path) -> None:
    """Rotated and compressed several times while kagent was down: all of it, oldest first."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    rig.stop()
    lines += rig.write("a.log", 30, 40)
    os.rename(tmp_path / "a.log", tmp_path / "a.log.3")
    lines += rig.write("a.log.2", 40, 50)
    lines += rig.write("a.log.1", 50, 60)
    for number in (1, 2, 3):
        path = tmp_path / f"a.log.{number}"
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 60 * number))
    for number in (2, 3):
        compress(tmp_path / f"a.log.{number}")
    rig.begin()
    rig.go_on(8.0)

    assert lines == rig.accepted


def test_copy_that_is_compressed_at_once_is_found(tmp_path: Path) -> None:
    """Copytruncate and compress while kagent runs: the rest is in the archive."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    lines += rig.write("a.log", 30, 60)
    shutil.copyfile(tmp_path / "a.log", tmp_path / "a.log.1")
    with open(tmp_path / "a.log", "ab") as file:
        file.truncate(0)
    compress(tmp_path / "a.log.1")
    lines += rig.write("a.log", 60, 70)
    rig.go_on(8.0)

    assert sorted(lines) == sorted(rig.accepted)


def test_archive_that_is_not_complete_is_waited_for(tmp_path: Path) -> None:
    """Nothing is read of a stream before all of it is there and sound."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    rig.stop()
    lines += rig.write("a.log", 30, 60)
    whole = gzip.compress((tmp_path / "a.log").read_bytes())
    (tmp_path / "a.log").unlink()
    (tmp_path / "a.log.1.gz").write_bytes(whole[: len(whole) // 2])
    rig.begin()
    rig.go_on(8.0)
    early = len(rig.accepted)
    (tmp_path / "a.log.1.gz").write_bytes(whole)
    rig.go_on(8.0)

    assert early == 30
    assert lines == rig.accepted


def test_archive_in_the_pattern_is_left_out_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file with gzip's first bytes is never split as it stands."""
    (tmp_path / "old.log").write_bytes(gzip.compress(b"one\n" * 1000))
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 3)
    rig.go_on(30.0)

    assert lines == rig.accepted
    said = [one for one in caplog.records if "is compressed" in one.getMessage()]
    assert len(said) == 1
    assert said[0].levelno == logging.WARNING
    assert "read_compressed" in said[0].getMessage()


def test_file_that_becomes_an_archive_is_left_out(tmp_path: Path) -> None:
    """It was empty when it was opened: what counts is what is read."""
    (tmp_path / "a.log").touch()
    rig = Rig(tmp_path)
    rig.go_on()

    (tmp_path / "a.log").write_bytes(gzip.compress(os.urandom(5000)))
    rig.go_on(8.0)

    assert rig.accepted == []
    assert rig.flow.roster.tails == {}


@pytest.mark.parametrize("form", ["gz", "zst"])
def test_archives_are_shipped_where_the_operator_wants_it(tmp_path: Path, form: str) -> None:
    """`read_compressed: true`: whole, once, and not again after a restart."""
    rig = Rig(tmp_path, paths=(f"{tmp_path}/*",), read_compressed=True)
    lines = rig.write("old", 0, 300)
    compress(tmp_path / "old", form)
    rig.go_on(8.0)
    rig.stop()
    rig.begin()
    rig.go_on(8.0)

    assert lines == rig.accepted
    assert rig.flow.roster.tails == {}


def test_archive_that_is_shipped_is_not_said_to_have_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It holds more bytes than it has on the disk; that is no truncation of it."""
    rig = Rig(tmp_path, paths=(f"{tmp_path}/*",), read_compressed=True)
    lines = rig.write("old", 0, 300)
    compress(tmp_path / "old")

    rig.go_on(20.0)

    assert lines == rig.accepted
    assert [] == [one for one in caplog.messages if "file skipped" in one]


def test_archive_that_changes_while_it_is_read_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: what was verified does not stand there any more."""
    rig = Rig(tmp_path, paths=(f"{tmp_path}/*",), read_compressed=True)
    rig.write("old", 0, 100_000)
    packed = compress(tmp_path / "old")
    rig.go_on(4.0, answers=False)

    with packed.open("ab") as file:
        file.write(gzip.compress(b"more\n"))
    rig.go_on(8.0, answers=False)

    said = [one for one in caplog.messages if "file skipped" in one]
    assert len(said) == 1
    assert "a compressed file that changed while it was read" in said[0]


def test_deleted_archive_that_is_closed_early_has_no_end(tmp_path: Path) -> None:
    """What was read of it settles and the rest is counted: simulation, framed seed 23687."""
    paths = (f"{tmp_path}/*",)
    rig = Rig(tmp_path, paths=paths, read_compressed=True, unlinked_max="1MiB", rotate_wait="5s")
    rig.write("old", 0, 100_000)
    packed = compress(tmp_path / "old")
    rig.go_on(8.0, answers=False)
    packed.unlink()

    rig.go_on(60.0)

    counts = rig.flow.counters
    assert counts.abandoned_bytes == 10_000_000 - counts.read_bytes > 0
    assert counts.delivered_bytes == counts.read_bytes
    assert rig.flow.roster.tails == {}


def test_archive_that_is_spoilt_while_it_is_read_keeps_no_core_busy(tmp_path: Path) -> None:
    """What cannot be decompressed is tried again at the next poll, not at once and for ever."""
    rig = Rig(tmp_path, paths=(f"{tmp_path}/*",), read_compressed=True)
    chooser = random.Random(1)
    lines = [b"%0600x\n" % chooser.getrandbits(2400) for _ in range(15_000)]
    (tmp_path / "old").write_bytes(b"".join(lines))
    packed = compress(tmp_path / "old")
    rig.go_on(8.0, answers=False)
    with packed.open("r+b") as file:
        file.seek(100_000)
        file.write(bytes(packed.stat().st_size - 100_000))
    rig.go_on(10.0)

    dues = [rig.flow.step() for _ in range(20)]

    (one,) = rig.flow.roster.tails.values()
    assert 0 < one.position < one.size
    assert dues[-1] > rig.clock.now


def test_archive_of_a_shipped_file_is_not_shipped_again(tmp_path: Path) -> None:
    """What gzip makes of a file in the pattern is known by its content."""
    rig = Rig(tmp_path, paths=(f"{tmp_path}/*",), read_compressed=True)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()

    lines += rig.write("a.log", 30, 40)
    compress(tmp_path / "a.log")
    rig.go_on(30.0)

    assert lines == rig.accepted


def test_large_archive_is_verified_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step decompresses so much and no more, then and when it goes on to the offset."""
    monkeypatch.setattr(unpack, "PIECE_BYTES", 5000)
    monkeypatch.setattr(unpack, "_BLOCK_BYTES", 1000)
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 500)
    rig.go_on()

    rig.stop()
    lines += rig.write("a.log", 500, 900)
    compress(tmp_path / "a.log")
    rig.begin()
    rig.go_on(30.0)

    assert lines == rig.accepted


def test_archive_without_a_decompressor_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Zstd without the package: named, with what to install, and everything else goes on."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    (tmp_path / "old.log").write_bytes(b"\x28\xb5\x2f\xfd" + b"x" * 50)
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 3)
    rig.go_on(8.0)

    assert lines == rig.accepted
    assert "pip install kagent[zstd]" in caplog.text


@pytest.mark.parametrize(
    ("pack", "form"),
    [
        (lzma.compress, "xz"),
        (bz2.compress, "bzip2"),
        (lambda data: b"\x04\x22\x4d\x18" + data, "lz4"),  # as lz4 begins
    ],
    ids=["xz", "bzip2", "lz4"],
)
def test_archive_of_another_kind_is_never_taken_for_lines(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    pack: Callable[[bytes], bytes],
    form: str,
) -> None:
    """What xz made is named, as a generation and in the pattern, and not shipped as it stands."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on()
    rig.stop()
    rig.write("a.log", 30, 60)
    data = (tmp_path / "a.log").read_bytes()
    (tmp_path / "a.log").unlink()
    (tmp_path / "a.log.1.packed").write_bytes(pack(data))
    (tmp_path / "old.log").write_bytes(pack(data))
    lines += rig.write("a.log", 60, 70)
    rig.begin()
    rig.go_on(20.0)

    assert sorted(lines) == sorted(rig.accepted)
    said = [one for one in caplog.messages if f"compressed by {form}, which kagent cannot" in one]
    assert len(said) == 2
    assert "read_compressed" not in caplog.text


def test_nothing_is_given_up_before_an_archive_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the pattern matches elsewhere, too, and that takes long: seed 204171."""
    monkeypatch.setattr(unpack, "PIECE_BYTES", 100)
    monkeypatch.setattr(unpack, "_BLOCK_BYTES", 50)
    (tmp_path / "x").mkdir()
    rig = Rig(tmp_path, paths=(f"{tmp_path}/*.log", f"{tmp_path}/x/*.log"), rotate_wait="10s")
    lines = rig.write("x/a.log", 0, 30)
    rig.go_on()

    lines += rig.write("x/a.log", 30, 60)
    archive = tmp_path / "x" / "a.log.gz"
    archive.write_bytes(gzip.compress((tmp_path / "x" / "a.log").read_bytes(), 0))
    os.link(archive, tmp_path / "b.log")
    with open(tmp_path / "x" / "a.log", "ab") as file:
        file.truncate(0)
    rig.go_on(60.0)

    assert lines == rig.accepted


def test_archive_with_an_unreadable_part_is_said_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again and again; what is lost elsewhere is given up all the same."""
    monkeypatch.setattr(content, "_BLOCK_BYTES", 1000)
    archive = tmp_path / "b.log"
    archive.write_bytes(gzip.compress(random.Random(0).randbytes(1_000_000)))

    class _Faulty(system.OsFiles):
        number = archive.stat().st_ino

        def read(self, handle: int, offset: int, size: int) -> bytes:
            if offset >= 500_000 and os.fstat(handle).st_ino == self.number:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(handle, offset, size)

    files = _Faulty()
    rig = Rig(tmp_path, files, rotate_wait="10s", read_compressed=True)
    rig.write("a.log", 0, 30)
    with open(tmp_path / "a.log", "ab") as file:
        file.write(b"half a line")
    rig.go_on()
    os.truncate(tmp_path / "a.log", 0)
    rig.go_on(20.0)
    lost = rig.flow.counters.abandoned_bytes
    early = len(rig.accepted)
    files.number = -1
    rig.go_on()

    assert (11, 30) == (lost, early)
    assert len(rig.accepted) > early
    assert 1 == caplog.text.count("b.log reason=cannot read: Input/output error")
