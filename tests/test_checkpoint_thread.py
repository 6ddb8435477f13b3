"""The checkpoint thread: marks tell the truth, a full disk costs nothing but time."""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import fakes
import pytest
from test_checkpoint_database import fill, small_disk
from test_checkpoint_store import example, set_pages_max, store

from kagent import checkpoint, model, system

__all__ = ["small_disk", "store"]  # fixtures

PATIENCE_S = 10.0


@dataclasses.dataclass
class Flow:
    """What a flow holds to hear from the thread."""

    reports: queue.SimpleQueue[model.Report] = dataclasses.field(default_factory=queue.SimpleQueue)
    wake: threading.Event = dataclasses.field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.listener = checkpoint.Listener(self.reports, self.wake)

    def heard(self) -> list[model.Report]:
        return [self.reports.get() for _ in range(self.reports.qsize())]


@pytest.fixture
def clock() -> fakes.FakeClock:
    return fakes.FakeClock()


@pytest.fixture
def letters() -> fakes.FakeDeadLetters:
    return fakes.FakeDeadLetters()


@pytest.fixture
def thread(
    store: checkpoint.CheckpointStore, letters: fakes.FakeDeadLetters, clock: fakes.FakeClock
) -> checkpoint.CheckpointThread:
    """A thread that does not run: the test calls its step."""
    return checkpoint.CheckpointThread(store, letters, 1.0, clock)


@pytest.fixture
def running(
    store: checkpoint.CheckpointStore, letters: fakes.FakeDeadLetters
) -> Iterator[checkpoint.CheckpointThread]:
    """A thread that runs, but by its interval alone would not save before the test ends."""
    started = checkpoint.CheckpointThread(store, letters, 3600.0, system.SystemClock())
    started.start()
    yield started
    started.stop(PATIENCE_S)


def several_pages() -> tuple[model.Checkpoint, ...]:
    """Return checkpoints that do not fit into the pages that a new database has."""
    return tuple(
        dataclasses.replace(example("a"), tail_id=f"{number:032}", paths=("/x" * 999,))
        for number in range(9)
    )


def letter(flow: str, start: int) -> model.DeadLetter:
    return model.DeadLetter(flow, "a" * 32, "/a.log", start, start + 5, "too long", b"12345")


# --- saving -----------------------------------------------------------------------------------


def test_all_flows_are_saved_together_and_told_their_own_sequence(
    thread: checkpoint.CheckpointThread, store: checkpoint.CheckpointStore
) -> None:
    """One step saves what every flow handed in; each hears of its last snapshot, once."""
    web, audit = Flow(), Flow()
    thread.submit(web.listener, model.FlowSnapshot("web", 1, (example("a", 1), example("b", 1))))
    thread.submit(web.listener, model.FlowSnapshot("web", 2, (example("a", 2),), ("b" * 32,)))
    thread.submit(audit.listener, model.FlowSnapshot("audit", 7, scanned=("/*.log",)))

    thread.step()
    thread.step()

    assert (web.heard(), audit.heard()) == ([model.Saved(2)], [model.Saved(7)])
    assert (web.wake.is_set(), audit.wake.is_set()) == (True, True)
    assert store.load("web") == ([example("a", 2)], set())
    assert store.load("audit") == ([], {"/*.log"})


def test_rebuilt_flow_hears_no_mark_of_its_predecessor(
    thread: checkpoint.CheckpointThread, store: checkpoint.CheckpointStore
) -> None:
    """A new incarnation counts from 1; sequence 900 of the old one would vouch for its future."""
    old, new = Flow(), Flow()
    thread.submit(old.listener, model.FlowSnapshot("web", 900, (example("a", 9),)))
    thread.submit(new.listener, model.FlowSnapshot("web", 1, (example("b", 1),)))

    thread.step()

    assert (old.heard(), new.heard()) == ([model.Saved(900)], [model.Saved(1)])
    assert store.load("web")[0] == [example("a", 9), example("b", 1)]


def test_failed_save_gives_no_mark_is_kept_merged_and_tried_again(
    thread: checkpoint.CheckpointThread, store: checkpoint.CheckpointStore
) -> None:
    """While the disk is full nothing is dropped and nothing is called durable."""
    web = Flow()
    thread.submit(web.listener, model.FlowSnapshot("web", 1, scanned=("/*.log",)))
    thread.step()
    set_pages_max(store, 1)
    many = several_pages()
    thread.submit(web.listener, model.FlowSnapshot("web", 2, many))
    thread.step()
    thread.submit(web.listener, model.FlowSnapshot("web", 3, forgotten=(many[0].tail_id,)))
    thread.step()
    assert web.heard() == [model.Saved(1)]

    set_pages_max(store, 1_000_000)
    thread.step()

    assert web.heard() == [model.Saved(3)]
    assert store.load("web") == (list(many[1:]), {"/*.log"})


