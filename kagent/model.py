"""The nouns of kagent and the protocols of its seams: the page to read first.

A *flow* ships the files that match its paths to one destination. A *tail* is one file being
followed; its bytes are read as *blocks*, split into *chunks* of records, cut into *batches* of one
request each. A *receipt* says what became of a batch, and settles the *spans* of the tails whose
bytes it carried. What is settled without a gap is the *offset* that a *checkpoint* saves.

Everything here is a value; what acts on them lives in the modules above. Ranges are half-open,
`[start, end)`, in bytes of the file. Paths are text, decoded with `surrogateescape`.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from kagent import errors

FINGERPRINT_BYTES_MAX = 1024
FRONTIER_BYTES_MAX = 64
RECORD_OVERHEAD_BYTES = 100  # what one record costs in Python objects beside its own bytes

# --- which file -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class FileIdentity:
    """Device and inode: a locator of a file, no proof that it is the same one."""

    device: int
    inode: int


@dataclasses.dataclass(frozen=True, slots=True)
class FileStatus:
    """What `stat` says of a file, as far as kagent asks."""

    kind: Literal["file", "directory", "link", "other"]
    identity: FileIdentity
    size: int
    mtime_ns: int
    links: int


class DirectoryEntry(NamedTuple):
    """One name in a directory; `kind` does not follow links.

    `inode` is what the listing says: a file system may show another one there than a status does.
    """

    name: str
    kind: Literal["file", "directory", "link", "other"]
    inode: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Sighting:
    """One regular file that a scan saw at one path.

    `base` is the leading part of the path that the operator wrote out: links in it are followed,
    in the rest they are refused. `patterns` are all patterns of the flow that match the path.
    """

    path: str
    base: str
    identity: FileIdentity
    size: int
    mtime_ns: int
    patterns: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digest of a file's first `length` bytes, at most FINGERPRINT_BYTES_MAX."""

    length: int
    digest: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Frontier:
    """Digest of the at most FRONTIER_BYTES_MAX bytes just before `offset`.

    Proof that the bytes that were shipped up to there are the ones that a file holds.
    """

    offset: int
    digest: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class SettledRange:
    """Bytes above a checkpoint's offset that are settled; `digest` is the frontier at `end`."""

    start: int
    end: int
    digest: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tail's saved resume point: every byte in `[start, offset)` is settled.

    `tail_id` is 128 random bits in hex, durable before the first record of the tail is sent.
    `older` are frontiers below `offset` (about 1, 10 and 60 s before, and at half of it), by
    which a log that lost its last bytes in a power cut is recognised. `split_digest` covers all
    options that decide splitting; when it changed, `ranges` mean nothing. `size` is how long the
    file was when last looked at, without NULs at its end that wait. `unseen_s` counts observed
    running time since a scan last saw the file. `is_done`: nothing of it is expected any more,
    its file was shipped or given up; the row stays so that its copies and generations are known.
    `target` is where the path led to when the file was opened, if that is a link.
    """

    tail_id: str
    paths: tuple[str, ...]
    identity: FileIdentity
    mtime_ns: int
    was_unlinked: bool
    start: int
    offset: int
    fingerprint: Fingerprint
    frontier: Frontier
    older: tuple[Frontier, ...] = ()
    ranges: tuple[SettledRange, ...] = ()
    split_digest: str = ""
    size: int = 0
    unseen_s: float = 0.0
    is_done: bool = False
    target: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """The answer to a probe, from bytes that were read and compared."""

    fingerprint_holds: bool
    frontiers_held: frozenset[int]  # the offsets whose frontier holds
    is_telling: bool = True  # the bytes that hold are not one value repeated
    size: int | None = None  # of the content, where that is not the file's: it is compressed


# --- what is read -----------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Block:
    """Bytes read at a file offset."""

    start: int
    data: bytes


@dataclasses.dataclass(slots=True)
class Whole:
    """A record that goes out in parts; `left` of them are not settled yet."""

    left: int


@dataclasses.dataclass(slots=True)
class Chunk:
    """Records of one tail in columns; all bytes of `[start, end)` have their fate here.

    Record i is bytes `[starts[i], ends[i])` of the file. Ranges ascend and do not overlap; the
    bytes of `[start, end)` that are in no record, `dropped_bytes` in all, are dropped by a rule.
    `read_time` is the clock's monotonic time of the read, `attempts` counts how often the
    service refused these records one by one. `key` is the partition key of all of them, `keys` has
    one for each if they differ; where neither says one, each attempt chooses it. `whole` is set of
    a lone record that is number `part`, from 1 on, of one that was too long: its range is that of
    all of them, and settles with the last. `is_plain` says that the records are the bytes of
    their ranges as they stand in the file, one after the other: nobody has to add up lengths.
    `is_run`: each record is a run of whole lines, newlines included, that nobody has split yet.

    Of a chunk that was packed `records` is empty: its bytes are in the packed record.
    """

    tail_id: str
    records: list[bytes]
    starts: list[int]
    ends: list[int]
    start: int
    end: int
    dropped_bytes: int = 0
    read_time: float = 0.0
    attempts: int = 0
    key: str = ""
    keys: list[str] = dataclasses.field(default_factory=list)
    whole: Whole | None = None
    part: int = 0
    is_plain: bool = dataclasses.field(default=False, compare=False)
    is_run: bool = False

    def __len__(self) -> int:
        """Return how many records there are."""
        return len(self.starts)

    def data_bytes(self, first: int = 0, last: int | None = None) -> int:
        """Return the bytes of records `[first, last)`, of all to the end if it does not say."""
        last = len(self.starts) if last is None else last
        if self.is_plain:
            return self.ends[last - 1] - self.starts[first] if first < last else 0
        if (first, last) == (0, len(self.starts)):
            return sum(map(len, self.records))
        return sum(map(len, self.records[first:last]))

    def span(self, first: int, last: int) -> Chunk:
        """Return the bytes of records `[first, last)`, as `slice` would, without the records."""
        start = self.starts[first] if first else self.start
        end = self.starts[last] if last < len(self.starts) else self.end
        dropped = 0
        if self.dropped_bytes:
            dropped = end - start - (sum(self.ends[first:last]) - sum(self.starts[first:last]))
        return Chunk(self.tail_id, [], [], [], start, end, dropped)

    def without_records(self) -> Chunk:
        """Return the same chunk as it is when it was packed: a fifth of dataclasses.replace."""
        return Chunk(
            self.tail_id,
            [],
            self.starts,
            self.ends,
            self.start,
            self.end,
            self.dropped_bytes,
            self.read_time,
            self.attempts,
            self.key,
            self.keys,
            self.whole,
            self.part,
            self.is_plain,
            self.is_run,
        )

    def slice(self, first: int, last: int) -> Chunk:
        """Return records `[first, last)` as a chunk of its own, first < last.

        Slices that share no record and cover all of them tile `[start, end)`: the dropped bytes
        after a record belong to its slice, those before the first one to the first slice. A slice
        holds no reference to this chunk, so one slow record does not keep a whole block alive.
        """
        start = self.starts[first] if first else self.start
        end = self.starts[last] if last < len(self.starts) else self.end
        starts, ends = self.starts[first:last], self.ends[first:last]
        dropped = end - start - (sum(ends) - sum(starts)) if self.dropped_bytes else 0
        return Chunk(
            self.tail_id,
            self.records[first:last],
            starts,
            ends,
            start,
            end,
            dropped,
            self.read_time,
            self.attempts,
            self.key,
            self.keys[first:last],
            self.whole,
            self.part,
            self.is_plain,
            self.is_run,
        )


# --- what preprocessors are told, and what they say ---------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class HostFacts:
    """What is known of this machine: its name, and on EC2 the instance's data and tags.

    `fault` is why something is not known that somebody wants; `is_awaited`: EC2 was asked, or will
    be, and there is neither an answer nor a fault yet.
    """

    name: str = ""
    instance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fault: str = ""
    is_awaited: bool = False


@dataclasses.dataclass(slots=True)
class ChunkContext:
    """What a preprocessor may know of the records it is given; record i is `[starts[i], ends[i])`.

    `captured` are the named groups of the flow's `capture`, `header` the lines that `header_lines`
    skipped, `read_time` is in seconds since the epoch. `columns` holds what `values.column`
    computed, so that each column is computed once and only where somebody asks for it.
    """

    path: str
    tail_id: str
    starts: Sequence[int]
    ends: Sequence[int]
    captured: Mapping[str, str] = dataclasses.field(default_factory=dict)
    header: Sequence[bytes] = ()
    read_time: float = 0.0
    host: HostFacts = HostFacts()
    part: int = 0  # of a record that was too long, from 1 on; 0 for whole records
    columns: dict[str, object] = dataclasses.field(default_factory=dict)

    def select(self, indices: Sequence[int]) -> ChunkContext:
        """Return what is known of some of the records."""
        starts, ends = self.starts, self.ends
        return dataclasses.replace(
            self,
            starts=[starts[index] for index in indices],
            ends=[ends[index] for index in indices],
            columns={},
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Unparsed:
    """In the place of a record that a preprocessor could not take apart.

    `part` is for the log: which part of a pattern or of the options failed ("after 'status'",
    "no JSON"), and never what stands in the record, which may be private. What
    `is_poison` goes to the dead letters, whatever `on_no_match` says.
    """

    part: str = ""
    is_poison: bool = False


UNPARSED: Final = Unparsed()

# What becomes of one record: other bytes, dropped (None), or left to `on_no_match`.
Outcome = bytes | Unparsed | None


@dataclasses.dataclass(slots=True)
class Packed:
    """Lines of one or more chunks that travel as one record, byte for byte the same each time.

    `chunks` say where the lines are in their files, in the order in which they are in `data`.
    `key` and `hash_key` decide the shard; they are empty where each attempt may choose anew.
    With `is_run` the lines were never split: `lines` is 1, or 2 for any greater number.
    `sizes` are the lines' bytes where they differ from those in the file. `cost_bytes` is the
    memory that it is charged for, `read_time` that of the oldest line, `attempts` counts how
    often the service refused it by itself.
    """

    data: bytes
    chunks: list[Chunk]
    lines: int
    cost_bytes: int
    key: str = ""
    hash_key: str = ""
    sizes: Sequence[int] = ()
    read_time: float = 0.0
    attempts: int = 0
    is_run: bool = False

    def __len__(self) -> int:
        """Return how many records it is."""
        return 1


Cargo = Chunk | Packed  # what waits for an attempt: lines that are records, or lines in one


@dataclasses.dataclass(slots=True)
class Batch:
    """One request's records and, in the same order, what they carry.

    Without packing record i is line i of `chunks`; with it, record i is `packed[i]` and `chunks`
    is empty. `partition_keys` has one key a record for Kinesis and is empty for Firehose;
    `hash_keys` has one explicit hash key a record, empty text for none, or is empty as a whole.
    `size_bytes` counts what the service counts: data and partition keys. `is_whole` forbids to
    mix the records with others: the batch is a half of one that the service rejected.
    """

    records: list[bytes]
    partition_keys: list[str]
    chunks: list[Chunk]
    size_bytes: int
    is_whole: bool = False
    packed: list[Packed] = dataclasses.field(default_factory=list)
    hash_keys: list[str] = dataclasses.field(default_factory=list)

    @property
    def data_bytes(self) -> int:
        """The bytes of all records, without their keys."""
        if self.packed or not self.chunks:
            return sum(map(len, self.records))
        return sum(chunk.data_bytes() for chunk in self.chunks)

    @property
    def cargo(self) -> Sequence[Cargo]:
        """What the records carry, as it waits for another attempt."""
        return self.packed or self.chunks


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """One record of a batch that the service did not take, by its index there."""

    index: int
    code: str
    shard: str = ""


@dataclasses.dataclass(slots=True)
class Receipt:
    """What one attempt did with a batch: all accepted but `refused`, or a setback for all.

    `shards` is how many of the records went to each shard, refused ones included, as far as the
    answer says; it is filled in only when some were refused: otherwise nobody needs to know.
    `is_ambiguous`: the body had gone out and no good answer came, so the service may have taken
    records that will be sent again. `submitted` and `received` are monotonic times.
    """

    batch: Batch
    refused: tuple[Refusal, ...] = ()
    shards: Mapping[str, int] = dataclasses.field(default_factory=dict)
    setback: errors.DestinationError | None = None
    is_ambiguous: bool = False
    submitted: float = 0.0
    received: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one request to a destination may hold; the numbers carry their source where set."""

    records_max: int
    request_bytes_max: int
    record_bytes_max: int  # data and partition key together
    has_partition_keys: bool
    record_bytes_possible: int = 0  # what a stream may be told to take; 0: no more than that


