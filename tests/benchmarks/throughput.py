"""CPU and memory of the daemon beside a plain boto3 loop, alternating in one run.

Both ship the same file of numbered lines to the local service, in a process of its own, which
counts them: a run in which a line is missing does not count. The figures of one machine mean
little; the ratio between the two, taken from pairs in one run, is the one to quote.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

LINE_BYTES = 200
GIB = 1024**3
STREAM = "bench"
DEADLINE_S = 300.0
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}

# What most scripts do: the default client, 500 lines a call, one call after the other.
BASELINE = """
import itertools, random, sys
import boto3
path, endpoint_url, stream = sys.argv[1:]
client = boto3.client("kinesis", region_name="eu-west-1", endpoint_url=endpoint_url)
with open(path, "rb") as file:
    while lines := list(itertools.islice(file, 500)):
        records = [{"Data": line, "PartitionKey": str(random.random())} for line in lines]
        answer = client.put_records(StreamName=stream, Records=records)
        assert answer["FailedRecordCount"] == 0
"""


def main() -> int:
    """Run pairs and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {"boto3 loop": [], "kagent": []}
    with tempfile.TemporaryDirectory(prefix="kagent-bench-") as root:
        path = pathlib.Path(root, "log", "bench.log")
        path.parent.mkdir()
        with path.open("wb") as file:
            for number in range(options.lines):
                file.write(f"{number:012d} ".encode().ljust(LINE_BYTES - 1, b"x") + b"\n")
        for _ in range(options.pairs):
            runs["boto3 loop"].append(measure(options.lines, path, baseline))
            runs["kagent"].append(measure(options.lines, path, daemon))
    for name, figures in runs.items():
        cpu, seconds, memory = (
            statistics.median(one[key] for one in figures) for key in ("cpu", "wall", "rss")
        )
        size = options.lines * LINE_BYTES
        print(
            f"{name:12} {cpu * GIB / size:7.1f} CPU-s/GiB  {size / seconds / 1e6:6.1f} MB/s"
            f"  peak {memory:5.0f} MiB"
        )
    pairs = zip(runs["boto3 loop"], runs["kagent"], strict=True)
    ratio = statistics.median(one["cpu"] / other["cpu"] for one, other in pairs)
    print(f"CPU of the boto3 loop / CPU of kagent, median of {options.pairs} pairs: {ratio:.2f}")
    return 0


def measure(lines: int, path: pathlib.Path, run: Any) -> dict[str, float]:
    """Run one contender against a fresh service; start-up counts."""
    with service() as endpoint_url:
        started = time.monotonic()
        process = run(path, endpoint_url)
        try:
            while counts(endpoint_url)["lines_distinct"] < lines:
                if time.monotonic() - started > DEADLINE_S or process.poll():
                    raise SystemExit(f"{run.__name__}: not all lines arrived")
                time.sleep(0.05)
            wall = time.monotonic() - started
            if run is daemon:
                process.send_signal(signal.SIGTERM)
            _, status, usage = os.wait4(process.pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        found = counts(endpoint_url)
        assert (found["lines_distinct"], found["duplicates"]) == (lines, 0)
    cpu = usage.ru_utime + usage.ru_stime
    return {"cpu": cpu, "wall": wall, "rss": usage.ru_maxrss / 1024}


def baseline(path: pathlib.Path, endpoint_url: str) -> subprocess.Popen[bytes]:
    """Start the plain loop."""
    return subprocess.Popen(
        [sys.executable, "-c", BASELINE, str(path), endpoint_url, STREAM],
        env={**os.environ, **CREDENTIALS},
    )


def daemon(path: pathlib.Path, endpoint_url: str) -> subprocess.Popen[bytes]:
    """Start kagent on a fresh state directory."""
    root = pathlib.Path(tempfile.mkdtemp(dir=path.parents[1]))
    config = root / "kagent.yaml"
    config.write_text(
        f"""\
state_dir: {root}/state
aws: {{region: eu-west-1, endpoint_url: "{endpoint_url}"}}
metrics: {{cloudwatch: {{level: none}}}}
log: {{level: warning}}
flows:
  - name: bench
    source: {{paths: ["{path}"], start_at: beginning}}
    destination: {{kinesis: {{stream: {STREAM}}}}}
"""
    )
    return subprocess.Popen(
        [sys.executable, "-m", "kagent", "run", "-c", str(config)],
        env={**os.environ, **CREDENTIALS},
    )


@contextlib.contextmanager
def service() -> Iterator[str]:
    """Run the local service and hand out its address."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "kagent.local", "--no-throttle", "--no-keep"),
            *("--stream", f"{STREAM}=8"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield json.loads(process.stdout.readline())["endpoint_url"]  # type: ignore[union-attr]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def counts(endpoint_url: str) -> dict[str, int]:
    """Return what the service counted for the stream."""
    with urllib.request.urlopen(f"{endpoint_url}/_local/counts", timeout=10) as answer:
        found: dict[str, int] = json.load(answer)["streams"][STREAM]
    return found


if __name__ == "__main__":
    sys.exit(main())
