"""One life of a flow: its thread, its senders, and how both end.

    running    steps, waits for a wake or for what is due next
    ending     after `stop`, or after an exception out of a step: no new attempts; answers under
               way are collected up to `drain_timeout`, settled, handed over to be saved
    ended      `estate` holds the rows and the open descriptors for the next life

Crash-only: correctness never depends on a good end; a good end only saves duplicates.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from kagent import checkpoint, config, delivery, flow, inheritance, logs, model, suspects, system

HANDLES_OF_OTHERS = 64  # database, logs, inotify, control calls, dead letters
HANDLES_MIN = 16
FACTS_WAIT_S = 10.0  # for the limits of a stream, when lines may be longer than by default


class Incarnation:
    """Runs one Flow in one thread; owned by the agent."""

    def __init__(
        self,
        settings: flow.FlowSettings,
        destination: model.Destination,
        limits: model.BatchLimits,
        files: model.Files,
        clock: model.Clock,
        checkpoints: checkpoint.CheckpointThread,
        drain_timeout_s: float,
        host: Callable[[], model.HostFacts] = model.HostFacts,
    ) -> None:
        """Build the flow and its senders; nothing runs before `start`."""
        self.settings = settings
        self.limits = limits  # of the destination, as its stream has them
        self.wake = threading.Event()
        self.failure: Exception | None = None
        self.estate = inheritance.Estate()
        self.suspects = suspects.Suspects(settings.state_dir, settings.name, clock)
        self._is_guarded = not all(stage.is_built_in for stage in settings.preprocess)
        self.flow = flow.Flow(
            settings,
            limits,
            files,
            clock,
            random.Random(),
            self._submit,
            self._save,
            self._bury,
            host,
            self.suspects,
        )
        self._clock = clock
        self._checkpoints = checkpoints
        self._drain_timeout_s = drain_timeout_s
        self._listener = checkpoint.Listener(self.flow.reports, self.wake)
        self._senders = delivery.SenderPool(
            settings.name,
            destination,
            settings.max_in_flight,
            self.flow.reports,
            self.wake,
            clock,
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"flow-{settings.name}", daemon=True
        )

    @property
    def is_alive(self) -> bool:
        """The thread has not ended."""
        return self._thread.is_alive()

    def start(self, estate: inheritance.Estate) -> None:
        """Begin with what an earlier life, or the database, knows."""
        self.estate = estate
        self._thread.start()

    def hint(self, directory: str) -> None:
        """Look at a directory now; from any thread."""
        self.flow.hints.put(directory)
        self.wake.set()

    def tell(self, facts: model.StreamFacts) -> None:
        """Let the flow know what the service says of its destination; from any thread."""
        self.flow.reports.put(facts)
        self.wake.set()

    def stop(self) -> None:
        """Begin to end; from any thread."""
        self._stopping.set()
        self.wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end, at most that long; return whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        estate, self.estate = self.estate, inheritance.Estate()
        try:
            if self._is_guarded:
                self.suspects.open()
            self.flow.open(estate)
            while not self._stopping.is_set():
                self._step_and_wait(self.flow.step())
        except Exception as error:  # noqa: BLE001 -- our bug ends this life only
            self._fail(error)
        try:
            self._wind_down()
        except Exception as error:  # noqa: BLE001 -- our bug ends this life only
            self._fail(error)
            self.estate = self.flow.roster.remains()
        self.suspects.close()

    def _step_and_wait(self, due: float) -> None:
        self._clock.wait(self.wake, max(0.0, due - self._clock.monotonic()))
        # Cleared before the next step: what is reported during it wakes the one after.
        self.wake.clear()

    def _wind_down(self) -> None:
        """Collect what is under way, and hand everything over."""
        self._senders.stop()
        self.flow.drain()
        deadline = self._clock.monotonic() + self._drain_timeout_s
        while not self.flow.is_idle and self._clock.monotonic() < deadline:
            self._step_and_wait(min(self.flow.step(), deadline))
        if self.flow.in_flight:
            logs.of_flow(self.settings.name).warning(
                "answers not awaited flow=%s calls=%d; their records may be delivered twice",
                self.settings.name,
                self.flow.in_flight,
            )
        self.estate = self.flow.close()

    def _fail(self, error: Exception) -> None:
        """Remember a bug of ours; the agent builds the flow anew."""
        self.failure = error
        logs.of_flow(self.settings.name).error(
            "flow failed flow=%s error=%s",
            self.settings.name,
            type(error).__name__,
            exc_info=error,
        )

    def _submit(self, batch: model.Batch) -> None:
        self._senders.submit(batch)

    def _save(self, snapshot: model.FlowSnapshot) -> None:
        self._checkpoints.submit(self._listener, snapshot)

    def _bury(self, letter: model.DeadLetter) -> None:
        self._checkpoints.submit_dead_letter(self._listener, letter)


def settings_of(one: config.FlowConfig, loaded: config.Config) -> flow.FlowSettings:
    """Return what a flow must know of its configuration."""
    return flow.FlowSettings(
        name=one.name,
        source=one.source,
        batch=one.batch,
        oversize=one.oversize,
        max_in_flight=one.max_in_flight,
        max_buffer_bytes=one.max_buffer,
        checkpoint_interval_s=loaded.checkpoint.round_s,
        checkpoint_ttl_s=loaded.checkpoint.ttl,
        destination=one.destination.description,
        preprocess=one.preprocess,
        on_no_match=one.on_no_match,
        state_dir=loaded.state_dir,
        rate_limit=one.rate_limit,
        facts_wait_s=FACTS_WAIT_S if one.needs_facts else 0.0,
        handles_max=_handles_max(loaded),
    )


def _handles_max(loaded: config.Config) -> int:
    """Return how many files each flow may hold open: an equal share of what others leave."""
    senders = sum(one.max_in_flight for one in loaded.flows)
    return max(
        HANDLES_MIN, (system.handles_max() - HANDLES_OF_OTHERS - senders) // len(loaded.flows)
    )
