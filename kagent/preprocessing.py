"""What a flow's preprocessors do to the chunks that it reads, and what is said of it.

Cuts a chunk into records that go out, records for the dead letters, and bytes that are dropped by
rule; together they are the chunk. Counts what was unparsed, and says where: path, offset, and the
part of a pattern that failed; at once when a part fails for the first time, then once a minute.
Never says what a record holds.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from kagent import host_facts, logs, model, options, preprocessors, split, userpattern
from kagent.preprocessors import calls, chain, oversize

SAY_AGAIN_S = 60.0
PATHS_MAX = 10_000  # whose captured values are remembered
UNKNOWN_RECORDS = 64  # processed at first, to see how they grow and how long it takes
SLICE_S = 0.1  # of one slice, by what the last one took: a flow has more to do than this
PARTS_MAX = 20  # different failures that are said at once; a stage may make up any number

LONG = "goes out in parts"


@dataclasses.dataclass(slots=True)
class Unprocessed:
    """A chunk as it was split, the path of its file, and the lines that `header_lines` skipped."""

    chunk: model.Chunk
    path: str
    header: Sequence[bytes]


@dataclasses.dataclass(slots=True)
class Processed:
    """A chunk in pieces that tile it: to be shipped, without any record, and to be buried."""

    shipped: list[model.Chunk] = dataclasses.field(default_factory=list)
    empty: list[model.Chunk] = dataclasses.field(default_factory=list)
    dead: list[tuple[model.Chunk, str]] = dataclasses.field(default_factory=list)
    unparsed: int = 0  # records that a preprocessor could not take apart
    dropped: int = 0  # records that one dropped, or that are dropped as unparsed
    bare: int = 0  # records that lack what EC2 has not said


class Preprocessing:
    """The preprocessors of one flow; owned by its thread."""

    def __init__(
        self,
        flow: str,
        stages: Sequence[preprocessors.Stage],
        on_no_match: chain.OnNoMatch,
        clock: model.Clock,
        *,
        capture: str | None,
        record_bytes_max: int,
        is_stripped: bool,
        oversize: split.OversizePolicy = "auto",
        host: Callable[[], model.HostFacts],
        guard: calls.Guard | None = None,
    ) -> None:
        """Prepare the chain.

        Args:
            flow: Its name.
            stages: The preprocessors.
            on_no_match: What becomes of records that they cannot take apart.
            clock: For the read time, and for when to say something again.
            capture: A pattern whose named groups are values, looked for in the path.
            record_bytes_max: The destination's limit.
            is_stripped: Records leave without a newline.
            oversize: What becomes of a record that becomes longer than the limit; 'auto' is a
                dead letter, as a part or the head of what was made is seldom of use.
            host: Returns what is known of this machine.
            guard: Watches over calls of preprocessors that are not ours.
        """
        self.chain = chain.Chain(stages, on_no_match, is_stripped=is_stripped, guard=guard)
        self._growth = 1.0
        self._slice_records = UNKNOWN_RECORDS
        self._waiting: Unprocessed | None = None
        self._flow = flow
        self._on_no_match = on_no_match
        self._clock = clock
        self._record_bytes_max = record_bytes_max
        self._oversize = oversize
        self._host = host
        self._lack = host_facts.Lack(
            flow,
            clock,
            needs_instance=any(stage.needs_instance for stage in stages),
            needs_tags=any(stage.needs_tags for stage in stages),
        )
        self._capture = userpattern.UserPattern(capture) if capture else None
        self._captured: dict[str, Mapping[str, str]] = {}  # by path
        self._said: dict[tuple[str, str], float] = {}
        self._unsaid = 0

    @property
    def growth(self) -> float:
        """By what factor records lately grew, in memory; at least 1."""
        return self._growth

    @property
    def is_waiting(self) -> bool:
        """There are records that were read and not processed: read no more."""
        return self._waiting is not None

    @property
    def waiting_cost(self) -> int:
        """What the records that wait cost in memory."""
        return _cost(self._waiting.chunk.records) if self._waiting else 0

    def add(self, unprocessed: Unprocessed) -> None:
        """Take a chunk of one record or more, to be processed in slices."""
        assert self._waiting is None
        self._waiting = unprocessed

    def next_slice(self, credit_bytes: int, *, must_move: bool) -> Unprocessed | None:
        """Return as many of the records that wait as can be paid for when they have grown.

        None if not even one can. Nobody knows how much a preprocessor makes of a record, and how
        long it takes, before it did: the first slice is small.

        Args:
            credit_bytes: What records may cost in memory, their present cost included.
            must_move: Nothing else will free memory: give out at least one record.
        """
        assert self._waiting is not None
        whole = self._waiting
        records = whole.chunk.records
        records = records[: self._slice_records]
        affordable_bytes = int(credit_bytes / self.growth)
        count = len(records)
        if _cost(records) > affordable_bytes:
            # Of no more than there could be if they were empty: a slice may be few of very many.
            most = affordable_bytes // model.RECORD_OVERHEAD_BYTES + 1
            costs = itertools.accumulate(map(_cost_of_one, records[:most]))
            count = bisect.bisect_right(list(costs), affordable_bytes)
            count = max(count, 1 if must_move else 0)
        if count == 0:
            return None
        if count == len(whole.chunk):
            self._waiting = None
            return whole
        rest = whole.chunk.slice(count, len(whole.chunk))
        self._waiting = dataclasses.replace(whole, chunk=rest)
        return dataclasses.replace(whole, chunk=whole.chunk.slice(0, count))

    def process(self, unprocessed: Unprocessed) -> Processed:
        """Return what becomes of a chunk of one record or more, which is used up."""
        chunk, path = unprocessed.chunk, unprocessed.path
        begun = self._clock.monotonic()
        result = self.run(chunk, path, unprocessed.header)
        elapsed_s = self._clock.monotonic() - begun
        self._slice_records = split.LINES_MAX
        if elapsed_s > 0.0:
            self._slice_records = max(1, int(len(chunk) * SLICE_S / elapsed_s))
        self._note_growth(chunk.records, result.records)
        found = Processed(unparsed=len(result.failures))
        found.dropped = result.records.count(None)
        found.bare = self._lack.note(len(chunk), self._host)
        if result.failures:
            self._say(chunk, path, result.failures)
        for piece, reason in divide(chunk, result):
            if reason == LONG:
                found.shipped += oversize.parts_of(piece, self._record_bytes_max)
            elif reason:
                found.dead.append((piece, reason))
            elif piece.records:
                found.shipped.append(piece)
            else:
                found.empty.append(piece)
        return found

    def run(self, chunk: model.Chunk, path: str, header: Sequence[bytes]) -> chain.Result:
        """Return the same record by record; says nothing and remembers nothing."""
        result = self.chain.run(chunk.records, self.context(chunk, path, header))
        oversize.limit(result, chunk.records, self._record_bytes_max, self._oversize)
        return result

    def redact(self, chunk: model.Chunk, path: str, header: Sequence[bytes]) -> None:
        """Redact records in place that go to the dead letters as they were split."""
        if not self.chain.is_empty:
            context = self.context(chunk, path, header)
            chunk.records = self.chain.redact(chunk.records, context)

    def context(
        self, chunk: model.Chunk, path: str, header: Sequence[bytes]
    ) -> model.ChunkContext:
        """Return what preprocessors may know of a chunk's records."""
        return model.ChunkContext(
            path,
            chunk.tail_id,
            chunk.starts,
            chunk.ends,
            self.captured(path),
            header,
            read_time=self._clock.time(),
            host=self._host(),
            part=chunk.part,
        )

    def captured(self, path: str) -> Mapping[str, str]:
        """Return what the groups of `capture` match in a path; empty texts if it does not."""
        if self._capture is None:
            return {}
        if path not in self._captured:
            if len(self._captured) >= PATHS_MAX:
                self._captured.clear()
            (found,) = self._capture.each([path.encode("utf-8", "surrogateescape")], "search")
            is_none = found is None or found is userpattern.EXPIRED
            groups = {} if is_none else found.groupdict()  # type: ignore[union-attr]  # a match
            self._captured[path] = {
                name: (groups.get(name) or b"").decode("utf-8", "surrogateescape")
                for name in self._capture.groups
            }
        return self._captured[path]

    def _note_growth(self, before: Sequence[bytes], after: Sequence[bytes | None]) -> None:
        """Remember how much more memory records take than they did, and slowly forget it."""
        was, now = _cost(before), _cost([record for record in after if record is not None])
        self._growth = max(1.0, now / was, 0.9 * self._growth)

    def _say(self, chunk: model.Chunk, path: str, failures: Sequence[chain.Failure]) -> None:
        """Log where a part failed that did not fail before, and each minute where one did."""
        now = self._clock.monotonic()
        self._unsaid += len(failures)
        for failure in {(one.stage, one.part): one for one in reversed(failures)}.values():
            kind = (failure.stage, failure.part)
            if kind not in self._said and len(self._said) >= PARTS_MAX:
                kind = ("", "")  # one of many
            if now - self._said.get(kind, float("-inf")) < SAY_AGAIN_S:
                continue
            self._said[kind] = now
            logs.of_flow(self._flow).warning(
                "record unparsed flow=%s path=%s offset=%d preprocessor=%s part=%s "
                "on_no_match=%s records=%d",
                self._flow,
                options.printable(path),
                chunk.starts[failure.index],
                failure.stage,
                f'"{options.printable(failure.part[:200]) or "no match"}"',
                self._on_no_match,
                self._unsaid,
            )
            self._unsaid = 0


