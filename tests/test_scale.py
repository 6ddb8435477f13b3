"""Cost grows with what happens, not with what is there: counted in questions to the system.

Nothing here measures time; `tests/benchmarks/scale.py` does.
"""

from __future__ import annotations

import collections
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import fakes
import pytest
import real_files
from test_flow import Rig


class CountingFiles(fakes.FakeFiles):
    """Counts what it is asked."""

    def __init__(self, clock: fakes.FakeClock) -> None:
        super().__init__(clock)
        self.asked: collections.Counter[str] = collections.Counter()

    def status(self, path: str, base: str):  # type: ignore[no-untyped-def]
        self.asked["status"] += 1
        return super().status(path, base)

    def list_directory(self, path: str, base: str):  # type: ignore[no-untyped-def]
        self.asked["list"] += 1
        return super().list_directory(path, base)

    def read(self, handle: int, offset: int, size: int) -> bytes:
        self.asked["read"] += 1
        return super().read(handle, offset, size)

    def handle_status(self, handle: int):  # type: ignore[no-untyped-def]
        self.asked["handle_status"] += 1
        return super().handle_status(handle)

    def sizes(self, handles: Sequence[int]) -> list[int]:
        self.asked["sizes"] += 1
        return super().sizes(handles)


class CountingRig(Rig):
    """A flow over files that are counted."""

    def begin(self, estate):  # type: ignore[no-untyped-def]
        if not isinstance(self.files, CountingFiles):
            self.files = CountingFiles(self.clock)
            self.files.make_directory("/logs")
        return super().begin(estate)

    def count(self, seconds: float) -> collections.Counter[str]:
        """Return what is asked within so many seconds."""
        before = self.files.asked.copy()
        self.go_on(seconds)
        return self.files.asked - before


def test_files_at_rest_are_asked_for_their_sizes_in_one_call() -> None:
    """Once a second, whatever their number; none of them is read or looked at by itself."""
    rig = CountingRig()
    for number in range(300):
        rig.write(f"/logs/{number}.log", b"line\n")
    rig.go_on(15.0)

    asked = rig.count(10.0)

    assert len(rig.accepted) == 300
    assert 9 <= asked["sizes"] <= 11
    assert (0, 0) == (asked["read"], asked["handle_status"])


def test_file_at_rest_that_grows_is_read_within_a_second_then_sooner() -> None:
    """One that grew is looked at each quarter of a second for a while."""
    rig = CountingRig()
    for number in range(50):
        rig.write(f"/logs/{number}.log", b"line\n")
    rig.go_on(15.0)

    rig.write("/logs/7.log", b"after silence\n")
    rig.step(1.0)
    rig.answer()
    rig.step(0.25)
    rig.write("/logs/7.log", b"at once\n")
    rig.step(0.25)
    rig.answer()

    assert [b"after silence\n", b"at once\n"] == rig.accepted[50:]


def test_file_whose_size_cannot_be_had_hinders_no_other() -> None:
    """The one call fails for all, so each is asked by itself, and its fault is its own."""
    rig = CountingRig()
    for number in range(5):
        rig.write(f"/logs/{number}.log", b"line\n")
    rig.go_on(15.0)

    rig.fail("size", "/logs/3.log")
    rig.write("/logs/4.log", b"more\n")
    rig.go_on(3.0)
    rig.files.before = lambda operation, path: None
    rig.write("/logs/3.log", b"again\n")
    rig.go_on(3.0)

    assert [b"more\n", b"again\n"] == rig.accepted[5:]


# --- more files than may be open --------------------------------------------------------------


@pytest.fixture
def crowded(tmp_path: pathlib.Path) -> real_files.Host:
    """A flow over 60 files of the real file system, of which 8 may be open at once."""
    one = real_files.Host(tmp_path)
    one.handles_max = 8
    for number in range(60):
        one.write(f"{number}.log", b"old %d" % number)
    return one


def open_handles(host: real_files.Host) -> int:
    """Return how many logs this process holds open, as the kernel says."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.lexists(link)]
    return len([one for one in targets if one.startswith(f"{host.directory}/") and ".log" in one])


def test_more_files_than_may_be_open_are_read_in_turn(
    crowded: real_files.Host, caplog: pytest.LogCaptureFixture
) -> None:
    """What is shipped is closed for others; nothing is lost, twice, or beyond the limit."""
    crowded.start()
    found: list[bytes] = []
    for _ in range(80):
        found += crowded.run(1.0)
        assert open_handles(crowded) <= 8
    for number in range(60):
        crowded.write(f"{number}.log", b"new %d" % number)
    for _ in range(80):
        found += crowded.run(1.0)
        assert open_handles(crowded) <= 8

    expected = [b"%b %d\n" % (word, number) for number in range(60) for word in (b"old", b"new")]
    assert sorted(expected) == sorted(found)
    assert 1 <= len([one for one in caplog.messages if one.startswith("files wait")]) <= 3


def test_file_that_is_closed_for_others_when_it_is_renamed_is_no_other_file(
    tmp_path: pathlib.Path,
) -> None:
    """The scan that sees its new name is the one that needs its place."""
    host = real_files.Host(tmp_path)
    host.handles_max = 8
    for number in range(8):
        host.write(f"{number}.log", b"old %d" % number)
    host.start()
    found = host.run(20.0)
    for number in range(8):
        (tmp_path / f"{number}.log").rename(tmp_path / f"was-{number}.log")
        host.write(f"{number}.log", b"new %d" % number)
    found += host.run(40.0)
    for number in range(8):
        host.write(f"was-{number}.log", b"more %d" % number)
    found += host.run(40.0)

    words = (b"old", b"new", b"more")
    assert sorted(b"%b %d\n" % (word, n) for word in words for n in range(8)) == sorted(found)
    assert open_handles(host) <= 8


def test_files_that_were_there_before_begin_at_their_end_however_many_may_be_open(
    crowded: real_files.Host,
) -> None:
    """Their starts are durable before anything is read; what comes later is read from there."""
    crowded.source["start_at"] = "end"
    crowded.write("7.log", b"half a")
    with (crowded.directory / "7.log").open("rb+") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 1)
    crowded.start()
    crowded.flow.step()
    for number in range(60):
        if number != 7:
            crowded.write(f"{number}.log", b"new %d" % number)
    crowded.write("7.log", b" line")
    crowded.crash()
    crowded.start()
    found = crowded.run(80.0)

    expected = [b"new %d\n" % number for number in range(60) if number != 7]
    assert sorted([*expected, b"half a line\n"]) == sorted(found)
    assert open_handles(crowded) <= 8


def test_files_at_rest_stay_closed_over_a_restart(crowded: real_files.Host) -> None:
    """Their rows say that all of them is shipped; the one that grew is opened."""
    crowded.start()
    crowded.run(80.0)
    crowded.stop()
    crowded.write("33.log", b"new")
    crowded.start()

    assert [b"new\n"] == crowded.run(10.0)
    assert open_handles(crowded) <= 8


def test_process_may_hold_what_it_is_allowed_to() -> None:
    """The soft limit, 1024 on most systems, is raised to the hard one."""
    code = (
        "import resource, kagent.system as s;"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard));"
        "print(s.handles_max(), s.raise_handles_max() == min(hard, s.HANDLES_MAX))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert "64 True\n" == said
