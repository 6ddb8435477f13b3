"""The store on a real database: what was written is there, whole or not at all, also after -9."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


def example(tail: str, offset: int = 10) -> model.Checkpoint:
    return dataclasses.replace(EXAMPLE, tail_id=tail * 32, offset=offset)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[checkpoint.CheckpointStore]:
    opened = checkpoint.CheckpointStore(str(tmp_path))
    opened.open()
    yield opened
    opened.close()


def reopened(store: checkpoint.CheckpointStore) -> checkpoint.CheckpointStore:
    store.close()
    store.open()
    return store


def set_pages_max(store: checkpoint.CheckpointStore, pages: int) -> None:
    """Make SQLite itself say that the disk is full."""
    assert store._database is not None
    store._database.execute(f"PRAGMA max_page_count = {pages}").fetchall()


def test_snapshots_are_there_after_a_restart(store: checkpoint.CheckpointStore) -> None:
    """Checkpoints and scanned patterns come back by flow; the last one of a tail wins."""
    web = model.FlowSnapshot("web", 1, (example("a"), example("b")), scanned=("/*.log",))
    again = model.FlowSnapshot("web", 2, (example("a", 20),), scanned=("/*.log", "/é\udcff"))
    audit = model.FlowSnapshot("audit", 1, (example("c"),))

    store.write([web, again, audit])

    store = reopened(store)
    assert store.load("web") == ([example("a", 20), example("b")], {"/*.log", "/é\udcff"})
    assert store.load("audit") == ([example("c")], set())
    assert store.load("unknown") == ([], set())


def test_forgotten_tail_is_gone_from_its_flow_alone(store: checkpoint.CheckpointStore) -> None:
    """Keys are (flow, tail_id): another flow's row of the same tail stays."""
    store.write([model.FlowSnapshot(flow, 1, (example("a"),)) for flow in ("web", "audit")])

    store.write([model.FlowSnapshot("web", 2, forgotten=("a" * 32, "b" * 32))])

    assert store.load("web") == ([], set())
    assert store.load("audit") == ([example("a")], set())


def test_failed_write_saves_nothing_and_the_next_one_works(
    store: checkpoint.CheckpointStore,
) -> None:
    """A transaction that a full disk cut short is rolled back; the connection goes on."""
    store.write([model.FlowSnapshot("web", 1, (example("a"),))])
    many = tuple(
        dataclasses.replace(EXAMPLE, tail_id=f"{number:032}", paths=("/x" * 999,))
        for number in range(99)
    )
    snapshot = model.FlowSnapshot("web", 2, (example("a", 20), *many))
    set_pages_max(store, 1)

    with pytest.raises(OSError, match="database or disk is full"):
        store.write([snapshot])

    assert store.load("web")[0] == [example("a")]
    set_pages_max(store, 1_000_000)
    store.write([snapshot])
    assert len(reopened(store).load("web")[0]) == 100


def test_reader_sees_committed_rows_while_the_store_is_open(
    store: checkpoint.CheckpointStore,
) -> None:
    """Commands read beside the daemon, and what they read was committed."""
    store.write([model.FlowSnapshot("web", 1, (example("a"),))])

    reader = sqlite3.connect(f"file:{store.path}?mode=ro", uri=True)
    found = reader.execute("SELECT flow, offset FROM checkpoint").fetchall()

    reader.close()
    assert found == [("web", 10)]


# --- flows ------------------------------------------------------------------------------------


def test_flows_are_known_as_last_described(store: checkpoint.CheckpointStore) -> None:
    """The configuration of the last run is what a renamed or a gone flow is known by."""
    store.describe(checkpoint.KnownFlow("web", ("/a.log",), "kinesis a"))
    store.describe(checkpoint.KnownFlow("audit", ("/*.log", "/\udcff"), "firehose b"))
    store.describe(checkpoint.KnownFlow("web", ("/b.log",), "kinesis a"))

    known = reopened(store).flows()

    assert known == [
        checkpoint.KnownFlow("audit", ("/*.log", "/\udcff"), "firehose b"),
        checkpoint.KnownFlow("web", ("/b.log",), "kinesis a"),
    ]