def divide(chunk: model.Chunk, result: chain.Result) -> Iterator[tuple[model.Chunk, str]]:
    """Yield a chunk's records as they became, cut where the dead letters and long records are.

    Each piece comes with the reason why it is dead, LONG, or an empty text.
    """
    chunk.records = result.records  # type: ignore[assignment]  # None only until `_narrow`
    chunk.is_plain = False
    at = 0
    for index in sorted({*result.dead, *result.long}):
        if at < index:
            yield _narrow(chunk.slice(at, index)), ""
        yield chunk.slice(index, index + 1), result.dead.get(index, LONG)
        at = index + 1
    if at == 0:
        yield _narrow(chunk), ""
    elif at < len(chunk):
        yield _narrow(chunk.slice(at, len(chunk))), ""


def _narrow(chunk: model.Chunk) -> model.Chunk:
    """Take out of a chunk what is None in the place of a record: its bytes are dropped."""
    if None in chunk.records:
        kept = [record is not None for record in chunk.records]
        chunk.records = list(itertools.compress(chunk.records, kept))
        chunk.starts = list(itertools.compress(chunk.starts, kept))
        chunk.ends = list(itertools.compress(chunk.ends, kept))
        chunk.dropped_bytes = chunk.end - chunk.start - (sum(chunk.ends) - sum(chunk.starts))
    return chunk


def _cost_of_one(record: bytes) -> int:
    return len(record) + model.RECORD_OVERHEAD_BYTES


def _cost(records: Sequence[bytes]) -> int:
    return sum(map(len, records)) + model.RECORD_OVERHEAD_BYTES * len(records)
