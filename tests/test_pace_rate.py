"""`pace.rate`: its law, its tokens, and an operator's limit."""

from __future__ import annotations

import random

import pytest

from kagent.pace import rate


def make(**ceiling: object) -> rate.Rate:
    limit = rate.RateLimit.model_validate(ceiling)
    return rate.Rate(limit, records_max=500, bytes_max=5 * 1024**2, chooser=random.Random(1))


class Service:
    """Takes `capacity` records a second, a second's worth at once, and refuses the others."""

    def __init__(self, capacity: float) -> None:
        self.capacity = self.tokens = capacity
        self.now = 0.0

    def serve(self, one: rate.Rate, seconds: int, demand: float = 1e9) -> list[int]:
        """Let a flow send what it may, 20 times a second; return what was taken each second.

        Records have 100 bytes.
        """
        taken = []
        for _ in range(seconds):
            taken.append(0)
            for _ in range(20):
                self.now += 0.05
                self.tokens = min(self.capacity, self.tokens + 0.05 * self.capacity)
                room = one.room(self.now)[0] if one.next_attempt(self.now) <= self.now else 0
                sent = int(min(demand / 20, 5000 if room is None else room))
                if sent:
                    one.spend(sent, 100 * sent)
                    refused = max(0, sent - int(self.tokens))
                    self.tokens -= sent - refused
                    one.note(sent, 100 * sent, refused, 0.01, self.now)
                    taken[-1] += sent - refused
        return taken


def test_nothing_is_limited_before_the_first_refusal() -> None:
    """A flow that is never throttled never waits."""
    one = make()

    Service(1e9).serve(one, 5)

    assert one.records is None
    assert 5.0 == one.next_attempt(5.0)
    assert (None, None) == one.room(5.0)


def test_limit_finds_the_capacity_and_stays_there() -> None:
    """Within seconds the service takes what it can, and little is refused."""
    one = make()

    service = Service(2000.0)
    service.serve(one, 5)

    taken = service.serve(one, 10)

    assert one.records is not None
    assert one.bytes is not None
    assert 1900 <= one.records <= 2400
    assert 1900 <= one.bytes / 100 <= 2400
    assert sum(taken) >= 0.9 * 20000


def test_overload_is_left_at_once() -> None:
    """When nine of ten records are refused the rate is a tenth of it a second later."""
    one = make()
    for number in range(11):
        one.note(1000, 100_000, 900, 0.01, number / 10)

    assert one.records is not None
    assert one.records < 1300


def test_what_becomes_free_is_taken_within_seconds() -> None:
    """The step doubles while nothing is refused."""
    one = make()
    service = Service(1000.0)
    service.serve(one, 10)

    service.capacity = 4000.0
    service.serve(one, 10)

    assert one.records is not None
    assert one.records > 3500


def test_limit_that_is_not_needed_grows_no_further_and_is_forgotten() -> None:
    """What is not used is no reason to allow more; after RELEASE_S there is no limit at all."""
    one = make()
    service = Service(1000.0)
    service.serve(one, 5)

    service.capacity = 1e9
    service.serve(one, 20, demand=500.0)
    assert one.records is not None
    assert one.records <= 2000
    service.serve(one, 20, demand=500.0)

    assert one.records is None


def test_operators_limit_holds_from_the_first_second() -> None:
    """At most a second's worth at once, and then as much a second."""
    one = make(records=100)

    taken = Service(1e9).serve(one, 10)

    assert 900 <= sum(taken) <= 1100
    assert max(taken) <= 200


def test_operators_limit_of_bytes_holds_for_records_of_any_size() -> None:
    """A record larger than what may go now goes alone, and is paid for before the next."""
    one = make(bytes="10KiB")
    _, room = one.room(0.0)
    assert room == 10 * 1024

    one.spend(1, 20 * 1024)

    due = one.next_attempt(0.0)
    assert 1.4 <= due <= 2.0
    assert one.next_attempt(due) == pytest.approx(due)
    assert 1 == make(bytes="1KiB", records=1).room(0.0)[0]


def test_limit_of_the_service_wins_below_the_operators() -> None:
    """And the operator's wins below the service's."""
    one = make(records=3000)

    service = Service(1000.0)
    service.serve(one, 10)
    assert one.records is not None
    assert int(one.records) == one.room(service.now + 5.0)[0]
    service.capacity = 1e9
    service.serve(one, 60)

    assert 3000 == one.room(service.now + 5.0)[0]
