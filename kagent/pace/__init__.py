"""When a flow may make its next attempt, and how large it may be: pure.

Decides from receipts alone: how long to wait after a failure, how many attempts may run
(`concurrency`), how many records and bytes a second may go (`rate`), and when a refused record
comes again (`shards`). Waits are full-jitter exponential and are reset by progress. It never gives
up: nothing that the service may accept one day is dropped for having waited.

    receipt                      state afterwards
    some record accepted, or     open: as many attempts as `concurrency` and `rate` allow
      a shard is named as full
    throttled, unavailable       waiting: one attempt when a jittered wait is over
    denied, not found            blocked: one attempt each BLOCKED_WAIT_S
    a lone record rejected, and  blocked: one attempt when a jittered wait is over; the next one
      none accepted meanwhile      may be accepted, and show that only that record is at fault
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterable, Iterator, Sequence

from kagent import errors, model
from kagent.pace import concurrency, rate, shards
from kagent.pace.rate import UNLIMITED, RateLimit
from kagent.pace.waits import (
    REFUSAL_WAIT_MAX_S,
    SETBACK_WAIT_MAX_S,
    refusal_wait_s,
    setback_wait_s,
)

__all__ = [
    "BLOCKED_WAIT_S",
    "REFUSAL_TICK_S",
    "REFUSAL_WAIT_MAX_S",
    "SETBACK_WAIT_MAX_S",
    "UNLIMITED",
    "Pace",
    "PaceSettings",
    "RateLimit",
    "refusal_wait_s",
    "setback_wait_s",
]

BLOCKED_WAIT_S = 30.0
REFUSAL_TICK_S = 0.1
INTERNAL_FAILURE = "InternalFailure"  # of one record: the service is unwell, not full

_UNWELL = "nothing to do: AWS has a problem, kagent goes on trying"
_FULL = "kagent slows down by itself; if it lasts, the destination needs more shards or quota"


@dataclasses.dataclass(frozen=True, slots=True)
class PaceSettings:
    """What a pace must know of its flow.

    `has_fixed_keys`: a record that is refused goes to the same shard again.
    """

    in_flight_max: int
    records_max: int = 500
    bytes_max: int = 4 * 1024**2
    rate_limit: RateLimit = UNLIMITED
    has_fixed_keys: bool = False


class Pace:
    """The rate state of one flow; owned by its thread."""

    def __init__(self, settings: PaceSettings, chooser: random.Random) -> None:
        """Start open: nothing is known against the destination yet."""
        self.rate = rate.Rate(
            settings.rate_limit, settings.records_max, settings.bytes_max, chooser
        )
        self.shards = shards.Shards()
        self._concurrency = concurrency.Concurrency(settings.in_flight_max)
        self._has_fixed_keys = settings.has_fixed_keys
        self._failures = 0
        self._since = 0.0  # when the last setback that counted came
        self.failing_since = float("inf")  # when the first of the setbacks in a row came
        self.setback: errors.DestinationError | None = None  # the last of them
        self.not_before = 0.0
        self.blocked: errors.DestinationError | None = None

    @property
    def is_open(self) -> bool:
        """The last news from the destination was good."""
        return self._failures == 0 and self.blocked is None

    @property
    def in_flight_max(self) -> int:
        """How many attempts may be under way now."""
        return self._concurrency.limit if self.is_open else 1

    # --- what may go --------------------------------------------------------------------------

    def next_attempt(self, now: float, in_flight: int) -> float | None:
        """Return when an attempt may start; None: when one that is under way is answered."""
        if in_flight >= self.in_flight_max:
            return None
        due = self.rate.next_attempt(now)
        return due if self.is_open else max(due, self.not_before)

    def may_attempt(self, now: float, in_flight: int) -> bool:
        """Return whether an attempt may start now."""
        due = self.next_attempt(now, in_flight)
        return due is not None and due <= now

    def room(self, now: float) -> tuple[int | None, int | None]:
        """Return how many records and bytes an attempt may hold now; None: any number."""
        return self.rate.room(now)

    def note_submitted(self, batch: model.Batch) -> None:
        """Note an attempt that starts."""
        self.rate.spend(len(batch.records), batch.size_bytes)

    def refused_dues(
        self, returned: Iterable[model.Cargo], refused: Sequence[model.Refusal], now: float
    ) -> Iterator[tuple[model.Cargo, float]]:
        """Yield refused records, and when they should be tried again.

        Records of fixed keys wait for their turn at their shard; others will most likely go to
        another one, and only wait longer the more often it was in vain.

        Args:
            returned: A batch's refused records, in their order.
            refused: Its refusals, one for each of these records.
            now: Monotonic time.
        """
        if not self._has_fixed_keys:
            waits: dict[int, float] = {}  # one for all that were refused together
            for chunk in returned:
                if chunk.attempts not in waits:
                    waits[chunk.attempts] = _on_tick(now + refusal_wait_s(chunk.attempts))
                yield chunk, waits[chunk.attempts]
            return
        for chunk, shard in shards.parts_by_shard(returned, refused):
            due = now + refusal_wait_s(chunk.attempts if not shard else 1)
            yield chunk, max(due, self.shards.turn(shard, len(chunk), now)) if shard else due

    # --- what the service says ----------------------------------------------------------------

    def note_answer(self, receipt: model.Receipt, now: float, in_flight: int) -> bool:
        """Note that the service judged records one by one; return whether it took some.

        An answer that refuses every record and names no shard is a setback of the whole call:
        it becomes one, see `note_setback`.

        Args:
            receipt: One without a setback.
            now: Monotonic time.
            in_flight: Attempts that were under way, this one included.
        """
        assert receipt.setback is None
        batch = receipt.batch
        is_some_accepted = len(receipt.refused) < len(batch.records)
        if is_some_accepted:
            self.failing_since, self.setback = float("inf"), None
        elif any(one.shard for one in receipt.refused):  # others may have room all the same
            self.failing_since = min(self.failing_since, now)
            self.setback = _setback_of(receipt.refused[0])
        else:
            receipt.setback = _setback_of(receipt.refused[0])
            return False
        self._failures, self.blocked = 0, None
        self._concurrency.note_answer(
            batch.size_bytes, receipt.submitted, receipt.received, in_flight
        )
        refused = 0
        if receipt.refused:
            throttled = [one.shard for one in receipt.refused if one.code != INTERNAL_FAILURE]
            refused = self.shards.note(receipt.shards, throttled, now)
        self._note_rate(receipt, refused, now)
        return is_some_accepted

    def note_setback(self, receipt: model.Receipt, now: float) -> None:
        """Note that a whole call came to nothing.

        Attempts that were under way together count once: each says the same of the same moment.
        """
        assert receipt.setback is not None
        if isinstance(receipt.setback, errors.ThrottledError):
            self._note_rate(receipt, len(receipt.batch.records), now)
        if isinstance(receipt.setback, errors.ThrottledError | errors.UnavailableError):
            self._concurrency.note_setback(receipt.submitted, receipt.received)
        if self._failures and receipt.submitted < self._since:
            return
        self._count(receipt.setback, now)
        if isinstance(receipt.setback, errors.DeniedError | errors.NotFoundError):
            self.blocked = receipt.setback
            self.not_before = now + BLOCKED_WAIT_S
        else:
            self.blocked = None
            self.not_before = now + setback_wait_s(self._failures)

    def note_suspect(self, error: errors.DestinationError, now: float) -> None:
        """Note that a record was rejected alone, and nothing shows that others are accepted."""
        self._count(error, now)
        self.blocked = error
        self.not_before = now + setback_wait_s(self._failures)

    def _note_rate(self, receipt: model.Receipt, refused: int, now: float) -> None:
        sent, sent_bytes = len(receipt.batch.records), receipt.batch.size_bytes
        taken_s = receipt.received - receipt.submitted
        if self.rate.note(sent, sent_bytes, refused, taken_s, now):
            self.shards.close_window(now)

    def _count(self, error: errors.DestinationError, now: float) -> None:
        self._failures += 1
        self._since = now
        self.failing_since = min(self.failing_since, now)
        self.setback = error


def _on_tick(due: float) -> float:
    """Return a time a little later, at which others are due as well: one wake-up serves all."""
    return math.ceil(due / REFUSAL_TICK_S) * REFUSAL_TICK_S


def _setback_of(refusal: model.Refusal) -> errors.DestinationError:
    """Return what it means that every record of a call was refused, as this one was."""
    if refusal.code == INTERNAL_FAILURE:
        return errors.UnavailableError(refusal.code, "every record was refused", _UNWELL)
    return errors.ThrottledError(refusal.code, "every record was refused", _FULL)