def test_failure_is_told_when_it_changes_and_once_a_minute(
    thread: checkpoint.CheckpointThread,
    store: checkpoint.CheckpointStore,
    clock: fakes.FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two minutes of a full disk are three warnings, not 120, and a recovery is told too."""
    caplog.set_level(logging.INFO)
    set_pages_max(store, 1)
    many = several_pages()
    thread.submit(Flow().listener, model.FlowSnapshot("web", 1, many))
    for _ in range(121):
        thread.step()
        clock.now += 1.0
    store.close()
    store.open()

    thread.step()

    said = [(record.levelname, record.getMessage().split(" ", 3)[:3]) for record in caplog.records]
    assert said == [
        *[("WARNING", ["cannot", "save", "checkpoints"])] * 3,
        ("INFO", ["checkpoints", "saved", "again"]),
    ]
    assert f"tails=9 error={store.path}: database or disk is full; " in caplog.text


def test_full_disk_loses_nothing(small_disk: Path, clock: fakes.FakeClock) -> None:
    """On a real disk without a free byte: saving fails, and works again when there is room."""
    store = checkpoint.CheckpointStore(str(small_disk))
    store.open()
    thread = checkpoint.CheckpointThread(store, fakes.FakeDeadLetters(), 1.0, clock)
    web = Flow()
    fill(small_disk)
    many = tuple(
        dataclasses.replace(example("a"), tail_id=f"{number:032}") for number in range(500)
    )
    thread.submit(web.listener, model.FlowSnapshot("web", 1, many))
    thread.step()
    assert web.heard() == []

    (small_disk / "ballast").unlink()
    thread.step()

    assert web.heard() == [model.Saved(1)]
    store.close()
    store.open()
    assert store.load("web")[0] == list(many)
    store.close()


# --- dead letters -----------------------------------------------------------------------------


def test_dead_letters_are_written_by_flow_and_answered_one_by_one(
    thread: checkpoint.CheckpointThread, letters: fakes.FakeDeadLetters
) -> None:
    """A flow settles a span only after the letter is on disk: each letter is answered."""
    web, audit = Flow(), Flow()
    for flow, name, start in ((web, "web", 0), (audit, "audit", 0), (web, "web", 5)):
        thread.submit_dead_letter(flow.listener, letter(name, start))

    thread.step()

    assert letters.letters == [letter("web", 0), letter("web", 5), letter("audit", 0)]
    assert web.heard() == [
        model.DeadLettered(letter("web", 0)),
        model.DeadLettered(letter("web", 5)),
    ]
    assert audit.heard() == [model.DeadLettered(letter("audit", 0))]


def test_dead_letter_that_was_not_written_is_answered_with_the_reason(
    thread: checkpoint.CheckpointThread, letters: fakes.FakeDeadLetters
) -> None:
    """The flow keeps the record and is blocked; the thread keeps nothing."""
    web = Flow()
    letters.error = "dead-letter folder is full"
    thread.submit_dead_letter(web.listener, letter("web", 0))

    thread.step()

    assert web.heard() == [model.DeadLettered(letter("web", 0), "dead-letter folder is full")]
    assert web.wake.is_set()


# --- the thread -------------------------------------------------------------------------------


def test_urgent_snapshot_is_saved_at_once_with_all_that_waits(
    running: checkpoint.CheckpointThread,
) -> None:
    """A new file does not wait for the interval, and takes the others along."""
    web, audit = Flow(), Flow()
    running.submit(audit.listener, model.FlowSnapshot("audit", 1))
    running.submit(web.listener, model.FlowSnapshot("web", 1, is_urgent=True))

    was_woken = web.wake.wait(PATIENCE_S) and audit.wake.wait(PATIENCE_S)

    assert was_woken
    assert (web.heard(), audit.heard()) == ([model.Saved(1)], [model.Saved(1)])


def test_snapshot_is_saved_within_the_interval(
    store: checkpoint.CheckpointStore, letters: fakes.FakeDeadLetters
) -> None:
    """Without any hurry the interval alone saves."""
    thread = checkpoint.CheckpointThread(store, letters, 0.01, system.SystemClock())
    thread.start()
    web = Flow()

    thread.submit(web.listener, model.FlowSnapshot("web", 1))

    assert web.wake.wait(PATIENCE_S)
    assert thread.stop(PATIENCE_S)
    assert web.heard() == [model.Saved(1)]


def test_stop_saves_what_was_handed_in_and_ends_the_thread(
    running: checkpoint.CheckpointThread, store: checkpoint.CheckpointStore
) -> None:
    """A drain ends with everything on disk, letters too; then the store is free."""
    web = Flow()
    running.submit(web.listener, model.FlowSnapshot("web", 1, (example("a"),)))
    running.submit_dead_letter(web.listener, letter("web", 0))

    was_saved = running.stop(PATIENCE_S)

    assert (was_saved, running.is_alive()) == (True, False)
    assert web.heard() == [model.Saved(1), model.DeadLettered(letter("web", 0))]
    assert store.load("web")[0] == [example("a")]


def test_stop_says_when_not_all_could_be_saved(
    running: checkpoint.CheckpointThread, store: checkpoint.CheckpointStore
) -> None:
    """On a full disk the daemon still ends, and knows what a start will deliver again."""
    running.ask(lambda opened: set_pages_max(opened, 1), PATIENCE_S)
    many = several_pages()
    running.submit(Flow().listener, model.FlowSnapshot("web", 1, many))

    was_saved = running.stop(PATIENCE_S)

    assert (was_saved, running.is_alive()) == (False, False)


def test_nothing_is_urgent_while_the_disk_is_full(
    store: checkpoint.CheckpointStore, letters: fakes.FakeDeadLetters
) -> None:
    """A thousand new files do not make a thousand attempts: only the interval or a stop counts."""
    set_pages_max(store, 1)
    many = several_pages()
    web = Flow()
    was_in_a_hurry: list[bool] = []

    class ScriptedClock(fakes.FakeClock):
        def wait(self, event: threading.Event, timeout_s: float) -> bool:
            hurried.submit(web.listener, model.FlowSnapshot("web", 1, many, is_urgent=True))
            was_in_a_hurry.append(event.is_set())
            if len(was_in_a_hurry) == 2:
                set_pages_max(store, 1_000_000)
            if len(was_in_a_hurry) == 3:
                hurried._stopping.set()
            return event.is_set()

    hurried = checkpoint.CheckpointThread(store, letters, 1.0, ScriptedClock())

    hurried._run()

    assert was_in_a_hurry == [True, False, True]
    assert web.heard() == [model.Saved(1)] * 2


def test_hanging_disk_is_seen_from_outside(store: checkpoint.CheckpointStore) -> None:
    """The thread itself cannot warn while it hangs: `busy_since` tells, and stop gives up."""
    entered, release = threading.Event(), threading.Event()

    class HangingLetters:
        def append(self, letters: Sequence[model.DeadLetter]) -> str:
            entered.set()
            release.wait(PATIENCE_S)
            return ""

    thread = checkpoint.CheckpointThread(store, HangingLetters(), 0.01, system.SystemClock())
    thread.start()
    thread.submit_dead_letter(Flow().listener, letter("web", 0))
    assert entered.wait(PATIENCE_S)

    was_saved = thread.stop(0.01)

    assert (was_saved, thread.is_alive(), thread.busy_since is None) == (False, True, False)
    release.set()
    assert thread.stop(PATIENCE_S)
    assert thread.busy_since is None


# --- questions --------------------------------------------------------------------------------


def test_question_sees_everything_handed_in_before(running: checkpoint.CheckpointThread) -> None:
    """A rebuilt flow loads what its predecessor handed in, without waiting for the interval."""
    running.submit(Flow().listener, model.FlowSnapshot("web", 1, (example("a"),)))

    checkpoints, _ = running.ask(lambda opened: opened.load("web"), PATIENCE_S)

    assert checkpoints == [example("a")]


def fail(_: checkpoint.CheckpointStore) -> None:
    raise LookupError("no such flow")


def test_failed_question_is_its_asker_s(running: checkpoint.CheckpointThread) -> None:
    """What goes wrong is raised where it was asked, and the thread goes on."""
    with pytest.raises(LookupError, match="no such flow"):
        running.ask(fail, PATIENCE_S)

    assert running.is_alive()


def test_question_fails_while_what_came_before_cannot_be_saved(
    running: checkpoint.CheckpointThread,
) -> None:
    """An answer that leaves out what was handed in would be a lie."""
    running.ask(lambda opened: set_pages_max(opened, 1), PATIENCE_S)
    running.submit(Flow().listener, model.FlowSnapshot("web", 1, several_pages()))

    with pytest.raises(OSError, match="database or disk is full"):
        running.ask(lambda opened: opened.load("web"), PATIENCE_S)


def test_question_has_a_deadline(thread: checkpoint.CheckpointThread) -> None:
    """The main thread does not hang with the disk."""
    with pytest.raises(TimeoutError):
        thread.ask(lambda opened: opened.flows(), 0.01)


def test_two_rounds_fit_into_the_configured_interval() -> None:
    """What waits to be handed over and then to be written is durable within the interval."""
    options = checkpoint.CheckpointOptions(interval="3s")

    waits_s = [options.round_s, options.round_s]

    assert options.interval == sum(waits_s)