@dataclasses.dataclass(frozen=True, slots=True)
class ShardRange:
    """An open shard and the hash keys that it takes, `[start, end)` of the 2 ** 128 that exist."""

    shard: str
    start: int
    end: int


@dataclasses.dataclass(frozen=True, slots=True)
class StreamFacts:
    """What the service last said of a destination; a fact that is not known is empty or None.

    `shards` are the open ones in the order of their hash keys, and tile all of them. `fault` is
    why something is not known, such as a permission that is missing; `shards_fault` why the shards
    are not.
    """

    status: str = ""  # 'ACTIVE', 'UPDATING', ..., as the service spells it
    mode: Literal["", "provisioned", "on-demand"] = ""
    shards: tuple[ShardRange, ...] = ()
    record_bytes_max: int | None = None  # data and partition key together
    retention_hours: int | None = None
    encryption: Literal["", "none", "kms"] = ""
    takes_puts: bool = True  # False: a delivery stream whose source is not Direct PUT
    fault: errors.DestinationError | None = None
    shards_fault: errors.DestinationError | None = None


# --- what is saved ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class FlowSnapshot:
    """What a flow hands to the checkpoint thread: rows that changed since its last one.

    `sequence` ascends; the durable mark that comes back names the last one that is on disk.
    """

    flow: str
    sequence: int
    checkpoints: tuple[Checkpoint, ...] = ()
    forgotten: tuple[str, ...] = ()  # tail_ids
    scanned: tuple[str, ...] = ()  # patterns whose first complete scan is done
    is_urgent: bool = False  # a file waits for it: do not wait for the interval


