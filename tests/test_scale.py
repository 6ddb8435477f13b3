"""Cost grows with what happens, not with what is there: counted in questions to the system.

Nothing here measures time; `tests/benchmarks/scale.py` does.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

import fakes
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
