"""The open files of a flow: one tail for each, and only those with something to do are busy."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from lost_rig import Rig

from kagent import system


def test_only_files_with_something_to_do_are_busy(tmp_path: Path) -> None:
    """A file that is shipped rests until it grows."""
    rig = Rig(tmp_path)
    for number in range(5):
        rig.write(f"{number}.log", 100 * number, 100 * number + 3)
    rig.go_on(30.0)
    tails = rig.flow.roster._tails

    resting = len(tails.busy)
    rig.write("3.log", 1000, 1001)
    rig.go_on(2.0)

    assert resting == 0
    assert [str(tmp_path / "3.log")] == [one.paths[0] for one in tails.busy.values()]
    assert len(tails.all) == len(tails.by_identity) == 5


def test_a_truncated_file_has_its_old_and_its_new_tail(tmp_path: Path) -> None:
    """Only the new one is found by identity; the old one is looked for, and then forgotten."""
    rig = Rig(tmp_path, rotate_wait="5s")
    rig.write("a.log", 0, 30)
    rig.go_on()
    tails = rig.flow.roster._tails
    (old,) = tails.all.values()

    with open(tmp_path / "a.log", "ab") as file:
        file.truncate(0)
    rig.write("a.log", 30, 40)
    rig.go_on(2.0)
    during = (set(tails.truncated), set(tails.all) - {old.tail_id}, len(tails.by_identity))
    rig.go_on(20.0)

    (new,) = tails.all
    assert ({old.tail_id}, {new}, 1) == during
    assert {} == tails.truncated
    assert os.path.getsize(tmp_path / "a.log") == tails.all[new].position


def test_fault_of_one_file_is_its_own(tmp_path: Path) -> None:
    """What cannot be read is skipped, and everything else goes on."""
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 3)
    rig.go_on()
    (one,) = rig.flow.roster.tails.values()

    def fail() -> int:
        raise OSError(5, "Input/output error")

    said = rig.flow.roster._tails.guard(one, fail, rig.clock.now)
    lines = rig.write("b.log", 10, 13)
    rig.go_on()

    assert said is None
    assert rig.accepted[-3:] == lines


def test_file_that_cannot_be_asked_for_its_size_wakes_no_other(tmp_path: Path) -> None:
    """Then each is asked by itself, and most have nothing new."""

    class _Stale(system.OsFiles):
        handle = -1

        def size(self, handle: int) -> int:
            if handle == self.handle:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return super().size(handle)

        def sizes(self, handles: Sequence[int]) -> list[int]:
            return [self.size(handle) for handle in handles]

    files = _Stale()
    rig = Rig(tmp_path, files)
    for number in range(5):
        rig.write(f"{number}.log", number, number + 1)
    rig.go_on(30.0)
    tails = rig.flow.roster._tails
    one = next(iter(tails.all.values()))
    assert one.handle is not None
    files.handle = one.handle
    tails.wake_grown(rig.clock.now)

    assert [one] == list(tails.busy.values())
