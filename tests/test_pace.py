"""`pace`: the table of its docstring, row by row, and waits that stay within their bounds."""

from __future__ import annotations

import random

import hypothesis
import pytest
from hypothesis import strategies as st

from kagent import errors, model, pace

THROTTLED = errors.ThrottledError("LimitExceeded")
UNAVAILABLE = errors.UnavailableError("ServiceUnavailable")
DENIED = errors.DeniedError("AccessDenied")
NOT_FOUND = errors.NotFoundError("ResourceNotFound")
fast = hypothesis.settings(deadline=None, max_examples=100)


def make(in_flight_max: int = 4, *, has_fixed_keys: bool = False) -> pace.Pace:
    settings = pace.PaceSettings(in_flight_max, has_fixed_keys=has_fixed_keys)
    return pace.Pace(settings, random.Random(1))


def answer(records: int = 1, refused: tuple[model.Refusal, ...] = ()) -> model.Receipt:
    return model.Receipt(model.Batch([b""] * records, [], [], 10 * records), refused)


def receipt(setback: errors.DestinationError, submitted: float) -> model.Receipt:
    return model.Receipt(model.Batch([], [], [], 0), setback=setback, submitted=submitted)


def after_setbacks(*setbacks: errors.DestinationError) -> pace.Pace:
    """Return a pace for 4 attempts at a time, after one setback each second from 1 s on."""
    one = make()
    for number, setback in enumerate(setbacks, start=1):
        one.note_setback(receipt(setback, submitted=float(number)), float(number))
    return one


# --- the table --------------------------------------------------------------------------------


def test_open_pace_allows_as_many_attempts_as_the_flow() -> None:
    """At the start nothing is known against the destination."""
    one = make()

    assert one.is_open
    assert [True, True, False, False] == [one.may_attempt(0.0, n) for n in (0, 3, 4, 5)]
    assert one.next_attempt(0.0, 4) is None
    assert (None, None) == one.room(0.0)


@pytest.mark.parametrize(
    "setback",
    [pytest.param(THROTTLED, id="throttled"), pytest.param(UNAVAILABLE, id="unavailable")],
)
def test_setback_allows_one_attempt_after_a_jittered_wait(
    setback: errors.DestinationError,
) -> None:
    """Waiting: nothing before the wait is over, and then one attempt and no second one."""
    one = after_setbacks(setback)

    due = one.not_before
    assert not one.is_open
    assert one.blocked is None
    assert 1.0 <= due <= 1.0 + 0.2
    assert [False, True, False] == [
        one.may_attempt(due - 1e-6, 0),
        one.may_attempt(due, 0),
        one.may_attempt(due, 1),
    ]


@pytest.mark.parametrize(
    "setback", [pytest.param(DENIED, id="denied"), pytest.param(NOT_FOUND, id="not found")]
)
def test_blocked_flow_tries_once_each_half_minute(setback: errors.DestinationError) -> None:
    """A human must act: the wait is the longest, without jitter, and the reason is kept."""
    one = after_setbacks(setback)

    assert setback is one.blocked
    assert 1.0 + pace.BLOCKED_WAIT_S == one.not_before
    assert not one.may_attempt(one.not_before - 1e-6, 0)
    assert one.may_attempt(one.not_before, 0)
    assert not one.may_attempt(one.not_before, 1)


@pytest.mark.parametrize(
    "setbacks",
    [
        pytest.param([THROTTLED], id="waiting"),
        pytest.param([THROTTLED] * 20, id="waiting for long"),
        pytest.param([DENIED], id="blocked"),
    ],
)
def test_progress_opens(setbacks: list[errors.DestinationError]) -> None:
    """One accepted record is enough: more than one attempt is allowed again."""
    one = after_setbacks(*setbacks)

    one.note_answer(answer(), 50.0, 1)

    assert one.is_open
    assert one.blocked is None
    assert one.may_attempt(50.0, 1)


def test_waits_start_again_after_progress() -> None:
    """The next setback after progress is the first one, with the shortest wait."""
    one = after_setbacks(*[THROTTLED] * 20)
    one.note_answer(answer(), 50.0, 1)

    one.note_setback(receipt(THROTTLED, submitted=100.0), 100.0)

    assert one.not_before <= 100.0 + 0.2


def test_throttling_ends_a_block() -> None:
    """A service that throttles has let the call in: nobody need act any more."""
    one = after_setbacks(DENIED, THROTTLED)

    assert one.blocked is None
    assert not one.is_open
    assert one.not_before <= 2.0 + 0.4


def test_lone_rejected_record_blocks_without_a_setback() -> None:
    """The destination itself may be wrong: the flow waits, longer each time none is accepted."""
    one = make()
    rejected = errors.RejectedError("InvalidArgument")

    one.note_suspect(rejected, 10.0)

    assert rejected is one.blocked
    assert not one.is_open
    assert 10.0 < one.not_before <= 10.0 + 0.2


def test_setback_receipt_says_why() -> None:
    """A receipt without a setback is no setback: our own bug."""
    with pytest.raises(AssertionError):
        make().note_setback(model.Receipt(model.Batch([], [], [], 0)), 0.0)


# --- answers that refuse everything -----------------------------------------------------------

FULL = model.Refusal(0, "ProvisionedThroughputExceededException", "shardId-000000000000")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param("ServiceUnavailableException", errors.ThrottledError, id="full"),
        pytest.param("InternalFailure", errors.UnavailableError, id="unwell"),
    ],
)
def test_answer_that_refuses_all_without_a_shard_is_a_setback(
    code: str, expected: type[errors.DestinationError]
) -> None:
    """There is nothing else that might have room: it is as if the call had failed."""
    one = make()
    refused = answer(1, (model.Refusal(0, code),))

    assert not one.note_answer(refused, 1.0, 1)

    assert isinstance(refused.setback, expected)


