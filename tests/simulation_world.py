"""One simulated world: a file system with writers, one flow with its disk and its destination.

Everything that happens is decided by one seed. Each world draws a profile first: which actions
and faults it knows at all, and how kagent is configured. Worlds without faults have the strictest
checks (exactly once, in order); worlds with few kinds of actions reach what a mixture never does.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import errno
import queue
import random
import threading
import types
from collections.abc import Callable, Iterator

import fakes
from simulation_profile import PREPROCESS, Profile, draw_profile
from simulation_truth import BrokenError, Content, Truth
from simulation_writers import DIRECTORIES, POISON, Writers, is_generation

from kagent import (
    checkpoint,
    discovery,
    errors,
    flow,
    idle,
    inheritance,
    kpl,
    metrics,
    model,
    proof,
    proven,
    search,
    split,
    tail,
)

FLOW = "web"
PATTERNS = ("/logs/*.log", "/logs/a*.log", "/logs/*/*.log")
READS = ("read", "size", "handle_status", "open", "status", "list")
SETTLED_WITHIN_S = 900.0


@contextlib.contextmanager
def _tuned(module: types.ModuleType, name: str, value: int) -> Iterator[None]:
    """Give a constant another value, so that small files reach what large ones do."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


class World:
    """One run; `run` makes it, and raises when a promise is broken.

    Other kinds of worlds derive from it: what differs is in the methods right below.
    """

    writers_type = Writers

    def draw_profile(self) -> Profile:
        return draw_profile(self.random)

    def make_truth(self) -> Truth:
        policy = "split" if self.profile.policy == "auto" else self.profile.policy
        return Truth(policy, self.profile.record_bytes_max)

    def owed_bytes(self, content: Content) -> int:
        """Return how much of a file with a matching name is delivered in the end."""
        return content.complete_bytes

    def may_ignore(self, node: fakes.Node, *, is_end: bool = True) -> bool:
        """Return whether a file with a matching name need not be followed."""
        return False

    def opened(self, record: bytes) -> bytes:
        """Return a record as its reader gets it."""
        return record

    def line_of(self, line: bytes, start: int, end: int) -> bytes:
        """Return a line of a packed record, without the newline that it may have got there."""
        return line[: end - start] if self.truth.policy != "truncate" else line

    def __init__(self, seed: int, actions: int = 150) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        # As with very many files: each is looked at in its turn; shipped ones are closed.
        self.is_swept = seed % 4 >= 2
        self.is_crowded = seed % 4 == 3
        random.seed(seed)  # tenacity's jitter
        self.trace: collections.deque[str] = collections.deque(maxlen=400)
        self.profile = self.draw_profile()
        self.trace.append(f"{self.profile}")
        self.actions = actions
        self.clock = fakes.FakeClock()
        self.files = fakes.FakeFiles(self.clock)
        self.store = _CheckedStore(self)
        self.letters = fakes.FakeDeadLetters()
        self.saver = self._new_saver()
        self.truth = self.make_truth()
        self.truth.is_ordered = self.profile.is_ordered
        self.flow: flow.Flow | None = None
        self.pending: list[tuple[model.Batch, float]] = []
        self.followed: set[fakes.Node] = set()
        self.unpacked: set[str] = set()  # tails in archives, in this life of the flow
        self.letters_noted = 0
        self.doubtful: set[tuple[str, int, int]] = set()  # letters of a life that ended
        self.has_missed_listing = False  # in this life of the flow
        self.has_scanned = False
        self.is_closing = False
        self.fault: _Fault | None = None
        self.faulty_until = float("-inf")
        self.race_in = -1  # file operations until a writer acts within a step
        self.has_raced = False
        self.files.before = self._before
        self.files.closed = self._note_closed
        self.writers = self.writers_type(
            self.random,
            self.clock,
            self.files,
            self.truth,
            self.profile,
            self._note_destroyed,
            self._judge_copy,
        )
        self._settings = self._make_settings()

    # --- the run --------------------------------------------------------------------------------

    def run(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_tuned(proven, "BLOCK_BYTES", self.profile.block_bytes))
            stack.enter_context(_tuned(search, "_SHORT_REST_BYTES", self.profile.block_bytes // 2))
            stack.enter_context(_tuned(split, "LINES_MAX", self.profile.lines_max))
            stack.enter_context(_tuned(model, "FINGERPRINT_BYTES_MAX", self.profile.head_bytes))
            stack.enter_context(_tuned(idle, "FILES_MIN", self._draw_growth()))
            for _ in range(self.random.randrange(6)):
                self._act("writer", self.writers.write)
            self._begin_life(inheritance.Estate())
            for _ in range(self.actions):
                self._act_randomly()
            self._settle()

    def _draw_growth(self) -> int:
        """Draw what the kernel tells of growth; return how many files it is asked to tell of."""
        chooser = random.Random(f"{self.seed} growth")
        self.files.is_deaf = chooser.random() < 0.15
        self.files.watches_max = chooser.choice([1, 3, 1_000_000])
        forgets = chooser.choice([0.0, 0.0, 0.1])
        self.files.forgets = lambda: chooser.random() < forgets
        return chooser.choice([0, 0, 1_000_000])

    def _act(self, name: str, action: Callable[[], str | None]) -> None:
        said = action()
        if said is not None:
            self.trace.append(f"{self.clock.now:9.2f} {name}: {said}")

    def _act_randomly(self) -> None:
        """Do one thing; what is not there to be done is not done."""
        profile = self.profile
        if self.flow is None:
            weights = {"agent": 4, "writer": 4, "clock": 2}
        else:
            weights = {"writer": 30, "agent": 30, "sender": 15, "saver": 9, "clock": 11}
            weights["life"] = 2 * bool(profile.crashes)
            weights["disk"] = 1 * profile.disk_faults
            weights["files"] = 2 * profile.file_faults
        name = self.random.choices(list(weights), list(weights.values()))[0]
        actions: dict[str, Callable[[], str | None]] = {
            "writer": self.writers.write,
            "agent": self._begin_again if self.flow is None else self._step,
            "sender": self._attempt,
            "saver": self._save,
            "clock": self._advance,
            "life": self._end_life,
            "disk": self._fail_disk,
            "files": self._fail_files,
        }
        self._act(name, actions[name])

    def _begin_again(self) -> str:
        rows, scanned = self.store.load(FLOW)
        return self._begin_life(inheritance.Estate(rows, scanned))

    def _end_life(self) -> str:
        ends = {
            "restart_flow": self._restart_flow,
            "restart": self._restart,
            "crash": self._crash,
            "power_cut": self._power_cut,
        }
        return ends[self.random.choice(self.profile.crashes)]()

    def _note_destroyed(self, node: fakes.Node, size: int) -> None:
        """Tell the truth how far kagent has read bytes that are about to be destroyed."""
        if self.flow is None:
            return
        for one in self._proven_tails(node):
            self.truth.note_destroyed(node, one.file.at)
            # A truncation while kagent is behind: what it has read still stands, so that it goes
            # on there, and looks for no copy of what is cut off.
            if (one.known_end or len(one.file._peek)) <= size:
                self.truth.note_cut(node, one.tail_id, size)

    def _proven_tails(self, node: fakes.Node) -> list[tail.Tail]:
        """Return the tail of a file if it knows the file as it is now."""
        held = self.truth.current[node].data
        tails = self.flow.roster.tails.values() if self.flow else ()
        files = [
            (one, one.file)
            for one in tails
            if one.handle is not None and self.files.handles[one.handle][0] is node
        ]
        return [
            one
            for one, file in files
            # Of a tail that has not noticed an earlier truncation the bytes are long destroyed.
            if file.last_bytes == bytes(held[max(0, file.at - len(file.last_bytes)) : file.at])
            and (file.at or (file._peek and held.startswith(file._peek)))
            # And NULs are like NULs: what was a hole may be bytes by now.
            and not held[: max(0, file.hole_end)].strip(b"\0")
        ]

    def _judge_generations(self, rows: list[model.Checkpoint]) -> None:
        """Decide which renamed files kagent must find by their rows."""
        for row in rows:
            if row.is_done or row.was_unlinked or row.tail_id not in self.truth.origins:
                continue
            number = self.truth.origins[row.tail_id][-1][0]
            for node, names in self.writers.named.items():
                if node.number != number or node not in self.truth.places_of(row.tail_id):
                    continue
                content = self.truth.current[node]
                if any(is_generation(name, row.paths) for name in names):
                    content.rotated_from, content.owed_bytes = row.paths, len(content.data)
                    content.known_by = frozenset({row.tail_id})

    def _judge_copy(self, node: fakes.Node, copy: Content, begun: float) -> None:
        """Decide what kagent owes of the copy of a file that is truncated now."""
        rows, _ = self.store.load(FLOW)
        open_ones = [(one.paths, one.tail_id, one.file.at) for one in self._proven_tails(node)]
        kept = [
            (row.paths, row.tail_id, row.offset)
            for row in rows
            if self.flow is None and not row.is_done
        ]
        known = [
            (paths, tail_id, offset)
            for paths, tail_id, offset in open_ones + kept
            if any(number == node.number for number, _, _ in self.truth.origins.get(tail_id, ()))
        ]
        copy.rotated_from = tuple(path for paths, _, _ in known for path in paths)
        copy.known_by = frozenset(tail_id for _, tail_id, _ in known)
        copy.owed_bytes = len(copy.data)
        is_slow = self.clock.now - begun >= 50.0
        has_doubt = self.profile.races or self.profile.file_faults or self.profile.crashes
        size = len(copy.data)
        # What too little is known of has no copies; then its copy is read as a file of its own.
        is_begun = copy.source_read is not None and copy.source_read < self.profile.head_bytes
        copy.may_repeat = bool(is_slow or has_doubt or is_begun) or not any(
            self.profile.head_bytes <= offset <= size for _, _, offset in known
        )

    # --- the agent ------------------------------------------------------------------------------

    def _make_settings(self) -> flow.FlowSettings:
        profile = self.profile
        source = discovery.SourceOptions(
            paths=PATTERNS,
            start_at=profile.start_at,
            rotate_wait=f"{profile.rotate_wait_s:.0f}s",
            read_compressed=profile.reads_compressed,
        )
        return flow.FlowSettings(
            name=FLOW,
            source=source,
            batch=profile.batch,
            oversize=profile.policy,
            max_in_flight=profile.max_in_flight,
            max_buffer_bytes=profile.max_buffer_bytes,
            checkpoint_interval_s=1.0,
            checkpoint_ttl_s=30 * 86400.0,
            preprocess=PREPROCESS if profile.is_preprocessed else (),
            on_no_match="raw",
        )

    def _new_saver(self) -> checkpoint.CheckpointThread:
        return checkpoint.CheckpointThread(self.store, self.letters, 1.0, self.clock)

    def _begin_life(self, estate: inheritance.Estate) -> str:
        known = len(estate.rows)
        self.flow = flow.Flow(
            self._settings,
            self.profile.limits,
            self.files,
            self.clock,
            random.Random(self.random.getrandbits(64)),
            self._submit,
            lambda snapshot: self.saver.submit(listener, snapshot),
            lambda letter: self.saver.submit_dead_letter(listener, letter),
        )
        reports: queue.SimpleQueue[model.Report] = self.flow.reports
        listener = checkpoint.Listener(reports, threading.Event())
        self.has_missed_listing = self.has_scanned = False
        self.unpacked.clear()
        self.truth.begin_step()
        if self.is_swept:
            self.flow.roster._scanner._looker.seen.looks_min = 0
        if self.is_crowded:
            self.flow.roster._room.open_files_max = 3
        self.flow.open(estate)
        self._note_tails()
        self._judge_generations(estate.rows)
        return f"begins with {known} rows"

    def _submit(self, batch: model.Batch) -> None:
        """Take a batch for one attempt; S3: it is within the limits."""
        limits, settings = self.profile.limits, self.profile.batch
        sizes = [len(record) for record in batch.records]
        keys = [len(key) for key in batch.partition_keys]
        key_bytes = max(keys, default=0)
        if not 0 < len(sizes) <= min(limits.records_max, settings.records_max):
            raise BrokenError(f"S3 {len(sizes)} records in one request")
        if max(sizes) + key_bytes > limits.record_bytes_max:
            raise BrokenError(f"S3 a record of {max(sizes)} bytes")
        if sum(sizes) + sum(keys) > settings.bytes_max and len(sizes) > 1:
            raise BrokenError(f"S3 {sum(sizes)} bytes in one request")
        counted = len(batch.packed) or sum(map(len, batch.chunks))
        if batch.size_bytes != sum(sizes) + sum(keys) or counted != len(sizes):
            raise BrokenError("S3 a batch that does not know its own size")
        if any(
            one.data is not data for one, data in zip(batch.packed, batch.records, strict=False)
        ):
            raise BrokenError("S3 a packed record that is not sent as it was packed")
        if len(keys) != (len(sizes) if limits.has_partition_keys else 0):
            raise BrokenError("S3 partition keys")
        if len(self.pending) >= self.profile.max_in_flight:
            raise BrokenError("S3 more attempts than max_in_flight")
        self._note_tails()
        self.pending.append((batch, self.clock.now))

    def _step(self) -> str:
        assert self.flow is not None
        if self.random.random() < 0.3:
            self._pass(self.random.choice([0.25, 1.0]))
        if self.profile.races and self.random.random() < 0.3:
            self.race_in = self.random.randrange(30)
        if self.random.random() < 0.1:
            self.flow.hints.put(self.random.choice(DIRECTORIES))
        due = self._checked_step()
        if due <= self.clock.now and not (
            self.has_raced
            or self.fault
            or self.profile.operation_s
            or self.flow.roster.turns.goes_on
        ):
            before = self._progress()
            if self._checked_step() <= self.clock.now and self._progress() == before:
                raise BrokenError("a step says that it is due at once, and does nothing")
        return f"step, {len(self.pending)} pending, due in {due - self.clock.now:.2f}"

    def _checked_step(self) -> float:
        assert self.flow is not None
        self.has_raced = False
        self.truth.begin_step()
        self._note_copies()
        self._note_first_scan()
        scanned = self.flow._scanned
        due = self.flow.step()
        self._note_first_scan()
        self.race_in = -1
        self.has_scanned = self.has_scanned or self.flow.roster._missing.is_scanned
        self._note_tails()
        if self.flow._scanned != scanned:
            self.writers.note_scan({one.inode for one in self.flow.roster._missing.seen})
        self._check_state(is_scan_new=self.flow._scanned != scanned)
        return due

    def _progress(self) -> tuple[object, ...]:
        assert self.flow is not None
        return (self.flow.counters.read_bytes, len(self.pending), self.flow._sequence)

    def _note_first_scan(self) -> None:
        """Take in what `start_at: end` may skip: what is there at the first complete scan."""
        _, scanned = self.store.load(FLOW)
        if self.profile.start_at == "beginning" or scanned.issuperset(PATTERNS):
            return
        if self.has_scanned and not self.has_missed_listing:
            return
        for node, content in self.truth.current.items():
            if self.writers.is_matching(node):
                content.skippable = max(content.skippable, len(content.data))
                content.skips.add(len(content.data))

    def _note_tails(self) -> None:
        assert self.flow is not None
        for one in self.flow.roster.tails.values():
            self.truth.note_tail(one.tail_id, one.identity.inode)
            if one.is_packed and one.tail_id not in self.unpacked:
                self.unpacked.add(one.tail_id)
                if not one.ledger.ranges():
                    self.truth.note_unpacked(one.tail_id, one.ledger.low)
            if one.handle is not None:
                self.followed.add(self.files.handles[one.handle][0])

    def _note_copies(self) -> None:
        """Take in what kagent knows of the sources of copies that it may begin to read now."""
        assert self.flow is not None
        read: dict[Content, int] = {}
        undecided: list[Content] = []
        for one in self.flow.roster.tails.values():
            if one.handle is None:
                continue
            content = self.truth.current[self.files.handles[one.handle][0]]
            read[content] = one.file.at
            if not one.is_known and content.source is not None:
                undecided.append(content)
        for content in undecided:
            assert content.source is not None
            content.source_read = read.get(content.source)

    def _check_state(self, *, is_scan_new: bool) -> None:
        """S2 memory, S5 the books, and that every file that a scan can see is followed."""
        assert self.flow is not None
        held = self.flow._batcher.held_bytes
        if held > self.profile.max_buffer_bytes:
            raise BrokenError(f"S2 {held} bytes held, {self.profile.max_buffer_bytes} allowed")
        under_way = sum(
            len(record) + (0 if batch.packed else model.RECORD_OVERHEAD_BYTES)
            for batch, _ in self.pending
            for record in batch.records
        )
        if under_way > held:
            raise BrokenError(f"S2 {under_way} bytes are under way, {held} are counted")
        self.flow.counters.check_balance(self.flow.roster.turns.unsettled_bytes())
        tails = [one for one in self.flow.roster.tails.values() if one.handle is not None]
        inherited = {handle for handle, _ in self.flow.roster._inheritance.handles.values()}
        packed = self.flow.roster._opener.packed_handles
        if {one.handle for one in tails} | inherited | packed != set(self.files.handles):
            raise BrokenError("L3 handles that belong to no tail")
        if len({one.identity for one in tails}) != len(tails):
            raise BrokenError("two tails of one file")
        if self.has_raced or self.clock.now < self.faulty_until + 15.0:
            return
        if is_scan_new:
            held_nodes = {self.files.handles[one.handle][0] for one in tails}  # type: ignore[index]
            for node in self.writers.named.keys() - self.writers.packed:
                is_open = node in held_nodes or self.is_crowded  # shipped ones are closed
                if self.writers.is_matching(node) and not (
                    is_open or self.may_ignore(node, is_end=False)
                ):
                    raise BrokenError(f"not followed after a scan: {self.writers.named[node]}")

    # --- the destination ------------------------------------------------------------------------

    def _attempt(self) -> str | None:
        """Make one of the pending attempts."""
        if not self.pending or self.flow is None:
            return None
        index = self.random.randrange(len(self.pending))
        batch, submitted = self.pending.pop(index)
        answer = "accepted"
        if self.profile.destination and self.random.random() < 0.6:
            answer = self.random.choice(self.profile.destination)
        receipt = self._receipt(batch, answer)
        receipt.submitted, receipt.received = submitted, self.clock.now
        self.flow.reports.put(receipt)
        starts = [chunk.start for one in batch.packed for chunk in one.chunks] or [
            chunk.start for chunk in batch.chunks
        ]
        return f"{answer} {len(batch.records)} records of {starts[:4]}"

    def _receipt(self, batch: model.Batch, answer: str) -> model.Receipt:
        count = len(batch.records)
        everything = range(count)
        if any(POISON in self.opened(record) for record in batch.records):
            return model.Receipt(batch, setback=errors.RejectedError("ValidationException", "no"))
        if answer in {"refuse_some", "refuse_all", "internal_failure"}:
            share = 1.0 if answer == "refuse_all" else self.random.choice([0.3, 0.7])
            code = metrics.INTERNAL_FAILURE if answer == "internal_failure" else "Throughput"
            refused = [i for i in everything if self.random.random() < share]
            written = refused if answer == "internal_failure" else []
            self._take(batch, [i for i in everything if i not in refused])
            self._take(batch, [i for i in written if self.random.random() < 0.5], is_lost=True)
            return model.Receipt(batch, tuple(model.Refusal(i, code, "shard-1") for i in refused))
        if answer in {"lost_answer", "lost_call"}:
            self._take(batch, everything if answer == "lost_answer" else (), is_lost=True)
            setback = errors.UnavailableError("ReadTimeout")
            return model.Receipt(batch, setback=setback, is_ambiguous=True)
        kinds: dict[str, type[errors.DestinationError]] = {
            "throttled": errors.ThrottledError,
            "unavailable": errors.UnavailableError,
            "denied": errors.DeniedError,
            "not_found": errors.NotFoundError,
        }
        if answer in kinds:
            return model.Receipt(batch, setback=kinds[answer](answer, hint="ask someone"))
        self._take(batch, everything)
        return model.Receipt(batch)

    def _take(
        self, batch: model.Batch, indices: list[int] | range | tuple[()], *, is_lost: bool = False
    ) -> None:
        """Accept records; with `is_lost` kagent will not hear of it."""
        records: list[list[tuple[tuple[str, int, int], bytes]]]
        if batch.packed:
            records = [
                list(zip(_places_in(one), self._lines(self.opened(data), one.lines), strict=True))
                for one, data in zip(batch.packed, batch.records, strict=True)
            ]
        else:
            records = [[one] for one in zip(_places(batch.chunks), batch.records, strict=True)]
        for index in indices:
            order = self.order_of(batch.packed[index]) if batch.packed else ""
            for (tail_id, start, end), line in records[index]:
                data = self.line_of(line, start, end) if batch.packed else line
                self.truth.note_record(
                    tail_id, start, end, data, is_repeatable=is_lost, order=order
                )

    def order_of(self, packed: model.Packed) -> str:
        """Return among which lines of their file those of a record keep their order: all."""
        return ""

    def _lines(self, data: bytes, count: int) -> list[bytes]:
        """Return the lines of a packed record as a reader finds them."""
        assert self.profile.batch.pack is not None
        if self.profile.batch.pack.form == "newline":
            return [line + b"\n" for line in data.removesuffix(b"\n").split(b"\n")]
        return [user.data for user in kpl.decode(data) or ()] if count > 1 else [data]

    # --- the disk -------------------------------------------------------------------------------

    def _save(self) -> str:
        self.saver.step()
        for letter in self.letters.letters[self.letters_noted :]:
            self._check_letter(letter)
        self.letters_noted = len(self.letters.letters)
        return f"{len(self.store.rows)} rows durable"

    def _check_letter(self, letter: model.DeadLetter) -> None:
        is_long = self.profile.policy == "dead_letter" and letter.reason.startswith("longer")
        if POISON not in letter.data and not is_long:
            raise BrokenError(f"a good record among the dead letters: {letter}")
        place = (letter.tail_id, letter.start, letter.end)
        self.truth.note_record(*place, letter.data, is_repeatable=place in self.doubtful)

    def _fail_disk(self) -> str:
        if self.store.error is None:
            self.store.error = OSError(errno.ENOSPC, "No space left on device")
            self.letters.error = "cannot write dead letters: no space"
            return "disk full"
        self._heal_disk()
        return "disk has room"

    def _heal_disk(self) -> None:
        self.store.error, self.letters.error = None, ""

    # --- time, faults and ends ------------------------------------------------------------------

    def _advance(self) -> str:
        seconds = self.random.choice([0.05, 0.3, 1.0, 1.0, 2.5, 11.0, 70.0])
        self._pass(seconds)
        return f"+{seconds}"

    def _pass(self, seconds: float) -> None:
        self.clock.now += seconds
        self.writers.note_silence()

    def _fail_files(self) -> str:
        if self.fault is not None or self.files.missed:
            self.fault = None
            self.files.missed.clear()
            return "files well again"
        if self.random.random() < 0.2 and self.clock.now > self.faulty_until + 90.0:
            name = self.writers.a_name()
            self.files.missed = {name} if name else set()
            return f"listings miss {name}"
        number = self.random.choice([errno.EIO, errno.EACCES])
        operations = tuple(kind for kind in READS if self.random.random() < 0.5)
        path = self.writers.a_name() if self.random.random() < 0.5 else None
        self.fault = _Fault(operations, path, number, self.random.choice([1, 5, 50]))
        return f"{self.fault}"

    def _before(self, operation: str, path: str) -> None:
        """Do what other processes and broken disks do when kagent asks something."""
        self._pass(self.profile.operation_s)
        if self.race_in == 0:
            self.race_in, self.has_raced = -1, True
            self._act("race", self.writers.write)
        elif self.race_in > 0:
            self.race_in -= 1
        if operation == "list" and self.files.missed:
            self.faulty_until = self.clock.now
        fault = self.fault
        if fault is None or operation not in fault.operations:
            return
        if fault.path is not None and fault.path != path:
            return
        fault.count -= 1
        if not fault.count:
            self.fault = None
        self.faulty_until = self.clock.now
        if operation in {"list", "status"}:
            self.has_missed_listing = True
            self.writers.note_hidden(path)
        raise OSError(fault.number, errno.errorcode[fault.number], path)

    def _note_closed(self, node: fakes.Node) -> None:
        """Check that a file that kagent gives up for good was delivered."""
        if self.is_closing or node.handles or node not in self.followed:
            return
        tails = self.flow.roster.tails.values() if self.flow else ()
        is_tails = any(one.handle and one.handle not in self.files.handles for one in tails)
        if node in self.writers.packed and not self.truth.current[node].rotated_from:
            return  # an archive that nobody asked for
        if is_tails and not self.writers.is_matching(node):
            self.truth.check_given_up(node)

    def _drain(self, steps: int) -> inheritance.Estate:
        """End a life as the agent does; some answers are not there in time."""
        assert self.flow is not None
        self.flow.drain()
        for _ in range(steps):
            if self.random.random() < 0.5:
                self._attempt()
            if self.random.random() < 0.3:
                self._save()
            self._checked_step()
        was_closing, self.is_closing = self.is_closing, True  # archives are opened anew
        estate = self.flow.close()
        self.is_closing = was_closing
        self._lose_pending()
        return estate

    def _lose_pending(self) -> None:
        """End all attempts; the service takes some of them, and nobody hears of it."""
        for batch, _ in self.pending:
            if self.random.random() < 0.5 and not any(
                POISON in self.opened(one) for one in batch.records
            ):
                self._take(batch, range(len(batch.records)), is_lost=True)
        self.pending.clear()

    def _restart_flow(self) -> str:
        """Stop an incarnation, and hand what it leaves to the next."""
        assert self.flow is not None
        estate = self._drain(self.random.randrange(6))
        letters = self.flow.burials.letters
        self.doubtful.update((one.tail_id, one.start, one.end) for one in letters)
        self.truth.note_end_of_life({row.tail_id: row for row in estate.rows})
        self.truth.forget_ids({row.tail_id: row for row in estate.rows})
        if {handle for handle, _ in estate.handles.values()} != set(self.files.handles):
            raise BrokenError("L3 handles that nobody inherits")
        self._begin_life(estate)
        return f"restarted the flow with {len(estate.handles)} handles"

    def _restart(self) -> str:
        self.is_closing = True
        self._drain(self.random.randrange(6))
        for _ in range(self.random.randrange(3)):
            self._save()
        self._end_process()
        self._forget_ids()
        return "process ended well"

    def _crash(self) -> str:
        self._lose_pending()
        self._end_process()
        self._forget_ids()
        return "process killed"

    def _power_cut(self) -> str:
        self._lose_pending()
        self._end_process()
        if self.profile.devices_change:
            self.files.device += 1
        for node in list(self.truth.current):
            if node in self.writers.packed:
                continue
            if node.links and node.durable_bytes < len(node.data):
                size = self.random.randint(node.durable_bytes, len(node.data))
                self._note_unread_cut(node, size)
                self.files.truncate(node, size)
                self.truth.note_lost(node, size)
        before = list(self.store.rows)
        self.store.renew_ids()
        for (_, old), (_, new) in zip(before, self.store.rows, strict=True):
            self.truth.note_renewed(old, new)
        return "power cut"

    def _note_unread_cut(self, node: fakes.Node, size: int) -> None:
        """Tell the truth that a power cut takes from a file only what no row says was read.

        As when a living kagent is behind: the file proves to be the row's at its old path, so it
        goes on there, and no copy is looked for of what was cut off behind the offset.
        """
        for row in self.store.load(FLOW)[0]:
            at, count = proof.before(row.offset)
            is_held = proof.digest(bytes(node.data[at : at + count])) == row.frontier.digest
            is_there = set(self.writers.named.get(node, ())) & set(row.paths)
            read_to = max([row.offset, *(one.end for one in row.ranges)])
            is_telling = row.offset >= self.profile.head_bytes  # else `Recovery.doubt` looks
            is_its = row.identity.inode == node.number and not (row.is_done or row.was_unlinked)
            if is_its and is_there and is_telling and is_held and read_to <= size:
                self.truth.note_cut(node, row.tail_id, size)

    def _forget_ids(self) -> None:
        rows, _ = self.store.load(FLOW)
        self.truth.forget_ids({row.tail_id: row for row in rows})

    def _end_process(self) -> None:
        self.flow = None
        self.saver = self._new_saver()
        rows, _ = self.store.load(FLOW)
        self.truth.note_end_of_life({row.tail_id: row for row in rows})
        self.is_closing = True
        self.files.close_all()
        self.is_closing = False
        self.writers.note_names()

    # --- the end --------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Let all be well again: then everything is delivered, saved and given back."""
        self.fault, self.profile.races, self.profile.destination = None, False, []
        self.files.missed.clear()
        self._heal_disk()
        if self.flow is None:
            self._begin_again()
        self.faulty_until = self.clock.now
        self.trace.append("all is well again")
        deadline = self.clock.now + SETTLED_WITHIN_S
        self._go_on(5.0)
        last = self.writers.create_last()  # what is accepted of it proves what is poison
        while (lost := self._undelivered()) is not None:
            if self.clock.now > deadline:
                raise lost
            self.writers.put(last, self.writers.line())
            self._go_on(20.0)
        while self._has_left_tails():
            if self.clock.now > deadline:
                raise BrokenError("L3 a file that was left is not retired")
            self.writers.put(last, self.writers.line())
            self._go_on(20.0)
        self._check_end()

    def _go_on(self, seconds: float) -> None:
        """Run the flow as its thread would for a while, doing what is due when it is due."""
        assert self.flow is not None
        end = self.clock.now + seconds
        while self.clock.now < end:
            due = self._checked_step()
            is_busy = bool(self.pending)
            while self.pending:
                self._attempt()
            if is_busy:
                continue
            self._save()
            self._checked_step()
            self._pass(min(max(due, self.clock.now + 0.25), end) - self.clock.now)

    def _undelivered(self) -> BrokenError | None:
        """Return what is not as it must be in the end."""
        assert self.flow is not None
        try:
            self.truth.check_in_memory()
            for node in self.writers.named:
                if node in self.writers.packed and not self.profile.reads_compressed:
                    self._check_generation(node)
                elif self.may_ignore(node):
                    continue
                elif self.writers.is_matching(node):
                    content = self.truth.current[node]
                    self.truth.check_delivered(content, self.owed_bytes(content), "a file")
                else:
                    self._check_generation(node)
            self._check_saved()
        except BrokenError as error:
            return error
        return None

    def _check_generation(self, node: fakes.Node) -> None:
        content = self.truth.current[node]
        if any(is_generation(name, content.rotated_from) for name in self.writers.named[node]):
            self.truth.check_generation(content)

    def _check_saved(self) -> None:
        assert self.flow is not None
        if self.flow.roster.turns.unsettled_bytes() or self.flow._batcher.held_bytes:
            raise BrokenError("L3 bytes that never settle")
        if not self.flow.is_ready or self.flow._saved_sequence != self.flow._sequence:
            raise BrokenError("L3 never saved")
        for one in self.flow.roster.tails.values():
            row = self.store.rows.get((FLOW, one.tail_id))
            if one.state != "truncated" and (row is None or row.offset != one.position):
                raise BrokenError(f"L3 {one.paths} at {one.position} is not saved: {row}")

    def _has_left_tails(self) -> bool:
        assert self.flow is not None
        return any(one.state != "followed" for one in self.flow.roster.tails.values())

    def _check_end(self) -> None:
        assert self.flow is not None
        estate = self.flow.close()
        if len(estate.handles) != len(self.files.handles):
            raise BrokenError("L3 handles are left")
        for handle, _ in estate.handles.values():
            if not self.writers.is_matching(self.files.handles[handle][0]):
                raise BrokenError("L3 a file that was left is still open")


def _places_in(one: model.Packed) -> list[tuple[str, int, int]]:
    """Return where the lines of a packed record are, also of one whose lines were never split."""
    if not one.is_run:
        return _places(one.chunks)
    places, rest = [], one.data
    for chunk in one.chunks:
        at = chunk.start
        while at < chunk.end:
            size = rest.index(b"\n") + 1
            places.append((chunk.tail_id, at, at + size))
            at, rest = at + size, rest[size:]
    return places


def _places(chunks: list[model.Chunk]) -> list[tuple[str, int, int]]:
    """Return where the lines of chunks are."""
    return [
        (chunk.tail_id, start, end)
        for chunk in chunks
        for start, end in zip(chunk.starts, chunk.ends, strict=True)
    ]


class _CheckedStore(fakes.FakeStore):
    """Checks every row at the moment it becomes durable."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def write(self, snapshots: list[model.FlowSnapshot]) -> None:  # type: ignore[override]
        super().write(snapshots)
        for snapshot in snapshots:
            for row in snapshot.checkpoints:
                if (snapshot.flow, row.tail_id) in self.rows:
                    self._world.truth.check_row(row)


@dataclasses.dataclass
class _Fault:
    """What fails: these operations, on this path or on any, so many times."""

    operations: tuple[str, ...]
    path: str | None
    number: int
    count: int
