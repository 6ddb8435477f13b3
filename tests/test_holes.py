"""NULs that nobody wrote, on a real file system: holes before, allocated space behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lost_rig import Rig


@pytest.mark.parametrize("size", [100, 5000, 70_000])
def test_hole_of_a_writer_that_did_not_notice_the_truncation_is_dropped(
    tmp_path: Path, size: int
) -> None:
    """`> file` under a writer without O_APPEND: NULs up to where it was, then its lines."""
    rig = Rig(tmp_path)
    with open(tmp_path / "a.log", "wb", buffering=0) as writer:
        writer.write(b"x" * (size - 1) + b"\n")
        rig.go_on()
        os.truncate(tmp_path / "a.log", 0)
        rig.go_on()
        writer.write(b"new\n")
        rig.go_on()

    assert rig.accepted == [b"x" * (size - 1) + b"\n", b"new\n"]
    assert rig.flow.counters.dropped_bytes == size


def test_nuls_at_the_end_wait(tmp_path: Path) -> None:
    """Space that is allocated and not written to yet is no line, and none of it is shipped."""
    rig = Rig(tmp_path, rotate_wait="5s")
    (tmp_path / "a.log").write_bytes(b"one\nha" + bytes(3_000_000))
    rig.go_on()
    with open(tmp_path / "a.log", "r+b") as writer:
        writer.seek(6)
        writer.write(b"lf\ntwo\nend")
    os.utime(tmp_path / "a.log", (0, 0))
    rig.go_on(8.0)
    early = list(rig.accepted)
    os.unlink(tmp_path / "a.log")
    rig.go_on(30.0)

    assert early == [b"one\n", b"half\n", b"two\n"]
    assert rig.accepted == [*early, b"end"]
    assert rig.flow.roster.tails == {}
