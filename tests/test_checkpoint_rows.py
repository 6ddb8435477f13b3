"""Checkpoints to rows and back, and snapshots merged as if each had been saved by itself."""

from __future__ import annotations

import dataclasses
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagent import model
from kagent.checkpoint import rows

DIGESTS = st.binary(max_size=32)
OFFSETS = st.integers(0, 2**63 - 1)
FRONTIERS = st.builds(model.Frontier, OFFSETS, DIGESTS)
NAMES = st.binary(max_size=20).map(lambda name: name.decode("utf-8", "surrogateescape"))
CHECKPOINTS = st.builds(
    model.Checkpoint,
    tail_id=st.sampled_from(["a" * 32, "b" * 32, "c" * 32]),
    paths=st.lists(NAMES, max_size=3).map(tuple),
    identity=st.builds(model.FileIdentity, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    mtime_ns=st.integers(-(2**70), 2**70),
    was_unlinked=st.booleans(),
    start=OFFSETS,
    offset=OFFSETS,
    fingerprint=st.builds(model.Fingerprint, st.integers(0, 1024), DIGESTS),
    frontier=FRONTIERS,
    older=st.lists(FRONTIERS, max_size=4).map(tuple),
    ranges=st.lists(st.builds(model.SettledRange, OFFSETS, OFFSETS, DIGESTS), max_size=3).map(
        tuple
    ),
    split_digest=st.text("0123456789abcdef", max_size=8),
    unseen_s=st.floats(0, 1e9),
    is_done=st.booleans(),
    target=NAMES,
)
SNAPSHOTS = st.builds(
    model.FlowSnapshot,
    flow=st.sampled_from(["web", "audit"]),
    sequence=st.integers(0, 99),
    checkpoints=st.lists(CHECKPOINTS, max_size=3).map(tuple),
    forgotten=st.lists(st.sampled_from(["a" * 32, "b" * 32]), max_size=2).map(tuple),
    scanned=st.lists(st.sampled_from(["/*.log", "/?.log"]), max_size=2).map(tuple),
    is_urgent=st.booleans(),
)


def empty_database() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    database.executescript(rows.SCHEMA)
    return database


@given(CHECKPOINTS)
def test_checkpoint_survives_the_database(checkpoint: model.Checkpoint) -> None:
    """Names that are no UTF-8, numbers beyond 63 bits, empty tuples: all come back alike."""
    database = empty_database()

    database.execute(rows.UPSERT, rows.row_of("web", checkpoint))

    (row,) = database.execute("SELECT * FROM checkpoint").fetchall()
    assert rows.checkpoint_of(row) == checkpoint


def test_saving_again_keeps_the_columns_of_a_newer_release() -> None:
    """After a downgrade a row keeps what the newer release wrote beside it."""
    database = empty_database()
    database.execute("ALTER TABLE checkpoint ADD COLUMN novelty TEXT NOT NULL DEFAULT ''")
    checkpoint = model.Checkpoint(
        tail_id="a" * 32,
        paths=("/a.log",),
        identity=model.FileIdentity(1, 2),
        mtime_ns=3,
        was_unlinked=False,
        start=0,
        offset=10,
        fingerprint=model.Fingerprint(0, b""),
        frontier=model.Frontier(10, b""),
    )
    database.execute(rows.UPSERT, rows.row_of("web", checkpoint))
    database.execute("UPDATE checkpoint SET novelty = 'kept'")

    database.execute(rows.UPSERT, rows.row_of("web", dataclasses.replace(checkpoint, offset=20)))

    (row,) = database.execute("SELECT * FROM checkpoint").fetchall()
    assert (row["novelty"], rows.checkpoint_of(row).offset) == ("kept", 20)


# --- merging ----------------------------------------------------------------------------------


def save_into(contents: dict[str, object], snapshot: model.FlowSnapshot) -> None:
    """Do to dictionaries what the store does to tables."""
    contents.update({f"{snapshot.flow} {c.tail_id}": c for c in snapshot.checkpoints})
    for tail_id in snapshot.forgotten:
        contents.pop(f"{snapshot.flow} {tail_id}", None)
    contents.update({f"{snapshot.flow} {pattern}": pattern for pattern in snapshot.scanned})


@given(st.lists(SNAPSHOTS, max_size=6), st.integers(0, 6))
def test_merged_snapshots_save_what_each_would_save_in_turn(
    snapshots: list[model.FlowSnapshot], cut: int
) -> None:
    """Merging is invisible in the database, also when a failed save is merged a second time."""
    one_by_one: dict[str, object] = {}
    merged: dict[str, object] = {}

    again = rows.merge_snapshots([*rows.merge_snapshots(snapshots[:cut]), *snapshots[cut:]])

    for snapshot in snapshots:
        save_into(one_by_one, snapshot)
    for snapshot in again:
        save_into(merged, snapshot)
    assert merged == one_by_one
    assert len(again) == len({snapshot.flow for snapshot in snapshots})


def test_merged_snapshot_has_the_highest_sequence_and_is_urgent_if_one_was() -> None:
    """The mark covers all that was merged; nobody who waited in a hurry is forgotten."""
    snapshots = [
        model.FlowSnapshot("web", 1, is_urgent=True),
        model.FlowSnapshot("audit", 9),
        model.FlowSnapshot("web", 2, scanned=("/*.log",)),
    ]

    merged = rows.merge_snapshots(snapshots)

    assert merged == [
        model.FlowSnapshot("web", 2, scanned=("/*.log",), is_urgent=True),
        model.FlowSnapshot("audit", 9),
    ]


@pytest.mark.parametrize("column", ["paths", "frontier", "device"])
def test_row_that_we_did_not_write_is_an_error(column: str) -> None:
    """A flipped bit inside a value is not taken for a position."""
    database = empty_database()
    fields = dict.fromkeys(("paths", "older", "ranges"), "[]")
    fields |= dict.fromkeys(("fingerprint", "frontier"), '[0,""]')
    fields |= dict.fromkeys(("device", "inode", "mtime_ns"), "0") | {column: "[1"}
    names = ", ".join(f"'{value}' AS {name}" for name, value in fields.items())
    row = database.execute(
        f"SELECT {names}, 't' AS tail_id, 0 AS start, 0 AS offset, 0 AS was_unlinked,"
        " '' AS split_digest, 0.0 AS unseen_s"
    ).fetchone()

    with pytest.raises(ValueError, match=r"Expecting|invalid literal"):
        rows.checkpoint_of(row)
