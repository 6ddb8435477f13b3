"""The hot path in one thread, without the network: what `gate.py` counts and profilers look at.

    hotpath.py DIRECTORY [none|newline|kpl] [--times|--count]

Everything of the daemon that handles lines runs here as it does there: a flow that reads a real
file, splits, packs, batches and settles, and for each batch the body, its signature and the check
of an answer of full size. `--times` says where the CPU time went. With `--count` every run does
the same: time passes by calls, and bodies are not hashed, which takes ten times as many
instructions where a tool that counts them has no SHA extensions.
"""

from __future__ import annotations

import functools
import pathlib
import random
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import sink

from kagent import batch, discovery, flow, inheritance, model, pack, system
from kagent.destinations import answers, encoding, http1, kinesis, signing, wire

SIGNER = signing.Signer(
    "eu-west-1", "kinesis", "kinesis.eu-west-1.amazonaws.com", wire.KINESIS.target
)
KEY = signing.Key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
PACKS = {
    "none": None,
    "newline": pack.PackSettings("newline", 25_000, is_plain=True),
    "kpl": pack.PackSettings("kpl", 25_000),
}


@functools.cache
def _answer(records: int) -> bytes:
    return sink._answer(True, records)


class Clock(system.SystemClock):
    """The real time, or a microsecond for each time that it is asked for; nobody waits for it."""

    def __init__(self, *, is_real: bool) -> None:
        self.skipped_s = 0.0
        self._is_real = is_real

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        if self._is_real:
            return time.monotonic() + self.skipped_s
        self.skipped_s += 1e-6
        return self.skipped_s


class Path:
    """A flow and a destination that takes everything at once."""

    def __init__(
        self, directory: pathlib.Path, settings: batch.BatchSettings, *, is_counted: bool = False
    ) -> None:
        self.times: dict[str, float] = {}
        self.lines = 0
        self._clock = Clock(is_real=not is_counted)
        self._is_counted = is_counted
        self._encode = encoding.kinesis("bench")
        self.flow = flow.Flow(
            flow.FlowSettings(
                name="bench",
                source=discovery.SourceOptions(
                    paths=(f"{directory}/*.log",), start_at="beginning"
                ),
                batch=settings,
                oversize="auto",
                max_in_flight=16,
                max_buffer_bytes=16 * 1024**2,
                checkpoint_interval_s=1.0,
                checkpoint_ttl_s=1e6,
            ),
            kinesis.LIMITS,
            system.OsFiles(),
            self._clock,
            random.Random(1),
            self._submit,
            lambda snapshot: self.flow.reports.put(model.Saved(snapshot.sequence)),
            lambda letter: None,
        )
        self.flow.open(inheritance.Estate())

    def run(self, until_bytes: int) -> None:
        """Step until so many bytes are delivered."""
        while self.flow.counters.delivered_bytes < until_bytes:
            due = self._timed("flow", self.flow.step)
            if self.flow.reports.empty():
                self._clock.skipped_s += max(0.0, due - self._clock.monotonic())

    def _submit(self, one: model.Batch) -> None:
        begun = time.thread_time()
        body = self._timed("encode", self._encode, one)
        hashed = [b""] if self._is_counted else body
        self._timed("sign", SIGNER.headers, KEY, hashed, 1.8e9)
        answer = http1.Answer(200, {}, _answer(len(one.records)), is_whole=True)
        begun_check = time.thread_time()
        judged = answers.judged_by(answer, len(one.records), answers.PUT_RECORDS, None)  # type: ignore[arg-type]
        now = time.thread_time()
        self.times["check"] = self.times.get("check", 0.0) + now - begun_check
        self.times["flow"] = self.times.get("flow", 0.0) - (now - begun)
        assert not judged.refused
        moment = self._clock.monotonic()
        self.flow.reports.put(model.Receipt(one, submitted=moment, received=moment))

    def _timed(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        begun = time.thread_time()
        found = call(*arguments)
        self.times[name] = self.times.get(name, 0.0) + time.thread_time() - begun
        return found


def main() -> int:
    """Run once."""
    directory, form = pathlib.Path(sys.argv[1]), (sys.argv[2:] or ["none"])[0]
    size = sum(path.stat().st_size for path in directory.iterdir())
    settings = batch.BatchSettings(1.0, 500, 5 * 1024**2, pack=PACKS[form])
    path = Path(directory, settings, is_counted="--count" in sys.argv)
    path.run(size)
    if "--times" in sys.argv:
        for name, seconds in path.times.items():
            print(f"{name:8} {seconds * 1024**3 / size:6.2f} CPU-s/GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