def test_full_shard_keeps_nothing_from_other_shards() -> None:
    """An answer of one shard's refusals leaves the flow open, and is told if it stays so."""
    one = make()
    refused = answer(1, (FULL,))

    assert not one.note_answer(refused, 1.0, 1)

    assert refused.setback is None
    assert one.is_open
    assert 1.0 == one.failing_since
    assert isinstance(one.setback, errors.ThrottledError)
    assert one.note_answer(answer(2, (FULL,)), 2.0, 1)
    assert one.setback is None


# --- refused records --------------------------------------------------------------------------


def chunk(records: int, attempts: int = 1) -> model.Chunk:
    ends = list(range(1, records + 1))
    starts = list(range(records))
    return model.Chunk("t", [b"x"] * records, starts, ends, 0, records, attempts=attempts)


def test_refused_records_with_random_keys_wait_by_their_attempts() -> None:
    """A new key finds another shard: nothing is known against that one."""
    one = make()

    dues = list(one.refused_dues([chunk(3, attempts=1)], [FULL] * 3, 10.0))

    assert [3] == [len(part) for part, _ in dues]
    assert all(10.0 <= due <= 10.0 + 0.1 + pace.REFUSAL_TICK_S for _, due in dues)


def test_refused_records_with_fixed_keys_wait_for_their_turn_at_their_shard() -> None:
    """One after the other at the shard's rate; those of another shard do not wait for them."""
    one = make(has_fixed_keys=True)
    a, b = model.Refusal(0, "T", "a"), model.Refusal(0, "T", "b")

    dues = list(one.refused_dues([chunk(5), chunk(2)], [a, a, a, b, b, a, a], 10.0))

    assert [3, 2, 2] == [len(part) for part, _ in dues]
    assert dues[0][1] <= 10.1
    assert dues[1][1] <= 10.1
    assert 13.0 == dues[2][1]  # three records at one a second
    (first, _), (second, _), _ = dues
    assert (first.end, second.start) == (3, 3)


def test_refused_records_without_a_shard_wait_by_their_attempts() -> None:
    """As with random keys."""
    one = make(has_fixed_keys=True)

    ((part, due),) = one.refused_dues([chunk(2)], [model.Refusal(0, "T")] * 2, 10.0)

    assert 2 == len(part)
    assert 10.0 <= due <= 10.1


# --- attempts that were under way together ----------------------------------------------------


def test_attempts_under_way_together_count_once() -> None:
    """Three calls that met the same outage neither wait longer nor later than one."""
    one = make()
    one.note_setback(receipt(THROTTLED, submitted=9.0), 10.0)
    due = one.not_before

    one.note_setback(receipt(THROTTLED, submitted=9.1), 10.1)
    one.note_setback(receipt(DENIED, submitted=9.9), 12.0)

    assert due == one.not_before
    assert one.blocked is None


def test_attempt_that_was_under_way_at_a_block_changes_nothing() -> None:
    """It says nothing that is newer than what blocked the flow."""
    one = make()
    rejected = errors.RejectedError("InvalidArgument")
    one.note_suspect(rejected, 10.0)
    due = one.not_before

    one.note_setback(receipt(THROTTLED, submitted=9.0), 11.0)

    assert rejected is one.blocked
    assert due == one.not_before


def test_attempt_made_after_a_setback_counts_again() -> None:
    """What was submitted when the setback was known is news."""
    one = make()
    one.note_setback(receipt(THROTTLED, submitted=9.0), 10.0)

    one.note_setback(receipt(DENIED, submitted=10.0), 12.0)

    assert DENIED is one.blocked


def test_first_setback_after_progress_counts_whenever_it_was_submitted() -> None:
    """Progress makes everything before it old: the next setback counts as the first."""
    one = make()
    one.note_setback(receipt(THROTTLED, submitted=9.0), 10.0)
    one.note_answer(answer(), 50.0, 1)

    one.note_setback(receipt(THROTTLED, submitted=9.5), 11.0)

    assert not one.is_open
    assert one.not_before >= 11.0


# --- waits ------------------------------------------------------------------------------------


@fast
@hypothesis.given(failures=st.one_of(st.integers(1, 12), st.integers(1, 10**9)))
def test_wait_after_setbacks_is_within_its_bound(failures: int) -> None:
    """Full jitter: from nothing up to a bound that doubles, and never beyond the maximum."""
    bound = min(pace.SETBACK_WAIT_MAX_S, 0.2 * 2 ** min(failures - 1, 20))

    wait_s = pace.setback_wait_s(failures)

    assert 0.0 <= wait_s <= bound


@fast
@hypothesis.given(attempts=st.one_of(st.integers(1, 12), st.integers(1, 10**9)))
def test_wait_of_a_refused_record_is_within_its_bound(attempts: int) -> None:
    """As above, but shorter: a hot shard cools down sooner than a service comes back."""
    bound = min(pace.REFUSAL_WAIT_MAX_S, 0.1 * 2 ** min(attempts - 1, 20))

    wait_s = pace.refusal_wait_s(attempts)

    assert 0.0 <= wait_s <= bound


def test_waits_are_spread() -> None:
    """A fleet that fails at one moment does not come back at one moment."""
    waits = {pace.setback_wait_s(10) for _ in range(50)}

    assert len(waits) > 40
    assert max(waits) - min(waits) > pace.SETBACK_WAIT_MAX_S / 3
