"""One flow over real files, with a clock of its own; it can be stopped, killed, begun again."""

from __future__ import annotations

import os
import random
from pathlib import Path

import fakes

from kagent import batch as batching
from kagent import discovery, flow, inheritance, model, system


class Rig:
    """A flow over a directory; what it saves is durable at once."""

    def __init__(
        self, directory: Path, files: model.Files | None = None, **source: object
    ) -> None:
        self.directory = directory
        self.files = files or system.OsFiles()
        self.clock = fakes.FakeClock()
        self.destination = fakes.FakeDestination()
        self.store = fakes.FakeStore()
        self.pending: list[model.Batch] = []
        self._lives = 0
        options = {"paths": (f"{directory}/*.log",), "start_at": "beginning"} | source
        self._settings = flow.FlowSettings(
            name="web",
            source=discovery.SourceOptions.model_validate(options),
            batch=batching.BatchSettings(0.0, 500, 4 * 1024**2, is_ordered=False),
            oversize="auto",
            max_in_flight=4,
            max_buffer_bytes=8 * 1024**2,
            checkpoint_interval_s=1.0,
            checkpoint_ttl_s=30 * 86400.0,
        )
        self.flow = self.begin()

    def begin(self, estate: inheritance.Estate | None = None) -> flow.Flow:
        """Begin a life from what is durable, or from what the one before left."""
        self._lives += 1
        self.flow = flow.Flow(
            self._settings,
            self.destination.limits,
            self.files,
            self.clock,
            random.Random(self._lives),
            self.pending.append,
            self._save,
            lambda letter: None,
        )
        self.flow.open(estate or inheritance.Estate(*self.store.load("web")))
        return self.flow

    def restart_flow(self) -> None:
        """End a life and begin another one with its open files, as after a fault of the flow."""
        estate = self.flow.close()
        self.pending.clear()
        self.begin(estate)

    def kill(self) -> None:
        """End a life as SIGKILL does."""
        self.pending.clear()
        for handle, _ in self.flow.roster.handles.values():
            os.close(handle)

    def stop(self) -> None:
        """End a life as SIGTERM does."""
        estate = self.flow.close()
        self.pending.clear()
        for handle, _ in estate.handles.values():
            os.close(handle)

    def _save(self, snapshot: model.FlowSnapshot) -> None:
        self.store.write([snapshot])
        self.flow.reports.put(model.Saved(snapshot.sequence))

    def go_on(self, seconds: float = 4.0, *, answers: bool = True) -> None:
        """Step and answer for a while."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += 0.3
            self.flow.step()
            while answers and self.pending:
                receipt = self.destination.put(self.pending.pop(0))
                receipt.submitted = receipt.received = self.clock.now
                self.flow.reports.put(receipt)
        self.flow.step()

    def write(self, name: str, first: int, last: int) -> list[bytes]:
        """Append numbered lines of 100 bytes to a file; return them."""
        lines = [b"%s line %084d\n" % (b"x" * 9, number) for number in range(first, last)]
        with open(self.directory / name, "ab") as file:
            file.write(b"".join(lines))
        return lines

    @property
    def accepted(self) -> list[bytes]:
        return self.destination.accepted
