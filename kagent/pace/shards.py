"""Which shards of a stream are slower than the others, and what they take: pure.

A stream's rate must not be set by one shard that is hot, or that others fill: its refusals are
set aside, and its records pay for themselves. With random partition keys a refused record gets a
new key, and so most likely another shard. With keys that are fixed it must wait for its own: such
records are tried again one after the other at the rate at which the shard was seen to take some,
so that they never stand in the way of records for other shards.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kagent import model

SLOW_SHARE = 0.25  # refused by a slow shard, at least
SLOW_RATIO = 3.0  # and at least that much more than by the others
WAIT_MAX_S = 10.0  # for one's turn at a slow shard: it may be well again by then
_KEPT = 0.7  # of what older windows said, after a window
_RATE_MIN = 1.0  # records a second
_FORGET = 0.5  # records: less is nothing


@dataclasses.dataclass(slots=True)
class _Shard:
    """What one shard did; older windows count less and less."""

    sent: float = 0.0
    refused: float = 0.0
    window_sent: int = 0
    window_refused: int = 0
    rate: float = _RATE_MIN  # records accepted a second
    free_at: float = 0.0  # when the turn of the next refused record comes

    @property
    def share(self) -> float:
        return self.refused / self.sent if self.sent else 0.0


class Shards:
    """What a flow knows of its stream's shards; owned by its thread."""

    def __init__(self) -> None:
        """Know nothing; shards are learned from answers that refuse something."""
        self.slow: frozenset[str] = frozenset()
        self._known: dict[str, _Shard] = collections.defaultdict(_Shard)
        self._window_started: float | None = None

    def note(self, shards: Mapping[str, int], refused: Iterable[str], now: float) -> int:
        """Take in an answer that refused something; return its refusals by shards not slow.

        Args:
            shards: How many records of the request went to each shard, as far as it is known.
            refused: The shard of each refused record.
            now: Monotonic time.
        """
        if self._window_started is None:
            self._window_started = now
        by_shard = collections.Counter(refused)
        for name, sent in shards.items():
            self._known[name].window_sent += sent
        for name, count in by_shard.items():
            shard = self._known[name]
            shard.window_sent += max(0, count - shards.get(name, 0))
            shard.window_refused += count
        return sum(count for name, count in by_shard.items() if name not in self.slow)

    def close_window(self, now: float) -> None:
        """Draw the conclusions of the time since the last call."""
        if self._window_started is None:
            return
        passed_s = max(now - self._window_started, 0.1)
        self._window_started = None
        for name, shard in list(self._known.items()):
            shard.sent = _KEPT * shard.sent + shard.window_sent
            shard.refused = _KEPT * shard.refused + shard.window_refused
            accepted = (shard.window_sent - shard.window_refused) / passed_s
            shard.rate = max(_RATE_MIN, _KEPT * shard.rate + (1 - _KEPT) * accepted)
            shard.window_sent = shard.window_refused = 0
            if shard.sent < _FORGET:
                del self._known[name]
        self.slow = frozenset(_slow_ones(self._known))

    def turn(self, name: str, records: int, now: float) -> float:
        """Return when refused records of a shard should be tried again, and take that turn."""
        shard = self._known[name]
        start = min(max(now, shard.free_at), now + WAIT_MAX_S)
        shard.free_at = start + records / shard.rate
        return start


def parts_by_shard(
    returned: Iterable[model.Cargo], refused: Sequence[model.Refusal]
) -> Iterator[tuple[model.Cargo, str]]:
    """Yield refused chunks with the shard that refused them, cut where it changes.

    Args:
        returned: A batch's refused records, in their order.
        refused: Its refusals, one for each of these records.
    """
    at = 0
    for chunk in returned:
        if isinstance(chunk, model.Packed):
            yield chunk, refused[at].shard
            at += 1
            continue
        first = 0
        for shard, run in itertools.groupby(one.shard for one in refused[at : at + len(chunk)]):
            last = first + len(list(run))
            yield (chunk.slice(first, last) if last - first < len(chunk) else chunk), shard
            first = last
        at += len(chunk)


def _slow_ones(known: Mapping[str, _Shard]) -> Iterable[str]:
    sent = sum(shard.sent for shard in known.values())
    refused = sum(shard.refused for shard in known.values())
    for name, shard in known.items():
        others_sent = sent - shard.sent
        if shard.share < SLOW_SHARE or others_sent < _FORGET:
            continue
        if shard.share >= SLOW_RATIO * (refused - shard.refused) / others_sent:
            yield name
