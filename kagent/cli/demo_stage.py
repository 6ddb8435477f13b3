"""The demo's stage: services, writers and the daemon, and time that passes for all of them.

One thread does everything here; only the services answer in threads of their own. Whoever waits
lets the stage play meanwhile: lines are written, the view is refreshed, the daemon is watched.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator

from kagent import local
from kagent.cli import demo_account, demo_consumer, demo_daemon, demo_view, demo_writer

_TICK_S = 0.02


class StageError(Exception):
    """What was waited for did not come."""


@dataclasses.dataclass(frozen=True, slots=True)
class Flow:
    """A flow of the demo: where its lines go, and which records are theirs in the service."""

    name: str
    stream: str
    is_firehose: bool

    @property
    def destination(self) -> str:
        """Return what people read."""
        return f"{'Firehose' if self.is_firehose else 'Kinesis'} {self.stream}"


class Stage:
    """Owns the clock of the demo; everything else was made by others, who also close it."""

    def __init__(
        self,
        flows: tuple[Flow, ...],
        sites: dict[str, demo_writer.Site],
        service: local.Service,
        server: local.Server,
        daemon: demo_daemon.Daemon,
        view: demo_view.View,
        deadline: float,
    ) -> None:
        """Take everything that has a part.

        Args:
            flows: The daemon's flows.
            sites: What writes the logs of each, by name.
            service: What takes their lines.
            server: Where it listens.
            daemon: What ships them.
            view: What shows it.
            deadline: Monotonic time after which nothing is waited for.
        """
        self.flows = flows
        self.sites = sites
        self.service = service
        self.server = server
        self.daemon = daemon
        self.view = view
        self.writing_s = 0.0
        self._is_writing = True
        self.kill: demo_account.Kill | None = None
        self._deadline = deadline
        self._began = self._ticked = time.monotonic()

    # --- time ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Set the clock to 0."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return how long it has been since `begin`."""
        return time.monotonic() - self._began

    def play_until(self, seconds: float) -> None:
        """Play until the clock shows that many seconds."""
        self._play(lambda: self.seconds >= seconds)

    def play_for(self, seconds: float) -> None:
        """Play for a while."""
        self.play_until(self.seconds + seconds)

    def wait_until(self, fact: Callable[[], bool], what: str) -> None:
        """Play until something is true.

        Raises:
            StageError: the deadline came first.
        """
        if not self._play(fact):
            raise StageError(f"waited in vain for {what}")

    def _play(self, fact: Callable[[], bool]) -> bool:
        while not fact():
            if time.monotonic() >= self._deadline:
                return False
            self._tick()
        return True

    def _tick(self) -> None:
        time.sleep(_TICK_S)
        now = time.monotonic()
        elapsed, self._ticked = now - self._ticked, now
        if self._is_writing:
            for site in self.sites.values():
                site.write(elapsed)
        self.view.show([self.figures(one) for one in self.flows])
        self.daemon.check()

    def end_writing(self) -> None:
        """Write no more lines; every file ends with a whole one."""
        if self._is_writing:
            self._is_writing, self.writing_s = False, self.seconds
        for site in self.sites.values():
            site.flush()

    # --- what the daemon suffers --------------------------------------------------------------

    def kill_daemon(self, down_s: float) -> None:
        """Kill the daemon, note what was true then, and start it again after a while."""
        self.daemon.kill()
        settled = self.daemon.settled()
        self.play_for(down_s)  # and the service finishes what it had received
        accepted = {one.name: self.counts(one)["records_accepted"] for one in self.flows}
        self.kill = demo_account.Kill(accepted, settled)
        self.daemon.start()

    def wait_until_caught_up(self) -> None:
        """Play until all that was written up to now has arrived."""
        wanted = {name: len(site.written) for name, site in self.sites.items()}
        self.wait_until(
            lambda: all(self.arrived(one) >= wanted[one.name] for one in self.flows),
            "lines to arrive",
        )

    def wait_until_arrived(self, flow: Flow, lines: Iterable[bytes], what: str) -> None:
        """Play until a flow's service has every one of these lines."""
        missing, orders = set(lines), 0

        def is_complete() -> bool:
            nonlocal orders
            for arrival in self.arrivals(flow, orders):
                missing.discard(arrival.line)
                orders = arrival.order + 1
            return not missing

        self.wait_until(is_complete, what)

    # --- what the service says ----------------------------------------------------------------

    def consumed(self, flow: Flow) -> list[bytes]:
        """Return what a consumer of a flow gets: GetRecords, or what Firehose delivered."""
        if flow.is_firehose:
            return self.service.deliveries(flow.stream)
        region = self.service.options.region
        return demo_consumer.read_stream(flow.stream, self.server, region, self.daemon.environ)

    def balance(self, flow: Flow) -> demo_account.Balance:
        """Read a flow's lines back, and return what became of them."""
        written, consumed = self.sites[flow.name].written, self.consumed(flow)
        arrivals = self.arrivals(flow)
        return demo_account.balance_of(flow.name, written, consumed, arrivals, self.kill)

    def arrivals(self, flow: Flow, start: int = 0) -> Iterator[demo_account.Arrival]:
        """Yield the service's journal of a flow, from an order on."""
        read = self.service.delivery_journal if flow.is_firehose else self.service.journal
        for entry in read(flow.stream, start):
            yield demo_account.Arrival(entry.data, entry.order, entry.answer != "good")

    def counts(self, flow: Flow) -> dict[str, int]:
        """Return the service's own counts of a flow; those by code are summed up."""
        kind = "delivery_streams" if flow.is_firehose else "streams"
        return {
            name: sum(value.values()) if isinstance(value, dict) else value
            for name, value in self.service.counts()[kind][flow.stream].items()
        }

    def arrived(self, flow: Flow) -> int:
        """Return how many different lines of a flow have arrived."""
        return self.counts(flow)["lines_distinct"]

    def figures(self, flow: Flow) -> demo_view.Figures:
        """Return what the view shows of a flow."""
        counts, written = self.counts(flow), len(self.sites[flow.name].written)
        return demo_view.Figures(
            flow.name,
            flow.destination,
            written,
            counts["lines_distinct"],
            counts["records_refused"],
            counts["duplicates"],
        )
