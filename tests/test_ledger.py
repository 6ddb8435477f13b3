"""`ledger`: a naive set of bytes and the ledger agree on everything, whatever the order."""

from __future__ import annotations

import itertools

import hypothesis
import pytest
from hypothesis import strategies as st

from kagent import ledger

fast = hypothesis.settings(deadline=None, max_examples=200)


class Bytes:
    """The model: every byte by itself, as a set; slow and obvious."""

    def __init__(self, low: int, ranges: list[tuple[int, int]]) -> None:
        self.first = low
        self.settled = {byte for start, end in ranges for byte in range(start, end)}
        self.issued = low

    def issue(self, end: int) -> None:
        self.issued = end

    def settle(self, start: int, end: int) -> None:
        self.settled |= set(range(start, end))

    @property
    def low(self) -> int:
        return next(byte for byte in itertools.count(self.first) if byte not in self.settled)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        above = sorted(byte for byte in self.settled if byte > self.low)
        found: list[tuple[int, int]] = []
        for byte in above:
            if found and found[-1][1] == byte:
                found[-1] = (found[-1][0], byte + 1)
            else:
                found.append((byte, byte + 1))
        return found

    @property
    def unsettled_bytes(self) -> int:
        return len(set(range(self.first, self.issued)) - self.settled)

    def gap(self) -> tuple[int, int | None]:
        while self.issued in self.settled:
            self.issued += 1
        above = [byte for byte in self.settled if byte > self.issued]
        return self.issued, min(above, default=None)


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Return a watermark and settled ranges above it that do not touch."""
    low = draw(st.integers(0, 5))
    ranges, at = [], low
    for gap, length in draw(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=4)):
        ranges.append((at + gap, at + gap + length))
        at += gap + length
    return low, ranges


# --- against the model ------------------------------------------------------------------------


@fast
@hypothesis.given(history=histories(), data=st.data())
def test_ledger_agrees_with_a_set_of_bytes(
    history: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    """Spans settle in any order and in any pieces; watermark, ranges and gaps stay right."""
    low, ranges = history
    real, naive = ledger.Ledger(low, ranges), Bytes(low, ranges)
    pending: list[tuple[int, int]] = []

    for _ in range(data.draw(st.integers(0, 25))):
        if pending and data.draw(st.booleans()):
            start, end = pending.pop(data.draw(st.integers(0, len(pending) - 1)))
            cut = data.draw(st.integers(start + 1, end))
            pending += [(cut, end)] if cut < end else []
            real.settle(start, cut)
            naive.settle(start, cut)
        else:
            start, limit = real.gap()
            assert naive.gap() == (start, limit)
            end = data.draw(st.integers(start + 1, min(start + 6, limit or start + 6)))
            pending.append((start, end))
            real.issue(start, end)
            naive.issue(end)

        assert naive.low == real.low
        assert naive.ranges == real.ranges(100)
        assert naive.unsettled_bytes == real.unsettled_bytes
        assert (naive.unsettled_bytes == 0) == real.is_settled


@fast
@hypothesis.given(history=histories(), data=st.data())
def test_everything_settled_is_one_watermark(
    history: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    """When all gaps were issued and settled, in whatever order, nothing remains but an offset."""
    low, ranges = history
    one = ledger.Ledger(low, ranges)
    spans, end = [], ranges[-1][1] if ranges else low
    while one.gap()[1] is not None:
        start, limit = one.gap()
        assert limit is not None
        spans.append((start, data.draw(st.integers(start + 1, limit))))
        one.issue(*spans[-1])

    for span in data.draw(st.permutations(spans)):
        one.settle(*span)

    assert (end, end, []) == (one.low, one.issued, one.ranges(1))
    assert one.is_settled


# --- by hand ----------------------------------------------------------------------------------


def test_new_ledger_is_settled() -> None:
    """Nothing was issued, so nothing is open; reading may go on without an end."""
    one = ledger.Ledger(100)

    assert (100, True, 0) == (one.low, one.is_settled, one.unsettled_bytes)
    assert (100, None) == one.gap()


def test_watermark_waits_for_the_lowest_span() -> None:
    """What is settled above an open span is a range, and never passes for the watermark."""
    one = ledger.Ledger(0)
    for start in (0, 10, 20):
        one.issue(start, start + 10)

    one.settle(10, 20)
    one.settle(20, 30)

    assert (0, [(10, 30)], 10) == (one.low, one.ranges(9), one.unsettled_bytes)
    one.settle(0, 10)
    assert (30, [], 0) == (one.low, one.ranges(9), one.unsettled_bytes)


def test_only_so_many_ranges_are_returned() -> None:
    """The lowest come first: they are what a restart saves most by."""
    one = ledger.Ledger(0)
    for start in range(5):
        one.issue(start, start + 1)
    one.settle(1, 2)
    one.settle(3, 4)

    assert [(1, 2)] == one.ranges(1)
    assert [(1, 2), (3, 4)] == one.ranges(2) == one.ranges()


def test_settled_range_is_not_read_again() -> None:
    """After a resume the gap ends where the range begins, and the next one begins behind it."""
    one = ledger.Ledger(0, [(10, 20), (25, 30)])
    first = one.gap()

    one.issue(0, 10)

    assert (0, 10) == first
    assert (20, 25) == one.gap()
    assert [20, 30] == [one.settled_from(10), one.settled_from(25)]


def test_range_behind_the_watermark_raises_it() -> None:
    """Closing the gap before a settled range moves the watermark over both."""
    one = ledger.Ledger(0, [(10, 20)])
    one.issue(0, 10)

    one.settle(0, 10)

    assert (20, 20, []) == (one.low, one.issued, one.ranges(9))


def test_span_that_settles_next_to_a_saved_range_is_passed_over_with_it() -> None:
    """Above an open span, before the gap is asked for again: the range is not read once more."""
    one = ledger.Ledger(0, [(10, 20)])
    one.issue(0, 5)
    one.issue(5, 10)

    one.settle(5, 10)

    assert 5 == one.unsettled_bytes
    assert (20, None) == one.gap()
    assert (0, [(5, 20)]) == (one.low, one.ranges())


# --- what must never happen -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settled", "again"),
    [
        pytest.param([(0, 10)], (0, 10), id="below the watermark"),
        pytest.param([(0, 10)], (5, 15), id="across the watermark"),
        pytest.param([(10, 20)], (10, 20), id="the same range"),
        pytest.param([(10, 20)], (15, 20), id="the end of a range"),
        pytest.param([(10, 20)], (10, 12), id="the start of a range"),
        pytest.param([(10, 20)], (5, 12), id="into a range"),
        pytest.param([(10, 20)], (15, 25), id="out of a range"),
        pytest.param([(10, 20)], (5, 25), id="around a range"),
        pytest.param([], (25, 35), id="more than was issued"),
        pytest.param([], (5, 5), id="nothing"),
    ],
)
def test_bytes_settle_once(settled: list[tuple[int, int]], again: tuple[int, int]) -> None:
    """Settling what is settled, or was never issued, is our own bug and is not survived."""
    one = ledger.Ledger(0)
    one.issue(0, 30)
    for span in settled:
        one.settle(*span)

    with pytest.raises(AssertionError):
        one.settle(*again)


@pytest.mark.parametrize(
    "span",
    [
        pytest.param((5, 8), id="behind a hole"),
        pytest.param((0, 0), id="nothing"),
        pytest.param((0, 11), id="into a settled range"),
    ],
)
def test_bytes_are_issued_in_order_and_up_to_a_settled_range(span: tuple[int, int]) -> None:
    """A span starts where the last one ended, and stops at what an earlier run settled."""
    one = ledger.Ledger(0, [(10, 20)])

    with pytest.raises(AssertionError):
        one.issue(*span)


@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param([(0, 5)], id="at the watermark"),
        pytest.param([(5, 10), (10, 20)], id="touching"),
        pytest.param([(5, 10), (8, 20)], id="overlapping"),
        pytest.param([(10, 20), (2, 5)], id="descending"),
        pytest.param([(5, 5)], id="empty"),
    ],
)
def test_saved_ranges_ascend_and_do_not_touch(ranges: list[tuple[int, int]]) -> None:
    """A ledger does not start from ranges that no ledger could have saved."""
    with pytest.raises(AssertionError):
        ledger.Ledger(0, ranges)


@fast
@hypothesis.given(histories(), st.integers(0, 60), st.integers(0, 60))
def test_bytes_outside_of_ranges_are_counted(
    history: tuple[int, list[tuple[int, int]]], start: int, end: int
) -> None:
    """Each byte once that is in none of them; no byte if there is none between."""
    _, ranges = history
    settled = {byte for first, after in ranges for byte in range(first, after)}

    assert len(set(range(start, end)) - settled) == ledger.bytes_outside(ranges, start, end)
