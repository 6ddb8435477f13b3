"""The thread that owns the store: it saves what the flows hand in and tells them what is durable.

Messages come in by one queue; what became of them is told to the listener that came with them. The
thread fails no one: an error is logged and the same snapshots are tried again.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from kagent import errors, model
from kagent.checkpoint import rows, store

_LOG = logging.getLogger(__name__)
_REPEAT_WARNING_S = 60.0
_Value = TypeVar("_Value")


class DeadLetterWriter(Protocol):
    """Where dead letters go: deadletter.DeadLetters, or a test's list."""

    def append(self, letters: Sequence[model.DeadLetter]) -> str:
        """Put all letters on disk and return an empty text, or none of them and return why."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """Where a flow hears what became of what it handed in.

    A rebuilt flow has a new one, so a mark of its predecessor cannot be taken for its own.
    """

    reports: queue.SimpleQueue[model.Report]
    wake: threading.Event

    def report(self, *reports: model.Report) -> None:
        """Put reports into the flow's queue and wake it."""
        for report in reports:
            self.reports.put(report)
        self.wake.set()


class CheckpointThread:
    """Saves what the flows hand in, once an interval, and tells each flow what is durable.

    Owns the store and the dead letters from `start` until it has ended. All other methods may be
    called by any thread: they only put a message into the inbox. Nothing here waits for a flow.
    """

    def __init__(
        self,
        store: store.CheckpointStore,
        dead_letters: DeadLetterWriter,
        interval_s: float,
        clock: model.Clock,
    ) -> None:
        self.busy_since: float | None = None  # monotonic; an old one tells of a hanging disk
        self._store = store
        self._dead_letters = dead_letters
        self._interval_s = interval_s
        self._clock = clock
        self._inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._pending: list[model.FlowSnapshot] = []
        self._marks: dict[Listener, int] = {}  # the sequence to report after the next save
        self._failure: _Failure | None = None
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)

    def start(self) -> None:
        """Take the open store over and begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Save everything handed in, end the thread, and return whether all of it was saved.

        The store may be closed only when `is_alive` is False: a thread that hangs keeps it.
        """
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._pending

    def is_alive(self) -> bool:
        """Return whether the thread runs; when it does not, nothing is saved any more."""
        return self._thread.is_alive()

    def submit(self, listener: Listener, snapshot: model.FlowSnapshot) -> None:
        """Save a flow's snapshot within the interval, or at once if it is urgent; report Saved.

        The inbox has no bound of its own: a flow waits for the mark of one snapshot before it
        hands in the next, urgent ones excepted, so that a hanging disk does not fill the memory.
        """
        self._inbox.put((listener, snapshot))
        if snapshot.is_urgent:
            self._wake.set()

    def submit_dead_letter(self, listener: Listener, letter: model.DeadLetter) -> None:
        """Write a dead letter within the interval; report DeadLettered, with or without error."""
        self._inbox.put((listener, letter))

    def ask(self, question: Callable[[store.CheckpointStore], _Value], timeout_s: float) -> _Value:
        """Return what `question` finds or does in the store, everything handed in being saved.

        For a reload or a rebuilt flow, which load, describe, adopt or forget while others run.

        Raises:
            TimeoutError: the disk hangs; the question may still be answered.
            OSError, CheckpointError: what was handed in before cannot be saved now.
        """
        asked = _Question(question, concurrent.futures.Future())
        self._inbox.put(asked)
        self._wake.set()
        answer: _Value = asked.answer.result(timeout_s)
        return answer

    def step(self) -> None:
        """Take in, save, answer: one round of the thread, which a test may call instead."""
        self.busy_since = self._clock.monotonic()
        letters, questions = self._take_in()
        if self._pending:
            self._save()
        for listener, letters_of_flow in letters.items():
            error = self._dead_letters.append(letters_of_flow)
            listener.report(*(model.DeadLettered(letter, error) for letter in letters_of_flow))
        for question in questions:
            self._reply(question)
        self.busy_since = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            # After a failure nothing is urgent: a full disk is tried once an interval.
            self._clock.wait(self._stopping if self._failure else self._wake, self._interval_s)
            self._wake.clear()
            self.step()
        self.step()

    def _take_in(self) -> tuple[dict[Listener, list[model.DeadLetter]], list[_Question]]:
        letters: dict[Listener, list[model.DeadLetter]] = {}
        questions: list[_Question] = []
        for _ in range(self._inbox.qsize()):
            match self._inbox.get():
                case (listener, model.FlowSnapshot() as snapshot):
                    self._pending.append(snapshot)
                    self._marks[listener] = snapshot.sequence
                case (listener, model.DeadLetter() as letter):
                    letters.setdefault(listener, []).append(letter)
                case question:
                    questions.append(question)
        return letters, questions

    def _save(self) -> None:
        """Write everything pending in one transaction; what fails stays pending, merged."""
        self._pending = rows.merge_snapshots(self._pending)
        try:
            self._store.write(self._pending)
        except (OSError, errors.CheckpointError) as error:
            self._note_failure(error)
            return
        self._pending = []
        for listener, sequence in self._marks.items():
            listener.report(model.Saved(sequence))
        self._marks.clear()
        if self._failure:
            _LOG.info("checkpoints saved again path=%s", self._store.path)
            self._failure = None

    def _note_failure(self, error: Exception) -> None:
        """Warn when the reason changed, then once a minute."""
        now = self._clock.monotonic()
        is_new = self._failure is None or str(self._failure.error) != str(error)
        if self._failure and not is_new and now < self._failure.warned + _REPEAT_WARNING_S:
            return
        self._failure = _Failure(error, now)
        tails = sum(len(snapshot.checkpoints) for snapshot in self._pending)
        _LOG.warning(
            "cannot save checkpoints tails=%d error=%s; shipping goes on and saving is tried"
            " again, but no new file begins, and a crash now would deliver lines again",
            tails,
            error,
        )

    def _reply(self, question: _Question) -> None:
        if self._failure:  # what was handed in before is not in the store
            question.answer.set_exception(self._failure.error)
            return
        try:
            question.answer.set_result(question.ask(self._store))
        except Exception as error:  # noqa: BLE001 -- it is raised where the question was asked
            question.answer.set_exception(error)


@dataclasses.dataclass(frozen=True, slots=True)
class _Question:
    ask: Callable[[store.CheckpointStore], Any]
    answer: concurrent.futures.Future[Any]


@dataclasses.dataclass(frozen=True, slots=True)
class _Failure:
    error: Exception
    warned: float  # monotonic time of the last warning


_Message = tuple[Listener, model.FlowSnapshot] | tuple[Listener, model.DeadLetter] | _Question
