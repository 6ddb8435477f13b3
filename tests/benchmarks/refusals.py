"""What refused records cost: CPU of the daemon with a share of them against without, in pairs.

Both ship the same file of numbered lines to the local service, in a process of its own, which
takes every line once; the only difference is that it refuses some records the first time. The
figures alternate in one run, and the ratio is the one to quote: it must be at most 1.2.
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
STREAM = "bench"
RATIO_MAX = 1.2
DEADLINE_S = 300.0
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}


def main() -> int:
    """Run pairs and print the ratio; 1 when it is too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=400_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.01, help="of records that is refused")
    options = parser.parse_args()
    pairs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="kagent-refusals-") as root:
        path = pathlib.Path(root, "log", "bench.log")
        path.parent.mkdir()
        with path.open("wb") as file:
            for number in range(options.lines):
                file.write(f"{number:012d} ".encode().ljust(LINE_BYTES - 1, b"x") + b"\n")
        for _ in range(options.pairs):
            without = cpu_s(path, options.lines, 0.0)
            refused = cpu_s(path, options.lines, options.share)
            pairs.append((without, refused))
            print(
                f"CPU {without:6.2f} s without, {refused:6.2f} s with {options.share:.1%} refused"
            )
    ratio = statistics.median(refused / without for without, refused in pairs)
    print(f"ratio, median of {options.pairs} pairs: {ratio:.2f} (at most {RATIO_MAX})")
    return 0 if ratio <= RATIO_MAX else 1


def cpu_s(path: pathlib.Path, lines: int, share: float) -> float:
    """Ship the file to a fresh service from a fresh daemon; return its CPU time with start-up."""
    with service(share) as endpoint_url:
        process = daemon(path, endpoint_url)
        try:
            started = time.monotonic()
            while counts(endpoint_url)["lines_distinct"] < lines:
                if time.monotonic() - started > DEADLINE_S or process.poll() is not None:
                    raise SystemExit("not all lines arrived")
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            _, status, usage = os.wait4(process.pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        found = counts(endpoint_url)
        assert found["duplicates"] == 0, found
        refused = sum(found["records_refused"].values())
        assert bool(refused) == bool(share), found
    return usage.ru_utime + usage.ru_stime


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
def service(share: float) -> Iterator[str]:
    """Run the local service, which refuses a share of all records, and hand out its address."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "kagent.local", "--no-throttle", "--no-keep"),
            *("--stream", f"{STREAM}=8", "--faults", json.dumps({"refuse_share": share})),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield json.loads(process.stdout.readline())["endpoint_url"]  # type: ignore[union-attr]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def counts(endpoint_url: str) -> Any:
    """Return what the service counted for the stream."""
    with urllib.request.urlopen(f"{endpoint_url}/_local/counts", timeout=10) as answer:
        return json.load(answer)["streams"][STREAM]


if __name__ == "__main__":
    sys.exit(main())
