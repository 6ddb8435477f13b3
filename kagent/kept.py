"""The checkpoints of one flow that no open file has: kept, aged, forgotten, known by content.

A row is kept while its file may come back, and after its end as long as `checkpoint.ttl` says: by
it a copy, a compressed generation or a restored file is known to be shipped. Reads no file and
saves nothing: `changed` and `forgotten` are what the next snapshot must say.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping

from kagent import model

AGE_S = 600.0


class Rows(Mapping[str, model.Checkpoint]):
    """Checkpoints by tail_id; owned by the flow's roster."""

    def __init__(self, rows: Iterable[model.Checkpoint], ttl_s: float, now: float) -> None:
        """Take over what is saved of files that are not open."""
        self.changed: set[str] = set()
        self.forgotten: set[str] = set()
        self._rows: dict[str, model.Checkpoint] = {}
        self._by_head: dict[bytes, set[str]] = collections.defaultdict(set)
        self._by_inode: dict[int, set[str]] = collections.defaultdict(set)
        self._ttl_s = ttl_s
        self._aged = now
        for row in rows:
            self._enter(row)

    def __getitem__(self, tail_id: str) -> model.Checkpoint:
        return self._rows[tail_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def keep(self, row: model.Checkpoint, *, is_changed: bool = True) -> None:
        """Keep a row, or another one in its place; a changed one is to be saved."""
        self.take(row.tail_id)
        self._enter(row)
        if is_changed:
            self.changed.add(row.tail_id)

    def take(self, tail_id: str) -> model.Checkpoint | None:
        """Give a row up to the tail that goes on from it; None if there is none."""
        row = self._rows.pop(tail_id, None)
        if row is not None:
            self.changed.discard(tail_id)
            self._by_inode[row.identity.inode].discard(tail_id)
            self._by_head[row.fingerprint.digest].discard(tail_id)
        return row

    def forget(self, tail_id: str) -> None:
        """Give up a row, of a tail or kept here, for good."""
        self.take(tail_id)
        self.forgotten.add(tail_id)

    def begin_like(self, fingerprint: model.Fingerprint) -> list[model.Checkpoint]:
        """Return the rows whose files begin with the bytes of a whole fingerprint."""
        rows = (self._rows[one] for one in sorted(self._by_head.get(fingerprint.digest, ())))
        return [row for row in rows if row.fingerprint == fingerprint]

    def located(self, identity: model.FileIdentity) -> list[model.Checkpoint]:
        """Return the rows whose file may be the one with an identity."""
        rows = (self._rows[one] for one in sorted(self._by_inode.get(identity.inode, ())))
        return [row for row in rows if row.identity == identity and not row.was_unlinked]

    def age(self, seen: Collection[model.FileIdentity], now: float) -> bool:
        """Forget rows whose files no scan saw for longer than `checkpoint.ttl`.

        Returns whether it was time for that.

        Args:
            seen: Identities of all files that are there.
            now: Monotonic time; nothing is done before AGE_S have passed.
        """
        if now - self._aged < AGE_S:
            return False
        elapsed, self._aged = now - self._aged, now
        for row in list(self._rows.values()):
            unseen_s = 0.0 if row.identity in seen else row.unseen_s + elapsed
            if unseen_s > self._ttl_s:
                self.forget(row.tail_id)
            elif unseen_s != row.unseen_s:
                self.keep(dataclasses.replace(row, unseen_s=unseen_s))
        return True

    def _enter(self, row: model.Checkpoint) -> None:
        self._rows[row.tail_id] = row
        self._by_inode[row.identity.inode].add(row.tail_id)
        if row.fingerprint.length == model.FINGERPRINT_BYTES_MAX:
            self._by_head[row.fingerprint.digest].add(row.tail_id)
