"""`kagent demo`: the whole of it as a newcomer runs it, and its books by themselves."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kagent.cli import demo_account, demo_daemon, demo_report, demo_view, demo_writer

FILE = ("web", 1, 2)
LAST_LINE = re.compile(r"demo: written=(\d+) arrived=(\d+) lost=(\d+) duplicated=(\d+)")
DEADLINE_S = 70.0


# --- the whole of it -------------------------------------------------------------------------


@contextlib.contextmanager
def demo(root: pathlib.Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Run `kagent demo` with everything temporary below a directory, and leave nothing running."""
    command = [sys.executable, "-m", "kagent", "demo", "--seconds", str(seconds)]
    environ = os.environ | {"TMPDIR": str(root), "AWS_PROFILE": "of-the-user", "TERM": "xterm"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_stderr(process: subprocess.Popen[str], text: str) -> None:
    """Read stderr up to a line that holds a text."""
    assert process.stderr is not None
    assert any(text in line for line in process.stderr), text


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let children take Ctrl-C, also where a shell runs the tests as a background job."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def daemons(log: str) -> list[int]:
    """Return the pids of the daemons that are still running, of all that a log names."""
    pids = [int(pid) for pid in re.findall(r" started pid=(\d+)", log)]
    return [pid for pid in pids if pathlib.Path(f"/proc/{pid}/stat").exists()]


def test_it_loses_nothing_and_explains_every_duplicate(tmp_path: pathlib.Path) -> None:
    """Exit code 0, a last line for machines, the configuration and the log left, no process."""
    with demo(tmp_path, seconds=4) as process:
        output, progress = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 0, output + progress
    last = LAST_LINE.fullmatch(output.splitlines()[-1])
    assert last is not None
    written, arrived, lost, duplicated = map(int, last.groups())
    assert lost == 0
    assert written == arrived > 4 * 3000
    assert duplicated > 0  # a kill and a lost answer without any would be a demo of nothing
    assert "\x1b" not in output + progress
    (directory,) = tmp_path.iterdir()
    assert {"ca.pem", "daemon.log", "kagent.yaml"} == {path.name for path in directory.iterdir()}
    assert str(directory / "kagent.yaml") in output
    log = (directory / "daemon.log").read_text()
    assert log.count(" started pid=") == 2
    assert daemons(log) == []


def test_a_duplicate_that_nothing_explains_fails_it(tmp_path: pathlib.Path) -> None:
    """Lines that come twice without a reason, here from a file that has them, are exit code 1."""
    with demo(tmp_path, seconds=3) as process:
        wait_for_stderr(process, "the daemon is up")
        (log,) = tmp_path.glob("kagent-demo-*/logs/web/img.log")
        lines = log.read_bytes().splitlines(keepends=True)[:-1]
        # In another order: what begins like a followed file would be held as its copy.
        (log.parent / "again.log").write_bytes(b"".join(reversed(lines)))

        output, progress = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 1, output + progress
    last = LAST_LINE.fullmatch(output.splitlines()[-1])
    assert last is not None
    assert last[3] == "0"
    assert "duplicates have no explanation" in progress
    (directory,) = tmp_path.iterdir()
    assert f"everything was kept in {directory}" in progress
    assert (directory / "logs" / "web" / "again.log").exists()


def test_an_interrupt_clears_everything_away(tmp_path: pathlib.Path) -> None:
    """Ctrl-C ends the daemon and removes the directory; exit code 130, nothing on stdout."""
    with interruptible(), demo(tmp_path, seconds=4) as process:
        wait_for_stderr(process, "the daemon is up")
        (path,) = tmp_path.glob("kagent-demo-*/daemon.log")
        log = path.read_text()

        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 130
    assert output == ""
    assert list(tmp_path.iterdir()) == []
    assert " started pid=" in log
    assert daemons(log) == []


# --- the books -------------------------------------------------------------------------------


def arrival(line: bytes, order: int, *, is_answer_lost: bool = False) -> demo_account.Arrival:
    return demo_account.Arrival(line, order, is_answer_lost)


def place(start: int) -> demo_account.Place:
    return demo_account.Place(FILE, start, start + 2)


WRITTEN = {b"a\n": place(0), b"b\n": place(2), b"c\n": place(4)}
ONCE = [arrival(b"a\n", 0), arrival(b"b\n", 1), arrival(b"c\n", 2)]
KILL = demo_account.Kill(accepted={"web": 3}, settled={FILE: [(0, 2), (4, 6)]})


def balance(
    journal: list[demo_account.Arrival], kill: demo_account.Kill | None = KILL
) -> demo_account.Balance:
    consumed = [one.line for one in journal]
    return demo_account.balance_of("web", WRITTEN, consumed, journal, kill)


def test_lines_that_arrive_once_are_no_problem() -> None:
    """Without loss and duplicate there is nothing to explain."""
    found = balance(ONCE)

    assert found.problems() == []
    assert demo_report.last_line(found) == "demo: written=3 arrived=3 lost=0 duplicated=0"


def test_a_line_that_does_not_arrive_is_a_problem() -> None:
    """A lost line is counted, shown, and named as what it is."""
    found = balance(ONCE[:2])

    assert found.lost == [b"c\n"]
    assert demo_report.last_line(found) == "demo: written=3 arrived=2 lost=1 duplicated=0"
    assert found.problems() == ["1 lines did not arrive, for example:\n    c"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(arrival(b"b\n", 1), arrival(b"b\n", 3), (1, 0, 0), id="not durable"),
        pytest.param(arrival(b"a\n", 1), arrival(b"a\n", 3), (0, 0, 1), id="durable below"),
        pytest.param(arrival(b"c\n", 1), arrival(b"c\n", 3), (0, 0, 1), id="durable range"),
        pytest.param(arrival(b"b\n", 1), arrival(b"b\n", 2), (0, 0, 1), id="both before"),
        pytest.param(arrival(b"b\n", 3), arrival(b"b\n", 4), (0, 0, 1), id="both after"),
        pytest.param(
            arrival(b"b\n", 3, is_answer_lost=True),
            arrival(b"b\n", 4),
            (0, 1, 0),
            id="answer lost",
        ),
        pytest.param(
            arrival(b"b\n", 3),
            arrival(b"b\n", 4, is_answer_lost=True),
            (0, 0, 1),
            id="answer of the second lost",
        ),
        pytest.param(
            arrival(b"b\n", 1, is_answer_lost=True),
            arrival(b"b\n", 3),
            (1, 0, 0),
            id="not durable and answer lost",
        ),
    ],
)
def test_a_duplicate_has_a_reason_or_is_a_problem(
    first: demo_account.Arrival, second: demo_account.Arrival, expected: tuple[int, int, int]
) -> None:
    """A kill explains what was accepted before it and not durable, a lost answer what it held."""
    others = [one for one in ONCE if one.line != first.line]

    found = balance([second, *others, first])

    assert expected == (found.by_kill, found.by_lost_answer, len(found.unexplained))
    assert found.duplicated == 1
    assert bool(found.problems()) == (expected[2] == 1)


