"""When files are closed, on a real file system: deleted ones that hold too much of the disk."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from lost_rig import Rig

from kagent import proof, sightings, system


def test_deleted_files_hold_no_more_of_the_disk_than_allowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond `unlinked_max` the largest is closed: said at once, then counted as abandoned."""
    rig = Rig(tmp_path, unlinked_max="1MiB", rotate_wait="30s")
    rig.write("small.log", 0, 30)
    rig.write("large.log", 0, 100_000)
    rig.go_on(8.0, answers=False)
    os.unlink(tmp_path / "small.log")
    os.unlink(tmp_path / "large.log")

    rig.go_on(5.0, answers=False)
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    rig.go_on(60.0)

    assert len([one for one in said if "file closed" in one]) == 1
    assert "path=" + str(tmp_path / "large.log") in said[0]
    counts = rig.flow.counters
    assert counts.abandoned_bytes == 10_000_000 + 3000 - counts.read_bytes > 0
    assert counts.delivered_bytes == counts.read_bytes
    assert "bytes lost" in caplog.text
    assert rig.flow.roster.tails == {}


def test_all_that_a_deleted_file_holds_is_counted_when_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what was written since it was polled: simulation, framed seed 4402."""
    rig = Rig(tmp_path, rotate_wait="30s")
    rig.write("a.log", 0, 30)
    rig.go_on()
    with open(tmp_path / "a.log", "ab") as writer:

        def free_share(_: system.OsFiles, handle: int) -> float:
            if writer.tell() == os.fstat(handle).st_size == 3000:
                writer.write(b"1\n2\n")
                writer.flush()
            return 0.04

        monkeypatch.setattr(system.OsFiles, "free_share", free_share)
        os.unlink(tmp_path / "a.log")
        rig.go_on(60.0)

    assert rig.flow.counters.abandoned_bytes == 4


def test_deleted_file_that_was_rewritten_is_counted_as_it_is_when_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by what was read of what it held before: simulation, framed seed 21027."""
    rig = Rig(tmp_path, rotate_wait="30s")
    rig.write("a.log", 0, 30)
    rig.go_on()
    with open(tmp_path / "a.log", "r+b") as writer:

        def free_share(_: system.OsFiles, handle: int) -> float:
            if os.fstat(handle).st_size == 3000:
                writer.truncate(0)
                writer.write(b"another line\n" * 400)
                writer.flush()
            return 0.04

        monkeypatch.setattr(system.OsFiles, "free_share", free_share)
        os.unlink(tmp_path / "a.log")
        rig.go_on(60.0)

    counters = rig.flow.counters
    assert counters.delivered_bytes + counters.abandoned_bytes == 3000 + 400 * 13


def test_deleted_files_leave_some_of_the_disk_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With less than 5 % free, deleted files are closed whatever they hold."""
    monkeypatch.setattr(system.OsFiles, "free_share", lambda _, handle: 0.04 + 0 * handle)
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    kept = rig.write("b.log", 30, 60)
    rig.go_on()

    os.unlink(tmp_path / "a.log")
    rig.go_on(8.0)

    assert sorted(lines + kept) == sorted(rig.accepted)
    assert "file closed flow=web" in caplog.text
    assert [("b.log",)] == [
        tuple(map(os.path.basename, one.paths))
        for one in rig.flow.roster.tails.values()
        if one.handle is not None
    ]


@pytest.mark.parametrize("last", ["half a line", ""], ids=["half a line", "whole lines"])
def test_file_that_was_renamed_away_ends_with_its_last_line(tmp_path: Path, last: str) -> None:
    """After rotate_wait of silence the last line goes out as it is, and the file is closed."""
    rig = Rig(tmp_path, rotate_wait="10s", paths=(f"{tmp_path}/a.log",))
    lines = rig.write("a.log", 0, 30)
    with open(tmp_path / "a.log", "ab") as file:
        file.write(last.encode())
    rig.go_on()

    os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
    rig.go_on(5.0)
    early = list(rig.accepted)
    rig.go_on(15.0)

    assert early == lines
    assert rig.accepted == lines + ([last.encode()] if last else [])
    assert rig.flow.roster.tails == {}
    (row,) = rig.store.rows.values()
    assert row.is_done
    assert row.offset == 3000 + len(last)


def test_file_that_grew_when_it_was_to_be_closed_for_others_is_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size was asked for then, and so is nothing new at the next look."""
    monkeypatch.setattr(sightings, "LOOKS_MIN", 0)
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 30)
    rig.go_on(30.0)
    rig.flow.roster._room.handles_max = 1
    lines = rig.write("a.log", 30, 40)
    rig.write("b.log", 0, 1)
    rig.go_on(5.0)

    assert rig.accepted[30:40] == lines


def test_file_that_was_opened_to_be_looked_at_is_closed_with_a_flow_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours while a scan asks what a file is: the flow ends, and begins again."""
    rig = Rig(tmp_path)
    rig.write("a.log", 0, 30)
    rig.go_on()
    rig.stop()
    before = len(os.listdir("/proc/self/fd"))

    rig.begin()
    with monkeypatch.context() as patch:
        patch.setattr(proof, "gather_evidence", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            rig.go_on()
    rig.stop()

    assert len(os.listdir("/proc/self/fd")) == before


def test_file_that_is_found_truncated_when_it_is_to_be_closed_for_others(
    tmp_path: Path,
) -> None:
    """The scan saw it as well: what it says is of the file, and not of the tail that ended."""
    rig = Rig(tmp_path)
    lines = rig.write("a.log", 0, 30)
    rig.go_on(60.0)

    rig.flow.roster._room.handles_max = 1
    rig.write("b.log", 50, 60)
    os.truncate(tmp_path / "a.log", 0)
    lines += rig.write("a.log", 30, 40)
    rig.go_on()

    assert lines == rig.accepted
