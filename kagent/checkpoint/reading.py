"""The database of positions as a command reads it: without the lock, and without leaving a trace.

A daemon may be writing meanwhile, may have been killed, or may never have run. SQLite alone is
not enough for that:

* While there is a write-ahead log with something in it, it is read with the database, through the
  `-shm` file beside it. Both are there already, so nothing is created.
* Without one, an ordinary read would create both: impossible for a user who may only read, and,
  for a root that may not `chown`, files that the daemon could not open. So the database is then
  read as a file that does not change (`immutable`), and the answer counts only if it did not.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import urllib.parse
from collections.abc import Callable, Sequence
from typing import TypeVar

from kagent import model
from kagent.checkpoint import database, rows, store

_BUSY_TIMEOUT_S = 5.0
_Value = TypeVar("_Value")
_State = tuple[int, int, int]


class CheckpointReader:
    """Durable rows, as they are at each question; holds nothing open between two.

    Every method raises FileNotFoundError when there is no database, OSError when it cannot be read
    now or by this user, and CheckpointError when it is damaged or not ours.
    """

    def __init__(self, state_dir: str) -> None:
        self.path = os.path.join(state_dir, "checkpoints.db")

    def flows(self) -> list[store.KnownFlow]:
        """Return the flows that the database knows, by name, configured or not."""
        return self._select(store.known_flow_of, "SELECT * FROM flow ORDER BY name", ())

    def find(
        self, flow: str, inode: int, fingerprints: Sequence[model.Fingerprint]
    ) -> list[model.Checkpoint]:
        """Return the checkpoints of a flow that may be about a file.

        Args:
            flow: Its name in the database.
            inode: The file's, whatever its device: numbers of devices change at a reboot.
            fingerprints: Of what the file holds; rows with one of them are returned as well.
        """
        # Nothing but question marks goes into the text of the statement.
        marks = ",".join("?" * len(fingerprints))
        return self._select(
            rows.checkpoint_of,
            f"SELECT * FROM checkpoint WHERE flow = ? AND (inode = ? OR fingerprint IN ({marks}))",  # noqa: S608
            (flow, str(inode), *map(rows.fingerprint_text, fingerprints)),
        )

    def _select(
        self, decode: Callable[[sqlite3.Row], _Value], query: str, parameters: Sequence[str]
    ) -> list[_Value]:
        with database.map_errors(self.path):
            found = self._read_unchanging(query, parameters)
            if found is None:
                found = self._read("mode=ro", query, parameters)
        try:
            return [decode(row) for row in found]
        except (ValueError, TypeError, IndexError) as error:
            raise database.damaged(self.path, str(error)) from error

    def _read_unchanging(self, query: str, parameters: Sequence[str]) -> list[sqlite3.Row] | None:
        """Read the database as long as nobody writes it; None if somebody does."""
        before = self._state()
        if before is None:
            return None
        try:
            found = self._read("mode=ro&immutable=1", query, parameters)
        except sqlite3.DatabaseError:
            if self._state() == before:
                raise
            return None  # half of what somebody was writing: read it the other way
        return found if self._state() == before else None

    def _state(self) -> _State | None:
        """Return what changes with the database file; None if its log holds something."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(f"{self.path}-wal").st_size:
                return None
        found = os.stat(self.path)
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self, how: str, query: str, parameters: Sequence[str]) -> list[sqlite3.Row]:
        with open(self.path, "rb"):  # SQLite does not say why it cannot open a file
            pass
        uri = f"file:{urllib.parse.quote(os.fsencode(self.path))}?{how}"
        connecting = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        with contextlib.closing(connecting) as connection:
            connection.row_factory = sqlite3.Row
            database.verify_kind(self.path, connection)
            return connection.execute(query, parameters).fetchall()
