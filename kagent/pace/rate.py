"""How many records and bytes a second one flow may send: pure.

The law, once a second (or as soon as there is enough to go by) while the destination throttles:

    limit = limit x (1 - share that was refused) + GAIN x cbrt(limit)

The first term is what was accepted, so an overload of any size is left within a second. The second
one finds out whether there is more. Where both agree, the share that is refused is
GAIN / cbrt(limit) ** 2: the same for all who write to a stream, so all of them get the same rate,
without knowing of each other. The cube root makes it a small share for a few fast agents (1 % at
1,000 records a second) and a bearable one for many slow ones (20 % at 10); a constant step would
have to be chosen for one size of fleet, and a step in proportion would keep what is unfair.

After CLEAN_S without a refusal the step doubles each second until one comes: what others leave
free is taken within seconds. Nothing is limited before the first refusal, nor when none came for
RELEASE_S: a flow that the service never throttles never waits. Requests go at jittered moments,
because agents in step would always meet in one order, and the last one lose.
"""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Annotated

import pydantic

from kagent import options

GAIN = 1.0
WINDOW_S = 1.0
EARLY_S = 0.2  # a window's length when it has EARLY_RECORDS
EARLY_RECORDS = 200
CLEAN_S = 2.0
RELEASE_S = 30.0
GROWTH_MAX = 1.5  # of a limit in one window
RECORDS_MIN = 1.0  # a second: less would be standing still
BYTES_MIN = 1024.0
_BOOST_MAX = 2.0**20


class RateLimit(options.Options):
    """What a flow sends at most in a second; it slows down by itself when the service asks it to.

    What is sent again counts, too.
    """

    records: int | None = pydantic.Field(default=None, ge=1, le=10_000_000)
    """API records a second."""

    bytes: Annotated[int, options.Size(1024, 10 * 1024**3)] | None = None
    """Bytes a second, partition keys included."""


UNLIMITED = RateLimit()


@dataclasses.dataclass(slots=True)
class _Window:
    """What was answered since `started`."""

    started: float
    sent: int = 0
    sent_bytes: int = 0
    refused: int = 0


@dataclasses.dataclass(slots=True)
class _Bucket:
    """Tokens of a rate; a bucket holds a second's worth, and may owe."""

    tokens: float = 0.0
    rate: float | None = None

    def fill(self, passed_s: float, rate: float | None) -> None:
        """Add what passed time is worth; a rate that just came into force begins with a second."""
        if rate is not None:
            before = rate if self.rate is None else self.tokens
            self.tokens = min(rate, before + passed_s * rate)
        self.rate = rate

    def wait_s(self, wanted: float, share: float) -> float:
        """Return how long it takes until so much, or a share of a full bucket, is there."""
        if self.rate is None:
            return 0.0
        return max(0.0, (min(wanted, share * self.rate) - self.tokens) / self.rate)

    def room(self) -> int | None:
        """Return how much may go now, at least 1; None: anything."""
        return None if self.rate is None else max(1, int(self.tokens + 1e-6))


