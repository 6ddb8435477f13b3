"""The daemon: builds everything from the configuration, and ends it again.

The main thread starts and stops, reloads and tells systemd; it reads no file, calls no service and
waits for nothing but signals and the clock.

    SIGTERM, SIGINT   drain: no new attempts, answers under way are awaited, positions saved
    a second one      leave at once; the checkpoints on disk are good, duplicates are bounded
    SIGHUP            read the configuration again; a wrong one is refused and the old one runs on
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from collections.abc import Mapping

from kagent import (
    adoption,
    boot,
    checkpoint,
    config,
    deadletter,
    errors,
    hangs,
    logs,
    metrics,
    report,
    sdnotify,
    service,
    supervisor,
    system,
    watch,
)
from kagent.destinations import aws

SUPERVISE_S = 1.0
STARTING_S = 0.05  # until READY: whoever waits for it should not wait for us
PROGRESS_S = 60.0
HANGING_S = 10.0  # of one save
SAY_AGAIN_S = 60.0
SAVE_AT_STOP_S = 10.0

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_log = logging.getLogger("kagent.agent")


class Agent:
    """Everything that one daemon owns; lives in the main thread."""

    def __init__(self, path: str, loaded: config.Config, environ: Mapping[str, str]) -> None:
        """Take a configuration that was checked; nothing is opened before `run`."""
        self._path = path
        self._config = loaded
        self._environ = environ
        self._clock = system.SystemClock()
        self._notify = sdnotify.Notifier(environ, self._clock)
        self._store = checkpoint.CheckpointStore(loaded.state_dir)
        dead_letters = deadletter.DeadLetters(
            loaded.dead_letter_dir, loaded.dead_letter.max_bytes, self._clock
        )
        self._checkpoints = checkpoint.CheckpointThread(
            self._store, dead_letters, loaded.checkpoint.round_s, self._clock
        )
        self._service = service.ServiceThread(
            loaded.metrics.cloudwatch, self._metrics_aws, self._clock, environ
        )
        self._flows = supervisor.Supervisor(
            loaded, system.OsFiles(), self._clock, self._checkpoints, host=self._service.host
        )
        self._watch = watch.Watch(self._flows.hint)
        self._boot = boot.Boot(loaded.state_dir)
        self._hangs = hangs.Hangs()
        self._is_ready = False
        self._warned_at = float("-inf")
        self._progressed_at = self._clock.monotonic()
        self._progress: dict[str, metrics.Counts] = {}  # what was said last, by flow

    def run(self) -> bool:
        """Run until a signal says to stop; return whether all was saved at the end.

        Raises:
            AlreadyRunningError: another daemon holds the state directory.
            CheckpointError: the checkpoint database is not usable.
            ConfigError: the configuration does not fit the flows that the database knows.
            OSError: the system cannot do it now.
        """
        system.keep_freed_memory()
        system.raise_handles_max()
        self._store.open()
        try:
            if self._boot.is_another:
                self._store.renew_ids()
                self._boot.remember()
            plan = adoption.plan(self._config, self._store)
            adoption.carry_out(plan, self._config, self._store)
            names = [one.name for one in self._config.flows]
            estates = {name: adoption.estate_of(self._store, name) for name in names}
        except BaseException:
            self._store.close()
            raise
        # Blocked before the first thread starts, in all of them, and fetched below: a handler
        # could run while the main thread is anywhere, also inside a lock.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        threading.Thread(target=_take_signals, args=[signals], name="signals", daemon=True).start()
        self._checkpoints.start()
        self._service.set_config(self._config)
        self._service.start()
        self._watch.open()
        self._flows.start(estates)
        _log.info("started pid=%d config=%s flows=%d", os.getpid(), self._path, len(names))
        if not names:
            _log.warning("no flows are configured; write some and reload")
        pause_s = min(SUPERVISE_S, self._notify.watchdog_interval_s() or SUPERVISE_S)
        while self._checkpoints.is_alive():
            self._look_after()
            try:
                number = signals.get(timeout=pause_s if self._is_ready else STARTING_S)
            except queue.Empty:
                continue
            if number != signal.SIGHUP:
                break
            self._reload()
        # A second one ends the process; SIGHUP means nothing any more.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS - {signal.SIGHUP})
        return self._stop()

    def _look_after(self) -> None:
        """Do what the main thread does each second."""
        self._flows.supervise()
        self._watch.set_directories(self._flows.directories)
        if not self._is_ready and self._flows.is_ready:
            self._is_ready = True
            system.give_back_memory()
            self._notify.ready(self._status())
            _log.info("ready flows=%d", len(self._flows.conditions))
        self._ping()
        self._notify.status(self._status())
        self._warn_of_a_hanging_disk()
        for label, delta in self._flows.take_deltas():
            self._service.add(label, delta)
        for name, facts in self._service.take_facts():
            logs.of_flow(name).info("%s", report.facts_line(name, facts))
            self._flows.tell(name, facts)
        if self._clock.monotonic() - self._progressed_at >= PROGRESS_S:
            self._say_progress()

    def _ping(self) -> None:
        """Tell systemd that all is well, but not for ever while a preprocessor hangs."""
        if self._hangs.look(self._flows.calls, self._clock.monotonic()):
            self._notify.watchdog()

    def _warn_of_a_hanging_disk(self) -> None:
        """Say that saving takes too long: the thread that does it is stuck and cannot."""
        now, busy_since = self._clock.monotonic(), self._checkpoints.busy_since
        is_hanging = busy_since is not None and now - busy_since >= HANGING_S
        if is_hanging and now - self._warned_at >= SAY_AGAIN_S:
            self._warned_at = now
            _log.warning(
                "saving hangs state_dir=%s; shipping goes on, but no new file begins, and a crash "
                "now would deliver lines again; hint: is the disk well?",
                self._config.state_dir,
            )

    def _reload(self) -> None:
        """Take over a changed configuration, or say what is wrong with it and go on as before."""
        self._notify.reloading()
        try:
            loaded = config.load(self._path, self._environ)
            _refuse_what_needs_a_restart(self._path, self._config, loaded)
            self._set_log(loaded)  # before a new flow says that it opens its files
            done = self._flows.replace(loaded, self._ping)
        except (errors.ConfigError, errors.CheckpointError, TimeoutError, OSError) as error:
            self._set_log(self._config)
            _log.error("reload refused config=%s; the old one runs on\n%s", self._path, error)
        else:
            self._config = loaded
            self._service.set_config(loaded)
            _log.info(
                "reloaded config=%s flows=%d added=%d changed=%d removed=%d",
                self._path,
                len(loaded.flows),
                done.added,
                done.changed,
                done.removed,
            )
        self._notify.ready(self._status())

    def _set_log(self, loaded: config.Config) -> None:
        logs.configure(loaded.log, [one.name for one in loaded.flows], self._environ)

    def _stop(self) -> bool:
        self._notify.stopping("waiting for answers under way")
        drain_s = self._config.drain_timeout
        _log.info("stopping; answers under way are awaited, at most %.0f s", drain_s)
        self._watch.close()
        self._flows.end(self._ping)
        was_alive = self._checkpoints.is_alive()  # a thread that died saved nothing for a while
        is_saved = self._checkpoints.stop(SAVE_AT_STOP_S) and was_alive
        for label, delta in self._flows.take_deltas():
            self._service.add(label, delta)
        self._service.stop()
        self._say_progress()
        if not self._checkpoints.is_alive():
            self._store.close()
        if is_saved:
            _log.info("stopped; every position is saved, what is not delivered is read again")
        else:
            _log.error("stopped; the last positions could not be saved, lines may come again")
        return is_saved

    def _metrics_aws(self) -> aws.AwsOptions:
        """Return how CloudWatch is reached, by the configuration that holds now."""
        return self._config.metrics.cloudwatch.aws

    def _status(self) -> str:
        return report.status_line(self._flows.conditions, self._clock.monotonic())

    def _say_progress(self) -> None:
        """Log where the bytes of each flow are that moved since the last time."""
        self._progressed_at = self._clock.monotonic()
        for name, condition in self._flows.conditions.items():
            if condition.counts != self._progress.get(name):
                self._progress[name] = condition.counts
                logs.of_flow(name).info("%s", report.progress_line(name, condition))


def _refuse_what_needs_a_restart(path: str, was: config.Config, loaded: config.Config) -> None:
    cloudwatch = was.metrics.cloudwatch.model_copy(update={"aws": loaded.metrics.cloudwatch.aws})
    was_metrics = was.metrics.model_copy(update={"cloudwatch": cloudwatch})  # aws may change
    problems = [
        errors.Problem(path, 0, 0, key, "cannot change while running", "Restart kagent.")
        for key in ("state_dir", "dead_letter", "checkpoint", "metrics")
        if getattr(loaded, key) != (was_metrics if key == "metrics" else getattr(was, key))
    ]
    if problems:
        raise errors.ConfigError(problems)


def _take_signals(signals: queue.SimpleQueue[int]) -> None:
    """Take what is sent to the process, for good: a second SIGTERM while a reload lasts as well.

    Once the main thread stops, it does not block them any more, and they are not for this one.

    Not by `sigtimedwait` in the main thread: when that is stopped (SIGSTOP, a frozen cgroup, a
    debugger) for longer than it waits, CPython returns a signal that nobody sent.
    """
    while True:
        signals.put(signal.sigwait(_SIGNALS))
