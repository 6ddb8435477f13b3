"""The one thread that calls AWS for anything but delivery: for now, to put the metrics.

It may wait for the network as long as it likes: nobody waits for it, and what it could not put is
added to the next period.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from kagent import metrics, model
from kagent.destinations import aws
from kagent.exporters import cloudwatch

LAST_PUT_S = 5.0  # how long a stop waits for the last counters to be put


class ServiceThread:
    """Puts the counters that the agent adds, once an interval."""

    def __init__(
        self,
        options: cloudwatch.CloudWatchOptions,
        aws_options: Callable[[], aws.AwsOptions],
        clock: model.Clock,
    ) -> None:
        """Call nothing before `start`; `aws_options` are asked for at each connecting."""
        self._is_on = options.level != "none"
        self._interval_s = options.interval
        self._clock = clock
        self._exporter = cloudwatch.CloudWatchExporter(
            options, lambda: aws.connect("cloudwatch", aws_options(), 1), clock
        )
        self._deltas: queue.SimpleQueue[tuple[str, metrics.Five]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)

    def start(self) -> None:
        """Begin to put counters, if the configuration wants them."""
        if self._is_on:
            self._thread.start()

    def add(self, label: str, delta: metrics.Five) -> None:
        """Count what a destination did since the last call; from the agent's thread."""
        if self._is_on and delta != metrics.Five():
            self._deltas.put((label, delta))

    def stop(self) -> None:
        """Put the last counters and end; a service that does not answer is not waited for."""
        self._stopping.set()
        if self._is_on:
            self._thread.join(LAST_PUT_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._clock.wait(self._stopping, self._interval_s)
            self._publish()

    def _publish(self) -> None:
        sums: dict[str, metrics.Five] = {}
        for _ in range(self._deltas.qsize()):
            label, delta = self._deltas.get()
            sums[label] = sums.get(label, metrics.Five()) + delta
        if sums:
            self._exporter.publish(sums)
