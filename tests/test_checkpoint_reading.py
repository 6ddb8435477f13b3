"""The database as a command reads it: daemon running, stopped or killed, as root and as nobody."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys

import pytest

from kagent import checkpoint, errors, model

EXAMPLE = model.Checkpoint(
    tail_id="a" * 32,
    paths=("/var/log/a.log",),
    identity=model.FileIdentity(1, 2),
    mtime_ns=3,
    was_unlinked=False,
    start=0,
    offset=10,
    fingerprint=model.Fingerprint(10, b"head"),
    frontier=model.Frontier(10, b"edge"),
)
NOBODY = 65534


@pytest.fixture
def state(tmp_path: pathlib.Path) -> pathlib.Path:
    """A state directory with one row, its daemon stopped."""
    return stopped(tmp_path)


def stopped(directory: pathlib.Path) -> pathlib.Path:
    store = checkpoint.CheckpointStore(str(directory / "state"))
    store.open()
    store.describe(checkpoint.KnownFlow("web", ("/var/log/*.log",), "kinesis web"))
    store.write([model.FlowSnapshot("web", 1, (EXAMPLE,))])
    store.close()
    return directory / "state"


def names(directory: pathlib.Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_rows_are_found_by_flow_and_by_inode_or_fingerprint(state: pathlib.Path) -> None:
    """Every row of the flow that may be about a file, and no other."""
    reader = checkpoint.CheckpointReader(str(state))

    assert reader.flows() == [
        checkpoint.KnownFlow("web", ("/var/log/*.log",), "kinesis web"),
    ]
    assert reader.find("web", 2, []) == [EXAMPLE]
    assert reader.find("web", 7, [EXAMPLE.fingerprint]) == [EXAMPLE]
    assert reader.find("web", 7, [model.Fingerprint(9, b"head")]) == []
    assert reader.find("audit", 2, [EXAMPLE.fingerprint]) == []


def test_a_stopped_daemon_s_database_is_read_without_a_trace(state: pathlib.Path) -> None:
    """No -wal and no -shm is left that the daemon, as another user, could not open."""
    before = names(state)

    checkpoint.CheckpointReader(str(state)).flows()

    assert names(state) == before == ["checkpoints.db", "lock"]


def test_what_a_running_daemon_saved_is_seen_at_once(state: pathlib.Path) -> None:
    """Also what is in the write-ahead log alone; the daemon's lock is not in the way."""
    store = checkpoint.CheckpointStore(str(state))
    store.open()
    reader = checkpoint.CheckpointReader(str(state))

    for offset in (20, 30):
        row = dataclasses.replace(EXAMPLE, offset=offset)
        store.write([model.FlowSnapshot("web", 1, (row,))])
        assert [row] == reader.find("web", 2, [])
    store.close()


def test_what_a_killed_daemon_saved_is_seen(state: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Its write-ahead log is read, and left as it is for the next start."""
    store = checkpoint.CheckpointStore(str(state))
    store.open()
    row = dataclasses.replace(EXAMPLE, offset=20)
    store.write([model.FlowSnapshot("web", 1, (row,))])
    killed = shutil.copytree(state, tmp_path / "killed")
    store.close()
    before = {path.name: path.read_bytes() for path in killed.iterdir() if "shm" not in path.name}

    found = checkpoint.CheckpointReader(str(killed)).find("web", 2, [])

    after = {path.name: path.read_bytes() for path in killed.iterdir() if "shm" not in path.name}
    assert [row] == found
    assert before == after


class Meddled(checkpoint.CheckpointReader):
    """A reader beside which a daemon starts and saves, between a look and the next one."""

    meddle = None

    def _read(self, *arguments: object) -> list[sqlite3.Row]:
        found = super()._read(*arguments)  # type: ignore[arg-type]
        if self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle()
        return found


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_daemon_that_starts_meanwhile_is_noticed(state: pathlib.Path, is_closed: bool) -> None:
    """What was read of a file that was taken for unchanging does not count: it is read again."""
    reader = Meddled(str(state))
    store = checkpoint.CheckpointStore(str(state))
    row = dataclasses.replace(EXAMPLE, offset=20)

    def meddle() -> None:
        store.open()
        store.write([model.FlowSnapshot("web", 1, (row,))])
        if is_closed:
            store.close()

    reader.meddle = meddle  # type: ignore[assignment]

    assert [row] == reader.find("web", 2, [])
    store.close()


AS_NOBODY = """
import sys
from kagent import checkpoint
try:
    print(len(checkpoint.CheckpointReader(sys.argv[1]).flows()))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, to be somebody else"
)
@pytest.mark.parametrize(
    ("mode", "is_running", "expected"),
    [
        pytest.param(0o755, False, "1", id="stopped"),
        pytest.param(0o755, True, "1", id="running"),
        pytest.param(0o700, True, "PermissionError", id="not allowed"),
    ],
)
def test_a_user_who_may_not_write_reads(
    public: pathlib.Path, mode: int, is_running: bool, expected: str
) -> None:
    """Where the directory and the files may be read, that is enough."""
    state = stopped(public)
    store = checkpoint.CheckpointStore(str(state))
    if is_running:
        store.open()
        store.write([model.FlowSnapshot("web", 1, (EXAMPLE,))])
    for path in state.iterdir():
        path.chmod(0o644)
    state.chmod(mode)
    as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")

    done = subprocess.run(
        [*as_nobody, sys.executable, "-c", AS_NOBODY, str(state)],
        capture_output=True,
        text=True,
        check=False,
    )
    store.close()

    assert f"{expected}\n" == done.stdout


def test_no_database_and_no_directory_are_the_system_s_errors(tmp_path: pathlib.Path) -> None:
    """The caller knows what to say."""
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError):
            checkpoint.CheckpointReader(str(directory)).flows()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        pytest.param("PRAGMA application_id = 7", "is not a database of kagent", id="foreign"),
        pytest.param("PRAGMA user_version = 2000", "has version 2000", id="another major"),
        pytest.param("UPDATE checkpoint SET frontier = '['", "is damaged", id="a broken row"),
        pytest.param("DROP TABLE checkpoint", "no such table", id="a table is missing"),
    ],
)
def test_what_is_not_ours_is_refused(state: pathlib.Path, statement: str, said: str) -> None:
    """As when the daemon starts."""
    connection = sqlite3.connect(state / "checkpoints.db", isolation_level=None)
    connection.execute(statement)
    connection.close()

    with pytest.raises((errors.CheckpointError, OSError), match=said):
        checkpoint.CheckpointReader(str(state)).find("web", 2, [])


def test_a_damaged_file_is_refused(state: pathlib.Path) -> None:
    """Bytes that are no database are said to be damaged."""
    (state / "checkpoints.db").write_bytes(b"no database" * 1000)

    with pytest.raises(errors.CheckpointError, match="damaged"):
        checkpoint.CheckpointReader(str(state)).flows()
