"""Token buckets of kagent.local: what passes in any time is bounded, and nothing is stuck."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kagent.local import rate

CALLS = st.lists(
    st.tuples(st.floats(0, 2), st.lists(st.integers(0, 2_000), max_size=30)), max_size=30
)


@given(CALLS)
def test_no_more_passes_than_rate_and_burst_allow(calls: list[tuple[float, list[int]]]) -> None:
    """Whatever comes, records and bytes that passed stay within burst + rate x time."""
    throughput = rate.Throughput(10, 1_000, 1_000, 0.0)
    now_s, records, size = 0.0, 0, 0

    for passed_s, sizes in calls:
        now_s += passed_s
        admitted = throughput.admit(sizes, now_s)
        passed = [s for s, is_in in zip(sizes, admitted, strict=True) if is_in]
        records += len(passed)
        size += sum(passed)

        assert records <= 10 + 10 * now_s + 1e-6
        # A full bucket lends what is beyond it, to one record.
        assert size <= 1_000 + 1_000 * now_s + 1_000 + 1e-6


def test_a_record_larger_than_the_bucket_passes_when_it_is_full() -> None:
    """Such a record is not refused for ever; the debt is paid before the next."""
    throughput = rate.Throughput(1e9, 100, 100, 0.0)

    admitted = [throughput.admit([250], now_s) for now_s in (0.0, 1.0, 2.0, 3.0)]

    assert [[True], [False], [False], [True]] == admitted


def test_a_small_record_passes_behind_a_large_one() -> None:
    """Records are admitted one by one: the large one waits, the small one behind it passes."""
    throughput = rate.Throughput(1e9, 100, 100, 0.0)

    assert [True, False, True] == throughput.admit([60, 90, 40], 0.0)


def test_time_that_runs_backwards_gives_nothing() -> None:
    """An earlier time neither fills nor empties a bucket."""
    bucket = rate.Bucket(10, 10, 5.0)
    bucket.tokens = 0

    bucket.refill(1.0)
    bucket.refill(5.5)

    assert 5 == bucket.tokens
