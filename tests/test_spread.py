"""`spread`: a flow whose keys hit mostly one shard says so, others do not."""

from __future__ import annotations

import pytest

from kagent import model, spread


def shards(count: int) -> list[model.ShardRange]:
    width = 2**128 // count
    return [
        model.ShardRange(f"shard-{number}", number * width, (number + 1) * width)
        for number in range(count)
    ]


def batch(key: str, hash_key: str = "") -> model.Batch:
    return model.Batch([b"x"] * 3, [key] * 3, [], 6, hash_keys=[hash_key] * 3 if hash_key else [])


def judge(keys: list[str], count: int, hash_key: str = "") -> spread.Uneven | None:
    one = spread.Spread()
    found = [
        one.note(batch(keys[number % len(keys)], hash_key), shards(count), float(number))
        for number in range(spread.SAMPLES)
    ]
    assert not any(found[:-1])
    return found[-1]


def test_one_key_for_all_is_told() -> None:
    """With the shard that all of them go to."""
    found = judge(["always the same"], 4)

    assert found is not None
    assert (1.0, 4) == (found.share, found.shards)


@pytest.mark.parametrize("count", [2, 3, 20])
def test_keys_that_differ_are_fine(count: int) -> None:
    """Many keys are even enough, however many shards there are."""
    assert judge([f"key {number}" for number in range(100)], count) is None


def test_hash_key_decides() -> None:
    """It is what the shard goes by, whatever the partition keys are."""
    found = judge([f"key {number}" for number in range(100)], 4, str(2**128 - 1))

    assert found is not None
    assert "shard-3" == found.shard


def test_stream_of_one_shard_is_even() -> None:
    """As is one whose shards are not known."""
    assert judge(["x"], 1) is None
    assert spread.Spread().note(batch("x"), [], 0.0) is None


def test_it_is_said_once_an_hour() -> None:
    """The operator knows by then."""
    one = spread.Spread()
    told = [
        one.note(batch("x"), shards(2), 10.0 * number) is not None
        for number in range(4 * spread.SAMPLES)
    ]

    assert [spread.SAMPLES - 1, 3 * spread.SAMPLES - 1] == [
        number for number, was_told in enumerate(told) if was_told
    ]
