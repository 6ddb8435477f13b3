"""The aggregated record of Amazon's Kinesis Producer Library, written and read by hand: pure.

    F3 89 9A C2 | AggregatedRecord, a protobuf (proto2) message | its MD5

    message AggregatedRecord { repeated string partition_key_table = 1;
                               repeated string explicit_hash_key_table = 2;
                               repeated Record records = 3; }
    message Record { required uint64 partition_key_index = 1;
                     optional uint64 explicit_hash_key_index = 2;
                     required bytes data = 3; repeated Tag tags = 4; }

https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md, 2026-11.

Every user record names the explicit hash key that the whole record is sent with. Amazon's consumer
library drops what hashes outside of the shard that it reads: so nothing ever does, however the
stream was split or merged between packing and sending.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import operator
from collections.abc import Sequence

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_BYTES = 16
KEYS_MAX = 127  # of one record: their indices take one byte
# Magic, digest, one hash key of 39 digits. The partition keys come on top.
FIXED_BYTES_MAX = len(MAGIC) + DIGEST_BYTES + 41

_PREFIXES_MAX = 65536  # kept; lines of so many different lengths are rare


@dataclasses.dataclass(frozen=True, slots=True)
class UserRecord:
    """One of the records in an aggregated one; `hash_key` is empty where it has none."""

    partition_key: str
    hash_key: str
    data: bytes


class _Prefixes(dict[int, bytes]):
    """By the length of a user record's data: what stands before the data."""

    def __init__(self, key_index: int) -> None:
        assert key_index < KEYS_MAX
        self._indices = b"\x08" + bytes([key_index]) + b"\x10\x00\x1a"

    def __missing__(self, length: int) -> bytes:
        if len(self) >= _PREFIXES_MAX:
            self.clear()
        inner = self._indices + _varint(length)
        prefix = self[length] = b"\x1a" + _varint(len(inner) + length) + inner
        return prefix


class _Sizes(dict[int, int]):
    """By the length of a user record's data: how long it makes the whole."""

    def __missing__(self, length: int) -> int:
        if len(self) >= _PREFIXES_MAX:
            self.clear()
        size = self[length] = len(_PREFIXES[0][length]) + length
        return size


_PREFIXES = [_Prefixes(index) for index in range(KEYS_MAX)]
_SIZES = _Sizes()


def ends_of(records: Sequence[bytes]) -> list[int]:
    """Return where each record ends, counted from the first one's start, when they are encoded."""
    return list(itertools.accumulate(map(_SIZES.__getitem__, map(len, records))))


def key_bytes(key: str) -> int:
    """Return what a partition key adds to a record, in bytes."""
    return len(_field(0x0A, key))


def hash_of(key: str) -> int:
    """Return the hash key of a partition key, from 0 to 2 ** 128 - 1, as the service does."""
    digest = hashlib.md5(key.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest, "big")


def encode(runs: Sequence[tuple[str, Sequence[bytes]]], hash_key: str) -> bytes:
    """Return user records as one record.

    Args:
        runs: Records after each other that share a partition key, with it; at most KEYS_MAX keys.
        hash_key: The explicit hash key, in decimal, that the record is sent with.
    """
    indices: dict[str, int] = {}
    pieces: list[bytes] = []
    for key, records in runs:
        prefixes = _PREFIXES[indices.setdefault(key, len(indices))]
        woven = [b""] * (2 * len(records))
        woven[::2] = map(prefixes.__getitem__, map(len, records))
        woven[1::2] = records
        pieces += woven
    table = b"".join(_field(0x0A, key) for key in indices)
    message = b"".join([table, _field(0x12, hash_key), *pieces])
    digest = hashlib.md5(message, usedforsecurity=False).digest()
    return b"".join([MAGIC, message, digest])


def decode(data: bytes) -> list[UserRecord] | None:
    """Return the user records of an aggregated record; None if it is none: a record as it is."""
    message = data[len(MAGIC) : -DIGEST_BYTES]
    digest = hashlib.md5(message, usedforsecurity=False).digest()
    if data[: len(MAGIC)] != MAGIC or data[-DIGEST_BYTES:] != digest:
        return None
    try:
        return _read_message(message)
    except (IndexError, ValueError, KeyError):
        return None


def _read_message(message: bytes) -> list[UserRecord]:
    tables: dict[int, list[bytes]] = {1: [], 2: [], 3: []}
    for number, value in _fields(message):
        if isinstance(value, bytes) and number in tables:
            tables[number].append(value)
    keys, hash_keys = ([one.decode() for one in tables[number]] for number in (1, 2))
    found = []
    for record in tables[3]:
        fields = dict(_fields(record))
        key, hash_index, data = fields[1], fields.get(2), fields[3]
        if not isinstance(key, int) or not isinstance(data, bytes):
            raise ValueError("a field of another type")  # noqa: TRY004 -- of the message
        hash_key = hash_keys[operator.index(hash_index)] if isinstance(hash_index, int) else ""
        found.append(UserRecord(keys[key], hash_key, data))
    return found


def _fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """Return the fields of a message: numbers, with a whole number or bytes."""
    found: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        value, at = _read_varint(message, at)
        if tag & 7 == 2:
            if at + value > len(message):
                raise ValueError("a field beyond the end")
            found.append((tag >> 3, message[at : at + value]))
            at += value
        elif tag & 7 == 0:
            found.append((tag >> 3, value))
        else:
            raise ValueError("a type that the format does not use")
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number, shift = 0, 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(tag: int, text: str) -> bytes:
    data = text.encode()
    return bytes([tag]) + _varint(len(data)) + data
