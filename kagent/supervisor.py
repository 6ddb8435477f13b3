"""Keeps the flows of a configuration running: one incarnation each, rebuilt when it fails.

A flow that fails ends alone: its successor is built after a growing pause, from the rows in the
database and the descriptors that are still open. The others notice nothing. A changed
configuration ends the flows that it changes, all together, and builds their successors from what
they left; the others go on undisturbed.

Owned by the main thread; only `hint` may be called by others.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

import tenacity

from kagent import (
    adoption,
    checkpoint,
    config,
    errors,
    flow,
    incarnation,
    inheritance,
    logs,
    losses,
    metrics,
    model,
    stream_facts,
    suspects,
)
from kagent import destinations as services
from kagent.destinations import aws

STORE_ANSWER_S = 10.0
JOIN_S = 0.5
HANGING_S = 5.0  # beyond drain_timeout

_NOTHING = metrics.Five()
_REBUILD_WAIT = tenacity.wait_exponential(multiplier=1.0, max=60.0)
_Value = TypeVar("_Value")

MakeDestination = Callable[[services.DestinationOptions, aws.AwsOptions, int], model.Destination]


@dataclasses.dataclass(slots=True)
class _Slot:
    """A flow's place: what runs there now, and what comes after it."""

    config: config.FlowConfig | None  # of this life's successor; None: there will be none
    life: incarnation.Incarnation
    label: str  # of the destination's metrics
    is_ending: bool = False  # on purpose: its end is no failure
    failures: int = 0
    rebuild_at: float | None = None
    exported: metrics.Five = _NOTHING  # what this life's counters were when last handed out


@dataclasses.dataclass(frozen=True, slots=True)
class Replaced:
    """How many flows another configuration began, ended for a successor, and ended for good."""

    added: int
    changed: int
    removed: int


