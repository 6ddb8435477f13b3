"""Checkpoints as rows of the database: the schema, the coding, and snapshots merged. Pure.

Columns are only added, with a default, and rows are changed in place: so a release opens the
databases of the releases just before and after it, and loses nothing of theirs. What SQLite cannot
hold is written as text: a path that is no UTF-8 as JSON with escapes; inode numbers of 64 bits and
the nanoseconds of a file dated 2300, which anyone may `touch`, in decimal.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from kagent import model

SCHEMA = """
CREATE TABLE flow (
    name TEXT NOT NULL PRIMARY KEY,
    paths TEXT NOT NULL,             -- JSON: the patterns as configured
    destination TEXT NOT NULL
);
CREATE TABLE scanned (               -- patterns whose first complete scan is done
    flow TEXT NOT NULL,
    pattern TEXT NOT NULL,           -- JSON
    PRIMARY KEY (flow, pattern)
);
CREATE TABLE checkpoint (
    flow TEXT NOT NULL,
    tail_id TEXT NOT NULL,
    paths TEXT NOT NULL,             -- JSON
    device TEXT NOT NULL,
    inode TEXT NOT NULL,
    mtime_ns TEXT NOT NULL,
    was_unlinked INTEGER NOT NULL,
    start INTEGER NOT NULL,
    offset INTEGER NOT NULL,         -- every byte in [start, offset) is settled
    fingerprint TEXT NOT NULL,       -- JSON: length, digest
    frontier TEXT NOT NULL,          -- JSON: offset, digest
    older TEXT NOT NULL,             -- JSON: frontiers
    ranges TEXT NOT NULL,            -- JSON: start, end, digest of each
    split_digest TEXT NOT NULL,
    size INTEGER NOT NULL,           -- when last looked at
    unseen_s REAL NOT NULL,
    is_done INTEGER NOT NULL DEFAULT 0,  -- nothing of it is expected any more
    target TEXT NOT NULL DEFAULT '""',   -- JSON: where the path led to, if it is a link
    PRIMARY KEY (flow, tail_id)
) WITHOUT ROWID;
"""
_KEY = ("flow", "tail_id")
_VALUES = (
    "paths",
    "device",
    "inode",
    "mtime_ns",
    "was_unlinked",
    "start",
    "offset",
    "fingerprint",
    "frontier",
    "older",
    "ranges",
    "split_digest",
    "size",
    "unseen_s",
    "is_done",
    "target",
)
# Nothing but the names above goes into the text of the statement.
UPSERT = f"""
INSERT INTO checkpoint ({", ".join(_KEY + _VALUES)})
VALUES ({", ".join(f":{column}" for column in _KEY + _VALUES)})
ON CONFLICT ({", ".join(_KEY)})
DO UPDATE SET {", ".join(f"{column} = excluded.{column}" for column in _VALUES)}
"""  # noqa: S608 -- see above

_JSON = json.JSONEncoder(separators=(",", ":"))  # built once: json.dumps would build one a call


def text_of(value: object) -> str:
    """Return a value as ASCII JSON; the lone surrogate of a strange file name is an escape."""
    return _JSON.encode(value)


def fingerprint_text(fingerprint: model.Fingerprint) -> str:
    """Return a fingerprint as its column holds it: equal ones are equal texts."""
    return text_of([fingerprint.length, fingerprint.digest.hex()])


def row_of(flow: str, checkpoint: model.Checkpoint) -> dict[str, object]:
    """Return a checkpoint as the parameters of UPSERT."""
    return {
        "flow": flow,
        "tail_id": checkpoint.tail_id,
        "paths": text_of(checkpoint.paths),
        "device": str(checkpoint.identity.device),
        "inode": str(checkpoint.identity.inode),
        "mtime_ns": str(checkpoint.mtime_ns),
        "was_unlinked": checkpoint.was_unlinked,
        "start": checkpoint.start,
        "offset": checkpoint.offset,
        "fingerprint": fingerprint_text(checkpoint.fingerprint),
        "frontier": text_of([checkpoint.frontier.offset, checkpoint.frontier.digest.hex()]),
        "older": text_of([[older.offset, older.digest.hex()] for older in checkpoint.older]),
        "ranges": text_of([[r.start, r.end, r.digest.hex()] for r in checkpoint.ranges]),
        "split_digest": checkpoint.split_digest,
        "size": checkpoint.size,
        "unseen_s": checkpoint.unseen_s,
        "is_done": checkpoint.is_done,
        "target": text_of(checkpoint.target),
    }


def checkpoint_of(row: sqlite3.Row) -> model.Checkpoint:
    """Return the checkpoint that a row of the table holds; columns not known here are ignored.

    Raises:
        ValueError, TypeError: the row is not as `row_of` makes them: the database is damaged.
    """
    known = row.keys()
    length, head = json.loads(row["fingerprint"])
    offset, digest = json.loads(row["frontier"])
    older, ranges = json.loads(row["older"]), json.loads(row["ranges"])
    return model.Checkpoint(
        tail_id=row["tail_id"],
        paths=tuple(json.loads(row["paths"])),
        identity=model.FileIdentity(int(row["device"]), int(row["inode"])),
        mtime_ns=int(row["mtime_ns"]),
        was_unlinked=bool(row["was_unlinked"]),
        start=row["start"],
        offset=row["offset"],
        fingerprint=model.Fingerprint(length, bytes.fromhex(head)),
        frontier=model.Frontier(offset, bytes.fromhex(digest)),
        older=tuple(model.Frontier(o, bytes.fromhex(d)) for o, d in older),
        ranges=tuple(model.SettledRange(s, e, bytes.fromhex(d)) for s, e, d in ranges),
        split_digest=row["split_digest"],
        size=row["size"],
        unseen_s=row["unseen_s"],
        is_done="is_done" in known and bool(row["is_done"]),
        target=json.loads(row["target"]) if "target" in known else "",
    )


def merge_snapshots(snapshots: Iterable[model.FlowSnapshot]) -> list[model.FlowSnapshot]:
    """Return one snapshot a flow that saves what all of them would save one after the other.

    The last checkpoint of a tail wins; a tail that was forgotten and then saved again is kept.
    """
    of_flow: dict[str, list[model.FlowSnapshot]] = {}
    for snapshot in snapshots:
        of_flow.setdefault(snapshot.flow, []).append(snapshot)
    return [_merge_flow(several) for several in of_flow.values()]


def _merge_flow(snapshots: list[model.FlowSnapshot]) -> model.FlowSnapshot:
    checkpoints: dict[str, model.Checkpoint] = {}
    forgotten: set[str] = set()
    for snapshot in snapshots:
        saved = {checkpoint.tail_id: checkpoint for checkpoint in snapshot.checkpoints}
        checkpoints |= saved
        forgotten -= saved.keys()
        forgotten.update(snapshot.forgotten)
        for tail_id in snapshot.forgotten:
            checkpoints.pop(tail_id, None)
    return model.FlowSnapshot(
        flow=snapshots[0].flow,
        sequence=max(snapshot.sequence for snapshot in snapshots),
        checkpoints=tuple(checkpoints.values()),
        forgotten=tuple(sorted(forgotten)),
        scanned=tuple(sorted({pattern for snapshot in snapshots for pattern in snapshot.scanned})),
        is_urgent=any(snapshot.is_urgent for snapshot in snapshots),
    )
