"""The sender threads of one flow: each takes a batch, makes one attempt, and reports.

Nothing is retried here. A sender that repeated its refused records would fill all slots with
remainders of one hot shard; they go back to the flow, which fills later calls with them. Nothing
is lost here either: every batch that was submitted comes back in exactly one receipt.

    submit ─► batches ─► sender ─► destination.put ─► reports, wake ─► the flow

Threads share queues and one event only. `submit` and `stop` are called by the flow's thread.
"""

from __future__ import annotations

import queue
import threading

from kagent import errors, logs, metrics, model

_BUG = "a bug of kagent: please report it, with the traceback that the log shows before this"


class SenderPool:
    """Owns up to `max_in_flight` threads, started when all others are busy.

    They are daemon threads: a call that hangs must not keep the process from ending.
    """

    def __init__(
        self,
        name: str,
        destination: model.Destination,
        max_in_flight: int,
        reports: queue.SimpleQueue[model.Report],
        wake: threading.Event,
        clock: model.Clock,
    ) -> None:
        self._name = name
        self._log = logs.of_flow(name)
        self._destination = destination
        self._max_in_flight = max_in_flight
        self._reports = reports
        self._wake = wake
        self._clock = clock
        self._batches: queue.SimpleQueue[model.Batch | None] = queue.SimpleQueue()
        self._idle: queue.SimpleQueue[None] = queue.SimpleQueue()  # an entry: a sender got free
        self._threads: list[threading.Thread] = []
        self._is_stopping = False
        self._logged: set[str] = set()  # the types of our own bugs that have shown a traceback

    def submit(self, batch: model.Batch) -> None:
        """Hand over a batch for one attempt; its receipt arrives on `reports`."""
        if self._is_stopping:
            self._give_back(batch)
            return
        self._batches.put(batch)
        try:
            self._idle.get_nowait()
        except queue.Empty:
            if len(self._threads) < self._max_in_flight:
                self._start_thread()

    def stop(self) -> None:
        """Begin no more attempts and return at once.

        Batches that no sender had begun come back with a setback of code 'Stopping'; attempts
        under way go on to their receipts.
        """
        self._is_stopping = True
        while True:
            try:
                batch = self._batches.get_nowait()
            except queue.Empty:
                break
            if batch is not None:
                self._give_back(batch)
        for _ in self._threads:
            self._batches.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for attempts under way, at most that long; return whether all have ended."""
        deadline = self._clock.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _start_thread(self) -> None:
        name = f"send-{self._name}-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run(self) -> None:
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        """Deliver one batch; return False when there will be no more.

        A function of its own, so that a thread that waits for work holds no batch in a variable.
        """
        batch = self._batches.get()
        if batch is None:
            return False
        if self._is_stopping:
            self._give_back(batch)
            return True
        receipt = self._attempt(batch)
        self._idle.put(None)  # before the report: the flow may answer it with the next batch
        self._report(receipt)
        return True

    def _attempt(self, batch: model.Batch) -> model.Receipt:
        submitted = self._clock.monotonic()
        try:
            receipt = self._destination.put(batch)
        except Exception as error:  # noqa: BLE001 -- whatever our bug is, the batch must come back
            self._log_bug(error)
            setback = errors.UnavailableError(type(error).__name__, str(error), _BUG)
            receipt = model.Receipt(batch, setback=setback, is_ambiguous=True)
        receipt.submitted = submitted
        receipt.received = self._clock.monotonic()
        self._say(receipt)
        return receipt

    def _give_back(self, batch: model.Batch) -> None:
        setback = errors.UnavailableError(metrics.STOPPING, "the attempt was not begun")
        now = self._clock.monotonic()
        self._report(model.Receipt(batch, setback=setback, submitted=now, received=now))

    def _report(self, receipt: model.Receipt) -> None:
        self._reports.put(receipt)
        self._wake.set()

    def _say(self, receipt: model.Receipt) -> None:
        setback = receipt.setback
        self._log.debug(
            "call ended flow=%s records=%d bytes=%d refused=%d ms=%.0f error=%s",
            self._name,
            len(receipt.batch.records),
            receipt.batch.size_bytes,
            len(receipt.refused),
            1000 * (receipt.received - receipt.submitted),
            setback.code if setback else "none",
        )

    def _log_bug(self, error: Exception) -> None:
        kind = type(error).__name__
        if kind not in self._logged:
            self._logged.add(kind)
            self._log.error("sender failed flow=%s error=%s", self._name, kind, exc_info=error)
