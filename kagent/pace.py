"""When a flow may make its next attempt: pure.

Decides from receipts alone how long to wait and how many attempts may run. Waits are full-jitter
exponential (tenacity's strategy) and are reset by progress. It never gives up: nothing that the
service may accept one day is dropped for having waited.

    receipt                      state afterwards
    some record accepted         open: as many attempts as the flow allows
    throttled, unavailable       waiting: one attempt when a jittered wait is over
    denied, not found            blocked: one attempt each BLOCKED_WAIT_S
    a lone record rejected, and  blocked: one attempt when a jittered wait is over; the next one
      none accepted meanwhile      may be accepted, and show that only that record is at fault
"""

from __future__ import annotations

import tenacity

from kagent import errors, model

SETBACK_WAIT_MAX_S = 30.0
BLOCKED_WAIT_S = 30.0
REFUSAL_WAIT_MAX_S = 5.0

_SETBACK_WAIT = tenacity.wait_random_exponential(multiplier=0.2, max=SETBACK_WAIT_MAX_S)
_REFUSAL_WAIT = tenacity.wait_random_exponential(multiplier=0.1, max=REFUSAL_WAIT_MAX_S)


def setback_wait_s(failures: int) -> float:
    """Return how long to wait after so many setbacks in a row, at least one."""
    return _wait(_SETBACK_WAIT, failures)


def refusal_wait_s(attempts: int) -> float:
    """Return how long a record waits that was refused by itself so many times, at least once."""
    return _wait(_REFUSAL_WAIT, attempts)


def _wait(strategy: tenacity.wait.wait_base, attempt: int) -> float:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = min(attempt, 64)  # 2 ** 64 is past every maximum, and no overflow
    return strategy(state)


class Pace:
    """The rate state of one flow; owned by its thread."""

    def __init__(self, in_flight_max: int) -> None:
        """Start open: nothing is known against the destination yet."""
        self._in_flight_max = in_flight_max
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

    def may_attempt(self, now: float, in_flight: int) -> bool:
        """Return whether an attempt may start now."""
        if self.is_open:
            return in_flight < self._in_flight_max
        return in_flight == 0 and now >= self.not_before

    def note_accepted(self) -> None:
        """Note that the service took at least one record."""
        self._failures = 0
        self.failing_since = float("inf")
        self.setback = self.blocked = None

    def note_setback(self, receipt: model.Receipt, now: float) -> None:
        """Note that a whole call came to nothing.

        Attempts that were under way together count once: each says the same of the same moment.
        """
        assert receipt.setback is not None
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

    def _count(self, error: errors.DestinationError, now: float) -> None:
        self._failures += 1
        self._since = now
        self.failing_since = min(self.failing_since, now)
        self.setback = error
