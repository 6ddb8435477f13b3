"""CPU, speed and memory of the daemon beside a plain boto3 loop, alternating in one run.

Both ship files of the same kind over TLS to the same kind of sink (sink.py), in a process of its
own; a run in which the lines or the sum of their hashes differ from the files does not count. CPU
and time are taken from the first delivered line to the last, start-up left out on both sides; peak
memory is the whole run's. The absolute figures of one machine mean little: the ratio between the
two, taken from pairs in one run, is the one to quote.

    throughput.py [--case NAME]... [--pairs 5] [--scale 1.0] [--json FILE] [--results FILE]

Other agents that are found on PATH (peers.py) run the same cases after the pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import http.client
import importlib.metadata
import json
import os
import pathlib
import platform
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import baseline
import peers
import sink
import workloads

GIB = 1024**3
MIB = 1024**2
STREAM = "bench"
DEADLINE_S = 900.0
POLL_S = 0.03
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PYTHONHASHSEED": "0",
    "no_proxy": "127.0.0.1",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table: what is shipped, how, and at least how many times cheaper."""

    name: str
    maker: str
    size_mib: int  # of the daemon's files
    flow: dict[str, Any] = dataclasses.field(default_factory=dict)  # keys of the flow
    target: float | None = None  # CPU of the baseline / CPU of kagent
    service: str = "kinesis"
    parse: str = "raw"
    files: int = 1
    latency_s: float = 0.0
    baseline_mib: int = 12
    mb_per_s: float | None = None  # at least


CASES = [
    Case("lines", "200B", 192, target=12),
    Case("lines of 2 kB", "2kB", 192, baseline_mib=32),
    Case("lines of 1 MB", "1MB", 192, baseline_mib=32),
    Case("lines, newline", "200B", 384, {"pack": "newline"}, target=25),
    Case("lines, kpl", "200B", 384, {"pack": "kpl"}, target=15),
    Case("Firehose", "200B", 192, service="firehose"),
    Case("Firehose, newline", "200B", 384, {"pack": "newline"}, 20, service="firehose"),
    Case("Apache", "apache", 192),
    Case(
        "Apache to JSON",
        "apache",
        128,
        {"preprocess": [{"log_to_json": {"format": "combined_apache"}}]},
        target=5,
        parse="apache",
    ),
    Case("CSV", "csv", 128),
    Case(
        "Java traces",
        "java",
        96,
        {"multiline": "java"},
    ),
    Case("answers after 20 ms", "200B", 192, latency_s=0.02, mb_per_s=60, baseline_mib=2),
    Case("100 files", "200B", 192, files=100),
    Case("1,000 files", "200B", 256, files=1000),
    Case("10,000 files", "200B", 256, files=10_000),
]


@dataclasses.dataclass
class Run:
    """What one contender did with one workload."""

    cpu_s_per_gib: float
    mb_per_s: float
    peak_mib: float
    calls: int


class WrongContentError(Exception):
    """What arrived is not what the files hold: the run does not count."""


def cpu_s(pid: int) -> float:
    """Return the CPU time of all threads of a process, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # CPUCLOCK_SCHED: see clock_getcpuclockid(3)


def peak_mib(pid: int) -> float:
    """Return the most memory that a process had resident.

    Raises:
        ProcessLookupError: it has ended; the kernel does not know any more.
    """
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    _, found, rest = status.partition("VmHWM:")
    if not found:
        raise ProcessLookupError(pid)
    return int(rest.split()[0]) / 1024


@dataclasses.dataclass
class Served:
    """A running sink."""

    endpoint_url: str
    ca_file: str
    link: http.client.HTTPSConnection = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Prepare one connection for all questions."""
        context = ssl.create_default_context(cafile=self.ca_file)
        host = self.endpoint_url.partition("//")[2]
        self.link = http.client.HTTPSConnection(host, context=context)

    def counts(self) -> dict[str, int]:
        """Return what arrived so far."""
        self.link.request("GET", "/sink")
        with self.link.getresponse() as answer:
            found: dict[str, int] = json.load(answer)
        return found


