"""`pace.shards`: which are slow, and when their records come again."""

from __future__ import annotations

from kagent.pace import shards

TEN = [f"shard-{number}" for number in range(10)]


def serve(one: shards.Shards, refused: list[str], seconds: int = 3) -> int:
    """Let ten records go to each of ten shards each second; return what counts in the last."""
    counted = 0
    for second in range(seconds):
        counted = one.note(dict.fromkeys(TEN, 10), refused, float(second))
        one.close_window(float(second) + 0.9)
    return counted


def test_shard_that_refuses_far_more_than_others_is_slow() -> None:
    """Its refusals say nothing of the stream's rate."""
    one = shards.Shards()

    counted = serve(one, ["shard-3"] * 9 + ["shard-5"])

    assert frozenset({"shard-3"}) == one.slow
    assert 1 == counted


def test_shards_that_are_equally_full_are_not_slow() -> None:
    """An overloaded stream refuses everywhere: that is what its rate must heed."""
    one = shards.Shards()

    counted = serve(one, [name for name in TEN for _ in range(6)])

    assert not one.slow
    assert 60 == counted


def test_the_only_shard_is_never_slow() -> None:
    """There is nothing that it could be compared with."""
    one = shards.Shards()

    for second in range(3):
        one.note({"a": 10}, ["a"] * 9, float(second))
        one.close_window(float(second) + 0.9)

    assert not one.slow


def test_shard_is_well_again_when_it_refuses_no_more() -> None:
    """And is forgotten when nothing is heard of it."""
    one = shards.Shards()
    serve(one, ["shard-3"] * 10)

    serve(one, [], 10)

    assert not one.slow
    for second in range(20):
        one.note({}, [], float(second))
        one.close_window(float(second) + 0.9)
    assert not one._known


def test_turns_at_a_shard_follow_each_other_at_its_rate() -> None:
    """The rate is what it was seen to accept; nobody waits longer than WAIT_MAX_S."""
    one = shards.Shards()
    for second in range(20):
        one.note({"a": 12, "b": 12}, ["a"] * 2, float(second))
        one.close_window(float(second) + 1.0)

    first, second, third = (one.turn("a", 50, 100.0) for _ in range(3))

    assert 100.0 == first
    assert 104.5 <= second <= 105.5
    assert 109.0 <= third <= 110.0
    assert 100.0 + shards.WAIT_MAX_S == one.turn("a", 50, 100.0)
    assert 100.0 == one.turn("b", 50, 100.0)