def test_adopted_flow_goes_on_under_its_new_name(store: checkpoint.CheckpointStore) -> None:
    """A rename in the configuration takes everything along and leaves nothing behind."""
    store.describe(checkpoint.KnownFlow("old", ("/*.log",), "kinesis a"))
    store.write([model.FlowSnapshot("old", 1, (example("a"), example("b")), scanned=("/*.log",))])
    store.describe(checkpoint.KnownFlow("new", ("/*.log",), "kinesis a"))
    store.write([model.FlowSnapshot("new", 1, (example("a", 0),), scanned=("/*.log",))])

    store.adopt("old", "new")

    store = reopened(store)
    assert store.load("new") == ([example("a"), example("b")], {"/*.log"})
    assert store.load("old") == ([], set())
    assert [flow.name for flow in store.flows()] == ["new"]


def test_forgotten_flow_leaves_the_others(store: checkpoint.CheckpointStore) -> None:
    """What `forget:` names is given up, whole, and nothing else."""
    for flow in ("web", "audit"):
        store.describe(checkpoint.KnownFlow(flow, ("/*.log",), "kinesis a"))
        store.write([model.FlowSnapshot(flow, 1, (example("a"),), scanned=("/*.log",))])

    store.forget("web")

    store = reopened(store)
    assert store.load("web") == ([], set())
    assert store.load("audit") == ([example("a")], {"/*.log"})
    assert [flow.name for flow in store.flows()] == ["audit"]


# --- crashes and damage -----------------------------------------------------------------------

WRITER = """
import sys
from kagent import checkpoint, model
import test_checkpoint_store as examples
store = checkpoint.CheckpointStore(sys.argv[1])
store.open()
for offset in range(1_000_000):
    both = tuple(examples.example(tail, offset) for tail in "ab")
    store.write([model.FlowSnapshot("web", offset, both)])
    print(offset, flush=True)
"""


def test_killed_writer_leaves_every_finished_write_whole(tmp_path: Path) -> None:
    """After `kill -9` all offsets are of one write, no older than the last that returned."""
    arguments = [sys.executable, "-c", WRITER, str(tmp_path / "state")]
    for kill_after in (1, 20, 100):
        with subprocess.Popen(
            arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
        ) as writer:
            assert writer.stdout is not None
            for _ in range(kill_after):
                returned = writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)

        store = checkpoint.CheckpointStore(str(tmp_path / "state"))
        store.open()
        (first, second), _ = store.load("web")
        store.close()
        assert first.offset == second.offset
        assert first.offset >= int(returned)


def test_store_that_cannot_open_holds_nothing(tmp_path: Path) -> None:
    """A refused database does not keep the lock; a fresh try is possible in the same process."""
    (tmp_path / "checkpoints.db").touch()
    store = checkpoint.CheckpointStore(str(tmp_path))
    with pytest.raises(errors.CheckpointError, match="it is empty"):
        store.open()
    (tmp_path / "checkpoints.db").unlink()

    store.open()

    assert store.flows() == []
    store.close()
    store.close()


def test_value_that_we_did_not_write_is_damage(store: checkpoint.CheckpointStore) -> None:
    """SQLite does not see a flipped bit inside a value; it is found when the row is read."""
    store.write([model.FlowSnapshot("web", 1, (example("a"),))])
    assert store._database is not None
    store._database.execute("UPDATE checkpoint SET frontier = '[10'")

    with pytest.raises(errors.CheckpointError, match="is damaged: "):
        store.load("web")


def test_database_of_an_older_release_is_upgraded(tmp_path: Path) -> None:
    """Columns are added with their defaults, after the file was copied beside itself."""
    path = tmp_path / "checkpoints.db"
    with contextlib.closing(checkpoint.CheckpointStore(str(tmp_path))) as store:
        store.open()
        store.write([model.FlowSnapshot("web", 1, (EXAMPLE,))])
    with contextlib.closing(sqlite3.connect(path)) as database:
        for column in ("is_done", "target"):
            database.execute(f"ALTER TABLE checkpoint DROP COLUMN {column}")
        database.execute("PRAGMA user_version = 1000")

    with contextlib.closing(checkpoint.CheckpointStore(str(tmp_path))) as store:
        store.open()
        loaded, _ = store.load("web")
        done = dataclasses.replace(EXAMPLE, is_done=True, target="/logs/0.log")
        store.write([model.FlowSnapshot("web", 2, (done,))])
        reloaded, _ = store.load("web")

    assert [EXAMPLE] == loaded
    assert [done] == reloaded
    with contextlib.closing(sqlite3.connect(tmp_path / "checkpoints.db.1000")) as copy:
        assert [(1,)] == copy.execute("SELECT count(*) FROM checkpoint").fetchall()
