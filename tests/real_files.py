"""A flow over real files, with time, destination and checkpoints in the test's hands."""

from __future__ import annotations

import os
import pathlib
import random
from collections.abc import Iterable

import fakes

from kagent import batch, checkpoint, discovery, errors, flow, inheritance, model, system

MIB = 1024**2


class Host:
    """A directory and the flow that follows what is in it, in process; it starts and stops."""

    def __init__(
        self, directory: pathlib.Path, *, max_buffer_bytes: int = 32 * MIB, **source: object
    ) -> None:
        self.directory = directory
        self.state = directory / ".state"
        self.clock = fakes.FakeClock(has_file_time=True)
        self.files = system.OsFiles()
        self.destination = fakes.FakeDestination()
        self.letters: list[model.DeadLetter] = []
        self.is_throttled = False
        self.lives = 0
        self.handles_max = 1000
        self.max_buffer_bytes = max_buffer_bytes
        paths = (f"{directory}/*.log",)
        self.source: dict[str, object] = {"paths": paths, "start_at": "beginning", **source}
        self._store: checkpoint.CheckpointStore | None = None
        self._flow: flow.Flow | None = None

    @property
    def flow(self) -> flow.Flow:
        """The running flow."""
        assert self._flow is not None
        return self._flow

    def start(self) -> None:
        """Begin with what is saved."""
        self.lives += 1
        self._store = checkpoint.CheckpointStore(str(self.state))
        self._store.open()
        options = discovery.SourceOptions.model_validate(self.source)
        self._store.describe(checkpoint.KnownFlow("web", options.paths, "kinesis web"))
        settings = flow.FlowSettings(
            "web",
            options,
            batch.BatchSettings(0.0, 500, 4 * MIB),
            "auto",
            4,
            self.max_buffer_bytes,
            1.0,
            1e6,
            handles_max=self.handles_max,
        )
        self._flow = flow.Flow(
            settings,
            fakes.LIMITS,
            self.files,
            self.clock,
            random.Random(self.lives),
            self._put,
            self._save,
            self.letters.append,
        )
        rows, scanned = self._store.load("web")
        self._flow.open(inheritance.Estate(rows, scanned))

    def stop(self) -> None:
        """End well: answers under way are collected, what is settled is saved."""
        self.flow.drain()
        self.flow.step()
        assert self.flow.is_idle
        estate = self.flow.close()
        for handle, _ in estate.handles.values():
            self.files.close(handle)
        assert self._store is not None
        self._store.close()
        self._flow = self._store = None

    def crash(self) -> None:
        """End as `kill -9` does."""
        for handle, _ in self.flow.roster.handles.values():
            self.files.close(handle)
        assert self._store is not None
        self._store.close()
        self._flow = self._store = None

    def run(self, seconds: float = 4.0) -> list[bytes]:
        """Step for some time; return what was delivered meanwhile."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            due = self.flow.step()
            self.clock.now = min(max(due, self.clock.now + 0.05), self.clock.now + 0.25)
        return self.taken()

    def taken(self) -> list[bytes]:
        """Return what was delivered since the last call."""
        taken, self.destination.accepted = self.destination.accepted, []
        return taken

    def write(self, name: str, *lines: bytes) -> pathlib.Path:
        """Append lines to a file, its directory made."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))
        return path

    @property
    def open_paths(self) -> list[str]:
        """The paths of the files that are followed, below the directory."""
        tails = self.flow.roster.tails.values()
        return sorted(os.path.relpath(path, self.directory) for one in tails for path in one.paths)

    def _put(self, one: model.Batch) -> None:
        if self.is_throttled:
            setback = errors.ThrottledError("Throttled", "as the test wants it")
            receipt = model.Receipt(one, setback=setback)
        else:
            receipt = self.destination.put(one)
        receipt.submitted = receipt.received = self.clock.now
        self.flow.reports.put(receipt)

    def _save(self, snapshot: model.FlowSnapshot) -> None:
        assert self._store is not None
        self._store.write([snapshot])
        self.flow.reports.put(model.Saved(snapshot.sequence))


def lines(words: Iterable[bytes]) -> list[bytes]:
    """Return words as the lines that they are in a file."""
    return [word + b"\n" for word in words]
