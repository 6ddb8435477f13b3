"""NULs that nobody wrote, on a real file system: holes before, allocated space behind."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from log_rig import CREDIT, KIB, Log, read_chunks, read_records, row_of
from lost_rig import Rig

from kagent import frame, proven, split


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


# --- one tail ---------------------------------------------------------------------------------


def test_hole_that_became_longer_is_a_truncation(log: Log) -> None:
    """NULs prove little, but where a line began there are none, unless it is gone."""
    log.write(bytes(12) + b"half")
    one = log.follow()
    read_chunks(one)

    log.write(bytes(50) + b"whole\nhalf")

    with pytest.raises(proven.TruncatedError):
        one.read(CREDIT, 0.0)


def test_hole_that_became_longer_while_nobody_looked_is_dropped_too(log: Log) -> None:
    """NULs prove little: truncated again and written on behind, the line still has none."""
    log.write(bytes(12) + b"half")
    one = log.follow()
    (hole,) = read_chunks(one)
    one.settle([hole.chunk])
    row = dataclasses.replace(row_of(one), size=12)
    one = log.resume(row)

    log.write(bytes(50) + b"whole\nhalf")
    found = [one.read(CREDIT, 0.0) for _ in range(2)]  # nobody has seen yet that it grew

    chunks = [result.chunk for result in found if result is not None]
    assert [(12, 50), (50, 56)] == [(chunk.start, chunk.end) for chunk in chunks]
    assert [b"whole\n"] == [record for chunk in chunks for record in chunk.records]


def test_hole_that_became_longer_over_what_the_life_before_saw_is_a_truncation(log: Log) -> None:
    """The row says that something stood behind it: simulation, seed 755542."""
    log.write(bytes(12) + b"half")
    one = log.follow()
    (hole,) = read_chunks(one)
    one.settle([hole.chunk])
    one = log.resume(row_of(one))

    log.write(bytes(50) + b"whole\nhalf")

    with pytest.raises(proven.TruncatedError):
        one.read(CREDIT, 0.0)


def test_longer_hole_over_unread_lines_is_a_truncation(log: Log) -> None:
    """Of a file that begins with NULs what stands behind them proves its content."""
    log.write(bytes(100) + b"unread\n")
    one = log.follow()

    log.write(bytes(107) + b"new\n")

    with pytest.raises(proven.TruncatedError):
        one.poll(0.0)


def test_nuls_that_end_lines_are_no_hole(log: Log) -> None:
    """Where a delimiter is a NUL, a file that begins with one begins with a line."""
    rules = split.Rules(64 * KIB, frame=frame.Frame(delimiter="\0"))
    log.write(b"\0one\0")
    one = log.follow(rules=rules)

    records = read_records(one)

    assert [b"\0", b"one\0"] == records
