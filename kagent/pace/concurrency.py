"""How many attempts may be under way at the same time, by what they take: pure.

More requests at once help until the service, or the way to it, is busy; from then on each only
takes longer. So the number grows while answers come about as soon as they ever did, and shrinks
when they take SLOW_RATIO times as long. Requests are compared with others of their size.
"""

from __future__ import annotations

START = 4
SLOW_RATIO = 3.0
NOISE_S = 0.02  # answers that are sooner than this are never slow
_SHRINK = 0.8
_AGEING = 0.01  # of the best time, a second: what was once fast need not be possible for ever


class Concurrency:
    """The number of attempts that one flow may have under way; owned by its thread."""

    def __init__(self, most: int) -> None:
        """Start with a few, and allow at most `most`."""
        self._most = most
        self._limit = float(min(START, most))
        self._is_starting = True  # until the first sign of a limit it grows with each answer
        self._best: dict[int, tuple[float, float]] = {}  # by size class: time taken, seen when
        self._shrunk_at = float("-inf")

    @property
    def limit(self) -> int:
        """How many attempts may be under way."""
        return int(self._limit)

    def note_answer(
        self, size_bytes: int, submitted: float, received: float, in_flight: int
    ) -> None:
        """Take in how long a good answer took; `in_flight` attempts were under way with it."""
        taken_s = max(received - submitted, 0.0)
        size_class = size_bytes.bit_length()
        best_s, seen = self._best.get(size_class, (taken_s, received))
        best_s *= 1.0 + _AGEING * max(0.0, received - seen)
        self._best[size_class] = min(best_s, taken_s), received
        if taken_s > SLOW_RATIO * best_s + NOISE_S:
            self._shrink(_SHRINK, submitted, received)
        elif in_flight >= self.limit:
            self._limit += 1.0 if self._is_starting else 1.0 / self._limit
            self._limit = min(self._limit, float(self._most))

    def note_setback(self, submitted: float, received: float) -> None:
        """Take in a call that came to nothing: begin again with half as many."""
        self._shrink(0.5, submitted, received)

    def _shrink(self, factor: float, submitted: float, received: float) -> None:
        """Allow fewer, once for all that were under way together."""
        if submitted < self._shrunk_at:
            return
        self._shrunk_at = received
        self._is_starting = False
        self._limit = max(1.0, self._limit * factor)
