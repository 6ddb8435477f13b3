"""One flow: from files to receipts, in steps that any thread (or a test) can run.

    1 collect   receipts -> settle, refused records back into the Batcher with a due time
    2 refresh   scan, reconcile, poll
    3 read      while there is credit: blocks -> chunks -> Batcher
    4 dispatch  Batcher -> batches -> submit, as the pace allows
    5 publish   rows that changed -> save

A step never waits and never blocks on the network; it reads files, and ends after about
STEP_S. What a flow shares with other threads is its queue of reports, and the counters and
condition it publishes: immutable values, replaced once a step.

Law of settlement: a span settles when its records were accepted, when a rule dropped it, or when
its dead letter is on disk. Nothing else settles it, and only what is settled is ever saved.
"""

from __future__ import annotations

import dataclasses
import queue
import random
from collections.abc import Callable, Iterable, Sequence

from kagent import batch as batching
from kagent import (
    burying,
    discovery,
    errors,
    inheritance,
    logs,
    metrics,
    model,
    opening,
    options,
    pace,
    preprocessing,
    preprocessors,
    reading,
    room,
    roster,
    split,
    spread,
)
from kagent.preprocessors import calls, chain

HOST_WAIT_S = 10.0  # for EC2's data, when records are to have some
STEP_S = 0.1
SCAN_S = 1.0
SAY_AGAIN_S = 60.0
DELAYED_S = 10.0  # setbacks for so long are told, even if time alone may mend them


@dataclasses.dataclass(frozen=True, slots=True)
class FlowSettings:
    """All that a flow must know of its configuration, resolved."""

    name: str
    source: discovery.SourceOptions
    batch: batching.BatchSettings
    oversize: split.OversizePolicy
    max_in_flight: int
    max_buffer_bytes: int
    checkpoint_interval_s: float
    checkpoint_ttl_s: float
    destination: str = ""  # for people, as in 'kinesis web-logs'
    preprocess: tuple[preprocessors.Stage, ...] = ()
    on_no_match: chain.OnNoMatch = "wrap"
    state_dir: str = ""
    rate_limit: pace.RateLimit = pace.UNLIMITED
    facts_wait_s: float = 0.0  # how long reading waits for the facts of the stream
    handles_max: int = room.HANDLES_MAX  # files open at once


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """What a flow publishes of itself after each step."""

    counts: metrics.Counts
    files: int
    in_flight: int
    blocked: str  # why nothing goes out, and what would help; empty when something may
    is_ready: bool  # its first scan is durable
    stepped: float  # monotonic


def rules_of(
    source: discovery.SourceOptions,
    oversize: split.OversizePolicy,
    line_bytes_max: int,
    clock: model.Clock,
) -> split.Rules:
    """Return how a flow splits the bytes of its files.

    Args:
        source: Which files they are, and what is said of their lines.
        oversize: What becomes of lines that are too long.
        line_bytes_max: The longest that a record can hold.
        clock: Bounds the time for patterns.
    """
    record_bytes_max = min(source.max_line + 1, line_bytes_max)
    return split.Rules(record_bytes_max, oversize, source.records(), clock.monotonic)