@contextlib.contextmanager
def serving(latency_s: float = 0.0, *, is_json: bool = False) -> Iterator[Served]:
    """Run a sink in a process of its own."""
    process = subprocess.Popen(
        [
            *(sys.executable, str(pathlib.Path(__file__).parent / "sink.py")),
            *("--latency", str(latency_s), *(["--json"] if is_json else [])),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    try:
        assert process.stdout is not None
        yield Served(**json.loads(process.stdout.readline()))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@dataclasses.dataclass(frozen=True)
class Truth:
    """What has to arrive."""

    bytes: int
    lines: int
    sum: int


def truth_of(paths: Sequence[pathlib.Path], parse: str) -> Truth:
    """Return what the sink has to say of these files."""
    size = lines = total = 0
    for path in paths:
        data = path.read_bytes()
        found = sink.lines_of(data)
        size, lines = size + len(data), lines + len(found)
        if parse == "apache":
            found = sink.canonical([baseline.to_json(line) for line in found])
        total += sink.sum_of(found)
    return Truth(size, lines, total & sink.SUM_MASK)


def measure(
    start: Callable[[Served, pathlib.Path], subprocess.Popen[bytes]],
    case: Case,
    directory: pathlib.Path,
    truth: Truth,
    output: str = "",
) -> Run:
    """Run one contender over a directory of files.

    Args:
        start: Starts it.
        case: What it does.
        directory: The files.
        truth: What they hold.
        output: The file that it writes, if it is one that does not ship to the sink.
    """
    with serving(case.latency_s, is_json=case.parse != "raw") as served:
        process = start(served, directory)
        arrived = functools.partial(_in_file, directory, output) if output else served.counts
        try:
            first, last = _watch(process, arrived, truth)
            peak = last[3]
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        counts = arrived()
    found = Truth(truth.bytes, counts["lines"], counts["sum"])
    if found != truth:
        raise WrongContentError(f"expected {truth}, found {found}")
    share = (last[2] - first[2]) / truth.lines
    size = truth.bytes * share
    return Run(
        (last[0] - first[0]) * GIB / size, size / (last[1] - first[1]) / 1e6, peak, counts["calls"]
    )


def _watch(
    process: subprocess.Popen[bytes], arrived: Callable[[], dict[str, int]], truth: Truth
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (CPU, time, lines, peak) when the first lines had arrived, and when all had."""
    begun = time.monotonic()
    first: tuple[float, ...] | None = None
    last: tuple[float, ...] = ()
    while time.monotonic() - begun < DEADLINE_S:
        lines = arrived()["lines"]
        with contextlib.suppress(OSError):  # the plain loop has ended by itself
            last = (cpu_s(process.pid), time.monotonic(), lines, peak_mib(process.pid))
        if first is None and lines:
            first = last
        if lines >= truth.lines:
            assert first is not None
            return first, (*last[:2], lines, last[3])
        if process.poll() is not None and process.returncode:
            raise WrongContentError(f"exit code {process.returncode}")
        time.sleep(POLL_S)
    raise WrongContentError(f"{lines} lines of {truth.lines} within {DEADLINE_S} s")


def _in_file(directory: pathlib.Path, output: str) -> dict[str, int]:
    """Return what a contender has written to a file."""
    data = b"".join(path.read_bytes() for path in directory.parent.glob(f"peer-*/{output}"))
    lines = sink.lines_of(data) if data else []
    return {"lines": len(lines), "sum": sink.sum_of(lines), "calls": 0}


def start_baseline(case: Case) -> Callable[[Served, pathlib.Path], subprocess.Popen[bytes]]:
    """Return what starts the plain loop."""

    def start(served: Served, directory: pathlib.Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, str(pathlib.Path(__file__).parent / "baseline.py")),
                *(served.endpoint_url, STREAM, case.service, case.parse),
                *map(str, sorted(directory.iterdir())),
            ],
            env={**os.environ, **ENVIRONMENT, "AWS_CA_BUNDLE": served.ca_file},
        )

    return start


def start_kagent(case: Case) -> Callable[[Served, pathlib.Path], subprocess.Popen[bytes]]:
    """Return what starts the daemon on a fresh state directory."""

    def start(served: Served, directory: pathlib.Path) -> subprocess.Popen[bytes]:
        root = pathlib.Path(tempfile.mkdtemp(dir=directory.parent))
        source = {"paths": [f"{directory}/*.log"], "start_at": "beginning"}
        flow = {**case.flow}
        if "multiline" in flow:
            source["multiline"] = flow.pop("multiline")
        stream = "stream" if case.service == "kinesis" else "delivery_stream"
        tree = {
            "state_dir": str(root / "state"),
            "aws": {
                "region": "eu-west-1",
                "endpoint_url": served.endpoint_url,
                "ca_bundle": served.ca_file,
            },
            "metrics": {"cloudwatch": {"level": "none"}},
            "log": {"level": "warning"},
            "flows": [
                {
                    "name": "bench",
                    "source": source,
                    "destination": {case.service: {stream: STREAM}},
                    **flow,
                }
            ],
        }
        config = root / "kagent.yaml"
        config.write_text(json.dumps(tree))  # JSON is YAML
        return subprocess.Popen(
            [sys.executable, "-m", "kagent", "run", "-c", str(config)],
            env={**os.environ, **ENVIRONMENT},
        )

    return start


def run_case(case: Case, pairs: int, scale: float, root: pathlib.Path) -> dict[str, Any]:
    """Run the pairs of one case and print their figures."""
    large, small = root / "large", root / "small"
    workloads.write(large, case.maker, int(case.size_mib * scale) * MIB, case.files)
    workloads.write(small, case.maker, max(1, int(case.baseline_mib * scale)) * MIB)
    truths = {path: truth_of(sorted(path.iterdir()), case.parse) for path in (large, small)}
    runs: dict[str, list[Run]] = {"boto3 loop": [], "kagent": []}
    for _ in range(pairs):
        runs["boto3 loop"].append(measure(start_baseline(case), case, small, truths[small]))
        runs["kagent"].append(measure(start_kagent(case), case, large, truths[large]))
    for peer in peers.found(case.service, case.parse, case.flow):
        runs[peer.name] = [
            measure(
                peer.start(STREAM, {**ENVIRONMENT, **peers.ENVIRONMENT}),
                case,
                large,
                truths[large],
                peer.output,
            )
            for _ in range(pairs)
        ]
    pairwise = zip(runs["boto3 loop"], runs["kagent"], strict=True)
    ratio = statistics.median(one.cpu_s_per_gib / two.cpu_s_per_gib for one, two in pairwise)
    return {
        "case": case.name,
        "ratio": ratio,
        "target": case.target,
        "mb_per_s_target": case.mb_per_s,
        **{name: _median(found) for name, found in runs.items()},
    }


def _median(runs: list[Run]) -> dict[str, float]:
    rows = [dataclasses.asdict(run) for run in runs]
    return {key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]}


def show(result: dict[str, Any]) -> None:
    """Print one case."""
    print(f"\n{result['case']}")
    for name, run in result.items():
        if isinstance(run, dict):
            print(
                f"  {name:12} {run['cpu_s_per_gib']:8.2f} CPU-s/GiB {run['mb_per_s']:8.1f} MB/s"
                f"  peak {run['peak_mib']:5.0f} MiB  {run['calls']:6.0f} calls"
            )
    wanted = f", wanted {result['target']:g}" if result["target"] else ""
    if result["mb_per_s_target"]:
        wanted += f", at least {result['mb_per_s_target']:g} MB/s wanted"
    print(f"  ratio        {result['ratio']:8.1f}{wanted}", flush=True)


def describe_machine() -> str:
    """Return what the figures were taken on; no names."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    model = next(line.partition(":")[2] for line in cpu.split("\n") if "model name" in line)
    return (
        f"{os.cpu_count()} x {model.strip()}, Python {platform.python_version()}, "
        f"{ssl.OPENSSL_VERSION.partition('  ')[0]}, boto3 {importlib.metadata.version('boto3')}"
    )


def as_page(machine: str, pairs: int, results: Sequence[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "# Results",
        "",
        f"Median of {pairs} pairs on {machine}; written by",
        '`make bench ARGS="throughput --results tests/benchmarks/RESULTS.md"`.',
        "",
        "CPU-s/GiB of raw log, TLS included, the sink's own left out. Quote the ratio: both of a",
        "pair ran within seconds of each other.",
        "",
        "| case | boto3 loop | kagent | ratio | wanted | MB/s | peak MiB | calls |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        wanted = f"{one['target']:g}" if one["target"] else ""
        if one["mb_per_s_target"]:
            wanted = f"{one['mb_per_s_target']:g} MB/s"
        ours = one["kagent"]
        lines.append(
            f"| {one['case']} | {one['boto3 loop']['cpu_s_per_gib']:.1f} "
            f"| {ours['cpu_s_per_gib']:.2f} | {one['ratio']:.1f} | {wanted} "
            f"| {ours['mb_per_s']:.0f} | {ours['peak_mib']:.0f} | {ours['calls']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the cases and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the files' sizes")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there, too")
    parser.add_argument("--results", type=pathlib.Path, help="write them as a page, too")
    given = parser.parse_args(arguments)
    if os.environ.get("PYTHONHASHSEED") != "0":  # the sink's hashes and ours must be the same
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, __file__, *(arguments or sys.argv[1:])])
    results = []
    for case in CASES:
        if given.case and case.name not in given.case:
            continue
        with tempfile.TemporaryDirectory(prefix="kagent-bench-") as root:
            try:
                results.append(run_case(case, given.pairs, given.scale, pathlib.Path(root)))
            except WrongContentError as error:
                print(f"\n{case.name}\n  does not count: {error}", flush=True)
                continue
            show(results[-1])
    machine = describe_machine()
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "cases": results}, indent=2) + "\n")
    if given.results:
        page = as_page(machine, given.pairs, results)
        if given.results.exists():  # what was written by hand stays
            _, heading, rest = given.results.read_text().partition("\n## ")
            page += heading + rest
        given.results.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
