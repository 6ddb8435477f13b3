"""What a stream or delivery stream accepted: its records, its counts and its journal.

A `Store` is the common ground of both services. Records stand in the order in which they were
accepted; that order is the journal, and a record's `order` is its place in it from 0 on, whether
or not older ones are still kept.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import typing
from collections.abc import Sequence

from kagent.local import lines, options

_RECORD_OVERHEAD_BYTES = 250  # of Python around the data: the tuple, its numbers, the key

AnswerState = typing.Literal["pending", "good", "lost"]


@dataclasses.dataclass(slots=True, eq=False)
class Acceptance:
    """The records that one call got accepted, and what became of the answer that says so."""

    store: Store
    accepted_at_s: float  # wall clock
    records: int
    answer: AnswerState = "pending"


@dataclasses.dataclass(slots=True, eq=False)
class Unsettled:
    """An acceptance whose answer is under way, with what is needed to settle it."""

    acceptance: Acceptance
    identities: set[int]

    def settle(self, *, is_good: bool) -> None:
        """See Store.settle."""
        self.acceptance.store.settle(self, is_good=is_good)


class StoredRecord(typing.NamedTuple):
    """One accepted record."""

    data: bytes
    partition_key: str  # empty in Firehose
    shard: int  # its number in the stream; 0 in Firehose
    number: int  # from 0 in its shard
    acceptance: Acceptance


@dataclasses.dataclass(slots=True)
class StoreCounts:
    """The service's own books of one stream; the truth that an agent's counts must equal."""

    calls: collections.Counter[str] = dataclasses.field(  # by operation, refused ones too
        default_factory=collections.Counter
    )
    calls_refused: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    records_accepted: int = 0
    bytes_accepted: int = 0  # data without partition keys
    records_refused: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    records_answer_lost: int = 0  # accepted without a good answer
    lines_answer_lost: int = 0  # in them


class Store:
    """Owns what was accepted. Methods named `locked_...` want `lock` held; others take it."""

    def __init__(self, store_options: options.StoreOptions) -> None:
        self.lock = threading.Lock()
        self.counts = StoreCounts()
        self._keep_records = store_options.keep_records
        self._keep_bytes_max = store_options.keep_bytes_max
        self._kept: list[StoredRecord] = []
        self._kept_bytes = 0
        self._lines: lines.LineCounter | None = None
        if store_options.count_lines:
            self._lines = lines.LineCounter(store_options.line_pattern, store_options.unpack)

    def locked_accept(
        self,
        datas: Sequence[bytes],
        places: Sequence[tuple[str, int, int]],
        accepted_at_s: float,
    ) -> Unsettled:
        """Store one call's accepted records.

        Args:
            datas: Their bytes.
            places: For each its partition key, shard and number in the shard.
            accepted_at_s: Wall clock.
        """
        acceptance = Acceptance(self, accepted_at_s, len(datas))
        identities = self._lines.add(datas) if self._lines is not None else set()
        size = sum(map(len, datas))
        self.counts.records_accepted += len(datas)
        self.counts.bytes_accepted += size
        if self._keep_records:
            self._kept.extend(  # 0.3 us a record
                StoredRecord(data, key, shard, number, acceptance)
                for data, (key, shard, number) in zip(datas, places, strict=True)
            )
            self._kept_bytes += size + _RECORD_OVERHEAD_BYTES * len(datas)
            self._locked_forget()
        return Unsettled(acceptance, identities)

    def _locked_forget(self) -> None:
        """Forget the oldest records beyond the bound, a quarter of it at a time."""
        if self._kept_bytes <= self._keep_bytes_max:
            return
        forgotten = 0
        while self._kept_bytes > 0.75 * self._keep_bytes_max:
            self._kept_bytes -= len(self._kept[forgotten].data) + _RECORD_OVERHEAD_BYTES
            forgotten += 1
        del self._kept[:forgotten]

    def settle(self, unsettled: Unsettled, *, is_good: bool) -> None:
        """Note that the answer of a call arrived, as far as can be seen from here, or did not.

        A good answer may turn out lost: it is settled before its last byte is sent.
        """
        with self.lock:
            acceptance = unsettled.acceptance
            if is_good:
                assert acceptance.answer == "pending"
            elif acceptance.answer != "lost":
                self.counts.records_answer_lost += acceptance.records
                self.counts.lines_answer_lost += len(unsettled.identities)
            acceptance.answer = "good" if is_good else "lost"
            if self._lines is not None:
                self._lines.settle(unsettled.identities, is_good=is_good)

    def count_call(self, operation: str) -> None:
        """Count a call that names this stream."""
        with self.lock:
            self.counts.calls[operation] += 1

    def count_refused_call(self, code: str) -> None:
        """Count a call that was refused as a whole."""
        with self.lock:
            self.counts.calls_refused[code] += 1

    def locked_get(self, order: int) -> StoredRecord | None:
        """Return a record by its place in the journal, or None when it was forgotten."""
        index = order - self.locked_first()
        return self._kept[index] if 0 <= index < len(self._kept) else None

    def locked_first(self) -> int:
        """Return the order of the oldest record that is kept."""
        return self.counts.records_accepted - len(self._kept)

    def since(self, order: int = 0, limit: int | None = None) -> list[tuple[int, StoredRecord]]:
        """Return (order, record) of the kept records from `order` on, at most `limit`."""
        with self.lock:
            first = max(order, self.locked_first())
            start = first - self.locked_first()
            end = None if limit is None else start + limit
            return list(enumerate(self._kept[start:end], first))

    def counts_json(self) -> dict[str, typing.Any]:
        """Return the counts as one JSON object; see StoreCounts and lines.LineCounts."""
        with self.lock:
            counted = self._lines.counts if self._lines is not None else lines.LineCounts()
            return {
                "calls": dict(self.counts.calls),
                "calls_refused": dict(self.counts.calls_refused),
                "records_accepted": self.counts.records_accepted,
                "bytes_accepted": self.counts.bytes_accepted,
                "records_refused": dict(self.counts.records_refused),
                "records_answer_lost": self.counts.records_answer_lost,
                "lines_answer_lost": self.counts.lines_answer_lost,
                "lines": counted.lines,
                "lines_distinct": counted.distinct,
                "duplicates": counted.after_lost_answer + counted.other,
                "duplicates_after_lost_answer": counted.after_lost_answer,
                "duplicates_other": counted.other,
            }
