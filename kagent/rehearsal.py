"""What a flow would make of a file, record by record, without shipping a byte.

Reads through the daemon's own `Tail`, splits and preprocesses with the flow's own rules, so that
what is shown is what would be sent. A sample is a finished file: its last line counts whether it
is terminated or not.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from kagent import batch, config, model, options, preprocessing, proven, split, tail
from kagent import flow as flows
from kagent.preprocessors import chain, oversize

TAIL_ID = "0" * 32  # of a sample: the daemon gives each file a random one
CREDIT_BYTES = 16 * 1024**2

Fate = Literal["sent", "dropped", "dead-lettered"]


@dataclasses.dataclass(slots=True)
class Rehearsed:
    """What becomes of bytes `[start, end)` of a sample.

    `data` is what would be sent, or kept among the dead letters. `unparsed` names the preprocessor
    that could not take the record apart, and the part that failed; `why` says why it is not sent.
    `is_record` is False for what is no record at all, such as header lines.
    """

    start: int
    end: int
    fate: Fate
    data: bytes = b""
    unparsed: tuple[str, str] | None = None
    why: str = ""
    is_record: bool = True
    part: int = 0  # from 1, of a record that a preprocessor made too long (oversize: split)


class ChangedError(Exception):
    """A sample changes while it is read, or cannot be read to its end; says how."""


class Rehearsal:
    """One flow and one sample; go through it with `records`, once."""

    def __init__(
        self,
        flow: config.FlowConfig,
        files: model.Files,
        handle: int,
        path: str,
        clock: model.Clock,
        host: Callable[[], model.HostFacts],
    ) -> None:
        """Prepare the flow's rules.

        Args:
            flow: The flow.
            files: Where the sample is.
            handle: Of the open sample; it stays the caller's.
            path: The path that the file would have.
            clock: For the read time, and for patterns that take too long.
            host: Returns what is known of this machine.
        """
        self.undecoded = self.replaced = self.expired = 0
        batcher = batch.Batcher(flow.batch, flow.destination.limits, random.Random(0))
        self._rules = flows.rules_of(flow.source, flow.oversize, batcher.line_bytes_max, clock)
        self._record_bytes_max = batcher.line_bytes_max
        # Whatever else packing does, readers get these lines back.
        self._is_ended = flow.batch.pack is not None and flow.batch.pack.form == "newline"
        self._preprocessing = preprocessing.Preprocessing(
            flow.name,
            flow.preprocess,
            flow.on_no_match,
            clock,
            capture=flow.source.capture,
            record_bytes_max=batcher.line_bytes_max,
            is_stripped=self._rules.frame.is_stripped,
            oversize=flow.oversize,
            host=host,
        )
        self._files = files
        self._handle = handle
        self._path = path
        self._clock = clock
        self.size = files.size(handle)

    def records(self, at: int | None = None) -> Iterator[Rehearsed]:
        """Yield what becomes of the sample's bytes, in their order.

        Args:
            at: Only what holds this offset; everything before is split, but goes no further.

        Raises:
            ChangedError: the sample cannot be read any more.
        """
        seen = model.Sighting(self._path, self._path, model.FileIdentity(0, 0), self.size, 0, ())
        one = tail.Tail(TAIL_ID, [seen], self._handle, 0, self._rules, self._files, 0.0)
        idle = 0
        while one.position < self.size:
            try:
                result = one.read(CREDIT_BYTES, self._clock.monotonic(), is_final=True)
            except (OSError, proven.TruncatedError) as error:
                raise ChangedError(str(error) or "it was truncated") from error
            if result is None:
                idle = idle + 1 if one.is_exhausted else 0
                assert idle < 10, "a finished file has no open end"
                continue
            chunk = result.chunk
            one.settle([chunk])
            if at is not None and chunk.end <= at:
                continue
            self.undecoded += result.undecoded
            self.replaced += result.replaced
            self.expired += result.expired
            found = self._chunk(result, one.header)
            if at is None:
                yield from found
                continue
            for piece in found:
                if piece.start <= at < piece.end:
                    yield piece
            return

    def context(self, chunk: model.Chunk) -> model.ChunkContext:
        """Return what is known of records of the sample, for their partition keys."""
        return self._preprocessing.context(chunk, self._path, ())

    def source(self, piece: Rehearsed) -> bytes:
        """Return the bytes of the sample that a piece stands for."""
        return self._files.read(self._handle, piece.start, piece.end - piece.start)

    def _chunk(self, result: split.Split, header: Sequence[bytes]) -> Iterator[Rehearsed]:
        """Yield the records of a chunk and the gaps between them."""
        chunk = result.chunk
        if not chunk.records:
            yield self._gap(chunk.start, chunk.end, chunk)
            return
        if result.is_dead:
            self._preprocessing.redact(chunk, self._path, header)
            processed = chain.Result(list(chunk.records))
            processed.dead = dict.fromkeys(range(len(chunk)), "longer than max_line")
        else:
            processed = self._preprocessing.run(chunk, self._path, header)
        failures = {one.index: (one.stage, one.part) for one in processed.failures}
        dropped = {index: name for name, where in processed.dropped.items() for index in where}
        at = chunk.start
        for index, (start, end) in enumerate(zip(chunk.starts, chunk.ends, strict=True)):
            if at < start:
                yield self._gap(at, start, chunk)
            data, unparsed = processed.records[index], failures.get(index)
            if data is None:
                why = _dropped_by(dropped.get(index), unparsed)
                yield Rehearsed(start, end, "dropped", b"", unparsed, why)
            elif index in processed.dead:
                why = processed.dead[index]
                yield Rehearsed(start, end, "dead-lettered", data, unparsed, why)
            elif index in processed.long:
                one = model.Chunk(TAIL_ID, [data], [start], [end], start, end)
                for number, part in enumerate(oversize.parts_of(one, self._record_bytes_max), 1):
                    sent = self._packed(part.records[0])
                    yield Rehearsed(start, end, "sent", sent, unparsed, part=number)
            else:
                yield Rehearsed(start, end, "sent", self._packed(data), unparsed)
            at = end
        if at < chunk.end:
            yield self._gap(at, chunk.end, chunk)

    def _packed(self, record: bytes) -> bytes:
        """Return a record as it stands among others in a packed one."""
        return record if not self._is_ended or record.endswith(b"\n") else record + b"\n"

    def _gap(self, start: int, end: int, chunk: model.Chunk) -> Rehearsed:
        """Return bytes that are in no record, with the rule that says so."""
        limit, policy = self._rules.record_bytes_max, self._rules.oversize
        if policy in {"truncate", "drop"} and chunk.end - chunk.start > limit and len(chunk) < 2:
            why = f"longer than {options.format_size(limit)} (oversize: {policy})"
            return Rehearsed(start, end, "dropped", why=why, is_record=policy == "drop")
        if start == 0 and not chunk.records and self._rules.frame.header_lines:
            return Rehearsed(start, end, "dropped", why="header_lines", is_record=False)
        return Rehearsed(start, end, "dropped", why="empty")


def _dropped_by(stage: str | None, unparsed: tuple[str, str] | None) -> str:
    if stage == chain.EMPTY:
        return "nothing was left of it"
    if stage is not None:
        return f"by {stage}"
    return "on_no_match" if unparsed else "by a rule"
