"""Token buckets: how much a shard or a delivery stream takes in a second.

A bucket never waits and never looks at a clock: the caller says what time it is and reads the
answer. It is not safe for threads; its stream's lock is held around it.
"""

from __future__ import annotations

from collections.abc import Sequence


class Bucket:
    """A store of tokens that refills at a rate up to its capacity."""

    __slots__ = ("_capacity", "_filled_at_s", "_rate", "tokens")

    def __init__(self, rate: float, capacity: float, now_s: float) -> None:
        self._rate = rate
        self._capacity = capacity
        self._filled_at_s = now_s
        self.tokens = capacity

    def refill(self, now_s: float) -> None:
        """Add what the time since the last refill is worth."""
        passed_s = max(0.0, now_s - self._filled_at_s)
        self._filled_at_s = max(now_s, self._filled_at_s)
        self.tokens = min(self._capacity, self.tokens + passed_s * self._rate)

    def has(self, wanted: float) -> bool:
        """Return whether so many can be taken now; a full bucket lends what is beyond it."""
        return self.tokens >= min(wanted, self._capacity)


class Throughput:
    """Records and bytes a second of one shard or delivery stream."""

    __slots__ = ("_bytes", "_records")

    def __init__(
        self, records_per_s: float, bytes_per_s: float, burst_bytes: float, now_s: float
    ) -> None:
        self._records = Bucket(records_per_s, records_per_s, now_s)
        self._bytes = Bucket(bytes_per_s, burst_bytes, now_s)

    def admit(self, sizes: Sequence[int], now_s: float) -> list[bool]:
        """Take the tokens of the records that fit, in their order.

        A record that does not fit takes nothing, so a smaller one behind it may still pass.

        Args:
            sizes: Bytes of each record, in the order of the request.
            now_s: Monotonic time.

        Returns:
            For each record whether it was admitted.
        """
        self._records.refill(now_s)
        self._bytes.refill(now_s)
        total = sum(sizes)
        if len(sizes) <= self._records.tokens and total <= self._bytes.tokens:
            self._records.tokens -= len(sizes)
            self._bytes.tokens -= total
            return [True] * len(sizes)
        return [self._take(size) for size in sizes]

    def _take(self, size: int) -> bool:
        if self._records.tokens < 1 or not self._bytes.has(size):
            return False
        self._records.tokens -= 1
        self._bytes.tokens -= size
        return True