class Rate:
    """Limits of one flow's destination and the tokens that they give; owned by its thread."""

    def __init__(
        self, ceiling: RateLimit, records_max: int, bytes_max: int, chooser: random.Random
    ) -> None:
        """Start without a limit but the operator's.

        Args:
            chooser: Of the moments of sending: agents in step would always meet in one order.
            ceiling: The operator's limit.
            records_max: Records of a full request: as soon as there is room for them, it goes.
            bytes_max: Bytes of a full request.
        """
        self.records: float | None = None  # a second; None: nothing was refused lately
        self.bytes: float | None = None
        self._ceiling = ceiling
        self._records_max = records_max
        self._request_bytes = float(bytes_max)  # of a full request, as the last ones were
        self._bytes_max = bytes_max
        self._chooser = chooser
        self._share = 1.0  # of a second's tokens, for which the next request waits
        self._record_tokens = _Bucket()
        self._byte_tokens = _Bucket()
        self._filled = 0.0
        self._window: _Window | None = None
        self._boost = 1.0
        self._refused_at = -math.inf

    # --- what may go --------------------------------------------------------------------------

    def next_attempt(self, now: float) -> float:
        """Return when a request may go: at once, or when a second's worth or a full one may."""
        self._fill(now)
        return now + max(
            self._record_tokens.wait_s(self._records_max, self._share),
            self._byte_tokens.wait_s(self._request_bytes, self._share),
        )

    def room(self, now: float) -> tuple[int | None, int | None]:
        """Return how many records and bytes the next request may hold; None: any number."""
        self._fill(now)
        return self._record_tokens.room(), self._byte_tokens.room()

    def spend(self, records: int, size_bytes: int) -> None:
        """Note a request that goes out."""
        self._share = self._chooser.uniform(0.4, 1.0)
        full_bytes = min(self._bytes_max, self._records_max * size_bytes / records)
        self._request_bytes += 0.2 * (full_bytes - self._request_bytes)
        self._record_tokens.tokens -= records
        self._byte_tokens.tokens -= size_bytes

    def _fill(self, now: float) -> None:
        passed_s = max(0.0, now - self._filled)
        self._filled += passed_s
        self._record_tokens.fill(passed_s, _least(self.records, self._ceiling.records))
        self._byte_tokens.fill(passed_s, _least(self.bytes, self._ceiling.bytes))

    # --- what the service says ----------------------------------------------------------------

    def note(self, sent: int, sent_bytes: int, refused: int, taken_s: float, now: float) -> bool:
        """Take in an answer; return whether a window is over with it, and limits were set anew.

        Args:
            sent: Records of the request.
            sent_bytes: Their bytes, partition keys included.
            refused: How many of them were refused for being too many.
            taken_s: How long the answer took: what is sent meanwhile knows nothing of it yet.
            now: Monotonic time.
        """
        if self._window is None:
            self._window = _Window(now)
        window = self._window
        window.sent += sent
        window.sent_bytes += sent_bytes
        window.refused += refused
        least_s = EARLY_S if window.sent >= EARLY_RECORDS else WINDOW_S
        if now - window.started < max(least_s, 2 * taken_s):
            return False
        self._set_limits(window, now)
        self._window = _Window(now)
        return True

    def _set_limits(self, window: _Window, now: float) -> None:
        # A window can last long because there was nothing to send: that is not a slow service.
        passed_s = min(now - window.started, 2 * WINDOW_S)
        used, used_bytes = window.sent / passed_s, window.sent_bytes / passed_s
        if window.refused:
            self._refused_at, self._boost = now, 1.0
        elif now - self._refused_at >= RELEASE_S:
            self.records = self.bytes = None
        if self.records is None or self.bytes is None:
            if not window.refused:
                return
            self.records, self.bytes = used, used_bytes
        step = GAIN * self._boost * math.cbrt(self.records) / self.records
        share = window.refused / max(1, window.sent)
        if not window.refused:
            if now - self._refused_at >= CLEAN_S:
                self._boost = min(2**passed_s * self._boost, _BOOST_MAX)
            step = min(step, GROWTH_MAX**passed_s - 1.0)
        self.records = _moved(self.records, share, step, used, RECORDS_MIN)
        self.bytes = _moved(self.bytes, share, step, used_bytes, BYTES_MIN)


def _least(own: float | None, ceiling: float | None) -> float | None:
    if own is None or ceiling is None:
        return own if ceiling is None else ceiling
    return min(own, ceiling)


def _moved(limit: float, share: float, step: float, used: float, least: float) -> float:
    """Return a limit after a window.

    Args:
        limit: The limit.
        share: The share of records that was refused.
        step: How much more to try, as a share of the limit.
        used: What was sent. More than the limit, when the limit is new: then what was accepted of
            it counts. Less, when there was nothing to send: that is no reason to allow more.
        least: The least limit.
    """
    if share:
        return max(least, max(limit, used) * (1.0 - share) + limit * step)
    return max(least, limit, min(limit * (1.0 + step), GROWTH_MAX * used))