def test_each_copy_needs_a_reason_of_its_own() -> None:
    """A lost answer and a kill explain two further copies of a line, not a third."""
    copies = [arrival(b"b\n", 1, is_answer_lost=True), *(arrival(b"b\n", n) for n in (2, 4, 5))]

    found = balance([ONCE[0], ONCE[2], *copies])

    assert (found.by_lost_answer, found.by_kill, len(found.unexplained)) == (1, 1, 1)


def test_without_a_kill_only_lost_answers_explain() -> None:
    """A demo that failed before its kill still has books."""
    found = balance([*ONCE, arrival(b"b\n", 3)], kill=None)

    assert found.unexplained == [b"b\n"]


def test_records_that_nobody_wrote_and_wrong_reads_are_problems() -> None:
    """Half a line, and a record that GetRecords keeps to itself, fail the demo."""
    found = demo_account.balance_of(
        "web", WRITTEN, [b"a\n", b"b\n", b"c\n", b"b"], [*ONCE, arrival(b"a\n", 3)], None
    )

    assert sorted(found.misread) == [b"a\n", b"b"]
    assert any("read not as often" in problem for problem in found.problems())
    strange = balance([*ONCE, arrival(b"b", 3)])
    assert strange.strange == [b"b"]
    assert any("no line that was written" in problem for problem in strange.problems())


def test_balances_add_up() -> None:
    """The last line speaks of all flows together."""
    found = demo_account.sum_of([balance(ONCE[:2]), balance([*ONCE, arrival(b"b\n", 3)])])

    assert demo_report.last_line(found) == "demo: written=6 arrived=5 lost=1 duplicated=1"


# --- its parts -------------------------------------------------------------------------------


def test_the_site_knows_where_every_line_stands(tmp_path: pathlib.Path) -> None:
    """Lines are unique and at the places that were noted, rotations and all."""
    site = demo_writer.Site("web", str(tmp_path / "logs"), ("a.log", "b.log"), rate=100.0)

    for name in ("a.log", "b.log"):
        site.write(1.0)
        site.rename(name, f"{name}.1")
        site.write(1.0)
        site.reopen(name)
    site.write(1.0)
    site.close()

    held = {}
    for path in (tmp_path / "logs").iterdir():
        status, start = path.stat(), 0
        for line in path.read_bytes().splitlines(keepends=True):
            file = ("web", status.st_dev, status.st_ino)
            held[line] = demo_account.Place(file, start, start + len(line))
            start += len(line)
    assert held == site.written
    assert len(held) == 500
    assert site.renames == 2


