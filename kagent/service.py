"""The one thread that calls AWS for anything but delivery: it puts the metrics, asks for facts.

It may wait for the network as long as it likes: nobody waits for it. What it could not put is
added to the next period, and what it could not learn is asked again.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Mapping

from kagent import config, host_facts, metrics, model, stream_facts
from kagent.destinations import aws, control
from kagent.exporters import cloudwatch

LAST_PUT_S = 5.0  # how long a stop waits for the last counters to be put
_LONG_S = 3600.0


class ServiceThread:
    """Puts the counters that the agent adds, and asks for the facts of the flows' destinations."""

    def __init__(
        self,
        options: cloudwatch.CloudWatchOptions,
        aws_options: Callable[[], aws.AwsOptions],
        clock: model.Clock,
        environ: Mapping[str, str],
    ) -> None:
        """Call nothing before `start`; `aws_options` are asked for at each connecting to put."""
        self._is_on = options.level != "none"
        self._interval_s = options.interval
        self._clock = clock
        self._exporter = cloudwatch.CloudWatchExporter(
            options, lambda: aws.connect("cloudwatch", aws_options(), 1), clock
        )
        self._deltas: queue.SimpleQueue[tuple[str, metrics.Five]] = queue.SimpleQueue()
        self._configs: queue.SimpleQueue[config.Config] = queue.SimpleQueue()
        self._facts: queue.SimpleQueue[tuple[str, model.StreamFacts]] = queue.SimpleQueue()
        self._surveyor = stream_facts.Surveyor(
            clock, random.Random(), lambda flow, facts: self._facts.put((flow, facts))
        )
        self._instance = host_facts.InstanceFacts(clock, environ)
        self._clients = control.Clients()
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def add(self, label: str, delta: metrics.Five) -> None:
        """Count what a destination did since the last call; from the agent's thread."""
        if self._is_on and delta != metrics.Five():
            self._deltas.put((label, delta))

    def set_config(self, loaded: config.Config) -> None:
        """Ask for the facts of these flows' destinations from now on; from the agent's thread."""
        self._configs.put(loaded)
        self._wake.set()

    def host(self) -> model.HostFacts:
        """Return what is known of this machine; from any thread."""
        return self._instance.current()

    def take_facts(self) -> list[tuple[str, model.StreamFacts]]:
        """Return facts that are new, by the name of a flow; from the agent's thread."""
        return [self._facts.get() for _ in range(self._facts.qsize())]

    def stop(self) -> None:
        """Put the last counters and end; a service that does not answer is not waited for."""
        self._is_stopping = True
        self._wake.set()
        if self._is_on:
            self._thread.join(LAST_PUT_S)

    def _run(self) -> None:
        put_at = self._clock.monotonic() + self._interval_s
        while not self._is_stopping:
            dues = (put_at, self._surveyor.next_due(), self._instance.next_due())
            due = min(one for one in dues if one is not None)
            self._clock.wait(self._wake, max(0.0, due - self._clock.monotonic()))
            self._wake.clear()
            while not self._configs.empty():
                self._set_config(self._configs.get())
            if self._is_stopping:
                break
            self._instance.refresh()  # first: it is quick, and flows may wait for it
            self._surveyor.survey()
            if self._clock.monotonic() >= put_at:
                put_at = self._clock.monotonic() + self._interval_s
                self._publish()
        self._publish()

    def _set_config(self, loaded: config.Config) -> None:
        self._surveyor.set_subjects(subjects_of(loaded, self._clients))
        stages = [stage for one in loaded.flows for stage in one.preprocess]
        self._instance.want(
            instance=any(stage.needs_instance for stage in stages),
            tags=any(stage.needs_tags for stage in stages),
        )

    def _publish(self) -> None:
        sums: dict[str, metrics.Five] = {}
        for _ in range(self._deltas.qsize()):
            label, delta = self._deltas.get()
            sums[label] = sums.get(label, metrics.Five()) + delta
        if sums:
            self._exporter.publish(sums)


def subjects_of(
    loaded: config.Config, clients: control.Clients
) -> dict[str, stream_facts.Subject]:
    """Return for each flow whose facts are asked for, and how."""
    return {one.name: subject_of(one, clients) for one in loaded.flows}


def subject_of(one: config.FlowConfig, clients: control.Clients) -> stream_facts.Subject:
    """Return whose facts a flow's destination has, and how they are asked for."""
    destination = one.destination
    service, reached = destination.service, destination.aws
    ask = control.Control(
        service,
        clients.get(service, reached),
        f"{destination.noun} {destination.name}",
        destination.name_option,
    )
    return stream_facts.Subject(service, destination.name, ask, reached, one.needs_facts)
