"""What many files cost while little happens, beside a plain loop of glob and stat.

The daemon follows FILES files in DIRECTORIES directories, of which a share gets a line each
second. Printed are the time until it is ready, the CPU that it takes while nothing is written and
while that share is, and how long a line takes from the write to the service, for files that were
silent and for files that were not. The plain loop does once a second what most scripts do: glob
the pattern, stat what was found; it ships nothing. The bare loop holds the files open and asks
each for its size once a second: the floor for whoever polls, on this machine.

CPU is the process's own, of all its threads, as the kernel counts it. Other load on the machine
makes all figures worse; the ratio to the plain loop, which runs at the same time, less so.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import daemon as daemons

from kagent import local

FILE_BYTES = 2000
SETTLE_S = 20.0  # rows are saved, and what is new is looked at more often for a while
MAX_AGE = "50ms"  # of a batch: part of every latency
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

PLAIN_LOOP = """
import glob, os, sys, time
while True:
    for path in glob.glob(sys.argv[1]):
        os.stat(path)
    time.sleep(1)
"""

BARE_LOOP = """
import glob, os, resource, sys, time
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
handles = [os.open(path, os.O_RDONLY) for path in glob.glob(sys.argv[1])]
while True:
    for handle in handles:
        os.lseek(handle, 0, os.SEEK_END)
    time.sleep(1)
"""


@dataclasses.dataclass
class Rig:
    """The files, the daemon and its service."""

    one: daemons.Daemon
    paths: list[pathlib.Path]
    written: int = 0

    def write(self, path: pathlib.Path) -> None:
        """Append one numbered line."""
        self.written += 1
        with path.open("ab") as file:
            file.write(f"line {self.written:06d} ".ljust(99, "x").encode() + b"\n")

    def latency(self, path: pathlib.Path) -> float:
        """Return the seconds from a write to its arrival."""
        begun = time.monotonic()
        self.write(path)
        self.one.wait_for_lines(self.written)
        return time.monotonic() - begun


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--directories", type=int, default=100)
    parser.add_argument("--active", type=float, default=0.01, help="share that gets lines")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--tries", type=int, default=20, help="of each latency")
    options = parser.parse_args(arguments)
    service = local.Service(
        local.ServiceOptions(streams={"web": local.StreamOptions(shards=8, is_throttled=False)})
    )
    with (
        tempfile.TemporaryDirectory(prefix="kagent-scale-") as root,
        daemons.running(pathlib.Path(root), service) as one,
    ):
        report(options, Rig(one, make_files(one, options)))
    return 0


def make_files(one: daemons.Daemon, options: argparse.Namespace) -> list[pathlib.Path]:
    """Write files that were there before the daemon."""
    paths = []
    for number in range(options.files):
        path = one.path(f"d{number % options.directories}/{number}.log")
        path.write_bytes(b"%012d\n" % number * (FILE_BYTES // 13))
        paths.append(path)
    return paths


def report(options: argparse.Namespace, rig: Rig) -> None:
    """Run the phases."""
    one, pattern = rig.one, f"{rig.one.root}/log/*/*.log"
    one.configure(one.flow(source={"paths": [pattern]}, batch={"max_age": MAX_AGE}))
    begun = time.monotonic()
    one.start()
    one.wait_for_log("ready flows=1")
    say("until ready", f"{time.monotonic() - begun:.2f} s, {options.files} files")
    assert one.process is not None
    loops = {
        name: subprocess.Popen([sys.executable, "-c", loop, pattern])
        for name, loop in {"glob and stat": PLAIN_LOOP, "bare lseek": BARE_LOOP}.items()
    }
    try:
        time.sleep(SETTLE_S)
        pids = {"kagent": one.process.pid, **{name: loop.pid for name, loop in loops.items()}}
        measure("idle", pids, options.seconds, lambda: None)
        active = random.sample(rig.paths, max(1, round(options.files * options.active)))
        measure(f"{len(active)} lines/s", pids, options.seconds, lambda: [*map(rig.write, active)])
    finally:
        for loop in loops.values():
            loop.kill()
            loop.wait()
    one.wait_for_lines(rig.written)
    cold = [rig.latency(path) for path in random.sample(rig.paths, options.tries)]
    rig.latency(rig.paths[0])
    hot = [rig.latency(rig.paths[0]) for _ in range(options.tries)]
    for name, figures in {"silent file": cold, "hot file": hot}.items():
        say(
            f"line of a {name}",
            f"{statistics.median(figures) * 1000:.0f} ms, at most {max(figures) * 1000:.0f} ms,"
            f" {MAX_AGE} of it in the batch",
        )
    say("memory at most", f"{one.peak_memory_bytes() / 2**20:.0f} MiB")
    assert one.stop() == 0


def measure(name: str, pids: dict[str, int], seconds: float, act: Callable[[], object]) -> None:
    """Print the CPU of processes over a phase in which something is done each second."""
    before = {who: cpu_seconds(pid) for who, pid in pids.items()}
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        act()
        time.sleep(1)
    elapsed = time.monotonic() - begun
    shares = {who: (cpu_seconds(pid) - before[who]) / elapsed for who, pid in pids.items()}
    said = ", ".join(f"{who} {share * 100:.2f} %" for who, share in shares.items())
    say(f"CPU, {name}", said)


def cpu_seconds(pid: int) -> float:
    """Return what a process has used, in all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def say(what: str, figures: str) -> None:
    print(f"{what:24} {figures}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
