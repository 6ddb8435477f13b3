"""Shards: who owns which hash keys, and how records are numbered.

Everything that AWS would show of a shard (its id, its range, its sequence numbers) is computed
here from the shard's number and the record's number in it, so nothing of it has to be stored.
"""

from __future__ import annotations

import array
import hashlib

from kagent.local import limits, rate

_SEQUENCE_VERSION = "49"  # a sequence number has 56 digits, and begins so
_SHARD_DIGITS = 10
_RECORD_DIGITS = 34


class Shard:
    """One shard: the range [first_hash, last_hash] and the records that fell into it.

    A closed one takes no more, and can be read to its end. `parents` were closed for it.
    """

    def __init__(
        self,
        number: int,
        hash_range: tuple[int, int],
        created_s: int,
        throughput: rate.Throughput,
        parents: tuple[Shard, ...] = (),
    ) -> None:
        self.number = number
        self.id = f"shardId-{number:012d}"
        self.first_hash, self.last_hash = hash_range
        self.throughput = throughput
        self.parents = parents
        self.is_open = True
        self.accepted = 0  # records so far, and so the number of the next
        self.orders = array.array("Q")  # of each kept record its place in the stream's journal
        self._sequence_prefix = f"{_SEQUENCE_VERSION}{created_s:010d}{number:0{_SHARD_DIGITS}d}"

    def sequence_number(self, record: int) -> str:
        """Return the 56 digits that name a record of this shard; they grow with its number."""
        return f"{self._sequence_prefix}{record + 1:0{_RECORD_DIGITS}d}"

    def starting_sequence_number(self) -> str:
        """Return the sequence number just below that of the first record."""
        return self.sequence_number(-1)

    def record_number(self, sequence_number: str) -> int | None:
        """Return which record a sequence number names, or None when it is not of this shard."""
        digits = sequence_number.removeprefix(self._sequence_prefix)
        if len(digits) != _RECORD_DIGITS or not sequence_number.isdecimal():
            return None
        return int(digits) - 1


def hash_key_of(partition_key: str) -> int:
    """Return the 128-bit number by which AWS routes a partition key."""
    return int.from_bytes(hashlib.md5(partition_key.encode(), usedforsecurity=False).digest())


def even_ranges(shards: int) -> list[tuple[int, int]]:
    """Return the hash ranges of a new stream, both ends included, as AWS divides them."""
    width = (limits.HASH_KEY_MAX + 1) // shards
    starts = [number * width for number in range(shards)]
    ends = [start - 1 for start in starts[1:]] + [limits.HASH_KEY_MAX]
    return list(zip(starts, ends, strict=True))