class Supervisor:
    """All flows of the daemon."""

    def __init__(
        self,
        loaded: config.Config,
        files: model.Files,
        clock: model.Clock,
        checkpoints: checkpoint.CheckpointThread,
        make_destination: MakeDestination = services.make,
        *,
        host: Callable[[], model.HostFacts] = model.HostFacts,
    ) -> None:
        """Build nothing yet; see `start`."""
        self._config = loaded
        self._files = files
        self._clock = clock
        self._checkpoints = checkpoints
        self._make_destination = make_destination
        self._host = host
        self._slots: dict[str, _Slot] = {}
        self._deltas: list[tuple[str, metrics.Five]] = []  # of lives that have ended
        self._facts: dict[str, model.StreamFacts] = {}  # by flow, as last told

    def start(self, estates: Mapping[str, inheritance.Estate]) -> None:
        """Start every flow of the configuration with what the database knows of it."""
        for one in self._config.flows:
            self._start(one, estates[one.name])

    def supervise(self) -> None:
        """Build again what has failed, when its pause is over."""
        now = self._clock.monotonic()
        for name, slot in list(self._slots.items()):
            if slot.life.is_alive:
                continue
            if slot.is_ending:
                self._succeed(name, slot)
            elif slot.rebuild_at is None:
                slot.failures += 1
                self._postpone(name, slot, now)
            elif now >= slot.rebuild_at:
                self._succeed(name, slot)

    def replace(self, loaded: config.Config, while_waiting: Callable[[], None]) -> Replaced:
        """Run another configuration; return how many flows that concerned.

        A flow is ended before the database gives its rows to another name, so that its last rows
        go along; its open descriptors go along, too.

        Args:
            loaded: The configuration.
            while_waiting: Called again and again while flows end.

        Raises:
            ConfigError: it does not fit the flows that the database knows; nothing has changed.
            TimeoutError, OSError, CheckpointError: the database does not answer now; what was
                ended is started again as it was.
        """
        found = self._ask(lambda store: adoption.plan(loaded, store))
        wanted = {one.name: one for one in loaded.flows}
        is_all = self._config.drain_timeout != loaded.drain_timeout
        ending = {
            name: slot
            for name, slot in self._slots.items()
            if is_all or wanted.get(name) != slot.config
        }
        self._end(ending, while_waiting)
        estates = self._ask(lambda store: adoption.take_over(found, loaded, store))
        self._config = loaded
        for old, new in found.adoptions:  # the successor of `old` is called `new`
            if old in self._slots:
                self._slots[new] = self._slots.pop(old)
        for name, slot in self._slots.items():
            slot.config = wanted.get(name)
        removed = sum(slot.config is None for slot in ending.values())
        self.supervise()
        added = [one for name, one in wanted.items() if name not in self._slots]
        for one in added:
            self._start(one, estates[one.name])
        return Replaced(len(added), len(ending) - removed, removed)

    def end(self, while_waiting: Callable[[], None]) -> None:
        """Stop all flows, and close the files of those that have ended."""
        self._end(self._slots, while_waiting)
        for name, slot in self._slots.items():
            if not slot.life.is_alive:
                self._close(name, slot.life.estate, is_over=False)

    def tell(self, name: str, facts: model.StreamFacts) -> None:
        """Take in what the service says of a flow's destination.

        A flow is built for the limits of its stream: when those change it is ended, and its
        successor is built for the new ones.
        """
        slot = self._slots.get(name)
        self._facts[name] = facts
        if slot is None or slot.config is None:
            return
        limits = stream_facts.limits_with(slot.config.destination.limits, facts)
        if limits == slot.life.limits or not slot.life.is_alive:
            slot.life.tell(facts)
        elif not slot.is_ending:
            slot.is_ending = True
            slot.life.stop()

    def hint(self, directory: str) -> None:
        """Look at a directory now; from any thread."""
        for slot in list(self._slots.values()):
            if directory in slot.life.flow.roster.directories:
                slot.life.hint(directory)

    @property
    def calls(self) -> dict[str, suspects.Call]:
        """The calls of preprocessors that have not returned, by flow."""
        found = [(name, slot.life.suspects.call) for name, slot in self._slots.items()]
        return {name: call for name, call in found if call is not None}

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
        for slot in self._slots.values():
            self._note_delta(slot)
        deltas, self._deltas = self._deltas, []
        return deltas

    def _note_delta(self, slot: _Slot) -> None:
        five = slot.life.flow.condition.counts.five
        self._deltas.append((slot.label, five - slot.exported))
        slot.exported = five

    def _start(self, one: config.FlowConfig, estate: inheritance.Estate) -> None:
        facts = self._facts.get(one.name)
        life = self._build(one, facts or model.StreamFacts())
        if facts is not None:
            life.tell(facts)
        self._slots[one.name] = _Slot(one, life, one.destination.metric_label)
        life.start(estate)

    def _succeed(self, name: str, slot: _Slot) -> None:
        """Start the successor of a life that has ended, or clear its place."""
        try:
            estate = slot.life.estate
            if slot.life.failure is not None and slot.config is not None:
                estate = self._salvage(name, estate)
        except (TimeoutError, OSError, errors.CheckpointError) as error:
            logs.of_flow(name).error("flow not built flow=%s error=%s", name, error)
            self._postpone(name, slot, self._clock.monotonic())
            return
        self._note_delta(slot)
        del self._slots[name]
        if slot.config is None:
            self._close(name, estate, is_over=True)
            return
        self._start(slot.config, estate)
        self._slots[name].failures = slot.failures

    def _salvage(self, name: str, left: inheritance.Estate) -> inheritance.Estate:
        """Return what goes on after a failure: the database's rows, the open descriptors."""
        estate = self._load(name)
        known = {row.tail_id for row in estate.rows}
        for tail_id, (handle, base) in left.handles.items():
            if tail_id in known:
                estate.handles[tail_id] = (handle, base)
            else:
                self._files.close(handle)
        left.handles.clear()
        return estate

    def _build(self, one: config.FlowConfig, facts: model.StreamFacts) -> incarnation.Incarnation:
        loaded = self._config
        return incarnation.Incarnation(
            incarnation.settings_of(one, loaded),
            self._make_destination(one.destination, one.destination.aws, one.max_in_flight),
            stream_facts.limits_with(one.destination.limits, facts),
            self._files,
            self._clock,
            self._checkpoints,
            loaded.drain_timeout,
            self._host,
        )

    def _postpone(self, name: str, slot: _Slot, now: float) -> None:
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = slot.failures
        pause_s = _REBUILD_WAIT(state)
        slot.rebuild_at = now + pause_s
        slot.is_ending = False
        logs.of_flow(name).error(
            "flow stopped flow=%s; it is built again in %.0f s", name, pause_s
        )

    def _load(self, name: str) -> inheritance.Estate:
        return self._ask(lambda store: adoption.estate_of(store, name))

    def _ask(self, question: Callable[[checkpoint.CheckpointStore], _Value]) -> _Value:
        return self._checkpoints.ask(question, STORE_ANSWER_S)

    def _end(self, slots: Mapping[str, _Slot], while_waiting: Callable[[], None]) -> None:
        """Tell flows to end and wait for them; one that hangs is succeeded when it has ended."""
        for slot in slots.values():
            slot.is_ending = True
            slot.life.stop()
        end = self._clock.monotonic() + self._config.drain_timeout + HANGING_S
        for name, slot in slots.items():
            while not slot.life.join(JOIN_S):
                while_waiting()
                if self._clock.monotonic() > end:
                    logs.of_flow(name).error(
                        "flow does not end flow=%s; it hangs in the file system, its successor "
                        "waits for it",
                        name,
                    )
                    break

    def _close(self, name: str, estate: inheritance.Estate, *, is_over: bool) -> None:
        """Close files for good, and say of which deleted ones something was not shipped."""
        rows = {row.tail_id: row for row in estate.rows}
        for tail_id, (handle, _) in estate.handles.items():
            with contextlib.suppress(OSError):
                status, row = self._files.handle_status(handle), rows.get(tail_id)
                # What has no bytes of its own may be a copy, and others have them.
                if row is not None and row.size and status.links == 0:
                    losses.say_closed(name, row, status.size, is_over=is_over)
            self._files.close(handle)
        estate.handles.clear()
