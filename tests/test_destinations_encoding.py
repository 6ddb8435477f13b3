"""Request bodies held against what a JSON library makes of the same records."""

from __future__ import annotations

import base64
import builtins
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagent import model
from kagent.destinations import encoding

records = st.lists(st.binary(max_size=40), min_size=1, max_size=20)


def batch(records: list[bytes], keys: list[str]) -> model.Batch:
    return model.Batch(records, keys, [], 0)


def read(parts: list[bytes]) -> Any:
    return json.loads(b"".join(parts))


def plain(record: bytes) -> str:
    return base64.b64encode(record).decode()


@given(
    pairs=st.lists(st.tuples(st.binary(max_size=40), st.text(min_size=1)), min_size=1),
    stream=st.text(min_size=1),
)
def test_a_put_records_body_says_what_the_batch_says(
    pairs: list[tuple[bytes, str]], stream: str
) -> None:
    """Records are arbitrary bytes and partition keys arbitrary text."""
    sent, keys = [list(column) for column in zip(*pairs, strict=True)]

    said = read(encoding.kinesis(stream)(batch(sent, keys)))

    entries = [{"Data": plain(data), "PartitionKey": key} for data, key in pairs]
    assert {"StreamName": stream, "Records": entries} == said


def test_a_hash_key_stands_beside_the_partition_key() -> None:
    """Only where a record has one; packed records have, lone lines may have none."""
    sent = model.Batch([b"1", b"2"], ['a"', "b"], [], 0, hash_keys=["17", ""])

    said = read(encoding.kinesis("web")(sent))

    assert [
        {"Data": plain(b"1"), "PartitionKey": 'a"', "ExplicitHashKey": "17"},
        {"Data": plain(b"2"), "PartitionKey": "b"},
    ] == said["Records"]


@given(records)
def test_a_put_record_batch_body_says_what_the_batch_says(sent: list[bytes]) -> None:
    """Firehose has no keys, and other names."""
    said = read(encoding.firehose("audit")(batch(sent, [])))

    entries = [{"Data": plain(data)} for data in sent]
    assert {"DeliveryStreamName": "audit", "Records": entries} == said


@pytest.mark.parametrize("size", [1, 200, 10_000, encoding.PART_BYTES, 3 * encoding.PART_BYTES])
def test_a_large_body_comes_in_parts(size: int) -> None:
    """No part is much larger than PART_BYTES or one record, and together they are the body."""
    sent = [bytes([number]) * size for number in range(20)]

    parts = encoding.firehose("audit")(batch(sent, []))

    assert [plain(data) for data in sent] == [one["Data"] for one in read(parts)["Records"]]
    assert max(map(len, parts)) < 1.5 * max(encoding.PART_BYTES, size) + 100 * len(sent)


@pytest.mark.parametrize("key", ['"', "\\", "\n", "\x7f", "é", "\U0001f600", "a b{}%s"])
def test_a_key_that_json_escapes_is_escaped(key: str) -> None:
    """One such key among plain ones: all arrive as they are."""
    keys = ["plain", key, "0"]

    said = read(encoding.kinesis("web")(batch([b"x"] * 3, keys)))

    assert keys == [one["PartitionKey"] for one in said["Records"]]


def test_without_pybase64_the_bytes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no wheel, the standard library encodes."""
    fast = encoding._b64encode()
    real = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        if name == "pybase64":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    slow = encoding._b64encode()

    assert slow is not fast
    assert fast(bytes(range(256))) == slow(bytes(range(256)))
