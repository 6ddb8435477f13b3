"""`pace.concurrency`: as many attempts at once as help, and no more."""

from __future__ import annotations

from kagent.pace import concurrency


def serve(one: concurrency.Concurrency, width: int, answers: int, start: float = 0.0) -> float:
    """Let a service that serves `width` calls at once, 50 ms each, answer; return the time."""
    now = start
    for _ in range(answers):
        taken_s = 0.05 * max(1.0, one.limit / width)
        one.note_answer(100_000, now, now + taken_s, one.limit)
        now += taken_s / one.limit
    return now


def test_number_grows_to_the_most_when_answers_stay_fast() -> None:
    """A service that is wide enough is used as far as the flow allows."""
    one = concurrency.Concurrency(16)
    assert concurrency.START == one.limit

    serve(one, 100, 100)

    assert 16 == one.limit


def test_number_never_exceeds_the_most() -> None:
    """With max_in_flight 1 there is one, whatever happens."""
    one = concurrency.Concurrency(1)

    serve(one, 100, 10)
    one.note_setback(0.0, 1.0)

    assert 1 == one.limit


def test_number_stays_where_more_would_only_wait() -> None:
    """A service that serves 4 at once is not asked 64 times at once."""
    one = concurrency.Concurrency(64)

    serve(one, 4, 500)

    assert 4 <= one.limit <= 4 * concurrency.SLOW_RATIO + 4


def test_number_shrinks_when_answers_become_slow() -> None:
    """To a few, soon; what stays slow for minutes is the new measure."""
    one = concurrency.Concurrency(16)
    now = serve(one, 100, 100)

    for _ in range(20):
        one.note_answer(100_000, now, now + 1.0, one.limit)
        now += 1.0

    assert one.limit <= 4


def test_attempts_that_were_under_way_together_shrink_it_once() -> None:
    """Sixteen calls that met one slow moment say the same."""
    one = concurrency.Concurrency(16)
    serve(one, 100, 100)

    for _ in range(16):
        one.note_setback(100.0, 130.0)

    assert 8 == one.limit


def test_large_requests_are_compared_with_large_ones() -> None:
    """A large one takes longer, and is not slow for it."""
    one = concurrency.Concurrency(16)

    for number in range(200):
        size, taken_s = ((1000, 0.01), (5_000_000, 1.0))[number % 2]
        one.note_answer(size, float(number), number + taken_s, one.limit)

    assert 16 == one.limit


def test_few_attempts_are_no_reason_for_more() -> None:
    """It grows only when the number is what holds the flow back."""
    one = concurrency.Concurrency(16)

    for number in range(100):
        one.note_answer(1000, float(number), number + 0.01, 1)

    assert concurrency.START == one.limit
