"""`idle`: growth of many files is told by the kernel, and found by a sweep where it is not."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from lost_rig import Rig

from kagent import idle, inotify, model, sightings, system


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "FILES_MIN", 1)
    monkeypatch.setattr(sightings, "LOOKS_MIN", 0)  # no scan finds what is to be found here


def watches(growth: inotify.Inotify) -> int:
    """Return how many watches there are, as the kernel says, if it is not closed."""
    info = Path(f"/proc/self/fdinfo/{growth._handle}")
    return info.read_text().count("inotify wd:") if info.exists() else 0


class _Deaf(inotify.Inotify):
    """inotify on a network file system: what others write is not told."""

    def told(self) -> list[int] | None:
        super().told()
        return []


class _Forgetful(inotify.Inotify):
    """Its queue is always too short."""

    def told(self) -> list[int] | None:
        super().told()
        return None


class _Full(inotify.Inotify):
    """The user has watches for one file."""

    watches = 1

    def watch(self, handle: int) -> int:
        if not self.watches:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.watches -= 1
        return super().watch(handle)


class _Refusing(inotify.Inotify):
    """A file may be read through its descriptor alone."""

    def watch(self, handle: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


class _Losing(inotify.Inotify):
    """Its queue was too short once."""

    is_lost = False

    def told(self) -> list[int] | None:
        told, is_lost, type(self).is_lost = super().told(), self.is_lost, False
        return None if is_lost else told


class _Limited(inotify.Inotify):
    """The user has watches for four files, and others use them at times."""

    watches_max = 4

    def watch(self, handle: int) -> int:
        if watches(self) >= self.watches_max:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().watch(handle)


class _Files(system.OsFiles):
    """Real files; counts what is asked, and has the growth that a test wants."""

    def __init__(self, growth: type[inotify.Inotify] | None = inotify.Inotify) -> None:
        self.asked: list[int] = []
        self.growths: list[inotify.Inotify] = []
        self._growth = growth

    def growth(self) -> model.Growth:
        if self._growth is None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.growths.append(self._growth())
        return self.growths[-1]

    def watches(self) -> int:
        """Return how many there are; a number that was closed may be another one's since."""
        return sum({one._handle: watches(one) for one in self.growths}.values())

    def sizes(self, handles: Sequence[int]) -> list[int]:
        self.asked.append(len(handles))
        return super().sizes(handles)


def begin(tmp_path: Path, files: _Files, count: int = 5, **source: object) -> Rig:
    """Follow files until nothing is to be done for them."""
    rig = Rig(tmp_path, files, **source)
    for number in range(count):
        rig.write(f"{number}.log", 0, 1)
    os.utime(tmp_path, (0, 0))  # else it seems to change all the time
    rig.go_on(25.0)
    files.asked.clear()
    return rig


def test_idle_files_are_asked_in_sweeps_only(tmp_path: Path) -> None:
    """What costs is what changes, not what matches."""
    files = _Files()
    begin(tmp_path, files).go_on(60.0)

    assert sum(files.asked) <= 5 * 60 / idle.SWEEP_S + 5


@pytest.mark.parametrize("growth", [inotify.Inotify, _Forgetful, _Full, _Refusing, None], ids=str)
def test_growth_is_seen_within_a_second(
    tmp_path: Path, growth: type[inotify.Inotify] | None
) -> None:
    """Told of, or polled where the kernel does not watch or does not remember."""
    rig = begin(tmp_path, _Files(growth))
    for number in range(5):
        lines = rig.write(f"{number}.log", 1, 2)
        rig.go_on(1.5)

        assert rig.accepted[-1:] == lines


