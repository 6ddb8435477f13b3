"""The database of positions as kagent uses it: flows, their checkpoints, their scans."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from kagent import model
from kagent.checkpoint import database, rows

_Value = TypeVar("_Value")


@dataclasses.dataclass(frozen=True, slots=True)
class KnownFlow:
    """A flow of which the database holds rows, as it was described when it last ran."""

    name: str
    paths: tuple[str, ...]
    destination: str


class CheckpointStore:
    """The database of positions, and the lock on `state_dir`.

    One thread at a time may use it: the one that opened it, then the `CheckpointThread` that it
    was given to, until that has ended.
    """

    def __init__(self, state_dir: str) -> None:
        self.path = os.path.join(state_dir, "checkpoints.db")
        self._state_dir = state_dir
        self._lock: int | None = None
        self._database: sqlite3.Connection | None = None

    def open(self) -> None:
        """Take the lock and open the database; both are created where there are none.

        Raises:
            AlreadyRunningError: another process holds the lock.
            CheckpointError: the directory or the database is not usable until a human acts.
            OSError: the system cannot do it now; a later try may succeed.
        """
        self._lock = database.lock_directory(self._state_dir)
        try:
            self._database = database.open_database(self.path, rows.SCHEMA)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database and give the lock back; does nothing when it is not open."""
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def flows(self) -> list[KnownFlow]:
        """Return the flows that the database knows, by name, configured or not."""
        return self._select(known_flow_of, "SELECT * FROM flow ORDER BY name")

    def load(self, flow: str) -> tuple[list[model.Checkpoint], set[str]]:
        """Return a flow's checkpoints, and its patterns whose first complete scan is done."""
        checkpoints = self._select(
            rows.checkpoint_of, "SELECT * FROM checkpoint WHERE flow = ? ORDER BY tail_id", flow
        )
        scanned = self._select(_pattern_of, "SELECT * FROM scanned WHERE flow = ?", flow)
        return checkpoints, set(scanned)

    def describe(self, flow: KnownFlow) -> None:
        """Remember what a flow reads and where it ships: how a renamed one is known again."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO flow (name, paths, destination) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE"
                " SET paths = excluded.paths, destination = excluded.destination",
                [flow.name, rows.text_of(flow.paths), flow.destination],
            )

    def adopt(self, old: str, new: str) -> None:
        """Give all that is known of the flow `old` to the flow `new`, in one transaction."""
        with self._transaction() as connection:
            for statement in (
                "UPDATE OR REPLACE flow SET name = ? WHERE name = ?",
                "UPDATE OR REPLACE scanned SET flow = ? WHERE flow = ?",
                "UPDATE OR REPLACE checkpoint SET flow = ? WHERE flow = ?",
            ):
                connection.execute(statement, [new, old])

    def forget(self, flow: str) -> None:
        """Delete all that is known of a flow."""
        with self._transaction() as connection:
            for statement in (
                "DELETE FROM flow WHERE name = ?",
                "DELETE FROM scanned WHERE flow = ?",
                "DELETE FROM checkpoint WHERE flow = ?",
            ):
                connection.execute(statement, [flow])

    def renew_ids(self) -> None:
        """Give every file a new tail_id: what was sent under the old ones may be lost."""
        with self._transaction() as connection:
            connection.execute("UPDATE checkpoint SET tail_id = lower(hex(randomblob(16)))")

    def write(self, snapshots: Sequence[model.FlowSnapshot]) -> None:
        """Save snapshots, in their order, in one transaction; when it returns they are on disk.

        Raises:
            OSError, CheckpointError: nothing of them is saved.
        """
        with self._transaction() as connection:
            for snapshot in snapshots:
                flow = snapshot.flow
                connection.executemany(
                    rows.UPSERT, [rows.row_of(flow, saved) for saved in snapshot.checkpoints]
                )
                connection.executemany(
                    "DELETE FROM checkpoint WHERE flow = ? AND tail_id = ?",
                    [(flow, tail_id) for tail_id in snapshot.forgotten],
                )
                connection.executemany(
                    "INSERT OR IGNORE INTO scanned (flow, pattern) VALUES (?, ?)",
                    [(flow, rows.text_of(pattern)) for pattern in snapshot.scanned],
                )

    def _select(
        self, decode: Callable[[sqlite3.Row], _Value], query: str, *parameters: str
    ) -> list[_Value]:
        assert self._database is not None, "the store is not open"
        with database.map_errors(self.path):
            found = self._database.execute(query, parameters).fetchall()
        try:
            return [decode(row) for row in found]
        except (ValueError, TypeError, IndexError) as error:
            raise database.damaged(self.path, str(error)) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        assert self._database is not None, "the store is not open"
        with database.map_errors(self.path), self._database as connection:
            connection.execute("BEGIN IMMEDIATE")  # leaving `with` commits or rolls back
            yield connection


def known_flow_of(row: sqlite3.Row) -> KnownFlow:
    """Return the flow that a row of the table describes."""
    return KnownFlow(row["name"], tuple(json.loads(row["paths"])), row["destination"])


def _pattern_of(row: sqlite3.Row) -> str:
    return str(json.loads(row["pattern"]))