@dataclasses.dataclass(frozen=True, slots=True)
class Saved:
    """Durable mark: every snapshot of the flow up to `sequence` is on disk."""

    sequence: int


@dataclasses.dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that the service will never take, with where it came from and why."""

    flow: str
    tail_id: str
    path: str
    start: int
    end: int
    reason: str
    data: bytes
    part: int = 0  # of a record that was too long, from 1 on


@dataclasses.dataclass(frozen=True, slots=True)
class DeadLettered:
    """What became of a dead letter: on disk, or not and why (then it is kept and tried again)."""

    letter: DeadLetter
    error: str = ""


Report = Receipt | Saved | DeadLettered | StreamFacts  # what a flow collects from its queue

# --- seams ------------------------------------------------------------------------------------


class Destination(Protocol):
    """A stream or delivery stream. A new one is one module and one line in a table."""

    limits: BatchLimits

    def put(self, batch: Batch) -> Receipt:
        """Make one API call and say what it did; never retry, never raise for an answer."""
        ...


class Preprocessor(Protocol):
    """Turns records into other records; pure. Its fields, if it is a pydantic model, are options.

    Called with a block's records at once; a call per record would cost more than the work. What
    makes JSON ends each record with one newline; `terminator: strip` takes it off at the end.
    """

    def __call__(self, records: list[bytes], context: ChunkContext) -> Sequence[Outcome]:
        """Return what becomes of each record, in the same order: as many as were given.

        `[]` for no records. None drops a record, UNPARSED (or an Unparsed that names the part
        that failed) leaves it, as it was given, to the flow's `on_no_match`.
        """
        ...


class OpenFiles(Protocol):
    """What can be asked of an open file, or of the content of one; raises OSError."""

    def handle_status(self, handle: int) -> FileStatus:
        """Return the status of an open file; `links` is 0 when it was unlinked."""
        ...

    def size(self, handle: int) -> int:
        """Return the size of an open file: the cheapest question there is."""
        ...

    def data_start(self, handle: int, offset: int) -> int:
        """Return where data begins at or behind an offset: a hole before holds nothing."""
        ...

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset`, fewer only at the end of the file."""
        ...

    def close(self, handle: int) -> None:
        """Give a handle back."""
        ...


