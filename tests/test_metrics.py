from __future__ import annotations

import dataclasses

import pytest

from kagent import errors, metrics, model


def batch(*records: bytes) -> model.Batch:
    return model.Batch(list(records), ["some key"] * len(records), [], 0)


def test_a_completed_call_counts_each_record_by_its_fate() -> None:
    """Accepted records and their bytes, without keys, and refused ones are told apart."""
    counters = metrics.FlowCounters()
    refused = (model.Refusal(0, "ProvisionedThroughputExceededException"),)

    counters.count_receipt(model.Receipt(batch(b"1", b"22", b"333"), refused))

    assert counters.five == metrics.Five(
        bytes_sent=5,
        record_send_attempts=3,
        records_sent=2,
        record_send_errors=1,
        service_errors=0,
        calls=1,
    )
    assert (counters.throttled_records, counters.ambiguous_records) == (1, 0)


def test_a_failed_call_is_one_service_error() -> None:
    """As in the Java agent, its records are attempts but no record errors."""
    counters = metrics.FlowCounters()
    setback = errors.ThrottledError("ProvisionedThroughputExceededException")

    counters.count_receipt(model.Receipt(batch(b"1", b"22"), setback=setback))

    expected = metrics.Five(record_send_attempts=2, service_errors=1, calls=1)
    assert counters.five == expected
    assert (counters.throttled_calls, counters.ambiguous_calls) == (1, 0)


def test_what_may_arrive_twice_is_counted() -> None:
    """Lost answers make all their records ambiguous, an InternalFailure makes one."""
    counters = metrics.FlowCounters()
    lost = errors.UnavailableError("ReadTimeoutError")
    internal = (model.Refusal(1, "InternalFailure"),)

    counters.count_receipt(model.Receipt(batch(b"1", b"2"), setback=lost, is_ambiguous=True))
    counters.count_receipt(model.Receipt(batch(b"1", b"2"), internal))

    assert (counters.ambiguous_calls, counters.ambiguous_records) == (1, 3)
    assert (counters.throttled_calls, counters.throttled_records) == (0, 0)


def test_an_attempt_that_was_not_begun_is_no_call() -> None:
    """A batch that comes back because the senders stop leaves no trace in the counters."""
    counters = metrics.FlowCounters()
    setback = errors.UnavailableError(metrics.STOPPING)

    counters.count_receipt(model.Receipt(batch(b"1"), setback=setback))

    assert counters == metrics.FlowCounters()


def test_the_books_balance() -> None:
    """Read bytes are delivered, dropped, dead-lettered or buffered; abandoned ones stand apart."""
    counters = metrics.FlowCounters(
        read_bytes=100,
        delivered_bytes=60,
        dropped_bytes=10,
        dead_lettered_bytes=5,
        abandoned_bytes=1000,
    )

    counters.check_balance(25)

    assert counters.snapshot().buffered_bytes == 25
    with pytest.raises(AssertionError, match="read_bytes=100"):
        counters.check_balance(24)


def test_a_snapshot_stays_as_it_was() -> None:
    """Other threads get every counter, in a copy that later counting does not touch."""
    counters = metrics.FlowCounters(
        **{
            field.name: number
            for number, field in enumerate(dataclasses.fields(metrics.FlowCounters))
            if field.name != "five"
        }
    )

    snapshot = counters.snapshot()
    before = dataclasses.asdict(counters)
    counters.read_bytes += 1

    assert dataclasses.asdict(snapshot) == before


def test_fives_add_and_subtract() -> None:
    """A delta is a difference of two readings, and a kept one is a sum."""
    early, late = metrics.Five(1, 2, 3, 4, 5, 6), metrics.Five(10, 20, 30, 40, 50, 60)

    delta = late - early

    assert delta == metrics.Five(9, 18, 27, 36, 45, 54)
    assert early + delta == late
