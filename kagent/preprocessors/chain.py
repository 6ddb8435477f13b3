"""A flow's preprocessors, one after another, over the records of one chunk.

Law of unparsed records. A record that a stage could not take apart, as it was given to that stage,

    wrap          becomes {"message": "..."} and a newline; invalid UTF-8 becomes U+FFFD
    raw           goes out as it is
    drop          is dropped
    dead_letter   goes to the dead letters

and passes the stages behind only as far as these say so (`for_unparsed`): metadata is added to
what was wrapped, and what is to be redacted is redacted in any case. What a stage of the latter
kind could not do goes to the dead letters, unless it is dropped, and nothing of it is kept but
where it stands: nobody knows what is in it. All of it is always counted.

Stages are called with whole blocks. Whether all is well is seen with one call a block, on the
types of what came back; only the records that are not simply other bytes cost a turn each.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

import orjson

from kagent import model, preprocessors
from kagent.preprocessors import calls

OnNoMatch = Literal["wrap", "raw", "drop", "dead_letter"]

EMPTY = "empty"  # in the place of a stage's name: nothing was left of the record

WITHHELD = b"[withheld]"  # in the place of a record that could not be redacted

_BYTES = {bytes}


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """A record that a stage could not take apart: which stage, and which part of it failed."""

    index: int
    stage: str
    part: str


@dataclasses.dataclass(slots=True)
class Result:
    """What became of records, in columns as they were given; None where nothing is shipped.

    `dead` are indices of records that go to the dead letters, with the reason; `records` holds
    what is kept of them. `dropped` are those that a stage dropped, by the stage's name. `long` are
    those that go out in several parts.
    """

    records: list[bytes | None]
    dead: dict[int, str] = dataclasses.field(default_factory=dict)
    failures: list[Failure] = dataclasses.field(default_factory=list)
    dropped: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    long: list[int] = dataclasses.field(default_factory=list)


def wrap(record: bytes) -> bytes:
    """Return a record, without the newline that ends it, as the `message` of a JSON object."""
    line = record.removesuffix(b"\n").removesuffix(b"\r")
    return orjson.dumps({"message": line.decode("utf-8", "replace")}) + b"\n"


class Chain:
    """The stages of one flow; owned by its thread."""

    def __init__(
        self,
        stages: Sequence[preprocessors.Stage],
        on_no_match: OnNoMatch = "wrap",
        *,
        is_stripped: bool = False,
        guard: calls.Guard | None = None,
    ) -> None:
        """Take the stages in their order; records leave without a newline if `is_stripped`."""
        self._stages = tuple(stages)
        self._on_no_match = on_no_match
        self._is_stripped = is_stripped
        self._guard = guard

    @property
    def is_empty(self) -> bool:
        """Records go out as they are."""
        return not self._stages

    def run(self, records: list[bytes], context: model.ChunkContext) -> Result:
        """Return what becomes of a chunk's records."""
        came = records
        result = Result([None] * len(records))
        aside = _Aside()
        live: Sequence[int] = range(len(records))
        original = context
        for one in self._stages:
            if aside.records and one.for_unparsed != "never":
                self._run_aside(one, aside, original, result)
            if not records:
                continue
            outcomes = calls.call(one, records, context, self._guard)
            if set(map(type, outcomes)) <= _BYTES:
                records = outcomes  # type: ignore[assignment]  # just looked at
                continue
            live, records = self._sort_out(one, live, records, outcomes, aside, result)
            context = original.select(live)
        if len(records) == len(result.records):
            result.records = list(records)
        else:
            for index, record in zip(live, records, strict=True):
                result.records[index] = record
        aside.put_into(result)
        if self._is_stripped and self._stages:
            # A newline that a record came with is text: its last line is empty.
            result.records = [
                record and (record if record is one else record.removesuffix(b"\n"))
                for record, one in zip(result.records, came, strict=True)
            ]
        if b"" in result.records:  # nothing is left of it, and services take no empty record
            empty = [index for index, record in enumerate(result.records) if record == b""]
            result.dropped[EMPTY] = empty
            for index in empty:
                result.records[index] = None
                result.dead.pop(index, None)
        result.failures.sort(key=lambda failure: failure.index)
        return result

    def redact(self, records: list[bytes], context: model.ChunkContext) -> list[bytes]:
        """Return records as they may be kept among the dead letters without being parsed."""
        for one in self._stages:
            if one.for_unparsed == "always" and records:
                outcomes = calls.call(one, records, context, self._guard)
                records = [made if isinstance(made, bytes) else WITHHELD for made in outcomes]
        return records

    def _sort_out(
        self,
        one: preprocessors.Stage,
        live: Sequence[int],
        records: list[bytes],
        outcomes: Sequence[model.Outcome],
        aside: _Aside,
        result: Result,
    ) -> tuple[list[int], list[bytes]]:
        """Set aside what is no bytes; return the indices and records that go on."""
        for index, record, outcome in zip(live, records, outcomes, strict=True):
            if isinstance(outcome, model.Unparsed):  # about 1 us for each record that is unparsed
                result.failures.append(Failure(index, one.name, str(outcome.part)))
                self._set_aside(one, index, record, outcome, aside, result)
        if None in outcomes:
            gone = [
                index for index, outcome in zip(live, outcomes, strict=True) if outcome is None
            ]
            result.dropped.setdefault(one.name, []).extend(gone)
        kept = [isinstance(outcome, bytes) for outcome in outcomes]
        return (
            list(itertools.compress(live, kept)),
            list(itertools.compress(outcomes, kept)),  # type: ignore[arg-type]  # bytes
        )

    def _set_aside(
        self,
        one: preprocessors.Stage,
        index: int,
        record: bytes,
        outcome: model.Unparsed,
        aside: _Aside,
        result: Result,
    ) -> None:
        if self._on_no_match == "drop" and not outcome.is_poison:
            return
        is_dead = self._on_no_match == "dead_letter" or one.for_unparsed == "always"
        is_dead |= outcome.is_poison
        if is_dead:
            result.dead[index] = _reason(one, outcome)
        if one.for_unparsed == "always":
            record = WITHHELD
        is_wrapped = self._on_no_match == "wrap" and not is_dead
        aside.add(index, wrap(record) if is_wrapped else record)

    def _run_aside(
        self,
        one: preprocessors.Stage,
        aside: _Aside,
        context: model.ChunkContext,
        result: Result,
    ) -> None:
        """Let a stage do to unparsed records what it does to all."""
        if one.for_unparsed == "wrapped" and self._on_no_match != "wrap":
            return
        outcomes = calls.call(one, aside.records, context.select(aside.indices), self._guard)
        if one.for_unparsed == "always":
            for index, outcome in zip(aside.indices, outcomes, strict=True):
                if isinstance(outcome, model.Unparsed):
                    result.dead[index] = _reason(one, outcome)
        if None in outcomes:
            gone = {
                index
                for index, outcome in zip(aside.indices, outcomes, strict=True)
                if outcome is None
            }
            result.dropped.setdefault(one.name, []).extend(sorted(gone))
            for index in gone:
                result.dead.pop(index, None)
        aside.replace(outcomes, WITHHELD if one.for_unparsed == "always" else None)


def _reason(one: preprocessors.Stage, outcome: model.Unparsed) -> str:
    return f"{one.name}: {outcome.part}" if outcome.part else f"{one.name}: no match"


@dataclasses.dataclass(slots=True)
class _Aside:
    """Records that a stage could not take apart, by their index in the chunk."""

    indices: list[int] = dataclasses.field(default_factory=list)
    records: list[bytes] = dataclasses.field(default_factory=list)

    def add(self, index: int, record: bytes) -> None:
        self.indices.append(index)
        self.records.append(record)

    def replace(self, outcomes: Sequence[model.Outcome], unparsed: bytes | None) -> None:
        """Take what a stage made of the records; one that it could not take apart stays.

        Unless there is something to stand in its place.
        """
        kept = [
            (index, (unparsed or record) if isinstance(outcome, model.Unparsed) else outcome)
            for index, record, outcome in zip(self.indices, self.records, outcomes, strict=True)
            if outcome is not None
        ]
        self.indices = [index for index, _ in kept]
        self.records = [record for _, record in kept]

    def put_into(self, result: Result) -> None:
        for index, record in zip(self.indices, self.records, strict=True):
            result.records[index] = record
