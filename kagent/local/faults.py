"""Faults on request: which calls and records go wrong, drawn from a seed, each one counted.

`Faults` says what shall go wrong and how often; a `FaultSource` draws. Nothing here touches a
socket or a record: service.py, kinesis.py, firehose.py and connection.py act on what was drawn.

At most one of these befalls a call, the first that is drawn, in this order:

    reset      the connection is reset before the body is read; nothing stored
    fail_early refused before the body is read, and the connection closed; nothing stored
    fail       the whole call is refused with fail_status and fail_code; nothing stored
    fail_late  stored, then answered with fail_status and fail_code
    lose       stored, then the connection is closed without an answer
    truncate   stored, then a part of the answer (its head may be cut), then the end
    slow       stored, then the answer drips over slow_s seconds
    redirect   sent elsewhere with status 307; nothing stored
    garble     stored, then answered 200 with what a captive portal would say
    miscount   stored, then answered with one refusal more than there is
    bloat      stored, then answered with 8 MiB more than anyone asked for
    stale      stored and answered, then the connection is closed without a word

Independent of it: `refuse_share` and `botch_share` of the records, `throttle_shards`, `poison`,
`latency_s`, `denied`, `clock_skew`.
"""

from __future__ import annotations

import collections
import dataclasses
import random
import re
import threading
import types
import typing
from typing import Any

Outcome = typing.Literal[
    "", "reset", "fail_early", "fail", "fail_late", "lose", "truncate", "slow",
    "redirect", "garble", "miscount", "bloat", "stale",
]  # fmt: skip

_AFTER_THE_BODY: tuple[Outcome, ...] = (
    "fail", "fail_late", "lose", "truncate", "slow",
    "redirect", "garble", "miscount", "bloat", "stale",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong, as shares from 0 to 1; the default is nothing."""

    refuse_share: float = 0.0  # of records
    refuse_code: str = ""  # "": the service's code for throttling; or "InternalFailure"
    botch_share: float = 0.0  # of records: stored, and called an internal failure all the same
    reset_share: float = 0.0  # this and the following: of calls
    fail_early_share: float = 0.0
    fail_share: float = 0.0
    fail_late_share: float = 0.0
    fail_status: int = 500
    fail_code: str = "InternalFailure"
    lose_share: float = 0.0
    truncate_share: float = 0.0
    slow_share: float = 0.0
    slow_s: float = 1.0
    redirect_share: float = 0.0
    garble_share: float = 0.0
    miscount_share: float = 0.0
    bloat_share: float = 0.0
    stale_share: float = 0.0
    latency_s: float = 0.0  # between storing and answering, each call
    throttle_shards: tuple[str, ...] = ()  # shard ids that refuse every record
    poison: str = ""  # a call with a record that holds this text is refused as a whole
    clock_skew: float = 0.0  # seconds that the service's clock is ahead of this host's
    denied: tuple[str, ...] = ()  # operations that the caller has no permission for
    streams: tuple[str, ...] = ()  # names to which faults apply; none: all
    operations: tuple[str, ...] = ("PutRecords", "PutRecordBatch")
    faults_max: int | None = None  # after so many drawn faults there are no more

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_share") and not 0 <= value <= 1:
                raise ValueError(f"{field.name}: found {value}, expected a share from 0 to 1")
            if field.name.endswith("_s") and not 0 <= value <= 3600:
                raise ValueError(f"{field.name}: found {value}, expected seconds from 0 to 3600")
        if not re.fullmatch(r"[A-Za-z0-9]*", self.refuse_code):
            raise ValueError(f"refuse_code: found {self.refuse_code!r}, expected letters")
        if not 400 <= self.fail_status <= 599:
            raise ValueError(f"fail_status: found {self.fail_status}, expected 400 to 599")

    def apply_to(self, operation: str, stream: str | None) -> bool:
        """Return whether these faults are meant for this operation and stream.

        A stream of None is not known yet: then only faults that are for all streams apply.
        """
        return operation in self.operations and (not self.streams or stream in self.streams)


def faults_from_json(value: object) -> Faults:
    """Return the faults that a JSON object describes.

    Raises:
        ValueError: An unknown key, a wrong type or a value out of range.
    """
    if not isinstance(value, dict):
        raise ValueError("expected an object")  # noqa: TRY004 -- one kind of error for a caller
    expected = typing.get_type_hints(Faults)
    unknown = sorted(set(value) - set(expected))
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; allowed: {', '.join(sorted(expected))}")
    return Faults(**{key: _converted(key, item, expected[key]) for key, item in value.items()})


def _converted(key: str, item: object, expected: object) -> Any:
    if typing.get_origin(expected) is tuple:
        if isinstance(item, list) and all(isinstance(name, str) for name in item):
            return tuple(item)
    elif isinstance(expected, types.UnionType):
        if item is None or type(item) is int:
            return item
    elif expected is float:
        if type(item) in (int, float):
            return item
    elif type(item) is expected:
        return item
    raise ValueError(f"{key}: found {item!r}, expected {expected}")


class FaultSource:
    """Owns the faults in force, the random numbers and the counts; any thread may call it."""

    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._faults = Faults()
        self._left: float = float("inf")
        self._counts: collections.Counter[str] = collections.Counter()

    @property
    def faults(self) -> Faults:
        """Return the faults in force."""
        return self._faults

    def set(self, faults: Faults) -> None:
        """Replace the faults in force; calls under way keep what was drawn for them."""
        with self._lock:
            self._faults = faults
            self._left = float("inf") if faults.faults_max is None else faults.faults_max

    def counts(self) -> dict[str, int]:
        """Return how often each kind befell a call or a record."""
        with self._lock:
            return dict(self._counts)

    def count(self, kind: str, times: int = 1) -> None:
        """Count faults that were not drawn: throttled shards, poison, latency."""
        with self._lock:
            self._counts[kind] += times

    def draw_early(self, operation: str) -> Outcome:
        """Draw what befalls a call before its body is read; its stream is not known then."""
        return self._draw_one(operation, None, ("reset", "fail_early"))

    def draw_outcome(self, operation: str, stream: str) -> Outcome:
        """Draw what befalls a call whose body was read."""
        return self._draw_one(operation, stream, _AFTER_THE_BODY)

    def _draw_one(
        self, operation: str, stream: str | None, outcomes: tuple[Outcome, ...]
    ) -> Outcome:
        with self._lock:
            if self._faults.apply_to(operation, stream):
                for outcome in outcomes:
                    if self._drawn(outcome, getattr(self._faults, f"{outcome}_share")):
                        return outcome
        return ""

    def draw_part(self) -> float:
        """Draw how much of an answer is sent: a share from 0 up to 1, which is excluded."""
        with self._lock:
            return self._random.random()

    def draw_refused(self, operation: str, stream: str, records: int) -> list[int]:
        """Draw which records of a call are refused; return their indexes."""
        return self._draw_records("refuse", operation, stream, records)

    def draw_botched(self, operation: str, stream: str, records: int) -> list[int]:
        """Draw which stored records of a call are called failures; return their indexes."""
        return self._draw_records("botch", operation, stream, records)

    def _draw_records(self, kind: str, operation: str, stream: str, records: int) -> list[int]:
        with self._lock:
            share = getattr(self._faults, f"{kind}_share")
            if not share or not self._faults.apply_to(operation, stream):
                return []
            return [index for index in range(records) if self._drawn(kind, share)]

    def _drawn(self, kind: str, share: float) -> bool:
        if share <= 0 or self._left < 1 or self._random.random() >= share:
            return False
        self._left -= 1
        self._counts[kind] += 1
        return True
