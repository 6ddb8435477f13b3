"""Positions on disk: one SQLite database in `state_dir`, and the one thread that writes it.

`CheckpointStore` is the database, with the lock that makes this daemon the only one on it.
`CheckpointThread` takes snapshots from all flows, saves them in one transaction an interval and
tells each flow what is durable. It writes the dead letters too, so that no flow ever waits for a
disk. `CheckpointReader` is how a command reads, daemon running or not. None of them decides what a
position means: rows go in and come out.

Why SQLite: a transaction over all flows is whole or absent after `kill -9` and power cuts, and
commands can read while the daemon writes. The rules that nothing is lost by:

* A mark goes out only after its commit is on disk.
* A save that failed is kept, merged with what comes, and tried again; no flow stops for it.
* A database that is damaged, empty or foreign stops the start and is never deleted.
* Columns are only added and rows are changed in place, so the releases just before and after a
  release open its database.
"""

from __future__ import annotations

from typing import Annotated

from kagent import options
from kagent.checkpoint.reading import CheckpointReader
from kagent.checkpoint.store import CheckpointStore, KnownFlow
from kagent.checkpoint.thread import CheckpointThread, Listener

__all__ = [
    "CheckpointOptions",
    "CheckpointReader",
    "CheckpointStore",
    "CheckpointThread",
    "KnownFlow",
    "Listener",
]


class CheckpointOptions(options.Options):
    """How often positions are saved and how long those of vanished files are kept."""

    interval: Annotated[float, options.Duration(0.1, 60.0)] = 1.0
    """How often positions are saved: after a crash, lines of the last interval may come again."""

    ttl: Annotated[float, options.Duration(3600.0, 3650 * 86400.0)] = 30 * 86400.0
    """How long, in running time, the position of a file is kept that no scan sees any more."""

    @property
    def round_s(self) -> float:
        """How long rows wait to be handed over, and then, at most, to be written.

        Half the interval each: whatever was accepted is durable within one.
        """
        return self.interval / 2
