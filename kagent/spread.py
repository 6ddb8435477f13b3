"""Whether a flow's partition keys spread its records over the shards of the stream: pure.

A stream of twenty shards takes what one shard takes if all records have one key, and nothing that
is refused says so as long as the flow is slow. One record of a request is looked at, which costs
nothing, and what is true of hundreds of them is said of all.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
from collections.abc import Sequence

from kagent import kpl, model

SAMPLES = 200  # requests that are judged together
SAY_AGAIN_S = 3600.0
_SHARE_OF_TWO = 0.8  # of all records at one of two shards
_SHARE_OF_MANY = 0.5  # at one of three or more


@dataclasses.dataclass(frozen=True, slots=True)
class Uneven:
    """Most records go to one shard."""

    shard: str
    share: float
    shards: int


class Spread:
    """Looks at the requests of one flow; owned by its thread."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._seen: collections.Counter[str] = collections.Counter()
        self._said = float("-inf")

    def note(
        self, batch: model.Batch, shards: Sequence[model.ShardRange], now: float
    ) -> Uneven | None:
        """Look at a request; return what there is to say, once in a while.

        Args:
            batch: A request with partition keys.
            shards: The open shards in the order of their hash keys.
            now: Monotonic time.
        """
        if len(shards) < 2:
            return None
        index = len(batch.records) // 2
        hash_key = batch.hash_keys[index] if batch.hash_keys else ""
        at = int(hash_key) if hash_key else kpl.hash_of(batch.partition_keys[index])
        place = bisect.bisect_right(shards, at, key=lambda one: one.start) - 1
        self._seen[shards[place].shard] += 1
        if self._seen.total() < SAMPLES:
            return None
        ((shard, count),) = self._seen.most_common(1)
        share = count / self._seen.total()
        self._seen.clear()
        least = _SHARE_OF_TWO if len(shards) == 2 else _SHARE_OF_MANY
        if share < least or now - self._said < SAY_AGAIN_S:
            return None
        self._said = now
        return Uneven(shard, share, len(shards))
