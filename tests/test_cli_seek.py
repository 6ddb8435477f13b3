"""`kagent seek`: what it writes, what it refuses, and what the daemon ships after it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import click.testing
import pytest
from daemon import Daemon, running
from shipped_rig import Rig, numbered

from kagent import checkpoint, cli, local, model

LINES = numbered(500)  # 4,390 bytes


@pytest.fixture
def rig(tmp_path: pathlib.Path) -> Rig:
    """One flow, `web`, over *.log but debug.log."""
    one = Rig(tmp_path)
    one.configure(web={"source": {"paths": ["*.log"], "exclude": ["debug.log"]}})
    return one


def rows(rig: Rig) -> list[model.Checkpoint]:
    store = checkpoint.CheckpointStore(str(rig.root / "state"))
    store.open()
    found, scanned = store.load("web")
    store.close()
    assert scanned == set()  # files that a first scan finds still begin at start_at
    return found


@pytest.mark.parametrize(
    ("wished", "offset", "start"),
    [
        pytest.param("start", 0, 0, id="to the start"),
        pytest.param("end", 4390, 4390, id="to the end"),
        pytest.param("70", 70, 70, id="back, to before the start position"),
        pytest.param("140", 140, 100, id="back"),
        pytest.param("2000", 2000, 100, id="nowhere"),
        pytest.param("4000", 4000, 4000, id="forward"),
    ],
)
def test_the_position_is_moved(rig: Rig, wished: str, offset: int, start: int) -> None:
    """The tail keeps its id; what is skipped lies before the start position, not shipped."""
    path = rig.path("a.log", LINES + b"unfinished")
    older = tuple(rig.row(path, at).frontier for at in (120, 1000))
    settled = (model.SettledRange(3000, 3100, rig.row(path, 3100).frontier.digest),)
    known = rig.row(path, 2000, start=100, older=older, ranges=settled)
    rig.save(known)

    result = rig.run("seek", "web", path, wished)

    (row,) = rows(rig)
    assert result.stdout == f"web {path}: moved from 2000 to {offset}, of 4400 bytes\n"
    assert 0 == result.exit_code
    assert (known.tail_id, start, offset) == (row.tail_id, row.start, row.offset)
    assert rig.row(path, offset).frontier == row.frontier
    assert rig.row(path, offset).fingerprint == row.fingerprint
    assert row.ranges == ()
    assert all(start <= one.offset < offset for one in row.older)


def test_shipped_says_what_was_skipped(rig: Rig) -> None:
    """After `seek end` a file is shipped from its start position on, and the rest is named."""
    path = rig.path("a.log", LINES)
    rig.save(rig.row(path, 1000))
    rig.run("seek", "web", path, "end")

    result = rig.ask(path)

    assert result.exit_code == 0
    assert "bytes 0-4390 stand before the start position" in result.stderr


def test_a_file_that_is_not_known_yet_gets_a_row(rig: Rig) -> None:
    """With an id of its own, also before the first run."""
    path = rig.path("a.log", LINES)

    result = rig.run("seek", "web", path, "140")

    (row,) = rows(rig)
    assert "moved from no position to 140" in result.stdout
    assert (140, 140, 32) == (row.start, row.offset, len(row.tail_id))


def test_a_replaced_file_is_another_tail(rig: Rig) -> None:
    """The row of the older content stays as it is: its lost tail may be found yet."""
    path = rig.path("a.log", LINES)
    known = rig.row(path)
    rig.save(known)
    path.write_bytes(LINES.upper())

    result = rig.run("seek", "web", path, "140")

    assert "moved from no position to 140" in result.stdout
    (other,) = (row for row in rows(rig) if row.tail_id != known.tail_id)
    assert known in rows(rig)
    assert 140 == other.offset


def test_another_row_that_holds_does_not_win_over_the_new_position(rig: Rig) -> None:
    """Of all rows that the file proves one is left."""
    path = rig.path("a.log", LINES)
    known = rig.row(path, 2000)
    rig.save(known, dataclasses.replace(rig.row(path, 1000), tail_id="b" * 32))

    rig.run("seek", "web", path, "start")

    assert [(known.tail_id, 0)] == [(row.tail_id, row.offset) for row in rows(rig)]


def test_an_offset_inside_a_line_is_said(rig: Rig) -> None:
    """It is done all the same."""
    path = rig.path("a.log", LINES)

    result = rig.run("seek", "web", path, "3")

    assert result.exit_code == 0
    assert "3 is inside a line" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(("web", "a.log", "4391"), 1, "has only 4390 bytes", id="beyond the end"),
        pytest.param(("web", "a.log", "-1"), 2, "No such option", id="negative"),
        pytest.param(("web", "a.log", "1k"), 2, "'1k' is no position", id="no number"),
        pytest.param(("web", "a.log", "²"), 2, "is no position", id="no ASCII digit"),
        pytest.param(("wbe", "a.log", "0"), 2, "the flows are: web", id="no such flow"),
        pytest.param(("web", "a.txt", "0"), 1, "matches no path of the flow web", id="no match"),
        pytest.param(("web", "debug.log", "0"), 1, "is excluded from", id="excluded"),
        pytest.param(("web", "b.log", "0"), 1, "b.log does not exist", id="missing"),
        pytest.param(("web", "d.log", "0"), 1, "d.log is a directory", id="directory"),
        pytest.param(("web", "l.log", "0"), 1, "l.log is a link", id="link"),
    ],
)
def test_what_cannot_be_is_refused(
    rig: Rig, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """With the reason, and nothing is written."""
    rig.path("a.log", LINES)
    rig.path("a.txt", LINES)
    rig.path("debug.log", LINES)
    rig.path("d.log").mkdir()
    rig.path("l.log").symlink_to(rig.path("a.txt"))
    flow, name, wished = arguments

    result = rig.run("seek", flow, rig.path(name), wished)

    assert (code, "") == (result.exit_code, result.stdout)
    assert said in result.stderr
    assert not (rig.root / "state").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act for another user")
def test_root_leaves_no_file_that_the_daemon_cannot_open(public: pathlib.Path) -> None:
    """As root it writes as the owner of the state directory."""
    rig = Rig(public)
    rig.configure(web=["*.log"])
    path = rig.path("a.log", LINES)
    rig.save(rig.row(path, 1000))
    state = rig.root / "state"
    for one in (state, *state.iterdir()):
        os.chown(one, 65534, 65534)

    result = rig.run("seek", "web", path, "end")

    assert result.exit_code == 0, result.stderr
    assert {65534} == {one.stat().st_uid for one in state.iterdir()}


# --- end to end -------------------------------------------------------------------------------


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[Daemon]:
    """A daemon over log/*.log and a stream that does not throttle."""
    streams = {"web": local.StreamOptions(shards=1, is_throttled=False)}
    with running(tmp_path, local.Service(local.ServiceOptions(streams=streams))) as one:
        one.configure()
        yield one


def seek(daemon: Daemon, *arguments: str) -> click.testing.Result:
    line = ["seek", "-c", str(daemon.config), *arguments]
    return click.testing.CliRunner().invoke(cli.main, line)


@pytest.mark.parametrize(
    ("wished", "expected"),
    [
        pytest.param("start", LINES + b"late\n", id="start ships all again"),
        pytest.param("end", b"late\n", id="end skips"),
        pytest.param("4330", LINES[4330:] + b"late\n", id="from an offset on"),
    ],
)
def test_the_daemon_ships_from_there(daemon: Daemon, wished: str, expected: bytes) -> None:
    """And from nowhere else."""
    path = daemon.path("a.log")
    path.write_bytes(LINES)
    daemon.start()
    daemon.wait_for_lines(500)
    daemon.stop()
    sent = len(daemon.lines)
    with path.open("ab") as file:
        file.write(b"late\n")

    done = seek(daemon, "web", str(path), "4390" if wished == "end" else wished)
    daemon.start()
    daemon.wait_for_lines(501)

    assert daemon.stop() == 0
    assert 0 == done.exit_code, done.stderr
    assert sorted(expected.splitlines(keepends=True)) == sorted(daemon.lines[sent:])
    assert {"a.log": 4395} == daemon.offsets()


def test_a_running_daemon_is_not_meddled_with(daemon: Daemon) -> None:
    """Exit 1, with its number."""
    daemon.path("a.log").write_bytes(LINES)
    daemon.start()
    daemon.wait_for_lines(500)

    done = seek(daemon, "web", str(daemon.path("a.log")), "start")

    assert (1, "") == (done.exit_code, done.stdout)
    assert f"in use by another kagent, pid {daemon.process.pid}" in done.stderr  # type: ignore[union-attr]
    assert daemon.stop() == 0
