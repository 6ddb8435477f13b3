"""A million numbered lines under each packing, with all faults of the local service together.

The real daemon ships one file to the service, which refuses records (as throttled and as internal
failures), resets connections before it read anything, fails calls before and after it stored them,
loses answers, cuts them off, lets them drip, and throttles its shards.

Passed when no line is lost, when the lines that came again are exactly those that the service had
accepted without a good answer, when kagent's counters of what was sent equal the service's own,
and when the saved offset is the file's size.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import hashlib
import itertools
import json
import pathlib
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence

import zstandard

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import consumers
from daemon import Daemon, running

from kagent import local

LINE_BYTES = 100
SHARES = {  # of calls
    "reset_share": 0.01,
    "fail_early_share": 0.01,
    "fail_share": 0.01,
    "fail_late_share": 0.01,
    "lose_share": 0.01,
    "truncate_share": 0.01,
    "slow_share": 0.005,
    "redirect_share": 0.005,
    "garble_share": 0.005,
    "miscount_share": 0.005,
    "bloat_share": 0.002,
    "stale_share": 0.005,
    "botch_share": 0.002,  # of records
}
MORE = 4  # times as often where there are few calls


@dataclasses.dataclass(frozen=True)
class Case:
    """One packing and where it goes; `batch_records` makes enough calls for faults to befall."""

    name: str
    pack: object
    is_firehose: bool = False
    batch_records: int = 500

    @property
    def compression(self) -> str:
        return self.pack.get("compression", "none") if isinstance(self.pack, dict) else "none"

    def unpack(self, record: bytes) -> bytes:
        """Return a record's lines, as its readers find them."""
        if self.compression == "gzip":
            record = gzip.decompress(record)
        elif self.compression == "zstd":
            record = zstandard.decompress(record)
        return consumers.joined_lines(record)


CASES = [
    Case("none", "none", batch_records=200),
    Case("newline", "newline", batch_records=8),
    Case("kpl", "kpl", batch_records=8),
    Case("newline-gzip", {"as": "newline", "compression": "gzip"}, batch_records=2),
    Case("newline-zstd", {"as": "newline", "compression": "zstd"}, batch_records=2),
    Case("kpl-gzip", {"as": "kpl", "compression": "gzip"}, batch_records=2),
    Case("kpl-zstd", {"as": "kpl", "compression": "zstd"}, batch_records=2),
    Case("firehose-none", "none", is_firehose=True, batch_records=200),
    Case("firehose-newline", {"as": "newline", "max_bytes": "50KB"}, True, batch_records=4),
]


@dataclasses.dataclass
class Figures:
    """What became of all lines, by kagent's account and by the service's own."""

    case: str
    lines: int
    arrived: int
    duplicates: int
    explained: int  # lines that were accepted without a good answer
    unexplained: int
    records: int  # accepted with a good answer
    records_counted: int  # by kagent
    bytes: int
    bytes_counted: int
    refused: int
    faults: dict[str, int]
    offset: int
    size: int
    exit_code: int
    seconds: float

    @property
    def problems(self) -> list[str]:
        """What is not as it must be."""
        facts = {
            "lines lost": self.arrived == self.lines,
            "duplicates that no lost answer explains": self.unexplained == 0,
            "duplicates are not the lines of lost answers": self.duplicates == self.explained,
            "records counted differently": self.records == self.records_counted,
            "bytes counted differently": self.bytes == self.bytes_counted,
            "offset is not the size": self.offset == self.size,
            "the daemon did not end well": self.exit_code == 0,
        }
        return [what for what, is_so in facts.items() if not is_so]


def line(number: int) -> bytes:
    """Return a numbered line of LINE_BYTES."""
    start = b"%09d GET /shop/item " % number
    digest = hashlib.sha256(start).hexdigest().encode()  # shrinks by half
    return start + digest[: LINE_BYTES - len(start) - 1].ljust(LINE_BYTES - len(start) - 1) + b"\n"


def run(case: Case, lines: int, root: pathlib.Path, seed: int = 1) -> Figures:
    """Ship so many lines through all faults and count."""
    service = _service(case, seed)
    started = time.monotonic()
    with running(root, service) as daemon:
        daemon.configure(
            _flow(case, root),
            aws={
                "region": "eu-west-1",
                "endpoint_url": daemon.server.endpoint_url,
                "connect_timeout": "2s",
                "read_timeout": "3s",
            },
            metrics={"cloudwatch": {"level": "summary", "interval": "10s"}},
        )
        path = daemon.path("a.log")
        with path.open("wb") as file:
            for first in range(0, lines, 10_000):
                file.writelines(map(line, range(first, min(lines, first + 10_000))))
        service.set_faults(_faults(case))
        stopping = threading.Event()
        weather = threading.Thread(target=_change, args=(service, case, stopping), daemon=True)
        weather.start()
        daemon.start()
        try:
            _wait(daemon, service, case, lines, path.stat().st_size)
            stopping.set()
            weather.join()
            service.set_faults(local.Faults())  # the stop and its counters are no part of it
            exit_code = daemon.stop()
        finally:
            stopping.set()
        return _figures(case, lines, daemon, service, exit_code, time.monotonic() - started)


