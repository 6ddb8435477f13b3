from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from kagent import delivery, errors, metrics, model

PATIENCE_S = 10.0  # for a thread to do what it certainly does


class Ticks:
    """A clock that goes on by one second at each look."""

    def __init__(self) -> None:
        self._count = itertools.count(1)

    def monotonic(self) -> float:
        return float(next(self._count))

    def time(self) -> float:
        return 0.0

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)


class Gate:
    """A destination whose calls wait until they are let through."""

    limits = model.BatchLimits(500, 1000, 1000, has_partition_keys=False)

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[tuple[model.Batch, str]] = queue.SimpleQueue()
        self.passes = threading.Semaphore(0)

    def put(self, batch: model.Batch) -> model.Receipt:
        self.begun.put((batch, threading.current_thread().name))
        assert self.passes.acquire(timeout=PATIENCE_S)
        return model.Receipt(batch)

    def let_through(self, calls: int) -> None:
        self.passes.release(calls)


class Broken:
    """A destination with a bug of ours."""

    limits = Gate.limits

    def put(self, batch: model.Batch) -> model.Receipt:
        raise ZeroDivisionError("ours")


class Rig:
    """A pool, and what a flow sees of it."""

    def __init__(self, destination: model.Destination, max_in_flight: int) -> None:
        self.reports: queue.SimpleQueue[model.Report] = queue.SimpleQueue()
        self.wake = threading.Event()
        self.pool = delivery.SenderPool(
            "web", destination, max_in_flight, self.reports, self.wake, Ticks()
        )

    def receipts(self, count: int) -> list[model.Receipt]:
        found = [self.reports.get(timeout=PATIENCE_S) for _ in range(count)]
        return [report for report in found if isinstance(report, model.Receipt)]


def batch(name: str) -> model.Batch:
    return model.Batch([name.encode()], [], [], len(name))


def names(receipts: list[model.Receipt]) -> list[str]:
    return sorted(receipt.batch.records[0].decode() for receipt in receipts)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.let_through(100)


@pytest.fixture
def make_rig() -> Iterator[Callable[[model.Destination, int], Rig]]:
    rigs: list[Rig] = []

    def make(destination: model.Destination, max_in_flight: int) -> Rig:
        rigs.append(Rig(destination, max_in_flight))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.pool.stop()


def test_each_batch_comes_back_in_one_stamped_receipt(
    gate: Gate, make_rig: Callable[..., Rig]
) -> None:
    """The destination's receipt arrives with the times of the attempt, and wakes the flow."""
    rig = make_rig(gate, 2)
    sent = batch("a")
    gate.let_through(1)

    rig.pool.submit(sent)
    (receipt,) = rig.receipts(1)

    assert receipt.batch is sent
    assert receipt.setback is None
    assert 0 < receipt.submitted < receipt.received
    assert rig.wake.wait(PATIENCE_S)
    assert rig.reports.empty()


def test_a_thread_is_started_only_when_all_others_are_busy(
    gate: Gate, make_rig: Callable[..., Rig]
) -> None:
    """One batch after the other keeps one thread; calls at the same time need more."""
    rig = make_rig(gate, 3)

    gate.let_through(2)
    for name in ("a", "b"):
        rig.pool.submit(batch(name))
        rig.receipts(1)
    alone = {gate.begun.get(timeout=PATIENCE_S)[1] for _ in range(2)}
    for name in ("c", "d"):
        rig.pool.submit(batch(name))
    together = {gate.begun.get(timeout=PATIENCE_S)[1] for _ in range(2)}

    assert alone == {"send-web-1"}
    assert together == {"send-web-1", "send-web-2"}


def test_no_more_calls_than_allowed_are_in_flight(
    gate: Gate, make_rig: Callable[..., Rig]
) -> None:
    """Further batches wait their turn, in order, and are delivered by the same threads."""
    rig = make_rig(gate, 2)

    for name in "abcde":
        rig.pool.submit(batch(name))
    begun = [gate.begun.get(timeout=PATIENCE_S) for _ in range(2)]
    is_full = gate.begun.empty()
    gate.let_through(5)
    receipts = rig.receipts(5)
    begun += [gate.begun.get(timeout=PATIENCE_S) for _ in range(3)]

    assert is_full
    assert names(receipts) == list("abcde")
    assert {thread for _, thread in begun} == {"send-web-1", "send-web-2"}