class Flow:
    """Ships the files of one pattern set to one destination; owned by one thread."""

    def __init__(
        self,
        settings: FlowSettings,
        limits: model.BatchLimits,
        files: model.Files,
        clock: model.Clock,
        chooser: random.Random,
        submit: Callable[[model.Batch], None],
        save: Callable[[model.FlowSnapshot], None],
        bury: Callable[[model.DeadLetter], None],
        host: Callable[[], model.HostFacts] = model.HostFacts,
        guard: calls.Guard | None = None,
    ) -> None:
        """Look at nothing yet; `open` takes over what is known of the flow's files."""
        self.settings = settings
        self.reports: queue.SimpleQueue[model.Report] = queue.SimpleQueue()
        self.hints: queue.SimpleQueue[str] = queue.SimpleQueue()  # directories to look at now
        self.counters = metrics.FlowCounters()
        self.facts = model.StreamFacts()  # of the destination, when the service has said them
        self._facts_due = clock.monotonic() + settings.facts_wait_s  # reading waits no longer
        self._host = host
        self._host_due = float("-inf")
        if any(stage.needs_instance for stage in settings.preprocess):
            self._host_due = clock.monotonic() + HOST_WAIT_S
        self.in_flight = 0
        self._clock = clock
        self._submit = submit
        self._save = save
        self.burials = burying.Burials(settings.name, bury, clock)
        self._batcher = batching.Batcher(settings.batch, limits, chooser)
        self._pace = pace.Pace(
            pace.PaceSettings(
                settings.max_in_flight,
                settings.batch.records_max,
                settings.batch.bytes_max,
                settings.rate_limit,
                has_fixed_keys=self._batcher.has_fixed_keys,
            ),
            chooser,
        )
        rules = rules_of(settings.source, settings.oversize, self._batcher.line_bytes_max, clock)
        rules.run_bytes = self._batcher.run_bytes
        faults = opening.Faults(settings.name)
        opener = opening.Opener(faults, settings.source, rules, files, chooser)
        self.roster = roster.Roster(
            settings.name,
            settings.source,
            settings.checkpoint_ttl_s,
            files,
            clock,
            opener,
            faults,
            settings.handles_max,
        )
        self._credit_min = reading.credit_min(rules)
        self._preprocessing = preprocessing.Preprocessing(
            settings.name,
            settings.preprocess,
            settings.on_no_match,
            clock,
            capture=settings.source.capture,
            record_bytes_max=self._batcher.line_bytes_max,
            is_stripped=rules.frame.is_stripped,
            oversize=settings.oversize,
            host=host,
            guard=guard,
        )
        self._sequence = 0
        self._first_sequence: int | None = None  # the snapshot of the first scan
        self._saved_sequence = 0
        self._is_draining = False
        self._scanned = self._published = float("-inf")
        self._accepted_at = float("-inf")
        self._spread = spread.Spread()
        self._said: tuple[str, float] = ("", float("-inf"))
        self._said_oddities = ((0, 0, 0), float("-inf"))
        self.condition = self._observe()

    # --- life ---------------------------------------------------------------------------------

    def open(self, estate: inheritance.Estate) -> None:
        """Take over what an earlier run or incarnation knew."""
        self.roster.open(estate)

    def drain(self) -> None:
        """Read and send no more; answers under way are still collected."""
        self._is_draining = True

    def close(self) -> inheritance.Estate:
        """Hand over the last rows to be saved and leave everything else to a successor."""
        self._publish(is_last=True)
        return self.roster.close()

    @property
    def is_idle(self) -> bool:
        """Nothing is under way: no attempt, and no dead letter but those that found no room."""
        return self.in_flight == 0 and self.burials.is_idle

    @property
    def is_ready(self) -> bool:
        """What the first scan found is durable, so it is safe to read."""
        return self._first_sequence is not None and self._saved_sequence >= self._first_sequence

    # --- one step -----------------------------------------------------------------------------

    def step(self) -> float:
        """Do what is due now; return the monotonic time at which something is due again."""
        end = self._clock.monotonic() + STEP_S
        self._collect()
        if self.is_ready and not self.condition.is_ready:
            self.condition = self._observe()  # before a read: a preprocessor may not return
        if not self._is_draining:
            self._refresh()
            is_hungry = self._work(end)
        else:
            is_hungry = False
        self._publish()
        self.counters.abandoned_bytes = self.roster.abandoned_bytes
        self.condition = self._observe()
        self._say_condition()
        return self._clock.monotonic() if is_hungry else self._next_due()

    def _collect(self) -> None:
        """Take in everything that was reported."""
        while True:
            try:
                report = self.reports.get_nowait()
            except queue.Empty:
                return
            if isinstance(report, model.Receipt):
                self._collect_receipt(report)
            elif isinstance(report, model.Saved):
                self._saved_sequence = max(self._saved_sequence, report.sequence)
                self.roster.saving.note_saved(report.sequence)
            elif isinstance(report, model.StreamFacts):
                self.facts, self._facts_due = report, float("-inf")
                self._batcher.note_shards(report.shards)
            else:
                self._collect_dead_letter(report)

    def _refresh(self) -> None:
        """Look for files, at once where something was hinted, and at their sizes."""
        hinted: set[str] = set()
        while not self.hints.empty():
            hinted.add(self.hints.get_nowait())
        now = self._clock.monotonic()
        if hinted or now - self._scanned >= SCAN_S:
            self._scanned = now
            self.roster.refresh(hinted)
        self.roster.turns.poll()

    def _work(self, end: float) -> bool:
        """Read and dispatch until the step's time is over; return whether there is more to do."""
        while self._clock.monotonic() < end:
            self._dispatch()
            credit = self.settings.max_buffer_bytes - self._batcher.held_bytes
            is_held = not self.is_ready or self._is_waiting_for_facts()
            is_held |= self._batcher.lacks_shards
            if self._preprocessing.is_waiting:
                if not self._preprocess(credit):
                    return False
                continue
            if credit < self._credit_min or is_held:
                return False
            # What preprocessors make of a block may be larger than the block.
            growth = self._preprocessing.growth
            found = self.roster.turns.read(max(self._credit_min, int(credit / growth)))
            if found is None:
                return False
            self._take_in(found)
        self._dispatch()
        return True

    def _is_waiting_for_facts(self) -> bool:
        """Return whether somebody was asked for what a record needs, and may still answer."""
        now = self._clock.monotonic()
        return now < self._facts_due or (now < self._host_due and self._host().is_awaited)

    def _dispatch(self) -> None:
        """Submit what is ready, as long as the pace allows another attempt."""
        now = self._clock.monotonic()
        while self._pace.may_attempt(now, self.in_flight):
            batch = self._batcher.take(now, *self._pace.room(now))
            if batch is None:
                return
            self.in_flight += 1
            self._pace.note_submitted(batch)
            if self._batcher.has_fixed_keys:
                self._say_uneven(self._spread.note(batch, self.facts.shards, now))
            self._submit(batch)

    def _take_in(self, result: split.Split) -> None:
        """Account for a chunk that was read, and send it on its way."""
        chunk = result.chunk
        self.counters.read_bytes += chunk.end - chunk.start
        self.counters.undecoded_lines += result.undecoded
        self.counters.replaced_sequences += result.replaced
        self.counters.expired_patterns += result.expired
        if not chunk.records:
            self._settle([chunk])
            return
        one = self.roster.tails[chunk.tail_id]
        path = one.paths[0]
        if result.is_dead:
            self._preprocessing.redact(chunk, path, one.header)
            self._bury_chunk(chunk, "longer than max_line", is_held=False)
            return
        unprocessed = preprocessing.Unprocessed(chunk, path, one.header)
        if self._preprocessing.chain.is_empty:
            self._add(unprocessed, chunk)
            return
        self._batcher.hold(chunk)
        self._preprocessing.add(unprocessed)

    def _preprocess(self, credit: int) -> bool:
        """Process records that wait, as far as there is credit; return whether there was any."""
        mine = self._preprocessing.waiting_cost
        found = self._preprocessing.next_slice(
            credit + mine, must_move=mine == self._batcher.held_bytes
        )
        if found is None:
            return False
        self._batcher.release(found.chunk)
        processed = self._preprocessing.process(found)
        self.counters.unparsed_records += processed.unparsed
        self.counters.dropped_records += processed.dropped
        self.counters.bare_records += processed.bare
        for piece in processed.shipped:
            self._add(found, piece)
        for piece, reason in processed.dead:
            self._bury_chunk(piece, reason, is_held=False)
        self._settle(processed.empty)
        return True

    def _add(self, source: preprocessing.Unprocessed, chunk: model.Chunk) -> None:
        """Hand records to the batcher, with what their partition keys are made of."""
        context = None
        if self._batcher.keys.needs_context:
            context = self._preprocessing.context(chunk, source.path, source.header)
        self._batcher.keys.assign(chunk, context)
        self._batcher.add(chunk)

    # --- receipts -----------------------------------------------------------------------------

    def _collect_receipt(self, receipt: model.Receipt) -> None:
        """Settle what was accepted, and keep the rest for another attempt."""
        assert self.in_flight > 0
        now = self._clock.monotonic()
        self.counters.count_receipt(receipt)
        if receipt.setback is None and self._pace.note_answer(receipt, now, self.in_flight):
            self._accepted_at = now
        self.in_flight -= 1
        if isinstance(receipt.setback, errors.RejectedError):
            self._collect_rejection(receipt.batch, receipt.setback)
        elif receipt.setback is not None:
            self._pace.note_setback(receipt, now)
            self._put_back(receipt.batch, receipt.batch.cargo, self._pace.not_before)
        else:
            refused = [refusal.index for refusal in receipt.refused]
            accepted, returned = self._batcher.settle(receipt.batch, refused)
            settled = list(filter(_is_last, accepted))
            for chunk in settled:
                self.counters.delivered_bytes += chunk.end - chunk.start - chunk.dropped_bytes
            self._settle(settled)
            for cargo in returned:
                cargo.attempts += 1
            for cargo, due in self._pace.refused_dues(returned, receipt.refused, now):
                self._batcher.put_back([cargo], due)

    def _settle(self, chunks: Sequence[model.Chunk]) -> None:
        self.counters.dropped_bytes += sum(chunk.dropped_bytes for chunk in chunks)
        self.roster.turns.settle(chunks)

    def _put_back(self, batch: model.Batch, cargo: Iterable[model.Cargo], due: float) -> None:
        if batch.is_whole:
            self._batcher.put_back_whole(batch, due)
        else:
            self._batcher.put_back(cargo, due)

    def _collect_rejection(self, batch: model.Batch, error: errors.DestinationError) -> None:
        """Halve a batch that the service calls invalid, until the culprit stands alone.

        A lone record is the culprit if another one was accepted since it was read. If none was,
        the destination itself may be wrong, and the flow waits for a human (or that proof).
        """
        now = self._clock.monotonic()
        if len(batch.records) > 1:
            self._batcher.put_back_halves(batch, now)
            return
        (cargo,) = batch.cargo
        is_many = isinstance(cargo, model.Packed) and cargo.lines > 1
        if self._accepted_at > cargo.read_time and not is_many:
            chunk = self._batcher.lone_line(batch)
            self._bury_chunk(chunk, f"{error.code}: {error.message}")
            return
        halves = self._batcher.unpack(batch) if is_many else [batch]
        if self._accepted_at > cargo.read_time:
            for half in reversed(halves):
                self._batcher.put_back_whole(half, now)
            return
        self._pace.note_suspect(error, now)
        # Others are tried first: one that is accepted proves that this record is the culprit.
        for half in halves:
            self._batcher.put_back_last(half, self._pace.not_before)

    # --- dead letters -------------------------------------------------------------------------

    def _bury_chunk(self, chunk: model.Chunk, reason: str, *, is_held: bool = True) -> None:
        """Hand records to be written to the dead letters; they settle when they are on disk."""
        if not is_held:
            self._batcher.hold(chunk)
        self.burials.add(chunk, self.roster.path_of(chunk.tail_id), reason)

    def _collect_dead_letter(self, report: model.DeadLettered) -> None:
        chunk = self.burials.collect(report)
        if chunk is not None:
            self._batcher.release(chunk)
            if _is_last(chunk):
                self.counters.dead_lettered_bytes += chunk.end - chunk.start - chunk.dropped_bytes
                self._settle([chunk])

    # --- what others see ----------------------------------------------------------------------

    def _publish(self, *, is_last: bool = False) -> None:
        """Hand over the rows that changed: each interval, and at once for a file that waits."""
        self.burials.retry()
        now = self._clock.monotonic()
        is_due = now - self._published >= self.settings.checkpoint_interval_s
        is_first = self._first_sequence is None and self.roster.is_scanned
        # One snapshot at a time: a disk that hangs must not make a queue of them in memory.
        is_due = is_due and self._saved_sequence == self._sequence
        if not (is_due or is_first or is_last or self.roster.saving.is_waiting_to_be_read):
            return
        self._published = now
        self.counters.check_balance(self.roster.turns.unsettled_bytes())
        snapshot = self.roster.saving.snapshot(
            self._sequence + 1, is_first=is_first, is_last=is_last
        )
        if snapshot is not None:
            self._sequence += 1
            self._save(snapshot)
        if is_first:
            self._first_sequence = self._sequence

    def _next_due(self) -> float:
        dues = self.burials.dues
        if self._is_draining:
            return min([self._clock.monotonic() + SCAN_S, *dues])
        dues += [self._scanned + SCAN_S, self.roster.turns.next_due()]
        due = self._batcher.next_due()
        allowed = self._pace.next_attempt(self._clock.monotonic(), self.in_flight)
        if due is not None and allowed is not None:  # else the next receipt wakes the flow
            dues.append(max(due, allowed))
        return min(dues)

    def _trouble(self) -> tuple[str, str]:
        """Return why something does not go out: a word for its kind, and a text for people."""
        now = self._clock.monotonic()
        error = self._pace.blocked
        if error is None and now - self._pace.failing_since >= DELAYED_S:
            error = self._pace.setback
        if error is not None:
            what = f"{error.code}: {options.printable(error.message)}".removesuffix(": ")
            return error.code, (
                f'destination="{self.settings.destination}" error="{what}"; it is tried again, '
                "reading pauses when max_buffer is full, nothing is lost while the files stay; "
                f"hint: {error.hint}"
            )
        if self._batcher.lacks_shards and now >= self._facts_due:
            fault = self.facts.shards_fault
            why = f"{fault.code}: {options.printable(fault.message)}" if fault else "no answer yet"
            return "shards", (
                f'destination="{self.settings.destination}" error="{why}"; nothing is read: '
                "pack: kpl with a partition_key must know the open shards; hint: allow "
                "kinesis:ListShards on the stream, or use partition_key: random"
            )
        if self.burials.error:
            why = self.burials.error
            return "dead-letter", f"records wait to be dead-lettered, others go out; {why}"
        return "", ""

    def _observe(self) -> Condition:
        return Condition(
            self.counters.snapshot(),
            len(self.roster.tails),
            self.in_flight,
            self._trouble()[1],
            self.is_ready,
            self._clock.monotonic(),
        )

    def _say_condition(self) -> None:
        """Log that the flow is blocked, once and then each minute, and that it is not any more."""
        self._say_oddities()
        now = self._clock.monotonic()
        said, at = self._said
        kind, text = self._trouble()
        if kind and (kind != said or now - at >= SAY_AGAIN_S):
            logs.of_flow(self.settings.name).error(
                "cannot deliver flow=%s %s", self.settings.name, text
            )
            self._said = (kind, now)
        elif said and not kind:
            logs.of_flow(self.settings.name).info("delivering again flow=%s", self.settings.name)
            self._said = ("", now)

    def _say_uneven(self, uneven: spread.Uneven | None) -> None:
        """Log that most records go to one shard, and what would help."""
        if uneven is not None:
            logs.of_flow(self.settings.name).warning(
                "records are uneven flow=%s shard=%s share=%d%% shards=%d; the flow is as fast as "
                "that shard; hint: use partition_key: random, a value that differs more, or "
                "explicit_hash_key: random, which keeps the partition key for readers",
                self.settings.name,
                uneven.shard,
                round(100 * uneven.share),
                uneven.shards,
            )

    def _say_oddities(self) -> None:
        """Log what is odd about the lines themselves, at most once a minute, and no content."""
        counts = self.condition.counts
        odd = (counts.undecoded_lines, counts.replaced_sequences, counts.expired_patterns)
        said, at = self._said_oddities
        now = self._clock.monotonic()
        if odd == said or now - at < SAY_AGAIN_S:
            return
        self._said_oddities = (odd, now)
        logs.of_flow(self.settings.name).warning(
            "lines were odd flow=%s undecoded_lines=%d replaced_sequences=%d expired_patterns=%d; "
            "they are shipped all the same",
            self.settings.name,
            *odd,
        )


def _is_last(chunk: model.Chunk) -> bool:
    """Take a part of a record off its whole; return whether all of the chunk's bytes are settled.

    Records are seldom in parts, and then settle, and are counted, with the last of them.
    """
    if chunk.whole is None:
        return True
    chunk.whole.left -= 1
    assert chunk.whole.left >= 0
    return chunk.whole.left == 0
