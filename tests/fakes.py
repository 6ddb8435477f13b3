"""Small real implementations of kagent's seams: what the simulation and the flow's tests stand on.

They keep the contracts of the real ones (tests/test_fakes.py runs the same cases against both) and
let a test decide what a real system decides by itself: when time passes, which call fails, what a
power cut leaves on disk.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from kagent import errors, model

_LINKS_MAX = 40
HOLE_BYTES = 16  # holes end at a multiple of that


class FakeClock:
    """A clock that a test turns; both of its hands begin far from 0.

    With `has_file_time` the time since the epoch is the real one, as that of real files is.
    """

    def __init__(self, now: float = 1000.0, *, has_file_time: bool = False) -> None:
        self.now = now
        self.has_file_time = has_file_time

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time() if self.has_file_time else self.now + 1.7e9

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.now += 0.0 if event.is_set() else timeout_s
        return event.is_set()


# --- files ------------------------------------------------------------------------------------


@dataclasses.dataclass(eq=False)
class Node:
    """An inode: what names and handles lead to."""

    kind: Literal["file", "directory", "link", "other"]
    number: int
    mtime_ns: int = 0
    data: bytearray = dataclasses.field(default_factory=bytearray)  # of a file
    durable_bytes: int = 0  # of a file: how much of it a power cut leaves for certain
    entries: dict[str, Node] = dataclasses.field(default_factory=dict)  # of a directory
    target: str = ""  # of a link
    links: int = 0
    handles: int = 0


class FakeFiles:
    """A file system in memory; implements `model.Files`, and what writers and rotators do to one.

    An inode's number is given again as soon as nothing leads to it any more, as ext4 does. File
    times always differ; directory times move with the clock only, as coarse as a kernel's tick.
    `before` is called at the start of each operation with its name and path: it may raise, or do
    to the files what another process would do at that moment. `closed` hears of closed handles.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.device = 1
        self.free = 0.5
        self.before: Callable[[str, str], None] = lambda operation, path: None
        self.closed: Callable[[Node], None] = lambda node: None
        self.missed: set[str] = set()  # paths that the next listing leaves out
        self.growths: list[FakeGrowth] = []
        self.is_deaf = False  # nothing is told of what is written, as of a network file system
        self.watches_max = 1_000_000
        self.forgets: Callable[[], bool] = lambda: False  # what is to be told is too much
        self.handles: dict[int, tuple[Node, str]] = {}
        self._clock = clock
        self._numbers: set[int] = set()
        self._ticks = 0
        self._next_handle = 3
        self.root = self._make("directory")

    # What kagent may ask.

    def list_directory(self, path: str, base: str) -> list[model.DirectoryEntry]:
        self.before("list", path)
        node = self._find_below(path, base)
        if node.kind != "directory":
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        missed = {name for name in node.entries if os.path.join(path, name) in self.missed}
        self.missed -= {os.path.join(path, name) for name in missed}
        return [
            model.DirectoryEntry(name, entry.kind, entry.number)
            for name, entry in node.entries.items()
            if name not in missed
        ]

    def status(self, path: str, base: str) -> model.FileStatus:
        self.before("status", path)
        return self._status(self.find(path, follow_last=path == base))

    def real_path(self, path: str) -> str:
        names, done = _components(path), ""
        for _ in range(_LINKS_MAX + len(names)):
            if not names:
                break
            one = os.path.join(done or "/", names.pop(0))
            try:
                node = self._lookup(one)
            except (FileNotFoundError, NotADirectoryError):
                node = None
            if node is None or node.kind != "link":
                done = one
            elif node.target.startswith("/"):
                names, done = [*_components(node.target), *names], ""
            else:
                names = [*_components(node.target), *names]
        return done or "/"

    def is_as_seen(self, seen: model.Sighting) -> bool:
        try:
            found = self.status(seen.path, seen.base)
        except OSError:
            return False
        was = (seen.identity, seen.size, seen.mtime_ns)
        return was == (found.identity, found.size, found.mtime_ns)

    def open(self, path: str, base: str) -> int:
        self.before("open", path)
        node = self._find_below(path, base)
        if node.kind != "file":
            raise OSError(errno.EINVAL, "not a regular file", path)
        node.handles += 1
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self.handles[handle] = (node, path)
        return handle

    def handle_status(self, handle: int) -> model.FileStatus:
        return self._status(self._held("handle_status", handle))

    def size(self, handle: int) -> int:
        return len(self._held("size", handle).data)

    def data_start(self, handle: int, offset: int) -> int:
        data = self._held("data_start", handle).data
        first = len(data) - len(data[offset:].lstrip(b"\0"))
        return first if first == len(data) else max(offset, first // HOLE_BYTES * HOLE_BYTES)

    def free_share(self, handle: int) -> float:
        self._held("free_share", handle)
        return self.free

    def growth(self) -> model.Growth:
        return FakeGrowth(self)

    def sizes(self, handles: Sequence[int]) -> list[int]:
        return [self.size(handle) for handle in handles]

    def read(self, handle: int, offset: int, size: int) -> bytes:
        return bytes(self._held("read", handle).data[offset : offset + size])

    def close(self, handle: int) -> None:
        if handle not in self.handles:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        node, _ = self.handles.pop(handle)
        node.handles -= 1
        self.closed(node)
        self._free(node)

    # What others do.

    def make_directory(self, path: str) -> Node:
        return self._enter(path, self._make("directory"))

    def create(self, path: str) -> Node:
        return self._enter(path, self._make("file"))

    def make_other(self, path: str) -> Node:
        return self._enter(path, self._make("other"))

    def make_link(self, target: str, path: str) -> Node:
        node = self._make("link")
        node.target = target
        return self._enter(path, node)

    def add_name(self, node: Node, path: str) -> None:
        """Give a file one more name: a hard link."""
        self._enter(path, node)

    def rename(self, old: str, new: str) -> None:
        """Move a name; what the new one led to loses it."""
        node = self.find(old, follow_last=False)
        if self._lookup(new) is node:
            return
        directory, name = self._split(old)
        del directory.entries[name]
        self._touch(directory)
        node.links -= 1
        self._enter(new, node)

    def unlink(self, path: str) -> None:
        directory, name = self._split(path)
        node = directory.entries.pop(name)
        self._touch(directory)
        node.links -= 1
        self._free(node)

    def append(self, node: Node, data: bytes) -> None:
        node.data += data
        node.mtime_ns = self._tick()
        self.written(node)

    def written(self, node: Node) -> None:
        for growth in self.growths:
            growth.note(node)

    def hold(self, node: Node) -> None:
        """Open a file as another process does: its number is not given again."""
        node.handles += 1

    def let_go(self, node: Node) -> None:
        """Close what another process held."""
        node.handles -= 1
        self._free(node)

    def truncate(self, node: Node, size: int) -> None:
        del node.data[size:]
        node.durable_bytes = min(node.durable_bytes, size)
        node.mtime_ns = self._tick()
        self.written(node)

    def close_all(self) -> None:
        """Close every handle, as the end of a process does."""
        self.growths.clear()
        for node, _ in self.handles.values():
            node.handles -= 1
            self._free(node)
        self.handles.clear()

    def files(self) -> Iterator[tuple[str, Node]]:
        """Yield every file by each of its names, in the order of the directories."""
        pending = [("", self.root)]
        while pending:
            prefix, directory = pending.pop()
            for name, node in directory.entries.items():
                if node.kind == "directory":
                    pending.append((f"{prefix}/{name}", node))
                elif node.kind == "file":
                    yield f"{prefix}/{name}", node

    def find(self, path: str, *, follow_last: bool = True) -> Node:
        """Return what a path leads to, through links."""
        node, remaining, links = self.root, _components(path), 0
        walked: list[Node] = []
        while remaining:
            name = remaining.pop(0)
            if node.kind != "directory":
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            if name not in node.entries:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            walked.append(node)
            node = node.entries[name]
            if node.kind == "link" and (remaining or follow_last):
                links += 1
                if links > _LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                remaining[:0] = _components(node.target)
                node = self.root if node.target.startswith("/") else walked[-1]
        return node

    # How.

    def _find_below(self, path: str, base: str) -> Node:
        """Return what a path leads to, following links in `base` only."""
        node = self.find(base)
        for name in _components(path[len(base) :]):
            if node.kind != "directory":  # a link is none either
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            if name not in node.entries:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            node = node.entries[name]
        if node.kind == "link":
            raise OSError(errno.ELOOP, "a link, not followed", path)
        return node

    def _held(self, operation: str, handle: int) -> Node:
        if handle not in self.handles:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        node, path = self.handles[handle]
        self.before(operation, path)
        return node

    def _status(self, node: Node) -> model.FileStatus:
        identity = model.FileIdentity(self.device, node.number)
        return model.FileStatus(node.kind, identity, len(node.data), node.mtime_ns, node.links)

    def _make(self, kind: Literal["file", "directory", "link", "other"]) -> Node:
        number = next(n for n in range(2, len(self._numbers) + 3) if n not in self._numbers)
        self._numbers.add(number)
        return Node(kind, number, self._tick())

    def _enter(self, path: str, node: Node) -> Node:
        directory, name = self._split(path)
        replaced = directory.entries.pop(name, None)
        directory.entries[name] = node
        node.links += 1
        self._touch(directory)
        if replaced is not None:
            replaced.links -= 1
            self._free(replaced)
        return node

    def _free(self, node: Node) -> None:
        if not node.links and not node.handles:
            self._numbers.discard(node.number)

    def _lookup(self, path: str) -> Node | None:
        directory, name = self._split(path)
        return directory.entries.get(name)

    def _split(self, path: str) -> tuple[Node, str]:
        return self.find(os.path.dirname(path)), os.path.basename(path)

    def _touch(self, directory: Node) -> None:
        directory.mtime_ns = int(self._clock.time() * 1e9)

    def _tick(self) -> int:
        self._ticks += 1
        return int(self._clock.time() * 1e9) + self._ticks


def _components(path: str) -> list[str]:
    return [component for component in path.split("/") if component]


class FakeGrowth:
    """Implements `model.Growth`, as `inotify.Inotify` does."""

    def __init__(self, files: FakeFiles) -> None:
        self._files = files
        self._tokens: dict[Node, int] = {}
        self._told: list[int] = []
        self._last = 0
        files.growths.append(self)

    def watch(self, handle: int) -> int:
        node = self._files.handles[handle][0]
        if node not in self._tokens:
            if len(self._tokens) >= self._files.watches_max:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._last += 1
            self._tokens[node] = self._last
        return self._tokens[node]

    def note(self, node: Node) -> None:
        token = self._tokens.get(node)
        if token is not None and not self._files.is_deaf:
            del self._tokens[node]
            self._told.append(token)

    def told(self) -> list[int] | None:
        told, self._told = self._told, []
        return None if self._files.forgets() else told

    def forget(self, token: int) -> None:
        self._tokens = {node: one for node, one in self._tokens.items() if one != token}

    def close(self) -> None:
        self._files.growths.remove(self)


# --- what is saved ----------------------------------------------------------------------------


class FakeStore:
    """Durable rows in memory; keeps the contract of `checkpoint.CheckpointStore`.

    `error` is raised by the next writes until it is taken away.
    """

    def __init__(self) -> None:
        self.path = "checkpoints.db"
        self.error: OSError | None = None
        self.rows: dict[tuple[str, str], model.Checkpoint] = {}
        self.scanned: dict[str, set[str]] = {}
        self.renewals = 0

    def load(self, flow: str) -> tuple[list[model.Checkpoint], set[str]]:
        rows = [row for (name, _), row in sorted(self.rows.items()) if name == flow]
        return rows, set(self.scanned.get(flow, ()))

    def write(self, snapshots: Sequence[model.FlowSnapshot]) -> None:
        if self.error is not None:
            raise self.error
        for snapshot in snapshots:
            for row in snapshot.checkpoints:
                self.rows[snapshot.flow, row.tail_id] = row
            for tail_id in snapshot.forgotten:
                self.rows.pop((snapshot.flow, tail_id), None)
            self.scanned.setdefault(snapshot.flow, set()).update(snapshot.scanned)

    def renew_ids(self) -> None:
        self.renewals += 1
        renewed = {}
        for (flow, tail_id), row in self.rows.items():
            digest = hashlib.blake2b(f"{tail_id}{self.renewals}".encode(), digest_size=16)
            new = digest.hexdigest()
            renewed[flow, new] = dataclasses.replace(row, tail_id=new)
        self.rows = renewed

    def adopt(self, old: str, new: str) -> None:
        for (flow, tail_id), row in list(self.rows.items()):
            if flow == old:
                del self.rows[flow, tail_id]
                self.rows[new, tail_id] = row
        self.scanned.setdefault(new, set()).update(self.scanned.pop(old, ()))

    def forget(self, flow: str) -> None:
        self.rows = {key: row for key, row in self.rows.items() if key[0] != flow}
        self.scanned.pop(flow, None)


class FakeDeadLetters:
    """Dead letters in a list; `error` is what appending says until it is taken away."""

    def __init__(self) -> None:
        self.error = ""
        self.letters: list[model.DeadLetter] = []

    def append(self, letters: Sequence[model.DeadLetter]) -> str:
        if not self.error:
            self.letters.extend(letters)
        return self.error


# --- where it goes ----------------------------------------------------------------------------

LIMITS = model.BatchLimits(
    records_max=500,
    request_bytes_max=4 * 1024**2,
    record_bytes_max=1024**2,
    has_partition_keys=False,
)


class FakeDestination:
    """Accepts what it is given, but for what a test asks of it.

    `accepted` are the records that it took, in order. A call that holds a record of `poison`, or
    one packed of it, is rejected. `refuse` says which records of the next call are refused,
    `setback` fails calls until it is taken away; with `loses_answers` they are taken all the same.
    """

    def __init__(self, limits: model.BatchLimits = LIMITS) -> None:
        self.limits = limits
        self.accepted: list[bytes] = []
        self.calls: list[model.Batch] = []
        self.poison: set[bytes] = set()
        self.refuse: Iterable[int] = ()
        self.refusal_code = "ProvisionedThroughputExceededException"
        self.setback: errors.DestinationError | None = None
        self.loses_answers = False

    def put(self, batch: model.Batch) -> model.Receipt:
        self.calls.append(batch)
        is_poison = bytes.__contains__ if batch.packed else bytes.__eq__
        if any(is_poison(record, one) for one in self.poison for record in batch.records):
            return model.Receipt(batch, setback=errors.RejectedError("ValidationException"))
        if self.setback is not None:
            if self.loses_answers:
                self.accepted += batch.records
            return model.Receipt(batch, setback=self.setback, is_ambiguous=self.loses_answers)
        refused, self.refuse = sorted(set(self.refuse)), ()
        self.accepted += [one for i, one in enumerate(batch.records) if i not in refused]
        refusals = tuple(model.Refusal(index, self.refusal_code) for index in refused)
        return model.Receipt(batch, refused=refusals)
