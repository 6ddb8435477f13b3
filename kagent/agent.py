"""The daemon: builds everything from the configuration, and keeps it running.

The main thread starts and stops, supervises, reloads and tells systemd; it reads no file, calls no
service and waits for nothing but signals and the clock. What fails is rebuilt after a growing
pause, one flow at a time; the others notice nothing.

    SIGTERM, SIGINT   drain: no new attempts, answers under way are awaited, positions saved
    a second one      leave at once; the checkpoints on disk are good, duplicates are bounded
    SIGHUP            read the configuration again; a wrong one is refused and the old one runs on
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import threading
from collections.abc import Mapping
from typing import NoReturn

import tenacity

from kagent import (
    adoption,
    checkpoint,
    config,
    deadletter,
    destinations,
    errors,
    flow,
    incarnation,
    metrics,
    report,
    roster,
    sdnotify,
    service,
    system,
    watch,
)

SUPERVISE_S = 1.0
PROGRESS_S = 60.0
NOTHING = metrics.Five()
STORE_ANSWER_S = 10.0
SAVE_AT_STOP_S = 10.0

_REBUILD_WAIT = tenacity.wait_exponential(multiplier=1.0, max=60.0)
_log = logging.getLogger("kagent.agent")


@dataclasses.dataclass(slots=True)
class _Slot:
    """A flow's place in the agent: what runs there now, or when it is built again."""

    config: config.FlowConfig
    life: incarnation.Incarnation
    failures: int = 0
    rebuild_at: float | None = None
    counted: metrics.Counts | None = None  # what the progress line said last
    exported: metrics.Five = NOTHING


