"""A real file with a writer, and tails that follow it."""

from __future__ import annotations

import os
from pathlib import Path

from kagent import model, split, system, tail, tracking

KIB, MIB = 1024, 1024**2
CREDIT = 16 * MIB
RULES = split.Rules(64 * KIB)


class CountingFiles(system.OsFiles):
    """The real file system, which counts the bytes that were read."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def read(self, handle: int, offset: int, size: int) -> bytes:
        data = super().read(handle, offset, size)
        self.read_bytes += len(data)
        return data


class Log:
    """A file with a writer, and tails that follow it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.files = CountingFiles()
        self._handles: list[int] = []
        self.write(b"")

    def write(self, data: bytes) -> None:
        with open(self.path, "wb") as stream:
            stream.write(data)

    def append(self, data: bytes) -> None:
        with open(self.path, "ab") as stream:
            stream.write(data)

    def truncate(self, size: int) -> None:
        os.truncate(self.path, size)

    def close(self) -> None:
        for handle in self._handles:
            self.files.close(handle)

    def open(self) -> int:
        self._handles.append(self.files.open(self.path, self.path))
        return self._handles[-1]

    def sighting(self) -> model.Sighting:
        status = self.files.status(self.path, self.path)
        seen = status.identity, status.size, status.mtime_ns
        return model.Sighting(self.path, self.path, *seen, ("pattern",))

    def follow(self, start: int = 0, rules: split.Rules = RULES) -> tail.Tail:
        return tail.Tail("t", [self.sighting()], self.open(), start, rules, self.files, 0.0)

    def resume(
        self,
        row: model.Checkpoint,
        rules: split.Rules = RULES,
        *,
        offset: int | None = None,
    ) -> tail.Tail:
        """Resume a row; at an older offset it is rolled back."""
        is_rolled_back = offset is not None
        at = row.offset if offset is None else offset
        ranges = () if is_rolled_back else row.ranges
        found = tracking.Resume((self.sighting(),), row, at, ranges, is_rolled_back)
        return tail.Tail.resumed(found, "t", self.open(), rules, self.files, 0.0)


def read_chunks(
    one: tail.Tail, credit: int = CREDIT, *, is_final: bool = False
) -> list[split.Split]:
    """Look how long the file is, and read until nothing more is complete."""
    one.poll(0.0)
    found = []
    for _ in range(1000):
        if one.is_exhausted and not (is_final and one.unread_bytes):
            return found
        result = one.read(credit, 0.0, is_final=is_final)
        found += [result] if result else []
    raise AssertionError("reading comes to no end")


def read_records(one: tail.Tail, *, is_final: bool = False) -> list[bytes]:
    chunks = read_chunks(one, is_final=is_final)
    return [record for result in chunks for record in result.chunk.records]


def settle_all(one: tail.Tail, found: list[split.Split]) -> None:
    for result in found:
        one.settle([result.chunk])


def row_of(one: tail.Tail, now: float = 0.0) -> model.Checkpoint:
    row = one.checkpoint(now)
    assert row is not None
    return row


def lines(first: int, last: int) -> bytes:
    """Return lines of 100 bytes each, no two alike."""
    return b"".join(b"%099d\n" % number for number in range(first, last))
