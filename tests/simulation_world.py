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
import fnmatch
import queue
import random
import threading
import types
from collections.abc import Callable, Iterator

import fakes
from simulation_truth import BrokenError, Truth

from kagent import batch as batching
from kagent import checkpoint, discovery, errors, flow, metrics, model, roster, split, tail

FLOW = "web"
PATTERNS = ("/logs/*.log", "/logs/a*.log", "/logs/*/*.log")
NAMES = ("/logs/a.log", "/logs/b.log", "/logs/c.log", "/logs/x/app.log", "/logs/y/app.log")
DIRECTORIES = ("/logs", "/logs/x", "/gone")
LATE_DIRECTORIES = ("/logs/y", "/logs/z")
POISON = b"POISON"
UNLINKED_WAIT_S = 10.0
READS = ("read", "size", "handle_status", "open", "status", "list")
SETTLED_WITHIN_S = 900.0


@dataclasses.dataclass
class Profile:
    """What a world knows."""

    writers: list[str]
    destination: list[str]  # what may become of an attempt, beside being accepted
    crashes: list[str]
    disk_faults: bool
    file_faults: bool
    races: bool
    policy: split.OversizePolicy
    start_at: str
    rotate_wait_s: float
    record_bytes_max: int
    max_in_flight: int
    max_buffer_bytes: int
    batch: batching.BatchSettings
    limits: model.BatchLimits
    block_bytes: int
    lines_max: int
    head_bytes: int  # of the fingerprint

    @property
    def is_clean(self) -> bool:
        """Nothing happens that explains a duplicate or a change of order."""
        return not (self.destination or self.crashes)

    @property
    def is_ordered(self) -> bool:
        """Nothing happens that may change the order within a file."""
        is_poisoned = "append_poison" in self.writers or self.policy == "dead_letter"
        return self.is_clean and not is_poisoned and self.max_in_flight == 1


WRITERS = {
    "append": 10,
    "append_half": 3,
    "append_long": 1,
    "append_poison": 1,
    "create": 2,
    "rotate": 2,
    "rename_in": 1,
    "rename_within": 1,
    "rename_out": 1,
    "truncate": 1,
    "regrow": 1,
    "shorten": 1,
    "rewrite_same": 1,
    "unlink": 1,
    "replace": 1,
    "copy": 1,
    "link": 1,
    "make_directory": 1,
    "move_directory": 1,
    "plant": 1,
    "write_back": 2,
}
ANSWERS = (
    "refuse_some",
    "refuse_all",
    "internal_failure",
    "throttled",
    "unavailable",
    "denied",
    "not_found",
    "lost_answer",
    "lost_call",
)
CRASHES = ("restart_flow", "restart", "crash", "power_cut")


def draw_profile(chooser: random.Random) -> Profile:
    """Return a random profile; a third of them have nothing that could explain a duplicate."""
    is_clean = chooser.random() < 0.3
    record_bytes_max = chooser.choice([30, 64, 200])
    has_keys = chooser.random() < 0.1
    records_max = chooser.choice([1, 3, 10, 50])
    bytes_max = chooser.choice([record_bytes_max + 10, 600, 4000])
    max_in_flight = chooser.choice([1, 1, 2, 5])

    def some(kinds: tuple[str, ...] | list[str], share: float) -> list[str]:
        return [kind for kind in kinds if chooser.random() < share]

    writers = ["append", "create", *some(list(WRITERS), chooser.choice([0.2, 0.5, 1.0]))]
    max_buffer_bytes = chooser.choice([4, 40]) * (record_bytes_max + 150)
    if max_buffer_bytes < 5000 and "append_poison" in writers:
        writers.remove("append_poison")  # a buffer full of it blocks the flow, as it must

    return Profile(
        writers=writers,
        destination=[] if is_clean else some(ANSWERS, chooser.choice([0.0, 0.3, 0.8])),
        crashes=[] if is_clean else some(CRASHES, chooser.choice([0.0, 0.4, 1.0])),
        disk_faults=chooser.random() < 0.3,
        file_faults=chooser.random() < 0.3,
        races=chooser.random() < 0.3,
        policy=chooser.choice(["auto", "split", "truncate", "drop", "dead_letter"]),
        start_at=chooser.choice(["beginning", "end"]),
        rotate_wait_s=chooser.choice([20.0, 60.0]),
        record_bytes_max=record_bytes_max,
        max_in_flight=max_in_flight,
        max_buffer_bytes=max_buffer_bytes,
        batch=batching.BatchSettings(
            chooser.choice([0.0, 1.0]), records_max, bytes_max, is_ordered=max_in_flight == 1
        ),
        limits=model.BatchLimits(50, 4000, record_bytes_max + 8 * has_keys, has_keys),
        block_bytes=chooser.choice([70, 300, 1024**2]),
        lines_max=chooser.choice([2, 65536]),
        head_bytes=chooser.choice([16, 1024]),
    )