def test_stopping_gives_back_what_was_not_begun(gate: Gate, make_rig: Callable[..., Rig]) -> None:
    """The attempt under way ends in its own receipt; the others come back without a call."""
    rig = make_rig(gate, 1)
    for name in "abc":
        rig.pool.submit(batch(name))
    gate.begun.get(timeout=PATIENCE_S)

    rig.pool.stop()
    given_back = rig.receipts(2)
    rig.pool.submit(batch("late"))
    given_back += rig.receipts(1)
    gate.let_through(1)
    finished = rig.receipts(1)

    assert names(given_back) == ["b", "c", "late"]
    assert {receipt.setback.code for receipt in given_back if receipt.setback} == {
        metrics.STOPPING
    }
    assert not any(receipt.is_ambiguous for receipt in given_back)
    assert (names(finished), finished[0].setback) == (["a"], None)
    assert rig.pool.join(PATIENCE_S)
    assert gate.begun.empty()


def test_a_sender_that_comes_late_begins_nothing(gate: Gate, make_rig: Callable[..., Rig]) -> None:
    """A batch that a sender takes while the pool is being stopped is given back as well."""
    rig = make_rig(gate, 1)
    rig.pool.submit(batch("a"))
    rig.pool.submit(batch("b"))
    gate.begun.get(timeout=PATIENCE_S)

    rig.pool._is_stopping = True  # stop() has come this far, and has not yet looked at the queue
    gate.let_through(2)
    finished, given_back = rig.receipts(2)

    assert (names([finished]), finished.setback) == (["a"], None)
    assert given_back.setback is not None
    assert given_back.setback.code == metrics.STOPPING
    assert gate.begun.empty()


def test_joining_does_not_wait_for_ever(gate: Gate, make_rig: Callable[..., Rig]) -> None:
    """A call that hangs is left behind; the thread is a daemon and cannot hold the process."""
    rig = make_rig(gate, 1)
    rig.pool.submit(batch("a"))
    gate.begun.get(timeout=PATIENCE_S)
    rig.pool.stop()

    is_done = rig.pool.join(0.5)
    senders = [thread for thread in threading.enumerate() if thread.name == "send-web-1"]

    assert not is_done
    assert all(thread.daemon for thread in senders)


def test_a_pool_that_sent_nothing_stops_at_once(gate: Gate, make_rig: Callable[..., Rig]) -> None:
    """Stopping twice, and joining without threads, are harmless."""
    rig = make_rig(gate, 4)

    rig.pool.stop()
    rig.pool.stop()

    assert rig.pool.join(0)
    assert rig.reports.empty()


def test_each_call_is_said_at_level_debug(
    gate: Gate, make_rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    """How much went out, how long it took, and what came of it; at level info nothing is said."""
    gate.let_through(2)
    rig, broken = make_rig(gate, 1), make_rig(Broken(), 1)

    for level in (logging.INFO, logging.DEBUG):
        with caplog.at_level(level, "kagent.flow.web"):
            rig.pool.submit(batch("abc"))
            rig.receipts(1)
    with caplog.at_level(logging.DEBUG, "kagent.flow.web"):
        broken.pool.submit(batch("abc"))
        broken.receipts(1)

    assert [
        f"call ended flow=web records=1 bytes=3 refused=0 ms=1000 error={error}"
        for error in ("none", "ZeroDivisionError")
    ] == [one.getMessage() for one in caplog.records if one.levelno == logging.DEBUG]


def test_our_own_bug_loses_no_batch(
    make_rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    """The batch comes back as unavailable and ambiguous; the traceback is logged once."""
    rig = make_rig(Broken(), 1)

    with caplog.at_level(logging.ERROR):
        for name in ("a", "b"):
            rig.pool.submit(batch(name))
        receipts = rig.receipts(2)

    assert names(receipts) == ["a", "b"]
    for receipt in receipts:
        assert type(receipt.setback) is errors.UnavailableError
        assert (receipt.setback.code, receipt.is_ambiguous) == ("ZeroDivisionError", True)
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is not None