class Agent:
    """Everything that one daemon owns; lives in the main thread."""

    def __init__(self, path: str, loaded: config.Config, environ: Mapping[str, str]) -> None:
        """Take a configuration that was checked; nothing is opened before `run`."""
        self._path = path
        self._config = loaded
        self._environ = environ
        self._clock = system.SystemClock()
        self._files = system.OsFiles()
        self._notify = sdnotify.Notifier(environ, self._clock)
        self._store = checkpoint.CheckpointStore(loaded.state_dir)
        self._dead_letters = deadletter.DeadLetters(
            loaded.dead_letter.dir or os.path.join(loaded.state_dir, "dead-letter"),
            loaded.dead_letter.max_bytes,
            self._clock,
        )
        self._checkpoints = checkpoint.CheckpointThread(
            self._store, self._dead_letters, loaded.checkpoint.interval, self._clock
        )
        self._watch = watch.Watch(self._on_hint)
        self._service = service.ServiceThread(loaded, self._clock)
        self._slots: dict[str, _Slot] = {}
        self._wake = threading.Event()
        self._stops = 0
        self._is_reload_wanted = False
        self._is_ready = False
        self._progressed = self._clock.monotonic()

    def run(self) -> None:
        """Run until a signal says to stop.

        Raises:
            AlreadyRunningError: another daemon holds the state directory.
            CheckpointError: the checkpoint database is not usable.
            ConfigError: the configuration does not fit the flows that the database knows.
        """
        self._store.open()
        try:
            adoption.adopt(self._path, self._config, self._store)
            estates = {
                one.name: adoption.estate_of(self._store, one.name) for one in self._config.flows
            }
        except BaseException:
            self._store.close()
            raise
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._checkpoints.start()
        self._service.start()
        self._watch.open()
        for one in self._config.flows:
            self._start(one, estates[one.name])
        _log.info("started pid=%d config=%s flows=%d", os.getpid(), self._path, len(self._slots))
        if not self._slots:
            _log.warning("no flows are configured; write some and reload")
        while not self._stops:
            self._supervise()
            self._clock.wait(self._wake, self._pause_s())
            self._wake.clear()
        self._stop()

    # --- while running ------------------------------------------------------------------------

    def _pause_s(self) -> float:
        watchdog_s = self._notify.watchdog_interval_s()
        return min(SUPERVISE_S, watchdog_s / 2) if watchdog_s else SUPERVISE_S

    def _supervise(self) -> None:
        """Rebuild what failed, follow what changed, tell the world."""
        if self._is_reload_wanted:
            self._is_reload_wanted = False
            self._reload()
        now = self._clock.monotonic()
        for slot in self._slots.values():
            self._rebuild_if_failed(slot, now)
        directories: set[str] = set()
        for slot in self._slots.values():
            directories |= slot.life.flow.roster.directories
        self._watch.set_directories(directories)
        if not self._is_ready and all(self._is_started(slot) for slot in self._slots.values()):
            self._is_ready = True
            self._notify.ready(self._status())
            _log.info("ready flows=%d", len(self._slots))
        self._notify.watchdog()
        self._notify.status(self._status())
        self._export(now)

    def _is_started(self, slot: _Slot) -> bool:
        """A flow that fails must not keep the others from being called ready."""
        return slot.life.flow.condition.is_ready or slot.failures > 0

    def _rebuild_if_failed(self, slot: _Slot, now: float) -> None:
        if slot.life.is_alive:
            return
        if slot.rebuild_at is None:
            slot.failures += 1
            slot.rebuild_at = now + _pause_after(slot.failures)
            _log.error(
                "flow stopped flow=%s; it is built again in %.0f s, nothing is lost",
                slot.config.name,
                slot.rebuild_at - now,
            )
        elif now >= slot.rebuild_at:
            handles = slot.life.estate.handles
            try:
                estate = self._checkpoints.ask(
                    lambda store: adoption.estate_of(store, slot.config.name), STORE_ANSWER_S
                )
            except (TimeoutError, OSError, errors.CheckpointError) as error:
                slot.rebuild_at = now + _pause_after(slot.failures)
                _log.error("flow not built flow=%s error=%s", slot.config.name, error)
                return
            known = {row.tail_id for row in estate.rows}
            for tail_id, (handle, base) in handles.items():
                if tail_id in known:
                    estate.handles[tail_id] = (handle, base)
                else:
                    self._files.close(handle)
            self._launch(slot, estate)

    def _start(self, one: config.FlowConfig, estate: roster.Estate) -> None:
        slot = _Slot(one, self._build(one))
        self._slots[one.name] = slot
        slot.life.start(estate)

    def _launch(self, slot: _Slot, estate: roster.Estate) -> None:
        slot.life = self._build(slot.config)
        slot.rebuild_at = None
        slot.counted = None
        slot.exported = NOTHING
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
            destinations.make(one.destination, loaded.aws, one.max_in_flight),
            self._files,
            self._clock,
            self._checkpoints,
            loaded.drain_timeout,
        )

    # --- reload -------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Take over a changed configuration; flows that did not change go on undisturbed."""
        self._notify.reloading()
        try:
            loaded = config.load(self._path, self._environ)
            _refuse_what_needs_a_restart(self._path, self._config, loaded)
            self._checkpoints.ask(
                lambda store: adoption.adopt(self._path, loaded, store), STORE_ANSWER_S
            )
        except (errors.ConfigError, errors.CheckpointError, TimeoutError, OSError) as error:
            _log.error("reload refused config=%s; the old one runs on\n%s", self._path, error)
            self._notify.ready(self._status())
            return
        was, self._config = self._config, loaded
        wanted = {one.name: one for one in loaded.flows}
        is_all = _shared_options(was) != _shared_options(loaded)
        ending = {
            name: slot
            for name, slot in self._slots.items()
            if is_all or wanted.get(name) != slot.config
        }
        self._end(ending)
        for name, slot in ending.items():
            if name in wanted:
                slot.config = wanted[name]
                self._launch(slot, slot.life.estate)
            else:
                self._close_estate(slot.life.estate)
                del self._slots[name]
        self._start_new(wanted)
        _log.info("reloaded config=%s flows=%d changed=%d", self._path, len(wanted), len(ending))
        self._notify.ready(self._status())

    def _start_new(self, wanted: Mapping[str, config.FlowConfig]) -> None:
        for name, one in wanted.items():
            if name in self._slots:
                continue
            estate = self._checkpoints.ask(
                lambda store, name=name: adoption.estate_of(store, name),  # type: ignore[misc]
                STORE_ANSWER_S,
            )
            self._start(one, estate)

    def _end(self, slots: Mapping[str, _Slot]) -> None:
        """Stop flows together, and wait for all of them while systemd's watchdog is kept quiet."""
        for slot in slots.values():
            slot.life.stop()
        for slot in slots.values():
            while not slot.life.join(self._pause_s()):
                self._notify.watchdog()

    def _close_estate(self, estate: roster.Estate) -> None:
        for handle, _ in estate.handles.values():
            self._files.close(handle)

    # --- stopping -----------------------------------------------------------------------------

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._is_reload_wanted = True
        else:
            self._stops += 1
            if self._stops > 1:
                _leave_at_once()
        self._wake.set()

    def _stop(self) -> None:
        self._notify.stopping("waiting for answers under way")
        drain_s = self._config.drain_timeout
        _log.info("stopping; answers under way are awaited, at most %.0f s", drain_s)
        self._watch.close()
        self._end(self._slots)
        for slot in self._slots.values():
            self._close_estate(slot.life.estate)
        if self._checkpoints.stop(SAVE_AT_STOP_S):
            _log.info("stopped; every position is saved")
        else:
            _log.warning("stopped; the last positions could not be saved, lines may come again")
        self._export(self._clock.monotonic(), is_last=True)
        self._service.stop()
        if not self._checkpoints.is_alive():
            self._store.close()

    # --- what the world sees ------------------------------------------------------------------

    def _on_hint(self, directory: str) -> None:
        """Pass a hint on; called by watchdog's threads."""
        for slot in list(self._slots.values()):
            if directory in slot.life.flow.roster.directories:
                slot.life.hint(directory)

    def _status(self) -> str:
        conditions = {name: slot.life.flow.condition for name, slot in self._slots.items()}
        return report.status_line(conditions, self._clock.monotonic())

    def _export(self, now: float, *, is_last: bool = False) -> None:
        """Hand counters to the service thread, and log each flow's progress once a minute."""
        for slot in self._slots.values():
            five = slot.life.flow.condition.counts.five
            self._service.add(slot.config.destination.metric_label, five - slot.exported)
            slot.exported = five
        if now - self._progressed < PROGRESS_S and not is_last:
            return
        self._progressed = now
        for slot in self._slots.values():
            condition = slot.life.flow.condition
            if condition.counts != slot.counted:
                slot.counted = condition.counts
                _log.info("%s", report.progress_line(slot.config.name, condition))


def _shared_options(loaded: config.Config) -> object:
    """Return the options outside a flow that its incarnation is built from."""
    return loaded.aws, loaded.drain_timeout


def _refuse_what_needs_a_restart(path: str, was: config.Config, loaded: config.Config) -> None:
    problems = [
        errors.Problem(path, 0, 0, key, "cannot change while running", "Restart kagent.")
        for key in ("state_dir", "dead_letter", "checkpoint", "metrics", "log")
        if getattr(was, key) != getattr(loaded, key)
    ]
    if problems:
        raise errors.ConfigError(problems)


def _pause_after(failures: int) -> float:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = failures
    return _REBUILD_WAIT(state)


def _leave_at_once() -> NoReturn:
    """End the process without waiting; what is on disk is a good place to go on from."""
    os._exit(1)