def matches(path: str) -> bool:
    """Return whether a path matches one of PATTERNS; written without kagent's own code."""
    parts = path.split("/")
    return (
        len(parts) in {3, 4}
        and parts[1] == "logs"
        and fnmatch.fnmatchcase(parts[-1], "*.log")
        and not any(part.startswith(".") for part in parts[1:])
    )


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
    """One run; `run` makes it, and raises when a promise is broken."""

    def __init__(self, seed: int, actions: int = 150) -> None:
        self.random = random.Random(seed)
        random.seed(seed)  # tenacity's jitter
        self.trace: collections.deque[str] = collections.deque(maxlen=400)
        self.profile = draw_profile(self.random)
        self.trace.append(f"{self.profile}")
        self.actions = actions
        self.clock = fakes.FakeClock()
        self.files = fakes.FakeFiles(self.clock)
        self.store = _CheckedStore(self)
        self.letters = fakes.FakeDeadLetters()
        self.saver = self._new_saver()
        policy = "split" if self.profile.policy == "auto" else self.profile.policy
        self.truth = Truth(policy, self.profile.record_bytes_max)
        self.truth.is_ordered = self.profile.is_ordered
        self.flow: flow.Flow | None = None
        self.pending: list[tuple[model.Batch, float]] = []
        self.left_at: dict[fakes.Node, float] = {}  # when a file lost its last matching name
        self.named: dict[fakes.Node, list[str]] = {}
        self.followed: set[fakes.Node] = set()
        self.lines = 0
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
        for directory in DIRECTORIES:
            self.files.make_directory(directory)
        self._settings = self._make_settings()

    # --- the run --------------------------------------------------------------------------------

    def run(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_tuned(tail, "BLOCK_BYTES", self.profile.block_bytes))
            stack.enter_context(_tuned(tail, "_SHORT_REST_BYTES", self.profile.block_bytes // 2))
            stack.enter_context(_tuned(split, "LINES_MAX", self.profile.lines_max))
            stack.enter_context(_tuned(model, "FINGERPRINT_BYTES_MAX", self.profile.head_bytes))
            for _ in range(self.random.randrange(6)):
                self._act("writer", self._write)
            self._begin_life(roster.Estate())
            for _ in range(self.actions):
                self._act_randomly()
            self._settle()

    def _act(self, name: str, action: Callable[[], str | None]) -> None:
        said = action()
        if said is not None:
            self.trace.append(f"{self.clock.now:9.2f} {name}: {said}")

    def _act_randomly(self) -> None:
        profile, chance = self.profile, self.random.random()
        if self.flow is None:
            if chance < 0.4:
                rows, scanned = self.store.load(FLOW)
                self._act("agent", lambda: self._begin_life(roster.Estate(rows, scanned)))
            elif chance < 0.8:
                self._act("writer", self._write)
            else:
                self._act("clock", self._advance)
        elif chance < 0.3:
            self._act("writer", self._write)
        elif chance < 0.6:
            self._act("agent", self._step)
        elif chance < 0.75:
            self._act("sender", self._attempt)
        elif chance < 0.84:
            self._act("saver", self._save)
        elif chance < 0.95:
            self._act("clock", self._advance)
        elif chance < 0.97:
            if profile.crashes:
                name = self.random.choice(profile.crashes)
                self._act("life", getattr(self, f"_{name}"))
        elif chance < 0.98:
            if profile.disk_faults:
                self._act("fault", self._fail_disk)
        elif profile.file_faults:
            self._act("fault", self._fail_files)

    # --- writers --------------------------------------------------------------------------------

    def _write(self) -> str | None:
        writers = self.profile.writers
        kind = self.random.choices(writers, [WRITERS[one] for one in writers])[0]
        said = getattr(self, f"_{kind}")()
        self._note_names()
        return None if said is None else f"{kind} {said}"

    def _a_node(self) -> fakes.Node | None:
        """Return a random file that exists, most likely one with a matching name."""
        nodes = [node for node in self.truth.current if node.links or node.handles]
        for node in list(self.truth.current):
            if node not in nodes:
                del self.truth.current[node]
        if not nodes:
            return None
        matching = [node for node in nodes if self._is_matching(node)]
        return self.random.choice(matching if matching and self.random.random() < 0.7 else nodes)

    def _a_name(self) -> str | None:
        names = sorted(path for paths in self.named.values() for path in paths)
        return self.random.choice(names) if names else None

    def _line(self, size: int | None = None) -> bytes:
        self.lines += 1
        head = b"%d:" % self.lines
        size = self.random.choice([0, 1, 8, 20]) if size is None else size
        return head + b"abcdefghijklmnopqrstuvwxyz"[self.lines % 26 :][:1] * size + b"\n"

    def _put(self, node: fakes.Node, data: bytes) -> str:
        self.files.append(node, data)
        self.truth.note_appended(node, data, self.clock.now, is_late=self._is_silent(node))
        return f"inode {node.number} {self.named.get(node)} +{len(data)} at {len(node.data)}"

    def _append(self) -> str | None:
        node = self._a_node()
        if node is None:
            return None
        lines = b"".join(self._line() for _ in range(self.random.choice([1, 1, 3, 12])))
        return self._put(node, lines)

    def _append_half(self) -> str | None:
        node = self._a_node()
        line = self._line() if self.random.random() < 0.8 else self._line(3 * 64)
        return None if node is None else self._put(node, line[: self.random.randrange(len(line))])

    def _append_long(self) -> str | None:
        node = self._a_node()
        limit = self.profile.record_bytes_max
        size = self.random.choice([limit - 3, limit, 2 * limit, 5 * limit])
        return None if node is None else self._put(node, self._line(size))

    def _append_poison(self) -> str | None:
        node = self._a_node()
        return None if node is None else self._put(node, POISON + self._line(0))

    def _create(self) -> str | None:
        path = self.random.choice(NAMES)
        if not self._is_free(path):
            return None
        return self._create_at(path)

    def _create_at(self, path: str) -> str:
        node = self.files.create(path)
        self.truth.note_created(node)
        self._note_names()
        if self.random.random() < 0.7:
            self._put(node, self._line() + self._line())
        return f"{path} inode {node.number} of {len(node.data)}"

    def _rotate(self) -> str | None:
        name = self._a_name()
        if name is None or not matches(name):
            return None
        new = self._generation(name)
        self.files.rename(name, new)
        self._note_names()
        return f"{name} to {new}, new {self._create_at(name)}"

    def _generation(self, name: str) -> str:
        stem = name.removesuffix(".log")
        self.lines += 1
        return self.random.choice(
            [f"{name}.{self.lines}", f"{stem}-{self.lines}.log", f"/gone/{self.lines}"]
        )

    def _rename_in(self) -> str | None:
        name = self._a_name()
        new = self.random.choice(NAMES)
        if name is None or not self._is_free(new):
            return None
        self.files.rename(name, new)
        return f"{name} to {new}"

    def _rename_within(self) -> str | None:
        name = self._a_name()
        if name is None or not self._has_directory("/logs/x"):
            return None
        self.lines += 1
        new = self.random.choice([f"/logs/a-{self.lines}.log", f"/logs/x/{self.lines}.log"])
        self.files.rename(name, new)
        return f"{name} to {new}"

    def _rename_out(self) -> str | None:
        name = self._a_name()
        if name is None:
            return None
        self.lines += 1
        new = self.random.choice([f"{name}.{self.lines}", f"/gone/{self.lines}"])
        self.files.rename(name, new)
        return f"{name} to {new}"

    def _truncate_to(self, node: fakes.Node, size: int) -> str:
        self._note_destroyed(node)
        self.files.truncate(node, size)
        self.truth.note_truncated(node, size)
        return f"inode {node.number} {self.named.get(node)} to {size}"

    def _truncate(self) -> str | None:
        node = self._a_node()
        return None if node is None else self._truncate_to(node, 0)

    def _regrow(self) -> str | None:
        """Truncate, and write on until the file is longer than before, or just as long."""
        node = self._a_node()
        if node is None:
            return None
        size = len(node.data)
        said = self._truncate_to(node, 0)
        grown = b"".join(self._line(20) for _ in range(size // 24 + 2))
        if self.random.random() < 0.3 and size:
            grown = grown[: size - 1] + b"\n"
        self._put(node, grown)
        return f"{said}, grown to {len(node.data)}"

    def _shorten(self) -> str | None:
        node = self._a_node()
        if node is None:
            return None
        return self._truncate_to(node, self.random.randint(0, len(node.data)))

    def _rewrite_same(self) -> str | None:
        node = self._a_node()
        if node is None:
            return None
        data = bytes(node.data)
        said = self._truncate_to(node, 0)
        self._put(node, data)
        return f"{said}, rewritten"

    def _unlink(self) -> str | None:
        name = self._a_name()
        if name is None:
            return None
        self.files.unlink(name)
        return name

    def _replace(self) -> str | None:
        """Remove a file and create another; if nobody holds it, it gets the same inode."""
        name = self._a_name()
        if name is None:
            return None
        self.files.unlink(name)
        self._note_names()
        return self._create_at(name)

    def _copy(self) -> str | None:
        node, path = self._a_node(), self.random.choice(NAMES)
        if node is None or not self._is_free(path):
            return None
        data = bytes(node.data)
        copy = self.files.create(path)
        self.truth.note_created(copy)
        self._note_names()
        self._put(copy, data)
        return f"inode {node.number} to {path} inode {copy.number}"

    def _link(self) -> str | None:
        name = self._a_name()
        if name is None:
            return None
        self.lines += 1
        new = self.random.choice([f"/logs/a-{self.lines}.log", f"/gone/{self.lines}"])
        self.files.add_name(self.files.find(name), new)
        return f"{name} as {new}"

    def _make_directory(self) -> str | None:
        path = self.random.choice(LATE_DIRECTORIES)
        if self._exists(path):
            return None
        self.files.make_directory(path)
        return path

    def _move_directory(self) -> str | None:
        old, new = self.random.choice(
            [("/logs/x", "/logs/y"), ("/logs/y", "/gone/y"), ("/gone/y", "/logs/z")]
        )
        if not self._has_directory(old) or self._exists(new):
            return None
        self.files.rename(old, new)
        return f"{old} to {new}"

    def _plant(self) -> str | None:
        path = self.random.choice(["/logs/planted.log", "/logs/a-planted.log"])
        if self._exists(path):
            self.files.unlink(path)
            return f"{path} removed"
        kind = self.random.choice(["link", "other", "directory", "nowhere"])
        if kind == "link":
            self.files.make_link("/logs/a.log", path)
        elif kind == "nowhere":
            self.files.make_link("/nowhere", path)
        elif kind == "other":
            self.files.make_other(path)
        else:
            self.files.make_directory(path)
        return f"{path} {kind}"

    def _write_back(self) -> str | None:
        for node in self.truth.current:
            node.durable_bytes = len(node.data)
        return ""

    # --- names ----------------------------------------------------------------------------------

    def _exists(self, path: str) -> bool:
        try:
            self.files.find(path, follow_last=False)
        except OSError:
            return False
        return True

    def _has_directory(self, path: str) -> bool:
        return self._exists(path) and self.files.find(path).kind == "directory"

    def _is_free(self, path: str) -> bool:
        return self._has_directory(path.rpartition("/")[0]) and not self._exists(path)

    def _is_matching(self, node: fakes.Node) -> bool:
        return any(matches(path) for path in self.named.get(node, ()))

    def _note_names(self) -> None:
        """Take in which names files have now, and which of them lost their last matching one."""
        self.named = {}
        for path, node in self.files.files():
            self.named.setdefault(node, []).append(path)
        for node in self.truth.current:
            if self._is_matching(node):
                self.left_at.pop(node, None)
            else:
                self.left_at.setdefault(node, self.clock.now)

    def _is_silent(self, node: fakes.Node) -> bool:
        """Nobody has to read on: the file has no matching name, and no byte came for long."""
        if node not in self.left_at:
            return False
        wait_s = self.profile.rotate_wait_s if node.links else UNLINKED_WAIT_S
        since = max(self.left_at[node], self.truth.current[node].last_append)
        return self.clock.now - since >= wait_s

    def _note_destroyed(self, node: fakes.Node) -> None:
        """Tell the truth how far kagent has read bytes that are about to be destroyed."""
        if self.flow is None:
            return
        content = self.truth.current[node]
        for one in self.flow.roster.tails.values():
            if one.state == "truncated" or one.handle is None:
                continue
            if self.files.handles[one.handle][0] is not node:
                continue
            # Of a tail that has not noticed an earlier truncation the bytes are long destroyed.
            if bytes(one._frontier) == bytes(
                content.data[max(0, one._frontier_at - len(one._frontier)) : one._frontier_at]
            ):
                self.truth.note_destroyed(node, one._frontier_at)

    # --- the agent ------------------------------------------------------------------------------

    def _make_settings(self) -> flow.FlowSettings:
        profile = self.profile
        source = discovery.SourceOptions(
            paths=PATTERNS, start_at=profile.start_at, rotate_wait=f"{profile.rotate_wait_s:.0f}s"
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
        )

    def _new_saver(self) -> checkpoint.CheckpointThread:
        return checkpoint.CheckpointThread(self.store, self.letters, 1.0, self.clock)

    def _begin_life(self, estate: roster.Estate) -> str:
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
        self.truth.begin_step()
        self.flow.open(estate)
        self._note_tails()
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
        if batch.size_bytes != sum(sizes) + sum(keys) or sum(map(len, batch.chunks)) != len(sizes):
            raise BrokenError("S3 a batch that does not know its own size")
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
        if due <= self.clock.now and not self.has_raced and self.fault is None:
            before = self._progress()
            if self._checked_step() <= self.clock.now and self._progress() == before:
                raise BrokenError("a step says that it is due at once, and does nothing")
        return f"step, {len(self.pending)} pending, due in {due - self.clock.now:.2f}"

    def _checked_step(self) -> float:
        assert self.flow is not None
        self.has_raced = False
        self.truth.begin_step()
        self._note_first_scan()
        scanned = self.flow._scanned
        due = self.flow.step()
        self._note_first_scan()
        self.race_in = -1
        self.has_scanned = self.has_scanned or self.flow.roster.is_scanned
        self._note_tails()
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
            if self._is_matching(node):
                content.skippable = max(content.skippable, len(content.data))

    def _note_tails(self) -> None:
        assert self.flow is not None
        for one in self.flow.roster.tails.values():
            self.truth.note_tail(one.tail_id, one.identity.inode)
            if one.handle is not None:
                self.followed.add(self.files.handles[one.handle][0])

    def _check_state(self, *, is_scan_new: bool) -> None:
        """S2 memory, S5 the books, and that every file that a scan can see is followed."""
        assert self.flow is not None
        held = self.flow._batcher.held_bytes
        if held > self.profile.max_buffer_bytes:
            raise BrokenError(f"S2 {held} bytes held, {self.profile.max_buffer_bytes} allowed")
        under_way = sum(
            len(record) + model.RECORD_OVERHEAD_BYTES
            for batch, _ in self.pending
            for record in batch.records
        )
        if under_way > held:
            raise BrokenError(f"S2 {under_way} bytes are under way, {held} are counted")
        self.flow.counters.check_balance(self.flow.roster.unsettled_bytes())
        tails = [one for one in self.flow.roster.tails.values() if one.handle is not None]
        inherited = {handle for handle, _ in self.flow.roster._inherited.values()}
        if {one.handle for one in tails} | inherited != set(self.files.handles):
            raise BrokenError("L3 handles that belong to no tail")
        if len({one.identity for one in tails}) != len(tails):
            raise BrokenError("two tails of one file")
        if self.has_raced or self.clock.now < self.faulty_until + 15.0:
            return
        if is_scan_new:
            held_nodes = {self.files.handles[one.handle][0] for one in tails}  # type: ignore[index]
            for node in self.named:
                if self._is_matching(node) and node not in held_nodes:
                    raise BrokenError(f"not followed after a scan: {self.named[node]}")

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
        return f"{answer} {len(batch.records)} records of {[c.start for c in batch.chunks][:4]}"

    def _receipt(self, batch: model.Batch, answer: str) -> model.Receipt:
        count = len(batch.records)
        everything = range(count)
        if any(POISON in record for record in batch.records):
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
        places = [
            (chunk.tail_id, start, end)
            for chunk in batch.chunks
            for start, end in zip(chunk.starts, chunk.ends, strict=True)
        ]
        for index in indices:
            self.truth.note_record(*places[index], batch.records[index], is_repeatable=is_lost)

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
        for node in self.truth.current:
            if self._is_silent(node):
                self.truth.current[node].cuts.add(len(node.data))

    def _fail_files(self) -> str:
        if self.fault is not None or self.files.missed:
            self.fault = None
            self.files.missed.clear()
            return "files well again"
        if self.random.random() < 0.2 and self.clock.now > self.faulty_until + 90.0:
            name = self._a_name()
            self.files.missed = {name} if name else set()
            return f"listings miss {name}"
        number = self.random.choice([errno.EIO, errno.EACCES])
        operations = tuple(kind for kind in READS if self.random.random() < 0.5)
        path = self._a_name() if self.random.random() < 0.5 else None
        self.fault = _Fault(operations, path, number, self.random.choice([1, 5, 50]))
        return f"{self.fault}"

    def _before(self, operation: str, path: str) -> None:
        """Do what other processes and broken disks do when kagent asks something."""
        if self.race_in == 0:
            self.race_in, self.has_raced = -1, True
            self._act("race", self._write)
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
        raise OSError(fault.number, errno.errorcode[fault.number], path)

    def _note_closed(self, node: fakes.Node) -> None:
        """Check that a file that kagent gives up for good was delivered."""
        if self.is_closing or node.handles or node not in self.followed:
            return
        if not self._is_matching(node):
            self.truth.check_given_up(node)

    def _drain(self, steps: int) -> roster.Estate:
        """End a life as the agent does; some answers are not there in time."""
        assert self.flow is not None
        self.flow.drain()
        for _ in range(steps):
            if self.random.random() < 0.5:
                self._attempt()
            if self.random.random() < 0.3:
                self._save()
            self._checked_step()
        estate = self.flow.close()
        self._lose_pending()
        return estate

    def _lose_pending(self) -> None:
        """End all attempts; the service takes some of them, and nobody hears of it."""
        for batch, _ in self.pending:
            if self.random.random() < 0.5 and not any(POISON in one for one in batch.records):
                self._take(batch, range(len(batch.records)), is_lost=True)
        self.pending.clear()

    def _restart_flow(self) -> str:
        """Stop an incarnation, and hand what it leaves to the next."""
        assert self.flow is not None
        estate = self._drain(self.random.randrange(6))
        letters = [letter for letter, _ in self.flow._burying.values()]
        self.doubtful.update((one.tail_id, one.start, one.end) for one in letters)
        self.truth.note_end_of_life({row.tail_id: row for row in estate.rows})
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
        return "process ended well"

    def _crash(self) -> str:
        self._lose_pending()
        self._end_process()
        return "process killed"

    def _power_cut(self) -> str:
        self._lose_pending()
        self._end_process()
        if self.random.random() < 0.3:
            self.files.device += 1
        for node in list(self.truth.current):
            if node.links and node.durable_bytes < len(node.data):
                size = self.random.randint(node.durable_bytes, len(node.data))
                self.files.truncate(node, size)
                self.truth.note_lost(node, size)
        return "power cut"

    def _end_process(self) -> None:
        self.flow = None
        self.saver = self._new_saver()
        rows, _ = self.store.load(FLOW)
        self.truth.note_end_of_life({row.tail_id: row for row in rows})
        self.is_closing = True
        self.files.close_all()
        self.is_closing = False
        self._note_names()

    # --- the end --------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Let all be well again: then everything is delivered, saved and given back."""
        self.fault, self.profile.races, self.profile.destination = None, False, []
        self.files.missed.clear()
        self._heal_disk()
        if self.flow is None:
            rows, scanned = self.store.load(FLOW)
            self._begin_life(roster.Estate(rows, scanned))
        self.faulty_until = self.clock.now
        self.trace.append("all is well again")
        deadline = self.clock.now + SETTLED_WITHIN_S
        self._go_on(5.0)
        last = self.files.create("/logs/last.log")
        self.truth.note_created(last)
        self._note_names()
        self._put(last, self._line())  # what is accepted of it proves what is poison
        while (lost := self._undelivered()) is not None:
            if self.clock.now > deadline:
                raise lost
            self._put(last, self._line())
            self._go_on(20.0)
        while self._has_left_tails():
            if self.clock.now > deadline:
                raise BrokenError("L3 a file that was left is not retired")
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
            for node in self.named:
                if self._is_matching(node):
                    content = self.truth.current[node]
                    self.truth.check_delivered(content, content.complete_bytes, "a file")
            self._check_saved()
        except BrokenError as error:
            return error
        return None

    def _check_saved(self) -> None:
        assert self.flow is not None
        if self.flow.roster.unsettled_bytes() or self.flow._batcher.held_bytes:
            raise BrokenError("L3 bytes that never settle")
        if not self.flow.is_ready or self.flow._saved_sequence != self.flow._sequence:
            raise BrokenError("L3 never saved")
        for one in self.flow.roster.tails.values():
            row = self.store.rows.get((FLOW, one.tail_id))
            if row is None or row.offset != one.position:
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
            if not self._is_matching(self.files.handles[handle][0]):
                raise BrokenError("L3 a file that was left is still open")


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
