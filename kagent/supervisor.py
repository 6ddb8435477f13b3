"""Keeps the flows of a configuration running: one incarnation each, rebuilt when it fails.

A flow that fails ends alone: its successor is built after a growing pause, from the rows in the
database and the descriptors that are still open. The others notice nothing. A changed
configuration ends the flows that it changes, all together, and builds their successors from what
they left; the others go on undisturbed.

Owned by the main thread; only `hint` may be called by others.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping

import tenacity

from kagent import (
    adoption,
    checkpoint,
    config,
    errors,
    flow,
    incarnation,
    metrics,
    model,
    roster,
)
from kagent import destinations as services
from kagent.destinations import aws

STORE_ANSWER_S = 10.0
JOIN_S = 0.5

_NOTHING = metrics.Five()
_REBUILD_WAIT = tenacity.wait_exponential(multiplier=1.0, max=60.0)
_log = logging.getLogger("kagent.agent")

MakeDestination = Callable[[services.DestinationOptions, aws.AwsOptions, int], model.Destination]


@dataclasses.dataclass(slots=True)
class _Slot:
    """A flow's place: what runs there now, or when it is built again."""

    config: config.FlowConfig
    life: incarnation.Incarnation
    failures: int = 0
    rebuild_at: float | None = None
    exported: metrics.Five = _NOTHING  # what this life's counters were when last handed out


class Supervisor:
    """All flows of the daemon."""

    def __init__(
        self,
        loaded: config.Config,
        files: model.Files,
        clock: model.Clock,
        checkpoints: checkpoint.CheckpointThread,
        make_destination: MakeDestination = services.make,
    ) -> None:
        """Build nothing yet; see `start`."""
        self._config = loaded
        self._files = files
        self._clock = clock
        self._checkpoints = checkpoints
        self._make_destination = make_destination
        self._slots: dict[str, _Slot] = {}

    def start(self, estates: Mapping[str, roster.Estate]) -> None:
        """Start every flow of the configuration with what the database knows of it."""
        for one in self._config.flows:
            self._start(one, estates[one.name])

    def supervise(self) -> None:
        """Build again what has failed, when its pause is over."""
        now = self._clock.monotonic()
        for slot in self._slots.values():
            if slot.life.is_alive:
                continue
            if slot.rebuild_at is None:
                slot.failures += 1
                self._postpone(slot, now)
            elif now >= slot.rebuild_at:
                self._rebuild(slot, now)

    def replace(self, loaded: config.Config, while_waiting: Callable[[], None]) -> int:
        """Run another configuration; return how many flows were ended for it.

        Args:
            loaded: It fits the database; see adoption.adopt.
            while_waiting: Called again and again while flows end, which takes up to drain_timeout.

        Raises:
            TimeoutError, OSError, CheckpointError: the database does not answer now; nothing has
                changed.
        """
        wanted = {one.name: one for one in loaded.flows}
        estates = {name: self._load(name) for name in wanted if name not in self._slots}
        is_all = (self._config.aws, self._config.drain_timeout) != (
            loaded.aws,
            loaded.drain_timeout,
        )
        self._config = loaded
        ending = {
            name: slot
            for name, slot in self._slots.items()
            if is_all or wanted.get(name) != slot.config
        }
        self._end(list(ending.values()), while_waiting)
        for name, slot in ending.items():
            estates[name] = slot.life.estate
            del self._slots[name]
        for name, estate in estates.items():
            if name in wanted:
                self._start(wanted[name], estate)
            else:
                self._close(estate)
        return len(ending)

    def end(self, while_waiting: Callable[[], None]) -> None:
        """Stop all flows, wait until they have, and close their files."""
        self._end(list(self._slots.values()), while_waiting)
        for slot in self._slots.values():
            self._close(slot.life.estate)

    def hint(self, directory: str) -> None:
        """Look at a directory now; from any thread."""
        for slot in list(self._slots.values()):
            if directory in slot.life.flow.roster.directories:
                slot.life.hint(directory)

    @property
    def directories(self) -> set[str]:
        """The directories that the flows' last scans looked at."""
        found: set[str] = set()
        for slot in self._slots.values():
            found |= slot.life.flow.roster.directories
        return found

    @property
    def is_ready(self) -> bool:
        """Each flow's first scan is durable; one that fails keeps nobody waiting."""
        return all(
            slot.life.flow.condition.is_ready or slot.failures for slot in self._slots.values()
        )

    @property
    def conditions(self) -> dict[str, flow.Condition]:
        """What the flows published last, by name."""
        return {name: slot.life.flow.condition for name, slot in self._slots.items()}

    def take_deltas(self) -> list[tuple[str, metrics.Five]]:
        """Return what each flow's destination did since the last call, by its metric's label."""
        deltas = []
        for slot in self._slots.values():
            five = slot.life.flow.condition.counts.five
            deltas.append((slot.config.destination.metric_label, five - slot.exported))
            slot.exported = five
        return deltas

    def _start(self, one: config.FlowConfig, estate: roster.Estate) -> None:
        slot = self._slots[one.name] = _Slot(one, self._build(one))
        slot.life.start(estate)

    def _build(self, one: config.FlowConfig) -> incarnation.Incarnation:
        loaded = self._config
        settings = flow.FlowSettings(
            name=one.name,
            source=one.source,
            batch=one.batch,
            oversize=one.oversize,
            max_in_flight=one.max_in_flight,
            max_buffer_bytes=one.max_buffer,
            checkpoint_interval_s=loaded.checkpoint.interval,
            checkpoint_ttl_s=loaded.checkpoint.ttl,
        )
        return incarnation.Incarnation(
            settings,
            self._make_destination(one.destination, loaded.aws, one.max_in_flight),
            self._files,
            self._clock,
            self._checkpoints,
            loaded.drain_timeout,
        )

    def _rebuild(self, slot: _Slot, now: float) -> None:
        """Build a flow again from the database's rows and the descriptors of the failed one."""
        try:
            estate = self._load(slot.config.name)
        except (TimeoutError, OSError, errors.CheckpointError) as error:
            _log.error("flow not built flow=%s error=%s", slot.config.name, error)
            self._postpone(slot, now)
            return
        known = {row.tail_id for row in estate.rows}
        for tail_id, (handle, base) in slot.life.estate.handles.items():
            if tail_id in known:
                estate.handles[tail_id] = (handle, base)
            else:
                self._files.close(handle)
        slot.life = self._build(slot.config)
        slot.rebuild_at = None
        slot.exported = _NOTHING
        slot.life.start(estate)

    def _postpone(self, slot: _Slot, now: float) -> None:
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = slot.failures
        pause_s = _REBUILD_WAIT(state)
        slot.rebuild_at = now + pause_s
        _log.error(
            "flow stopped flow=%s; it is built again in %.0f s, nothing is lost",
            slot.config.name,
            pause_s,
        )

    def _load(self, name: str) -> roster.Estate:
        return self._checkpoints.ask(lambda store: adoption.estate_of(store, name), STORE_ANSWER_S)

    def _end(self, slots: list[_Slot], while_waiting: Callable[[], None]) -> None:
        for slot in slots:
            slot.life.stop()
        for slot in slots:
            while not slot.life.join(JOIN_S):
                while_waiting()

    def _close(self, estate: roster.Estate) -> None:
        for handle, _ in estate.handles.values():
            self._files.close(handle)