class Growth(Protocol):
    """Tells once of each file that it watches when that is written to or cut; raises OSError."""

    def watch(self, handle: int) -> int:
        """Watch an open file, once more if it was told of; return a token for it."""
        ...

    def told(self) -> list[int] | None:
        """Return the tokens of what was written to since it is watched; None: some are lost."""
        ...

    def forget(self, token: int) -> None:
        """Watch a file no more."""
        ...

    def close(self) -> None:
        """End."""
        ...


class Files(OpenFiles, Protocol):
    """The file system as tailing sees it; every method raises OSError as the system does."""

    def list_directory(self, path: str, base: str) -> list[DirectoryEntry]:
        """Return the entries of a directory; components below `base` must not be links."""
        ...

    def status(self, path: str, base: str) -> FileStatus:
        """Return the status of a path; a link in the last component counts only within `base`."""
        ...

    def real_path(self, path: str) -> str:
        """Return a path without links, as they lead now."""
        ...

    def is_as_seen(self, seen: Sighting) -> bool:
        """Return whether file, size and mtime at a path are those of a sighting; cheaply."""
        ...

    def open(self, path: str, base: str) -> int:
        """Open a regular file for reading without blocking, and return a handle.

        Components below `base` are opened one by one and must not be links.
        """
        ...

    def sizes(self, handles: Sequence[int]) -> list[int]:
        """Return the sizes of open files, in their order; one that fails fails for all."""
        ...

    def free_share(self, handle: int) -> float:
        """Return which part of an open file's file system is free, from 0 to 1."""
        ...

    def growth(self) -> Growth:
        """Return what tells of files that are written to."""
        ...


class Clock(Protocol):
    """Time and waiting, so that a test can decide both."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def time(self) -> float:
        """Return seconds since the epoch, for people and for file times."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait for an event at most that long and return whether it was set."""
        ...