def test_growth_that_is_not_told_is_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the next sweep; from then on the device's files are polled, and that is said once."""
    caplog.set_level(logging.INFO)
    rig = begin(tmp_path, _Files(_Deaf))
    late = rig.write("0.log", 1, 2)
    rig.go_on(idle.SWEEP_S + 3.0)
    found = rig.accepted[-1:]
    for number in range(1, 5):
        lines = rig.write(f"{number}.log", 1, 2)
        rig.go_on(1.5)

        assert rig.accepted[-1:] == lines
    rig.go_on(60.0)

    assert found == late
    (said,) = [one.getMessage() for one in caplog.records if "files polled" in one.getMessage()]
    assert "0.log" in said


def test_device_that_is_given_up_is_polled_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what the kernel was asked to watch in the very moment."""
    monkeypatch.setattr(idle, "_WATCHES_MAX", 1)
    files = _Files(_Deaf)
    rig = begin(tmp_path, files, 60)
    rig.write("0.log", 1, 2)
    rig.go_on(idle.SWEEP_S + 3.0)

    lines = [line for number in range(60) for line in rig.write(f"{number}.log", 2, 3)]
    rig.go_on(1.5)

    assert sorted(rig.accepted[-60:]) == sorted(lines)
    assert files.watches() == 0


def test_limit_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Past the kernel's limits what is left is polled."""
    caplog.set_level(logging.INFO)
    begin(tmp_path, _Files(_Full)).go_on(60.0)

    (said,) = [one.getMessage() for one in caplog.records if "files polled" in one.getMessage()]
    assert os.strerror(errno.ENOSPC) in said


def test_half_of_the_watches_that_there_are_is_left_to_others(tmp_path: Path) -> None:
    """The limit is the user's: new directories need some, and other programs."""
    files = _Files(_Limited)
    rig = begin(tmp_path, files, 10)
    held = files.watches()
    rig.go_on(60.0)

    assert (held, files.watches()) == (2, 2)


def test_watches_that_others_give_back_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as there was none, it is tried again."""
    monkeypatch.setattr(_Limited, "watches_max", 0)
    files = _Files(_Limited)
    rig = begin(tmp_path, files)
    held = files.watches()
    monkeypatch.setattr(_Limited, "watches_max", 100)
    rig.go_on(60.0)

    assert (held, files.watches()) == (0, 5)


def test_watches_are_given_back_when_some_of_what_was_told_is_lost(tmp_path: Path) -> None:
    """One that nobody knows of any more would last as long as its file."""
    files = _Files(_Losing)
    rig = begin(tmp_path, files, rotate_wait="30s")
    os.rename(tmp_path / "0.log", tmp_path / "0.log.1")
    rig.go_on(10.0)
    _Losing.is_lost = True
    rig.go_on(60.0)

    assert len(rig.flow.roster.tails) == files.watches() == 4


def test_file_cut_and_written_on_is_told_of(tmp_path: Path) -> None:
    """`> file` while nothing happens to it, and a line of another length after it."""
    rig = begin(tmp_path, _Files())
    os.truncate(tmp_path / "0.log", 0)
    rig.go_on(1.5)
    lines = rig.write("0.log", 7, 8)
    rig.go_on(1.5)

    assert rig.accepted[-1:] == lines


def test_file_that_was_replaced_is_watched_anew(tmp_path: Path) -> None:
    """A rotation: the old one is watched until it is retired, the new one as soon as it rests."""
    rig = begin(tmp_path, _Files())
    os.rename(tmp_path / "0.log", tmp_path / "0.log.1")
    rig.write("0.log", 1, 2)
    rig.go_on(30.0)
    late = rig.write("0.log.1", 2, 3)
    rig.go_on(1.5)
    new = rig.write("0.log", 3, 4)
    rig.go_on(1.5)

    assert rig.accepted[-2:] == late + new


def test_watches_end_with_the_flow(tmp_path: Path) -> None:
    """Its descriptor is closed, and another life begins with one of its own."""
    rig = begin(tmp_path, _Files())
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        rig.stop()
        rig.begin()
        rig.go_on(25.0)
    lines = rig.write("0.log", 1, 2)
    rig.go_on(1.5)

    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert rig.accepted[-1:] == lines