def test_the_writers_buffer_leaves_lines_incomplete(tmp_path: pathlib.Path) -> None:
    """Most writes end within a line, as those of a server with a buffer do."""
    site = demo_writer.Site("web", str(tmp_path / "logs"), ("a.log",), rate=100.0)

    ends = []
    for _ in range(20):
        site.write(0.1)
        ends.append((tmp_path / "logs" / "a.log").read_bytes()[-1:])
    site.close()

    assert ends.count(b"\n") < 10


def test_a_truncated_file_begins_anew(tmp_path: pathlib.Path) -> None:
    """A paused file gets no lines until it is truncated; then its places start at 0."""
    site = demo_writer.Site("web", str(tmp_path / "logs"), ("a.log", "b.log"), rate=100.0)
    site.write(1.0)

    before = site.pause("a.log")
    size = (tmp_path / "logs" / "a.log").stat().st_size
    site.write(1.0)

    assert size == sum(map(len, before)) == (tmp_path / "logs" / "a.log").stat().st_size
    site.truncate("a.log")
    site.write(1.0)
    site.close()
    lines = (tmp_path / "logs" / "a.log").read_bytes().splitlines(keepends=True)
    assert site.written[lines[0]].start == 0
    assert not set(lines) & set(before)


def test_settled_ranges_are_read_from_a_database_with_an_unmerged_log(
    tmp_path: pathlib.Path,
) -> None:
    """What stands only in SQLite's write-ahead log counts, and the database is left as it was."""
    path = tmp_path / "checkpoints.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(  # the columns that are read; the whole of it needs them, too
            "PRAGMA journal_mode = WAL;"
            "CREATE TABLE checkpoint (flow, device, inode, start, offset, ranges);"
            "PRAGMA wal_checkpoint(TRUNCATE);"
        )
        ranges = '[[30,40,"00"],[50,60,"00"]]'
        values = ("web", "1", "18446744073709551615", 10, 20, ranges)
        database.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?, ?)", values)
        crashed = tmp_path / "crashed"
        crashed.mkdir()
        for name in ("checkpoints.db", "checkpoints.db-wal"):
            shutil.copy(tmp_path / name, crashed)
    before = {file.name: file.read_bytes() for file in crashed.iterdir()}

    found = demo_daemon.settled_in(str(crashed / "checkpoints.db"), str(tmp_path / "copy"))

    assert found == {("web", 1, 2**64 - 1): [(10, 20), (30, 40), (50, 60)]}
    assert before == {file.name: file.read_bytes() for file in crashed.iterdir()}


def test_the_child_sees_no_settings_of_the_user() -> None:
    """AWS's, systemd's and proxies' variables are left out; the credentials are the demo's."""
    own = {
        "PATH": "/bin",
        "AWS_PROFILE": "x",
        "AWS_ENDPOINT_URL": "x",
        "https_proxy": "x",
        "NOTIFY_SOCKET": "x",
        "STATE_DIRECTORY": "x",
        "KAGENT_CONFIG": "x",
    }

    found = demo_daemon.clean_environ(own, "key", "secret")

    assert "x" not in found.values()
    assert found["PATH"] == "/bin"
    assert found["AWS_ACCESS_KEY_ID"] == "key"
    assert found["AWS_SECRET_ACCESS_KEY"] == "secret"


@pytest.mark.parametrize(
    ("is_terminal", "term", "expected"),
    [
        pytest.param(True, "xterm", True, id="terminal"),
        pytest.param(True, "dumb", False, id="dumb terminal"),
        pytest.param(False, "xterm", False, id="file"),
    ],
)
def test_only_a_terminal_gets_a_live_table(
    *, is_terminal: bool, term: str, expected: bool
) -> None:
    """A file or a dumb terminal gets plain lines."""
    first, second = os.openpty() if is_terminal else os.pipe()
    with open(first, "rb"), open(second, "w") as stream:
        assert demo_view.is_live(stream, {"TERM": term}) == expected


FIGURES = demo_view.Figures("web", "Kinesis web-logs", 2000, 1500, 7, 3)


def test_plain_lines_tell_events_and_progress() -> None:
    """Without a terminal there is a line for each event, and progress every few seconds only."""
    stream = io.StringIO()

    with demo_view.PlainView(stream) as view:
        view.show([FIGURES])
        view.note("killed")

    assert re.fullmatch(r" +0\.\d s  killed\n", stream.getvalue())


def test_the_live_table_goes_when_it_ends_and_events_stay() -> None:
    """A terminal gets a table that is redrawn in place, then removed; events scroll above it."""
    leader, follower = os.openpty()
    with open(leader, "rb", buffering=0) as screen, open(follower, "w") as terminal:
        with demo_view.LiveView(terminal) as view:
            view.show([FIGURES])
            view.note("killed")
        drawn = b""
        while select.select([screen], [], [], 1.0)[0]:  # a terminal hands out what it has
            drawn += screen.read(65536)

    assert b"1,500" in drawn
    assert b"killed" in drawn
    assert drawn.rstrip().endswith(b"\x1b[2K")  # the last line of the table was erased