def _service(case: Case, seed: int) -> local.Service:
    kept = {"keep_bytes_max": 2**30, "unpack": case.unpack}
    streams = {"web": local.StreamOptions(shards=40, **kept)}  # type: ignore[arg-type]
    delivery = {
        "web": local.DeliveryStreamOptions(records_per_s=1e6, bytes_per_s=1e9, **kept)  # type: ignore[arg-type]
    }
    return local.Service(
        local.ServiceOptions(
            streams={} if case.is_firehose else streams,
            delivery_streams=delivery if case.is_firehose else {},
            seed=seed,
        )
    )


def _flow(case: Case, root: pathlib.Path) -> dict[str, object]:
    kinesis = {"kinesis": {"stream": "web"}}
    firehose = {"firehose": {"delivery_stream": "web"}}
    return {
        "name": "web",
        "source": {"paths": [f"{root}/log/*.log"], "start_at": "beginning"},
        "destination": firehose if case.is_firehose else kinesis,
        "batch": {"max_age": "200ms", "max_records": case.batch_records},
        "pack": case.pack,
    }


def _faults(case: Case, code: str = "", shards: tuple[str, ...] = ()) -> local.Faults:
    times = 1 if case.pack == "none" else MORE
    shares = {name: share * times for name, share in SHARES.items()}
    return local.Faults(
        refuse_share=0.01 * times,
        refuse_code=code,
        throttle_shards=shards,
        slow_s=0.5,
        **shares,  # type: ignore[arg-type]
    )


def _change(service: local.Service, case: Case, stopping: threading.Event) -> None:
    """Let what is refused, and which shard is throttled, change all the time."""
    for turn in itertools.count():
        hot = (f"shardId-{turn % 40:012d}",) if turn % 3 == 0 and not case.is_firehose else ()
        code = "InternalFailure" if turn % 2 else ""
        service.set_faults(_faults(case, code, hot))
        if stopping.wait(0.3):
            return


def _wait(daemon: Daemon, service: local.Service, case: Case, lines: int, size: int) -> None:
    """Wait until everything arrived, and is known and saved to have."""
    deadline = time.monotonic() + 60 + lines / 2000
    while time.monotonic() < deadline:
        assert daemon.process is not None
        if daemon.process.poll() is not None:
            raise SystemExit(f"the daemon ended by itself:\n{daemon.log[-4000:]}")
        if _counts(service, case)["lines_distinct"] >= lines and (
            daemon.offsets().get("a.log") == size
        ):
            return
        time.sleep(0.1)
    print(f"not within the time; the log ends with:\n{daemon.log[-4000:]}", file=sys.stderr)


def _counts(service: local.Service, case: Case) -> dict[str, object]:
    kind = "delivery_streams" if case.is_firehose else "streams"
    counts: dict[str, object] = service.counts()[kind]["web"]
    return counts


def _figures(
    case: Case,
    lines: int,
    daemon: Daemon,
    service: local.Service,
    exit_code: int,
    seconds: float,
) -> Figures:
    counts = _counts(service, case)
    journal = service.delivery_journal if case.is_firehose else service.journal
    lost = [entry.data for entry in journal("web") if entry.answer == "lost"]
    assert len(lost) == counts["records_answer_lost"], "the journal is not whole"
    sums = {
        name: sum(int(one["Value"]) for one in service.metrics() if one["MetricName"] == name)
        for name in ("RecordsSent", "BytesSent")
    }
    refused: dict[str, int] = counts["records_refused"]  # type: ignore[assignment]
    return Figures(
        case=case.name,
        lines=lines,
        arrived=int(counts["lines_distinct"]),  # type: ignore[call-overload]
        duplicates=int(counts["duplicates"]),  # type: ignore[call-overload]
        explained=sum(case.unpack(record).count(b"\n") for record in lost),
        unexplained=int(counts["duplicates_other"]),  # type: ignore[call-overload]
        records=int(counts["records_accepted"]) - len(lost),  # type: ignore[call-overload]
        records_counted=sums["RecordsSent"],
        bytes=int(counts["bytes_accepted"]) - sum(map(len, lost)),  # type: ignore[call-overload]
        bytes_counted=sums["BytesSent"],
        refused=sum(refused.values()),
        faults=service.counts()["faults"],
        offset=daemon.offsets().get("a.log", 0),
        size=daemon.path("a.log").stat().st_size,
        exit_code=exit_code,
        seconds=round(seconds, 1),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases, and print what became of every line of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"all of {', '.join(one.name for one in CASES)}")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the directories")
    given = parser.parse_args(arguments)
    failed = []
    for case in CASES:
        if given.cases and case.name not in given.cases:
            continue
        root = pathlib.Path(tempfile.mkdtemp(prefix=f"kagent-million-{case.name}-"))
        figures = run(case, given.lines, root, given.seed)
        print(json.dumps(dataclasses.asdict(figures)))
        print(f"million: {case.name}: {'; '.join(figures.problems) or 'passed'}", flush=True)
        if figures.problems:
            failed.append(case.name)
        if given.keep or figures.problems:
            print(f"kept: {root}", file=sys.stderr)
        else:
            shutil.rmtree(root)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
